//! Peers of version 0, and calls between devices of our own.

use matrix_voip::{
    config::{Busy, Config},
    id::{DeviceId, SessionId},
    machine::{
        event::{CallState, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Command, Ignored, Input, MediaSource, Output,
            PeerState, Tell, Verdict,
        },
    },
    wire::call::{Body, Reason},
};

use crate::rig::{
    Rig, Said, answer, candidates, hangup, invite, millis, party, room, said, secs, user,
};

/// Something that a peer of version 0 says: it has no party.
fn old<'a>(call: &'a str, body: Body) -> Said<'a> {
    said("you", call, body).by(None)
}

#[test]
fn a_call_to_a_peer_of_version_0_runs_from_invite_to_hangup() {
    let (mut rig, session) = Rig::new().calling();
    let id = rig.call_id(session);
    rig.hear("r", old(&id, candidates(2)));
    assert_eq!(rig.hear("r", old(&id, answer())), Verdict::Handled);
    rig.peer(session, PeerState::Connected);
    rig.command(session, CallCommand::Mute(MediaSource::Microphone));
    assert_eq!(rig.hear("r", old(&id, candidates(1))), Verdict::Handled);
    let unknown = ["select_answer", "sdp_stream_metadata_changed", "negotiate", "reject"];
    assert!(rig.sent().iter().all(|event| !unknown.contains(event)), "{:?}", rig.sent());
    let other = rig.hear("r", said("you", &id, hangup()));
    assert_eq!(other, Verdict::Ignored(Ignored::WrongParty), "another device of theirs");
    assert_eq!(rig.hear("r", old(&id, hangup())), Verdict::Handled);
    assert_eq!(rig.state(session), None);
    assert!(!rig.sent().contains(&"hangup"), "it is not echoed");
}

#[test]
fn a_call_from_a_peer_of_version_0_runs_from_invite_to_hangup() {
    let mut rig = Rig::new();
    let session = rig.started("r", old("c", invite()));
    rig.hear("r", old("c", candidates(2)));
    rig.command(session, CallCommand::Answer(None));
    rig.pass(millis(200));
    rig.peer(session, PeerState::Connected);
    assert_eq!(rig.state(session), Some(CallState::Connected));
    rig.command(session, CallCommand::Hangup);
    assert_eq!(rig.sent().last(), Some(&"hangup"));
}

#[test]
fn a_caller_of_version_0_is_refused_in_words_that_it_knows() {
    let mut rig = Rig::new();
    let session = rig.started("r", old("c", invite()));
    rig.command(session, CallCommand::Reject(Tell::Everyone));
    assert_eq!(rig.sent(), ["hangup"]);
    let mut config = Config::default();
    config.busy = Busy::Reject;
    let (mut rig, _) = Rig::with(config).talking();
    rig.ops.clear();
    rig.hear("r", said("carl", "d", invite()).by(None));
    assert_eq!(rig.sent(), ["hangup"]);
}

#[test]
fn a_caller_of_version_0_stops_our_ringing_and_so_does_our_other_device() {
    for (sender, party) in [("you", None), ("me", Some("second")), ("me", None)] {
        let mut rig = Rig::new();
        let session = rig.started("r", old("c", invite()));
        rig.hear("r", said(sender, "c", hangup()).by(party));
        assert_eq!(rig.state(session), None, "{sender} {party:?}");
        let missed = rig.told.iter().any(|o| matches!(o, Output::Voip(VoipEvent::Missed { .. })));
        assert_eq!(missed, sender == "you");
    }
}

/// We call our own device `OTHER`.
fn to_ourselves() -> (Rig, SessionId) {
    let mut rig = Rig::new();
    let callee = Callee::Device(user("me"), DeviceId::parse("OTHER").unwrap());
    let place = Command::Invite { room: room("r"), callee, media: CallMedia::Voice };
    let Verdict::Started(session) = rig.input(Input::Command(place)) else { panic!() };
    rig.pass(millis(200));
    (rig, session)
}

/// An event of one of our devices, whose encryption proves the device.
fn from_device(rig: &mut Rig, device: &str, call: &str, body: Body) -> Verdict {
    let mut event = rig.event(said("me", call, body).by(Some(device)));
    event.facts.device = Some(DeviceId::parse(device).unwrap());
    rig.deliver("r", vec![event]).remove(0)
}

#[test]
fn a_third_device_of_ours_cannot_answer_refuse_or_end_a_call_between_two_others() {
    for body in [answer(), Body::Reject { reason: None }, hangup()] {
        let (mut rig, session) = to_ourselves();
        let id = rig.call_id(session);
        let verdict = from_device(&mut rig, "THIRD", &id, body);
        assert_eq!(verdict, Verdict::Ignored(Ignored::WrongParty));
        assert_eq!(rig.state(session), Some(CallState::InviteSent));
        assert_eq!(from_device(&mut rig, "OTHER", &id, answer()), Verdict::Handled);
        assert_eq!(from_device(&mut rig, "OTHER", &id, hangup()), Verdict::Handled);
        assert_eq!(rig.state(session), None);
    }
}

#[test]
fn a_call_from_our_other_device_rings_only_where_it_names_us() {
    for (device, rings) in [(None, false), (Some("THIRD"), false), (Some("MINE"), true)] {
        let Body::Invite(mut body) = invite() else { unreachable!() };
        body.invitee_device = device.map(|device| DeviceId::parse(device).unwrap());
        let mut rig = Rig::new();
        let verdict = from_device(&mut rig, "OTHER", "c", Body::Invite(body));
        assert_eq!(matches!(verdict, Verdict::Started(_)), rings, "{device:?}");
        if let Verdict::Started(session) = verdict {
            from_device(&mut rig, "OTHER", "c", hangup());
            assert_eq!(rig.state(session), None);
        }
    }
}

#[test]
fn both_devices_answer_and_the_caller_chooses_the_other() {
    let mut rig = Rig::new();
    let session = rig.started("r", said("you", "c", invite()));
    rig.command(session, CallCommand::Answer(None));
    rig.pass(millis(200));
    let late = rig.hear("r", said("me", "c", answer()).by(Some("second")));
    assert_eq!(late, Verdict::Ignored(Ignored::WrongState));
    let select = Body::SelectAnswer { selected: party("second") };
    assert_eq!(rig.hear("r", said("you", "c", select)), Verdict::Handled);
    assert_eq!(rig.state(session), None);
    assert!(!rig.sent().contains(&"hangup"), "the other device talks: {:?}", rig.sent());
}

#[test]
fn of_two_answers_the_first_wins_and_the_other_party_cannot_end_the_call() {
    let (mut rig, session) = Rig::new().calling();
    let id = rig.call_id(session);
    rig.hear("r", said("you", &id, answer()).by(Some("a")));
    let second = rig.hear("r", said("you", &id, answer()).by(Some("b")));
    assert_eq!(second, Verdict::Ignored(Ignored::WrongParty));
    let bodies =
        [hangup(), Body::Reject { reason: None }, Body::Hangup { reason: Some(Reason::Replaced) }];
    for body in bodies {
        let verdict = rig.hear("r", said("you", &id, body).by(Some("b")));
        assert_eq!(verdict, Verdict::Ignored(Ignored::WrongParty));
    }
    rig.pass(secs(1));
    assert_eq!(rig.state(session), Some(CallState::Connecting));
    let selects = rig.sent().iter().filter(|event| **event == "select_answer").count();
    assert_eq!(selects, 1);
}
