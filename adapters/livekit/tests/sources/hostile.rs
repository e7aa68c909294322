//! Answers and tokens that somebody has made to do harm: none is a panic, and what is taken is fit
//! to be used.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use matrix_voip::{host::TokenSource, machine::io::SfuToken};
use matrix_voip_livekit::Claims;
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use wiremock::{MockServer, ResponseTemplate};

use crate::kit::{SFU, request, script, sfu_get};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What becomes of an answer.
fn given(status: u16, headers: &[(&str, String)], body: &[u8]) -> Option<SfuToken> {
    runtime().block_on(async {
        let server = MockServer::start().await;
        let mut answer = ResponseTemplate::new(status).set_body_bytes(body);
        for (name, value) in headers {
            answer = answer.append_header(*name, value.as_str());
        }
        script(&server, "/sfu/get", answer).await;
        sfu_get().token(request(server.uri())).await.ok()
    })
}

fn assert_fit(token: &SfuToken) {
    assert!(token.url.starts_with("wss://") || token.url.starts_with("ws://"), "{token:?}");
    let is_fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    assert!(token.jwt.expose().bytes().all(is_fine));
    assert!(token.lifetime.is_none_or(|left| !left.is_zero()), "{token:?}");
}

/// Numbers as tokens may have them, and as they may not.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        Just("null".to_owned()),
        Just("1e999".to_owned()),
        Just("\"1\"".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_a_token_or_none(text in ".{0,200}") {
        let _ = Claims::read(&text);
    }

    #[test]
    fn any_payload_is_a_tokens_or_none(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Claims::read(&format!("a.{}.c", URL_SAFE_NO_PAD.encode(payload)));
    }

    #[test]
    fn any_times_give_a_bounded_lifetime_or_none(
        iat in number(), nbf in number(), exp in number(), now in any::<u32>(),
    ) {
        let payload = format!(r#"{{"iat":{iat},"nbf":{nbf},"exp":{exp}}}"#);
        let jwt = format!("a.{}.c", URL_SAFE_NO_PAD.encode(payload));
        let now = UNIX_EPOCH + Duration::from_secs(now.into());
        if let Ok(Ok(Some(left))) = Claims::read(&jwt).map(|claims| claims.lifetime(now)) {
            prop_assert!(!left.is_zero() && left <= Duration::from_secs(366 * 86_400));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_answer_is_a_token_or_a_fault(
        status in 200_u16..600, body in prop::collection::vec(any::<u8>(), 0..300),
        date in "[ -~]{0,30}", wait in "[ -~]{0,30}",
    ) {
        let headers = [("date", date), ("retry-after", wait)];
        if let Some(token) = given(status, &headers, &body) {
            assert_fit(&token);
        }
    }

    #[test]
    fn any_address_and_token_are_fit_or_refused(
        url in "(wss|ws|https|http|x)?(://)?.{0,30}", jwt in "[A-Za-z0-9_-]{1,4}[.][ -~]{0,60}",
    ) {
        let body = json!({"url": url, "jwt": jwt}).to_string();
        if let Some(token) = given(200, &[], body.as_bytes()) {
            assert_fit(&token);
        }
        let payload = URL_SAFE_NO_PAD.encode("{}");
        let body = json!({"url": url, "jwt": format!("a.{payload}.c")}).to_string();
        if let Some(token) = given(200, &[], body.as_bytes()) {
            assert_fit(&token);
        }
    }

    #[test]
    fn any_error_is_a_fault_without_its_words(status in 300_u16..600, code in ".{0,60}") {
        let body = json!({"errcode": code, "error": code, "retry_after_ms": 7, "url": SFU});
        prop_assert!(given(status, &[], body.to_string().as_bytes()).is_none());
    }
}
