//! Remote candidates: which can be used, which must wait, which are skipped.
//!
//! The crate takes none before there is a remote description, and takes those of another ICE
//! generation for ones of the present. Such candidates wait here, bounded, until a description
//! brings their generation. `.local` names, TCP and garbage are skipped and counted; ICE finds such
//! peers by their own packets (peer-reflexive candidates).

use std::net::{IpAddr, SocketAddr};

use matrix_voip::machine::io;
use matrix_voip_engine::{Generations, sdp};

/// Remote candidates used in one ICE generation; browsers send fewer than thirty. The crate checks
/// all pairs at once, so that more would be a flood.
const MAX_USED: usize = 48;

/// The remote candidates of one connection.
#[derive(Debug)]
pub(crate) struct RemoteCandidates(Generations<String>);

impl RemoteCandidates {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(Generations::new(MAX_USED))
    }

    /// Takes candidates as they were trickled; returns those that the crate can have now.
    pub(crate) fn add(&mut self, candidates: &[io::Candidate]) -> Vec<String> {
        let mut ready = Vec::new();
        for candidate in candidates.iter().filter(|candidate| !candidate.is_end()) {
            match usable(candidate.candidate.expose()) {
                Some((line, ufrag)) => {
                    let ufrag = ufrag.or_else(|| candidate.username_fragment.clone());
                    ready.extend(self.0.take(line, ufrag));
                }
                None => self.0.skip(),
            }
        }
        ready
    }

    /// A remote description came into force; returns its candidates and those that waited for it.
    pub(crate) fn on_description(&mut self, description: &str) -> Vec<String> {
        self.0.on_description(description);
        let named = sdp::candidates(description).filter_map(usable);
        let mut ready: Vec<_> = named.filter_map(|(line, _)| self.0.take(line, None)).collect();
        ready.extend(self.0.ready());
        ready
    }

    /// How many candidates were of no use.
    pub(crate) const fn skipped(&self) -> u64 {
        self.0.skipped()
    }
}

/// The candidate with its generation, if it is one for UDP and an address: foundation, component,
/// protocol, priority, address, port, `typ` and kind, as the crate needs them; without extensions,
/// which it could stumble over.
fn usable(line: &str) -> Option<(String, Option<String>)> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line).strip_prefix("candidate:")?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [foundation, component, protocol, priority, address, port, typ, kind, rest @ ..] =
        words.as_slice()
    else {
        return None;
    };
    let ip: IpAddr = address.parse().ok()?;
    let at = SocketAddr::new(ip, port.parse().ok()?);
    let component: u16 = component.parse().ok()?;
    let priority: u32 = priority.parse().ok()?;
    let is_udp = protocol.eq_ignore_ascii_case("udp") && component == 1;
    let is_known = matches!(*kind, "host" | "srflx" | "prflx" | "relay") && *typ == "typ";
    let is_sound = foundation.len() <= 32 && foundation.bytes().all(|b| b.is_ascii_graphic());
    let is_reachable = !ip.is_unspecified() && !ip.is_multicast() && at.port() != 0;
    let of = |name: &str| rest.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
    let base = if *kind == "host" { "" } else { " raddr 0.0.0.0 rport 0" };
    let line = format!(
        "candidate:{foundation} {component} udp {priority} {ip} {} typ {kind}{base}",
        at.port()
    );
    let ufrag = of("ufrag").map(str::to_owned);
    (is_udp && is_known && is_sound && is_reachable).then_some((line, ufrag))
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
        assert!(remote.add(&[trickled("candidate:1 1 udp 1 10.0.0.1 5000 typ host")]).is_empty());
        assert_eq!(remote.on_description(DESCRIPTION).len(), 2);
        assert!(remote.on_description(DESCRIPTION).is_empty(), "once");
    }

    #[test]
    fn candidates_of_another_generation_wait_and_late_ones_are_skipped() {
        let mut remote = RemoteCandidates::new();
        remote.on_description(DESCRIPTION);
        let next = trickled("candidate:1 1 UDP 1 10.0.0.1 5000 typ host generation 0 ufrag next");
        assert!(remote.add(&[next]).is_empty());
        let ready = remote.on_description(&DESCRIPTION.replace("abcd", "next"));
        assert!(ready.contains(&"candidate:1 1 udp 1 10.0.0.1 5000 typ host".to_owned()));
        let late = trickled("candidate:1 1 udp 1 10.0.0.1 5000 typ host ufrag abcd");
        assert!(remote.add(&[late]).is_empty());
        assert_eq!(remote.skipped(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_skipped_and_counted() {
        let mut remote = RemoteCandidates::new();
        remote.on_description(DESCRIPTION);
        let useless = [
            "candidate:1 1 udp 1 0c5f.local 50000 typ host",
            "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype active",
            "candidate:1 1 udp 1 0.0.0.0 5 typ host",
            "candidate:1 1 udp 1 10.0.0.1 5 typ magic",
            "candidate:",
            "nonsense",
        ];
        assert!(remote.add(&useless.map(trickled)).is_empty());
        assert!(remote.add(&[io::Candidate::end()]).is_empty());
        assert_eq!(remote.skipped(), 6);
    }
}
