//! Offers and answers by plan, between two peers: what is agreed, who hears what, and what a
//! rollback, a hold or a restart leave behind.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::time::Duration;

use common::{Tone, description, line, values, video, voice};
use matrix_voip::{
    host::{Codec, Frame},
    id::TrackId,
    machine::io::{
        Description, Direction, Fault, PeerNews, PeerOp, PeerState, Plan, PlanLine, Reply, Slot,
    },
    sdp::{LineKind, media_lines},
};
use matrix_voip_str0m::{
    PeerError,
    sim::{Link, Node, World},
};

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
