//! Group calls through an SFU to which the application connects by itself: what it is told, and what is
//! shown of what it tells.

use matrix_voip::{
    Config, Connection, GroupEvent, MediaSource, SfuClient, SfuLoss, SfuStatus, SfuTask,
    TokenFault,
    machine::io::{
        Command, GroupCommand, Ignored, Input, Network, Refusal, SfuNews, SfuState, SfuTrack, Slot,
        Speaking, Verdict,
    },
    testing::{Device, secs},
};

use crate::{
    common::BEN,
    sfu::{enters, leaves, shown, status, three_with},
};

#[test]
fn an_application_that_connects_by_itself_gets_tokens_and_keys_and_its_media_is_its_own() {
    let (sim, room, [ada, ben, _]) = three_with(Config::default);
    assert_eq!(Config::default().sfu_client, SfuClient::Application);
    sim.sfu(|sfu| sfu.set_lifetime(Some(secs(600))));
    let calls = [&ada, &ben].map(|device| enters(device, &room));
    sim.advance(secs(10));
    assert_eq!(status(&ada), SfuStatus::HandedOver);
    let token = shown(&ada).token.unwrap();
    assert!(token.jwt.expose().starts_with("fake.token") && !token.url.is_empty());
    assert!(ada.reads(&ben) && ben.reads(&ada), "{}", sim.column());
    assert!(!ada.is_at_sfu() && ada.tracks().is_empty(), "{}", sim.column());
    for command in [
        GroupCommand::Mute(MediaSource::Microphone),
        GroupCommand::Unmute(MediaSource::Microphone),
        GroupCommand::Hold,
        GroupCommand::Start(MediaSource::Screen),
        GroupCommand::Stop(MediaSource::Screen),
    ] {
        let verdict = ada.command(Command::Group(calls[0], command.clone()));
        assert_eq!(verdict, Verdict::Refused(Refusal::MediaNotOurs), "{command:?}");
    }
    // What it tells of its connection is shown as if it were the host's.
    let tell = |news| assert_eq!(ada.input(Input::Sfu(calls[0], news)), Verdict::Handled);
    tell(SfuNews::State(SfuState::Connected));
    let identity = format!("{BEN}:D");
    tell(SfuNews::Joined(identity.clone()));
    let track = SfuTrack { id: "TR".into(), slot: Slot::Video, muted: true, encrypted: true };
    tell(SfuNews::Published(identity.clone(), track));
    tell(SfuNews::Speakers(vec![Speaking { identity, level: -20 }]));
    let now = shown(&ada);
    assert_eq!(now.sfu, SfuStatus::Connected);
    assert!(now.connections.values().all(|it| *it == Connection::Connected));
    assert_eq!(now.streams.values().flatten().filter(|stream| stream.video_muted).count(), 1);
    assert_eq!(now.active_speaker.unwrap().user.as_str(), BEN);
    // A fresh token comes before the old one expires; who lost his way is told so, and left to himself.
    sim.advance(secs(540));
    let ready = |event: &GroupEvent| {
        matches!(event, GroupEvent::SfuTask(SfuTask::Connect(_) | SfuTask::Renew(_)))
    };
    let tokens = || ada.group_events(calls[0]).iter().filter(|it| ready(it)).count();
    assert_eq!(tokens(), 2);
    tell(SfuNews::State(SfuState::Lost(SfuLoss::TokenRefused)));
    sim.advance(secs(1));
    assert_eq!(tokens(), 3, "{}", sim.column());
    tell(SfuNews::State(SfuState::Connected));
    leaves(&ada);
    assert_eq!((status(&ada), shown(&ada).token), (SfuStatus::Off, None));
}

/// The token that the application has is good for a minute more when a fresh one is fetched.
#[test]
fn who_has_a_good_token_notices_no_fault_of_the_next_until_it_is_over() {
    let (sim, room, [ada, _, _]) = three_with(Config::default);
    sim.sfu(|sfu| sfu.set_lifetime(Some(secs(600))));
    let call = enters(&ada, &room);
    sim.advance(secs(500));
    sim.sfu(|sfu| sfu.refuse_tokens(Some(TokenFault::NotReached)));
    sim.advance(secs(95));
    assert_eq!(status(&ada), SfuStatus::HandedOver, "{}", sim.column());
    sim.advance(secs(30));
    assert_eq!(status(&ada), SfuStatus::NoToken(TokenFault::NotReached), "{}", sim.column());
    sim.sfu(|sfu| sfu.refuse_tokens(None));
    sim.advance(secs(30));
    assert_eq!(status(&ada), SfuStatus::HandedOver, "{}", sim.column());
    let ready = |event: &&GroupEvent| {
        matches!(event, GroupEvent::SfuTask(SfuTask::Connect(_) | SfuTask::Renew(_)))
    };
    assert_eq!(ada.group_events(call).iter().filter(ready).count(), 2);
}

/// A refresh that is refused once, while the application is connected: nobody notices, and nothing is
/// given up.
#[test]
fn a_refresh_that_was_given_up_is_made_up_for() {
    let ready = |event: &GroupEvent| {
        matches!(event, GroupEvent::SfuTask(SfuTask::Connect(_) | SfuTask::Renew(_)))
    };
    for rescue in ["refused", "membership", "network"] {
        let (sim, room, [ada, _, _]) = three_with(Config::default);
        sim.sfu(|sfu| sfu.set_lifetime(Some(secs(590))));
        let call = enters(&ada, &room);
        let connected = SfuNews::State(SfuState::Connected);
        sim.advance(secs(5));
        assert_eq!(ada.input(Input::Sfu(call, connected)), Verdict::Handled);
        sim.advance(secs(520));
        sim.sfu(|sfu| sfu.refuse_tokens(Some(TokenFault::NotBelieved)));
        sim.advance(secs(10));
        sim.sfu(|sfu| sfu.refuse_tokens(None));
        let tokens = || ada.group_events(call).iter().filter(|it| ready(it)).count();
        assert_eq!((tokens(), status(&ada)), (1, SfuStatus::Connected), "{}", sim.column());
        match rescue {
            "refused" => {
                let lost = SfuNews::State(SfuState::Lost(SfuLoss::TokenRefused));
                ada.input(Input::Sfu(call, lost));
            }
            "network" => {
                ada.input(Input::Network(Network::Back));
            }
            _ => sim.advance(secs(120)),
        }
        sim.advance(secs(1));
        assert_eq!(tokens(), 2, "{rescue}\n{}", sim.column());
    }
}

/// What was tried in vain before counts for nothing at another focus, or with another connection.
#[test]
fn each_loss_has_all_tries_of_a_token_anew() {
    let (sim, room, [ada, _, _]) = three_with(Config::default);
    let call = enters(&ada, &room);
    sim.advance(secs(5));
    sim.sfu(|sfu| sfu.refuse_tokens(Some(TokenFault::NotReached)));
    ada.input(Input::Sfu(call, SfuNews::State(SfuState::Lost(SfuLoss::TokenRefused))));
    sim.advance(secs(600));
    let asked = sim.sfu(|sfu| sfu.asked_for_tokens());
    ada.input(Input::Sfu(call, SfuNews::State(SfuState::Lost(SfuLoss::TokenRefused))));
    sim.advance(secs(40));
    let tries = sim.sfu(|sfu| sfu.asked_for_tokens()) - asked;
    assert!((3..8).contains(&tries), "{tries}\n{}", sim.column());
}

/// What the application was told to do at the SFU.
fn tasks(device: &Device) -> Vec<&'static str> {
    let call = *device.groups().last().unwrap();
    let task = |event: GroupEvent| match event {
        GroupEvent::SfuTask(SfuTask::Connect(_)) => Some("connect"),
        GroupEvent::SfuTask(SfuTask::Renew(_)) => Some("renew"),
        GroupEvent::SfuTask(SfuTask::Disconnect) => Some("disconnect"),
        _ => None,
    };
    device.group_events(call).into_iter().filter_map(task).collect()
}

#[test]
fn an_application_that_connects_by_itself_is_told_when_to() {
    let (sim, room, [ada, ben, _]) = three_with(Config::default);
    sim.sfu(|sfu| sfu.set_lifetime(Some(secs(600))));
    let call = enters(&ada, &room);
    enters(&ben, &room);
    sim.advance(secs(600));
    assert_eq!(tasks(&ada), ["connect", "renew"], "{}", sim.column());
    // It reports nothing but that it was refused: with a fresh token it connects.
    ada.input(Input::Sfu(call, SfuNews::State(SfuState::Lost(SfuLoss::TokenRefused))));
    sim.advance(secs(1));
    assert_eq!(tasks(&ada)[2..], ["connect"], "{}", sim.column());
    // It comes back by itself: the next token is for later.
    for state in [SfuState::Lost(SfuLoss::Unreachable), SfuState::Connected] {
        ada.input(Input::Sfu(call, SfuNews::State(state)));
    }
    sim.advance(secs(600));
    assert_eq!(tasks(&ada)[3..], ["renew"], "{}", sim.column());
    leaves(&ada);
    assert_eq!((tasks(&ada)[4..].to_vec(), shown(&ada).token), (vec!["disconnect"], None));
}

#[test]
fn what_anybody_could_have_sent_is_not_shown_in_a_call_with_keys() {
    let (sim, room, [ada, ben, _]) = three_with(Config::default);
    let calls = [&ada, &ben].map(|device| enters(device, &room));
    sim.advance(secs(10));
    let track = SfuTrack { id: "TR".into(), slot: Slot::Audio, muted: false, encrypted: false };
    let plain = Input::Sfu(calls[0], SfuNews::Published(format!("{BEN}:D"), track));
    assert_eq!(ada.input(plain), Verdict::Ignored(Ignored::NotEncrypted));
    assert_eq!((ada.ignored(Ignored::NotEncrypted), shown(&ada).streams.len()), (1, 0));
    // Nor is one that was encrypted before.
    let publish = |encrypted| {
        let track = SfuTrack { id: "TR".into(), slot: Slot::Audio, muted: false, encrypted };
        ada.input(Input::Sfu(calls[0], SfuNews::Published(format!("{BEN}:D"), track)))
    };
    assert_eq!((publish(true), shown(&ada).streams.len()), (Verdict::Handled, 1));
    let plain = publish(false);
    assert_eq!((plain, shown(&ada).streams.len()), (Verdict::Ignored(Ignored::NotEncrypted), 0));
}
