//! What a connection is made with: codecs, header extensions, interceptors, timers.
//!
//! Correction G: header extensions are registered in Chromium's order, so that they get its
//! numbers. With others Chromium refuses an offer that follows a rollback of its own ("RTP
//! extension ID reassignment").

use std::time::Duration;

use matrix_voip::{host::Codec, machine::io::MediaKind};
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::{
        NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, SenderReportBuilder,
        Slot, TwccReceiverBuilder,
    },
    peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_VP8},
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability,
        RtpCodecKind,
    },
    shared::error::Error,
};
use webrtc::peer_connection::{MediaEngine, Registry, SettingEngine, SettingEngineBuilder};

use crate::tap::Tap;

/// The loudness of a packet of sound (RFC 6464).
pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// Which m-line a packet belongs to (RFC 9143).
pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// The header extensions in Chromium's order: their place is their number.
const EXTENSIONS: [&str; 11] = [
    AUDIO_LEVEL,
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    MID,
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
    "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
    // Chromium has none there; who does not know it leaves it out of the answer.
    "urn:matrix-voip:unused",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
];

/// How many of the extensions sound uses: the first.
const OF_SOUND: usize = 4;

/// Chosen path lost, connection given up, pause between two signs of life.
const ICE_TIMEOUTS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(1)];

/// Pause between two checks of a pair of candidates, and how often it is tried. By itself the crate
/// takes 200 ms, by which every connection is later, and gives a pair up after seven tries, though
/// the other side may still be asking a person.
const CHECKS: Duration = Duration::from_millis(100);
const CHECK_TRIES: u16 = 100;

/// How long a path is not taken because a better one may come; the crate waits up to two seconds.
const REFLEXIVE_WAIT: Duration = Duration::from_millis(200);
const RELAY_WAIT: Duration = Duration::from_millis(800);

/// The codecs that a connection offers, in their order.
const CODECS: [(Codec, u8); 3] = [(Codec::Opus, 111), (Codec::Vp8, 96), (Codec::H264, 102)];

/// The crate's description of a codec.
pub(crate) fn parameters(codec: Codec) -> RTCRtpCodec {
    let (mime_type, channels, format) = match codec {
        Codec::Opus => (MIME_TYPE_OPUS, 2, "minptime=10;useinbandfec=1"),
        Codec::H264 => (
            MIME_TYPE_H264,
            0,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        _ => (MIME_TYPE_VP8, 0, ""),
    };
    let feedback = |kind: &str, parameter: &str| RTCPFeedback {
        typ: kind.to_owned(),
        parameter: parameter.to_owned(),
    };
    let mut rtcp_feedback = vec![feedback("transport-cc", "")];
    if codec.kind() == MediaKind::Video {
        let of_pictures = [("nack", ""), ("nack", "pli"), ("ccm", "fir")];
        rtcp_feedback.extend(of_pictures.map(|(kind, parameter)| feedback(kind, parameter)));
    }
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: codec.clock_rate(),
        channels,
        sdp_fmtp_line: format.to_owned(),
        rtcp_feedback,
    }
}

/// Codecs and header extensions, and the interceptors that go with them; `tap` is the way out of
/// received packets.
///
/// # Errors
/// The crate refuses one, which it does for none of these.
pub(crate) fn engine(tap: &Tap) -> Result<(MediaEngine, Registry), Error> {
    let mut media = MediaEngine::default();
    for (codec, payload_type) in CODECS {
        let kind = kind(codec);
        let rtp_codec = parameters(codec);
        media.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind)?;
    }
    for (place, uri) in EXTENSIONS.iter().enumerate() {
        let capability = || RTCRtpHeaderExtensionCapability { uri: (*uri).to_owned() };
        if place < OF_SOUND {
            media.register_header_extension(capability(), RtpCodecKind::Audio, None)?;
        }
        if place > 0 {
            media.register_header_extension(capability(), RtpCodecKind::Video, None)?;
        }
    }
    // Not by the crate's `configure_…`: they add their feedback to the codecs once more.
    let registry = tap
        .register(Registry::new())
        .with(Slot::NackResponder, NackResponderBuilder::new().build())
        .with(Slot::NackGenerator, NackGeneratorBuilder::new().build())
        .with(Slot::TwccReceiver, TwccReceiverBuilder::new().build())
        .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
        .with(Slot::SenderReport, SenderReportBuilder::new().build());
    Ok((media, registry))
}

/// Timers, and what the crate does by itself.
pub(crate) fn settings(relay_only: bool) -> SettingEngine {
    let [lost, failed, alive] = ICE_TIMEOUTS.map(Some);
    let none = Some(Duration::ZERO);
    let relay = if relay_only { none } else { Some(RELAY_WAIT) };
    SettingEngineBuilder::new()
        // Names of other machines are never looked up, and ours is never told.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_timeouts(lost, failed, alive)
        .with_ice_connection_attempts(Some(CHECKS), Some(CHECK_TRIES))
        .with_host_acceptance_min_wait(none)
        .with_srflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(relay)
        .with_include_loopback_candidate(true)
        // A restart opens new sockets: the addresses of this machine may be others by now.
        .with_discard_local_candidates_during_ice_restart(true)
        .build()
}

/// The crate's name of a kind of media.
pub(crate) const fn kind(codec: Codec) -> RtpCodecKind {
    match codec {
        Codec::Opus => RtpCodecKind::Audio,
        _ => RtpCodecKind::Video,
    }
}

/// All codecs of a kind as the crate has them: what a line offers.
pub(crate) fn of_kind(wanted: RtpCodecKind) -> Vec<RTCRtpCodecParameters> {
    let fits = CODECS.iter().filter(|(codec, _)| kind(*codec) == wanted);
    fits.map(|(codec, payload_type)| RTCRtpCodecParameters {
        rtp_codec: parameters(*codec),
        payload_type: *payload_type,
    })
    .collect()
}

/// The same in a description: their numbers for the `m=` line, and the lines that say what they are.
pub(crate) fn described(wanted: RtpCodecKind) -> (String, Vec<String>) {
    let (mut numbers, mut lines) = (Vec::new(), Vec::new());
    for RTCRtpCodecParameters { rtp_codec, payload_type } in of_kind(wanted) {
        let (_, name) = rtp_codec.mime_type.split_once('/').unwrap_or_default();
        let channels = if rtp_codec.channels > 1 { "/2" } else { "" };
        numbers.push(payload_type.to_string());
        lines.push(format!("a=rtpmap:{payload_type} {name}/{}{channels}", rtp_codec.clock_rate));
        if !rtp_codec.sdp_fmtp_line.is_empty() {
            lines.push(format!("a=fmtp:{payload_type} {}", rtp_codec.sdp_fmtp_line));
        }
        for RTCPFeedback { typ, parameter } in rtp_codec.rtcp_feedback {
            let said = format!("a=rtcp-fb:{payload_type} {typ} {parameter}");
            lines.push(said.trim_end().to_owned());
        }
    }
    (numbers.join(" "), lines)
}
