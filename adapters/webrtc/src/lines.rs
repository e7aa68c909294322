//! Our m-lines: which slot each serves, what it sends and is called by, what a plan makes of it; and
//! the order that both sides have agreed on.

use std::collections::BTreeSet;

use matrix_voip::{
    id::{StreamId, TrackId},
    machine::io::{Direction, MediaKind, PlanLine, Slot},
    sdp::MAX_MEDIA_LINES,
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
    /// Refused, or stopped by the other side: so for ever. One that the other side refused keeps its
    /// slot, so that a line of its own is not offered again and again.
    pub(crate) is_off: bool,
}

/// The m-lines as they stand in every description from now on (RFC 3264 §8).
#[derive(Debug, Default)]
pub(crate) struct Order {
    places: Vec<Place>,
    /// Names of lines whose place another one has: the crate still knows them.
    gone: BTreeSet<String>,
}

#[derive(Debug)]
struct Place {
    mid: String,
    kind: Option<MediaKind>,
    is_off: bool,
}

impl Order {
    /// Whether an offer may have these lines: those that are there in their order, each of its kind,
    /// and new ones behind them or in the place of one that is off (RFC 8829 §5.2.2). A name is never
    /// used again, and there are not more of them than a description has lines: the crate forgets none.
    pub(crate) fn allows(&self, offered: &[Line]) -> bool {
        let is_there = |line: &Line| self.places.iter().any(|place| place.mid == line.mid);
        let is_new = |line: &Line| !is_there(line) && !self.gone.contains(&line.mid);
        let stays = |(place, line): (&Place, &Line)| {
            let is_same = place.mid == line.mid && place.kind == line.kind;
            is_same || place.is_off && is_new(line)
        };
        let new = offered.iter().filter(|line| is_new(line)).count();
        offered.len() >= self.places.len()
            && self.gone.len() + self.places.len() + new <= MAX_MEDIA_LINES
            && self.places.iter().zip(offered).all(stays)
            && offered.iter().skip(self.places.len()).all(is_new)
    }

    /// Both sides have agreed on these.
    pub(crate) fn agree(&mut self, theirs: &[Line], ours: &[Mapped]) {
        let former = std::mem::take(&mut self.places);
        let is_off =
            |line: &Line| line.is_off || ours.iter().any(|our| our.mid == line.mid && our.is_off);
        let place =
            |line: &Line| Place { mid: line.mid.clone(), kind: line.kind, is_off: is_off(line) };
        self.places.extend(theirs.iter().map(place));
        let is_gone = |mid: &String| theirs.iter().all(|line| line.mid != *mid);
        self.gone.extend(former.into_iter().map(|place| place.mid).filter(is_gone));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as a description names them: `a0` is sound of the name 0, `v1!` a picture that is off.
    fn lines(text: &str) -> Vec<Line> {
        let line = |word: &str| {
            let kind = if word.starts_with('a') { "audio" } else { "video" };
            let port = if word.ends_with('!') { 0 } else { 9 };
            let mid = word[1..].trim_end_matches('!');
            format!("m={kind} {port} x 98\r\na=mid:{mid}\r\n")
        };
        crate::sdp::read(&format!("v=0\r\n{}", text.split(' ').map(line).collect::<String>()))
    }

    fn agreed(all: &[&str]) -> Order {
        let mut order = Order::default();
        all.iter().for_each(|text| order.agree(&lines(text), &[]));
        order
    }

    #[test]
    fn lines_keep_their_place_and_their_kind() {
        let order = agreed(&["a0 v1"]);
        for fits in ["a0 v1", "a0! v1!", "a0 v1 v2"] {
            assert!(order.allows(&lines(fits)), "{fits}");
        }
        for wrong in ["a0", "v1 a0", "a0 a1", "a0 v2", "a2 a0 v1", "a0 v2 v1"] {
            assert!(!order.allows(&lines(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_is_off_gives_its_place_to_a_new_one_of_any_kind() {
        let order = agreed(&["a0 v1!"]);
        for fits in ["a0 v1!", "a0 v2", "a0 a2", "a0 v2 a3"] {
            assert!(order.allows(&lines(fits)), "{fits}");
        }
        for wrong in ["a0", "a0 a1", "a2 v1!", "a0 v2 v1"] {
            assert!(!order.allows(&lines(wrong)), "{wrong}");
        }
        let order = agreed(&["a0 v1!", "a0 v2"]);
        assert!(order.allows(&lines("a0 v2")));
        for wrong in ["a0 v1", "a0 v2 v1"] {
            assert!(!order.allows(&lines(wrong)), "{wrong}");
        }
        let mut refused = Order::default();
        let our = Mapped { mid: "1".to_owned(), is_off: true, ..fresh(Slot::Video, 1) };
        refused.agree(&lines("a0 v1"), &[our]);
        assert!(refused.allows(&lines("a0 v2")), "that we refused it counts as well");
    }

    #[test]
    fn places_are_not_given_away_without_end() {
        let mut order = agreed(&["a0 v1!"]);
        let taken = (2..500).take_while(|number| {
            let next = lines(&format!("a0 v{number}!"));
            let allows = order.allows(&next);
            order.agree(&next, &[]);
            allows
        });
        assert_eq!(taken.count(), MAX_MEDIA_LINES - 2);
    }
}
