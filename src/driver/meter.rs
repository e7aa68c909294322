//! Whoever wants to know how a call is, again and again: measured while somebody looks, and only
//! the latest is kept.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use crate::{
    id::SessionId,
    machine::{io::PeerStats, quality::CallStats},
    time::{Mono, Now, Timers},
};

/// Shortest time between two measurements: engines count once a second anyway.
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
            let span = now.mono.since(*then);
            meter.latest.send_replace(Some(CallStats::between(before, &stats, span)));
        }
        meter.before = Some((now.mono, stats));
    }

    /// How long until one is to be read.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        self.due.next(now)
    }
}
