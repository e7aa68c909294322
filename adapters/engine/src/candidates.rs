//! Remote candidates and their ICE generations: which an engine can have now, which must wait.
//!
//! Candidates may come before the description that they belong to, and after it is over. What one is,
//! and whether it can be used, each engine reads itself.

use std::collections::VecDeque;

use matrix_voip::sdp::ice_ufrag;

/// Candidates that wait for their description; beyond them the oldest goes.
const MAX_WAITING: usize = 128;

/// ICE generations that are remembered when they are over: their late candidates are of no use.
const MAX_PAST: usize = 8;

/// The remote candidates of one connection, as an engine has read them.
#[derive(Debug)]
pub struct Generations<C> {
    /// Most that are used in one generation.
    most: usize,
    ufrag: Option<String>,
    past: VecDeque<String>,
    waiting: VecDeque<(C, Option<String>)>,
    used: Vec<C>,
    skipped: u64,
}

impl<C: Clone + PartialEq> Generations<C> {
    /// None yet; not more than `most` are used in one generation.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            ufrag: None,
            past: VecDeque::new(),
            waiting: VecDeque::new(),
            used: Vec::new(),
            skipped: 0,
        }
    }

    /// One that cannot be used.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// How many were of no use.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes one of the generation with this `ufrag`, or of the present one; returns it if it can be
    /// used now, and was not before.
    pub fn take(&mut self, candidate: C, ufrag: Option<String>) -> Option<C> {
        let is_current = ufrag.is_none() || ufrag == self.ufrag;
        let is_past = ufrag.as_ref().is_some_and(|ufrag| self.past.contains(ufrag));
        if is_past && !is_current {
            self.skipped += 1;
        } else if self.ufrag.is_none() || !is_current {
            self.wait(candidate, ufrag);
        } else if self.used.contains(&candidate) {
            // It is in the description and was trickled as well.
        } else if self.used.len() >= self.most {
            self.skipped += 1;
        } else {
            self.used.push(candidate.clone());
            return Some(candidate);
        }
        None
    }

    /// A remote description came into force; returns whether it began another generation.
    pub fn on_description(&mut self, description: &str) -> bool {
        let ufrag = ice_ufrag(description).map(str::to_owned);
        let is_new = self.ufrag != ufrag;
        if is_new {
            self.used.clear();
            self.past.extend(self.ufrag.take());
            if self.past.len() > MAX_PAST {
                self.past.pop_front();
            }
        }
        self.ufrag = ufrag;
        is_new
    }

    /// Those that waited for the description that is in force now.
    pub fn ready(&mut self) -> Vec<C> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|(candidate, ufrag)| self.take(candidate, ufrag)).collect()
    }

    fn wait(&mut self, candidate: C, ufrag: Option<String>) {
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
            self.skipped += 1;
        }
        self.waiting.push_back((candidate, ufrag));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(ufrag: &str) -> String {
        format!("v=0\r\nm=audio 9 x 0\r\na=ice-ufrag:{ufrag}\r\n")
    }

    fn of(ufrag: &str) -> Option<String> {
        Some(ufrag.to_owned())
    }

    #[test]
    fn what_comes_before_its_description_waits_and_is_used_once() {
        let mut remote = Generations::new(10);
        assert_eq!(remote.take(1, None), None);
        assert_eq!(remote.take(2, of("next")), None);
        assert!(remote.on_description(&description("abcd")));
        assert_eq!(remote.ready(), [1]);
        assert_eq!(remote.take(1, of("abcd")), None);
        assert!(!remote.on_description(&description("abcd")));
        assert_eq!(remote.ready(), [0_u16; 0]);
        assert!(remote.on_description(&description("next")));
        assert_eq!(remote.ready(), [2]);
        assert_eq!(remote.take(1, None), Some(1), "in another generation again");
        assert_eq!(remote.skipped(), 0);
    }

    #[test]
    fn what_comes_when_its_generation_is_over_is_skipped() {
        let mut remote = Generations::new(10);
        remote.on_description(&description("abcd"));
        remote.on_description(&description("next"));
        assert_eq!(remote.take(1, of("abcd")), None);
        assert_eq!((remote.skipped(), remote.waiting.len()), (1, 0));
        remote.on_description(&description("abcd"));
        assert_eq!(remote.take(1, of("abcd")), Some(1), "unless it is the present one again");
    }

    #[test]
    fn everything_is_bounded() {
        let mut remote = Generations::new(10);
        assert!((0..400).all(|port| remote.take(port, None).is_none()));
        assert_eq!(remote.skipped(), 400 - MAX_WAITING as u64);
        remote.on_description(&description("abcd"));
        assert_eq!(remote.ready().len(), 10);
        assert!((0..400).all(|port| remote.take(port, None).is_none()));
        for n in 0..100 {
            remote.on_description(&description(&n.to_string()));
        }
        assert_eq!(remote.past.len(), MAX_PAST);
    }
}
