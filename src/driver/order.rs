//! What handles ask of the driver's task, and the [`Link`] that carries it.
//!
//! The channel is short and waited for: orders come from the application itself. When the last
//! strong link is gone the driver ends every call and stops.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::meter::Latest;
use crate::{
    id::SessionId,
    machine::{
        diagnostics::Diagnostics,
        explain::Explanation,
        hearing::Hearing,
        io::{Command, Fault, ParticipantId, PeerStats, Refusal, Verdict},
    },
};

/// Most orders that wait for the driver; a sender waits when there are more.
const MAX_ORDERS: usize = 64;

/// How long somebody is listened to, to tell sound from what is made up: longer than a burst of loss, and than
/// the 400 ms between two packets of who is silent, one of them lost.
const LISTENING: Duration = Duration::from_millis(900);

/// What a handle asks of the driver.
#[derive(Debug)]
pub(super) enum Order {
    /// Give the engine a command and say what became of it, after its events were published.
    Do { command: Command, answer: oneshot::Sender<Verdict> },
    /// Measure the peer connection of a call.
    Measure { session: SessionId, answer: oneshot::Sender<Result<PeerStats, Unmeasured>> },
    /// What a call waits for.
    Explain { session: SessionId, answer: oneshot::Sender<Option<Explanation>> },
    /// Which calls the legs of a group call are.
    Legs { group: SessionId, answer: oneshot::Sender<Vec<(ParticipantId, SessionId)>> },
    /// Measure it again and again.
    Watch { session: SessionId, every: Duration, latest: Latest },
    /// What was ignored.
    Diagnose { answer: oneshot::Sender<Diagnostics> },
    /// End every call and stop.
    ShutDown,
}

/// Why there are no measurements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unmeasured {
    /// The call has no peer connection (yet, or any more).
    NoPeer,
    /// The engine did not give them.
    Fault(Fault),
    /// The driver has stopped.
    Stopped,
}

/// A way to the driver.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// `None`: the driver had stopped when this link was made.
    orders: Option<mpsc::Sender<Order>>,
}

/// A way to the driver that does not keep it running.
#[derive(Debug, Clone)]
pub(crate) struct WeakLink {
    orders: Option<mpsc::WeakSender<Order>>,
}

/// The first link and where its orders arrive.
pub(super) fn channel() -> (Link, mpsc::Receiver<Order>) {
    let (orders, arriving) = mpsc::channel(MAX_ORDERS);
    (Link { orders: Some(orders) }, arriving)
}

impl WeakLink {
    /// A strong link; one that refuses everything if the driver has no other any more.
    pub(crate) fn upgrade(&self) -> Link {
        Link { orders: self.orders.as_ref().and_then(mpsc::WeakSender::upgrade) }
    }
}

impl Link {
    /// The same way, but it does not keep the driver running.
    pub(crate) fn downgrade(&self) -> WeakLink {
        WeakLink { orders: self.orders.as_ref().map(mpsc::Sender::downgrade) }
    }

    /// Has the engine take a command. Cancelled before it was queued, nothing happens; afterwards
    /// it takes effect all the same.
    pub(crate) async fn command(&self, command: Command) -> Result<Verdict, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Do { command, answer }).await;
        match answered.await {
            Ok(Verdict::Refused(refusal)) => Err(refusal),
            Ok(verdict) => Ok(verdict),
            Err(_) => Err(Refusal::ShuttingDown),
        }
    }

    /// Measures the peer connection of a call.
    pub(crate) async fn measure(&self, session: SessionId) -> Result<PeerStats, Unmeasured> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Measure { session, answer }).await;
        answered.await.unwrap_or(Err(Unmeasured::Stopped))
    }

    /// What a call waits for, and whether the other side is heard; `None` when the engine knows it no
    /// more, or the driver has stopped.
    pub(crate) async fn explain(&self, session: SessionId) -> Option<Explanation> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Explain { session, answer }).await;
        let mut explanation = answered.await.ok().flatten()?;
        if !explanation.wants_figures() {
            return Some(explanation);
        }
        if let Ok(stats) = self.measure(session).await {
            explanation.on_figures(&stats);
            if explanation.hearing.is_none() {
                explanation.hearing = self.listen_since(session, stats).await;
            }
        }
        Some(explanation)
    }

    /// Whether sound of the other side is heard, or why not; `None`: that could not be measured.
    pub(crate) async fn listen(&self, session: SessionId) -> Option<Hearing> {
        let earlier = self.measure(session).await.ok()?;
        self.listen_since(session, earlier).await
    }

    async fn listen_since(&self, session: SessionId, earlier: PeerStats) -> Option<Hearing> {
        if let Some(hearing) = Hearing::at(&earlier) {
            return Some(hearing);
        }
        sleep_until(Instant::now() + LISTENING).await;
        let later = self.measure(session).await.ok()?;
        Some(Hearing::between(&earlier, &later))
    }

    /// The legs of a group call, by which its members are connected; none where it has an SFU.
    pub(crate) async fn legs(&self, group: SessionId) -> Vec<(ParticipantId, SessionId)> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Legs { group, answer }).await;
        answered.await.unwrap_or_default()
    }

    /// Measures the peer connection of a call again and again, until nobody looks any more.
    pub(crate) async fn watch(&self, session: SessionId, every: Duration, latest: Latest) {
        self.order(Order::Watch { session, every, latest }).await;
    }

    /// What was ignored; `None` when the driver has stopped.
    pub(crate) async fn diagnose(&self) -> Option<Diagnostics> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Diagnose { answer }).await;
        answered.await.ok()
    }

    /// Stops the driver and waits until it has.
    pub(crate) async fn shut_down(&self) {
        self.order(Order::ShutDown).await;
        if let Some(orders) = &self.orders {
            orders.closed().await;
        }
    }

    /// A stopped driver drops the order, and with it the sender of its answer.
    async fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            drop(orders.send(order).await);
        }
    }
}
