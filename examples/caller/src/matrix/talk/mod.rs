//! `caller call` and `caller answer`: a person in a call.
//!
//! | file | holds |
//! | --- | --- |
//! | `gear.rs` | what is said and shown, and where what comes back is kept |
//! | `conversation.rs` | one call to its end |
//! | `status.rs`, `keys.rs` | the line that is shown, the keys that are obeyed |

mod conversation;
mod gear;
pub(crate) mod keys;
mod status;

use std::{process::ExitCode, time::Duration};

use matrix_sdk::Client;
use matrix_voip::{
    CallMedia, CallOptions as Placing, CallSession, CallState, Config, VoIP, VoipEvents, VoipNews,
};
use matrix_voip_matrix_sdk::{Matrix, connect, ledger};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::{conversation::Conversation, gear::Gear, keys::Keys};
use super::{
    account::{
        open::{open, sync as first_sync},
        rooms::{Target, one_callee, target},
    },
    patience::{PATIENCE, within},
    plain::plain,
    refusal::Refusal,
    say::{complain, say},
    sync::{self, Syncing},
    trust::Trust,
};
use crate::{
    cli::online::{AnswerOptions, CallOptions, TalkOptions},
    exit::WRONG,
};

/// The call that takes another's place comes with the same news, or never.
const SOON: Duration = Duration::from_secs(5);

/// A client with calls, in sync.
struct Line {
    client: Client,
    voip: VoIP,
    /// From before the first sync: what that brings rings too.
    events: VoipEvents,
    matrix: Matrix,
    syncing: JoinHandle<()>,
}

impl Line {
    /// Connects, then syncs: a call that waits for us already comes with the first sync. Calls of a
    /// run that crashed are hung up.
    async fn open(gear: &Gear, options: &TalkOptions) -> Result<Self, Refusal> {
        let trust = Trust::read(options.profile.trust.as_deref())?;
        let client = open(&options.profile, &trust).await?;
        let mut config = Config::default();
        config.relay_only = options.relay_only;
        let engine = trust.engine(gear.studio.clone())?;
        let kept = ledger(&client).await;
        let (ledger, kept) = kept.map_err(|why| Refusal::new(format!("the ledger: {why}")))?;
        let connected = connect(&client, |voip| {
            voip.webrtc(engine).config(config).ledger(ledger).restore(kept)
        });
        let (voip, matrix) = connected.map_err(|why| Refusal::new(why.to_string()))?;
        let events = voip.events();
        if let Err(why) = first_sync(&client).await {
            matrix.detach().await;
            return Err(why);
        }
        let syncing = Syncing {
            client: client.clone(),
            news: voip.news(),
            tell: Box::new(|_| {}),
            done: watch::Sender::new(false),
        };
        let syncing = tokio::spawn(sync::classic(syncing));
        Ok(Self { client, voip, events, matrix, syncing })
    }

    /// Lets the last words leave.
    async fn close(self) {
        self.matrix.detach().await;
        self.syncing.abort();
    }
}

/// Calls somebody and stays until the call is over.
pub(crate) async fn call(options: &CallOptions) -> Result<ExitCode, Refusal> {
    one_callee(&options.whom, options.user.as_deref())?;
    let mut gear = Gear::open(&options.talk)?;
    let line = Line::open(&gear, &options.talk).await?;
    let keys = Keys::signals();
    match place(&line, options, &mut gear).await {
        Ok(call) => Ok(talk(line, call, gear, keys, &options.talk).await),
        Err(why) => {
            line.close().await;
            Err(why)
        }
    }
}

async fn place(
    line: &Line,
    options: &CallOptions,
    gear: &mut Gear,
) -> Result<CallSession, Refusal> {
    let found = target(&line.client, &options.whom, options.user.as_deref());
    let Target { room, user } = within("rooms", PATIENCE, found).await?;
    gear.record()?;
    let placing = match gear.media {
        CallMedia::Voice => Placing::voice(),
        CallMedia::Video => Placing::video(),
    };
    say(format_args!("calling {}", plain(&user)));
    let placed = line.voip.invite(room.room_id(), &user, placing).await;
    placed.map_err(|why| Refusal::new(why.to_string()))
}

/// Waits for a call, takes it and stays until it is over.
pub(crate) async fn answer(options: &AnswerOptions) -> Result<ExitCode, Refusal> {
    let mut gear = Gear::open(&options.talk)?;
    let mut line = Line::open(&gear, &options.talk).await?;
    let me = line.client.user_id().map(ToString::to_string).unwrap_or_default();
    let mut keys = Keys::signals();
    say(format_args!("waiting for a call to {me} (Ctrl-C ends it)"));
    let rings = tokio::select! {
        rings = first_ring(&mut line.events) => rings,
        // Nothing else ends it.
        _ = &mut line.syncing => None,
        _ = keys.next() => {
            line.close().await;
            say("nobody has called");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let Some(call) = rings else {
        complain("the login is lost");
        return Ok(ExitCode::from(WRONG));
    };
    let from = call.snapshot().remote_user;
    say(format_args!("{} calls", plain(from.as_ref().map_or("somebody", |user| user.as_str()))));
    if let Err(why) = take(&call, &mut gear).await {
        line.close().await;
        return Err(why);
    }
    Ok(talk(line, call, gear, keys, &options.talk).await)
}

async fn take(call: &CallSession, gear: &mut Gear) -> Result<(), Refusal> {
    gear.record()?;
    let answered = call.answer_with(gear.media).await;
    answered.map_err(|why| Refusal::new(why.to_string()))
}

async fn first_ring(events: &mut VoipEvents) -> Option<CallSession> {
    loop {
        if let VoipNews::RingStarted { call, .. } = events.next().await? {
            return Some(call);
        }
    }
}

/// The call that took the place of ours: the next that is not over.
async fn living(events: &mut VoipEvents) -> Option<CallSession> {
    loop {
        if let VoipNews::CallAdded { call, .. } = events.next().await?
            && call.snapshot().state != CallState::Ended
        {
            return Some(call);
        }
    }
}

/// Tells whom the other side asks us to call instead. It is up to the person: nothing is done.
async fn tell_transfers(mut events: VoipEvents) -> std::convert::Infallible {
    loop {
        match events.next().await {
            Some(VoipNews::TransferRequested { transfer, .. }) => {
                let user = plain(transfer.user.as_str());
                say(format_args!("\r\nthey ask you to call {user} instead\r"));
            }
            Some(_) => {}
            None => return std::future::pending().await,
        }
    }
}

async fn talk(
    mut line: Line,
    call: CallSession,
    gear: Gear,
    keys: Keys,
    options: &TalkOptions,
) -> ExitCode {
    let length = options.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let requests = line.voip.events();
    let mut outcome = tokio::select! {
        outcome = Conversation::new(call, &gear, length).run(keys) => outcome,
        never = tell_transfers(requests) => match never {},
    };
    if outcome.is_replaced()
        && let Ok(Some(other)) = timeout(SOON, living(&mut line.events)).await
    {
        say("you have called each other: one of the two calls goes on");
        // It may be answered already: that the user wants to talk is clear to the library too.
        drop(other.answer_with(gear.media).await);
        outcome = Conversation::new(other, &gear, length).run(Keys::signals()).await;
    }
    line.close().await;
    say(&outcome);
    if let Some(tone) = status::tone(&gear.ear.overall()) {
        say(format_args!("heard a tone of {:.0} Hz", tone.hz));
    }
    for kept in gear.finish().await {
        say(kept);
    }
    if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) }
}
