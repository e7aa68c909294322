//! A subscriber for `tracing` that reads every event and span above TRACE of our own packages and
//! keeps what holds one of [`PRIVATE`]; tests use these texts wherever a call has something
//! private. What crates below us log is theirs: str0m shows candidates at DEBUG.

use std::{
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Parts of everything private in tests: users, SDP, candidates and addresses, credentials,
/// media keys (as bytes, in base64, in hexadecimal), tokens.
const PRIVATE: &str = "@ada: @bob: v=0 a=ice-pwd a=fingerprint candidate:1 192.0.2. 127.0.0. \
                       2001:db8:: turn-user turn-password mediaKey bWVkaWFLZX 6d656469614b \
                       token-of-the-sfu token-of-open-id";

/// What was logged although it is private. Clones share what they saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watcher {
    leaks: Arc<Mutex<Vec<String>>>,
    seen: Arc<AtomicU64>,
}

impl Watcher {
    /// Everything private that was logged.
    pub(crate) fn leaks(&self) -> Vec<String> {
        self.leaks.lock().unwrap().clone()
    }

    /// How many events and spans there were.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    fn read(&self, record: impl FnOnce(&mut Text)) {
        let mut text = Text::default();
        record(&mut text);
        if is_private(&text.0) {
            self.leaks.lock().unwrap().push(text.0);
        }
    }
}

/// Whether a text holds something private.
pub(crate) fn is_private(text: &str) -> bool {
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
        let ours = ["matrix_voip", "privacy"];
        *metadata.level() < Level::TRACE
            && ours.iter().any(|our| metadata.target().starts_with(our))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.read(|text| span.record(text));
        Id::from_u64(self.seen.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn event(&self, event: &Event<'_>) {
        self.seen.fetch_add(1, Ordering::Relaxed);
        self.read(|text| event.record(text));
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        self.read(|text| values.record(text));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}
