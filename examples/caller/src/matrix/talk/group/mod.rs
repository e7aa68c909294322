//! `caller group`: a person in the call of a room, with all who are in it.
//!
//! | file | holds |
//! | --- | --- |
//! | `hall.rs` | what is heard and seen of each, and what is kept of it |
//! | `meeting.rs` | the call, from entering to leaving |
//! | `told.rs`, `key_words.rs` | lines about what happens, and about media keys |
//! | `words.rs` | lines about who is there |

mod hall;
mod key_words;
mod meeting;
#[cfg(test)]
mod testkit;
mod told;
mod words;

use std::{process::ExitCode, sync::Arc, time::Duration};

use matrix_voip::{
    Announce, ChangeGroupError, EnterError, GroupCallId, GroupCallSession, GroupOptions as Opening,
    Notify, ParticipantId, VoIPBuilder,
    host::Media,
    id::{DeviceId, UserId},
};
use matrix_voip_livekit::PlainText;
use tokio::time::interval;

use self::{hall::Hall, meeting::Meeting, words::name};
use super::{Line, gear, keys::Keys, kit::Kit, status};
use crate::{
    cli::online::{Announce as Announcing, Focus, GroupOptions},
    exit::WRONG,
    matrix::{
        account::rooms::{named, room_named},
        keyring::Keyring,
        patience::{PATIENCE, within},
        plain::plain,
        refusal::Refusal,
        say::say,
        trust::Trust,
    },
};

/// Between two looks at something that nothing tells of.
const LOOK: Duration = Duration::from_millis(100);

/// Enters the call of a room and stays until the person leaves it. Through an SFU nothing is said or
/// heard: only who is there, tokens and keys are shown.
pub(crate) async fn group(options: &GroupOptions) -> Result<ExitCode, Refusal> {
    named(&options.room)?;
    if options.livekit.is_some() && !options.keys_only {
        return Err(Refusal::new(NO_MEDIA));
    }
    let kit = Kit::open(&options.talk)?;
    let studio = gear::said_and_shown(&options.talk, kit.as_ref())?;
    let hall = Hall::open(&options.talk, kit)?;
    let line = dial(options, hall.listens_in(studio).build()).await?;
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

/// What is not there yet.
const NO_MEDIA: &str = "no sound and picture through an SFU yet: --keys-only enters the call and shows \
                        who is in it, tokens and media keys";

/// A client with calls, in sync; for an SFU with what fetches tokens and keeps keys.
async fn dial(options: &GroupOptions, media: Arc<dyn Media>) -> Result<Line, Refusal> {
    if options.livekit.is_none() {
        return Line::open(media, &options.talk).await;
    }
    let plain = if options.plain_http { PlainText::Anywhere } else { PlainText::Nowhere };
    let tokens = Trust::read(options.talk.profile.trust.as_deref())?.tokens(plain)?;
    let more = |voip: VoIPBuilder| voip.tokens(Arc::new(tokens)).keys(Arc::new(Keyring::new()));
    Line::open_with(media, &options.talk, more).await
}

/// Which call, and how its participants meet.
fn opening(options: &GroupOptions) -> Opening {
    let opening = match &options.livekit {
        None => Opening::mesh(),
        Some(Focus::Auto) => Opening::sfu(),
        Some(Focus::At(url)) => Opening::livekit(url),
    };
    opening.call(GroupCallId::named(&options.call))
}

/// The call, and who we are in it.
async fn open(
    line: &Line,
    options: &GroupOptions,
) -> Result<(GroupCallSession, ParticipantId), Refusal> {
    let room = within("rooms", PATIENCE, room_named(&line.client, &options.room)).await?;
    let opening = opening(options);
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
    key_words::place(&call.snapshot().backend).into_iter().for_each(say);
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

/// Why we could not enter, with what can be done about it.
fn refused(why: &EnterError) -> Refusal {
    Refusal::new(match why {
        EnterError::MayNotJoin => format!(
            "{why}: the room's power levels are against it; who may change them lets every member \
             in with --allow-everyone"
        ),
        EnterError::NoFocus => {
            "no SFU is known: neither members of the call nor your homeserver name \
                                one; say where tokens are had with --livekit URL"
                .to_owned()
        }
        _ => why.to_string(),
    })
}

/// The last lines: how it ended, which tones were heard of whom, what was kept.
async fn told(met: meeting::Outcome, hall: Hall) -> Result<ExitCode, Refusal> {
    if let Some(why) = &met.refused {
        return Err(refused(why));
    }
    say(&met);
    for (who, heard) in hall.heard() {
        if let Some(tone) = status::tone(&heard) {
            say(format_args!("heard a tone of {:.0} Hz from {}", tone.hz, name(&who)));
        }
    }
    let kept = gear::tell_kept(&hall.finish().await);
    Ok(if met.is_good() && kept { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_names_an_sfu_the_option_that_does_is_named() {
        assert!(refused(&EnterError::NoFocus).to_string().ends_with("with --livekit URL"));
    }

    #[test]
    fn who_may_not_join_is_told_of_the_option_that_lets_everybody_in() {
        let refused = refused(&EnterError::MayNotJoin).to_string();
        assert!(refused.starts_with("not allowed to join: "), "{refused}");
        assert!(refused.contains("--allow-everyone"), "{refused}");
    }
}
