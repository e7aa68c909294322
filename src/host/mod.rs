//! The ports: how the library reaches the world.
//!
//! The driver speaks requests and replies only, through a [`Mailbox`]; that is
//! the base of every binding. Most Rust applications implement the traits [`Signaling`] and
//! [`WebRtc`] (or take them from an adapter) and let [`serve`](serve::serve) answer the mailbox
//! from them. Values go in, values come out; no foreign object reaches the library.

pub mod frames;
pub mod keys;
mod lanes;
pub mod mailbox;
pub mod serve;
pub mod sfu;
pub mod signaling;
pub mod tokens;
pub mod webrtc;

pub use frames::{
    Codec, Frame, FrameSink, FrameSource, Media, Playout, PlayoutOutput, RemoteTrack, SourceControl,
};
pub use keys::KeyProvider;
pub use mailbox::{HostRequest, Mailbox, News};
pub use serve::{Hosts, serve};
pub use sfu::{Sfu, SfuEvents};
pub use signaling::{
    DelayUpdate, LedgerStore, Redact, SendEvent, SendState, SendToDevice, Signaling,
};
pub use tokens::TokenSource;
pub use webrtc::{PeerEvents, WebRtc};
