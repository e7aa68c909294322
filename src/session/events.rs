//! The event streams: [`VoipEvents`] about all calls, [`CallEvents`] about one, [`GroupEvents`] about one
//! group call.
//!
//! All are ordered streams of facts, with a queue of 1024 for each subscriber. A subscriber that
//! does not read loses facts, never the truth: one `Skipped` says how many and how things stand.
//! All implement `futures::Stream`; `next` does without that trait.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;

use super::{call::CallSession, group::GroupCallSession};
use crate::{
    driver::{Folded, MissedCall, Queue, SessionNews, VoipItem, WeakLink},
    id::UserId,
    machine::{
        event::{CallSnapshot, End, RingStop, Transfer},
        group::{
            event::{GroupEnd, GroupSnapshot},
            ringing::IncomingRing,
        },
    },
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
    /// A group call is there: somebody is in it, or we opened it.
    GroupCallAdded {
        /// The group call.
        call: GroupCallSession,
        /// How it stood then.
        snapshot: Box<GroupSnapshot>,
        /// Every event since, however late this news is read.
        events: GroupEvents,
    },
    /// Somebody calls us into a group call: [`enter`](GroupCallSession::enter) answers,
    /// [`VoIP::decline_ring`](super::VoIP::decline_ring) declines. `ring.style` says whether it wants
    /// to ring like a telephone or to be shown like a message.
    GroupRingStarted {
        /// The group call.
        call: GroupCallSession,
        /// Who calls, where, how, until when.
        ring: Box<IncomingRing>,
    },
    /// That rings no more.
    GroupRingStopped {
        /// The group call.
        call: GroupCallSession,
        /// What rang.
        ring: Box<IncomingRing>,
        /// Why it stopped.
        why: RingStop,
    },
    /// A group call is over.
    GroupCallEnded {
        /// The group call.
        call: GroupCallSession,
        /// Why.
        end: GroupEnd,
    },
    /// This subscriber was too slow: `n` events were dropped. What rings of group calls,
    /// [`VoIP::rings`](super::VoIP::rings) tells.
    Skipped {
        /// How many.
        n: u64,
        /// The calls that lived after them.
        calls: Vec<CallSession>,
        /// The group calls that lived after them.
        groups: Vec<GroupCallSession>,
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
        let group = |cell| GroupCallSession::new(cell, self.link.upgrade());
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
            VoipItem::GroupAdded(cell, snapshot, queue) => {
                let events = GroupEvents::new(queue);
                VoipNews::GroupCallAdded { call: group(cell), snapshot, events }
            }
            VoipItem::GroupRingStarted(cell, ring) => {
                VoipNews::GroupRingStarted { call: group(cell), ring }
            }
            VoipItem::GroupRingStopped(cell, ring, why) => {
                VoipNews::GroupRingStopped { call: group(cell), ring, why }
            }
            VoipItem::GroupEnded(cell, end) => VoipNews::GroupCallEnded { call: group(cell), end },
            VoipItem::Skipped(n, cells, groups) => VoipNews::Skipped {
                n,
                calls: cells.into_iter().map(held).collect(),
                groups: groups.into_iter().map(group).collect(),
            },
        }
    }
}

impl Stream for VoipEvents {
    type Item = VoipNews;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<VoipNews>> {
        self.poll(context)
    }
}

/// The events of one call or group call, continuing the snapshot that came with them. `Ended` always
/// comes and is the last; after it the stream ends. Holding it keeps nothing alive.
#[derive(Debug)]
#[must_use = "events that nobody reads are dropped"]
pub struct SessionEvents<S: Folded> {
    queue: Arc<Queue<SessionNews<S>>>,
}

/// The events of one call.
pub type CallEvents = SessionEvents<CallSnapshot>;

/// The events of one group call.
pub type GroupEvents = SessionEvents<GroupSnapshot>;

impl<S: Folded> SessionEvents<S> {
    pub(super) fn new(queue: Arc<Queue<SessionNews<S>>>) -> Self {
        Self { queue }
    }

    /// The next event; `None` after `Ended`. Cancel safe.
    pub async fn next(&mut self) -> Option<SessionNews<S>> {
        poll_fn(|context| self.queue.poll_next(context)).await
    }
}

impl<S: Folded> Stream for SessionEvents<S> {
    type Item = SessionNews<S>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.queue.poll_next(context)
    }
}
