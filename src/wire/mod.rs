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
//! | `metadata.rs` | `sdp_stream_metadata` |
//! | `ledger.rs` | what must survive a crash, as stored bytes |

pub mod call;
pub mod delivery;
pub mod ledger;
pub mod metadata;
