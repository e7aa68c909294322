//! The SFU of a group call: an async, object-safe trait that whoever connects to one implements.
//!
//! Most applications have an SDK of their own for it and no need of this port: without it they are told
//! of tokens ([`GroupEvent::SfuTask`]) and keys ([`KeyProvider`](super::KeyProvider)), and connect by
//! themselves. With it a group call through an SFU is used like a mesh: mute, screen, who speaks.
//!
//! [`GroupEvent::SfuTask`]: crate::GroupEvent::SfuTask

use async_trait::async_trait;

use super::mailbox::News;
use crate::{
    id::{SessionId, TrackId},
    machine::io::{Capture, Fault, SfuNews, SfuToken},
};

/// Where whoever connects reports unasked news of the SFU of one group call.
#[derive(Debug, Clone)]
pub struct SfuEvents {
    call: SessionId,
    news: News,
}

impl SfuEvents {
    /// The events of the SFU of `call`, reported to `news`.
    pub fn new(call: SessionId, news: News) -> Self {
        Self { call, news }
    }

    /// Reports one piece of news. Never blocks; after the library is gone nothing happens.
    pub fn report(&self, news: SfuNews) {
        self.news.sfu(self.call, news);
    }
}

/// Whoever connects to SFUs. Methods for one call come one after the other, but for
/// [`disconnect`](Self::disconnect), which may come at any time and is to be taken as a cancel of
/// whatever is under way.
///
/// What is published in the clear must not be played in a call with media keys, and nothing of ours must
/// leave before the [`KeyProvider`](super::KeyProvider) has a key of ours.
///
/// Each call runs in a task of its own. Its future may be dropped at any await and must then leave no
/// device open; a panic is a [`Fault::Panicked`] of that one request.
///
/// # Errors
/// Every method answers with the [`Fault`] that stopped it. `connect` is tried again with a fresh token;
/// a source that cannot be had is done without; else a fault changes nothing in the call.
#[async_trait]
pub trait Sfu: Send + Sync + 'static {
    /// Begins to connect, and takes in what others publish. How it goes is reported to `events`:
    /// [`SfuNews::State`], then who is there. Tries to keep the connection by itself; `Lost` says that it
    /// has given up.
    async fn connect(
        &self,
        call: SessionId,
        token: SfuToken,
        events: SfuEvents,
    ) -> Result<(), Fault>;

    /// Takes a fresh token for when the connection has to be made again; the present one goes on.
    async fn renew(&self, call: SessionId, token: SfuToken) -> Result<(), Fault>;

    /// Opens a source of ours and publishes it, as soon as there is a connection and after each that was
    /// lost. Returns when the source is open, which may take a person's consent.
    async fn publish(&self, call: SessionId, track: TrackId, source: Capture) -> Result<(), Fault>;

    /// Sends a source (`true`), or silence and no picture (`false`), and says so to the others. Takes
    /// effect at once.
    async fn enable(&self, call: SessionId, track: TrackId, on: bool) -> Result<(), Fault>;

    /// Takes another device for a source; when that fails the old one goes on.
    async fn replace(&self, call: SessionId, track: TrackId, source: Capture) -> Result<(), Fault>;

    /// Closes a source and publishes it no more.
    async fn unpublish(&self, call: SessionId, track: TrackId) -> Result<(), Fault>;

    /// Takes in what others publish (`true`), or nothing (`false`): the call is held.
    async fn subscribe(&self, call: SessionId, on: bool) -> Result<(), Fault>;

    /// Leaves the SFU, as far as we are there; also called after [`Lost`](crate::machine::io::SfuState).
    /// Sources stay open, until each is unpublished, for the next `connect`.
    async fn disconnect(&self, call: SessionId) -> Result<(), Fault>;
}
