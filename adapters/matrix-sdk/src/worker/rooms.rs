//! The rooms in which calls have been: their gaps are filled whatever their age, and the core
//! hears who leaves them.

use std::collections::VecDeque;

use matrix_voip::id::RoomId;

/// Most rooms that are remembered; the one with the eldest news is forgotten first. More calls
/// than this at once nobody has.
pub(crate) const MAX_CALL_ROOMS: usize = 256;

/// Rooms with call events, sent or received, in this process's life; the latest last.
#[derive(Debug, Default)]
pub(super) struct CallRooms(VecDeque<RoomId>);

impl CallRooms {
    pub(super) fn note(&mut self, room: &RoomId) {
        if let Some(place) = self.0.iter().position(|known| known == room) {
            self.0.remove(place);
        }
        if self.0.len() >= MAX_CALL_ROOMS {
            self.0.pop_front();
        }
        self.0.push_back(room.clone());
    }

    pub(super) fn has(&self, room: &RoomId) -> bool {
        self.0.contains(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_was_longest_quiet_is_forgotten_first() {
        let mut rooms = CallRooms::default();
        let room = |n: usize| RoomId::parse(format!("!{n}")).unwrap();
        for n in 0..MAX_CALL_ROOMS {
            rooms.note(&room(n));
        }
        rooms.note(&room(0));
        rooms.note(&room(MAX_CALL_ROOMS));
        assert!(rooms.has(&room(0)) && rooms.has(&room(MAX_CALL_ROOMS)));
        assert!(!rooms.has(&room(1)));
    }
}
