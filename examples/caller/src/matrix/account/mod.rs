//! The user's account: logging in and out, and what is kept of it between two runs.
//!
//! | file | holds |
//! | --- | --- |
//! | `folder.rs` | where session and store are |
//! | `login.rs`, `logout.rs` | coming and going |
//! | `open.rs` | the client of a session that is kept |
//! | `rooms.rs` | the list of rooms, and whom a call in each would reach |

pub(crate) mod folder;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod open;
pub(crate) mod rooms;
