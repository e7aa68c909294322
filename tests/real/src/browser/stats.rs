//! What Chromium measures (`getStats`), as engines tell it.

use std::time::Duration;

use matrix_voip::machine::io::{CandidateInfo, CandidatePair, MediaKind, PeerStats, StreamStats};
use serde_json::Value;

/// Reads a whole report.
pub(super) fn read(reports: &Value) -> PeerStats {
    let all = reports.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut stats = PeerStats::default();
    let chosen =
        of_type(all, "transport").find_map(|one| named(all, &one["selectedCandidatePairId"]));
    if let Some(pair) = chosen {
        stats.pair = Option::zip(
            named(all, &pair["localCandidateId"]).map(end),
            named(all, &pair["remoteCandidateId"]).map(end),
        )
        .map(|(local, remote)| CandidatePair::new(local, remote));
        stats.round_trip = seconds(&pair["currentRoundTripTime"]);
    }
    stats.inbound = of_type(all, "inbound-rtp").map(|one| inbound(all, one)).collect();
    stats.outbound = of_type(all, "outbound-rtp").map(|one| outbound(all, one)).collect();
    stats
}

fn of_type<'a>(all: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    all.iter().filter(move |one| one["type"] == name)
}

fn named<'a>(all: &'a [Value], id: &Value) -> Option<&'a Value> {
    all.iter().find(|one| one["id"].is_string() && one["id"] == *id)
}

fn seconds(value: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(value.as_f64()?).ok()
}

fn end(candidate: &Value) -> CandidateInfo {
    let one_of = |names: &[&'static str], field: &str| {
        let name = names.iter().find(|name| candidate[field] == **name);
        name.copied()
    };
    let kind = one_of(&["host", "srflx", "prflx", "relay"], "candidateType").unwrap_or("unknown");
    let protocol = one_of(&["udp", "tcp"], "protocol").unwrap_or("unknown");
    let address = candidate["address"].as_str().unwrap_or_default();
    let mut end = CandidateInfo::new(kind, protocol, format!("{address}:{}", candidate["port"]));
    end.relay_protocol = one_of(&["udp", "tcp", "tls"], "relayProtocol");
    end
}

fn stream(all: &[Value], report: &Value, [bytes, packets]: [&str; 2]) -> StreamStats {
    let kind = if report["kind"] == "audio" { MediaKind::Audio } else { MediaKind::Video };
    let codec = named(all, &report["codecId"]).and_then(|codec| codec["mimeType"].as_str());
    let mid = report["mid"].as_str().unwrap_or_default();
    let mut stats = StreamStats::new(mid, kind, codec.unwrap_or_default());
    stats.bytes = report[bytes].as_u64().unwrap_or_default();
    stats.packets = report[packets].as_u64().unwrap_or_default();
    stats.key_frame_requests = report["pliCount"].as_u64().unwrap_or_default();
    stats
}

fn inbound(all: &[Value], report: &Value) -> StreamStats {
    let mut stats = stream(all, report, ["bytesReceived", "packetsReceived"]);
    stats.lost = report["packetsLost"].as_i64().map(|lost| lost.max(0) as u64);
    stats.jitter = seconds(&report["jitter"]);
    stats.level = report["audioLevel"].as_f64().map(|level| level as f32);
    // Both in milliseconds, on the same clock.
    let came = report["lastPacketReceivedTimestamp"].as_f64();
    let silence = came.zip(report["timestamp"].as_f64()).map(|(came, now)| (now - came).max(0.0));
    stats.silence = silence.and_then(|ms| Duration::try_from_secs_f64(ms / 1_000.0).ok());
    stats
}

fn outbound(all: &[Value], report: &Value) -> StreamStats {
    let mut stats = stream(all, report, ["bytesSent", "packetsSent"]);
    let theirs = of_type(all, "remote-inbound-rtp").find(|one| one["localId"] == report["id"]);
    if let Some(theirs) = theirs {
        stats.lost = theirs["packetsLost"].as_i64().map(|lost| lost.max(0) as u64);
        stats.jitter = seconds(&theirs["jitter"]);
    }
    stats
}
