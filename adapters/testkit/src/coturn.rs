//! A coturn of its own for each test: on loopback, on free ports, with the credentials that
//! Synapse would give (`use-auth-secret`), and gone with the test.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use matrix_voip::{machine::io::IceServer, redact::Secret, testing::conformance::Relays};

const SECRET: &str = "coturn shares this with the homeserver";

/// A server that runs.
pub struct Coturn {
    process: Child,
    folder: PathBuf,
    /// Where it listens, for UDP and TCP.
    pub port: u16,
    /// Where it listens, for TLS.
    pub tls_port: u16,
    /// The certificate, to be trusted or not.
    pub certificate: String,
}

impl Coturn {
    /// Starts one on loopback; `None` where there is no coturn, which is then said.
    pub async fn start(options: &[&str]) -> Option<Self> {
        Self::start_at(&["turnserver"], "127.0.0.1", options).await
    }

    /// Starts one at this address, by this command: in another network namespace, perhaps.
    pub async fn start_at(command: &[&str], address: &str, options: &[&str]) -> Option<Self> {
        let (port, tls_port) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("coturn-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Not for 127.0.0.1: who asks for that has the right root and the wrong name.
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        let (program, arguments) = command.split_first().unwrap();
        let started = Command::new(program)
            .args(arguments)
            .current_dir(&folder)
            .arg(format!("--listening-ip={address}"))
            .arg(format!("--relay-ip={address}"))
            .args(["-n", "--no-cli"])
            .args(["--use-auth-secret", "--realm=localhost", "--allow-loopback-peers"])
            .args(["--no-dtls", "--no-multicast-peers", "--simple-log", "--verbose"])
            .args(["--cert=cert.pem", "--pkey=key.pem", "--log-file=stdout"])
            .args(["--userdb=db", "--pidfile=pid"])
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--listening-port={port}"))
            .arg(format!("--tls-listening-port={tls_port}"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.join("log")).unwrap())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            say_skipped();
            return None;
        };
        let mut coturn = Self { process, folder, port, tls_port, certificate: cert.pem() };
        coturn.wait(address).await.then_some(coturn)
    }

    /// A URI of this server with good credentials.
    pub fn server(&self, uri: &str) -> IceServer {
        self.server_for(uri, "ada", Duration::from_secs(3600))
    }

    /// A URI of this server for a user, with credentials that are good for so long; zero: they were.
    pub fn server_for(&self, uri: &str, user: &str, ttl: Duration) -> IceServer {
        #[expect(clippy::disallowed_methods, reason = "coturn reads a real clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ends = if ttl.is_zero() { now.as_secs() - 60 } else { (now + ttl).as_secs() };
        let username = format!("{ends}:{user}");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
        let password = BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        let uri = uri.replace("PORT", &self.port.to_string());
        let urls = vec![uri.replace("TLS", &self.tls_port.to_string())];
        IceServer { urls, username: username.as_str().into(), credential: Secret::new(password) }
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap()).into_owned()
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        drop((self.process.kill(), self.process.wait()));
    }

    /// Whether it runs; not where the command could not start it.
    async fn wait(&mut self, address: &str) -> bool {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..1000 {
            looks.tick().await;
            let ports = [self.port, self.tls_port];
            if ports.iter().all(|port| TcpStream::connect((address, *port)).is_ok()) {
                return true;
            }
            if self.process.try_wait().unwrap().and_then(|status| status.code()) == Some(NOT_FOUND)
            {
                say_skipped();
                return false;
            }
        }
        panic!("coturn does not start:\n{}", self.log());
    }
}

/// The servers for the suite that judges engines. The one for TCP and TLS takes no UDP from clients:
/// an engine that goes by UDP instead gets no relay.
pub struct Servers {
    udp: Coturn,
    streams: Coturn,
}

impl Servers {
    /// Starts them on loopback; `None` where there is no coturn, which is then said.
    pub async fn start() -> Option<Self> {
        let udp = Coturn::start(&[]).await?;
        Some(Self { udp, streams: Coturn::start(&["--no-udp"]).await? })
    }

    /// A relay by each transport.
    pub fn relays(&self) -> Relays {
        let mut relays = Relays::default();
        relays.udp = Some(self.udp.server("turn:127.0.0.1:PORT?transport=udp"));
        relays.tcp = Some(self.streams.server("turn:localhost:PORT?transport=tcp"));
        relays.tls = Some(self.streams.server("turns:localhost:TLS?transport=tcp"));
        relays
    }

    /// The certificate that is to be trusted.
    pub fn certificate(&self) -> &[u8] {
        self.streams.certificate.as_bytes()
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// What `nsenter` ends with when there is no such program.
const NOT_FOUND: i32 = 127;

/// Past libtest, which swallows what print macros say.
fn say_skipped() {
    let skipped = b"skipped: coturn: turnserver is not installed\n";
    std::io::stderr().write_all(skipped).unwrap();
}

/// A port that nobody uses, for UDP and TCP.
pub fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
