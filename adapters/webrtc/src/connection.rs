//! The task of one peer connection: requests, frames, packets and news around the crate's own.
//!
//! Each step waits for one thing and carries it out. Requests are carried out whole even when
//! nobody waits for their answer any more; closing cuts them short. The crate drives sockets and
//! timers in a task of its own, which ends when the connection is closed.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::{Media, PeerEvents, RemoteTrack, SourceControl},
    id::{PeerId, SessionId, StreamId, TrackId},
    machine::io::{Fault, MediaKind, ParticipantId, PeerNews, PeerOp, PeerState, Reply},
};
use matrix_voip_engine::{
    Subscriber, Tracks,
    interfaces::{LOOK_INTERVAL, Look, Watch},
    track::Outgoing,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Interval, MissedTickBehavior, interval},
};
use webrtc::peer_connection::{PeerConnection, RTCPeerConnectionState};

use crate::{
    candidates::RemoteCandidates,
    gather::Gathering,
    handler::Said,
    inbound::Inbound,
    negotiate::{Agreed, Negotiation},
    open::Closer,
    send::Gone,
    servers::Servers,
    tap::Arrived,
};

/// A request of the machine, with the way back.
pub(crate) struct Request {
    pub(crate) op: PeerOp,
    pub(crate) reply: oneshot::Sender<Result<Reply, Fault>>,
}

/// The present.
pub(crate) fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the shell is where time comes in")]
    Instant::now()
}

/// What a connection is to the machine and the engine.
pub(crate) struct Place {
    pub(crate) id: PeerId,
    pub(crate) session: SessionId,
    pub(crate) member: Option<ParticipantId>,
    pub(crate) events: PeerEvents,
    pub(crate) media: Arc<dyn Media>,
    pub(crate) tracks: Arc<Tracks>,
    /// As whom it gets frames.
    pub(crate) subscriber: Subscriber,
    pub(crate) watch: Watch,
    pub(crate) epoch: Instant,
}

/// The ways into the task.
pub(crate) struct Ways {
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) closing: watch::Receiver<bool>,
    pub(crate) frames: mpsc::Receiver<Outgoing>,
    pub(crate) arrived: mpsc::Receiver<Arrived>,
    pub(crate) said: mpsc::UnboundedReceiver<Said>,
}

/// One peer connection with its surroundings.
pub(crate) struct Connection {
    pub(crate) place: Place,
    pub(crate) pc: Arc<dyn PeerConnection>,
    pub(crate) servers: Servers,
    pub(crate) negotiation: Negotiation,
    pub(crate) gathering: Gathering,
    pub(crate) remote: RemoteCandidates,
    pub(crate) inbound: Inbound,
    /// What is agreed, and the streams that come in by it.
    pub(crate) agreed: Vec<Agreed>,
    pub(crate) flows: BTreeMap<String, (Option<StreamId>, MediaKind)>,
    pub(crate) reports: BTreeMap<u32, rtc::rtcp::reception_report::ReceptionReport>,
    pub(crate) key_frames_asked: BTreeMap<u32, u64>,
    pub(crate) state: Option<PeerState>,
    pub(crate) was_connected: bool,
    /// Since when there is a path: the crate says nothing of a handshake that fails on it.
    pub(crate) path_since: Option<Instant>,
    pub(crate) is_closed: bool,
}

/// What the task woke up for.
enum Wake {
    Request(Option<Request>),
    Frame(Outgoing),
    Arrived(Arrived),
    Said(Said),
    Look,
    Closed,
}

impl Connection {
    /// One of which nothing is agreed yet.
    pub(crate) fn new(
        place: Place,
        pc: Arc<dyn PeerConnection>,
        servers: Servers,
        relay_only: bool,
    ) -> Self {
        Self {
            place,
            pc,
            servers,
            negotiation: Negotiation::new(relay_only),
            gathering: Gathering::new(relay_only),
            remote: RemoteCandidates::new(),
            inbound: Inbound::default(),
            agreed: Vec::new(),
            flows: BTreeMap::new(),
            reports: BTreeMap::new(),
            key_frames_asked: BTreeMap::new(),
            state: None,
            was_connected: false,
            path_since: None,
            is_closed: false,
        }
    }

    /// Runs until the connection is closed or nobody is left to close it.
    pub(crate) async fn run(mut self, mut ways: Ways, closer: Closer) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_closed {
            let wake = wait(&mut ways, &mut looks).await;
            let mut closing = ways.closing.clone();
            tokio::select! {
                biased;
                _ = closing.wait_for(|is_closing| *is_closing) => self.is_closed = true,
                () = self.step(wake, &mut ways.said) => {}
            }
        }
        closer.close().await;
        // Whoever closes it waits for the end of `ways`: sinks and sources are gone by then.
        drop(self);
        drop(ways);
    }

    async fn step(&mut self, wake: Wake, said: &mut mpsc::UnboundedReceiver<Said>) {
        match wake {
            Wake::Request(Some(Request { op, reply })) => {
                // What was said before the request belongs to what was agreed before it.
                while let Ok(said) = said.try_recv() {
                    self.on_said(said).await;
                }
                let result = self.perform(op).await;
                // Nobody waits any more when the request was aborted.
                drop(reply.send(result));
            }
            Wake::Request(None) | Wake::Closed => self.is_closed = true,
            Wake::Frame((track, frame)) => self.send(track, &frame).await,
            Wake::Arrived(arrived) => self.on_arrived(arrived).await,
            Wake::Said(said) => self.on_said(said).await,
            Wake::Look => self.look_around(),
        }
    }

    /// Looks whether there are other interfaces than before. The crate opens sockets on them with
    /// the next ICE restart, which the machine asks for when it hears of it.
    fn look_around(&mut self) {
        if let Ok((Look::Changed, _)) = self.place.watch.look() {
            tracing::info!("the addresses of this machine changed");
            self.place.events.network_changed();
        }
        if is_late(self.path_since, clock()) && !self.was_connected {
            self.on_peer_state(PeerState::Failed);
        }
    }

    async fn on_said(&mut self, said: Said) {
        let news = match said {
            Said::Candidate { line, server } => {
                self.servers.on_candidate(&server);
                self.gathering.on_found(&line)
            }
            Said::GatheringDone => {
                self.servers.on_done();
                self.gathering.on_done()
            }
            Said::State(state) => return self.on_state(state),
            Said::Path(is_there) => {
                self.path_since = path_since(self.path_since, is_there, clock());
                return;
            }
        };
        self.report(news);
    }

    fn on_state(&mut self, state: RTCPeerConnectionState) {
        let state = match state {
            RTCPeerConnectionState::Connecting => PeerState::Connecting,
            RTCPeerConnectionState::Connected => PeerState::Connected,
            RTCPeerConnectionState::Disconnected => PeerState::Disconnected,
            RTCPeerConnectionState::Failed => PeerState::Failed,
            _ => return,
        };
        self.on_peer_state(state);
    }

    fn on_peer_state(&mut self, state: PeerState) {
        // A restart of a working connection is no news.
        let is_restart = state == PeerState::Connecting && self.was_connected;
        if is_restart || self.state == Some(state) {
            return;
        }
        self.state = Some(state);
        self.place.events.report(PeerNews::State(state));
        if state == PeerState::Connected {
            self.was_connected = true;
            // The path is new: nobody at its other end has seen a key frame.
            for track in self.agreed.iter().filter_map(|line| line.sends) {
                self.place.tracks.control(self.place.id, track, SourceControl::KeyFrame);
            }
        }
    }

    async fn send(&mut self, track: TrackId, frame: &matrix_voip::host::Frame) {
        // After a loss media may still get through.
        if !self.was_connected {
            return;
        }
        let mut is_gone = false;
        for line in self.agreed.iter().filter(|line| line.sends == Some(track)) {
            let Some(source) = self.negotiation.sources.get_mut(&line.transceiver) else {
                continue;
            };
            is_gone |= source.send(frame, &line.form).await == Err(Gone);
        }
        if is_gone {
            // The crate's own task has died, which it tells nobody.
            self.on_peer_state(PeerState::Failed);
        }
    }

    async fn on_arrived(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Rtp { packet, at } => {
                let wanted = self.inbound.take(packet, at, self.place.epoch);
                let any = self.negotiation.sources.values().next();
                if let (Some(ssrc), Some(source)) = (wanted, any) {
                    source.ask_for_key_frame(ssrc).await;
                }
            }
            Arrived::KeyFrame(ssrc) => {
                if let Some(track) = self.track_of(ssrc) {
                    *self.key_frames_asked.entry(ssrc).or_default() += 1;
                    self.place.tracks.control(self.place.id, track, SourceControl::KeyFrame);
                }
            }
            Arrived::Report(report) => {
                if let Some(track) = self.track_of(report.ssrc) {
                    let loss = f32::from(report.fraction_lost) / 256.0;
                    self.reports.insert(report.ssrc, report);
                    self.place.tracks.control(self.place.id, track, SourceControl::Loss(loss));
                }
            }
        }
    }

    /// The track that is sent as this source.
    fn track_of(&self, ssrc: u32) -> Option<TrackId> {
        let sources = &self.negotiation.sources;
        let transceiver = *sources.iter().find(|(_, source)| source.ssrc == ssrc)?.0;
        self.agreed.iter().find(|line| line.transceiver == transceiver)?.sends
    }

    /// Two descriptions are in force: what flows now.
    pub(crate) fn on_agreed(&mut self, agreed: Vec<Agreed>) {
        let flows: BTreeMap<_, _> = agreed
            .iter()
            .filter_map(|line| Some((line.form.mid.clone(), (line.receives.clone()?, line.kind))))
            .collect();
        self.inbound.agree(&agreed);
        let before = std::mem::replace(&mut self.flows, flows.clone());
        for mid in before.iter().filter(|(mid, flow)| flows.get(*mid) != Some(flow)).map(|f| f.0) {
            self.inbound.close(mid);
            self.place.events.report(PeerNews::TrackRemoved { mid: mid.clone() });
        }
        for (mid, (stream, kind)) in &flows {
            if before.get(mid) != Some(&(stream.clone(), *kind)) {
                self.open_sink(mid, stream.clone(), *kind);
            }
        }
        // Whoever begins to see us has no key frame yet.
        let sent = |lines: &[Agreed]| -> Vec<TrackId> {
            lines.iter().filter_map(|line| line.sends).collect()
        };
        let former = sent(&self.agreed);
        self.agreed = agreed;
        for track in sent(&self.agreed).into_iter().filter(|track| !former.contains(track)) {
            self.place.tracks.control(self.place.id, track, SourceControl::KeyFrame);
        }
    }

    fn open_sink(&mut self, mid: &str, stream: Option<StreamId>, kind: MediaKind) {
        let place = &self.place;
        let track = RemoteTrack {
            session: place.session,
            member: place.member.clone(),
            peer: place.id,
            mid: mid.to_owned(),
            stream: stream.clone(),
            kind,
        };
        self.inbound.open(mid, kind, place.media.sink(track));
        place.events.report(PeerNews::TrackAdded { mid: mid.to_owned(), stream, kind });
    }

    pub(crate) fn report(&self, news: Vec<PeerNews>) {
        news.into_iter().for_each(|news| self.place.events.report(news));
    }
}

/// Waits for one thing.
async fn wait(ways: &mut Ways, looks: &mut Interval) -> Wake {
    // Not biased: whoever floods us with packets delays neither our sound nor a hangup.
    tokio::select! {
        request = ways.requests.recv() => Wake::Request(request),
        Some(frame) = ways.frames.recv() => Wake::Frame(frame),
        Some(arrived) = ways.arrived.recv() => Wake::Arrived(arrived),
        Some(said) = ways.said.recv() => Wake::Said(said),
        _ = looks.tick() => Wake::Look,
        _ = ways.closing.wait_for(|is_closing| *is_closing) => Wake::Closed,
    }
}

impl Drop for Connection {
    /// A sink of the application or the crate panicked: this connection is over, no other is
    /// harmed.
    fn drop(&mut self) {
        self.place.tracks.unsubscribe(self.place.id, &self.place.subscriber);
        if !self.is_closed {
            self.place.events.report(PeerNews::State(PeerState::Failed));
        }
    }
}

/// How long a handshake may take, with lost packets.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Since when there is a path, now that this was said of it. Another one, as after an ICE restart, gives
/// the handshake its whole time again.
fn path_since(former: Option<Instant>, is_there: bool, now: Instant) -> Option<Instant> {
    is_there.then(|| former.unwrap_or(now))
}

/// Whether the handshake has had its time on this path.
fn is_late(path_since: Option<Instant>, now: Instant) -> bool {
    path_since.is_some_and(|since| now > since + HANDSHAKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_has_its_whole_time_on_each_path() {
        let begin = clock();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let first = path_since(path_since(None, true, at(0)), true, at(10));
        assert!(!is_late(first, at(15)) && is_late(first, at(16)), "still the first path");
        let lost = path_since(first, false, at(12));
        assert!(!is_late(lost, at(100)));
        let second = path_since(lost, true, at(14));
        assert!(!is_late(second, at(29)) && is_late(second, at(30)));
    }
}
