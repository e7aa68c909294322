//! Holds the rule that nothing private is logged or shown: no user id, SDP, candidate, address or
//! key in an event above TRACE, and none in the `Debug` form of what carries them.
//!
//! [`Watcher`] is a subscriber for `tracing` that reads every event and span above TRACE and keeps
//! what holds one of [`PRIVATE`]; the tests use these texts wherever a call has something private.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use matrix_voip::{
    host::SendEvent,
    id::RoomId,
    machine::io::{Candidate, Description, IceServer, SdpKind},
    redact::Secret,
    wire::delivery::{Facts, Protection, RawEvent},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Parts of everything private in these tests: users, SDP, candidates and addresses, credentials.
const PRIVATE: &str = "@ada: @bob: v=0 a=ice-pwd a=fingerprint candidate:1 192.0.2. 2001:db8:: \
                       turn-user turn-password";

/// What was logged although it is private.
#[derive(Debug, Clone, Default)]
struct Watcher {
    leaks: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

impl Watcher {
    fn leaks(&self) -> Vec<String> {
        self.leaks.lock().unwrap().clone()
    }

    fn read(&self, record: impl FnOnce(&mut Text)) {
        let mut text = Text::default();
        record(&mut text);
        if is_private(&text.0) {
            self.leaks.lock().unwrap().push(text.0);
        }
    }
}

fn is_private(text: &str) -> bool {
    PRIVATE.split_whitespace().any(|private| text.contains(private))
}

/// The fields of an event as one text.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Watcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() < Level::TRACE
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.read(|text| span.record(text));
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        self.read(|text| event.record(text));
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        self.read(|text| values.record(text));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
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
    const SDP: &str = "v=0\r\na=ice-pwd:x\r\na=candidate:1 1 udp 1 192.0.2.7 9 typ host\r\n";
    let content = format!(r#"{{"sdp":"{SDP}"}}"#);
    let facts = Facts {
        event_id: None,
        sender: "@eve:example.org".parse().unwrap(),
        device: None,
        protection: Protection::Clear,
        sent: None,
        age: None,
    };
    let shown: [&dyn Debug; 5] = [
        &Description { kind: SdpKind::Offer, sdp: SDP.into() },
        &Candidate {
            candidate: "candidate:1 1 udp 1 192.0.2.7 9 typ host".into(),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        },
        &IceServer {
            urls: vec!["turn:example.org".into()],
            username: "turn-user".into(),
            credential: Secret::new("turn-password"),
        },
        &RawEvent { facts, event_type: "m.call.invite".into(), content: content.clone() },
        &SendEvent {
            room: RoomId::parse("!room:example.org").unwrap(),
            event_type: "m.call.invite".into(),
            content,
            transaction: "1".into(),
        },
    ];
    for shown in shown {
        assert!(!is_private(&format!("{shown:?}")), "{shown:?}");
    }
}
