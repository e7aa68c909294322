//! What an application holds: [`VoIP`], one [`CallSession`] per call, and their event streams.
//!
//! Handles are small, cloneable and know nothing themselves: a command goes to the driver's task
//! and resolves when the machine has accepted or refused it; a snapshot is what the driver last
//! published. A call that fails is not an error, it is an `EndReason`; the errors here name what
//! the caller can fix.
//!
//! | file | holds |
//! | --- | --- |
//! | `builder.rs` | how a `VoIP` is put together and started |
//! | `voip.rs` | placing calls, finding them, shutting down |
//! | `call.rs` | one call: watching it, taking it, ending it |
//! | `group.rs` | one group call: who is in it, entering, leaving, reacting |
//! | `quality.rs` | watching how good a call is |
//! | `changes.rs` | what is changed in a call that is answered |
//! | `events.rs` | the two event streams |
//! | `errors.rs` | one small error per operation |

mod builder;
mod call;
mod changes;
mod errors;
mod events;
mod group;
mod quality;
mod voip;

pub use self::{
    builder::{StartError, VoIPBuilder},
    call::CallSession,
    errors::{
        AnswerError, ChangeError, ChangeGroupError, DeclineError, EnterError, GroupCallError,
        GroupUntilError, HangupError, InviteError, LeaveError, MuteError, ProceedError, ReactError,
        RejectError, StatsError, UntilError,
    },
    events::{CallEvents, GroupEvents, SessionEvents, VoipEvents, VoipNews},
    group::GroupCallSession,
    quality::QualityWatch,
    voip::{CallOptions, GroupOptions, IntoCallee, VoIP},
};
