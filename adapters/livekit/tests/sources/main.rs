//! Token sources against scripted servers: what they ask, and what becomes of each answer.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

mod asking;
mod faults;
mod hostile;
mod kit;
mod tls;
