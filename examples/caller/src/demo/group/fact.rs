//! What happens in a group call, as values. Pairs are ordered: who hears, sees or learns stands
//! first, of whom second.

use matrix_voip::{
    Connection, GroupState,
    id::{PeerId, StreamId},
};

use super::{cast::Who, cost::Cost};
use crate::demo::fact::{Gauge, OtherMicrophone, Path, WireEvent};

/// What can happen.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// The call is in another state for this one.
    State(Who, GroupState),
    /// The connection of one to another is otherwise than before.
    Connection(Who, Who, Connection),
    /// Somebody sent a Matrix event: to these, or to the room.
    Sent(Who, Vec<Who>, WireEvent),
    /// A peer connection was opened by one to another.
    Opened(Who, Who, PeerId),
    /// One announced to another his certificate by this fingerprint.
    Announced(Who, Who, String),
    /// One was told of another's certificate by this fingerprint.
    Told(Who, Who, String),
    /// One has a track with the sound of another.
    Track(Who, Who, Track),
    /// One has a track with sound of nobody who takes part.
    Stray(Who),
    /// One was told which streams another shows.
    Streams(Who, Who, Vec<StreamId>),
    /// One learned how another's microphone is.
    OtherMicrophone(Who, Who, OtherMicrophone),
    /// One heard another for the first time.
    FirstSound(Who, Who),
    /// The path that media takes from one to another.
    Path(Who, Who, Path),
    /// One was measured again: what he hears of each.
    Meters(Who, Vec<(Who, Gauge)>),
    /// What the whole program has used up to a mark.
    Cost(Mark, Cost),
    /// All leave now: what ends from now on is meant to.
    Leaving,
}

/// Where a track came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Track {
    /// The peer connection.
    pub(crate) peer: PeerId,
    /// Its stream, as the description names it.
    pub(crate) stream: Option<StreamId>,
}

/// When the use of the machine is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    /// Nobody has entered yet.
    Begin,
    /// All hear all, or it takes too long; they talk now.
    Talking,
    /// They have talked.
    Talked,
}
