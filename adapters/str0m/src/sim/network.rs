//! A network in memory: datagrams between addresses, some late, some lost.
//!
//! Sans-IO and seeded: [`send`](Network::send) decides at once what becomes of a datagram,
//! [`arrival`](Network::arrival) tells when the next one arrives and
//! [`receive`](Network::receive) hands it out.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::Duration,
};

use crate::stun::{Message, attribute};

/// What a path between two addresses does to datagrams, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Time on the way.
    pub delay: Duration,
    /// Up to so much more, evenly spread; datagrams overtake each other by it.
    pub jitter: Duration,
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
}

impl Default for Link {
    /// 25 ms each way, nothing lost, nothing reordered.
    fn default() -> Self {
        Self { delay: Duration::from_millis(25), jitter: Duration::ZERO, loss: 0.0 }
    }
}

/// A datagram under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// For whom.
    pub to: SocketAddr,
    /// Its content.
    pub data: Vec<u8>,
}

/// What a network has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Those of them that were lost: by chance, by an outage, or for want of a receiver.
    pub lost: u64,
}

/// The network. All times are since the beginning of the simulation.
#[derive(Debug)]
pub struct Network {
    chance: fastrand::Rng,
    link: Link,
    is_down: bool,
    addresses: BTreeSet<SocketAddr>,
    /// Addresses that others see, by the address that they belong to.
    outside: BTreeMap<SocketAddr, SocketAddr>,
    under_way: BTreeMap<(Duration, u64), Datagram>,
    traffic: Traffic,
    schedule: DefaultHasher,
}

impl Network {
    /// A network whose every path is this link; the same seed loses the same datagrams.
    pub fn new(seed: u64, link: Link) -> Self {
        Self {
            chance: fastrand::Rng::with_seed(seed),
            link,
            is_down: false,
            addresses: BTreeSet::new(),
            outside: BTreeMap::new(),
            under_way: BTreeMap::new(),
            traffic: Traffic::default(),
            schedule: DefaultHasher::new(),
        }
    }

    /// Changes all paths from now on.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// Nothing that is sent from now on arrives.
    pub fn take_down(&mut self) {
        self.is_down = true;
    }

    /// What is sent from now on arrives again.
    pub fn bring_up(&mut self) {
        self.is_down = false;
    }

    /// An address comes into being. Datagrams from and to any other are lost.
    pub fn open(&mut self, address: SocketAddr) {
        self.addresses.insert(address);
    }

    /// An address goes: what is under way to it is lost.
    pub fn close(&mut self, address: SocketAddr) {
        self.addresses.remove(&address);
    }

    /// The address changes as others see it, as when a NAT forgets: what is sent from `inside`
    /// comes from `outside` from now on, and reaches it only there.
    pub fn readdress(&mut self, inside: SocketAddr, outside: SocketAddr) {
        self.outside.insert(inside, outside);
    }

    /// Sends a datagram at the time `now`.
    pub fn send(&mut self, now: Duration, mut datagram: Datagram) {
        self.traffic.sent += 1;
        self.note(now, &datagram);
        // Drawn for every datagram, so that an outage does not change what is lost later.
        let is_unlucky = self.chance.f64() < self.link.loss;
        let late = self.link.jitter.mul_f64(self.chance.f64());
        if is_unlucky || self.is_down || !self.addresses.contains(&datagram.from) {
            self.traffic.lost += 1;
            return;
        }
        if let Some(outside) = self.outside.get(&datagram.from) {
            datagram.from = *outside;
        }
        let at = now + self.link.delay + late;
        self.under_way.insert((at, self.traffic.sent), datagram);
    }

    /// When the next datagram arrives.
    pub fn arrival(&self) -> Option<Duration> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }

    /// A datagram that has arrived at the time `now`.
    pub fn receive(&mut self, now: Duration) -> Option<Datagram> {
        loop {
            let entry = self.under_way.first_entry().filter(|entry| entry.key().0 <= now)?;
            let datagram = entry.remove();
            if let Some(to) = self.inside(datagram.to) {
                return Some(Datagram { to, ..datagram });
            }
            self.traffic.lost += 1;
        }
    }

    /// What was carried so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A number that stands for all that was sent: time, sender, receiver, and length outside
    /// DTLS (lengths of DTLS records vary by a byte with the keys).
    pub fn schedule(&self) -> u64 {
        self.schedule.finish()
    }

    /// Whose address this is, as far as others can reach it.
    fn inside(&self, address: SocketAddr) -> Option<SocketAddr> {
        let moved = self.outside.iter().find(|(_, outside)| **outside == address);
        let inside = match moved {
            Some((inside, _)) => *inside,
            None if self.outside.contains_key(&address) => return None,
            None => address,
        };
        self.addresses.contains(&inside).then_some(inside)
    }

    fn note(&mut self, now: Duration, datagram: &Datagram) {
        let length = if is_dtls(&datagram.data) { 0 } else { datagram.data.len() };
        (now, datagram.from, datagram.to, length).hash(&mut self.schedule);
    }
}

/// Whether it is DTLS (RFC 7983 §7), be it on its way through a relay.
fn is_dtls(data: &[u8]) -> bool {
    match data {
        // Binding requests have no data.
        [0..=3, ..] => {
            let message = Message::parse(data);
            message.and_then(|message| message.attribute(attribute::DATA)).is_some_and(is_dtls)
        }
        [20..=63, ..] => true,
        // Channel data (RFC 8656 §12.4): channel and length come first.
        [64..=79, _, _, _, content @ ..] => is_dtls(content),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SocketAddr, SocketAddr) {
        ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap())
    }

    fn network(link: Link) -> Network {
        let mut network = Network::new(1, link);
        network.open(pair().0);
        network.open(pair().1);
        network
    }

    fn datagram(byte: u8) -> Datagram {
        Datagram { from: pair().0, to: pair().1, data: vec![byte] }
    }

    #[test]
    fn a_datagram_arrives_after_the_delay_and_not_before() {
        let mut network = network(Link::default());
        network.send(Duration::from_millis(5), datagram(1));
        assert_eq!(network.arrival(), Some(Duration::from_millis(30)));
        assert_eq!(network.receive(Duration::from_millis(29)), None);
        assert_eq!(network.receive(Duration::from_millis(30)), Some(datagram(1)));
    }

    #[test]
    fn an_outage_and_a_closed_address_lose_everything() {
        let mut network = network(Link::default());
        network.take_down();
        network.send(Duration::ZERO, datagram(1));
        network.bring_up();
        network.send(Duration::ZERO, datagram(2));
        network.close(pair().1);
        assert_eq!(network.receive(Duration::from_secs(1)), None);
        assert_eq!(network.traffic(), Traffic { sent: 2, lost: 2 });
    }

    #[test]
    fn after_an_address_change_only_the_new_address_is_seen_and_reached() {
        let mut network = network(Link::default());
        let new = "192.0.2.1:7".parse().unwrap();
        network.readdress(pair().0, new);
        network.send(Duration::ZERO, datagram(1));
        assert_eq!(network.receive(Duration::MAX).map(|d| d.from), Some(new));
        let back = |to| Datagram { from: pair().1, to, data: vec![2] };
        network.send(Duration::ZERO, back(pair().0));
        network.send(Duration::ZERO, back(new));
        assert_eq!(network.receive(Duration::MAX), Some(back(pair().0)), "sent to the new one");
        assert_eq!(network.receive(Duration::MAX), None);
    }

    #[test]
    fn jitter_reorders_and_loss_loses_about_its_share() {
        let jitter = Duration::from_millis(40);
        let mut network = network(Link { jitter, loss: 0.2, ..Link::default() });
        for n in 0..200 {
            network.send(Duration::from_millis(n), datagram(n as u8));
        }
        let arrived: Vec<u8> =
            std::iter::from_fn(|| network.receive(Duration::MAX)).map(|d| d.data[0]).collect();
        assert!((140..180).contains(&arrived.len()), "{} of 200 arrived", arrived.len());
        assert!(!arrived.is_sorted());
    }
}
