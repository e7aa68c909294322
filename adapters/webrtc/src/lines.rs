//! Our m-lines: which slot each serves, what it sends and is called by, what a plan makes of it.

use matrix_voip::{
    id::{StreamId, TrackId},
    machine::io::{Direction, MediaKind, Plan, PlanLine, Slot},
};

use crate::{
    error::PeerError,
    sdp::{self, Line, Msid},
};

/// The slots of a kind, in the order in which remote m-lines of that kind are given them.
pub(crate) const fn slots(kind: MediaKind) -> [Slot; 2] {
    match kind {
        MediaKind::Audio => [Slot::Audio, Slot::ScreenAudio],
        MediaKind::Video => [Slot::Video, Slot::Screen],
    }
}

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

/// What we say of an offered line: what we want and the offer allows. A line without slot may
/// bring us what the plan receives of its kind.
pub(crate) fn acceptable(line: &Mapped, plan: &Plan, offered: &Line) -> Direction {
    let wanted = match line.slot {
        Some(slot) => planned(plan, slot).map_or(Direction::Inactive, |line| line.direction),
        None => sdp::direction(false, wants_any(plan, offered.kind)),
    };
    sdp::direction(
        wanted.sends() && sdp::receives(offered.direction),
        sdp::receives(wanted) && offered.direction.sends(),
    )
}

pub(crate) fn wants_any(plan: &Plan, kind: Option<MediaKind>) -> bool {
    plan.lines.iter().any(|line| Some(line.slot.kind()) == kind && sdp::receives(line.direction))
}

pub(crate) fn planned(plan: &Plan, slot: Slot) -> Option<&PlanLine> {
    plan.lines.iter().find(|line| line.slot == slot)
}

pub(crate) fn msid(sent: &Sent) -> Msid {
    let stream = sent.stream.as_ref().map_or("-", StreamId::as_str);
    Msid { stream: stream.to_owned(), track: track_name(sent.track, sent.stream.as_ref()) }
}

/// Our track's name in SDP: of another stream another one, though both sides count from 1.
pub(crate) fn track_name(track: TrackId, stream: Option<&StreamId>) -> String {
    let stream = stream.map_or("track", StreamId::as_str);
    // Checked to be ASCII: any place to cut is one between characters.
    format!("{}-{track}", stream.get(..40).unwrap_or(stream))
}

/// Stream ids must be tokens of at most 64 characters (RFC 8830) to stand in `a=msid`.
pub(crate) fn check_ids(line: &PlanLine) -> Result<(), PeerError> {
    let fits = |id: &StreamId| {
        id.as_str().len() <= 64 && id.as_str().bytes().all(|byte| byte.is_ascii_graphic())
    };
    line.stream.as_ref().is_none_or(fits).then_some(()).ok_or(PeerError::BadStreamId)
}
