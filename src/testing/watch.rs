//! The invariants of the machine's contract, checked after every step of a simulation.
//!
//! One [`Watch`] looks at one engine: what it asked for, what it was answered, what it told. What
//! breaks a rule is a text; `Sim` panics with it, the seed and the column of what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{cue::OpKind, sdp};
use crate::{
    id::{CallId, EventId, OpId, PeerId, RoomId, SessionId, TrackId},
    machine::{
        Engine,
        diagnostics::KEPT,
        event::{CallEvent, CallSnapshot, CallState, VoipEvent},
        group::{
            event::{GroupEvent, GroupSnapshot, GroupState, SfuStatus},
            ringing::IncomingRing,
        },
        io::{
            DelayOp, Fetch, Ignored, KeyOp, MatrixOp, Op, Output, PeerOp, SfuOp, TrackOp, Verdict,
        },
    },
    wire::{self, ledger::MAX_LEDGER_BYTES},
};

/// Stands in every TURN password of the kit: whoever prints one is found by it.
pub(super) const TURN_SECRET: &str = "fakeTurnSecret";

/// Every media key of the kit begins with it.
pub(super) const KEY_MARK: [u8; 8] = *b"mediaKey";
/// As it is seen: in base64, and as numbers.
const KEY_SECRETS: [&str; 3] = ["bWVkaWFLZX", "109, 101, 100, 105, 97, 75", "6d656469614b"];
/// Every token of the kit's SFU begins with it.
pub(super) const TOKEN_SECRET: &str = "fake.token";
/// Every OpenID token of the kit begins with it.
pub(super) const OPEN_ID_SECRET: &str = "fakeOpenId";

/// One call as its events tell it.
#[derive(Debug, Clone)]
pub(super) struct SeenCall {
    /// All its events folded.
    pub(super) folded: CallSnapshot,
    /// As they came.
    pub(super) events: Vec<CallEvent>,
    pub(super) ringing: bool,
    ended: bool,
    end_told: bool,
}

/// One group call as its events tell it.
#[derive(Debug, Clone)]
pub(super) struct SeenGroup {
    /// All its events folded.
    pub(super) folded: GroupSnapshot,
    /// As they came.
    pub(super) events: Vec<GroupEvent>,
    end_told: bool,
}

/// Everything that one engine asked and told.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    pub(super) calls: BTreeMap<SessionId, SeenCall>,
    pub(super) groups: BTreeMap<SessionId, SeenGroup>,
    pub(super) voip: Vec<VoipEvent>,
    awaited: BTreeSet<OpId>,
    asked: BTreeSet<OpId>,
    peers: BTreeSet<PeerId>,
    tracks: BTreeSet<TrackId>,
    sfus: BTreeSet<SessionId>,
    transactions: BTreeSet<String>,
    /// Calls with a message that the homeserver has not answered.
    sending: BTreeMap<OpId, (RoomId, CallId)>,
    /// What rings of group calls.
    pub(super) rings: BTreeMap<(RoomId, EventId), IncomingRing>,
    /// Rooms whose state is being written.
    writing: BTreeMap<OpId, (RoomId, String)>,
    digest: u64,
    /// Neither searched for secrets nor mixed into the digest.
    quick: bool,
}

type Rule = Result<(), String>;

impl Watch {
    /// One that looks at what happens, not at how it prints: for searches that see millions of
    /// steps.
    pub(super) fn quick() -> Self {
        Self { quick: true, ..Self::default() }
    }

    /// A number that is the same for the same outputs.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether a request is still to be answered.
    pub(super) fn awaits(&self, id: OpId) -> bool {
        self.awaited.contains(&id)
    }

    /// Whether anything is asked that was not answered.
    pub(super) fn is_idle(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Whether a call has not ended, or we are in a group call.
    pub(super) fn has_live_calls(&self) -> bool {
        let within = |group: &SeenGroup| {
            matches!(group.folded.state, GroupState::Entering | GroupState::Entered)
        };
        self.calls.values().any(|call| !call.ended) || self.groups.values().any(within)
    }

    /// Looks at one output.
    pub(super) fn on_output(&mut self, output: &Output) -> Rule {
        if !self.quick {
            let text = format!("{output:?}");
            leaks(&text)?;
            self.mix(&text);
        }
        match output {
            Output::Request { id, op } => self.on_request(*id, op),
            Output::Cancel(id) => {
                let cancelled = self.awaited.remove(id);
                self.sending.remove(id);
                self.writing.remove(id);
                rule(cancelled, || format!("cancelled {id}, which is not open"))
            }
            Output::Voip(event) => self.on_voip(event),
            Output::Call { session, event } => self.on_call(*session, event),
            Output::Group { session, event } => self.on_group(*session, event),
        }
    }

    /// Looks at the verdict on a reply. `first`: the request was open.
    pub(super) fn on_reply(&mut self, id: OpId, verdict: &Verdict) -> Rule {
        let open = self.awaited.remove(&id);
        self.sending.remove(&id);
        self.writing.remove(&id);
        let stale = *verdict == Verdict::Ignored(Ignored::StaleReply);
        rule(open || stale, || format!("a second reply to {id} got {verdict:?}"))?;
        rule(!open || !stale, || format!("the reply to the open request {id} was called stale"))
    }

    /// Looks at an engine that has nothing to say.
    pub(super) fn on_step(&mut self, engine: &Engine) -> Rule {
        for (session, call) in &self.calls {
            let snapshot = engine.snapshot(*session);
            rule(call.ended || snapshot.is_some(), || {
                format!("live call {session} has no snapshot")
            })?;
            rule(snapshot.as_ref().is_none_or(|now| *now == call.folded), || {
                format!("events fold to {:#?}\nbut the snapshot is {snapshot:#?}", call.folded)
            })?;
            let state = call.folded.state;
            rule((state == CallState::Ringing) == call.ringing, || {
                format!("call {session} is {state}, and its ringing is {}", call.ringing)
            })?;
            let waits =
                matches!(state, CallState::Ringing | CallState::InviteSent | CallState::Connecting);
            rule(!waits || engine.poll_timeout().is_some(), || {
                format!("call {session} is {state}, and nothing would ever end that")
            })?;
            rule(call.ended == call.end_told, || {
                format!("call {session}: Ended and CallEnded do not go together")
            })?;
        }
        for (session, group) in &self.groups {
            let snapshot = engine.group_snapshot(*session);
            let folded = (group.folded.end.is_none()).then_some(&group.folded);
            rule(snapshot.as_ref() == folded, || {
                format!("events fold to {folded:#?}\nbut the snapshot is {snapshot:#?}")
            })?;
            rule(group.folded.end.is_some() == group.end_told, || {
                format!("group call {session}: Ended and GroupCallEnded do not go together")
            })?;
        }
        rule(engine.diagnostics().latest().len() <= KEPT, || {
            "diagnostics grow without bound".to_owned()
        })?;
        self.on_rest()
    }

    /// Looks at the whole engine as text. Slow.
    pub(super) fn on_debug(engine: &Engine) -> Rule {
        leaks(&format!("{engine:?}"))
    }

    /// When no call lives, nothing is left open.
    fn on_rest(&self) -> Rule {
        if self.has_live_calls() {
            return Ok(());
        }
        rule(self.peers.is_empty(), || format!("peers left open: {:?}", self.peers))?;
        rule(self.sfus.is_empty(), || format!("SFUs left open: {:?}", self.sfus))?;
        rule(self.tracks.is_empty(), || format!("tracks left open: {:?}", self.tracks))
    }

    fn on_request(&mut self, id: OpId, op: &Op) -> Rule {
        rule(self.asked.insert(id), || format!("request id {id} was used twice"))?;
        self.allowed_now(op)?;
        match op {
            Op::Peer(peer, op) => self.on_peer_op(*peer, op)?,
            Op::Track(track, op) | Op::Sfu(_, SfuOp::Track(track, op)) => {
                self.on_track_op(*track, op)?;
            }
            Op::Sfu(call, SfuOp::Connect(_)) => {
                rule(self.sfus.insert(*call), || format!("call {call} connects twice"))?;
            }
            Op::Sfu(call, SfuOp::Disconnect) => {
                rule(self.sfus.remove(call), || format!("call {call} is not connected"))?;
            }
            Op::Sfu(..) | Op::Keys(..) => {}
            Op::Matrix(send) => self.on_send(id, send)?,
            Op::Save(ledger) => {
                let bytes = ledger.to_bytes().len();
                rule(bytes <= MAX_LEDGER_BYTES, || format!("a ledger of {bytes} bytes"))?;
            }
            Op::Fetch(_) => {}
        }
        self.awaited.insert(id);
        Ok(())
    }

    /// One message of a call is in flight at a time; after its end only a last word, and what was
    /// tried before.
    fn on_send(&mut self, id: OpId, send: &MatrixOp) -> Rule {
        let (room, event_type, content, transaction) = match send {
            MatrixOp::SendEvent { room, event_type, content, transaction } => {
                (room, event_type, content, transaction)
            }
            MatrixOp::SendToDevice { event_type, content, .. } => {
                return self.on_signal(id, event_type, content.expose());
            }
            MatrixOp::SendClear { event_type, content, .. } => {
                return readable(event_type, content);
            }
            MatrixOp::Redact { content, .. } => return readable("m.room.redaction", content),
            MatrixOp::SendState { .. } => return self.on_write(id, send),
            MatrixOp::Delay(DelayOp::Schedule { content, .. }) => {
                let read = wire::member::read_members(wire::member::Dialect::Famedly, content);
                if !self.quick {
                    self.mix(content);
                }
                return rule(read.is_ok(), || "it schedules what cannot be read".to_owned());
            }
            MatrixOp::Delay(_) => return Ok(()),
        };
        if !self.quick {
            self.mix(content);
        }
        let known = !self.transactions.insert(transaction.clone());
        // Around a group call several may be under way at once.
        if let Some(Ok(_)) = wire::rtc::read_rtc_event(event_type, content, None) {
            return Ok(());
        }
        let Some(Ok(message)) = wire::read::read(event_type, content) else {
            return Err(format!("it sends {event_type}, which cannot be read"));
        };
        // Another room may have a call of the same id.
        let place = (room.clone(), message.header.call_id);
        self.wait_for_answer(id, event_type, &place)?;
        let call = place.1;
        // An id may name another call once nobody can take it for the former any more.
        let of_id = self.calls.values();
        let of_id = of_id.filter(|seen| seen.folded.call_id == call && seen.folded.room == *room);
        let ended = of_id.max_by_key(|seen| !seen.ended).is_some_and(|seen| seen.ended);
        let last_words = ["m.call.hangup", "m.call.reject", "m.call.select_answer"];
        let allowed = !ended || known || last_words.contains(&event_type.as_str());
        rule(allowed, || format!("{event_type} after the end of the call"))
    }

    fn wait_for_answer(&mut self, id: OpId, event_type: &str, place: &(RoomId, CallId)) -> Rule {
        let busy = self.sending.values().any(|other| other == place);
        rule(!busy, || format!("{event_type} before the last message was answered"))?;
        self.sending.insert(id, place.clone());
        Ok(())
    }

    /// One message of a leg is in flight at a time, and it names room, group call and both visits.
    fn on_signal(&mut self, id: OpId, event_type: &str, content: &str) -> Rule {
        if !self.quick {
            self.mix(content);
        }
        if let Some(read) = wire::keys::read_key_event(event_type, content) {
            return rule(read.is_ok(), || "it sends a key that cannot be read".to_owned());
        }
        let Some(Ok(message)) = wire::read::read(event_type, content) else {
            return Err(format!("it sends {event_type}, which cannot be read"));
        };
        let leg =
            message.header.leg.filter(|leg| leg.sender_session_id.is_some() && leg.seq.is_some());
        let Some(room) = leg.and_then(|leg| leg.room_id) else {
            return Err(format!("{event_type} does not say of which leg it is"));
        };
        self.wait_for_answer(id, event_type, &(room, message.header.call_id))
    }

    /// One write of a kind of state is under way in a room at a time.
    fn on_write(&mut self, id: OpId, write: &MatrixOp) -> Rule {
        let MatrixOp::SendState { room, event_type, content, .. } = write else { return Ok(()) };
        if !self.quick {
            self.mix(content);
        }
        let sound = match wire::member::Dialect::of(event_type) {
            Some(dialect) => wire::member::read_members(dialect, content).is_ok(),
            None => wire::power::PowerLevels::read(content).is_ok(),
        };
        rule(sound, || format!("it writes {event_type}, which cannot be read"))?;
        let what = (room.clone(), event_type.clone());
        let busy = self.writing.values().any(|other| *other == what);
        rule(!busy, || format!("{event_type} before the last write was answered"))?;
        self.writing.insert(id, what);
        Ok(())
    }

    /// After the end of all calls only closing, releasing and what is still to be sent.
    fn allowed_now(&self, op: &Op) -> Rule {
        let farewell = match op {
            Op::Peer(_, op) => *op == PeerOp::Close,
            Op::Track(_, op) | Op::Sfu(_, SfuOp::Track(_, op)) => *op == TrackOp::Release,
            Op::Sfu(_, op) => *op == SfuOp::Disconnect,
            Op::Keys(_, op) => *op == KeyOp::Forget(None),
            Op::Matrix(_) | Op::Save(_) => true,
            Op::Fetch(Fetch::State(_)) => true,
            Op::Fetch(Fetch::Turn | Fetch::Members(_)) => false,
            Op::Fetch(Fetch::OpenId | Fetch::SfuToken(_)) => false,
            Op::Fetch(Fetch::Transports | Fetch::KeyMaterial) => false,
        };
        rule(farewell || self.has_live_calls(), || {
            format!("with no live call it asks for {:?}", OpKind::of(op))
        })
    }

    fn on_peer_op(&mut self, peer: PeerId, op: &PeerOp) -> Rule {
        match op {
            PeerOp::Open(_) => {
                rule(self.peers.insert(peer), || format!("peer {peer} opened twice"))
            }
            PeerOp::Close => {
                rule(self.peers.remove(&peer), || format!("peer {peer} closed but not open"))
            }
            _ => rule(self.peers.contains(&peer), || format!("peer {peer} used but not open")),
        }
    }

    fn on_track_op(&mut self, track: TrackId, op: &TrackOp) -> Rule {
        match op {
            TrackOp::Capture(..) => {
                rule(self.tracks.insert(track), || format!("track {track} captured twice"))
            }
            TrackOp::Release => rule(self.tracks.remove(&track), || {
                format!("track {track} released but not captured")
            }),
            TrackOp::Enable(_) | TrackOp::Replace(..) | TrackOp::Dtmf(_) => {
                rule(self.tracks.contains(&track), || format!("track {track} is not captured"))
            }
        }
    }

    fn on_voip(&mut self, event: &VoipEvent) -> Rule {
        if !self.quick {
            self.voip.push(event.clone());
        }
        match event {
            VoipEvent::CallAdded { session, snapshot } => {
                let call = SeenCall {
                    folded: (**snapshot).clone(),
                    events: Vec::new(),
                    ringing: false,
                    ended: false,
                    end_told: false,
                };
                let old = self.calls.insert(*session, call);
                rule(old.is_none(), || format!("call {session} was added twice"))
            }
            VoipEvent::RingStarted { session, .. } => self.on_ring(*session, true),
            VoipEvent::RingStopped { session, .. } => self.on_ring(*session, false),
            VoipEvent::GroupRingStarted { ring } => {
                let id = (ring.room.clone(), ring.notification.clone());
                self.group(ring.session)?;
                let old = self.rings.insert(id, (**ring).clone());
                rule(old.is_none(), || "a group call rings twice".to_owned())
            }
            VoipEvent::GroupRingStopped { ring, .. } => {
                let id = (ring.room.clone(), ring.notification.clone());
                rule(self.rings.remove(&id).is_some(), || "what did not ring stops".to_owned())
            }
            VoipEvent::Missed { .. }
            | VoipEvent::TransferRequested { .. }
            | VoipEvent::TransferAnnounced { .. }
            | VoipEvent::UnverifiedDevice { .. } => Ok(()),
            VoipEvent::CallEnded { session, end } => {
                let call = self.call(*session)?;
                rule(!call.end_told, || format!("call {session} ended twice for all"))?;
                call.end_told = true;
                let told = call.folded.end.as_ref();
                rule(told.is_none_or(|told| told == end), || {
                    format!("call {session} ended with {told:?} and with {end:?}")
                })
            }
            VoipEvent::GroupCallAdded { session, snapshot } => {
                let folded = (**snapshot).clone();
                let group = SeenGroup { folded, events: Vec::new(), end_told: false };
                let old = self.groups.insert(*session, group);
                rule(old.is_none(), || format!("group call {session} was added twice"))
            }
            VoipEvent::GroupCallEnded { session, end } => {
                let group = self.group(*session)?;
                rule(!group.end_told, || format!("group call {session} ended twice for all"))?;
                group.end_told = true;
                let told = group.folded.end;
                rule(told == Some(*end), || {
                    format!("group call {session} ended with {told:?} and with {end:?}")
                })
            }
        }
    }

    fn on_ring(&mut self, session: SessionId, on: bool) -> Rule {
        let call = self.call(session)?;
        rule(call.ringing != on, || format!("call {session}: ringing was already {on}"))?;
        rule(!on || !call.ended, || format!("call {session} rings after its end"))?;
        call.ringing = on;
        Ok(())
    }

    fn on_call(&mut self, session: SessionId, event: &CallEvent) -> Rule {
        let quick = self.quick;
        let call = self.call(session)?;
        rule(!call.ended, || format!("call {session}: {event:?} after its end"))?;
        call.ended = matches!(event, CallEvent::Ended(_));
        call.folded.apply(event);
        if !quick {
            call.events.push(event.clone());
        }
        Ok(())
    }

    fn on_group(&mut self, session: SessionId, event: &GroupEvent) -> Rule {
        let quick = self.quick;
        let group = self.group(session)?;
        let ended = group.folded.end.is_some();
        rule(!ended, || format!("group call {session}: {event:?} after its end"))?;
        group.folded.apply(event);
        if !quick {
            group.events.push(event.clone());
        }
        // What is lost need not be left.
        if matches!(event, GroupEvent::SfuChanged(SfuStatus::Lost(_))) {
            self.sfus.remove(&session);
        }
        Ok(())
    }

    fn group(&mut self, session: SessionId) -> Result<&mut SeenGroup, String> {
        let missing = || format!("news of group call {session}, which was never added");
        self.groups.get_mut(&session).ok_or_else(missing)
    }

    fn call(&mut self, session: SessionId) -> Result<&mut SeenCall, String> {
        let missing = || format!("news of call {session}, which was never added");
        self.calls.get_mut(&session).ok_or_else(missing)
    }

    fn mix(&mut self, text: &str) {
        let mut hasher = DefaultHasher::new();
        self.digest.hash(&mut hasher);
        text.hash(&mut hasher);
        self.digest = hasher.finish();
    }
}

fn rule(holds: bool, broken: impl FnOnce() -> String) -> Rule {
    if holds { Ok(()) } else { Err(broken()) }
}

fn readable(event_type: &str, content: &str) -> Rule {
    let read = wire::rtc::read_rtc_event(event_type, content, None);
    rule(matches!(read, Some(Ok(_))), || format!("it sends {event_type}, which cannot be read"))
}

fn leaks(text: &str) -> Rule {
    let secrets = [sdp::SECRET, sdp::ADDRESS, TURN_SECRET].into_iter();
    let mut secrets = secrets.chain(KEY_SECRETS).chain([TOKEN_SECRET, OPEN_ID_SECRET]);
    let found = secrets.find(|secret| text.contains(secret));
    rule(found.is_none(), || format!("{found:?} can be read in {text}"))
}
