//! What is corrected of `webrtc` 0.21.1, by the letters of the crate's documentation. Each of these
//! fails when its correction is taken out.
//!
//! H (`raddr` of relayed candidates) is in `coturn.rs` and beside `sdp` and `gather`, I (lines without
//! sources), M (no offer after a refusal) and an offer that says `active` (A) in `hostile.rs`, the
//! requests and reports of F beside `tap`, J and K beside `receive`, L (other servers) is a cell of the
//! conformance suite.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::collections::BTreeMap;

use common::{Side, side};
use matrix_voip::{
    host::{SourceControl, WebRtc},
    id::{InputId, PeerId, SessionId, TrackId},
    machine::io::{Capture, Direction, MediaKind, MediaSource, PeerNews, Plan, Slot},
    sdp::{ice_ufrag, media_lines},
};
use testkit::studio::{answer, connect, negotiate, offer, until};
use testkit::{line, values, video, voice};

async fn flows(to: &Side, kind: MediaKind) {
    let before = to.heard(kind).len();
    until(&format!("{kind:?}"), || to.heard(kind).len() > before + 10).await;
}

fn setup(sdp: &str) -> Vec<String> {
    let mut all: Vec<_> = values(sdp, "a=setup:").into_values().flatten().collect();
    all.dedup();
    all
}

/// A: the crate answers every offer with `active`, also the side that is `passive`.
#[tokio::test]
async fn who_is_passive_stays_so_in_every_answer() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    let plans = (voice(1, "ours"), voice(3, "theirs"));
    let (_, first) = connect(&mut a, &mut b, plans.clone()).await;
    assert_eq!(setup(&first), ["active"]);
    let (_, second) = negotiate(&mut b, &mut a, (plans.1.clone(), plans.0.clone())).await;
    assert_eq!(setup(&second), ["passive"]);
    let (_, third) = negotiate(&mut a, &mut b, plans).await;
    assert_eq!(setup(&third), ["active"]);
    flows(&a, MediaKind::Audio).await;
}

/// B: the crate answers `sendonly` with `sendrecv`, keeps that, and stops a line that is offered
/// `inactive`.
#[tokio::test]
async fn answers_follow_the_offer_and_a_line_that_rested_lives_on() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    let (mut a, mut b) = (side(440.0), side(880.0));
    let plans = (voice(1, "ours"), voice(3, "theirs"));
    connect(&mut a, &mut b, plans.clone()).await;
    for (offered, expected) in
        [(SendOnly, RecvOnly), (Inactive, Inactive), (RecvOnly, SendOnly), (SendRecv, SendRecv)]
    {
        let hold = Plan { lines: vec![line(Slot::Audio, offered, 1, "ours")] };
        let (_, answer) = negotiate(&mut a, &mut b, (hold, plans.1.clone())).await;
        assert_eq!(media_lines(&answer)[0].direction, expected, "{offered:?}");
    }
    flows(&a, MediaKind::Audio).await;
    flows(&b, MediaKind::Audio).await;
}

/// C: after the crate's `replace_track` nothing is sent any more.
#[tokio::test]
async fn what_another_device_gives_is_sent_as_the_same_source() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(3, "theirs"))).await;
    flows(&b, MediaKind::Audio).await;
    for hertz in ["660", "550"] {
        let input = InputId::parse(hertz).ok();
        let what = Capture { input, ..Capture::of(MediaSource::Microphone) };
        a.engine.replace(SessionId(1), TrackId(1), what).await.unwrap();
        flows(&b, MediaKind::Audio).await;
    }
    let frames = b.heard(MediaKind::Audio);
    let steps = frames.windows(2).map(|pair| pair[1].sequence.unwrap() - pair[0].sequence.unwrap());
    assert!(steps.collect::<Vec<_>>().iter().all(|step| *step == 1));
}

/// D: the crate's candidates name no m-line (`sdp_mid: ""`) and no generation; and its descriptions
/// name each one twice, for RTCP.
#[tokio::test]
async fn candidates_name_their_line_and_their_generation() {
    let mut a = side(440.0);
    a.open(1).await;
    let made = offer(&a, voice(1, "ours")).await;
    a.until(|news| *news == PeerNews::GatheringDone).await;
    let sdp = made.sdp.expose();
    let mid = media_lines(sdp)[0].mid.map(str::to_owned);
    let mut count = 0;
    for (_, news) in &a.news {
        let PeerNews::Candidate(candidate) = news else { continue };
        count += 1;
        assert!(mid.is_some() && candidate.sdp_mid == mid);
        assert_eq!(candidate.username_fragment.as_deref(), ice_ufrag(sdp));
        assert!(matrix_voip::sdp::holds_candidate(sdp, candidate.candidate.expose()));
    }
    assert_eq!(count, matrix_voip::sdp::candidates(sdp));
}

/// E: the crate rolls nothing back by itself, and forgets with a rolled back offer that ICE was to
/// be restarted.
#[tokio::test]
async fn a_restart_that_lost_to_another_offer_is_made_up_for() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    let plans = (voice(1, "ours"), voice(3, "theirs"));
    let (_, old) = connect(&mut a, &mut b, plans.clone()).await;
    b.engine.restart_ice(PeerId(1)).await.unwrap();
    let lost = offer(&b, plans.1.clone()).await;
    let won = offer(&a, plans.0.clone()).await;
    // Without a word to roll back: the offer that is answered takes the other one's place.
    let made = answer(&b, &won, plans.1.clone()).await;
    a.engine.set_remote(PeerId(1), made).await.unwrap();
    let (again, _) = negotiate(&mut b, &mut a, (plans.1, plans.0)).await;
    assert_ne!(ice_ufrag(lost.sdp.expose()), ice_ufrag(&old));
    assert_ne!(ice_ufrag(&again), ice_ufrag(&old));
    flows(&a, MediaKind::Audio).await;
    flows(&b, MediaKind::Audio).await;
}

/// F: RTCP never comes to a track of the crate.
#[tokio::test]
async fn key_frame_requests_and_losses_come_to_the_source() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
    flows(&b, MediaKind::Video).await;
    let asked = async || a.engine.stats(PeerId(1)).await.unwrap().outbound[1].key_frame_requests;
    let told =
        |wanted: fn(&SourceControl) -> bool| a.log.controls.lock().unwrap().iter().any(wanted);
    until("a report", || told(|control| matches!(control, SourceControl::Loss(_)))).await;
    assert!(told(|control| *control == SourceControl::KeyFrame));
    assert!(asked().await > 0, "by the other side, which counts three pictures");
}

/// G: by themselves header extensions get numbers that Chromium gives to others.
#[tokio::test]
async fn header_extensions_have_chromiums_numbers() {
    let a = side(440.0);
    a.open(1).await;
    let made = offer(&a, video(1, "ours")).await;
    let lines = values(made.sdp.expose(), "a=extmap:");
    let numbers = |at: usize| -> BTreeMap<u8, String> {
        let pairs = lines[&at].iter().map(|line| line.split_once(' ').unwrap());
        pairs.map(|(number, uri)| (number.parse().unwrap(), uri.to_owned())).collect()
    };
    let ends = |number: u8, uri: &str, at: usize| {
        let found = numbers(at);
        assert!(found[&number].ends_with(uri), "{number} in {found:?}");
    };
    ends(1, "ssrc-audio-level", 1);
    for line in [1, 2] {
        ends(2, "abs-send-time", line);
        ends(3, "transport-wide-cc-extensions-01", line);
        ends(4, "sdes:mid", line);
    }
    ends(5, "playout-delay", 2);
    ends(8, "color-space", 2);
    ends(10, "sdes:rtp-stream-id", 2);
    ends(11, "sdes:repaired-rtp-stream-id", 2);
}
