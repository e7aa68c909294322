//! Statistics of a peer connection: requests that the driver makes itself.
//!
//! They change nothing in a call, so they pass the engine by. Their ids come from the upper half
//! of the numbers, which the engine does not reach. Who asks while a measurement is under way
//! shares its result.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::order::Unmeasured;
use crate::{
    id::{OpId, PeerId},
    machine::io::{Fault, PeerStats, Reply},
};

/// The first id of the driver's own requests.
const OWN: u64 = 1 << 63;

type Answer = oneshot::Sender<Result<PeerStats, Unmeasured>>;

/// The measurements under way.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    asked: u64,
    under_way: BTreeMap<PeerId, (OpId, Vec<Answer>)>,
}

/// Whether the driver itself made this request.
pub(super) const fn is_own(id: OpId) -> bool {
    id.0 >= OWN
}

impl Measurements {
    /// Notes who wants to know; gives the id of the request to make, if there is to be one.
    pub(super) fn ask(&mut self, peer: PeerId, answer: Answer) -> Option<OpId> {
        if let Some((_, answers)) = self.under_way.get_mut(&peer) {
            answers.push(answer);
            return None;
        }
        let id = OpId(OWN | self.asked);
        self.asked += 1;
        self.under_way.insert(peer, (id, vec![answer]));
        Some(id)
    }

    /// Tells those who asked. An answer that nobody awaits is dropped.
    pub(super) fn on_reply(&mut self, id: OpId, result: Result<Reply, Fault>) {
        let Some(peer) = self.peer_of(id) else { return };
        let Some((_, answers)) = self.under_way.remove(&peer) else { return };
        let result = measured(result);
        for answer in answers {
            drop(answer.send(result.clone()));
        }
    }

    fn peer_of(&self, id: OpId) -> Option<PeerId> {
        self.under_way.iter().find(|(_, (asked, _))| *asked == id).map(|(peer, _)| *peer)
    }
}

fn measured(result: Result<Reply, Fault>) -> Result<PeerStats, Unmeasured> {
    match result {
        Ok(Reply::Stats(stats)) => Ok(*stats),
        Ok(_) => Err(Unmeasured::Fault(Fault::Unsupported)),
        Err(fault) => Err(Unmeasured::Fault(fault)),
    }
}
