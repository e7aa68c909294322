//! Media keys in a call through an SFU: what a change of one member costs beside so many others who have
//! our key, and a member who comes and goes, for whom a fresh key goes to everybody.
//!
//! The baseline of the first is the same call that we are only shown, of the second the same beside one.
//! Run with `cargo bench --bench keyring`.

use std::{collections::BTreeSet, time::Duration};

use divan::{Bencher, black_box};
use matrix_voip::{
    Backend, Config, GroupCallId, Identity, KeyUse,
    id::{DeviceId, EventId, RoomId, SessionId, UserId},
    machine::{
        Engine,
        io::{
            CallMedia, Command, Fault, Fetch, GroupCommand, Input, MatrixOp, Op, Output, Reply,
            RoomNews, Verdict,
        },
    },
    redact::SecretBytes,
    time::{Mono, Now, Wall},
    wire::{
        member::MEMBER_TYPE,
        state::{Extent, RawState, RoomState, StateBatch, StateFacts},
    },
};

fn main() {
    divan::main();
}

const SERVICE: &str = "https://sfu.example";

fn user(n: usize) -> UserId {
    UserId::parse(format!("@user{n}:example")).expect("invariant: the text is a user id")
}

fn room() -> RoomId {
    RoomId::parse("!room:example").expect("invariant: the text is a room id")
}

fn now() -> Now {
    Now { mono: Mono::default(), wall: Wall(1_786_100_000_000) }
}

/// Somebody is in the call, about this; about nothing: he is not.
fn membership(n: usize, about: Option<&str>) -> RawState {
    let entry = about.map(|about| {
        format!(
            r#"{{"application":"{about}","call_id":"","scope":"m.room","device_id":"D",
            "expires_ts":1786100300000,"membershipID":"visit{n}","foci_active":[{{"type":"livekit",
            "livekit_service_url":"{SERVICE}","livekit_alias":"{}"}}]}}"#,
            room()
        )
    });
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
        content: format!(r#"{{"memberships":[{}]}}"#, entry.unwrap_or_default()),
    }
}

fn state(extent: Extent, events: Vec<RawState>) -> RoomState {
    StateBatch { room: room(), extent, encrypted: Some(false), events }.parse()
}

/// An engine beside so many members of one call.
struct Scene {
    engine: Engine,
    session: SessionId,
    now: Now,
}

impl Scene {
    fn new(members: usize) -> Self {
        let device = DeviceId::parse("D").expect("invariant: the text is a device id");
        let identity = Identity { user: user(usize::MAX), device };
        let mut engine = Engine::new(identity, Config::default(), 1);
        let all = (0..=members).map(user).chain([user(usize::MAX)]).collect();
        engine.handle(now(), Input::Room(room(), RoomNews::Members(all)));
        let all = (0..members).map(|n| membership(n, Some("m.call"))).collect();
        engine.handle(now(), Input::State(state(Extent::Whole, all)));
        let open = Command::OpenGroup {
            room: room(),
            call: GroupCallId::room(),
            backend: Backend::livekit(SERVICE, room().as_str()),
            application: "m.call".to_owned(),
            keys: KeyUse::Usual,
        };
        let Verdict::Started(session) = engine.handle(now(), Input::Command(open)) else {
            unreachable!("invariant: nothing stands against it")
        };
        let mut scene = Self { engine, session, now: now() };
        scene.serve();
        scene
    }

    /// We are in it, and everybody has our key.
    fn entered(members: usize) -> Self {
        let mut scene = Self::new(members);
        let enter = GroupCommand::Enter(CallMedia::Voice);
        scene.feed(Input::Command(Command::Group(scene.session, enter)));
        scene
    }

    fn feed(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.serve();
    }

    /// Time passes, and what is due then is done.
    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        self.engine.handle_timeout(self.now);
        self.serve();
    }

    fn serve(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            if let Output::Request { id, op } = output {
                let reply = reply(&op);
                self.engine.handle(self.now, Input::Reply(id, reply));
            } else {
                black_box(output);
            }
        }
    }
}

fn reply(op: &Op) -> Result<Reply, Fault> {
    match op {
        Op::Matrix(MatrixOp::SendToDevice { .. }) => Ok(Reply::ToDevice(BTreeSet::new())),
        Op::Matrix(MatrixOp::Delay(_)) => Err(Fault::Unsupported),
        Op::Matrix(_) => {
            Ok(Reply::Sent(EventId::parse("$sent").expect("invariant: it is an event id")))
        }
        Op::Fetch(Fetch::KeyMaterial) => Ok(Reply::KeyMaterial(SecretBytes::new([7; 32]))),
        Op::Fetch(_) => Err(Fault::Unsupported),
        Op::Peer(..) | Op::Track(..) | Op::Sfu(..) | Op::Keys(..) | Op::Save(_) => Ok(Reply::Done),
    }
}

/// One member makes it a video call and a voice call again: two changes that concern no key.
fn change_twice(bencher: Bencher<'_, '_>, mut scene: Scene) {
    let one = state(Extent::Changes, vec![membership(0, Some("m.call.video"))]);
    let other = state(Extent::Changes, vec![membership(0, Some("m.call"))]);
    bencher.bench_local(|| {
        scene.feed(Input::State(one.clone()));
        scene.feed(Input::State(other.clone()));
    });
}

#[divan::bench(args = [1, 1000])]
fn one_changes_twice_and_we_are_shown_it(bencher: Bencher<'_, '_>, members: usize) {
    change_twice(bencher, Scene::new(members));
}

#[divan::bench(args = [1, 1000])]
fn one_changes_twice_and_we_are_in_it_with_keys(bencher: Bencher<'_, '_>, members: usize) {
    change_twice(bencher, Scene::entered(members));
}

/// One comes after the join window and goes: two fresh keys, each to everybody.
#[divan::bench(args = [1, 1000])]
fn one_comes_and_goes_beside(bencher: Bencher<'_, '_>, members: usize) {
    let comes = state(Extent::Changes, vec![membership(members, Some("m.call"))]);
    let goes = state(Extent::Changes, vec![membership(members, None)]);
    let inputs = bencher.with_inputs(|| {
        let mut scene = Scene::entered(members);
        scene.pass(Duration::from_secs(10));
        scene
    });
    inputs.bench_local_refs(|scene| {
        scene.feed(Input::State(comes.clone()));
        scene.feed(Input::State(goes.clone()));
        // As long as the fresh key waits, and then its use.
        scene.pass(Duration::from_secs(4));
        scene.pass(Duration::from_secs(4));
    });
}
