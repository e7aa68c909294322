//! How many bits a second the way out can carry, by the packets that it loses: the loss-based half of
//! Google's congestion control (draft-ietf-rmcat-gcc-02 §6), from the receiver reports that any other
//! side sends. A way that loses nothing has no limit.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use matrix_voip::{id::PeerId, machine::io::MediaKind};

/// More than this is lost because there is too much of it.
const MUCH: f32 = 0.1;

/// Less than this leaves room for more.
const LITTLE: f32 = 0.02;

/// How much more is tried after each report.
const GROWTH: f64 = 1.05;

/// A limit is of no use far above what is sent: nobody knows that the way carries it.
const HEADROOM: f64 = 1.5;

/// What is sent is measured over at least so long.
const SPAN: Duration = Duration::from_secs(1);

/// Bits per second of one track, and how many it may have.
#[derive(Debug)]
pub(super) struct Rate {
    /// Below this neither sound nor picture is of any use.
    least: u64,
    since: Option<Instant>,
    bits: u64,
    /// What was sent lately; `None`: not for long enough to know.
    sent: Option<f64>,
    /// The connections that told of losses.
    ways: BTreeMap<PeerId, Way>,
    told: Option<u64>,
}

/// What one connection loses, and may have for it.
#[derive(Debug, Default)]
struct Way {
    loss: f32,
    limit: Option<f64>,
}

impl Rate {
    pub(super) const fn new(kind: MediaKind) -> Self {
        let least = match kind {
            // Below it Opus leaves out its correction, just where packets are lost.
            MediaKind::Audio => 24_000,
            MediaKind::Video => 50_000,
        };
        Self { least, since: None, bits: 0, sent: None, ways: BTreeMap::new(), told: None }
    }

    /// So many bytes were sent.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        let span = now.saturating_duration_since(since);
        if span >= SPAN {
            self.sent = Some(self.bits as f64 / span.as_secs_f64());
            (self.since, self.bits) = (Some(now), 0);
        }
        self.bits += bytes as u64 * 8;
    }

    /// Connections that are gone bind nobody.
    pub(super) fn keep(&mut self, is_here: impl Fn(&PeerId) -> bool) {
        self.ways.retain(|peer, _| is_here(peer));
    }

    /// Of all connections the greatest share that is lost, 0 to 1.
    pub(super) fn worst_loss(&self) -> f32 {
        self.ways.values().map(|way| way.loss).fold(0.0, f32::max)
    }

    /// The other side of a connection says which share was lost, 0 to 1. The new limit in bits per second of
    /// the narrowest one, if it changes; `u64::MAX`: there is none any more.
    pub(super) fn on_loss(&mut self, peer: PeerId, loss: f32) -> Option<u64> {
        let way = self.ways.entry(peer).or_default();
        way.loss = loss;
        if let Some(sent) = self.sent {
            way.limit = way.next(sent, self.least as f64);
        }
        let limits = self.ways.values().filter_map(|way| way.limit);
        let least = limits.min_by(f64::total_cmp).map(|limit| limit as u64);
        let before = std::mem::replace(&mut self.told, least);
        (before != least).then_some(least.unwrap_or(u64::MAX))
    }
}

impl Way {
    fn next(&self, sent: f64, least: f64) -> Option<f64> {
        let limit = if self.loss > MUCH {
            let share = f64::from(self.loss.min(1.0));
            self.limit.unwrap_or(sent).min(sent * HEADROOM) * (1.0 - share / 2.0)
        } else if self.loss < LITTLE {
            let limit = self.limit?;
            (limit * GROWTH).min(limit.max(sent * HEADROOM))
        } else {
            return self.limit;
        };
        Some(limit.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerId = PeerId(1);

    /// A way on which so many bits a second get through, and what is beyond is lost, with a source
    /// that keeps to the limit. The limit after each second.
    fn limits(way: f64, wanted: f64, seconds: usize) -> Vec<Option<u64>> {
        #[expect(clippy::disallowed_methods, reason = "only where time begins")]
        let mut now = Instant::now();
        let (mut rate, mut limit) = (Rate::new(MediaKind::Video), None);
        let second = |_| {
            let sent = limit.map_or(wanted, |limit: u64| wanted.min(limit as f64));
            for _ in 0..10 {
                rate.on_sent(now, (sent / 80.0) as usize);
                now += SPAN / 10;
            }
            let loss = (1.0 - way / sent).max(0.0);
            limit = rate.on_loss(ONE, loss as f32).or(limit);
            limit
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn a_way_that_carries_all_has_no_limit() {
        assert!(limits(1e6, 500e3, 60).iter().all(Option::is_none));
    }

    #[test]
    fn a_narrow_way_is_found_and_kept_to() {
        let limits = limits(300e3, 1e6, 60);
        let late = &limits[30..];
        assert!(
            late.iter().all(|limit| (250e3..360e3).contains(&(limit.unwrap() as f64))),
            "{late:?}"
        );
    }

    #[test]
    fn a_way_that_gets_wide_again_is_used_again() {
        let mut rate = Rate::new(MediaKind::Audio);
        rate.sent = Some(32_000.0);
        let narrow = rate.on_loss(ONE, 0.3).unwrap();
        assert!((27_198..=27_200).contains(&narrow), "{narrow}");
        assert_eq!(rate.on_loss(ONE, 0.05), None, "neither much nor little");
        let limit = (0..100).filter_map(|_| rate.on_loss(ONE, 0.0)).last().unwrap();
        assert_eq!(limit, 48_000, "half as much again as is sent, and no more");
    }

    #[test]
    fn there_is_always_a_little_and_nothing_is_said_before_anything_is_known() {
        let mut rate = Rate::new(MediaKind::Audio);
        assert_eq!(rate.on_loss(ONE, 1.0), None);
        rate.sent = Some(32_000.0);
        for loss in [1.0, 7.0, f32::INFINITY, 1.0, 1.0] {
            rate.on_loss(ONE, loss);
        }
        assert_eq!(rate.told, Some(24_000));
        assert_eq!(rate.on_loss(ONE, f32::NAN), None);
    }

    #[test]
    fn of_several_ways_the_worst_is_borne_until_it_is_gone() {
        let mut rate = Rate::new(MediaKind::Video);
        rate.sent = Some(1e6);
        let mut narrowest = u64::MAX;
        for _ in 0..10 {
            narrowest = rate.on_loss(ONE, 0.3).unwrap_or(narrowest);
            for clean in 2..6 {
                narrowest = rate.on_loss(PeerId(clean), 0.0).unwrap_or(narrowest);
                assert_eq!(rate.worst_loss(), 0.3);
            }
        }
        assert!(narrowest < 250_000, "{narrowest}");
        rate.keep(|peer| *peer != ONE);
        assert_eq!((rate.on_loss(PeerId(2), 0.0), rate.worst_loss()), (Some(u64::MAX), 0.0));
    }
}
