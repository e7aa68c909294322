//! TURN credentials as homeservers answer `GET /voip/turnServer` (specification, "Voice over IP").

use std::time::Duration;

use serde_json::Value;

use super::{delivery::Malformed, json};
use crate::redact::{Redacted, Secret};

/// Longest time that credentials are believed, whatever the homeserver says: a week.
pub const MAX_TURN_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most URIs that are read from one answer.
pub const MAX_TURN_URIS: usize = 32;

/// STUN or TURN servers that share credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IceServer {
    /// `stun:`, `turn:`, `turns:` URIs.
    pub urls: Vec<String>,
    /// TURN user.
    pub username: Redacted,
    /// TURN password.
    pub credential: Secret,
}

/// TURN credentials as the homeserver gives them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TurnServers {
    /// The servers; none when the homeserver has none.
    pub servers: Vec<IceServer>,
    /// How long the credentials are good for.
    pub ttl: Duration,
}

impl TurnServers {
    /// Reads the homeserver's answer. `{}` is how Synapse says that it has no TURN server; `ttl`
    /// may be a float, and is a day where it is absent.
    ///
    /// # Errors
    /// [`Malformed`] when the answer is no JSON object.
    pub fn read(answer: &str) -> Result<Self, Malformed> {
        let Ok(Value::Object(object)) = serde_json::from_str(answer) else {
            return Err(Malformed::NotAnObject);
        };
        let uris = object.get("uris").and_then(Value::as_array).into_iter().flatten();
        let urls: Vec<_> =
            uris.filter_map(Value::as_str).take(MAX_TURN_URIS).map(Into::into).collect();
        let server = IceServer {
            urls,
            username: Redacted::new(json::text(&object, "username").unwrap_or_default()),
            credential: Secret::new(json::text(&object, "password").unwrap_or_default()),
        };
        let seconds = object.get("ttl").and_then(Value::as_f64).filter(|ttl| *ttl >= 0.0);
        let ttl = Duration::from_secs_f64(seconds.unwrap_or(86_400.0).min(1e9));
        let servers = if server.urls.is_empty() { Vec::new() } else { vec![server] };
        Ok(Self { servers, ttl: ttl.min(MAX_TURN_TTL) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_ttl_and_all_uris_are_read() {
        let answer = r#"{"username":"u","password":"p","ttl":3600.5,
            "uris":["turn:a?transport=udp",7,"turns:a"]}"#;
        let turn = TurnServers::read(answer).unwrap();
        assert_eq!(turn.ttl, Duration::from_millis(3_600_500));
        assert_eq!(turn.servers[0].urls, ["turn:a?transport=udp", "turns:a"]);
        assert_eq!(turn.servers[0].username.expose(), "u");
        assert_eq!(turn.servers[0].credential.expose(), "p");
    }

    #[test]
    fn an_empty_answer_means_no_server() {
        let turn = TurnServers::read("{}").unwrap();
        assert!(turn.servers.is_empty());
        assert_eq!(turn.ttl, Duration::from_secs(86_400));
    }

    #[test]
    fn nonsense_is_bounded_or_refused() {
        assert_eq!(TurnServers::read("[]"), Err(Malformed::NotAnObject));
        assert_eq!(TurnServers::read("{").unwrap_err(), Malformed::NotAnObject);
        let many = format!(r#"{{"ttl":1e300,"uris":[{}"x"]}}"#, r#""x","#.repeat(MAX_TURN_URIS));
        let turn = TurnServers::read(&many).unwrap();
        assert_eq!((turn.ttl, turn.servers[0].urls.len()), (MAX_TURN_TTL, MAX_TURN_URIS));
        assert_eq!(TurnServers::read(r#"{"ttl":-1}"#).unwrap().ttl, Duration::from_secs(86_400));
    }
}
