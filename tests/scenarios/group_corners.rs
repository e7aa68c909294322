//! Corners of group calls: what is not sent, not heard and not written, and what waits for how long.

use matrix_voip::{
    Announce, Backend, Config, Connection, DelayedLeave, GroupCallId, GroupState, MemberKey,
    Notify, RAISED_HAND, RingStop, Stay,
    id::{EventId, RoomId, SessionId, UserId},
    machine::{
        Identity,
        event::VoipEvent,
        io::{
            CallMedia, Command, Fault, GroupCommand, Ignored, Input, Lifecycle, MediaKind, Network,
            ParticipantId, PeerState, RoomNews, SdpKind, Verdict,
        },
    },
    testing::{Cue, DelaySupport, Device, OpKind, Sim, millis, secs},
    wire::{
        delivery::Protection,
        member::{LEGACY_MEMBER_TYPE, MEMBER_TYPE},
    },
};
use serde_json::{Value, json};

use crate::common::{self, both_dialects, three};

const NOTIFICATION: &str = "org.matrix.msc4075.rtc.notification";
const REACTION: &str = "com.famedly.call.member.reaction";
const REDACTION: &str = "m.room.redaction";

fn enter(sim: &Sim, device: &Device, room: &RoomId) -> SessionId {
    let session = device.open_group(room, GroupCallId::room());
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    session
}

fn user(name: &str) -> UserId {
    UserId::parse(format!("@{name}:example")).unwrap()
}

fn id(device: &Device) -> ParticipantId {
    let Identity { user, device } = device.identity();
    ParticipantId { user, device }
}

/// Who is in the latest call as a device sees it.
fn present(device: &Device) -> Vec<String> {
    let latest = device.groups().last().and_then(|call| device.group_snapshot(*call));
    let all = latest.map(|shown| shown.participants).unwrap_or_default();
    all.iter().map(|one| one.id.user.as_str().replace(":example", "")).collect()
}

/// Writes state as somebody whom nobody asks.
fn put(sim: &Sim, room: &RoomId, by: &str, (event_type, key, content): (&str, &str, &Value)) {
    common::put(sim, room, user(by).as_str(), (event_type, key), content.to_string());
}

/// A visit of a device, for an hour.
fn entry(sim: &Sim, device: &str, visit: &str) -> Value {
    json!({"application": "m.call", "call_id": "", "scope": "m.room", "device_id": device,
        "expires_ts": sim.now().wall.plus(secs(3_600)).0, "membershipID": visit,
        "foci_active": [{"type": "mesh"}]})
}

/// This user is there with these visits, as written by a client that only the test knows.
fn stands(sim: &Sim, room: &RoomId, by: &str, entries: &[Value]) {
    let content = json!({ "memberships": entries });
    put(sim, room, by, (MEMBER_TYPE, user(by).as_str(), &content));
}

/// What stands under the user's key.
fn standing(sim: &Sim, room: &RoomId, by: &str) -> String {
    let state = sim.server(|server| server.state_of(room, MEMBER_TYPE, user(by).as_str()));
    state.unwrap_or_default()
}

fn written(sim: &Sim, room: &RoomId) -> usize {
    sim.server(|server| server.state_sent(room))
}

/// How many events of a type are in the room.
fn sent(sim: &Sim, room: &RoomId, event_type: &str) -> usize {
    sim.server(|server| {
        server.timeline(room).iter().filter(|event| event.event_type == event_type).count()
    })
}

/// How often a device did this.
fn done(sim: &Sim, who: &str, what: &str) -> usize {
    sim.column().0.iter().filter(|line| line.who == who && line.what.contains(what)).count()
}

/// Why what rang stopped; `None` while it rings.
fn stops(device: &Device) -> Vec<Option<RingStop>> {
    let mut rings: Vec<(EventId, Option<RingStop>)> = Vec::new();
    for event in device.voip_events() {
        match event {
            VoipEvent::GroupRingStarted { ring } => rings.push((ring.notification, None)),
            VoipEvent::GroupRingStopped { ring, why } => {
                let of = rings.iter_mut().find(|(rang, _)| *rang == ring.notification);
                of.expect("what stops has rung").1 = Some(why);
            }
            _ => {}
        }
    }
    rings.into_iter().map(|(_, why)| why).collect()
}

/// Nothing is left at the homeserver when we are gone.
fn without_delayed_leave() -> Config {
    let mut config = Config::default();
    config.delayed_leave = DelayedLeave::Off;
    config
}

// -------------------------------------------------------------------------------- what is not sent

#[test]
fn a_ring_goes_on_when_somebody_else_than_its_caller_leaves() {
    let (sim, room, [ada, ben, cleo]) = three();
    let adas = ada.open_group(&room, GroupCallId::room());
    ada.group(adas, GroupCommand::AnnounceAs(Announce::new(Notify::Ring)));
    ada.group(adas, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    let cleos = enter(&sim, &cleo, &room);
    assert_eq!(stops(&ben), [None], "{}", sim.column());
    cleo.group(cleos, GroupCommand::Leave);
    sim.advance(secs(2));
    assert_eq!(present(&ben), ["@ada"]);
    assert_eq!(stops(&ben), [None], "{}", sim.column());
    ada.group(adas, GroupCommand::Leave);
    sim.advance(secs(2));
    assert_eq!(stops(&ben), [Some(RingStop::CallerGone)], "{}", sim.column());
}

#[test]
fn a_hand_that_still_waited_to_be_sent_when_we_left_is_never_sent() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    enter(&sim, &ben, &room);
    for kind in [OpKind::SendEvent, OpKind::SendClear] {
        ada.next(kind, Cue::dropped());
    }
    ada.group(call, GroupCommand::React { key: RAISED_HAND.to_owned(), stay: Stay::Permanent });
    sim.advance(millis(500));
    assert_eq!(sent(&sim, &room, REACTION), 0, "the first try failed\n{}", sim.column());
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(60));
    let sent = [REACTION, REDACTION].map(|event_type| sent(&sim, &room, event_type));
    assert_eq!(sent, [0, 0], "{}", sim.column());
}

#[test]
fn what_failed_while_there_was_no_network_is_sent_as_soon_as_it_is_back() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    enter(&sim, &ben, &room);
    ada.partition();
    ada.group(call, GroupCommand::React { key: RAISED_HAND.to_owned(), stay: Stay::Permanent });
    // Tried after 1, 3, 7 and 15 s; the next would be after 31.
    sim.advance(secs(20));
    ada.heal();
    sim.advance(secs(1));
    assert_eq!(sent(&sim, &room, REACTION), 0, "nobody told us yet\n{}", sim.column());
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(1));
    assert_eq!(sent(&sim, &room, REACTION), 1, "{}", sim.column());
}

// ------------------------------------------------------------------------------- our membership

#[test]
fn whoever_takes_our_key_again_and_again_does_not_make_us_write_as_often() {
    let sim = Sim::new(4);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let mut config = Config::default();
    config.member_key = MemberKey::Device;
    let ada = sim.user("@ada:example").device_with("D", config);
    sim.run_until_quiet();
    enter(&sim, &ada, &room);
    let (before, takes) = (written(&sim, &room), 120);
    for _ in 0..takes {
        let taken = json!({"memberships": []});
        put(&sim, &room, "ben", (MEMBER_TYPE, "D_@ada:example", &taken));
        sim.advance(millis(500));
    }
    let ours = written(&sim, &room) - before - takes;
    // At once, after 1, 2, 4, 8 and 16 s, and those that come each 16 s then.
    assert!((2..=8).contains(&ours), "{ours} in a minute\n{}", sim.column());
    sim.advance(secs(20));
    let stands = sim.server(|server| server.state_of(&room, MEMBER_TYPE, "D_@ada:example"));
    assert!(stands.unwrap().contains("membershipID"), "in the end it is ours\n{}", sim.column());
}

/// Ada is in the call and hears nothing any more. `X` is another device of hers.
fn deaf(config: Config, support: DelaySupport) -> (Sim, RoomId, Device) {
    let sim = Sim::new(7);
    sim.server(|server| server.delays().set_support(support));
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let ada = sim.user("@ada:example").device_with("D", config);
    sim.run_until_quiet();
    enter(&sim, &ada, &room);
    assert!(standing(&sim, &room, "ada").contains(r#""device_id":"D""#));
    ada.hold_sync();
    (sim, room, ada)
}

fn both_stand(sim: &Sim, room: &RoomId) {
    let stands = standing(sim, room, "ada");
    let both = ["D", "X"].map(|device| stands.contains(&format!(r#""device_id":"{device}""#)));
    assert_eq!(both, [true, true], "{stands}\n{}", sim.column());
}

#[test]
fn after_a_sleep_longer_than_our_membership_nobody_is_thrown_out_who_came_meanwhile() {
    let (sim, room, ada) = deaf(without_delayed_leave(), DelaySupport::None);
    let before = done(&sim, "ada", "writes com.famedly.call.member");
    stands(&sim, &room, "ada", &[entry(&sim, "X", "x")]);
    sim.suspend(secs(400));
    ada.input(Input::Lifecycle(Lifecycle::Foreground));
    sim.advance(secs(5));
    assert_eq!(done(&sim, "ada", "writes com.famedly.call.member"), before + 1);
    both_stand(&sim, &room);
}

#[test]
fn after_an_outage_nobody_is_thrown_out_who_came_meanwhile() {
    let (sim, room, ada) = deaf(without_delayed_leave(), DelaySupport::None);
    // The refresh is due after two minutes.
    ada.always(OpKind::SendState, Cue::dropped());
    sim.advance(secs(125));
    stands(&sim, &room, "ada", &[entry(&sim, "X", "x")]);
    ada.always(OpKind::SendState, Cue::works());
    sim.advance(secs(30));
    both_stand(&sim, &room);
}

#[test]
fn who_slept_through_his_delayed_leave_throws_out_nobody_who_came_meanwhile() {
    let (sim, room, ada) = deaf(Config::default(), DelaySupport::Full);
    ada.slow(OpKind::State, secs(1));
    // The leave was sent, and a refresh is due; the membership would still be believed.
    sim.suspend(secs(200));
    ada.input(Input::Lifecycle(Lifecycle::Foreground));
    assert!(!standing(&sim, &room, "ada").contains(r#""device_id":"D""#), "{}", sim.column());
    sim.advance(millis(500));
    stands(&sim, &room, "ada", &[entry(&sim, "X", "x")]);
    sim.advance(secs(5));
    both_stand(&sim, &room);
}

#[test]
fn what_a_crash_left_behind_and_stands_there_no_more_is_not_taken_back() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    ada.crash();
    stands(&sim, &room, "ada", &[]);
    sim.advance(secs(1));
    assert!(present(&ben).is_empty());
    let before = written(&sim, &room);
    ada.restart();
    sim.advance(secs(60));
    assert_eq!(written(&sim, &room), before, "{}", sim.column());
    assert_eq!(ada.ledger().unwrap().memberships, [], "nor is it tried at the next start");
}

#[test]
fn a_homeserver_that_asks_for_a_pause_gets_no_membership_before_it_is_over() {
    let (sim, room, [ada, ..]) = three();
    ada.next(OpKind::SendState, Cue::rate_limited(secs(60)));
    let call = enter(&sim, &ada, &room);
    sim.advance(secs(20));
    // What the application wants meanwhile waits with it.
    ada.group(call, GroupCommand::SetApplication("m.call.video".to_owned()));
    let other = ada.open_group(&room, GroupCallId::named("other"));
    ada.group(other, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(38));
    assert_eq!(done(&sim, "ada", "writes com.famedly.call.member"), 0, "{}", sim.column());
    assert_eq!(ada.group_state(call), Some(GroupState::Entering));
    sim.advance(secs(3));
    assert_eq!(written(&sim, &room), 1, "both in one write\n{}", sim.column());
    for session in [call, other] {
        assert_eq!(ada.group_state(session), Some(GroupState::Entered), "{}", sim.column());
    }
    // So does a refresh.
    ada.next(OpKind::SendState, Cue::rate_limited(secs(60)));
    sim.advance(secs(170));
    assert_eq!(written(&sim, &room), 1, "{}", sim.column());
    sim.advance(secs(15));
    assert_eq!(written(&sim, &room), 2, "{}", sim.column());
}

#[test]
fn a_homeserver_that_asks_for_a_pause_gets_no_announcement_before_it_is_over() {
    for (pause, announced) in [(20, 1), (40, 0)] {
        let (sim, room, [ada, ben, _]) = three();
        ada.next(OpKind::SendEvent, Cue::rate_limited(secs(pause)));
        let call = ada.open_group(&room, GroupCallId::room());
        ada.group(call, GroupCommand::AnnounceAs(Announce::new(Notify::Ring)));
        ada.group(call, GroupCommand::Enter(CallMedia::Voice));
        sim.advance(secs(19));
        assert_eq!(ada.group_state(call), Some(GroupState::Entered));
        assert_eq!(sent(&sim, &room, NOTIFICATION), 0, "{}", sim.column());
        sim.advance(secs(3));
        assert_eq!(sent(&sim, &room, NOTIFICATION), announced, "{}", sim.column());
        assert_eq!(stops(&ben).len(), announced);
        sim.advance(secs(60));
        assert_eq!(sent(&sim, &room, NOTIFICATION), announced, "nobody is called too late");
    }
}

// ---------------------------------------------------------------------------------- who is there

#[test]
fn state_that_is_read_again_does_not_bring_back_who_left_the_room() {
    let (sim, _, [ada, ..]) = three();
    // Who is in this room nobody has told Ada: its host loads members when they say something.
    let lazy = RoomId::parse("!lazy:example").unwrap();
    stands(&sim, &lazy, "cleo", &[entry(&sim, "C", "c")]);
    let read = || {
        let now = sim.now().wall;
        let state = sim.server(|server| server.room_state(now, &lazy)).unwrap();
        ada.input(Input::State(state.parse()));
        sim.run_until_quiet();
    };
    read();
    let session = *ada.groups().last().expect("a call is seen");
    assert_eq!(present(&ada), ["@cleo"], "{}", sim.column());
    // Somebody stays, so that the call goes on.
    stands(&sim, &lazy, "ben", &[entry(&sim, "B", "b")]);
    read();
    assert_eq!(present(&ada).len(), 2);
    ada.input(Input::Room(lazy.clone(), RoomNews::Left(user("cleo"))));
    assert_eq!(present(&ada), ["@ben"]);
    read();
    assert_eq!(present(&ada), ["@ben"], "{}", sim.column());
    // What she writes then says that she is back.
    stands(&sim, &lazy, "cleo", &[entry(&sim, "C", "c2")]);
    read();
    assert_eq!(present(&ada).len(), 2, "{}", sim.column());
    assert_eq!(ada.groups(), [session]);
}

#[test]
fn a_member_who_comes_anew_is_called_at_once_and_his_failures_are_forgotten() {
    let (sim, room, [ada, ..]) = three();
    ada.always(OpKind::Offer, Cue::fails(Fault::Unsupported));
    stands(&sim, &room, "ben", &[entry(&sim, "X", "first")]);
    enter(&sim, &ada, &room);
    let tries = || done(&sim, "ada", "connecting to");
    // After 1, 3, 7, 15 and 31 s; the next would be after 61.
    sim.advance(secs(40));
    let before = tries();
    assert!(before >= 5, "{}", sim.column());
    sim.advance(secs(5));
    assert_eq!(tries(), before, "it waits\n{}", sim.column());
    stands(&sim, &room, "ben", &[entry(&sim, "X", "second")]);
    sim.advance(millis(500));
    assert_eq!(tries(), before + 1, "at once\n{}", sim.column());
    sim.advance(secs(4));
    assert_eq!(tries(), before + 3, "and after 1 and 3 s\n{}", sim.column());
}

#[test]
fn a_game_and_a_board_are_carried_beside_each_other() {
    let (sim, room, [ada, ben, _]) = three();
    let open = |device: &Device, name: &str, application: &str| {
        let command = Command::OpenGroup {
            room: room.clone(),
            call: GroupCallId::named(name),
            backend: Backend::Mesh,
            application: application.to_owned(),
            keys: matrix_voip::KeyUse::Usual,
        };
        let Verdict::Started(session) = device.command(command) else { panic!("not opened") };
        device.group(session, GroupCommand::Enter(CallMedia::Voice));
        sim.advance(secs(3));
        session
    };
    let adas = [open(&ada, "chess", "m.game"), open(&ada, "sketch", "m.board")];
    let stands = standing(&sim, &room, "ada");
    let read: Value = serde_json::from_str(&stands).unwrap();
    let of = |name: &str| {
        let mut all = read["memberships"].as_array().unwrap().iter();
        all.find(|one| one["call_id"] == name).unwrap()["application"].clone()
    };
    assert_eq!((of("chess"), of("sketch")), (json!("m.game"), json!("m.board")), "{stands}");
    let shown: Vec<_> = ben.groups().iter().filter_map(|it| ben.group_snapshot(*it)).collect();
    let applications: Vec<_> = shown.iter().map(|it| it.application.as_str()).collect();
    assert_eq!(applications, ["m.game", "m.board"], "{}", sim.column());
    // Ben comes to the board alone.
    let bens = open(&ben, "sketch", "m.board");
    let snapshot = |device: &Device, session| device.group_snapshot(session).unwrap();
    assert!(snapshot(&ada, adas[0]).connections.is_empty(), "{}", sim.column());
    let board = [snapshot(&ada, adas[1]), snapshot(&ben, bens)];
    for shown in &board {
        assert!(shown.connections.values().eq([&Connection::Connected]), "{}", sim.column());
    }
    ben.group(bens, GroupCommand::SetApplication("m.game".to_owned()));
    sim.advance(secs(1));
    let shown = snapshot(&ada, adas[1]);
    let of = |device: &Device| shown.participant(&id(device)).unwrap().application.clone();
    assert_eq!((of(&ada), of(&ben)), ("m.board".to_owned(), "m.game".to_owned()));
    assert!(shown.connections.values().eq([&Connection::Connected]), "the leg goes on");
}

// ------------------------------------------------------------------------------ what is not heard

/// Ben is in a call with Ada, whose messages the test writes.
struct Wire {
    sim: Sim,
    room: RoomId,
    ben: Device,
    call: SessionId,
}

impl Wire {
    /// Ben is in the call; Ada's membership is still on its way.
    fn new() -> Self {
        let sim = Sim::new(3);
        let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
        let ben = sim.user("@ben:example").device("D");
        sim.run_until_quiet();
        let call = enter(&sim, &ben, &room);
        Self { sim, room, ben, call }
    }

    /// What every message of Ada's call has in its header.
    fn header(&self, seq: u64) -> Value {
        let shown = self.ben.group_snapshot(self.call).unwrap();
        let ours = shown.participant(&id(&self.ben)).and_then(|one| one.session.clone());
        json!({"call_id": "adas", "party_id": "p", "version": "1", "seq": seq, "conf_id": "",
            "room_id": self.room.as_str(), "device_id": "D", "sender_session_id": "a",
            "dest_session_id": ours.expect("Ben's visit")})
    }

    fn invite(&self) -> Value {
        let sdp = self.sim.puppet("@ada:example", "D").sdp(SdpKind::Offer, &[MediaKind::Audio]);
        let mut invite = self.header(0);
        invite["lifetime"] = json!(60_000);
        invite["offer"] = json!({"type": "offer", "sdp": sdp});
        invite["capabilities"] = json!({});
        invite
    }

    fn ada_is_in(&self) {
        stands(&self.sim, &self.room, "ada", &[entry(&self.sim, "D", "a")]);
        self.sim.advance(secs(1));
    }

    fn says(&self, event_type: &str, content: &Value) {
        let from = self.sim.puppet("@ada:example", "D").identity().clone();
        let (now, to) = (self.sim.now().wall, id(&self.ben));
        let content = content.to_string();
        let event = ((event_type, content.as_str()), Protection::Clear);
        self.sim.server(|server| server.post(now, &from, &to, event));
        self.sim.advance(millis(500));
    }

    fn legs(&self) -> usize {
        self.ben.peers().len()
    }
}

#[test]
fn what_waited_for_a_membership_is_not_heard_on_our_next_visit() {
    let it = Wire::new();
    it.says("com.famedly.call.member.invite", &it.invite());
    assert_eq!((it.ben.ignored(Ignored::Parked), it.legs()), (1, 0));
    it.ben.group(it.call, GroupCommand::Leave);
    it.ben.group(it.call, GroupCommand::Enter(CallMedia::Voice));
    it.sim.advance(secs(1));
    assert_eq!(it.ben.group_state(it.call), Some(GroupState::Entered));
    it.ada_is_in();
    assert_eq!(present(&it.ben).len(), 2, "{}", it.sim.column());
    assert_eq!(it.legs(), 0, "it was for the visit that is over\n{}", it.sim.column());
    // Whoever stays in the call hears it.
    let it = Wire::new();
    it.says("com.famedly.call.member.invite", &it.invite());
    it.ada_is_in();
    assert_eq!(it.legs(), 1, "{}", it.sim.column());
}

#[test]
fn nobody_is_transferred_or_renamed_on_a_leg_and_it_goes_on() {
    let it = Wire::new();
    it.ada_is_in();
    it.says("com.famedly.call.member.invite", &it.invite());
    it.ben.force(PeerState::Connected);
    it.sim.advance(millis(500));
    let shown = || it.ben.group_snapshot(it.call).unwrap();
    let connected = || shown().connections.values().eq([&Connection::Connected]);
    assert!(connected() && it.legs() == 1, "{}", it.sim.column());
    let (before, events) = (shown(), it.ben.group_events(it.call).len());
    let calls = it.ben.calls();
    for form in ["com.famedly.call.member.replaces", "m.call.replaces"] {
        let refused = it.ben.ignored(Ignored::Unsupported);
        let mut replaces = it.header(refused + 1);
        replaces["replacement_id"] = json!("r");
        replaces["target_user"] = json!({"id": "@cleo:example", "display_name": "Cleo"});
        replaces["create_call"] = json!("another");
        it.says(form, &replaces);
        assert_eq!(it.ben.ignored(Ignored::Unsupported), refused + 1, "{form}");
    }
    let mut asserted = it.header(10);
    asserted["asserted_identity"] = json!({"id": "@cleo:example", "display_name": "Cleo"});
    let ignored = || {
        let mut counts = it.ben.engine(|engine| engine.diagnostics().counts().clone());
        counts.remove(&Ignored::StaleReply);
        counts
    };
    let unheard = ignored();
    it.says("com.famedly.call.member.asserted_identity", &asserted);
    assert_eq!(ignored(), unheard, "it is heard, and nothing comes of it");
    assert_eq!((shown(), it.ben.group_events(it.call).len()), (before, events));
    assert_eq!(it.ben.calls(), calls, "nobody is called");
    assert!(connected() && it.legs() == 1, "{}", it.sim.column());
    // It was the leg of this call: what ends it is heard.
    let mut hangup = it.header(11);
    hangup["reason"] = json!("user_hangup");
    it.says("com.famedly.call.member.hangup", &hangup);
    assert_eq!(it.legs(), 0, "{}", it.sim.column());
}

#[test]
fn a_message_that_names_no_room_is_not_heard_where_its_call_is_in_two() {
    for (both, legs, without_room) in [(false, 1, 0), (true, 0, 1)] {
        let sim = Sim::new(1);
        let all = ["@ada:example", "@ben:example"];
        let (room, other) = (sim.room("!room:example", all), sim.room("!other:example", all));
        let ben = sim.user("@ben:example").device_with("D", both_dialects());
        let ada = sim.puppet("@ada:example", "D");
        sim.run_until_quiet();
        let rooms = if both { vec![&other, &room] } else { vec![&room] };
        let sessions = rooms.into_iter().map(|room| {
            let session = ben.open_legacy_group(room, "conf");
            ben.group(session, GroupCommand::Enter(CallMedia::Voice));
            sim.advance(secs(2));
            session
        });
        let session = *sessions.collect::<Vec<_>>().last().unwrap();
        let content = json!({"m.calls": [{"m.call_id": "conf", "m.devices": [{
            "device_id": "D", "session_id": "a", "feeds": [],
            "expires_ts": sim.now().wall.plus(secs(3_600)).0}]}]});
        put(&sim, &room, "ada", (LEGACY_MEMBER_TYPE, "@ada:example", &content));
        sim.advance(secs(1));
        let shown = ben.group_snapshot(session).unwrap();
        let ours = shown.participant(&id(&ben)).and_then(|one| one.session.clone());
        let sdp = ada.sdp(SdpKind::Offer, &[MediaKind::Audio]);
        let invite = json!({"call_id": "c", "party_id": "p", "version": "1", "lifetime": 60_000,
            "offer": {"type": "offer", "sdp": sdp}, "capabilities": {}, "seq": 0,
            "conf_id": "conf", "device_id": "D", "sender_session_id": "a",
            "dest_session_id": ours.expect("Ben's visit")});
        let (now, content) = (sim.now().wall, invite.to_string());
        let event = (("m.call.invite", content.as_str()), Protection::Clear);
        let to = id(&ben);
        sim.server(|server| server.post(now, ada.identity(), &to, event));
        sim.advance(secs(1));
        assert_eq!(ben.ignored(Ignored::NoRoom), without_room, "{}", sim.column());
        assert_eq!(ben.peers().len(), legs, "{}", sim.column());
    }
}
