//! What all parts of one adapter share: the client while it is attached, and the figures.

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

use matrix_sdk::Client;
use matrix_voip::machine::io::Fault;
use tokio::sync::watch;

use crate::{counts::Counts, inbox::Inbox};

/// Shared by the handle, the port and the worker's task.
#[derive(Debug)]
pub(crate) struct Attached {
    client: Mutex<Option<Client>>,
    inbox: Inbox,
    state: watch::Sender<State>,
    counts: watch::Sender<Counts>,
    older_delays: AtomicBool,
}

/// How far detaching is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Events flow.
    Attached,
    /// The worker's task is to end.
    Ending,
    /// Nothing is left.
    Detached,
}

impl Attached {
    pub(crate) fn new(client: Client, inbox: Inbox) -> Self {
        Self {
            client: Mutex::new(Some(client)),
            inbox,
            state: watch::Sender::new(State::Attached),
            counts: watch::Sender::default(),
            older_delays: AtomicBool::default(),
        }
    }

    /// The client, while attached.
    pub(crate) fn client(&self) -> Result<Client, Fault> {
        lock(&self.client).clone().ok_or(Fault::Unsupported)
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Whether the homeserver knows delayed events in their older form alone.
    pub(crate) fn older_delays(&self) -> &AtomicBool {
        &self.older_delays
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    pub(crate) fn set_counts(&self, counts: Counts) {
        self.counts.send_if_modified(|known| std::mem::replace(known, counts) != counts);
    }

    /// Resolves when the figures are such. Cancel safe.
    pub(crate) async fn counted(&self, reached: impl FnMut(&Counts) -> bool) {
        // The sender is ours: it lives.
        drop(self.counts.subscribe().wait_for(reached).await);
    }

    /// Tells the worker's task to end.
    pub(crate) fn end(&self) {
        self.state.send_if_modified(|state| {
            let attached = *state == State::Attached;
            if attached {
                *state = State::Ending;
            }
            attached
        });
    }

    /// Lets go of the client: nothing is left.
    pub(crate) fn let_go(&self) {
        lock(&self.client).take();
        self.state.send_replace(State::Detached);
    }

    /// Resolves when detaching is as far as this, or farther. Cancel safe.
    pub(crate) async fn reaches(&self, wanted: State) {
        let mut state = self.state.subscribe();
        // The sender is ours: it lives.
        drop(state.wait_for(|state| *state as u8 >= wanted as u8).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds this lock can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
