//! The state of rooms: when it is read, and what the core is told of it.

use matrix_voip::wire::{member::MEMBER_TYPE, state::RawState};

use super::*;
use crate::{
    intake::{Stated, WholeState},
    worker::survey::{MAX_CHANGES, MAX_READS, MAX_TRIES, REST},
};

/// Ben's membership: in a call, as this event says.
fn member(id: &str, key: &str) -> Item {
    written(
        id,
        key,
        &format!(
            r#"{{"memberships":[{{"call_id":"","application":"m.call","scope":"m.room",
        "device_id":"D","expires_ts":{},"foci_active":[{{"type":"mesh"}}]}}]}}"#,
            START.wall.0 + 60_000
        ),
    )
}

fn written(id: &str, key: &str, content: &str) -> Item {
    let stated = Stated {
        sender: user("@ben:x"),
        event_type: MEMBER_TYPE.into(),
        state_key: key.into(),
        content: Content(content.into()),
    };
    item(id, secs(1), What::State(Box::new(stated)))
}

fn redaction(id: &str, of: &str) -> Item {
    item(id, secs(0), What::Redaction(EventId::parse(of).unwrap()))
}

fn read(items: Vec<Item>) -> Answer {
    Answer::State(Reading::Read(WholeState { items, ..WholeState::default() }))
}

fn changed(items: Vec<Item>) -> RoomUpdate {
    RoomUpdate { block: items, ..update(vec![]) }
}

impl Rig {
    /// Of state too, before the first sync.
    fn unsynced() -> Self {
        Self { hears: Hears::State, ..Self::new() }
    }

    /// After a first sync, with the room's state read; nothing is in it.
    fn synced() -> Self {
        let mut rig = Self::unsynced();
        rig.input(Input::Synced);
        rig.input(Input::Rooms(Listed::AtFirst, vec![room(ROOM)]));
        rig.answer(read(vec![]));
        rig.later(secs(1));
        rig
    }

    /// An update that arrives now.
    fn arrives(&mut self, update: RoomUpdate) -> Vec<String> {
        let received = self.now;
        self.room(RoomUpdate { received, ..update })
    }

    /// The state that is handed over next.
    fn handed(&mut self) -> Vec<RawState> {
        while let Some(action) = self.worker.poll() {
            if let Action::State(batch) = action {
                return batch.events;
            }
        }
        panic!("no state");
    }
}

// ------------------------------------------------------------------------------------------ whole

/// Calls are found whether the application opened the room or not.
#[test]
fn the_whole_state_of_every_joined_room_is_read_after_the_first_sync_and_no_sooner() {
    let mut rig = Rig::unsynced();
    assert_eq!(rig.input(Input::Ignored(BTreeSet::new())), ["ignore 0"]);
    assert_eq!(rig.input(Input::Synced), ["list rooms"]);
    let rooms = vec![room(ROOM), room(OTHER)];
    let asked = rig.input(Input::Rooms(Listed::AtFirst, rooms));
    assert_eq!(asked, ["state of !r:x", "state of !other:x"]);
    assert_eq!(rig.answer(read(vec![member("$1", "@ben:x")])), ["Whole !r:x: $1"]);
    assert_eq!(rig.input(Input::Synced), [""; 0], "once");
}

#[test]
fn no_more_than_some_rooms_are_read_at_once() {
    let mut rig = Rig::unsynced();
    let rooms: Vec<RoomId> = (0..MAX_READS * 3).map(|n| room(&format!("!{n}:x"))).collect();
    let asked = rig.input(Input::Rooms(Listed::AtFirst, rooms.clone()));
    assert_eq!(asked.len(), MAX_READS);
    for (next, answered) in (MAX_READS..).zip(&rooms) {
        rig.worker.on_answer(rig.now, answered, read(vec![]));
        let mut told = vec![format!("Whole {answered}: ")];
        told.extend((next < rooms.len()).then(|| format!("state of !{next}:x")));
        assert_eq!(rig.actions(), told);
    }
}

#[test]
fn a_room_that_is_joined_later_is_read_then() {
    let mut rig = Rig::synced();
    let there = RoomUpdate { room: room(OTHER), ..update(vec![]) };
    assert_eq!(rig.arrives(there.clone()), ["state of !other:x"]);
    rig.worker.on_answer(rig.now, &room(OTHER), read(vec![]));
    assert_eq!(rig.actions(), ["Whole !other:x: "]);
    assert_eq!(rig.arrives(there), [""; 0]);
}

#[test]
fn of_a_room_that_we_left_nothing_is_told_until_we_are_back() {
    let mut rig = Rig::unsynced();
    assert_eq!(rig.room(limited(vec![call("$1")])), ["page from before", "state of !r:x"]);
    rig.room(changed(vec![member("$2", "@ben:x")]));
    assert_eq!(rig.input(Input::Left(room(ROOM))), ["@me:x left"]);
    assert_eq!(rig.answer(read(vec![member("$3", "@ben:x")])), [""; 0]);
    assert_eq!(rig.answer(page(vec![], None)), ["deliver $1"], "no state");
    rig.later(secs(1));
    assert_eq!(rig.arrives(update(vec![])), ["state of !r:x"]);
    assert_eq!(rig.answer(read(vec![])), ["Whole !r:x: "]);
}

/// What was asked for when we were there before says nothing of now.
#[test]
fn a_room_that_we_left_and_joined_while_it_was_read_is_read_again() {
    let mut rig = Rig::unsynced();
    assert_eq!(rig.arrives(update(vec![])), ["state of !r:x"]);
    rig.input(Input::Left(room(ROOM)));
    assert_eq!(rig.arrives(update(vec![])), [""; 0]);
    assert_eq!(rig.answer(read(vec![member("$1", "@ben:x")])), ["state of !r:x"]);
    assert_eq!(rig.answer(read(vec![])), ["Whole !r:x: "]);
}

#[test]
fn a_state_that_cannot_be_read_is_asked_for_again_and_then_after_a_rest() {
    let mut rig = Rig::unsynced();
    assert_eq!(rig.arrives(update(vec![])), ["state of !r:x"]);
    for _ in 1..MAX_TRIES {
        let again = rig.answer(Answer::State(Reading::Failed));
        assert_eq!(again, ["state of !r:x, after a pause"]);
    }
    assert_eq!(rig.answer(Answer::State(Reading::Failed)), [""; 0]);
    assert_eq!(rig.worker.counts().unread_states, 1);
    rig.input(Input::Synced);
    rig.later(REST);
    assert_eq!(rig.input(Input::Synced), ["state of !r:x"]);
    assert_eq!(rig.answer(read(vec![])), ["Whole !r:x: "]);
    assert_eq!(rig.worker.counts().unread_states, 0);
}

#[test]
fn a_state_that_we_may_not_read_is_left() {
    let mut rig = Rig::unsynced();
    rig.arrives(update(vec![]));
    assert_eq!(rig.answer(Answer::State(Reading::Refused)), [""; 0]);
    rig.input(Input::Synced);
    rig.later(REST);
    assert_eq!(rig.input(Input::Synced), [""; 0]);
    assert_eq!(rig.arrives(update(vec![])), [""; 0]);
}

/// The core takes whoever wrote state for a member.
#[test]
fn who_is_in_a_call_but_not_in_the_room_is_told_after_the_state() {
    let mut rig = Rig::unsynced();
    rig.arrives(update(vec![]));
    let (items, outside) = (vec![member("$1", "@ben:x")], [user("@ben:x")].into());
    let whole = WholeState { items, outside, encrypted: true };
    let told = rig.answer(Answer::State(Reading::Read(whole)));
    assert_eq!(told, ["encrypted", "Whole !r:x: $1", "@ben:x left"]);
}

/// Rooms are full of the empty memberships of people who have gone.
#[test]
fn who_is_in_no_call_and_not_in_the_room_is_not_told() {
    let mut rig = Rig::unsynced();
    rig.arrives(update(vec![]));
    let items = vec![written("$1", "@ben:x", r#"{"memberships":[]}"#)];
    let whole = WholeState { items, outside: [user("@ben:x")].into(), encrypted: false };
    assert_eq!(rig.answer(Answer::State(Reading::Read(whole))), ["Whole !r:x: $1"]);
}

#[test]
fn whoever_is_in_a_call_and_leaves_the_room_is_told() {
    let mut rig = Rig::synced();
    assert_eq!(rig.arrives(update(vec![gone("$1", "@ben:x")])), [""; 0], "there is no call");
    rig.arrives(changed(vec![member("$2", "@ben:x")]));
    assert_eq!(rig.arrives(update(vec![gone("$3", "@ben:x")])), ["@ben:x left"]);
}

// ---------------------------------------------------------------------------------------- changes

#[test]
fn changes_are_told_in_order_and_before_the_events_of_their_response() {
    let mut rig = Rig::synced();
    let items = vec![call("$1"), member("$3", "@ben:x"), call("$4")];
    let both = RoomUpdate { block: vec![member("$2", "@carl:x")], ..update(items) };
    assert_eq!(rig.arrives(both), ["Changes !r:x: $2 $3", "deliver $1 $4"]);
}

#[test]
fn a_change_waits_for_what_came_before_it_in_its_room() {
    let mut rig = Rig::synced();
    rig.arrives(update(vec![call("$0")]));
    assert_eq!(rig.arrives(limited(vec![call("$1")])), ["page from before"]);
    assert_eq!(rig.arrives(changed(vec![member("$2", "@ben:x")])), [""; 0]);
    let told = rig.answer(page(vec![call("$0")], None));
    assert_eq!(told, ["deliver $1", "Changes !r:x: $2"]);
}

#[test]
fn changes_come_with_the_time_that_we_had_them() {
    let mut rig = Rig::synced();
    rig.later(secs(3));
    rig.worker.on(rig.now, Input::Room(changed(vec![member("$1", "@ben:x")])));
    assert_eq!(rig.handed()[0].facts.age, Some(secs(5)), "one, and four since the start");
}

/// A full block is all that changed; the timeline's events may have lost against it.
#[test]
fn of_a_complete_block_the_timeline_is_no_part() {
    let mut rig = Rig::synced();
    let block = vec![member("$1", "@ben:x")];
    let told = Told::Block;
    let items = vec![member("$2", "@ben:x")];
    assert_eq!(rig.arrives(RoomUpdate { block, told, ..update(items) }), ["Changes !r:x: $1"]);
}

/// Sliding sync has the memberships of calls in the timeline only.
#[test]
fn what_a_partial_block_leaves_out_is_taken_from_the_timeline() {
    let mut rig = Rig::synced();
    let block = vec![member("$2", "@ben:x")];
    let told = Told::BlockInPart;
    let items = vec![member("$1", "@ben:x"), member("$3", "@carl:x")];
    let update = RoomUpdate { block, told, ..update(items) };
    assert_eq!(rig.arrives(update), ["Changes !r:x: $1 $3 $2"], "the block has the last word");
}

#[test]
fn what_changes_while_the_state_is_read_stands_on_top_of_it() {
    let mut rig = Rig::unsynced();
    assert_eq!(rig.arrives(update(vec![])), ["state of !r:x"]);
    rig.later(secs(1));
    let told = rig.arrives(changed(vec![member("$2", "@ben:x")]));
    assert_eq!(told, ["Changes !r:x: $2"], "it does not wait");
    let answer = read(vec![member("$1", "@ben:x"), member("$3", "@carl:x")]);
    assert_eq!(rig.answer(answer), ["Whole !r:x: $3 $2"]);
}

/// Whoever may write state could write without end while a homeserver takes its time.
#[test]
fn changes_that_are_kept_while_the_state_is_read_are_bounded() {
    let mut rig = Rig::unsynced();
    rig.arrives(update(vec![]));
    let many = (0..=MAX_CHANGES).map(|n| member(&format!("$k{n}"), &format!("_{n}"))).collect();
    rig.arrives(changed(many));
    assert_eq!(rig.answer(read(vec![])), ["state of !r:x"], "it is read again");
    assert_eq!(rig.answer(read(vec![member("$9", "@ben:x")])), ["Whole !r:x: $9"]);
}

// ------------------------------------------------------------------------------------------- gaps

#[test]
fn after_a_gap_that_was_not_closed_the_whole_state_is_read_again() {
    let mut rig = Rig::synced();
    assert_eq!(rig.arrives(limited(vec![chat("$1", LONGEST_LIFE)])), ["state of !r:x"]);
    assert_eq!(rig.answer(read(vec![])), ["Whole !r:x: "]);
    rig.later(secs(1));
    assert_eq!(rig.arrives(limited(vec![call("$2")])), ["page from before"]);
    let old = page(vec![chat("$0", LONGEST_LIFE)], Some("more"));
    assert_eq!(rig.answer(old), ["deliver $2", "state of !r:x"]);
}

/// In a large room that would be megabytes, and sliding sync leaves gaps all the time.
#[test]
fn a_gap_that_was_closed_has_all_changes_in_it() {
    let mut rig = Rig::synced();
    rig.arrives(update(vec![call("$1")]));
    rig.later(secs(1));
    assert_eq!(rig.arrives(limited(vec![call("$4")])), ["page from before"]);
    let missed = page(vec![member("$3", "@ben:x"), member("$2", "@ben:x"), call("$1")], None);
    assert_eq!(rig.answer(missed), ["Changes !r:x: $2 $3", "deliver $4"]);
}

/// A fresh connection says of every room that it is limited.
#[test]
fn a_state_that_was_asked_for_after_a_gap_need_not_be_read_twice() {
    let mut rig = Rig::unsynced();
    let old = |id| limited(vec![chat(id, LONGEST_LIFE)]);
    assert_eq!(rig.arrives(old("$1")), ["state of !r:x"]);
    rig.input(Input::Synced);
    assert_eq!(rig.input(Input::Rooms(Listed::AtFirst, vec![room(ROOM)])), [""; 0]);
    assert_eq!(rig.arrives(old("$2")), [""; 0], "it came before that was asked");
    assert_eq!(rig.answer(read(vec![])), ["Whole !r:x: "]);
}

#[test]
fn a_gap_while_the_state_is_read_has_it_read_again() {
    let mut rig = Rig::unsynced();
    rig.arrives(update(vec![]));
    rig.later(secs(1));
    assert_eq!(rig.arrives(limited(vec![chat("$1", LONGEST_LIFE)])), [""; 0]);
    let told = rig.answer(read(vec![member("$2", "@ben:x")]));
    assert_eq!(told, ["Whole !r:x: $2", "state of !r:x"]);
}

#[test]
fn after_lost_updates_the_state_of_every_room_is_read_again() {
    let mut rig = Rig::synced();
    assert_eq!(rig.input(Input::Lagged), ["list rooms"]);
    let told = rig.input(Input::Rooms(Listed::AfterLag, vec![room(ROOM)]));
    assert_eq!(told, ["page from the end", "state of !r:x"]);
}

// ------------------------------------------------------------------------------ redactions, writes

/// Sync brings the redaction alone; what is left of the state, the room says.
#[test]
fn after_the_redaction_of_a_membership_the_state_is_read_again() {
    let mut rig = Rig::synced();
    rig.arrives(changed(vec![member("$1", "@ben:x"), written("$2", "@carl:x", "{}")]));
    rig.later(secs(1));
    let arrives = |items| RoomUpdate { received: START, ..update(items) };
    let others = vec![redaction("$3", "$0"), redaction("$4", "$2")];
    assert_eq!(rig.arrives(arrives(others)), [""; 0], "of nothing that counts");
    let mut ours = redaction("$5", "$1");
    ours.received = rig.now;
    assert_eq!(rig.arrives(arrives(vec![ours])), ["state of !r:x"]);
    let told = rig.answer(read(vec![written("$1", "@ben:x", "{}")]));
    assert_eq!(told, ["Whole !r:x: $1"]);
}

/// Else our membership would be found to be gone, a moment after it was written.
#[test]
fn a_state_that_was_read_while_we_wrote_some_is_read_again_and_not_from_the_store() {
    let mut rig = Rig::unsynced();
    assert_eq!(rig.arrives(update(vec![])), ["state of !r:x"]);
    assert_eq!(rig.input(Input::Wrote(room(ROOM))), [""; 0]);
    assert_eq!(rig.answer(read(vec![])), ["state of !r:x from the homeserver"]);
    rig.input(Input::Wrote(room(ROOM)));
    assert_eq!(rig.answer(read(vec![])), ["state of !r:x from the homeserver"]);
    assert_eq!(rig.answer(read(vec![member("$1", "@me:x")])), ["Whole !r:x: $1"]);
}
