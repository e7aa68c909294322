//! What is this engine's own, over real sockets; what every engine has to do right is judged in
//! `conformance.rs`.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::sync::atomic::Ordering;

use common::{side, side_with};
use matrix_voip::{
    host::WebRtc,
    id::PeerId,
    machine::io::{Fault, MediaKind, PeerState},
};
use matrix_voip_webrtc::Interfaces;
use testkit::{
    studio::{connect, offer, until},
    voice,
};

#[tokio::test]
async fn a_sink_that_panics_ends_its_connection_and_no_other() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    a.open(2).await;
    until("sound", || !a.heard(MediaKind::Audio).is_empty()).await;
    a.log.breaks_after.store(0, Ordering::SeqCst);
    a.until_state(PeerState::Failed).await;
    assert_eq!(a.engine.stats(PeerId(1)).await, Err(Fault::NotFound));
    assert_eq!(a.engine.close(PeerId(1)).await, Ok(()));
    assert!(a.engine.offer(PeerId(2), voice(1, "ours")).await.is_ok());
}

#[tokio::test]
async fn every_interface_can_be_opened() {
    let side = side_with(440.0, |builder| builder.interfaces(Interfaces::All));
    side.open(1).await;
    let offer = offer(&side, voice(1, "stream")).await;
    assert!(offer.sdp.expose().contains("candidate:"));
}
