//! Real faults on a real network: each person in a network namespace of his own, a router between
//! them, our engine at both ends over real sockets.
//!
//! Each test starts this program again inside `unshare --net`; that namespace is the router. Ada and
//! Ben are threads that have moved into namespaces with a cable to it. Where namespaces cannot be
//! made, the tests are skipped and say so. Events go through memory: the homeserver is not cut off.
//! How long media was gone is printed: `cargo test … --test namespaces -- --nocapture`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::{
    fs::File,
    future::Future,
    io::Write,
    ops::Deref,
    os::fd::AsFd,
    process::{Child, Command},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use common::Caller;
use matrix_voip::{
    CallOptions, CallSession,
    config::Config,
    machine::{event::CallState, io::TurnServers},
    testing::EmbeddedHomeserver,
};
use matrix_voip_str0m::{Impairment, Interfaces};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use testkit::coturn::Coturn;
use testkit::person::{PATIENCE, homeserver};
use tokio::time::timeout;

const INSIDE: &str = "MATRIX_VOIP_INSIDE_NAMESPACE";

/// Sound is to be back within this time after the repair.
const GOAL: Duration = Duration::from_secs(3);

/// The same by a relay, on a machine that does other things as well.
const RELAYED: Duration = Duration::from_secs(15);

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what real parts take is measured and printed")]
    Instant::now()
}

async fn wait(time: Duration) {
    tokio::time::sleep_until((clock() + time).into()).await;
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Runs the test again in a namespace of its own, where it does its work.
fn in_a_namespace(test: &str, work: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(work);
    }
    let can = Command::new("unshare").args(["--net", "ip", "link"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        let skipped = b"skipped: network namespace: unshare --net or ip does not work here\n";
        return std::io::stderr().write_all(skipped).unwrap();
    }
    let mut inner = Command::new("unshare");
    inner.arg("--net").arg(std::env::current_exe().unwrap());
    inner.args(["--exact", test, "--nocapture"]);
    let output = inner.env(INSIDE, "yes").output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    // Past libtest, which swallows what print macros say.
    for line in said.lines().filter(|line| line.starts_with("skipped:")) {
        std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    let figures = said.lines().filter(|line| line.starts_with("measured:"));
    figures.for_each(|line| println!("{line}"));
}

/// A namespace with a cable to the router; gone with this.
struct House {
    keeper: Child,
    number: u8,
    /// What it has a way to.
    reaches: &'static str,
}

impl House {
    /// Number 1 is 10.1.0.2 and the router there 10.1.0.1, and so on.
    fn new(number: u8, reaches: &'static str) -> Self {
        let keeper = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let house = Self { keeper, number, reaches };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", house.keeper.id());
        while std::fs::read_link(&theirs).is_ok_and(|namespace| namespace == own) {
            thread::yield_now();
        }
        let pid = house.keeper.id();
        ip(&format!("link add r{number} type veth peer name h{number} netns {pid}"));
        ip(&format!("addr add 10.{number}.0.1/24 dev r{number}"));
        ip(&format!("link set r{number} up"));
        house.ip(&format!("addr add 10.{number}.0.2/24 dev h{number}"));
        house.ip("link set lo up");
        house.up();
        house
    }

    fn ip(&self, arguments: &str) {
        self.ask_ip(arguments);
    }

    fn ask_ip(&self, arguments: &str) -> String {
        let pid = self.keeper.id().to_string();
        let inside = ["-t", &pid, "-n", "ip"];
        let output = Command::new("nsenter").args(inside).args(arguments.split(' ')).output();
        let output = output.unwrap();
        assert!(output.status.success(), "ip {arguments}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn up(&self) {
        let number = self.number;
        self.ip(&format!("link set h{number} up"));
        while !self.ask_ip(&format!("link show h{number}")).contains("state UP") {
            thread::yield_now();
        }
        self.find_way();
    }

    fn find_way(&self) {
        self.ip(&format!("route replace {} via 10.{}.0.1", self.reaches, self.number));
    }

    fn down(&self) {
        self.ip(&format!("link set h{} down", self.number));
    }

    /// Another address instead of the one it has.
    fn change_address(&self) {
        let number = self.number;
        self.ip(&format!("addr del 10.{number}.0.2/24 dev h{number}"));
        self.ip(&format!("addr add 10.{number}.0.77/24 dev h{number}"));
        self.find_way();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// One person: a thread in the house, with engine, sockets and devices there.
struct Resident {
    house: House,
    person: Caller,
    _lives: tokio::sync::oneshot::Sender<()>,
}

impl Deref for Resident {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.person
    }
}

impl Resident {
    fn new(home: &EmbeddedHomeserver, user: &'static str, house: House, config: Config) -> Self {
        let namespace = File::open(format!("/proc/{}/ns/net", house.keeper.id())).unwrap();
        let (lives, ends) = tokio::sync::oneshot::channel::<()>();
        let (sends, started) = mpsc::channel();
        let home = home.clone();
        thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let person = Caller::new(&home, user, 440.0, (Interfaces::All, config));
                drop(sends.send(person));
                drop(ends.await);
            });
        });
        Self { house, person: started.recv().unwrap(), _lives: lives }
    }
}

/// Ada and Ben, in a call, with a watch on each side's sound.
struct Talk {
    ada: Resident,
    ben: Resident,
    calls: [CallSession; 2],
    /// What is to be held of the time that sound is gone.
    bound: Duration,
}

impl Talk {
    async fn new() -> Self {
        begin_router();
        Self::between(&homeserver(), "default", (Config::default(), GOAL)).await
    }

    /// Two who have no way to each other: only to the server that is in the third house.
    async fn relayed(coturn: &Coturn) -> Self {
        let home = homeserver();
        grant(&home, coturn, Duration::from_secs(3600));
        Self::relayed_by(&home).await
    }

    async fn relayed_by(home: &EmbeddedHomeserver) -> Self {
        let mut config = Config::default();
        config.relay_only = true;
        let talk = Self::between(home, "10.3.0.0/24", (config, RELAYED)).await;
        for call in &talk.calls {
            let pair = call.stats().await.unwrap().pair.unwrap();
            assert_eq!((pair.local.kind, pair.remote.kind), ("relay", "relay"));
        }
        talk
    }

    async fn between(
        home: &EmbeddedHomeserver,
        reaches: &'static str,
        (config, bound): (Config, Duration),
    ) -> Self {
        let house = |number| House::new(number, reaches);
        let ada = Resident::new(home, "@ada:example", house(1), config.clone());
        let ben = Resident::new(home, "@ben:example", house(2), config);
        let calls = ada.call(&ben, CallOptions::voice()).await;
        let talk = Self { ada, ben, calls, bound };
        talk.both_hear(PATIENCE).await;
        talk
    }

    /// How long it takes until both have heard three more frames.
    async fn both_hear(&self, limit: Duration) -> Duration {
        let begin = clock();
        let people = [&self.ada, &self.ben];
        let before = people.map(|person| person.count());
        let more = || people.iter().zip(before).all(|(person, before)| person.count() > before + 3);
        while !more() {
            assert!(begin.elapsed() < limit, "nothing is heard after {limit:?}");
            wait(Duration::from_millis(5)).await;
        }
        begin.elapsed()
    }

    /// Waits; but for its beginning nothing comes, or the fault is none.
    async fn is_silent_for(&self, time: Duration) {
        let begin = Duration::from_secs(1);
        wait(begin).await;
        let counts = || [&self.ada, &self.ben].map(|person| person.count());
        let before = counts();
        wait(time - begin).await;
        assert_eq!(counts(), before, "something is heard");
    }

    /// Eight seconds of this on both ways: nearly all sound comes, and it never stops for long.
    async fn suffers(&self, what: &str, impairment: Impairment) {
        for person in [&self.ada, &self.ben] {
            person.impairments.set(impairment);
        }
        wait(Duration::from_secs(1)).await;
        let mut longest = Duration::ZERO;
        let before = self.ada.count();
        let begin = clock();
        while begin.elapsed() < Duration::from_secs(8) {
            longest = longest.max(self.both_hear(self.bound).await);
        }
        let heard = self.ada.count() - before;
        println!(
            "measured: {what}: {heard} of about 400 frames in 8 s, longest time for four frames \
             {longest:?}"
        );
        assert!((340..=404).contains(&heard), "{heard}");
        assert!(longest < Duration::from_millis(500), "{longest:?}");
        for call in &self.calls {
            assert_eq!(call.state(), CallState::Connected);
        }
    }

    /// The fault was repaired now: measures until both hear.
    async fn recovers(&self, what: &str, struck: Instant) {
        let back = self.both_hear(self.bound + Duration::from_secs(7)).await;
        println!("measured: {what}: sound gone for {:?}, {back:?} after repair", struck.elapsed());
        assert!(back < self.bound, "{what}: {back:?}");
        for call in &self.calls {
            timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
        }
    }
}

fn begin_router() {
    ip("link set lo up");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
}

#[test]
fn a_link_that_is_down_for_ten_seconds() {
    in_a_namespace("a_link_that_is_down_for_ten_seconds", async {
        let talk = Talk::new().await;
        let struck = clock();
        talk.ada.house.down();
        talk.is_silent_for(Duration::from_secs(10)).await;
        talk.ada.house.up();
        talk.recovers("link down 10 s", struck).await;
    });
}

#[test]
fn a_way_that_is_broken_for_ten_seconds_unnoticed() {
    in_a_namespace("a_way_that_is_broken_for_ten_seconds_unnoticed", async {
        let talk = Talk::new().await;
        let struck = clock();
        for person in [&talk.ada, &talk.ben] {
            person.impairments.set(Impairment::DROPS_ALL);
        }
        talk.is_silent_for(Duration::from_secs(10)).await;
        for person in [&talk.ada, &talk.ben] {
            person.impairments.set(Impairment::default());
        }
        talk.recovers("nothing carried for 10 s", struck).await;
    });
}

#[test]
fn an_address_that_changes_in_the_call() {
    in_a_namespace("an_address_that_changes_in_the_call", async {
        let talk = Talk::new().await;
        for (who, person) in [("caller", &talk.ada), ("callee", &talk.ben)] {
            let struck = clock();
            person.house.change_address();
            talk.recovers(&format!("address of the {who} changed"), struck).await;
            wait(Duration::from_secs(2)).await;
        }
    });
}

#[test]
fn loss_delay_and_jitter_in_the_call() {
    in_a_namespace("loss_delay_and_jitter_in_the_call", async {
        let talk = Talk::new().await;
        let (delay, jitter) = (Duration::from_millis(40), Duration::from_millis(20));
        talk.suffers("5 % loss, 40 to 60 ms delay", Impairment { drop: 0.05, delay, jitter }).await;
    });
}

/// A house with a TURN server, to which alone Ada and Ben have a way.
async fn coturn_next_door() -> Option<(House, Coturn)> {
    begin_router();
    let house = House::new(3, "default");
    let pid = house.keeper.id().to_string();
    let inside = ["nsenter", "-t", &pid, "-n", "turnserver"];
    let coturn = Coturn::start_at(&inside, "10.3.0.2", &[]).await?;
    Some((house, coturn))
}

#[test]
fn a_relayed_link_that_is_down_for_ten_seconds() {
    in_a_namespace("a_relayed_link_that_is_down_for_ten_seconds", async {
        let Some((_house, coturn)) = coturn_next_door().await else { return };
        let begin = clock();
        let talk = Talk::relayed(&coturn).await;
        println!("measured: relay only: both hear {:?} after the beginning", begin.elapsed());
        let struck = clock();
        talk.ada.house.down();
        talk.is_silent_for(Duration::from_secs(10)).await;
        talk.ada.house.up();
        talk.recovers("relay only, link down 10 s", struck).await;
    });
}

#[test]
fn loss_on_the_way_to_the_relay() {
    in_a_namespace("loss_on_the_way_to_the_relay", async {
        let Some((_house, coturn)) = coturn_next_door().await else { return };
        let talk = Talk::relayed(&coturn).await;
        let loss = Impairment { drop: 0.05, ..Impairment::default() };
        talk.suffers("relay only, 5 % loss", loss).await;
    });
}

#[test]
fn an_address_that_changes_on_the_way_to_the_relay() {
    in_a_namespace("an_address_that_changes_on_the_way_to_the_relay", async {
        let Some((_house, coturn)) = coturn_next_door().await else { return };
        let talk = Talk::relayed(&coturn).await;
        for (who, person) in [("caller", &talk.ada), ("callee", &talk.ben)] {
            let struck = clock();
            person.house.change_address();
            talk.recovers(&format!("relay only, address of the {who} changed"), struck).await;
            wait(Duration::from_secs(2)).await;
        }
    });
}

/// From now on the homeserver gives credentials that are good for so long.
fn grant(home: &EmbeddedHomeserver, coturn: &Coturn, ttl: Duration) {
    let servers = vec![coturn.server_for("turn:10.3.0.2:PORT?transport=udp", "ada", ttl)];
    home.change(|server| server.set_turn(Ok(TurnServers { servers, ttl })));
}

#[test]
fn an_address_that_changes_when_the_credentials_have_run_out() {
    in_a_namespace("an_address_that_changes_when_the_credentials_have_run_out", async {
        let Some((_house, coturn)) = coturn_next_door().await else { return };
        let home = homeserver();
        grant(&home, &coturn, Duration::from_secs(3));
        let talk = Talk::relayed_by(&home).await;
        wait(Duration::from_secs(5)).await;
        grant(&home, &coturn, Duration::from_secs(3600));
        for (who, person) in [("caller", &talk.ada), ("callee", &talk.ben)] {
            let struck = clock();
            person.house.change_address();
            let what = format!("relay only, old credentials, address of the {who} changed");
            talk.recovers(&what, struck).await;
            wait(Duration::from_secs(2)).await;
        }
    });
}
