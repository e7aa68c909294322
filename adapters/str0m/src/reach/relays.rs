//! The allocations of a connection, each with the way to its server.

use std::net::SocketAddr;

use matrix_voip::machine::io::ServerFault;
use matrix_voip_engine::uri::{Service, Transport};

use super::{
    Output, Reach, ServerAddress,
    framing::Framing,
    request::Step,
    server::Credentials,
    turn::{Event, TurnClient},
};
use crate::gather::Origin;

/// An allocation with the way to its server.
pub(super) struct Relay {
    pub(super) server: usize,
    pub(super) transport: Transport,
    /// Our end of the way.
    pub(super) local: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) client: TurnClient,
    /// What it was made with.
    pub(super) credentials: Credentials,
    pub(super) framing: Framing,
    /// Its candidate, once there is one.
    pub(super) origin: Option<Origin>,
}

impl Reach {
    /// Asks a server for an allocation, from the socket from which the system would reach it.
    pub(super) fn allocate(
        &mut self,
        step: &mut Step<'_>,
        server: usize,
        addresses: &[ServerAddress],
    ) {
        let way = addresses.iter().find_map(|found| {
            let fits = |socket: &&SocketAddr| socket.is_ipv4() == found.address.is_ipv4();
            let best = self.sockets.iter().find(|socket| Some(socket.ip()) == found.from);
            let local = best.or_else(|| self.sockets.iter().find(fits))?;
            Some((*local, found.address))
        });
        match way {
            Some((local, to)) => self.add_relay(step, server, local, to),
            None => self.fail(server, ServerFault::Unreachable),
        }
    }

    pub(super) fn add_relay(
        &mut self,
        step: &mut Step<'_>,
        server: usize,
        local: SocketAddr,
        to: SocketAddr,
    ) {
        let Some(known) = self.servers.get(server) else { return };
        let Some(Service::Turn(transport)) = self.service(server) else { return };
        // One five-tuple holds one allocation (RFC 8656 §5): the same server under two names.
        let is_taken =
            |relay: &Relay| transport == Transport::Udp && relay.local == local && relay.to == to;
        if self.relays.iter().any(is_taken) {
            return self.fail(server, ServerFault::Unusable);
        }
        let credentials = known.credentials.clone();
        let client = TurnClient::new(step, transport, credentials.clone());
        let (framing, origin) = (Framing::default(), None);
        let relay = Relay { server, transport, local, to, client, credentials, framing, origin };
        self.relays.push(relay);
        self.settle(step, self.relays.len() - 1);
    }

    /// Gives a message of the server to its allocation, and what it brought to the connection.
    pub(super) fn deliver(&mut self, step: &mut Step<'_>, index: usize, message: &[u8]) {
        let client = &mut self.relays[index].client;
        let relayed = client.relayed();
        if let Some((from, data)) = client.on_message(step, message)
            && let Some(relayed) = relayed
        {
            let data = data.to_vec();
            self.outputs.push_back(Output::Packet { relayed, from, data });
        }
        self.settle(step, index);
    }

    /// Does something with every allocation, and what that wants done.
    pub(super) fn each_relay(
        &mut self,
        step: &mut Step<'_>,
        mut act: impl FnMut(&mut TurnClient, &mut Step<'_>),
    ) {
        for index in 0..self.relays.len() {
            act(&mut self.relays[index].client, step);
            self.settle(step, index);
        }
    }

    /// The relay that is reached by the stream to that server.
    pub(super) fn stream_relay(&self, server: usize) -> Option<usize> {
        let is_its = |relay: &Relay| relay.server == server && relay.transport != Transport::Udp;
        self.relays.iter().position(is_its)
    }

    /// The relay of that address.
    pub(super) fn relay_of(&self, relayed: SocketAddr) -> Option<usize> {
        self.relays.iter().position(|relay| relay.client.relayed() == Some(relayed))
    }

    /// Does what an allocation wants done.
    pub(super) fn settle(&mut self, step: &mut Step<'_>, index: usize) {
        while let Some(event) = self.relays[index].client.poll() {
            match event {
                Event::Send(data) => self.transmit(index, data),
                Event::Allocated { relayed, mapped } => {
                    self.on_allocated(step, index, relayed, mapped);
                }
                Event::Refused(fault) => {
                    tracing::debug!(%fault, "a TURN server refuses something");
                    self.refused += 1;
                }
                Event::Ended(fault) => self.on_ended(index, fault),
            }
        }
    }

    fn transmit(&mut self, index: usize, data: Vec<u8>) {
        let Relay { server, transport, local, to, .. } = self.relays[index];
        self.outputs.push_back(match transport {
            Transport::Udp => Output::Datagram { local, to, data },
            Transport::Tcp | Transport::Tls => Output::Stream { server, data },
        });
    }

    fn on_allocated(
        &mut self,
        step: &mut Step<'_>,
        index: usize,
        relayed: SocketAddr,
        mapped: Option<SocketAddr>,
    ) {
        let Relay { server, transport, local, .. } = self.relays[index];
        self.works(server);
        let origin = Origin::Relayed { relayed, local };
        self.relays[index].origin = Some(origin);
        self.outputs.push_back(Output::Found(origin));
        if let Some(mapped) = mapped.filter(|_| transport == Transport::Udp) {
            self.found_reflexive(mapped, local);
        }
        for ip in self.peers.clone() {
            self.relays[index].client.permit(step, ip);
        }
    }

    fn on_ended(&mut self, index: usize, fault: ServerFault) {
        let Relay { server, transport, origin, .. } = self.relays[index];
        self.fail(server, fault);
        if self.servers[server].credentials != self.relays[index].credentials {
            self.again.insert(server);
        }
        if let Some(origin) = origin {
            self.outputs.push_back(Output::Lost(origin));
        }
        if transport != Transport::Udp {
            self.outputs.push_back(Output::Disconnect { server });
        }
    }
}
