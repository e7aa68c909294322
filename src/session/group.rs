//! One group call, as the application holds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::join_all;

use super::{
    errors::{ChangeGroupError, EnterError, GroupUntilError, LeaveError, ReactError, StatsError},
    events::GroupEvents,
};
use crate::{
    driver::{GroupCell, GroupNews, Link},
    id::{InputId, SessionId},
    machine::{
        event::{Side, Stream},
        group::{
            event::{Connection, GroupEnd, GroupEvent, GroupSnapshot, GroupState, SfuStatus},
            explain::GroupExplanation,
            ringing::Announce,
            roster::Participant,
        },
        io::{
            CallMedia, Command, GroupCommand, MediaSource, ParticipantId, PeerStats, Refusal,
            SfuToken,
        },
    },
    wire::reaction::{RAISED_HAND, Stay},
};

/// A handle to one group call of a room. Clones are handles to the same; dropping all of them leaves
/// nothing (but the last handle of all, `VoIP` included, stops the library, which leaves every group
/// call).
///
/// A group call is there while somebody is in it, whether we are or not; and from the moment that the
/// application [opens](super::VoIP::fetch_or_create_group_call) it. When the last has left it is over,
/// and the next that begins under the same id is another: open it anew.
///
/// Every command is cancel safe in this sense: a future that is dropped before it was polled has done
/// nothing; later, the command takes effect all the same and only its result is lost. Where nothing
/// else is said a command resolves when the machine has accepted or refused it.
#[derive(Debug, Clone)]
pub struct GroupCallSession {
    cell: Arc<GroupCell>,
    link: Link,
}

impl GroupCallSession {
    pub(super) fn new(cell: Arc<GroupCell>, link: Link) -> Self {
        Self { cell, link }
    }

    /// The group call's id in this process.
    pub fn id(&self) -> SessionId {
        self.cell.id()
    }

    /// How the group call stands, and every event that follows, taken together: nothing is missed or
    /// told twice between the two. After the end the stream is empty.
    pub fn subscribe(&self) -> (GroupSnapshot, GroupEvents) {
        let (snapshot, queue) = self.cell.subscribe();
        (snapshot, GroupEvents::new(queue))
    }

    /// How the group call stands; after its end, how it stood then.
    pub fn snapshot(&self) -> GroupSnapshot {
        self.cell.look(GroupSnapshot::clone)
    }

    /// The group call's state.
    pub fn state(&self) -> GroupState {
        self.cell.look(|snapshot| snapshot.state)
    }

    /// Who is in it, oldest first; we too, once our membership was seen.
    pub fn participants(&self) -> Vec<Participant> {
        self.cell.look(|snapshot| snapshot.participants.clone())
    }

    /// Whether we may be in group calls of the room, by its power levels. Where these are not known:
    /// yes, and the homeserver has the last word.
    pub fn can_join(&self) -> bool {
        self.cell.look(|snapshot| snapshot.rights.can_join)
    }

    /// Whether every member of the room may.
    pub fn can_everyone_join(&self) -> bool {
        self.cell.look(|snapshot| snapshot.rights.can_everyone_join)
    }

    /// Lets every member of the room be in its group calls: the power level of memberships is set to
    /// what every member has. Never done without being asked, and tried once. Resolves when the room
    /// says so; at once where it is so already.
    ///
    /// Cancel safe: a future that is dropped before it was polled has done nothing; later, it is asked
    /// all the same.
    ///
    /// # Errors
    /// [`ChangeGroupError::Forbidden`] when we may not change power levels, [`UnknownPowerLevels`] when
    /// those of the room were not heard yet, or what else stands against it.
    ///
    /// [`UnknownPowerLevels`]: ChangeGroupError::UnknownPowerLevels
    pub async fn allow_everyone(&self) -> Result<(), ChangeGroupError> {
        let (mut present, mut events) = self.subscribe();
        self.change(GroupCommand::AllowEveryone).await?;
        while !present.rights.can_everyone_join {
            let Some(news) = events.next().await else { return Err(ChangeGroupError::Ended) };
            if let GroupNews::Event(GroupEvent::AllowEveryoneFailed(why)) = &news {
                return Err((*why).into());
            }
            news.apply(&mut present);
        }
        Ok(())
    }

    /// Waits until the group call is in this state. Other than in calls of two we may be in and out of it
    /// many times: who waits for [`Entered`](GroupState::Entered) and never enters waits until the
    /// end. Cancel safe.
    ///
    /// # Errors
    /// [`GroupUntilError::Ended`] when the group call ended first; waiting for
    /// [`Ended`](GroupState::Ended) itself never fails.
    pub async fn until(&self, state: GroupState) -> Result<(), GroupUntilError> {
        let present = self.folded_until(|present| present.state == state).await;
        if present.state == state { Ok(()) } else { Err(GroupUntilError::Ended(end_of(&present))) }
    }

    /// Enters the call with the microphone, and waits until the homeserver has accepted our membership.
    /// While it cannot be reached this waits as well: the membership is tried again and again; only
    /// where it has to be asked for an SFU that is given up after some minutes.
    /// Idempotent.
    ///
    /// Where nobody is in the call before us, others hear that it begins: everybody in the room, like
    /// a message; nobody in a direct chat. [`announce_as`](Self::announce_as) says otherwise.
    ///
    /// Cancel safe: a future that is dropped before it was polled has done nothing; later, we enter
    /// all the same.
    ///
    /// # Errors
    /// [`EnterError`] names what stands against it.
    pub async fn enter(&self) -> Result<(), EnterError> {
        self.enter_with(CallMedia::Voice).await
    }

    /// The same, and sends this: the microphone, or the camera too. Where media is ours (a mesh, or an SFU
    /// to which the host connects) the devices are opened now, and closed when we leave; what cannot be had is told
    /// ([`GroupEvent::MediaMissing`]), and we are in the call without it. In a call that we are in
    /// already nothing changes: [`start`](Self::start) adds the camera.
    ///
    /// Cancel safe like [`enter`](Self::enter).
    ///
    /// # Errors
    /// [`EnterError`] names what stands against it.
    pub async fn enter_with(&self, media: CallMedia) -> Result<(), EnterError> {
        let (mut present, mut events) = self.subscribe();
        if let Err(refusal) = self.command(GroupCommand::Enter(media)).await {
            let over = self.snapshot().end.map(EnterError::Ended);
            return Err(over.unwrap_or_else(|| refusal.into()));
        }
        let mut entering = present.state == GroupState::Entering;
        while present.state != GroupState::Entered {
            let Some(news) = events.next().await else { break };
            news.apply(&mut present);
            // The command was taken before news are looked at: what was skipped holds the beginning.
            let skipped = matches!(news, GroupNews::Skipped { .. });
            entering |= skipped || present.state == GroupState::Entering;
            if entering && let Some(why) = present.refused {
                return Err(why.into());
            }
            if entering && matches!(present.state, GroupState::Leaving | GroupState::Idle) {
                return Err(EnterError::Left);
            }
        }
        present.end.map_or(Ok(()), |end| Err(EnterError::Ended(end)))
    }

    /// How others hear of the call if nobody is in it before us when we enter (MSC4075): it rings at
    /// them, is shown to them, or nobody hears of it. To be said before [`enter`](Self::enter); it
    /// holds for every later entering too, once for each. That an announcement cannot be sent is
    /// nobody's error: it is tried for as long as it would ring, 30 s.
    ///
    /// Cancel safe: a future that is dropped before it was polled has changed nothing.
    ///
    /// # Errors
    /// [`ChangeGroupError`] when the group call is over.
    pub async fn announce_as(&self, how: Announce) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::AnnounceAs(how)).await
    }

    /// Leaves the call. Resolves at once: that our membership is taken back follows by itself, also
    /// later, when the homeserver can be reached again. Idempotent. A group call in which nobody is,
    /// we neither, is over then ([`GroupEnd::Empty`]): open it anew to enter it.
    ///
    /// # Errors
    /// [`LeaveError`], which no state of a group call causes.
    pub async fn leave(&self) -> Result<(), LeaveError> {
        match self.command(GroupCommand::Leave).await {
            Ok(()) | Err(Refusal::UnknownSession | Refusal::ShuttingDown) => Ok(()),
            Err(refusal) => Err(LeaveError::Refused(refusal)),
        }
    }

    /// Says that the call is about something else from now on: `m.call.audio` became `m.call.video`.
    ///
    /// # Errors
    /// [`ChangeGroupError`] when the group call is over.
    pub async fn set_application(
        &self,
        application: impl Into<String>,
    ) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::SetApplication(application.into())).await
    }

    /// Stops sending what a source gives, at once, and says so to everybody; also before entering, so
    /// that nothing is sent from the first moment on, and of a source that is not open yet. Idempotent.
    ///
    /// # Errors
    /// [`ChangeGroupError::MediaNotOurs`] where the application connects to the SFU by itself, or what else
    /// stands against it.
    pub async fn mute(&self, source: MediaSource) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::Mute(source)).await
    }

    /// Sends it again, and says so. Idempotent.
    ///
    /// # Errors
    /// As [`mute`](Self::mute).
    pub async fn unmute(&self, source: MediaSource) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::Unmute(source)).await
    }

    /// Takes nothing in from anybody and sends silence, until [`unhold`](Self::unhold). Idempotent.
    ///
    /// # Errors
    /// [`ChangeGroupError::NotEntered`] when we are not in the call, [`ChangeGroupError::MediaNotOurs`] where the
    /// media is not ours, or what else stands against it.
    pub async fn hold(&self) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::Hold).await
    }

    /// Everything flows as before. Idempotent.
    ///
    /// # Errors
    /// As [`hold`](Self::hold); [`ChangeGroupError::OtherCallConnected`] when a call of two that is
    /// connected cannot give way.
    pub async fn unhold(&self) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::Unhold).await
    }

    /// Opens a source and sends it to everybody, those too who come later: the camera makes a voice call
    /// one with a picture of ours, the screen is shown beside it, and the membership says so. Resolves
    /// when the source is open, which may take a person's consent. A picture that was muted is muted no
    /// more; a microphone stays as it was. Idempotent.
    ///
    /// Cancel safe as every command is: dropped later, the source is opened all the same.
    ///
    /// # Errors
    /// [`ChangeGroupError::MediaMissing`] when it cannot be had (the call goes on), or what else stands
    /// against it.
    pub async fn start(&self, source: MediaSource) -> Result<(), ChangeGroupError> {
        let (mut present, mut events) = self.subscribe();
        self.change(GroupCommand::Start(source)).await?;
        while !sends(&present, source) {
            let Some(news) = events.next().await else { return Err(ChangeGroupError::Ended) };
            match &news {
                GroupNews::Event(GroupEvent::MediaMissing(missing)) if *missing == source => {
                    return Err(ChangeGroupError::MediaMissing);
                }
                GroupNews::Event(_) | GroupNews::Skipped { .. } => news.apply(&mut present),
            }
            match present.state {
                GroupState::Entering | GroupState::Entered => {}
                GroupState::Idle | GroupState::Leaving => return Err(ChangeGroupError::NotEntered),
                GroupState::Ended => return Err(ChangeGroupError::Ended),
            }
        }
        Ok(())
    }

    /// Closes a source; what else we send goes on. Idempotent.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub async fn stop(&self, source: MediaSource) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::Stop(source)).await
    }

    /// Takes another device for an open source, everywhere at once; `None`: the one that the host
    /// chooses. If that fails the old one goes on, and [`GroupEvent::SwitchFailed`] tells so.
    ///
    /// # Errors
    /// As [`hold`](Self::hold); [`ChangeGroupError::NoSuchTrack`] when we send nothing of that kind.
    pub async fn switch(
        &self,
        source: MediaSource,
        input: Option<InputId>,
    ) -> Result<(), ChangeGroupError> {
        self.change(GroupCommand::Switch(source, input)).await
    }

    /// Asks these participants for their media keys: for when what they send cannot be read. Whoever has
    /// shared none is asked by itself, a few times; this begins anew. Resolves when the machine has taken
    /// it; [`KeyEvent::Received`](crate::KeyEvent) tells what came, `Missing` what did not.
    ///
    /// Cancel safe: a future that is dropped before it was polled has done nothing.
    ///
    /// # Errors
    /// [`ChangeGroupError::NoSuchParticipant`] when none of them is in the call,
    /// [`ChangeGroupError::NoKeys`] when it has no media keys, or what else stands against it.
    pub async fn request_encryption_keys(
        &self,
        participants: impl IntoIterator<Item = ParticipantId>,
    ) -> Result<(), ChangeGroupError> {
        let participants = participants.into_iter().collect();
        self.change(GroupCommand::RequestKeys(participants)).await
    }

    /// How it stands with the SFU.
    pub fn sfu_status(&self) -> SfuStatus {
        self.cell.look(|snapshot| snapshot.sfu.clone())
    }

    /// The newest token for the SFU, where the application connects to it by itself.
    pub fn sfu_token(&self) -> Option<SfuToken> {
        self.cell.look(|snapshot| snapshot.token.clone())
    }

    /// What the call waits for, from our membership over the token and the connection to each
    /// participant's tracks and keys, and why somebody is not heard: in facts, and in sentences
    /// (`Display`). Listens for nearly a second to those who should be heard, in a mesh; takes at most
    /// 11 s, where the engine does not answer. Cancel safe.
    pub async fn explain(&self) -> GroupExplanation {
        let mut explanation = self.cell.look(GroupSnapshot::explain);
        let legs = self.link.legs(self.id()).await;
        let wanting = explanation.others.iter_mut().filter(|other| other.wants_hearing());
        let listening = wanting.filter_map(|other| {
            let (_, leg) = legs.iter().find(|(member, _)| *member == other.id)?;
            Some(async { other.hearing = self.link.listen(*leg).await })
        });
        join_all(listening).await;
        explanation
    }

    /// Measures the connection to a participant now, as [`CallSession::stats`](crate::CallSession::stats)
    /// does: in a mesh. Cancel safe.
    ///
    /// # Errors
    /// [`StatsError`]: no connection of its own to him (an SFU has one for all), or the engine did not
    /// answer.
    pub async fn stats(&self, participant: &ParticipantId) -> Result<PeerStats, StatsError> {
        let legs = self.link.legs(self.id()).await;
        let leg = legs.into_iter().find(|(member, _)| member == participant);
        let (_, leg) = leg.ok_or(StatsError::NoPeerConnection)?;
        Ok(self.link.measure(leg).await?)
    }

    /// Who spoke loudest last, of the others. Silence changes nothing. In a mesh it is looked each 500 ms
    /// ([`Timeouts::speaker`]); whoever is to be the next has to be 6 dB louder in two looks, one after
    /// the other, and below -50 dBov it is silent. With an SFU the loudest of each of its reports is it.
    ///
    /// [`Timeouts::speaker`]: crate::config::Timeouts::speaker
    pub fn active_speaker(&self) -> Option<ParticipantId> {
        self.cell.look(|snapshot| snapshot.active_speaker.clone())
    }

    /// What a participant shows, sorted for display: screen before camera and sound. We too.
    pub fn streams(&self, participant: &ParticipantId) -> Vec<Stream> {
        self.cell.look(|snapshot| snapshot.streams.get(participant).cloned().unwrap_or_default())
    }

    /// How we are connected to a participant.
    pub fn connection(&self, participant: &ParticipantId) -> Connection {
        let of = |it: &GroupSnapshot| it.connections.get(participant).copied();
        self.cell.look(of).unwrap_or(Connection::Waiting)
    }

    async fn change(&self, command: GroupCommand) -> Result<(), ChangeGroupError> {
        Ok(self.command(command).await?)
    }

    /// Shows something to the others, and to ourselves as `GroupEvent::ReactionAdded`: at once, also
    /// where the homeserver has not accepted it yet. An ephemeral one is sent once; eleven may be sent at
    /// once, then one each second. A permanent one is
    /// tried until it is accepted, is shown once however often it is asked for, stays until
    /// [`unreact`](Self::unreact), and goes when we leave. It is not sent again: whose application
    /// starts later does not see it.
    ///
    /// In encrypted rooms it goes in the clear, unless [`Config::reactions`] says otherwise.
    ///
    /// Cancel safe: a future that is dropped before it was polled has shown nothing; later, it is
    /// shown all the same.
    ///
    /// # Errors
    /// [`ReactError`] names what stands against it.
    ///
    /// [`Config::reactions`]: crate::config::Config::reactions
    pub async fn react(&self, key: impl Into<String>, stay: Stay) -> Result<(), ReactError> {
        let key = key.into();
        Ok(self.command(GroupCommand::React { key, stay }).await?)
    }

    /// Takes a permanent reaction of ours back, by what it shows. Idempotent. Cancel safe as
    /// [`react`](Self::react) is.
    ///
    /// # Errors
    /// [`ReactError`] when the group call is over.
    pub async fn unreact(&self, key: impl Into<String>) -> Result<(), ReactError> {
        Ok(self.command(GroupCommand::Unreact(key.into())).await?)
    }

    /// Raises our hand: the permanent reaction [`RAISED_HAND`]. Idempotent. Cancel safe as
    /// [`react`](Self::react) is.
    ///
    /// # Errors
    /// [`ReactError`] names what stands against it.
    pub async fn raise_hand(&self) -> Result<(), ReactError> {
        self.react(RAISED_HAND, Stay::Permanent).await
    }

    /// Lowers it. Idempotent. Cancel safe as [`react`](Self::react) is.
    ///
    /// # Errors
    /// [`ReactError`] when the group call is over.
    pub async fn lower_hand(&self) -> Result<(), ReactError> {
        self.unreact(RAISED_HAND).await
    }

    /// Who shows which permanent reactions, raised hands among them.
    pub fn reactions(&self) -> BTreeMap<ParticipantId, BTreeSet<String>> {
        self.cell.look(|snapshot| snapshot.reactions.clone())
    }

    /// Waits for the end and tells how it came. Cancel safe.
    pub async fn ended(&self) -> GroupEnd {
        end_of(&self.folded_until(|_| false).await)
    }

    /// Waits until the room's state was read, or cannot be.
    pub(super) async fn until_read(&self) {
        self.folded_until(|present| !present.reading).await;
    }

    /// How the group call stands as soon as it is so, or at the end of all news.
    async fn folded_until(&self, is_so: impl Fn(&GroupSnapshot) -> bool) -> GroupSnapshot {
        let (mut present, mut events) = self.subscribe();
        while !is_so(&present) {
            let Some(news) = events.next().await else { break };
            news.apply(&mut present);
        }
        present
    }

    async fn command(&self, command: GroupCommand) -> Result<(), Refusal> {
        self.link.command(Command::Group(self.id(), command)).await.map(drop)
    }
}

/// How a group call ended of which no more news comes: `Ended` is the last of them, or the library
/// itself is gone.
fn end_of(last: &GroupSnapshot) -> GroupEnd {
    last.end.unwrap_or(GroupEnd::ShutDown)
}

/// Whether a source of ours is open, as the snapshot shows it.
fn sends(snapshot: &GroupSnapshot, source: MediaSource) -> bool {
    let mut ours = snapshot.streams.values().flatten().filter(|stream| stream.side == Side::Local);
    ours.any(|stream| stream.carries(source))
}

impl PartialEq for GroupCallSession {
    /// Whether both are handles to the same group call.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }
}

impl Eq for GroupCallSession {}
