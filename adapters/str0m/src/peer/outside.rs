//! What lies between str0m and the network: servers that are asked, relays that packets go by.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Output, Peer};
use crate::{
    gather::{Origin, Progress},
    reach::{self, Asks, Heard, Reach, Step},
};

impl Peer {
    /// Lets the servers' side act at the present time.
    pub(super) fn reach<T>(&mut self, act: impl FnOnce(&mut Reach, &mut Step<'_>) -> T) -> T {
        let mut step = Step { now: self.now, entropy: &mut self.entropy };
        act(&mut self.reach, &mut step)
    }

    /// Does what the servers' side wants, and reports what it found.
    pub(super) fn settle(&mut self) {
        while let Some(output) = self.reach.poll() {
            self.on_reach(output);
        }
        let news = self.gathering.news(self.progress());
        self.outputs.extend(news.into_iter().map(Output::News));
    }

    /// Whether more candidates of ours may come.
    pub(super) fn progress(&self) -> Progress {
        if self.reach.is_done() { Progress::Done } else { Progress::UnderWay }
    }

    /// When str0m, a server or what is being done here must be looked at next.
    pub(super) fn next_deadline(&self) -> Instant {
        let others = [self.reach.deadline(), self.dialling.next(), self.health.deadline()];
        others.into_iter().flatten().fold(self.deadline, Instant::min)
    }

    /// A datagram came in on a socket.
    pub(super) fn on_datagram(&mut self, local: SocketAddr, from: SocketAddr, data: &[u8]) {
        let heard = self.reach(|reach, step| reach.on_datagram(step, (local, from), data));
        if heard == Heard::NotOurs {
            self.receive(local, from, data);
        }
    }

    /// Sends what str0m wants sent, from a socket or by a relay.
    pub(super) fn transmit(&mut self, local: SocketAddr, to: SocketAddr, data: Vec<u8>) {
        if self.reach.has_relayed(local) {
            self.reach(|reach, step| reach.send(step, (local, to), &data));
        } else {
            self.outputs.push_back(Output::Datagram { local, to, data });
        }
    }

    /// An interface came up.
    pub(super) fn on_socket(&mut self, local: SocketAddr) {
        if !self.is_closed {
            if !self.gathering.on_back(local) && !self.is_relay_only {
                self.add_local(Origin::Host(local));
            }
            let asks = if self.health.is_secured() { Asks::AtRestart } else { Asks::Now };
            self.reach(|reach, step| reach.on_socket(step, local, asks));
        }
    }

    /// An address is not ours any more: it is not named again, and a path by it does not work.
    pub(super) fn on_socket_gone(&mut self, local: SocketAddr) {
        if self.is_closed {
            return;
        }
        self.gathering.on_gone(local);
        self.reach(|reach, _| reach.on_socket_gone(local));
        if self.measured.route().is_some_and(|(from, _)| from == local) {
            let state = self.health.on_lost();
            self.report(state);
        }
    }

    /// ICE has begun anew, without the old paths: candidates at addresses that are gone go too.
    pub(super) fn on_restarted(&mut self) {
        self.reach(|reach, _| reach.on_restart());
        for origin in self.gathering.abandoned() {
            self.on_lost(origin);
        }
    }

    fn on_reach(&mut self, output: reach::Output) {
        let output = match output {
            reach::Output::Found(origin) => return self.add_local(origin),
            reach::Output::Lost(origin) => return self.on_lost(origin),
            reach::Output::Packet { relayed, from, data } => {
                return self.receive(relayed, from, &data);
            }
            reach::Output::Resolve { server, host, port } => Output::Resolve { server, host, port },
            reach::Output::Connect { server, to, tls } => Output::Connect { server, to, tls },
            reach::Output::Disconnect { server } => Output::Disconnect { server },
            reach::Output::Stream { server, data } => Output::Stream { server, data },
            reach::Output::Datagram { local, to, data } => Output::Datagram { local, to, data },
        };
        self.outputs.push_back(output);
    }

    /// A relayed address is gone: str0m is not to use it any more.
    fn on_lost(&mut self, origin: Origin) {
        self.gathering.on_lost(origin);
        if let Some(candidate) = origin.candidate() {
            self.rtc.direct_api().invalidate_candidate(&candidate);
            self.drain();
        }
    }
}
