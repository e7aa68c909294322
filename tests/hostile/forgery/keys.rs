//! Messages about media keys: each is bound to a group call that we are in, to the device that sent it,
//! to a membership, and to the ring.

use std::collections::BTreeSet;

use matrix_voip::{
    Backend, Config, GroupCallId, KeyUse, SfuClient, Unverified,
    id::{DeviceId, EventId, SessionId},
    machine::{
        bounds::MAX_PARKED_PER_USER,
        guard::Guard,
        io::{
            CallMedia, Command, Fault, GroupCommand, Ignored, Input, MatrixOp, Op, Reply, RoomNews,
            Verdict,
        },
    },
    redact::SecretBytes,
    wire::{
        delivery::{Content, Facts, Parsed, Place, Protection},
        keys::{KeyBody, KeyMessage, MediaKey},
        member::{DEFAULT_APPLICATION, MEMBER_TYPE},
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

use super::{Row, Scene};
use crate::rig::{Rig, good, room, secs, start, user};

/// We are in the call of room `r` through an SFU, with `ann`; `bob` is in the room.
struct Meeting {
    rig: Rig,
}

fn habit(op: &Op) -> Option<Result<Reply, Fault>> {
    match op {
        Op::Matrix(MatrixOp::SendToDevice { .. }) => Some(Ok(Reply::ToDevice(BTreeSet::new()))),
        _ => good(op),
    }
}

impl Meeting {
    fn new() -> Self {
        Self::with(Config::default(), KeyUse::Usual)
    }

    fn with(config: Config, keys: KeyUse) -> Self {
        Self::told(config, keys, Some(false))
    }

    /// In a room whose state says so much of its encryption.
    fn told(mut config: Config, keys: KeyUse, encrypted: Option<bool>) -> Self {
        config.sfu_client = SfuClient::Application;
        let mut rig = Rig::with(config);
        rig.habit = habit;
        let members = BTreeSet::from(["me", "ann", "bob"].map(user));
        rig.input(Input::Room(room("r"), RoomNews::Members(members)));
        let state = StateBatch {
            room: room("r"),
            extent: Extent::Whole,
            encrypted,
            events: vec![membership()],
        };
        rig.input(Input::State(state.parse()));
        let session = open(&mut rig, keys);
        rig.input(Input::Command(Command::Group(session, GroupCommand::Enter(CallMedia::Voice))));
        rig.pass(secs(1));
        Self { rig }
    }

    /// The same in an encrypted room.
    fn encrypted(mut self) -> Self {
        self.rig.input(Input::Room(room("r"), RoomNews::Encrypted));
        self
    }

    fn deliver(&mut self, event: &Parsed) -> Verdict {
        let mut scene = self.scene(event);
        let verdict = scene.deliver();
        self.rig = scene.rig;
        verdict
    }

    fn scene(&self, event: &Parsed) -> Scene {
        Scene { rig: self.rig.clone(), place: Place::ToDevice, event: event.clone() }
    }

    fn row(&self, what: &str, event: &Parsed, reason: Ignored, guards: &[Guard]) -> Row {
        let what = format!("key: {what}");
        Row { what, scene: self.scene(event), reason, guards: guards.to_vec() }
    }
}

fn open(rig: &mut Rig, keys: KeyUse) -> SessionId {
    let open = Command::OpenGroup {
        room: room("r"),
        call: GroupCallId::room(),
        backend: Backend::livekit("https://sfu", "x"),
        application: DEFAULT_APPLICATION.to_owned(),
        keys,
    };
    match rig.input(Input::Command(open)) {
        Verdict::Started(session) => session,
        other => panic!("{other:?}"),
    }
}

fn membership() -> RawState {
    let facts = StateFacts {
        event_id: EventId::parse("$ann").unwrap(),
        sender: user("ann"),
        state_key: user("ann").to_string(),
        sent: start().wall,
        age: None,
    };
    let content = r#"{"memberships":[{"call_id":"","device_id":"D","membershipID":"visit",
        "expires_ts":1786000300000,"foci_active":[{"type":"livekit",
        "livekit_service_url":"https://sfu","livekit_alias":"x"}]}]}"#;
    RawState { facts, event_type: MEMBER_TYPE.to_owned(), content: content.to_owned() }
}

/// What somebody's device `D` says to ours.
fn said(sender: &str, body: KeyBody) -> Parsed {
    let facts = Facts {
        event_id: None,
        sender: user(sender),
        device: None,
        protection: Protection::Clear,
        sent: None,
        age: None,
    };
    let device = DeviceId::parse("D").unwrap();
    let message = KeyMessage { room: room("r"), conf_id: String::new(), device, body };
    Parsed { facts, event: Ok(Content::Key(message)), event_type: "com.famedly.x".to_owned() }
}

/// A key of somebody's, or a request for ours.
fn both(sender: &str) -> [(&'static str, Parsed); 2] {
    [("a key", said(sender, key(0))), ("a request", said(sender, KeyBody::Request))]
}

fn key(index: u8) -> KeyBody {
    KeyBody::Keys(vec![MediaKey { index, key: SecretBytes::new([7; 32]) }])
}

fn changed(event: &Parsed, change: impl FnOnce(&mut KeyMessage)) -> Parsed {
    let mut event = event.clone();
    match &mut event.event {
        Ok(Content::Key(message)) => change(message),
        other => panic!("{other:?}"),
    }
    event
}

/// As it comes by Olm from this device.
fn proven(event: &Parsed, device: &str, protection: Protection) -> Parsed {
    let mut event = event.clone();
    event.facts.device = DeviceId::parse(device).ok();
    event.facts.protection = protection;
    event
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = calls();
    rows.extend(senders());
    rows.extend(protected());
    rows.extend(keys());
    rows
}

/// Of which call it is.
fn calls() -> Vec<Row> {
    let it = Meeting::new();
    let off = Meeting::with(Config::default(), KeyUse::Off);
    let rows = both("ann").into_iter().flat_map(|(what, good)| {
        let other_room = changed(&good, |message| message.room = room("o"));
        let other_call = changed(&good, |message| message.conf_id = "x".to_owned());
        [
            it.row(&format!("{what} of another room"), &other_room, Ignored::NoConference, &[]),
            it.row(&format!("{what} of another call"), &other_call, Ignored::NoConference, &[]),
            off.row(&format!("{what} without keys"), &good, Ignored::KeysOff, &[]),
        ]
    });
    rows.collect()
}

/// Who says it.
fn senders() -> Vec<Row> {
    let mut rows = Vec::new();
    let (it, mut ignoring) = (Meeting::new(), Meeting::new());
    ignoring.rig.input(Input::IgnoredUsers([user("ann")].into()));
    for (what, good) in both("ann") {
        // Whoever is ignored is no member for our keys: behind the guard his request meets nothing.
        let guards = [Guard::IgnoredUnheard];
        let guards = if what == "a key" { &guards[..] } else { &[] };
        let what = format!("{what} of an ignored user");
        rows.push(ignoring.row(&what, &good, Ignored::IgnoredUser, guards));
    }
    for (what, stranger) in both("stranger") {
        let reason = Ignored::NotInRoom;
        rows.push(it.row(
            &format!("{what} of a stranger"),
            &stranger,
            reason,
            &[Guard::OutsidersUnheard],
        ));
    }
    for (what, echo) in both("me") {
        let echo = changed(&echo, |message| message.device = DeviceId::parse("MINE").unwrap());
        rows.push(it.row(&format!("{what} of our own"), &echo, Ignored::Echo, &[]));
    }
    let members = [Guard::KeysOfMembers];
    let [(_, early), (_, asked)] = both("bob");
    rows.push(it.row("of who is no member", &early, Ignored::Parked, &members));
    // He was looked for a moment ago.
    let mut again = Meeting::new();
    again.deliver(&asked);
    rows.push(again.row("asked for by who is no member", &asked, Ignored::NoMembership, &members));
    let mut full = Meeting::new();
    for device in 0..MAX_PARKED_PER_USER {
        let device = DeviceId::parse(format!("MADE{device}")).unwrap();
        full.deliver(&changed(&early, |message| message.device = device));
    }
    rows.push(full.row("of one made-up device too many", &early, Ignored::TooMany, &[]));
    rows
}

/// How it was protected, and from which device it came.
fn protected() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut config = Config::default();
    config.unverified = Unverified::Refuse;
    let it = Meeting::new().encrypted();
    let strict = Meeting::with(config, KeyUse::Usual).encrypted();
    // Whether the room is encrypted was asked for a moment ago.
    let mut unknown = Meeting::told(Config::default(), KeyUse::Usual, None);
    unknown.deliver(&both("ann")[0].1);
    let by_state = Meeting::told(Config::default(), KeyUse::Usual, Some(true));
    for (what, good) in both("ann") {
        for (it, known) in [(&unknown, "encryption unknown"), (&by_state, "its state says")] {
            rows.push(it.row(
                &format!("{what} in the clear, {known}"),
                &good,
                Ignored::PlaintextInEncryptedRoom,
                &[Guard::PlaintextRefused],
            ));
        }
        rows.push(it.row(
            &format!("{what} of a device that nobody can name"),
            &proven(&good, "", Protection::Verified),
            Ignored::WrongDevice,
            &[Guard::KeyDeviceBound],
        ));
        rows.push(it.row(
            &format!("{what} in the clear"),
            &good,
            Ignored::PlaintextInEncryptedRoom,
            &[Guard::PlaintextRefused],
        ));
        rows.push(strict.row(
            &format!("{what} of an unverified device"),
            &proven(&good, "D", Protection::Unverified),
            Ignored::UnverifiedDevice,
            &[Guard::UnverifiedRefused],
        ));
        rows.push(it.row(
            &format!("{what} in the name of another device"),
            &proven(&good, "OTHER", Protection::Verified),
            Ignored::WrongDevice,
            &[Guard::KeyDeviceBound],
        ));
    }
    rows
}

/// What it says.
fn keys() -> Vec<Row> {
    let it = Meeting::new();
    let outside = said("ann", key(16));
    let mut known = Meeting::new();
    let good = said("ann", key(0));
    assert_eq!(known.deliver(&good), Verdict::Handled);
    let mut asked = Meeting::new();
    let asks = said("ann", KeyBody::Request);
    assert_eq!(asked.deliver(&asks), Verdict::Handled);
    vec![
        it.row("outside the ring", &outside, Ignored::OutsideRing, &[Guard::KeyInRing]),
        known.row("known already", &good, Ignored::Duplicate, &[Guard::DuplicateIgnored]),
        asked.row("asked for again at once", &asks, Ignored::TooMany, &[]),
    ]
}

#[test]
fn what_a_member_says_about_keys_has_an_effect() {
    for (what, good) in both("ann") {
        assert_eq!(Meeting::new().deliver(&good), Verdict::Handled, "{what}");
        let good = proven(&good, "D", Protection::Verified);
        assert_eq!(Meeting::new().encrypted().deliver(&good), Verdict::Handled, "{what}");
    }
}
