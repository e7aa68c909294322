//! The task of one peer connection: sockets, a timer and requests around a [`Peer`].
//!
//! Each step waits for one thing (cancel safe), gives it to the peer and carries out what the
//! peer then wants. This is the only place of the engine that reads a clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use matrix_voip::{
    host::{FrameSink, Media, PeerEvents, RemoteTrack},
    id::{PeerId, SessionId, TrackId},
    machine::io::{Fault, MediaKind, ParticipantId, PeerNews, PeerOp, PeerState, Reply, Tones},
};
use matrix_voip_engine::{
    Subscriber, Tracks,
    interfaces::{LOOK_INTERVAL, Look, Watch},
    track::Outgoing,
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use crate::{
    impairment,
    peer::{Input, Output, Peer},
    sockets::{Arrival, Late, Sockets, Turn},
    uplinks::{Outside, Uplinks},
};

/// How long a closed connection waits for TURN servers to take their allocations back.
const FAREWELL: Duration = Duration::from_secs(1);

/// A request of the machine, with the way back.
pub(crate) struct Request {
    pub(crate) asked: Asked,
    pub(crate) reply: oneshot::Sender<Result<Reply, Fault>>,
}

/// What a connection is asked to do.
pub(crate) enum Asked {
    Op(PeerOp),
    /// Tones in the lines that send this track.
    Tones(TrackId, Tones),
}

/// The present, on the clock of all peers.
pub(crate) fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the shell is where time comes in")]
    Instant::now()
}

/// One peer connection with its surroundings.
pub(crate) struct Shell {
    pub(crate) id: PeerId,
    pub(crate) session: SessionId,
    pub(crate) member: Option<ParticipantId>,
    pub(crate) peer: Peer,
    pub(crate) sockets: Sockets,
    pub(crate) uplinks: Uplinks,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) frames: mpsc::Receiver<Outgoing>,
    pub(crate) events: PeerEvents,
    pub(crate) media: Arc<dyn Media>,
    pub(crate) tracks: Arc<Tracks>,
    /// As whom it gets frames.
    pub(crate) subscriber: Subscriber,
    /// Where received frames go, per `mid`; `None`: nobody wants them.
    pub(crate) sinks: BTreeMap<String, Option<Box<dyn FrameSink>>>,
    pub(crate) wakes: Instant,
    pub(crate) watch: Watch,
    /// When the interfaces are looked at next.
    pub(crate) looks: Instant,
    pub(crate) is_closed: bool,
}

/// What the task woke up for.
enum Wake {
    Request(Option<Request>),
    Arrival(Arrival),
    Outside(Outside),
    Frame(Outgoing),
    Timer,
}

impl Shell {
    /// Runs until the connection is closed or nobody is left to close it.
    pub(crate) async fn run(mut self) {
        self.flush();
        while !self.is_closed {
            self.step().await;
        }
        self.give_back().await;
        self.drain_delayed().await;
    }

    /// Waits for one thing and does what follows from it.
    async fn step(&mut self) {
        let timer = self.next_timer().min(self.looks);
        // Not biased: whoever floods us with datagrams delays neither our sound nor a hangup.
        let wake = tokio::select! {
            request = self.requests.recv() => Wake::Request(request),
            arrival = self.sockets.receive() => Wake::Arrival(arrival),
            outside = self.uplinks.next() => Wake::Outside(outside),
            Some(frame) = self.frames.recv() => Wake::Frame(frame),
            () = tokio::time::sleep_until(timer.into()) => Wake::Timer,
        };
        let now = clock();
        match wake {
            Wake::Request(Some(request)) => self.perform(now, request),
            Wake::Request(None) => self.close(now),
            Wake::Arrival(arrival) => self.on_arrival(now, &arrival),
            Wake::Outside(outside) => self.on_outside(now, &outside),
            Wake::Frame((track, frame)) => {
                self.peer.handle(now, Input::Frame { track, frame: &frame });
            }
            Wake::Timer => self.peer.handle(now, Input::Timeout),
        }
        if now >= self.looks {
            self.look_around(now);
        }
        self.move_delayed(now);
        self.flush();
    }

    fn next_timer(&self) -> Instant {
        let delayed = [self.sockets.next_due(), self.sockets.next_late()];
        delayed.into_iter().flatten().fold(self.wakes, Instant::min)
    }

    /// What impaired sockets have held back until now.
    fn move_delayed(&mut self, now: Instant) {
        self.sockets.send_due(now);
        while let Some(Late { local, from, data }) = self.sockets.late(now) {
            self.peer.handle(now, Input::Datagram { local, from, data: &data });
            self.flush();
        }
    }

    /// Looks whether there are other interfaces than before: new ones are used, what is gone is
    /// given up until it comes back.
    fn look_around(&mut self, now: Instant) {
        self.looks = now + LOOK_INTERVAL;
        let Ok((look, mut addresses)) = self.watch.look() else { return };
        // Loopback is what is left when everything is gone; it leads nowhere that we were.
        if self.sockets.reach_others() {
            addresses.retain(|ip| !ip.is_loopback());
        }
        for turn in self.sockets.follow(&addresses) {
            let input = match turn {
                Turn::Here(local) => Input::Socket(local),
                Turn::Gone(local) => Input::SocketGone(local),
            };
            self.peer.handle(now, input);
        }
        if look == Look::Changed {
            tracing::info!("the addresses of this machine changed");
            self.events.network_changed();
        }
    }

    fn on_arrival(&mut self, now: Instant, arrival: &Arrival) {
        if self.sockets.keeps(now, arrival) {
            return;
        }
        let Arrival { local, from, .. } = *arrival;
        let data = self.sockets.content(arrival);
        self.peer.handle(now, Input::Datagram { local, from, data });
    }

    fn on_outside(&mut self, now: Instant, outside: &Outside) {
        let input = match outside {
            Outside::Resolved { server, addresses } => {
                Input::Resolved { server: *server, addresses }
            }
            Outside::Connected { server, local } => {
                Input::Connected { server: *server, local: *local }
            }
            Outside::Stream { server, data } => Input::Stream { server: *server, data },
            Outside::Disconnected { server, fault } => {
                Input::Disconnected { server: *server, fault: *fault }
            }
        };
        self.peer.handle(now, input);
    }

    /// Waits until no server holds anything for us any more, but not for long.
    async fn give_back(&mut self) {
        let end = clock() + FAREWELL;
        while !self.peer.is_released() && clock() < end {
            let timer = self.next_timer();
            let wake = tokio::select! {
                arrival = self.sockets.receive() => Wake::Arrival(arrival),
                outside = self.uplinks.next() => Wake::Outside(outside),
                () = tokio::time::sleep_until(timer.min(end).into()) => Wake::Timer,
            };
            let now = clock();
            match wake {
                Wake::Arrival(arrival) => self.on_arrival(now, &arrival),
                Wake::Outside(outside) => self.on_outside(now, &outside),
                Wake::Timer | Wake::Request(_) | Wake::Frame(_) => {
                    self.peer.handle(now, Input::Timeout);
                }
            }
            self.move_delayed(now);
            self.flush();
        }
    }

    /// The news of a request leaves before its reply, so the machine hears them in order.
    fn perform(&mut self, now: Instant, Request { asked, reply }: Request) {
        let is_close = matches!(asked, Asked::Op(PeerOp::Close));
        let result = match asked {
            Asked::Op(op) => self.peer.perform(now, op).map(|reply| self.heard(reply)),
            Asked::Tones(track, tones) => {
                self.peer.dial(now, track, &tones).map(|()| Reply::Done).map_err(Fault::from)
            }
        };
        self.flush();
        if is_close {
            self.end();
        }
        // Nobody waits any more when the request was aborted.
        drop(reply.send(result));
    }

    /// The peer measures packets; only the sinks know how they are heard, and the sources whether there is
    /// a device.
    fn heard(&self, mut reply: Reply) -> Reply {
        if let Reply::Stats(stats) = &mut reply {
            for stream in &mut stats.inbound {
                let sink = self.sinks.get(&stream.mid).and_then(Option::as_ref);
                stream.playout = sink.and_then(|sink| sink.playout());
            }
            stats.without_device = self.tracks.without_device(self.id);
        }
        reply
    }

    fn close(&mut self, now: Instant) {
        self.peer.close(now);
        self.end();
    }

    /// It is heard no more and hears no more, whatever a TURN server takes to let go.
    fn end(&mut self) {
        self.is_closed = true;
        self.sinks.clear();
        self.tracks.unsubscribe(self.id, &self.subscriber);
    }

    /// Does everything that the peer wants done.
    fn flush(&mut self) {
        let now = clock();
        loop {
            match self.peer.poll() {
                Output::Timeout(at) => return self.wakes = at,
                Output::Datagram { local, to, data } => {
                    self.sockets.send(now, impairment::Outgoing { local, to, data });
                }
                Output::Resolve { server, host, port } => self.uplinks.resolve(server, host, port),
                Output::Connect { server, to, tls } => self.uplinks.connect(server, to, tls),
                Output::Stream { server, data } => self.uplinks.send(server, data),
                Output::Disconnect { server } => self.uplinks.disconnect(server),
                Output::News(news) => self.report(news),
                Output::Frame { mid, frame } => {
                    let Some(Some(sink)) = self.sinks.get_mut(&mid) else { continue };
                    let is_video = frame.codec.kind() == MediaKind::Video;
                    sink.push(frame);
                    if is_video && sink.wants_key_frame() {
                        self.peer.handle(now, Input::WantKeyFrame { mid: &mid });
                    }
                }
                Output::Control { track, control } => self.tracks.control(self.id, track, control),
                // A person hears what the other side plays besides; nobody here waits for digits.
                Output::Tone { mid, .. } => tracing::trace!(mid, "a tone came in"),
            }
        }
    }

    /// Keeps the sinks in step with the remote tracks and passes the news on.
    fn report(&mut self, news: PeerNews) {
        match &news {
            PeerNews::TrackAdded { mid, stream, kind } => {
                let (session, peer, kind) = (self.session, self.id, *kind);
                let (mid, stream) = (mid.clone(), stream.clone());
                let member = self.member.clone();
                let track = RemoteTrack { session, member, peer, mid: mid.clone(), stream, kind };
                self.sinks.insert(mid, self.media.sink(track));
            }
            PeerNews::TrackRemoved { mid } => drop(self.sinks.remove(mid)),
            PeerNews::Candidate(_)
            | PeerNews::GatheringDone
            | PeerNews::State(_)
            | PeerNews::TrackEnded(_) => {}
        }
        self.events.report(news);
    }

    /// Impaired sockets may still hold the goodbye.
    async fn drain_delayed(&mut self) {
        while let Some(due) = self.sockets.next_due() {
            tokio::time::sleep_until(due.into()).await;
            self.sockets.send_due(clock());
        }
    }
}

impl Drop for Shell {
    /// A sink of the application panicked: this connection is over, no other is harmed.
    fn drop(&mut self) {
        self.tracks.unsubscribe(self.id, &self.subscriber);
        if !self.is_closed {
            self.events.report(PeerNews::State(PeerState::Failed));
        }
    }
}

/// How long the first connection of a process would wait for the crypto library to start is spent
/// beforehand, on a thread of its own (25 ms).
pub(crate) fn warm_up() {
    let warm = || {
        let now = clock();
        let mut peer = Peer::new(now, crate::peer::PeerSetup::new(now, Vec::new()));
        peer.close(now + Duration::from_millis(1));
    };
    // Without a thread the first call is slower, that is all.
    drop(std::thread::Builder::new().name("str0m-warm-up".to_owned()).spawn(warm));
}
