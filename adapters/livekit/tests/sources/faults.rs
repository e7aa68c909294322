//! What each bad answer becomes.

use std::{net::TcpListener, process::Command, time::Duration};

use matrix_voip::{host::TokenSource, machine::io::TokenFault};
use matrix_voip_livekit::{DEADLINE, GetToken, PlainText, Settings, SfuGet};
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use crate::kit::{SFU, given, good_jwt, here, jwt, now, paths, refusal, request, server, sfu_get};

/// What becomes of this answer.
async fn after(answer: ResponseTemplate) -> TokenFault {
    let server = server("/sfu/get", answer).await;
    sfu_get().token(request(server.uri())).await.unwrap_err()
}

async fn after_giving(body: Value) -> TokenFault {
    after(ResponseTemplate::new(200).set_body_json(body)).await
}

fn unusable(fault: &TokenFault, word: &str) -> bool {
    matches!(fault, TokenFault::Unusable(why) if why.contains(word))
}

#[tokio::test]
async fn every_refusal_says_what_to_fix() {
    let code = |code: &str| code.to_owned();
    for (status, errcode, fault) in [
        (400, "M_NOT_JSON", TokenFault::NotUnderstood(code("M_NOT_JSON"))),
        (400, "M_BAD_JSON", TokenFault::NotUnderstood(code("M_BAD_JSON"))),
        (400, "M_FORBIDDEN", TokenFault::Refused(code("M_FORBIDDEN"))),
        (401, "M_UNAUTHORIZED", TokenFault::NotBelieved),
        (401, "M_OTHER", TokenFault::Refused(code("M_OTHER"))),
        (403, "M_FORBIDDEN", TokenFault::Refused(code("M_FORBIDDEN"))),
        (404, "M_UNRECOGNIZED", TokenFault::NoService(404)),
        (404, "M_NOT_FOUND", TokenFault::Refused(code("M_NOT_FOUND"))),
        (405, "M_UNRECOGNIZED", TokenFault::NoService(405)),
        (429, "M_LIMIT_EXCEEDED", TokenFault::RateLimited { retry_after: None }),
        (500, "M_UNKNOWN", TokenFault::ServiceFailed(500)),
        (503, "", TokenFault::ServiceFailed(503)),
    ] {
        assert_eq!(after(refusal(status, errcode)).await, fault, "{status} {errcode}");
    }
}

#[tokio::test]
async fn a_page_of_something_else_is_no_token_service() {
    for status in [200, 204, 302, 400, 401, 403, 404, 405, 418] {
        let page = ResponseTemplate::new(status).set_body_string("<html>404 page not found</html>");
        assert_eq!(after(page).await, TokenFault::NoService(status));
    }
    for status in [408, 500, 502, 504, 599] {
        let page = ResponseTemplate::new(status).set_body_string("<html>bad gateway</html>");
        assert_eq!(after(page).await, TokenFault::ServiceFailed(status));
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_how_long_to_wait() {
    let limited = |wait: &str| ResponseTemplate::new(429).insert_header("retry-after", wait);
    for (wait, seconds) in [("7", Some(7)), ("999999999", Some(3600)), ("soon", None)] {
        let retry_after = seconds.map(Duration::from_secs);
        assert_eq!(after(limited(wait)).await, TokenFault::RateLimited { retry_after });
    }
}

#[tokio::test]
async fn an_answer_that_is_no_token_is_no_token_services() {
    for body in [json!([]), json!({}), json!({"url": SFU}), json!({"url": SFU, "jwt": 7})] {
        assert_eq!(after_giving(body).await, TokenFault::NoService(200));
    }
    let garbage = ResponseTemplate::new(200).set_body_bytes([0xff, 0, b'{']);
    assert_eq!(after(garbage).await, TokenFault::NoService(200));
}

#[tokio::test]
async fn of_an_answer_without_end_nothing_is_believed() {
    let padding = " ".repeat(64 * 1024);
    let body = json!({"url": SFU, "jwt": good_jwt(), "padding": padding});
    assert_eq!(after_giving(body).await, TokenFault::NoService(200));
    let body = json!({"errcode": "M_FORBIDDEN", "padding": padding});
    let refused = ResponseTemplate::new(403).set_body_json(body);
    assert_eq!(after(refused).await, TokenFault::NoService(403));
}

#[tokio::test]
async fn a_token_that_is_expired_or_none_is_refused() {
    let giving = |jwt: String| json!({"url": SFU, "jwt": jwt});
    let old = jwt(&json!({"nbf": now() - 7200, "exp": now() - 3600}));
    assert!(unusable(&after_giving(giving(old)).await, "expired"));
    for none in ["", "not.a.token", "a.b"] {
        assert!(unusable(&after_giving(giving(none.to_owned())).await, "no JWT"), "{none}");
    }
    let long = jwt(&json!({"padding": "a".repeat(16 * 1024)}));
    assert!(unusable(&after_giving(giving(long)).await, "too long"));
}

#[tokio::test]
async fn a_token_without_an_end_is_taken() {
    let endless = json!({"url": SFU, "jwt": jwt(&json!({"sub": "somebody"}))});
    let server = server("/sfu/get", ResponseTemplate::new(200).set_body_json(endless)).await;
    let token = sfu_get().token(request(server.uri())).await.unwrap();
    assert_eq!((token.lifetime, token.identity.as_deref()), (None, Some("somebody")));
}

#[tokio::test]
async fn a_clock_of_ours_that_is_wrong_does_not_matter() {
    // By the service's clock it is 2001, and the token good for an hour.
    let body =
        json!({"url": SFU, "jwt": jwt(&json!({"iat": 1_000_000_000, "exp": 1_000_003_600}))});
    let answer = ResponseTemplate::new(200).set_body_json(body);
    let answer = answer.insert_header("date", "Sun, 09 Sep 2001 01:46:40 GMT");
    let server = server("/sfu/get", answer).await;
    let token = sfu_get().token(request(server.uri())).await.unwrap();
    assert_eq!(token.lifetime, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn an_sfu_without_a_good_address_is_refused() {
    for (url, word) in [("sfu.example", "wss://"), ("", "wss://"), ("ws://sfu.example", "clear")] {
        let fault = after_giving(json!({"url": url, "jwt": good_jwt()})).await;
        assert!(unusable(&fault, word), "{url}: {fault}");
    }
    let clear = json!({"url": "http://sfu.example", "jwt": good_jwt()});
    let server = server("/sfu/get", ResponseTemplate::new(200).set_body_json(clear)).await;
    let source = SfuGet::new(&Settings::default().plain_text(PlainText::Anywhere)).unwrap();
    let token = source.token(request(server.uri())).await.unwrap();
    assert_eq!(token.url, "ws://sfu.example");
}

#[tokio::test]
async fn a_token_goes_nowhere_in_the_clear_unless_switched_on() {
    for (service, fault) in [
        ("http://rtc.example", TokenFault::InTheClear),
        ("ftp://rtc.example", TokenFault::BadAddress),
        ("rtc.example", TokenFault::BadAddress),
        ("", TokenFault::BadAddress),
        ("https://me:secret@rtc.example", TokenFault::BadAddress),
    ] {
        assert_eq!(sfu_get().token(request(service)).await, Err(fault.clone()), "{service}");
        let newer = GetToken::new(&here()).unwrap();
        assert_eq!(newer.token(request(service)).await, Err(fault), "{service}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = server("/sfu/get", given()).await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/sfu/get", other.uri());
        let answer = ResponseTemplate::new(status).insert_header("location", target);
        assert_eq!(after(answer).await, TokenFault::NoService(status));
    }
    assert_eq!(paths(&other).await.len(), 0, "the token was for somebody else");
}

#[tokio::test]
async fn without_an_openid_token_nobody_is_asked() {
    let server = MockServer::start().await;
    let mut wanted = request(server.uri());
    wanted.open_id = None;
    assert_eq!(sfu_get().token(wanted).await, Err(TokenFault::NeedsOpenId));
    assert_eq!(paths(&server).await.len(), 0);
}

#[tokio::test]
async fn nobody_who_listens_is_nobody_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(sfu_get().token(request(service)).await, Err(TokenFault::NotReached));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_nothing_is_given_up_at_the_deadline() {
    // Connections wait in its queue for ever.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = format!("http://{}", listener.local_addr().unwrap());
    let begun = tokio::time::Instant::now();
    assert_eq!(sfu_get().token(request(service)).await, Err(TokenFault::NotReached));
    assert_eq!(begun.elapsed().as_secs(), DEADLINE.as_secs());
}

/// In a process of its own, with a proxy in its environment that nobody serves: another test passes
/// there.
#[test]
fn this_machine_is_never_asked_through_a_proxy() {
    let asking = "asking::sfu_get_asks_exactly_what_strict_services_take";
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([asking, "--exact"]).env("http_proxy", "http://127.0.0.1:9");
    let output = again.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
