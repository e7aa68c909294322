//! What a client sends to devices (room keys), held back while a test says so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::{body::Bytes, http::request::Parts};

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Letter(pub(crate) Parts, pub(crate) Bytes);

/// Requests that wait; `None` while nothing is held back.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<Option<Vec<Letter>>>);

impl Held {
    /// From now on they wait. Those that wait already go on waiting.
    pub(crate) fn begin(&self) {
        self.letters().get_or_insert_default();
    }

    /// Nothing waits any more: what has waited, in order.
    pub(crate) fn end(&self) -> Vec<Letter> {
        self.letters().take().unwrap_or_default()
    }

    /// Whether it keeps this request, to be sent later.
    pub(crate) fn keeps(&self, head: &Parts, body: &Bytes) -> bool {
        let mut letters = self.letters();
        let Some(letters) = letters.as_mut() else { return false };
        let is_letter = head.uri.path().contains("/sendToDevice/");
        if is_letter {
            letters.push(Letter(head.clone(), body.clone()));
        }
        is_letter
    }

    fn letters(&self) -> MutexGuard<'_, Option<Vec<Letter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
