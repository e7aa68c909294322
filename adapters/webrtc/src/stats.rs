//! Measurements: the crate's report for the path, our own counters for the media.

use std::{sync::Arc, time::Duration};

use matrix_voip::{
    host::Codec,
    machine::io::{CandidateInfo, CandidatePair},
};
use rtc::peer_connection::transport::RTCIceCandidatePair;
use webrtc::peer_connection::{
    PeerConnection, RTCIceCandidate, RTCIceCandidateType, RTCIceProtocol, RTCStatsReport,
    RTCStatsReportEntry,
};

/// Ticks of a codec's clock as time.
pub(crate) fn ticks(ticks: u32, codec: Codec) -> Duration {
    Duration::from_secs_f64(f64::from(ticks) / f64::from(codec.clock_rate()))
}

/// Jitter of arrivals (RFC 3550 §6.4.1).
#[derive(Debug, Default)]
pub(crate) struct Jitter {
    last: Option<(u32, Duration)>,
    seconds: f64,
}

impl Jitter {
    /// A packet with this stamp came in at this time.
    pub(crate) fn on_packet(&mut self, codec: Codec, timestamp: u32, arrival: Duration) {
        let Some((stamp, at)) = self.last.replace((timestamp, arrival)) else { return };
        let sent = f64::from(timestamp.wrapping_sub(stamp) as i32) / f64::from(codec.clock_rate());
        let passed = arrival.as_secs_f64() - at.as_secs_f64();
        // A jump of the sender's clock is none of the path's.
        let off = (passed - sent).abs().min(10.0);
        self.seconds += (off - self.seconds) / 16.0;
    }

    /// The jitter, once there are two packets.
    pub(crate) fn value(&self) -> Option<Duration> {
        self.last.map(|_| Duration::from_secs_f64(self.seconds))
    }
}

/// The chosen path. In the crate's report it names candidates that are not there, its ICE transport
/// has them; every line shares the one that there is.
pub(crate) async fn chosen(pc: &Arc<dyn PeerConnection>) -> Option<RTCIceCandidatePair> {
    let senders = pc.get_senders().await;
    let transport = senders.first()?.transport().await.ok()??;
    transport.ice_transport().get_selected_candidate_pair().await.ok()?
}

/// Both ends of the path, and its round trip as far as the report knows it.
pub(crate) fn path(
    chosen: &RTCIceCandidatePair,
    report: &RTCStatsReport,
) -> (CandidatePair, Option<Duration>) {
    let ends = CandidatePair::new(end(chosen.local()), end(chosen.remote()));
    let id = format!("RTCIceCandidatePair_{}_{}", chosen.local().id, chosen.remote().id);
    let trip = match report.get(&id) {
        Some(RTCStatsReportEntry::IceCandidatePair(pair)) => Some(pair.current_round_trip_time),
        _ => None,
    };
    let trip = trip.filter(|trip| trip.is_finite() && *trip > 0.0);
    (ends, trip.map(|trip| Duration::from_secs_f64(trip.min(60.0))))
}

fn end(candidate: &RTCIceCandidate) -> CandidateInfo {
    let kind = match candidate.typ {
        RTCIceCandidateType::Srflx => "srflx",
        RTCIceCandidateType::Prflx => "prflx",
        RTCIceCandidateType::Relay => "relay",
        _ => "host",
    };
    let protocol = if candidate.protocol == RTCIceProtocol::Tcp { "tcp" } else { "udp" };
    let address = match candidate.address.parse() {
        Ok(ip) => std::net::SocketAddr::new(ip, candidate.port).to_string(),
        Err(_) => format!("{}:{}", candidate.address, candidate.port),
    };
    CandidateInfo::new(kind, protocol, address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_stream_has_no_jitter_and_an_uneven_one_some() {
        let (mut even, mut uneven) = (Jitter::default(), Jitter::default());
        for n in 0..100_u32 {
            let at = Duration::from_millis(u64::from(n) * 20);
            even.on_packet(Codec::Opus, n * 960, at);
            uneven.on_packet(
                Codec::Opus,
                n * 960,
                at + Duration::from_millis(u64::from(n % 2) * 8),
            );
        }
        assert!(even.value().unwrap() < Duration::from_micros(10));
        let off = uneven.value().unwrap();
        assert!(off > Duration::from_millis(7) && off < Duration::from_millis(9), "{off:?}");
    }
}
