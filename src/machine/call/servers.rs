//! The TURN servers that a call's engine was given: an ICE restart does not use credentials that
//! have run out.
//!
//! A call may last longer than what it began with, and at each restart engines gather anew. Our
//! own restart waits for fresh credentials: its offer needs the homeserver as well. Theirs is
//! answered at once; what comes is used when it comes. Without an answer of the homeserver the old
//! ones stay, and the next restart asks again.

use super::{Ask, Call};
use crate::machine::{io::PeerOp, turn::Given, world::World};

impl Call {
    /// The servers that the connection is opened with.
    pub(super) fn note_servers(&mut self, given: Option<Given>) {
        self.servers = given;
    }

    /// Gathering begins anew: what has run out is had again. A call that began without servers
    /// goes on without.
    pub(super) fn renew_servers(&mut self, world: &mut World) {
        let margin = world.config.timeouts.turn_margin;
        let is_old = self.servers.is_some_and(|given| !given.are_good(world.now, margin));
        if is_old && world.want_turn(self.session) {
            self.pass_servers(world);
        }
    }

    /// Whether credentials that a restart needs are on their way.
    pub(super) fn awaits_servers(&self, world: &World) -> bool {
        world.turn.is_awaited_by(self.session)
    }

    /// The homeserver has answered, or could not.
    pub(in crate::machine) fn on_turn(&mut self, world: &mut World) {
        self.advance(world);
        self.pass_servers(world);
        self.negotiate(world);
    }

    /// Gives the engine what is newer than what it has.
    fn pass_servers(&mut self, world: &mut World) {
        let Some(known) = self.servers else { return };
        if let Some(given) = world.turn.given().filter(|given| !given.is(known)) {
            self.servers = Some(given);
            let servers = world.turn.servers().to_vec();
            self.ask_peer(world, Ask::Nothing, PeerOp::SetServers(servers));
        }
    }
}
