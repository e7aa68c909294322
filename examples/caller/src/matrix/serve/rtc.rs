//! Group calls through an SFU: what a command says of it, and tokens and media keys as events. A token is
//! never told; a key only where the process was started so.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use matrix_voip::{
    Backend, GroupEvent, GroupSnapshot, KeyEvent, KeyName, ParticipantId, SfuStatus, SfuTask,
    SfuToken, Undelivered,
    id::{DeviceId, UserId},
    wire::keys::MediaKey,
};
use serde_json::{Value, json};

use super::{client::Client, line::Args, meetings::named};

/// Whether keys themselves are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShowKeys {
    /// As `keyB64`: for tests.
    Whole,
    /// As fingerprints alone.
    Fingerprint,
}

impl Client {
    /// Asks participants for their keys; all the others, if nobody says whom.
    pub(crate) async fn request_keys(&self, args: &Args) -> Result<Value, String> {
        let group = self.group(args).await?;
        let shown = group.snapshot();
        let whom = match args.value("participants") {
            Some(named) => participants(named)?,
            None => {
                let all = shown.participants.iter().map(|one| one.id.clone());
                all.filter(|one| *one != shown.ours).collect()
            }
        };
        let asked = whom.len();
        group.request_encryption_keys(whom).await.map_err(|why| why.to_string())?;
        Ok(json!({"groupCallId": shown.call.call_id, "asked": asked}))
    }
}

fn participants(named: &Value) -> Result<Vec<ParticipantId>, String> {
    let wrong = || "participants must be a list of {user, device}".to_owned();
    let read = |one: &Value| {
        let user = UserId::parse(one["user"].as_str()?).ok()?;
        let device = DeviceId::parse(one["device"].as_str()?).ok()?;
        Some(ParticipantId { user, device })
    };
    let all = named.as_array().ok_or_else(wrong)?;
    all.iter().map(read).collect::<Option<_>>().ok_or_else(wrong)
}

/// Through which SFU a command wants a call of this room; `None`: each with each.
pub(crate) fn wanted(args: &Args, room: &str) -> Result<Option<Backend>, String> {
    let Some(backend) = args.value("backend") else { return Ok(None) };
    match backend["type"].as_str() {
        Some("mesh") => Ok(None),
        Some("livekit") => {
            if args.text("dialect")? == Some("msc3401") {
                return Err("unsupported: an SFU in the dialect msc3401".to_owned());
            }
            let text = |name: &str| backend[name].as_str().filter(|text| !text.is_empty());
            let alias = text("livekit_alias").unwrap_or(room);
            let at = |url| Backend::livekit(url, alias);
            Ok(Some(text("livekit_service_url").map_or_else(Backend::sfu, at)))
        }
        _ => Err(format!("unsupported: group calls by the backend {}", backend["type"])),
    }
}

/// How the participants of a group call meet, as it is written in a membership.
pub(crate) fn backend(backend: &Backend) -> Value {
    match backend {
        Backend::Mesh | Backend::Msc3401Mesh => json!({"type": "mesh"}),
        Backend::Livekit { service_url, alias } => {
            json!({"type": "livekit", "livekit_service_url": service_url, "livekit_alias": alias})
        }
        Backend::Unknown(kind) => json!({"type": kind}),
        _ => Value::Null,
    }
}

/// How it stands with the SFU and the keys of a group call.
pub(crate) fn describe(shown: &GroupSnapshot) -> Value {
    let theirs = shown.keys.theirs.iter().map(|(who, key)| of(Some(who), key));
    let missing = shown.keys.missing.iter().map(named);
    json!({
        "state": status_name(&shown.sfu),
        "ownKey": shown.keys.own.as_ref().map(|key| of(None, key)),
        "keys": theirs.collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
        "explanation": shown.explain().to_string(),
    })
}

/// What the keeper of keys tells of one that he gets: one of ours is used from then on.
pub(crate) fn given(
    who: &ParticipantId,
    ours: &ParticipantId,
    key: &MediaKey,
    show: ShowKeys,
) -> Value {
    let mut told = of(Some(who), &KeyName::from(key));
    told["direction"] = if who == ours { "used" } else { "received" }.into();
    if show == ShowKeys::Whole {
        told["keyB64"] = STANDARD.encode(key.key.expose()).into();
    }
    told
}

/// An event, by its name and fields; `None`: it is about something else, or told by [`given`].
pub(crate) fn event(event: &GroupEvent) -> Option<(&'static str, Value)> {
    match event {
        GroupEvent::BackendChanged(now) => Some(("rtcBackend", json!({"backend": backend(now)}))),
        GroupEvent::SfuChanged(status) => {
            let why = match status {
                SfuStatus::NoToken(why) => Some(why.to_string()),
                SfuStatus::Lost(why) => Some(format!("{why:?}")),
                _ => None,
            };
            Some(("rtcSfu", json!({"state": status_name(status), "why": why})))
        }
        GroupEvent::SfuTask(SfuTask::Connect(token) | SfuTask::Renew(token)) => {
            Some(("rtcToken", token_told(token)))
        }
        GroupEvent::Key(event) => key_event(event),
        _ => None,
    }
}

fn token_told(token: &SfuToken) -> Value {
    let lifetime = token.lifetime.map(|span| span.as_millis() as u64);
    json!({"url": token.url, "lifetime": lifetime, "identity": token.identity})
}

fn key_event(event: &KeyEvent) -> Option<(&'static str, Value)> {
    let trouble = |who: &ParticipantId, why: &str| {
        let mut told = named(who);
        told["why"] = why.into();
        Some(("rtcKeyTrouble", told))
    };
    match event {
        KeyEvent::Delivered { participant, key } => {
            let mut told = of(Some(participant), key);
            told["direction"] = "sent".into();
            Some(("rtcKey", told))
        }
        KeyEvent::Missing(who) => trouble(who, "missing"),
        KeyEvent::Refused(who) => trouble(who, "refused"),
        KeyEvent::Undelivered { participant, why: Undelivered::NoDeviceKeys } => {
            trouble(participant, "no_device_keys")
        }
        KeyEvent::Undelivered { participant, .. } => trouble(participant, "given_up"),
        _ => None,
    }
}

fn of(who: Option<&ParticipantId>, key: &KeyName) -> Value {
    let mut told = who.map_or_else(|| json!({}), named);
    told["index"] = key.index.into();
    told["fingerprint"] = key.fingerprint.clone().into();
    told
}

fn status_name(status: &SfuStatus) -> &'static str {
    match status {
        SfuStatus::Off => "off",
        SfuStatus::FindingFocus => "finding_focus",
        SfuStatus::FetchingToken => "fetching_token",
        SfuStatus::NoToken(_) => "no_token",
        SfuStatus::HandedOver => "handed_over",
        SfuStatus::Connecting => "connecting",
        SfuStatus::Connected => "connected",
        SfuStatus::Reconnecting => "reconnecting",
        SfuStatus::Lost(_) => "lost",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use matrix_voip::redact::{Secret, SecretBytes};

    use super::*;
    use crate::matrix::serve::line::Request;

    fn args(args: Value) -> Args {
        let line = json!({"id": 1, "cmd": "groupEnter", "args": args}).to_string();
        Request::read(line.as_bytes()).unwrap().args
    }

    fn whom(user: &str) -> ParticipantId {
        participants(&json!([{"user": user, "device": "D"}])).unwrap().remove(0)
    }

    #[test]
    fn without_a_backend_it_is_a_mesh_and_of_an_sfu_any_unless_one_is_said() {
        let wanted = |backend| wanted(&args(json!({"backend": backend})), "!r:x");
        for mesh in [Value::Null, json!({"type": "mesh"})] {
            assert_eq!(wanted(mesh), Ok(None));
        }
        assert_eq!(wanted(json!({"type": "livekit"})), Ok(Some(Backend::sfu())));
        let url = "http://127.0.0.1:1";
        let at = json!({"type": "livekit", "livekit_service_url": url});
        assert_eq!(wanted(at), Ok(Some(Backend::livekit(url, "!r:x"))));
        let named = json!({"type": "livekit", "livekit_service_url": url, "livekit_alias": "a"});
        assert_eq!(wanted(named.clone()), Ok(Some(Backend::livekit(url, "a"))));
        assert_eq!(backend(&Backend::livekit(url, "a")), named);
        for other in [json!({"type": "pigeon"}), json!("livekit"), json!({})] {
            assert!(wanted(other).unwrap_err().starts_with("unsupported: "));
        }
    }

    #[test]
    fn an_sfu_is_in_the_dialect_of_famedly() {
        let livekit = json!({"type": "livekit"});
        let both = |dialect| {
            wanted(&args(json!({"backend": livekit, "dialect": dialect})), "!r:x").is_ok()
        };
        assert_eq!((both("famedly"), both("msc3401")), (true, false));
    }

    #[test]
    fn a_key_itself_is_told_only_where_that_is_wanted() {
        let key = MediaKey { index: 2, key: SecretBytes::new([0; 32]) };
        let (ada, ben) = (whom("@ada:x"), whom("@ben:x"));
        let hidden = given(&ben, &ada, &key, ShowKeys::Fingerprint);
        let fingerprint = key.fingerprint();
        let expected = json!({"user": "@ben:x", "device": "D", "index": 2,
            "fingerprint": fingerprint, "direction": "received"});
        assert_eq!(hidden, expected);
        let whole = given(&ada, &ada, &key, ShowKeys::Whole);
        assert_eq!(
            (&whole["direction"], whole["keyB64"].as_str().unwrap().len()),
            (&json!("used"), 44)
        );
    }

    #[test]
    fn a_token_is_told_of_without_itself() {
        let token = SfuToken {
            url: "wss://sfu".to_owned(),
            jwt: Secret::new("e.y.J"),
            lifetime: Some(Duration::from_secs(60)),
            identity: Some("@ada:x:D".to_owned()),
        };
        let told = event(&GroupEvent::SfuTask(SfuTask::Connect(token))).unwrap();
        let fields = json!({"url": "wss://sfu", "lifetime": 60_000, "identity": "@ada:x:D"});
        assert_eq!(told, ("rtcToken", fields));
    }

    #[test]
    fn whom_to_ask_is_a_list_of_devices() {
        assert_eq!(participants(&json!([])), Ok(Vec::new()));
        for wrong in
            [json!("@a:x"), json!([{"user": "@a:x"}]), json!([{"user": "a", "device": "D"}])]
        {
            assert!(participants(&wrong).is_err(), "{wrong}");
        }
    }
}
