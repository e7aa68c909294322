//! `stats`, `explain` and `audioLevel`: what a call measures, waits for and hears.

use std::time::Duration;

use matrix_voip::{
    PeerStats,
    host::{Playout, PlayoutOutput},
    machine::io::{CandidateInfo, MediaKind, StreamStats},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{calls::Call, client::Client, line::Args, object::kind_name, senses::CallSenses};

impl Client {
    /// The statistics of a call; of one that is over, the last that were taken.
    pub(crate) async fn stats(&self, call: &Call) -> Result<Value, String> {
        let stats = match call.session.stats().await {
            Ok(stats) => call.keep(stats),
            Err(_) => call.kept(),
        };
        let state = call.state();
        let mut shown = shown(&stats, &call.senses);
        shown["callId"] = call.id().into();
        shown["state"] = state.into();
        let connection = match state {
            "connected" | "connecting" => state,
            "ended" => "closed",
            _ => "new",
        };
        shown["connectionState"] = connection.into();
        shown["iceConnectionState"] = connection.into();
        Ok(shown)
    }

    /// What a call waits for, in sentences.
    pub(crate) async fn explain(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        let explanation = call.session.explain().await;
        Ok(json!({"callId": call.id(), "explanation": explanation.to_string()}))
    }

    /// Listens for a while.
    pub(crate) async fn audio_level(&self, args: &Args) -> Result<Value, String> {
        let call = self.picked(args)?;
        let length = Duration::from_millis(args.number("ms")?.unwrap_or(2500));
        let Some(listening) = call.senses.listen() else {
            return Ok(json!({"peak": 0.0, "rms": 0.0, "context": "no remote audio"}));
        };
        sleep_until(Instant::now() + length).await;
        let heard = listening.heard();
        let tone =
            heard.tone.map(|tone| json!({"hz": tone.hz, "level": tone.level, "share": tone.share}));
        let context = match heard.tone {
            Some(tone) => format!("{} samples, {:.0} Hz", heard.samples, tone.hz),
            None => format!("{} samples, no tone", heard.samples),
        };
        let level = heard.level;
        Ok(json!({"peak": level.peak, "rms": level.rms, "context": context, "tone": tone}))
    }
}

/// Bytes of RTP payload received of one kind.
pub(crate) fn received(stats: &Value, kind: &str) -> u64 {
    let streams = stats["inbound"].as_array().into_iter().flatten();
    let of_kind = streams.filter(|stream| stream["kind"] == kind);
    of_kind.filter_map(|stream| stream["bytes"].as_u64()).sum()
}

fn shown(stats: &PeerStats, senses: &CallSenses) -> Value {
    let inbound = stats.inbound.iter().map(|stream| inbound(stream, senses));
    let outbound = stats.outbound.iter().map(outbound);
    let pair = stats
        .pair
        .as_ref()
        .map(|pair| json!({"local": candidate(&pair.local), "remote": candidate(&pair.remote)}));
    json!({
        "inbound": inbound.collect::<Vec<_>>(),
        "outbound": outbound.collect::<Vec<_>>(),
        "pair": pair,
        "roundTripMs": stats.round_trip.map(|time| time.as_secs_f64() * 1000.0),
    })
}

fn outbound(stream: &StreamStats) -> Value {
    let mut shown = common(stream);
    if stream.kind == MediaKind::Video {
        shown["pliCount"] = stream.key_frame_requests.into();
    }
    shown
}

fn inbound(stream: &StreamStats, senses: &CallSenses) -> Value {
    let mut shown = common(stream);
    shown["lost"] = stream.lost.unwrap_or_default().into();
    if let Some(silence) = stream.silence {
        shown["silenceMs"] = milliseconds(silence);
    }
    if let Some(playout) = &stream.playout {
        shown["playout"] = heard(playout);
    }
    if stream.kind == MediaKind::Video
        && let Some(seen) = senses.pictures(&stream.mid)
    {
        shown["framesDecoded"] = seen.shown.into();
        shown["freezeCount"] = seen.freezes.count.into();
        shown["totalFreezesDuration"] = seen.freezes.total.as_secs_f64().into();
        let answers = seen.key_frames;
        shown["keyFrames"] = json!({
            "asked": answers.asked, "answered": answers.answered,
            "longestMs": answers.longest.map(|took| took.as_secs_f64() * 1000.0),
        });
        if let Some((width, height)) = seen.size {
            shown["width"] = width.into();
            shown["height"] = height.into();
        }
    }
    shown
}

/// How sound is heard: counters of samples at 48 kHz, the delay of now.
fn heard(playout: &Playout) -> Value {
    let output = match playout.output {
        PlayoutOutput::NoDevice => "no device",
        PlayoutOutput::Muted => "muted",
        _ => "playing",
    };
    json!({
        "samples": playout.played, "concealedSamples": playout.concealed,
        "delayMs": milliseconds(playout.delay), "targetMs": milliseconds(playout.target),
        "level": playout.level, "output": output,
    })
}

fn milliseconds(span: Duration) -> Value {
    (span.as_secs_f64() * 1000.0).into()
}

fn common(stream: &StreamStats) -> Value {
    json!({
        "mid": stream.mid, "kind": kind_name(stream.kind), "bytes": stream.bytes,
        "packets": stream.packets, "codec": stream.codec,
    })
}

fn candidate(info: &CandidateInfo) -> Value {
    let address = info.address.expose();
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    json!({
        "type": info.kind, "protocol": info.protocol,
        "address": host.trim_matches(['[', ']']), "port": port.parse::<u16>().ok(),
        "relayProtocol": info.relay_protocol,
    })
}

#[cfg(test)]
mod tests {
    use matrix_voip::machine::io::CandidatePair;

    use super::*;

    #[test]
    fn a_path_is_shown_by_both_of_its_ends() {
        let local = CandidateInfo::new("relay", "udp", "1.2.3.4:5");
        let remote = CandidateInfo::new("host", "udp", "[::1]:6");
        let mut stats = PeerStats::default();
        stats.pair = Some(CandidatePair::new(local, remote));
        let shown = shown(&stats, &CallSenses::default());
        assert_eq!(shown["pair"]["local"]["type"], "relay");
        assert_eq!(shown["pair"]["local"]["port"], 5);
        assert_eq!(shown["pair"]["remote"]["address"], "::1");
    }

    #[test]
    fn sound_is_shown_as_its_sink_tells() {
        let mut sound = StreamStats::new("0", MediaKind::Audio, "audio/opus");
        let mut stats = PeerStats::default();
        stats.inbound = vec![sound.clone()];
        let of = |stats: &PeerStats| shown(stats, &CallSenses::default())["inbound"][0].clone();
        assert!(of(&stats).get("playout").is_none(), "a sink that knows nothing");
        let mut playout = Playout::default();
        (playout.played, playout.concealed) = (960, 480);
        (playout.delay, playout.output) = (Duration::from_millis(40), PlayoutOutput::NoDevice);
        (sound.playout, sound.silence) = (Some(playout), Some(Duration::from_millis(20)));
        stats.inbound = vec![sound];
        let sound = of(&stats);
        assert_eq!(
            (&sound["silenceMs"], &sound["playout"]["samples"]),
            (&json!(20.0), &json!(960))
        );
        assert_eq!(sound["playout"]["concealedSamples"], 480);
        assert_eq!(sound["playout"]["delayMs"], 40.0);
        assert_eq!(sound["playout"]["output"], "no device");
    }

    #[test]
    fn bytes_are_added_up_for_each_kind() {
        let stream = |kind: &str, bytes: u64| json!({"kind": kind, "bytes": bytes});
        let stats =
            json!({"inbound": [stream("audio", 3), stream("video", 4), stream("audio", 5)]});
        assert_eq!((received(&stats, "audio"), received(&stats, "video")), (8, 4));
    }
}
