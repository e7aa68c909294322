//! Group calls where others are hostile, clocks go wrong, answers are lost and events come in other
//! orders.

use std::time::Duration;

use matrix_voip::{
    Announce, GroupCallId, GroupState, Notify, RingStop,
    host::SendState,
    id::{Identity, RoomId, SessionId},
    machine::{
        bounds::MAX_LEGS,
        event::VoipEvent,
        io::{CallMedia, Command, Fault, GroupCommand, Ignored, MediaKind, ParticipantId, SdpKind},
    },
    testing::{Cue, Device, OpKind, Sim, millis, secs},
    time::Wall,
    wire::{delivery::Protection, member::MEMBER_TYPE},
};
use serde_json::json;

use crate::common::{both_dialects, crowd, put, stands, three, user};

const NOTIFICATION: &str = "org.matrix.msc4075.rtc.notification";

fn enter(device: &Device, room: &RoomId) -> SessionId {
    enter_as(device, room, Announce::default())
}

fn enter_as(device: &Device, room: &RoomId, announce: Announce) -> SessionId {
    let session = device.open_group(room, GroupCallId::room());
    device.group(session, GroupCommand::AnnounceAs(announce));
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    session
}

fn present(device: &Device) -> Vec<String> {
    let latest = device.groups().last().and_then(|session| device.group_snapshot(*session));
    let Some(shown) = latest else { return Vec::new() };
    shown.participants.iter().map(|one| one.id.user.as_str().replace(":example", "")).collect()
}

fn announced(sim: &Sim, room: &RoomId) -> usize {
    sim.server(|server| {
        server.timeline(room).iter().filter(|event| event.event_type == NOTIFICATION).count()
    })
}

// ---------------------------------------------------------------------------------- clocks

#[test]
fn a_crashed_device_is_gone_within_five_minutes_though_our_clock_is_set_back() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&ada, &room);
    sim.advance(secs(5));
    assert_eq!(present(&ben), ["@ada"]);
    ada.crash();
    sim.run_until_quiet();
    sim.set_back(secs(3600));
    sim.advance(secs(600));
    assert_eq!(present(&ben), Vec::<String>::new(), "after ten minutes");
}

#[test]
fn who_leaves_is_gone_though_the_homeservers_clock_was_set_back_by_three_minutes() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&ada, &room);
    sim.advance(secs(5));
    sim.set_back(secs(180));
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(60));
    assert_eq!(ada.group_state(call), Some(GroupState::Ended), "{}", sim.column());
    assert_eq!(
        present(&ben),
        Vec::<String>::new(),
        "a minute after he left: ignored {}",
        ben.ignored(Ignored::OutdatedState)
    );
}

#[test]
fn our_refresh_goes_on_though_our_clock_is_set_back() {
    let (sim, room, [ada, _, _]) = three();
    enter(&ada, &room);
    sim.advance(secs(5));
    let before = sim.server(|server| server.state_sent(&room));
    sim.set_back(secs(3600));
    sim.advance(secs(610));
    assert_eq!(sim.server(|server| server.state_sent(&room)) - before, 5);
}

#[test]
fn a_ring_stops_when_its_lifetime_is_over_though_our_clock_is_set_back() {
    let (sim, room, [ada, ben, _]) = three();
    enter_as(&ada, &room, Announce::new(Notify::Ring));
    sim.advance(secs(2));
    let stopped =
        || ben.voip_events().iter().any(|it| matches!(it, VoipEvent::GroupRingStopped { .. }));
    let started =
        ben.voip_events().iter().any(|it| matches!(it, VoipEvent::GroupRingStarted { .. }));
    assert!(started && !stopped());
    sim.set_back(secs(600));
    sim.advance(secs(120));
    assert!(stopped(), "it rings after two minutes");
}

// ---------------------------------------------------------------------- answers that are lost

#[test]
fn the_first_to_join_announces_though_the_answer_to_his_membership_was_lost() {
    let (sim, room, [ada, ben, _]) = three();
    ada.next(OpKind::SendState, Cue::answer_lost());
    ada.always(OpKind::SendState, Cue::dropped());
    let call = enter_as(&ada, &room, Announce::new(Notify::Ring));
    sim.advance(secs(1));
    assert_eq!(present(&ben), ["@ada"], "she is the first");
    enter_as(&ben, &room, Announce::new(Notify::Ring));
    sim.advance(secs(2));
    ada.always(OpKind::SendState, Cue::works());
    sim.advance(secs(60));
    assert_eq!(ada.group_state(call), Some(GroupState::Entered), "{}", sim.column());
    assert_eq!(announced(&sim, &room), 1, "nobody was called\n{}", sim.column());
}

#[test]
fn nobody_is_called_into_a_call_that_was_left_while_the_announcement_was_under_way() {
    let (sim, room, [ada, _, _]) = three();
    let lost = Cue { after: millis(800), ..Cue::fails(Fault::Unreachable) };
    ada.next(OpKind::SendEvent, lost);
    let call = enter_as(&ada, &room, Announce::new(Notify::Ring));
    sim.advance(millis(400));
    assert_eq!(ada.group_state(call), Some(GroupState::Entered));
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(20));
    assert_eq!(ada.group_state(call), Some(GroupState::Ended), "{}", sim.column());
    assert_eq!(announced(&sim, &room), 0, "called into nothing\n{}", sim.column());
}

#[test]
fn power_levels_heard_while_the_state_was_fetched_stay() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let ada = sim.user("@ada:example").device("D");
    let levels = |needed: u32| json!({ "events": { MEMBER_TYPE: needed } }).to_string();
    put(&sim, &room, "@ben:example", ("m.room.power_levels", ""), levels(0));
    sim.run_until_quiet();
    sim.set_way(secs(2));
    let session = enter(&ada, &room);
    sim.advance(secs(3));
    sim.set_way(millis(20));
    put(&sim, &room, "@ben:example", ("m.room.power_levels", ""), levels(50));
    sim.advance(millis(500));
    assert!(!ada.group_snapshot(session).unwrap().rights.can_join, "heard");
    sim.advance(secs(1));
    assert!(
        !ada.group_snapshot(session).unwrap().rights.can_join,
        "what was fetched is older\n{}",
        sim.column()
    );
}

// -------------------------------------------------------------------------- hostile members

#[test]
fn a_call_of_the_same_id_in_another_room_takes_no_leg_from_ours() {
    let sim = Sim::new(1);
    let all = ["@ada:example", "@ben:example", "@mallory:example"];
    let (room, other) = (sim.room("!room:example", all), sim.room("!other:example", all));
    let ben = sim.user("@ben:example").device_with("D", both_dialects());
    let ada = sim.puppet("@ada:example", "D");
    sim.run_until_quiet();
    let session = ben.open_legacy_group(&room, "conf");
    ben.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(2));
    let until = sim.now().wall.0 + 3_600_000;
    let member = |visit: &str| {
        json!({ "m.calls": [{ "m.call_id": "conf", "m.devices": [{
        "device_id": "D", "session_id": visit, "expires_ts": until, "feeds": [] }] }] })
        .to_string()
    };
    let legacy = "org.matrix.msc3401.call.member";
    put(&sim, &room, "@ada:example", (legacy, "@ada:example"), member("a"));
    // Mallory, in another room that Ben is in too; Ben has done nothing there.
    put(&sim, &other, "@mallory:example", (legacy, "@mallory:example"), member("m"));
    sim.advance(secs(1));
    let shown = ben.group_snapshot(session).unwrap();
    let ours = shown.participants.iter().find(|one| one.id.user == user("@ben:example"));
    let ours = ours.and_then(|one| one.session.clone()).expect("Ben's visit");
    let sdp = ada.sdp(SdpKind::Offer, &[MediaKind::Audio]);
    let invite = json!({ "call_id": "c", "party_id": "p", "version": "1", "lifetime": 60_000,
        "offer": { "type": "offer", "sdp": sdp }, "capabilities": {}, "seq": 0,
        "conf_id": "conf", "device_id": "D", "sender_session_id": "a", "dest_session_id": ours });
    let to = ParticipantId { user: user("@ben:example"), device: ben.identity().device };
    let now = sim.now().wall;
    let (from, content): (Identity, String) = (ada.identity().clone(), invite.to_string());
    sim.server(|server| {
        server.post(now, &from, &to, (("m.call.invite", &content), Protection::Clear))
    });
    sim.advance(secs(1));
    assert_eq!(ben.ignored(Ignored::NoRoom), 0);
    assert_eq!(ben.peers().len(), 1, "{}", sim.column());
}

#[test]
fn legs_beyond_the_bound_are_counted() {
    let (sim, room, ada) = crowd(MAX_LEGS + 1);
    enter(&ada, &room);
    sim.advance(secs(1));
    assert_eq!(ada.peers().len(), MAX_LEGS);
    assert!(ada.ignored(Ignored::TooMany) > 0, "one is left and nobody counts it");
}

/// Four members, each with as many devices as one user may claim; one who is honest comes then.
fn crowded_out(watcher: &str, honest: &str) -> Option<Duration> {
    let hostile: Vec<_> = (0..4).map(|n| format!("@mallory{n}:example")).collect();
    let sim = Sim::new(1);
    sim.set_reads_engines(false);
    let all = hostile.iter().map(String::as_str).chain([watcher, honest]);
    let room = sim.room("!room:example", all);
    let one = sim.user(watcher).device("D");
    let other = sim.user(honest).device("D");
    sim.run_until_quiet();
    let pretend = || {
        let expires = sim.now().wall.0 + 3_600_000;
        for by in &hostile {
            let entry = |n: usize| {
                json!({ "application": "m.call", "call_id": "", "scope": "m.room",
                "device_id": format!("E{n}"), "expires_ts": expires, "membershipID": format!("v{n}"),
                "backend": { "type": "mesh" } })
            };
            let content = json!({ "memberships": (0..16).map(entry).collect::<Vec<_>>() });
            put(&sim, &room, by, (MEMBER_TYPE, by), content.to_string());
        }
    };
    pretend();
    sim.advance(secs(1));
    enter(&one, &room);
    sim.advance(secs(1));
    let call = enter(&other, &room);
    let began = sim.elapsed();
    while sim.elapsed() < began + secs(600) {
        let shown = other.group_snapshot(call).unwrap();
        let met = shown.connections.values().any(|it| *it == matrix_voip::Connection::Connected);
        if met {
            return Some(sim.elapsed() - began);
        }
        sim.advance(secs(5));
        if sim.elapsed().as_secs() % 120 < 5 {
            pretend();
        }
    }
    None
}

#[test]
fn pretended_members_keep_nobody_honest_from_a_leg() {
    for (watcher, honest) in [("@ada:example", "@ben:example"), ("@ben:example", "@ada:example")] {
        let met = crowded_out(watcher, honest);
        assert!(met.is_some_and(|it| it < secs(30)), "{watcher} was there: {met:?}");
    }
}

#[test]
fn a_reject_of_a_call_of_two_stops_no_ring_of_another_call_of_the_room() {
    let (sim, room, [ada, ben, _]) = three();
    enter_as(&ada, &room, Announce::new(Notify::Ring));
    sim.advance(secs(2));
    let content = json!({"call_id": "", "application": "m.call.audio"}).to_string();
    sim.puppet("@ben:example", "OLD").say_json(&room, "m.call.reject", &content);
    sim.advance(secs(1));
    let stopped =
        |it: &VoipEvent| matches!(it, VoipEvent::GroupRingStopped { why: RingStop::Elsewhere, .. });
    assert!(!ben.voip_events().iter().any(stopped), "the call is m.call, and was not rejected");
}

// --------------------------------------------------------------------- other orders of events

/// The number of the next event that the homeserver makes.
fn next_event(sim: &Sim) -> u64 {
    let (room, event_type) = (RoomId::parse("!nowhere:example").unwrap(), "x".to_owned());
    let (state_key, content) = (String::new(), "{}".to_owned());
    let state = SendState { room, event_type, state_key, content };
    let id = sim.server(|server| server.clone().put_state(Wall(0), &user("@cleo:example"), state));
    id.as_str().trim_start_matches("$event").parse().unwrap()
}

#[test]
fn a_hand_whose_removal_came_first_is_not_shown() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@cleo:example"]);
    let ada = sim.user("@ada:example").device("D");
    sim.run_until_quiet();
    let call = enter(&ada, &room);
    sim.advance(secs(1));
    let event = stands(&sim, &room, "@cleo:example", Some("c"));
    sim.advance(secs(1));
    let cleo = sim.puppet("@cleo:example", "D");
    let next = next_event(&sim);
    let reaction = format!("$event{}", next + 1);
    let removal = json!({"redacts": reaction, "redacts_type": "com.famedly.call.member.reaction",
        "device_id": "D", "call_id": ""});
    cleo.say_json(&room, "m.room.redaction", &removal.to_string());
    sim.advance(secs(1));
    let content = json!({"key": "hand", "call_id": "", "device_id": "D", "is_ephemeral": false,
        "m.relates_to": {"rel_type": "m.reference", "event_id": event}});
    cleo.say_json(&room, "com.famedly.call.member.reaction", &content.to_string());
    sim.advance(secs(1));
    let last = sim.server(|server| server.timeline(&room).last().unwrap().event_id.clone());
    assert_eq!(last.as_str(), reaction);
    assert!(ada.group_snapshot(call).unwrap().reactions.is_empty(), "{}", sim.column());
}

#[test]
fn a_hand_raised_before_the_membership_was_heard_is_shown_when_it_is() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@cleo:example"]);
    let ada = sim.user("@ada:example").device("D");
    sim.run_until_quiet();
    let call = enter(&ada, &room);
    sim.advance(secs(1));
    let next = next_event(&sim);
    let content = json!({"key": "hand", "call_id": "", "device_id": "D", "is_ephemeral": false,
        "m.relates_to": {"rel_type": "m.reference", "event_id": format!("$event{}", next + 1)}});
    sim.puppet("@cleo:example", "D").say_json(
        &room,
        "com.famedly.call.member.reaction",
        &content.to_string(),
    );
    sim.advance(millis(300));
    let event = stands(&sim, &room, "@cleo:example", Some("c"));
    assert_eq!(event, format!("$event{}", next + 1));
    sim.advance(secs(2));
    assert!(!ada.group_snapshot(call).unwrap().reactions.is_empty(), "{}", sim.column());
}

#[test]
fn the_second_dialect_is_not_spoken_where_nobody_asked_for_it() {
    let (sim, room, [ada, ..]) = three();
    let until = sim.now().wall.0 + 3_600_000;
    let content = json!({ "m.calls": [{ "m.call_id": "conf", "m.devices": [{
        "device_id": "D9", "session_id": "s", "expires_ts": until, "feeds": [] }] }] })
    .to_string();
    let legacy = "org.matrix.msc3401.call.member";
    put(&sim, &room, "@ben:example", (legacy, "@ben:example"), content);
    sim.advance(secs(1));
    // The application enters what it is shown; it has set nothing.
    let shown = *ada.groups().last().unwrap();
    ada.command(Command::Group(shown, GroupCommand::Enter(CallMedia::Voice)));
    sim.advance(secs(2));
    assert!(sim.server(|server| server.state_of(&room, legacy, "@ada:example")).is_none());
}

#[test]
fn a_homeserver_that_asks_for_a_minute_is_not_asked_at_every_change_of_network() {
    let (sim, room, [ada, ..]) = three();
    ada.next(OpKind::SendState, Cue::fails(Fault::RateLimited { retry_after: Some(secs(60)) }));
    let call = enter(&ada, &room);
    sim.advance(secs(5));
    assert_eq!(ada.group_state(call), Some(GroupState::Entering), "it waits");
    ada.input(matrix_voip::machine::io::Input::Network(matrix_voip::machine::io::Network::Back));
    sim.advance(secs(5));
    assert_eq!(
        ada.group_state(call),
        Some(GroupState::Entering),
        "after ten seconds\n{}",
        sim.column()
    );
}
