//! What a client asked its homeserver for its calls, as events: for the reader of a log.

use std::borrow::Cow;

use hyper::{StatusCode, Uri, http::request::Parts};
use matrix_sdk::reqwest::Url;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// What is done in a room and told.
const IN_ROOMS: &[&str] = &["send", "state", "redact", "join", "leave", "invite"];

/// Whether requests to that path are told.
pub(crate) fn is_told(path: &str) -> bool {
    let Some(path) = path.strip_prefix("/_matrix/client/") else { return false };
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [_, "rooms", _, act, ..] => IN_ROOMS.contains(act),
        [_, "keys", what] => ["upload", "claim", "query"].contains(what),
        [_, "sendToDevice", ..] | [_, "voip", "turnServer"] => true,
        parts => parts.contains(&"delayed_events"),
    }
}

/// The fields of `held`.
pub(crate) fn path(uri: &Uri) -> Value {
    json!({"path": decoded(uri)})
}

/// The fields of `wireOut`: a request as it was sent, and its answer.
pub(crate) fn told(head: &Parts, body: &[u8], status: StatusCode, reply: &[u8]) -> Value {
    let parsed = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap_or_default();
    json!({
        "method": head.method.as_str(),
        "path": decoded(&head.uri),
        "query": query(&head.uri),
        "status": status.as_u16(),
        "body": parsed(body),
        "reply": parsed(reply),
    })
}

/// The path, decoded.
fn decoded(uri: &Uri) -> Cow<'_, str> {
    percent_decode_str(uri.path()).decode_utf8_lossy()
}

fn query(uri: &Uri) -> Map<String, Value> {
    // Only the query counts.
    let url = Url::parse(&format!("http://h/?{}", uri.query().unwrap_or_default()));
    let pairs = |url: Url| {
        let pairs = url.query_pairs().into_owned();
        pairs.map(|(name, value)| (name, value.into())).collect()
    };
    url.map(pairs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn what_concerns_calls_is_told_and_nothing_else() {
        for told in [
            "v3/rooms/!r:h/send/m.call.invite/1",
            "v3/rooms/!r:h/state/m.call/a",
            "v3/sendToDevice/m.room.encrypted/1",
            "v3/voip/turnServer",
            "v3/keys/claim",
            "unstable/org.matrix.msc4140/delayed_events/1",
        ] {
            assert!(is_told(&format!("/_matrix/client/{told}")), "{told}");
        }
        for silent in ["v3/sync", "v3/login", "v3/rooms/!r:h/members", "v3/keys/changes"] {
            assert!(!is_told(&format!("/_matrix/client/{silent}")), "{silent}");
        }
        assert!(!is_told("/rooms/!r:h/send/m.call.invite/1"));
    }

    #[test]
    fn a_request_is_told_decoded_with_its_answer() {
        let request = Request::put("/_matrix/client/v3/rooms/%21r%3Ah/send/t/1?ts=5%2B");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let told = told(&head, br#"{"a":1}"#, StatusCode::OK, b"nonsense");
        let expected = json!({
            "method": "PUT", "path": "/_matrix/client/v3/rooms/!r:h/send/t/1",
            "query": {"ts": "5+"}, "status": 200, "body": {"a": 1}, "reply": null,
        });
        assert_eq!(told, expected);
    }
}
