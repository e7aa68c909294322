//! Requests that wait for their answer: resent over UDP until it comes or the server counts as
//! silent.

use std::time::{Duration, Instant};

use crate::{entropy::Entropy, stun::TransactionId};
use matrix_voip_engine::uri::Transport;

/// Pause before the first resending over UDP; each next is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How often a request is sent over UDP: at 0, 250, 750, 1750 and 3750 ms.
const SENDINGS: u32 = 5;

/// How long the last sending waits for its answer. A silent server is given up after 5.75 s,
/// where RFC 8489 would wait 39.5: the other candidates do not wait for it.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// How long an answer may take over TCP and TLS, which resend by themselves.
const STREAM_PATIENCE: Duration = Duration::from_secs(8);

/// What every step is given: the time, and random numbers.
pub(crate) struct Step<'a> {
    pub(crate) now: Instant,
    pub(crate) entropy: &'a mut Entropy,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: TransactionId,
    bytes: Vec<u8>,
    sent: u32,
    is_stream: bool,
    /// When something must happen next.
    pub(crate) due: Instant,
}

/// What is to be done about a request whose time has come.
pub(crate) enum Due<'a> {
    Resend(&'a [u8]),
    /// Nobody will answer any more.
    GiveUp,
}

impl Request {
    /// A request that was sent at `now`.
    pub(crate) fn new(
        now: Instant,
        id: TransactionId,
        bytes: Vec<u8>,
        transport: Transport,
    ) -> Self {
        let is_stream = transport != Transport::Udp;
        let patience = if is_stream { STREAM_PATIENCE } else { FIRST_PAUSE };
        Self { id, bytes, sent: 1, is_stream, due: now + patience }
    }

    /// What to do now; `None` when it is too early.
    pub(crate) fn on_timeout(&mut self, now: Instant) -> Option<Due<'_>> {
        if now < self.due {
            return None;
        }
        if self.is_stream || self.sent == SENDINGS {
            return Some(Due::GiveUp);
        }
        let pause =
            if self.sent + 1 == SENDINGS { LAST_PAUSE } else { FIRST_PAUSE * (1 << self.sent) };
        self.sent += 1;
        self.due = now + pause;
        Some(Due::Resend(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
        Instant::now()
    }

    #[test]
    fn a_request_is_sent_five_times_and_then_given_up() {
        let start = clock();
        let mut request = Request::new(start, [0; 12], vec![1], Transport::Udp);
        let mut sent = vec![0];
        while let Some(Due::Resend(_)) = request.on_timeout(request.due) {
            let before = *sent.last().unwrap();
            sent.push(before.max(250 * ((1 << sent.len()) - 1)));
        }
        assert_eq!(sent, [0, 250, 750, 1750, 3750]);
        assert_eq!(request.due - start, Duration::from_millis(5750));
    }

    #[test]
    fn a_stream_resends_nothing() {
        let start = clock();
        let mut request = Request::new(start, [0; 12], vec![1], Transport::Tls);
        assert!(request.on_timeout(start + STREAM_PATIENCE / 2).is_none());
        assert!(matches!(request.on_timeout(start + STREAM_PATIENCE), Some(Due::GiveUp)));
    }
}
