//! One HTTP request and its answer, bounded in time and size. Redirects are not followed: the
//! request holds a token, which is for nobody else.

use std::time::{Duration, SystemTime};

use matrix_voip::{machine::io::TokenFault, redact::Secret};
use reqwest::{
    Certificate, Client, ClientBuilder, Response,
    header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER},
    redirect,
};
use url::Url;
use zeroize::Zeroizing;

use crate::address::{PlainText, is_loopback};

/// How long a source waits for its token, from the first packet to the last.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Of longer answers nothing is read. Real ones have less than 1 KiB.
pub(crate) const LONGEST_ANSWER: usize = 64 * 1024;

/// A server that wants us to wait longer is asked again after that.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How sources reach their services. The default: by TLS with the operating system's certificates
/// and through its proxy; this machine itself never through a proxy.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    plain: PlainText,
    roots: Vec<Vec<u8>>,
}

impl Settings {
    /// Where plain text is good enough, for services and for the SFUs that they name.
    #[must_use]
    pub fn plain_text(mut self, plain: PlainText) -> Self {
        self.plain = plain;
        self
    }

    /// Trusts other roots (a file in PEM) beside the operating system's.
    #[must_use]
    pub fn trusted_root(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    fn certificates(&self) -> Result<Vec<Certificate>, SetupError> {
        let mut all = Vec::new();
        for pem in &self.roots {
            let some = Certificate::from_pem_bundle(pem).map_err(|_| SetupError::Root)?;
            if some.is_empty() {
                return Err(SetupError::Root);
            }
            all.extend(some);
        }
        Ok(all)
    }

    /// What has spoilt a client: of what we choose only a root that is none can.
    fn spoilt(&self) -> SetupError {
        if self.roots.is_empty() { SetupError::Client } else { SetupError::Root }
    }
}

/// Why no source can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A root of [`Settings::trusted_root`] is no certificate in PEM.
    #[error("a trusted root is no certificate in PEM")]
    Root,
    /// The HTTP client refuses these settings, or finds no certificates.
    #[error("no HTTP client can be made: are there certificates in the operating system?")]
    Client,
}

/// What asks. Clones share their certificates, which take a while to be read.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    far: Client,
    /// For this machine itself: a proxy would see the plain text.
    near: Client,
    plain: PlainText,
}

/// What is asked.
pub(crate) struct Request {
    /// Where.
    pub(crate) url: Url,
    /// JSON to be posted; without it the request is a GET.
    pub(crate) body: Option<Vec<u8>>,
    /// The access token of who asks.
    pub(crate) bearer: Option<Secret>,
}

/// What was answered.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The time there, else ours.
    pub(crate) now: SystemTime,
    /// How long we are to wait.
    pub(crate) retry_after: Option<Duration>,
    /// `None`: it was too long.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
}

impl Http {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SetupError> {
        let build = |builder: ClientBuilder| {
            let roots = settings.certificates()?;
            // A token an hour: no connection waits for the next.
            let builder = builder.redirect(redirect::Policy::none()).pool_max_idle_per_host(0);
            builder.http1_only().tls_certs_merge(roots).build().map_err(|_| settings.spoilt())
        };
        Ok(Self {
            far: build(Client::builder())?,
            near: build(Client::builder().no_proxy())?,
            plain: settings.plain,
        })
    }

    pub(crate) fn plain(&self) -> PlainText {
        self.plain
    }

    /// Asks once. Its caller holds the deadline ([`within_deadline`]).
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, TokenFault> {
        let Request { url, body, bearer } = request;
        let client = if is_loopback(&url) { &self.near } else { &self.far };
        let mut builder = match body {
            Some(body) => client.post(url).header(CONTENT_TYPE, "application/json").body(body),
            None => client.get(url),
        };
        if let Some(bearer) = bearer {
            builder = builder.bearer_auth(bearer.expose());
        }
        // The error may hold the address; its kind is all that matters.
        let response = builder.send().await.map_err(|_| not_reached())?;
        let (status, headers) = (response.status().as_u16(), response.headers());
        tracing::debug!(status, "a token service has answered");
        let now = date(headers, &DATE).unwrap_or_else(clock);
        let retry_after = retry_after(headers, now);
        let body = body_of(response).await?;
        Ok(Answer { status, now, retry_after, body })
    }
}

fn not_reached() -> TokenFault {
    tracing::debug!("a token service was not reached");
    TokenFault::NotReached
}

/// Gives up after [`DEADLINE`].
pub(crate) async fn within_deadline<T>(
    question: impl Future<Output = Result<T, TokenFault>>,
) -> Result<T, TokenFault> {
    tokio::time::timeout(DEADLINE, question).await.unwrap_or_else(|_| Err(not_reached()))
}

async fn body_of(mut response: Response) -> Result<Option<Zeroizing<Vec<u8>>>, TokenFault> {
    // Its room is there from the start: what grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(LONGEST_ANSWER));
    while let Some(chunk) = response.chunk().await.map_err(|_| not_reached())? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let seconds = text(headers, &RETRY_AFTER).and_then(|text| text.trim().parse().ok());
    let until = || date(headers, &RETRY_AFTER)?.duration_since(now).ok();
    seconds.map(Duration::from_secs).or_else(until).map(bounded_wait)
}

/// No longer than an hour.
pub(crate) fn bounded_wait(wait: Duration) -> Duration {
    wait.min(LONGEST_WAIT)
}

/// The wall clock: what tokens are dated by.
#[expect(clippy::disallowed_methods, reason = "this adapter is a shell: here time comes in")]
pub(crate) fn clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn wait(value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        retry_after(&headers, now)
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_at_most_an_hour() {
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("18446744073709551615"), Some(LONGEST_WAIT));
        for nothing in ["", "-1", "soon", "Sun, 06 Nov 1994 08:48:37 GMT"] {
            assert_eq!(wait(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_root_that_is_no_certificate_is_refused() {
        let framed =
            |text| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        for pem in [String::new(), "root".to_owned(), framed("!"), framed("aGVsbG8=")] {
            let settings = Settings::default().trusted_root(pem);
            assert_eq!(Http::new(&settings).err(), Some(SetupError::Root));
        }
    }
}
