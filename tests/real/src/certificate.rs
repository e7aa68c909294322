//! The certificate of the TURN server: issued for 127.0.0.1 and localhost by a root that lives as
//! long as the test run. Clients are given the root as a setting, none installs it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};

use crate::failure::{Context, Failure};

/// Whom the certificate is for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// Files in PEM, and what Chromium wants to know of them.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The root that clients trust.
    pub root: PathBuf,
    /// The server's own certificate.
    pub own: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// SHA-256 of the server's public key (SubjectPublicKeyInfo), base64.
    pub fingerprint: String,
}

impl Certificate {
    /// Makes root and certificate in `folder`.
    pub(crate) fn issue(folder: &Path) -> Result<Self, Failure> {
        let root = CertifiedIssuer::self_signed(root()?, new_key()?);
        let (root, key) = (root.context("signing the root")?, new_key()?);
        let own = server()?.signed_by(&key, &root).context("signing the certificate")?;
        fs::create_dir_all(folder).context(format_args!("making {}", folder.display()))?;
        let public = digest(&SHA256, &key.subject_public_key_info());
        Ok(Self {
            root: written(folder, "root.pem", &root.pem())?,
            own: written(folder, "own.pem", &own.pem())?,
            key: written(folder, "own.key", &key.serialize_pem())?,
            fingerprint: STANDARD.encode(public),
        })
    }
}

fn new_key() -> Result<KeyPair, Failure> {
    KeyPair::generate().context("making a key")
}

fn root() -> Result<CertificateParams, Failure> {
    let mut root = named(&[], "matrix-voip")?;
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(root)
}

fn server() -> Result<CertificateParams, Failure> {
    let mut server = named(&NAMES, "localhost")?;
    server.is_ca = IsCa::ExplicitNoCa;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(server)
}

fn named(names: &[&str], name: &str) -> Result<CertificateParams, Failure> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context("naming a certificate")?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// A new file, of nobody else: one is a key.
fn written(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .context(format_args!("writing {}", path.display()))?;
    Ok(path)
}
