//! The engine with one flaw, and the one without.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::resume_unwind,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use matrix_voip::{
    host::{Media, PeerEvents, Playout, WebRtc, mailbox},
    id::{PeerId, SessionId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Direction, Fault, IceServer, Input, PeerConfig, PeerNews,
        PeerStats, Plan, SdpKind, Slot, Tones,
    },
    testing::conformance::Subject,
};
use matrix_voip_str0m::{Interfaces, Str0m, TrustedRoots};

use crate::{
    Flaw,
    media::{Deaf, Keeping, Kept},
};

/// An engine with a flaw.
pub(crate) struct Flawed {
    flaw: Flaw,
    inner: Arc<Str0m>,
    first: Mutex<BTreeMap<PeerId, Plan>>,
    negotiated: Mutex<BTreeMap<PeerId, u32>>,
    open: Mutex<BTreeSet<PeerId>>,
    /// Whose offer waits for our answer.
    waiting: Mutex<BTreeSet<PeerId>>,
    /// Which lines sent when they were first planned.
    sent: Mutex<BTreeMap<(PeerId, Slot), bool>>,
    /// What the sinks said first.
    playouts: Mutex<BTreeMap<(PeerId, String), Option<Playout>>>,
    /// Devices that were replaced.
    kept: Kept,
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
pub(crate) fn right(media: Arc<dyn Media>, roots: &TrustedRoots) -> Arc<Str0m> {
    let builder = Str0m::builder(media).interfaces(Interfaces::Loopback);
    Arc::new(builder.trusted_roots(roots.clone()).build())
}

impl Flawed {
    pub(crate) fn subject(flaw: Flaw, roots: &TrustedRoots) -> Subject {
        let roots = roots.clone();
        let subject = Subject::new(format!("{flaw:?}"), move |media| {
            if flaw == Flaw::PanicsAtOnce {
                resume_unwind(Box::new("a flaw"));
            }
            let kept = Kept::default();
            let media: Arc<dyn Media> = match flaw {
                Flaw::Deaf => Arc::new(Deaf { inner: media, levels: false, contiguous: true }),
                Flaw::SeesGaps => Arc::new(Deaf { inner: media, levels: true, contiguous: false }),
                Flaw::OldDeviceStays => Arc::new(Keeping { inner: media, kept: kept.clone() }),
                _ => media,
            };
            let inner = right(media, &roots);
            if flaw == Flaw::Immortal {
                std::mem::forget(inner.clone());
            }
            let (first, negotiated, open, waiting, sent, playouts) = Default::default();
            Arc::new(Self { flaw, inner, first, negotiated, open, waiting, sent, playouts, kept })
        });
        if flaw == Flaw::TakesAllTones { subject.without_tones() } else { subject }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// What is negotiated: by the flaw, always the same.
    fn plan(&self, peer: PeerId, plan: Plan, is_offer: bool) -> Plan {
        let first = self.first.lock().unwrap().entry(peer).or_insert_with(|| plan.clone()).clone();
        let mut plan = if self.is(Flaw::KeepsItsFirstPlan) { first } else { plan };
        for line in &mut plan.lines {
            let (slot, sends) = ((peer, line.slot), line.direction.sends());
            let sent = *self.sent.lock().unwrap().entry(slot).or_insert(sends);
            let is_hidden = is_offer && line.direction == Direction::RecvOnly;
            line.direction = match self.flaw {
                Flaw::NeverUpgrades if sends && !sent => Direction::RecvOnly,
                Flaw::OffersNoRecvOnly if is_hidden => Direction::Inactive,
                _ => continue,
            };
            (line.track, line.stream) = (None, None);
        }
        plan
    }

    /// Where news of a connection go: by the flaw, not as they come.
    fn events(&self, peer: PeerId, events: PeerEvents) -> PeerEvents {
        let (mut driver, mailbox) = mailbox::pair();
        let changed = PeerEvents::new(peer, mailbox.news());
        let flaw = self.flaw;
        let pass = async move {
            let mut first = None;
            while let Some(input) = driver.next().await {
                let Input::Peer(_, news) = input else { continue };
                match (flaw, &news) {
                    (Flaw::ForgetsNewCandidates, PeerNews::Candidate(one)) => {
                        let first = first.get_or_insert_with(|| one.username_fragment.clone());
                        if *first != one.username_fragment {
                            continue;
                        }
                    }
                    (Flaw::TellsNoRemovals, PeerNews::TrackRemoved { .. }) => continue,
                    (Flaw::EndsTwice, PeerNews::GatheringDone) => events.report(news.clone()),
                    _ => {}
                }
                events.report(news);
            }
        };
        tokio::spawn(pass);
        changed
    }

    /// Another description is made.
    async fn count(&self, peer: PeerId) {
        match self.flaw {
            Flaw::Panics => resume_unwind(Box::new("a flaw")),
            Flaw::NeverAnswers => std::future::pending().await,
            _ => {}
        }
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
            Flaw::NamesBases => text.replace("raddr 0.0.0.0 rport 0", "raddr 192.0.2.7 rport 4242"),
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
        let mut config = config;
        config.relay_only &= !self.is(Flaw::NamesAllAddresses);
        let urls = config.ice_servers.iter_mut().flat_map(|server| &mut server.urls);
        for url in urls.filter(|_| self.is(Flaw::OtherTransport)) {
            *url = url.replace("turns:", "turn:").replace("=tcp", "=udp");
        }
        let nobody = PeerEvents::new(peer, mailbox::pair().1.news());
        let events = match self.flaw {
            Flaw::TellsNothing => nobody,
            Flaw::TellsNoRemovals | Flaw::EndsTwice | Flaw::ForgetsNewCandidates => {
                self.events(peer, events)
            }
            _ => events,
        };
        self.inner.open(peer, config, events).await
    }

    async fn offer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.count(peer).await;
        let plan = self.plan(peer, plan, true);
        let offer = self.inner.offer(peer, plan).await;
        if self.is(Flaw::OtherFault) && offer == Err(Fault::NotFound) {
            return Err(Fault::Failed("nobody".to_owned()));
        }
        if let (Flaw::TellsEarly, Ok(offer)) = (self.flaw, &offer) {
            self.inner.set_local(peer, offer.clone()).await?;
        }
        offer.map(|offer| self.spoil(offer))
    }

    async fn answer(&self, peer: PeerId, plan: Plan) -> Result<Description, Fault> {
        self.count(peer).await;
        self.waiting.lock().unwrap().remove(&peer);
        let plan = self.plan(peer, plan, false);
        let answer = self.inner.answer(peer, plan).await;
        if self.is(Flaw::TakesEverything) && answer.is_err() {
            return Ok(Description { kind: SdpKind::Answer, sdp: "v=0\r\n".into() });
        }
        answer.map(|answer| self.spoil(answer))
    }

    async fn set_local(&self, peer: PeerId, description: Description) -> Result<(), Fault> {
        if self.is(Flaw::TellsEarly) && description.kind == SdpKind::Offer {
            return Ok(());
        }
        self.inner.set_local(peer, description).await
    }

    async fn local_description(&self, peer: PeerId) -> Result<Description, Fault> {
        self.inner.local_description(peer).await.map(|local| self.spoil(local))
    }

    async fn set_remote(&self, peer: PeerId, mut description: Description) -> Result<(), Fault> {
        let unseen = match self.flaw {
            Flaw::TrustsWhoAnswers => Some(SdpKind::Answer),
            Flaw::TrustsWhoOffers => Some(SdpKind::Offer),
            _ => None,
        };
        if unseen == Some(description.kind) {
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
        if self.is(Flaw::AsksNoSource) {
            stats.without_device.clear();
        }
        for stream in &mut stats.inbound {
            match self.flaw {
                Flaw::AsksNoSink => stream.playout = None,
                Flaw::KnowsNoSilence => stream.silence = None,
                Flaw::RemembersPlayout => {
                    let mut playouts = self.playouts.lock().unwrap();
                    let line = (peer, stream.mid.clone());
                    stream.playout = *playouts.entry(line).or_insert(stream.playout);
                }
                _ => {}
            }
        }
        Ok(stats)
    }

    async fn close(&self, peer: PeerId) -> Result<(), Fault> {
        match self.flaw {
            Flaw::IgnoresClose => Ok(()),
            Flaw::Panics => resume_unwind(Box::new("a flaw")),
            Flaw::NeverAnswers => std::future::pending().await,
            _ => self.inner.close(peer).await,
        }
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
        if self.is(Flaw::SwallowsTones) { Ok(()) } else { self.inner.dtmf(track, tones).await }
    }

    async fn release(&self, track: TrackId) -> Result<(), Fault> {
        let released =
            if self.is(Flaw::IgnoresRelease) { Ok(()) } else { self.inner.release(track).await };
        self.kept.lock().unwrap().remove(&track);
        released
    }
}
