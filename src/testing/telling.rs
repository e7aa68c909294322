//! Outputs of an engine in the words of the column.

use super::{column::Kind, world::World};
use crate::{
    machine::{
        event::{
            CallEvent, CallState, End, EndParty, EndReason, Hold, MissedWhy, RingStop, VoipEvent,
        },
        group::{
            event::{GroupEvent, SfuStatus},
            key_event::KeyEvent,
            roster::ParticipantId,
        },
        io::{CallMedia, MediaSource, Op, Output, PeerOp, SfuOp, SfuTask, TrackOp},
    },
    wire::member::Backend,
};

/// Writes down what an output tells; requests to the homeserver are written down when it has them.
pub(super) fn tell(world: &mut World, device: usize, output: &Output) {
    if let (kind, Some(what)) = words(output) {
        world.note(device, kind, what);
    }
}

/// An output in words, where it has some.
pub(super) fn words(output: &Output) -> (Kind, Option<String>) {
    match output {
        Output::Request { op, .. } => (Kind::Media, request(op)),
        Output::Cancel(_) => (Kind::Media, None),
        Output::Voip(event) => (Kind::Call, voip(event)),
        Output::Call { event, .. } => call(event),
        Output::Group { event, .. } => (Kind::Call, Some(group(event))),
    }
}

fn request(op: &Op) -> Option<String> {
    Some(match op {
        Op::Sfu(_, SfuOp::Connect(_)) => "connects to the SFU".to_owned(),
        Op::Sfu(_, SfuOp::Disconnect) => "leaves the SFU".to_owned(),
        Op::Sfu(_, SfuOp::Track(_, op)) => return track(op),
        Op::Sfu(..) | Op::Keys(..) => return None,
        Op::Track(_, op) => return track(op),
        Op::Peer(_, PeerOp::Open(_)) => "opens a peer".to_owned(),
        Op::Peer(_, PeerOp::Close) => "closes a peer".to_owned(),
        Op::Matrix(_) | Op::Fetch(_) | Op::Peer(..) | Op::Save(_) => return None,
    })
}

fn track(op: &TrackOp) -> Option<String> {
    Some(match op {
        TrackOp::Capture(_, capture) => format!("captures {}", source(capture.source)),
        TrackOp::Replace(_, capture) => {
            format!("takes another {:?}", capture.source).to_lowercase()
        }
        TrackOp::Dtmf(_) => "sends tones".to_owned(),
        TrackOp::Release => "releases a track".to_owned(),
        TrackOp::Enable(true) => "enables a track".to_owned(),
        TrackOp::Enable(false) => "disables a track".to_owned(),
    })
}

fn voip(event: &VoipEvent) -> Option<String> {
    Some(match event {
        VoipEvent::RingStarted { .. } => "rings".to_owned(),
        VoipEvent::RingStopped { why, .. } => format!("stops ringing ({})", ring_stop(*why)),
        VoipEvent::Missed { caller, why, .. } => {
            format!("missed {caller} ({})", missed(*why))
        }
        VoipEvent::TransferRequested { transfer, .. } => {
            format!("is asked to call {}", transfer.user)
        }
        VoipEvent::TransferAnnounced { transfer, .. } => {
            format!("is told that {} will call", transfer.user)
        }
        VoipEvent::UnverifiedDevice { user, .. } => {
            format!("is warned of an unverified device of {user}")
        }
        VoipEvent::CallAdded { .. } | VoipEvent::CallEnded { .. } => return None,
        VoipEvent::GroupCallAdded { .. } => "sees a group call".to_owned(),
        VoipEvent::GroupCallEnded { .. } => return None,
        VoipEvent::GroupRingStarted { ring } => format!("is called by {}", ring.caller),
        VoipEvent::GroupRingStopped { ring, why } => {
            format!("is called by {} no more ({})", ring.caller, ring_stop(*why))
        }
    })
}

fn group(event: &GroupEvent) -> String {
    match event {
        GroupEvent::StateChanged(state) => format!("is {state}"),
        GroupEvent::ReadingChanged { reading: true } => "asks who is there".to_owned(),
        GroupEvent::ReadingChanged { reading: false } => "knows who is there".to_owned(),
        GroupEvent::ParticipantJoined(who) => format!("sees {} join", device(&who.id)),
        GroupEvent::ParticipantLeft(who) => format!("sees {} leave", device(who)),
        GroupEvent::ParticipantChanged(who) => format!("sees {} change", device(&who.id)),
        GroupEvent::ReactionAdded { participant, key, .. } => {
            format!("sees {key} of {}", device(participant))
        }
        GroupEvent::ReactionRemoved { participant, key } => {
            format!("sees {key} of {} go", device(participant))
        }
        GroupEvent::Declined(user) => format!("sees {user} decline"),
        GroupEvent::ApplicationChanged(application) => format!("calls it {application}"),
        GroupEvent::RightsChanged(rights) if rights.can_join => "may join".to_owned(),
        GroupEvent::RightsChanged(_) => "may not join".to_owned(),
        GroupEvent::AllowEveryoneFailed(why) => {
            format!("cannot let everybody join: {why:?}").to_lowercase()
        }
        GroupEvent::ConnectionChanged { participant, connection } => {
            format!("is {connection:?} to {}", device(participant)).to_lowercase()
        }
        GroupEvent::StreamsChanged { participant, streams } => {
            format!("has {} streams of {}", streams.len(), device(participant))
        }
        GroupEvent::MuteChanged { source: of, muted } => {
            format!("{} {}", if *muted { "muted" } else { "unmuted" }, source(*of))
        }
        GroupEvent::HoldChanged { held } => {
            if *held { "holds the call" } else { "holds it no more" }.to_owned()
        }
        GroupEvent::MediaMissing(of) => format!("goes without {}", source(*of)),
        GroupEvent::SwitchFailed(of) => format!("cannot change {}", source(*of)),
        GroupEvent::UnverifiedDevice(user) => {
            format!("is warned of an unverified device of {user}")
        }
        GroupEvent::ActiveSpeakerChanged(Some(who)) => format!("hears {} speak", device(who)),
        GroupEvent::ActiveSpeakerChanged(None) => "hears nobody speak".to_owned(),
        GroupEvent::BackendChanged(backend) => format!("meets at {}", focus(backend)),
        GroupEvent::SfuChanged(status) => sfu(status),
        GroupEvent::SfuTask(SfuTask::Connect(_)) => "has a token to connect with".to_owned(),
        GroupEvent::SfuTask(SfuTask::Renew(_)) => "has a fresh token".to_owned(),
        GroupEvent::SfuTask(SfuTask::Disconnect) => "is told to leave the SFU".to_owned(),
        GroupEvent::Key(event) => key(event),
        GroupEvent::Refused(why) => format!("is refused: {why:?}").to_lowercase(),
        GroupEvent::Ended(end) => format!("group call ended: {end}"),
    }
}

fn key(event: &KeyEvent) -> String {
    match event {
        KeyEvent::Used(key) => format!("uses key {}", key.index),
        KeyEvent::Received { participant, key } => {
            format!("has key {} of {}", key.index, device(participant))
        }
        KeyEvent::Missing(who) => format!("misses the key of {}", device(who)),
        KeyEvent::Refused(who) => format!("cannot use the key of {}", device(who)),
        KeyEvent::Delivered { participant, key } => {
            format!("has shared key {} with {}", key.index, device(participant))
        }
        KeyEvent::Undelivered { participant, why } => {
            format!("cannot share its key with {}: {why:?}", device(participant))
        }
    }
}

fn focus(backend: &Backend) -> &str {
    match backend {
        Backend::Livekit { service_url, .. } => service_url,
        Backend::Mesh | Backend::Msc3401Mesh => "each other",
        Backend::Unknown(kind) => kind,
    }
}

fn sfu(status: &SfuStatus) -> String {
    match status {
        SfuStatus::Off => "needs no SFU".to_owned(),
        SfuStatus::FindingFocus => "looks for an SFU".to_owned(),
        SfuStatus::FetchingToken => "asks for a token".to_owned(),
        SfuStatus::NoToken(fault) => format!("has no token: {fault}"),
        SfuStatus::HandedOver => "leaves the SFU to the application".to_owned(),
        SfuStatus::Connecting => "is on its way to the SFU".to_owned(),
        SfuStatus::Connected => "is at the SFU".to_owned(),
        SfuStatus::Reconnecting => "looks for the SFU again".to_owned(),
        SfuStatus::Lost(why) => format!("has lost the SFU: {why:?}").to_lowercase(),
    }
}

/// As columns call devices.
fn device(who: &ParticipantId) -> String {
    format!("{} {}", who.user, who.device)
}

fn call(event: &CallEvent) -> (Kind, Option<String>) {
    match event {
        CallEvent::StateChanged(CallState::Ended) => (Kind::Call, None),
        CallEvent::StateChanged(state) => (Kind::Call, Some(format!("is {state}"))),
        CallEvent::Ended(end) => (Kind::Call, Some(format!("ended: {}", self::end(end)))),
        CallEvent::CalleeFound(user) => (Kind::Detail, Some(format!("found {user}"))),
        CallEvent::RemoteChosen { user, .. } => (Kind::Detail, Some(format!("is with {user}"))),
        CallEvent::StreamsChanged(streams) => {
            (Kind::Detail, Some(format!("has {} streams", streams.len())))
        }
        CallEvent::MuteChanged { source: of, muted } => {
            let verb = if *muted { "muted" } else { "unmuted" };
            (Kind::Detail, Some(format!("{verb} {}", source(*of))))
        }
        CallEvent::MediaMissing(of) => {
            (Kind::Detail, Some(format!("goes without {}", source(*of))))
        }
        CallEvent::SwitchFailed(of) => {
            (Kind::Detail, Some(format!("cannot change {}", source(*of))))
        }
        CallEvent::TonesFailed => (Kind::Detail, Some("cannot send tones".to_owned())),
        CallEvent::HoldChanged(hold) => (Kind::Call, Some(self::hold(*hold).to_owned())),
        CallEvent::TransferFailed => (Kind::Call, Some("cannot transfer".to_owned())),
        CallEvent::NegotiationFailed => (Kind::Call, Some("does not agree".to_owned())),
        CallEvent::CapabilitiesChanged(_) => {
            (Kind::Detail, Some("is told what they can do".to_owned()))
        }
        CallEvent::IdentityAsserted(_) => (Kind::Detail, Some("is told who speaks".to_owned())),
    }
}

const fn hold(hold: Hold) -> &'static str {
    match (hold.by_us, hold.by_them) {
        (true, true) => "is held by both",
        (true, false) => "is held by us",
        (false, true) => "is held by them",
        (false, false) => "is held no more",
    }
}

/// `remote hangup`, `local invite_timeout`, …
pub(super) fn end(end: &End) -> String {
    let party = match end.party {
        EndParty::Local => "local",
        EndParty::Remote => "remote",
    };
    format!("{party} {}", reason(&end.reason))
}

fn reason(reason: &EndReason) -> String {
    match reason {
        EndReason::Remote(said) => format!("said {}", said.as_str()),
        other => snake(&format!("{other:?}")),
    }
}

/// `IceFailed` → `ice_failed`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

const fn ring_stop(why: RingStop) -> &'static str {
    match why {
        RingStop::Answered => "answered",
        RingStop::Rejected => "rejected",
        RingStop::Elsewhere => "elsewhere",
        RingStop::CallerGone => "caller gone",
        RingStop::Expired => "expired",
        RingStop::Ended => "ended",
    }
}

const fn missed(why: MissedWhy) -> &'static str {
    match why {
        MissedWhy::Expired => "expired",
        MissedWhy::CallerGone => "caller gone",
        MissedWhy::Busy => "busy",
    }
}

/// How columns call a source.
pub(super) const fn source(source: MediaSource) -> &'static str {
    match source {
        MediaSource::Microphone => "the microphone",
        MediaSource::Camera => "the camera",
        MediaSource::Screen => "the screen",
    }
}

/// How columns call the kind of a call.
pub(super) const fn media(media: CallMedia) -> &'static str {
    match media {
        CallMedia::Voice => "voice",
        CallMedia::Video => "video",
    }
}
