//! One connection as Rust sees it: what its lines send, what is agreed, who takes what comes in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use matrix_voip::{
    host::{Frame, FrameSink, Media, PeerEvents, RemoteTrack, SourceControl},
    id::{PeerId, SessionId, StreamId, TrackId},
    machine::io::{
        Candidate, MediaKind, ParticipantId, PeerConfig, PeerNews, PeerState, PeerStats, Plan,
        SdpKind,
    },
    sdp,
};
use matrix_voip_engine::Tracks;
use serde_json::{Value, json};

use super::{outgoing::CODECS, slot};
use crate::clock;

/// A connection.
pub(super) struct Peer {
    /// Its number in the page, which no other ever has.
    pub(super) number: u32,
    pub(super) id: PeerId,
    session: SessionId,
    member: Option<ParticipantId>,
    events: PeerEvents,
    media: Arc<dyn Media>,
    tracks: Arc<Tracks>,
    opened: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each line sends.
    sent: Vec<(u32, TrackId)>,
    /// The same before an offer that nobody has answered.
    former: Option<Vec<(u32, TrackId)>>,
    /// Their last description.
    theirs: String,
    /// What comes in, by `mid`.
    flows: BTreeMap<String, Flow>,
    lines: BTreeMap<u32, Inbound>,
    told: Option<PeerState>,
    was_connected: bool,
    is_closed: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Flow {
    line: u32,
    stream: Option<StreamId>,
    kind: MediaKind,
}

/// Who takes the frames of a line, and how they are numbered.
#[derive(Default)]
struct Inbound {
    sink: Option<Box<dyn FrameSink>>,
    sequence: Option<u64>,
    timestamp: Option<u64>,
}

/// Something that came in by a line, as the worker writes it.
pub(super) struct Record<'a> {
    what: u8,
    pub(super) peer: u32,
    line: u32,
    codec: u8,
    timestamp: u32,
    /// Where the page knows it.
    sequence: Option<u16>,
    /// 0 to 1, where it is told.
    level: Option<f32>,
    data: &'a [u8],
}

/// The encoder of a line was asked for a key frame.
const WISH: u8 = 1;

impl<'a> Record<'a> {
    /// The first of some records, and the others.
    pub(super) fn read(from: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (length, rest) = from.split_first_chunk()?;
        let (record, others) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let ([what], record) = record.split_first_chunk()?;
        let (peer, record) = record.split_first_chunk()?;
        let (line, record) = record.split_first_chunk()?;
        let ([codec], record) = record.split_first_chunk()?;
        let (timestamp, record) = record.split_first_chunk()?;
        let (sequence, record) = record.split_first_chunk()?;
        let (level, data) = record.split_first_chunk()?;
        let record = Self {
            what: *what,
            peer: u32::from_be_bytes(*peer),
            line: u32::from_be_bytes(*line),
            codec: *codec,
            timestamp: u32::from_be_bytes(*timestamp),
            sequence: u16::try_from(i32::from_be_bytes(*sequence)).ok(),
            level: Some(f32::from_be_bytes(*level)).filter(|level| !level.is_nan()),
            data,
        };
        Some((record, others))
    }
}

impl Peer {
    pub(super) fn new(
        id: PeerId,
        config: &PeerConfig,
        events: PeerEvents,
        media: &Arc<dyn Media>,
        tracks: &Arc<Tracks>,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self {
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            id,
            session: config.session,
            member: config.member.clone(),
            events,
            media: media.clone(),
            tracks: tracks.clone(),
            opened: clock::moment(),
            state: Mutex::default(),
        }
    }

    /// A description was made for this plan, with these lines of the page.
    pub(super) fn plan(&self, kind: SdpKind, plan: &Plan, lines: &Value) {
        let sent = plan.lines.iter().filter_map(|wanted| {
            let of_slot = |line: &&Value| line["slot"] == slot(wanted.slot);
            let line = lines.as_array()?.iter().find(of_slot)?["line"].as_u64()?;
            Some((line as u32, wanted.track?))
        });
        let mut state = self.lock();
        let former = std::mem::replace(&mut state.sent, sent.collect());
        if kind == SdpKind::Offer {
            state.former.get_or_insert(former);
        }
    }

    /// The offer that nobody answered is forgotten.
    pub(super) fn roll_back(&self) {
        let mut state = self.lock();
        if let Some(former) = state.former.take() {
            state.sent = former;
        }
    }

    /// The tracks that its lines send.
    pub(super) fn wanted(&self) -> BTreeSet<TrackId> {
        self.lock().sent.iter().map(|(_, track)| *track).collect()
    }

    /// The lines that send a track.
    pub(super) fn lines_of(&self, track: TrackId) -> Vec<u32> {
        let state = self.lock();
        state.sent.iter().filter(|(_, sent)| *sent == track).map(|(line, _)| *line).collect()
    }

    /// Their description is in force.
    pub(super) fn on_described(&self, theirs: &str) {
        theirs.clone_into(&mut self.lock().theirs);
    }

    /// Two descriptions are in force: what flows now, by the lines of the page.
    pub(super) fn on_agreed(&self, agreed: &Value) {
        let Some(agreed) = agreed.as_array() else { return };
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        state.former = None;
        let flows = flows(agreed, &state.theirs);
        let before = std::mem::replace(&mut state.flows, flows.clone());
        for (mid, flow) in before.iter().filter(|(mid, flow)| flows.get(*mid) != Some(flow)) {
            state.lines.entry(flow.line).or_default().sink = None;
            self.events.report(PeerNews::TrackRemoved { mid: mid.clone() });
        }
        for (mid, flow) in flows.iter().filter(|(mid, flow)| before.get(*mid) != Some(flow)) {
            let sink = self.media.sink(self.remote(mid, flow));
            state.lines.entry(flow.line).or_default().sink = sink;
            let (mid, stream, kind) = (mid.clone(), flow.stream.clone(), flow.kind);
            self.events.report(PeerNews::TrackAdded { mid, stream, kind });
        }
    }

    fn remote(&self, mid: &str, flow: &Flow) -> RemoteTrack {
        RemoteTrack {
            session: self.session,
            member: self.member.clone(),
            peer: self.id,
            mid: mid.to_owned(),
            stream: flow.stream.clone(),
            kind: flow.kind,
        }
    }

    /// The page tells something.
    pub(super) fn on_news(&self, said: &Value) {
        if said["gathered"] == true {
            self.events.report(PeerNews::GatheringDone);
        }
        if let Some(text) = said["candidate"]["candidate"].as_str() {
            let told = &said["candidate"];
            self.events.report(PeerNews::Candidate(Candidate {
                candidate: text.into(),
                sdp_mid: told["sdpMid"].as_str().map(str::to_owned),
                sdp_m_line_index: told["sdpMLineIndex"].as_u64().map(|index| index as u32),
                username_fragment: told["usernameFragment"].as_str().map(str::to_owned),
            }));
        }
        let state = match said["state"].as_str() {
            Some("connecting") => PeerState::Connecting,
            Some("connected") => PeerState::Connected,
            Some("disconnected") => PeerState::Disconnected,
            Some("failed") => PeerState::Failed,
            _ => return,
        };
        self.on_state(state);
    }

    fn on_state(&self, now: PeerState) {
        let mut state = self.lock();
        // A restart of a working connection is no news.
        let is_restart = now == PeerState::Connecting && state.was_connected;
        if is_restart || state.told == Some(now) {
            return;
        }
        state.told = Some(now);
        state.was_connected |= now == PeerState::Connected;
        self.events.report(PeerNews::State(now));
    }

    /// Something came in by a line; the command that follows from it.
    pub(super) fn on_arrived(&self, record: &Record<'_>) -> Option<Value> {
        let mut state = self.lock();
        if record.what == WISH {
            let track = state.sent.iter().find(|(line, _)| *line == record.line)?.1;
            self.tracks.control(self.id, track, SourceControl::KeyFrame);
            return None;
        }
        let inbound = state.lines.get_mut(&record.line)?;
        let codec = *CODECS.get(usize::from(record.codec))?;
        let last = inbound.sequence;
        let sequence = record.sequence.map(|low| nearest(last, u64::from(low), 1 << 16));
        let timestamp = nearest(inbound.timestamp, u64::from(record.timestamp), 1 << 32);
        (inbound.sequence, inbound.timestamp) = (sequence, Some(timestamp));
        let follows = |last: u64| sequence.is_none_or(|sequence| sequence == last + 1);
        let frame = Frame {
            // Of VP8 the first bit of all says it; nothing else has pictures here.
            key_frame: codec.kind() == MediaKind::Audio || record.data.first()? & 1 == 0,
            sequence,
            contiguous: last.is_some_and(follows),
            audio_level: record.level.map(dbov),
            arrival: Some(clock::moment() - self.opened),
            ..Frame::new(codec, timestamp, record.data.to_vec())
        };
        let sink = inbound.sink.as_mut()?;
        sink.push(frame);
        let wants = codec.kind() == MediaKind::Video && sink.wants_key_frame();
        wants.then(|| json!({ "do": "keyFrame", "id": self.number, "line": record.line }))
    }

    /// What the sinks say of what comes in.
    pub(super) fn hear(&self, stats: &mut PeerStats) {
        let state = self.lock();
        for stream in &mut stats.inbound {
            let line = state.flows.get(&stream.mid).and_then(|flow| state.lines.get(&flow.line));
            let sink = line.and_then(|line| line.sink.as_ref());
            stream.playout = sink.and_then(|sink| sink.playout());
        }
    }

    /// Nobody takes anything any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        *state = State { is_closed: true, ..State::default() };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes in, of what is agreed; the streams are named in their description.
fn flows(agreed: &[Value], theirs: &str) -> BTreeMap<String, Flow> {
    let named = sdp::media_lines(theirs);
    let flow = |line: &Value| {
        let comes = ["sendrecv", "recvonly"].contains(&line["direction"].as_str()?);
        let mid = line["mid"].as_str().filter(|_| comes)?;
        let stream = named.iter().find(|named| named.mid == Some(mid))?.stream.clone();
        let kind = if line["kind"] == "audio" { MediaKind::Audio } else { MediaKind::Video };
        Some((mid.to_owned(), Flow { line: line["line"].as_u64()? as u32, stream, kind }))
    };
    agreed.iter().filter_map(flow).collect()
}

/// The value next to `last` that is `low` modulo `modulus`.
fn nearest(last: Option<u64>, low: u64, modulus: u64) -> u64 {
    // Room below the first one, so that late ones do not fall under zero.
    let Some(last) = last else { return modulus + low };
    let base = last - last % modulus + low;
    let all = [base.checked_sub(modulus), Some(base), base.checked_add(modulus)];
    all.into_iter().flatten().min_by_key(|one| one.abs_diff(last)).unwrap_or(base)
}

/// A level of 0 to 1 in dBov.
fn dbov(level: f32) -> i8 {
    (20.0 * level.log10()).round().clamp(-127.0, 0.0) as i8
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peer({} in the page)", self.number)
    }
}
