//! What calls through an SFU want of the homeserver: an OpenID token, and where there is an SFU.

use matrix_sdk::ruma::exports::http::Method as Verb;
use matrix_voip::wire::focus::MAX_TRANSPORTS;

use super::*;

const WELL_KNOWN: &str = "^/.well-known/matrix/client$";
const STABLE: &str = "^/_matrix/client/v1/rtc/transports$";
const UNSTABLE: &str = "^/_matrix/client/unstable/org.matrix.msc4143/rtc/transports$";

fn livekit(address: &str) -> Transport {
    Transport::Livekit { service_url: address.into() }
}

fn entry(address: &str) -> Value {
    json!({ "type": "livekit", "livekit_service_url": address })
}

fn foci(addresses: &[&str]) -> Value {
    let foci: Vec<_> = addresses.iter().map(|address| entry(address)).collect();
    json!({ "m.homeserver": { "base_url": "https://x" }, "org.matrix.msc4143.rtc_foci": foci })
}

fn transports(addresses: &[&str]) -> Value {
    json!({ "rtc_transports": addresses.iter().map(|address| entry(address)).collect::<Vec<_>>() })
}

fn unknown() -> Value {
    json!({ "errcode": "M_UNRECOGNIZED", "error": "x" })
}

impl Rig {
    async fn asked(&self, path: &str) -> usize {
        let requests = self.server.server().received_requests().await.unwrap();
        requests.iter().filter(|it| it.method == Verb::GET && it.url.path() == path).count()
    }
}

#[tokio::test]
async fn a_token_for_a_service_is_a_bearer_token_and_prints_nothing_of_itself() {
    let rig = Rig::new().await;
    let answer = json!({ "access_token": "t0ken", "token_type": "Bearer",
        "matrix_server_name": "x", "expires_in": 3600 });
    rig.answer("POST", "/user/@example:localhost/openid/request_token$", 200, answer).await;
    let token = rig.homeserver.open_id_token().await.unwrap();
    assert_eq!((token.access_token.expose(), token.token_type.as_str()), ("t0ken", "Bearer"));
    let hour = Duration::from_secs(3600);
    assert_eq!((token.server_name.as_str(), token.expires_in), ("x", hour));
    assert!(!format!("{token:?}").contains("t0ken"));
    let limit = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": 1000 });
    rig.answer("POST", "/openid/request_token$", 429, limit).await;
    let retry_after = Some(Duration::from_secs(1));
    let refused = rig.homeserver.open_id_token().await;
    assert_eq!(refused, Err(Fault::RateLimited { retry_after }));
}

#[tokio::test]
async fn well_known_comes_before_the_homeservers_endpoint_and_nothing_twice() {
    let rig = Rig::new().await;
    rig.answer("GET", WELL_KNOWN, 200, foci(&["https://a", "https://b"])).await;
    rig.answer("GET", STABLE, 200, transports(&["https://b", "https://c"])).await;
    let named = rig.homeserver.transports().await;
    assert_eq!(named, Ok(vec![livekit("https://a"), livekit("https://b"), livekit("https://c")]));
    assert_eq!(rig.asked("/.well-known/matrix/client").await, 1);
}

/// What Synapse answers to a path that it does not know, and what a proxy does.
#[tokio::test]
async fn an_endpoint_that_is_not_there_is_looked_for_under_its_unstable_name() {
    for (status, answer) in [(404, unknown()), (400, unknown()), (405, json!({}))] {
        let rig = Rig::new().await;
        rig.answer("GET", STABLE, status, answer).await;
        rig.answer("GET", UNSTABLE, 200, transports(&["https://a"])).await;
        assert_eq!(rig.homeserver.transports().await, Ok(vec![livekit("https://a")]), "{status}");
    }
}

#[tokio::test]
async fn who_names_none_has_none() {
    let rig = Rig::new().await;
    assert_eq!(rig.homeserver.transports().await, Ok(Vec::new()), "404 everywhere");
    rig.answer("GET", WELL_KNOWN, 200, foci(&[])).await;
    rig.answer("GET", STABLE, 200, json!({})).await;
    assert_eq!(rig.homeserver.transports().await, Ok(Vec::new()));
}

#[tokio::test]
async fn what_is_no_well_known_costs_nothing_that_the_homeserver_says() {
    let page = ResponseTemplate::new(200).set_body_string("<html>");
    let endless = ResponseTemplate::new(200).set_body_string(" ".repeat(70_000));
    for answer in [page, endless, ResponseTemplate::new(502)] {
        let rig = Rig::new().await;
        let well_known = Mock::given(matchers::path_regex(WELL_KNOWN)).respond_with(answer);
        well_known.mount(rig.server.server()).await;
        rig.answer("GET", STABLE, 200, transports(&["https://a"])).await;
        assert_eq!(rig.homeserver.transports().await, Ok(vec![livekit("https://a")]));
    }
}

#[tokio::test]
async fn a_homeserver_that_fails_is_a_fault_only_where_nobody_else_names_one() {
    let rig = Rig::new().await;
    rig.answer("GET", STABLE, 502, json!({})).await;
    assert_eq!(rig.homeserver.transports().await, Err(Fault::Failed("status 502".into())));
    rig.answer("GET", STABLE, 502, json!({})).await;
    rig.answer("GET", WELL_KNOWN, 200, foci(&["https://a"])).await;
    assert_eq!(rig.homeserver.transports().await, Ok(vec![livekit("https://a")]));
    rig.answer("GET", STABLE, 200, json!([])).await;
    let none = Fault::Failed("no list of transports".into());
    assert_eq!(rig.homeserver.transports().await, Err(none));
}

#[tokio::test]
async fn transports_are_bounded() {
    let rig = Rig::new().await;
    let many: Vec<_> = (0..100).map(|n| format!("https://{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    rig.answer("GET", WELL_KNOWN, 200, foci(&many[..10])).await;
    rig.answer("GET", STABLE, 200, transports(&many[10..])).await;
    let named = rig.homeserver.transports().await.unwrap();
    assert_eq!((named.len(), named.last()), (MAX_TRANSPORTS, Some(&livekit("https://15"))));
}
