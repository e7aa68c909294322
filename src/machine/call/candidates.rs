//! ICE candidates: ours on their way out, theirs on their way in.
//!
//! Ours wait until the homeserver has accepted the invite or answer (T-50), then leave in batches,
//! with the mark of their end once gathering is over (T-14). Theirs are kept per party until one
//! is chosen, and until the remote description is in force; both queues are drained by value
//! (T-10, T-12).

use std::collections::BTreeMap;

use crate::{
    id::PartyId,
    machine::{
        bounds::{MAX_CANDIDATES, MAX_PARTIES},
        io::{Candidate, Ignored},
    },
    redact::Redacted,
    sdp,
};

/// Ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct LocalCandidates {
    queue: Vec<Candidate>,
    seen: usize,
    gathered: bool,
    end_told: bool,
    /// Whose candidates these are: another name in our description means that ICE starts anew.
    ufrag: Option<Redacted>,
}

impl LocalCandidates {
    /// Our next description is this one. With new ICE credentials everything is gathered anew;
    /// tells whether that is so.
    pub(super) fn describe(&mut self, description: &str) -> bool {
        let is_anew = is_renewed(&mut self.ufrag, description);
        if is_anew {
            *self = Self { ufrag: self.ufrag.take(), ..Self::default() };
        }
        is_anew
    }

    /// One was found; `false` when there are too many.
    pub(super) fn push(&mut self, candidate: Candidate) -> bool {
        if candidate.is_end() {
            self.gathered = true;
            return true;
        }
        if self.seen == MAX_CANDIDATES {
            return false;
        }
        self.seen += 1;
        self.queue.push(candidate);
        true
    }

    /// There will be no more.
    pub(super) fn finish(&mut self) {
        self.gathered = true;
    }

    /// How many were found.
    pub(super) fn found(&self) -> usize {
        self.seen
    }

    pub(super) fn is_gathered(&self) -> bool {
        self.gathered
    }

    /// Those that stand in the description need not be sent again.
    pub(super) fn forget_those_in(&mut self, description: &str) {
        self.queue.retain(|c| !sdp::holds_candidate(description, c.candidate.expose()));
    }

    /// Whether there is something to send.
    pub(super) fn is_due(&self) -> bool {
        !self.queue.is_empty() || (self.gathered && !self.end_told)
    }

    /// Takes all that can be sent, with the end mark once.
    pub(super) fn take(&mut self) -> Vec<Candidate> {
        let mut batch = std::mem::take(&mut self.queue);
        if self.gathered && !self.end_told {
            self.end_told = true;
            batch.push(Candidate::end());
        }
        batch
    }
}

/// Theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct RemoteCandidates {
    by_party: BTreeMap<Option<PartyId>, Vec<Candidate>>,
    waiting: Vec<Candidate>,
    seen: usize,
    /// Whose candidates these are, as their description names it.
    ufrag: Option<Redacted>,
}

impl RemoteCandidates {
    /// Their next description is this one. With new ICE credentials they gather anew: then the
    /// bound counts anew too, or a call that wanders for long enough would hear of no path more.
    pub(super) fn describe(&mut self, description: &str) {
        if is_renewed(&mut self.ufrag, description) {
            self.seen = self.waiting.len();
        }
    }

    /// Keeps candidates of a party that may be chosen later.
    pub(super) fn park(
        &mut self,
        party: Option<PartyId>,
        candidates: Vec<Candidate>,
    ) -> Result<(), Ignored> {
        if !self.by_party.contains_key(&party) && self.by_party.len() == MAX_PARTIES {
            return Err(Ignored::TooMany);
        }
        self.count(candidates.len())?;
        self.by_party.entry(party).or_default().extend(candidates);
        Ok(())
    }

    /// A party was chosen: its candidates wait for the description, the others' are dropped.
    pub(super) fn choose(&mut self, party: &Option<PartyId>) {
        let chosen = self.by_party.remove(party).unwrap_or_default();
        self.by_party.clear();
        self.seen = chosen.len();
        self.waiting.extend(chosen);
    }

    /// Makes room for one party more, against the bound.
    pub(super) fn admit(&mut self, party: Option<PartyId>) {
        self.by_party.entry(party).or_default();
    }

    /// Counts from the beginning, against the bound.
    pub(super) fn uncount(&mut self) {
        self.seen = 0;
    }

    /// Adds candidates of the chosen party.
    pub(super) fn push(&mut self, candidates: Vec<Candidate>) -> Result<(), Ignored> {
        self.count(candidates.len())?;
        self.waiting.extend(candidates);
        Ok(())
    }

    /// Takes all that can be applied now.
    pub(super) fn take(&mut self) -> Vec<Candidate> {
        std::mem::take(&mut self.waiting)
    }

    /// Takes those that can be of the description in force; those that name another wait for it.
    pub(super) fn take_known(&mut self) -> Vec<Candidate> {
        let Some(known) = &self.ufrag else { return self.take() };
        let known = |candidate: &mut Candidate| {
            let named = candidate.username_fragment.as_deref();
            named.is_none_or(|named| named == known.expose())
        };
        self.waiting.extract_if(.., known).collect()
    }

    /// How many came, of all parties until one is chosen.
    pub(super) fn known(&self) -> usize {
        self.seen
    }

    fn count(&mut self, more: usize) -> Result<(), Ignored> {
        if self.seen + more > MAX_CANDIDATES {
            return Err(Ignored::TooMany);
        }
        self.seen += more;
        Ok(())
    }
}

/// Notes the ICE user name of the next description; whether it takes the place of another one.
fn is_renewed(known: &mut Option<Redacted>, description: &str) -> bool {
    let before = std::mem::replace(known, sdp::ice_ufrag(description).map(Redacted::from));
    before.is_some() && before != *known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(text: &str) -> Candidate {
        Candidate { candidate: text.into(), ..Candidate::end() }
    }

    fn party(text: &str) -> Option<PartyId> {
        Some(PartyId::parse(text).unwrap())
    }

    #[test]
    fn the_end_is_told_once_and_after_all_others() {
        let mut local = LocalCandidates::default();
        assert!(!local.is_due());
        assert!(local.push(candidate("candidate:1")));
        assert!(local.push(Candidate::end()));
        assert!(local.is_gathered() && local.is_due());
        assert_eq!(local.take(), [candidate("candidate:1"), Candidate::end()]);
        local.finish();
        assert!(!local.is_due());
        assert!(local.push(candidate("candidate:2")));
        assert_eq!(local.take(), [candidate("candidate:2")]);
    }

    #[test]
    fn candidates_of_the_description_are_not_sent_again() {
        let mut local = LocalCandidates::default();
        local.push(candidate("candidate:1 a"));
        local.push(candidate("candidate:2 b"));
        local.forget_those_in("v=0\r\na=candidate:1 a\r\n");
        assert_eq!(local.take(), [candidate("candidate:2 b")]);
    }

    #[test]
    fn local_candidates_are_bounded() {
        let mut local = LocalCandidates::default();
        for n in 0..MAX_CANDIDATES {
            assert!(local.push(candidate(&format!("candidate:{n}"))));
        }
        assert!(!local.push(candidate("candidate:x")));
        assert_eq!(local.take().len(), MAX_CANDIDATES);
        assert!(!local.push(candidate("candidate:x")), "sending them makes no room");
        for (ufrag, is_new) in [("one", false), ("one", false), ("two", true)] {
            local.describe(&format!("a=ice-ufrag:{ufrag}"));
            assert_eq!(local.push(candidate("candidate:x")), is_new, "{ufrag}");
        }
    }

    #[test]
    fn what_is_gathered_anew_is_counted_anew() {
        let mut remote = RemoteCandidates::default();
        let fill = |remote: &mut RemoteCandidates, n| remote.push(vec![candidate("a"); n]);
        remote.describe("a=ice-ufrag:one");
        fill(&mut remote, MAX_CANDIDATES).unwrap();
        remote.describe("a=ice-ufrag:one");
        assert_eq!(fill(&mut remote, 1), Err(Ignored::TooMany), "nothing was gathered anew");
        remote.describe("a=ice-ufrag:two");
        assert_eq!(fill(&mut remote, 1), Err(Ignored::TooMany), "all of them still wait");
        remote.take();
        remote.describe("a=ice-ufrag:three");
        fill(&mut remote, MAX_CANDIDATES).unwrap();
        assert_eq!(fill(&mut remote, 1), Err(Ignored::TooMany));
    }

    #[test]
    fn only_the_chosen_party_is_heard() {
        let mut remote = RemoteCandidates::default();
        remote.park(party("p"), vec![candidate("a")]).unwrap();
        remote.park(party("q"), vec![candidate("b")]).unwrap();
        remote.park(party("p"), vec![candidate("c")]).unwrap();
        remote.choose(&party("p"));
        remote.push(vec![candidate("d")]).unwrap();
        assert_eq!(remote.take(), [candidate("a"), candidate("c"), candidate("d")]);
        assert!(remote.take().is_empty());
    }

    #[test]
    fn parties_and_candidates_are_bounded() {
        let mut remote = RemoteCandidates::default();
        for n in 0..MAX_PARTIES {
            remote.park(party(&n.to_string()), vec![candidate("a")]).unwrap();
        }
        assert_eq!(remote.park(party("x"), vec![]), Err(Ignored::TooMany));
        remote.park(party("0"), vec![candidate("a")]).unwrap();
        let rest = MAX_CANDIDATES - MAX_PARTIES - 1;
        assert_eq!(remote.push(vec![candidate("a"); rest + 1]), Err(Ignored::TooMany));
        remote.push(vec![candidate("a"); rest]).unwrap();
        assert_eq!(remote.push(vec![candidate("a")]), Err(Ignored::TooMany));
    }
}
