//! `caller call`, `caller answer` and `caller group`: a person in a call.
//!
//! | file | holds |
//! | --- | --- |
//! | `gear.rs`, `slot.rs` | what is said and shown, and where what comes back is kept |
//! | `kit.rs`, `controls.rs`, `push.rs`, `loudest.rs`, `meter.rs` | microphone and loudspeaker, push to talk, how loud it is |
//! | `conversation.rs` | one call to its end |
//! | `status.rs`, `line.rs`, `keys.rs` | the line that is shown, the keys that are obeyed |
//! | `mirror.rs`, `blocks.rs`, `still.rs` | the other side's picture: in the terminal, in a file |
//! | `rings.rs` | group calls that ring while a call is waited for |
//! | `transfers.rs` | whom the other side asks to talk to instead |
//! | `group/` | the call of a room, with all who are in it |

mod blocks;
mod controls;
mod conversation;
mod gear;
pub(crate) mod group;
pub(crate) mod keys;
mod kit;
mod line;
mod loudest;
mod meter;
mod mirror;
mod push;
mod rings;
mod slot;
mod status;
mod still;
mod transfers;

use std::{process::ExitCode, sync::Arc, time::Duration};

use matrix_sdk::Client;
use matrix_voip::{
    CallMedia, CallOptions as Placing, CallSession, CallState, Config, VoIP, VoIPBuilder,
    VoipEvents, VoipNews, host::Media, id::UserId,
};
use matrix_voip_matrix_sdk::{Matrix, connect, ledger};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use self::{
    conversation::{Conversation, Outcome},
    gear::Gear,
    keys::{Keys, Wish},
    transfers::{Transfers, name},
};
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

/// How long a person may think about a transfer: ours, and whoever was announced to call.
const PONDERING: Duration = Duration::from_secs(60);

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
    async fn open(studio: Arc<dyn Media>, options: &TalkOptions) -> Result<Self, Refusal> {
        Self::open_with(studio, options, |voip| voip).await
    }

    /// The same, with more than sound and picture.
    async fn open_with(
        studio: Arc<dyn Media>,
        options: &TalkOptions,
        more: impl FnOnce(VoIPBuilder) -> VoIPBuilder,
    ) -> Result<Self, Refusal> {
        let trust = Trust::read(options.profile.trust.as_deref())?;
        let client = open(&options.profile, &trust).await?;
        let mut config = Config::default();
        config.relay_only = options.relay_only;
        let engine = trust.engine(options.engine, studio)?;
        let kept = ledger(&client).await;
        let (ledger, kept) = kept.map_err(|why| Refusal::new(format!("the ledger: {why}")))?;
        let connected = connect(&client, |voip| {
            more(voip.webrtc(engine).config(config).ledger(ledger).restore(kept))
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
    let line = Line::open(gear.studio.clone(), &options.talk).await?;
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
    let mut line = Line::open(gear.studio.clone(), &options.talk).await?;
    let me = line.client.user_id().map(ToString::to_string).unwrap_or_default();
    let mut keys = Keys::signals();
    say(format_args!("waiting for a call to {me} (Ctrl-C ends it)"));
    let rings = tokio::select! {
        rings = rings::next_call(&line.client, &mut line.events) => rings,
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

/// The call that somebody was announced to place.
async fn called_by(events: &mut VoipEvents, user: &UserId) -> Option<CallSession> {
    loop {
        let call = first_ring(events).await?;
        let snapshot = call.snapshot();
        if snapshot.remote_user.as_ref() == Some(user) && snapshot.state == CallState::Ringing {
            return Some(call);
        }
    }
}

async fn talk(
    mut line: Line,
    mut call: CallSession,
    gear: Gear,
    mut keys: Keys,
    options: &TalkOptions,
) -> ExitCode {
    let length = options.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let mut transfers = Transfers::new(&line.client, &line.voip);
    let outcome = loop {
        let outcome = Conversation::new(call, &gear, &mut transfers, length).run(&mut keys).await;
        let mut after = After { events: &mut line.events, transfers: &mut transfers, gear: &gear };
        call = match after.next_call(&outcome, &mut keys).await {
            Some(next) => next,
            None => break outcome,
        };
    };
    drop((keys, transfers));
    line.close().await;
    say(&outcome);
    if let Some(tone) = status::tone(&gear.ear.overall()) {
        say(format_args!("heard a tone of {:.0} Hz", tone.hz));
    }
    let kept = gear::tell_kept(&gear.finish().await);
    if outcome.is_good() && kept { ExitCode::SUCCESS } else { ExitCode::from(WRONG) }
}

/// What can come after a call.
struct After<'a> {
    events: &'a mut VoipEvents,
    transfers: &'a mut Transfers,
    gear: &'a Gear,
}

impl After<'_> {
    /// The call that goes on in place of the one that has ended, if there is one.
    async fn next_call(&mut self, before: &Outcome, keys: &mut Keys) -> Option<CallSession> {
        while let Some(told) = self.transfers.untold() {
            keys.print(told);
        }
        if before.is_replaced() {
            let next = timeout(SOON, living(self.events)).await.ok()??;
            keys.print("you have called each other: one of the two calls goes on");
            return Some(self.taken(next).await);
        }
        if before.is_transferred() && self.transfers.requested() && keys.are_read() {
            self.ask_to_follow(keys).await;
        }
        if let Some(next) = self.transfers.followed() {
            let user = next.snapshot().remote_user;
            keys.print(format_args!("calling {}", user.as_ref().map(name).unwrap_or_default()));
            return Some(next);
        }
        let user = self.transfers.announced().filter(|_| before.is_transferred())?;
        keys.print(format_args!("waiting for {} (q: no longer)", name(&user)));
        let next = tokio::select! {
            rings = timeout(PONDERING, called_by(self.events, &user)) => rings.ok()??,
            () = given_up(keys) => return None,
        };
        keys.print(format_args!("{} calls", name(&user)));
        Some(self.taken(next).await)
    }

    async fn ask_to_follow(&mut self, keys: &mut Keys) {
        keys.print("f: do so · q: no");
        let pressed = timeout(PONDERING, pressed(keys)).await;
        if pressed == Ok(Wish::Follow)
            && let Err(why) = self.transfers.follow(self.gear.media).await
        {
            keys.print(why);
        }
    }

    /// It may be answered already: that the user wants to talk is clear to the library too.
    async fn taken(&self, call: CallSession) -> CallSession {
        drop(call.answer_with(self.gear.media).await);
        call
    }
}

/// The next key that decides something after a call: follow, or hang up, also by a signal.
async fn pressed(keys: &mut Keys) -> Wish {
    loop {
        let wish = keys.next().await;
        if matches!(wish, Wish::Follow | Wish::HangUp) {
            return wish;
        }
    }
}

/// A key or signal to hang up.
async fn given_up(keys: &mut Keys) {
    while pressed(keys).await != Wish::HangUp {}
}
