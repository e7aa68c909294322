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

/// Who wants to know.
#[derive(Debug)]
pub(super) enum Asker {
    /// A handle, once.
    Handle(oneshot::Sender<Result<PeerStats, Unmeasured>>),
    /// A meter, by its number.
    Meter(u64),
}

impl Asker {
    /// Tells one who asked, if he waits for it; a meter's reading is given back.
    pub(super) fn tell(self, result: Result<PeerStats, Unmeasured>) -> Option<(u64, PeerStats)> {
        match self {
            Self::Handle(answer) => {
                drop(answer.send(result));
                None
            }
            Self::Meter(meter) => Some((meter, result.ok()?)),
        }
    }
}

/// The measurements under way.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    asked: u64,
    under_way: BTreeMap<PeerId, (OpId, Vec<Asker>)>,
}

/// Whether the driver itself made this request.
pub(super) const fn is_own(id: OpId) -> bool {
    id.0 >= OWN
}

impl Measurements {
    /// Notes who wants to know; gives the id of the request to make, if there is to be one.
    pub(super) fn ask(&mut self, peer: PeerId, asker: Asker) -> Option<OpId> {
        if let Some((_, askers)) = self.under_way.get_mut(&peer) {
            // A meter that is due again is told once: two readings of one moment show nothing.
            let waits = |known: &Asker| matches!((known, &asker), (Asker::Meter(a), Asker::Meter(b)) if a == b);
            if !askers.iter().any(waits) {
                askers.push(asker);
            }
            return None;
        }
        let id = OpId(OWN | self.asked);
        self.asked += 1;
        self.under_way.insert(peer, (id, vec![asker]));
        Some(id)
    }

    /// Tells those who asked; gives back what meters read.
    pub(super) fn on_reply(
        &mut self,
        id: OpId,
        result: Result<Reply, Fault>,
    ) -> Vec<(u64, PeerStats)> {
        let found = self.peer_of(id).and_then(|peer| self.under_way.remove(&peer));
        let result = measured(result);
        let askers = found.into_iter().flat_map(|(_, askers)| askers);
        askers.filter_map(|asker| asker.tell(result.clone())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_that_is_due_while_its_measurement_is_under_way_is_read_once() {
        let mut measurements = Measurements::default();
        let id = measurements.ask(PeerId(1), Asker::Meter(7)).unwrap();
        assert_eq!(measurements.ask(PeerId(1), Asker::Meter(7)), None);
        assert_eq!(measurements.ask(PeerId(1), Asker::Meter(8)), None);
        let reply = Reply::Stats(Box::default());
        let read = measurements.on_reply(id, Ok(reply));
        assert_eq!(read.iter().map(|(meter, _)| *meter).collect::<Vec<_>>(), [7, 8]);
        assert!(measurements.ask(PeerId(1), Asker::Meter(7)).is_some());
    }
}
