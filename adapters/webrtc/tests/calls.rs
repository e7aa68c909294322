//! What happens in a call after it is connected, for every pair of engines: this one with itself, and
//! with the other one as offerer and as answerer.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;
#[path = "common/studio.rs"]
mod studio;

use common::{line, video, voice};
use matrix_voip::{
    id::{PeerId, StreamId, TrackId},
    machine::io::{
        Description, Direction, Fault, MediaKind, PeerNews, PeerState, Plan, SdpKind, Slot,
    },
    sdp::{ice_ufrag, media_lines},
};
use studio::{Side, answer, connect, negotiate, offer, until};

/// Who calls whom.
const PAIRS: [(&str, &str); 3] = [("webrtc", "webrtc"), ("webrtc", "str0m"), ("str0m", "webrtc")];

fn side(engine: &str, hertz: f32) -> Side {
    if engine == "webrtc" { Side::new(hertz) } else { Side::str0m(hertz) }
}

/// Both sides of a pair.
fn sides((a, b): (&str, &str)) -> (Side, Side) {
    println!("{a} offers to {b}");
    (side(a, 440.0), side(b, 880.0))
}

/// Frames of this kind come in from now on.
async fn flows(to: &Side, kind: MediaKind) {
    let before = to.heard(kind).len();
    until(&format!("{kind:?}"), || to.heard(kind).len() > before + 10).await;
}

/// Nothing of this kind comes in any more, while sound goes the other way.
async fn rests(to: &Side, kind: MediaKind, meanwhile: &Side) {
    flows(meanwhile, MediaKind::Audio).await;
    let before = to.heard(kind).len();
    flows(meanwhile, MediaKind::Audio).await;
    assert_eq!(to.heard(kind).len(), before, "{kind:?} goes on");
}

fn directions(sdp: &str) -> Vec<Direction> {
    media_lines(sdp).iter().map(|line| line.direction).collect()
}

fn held(plan: &Plan, direction: Direction) -> Plan {
    let lines = plan.lines.iter().map(|line| {
        let track = line.track.filter(|_| direction.sends());
        let stream = line.stream.clone().filter(|_| direction.sends());
        matrix_voip::machine::io::PlanLine { slot: line.slot, direction, track, stream }
    });
    Plan { lines: lines.collect() }
}

#[tokio::test]
async fn sound_and_picture_flow_both_ways() {
    for pair in PAIRS {
        let (mut a, mut b) = sides(pair);
        connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
        for side in [&a, &b] {
            flows(side, MediaKind::Audio).await;
            flows(side, MediaKind::Video).await;
            assert!(side.heard(MediaKind::Video).iter().all(|frame| frame.data.len() == 3000));
        }
    }
}

#[tokio::test]
async fn video_is_added_by_either_side() {
    for pair in PAIRS {
        for adder in [0, 1] {
            let (mut a, mut b) = sides(pair);
            connect(&mut a, &mut b, (voice(1, "ours"), voice(3, "theirs"))).await;
            flows(&a, MediaKind::Audio).await;
            let (from, to) = if adder == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let plans = if adder == 0 {
                (video(1, "ours"), video(3, "theirs"))
            } else {
                (video(3, "theirs"), video(1, "ours"))
            };
            capture_camera(from, &plans.0).await;
            capture_camera(to, &plans.1).await;
            negotiate(from, to, plans).await;
            for side in [&a, &b] {
                flows(side, MediaKind::Audio).await;
                flows(side, MediaKind::Video).await;
            }
        }
    }
}

async fn capture_camera(side: &Side, plan: &Plan) {
    let camera = Plan { lines: plan.lines[1..].to_vec() };
    side.capture(&camera).await;
}

#[tokio::test]
async fn every_hold_of_either_side_ends_as_it_began() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    for pair in PAIRS {
        let (mut a, mut b) = sides(pair);
        let plans = [video(1, "ours"), video(3, "theirs")];
        connect(&mut a, &mut b, (plans[0].clone(), plans[1].clone())).await;
        flows(&a, MediaKind::Audio).await;
        for (hold, answered) in [(SendOnly, RecvOnly), (RecvOnly, SendOnly), (Inactive, Inactive)] {
            for holder in [0, 1] {
                println!("{hold:?} by {holder}");
                let (from, to) = if holder == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
                let ours = plans[holder].clone();
                let theirs = plans[1 - holder].clone();
                let (_, answer) = negotiate(from, to, (held(&ours, hold), theirs.clone())).await;
                assert_eq!(directions(&answer), [answered; 2]);
                match hold {
                    SendOnly => rests(from, MediaKind::Audio, to).await,
                    RecvOnly => rests(to, MediaKind::Audio, from).await,
                    _ => {}
                }
                let (offer, answer) = negotiate(from, to, (ours, theirs)).await;
                assert_eq!(directions(&offer), [SendRecv; 2]);
                assert_eq!(directions(&answer), [SendRecv; 2]);
                for side in [&a, &b] {
                    flows(side, MediaKind::Audio).await;
                    flows(side, MediaKind::Video).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn either_side_restarts_ice() {
    for pair in PAIRS {
        for restarter in [0, 1] {
            let (mut a, mut b) = sides(pair);
            let plans = (voice(1, "ours"), voice(3, "theirs"));
            let before = connect(&mut a, &mut b, plans.clone()).await;
            flows(&a, MediaKind::Audio).await;
            let (from, to) = if restarter == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let plans = if restarter == 0 { plans } else { (plans.1, plans.0) };
            from.engine.restart_ice(PeerId(1)).await.unwrap();
            from.news.clear();
            to.news.clear();
            let after = negotiate(from, to, plans).await;
            for text in [&after.0, &after.1] {
                let old = [ice_ufrag(&before.0), ice_ufrag(&before.1)];
                assert!(!old.contains(&ice_ufrag(text)), "new credentials");
            }
            for side in [&a, &b] {
                flows(side, MediaKind::Audio).await;
                flows(side, MediaKind::Audio).await;
            }
            let failed = |side: &Side| {
                side.news.iter().any(|(_, news)| *news == PeerNews::State(PeerState::Failed))
            };
            assert!(!failed(&a) && !failed(&b));
        }
    }
}

#[tokio::test]
async fn of_two_offers_one_is_rolled_back_and_both_videos_flow() {
    for pair in PAIRS {
        let (mut a, mut b) = sides(pair);
        connect(&mut a, &mut b, (voice(1, "ours"), voice(3, "theirs"))).await;
        flows(&a, MediaKind::Audio).await;
        let plans = (video(1, "ours"), video(3, "theirs"));
        capture_camera(&a, &plans.0).await;
        capture_camera(&b, &plans.1).await;
        for polite in [0, 1] {
            let (won, lost) = if polite == 0 { (&mut b, &mut a) } else { (&mut a, &mut b) };
            let (winning, losing) =
                if polite == 0 { (&plans.1, &plans.0) } else { (&plans.0, &plans.1) };
            let _lost = offer(lost, losing.clone()).await;
            let theirs = offer(won, winning.clone()).await;
            lost.engine.rollback(PeerId(1)).await.unwrap();
            let made = answer(lost, &theirs, losing.clone()).await;
            won.engine.set_remote(PeerId(1), made).await.unwrap();
            for side in [&a, &b] {
                flows(side, MediaKind::Audio).await;
                flows(side, MediaKind::Video).await;
            }
        }
    }
}

#[tokio::test]
async fn a_first_offer_is_rolled_back_and_theirs_answered_or_another_one_made() {
    for pair in PAIRS {
        for then_offers in [false, true] {
            let (mut a, mut b) = sides(pair);
            let plans = (voice(1, "ours"), voice(3, "theirs"));
            for (side, plan) in [(&a, &plans.0), (&b, &plans.1)] {
                side.open(1).await;
                side.capture(plan).await;
            }
            let _lost = offer(&mut a, video(1, "ours")).await;
            a.engine.rollback(PeerId(1)).await.unwrap();
            let none = a.engine.local_description(PeerId(1)).await;
            assert!(matches!(none, Err(Fault::Failed(_))), "{none:?}");
            if then_offers {
                negotiate(&mut a, &mut b, plans).await;
            } else {
                negotiate(&mut b, &mut a, (plans.1, plans.0)).await;
            }
            flows(&a, MediaKind::Audio).await;
            flows(&b, MediaKind::Audio).await;
        }
    }
}

#[tokio::test]
async fn a_screen_comes_and_goes_on_one_line() {
    for pair in PAIRS {
        let (mut a, mut b) = sides(pair);
        let plans = (video(1, "ours"), video(3, "theirs"));
        connect(&mut a, &mut b, plans.clone()).await;
        flows(&b, MediaKind::Video).await;
        let shared = |plan: &Plan| {
            let mut plan = plan.clone();
            plan.lines.push(line(Slot::Screen, Direction::SendOnly, 9, "screen"));
            plan
        };
        let mut watched = plans.1.clone();
        watched.lines.push(line(Slot::Screen, Direction::RecvOnly, 0, ""));
        let screen = Plan { lines: vec![line(Slot::Screen, Direction::SendOnly, 9, "screen")] };
        a.capture(&screen).await;
        for _ in 0..2 {
            b.news.clear();
            let (offer, _) = negotiate(&mut a, &mut b, (shared(&plans.0), watched.clone())).await;
            assert_eq!(media_lines(&offer).len(), 3);
            let is_screen = |news: &PeerNews| {
                matches!(news, PeerNews::TrackAdded { stream: Some(stream), .. }
                    if stream.as_str() == "screen")
            };
            b.until(is_screen).await;
            let on_screen = |b: &Side| {
                let is_screen = |id: &StreamId| id.as_str() == "screen";
                let heard = b.log.heard.lock().unwrap();
                let screens =
                    heard.iter().filter(|(track, _)| track.stream.as_ref().is_some_and(is_screen));
                screens.count()
            };
            let before = on_screen(&b);
            until("the screen", || on_screen(&b) > before + 5).await;
            let (_, answer) = negotiate(&mut a, &mut b, plans.clone()).await;
            assert_eq!(directions(&answer)[2], Direction::Inactive);
            b.until(|news| matches!(news, PeerNews::TrackRemoved { .. })).await;
            flows(&b, MediaKind::Video).await;
        }
    }
}

#[tokio::test]
async fn candidates_are_trickled_both_ways() {
    for pair in PAIRS {
        let (mut a, mut b) = sides(pair);
        let (plan, other) = (voice(1, "ours"), voice(3, "theirs"));
        for (side, plan) in [(&a, &plan), (&b, &other)] {
            side.open(1).await;
            side.capture(plan).await;
        }
        let peer = PeerId(1);
        let offer = a.engine.offer(peer, plan).await.unwrap();
        a.engine.set_local(peer, offer.clone()).await.unwrap();
        a.until(|news| *news == PeerNews::GatheringDone).await;
        let found = candidates(&a);
        assert!(!found.is_empty());
        // Before the description that they belong to.
        b.engine.candidates(peer, found).await.unwrap();
        b.engine.set_remote(peer, bare(&offer)).await.unwrap();
        let answer = b.engine.answer(peer, other).await.unwrap();
        b.engine.set_local(peer, answer.clone()).await.unwrap();
        a.engine.set_remote(peer, bare(&answer)).await.unwrap();
        b.until(|news| *news == PeerNews::GatheringDone).await;
        a.engine.candidates(peer, candidates(&b)).await.unwrap();
        flows(&a, MediaKind::Audio).await;
        flows(&b, MediaKind::Audio).await;
    }
}

fn candidates(side: &Side) -> Vec<matrix_voip::machine::io::Candidate> {
    let found = side.news.iter().filter_map(|(_, news)| match news {
        PeerNews::Candidate(candidate) => Some(candidate.clone()),
        _ => None,
    });
    found.collect()
}

fn bare(description: &Description) -> Description {
    common::without_candidates(description)
}

#[tokio::test]
async fn closing_is_heard_and_nothing_can_be_asked_any_more() {
    for pair in PAIRS {
        let (mut a, mut b) = sides(pair);
        connect(&mut a, &mut b, (voice(1, "ours"), voice(3, "theirs"))).await;
        a.engine.close(PeerId(1)).await.unwrap();
        let lost = |news: &PeerNews| {
            matches!(news, PeerNews::State(PeerState::Disconnected | PeerState::Failed))
        };
        b.until(lost).await;
        assert_eq!(a.engine.stats(PeerId(1)).await, Err(Fault::NotFound));
        a.engine.release(TrackId(1)).await.unwrap();
    }
}

#[tokio::test]
async fn answers_out_of_turn_are_refused() {
    let (mut a, mut b) = (Side::new(440.0), Side::new(880.0));
    let (_, answer) = connect(&mut a, &mut b, (voice(1, "ours"), voice(3, "theirs"))).await;
    let again = Description { kind: SdpKind::Answer, sdp: answer.as_str().into() };
    for side in [&a, &b] {
        let refused = side.engine.set_remote(PeerId(1), again.clone()).await;
        assert!(matches!(refused, Err(Fault::Failed(_))), "{refused:?}");
    }
    let refused = a.engine.answer(PeerId(1), voice(1, "ours")).await;
    assert!(matches!(refused, Err(Fault::Failed(_))), "{refused:?}");
    flows(&a, MediaKind::Audio).await;
}
