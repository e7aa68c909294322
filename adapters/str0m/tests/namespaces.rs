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
#[path = "common/studio.rs"]
mod studio;

use std::{
    fs::File,
    future::Future,
    io::Write,
    os::fd::AsFd,
    process::{Child, Command},
    sync::{Arc, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use matrix_voip::{
    CallOptions, CallSession, VoIP, VoipNews,
    id::{DeviceId, UserId},
    machine::{Identity, event::CallState},
    testing::EmbeddedHomeserver,
};
use matrix_voip_str0m::{Impairment, Impairments, Interfaces, Str0m};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use studio::{Log, Studio};
use tokio::time::timeout;

const INSIDE: &str = "MATRIX_VOIP_INSIDE_NAMESPACE";
const PATIENCE: Duration = Duration::from_secs(20);

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
    let figures = said.lines().filter(|line| line.starts_with("measured:"));
    figures.for_each(|line| println!("{line}"));
}

/// A namespace with a cable to the router; gone with this.
struct House {
    keeper: Child,
    number: u8,
}

impl House {
    /// Number 1 is 10.1.0.2 and the router there 10.1.0.1, and so on.
    fn new(number: u8) -> Self {
        let keeper = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let house = Self { keeper, number };
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
        self.ip(&format!("route replace default via 10.{number}.0.1"));
    }

    fn down(&self) {
        self.ip(&format!("link set h{} down", self.number));
    }

    /// Another address instead of the one it has.
    fn change_address(&self) {
        let number = self.number;
        self.ip(&format!("addr del 10.{number}.0.2/24 dev h{number}"));
        self.ip(&format!("addr add 10.{number}.0.77/24 dev h{number}"));
        self.ip(&format!("route replace default via 10.{number}.0.1"));
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

/// One person: a thread in the house, with engine, sockets and devices there.
struct Person {
    house: House,
    voip: VoIP,
    log: Arc<Log>,
    impairments: Impairments,
    _lives: tokio::sync::oneshot::Sender<()>,
}

impl Person {
    fn new(home: &EmbeddedHomeserver, user: &'static str, number: u8) -> Self {
        let house = House::new(number);
        let namespace = File::open(format!("/proc/{}/ns/net", house.keeper.id())).unwrap();
        let (log, impairments) = (Arc::new(Log::default()), Impairments::default());
        let (lives, ends) = tokio::sync::oneshot::channel::<()>();
        let (sends, started) = mpsc::channel();
        let (home, parts) = (home.clone(), (log.clone(), impairments.clone()));
        thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let voip = begin(&home, user, parts);
                sends.send(voip).unwrap();
                drop(ends.await);
            });
        });
        Self { house, voip: started.recv().unwrap(), log, impairments, _lives: lives }
    }

    fn heard(&self) -> usize {
        self.log.heard.lock().unwrap().len()
    }
}

fn begin(
    home: &EmbeddedHomeserver,
    user: &str,
    (log, impairments): (Arc<Log>, Impairments),
) -> VoIP {
    let (user, device) = (UserId::parse(user).unwrap(), DeviceId::parse("PHONE").unwrap());
    let identity = Identity { user, device };
    let account = home.login(identity.clone());
    log.breaks_after.store(usize::MAX, Ordering::SeqCst);
    let media = Arc::new(Studio { hertz: 440.0, log });
    let builder = Str0m::builder(media).interfaces(Interfaces::All);
    let engine = builder.impairments(impairments).build();
    let voip = VoIP::builder(identity)
        .signaling(Arc::new(account.clone()))
        .webrtc(Arc::new(engine))
        .start()
        .unwrap();
    account.connect(voip.news());
    voip
}

/// Ada and Ben, in a call, with a watch on each side's sound.
struct Talk {
    ada: Person,
    ben: Person,
    calls: [CallSession; 2],
}

impl Talk {
    async fn new() -> Self {
        ip("link set lo up");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let home =
            EmbeddedHomeserver::new().with_room("!room:example", ["@ada:example", "@ben:example"]);
        let ada = Person::new(&home, "@ada:example", 1);
        let ben = Person::new(&home, "@ben:example", 2);
        let mut events = ben.voip.events();
        let options = CallOptions::voice();
        let outgoing = ada.voip.invite("!room:example", "@ben:example", options).await.unwrap();
        let ringing = async {
            loop {
                if let Some(VoipNews::RingStarted { call, .. }) = events.next().await {
                    return call;
                }
            }
        };
        let incoming = timeout(PATIENCE, ringing).await.unwrap();
        incoming.answer().await.unwrap();
        for call in [&outgoing, &incoming] {
            timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
        }
        let talk = Self { ada, ben, calls: [outgoing, incoming] };
        talk.both_hear(PATIENCE).await;
        talk
    }

    /// How long it takes until both have heard three more frames.
    async fn both_hear(&self, limit: Duration) -> Duration {
        let begin = clock();
        let people = [&self.ada, &self.ben];
        let before = people.map(Person::heard);
        let more = || people.iter().zip(before).all(|(person, before)| person.heard() > before + 3);
        while !more() {
            assert!(begin.elapsed() < limit, "nothing is heard after {limit:?}");
            wait(Duration::from_millis(5)).await;
        }
        begin.elapsed()
    }

    /// The fault was repaired now: measures until both hear, at most three seconds.
    async fn recovers(&self, what: &str, struck: Instant) {
        let back = self.both_hear(Duration::from_secs(10)).await;
        println!("measured: {what}: sound gone for {:?}, {back:?} after repair", struck.elapsed());
        assert!(back < Duration::from_secs(3), "{what}: {back:?}");
        for call in &self.calls {
            timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
        }
    }
}

#[test]
fn a_link_that_is_down_for_ten_seconds() {
    in_a_namespace("a_link_that_is_down_for_ten_seconds", async {
        let talk = Talk::new().await;
        let struck = clock();
        talk.ada.house.down();
        wait(Duration::from_secs(10)).await;
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
        wait(Duration::from_secs(10)).await;
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
        for person in [&talk.ada, &talk.ben] {
            person.impairments.set(Impairment { drop: 0.05, delay, jitter });
        }
        wait(Duration::from_secs(1)).await;
        let mut longest = Duration::ZERO;
        let before = talk.ada.heard();
        let begin = clock();
        while begin.elapsed() < Duration::from_secs(8) {
            longest = longest.max(talk.both_hear(Duration::from_secs(3)).await);
        }
        let heard = talk.ada.heard() - before;
        println!(
            "measured: 5 % loss, 40 to 60 ms delay: {heard} of about 400 frames in 8 s, \
             longest time for four frames {longest:?}"
        );
        assert!((340..=404).contains(&heard), "{heard}");
        assert!(longest < Duration::from_millis(500), "{longest:?}");
        for call in &talk.calls {
            assert_eq!(call.state(), CallState::Connected);
        }
    });
}
