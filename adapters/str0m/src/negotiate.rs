//! From a [`Plan`] to m-lines and back: offers, answers, rollback.
//!
//! [`Negotiation`] remembers the m-lines of the connection in their order, which [`Slot`] each
//! serves and which local track it sends. An offer makes the lines that the plan lacks; an answer
//! gives each new remote line the first free slot of its kind, and says of each line as much of
//! the plan as the offer allows.
//!
//! str0m applies an offer's directions at once, before anybody has answered; a rollback therefore
//! puts the old ones back. It mirrors a remote offer's directions in its answer; therefore the
//! offer is narrowed first (`sdp::restrict`).

use matrix_voip::{
    id::{StreamId, TrackId},
    machine::io::{Description, Direction, MediaKind, Plan, PlanLine, SdpKind, Slot},
    sdp::{MediaLine, ice_ufrag, media_lines},
};
use matrix_voip_engine::sdp::{Msid, acceptable, media_kind, planned, slots};
use str0m::{
    Rtc,
    change::{SdpAnswer, SdpApi, SdpOffer, SdpPendingOffer},
    media::Mid,
};

use crate::{entropy::Entropy, error::PeerError, guard::fenced, payload::PayloadTypes, sdp};

/// One m-line of ours.
#[derive(Clone)]
struct Mapped {
    mid: Mid,
    /// `None`: the other side has more lines than a call has uses for.
    slot: Option<Slot>,
    /// What it sends, while it does.
    sent: Option<Sent>,
    /// What it has sent last. Descriptions go on naming it: Chromium takes a source that is no
    /// longer named for gone, and stays silent when it comes back.
    named: Option<Sent>,
}

/// What a line sends.
#[derive(Clone)]
struct Sent {
    track: TrackId,
    stream: Option<StreamId>,
}

/// An offer of ours that nobody has answered.
struct Pending {
    changes: SdpPendingOffer,
    lines: Vec<Mapped>,
    /// What str0m changed at once and a rollback must undo.
    directions: Vec<(Mid, str0m::media::Direction)>,
    /// Whether it asks for new ICE credentials.
    restarts: bool,
    /// What was in force before it.
    former: Option<Description>,
}

/// The m-lines of one connection and what is being agreed about them.
#[derive(Default)]
pub(crate) struct Negotiation {
    lines: Vec<Mapped>,
    pending: Option<Pending>,
    remote_offer: Option<String>,
    local: Option<Description>,
    /// What the other side's payload types mean, in all its descriptions so far.
    payload_types: PayloadTypes,
    /// The next offer is to ask for new ICE credentials; so it stays until they are agreed.
    restart: bool,
    /// By what its credentials are made, from its first offer until they are agreed.
    restart_seed: Option<u64>,
    /// The other side's ICE generation.
    remote_ufrag: Option<String>,
}

impl Negotiation {
    /// Gives the next offer new ICE credentials.
    pub(crate) fn restart_ice(&mut self) {
        self.restart = true;
    }

    /// Makes an offer for the plan; a former offer that is still unanswered is forgotten.
    ///
    /// # Errors
    /// [`PeerError::BadStreamId`]; nothing has changed then.
    pub(crate) fn offer(
        &mut self,
        rtc: &mut Rtc,
        entropy: &mut Entropy,
        plan: &Plan,
    ) -> Result<Description, PeerError> {
        plan.lines.iter().try_for_each(check_ids)?;
        self.rollback(rtc);
        entropy.seed_engine();
        let directions = self.directions(rtc);
        let mut lines = self.reusable_lines(rtc);
        let mut api = rtc.sdp_api();
        arrange(&mut api, &mut lines, plan);
        let restarts = std::mem::take(&mut self.restart);
        if restarts {
            // The same credentials as in an offer of it that was taken back: who was told candidates of
            // that one has their addresses already, and Chromium finds no way by the same addresses
            // under a third name.
            Entropy::seed_again(*self.restart_seed.get_or_insert_with(|| entropy.seed()));
            api.ice_restart(true);
            entropy.seed_engine();
        }
        let applied = if api.has_changes() { api.apply() } else { unchanged(api, &directions) };
        let (offer, changes) = applied.ok_or(PeerError::NothingToOffer)?;
        assign(&mut lines, plan);
        let offer = describe(SdpKind::Offer, &offer.to_sdp_string(), &lines);
        let former = self.local.replace(offer.clone());
        self.pending = Some(Pending { changes, lines, directions, restarts, former });
        Ok(offer)
    }

    /// Takes a remote offer; it has no effect before [`answer`](Self::answer).
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub(crate) fn take_offer(&mut self, offer: &str) -> Result<(), PeerError> {
        let offer = sdp::checked(offer)?;
        self.payload_types.joined(&offer)?;
        SdpOffer::from_sdp_string(&offer).map_err(unreadable)?;
        self.remote_offer = Some(offer);
        Ok(())
    }

    /// Answers the remote offer and puts both into force. Returns the answer and the offer as it
    /// was accepted.
    ///
    /// # Errors
    /// [`PeerError::NoRemoteOffer`], or why str0m refuses the offer; it can be asked again after
    /// another one.
    pub(crate) fn answer(
        &mut self,
        rtc: &mut Rtc,
        entropy: &mut Entropy,
        plan: &Plan,
    ) -> Result<(Description, String), PeerError> {
        plan.lines.iter().try_for_each(check_ids)?;
        let offer = self.remote_offer.take().ok_or(PeerError::NoRemoteOffer)?;
        self.rollback(rtc);
        let mut lines = self.lines.clone();
        adopt(&mut lines, &media_lines(&offer));
        let accepted = sdp::restrict(&offer, |line| narrowed(&lines, plan, line));
        let parsed = SdpOffer::from_sdp_string(&accepted).map_err(unreadable)?;
        self.payload_types = self.payload_types.joined(&offer)?;
        let directions = self.directions(rtc);
        anticipate(rtc, &media_lines(&accepted));
        entropy.seed_engine();
        let accepting = fenced(rtc, |rtc| rtc.sdp_api().accept_offer(parsed));
        let answer = accepting?.inspect_err(|_| restore(rtc, &directions)).map_err(unfit)?;
        assign(&mut lines, plan);
        let answer = describe(SdpKind::Answer, &answer.to_sdp_string(), &lines);
        self.lines = lines;
        self.local = Some(answer.clone());
        if self.note_generation(&accepted) {
            (self.restart, self.restart_seed) = (false, None);
        }
        Ok((answer, accepted))
    }

    /// Puts the answer to our offer into force.
    ///
    /// # Errors
    /// [`PeerError::NoOffer`], or what is wrong with the answer. An answer that str0m refuses
    /// uses up the offer; one with other lines than the offer has does not come that far.
    pub(crate) fn take_answer(&mut self, rtc: &mut Rtc, answer: &str) -> Result<(), PeerError> {
        let answer = &sdp::checked(answer)?;
        let parsed = SdpAnswer::from_sdp_string(answer).map_err(unreadable)?;
        let payload_types = self.payload_types.joined(answer)?;
        if self.pending.is_some() && !self.has_offered_lines_of(answer) {
            // str0m would take some of the lines before it refuses, and fit to no later answer.
            return Err(PeerError::Unfit);
        }
        let pending = self.pending.take().ok_or(PeerError::NoOffer)?;
        self.payload_types = payload_types;
        let accepting = fenced(rtc, |rtc| rtc.sdp_api().accept_answer(pending.changes, parsed));
        if let Err(error) = accepting? {
            restore(rtc, &pending.directions);
            self.restart |= pending.restarts;
            return Err(unfit(error));
        }
        self.lines = pending.lines;
        if pending.restarts {
            self.restart_seed = None;
        }
        self.note_generation(answer);
        Ok(())
    }

    /// Whether the lines of an answer are those of our last description, in its order.
    fn has_offered_lines_of(&self, answer: &str) -> bool {
        let offer = self.local.as_ref().map_or("", |local| local.sdp.expose());
        let mids = |text| media_lines(text).into_iter().map(|line| line.mid).collect::<Vec<_>>();
        mids(offer) == mids(answer)
    }

    /// Forgets our unanswered offer, if there is one. A restart that it asked for is still wanted.
    pub(crate) fn rollback(&mut self, rtc: &mut Rtc) {
        if let Some(pending) = self.pending.take() {
            restore(rtc, &pending.directions);
            self.restart |= pending.restarts;
            self.local = pending.former;
        }
    }

    /// A description of theirs is in force: whether it brought new ICE credentials.
    fn note_generation(&mut self, description: &str) -> bool {
        let ufrag = ice_ufrag(description).map(str::to_owned);
        let is_new = self.remote_ufrag.is_some() && self.remote_ufrag != ufrag;
        self.remote_ufrag = ufrag;
        is_new
    }

    /// Whether a description of this kind was made and can be put into force.
    pub(crate) fn has_made(&self, kind: SdpKind) -> bool {
        self.local.as_ref().is_some_and(|local| local.kind == kind)
    }

    /// The last description that was made here.
    pub(crate) fn local(&self) -> Option<&Description> {
        self.local.as_ref()
    }

    /// The lines that send the track, as agreed.
    pub(crate) fn sending<'a>(
        &'a self,
        rtc: &'a Rtc,
        track: TrackId,
    ) -> impl Iterator<Item = Mid> + 'a {
        self.lines
            .iter()
            .filter(move |line| line.sent.as_ref().is_some_and(|sent| sent.track == track))
            .filter(|line| rtc.media(line.mid).is_some_and(|media| media.direction().is_sending()))
            .map(|line| line.mid)
    }

    /// The tracks that are sent, with their lines.
    pub(crate) fn sent_tracks(&self) -> impl Iterator<Item = (Mid, TrackId)> + '_ {
        self.lines.iter().filter_map(|line| Some((line.mid, line.sent.as_ref()?.track)))
    }

    fn directions(&self, rtc: &Rtc) -> Vec<(Mid, str0m::media::Direction)> {
        let known = |line: &Mapped| Some((line.mid, rtc.media(line.mid)?.direction()));
        self.lines.iter().filter_map(known).collect()
    }

    /// Our lines; those that the other side has switched off for ever lose their slot.
    fn reusable_lines(&self, rtc: &Rtc) -> Vec<Mapped> {
        let mut lines = self.lines.clone();
        for line in &mut lines {
            if rtc.media(line.mid).is_none_or(|media| media.stopped()) {
                line.slot = None;
            }
        }
        lines
    }
}

/// Changes the lines as the plan wants them for an offer: directions of those that are there, new
/// ones for what the plan has besides.
fn arrange(api: &mut SdpApi<'_>, lines: &mut Vec<Mapped>, plan: &Plan) {
    for line in lines.iter() {
        let wanted = line.slot.and_then(|slot| planned(plan, slot));
        let direction = wanted.map_or(Direction::Inactive, |wanted| wanted.direction);
        api.set_direction(line.mid, theirs(direction));
    }
    for wanted in &plan.lines {
        if !lines.iter().any(|line| line.slot == Some(wanted.slot)) {
            let mid = add_media(api, wanted);
            lines.push(Mapped { mid, slot: Some(wanted.slot), sent: None, named: None });
        }
    }
}

/// Gives every line the track that the plan wants it to send.
fn assign(lines: &mut [Mapped], plan: &Plan) {
    for line in lines {
        let wanted = line.slot.and_then(|slot| planned(plan, slot));
        line.sent = wanted
            .filter(|wanted| wanted.direction.sends())
            .and_then(|wanted| Some(Sent { track: wanted.track?, stream: wanted.stream.clone() }));
        line.named = line.sent.clone().or_else(|| line.named.take());
    }
}

/// Maps the lines of a remote offer: each that is in use gets the first free slot of its kind.
fn adopt(lines: &mut Vec<Mapped>, offered: &[MediaLine<'_>]) {
    for line in offered {
        let (Some(mid), Some(kind)) = (line.mid.map(Mid::from), media_kind(line.kind)) else {
            continue;
        };
        let is_free = |slot: &Slot| !lines.iter().any(|known| known.slot == Some(*slot));
        let free = slots(kind).into_iter().find(is_free);
        let slot = free.filter(|_| line.direction != Direction::Inactive);
        match lines.iter_mut().find(|known| known.mid == mid) {
            Some(known) => known.slot = known.slot.or(slot),
            None => lines.push(Mapped { mid, slot, sent: None, named: None }),
        }
    }
}

/// The direction that a line of the offer must have, so that the answer, which mirrors it, says what we
/// want and the offer allows.
fn narrowed(lines: &[Mapped], plan: &Plan, offered: &MediaLine<'_>) -> Direction {
    let mid = offered.mid.map(Mid::from);
    let slot = lines.iter().find(|line| Some(line.mid) == mid).and_then(|line| line.slot);
    let ours = acceptable(plan, slot, media_kind(offered.kind), offered.direction);
    Direction::of(ours.receives(), ours.sends())
}

/// The description in text, with our own ids.
fn describe(kind: SdpKind, text: &str, lines: &[Mapped]) -> Description {
    let ours = sdp::claim(text, |line| {
        let mid = line.mid.map(Mid::from)?;
        lines.iter().find(|known| known.mid == mid)?.named.as_ref().map(msid)
    });
    Description { kind, sdp: ours.into() }
}

fn msid(sent: &Sent) -> Msid {
    Msid::of(sent.track, sent.stream.as_ref())
}

/// Stream ids must fit into `a=msid`.
fn check_ids(line: &PlanLine) -> Result<(), PeerError> {
    Msid::fits(line).then_some(()).ok_or(PeerError::BadStreamId)
}

fn add_media(api: &mut SdpApi<'_>, wanted: &PlanLine) -> Mid {
    let kind = match wanted.slot.kind() {
        MediaKind::Audio => str0m::media::MediaKind::Audio,
        MediaKind::Video => str0m::media::MediaKind::Video,
    };
    let stream = wanted.stream.as_ref().map(ToString::to_string);
    let track =
        wanted.track.map(|track| Msid::of(track, wanted.stream.as_ref()).track().to_owned());
    api.add_media(kind, theirs(wanted.direction), stream, track, None)
}

/// An offer that changes nothing: str0m makes none by itself, so a direction goes there and back.
fn unchanged(
    mut api: SdpApi<'_>,
    directions: &[(Mid, str0m::media::Direction)],
) -> Option<(SdpOffer, SdpPendingOffer)> {
    let &(mid, direction) = directions.first()?;
    let other = match direction {
        str0m::media::Direction::Inactive => str0m::media::Direction::RecvOnly,
        _ => str0m::media::Direction::Inactive,
    };
    api.set_direction(mid, other);
    api.set_direction(mid, direction);
    api.apply()
}

/// Gives our lines the directions that the offer leads to. Left alone, str0m keeps a line of its
/// own inactive when the offer would only have us send on it.
fn anticipate(rtc: &mut Rtc, offered: &[MediaLine<'_>]) {
    let mut api = rtc.sdp_api();
    for line in offered {
        let ours = Direction::of(line.direction.receives(), line.direction.sends());
        if let Some(mid) = line.mid.map(Mid::from) {
            api.set_direction(mid, theirs(ours));
        }
    }
}

/// Puts directions back. Dropping the change set without applying it keeps them and offers
/// nothing.
fn restore(rtc: &mut Rtc, directions: &[(Mid, str0m::media::Direction)]) {
    let mut api = rtc.sdp_api();
    for &(mid, direction) in directions {
        api.set_direction(mid, direction);
    }
}

const fn theirs(direction: Direction) -> str0m::media::Direction {
    match direction {
        Direction::SendRecv => str0m::media::Direction::SendRecv,
        Direction::SendOnly => str0m::media::Direction::SendOnly,
        Direction::RecvOnly => str0m::media::Direction::RecvOnly,
        Direction::Inactive => str0m::media::Direction::Inactive,
    }
}

/// str0m's texts may quote the description, so they stay out of errors and ordinary logs.
fn unreadable(error: impl std::fmt::Display) -> PeerError {
    tracing::trace!(%error, "description cannot be read");
    PeerError::Unreadable
}

fn unfit(error: impl std::fmt::Display) -> PeerError {
    tracing::trace!(%error, "description refused");
    PeerError::Unfit
}
