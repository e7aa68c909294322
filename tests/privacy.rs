//! Holds the rule that nothing private is logged or shown: no user id, SDP, candidate, address or
//! key in an event above TRACE, and no SDP, candidate, address or key in the `Debug` form of what
//! carries them. A real call with the shipped engine is watched in `examples/tests/privacy.rs`.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[path = "privacy/watcher.rs"]
mod watcher;

use std::{fmt::Debug, time::Duration};

use matrix_voip::{
    CallOptions, Identity, Mailbox, VoIP, VoipNews,
    host::{HostRequest, SendEvent},
    machine::io::{Candidate, Description, Fault, IceServer, Op, PeerOp, Reply, SdpKind},
    redact::Secret,
    wire::delivery::{Batch, Facts, Place, Protection, RawEvent},
};
use serde_json::json;
use watcher::{Watcher, is_private};

const CANDIDATE: &str = "candidate:1 1 udp 1 192.0.2.7 9 typ host";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:x\r\na=ice-pwd:x\r\n\
    a=fingerprint:sha-256 00\r\na=sendrecv\r\n";

fn event(sender: &str, event_type: &str, content: &serde_json::Value) -> RawEvent {
    let facts = Facts {
        event_id: None,
        sender: sender.parse().unwrap(),
        device: None,
        protection: Protection::Clear,
        sent: None,
        age: Some(Duration::ZERO),
    };
    RawEvent {
        facts,
        event_type: event_type.to_owned(),
        content: content.to_string(),
        redacts: None,
    }
}

#[test]
fn the_watcher_sees_fields_messages_and_spans_but_no_trace() {
    let watcher = Watcher::default();
    tracing::subscriber::with_default(watcher.clone(), || {
        tracing::info!(calls = 2, "candidates sent");
        tracing::trace!("candidate:1 is for TRACE");
        assert_eq!(watcher.leaks().len(), 0);
        tracing::debug!("got candidate:1 1 udp");
        tracing::error!(user = "@ada:example.org", "cannot call");
        let span = tracing::info_span!("call", sdp = "v=0", later = tracing::field::Empty);
        span.record("later", "192.0.2.7");
    });
    assert_eq!(watcher.leaks().len(), 4, "{:?}", watcher.leaks());
}

#[test]
fn what_carries_private_things_does_not_show_them() {
    let candidate = Candidate {
        candidate: CANDIDATE.into(),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    };
    let server = IceServer {
        urls: vec!["turn:example.org".into()],
        username: "turn-user".into(),
        credential: Secret::new("turn-password"),
    };
    let send = SendEvent {
        room: "!room:example.org".parse().unwrap(),
        event_type: "m.call.invite".into(),
        content: SDP.into(),
        transaction: "1".into(),
    };
    let description = Description { kind: SdpKind::Offer, sdp: SDP.into() };
    let raw = event("@eve:example.org", "m.call.invite", &json!({ "sdp": SDP }));
    let shown: [&dyn Debug; 5] = [&candidate, &server, &send, &description, &raw];
    for shown in shown {
        assert!(!is_private(&format!("{shown:?}")), "{shown:?}");
    }
}

/// A host on which everything goes wrong in one way or another.
async fn fail(mut mailbox: Mailbox) {
    while let Some(request) = mailbox.next().await {
        let HostRequest::Do { id, op } = request else { continue };
        match op {
            // Never answered: the driver's deadline passes.
            Op::Fetch(_) | Op::Peer(_, PeerOp::Close) => {}
            Op::Peer(_, PeerOp::Open(_)) => mailbox.reply(id, Ok(Reply::Done)),
            Op::Peer(..) => mailbox.reply(id, Err(Fault::Panicked)),
            _ => mailbox.reply(id, Err(Fault::Unreachable)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_go_wrong_log_nothing_private() {
    let watcher = Watcher::default();
    let _guard = tracing::subscriber::set_default(watcher.clone());
    let me = Identity { user: "@ada:example.org".parse().unwrap(), device: "A".parse().unwrap() };
    let damaged = br#"{"live":[{"room":"@ada:"#.to_vec();
    let (voip, mailbox) = VoIP::builder(me).restore(damaged).start_with_mailbox().unwrap();
    tokio::spawn(fail(mailbox));
    assert_eq!(watcher.seen(), 1, "the damaged ledger is not logged");

    let mut arrivals = voip.events();
    let invite = json!({
        "call_id": "1", "party_id": "BOB", "version": "1", "lifetime": 60_000,
        "offer": { "type": "offer", "sdp": SDP },
    });
    let candidates = json!({
        "call_id": "1", "party_id": "BOB", "version": "1",
        "candidates": [{ "candidate": CANDIDATE, "sdpMid": "0" }],
    });
    voip.deliver(Batch {
        place: Place::Room { room: "!room:example.org".parse().unwrap(), encrypted: false },
        events: vec![
            event("@bob:example.org", "m.call.invite", &invite),
            event("@bob:example.org", "m.call.candidates", &candidates),
            event("@bob:example.org", "m.call.answer", &json!({ "call_id": SDP })),
        ],
    });
    voip.invite("!room:example.org", "@bob:example.org", CallOptions::video()).await.unwrap();
    let mut ended = 0;
    while ended < 2 {
        let news = tokio::time::timeout(Duration::from_secs(3600), arrivals.next()).await;
        match news.unwrap().unwrap() {
            VoipNews::RingStarted { call, .. } => call.answer().await.unwrap(),
            VoipNews::CallEnded { .. } => ended += 1,
            _ => {}
        }
    }
    voip.shutdown().await;
    assert!(watcher.seen() > 1, "no deadline was logged");
    assert!(watcher.leaks().is_empty(), "{:?}", watcher.leaks());
}
