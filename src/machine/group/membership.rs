//! Our own memberships in one room: what should stand in its state, what does, and one write at a
//! time until both are the same.
//!
//! ```text
//! want / unwant ─▶ stale ─▶ (state known?) ─▶ write ─▶ accepted ─▶ again after `refresh`
//!                    ▲                          │ fault: again after a pause
//!                    └── seen without us, or with other devices' entries changed meanwhile
//! ```
//!
//! One state event holds the memberships of all devices of a user (`KeyLayout::User`), so each write
//! keeps what others of them wrote there. Whoever finds himself missing writes again: once, because
//! nothing is judged while a write is under way, and our own echoes are known by their ids.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    id::{DeviceId, EventId, OpId},
    machine::{fingerprint::Fingerprint, io::Fault},
    time::{Now, Wall},
    wire::{
        member::{Backend, GroupCallId, MemberEntry, Membership, write_members},
        metadata::Purpose,
    },
};

/// How many of our last writes are known again when they come back.
const MAX_ECHOES: usize = 8;

/// By how much our membership may be older than we wrote it, where another device wrote it again.
const OLDER: Duration = Duration::from_secs(60);

/// What we are in a group call, from entering until leaving.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Visit {
    pub(super) session: String,
    pub(super) application: String,
    pub(super) backend: Backend,
    pub(super) feeds: Vec<Purpose>,
    /// The homeserver has accepted it.
    accepted: bool,
}

impl Visit {
    pub(super) fn new(session: String, application: String, backend: Backend) -> Self {
        let feeds = match backend {
            Backend::Mesh => vec![Purpose::UserMedia],
            Backend::Livekit { .. } | Backend::Unknown(_) => Vec::new(),
        };
        Self { session, application, backend, feeds, accepted: false }
    }
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum Step {
    #[default]
    Rest,
    /// The room's state is being fetched: nobody knows what else stands under our key.
    Fetching(OpId),
    /// A write is under way; these visits are in it.
    Writing(OpId, BTreeSet<GroupCallId>),
    /// A try failed; the next comes after a pause.
    Pausing,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Fetch,
    Write,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was accepted: these visits are known to everybody now.
    Accepted(BTreeSet<GroupCallId>),
    /// It is tried again after this pause.
    Later(Duration),
    /// It is not tried again: these visits are over.
    GivenUp(BTreeSet<GroupCallId>, Fault),
}

/// Our memberships in one room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ours {
    wanted: BTreeMap<GroupCallId, Visit>,
    /// What other devices wrote under our key, as it was seen last.
    kept: Vec<MemberEntry>,
    /// Visits of a dead process that still stand there.
    ghosts: BTreeSet<String>,
    known: bool,
    stale: bool,
    step: Step,
    tries: u32,
    echoes: VecDeque<EventId>,
    /// Until when what we wrote last may be believed: then a retract matters no more.
    believed: Wall,
}

impl Ours {
    // ------------------------------------------------------------------------------- wishes

    /// We are in this call from now on, or are otherwise than before.
    pub(super) fn want(&mut self, group: GroupCallId, visit: Visit) {
        self.wanted.insert(group, visit);
        self.stale = true;
    }

    /// We are in it no more; whether anybody can know that we were.
    pub(super) fn unwant(&mut self, group: &GroupCallId) -> bool {
        let Some(visit) = self.wanted.remove(group) else { return false };
        let writing = matches!(&self.step, Step::Writing(_, in_it) if in_it.contains(group));
        let known = visit.accepted || writing || self.tries > 0;
        let others = !self.wanted.is_empty() || !self.ghosts.is_empty();
        self.stale = known || (self.stale && others);
        known
    }

    /// The visit, to be changed: then it is written anew.
    pub(super) fn change(&mut self, group: &GroupCallId) -> Option<&mut Visit> {
        let visit = self.wanted.get_mut(group)?;
        self.stale = true;
        Some(visit)
    }

    pub(super) fn visit(&self, group: &GroupCallId) -> Option<&Visit> {
        self.wanted.get(group)
    }

    pub(super) fn visits(&self) -> impl Iterator<Item = (&GroupCallId, &Visit)> {
        self.wanted.iter()
    }

    /// A dead process left this visit behind, which may be believed until then.
    pub(super) fn haunt(&mut self, session: String, until: Wall) {
        self.ghosts.insert(session);
        self.believed = self.believed.max(until);
        self.stale = true;
    }

    pub(super) fn ghosts(&self) -> impl Iterator<Item = &String> {
        self.ghosts.iter()
    }

    /// It is time to write what we wrote again, before it is believed no more.
    pub(super) fn on_refresh(&mut self) {
        self.stale |= !self.wanted.is_empty();
    }

    /// Nothing can be written any more.
    pub(super) fn give_up(&mut self) {
        *self = Self::default();
    }

    // ---------------------------------------------------------------------------- what is seen

    /// A device of ours wrote under our key.
    pub(super) fn on_seen(&mut self, ours: &DeviceId, event: &EventId, entries: &[MemberEntry]) {
        self.known = true;
        // The latest stands as we wrote it, or was redacted: then it comes again, empty.
        let echo = self.echoes.iter().rev().skip(1).any(|ours| ours == event);
        let writing = matches!(self.step, Step::Writing(..));
        let (own, kept): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|entry| is_of(entry, ours));
        // What goes out was composed without it.
        self.stale |= writing && !echo && differ(&kept, &self.kept);
        self.kept = kept;
        let own: Vec<_> = own.into_iter().filter_map(|entry| entry.membership.ok()).collect();
        self.look_for_ghosts(writing, &own);
        if !echo && !writing {
            let mut accepted = self.wanted.iter().filter(|(_, visit)| visit.accepted);
            self.stale |= accepted.any(|(group, visit)| !self.stands(group, visit, &own));
        }
    }

    /// Whether a visit stands there as it should. Another device keeps ours as it saw it last: a
    /// little older does no harm, and to insist would make two devices write for ever.
    fn stands(&self, group: &GroupCallId, visit: &Visit, own: &[Membership]) -> bool {
        own.iter().any(|one| {
            one.group == *group
                && one.session.as_ref() == Some(&visit.session)
                && one.application == visit.application
                && one.feeds == visit.feeds
                && one.expires.plus(OLDER) >= self.believed
        })
    }

    fn look_for_ghosts(&mut self, writing: bool, own: &[Membership]) {
        let haunted = !self.ghosts.is_empty();
        let left = |session: &String| own.iter().any(|one| one.session.as_ref() == Some(session));
        self.ghosts.retain(left);
        // Nothing of them is left: nobody need write.
        let laid = haunted && self.ghosts.is_empty() && self.wanted.is_empty() && !writing;
        self.stale = (self.stale && !laid) || !self.ghosts.is_empty();
    }

    /// The whole state was told, and nothing stands under our key.
    pub(super) fn on_absent(&mut self) {
        self.known = true;
        self.kept.clear();
        let writing = matches!(self.step, Step::Writing(..));
        let laid = !self.ghosts.is_empty() && self.wanted.is_empty() && !writing;
        self.ghosts.clear();
        self.stale &= !laid;
        self.stale |= !writing && self.wanted.values().any(|visit| visit.accepted);
    }

    /// Somebody else took our key: it is ours again as soon as it can be.
    pub(super) fn on_overwritten(&mut self) {
        self.stale |= !self.wanted.is_empty();
    }

    // -------------------------------------------------------------------------------- writing

    /// What is to be done now, if nothing is under way.
    pub(super) fn next(&self) -> Next {
        match (&self.step, self.stale, self.known) {
            (Step::Rest, true, true) => Next::Write,
            (Step::Rest, true, false) => Next::Fetch,
            (Step::Rest, false, _) => Next::Nothing,
            (Step::Fetching(_) | Step::Writing(..) | Step::Pausing, ..) => Next::Nothing,
        }
    }

    /// What is to stand under our key, believed until `until`.
    pub(super) fn content(&self, device: &DeviceId, until: Wall) -> String {
        let memberships = self.wanted.iter().map(|(group, visit)| Membership {
            group: group.clone(),
            application: visit.application.clone(),
            device: device.clone(),
            session: Some(visit.session.clone()),
            expires: until,
            backend: visit.backend.clone(),
            feeds: visit.feeds.clone(),
        });
        write_members(&memberships.collect::<Vec<_>>(), &self.kept)
    }

    pub(super) fn on_writing(&mut self, op: OpId, until: Wall) {
        self.stale = false;
        self.believed = if self.wanted.is_empty() { self.believed } else { until };
        self.step = Step::Writing(op, self.wanted.keys().cloned().collect());
    }

    pub(super) fn on_fetching(&mut self, op: OpId) {
        self.step = Step::Fetching(op);
    }

    pub(super) fn is_awaiting(&self, op: OpId) -> bool {
        match &self.step {
            Step::Fetching(awaited) | Step::Writing(awaited, _) => *awaited == op,
            Step::Rest | Step::Pausing => false,
        }
    }

    /// A write was accepted.
    pub(super) fn on_written(&mut self, event: EventId) -> Outcome {
        let Step::Writing(_, in_it) = std::mem::take(&mut self.step) else {
            return Outcome::Accepted(BTreeSet::new());
        };
        self.tries = 0;
        self.ghosts.clear();
        if self.echoes.len() == MAX_ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back(event);
        for (_, visit) in self.wanted.iter_mut().filter(|(group, _)| in_it.contains(*group)) {
            visit.accepted = true;
        }
        Outcome::Accepted(in_it)
    }

    /// The room's state came.
    pub(super) fn on_fetched(&mut self) {
        self.step = Step::Rest;
        self.tries = 0;
        self.known = true;
    }

    /// What was asked for was not had. `first` and `longest` bound the pauses between tries.
    pub(super) fn on_fault(
        &mut self,
        now: Now,
        fault: Fault,
        pauses: (Duration, Duration),
    ) -> Outcome {
        let retract = self.wanted.is_empty();
        let hopeless = !fault.is_passing() || (retract && self.believed <= now.wall);
        self.stale = !hopeless;
        if hopeless {
            self.step = Step::Rest;
            self.tries = 0;
            self.ghosts.clear();
            let over = std::mem::take(&mut self.wanted);
            return Outcome::GivenUp(over.into_keys().collect(), fault);
        }
        self.step = Step::Pausing;
        self.tries = self.tries.saturating_add(1);
        let (first, longest) = pauses;
        let doubled = first.saturating_mul(1 << (self.tries - 1).min(16)).min(longest);
        let asked = match fault {
            Fault::RateLimited { retry_after } => retry_after.unwrap_or_default(),
            Fault::Timeout | Fault::Cancelled | Fault::Panicked => Duration::ZERO,
            Fault::Denied | Fault::NotFound | Fault::Unreachable => Duration::ZERO,
            Fault::LoggedOut | Fault::Forbidden(_) => Duration::ZERO,
            Fault::Unsupported | Fault::Failed(_) => Duration::ZERO,
        };
        Outcome::Later(asked.max(doubled))
    }

    /// The pause is over, or the network is back.
    pub(super) fn on_pause_over(&mut self) {
        if self.step == Step::Pausing {
            self.step = Step::Rest;
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((&self.wanted, self.known, self.stale, &self.ghosts, self.tries));
        print.value(self.kept.len());
        match &self.step {
            Step::Rest => print.value("rest"),
            Step::Pausing => print.value("pausing"),
            Step::Fetching(op) => {
                print.value("fetching");
                print.op(*op);
            }
            Step::Writing(op, in_it) => {
                print.value(in_it);
                print.op(*op);
            }
        }
    }
}

/// Whether what goes out says something else of our other devices than what stands there. That they
/// wrote it anew a moment ago is nothing else.
fn differ(stands: &[MemberEntry], goes_out: &[MemberEntry]) -> bool {
    let same =
        |(one, other): (&MemberEntry, &MemberEntry)| match (&one.membership, &other.membership) {
            (Ok(one), Ok(other)) => {
                let older = other.expires.plus(OLDER) < one.expires;
                !older && *one == Membership { expires: one.expires, ..other.clone() }
            }
            _ => one == other,
        };
    stands.len() != goes_out.len() || !stands.iter().zip(goes_out).all(same)
}

fn is_of(entry: &MemberEntry, device: &DeviceId) -> bool {
    entry.membership.as_ref().is_ok_and(|one| one.device == *device)
}
