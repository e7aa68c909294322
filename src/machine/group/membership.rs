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

use super::delayed::Others;
use crate::{
    config::Timeouts,
    id::{DeviceId, EventId, OpId},
    machine::{fingerprint::Fingerprint, io::Fault},
    time::{Deadline, Mono, Now, Wall},
    wire::{
        member::{Backend, Dialect, GroupCallId, MemberEntry, Membership, write_members},
        metadata::Purpose,
    },
};

/// How many of our last writes are known again when they come back.
const MAX_ECHOES: usize = 8;

/// By how much our membership may be older than we wrote it, where another device wrote it again.
const OLDER: Duration = Duration::from_secs(60);

/// After how long without a repair the next one need not wait.
const CALM: Duration = Duration::from_secs(60);

/// After so many failed tries something else may stand there than what was seen last.
const TRIES_OF_OUTAGE: u32 = 3;

/// After how long an entry that is over is no use to anybody.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What we are in a group call, from entering until leaving.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Visit {
    pub(super) session: String,
    pub(super) application: String,
    pub(super) backend: Backend,
    pub(super) feeds: Vec<Purpose>,
    /// A write with it has begun: others may know of it.
    tried: bool,
    /// The homeserver has accepted it.
    accepted: bool,
}

impl Visit {
    pub(super) fn new(session: String, application: String, backend: Backend) -> Self {
        let feeds = match backend {
            Backend::Mesh | Backend::Msc3401Mesh => vec![Purpose::UserMedia],
            Backend::Livekit { .. } | Backend::Unknown(_) => Vec::new(),
        };
        Self { session, application, backend, feeds, tried: false, accepted: false }
    }

    /// What is written of it; when it expires is filled in then.
    pub(super) fn membership(&self, group: &GroupCallId, device: &DeviceId) -> Membership {
        Membership {
            group: group.clone(),
            application: self.application.clone(),
            device: device.clone(),
            session: Some(self.session.clone()),
            expires: Wall::default(),
            backend: self.backend.clone(),
            feeds: self.feeds.clone(),
        }
    }
}

/// The visits of a write, each by its session.
pub(super) type Written = BTreeMap<GroupCallId, String>;

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum Step {
    #[default]
    Rest,
    /// The room's state is being fetched: nobody knows what else stands under our key.
    Fetching(OpId),
    /// A write is under way; these visits are in it, each by its session.
    Writing(OpId, Written),
    /// A try failed; the next comes after a pause.
    Pausing,
}

/// What a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Fetch,
    Write,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Fetch,
    Write,
    /// Write after a pause, if there is one.
    Repair,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was accepted: these visits are known to everybody now.
    Accepted(Written),
    /// It is tried again after this pause.
    Later(Duration),
    /// It is not tried again: these visits are over.
    GivenUp(BTreeSet<GroupCallId>, Fault),
}

/// Writes that nobody asked for but what was seen. Two devices that repair the same event from what
/// each saw a moment ago could go on for ever, and whoever can overwrite our key would have us write at
/// his will: so each soon after another waits longer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Repairs {
    /// What is stale is so because of what was seen.
    needed: bool,
    count: u32,
    last: Wall,
}

/// Our memberships in one room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ours {
    /// In which words we write: one dialect at a time, for each has a state event of its own.
    dialect: Dialect,
    wanted: BTreeMap<GroupCallId, Visit>,
    /// What other devices wrote under our key, as it was seen last.
    kept: Vec<MemberEntry>,
    /// Visits that may stand there and are to stand there no more: those that we left, and those of a
    /// dead process.
    retracting: BTreeSet<String>,
    known: bool,
    /// What was seen may be old: our delayed leave may have been sent meanwhile.
    doubted: bool,
    stale: bool,
    step: Step,
    tries: u32,
    /// Until when the homeserver wants to be left alone.
    quiet: Option<Mono>,
    echoes: VecDeque<EventId>,
    /// What we wrote last, until it is seen.
    unseen: Option<EventId>,
    repairs: Repairs,
    /// Until when what we wrote last may be believed: then a retract matters no more.
    believed: Wall,
}

impl Ours {
    // ------------------------------------------------------------------------------- wishes

    /// Whether a visit can be written in these words now.
    pub(super) fn can_speak(&self, dialect: Dialect) -> bool {
        let idle = self.wanted.is_empty() && !self.retracts() && self.step == Step::Rest;
        dialect == self.dialect || idle
    }

    /// From now on we write in these words. What is known is of another event then.
    fn speak(&mut self, dialect: Dialect) {
        if dialect != self.dialect {
            *self = Self { dialect, ..Self::default() };
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// We are in this call from now on, or are otherwise than before.
    pub(super) fn want(&mut self, group: GroupCallId, visit: Visit) {
        self.speak(visit.backend.dialect());
        self.wanted.insert(group, visit);
        self.stale = true;
        self.end_repair_pause();
    }

    /// We are in it no more; whether anybody can know that we were.
    pub(super) fn unwant(&mut self, group: &GroupCallId) -> bool {
        let Some(visit) = self.wanted.remove(group) else { return false };
        if visit.tried {
            self.retracting.insert(visit.session);
        }
        let anything = !self.wanted.is_empty() || !self.retracting.is_empty();
        self.stale = visit.tried || (self.stale && anything);
        self.end_repair_pause();
        visit.tried
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

    /// A dead process left this visit behind, which may be believed until then. Of visits in two
    /// dialects, which no process of ours leaves, those that came second expire.
    pub(super) fn haunt(&mut self, session: String, dialect: Dialect, until: Wall) {
        if !self.can_speak(dialect) {
            return;
        }
        self.speak(dialect);
        self.retracting.insert(session);
        self.believed = self.believed.max(until);
        self.stale = true;
    }

    /// The calls in which we want to be.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &GroupCallId> {
        self.wanted.keys()
    }

    /// The event that says that we are there: what we wrote last, until it is seen; then what was seen
    /// last, which may be of another device that keeps our entry.
    pub(super) fn member_event(&self, seen: Option<&EventId>) -> Option<EventId> {
        self.unseen.as_ref().or(seen).or(self.echoes.back()).cloned()
    }

    /// The visits that a crash would leave behind.
    pub(super) fn known_visits(&self) -> impl Iterator<Item = &String> {
        let tried = self.wanted.values().filter(|visit| visit.tried);
        tried.map(|visit| &visit.session).chain(&self.retracting)
    }

    /// Our wall clock was set back.
    pub(super) fn on_clock_set_back(&mut self, by: Duration) {
        self.believed = self.believed.minus(by);
        self.repairs.last = self.repairs.last.minus(by);
    }

    /// It is time to write what we wrote again, before it is believed no more. Who slept through
    /// that time looks first what his other devices have written meanwhile.
    pub(super) fn on_refresh(&mut self, now: Wall) {
        self.stale |= !self.wanted.is_empty();
        self.known &= self.believed > now.plus(OLDER);
    }

    /// Our delayed leave may have been sent: whoever writes looks first what stands there. If it was,
    /// we hear of it, and are in the call again by one write.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether we are in a call of the room, or about to be.
    pub(super) fn is_in(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether nothing of ours stands there, and nothing is on its way.
    pub(super) fn is_out(&self) -> bool {
        !self.is_in() && !self.retracts() && !matches!(self.step, Step::Writing(..))
    }

    /// What stands under our key of other devices.
    pub(super) fn others(&self) -> Others<'_> {
        Others { kept: self.known.then_some(self.kept.as_slice()), differ }
    }

    // ---------------------------------------------------------------------------- what is seen

    /// A device of ours wrote under our key.
    pub(super) fn on_seen(&mut self, ours: &DeviceId, event: &EventId, entries: &[MemberEntry]) {
        self.on_told();
        self.unseen.take_if(|unseen| unseen == event);
        let writing = matches!(self.step, Step::Writing(..));
        // The latest stands as we wrote it, or was redacted: then it comes again, empty.
        let latest = self.echoes.back() == Some(event) && !writing;
        let echo = self.echoes.contains(event) && !latest;
        let (own, kept): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|entry| is_of(entry, ours));
        // What goes out was composed without it, and whoever wrote it did not know what goes out.
        if writing && !echo && differ(&kept, &self.kept) {
            self.need_repair();
        }
        self.kept = kept;
        self.remember(event);
        let own: Vec<_> = own.into_iter().filter_map(|entry| entry.membership.ok()).collect();
        if writing || echo {
            return;
        }
        let gone = |session: &String| !own.iter().any(|one| one.session.as_ref() == Some(session));
        // What was tried and not answered may yet be done.
        if self.tries == 0 {
            self.lay(gone);
        }
        let mut accepted = self.wanted.iter().filter(|(_, visit)| visit.accepted);
        let missing = accepted.any(|(group, visit)| !self.stands(group, visit, &own));
        let wanted = |one: &Membership| {
            let of_visit = |visit: &Visit| one.session.as_ref() == Some(&visit.session);
            self.wanted.get(&one.group).is_some_and(of_visit)
        };
        // Also what another device has kept of ours, or a process without a ledger has left.
        if missing || !own.iter().all(wanted) {
            self.need_repair();
        }
    }

    fn on_told(&mut self) {
        self.known = true;
        self.doubted = false;
    }

    /// What was seen is old when it comes again after a write of ours: a fetch may show it before the
    /// sync does.
    fn remember(&mut self, event: &EventId) {
        if self.echoes.contains(event) {
            return;
        }
        if self.echoes.len() == MAX_ECHOES {
            self.echoes.pop_front();
        }
        self.echoes.push_back(event.clone());
    }

    fn need_repair(&mut self) {
        self.repairs.needed |= !self.stale;
        self.stale = true;
    }

    /// What the application wants does not wait for a repair.
    fn end_repair_pause(&mut self) {
        self.repairs.needed = false;
        if self.step == Step::Pausing && self.tries == 0 {
            self.step = Step::Rest;
        }
    }

    /// What is to be taken back and stands there no more need not be.
    fn lay(&mut self, gone: impl Fn(&String) -> bool) {
        let before = self.retracting.len();
        self.retracting.retain(|session| !gone(session));
        let all = before > 0 && self.retracting.is_empty() && self.wanted.is_empty();
        self.stale &= !all;
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

    /// The whole state was told, and nothing stands under our key.
    pub(super) fn on_absent(&mut self) {
        self.on_told();
        self.kept.clear();
        if matches!(self.step, Step::Writing(..)) {
            return;
        }
        if self.tries == 0 {
            self.lay(|_| true);
        }
        if self.wanted.values().any(|visit| visit.accepted) {
            self.need_repair();
        }
    }

    /// Somebody else took our key: it is ours again as soon as it can be.
    pub(super) fn on_overwritten(&mut self) {
        if !self.wanted.is_empty() {
            self.need_repair();
        }
    }

    // -------------------------------------------------------------------------------- writing

    /// What is to be done now, if nothing is under way.
    pub(super) fn next(&self) -> Next {
        match (&self.step, self.stale, self.known && !self.doubted) {
            (Step::Rest, true, true) if self.repairs.needed => Next::Repair,
            (Step::Rest, true, true) => Next::Write,
            (Step::Rest, true, false) => Next::Fetch,
            (Step::Rest, false, _) => Next::Nothing,
            (Step::Fetching(_) | Step::Writing(..) | Step::Pausing, ..) => Next::Nothing,
        }
    }

    /// A repair begins: how long it waits, at least.
    pub(super) fn begin_repair(&mut self, now: Wall, timeouts: &Timeouts) -> Duration {
        let repairs = &mut self.repairs;
        repairs.needed = false;
        repairs.count = if now.since(repairs.last) > CALM { 0 } else { repairs.count + 1 };
        repairs.last = now;
        let pause = match repairs.count {
            0 => Duration::ZERO,
            count => timeouts.retry_pause(count),
        };
        if !pause.is_zero() {
            self.step = Step::Pausing;
        }
        pause
    }

    /// What is to stand under our key, believed until `until`. Entries that are over for a day are
    /// dropped, whoever's they are: nobody else takes them away.
    pub(super) fn content(&self, device: &DeviceId, until: Wall) -> String {
        let memberships = self
            .wanted
            .iter()
            .map(|(group, visit)| Membership { expires: until, ..visit.membership(group, device) });
        let old = |entry: &&MemberEntry| {
            entry.membership.as_ref().is_ok_and(|one| one.expires.plus(DAY) < until)
        };
        let kept = self.kept.iter().filter(|entry| !old(entry));
        write_members(self.dialect, &memberships.collect::<Vec<_>>(), kept)
    }

    pub(super) fn on_writing(&mut self, op: OpId, until: Wall) {
        self.stale = false;
        self.believed = if self.wanted.is_empty() { self.believed } else { until };
        for visit in self.wanted.values_mut() {
            visit.tried = true;
        }
        let visits = self.wanted.iter();
        let visits = visits.map(|(group, visit)| (group.clone(), visit.session.clone()));
        self.step = Step::Writing(op, visits.collect());
    }

    /// What was asked by this request, if it is the one that is under way.
    pub(super) fn awaits(&self, op: OpId) -> Option<Awaited> {
        match &self.step {
            Step::Fetching(asked) => (*asked == op).then_some(Awaited::Fetch),
            Step::Writing(asked, _) => (*asked == op).then_some(Awaited::Write),
            Step::Rest | Step::Pausing => None,
        }
    }

    pub(super) const fn is_fetching(&self) -> bool {
        matches!(self.step, Step::Fetching(_))
    }

    pub(super) fn on_fetching(&mut self, op: OpId) {
        self.step = Step::Fetching(op);
    }

    /// Whether something of ours is still to be taken back.
    pub(super) fn retracts(&self) -> bool {
        !self.retracting.is_empty()
    }

    /// A write was accepted.
    pub(super) fn on_written(&mut self, event: EventId) -> Outcome {
        let Step::Writing(_, in_it) = std::mem::take(&mut self.step) else {
            return Outcome::Accepted(Written::new());
        };
        self.tries = 0;
        self.retracting.retain(|session| in_it.values().any(|other| other == session));
        self.unseen = Some(event.clone()).filter(|event| !self.echoes.contains(event));
        self.echoes.retain(|known| *known != event);
        self.remember(&event);
        for (group, visit) in &mut self.wanted {
            visit.accepted |= in_it.get(group) == Some(&visit.session);
        }
        Outcome::Accepted(in_it)
    }

    /// The room's state came.
    pub(super) fn on_fetched(&mut self) {
        self.step = Step::Rest;
        self.tries = 0;
        self.on_told();
    }

    /// What was asked for was not had.
    pub(super) fn on_fault(&mut self, now: Now, fault: Fault, timeouts: &Timeouts) -> Outcome {
        let retract = self.wanted.is_empty();
        let hopeless = !fault.is_passing() || (retract && self.believed <= now.wall);
        self.stale = !hopeless;
        if hopeless {
            self.step = Step::Rest;
            self.tries = 0;
            self.retracting.clear();
            let over = std::mem::take(&mut self.wanted);
            return Outcome::GivenUp(over.into_keys().collect(), fault);
        }
        self.step = Step::Pausing;
        self.tries = self.tries.saturating_add(1);
        self.quiet = fault.asked_pause().map(|_| now.mono.plus(fault.pause_obeyed(timeouts)));
        Outcome::Later(fault.pause_before(self.tries, timeouts))
    }

    /// The pause is over, or the network is back. After an outage our other devices may have written
    /// what we have not heard yet.
    pub(super) fn on_pause_over(&mut self, now: Mono) {
        let asked = self.quiet.is_some_and(|until| until > now);
        if self.step == Step::Pausing && !asked {
            self.step = Step::Rest;
            self.known &= self.tries < TRIES_OF_OUTAGE;
        }
    }

    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        print.value((self.dialect, self.repairs.needed, self.repairs.count));
        print.value((
            &self.wanted,
            self.known,
            self.doubted,
            self.stale,
            &self.retracting,
            self.tries,
        ));
        print.value(&self.kept);
        print.deadline(Deadline::Wall(self.believed));
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
    entry.device.as_ref() == Some(device)
}
