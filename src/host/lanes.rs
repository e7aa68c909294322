//! What keeps an order among the requests that `serve` carries out: a value, without tasks.
//!
//! A request enters a lane and waits there until the one before it is done. Requests without a
//! lane wait for nothing.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    id::{OpId, PeerId, SessionId, TrackId},
    machine::io::{Op, PeerOp, SfuOp, TrackOp},
};

/// What keeps an order among requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// All that concerns one peer connection.
    Peer(PeerId),
    /// A track's device.
    Device(TrackId),
    /// A track's switch.
    Switch(TrackId),
    /// The SFU of a group call.
    Sfu(SessionId),
    /// The media keys of a group call.
    Keys(SessionId),
    /// The stored ledger.
    Ledger,
}

/// How a request enters its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Behind the others.
    Queue,
    /// Instead of the others, which are aborted.
    Overtake,
}

impl Lane {
    /// The lane of a request, and how it enters it.
    pub(super) fn of(op: &Op) -> Option<(Self, Entry)> {
        match op {
            Op::Matrix(_) | Op::Fetch(_) => None,
            Op::Peer(peer, PeerOp::Close) => Some((Self::Peer(*peer), Entry::Overtake)),
            Op::Peer(peer, _) => Some((Self::Peer(*peer), Entry::Queue)),
            Op::Track(track, op) => Self::of_track(*track, op),
            Op::Sfu(_, SfuOp::Track(track, op)) => Self::of_track(*track, op),
            Op::Sfu(call, SfuOp::Disconnect) => Some((Self::Sfu(*call), Entry::Overtake)),
            Op::Sfu(call, _) => Some((Self::Sfu(*call), Entry::Queue)),
            Op::Keys(call, _) => Some((Self::Keys(*call), Entry::Queue)),
            Op::Save(_) => Some((Self::Ledger, Entry::Queue)),
        }
    }
}

impl Lane {
    fn of_track(track: TrackId, op: &TrackOp) -> Option<(Self, Entry)> {
        match op {
            TrackOp::Dtmf(_) => None,
            TrackOp::Capture(..) | TrackOp::Replace(..) => {
                Some((Self::Device(track), Entry::Queue))
            }
            TrackOp::Release => Some((Self::Device(track), Entry::Overtake)),
            TrackOp::Enable(_) => Some((Self::Switch(track), Entry::Overtake)),
        }
    }
}

/// The lanes in use; one with nothing in it is forgotten.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: BTreeMap<Lane, State>,
}

#[derive(Debug, Default)]
struct State {
    busy: bool,
    waiting: VecDeque<(OpId, Op)>,
}

impl Lanes {
    /// Puts a request at the end of a lane.
    pub(super) fn enter(&mut self, lane: Lane, id: OpId, op: Op) {
        self.lanes.entry(lane).or_default().waiting.push_back((id, op));
    }

    /// The request to carry out now; `None` while one is under way or when there is none. It
    /// occupies the lane until [`leave`](Self::leave).
    pub(super) fn next(&mut self, lane: Lane) -> Option<(OpId, Op)> {
        let state = self.lanes.get_mut(&lane).filter(|state| !state.busy)?;
        let next = state.waiting.pop_front();
        state.busy = next.is_some();
        if next.is_none() {
            self.lanes.remove(&lane);
        }
        next
    }

    /// The request that was under way is done, or gone.
    pub(super) fn leave(&mut self, lane: Lane) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.busy = false;
        }
    }

    /// Empties what waits in a lane; gives the ids.
    pub(super) fn clear(&mut self, lane: Lane) -> Vec<OpId> {
        let waiting = self.lanes.get_mut(&lane).map(|state| std::mem::take(&mut state.waiting));
        waiting.unwrap_or_default().into_iter().map(|(id, _)| id).collect()
    }

    /// Takes out a request that waits.
    pub(super) fn forget(&mut self, id: OpId) {
        for state in self.lanes.values_mut() {
            state.waiting.retain(|(waiting, _)| *waiting != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Peer(PeerId(1));

    fn op() -> Op {
        Op::Peer(PeerId(1), PeerOp::Stats)
    }

    #[test]
    fn one_request_of_a_lane_is_under_way_at_a_time() {
        let mut lanes = Lanes::default();
        lanes.enter(LANE, OpId(1), op());
        lanes.enter(LANE, OpId(2), op());
        assert_eq!(lanes.next(LANE), Some((OpId(1), op())));
        assert_eq!(lanes.next(LANE), None);
        lanes.leave(LANE);
        assert_eq!(lanes.next(LANE), Some((OpId(2), op())));
    }

    #[test]
    fn what_waits_can_be_taken_out_alone_or_together() {
        let mut lanes = Lanes::default();
        for id in 1..=4 {
            lanes.enter(LANE, OpId(id), op());
        }
        lanes.forget(OpId(1));
        assert_eq!(lanes.next(LANE), Some((OpId(2), op())));
        assert_eq!(lanes.clear(LANE), [OpId(3), OpId(4)]);
        assert_eq!(lanes.clear(Lane::Ledger), []);
    }

    #[test]
    fn a_lane_with_nothing_in_it_is_forgotten() {
        let mut lanes = Lanes::default();
        lanes.enter(LANE, OpId(1), op());
        lanes.next(LANE);
        lanes.leave(LANE);
        assert_eq!(lanes.next(LANE), None);
        assert!(lanes.lanes.is_empty());
    }
}
