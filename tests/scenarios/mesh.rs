//! Group calls in which each meets each: legs come and go, and what all of them send.

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::{
    Backend, Busy, CallState, Config, Connection, EndReason, GroupCallId, GroupEvent,
    GroupSnapshot, GroupState, MediaKind, MediaSource, ParticipantId, Side, WireForm,
    host::SendState,
    id::{InputId, RoomId, SessionId, UserId},
    machine::{
        Identity,
        bounds::{MAX_LEGS, MAX_LEGS_BEGUN_PER_USER},
        event::VoipEvent,
        io::{
            CallMedia, Command, GroupCommand, Ignored, Input, Network, PeerState, Refusal, Verdict,
        },
    },
    testing::{Cue, Device, Habits, OpKind, Sim, millis, secs},
    wire::{delivery::Protection, metadata::Purpose, power::POWER_LEVELS_TYPE},
};
use serde_json::{Value, json};

use crate::common::{both_dialects, crowd, stands, user};

/// What is done at once is done without that time goes on.
const AT_ONCE: Duration = Duration::ZERO;

/// A room of these users, and a device of each.
fn room_of(users: &[&str]) -> (Sim, RoomId, Vec<Device>) {
    room_with(users, |_| both_dialects())
}

fn room_with(users: &[&str], config: impl Fn(&str) -> Config) -> (Sim, RoomId, Vec<Device>) {
    let sim = Sim::new(1);
    let names: Vec<_> = users.iter().map(|user| format!("@{user}:example")).collect();
    let room = sim.room("!room:example", names.iter().map(String::as_str));
    let device = |user: &&str| sim.user(&format!("@{user}:example")).device_with("D", config(user));
    let devices = users.iter().map(device).collect();
    sim.run_until_quiet();
    (sim, room, devices)
}

fn enter(device: &Device, room: &RoomId) -> SessionId {
    enter_call(device, room, GroupCallId::room())
}

fn enter_call(device: &Device, room: &RoomId, call: GroupCallId) -> SessionId {
    let session = device.open_group(room, call);
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    session
}

/// All enter at once, and are connected.
fn meeting(users: &[&str]) -> (Sim, RoomId, Vec<Device>, Vec<SessionId>) {
    let (sim, room, devices) = room_of(users);
    let sessions = devices.iter().map(|device| enter(device, &room)).collect();
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    (sim, room, devices, sessions)
}

fn latest(device: &Device) -> GroupSnapshot {
    let session = device.groups().last().copied();
    session.and_then(|session| device.group_snapshot(session)).expect("a group call")
}

/// To whom a device is connected, by user.
fn connected(device: &Device) -> Vec<String> {
    let shown = latest(device);
    let connected = shown.connections.iter().filter(|(_, it)| **it == Connection::Connected);
    connected.map(|(who, _)| who.user.as_str().replace(":example", "")).collect()
}

/// Each device has one connection to each other, and no other in a group call.
fn all_connected(sim: &Sim, devices: &[Device]) {
    for device in devices {
        let others: BTreeSet<_> = devices.iter().map(id).filter(|it| *it != id(device)).collect();
        let mut peers = device.peers();
        peers.retain(|peer| peer.config.member.is_some());
        let members: BTreeSet<_> =
            peers.iter().filter_map(|peer| peer.config.member.clone()).collect();
        assert_eq!(members, others, "{}\n{}", device.name(), sim.column());
        assert_eq!(peers.len(), others.len(), "{}\n{}", device.name(), sim.column());
        assert_eq!(connected(device).len(), others.len(), "{}\n{}", device.name(), sim.column());
    }
}

fn id(device: &Device) -> ParticipantId {
    let Identity { user, device } = device.identity();
    ParticipantId { user, device }
}

/// How often a device sent this.
fn sent(sim: &Sim, device: &Device, event_type: &str) -> usize {
    let (who, what) = (device.name(), format!("sends {event_type} to a device"));
    sim.column().0.iter().filter(|line| line.who == who && line.what == what).count()
}

/// What the kit itself makes be ignored.
const OF_THE_KIT: [Ignored; 2] = [Ignored::NoChange, Ignored::StaleReply];

const INVITE: &str = "com.famedly.call.member.invite";

// ------------------------------------------------------------------------------- coming and going

#[test]
fn whoever_enters_is_connected_to_all_who_are_there() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
    let [ada, ben, cleo] = devices.as_slice() else { unreachable!() };
    enter(ben, &room);
    sim.advance(secs(5));
    assert!(connected(ben).is_empty());
    enter(cleo, &room);
    sim.advance(secs(5));
    assert_eq!((connected(ben), connected(cleo)), (vec!["@cleo".into()], vec!["@ben".into()]));
    enter(ada, &room);
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    assert_eq!(connected(ada), ["@ben", "@cleo"], "{}", sim.column());
    for device in &devices {
        assert_eq!(device.tracks().len(), 1, "one capture, however many legs");
        assert!(device.calls().is_empty(), "a leg is no call of the application");
        let calls = |event: &VoipEvent| matches!(event, VoipEvent::CallAdded { .. });
        assert!(!device.voip_events().iter().any(calls), "{:?}", device.voip_events());
    }
}

#[test]
fn of_two_members_the_one_with_the_smaller_id_calls() {
    let (sim, _, devices, _) = meeting(&["ada", "ben", "cleo"]);
    let invites: Vec<_> = devices.iter().map(|device| sent(&sim, device, INVITE)).collect();
    assert_eq!(invites, [2, 1, 0], "{}", sim.column());
}

#[test]
fn two_devices_of_one_user_meet_like_any_two() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let ada = sim.user("@ada:example");
    let devices = [ada.device("A"), ada.device("B"), sim.user("@ben:example").device("D")];
    sim.run_until_quiet();
    for device in &devices {
        enter(device, &room);
    }
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    assert_eq!(sent(&sim, &devices[0], INVITE), 2, "{}", sim.column());
}

#[test]
fn an_invite_that_comes_before_our_membership_is_accepted_is_answered() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let [ada, ben] = devices.as_slice() else { unreachable!() };
    enter(ada, &room);
    sim.advance(secs(1));
    // The homeserver takes it, and we do not know.
    ben.next(OpKind::SendState, Cue::answer_lost());
    ben.always(OpKind::SendState, Cue::dropped());
    let call = enter(ben, &room);
    sim.advance(secs(5));
    assert_eq!(ben.group_state(call), Some(GroupState::Entering));
    assert_eq!(connected(ben), ["@ada"], "{}", sim.column());
    ben.always(OpKind::SendState, Cue::works());
    sim.advance(secs(30));
    assert_eq!(ben.group_state(call), Some(GroupState::Entered), "{}", sim.column());
    all_connected(&sim, &devices);
    assert_eq!(sent(&sim, ada, INVITE), 1, "the leg stays: {}", sim.column());
}

#[test]
fn whoever_is_ignored_is_not_called_and_is_as_soon_as_he_is_ignored_no_more() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let [ada, ben] = devices.as_slice() else { unreachable!() };
    ada.input(Input::IgnoredUsers([ben.identity().user].into()));
    for device in &devices {
        enter(device, &room);
    }
    sim.advance(secs(5));
    assert!(ada.peers().is_empty(), "{}", sim.column());
    ada.input(Input::IgnoredUsers(BTreeSet::new()));
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    // In mid-call the leg goes on, and its goodbye is heard.
    ada.input(Input::IgnoredUsers([ben.identity().user].into()));
    sim.advance(secs(5));
    all_connected(&sim, &devices);
}

#[test]
fn what_waited_is_judged_again_when_it_is_heard() {
    let it = Forgery::new();
    let ada = &it.devices[0];
    let mut early = it.invite();
    early["sender_session_id"] = json!("made up");
    assert_eq!(it.post(ada, &early, Protection::Clear), [Ignored::Parked].into());
    it.devices[1].input(Input::IgnoredUsers([ada.identity().user].into()));
    let content = json!({ "memberships": [{
        "call_id": "", "device_id": "D", "membershipID": "made up",
        "expires_ts": it.sim.now().wall.0 + 300_000, "foci_active": [{ "type": "mesh" }] }] });
    let user = ada.identity().user;
    let state = SendState {
        room: it.room.clone(),
        event_type: "com.famedly.call.member".to_owned(),
        state_key: user.to_string(),
        content: content.to_string(),
    };
    let now = it.sim.now().wall;
    it.sim.server(|server| server.put_state(now, &user, state));
    // Then her own device takes back what is not hers.
    it.sim.advance(millis(30));
    assert_eq!(latest(&it.devices[1]).participants.len(), 2, "{}", it.sim.column());
    assert_eq!(it.legs(), 0, "{}", it.sim.column());
}

#[test]
fn an_invite_that_comes_before_its_membership_waits_for_it() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let [ada, ben] = devices.as_slice() else { unreachable!() };
    enter(ben, &room);
    sim.advance(secs(1));
    let (user, other) = (ada.identity().user, ben.identity().user);
    // State travels with the room's events, messages to devices by themselves.
    sim.server(|server| server.set_delay(&user, &other, secs(3)));
    let before = sim.server(|server| server.state_sent(&room));
    enter(ada, &room);
    while sim.server(|server| server.state_sent(&room)) == before {
        sim.advance(millis(10));
    }
    sim.server(|server| server.set_delay(&user, &other, secs(0)));
    sim.advance(secs(9));
    all_connected(&sim, &devices);
    assert!(ben.ignored(Ignored::Parked) > 0, "{}", sim.column());
}

#[test]
fn whoever_enters_anew_gets_one_new_leg_for_the_old_one() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    let ben = &devices[1];
    let before = sent(&sim, &devices[0], INVITE);
    ben.group(sessions[1], GroupCommand::Leave);
    ben.group(sessions[1], GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(8));
    all_connected(&sim, &devices);
    assert_eq!(sent(&sim, &devices[0], INVITE), before + 1, "{}", sim.column());
}

#[test]
fn two_member_events_in_one_sync_place_one_leg() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let [ada, ben] = devices.as_slice() else { unreachable!() };
    enter(ada, &room);
    sim.advance(secs(1));
    ada.hold_sync();
    let call = enter(ben, &room);
    sim.advance(secs(1));
    ben.group(call, GroupCommand::SetApplication("m.call.video".to_owned()));
    sim.advance(secs(1));
    ada.release_sync();
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    assert_eq!(sent(&sim, ada, INVITE), 1, "{}", sim.column());
}

#[test]
fn whoever_leaves_is_hung_up_on_by_nobody_and_stops_at_once() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    devices[2].group(sessions[2], GroupCommand::Leave);
    sim.advance(AT_ONCE);
    assert!(devices[2].peers().is_empty() && devices[2].tracks().is_empty(), "at once");
    sim.advance(secs(5));
    all_connected(&sim, &devices[..2]);
    assert_eq!(latest(&devices[0]).participants.len(), 2);
    assert!(latest(&devices[2]).streams.is_empty());
}

#[test]
fn leaving_stops_everything_though_the_homeserver_cannot_be_reached() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben"]);
    devices[0].partition();
    devices[0].group(sessions[0], GroupCommand::Leave);
    sim.advance(AT_ONCE);
    assert!(devices[0].tracks().is_empty() && devices[0].peers().is_empty(), "{}", sim.column());
    assert_eq!(devices[0].group_state(sessions[0]), Some(GroupState::Leaving));
    devices[0].heal();
    devices[0].input(Input::Network(Network::Back));
    sim.advance(secs(20));
    assert_eq!(devices[0].group_state(sessions[0]), Some(GroupState::Idle));
    assert!(devices[1].peers().is_empty(), "{}", sim.column());
}

#[test]
fn a_leg_that_fails_is_placed_anew_without_waiting_for_a_refresh() {
    let (sim, _, devices, _) = meeting(&["ada", "ben", "cleo"]);
    devices[1].force(PeerState::Failed);
    sim.advance(secs(20));
    all_connected(&sim, &devices);
}

#[test]
fn legs_that_fail_again_and_again_are_tried_at_growing_intervals() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    devices[0].always(OpKind::Offer, Cue::fails(matrix_voip::machine::io::Fault::Unsupported));
    for device in &devices {
        enter(device, &room);
    }
    sim.advance(secs(64));
    let opened = sim.column().0.iter().filter(|line| line.what.contains("connecting to")).count();
    assert!((6..=8).contains(&opened), "1, 2, 4, 8, 16, 30 s: {opened}\n{}", sim.column());
    devices[0].always(OpKind::Offer, Cue::works());
    sim.advance(secs(32));
    all_connected(&sim, &devices);
}

#[test]
fn a_crashed_member_is_met_again_when_he_comes_back() {
    let (sim, room, devices, _) = meeting(&["ada", "ben", "cleo"]);
    devices[1].crash();
    sim.advance(secs(3));
    devices[1].restart();
    sim.advance(secs(3));
    enter(&devices[1], &room);
    sim.advance(secs(10));
    all_connected(&sim, &devices);
}

#[test]
fn whoever_leaves_the_room_is_in_no_leg_any_more() {
    let (sim, room, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    let ben = devices[1].identity().user;
    sim.server(|server| server.leave(&room, &ben));
    sim.advance(secs(3));
    all_connected(&sim, &[devices[0].clone(), devices[2].clone()]);
    assert!(devices[1].peers().is_empty() && devices[1].tracks().is_empty());
    let ended = devices[1].group_snapshot(sessions[1]).unwrap();
    assert_eq!(ended.state, GroupState::Ended);
}

#[test]
fn calls_in_one_room_do_not_disturb_each_other() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let calls = [
        GroupCallId::room(),
        GroupCallId::named("!room:example"),
        GroupCallId::among_users("@ada:example:@ben:example"),
        GroupCallId::among_users(""),
    ];
    for device in &devices {
        for call in &calls {
            enter_call(device, &room, call.clone());
        }
    }
    sim.advance(secs(10));
    for device in &devices {
        let connected = device.groups().into_iter().filter(|session| {
            let shown = device.group_snapshot(*session).unwrap();
            shown.connections.values().eq([&Connection::Connected])
        });
        assert_eq!(connected.count(), calls.len(), "{}", sim.column());
        assert_eq!((device.peers().len(), device.tracks().len()), (4, 4));
    }
    let first = devices[0].groups()[0];
    devices[0].group(first, GroupCommand::Leave);
    sim.advance(secs(5));
    assert_eq!((devices[1].peers().len(), devices[0].tracks().len()), (3, 3), "{}", sim.column());
}

#[test]
fn under_both_names_the_messages_find_each_other() {
    let config = |user: &str| {
        let mut config = Config::default();
        config.wire_form = if user == "ben" { WireForm::Readme } else { WireForm::Deployed };
        config
    };
    let (sim, room, devices) = room_with(&["ada", "ben", "cleo"], config);
    for device in &devices {
        enter(device, &room);
    }
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    assert_eq!(sent(&sim, &devices[1], "m.call.invite"), 1);
    assert_eq!(sent(&sim, &devices[1], INVITE), 0);
}

#[test]
fn in_the_words_of_matrix_js_sdk_all_meet_and_nobody_meets_those_who_speak_otherwise() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo", "dan"]);
    let legacy: Vec<_> =
        devices[..3].iter().map(|it| it.open_legacy_group(&room, "conf")).collect();
    for (device, session) in devices.iter().zip(&legacy) {
        device.group(*session, GroupCommand::Enter(CallMedia::Voice));
        sim.advance(secs(2));
    }
    // The same id in the other words.
    let other = Command::OpenGroup {
        room: room.clone(),
        call: GroupCallId::named("conf"),
        backend: Backend::Mesh,
        application: "m.call".to_owned(),
        keys: matrix_voip::KeyUse::Usual,
    };
    assert_eq!(devices[3].command(other), Verdict::Refused(Refusal::OtherBackend));
    sim.advance(secs(5));
    all_connected(&sim, &devices[..3]);
    assert_eq!(sent(&sim, &devices[0], "m.call.invite"), 2, "{}", sim.column());
    let state = |event_type: &str, key: &str| {
        sim.server(|server| server.state_of(&room, event_type, key)).unwrap_or_default()
    };
    assert!(state("org.matrix.msc3401.call", "conf").contains("m.prompt"));
    let written = state("org.matrix.msc3401.call.member", "@ada:example");
    assert!(written.contains(r#""m.call_id":"conf""#), "{written}");
    devices[0].group(legacy[0], GroupCommand::Leave);
    sim.advance(secs(5));
    all_connected(&sim, &devices[1..3]);
    let written = state("org.matrix.msc3401.call.member", "@ada:example");
    assert_eq!(written, r#"{"m.calls":[]}"#);
}

#[test]
fn what_a_crash_left_behind_in_the_words_of_matrix_js_sdk_is_taken_back() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let ada = &devices[0];
    let session = ada.open_legacy_group(&room, "conf");
    ada.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(5));
    ada.crash();
    ada.restart();
    sim.advance(secs(2));
    let key = "org.matrix.msc3401.call.member";
    let written = sim.server(|server| server.state_of(&room, key, "@ada:example"));
    assert_eq!(written.as_deref(), Some(r#"{"m.calls":[]}"#), "{}", sim.column());
    assert!(ada.ledger().unwrap().memberships.is_empty());
}

#[test]
fn the_announcement_for_matrix_js_sdk_is_tried_until_it_is_taken() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let session = devices[0].open_legacy_group(&room, "conf");
    devices[0].next(OpKind::SendState, Cue::dropped());
    devices[0].group(session, GroupCommand::Enter(CallMedia::Voice));
    let announced =
        || sim.server(|server| server.state_of(&room, "org.matrix.msc3401.call", "conf"));
    sim.advance(secs(1));
    assert_eq!(announced(), None, "{}", sim.column());
    sim.advance(secs(120));
    assert!(announced().is_some(), "{}", sim.column());
}

#[test]
fn a_membership_of_matrix_js_sdk_is_believed_for_the_hour_that_it_says() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let written = sim.now().wall.0;
    let content = json!({ "m.calls": [{ "m.call_id": "conf", "m.devices": [{
        "device_id": "BROWSER", "session_id": "s", "expires_ts": written + 3_600_000, "feeds": [] }] }] });
    let ben = devices[1].identity().user;
    let state = SendState {
        room: room.clone(),
        event_type: "org.matrix.msc3401.call.member".to_owned(),
        state_key: ben.to_string(),
        content: content.to_string(),
    };
    let now = sim.now().wall;
    sim.server(|server| server.put_state(now, &ben, state));
    sim.advance(secs(3_500));
    assert_eq!(latest(&devices[0]).participants.len(), 1, "{}", sim.column());
    sim.advance(secs(200));
    let session = *devices[0].groups().last().unwrap();
    assert_eq!(devices[0].group_state(session), Some(GroupState::Ended), "{}", sim.column());
}

#[test]
fn one_dialect_is_spoken_in_a_room_at_a_time() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let one = enter(&devices[0], &room);
    sim.advance(secs(1));
    let other = devices[0].open_legacy_group(&room, "conf");
    let enter = Command::Group(other, GroupCommand::Enter(CallMedia::Voice));
    let refused = Verdict::Refused(Refusal::OtherDialect);
    assert_eq!(devices[0].command(enter.clone()), refused);
    devices[0].group(one, GroupCommand::Leave);
    sim.advance(secs(2));
    assert_eq!(devices[0].command(enter), Verdict::Handled);
    sim.advance(secs(2));
    assert_eq!(devices[0].group_state(other), Some(GroupState::Entered), "{}", sim.column());
}

// ------------------------------------------------------------------------------ beside calls of two

#[test]
fn whoever_is_in_a_group_call_is_busy_and_whoever_answers_holds_it() {
    let busy = |user: &str| {
        let mut config = Config::default();
        config.busy = if user == "ada" { Busy::Reject } else { Busy::Ring };
        config
    };
    let (sim, room, devices) = room_with(&["ada", "ben", "cleo"], busy);
    let [ada, ben, cleo] = devices.as_slice() else { unreachable!() };
    let groups = [ada, ben].map(|device| enter(device, &room));
    sim.advance(secs(5));
    cleo.invite(&room, "@ada:example", CallMedia::Voice);
    sim.advance(secs(2));
    assert_eq!(cleo.end().unwrap().reason, EndReason::Busy, "{}", sim.column());
    cleo.invite(&room, "@ben:example", CallMedia::Voice);
    sim.advance(secs(2));
    ben.answer();
    sim.advance(secs(3));
    assert!(latest(ben).held, "{}", sim.column());
    assert_eq!(ben.state(), Some(CallState::Connected));
    ben.group(groups[1], GroupCommand::Unhold);
    sim.advance(secs(3));
    all_connected(&sim, &devices[..2]);
}

#[test]
fn whoever_enters_a_group_call_holds_the_call_of_two_that_he_is_in() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
    let [ada, ben, cleo] = devices.as_slice() else { unreachable!() };
    ada.invite(&room, "@ben:example", CallMedia::Voice);
    sim.advance(secs(2));
    ben.answer();
    sim.advance(secs(3));
    assert_eq!(ada.state(), Some(CallState::Connected));
    enter(ada, &room);
    enter(cleo, &room);
    sim.advance(secs(5));
    assert!(ada.snapshot().unwrap().hold.by_us, "{}", sim.column());
    assert_eq!(connected(ada), ["@cleo"]);
}

// --------------------------------------------------------------------------------- encrypted rooms

#[test]
fn in_an_encrypted_room_devices_meet_and_one_whose_keys_are_late_is_met_then() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
    sim.server(|server| server.encrypt(&room));
    sim.run_until_quiet();
    let cleo = devices[2].identity();
    sim.server(|server| server.set_device_keys(&cleo, false));
    for device in &devices {
        enter(device, &room);
    }
    sim.advance(secs(12));
    assert_eq!(connected(&devices[0]), ["@ben"], "{}", sim.column());
    sim.server(|server| server.set_device_keys(&cleo, true));
    let keys = Input::DeviceKeys(cleo.user);
    for device in &devices[..2] {
        assert_eq!(device.input(keys.clone()), Verdict::Handled);
    }
    sim.advance(secs(2));
    all_connected(&sim, &devices);
}

// ---------------------------------------------------------------------------------- what is sent

#[test]
fn a_mute_is_one_switch_and_everybody_hears_of_it() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    devices[0].group(sessions[0], GroupCommand::Mute(MediaSource::Microphone));
    sim.advance(AT_ONCE);
    assert!(!devices[0].tracks()[0].enabled);
    sim.advance(secs(2));
    for device in &devices[1..] {
        assert!(latest(device).streams[&id(&devices[0])][0].audio_muted, "{}", sim.column());
    }
    assert!(latest(&devices[0]).muted[&MediaSource::Microphone]);
    devices[0].group(sessions[0], GroupCommand::Unmute(MediaSource::Microphone));
    sim.advance(secs(2));
    assert!(devices[0].tracks()[0].enabled);
    for device in &devices[1..] {
        assert!(!latest(device).streams[&id(&devices[0])][0].audio_muted, "{}", sim.column());
    }
}

#[test]
fn whoever_is_muted_before_he_enters_is_never_heard() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let call = devices[0].open_group(&room, GroupCallId::room());
    devices[0].group(call, GroupCommand::Mute(MediaSource::Microphone));
    devices[0].group(call, GroupCommand::Enter(CallMedia::Voice));
    enter(&devices[1], &room);
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    assert!(!devices[0].tracks()[0].enabled);
    assert!(latest(&devices[1]).streams[&id(&devices[0])][0].audio_muted, "{}", sim.column());
}

#[test]
fn whoever_holds_takes_nothing_in_and_sends_silence_to_all() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
    let calls: Vec<_> = devices[..2].iter().map(|device| enter(device, &room)).collect();
    sim.advance(secs(5));
    devices[0].group(calls[0], GroupCommand::Hold);
    sim.advance(AT_ONCE);
    assert!(!devices[0].tracks()[0].enabled && latest(&devices[0]).held);
    sim.advance(secs(3));
    // Who comes later is held as well.
    enter(&devices[2], &room);
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    for peer in devices[0].peers() {
        let local = peer.local.unwrap();
        let lines = matrix_voip::sdp::media_lines(local.sdp.expose());
        let takes = |line: &matrix_voip::sdp::MediaLine<'_>| {
            use matrix_voip::machine::io::Direction::{RecvOnly, SendRecv};
            matches!(line.direction, SendRecv | RecvOnly)
        };
        assert!(!lines.iter().any(takes), "{}\n{}", local.sdp.expose(), sim.column());
    }
    devices[0].group(calls[0], GroupCommand::Unhold);
    sim.advance(secs(5));
    assert!(devices[0].tracks()[0].enabled && !latest(&devices[0]).held);
}

#[test]
fn a_screen_is_shown_to_all_and_to_whoever_comes_later() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
    let [ada, ben, cleo] = devices.as_slice() else { unreachable!() };
    let calls: Vec<_> = [ben, cleo].map(|device| enter(device, &room)).to_vec();
    sim.advance(secs(5));
    ben.group(calls[0], GroupCommand::Start(MediaSource::Screen));
    sim.advance(secs(3));
    let screens = |device: &Device| {
        let shown = latest(device).streams.get(&id(ben)).cloned().unwrap_or_default();
        shown.iter().filter(|stream| stream.purpose == Purpose::Screenshare).count()
    };
    assert_eq!((screens(cleo), screens(ben)), (1, 1), "{}", sim.column());
    let feeds = |device: &Device| latest(device).participant(&id(ben)).unwrap().feeds.clone();
    assert_eq!(feeds(cleo), [Purpose::UserMedia, Purpose::Screenshare]);
    enter(ada, &room);
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    assert_eq!(screens(ada), 1, "{}", sim.column());
    assert_eq!(ben.tracks().len(), 2, "one screen for all");
    ben.group(calls[0], GroupCommand::Stop(MediaSource::Screen));
    sim.advance(secs(3));
    assert_eq!((screens(ada), screens(cleo), ben.tracks().len()), (0, 0, 1), "{}", sim.column());
    assert_eq!(feeds(ada), [Purpose::UserMedia]);
}

#[test]
fn a_camera_comes_and_goes_in_all_legs() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    devices[1].group(sessions[1], GroupCommand::Start(MediaSource::Camera));
    sim.advance(secs(3));
    let kinds = |device: &Device| latest(device).streams[&id(&devices[1])][0].kinds.clone();
    for device in &devices {
        assert_eq!(kinds(device), [MediaKind::Audio, MediaKind::Video], "{}", sim.column());
    }
    devices[1].group(sessions[1], GroupCommand::Stop(MediaSource::Camera));
    sim.advance(secs(3));
    for device in &devices {
        assert_eq!(kinds(device), [MediaKind::Audio], "{}", sim.column());
    }
}

#[test]
fn another_microphone_is_one_change_and_no_negotiation() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    let before = sim.server(|server| server.to_device_sent());
    let headset = InputId::parse("headset").unwrap();
    let switch = GroupCommand::Switch(MediaSource::Microphone, Some(headset.clone()));
    devices[0].group(sessions[0], switch);
    sim.advance(secs(3));
    assert_eq!(devices[0].tracks()[0].capture.input, Some(headset));
    assert_eq!(sim.server(|server| server.to_device_sent()), before, "{}", sim.column());
}

#[test]
fn without_a_microphone_one_is_there_and_listens() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    devices[0].next(OpKind::Capture, Cue::denied());
    let call = enter(&devices[0], &room);
    enter(&devices[1], &room);
    sim.advance(secs(5));
    all_connected(&sim, &devices);
    let missing = GroupEvent::MediaMissing(MediaSource::Microphone);
    assert!(devices[0].group_events(call).contains(&missing));
    assert!(devices[0].tracks().is_empty());
    let theirs = &latest(&devices[0]).streams[&id(&devices[1])];
    assert_eq!(
        (theirs[0].side, theirs[0].kinds.as_slice()),
        (Side::Remote, &[MediaKind::Audio][..])
    );
    assert!(!latest(&devices[1]).streams.contains_key(&id(&devices[0])), "{}", sim.column());
}

#[test]
fn a_microphone_that_is_unplugged_is_told_once_and_the_call_goes_on() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    let (peers, track) = devices[0].engine(|engine| {
        let shown = engine.group_snapshot(sessions[0]).unwrap();
        (shown.connections.len(), matrix_voip::id::TrackId(1))
    });
    assert_eq!(peers, 2);
    for peer in 1..=2 {
        let news = matrix_voip::machine::io::PeerNews::TrackEnded(track);
        devices[0].input(Input::Peer(matrix_voip::id::PeerId(peer), news));
    }
    sim.advance(secs(3));
    let missing = GroupEvent::MediaMissing(MediaSource::Microphone);
    let told = devices[0].group_events(sessions[0]).into_iter().filter(|it| *it == missing);
    assert_eq!((told.count(), devices[0].tracks().len()), (1, 0), "{}", sim.column());
    all_connected(&sim, &devices);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let call = devices[0].open_group(&room, GroupCallId::room());
    let refused = |command| devices[0].command(Command::Group(call, command));
    let not_in = Verdict::Refused(Refusal::NotEntered);
    assert_eq!(refused(GroupCommand::Hold), not_in);
    assert_eq!(refused(GroupCommand::Start(MediaSource::Screen)), not_in);
    assert_eq!(refused(GroupCommand::Switch(MediaSource::Microphone, None)), not_in);
    devices[0].group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    let no_camera = refused(GroupCommand::Switch(MediaSource::Camera, None));
    assert_eq!(no_camera, Verdict::Refused(Refusal::NoSuchTrack));
}

// ------------------------------------------------------------------------------------ who speaks

fn speaks(device: &Device) -> Option<String> {
    let speaker = latest(device).active_speaker;
    speaker.map(|who| who.user.as_str().replace(":example", ""))
}

fn says(device: &Device, voice: i8) {
    device.set_habits(Habits { voice, ..Habits::default() });
}

#[test]
fn whoever_speaks_loudest_is_the_speaker_and_silence_changes_nothing() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    assert_eq!(speaks(&devices[0]), None);
    says(&devices[1], -30);
    says(&devices[2], -36);
    sim.advance(secs(2));
    assert_eq!(speaks(&devices[0]).as_deref(), Some("@ben"), "{}", sim.column());
    assert_eq!(speaks(&devices[1]).as_deref(), Some("@cleo"), "nobody hears himself");
    says(&devices[2], -25);
    sim.advance(secs(5));
    assert_eq!(speaks(&devices[0]).as_deref(), Some("@ben"), "not clearly louder");
    says(&devices[2], -15);
    sim.advance(secs(5));
    assert_eq!(speaks(&devices[0]).as_deref(), Some("@cleo"), "{}", sim.column());
    says(&devices[1], -127);
    says(&devices[2], -127);
    let heard = devices[0].group_events(sessions[0]).len();
    sim.advance(secs(60));
    assert_eq!(speaks(&devices[0]).as_deref(), Some("@cleo"));
    assert_eq!(devices[0].group_events(sessions[0]).len(), heard, "silence tells nothing");
}

#[test]
fn a_speaker_who_leaves_or_is_muted_gives_way_to_the_next() {
    let (sim, _, devices, sessions) = meeting(&["ada", "ben", "cleo"]);
    says(&devices[1], -40);
    says(&devices[2], -20);
    sim.advance(secs(3));
    assert_eq!(speaks(&devices[0]).as_deref(), Some("@cleo"));
    devices[2].group(sessions[2], GroupCommand::Mute(MediaSource::Microphone));
    sim.advance(secs(10));
    assert_eq!(speaks(&devices[0]).as_deref(), Some("@ben"), "{}", sim.column());
    devices[1].group(sessions[1], GroupCommand::Leave);
    sim.advance(secs(3));
    assert_eq!(speaks(&devices[0]), None, "{}", sim.column());
}

// --------------------------------------------------------------------------------- what is believed

/// Two who meet, and what a third can make of it.
struct Forgery {
    sim: Sim,
    room: RoomId,
    devices: Vec<Device>,
}

impl Forgery {
    /// Ben is in the call, Ada is in the room.
    fn new() -> Self {
        let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
        enter(&devices[1], &room);
        sim.advance(secs(1));
        Self { sim, room, devices }
    }

    fn session_of(&self, device: &Device) -> String {
        let shown = latest(&self.devices[1]);
        let session = shown.participant(&id(device)).and_then(|one| one.session.clone());
        session.unwrap_or_else(|| "made up".to_owned())
    }

    /// An invite of Ada's to Ben, as it should be.
    fn invite(&self) -> Value {
        let puppet = self.sim.puppet("@ada:example", "D");
        let sdp = puppet.sdp(matrix_voip::machine::io::SdpKind::Offer, &[MediaKind::Audio]);
        json!({
            "call_id": "forged", "party_id": "p", "version": "1", "lifetime": 60_000,
            "offer": { "type": "offer", "sdp": sdp }, "capabilities": {}, "seq": 0,
            "conf_id": "", "room_id": self.room.as_str(), "device_id": "D",
            "invitee": "@ben:example", "invitee_device_id": "D",
            "sender_session_id": self.session_of(&self.devices[0]),
            "dest_session_id": self.session_of(&self.devices[1]),
        })
    }

    /// What Ben makes of a message from this device.
    fn post(&self, from: &Device, content: &Value, protection: Protection) -> BTreeSet<Ignored> {
        let counts = || {
            let all = self.devices[1].engine(|engine| engine.diagnostics().counts().clone());
            all.into_iter().collect::<std::collections::BTreeMap<_, _>>()
        };
        let before = counts();
        let content = content.to_string();
        let now = self.sim.now().wall;
        let (from, to) = (from.identity(), id(&self.devices[1]));
        self.sim.server(|server| server.post(now, &from, &to, ((INVITE, &content), protection)));
        self.sim.advance(secs(1));
        let after = counts().into_iter().filter(|(reason, _)| !OF_THE_KIT.contains(reason));
        after
            .filter(|(reason, n)| before.get(reason) != Some(n))
            .map(|(reason, _)| reason)
            .collect()
    }

    fn legs(&self) -> usize {
        self.devices[1].peers().len()
    }
}

fn with(mut content: Value, key: &str, value: Value) -> Value {
    content[key] = value;
    content
}

fn without(mut content: Value, key: &str) -> Value {
    content.as_object_mut().unwrap().remove(key);
    content
}

#[test]
fn a_message_is_bound_to_room_group_call_and_both_visits() {
    let it = Forgery::new();
    let [ada, _, cleo] = it.devices.as_slice() else { unreachable!() };
    enter_call(ada, &it.room, GroupCallId::room());
    ada.always(OpKind::Offer, Cue::fails(matrix_voip::machine::io::Fault::Unsupported));
    it.sim.advance(secs(1));
    let good = it.invite();
    let judged = |content: Value| it.post(ada, &content, Protection::Clear);
    assert_eq!(judged(without(good.clone(), "room_id")), [Ignored::NoRoom].into());
    assert_eq!(judged(without(good.clone(), "conf_id")), [Ignored::NoConference].into());
    assert_eq!(judged(with(good.clone(), "conf_id", json!("?"))), [Ignored::NoConference].into());
    assert_eq!(judged(with(good.clone(), "room_id", json!("!o"))), [Ignored::NoConference].into());
    let wrong = [Ignored::WrongSession].into();
    assert_eq!(judged(with(good.clone(), "dest_session_id", json!("other"))), wrong);
    assert_eq!(judged(without(good.clone(), "dest_session_id")), wrong);
    // His membership may be on its way.
    let parked = [Ignored::Parked].into();
    assert_eq!(judged(with(good.clone(), "sender_session_id", json!("other"))), parked);
    assert_eq!(judged(without(good.clone(), "sender_session_id")), parked);
    assert_eq!(judged(with(good.clone(), "invitee", json!("@x:y"))), [Ignored::NotForUs].into());
    let other_device = with(good.clone(), "invitee_device_id", json!("E"));
    assert_eq!(judged(other_device), [Ignored::NotForUs].into());
    assert_eq!(it.post(cleo, &good, Protection::Clear), parked, "she is not in the call");
    assert_eq!(it.legs(), 0, "{}", it.sim.column());
    assert_eq!(judged(good.clone()), BTreeSet::new(), "{}", it.sim.column());
    assert_eq!(it.legs(), 1);
    assert_eq!(judged(good), [Ignored::Duplicate].into());
}

#[test]
fn nobody_is_called_by_whom_he_is_to_call() {
    let it = Forgery::new();
    let cleo = &it.devices[2];
    it.devices[1].always(OpKind::Offer, Cue::fails(matrix_voip::machine::io::Fault::Unsupported));
    enter(cleo, &it.room);
    it.sim.advance(secs(1));
    let said = with(it.invite(), "sender_session_id", json!(it.session_of(cleo)));
    let reason = it.post(cleo, &said, Protection::Clear);
    assert!(reason.contains(&Ignored::WrongDirection), "{reason:?}\n{}", it.sim.column());
}

#[test]
fn in_an_encrypted_room_plaintext_is_refused_and_olm_says_which_device_it_was() {
    let it = Forgery::new();
    it.sim.server(|server| server.encrypt(&it.room));
    enter(&it.devices[0], &it.room);
    it.devices[0].always(OpKind::Offer, Cue::fails(matrix_voip::machine::io::Fault::Unsupported));
    it.sim.advance(secs(1));
    let good = it.invite();
    let ada = &it.devices[0];
    let refused = it.post(ada, &good, Protection::Clear);
    assert_eq!(refused, [Ignored::PlaintextInEncryptedRoom].into());
    // Another device of hers, which is not in the call, says that it is this one.
    let other = it.sim.user("@ada:example").device("E");
    assert_eq!(it.post(&other, &good, Protection::Verified), [Ignored::Parked].into());
    assert_eq!(it.legs(), 0);
    assert_eq!(it.post(ada, &good, Protection::Verified), BTreeSet::new());
    assert_eq!(it.legs(), 1);
}

#[test]
fn who_left_the_room_or_is_ignored_is_not_heard() {
    let it = Forgery::new();
    let ada = &it.devices[0];
    enter(ada, &it.room);
    ada.always(OpKind::Offer, Cue::fails(matrix_voip::machine::io::Fault::Unsupported));
    it.sim.advance(secs(1));
    let good = it.invite();
    let ignored: BTreeSet<UserId> = [ada.identity().user].into();
    it.devices[1].input(Input::IgnoredUsers(ignored));
    assert_eq!(it.post(ada, &good, Protection::Clear), [Ignored::IgnoredUser].into());
    it.devices[1].input(Input::IgnoredUsers(BTreeSet::new()));
    let user = ada.identity().user;
    it.sim.server(|server| server.leave(&it.room, &user));
    it.sim.advance(secs(1));
    assert_eq!(it.post(ada, &good, Protection::Clear), [Ignored::NotInRoom].into());
    assert_eq!(it.legs(), 0);
}

#[test]
fn who_calls_anew_again_and_again_is_heard_so_often_a_minute_and_no_more() {
    let it = Forgery::new();
    let ada = &it.devices[0];
    enter(ada, &it.room);
    ada.always(OpKind::Offer, Cue::fails(matrix_voip::machine::io::Fault::Unsupported));
    it.sim.advance(secs(1));
    let good = it.invite();
    let another = |n: usize| with(good.clone(), "call_id", json!(format!("forged-{n}")));
    let judged = |n| it.post(ada, &another(n), Protection::Clear);
    for n in 0..MAX_LEGS_BEGUN_PER_USER {
        assert_eq!(judged(n), BTreeSet::new(), "{n}\n{}", it.sim.column());
    }
    assert_eq!(judged(MAX_LEGS_BEGUN_PER_USER), [Ignored::TooMany].into());
    assert_eq!(it.legs(), 1, "the last that was heard goes on");
    it.sim.advance(secs(60));
    assert_eq!(judged(MAX_LEGS_BEGUN_PER_USER + 1), BTreeSet::new());
}

#[test]
fn who_is_there_anew_again_and_again_is_called_so_often_a_minute_and_no_more() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let ada = sim.user("@ada:example").device("D");
    enter(&ada, &room);
    sim.advance(secs(1));
    for n in 0..2 * MAX_LEGS_BEGUN_PER_USER {
        stands(&sim, &room, "@ben:example", Some(&format!("visit-{n}")));
        sim.advance(millis(100));
    }
    // A leg may be given up again before its invite is out.
    let called = sent(&sim, &ada, INVITE);
    assert!((MAX_LEGS_BEGUN_PER_USER - 2..=MAX_LEGS_BEGUN_PER_USER).contains(&called), "{called}");
    sim.advance(secs(60));
    assert_eq!(sent(&sim, &ada, INVITE), called + 1, "called after a while\n{}", sim.column());
}

#[test]
fn who_came_while_the_rooms_state_was_on_its_way_stays() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example", "@cleo:example"]);
    let ada = sim.user("@ada:example").device("D");
    stands(&sim, &room, "@cleo:example", Some("visit"));
    sim.run_until_quiet();
    sim.set_way(secs(2));
    let session = enter(&ada, &room);
    sim.advance(secs(3));
    // The answer is on its way; syncs are faster.
    sim.set_way(millis(20));
    stands(&sim, &room, "@ben:example", Some("visit"));
    stands(&sim, &room, "@cleo:example", None);
    sim.advance(millis(500));
    let present = || {
        let others = latest(&ada).participants.into_iter().map(|one| one.id.user);
        others.filter(|user| *user != ada.identity().user).collect::<Vec<_>>()
    };
    assert_eq!(present(), [user("@ben:example")], "{}", sim.column());
    sim.advance(secs(1));
    assert_eq!(present(), [user("@ben:example")], "what was fetched is older: {}", sim.column());
    sim.advance(secs(10));
    assert_eq!(ada.group_state(session), Some(GroupState::Entered));
    let left = |event: &&GroupEvent| matches!(event, GroupEvent::ParticipantLeft(_));
    assert_eq!(ada.group_events(session).iter().filter(left).count(), 1, "{}", sim.column());
}

#[test]
fn a_place_that_becomes_free_is_taken_by_who_found_none() {
    let (sim, room, ada) = crowd(MAX_LEGS);
    enter(&ada, &room);
    sim.advance(secs(1));
    stands(&sim, &room, "@cleo:example", Some("visit"));
    sim.advance(secs(1));
    assert_eq!(sent(&sim, &ada, INVITE), MAX_LEGS, "there is no place for her");
    assert_eq!(ada.peers().len(), MAX_LEGS);
    stands(&sim, &room, "@ben7:example", None);
    sim.advance(secs(1));
    assert_eq!(sent(&sim, &ada, INVITE), MAX_LEGS + 1);
    let met: Vec<_> = ada.peers().into_iter().filter_map(|peer| peer.config.member).collect();
    assert!(met.iter().any(|one| one.user.as_str() == "@cleo:example"), "{met:?}");
    assert_eq!(met.len(), MAX_LEGS);
}

#[test]
fn who_may_join_is_asked_in_the_words_of_the_call() {
    let (sim, room, devices) = room_of(&["ada", "ben"]);
    let [ada, ben] = devices.as_slice() else { unreachable!() };
    let levels = SendState {
        room: room.clone(),
        event_type: POWER_LEVELS_TYPE.to_owned(),
        state_key: String::new(),
        content: json!({ "users": { "@ben:example": 100 },
            "events": { "com.famedly.call.member": 0 } })
        .to_string(),
    };
    let (now, user) = (sim.now().wall, ben.identity().user);
    sim.server(|server| server.put_state(now, &user, levels));
    sim.run_until_quiet();
    let call = ada.open_legacy_group(&room, "conf");
    assert!(!ada.group_snapshot(call).unwrap().rights.can_join, "{}", sim.column());
    let enter = Command::Group(call, GroupCommand::Enter(CallMedia::Voice));
    assert_eq!(ada.command(enter.clone()), Verdict::Refused(Refusal::MayNotJoin));
    let bens = ben.open_legacy_group(&room, "conf");
    ben.group(bens, GroupCommand::AllowEveryone);
    sim.advance(secs(1));
    assert!(ada.group_snapshot(call).unwrap().rights.can_everyone_join, "{}", sim.column());
    assert_eq!(ada.command(enter), Verdict::Handled);
    sim.advance(secs(2));
    assert_eq!(ada.group_state(call), Some(GroupState::Entered), "{}", sim.column());
}
