//! What a token (JWT, RFC 7519) says of itself. Its signature is not verified: that is the SFU's
//! to do, which has the key; we are the one whom it is for.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::Zeroizing;

/// Longer tokens are not taken, in bytes. LiveKit's have about 500; they travel in an address.
const LONGEST: usize = 16 * 1024;

/// Longer names are not taken, in bytes: two Matrix ids and what joins them are shorter.
const LONGEST_NAME: usize = 1024;

/// What lasts longer counts as lasting that long.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadToken {
    /// It is no JWT whose payload can be read.
    #[error("it is no JWT: check the version of the token service")]
    Unreadable,
    /// It is longer than 16 KiB, or names somebody by more than 1 KiB.
    #[error("it is too long: check the version of the token service")]
    TooLong,
    /// It was good until before now.
    #[error("it has expired: check the clocks of the token service and of this machine")]
    Expired,
}

/// What a token says of itself, believed unseen. The names print as their lengths.
#[derive(Clone, PartialEq)]
pub struct Claims {
    /// As whom the SFU knows us (`sub`).
    pub identity: Option<String>,
    /// The SFU's name for the room (`video.room`); not to be computed from anything else.
    pub room: Option<String>,
    /// Since when it is good (`iat`, else `nbf`), in seconds since the Unix epoch.
    issued: Option<f64>,
    /// Until when it is good (`exp`), in seconds since the Unix epoch.
    expires: Option<f64>,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("identity_bytes", &self.identity.as_ref().map(String::len))
            .field("room_bytes", &self.room.as_ref().map(String::len))
            .field("issued", &self.issued)
            .field("expires", &self.expires)
            .finish()
    }
}

/// The payload, as far as it matters.
#[derive(Deserialize)]
struct Payload {
    sub: Option<String>,
    iat: Option<f64>,
    nbf: Option<f64>,
    exp: Option<f64>,
    video: Option<Video>,
}

#[derive(Deserialize)]
struct Video {
    room: Option<String>,
}

impl Claims {
    /// Reads a token.
    ///
    /// # Errors
    /// [`BadToken::Unreadable`] or [`BadToken::TooLong`].
    pub fn read(jwt: &str) -> Result<Self, BadToken> {
        if jwt.len() > LONGEST {
            return Err(BadToken::TooLong);
        }
        let payload = payload(jwt).ok_or(BadToken::Unreadable)?;
        let decoded = URL_SAFE_NO_PAD.decode(payload).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| BadToken::Unreadable)?;
        let payload: Payload =
            serde_json::from_slice(&decoded).map_err(|_| BadToken::Unreadable)?;
        let claims = Self {
            identity: payload.sub.filter(|name| !name.is_empty()),
            room: payload.video.and_then(|video| video.room),
            issued: payload.iat.or(payload.nbf),
            expires: payload.exp,
        };
        let is_long = |name: &Option<String>| name.as_ref().map_or(0, String::len) > LONGEST_NAME;
        let is_long = is_long(&claims.identity) || is_long(&claims.room);
        if is_long { Err(BadToken::TooLong) } else { Ok(claims) }
    }

    /// How long it is good for at `now`; `None` when it does not say. Never longer than it was made
    /// for, so that a clock which is behind does not lengthen it; at most a year.
    ///
    /// # Errors
    /// [`BadToken::Expired`].
    pub fn lifetime(&self, now: SystemTime) -> Result<Option<Duration>, BadToken> {
        let Some(expires) = self.expires else { return Ok(None) };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let whole = self.issued.map_or(f64::INFINITY, |issued| expires - issued);
        let left = whole.min(expires - now).min(LONGEST_LIFE.as_secs_f64());
        match Duration::try_from_secs_f64(left) {
            Ok(left) if !left.is_zero() => Ok(Some(left)),
            Ok(_) | Err(_) => Err(BadToken::Expired),
        }
    }
}

/// The middle of three parts that are all written in base64url: a token goes into addresses and
/// headers, where anything else would do harm.
fn payload(jwt: &str) -> Option<&str> {
    let mut parts = jwt.split('.');
    let (Some(head), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let is_base64url = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    [head, payload, signature].into_iter().all(is_base64url).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn jwt(payload: &str) -> String {
        format!("eyJhbGciOiJIUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    fn lifetime(payload: &str) -> Result<Option<u64>, BadToken> {
        let now = UNIX_EPOCH + Duration::from_secs(NOW);
        let claims = Claims::read(&jwt(payload))?;
        claims.lifetime(now).map(|left| left.map(|left| left.as_secs()))
    }

    #[test]
    fn a_token_says_who_where_and_how_long() {
        let claims = Claims::read(&jwt(
            r#"{"sub":"@ada:here:PHONE","video":{"room":"abc","roomJoin":true},"more":[1]}"#,
        ));
        let claims = claims.unwrap();
        assert_eq!(claims.identity.as_deref(), Some("@ada:here:PHONE"));
        assert_eq!(claims.room.as_deref(), Some("abc"));
        assert!(!format!("{claims:?}").contains("ada"));
    }

    #[test]
    fn a_token_lives_as_long_as_it_was_made_for_and_no_longer() {
        for (payload, left) in [
            (format!(r#"{{"iat":{NOW},"exp":{}}}"#, NOW + 3600), Some(3600)),
            (format!(r#"{{"nbf":{NOW},"exp":{}}}"#, NOW + 60), Some(60)),
            // A clock of ours that is two hours behind does not lengthen it.
            (format!(r#"{{"iat":{},"exp":{}}}"#, NOW + 7200, NOW + 10800), Some(3600)),
            (format!(r#"{{"iat":{},"exp":{}}}"#, NOW - 3000, NOW + 600), Some(600)),
            (format!(r#"{{"exp":{}.5}}"#, NOW + 90), Some(90)),
            (r#"{"exp":1e300}"#.to_owned(), Some(LONGEST_LIFE.as_secs())),
            ("{}".to_owned(), None),
            (r#"{"exp":null,"sub":null,"video":null}"#.to_owned(), None),
        ] {
            assert_eq!(lifetime(&payload), Ok(left), "{payload}");
        }
    }

    #[test]
    fn a_token_that_was_good_is_refused() {
        let never = format!(r#"{{"iat":{},"exp":{}}}"#, NOW + 90, NOW + 60);
        let now = format!(r#"{{"exp":{NOW}}}"#);
        for payload in [r#"{"exp":1}"#, r#"{"exp":-1e300}"#, &never, &now] {
            assert_eq!(lifetime(payload), Err(BadToken::Expired), "{payload}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let bad = ["", ".", "..", "a.b", "a.b.c", "a.e30.c.d", "a.e30.", ".e30.c", "a. e30.c"];
        for text in bad.into_iter().chain(["a.e30.c\r\nx: y", "a.e30=.c", "ä.e30.c"]) {
            assert_eq!(Claims::read(text), Err(BadToken::Unreadable), "{text}");
        }
        let payloads = ["", "[]", "null", "7", "{", r#"{"exp":"soon"}"#, r#"{"sub":1}"#, "\u{0}"];
        for payload in payloads.into_iter().chain([r#"{"exp":1e999}"#, r#"{"video":[]}"#]) {
            let read = Claims::read(&jwt(payload));
            assert!(matches!(read, Err(BadToken::Unreadable)), "{payload}: {read:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let name = "a".repeat(LONGEST_NAME + 1);
        let long = "a".repeat(LONGEST);
        let texts = [jwt(&format!(r#"{{"sub":"{name}"}}"#)), jwt(&format!(r#"{{"x":"{long}"}}"#))];
        for text in texts {
            assert_eq!(Claims::read(&text), Err(BadToken::TooLong));
        }
    }
}
