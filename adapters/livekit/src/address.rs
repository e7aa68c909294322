//! Addresses of services and of SFUs: which are taken, and which would carry a token in the clear.

use matrix_voip::machine::io::TokenFault;
use url::{Host, Url};

/// Longer ones are none, in bytes.
const LONGEST: usize = 2048;

/// Where `http` and `ws` are good enough. With them everybody on the way can read the token, and be
/// us in the call. Which address it is a member of the call says: one of this machine would have us ask
/// whatever listens here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlainText {
    /// Nowhere.
    #[default]
    Nowhere,
    /// To this machine alone: `localhost`, `127.0.0.0/8`, `::1`. For tests and development.
    Loopback,
    /// Everywhere. For a test network.
    Anywhere,
}

/// The endpoint of these path segments below a base address, whatever slashes that ends in. What stands
/// behind its path (`?`, `#`) is left out: it is no part of a base, and a member of the call wrote it.
pub(crate) fn endpoint(base: &str, path: &[&str], plain: PlainText) -> Result<Url, TokenFault> {
    let mut url = parse(base).ok_or(TokenFault::BadAddress)?;
    match url.scheme() {
        "https" => {}
        "http" if is_fine(&url, plain) => {}
        "http" => return Err(TokenFault::InTheClear),
        _ => return Err(TokenFault::BadAddress),
    }
    url.set_fragment(None);
    url.set_query(None);
    let below = format!("{}/{}", url.path().trim_end_matches('/'), path.join("/"));
    url.set_path(&below);
    Ok(url)
}

/// Why an address of an SFU is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadSfu {
    NoAddress,
    InTheClear,
}

/// The address of an SFU as a WebSocket's, without a slash at its end. Services are configured with
/// either scheme (`LIVEKIT_URL`).
pub(crate) fn sfu(text: &str, plain: PlainText) -> Result<String, BadSfu> {
    let mut url = parse(text).ok_or(BadSfu::NoAddress)?;
    let scheme = match url.scheme() {
        "wss" | "https" => "wss",
        "ws" | "http" if is_fine(&url, plain) => "ws",
        "ws" | "http" => return Err(BadSfu::InTheClear),
        _ => return Err(BadSfu::NoAddress),
    };
    url.set_scheme(scheme).map_err(|()| BadSfu::NoAddress)?;
    Ok(String::from(url).trim_end_matches('/').to_owned())
}

/// With a host, and without a password: that would be one more secret in a place that is none.
fn parse(text: &str) -> Option<Url> {
    let text = Some(text.trim()).filter(|text| text.len() <= LONGEST)?;
    let url = Url::parse(text).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    (url.has_host() && is_plain).then_some(url)
}

fn is_fine(url: &Url, plain: PlainText) -> bool {
    match plain {
        PlainText::Nowhere => false,
        PlainText::Loopback => is_loopback(url),
        PlainText::Anywhere => true,
    }
}

/// Whether the address is this machine's own.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: &str) -> Result<String, TokenFault> {
        endpoint(base, &["sfu", "get"], PlainText::Loopback).map(String::from)
    }

    #[test]
    fn an_endpoint_is_below_its_base_whatever_slashes_that_ends_in() {
        for base in ["https://rtc.example", "https://rtc.example/", " https://rtc.example/// "] {
            assert_eq!(at(base).unwrap(), "https://rtc.example/sfu/get");
        }
        assert_eq!(at("https://rtc.example/jwt/").unwrap(), "https://rtc.example/jwt/sfu/get");
        for more in ["#x", "?delete=all", "?a#b"] {
            let base = format!("https://rtc.example/jwt{more}");
            assert_eq!(at(&base).unwrap(), "https://rtc.example/jwt/sfu/get");
        }
    }

    #[test]
    fn what_is_no_address_of_a_service_is_refused() {
        let long = format!("https://rtc.example/{}", "a".repeat(LONGEST));
        let bad =
            ["", "rtc.example", "/jwt", "wss://rtc.example", "file:///etc", "https://", &long];
        for base in bad.into_iter().chain(["https://me:secret@rtc.example", "mailto:a@b"]) {
            assert_eq!(at(base), Err(TokenFault::BadAddress), "{base}");
        }
    }

    #[test]
    fn plain_http_leads_nowhere_unless_switched_on_and_then_to_this_machine_or_anywhere() {
        for base in
            ["http://localhost:1", "http://127.0.0.9", "http://[::1]:80", "http://a.localhost."]
        {
            assert!(at(base).is_ok(), "{base}");
            let usual = endpoint(base, &["sfu"], PlainText::default());
            assert_eq!(usual, Err(TokenFault::InTheClear), "{base}");
        }
        for base in ["http://rtc.example", "http://192.0.2.1", "http://localhost.example"] {
            assert_eq!(at(base), Err(TokenFault::InTheClear), "{base}");
            assert!(endpoint(base, &["sfu"], PlainText::Anywhere).is_ok(), "{base}");
        }
    }

    #[test]
    fn the_address_of_an_sfu_becomes_a_websockets() {
        for (given, taken) in [
            ("wss://sfu.example", "wss://sfu.example"),
            ("https://sfu.example:7443/rtc/", "wss://sfu.example:7443/rtc"),
            ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880"),
            ("http://localhost:7880/", "ws://localhost:7880"),
        ] {
            assert_eq!(sfu(given, PlainText::Loopback).as_deref(), Ok(taken));
        }
        let usual = sfu("ws://127.0.0.1:7880", PlainText::default());
        assert_eq!(usual, Err(BadSfu::InTheClear));
        for plain in ["ws://sfu.example", "http://sfu.example"] {
            assert_eq!(sfu(plain, PlainText::Loopback), Err(BadSfu::InTheClear));
            assert_eq!(sfu(plain, PlainText::Anywhere).as_deref(), Ok("ws://sfu.example"));
        }
        for bad in ["", "sfu.example", "ftp://sfu.example", "wss://me:word@sfu.example"] {
            assert_eq!(sfu(bad, PlainText::Anywhere), Err(BadSfu::NoAddress), "{bad}");
        }
    }
}
