//! A STUN and TURN server in memory, over UDP: enough of RFC 8656 to relay a call, and as unkind
//! as a test wants it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::Datagram;
use crate::stun::{Class, Key, Message, Method, TransactionId, Writer, attribute};

/// How long a permission lasts (RFC 8656 §9).
const PERMISSION: Duration = Duration::from_secs(300);

/// How long a channel lasts (RFC 8656 §12).
const CHANNEL: Duration = Duration::from_secs(600);

/// First port of relayed addresses.
const FIRST_PORT: u16 = 49_152;

/// The realm of every simulated server.
const REALM: &str = "simulation";

struct Allocation {
    /// The request that made it: sent again, it is answered again.
    made_by: TransactionId,
    relayed: SocketAddr,
    ends: Duration,
    permissions: BTreeMap<IpAddr, Duration>,
    channels: BTreeMap<u16, (SocketAddr, Duration)>,
}

/// A server. It has one user, `turn-user` with the password `turn-password`, until that is
/// [changed](Self::change_password).
pub struct TurnServer {
    address: SocketAddr,
    /// The last one is good for allocations, the others for what was allocated with them.
    passwords: Vec<String>,
    /// Who came with an old password: takes no other any more.
    spoilt: BTreeSet<SocketAddr>,
    nonce_life: Duration,
    lifetime: Duration,
    refusal: Option<u16>,
    peer_refusal: Option<u16>,
    is_silent: bool,
    allocations: BTreeMap<SocketAddr, Allocation>,
    made: u16,
    stale: u64,
    relayed: u64,
    by_channel: u64,
}

impl TurnServer {
    /// A kind one.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            passwords: vec!["turn-password".to_owned()],
            spoilt: BTreeSet::new(),
            nonce_life: Duration::from_secs(3600),
            lifetime: Duration::from_secs(600),
            refusal: None,
            peer_refusal: None,
            is_silent: false,
            allocations: BTreeMap::new(),
            made: 0,
            stale: 0,
            relayed: 0,
            by_channel: 0,
        }
    }

    /// The password has run out, this one is good instead. As on coturn, allocations that were made
    /// go on with the old one, and an address from which the old one was tried again takes no
    /// other (437).
    pub fn change_password(&mut self, password: &str) {
        self.passwords.push(password.to_owned());
    }

    /// From now on a nonce is good for so long.
    pub fn set_nonce_life(&mut self, life: Duration) {
        self.nonce_life = life;
    }

    /// From now on an allocation is given for so long.
    pub fn set_lifetime(&mut self, lifetime: Duration) {
        self.lifetime = lifetime;
    }

    /// Allocations and their refreshes are refused with this code; `None`: no more.
    pub fn refuse_allocations(&mut self, code: Option<u16>) {
        self.refusal = code;
    }

    /// Permissions are refused with this code; `None`: no more.
    pub fn refuse_peers(&mut self, code: Option<u16>) {
        self.peer_refusal = code;
    }

    /// It answers nothing and relays nothing, until `false`.
    pub fn be_silent(&mut self, silent: bool) {
        self.is_silent = silent;
    }

    /// It forgets everything, as after a restart.
    pub fn restart(&mut self) {
        self.allocations.clear();
    }

    /// How many allocations are alive at this time.
    pub fn allocations(&self, now: Duration) -> usize {
        self.allocations.values().filter(|allocation| allocation.ends > now).count()
    }

    /// How often a nonce was stale.
    pub fn stale_nonces(&self) -> u64 {
        self.stale
    }

    /// Packets relayed from clients to peers, and those of them that came by a channel.
    pub fn relayed(&self) -> (u64, u64) {
        (self.relayed, self.by_channel)
    }

    /// Whether datagrams to this address are for this server.
    pub(crate) fn serves(&self, address: SocketAddr) -> bool {
        address == self.address
            || (address.ip() == self.address.ip() && address.port() >= FIRST_PORT)
    }

    /// Its relayed addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.allocations.values().map(|allocation| allocation.relayed)
    }

    /// Takes a datagram at this time; returns what it sends.
    pub(crate) fn handle(&mut self, now: Duration, datagram: &Datagram) -> Vec<Datagram> {
        let Datagram { from, to, data } = datagram;
        self.allocations.retain(|_, allocation| allocation.ends > now);
        if self.is_silent {
            return Vec::new();
        }
        let sent = if *to != self.address {
            self.to_client(now, *from, *to, data)
        } else if data.first().is_some_and(|first| *first >= 0x40) {
            self.on_channel_data(now, *from, data)
        } else {
            self.on_message(now, *from, data)
        };
        sent.into_iter().collect()
    }

    fn to_client(
        &self,
        now: Duration,
        from: SocketAddr,
        to: SocketAddr,
        data: &[u8],
    ) -> Option<Datagram> {
        let mut allocations = self.allocations.iter();
        let (client, allocation) = allocations.find(|(_, known)| known.relayed == to)?;
        allocation.permissions.get(&from.ip()).filter(|ends| **ends > now)?;
        let mut channels = allocation.channels.iter();
        let channel = channels.find(|(_, (peer, ends))| *peer == from && *ends > now);
        let data = match channel {
            Some((number, _)) => {
                let length = u16::try_from(data.len()).ok()?;
                [&number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
            }
            None => Writer::new(Class::Indication, Method::Data, [1; 12])
                .address(attribute::XOR_PEER_ADDRESS, from)
                .attribute(attribute::DATA, data)
                .finish(),
        };
        Some(Datagram { from: self.address, to: *client, data })
    }

    fn on_channel_data(
        &mut self,
        now: Duration,
        from: SocketAddr,
        data: &[u8],
    ) -> Option<Datagram> {
        let allocation = self.allocations.get(&from)?;
        let (head, data) = data.split_at_checked(4)?;
        let (to, ends) = *allocation.channels.get(&u16::from_be_bytes([head[0], head[1]]))?;
        (ends > now).then_some(())?;
        self.relayed += 1;
        self.by_channel += 1;
        Some(Datagram { from: allocation.relayed, to, data: data.to_vec() })
    }

    fn on_message(&mut self, now: Duration, from: SocketAddr, data: &[u8]) -> Option<Datagram> {
        let message = Message::parse(data)?;
        if message.method == Method::Send {
            let allocation = self.allocations.get(&from)?;
            let to = message.address(attribute::XOR_PEER_ADDRESS)?;
            allocation.permissions.get(&to.ip()).filter(|ends| **ends > now)?;
            let data = message.attribute(attribute::DATA)?.to_vec();
            self.relayed += 1;
            return Some(Datagram { from: allocation.relayed, to, data });
        }
        let answer = match self.answer(now, from, &message) {
            Ok(writer) if message.method == Method::Binding => writer.finish(),
            Ok(writer) => writer.signed(&self.key_of(&message)).finish(),
            Err(code) => self.refuse(now, &message, code),
        };
        Some(Datagram { from: self.address, to: from, data: answer })
    }

    /// The success, unsigned; or the code of the error.
    fn answer(
        &mut self,
        now: Duration,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<Writer, u16> {
        let writer = Writer::new(Class::Success, message.method, message.id);
        if message.method == Method::Binding {
            return Ok(writer.address(attribute::XOR_MAPPED_ADDRESS, from));
        }
        self.check(now, from, message)?;
        match message.method {
            Method::Allocate => self.allocate(now, from, message.id),
            Method::Refresh => self.refresh(now, from, message, writer),
            Method::CreatePermission | Method::ChannelBind => {
                self.permit(now, from, message).map(|()| writer)
            }
            Method::Binding | Method::Send | Method::Data => Err(400),
        }
    }

    fn check(&mut self, now: Duration, from: SocketAddr, message: &Message<'_>) -> Result<(), u16> {
        let nonce = message.text(attribute::NONCE).ok_or(401_u16)?;
        if !message.is_signed_with(&self.key_of(message)) {
            return Err(401);
        }
        if message.method == Method::Allocate {
            if !self.is_last(message) {
                self.spoilt.insert(from);
                return Err(401);
            }
            if self.spoilt.contains(&from) {
                return Err(437);
            }
        }
        if nonce != self.nonce(now) {
            self.stale += 1;
            return Err(438);
        }
        Ok(())
    }

    fn allocate(
        &mut self,
        now: Duration,
        from: SocketAddr,
        id: TransactionId,
    ) -> Result<Writer, u16> {
        self.refusal.map_or(Ok(()), Err)?;
        let known = self.allocations.get(&from);
        let relayed = match known {
            Some(allocation) if allocation.made_by == id => allocation.relayed,
            Some(_) => return Err(437),
            None => SocketAddr::new(self.address.ip(), FIRST_PORT + self.made),
        };
        if known.is_none() {
            let (permissions, channels) = (BTreeMap::new(), BTreeMap::new());
            let ends = now + self.lifetime;
            let allocation = Allocation { made_by: id, relayed, ends, permissions, channels };
            self.allocations.insert(from, allocation);
            self.made += 1;
        }
        let writer = Writer::new(Class::Success, Method::Allocate, id);
        let writer = writer.address(attribute::XOR_RELAYED_ADDRESS, relayed);
        let writer = writer.address(attribute::XOR_MAPPED_ADDRESS, from);
        Ok(writer.attribute(attribute::LIFETIME, &seconds(self.lifetime)))
    }

    fn refresh(
        &mut self,
        now: Duration,
        from: SocketAddr,
        message: &Message<'_>,
        writer: Writer,
    ) -> Result<Writer, u16> {
        let allocation = self.allocations.get_mut(&from).ok_or(437_u16)?;
        if message.number(attribute::LIFETIME) == Some(0) {
            self.allocations.remove(&from);
            return Ok(writer.attribute(attribute::LIFETIME, &seconds(Duration::ZERO)));
        }
        self.refusal.map_or(Ok(()), Err)?;
        allocation.ends = now + self.lifetime;
        Ok(writer.attribute(attribute::LIFETIME, &seconds(self.lifetime)))
    }

    fn permit(
        &mut self,
        now: Duration,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), u16> {
        let allocation = self.allocations.get_mut(&from).ok_or(437_u16)?;
        self.peer_refusal.map_or(Ok(()), Err)?;
        let peer = message.address(attribute::XOR_PEER_ADDRESS).ok_or(400_u16)?;
        allocation.permissions.insert(peer.ip(), now + PERMISSION);
        if message.method == Method::ChannelBind {
            let number = message.attribute(attribute::CHANNEL_NUMBER).ok_or(400_u16)?;
            let number = u16::from_be_bytes([number[0], number[1]]);
            allocation.channels.insert(number, (peer, now + CHANNEL));
        }
        Ok(())
    }

    fn refuse(&self, now: Duration, message: &Message<'_>, code: u16) -> Vec<u8> {
        let [class, number] = [code / 100, code % 100].map(|part| part.to_le_bytes()[0]);
        let writer = Writer::new(Class::Error, message.method, message.id)
            .attribute(attribute::ERROR_CODE, &[0, 0, class, number]);
        match code {
            401 | 438 => writer
                .attribute(attribute::REALM, REALM.as_bytes())
                .attribute(attribute::NONCE, self.nonce(now).as_bytes())
                .finish(),
            _ => writer.signed(&self.key_of(message)).finish(),
        }
    }

    /// The key that the message was signed with; any, if with none of ours.
    fn key_of(&self, message: &Message<'_>) -> Key {
        let keys: Vec<Key> = self.passwords.iter().map(|password| key(password)).collect();
        let its = keys.iter().position(|key| message.is_signed_with(key)).unwrap_or(0);
        keys.into_iter().nth(its).unwrap_or_else(|| key(""))
    }

    /// Whether the message was signed with the password that is good now.
    fn is_last(&self, message: &Message<'_>) -> bool {
        self.passwords.last().is_some_and(|password| message.is_signed_with(&key(password)))
    }

    fn nonce(&self, now: Duration) -> String {
        format!("nonce {}", now.as_millis() / self.nonce_life.as_millis().max(1))
    }
}

fn key(password: &str) -> Key {
    Key::new("turn-user", REALM, password)
}

fn seconds(lifetime: Duration) -> [u8; 4] {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}

impl std::fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TurnServer with {} allocations", self.allocations.len())
    }
}
