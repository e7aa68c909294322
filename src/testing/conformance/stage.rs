//! The stage of a cell: two sides, each an engine with its news, and the steps of a call between
//! them. Candidates are trickled as they come, as a call does it.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{join, join_all},
};
use tokio::time::timeout;

use super::{
    Setting, Subject,
    studio::{Heard, Log, Studio},
};
use crate::{
    host::{
        Mailbox, PeerEvents, WebRtc,
        mailbox::{self, DriverEnd},
    },
    id::{InputId, PeerId, SessionId, StreamId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Direction, Fault, Input, MediaKind, MediaSource,
        PeerConfig, PeerNews, PeerState, Plan, PlanLine, Slot,
    },
};

/// How often it is looked whether something has come about that nobody reports.
const LOOK: Duration = Duration::from_millis(5);

/// Why an engine is not right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What a step of a cell gives.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// It has to be so.
pub(super) fn check(is_so: bool, what: impl FnOnce() -> String) -> Outcome {
    if is_so { Ok(()) } else { Err(Failure(what())) }
}

/// One engine with its devices and its news.
pub(super) struct Side {
    /// The engine's, and which of the two it is where both have the same.
    pub(super) name: String,
    pub(super) engine: Arc<dyn WebRtc>,
    pub(super) log: Arc<Log>,
    pub(super) session: SessionId,
    /// With what connections are opened.
    pub(super) config: PeerConfig,
    pub(super) news: Vec<(PeerId, PeerNews)>,
    /// Candidates on their way to the other side, and whether it can take them.
    waiting: Vec<(PeerId, Candidate)>,
    is_described: bool,
    /// How long a request may take until it is answered.
    patience: Duration,
    driver: DriverEnd,
    mailbox: Mailbox,
}

impl Side {
    fn new(name: String, subject: &Subject, session: u64, patience: Duration) -> Self {
        let log = Arc::new(Log::default());
        let engine = subject.make(Arc::new(Studio { log: log.clone() }));
        let (driver, mailbox) = mailbox::pair();
        let session = SessionId(session);
        let config = PeerConfig { session, ..PeerConfig::default() };
        let (news, waiting) = (Vec::new(), Vec::new());
        Self {
            name,
            engine,
            log,
            session,
            config,
            news,
            waiting,
            is_described: false,
            patience,
            driver,
            mailbox,
        }
    }

    /// An answer has to come within a bounded time.
    pub(super) async fn soon<T>(&self, what: &str, asked: impl Future<Output = T>) -> Outcome<T> {
        let answered = timeout(self.patience, asked).await;
        answered.map_err(|_| Failure(format!("{}: {what} is never answered", self.name)))
    }

    /// A request is answered in time, and as it should be.
    pub(super) async fn done<T>(
        &self,
        what: &str,
        asked: impl Future<Output = Result<T, Fault>>,
    ) -> Outcome<T> {
        let answer = self.soon(what, asked).await?;
        answer.map_err(|fault| Failure(format!("{}: {what}: {fault}", self.name)))
    }

    pub(super) fn events(&self, peer: u64) -> PeerEvents {
        PeerEvents::new(PeerId(peer), self.mailbox.news())
    }

    pub(super) async fn open(&self, peer: u64) -> Outcome {
        let opened = self.engine.open(PeerId(peer), self.config.clone(), self.events(peer));
        self.done("open", opened).await
    }

    pub(super) async fn close(&self, peer: u64) -> Outcome {
        self.done("close", self.engine.close(PeerId(peer))).await
    }

    /// An offer on a connection, in force here.
    async fn offer(&self, peer: u64, plan: &Plan) -> Outcome<Description> {
        let offer = self.done("offer", self.engine.offer(PeerId(peer), plan.clone())).await?;
        self.put(peer, &offer).await?;
        Ok(offer)
    }

    /// An answer to what was taken, in force here.
    async fn answer(&self, peer: u64, plan: &Plan) -> Outcome<Description> {
        let answer = self.done("answer", self.engine.answer(PeerId(peer), plan.clone())).await?;
        self.put(peer, &answer).await?;
        Ok(answer)
    }

    async fn put(&self, peer: u64, made: &Description) -> Outcome {
        self.done("set_local", self.engine.set_local(PeerId(peer), made.clone())).await
    }

    async fn take(&self, peer: u64, theirs: &Description) -> Outcome {
        self.done("set_remote", self.engine.set_remote(PeerId(peer), theirs.clone())).await
    }

    /// Opens the devices of what the plan sends.
    pub(super) async fn capture(&self, plan: &Plan) -> Outcome {
        for line in &plan.lines {
            if let Some(track) = line.track {
                let what = Capture::of(source_of(line.slot));
                self.done("capture", self.engine.capture(self.session, track, what)).await?;
            }
        }
        Ok(())
    }

    /// What was heard since the first `from` frames, of one kind.
    pub(super) fn heard(&self, kind: MediaKind, from: usize) -> Vec<Heard> {
        self.log.look(|all| {
            let later = all.get(from..).unwrap_or_default().iter();
            later.filter(|one| one.track.kind == kind).cloned().collect()
        })
    }

    /// What was heard last, of one kind.
    pub(super) fn heard_last(&self, kind: MediaKind) -> Option<Heard> {
        self.log.look(|all| all.iter().rev().find(|one| one.track.kind == kind).cloned())
    }

    /// How many such frames were heard since the first `from`.
    pub(super) fn count(&self, from: usize, is_such: impl Fn(&Heard) -> bool) -> usize {
        self.log.look(|all| {
            all.get(from..).unwrap_or_default().iter().filter(|one| is_such(one)).count()
        })
    }

    /// What was told of a connection.
    pub(super) fn told(&self, peer: u64) -> impl Iterator<Item = &PeerNews> {
        self.news.iter().filter(move |(of, _)| of.0 == peer).map(|(_, news)| news)
    }

    /// The last state of a connection that was told.
    pub(super) fn state(&self, peer: u64) -> Option<PeerState> {
        self.news.iter().rev().find_map(|(of, news)| match news {
            PeerNews::State(state) if of.0 == peer => Some(*state),
            _ => None,
        })
    }

    /// Candidates can come from now on.
    pub(super) fn described(&mut self) {
        self.is_described = true;
    }

    /// Takes all that was told: forty calls tell much at once.
    fn note_all(&mut self) {
        while let Some(input @ Some(_)) = self.driver.next().now_or_never() {
            self.note(input);
        }
    }

    fn note(&mut self, input: Option<Input>) {
        let Some(Input::Peer(peer, news)) = input else { return };
        if let PeerNews::Candidate(candidate) = &news {
            self.waiting.push((peer, candidate.clone()));
        }
        self.news.push((peer, news));
    }

    /// What was told last and how much was heard, for whoever looks for the fault.
    fn last_words(&self) -> String {
        let state = match self.state(1) {
            Some(state) => format!("last told {state:?}"),
            None => "told no state".to_owned(),
        };
        format!("{}: {state}, {} frames heard", self.name, self.log.count())
    }

    /// Closes everything. Who does not answer the first time is asked for nothing more: what is
    /// open then goes with the engine.
    async fn clear(self) {
        for peer in 1..=2 {
            if self.soon("close", self.engine.close(PeerId(peer))).await.is_err() {
                return;
            }
        }
        for slot in [Slot::Audio, Slot::Video, Slot::Screen] {
            if self.soon("release", self.engine.release(track(slot))).await.is_err() {
                return;
            }
        }
    }
}

/// Two sides.
pub(super) struct Stage {
    pub(super) a: Side,
    pub(super) b: Side,
    pub(super) setting: Setting,
    /// Whether both engines say that they send tones.
    pub(super) tones: (bool, bool),
}

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    A,
    B,
}

impl Who {
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Stage {
    pub(super) fn new(ours: &Subject, theirs: &Subject, setting: &Setting) -> Self {
        let [a, b] = if ours.name == theirs.name {
            ["first", "second"].map(|which| format!("{} ({which})", ours.name))
        } else {
            [ours, theirs].map(|subject| subject.name.clone())
        };
        Self {
            a: Side::new(a, ours, 1, setting.patience),
            b: Side::new(b, theirs, 2, setting.patience),
            setting: setting.clone(),
            tones: (ours.tones, theirs.tones),
        }
    }

    pub(super) fn side(&self, who: Who) -> &Side {
        match who {
            Who::A => &self.a,
            Who::B => &self.b,
        }
    }

    pub(super) fn side_mut(&mut self, who: Who) -> &mut Side {
        match who {
            Who::A => &mut self.a,
            Who::B => &mut self.b,
        }
    }

    /// Waits until it is so; news and candidates go their ways meanwhile.
    pub(super) async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome {
        let patience = self.setting.patience;
        let waiting = async {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                self.trickle().await?;
                if is_so(self) {
                    return Ok(());
                }
                tokio::select! {
                    input = self.a.driver.next() => self.a.note(input),
                    input = self.b.driver.next() => self.b.note(input),
                    _ = looks.tick() => {}
                }
                self.a.note_all();
                self.b.note_all();
            }
        };
        timeout(patience, waiting).await.map_err(|_| Failure(format!("never: {what}")))?
    }

    /// For so many more frames of sound at somebody, who hears all the time: a span that the
    /// sound itself measures.
    pub(super) async fn frames(&mut self, who: Who, count: usize) -> Outcome {
        self.hears(who, count, |one| one.track.kind == MediaKind::Audio).await
    }

    /// For so many more frames of such a kind at somebody.
    pub(super) async fn hears(
        &mut self,
        who: Who,
        count: usize,
        is_such: impl Fn(&Heard) -> bool,
    ) -> Outcome {
        let side = self.side(who);
        let (from, what) = (side.log.count(), format!("{} hears {count} more frames", side.name));
        self.until(&what, |stage| stage.side(who).count(from, &is_such) >= count).await
    }

    async fn trickle(&mut self) -> Outcome {
        for who in Who::BOTH {
            if !self.side(who.other()).is_described {
                continue;
            }
            let mut of_peers: BTreeMap<PeerId, Vec<Candidate>> = BTreeMap::new();
            for (peer, candidate) in std::mem::take(&mut self.side_mut(who).waiting) {
                of_peers.entry(peer).or_default().push(candidate);
            }
            let to = self.side(who.other());
            // All at once: each answer waits until forty connections at work have had their turn.
            let taken = of_peers.into_iter().map(async |(peer, candidates)| {
                (peer, to.done("candidates", to.engine.candidates(peer, candidates)).await)
            });
            for (peer, taken) in join_all(taken).await {
                let to = self.side_mut(who.other());
                to.note_all();
                // A connection that has failed takes none.
                if to.state(peer.0) != Some(PeerState::Failed) {
                    taken?;
                }
            }
        }
        Ok(())
    }

    /// What both were told last, for whoever looks for the fault.
    pub(super) fn last_words(&self) -> String {
        format!("{}; {}", self.a.last_words(), self.b.last_words())
    }

    /// Closes everything; what an engine does not close in time is dropped with it.
    pub(super) async fn clear(self) {
        join(self.a.clear(), self.b.clear()).await;
    }

    // ----------------------------------------------------------------------------- negotiation

    /// An offer, in force at who makes it.
    pub(super) async fn offer(&self, from: Who, plan: &Plan) -> Outcome<Description> {
        self.side(from).offer(1, plan).await
    }

    pub(super) async fn take(&mut self, at: Who, description: &Description) -> Outcome {
        self.side(at).take(1, description).await?;
        self.side_mut(at).described();
        Ok(())
    }

    /// An answer to what was taken, in force at who makes it.
    pub(super) async fn answer(&self, from: Who, plan: &Plan) -> Outcome<Description> {
        self.side(from).answer(1, plan).await
    }

    /// One whole negotiation, by `from`; the texts of both descriptions.
    pub(super) async fn negotiate(
        &mut self,
        from: Who,
        plan: &Plan,
        theirs: &Plan,
    ) -> Outcome<(String, String)> {
        let offer = self.offer(from, plan).await?;
        self.take(from.other(), &offer).await?;
        let answer = self.answer(from.other(), theirs).await?;
        self.take(from, &answer).await?;
        Ok((offer.sdp.expose().to_owned(), answer.sdp.expose().to_owned()))
    }

    /// Opens connection 1 of both, negotiates by `from` and waits until both are connected.
    pub(super) async fn connect(
        &mut self,
        from: Who,
        plan: &Plan,
        theirs: &Plan,
    ) -> Outcome<(String, String)> {
        self.a.open(1).await?;
        self.b.open(1).await?;
        self.side(from).capture(plan).await?;
        self.side(from.other()).capture(theirs).await?;
        let texts = self.negotiate(from, plan, theirs).await?;
        self.until("both are connected", Self::are_connected).await?;
        Ok(texts)
    }

    pub(super) fn are_connected(&self) -> bool {
        self.are_both_connected(1)
    }

    /// Whether both say so of that connection.
    pub(super) fn are_both_connected(&self, number: u64) -> bool {
        Who::BOTH.iter().all(|who| self.side(*who).state(number) == Some(PeerState::Connected))
    }

    /// One more call of these devices, on connections of that number.
    pub(super) async fn call(&self, number: u64, plans: [&Plan; 2]) -> Outcome {
        let ((a, b), [ours, theirs]) = ((&self.a, &self.b), plans);
        a.open(number).await?;
        b.open(number).await?;
        b.take(number, &a.offer(number, ours).await?).await?;
        a.take(number, &b.answer(number, theirs).await?).await
    }

    /// Both hear new frames of each of these kinds from now on.
    pub(super) async fn both_get(&mut self, kinds: &[MediaKind]) -> Outcome {
        for who in Who::BOTH {
            self.gets(who, kinds).await?;
        }
        Ok(())
    }

    /// One side gets new frames of each of these kinds.
    pub(super) async fn gets(&mut self, who: Who, kinds: &[MediaKind]) -> Outcome {
        let side = self.side(who);
        let (from, name) = (side.log.count(), side.name.clone());
        for kind in kinds {
            let more =
                |stage: &Self| stage.side(who).count(from, |one| one.track.kind == *kind) > 3;
            self.until(&format!("{name} gets {kind:?}"), more).await?;
        }
        Ok(())
    }

    /// Somebody gets nothing of a kind while so many frames of sound reach the other.
    pub(super) async fn gets_none(&mut self, who: Who, kind: MediaKind, while_: Who) -> Outcome {
        // What is on its way may still come.
        self.frames(while_, 10).await?;
        let from = self.side(who).log.count();
        self.frames(while_, 30).await?;
        let side = self.side(who);
        let late = side.count(from, |one| one.track.kind == kind);
        check(late == 0, || format!("{} still gets {kind:?}: {late} frames", side.name))
    }
}

// ----------------------------------------------------------------------------------------- plans

const fn source_of(slot: Slot) -> MediaSource {
    match slot {
        Slot::Audio => MediaSource::Microphone,
        Slot::Video => MediaSource::Camera,
        Slot::Screen | Slot::ScreenAudio => MediaSource::Screen,
    }
}

/// A device of that name.
pub(super) fn input(source: MediaSource, name: &str) -> Capture {
    Capture { input: InputId::parse(name).ok(), ..Capture::of(source) }
}

/// The track that a side sends in a slot; each side has its own.
pub(super) const fn track(slot: Slot) -> TrackId {
    TrackId(match slot {
        Slot::Audio => 1,
        Slot::Video => 2,
        Slot::Screen => 3,
        Slot::ScreenAudio => 4,
    })
}

/// The line of a slot, in a stream of that name where it sends.
pub(super) fn line(slot: Slot, direction: Direction, stream: &str) -> PlanLine {
    let stream = StreamId::parse(stream).ok().filter(|_| direction.sends());
    let track = direction.sends().then(|| track(slot));
    PlanLine { slot, direction, track, stream }
}

/// These slots, in a stream of that name, both ways.
pub(super) fn plan(slots: &[Slot], stream: &str) -> Plan {
    directed(&slots.iter().map(|slot| (*slot, Direction::SendRecv)).collect::<Vec<_>>(), stream)
}

/// These slots, each in a direction.
pub(super) fn directed(lines: &[(Slot, Direction)], stream: &str) -> Plan {
    Plan { lines: lines.iter().map(|(slot, way)| line(*slot, *way, stream)).collect() }
}
