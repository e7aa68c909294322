//! The token itself: a JWT that the SFU's own key signs (HS256).

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

/// How long a token is good for, in seconds.
const LIFETIME: u64 = 3600;

/// What the SFU knows its token service by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SfuKey {
    /// `LIVEKIT_KEY`.
    pub name: String,
    /// `LIVEKIT_SECRET`.
    pub secret: String,
}

impl SfuKey {
    /// The key of a LiveKit server that was started with `--dev`.
    #[must_use]
    pub fn development() -> Self {
        Self { name: "devkey".to_owned(), secret: "secret".to_owned() }
    }

    /// A token by which `identity` may join `room`, speak and hear there, from `now` (seconds since
    /// the Unix epoch).
    pub(super) fn token(&self, identity: &str, room: &str, now: u64) -> String {
        let head = json!({"alg": "HS256", "typ": "JWT"});
        let payload = json!({
            "iss": self.name, "sub": identity, "nbf": now, "exp": now + LIFETIME,
            "video": {
                "room": room, "roomJoin": true, "canPublish": true, "canSubscribe": true,
                "canUpdateOwnMetadata": true,
            },
        });
        let [head, payload] = [head, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{head}.{payload}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_and_lets_its_owner_in() {
        let key = SfuKey::development();
        let token = key.token("@ada:here:PHONE", "kitchen", 100);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let verifier = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        hmac::verify(&verifier, signed.as_bytes(), &signature).unwrap();
        let payload = signed.split('.').nth(1).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload["iss"], "devkey");
        assert_eq!(payload["sub"], "@ada:here:PHONE");
        assert_eq!(payload["exp"], 3700);
        assert_eq!(payload["video"]["room"], "kitchen");
        assert_eq!(payload["video"]["roomJoin"], true);
    }
}
