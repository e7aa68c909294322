//! Remote candidates: which can be used, which must wait, which are skipped.
//!
//! str0m drops a candidate silently when there is no remote description yet or when its user name
//! fragment is not the present one (`str0m.md` §3). Such candidates wait here, bounded, until a
//! description brings their generation. `.local` names, TCP and garbage are skipped and counted;
//! ICE finds such peers by their own packets (peer-reflexive candidates).

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use matrix_voip::machine::io;
use matrix_voip_engine::{Generations, sdp};
use str0m::{Candidate, CandidateKind, net::Protocol};

/// Remote candidates used in one ICE generation; browsers send fewer than thirty.
const MAX_USED: usize = 256;

/// The remote candidates of one connection.
#[derive(Debug)]
pub(crate) struct RemoteCandidates {
    generations: Generations<Candidate>,
    kinds: BTreeMap<SocketAddr, &'static str>,
}

impl RemoteCandidates {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { generations: Generations::new(MAX_USED), kinds: BTreeMap::new() }
    }

    /// Takes candidates as they were trickled; returns those that str0m can have now.
    pub(crate) fn add(&mut self, candidates: &[io::Candidate]) -> Vec<Candidate> {
        let mut ready = Vec::new();
        for candidate in candidates.iter().filter(|candidate| !candidate.is_end()) {
            match usable(candidate.candidate.expose()) {
                Some(parsed) => {
                    let field = candidate.username_fragment.clone();
                    let ufrag = parsed.ufrag().map(str::to_owned).or(field);
                    ready.extend(self.generations.take(parsed, ufrag));
                }
                None => self.generations.skip(),
            }
        }
        self.note_kinds(&ready);
        ready
    }

    /// A remote description came into force; returns the candidates that waited for it.
    pub(crate) fn on_description(&mut self, description: &str) -> Vec<Candidate> {
        if self.generations.on_description(description) {
            self.kinds.clear();
        }
        let named = sdp::candidates(description).filter_map(usable).take(MAX_USED);
        self.note_kinds(&named.collect::<Vec<_>>());
        let ready = self.generations.ready();
        self.note_kinds(&ready);
        ready
    }

    /// The addresses that the other side has named, in this generation.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.kinds.keys().map(SocketAddr::ip).collect()
    }

    /// `host`, `srflx`, `relay`, or `prflx` for an address that nobody announced.
    pub(crate) fn kind_of(&self, address: SocketAddr) -> &'static str {
        self.kinds.get(&address).copied().unwrap_or("prflx")
    }

    /// How many candidates were of no use.
    pub(crate) const fn skipped(&self) -> u64 {
        self.generations.skipped()
    }

    fn note_kinds(&mut self, candidates: &[Candidate]) {
        self.kinds.extend(candidates.iter().map(|one| (one.addr(), kind(one.kind()))));
    }
}

/// The candidate, if it is one for UDP and an address.
fn usable(line: &str) -> Option<Candidate> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    let candidate = Candidate::from_sdp_string(line).ok()?;
    let is_reachable = !candidate.addr().ip().is_unspecified() && candidate.addr().port() != 0;
    (candidate.proto() == Protocol::Udp && is_reachable).then_some(candidate)
}

/// The name of a candidate type, as in SDP.
pub(crate) const fn kind(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::Relayed => "relay",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "m=audio 9 x 0\r\na=ice-ufrag:abcd\r\n\
        a=candidate:1 1 udp 99 10.0.0.9 5000 typ srflx raddr 0.0.0.0 rport 0\r\n";

    fn trickled(line: &str) -> io::Candidate {
        io::Candidate { candidate: line.into(), ..io::Candidate::end() }
    }

    #[test]
    fn candidates_before_the_description_wait_for_it() {
        let mut remote = RemoteCandidates::new();
        let host = trickled("candidate:1 1 udp 1 10.0.0.1 5000 typ host");
        assert!(remote.add(&[host]).is_empty());
        assert_eq!(remote.on_description(DESCRIPTION).len(), 1);
        assert_eq!(remote.kind_of("10.0.0.1:5000".parse().unwrap()), "host");
        assert_eq!(remote.kind_of("10.0.0.9:5000".parse().unwrap()), "srflx");
        assert_eq!(remote.kind_of("10.0.0.7:5000".parse().unwrap()), "prflx");
    }

    #[test]
    fn candidates_of_another_generation_wait_until_it_comes() {
        let mut remote = RemoteCandidates::new();
        remote.on_description(DESCRIPTION);
        let next = trickled("candidate:1 1 udp 1 10.0.0.1 5000 typ host ufrag next");
        let mut by_field = trickled("candidate:1 1 udp 1 10.0.0.2 5000 typ host");
        by_field.username_fragment = Some("next".to_owned());
        assert!(remote.add(&[next, by_field]).is_empty());
        assert_eq!(remote.on_description(&DESCRIPTION.replace("abcd", "next")).len(), 2);
    }

    #[test]
    fn what_cannot_be_used_is_skipped_and_counted() {
        let mut remote = RemoteCandidates::new();
        remote.on_description(DESCRIPTION);
        let useless = [
            "candidate:1 1 udp 1 0c5f.local 50000 typ host",
            "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active",
            "candidate:1 1 udp 1 0.0.0.0 5 typ host",
            "candidate:",
            "nonsense",
        ];
        assert!(remote.add(&useless.map(trickled)).is_empty());
        assert!(remote.add(&[io::Candidate::end()]).is_empty());
        assert_eq!(remote.skipped(), 5);
    }
}
