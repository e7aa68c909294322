//! Whether the suite that judges engines (`matrix_voip::testing::conformance`) can fail: delegates
//! that are this engine with one flaw each, and the cells that have to see it. Every cell sees one.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Frame, FrameSink, FrameSource, Media, PeerEvents, RemoteTrack, WebRtc, mailbox},
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, IceServer, PeerConfig, PeerStats, Plan, SdpKind,
        Tones,
    },
    testing::conformance::{Cell, Setting, Subject, Verdict},
};
use matrix_voip_str0m::{Interfaces, Str0m, TrustedRoots};
use testkit::coturn::Coturn;

/// What is wrong with a delegate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    /// Says that it captures, and opens nothing.
    CapturesNothing,
    /// Keeps its news to itself.
    TellsNothing,
    RenamesStreams,
    LeavesOutCandidates,
    /// Answers every line with `sendrecv`.
    AnswersBothWays,
    /// Every negotiation after the first one says what the first one said.
    KeepsItsFirstPlan,
    /// A rollback is the end of the connection.
    EndsWithRollback,
    /// The second negotiation is the end of the connection.
    EndsWithTheSecond,
    IgnoresRestarts,
    IgnoresMute,
    IgnoresReplace,
    /// Sinks want no key frames, and hear no levels.
    Deaf,
    /// Tones are taken, wherever they go.
    TakesAllTones,
    CountsNothing,
    /// All addresses are used, also where only relays may be.
    NamesAllAddresses,
    IgnoresRelease,
    IgnoresClose,
    /// Whoever is not there is asked in vain, and that is said otherwise.
    OtherFault,
    /// Somebody holds it for ever.
    Immortal,
    TakesEverything,
    RefusesCandidates,
    /// No more than eight connections.
    Small,
    /// While one offer of theirs waits, others are forgotten.
    KeepsTheirFirstOffer,
    IgnoresServers,
    /// Whatever fingerprint an answer names, that of whom it met last is taken.
    TrustsAnybody,
}

/// Which cells have to see which flaw.
const SEEN: &[(Flaw, &[&str])] = &[
    (Flaw::KeepsTheirFirstOffer, &["an offer takes the place of one that waits"]),
    (Flaw::TrustsAnybody, &["who has another certificate than was said is not connected"]),
    (Flaw::IgnoresServers, &["servers that are set later are asked at the next restart"]),
    (
        Flaw::CapturesNothing,
        &["sound both ways", "sound and picture both ways", "levels of sound arrive"],
    ),
    (
        Flaw::TellsNothing,
        &[
            "sound both ways",
            "the local description holds all candidates",
            "a device that ends is told",
            "the other side learns that a connection is closed",
        ],
    ),
    (
        Flaw::RenamesStreams,
        &[
            "stream ids are those of the plan, at both sides",
            "a screen in a line and a stream of its own",
        ],
    ),
    (Flaw::LeavesOutCandidates, &["the local description holds all candidates"]),
    (
        Flaw::AnswersBothWays,
        &[
            "a voice answer to a video offer",
            "an answer that receives a picture and sends none",
            "hold by the offerer, and its end",
            "hold by the answerer, and its end",
            "hold both ways (inactive), and its end",
        ],
    ),
    (
        Flaw::KeepsItsFirstPlan,
        &[
            "a picture that the offerer adds",
            "a picture that the answerer adds",
            "a picture that is taken away and comes again",
            "a screen in a line and a stream of its own",
            "hold both ways (inactive), and its end",
        ],
    ),
    (
        Flaw::EndsWithRollback,
        &[
            "a rollback leaves everything as it was",
            "a rollback of the first offer",
            "glare: both add a picture, ours gives way",
            "glare: both add a picture, theirs gives way",
        ],
    ),
    (Flaw::EndsWithTheSecond, &["an offer that changes nothing"]),
    (Flaw::IgnoresRestarts, &["ICE restart by the offerer", "ICE restart by the answerer"]),
    (Flaw::IgnoresMute, &["muted: silence in place of sound, no picture"]),
    (
        Flaw::IgnoresReplace,
        &[
            "another microphone on the same line",
            "another device that is refused: the old one goes on",
            "a device that ends is told",
        ],
    ),
    (Flaw::Deaf, &["a key frame that is wanted reaches the camera", "levels of sound arrive"]),
    (Flaw::TakesAllTones, &["tones are sent, or declared unsupported"]),
    (Flaw::CountsNothing, &["figures name path, codec and counts"]),
    (
        Flaw::NamesAllAddresses,
        &[
            "relays alone: no address of ours is named",
            "a call over a relay, by UDP",
            "a call over a relay, by TCP",
            "a call over a relay, by TLS",
        ],
    ),
    (
        Flaw::IgnoresRelease,
        &[
            "a device that nobody grants is given up on release",
            "release closes the device before it answers",
        ],
    ),
    (
        Flaw::IgnoresClose,
        &[
            "a connection that is closed while it opens",
            "the other side learns that a connection is closed",
            "100 calls leave no task, socket, device or memory",
        ],
    ),
    (Flaw::OtherFault, &["what is asked of nobody is not found"]),
    (Flaw::Immortal, &["an engine that is dropped leaves nothing open"]),
    (
        Flaw::TakesEverything,
        &[
            "hostile descriptions are refused, and the next is taken",
            "an answer that does not fit is refused, and the next offer works",
        ],
    ),
    (Flaw::RefusesCandidates, &["hostile candidates are skipped"]),
    (Flaw::Small, &["40 calls at once"]),
];

/// An engine with a flaw.
struct Flawed {
    flaw: Flaw,
    inner: Arc<Str0m>,
    first: Mutex<BTreeMap<PeerId, Plan>>,
    negotiated: Mutex<BTreeMap<PeerId, u32>>,
    open: Mutex<BTreeSet<PeerId>>,
    /// Whose offer waits for our answer.
    waiting: Mutex<BTreeSet<PeerId>>,
}

/// The fingerprints with their last bit turned.
fn turned(sdp: &str) -> String {
    let turn = |line: &str| match line.split_at_checked(line.len().saturating_sub(1)) {
        Some((rest, last)) if line.starts_with("a=fingerprint:") => {
            format!("{rest}{:X}\r\n", u8::from_str_radix(last, 16).unwrap() ^ 1)
        }
        _ => format!("{line}\r\n"),
    };
    sdp.lines().map(turn).collect()
}

/// The engine as it should be.
fn right(media: Arc<dyn Media>, roots: &TrustedRoots) -> Arc<Str0m> {
    let builder = Str0m::builder(media).interfaces(Interfaces::Loopback);
    Arc::new(builder.trusted_roots(roots.clone()).build())
}

impl Flawed {
    fn subject(flaw: Flaw, roots: &TrustedRoots) -> Subject {
        let roots = roots.clone();
        let subject = Subject::new(format!("{flaw:?}"), move |media| {
            let media = if flaw == Flaw::Deaf { Arc::new(Deaf(media)) } else { media };
            let inner = right(media, &roots);
            if flaw == Flaw::Immortal {
                std::mem::forget(inner.clone());
            }
            let (first, negotiated, open, waiting) = Default::default();
            Arc::new(Self { flaw, inner, first, negotiated, open, waiting })
        });
        if flaw == Flaw::TakesAllTones { subject.without_tones() } else { subject }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// What is negotiated: by the flaw, always the same.
    fn plan(&self, peer: PeerId, plan: Plan) -> Plan {
        let first = self.first.lock().unwrap().entry(peer).or_insert_with(|| plan.clone()).clone();
        if self.is(Flaw::KeepsItsFirstPlan) { first } else { plan }
    }

    /// Another description is made.
    async fn count(&self, peer: PeerId) {
        let number = {
            let mut negotiated = self.negotiated.lock().unwrap();
            let number = negotiated.entry(peer).or_default();
            *number += 1;
            *number
        };
        if self.is(Flaw::EndsWithTheSecond) && number == 2 {
            drop(self.inner.close(peer).await);
        }
    }

    fn spoil(&self, description: Description) -> Description {
        let text = description.sdp.expose();
        let text = match self.flaw {
            Flaw::RenamesStreams => text.replace("a=msid:", "a=msid:x"),
            Flaw::LeavesOutCandidates => {
                let kept = text.lines().filter(|line| !line.starts_with("a=candidate"));
                kept.flat_map(|line| [line, "\r\n"]).collect()
            }
            Flaw::AnswersBothWays if description.kind == SdpKind::Answer => {
                let ways = ["a=inactive", "a=recvonly", "a=sendonly"];
                ways.iter().fold(text.to_owned(), |text, way| text.replace(way, "a=sendrecv"))
            }
            _ => text.to_owned(),
        };
        Description { kind: description.kind, sdp: text.into() }
    }
}

#[async_trait]
impl WebRtc for Flawed {
    async fn open(
        &self,
        peer: PeerId,
        config: PeerConfig,
        events: PeerEvents,
    ) -> Result<(), Fault> {
        let many = {
            let mut open = self.open.lock().unwrap();
            open.insert(peer);
            open.len()
        };
        if self.is(Flaw::Small) && many > 8 {
            return Err(Fault::Failed("too many".to_owned()));
        }
        let all = self.is(Flaw::NamesAllAddresses);
        let config = PeerConfig { relay_only: config.relay_only && !all, ..config };
        let nobody = PeerEvents::new(peer, mailbox::pair().1.news());
        let events = if self.is(Flaw::TellsNothing) { nobody } else { events };
        self.inner.open(peer, config, events).await
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.count(peer).await;
        let plan = self.plan(peer, plan);
        let offer = self.inner.offer(peer, plan).await;
        if self.is(Flaw::OtherFault) && offer == Err(Fault::NotFound) {
            return Err(Fault::Failed("nobody".to_owned()));
        }
        offer.map(|offer| self.spoil(offer))
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.count(peer).await;
        self.waiting.lock().unwrap().remove(&peer);
        let plan = self.plan(peer, plan);
        let answer = self.inner.answer(peer, plan).await;
        if self.is(Flaw::TakesEverything) && answer.is_err() {
            return Ok(Description { kind: SdpKind::Answer, sdp: "v=0\r\n".into() });
        }
        answer.map(|answer| self.spoil(answer))
    }

    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        self.inner.set_local(peer, description).await
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.inner.local_description(peer).await.map(|local| self.spoil(local))
    }

    async fn set_remote(&self, peer: PeerId, mut description: Description) -> Result<(), Fault> {
        if self.is(Flaw::TrustsAnybody) && description.kind == SdpKind::Answer {
            // As if it did not look: what the cell has turned is turned back.
            description.sdp = turned(description.sdp.expose()).into();
        }
        let is_offer = description.kind == SdpKind::Offer;
        let waits = is_offer && !self.waiting.lock().unwrap().insert(peer);
        if waits && self.is(Flaw::KeepsTheirFirstOffer) {
            return Ok(());
        }
        let taken = self.inner.set_remote(peer, description).await;
        if self.is(Flaw::TakesEverything) { Ok(()) } else { taken }
    }

    async fn rollback(&self, peer: PeerId) -> Result<(), Fault> {
        if self.is(Flaw::EndsWithRollback) {
            return self.inner.close(peer).await;
        }
        self.inner.rollback(peer).await
    }

    async fn candidates(&self, peer: PeerId, candidates: Vec<Candidate>) -> Result<(), Fault> {
        let odd = |one: &Candidate| !one.candidate.expose().contains(" udp ");
        if self.is(Flaw::RefusesCandidates) && candidates.iter().any(odd) {
            return Err(Fault::Failed("what is this".to_owned()));
        }
        self.inner.candidates(peer, candidates).await
    }

    async fn restart_ice(&self, peer: PeerId) -> Result<(), Fault> {
        if self.is(Flaw::IgnoresRestarts) { Ok(()) } else { self.inner.restart_ice(peer).await }
    }

    async fn set_servers(&self, peer: PeerId, servers: Vec<IceServer>) -> Result<(), Fault> {
        if self.is(Flaw::IgnoresServers) {
            return Ok(());
        }
        self.inner.set_servers(peer, servers).await
    }

    async fn stats(&self, peer: PeerId) -> Result<PeerStats, Fault> {
        let mut stats = self.inner.stats(peer).await?;
        if self.is(Flaw::CountsNothing) {
            (stats.inbound, stats.outbound) = (Vec::new(), Vec::new());
        }
        Ok(stats)
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        if self.is(Flaw::IgnoresClose) { Ok(()) } else { self.inner.close(peer).await }
    }

    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        if self.is(Flaw::CapturesNothing) {
            return Ok(());
        }
        self.inner.capture(session, track, what).await
    }

    async fn enable(&self, track: TrackId, on: bool) -> Result<(), Fault> {
        if self.is(Flaw::IgnoresMute) { Ok(()) } else { self.inner.enable(track, on).await }
    }

    async fn replace(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<(), Fault> {
        if self.is(Flaw::IgnoresReplace) {
            return Ok(());
        }
        self.inner.replace(session, track, what).await
    }

    async fn dtmf(&self, track: TrackId, tones: Tones) -> Result<(), Fault> {
        self.inner.dtmf(track, tones).await
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        if self.is(Flaw::IgnoresRelease) { Ok(()) } else { self.inner.release(track).await }
    }
}

/// Media whose sinks want no key frames and hear no levels.
struct Deaf(Arc<dyn Media>);

#[async_trait]
impl Media for Deaf {
    async fn capture(
        &self,
        session: SessionId,
        track: TrackId,
        what: Capture,
    ) -> Result<Box<dyn FrameSource>, Fault> {
        self.0.capture(session, track, what).await
    }

    fn sink(&self, track: RemoteTrack) -> Option<Box<dyn FrameSink>> {
        Some(Box::new(DeafSink(self.0.sink(track)?)))
    }
}

struct DeafSink(Box<dyn FrameSink>);

impl FrameSink for DeafSink {
    fn push(&mut self, frame: Frame) {
        self.0.push(Frame { audio_level: None, ..frame });
    }
}

#[tokio::test]
async fn every_cell_sees_a_flaw() {
    let cells = Cell::all();
    let named: BTreeSet<_> = SEEN.iter().flat_map(|(_, cells)| cells.iter().copied()).collect();
    let all: BTreeSet<_> = cells.iter().map(Cell::name).collect();
    let unseen: Vec<_> = all.symmetric_difference(&named).collect();
    assert!(unseen.is_empty(), "{unseen:?}");

    let mut setting = Setting::default();
    setting.patience = Duration::from_secs(2);
    let coturn = Coturn::start(&[]).await;
    let mut roots = TrustedRoots::default();
    if let Some(coturn) = &coturn {
        setting.relays = coturn.relays();
        roots = TrustedRoots::only(coturn.certificate.as_bytes()).unwrap();
    }
    let trusted = roots.clone();
    let right = Subject::new("str0m", move |media| right(media, &trusted));
    for (flaw, seen_by) in SEEN {
        for cell in cells.iter().filter(|cell| seen_by.contains(&cell.name())) {
            let flawed = Flawed::subject(*flaw, &roots);
            let (one, other) = (
                cell.play(&flawed, &right, &setting).await,
                cell.play(&right, &flawed, &setting).await,
            );
            // What needs a TURN server that is not there was said by whoever looked for it.
            let is_seen =
                |verdict: &Verdict| matches!(verdict, Verdict::Failed(_) | Verdict::Skipped(_));
            println!("{flaw:?}: {}: {one} / {other}", cell.name());
            assert!(is_seen(&one) || is_seen(&other), "{flaw:?} is not seen by {cell:?}");
        }
    }
}
