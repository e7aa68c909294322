//! The TURN server: coturn with UDP, TCP and TLS listeners, and the time-limited credentials that
//! Synapse gives out.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use matrix_voip::{machine::io::IceServer, redact::Secret};

use crate::{
    certificate::Certificate,
    clock,
    failure::{Context, Failure},
    house::House,
    program::{Program, Ready},
    synapse::Turn,
};

/// How long coturn may be silent while it starts. It takes 0.1 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long credentials are good that no homeserver gives.
const DAY: u64 = 24 * 3600;

/// How a client reaches the TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// `turn:…?transport=udp`.
    Udp,
    /// `turn:…?transport=tcp`.
    Tcp,
    /// `turns:…?transport=tcp`.
    Tls,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// "udp", "tcp" or "tls", as statistics call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// The running TURN server.
#[derive(Debug)]
pub struct Coturn {
    _program: Program,
    log: PathBuf,
    port: u16,
    tls_port: u16,
    secret: String,
}

impl Coturn {
    /// Starts `turnserver`.
    pub(crate) fn start(
        house: &House,
        turnserver: &Path,
        certificate: &Certificate,
    ) -> Result<Self, Failure> {
        let (port, tls_port) = (house.port()?, house.port()?);
        let secret = "real-turn".to_owned();
        let log = house.folder().join("coturn.log");
        let mut command = house.command(turnserver);
        // -n: nothing of /etc/turnserver.conf. Without --no-cli it refuses loopback peers.
        command.args(
            "-n --use-auth-secret --realm=localhost --listening-ip=127.0.0.1 \
             --relay-ip=127.0.0.1 --no-cli --allow-loopback-peers --no-dtls --no-multicast-peers \
             --fingerprint --no-software-attribute --log-file=stdout --simple-log --verbose"
                .split_whitespace(),
        );
        command.arg(format!("--static-auth-secret={secret}"));
        command
            .args([format!("--listening-port={port}"), format!("--tls-listening-port={tls_port}")]);
        let files = [
            ("cert", certificate.own.clone()),
            ("pkey", certificate.key.clone()),
            ("userdb", house.folder().join("coturn.db")),
            ("pidfile", house.folder().join("coturn.pid")),
        ];
        command.args(files.map(|(option, file)| format!("--{option}={}", file.display())));
        let words = &["UDP listener opened", "SQLite DB connection success"];
        let program = Program::start("coturn", command, &log, Ready { words, patience: PATIENCE })?;
        Ok(Self { _program: program, log, port, tls_port, secret })
    }

    /// What a homeserver tells its clients, if these transports are all that there is.
    #[must_use]
    pub fn turn(&self, transports: &[Transport]) -> Turn {
        let uris = transports.iter().map(|transport| self.uri(*transport)).collect();
        Turn { uris, secret: self.secret.clone() }
    }

    /// The server by this one transport, with credentials as a homeserver gives them.
    #[must_use]
    pub fn server(&self, transport: Transport) -> IceServer {
        let username = format!("{}:conformance", clock::now() / 1000 + DAY);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret.as_bytes());
        let credential = Secret::new(STANDARD.encode(hmac::sign(&key, username.as_bytes())));
        IceServer { urls: vec![self.uri(transport)], username: username.into(), credential }
    }

    fn uri(&self, transport: Transport) -> String {
        match transport {
            Transport::Udp => format!("turn:127.0.0.1:{}?transport=udp", self.port),
            Transport::Tcp => format!("turn:127.0.0.1:{}?transport=tcp", self.port),
            Transport::Tls => format!("turns:127.0.0.1:{}?transport=tcp", self.tls_port),
        }
    }

    /// Whether the server has opened a port for this user, over TLS where that is asked: its own log
    /// says so, whatever clients say.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn has_served(&self, user_id: &str, transport: Transport) -> Result<bool, Failure> {
        let log = fs::read_to_string(&self.log).context("reading the log of coturn")?;
        let name = format!(":{user_id}>");
        let mut allocations =
            log.lines().filter(|line| line.contains(&name) && line.contains(": new, "));
        Ok(allocations.any(|line| line.contains("cipher=") == (transport == Transport::Tls)))
    }
}
