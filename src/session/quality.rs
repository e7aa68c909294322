//! Watching how good a call is.

use tokio::sync::watch;

use crate::machine::quality::CallStats;

/// How a call is, measured again and again while this is held. Only the latest is kept: whoever
/// is slow misses what is old.
#[derive(Debug)]
#[must_use = "nothing is measured when nobody looks"]
pub struct QualityWatch {
    latest: watch::Receiver<Option<CallStats>>,
}

impl QualityWatch {
    pub(super) fn new(latest: watch::Receiver<Option<CallStats>>) -> Self {
        Self { latest }
    }

    /// The next measurement, or the latest that was not seen; `None` when the call is over.
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<CallStats> {
        loop {
            self.latest.changed().await.ok()?;
            let latest = self.latest.borrow_and_update().clone();
            if latest.is_some() {
                return latest;
            }
        }
    }
}
