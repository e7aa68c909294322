//! One call, as the application holds it.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    errors::{
        AnswerError, HangupError, MuteError, ProceedError, RejectError, StatsError, UntilError,
    },
    events::CallEvents,
    quality::QualityWatch,
};
use crate::{
    driver::{CallCell, CallNews, Link},
    id::SessionId,
    machine::{
        event::{CallEvent, CallSnapshot, CallState, End, EndParty, EndReason, Side, Stream},
        explain::Explanation,
        io::{CallCommand, CallMedia, Command, MediaSource, PeerStats, Refusal, Tell},
    },
    wire::metadata::Purpose,
};

/// A handle to one call. Clones are handles to the same call; dropping all of them does not end
/// it (but the last handle of all, `VoIP` included, stops the library).
///
/// A command resolves when the machine has accepted or refused it, not when the network is done.
/// Every command is cancel safe in this sense: a future that is dropped before it was polled has
/// done nothing; later, the command takes effect all the same and only its result is lost.
#[derive(Debug, Clone)]
pub struct CallSession {
    cell: Arc<CallCell>,
    link: Link,
}

impl CallSession {
    pub(super) fn new(cell: Arc<CallCell>, link: Link) -> Self {
        Self { cell, link }
    }

    /// The call's id in this process.
    pub fn id(&self) -> SessionId {
        self.cell.id()
    }

    // --------------------------------------------------------------------------------- watching

    /// How the call stands, and every event that follows, taken together: nothing is missed or
    /// told twice between the two. After the end the stream is empty.
    pub fn subscribe(&self) -> (CallSnapshot, CallEvents) {
        let (snapshot, queue) = self.cell.subscribe();
        (snapshot, CallEvents::new(queue))
    }

    /// How the call stands; after its end, how it stood then.
    pub fn snapshot(&self) -> CallSnapshot {
        self.cell.look(CallSnapshot::clone)
    }

    /// The call's state.
    pub fn state(&self) -> CallState {
        self.cell.look(|snapshot| snapshot.state)
    }

    /// All streams, sorted for display: remote screen, remote user, local screen, local user.
    pub fn streams(&self) -> Vec<Stream> {
        self.cell.look(|snapshot| snapshot.streams.clone())
    }

    /// Our camera and microphone.
    pub fn local_user_media(&self) -> Option<Stream> {
        self.stream(Side::Local, &Purpose::UserMedia)
    }

    /// Our shared screen.
    pub fn local_screenshare(&self) -> Option<Stream> {
        self.stream(Side::Local, &Purpose::Screenshare)
    }

    /// Their camera and microphone.
    pub fn remote_user_media(&self) -> Option<Stream> {
        self.stream(Side::Remote, &Purpose::UserMedia)
    }

    /// Their shared screen.
    pub fn remote_screenshare(&self) -> Option<Stream> {
        self.stream(Side::Remote, &Purpose::Screenshare)
    }

    fn stream(&self, side: Side, purpose: &Purpose) -> Option<Stream> {
        self.cell.look(|snapshot| snapshot.stream(side, purpose).cloned())
    }

    /// Waits until the call is in this state or in a later one, in the order of [`CallState`]
    /// (so a state that was passed quickly is not waited for in vain). Cancel safe.
    ///
    /// # Errors
    /// [`UntilError::Ended`] when the call ended first; waiting for `Ended` itself never fails.
    pub async fn until(&self, state: CallState) -> Result<(), UntilError> {
        let (mut present, mut events) = self.subscribe();
        while present.state < state {
            let Some(news) = events.next().await else { break };
            news.apply(&mut present);
        }
        match present.end {
            Some(end) if state != CallState::Ended => Err(UntilError::Ended(end)),
            _ => Ok(()),
        }
    }

    /// Waits for the end and tells how it came. Cancel safe.
    pub async fn ended(&self) -> End {
        let (snapshot, mut events) = self.subscribe();
        let mut end = snapshot.end;
        while let Some(news) = events.next().await {
            if let CallNews::Event(CallEvent::Ended(how)) = news {
                end = Some(how);
            }
        }
        // `Ended` is the last of every stream; without it the library itself is gone.
        end.unwrap_or(End { party: EndParty::Local, reason: EndReason::ShutDown })
    }

    /// Measures the peer connection now: path, round trip, packets, loss. Takes at most 5 s. Who
    /// asks while a measurement is under way shares its result. Cancel safe.
    ///
    /// # Errors
    /// [`StatsError`]: no peer connection, or the engine did not answer.
    pub async fn stats(&self) -> Result<PeerStats, StatsError> {
        Ok(self.link.measure(self.id()).await?)
    }

    /// What the call waits for and why, as facts that print as sentences: for the person who
    /// looks at a call that does not come about, or in which he hears nobody. Of a call that is
    /// over, how it ended. Cancel safe.
    ///
    /// While media flows the connection is measured, and where sound is played once more nearly a
    /// second later, to tell it from what is made up. Takes at most 11 s, where the engine does not
    /// answer.
    ///
    /// ```text
    /// The answer was sent 3.1 s ago, no candidate pair yet: 4 local, 0 remote candidates. In
    /// 26.9 s the call is given up.
    /// ```
    pub async fn explain(&self) -> Explanation {
        if let Some(explanation) = self.link.explain(self.id()).await {
            return explanation;
        }
        // The engine forgets a call that is over; a driver that stopped has ended them all.
        let end = End { party: EndParty::Local, reason: EndReason::ShutDown };
        Explanation::ended(self.cell.look(|snapshot| snapshot.end.clone()).unwrap_or(end))
    }

    /// Measures the call every so often (at least 200 ms apart) while the watch is held: round
    /// trip, loss, jitter, bit rates, codec, path, level, and all of it in one word. The first
    /// comes after two measurements.
    ///
    /// Before there is a peer connection nothing comes, and nothing new before the engine has counted
    /// again (once a second, with str0m). The watch ends with the call or the library, and nothing
    /// is measured any more once it is dropped. Cancel safe: at worst nobody watches.
    pub async fn watch_quality(&self, every: Duration) -> QualityWatch {
        let (latest, watched) = watch::channel(None);
        self.link.watch(self.id(), every, latest).await;
        QualityWatch::new(watched)
    }

    // ------------------------------------------------------------------------------- commanding

    /// Takes a ringing call with the media that it was offered with. Idempotent.
    ///
    /// # Errors
    /// [`AnswerError`] names what stands against it.
    pub async fn answer(&self) -> Result<(), AnswerError> {
        Ok(self.command(CallCommand::Answer(None)).await?)
    }

    /// Takes a ringing call with this media: a video call can be taken by voice. Idempotent; the
    /// media of the first answer counts.
    ///
    /// # Errors
    /// [`AnswerError`] names what stands against it.
    pub async fn answer_with(&self, media: CallMedia) -> Result<(), AnswerError> {
        Ok(self.command(CallCommand::Answer(Some(media))).await?)
    }

    /// Refuses a ringing call: the caller hears of it, and all our devices stop ringing.
    ///
    /// # Errors
    /// [`RejectError`] names what stands against it.
    pub async fn reject(&self) -> Result<(), RejectError> {
        Ok(self.command(CallCommand::Reject(Tell::Everyone)).await?)
    }

    /// Refuses a ringing call on this device only: nothing is sent, the caller goes on waiting and
    /// our other devices go on ringing.
    ///
    /// # Errors
    /// [`RejectError`] names what stands against it.
    pub async fn reject_silently(&self) -> Result<(), RejectError> {
        Ok(self.command(CallCommand::Reject(Tell::Nobody)).await?)
    }

    /// Ends the call, whatever its state. Idempotent: a call that is over is no error.
    ///
    /// # Errors
    /// [`HangupError`], which no state of a call causes.
    pub async fn hangup(&self) -> Result<(), HangupError> {
        match self.command(CallCommand::Hangup).await {
            // The call is over, or all calls are being ended.
            Ok(()) | Err(Refusal::UnknownSession | Refusal::ShuttingDown) => Ok(()),
            Err(Refusal::WrongState(CallState::Ended)) => Ok(()),
            Err(refusal) => Err(HangupError::Refused(refusal)),
        }
    }

    /// With `Proceed::Manual`: media may start (permissions are there, CallKit or Telecom has
    /// agreed). May come before it is needed; idempotent.
    ///
    /// # Errors
    /// [`ProceedError`] names what stands against it.
    pub async fn proceed(&self) -> Result<(), ProceedError> {
        Ok(self.command(CallCommand::Proceed).await?)
    }

    /// Stops sending what this source gives, at once, and says so to the other side.
    ///
    /// # Errors
    /// [`MuteError`] names what stands against it.
    pub async fn mute(&self, source: MediaSource) -> Result<(), MuteError> {
        Ok(self.command(CallCommand::Mute(source)).await?)
    }

    /// Sends it again and says so to the other side.
    ///
    /// # Errors
    /// [`MuteError`] names what stands against it.
    pub async fn unmute(&self, source: MediaSource) -> Result<(), MuteError> {
        Ok(self.command(CallCommand::Unmute(source)).await?)
    }

    pub(super) async fn command(&self, command: CallCommand) -> Result<(), Refusal> {
        self.link.command(Command::Call(self.id(), command)).await.map(drop)
    }
}

impl PartialEq for CallSession {
    /// Whether both are handles to the same call.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }
}

impl Eq for CallSession {}
