//! Memberships of group calls: each is bound to who wrote it and to the room that he is in.

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::{
    id::{EventId, UserId},
    machine::{
        guard::Guard,
        io::{Ignored, Input, RoomNews, Verdict},
    },
    time::Wall,
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        member::{LEGACY_MEMBER_TYPE, MEMBER_TYPE},
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

use crate::rig::{Rig, room, start, user};

/// The guards that these tests show to be needed, and the reasons that they give.
pub(super) const GUARDS: [Guard; 3] =
    [Guard::StateKeyBound, Guard::StateInOrder, Guard::OutsidersUnheard];
pub(super) const REASONS: [Ignored; 3] =
    [Ignored::ForeignStateKey, Ignored::OutdatedState, Ignored::NotInRoom];

const MEMBERSHIP: &str = r#"{"memberships":[{"call_id":"","device_id":"D","membershipID":"s",
    "expires_ts":1786000300000,"foci_active":[{"type":"mesh"}]}]}"#;

/// A state event of a room in which we and `you` are.
fn rig() -> Rig {
    let mut rig = Rig::new();
    let members = BTreeSet::from([user("me"), user("you")]);
    rig.input(Input::Room(room("r"), RoomNews::Members(members)));
    rig
}

fn state(sender: &UserId, state_key: &str, content: &str) -> Input {
    written(sender, state_key, content, start().wall)
}

fn written(sender: &UserId, state_key: &str, content: &str, sent: Wall) -> Input {
    let facts = StateFacts {
        event_id: EventId::parse("$state").unwrap(),
        sender: sender.clone(),
        state_key: state_key.to_owned(),
        sent,
        age: None,
    };
    let event_type = MEMBER_TYPE.to_owned();
    let events = vec![RawState { facts, event_type, content: content.to_owned() }];
    Input::State(
        StateBatch { room: room("r"), extent: Extent::Changes, encrypted: Some(false), events }
            .parse(),
    )
}

/// What becomes of it, and whether the application hears of anything.
fn judged(mut rig: Rig, input: Input) -> (Verdict, bool) {
    let before = rig.told.len();
    let verdict = match rig.input(input) {
        Verdict::Batch(mut verdicts) => verdicts.remove(0),
        other => other,
    };
    (verdict, rig.told.len() > before)
}

#[test]
fn a_membership_of_a_member_under_his_own_key_counts() {
    for key in ["@you:x", "@you:x_D", "D_@you:x", "", "odd"] {
        assert_eq!(judged(rig(), state(&user("you"), key, MEMBERSHIP)), (Verdict::Handled, true));
    }
}

#[test]
fn a_membership_under_somebody_elses_key_counts_for_nothing() {
    for key in ["@me:x", "@me:x_D", "D_@me:x", "@you:xy", "@you", "@"] {
        let forged = || state(&user("you"), key, MEMBERSHIP);
        let refused = (Verdict::Ignored(Ignored::ForeignStateKey), false);
        assert_eq!(judged(rig(), forged()), refused, "{key}");
        let mut open = rig();
        open.engine = open.engine.without(Guard::StateKeyBound);
        assert!(judged(open, forged()).1, "{key}: without the guard it counts");
    }
}

/// Synapse tells the state before a timeline: on another branch than the one that we have heard of.
#[test]
fn a_membership_that_its_user_has_taken_back_does_not_come_again() {
    let (you, key) = (user("you"), "@you:x");
    let now = start().wall;
    let left = || {
        let mut rig = rig();
        rig.input(written(&you, key, MEMBERSHIP, now));
        rig.input(written(&you, key, "{}", now.plus(Duration::from_millis(1))));
        rig
    };
    let again = || written(&you, key, MEMBERSHIP, now);
    let refused = (Verdict::Ignored(Ignored::OutdatedState), false);
    assert_eq!(judged(left(), again()), refused);
    let mut open = left();
    open.engine = open.engine.without(Guard::StateInOrder);
    assert!(judged(open, again()).1, "without the guard he is there again");
}

#[test]
fn whoever_is_not_in_the_room_is_in_no_call_of_it() {
    let forged = || state(&user("stranger"), "@stranger:x", MEMBERSHIP);
    assert_eq!(judged(rig(), forged()), (Verdict::Ignored(Ignored::NotInRoom), false));
    let mut open = rig();
    open.engine = open.engine.without(Guard::OutsidersUnheard);
    assert!(judged(open, forged()).1, "without the guard he is");
}

#[test]
fn broken_memberships_say_nothing() {
    for content in ["", "7", "[]", "{"] {
        let malformed = (Verdict::Ignored(Ignored::Malformed), false);
        assert_eq!(judged(rig(), state(&user("you"), "@you:x", content)), malformed, "{content}");
    }
    for content in ["{}", r#"{"memberships":7}"#, r#"{"memberships":[7,{},null]}"#] {
        let nothing = (Verdict::Handled, false);
        assert_eq!(judged(rig(), state(&user("you"), "@you:x", content)), nothing, "{content}");
    }
}

#[test]
fn an_event_of_the_timeline_is_no_state_however_it_is_called() {
    for event_type in [MEMBER_TYPE, LEGACY_MEMBER_TYPE] {
        let facts = Facts {
            event_id: None,
            sender: user("you"),
            device: None,
            protection: Protection::Verified,
            sent: Some(Wall(0)),
            age: None,
        };
        let content = MEMBERSHIP.to_owned();
        let event = RawEvent { facts, event_type: event_type.to_owned(), content, redacts: None };
        let place = Place::Room { room: room("r"), encrypted: true };
        let delivery = Batch { place, events: vec![event] }.parse();
        assert!(delivery.events.is_empty(), "the door does not let it in");
    }
}
