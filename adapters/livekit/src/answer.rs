//! What an answer means: a token, or which fault. Nothing that a service says in words goes on from
//! here; of its error codes those that look like one.

use std::time::{Duration, SystemTime};

use matrix_voip::{
    machine::io::{SfuToken, TokenFault},
    redact::Secret,
};
use serde::Deserialize;

use crate::{
    address::{self, BadSfu, PlainText},
    claims::Claims,
    http::{Answer, bounded_wait},
};

/// Longer error codes are none, in bytes.
const LONGEST_CODE: usize = 48;

/// What a token service gives (`livekit.md` §3.1).
#[derive(Deserialize)]
struct Given {
    url: String,
    jwt: String,
}

/// What a Matrix server says when it says no.
#[derive(Default, Deserialize)]
struct Refusal {
    errcode: Option<String>,
    /// What `Retry-After` was before it.
    retry_after_ms: Option<u64>,
}

/// The token of a service's answer.
pub(crate) fn token(answer: &Answer, plain: PlainText) -> Result<SfuToken, TokenFault> {
    let Given { url, jwt } = content(answer)?;
    let jwt = Secret::new(jwt);
    let url = address::sfu(&url, plain).map_err(|bad| TokenFault::Unusable(words(bad).into()))?;
    usable(url, jwt, answer.now)
}

/// A token for the SFU at this address, if it is good at `now`.
pub(crate) fn usable(url: String, jwt: Secret, now: SystemTime) -> Result<SfuToken, TokenFault> {
    let claims = Claims::read(jwt.expose());
    let known = claims.and_then(|claims| Ok((claims.lifetime(now)?, claims.identity)));
    let (lifetime, identity) = known.map_err(|bad| TokenFault::Unusable(bad.to_string()))?;
    Ok(SfuToken { url, jwt, lifetime, identity })
}

fn words(bad: BadSfu) -> &'static str {
    match bad {
        BadSfu::NoAddress => "its SFU has no address that begins with wss://",
        BadSfu::InTheClear => {
            "its SFU is reached in the clear: give the service an address with wss://, or switch \
             plain text on for a test"
        }
    }
}

/// What a good answer holds, as that type.
pub(crate) fn content<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, TokenFault> {
    if answer.status != 200 {
        return Err(fault(answer));
    }
    let body = answer.body.as_ref().ok_or(TokenFault::NoService(200))?;
    serde_json::from_slice(body).map_err(|_| TokenFault::NoService(200))
}

fn fault(answer: &Answer) -> TokenFault {
    let said = answer.body.as_ref().and_then(|body| serde_json::from_slice(body).ok());
    let Refusal { errcode, retry_after_ms } = said.unwrap_or_default();
    let code = errcode.filter(|code| is_code(code));
    match (answer.status, code.as_deref()) {
        (429, _) | (_, Some("M_LIMIT_EXCEEDED")) => {
            let older = || retry_after_ms.map(Duration::from_millis).map(bounded_wait);
            TokenFault::RateLimited { retry_after: answer.retry_after.or_else(older) }
        }
        // 408: the service has waited for our request.
        (status @ (408 | 500..), _) => TokenFault::ServiceFailed(status),
        (401, Some("M_UNAUTHORIZED")) => TokenFault::NotBelieved,
        (401, Some("M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN")) => TokenFault::LoggedOut,
        (status @ (404 | 405), Some("M_UNRECOGNIZED")) => TokenFault::NoService(status),
        (400, Some(code)) if is_of_form(code) => TokenFault::NotUnderstood(code.to_owned()),
        (400..=499, Some(code)) => TokenFault::Refused(code.to_owned()),
        // A page of something else: a proxy, a redirect.
        (status, _) => TokenFault::NoService(status),
    }
}

/// Whether the code is about the form of a request.
fn is_of_form(code: &str) -> bool {
    let codes =
        ["M_NOT_JSON", "M_BAD_JSON", "M_MISSING_PARAM", "M_INVALID_PARAM", "M_UNRECOGNIZED"];
    codes.contains(&code)
}

/// As Matrix writes them: `M_FORBIDDEN`, `ORG.EXAMPLE_CODE`. Tokens have small letters.
fn is_code(code: &str) -> bool {
    let is_fine = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_.".contains(&b);
    (3..=LONGEST_CODE).contains(&code.len()) && code.contains('_') && code.bytes().all(is_fine)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use zeroize::Zeroizing;

    use super::*;

    fn said(status: u16, body: &str) -> TokenFault {
        let body = Some(Zeroizing::new(body.as_bytes().to_vec()));
        let answer = Answer { status, now: UNIX_EPOCH, retry_after: None, body };
        token(&answer, PlainText::Loopback).unwrap_err()
    }

    #[test]
    fn only_what_looks_like_an_error_code_goes_on() {
        let code = |code: &str| said(403, &format!(r#"{{"errcode":"{code}"}}"#));
        for good in ["M_FORBIDDEN", "IO.ELEMENT.MSC4195_NO"] {
            assert_eq!(code(good), TokenFault::Refused(good.to_owned()));
        }
        let long = format!("M_{}", "A".repeat(LONGEST_CODE));
        for bad in ["", "M", "ABCDEF", "M_forbidden", "syt_token", "M_A B", "@ada:here", &long] {
            assert_eq!(code(bad), TokenFault::NoService(403), "{bad}");
        }
    }

    #[test]
    fn a_pause_in_the_body_counts_where_there_is_no_header() {
        let body = r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":1500}"#;
        let retry_after = Some(Duration::from_millis(1500));
        assert_eq!(said(429, body), TokenFault::RateLimited { retry_after });
        assert_eq!(said(400, body), TokenFault::RateLimited { retry_after });
        assert_eq!(said(429, "{"), TokenFault::RateLimited { retry_after: None });
    }
}
