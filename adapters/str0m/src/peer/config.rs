//! How a connection is made: what is given to a [`Peer`](super::Peer), and what str0m is told.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use matrix_voip::machine::io::IceServer;
use str0m::{
    Rtc,
    format::{Codec, FormatParams},
    media::Frequency,
};

use crate::{dtls, entropy::Entropy};

/// No audio packet is held back to put late ones in order: whoever plays sound has a buffer for that
/// ([`matrix_voip::host::FrameSink::push`]), to which each packet that is held back after a loss would look like
/// jitter, and one that is dropped, being overtaken, like another loss. str0m gives late ones, too, then.
const AUDIO_REORDERING: usize = 0;

/// Pause before a check that went unanswered is sent again; it doubles each time, up to
/// [`STUN_PAUSE`].
const FIRST_STUN_PAUSE: Duration = Duration::from_millis(150);

/// Longest pause between two connectivity checks. str0m makes no triggered checks (RFC 8445
/// §7.3.1.4): where a first check is lost, sound waits for the next.
const STUN_PAUSE: Duration = Duration::from_secs(1);

/// Unanswered checks before str0m gives a path up, which is after twenty seconds. `Health` tells
/// the loss much earlier; until then the path comes back by itself.
const STUN_RESENDS: usize = 20;

/// Payload type of tones beside Opus, the same as browsers take.
const TONES: u8 = 110;

/// The last event that is a tone of a telephone: `D` (RFC 4733 §3.2).
pub(super) const LAST_TONE: u8 = 15;

/// How often str0m measures.
pub(crate) const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// What one peer connection is made of.
#[derive(Debug)]
pub struct PeerSetup {
    /// Where random numbers come from.
    pub entropy: Entropy,
    /// The local addresses that datagrams can be sent from: bound sockets, with their port.
    pub addresses: Vec<SocketAddr>,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Relayed candidates only: our addresses stay unknown to the other side.
    pub relay_only: bool,
    /// The zero of the engine's clock, to which the arrival of frames is relative.
    pub epoch: Instant,
    /// Fixes the DTLS handshake's random numbers: for simulations only, they become predictable.
    #[cfg(feature = "testing")]
    pub dtls_seed: Option<u64>,
}

impl PeerSetup {
    /// A connection over these sockets, with the system's random numbers.
    pub fn new(epoch: Instant, addresses: Vec<SocketAddr>) -> Self {
        Self {
            entropy: Entropy::system(),
            addresses,
            ice_servers: Vec::new(),
            relay_only: false,
            epoch,
            #[cfg(feature = "testing")]
            dtls_seed: None,
        }
    }
}

/// Builds str0m for a call: Opus with tones, VP8 and H.264, our DTLS timers, our ICE credentials.
pub(super) fn build(now: Instant, setup: &mut PeerSetup) -> Rtc {
    setup.entropy.seed_engine();
    let mut config = Rtc::builder()
        .set_crypto_provider(dtls::crypto())
        .set_local_ice_credentials(setup.entropy.credentials())
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_h264(true)
        .set_reordering_size_audio(AUDIO_REORDERING)
        .set_stats_interval(Some(STATS_INTERVAL));
    let events = FormatParams { telephone_event_max: Some(LAST_TONE), ..FormatParams::default() };
    let clock = Frequency::FORTY_EIGHT_KHZ;
    config.codec_config().add_config(TONES.into(), None, Codec::Tele, clock, None, events);
    config.set_initial_stun_rto(FIRST_STUN_PAUSE);
    config.set_max_stun_rto(STUN_PAUSE);
    config.set_max_stun_retransmits(STUN_RESENDS);
    #[cfg(feature = "testing")]
    dtls::seed(setup.dtls_seed);
    let rtc = config.build(now);
    #[cfg(feature = "testing")]
    dtls::seed(None);
    rtc
}
