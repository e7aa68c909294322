//! [`CallMessage`] to JSON, strictly.
//!
//! Whatever deployed clients need is written, also where the specification does not ask for it:
//! both keys of the stream metadata (the Dart SDK reads only the unstable one, matrix-js-sdk
//! writes only the stable one), `capabilities` in every invite and answer, the end of candidates
//! as an entry (`matrix-js-sdk.md` §2.2, `famedly-dart.md` §2.3).

use std::time::Duration;

use serde::{
    Serialize,
    ser::{SerializeMap as _, Serializer},
};

use super::{
    call::{
        Answer, Body, CallMessage, Capabilities, Header, Identity, Invite, Leg, Negotiate,
        Replaces, SdpKind, Version,
    },
    candidate,
    metadata::{self, StreamMetadata},
    reason::Reason,
};
use crate::redact::Redacted;

type Json<'a> = &'a mut serde_json::Serializer<&'a mut Vec<u8>>;

/// An object that is written field by field, without a tree in between; what is absent is left
/// out.
struct Writer<'a>(<Json<'a> as Serializer>::SerializeMap);

impl CallMessage {
    /// Event type and content (JSON text), ready to be sent. A message of version 0 carries
    /// `"version": 0` and no party id, as its readers expect.
    pub fn write(&self) -> (String, String) {
        let mut text = Vec::with_capacity(likely_bytes(&self.body));
        let mut json = serde_json::Serializer::new(&mut text);
        let mut out = Writer(json.serialize_map(None).expect(WRITABLE));
        out.header(&self.header);
        out.body(&self.body);
        out.0.end().expect(WRITABLE);
        (self.event_type(), String::from_utf8(text).expect("invariant: JSON is UTF-8"))
    }
}

/// About what a message takes, so that its text seldom has to grow.
fn likely_bytes(body: &Body) -> usize {
    let long = match body {
        Body::Invite(invite) => invite.offer.len(),
        Body::Answer(answer) => answer.sdp.len(),
        Body::Negotiate(negotiate) => negotiate.description.sdp.len(),
        Body::Candidates(list) => list.len() * 160,
        Body::SelectAnswer { .. }
        | Body::Reject { .. }
        | Body::Hangup { .. }
        | Body::MetadataChanged(_)
        | Body::AssertedIdentity(_)
        | Body::Replaces(_) => 0,
    };
    // Line ends are escaped.
    768 + long + long / 16
}

/// Why writing cannot fail.
const WRITABLE: &str = "invariant: memory takes everything, keys are text, numbers finite";

impl Writer<'_> {
    fn put(&mut self, key: &'static str, value: impl Serialize) {
        self.0.serialize_entry(key, &value).expect(WRITABLE);
    }

    fn put_some(&mut self, key: &'static str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn header(&mut self, header: &Header) {
        let Header { call_id, party_id, version, device_id, leg } = header;
        self.put("call_id", call_id.as_str());
        match version {
            Version::V0 => self.put("version", 0),
            Version::V1 => {
                self.put("version", "1");
                self.put_some("party_id", party_id.as_ref().map(|id| id.as_str()));
            }
        }
        self.put_some("device_id", device_id.as_ref().map(|id| id.as_str()));
        if let Some(leg) = leg {
            self.leg(leg);
        }
    }

    fn leg(&mut self, leg: &Leg) {
        let Leg { form: _, conf_id, room_id, dest_session_id, sender_session_id, seq } = leg;
        self.put("conf_id", conf_id.as_str());
        self.put_some("room_id", room_id.as_ref().map(|id| id.as_str()));
        self.put_some("dest_session_id", dest_session_id.as_deref());
        self.put_some("sender_session_id", sender_session_id.as_deref());
        self.put_some("seq", *seq);
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Invite(invite) => self.invite(invite),
            Body::Candidates(list) => {
                self.put("candidates", list.iter().map(candidate::Written::of).collect::<Vec<_>>());
            }
            Body::Answer(answer) => self.answer(answer),
            Body::SelectAnswer { selected } => self.put("selected_party_id", selected.as_str()),
            Body::Reject { reason } | Body::Hangup { reason } => {
                self.put_some("reason", reason.as_ref().map(Reason::as_str));
            }
            Body::Negotiate(negotiate) => self.negotiate(negotiate),
            Body::MetadataChanged(streams) => self.streams(streams),
            Body::AssertedIdentity(who) => self.put("asserted_identity", identity(who)),
            Body::Replaces(replaces) => self.replaces(replaces),
        }
    }

    fn invite(&mut self, invite: &Invite) {
        let Invite { offer, lifetime, invitee, invitee_device, capabilities, streams } = invite;
        self.put("offer", description(SdpKind::Offer, offer));
        self.put("lifetime", millis(*lifetime));
        self.put_some("invitee", invitee.as_ref().map(|id| id.as_str()));
        self.put_some("invitee_device_id", invitee_device.as_ref().map(|id| id.as_str()));
        self.put("capabilities", abilities(*capabilities));
        if let Some(streams) = streams {
            self.streams(streams);
        }
    }

    fn answer(&mut self, answer: &Answer) {
        let Answer { sdp, capabilities, streams } = answer;
        self.put("answer", description(SdpKind::Answer, sdp));
        self.put("capabilities", abilities(*capabilities));
        if let Some(streams) = streams {
            self.streams(streams);
        }
    }

    fn negotiate(&mut self, negotiate: &Negotiate) {
        let Negotiate { description: text, lifetime, capabilities, streams } = negotiate;
        self.put("description", description(text.kind, &text.sdp));
        self.put_some("lifetime", lifetime.map(millis));
        self.put_some("capabilities", capabilities.map(abilities));
        if let Some(streams) = streams {
            self.streams(streams);
        }
    }

    /// Under both keys.
    fn streams(&mut self, streams: &StreamMetadata) {
        for key in metadata::KEYS {
            self.put(key, metadata::Written(streams));
        }
    }

    fn replaces(&mut self, replaces: &Replaces) {
        let Replaces { replacement_id, target_user, create_call, await_call, target_room } =
            replaces;
        self.put_some("replacement_id", replacement_id.as_deref());
        self.put_some("target_user", target_user.as_ref().map(identity));
        self.put_some("create_call", create_call.as_deref());
        self.put_some("await_call", await_call.as_deref());
        self.put_some("target_room", target_room.as_deref());
    }
}

#[derive(Serialize)]
struct WrittenDescription<'a> {
    r#type: &'static str,
    sdp: &'a str,
}

fn description(kind: SdpKind, sdp: &Redacted) -> WrittenDescription<'_> {
    let r#type = match kind {
        SdpKind::Offer => "offer",
        SdpKind::Answer => "answer",
    };
    WrittenDescription { r#type, sdp: sdp.expose() }
}

#[derive(Serialize)]
struct WrittenCapabilities {
    #[serde(rename = "m.call.transferee")]
    transferee: bool,
    #[serde(rename = "m.call.dtmf")]
    dtmf: bool,
}

fn abilities(can: Capabilities) -> WrittenCapabilities {
    let Capabilities { transferee, dtmf } = can;
    WrittenCapabilities { transferee, dtmf }
}

#[derive(Serialize)]
struct WrittenIdentity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<&'a str>,
}

fn identity(person: &Identity) -> WrittenIdentity<'_> {
    let Identity { id, display_name, avatar_url } = person;
    WrittenIdentity {
        id: id.as_deref(),
        display_name: display_name.as_deref(),
        avatar_url: avatar_url.as_deref(),
    }
}

fn millis(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
}
