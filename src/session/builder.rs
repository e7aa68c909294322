//! How a [`VoIP`] is put together and started.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::voip::VoIP;
use crate::{
    config::{Config, SfuClient},
    driver::{Driver, Hub, Start, WallClock},
    host::{
        keys::KeyProvider,
        mailbox::Mailbox,
        serve::{Hosts, serve},
        sfu::Sfu,
        signaling::{LedgerStore, Signaling},
        tokens::TokenSource,
        webrtc::WebRtc,
    },
    machine::Identity,
    record::{Origin, Recorder},
    wire::ledger::Ledger,
};

/// Why a `VoIP` was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `start` was called outside a tokio runtime, where its task cannot run.
    #[error("start() must be called within a tokio runtime (of which the timers are enabled)")]
    NoRuntime,
    /// The tokio runtime was built without timers. Tokio's own panic message about it comes first.
    #[error("the tokio runtime has no timers: build it with enable_time() or enable_all()")]
    NoTimers,
    /// No `Signaling` was given.
    #[error("no signaling: give one, or use start_with_mailbox()")]
    NoSignaling,
    /// No `WebRtc` was given, nor a source of tokens for an SFU.
    #[error("no webrtc engine: give one (or tokens for an SFU), or use start_with_mailbox()")]
    NoWebRtc,
    /// The operating system gave no randomness for ids.
    #[error("the operating system gives no randomness")]
    NoRandomness,
}

/// Puts a [`VoIP`] together.
#[derive(Clone)]
#[must_use = "nothing happens before start()"]
pub struct VoIPBuilder {
    identity: Identity,
    config: Config,
    signaling: Option<Arc<dyn Signaling>>,
    webrtc: Option<Arc<dyn WebRtc>>,
    ledger: Option<Arc<dyn LedgerStore>>,
    tokens: Option<Arc<dyn TokenSource>>,
    sfu: Option<Arc<dyn Sfu>>,
    keys: Option<Arc<dyn KeyProvider>>,
    stored: Option<Vec<u8>>,
    wall: WallClock,
    seed: Option<u64>,
    recorder: Option<Recorder>,
}

impl std::fmt::Debug for VoIPBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoIPBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl VoIPBuilder {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            config: Config::default(),
            signaling: None,
            webrtc: None,
            ledger: None,
            tokens: None,
            sfu: None,
            keys: None,
            stored: None,
            wall: WallClock::system(),
            seed: None,
            recorder: None,
        }
    }

    /// The homeserver. Mandatory for [`start`](Self::start).
    pub fn signaling(mut self, signaling: Arc<dyn Signaling>) -> Self {
        self.signaling = Some(signaling);
        self
    }

    /// The WebRTC engine. Mandatory for [`start`](Self::start), but where there are only group calls
    /// through an SFU ([`tokens`](Self::tokens)): all others then fail.
    pub fn webrtc(mut self, webrtc: Arc<dyn WebRtc>) -> Self {
        self.webrtc = Some(webrtc);
        self
    }

    /// Where the ledger survives a crash. Without one, calls of a crashed process ring on at the
    /// other side until they time out.
    pub fn ledger(mut self, ledger: Arc<dyn LedgerStore>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Where tokens for SFUs come from. Without one there are no group calls through an SFU.
    pub fn tokens(mut self, tokens: Arc<dyn TokenSource>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Who connects to SFUs, where that is not the application by itself; sets
    /// [`Config::sfu_client`].
    pub fn sfu(mut self, sfu: Arc<dyn Sfu>) -> Self {
        self.sfu = Some(sfu);
        self
    }

    /// Who encrypts frames with the media keys of group calls.
    pub fn keys(mut self, keys: Arc<dyn KeyProvider>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// What the ledger store holds from the last run, if anything. Bytes that are no ledger are
    /// left aside with a warning in the log: a damaged file must not stop an application.
    pub fn restore(mut self, stored: impl Into<Option<Vec<u8>>>) -> Self {
        self.stored = stored.into();
        self
    }

    /// Policies and timeouts; default: [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The wall clock; default: the system's. For tests.
    pub fn wall_clock(mut self, wall: WallClock) -> Self {
        self.wall = wall;
        self
    }

    /// The seed of call, party and stream ids; default: from the operating system. The same seed
    /// twice makes the same ids twice: for tests only.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Writes down everything that the engine is given, for `replay` and for bug reports: see
    /// [`record`](crate::record). A recorder records one `VoIP`; given to a second one, it leaves
    /// that alone, with a warning in the log.
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Starts the library on the present tokio runtime, served from the given traits.
    ///
    /// # Errors
    /// [`StartError`]: no runtime, or something mandatory is absent.
    pub fn start(mut self) -> Result<VoIP, StartError> {
        let hosts = Hosts {
            signaling: self.signaling.take().ok_or(StartError::NoSignaling)?,
            webrtc: self.webrtc.take(),
            ledger: self.ledger.take(),
            tokens: self.tokens.take(),
            sfu: self.sfu.take(),
            keys: self.keys.take(),
        };
        if hosts.webrtc.is_none() && hosts.tokens.is_none() {
            return Err(StartError::NoWebRtc);
        }
        if hosts.sfu.is_some() {
            self.config.sfu_client = SfuClient::Host;
        }
        let (voip, mailbox) = self.start_with_mailbox()?;
        tokio::spawn(serve(mailbox, hosts));
        Ok(voip)
    }

    /// Starts the library on the present tokio runtime; whoever holds the mailbox serves it. For
    /// bindings and for hosts without the traits. Traits that were given are not used.
    ///
    /// # Errors
    /// [`StartError`]: no runtime.
    pub fn start_with_mailbox(self) -> Result<(VoIP, Mailbox), StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        check_timers()?;
        let seed = match self.seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(|_| StartError::NoRandomness)?,
        };
        let origin = Origin { identity: self.identity, config: self.config, seed };
        let start = Start {
            engine: origin.engine(),
            ledger: readable(self.stored),
            wall: self.wall,
            recorder: self.recorder.map(|recorder| (recorder, origin)),
        };
        let hub = Arc::new(Hub::default());
        let (driver, link, mailbox) = Driver::new(start, Arc::clone(&hub));
        runtime.spawn(driver.run());
        Ok((VoIP::new(hub, link, mailbox.news()), mailbox))
    }
}

/// A runtime without timers can only be told by tokio's panic at the first timer: better here,
/// where somebody looks, than in the driver's task.
fn check_timers() -> Result<(), StartError> {
    let timer = || drop(tokio::time::sleep_until(tokio::time::Instant::now()));
    std::panic::catch_unwind(timer).map_err(|_| StartError::NoTimers)
}

fn readable(stored: Option<Vec<u8>>) -> Option<Ledger> {
    let stored = stored?;
    Ledger::from_bytes(&stored)
        .inspect_err(|error| tracing::warn!(%error, bytes = stored.len(), "the ledger is left"))
        .ok()
}
