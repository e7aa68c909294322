//! Random schedules of group calls: users with several devices enter, leave, crash and come back in
//! a world that loses, delays and reorders. When it is quiet everybody sees the same participants,
//! and these are those who are in the call.
//!
//! `SIM_RUNS=200000 cargo test --features testing --test group_simulation`; `schedules/mod.rs` says
//! how else they are played.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod schedules;

use std::collections::BTreeSet;

use matrix_voip::{
    Backend, Config, Connection, GroupCallId, GroupState, MediaSource, MemberKey, ParticipantId,
    id::{RoomId, SessionId},
    machine::io::{
        CallMedia, Command, Fault, GroupCommand, Input, Lifecycle, Network, PeerState, Verdict,
    },
    testing::{Cue, Device, Dice, OpKind, Sim, millis, secs},
    wire::member::DEFAULT_APPLICATION,
};

/// Schedules in an ordinary run.
const RUNS: u64 = 5_000;

/// Schedules that failed once: the seed, and the steps that it took.
const REGRESSIONS: [(u64, &[usize]); 5] = [
    // A refresh kept the other device's membership as it was seen last, until it expired.
    (48, &[1, 2]),
    // Two devices that woke together wrote over each other for ever.
    (148, &[1, 5, 6]),
    // What a dead process left was kept in the ledger when it was believed no more.
    (1029, &[5, 7, 11, 12]),
    // The same where the retract was done, and the answer was lost.
    (4827, &[6, 8, 10, 11]),
    // Two devices that left together took each other's entry away for ever.
    (749, &[11, 23]),
];

#[test]
fn whatever_happens_everybody_sees_the_same_participants_in_the_end() {
    schedules::run(
        play,
        RUNS,
        &["is entered", "is leaving", "is idle", "sees a group call", "is connected to "],
    );
}

#[test]
fn what_failed_once_fails_no_more() {
    for (seed, steps) in REGRESSIONS {
        play(seed, steps);
    }
}

/// These steps of one schedule, until nothing will ever happen again.
fn play(seed: u64, steps: &[usize]) -> Sim {
    let mut stage = Stage::new(seed);
    for step in steps {
        stage.dice = schedules::dice(seed, *step);
        stage.scene();
        let longest = *stage.dice.one_of(&[millis(20), millis(200), secs(3), secs(90)]);
        let pause = stage.dice.span(longest);
        stage.sim.advance(pause);
    }
    // Whatever somebody left behind without a word is gone by then, and what failed was tried again.
    stage.sim.advance(secs(700));
    stage.agree();
    stage.leave_all();
    stage.sim
}

struct Stage {
    sim: Sim,
    dice: Dice,
    rooms: [RoomId; 2],
    devices: Vec<Device>,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x6107);
        let sim = schedules::world(seed);
        let users: Vec<String> =
            (0..dice.below(3) + 2).map(|user| format!("@user{user}:example")).collect();
        let rooms = ["!room:example", "!another:example"];
        let rooms = rooms.map(|room| sim.room(room, users.iter().map(String::as_str)));
        if dice.percent(40) {
            sim.server(|server| server.encrypt(&rooms[0]));
        }
        let mut devices = Vec::new();
        for user in &users {
            for device in 0..dice.below(2) + 1 {
                let mut config = Config::default();
                // Nobody listens here, and looking takes its time.
                config.timeouts.speaker = millis(0);
                config.member_key = *dice.one_of(&[MemberKey::Protected, MemberKey::Device]);
                devices.push(sim.user(user).device_with(&format!("D{device}"), config));
            }
        }
        sim.run_until_quiet();
        schedules::set_delays(&sim, &mut dice, &users, millis(400));
        Self { sim, dice, rooms, devices }
    }

    /// Something happens to somebody.
    fn scene(&mut self) {
        let device = self.dice.one_of(&self.devices).clone();
        match self.dice.below(24) {
            0..=7 => self.enter(&device),
            8..=11 => self.command(&device, GroupCommand::Leave),
            12 => self.command(&device, GroupCommand::SetApplication("m.call.video".into())),
            13 | 14 => self.trouble(&device),
            15 => schedules::outage(&self.sim, &mut self.dice, &device, secs(200)),
            16 => self.crash(&device),
            17 => self.leave_room(&device),
            18 => self.sleep(&device),
            19 => drop(device.input(Input::Network(Network::Back))),
            20 | 21 => {
                let source = *self.dice.one_of(&[MediaSource::Microphone, MediaSource::Screen]);
                let commands = [
                    GroupCommand::Mute(source),
                    GroupCommand::Unmute(source),
                    GroupCommand::Start(source),
                    GroupCommand::Stop(source),
                    GroupCommand::Hold,
                    GroupCommand::Unhold,
                ];
                let command = self.dice.one_of(&commands).clone();
                self.command(&device, command);
            }
            22 => self.fail_media(&device),
            _ => self.lose_keys(&device),
        }
    }

    fn enter(&mut self, device: &Device) {
        let room = self.dice.one_of(&self.rooms).clone();
        let calls = [GroupCallId::room(), GroupCallId::room(), GroupCallId::among_users("A:B")];
        let call = self.dice.one_of(&calls).clone();
        if !device.is_running() {
            return;
        }
        let (backend, application) = (Backend::Mesh, DEFAULT_APPLICATION.to_owned());
        // Who has not heard yet that he is in the room again is refused.
        let opened = device.command(Command::OpenGroup { room, call, backend, application });
        if let Verdict::Started(session) = opened {
            device.command(Command::Group(session, GroupCommand::Enter(CallMedia::Voice)));
        }
    }

    fn command(&mut self, device: &Device, command: GroupCommand) {
        let calls = device.groups();
        if device.is_running() && !calls.is_empty() {
            let session = *self.dice.one_of(&calls);
            device.command(Command::Group(session, command));
        }
    }

    /// The way to the homeserver gives trouble.
    fn trouble(&mut self, device: &Device) {
        let cue = schedules::trouble(&mut self.dice);
        let kinds = [OpKind::SendState, OpKind::SendToDevice, OpKind::SendToDevice, OpKind::State];
        device.next(*self.dice.one_of(&kinds), cue);
    }

    /// The engine cannot do something, or a connection breaks.
    fn fail_media(&mut self, device: &Device) {
        let kinds = [
            OpKind::Open,
            OpKind::Offer,
            OpKind::Answer,
            OpKind::SetRemote,
            OpKind::SetLocal,
            OpKind::Capture,
            OpKind::Turn,
        ];
        match self.dice.below(3) {
            0 => device.force(PeerState::Failed),
            1 => device.force(PeerState::Disconnected),
            _ => device.next(*self.dice.one_of(&kinds), Cue::fails(Fault::Unsupported)),
        }
    }

    /// The keys of a device are not known for a while.
    fn lose_keys(&mut self, device: &Device) {
        let keys = device.identity();
        self.sim.server(|server| server.set_device_keys(&keys, false));
        let span = self.dice.span(secs(40));
        self.sim.advance(span);
        self.sim.server(|server| server.set_device_keys(&keys, true));
        for other in &self.devices {
            if self.dice.percent(50) {
                other.input(Input::DeviceKeys(device.identity().user));
            }
        }
    }

    fn crash(&mut self, device: &Device) {
        device.crash();
        if self.dice.percent(30) {
            device.forget_ledger();
        }
        let span = self.dice.span(secs(100));
        self.sim.advance(span);
        device.restart();
    }

    /// A user leaves the room and comes back.
    fn leave_room(&mut self, device: &Device) {
        let (user, room) = (device.identity().user, self.dice.one_of(&self.rooms).clone());
        self.sim.server(|server| server.leave(&room, &user));
        let span = self.dice.span(secs(5));
        self.sim.advance(span);
        self.sim.server(|server| server.join(&room, &user));
    }

    /// All machines sleep: the wall clock goes on.
    fn sleep(&mut self, device: &Device) {
        let span = self.dice.span(secs(500));
        self.sim.suspend(span);
        device.input(Input::Lifecycle(Lifecycle::Foreground));
    }

    /// Everybody sees exactly those who are in the call.
    fn agree(&self) {
        let mut entered = BTreeSet::new();
        for device in &self.devices {
            for (_, shown) in calls(device) {
                let settled = matches!(shown.state, GroupState::Idle | GroupState::Entered);
                assert!(settled, "{} is {} for ever\n{}", device.name(), shown.state, self.told());
                if shown.state == GroupState::Entered {
                    entered.insert((shown.room, shown.call, myself(device)));
                }
            }
        }
        for device in &self.devices {
            let seen: BTreeSet<_> = calls(device)
                .into_iter()
                .flat_map(|(_, shown)| {
                    let (room, call) = (shown.room, shown.call);
                    let all = shown.participants.into_iter();
                    all.map(move |one| (room.clone(), call.clone(), one.id)).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(seen, entered, "{} sees others\n{}", device.name(), self.told());
        }
        for device in &self.devices {
            self.meets_all(device);
        }
    }

    /// To each other member there is exactly one leg, and it is connected.
    fn meets_all(&self, device: &Device) {
        let mut legs = 0;
        for (_, shown) in calls(device) {
            let others = shown.participants.iter().filter(|one| one.id != myself(device));
            for other in others.filter(|_| shown.state == GroupState::Entered) {
                let connection = shown.connections.get(&other.id);
                let connected = connection == Some(&Connection::Connected);
                assert!(
                    connected,
                    "{} to {:?}: {connection:?}\n{}",
                    device.name(),
                    other.id,
                    self.told()
                );
                legs += 1;
            }
        }
        let peers = if device.is_running() { device.peers().len() } else { 0 };
        assert_eq!(peers, legs, "{} has other connections\n{}", device.name(), self.told());
    }

    /// Everybody leaves: nothing may be left, neither in the rooms nor in the engines.
    fn leave_all(&self) {
        for device in &self.devices {
            for (session, _) in calls(device) {
                device.command(Command::Group(session, GroupCommand::Leave));
            }
        }
        self.sim.run_to_the_end();
        for device in &self.devices {
            assert!(calls(device).is_empty(), "{} has calls\n{}", device.name(), self.told());
            assert!(device.engine(|engine| engine.poll_timeout().is_none()));
            let ghosts = device.ledger().map(|ledger| ledger.memberships).unwrap_or_default();
            assert!(ghosts.is_empty(), "{} keeps {ghosts:?}\n{}", device.name(), self.told());
        }
    }

    fn told(&self) -> String {
        self.sim.column().to_string()
    }
}

/// The group calls that live.
fn calls(device: &Device) -> Vec<(SessionId, matrix_voip::GroupSnapshot)> {
    let all = device.groups().into_iter();
    let all = all.filter_map(|session| Some((session, device.group_snapshot(session)?)));
    all.filter(|(_, shown)| shown.end.is_none()).collect()
}

fn myself(device: &Device) -> ParticipantId {
    let identity = device.identity();
    ParticipantId { user: identity.user, device: identity.device }
}
