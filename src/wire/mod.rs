//! Matrix event contents as pure data: the only place that knows JSON.
//!
//! Reading is lenient: every form that deployed clients send is understood, and one bad event
//! harms no other. Writing is strict: both forms of what one event can hold, real reasons,
//! end-of-candidates.
//!
//! | file | holds |
//! | --- | --- |
//! | `delivery.rs` | what the host hands in: a complete ordered batch with its facts |
//! | `call.rs` | the contents of `m.call.*` and their to-device twins `com.famedly.call.member.*` |
//! | `kind.rs` | the names of these events |
//! | `member.rs` | who is in a group call: `com.famedly.call.member` |
//! | `legacy.rs` | the same of matrix-js-sdk: MSC3401 as it was first |
//! | `delayed.rs` | delayed leaves: what is written, what the homeserver lists |
//! | `state.rs`, `power.rs` | the state of a room; who may write memberships |
//! | `metadata.rs`, `candidate.rs`, `reason.rs` | stream metadata, ICE candidates, hangup reasons |
//! | `rtc.rs` | the events around group calls, and their names |
//! | `focus.rs` | the SFU of a call: where homeservers announce one, as whom it knows participants |
//! | `keys.rs` | media keys of calls through an SFU, and requests for them |
//! | `notify.rs`, `reaction.rs` | notifications and declines; reactions and raised hands |
//! | `read.rs`, `write.rs` | JSON to types, types to JSON |
//! | `json.rs` | tolerant readers of single fields |
//! | `turn.rs` | TURN credentials as the homeserver answers |
//! | `ledger.rs` | what must survive a crash, as stored bytes |
//! | `seen.rs` | what `ring` remembers, as stored bytes |

pub mod call;
pub mod candidate;
pub mod delayed;
pub mod delivery;
pub mod focus;
mod json;
pub mod keys;
mod kind;
pub mod ledger;
pub mod legacy;
pub mod member;
pub mod metadata;
pub mod notify;
pub mod power;
pub mod reaction;
pub mod read;
pub mod reason;
pub mod rtc;
pub mod seen;
pub mod state;
pub mod turn;
mod write;
