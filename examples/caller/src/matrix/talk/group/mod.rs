//! `caller group`: a person in the call of a room, with all who are in it.
//!
//! | file | holds |
//! | --- | --- |
//! | `hall.rs` | what is heard and seen of each, and what is kept of it |
//! | `meeting.rs` | the call, from entering to leaving |
//! | `words.rs` | lines about who is there |

mod hall;
mod meeting;
mod words;

use std::{process::ExitCode, time::Duration};

use matrix_voip::{
    Announce, ChangeGroupError, GroupCallId, GroupCallSession, GroupOptions as Opening, Notify,
    ParticipantId,
    id::{DeviceId, UserId},
};
use tokio::time::interval;

use self::{hall::Hall, meeting::Meeting, words::name};
use super::{Line, gear, keys::Keys, status};
use crate::{
    cli::online::{Announce as Announcing, GroupOptions},
    exit::WRONG,
    matrix::{
        account::rooms::room_named,
        patience::{PATIENCE, within},
        plain::plain,
        refusal::Refusal,
        say::say,
    },
};

/// Between two looks at something that nothing tells of.
const LOOK: Duration = Duration::from_millis(100);

/// Enters the call of a room and stays until the person leaves it.
pub(crate) async fn group(options: &GroupOptions) -> Result<ExitCode, Refusal> {
    let hall = Hall::open(&options.talk)?;
    let studio = gear::said_and_shown(&options.talk)?;
    let line = Line::open(hall.listens_in(studio).build(), &options.talk).await?;
    let keys = Keys::signals();
    match open(&line, options).await {
        Ok((call, me)) => {
            let met = meet(call, me, &hall, keys, options).await;
            line.close().await;
            told(met, hall).await
        }
        Err(why) => {
            line.close().await;
            Err(why)
        }
    }
}

/// The call, and who we are in it.
async fn open(
    line: &Line,
    options: &GroupOptions,
) -> Result<(GroupCallSession, ParticipantId), Refusal> {
    let room = within("rooms", PATIENCE, room_named(&line.client, &options.room)).await?;
    let opening = Opening::mesh().call(GroupCallId::named(&options.call));
    let opened = line.voip.fetch_or_create_group_call(room.room_id(), opening).await;
    let call = opened.map_err(|why| Refusal::new(why.to_string()))?;
    let refused = |why: ChangeGroupError| Refusal::new(why.to_string());
    if options.allow_everyone {
        within("power levels", PATIENCE, allow_everyone(&call)).await?;
    }
    if let Some(how) = options.announce {
        call.announce_as(announce(how)).await.map_err(refused)?;
    }
    let (user, device) = (line.client.user_id(), line.client.device_id());
    let user = user.and_then(|user| UserId::parse(user.as_str()).ok());
    let device = device.and_then(|device| DeviceId::parse(device.as_str()).ok());
    let (user, device) = user.zip(device).ok_or_else(|| Refusal::new("not logged in"))?;
    say(format_args!("the call of {}", plain(room.room_id())));
    Ok((call, ParticipantId { user, device }))
}

/// Lets every member in, if the person may. What the room says about power comes soon after the
/// first sync.
async fn allow_everyone(call: &GroupCallSession) -> Result<(), Refusal> {
    let mut looks = interval(LOOK);
    let asked = loop {
        looks.tick().await;
        match call.allow_everyone().await {
            Err(ChangeGroupError::UnknownPowerLevels) => {}
            asked => break asked,
        }
    };
    match asked {
        Ok(()) => say("every member of the room may be in its calls"),
        Err(why) => say(format_args!("not every member may be in it: {why}")),
    }
    Ok(())
}

fn announce(how: Announcing) -> Announce {
    Announce::new(match how {
        Announcing::Ring => Notify::Ring,
        Announcing::Message => Notify::Notification,
        Announcing::Nobody => Notify::Nobody,
    })
}

async fn meet(
    call: GroupCallSession,
    me: ParticipantId,
    hall: &Hall,
    mut keys: Keys,
    options: &GroupOptions,
) -> meeting::Outcome {
    let length = options.talk.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let meeting = Meeting::new(call, me, hall).enter(gear::media(&options.talk));
    meeting.staying(length).run(&mut keys).await
}

/// The last lines: how it ended, which tones were heard of whom, what was kept.
async fn told(met: meeting::Outcome, hall: Hall) -> Result<ExitCode, Refusal> {
    if let Some(why) = &met.refused {
        return Err(Refusal::new(why.to_string()));
    }
    say(&met);
    for (who, heard) in hall.heard() {
        if let Some(tone) = status::tone(&heard) {
            say(format_args!("heard a tone of {:.0} Hz from {}", tone.hz, name(&who)));
        }
    }
    for kept in hall.finish().await {
        say(kept);
    }
    Ok(if met.is_good() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}
