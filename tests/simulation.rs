//! Random schedules: users with several devices do random things in a world that loses, delays,
//! repeats and reorders; after every step the invariants hold, and when it is quiet both ends of
//! every call agree.
//!
//! `SIM_RUNS=1000000 cargo test --features testing --test simulation` plays a million of them, and
//! `schedules/mod.rs` says how else they are played. What was found stands in [`REGRESSIONS`], and as
//! a scenario where it was the machine's fault.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod schedules;

use std::collections::BTreeSet;

use matrix_voip::{
    config::{Busy, Config, Glare, OnAnswer, Proceed},
    id::{DeviceId, InputId, RoomId, SessionId, UserId},
    machine::{
        event::{CallEvent, CallSnapshot, CallState, Side, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Command, Fault, Input, MediaSource, Network, PeerState,
            Tell, Tones, TransferTo,
        },
    },
    testing::{Cue, Device, Dice, Habits, OpKind, Sim, millis, secs},
    wire::call::Body,
};

/// Schedules in an ordinary run.
const RUNS: u64 = 20_000;
/// In the room, but in no call.
const HECKLER: &str = "@heckler:example";

/// Schedules that failed once: the seed, and the steps that it took.
const REGRESSIONS: [(u64, &[usize]); 7] = [
    // Who stopped his microphone took the answer for a hold.
    (237, &[4, 11]),
    // A hold while an answer was being made was told to nobody.
    (7635, &[0, 3, 5]),
    // A call was answered by itself beside one that the user had just answered.
    (9029, &[1, 2, 5, 8, 9, 12, 13]),
    (15199, &[0, 4, 5, 6]),
    // A call to one device left its place to another device, beside a call that was held.
    (65788, &[7, 13, 15, 16, 22, 24, 27]),
    // A line that rests was taken for none: a new one was rejected, and that read as a hold.
    (522_009, &[2, 9, 13, 16, 18]),
    // An id that a stranger used again four minutes later was taken for the call that had ended.
    (985_891, &[0, 1, 5, 6, 7, 9, 11, 15, 17, 21, 22, 23, 24, 25]),
];

#[test]
fn whatever_happens_the_invariants_hold_and_both_ends_agree() {
    schedules::run(play, RUNS, COMMON);
}

/// What a simulation that is worth its name sees often.
const COMMON: &[&str] =
    &["is connected", "rings", "stops ringing (elsewhere)", "ended: local replaced"];

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
        let longest = *stage.dice.one_of(&[millis(20), millis(200), secs(3), secs(30)]);
        let pause = stage.dice.span(longest);
        stage.sim.advance(pause);
    }
    stage.calm();
    stage.agree();
    stage.hang_up();
    stage.sim
}

struct Stage {
    sim: Sim,
    dice: Dice,
    rooms: [RoomId; 2],
    /// Everybody has the default policies.
    by_default: bool,
    users: Vec<String>,
    devices: Vec<Device>,
    /// A save was made to fail: it is made good by the next change, which may never come.
    saves_failed: bool,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let sim = schedules::world(seed);
        let users: Vec<String> =
            (0..dice.below(2) + 2).map(|user| format!("@user{user}:example")).collect();
        let members = users.iter().map(String::as_str).chain([HECKLER]);
        let members: Vec<_> = members.collect();
        let rooms = ["!room:example", "!another:example"];
        let rooms = rooms.map(|room| sim.room(room, members.iter().copied()));
        let by_default = dice.percent(50);
        let mut devices = Vec::new();
        for user in &users {
            for device in 0..dice.below(2) + 1 {
                let config = if by_default { Config::default() } else { config(&mut dice) };
                devices.push(sim.user(user).device_with(&format!("D{device}"), config));
            }
        }
        sim.run_until_quiet();
        sim.server(|server| server.set_rooms_reversed(dice.percent(50)));
        let mut stage = Self { sim, dice, rooms, by_default, users, devices, saves_failed: false };
        schedules::set_delays(&stage.sim, &mut stage.dice, &stage.users, millis(150));
        stage
    }

    /// Something happens to somebody.
    fn scene(&mut self) {
        let device = self.dice.one_of(&self.devices).clone();
        match self.dice.below(44) {
            0..=3 => self.invite(&device),
            4..=6 => self.command(&device, CallCommand::Answer(None)),
            7 => self.command(&device, CallCommand::Answer(Some(CallMedia::Voice))),
            8 => self.command(&device, CallCommand::Reject(Tell::Everyone)),
            9 => self.command(&device, CallCommand::Reject(Tell::Nobody)),
            10 => self.command(&device, CallCommand::Hangup),
            11 => self.command(&device, CallCommand::Mute(MediaSource::Microphone)),
            12 => self.command(&device, CallCommand::Unmute(MediaSource::Microphone)),
            13 => device.redeliver(&self.room(), self.dice.below(6) + 1),
            14 => device.repeat_sync(),
            15 => self.trouble(&device),
            16 => self.engine_trouble(&device),
            17 => schedules::outage(&self.sim, &mut self.dice, &device, secs(40)),
            18 => self.crash(&device),
            19 | 20 => self.heckle(&device),
            21 => self.command(&device, CallCommand::Proceed),
            22 => self.leave(&device),
            23 | 24 => self.network(&device),
            25 => self.follow(&device),
            26..=29 => self.call_of_two(),
            _ => self.in_call(&device),
        }
    }

    fn invite(&mut self, device: &Device) {
        let callee = UserId::parse(self.dice.one_of(&self.users)).unwrap();
        let media = *self.dice.one_of(&[CallMedia::Voice, CallMedia::Video]);
        let room = self.room();
        let callee = match self.dice.below(10) {
            0 => Callee::TheOther,
            1 | 2 => Callee::Device(callee, DeviceId::parse("D0").unwrap()),
            _ => Callee::User(callee),
        };
        device.command(Command::Invite { room, callee, media });
    }

    fn room(&mut self) -> RoomId {
        self.rooms[usize::from(self.dice.percent(15))].clone()
    }

    /// A call that is answered, or most of the rest would meet none.
    fn call_of_two(&mut self) {
        let device = self.dice.one_of(&self.devices).clone();
        self.invite(&device);
        self.sim.advance(millis(600));
        for other in self.devices.clone() {
            if other.is_ringing() && self.dice.percent(80) {
                self.command(&other, CallCommand::Answer(None));
            }
        }
        let pause = self.dice.span(secs(2));
        self.sim.advance(pause);
    }

    /// Something that belongs to a call in which both talk.
    fn in_call(&mut self, device: &Device) {
        use CallCommand as Do;
        let sources = [MediaSource::Microphone, MediaSource::Camera, MediaSource::Screen];
        let source = *self.dice.one_of(&sources);
        let whom = UserId::parse(self.dice.one_of(&self.users)).unwrap();
        let calls = device.calls();
        let command = match self.dice.below(16) {
            0..=2 => Do::Hold,
            3..=5 => Do::Unhold,
            6 | 7 => Do::Start(source),
            8 => Do::Stop(source),
            9 => Do::Switch(source, Some(InputId::parse("another").unwrap())),
            10 => Do::Dtmf(Tones::parse("12#").unwrap()),
            11 => Do::RestartIce,
            12 => Do::Mute(source),
            13 => Do::Unmute(source),
            14 => Do::Transfer(TransferTo::User(whom, Some(self.room()))),
            _ if calls.is_empty() => Do::RestartIce,
            _ => Do::Transfer(TransferTo::Call(*self.dice.one_of(&calls))),
        };
        self.command(device, command);
    }

    /// Does what a transfer asked for.
    fn follow(&mut self, device: &Device) {
        let asked = device.voip_events().into_iter().rev().find_map(|event| match event {
            VoipEvent::TransferRequested { session, transfer } => Some((session, transfer)),
            _ => None,
        });
        if let Some((session, transfer)) = asked {
            let room = self.room();
            device.command(Command::Follow { session, transfer, room, media: CallMedia::Voice });
        }
    }

    fn command(&mut self, device: &Device, command: CallCommand) {
        let calls = device.calls();
        if !calls.is_empty() {
            let session = *self.dice.one_of(&calls);
            device.command_to(session, command);
        }
    }

    /// Somebody in the room, who is in no call, says something about one; nobody may listen.
    fn heckle(&mut self, device: &Device) {
        let calls = device.calls();
        if calls.is_empty() {
            return;
        }
        let session = *self.dice.one_of(&calls);
        let Some(snapshot) = device.snapshot_of(session) else { return };
        let heckler = self.sim.puppet(HECKLER, "H");
        // With a party id of the call, too: what counts is who sends.
        let parties = [Some(snapshot.party_id), snapshot.remote_party, None];
        let heckler = match self.dice.one_of(&parties) {
            Some(party) => heckler.as_party(party.as_str()),
            None => heckler,
        };
        let selected = heckler.party().clone();
        // Whoever claims a call's id before its invite arrived is its caller there. Nobody knows an
        // id so early who is not told by the caller's own homeserver.
        let everybody_knows = matches!(snapshot.state, CallState::Connected | CallState::Ended);
        let body = match self.dice.below(7) {
            0 => Body::Hangup { reason: None },
            1 => Body::Reject { reason: None },
            2 => Body::SelectAnswer { selected },
            3 => heckler.acceptance(),
            4 if everybody_knows => heckler.invitation(secs(60)),
            5 => Body::Candidates(heckler.some_candidates(0..3)),
            _ => Body::MetadataChanged(heckler.metadata()),
        };
        heckler.say(&snapshot.room, snapshot.call_id.as_str(), body);
    }

    /// The way to the homeserver gives trouble.
    fn trouble(&mut self, device: &Device) {
        let cue = schedules::trouble(&mut self.dice);
        device.next(*self.dice.one_of(&[OpKind::SendEvent, OpKind::SendEvent, OpKind::Turn]), cue);
    }

    /// The WebRTC engine gives trouble.
    fn engine_trouble(&mut self, device: &Device) {
        let kinds = [
            OpKind::Capture,
            OpKind::Open,
            OpKind::Offer,
            OpKind::Answer,
            OpKind::SetLocal,
            OpKind::SetRemote,
            OpKind::LocalDescription,
            OpKind::Candidates,
            OpKind::Enable,
            OpKind::Save,
        ];
        let cue = match self.dice.below(6) {
            0 => Cue::denied(),
            1 => Cue::fails(Fault::Failed("on cue".to_owned())),
            2 => Cue::panics(),
            3 => Cue::hangs(),
            _ => Cue::works().after(self.dice.span(secs(3))),
        };
        let kind = *self.dice.one_of(&kinds);
        self.saves_failed |= kind == OpKind::Save;
        device.next(kind, cue);
        let found = [self.dice.span(millis(400)), self.dice.span(secs(2))];
        let gathered = found[0].max(found[1]) + self.dice.span(millis(100));
        let candidates = found.to_vec();
        device.set_habits(Habits { candidates, gathered, ..Habits::default() });
    }

    fn crash(&mut self, device: &Device) {
        if self.dice.percent(50) {
            device.crash();
            if self.dice.percent(30) {
                device.forget_ledger();
            }
            let span = self.dice.span(secs(20));
            self.sim.advance(span);
            device.restart();
        }
    }

    /// A user leaves the room, and sometimes comes back.
    fn leave(&mut self, device: &Device) {
        let user = device.identity().user;
        if self.dice.percent(40) {
            let room = self.room();
            self.sim.server(|server| server.leave(&room, &user));
            let span = self.dice.span(secs(5));
            self.sim.advance(span);
            self.sim.server(|server| server.join(&room, &user));
        }
    }

    fn network(&mut self, device: &Device) {
        match self.dice.below(5) {
            0 => device.force(PeerState::Disconnected),
            1 => device.force(PeerState::Failed),
            2 => drop(device.input(Input::Network(Network::Changed))),
            _ => device.reconnect(),
        }
        if self.dice.percent(20) {
            let span = self.dice.span(secs(70));
            self.sim.suspend(span);
        }
    }

    /// Time for everything to settle, but not for everything to end.
    fn calm(&mut self) {
        for device in &self.devices {
            for session in device.calls() {
                device.command_to(session, CallCommand::Proceed);
            }
        }
        self.sim.advance(secs(400));
    }

    /// When it is quiet nobody is on the way anywhere, and whoever is connected is so with
    /// somebody who is connected in the same call, and both say the same of it.
    fn agree(&self) {
        for device in &self.devices {
            let mut talking = BTreeSet::new();
            for session in device.calls() {
                let snapshot = device.snapshot_of(session).unwrap();
                let state = snapshot.state;
                let settled = matches!(state, CallState::Connected | CallState::Ended);
                self.must(settled, device, &format!("is {state} for ever"));
                if state == CallState::Connected {
                    let with = self.agree_on(device, session, &snapshot);
                    let twice = with.is_some_and(|with| !talking.insert(with));
                    self.must(!twice, device, "has two calls with one user");
                }
            }
        }
    }

    /// Both say the same of it. With default policies: where, and with whom.
    fn agree_on(
        &self,
        device: &Device,
        session: SessionId,
        ours: &CallSnapshot,
    ) -> Option<(RoomId, UserId)> {
        let other = self.other_end(device, ours);
        self.must(other.is_some(), device, "talks alone");
        let (other, theirs) = other?;
        // What could not be agreed on is told to the application, and stays as it was.
        let failed = has_failed(device, session) || has_failed(&other.0, other.1);
        let same = ours.hold.by_us == theirs.hold.by_them && ours.hold.by_them == theirs.hold.by_us;
        let what = format!("says {:?}, the other end {:?}", ours.hold, theirs.hold);
        // Who sends nothing cannot see in an answer whether he is held: the line is the same.
        let silent = sends_nothing(ours) || sends_nothing(&theirs);
        self.must(same || failed || silent, device, &what);
        let with = (ours.room.clone(), ours.remote_user.clone()?);
        self.by_default.then_some(with)
    }

    /// The device, session and view of who is connected in the same call with the same party.
    fn other_end(
        &self,
        device: &Device,
        ours: &CallSnapshot,
    ) -> Option<((Device, SessionId), CallSnapshot)> {
        let party = Some(ours.party_id.clone());
        let others = self.devices.iter().filter(|other| other.name() != device.name());
        others.into_iter().find_map(|other| {
            let mut calls = other.calls().into_iter();
            calls.find_map(|session| {
                let theirs = other.snapshot_of(session)?;
                let same = theirs.call_id == ours.call_id
                    && theirs.remote_party == party
                    && theirs.state == CallState::Connected;
                same.then(|| ((other.clone(), session), theirs))
            })
        })
    }

    #[track_caller]
    fn must(&self, holds: bool, device: &Device, what: &str) {
        assert!(holds, "{} {what}\n{}", device.name(), self.sim.column());
    }

    /// Everybody hangs up, and the world ends: nothing may be left.
    fn hang_up(&self) {
        for device in &self.devices {
            for session in device.calls() {
                device.command_to(session, CallCommand::Hangup);
            }
        }
        self.sim.run_to_the_end();
        for device in &self.devices {
            assert!(device.peers().is_empty() && device.tracks().is_empty());
            assert!(device.engine(|engine| engine.poll_timeout().is_none()));
            let forgotten = device.ledger().is_none_or(|ledger| ledger.live.is_empty());
            assert!(forgotten || self.saves_failed, "{} keeps a ghost", device.name());
        }
    }
}

/// Whether everything of ours in this call was stopped.
fn sends_nothing(shown: &CallSnapshot) -> bool {
    shown.streams.iter().all(|stream| stream.side == Side::Remote)
}

/// Whether a change of this call could not be agreed on.
fn has_failed(device: &Device, session: SessionId) -> bool {
    device.events_of(session).contains(&CallEvent::NegotiationFailed)
}

fn config(dice: &mut Dice) -> Config {
    let mut config = Config::default();
    config.busy = *dice.one_of(&[Busy::Ignore, Busy::Reject, Busy::Ring]);
    config.on_answer = *dice.one_of(&[OnAnswer::HoldOther, OnAnswer::EndOther, OnAnswer::Refuse]);
    config.glare = *dice.one_of(&[Glare::AutoAnswer, Glare::Ring]);
    config.proceed = *dice.one_of(&[Proceed::Auto, Proceed::Auto, Proceed::Manual]);
    config.max_ringing = *dice.one_of(&[1, 8, 8]);
    config.timeouts.invite = *dice.one_of(&[secs(60), secs(90)]);
    config
}
