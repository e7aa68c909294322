//! The simulated world: one clock, one agenda, one homeserver, the engines and what serves them.
//!
//! Everything that takes time is an entry of the agenda; a step takes the earliest entry or the
//! earliest deadline of an engine, sets the clock to it and lets it happen. Entries of the same
//! instant happen in the order in which they were made.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    column::{Column, Kind, Line},
    cue::{Cue, Cues, Ending},
    dice::Dice,
    server::FakeHomeserver,
    sfu::{FakeSfu, SfuFollowUp},
    tape,
    watch::Watch,
    webrtc::{FakeWebRtc, FollowUp, Seat},
};
use crate::{
    config::Config,
    id::{OpId, PeerId, SessionId},
    machine::{
        Engine, Identity,
        io::{Fault, Ignored, Input, Op, Reply, Verdict},
    },
    record::{Entry, Origin, Scribe},
    time::{Mono, Now, Wall},
    wire::{delivery::Batch, focus::Transport, ledger::Ledger},
};

/// Where simulations begin: a wall clock that looks like one.
const EPOCH: Wall = Wall(1_786_100_000_000);
/// More steps than this in one instant mean that an engine spins.
const MAX_STEPS_PER_INSTANT: u32 = 20_000;

/// What happens at a set time.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// A request reaches whoever serves it.
    Perform { at: Station, id: OpId, op: Op, ending: Ending },
    /// Its answer comes back.
    Reply { at: Station, id: OpId, result: Result<Reply, Fault> },
    /// The driver waits no longer.
    Deadline { at: Station, id: OpId },
    /// A device syncs.
    Sync { device: usize },
    /// The homeserver sends what was delayed.
    Fire,
    /// A peer connection does something by itself.
    FollowUp(FollowUp),
    /// An SFU tells something.
    Sfu(SfuFollowUp),
}

/// A request that waits for its turn, or has it.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: OpId,
    pub(super) op: Op,
    pub(super) cue: Cue,
}

/// What keeps an order among requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Peer(PeerId),
    Sfu(SessionId),
    Keys(SessionId),
}

/// A device in one life of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Station {
    pub(super) device: usize,
    pub(super) seat: Seat,
}

/// One device and what is around it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) identity: Identity,
    pub(super) config: Config,
    /// `None` while the process is dead.
    pub(super) engine: Option<Engine>,
    pub(super) seat: Seat,
    pub(super) watch: Watch,
    pub(super) cues: Cues,
    pub(super) ledger: Option<Ledger>,
    pub(super) latest_batches: Vec<Batch>,
    pub(super) holds_sync: bool,
    pub(super) offline: bool,
    /// Writes down what the engine is given.
    pub(super) scribe: Option<Scribe<Vec<u8>>>,
    due: Option<Mono>,
    /// When the next sync is planned; so that there is never more than one.
    pub(super) sync_due: Option<Mono>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Now,
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) server: FakeHomeserver,
    pub(super) webrtc: FakeWebRtc,
    pub(super) sfu: FakeSfu,
    /// The SFUs that the homeserver names.
    pub(super) transports: Vec<Transport>,
    pub(super) hosts: Vec<Host>,
    pub(super) column: Column,
    /// How long a request takes to the homeserver, and the answer or a sync from there.
    pub(super) way: Duration,
    /// Whether engines are also searched for secrets after each step.
    pub(super) reads_engines: bool,
    /// Whether what engines are given is written down.
    pub(super) records: bool,
    agenda: BTreeMap<(Mono, u64), Happening>,
    pub(super) lanes: BTreeMap<(Seat, Lane), VecDeque<Job>>,
    entries: u64,
    seats: u32,
    steps_now: u32,
    /// When the homeserver looks next at what was delayed; so that it is planned once.
    fire_due: Option<Mono>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Now { mono: Mono::default(), wall: EPOCH },
            seed,
            dice: Dice::new(seed),
            server: FakeHomeserver::new(),
            webrtc: FakeWebRtc::new(),
            sfu: FakeSfu::default(),
            transports: Vec::new(),
            hosts: Vec::new(),
            column: Column::default(),
            way: Duration::from_millis(20),
            reads_engines: true,
            records: false,
            agenda: BTreeMap::new(),
            lanes: BTreeMap::new(),
            entries: 0,
            seats: 0,
            steps_now: 0,
            fire_due: None,
        }
    }

    // ------------------------------------------------------------------------------- devices

    pub(super) fn add_device(&mut self, identity: Identity, config: Config) -> usize {
        self.server.login(&identity);
        let host = Host {
            identity,
            config,
            engine: None,
            seat: Seat(0),
            watch: Watch::default(),
            cues: Cues::default(),
            ledger: None,
            latest_batches: Vec::new(),
            holds_sync: false,
            offline: false,
            scribe: None,
            due: None,
            sync_due: None,
        };
        self.hosts.push(host);
        let device = self.hosts.len() - 1;
        self.start(device);
        device
    }

    /// Starts the process of a device: a new engine that takes up the saved ledger.
    pub(super) fn start(&mut self, device: usize) {
        self.seats += 1;
        let seed = self.dice.word();
        let host = &mut self.hosts[device];
        let (identity, config) = (host.identity.clone(), host.config.clone());
        let origin = Origin { identity, config, seed };
        let mut engine = origin.engine();
        host.scribe = self.records.then(|| tape::begin(&origin, self.now));
        if let Some(ledger) = host.ledger.clone() {
            host.keep(self.now, &Entry::Restored(ledger.clone()));
            engine.restore(self.now, ledger);
        }
        let habits = self.webrtc.habits(host.seat);
        host.seat = Seat(self.seats);
        self.webrtc.set_habits(host.seat, habits);
        host.engine = Some(engine);
        host.watch = Watch::default();
        self.drain(device);
        let identity = self.hosts[device].identity.clone();
        self.server.remember(&identity);
        self.sync(device);
    }

    /// Ends the process of a device without a word.
    pub(super) fn crash(&mut self, device: usize) {
        self.note(device, Kind::Deed, "crashes");
        let host = &mut self.hosts[device];
        host.engine = None;
        host.due = None;
        let noticed = self.webrtc.crash(host.seat);
        self.follow(noticed);
        let noticed = self.sfu.crash(self.hosts[device].seat);
        self.tell_of_sfu(noticed);
    }

    pub(super) fn note(&mut self, device: usize, kind: Kind, what: impl Into<String>) {
        let who = self.name(device);
        self.column.0.push(Line { at: self.now.mono.0, who, what: what.into(), kind });
    }

    /// How a column calls a device.
    pub(super) fn name(&self, device: usize) -> String {
        let Identity { user, device: id } = &self.hosts[device].identity;
        let several = self.hosts.iter().filter(|host| host.identity.user == *user).count() > 1;
        let local = user.as_str().trim_start_matches('@');
        let local = local.split(':').next().unwrap_or(local);
        if several { format!("{local}/{id}") } else { local.to_owned() }
    }

    // ---------------------------------------------------------------------------------- time

    /// Lets everything happen that is due until `target`, and sets the clock to it.
    pub(super) fn advance_to(&mut self, target: Mono) {
        while self.next_time().is_some_and(|next| next <= target) {
            self.step();
        }
        self.set_time(target);
    }

    /// When something happens next.
    pub(super) fn next_time(&self) -> Option<Mono> {
        let planned = self.agenda.keys().next().map(|(at, _)| *at);
        let due = self.hosts.iter().filter_map(|host| host.due).min();
        planned.into_iter().chain(due).min()
    }

    /// Whether nothing is under way (a request, an answer, a sync) and no engine has a deadline
    /// within `span`.
    pub(super) fn is_quiet_for(&self, span: Duration) -> bool {
        let under_way = self.agenda.values().any(|happening| match happening {
            Happening::Deadline { at, id } => self.hosts[at.device].watch.awaits(*id),
            Happening::Fire => false,
            _ => true,
        });
        let due = self.hosts.iter().filter_map(|host| host.due).min();
        !under_way && due.is_none_or(|due| due.since(self.now.mono) > span)
    }

    /// The next thing happens.
    pub(super) fn step(&mut self) {
        let Some(next) = self.next_time() else { return };
        self.set_time(next);
        self.steps_now += 1;
        if self.steps_now > MAX_STEPS_PER_INSTANT {
            self.broken("an engine spins: time does not go on");
        }
        let first = self.agenda.keys().next().copied();
        if let Some(key) = first.filter(|(at, _)| *at <= self.now.mono) {
            let happening = self.agenda.remove(&key).expect("invariant: the key was just seen");
            self.happen(happening);
        } else {
            self.wake();
        }
    }

    /// The wall clock goes on without the monotonic one, as when the machine sleeps; then every
    /// driver wakes.
    pub(super) fn suspend(&mut self, span: Duration) {
        self.now.wall = self.now.wall.plus(span);
        self.fire();
        for device in 0..self.hosts.len() {
            self.timeout(device);
        }
    }

    /// The wall clock is set back.
    pub(super) fn set_back(&mut self, span: Duration) {
        self.now.wall = Wall(self.now.wall.0 - span.as_millis() as u64);
    }

    fn set_time(&mut self, target: Mono) {
        if target > self.now.mono {
            self.steps_now = 0;
            // However small the steps are, the wall clock, which counts milliseconds, keeps up.
            let whole = |mono: Mono| mono.since(Mono::default()).as_millis() as u64;
            let wall = Wall(self.now.wall.0 + whole(target) - whole(self.now.mono));
            self.now = Now { mono: target, wall };
        }
    }

    /// Wakes the first engine that has a deadline.
    fn wake(&mut self) {
        let now = self.now.mono;
        let due = |host: &Host| host.due.is_some_and(|due| due <= now);
        if let Some(device) = self.hosts.iter().position(due) {
            self.timeout(device);
        }
    }

    fn timeout(&mut self, device: usize) {
        if self.hosts[device].wake(self.now) {
            self.drain(device);
        }
    }

    pub(super) fn plan(&mut self, after: Duration, happening: Happening) {
        self.entries += 1;
        self.agenda.insert((self.now.mono.plus(after), self.entries), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Perform { at, id, op, ending } if self.lives(at) => {
                self.perform(at, id, op, ending);
            }
            Happening::Reply { at, id, result } if self.lives(at) => {
                self.reply(at.device, id, result);
            }
            Happening::Deadline { at, id } if self.lives(at) => {
                if self.hosts[at.device].watch.awaits(id) {
                    self.reply(at.device, id, Err(Fault::Timeout));
                }
                self.next_in_lane(at, id);
            }
            Happening::Perform { .. } | Happening::Reply { .. } | Happening::Deadline { .. } => {}
            Happening::Sync { device } => {
                let host = &mut self.hosts[device];
                if host.sync_due.is_some_and(|due| due <= self.now.mono) {
                    host.sync_due = None;
                }
                self.sync(device);
            }
            Happening::Fire => {
                self.fire_due = None;
                self.fire();
            }
            Happening::FollowUp(follow_up) => self.follow_up(follow_up),
            Happening::Sfu(news) => self.on_sfu_news(news),
        }
    }

    /// The homeserver sends what was delayed until now, and looks again when the next is due.
    fn fire(&mut self) {
        for _ in 0..self.server.fire(self.now.wall) {
            let (at, who) = (self.now.mono.0, "--".to_owned());
            let what = "a delayed leave is sent".to_owned();
            self.column.0.push(Line { at, who, what, kind: Kind::Wire });
        }
        self.plan_syncs();
        self.plan_fire();
    }

    pub(super) fn plan_fire(&mut self) {
        let Some(due) = self.server.delays().next_due() else { return };
        let after = due.since(self.now.wall);
        let at = self.now.mono.plus(after);
        if self.fire_due.is_none_or(|planned| planned > at) {
            self.fire_due = Some(at);
            self.plan(after, Happening::Fire);
        }
    }

    /// Whether the process that this concerns is still the one that runs.
    fn lives(&self, at: Station) -> bool {
        let host = &self.hosts[at.device];
        host.seat == at.seat && host.engine.is_some()
    }

    // --------------------------------------------------------------------------------- engine

    /// Hands an input to an engine and serves what it wants.
    pub(super) fn feed(&mut self, device: usize, input: Input) -> Verdict {
        let Some(verdict) = self.hosts[device].hand(self.now, input) else {
            return Verdict::Ignored(Ignored::NoChange);
        };
        self.drain(device);
        verdict
    }

    fn reply(&mut self, device: usize, id: OpId, result: Result<Reply, Fault>) {
        let input = Input::Reply(id, result);
        let Some(verdict) = self.hosts[device].hand(self.now, input) else { return };
        let kept = self.hosts[device].watch.on_reply(id, &verdict);
        self.hold(kept);
        self.drain(device);
        let again = self.feed(device, Input::Reply(id, Err(Fault::Cancelled)));
        let kept = self.hosts[device].watch.on_reply(id, &again);
        self.hold(kept);
    }

    fn drain(&mut self, device: usize) {
        while let Some(output) = self.hosts[device].engine.as_mut().and_then(Engine::poll_output) {
            let kept = self.hosts[device].watch.on_output(&output);
            super::telling::tell(self, device, &output);
            self.hold(kept);
            self.serve(device, output);
        }
        let now = self.now.mono;
        let host = &mut self.hosts[device];
        let Some(engine) = &host.engine else { return };
        host.due = engine.poll_timeout().map(|span| now.plus(span));
        let kept = host.watch.on_step(engine);
        let kept = kept.and_then(|()| match self.reads_engines {
            true => Watch::on_debug(engine),
            false => Ok(()),
        });
        self.hold(kept);
    }

    /// Stops the test when a rule is broken.
    pub(super) fn hold(&self, kept: Result<(), String>) {
        if let Err(broken) = kept {
            self.broken(&broken);
        }
        if let Some(misuse) = self.webrtc.misuse().first() {
            self.broken(misuse);
        }
    }

    fn broken(&self, rule: &str) -> ! {
        panic!(
            "invariant broken at {:.3} s, seed {}: {rule}\n{}",
            self.now.mono.0.as_secs_f64(),
            self.seed,
            self.column
        )
    }
}
