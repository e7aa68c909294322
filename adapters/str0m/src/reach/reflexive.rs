//! Which socket asks which server for our address, and what follows from the answers.

use std::{net::SocketAddr, time::Instant};

use matrix_voip::machine::io::{ServerFault, ServerState};

use super::{
    Heard, MAX_ADDRESSES, Output, Reach, ServerAddress,
    binding::{Binding, MAX_BINDINGS, Outcome},
    request::Step,
};
use crate::{gather::Origin, stun::Message};

impl Reach {
    pub(super) fn bind_all(
        &mut self,
        step: &mut Step<'_>,
        server: usize,
        addresses: &[ServerAddress],
    ) {
        for to in addresses.iter().take(MAX_ADDRESSES).map(|found| found.address) {
            if !self.known.contains(&(server, to)) {
                self.known.push((server, to));
            }
            for local in self.sockets.clone() {
                self.bind(step, server, local, to);
            }
        }
        self.conclude(server);
    }

    pub(super) fn bind(
        &mut self,
        step: &mut Step<'_>,
        server: usize,
        local: SocketAddr,
        to: SocketAddr,
    ) {
        let is_asked = self.bindings.iter().any(|asked| asked.to == to && asked.local == local);
        let fits =
            local.is_ipv4() == to.is_ipv4() && local.ip().is_loopback() == to.ip().is_loopback();
        if self.relay_only || !fits || is_asked || self.bindings.len() == MAX_BINDINGS {
            return;
        }
        let (binding, data) = Binding::new(step, server, local, to);
        self.bindings.push(binding);
        self.outputs.push_back(Output::Datagram { local, to, data });
    }

    pub(super) fn on_binding(
        &mut self,
        local: SocketAddr,
        from: SocketAddr,
        data: &[u8],
    ) -> Option<Heard> {
        let is_its = |binding: &&Binding| binding.to == from && binding.local == local;
        self.bindings.iter().find(is_its)?;
        let message = Message::parse(data)?;
        let answered = self.bindings.iter().enumerate().find_map(|(index, binding)| {
            let mapped = is_its(&binding).then(|| binding.on_message(&message))??;
            Some((index, mapped))
        });
        let (index, mapped) = answered?;
        let Binding { server, local, .. } = self.bindings.swap_remove(index);
        match mapped {
            Some(mapped) => {
                if self.is_stun(server) {
                    self.works(server);
                }
                self.found_reflexive(mapped, local);
            }
            None => self.refused += 1,
        }
        self.conclude(server);
        Some(Heard::Ours)
    }

    pub(super) fn found_reflexive(&mut self, mapped: SocketAddr, base: SocketAddr) {
        let is_known = self.sockets.contains(&mapped) || self.reflexive.contains_key(&mapped);
        let is_new = !is_known && self.sockets.contains(&base);
        if is_new && !self.relay_only && !self.is_closed {
            self.reflexive.insert(mapped, base);
            self.outputs.push_back(Output::Found(Origin::Reflexive { mapped, base }));
        }
    }

    pub(super) fn resend_bindings(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for binding in &mut self.bindings {
            match binding.on_timeout(now) {
                Some(Outcome::Send(data)) => {
                    let (local, to) = (binding.local, binding.to);
                    self.outputs.push_back(Output::Datagram { local, to, data });
                }
                Some(Outcome::Silent) => silent.push((binding.server, binding.local, binding.to)),
                None => {}
            }
        }
        self.bindings.retain(|asked| !silent.contains(&(asked.server, asked.local, asked.to)));
        for (server, ..) in silent {
            self.conclude(server);
        }
    }

    /// A STUN server that was asked from every socket and has answered none is silent.
    fn conclude(&mut self, server: usize) {
        let is_asked = self.bindings.iter().any(|binding| binding.server == server);
        let is_undecided = self.servers.get(server).map(|known| known.state);
        if self.is_stun(server) && !is_asked && is_undecided == Some(ServerState::Asked) {
            self.fail(server, ServerFault::Silent);
        }
    }
}
