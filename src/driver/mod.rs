//! The one task that owns the engine, and the only code with a loop that waits.
//!
//! Each turn: drain the engine's outputs (events to the `hub`, requests to the mailbox), then
//! wait for an order of a handle, a reply or news of the host, or a deadline, and feed it. Clocks
//! are read here and nowhere else. Every request has a deadline; when it passes the engine gets
//! `Fault::Timeout` and the host a cancel. A reply that comes later goes to the engine all the
//! same, which counts it as `Ignored(StaleReply)`.
//!
//! | file | holds |
//! | --- | --- |
//! | `clock.rs` | monotonic time from tokio, wall time behind a value |
//! | `deadlines.rs` | how long each request may take, and why |
//! | `order.rs` | what handles ask of the task |
//! | `measure.rs`, `meter.rs` | statistics: the driver's own requests, once and again and again |
//! | `hub.rs`, `cell.rs`, `queue.rs` | all calls and all who listen; one of them; bounded queues |
//! | `log.rs` | what is logged: numbers, states and reasons |
//! | `task.rs` | the loop |

mod cell;
mod clock;
mod deadlines;
mod hub;
mod log;
mod measure;
mod meter;
mod order;
mod queue;
mod task;

pub(crate) use self::{
    cell::{CallCell, GroupCell},
    hub::{Hub, VoipItem},
    order::{Link, Unmeasured, WeakLink},
    queue::Queue,
    task::{Driver, Start},
};
pub use self::{
    cell::{CallNews, Folded, GroupNews, SessionNews},
    clock::WallClock,
    hub::MissedCall,
};

/// A `std` mutex whose holders cannot leave it half-changed: a panic inside poisons nothing.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
