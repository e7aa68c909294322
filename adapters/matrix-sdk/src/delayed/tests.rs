//! What is asked about delayed events, and what becomes of each answer.

use matrix_sdk::test_utils::mocks::MatrixMockServer;
use wiremock::{Mock, Request, ResponseTemplate, matchers};

use super::*;
use crate::inbox::inbox;

const ALL: &str = "/org.matrix.msc4140/delayed_events";
const STATE: &str = "/rooms/!r:x/state/com.famedly.call.member/@me:x$";

struct Rig {
    server: MatrixMockServer,
    attached: Attached,
}

impl Rig {
    /// Whose homeserver says that it has delayed events, or says that it has none.
    async fn new(has: bool) -> Self {
        let server = MatrixMockServer::new().await;
        server.mock_versions().with_feature(FEATURE, has).ok().mount().await;
        let client = server.client_builder().no_server_versions().build().await;
        let (to, _) = inbox();
        Self { server, attached: Attached::new(client, to) }
    }

    async fn answer(&self, method: &str, path: &str, status: u16, answer: Value) {
        Mock::given(matchers::method(method))
            .and(matchers::path_regex(path))
            .respond_with(ResponseTemplate::new(status).set_body_json(answer))
            .mount(self.server.server())
            .await;
    }

    async fn schedule(&self) -> Result<String, Fault> {
        let later = Later {
            room: "!r:x",
            event_type: "com.famedly.call.member",
            state_key: "@me:x",
            content: r#"{"memberships":[]}"#.to_owned(),
            delay: Duration::from_secs(30),
        };
        schedule(&self.attached.client().unwrap(), later).await
    }

    async fn restart(&self) -> Result<(), Fault> {
        update(&self.attached, "d/1", "restart").await
    }

    async fn list(&self, from: Option<&str>) -> Result<String, Fault> {
        list(&self.attached.client().unwrap(), from).await
    }

    /// What was asked of this kind of thing.
    async fn requests(&self, part: &str) -> Vec<Request> {
        let mut requests = self.server.server().received_requests().await.unwrap();
        requests.retain(|request| request.url.path().contains(part));
        requests
    }

    /// Paths and queries, after what they have in common.
    async fn asked(&self) -> Vec<String> {
        let requests = self.requests(ALL).await;
        let url = |request: &Request| request.url.as_str().split_once(ALL).unwrap().1.to_owned();
        requests.iter().map(url).collect()
    }
}

fn error(code: &str) -> Value {
    json!({ "errcode": code, "error": "about @ben:x" })
}

fn unrecognized() -> Value {
    error("M_UNRECOGNIZED")
}

/// A homeserver that does not know the delay writes the event at once.
#[tokio::test]
async fn nothing_is_scheduled_where_the_homeserver_does_not_say_that_it_can() {
    let rig = Rig::new(false).await;
    rig.answer("PUT", STATE, 200, json!({ "event_id": "$now" })).await;
    assert_eq!(rig.schedule().await, Err(Fault::Unsupported));
    assert!(rig.requests("/state/").await.is_empty());
}

#[tokio::test]
async fn an_event_is_scheduled_under_its_key_and_with_its_delay() {
    let rig = Rig::new(true).await;
    rig.answer("PUT", STATE, 200, json!({ "delay_id": "d1" })).await;
    assert_eq!(rig.schedule().await.as_deref(), Ok("d1"));
    let request = rig.requests("/state/").await.remove(0);
    assert_eq!(request.url.query(), Some("org.matrix.msc4140.delay=30000"));
    assert_eq!(request.body_json::<Value>().unwrap(), json!({ "memberships": [] }));
    assert!(request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn what_speaks_against_a_delayed_event_is_told_from_what_will_pass() {
    let precise = |code: &str| {
        let mut error = error("M_UNKNOWN");
        error["org.matrix.msc4140.errcode"] = json!(code);
        error
    };
    let limited = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 2000 });
    let retry_after = Some(Duration::from_secs(2));
    for (status, answer, fault) in [
        (200, json!({ "event_id": "$now" }), Fault::Unsupported),
        (404, unrecognized(), Fault::Unsupported),
        (405, unrecognized(), Fault::Unsupported),
        (400, precise("M_MAX_DELAY_UNSUPPORTED"), Fault::Unsupported),
        (400, precise("M_MAX_DELAY_EXCEEDED"), Fault::Forbidden("M_MAX_DELAY_EXCEEDED".into())),
        (403, error("M_FORBIDDEN"), Fault::Forbidden("M_FORBIDDEN".into())),
        (429, limited, Fault::RateLimited { retry_after }),
        (401, error("M_UNKNOWN_TOKEN"), Fault::LoggedOut),
        (404, json!("a proxy's page"), Fault::Failed("status 404".into())),
        (502, json!({}), Fault::Failed("status 502".into())),
    ] {
        let rig = Rig::new(true).await;
        rig.answer("PUT", STATE, status, answer.clone()).await;
        assert_eq!(rig.schedule().await, Err(fault), "{status} {answer}");
        assert_eq!(rig.requests("/state/").await.len(), 1, "the library tries again, not we");
    }
}

#[tokio::test]
async fn a_delayed_event_is_updated_in_the_form_that_the_homeserver_knows() {
    let rig = Rig::new(true).await;
    rig.answer("POST", &format!("{ALL}/d%2F1/restart$"), 404, unrecognized()).await;
    rig.answer("POST", &format!("{ALL}/d%2F1$"), 200, json!({})).await;
    assert_eq!((rig.restart().await, rig.restart().await), (Ok(()), Ok(())));
    assert_eq!(rig.asked().await, ["/d%2F1/restart", "/d%2F1", "/d%2F1"], "it is remembered");
    let body: Value = rig.requests(ALL).await[2].body_json().unwrap();
    assert_eq!(body, json!({ "action": "restart" }));

    let rig = Rig::new(true).await;
    rig.answer("POST", &format!("{ALL}/d%2F1/restart$"), 200, json!({})).await;
    assert_eq!((rig.restart().await, rig.restart().await), (Ok(()), Ok(())));
    assert_eq!(rig.asked().await, ["/d%2F1/restart"; 2]);
}

/// Of which there is an end, whatever the form: nothing is tried twice.
#[tokio::test]
async fn an_event_that_was_sent_or_cancelled_is_not_found() {
    for (status, code) in [(404, "M_NOT_FOUND"), (409, "M_UNKNOWN")] {
        let rig = Rig::new(true).await;
        rig.answer("POST", ALL, status, error(code)).await;
        assert_eq!(rig.restart().await, Err(Fault::NotFound));
        assert_eq!(rig.asked().await.len(), 1);
    }
}

#[tokio::test]
async fn a_homeserver_that_knows_no_form_is_asked_for_both_again() {
    let rig = Rig::new(true).await;
    rig.answer("POST", ALL, 404, unrecognized()).await;
    for _ in 0..2 {
        assert_eq!(rig.restart().await, Err(Fault::Unsupported));
    }
    assert_eq!(rig.asked().await.len(), 4);
}

#[tokio::test]
async fn the_pages_of_what_is_scheduled_are_read_in_the_form_that_the_homeserver_knows() {
    let rig = Rig::new(true).await;
    let page = json!({ "delayed_events": [], "next_batch": "n&1" });
    rig.answer("GET", &format!("{ALL}$"), 200, page.clone()).await;
    for from in [None, Some("n&1")] {
        let read: Value = serde_json::from_str(&rig.list(from).await.unwrap()).unwrap();
        assert_eq!(read, page);
    }
    assert_eq!(rig.asked().await, ["", "?from=n%261"]);

    let rig = Rig::new(true).await;
    rig.answer("GET", &format!("{ALL}$"), 405, unrecognized()).await;
    rig.answer("GET", &format!("{ALL}/scheduled$"), 200, json!({ "scheduled": [] })).await;
    assert_eq!(rig.list(Some("n")).await.as_deref(), Ok(r#"{"scheduled":[]}"#));
    assert_eq!(rig.asked().await, ["?from=n", "/scheduled?from=n"]);

    let rig = Rig::new(true).await;
    rig.answer("GET", ALL, 404, unrecognized()).await;
    assert_eq!(rig.list(None).await, Err(Fault::Unsupported));
}

/// The SDK may write requests to its log.
#[test]
fn a_request_does_not_print_the_id_of_its_event() {
    let request = Call::<Update>::new(["secret", "restart"]);
    let printed = format!("{request:?}");
    assert!(printed.starts_with("POST /_matrix"), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn after_detaching_nothing_is_updated() {
    let rig = Rig::new(true).await;
    rig.attached.let_go();
    assert_eq!(rig.restart().await, Err(Fault::Unsupported));
    assert!(rig.asked().await.is_empty());
}
