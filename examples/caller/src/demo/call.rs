//! The call itself, as both sides do it: place, answer, talk, hang up.

use std::time::Duration;

use matrix_voip::{
    CallEvents, CallMedia, CallOptions, CallSession, CallSnapshot, CallState, Callee, MediaSource,
    StartError, VoipEvents, VoipNews, id::RoomId,
};
use tokio::{
    task::JoinSet,
    time::{error::Elapsed, timeout},
};

use super::{party::Party, teller::Teller, watch::Watch};
use crate::cli::Breakage;

/// How long a command of the script may take beyond the timeouts of the call itself: nothing here
/// waits for a network.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How much longer they talk, so that the last measurements of both sides are of the same second
/// (engines measure once a second, both began at the same moment, `watch.rs` asks more often).
pub(super) const SETTLING: Duration = Duration::from_millis(150);

/// Why the script could not go on; not how the call went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stuck {
    /// A command was refused.
    #[error("{0} was refused: {1}")]
    Refused(&'static str, String),
    /// A party did not start.
    #[error(transparent)]
    NotStarted(#[from] StartError),
    /// Something did not come.
    #[error("{0} did not come in time")]
    Late(&'static str),
}

impl Stuck {
    pub(super) fn refused(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Refused(what, why.to_string())
    }
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Where.
    pub(crate) room: RoomId,
    /// Voice or video.
    pub(crate) media: CallMedia,
    /// How long they talk.
    pub(crate) talk: Duration,
    /// How long it may take until they talk, at most.
    pub(crate) setting_up: Duration,
    /// What is broken.
    pub(crate) breakage: Option<Breakage>,
}

/// Makes the call, to its end however it comes.
///
/// # Errors
/// [`Stuck`]: the library refused what it should not, or did not end in time.
pub(crate) async fn play(
    ada: &Party,
    ben: &Party,
    script: &Script,
    teller: &Teller,
) -> Result<(), Stuck> {
    let mut watches = JoinSet::new();
    let mut arrivals = ben.voip.events();
    teller.placed();
    let outgoing = place(ada, script).await?;
    let (snapshot, events) = outgoing.subscribe();
    watches.spawn(watch(ada, &outgoing, teller).follow(snapshot, events));
    if script.breakage == Some(Breakage::MicrophoneMuted) {
        mute(&outgoing).await?;
    }
    let (incoming, snapshot, events) = arrived(&mut arrivals).await?;
    watches.spawn(watch(ben, &incoming, teller).follow(snapshot, events));
    if script.breakage != Some(Breakage::NobodyAnswers) {
        incoming.answer().await.map_err(|error| Stuck::refused("the answer", error))?;
    }
    if connected(&outgoing, &incoming, script).await? {
        talk(&outgoing, script.talk + SETTLING).await;
    }
    outgoing.hangup().await.map_err(|error| Stuck::refused("the hangup", error))?;
    let ends = async { while watches.join_next().await.is_some() {} };
    in_time("the end of both calls", PATIENCE, ends).await
}

fn watch(party: &Party, call: &CallSession, teller: &Teller) -> Watch {
    Watch::new(party.who, call.clone(), party.senses.clone(), teller.clone())
}

async fn place(ada: &Party, script: &Script) -> Result<CallSession, Stuck> {
    let options = match script.media {
        CallMedia::Voice => CallOptions::voice(),
        CallMedia::Video => CallOptions::video(),
    };
    let placed = ada.voip.invite(&script.room, Callee::TheOther, options).await;
    placed.map_err(|error| Stuck::refused("the invite", error))
}

/// Mutes before anything could be heard: as soon as there is a microphone.
async fn mute(call: &CallSession) -> Result<(), Stuck> {
    let refused = |error: &dyn std::fmt::Display| Stuck::refused("muting", error);
    let sent = call.until(CallState::InviteSent);
    let sent = in_time("the invite's sending", PATIENCE, sent).await?;
    sent.map_err(|error| refused(&error))?;
    call.mute(MediaSource::Microphone).await.map_err(|error| refused(&error))
}

/// The first call that arrives.
async fn arrived(
    arrivals: &mut VoipEvents,
) -> Result<(CallSession, CallSnapshot, CallEvents), Stuck> {
    let first = async {
        while let Some(news) = arrivals.next().await {
            if let VoipNews::CallAdded { call, snapshot, events } = news {
                return Some((call, *snapshot, events));
            }
        }
        None
    };
    in_time("the incoming call", PATIENCE, first).await?.ok_or(Stuck::Late("the incoming call"))
}

/// Waits until both sides are connected, or one call ended before.
async fn connected(ada: &CallSession, ben: &CallSession, script: &Script) -> Result<bool, Stuck> {
    let both = async {
        let (ada, ben) = (ada.until(CallState::Connected), ben.until(CallState::Connected));
        tokio::try_join!(ada, ben).is_ok()
    };
    in_time("the connection", script.setting_up + PATIENCE, both).await
}

/// Lets the time pass, or less when the call breaks off.
async fn talk(call: &CallSession, length: Duration) {
    // An end is not lost here: the watch has seen it too.
    drop(timeout(length, call.ended()).await);
}

pub(super) async fn in_time<T>(
    what: &'static str,
    limit: Duration,
    wait: impl Future<Output = T>,
) -> Result<T, Stuck> {
    timeout(limit, wait).await.map_err(|_: Elapsed| Stuck::Late(what))
}
