//! Which SFU a group call is at: the oldest members', what the application wants, the configuration's,
//! the homeserver's.

use matrix_voip::{
    Backend, CallMedia, GroupEvent, GroupRefusal, GroupState, KeyUse, SfuServices, SfuStatus,
    TokenFault,
    host::SendState,
    id::{RoomId, SessionId, UserId},
    machine::io::{Command, Fault, GroupCommand, Input, Network, Refusal, Verdict},
    testing::{Cue, Device, OpKind, Sim, millis, secs},
    wire::{
        focus::Transport,
        member::{DEFAULT_APPLICATION, GroupCallId, MEMBER_TYPE},
    },
};
use serde_json::json;

use crate::{
    common::{ADA, BEN, put},
    keys::call_of,
    sfu::{all_meet, by_host},
};

const CLEO: &str = "@cleo:example";
/// Each has a service of his own.
const SERVICES: [&str; 3] = ["https://ada.sfu", "https://ben.sfu", "https://cleo.sfu"];

/// A room of three, each with a device that knows its own service, or none.
fn three(configured: bool) -> (Sim, RoomId, [Device; 3]) {
    let sim = Sim::new(1);
    let users = [ADA, BEN, CLEO];
    let room = sim.room("!room:example", users);
    let device = |at: usize| {
        let mut config = by_host();
        config.livekit_service_url = configured.then(|| SERVICES[at].to_owned());
        sim.user(users[at]).device_with("D", config)
    };
    let devices = [0, 1, 2].map(device);
    sim.run_until_quiet();
    (sim, room, devices)
}

fn at(service: &str, room: &RoomId) -> Backend {
    Backend::livekit(service, room.as_str())
}

fn enters(device: &Device, room: &RoomId, service: Option<&str>) -> SessionId {
    let call = device.open_sfu_group(room, service);
    device.group(call, GroupCommand::Enter(CallMedia::Voice));
    call
}

fn focus(device: &Device) -> Backend {
    device.group_snapshot(call_of(device)).unwrap().backend
}

/// How often a device said that the focus changed.
fn changes(device: &Device) -> usize {
    let all = device.group_events(call_of(device));
    all.iter().filter(|event| matches!(event, GroupEvent::BackendChanged(_))).count()
}

/// Somebody without an engine is in the call at this SFU.
fn stands(sim: &Sim, room: &RoomId, user: &str, service: &str) {
    let expires = sim.now().wall.0 + 700_000;
    let focus = json!({ "type": "livekit", "livekit_service_url": service,
        "livekit_alias": room.as_str() });
    let content = json!({ "memberships": [{ "application": "m.call", "call_id": "",
        "scope": "m.room", "device_id": "P", "expires_ts": expires, "membershipID": "visit",
        "foci_active": [focus] }] });
    put(sim, room, user, (MEMBER_TYPE, user), content.to_string());
    sim.advance(millis(100));
}

#[test]
fn whoever_comes_later_goes_where_the_oldest_is_whatever_his_own_configuration_says() {
    let (sim, room, [ada, ben, cleo]) = three(true);
    for device in [&ben, &ada, &cleo] {
        enters(device, &room, None);
        sim.advance(secs(15));
    }
    all_meet(&[&ada, &ben, &cleo], &sim);
    for device in [&ada, &ben, &cleo] {
        assert_eq!(focus(device), at(SERVICES[1], &room), "{}", device.name());
    }
    // The oldest leaves: nobody moves.
    ben.group(call_of(&ben), GroupCommand::Leave);
    sim.advance(secs(20));
    all_meet(&[&ada, &cleo], &sim);
    assert_eq!(focus(&cleo), at(SERVICES[1], &room));
    enters(&ben, &room, None);
    sim.advance(secs(20));
    all_meet(&[&ada, &ben, &cleo], &sim);
}

#[test]
fn what_the_application_wants_comes_before_the_configuration_and_that_before_the_homeserver() {
    let named = Transport::Livekit { service_url: "https://home.sfu".to_owned() };
    let cases = [
        (Some("https://wanted.sfu"), true, "https://wanted.sfu"),
        (None, true, SERVICES[0]),
        (None, false, "https://home.sfu"),
    ];
    for (wanted, configured, expected) in cases {
        let (sim, room, [ada, ..]) = three(configured);
        sim.set_transports(vec![Transport::Unknown("other".to_owned()), named.clone()]);
        enters(&ada, &room, wanted);
        sim.advance(secs(1));
        assert_eq!(focus(&ada), at(expected, &room), "{}", sim.column());
        all_meet(&[&ada], &sim);
    }
}

#[test]
fn where_nobody_names_an_sfu_the_call_is_not_entered_and_says_so() {
    let (no_focus, not_reached) = (GroupRefusal::NoFocus, GroupRefusal::NoTransports);
    for (fault, why) in [
        (None, no_focus),
        (Some(Fault::Unreachable), not_reached),
        (Some(Fault::Unsupported), no_focus),
    ] {
        let is_passing = fault == Some(Fault::Unreachable);
        let (sim, room, [ada, ..]) = three(false);
        if let Some(fault) = fault {
            ada.always(OpKind::Transports, Cue::fails(fault));
        }
        let call = enters(&ada, &room, None);
        assert_eq!(ada.group_snapshot(call).unwrap().sfu, SfuStatus::FindingFocus);
        if is_passing {
            sim.advance(secs(120));
            let shown = ada.group_snapshot(call).unwrap();
            assert_eq!((shown.state, shown.sfu), (GroupState::Entering, SfuStatus::FindingFocus));
            sim.advance(secs(300));
        }
        sim.advance(secs(1));
        let shown = ada.group_snapshot(call).unwrap();
        assert_eq!((shown.state, shown.refused), (GroupState::Ended, Some(why)));
        assert!(!ada.is_at_sfu() && ada.keys_used().is_empty());
        sim.run_to_the_end();
    }
}

#[test]
fn whoever_leaves_while_the_homeserver_is_asked_is_not_in_it_when_it_answers() {
    let (sim, room, [ada, ..]) = three(false);
    sim.set_transports(vec![Transport::Livekit { service_url: SERVICES[0].to_owned() }]);
    ada.slow(OpKind::Transports, secs(3));
    let call = enters(&ada, &room, None);
    sim.advance(secs(1));
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(10));
    assert_ne!(ada.group_state(call), Some(GroupState::Entered));
    assert_eq!((ada.is_at_sfu(), sim.server(|server| server.state_sent(&room))), (false, 0));
    enters(&ada, &room, None);
    sim.advance(secs(10));
    all_meet(&[&ada], &sim);
}

#[test]
fn somebody_who_comes_while_the_homeserver_is_asked_decides() {
    let (sim, room, [ada, ben, _]) = three(false);
    sim.set_transports(vec![Transport::Livekit { service_url: SERVICES[0].to_owned() }]);
    ada.slow(OpKind::Transports, secs(3));
    enters(&ada, &room, None);
    enters(&ben, &room, Some(SERVICES[1]));
    sim.advance(secs(20));
    all_meet(&[&ada, &ben], &sim);
    assert_eq!(focus(&ada), at(SERVICES[1], &room), "{}", sim.column());
}

#[test]
fn two_who_enter_at_the_same_moment_meet_at_the_elders() {
    for pause in [0, 5, 20, 35, 50] {
        for turned in [false, true] {
            let (sim, room, [ada, ben, _]) = three(true);
            let order = if turned { [&ben, &ada] } else { [&ada, &ben] };
            enters(order[0], &room, None);
            sim.advance(millis(pause));
            enters(order[1], &room, None);
            sim.advance(secs(20));
            all_meet(&[&ada, &ben], &sim);
            assert_eq!(focus(&ada), focus(&ben), "{}", sim.column());
            let moved = changes(&ada) + changes(&ben);
            assert!((1..=3).contains(&moved), "{moved} changes\n{}", sim.column());
        }
    }
}

#[test]
fn three_who_enter_at_the_same_moment_meet_at_the_eldest() {
    for way in [millis(5), millis(20), millis(300)] {
        let (sim, room, [ada, ben, cleo]) = three(true);
        sim.set_way(way);
        for device in [&cleo, &ada, &ben] {
            enters(device, &room, None);
        }
        sim.advance(secs(30));
        all_meet(&[&ada, &ben, &cleo], &sim);
        assert_eq!(focus(&ada), focus(&ben), "{}", sim.column());
    }
}

#[test]
fn who_comes_later_to_another_sfu_moves_nobody_and_is_out_of_reach() {
    let (sim, room, [ada, ben, _]) = three(true);
    for device in [&ada, &ben] {
        enters(device, &room, None);
        sim.advance(secs(15));
    }
    stands(&sim, &room, CLEO, SERVICES[2]);
    sim.advance(secs(20));
    for device in [&ada, &ben] {
        assert_eq!(focus(device), at(SERVICES[0], &room));
        let shown = device.group_snapshot(call_of(device)).unwrap();
        let beyond: Vec<_> = shown.out_of_reach().map(|one| one.id.user.as_str()).collect();
        assert_eq!(beyond, [CLEO]);
        let why = shown.explain().to_string();
        assert!(why.contains("1 out of reach"), "{why}");
    }
    assert!(ada.reads(&ben) && ben.reads(&ada));
}

#[test]
fn the_eldest_who_goes_elsewhere_is_followed() {
    let (sim, room, [ada, ..]) = three(true);
    stands(&sim, &room, CLEO, SERVICES[2]);
    sim.advance(secs(15));
    let call = enters(&ada, &room, None);
    sim.advance(secs(30));
    assert_eq!(focus(&ada), at(SERVICES[2], &room));
    let tokens = sim.sfu(|sfu| sfu.tokens());
    stands(&sim, &room, CLEO, SERVICES[1]);
    sim.advance(secs(5));
    assert_eq!(focus(&ada), at(SERVICES[1], &room), "{}", sim.column());
    let shown = ada.group_snapshot(call).unwrap();
    assert_eq!((shown.state, shown.sfu), (GroupState::Entered, SfuStatus::Connected));
    assert_eq!(sim.sfu(|sfu| (sfu.tokens() - tokens, sfu.connected().count())), (1, 1));
    let written = sim.server(|server| {
        let own = server.state_of(&room, MEMBER_TYPE, ADA);
        own.or_else(|| server.state_of(&room, MEMBER_TYPE, &format!("_{ADA}_D"))).unwrap()
    });
    assert!(written.contains(SERVICES[1]) && !written.contains(SERVICES[2]), "{written}");
    assert!(ada.key_in_use().is_some() && ada.sfu_tracks().len() == 1);
}

#[test]
fn whoever_is_followed_back_and_forth_is_met_where_he_is_in_the_end() {
    for pause in [0, 10, 30, 60, 100, 500] {
        let (sim, room, [ada, ..]) = three(true);
        stands(&sim, &room, CLEO, SERVICES[2]);
        sim.advance(secs(15));
        enters(&ada, &room, None);
        sim.advance(secs(20));
        for service in [1, 2, 1, 2, 1] {
            stands(&sim, &room, CLEO, SERVICES[service]);
            sim.advance(millis(pause));
        }
        sim.advance(secs(30));
        assert_eq!(focus(&ada), at(SERVICES[1], &room), "{pause}");
        let status = ada.group_snapshot(call_of(&ada)).unwrap().sfu;
        assert_eq!(status, SfuStatus::Connected, "{pause}\n{}", sim.column());
        ada.group(call_of(&ada), GroupCommand::Leave);
        sim.advance(secs(20));
        assert!(!ada.is_at_sfu() && sim.sfu(|sfu| sfu.connected().count()) == 0);
    }
}

#[test]
fn another_sfu_than_the_members_have_is_refused() {
    let (sim, room, [ada, ben, _]) = three(true);
    enters(&ada, &room, None);
    sim.advance(secs(15));
    let open = |backend| {
        let (room, call) = (room.clone(), GroupCallId::room());
        let (application, keys) = (DEFAULT_APPLICATION.to_owned(), KeyUse::Usual);
        ben.command(Command::OpenGroup { room, call, backend, application, keys })
    };
    let other = Verdict::Refused(Refusal::OtherBackend);
    assert_eq!(open(at(SERVICES[1], &room)), other);
    assert_eq!(open(Backend::Mesh), other);
    assert!(matches!(open(at(SERVICES[0], &room)), Verdict::Started(_)));
    assert!(matches!(open(Backend::sfu()), Verdict::Started(_)));
    // Where nobody is the application may think again.
    ada.group(call_of(&ada), GroupCommand::Leave);
    sim.advance(secs(20));
    assert!(matches!(open(at(SERVICES[1], &room)), Verdict::Started(_)));
    assert_eq!(focus(&ben), at(SERVICES[1], &room));
}

#[test]
fn a_homeserver_that_is_not_reached_is_asked_for_its_sfus_again() {
    for rescued in ["in time", "by the network", "by somebody"] {
        let (sim, room, [ada, ..]) = three(false);
        sim.set_transports(vec![Transport::Livekit { service_url: SERVICES[0].to_owned() }]);
        ada.always(OpKind::Transports, Cue::fails(Fault::Timeout));
        enters(&ada, &room, None);
        sim.advance(secs(40));
        if rescued == "by somebody" {
            stands(&sim, &room, CLEO, SERVICES[0]);
        } else {
            ada.always(OpKind::Transports, Cue::works());
        }
        match rescued {
            "by the network" => {
                ada.input(Input::Network(Network::Back));
                sim.advance(secs(1));
            }
            _ => sim.advance(secs(17)),
        }
        let shown = ada.group_snapshot(call_of(&ada)).unwrap();
        assert_eq!(shown.sfu, SfuStatus::Connected, "{rescued}\n{}", sim.column());
        assert_eq!(focus(&ada), at(SERVICES[0], &room));
    }
}

/// The same as `stands`, as of long ago: so says the homeserver of whoever writes it.
fn stood(sim: &Sim, room: &RoomId, user: &str, service: &str) {
    let now = sim.now().wall;
    let focus = json!({ "type": "livekit", "livekit_service_url": service,
        "livekit_alias": room.as_str() });
    let content = json!({ "memberships": [{ "application": "m.call", "call_id": "",
        "scope": "m.room", "device_id": "P", "expires_ts": now.0 + 700_000,
        "membershipID": "visit", "foci_active": [focus] }] });
    let state = SendState {
        room: room.clone(),
        event_type: MEMBER_TYPE.to_owned(),
        state_key: user.to_owned(),
        content: content.to_string(),
    };
    let who = UserId::parse(user).unwrap();
    sim.server(|server| server.put_state(now.minus(secs(200)), &who, state));
    sim.advance(millis(100));
}

#[test]
fn who_found_somebody_is_not_moved_by_who_says_to_be_older() {
    for found in [true, false] {
        let (sim, room, [ada, ..]) = three(true);
        if found {
            stands(&sim, &room, BEN, SERVICES[1]);
            sim.advance(secs(20));
        }
        enters(&ada, &room, None);
        sim.advance(secs(2));
        let before = sim.sfu(|sfu| sfu.asked_for_tokens());
        stood(&sim, &room, CLEO, SERVICES[2]);
        sim.advance(secs(20));
        let asked = sim.sfu(|sfu| sfu.asked_for_tokens()) - before;
        // Of two who both found nobody the older says where.
        let expected = if found { (SERVICES[1], 0) } else { (SERVICES[2], 1) };
        assert_eq!((focus(&ada), asked), (at(expected.0, &room), expected.1), "{}", sim.column());
    }
}

#[test]
fn an_elder_who_changes_his_sfu_over_and_over_has_us_ask_for_few_tokens() {
    let (sim, room, [ada, ..]) = three(true);
    stands(&sim, &room, CLEO, SERVICES[2]);
    sim.advance(secs(15));
    enters(&ada, &room, None);
    sim.advance(secs(15));
    let before = sim.sfu(|sfu| sfu.asked_for_tokens());
    for n in 0..20 {
        stands(&sim, &room, CLEO, SERVICES[n % 2]);
        if n == 0 {
            // The first is followed at once.
            assert_eq!(sim.sfu(|sfu| sfu.asked_for_tokens()) - before, 1);
        }
        sim.advance(millis(900));
    }
    let asked = sim.sfu(|sfu| sfu.asked_for_tokens()) - before;
    assert!((2..=3).contains(&asked), "{asked}\n{}", sim.column());
    sim.advance(secs(15));
    all_at(&ada, SERVICES[1], &room, &sim);
}

fn all_at(device: &Device, service: &str, room: &RoomId, sim: &Sim) {
    let shown = device.group_snapshot(call_of(device)).unwrap();
    let stands = (shown.backend, shown.sfu);
    assert_eq!(stands, (at(service, room), SfuStatus::Connected), "{}", sim.column());
}

#[test]
fn a_service_that_the_application_does_not_allow_gets_no_token_of_ours() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", [ADA, BEN, CLEO]);
    let mut config = by_host();
    config.sfu_services = SfuServices::only(["https://Ben.sfu/"]);
    let ada = sim.user(ADA).device_with("D", config);
    sim.run_until_quiet();
    // Whoever asked for an OpenID token would say that there is none.
    ada.always(OpKind::OpenId, Cue::fails(Fault::Timeout));
    stands(&sim, &room, CLEO, SERVICES[2]);
    sim.advance(secs(15));
    let call = enters(&ada, &room, None);
    // Also not when our membership is written anew, and what was given up is tried again.
    sim.advance(secs(200));
    let shown = ada.group_snapshot(call).unwrap();
    assert_eq!(shown.sfu, SfuStatus::NoToken(TokenFault::NotAllowed), "{}", sim.column());
    assert_eq!(shown.state, GroupState::Entered);
    assert!(shown.explain().to_string().contains("Config::sfu_services"));
    assert_eq!(sim.sfu(|sfu| sfu.asked_for_tokens()), 0);
    ada.always(OpKind::OpenId, Cue::works());
    stands(&sim, &room, CLEO, SERVICES[1]);
    sim.advance(secs(10));
    all_at(&ada, SERVICES[1], &room, &sim);
}
