//! Virtual time for what goes over real sockets.
//!
//! tokio's paused clock jumps to the next deadline whenever nothing runs, also while a request is on
//! its way: then everything times out. Here time goes on in small steps instead, [`SPEED`] times as
//! fast as the wall's, so that an answer that takes a millisecond seems to take a tenth of a second.

use std::{thread::park_timeout, time::Duration};

use tokio::{sync::mpsc, time};

/// How many times as fast as the wall's clock.
const SPEED: u32 = 100;
/// What passes between two steps by the wall's clock.
const STEP: Duration = Duration::from_millis(1);

/// From now on, and until the runtime ends, time rushes. For runtimes with one thread.
pub(crate) fn rush() {
    time::pause();
    let (ticks, mut steps) = mpsc::channel(1);
    // While such a task runs, the clock does not jump.
    tokio::task::spawn_blocking(move || {
        while ticks.blocking_send(()).is_ok() {
            park_timeout(STEP);
        }
    });
    tokio::spawn(async move {
        while steps.recv().await.is_some() {
            time::advance(STEP * SPEED).await;
        }
    });
}
