//! The SDK's errors as the library's faults.
//!
//! What decides is what helps: trying again ([`Fault::is_passing`]), logging in again, or nothing.
//! The homeserver's own words are left out, they may name users; its error code stays.

use std::time::Duration;

use matrix_sdk::{
    HttpError,
    ruma::api::{
        client::uiaa::UiaaResponse,
        error::{Error as ApiError, ErrorKind, FromHttpResponseError, RetryAfter},
    },
};
use matrix_voip::machine::io::Fault;

/// The fault for an error of the SDK.
pub(crate) fn fault(error: &matrix_sdk::Error) -> Fault {
    match error {
        matrix_sdk::Error::Http(error) => http_fault(error),
        matrix_sdk::Error::WrongRoomState(_) => Fault::Forbidden("not joined".into()),
        matrix_sdk::Error::AuthenticationRequired => Fault::LoggedOut,
        // Keys that could not be shared, a store that is busy: another try may go well.
        other => Fault::Failed(kind_of(other).into()),
    }
}

/// The fault for an error of a request.
pub(crate) fn http_fault(error: &HttpError) -> Fault {
    match error {
        HttpError::Reqwest(error) if error.is_timeout() => Fault::Timeout,
        HttpError::Reqwest(_) => Fault::Unreachable,
        HttpError::Api(error) => match &**error {
            FromHttpResponseError::Server(UiaaResponse::MatrixError(error)) => server_fault(error),
            FromHttpResponseError::Server(UiaaResponse::AuthResponse(_)) => {
                Fault::Forbidden("interactive authentication".into())
            }
            _ => Fault::Failed("the answer is not understood".into()),
        },
        HttpError::Cached(error) => http_fault(error),
        HttpError::RefreshToken(_) => Fault::Failed("the access token was not refreshed".into()),
        HttpError::IntoHttp(_) => Fault::Failed("the request cannot be made".into()),
        #[allow(unreachable_patterns, reason = "the SDK has one more on Android")]
        _ => Fault::Failed("request".into()),
    }
}

fn server_fault(error: &ApiError) -> Fault {
    let status = error.status_code;
    match error.error_kind() {
        Some(ErrorKind::UnknownToken(_) | ErrorKind::MissingToken) => Fault::LoggedOut,
        Some(ErrorKind::LimitExceeded(limit)) => {
            Fault::RateLimited { retry_after: limit.retry_after.as_ref().and_then(delay) }
        }
        _ if status.as_u16() == 429 => Fault::RateLimited { retry_after: None },
        _ if status.is_server_error() => Fault::Failed(format!("status {}", status.as_u16())),
        Some(ErrorKind::NotFound) => Fault::NotFound,
        Some(kind) => Fault::Forbidden(kind.errcode().to_string()),
        // Not the homeserver's word, but that of something before it: it may be gone soon.
        None => Fault::Failed(format!("status {}", status.as_u16())),
    }
}

/// A date would have to be compared with the clock of another machine: the library then takes a
/// pause of its own.
fn delay(after: &RetryAfter) -> Option<Duration> {
    match after {
        RetryAfter::Delay(delay) => Some(*delay),
        RetryAfter::DateTime(_) => None,
    }
}

/// A word for the log: the errors themselves may hold user ids.
fn kind_of(error: &matrix_sdk::Error) -> &'static str {
    match error {
        matrix_sdk::Error::NoOlmMachine => "encryption is not set up",
        matrix_sdk::Error::OlmError(_) | matrix_sdk::Error::MegolmError(_) => "encryption failed",
        matrix_sdk::Error::CryptoStoreError(_) => "the key store failed",
        matrix_sdk::Error::StateStore(_) => "the store failed",
        matrix_sdk::Error::ConcurrentRequestFailed => "another send failed",
        matrix_sdk::Error::SerdeJson(_) => "no JSON",
        _ => "the SDK failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that another send could not share, or that this one could not encrypt with.
    #[test]
    fn what_another_try_may_mend_is_told_from_what_it_cannot() {
        use matrix_sdk::Error;
        assert!(fault(&Error::ConcurrentRequestFailed).is_passing());
        assert!(fault(&Error::NoOlmMachine).is_passing());
        assert_eq!(fault(&Error::AuthenticationRequired), Fault::LoggedOut);
    }

    #[test]
    fn a_date_until_which_to_wait_is_nobodys_span() {
        let second = Duration::from_secs(1);
        assert_eq!(delay(&RetryAfter::Delay(second)), Some(second));
        assert_eq!(delay(&RetryAfter::DateTime(std::time::UNIX_EPOCH)), None);
    }
}
