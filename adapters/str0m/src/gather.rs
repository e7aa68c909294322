//! Local candidates: when the other side hears of them.
//!
//! Host candidates are known before the first description and stand in it; they are reported once
//! more after it was put into force. What servers give (`reach`) follows as it comes, and then the
//! end mark. A candidate that comes after that, from a new interface, is reported all the same.
//! An ICE restart has all of them reported again, under its own user name fragment.

use std::{collections::BTreeSet, net::SocketAddr};

use matrix_voip::machine::io;
use str0m::Candidate;

/// Where a local candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A socket of ours.
    Host(SocketAddr),
    /// A socket of ours, as a STUN server sees it.
    Reflexive {
        /// What the server sees.
        mapped: SocketAddr,
        /// The socket.
        base: SocketAddr,
    },
    /// An address on a TURN server.
    Relayed {
        /// The address that others send to.
        relayed: SocketAddr,
        /// Our end of the way to the server.
        local: SocketAddr,
    },
}

impl Origin {
    /// The candidate for str0m; `None` for an address that ICE cannot use.
    pub(crate) fn candidate(self) -> Option<Candidate> {
        match self {
            Self::Host(address) => Candidate::host(address, "udp").ok(),
            Self::Reflexive { mapped, base } => {
                Candidate::server_reflexive(mapped, base, "udp").ok()
            }
            // What is relayed is UDP, however the server is reached.
            Self::Relayed { relayed, local } => Candidate::relayed(relayed, local, "udp").ok(),
        }
    }

    /// The socket that it belongs to; relays are their server's matter.
    const fn socket(self) -> Option<SocketAddr> {
        match self {
            Self::Host(base) | Self::Reflexive { base, .. } => Some(base),
            Self::Relayed { .. } => None,
        }
    }

    /// The candidate type, and the address that str0m names as source of what is sent from it.
    fn base(self) -> (&'static str, SocketAddr) {
        match self {
            Self::Host(address) => ("host", address),
            Self::Reflexive { base, .. } => ("srflx", base),
            Self::Relayed { relayed, .. } => ("relay", relayed),
        }
    }
}

/// Whether more candidates may come without a change outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Servers are being asked.
    UnderWay,
    /// That was all.
    Done,
}

/// The local candidates of one connection.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    found: Vec<(Origin, String)>,
    /// Sockets whose address is not ours at present: what is based on them is not named.
    gone: BTreeSet<SocketAddr>,
    /// The `mid` and user name fragment to report with, once a description is in force.
    target: Option<(String, String)>,
    reported: usize,
    end_reported: bool,
}

impl Gathering {
    /// A candidate that str0m has taken, with its line (`candidate:…`).
    pub(crate) fn on_found(&mut self, origin: Origin, line: &str) {
        let line = line.split_once(" ufrag ").map_or(line, |(line, _)| line);
        self.found.push((origin, line.to_owned()));
    }

    /// The address of a socket is not ours any more. Its candidates stay until the next ICE
    /// restart, but are not named: the address may come back, and the path with it.
    pub(crate) fn on_gone(&mut self, local: SocketAddr) {
        self.gone.insert(local);
    }

    /// An address that was gone is ours again: says whether it was, and reports its candidates
    /// once more.
    pub(crate) fn on_back(&mut self, local: SocketAddr) -> bool {
        let was_gone = self.gone.remove(&local);
        if was_gone {
            let its = |(origin, _): &mut (Origin, String)| origin.socket() == Some(local);
            let back: Vec<_> = self.found.extract_if(.., its).collect();
            self.reported = self.reported.min(self.found.len());
            self.found.extend(back);
        }
        was_gone
    }

    /// What is based on addresses that are gone, to be given up for good.
    pub(crate) fn abandoned(&mut self) -> Vec<Origin> {
        let gone = std::mem::take(&mut self.gone);
        let is_gone = |origin: &Origin| origin.socket().is_some_and(|base| gone.contains(&base));
        self.found.iter().map(|(origin, _)| *origin).filter(is_gone).collect()
    }

    fn is_named(&self, origin: &Origin) -> bool {
        origin.socket().is_none_or(|base| !self.gone.contains(&base))
    }

    /// A candidate is of no use any more.
    pub(crate) fn on_lost(&mut self, origin: Origin) {
        if let Some(index) = self.found.iter().position(|(known, _)| *known == origin) {
            self.found.remove(index);
            self.reported -= usize::from(index < self.reported);
        }
    }

    /// All lines found so far, under this user name fragment.
    pub(crate) fn lines(&self, ufrag: &str) -> impl Iterator<Item = String> {
        let named = self.found.iter().filter(|(origin, _)| self.is_named(origin));
        named.map(move |(_, line)| under(line, ufrag))
    }

    /// A description of ours is in force: candidates are reported from now on, for the m-line
    /// with this `mid`. Under another user name fragment than before, all are reported again.
    pub(crate) fn announce(&mut self, mid: &str, ufrag: &str) {
        let is_same = self.target.as_ref().is_some_and(|(_, known)| known == ufrag);
        if !is_same {
            (self.reported, self.end_reported) = (0, false);
        }
        self.target = Some((mid.to_owned(), ufrag.to_owned()));
    }

    /// The only description of ours was taken back.
    pub(crate) fn withdraw(&mut self) {
        self.target = None;
    }

    /// What the other side has not heard of yet; each is given out once.
    pub(crate) fn news(&mut self, progress: Progress) -> Vec<io::PeerNews> {
        let Some((mid, ufrag)) = &self.target else { return Vec::new() };
        let found = self.found.get(self.reported..).unwrap_or_default();
        let mut news: Vec<_> = found
            .iter()
            .filter(|(origin, _)| self.is_named(origin))
            .map(|(_, line)| {
                io::PeerNews::Candidate(io::Candidate {
                    candidate: under(line, ufrag).into(),
                    sdp_mid: Some(mid.clone()),
                    sdp_m_line_index: Some(0),
                    username_fragment: Some(ufrag.clone()),
                })
            })
            .collect();
        self.reported = self.found.len();
        if progress == Progress::Done && !std::mem::replace(&mut self.end_reported, true) {
            news.push(io::PeerNews::GatheringDone);
        }
        news
    }

    /// Whether datagrams that come in at this address belong to a candidate of ours.
    pub(crate) fn has_base(&self, local: SocketAddr) -> bool {
        self.found.iter().any(|(origin, _)| origin.base().1 == local)
    }

    /// The type of the candidate that packets from this address belong to.
    pub(crate) fn kind_of(&self, source: SocketAddr) -> &'static str {
        let mut bases = self.found.iter().map(|(origin, _)| origin.base());
        bases.find(|(_, base)| *base == source).map_or("host", |(kind, _)| kind)
    }
}

fn under(line: &str, ufrag: &str) -> String {
    format!("{line} ufrag {ufrag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_candidate_is_reported_once_and_the_end_mark_last() {
        let address = "10.0.0.1:5000".parse().unwrap();
        let mut gathering = Gathering::default();
        gathering.on_found(Origin::Host(address), "candidate:1 ufrag x");
        assert!(gathering.news(Progress::UnderWay).is_empty(), "no description is in force");
        gathering.announce("0", "abcd");
        assert_eq!(gathering.news(Progress::UnderWay).len(), 1);
        let mapped = "192.0.2.1:7".parse().unwrap();
        let reflexive = Origin::Reflexive { mapped, base: address };
        gathering.on_found(reflexive, "candidate:2");
        let news = gathering.news(Progress::Done);
        assert_eq!(news.len(), 2);
        assert_eq!(news[1], io::PeerNews::GatheringDone);
        assert!(gathering.news(Progress::Done).is_empty());
        gathering.on_lost(reflexive);
        assert!(gathering.news(Progress::Done).is_empty());
        assert_eq!(gathering.lines("next").collect::<Vec<_>>(), ["candidate:1 ufrag next"]);
        assert_eq!(gathering.kind_of(address), "host");
        assert!(gathering.has_base(address));
        assert!(!gathering.has_base("10.0.0.1:5001".parse().unwrap()));
    }

    #[test]
    fn an_address_that_is_gone_is_not_named_until_it_is_back() {
        let [one, two] = ["10.0.0.1:1", "10.0.0.2:2"].map(|at| at.parse().unwrap());
        let mut gathering = Gathering::default();
        gathering.on_found(Origin::Host(one), "candidate:1");
        gathering.on_found(Origin::Host(two), "candidate:2");
        gathering.announce("0", "abcd");
        gathering.news(Progress::Done);
        gathering.on_gone(one);
        assert_eq!(gathering.lines("x").collect::<Vec<_>>(), ["candidate:2 ufrag x"]);
        assert!(gathering.has_base(one), "what comes late is taken");
        assert!(gathering.on_back(one) && !gathering.on_back(two));
        assert_eq!(gathering.news(Progress::Done).len(), 1, "told again, and alone");
        gathering.on_gone(two);
        assert_eq!(gathering.abandoned(), [Origin::Host(two)]);
        assert!(gathering.abandoned().is_empty());
    }

    #[test]
    fn a_restart_has_all_reported_again_and_the_same_description_nothing() {
        let mut gathering = Gathering::default();
        gathering.on_found(Origin::Host("10.0.0.1:5000".parse().unwrap()), "candidate:1");
        gathering.announce("0", "abcd");
        assert_eq!(gathering.news(Progress::Done).len(), 2);
        gathering.announce("1", "abcd");
        assert!(gathering.news(Progress::Done).is_empty());
        gathering.announce("0", "next");
        let news = gathering.news(Progress::Done);
        assert_eq!((news.len(), &news[1]), (2, &io::PeerNews::GatheringDone));
        let io::PeerNews::Candidate(candidate) = &news[0] else { panic!("{news:?}") };
        assert_eq!(candidate.candidate.expose(), "candidate:1 ufrag next");
        assert_eq!(candidate.username_fragment.as_deref(), Some("next"));
    }
}
