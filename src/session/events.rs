//! The two event streams: [`VoipEvents`] about all calls, [`CallEvents`] about one.
//!
//! Both are ordered streams of facts, with a queue of 1024 for each subscriber. A subscriber that
//! does not read loses facts, never the truth: one `Skipped` says how many and how things stand.
//! Both implement `futures::Stream`; `next` does without that trait.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;

use super::call::CallSession;
use crate::{
    driver::{CallNews, MissedCall, Queue, VoipItem, WeakLink},
    id::UserId,
    machine::event::{CallSnapshot, End, RingStop, Transfer},
    time::Wall,
};

/// News about all calls.
#[derive(Debug)]
#[non_exhaustive]
pub enum VoipNews {
    /// A call exists, incoming or outgoing (`snapshot.direction`), before anything was sent or
    /// captured for it.
    CallAdded {
        /// The call.
        call: CallSession,
        /// How it stood then.
        snapshot: Box<CallSnapshot>,
        /// Every event since, however late this news is read.
        events: CallEvents,
    },
    /// An incoming call rings: show it, play a sound.
    RingStarted {
        /// The call.
        call: CallSession,
        /// When it stops by itself.
        until: Wall,
    },
    /// It rings no more.
    RingStopped {
        /// The call.
        call: CallSession,
        /// Why.
        why: RingStop,
    },
    /// Somebody called and was not answered by any device of ours.
    Missed(MissedCall),
    /// The other side asks us to call somebody else instead: `VoIP::follow` does it, and nothing
    /// else does.
    TransferRequested {
        /// The call in which it was asked.
        call: CallSession,
        /// Whom to call.
        transfer: Box<Transfer>,
    },
    /// The other side announces who will call instead; that call rings, also while we talk.
    TransferAnnounced {
        /// The call in which it was announced.
        call: CallSession,
        /// Who will call.
        transfer: Box<Transfer>,
    },
    /// Whoever calls or answers does it from a device that is not verified
    /// (`Unverified::Warn`).
    UnverifiedDevice {
        /// The call.
        call: CallSession,
        /// Whose device.
        user: UserId,
    },
    /// A call is over.
    CallEnded {
        /// The call.
        call: CallSession,
        /// Why.
        end: End,
    },
    /// This subscriber was too slow: `n` events were dropped.
    Skipped {
        /// How many.
        n: u64,
        /// The calls that lived after them.
        calls: Vec<CallSession>,
    },
}

/// The events of all calls from the moment of the subscription; ends when the library has shut
/// down. Holding it keeps nothing alive.
#[derive(Debug)]
#[must_use = "events that nobody reads are dropped"]
pub struct VoipEvents {
    queue: Arc<Queue<VoipItem>>,
    link: WeakLink,
}

impl VoipEvents {
    pub(super) fn new(queue: Arc<Queue<VoipItem>>, link: WeakLink) -> Self {
        Self { queue, link }
    }

    /// The next event; `None` after the last. Cancel safe.
    pub async fn next(&mut self) -> Option<VoipNews> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<VoipNews>> {
        self.queue.poll_next(context).map(|item| item.map(|item| self.news(item)))
    }

    fn news(&self, item: VoipItem) -> VoipNews {
        let held = |cell| CallSession::new(cell, self.link.upgrade());
        match item {
            VoipItem::Added(cell, snapshot, queue) => {
                VoipNews::CallAdded { call: held(cell), snapshot, events: CallEvents::new(queue) }
            }
            VoipItem::RingStarted(cell, until) => VoipNews::RingStarted { call: held(cell), until },
            VoipItem::RingStopped(cell, why) => VoipNews::RingStopped { call: held(cell), why },
            VoipItem::Missed(missed) => VoipNews::Missed(missed),
            VoipItem::TransferRequested(cell, transfer) => {
                VoipNews::TransferRequested { call: held(cell), transfer }
            }
            VoipItem::TransferAnnounced(cell, transfer) => {
                VoipNews::TransferAnnounced { call: held(cell), transfer }
            }
            VoipItem::Unverified(cell, user) => {
                VoipNews::UnverifiedDevice { call: held(cell), user }
            }
            VoipItem::Ended(cell, end) => VoipNews::CallEnded { call: held(cell), end },
            VoipItem::Skipped(n, cells) => {
                VoipNews::Skipped { n, calls: cells.into_iter().map(held).collect() }
            }
        }
    }
}

impl Stream for VoipEvents {
    type Item = VoipNews;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<VoipNews>> {
        self.poll(context)
    }
}

/// The events of one call, continuing the snapshot that came with them. `Ended` always comes and
/// is the last; after it the stream ends. Holding it keeps nothing alive.
#[derive(Debug)]
#[must_use = "events that nobody reads are dropped"]
pub struct CallEvents {
    queue: Arc<Queue<CallNews>>,
}

impl CallEvents {
    pub(super) fn new(queue: Arc<Queue<CallNews>>) -> Self {
        Self { queue }
    }

    /// The next event; `None` after `Ended`. Cancel safe.
    pub async fn next(&mut self) -> Option<CallNews> {
        poll_fn(|context| self.queue.poll_next(context)).await
    }
}

impl Stream for CallEvents {
    type Item = CallNews;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<CallNews>> {
        self.queue.poll_next(context)
    }
}
