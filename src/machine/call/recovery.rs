//! A connection that wavers, is lost, and comes back: by itself, or by an ICE restart.
//!
//! ```text
//! path gone ── waver ──► state "connecting" ── restart_first (callee: twice that) ──► restart ICE
//!     └──────────────────────── lost ────────────────────────► ended, ice_failed       └─ again, doubling
//! ```
//!
//! The caller restarts first: two restarts at once would cross, and one be for nothing (T-13).

use std::time::Duration;

use super::{Call, CallTimer, Phase, negotiation::SignalingState};
use crate::machine::{
    event::EndReason,
    io::{PeerState, Refusal},
    world::World,
};

impl Call {
    /// The path is gone; perhaps only for a moment.
    pub(super) fn on_connection_lost(&mut self, world: &mut World) {
        if self.has_timer(CallTimer::Lost) {
            return;
        }
        self.history.lost = world.now.mono;
        let timeouts = &world.config.timeouts;
        let (waver, lost) = (timeouts.waver, timeouts.lost);
        self.set_timer(world, CallTimer::Waver, world.now.mono_after(waver));
        self.set_timer(world, CallTimer::Lost, world.now.mono_after(lost));
        self.plan_restart(world);
    }

    /// It was no hiccup.
    pub(super) fn on_wavered(&mut self, world: &mut World) {
        if self.phase == Phase::Connected {
            self.enter(world, Phase::Connecting);
        }
    }

    fn plan_restart(&mut self, world: &mut World) {
        let pause = self.restart_pause(world);
        self.set_timer(world, CallTimer::Restart, world.now.mono_after(pause));
    }

    /// Doubling; the callee leaves the caller time to begin.
    fn restart_pause(&self, world: &World) -> Duration {
        let first = world.config.timeouts.restart_first;
        let politeness = u32::from(self.is_polite());
        first.saturating_mul(1 << (self.restarts + politeness).min(16))
    }

    pub(super) fn on_restart_due(&mut self, world: &mut World) {
        if !self.has_timer(CallTimer::Lost) {
            return;
        }
        self.restarts += 1;
        self.restart_ice(world);
        self.plan_restart(world);
    }

    /// The engine has given the path up: no use to wait for it.
    pub(super) fn on_engine_failed(&mut self, world: &mut World) {
        match self.phase {
            Phase::Connected | Phase::Connecting if self.was_connected() => {
                self.on_connection_lost(world);
                self.on_wavered(world);
                if !self.is_polite() && self.restarts == 0 {
                    self.on_restart_due(world);
                }
            }
            Phase::Connecting | Phase::Connected => self.fail(world, EndReason::IceFailed),
            Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Ended(_) => {
                self.fail(world, EndReason::EngineFailed);
            }
        }
    }

    /// Our addresses are others: the old path is of no use, whoever is polite; and what could not
    /// be sent by the old ones may go by these.
    pub(in crate::machine) fn on_network_changed(&mut self, world: &mut World) {
        self.send_again(world);
        // Also before the answer: what was gathered for the invite is of the old network.
        if self.peer.is_some() && !self.phase.is_ended() {
            self.restart_ice(world);
        }
    }

    /// There is a network again: what was lost is tried at once.
    pub(super) fn hasten_restart(&mut self, world: &mut World) {
        if self.has_timer(CallTimer::Lost) {
            self.on_restart_due(world);
        }
    }

    pub(super) fn restart_by_command(&mut self, world: &mut World) -> Result<(), Refusal> {
        self.check_negotiable()?;
        if !self.negotiation.offers_restart() && !self.negotiation.wants_restart() {
            self.restart_ice(world);
        }
        Ok(())
    }

    /// An offer of ours that is out by then is of no use: as long as nobody answers it, no other
    /// could be made.
    pub(super) fn restart_ice(&mut self, world: &mut World) {
        self.renew_servers(world);
        self.negotiation.want_restart();
        if self.negotiation.turn() == SignalingState::Offered {
            self.roll_back(world);
        } else {
            self.negotiate(world);
        }
    }

    pub(super) fn on_connected(&mut self, world: &mut World) {
        let awaited = [CallTimer::Connect, CallTimer::Waver, CallTimer::Lost, CallTimer::Restart];
        for timer in awaited {
            self.clear_timer(world, timer);
        }
        self.restarts = 0;
        // One that waited for its turn is not needed any more.
        self.negotiation.want_no_restart();
        self.enter(world, Phase::Connected);
    }

    pub(super) fn on_no_connection(&mut self, world: &mut World) {
        match self.phase {
            Phase::Connecting => self.fail(world, EndReason::IceFailed),
            // Lost for so long, and the waver was set to be longer.
            Phase::Connected if self.peer_state != Some(PeerState::Connected) => {
                self.fail(world, EndReason::IceFailed);
            }
            Phase::Connected | Phase::Outgoing(_) | Phase::Incoming(_) | Phase::Ended(_) => {}
        }
    }
}
