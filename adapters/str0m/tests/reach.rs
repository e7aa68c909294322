//! Connections through STUN and TURN servers in virtual time: kind ones, refusing, silent, lying.

#![allow(clippy::unwrap_used, reason = "a test program")]

#[path = "../../../tests/privacy/watcher.rs"]
mod watcher;

use std::{net::SocketAddr, time::Duration};

use matrix_voip::{
    config::Config,
    host::{Codec, Frame},
    id::TrackId,
    machine::{
        event::CallState,
        io::{
            CallCommand, CallMedia, Candidate, Fault, IceServer, PeerNews, PeerOp, PeerState,
            PeerStats, Reply, ServerFault, ServerState, TurnServers,
        },
    },
    redact::Secret,
};
use matrix_voip_str0m::sim::{Link, Node, Opening, Phone, Phones, Scripted, World};
use testkit::{Tone, description, heard, voice, without_candidates};
use watcher::{Watcher, is_private};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const SERVER: &str = "192.0.2.9:3478";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The URI with the credentials of the simulated server, or with other ones.
fn server(uri: &str, password: &str) -> Vec<IceServer> {
    let credential = Secret::new(password);
    vec![IceServer { urls: vec![uri.to_owned()], username: "turn-user".into(), credential }]
}

fn turn() -> Vec<IceServer> {
    server("turn:192.0.2.9", "turn-password")
}

struct Call {
    world: World,
    a: Node,
    b: Node,
}

/// Two peers on addresses of their own, with these servers.
fn peers(seed: u64, link: Link, servers: &[IceServer], relay_only: bool) -> Call {
    inhabit(World::new(seed, link), servers, relay_only)
}

/// Two peers, the first of which is seen at 198.51.100.7:40000.
fn behind_nat(seed: u64, servers: &[IceServer]) -> Call {
    let mut world = World::new(seed, Link::default());
    world.network().readdress(address("10.0.0.1:5000"), address("198.51.100.7:40000"));
    inhabit(world, servers, false)
}

fn inhabit(mut world: World, servers: &[IceServer], relay_only: bool) -> Call {
    world.add_server(address(SERVER));
    let [a, b] = ["10.0.0.1:5000", "10.0.0.2:5000"].map(|local| {
        world.open_with(Opening {
            addresses: vec![address(local)],
            ice_servers: servers.to_vec(),
            relay_only,
        })
    });
    for (node, track, hertz) in [(a, 1, 440.0), (b, 2, 880.0)] {
        let mut tone = Tone::new(hertz);
        world.feed(node, TrackId(track), 20 * MILLI, move |n| tone.frame(n));
    }
    Call { world, a, b }
}

fn relayed(seed: u64, link: Link) -> Call {
    peers(seed, link, &turn(), true)
}

impl Call {
    /// Offer and answer without candidates; what is found later is trickled by [`run`].
    fn negotiate(&mut self) {
        let Self { world, a, b } = self;
        let offer = description(world.perform(*a, PeerOp::Offer(voice(1, "a"))).unwrap());
        world.perform(*a, PeerOp::SetLocal(offer.clone())).unwrap();
        world.perform(*b, PeerOp::SetRemote(without_candidates(&offer))).unwrap();
        let answer = description(world.perform(*b, PeerOp::Answer(voice(2, "b"))).unwrap());
        world.perform(*b, PeerOp::SetLocal(answer.clone())).unwrap();
        world.perform(*a, PeerOp::SetRemote(without_candidates(&answer))).unwrap();
    }

    /// Lets time pass in steps of a round trip and carries candidates over, until `done`.
    fn run_until(&mut self, span: Duration, done: impl Fn(&World) -> bool) -> bool {
        let end = self.world.now() + span;
        let mut carried = (0, 0);
        while self.world.now() < end {
            let (a, b) = (self.a, self.b);
            carried = (self.carry(a, b, carried.0), self.carry(b, a, carried.1));
            if self.world.run_until(50 * MILLI, &done) {
                return true;
            }
        }
        false
    }

    fn carry(&mut self, from: Node, to: Node, after: usize) -> usize {
        let found = candidates(&self.world, from);
        let new = found[after.min(found.len())..].to_vec();
        if !new.is_empty() {
            self.world.perform(to, PeerOp::Candidates(new)).unwrap();
        }
        found.len()
    }

    fn connect(&mut self) {
        self.negotiate();
        let (a, b) = (self.a, self.b);
        let connected = |world: &World| {
            [a, b].iter().all(|node| {
                world.state(*node) == Some(PeerState::Connected) && !world.frames(*node).is_empty()
            })
        };
        assert!(self.run_until(30 * SECOND, connected), "{:?}", stats(&mut self.world, a));
    }

    fn assert_tones(&self) {
        let at = |node| heard(self.world.frames(node).iter().map(|received| &received.frame)).0;
        let (at_a, at_b) = (at(self.a), at(self.b));
        assert!((860.0..900.0).contains(&at_a), "a hears {at_a} Hz");
        assert!((430.0..450.0).contains(&at_b), "b hears {at_b} Hz");
    }
}

fn candidates(world: &World, node: Node) -> Vec<Candidate> {
    let news = world.news(node).iter();
    news.filter_map(|(_, news)| match news {
        PeerNews::Candidate(candidate) => Some(candidate.clone()),
        _ => None,
    })
    .collect()
}

/// The types of the candidates, and when gathering was over.
fn gathered(world: &World, node: Node) -> (Vec<String>, Option<Duration>) {
    let kind = |candidate: Candidate| {
        let line = candidate.candidate.expose().to_owned();
        line.split(" typ ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    let mut news = world.news(node).iter();
    let end = news.find(|(_, news)| *news == PeerNews::GatheringDone);
    (candidates(world, node).into_iter().map(kind).collect(), end.map(|(at, _)| *at))
}

fn stats(world: &mut World, node: Node) -> PeerStats {
    match world.perform(node, PeerOp::Stats) {
        Ok(Reply::Stats(stats)) => *stats,
        other => panic!("no stats: {other:?}"),
    }
}

fn state(world: &mut World, node: Node) -> ServerState {
    stats(world, node).servers[0].state
}

/// Gathers on one side, for so long.
fn gather(call: &mut Call, span: Duration) -> (Vec<String>, Option<Duration>) {
    call.negotiate();
    call.world.run(span);
    gathered(&call.world, call.a)
}

#[test]
fn behind_a_nat_a_stun_server_gives_a_reflexive_candidate() {
    let mut call = behind_nat(1, &server("stun:192.0.2.9:3478", ""));
    let (kinds, end) = gather(&mut call, SECOND);
    assert_eq!(kinds, ["host", "srflx"]);
    println!("reflexive candidate after {end:?} (RTT 50 ms)");
    assert_eq!(end, Some(50 * MILLI));
    let found = candidates(&call.world, call.a);
    assert!(found[1].candidate.expose().contains(" 198.51.100.7 40000 typ srflx"));
    assert!(!found[1].candidate.expose().contains("10.0.0.1"), "our own address stays unknown");
    assert_eq!(state(&mut call.world, call.a), ServerState::Works);
    let description = description(call.world.perform(call.a, PeerOp::LocalDescription).unwrap());
    assert!(description.sdp.expose().contains("198.51.100.7 40000 typ srflx"));
    assert!(description.sdp.expose().contains("a=end-of-candidates"));
}

#[test]
fn without_a_nat_there_is_no_reflexive_candidate_and_the_server_works() {
    let mut call = peers(2, Link::default(), &server("stun:192.0.2.9", ""), false);
    assert_eq!(gather(&mut call, SECOND), (vec!["host".to_owned()], Some(50 * MILLI)));
    assert_eq!(state(&mut call.world, call.a), ServerState::Works);
}

#[test]
fn a_turn_server_gives_a_relayed_and_a_reflexive_candidate() {
    let mut call = behind_nat(3, &turn());
    let (kinds, end) = gather(&mut call, SECOND);
    assert_eq!(kinds, ["host", "srflx", "relay"]);
    println!("relayed candidate after {end:?} (RTT 50 ms)");
    assert_eq!(end, Some(100 * MILLI), "two round trips: the challenge and the answer");
}

#[test]
fn relayed_candidates_alone_carry_a_call_and_name_no_address_of_ours() {
    let mut call = relayed(4, Link::default());
    call.connect();
    println!("relay-only, RTT 50 ms to the server: both hear after {:?}", call.world.now());
    call.world.run(3 * SECOND);
    call.assert_tones();
    let pair = stats(&mut call.world, call.a).pair.unwrap();
    assert_eq!((pair.local.kind, pair.remote.kind), ("relay", "relay"));
    let (kinds, _) = gathered(&call.world, call.a);
    assert_eq!(kinds, ["relay"]);
    for candidate in candidates(&call.world, call.a) {
        assert!(!candidate.candidate.expose().contains("10.0.0."));
    }
    let (packets, by_channel) = call.world.server(0).relayed();
    assert!(by_channel * 10 > packets * 9, "{by_channel} of {packets} packets by channel");
}

#[test]
fn closing_gives_the_allocations_back() {
    let mut call = relayed(5, Link::default());
    call.connect();
    let now = call.world.now();
    assert_eq!(call.world.server(0).allocations(now), 2);
    call.world.perform(call.a, PeerOp::Close).unwrap();
    assert!(!call.world.leftovers(call.a).1);
    call.world.run(100 * MILLI);
    let now = call.world.now();
    assert_eq!(call.world.server(0).allocations(now), 1);
    assert!(call.world.leftovers(call.a).1);
}

#[test]
fn closing_while_the_server_is_asked_gives_the_allocation_back() {
    let mut call = relayed(6, Link::default());
    call.world.run(60 * MILLI);
    call.world.perform(call.a, PeerOp::Close).unwrap();
    call.world.run(SECOND);
    let now = call.world.now();
    assert_eq!(call.world.server(0).allocations(now), 1, "only the other one's is left");
    assert!(call.world.leftovers(call.a).1);
}

#[test]
fn a_call_outlives_nonces_lifetimes_permissions_and_channels() {
    let mut call = relayed(7, Link::default());
    call.world.server(0).set_nonce_life(Duration::from_secs(70));
    call.world.server(0).set_lifetime(Duration::from_secs(60));
    call.connect();
    call.world.run(Duration::from_secs(620));
    call.assert_tones();
    let stale = call.world.server(0).stale_nonces();
    let stats = stats(&mut call.world, call.a);
    println!("ten minutes, {stale} stale nonces, lost {:?}", stats.inbound[0].lost);
    assert!(stale > 12);
    assert_eq!(stats.inbound[0].lost, Some(0));
}

#[test]
fn lost_packets_delay_an_allocation_but_do_not_prevent_it() {
    let link = Link { loss: 0.3, jitter: 20 * MILLI, ..Link::default() };
    for seed in 1..=20 {
        let mut call = relayed(seed, link);
        let (kinds, end) = gather(&mut call, 10 * SECOND);
        // Five sendings of two requests, each lost with its answer in half of all cases: one of
        // these seeds or another may fail for good, and must then say so.
        match state(&mut call.world, call.a) {
            ServerState::Works => assert_eq!(kinds, ["relay"]),
            other => assert_eq!(other, ServerState::Failed(ServerFault::Silent), "seed {seed}"),
        }
        assert!(end.is_some());
    }
}

#[test]
fn every_refusal_is_told_as_what_it_is() {
    use ServerFault as F;
    let cases = [
        (300, F::Redirects),
        (400, F::Refused(400)),
        (403, F::Forbidden),
        (437, F::Refused(437)),
        (441, F::WrongCredentials(441)),
        (486, F::QuotaReached),
        (508, F::NoCapacity),
    ];
    for (code, fault) in cases {
        let mut call = relayed(8, Link::default());
        call.world.server(0).refuse_allocations(Some(code));
        let (kinds, end) = gather(&mut call, SECOND);
        assert_eq!((kinds.len(), end), (0, Some(100 * MILLI)), "{code}");
        assert_eq!(state(&mut call.world, call.a), ServerState::Failed(fault));
    }
}

#[test]
fn wrong_credentials_are_told_after_two_round_trips() {
    let mut call = peers(9, Link::default(), &server("turn:192.0.2.9", "guessed"), true);
    let (kinds, end) = gather(&mut call, SECOND);
    assert_eq!((kinds.len(), end), (0, Some(100 * MILLI)));
    let expected = ServerState::Failed(ServerFault::WrongCredentials(401));
    assert_eq!(state(&mut call.world, call.a), expected);
    let told = format!("{:?}", stats(&mut call.world, call.a));
    assert!(!told.contains("guessed") && !told.contains("192.0.2.9"), "{told}");
}

#[test]
fn a_server_whose_nonces_never_last_is_given_up() {
    let mut call = relayed(10, Link::default());
    call.world.server(0).set_nonce_life(MILLI);
    let (_, end) = gather(&mut call, SECOND);
    assert!(end.is_some());
    let expected = ServerState::Failed(ServerFault::StaleNonce);
    assert_eq!(state(&mut call.world, call.a), expected);
}

#[test]
fn a_silent_server_is_given_up_and_holds_nothing_up() {
    let mut call = peers(11, Link::default(), &turn(), false);
    call.world.server(0).be_silent(true);
    call.connect();
    let early = description(call.world.perform(call.a, PeerOp::LocalDescription).unwrap());
    assert!(!early.sdp.expose().contains("a=end-of-candidates"), "there may be more");
    assert!(call.world.now() < SECOND, "host candidates connect meanwhile");
    call.world.run(10 * SECOND);
    assert_eq!(gathered(&call.world, call.a).1, Some(5750 * MILLI));
    let expected = ServerState::Failed(ServerFault::Silent);
    assert_eq!(state(&mut call.world, call.a), expected);
}

#[test]
fn names_without_address_and_useless_uris_are_told() {
    let mut servers = server("turn:nowhere.example", "turn-password");
    servers.extend(server("turns:192.0.2.9", "turn-password"));
    servers.extend(server("http://192.0.2.9", ""));
    let mut call = peers(12, Link::default(), &servers, false);
    let (kinds, end) = gather(&mut call, SECOND);
    assert_eq!((kinds.len(), end), (1, Some(Duration::ZERO)));
    let told: Vec<_> = stats(&mut call.world, call.a).servers;
    let states: Vec<_> = told.iter().map(|server| server.state).collect();
    use ServerFault::{Unreachable, Unresolved, Unusable};
    assert_eq!(states, [Unresolved, Unreachable, Unusable].map(ServerState::Failed));
}

#[test]
fn a_refused_permission_is_no_end_of_the_allocation() {
    let mut call = relayed(13, Link::default());
    call.world.server(0).refuse_peers(Some(403));
    call.negotiate();
    assert!(!call.run_until(5 * SECOND, |_| false));
    assert_eq!(state(&mut call.world, call.a), ServerState::Works);
    assert!(call.world.leftovers(call.a).0 > 0, "the refusal is counted");
    assert_ne!(call.world.state(call.a), Some(PeerState::Connected));
}

#[test]
fn a_server_that_forgets_us_ends_the_relayed_path() {
    let mut call = relayed(14, Link::default());
    call.connect();
    call.world.server(0).restart();
    call.world.run(Duration::from_secs(600));
    assert_eq!(state(&mut call.world, call.a), ServerState::Failed(ServerFault::Lost));
    assert_eq!(call.world.state(call.a), Some(PeerState::Disconnected));
    let description = description(call.world.perform(call.a, PeerOp::LocalDescription).unwrap());
    let lines = description.sdp.expose().matches("typ relay").count();
    println!("{lines} lines of the lost address are left in the description");
}

#[test]
fn a_reachable_peer_is_found_by_its_packets_when_its_candidates_are_local_names() {
    let mut call = peers(15, Link::default(), &[], false);
    call.negotiate();
    let (a, b) = (call.a, call.b);
    let theirs = candidates(&call.world, b);
    call.world.perform(b, PeerOp::Candidates(candidates(&call.world, a))).unwrap();
    let hidden: Vec<Candidate> = theirs
        .into_iter()
        .map(|candidate| {
            let line = candidate.candidate.expose().replace("10.0.0.2", "0c5f8a1e.local");
            Candidate { candidate: line.as_str().into(), ..candidate }
        })
        .collect();
    call.world.perform(a, PeerOp::Candidates(hidden.clone())).unwrap();
    let connected = |world: &World| world.state(a) == Some(PeerState::Connected);
    assert!(call.world.run_until(SECOND, connected));
    let stats = stats(&mut call.world, a);
    assert_eq!(stats.unusable_candidates, hidden.len() as u64, "skipped and counted");
    assert_eq!(stats.pair.unwrap().remote.kind, "prflx");
}

#[test]
fn a_new_interface_gives_new_candidates_after_the_end_mark() {
    let mut call = peers(16, Link::default(), &server("stun:192.0.2.9", ""), false);
    let (kinds, _) = gather(&mut call, SECOND);
    assert_eq!(kinds, ["host"]);
    let new = address("10.0.7.1:6000");
    call.world.network().readdress(new, address("203.0.113.5:7"));
    call.world.add_address(call.a, new);
    call.world.run(SECOND);
    let (kinds, _) = gathered(&call.world, call.a);
    assert_eq!(kinds, ["host", "host", "srflx"]);
    let ends = call.world.news(call.a).iter();
    let ends = ends.filter(|(_, news)| *news == PeerNews::GatheringDone).count();
    assert_eq!(ends, 1);
}

#[test]
fn after_an_address_change_a_relayed_call_goes_on_by_a_new_allocation() {
    let mut call = relayed(31, Link::default());
    call.connect();
    let (old, new) = (address("10.0.0.1:5000"), address("10.7.0.1:6000"));
    let first = candidates(&call.world, call.a).len();
    call.world.readdress(call.a, old, new);
    let struck = call.world.now();
    call.world.perform(call.a, PeerOp::RestartIce).unwrap();
    call.negotiate();
    let (a, b) = (call.a, call.b);
    let heard = |world: &World, node| world.frames(node).last().unwrap().at > struck + 100 * MILLI;
    let back = |world: &World| heard(world, a) && heard(world, b);
    assert!(call.run_until(10 * SECOND, back), "{:?}", stats(&mut call.world, a));
    println!("relayed call, address changed: back after {:?}", call.world.now() - struck);
    assert!(call.world.now() - struck < SECOND);
    call.world.run(SECOND);
    call.assert_tones();
    let all = candidates(&call.world, call.a);
    assert!(all.len() > first, "another relay is named");
    assert!(all.iter().all(|candidate| candidate.candidate.expose().contains(" typ relay ")));
    assert_eq!(state(&mut call.world, a), ServerState::Works);
    assert_eq!(call.world.state(a), Some(PeerState::Connected));
}

/// The credentials ran out, and the address changed: the old ones bring no relay any more.
#[test]
fn a_restart_gathers_with_the_credentials_that_it_is_given() {
    let mut call = relayed(32, Link::default());
    call.connect();
    call.world.server(0).change_password("second");
    let (old, new) = (address("10.0.0.1:5000"), address("10.7.0.1:6000"));
    let (a, b) = (call.a, call.b);
    let first = candidates(&call.world, a).len();
    call.world.readdress(a, old, new);
    call.world.run(2 * SECOND);
    let lost = ServerState::Failed(ServerFault::Lost);
    assert_eq!(state(&mut call.world, a), lost, "not asked with the old ones");
    assert_eq!(candidates(&call.world, a).len(), first);
    let struck = call.world.now();
    let fresh = server("turn:192.0.2.9", "second");
    call.world.perform(a, PeerOp::SetServers(fresh)).unwrap();
    call.world.perform(a, PeerOp::RestartIce).unwrap();
    call.negotiate();
    let heard = |world: &World, node| world.frames(node).last().unwrap().at > struck + 100 * MILLI;
    let back = |world: &World| heard(world, a) && heard(world, b);
    assert!(call.run_until(10 * SECOND, back), "{:?}", stats(&mut call.world, a));
    println!(
        "fresh credentials after an address change: back after {:?}",
        call.world.now() - struck
    );
    assert!(call.world.now() - struck < SECOND);
    call.world.run(SECOND);
    call.assert_tones();
    assert_eq!(state(&mut call.world, a), ServerState::Works);
}

/// Without a restart a new address does not wait for ever; what old credentials come to is told.
#[test]
fn without_a_restart_a_new_address_asks_with_what_it_has() {
    for (password, expected) in [
        ("turn-password", ServerState::Works),
        ("second", ServerState::Failed(ServerFault::WrongCredentials(401))),
    ] {
        let mut call = relayed(36, Link::default());
        call.connect();
        call.world.server(0).change_password(password);
        let (old, new) = (address("10.0.0.1:5000"), address("10.7.0.1:6000"));
        call.world.readdress(call.a, old, new);
        call.world.run(5 * SECOND);
        let lost = ServerState::Failed(ServerFault::Lost);
        assert_eq!(state(&mut call.world, call.a), lost);
        call.world.run(2 * SECOND);
        assert_eq!(state(&mut call.world, call.a), expected);
    }
}

#[test]
fn an_allocation_that_is_there_is_kept_and_followed_by_one_with_the_new_credentials() {
    let mut call = relayed(33, Link::default());
    call.connect();
    let (a, b) = (call.a, call.b);
    let first = candidates(&call.world, a);
    call.world.server(0).change_password("second");
    for node in [a, b] {
        let fresh = server("turn:192.0.2.9", "second");
        call.world.perform(node, PeerOp::SetServers(fresh)).unwrap();
    }
    let before = call.world.frames(b).len();
    call.world.run(650 * SECOND);
    assert!(call.world.frames(b).len() > before + 32_000, "it is refreshed, and nothing is lost");
    assert_eq!(candidates(&call.world, a), first, "nothing else is asked for");
    let now = call.world.now();
    assert_eq!(call.world.server(0).allocations(now), 2);
    call.world.server(0).restart();
    let now = call.world.now();
    let another = |world: &World| candidates(world, a).len() > first.len();
    assert!(call.run_until(700 * SECOND, another), "{:?}", stats(&mut call.world, a));
    println!("another relay {:?} after the first was forgotten", call.world.now() - now);
    assert_eq!(state(&mut call.world, a), ServerState::Works);
}

#[test]
fn servers_that_are_named_later_are_asked_and_those_named_no_more_are_not() {
    let mut call = peers(34, Link::default(), &server("turn:192.0.2.8", "x"), true);
    let (kinds, _) = gather(&mut call, 2 * SECOND);
    assert_eq!(kinds, Vec::<String>::new(), "nobody answers there");
    call.world.perform(call.a, PeerOp::SetServers(turn())).unwrap();
    call.world.run(SECOND);
    assert_eq!(gathered(&call.world, call.a).0, ["relay"]);
    let states = |call: &mut Call| -> Vec<ServerState> {
        let stats = stats(&mut call.world, call.a);
        stats.servers.iter().map(|server| server.state).collect()
    };
    assert_eq!(states(&mut call)[1], ServerState::Works);
    // However often others are named: what is kept is bounded, and what is named is asked.
    for number in 0..100 {
        let other = server(&format!("turn:192.0.2.{number}"), "x");
        call.world.perform(call.a, PeerOp::SetServers(other)).unwrap();
    }
    assert_eq!(states(&mut call).len(), 32);
    call.world.perform(call.a, PeerOp::SetServers(turn())).unwrap();
    call.world.run(20 * SECOND);
    assert_eq!(states(&mut call)[1], ServerState::Works);
    let sent = call.world.network().traffic();
    call.world.perform(call.a, PeerOp::SetServers(turn())).unwrap();
    call.world.run(SECOND);
    assert_eq!(call.world.network().traffic(), sent, "the same again: nothing is asked");
    call.world.perform(call.a, PeerOp::Close).unwrap();
    assert!(call.world.perform(call.a, PeerOp::SetServers(turn())).is_err());
}

#[test]
fn garbage_in_the_name_of_the_server_changes_nothing() {
    let mut call = relayed(17, Link::default());
    call.connect();
    let (from, to) = (address(SERVER), address("10.0.0.1:5000"));
    let mut chance = fastrand::Rng::with_seed(1);
    for round in 0..20_000 {
        let length = if round % 100 == 0 { 65_000 } else { chance.usize(..200) };
        let mut data: Vec<u8> = (0..length).map(|_| chance.u8(..)).collect();
        if round % 2 == 0 && length > 20 {
            // The head of a STUN message of a TURN method, and the right length.
            let method = [0x0103, 0x0113, 0x0104, 0x0114, 0x0108, 0x0109, 0x0017, 0x0101];
            data[..2].copy_from_slice(&u16::to_be_bytes(method[round / 2 % 8]));
            data.truncate(20 + (length - 20) / 4 * 4);
            let body = u16::try_from(data.len() - 20).unwrap();
            data[2..4].copy_from_slice(&body.to_be_bytes());
            data[4..8].copy_from_slice(&0x2112_A442_u32.to_be_bytes());
        }
        call.world.inject(call.a, (from, to), &data);
    }
    assert!(call.world.leftovers(call.a).0 > 10_000);
    call.world.run(3 * SECOND);
    assert_eq!(state(&mut call.world, call.a), ServerState::Works);
    call.assert_tones();
}

#[test]
fn nothing_private_is_logged_or_shown_of_what_servers_do() {
    let watcher = Watcher::default();
    tracing::subscriber::with_default(watcher.clone(), || {
        let mut call = relayed(18, Link::default());
        call.connect();
        call.world.server(0).refuse_peers(Some(403));
        call.world.run(Duration::from_secs(300));
        call.world.server(0).restart();
        call.world.run(Duration::from_secs(600));
        let shown = format!("{:?}", stats(&mut call.world, call.a).servers);
        assert!(!is_private(&shown), "{shown}");
    });
    assert!(watcher.seen() > 0, "the end of the allocation is told");
    assert_eq!(watcher.leaks(), Vec::<String>::new());
}

/// Whole calls: what the homeserver names reaches the engine, and hanging up gives it back.
#[test]
fn a_call_uses_the_homeservers_turn_server_and_gives_its_allocation_back() {
    let mut phones = Phones::new(19, Link::default());
    phones.add_turn_server(address(SERVER));
    let ttl = Duration::from_secs(3600);
    phones.server().set_turn(Ok(TurnServers { servers: turn(), ttl }));
    let [ada, ben] = ["@ada:example", "@ben:example"].map(|user| {
        phones.phone(user, |_| {
            let mut tone = Tone::new(440.0);
            Ok(Scripted { every: 20 * MILLI, make: Box::new(move |n| tone.frame(n)) })
        })
    });
    connect(&mut phones, [ada, ben]);
    phones.run(SECOND);
    let now = phones.now();
    assert_eq!(phones.turn_server(0).allocations(now), 2);
    let servers = phones.stats(ada).unwrap().servers;
    assert_eq!(servers[0].state, ServerState::Works);
    phones.act(ada, CallCommand::Hangup);
    assert!(phones.run_until(5 * SECOND, is(ben, CallState::Ended)));
    phones.run(SECOND);
    let now = phones.now();
    assert_eq!(phones.turn_server(0).allocations(now), 0);
}

fn is(phone: Phone, state: CallState) -> impl Fn(&Phones) -> bool {
    move |phones| phones.state(phone) == Some(state)
}

/// The first calls the second, Ben, who answers.
fn connect(phones: &mut Phones, [ada, ben]: [Phone; 2]) {
    let room = phones.room("!room:example");
    phones.invite(ada, &room, "@ben:example", CallMedia::Voice);
    assert!(phones.run_until(5 * SECOND, is(ben, CallState::Ringing)));
    phones.act(ben, CallCommand::Answer(None));
    assert!(phones.run_until(5 * SECOND, is(ada, CallState::Connected)));
}

#[test]
fn the_same_seed_makes_the_same_relayed_call() {
    let schedule = |seed| {
        let mut call = relayed(seed, Link { loss: 0.1, ..Link::default() });
        call.negotiate();
        call.run_until(5 * SECOND, |_| false);
        (call.world.network().schedule(), call.world.network().traffic())
    };
    assert_eq!(schedule(1), schedule(1));
    assert_ne!(schedule(1), schedule(2));
}

/// A call longer than its credentials, through relays only, in which a phone changes its address.
/// The whole of it: the machine asks the homeserver, and the restart has what it says.
fn long_relayed_call(fresh: Result<TurnServers, Fault>) -> (Phones, [Phone; 2], Duration) {
    let mut phones = Phones::new(35, Link::default());
    let mut config = Config::default();
    config.relay_only = true;
    phones.configure(config);
    phones.add_turn_server(address(SERVER));
    let ttl = Duration::from_secs(120);
    phones.server().set_turn(Ok(TurnServers { servers: turn(), ttl }));
    let [ada, ben] = ["@ada:example", "@ben:example"].map(|user| {
        phones.phone(user, |_| {
            let make = |n| Frame::new(Codec::Opus, n * 960, vec![0xf8; 60]);
            Ok(Scripted { every: 20 * MILLI, make: Box::new(make) })
        })
    });
    connect(&mut phones, [ada, ben]);
    phones.run(150 * SECOND);
    phones.turn_server(0).change_password("second");
    phones.server().set_turn(fresh);
    let struck = phones.now();
    phones.change_address(ada, SECOND);
    (phones, [ada, ben], struck)
}

#[test]
fn a_call_that_outlived_its_credentials_survives_an_address_change() {
    let servers = server("turn:192.0.2.9", "second");
    let fresh = TurnServers { servers, ttl: Duration::from_secs(120) };
    let (mut phones, both, struck) = long_relayed_call(Ok(fresh));
    let heard = |phones: &Phones, phone| {
        phones.received(phone).last().is_some_and(|last| last.at > struck + 1500 * MILLI)
    };
    let back = |phones: &Phones| both.iter().all(|phone| heard(phones, *phone));
    assert!(phones.run_until(30 * SECOND, back), "{:?}", phones.stats(both[0]));
    println!("sound back {:?} after the address has changed", phones.now() - struck);
    assert!(phones.now() - struck < 5 * SECOND);
    assert_eq!(phones.state(both[0]), Some(CallState::Connected));
}

/// What the fresh ones are good for: without them the same call is lost.
#[test]
fn a_call_that_outlived_its_credentials_ends_without_fresh_ones() {
    let (mut phones, both, _) = long_relayed_call(Err(Fault::Unreachable));
    phones.run(40 * SECOND);
    assert_eq!(both.map(|phone| phones.state(phone)), [Some(CallState::Ended); 2]);
}
