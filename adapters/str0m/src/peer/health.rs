//! One state out of two: ICE and DTLS together, as the machine wants it.
//!
//! str0m says `Disconnected` when the path is lost, but nothing when it comes back by itself
//! (`str0m.md` §1). So after a loss every sign of life counts: authenticated media, or an answer
//! to one of our connectivity checks. That ICE calls itself connected is none, unless it began
//! anew: when the chosen pair of candidates dies, it goes over to one that answered long ago.
//!
//! It notices a loss only by checks that go unanswered, after 20 s. A person waits less long: a
//! path over which nothing has come for [`SILENCE`] is lost. Checks go both ways every second
//! even when nobody sends media, so a working path is never silent for so long.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use matrix_voip::machine::io::PeerState;
use str0m::IceConnectionState;

/// How long nothing may come over the chosen path before it counts as lost.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// What is known about the connection.
#[derive(Debug, Default)]
pub(crate) struct Health {
    ice: Ice,
    is_secured: bool,
    /// The other side's ICE generation.
    generation: Option<String>,
    /// Whether ICE has begun anew and is not connected yet.
    is_renewed: bool,
    /// The chosen path, and the answers to connectivity checks on it so far.
    answers: (Option<Path>, u64),
    /// When something came over the chosen path last.
    heard: Option<Instant>,
    reported: Option<PeerState>,
}

/// Our address and theirs.
pub(crate) type Path = (SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Ice {
    #[default]
    Idle,
    Checking,
    Up,
    Lost,
}

impl Health {
    /// ICE changed. Returns the new state where that changes it, as all of these do.
    pub(crate) fn on_ice(&mut self, state: IceConnectionState) -> Option<PeerState> {
        let was_up = self.ice == Ice::Up;
        self.ice = match state {
            IceConnectionState::New => Ice::Idle,
            // A restart of a working connection: the old path carries on meanwhile.
            IceConnectionState::Checking if was_up => Ice::Up,
            IceConnectionState::Checking if self.ice == Ice::Lost => Ice::Lost,
            IceConnectionState::Checking => Ice::Checking,
            IceConnectionState::Connected | IceConnectionState::Completed => {
                let is_new = std::mem::take(&mut self.is_renewed);
                if self.ice == Ice::Lost && !is_new { Ice::Lost } else { Ice::Up }
            }
            // Nothing has worked yet and more candidates may come: that is no loss.
            IceConnectionState::Disconnected if !was_up => self.ice,
            IceConnectionState::Disconnected => Ice::Lost,
        };
        self.change()
    }

    /// Their description in force has these ICE credentials: with others ICE begins anew.
    pub(crate) fn on_generation(&mut self, ufrag: Option<&str>) {
        if self.generation.as_deref() != ufrag {
            self.is_renewed = self.generation.is_some();
            self.generation = ufrag.map(str::to_owned);
        }
    }

    /// The DTLS handshake is done.
    pub(crate) fn on_secured(&mut self) -> Option<PeerState> {
        self.is_secured = true;
        self.change()
    }

    /// Whether the DTLS handshake is done: media can be encrypted.
    pub(crate) fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Something came over the chosen path.
    pub(crate) fn on_heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// When the silence becomes a loss, if nothing comes before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let is_up = self.reported == Some(PeerState::Connected);
        self.heard.filter(|_| is_up).map(|heard| heard + SILENCE)
    }

    /// Time has passed.
    pub(crate) fn on_time(&mut self, now: Instant) -> Option<PeerState> {
        if self.reported == Some(PeerState::Connected) && self.heard.is_none() {
            self.heard = Some(now);
        }
        if self.deadline().is_some_and(|end| end <= now) { self.on_lost() } else { None }
    }

    /// The chosen path cannot work any more.
    pub(crate) fn on_lost(&mut self) -> Option<PeerState> {
        if self.ice == Ice::Up {
            self.ice = Ice::Lost;
        }
        self.change()
    }

    /// Media of the other side came in.
    pub(crate) fn on_media(&mut self) -> Option<PeerState> {
        if self.ice == Ice::Lost {
            self.ice = Ice::Up;
        }
        self.change()
    }

    /// The count of answers to our connectivity checks on the chosen path.
    pub(crate) fn on_answers(&mut self, path: Option<Path>, answers: u64) -> Option<PeerState> {
        let (former, before) = std::mem::replace(&mut self.answers, (path, answers));
        let grew = path == former && answers > before;
        if grew { self.on_media() } else { None }
    }

    /// The other side has closed the connection.
    pub(crate) fn on_closed(&mut self) -> Option<PeerState> {
        self.ice = Ice::Lost;
        self.change()
    }

    /// The connection broke for good.
    pub(crate) fn on_death(&mut self) -> Option<PeerState> {
        let is_new = self.reported != Some(PeerState::Failed);
        self.reported = Some(PeerState::Failed);
        is_new.then_some(PeerState::Failed)
    }

    fn change(&mut self) -> Option<PeerState> {
        let state = match self.ice {
            Ice::Idle => return None,
            Ice::Up if self.is_secured => PeerState::Connected,
            Ice::Checking | Ice::Up => PeerState::Connecting,
            Ice::Lost => PeerState::Disconnected,
        };
        let is_over = self.reported == Some(PeerState::Failed);
        if is_over || self.reported == Some(state) {
            return None;
        }
        self.reported = Some(state);
        // What was heard on the last path says nothing about this one.
        self.heard = None;
        self.reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use IceConnectionState::{Checking, Completed, Connected, Disconnected};

    fn connected() -> Health {
        let mut health = Health::default();
        assert_eq!(health.on_ice(Checking), Some(PeerState::Connecting));
        assert_eq!(health.on_ice(Connected), None);
        assert_eq!(health.on_secured(), Some(PeerState::Connected));
        health
    }

    #[test]
    fn connected_needs_ice_and_dtls() {
        let mut health = connected();
        assert_eq!(health.on_ice(Completed), None);
        assert_eq!(health.on_media(), None);
    }

    #[test]
    fn a_path_that_comes_back_by_itself_is_connected_again() {
        let mut health = connected();
        assert_eq!(health.on_ice(Disconnected), Some(PeerState::Disconnected));
        assert_eq!(health.on_answers(None, 0), None);
        assert_eq!(health.on_answers(None, 1), Some(PeerState::Connected));
        assert_eq!(health.on_ice(Disconnected), Some(PeerState::Disconnected));
        assert_eq!(health.on_media(), Some(PeerState::Connected));
    }

    #[test]
    fn silence_is_a_loss_and_the_next_sign_of_life_its_end() {
        #[expect(clippy::disallowed_methods, reason = "only differences from it are used")]
        let start = Instant::now();
        let mut health = connected();
        assert_eq!(health.on_time(start), None);
        let half = start + SILENCE / 2;
        health.on_heard(half);
        assert_eq!(health.deadline(), Some(half + SILENCE));
        assert_eq!(health.on_time(start + SILENCE), None);
        assert_eq!(health.on_time(half + SILENCE), Some(PeerState::Disconnected));
        assert_eq!((health.deadline(), health.on_time(half + 2 * SILENCE)), (None, None));
        assert_eq!(health.on_media(), Some(PeerState::Connected));
        assert_eq!(health.on_time(half + 3 * SILENCE), None, "a new path, a new silence");
    }

    #[test]
    fn an_ice_restart_of_a_working_path_is_no_news() {
        let mut health = connected();
        assert_eq!(health.on_ice(Checking), None);
        assert_eq!(health.on_ice(Completed), None);
    }

    #[test]
    fn a_restart_after_a_loss_is_connected_only_when_it_works() {
        let mut health = connected();
        health.on_generation(Some("first"));
        health.on_ice(Disconnected);
        health.on_generation(Some("second"));
        assert_eq!(health.on_ice(Checking), None);
        assert_eq!(health.on_ice(Connected), Some(PeerState::Connected));
        health.on_generation(Some("second"));
        health.on_ice(Disconnected);
        assert_eq!(health.on_ice(Connected), None, "the restart is long over");
    }

    /// A callee that died was connected again for a second, 20 s later.
    #[test]
    fn another_pair_that_answered_long_ago_is_no_sign_of_life() {
        let mut health = connected();
        health.on_generation(Some("first"));
        let path = |port| (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], port).into());
        health.on_answers(Some(path(2)), 5);
        assert_eq!(health.on_lost(), Some(PeerState::Disconnected));
        assert_eq!((health.on_ice(Checking), health.on_ice(Connected)), (None, None));
        assert_eq!(health.on_answers(Some(path(3)), 30), None, "they came before");
        assert_eq!(health.on_answers(Some(path(3)), 31), Some(PeerState::Connected));
    }

    #[test]
    fn without_a_first_connection_there_is_no_loss() {
        let mut health = Health::default();
        health.on_ice(Checking);
        assert_eq!(health.on_ice(Disconnected), None);
    }

    #[test]
    fn death_is_reported_once_and_last() {
        let mut health = connected();
        assert_eq!(health.on_death(), Some(PeerState::Failed));
        assert_eq!(health.on_death(), None);
        assert_eq!(health.on_media(), None);
        assert_eq!(health.on_ice(Disconnected), None);
    }
}
