//! From a [`Plan`] to m-lines and back: offers, answers, rollback.
//!
//! [`Negotiation`] remembers the m-lines in their order, which [`Slot`] each serves, what it sends
//! and which way it flows. To the crate every line is `sendrecv` for ever (`sdp`); what is agreed
//! comes out of the two descriptions as they are ([`Agreed`]).
//!
//! Correction B: directions are decided here and never by the crate. Correction E: what it does not do by
//! itself is done explicitly, a rollback before a remote offer is answered, and a restart once more when
//! the offer that asked for it was rolled back.
//!
//! An offer is in force in the crate as soon as it is made, so that a rollback finds it there. A
//! remote offer waits until it is answered: the crate could not take a second one in its place.

use std::{collections::BTreeMap, sync::Arc};

use matrix_voip::{
    host::Codec,
    id::{StreamId, TrackId},
    machine::io::{Description, Direction, MediaKind, Plan, SdpKind, Slot},
    sdp::ice_ufrag,
};
use matrix_voip_engine::sdp::{acceptable, planned, slots};
use rtc::{
    peer_connection::configuration::RTCOfferOptions,
    rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit},
};
use webrtc::{
    peer_connection::{PeerConnection, RTCSessionDescription},
    rtp_transceiver::RtpTransceiver,
};

use crate::{
    codecs,
    error::PeerError,
    lines::{Mapped, Order, Sent, check_ids, fresh, line_kind},
    sdp::{self, Line, Outward, Saying},
    send::{Form, Source, crate_kind},
};

/// What is agreed about one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) form: Form,
    pub(crate) kind: MediaKind,
    /// The crate's number of the line.
    pub(crate) transceiver: usize,
    /// What we send on it.
    pub(crate) sends: Option<TrackId>,
    /// Whether their media comes to us on it, and its stream.
    pub(crate) receives: Option<Option<StreamId>>,
    /// The sources that they named.
    pub(crate) sources: Vec<u32>,
}

/// Our part in the DTLS handshake, once it is settled (correction A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Active,
    Passive,
}

impl Role {
    /// Our part where theirs is this.
    fn opposite(theirs: Option<&str>) -> Self {
        if theirs == Some("active") { Self::Passive } else { Self::Active }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// An offer of ours that nobody has answered.
struct Pending {
    former: Vec<Mapped>,
    /// Whether it asks for new ICE credentials.
    restarts: bool,
    /// What was in force before it.
    local: Option<SdpKind>,
}

/// The m-lines of one connection and what is being agreed about them.
pub(crate) struct Negotiation {
    lines: Vec<Mapped>,
    order: Order,
    /// Lines of the crate's that belong to none of ours: left over from a rolled back offer.
    spares: Vec<(Slot, usize)>,
    pub(crate) sources: BTreeMap<usize, Source>,
    pending: Option<Pending>,
    remote_offer: Option<String>,
    local: Option<SdpKind>,
    role: Option<Role>,
    /// The next offer is to ask for new ICE credentials; so it stays until they are agreed.
    restart: bool,
    remote_ufrag: Option<String>,
    /// The codecs that the other side has, of each kind, where it is known.
    theirs: BTreeMap<MediaKind, Vec<Codec>>,
    relay_only: bool,
    /// The name of all our sources in RTCP.
    name: String,
}

type Pc = Arc<dyn PeerConnection>;

impl Negotiation {
    /// Nothing is agreed yet.
    pub(crate) fn new(relay_only: bool) -> Self {
        let name = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
        Self {
            lines: Vec::new(),
            order: Order::default(),
            spares: Vec::new(),
            sources: BTreeMap::new(),
            pending: None,
            remote_offer: None,
            local: None,
            role: None,
            restart: false,
            remote_ufrag: None,
            theirs: BTreeMap::new(),
            relay_only,
            name,
        }
    }

    /// Gives the next offer new ICE credentials.
    pub(crate) fn restart_ice(&mut self) {
        self.restart = true;
    }

    /// Makes an offer for the plan; a former offer that is still unanswered is forgotten.
    ///
    /// # Errors
    /// [`PeerError::BadStreamId`], [`PeerError::NothingToOffer`], [`PeerError::Unfit`] when the crate
    /// refuses; the lines are as they were then.
    pub(crate) async fn offer(&mut self, pc: &Pc, plan: &Plan) -> Result<Description, PeerError> {
        plan.lines.iter().try_for_each(check_ids)?;
        self.rollback(pc).await?;
        if plan.lines.is_empty() && self.lines.is_empty() {
            return Err(PeerError::NothingToOffer);
        }
        let former = self.lines.clone();
        let restarts = std::mem::take(&mut self.restart);
        let made = self.make_offer(pc, plan, restarts).await;
        let local = self.local.replace(SdpKind::Offer);
        self.pending = Some(Pending { former, restarts, local });
        if let Err(error) = made {
            self.take_back(pc).await;
            return Err(error);
        }
        self.description(pc).await
    }

    /// An offer in force in the crate, by lines of ours.
    async fn make_offer(&mut self, pc: &Pc, plan: &Plan, restarts: bool) -> Result<(), PeerError> {
        self.arrange(pc, plan).await?;
        let options = RTCOfferOptions { ice_restart: restarts };
        let offer = pc.create_offer(Some(options)).await.map_err(unfit)?;
        pc.set_local_description(offer).await.map_err(unfit)?;
        for line in self.lines.iter_mut().filter(|line| line.mid.is_empty()) {
            line.mid = mid_of(pc, line.transceiver).await.ok_or(PeerError::Unfit)?;
        }
        self.assign(plan);
        for line in &mut self.lines {
            let wanted = line.slot.and_then(|slot| planned(plan, slot));
            line.direction = wanted.map_or(Direction::Inactive, |wanted| wanted.direction);
        }
        Ok(())
    }

    /// Takes a remote offer; it has no effect before [`answer`](Self::answer).
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub(crate) fn take_offer(&mut self, offer: &str) -> Result<(), PeerError> {
        let offer = sdp::checked(offer)?;
        RTCSessionDescription::offer(sdp::inward(&offer)).map_err(unreadable)?;
        self.order.allows(&sdp::read(&offer)).then_some(()).ok_or(PeerError::Unfit)?;
        self.remote_offer = Some(offer);
        Ok(())
    }

    /// Answers the remote offer and puts both into force.
    ///
    /// # Errors
    /// [`PeerError::NoRemoteOffer`], or why the crate refuses the offer; it can be asked again
    /// after another one.
    pub(crate) async fn answer(
        &mut self,
        pc: &Pc,
        plan: &Plan,
    ) -> Result<(Description, Vec<Agreed>, String), PeerError> {
        plan.lines.iter().try_for_each(check_ids)?;
        let offer = self.remote_offer.take().ok_or(PeerError::NoRemoteOffer)?;
        // Correction E: the crate rolls nothing back by itself.
        self.rollback(pc).await?;
        let offered = sdp::read(&offer);
        let parsed = RTCSessionDescription::offer(sdp::inward(&offer)).map_err(unreadable)?;
        if let Err(error) = pc.set_remote_description(parsed).await {
            return Err(self.withdraw(pc, unfit(error)).await);
        }
        let former = self.lines.clone();
        if let Err(error) = self.accept(pc, &offered, plan).await {
            self.give_up(former);
            return Err(self.withdraw(pc, error).await);
        }
        self.order.agree(&offered, &self.lines);
        self.local = Some(SdpKind::Answer);
        if self.role.is_none() {
            // The crate does what the offer leaves to it, whatever its answer says.
            self.role = Some(Role::opposite(sdp::setup(&offer)));
        }
        if self.note_generation(&offer) {
            self.restart = false;
        }
        let answer = self.description(pc).await?;
        let agreed = self.agree(&sdp::read(answer.sdp.expose()), &offered, SdpKind::Answer);
        Ok((answer, agreed, offer))
    }

    /// Gives the lines of the offer to ours, and puts an answer into force in the crate.
    async fn accept(&mut self, pc: &Pc, offered: &[Line], plan: &Plan) -> Result<(), PeerError> {
        let mut lines = self.lines.clone();
        // Those that are named no more were off, and others have their places.
        lines.retain(|line| offered.iter().any(|theirs| theirs.mid == line.mid));
        adopt(pc, &mut lines, offered).await?;
        for line in &mut lines {
            let Some(theirs) = offered.iter().find(|theirs| theirs.mid == line.mid) else {
                continue;
            };
            if !line.is_off && (theirs.is_off || theirs.payloads.is_empty()) {
                // They stopped it, or we refuse it: what it served may get another one.
                (line.is_off, line.slot) = (true, None);
            }
            line.direction = acceptable(plan, line.slot, theirs.kind, theirs.direction);
        }
        self.spares.retain(|(_, spare)| lines.iter().all(|line| line.transceiver != *spare));
        self.lines = lines;
        self.note_codecs(offered);
        self.complete(pc).await?;
        let answer = pc.create_answer(None).await.map_err(unfit)?;
        pc.set_local_description(answer).await.map_err(unfit)?;
        self.assign(plan);
        Ok(())
    }

    /// Every line that the offer made gets a source: a hold that ends needs no new one.
    async fn complete(&mut self, pc: &Pc) -> Result<(), PeerError> {
        let all = pc.get_transceivers().await;
        for transceiver in &all {
            let id = transceiver.id();
            let line = self.lines.iter().find(|line| line.transceiver == id && !line.is_off);
            let Some(slot_kind) = line.and_then(|line| line.slot).map(Slot::kind) else { continue };
            if !self.sources.contains_key(&id) {
                self.attach(pc, (id, all.len()), slot_kind).await?;
                self.prefer(transceiver, slot_kind).await;
            }
            let both = RTCRtpTransceiverDirection::Sendrecv;
            transceiver.set_direction(both).await.map_err(unfit)?;
        }
        Ok(())
    }

    /// Gives a line a source. The crate chooses the line: the first of that kind without one; it
    /// may be one that nobody uses, which then has one as well. Where none is left it would make a new
    /// one, again and again.
    async fn attach(
        &mut self,
        pc: &Pc,
        (id, count): (usize, usize),
        kind: MediaKind,
    ) -> Result<(), PeerError> {
        while !self.sources.contains_key(&id) {
            let source = Source::new(self.codec(kind), &self.name);
            let sender = pc.add_track(source.track()).await.map_err(unfit)?;
            let chosen: usize = sender.id().into();
            self.sources.insert(chosen, source);
            (chosen < count).then_some(()).ok_or(PeerError::Unfit)?;
        }
        Ok(())
    }

    /// Takes the remote offer out of the crate again.
    async fn withdraw(&mut self, pc: &Pc, error: PeerError) -> PeerError {
        let Ok(rollback) = RTCSessionDescription::rollback(None) else { return error };
        drop(pc.set_remote_description(rollback).await);
        error
    }

    /// Puts the answer to our offer into force.
    ///
    /// # Errors
    /// [`PeerError::NoOffer`], or what is wrong with the answer. With an answer that the crate refuses
    /// the offer is taken back.
    pub(crate) async fn take_answer(
        &mut self,
        pc: &Pc,
        answer: &str,
    ) -> Result<Vec<Agreed>, PeerError> {
        let answer = &sdp::checked(answer)?;
        let parsed = RTCSessionDescription::answer(sdp::inward(answer)).map_err(unreadable)?;
        let theirs = sdp::read(answer);
        // The crate would find that out when half of it is done.
        let offer = pc.pending_local_description().await.ok_or(PeerError::NoOffer)?;
        let mut ours = sdp::read(&offer.sdp);
        ours.retain(|line| line.kind.is_none() || self.is_named(&line.mid));
        let fits = ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(a, b)| a.mid == b.mid && a.kind == b.kind);
        fits.then_some(()).ok_or(PeerError::Unfit)?;
        if self.pending.is_none() {
            return Err(PeerError::NoOffer);
        }
        if let Err(error) = pc.set_remote_description(parsed).await {
            self.take_back(pc).await;
            return Err(unfit(error));
        }
        self.pending = None;
        if self.role.is_none() {
            self.role = Some(Role::opposite(sdp::setup(answer)));
        }
        for line in &mut self.lines {
            let said = theirs.iter().find(|theirs| theirs.mid == line.mid);
            line.is_off |= said.is_some_and(|said| said.is_off);
        }
        self.order.agree(&theirs, &self.lines);
        self.note_codecs(&theirs);
        self.note_generation(answer);
        Ok(self.agree(&ours, &theirs, SdpKind::Offer))
    }

    /// Forgets our unanswered offer, if there is one. A restart that it asked for is still wanted.
    ///
    /// # Errors
    /// The crate refuses, which it does only when it is closed.
    pub(crate) async fn rollback(&mut self, pc: &Pc) -> Result<(), PeerError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        self.give_up(pending.former);
        // Correction E: with the offer the crate forgets that it was to restart.
        self.restart |= pending.restarts;
        self.local = pending.local;
        let rollback = RTCSessionDescription::rollback(None).map_err(unfit)?;
        pc.set_local_description(rollback).await.map_err(unfit)
    }

    /// The same for an offer that failed: what the crate says of it is of no interest.
    async fn take_back(&mut self, pc: &Pc) {
        if self.rollback(pc).await.is_err() {
            tracing::debug!("the crate had nothing to take back");
        }
    }

    /// Goes back to these lines. The crate keeps those that were made since and have a source.
    fn give_up(&mut self, former: Vec<Mapped>) {
        let is_new = |line: &&Mapped| {
            former.iter().all(|former| former.transceiver != line.transceiver)
                && self.sources.contains_key(&line.transceiver)
        };
        let new: Vec<_> = self.lines.iter().filter(is_new).collect();
        self.spares.extend(new.iter().filter_map(|line| Some((line.slot?, line.transceiver))));
        self.lines = former;
    }

    /// Whether a description of this kind was made and can be put into force.
    pub(crate) fn has_made(&self, kind: SdpKind) -> bool {
        self.local == Some(kind)
    }

    /// Our last description as the other side gets it, with the candidates found so far.
    ///
    /// # Errors
    /// [`PeerError::NoDescription`].
    pub(crate) async fn description(&self, pc: &Pc) -> Result<Description, PeerError> {
        let kind = self.local.ok_or(PeerError::NoDescription)?;
        let made = pc.local_description().await.ok_or(PeerError::NoDescription)?;
        let saying = |mid: &str| match self.lines.iter().find(|line| line.mid == mid) {
            Some(line) if line.is_off => Saying::Off,
            Some(line) => Saying::On(line.direction, line.named.as_ref().map(Sent::msid)),
            None => Saying::Gone,
        };
        let answers = kind == SdpKind::Answer;
        let role = self.role.filter(|_| answers).map(Role::name);
        let how = Outward { saying, role, relay_only: self.relay_only };
        Ok(Description { kind, sdp: sdp::outward(&made.sdp, &how).into() })
    }

    /// Makes the lines that the plan has besides those that are there.
    async fn arrange(&mut self, pc: &Pc, plan: &Plan) -> Result<(), PeerError> {
        // The crate offers what was left over, wanted or not.
        for (slot, transceiver) in std::mem::take(&mut self.spares) {
            self.lines.push(fresh(slot, transceiver));
        }
        for wanted in &plan.lines {
            let slot = wanted.slot;
            if self.lines.iter().any(|line| line.slot == Some(slot)) {
                continue;
            }
            let source = Source::new(self.codec(slot.kind()), &self.name);
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendrecv,
                ..RTCRtpTransceiverInit::default()
            };
            let made = pc.add_transceiver_from_track(source.track(), Some(init)).await;
            let made = made.map_err(unfit)?;
            self.prefer(&made, slot.kind()).await;
            self.sources.insert(made.id(), source);
            self.lines.push(fresh(slot, made.id()));
        }
        Ok(())
    }

    /// The codec that a source is bound with; another of its kind can be sent as well.
    fn codec(&self, kind: MediaKind) -> Codec {
        let usual = if kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 };
        self.theirs.get(&kind).and_then(|codecs| codecs.first()).copied().unwrap_or(usual)
    }

    /// A source is bound with one codec, which the crate takes for the only one of the line.
    async fn prefer(&self, transceiver: &Arc<dyn RtpTransceiver>, kind: MediaKind) {
        let mut all = codecs::of_kind(crate_kind(kind));
        if let Some(theirs) = self.theirs.get(&kind) {
            let names: Vec<_> = theirs.iter().map(|codec| codecs::parameters(*codec)).collect();
            all.retain(|codec| {
                names.iter().any(|name| name.mime_type == codec.rtp_codec.mime_type)
            });
        }
        drop(transceiver.set_codec_preferences(all).await);
    }

    /// Whether our descriptions name a line of the crate's.
    fn is_named(&self, mid: &str) -> bool {
        self.lines.iter().any(|line| line.mid == mid)
    }

    fn note_codecs(&mut self, theirs: &[Line]) {
        for line in theirs.iter().filter(|line| !line.payloads.is_empty()) {
            let codecs = line.payloads.iter().map(|(_, codec)| *codec).collect();
            if let Some(kind) = line.kind {
                self.theirs.entry(kind).or_insert(codecs);
            }
        }
    }

    /// Gives every line the track that the plan wants it to send.
    fn assign(&mut self, plan: &Plan) {
        for line in &mut self.lines {
            let wanted = line.slot.and_then(|slot| planned(plan, slot));
            line.sent = wanted.filter(|wanted| wanted.direction.sends()).and_then(|wanted| {
                Some(Sent { track: wanted.track?, stream: wanted.stream.clone() })
            });
            line.named = line.sent.clone().or_else(|| line.named.take());
        }
    }

    /// What follows from two descriptions; `ours` is of this kind.
    fn agree(&self, ours: &[Line], theirs: &[Line], kind: SdpKind) -> Vec<Agreed> {
        let agreed = self.lines.iter().filter(|line| !line.is_off).filter_map(|line| {
            let our = ours.iter().find(|our| our.mid == line.mid)?;
            let their = theirs.iter().find(|their| their.mid == line.mid)?;
            let answer = if kind == SdpKind::Answer { our } else { their };
            let flows_out = line.direction.sends() && their.direction.receives();
            let flows_in = line.direction.receives() && their.direction.sends();
            Some(Agreed {
                form: Form {
                    mid: line.mid.clone(),
                    payloads: answer.payloads.clone(),
                    level: answer.level,
                    mid_extension: answer.mid_extension,
                },
                kind: line_kind(line, their)?,
                transceiver: line.transceiver,
                sends: line.sent.as_ref().map(|sent| sent.track).filter(|_| flows_out),
                receives: flows_in.then(|| their.stream.clone()),
                sources: their.sources.clone(),
            })
        });
        agreed.collect()
    }

    /// A description of theirs is in force: whether it brought new ICE credentials.
    fn note_generation(&mut self, description: &str) -> bool {
        let ufrag = ice_ufrag(description).map(str::to_owned);
        let is_new = self.remote_ufrag.is_some() && self.remote_ufrag != ufrag;
        self.remote_ufrag = ufrag;
        is_new
    }
}

/// Maps the lines of a remote offer: each that is in use gets the first free slot of its kind.
async fn adopt(pc: &Pc, lines: &mut Vec<Mapped>, offered: &[Line]) -> Result<(), PeerError> {
    let mut transceivers = BTreeMap::new();
    for transceiver in pc.get_transceivers().await {
        if let Ok(Some(mid)) = transceiver.mid().await {
            transceivers.insert(mid, transceiver.id());
        }
    }
    for line in offered {
        let Some(kind) = line.kind else { continue };
        let serves = |known: &Mapped, slot: Slot| known.slot == Some(slot) && !known.is_off;
        let is_free = |slot: &Slot| !lines.iter().any(|known| serves(known, *slot));
        let free = slots(kind).into_iter().find(is_free);
        let slot = free.filter(|_| line.direction != Direction::Inactive && !line.is_off);
        match lines.iter_mut().find(|known| known.mid == line.mid) {
            Some(known) if known.is_off => {}
            Some(known) => known.slot = known.slot.or(slot),
            None => {
                let transceiver = *transceivers.get(&line.mid).ok_or(PeerError::Unfit)?;
                let new = fresh(Slot::Audio, transceiver);
                lines.push(Mapped { mid: line.mid.clone(), slot, ..new });
            }
        }
    }
    Ok(())
}

async fn mid_of(pc: &Pc, id: usize) -> Option<String> {
    let all = pc.get_transceivers().await;
    all.iter().find(|transceiver| transceiver.id() == id)?.mid().await.ok()?
}

/// The crate's texts may quote the description, so they stay out of errors and ordinary logs.
fn unreadable(error: impl std::fmt::Display) -> PeerError {
    tracing::trace!(%error, "description cannot be read");
    PeerError::Unreadable
}

fn unfit(error: impl std::fmt::Display) -> PeerError {
    tracing::trace!(%error, "description refused");
    PeerError::Unfit
}
