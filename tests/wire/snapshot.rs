//! A message as readable text with everything in it, one field a line.
//!
//! Private texts print as lengths in `Debug`, which would hide differences; here descriptions are
//! named by length and hash, with the media lines that `sdp` finds in them. All fields are taken
//! apart by name, so that a new one cannot be forgotten.

use std::fmt::{Debug, Write};

use matrix_voip::{
    redact::Redacted,
    sdp::{check, ice_ufrag, media_lines},
    wire::{
        call::{
            Answer, Body, CallMessage, Candidate, Capabilities, Description, Header, Identity,
            Invite, Leg, Negotiate, Replaces,
        },
        metadata::{StreamInfo, StreamMetadata},
    },
};

/// The text of one message; ends with an empty line.
pub(crate) fn of(event_type: &str, message: &CallMessage) -> String {
    let CallMessage { header, body } = message;
    let mut out = format!("{event_type}\n");
    self::header(&mut out, header);
    self::body(&mut out, body);
    out + "\n"
}

fn field(out: &mut String, name: &str, value: impl Debug) {
    writeln!(out, "  {name}: {value:?}").unwrap();
}

fn header(out: &mut String, header: &Header) {
    let Header { call_id, party_id, version, device_id, leg } = header;
    field(out, "call_id", call_id);
    field(out, "party_id", party_id);
    field(out, "version", version);
    field(out, "device_id", device_id);
    if let Some(leg) = leg {
        let Leg { form: _, conf_id, room_id, dest_session_id, sender_session_id, seq } = leg;
        field(out, "leg.conf_id", conf_id);
        field(out, "leg.room_id", room_id);
        field(out, "leg.dest_session_id", dest_session_id);
        field(out, "leg.sender_session_id", sender_session_id);
        field(out, "leg.seq", seq);
    }
}

fn body(out: &mut String, body: &Body) {
    match body {
        Body::Invite(invite) => self::invite(out, invite),
        Body::Candidates(candidates) => candidates.iter().for_each(|one| candidate(out, one)),
        Body::Answer(answer) => {
            let Answer { sdp: text, capabilities, streams } = answer;
            sdp(out, "answer", text);
            self::capabilities(out, Some(*capabilities));
            self::streams(out, streams.as_ref());
        }
        Body::SelectAnswer { selected } => field(out, "selected", selected),
        Body::Reject { reason } | Body::Hangup { reason } => field(out, "reason", reason),
        Body::Negotiate(negotiate) => self::negotiate(out, negotiate),
        Body::MetadataChanged(streams) => self::streams(out, Some(streams)),
        Body::AssertedIdentity(identity) => self::identity(out, "asserted", identity),
        Body::Replaces(replaces) => self::replaces(out, replaces),
    }
}

fn invite(out: &mut String, invite: &Invite) {
    let Invite { offer, lifetime, invitee, invitee_device, capabilities, streams } = invite;
    field(out, "lifetime", lifetime);
    field(out, "invitee", invitee);
    field(out, "invitee_device", invitee_device);
    sdp(out, "offer", offer);
    self::capabilities(out, Some(*capabilities));
    self::streams(out, streams.as_ref());
}

fn negotiate(out: &mut String, negotiate: &Negotiate) {
    let Negotiate { description, lifetime, capabilities, streams } = negotiate;
    let Description { kind, sdp: text } = description;
    field(out, "lifetime", lifetime);
    sdp(out, &format!("{kind:?}"), text);
    self::capabilities(out, *capabilities);
    self::streams(out, streams.as_ref());
}

fn candidate(out: &mut String, candidate: &Candidate) {
    let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment } = candidate;
    field(out, "candidate", candidate.expose());
    let place = (sdp_mid, sdp_m_line_index, username_fragment);
    writeln!(out, "    mid {:?} index {:?} ufrag {:?}", place.0, place.1, place.2).unwrap();
}

fn replaces(out: &mut String, replaces: &Replaces) {
    let Replaces { replacement_id, target_user, create_call, await_call, target_room } = replaces;
    field(out, "replacement_id", replacement_id);
    if let Some(user) = target_user {
        identity(out, "target_user", user);
    }
    field(out, "create_call", create_call);
    field(out, "await_call", await_call);
    field(out, "target_room", target_room);
}

fn identity(out: &mut String, name: &str, identity: &Identity) {
    let Identity { id, display_name, avatar_url } = identity;
    field(out, &format!("{name}.id"), id);
    field(out, &format!("{name}.display_name"), display_name);
    field(out, &format!("{name}.avatar_url"), avatar_url);
}

fn capabilities(out: &mut String, capabilities: Option<Capabilities>) {
    let Some(Capabilities { transferee, dtmf }) = capabilities else {
        return field(out, "capabilities", None::<()>);
    };
    writeln!(out, "  capabilities: transferee {transferee}, dtmf {dtmf}").unwrap();
}

fn streams(out: &mut String, streams: Option<&StreamMetadata>) {
    let Some(streams) = streams else { return field(out, "streams", None::<()>) };
    field(out, "streams", streams.len());
    for (id, StreamInfo { purpose, audio_muted, video_muted }) in streams {
        let muted = format!("audio_muted {audio_muted}, video_muted {video_muted}");
        writeln!(out, "    {id}: {purpose:?}, {muted}").unwrap();
    }
}

fn sdp(out: &mut String, name: &str, text: &Redacted) {
    let sdp = text.expose();
    let facts = format!("{} bytes, hash {:016x}", sdp.len(), fnv1a(sdp.as_bytes()));
    writeln!(out, "  {name}: {facts}, ufrag {:?}, {:?}", ice_ufrag(sdp), check(sdp)).unwrap();
    for line in media_lines(sdp) {
        let (kind, mid, direction) = (line.kind, line.mid, line.direction);
        writeln!(out, "    m {mid:?} {kind:?} {direction:?} stream {:?}", line.stream).unwrap();
    }
}

/// FNV-1a, 64 bits: short and the same everywhere.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
