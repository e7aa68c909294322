//! Encrypted rooms: every feature of a call, and what is refused there.

use matrix_voip::{
    config::{Config, Unverified},
    id::DeviceId,
    machine::{
        event::{CallState, Side, VoipEvent},
        io::{CallCommand, CallMedia, Ignored, MediaKind, MediaSource, Tones, Verdict},
    },
    testing::{Sim, secs},
    wire::{
        delivery::{Batch, Place, Protection},
        metadata::Purpose,
    },
};

use crate::common::{ADA, BEN, Two};

fn connected() -> Two {
    let sim = Sim::new(51);
    let room = sim.room("!room:example", [ADA, BEN]);
    sim.server(|server| server.encrypt(&room));
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected), "{}", sim.column());
    Two { sim, room, ada, ben }
}

#[test]
fn everything_that_a_call_can_do_works_in_an_encrypted_room() {
    let Two { sim, ada, ben, .. } = connected();
    for (one, other) in [(&ada, &ben), (&ben, &ada)] {
        let act = |command| {
            one.act(command);
            sim.run_until_quiet();
        };
        act(CallCommand::Hold);
        assert!(other.snapshot().unwrap().hold.by_them);
        act(CallCommand::Unhold);
        assert!(!other.snapshot().unwrap().hold.by_them);
        act(CallCommand::Mute(MediaSource::Microphone));
        let theirs = other.snapshot().unwrap();
        assert!(theirs.stream(Side::Remote, &Purpose::UserMedia).unwrap().audio_muted);
        act(CallCommand::Unmute(MediaSource::Microphone));
        act(CallCommand::Start(MediaSource::Camera));
        let theirs = other.snapshot().unwrap();
        let picture = theirs.stream(Side::Remote, &Purpose::UserMedia).unwrap();
        assert!(picture.kinds.contains(&MediaKind::Video));
        act(CallCommand::Start(MediaSource::Screen));
        let theirs = other.snapshot().unwrap();
        assert!(theirs.stream(Side::Remote, &Purpose::Screenshare).is_some());
        act(CallCommand::Stop(MediaSource::Screen));
        act(CallCommand::Dtmf(Tones::parse("12#").unwrap()));
        act(CallCommand::RestartIce);
        assert_eq!(other.state(), Some(CallState::Connected), "{}", sim.column());
    }
    for device in [&ada, &ben] {
        for reason in [Ignored::PlaintextInEncryptedRoom, Ignored::WrongParty] {
            assert_eq!(device.ignored(reason), 0);
        }
    }
    ben.hangup();
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Ended));
}

/// An invite from a device that nobody has verified, under each policy.
#[test]
fn unverified_devices_are_allowed_warned_of_or_refused_as_the_policy_says() {
    for policy in [Unverified::Allow, Unverified::Warn, Unverified::Refuse] {
        let sim = Sim::new(52);
        let room = sim.room("!room:example", [ADA, BEN]);
        sim.server(|server| server.encrypt(&room));
        let mut config = Config::default();
        config.unverified = policy;
        let ada = sim.user(ADA).device_with("PHONE", config);
        let ben = sim.puppet(BEN, "LAPTOP");
        sim.run_until_quiet();
        let mut event = ben.raw("c1", ben.invitation(secs(60)), secs(0));
        event.facts.protection = Protection::Unverified;
        event.facts.device = Some(DeviceId::parse("LAPTOP").unwrap());
        let place = Place::Room { room, encrypted: true };
        let verdict = ada.deliver(Batch { place, events: vec![event] }).remove(0);
        let warned = |event: &VoipEvent| matches!(event, VoipEvent::UnverifiedDevice { .. });
        let warned = ada.voip_events().iter().any(warned);
        assert_eq!(warned, policy == Unverified::Warn, "{policy:?}");
        let refused = verdict == Verdict::Ignored(Ignored::UnverifiedDevice);
        assert_eq!(refused, policy == Unverified::Refuse, "{policy:?}: {verdict:?}");
        assert_eq!(ada.is_ringing(), !refused);
    }
}
