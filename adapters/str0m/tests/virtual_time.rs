//! Two real peers over a simulated network: ICE, DTLS and SRTP in virtual time.
//!
//! No socket, no sleep; signalling takes as long as one way over the network.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::time::Duration;

use matrix_voip::{
    host::SourceControl,
    id::TrackId,
    machine::io::{Direction, PeerNews, PeerOp, PeerState, Plan, Reply, Slot},
};
use matrix_voip_str0m::sim::{Link, Node, World};
use testkit::{Tone, description, heard, line, voice, without_candidates};

const MILLI: Duration = Duration::from_millis(1);

/// Two peers with tones, negotiated directly; signalling takes one way.
fn call(seed: u64, link: Link) -> (World, Node, Node) {
    let mut world = World::new(seed, link);
    let a = world.open("10.0.0.1:5000".parse().unwrap());
    let b = world.open("10.0.0.2:5000".parse().unwrap());
    for (node, track, hertz) in [(a, 1, 440.0), (b, 2, 880.0)] {
        let mut tone = Tone::new(hertz);
        world.feed(node, TrackId(track), 20 * MILLI, move |n| tone.frame(n));
    }
    let offer = description(world.perform(a, PeerOp::Offer(voice(1, "stream-a"))).unwrap());
    world.perform(a, PeerOp::SetLocal(offer.clone())).unwrap();
    world.run(link.delay);
    world.perform(b, PeerOp::SetRemote(offer)).unwrap();
    let answer = description(world.perform(b, PeerOp::Answer(voice(2, "stream-b"))).unwrap());
    world.perform(b, PeerOp::SetLocal(answer.clone())).unwrap();
    world.run(link.delay);
    world.perform(a, PeerOp::SetRemote(answer)).unwrap();
    (world, a, b)
}

fn both_hear(world: &World, a: Node, b: Node) -> bool {
    !world.frames(a).is_empty() && !world.frames(b).is_empty()
}

fn tone_at(world: &World, node: Node) -> (f32, f32) {
    heard(world.frames(node).iter().map(|received| &received.frame))
}

#[test]
fn two_peers_connect_and_hear_each_others_tone() {
    let (mut world, a, b) = call(1, Link::default());
    assert!(world.run_until(Duration::from_secs(5), |world| both_hear(world, a, b)));
    println!("first sound both ways after {:?} (RTT 50 ms)", world.now());
    assert!(world.now() < 300 * MILLI);
    world.run(Duration::from_secs(2));
    assert_eq!(world.state(a), Some(PeerState::Connected));
    let ((at_a, level), (at_b, _)) = (tone_at(&world, a), tone_at(&world, b));
    assert!((860.0..900.0).contains(&at_a) && level > 0.2, "a hears {at_a} Hz, {level}");
    assert!((430.0..450.0).contains(&at_b), "b hears {at_b} Hz");
}

#[test]
fn loss_delays_the_connection_but_does_not_prevent_it() {
    let lossy = Link { loss: 0.2, jitter: 20 * MILLI, ..Link::default() };
    let mut times: Vec<Duration> = (1..=20)
        .map(|seed| {
            let (mut world, a, b) = call(seed, lossy);
            assert!(world.run_until(Duration::from_secs(30), |world| both_hear(world, a, b)));
            world.now()
        })
        .collect();
    times.sort();
    println!("20 % loss, RTT 50 ms: median {:?}, worst {:?}", times[10], times[19]);
    assert!(times[10] < Duration::from_secs(2));
}

#[test]
fn tones_go_on_under_loss_and_the_loss_is_measured() {
    let (mut world, a, _) = call(3, Link { loss: 0.05, ..Link::default() });
    world.run(Duration::from_secs(15));
    let (hertz, _) = tone_at(&world, a);
    assert!((850.0..910.0).contains(&hertz), "a hears {hertz} Hz");
    let Ok(Reply::Stats(stats)) = world.perform(a, PeerOp::Stats) else { panic!("no stats") };
    let inbound = &stats.inbound[0];
    let share = inbound.lost.unwrap() as f64 / inbound.packets as f64;
    println!("lost {:?} of {} packets, {stats:?}", inbound.lost, inbound.packets);
    assert!((0.02..0.09).contains(&share), "lost {share}");
    assert_eq!(inbound.codec, "audio/opus");
    assert!(stats.outbound[0].lost.is_some(), "the other side has reported");
    let told = world.controls(a).iter().filter_map(|(_, track, control)| match control {
        SourceControl::Loss(share) => Some((*track, *share)),
        _ => None,
    });
    assert!(told.clone().all(|(track, _)| track == TrackId(1)));
    assert!(told.clone().any(|(_, share)| share > 0.0 && share < 0.2), "the source hears of it");
    let pair = stats.pair.unwrap();
    assert_eq!((pair.local.kind, pair.remote.kind), ("host", "host"));
    assert!((50 * MILLI..60 * MILLI).contains(&stats.round_trip.unwrap()));
}

#[test]
fn an_outage_of_five_seconds_is_survived() {
    let (mut world, a, b) = call(4, Link::default());
    world.run(Duration::from_secs(3));
    world.network().take_down();
    world.run(Duration::from_secs(5));
    let before = (world.frames(a).len(), world.frames(b).len());
    world.network().bring_up();
    let back = world.now();
    let resumed =
        |world: &World| world.frames(a).len() > before.0 && world.frames(b).len() > before.1;
    assert!(world.run_until(Duration::from_secs(5), resumed));
    println!("sound is back {:?} after the link", world.now() - back);
    assert!(world.now() - back < 300 * MILLI);
    world.run(Duration::from_secs(2));
    assert_eq!(world.state(a), Some(PeerState::Connected));
    assert!((860.0..900.0).contains(&tone_at(&world, a).0));
}

#[test]
fn a_longer_outage_is_reported_soon_and_so_is_its_end() {
    let (mut world, a, b) = call(5, Link::default());
    world.run(Duration::from_secs(3));
    world.network().take_down();
    let down = world.now();
    let both =
        |state| move |world: &World| [a, b].iter().all(|node| world.state(*node) == Some(state));
    assert!(world.run_until(Duration::from_secs(40), both(PeerState::Disconnected)));
    println!("disconnected after {:?}", world.now() - down);
    assert!((5000 * MILLI..5500 * MILLI).contains(&(world.now() - down)));
    world.run(Duration::from_secs(5));
    world.network().bring_up();
    let back = world.now();
    assert!(world.run_until(Duration::from_secs(10), both(PeerState::Connected)));
    println!("connected again after {:?}", world.now() - back);
    assert!(world.now() - back < 200 * MILLI);
}

fn changes(world: &World, node: Node) -> Vec<PeerState> {
    let news = world.news(node).iter();
    news.filter_map(|(_, news)| match news {
        PeerNews::State(state) => Some(*state),
        _ => None,
    })
    .collect()
}

/// A call in which nobody sends anything.
fn held(seed: u64, link: Link) -> (World, Node, Node) {
    let (mut world, a, b) = call(seed, link);
    assert!(world.run_until(Duration::from_secs(30), |world| both_hear(world, a, b)));
    let hold = Plan { lines: vec![line(Slot::Audio, Direction::Inactive, 1, "a")] };
    let offer = description(world.perform(a, PeerOp::Offer(hold)).unwrap());
    world.perform(a, PeerOp::SetLocal(offer.clone())).unwrap();
    world.perform(b, PeerOp::SetRemote(offer)).unwrap();
    let answer = description(world.perform(b, PeerOp::Answer(voice(2, "b"))).unwrap());
    world.perform(b, PeerOp::SetLocal(answer.clone())).unwrap();
    world.perform(a, PeerOp::SetRemote(answer)).unwrap();
    world.run(Duration::from_secs(1));
    (world, a, b)
}

#[test]
fn a_call_on_hold_is_not_taken_for_lost_and_its_loss_is_noticed_all_the_same() {
    let (mut world, a, b) = held(1, Link::default());
    let before = (changes(&world, a).len(), changes(&world, b).len());
    world.run(Duration::from_secs(600));
    assert_eq!((changes(&world, a).len(), changes(&world, b).len()), before, "ten quiet minutes");
    world.network().take_down();
    let down = world.now();
    let lost = |world: &World| world.state(a) == Some(PeerState::Disconnected);
    assert!(world.run_until(Duration::from_secs(10), lost));
    assert!(world.now() - down < 6 * 1000 * MILLI);
    world.network().bring_up();
    let back = world.now();
    let found =
        |world: &World| [a, b].iter().all(|node| world.state(*node) == Some(PeerState::Connected));
    assert!(world.run_until(Duration::from_secs(10), found));
    println!("on hold: connected again {:?} after the link", world.now() - back);
    assert!(world.now() - back < 4 * 1000 * MILLI);
}

#[test]
fn loss_alone_is_no_disconnection_while_sound_flows() {
    for (loss, seconds) in [(0.05, 600), (0.2, 300)] {
        let (mut world, a, b) = call(9, Link { loss, ..Link::default() });
        assert!(world.run_until(Duration::from_secs(30), |world| both_hear(world, a, b)));
        world.run(Duration::from_secs(1));
        let before = changes(&world, a).len();
        world.run(Duration::from_secs(seconds));
        assert_eq!(changes(&world, a).len(), before, "{:?} at {loss}", changes(&world, a));
    }
}

#[test]
fn the_other_sides_goodbye_is_a_disconnection_at_once() {
    let (mut world, a, b) = call(10, Link::default());
    world.run(Duration::from_secs(2));
    world.perform(b, PeerOp::Close).unwrap();
    world.run(100 * MILLI);
    assert_eq!(world.state(a), Some(PeerState::Disconnected));
    world.run(Duration::from_secs(60));
    assert_eq!(world.state(a), Some(PeerState::Disconnected), "and it stays so");
}

#[test]
fn candidates_alone_connect_when_the_descriptions_hold_none() {
    let mut world = World::new(6, Link::default());
    let a = world.open("10.0.0.1:5000".parse().unwrap());
    let b = world.open("10.0.0.2:5000".parse().unwrap());
    let offer = description(world.perform(a, PeerOp::Offer(voice(1, "a"))).unwrap());
    assert!(world.news(a).is_empty(), "nothing is reported before the offer is in force");
    world.perform(a, PeerOp::SetLocal(offer.clone())).unwrap();
    let reported = |world: &World, node| -> Vec<_> {
        let news = world.news(node).iter();
        news.filter_map(|(_, news)| match news {
            PeerNews::Candidate(candidate) => Some(candidate.clone()),
            _ => None,
        })
        .collect()
    };
    let ours = reported(&world, a);
    assert_eq!(ours.len(), 1);
    assert!(matches!(world.news(a).last(), Some((_, PeerNews::GatheringDone))));
    assert!(matrix_voip::sdp::holds_candidate(offer.sdp.expose(), ours[0].candidate.expose()));

    // The candidates arrive before the offer is answered: they wait.
    world.perform(b, PeerOp::SetRemote(without_candidates(&offer))).unwrap();
    world.perform(b, PeerOp::Candidates(ours)).unwrap();
    let answer = description(world.perform(b, PeerOp::Answer(voice(2, "b"))).unwrap());
    world.perform(b, PeerOp::SetLocal(answer.clone())).unwrap();
    let theirs = reported(&world, b);
    world.perform(a, PeerOp::SetRemote(without_candidates(&answer))).unwrap();
    world.perform(a, PeerOp::Candidates(theirs)).unwrap();
    let connected = |world: &World| world.state(a) == Some(PeerState::Connected);
    assert!(world.run_until(Duration::from_secs(2), connected));
}

#[test]
fn the_same_seed_sends_the_same_packets_at_the_same_times() {
    let lossy = Link { loss: 0.2, jitter: 40 * MILLI, ..Link::default() };
    let schedule = |seed| {
        let (mut world, a, b) = call(seed, lossy);
        world.run(Duration::from_secs(10));
        let arrivals: Vec<_> = world.frames(a).iter().map(|received| received.at).collect();
        (world.network().schedule(), world.network().traffic(), arrivals, world.frames(b).len())
    };
    for seed in 1..=5 {
        assert_eq!(schedule(seed), schedule(seed), "seed {seed}");
    }
    assert_ne!(schedule(1).0, schedule(2).0);
}
