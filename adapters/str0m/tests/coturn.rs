//! Two engines and a real TURN server: coturn on loopback, over UDP, TCP and TLS.
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
use matrix_voip_str0m::TrustedRoots;
use testkit::coturn::{Coturn, free_port};
use testkit::studio::until;
use testkit::{heard, voice};
use tokio::io::AsyncWriteExt;

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
async fn fate(coturn: &Coturn, server: IceServer) -> (ServerState, Duration) {
    let mut side = side(coturn, 440.0, vec![server]);
    let took = gather(&mut side, 1).await;
    let state = states(&side).await[0];
    side.engine.close(PEER).await.unwrap();
    (state, took)
}

async fn relayed_call(ours: &str, theirs: &str) {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let mut a = side(&coturn, 440.0, vec![coturn.server(ours)]);
    let mut b = side(&coturn, 880.0, vec![coturn.server(theirs)]);
    let start = clock();
    connect(&mut a, &mut b).await;
    println!("{ours} and {theirs}: connected after {:?}", start.elapsed());
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
    let carrier =
        [(UDP, "udp"), (TCP, "tcp"), (TLS, "tls")].into_iter().find(|(uri, _)| *uri == ours);
    assert_eq!(pair.local.relay_protocol, carrier.map(|(_, name)| name));
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
async fn a_relayed_call_over_udp() {
    relayed_call(UDP, UDP).await;
}

#[tokio::test]
async fn a_relayed_call_over_tcp() {
    relayed_call(TCP, TCP).await;
}

#[tokio::test]
async fn a_relayed_call_over_tls() {
    relayed_call(TLS, TLS).await;
}

#[tokio::test]
async fn a_relayed_call_with_tls_on_one_side_only() {
    relayed_call(TLS, UDP).await;
}

#[tokio::test]
async fn all_transports_of_one_server_give_a_candidate_each() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let servers = [UDP, TCP, TLS].map(|uri| coturn.server(uri));
    let mut side = side(&coturn, 440.0, servers.to_vec());
    let took = gather(&mut side, 1).await;
    println!("three allocations after {took:?}");
    let description = side.engine.local_description(PEER).await.unwrap();
    assert_eq!(description.sdp.expose().matches(" typ relay").count(), 3);
    assert_eq!(states(&side).await, [ServerState::Works; 3]);
}

#[tokio::test]
async fn credentials_that_are_wrong_or_expired_are_told_on_every_transport() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let expected = ServerState::Failed(ServerFault::WrongCredentials(401));
    for uri in [UDP, TCP, TLS] {
        let expired = coturn.server_for(uri, "ada", Duration::ZERO);
        let mut wrong = coturn.server(uri);
        wrong.credential = expired.credential.clone();
        for server in [wrong, expired] {
            let (state, took) = fate(&coturn, server).await;
            println!("{uri}: refused after {took:?}");
            assert_eq!(state, expected, "{uri}");
        }
    }
}

/// As at a restart in a call that outlived its credentials. Not over UDP: from a socket that
/// coturn has refused, it takes no other user (437); so `Reach` waits for a restart before it asks
/// from a new address (`namespaces`).
#[tokio::test]
async fn fresh_credentials_bring_what_expired_ones_could_not() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    for uri in [TCP, TLS] {
        let expired = coturn.server_for(uri, "ada", Duration::ZERO);
        let mut side = side(&coturn, 440.0, vec![expired]);
        gather(&mut side, 1).await;
        let refused = ServerState::Failed(ServerFault::WrongCredentials(401));
        assert_eq!(states(&side).await, [refused], "{uri}");
        side.engine.set_servers(PEER, vec![coturn.server(uri)]).await.unwrap();
        side.until(|news| matches!(news, PeerNews::Candidate(_))).await;
        assert_eq!(states(&side).await, [ServerState::Works], "{uri}");
        let description = side.engine.local_description(PEER).await.unwrap();
        assert!(description.sdp.expose().contains(" typ relay"), "{uri}");
        side.engine.close(PEER).await.unwrap();
    }
}

#[tokio::test]
async fn a_quota_that_is_reached_is_told() {
    let Some(coturn) = Coturn::start(&["--user-quota=1"]).await else { return };
    let server = coturn.server(UDP);
    let mut first = side(&coturn, 440.0, vec![server.clone()]);
    gather(&mut first, 1).await;
    assert_eq!(states(&first).await, [ServerState::Works]);
    let (state, took) = fate(&coturn, server.clone()).await;
    println!("quota told after {took:?}");
    assert_eq!(state, ServerState::Failed(ServerFault::QuotaReached));
    // What a connection had is free when it has closed.
    first.engine.close(PEER).await.unwrap();
    until("it is given back", || coturn.log().contains("lifetime=0")).await;
    // coturn counts it until a moment later.
    until("it is forgotten", || coturn.log().contains("allocation timeout")).await;
    assert_eq!(fate(&coturn, server).await.0, ServerState::Works);
}

#[tokio::test]
async fn a_server_that_sends_us_elsewhere_is_told() {
    let Some(coturn) = Coturn::start(&["--alternate-server=127.0.0.1:9"]).await else { return };
    let (state, _) = fate(&coturn, coturn.server(UDP)).await;
    assert_eq!(state, ServerState::Failed(ServerFault::Redirects));
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_told() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let untrusted = ServerState::Failed(ServerFault::Untrusted);
    let mut stranger = common::side(440.0);
    stranger.config.ice_servers = vec![coturn.server(TLS)];
    stranger.config.relay_only = true;
    gather(&mut stranger, 1).await;
    assert_eq!(states(&stranger).await, [untrusted]);
    let (state, _) = fate(&coturn, coturn.server("turns:127.0.0.1:TLS?transport=tcp")).await;
    assert_eq!(state, untrusted);
}

#[tokio::test]
async fn ports_where_nobody_is_are_told() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let nobody = free_port();
    let tcp = coturn.server(&format!("turn:127.0.0.1:{nobody}?transport=tcp"));
    let (state, took) = fate(&coturn, tcp).await;
    println!("TCP, nobody there: told after {took:?}");
    assert_eq!(state, ServerState::Failed(ServerFault::Unreachable));
    let udp = coturn.server(&format!("turn:127.0.0.1:{nobody}"));
    let (state, took) = fate(&coturn, udp).await;
    println!("UDP, nobody there: told after {took:?}");
    assert_eq!(state, ServerState::Failed(ServerFault::Silent));
}

#[tokio::test]
async fn a_web_server_is_told_as_nonsense_or_as_gone() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = web.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = web.accept().await {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
        }
    });
    for uri in ["turns:127.0.0.1", "turn:127.0.0.1"] {
        let uri = format!("{uri}:{port}?transport=tcp");
        let (state, _) = fate(&coturn, coturn.server(&uri)).await;
        println!("{uri}: {state:?}");
        let told = [ServerFault::Nonsense, ServerFault::Unreachable].map(ServerState::Failed);
        assert!(told.contains(&state), "{state:?}");
    }
}

#[tokio::test]
async fn a_server_that_dies_is_told_as_lost() {
    let Some(mut coturn) = Coturn::start(&[]).await else { return };
    let mut side = side(&coturn, 440.0, vec![coturn.server(TCP)]);
    gather(&mut side, 1).await;
    coturn.kill();
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..500 {
        looks.tick().await;
        if states(&side).await == [ServerState::Failed(ServerFault::Lost)] {
            let description = side.engine.local_description(PEER).await.unwrap();
            assert!(!description.sdp.expose().contains(" typ relay"));
            return;
        }
    }
    panic!("{:?}", states(&side).await);
}

#[tokio::test]
async fn a_server_with_an_ipv6_address_relays_over_ipv4() {
    let options = ["--listening-ip=::1"];
    let Some(coturn) = Coturn::start(&options).await else { return };
    for uri in ["turn:[::1]:PORT", "turn:[::1]:PORT?transport=tcp"] {
        let mut side = side(&coturn, 440.0, vec![coturn.server(uri)]);
        gather(&mut side, 1).await;
        assert_eq!(states(&side).await, [ServerState::Works], "{uri}");
        let description = side.engine.local_description(PEER).await.unwrap();
        let text = description.sdp.expose();
        let relayed = text.lines().find(|line| line.contains(" typ relay")).unwrap();
        assert!(relayed.contains(" 127.0.0.1 "), "{uri}");
        side.engine.close(PEER).await.unwrap();
    }
}

#[tokio::test]
async fn a_stun_server_answers() {
    let Some(coturn) = Coturn::start(&[]).await else { return };
    let mut side = side(&coturn, 440.0, vec![coturn.server("stun:127.0.0.1:PORT")]);
    side.config.relay_only = false;
    let took = gather(&mut side, 1).await;
    println!("STUN answered after {took:?}");
    assert_eq!(states(&side).await, [ServerState::Works]);
}

/// A refresh after 45 s, with a nonce that is stale and a password that has expired by then.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_call_outlives_nonce_lifetime_and_credentials() {
    let options = ["--stale-nonce=20", "--max-allocate-lifetime=60"];
    let Some(coturn) = Coturn::start(&options).await else { return };
    let server = coturn.server_for(UDP, "ada", Duration::from_secs(30));
    let mut a = side(&coturn, 440.0, vec![server.clone()]);
    let mut b = side(&coturn, 880.0, vec![server]);
    connect(&mut a, &mut b).await;
    let start = clock();
    let mut looks = tokio::time::interval(Duration::from_secs(5));
    while start.elapsed() < Duration::from_secs(60) {
        looks.tick().await;
        let heard = a.heard(MediaKind::Audio).len();
        println!("{:?}: {heard} frames, {:?}", start.elapsed(), states(&a).await);
    }
    assert!(coturn.log().contains("error 438"), "no nonce was stale");
    assert_eq!(states(&a).await, [ServerState::Works]);
    assert!(a.heard(MediaKind::Audio).len() > 2700);
}
