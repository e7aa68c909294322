//! Holds the rule that nothing private is logged or shown: no user id, SDP, candidate, address or
//! key in an event above TRACE, and no SDP, candidate, address or key in the `Debug` form of what
//! carries them. A real call with the shipped engine is watched in `examples/tests/privacy.rs`.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[path = "privacy/watcher.rs"]
mod watcher;

use std::{fmt::Debug, time::Duration};

use matrix_voip::{
    CallOptions, GroupOptions, Identity, Mailbox, ParticipantId, VoIP, VoipNews,
    host::{HostRequest, SendEvent},
    machine::io::{
        Candidate, Description, Fault, Fetch, IceServer, KeyOp, MatrixOp, Op, OpenIdToken, PeerOp,
        Reply, SdpKind, SfuToken, TokenFault,
    },
    redact::{Secret, SecretBytes},
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        state::{Extent, StateBatch},
    },
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

const KEY: &[u8; 32] = b"mediaKey of the one who calls...";

/// A host of a call through an SFU, on which everything goes wrong from time to time.
async fn falter(mut mailbox: Mailbox) {
    let mut turn = 0;
    while let Some(request) = mailbox.next().await {
        let HostRequest::Do { id, op } = request else { continue };
        turn += 1;
        let result = match op {
            // Never answered: the driver's deadline passes.
            Op::Keys(..) if turn % 4 == 0 => continue,
            Op::Keys(_, KeyOp::Set { .. }) if turn % 4 == 1 => Err(Fault::Panicked),
            Op::Keys(..) => Ok(Reply::Done),
            // Without it nobody can enter.
            Op::Fetch(Fetch::State(room)) => {
                let state = StateBatch {
                    room,
                    extent: Extent::Whole,
                    encrypted: Some(false),
                    events: Vec::new(),
                };
                Ok(Reply::State(Box::new(state.parse())))
            }
            Op::Fetch(Fetch::KeyMaterial) => Ok(Reply::KeyMaterial(SecretBytes::new(*KEY))),
            Op::Fetch(Fetch::OpenId) => Ok(Reply::OpenId(OpenIdToken {
                access_token: Secret::new("token-of-open-id"),
                token_type: "Bearer".into(),
                server_name: "example.org".into(),
                expires_in: Duration::from_secs(3600),
            })),
            Op::Fetch(Fetch::SfuToken(_)) if turn % 3 == 0 => {
                Err(Fault::Token(TokenFault::NotReached))
            }
            Op::Fetch(Fetch::SfuToken(_)) => Ok(Reply::SfuToken(SfuToken {
                url: "wss://sfu.example.org".into(),
                jwt: Secret::new("token-of-the-sfu"),
                lifetime: Some(Duration::from_secs(60)),
                identity: Some("@ada:example.org:A".into()),
            })),
            Op::Matrix(MatrixOp::SendState { .. }) => Ok(Reply::Sent("$member".parse().unwrap())),
            Op::Matrix(MatrixOp::SendToDevice { .. }) if turn % 2 == 0 => {
                Ok(Reply::ToDevice([].into()))
            }
            _ => Err(Fault::Unreachable),
        };
        mailbox.reply(id, result);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_through_an_sfu_with_keys_logs_neither_keys_nor_tokens() {
    let watcher = Watcher::default();
    let _guard = tracing::subscriber::set_default(watcher.clone());
    let me = Identity { user: "@ada:example.org".parse().unwrap(), device: "A".parse().unwrap() };
    let (voip, mailbox) = VoIP::builder(me).start_with_mailbox().unwrap();
    tokio::spawn(falter(mailbox));
    let options = GroupOptions::livekit("https://sfu.example.org");
    let call = voip.fetch_or_create_group_call("!room:example.org", options).await.unwrap();
    call.enter().await.unwrap();
    let keys = |key: &str| {
        json!({ "keys": [{ "index": 1, "key": key }], "call_id": "", "conf_id": "",
            "device_id": "B", "room_id": "!room:example.org" })
    };
    let names = ["com.famedly.call.member.encryption_keys", "com.famedly.call.encryption_keys"];
    let good = keys("bWVkaWFLZXkgb2YgdGhlIG9uZSB3aG8gY2FsbHMuLi4=");
    let bad = keys("bWVkaWFLZXkgb2YgdGhlIG9uZSB3aG8gY2FsbHMuLi4!");
    for content in [&good, &bad] {
        let events = names.map(|name| event("@bob:example.org", name, content)).to_vec();
        voip.deliver(Batch { place: Place::ToDevice, events });
        let never = std::future::pending::<()>();
        tokio::time::timeout(Duration::from_secs(100), never).await.unwrap_err();
    }
    let bob =
        ParticipantId { user: "@bob:example.org".parse().unwrap(), device: "B".parse().unwrap() };
    let _not_there = call.request_encryption_keys([bob]).await;
    let shown = call.snapshot();
    assert!(shown.keys.own.is_some() && shown.token.is_some(), "{shown:?}");
    let explanation = call.explain().await.to_string();
    assert!(!is_private(&explanation), "{explanation}");
    for secret in ["mediaKey", "bWVkaWFLZX", "token-of", "109, 101, 100"] {
        assert!(!format!("{shown:?} {voip:?}").contains(secret), "{secret}");
    }
    call.leave().await.unwrap();
    voip.shutdown().await;
    assert!(watcher.seen() > 1, "no deadline was logged");
    assert!(watcher.leaks().is_empty(), "{:?}", watcher.leaks());
}
