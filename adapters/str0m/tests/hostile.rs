//! What a remote party may send: descriptions, candidates and datagrams that are odd, wrong or
//! garbage. Each is taken or refused with a reason; the peer lives on and makes its next call.
//!
//! The list of odd offers is `str0m.md` §6.9.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::time::Duration;

use matrix_voip::{
    id::TrackId,
    machine::io::{Candidate, Description, Fault, PeerNews, PeerOp, PeerState, Reply, SdpKind},
    sdp::SdpFault,
};
use matrix_voip_str0m::{
    PeerError,
    sim::{Datagram, Link, Node, World},
};
use testkit::{Tone, description, video, voice};

const FAST: Link = Link { delay: Duration::from_millis(1), jitter: Duration::ZERO, loss: 0.0 };

fn pair(seed: u64) -> (World, Node, Node) {
    let mut world = World::new(seed, FAST);
    let a = world.open("10.0.0.1:5000".parse().unwrap());
    let b = world.open("10.0.0.2:5000".parse().unwrap());
    (world, a, b)
}

fn offer(world: &mut World, node: Node) -> String {
    let made = description(world.perform(node, PeerOp::Offer(video(1, "ours"))).unwrap());
    world.perform(node, PeerOp::SetLocal(made.clone())).unwrap();
    made.sdp.expose().to_owned()
}

fn remote(kind: SdpKind, sdp: &str) -> PeerOp {
    PeerOp::SetRemote(Description { kind, sdp: sdp.into() })
}

/// Gives an offer to a peer and has it answered.
fn answer(world: &mut World, node: Node, offer: &str) -> Result<String, Fault> {
    world.perform(node, remote(SdpKind::Offer, offer))?;
    let Reply::Description(answer) = world.perform(node, PeerOp::Answer(video(3, "theirs")))?
    else {
        panic!("no description")
    };
    Ok(answer.sdp.expose().to_owned())
}

/// Without the lines that begin so.
fn cut(sdp: &str, prefixes: &[&str]) -> String {
    let kept = sdp.lines().filter(|line| !prefixes.iter().any(|prefix| line.starts_with(prefix)));
    kept.flat_map(|line| [line, "\r\n"]).collect()
}

/// Whether two peers connect with this offer, as far as the answerer is concerned.
fn assert_connects(world: &mut World, a: Node, b: Node, offer: &str) {
    let answer = answer(world, b, offer).unwrap();
    world.perform(a, remote(SdpKind::Answer, &answer)).unwrap();
    let connected = |world: &World| {
        [a, b].into_iter().all(|node| world.state(node) == Some(PeerState::Connected))
    };
    assert!(world.run_until(Duration::from_secs(5), connected));
}

#[test]
fn an_answer_with_other_lines_is_refused_and_the_right_one_fits_afterwards() {
    type Change = fn(&str) -> String;
    let wrong: [(&str, Change); 3] = [
        ("other names", |sdp| sdp.replace("a=mid:", "a=mid:x").replace("BUNDLE ", "BUNDLE x")),
        ("a line less", |sdp| sdp[..sdp.find("m=video").unwrap()].to_owned()),
        ("a line more", |sdp| format!("{sdp}{}", &sdp[sdp.find("m=video").unwrap()..])),
    ];
    for (what, change) in wrong {
        println!("{what}");
        let (mut world, a, b) = pair(5);
        // Whoever made it has agreed to something, so each is another one.
        for port in 6_000..6_003 {
            let other = world.open(([10, 0, 0, 2], port).into());
            let offer = offer(&mut world, a);
            let answer = answer(&mut world, other, &offer).unwrap();
            world.perform(a, remote(SdpKind::Answer, &change(&answer))).unwrap_err();
            world.perform(a, PeerOp::Rollback).unwrap();
        }
        let offer = offer(&mut world, a);
        assert_connects(&mut world, a, b, &offer);
    }
}

#[test]
fn odd_offers_that_can_work_do_work() {
    type Change = fn(&str) -> String;
    let odd: [(&str, Change); 9] = [
        ("no msid", |sdp| cut(sdp, &["a=msid", "a=ssrc"])),
        ("no setup", |sdp| cut(sdp, &["a=setup"])),
        ("no rtcp-mux", |sdp| cut(sdp, &["a=rtcp-mux"])),
        ("setup passive", |sdp| sdp.replace("actpass", "passive")),
        ("setup active", |sdp| sdp.replace("actpass", "active")),
        ("LF only", |sdp| sdp.replace("\r\n", "\n")),
        ("unknown attribute", |sdp| sdp.replace("a=rtcp-mux", "a=frobnicate:7 x\r\na=rtcp-mux")),
        ("candidate of an mDNS name", |sdp| {
            let name = "a=candidate:1 1 udp 2113937151 0c5f.local 50000 typ host";
            sdp.replacen("a=rtcp-mux", &format!("{name}\r\na=rtcp-mux"), 1)
        }),
        ("end of candidates", |sdp| {
            sdp.replacen("a=rtcp-mux", "a=end-of-candidates\r\na=rtcp-mux", 1)
        }),
    ];
    for (seed, (name, change)) in (1..).zip(odd) {
        println!("{name}");
        let (mut world, a, b) = pair(seed);
        let offer = change(&offer(&mut world, a));
        assert_connects(&mut world, a, b, &offer);
    }
}

#[test]
fn offers_that_cannot_work_are_refused_and_the_next_one_is_taken() {
    let (mut world, a, b) = pair(1);
    let good = offer(&mut world, a);
    let too_long = format!("{good}a=x:{}\r\n", "x".repeat(70_000));
    let many_lines: String = (0..80).map(|n| format!("m=audio 9 x 0\r\na=mid:{n}\r\n")).collect();
    let no_session = good.split_once("m=audio").unwrap().1;
    let refused = [
        ("empty", String::new(), Some(PeerError::Description(SdpFault::NotSdp))),
        ("no session part", no_session.into(), Some(PeerError::Description(SdpFault::NotSdp))),
        ("too long", too_long, Some(PeerError::Description(SdpFault::TooLarge))),
        ("too many lines", format!("{good}{many_lines}"), None),
        ("no fingerprint", cut(&good, &["a=fingerprint"]), None),
        ("no ICE credentials", cut(&good, &["a=ice-ufrag", "a=ice-pwd"]), None),
        ("no bundle", cut(&good, &["a=group"]), None),
        ("no mid", cut(&good, &["a=mid"]), Some(PeerError::BadMid)),
        ("a mid of two lines", good.replace("a=mid:", "a=mid:X\r\na=was:"), None),
        ("cut off", good[..good.len() / 2].to_owned(), None),
        ("cut in the fingerprint", good.split("a=fingerprint").next().unwrap().into(), None),
        (
            "garbage in the fingerprint",
            good.replace("a=fingerprint:sha-256", "a=fingerprint:"),
            None,
        ),
        ("unknown hash", good.replace("sha-256", "rot13"), None),
        ("not even text", "\u{0}\u{1}\u{fffd}".repeat(40), None),
    ];
    for (name, sdp, expected) in refused {
        match answer(&mut world, b, &sdp) {
            Err(Fault::Failed(reason)) => {
                println!("{name}: {reason}");
                if let Some(expected) = expected {
                    assert_eq!(reason, expected.to_string(), "{name}");
                }
            }
            Err(other) => panic!("{name}: {other:?}"),
            // An unknown hash is found out only in the handshake.
            Ok(_) => panic!("{name} was taken"),
        }
        assert_ne!(world.state(b), Some(PeerState::Failed), "{name}");
    }
    assert_connects(&mut world, a, b, &good);
}

#[test]
fn an_offer_without_a_common_codec_is_answered_with_nothing() {
    let (mut world, a, b) = pair(1);
    let offer = offer(&mut world, a).replace("VP8", "XX8").replace("H264", "X264");
    let answer = answer(&mut world, b, &offer.replace("opus", "xpus")).unwrap();
    println!("{:?}", answer.lines().filter(|line| line.starts_with("m=")).collect::<Vec<_>>());
    assert_ne!(world.state(b), Some(PeerState::Failed));
}

#[test]
fn a_wrong_fingerprint_fails_the_connection_and_every_later_request() {
    let (mut world, a, b) = pair(1);
    let good = offer(&mut world, a);
    let line = good.lines().find(|line| line.starts_with("a=fingerprint:")).unwrap();
    let digit = if line.ends_with('0') { "1" } else { "0" };
    let wrong = good.replace(line, &format!("{}{digit}", &line[..line.len() - 1]));
    let answer = answer(&mut world, b, &wrong).unwrap();
    world.perform(a, remote(SdpKind::Answer, &answer)).unwrap();
    let failed = |world: &World| world.state(b) == Some(PeerState::Failed);
    assert!(world.run_until(Duration::from_secs(10), failed), "{:?}", world.news(b));
    let dead = Err(Fault::Failed(PeerError::Dead.to_string()));
    assert_eq!(world.perform(b, PeerOp::Offer(voice(1, "x"))), dead);
    assert_eq!(world.perform(b, PeerOp::Rollback), dead);
    assert_eq!(world.perform(b, PeerOp::Close), Ok(Reply::Done));
    let failures = world.news(b).iter();
    let is_failure = |news: &PeerNews| *news == PeerNews::State(PeerState::Failed);
    assert_eq!(failures.filter(|(_, news)| is_failure(news)).count(), 1);
}

#[test]
fn answers_out_of_turn_are_refused() {
    let (mut world, a, b) = pair(1);
    let good = offer(&mut world, a);
    let answer = answer(&mut world, b, &good).unwrap();
    let none = Err(Fault::Failed(PeerError::NoOffer.to_string()));
    assert_eq!(world.perform(b, remote(SdpKind::Answer, &answer)), none);
    let no_offer = Err(Fault::Failed(PeerError::NoRemoteOffer.to_string()));
    assert_eq!(world.perform(a, PeerOp::Answer(voice(1, "x"))), no_offer);
    world.perform(a, remote(SdpKind::Answer, &answer)).unwrap();
    assert_eq!(world.perform(a, remote(SdpKind::Answer, &answer)), none, "used up");
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_a_new_offer_works() {
    let (mut world, a, b) = pair(1);
    let first = offer(&mut world, a);
    let answer_to_first = answer(&mut world, b, &first).unwrap();
    let other_mid = answer_to_first.replace("a=mid:", "a=mid:z");
    assert!(matches!(world.perform(a, remote(SdpKind::Answer, &other_mid)), Err(Fault::Failed(_))));
    let mut fresh = World::new(2, FAST);
    let other = fresh.open("10.0.0.3:5000".parse().unwrap());
    let second = description(world.perform(a, PeerOp::Offer(video(1, "ours"))).unwrap());
    assert!(answer(&mut fresh, other, second.sdp.expose()).is_ok());
}

/// Changes a text at random: bytes, lines gone, twice, swapped, cut off.
fn mutate(random: &mut fastrand::Rng, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..random.usize(1..6) {
        let at = random.usize(0..lines.len());
        match random.u8(0..6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[random.usize(0..lines.len())].clone()),
            2 => lines.swap(at, 0),
            3 => lines[at] = lines[at].chars().take(random.usize(0..20)).collect(),
            4 => lines[at].push_str(&random.u64(..).to_string()),
            _ => {
                let mut bytes = lines[at].clone().into_bytes();
                if let Some(byte) = bytes.get_mut(random.usize(0..40)) {
                    *byte = random.u8(32..127);
                }
                lines[at] = String::from_utf8(bytes).unwrap_or_default();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect()
}

#[test]
fn no_mangled_description_makes_a_peer_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..60 {
        let (mut world, a, b) = pair(seed);
        let good = offer(&mut world, a);
        for _ in 0..10 {
            match answer(&mut world, b, &mutate(&mut random, &good)) {
                Ok(answer) => {
                    taken += 1;
                    drop(world.perform(a, remote(SdpKind::Answer, &mutate(&mut random, &answer))));
                    drop(world.perform(a, PeerOp::Offer(video(1, "ours"))));
                }
                Err(Fault::Failed(_)) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
            world.run(Duration::from_millis(50));
        }
    }
    println!("{taken} mangled offers taken, {refused} refused");
    assert!(taken > 50 && refused > 50);
}

#[test]
fn garbage_on_the_socket_and_among_the_candidates_does_not_disturb_a_call() {
    let (mut world, a, b) = pair(1);
    let mut tone = Tone::new(440.0);
    world.feed(a, TrackId(1), Duration::from_millis(20), move |n| tone.frame(n));
    let stranger = "10.6.6.6:666".parse().unwrap();
    world.network().open(stranger);
    let mut random = fastrand::Rng::with_seed(1);
    let mut garbage = |world: &mut World| {
        let now = world.now();
        for _ in 0..50 {
            let length = random.usize(0..200);
            let mut data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            // DTLS handshake, alert, STUN, RTP: the first byte says what it claims to be.
            if let Some(first) = data.first_mut() {
                *first = random.choice([0, 1, 21, 22, 23, 128, 144, 200]).unwrap();
            }
            world
                .network()
                .send(now, Datagram { from: stranger, to: "10.0.0.2:5000".parse().unwrap(), data });
        }
    };
    let good = offer(&mut world, a);
    garbage(&mut world);
    let line = |text: &str| Candidate { candidate: text.into(), ..Candidate::end() };
    let useless = ["", "candidate:", "\u{0}", "candidate:1 1 udp x y z typ host", "a=b"].map(line);
    world.perform(b, PeerOp::Candidates(useless.to_vec())).unwrap();
    let answer = answer(&mut world, b, &good).unwrap();
    garbage(&mut world);
    world.perform(a, remote(SdpKind::Answer, &answer)).unwrap();
    for _ in 0..40 {
        world.run(Duration::from_millis(25));
        garbage(&mut world);
    }
    assert_eq!(world.state(b), Some(PeerState::Connected));
    assert!(world.frames(b).len() > 30, "{} frames", world.frames(b).len());
}
