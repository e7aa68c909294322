//! WebRTC without media, as a value: descriptions, candidates, states.
//!
//! One [`FakeWebRtc`] holds the peer connections of all engines of a test, each engine by its
//! [`Seat`]. Two connections connect when each has in force what the other describes, and each
//! knows a candidate of the other. That is stricter than ICE, which finds its way when one side
//! knows: so a test sees when candidates are lost on one way.
//!
//! It is strict with its user as well: an op that makes no sense in the state of the connection
//! fails as in a real engine, and is noted as [misuse](FakeWebRtc::misuse), which `Sim` does not
//! let pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use super::fake_peer::FakePeer;
use super::{
    fake_peer::Signaling,
    sdp::{self, Line},
};
use crate::{
    id::{PeerId, TrackId},
    machine::{
        io::{
            Candidate, Capture, Description, Fault, MediaSource, PeerConfig, PeerNews, PeerOp,
            PeerState, PeerStats, Plan, Reply, SdpKind, TrackOp,
        },
        playout::Playout,
    },
    redact::Redacted,
};

/// One engine of a test: whose peer connections and tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(pub u32);

/// How an engine behaves where it does what it is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Habits {
    /// When each local candidate is found, from the moment our description is in force.
    pub candidates: Vec<Duration>,
    /// When gathering is over, from the same moment.
    pub gathered: Duration,
    /// How long ICE and DTLS take; `None`: they never come about.
    pub connect: Option<Duration>,
    /// Whether it can send and take tones.
    pub tones: bool,
    /// How loud its user is, in dBov: what the other ends measure while its microphone is sent.
    pub voice: i8,
    /// How long ago the last packet of others came, where they are sent.
    pub silence: Duration,
    /// How the sinks say that others are heard; the counters, from one measurement to the next.
    pub playout: Option<Playout>,
    /// Tracks whose device is gone.
    pub without_device: Vec<TrackId>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            candidates: vec![Duration::from_millis(10), Duration::from_millis(20)],
            gathered: Duration::from_millis(30),
            connect: Some(Duration::from_millis(50)),
            tones: true,
            voice: -127,
            silence: Duration::ZERO,
            playout: None,
            without_device: Vec::new(),
        }
    }
}

impl Habits {
    /// A description without what the engine cannot do.
    fn speaks(&self, sdp: String) -> String {
        if self.tones { sdp } else { sdp.replace("telephone-event", "CN") }
    }
}

/// Something that happens later by itself; hand it back with [`FakeWebRtc::happen`] when its time
/// has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Whose.
    pub seat: Seat,
    /// Which connection.
    pub peer: PeerId,
    /// When, from now.
    pub after: Duration,
    what: Later,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Later {
    /// The n-th candidate is found.
    Candidate(usize),
    GatheringDone,
    News(PeerNews),
}

/// What became of an op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performed {
    /// The answer.
    pub result: Result<Reply, Fault>,
    /// What follows by itself.
    pub follow_ups: Vec<FollowUp>,
}

/// A local track, for tests to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeTrack {
    /// What it is.
    pub capture: Capture,
    /// Whether it is sent.
    pub enabled: bool,
    /// The tones that were sent.
    pub dialled: String,
}

/// Two connections that found each other.
type Pair = ((Seat, PeerId), (Seat, PeerId));

/// All fake engines of a test.
#[derive(Debug, Clone, Default)]
pub struct FakeWebRtc {
    habits: BTreeMap<Seat, Habits>,
    peers: BTreeMap<(Seat, PeerId), FakePeer>,
    tracks: BTreeMap<(Seat, TrackId), FakeTrack>,
    closed: BTreeSet<(Seat, PeerId)>,
    released: BTreeSet<(Seat, TrackId)>,
    /// Connections that found each other, with the credentials of both.
    linked: BTreeMap<Pair, (String, String)>,
    misuse: Vec<String>,
    minted: u64,
}

impl FakeWebRtc {
    /// No connections yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how an engine behaves.
    pub fn set_habits(&mut self, seat: Seat, habits: Habits) {
        self.habits.insert(seat, habits);
    }

    /// How an engine behaves.
    pub fn habits(&self, seat: Seat) -> Habits {
        self.habits.get(&seat).cloned().unwrap_or_default()
    }

    /// A connection that is open.
    pub fn peer(&self, seat: Seat, peer: PeerId) -> Option<&FakePeer> {
        self.peers.get(&(seat, peer))
    }

    /// All open connections of an engine.
    pub fn peers(&self, seat: Seat) -> impl Iterator<Item = (PeerId, &FakePeer)> {
        let of_seat = self.peers.iter().filter(move |((of, _), _)| *of == seat);
        of_seat.map(|((_, id), peer)| (*id, peer))
    }

    /// All open tracks of an engine.
    pub fn tracks(&self, seat: Seat) -> impl Iterator<Item = (TrackId, &FakeTrack)> {
        let of_seat = self.tracks.iter().filter(move |((of, _), _)| *of == seat);
        of_seat.map(|((_, id), track)| (*id, track))
    }

    /// Ops that made no sense, with why.
    pub fn misuse(&self) -> &[String] {
        &self.misuse
    }

    /// The process of an engine died: everything it held is gone, and the other sides notice.
    pub fn crash(&mut self, seat: Seat) -> Vec<FollowUp> {
        let mut follow_ups = Vec::new();
        let ids: Vec<PeerId> = self.peers(seat).map(|(id, _)| id).collect();
        for peer in ids {
            self.unlink((seat, peer), &mut follow_ups);
        }
        self.peers.retain(|(of, _), _| *of != seat);
        self.tracks.retain(|(of, _), _| *of != seat);
        follow_ups
    }

    /// The network does this to every open connection of an engine.
    pub fn force(&mut self, seat: Seat, state: PeerState) -> Vec<FollowUp> {
        let ids: Vec<PeerId> = self.peers(seat).map(|(id, _)| id).collect();
        let told = ids.into_iter().map(|peer| news(seat, peer, PeerNews::State(state)));
        told.collect()
    }

    /// The network is back for every connection of an engine that has an other end.
    pub fn reconnect(&mut self, seat: Seat) -> Vec<FollowUp> {
        let ids: Vec<PeerId> = self.peers(seat).map(|(id, _)| id).collect();
        let linked = ids.into_iter().filter(|peer| self.is_linked(seat, *peer));
        let back = PeerNews::State(PeerState::Connected);
        linked.map(|peer| news(seat, peer, back.clone())).collect()
    }

    /// Whether a connection has an other end.
    pub fn is_linked(&self, seat: Seat, peer: PeerId) -> bool {
        self.linked.keys().any(|pair| other_end(pair, (seat, peer)).is_some())
    }

    /// What comes in: the voice at the other end, if it is sent.
    fn measure(&mut self, end: (Seat, PeerId)) -> PeerStats {
        let other = self.linked.keys().find_map(|pair| other_end(pair, end));
        let sent = other.filter(|(seat, _)| {
            let sent = |track: &FakeTrack| {
                track.enabled && track.capture.source == MediaSource::Microphone
            };
            self.tracks(*seat).any(|(_, track)| sent(track))
        });
        let voice = sent.map(|(seat, _)| self.habits(seat).voice);
        let habits = self.habits(end.0);
        self.held(end.0, end.1).measure(&habits, voice)
    }

    /// Does something with a local track.
    pub fn track(&mut self, seat: Seat, track: TrackId, op: TrackOp) -> Result<Reply, Fault> {
        match op {
            TrackOp::Capture(_, capture) => {
                if self.released.contains(&(seat, track)) {
                    return Err(Fault::Cancelled);
                }
                self.tracks.insert(
                    (seat, track),
                    FakeTrack { capture, enabled: true, dialled: String::new() },
                );
            }
            TrackOp::Enable(on) => match self.tracks.get_mut(&(seat, track)) {
                Some(found) => found.enabled = on,
                None => return Err(Fault::NotFound),
            },
            TrackOp::Replace(_, capture) => match self.tracks.get_mut(&(seat, track)) {
                Some(found) => found.capture = capture,
                None => return Err(Fault::NotFound),
            },
            TrackOp::Dtmf(tones) => match self.tracks.get_mut(&(seat, track)) {
                Some(found) => found.dialled.push_str(tones.digits().expose()),
                None => return Err(Fault::NotFound),
            },
            TrackOp::Release => {
                self.tracks.remove(&(seat, track));
                self.released.insert((seat, track));
            }
        }
        Ok(Reply::Done)
    }

    /// Does something with a peer connection.
    pub fn perform(&mut self, seat: Seat, peer: PeerId, op: &PeerOp) -> Performed {
        let mut follow_ups = Vec::new();
        let result = match op {
            PeerOp::Open(config) => self.open(seat, peer, config),
            PeerOp::Close => self.close(seat, peer, &mut follow_ups),
            _ if !self.peers.contains_key(&(seat, peer)) => self.missing(seat, peer),
            PeerOp::Offer(plan) => self.offer(seat, peer, plan),
            PeerOp::Answer(plan) => self.answer(seat, peer, plan),
            PeerOp::SetLocal(ours) => self.set_local(seat, peer, ours, &mut follow_ups),
            PeerOp::LocalDescription => self.local_description(seat, peer),
            PeerOp::SetRemote(theirs) => self.set_remote(seat, peer, theirs, &mut follow_ups),
            PeerOp::Candidates(candidates) => self.candidates(seat, peer, candidates),
            PeerOp::Rollback => self.rollback(seat, peer),
            PeerOp::RestartIce => self.restart_ice(seat, peer),
            PeerOp::SetServers(servers) => {
                self.held(seat, peer).config.ice_servers.clone_from(servers);
                Ok(Reply::Done)
            }
            PeerOp::Stats => Ok(Reply::Stats(Box::new(self.measure((seat, peer))))),
        };
        self.link(&mut follow_ups);
        Performed { result, follow_ups }
    }

    /// What is to be told now that the time of a follow-up has come; nothing when the connection
    /// is closed meanwhile.
    pub fn happen(&mut self, follow_up: FollowUp) -> Option<PeerNews> {
        let peer = self.peers.get_mut(&(follow_up.seat, follow_up.peer))?;
        Some(match follow_up.what {
            Later::Candidate(place) => {
                peer.found = peer.found.max(place + 1);
                PeerNews::Candidate(sdp::candidate(&peer.credentials, place))
            }
            Later::GatheringDone => {
                peer.gathered = true;
                PeerNews::GatheringDone
            }
            Later::News(news) => {
                if let PeerNews::State(state) = &news {
                    peer.state = Some(*state);
                }
                news
            }
        })
    }

    fn open(&mut self, seat: Seat, id: PeerId, config: &PeerConfig) -> Result<Reply, Fault> {
        if self.closed.contains(&(seat, id)) {
            return Err(Fault::Cancelled);
        }
        if self.peers.contains_key(&(seat, id)) {
            return self.wrong(seat, id, "opened twice");
        }
        let credentials = self.mint(seat);
        let peer = FakePeer::new(config.clone(), credentials);
        self.peers.insert((seat, id), peer);
        Ok(Reply::Done)
    }

    fn close(
        &mut self,
        seat: Seat,
        peer: PeerId,
        follow_ups: &mut Vec<FollowUp>,
    ) -> Result<Reply, Fault> {
        self.peers.remove(&(seat, peer));
        self.closed.insert((seat, peer));
        self.unlink((seat, peer), follow_ups);
        Ok(Reply::Done)
    }

    /// The other side notices after a while that nothing comes any more.
    fn unlink(&mut self, end: (Seat, PeerId), follow_ups: &mut Vec<FollowUp>) {
        let lost: Vec<_> = self.linked.keys().filter_map(|pair| other_end(pair, end)).collect();
        self.linked.retain(|pair, _| other_end(pair, end).is_none());
        for (seat, peer) in lost {
            let gone = news(seat, peer, PeerNews::State(PeerState::Disconnected));
            follow_ups.push(FollowUp { after: Duration::from_secs(5), ..gone });
        }
    }

    fn offer(&mut self, seat: Seat, id: PeerId, plan: &Plan) -> Result<Reply, Fault> {
        let (version, fresh) = (self.next(), self.mint(seat));
        let peer = self.held(seat, id);
        if peer.signaling == Signaling::Theirs {
            return self.wrong(seat, id, "offer over a remote offer");
        }
        peer.remember();
        if std::mem::take(&mut peer.restart) {
            peer.credentials = fresh;
        }
        for line in &plan.lines {
            let place = peer.slots.get(&line.slot).copied();
            let made = Line::of(line);
            match place {
                Some(place) => peer.lines[place] = made,
                None => {
                    peer.slots.insert(line.slot, peer.lines.len());
                    peer.lines.push(made);
                }
            }
        }
        let text = sdp::write(&peer.credentials, version, &peer.lines, SdpKind::Offer);
        Ok(described(SdpKind::Offer, self.habits(seat).speaks(text)))
    }

    fn answer(&mut self, seat: Seat, id: PeerId, plan: &Plan) -> Result<Reply, Fault> {
        let (version, fresh) = (self.next(), self.mint(seat));
        let peer = self.held(seat, id);
        let offer = peer.remote.clone().filter(|_| peer.signaling == Signaling::Theirs);
        let Some(offer) = offer else {
            return self.wrong(seat, id, "answer without a remote offer");
        };
        if peer.is_restarted_by(offer.sdp.expose()) {
            peer.credentials = fresh;
        }
        let theirs = sdp::read(offer.sdp.expose());
        peer.adopt(&theirs, plan);
        let line = |(place, theirs): (usize, &Line)| {
            let ours = plan.lines.iter().find(|line| peer.slots.get(&line.slot) == Some(&place));
            theirs.answered_with(ours)
        };
        peer.lines = theirs.iter().enumerate().map(line).collect();
        let text = sdp::write(&peer.credentials, version, &peer.lines, SdpKind::Answer);
        let text = sdp::with_tones_of(offer.sdp.expose(), text);
        Ok(described(SdpKind::Answer, self.habits(seat).speaks(text)))
    }

    fn set_local(
        &mut self,
        seat: Seat,
        id: PeerId,
        ours: &Description,
        follow_ups: &mut Vec<FollowUp>,
    ) -> Result<Reply, Fault> {
        let habits = self.habits(seat);
        let peer = self.held(seat, id);
        match (ours.kind, peer.signaling) {
            (SdpKind::Offer, Signaling::Stable | Signaling::Ours) => {
                peer.signaling = Signaling::Ours;
            }
            (SdpKind::Answer, Signaling::Theirs) => peer.settle(),
            (SdpKind::Offer, Signaling::Theirs) => {
                return self.wrong(seat, id, "local offer over a remote offer");
            }
            (SdpKind::Answer, Signaling::Stable | Signaling::Ours) => {
                return self.wrong(seat, id, "local answer without a remote offer");
            }
        }
        peer.local = Some(ours.clone());
        if peer.gathering.as_ref() != Some(&peer.credentials) {
            peer.gathering = Some(peer.credentials.clone());
            (peer.found, peer.gathered) = (0, false);
            let found = habits.candidates.iter().enumerate();
            follow_ups.extend(found.map(|(place, after)| FollowUp {
                seat,
                peer: id,
                after: *after,
                what: Later::Candidate(place),
            }));
            let what = Later::GatheringDone;
            follow_ups.push(FollowUp { seat, peer: id, after: habits.gathered, what });
        }
        Ok(Reply::Done)
    }

    fn local_description(&mut self, seat: Seat, id: PeerId) -> Result<Reply, Fault> {
        let peer = self.held(seat, id);
        let Some(ours) = peer.local.clone() else {
            return self.wrong(seat, id, "no local description to read");
        };
        let text = sdp::with_candidates(
            ours.sdp.expose(),
            (0..peer.found).map(|place| sdp::candidate(&peer.credentials, place)),
            peer.gathered,
        );
        Ok(described(ours.kind, text))
    }

    fn set_remote(
        &mut self,
        seat: Seat,
        id: PeerId,
        theirs: &Description,
        follow_ups: &mut Vec<FollowUp>,
    ) -> Result<Reply, Fault> {
        let peer = self.held(seat, id);
        match (theirs.kind, peer.signaling) {
            (SdpKind::Offer, Signaling::Stable | Signaling::Theirs)
            | (SdpKind::Answer, Signaling::Ours) => {}
            (SdpKind::Offer, Signaling::Ours) => {
                return self.wrong(seat, id, "remote offer over a local offer");
            }
            (SdpKind::Answer, Signaling::Stable | Signaling::Theirs) => {
                return self.wrong(seat, id, "remote answer without a local offer");
            }
        }
        let text = theirs.sdp.expose();
        if !text.starts_with("v=0") {
            return Err(Fault::Failed("not a session description".to_owned()));
        }
        match theirs.kind {
            SdpKind::Offer => {
                peer.remember();
                peer.signaling = Signaling::Theirs;
            }
            SdpKind::Answer => peer.settle(),
        }
        if peer.credentials_of_remote() != sdp::credentials(text) {
            peer.remote_candidates.clear();
        }
        let before: Vec<Line> =
            peer.remote.as_ref().map(|old| sdp::read(old.sdp.expose())).unwrap_or_default();
        peer.remote = Some(theirs.clone());
        peer.remote_candidates.extend(sdp::candidates(text));
        for (mid, change) in sdp::track_changes(&before, &sdp::read(text)) {
            follow_ups.push(news(seat, id, change.into_news(mid)));
        }
        Ok(Reply::Done)
    }

    fn candidates(
        &mut self,
        seat: Seat,
        id: PeerId,
        candidates: &[Candidate],
    ) -> Result<Reply, Fault> {
        let peer = self.held(seat, id);
        if peer.remote.is_none() {
            return self.wrong(seat, id, "candidates without a remote description");
        }
        for candidate in candidates {
            if candidate.is_end() {
                peer.remote_candidates_ended = true;
            } else if peer.takes(candidate) {
                peer.remote_candidates.push(candidate.candidate.expose().to_owned());
            }
        }
        Ok(Reply::Done)
    }

    fn rollback(&mut self, seat: Seat, id: PeerId) -> Result<Reply, Fault> {
        self.held(seat, id).roll_back();
        Ok(Reply::Done)
    }

    fn restart_ice(&mut self, seat: Seat, id: PeerId) -> Result<Reply, Fault> {
        self.held(seat, id).restart = true;
        Ok(Reply::Done)
    }

    /// Connects every two that now match, each only once.
    fn link(&mut self, follow_ups: &mut Vec<FollowUp>) {
        let ready: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.is_ready()).collect();
        let mut pairs = Vec::new();
        for (place, (a, peer_a)) in ready.iter().enumerate() {
            for (b, peer_b) in &ready[place + 1..] {
                if peer_a.is_meant_by(peer_b) && peer_b.is_meant_by(peer_a) {
                    pairs.push((**a, **b));
                }
            }
        }
        for (a, b) in pairs {
            let now = (self.peers[&a].credentials.clone(), self.peers[&b].credentials.clone());
            let before = self.linked.insert((a, b), now.clone());
            if before.as_ref() != Some(&now) {
                let spans = (self.habits(a.0).connect, self.habits(b.0).connect);
                let found = if before.is_some() { reconnected } else { connecting };
                follow_ups.extend(found(a, spans));
                follow_ups.extend(found(b, spans));
            }
        }
    }

    fn missing(&mut self, seat: Seat, peer: PeerId) -> Result<Reply, Fault> {
        if self.closed.contains(&(seat, peer)) {
            return Err(Fault::Cancelled);
        }
        // An opening that failed leaves nothing behind; whoever goes on nevertheless errs.
        self.wrong(seat, peer, "used before it was opened")
    }

    fn wrong(&mut self, seat: Seat, peer: PeerId, why: &str) -> Result<Reply, Fault> {
        self.misuse.push(format!("engine {}, peer {peer}: {why}", seat.0));
        Err(Fault::Failed(why.to_owned()))
    }

    fn held(&mut self, seat: Seat, peer: PeerId) -> &mut FakePeer {
        self.peers.get_mut(&(seat, peer)).expect("invariant: looked up by `perform`")
    }

    fn next(&mut self) -> u64 {
        self.minted += 1;
        self.minted
    }

    fn mint(&mut self, seat: Seat) -> String {
        format!("u{}x{}", seat.0, self.next())
    }
}

fn connecting(
    (seat, peer): (Seat, PeerId),
    spans: (Option<Duration>, Option<Duration>),
) -> Vec<FollowUp> {
    let mut states = vec![news(seat, peer, PeerNews::State(PeerState::Connecting))];
    if let (Some(a), Some(b)) = spans {
        let connected = news(seat, peer, PeerNews::State(PeerState::Connected));
        states.push(FollowUp { after: a.max(b), ..connected });
    }
    states
}

/// ICE was restarted: whoever was connected may not even notice.
fn reconnected(
    (seat, peer): (Seat, PeerId),
    spans: (Option<Duration>, Option<Duration>),
) -> Vec<FollowUp> {
    let (Some(a), Some(b)) = spans else { return Vec::new() };
    let connected = news(seat, peer, PeerNews::State(PeerState::Connected));
    vec![FollowUp { after: a.max(b), ..connected }]
}

fn other_end<T: Copy + PartialEq>((a, b): &(T, T), end: T) -> Option<T> {
    if *a == end {
        Some(*b)
    } else if *b == end {
        Some(*a)
    } else {
        None
    }
}

fn news(seat: Seat, peer: PeerId, news: PeerNews) -> FollowUp {
    FollowUp { seat, peer, after: Duration::ZERO, what: Later::News(news) }
}

fn described(kind: SdpKind, text: String) -> Reply {
    Reply::Description(Description { kind, sdp: Redacted::new(text) })
}
