//! Whoever wants to know how a call is, again and again: measured while somebody looks, and only
//! the latest is kept.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use crate::{
    id::SessionId,
    machine::{io::PeerStats, quality::CallStats},
    time::{Mono, Now, Timers},
};

/// Shortest time between two measurements. What an engine counts less often is told less often.
const SHORTEST: Duration = Duration::from_millis(200);

/// Where the latest goes.
pub(crate) type Latest = watch::Sender<Option<CallStats>>;

/// One who looks.
#[derive(Debug)]
struct Meter {
    session: SessionId,
    every: Duration,
    before: Option<(Mono, PeerStats)>,
    latest: Latest,
}

/// All who look.
#[derive(Debug, Default)]
pub(super) struct Meters {
    meters: BTreeMap<u64, Meter>,
    due: Timers<u64>,
    named: u64,
}

impl Meters {
    /// Somebody looks from now on.
    pub(super) fn add(&mut self, now: Now, session: SessionId, every: Duration, latest: Latest) {
        let every = every.max(SHORTEST);
        self.named += 1;
        self.meters.insert(self.named, Meter { session, every, before: None, latest });
        self.due.set(self.named, now.mono_after(Duration::ZERO));
    }

    /// A meter that is to be read now, with its call. Those at which nobody looks any more go.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<(u64, SessionId)> {
        loop {
            let id = self.due.pop_due(now)?;
            let Some(meter) = self.meters.get(&id) else { continue };
            if meter.latest.is_closed() {
                self.meters.remove(&id);
                continue;
            }
            self.due.set(id, now.mono_after(meter.every));
            return Some((id, meter.session));
        }
    }

    /// Its call is over: whoever looks sees the end.
    pub(super) fn remove(&mut self, id: u64) {
        self.meters.remove(&id);
        self.due.clear(&id);
    }

    /// It was read.
    pub(super) fn on_measured(&mut self, id: u64, now: Now, stats: PeerStats) {
        let Some(meter) = self.meters.get_mut(&id) else { return };
        if let Some((then, before)) = &meter.before {
            let counted = stats.counted.zip(before.counted);
            let span = counted.map_or_else(|| now.mono.since(*then), |(b, a)| b.saturating_sub(a));
            // The engine has not counted since: the same figures again would mean silence.
            if span.is_zero() {
                return;
            }
            meter.latest.send_replace(Some(CallStats::between(before, &stats, span)));
        }
        meter.before = Some((now.mono, stats));
    }

    /// How long until one is to be read.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        self.due.next(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::io::{MediaKind, StreamStats};

    /// An engine that counts once a second is asked more often.
    #[test]
    fn what_the_engine_has_not_counted_anew_is_not_told_again() {
        let at = |ms| Now { mono: Mono(Duration::from_millis(ms)), ..Now::default() };
        let counted = |second: u64| {
            let mut stream = StreamStats::new("0", MediaKind::Audio, "audio/opus");
            stream.bytes = 4_000 * second;
            let counted = Some(Duration::from_secs(second));
            PeerStats { counted, inbound: vec![stream], ..PeerStats::default() }
        };
        let (latest, mut seen) = watch::channel(None);
        let mut meters = Meters::default();
        meters.add(at(0), SessionId(1), Duration::from_millis(250), latest);
        let (meter, _) = meters.pop_due(at(0)).unwrap();
        let mut rates = Vec::new();
        for ms in (0..3_000).step_by(250) {
            meters.on_measured(meter, at(ms), counted(ms / 1_000));
            if seen.has_changed().unwrap() {
                let stats = seen.borrow_and_update().clone().unwrap();
                rates.push(stats.inbound[0].bits_per_second);
            }
        }
        assert_eq!(rates, [32_000, 32_000]);
    }
}
