//! Nonces that do not repeat under a key, whoever else uses it.
//!
//! AES-GCM with one nonce twice under one key gives away both frames and lets everybody forge. A
//! nonce has 12 bytes, and receivers just read it from the frame, so its form is ours to choose:
//!
//! ```text
//! 8 random bytes, drawn when the key begins to be used | 32-bit counter, big-endian, from 0
//! ```
//!
//! *Within one use of a key* the counter is shared by all tracks, so no two of their frames have the
//! same nonce, and it never wraps: after 2³² frames sealing errs, and a fresh key is needed. That is
//! 248 days of one voice and three films of 50 pictures a second, and the most that NIST allows under one
//! key where nonces are partly random (SP 800-38D §8.3).
//!
//! *Across uses* (a process that crashed and has the same key again, a key that is set twice) two
//! nonces are equal only where both drew the same 8 bytes. Of `n` draws under one key two are
//! equal with a chance of about n²/2⁶⁵: for 1,000 restarts 3·10⁻¹⁴. With the 4 random bytes that
//! LiveKit's description suggests it would be n²/2³³: 1,000 restarts, one in 8,600. Six and six
//! bytes (n²/2⁴⁹, one in 5·10⁸) would buy a counter of 2⁴⁸ that no key may use.
//!
//! What it cannot help against: a machine or process that is copied while it runs (a snapshot, a
//! `fork`) goes on with the same bytes and the same counter.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 12;

/// Bytes of a nonce that are random.
const PREFIX_BYTES: usize = 8;

/// Hands out nonces under one key.
pub(super) struct Nonces {
    prefix: [u8; PREFIX_BYTES],
    /// More than 32 bits: counting on after the last one does not wrap.
    next: AtomicU64,
}

impl Nonces {
    /// Begins a use of a key: draws the random bytes.
    pub(super) fn new() -> Self {
        let mut prefix = [0; PREFIX_BYTES];
        rand::fill(&mut prefix).expect("invariant: the system has randomness");
        Self { prefix, next: AtomicU64::new(0) }
    }

    /// The next nonce; `None` when there are no more.
    pub(super) fn next(&self) -> Option<[u8; NONCE_BYTES]> {
        let count = u32::try_from(self.next.fetch_add(1, Ordering::Relaxed)).ok()?;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..].copy_from_slice(&count.to_be_bytes());
        Some(nonce)
    }

    /// As if so many nonces had been handed out.
    #[cfg(test)]
    pub(super) fn advance(&self, to: u64) {
        self.next.store(to, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, thread};

    use super::*;

    #[test]
    fn tracks_that_share_a_key_never_get_the_same_nonce() {
        let nonces = Nonces::new();
        let take = || (0..10_000).filter_map(|_| nonces.next()).collect::<Vec<_>>();
        let taken: Vec<_> = thread::scope(|scope| {
            let tracks: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            tracks.into_iter().flat_map(|track| track.join().unwrap()).collect()
        });
        let different: BTreeSet<_> = taken.iter().collect();
        assert_eq!((taken.len(), different.len()), (40_000, 40_000));
    }

    #[test]
    fn the_counter_does_not_wrap() {
        let nonces = Nonces::new();
        let first = nonces.next().unwrap();
        nonces.advance(u64::from(u32::MAX));
        assert_eq!(nonces.next().map(|last| last[8..].to_vec()), Some(vec![0xff; 4]));
        assert!((0..1000).all(|_| nonces.next().is_none()));
        assert_eq!(first[8..], [0; 4]);
    }

    #[test]
    fn each_use_of_a_key_draws_its_own_bytes() {
        let prefixes: BTreeSet<_> = (0..1000).map(|_| Nonces::new().prefix).collect();
        assert_eq!(prefixes.len(), 1000);
    }
}
