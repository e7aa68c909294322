//! Why a command could not begin: one clear line for a person, exit code 2.

use std::{error::Error, iter::successors};

use matrix_sdk::{ClientBuildError, HttpError, ruma::api::error::ErrorKind};

use super::plain::plain;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) String);

impl Refusal {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }

    /// What a request to the homeserver failed of; `what` says what was tried.
    pub(crate) fn of(what: &str, error: &matrix_sdk::Error) -> Self {
        if let Some(kind) = error.client_api_error_kind() {
            return Self::of_kind(what, kind, &error.to_string());
        }
        Self(format!("{what}: {}", with_causes(error)))
    }

    /// The same of a plain request.
    pub(crate) fn of_http(what: &str, error: &HttpError) -> Self {
        match error.client_api_error_kind() {
            Some(kind) => Self::of_kind(what, kind, &error.to_string()),
            None => Self(format!("{what}: {}", with_causes(error))),
        }
    }

    fn of_kind(what: &str, kind: &ErrorKind, text: &str) -> Self {
        Self(match kind {
            ErrorKind::UnknownToken { .. } => {
                format!("{what}: the login is not valid any more: caller logout, caller login")
            }
            ErrorKind::LimitExceeded { .. } => {
                format!("{what}: the homeserver asks for a pause; try again in a minute")
            }
            _ => format!("{what}: {text}"),
        })
    }
}

impl From<ClientBuildError> for Refusal {
    fn from(error: ClientBuildError) -> Self {
        Self(format!("no homeserver: {}", with_causes(&error)))
    }
}

impl From<String> for Refusal {
    fn from(line: String) -> Self {
        Self(line)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> = self.0.split_whitespace().collect();
        f.write_str(&plain(words.join(" ")))
    }
}

/// An error, what caused it, what caused that, and so on.
pub(crate) fn causes(error: &dyn Error) -> impl Iterator<Item = &dyn Error> {
    successors(Some(error), |&error| error.source())
}

/// An error with what caused it, each once. Of a request that did not get through only the last cause
/// means something to a person.
fn with_causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    match texts.iter().any(|text| text.contains("error sending request")).then(|| texts.pop()) {
        Some(last) => format!("the homeserver does not answer: {}", last.unwrap_or_default()),
        None => texts.join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_whatever_it_quotes() {
        let refusal = Refusal::new("login:\n  two\tlines \r\n");
        assert_eq!(refusal.to_string(), "login: two lines");
        let refusal = Refusal::new("the homeserver: \x1b]0;pwned\x07 \u{9b}2J\u{202e}no");
        let shown = "the homeserver: \u{fffd}]0;pwned\u{fffd} \u{fffd}2J\u{fffd}no";
        assert_eq!(refusal.to_string(), shown);
    }
}
