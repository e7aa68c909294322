//! Which description is being agreed on: one negotiation at a time, coalesced (T-51).
//!
//! ```text
//!            ours is wanted                     their offer
//!  Stable ─────────────────► Offering(step)   Stable ────► Answering(step) ──► Stable
//!    ▲                          │ read back                    ▲
//!    │ in force                 ▼                              │ polite: ours is rolled back
//!  Settling ◄── their answer ── Offered ───── their offer ─────┘ impolite: theirs is ignored
//! ```
//!
//! The rule is "perfect negotiation" (W3C WebRTC, section 10.7): of two offers that cross, the
//! caller's stands. What is wanted is compared with what was agreed, so that however much was
//! switched on and off meanwhile, one offer says it, or none.

use std::collections::BTreeSet;

use super::phase::Step;
use crate::{
    machine::{
        fingerprint::Fingerprint,
        io::{MediaKind, Plan, PlanLine, Slot},
    },
    redact::Redacted,
    sdp::{Direction, LineKind, MediaLine},
    time::Deadline,
};

/// How far the present negotiation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SignalingState {
    /// Nothing is being agreed on.
    Stable,
    /// Our offer is being made.
    Offering(Step),
    /// They have, or will have, our offer.
    Offered,
    /// Their answer is being put into force.
    Settling,
    /// Our offer gives way to theirs.
    Yielding,
    /// Their offer is being answered.
    Answering(Step),
}

/// What becomes of their offer when it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collision {
    /// There is none: it is answered now, or after what is being answered.
    None,
    /// Ours gives way.
    Yield,
    /// Theirs is ignored.
    Ignore,
}

/// Their offer, until its turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TheirOffer {
    pub(super) sdp: Redacted,
    /// When it is no longer worth an answer.
    pub(super) until: Deadline,
}

/// What is agreed and being agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Negotiation {
    turn: SignalingState,
    /// Whether something may have changed since the last description.
    wanted: bool,
    /// Whether the next offer is to restart ICE.
    restart: bool,
    /// Whether the present offer does.
    restarting: bool,
    /// How many offers of ours, one after the other, nobody answered.
    unanswered: u32,
    /// Whether an offer of ours that may have left was taken back since the last one was answered.
    withdrawn: bool,
    /// Whether the last answer may have been to such an offer.
    doubtful: bool,
    /// How many lines our present offer has.
    lines: usize,
    theirs: Option<TheirOffer>,
    /// The lines that the session has.
    slots: BTreeSet<Slot>,
    /// What our present offer or answer says.
    offered: Plan,
    /// What the last description of ours said that is in force.
    agreed: Plan,
}

impl Negotiation {
    pub(super) fn new() -> Self {
        Self {
            turn: SignalingState::Stable,
            wanted: false,
            restart: false,
            restarting: false,
            unanswered: 0,
            withdrawn: false,
            doubtful: false,
            lines: 0,
            theirs: None,
            slots: BTreeSet::from([Slot::Audio]),
            offered: Plan::default(),
            agreed: Plan::default(),
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.turn, self.wanted, self.restart, self.restarting, &self.slots));
        print.value((self.unanswered, self.withdrawn, self.doubtful, self.lines));
        print.value(self.theirs.as_ref().map(|theirs| &theirs.sdp));
        if let Some(theirs) = &self.theirs {
            print.deadline(theirs.until);
        }
        for plan in [&self.offered, &self.agreed] {
            print.value(plan.lines.len());
            for line in &plan.lines {
                print.value((line.slot, line.direction, &line.stream, line.track.is_some()));
                if let Some(track) = line.track {
                    print.track(track);
                }
            }
        }
    }

    pub(super) fn turn(&self) -> SignalingState {
        self.turn
    }

    /// The step of the description that is being made, if one is.
    pub(super) fn step(&self) -> Option<Step> {
        match self.turn {
            SignalingState::Offering(step) | SignalingState::Answering(step) => Some(step),
            SignalingState::Stable
            | SignalingState::Offered
            | SignalingState::Settling
            | SignalingState::Yielding => None,
        }
    }

    /// The description that is being made is one step further.
    pub(super) fn advance(&mut self, step: Step) {
        match self.turn {
            SignalingState::Offering(_) => self.turn = SignalingState::Offering(step),
            SignalingState::Answering(_) => self.turn = SignalingState::Answering(step),
            SignalingState::Stable
            | SignalingState::Offered
            | SignalingState::Settling
            | SignalingState::Yielding => {}
        }
    }

    // ---------------------------------------------------------------------------------- ours

    /// The session is to have this line, whether or not we send in it.
    pub(super) fn want_line(&mut self, slot: Slot) {
        self.slots.insert(slot);
    }

    /// Something of ours may have changed.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// What is wanted is agreed on already.
    pub(super) fn want_nothing(&mut self) {
        self.wanted = false;
    }

    /// The next offer restarts ICE.
    pub(super) fn want_restart(&mut self) {
        self.wanted = true;
        self.restart = true;
    }

    /// Whether the next offer restarts ICE.
    pub(super) fn wants_restart(&self) -> bool {
        self.restart
    }

    /// No restart is needed any more.
    pub(super) fn want_no_restart(&mut self) {
        self.restart = false;
    }

    /// Whether an offer of this plan is to be made now.
    pub(super) fn is_due(&self, plan: &Plan) -> bool {
        self.turn == SignalingState::Stable && self.wanted && (self.restart || *plan != self.agreed)
    }

    /// Whether our present offer restarts ICE.
    pub(super) fn offers_restart(&self) -> bool {
        self.restarting
    }

    /// Our offer is being made; whether it restarts ICE.
    pub(super) fn begin_offer(&mut self, plan: Plan) -> bool {
        self.wanted = false;
        self.doubtful = false;
        self.restarting = std::mem::take(&mut self.restart);
        self.offered = plan;
        self.turn = SignalingState::Offering(Step::Describing);
        self.restarting
    }

    /// Our offer, of so many lines, is on its way.
    pub(super) fn offer_sent(&mut self, lines: usize) {
        self.lines = lines;
        self.turn = SignalingState::Offered;
    }

    /// Nobody answered our offer; how often in a row that was so.
    pub(super) fn count_unanswered(&mut self) -> u32 {
        self.unanswered += 1;
        self.unanswered
    }

    /// Whether an answer of so many lines can be to our offer (RFC 3264 §6: it has as many).
    pub(super) fn is_answered_by(&self, lines: usize) -> bool {
        self.turn == SignalingState::Offered && self.lines == lines
    }

    /// An answer came that we do not wait for; whether it shows that an earlier one was taken for
    /// it. Then both sides agree on nothing, and have to do so anew.
    pub(super) fn take_doubt(&mut self) -> bool {
        self.turn == SignalingState::Stable && std::mem::take(&mut self.doubtful)
    }

    /// The answer to our offer came.
    pub(super) fn begin_settling(&mut self) {
        self.turn = SignalingState::Settling;
    }

    /// The answer to our offer is in force.
    pub(super) fn settle(&mut self) {
        self.slots.extend(self.offered.lines.iter().map(|line| line.slot));
        self.agreed = std::mem::take(&mut self.offered);
        self.doubtful = std::mem::take(&mut self.withdrawn);
        self.unanswered = 0;
        self.restarting = false;
        self.turn = SignalingState::Stable;
    }

    /// Whether their answer, which is being put into force, is to an offer that sends nothing:
    /// then it says nothing of what they would take.
    pub(super) fn asked_for_nothing(&self) -> bool {
        let sends = |line: &PlanLine| match line.direction {
            Direction::SendRecv | Direction::SendOnly => true,
            Direction::RecvOnly | Direction::Inactive => false,
        };
        self.turn == SignalingState::Settling && !self.offered.lines.iter().any(sends)
    }

    /// Our offer came to nothing; what it was to say is still wanted. If it left, its answer may
    /// still come, and be taken for that to the next one.
    pub(super) fn give_way(&mut self, may_have_left: bool) {
        self.withdrawn |= may_have_left;
        self.restart |= std::mem::take(&mut self.restarting);
        self.wanted = true;
        self.turn = SignalingState::Yielding;
    }

    /// An answer could not be used. Perhaps it was to an offer that was taken back: then what was
    /// offered is still wanted, up to a bound on such tries.
    pub(super) fn try_again(&mut self, most: u32) -> bool {
        let doubted = self.turn == SignalingState::Settling && self.withdrawn;
        let again = doubted && self.count_unanswered() < most;
        if again {
            self.restart |= std::mem::take(&mut self.restarting);
            self.wanted = true;
            self.turn = SignalingState::Stable;
        }
        again
    }

    /// Our offer came to nothing, and the same one is not worth another try.
    pub(super) fn drop_offer(&mut self) {
        self.restarting = false;
        self.unanswered = 0;
        // Perhaps for the answer to an offer that was taken back: then another one comes.
        self.doubtful = self.withdrawn;
        self.offered = Plan::default();
        self.turn = SignalingState::Stable;
    }

    /// Nothing is being agreed on any more.
    pub(super) fn stop(&mut self) {
        self.offered = Plan::default();
        self.turn = SignalingState::Stable;
    }

    /// A description of ours is being made to this plan. Whatever is wanted from now on is not in
    /// it.
    pub(super) fn describe(&mut self, plan: Plan) {
        self.offered = plan;
    }

    // -------------------------------------------------------------------------------- theirs

    /// What becomes of their offer. An answer of theirs that is still being put into force, and
    /// an offer of theirs that is being answered, only have to be waited for.
    pub(super) fn collision(&self, is_polite: bool) -> Collision {
        match self.turn {
            SignalingState::Offering(_) | SignalingState::Offered if is_polite => Collision::Yield,
            SignalingState::Offering(_) | SignalingState::Offered => Collision::Ignore,
            SignalingState::Stable
            | SignalingState::Settling
            | SignalingState::Yielding
            | SignalingState::Answering(_) => Collision::None,
        }
    }

    /// Their offer waits for its turn; a newer one takes the place of an older.
    pub(super) fn take_in(&mut self, theirs: TheirOffer) {
        self.theirs = Some(theirs);
    }

    /// Whether an offer of theirs waits.
    pub(super) fn has_theirs(&self) -> bool {
        self.theirs.is_some()
    }

    /// Their offer is being answered now.
    pub(super) fn begin_answer(&mut self) -> Option<TheirOffer> {
        let theirs = self.theirs.take()?;
        self.turn = SignalingState::Answering(Step::SettingRemote);
        Some(theirs)
    }

    /// Their offer has these lines: each new one is for the first use of its kind that is free,
    /// as engines are asked to do it (`PeerOp::Answer`).
    pub(super) fn adopt(&mut self, lines: &[MediaLine<'_>]) {
        for (kind, slots) in [
            (LineKind::Audio, [Slot::Audio, Slot::ScreenAudio]),
            (LineKind::Video, [Slot::Video, Slot::Screen]),
        ] {
            let known = slots.iter().filter(|slot| self.slots.contains(slot)).count();
            // Those that we have come first, also those through which nothing goes at present.
            let of_kind = lines.iter().filter(|line| line.kind == kind && !line.off);
            let new = of_kind.skip(known);
            let new = new.filter(|line| line.direction != Direction::Inactive).count();
            let free: Vec<_> =
                slots.into_iter().filter(|slot| !self.slots.contains(slot)).collect();
            self.slots.extend(free.into_iter().take(new));
        }
    }

    /// Our answer is on its way and in force: of its plan, what their offer had lines for.
    pub(super) fn answered(&mut self) {
        let plan = std::mem::take(&mut self.offered);
        let known = plan.lines.into_iter().filter(|line| self.slots.contains(&line.slot));
        self.agreed = Plan { lines: known.collect() };
        self.turn = SignalingState::Stable;
    }

    /// The lines that the session has.
    pub(super) fn slots(&self) -> &BTreeSet<Slot> {
        &self.slots
    }

    /// Whether the session has a line for pictures.
    pub(super) fn has_video(&self) -> bool {
        self.slots.iter().any(|slot| slot.kind() == MediaKind::Video)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::TrackId, time::Mono};

    fn plan(slots: &[Slot]) -> Plan {
        let line = |slot: &Slot| PlanLine {
            slot: *slot,
            direction: Direction::SendRecv,
            track: Some(TrackId(*slot as u64)),
            stream: None,
        };
        Plan { lines: slots.iter().map(line).collect() }
    }

    fn agreed(slots: &[Slot]) -> Negotiation {
        let mut negotiation = Negotiation::new();
        negotiation.describe(plan(slots));
        negotiation.settle();
        negotiation
    }

    fn theirs() -> TheirOffer {
        TheirOffer { sdp: Redacted::default(), until: Deadline::Mono(Mono::default()) }
    }

    #[test]
    fn what_was_switched_on_and_off_again_is_not_offered() {
        let mut negotiation = agreed(&[Slot::Audio]);
        negotiation.want();
        assert!(negotiation.is_due(&plan(&[Slot::Audio, Slot::Video])));
        assert!(!negotiation.is_due(&plan(&[Slot::Audio])));
        negotiation.want_restart();
        assert!(negotiation.is_due(&plan(&[Slot::Audio])), "new credentials are a change");
    }

    #[test]
    fn one_at_a_time() {
        let mut negotiation = agreed(&[Slot::Audio]);
        negotiation.want();
        negotiation.begin_offer(plan(&[Slot::Audio, Slot::Video]));
        negotiation.want();
        let more = plan(&[Slot::Audio, Slot::Video, Slot::Screen]);
        assert!(!negotiation.is_due(&more));
        negotiation.offer_sent(1);
        negotiation.begin_settling();
        assert!(!negotiation.is_due(&more));
        negotiation.settle();
        assert!(negotiation.is_due(&more));
        assert!(!negotiation.is_due(&plan(&[Slot::Audio, Slot::Video])));
    }

    #[test]
    fn of_two_offers_that_cross_the_callers_stands() {
        let mut negotiation = agreed(&[Slot::Audio]);
        assert_eq!(negotiation.collision(false), Collision::None);
        negotiation.want_restart();
        negotiation.begin_offer(plan(&[Slot::Audio]));
        assert_eq!(negotiation.collision(false), Collision::Ignore);
        assert_eq!(negotiation.collision(true), Collision::Yield);
        negotiation.offer_sent(1);
        assert_eq!(negotiation.collision(true), Collision::Yield);
        negotiation.take_in(theirs());
        negotiation.give_way(false);
        assert!(negotiation.begin_answer().is_some());
        negotiation.describe(plan(&[Slot::Audio]));
        negotiation.answered();
        assert!(negotiation.is_due(&plan(&[Slot::Audio])), "the restart is still wanted");
    }

    #[test]
    fn a_newer_offer_of_theirs_takes_the_place_of_an_older() {
        let mut negotiation = agreed(&[Slot::Audio]);
        negotiation.take_in(theirs());
        let newer = TheirOffer { sdp: "newer".into(), ..theirs() };
        negotiation.take_in(newer.clone());
        assert_eq!(negotiation.begin_answer(), Some(newer));
        assert_eq!(negotiation.begin_answer(), None);
    }

    #[test]
    fn their_new_lines_get_the_first_free_use_of_their_kind() {
        let lines = |kinds: &[LineKind]| -> Vec<MediaLine<'static>> {
            let line = |kind: &LineKind| MediaLine {
                kind: *kind,
                mid: None,
                off: false,
                direction: Direction::SendRecv,
                stream: None,
            };
            kinds.iter().map(line).collect()
        };
        let mut negotiation = agreed(&[Slot::Audio, Slot::Screen]);
        negotiation.adopt(&lines(&[LineKind::Audio, LineKind::Video]));
        assert!(!negotiation.slots().contains(&Slot::Video), "it is our screen's line");
        negotiation.adopt(&lines(&[LineKind::Audio, LineKind::Video, LineKind::Video]));
        assert!(negotiation.slots().contains(&Slot::Video));
        negotiation.adopt(&lines(&[LineKind::Video; 9]));
        assert_eq!(negotiation.slots().len(), 3, "a call has two uses for pictures");
        let mut off = lines(&[LineKind::Audio, LineKind::Video]);
        off[1].direction = Direction::Inactive;
        let mut negotiation = agreed(&[Slot::Audio]);
        negotiation.adopt(&off);
        assert_eq!(negotiation.slots().len(), 1, "what is off is nobody's");
    }

    #[test]
    fn what_their_offer_had_no_line_for_is_offered_afterwards() {
        let mut negotiation = agreed(&[Slot::Audio]);
        negotiation.take_in(theirs());
        negotiation.begin_answer();
        negotiation.want();
        let wish = plan(&[Slot::Audio, Slot::Video]);
        negotiation.describe(wish.clone());
        negotiation.answered();
        assert!(negotiation.is_due(&wish));
    }
}
