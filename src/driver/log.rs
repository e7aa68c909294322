//! What the driver logs: numbers, states and reasons; never a user, an address or a description.
//!
//! `DEBUG` tells how calls go, `TRACE` what is asked of the host. Spans are not used: a call's
//! events come from one task and carry the session's number.

use tracing::{debug, trace};

use crate::{
    id::{OpId, SessionId},
    machine::{
        event::{CallEvent, EndReason, VoipEvent},
        group::{
            event::{GroupEvent, SfuStatus},
            key_event::{KeyEvent, KeyName},
        },
        io::{Fault, MatrixOp, Op, SfuTask, Verdict},
    },
};

/// An input that had no effect.
pub(super) fn verdict(verdict: &Verdict) {
    match verdict {
        Verdict::Ignored(reason) => debug!(?reason, "ignored"),
        Verdict::Refused(refusal) => debug!(%refusal, "refused"),
        Verdict::Batch(verdicts) => verdicts.iter().for_each(self::verdict),
        Verdict::Handled | Verdict::Started(_) => {}
    }
}

/// News of one call.
pub(super) fn call(session: SessionId, event: &CallEvent) {
    let session = session.0;
    match event {
        CallEvent::StateChanged(state) => debug!(session, %state, "state changed"),
        CallEvent::StreamsChanged(streams) => debug!(session, n = streams.len(), "streams changed"),
        CallEvent::MuteChanged { source, muted } => debug!(session, ?source, muted, "mute changed"),
        CallEvent::MediaMissing(source) => debug!(session, ?source, "media missing"),
        CallEvent::SwitchFailed(source) => debug!(session, ?source, "device not changed"),
        CallEvent::TonesFailed => debug!(session, "tones not sent"),
        CallEvent::HoldChanged(hold) => debug!(session, ?hold, "hold changed"),
        CallEvent::TransferFailed => debug!(session, "transfer failed"),
        CallEvent::NegotiationFailed => debug!(session, "negotiation failed"),
        CallEvent::CalleeFound(_) => debug!(session, "callee found"),
        CallEvent::RemoteChosen { .. } => debug!(session, "remote party chosen"),
        CallEvent::CapabilitiesChanged(_) => debug!(session, "capabilities changed"),
        CallEvent::IdentityAsserted(_) => debug!(session, "identity asserted"),
        CallEvent::Ended(end) => match &end.reason {
            // What the other side wrote may hold any text.
            EndReason::Remote(_) => debug!(session, party = ?end.party, "ended as they said"),
            reason => debug!(session, party = ?end.party, ?reason, "ended"),
        },
    }
}

/// News of one group call.
pub(super) fn group(session: SessionId, event: &GroupEvent) {
    let session = session.0;
    match event {
        GroupEvent::StateChanged(state) => debug!(session, %state, "state changed"),
        GroupEvent::ReadingChanged { reading } => debug!(session, reading, "the room's state"),
        GroupEvent::ParticipantJoined(_) => debug!(session, "a participant joined"),
        GroupEvent::ParticipantLeft(_) => debug!(session, "a participant left"),
        GroupEvent::ParticipantChanged(_) => debug!(session, "a participant changed"),
        GroupEvent::ReactionAdded { .. } => trace!(session, "a reaction"),
        GroupEvent::ReactionRemoved { .. } => trace!(session, "a reaction taken back"),
        GroupEvent::Declined(_) => debug!(session, "declined"),
        GroupEvent::ApplicationChanged(_) => debug!(session, "application changed"),
        GroupEvent::RightsChanged(rights) => debug!(session, ?rights, "rights changed"),
        GroupEvent::AllowEveryoneFailed(why) => debug!(session, ?why, "rights as they were"),
        GroupEvent::ConnectionChanged { connection, .. } => {
            debug!(session, ?connection, "a connection changed");
        }
        GroupEvent::StreamsChanged { streams, .. } => {
            debug!(session, streams = streams.len(), "streams changed");
        }
        GroupEvent::MuteChanged { source, muted } => debug!(session, ?source, muted, "mute"),
        GroupEvent::HoldChanged { held } => debug!(session, held, "hold"),
        GroupEvent::MediaMissing(source) => debug!(session, ?source, "goes without"),
        GroupEvent::SwitchFailed(source) => debug!(session, ?source, "the old device goes on"),
        GroupEvent::UnverifiedDevice(_) => debug!(session, "an unverified device"),
        GroupEvent::ActiveSpeakerChanged(_) => debug!(session, "another speaks"),
        GroupEvent::BackendChanged(_) => debug!(session, "another SFU"),
        GroupEvent::SfuChanged(status) => sfu(session, status),
        GroupEvent::SfuTask(SfuTask::Connect(_)) => debug!(session, "a token to connect with"),
        GroupEvent::SfuTask(SfuTask::Renew(_)) => debug!(session, "a fresh token"),
        GroupEvent::SfuTask(SfuTask::Disconnect) => debug!(session, "the SFU is to be left"),
        GroupEvent::Key(event) => key(session, event),
        GroupEvent::Refused(why) => debug!(session, ?why, "not in the call"),
        GroupEvent::Ended(end) => debug!(session, %end, "ended"),
    }
}

/// News of media keys: fingerprints, never a key.
fn key(session: u64, event: &KeyEvent) {
    match event {
        KeyEvent::Used(KeyName { index, fingerprint }) => {
            debug!(session, index, fingerprint, "our media key is in use");
        }
        KeyEvent::Received { key: KeyName { index, fingerprint }, .. } => {
            debug!(session, index, fingerprint, "a media key");
        }
        KeyEvent::Missing(_) => debug!(session, "a media key is missing"),
        KeyEvent::Refused(_) => debug!(session, "a media key is not taken"),
        KeyEvent::Delivered { key: KeyName { index, fingerprint }, .. } => {
            debug!(session, index, fingerprint, "our media key is delivered");
        }
        KeyEvent::Undelivered { why, .. } => {
            debug!(session, ?why, "our media key is not delivered")
        }
    }
}

/// How it stands with an SFU. What its service said is a word at most.
fn sfu(session: u64, status: &SfuStatus) {
    match status {
        SfuStatus::NoToken(fault) => debug!(session, %fault, "no token"),
        SfuStatus::Off
        | SfuStatus::FindingFocus
        | SfuStatus::FetchingToken
        | SfuStatus::HandedOver
        | SfuStatus::Connecting
        | SfuStatus::Connected
        | SfuStatus::Reconnecting
        | SfuStatus::Lost(_) => debug!(session, ?status, "the SFU"),
    }
}

/// News of all calls, where a call does not tell them itself.
pub(super) fn voip(event: &VoipEvent) {
    match event {
        VoipEvent::CallAdded { session, snapshot } => {
            debug!(session = session.0, direction = ?snapshot.direction, "call added");
        }
        VoipEvent::RingStarted { session, .. } => debug!(session = session.0, "rings"),
        VoipEvent::RingStopped { session, why } => {
            debug!(session = session.0, ?why, "rings no more");
        }
        VoipEvent::Missed { why, .. } => debug!(?why, "call missed"),
        VoipEvent::TransferRequested { session, .. } => {
            debug!(session = session.0, "transfer requested");
        }
        VoipEvent::TransferAnnounced { session, .. } => {
            debug!(session = session.0, "transfer announced");
        }
        VoipEvent::UnverifiedDevice { session, .. } => {
            debug!(session = session.0, "the device is not verified");
        }
        VoipEvent::GroupCallAdded { session, .. } => {
            debug!(session = session.0, "group call added");
        }
        VoipEvent::GroupRingStarted { ring } => {
            debug!(session = ring.session.0, "a group call rings");
        }
        VoipEvent::GroupRingStopped { ring, why } => {
            debug!(session = ring.session.0, ?why, "a group call stops ringing");
        }
        VoipEvent::CallEnded { .. } | VoipEvent::GroupCallEnded { .. } => {}
    }
}

/// Something is asked of the host.
pub(super) fn request(id: OpId, op: &Op) {
    trace!(op = id.0, what = name(op), "asked");
}

/// The host could not do it.
pub(super) fn fault(id: OpId, fault: &Fault) {
    debug!(op = id.0, %fault, "failed");
}

fn name(op: &Op) -> &'static str {
    match op {
        Op::Matrix(MatrixOp::SendEvent { .. }) => "send event",
        Op::Matrix(MatrixOp::SendState { .. }) => "write state",
        Op::Matrix(MatrixOp::SendClear { .. }) => "send in the clear",
        Op::Matrix(MatrixOp::Redact { .. }) => "redact",
        Op::Matrix(MatrixOp::Delay(_)) => "delayed event",
        Op::Matrix(MatrixOp::SendToDevice { .. }) => "send to devices",
        Op::Fetch(_) => "fetch",
        Op::Peer(..) => "peer connection",
        Op::Track(..) => "track",
        Op::Sfu(..) => "SFU",
        Op::Keys(..) => "media keys",
        Op::Save(_) => "save",
    }
}
