//! Group calls through an SFU: token, connection, who is there, and what a mesh can do as well.

use matrix_voip::{
    CallMedia, CallState, Config, Connection, GroupSnapshot, GroupState, OnAnswer, SfuClient,
    SfuLoss, SfuStatus, TokenFault,
    id::{RoomId, SessionId},
    machine::io::{
        CallCommand, Command, Fault, GroupCommand, Ignored, Input, Network, Refusal, SfuNews,
        SfuState, Verdict,
    },
    testing::{Cue, Device, OpKind, Sim, millis, secs},
    wire::{focus::identities, member::MEMBER_TYPE},
};

use crate::common::{ADA, BEN, put};

pub(crate) const SERVICE: &str = "https://sfu.example";

/// By whom the SFU is reached: by the host.
pub(crate) fn by_host() -> Config {
    let mut config = Config::default();
    config.sfu_client = SfuClient::Host;
    config
}

/// A room of three in an encrypted room, each with a device of this configuration.
pub(crate) fn three_with(config: impl Fn() -> Config) -> (Sim, RoomId, [Device; 3]) {
    let sim = Sim::new(1);
    let members = [ADA, BEN, "@cleo:example"];
    let room = sim.room("!room:example", members);
    let devices = members.map(|user| sim.user(user).device_with("D", config()));
    sim.run_until_quiet();
    (sim, room, devices)
}

/// This device is in the room's call through the SFU.
pub(crate) fn enters(device: &Device, room: &RoomId) -> SessionId {
    let session = device.open_sfu_group(room, Some(SERVICE));
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    session
}

pub(crate) fn shown(device: &Device) -> GroupSnapshot {
    device.group_snapshot(*device.groups().last().unwrap()).unwrap()
}

/// Each of them is in it, connected with every other and can read him.
pub(crate) fn all_meet(devices: &[&Device], sim: &Sim) {
    for one in devices {
        let shown = shown(one);
        assert_eq!(shown.state, GroupState::Entered, "{}", sim.column());
        assert_eq!(shown.participants.len(), devices.len(), "{}", sim.column());
        for other in devices.iter().filter(|other| other.name() != one.name()) {
            assert!(one.reads(other), "{} reads {}\n{}", one.name(), other.name(), sim.column());
        }
        let connected = shown.connections.values().filter(|it| **it == Connection::Connected);
        assert_eq!(connected.count(), devices.len() - 1, "{}\n{}", one.name(), sim.column());
    }
}

#[test]
fn three_meet_at_an_sfu_with_keys_and_part() {
    let (sim, room, [ada, ben, cleo]) = three_with(by_host);
    for device in [&ada, &ben, &cleo] {
        enters(device, &room);
        sim.run_until_quiet();
    }
    all_meet(&[&ada, &ben, &cleo], &sim);
    let streams = shown(&ada).streams;
    assert_eq!(streams.len(), 3, "each has a microphone: {streams:?}");
    let leaving = ben.groups()[0];
    ben.group(leaving, GroupCommand::Leave);
    sim.advance(secs(20));
    all_meet(&[&ada, &cleo], &sim);
    for device in [&ada, &cleo] {
        device.group(device.groups()[0], GroupCommand::Leave);
    }
    sim.run_to_the_end();
    assert_eq!(sim.sfu(|sfu| sfu.connected().count()), 0);
}

/// How it stands with the SFU.
pub(crate) fn status(device: &Device) -> SfuStatus {
    shown(device).sfu
}

pub(crate) fn leaves(device: &Device) {
    device.group(*device.groups().last().unwrap(), GroupCommand::Leave);
}

/// How often a device did this, by the column.
fn count(sim: &Sim, device: &Device, what: &str) -> usize {
    let who = device.name();
    sim.column().0.iter().filter(|line| line.who == who && line.what.starts_with(what)).count()
}

// ----------------------------------------------------------------------------------------- tokens

const LIMITED: TokenFault = TokenFault::RateLimited { retry_after: Some(secs(5)) };

#[test]
fn a_token_that_is_refused_for_good_is_told_with_what_to_do_and_tried_with_our_membership_only() {
    let lasting = [
        TokenFault::BadAddress,
        TokenFault::InTheClear,
        TokenFault::NoService(404),
        TokenFault::NotBelieved,
        TokenFault::NotUnderstood("M_NOT_JSON".to_owned()),
        TokenFault::Refused("M_FORBIDDEN".to_owned()),
        TokenFault::Unusable("it is expired".to_owned()),
        TokenFault::NoSource,
        TokenFault::NeedsOpenId,
        TokenFault::LoggedOut,
    ];
    for (n, fault) in lasting.into_iter().enumerate() {
        let (sim, room, [ada, ..]) = three_with(by_host);
        sim.sfu(|sfu| sfu.refuse_tokens(Some(fault.clone())));
        let call = enters(&ada, &room);
        sim.advance(secs(1));
        assert_eq!(ada.group_state(call), Some(GroupState::Entered), "the membership stands");
        sim.advance(secs(115));
        assert_eq!(status(&ada), SfuStatus::NoToken(fault.clone()), "{}", sim.column());
        let why = shown(&ada).explain().to_string();
        assert!(why.contains(&fault.to_string()), "{why}");
        assert_eq!((sim.sfu(|sfu| sfu.tokens()), ada.key_in_use().is_some()), (0, true));
        assert_eq!(sim.sfu(|sfu| sfu.asked_for_tokens()), 1);
        sim.sfu(|sfu| sfu.refuse_tokens(None));
        // Whoever has mended it enters anew, or waits for two minutes.
        if n % 2 == 0 {
            leaves(&ada);
            enters(&ada, &room);
            sim.advance(secs(1));
        } else {
            sim.advance(secs(10));
        }
        assert_eq!(status(&ada), SfuStatus::Connected, "{}", sim.column());
    }
}

#[test]
fn a_token_that_cannot_be_had_now_is_tried_again_less_and_less() {
    for fault in [TokenFault::NotReached, TokenFault::ServiceFailed(502), LIMITED] {
        let (sim, room, [ada, ..]) = three_with(by_host);
        sim.sfu(|sfu| sfu.refuse_tokens(Some(fault.clone())));
        enters(&ada, &room);
        sim.advance(secs(120));
        let tries = sim.sfu(|sfu| sfu.asked_for_tokens());
        assert!((4..12).contains(&tries), "{fault}: {tries}");
        let why = shown(&ada).explain().to_string();
        assert!(why.contains(&fault.to_string()), "{why}");
        sim.sfu(|sfu| sfu.refuse_tokens(None));
        ada.input(Input::Network(Network::Back));
        sim.advance(secs(1));
        assert_eq!(status(&ada), SfuStatus::Connected, "{}", sim.column());
    }
}

#[test]
fn a_fresh_token_is_fetched_before_the_old_one_expires_and_the_connection_stays() {
    for (lifetime, first) in [(600, 540), (100, 50), (15, 10)] {
        let (sim, room, [ada, ..]) = three_with(by_host);
        sim.sfu(|sfu| sfu.set_lifetime(Some(secs(lifetime))));
        enters(&ada, &room);
        sim.advance(secs(first));
        assert_eq!(sim.sfu(|sfu| sfu.tokens()), 1, "{lifetime} s");
        sim.advance(secs(1));
        assert_eq!(sim.sfu(|sfu| sfu.tokens()), 2, "{lifetime} s");
        // One that cannot be had then harms nothing, and is tried again.
        sim.sfu(|sfu| sfu.refuse_tokens(Some(TokenFault::NotReached)));
        sim.advance(secs(first));
        assert_eq!(status(&ada), SfuStatus::Connected);
        sim.sfu(|sfu| sfu.refuse_tokens(None));
        sim.advance(secs(70));
        assert!(sim.sfu(|sfu| sfu.tokens()) > 2, "{lifetime} s");
        assert_eq!(count(&sim, &ada, "is at the SFU"), 1, "{}", sim.column());
    }
}

#[test]
fn without_open_id_tokens_the_service_says_that_it_needs_one() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    ada.always(OpKind::OpenId, Cue::fails(Fault::Unsupported));
    enters(&ada, &room);
    sim.advance(secs(60));
    assert_eq!(status(&ada), SfuStatus::NoToken(TokenFault::NeedsOpenId), "{}", sim.column());
}

#[test]
fn membership_token_and_key_are_made_beside_each_other() {
    for slow in [OpKind::SfuToken, OpKind::OpenId, OpKind::SendState, OpKind::KeyMaterial] {
        let (sim, room, [ada, ..]) = three_with(by_host);
        ada.next(slow, Cue::works().after(secs(5)));
        let call = enters(&ada, &room);
        sim.advance(secs(1));
        let entered = ada.group_state(call) == Some(GroupState::Entered);
        let connected = status(&ada) == SfuStatus::Connected;
        let has_key = ada.key_in_use().is_some();
        let token = slow == OpKind::SfuToken || slow == OpKind::OpenId;
        let expected = [slow != OpKind::SendState, !token, slow != OpKind::KeyMaterial];
        assert_eq!([entered, connected, has_key], expected, "{slow:?}\n{}", sim.column());
        sim.advance(secs(5));
        all_meet(&[&ada], &sim);
    }
}

// ------------------------------------------------------------------------------------- connection

#[test]
fn an_sfu_that_is_lost_is_reached_again_and_the_membership_stands() {
    let (sim, room, [ada, ben, _]) = three_with(by_host);
    for device in [&ada, &ben] {
        enters(device, &room);
    }
    sim.advance(secs(10));
    all_meet(&[&ada, &ben], &sim);
    let (before, tokens) =
        (sim.server(|server| server.state_sent(&room)), sim.sfu(|sfu| sfu.tokens()));
    sim.set_sfu_down(true);
    sim.advance(secs(40));
    let why = shown(&ada).explain().to_string();
    assert!(!why.contains("Connected"), "{why}");
    assert_eq!(shown(&ada).state, GroupState::Entered);
    let tries = sim.sfu(|sfu| sfu.tokens()) - tokens;
    assert!((4..=16).contains(&tries), "two devices made {tries} tries in 40 s");
    sim.set_sfu_down(false);
    sim.advance(secs(30));
    all_meet(&[&ada, &ben], &sim);
    assert_eq!(sim.server(|server| server.state_sent(&room)), before, "{}", sim.column());
}

#[test]
fn whoever_is_at_the_sfu_elsewhere_or_was_removed_there_does_not_come_back_by_himself() {
    for why in [SfuLoss::Replaced, SfuLoss::Removed] {
        let (sim, room, [ada, ..]) = three_with(by_host);
        let call = enters(&ada, &room);
        sim.advance(secs(5));
        ada.input(Input::Sfu(call, SfuNews::State(SfuState::Lost(why))));
        sim.advance(secs(600));
        ada.input(Input::Network(Network::Back));
        sim.advance(secs(60));
        assert_eq!((status(&ada), shown(&ada).state), (SfuStatus::Lost(why), GroupState::Entered));
        assert_eq!(count(&sim, &ada, "connects to the SFU"), 1, "{}", sim.column());
        leaves(&ada);
        sim.advance(secs(5));
        enters(&ada, &room);
        sim.advance(secs(5));
        assert_eq!(status(&ada), SfuStatus::Connected);
    }
}

#[test]
fn a_token_that_the_sfu_does_not_take_is_not_fetched_over_and_over() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    ada.always(OpKind::SfuConnect, Cue::denied());
    enters(&ada, &room);
    sim.advance(secs(60));
    let tokens = sim.sfu(|sfu| sfu.tokens());
    assert!((3..10).contains(&tokens), "{tokens} in a minute");
    assert_eq!(status(&ada), SfuStatus::Lost(SfuLoss::TokenRefused));
    ada.always(OpKind::SfuConnect, Cue::works());
    sim.advance(secs(60));
    assert_eq!(status(&ada), SfuStatus::Connected, "{}", sim.column());
}

#[test]
fn a_connection_that_does_not_come_about_is_given_up_for_another() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    let call = enters(&ada, &room);
    sim.advance(secs(5));
    for state in [SfuState::Reconnecting, SfuState::Connected, SfuState::Reconnecting] {
        ada.input(Input::Sfu(call, SfuNews::State(state)));
    }
    assert_eq!(status(&ada), SfuStatus::Reconnecting);
    sim.advance(secs(29));
    assert_eq!(status(&ada), SfuStatus::Reconnecting);
    sim.advance(secs(10));
    assert_eq!(status(&ada), SfuStatus::Connected, "{}", sim.column());
    assert_eq!(sim.sfu(|sfu| (sfu.tokens(), sfu.connected().count())), (2, 1));
}

#[test]
fn our_membership_that_is_lost_is_written_again_and_the_connection_stays() {
    let (sim, room, [ada, ben, _]) = three_with(by_host);
    for device in [&ada, &ben] {
        enters(device, &room);
    }
    sim.advance(secs(10));
    let gone = r#"{"memberships":[]}"#.to_owned();
    put(&sim, &room, ADA, (MEMBER_TYPE, ADA), gone);
    sim.advance(secs(10));
    all_meet(&[&ada, &ben], &sim);
    assert_eq!(count(&sim, &ada, "is at the SFU"), 1, "{}", sim.column());
    assert_eq!(sim.sfu(|sfu| sfu.tokens()), 2);
}

#[test]
fn leaving_closes_sources_and_connection_though_the_homeserver_cannot_be_reached() {
    let (sim, room, [ada, ben, _]) = three_with(by_host);
    for device in [&ada, &ben] {
        enters(device, &room);
    }
    sim.advance(secs(10));
    ada.partition();
    leaves(&ada);
    sim.advance(secs(0));
    assert!(!ada.is_at_sfu() && ada.key_in_use().is_none(), "{}", sim.column());
    assert_eq!((status(&ada), shown(&ada).state), (SfuStatus::Off, GroupState::Leaving));
    ada.heal();
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(20));
    all_meet(&[&ben], &sim);
}

#[test]
fn whoever_leaves_at_any_moment_of_entering_leaves_nothing_open_and_can_enter_again() {
    for at in [0, 10, 25, 45, 65, 85, 105, 125, 145, 200] {
        let (sim, room, [ada, ben, _]) = three_with(by_host);
        enters(&ben, &room);
        sim.advance(secs(5));
        enters(&ada, &room);
        sim.advance(millis(at));
        leaves(&ada);
        sim.advance(millis(at / 3));
        assert!(!ada.is_at_sfu(), "{at} ms\n{}", sim.column());
        enters(&ada, &room);
        sim.advance(secs(20));
        all_meet(&[&ada, &ben], &sim);
        for device in [&ada, &ben] {
            leaves(device);
        }
        sim.run_to_the_end();
        assert_eq!(sim.sfu(|sfu| sfu.connected().count()), 0, "{at} ms");
    }
}

#[test]
fn what_an_sfu_tells_of_a_connection_that_was_taken_back_counts_for_nothing() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    let call = enters(&ada, &room);
    sim.set_sfu_down(true);
    sim.advance(secs(3));
    for state in [SfuState::Connected, SfuState::Reconnecting, SfuState::Lost(SfuLoss::Removed)] {
        let verdict = ada.input(Input::Sfu(call, SfuNews::State(state)));
        assert_eq!(verdict, Verdict::Ignored(Ignored::NoChange), "{state:?}");
    }
    sim.set_sfu_down(false);
    sim.advance(secs(30));
    assert_eq!(status(&ada), SfuStatus::Connected, "{}", sim.column());
    leaves(&ada);
    let verdict = ada.input(Input::Sfu(call, SfuNews::State(SfuState::Connected)));
    assert_eq!(verdict, Verdict::Ignored(Ignored::UnknownSfu));
}

#[test]
fn whoever_holds_takes_nothing_in_after_a_connection_that_was_lost_either() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    let call = enters(&ada, &room);
    sim.advance(secs(5));
    assert!(ada.takes_in());
    ada.group(call, GroupCommand::Hold);
    sim.advance(secs(1));
    assert!(!ada.takes_in());
    sim.set_sfu_down(true);
    sim.advance(secs(1));
    sim.set_sfu_down(false);
    sim.advance(secs(30));
    assert_eq!(status(&ada), SfuStatus::Connected);
    assert!(!ada.takes_in(), "{}", sim.column());
    ada.group(call, GroupCommand::Unhold);
    sim.advance(secs(1));
    assert!(ada.takes_in());
}

#[test]
fn a_token_that_grew_old_while_the_machine_slept_is_fetched_anew_at_once() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    sim.sfu(|sfu| sfu.set_lifetime(Some(secs(3600))));
    enters(&ada, &room);
    sim.advance(secs(10));
    assert_eq!(sim.sfu(|sfu| sfu.tokens()), 1);
    sim.suspend(secs(7200));
    sim.advance(secs(1));
    assert_eq!(sim.sfu(|sfu| sfu.tokens()), 2, "{}", sim.column());
    // A wall clock that is set back puts nothing off.
    sim.set_back(secs(86_400));
    sim.advance(secs(3541));
    assert_eq!(sim.sfu(|sfu| sfu.tokens()), 3, "{}", sim.column());
}

#[test]
fn whoever_holds_asks_again_to_take_nothing_in_and_stays_connected() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    let call = enters(&ada, &room);
    sim.advance(secs(5));
    ada.always(OpKind::SfuConnect, Cue::fails(Fault::Denied));
    ada.group(call, GroupCommand::Hold);
    sim.advance(secs(5));
    assert!(ada.takes_in());
    ada.always(OpKind::SfuConnect, Cue::works());
    sim.advance(secs(10));
    assert!(!ada.takes_in(), "{}", sim.column());
    assert_eq!((status(&ada), sim.sfu(|sfu| sfu.tokens())), (SfuStatus::Connected, 1));
}

#[test]
fn how_long_a_service_wants_us_to_wait_counts_after_a_loss_too() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    enters(&ada, &room);
    sim.advance(secs(5));
    let asked = || sim.sfu(|sfu| sfu.asked_for_tokens());
    let wait = TokenFault::RateLimited { retry_after: Some(secs(60)) };
    sim.sfu(|sfu| sfu.refuse_tokens(Some(wait)));
    sim.set_sfu_down(true);
    sim.advance(secs(3));
    assert_eq!(asked(), 2, "{}", sim.column());
    sim.set_sfu_down(false);
    sim.sfu(|sfu| sfu.refuse_tokens(None));
    sim.advance(secs(50));
    assert_eq!(asked(), 2, "{}", sim.column());
    sim.advance(secs(10));
    assert_eq!((asked(), status(&ada)), (3, SfuStatus::Connected), "{}", sim.column());
}

#[test]
fn our_own_first_key_has_the_names_that_our_visit_gives_us() {
    let (sim, room, [ada, ben, _]) = three_with(by_host);
    enters(&ada, &room);
    sim.advance(secs(10));
    enters(&ben, &room);
    sim.advance(secs(20));
    let ours = shown(&ada).ours;
    let visit = shown(&ada).participant(&ours).unwrap().session.clone().unwrap();
    let expected = identities(&ours.user, &ours.device, &visit);
    for device in [&ada, &ben] {
        let owners = device.key_owners();
        let of_ada: Vec<_> = owners.iter().filter(|of| of.participant == ours).collect();
        assert!(!of_ada.is_empty() && of_ada.iter().all(|of| of.identities == expected));
    }
}

// --------------------------------------------------------------------------------- calls of two

#[test]
fn a_call_of_two_makes_way_for_a_call_through_an_sfu_whose_media_is_ours() {
    for (client, held) in [(SfuClient::Host, true), (SfuClient::Application, false)] {
        let config = || {
            let mut config = Config::default();
            config.sfu_client = client;
            config
        };
        let (sim, room, [ada, ben, cleo]) = three_with(config);
        ada.invite(&room, BEN, CallMedia::Voice);
        sim.run_until_quiet();
        ben.answer();
        sim.run_until_quiet();
        assert_eq!(ada.state(), Some(CallState::Connected), "{}", sim.column());
        enters(&ada, &room);
        enters(&cleo, &room);
        sim.advance(secs(5));
        assert_eq!(ada.snapshot().unwrap().hold.by_us, held, "{client:?}\n{}", sim.column());
        assert!(ada.reads(&cleo) && cleo.reads(&ada));
        // In a call whose media is ours whoever calls meets the busy policy.
        let called = ben.command(Command::Call(ben.call().unwrap(), CallCommand::Hangup));
        assert_eq!(called, Verdict::Handled);
        sim.run_until_quiet();
        ben.invite(&room, ADA, CallMedia::Voice);
        sim.advance(secs(1));
        let rings =
            ada.calls().into_iter().any(|call| ada.state_of(call) == Some(CallState::Ringing));
        assert_eq!(rings, !held, "{client:?}\n{}", sim.column());
    }
}

#[test]
fn where_a_call_of_two_stays_alone_a_call_through_an_sfu_is_refused() {
    let config = || {
        let mut config = by_host();
        config.on_answer = OnAnswer::Refuse;
        config
    };
    let (sim, room, [ada, ben, _]) = three_with(config);
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    let call = ada.open_sfu_group(&room, Some(SERVICE));
    let verdict = ada.command(Command::Group(call, GroupCommand::Enter(CallMedia::Voice)));
    assert_eq!(verdict, Verdict::Refused(Refusal::OtherCallConnected));
}

/// What is told of the connection before counts as of this one: nobody can tell.
#[test]
fn who_is_said_to_be_connected_while_it_fails_is_not_for_ever() {
    let (sim, room, [ada, ..]) = three_with(by_host);
    ada.always(OpKind::SfuConnect, Cue::fails(Fault::Unreachable).after(secs(2)));
    let call = enters(&ada, &room);
    sim.advance(secs(1));
    ada.input(Input::Sfu(call, SfuNews::State(SfuState::Connected)));
    sim.advance(secs(60));
    assert_ne!(status(&ada), SfuStatus::Connected, "{}", sim.column());
}
