//! Messages to this device about a group call: each is bound to room, group call, both visits, to who
//! sent it and from which device.

use std::collections::BTreeSet;

use matrix_voip::{
    Backend, Config, GroupCallId, WireForm,
    config::Unverified,
    id::{DeviceId, EventId, SessionId},
    machine::{
        guard::Guard,
        io::{CallMedia, Command, GroupCommand, Ignored, Input, MatrixOp, Op, RoomNews, Verdict},
    },
    redact::Redacted,
    wire::{
        call::{Body, Header, Invite, Leg, Replaces},
        delivery::{Content, Malformed, Parsed, Place, Protection},
        member::{MEMBER_TYPE, read_members},
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};

use super::{Row, Scene};
use crate::rig::{Rig, candidates, hangup, invite, invite_for, room, said, secs, start, user};

/// We are in the call of room `r`, with `ann`, who calls us, and `you`, whom we call. `bob` is in the
/// room.
struct Meeting {
    rig: Rig,
    ours: String,
}

impl Meeting {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut rig = Rig::with(config);
        let members = BTreeSet::from(["me", "ann", "you", "bob"].map(user));
        rig.input(Input::Room(room("r"), RoomNews::Members(members)));
        let events = ["ann", "you"].map(membership).to_vec();
        let state =
            StateBatch { room: room("r"), extent: Extent::Whole, encrypted: Some(false), events };
        rig.input(Input::State(state.parse()));
        let session = open(&mut rig);
        rig.input(Input::Command(Command::Group(session, GroupCommand::Enter(CallMedia::Voice))));
        rig.pass(secs(1));
        let ours = our_visit(&rig);
        Self { rig, ours }
    }

    /// With a leg that `ann` began, in the call `talk`.
    fn talking(mut self) -> Self {
        let invite = self.said("ann", invite());
        assert_eq!(self.deliver(invite), Verdict::Handled);
        self.rig.pass(secs(1));
        self
    }

    fn deliver(&mut self, event: Parsed) -> Verdict {
        let scene = self.scene(event);
        let mut scene = Scene { rig: self.rig.clone(), ..scene };
        let verdict = scene.deliver();
        self.rig = scene.rig;
        verdict
    }

    fn scene(&self, event: Parsed) -> Scene {
        Scene { rig: self.rig.clone(), place: Place::ToDevice, event }
    }

    /// What somebody says in the call `talk`, from device `D` on his visit `visit`.
    fn said(&mut self, sender: &str, body: Body) -> Parsed {
        let mut event = self.rig.event(said(sender, "talk", body));
        event.facts.event_id = None;
        event.facts.age = None;
        let header = header(&mut event);
        header.device_id = DeviceId::parse("D").ok();
        header.leg = Some(Leg {
            form: WireForm::Deployed,
            conf_id: String::new(),
            room_id: Some(room("r")),
            dest_session_id: Some(self.ours.clone()),
            sender_session_id: Some("visit".to_owned()),
            seq: Some(0),
        });
        event
    }

    fn row(&self, what: &str, event: Parsed, reason: Ignored, guards: &[Guard]) -> Row {
        let what = format!("leg: {what}");
        Row { what, scene: self.scene(event), reason, guards: guards.to_vec() }
    }
}

fn open(rig: &mut Rig) -> SessionId {
    let open = Command::OpenGroup {
        room: room("r"),
        call: GroupCallId::room(),
        backend: Backend::Mesh,
        application: "m.call".to_owned(),
        keys: matrix_voip::KeyUse::Usual,
    };
    match rig.input(Input::Command(open)) {
        Verdict::Started(session) => session,
        other => panic!("{other:?}"),
    }
}

fn membership(of: &str) -> RawState {
    let facts = StateFacts {
        event_id: EventId::parse(format!("${of}")).unwrap(),
        sender: user(of),
        state_key: user(of).to_string(),
        sent: start().wall,
        age: None,
    };
    let content = r#"{"memberships":[{"call_id":"","device_id":"D","membershipID":"visit",
        "expires_ts":1786000300000,"foci_active":[{"type":"mesh"}]}]}"#;
    RawState { facts, event_type: MEMBER_TYPE.to_owned(), content: content.to_owned() }
}

fn our_visit(rig: &Rig) -> String {
    let mut written = rig.ops.iter().filter_map(|op| match op {
        Op::Matrix(MatrixOp::SendState { content, .. }) => Some(content),
        _ => None,
    });
    let content = written.next_back().expect("our membership");
    let dialect = matrix_voip::wire::member::Dialect::Famedly;
    let entries = read_members(dialect, content).unwrap();
    entries[0].membership.clone().unwrap().session.unwrap()
}

fn header(event: &mut Parsed) -> &mut Header {
    match &mut event.event {
        Ok(Content::Call(message)) => &mut message.header,
        other => panic!("{other:?}"),
    }
}

fn leg(event: &mut Parsed) -> &mut Leg {
    header(event).leg.as_mut().unwrap()
}

fn changed(mut event: Parsed, change: impl FnOnce(&mut Leg)) -> Parsed {
    change(leg(&mut event));
    event
}

fn invite_with(change: impl FnOnce(&mut Invite)) -> Body {
    let mut body = invite();
    if let Body::Invite(invite) = &mut body {
        change(invite);
    }
    body
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = addresses();
    rows.extend(speakers());
    rows.extend(invites());
    rows.extend(talk());
    rows
}

/// For which group call it is, and for which visit of ours.
fn addresses() -> Vec<Row> {
    let mut it = Meeting::new();
    let good = it.said("ann", invite());
    let other = |change: fn(&mut Leg)| changed(good.clone(), change);
    let no_leg = {
        let mut event = good.clone();
        header(&mut event).leg = None;
        event
    };
    let malformed = |field| Parsed { event: Err(Malformed::Missing(field)), ..good.clone() };
    let visit = [Guard::OurSessionBound];
    vec![
        it.row("no room", other(|leg| leg.room_id = None), Ignored::NoRoom, &[]),
        it.row("a twin without room", malformed("room_id"), Ignored::NoRoom, &[]),
        it.row("no group call", no_leg, Ignored::NoConference, &[]),
        it.row("a twin without group call", malformed("conf_id"), Ignored::NoConference, &[]),
        it.row("another", other(|leg| leg.conf_id = "x".into()), Ignored::NoConference, &[]),
        it.row(
            "another room",
            other(|leg| leg.room_id = Some(room("o"))),
            Ignored::NoConference,
            &[],
        ),
        it.row(
            "another visit of ours",
            other(|leg| leg.dest_session_id = Some("x".into())),
            Ignored::WrongSession,
            &visit,
        ),
        it.row(
            "no visit of ours",
            other(|leg| leg.dest_session_id = None),
            Ignored::WrongSession,
            &visit,
        ),
    ]
}

/// Who says it, on which visit, from which device.
fn speakers() -> Vec<Row> {
    let mut it = Meeting::new();
    let good = it.said("ann", invite());
    let bob = it.said("bob", invite());
    let stranger = it.said("stranger", invite());
    let mut echo = it.said("me", invite());
    header(&mut echo).device_id = DeviceId::parse("MINE").ok();
    let mut nobody = good.clone();
    header(&mut nobody).device_id = None;
    let other_visit = changed(good.clone(), |leg| leg.sender_session_id = Some("x".into()));
    let mut ignoring = Meeting::new();
    ignoring.rig.input(Input::IgnoredUsers([user("ann")].into()));
    let mut secret = Meeting::new();
    secret.rig.input(Input::Room(room("r"), RoomNews::Encrypted));
    let mut config = Config::default();
    config.unverified = Unverified::Refuse;
    let mut strict = Meeting::with(config);
    strict.rig.input(Input::Room(room("r"), RoomNews::Encrypted));
    let mut unverified = good.clone();
    unverified.facts.protection = Protection::Unverified;
    unverified.facts.device = DeviceId::parse("D").ok();
    leg(&mut unverified).dest_session_id = Some(strict.ours.clone());
    let of = |meeting: &Meeting| {
        changed(good.clone(), |leg| leg.dest_session_id = Some(meeting.ours.clone()))
    };
    vec![
        it.row("another visit", other_visit, Ignored::Parked, &[Guard::TheirSessionBound]),
        it.row("no member", bob, Ignored::Parked, &[Guard::MembersHeard]),
        it.row("not in the room", stranger, Ignored::NotInRoom, &[Guard::OutsidersUnheard]),
        it.row("ourselves", echo, Ignored::Echo, &[]),
        it.row("from no device", nobody, Ignored::NoDevice, &[]),
        ignoring.row("ignored", of(&ignoring), Ignored::IgnoredUser, &[Guard::IgnoredUnheard]),
        secret.row(
            "in the clear",
            of(&secret),
            Ignored::PlaintextInEncryptedRoom,
            &[Guard::PlaintextRefused],
        ),
        strict.row(
            "from an unverified device",
            unverified,
            Ignored::UnverifiedDevice,
            &[Guard::UnverifiedRefused],
        ),
    ]
}

fn invites() -> Vec<Row> {
    let mut it = Meeting::new();
    let to_another = it.said("ann", invite_with(|it| it.invitee = Some(user("you"))));
    let device = DeviceId::parse("OTHER").ok();
    let to_other = it.said("ann", invite_with(|it| it.invitee_device = device));
    let broken = it.said("ann", invite_with(|it| it.offer = Redacted::from("nonsense")));
    let late = it.said("ann", invite_for(secs(0)));
    let upwards = it.said("you", invite());
    vec![
        it.row("for another user", to_another, Ignored::NotForUs, &[Guard::InviteeObeyed]),
        it.row("for another device", to_other, Ignored::NotForUs, &[Guard::InviteeDeviceObeyed]),
        it.row("a broken offer", broken, Ignored::Malformed, &[Guard::SdpChecked]),
        it.row("too late", late, Ignored::Expired, &[Guard::InviteExpires]),
        it.row("we are to call him", upwards, Ignored::WrongDirection, &[Guard::SmallerCalls]),
    ]
}

/// In a leg that is there, and after it.
fn talk() -> Vec<Row> {
    let mut it = Meeting::new().talking();
    let again = it.said("ann", candidates(1));
    let next = |event: Parsed| changed(event, |leg| leg.seq = Some(1));
    let transfer = next(it.said("ann", Body::Replaces(Replaces::default())));
    let other_visit = next(it.said("ann", hangup()));
    let other_visit = changed(other_visit, |leg| leg.sender_session_id = Some("x".into()));
    let goodbye = next(it.said("ann", hangup()));
    let mut over = Meeting { rig: it.rig.clone(), ours: it.ours.clone() };
    assert_eq!(over.deliver(goodbye), Verdict::Handled);
    let invite = over.said("ann", invite());
    vec![
        it.row("the same number", again, Ignored::Duplicate, &[Guard::DuplicateIgnored]),
        it.row("a transfer", transfer, Ignored::Unsupported, &[]),
        it.row("of another visit", other_visit, Ignored::WrongSession, &[Guard::TheirSessionBound]),
        over.row("a call that is over", invite, Ignored::AlreadyOver, &[Guard::OverStaysOver]),
    ]
}

#[test]
fn what_a_member_says_on_his_visit_has_an_effect() {
    let mut it = Meeting::new().talking();
    let next = |event: Parsed, seq| changed(event, |leg| leg.seq = Some(seq));
    let candidates = it.said("ann", candidates(1));
    assert_eq!(it.deliver(next(candidates, 1)), Verdict::Handled);
    let hangup = it.said("ann", hangup());
    assert_eq!(it.deliver(next(hangup, 2)), Verdict::Handled);
}
