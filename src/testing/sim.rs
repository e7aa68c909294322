//! The simulation: devices with real engines, a fake world, virtual time.

use std::{cell::RefCell, fmt, rc::Rc, time::Duration};

use super::{
    column::{Column, Kind, Line},
    device::Device,
    puppet::Puppet,
    server::FakeHomeserver,
    sfu::FakeSfu,
    webrtc::FakeWebRtc,
    world::World,
};
use crate::{
    config::Config,
    id::{DeviceId, RoomId, UserId},
    machine::Identity,
    time::{Mono, Now},
    wire::focus::Transport,
};

/// How long nothing may be due for a simulation to be called quiet: longer than candidates wait
/// for company and than the first retry, shorter than anything rings.
const QUIET: Duration = Duration::from_secs(5);
/// Whatever goes on longer than this never ends.
const FOREVER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Any number of engines in one virtual clock, served by fakes.
///
/// The module's page has an example.
///
/// After every step the invariants of the machine's contract are checked; what breaks one stops
/// the test with the seed and the column of what happened. The same seed and the same calls give
/// the same outputs, byte for byte: see [`digest`](Self::digest).
#[derive(Clone)]
pub struct Sim {
    pub(super) world: Rc<RefCell<World>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.world.borrow().seed).finish_non_exhaustive()
    }
}

/// Whole seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Milliseconds.
pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Sim {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        Self { world: Rc::new(RefCell::new(World::new(seed))) }
    }

    /// Makes a room.
    ///
    /// # Panics
    /// When an id is none.
    pub fn room<'a>(&self, room: &str, members: impl IntoIterator<Item = &'a str>) -> RoomId {
        let room = RoomId::parse(room).expect("invariant: a test names valid rooms");
        let members: Vec<UserId> = members.into_iter().map(user_id).collect();
        self.server(|server| server.set_room(&room, members));
        room
    }

    /// A user, whose devices are made with [`User::device`].
    ///
    /// # Panics
    /// When the id is none.
    pub fn user(&self, user: &str) -> User {
        User { sim: self.clone(), user: user_id(user) }
    }

    /// A device of a user, with an engine of default configuration.
    ///
    /// # Panics
    /// When an id is none.
    pub fn device(&self, user: &str, device: &str) -> Device {
        self.user(user).device(device)
    }

    /// Somebody without an engine: what he sends is what the test writes.
    ///
    /// # Panics
    /// When an id is none.
    pub fn puppet(&self, user: &str, device: &str) -> Puppet {
        Puppet::new(self.clone(), identity(user_id(user), device))
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        let mut world = self.world.borrow_mut();
        let target = world.now.mono.plus(span);
        world.advance_to(target);
    }

    /// Lets time pass until nothing is under way and no deadline comes within five seconds.
    ///
    /// # Panics
    /// When that is not so after a week.
    pub fn run_until_quiet(&self) {
        self.run(|world| world.is_quiet_for(QUIET));
    }

    /// Lets time pass until nothing will ever happen again.
    ///
    /// # Panics
    /// When that is not so after a week: an engine keeps a deadline without a cause.
    pub fn run_to_the_end(&self) {
        self.run(|_| false);
    }

    /// Lets the wall clock alone go on, as when the machine sleeps with its lid closed.
    pub fn suspend(&self, span: Duration) {
        self.world.borrow_mut().suspend(span);
    }

    /// Everybody's wall clock is set back.
    pub fn set_back(&self, span: Duration) {
        self.world.borrow_mut().set_back(span);
    }

    /// The present.
    pub fn now(&self) -> Now {
        self.world.borrow().now
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now().mono.since(Mono::default())
    }

    /// How long requests take to the homeserver, and answers and syncs from there. Default 20 ms.
    pub fn set_way(&self, way: Duration) {
        self.world.borrow_mut().way = way;
    }

    /// Whether engines are searched for secrets after every step (default), which is slow.
    pub fn set_reads_engines(&self, reads: bool) {
        self.world.borrow_mut().reads_engines = reads;
    }

    /// Whether what engines are given from their start on is written down (default: no): see
    /// [`Device::recording`].
    pub fn set_records(&self, records: bool) {
        self.world.borrow_mut().records = records;
    }

    /// What the engines of all devices were given since their processes started last, as files.
    pub fn recordings(&self) -> Vec<Vec<u8>> {
        let world = self.world.borrow();
        let scribes = world.hosts.iter().filter_map(|host| host.scribe.as_ref());
        scribes.map(|scribe| scribe.out().clone()).collect()
    }

    /// Looks at the homeserver or changes it; devices hear of it as of an event.
    pub fn server<T>(&self, change: impl FnOnce(&mut FakeHomeserver) -> T) -> T {
        let mut world = self.world.borrow_mut();
        let result = change(&mut world.server);
        world.plan_syncs();
        world.plan_fire();
        result
    }

    /// Looks at the SFUs, or changes them; devices hear of it.
    pub fn sfu<T>(&self, look: impl FnOnce(&mut FakeSfu) -> T) -> T {
        look(&mut self.world.borrow_mut().sfu)
    }

    /// The SFU cannot be reached any more, or again.
    pub fn set_sfu_down(&self, down: bool) {
        let mut world = self.world.borrow_mut();
        let told = world.sfu.set_down(down);
        world.tell_of_sfu(told);
    }

    /// Which SFUs the homeserver names.
    pub fn set_transports(&self, transports: Vec<Transport>) {
        self.world.borrow_mut().transports = transports;
    }

    /// Looks at the WebRTC engines.
    pub fn webrtc<T>(&self, look: impl FnOnce(&mut FakeWebRtc) -> T) -> T {
        look(&mut self.world.borrow_mut().webrtc)
    }

    /// Everything that happened.
    pub fn column(&self) -> Column {
        self.world.borrow().column.clone()
    }

    /// Writes a line into the column, as a mark between what comes before and after.
    pub fn note(&self, what: &str) {
        let mut world = self.world.borrow_mut();
        let at = world.now.mono.0;
        let line = Line { at, who: "--".to_owned(), what: what.to_owned(), kind: Kind::Deed };
        world.column.0.push(line);
    }

    /// A number that is the same when all engines gave the same outputs.
    pub fn digest(&self) -> u64 {
        let world = self.world.borrow();
        world.hosts.iter().fold(0, |all, host| all.rotate_left(7) ^ host.watch.digest())
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.world.borrow().seed
    }

    fn run(&self, done: impl Fn(&World) -> bool) {
        let mut world = self.world.borrow_mut();
        let started = world.now.mono;
        while world.next_time().is_some() {
            if done(&world) {
                return;
            }
            world.step();
            if world.now.mono.since(started) > FOREVER {
                let broken = Err("a deadline is always open".to_owned());
                world.hold(broken);
            }
        }
    }
}

/// A user of a simulation.
#[derive(Debug, Clone)]
pub struct User {
    sim: Sim,
    user: UserId,
}

impl User {
    /// His id.
    pub fn id(&self) -> &UserId {
        &self.user
    }

    /// A device of his, with an engine of default configuration.
    ///
    /// # Panics
    /// When the id is none.
    pub fn device(&self, device: &str) -> Device {
        self.device_with(device, Config::default())
    }

    /// A device of his, with an engine of this configuration.
    ///
    /// # Panics
    /// When the id is none.
    pub fn device_with(&self, device: &str, config: Config) -> Device {
        let identity = identity(self.user.clone(), device);
        let index = self.sim.world.borrow_mut().add_device(identity, config);
        Device::new(self.sim.clone(), index)
    }
}

fn user_id(user: &str) -> UserId {
    UserId::parse(user).expect("invariant: a test names valid users")
}

fn identity(user: UserId, device: &str) -> Identity {
    let device = DeviceId::parse(device).expect("invariant: a test names valid devices");
    Identity { user, device }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_keeps_up_however_small_the_steps_are() {
        let sim = Sim::new(1);
        let start = sim.now();
        for _ in 0..10_000 {
            sim.advance(Duration::from_micros(399));
        }
        let spans = (sim.now().mono.since(start.mono), sim.now().wall.since(start.wall));
        assert_eq!(spans, (millis(3_990), millis(3_990)));
    }
}
