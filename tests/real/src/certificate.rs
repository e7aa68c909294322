//! The certificate of the TURN server: issued for 127.0.0.1 and localhost by a root that lives as
//! long as the test run. Clients are given the root as a setting, none installs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    equipment::Equipment,
    failure::{Context, Failure},
};

const DAYS: &str = "2";

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
    pub(crate) fn issue(equipment: &Equipment, folder: &Path) -> Result<Self, Failure> {
        let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\n\
            basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n";
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(folder.join("extensions"), extensions))
            .context("writing the certificate")?;
        let run = |arguments: &str| openssl(equipment, folder, arguments);
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run(&format!(
            "req -x509 {new_key} -keyout root.key -out root.pem -days {DAYS} -subj /CN=matrix-voip \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ))?;
        run(&format!("req {new_key} -keyout own.key -out own.csr -subj /CN=localhost"))?;
        run(&format!(
            "x509 -req -in own.csr -CA root.pem -CAkey root.key -CAcreateserial -days {DAYS} \
             -extfile extensions -out own.pem"
        ))?;
        run("pkey -in own.key -pubout -outform DER -out public.der")?;
        run("dgst -sha256 -binary -out digest public.der")?;
        let fingerprint = run("base64 -in digest")?.trim().to_owned();
        let file = |name: &str| folder.join(name);
        Ok(Self { root: file("root.pem"), own: file("own.pem"), key: file("own.key"), fingerprint })
    }
}

/// Runs `openssl` with arguments that have no spaces in them; what it printed.
fn openssl(equipment: &Equipment, folder: &Path, arguments: &str) -> Result<String, Failure> {
    let mut command = Command::new(&equipment.openssl);
    let output = command.args(arguments.split_whitespace()).current_dir(folder).output();
    let output = output.context("starting openssl")?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("openssl {arguments}: {}", told.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
