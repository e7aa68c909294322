//! A request, tokens, and servers that answer as they are told.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use matrix_voip::{
    id::{DeviceId, RoomId, UserId},
    machine::io::{OpenIdToken, TokenRequest},
    redact::Secret,
};
use matrix_voip_livekit::{PlainText, Settings, SfuGet};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

/// The OpenID token of all tests.
pub(crate) const OPEN_ID: &str = "openid-SECRET-of-ada";

/// An SFU.
pub(crate) const SFU: &str = "wss://sfu.example";

/// Ada asks the service at this address.
pub(crate) fn request(service_url: impl Into<String>) -> TokenRequest {
    TokenRequest {
        service_url: service_url.into(),
        alias: "alias-of-the-call".to_owned(),
        room: RoomId::parse("!room:example.com").unwrap(),
        slot: "m.call#ROOM".to_owned(),
        user: UserId::parse("@ada:example.com").unwrap(),
        device: DeviceId::parse("PHONE").unwrap(),
        member: "visit-1".to_owned(),
        open_id: Some(OpenIdToken {
            access_token: Secret::new(OPEN_ID),
            token_type: "Bearer".to_owned(),
            server_name: "example.com".to_owned(),
            expires_in: Duration::from_secs(3600),
        }),
    }
}

/// Shared: to read the operating system's certificates takes longer than most tests.
/// Settings for servers on this machine.
pub(crate) fn here() -> Settings {
    Settings::default().plain_text(PlainText::Loopback)
}

pub(crate) fn sfu_get() -> SfuGet {
    static SOURCE: LazyLock<SfuGet> = LazyLock::new(|| SfuGet::new(&here()).unwrap());
    SOURCE.clone()
}

/// A token whose payload is that; its signature is nobody's.
pub(crate) fn jwt(payload: &Value) -> String {
    let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
    format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl")
}

/// A token for an hour.
pub(crate) fn good_jwt() -> String {
    let now = now();
    let video = json!({"room": "hash-of-the-room", "roomJoin": true});
    jwt(&json!({"sub": "@ada:example.com:PHONE", "nbf": now, "exp": now + 3600, "video": video}))
}

/// Seconds since the Unix epoch: scripted servers live in real time, as their `Date` says.
#[expect(clippy::disallowed_methods, reason = "scripted servers live in real time")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What a service gives.
pub(crate) fn given() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"url": SFU, "jwt": good_jwt()}))
}

/// What a Matrix server refuses with.
pub(crate) fn refusal(status: u16, errcode: &str) -> ResponseTemplate {
    let body = json!({"errcode": errcode, "error": format!("{OPEN_ID} is not welcome")});
    ResponseTemplate::new(status).set_body_json(body)
}

/// A server that answers so at that path, and 404 as Go's does at others.
pub(crate) async fn server(path: &str, answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    script(&server, path, answer).await;
    server
}

pub(crate) async fn script(server: &MockServer, path: &str, answer: ResponseTemplate) {
    Mock::given(matchers::path(path)).respond_with(answer).mount(server).await;
}

/// Method, path and JSON of everything that a server was asked.
pub(crate) async fn asked(server: &MockServer) -> Vec<(String, String, Value)> {
    let requests = server.received_requests().await.unwrap();
    let read = requests.iter().map(|request| {
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        (request.method.to_string(), request.url.path().to_owned(), body)
    });
    read.collect()
}

pub(crate) async fn paths(server: &MockServer) -> Vec<String> {
    asked(server).await.into_iter().map(|(_, path, _)| path).collect()
}
