//! Our candidates: found by the crate, told when the machine has put their description into force.
//!
//! Correction D: the crate names no m-line. And it gathers once for several descriptions: what was
//! found before a rollback is told again for the next one.

use matrix_voip::machine::io::{Candidate, PeerNews};

use crate::sdp::without_base;

/// Most candidates of one generation: sixteen addresses, each by itself and over some servers.
const MAX_FOUND: usize = 128;

/// Our candidates of the present ICE generation.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    ufrag: String,
    found: Vec<String>,
    is_done: bool,
    announced: Option<Announced>,
    /// Nothing may tell our own address.
    relay_only: bool,
}

/// The description that candidates are told for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Announced {
    mid: String,
    /// How many were told.
    told: usize,
    is_end_told: bool,
}

impl Gathering {
    /// Nothing is found yet.
    pub(crate) fn new(relay_only: bool) -> Self {
        Self { relay_only, ..Self::default() }
    }

    /// A description of ours has these credentials: with others, the crate gathers anew.
    pub(crate) fn on_generation(&mut self, ufrag: &str) {
        if self.ufrag != ufrag {
            let relay_only = self.relay_only;
            *self = Self { ufrag: ufrag.to_owned(), relay_only, ..Self::default() };
        }
    }

    /// A candidate was found.
    pub(crate) fn on_found(&mut self, line: &str) -> Vec<PeerNews> {
        let line = if line.starts_with("candidate:") {
            line.to_owned()
        } else {
            format!("candidate:{line}")
        };
        // Correction H: the crate names the address that a relayed candidate was found from.
        let line = if self.relay_only { without_base(&line) } else { line };
        if self.found.len() < MAX_FOUND && !self.found.contains(&line) {
            self.found.push(line);
        }
        self.news()
    }

    /// There will be no more.
    pub(crate) fn on_done(&mut self) -> Vec<PeerNews> {
        self.is_done = true;
        self.news()
    }

    /// From now on candidates are told for the description whose first line this is.
    pub(crate) fn announce(&mut self, mid: &str) -> Vec<PeerNews> {
        if self.announced.is_none() {
            let mid = mid.to_owned();
            self.announced = Some(Announced { mid, told: 0, is_end_told: false });
        }
        self.news()
    }

    /// The description was taken back.
    pub(crate) fn withdraw(&mut self) {
        self.announced = None;
    }

    fn news(&mut self) -> Vec<PeerNews> {
        let Some(announced) = &mut self.announced else { return Vec::new() };
        let candidate = |line: &String| {
            PeerNews::Candidate(Candidate {
                candidate: line.as_str().into(),
                sdp_mid: Some(announced.mid.clone()),
                sdp_m_line_index: Some(0),
                username_fragment: Some(self.ufrag.clone()),
            })
        };
        let mut news: Vec<_> = self.found.iter().skip(announced.told).map(candidate).collect();
        announced.told = self.found.len();
        if self.is_done && !announced.is_end_told {
            announced.is_end_told = true;
            news.push(PeerNews::GatheringDone);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_wait_for_their_description_and_are_told_once() {
        let mut gathering = Gathering::default();
        gathering.on_generation("abcd");
        assert!(gathering.on_found("candidate:1 1 udp 1 10.0.0.1 5 typ host").is_empty());
        let PeerNews::Candidate(told) = gathering.announce("a").remove(0) else { panic!() };
        assert_eq!((told.sdp_mid.as_deref(), told.sdp_m_line_index), (Some("a"), Some(0)));
        assert_eq!(told.username_fragment.as_deref(), Some("abcd"));
        assert_eq!(gathering.on_done(), [PeerNews::GatheringDone]);
        assert!(gathering.announce("a").is_empty());
        gathering.withdraw();
        assert_eq!(gathering.announce("b").len(), 2, "another description, the same candidates");
        gathering.on_generation("efgh");
        assert!(gathering.announce("b").is_empty(), "none is known yet");
    }

    #[test]
    fn a_relayed_candidate_does_not_tell_where_it_was_found_from() {
        let mut gathering = Gathering::new(true);
        gathering.announce("0");
        let line = "1 1 udp 1 192.0.2.1 5 typ relay raddr 10.0.0.1 rport 9";
        let PeerNews::Candidate(told) = gathering.on_found(line).remove(0) else { panic!() };
        assert!(told.candidate.expose().ends_with("typ relay raddr 0.0.0.0 rport 0"));
    }
}
