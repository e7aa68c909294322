//! The fence around str0m where it works on what a remote party sent.
//!
//! str0m 0.25 asserts some things about payload types that a description can violate. `payload`
//! refuses the violations that are known; should another be found, the panic ends here and costs
//! one connection: str0m is switched off, the peer is dead, everything else goes on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use str0m::Rtc;

use crate::error::PeerError;

/// Lets str0m act; a panic inside it kills the connection and nothing else.
///
/// # Errors
/// [`PeerError::Dead`] after a panic.
pub(crate) fn fenced<T>(rtc: &mut Rtc, act: impl FnOnce(&mut Rtc) -> T) -> Result<T, PeerError> {
    // Nothing of str0m is looked at again but that it is closed, so broken invariants stay inside.
    catch_unwind(AssertUnwindSafe(|| act(rtc))).map_err(|_| {
        tracing::error!("str0m panicked on remote input; the connection is dead");
        rtc.disconnect();
        PeerError::Dead
    })
}
