//! Group calls: who is in them, entering, leaving, and what becomes of our own membership.

use matrix_voip::{
    Backend, Config, GroupCallId, GroupEnd, GroupEvent, GroupRefusal, GroupState, MemberKey,
    host::SendState,
    id::{RoomId, SessionId, UserId},
    machine::io::{
        CallMedia, Command, Fault, GroupCommand, Ignored, Input, Lifecycle, Network, Refusal,
        Verdict,
    },
    testing::{Cue, Device, OpKind, Sim, millis, secs},
    wire::{
        member::{LEGACY_MEMBER_TYPE, MEMBER_TYPE, Scope},
        power::POWER_LEVELS_TYPE,
    },
};

use crate::common::three;

fn open(device: &Device, room: &RoomId) -> SessionId {
    device.open_group(room, GroupCallId::room())
}

/// Opens the room's call and enters it.
fn enter(sim: &Sim, device: &Device, room: &RoomId) -> SessionId {
    let session = open(device, room);
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    assert_eq!(device.group_state(session), Some(GroupState::Entered), "{}", sim.column());
    session
}

/// The latest group call that a device saw.
fn seen(device: &Device) -> SessionId {
    *device.groups().last().unwrap_or_else(|| panic!("{} sees no group call", device.name()))
}

/// Who is in the latest call as a device sees it.
fn present(device: &Device) -> Vec<String> {
    let latest = device.groups().last().and_then(|session| device.group_snapshot(*session));
    let Some(shown) = latest else { return Vec::new() };
    shown.participants.iter().map(|one| one.id.user.as_str().replace(":example", "")).collect()
}

/// How many state events were written in a room.
fn written(sim: &Sim, room: &RoomId) -> usize {
    sim.server(|server| server.state_sent(room))
}

#[test]
fn whoever_enters_is_seen_by_all_oldest_first_until_he_leaves() {
    let (sim, room, [ada, ben, cleo]) = three();
    enter(&sim, &ben, &room);
    let call = enter(&sim, &ada, &room);
    for device in [&ada, &ben, &cleo] {
        assert_eq!(present(device), ["@ben", "@ada"], "{}", sim.column());
    }
    ada.group(call, GroupCommand::Leave);
    assert_eq!(ada.group_state(call), Some(GroupState::Leaving));
    assert_eq!(present(&ada), ["@ben"], "for ourselves at once");
    sim.advance(secs(1));
    assert_eq!(ada.group_state(call), Some(GroupState::Idle), "the others are still in it");
    assert_eq!(present(&cleo), ["@ben"]);
    ben.group(seen(&ben), GroupCommand::Leave);
    sim.advance(secs(1));
    let over = cleo.group_snapshot(seen(&cleo)).unwrap();
    assert_eq!((over.end, over.participants.len()), (Some(GroupEnd::Empty), 0));
}

#[test]
fn a_membership_is_written_anew_every_two_minutes_and_nobody_hears_of_it() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    let heard = ben.group_events(seen(&ben)).len();
    let before = written(&sim, &room);
    sim.advance(secs(600));
    assert_eq!(written(&sim, &room) - before, 5);
    assert_eq!(ben.group_events(seen(&ben)).len(), heard);
    assert_eq!(present(&ben), ["@ada"]);
}

#[test]
fn whoever_crashes_is_gone_after_five_minutes_at_most() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    sim.advance(secs(100));
    ada.crash();
    sim.advance(secs(195));
    assert_eq!(present(&ben), ["@ada"]);
    sim.advance(secs(10));
    assert!(present(&ben).is_empty(), "{}", sim.column());
}

#[test]
fn what_a_crash_left_behind_is_taken_back_by_the_next_process() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    sim.advance(secs(10));
    ada.crash();
    ada.restart();
    sim.advance(secs(2));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    assert_eq!(ada.ledger().unwrap().memberships, [], "nothing is left to take back");
    let before = written(&sim, &room);
    ada.crash();
    ada.restart();
    sim.advance(secs(600));
    assert_eq!(written(&sim, &room), before, "nor is it done twice");
}

#[test]
fn without_a_ledger_a_ghost_of_ours_is_seen_and_taken_back() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    ada.crash();
    ada.forget_ledger();
    ada.restart();
    assert!(present(&ada).is_empty(), "it is not shown as us");
    sim.advance(secs(1));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    enter(&sim, &ada, &room);
    assert_eq!((present(&ada), present(&ben)), (vec!["@ada".into()], vec!["@ada".into()]));
}

#[test]
fn who_leaves_without_the_server_and_dies_is_taken_back_by_the_next_process() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    ada.partition();
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(5));
    let ledger = ada.ledger().unwrap();
    assert_eq!(ledger.memberships.len(), 1, "it stands there until it is taken back");
    ada.crash();
    ada.heal();
    ada.restart();
    sim.advance(secs(2));
    assert!(present(&ben).is_empty(), "{}", sim.column());
}

#[test]
fn of_two_calls_that_are_left_at_once_both_are_left() {
    let (sim, room, [ada, ben, _]) = three();
    let one = open(&ada, &room);
    ada.slow(OpKind::SendState, secs(2));
    ada.group(one, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    ada.group(one, GroupCommand::Leave);
    let two = ada.open_group(&room, GroupCallId::named("two"));
    ada.group(two, GroupCommand::Enter(CallMedia::Voice));
    ada.group(two, GroupCommand::Leave);
    sim.advance(secs(20));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    let stands = sim.server(|server| server.state_of(&room, MEMBER_TYPE, "@ada:example"));
    assert_eq!(stands.unwrap(), r#"{"memberships":[]}"#);
}

#[test]
fn who_enters_anew_is_in_when_that_visit_is_accepted_and_not_before() {
    let (sim, room, [ada, ben, _]) = three();
    let call = open(&ada, &room);
    ada.slow(OpKind::SendState, secs(2));
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    ada.group(call, GroupCommand::Leave);
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(millis(1500));
    assert_eq!(ada.group_state(call), Some(GroupState::Entering), "that was the first visit");
    sim.advance(secs(10));
    assert_eq!(ada.group_state(call), Some(GroupState::Entered), "{}", sim.column());
    assert_eq!(present(&ben), ["@ada"]);
}

#[test]
fn leaving_comes_to_an_end_whatever_became_of_the_write() {
    for cue in [Cue::dropped(), Cue::answer_lost(), Cue::hangs()] {
        let (sim, room, [ada, ben, _]) = three();
        let call = open(&ada, &room);
        ada.next(OpKind::SendState, cue.clone());
        ada.group(call, GroupCommand::Enter(CallMedia::Voice));
        sim.advance(millis(500));
        ada.group(call, GroupCommand::Leave);
        sim.advance(secs(100));
        let end = ada.group_snapshot(call).unwrap().end;
        assert_eq!(end, Some(GroupEnd::Empty), "{cue:?}\n{}", sim.column());
        assert!(present(&ben).is_empty(), "{cue:?}\n{}", sim.column());
    }
}

#[test]
fn what_another_device_keeps_of_a_call_that_we_left_is_taken_away() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    let old = sim.server(|server| server.state_of(&room, MEMBER_TYPE, "@ada:example")).unwrap();
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(2));
    assert!(present(&ben).is_empty());
    let (now, user) = (sim.now().wall, UserId::parse("@ada:example").unwrap());
    sim.server(|server| server.put_state(now, &user, state(&room, "@ada:example", &old)));
    sim.advance(secs(2));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    let before = written(&sim, &room);
    sim.advance(secs(60));
    assert_eq!(written(&sim, &room), before, "and then it is quiet");
}

#[test]
fn what_others_would_not_read_as_it_is_is_refused() {
    let (_, room, [ada, _, _]) = three();
    let open = |call, application: &str, backend| {
        let (room, application) = (room.clone(), application.to_owned());
        ada.command(Command::OpenGroup {
            room,
            call,
            backend,
            application,
            keys: matrix_voip::KeyUse::Usual,
        })
    };
    let refused = Verdict::Refused(Refusal::NotWritable);
    let long = "x".repeat(256);
    assert_eq!(open(GroupCallId::named(&*long), "m.call", Backend::Mesh), refused);
    assert_eq!(open(GroupCallId::room(), "", Backend::Mesh), refused);
    assert_eq!(open(GroupCallId::room(), &long, Backend::Mesh), refused);
    let odd = GroupCallId { scope: Scope::Other("m.user".into()), call_id: String::new() };
    assert_eq!(open(odd, "m.call", Backend::Mesh), refused);
    let livekit = Backend::Livekit { service_url: long, alias: String::new() };
    assert_eq!(open(GroupCallId::room(), "m.call", livekit), refused);
    let session = ada.open_group(&room, GroupCallId::room());
    let change = GroupCommand::SetApplication(String::new());
    assert_eq!(ada.command(Command::Group(session, change)), refused);
}

#[test]
fn who_was_there_before_a_call_was_opened_is_in_it() {
    let (sim, room, [ada, ben, cleo]) = three();
    flood(&sim, &room, "@cleo:example");
    enter(&sim, &ada, &room);
    let bens = open(&ben, &room);
    let shown = ben.group_snapshot(bens).unwrap();
    assert_eq!(shown.participants[0].id.user.as_str(), "@ada:example", "{}", sim.column());
    assert!(cleo.groups().len() < 20, "one member does not fill a room with calls");
}

/// A member claims to be in as many calls as one event holds.
fn flood(sim: &Sim, room: &RoomId, user: &str) {
    let until = sim.now().wall.plus(secs(200)).0;
    let entries = (0..64).map(|n| {
        format!(
            r#"{{"call_id":"{n}","device_id":"F","expires_ts":{until},"membershipID":"f{n}",
                "foci_active":[{{"type":"mesh"}}]}}"#
        )
    });
    let content = format!(r#"{{"memberships":[{}]}}"#, entries.collect::<Vec<_>>().join(","));
    let (now, sender) = (sim.now().wall, UserId::parse(user).unwrap());
    sim.server(|server| server.put_state(now, &sender, state(room, user, &content)));
    sim.advance(secs(1));
}

#[test]
fn two_devices_of_a_user_keep_each_others_membership() {
    let sim = Sim::new(2);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let (one, two) = (sim.user("@ada:example").device("A1"), sim.user("@ada:example").device("A2"));
    let ben = sim.user("@ben:example").device("B");
    sim.run_until_quiet();
    let first = enter(&sim, &one, &room);
    enter(&sim, &two, &room);
    assert_eq!(present(&ben), ["@ada", "@ada"]);
    one.group(first, GroupCommand::Leave);
    sim.advance(secs(1));
    assert_eq!(present(&ben), ["@ada"]);
    sim.advance(secs(600));
    assert_eq!(present(&ben), ["@ada"], "{}", sim.column());
}

#[test]
fn an_update_that_two_devices_write_at_once_is_repaired() {
    let sim = Sim::new(3);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let devices = ["A1", "A2"].map(|device| sim.user("@ada:example").device(device));
    let ben = sim.user("@ben:example").device("B");
    sim.run_until_quiet();
    let ada = UserId::parse("@ada:example").unwrap();
    sim.server(|server| server.set_delay(&ada, &ada, millis(300)));
    for device in &devices {
        let session = open(device, &room);
        device.group(session, GroupCommand::Enter(CallMedia::Voice));
    }
    sim.advance(secs(10));
    assert_eq!(present(&ben), ["@ada", "@ada"], "{}", sim.column());
    let before = written(&sim, &room);
    assert!(before <= 6, "two devices wrote {before} times");
    sim.advance(secs(60));
    assert_eq!(written(&sim, &room), before, "then it is quiet");
}

/// All that they write is composed without what the others write meanwhile, again and again.
#[test]
fn what_four_devices_of_a_user_write_at_once_is_repaired_in_a_few_rounds() {
    for delay in [0, 20, 300] {
        let sim = Sim::new(3);
        let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
        let devices = ["A1", "A2", "A3", "A4"].map(|it| sim.user("@ada:example").device(it));
        let ben = sim.user("@ben:example").device("B");
        sim.run_until_quiet();
        let ada = UserId::parse("@ada:example").unwrap();
        sim.server(|server| server.set_delay(&ada, &ada, millis(delay)));
        for device in &devices {
            let session = open(device, &room);
            device.group(session, GroupCommand::Enter(CallMedia::Voice));
        }
        sim.advance(secs(20));
        assert_eq!(present(&ben).len(), 4, "{}", sim.column());
        let before = written(&sim, &room);
        assert!(before <= 20, "four devices wrote {before} times");
        sim.advance(secs(20));
        assert_eq!(written(&sim, &room), before, "then it is quiet");
    }
}

#[test]
fn three_calls_of_one_room_are_entered_beside_each_other() {
    let (sim, room, [ada, ben, _]) = three();
    let ids =
        [GroupCallId::room(), GroupCallId::named(room.as_str()), GroupCallId::among_users("A:B")];
    let sessions = ids.clone().map(|call| ada.open_group(&room, call));
    for session in sessions {
        ada.group(session, GroupCommand::Enter(CallMedia::Voice));
    }
    sim.advance(secs(2));
    assert!(sessions.iter().all(|it| ada.group_state(*it) == Some(GroupState::Entered)));
    assert_eq!(ben.groups().len(), 3);
    ada.group(sessions[1], GroupCommand::Leave);
    sim.advance(secs(2));
    let left: Vec<_> = ben.groups().into_iter().filter_map(|it| ben.group_snapshot(it)).collect();
    let alive: Vec<_> = left.iter().filter(|it| it.end.is_none()).map(|it| &it.call).collect();
    assert_eq!(alive, [&ids[0], &ids[2]]);
}

#[test]
fn calls_in_two_rooms_do_not_disturb_each_other() {
    let (sim, room, [ada, ben, _]) = three();
    let other = sim.room("!other:example", ["@ada:example", "@ben:example"]);
    sim.run_until_quiet();
    let (one, two) = (enter(&sim, &ada, &room), enter(&sim, &ada, &other));
    ada.group(one, GroupCommand::Leave);
    sim.advance(secs(600));
    assert_eq!(ada.group_state(two), Some(GroupState::Entered));
    let alive = ben.groups().into_iter().filter_map(|it| ben.group_snapshot(it));
    let alive: Vec<_> = alive.filter(|it| it.end.is_none()).map(|it| it.room).collect();
    assert_eq!(alive, [other]);
}

#[test]
fn a_membership_that_vanished_is_written_again_once_and_we_never_left() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    let (before, events) = (written(&sim, &room), ada.group_events(call).len());
    let empty = state(&room, "@ada:example", r#"{"memberships":[]}"#);
    let user = UserId::parse("@ada:example").unwrap();
    let now = sim.now().wall;
    sim.server(|server| server.put_state(now, &user, empty));
    sim.advance(secs(5));
    assert_eq!(written(&sim, &room) - before, 2, "theirs and ours");
    assert_eq!(ada.group_events(call).len(), events, "{}", sim.column());
    assert_eq!(present(&ben), ["@ada"]);
}

#[test]
fn a_membership_of_ours_that_a_moderator_redacts_is_written_again() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    let before = written(&sim, &room);
    let now = sim.now().wall;
    sim.server(|server| server.redact_state(now, &room, MEMBER_TYPE, "@ada:example"));
    sim.advance(secs(2));
    assert_eq!(written(&sim, &room) - before, 1, "{}", sim.column());
    assert_eq!(present(&ben), ["@ada"]);
}

#[test]
fn leaving_without_the_server_is_made_good_later() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    ada.partition();
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(40));
    assert_eq!(ada.group_state(call), Some(GroupState::Leaving));
    assert_eq!(present(&ben), ["@ada"]);
    ada.heal();
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(2));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::Empty));
}

#[test]
fn a_retract_is_not_tried_for_longer_than_the_membership_is_believed() {
    let (sim, room, [ada, _, _]) = three();
    let call = enter(&sim, &ada, &room);
    ada.partition();
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(400));
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::Empty), "{}", sim.column());
    ada.heal();
    let before = written(&sim, &room);
    sim.advance(secs(600));
    assert_eq!(written(&sim, &room), before);
}

#[test]
fn whoever_leaves_before_anything_was_written_writes_nothing() {
    let (sim, room, [ada, _, _]) = three();
    let call = open(&ada, &room);
    ada.slow(OpKind::State, secs(3));
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(30));
    assert_eq!(written(&sim, &room), 0, "{}", sim.column());
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::Empty));
}

#[test]
fn whoever_leaves_while_his_membership_is_being_written_takes_it_back() {
    let (sim, room, [ada, ben, _]) = three();
    let call = open(&ada, &room);
    ada.slow(OpKind::SendState, secs(3));
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(20));
    assert!(present(&ben).is_empty(), "{}", sim.column());
    assert_eq!(written(&sim, &room), 2);
}

#[test]
fn a_write_that_fails_is_tried_again() {
    let (sim, room, [ada, ben, _]) = three();
    let call = open(&ada, &room);
    ada.next(OpKind::SendState, Cue::dropped());
    ada.next(OpKind::SendState, Cue::rate_limited(secs(5)));
    ada.next(OpKind::SendState, Cue::answer_lost());
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(120));
    assert_eq!(ada.group_state(call), Some(GroupState::Entered), "{}", sim.column());
    assert_eq!(present(&ben), ["@ada"]);
}

#[test]
fn whoever_may_not_write_memberships_is_refused() {
    let (sim, room, [ada, ben, _]) = three();
    let levels = SendState {
        event_type: POWER_LEVELS_TYPE.to_owned(),
        ..state(&room, "", r#"{"users":{"@ben:example":50}}"#)
    };
    let user = UserId::parse("@ben:example").unwrap();
    let now = sim.now().wall;
    sim.server(|server| server.put_state(now, &user, levels));
    sim.run_until_quiet();
    let call = open(&ada, &room);
    let refused = ada.command(Command::Group(call, GroupCommand::Enter(CallMedia::Voice)));
    assert_eq!(refused, Verdict::Refused(Refusal::MayNotJoin));
    assert_eq!(written(&sim, &room), 1, "nobody changed a power level unasked");
    let bens = enter(&sim, &ben, &room);
    ben.next(OpKind::SendState, Cue::fails(Fault::Forbidden("M_FORBIDDEN".into())));
    ben.group(bens, GroupCommand::AllowEveryone);
    sim.advance(secs(60));
    let failed = GroupEvent::AllowEveryoneFailed(GroupRefusal::Forbidden);
    assert!(ben.group_events(bens).contains(&failed), "{}", sim.column());
    assert!(!ada.group_snapshot(call).unwrap().rights.can_everyone_join, "nor is it tried again");
    ben.group(bens, GroupCommand::AllowEveryone);
    sim.advance(secs(1));
    assert!(ada.group_snapshot(call).unwrap().rights.can_everyone_join, "{}", sim.column());
    enter(&sim, &ada, &room);
}

#[test]
fn power_levels_that_are_not_known_are_not_changed() {
    let (_, room, [ada, _, _]) = three();
    let call = open(&ada, &room);
    let refused = ada.command(Command::Group(call, GroupCommand::AllowEveryone));
    assert_eq!(refused, Verdict::Refused(Refusal::UnknownPowerLevels));
}

#[test]
fn a_homeserver_that_refuses_is_believed() {
    let (sim, room, [ada, _, _]) = three();
    let call = open(&ada, &room);
    ada.next(OpKind::SendState, Cue::fails(Fault::Forbidden("M_FORBIDDEN".into())));
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(60));
    let events = ada.group_events(call);
    assert!(events.contains(&GroupEvent::Refused(GroupRefusal::Forbidden)), "{}", sim.column());
    assert_eq!(written(&sim, &room), 0, "nothing is tried again");
}

#[test]
fn who_leaves_the_room_leaves_its_calls() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    enter(&sim, &ben, &room);
    let user = UserId::parse("@ada:example").unwrap();
    sim.server(|server| server.leave(&room, &user));
    sim.advance(secs(1));
    assert_eq!(present(&ben), ["@ben"], "{}", sim.column());
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::LeftRoom));
    sim.advance(secs(600));
    sim.server(|server| server.join(&room, &user));
    sim.advance(secs(1));
    assert_eq!(present(&ben), ["@ben"], "what he wrote before is old by now");
}

#[test]
fn another_users_key_says_nothing_of_him() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    let forged = state(
        &room,
        "D_@ada:example",
        r#"{"memberships":[{"call_id":"","device_id":"X",
        "expires_ts":99999999999999,"foci_active":[{"type":"mesh"}]}]}"#,
    );
    let user = UserId::parse("@cleo:example").unwrap();
    let now = sim.now().wall;
    sim.server(|server| server.put_state(now, &user, forged));
    sim.advance(secs(1));
    assert_eq!(present(&ben), ["@ada"]);
    assert_eq!(ben.ignored(Ignored::ForeignStateKey), 1);
    assert_eq!(ada.group_state(call), Some(GroupState::Entered));
}

#[test]
fn a_key_of_ours_that_somebody_took_is_ours_again() {
    let sim = Sim::new(4);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
    let mut config = Config::default();
    config.member_key = MemberKey::Device;
    let ada = sim.user("@ada:example").device_with("D", config);
    let ben = sim.user("@ben:example").device("B");
    sim.run_until_quiet();
    enter(&sim, &ada, &room);
    let taken = state(&room, "D_@ada:example", r#"{"memberships":[]}"#);
    let user = UserId::parse("@ben:example").unwrap();
    let now = sim.now().wall;
    sim.server(|server| server.put_state(now, &user, taken));
    sim.advance(secs(2));
    let stands = sim.server(|server| server.state_of(&room, MEMBER_TYPE, "D_@ada:example"));
    assert!(stands.unwrap().contains("membershipID"), "{}", sim.column());
    assert_eq!(present(&ben), ["@ada"], "nobody was thrown out");
}

#[test]
fn what_a_call_is_about_can_change_while_we_are_in_it() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    ada.group(call, GroupCommand::SetApplication("m.call.video".into()));
    sim.advance(secs(1));
    let seen = ben.group_snapshot(seen(&ben)).unwrap();
    assert_eq!(seen.participants[0].application, "m.call.video");
    assert_eq!(ben.groups().len(), 1, "it is no other call");
}

#[test]
fn a_call_that_meets_otherwise_is_not_joined_by_mistake() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    let livekit = Backend::Livekit { service_url: "https://sfu".into(), alias: "x".into() };
    let command = Command::OpenGroup {
        room: room.clone(),
        call: GroupCallId::room(),
        backend: livekit,
        application: "m.call".into(),
        keys: matrix_voip::KeyUse::Usual,
    };
    assert_eq!(ben.command(command), Verdict::Refused(Refusal::OtherBackend));
}

#[test]
fn who_is_of_another_generation_is_seen_and_out_of_reach() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    let until = sim.now().wall.plus(secs(200)).0;
    let content = format!(
        r#"{{"m.calls":[{{"m.call_id":"","m.devices":[{{"device_id":"WEB","session_id":"s",
            "expires_ts":{until},"feeds":[{{"purpose":"m.usermedia"}}]}}]}}]}}"#
    );
    let event_type = LEGACY_MEMBER_TYPE.to_owned();
    let state = SendState { event_type, ..state(&room, "@cleo:example", &content) };
    let (now, user) = (sim.now().wall, UserId::parse("@cleo:example").unwrap());
    sim.server(|server| server.put_state(now, &user, state));
    sim.advance(secs(1));
    assert_eq!(present(&ben), ["@ada", "@cleo"]);
    let shown = ben.group_snapshot(seen(&ben)).unwrap();
    let away: Vec<_> = shown.out_of_reach().map(|one| one.id.device.as_str()).collect();
    assert_eq!(away, ["WEB"]);
}

#[test]
fn a_process_that_ends_leaves_its_calls_and_says_so() {
    let (sim, room, [ada, ben, _]) = three();
    let call = enter(&sim, &ada, &room);
    ada.input(Input::Lifecycle(Lifecycle::Ending));
    sim.advance(secs(2));
    assert_eq!(ada.group_snapshot(call).unwrap().end, Some(GroupEnd::ShutDown));
    assert!(present(&ben).is_empty(), "{}", sim.column());
}

#[test]
fn calls_of_rooms_that_nobody_opened_are_found() {
    let (sim, room, [ada, _, _]) = three();
    enter(&sim, &ada, &room);
    let late = sim.user("@cleo:example").device("LATE");
    sim.run_until_quiet();
    assert_eq!(present(&late), ["@ada"], "{}", sim.column());
}

#[test]
fn after_a_sleep_the_membership_is_written_at_once() {
    let (sim, room, [ada, ben, _]) = three();
    enter(&sim, &ada, &room);
    sim.suspend(secs(1000));
    ada.input(Input::Lifecycle(Lifecycle::Foreground));
    sim.advance(secs(2));
    let latest = ben.groups().last().and_then(|session| ben.group_snapshot(*session)).unwrap();
    assert_eq!(latest.participants.len(), 1, "{}", sim.column());
}

fn state(room: &RoomId, state_key: &str, content: &str) -> SendState {
    SendState {
        room: room.clone(),
        event_type: MEMBER_TYPE.to_owned(),
        state_key: state_key.to_owned(),
        content: content.to_owned(),
    }
}
