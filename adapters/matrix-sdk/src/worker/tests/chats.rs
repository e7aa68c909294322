//! Which rooms are direct chats, and what else is told around group calls.

use matrix_voip::wire::member::MEMBER_TYPE;

use super::*;
use crate::intake::{Stated, WholeState};

fn direct(rooms: &[&str]) -> Input {
    Input::Direct(rooms.iter().map(|id| room(id)).collect())
}

fn read() -> Answer {
    Answer::State(Reading::Read(WholeState::default()))
}

/// An account may have thousands of them: nothing is told of a room before anybody knows what it is.
#[test]
fn a_direct_chat_is_told_with_the_state_of_its_room_and_later_when_it_changes() {
    let mut rig = Rig::new();
    assert_eq!(rig.input(direct(&[ROOM, OTHER])), [""; 0]);
    rig.input(Input::Synced);
    rig.input(Input::Rooms(Listed::AtFirst, vec![room(ROOM)]));
    assert_eq!(rig.answer(read()), ["Chat(Direct)"]);
    assert_eq!(rig.input(direct(&[ROOM])), [""; 0], "the other one we are not in");
    assert_eq!(rig.input(direct(&[])), ["Chat(Group)"]);
    assert_eq!(rig.input(direct(&[ROOM])), ["Chat(Direct)"]);
}

#[test]
fn of_a_group_nothing_need_be_told() {
    let mut rig = Rig::new();
    rig.input(Input::Synced);
    rig.input(Input::Rooms(Listed::AtFirst, vec![room(ROOM)]));
    assert_eq!(rig.answer(read()), [""; 0]);
}

#[test]
fn what_a_room_has_become_while_we_were_away_is_told_when_we_are_back() {
    let mut rig = Rig::new();
    rig.input(direct(&[ROOM]));
    rig.room(update(vec![]));
    rig.answer(read());
    rig.input(Input::Left(room(ROOM)));
    assert_eq!(rig.input(direct(&[])), [""; 0]);
    rig.room(update(vec![]));
    assert_eq!(rig.answer(read()), ["Chat(Group)"]);
}

/// Whoever takes a membership away may say that it was a reaction.
#[test]
fn a_redaction_of_a_membership_is_looked_into_whatever_it_says() {
    let mut rig = Rig::new();
    rig.hears = Hears::State;
    let content = format!(
        r#"{{"memberships":[{{"call_id":"","application":"m.call","scope":"m.room",
            "device_id":"D","expires_ts":{},"foci_active":[{{"type":"mesh"}}]}}]}}"#,
        START.wall.0 + 60_000
    );
    let stated = Stated {
        sender: user("@ben:x"),
        event_type: MEMBER_TYPE.into(),
        state_key: "@ben:x".into(),
        content: Content(content),
    };
    rig.room(update(vec![]));
    rig.answer(read());
    rig.room(update(vec![item("$m", secs(1), What::State(Box::new(stated)))]));
    rig.later(secs(1));
    let What::Call(mut removal) = readable(Protection::Clear) else { unreachable!() };
    removal.event_type = "m.room.redaction".into();
    removal.redacts = EventId::parse("$m").ok();
    let removal = Item { received: rig.now, ..item("$r", secs(0), What::Call(removal)) };
    let told = rig.room(update(vec![removal]));
    assert_eq!(told, ["deliver $r", "state of !r:x"]);
}
