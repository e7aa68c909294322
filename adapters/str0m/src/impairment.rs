//! Bad luck on the way out: datagrams dropped or delayed between a peer and its sockets.
//!
//! For tests and demonstrations on a machine whose loopback is perfect. Loss and delay apply to
//! what is sent; give both sides an impairment to have it both ways.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What happens to sent datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairment {
    /// Share of datagrams that are dropped, 0 to 1.
    pub drop: f64,
    /// How much later each is sent.
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
pub struct Impairments(Arc<Mutex<Impairment>>);

impl Impairments {
    /// Begins with this one.
    pub fn new(impairment: Impairment) -> Self {
        Self(Arc::new(Mutex::new(impairment)))
    }

    /// Changes it, for what is sent from now on.
    pub fn set(&self, impairment: Impairment) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = impairment;
    }

    pub(crate) fn now(&self) -> Impairment {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A datagram on its way to a socket.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) local: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) data: Vec<u8>,
}

/// Datagrams that are sent later.
#[derive(Debug, Default)]
pub(crate) struct Delayed {
    waiting: BTreeMap<(Instant, u64), Outgoing>,
    count: u64,
}

impl Delayed {
    /// What is to be sent at once of this datagram: all, or nothing because it is dropped or
    /// delayed.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        impairment: Impairment,
        datagram: Outgoing,
    ) -> Option<Outgoing> {
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
    pub(crate) fn due(&mut self, now: Instant) -> Option<Outgoing> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }
}
