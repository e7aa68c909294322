//! Commands about group calls: who is in them, entering and leaving, who is heard. In the dialect of
//! matrix-js-sdk's meshes, which the protocol means where nothing is said, and in Famedly's, where media
//! may go through an SFU too (`rtc.rs`): then it is none of ours.

use std::time::Duration;

use matrix_voip::{
    Announce, Backend, CallMedia, Connection, Dialect, GroupCallId, GroupCallSession, GroupOptions,
    GroupSnapshot, GroupState, Notify, ParticipantId, Stay,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    client::{Client, session_id},
    line::Args,
    meetings::{connection_name, named as whom},
    rtc,
    senses::Listening,
};

/// How long to wait for a call that another client began.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Has a group call at hand, a new one where the room has none yet. Nothing is sent.
    pub(crate) async fn create_group(&self, args: &Args) -> Result<Value, String> {
        let wish = Wish::of(args)?;
        let id = self.id_in_room(&wish).unwrap_or_else(session_id);
        Ok(named(&self.open_group(wish, id).await?))
    }

    /// Enters, and answers when the homeserver has our membership.
    pub(crate) async fn enter_group(&self, args: &Args) -> Result<Value, String> {
        let media = match args.text("kind")?.unwrap_or("voice") {
            "voice" => CallMedia::Voice,
            "video" => CallMedia::Video,
            other => return Err(format!("kind must be voice or video, not {other}")),
        };
        let (tone, announcement) = (args.number("tone")?, announcement(args)?);
        let wish = Wish::of(args)?;
        let id = self.look_until("a group call", PATIENCE, |_| self.id_in_room(&wish)).await?;
        let group = self.open_group(wish, id).await?;
        if let Some(hertz) = tone {
            self.senses.of(group.id()).sound_like(hertz as f32);
        }
        if let Some(how) = announcement {
            group.announce_as(how).await.map_err(|why| why.to_string())?;
        }
        group.enter_with(media).await.map_err(|why| why.to_string())?;
        Ok(named(&group))
    }

    /// Shows something in a group call, or takes it back.
    pub(crate) async fn react_in_group(&self, args: &Args) -> Result<Value, String> {
        let (key, on) = (args.needed("key")?, args.flag("on", true)?);
        let stay = if args.flag("stays", true)? { Stay::Permanent } else { Stay::Ephemeral };
        let group = self.group(args).await?;
        let done = if on { group.react(key, stay).await } else { group.unreact(key).await };
        done.map_err(|why| why.to_string())?;
        Ok(named(&group))
    }

    /// Refuses what rings in a room.
    pub(crate) async fn decline_ring(&self, args: &Args) -> Result<Value, String> {
        let room = args.needed("roomId")?;
        let ring = self.voip.rings().into_iter().find(|ring| ring.room.as_str() == room);
        let ring = ring.ok_or("no group call rings there")?;
        self.voip.decline_ring(&ring).await.map_err(|why| why.to_string())?;
        Ok(json!({"groupCallId": ring.call.call_id}))
    }

    /// Leaves, and answers when our membership is taken back.
    pub(crate) async fn leave_group(&self, args: &Args) -> Result<Value, String> {
        let group = self.group(args).await?;
        let (mut present, mut events) = group.subscribe();
        group.leave().await.map_err(|why| why.to_string())?;
        while !matches!(present.state, GroupState::Idle | GroupState::Ended) {
            let Some(news) = events.next().await else { break };
            news.apply(&mut present);
        }
        Ok(named(&group))
    }

    /// How a group call stands, who is in it, and what is heard of each for so long from now on.
    pub(crate) async fn group_state(&self, args: &Args) -> Result<Value, String> {
        let group = self.group(args).await?;
        let length = args.number("ms")?.unwrap_or_default();
        let listening = match length {
            0 => Vec::new(),
            _ => self.listen_to_group(&group),
        };
        sleep_until(Instant::now() + Duration::from_millis(length)).await;
        let shown = group.snapshot();
        let mut told = described(&shown);
        if shown.backend.is_sfu() {
            told["sfu"] = rtc::describe(&shown);
        }
        told["tone"] = self.senses.tone(group.id()).into();
        for (who, ear) in listening {
            let calls = told["calls"].as_array_mut().into_iter().flatten();
            let mut his = calls.filter(|it| named_so(it, &who));
            if let Some(call) = his.next() {
                call["sound"] = ear.as_ref().map(heard).into();
            }
        }
        Ok(told)
    }

    /// Ears for everybody whom we meet; none where nothing comes from.
    fn listen_to_group(&self, group: &GroupCallSession) -> Vec<(ParticipantId, Option<Listening>)> {
        let members = group.snapshot().connections.into_keys();
        let listen = |who: ParticipantId| {
            let ear = self.senses.from(group.id(), Some(&who)).listen();
            (who, ear)
        };
        members.map(listen).collect()
    }

    /// The group call that a command is about: of that room; without one that of the last command.
    pub(crate) async fn group(&self, args: &Args) -> Result<GroupCallSession, String> {
        if args.value("roomId").is_none() {
            return self.meetings.latest().ok_or_else(|| "no group call".to_owned());
        }
        let wish = Wish::of(args)?;
        let id = self.id_in_room(&wish).ok_or("no group call")?;
        self.open_group(wish, id).await
    }

    async fn open_group(&self, wish: Wish, id: String) -> Result<GroupCallSession, String> {
        let mut options = GroupOptions::mesh().call(GroupCallId::named(id));
        options.backend = wish.backend;
        let opened = self.voip.fetch_or_create_group_call(wish.room, options).await;
        let opened = opened.map_err(|why| why.to_string())?;
        self.meetings.note(&opened);
        Ok(opened)
    }

    /// The id of the wanted group call: as said, or that of the one that the room has.
    fn id_in_room(&self, wish: &Wish) -> Option<String> {
        if wish.id.is_some() {
            return wish.id.clone();
        }
        if wish.backend.dialect() == Dialect::Famedly {
            // The call of the room.
            return Some(String::new());
        }
        let calls = self.voip.group_calls().into_iter().map(|call| call.snapshot());
        let mut here =
            calls.filter(|it| it.room.as_str() == wish.room && it.backend == wish.backend);
        here.next().map(|it| it.call.call_id)
    }
}

/// Which group call a command is about.
struct Wish {
    room: String,
    backend: Backend,
    id: Option<String>,
}

impl Wish {
    fn of(args: &Args) -> Result<Self, String> {
        let room = args.needed("roomId")?.to_owned();
        let backend = match (rtc::wanted(args, &room)?, args.text("dialect")?) {
            (Some(sfu), _) => sfu,
            (None, None | Some("msc3401")) => Backend::Msc3401Mesh,
            (None, Some("famedly")) => Backend::Mesh,
            (None, Some(other)) => {
                return Err(format!("unsupported: group calls of dialect {other}"));
            }
        };
        let id = args.text("groupCallId")?.map(str::to_owned);
        Ok(Self { room, backend, id })
    }
}

/// How others are to hear that a call begins; `None`: as the library does by itself.
fn announcement(args: &Args) -> Result<Option<Announce>, String> {
    let notify = match args.text("announce")? {
        None => return Ok(None),
        Some("ring") => Notify::Ring,
        Some("message") => Notify::Notification,
        Some("nobody") => Notify::Nobody,
        Some(other) => {
            return Err(format!("announce must be ring, message or nobody, not {other}"));
        }
    };
    Ok(Some(Announce::new(notify)))
}

/// The protocol's name of how a group call meets.
pub(crate) fn dialect(backend: &Backend) -> Option<&'static str> {
    match backend {
        Backend::Mesh | Backend::Livekit { .. } => Some("famedly"),
        Backend::Msc3401Mesh => Some("msc3401"),
        _ => None,
    }
}

fn named(group: &GroupCallSession) -> Value {
    json!({"groupCallId": group.snapshot().call.call_id})
}

fn described(shown: &GroupSnapshot) -> Value {
    let participants = shown.participants.iter().map(|one| {
        let mut told = whom(&one.id);
        told["session"] = one.session.clone().into();
        told["application"] = one.application.clone().into();
        told
    });
    let calls = shown.connections.iter().map(|(who, connection)| met(shown, who, *connection));
    json!({
        "state": shown.state.to_string(),
        "groupCallId": shown.call.call_id,
        "backend": rtc::backend(&shown.backend),
        "participants": participants.collect::<Vec<_>>(),
        "calls": calls.collect::<Vec<_>>(),
        "activeSpeaker": shown.active_speaker.as_ref().map(whom),
        "canJoin": shown.rights.can_join,
        "canEveryoneJoin": shown.rights.can_everyone_join,
    })
}

/// One whom we meet.
fn met(shown: &GroupSnapshot, who: &ParticipantId, connection: Connection) -> Value {
    let streams = shown.streams.get(who).into_iter().flatten();
    let feeds = streams.map(|it| {
        json!({
            "purpose": it.purpose.as_str(), "audioMuted": it.audio_muted,
            "videoMuted": it.video_muted,
        })
    });
    let mut told = whom(who);
    told["state"] = connection_name(connection).into();
    told["feeds"] = feeds.collect();
    told
}

/// As `audioLevel` tells it.
fn heard(listening: &Listening) -> Value {
    let heard = listening.heard();
    let tone = heard.tone;
    let tone = tone.map(|it| json!({"hz": it.hz, "level": it.level, "share": it.share}));
    json!({"peak": heard.level.peak, "rms": heard.level.rms, "tone": tone})
}

fn named_so(told: &Value, who: &ParticipantId) -> bool {
    told["user"] == who.user.as_str() && told["device"] == who.device.as_str()
}
