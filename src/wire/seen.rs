//! What `ring` remembers between two looks, and its stored bytes.
//!
//! A short list of notes: what rang, what is over, and what was said of a call whose ring has not
//! come yet. Bounded by [`MAX_NOTES`]; what is too old goes first, then the oldest of whoever has
//! most, so that a flood of one user costs no other's. JSON with a format number, as the ledger.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::{
    json::{Object, id, optional_id, text, whole},
    ledger::{newest, readable},
    notify::Style,
};
use crate::{
    id::{CallId, EventId, PartyId, RoomId, UserId},
    time::Wall,
};

/// Most notes that are kept.
pub const MAX_NOTES: usize = 64;

/// Most bytes that stored notes have. All of them fit with ids of full length; where escapes make
/// them longer still, the oldest are left out.
pub const MAX_SEEN_BYTES: usize = 128 * 1024;

/// The form of the stored bytes.
const FORMAT: u64 = 1;

/// No notes.
const FRAME_BYTES: usize = r#"{"format":1,"notes":[]}"#.len();

/// What [`ring::inspect`](crate::ring::inspect) has seen: a value that the application keeps and
/// stores between two pushes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    /// Oldest first.
    notes: Vec<Note>,
}

/// One thing that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Note {
    pub(crate) room: RoomId,
    pub(crate) about: About,
    /// Who called, or who said it.
    pub(crate) by: UserId,
    /// His party; of 1:1 calls only.
    pub(crate) party: Option<PartyId>,
    pub(crate) what: What,
    /// From when on it can be forgotten.
    pub(crate) until: Wall,
}

/// What a note is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum About {
    /// A 1:1 call.
    Call(CallId),
    /// The announcement of a group call.
    Notification(EventId),
    /// The group calls of the room.
    Group,
}

/// What is remembered of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// It rings, or rang until its time was over.
    Rings(Ringing),
    /// It rang, and is over.
    Over(Why),
    /// Somebody said so before it rang.
    Said(Said),
    /// Since then he is in no call of the room any more.
    Left(Wall),
    /// Since then he is in a call of the room.
    Joined(Wall),
}

/// A ring as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ringing {
    pub(crate) style: Style,
    /// When it was sent, by the homeserver's clock.
    pub(crate) sent: Wall,
    pub(crate) expires: Wall,
}

/// Why a ring is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Ended,
    Elsewhere,
}

/// What ends a ring, if the right one says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    /// A hangup.
    Hangup,
    /// The caller chose who answered.
    Selected,
    /// An answer, a reject or a decline.
    Taken,
}

/// Why stored bytes are no notes of ours. To begin with [`Seen::default`] is safe then: at worst,
/// something rings twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnreadableSeen {
    /// Not a JSON object, or longer than [`MAX_SEEN_BYTES`].
    #[error("the stored bytes are not what ring::inspect has seen")]
    NotSeen,
    /// Written by another version of this library.
    #[error("what is stored has a format that this version does not know")]
    UnknownFormat,
}

impl Seen {
    /// How many notes there are, at most [`MAX_NOTES`].
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// The bytes to store, at most [`MAX_SEEN_BYTES`] of them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut room = MAX_SEEN_BYTES - FRAME_BYTES;
        let notes = newest(&self.notes, &mut room, Note::stored).join(",");
        format!(r#"{{"format":{FORMAT},"notes":[{notes}]}}"#).into_bytes()
    }

    /// Reads stored bytes. Notes that cannot be read are skipped, of too many the newest are kept.
    ///
    /// # Errors
    /// [`UnreadableSeen`] when the bytes as a whole are none of ours.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnreadableSeen> {
        if bytes.len() > MAX_SEEN_BYTES {
            return Err(UnreadableSeen::NotSeen);
        }
        let stored: Object = serde_json::from_slice(bytes).map_err(|_| UnreadableSeen::NotSeen)?;
        if whole(&stored, "format") != Some(FORMAT) {
            return Err(UnreadableSeen::UnknownFormat);
        }
        let mut notes = readable(&stored, "notes", Note::from_json);
        notes.drain(..notes.len().saturating_sub(MAX_NOTES));
        Ok(Self { notes })
    }

    /// Keeps a note, in the place of an older one of the same person about the same.
    pub(crate) fn note(&mut self, now: Wall, note: Note) {
        self.notes.retain(|old| now <= old.until && !old.is_replaced_by(&note));
        self.notes.push(note);
        if self.notes.len() > MAX_NOTES {
            self.drop_one();
        }
    }

    /// The notes of a room that may still matter, oldest first.
    pub(crate) fn of<'a>(&'a self, now: Wall, room: &'a RoomId) -> impl Iterator<Item = &'a Note> {
        self.notes.iter().filter(move |note| note.room == *room && now <= note.until)
    }

    /// The same, to be changed.
    pub(crate) fn of_mut<'a>(
        &'a mut self,
        now: Wall,
        room: &'a RoomId,
    ) -> impl Iterator<Item = &'a mut Note> {
        self.notes.iter_mut().filter(move |note| note.room == *room && now <= note.until)
    }

    /// The oldest of whoever has most; of several, what rings and rang goes last.
    fn drop_one(&mut self) {
        let mut counts = BTreeMap::<&UserId, usize>::new();
        for note in &self.notes {
            *counts.entry(&note.by).or_default() += 1;
        }
        let weight = |(at, note): &(usize, &Note)| {
            let rang = matches!(note.what, What::Rings(_) | What::Over(_));
            (counts.get(&note.by).copied(), !rang, Reverse(*at))
        };
        let first = self.notes.iter().enumerate().max_by_key(weight).map(|(at, _)| at);
        if let Some(first) = first {
            self.notes.remove(first);
        }
    }
}

impl Note {
    fn is_replaced_by(&self, new: &Self) -> bool {
        let who = (&self.room, &self.about, &self.by, &self.party);
        who == (&new.room, &new.about, &new.by, &new.party)
            && match (self.what, new.what) {
                (What::Said(old), What::Said(new)) => old == new,
                (What::Left(old), What::Left(new)) => old <= new,
                (What::Joined(old), What::Joined(new)) => old <= new,
                (What::Rings(_) | What::Over(_), What::Rings(_) | What::Over(_)) => true,
                (What::Said(_) | What::Left(_) | What::Joined(_), _) => false,
                (What::Rings(_) | What::Over(_), _) => false,
            }
    }

    fn stored(&self) -> Stored<'_> {
        let Self { room, about, by, party, what, until } = self;
        let (about, id) = match about {
            About::Call(id) => ("call", id.as_str()),
            About::Notification(id) => ("notification", id.as_str()),
            About::Group => ("group", ""),
        };
        let (what, at, sent) = what.stored();
        Stored {
            room: room.as_str(),
            about,
            id,
            by: by.as_str(),
            party: party.as_ref().map(PartyId::as_str),
            what,
            at: at.map(|at| at.0),
            sent: sent.map(|at| at.0),
            until: until.0,
        }
    }

    fn from_json(stored: &Object) -> Option<Self> {
        let about = match text(stored, "about")? {
            "call" => About::Call(id(stored, "id").ok()?),
            "notification" => About::Notification(id(stored, "id").ok()?),
            "group" => About::Group,
            _ => return None,
        };
        Some(Self {
            room: id(stored, "room").ok()?,
            about,
            by: id(stored, "by").ok()?,
            party: optional_id(stored, "party").ok()?,
            what: What::from_json(stored)?,
            until: Wall(whole(stored, "until")?),
        })
    }
}

impl What {
    /// Its word, until or since when, and when it was sent.
    fn stored(self) -> (&'static str, Option<Wall>, Option<Wall>) {
        match self {
            Self::Rings(Ringing { style, sent, expires }) => {
                let word = match style {
                    Style::Ring => "rings",
                    Style::Notification => "notifies",
                };
                (word, Some(expires), Some(sent))
            }
            Self::Over(Why::Ended) => ("ended", None, None),
            Self::Over(Why::Elsewhere) => ("elsewhere", None, None),
            Self::Said(Said::Hangup) => ("hangup", None, None),
            Self::Said(Said::Selected) => ("selected", None, None),
            Self::Said(Said::Taken) => ("taken", None, None),
            Self::Left(at) => ("left", Some(at), None),
            Self::Joined(at) => ("joined", Some(at), None),
        }
    }

    fn from_json(stored: &Object) -> Option<Self> {
        let time = |key| whole(stored, key).map(Wall);
        let rings = |style| {
            let (sent, expires) = (time("sent")?, time("at")?);
            Some(Self::Rings(Ringing { style, sent, expires }))
        };
        match text(stored, "what")? {
            "rings" => rings(Style::Ring),
            "notifies" => rings(Style::Notification),
            "ended" => Some(Self::Over(Why::Ended)),
            "elsewhere" => Some(Self::Over(Why::Elsewhere)),
            "hangup" => Some(Self::Said(Said::Hangup)),
            "selected" => Some(Self::Said(Said::Selected)),
            "taken" => Some(Self::Said(Said::Taken)),
            "left" => time("at").map(Self::Left),
            "joined" => time("at").map(Self::Joined),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Stored<'a> {
    room: &'a str,
    about: &'static str,
    id: &'a str,
    by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    party: Option<&'a str>,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    until: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVER: Wall = Wall(u64::MAX);
    const RINGS: What = What::Rings(Ringing { style: Style::Ring, sent: Wall(1), expires: EVER });

    fn note(n: usize, by: &str, what: What) -> Note {
        Note {
            room: RoomId::parse("!r:x").unwrap(),
            about: About::Call(CallId::parse(format!("c{n:04}")).unwrap()),
            by: UserId::parse(by).unwrap(),
            party: None,
            what,
            until: EVER,
        }
    }

    fn every_kind() -> Vec<Note> {
        let ringing = |style| What::Rings(Ringing { style, sent: Wall(5), expires: Wall(7) });
        let whats = [
            ringing(Style::Ring),
            ringing(Style::Notification),
            What::Over(Why::Ended),
            What::Over(Why::Elsewhere),
            What::Said(Said::Hangup),
            What::Said(Said::Selected),
            What::Said(Said::Taken),
            What::Left(Wall(8)),
            What::Joined(Wall(9)),
        ];
        let notes = whats.into_iter().enumerate().map(|(n, what)| note(n, "@a:x", what));
        let mut notes: Vec<_> = notes.collect();
        notes[0].about = About::Notification(EventId::parse("$n").unwrap());
        notes[7].about = About::Group;
        notes[4].party = PartyId::parse("p").ok();
        notes[4].until = Wall(9);
        notes
    }

    #[test]
    fn what_is_stored_comes_back_as_it_was() {
        let seen = Seen { notes: every_kind() };
        assert_eq!(Seen::from_bytes(&seen.to_bytes()), Ok(seen));
        assert_eq!(Seen::from_bytes(&Seen::default().to_bytes()), Ok(Seen::default()));
    }

    #[test]
    fn the_stored_form_is_stable() {
        let notes = every_kind().into_iter().filter(|n| n.until == Wall(9)).collect();
        assert_eq!(
            String::from_utf8(Seen { notes }.to_bytes()).unwrap(),
            concat!(
                r#"{"format":1,"notes":[{"room":"!r:x","about":"call","id":"c0004","#,
                r#""by":"@a:x","party":"p","what":"hangup","until":9}]}"#
            )
        );
    }

    #[test]
    fn one_bad_note_harms_no_other() {
        let good =
            r#"{"room":"!r","about":"group","id":"","by":"@a:x","what":"left","at":1,"until":2}"#;
        let bad = [
            good.replace("!r", "r"),
            good.replace("group", "grape"),
            good.replace("group", "call"),
            good.replace("left", "lost"),
            good.replace(r#""at":1,"#, ""),
            good.replace(r#""until":2"#, r#""until":"ever""#),
            "7".into(),
        ];
        let stored = format!(r#"{{"format":1,"notes":[{},{good}],"later":1}}"#, bad.join(","));
        let seen = Seen::from_bytes(stored.as_bytes()).unwrap();
        assert_eq!(seen.notes.len(), 1);
        assert_eq!(seen.notes[0].what, What::Left(Wall(1)));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let read = |bytes: &[u8]| Seen::from_bytes(bytes);
        assert_eq!(read(b""), Err(UnreadableSeen::NotSeen));
        assert_eq!(read(b"[]"), Err(UnreadableSeen::NotSeen));
        assert_eq!(read(br#"{"format":2}"#), Err(UnreadableSeen::UnknownFormat));
        let padded = |bytes| [r#"{"format":1}"#.as_bytes(), &vec![b' '; bytes - 12]].concat();
        assert_eq!(read(&padded(MAX_SEEN_BYTES)), Ok(Seen::default()));
        assert_eq!(read(&padded(MAX_SEEN_BYTES + 1)), Err(UnreadableSeen::NotSeen));
    }

    #[test]
    fn the_bound_holds_in_memory_and_in_bytes() {
        let mut seen = Seen::default();
        for n in 0..MAX_NOTES + 9 {
            let mut note =
                note(n, &format!("@{}:x", "\u{1}".repeat(250)), What::Said(Said::Hangup));
            note.about =
                About::Call(CallId::parse(format!("{n:03}{}", "\u{1}".repeat(250))).unwrap());
            note.party = PartyId::parse("\u{1}".repeat(255)).ok();
            seen.note(Wall(0), note);
        }
        assert_eq!(seen.len(), MAX_NOTES);
        let bytes = seen.to_bytes();
        assert!(bytes.len() <= MAX_SEEN_BYTES);
        let back = Seen::from_bytes(&bytes).unwrap();
        assert!(back.len() > 20 && seen.notes.ends_with(&back.notes));
        let many = vec![std::str::from_utf8(&every_kind_text()).unwrap().to_owned(); 9].join(",");
        let stored = format!(r#"{{"format":1,"notes":[{many}]}}"#);
        assert_eq!(Seen::from_bytes(stored.as_bytes()).unwrap().len(), MAX_NOTES);
    }

    /// The notes of one of each kind, without what stands around them.
    fn every_kind_text() -> Vec<u8> {
        let bytes = Seen { notes: every_kind() }.to_bytes();
        bytes[FRAME_BYTES - 2..bytes.len() - 2].to_vec()
    }

    #[test]
    fn what_is_too_old_goes_first() {
        let mut seen = Seen::default();
        for n in 0..MAX_NOTES {
            let mut note = note(n, "@a:x", What::Over(Why::Ended));
            note.until = Wall(if n == 5 { 9 } else { 10 });
            seen.note(Wall(9), note);
        }
        assert_eq!(seen.len(), MAX_NOTES);
        seen.note(Wall(10), note(99, "@a:x", What::Over(Why::Ended)));
        assert_eq!(seen.len(), MAX_NOTES);
        assert_eq!(
            seen.notes[0],
            Note { until: Wall(10), ..note(0, "@a:x", What::Over(Why::Ended)) }
        );
        seen.note(Wall(11), note(98, "@a:x", What::Over(Why::Ended)));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_flood_of_one_user_costs_no_others() {
        let mut seen = Seen::default();
        seen.note(Wall(0), note(0, "@friend:x", RINGS));
        for n in 1..500 {
            seen.note(Wall(0), note(n, "@flood:x", RINGS));
        }
        assert_eq!(seen.notes[0].by.as_str(), "@friend:x");
        assert_eq!(seen.notes[1], note(500 - (MAX_NOTES - 1), "@flood:x", RINGS));
    }

    #[test]
    fn many_who_leave_push_out_no_ring() {
        let mut seen = Seen::default();
        seen.note(Wall(0), note(0, "@friend:x", RINGS));
        for n in 1..500 {
            seen.note(Wall(0), note(n, &format!("@u{n}:x"), What::Left(Wall(1))));
        }
        assert_eq!(seen.notes[0].by.as_str(), "@friend:x");
        assert_eq!(seen.notes[1].by.as_str(), "@u437:x");
    }

    #[test]
    fn the_same_said_again_takes_one_place() {
        let mut seen = Seen::default();
        let mut say = |what| {
            seen.note(Wall(0), note(0, "@a:x", what));
            seen.len()
        };
        assert_eq!(say(What::Said(Said::Hangup)), 1);
        assert_eq!(say(What::Said(Said::Hangup)), 1);
        assert_eq!(say(What::Said(Said::Taken)), 2);
        assert_eq!(say(What::Left(Wall(1))), 3);
        assert_eq!(say(What::Left(Wall(2))), 3);
        assert_eq!(say(What::Joined(Wall(2))), 4);
        assert_eq!(say(RINGS), 5);
        assert_eq!(say(What::Over(Why::Ended)), 5);
        // He left once more, and that is heard before.
        assert_eq!(say(What::Left(Wall(1))), 6);
    }
}
