//! Two engines and a real TURN server, coturn on loopback; calls over each transport are judged in
//! `conformance.rs`.
//!
//! Without coturn (Debian package `coturn`) these are skipped and say so.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::time::{Duration, Instant};

use common::{Side, side_with};
use matrix_voip::{
    host::WebRtc,
    id::PeerId,
    machine::io::{
        IceServer, MediaKind, PeerConfig, PeerNews, PeerState, ServerFault, ServerState,
    },
};
use matrix_voip_webrtc::TrustedRoots;
use testkit::coturn::{Coturn, free_port};
use testkit::studio::{negotiate, until};
use testkit::{heard, voice};

const UDP: &str = "turn:127.0.0.1:PORT?transport=udp";
const TCP: &str = "turn:localhost:PORT?transport=tcp";
const TLS: &str = "turns:localhost:TLS?transport=tcp";

const PEER: PeerId = PeerId(1);

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what real parts take is measured and printed")]
    Instant::now()
}

/// An engine that trusts this coturn and uses relayed candidates only.
fn side(coturn: &Coturn, hertz: f32, servers: Vec<IceServer>) -> Side {
    let roots = TrustedRoots::only(coturn.certificate.as_bytes()).unwrap();
    let mut side = side_with(hertz, |builder| builder.trusted_roots(roots));
    side.config = PeerConfig { ice_servers: servers, relay_only: true, ..PeerConfig::default() };
    side
}

/// Waits until all candidates are known; returns how long that took.
async fn gather(side: &mut Side, track: u64) -> Duration {
    let start = clock();
    side.open(1).await;
    let offer = side.engine.offer(PEER, voice(track, "stream")).await.unwrap();
    side.engine.set_local(PEER, offer).await.unwrap();
    side.until(|news| *news == PeerNews::GatheringDone).await;
    start.elapsed()
}

/// Connects both by descriptions that hold all candidates.
async fn connect(a: &mut Side, b: &mut Side) {
    a.capture(&voice(1, "a")).await;
    b.capture(&voice(2, "b")).await;
    gather(a, 1).await;
    let offer = a.engine.local_description(PEER).await.unwrap();
    b.open(1).await;
    b.engine.set_remote(PEER, offer).await.unwrap();
    let answer = b.engine.answer(PEER, voice(2, "b")).await.unwrap();
    b.engine.set_local(PEER, answer).await.unwrap();
    b.until(|news| *news == PeerNews::GatheringDone).await;
    let answer = b.engine.local_description(PEER).await.unwrap();
    a.engine.set_remote(PEER, answer).await.unwrap();
    a.until_state(PeerState::Connected).await;
    b.until_state(PeerState::Connected).await;
}

async fn states(side: &Side) -> Vec<ServerState> {
    let stats = side.engine.stats(PEER).await.unwrap();
    stats.servers.iter().map(|server| server.state).collect()
}

/// What one server comes to when it is asked alone.
async fn fate(coturn: &Coturn, server: IceServer) -> ServerState {
    let side = side(coturn, 440.0, vec![server]);
    side.open(1).await;
    offer(&side).await;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    let settled = async {
        loop {
            let state = states(&side).await[0];
            if state != ServerState::Asked {
                return state;
            }
            looks.tick().await;
        }
    };
    let state = tokio::time::timeout(Duration::from_secs(10), settled).await.unwrap();
    side.engine.close(PEER).await.unwrap();
    state
}

async fn offer(side: &Side) {
    let offer = side.engine.offer(PEER, voice(1, "stream")).await.unwrap();
    side.engine.set_local(PEER, offer).await.unwrap();
}

#[tokio::test]
async fn allocations_are_given_back_when_a_call_is_over() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let mut a = side(&coturn, 440.0, vec![coturn.server(TLS)]);
    let mut b = side(&coturn, 880.0, vec![coturn.server(UDP)]);
    let start = clock();
    connect(&mut a, &mut b).await;
    println!("by TLS and UDP: connected after {:?}", start.elapsed());
    until("a second of sound", || {
        a.heard(MediaKind::Audio).len() > 55 && b.heard(MediaKind::Audio).len() > 55
    })
    .await;
    let (at_a, _) = heard(a.heard(MediaKind::Audio).iter());
    let (at_b, _) = heard(b.heard(MediaKind::Audio).iter());
    assert!((860.0..900.0).contains(&at_a) && (430.0..450.0).contains(&at_b), "{at_a}, {at_b}");
    let stats = a.engine.stats(PEER).await.unwrap();
    let pair = stats.pair.unwrap();
    assert_eq!((pair.local.kind, pair.remote.kind), ("relay", "relay"));
    assert_eq!(pair.local.relay_protocol, Some("tls"));
    assert_eq!(stats.inbound[0].lost, Some(0));
    assert_eq!(states(&a).await, [ServerState::Works]);
    for side in [&a, &b] {
        side.engine.close(PEER).await.unwrap();
    }
    // coturn tells each allocation that it deletes at the wish of its client.
    until("both allocations are given back", || coturn.log().matches("lifetime=0").count() > 1)
        .await;
}

#[tokio::test]
async fn a_call_over_tcp_restarts_ice() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let mut a = side(&coturn, 440.0, vec![coturn.server(TCP)]);
    let mut b = side(&coturn, 880.0, vec![coturn.server(UDP)]);
    connect(&mut a, &mut b).await;
    until("sound", || b.heard(MediaKind::Audio).len() > 10).await;
    a.engine.restart_ice(PEER).await.unwrap();
    negotiate(&mut a, &mut b, (voice(1, "a"), voice(2, "b"))).await;
    // What was under way by the old relays is heard as well.
    let before = [a.heard(MediaKind::Audio).len(), b.heard(MediaKind::Audio).len()];
    until("sound by the new relays", || {
        a.heard(MediaKind::Audio).len() > before[0] + 100
            && b.heard(MediaKind::Audio).len() > before[1] + 100
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_said_to_be_so() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let refusing = coturn.server(&format!("turn:127.0.0.1:{}?transport=tcp", free_port()));
    let unresolved = coturn.server("turn:nowhere.invalid?transport=tcp");
    let unusable = coturn.server("turns:127.0.0.1?transport=udp");
    let untrusted = coturn.server("turns:127.0.0.1:TLS");
    for (server, fault) in [
        (refusing, ServerFault::Unreachable),
        (unresolved, ServerFault::Unresolved),
        (unusable, ServerFault::Unusable),
        (untrusted, ServerFault::Untrusted),
    ] {
        assert_eq!(fate(&coturn, server).await, ServerState::Failed(fault));
    }
}

#[tokio::test]
async fn with_relayed_candidates_only_no_address_of_ours_is_told() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let mut side = side(&coturn, 440.0, vec![coturn.server(UDP)]);
    gather(&mut side, 1).await;
    let told = side.engine.local_description(PEER).await.unwrap();
    let lines: Vec<_> = told.sdp.expose().lines().filter(|l| l.contains("candidate:")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(" typ relay raddr 0.0.0.0 rport 0"), "{lines:?}");
    let trickled = side.news.iter().find_map(|(_, news)| match news {
        PeerNews::Candidate(candidate) => Some(candidate.candidate.expose().to_owned()),
        _ => None,
    });
    assert!(trickled.unwrap().contains(" typ relay raddr 0.0.0.0 rport 0"));
}
