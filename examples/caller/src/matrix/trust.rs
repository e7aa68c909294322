//! Whom we trust: the system's roots, and one more from a file, for homeserver, TURN and token services
//! alike.

use std::{fs, path::Path, sync::Arc};

use matrix_sdk::reqwest::{Certificate, Client};
use matrix_voip::host::{Media, WebRtc};
use matrix_voip_livekit::{PlainText, Settings, SfuGet};
use matrix_voip_str0m::TrustedRoots;

use crate::{cli::Engine, engine::Engines};

/// Roots that are trusted beside the system's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    pem: Option<Vec<u8>>,
    roots: Vec<Certificate>,
}

impl Trust {
    /// Reads a file of certificates (PEM), if one is named.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else { return Ok(Self::default()) };
        let name = file.display();
        let pem = fs::read(file).map_err(|why| format!("{name}: {why}"))?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(|why| format!("{name}: {why}"))?;
        if roots.is_empty() {
            return Err(format!("{name}: no certificate in it"));
        }
        Ok(Self { pem: Some(pem), roots })
    }

    /// Requests that take no proxy of the environment.
    pub(crate) fn direct_http(&self) -> Result<Client, String> {
        self.build(Client::builder().no_proxy())
    }

    /// Requests as the environment wants them.
    pub(crate) fn http(&self) -> Result<Client, String> {
        self.build(Client::builder())
    }

    /// An engine for that media.
    pub(crate) fn engine(
        &self,
        engine: Engine,
        media: Arc<dyn Media>,
    ) -> Result<Arc<dyn WebRtc>, String> {
        Ok(self.engines(engine)?.make(media))
    }

    /// How engines are made.
    pub(crate) fn engines(&self, engine: Engine) -> Result<Engines, String> {
        let engines = Engines::new(engine);
        Ok(match &self.pem {
            None => engines,
            Some(pem) => {
                engines.trusting(TrustedRoots::system_and(pem).map_err(|why| why.to_string())?)
            }
        })
    }

    /// How tokens of an SFU are fetched.
    pub(crate) fn tokens(&self, plain: PlainText) -> Result<SfuGet, String> {
        let settings = Settings::default().plain_text(plain);
        let settings = match &self.pem {
            None => settings,
            Some(pem) => settings.trusted_root(pem.as_slice()),
        };
        SfuGet::new(&settings).map_err(|why| why.to_string())
    }

    fn build(&self, builder: matrix_sdk::reqwest::ClientBuilder) -> Result<Client, String> {
        let builder = match self.roots.is_empty() {
            true => builder,
            false => builder.tls_certs_merge(self.roots.iter().cloned()),
        };
        builder.build().map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_told() {
        let error = Trust::read(Some(Path::new("/nowhere/root.pem"))).unwrap_err();
        assert!(error.starts_with("/nowhere/root.pem: "), "{error}");
        let error = Trust::read(Some(Path::new(file!()))).unwrap_err();
        assert!(!error.is_empty());
    }
}
