//! Calls as the peer protocol shows them: states, reasons, the call object. Pure.

use matrix_voip::{
    CallDirection, CallMedia, CallSnapshot, CallState, End, EndParty, EndReason, MediaSource, Side,
    Stream,
    machine::io::MediaKind,
    wire::{call::Reason, metadata::Purpose},
};
use serde_json::{Value, json};

/// What a snapshot does not know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Our user id.
    pub(crate) me: &'a str,
    /// All states that the call went through, the present one last.
    pub(crate) states: &'a [&'static str],
    /// The frequency of the test sound that it sends, in Hz.
    pub(crate) tone: f32,
}

/// The protocol's name of a state.
pub(crate) fn state_name(state: CallState) -> &'static str {
    match state {
        CallState::Preparing => "fledgling",
        CallState::InviteSent => "invite_sent",
        CallState::Ringing => "ringing",
        CallState::Answering => "create_answer",
        CallState::Connecting => "connecting",
        CallState::Connected => "connected",
        CallState::Ended => "ended",
        _ => "unknown",
    }
}

/// Whose doing an end was.
pub(crate) fn party_name(party: EndParty) -> &'static str {
    match party {
        EndParty::Local => "local",
        EndParty::Remote => "remote",
    }
}

/// The protocol's name of the reason for an end.
pub(crate) fn reason_name(reason: &EndReason, direction: CallDirection) -> &'static str {
    let outgoing = direction == CallDirection::Outgoing;
    match reason {
        EndReason::InviteTimeout => "invite_timeout",
        EndReason::AnsweredElsewhere => "answered_elsewhere",
        EndReason::Replaced => "replaced",
        EndReason::Transferred => "transferred",
        EndReason::Busy => "user_busy",
        EndReason::IceFailed => "ice_failed",
        EndReason::IceTimeout => "signalling_timeout",
        EndReason::LoggedOut => "logged_out",
        EndReason::UserMediaFailed => "no_user_media",
        EndReason::LocalDescriptionFailed if outgoing => "create_offer",
        EndReason::LocalDescriptionFailed => "create_answer",
        EndReason::RemoteDescriptionFailed => "set_remote_description",
        EndReason::EngineFailed => "local_offer_failed",
        EndReason::SignallingFailed if outgoing => "send_invite",
        EndReason::SignallingFailed => "send_answer",
        EndReason::NoCallee => "send_invite",
        EndReason::Remote(reason) => written(reason),
        EndReason::Hangup
        | EndReason::Rejected
        | EndReason::RejectedElsewhere
        | EndReason::LeftRoom
        | EndReason::ShutDown => "user_hangup",
        _ => "user_hangup",
    }
}

/// What the other side wrote; unknown words are a user's hangup.
fn written(reason: &Reason) -> &'static str {
    match reason {
        Reason::InviteTimeout => "invite_timeout",
        Reason::IceFailed | Reason::IceTimeout => "ice_failed",
        Reason::UserMediaFailed => "no_user_media",
        Reason::UserBusy => "user_busy",
        Reason::AnsweredElsewhere => "answered_elsewhere",
        Reason::Replaced => "replaced",
        Reason::Transferred => "transferred",
        Reason::NewSession => "new_session",
        _ => "user_hangup",
    }
}

/// The call object of the protocol.
pub(crate) fn describe(call: &CallSnapshot, around: Surroundings<'_>) -> Value {
    let (party, reason) = match &call.end {
        Some(end) => end_names(end, call.direction),
        None => (Value::Null, Value::Null),
    };
    let muted = |source| call.muted.get(&source).copied().unwrap_or_default();
    let (ours, theirs) = (user_media(call, Side::Local), user_media(call, Side::Remote));
    let shows = |stream: Option<&Stream>| stream.is_some_and(has_video);
    let sends_video = ours.map_or(call.media == CallMedia::Video, has_video);
    let video = sends_video || shows(theirs);
    let sharing = call.stream(Side::Local, &Purpose::Screenshare).is_some();
    let feeds = call.streams.iter().map(|stream| feed(stream, call, around.me));
    json!({
        "callId": call.call_id.as_str(),
        "roomId": call.room.as_str(),
        "direction": direction_name(call.direction),
        "type": if video { "video" } else { "voice" },
        "state": around.states.last(),
        "states": around.states,
        "ourPartyId": call.party_id.as_str(),
        "opponentPartyId": call.remote_party.as_ref().map(|party| party.as_str()),
        "opponentUserId": call.remote_user.as_ref().map(|user| user.as_str()),
        "hangupParty": party,
        "hangupReason": reason,
        "remoteOnHold": call.hold.by_us,
        "localOnHold": call.state == CallState::Connected && call.hold.by_them,
        "micMuted": muted(MediaSource::Microphone),
        "videoMuted": !sends_video || muted(MediaSource::Camera),
        "screensharing": sharing,
        "opponentSupportsTransfer": call.remote_capabilities.transferee,
        "opponentSupportsDTMF": call.remote_capabilities.dtmf,
        "feeds": feeds.collect::<Vec<_>>(),
        "tone": around.tone,
    })
}

/// Microphone and camera of one side.
fn user_media(call: &CallSnapshot, side: Side) -> Option<&Stream> {
    call.stream(side, &Purpose::UserMedia)
}

fn has_video(stream: &Stream) -> bool {
    stream.kinds.contains(&MediaKind::Video)
}

/// Who ended it and why.
pub(crate) fn end_names(end: &End, direction: CallDirection) -> (Value, Value) {
    (party_name(end.party).into(), reason_name(&end.reason, direction).into())
}

fn direction_name(direction: CallDirection) -> &'static str {
    match direction {
        CallDirection::Incoming => "inbound",
        CallDirection::Outgoing => "outbound",
    }
}

fn feed(stream: &Stream, call: &CallSnapshot, me: &str) -> Value {
    let local = stream.side == Side::Local;
    let them = call.remote_user.as_ref().map(|user| user.as_str());
    json!({
        "local": local,
        "purpose": stream.purpose.as_str(),
        "userId": if local { Some(me) } else { them },
        "streamId": stream.id.as_ref().map(|id| id.as_str()),
        "audioMuted": stream.audio_muted,
        "videoMuted": stream.video_muted,
        "tracks": stream.kinds.iter().map(|kind| kind_name(*kind)).collect::<Vec<_>>(),
    })
}

/// `audio` or `video`.
pub(crate) fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_theirs_is_a_hangup_unless_it_says_more() {
        let outgoing = CallDirection::Outgoing;
        assert_eq!(reason_name(&EndReason::Rejected, outgoing), "user_hangup");
        assert_eq!(reason_name(&EndReason::Busy, outgoing), "user_busy");
        let busy = EndReason::Remote(Reason::UserBusy);
        assert_eq!(reason_name(&busy, outgoing), "user_busy");
        let odd = EndReason::Remote(Reason::Unknown("rage".to_owned()));
        assert_eq!(reason_name(&odd, outgoing), "user_hangup");
    }

    #[test]
    fn a_lost_login_is_no_slow_homeserver() {
        let outgoing = CallDirection::Outgoing;
        assert_eq!(reason_name(&EndReason::LoggedOut, outgoing), "logged_out");
        assert_eq!(reason_name(&EndReason::IceTimeout, outgoing), "signalling_timeout");
    }

    #[test]
    fn what_could_not_be_sent_depends_on_who_called() {
        let name = |direction| reason_name(&EndReason::SignallingFailed, direction);
        assert_eq!(name(CallDirection::Outgoing), "send_invite");
        assert_eq!(name(CallDirection::Incoming), "send_answer");
    }

    #[test]
    fn the_states_that_tests_wait_for_have_the_names_of_the_protocol() {
        let names = [
            (CallState::InviteSent, "invite_sent"),
            (CallState::Ringing, "ringing"),
            (CallState::Connecting, "connecting"),
            (CallState::Connected, "connected"),
            (CallState::Ended, "ended"),
        ];
        for (state, name) in names {
            assert_eq!(state_name(state), name);
        }
    }
}
