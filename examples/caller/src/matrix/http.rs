//! Plain requests to the homeserver, with the client's token: what the SDK has no call for, and
//! what a test wants to say itself.

use std::time::Duration;

use matrix_sdk::reqwest::{self, Method, Url};
use matrix_voip::redact::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::refusal::causes;

/// Where the client-server API begins.
pub(crate) const CLIENT_API: &str = "/_matrix/client/v3";

/// Longest time for one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A homeserver as one client reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

/// Another answer than success: the status, and what the homeserver said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    Refused(Refused),
    Unreachable(String),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(Refused { status, body }) => write!(f, "{status}: {body}"),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

impl From<HttpError> for String {
    fn from(error: HttpError) -> Self {
        error.to_string()
    }
}

impl Http {
    pub(crate) fn new(client: reqwest::Client, base: &str) -> Result<Self, String> {
        let base = Url::parse(base).map_err(|why| format!("{base}: {why}"))?;
        Ok(Self { client, base, token: None })
    }

    /// The same, with a token.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(Secret::new(token));
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, HttpError> {
        self.request(Method::GET, self.url(CLIENT_API, path, None)?, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, HttpError> {
        self.request(Method::POST, self.url(CLIENT_API, path, None)?, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, HttpError> {
        self.request(Method::PUT, self.url(CLIENT_API, path, None)?, Some(body)).await
    }

    /// `path` with `query`, below `prefix`. Parts of the path must be escaped ([`escaped`]).
    pub(crate) fn url(
        &self,
        prefix: &str,
        path: &str,
        query: Option<&Value>,
    ) -> Result<Url, HttpError> {
        let joined = self.base.join(&format!("{prefix}{path}"));
        let mut url = joined.map_err(|why| HttpError::Unreachable(format!("{path}: {why}")))?;
        if url.origin() != self.base.origin() {
            // The token goes to nobody else.
            let why = format!("{prefix}{path}: not at the homeserver");
            return Err(HttpError::Unreachable(why));
        }
        if let Some(Value::Object(query)) = query {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in query {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                pairs.append_pair(name, &text);
            }
        }
        Ok(url)
    }

    /// One request; an answer that is no JSON is `null`.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Value, HttpError> {
        let mut request = self.client.request(method, url).timeout(PATIENCE);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let unreachable = |why: reqwest::Error| HttpError::Unreachable(told(&why));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        Err(HttpError::Refused(Refused { status: status.as_u16(), body }))
    }
}

/// An error with its causes, without the address (which may hold a token).
fn told(error: &reqwest::Error) -> String {
    let head = "the homeserver does not answer".to_owned();
    causes(error).skip(1).fold(head, |text, cause| format!("{text}: {cause}"))
}

/// Everything but what RFC 3986 never escapes.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text as one part of a path.
pub(crate) fn escaped(part: &str) -> String {
    utf8_percent_encode(part, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_a_path_are_escaped() {
        assert_eq!(escaped("!r/../x:h#é"), "%21r%2F..%2Fx%3Ah%23%C3%A9");
    }

    #[test]
    fn no_request_leaves_the_homeserver() {
        let http = Http::new(reqwest::Client::new(), "http://127.0.0.1:1").unwrap();
        for (prefix, path) in [
            ("//host/", "a"),
            ("/\\host/", "a"),
            ("http://host/", "a"),
            ("https://127.0.0.1:1", "/a"),
            ("//127.0.0.1:2", "/a"),
            ("file:///", "a"),
            ("", "//host/a"),
        ] {
            let refused = http.url(prefix, path, None).unwrap_err().to_string();
            assert!(refused.ends_with("not at the homeserver"), "{prefix}{path}: {refused}");
        }
        assert!(http.url("http://127.0.0.1:1", "/a", None).is_ok());
    }

    #[test]
    fn a_query_may_hold_texts_and_numbers() {
        let http = Http::new(reqwest::Client::new(), "http://127.0.0.1:1").unwrap();
        let query = json!({"dir": "b", "limit": 5});
        let url = http.url("/_matrix/client/v3", "/rooms/%21r/messages", Some(&query)).unwrap();
        let all = "http://127.0.0.1:1/_matrix/client/v3/rooms/%21r/messages?dir=b&limit=5";
        assert_eq!(url.as_str(), all);
    }
}
