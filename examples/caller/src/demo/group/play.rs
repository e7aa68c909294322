//! The call itself, as all of them do it: enter at once, hear all others, talk, leave.

use std::time::Duration;

use matrix_voip::{GroupCallSession, GroupOptions, MediaSource, id::RoomId};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Teller,
    cast::Who,
    cost::Cost,
    fact::{Fact, Mark},
    member::{Common, Member},
    watch::Watch,
};
use crate::{
    cli::Breakage,
    demo::call::{PATIENCE, SETTLING, Stuck, in_time},
};

/// How much longer they talk, so that what they sent and received until then is counted: an engine
/// counts once a second, and `watch.rs` asks it twice as often.
const COUNTING: Duration = Duration::from_millis(1_500);

/// What is done.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    /// Where.
    pub(crate) room: RoomId,
    /// How long they talk.
    pub(crate) talk: Duration,
    /// How long it may take until all hear all.
    pub(crate) setting_up: Duration,
}

/// Makes the call, to its end.
///
/// # Errors
/// [`Stuck`]: the library refused what it should not, or did not end in time.
pub(crate) async fn play(cast: &[Member], script: &Script, common: &Common) -> Result<(), Stuck> {
    let (teller, ways) = (&common.teller, Who::ways(common.size).count());
    let (calls, mut watches) = open(cast, script, common).await?;
    teller.placed();
    tell_cost(teller, Mark::Begin);
    enter(&calls, common.breakage).await?;
    // Whoever is not heard until now is told of by the verdict.
    drop(timeout(script.setting_up, common.tally.reaches(ways)).await);
    tell_cost(teller, Mark::Talking);
    sleep_until(Instant::now() + script.talk + SETTLING).await;
    tell_cost(teller, Mark::Talked);
    sleep_until(Instant::now() + COUNTING).await;
    teller.tell(Fact::Leaving);
    for call in &calls {
        call.leave().await.map_err(|why| Stuck::refused("leaving", why))?;
    }
    // The call is over for each when the homeserver has taken back the last membership.
    let ends = async { while watches.join_next().await.is_some() {} };
    in_time("the end of the call", PATIENCE, ends).await
}

/// Everybody has the call of the room at hand, and is watched.
async fn open(
    cast: &[Member],
    script: &Script,
    common: &Common,
) -> Result<(Vec<GroupCallSession>, JoinSet<()>), Stuck> {
    let (mut calls, mut watches) = (Vec::new(), JoinSet::new());
    for member in cast {
        let opened = member.voip.fetch_or_create_group_call(&script.room, GroupOptions::mesh());
        let call = opened.await.map_err(|why| Stuck::refused("the group call", why))?;
        let (_, events) = call.subscribe();
        watches.spawn(Watch::new(member, common).follow(events));
        calls.push(call);
    }
    Ok((calls, watches))
}

/// All at once: whoever is first, each pair has to find out who calls whom.
async fn enter(calls: &[GroupCallSession], breakage: Option<Breakage>) -> Result<(), Stuck> {
    let mut entering = JoinSet::new();
    let absent = usize::from(breakage == Some(Breakage::NobodyAnswers));
    for (at, call) in calls.iter().take(calls.len() - absent).cloned().enumerate() {
        let muted = at == 0 && breakage == Some(Breakage::MicrophoneMuted);
        entering.spawn(async move {
            if muted {
                let muting = call.mute(MediaSource::Microphone).await;
                muting.map_err(|why| Stuck::refused("muting", why))?;
            }
            call.enter().await.map_err(|why| Stuck::refused("entering", why))
        });
    }
    let all = async {
        while let Some(entered) = entering.join_next().await {
            entered.map_err(|_| Stuck::Late("an entering"))??;
        }
        Ok(())
    };
    in_time("the entering of all", PATIENCE, all).await?
}

fn tell_cost(teller: &Teller, mark: Mark) {
    if let Some(cost) = Cost::now(teller.time()) {
        teller.tell(Fact::Cost(mark, cost));
    }
}
