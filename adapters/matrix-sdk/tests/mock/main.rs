//! A connected client against the SDK's mock server.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

mod arriving;
mod encryption;
mod house;
mod leaving;
mod life;
mod rush;
mod services;
mod state;
mod trouble;
