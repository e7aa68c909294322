//! What each source asks, and what it makes of a good answer.

use std::time::Duration;

use matrix_voip::{
    host::TokenSource,
    machine::io::{SfuToken, TokenFault},
    redact::Secret,
};
use matrix_voip_livekit::{GetToken, HomeserverRtc, Newest, PlainText, RoomField, StaticToken};
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use crate::kit::{
    OPEN_ID, SFU, asked, given, good_jwt, here, jwt, now, paths, refusal, request, script, server,
    sfu_get,
};

const LOGIN: &str = "login-SECRET-of-ada";

fn open_id() -> Value {
    json!({
        "access_token": OPEN_ID, "token_type": "Bearer", "matrix_server_name": "example.com",
        "expires_in": 3600,
    })
}

#[track_caller]
fn assert_good(token: &SfuToken) {
    assert_eq!(token.url, SFU);
    assert_eq!(token.identity.as_deref(), Some("@ada:example.com:PHONE"));
    let lifetime = token.lifetime.unwrap();
    assert!(lifetime <= Duration::from_secs(3600), "{lifetime:?}");
    assert!(lifetime >= Duration::from_secs(3500), "{lifetime:?}");
}

#[tokio::test]
async fn sfu_get_asks_exactly_what_strict_services_take() {
    let server = server("/jwt/sfu/get", given()).await;
    for slashes in ["", "/", "//"] {
        let service = format!("{}/jwt{slashes}", server.uri());
        assert_good(&sfu_get().token(request(service)).await.unwrap());
    }
    let body =
        json!({"room": "!room:example.com", "openid_token": open_id(), "device_id": "PHONE"});
    let one = ("POST".to_owned(), "/jwt/sfu/get".to_owned(), body);
    assert_eq!(asked(&server).await, vec![one; 3]);
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests[0].headers["content-type"], "application/json");
    assert!(!requests[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn sfu_get_names_the_room_by_the_alias_where_that_is_wanted() {
    let server = server("/sfu/get", given()).await;
    let source = sfu_get().room_field(RoomField::Alias);
    source.token(request(server.uri())).await.unwrap();
    assert_eq!(asked(&server).await[0].2["room"], "alias-of-the-call");
}

#[tokio::test]
async fn get_token_asks_exactly_what_strict_services_take() {
    let server = server("/get_token", given()).await;
    let source = GetToken::new(&here()).unwrap();
    assert_good(&source.token(request(server.uri())).await.unwrap());
    let member = json!({
        "id": "visit-1", "claimed_user_id": "@ada:example.com", "claimed_device_id": "PHONE",
    });
    let body = json!({
        "room_id": "!room:example.com", "slot_id": "m.call#ROOM", "openid_token": open_id(),
        "member": member,
    });
    assert_eq!(asked(&server).await, [("POST".to_owned(), "/get_token".to_owned(), body)]);
}

#[tokio::test]
async fn newest_takes_the_older_endpoint_of_a_service_that_lacks_the_newer_and_remembers() {
    let (old, new) = (server("/sfu/get", given()).await, server("/get_token", given()).await);
    let source = Newest::new(&here()).unwrap();
    for server in [&old, &new] {
        for _ in 0..2 {
            assert_good(&source.token(request(server.uri())).await.unwrap());
        }
    }
    assert_eq!(paths(&old).await, ["/get_token", "/sfu/get", "/sfu/get"]);
    assert_eq!(paths(&new).await, ["/get_token", "/get_token"]);
}

#[tokio::test]
async fn newest_remembers_nothing_of_a_service_that_gave_nothing() {
    let server = server("/sfu/get", ResponseTemplate::new(502)).await;
    let source = Newest::new(&here()).unwrap();
    for _ in 0..2 {
        let answer = source.token(request(server.uri())).await;
        assert_eq!(answer, Err(TokenFault::ServiceFailed(502)));
    }
    assert_eq!(paths(&server).await, ["/get_token", "/sfu/get", "/get_token", "/sfu/get"]);
}

#[tokio::test]
async fn newest_does_not_ask_again_where_the_newer_endpoint_refuses() {
    let server = server("/get_token", refusal(401, "M_UNAUTHORIZED")).await;
    script(&server, "/sfu/get", given()).await;
    let source = Newest::new(&here()).unwrap();
    assert_eq!(source.token(request(server.uri())).await, Err(TokenFault::NotBelieved));
    assert_eq!(paths(&server).await, ["/get_token"]);
}

fn rtc(server: &MockServer) -> HomeserverRtc {
    let login = || Some(Secret::new(LOGIN));
    HomeserverRtc::new(server.uri(), login, &here()).unwrap()
}

const STABLE: &str = "/_matrix/client/v1/rtc/livekit/get_token";
const UNSTABLE: &str = "/_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token";

#[tokio::test]
async fn the_homeserver_is_asked_with_our_login_and_without_an_openid_token() {
    let jwt_alone = ResponseTemplate::new(200).set_body_json(json!({"jwt": good_jwt()}));
    let server = server(STABLE, jwt_alone).await;
    let wanted = || {
        let mut wanted = request(format!("{SFU}/"));
        wanted.open_id = None;
        wanted
    };
    assert_good(&rtc(&server).token(wanted()).await.unwrap());
    rtc(&server).of_server("other.example").token(wanted()).await.unwrap();
    let mut body = json!({
        "url": format!("{SFU}/"), "room_id": "!room:example.com", "slot_id": "m.call#ROOM",
        "member_id": "visit-1",
    });
    let mut seen = asked(&server).await.into_iter().map(|(_, _, body)| body);
    assert_eq!(seen.next().unwrap(), body);
    body["server_name"] = "other.example".into();
    assert_eq!(seen.next().unwrap(), body);
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests[0].headers["authorization"], format!("Bearer {LOGIN}"));
}

#[tokio::test]
async fn a_homeserver_with_the_unstable_endpoint_alone_is_asked_there_from_then_on() {
    let jwt_alone = ResponseTemplate::new(200).set_body_json(json!({"jwt": good_jwt()}));
    let server = server(UNSTABLE, jwt_alone).await;
    script(&server, STABLE, refusal(404, "M_UNRECOGNIZED")).await;
    let source = rtc(&server);
    for _ in 0..2 {
        source.token(request(SFU)).await.unwrap();
    }
    assert_eq!(paths(&server).await, [STABLE, UNSTABLE, UNSTABLE]);
}

#[tokio::test]
async fn who_is_not_logged_in_asks_no_homeserver() {
    let server = MockServer::start().await;
    let source = HomeserverRtc::new(server.uri(), || None, &here()).unwrap();
    assert_eq!(source.token(request(SFU)).await, Err(TokenFault::LoggedOut));
    assert_eq!(paths(&server).await.len(), 0);
    script(&server, STABLE, refusal(401, "M_UNKNOWN_TOKEN")).await;
    assert_eq!(rtc(&server).token(request(SFU)).await, Err(TokenFault::LoggedOut));
}

#[tokio::test]
async fn a_homeserver_gives_no_token_for_an_sfu_without_a_good_address() {
    let server = MockServer::start().await;
    for (sfu, fault) in
        [("sfu.example", TokenFault::BadAddress), ("ws://sfu.example", TokenFault::InTheClear)]
    {
        assert_eq!(rtc(&server).token(request(sfu)).await, Err(fault));
    }
    assert_eq!(paths(&server).await.len(), 0);
}

#[tokio::test]
async fn a_static_token_is_told_as_it_is_while_it_is_good() {
    let fixed = |url: &str, jwt: String| StaticToken::new(url, Secret::new(jwt));
    let nothing = || request("");
    assert_good(&fixed(SFU, good_jwt()).token(nothing()).await.unwrap());
    let endless = fixed("wss://localhost:7880", jwt(&json!({}))).token(nothing()).await.unwrap();
    assert_eq!((endless.lifetime, endless.identity), (None, None));
    let old = jwt(&json!({"exp": now() - 1}));
    let answer = fixed(SFU, old).token(nothing()).await;
    assert!(matches!(answer, Err(TokenFault::Unusable(_))), "{answer:?}");
    let clear = fixed("ws://sfu.example", good_jwt());
    assert_eq!(clear.clone().token(nothing()).await, Err(TokenFault::InTheClear));
    clear.plain_text(PlainText::Anywhere).token(nothing()).await.unwrap();
    assert_eq!(fixed("sfu", good_jwt()).token(nothing()).await, Err(TokenFault::BadAddress));
}
