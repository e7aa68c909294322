//! Native Matrix VoIP: 1:1 calls over `m.call.*`, group calls in which each meets each, and state, tokens
//! and media keys of group calls through an SFU, for any Matrix client and any WebRTC engine.
//!
//! The protocol is a value without clock, task or I/O ([`machine`]); one task drives it; an
//! application holds a [`VoIP`] and a [`CallSession`] or [`GroupCallSession`] per call. How it reaches the homeserver and
//! the media is a [`host`] that it brings or takes from an adapter package: `Signaling` (send an
//! event, TURN credentials, members) and `WebRtc` (peer connections, capture).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use matrix_voip::{
//!     CallOptions, CallState, Identity, Signaling, VoIP, VoipNews, WebRtc,
//!     id::{DeviceId, UserId},
//! };
//!
//! # async fn call(
//! #     signaling: Arc<dyn Signaling>,
//! #     webrtc: Arc<dyn WebRtc>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let me = Identity { user: UserId::parse("@ada:hs")?, device: DeviceId::parse("PHONE")? };
//! let voip = VoIP::builder(me).signaling(signaling).webrtc(webrtc).start()?;
//! let mut arrivals = voip.events();
//!
//! let call = voip.invite("!room:hs", "@ben:hs", CallOptions::video()).await?;
//! call.until(CallState::Connected).await?;
//! println!("round trip: {:?}", call.stats().await?.round_trip);
//! call.hangup().await?;
//!
//! while let Some(news) = arrivals.next().await {
//!     match news {
//!         VoipNews::RingStarted { call, .. } => call.answer().await?,
//!         VoipNews::CallEnded { end, .. } => println!("over: {end:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A group call of a room, in which each meets each:
//!
//! ```no_run
//! use matrix_voip::{GroupOptions, Stay, VoIP};
//!
//! # async fn meet(voip: VoIP) -> Result<(), Box<dyn std::error::Error>> {
//! let group = voip.fetch_or_create_group_call("!team:hs", GroupOptions::mesh()).await?;
//! let (snapshot, mut events) = group.subscribe();
//! println!("{} are in it", snapshot.participants.len());
//! group.enter().await?;
//! group.raise_hand().await?;
//! group.react("👏", Stay::Ephemeral).await?;
//! println!("{:?} speaks", group.active_speaker());
//! while let Some(news) = events.next().await {
//!     println!("{news:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The same call through an SFU, to which the application connects with an SDK of its own: keys go to a
//! [`KeyProvider`], tokens come from a [`TokenSource`] and are told.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use matrix_voip::{GroupEvent, GroupNews, GroupOptions, KeyProvider, SfuTask};
//! use matrix_voip::{TokenSource, VoIP, VoIPBuilder};
//!
//! # async fn meet(
//! #     builder: VoIPBuilder,
//! #     keys: Arc<dyn KeyProvider>,
//! #     tokens: Arc<dyn TokenSource>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let voip: VoIP = builder.tokens(tokens).keys(keys).start()?;
//! let group = voip.fetch_or_create_group_call("!team:hs", GroupOptions::sfu()).await?;
//! let (_, mut events) = group.subscribe();
//! group.enter().await?;
//! while let Some(news) = events.next().await {
//!     let GroupNews::Event(GroupEvent::SfuTask(task)) = news else { continue };
//!     match task {
//!         SfuTask::Connect(token) => {
//!             println!("connect to {}: {}", token.url, group.explain().await);
//!         }
//!         SfuTask::Renew(_) => println!("keep the fresh token for the next connection"),
//!         SfuTask::Disconnect => println!("leave the SFU"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Whoever is called into one hears [`VoipNews::GroupRingStarted`], enters the call or declines
//! ([`VoIP::decline_ring`]). What rings in a push handler, without session and network, [`inspect`]
//! tells, of calls of two too.
//!
//! Incoming events go in through [`VoIP::deliver`] or the [`News`] that a host holds: a complete,
//! ordered batch per room and sync response, decrypted, with its facts (`wire::delivery`).
//!
//! Supported: 1:1 calls, voice and video, versions 0 and 1 of the protocol; ringing on several
//! devices; glare, busy policies, missed calls; mute; a ledger against ghosts of crashed
//! processes; hold, screen sharing, upgrades, DTMF, ICE restart, transfer; group calls by a mesh, who is
//! in them, rings, reactions; group calls through an SFU over an SDK of the application, with media keys.
//! Not supported yet: a participant of an SFU of our own.
//!
//! Every type of the usual path has its name here at the root; the modules hold the rest, for
//! hosts, bindings and tests. With the feature `testing`, `testing` is a simulation kit
//! and a homeserver in memory for real calls inside one process.
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod config;
mod driver;
pub mod host;
pub mod id;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod machine;
pub mod record;
pub mod redact;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod ring;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod sdp;
mod session;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
#[cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]
pub mod wire;

#[doc(no_inline)]
pub use crate::{
    config::{
        Busy, Config, DelayedLeave, Glare, KeyDerivation, KeyProfile, MemberKey, Msc3401, OnAnswer,
        Proceed, Ratchet, ReactionsSent, SfuClient, SfuServices, Transfers, Unverified, WireForm,
    },
    host::{
        Hosts, KeyProvider, LedgerStore, Mailbox, News, Sfu, Signaling, TokenSource, WebRtc, serve,
    },
    machine::{
        Identity,
        event::{CallDirection, CallEvent, CallSnapshot, CallState, End, EndParty, EndReason},
        event::{Hold, MissedWhy, RingStop, Side, Stream, Transfer},
        explain::Explanation,
        group::{
            event::{
                Connection, GroupEnd, GroupEvent, GroupRefusal, GroupSnapshot, GroupState, Rights,
                SfuStatus,
            },
            explain::GroupExplanation,
            key_event::{KeyEvent, KeyName, KeySnapshot, Undelivered},
            ringing::{Announce, IncomingRing, Notify},
            roster::{Participant, ParticipantId},
        },
        io::{CallMedia, Callee, Chat, KeyUse, MediaKind, MediaSource, Network, PeerStats},
        io::{KeyOwner, SfuLoss, SfuTask, SfuToken, TokenFault},
        quality::{CallStats, Flow, HeardSound, Quality},
    },
    ring::{Inspection, RingInfo, RingKind, Seen, inspect},
    wire::{
        member::{Backend, Dialect, GroupCallId, Scope},
        metadata::Purpose,
        notify::{Mentions, Style},
        reaction::{RAISED_HAND, Stay},
    },
};
pub use crate::{
    driver::{CallNews, Folded, GroupNews, MissedCall, SessionNews, WallClock},
    id::{RoomId, UserId},
    record::{Recorder, Replay},
    session::{
        AnswerError, CallEvents, CallOptions, CallSession, ChangeError, ChangeGroupError,
        DeclineError, EnterError, GroupCallError, GroupCallSession, GroupEvents, GroupOptions,
        GroupUntilError, HangupError, IntoCallee, InviteError, LeaveError, MuteError, ProceedError,
        QualityWatch, ReactError, RejectError, SessionEvents, StartError, StatsError, UntilError,
        VoIP, VoIPBuilder, VoipEvents, VoipNews,
    },
};
