//! Nothing secret or personal comes out: in no `Debug`, no error, no log line of any level, of ours
//! or of the HTTP client's. A program of its own: which thread meets a log line first decides who is
//! asked about it.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[expect(dead_code, reason = "the other tests use the rest of it")]
#[path = "sources/kit.rs"]
mod kit;

use std::{
    fmt::{Debug, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use matrix_voip::{host::TokenSource, redact::Secret};
use matrix_voip_livekit::{
    Claims, GetToken, HomeserverRtc, Newest, PlainText, Settings, StaticToken,
};
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use crate::kit::{OPEN_ID, SFU, good_jwt, jwt, now, request, sfu_get};

const LOGIN: &str = "login-SECRET-of-ada";

/// Writes down all that is logged. Clones share the page.
#[derive(Clone, Default)]
struct Scribe {
    page: Arc<Mutex<String>>,
    seen: Arc<AtomicU64>,
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.page.lock().unwrap()));
        Id::from_u64(self.seen.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&mut self.page.lock().unwrap()));
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.page.lock().unwrap()));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[track_caller]
fn assert_private(text: &str, jwt: &str) {
    let signature = jwt.rsplit('.').next().unwrap();
    for private in [OPEN_ID, LOGIN, "SECRET", jwt, signature, "@ada:", "!room:"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

/// All sources, each for itself.
fn sources(server: &MockServer, jwt: &str) -> Vec<(Box<dyn TokenSource>, String, String)> {
    fn one(
        source: impl TokenSource + Debug,
        service: &str,
    ) -> (Box<dyn TokenSource>, String, String) {
        let shown = format!("{source:?}");
        (Box::new(source), shown, service.to_owned())
    }
    let settings = Settings::default().plain_text(PlainText::Loopback);
    let login = || Some(Secret::new(LOGIN));
    vec![
        one(sfu_get(), &server.uri()),
        one(GetToken::new(&settings).unwrap(), &server.uri()),
        one(Newest::new(&settings).unwrap(), &server.uri()),
        one(HomeserverRtc::new(server.uri(), login, &settings).unwrap(), SFU),
        one(StaticToken::new(SFU, Secret::new(jwt)), &server.uri()),
    ]
}

/// Answers with everything that it must not tell: its own token, ours, and our name.
fn talkative(status: u16, jwt: &str) -> ResponseTemplate {
    let words = format!("{OPEN_ID} {LOGIN} {jwt} of @ada:example.com in !room:example.com");
    let body = json!({"url": SFU, "jwt": jwt, "errcode": words, "error": words});
    ResponseTemplate::new(status).set_body_json(body)
}

#[tokio::test]
async fn tokens_and_names_stand_in_no_debug_no_error_and_no_log() {
    let scribe = Scribe::default();
    let _guard = tracing::subscriber::set_default(scribe.clone());
    let jwts = [good_jwt(), jwt(&json!({"exp": now() - 9, "sub": "@ada:example.com"}))];
    for jwt in jwts.iter().map(String::as_str).chain(["SECRET-that-is-no-token"]) {
        for status in [200, 302, 400, 401, 403, 404, 429, 500] {
            let server = MockServer::start().await;
            Mock::given(matchers::any()).respond_with(talkative(status, jwt)).mount(&server).await;
            for (source, shown, service) in sources(&server, jwt) {
                assert_private(&shown, jwt);
                match source.token(request(service)).await {
                    Ok(token) => assert_private(&format!("{token:?}"), jwt),
                    Err(fault) => assert_private(&format!("{fault:?} {fault}"), jwt),
                }
            }
        }
        assert_private(&format!("{:?}", Claims::read(jwt)), jwt);
    }
    let page = scribe.page.lock().unwrap();
    assert!(page.contains("a token service has answered"), "nothing was seen");
    assert_private(&page, "no.t.here");
    jwts.iter().for_each(|jwt| assert_private(&page, jwt));
}
