//! What str0m says, in our words.

use std::time::{Duration, Instant};

use matrix_voip::{
    host::SourceControl,
    id::TrackId,
    machine::io::{PeerNews, PeerState},
};
use str0m::{Event, Rtc, media::Mid};

use super::{Output, Peer};
use crate::guard::fenced;

/// Errors of one drain after which str0m counts as broken: it never makes more than one of each
/// packet that it was given.
const MAX_ERRORS: usize = 16;

/// First bytes from here on are DTLS, RTP or RTCP (RFC 7983).
const FIRST_NOT_STUN: u8 = 20;

/// str0m's "never" is centuries away, which timers cannot hold: then ask again in an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Peer {
    /// Takes everything out of str0m until it only wants to wait. Belongs after each change.
    pub(super) fn drain(&mut self) {
        let mut errors = 0;
        loop {
            let Ok(output) = fenced(&mut self.rtc, Rtc::poll_output) else { break };
            match output {
                Ok(str0m::Output::Timeout(at)) => break self.wait_until(at),
                Ok(str0m::Output::Transmit(transmit)) => {
                    // What is no STUN goes by the chosen path; the first statistics come later.
                    if transmit.contents.first().is_some_and(|byte| *byte >= FIRST_NOT_STUN) {
                        self.measured.on_route(
                            transmit.proto,
                            transmit.source,
                            transmit.destination,
                        );
                    }
                    self.transmit(
                        transmit.source,
                        transmit.destination,
                        transmit.contents.to_vec(),
                    );
                }
                Ok(str0m::Output::Event(event)) => self.on_event(event),
                Err(error) => {
                    tracing::trace!(%error, "str0m");
                    self.refused += 1;
                    errors += 1;
                    if errors > MAX_ERRORS {
                        self.rtc.disconnect();
                    }
                }
            }
        }
        if !self.rtc.is_alive() && !self.is_closed && !self.was_closed_by_remote {
            let state = self.health.on_death();
            self.report(state);
        }
    }

    fn wait_until(&mut self, at: Instant) {
        self.deadline = at.min(self.now + LONGEST_WAIT);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                let state = self.health.on_secured();
                self.report(state);
            }
            Event::IceConnectionStateChange(ice) => {
                let state = self.health.on_ice(ice);
                self.report(state);
            }
            Event::Closed => {
                self.was_closed_by_remote = true;
                let state = self.health.on_closed();
                self.report(state);
            }
            Event::MediaData(data) => self.on_media(&data),
            Event::KeyframeRequest(request) => {
                self.control(request.mid, SourceControl::KeyFrame);
            }
            Event::PeerStats(stats) => {
                self.measured.on_counted(self.now.saturating_duration_since(self.epoch));
                let pair = stats.selected_candidate_pair.as_ref();
                self.measured.on_path(pair, stats.rtt);
                let path = pair.map(|pair| (pair.local.addr, pair.remote.addr));
                let answers = pair.map_or(0, |pair| pair.responses_received);
                let state = self.health.on_answers(path, answers);
                self.report(state);
            }
            Event::MediaIngressStats(stats) => self.measured.on_ingress(&stats),
            Event::MediaEgressStats(stats) => {
                self.measured.on_egress(&stats);
                if let Some(loss) = stats.loss {
                    self.control(stats.mid, SourceControl::Loss(loss));
                }
            }
            // Data channels are not offered, RTP mode and estimation are off; what is left says
            // nothing that the remote description did not.
            _ => {}
        }
    }

    /// Reports a state that is new.
    pub(super) fn report(&mut self, state: Option<PeerState>) {
        let Some(state) = state else { return };
        self.outputs.push_back(Output::News(PeerNews::State(state)));
        if state == PeerState::Connected {
            self.ask_for_key_frames();
        }
    }

    /// The path is new: nobody at its other end has seen a key frame.
    fn ask_for_key_frames(&mut self) {
        let tracks: Vec<TrackId> = self.negotiation.sent_tracks().map(|(_, track)| track).collect();
        for track in tracks {
            let control = SourceControl::KeyFrame;
            self.outputs.push_back(Output::Control { track, control });
        }
    }

    /// Tells the sources of what is sent on a line.
    fn control(&mut self, mid: Mid, control: SourceControl) {
        let sent = self.negotiation.sent_tracks().filter(|(line, _)| *line == mid);
        let tracks: Vec<TrackId> = sent.map(|(_, track)| track).collect();
        for track in tracks {
            self.outputs.push_back(Output::Control { track, control });
        }
    }
}
