//! Offers and answers by plan, between two peers: what is agreed, who hears what, and what a
//! rollback, a hold or a restart leave behind.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::time::Duration;

use matrix_voip::{
    host::{Codec, Frame},
    id::TrackId,
    machine::io::{
        Candidate, Description, Direction, Fault, PeerNews, PeerOp, PeerState, Plan, PlanLine,
        Reply, Slot,
    },
    sdp::{LineKind, media_lines},
};
use matrix_voip_str0m::{
    PeerError,
    sim::{Link, Node, World},
};
use testkit::{Tone, description, line, values, video, voice, without_candidates};

const FAST: Link = Link { delay: Duration::from_millis(1), jitter: Duration::ZERO, loss: 0.0 };

struct Pair {
    world: World,
    a: Node,
    b: Node,
}

impl Pair {
    /// Two peers; tracks 1 (sound), 2 (picture) and 3 (screen) of each are fed.
    fn new() -> Self {
        let mut world = World::new(1, FAST);
        let a = world.open("10.0.0.1:5000".parse().unwrap());
        let b = world.open("10.0.0.2:5000".parse().unwrap());
        for node in [a, b] {
            let mut tone = Tone::new(440.0);
            world.feed(node, TrackId(1), Duration::from_millis(20), move |n| tone.frame(n));
            for track in [2, 3] {
                let picture = |n| {
                    Frame::new(Codec::Vp8, n * 3600, vec![0x10, 2, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0])
                };
                world.feed(node, TrackId(track), Duration::from_millis(40), picture);
            }
        }
        Self { world, a, b }
    }

    fn offer(&mut self, node: Node, plan: Plan) -> Description {
        let offer = description(self.world.perform(node, PeerOp::Offer(plan)).unwrap());
        self.world.perform(node, PeerOp::SetLocal(offer.clone())).unwrap();
        offer
    }

    fn answer(&mut self, node: Node, offer: &Description, plan: Plan) -> Description {
        self.world.perform(node, PeerOp::SetRemote(offer.clone())).unwrap();
        let answer = description(self.world.perform(node, PeerOp::Answer(plan)).unwrap());
        self.world.perform(node, PeerOp::SetLocal(answer.clone())).unwrap();
        answer
    }

    /// One whole negotiation; returns both descriptions.
    fn negotiate(&mut self, from: Node, plan: Plan, theirs: Plan) -> (String, String) {
        let to = if from == self.a { self.b } else { self.a };
        let offer = self.offer(from, plan);
        let answer = self.answer(to, &offer, theirs);
        self.world.perform(from, PeerOp::SetRemote(answer.clone())).unwrap();
        (offer.sdp.expose().to_owned(), answer.sdp.expose().to_owned())
    }

    /// Frames that each side receives in the next second, by m-line.
    fn flow(&mut self) -> (Vec<String>, Vec<String>) {
        self.world.run(Duration::from_millis(300));
        let before = [self.a, self.b].map(|node| self.world.frames(node).len());
        self.world.run(Duration::from_secs(1));
        let lines = |node, before: usize| {
            let mut mids: Vec<String> =
                self.world.frames(node)[before..].iter().map(|r| r.mid.clone()).collect();
            mids.sort();
            mids.dedup();
            mids
        };
        (lines(self.a, before[0]), lines(self.b, before[1]))
    }
}

/// The longest time without a new frame that both sides have had since then.
fn longest_gaps(pair: &Pair, since: Duration) -> [Duration; 2] {
    [pair.a, pair.b].map(|node| {
        let frames = pair.world.frames(node).iter().filter(|received| received.at >= since);
        let sound = frames.filter(|received| received.frame.codec == Codec::Opus);
        let mut times: Vec<Duration> = sound.map(|received| received.at).collect();
        times.insert(0, since);
        times.push(pair.world.now());
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    })
}

fn ufrag(sdp: &str) -> String {
    matrix_voip::sdp::ice_ufrag(sdp).unwrap().to_owned()
}

fn trickled(pair: &Pair, node: Node, ufrag: &str) -> Vec<Candidate> {
    let news = pair.world.news(node).iter();
    news.filter_map(|(_, news)| match news {
        PeerNews::Candidate(candidate) => Some(candidate.clone()),
        _ => None,
    })
    .filter(|candidate| candidate.username_fragment.as_deref() == Some(ufrag))
    .collect()
}

fn directions(sdp: &str) -> Vec<(LineKind, Direction)> {
    media_lines(sdp).into_iter().map(|line| (line.kind, line.direction)).collect()
}

fn mids(sdp: &str) -> Vec<String> {
    media_lines(sdp).into_iter().map(|line| line.mid.unwrap().to_owned()).collect()
}

fn with(mut plan: Plan, lines: impl IntoIterator<Item = PlanLine>) -> Plan {
    plan.lines.extend(lines);
    plan
}

#[test]
fn a_voice_answer_to_a_video_offer_switches_the_picture_off() {
    let mut pair = Pair::new();
    let (offer, answer) = pair.negotiate(pair.a, video(1, "a"), voice(1, "b"));
    use Direction::{Inactive, SendRecv};
    assert_eq!(directions(&offer), [(LineKind::Audio, SendRecv), (LineKind::Video, SendRecv)]);
    assert_eq!(directions(&answer), [(LineKind::Audio, SendRecv), (LineKind::Video, Inactive)]);
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
}

#[test]
fn an_answer_may_receive_a_picture_without_sending_one() {
    let mut pair = Pair::new();
    let watch = with(voice(1, "b"), [line(Slot::Video, Direction::RecvOnly, 0, "")]);
    let (_, answer) = pair.negotiate(pair.a, video(1, "a"), watch);
    assert_eq!(directions(&answer)[1], (LineKind::Video, Direction::RecvOnly));
    assert_eq!(values(&answer, "a=msid:").get(&2), None, "nothing sent, no stream");
    assert_eq!(values(&answer, "a=ssrc:").get(&2), None);
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 2));
}

/// On hold nothing is sent; Chromium would stay silent for ever if the source lost its name.
#[test]
fn what_pauses_keeps_its_names() {
    let mut pair = Pair::new();
    let (_, answer) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let mut held = voice(1, "b");
    held.lines[0].direction = Direction::SendOnly;
    let (_, paused) = pair.negotiate(pair.b, held, voice(1, "a"));
    assert_eq!(directions(&paused), [(LineKind::Audio, Direction::RecvOnly)]);
    let (_, before) = pair.negotiate(pair.b, voice(1, "b"), voice(1, "a"));
    for name in ["a=msid:", "a=ssrc:"] {
        assert_eq!(values(&paused, name), values(&before, name), "{name}");
    }
    assert_ne!(values(&paused, "a=ssrc:"), values(&answer, "a=ssrc:"), "each has its own");
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
}

#[test]
fn a_picture_can_be_added_and_taken_away_in_a_call() {
    let mut pair = Pair::new();
    let (first, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    assert_eq!(pair.flow().0.len(), 1);
    let (second, _) = pair.negotiate(pair.b, video(1, "b"), video(1, "a"));
    assert_eq!(mids(&second)[0], mids(&first)[0], "the sound keeps its line");
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (2, 2));
    let (third, answer) = pair.negotiate(pair.a, voice(1, "a"), video(1, "b"));
    assert_eq!(mids(&third), mids(&second), "a line that is not used stays");
    assert_eq!(directions(&answer)[1].1, Direction::Inactive);
    assert_eq!(pair.flow().0.len(), 1);
    let news = pair.world.news(pair.a).iter();
    let removed = news.filter(|(_, news)| matches!(news, PeerNews::TrackRemoved { .. }));
    assert_eq!(removed.count(), 1);
    pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (2, 2), "and can be used again");
}

#[test]
fn a_screen_goes_into_a_line_of_its_own_with_its_own_stream() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
    let share = with(video(1, "a"), [line(Slot::Screen, Direction::SendOnly, 3, "a-screen")]);
    let watch = with(video(1, "b"), [line(Slot::Screen, Direction::RecvOnly, 0, "")]);
    let (offer, answer) = pair.negotiate(pair.a, share.clone(), watch);
    assert_eq!(directions(&offer)[2], (LineKind::Video, Direction::SendOnly));
    assert_eq!(directions(&answer)[2], (LineKind::Video, Direction::RecvOnly));
    assert_eq!(values(&offer, "a=msid:")[&3], ["a-screen a-screen-3"]);
    let news = pair.world.news(pair.b);
    let is_screen = |news: &PeerNews| match news {
        PeerNews::TrackAdded { stream, .. } => {
            stream.as_ref().is_some_and(|stream| stream.as_str() == "a-screen")
        }
        _ => false,
    };
    assert!(news.iter().any(|(_, news)| is_screen(news)));
    assert_eq!(pair.flow().1.len(), 3);

    // The other side shares too, in the same line, as browsers do.
    let both = with(video(1, "b"), [line(Slot::Screen, Direction::SendRecv, 3, "b-screen")]);
    let mut ours = share;
    ours.lines[2] = line(Slot::Screen, Direction::SendRecv, 3, "a-screen");
    let (offer, _) = pair.negotiate(pair.b, both, ours);
    assert_eq!(mids(&offer).len(), 3);
    assert_eq!(values(&offer, "a=msid:")[&3], ["b-screen b-screen-3"]);
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (3, 3));
}

#[test]
fn a_hold_silences_both_ways_and_ends() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    assert_eq!(pair.flow().0.len(), 1);
    for direction in [Direction::Inactive, Direction::SendOnly] {
        let hold = Plan { lines: vec![line(Slot::Audio, direction, 1, "a")] };
        let (offer, _) = pair.negotiate(pair.a, hold, voice(1, "b"));
        assert_eq!(directions(&offer)[0].1, direction);
        let (at_a, at_b) = pair.flow();
        assert_eq!(at_a.len(), 0, "{direction:?}");
        assert_eq!(at_b.len(), usize::from(direction == Direction::SendOnly));
        pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
        let (at_a, at_b) = pair.flow();
        assert_eq!((at_a.len(), at_b.len()), (1, 1), "after {direction:?}");
    }
}

#[test]
fn a_hold_by_one_side_can_be_ended_by_the_other() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let hold = Plan { lines: vec![line(Slot::Audio, Direction::Inactive, 1, "a")] };
    pair.negotiate(pair.a, hold, voice(1, "b"));
    pair.negotiate(pair.b, voice(1, "b"), voice(1, "a"));
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
}

#[test]
fn a_held_line_can_be_asked_to_send_alone() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let hold = Plan { lines: vec![line(Slot::Audio, Direction::Inactive, 1, "a")] };
    pair.negotiate(pair.a, hold, voice(1, "b"));
    let listen = Plan { lines: vec![line(Slot::Audio, Direction::RecvOnly, 1, "b")] };
    let (_, answer) = pair.negotiate(pair.b, listen, voice(1, "a"));
    assert_eq!(directions(&answer)[0].1, Direction::SendOnly);
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (0, 1));
}

#[test]
fn an_offer_that_changes_nothing_is_an_offer_and_disturbs_nothing() {
    let mut pair = Pair::new();
    let (first, _) = pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
    let (second, _) = pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
    assert_eq!((mids(&first), directions(&first)), (mids(&second), directions(&second)));
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (2, 2));
}

#[test]
fn a_rollback_leaves_everything_as_it_was() {
    let mut pair = Pair::new();
    let (before, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let hold = Plan { lines: vec![line(Slot::Audio, Direction::Inactive, 1, "a")] };
    pair.offer(pair.a, with(hold, [line(Slot::Video, Direction::SendRecv, 2, "a")]));
    pair.world.perform(pair.a, PeerOp::Rollback).unwrap();
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1), "the sound goes on");
    let (after, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    assert_eq!(mids(&before), mids(&after), "the line that was not agreed is gone");
}

#[test]
fn after_glare_the_loser_answers_and_then_offers_again() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let lost = pair.offer(pair.b, video(1, "b"));
    let won = pair.offer(pair.a, voice(1, "a"));
    pair.world.perform(pair.b, PeerOp::Rollback).unwrap();
    let answer = pair.answer(pair.b, &won, voice(1, "b"));
    pair.world.perform(pair.a, PeerOp::SetRemote(answer)).unwrap();
    let stale =
        PeerOp::SetRemote(Description { kind: matrix_voip::machine::io::SdpKind::Answer, ..lost });
    let none = Err(Fault::Failed(PeerError::NoOffer.to_string()));
    assert_eq!(pair.world.perform(pair.b, stale), none);
    pair.negotiate(pair.b, video(1, "b"), video(1, "a"));
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (2, 2));
}

#[test]
fn an_ice_restart_changes_the_credentials_and_media_goes_on() {
    let mut pair = Pair::new();
    let (first, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.flow();
    pair.world.perform(pair.a, PeerOp::RestartIce).unwrap();
    let (second, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let ufrag = |sdp: &str| matrix_voip::sdp::ice_ufrag(sdp).unwrap().to_owned();
    assert_ne!(ufrag(&first), ufrag(&second));
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
    assert_eq!(pair.world.state(pair.a), Some(PeerState::Connected));
    let (third, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    assert_eq!(ufrag(&second), ufrag(&third), "one restart is one restart");
}

#[test]
fn the_local_description_holds_all_candidates_and_the_end_mark() {
    let mut pair = Pair::new();
    let none = Err(Fault::Failed(PeerError::NoDescription.to_string()));
    assert_eq!(pair.world.perform(pair.a, PeerOp::LocalDescription), none);
    pair.offer(pair.a, voice(1, "a"));
    let Ok(Reply::Description(read)) = pair.world.perform(pair.a, PeerOp::LocalDescription) else {
        panic!("no description")
    };
    assert_eq!(values(read.sdp.expose(), "a=candidate:")[&1].len(), 1);
    assert!(read.sdp.expose().contains("a=end-of-candidates"));
}

#[test]
fn an_empty_plan_offers_nothing_and_says_so() {
    let mut pair = Pair::new();
    let nothing = Err(Fault::Failed(PeerError::NothingToOffer.to_string()));
    assert_eq!(pair.world.perform(pair.a, PeerOp::Offer(Plan::default())), nothing);
}

#[test]
fn after_a_rollback_of_new_lines_theirs_are_taken_and_ours_offered_again() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    let hold = Plan { lines: vec![line(Slot::Audio, Direction::SendOnly, 1, "a")] };
    pair.offer(pair.b, with(hold, [line(Slot::Video, Direction::SendRecv, 2, "b")]));
    let screen = || line(Slot::Screen, Direction::SendOnly, 3, "a-screen");
    let theirs = pair.offer(pair.a, with(video(1, "a"), [screen()]));
    pair.world.perform(pair.b, PeerOp::Rollback).unwrap();
    let watch = || line(Slot::Screen, Direction::RecvOnly, 0, "");
    let answer = pair.answer(pair.b, &theirs, with(video(1, "b"), [watch()]));
    assert_eq!(directions(answer.sdp.expose())[0].1, Direction::SendRecv, "the hold is forgotten");
    pair.world.perform(pair.a, PeerOp::SetRemote(answer)).unwrap();
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (2, 3));
    let (again, _) = pair.negotiate(
        pair.b,
        with(video(1, "b"), [line(Slot::Screen, Direction::SendRecv, 3, "b-screen")]),
        with(video(1, "a"), [line(Slot::Screen, Direction::SendRecv, 3, "a-screen")]),
    );
    assert_eq!(mids(&again), mids(theirs.sdp.expose()), "no line was left behind");
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (3, 3));
}

#[test]
fn a_rollback_before_anything_was_agreed_leaves_a_peer_that_can_answer_or_offer() {
    for then_offers in [false, true] {
        let mut pair = Pair::new();
        pair.offer(pair.a, video(1, "a"));
        pair.world.perform(pair.a, PeerOp::Rollback).unwrap();
        let none = Err(Fault::Failed(PeerError::NoDescription.to_string()));
        assert_eq!(pair.world.perform(pair.a, PeerOp::LocalDescription), none);
        let from = if then_offers { pair.a } else { pair.b };
        pair.negotiate(from, video(1, "x"), video(1, "y"));
        let (at_a, at_b) = pair.flow();
        assert_eq!((at_a.len(), at_b.len()), (2, 2), "a offers: {then_offers}");
    }
}

#[test]
fn either_side_restarts_ice_in_either_role_and_the_old_path_carries_on_meanwhile() {
    for (first, restarter) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut pair = Pair::new();
        let nodes = [pair.a, pair.b];
        let before = pair.negotiate(nodes[first], voice(1, "x"), voice(1, "y"));
        pair.flow();
        let begin = pair.world.now();
        let (from, to) = (nodes[restarter], nodes[1 - restarter]);
        pair.world.perform(from, PeerOp::RestartIce).unwrap();
        let offer = pair.offer(from, voice(1, "x"));
        pair.world.run(Duration::from_secs(2));
        let answer = pair.answer(to, &offer, voice(1, "y"));
        pair.world.run(Duration::from_secs(2));
        pair.world.perform(from, PeerOp::SetRemote(answer.clone())).unwrap();
        pair.world.run(Duration::from_secs(20));
        for new in [&offer, &answer] {
            let new = ufrag(new.sdp.expose());
            assert!(ufrag(&before.0) != new && ufrag(&before.1) != new);
        }
        let gaps = longest_gaps(&pair, begin);
        println!("restart by {restarter}, first offer by {first}: longest gaps {gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= Duration::from_millis(60)), "{gaps:?}");
        for node in nodes {
            let news = pair.world.news(node).iter().filter(|(at, _)| *at > begin);
            let states: Vec<_> =
                news.filter(|(_, news)| matches!(news, PeerNews::State(_))).collect();
            assert!(states.is_empty(), "the person hears nothing of it: {states:?}");
        }
    }
}

#[test]
fn a_restart_offers_and_reports_all_candidates_under_its_own_name_only() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.world.perform(pair.a, PeerOp::RestartIce).unwrap();
    let offer = pair.offer(pair.a, voice(1, "a"));
    let name = ufrag(offer.sdp.expose());
    let read = description(pair.world.perform(pair.a, PeerOp::LocalDescription).unwrap());
    let lines = values(read.sdp.expose(), "a=candidate:");
    assert_eq!(lines.values().map(Vec::len).sum::<usize>(), 1, "{lines:?}");
    assert!(lines[&1][0].ends_with(&format!(" ufrag {name}")), "{lines:?}");
    let reported = trickled(&pair, pair.a, &name);
    assert_eq!(reported.len(), 1);
    assert!(matrix_voip::sdp::holds_candidate(read.sdp.expose(), reported[0].candidate.expose()));
}

/// Chromium, which was told candidates of the offer that was taken back, would find no way to the same
/// addresses under another name.
#[test]
fn a_restart_that_is_rolled_back_is_offered_again_under_the_same_name_once() {
    let mut pair = Pair::new();
    let (first, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.world.perform(pair.a, PeerOp::RestartIce).unwrap();
    let lost = pair.offer(pair.a, voice(1, "a"));
    pair.world.perform(pair.a, PeerOp::Rollback).unwrap();
    let before = pair.world.news(pair.a).len();
    let (second, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    assert_eq!(ufrag(&second), ufrag(lost.sdp.expose()));
    assert_ne!(ufrag(&second), ufrag(&first));
    let name = Some(ufrag(&second));
    let told = pair.world.news(pair.a)[before..].iter().any(|(_, news)| match news {
        PeerNews::Candidate(told) => told.username_fragment == name,
        _ => false,
    });
    assert!(told, "candidates are told again: nobody knows who heard the first ones");
    pair.world.perform(pair.a, PeerOp::RestartIce).unwrap();
    let (third, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    assert_ne!(ufrag(&third), ufrag(&second), "what was agreed is over");
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
}

#[test]
fn of_two_restarts_at_once_one_is_rolled_back_and_serves_both() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.flow();
    for node in [pair.a, pair.b] {
        pair.world.perform(node, PeerOp::RestartIce).unwrap();
    }
    let begin = pair.world.now();
    let lost = pair.offer(pair.b, voice(1, "b"));
    let won = pair.offer(pair.a, voice(1, "a"));
    pair.world.perform(pair.b, PeerOp::Rollback).unwrap();
    let answer = pair.answer(pair.b, &won, voice(1, "b"));
    pair.world.perform(pair.a, PeerOp::SetRemote(answer.clone())).unwrap();
    pair.world.run(Duration::from_secs(20));
    assert!(longest_gaps(&pair, begin).iter().all(|gap| *gap <= Duration::from_millis(60)));
    let (next, _) = pair.negotiate(pair.b, voice(1, "b"), voice(1, "a"));
    assert_eq!(ufrag(&next), ufrag(answer.sdp.expose()), "the wish is fulfilled");
    assert_ne!(ufrag(&next), ufrag(lost.sdp.expose()));
    assert_eq!(pair.world.state(pair.b), Some(PeerState::Connected));
}

#[test]
fn a_restart_that_lost_to_another_offer_is_made_up_for() {
    let mut pair = Pair::new();
    let (_, old) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.world.perform(pair.b, PeerOp::RestartIce).unwrap();
    let lost = pair.offer(pair.b, voice(1, "b"));
    let won = pair.offer(pair.a, video(1, "a"));
    pair.world.perform(pair.b, PeerOp::Rollback).unwrap();
    let answer = pair.answer(pair.b, &won, video(1, "b"));
    assert_eq!(ufrag(answer.sdp.expose()), ufrag(&old), "an answer cannot restart");
    let own = trickled(&pair, pair.b, &ufrag(lost.sdp.expose()));
    assert_eq!(own.len(), 1, "what was reported for the lost offer");
    pair.world.perform(pair.a, PeerOp::SetRemote(answer)).unwrap();
    let (again, _) = pair.negotiate(pair.b, video(1, "b"), video(1, "a"));
    assert_ne!(ufrag(&again), ufrag(&old));
    assert_eq!(ufrag(&again), ufrag(lost.sdp.expose()), "its candidates may have been told");
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (2, 2));
}

#[test]
fn after_an_address_change_a_restart_by_either_side_brings_the_sound_back() {
    for restarter in [0, 1] {
        let mut pair = Pair::new();
        pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
        pair.flow();
        let begin = pair.world.now();
        let (old, new) = ("10.0.0.1:5000".parse().unwrap(), "10.7.0.1:6000".parse().unwrap());
        pair.world.readdress(pair.a, old, new);
        assert_eq!(pair.world.state(pair.a), Some(PeerState::Disconnected), "at once");
        let from = [pair.a, pair.b][restarter];
        pair.world.perform(from, PeerOp::RestartIce).unwrap();
        let (offer, answer) = pair.negotiate(from, voice(1, "x"), voice(1, "y"));
        assert!(!offer.contains(" 10.0.0.1 ") && !answer.contains(" 10.0.0.1 "), "it is gone");
        pair.world.run(Duration::from_secs(5));
        let gaps = longest_gaps(&pair, begin);
        println!("address change, restart by {restarter}: {gaps:?}");
        assert!(gaps.iter().all(|gap| *gap <= Duration::from_millis(300)), "{gaps:?}");
        assert_eq!(pair.world.state(pair.a), Some(PeerState::Connected));
        assert_eq!(pair.world.state(pair.b), Some(PeerState::Connected));
    }
}

#[test]
fn an_address_that_comes_back_is_used_again() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.flow();
    let (old, new) = ("10.0.0.1:5000".parse().unwrap(), "10.7.0.1:6000".parse().unwrap());
    for (from, to) in [(old, new), (new, old)] {
        pair.world.readdress(pair.a, from, to);
        pair.world.perform(pair.a, PeerOp::RestartIce).unwrap();
        pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
        let (at_a, at_b) = pair.flow();
        assert_eq!((at_a.len(), at_b.len()), (1, 1), "{to}");
    }
}

#[test]
fn candidates_of_the_next_generation_wait_for_it_and_those_of_the_last_are_skipped() {
    let mut pair = Pair::new();
    let (first, _) = pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.flow();
    let (old, new) = ("10.0.0.1:5000".parse().unwrap(), "10.7.0.1:6000".parse().unwrap());
    pair.world.readdress(pair.a, old, new);
    pair.world.perform(pair.a, PeerOp::RestartIce).unwrap();
    let offer = pair.offer(pair.a, voice(1, "a"));
    let early = trickled(&pair, pair.a, &ufrag(offer.sdp.expose()));
    let late = trickled(&pair, pair.a, &ufrag(&first));
    assert!(!early.is_empty() && !late.is_empty());
    pair.world.perform(pair.b, PeerOp::Candidates(early)).unwrap();
    let answer = pair.answer(pair.b, &without_candidates(&offer), voice(1, "b"));
    pair.world.perform(pair.b, PeerOp::Candidates(late)).unwrap();
    let Ok(Reply::Stats(stats)) = pair.world.perform(pair.b, PeerOp::Stats) else { panic!() };
    assert_ne!(stats.unusable_candidates, 0, "the late ones");
    pair.world.perform(pair.a, PeerOp::SetRemote(without_candidates(&answer))).unwrap();
    let (at_a, at_b) = pair.flow();
    assert_eq!((at_a.len(), at_b.len()), (1, 1));
    let Ok(Reply::Stats(stats)) = pair.world.perform(pair.b, PeerOp::Stats) else { panic!() };
    assert_eq!(stats.pair.unwrap().remote.kind, "host", "by the candidate that was early");
}

#[test]
fn every_hold_of_either_side_ends_as_it_began() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for (direction, answered, heard) in
        [(SendOnly, RecvOnly, (0, 1)), (RecvOnly, SendOnly, (1, 0)), (Inactive, Inactive, (0, 0))]
    {
        for holder in [0, 1] {
            let mut pair = Pair::new();
            let from = [pair.a, pair.b][holder];
            pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
            let held = |slot, track| line(slot, direction, track, "x");
            let hold = Plan { lines: vec![held(Slot::Audio, 1), held(Slot::Video, 2)] };
            let (_, answer) = pair.negotiate(from, hold, video(1, "y"));
            assert!(directions(&answer).iter().all(|(_, given)| *given == answered));
            let (at_a, at_b) = pair.flow();
            let (at_holder, at_other) = if holder == 0 { (at_a, at_b) } else { (at_b, at_a) };
            let expected = (2 * heard.0, 2 * heard.1);
            assert_eq!((at_holder.len(), at_other.len()), expected, "{direction:?} by {holder}");
            let (offer, answer) = pair.negotiate(from, video(1, "x"), video(1, "y"));
            for sdp in [offer, answer] {
                assert!(directions(&sdp).iter().all(|(_, given)| *given == SendRecv));
            }
            let (at_a, at_b) = pair.flow();
            assert_eq!((at_a.len(), at_b.len()), (2, 2), "after {direction:?} by {holder}");
        }
    }
}

#[test]
fn a_screen_that_is_shared_again_takes_its_old_line() {
    let mut pair = Pair::new();
    pair.negotiate(pair.a, voice(1, "a"), voice(1, "b"));
    pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
    let share = || with(video(1, "a"), [line(Slot::Screen, Direction::SendOnly, 3, "screen")]);
    let watch = || with(video(1, "b"), [line(Slot::Screen, Direction::RecvOnly, 0, "")]);
    for round in 0..3 {
        let (offer, _) = pair.negotiate(pair.a, share(), watch());
        assert_eq!(mids(&offer).len(), 3, "round {round}");
        assert_eq!(pair.flow().1.len(), 3);
        let (stopped, answer) = pair.negotiate(pair.a, video(1, "a"), video(1, "b"));
        assert_eq!(mids(&stopped), mids(&offer));
        assert_eq!(directions(&answer)[2].1, Direction::Inactive);
        let (at_a, at_b) = pair.flow();
        assert_eq!((at_a.len(), at_b.len()), (2, 2));
    }
    let added = |node| {
        let news = pair.world.news(node).iter();
        news.filter(|(_, news)| matches!(news, PeerNews::TrackAdded { .. })).count()
    };
    assert_eq!(added(pair.b), 2 + 3, "sound and picture once, the screen three times");
}
