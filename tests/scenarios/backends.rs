//! The same program over either backend: a mesh, and an SFU. Whatever is done and seen here is done
//! and seen in the same words; only how the call is opened differs.

use matrix_voip::{
    CallMedia, Config, Connection, GroupCallId, GroupSnapshot, GroupState, MediaSource,
    ParticipantId, SfuClient,
    id::RoomId,
    machine::io::GroupCommand,
    testing::{Device, Habits, Sim, secs},
    wire::metadata::Purpose,
};

use crate::{
    common::{ADA, BEN},
    sfu::SERVICE,
};

const CLEO: &str = "@cleo:example";

/// What a call goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Mesh,
    Sfu,
}

/// Three devices in one room.
struct House {
    over: Over,
    sim: Sim,
    room: RoomId,
}

impl House {
    fn enter(&self, device: &Device) {
        let call = match self.over {
            Over::Mesh => device.open_group(&self.room, GroupCallId::room()),
            Over::Sfu => device.open_sfu_group(&self.room, Some(SERVICE)),
        };
        device.group(call, GroupCommand::Enter(CallMedia::Voice));
        self.sim.advance(secs(5));
    }

    fn says(&self, device: &Device, voice: i8) {
        match self.over {
            Over::Mesh => device.set_habits(Habits { voice, ..Habits::default() }),
            Over::Sfu => device.speaks(voice),
        }
        self.sim.advance(secs(12));
    }

    fn sources(&self, device: &Device) -> Vec<(MediaSource, bool)> {
        let tracks = match self.over {
            Over::Mesh => device.tracks(),
            Over::Sfu => device.sfu_tracks(),
        };
        tracks.iter().map(|track| (track.capture.source, track.enabled)).collect()
    }

    /// Nothing is connected or open.
    fn is_closed(&self, device: &Device) -> bool {
        device.peers().is_empty() && device.tracks().is_empty() && !device.is_at_sfu()
    }

    fn told(&self) -> String {
        format!("{:?}\n{}", self.over, self.sim.column())
    }
}

fn act(device: &Device, command: GroupCommand) {
    device.group(*device.groups().last().unwrap(), command);
}

fn shown(device: &Device) -> GroupSnapshot {
    device.group_snapshot(*device.groups().last().unwrap()).unwrap()
}

fn id(device: &Device) -> ParticipantId {
    let identity = device.identity();
    ParticipantId { user: identity.user, device: identity.device }
}

/// What one sees of another: purpose, whether sound and picture are muted.
fn seen(by: &Device, of: &Device) -> Vec<(Purpose, bool, bool)> {
    let streams = shown(by).streams.get(&id(of)).cloned().unwrap_or_default();
    streams.into_iter().map(|it| (it.purpose, it.audio_muted, it.video_muted)).collect()
}

fn meet(house: &House, devices: &[&Device]) {
    for device in devices {
        let shown = shown(device);
        assert_eq!(shown.state, GroupState::Entered, "{}", house.told());
        assert_eq!(shown.participants.len(), devices.len(), "{}", house.told());
        let connected = shown.connections.values().filter(|it| **it == Connection::Connected);
        assert_eq!(connected.count(), devices.len() - 1, "{}", house.told());
    }
}

/// The program.
fn a_meeting(over: Over) {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", [ADA, BEN, CLEO]);
    let config = || {
        let mut config = Config::default();
        config.sfu_client = SfuClient::Host;
        config
    };
    let [ada, ben, cleo] = [ADA, BEN, CLEO].map(|user| sim.user(user).device_with("D", config()));
    sim.run_until_quiet();
    let house = House { over, sim, room };

    // Participants.
    house.enter(&ada);
    house.enter(&ben);
    meet(&house, &[&ada, &ben]);
    assert_eq!((seen(&ada, &ben), seen(&ben, &ada)), (voice(false), voice(false)));

    // Mute, and who comes later sees it.
    act(&ada, GroupCommand::Mute(MediaSource::Microphone));
    house.sim.advance(secs(2));
    assert_eq!(house.sources(&ada), [(MediaSource::Microphone, false)]);
    house.enter(&cleo);
    meet(&house, &[&ada, &ben, &cleo]);
    for device in [&ben, &cleo] {
        assert_eq!(seen(device, &ada), voice(true), "{}", house.told());
    }
    assert!(shown(&ada).muted[&MediaSource::Microphone]);
    act(&ada, GroupCommand::Unmute(MediaSource::Microphone));
    house.sim.advance(secs(2));
    assert_eq!(seen(&cleo, &ada), voice(false), "{}", house.told());

    a_screen(&house, [&ada, &ben, &cleo]);
    a_hold(&house, &ada);
    a_speaker(&house, [&ada, &ben, &cleo]);
    the_end(&house, [&ada, &ben]);
}

fn voice(muted: bool) -> Vec<(Purpose, bool, bool)> {
    vec![(Purpose::UserMedia, muted, true)]
}

/// A screen, and a camera beside it.
fn a_screen(house: &House, [_, ben, cleo]: [&Device; 3]) {
    act(ben, GroupCommand::Start(MediaSource::Screen));
    act(ben, GroupCommand::Start(MediaSource::Camera));
    house.sim.advance(secs(3));
    let both = [(Purpose::Screenshare, true, false), (Purpose::UserMedia, false, false)];
    let mut of_ben = seen(cleo, ben);
    of_ben.sort();
    let mut expected = both.to_vec();
    expected.sort();
    assert_eq!(of_ben, expected, "{}", house.told());
    act(ben, GroupCommand::Stop(MediaSource::Screen));
    act(ben, GroupCommand::Stop(MediaSource::Camera));
    house.sim.advance(secs(3));
    assert_eq!(seen(cleo, ben), voice(false), "{}", house.told());
    assert_eq!(house.sources(ben), [(MediaSource::Microphone, true)]);
}

fn a_hold(house: &House, ada: &Device) {
    act(ada, GroupCommand::Hold);
    house.sim.advance(secs(2));
    assert!(shown(ada).held && house.sources(ada) == [(MediaSource::Microphone, false)]);
    act(ada, GroupCommand::Unhold);
    house.sim.advance(secs(2));
    assert!(!shown(ada).held && house.sources(ada) == [(MediaSource::Microphone, true)]);
}

fn a_speaker(house: &House, [ada, ben, cleo]: [&Device; 3]) {
    let speaker = |device: &Device| shown(device).active_speaker;
    house.says(cleo, -20);
    assert_eq!((speaker(ada), speaker(ben)), (Some(id(cleo)), Some(id(cleo))));
    assert_ne!(speaker(cleo), Some(id(cleo)), "nobody hears himself");
    act(cleo, GroupCommand::Leave);
    house.sim.advance(secs(3));
    assert_eq!(speaker(ada), None, "{}", house.told());
    assert!(house.is_closed(cleo), "{}", house.told());
    meet(house, &[ada, ben]);
}

fn the_end(house: &House, devices: [&Device; 2]) {
    for device in devices {
        act(device, GroupCommand::Leave);
        house.sim.advance(secs(0));
        assert!(house.is_closed(device), "{}", house.told());
    }
    house.sim.run_to_the_end();
}

#[test]
fn the_same_program_runs_over_a_mesh_and_over_an_sfu() {
    for over in [Over::Mesh, Over::Sfu] {
        a_meeting(over);
    }
}
