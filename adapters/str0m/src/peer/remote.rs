//! What follows from the other side's descriptions: candidates to try, tracks that come and go.

use std::collections::BTreeMap;

use matrix_voip::{
    id::StreamId,
    machine::io::{MediaKind, PeerNews},
    sdp::{ice_ufrag, media_lines},
};
use matrix_voip_engine::sdp::media_kind;
use str0m::media::Mid;

use super::{Output, Peer};

/// ICE steps taken at once when there is something new to try. str0m takes one step per timeout
/// and waits 50 ms between two; a check of the other side that came before its description takes
/// the first step, ours would wait. More than a few at once would be a burst (RFC 8445 §14.2).
const FIRST_CHECKS: usize = 4;

impl Peer {
    /// Gives str0m remote candidates, one by one as it wants them.
    pub(super) fn add_remote(&mut self, candidates: Vec<str0m::Candidate>) {
        for candidate in candidates {
            let ip = candidate.addr().ip();
            self.reach(|reach, step| reach.permit(step, ip));
            self.rtc.add_remote_candidate(candidate);
            self.drain();
        }
        for _ in 0..FIRST_CHECKS {
            self.feed(str0m::Input::Timeout(self.now));
        }
    }

    /// A remote description took effect: candidates that waited for it, tracks that came or went.
    pub(super) fn on_remote_description(&mut self, text: &str) {
        self.health.on_generation(ice_ufrag(text));
        let ready = self.remote.on_description(text);
        for ip in self.remote.addresses() {
            self.reach(|reach, step| reach.permit(step, ip));
        }
        self.add_remote(ready);
        let flows = self.flowing(text);
        let gone = self.flows.iter().filter(|(mid, flow)| flows.get(*mid) != Some(flow));
        let removed = gone.map(|(mid, _)| PeerNews::TrackRemoved { mid: mid.clone() });
        let new = flows.iter().filter(|(mid, flow)| self.flows.get(*mid) != Some(flow));
        let added = new.map(|(mid, (stream, kind))| PeerNews::TrackAdded {
            mid: mid.clone(),
            stream: stream.clone(),
            kind: *kind,
        });
        self.outputs.extend(removed.chain(added).map(Output::News));
        self.flows = flows;
    }

    /// The lines of a remote description that bring media to us.
    fn flowing(&self, text: &str) -> BTreeMap<String, (Option<StreamId>, MediaKind)> {
        let lines = media_lines(text).into_iter();
        let flowing = lines.filter_map(|line| {
            let mid = line.mid?;
            let media = self.rtc.media(Mid::from(mid))?;
            let comes = line.direction.sends() && media.direction().is_receiving();
            let kind = media_kind(line.kind).filter(|_| comes)?;
            Some((mid.to_owned(), (line.stream, kind)))
        });
        flowing.collect()
    }
}
