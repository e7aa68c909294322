//! All calls of one device, as the application holds them.

use std::sync::Arc;

use super::{
    builder::VoIPBuilder,
    call::CallSession,
    errors::{DeclineError, GroupCallError, InviteError},
    events::VoipEvents,
    group::GroupCallSession,
};
use crate::{
    driver::{Hub, Link},
    host::mailbox::News,
    id::{InvalidId, RoomId, SessionId, UserId},
    machine::{
        Identity,
        diagnostics::Diagnostics,
        event::Transfer,
        group::ringing::IncomingRing,
        io::{CallMedia, Callee, Command, KeyUse, Refusal, Verdict},
    },
    wire::{
        delivery::Batch,
        member::{Backend, DEFAULT_APPLICATION, GroupCallId},
    },
};

/// All calls of one device. Clones are handles to the same; when the last of them and of all
/// [`CallSession`]s and [`GroupCallSession`]s is dropped, every call is hung up and the library stops, as with
/// [`shutdown`](Self::shutdown). Hosts must hold a [`News`] instead, which keeps nothing alive.
#[derive(Debug, Clone)]
pub struct VoIP {
    hub: Arc<Hub>,
    link: Link,
    news: News,
}

/// How a call is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CallOptions {
    /// Voice or video.
    pub media: CallMedia,
}

impl CallOptions {
    /// A call with sound.
    pub const fn voice() -> Self {
        Self { media: CallMedia::Voice }
    }

    /// A call with sound and picture. Without a camera it goes on by voice.
    pub const fn video() -> Self {
        Self { media: CallMedia::Video }
    }
}

/// Which group call of a room, and how it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct GroupOptions {
    /// Which one: the call of the room, if nobody says otherwise.
    pub call: GroupCallId,
    /// How its participants meet. What is there already is met as it is, or not at all.
    pub backend: Backend,
    /// What it is about, if nobody is in it yet: `m.call`, `m.call.audio`, `m.game`, anything.
    pub application: String,
    /// Whether what we send is encrypted for its members alone.
    pub keys: KeyUse,
}

impl GroupOptions {
    /// The call of the room, through an SFU: the one at which its oldest members are; if nobody is in
    /// it, the one of [`Config::livekit_service_url`](crate::config::Config::livekit_service_url), or
    /// one that the homeserver names.
    pub fn sfu() -> Self {
        Self { backend: Backend::sfu(), ..Self::mesh() }
    }

    /// The same, through this LiveKit SFU alone: where tokens for it are had. Its name of the call is the
    /// room's id, as with Famedly's apps; [`Backend::livekit`] gives another.
    pub fn livekit(service_url: impl Into<String>) -> Self {
        Self { backend: Backend::livekit(service_url, ""), ..Self::mesh() }
    }

    /// With media keys or without, where that is not as usual.
    #[must_use]
    pub fn keys(mut self, keys: KeyUse) -> Self {
        self.keys = keys;
        self
    }

    /// The call of the room, each with each.
    pub fn mesh() -> Self {
        Self {
            call: GroupCallId::room(),
            backend: Backend::Mesh,
            application: DEFAULT_APPLICATION.to_owned(),
            keys: KeyUse::Usual,
        }
    }

    /// Another call than that of the room.
    #[must_use]
    pub fn call(mut self, call: GroupCallId) -> Self {
        self.call = call;
        self
    }

    /// Met in another way than each with each by ourselves: for `Backend::Msc3401Mesh`
    /// [`Config::msc3401`](crate::config::Config::msc3401) has to be on.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// About something else than sound and picture.
    #[must_use]
    pub fn application(mut self, application: impl Into<String>) -> Self {
        self.application = application.into();
        self
    }
}

/// What can be called: a [`Callee`], or a user's id in any type that is text.
pub trait IntoCallee {
    /// The callee.
    ///
    /// # Errors
    /// [`InvalidId`] when a text is no user id.
    fn into_callee(self) -> Result<Callee, InvalidId>;
}

impl IntoCallee for Callee {
    fn into_callee(self) -> Result<Callee, InvalidId> {
        Ok(self)
    }
}

impl<T: AsRef<str>> IntoCallee for T {
    fn into_callee(self) -> Result<Callee, InvalidId> {
        UserId::parse(self).map(Callee::User)
    }
}

impl VoIP {
    /// Begins to put a `VoIP` together for this user and device.
    pub fn builder(identity: Identity) -> VoIPBuilder {
        VoIPBuilder::new(identity)
    }

    pub(super) fn new(hub: Arc<Hub>, link: Link, news: News) -> Self {
        Self { hub, link, news }
    }

    /// Everything that happens to all calls from now on. Subscribe before the first delivery, so
    /// that no arrival is missed.
    pub fn events(&self) -> VoipEvents {
        VoipEvents::new(self.hub.subscribe(), self.link.downgrade())
    }

    /// Places a call in `room` to one user ([`Callee::Device`]: one device of his;
    /// [`Callee::TheOther`]: the only other member). Resolves at once; what becomes of the call,
    /// its own events tell.
    ///
    /// Cancel safe: a future that is dropped before it was polled has placed no call; later, the
    /// call is placed all the same, appears in [`events`](Self::events), and is to be hung up
    /// there.
    ///
    /// # Errors
    /// [`InviteError`] names what the caller can fix.
    pub async fn invite(
        &self,
        room: impl AsRef<str>,
        callee: impl IntoCallee,
        options: CallOptions,
    ) -> Result<CallSession, InviteError> {
        let (room, callee) = (RoomId::parse(room)?, callee.into_callee()?);
        self.place(Command::Invite { room, callee, media: options.media }).await
    }

    /// Does what a transfer asked for ([`VoipNews::TransferRequested`]): calls whom it names, in
    /// `room` (its own room is only a proposal), and ends the call in which it was asked.
    ///
    /// Cancel safe as [`invite`](Self::invite) is.
    ///
    /// # Errors
    /// [`InviteError`] names what the caller can fix.
    ///
    /// [`VoipNews::TransferRequested`]: super::VoipNews::TransferRequested
    pub async fn follow(
        &self,
        call: &CallSession,
        transfer: Transfer,
        room: impl AsRef<str>,
        options: CallOptions,
    ) -> Result<CallSession, InviteError> {
        let (room, transfer) = (RoomId::parse(room)?, Box::new(transfer));
        let (session, media) = (call.id(), options.media);
        self.place(Command::Follow { session, transfer, room, media }).await
    }

    async fn place(&self, command: Command) -> Result<CallSession, InviteError> {
        match self.link.command(command).await? {
            // The call was published before the command was answered.
            Verdict::Started(session) => self.call(session).ok_or(InviteError::ShuttingDown),
            Verdict::Refused(refusal) => Err(refusal.into()),
            Verdict::Handled | Verdict::Ignored(_) | Verdict::Batch(_) => {
                Err(InviteError::Refused(Refusal::UnknownSession))
            }
        }
    }

    /// A call that lives or was among the last 64 that ended.
    pub fn call(&self, session: SessionId) -> Option<CallSession> {
        self.hub.call(session).map(|cell| CallSession::new(cell, self.link.clone()))
    }

    /// All calls that live, oldest first.
    pub fn calls(&self) -> Vec<CallSession> {
        let cells = self.hub.calls().into_iter();
        cells.map(|cell| CallSession::new(cell, self.link.clone())).collect()
    }

    /// The group call of that room, of which the application holds a handle from now on, whether
    /// somebody is in it or not. Nothing is sent before [`GroupCallSession::enter`].
    ///
    /// Where nothing was heard of the room yet its state is asked for, and waited for (at most 30 s):
    /// who is in the call and who may be is known then, as far as the homeserver says. Cancel safe.
    ///
    /// # Errors
    /// [`GroupCallError`] names what the caller can fix.
    pub async fn fetch_or_create_group_call(
        &self,
        room: impl AsRef<str>,
        options: GroupOptions,
    ) -> Result<GroupCallSession, GroupCallError> {
        let (room, options) = (RoomId::parse(room)?, options);
        let GroupOptions { call, backend, application, keys } = options;
        let command = Command::OpenGroup { room, call, backend, application, keys };
        match self.link.command(command).await? {
            Verdict::Started(session) => {
                let call = self.group_call(session).ok_or(GroupCallError::ShuttingDown)?;
                call.until_read().await;
                Ok(call)
            }
            Verdict::Refused(refusal) => Err(refusal.into()),
            Verdict::Handled | Verdict::Ignored(_) | Verdict::Batch(_) => {
                Err(GroupCallError::Refused(Refusal::UnknownSession))
            }
        }
    }

    /// A group call that lives.
    pub fn group_call(&self, session: SessionId) -> Option<GroupCallSession> {
        let cell = self.hub.group(session);
        cell.map(|cell| GroupCallSession::new(cell, self.link.clone()))
    }

    /// All group calls that live, in every room, oldest first: in which somebody is, and those that
    /// the application opened.
    pub fn group_calls(&self) -> Vec<GroupCallSession> {
        let cells = self.hub.groups().into_iter();
        cells.map(|cell| GroupCallSession::new(cell, self.link.clone())).collect()
    }

    /// What rings of group calls now, oldest first: for whoever comes late or was told
    /// [`Skipped`](super::VoipNews::Skipped).
    pub fn rings(&self) -> Vec<IncomingRing> {
        self.hub.rings()
    }

    /// Refuses a call into a group call: it stops ringing here and on our other devices, and the
    /// caller hears of it ([`GroupEvent::Declined`]). A call of two (`m.call.audio`, `m.call.video`)
    /// is refused as Famedly's clients do as well. Resolves before the homeserver has answered; what
    /// fails is tried again while the caller may wait.
    ///
    /// Cancel safe: a future that is dropped before it was polled has refused nothing; later, the
    /// ring is refused all the same.
    ///
    /// # Errors
    /// [`DeclineError::NoSuchRing`] when it rings no more.
    ///
    /// [`GroupEvent::Declined`]: crate::machine::group::event::GroupEvent::Declined
    pub async fn decline_ring(&self, ring: &IncomingRing) -> Result<(), DeclineError> {
        let (room, notification) = (ring.room.clone(), ring.notification.clone());
        self.link.command(Command::DeclineRing { room, notification }).await?;
        Ok(())
    }

    /// What was ignored: counted by reason, and the last 64 cases. After a shutdown, as it was
    /// then. Cancel safe.
    pub async fn diagnostics(&self) -> Diagnostics {
        self.link.diagnose().await.unwrap_or_else(|| self.hub.last_words())
    }

    /// Where hosts report what happens. It counts what it had to drop
    /// ([`News::dropped`]).
    pub fn news(&self) -> News {
        self.news.clone()
    }

    /// Hands in Matrix events: all events of one room of one sync response, in order.
    pub fn deliver(&self, batch: Batch) {
        self.news.deliver(batch);
    }

    /// Hangs up every call, lets hangups and the ledger leave for at most 5 s, and stops. Every
    /// stream ends, every later command is refused. Idempotent. Cancel safe: once polled, the
    /// shutdown goes on.
    pub async fn shutdown(&self) {
        self.link.shut_down().await;
    }
}
