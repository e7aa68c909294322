//! TLS to TURN servers: rustls with aws-lc-rs, and whom it trusts.
//!
//! ```no_run
//! use matrix_voip_engine::tls::{Tls, TrustedRoots};
//! # use matrix_voip::machine::io::ServerFault;
//!
//! # async fn example(stream: tokio::net::TcpStream) -> Result<(), ServerFault> {
//! let tls = Tls::new(TrustedRoots::system()); // one for the engine
//! let secured = tls.secure("relay.example", stream).await?; // `AsyncRead + AsyncWrite`
//! # let _ = secured;
//! # Ok(())
//! # }
//! ```

use std::{fmt, io, sync::Arc};

use matrix_voip::machine::io::ServerFault;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Certificates that TURN servers over TLS (`turns:`) must be signed by.
#[derive(Clone)]
pub struct TrustedRoots {
    of_system: bool,
    own: Vec<CertificateDer<'static>>,
}

impl TrustedRoots {
    /// Those that the operating system trusts. They are read when the first such server is asked.
    pub fn system() -> Self {
        Self { of_system: true, own: Vec::new() }
    }

    /// The certificates in these PEM texts alone, for servers of one's own.
    ///
    /// # Errors
    /// [`BadCertificate`]: the text is no PEM, or holds no certificate.
    pub fn only(pem: &[u8]) -> Result<Self, BadCertificate> {
        let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let own = own.map_err(|_| BadCertificate)?;
        let are_usable = !own.is_empty() && store(&own).len() == own.len();
        are_usable.then_some(Self { of_system: false, own }).ok_or(BadCertificate)
    }

    /// The operating system's and these.
    ///
    /// # Errors
    /// As [`only`](Self::only).
    pub fn system_and(pem: &[u8]) -> Result<Self, BadCertificate> {
        Ok(Self { of_system: true, ..Self::only(pem)? })
    }

    /// Reads the system's certificates, which may take a while.
    fn load(self) -> RootCertStore {
        let mut roots = store(&self.own);
        if self.of_system {
            let found = rustls_native_certs::load_native_certs();
            let (added, ignored) = roots.add_parsable_certificates(found.certs);
            tracing::debug!(added, ignored, "the system's trusted certificates");
        }
        if roots.is_empty() {
            tracing::warn!("no certificate is trusted: no TURN server over TLS can be used");
        }
        roots
    }
}

impl Default for TrustedRoots {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for TrustedRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedRoots(system: {}, own: {})", self.of_system, self.own.len())
    }
}

/// A text that should hold certificates does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the text holds no usable certificate")]
pub struct BadCertificate;

/// TLS for all connections of an engine.
pub struct Tls {
    roots: TrustedRoots,
    config: OnceCell<Option<Arc<ClientConfig>>>,
}

impl Tls {
    /// Trusts these; nothing is read before the first use.
    pub fn new(roots: TrustedRoots) -> Self {
        Self { roots, config: OnceCell::new() }
    }

    /// Makes a stream secure; the other end must prove to be `name`.
    ///
    /// # Errors
    /// [`ServerFault::Untrusted`], [`ServerFault::Nonsense`] for what is no TLS,
    /// [`ServerFault::Unreachable`].
    pub async fn secure(
        &self,
        name: &str,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ServerFault> {
        let config = self.config.get_or_init(|| config(self.roots.clone())).await.clone();
        let config = config.ok_or(ServerFault::Unusable)?;
        let name = ServerName::try_from(name.to_owned()).map_err(|_| ServerFault::Unusable)?;
        TlsConnector::from(config).connect(name, stream).await.map_err(|error| fault(&error))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// The configuration, made on a thread where waiting for files harms nobody.
async fn config(roots: TrustedRoots) -> Option<Arc<ClientConfig>> {
    let roots = tokio::task::spawn_blocking(|| roots.load()).await.ok()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn store(certificates: &[CertificateDer<'static>]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    roots
}

fn fault(error: &io::Error) -> ServerFault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            ServerFault::Untrusted
        }
        Some(_) => ServerFault::Nonsense,
        None => ServerFault::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_certificates_is_refused() {
        assert_eq!(TrustedRoots::only(b"").unwrap_err(), BadCertificate);
        assert_eq!(TrustedRoots::only(b"-----BEGIN").unwrap_err(), BadCertificate);
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(TrustedRoots::system_and(empty.as_bytes()).unwrap_err(), BadCertificate);
    }
}
