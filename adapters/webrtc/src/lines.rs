//! Our m-lines: which slot each serves, what it sends and is called by, what a plan makes of it.

use matrix_voip::{
    id::{StreamId, TrackId},
    machine::io::{Direction, MediaKind, PlanLine, Slot},
};
use matrix_voip_engine::sdp::Msid;

use crate::{error::PeerError, sdp::Line};

/// One m-line of ours.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    pub(crate) mid: String,
    /// `None`: the other side has more lines than a call has uses for.
    pub(crate) slot: Option<Slot>,
    /// The crate's number of the line.
    pub(crate) transceiver: usize,
    /// What it sends, while it does.
    pub(crate) sent: Option<Sent>,
    /// What it has sent last. Descriptions go on naming it: Chromium takes a source that is no
    /// longer named for gone, and stays silent when it comes back.
    pub(crate) named: Option<Sent>,
    /// What our last description says of it.
    pub(crate) direction: Direction,
    /// Refused, or stopped by the other side: so for ever.
    pub(crate) is_off: bool,
}

/// What a line sends.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) track: TrackId,
    pub(crate) stream: Option<StreamId>,
}

pub(crate) fn line_kind(line: &Mapped, their: &Line) -> Option<MediaKind> {
    line.slot.map(Slot::kind).or(their.kind)
}

pub(crate) const fn fresh(slot: Slot, transceiver: usize) -> Mapped {
    Mapped {
        mid: String::new(),
        slot: Some(slot),
        transceiver,
        sent: None,
        named: None,
        direction: Direction::Inactive,
        is_off: false,
    }
}

impl Sent {
    /// Its names in descriptions.
    pub(crate) fn msid(&self) -> Msid {
        Msid::of(self.track, self.stream.as_ref())
    }
}

/// Stream ids must fit into `a=msid`.
pub(crate) fn check_ids(line: &PlanLine) -> Result<(), PeerError> {
    Msid::fits(line).then_some(()).ok_or(PeerError::BadStreamId)
}
