//! JSON to [`CallMessage`], leniently.
//!
//! Understood are all forms that deployed clients send: `matrix-js-sdk.md` §2, `famedly-dart.md`
//! §2.3, version 0. What is read exactly and what tolerantly stands in `json.rs`. Everything that
//! a sender can make large has a bound here; what is beyond is refused or left unread, as its
//! documentation says.

use std::time::Duration;

use serde_json::Value;

use super::{
    call::{
        Answer, Body, CallMessage, Capabilities, Description, Header, Identity, Invite, Leg,
        Negotiate, Replaces, SdpKind, Version, WireForm,
    },
    candidate,
    delivery::Malformed,
    json::{
        Object, exact_text, flag, id, needed_object, object, optional_id, shortened, span, text,
        whole,
    },
    kind::{Family, Kind},
    metadata,
    reason::Reason,
};
use crate::{id::MAX_ID_BYTES, redact::Redacted, sdp::MAX_SDP_BYTES};

/// Largest content that is looked at, in bytes of JSON text. Homeservers carry 64 KiB; twice that
/// leaves room for a host that writes escapes.
pub const MAX_CONTENT_BYTES: usize = 128 * 1024;

/// The lifetime of an invite that names none: what both matrix-js-sdk and Famedly's clients ring.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// Longest lifetime that is read; a longer one counts as this. Only so that nothing overflows:
/// how much of it is believed is policy (`config::Timeouts`).
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Most bytes of a name to show (`display_name`) that are kept.
pub const MAX_NAME_BYTES: usize = 256;

/// Whether [`read`] knows this event type: what a host has to deliver.
pub fn is_call_event(event_type: &str) -> bool {
    Kind::of(event_type).is_some()
}

/// Reads one event; `None` if its type is none of a call event.
///
/// # Errors
/// [`Malformed`] says what is wrong with the content.
pub fn read(event_type: &str, content: &str) -> Option<Result<CallMessage, Malformed>> {
    let (kind, family) = Kind::of(event_type)?;
    Some(read_content(kind, family, content))
}

fn read_content(kind: Kind, family: Family, content: &str) -> Result<CallMessage, Malformed> {
    let content = content_object(content)?;
    Ok(CallMessage { header: header(&content, family)?, body: body(&content, kind)? })
}

/// The content of any event, of the length that is looked at.
pub(super) fn content_object(content: &str) -> Result<Object, Malformed> {
    if content.len() > MAX_CONTENT_BYTES {
        return Err(Malformed::TooLarge("content"));
    }
    serde_json::from_str(content).map_err(|_| Malformed::NotAnObject)
}

fn header(content: &Object, family: Family) -> Result<Header, Malformed> {
    let version = version(content);
    let party_id = match version {
        Version::V0 => None,
        Version::V1 => optional_id(content, "party_id")?,
    };
    Ok(Header {
        call_id: id(content, "call_id")?,
        party_id,
        version,
        device_id: optional_id(content, "device_id")?,
        leg: leg(content, family)?,
    })
}

fn version(content: &Object) -> Version {
    let zero = match content.get("version") {
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(Value::String(text)) => text == "0",
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => false,
    };
    if zero { Version::V0 } else { Version::V1 }
}

/// matrix-js-sdk's legs come under plain names and without `room_id`; a twin must have both.
fn leg(content: &Object, family: Family) -> Result<Option<Leg>, Malformed> {
    let conf_id = exact_text(content, "conf_id")?;
    let Some(conf_id) = conf_id else {
        return match family {
            Family::Plain => Ok(None),
            Family::Twin => Err(Malformed::Missing("conf_id")),
        };
    };
    let room_id = match family {
        Family::Plain => optional_id(content, "room_id")?,
        Family::Twin => Some(id(content, "room_id")?),
    };
    let form = match family {
        Family::Plain => WireForm::Readme,
        Family::Twin => WireForm::Deployed,
    };
    Ok(Some(Leg {
        form,
        conf_id: conf_id.to_owned(),
        room_id,
        dest_session_id: exact_text(content, "dest_session_id")?.map(str::to_owned),
        sender_session_id: exact_text(content, "sender_session_id")?.map(str::to_owned),
        seq: whole(content, "seq"),
    }))
}

fn body(content: &Object, kind: Kind) -> Result<Body, Malformed> {
    Ok(match kind {
        Kind::Invite => Body::Invite(invite(content)?),
        Kind::Candidates => Body::Candidates(candidate::read_all(content)?),
        Kind::Answer => Body::Answer(answer(content)?),
        Kind::SelectAnswer => Body::SelectAnswer { selected: id(content, "selected_party_id")? },
        Kind::Reject => Body::Reject { reason: reason(content) },
        Kind::Hangup => Body::Hangup { reason: reason(content) },
        Kind::Negotiate => Body::Negotiate(negotiate(content)?),
        Kind::MetadataChanged => Body::MetadataChanged(
            metadata::read(content).ok_or(Malformed::Missing(metadata::STABLE_KEY))?,
        ),
        Kind::AssertedIdentity => {
            Body::AssertedIdentity(identity(needed_object(content, "asserted_identity")?))
        }
        Kind::Replaces => Body::Replaces(replaces(content)),
    })
}

fn invite(content: &Object) -> Result<Invite, Malformed> {
    Ok(Invite {
        offer: sdp(needed_object(content, "offer")?, "offer.sdp")?,
        lifetime: span(content, "lifetime", MAX_LIFETIME).unwrap_or(DEFAULT_LIFETIME),
        invitee: optional_id(content, "invitee")?,
        invitee_device: optional_id(content, "invitee_device_id")?,
        capabilities: capabilities(content).unwrap_or_default(),
        streams: metadata::read(content),
    })
}

fn answer(content: &Object) -> Result<Answer, Malformed> {
    Ok(Answer {
        sdp: sdp(needed_object(content, "answer")?, "answer.sdp")?,
        capabilities: capabilities(content).unwrap_or_default(),
        streams: metadata::read(content),
    })
}

fn negotiate(content: &Object) -> Result<Negotiate, Malformed> {
    let description = needed_object(content, "description")?;
    Ok(Negotiate {
        description: Description {
            kind: sdp_kind(description)?,
            sdp: sdp(description, "description.sdp")?,
        },
        lifetime: span(content, "lifetime", MAX_LIFETIME),
        capabilities: capabilities(content),
        streams: metadata::read(content),
    })
}

fn sdp_kind(description: &Object) -> Result<SdpKind, Malformed> {
    match text(description, "type") {
        Some("offer") => Ok(SdpKind::Offer),
        Some("answer" | "pranswer") => Ok(SdpKind::Answer),
        Some(_) => Err(Malformed::Wrong("description.type")),
        None => Err(Malformed::Missing("description.type")),
    }
}

fn sdp(description: &Object, name: &'static str) -> Result<Redacted, Malformed> {
    let sdp = text(description, "sdp").filter(|sdp| !sdp.is_empty());
    let sdp = sdp.ok_or(Malformed::Missing(name))?;
    if sdp.len() > MAX_SDP_BYTES {
        return Err(Malformed::TooLarge(name));
    }
    Ok(Redacted::from(sdp))
}

fn capabilities(content: &Object) -> Option<Capabilities> {
    object(content, "capabilities").map(|can| Capabilities {
        transferee: flag(can, "m.call.transferee"),
        dtmf: flag(can, "m.call.dtmf"),
    })
}

fn reason(content: &Object) -> Option<Reason> {
    text(content, "reason").filter(|reason| !reason.is_empty()).map(Reason::parse)
}

fn identity(person: &Object) -> Identity {
    Identity {
        id: short_text(person, "id"),
        display_name: text(person, "display_name").map(|name| shortened(name, MAX_NAME_BYTES)),
        avatar_url: short_text(person, "avatar_url"),
    }
}

fn replaces(content: &Object) -> Replaces {
    Replaces {
        replacement_id: short_text(content, "replacement_id"),
        target_user: object(content, "target_user").map(identity),
        create_call: short_text(content, "create_call"),
        await_call: short_text(content, "await_call"),
        target_room: short_text(content, "target_room"),
    }
}

/// A text whose half is worth nothing: absent if it is longer than an id.
fn short_text(object: &Object, key: &str) -> Option<String> {
    text(object, key).filter(|text| text.len() <= MAX_ID_BYTES).map(str::to_owned)
}

#[cfg(test)]
mod tests;
