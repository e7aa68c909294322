//! Who is in a group call, when one of many changes something: an engine takes one state event beside
//! so many other members of the call.
//!
//! The baseline is the same beside nobody: what the number of members adds is the difference. Run
//! with `cargo bench --bench groups`.

use std::time::Duration;

use divan::{Bencher, black_box};
use matrix_voip::{
    Config, Identity,
    id::{DeviceId, EventId, RoomId, UserId},
    machine::{
        Engine,
        io::{Input, RoomNews},
    },
    time::{Mono, Now, Wall},
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        member::MEMBER_TYPE,
        state::{Extent, RawState, RoomState, StateBatch, StateFacts},
    },
};

fn main() {
    divan::main();
}

fn user(n: usize) -> UserId {
    UserId::parse(format!("@user{n}:example")).expect("invariant: the text is a user id")
}

fn now() -> Now {
    Now { mono: Mono::default(), wall: Wall(1_786_100_000_000) }
}

/// A membership of one device, showing a screen or not.
fn membership(n: usize, feeds: &str) -> RawState {
    let user = user(n);
    RawState {
        facts: StateFacts {
            event_id: EventId::parse(format!("$event{n}")).expect("invariant: it is an event id"),
            state_key: user.as_str().to_owned(),
            sender: user,
            sent: now().wall,
            age: None,
        },
        event_type: MEMBER_TYPE.to_owned(),
        content: format!(
            r#"{{"memberships":[{{"application":"m.call","call_id":"","scope":"m.room",
            "device_id":"D","expires_ts":1786100300000,"membershipID":"visit{n}","feeds":{feeds},
            "foci_active":[{{"type":"mesh"}}]}}]}}"#
        ),
    }
}

fn state(extent: Extent, events: Vec<RawState>) -> RoomState {
    StateBatch { room: room(), extent, encrypted: Some(false), events }.parse()
}

fn room() -> RoomId {
    RoomId::parse("!room:example").expect("invariant: the text is a room id")
}

/// An engine that sees so many members in one call.
fn engine(members: usize) -> Engine {
    let device = DeviceId::parse("D").expect("invariant: the text is a device id");
    let identity = Identity { user: user(usize::MAX), device };
    let mut engine = Engine::new(identity, Config::default(), 1);
    engine.handle(now(), Input::Room(room(), RoomNews::Members((0..=members).map(user).collect())));
    let all = (0..members).map(|n| membership(n, "[]")).collect();
    engine.handle(now(), Input::State(state(Extent::Whole, all)));
    drain(&mut engine);
    engine
}

fn drain(engine: &mut Engine) {
    while let Some(output) = engine.poll_output() {
        black_box(output);
    }
}

/// One member shows his screen and takes it away again: two changes.
#[divan::bench(args = [1, 1000])]
fn one_changes_twice_beside(bencher: Bencher<'_, '_>, members: usize) {
    change_twice(bencher, engine(members), now());
}

/// The same where everybody has applauded once.
#[divan::bench(args = [1, 1000])]
fn one_changes_twice_beside_so_many_who_applauded(bencher: Bencher<'_, '_>, members: usize) {
    let mut engine = engine(members);
    let mut at = now();
    for n in 0..members {
        at = at.plus(Duration::from_millis(20));
        let place = Place::Room { room: room(), encrypted: false };
        engine.handle(at, Input::Deliver(Batch { place, events: vec![applause(n, at)] }.parse()));
        drain(&mut engine);
    }
    change_twice(bencher, engine, at);
}

fn applause(n: usize, at: Now) -> RawEvent {
    let facts = Facts {
        event_id: EventId::parse(format!("$reaction{n}")).ok(),
        sender: user(n),
        device: None,
        protection: Protection::Clear,
        sent: Some(at.wall),
        age: None,
    };
    let content = format!(
        r#"{{"key":"x","call_id":"","device_id":"D","is_ephemeral":true,
        "m.relates_to":{{"rel_type":"m.reference","event_id":"$event{n}"}}}}"#
    );
    let event_type = "com.famedly.call.member.reaction".to_owned();
    RawEvent { facts, event_type, content, redacts: None }
}

fn change_twice(bencher: Bencher<'_, '_>, mut engine: Engine, now: Now) {
    let on = state(Extent::Changes, vec![membership(0, r#"[{"purpose":"m.screenshare"}]"#)]);
    let off = state(Extent::Changes, vec![membership(0, "[]")]);
    bencher.bench_local(|| {
        for change in [&on, &off] {
            engine.handle(now, Input::State(change.clone()));
            drain(&mut engine);
        }
    });
}
