//! Requests out, replies and news in: what the driver speaks, and the base of every binding.
//!
//! Pull [`HostRequest`]s with [`Mailbox::next`], answer each with [`Mailbox::reply`], and report
//! what nobody asked for through the cloneable [`News`].

use std::collections::BTreeSet;

use tokio::sync::mpsc;

use crate::{
    id::{OpId, PeerId, RoomId, UserId},
    machine::io::{Fault, Input, Lifecycle, Network, Op, PeerNews, Reply, RoomNews},
    wire::delivery::Batch,
};

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

/// The host's end of the driver: one owner, pulled by whoever serves it.
#[derive(Debug)]
pub struct Mailbox {
    requests: mpsc::UnboundedReceiver<HostRequest>,
    news: News,
}

impl Mailbox {
    /// Joins a mailbox from its channels; made by the driver.
    pub(crate) fn new(requests: mpsc::UnboundedReceiver<HostRequest>, news: News) -> Self {
        Self { requests, news }
    }

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
#[derive(Debug, Clone)]
pub struct News {
    inputs: mpsc::UnboundedSender<Input>,
}

impl News {
    /// Reports into the driver's input channel; made by the driver.
    pub(crate) fn new(inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self { inputs }
    }

    /// Hands in Matrix events: all events of one room of one sync response, or a batch of
    /// to-device messages, in order.
    pub fn deliver(&self, batch: Batch) {
        self.input(Input::Deliver(batch.parse()));
    }

    /// Reports news of a peer connection.
    pub fn peer(&self, peer: PeerId, news: PeerNews) {
        self.input(Input::Peer(peer, news));
    }

    /// Reports news of a room.
    pub fn room(&self, room: RoomId, news: RoomNews) {
        self.input(Input::Room(room, news));
    }

    /// Replaces the list of users whose events are ignored.
    pub fn ignored_users(&self, users: BTreeSet<UserId>) {
        self.input(Input::IgnoredUsers(users));
    }

    /// Reports that the network changed.
    pub fn network(&self, network: Network) {
        self.input(Input::Network(network));
    }

    /// Reports that the process sleeps, wakes or ends.
    pub fn lifecycle(&self, lifecycle: Lifecycle) {
        self.input(Input::Lifecycle(lifecycle));
    }

    /// Answers a request.
    pub fn reply(&self, id: OpId, result: Result<Reply, Fault>) {
        self.input(Input::Reply(id, result));
    }

    fn input(&self, input: Input) {
        // The driver is gone: there is nobody left to tell, and nothing to lose.
        drop(self.inputs.send(input));
    }
}
