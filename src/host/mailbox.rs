//! Requests out, replies and news in: what the driver speaks, and the base of every binding.
//!
//! Pull [`HostRequest`]s with [`Mailbox::next`], answer each with [`Mailbox::reply`], and report
//! what nobody asked for through the cloneable [`News`]. Nothing here waits for the other end and
//! nothing grows without bound: requests that a host does not pull fail beyond
//! [`MAX_REQUESTS`], news that the library does not keep up with is dropped beyond [`MAX_NEWS`]
//! and counted. Replies have room of their own, so that a flood of events cannot push them out.
//!
//! ```
//! use matrix_voip::host::{HostRequest, Mailbox};
//! use matrix_voip::machine::io::{Fault, Fetch, Op, Reply, TurnServers};
//!
//! async fn host(mut mailbox: Mailbox) {
//!     while let Some(request) = mailbox.next().await {
//!         let HostRequest::Do { id, op } = request else { continue }; // a cancel
//!         let result = match op {
//!             Op::Fetch(Fetch::Turn) => TurnServers::read("{}") // the homeserver's answer
//!                 .map(Reply::Turn)
//!                 .map_err(|_| Fault::Failed("no JSON object".into())),
//!             Op::Save(_ledger) => Ok(Reply::Done), // nothing is kept
//!             // … `Op` says for each operation what to do and which `Reply` it wants.
//!             _ => Err(Fault::Unsupported),
//!         };
//!         mailbox.reply(id, result);
//!     }
//! }
//! ```
//!
//! [`pair`] makes a mailbox with the library's end in your hand: for tests of a host alone.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    id::{OpId, PeerId, RoomId, SessionId, UserId},
    machine::io::{Fault, Input, Lifecycle, Network, Op, PeerNews, Reply, RoomNews, SfuNews},
    wire::{delivery::Batch, state::StateBatch},
};

/// Most requests that wait for a host that does not pull them. A call has about ten open at once.
pub const MAX_REQUESTS: usize = 4096;

/// Most news that waits for the library; a remote party can cause news, so it is bounded.
pub const MAX_NEWS: usize = 4096;

/// Most replies that wait for the library besides the news: one for each request.
const MAX_REPLIES: usize = MAX_REQUESTS;

/// What the driver wants of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRequest {
    /// Do this and reply with the same id.
    Do {
        /// Names the request.
        id: OpId,
        /// What to do.
        op: Op,
    },
    /// Stop doing it; a reply is not awaited any more.
    Cancel(OpId),
}

/// Makes a mailbox and the library's end of it.
pub fn pair() -> (DriverEnd, Mailbox) {
    let (requests, pulled) = mpsc::channel(MAX_REQUESTS);
    let (reported, inputs) = mpsc::channel(MAX_NEWS + MAX_REPLIES);
    let dropped = Arc::new(AtomicU64::new(0));
    let news = News { inputs: reported, dropped: Arc::clone(&dropped) };
    (DriverEnd { requests, inputs, dropped }, Mailbox { requests: pulled, news })
}

/// The library's end of a mailbox; in an application the driver has it.
#[derive(Debug)]
pub struct DriverEnd {
    requests: mpsc::Sender<HostRequest>,
    inputs: mpsc::Receiver<Input>,
    dropped: Arc<AtomicU64>,
}

impl DriverEnd {
    /// Puts a request into the mailbox. Never waits.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] when the mailbox was dropped: nobody will ever do it.
    /// [`Fault::Failed`] when [`MAX_REQUESTS`] wait already: the host hangs.
    pub fn request(&self, request: HostRequest) -> Result<(), Fault> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Closed(_) => Fault::Unsupported,
            TrySendError::Full(_) => Fault::Failed("the host takes no requests".into()),
        })
    }

    /// The next reply or news; `None` when the mailbox and every [`News`] are gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Input> {
        self.inputs.recv().await
    }

    /// How many replies and news were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The host's end of the driver: one owner, pulled by whoever serves it.
#[derive(Debug)]
pub struct Mailbox {
    requests: mpsc::Receiver<HostRequest>,
    news: News,
}

impl Mailbox {
    /// The next request; `None` after the library has shut down. Cancel safe.
    pub async fn next(&mut self) -> Option<HostRequest> {
        self.requests.recv().await
    }

    /// Answers a request. A second answer, or one that came too late, is ignored and counted.
    pub fn reply(&self, id: OpId, result: Result<Reply, Fault>) {
        self.news.reply(id, result);
    }

    /// Where to report what nobody asked for.
    pub fn news(&self) -> News {
        self.news.clone()
    }
}

/// Reports to the library. Cloneable; never blocks; after the library is gone nothing happens.
/// Holding one does not keep the library alive.
#[derive(Debug, Clone)]
pub struct News {
    inputs: mpsc::Sender<Input>,
    dropped: Arc<AtomicU64>,
}

impl News {
    /// Hands in Matrix events: all events of one room of one sync response, or a batch of
    /// to-device messages, in order. Those of the types that [`is_call_event`] and [`is_rtc_event`]
    /// name, and to-device those of [`is_key_event`]; others are left out at the door. What the same
    /// response changes in the room's state is handed in first ([`state`](Self::state)): a ring and a
    /// reaction refer to it.
    ///
    /// [`is_call_event`]: crate::wire::call::is_call_event
    /// [`is_rtc_event`]: crate::wire::rtc::is_rtc_event
    /// [`is_key_event`]: crate::wire::keys::is_key_event
    pub fn deliver(&self, batch: Batch) {
        self.report(Input::Deliver(batch.parse()));
    }

    /// Hands in the state of a room: once the whole of it, for every joined room, then what changes,
    /// in order, and the whole again where changes may have been missed. Whoever wrote state counts
    /// as being in the room until [`RoomNews::Left`] says otherwise after it. Only events of [`STATE_TYPES`](crate::wire::state::STATE_TYPES) count.
    pub fn state(&self, batch: StateBatch) {
        self.report(Input::State(batch.parse()));
    }

    /// Reports news of a peer connection.
    pub fn peer(&self, peer: PeerId, news: PeerNews) {
        self.report(Input::Peer(peer, news));
    }

    /// Reports news of the SFU of a group call. Applications that connect to it by themselves may do so
    /// too: then snapshots show who is there, and `explain()` knows.
    pub fn sfu(&self, call: SessionId, news: SfuNews) {
        self.report(Input::Sfu(call, news));
    }

    /// Reports news of a room. A host that gives [`RoomNews::Members`] gives them again whenever
    /// somebody joins: who is not among them is not heard.
    pub fn room(&self, room: RoomId, news: RoomNews) {
        self.report(Input::Room(room, news));
    }

    /// Replaces the list of users whose events are ignored.
    pub fn ignored_users(&self, users: BTreeSet<UserId>) {
        self.report(Input::IgnoredUsers(users));
    }

    /// Reports that other encryption keys of a user's devices are known than before (a
    /// `/keys/query` brought some): what could not be sent to one of them is tried again at once.
    pub fn device_keys(&self, user: UserId) {
        self.report(Input::DeviceKeys(user));
    }

    /// Reports news of the network: [`Network::Changed`] by whoever watches the addresses of this
    /// machine (`matrix-voip-str0m` does), [`Network::Back`] by whoever syncs, when a sync succeeds
    /// after one that failed. Without the latter, what failed is tried again when its pause is over.
    pub fn network(&self, network: Network) {
        self.report(Input::Network(network));
    }

    /// Reports that the process sleeps, wakes, is logged out or ends. [`Lifecycle::Ending`] does
    /// what `VoIP::shutdown` does.
    pub fn lifecycle(&self, lifecycle: Lifecycle) {
        self.report(Input::Lifecycle(lifecycle));
    }

    /// Answers a request.
    pub fn reply(&self, id: OpId, result: Result<Reply, Fault>) {
        self.send(Input::Reply(id, result));
    }

    /// How many replies and news were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Resolves when the library has stopped: there is nobody left to report to. Cancel safe.
    pub async fn closed(&self) {
        self.inputs.closed().await;
    }

    fn report(&self, input: Input) {
        if self.inputs.capacity() > MAX_REPLIES {
            self.send(input);
        } else {
            self.count_dropped();
        }
    }

    fn send(&self, input: Input) {
        match self.inputs.try_send(input) {
            // Closed: the driver is gone, there is nobody left to tell and nothing to lose.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => self.count_dropped(),
        }
    }

    fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_flood_of_news_leaves_room_for_replies() {
        let (mut driver, mailbox) = pair();
        let news = mailbox.news();
        for _ in 0..MAX_NEWS + 10 {
            news.network(Network::Changed);
        }
        mailbox.reply(OpId(7), Ok(Reply::Done));
        assert_eq!(driver.dropped(), 10);
        let mut last = None;
        for _ in 0..=MAX_NEWS {
            last = driver.next().await;
        }
        assert_eq!(last, Some(Input::Reply(OpId(7), Ok(Reply::Done))));
    }

    #[tokio::test]
    async fn whoever_reports_notices_that_the_library_has_stopped() {
        let (driver, mailbox) = pair();
        let news = mailbox.news();
        assert!(news.closed().now_or_never().is_none());
        drop(driver);
        news.closed().await;
    }

    #[test]
    fn requests_to_a_dropped_mailbox_fail() {
        let (driver, mailbox) = pair();
        drop(mailbox);
        let refused = driver.request(HostRequest::Cancel(OpId(1)));
        assert_eq!(refused, Err(Fault::Unsupported));
    }

    #[test]
    fn requests_that_nobody_pulls_are_bounded() {
        let (driver, _mailbox) = pair();
        for id in 0..MAX_REQUESTS as u64 {
            assert_eq!(driver.request(HostRequest::Cancel(OpId(id))), Ok(()));
        }
        assert!(driver.request(HostRequest::Cancel(OpId(0))).is_err());
    }
}
