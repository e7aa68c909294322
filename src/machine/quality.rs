//! How good a call is, from two measurements some time apart: rates instead of counters.

use std::time::Duration;

use super::{
    media::MediaKind,
    playout::{Playout, PlayoutOutput},
    stats::{CandidatePair, PeerStats, StreamStats},
};

/// How a call was between two measurements.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CallStats {
    /// The whole in one word, of what moves: a line in which nothing comes or goes, since somebody is held,
    /// mute, or gone, counts for nothing. Which of these it is says `explain`.
    pub quality: Quality,
    /// Round trip of the chosen path.
    pub round_trip: Option<Duration>,
    /// The chosen path: kinds of both candidates, protocol, relay.
    pub path: Option<CandidatePair>,
    /// What came in, by m-line.
    pub inbound: Vec<Flow>,
    /// What went out, by m-line.
    pub outbound: Vec<Flow>,
}

/// One m-line in one direction.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Flow {
    /// The m-line.
    pub mid: String,
    /// Sound or picture.
    pub kind: MediaKind,
    /// The codec, as `audio/opus`.
    pub codec: String,
    /// Bits of RTP payload in a second.
    pub bits_per_second: u64,
    /// The part of the packets that never came, 0 to 1; as the other side reports where we send.
    /// `None`: nothing was sent, or nothing is known.
    pub loss: Option<f64>,
    /// Jitter of the arrival times, as the receiving side measures it.
    pub jitter: Option<Duration>,
    /// How loud the sound was last, 0 to 1, as its sender says (RFC 6464).
    pub level: Option<f32>,
    /// How it is heard: of sound that comes in, where its sink tells.
    pub heard: Option<HeardSound>,
}

/// How the sound of one m-line was heard between two measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HeardSound {
    /// The part of what was played that was made up in place of packets that were lost or late, 0 to
    /// 1; `None`: nothing was played, or nothing of which it is known yet what it stands for.
    pub concealed: Option<f64>,
    /// How long a packet waits in the jitter buffer from its coming, against the fastest one, until it
    /// is played.
    pub delay: Duration,
    /// How long it is to wait, by the jitter that was seen.
    pub target: Duration,
    /// How loud it was last, 0 to 1 (root mean square of full scale), before any volume.
    pub level: f32,
    /// Where it goes.
    pub output: PlayoutOutput,
}

/// How good a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Quality {
    /// Nobody notices anything: loss up to 3 %, which Opus conceals, as little of the sound made up,
    /// and a round trip up to 300 ms (ITU-T G.114: 150 ms one way).
    Good,
    /// One notices and goes on talking: loss, or sound made up, up to 10 %, a round trip up to 800 ms (G.114: 400 ms
    /// one way is the limit of planning).
    Fair,
    /// Worse than that.
    Poor,
}

impl CallStats {
    /// How a call was between two measurements of its peer connection, `span` apart. A span of zero
    /// has no rates (0); of two different connections the figures mean nothing.
    pub fn between(earlier: &PeerStats, later: &PeerStats, span: Duration) -> Self {
        let flows = |earlier: &[StreamStats], later: &[StreamStats]| -> Vec<Flow> {
            let former = |now: &StreamStats| earlier.iter().find(|was| was.mid == now.mid);
            later.iter().map(|now| flow(former(now), now, span)).collect()
        };
        let inbound = flows(&earlier.inbound, &later.inbound);
        let outbound = flows(&earlier.outbound, &later.outbound);
        let losses = inbound.iter().chain(&outbound).filter_map(|flow| flow.loss);
        // What was made up was lost to the ear, also where every packet came, only too late.
        let concealed = inbound.iter().filter_map(|flow| flow.heard?.concealed);
        let loss = losses.chain(concealed).fold(0.0, f64::max);
        Self {
            quality: quality(loss, later.round_trip.unwrap_or_default()),
            round_trip: later.round_trip,
            path: later.pair.clone(),
            inbound,
            outbound,
        }
    }
}

fn quality(loss: f64, round_trip: Duration) -> Quality {
    let of_loss = match loss {
        loss if loss <= 0.03 => Quality::Good,
        loss if loss <= 0.10 => Quality::Fair,
        _ => Quality::Poor,
    };
    let of_delay = match round_trip.as_millis() {
        0..=300 => Quality::Good,
        301..=800 => Quality::Fair,
        _ => Quality::Poor,
    };
    of_loss.max(of_delay)
}

fn flow(was: Option<&StreamStats>, now: &StreamStats, span: Duration) -> Flow {
    let since = |count: fn(&StreamStats) -> u64| {
        count(now).saturating_sub(was.map(count).unwrap_or_default())
    };
    let bits = u128::from(since(|stats| stats.bytes)) * 8 * 1_000;
    let lost = since(|stats| stats.lost.unwrap_or_default());
    let sent = since(|stats| stats.packets) + lost;
    let share = |lost: u64, of: u64| lost as f64 / of as f64;
    Flow {
        mid: now.mid.clone(),
        kind: now.kind,
        codec: now.codec.clone(),
        bits_per_second: u64::try_from(bits / span.as_millis().max(1)).unwrap_or(u64::MAX),
        loss: now.lost.filter(|_| sent > 0).map(|_| share(lost, sent).min(1.0)),
        jitter: now.jitter,
        level: now.level,
        heard: now.playout.map(|playout| heard(was.and_then(|was| was.playout), playout)),
    }
}

fn heard(was: Option<Playout>, now: Playout) -> HeardSound {
    let Playout { played, concealed, decoded, delay, target, level, output } =
        now.since(was.as_ref());
    let is_known = played > 0 && decoded + concealed > 0;
    let part = is_known.then(|| (concealed as f64 / played as f64).min(1.0));
    HeardSound { concealed: part, delay, target, level, output }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(bytes: u64, packets: u64, lost: u64) -> PeerStats {
        let mut stream = StreamStats::new("0", MediaKind::Audio, "audio/opus");
        (stream.bytes, stream.packets, stream.lost) = (bytes, packets, Some(lost));
        PeerStats { inbound: vec![stream], ..PeerStats::default() }
    }

    fn between(earlier: (u64, u64, u64), later: (u64, u64, u64)) -> CallStats {
        let (a, b) = (stats(earlier.0, earlier.1, earlier.2), stats(later.0, later.1, later.2));
        CallStats::between(&a, &b, Duration::from_secs(2))
    }

    #[test]
    fn rates_count_what_came_in_between() {
        let stats = between((1_000, 100, 5), (9_000, 197, 8));
        assert_eq!(stats.inbound[0].bits_per_second, 32_000);
        assert_eq!(stats.inbound[0].loss, Some(0.03));
        assert_eq!(stats.quality, Quality::Good);
        assert_eq!(between((0, 100, 0), (0, 196, 4)).quality, Quality::Fair);
        assert_eq!(between((0, 100, 0), (0, 189, 11)).quality, Quality::Poor);
    }

    #[test]
    fn a_line_that_is_silent_or_new_is_no_loss() {
        assert_eq!(between((0, 100, 5), (0, 100, 5)).inbound[0].loss, None);
        let new = CallStats::between(&PeerStats::default(), &stats(250, 1, 0), Duration::ZERO);
        assert_eq!(new.inbound[0].loss, Some(0.0));
        let back = between((9, 9, 9), (1, 1, 1));
        assert_eq!((back.inbound[0].bits_per_second, back.inbound[0].loss), (0, None));
    }

    #[test]
    fn what_is_made_up_counts_as_lost_to_the_ear() {
        let at = |played, concealed| {
            let mut stats = stats(0, played / 960, 0);
            let delay = Duration::from_millis(60);
            let decoded = played - concealed;
            let playout = Playout { played, decoded, concealed, delay, ..Playout::default() };
            stats.inbound[0].playout = Some(playout);
            stats
        };
        let between = |earlier, later| {
            let stats = CallStats::between(&earlier, &later, Duration::from_secs(1));
            let heard = stats.inbound[0].heard.unwrap();
            assert_eq!(heard.delay, Duration::from_millis(60));
            (stats.inbound[0].loss, heard.concealed, stats.quality)
        };
        let late = between(at(48_000, 9_600), at(96_000, 12_000));
        assert_eq!(late, (Some(0.0), Some(0.05), Quality::Fair), "every packet came, some late");
        let right = between(at(48_000, 9_600), at(96_000, 9_600));
        assert_eq!(right, (Some(0.0), Some(0.0), Quality::Good));
        let still = between(at(48_000, 9_600), at(48_000, 9_600));
        assert_eq!((still.1, still.2), (None, Quality::Good), "nothing was played");
        let mut outage = at(96_000, 9_600);
        outage.inbound[0].playout.as_mut().unwrap().decoded -= 48_000;
        assert_eq!(
            between(at(48_000, 9_600), outage).1,
            None,
            "nobody knows yet what it stands for"
        );
    }

    #[test]
    fn a_long_way_is_heard() {
        let at = |ms| {
            let round_trip = Some(Duration::from_millis(ms));
            let later = PeerStats { round_trip, ..stats(0, 10, 0) };
            CallStats::between(&PeerStats::default(), &later, Duration::from_secs(1)).quality
        };
        assert_eq!([at(300), at(301), at(801)], [Quality::Good, Quality::Fair, Quality::Poor]);
    }
}
