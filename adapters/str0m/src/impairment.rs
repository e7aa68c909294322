//! Bad luck on the way: datagrams dropped or delayed between a peer and its sockets.
//!
//! For tests and demonstrations on a machine whose loopback is perfect. Loss and delay apply to
//! what is sent, and by a wish of its own to what is received.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What happens to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairment {
    /// Share of datagrams that are dropped, 0 to 1.
    pub drop: f64,
    /// How much later each goes on.
    pub delay: Duration,
    /// Up to so much later still, evenly spread; datagrams overtake each other by it.
    pub jitter: Duration,
}

impl Impairment {
    /// Nothing gets through.
    pub const DROPS_ALL: Self = Self { drop: 1.0, delay: Duration::ZERO, jitter: Duration::ZERO };
}

/// The impairment of an engine, to be changed while calls run.
#[derive(Debug, Clone, Default)]
pub struct Impairments(Arc<Mutex<BothWays>>);

#[derive(Debug, Clone, Copy, Default)]
struct BothWays {
    sent: Impairment,
    received: Impairment,
}

impl Impairments {
    /// Begins with this one for what is sent; what is received is whole.
    pub fn new(impairment: Impairment) -> Self {
        let impairments = Self::default();
        impairments.set(impairment);
        impairments
    }

    /// Changes it, for what is sent from now on.
    pub fn set(&self, impairment: Impairment) {
        self.lock().sent = impairment;
    }

    /// Changes it, for what is received from now on.
    pub fn set_received(&self, impairment: Impairment) {
        self.lock().received = impairment;
    }

    pub(crate) fn sent(&self) -> Impairment {
        self.lock().sent
    }

    pub(crate) fn received(&self) -> Impairment {
        self.lock().received
    }

    fn lock(&self) -> MutexGuard<'_, BothWays> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A datagram on its way to a socket.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) local: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) data: Vec<u8>,
}

/// Datagrams that go on later.
#[derive(Debug)]
pub(crate) struct Delayed<D> {
    waiting: BTreeMap<(Instant, u64), D>,
    count: u64,
}

impl<D> Default for Delayed<D> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), count: 0 }
    }
}

impl<D> Delayed<D> {
    /// What goes on at once of this datagram: all, or nothing because it is dropped or delayed.
    pub(crate) fn admit(&mut self, now: Instant, impairment: Impairment, datagram: D) -> Option<D> {
        if impairment.drop > 0.0 && fastrand::f64() < impairment.drop {
            return None;
        }
        let late = impairment.delay + impairment.jitter.mul_f64(fastrand::f64());
        if late.is_zero() {
            return Some(datagram);
        }
        self.count += 1;
        self.waiting.insert((now + late, self.count), datagram);
        None
    }

    /// The next datagram whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Option<D> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }
}
