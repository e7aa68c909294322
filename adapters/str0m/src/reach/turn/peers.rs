//! Whom an allocation talks to: permissions per address, channels per address and port (RFC 8656
//! §9, §12), and packets that wait for a permission.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Addresses that may be permitted at a time: what the other side's candidates name.
pub(super) const MAX_PERMISSIONS: usize = 64;

/// Channels that may be bound: one per path that carries media.
pub(super) const MAX_CHANNELS: usize = 32;

/// Packets that wait for permissions: the first connectivity checks.
pub(super) const MAX_HELD: usize = 16;

/// First number of a channel (RFC 8656 §12).
const FIRST_CHANNEL_NUMBER: u16 = 0x4000;

/// Pause between two renewals of a permission, which lasts 300 s, and of a channel (600 s).
const RENEWAL: Duration = Duration::from_secs(240);

/// How long a renewal under way is not asked for again.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Asked,
    Granted { renew: Instant },
    Forbidden,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binding {
    Asked,
    Bound {
        renew: Instant,
    },
    /// Indications do instead.
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u16,
    binding: Binding,
}

/// Permissions, channels and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    permissions: BTreeMap<IpAddr, Permission>,
    channels: BTreeMap<SocketAddr, Channel>,
    held: Vec<(SocketAddr, Vec<u8>)>,
}

impl Peers {
    /// Whether a permission for this address is to be asked for now.
    pub(super) fn want(&mut self, ip: IpAddr) -> bool {
        let is_new = !self.permissions.contains_key(&ip);
        let is_wanted = is_new && self.permissions.len() < MAX_PERMISSIONS;
        if is_wanted {
            self.permissions.insert(ip, Permission::Asked);
        }
        is_wanted
    }

    pub(super) fn is_permitted(&self, ip: IpAddr) -> bool {
        matches!(self.permissions.get(&ip), Some(Permission::Granted { .. }))
    }

    /// Keeps a packet until its permission is there; one that will never come keeps nothing.
    pub(super) fn hold(&mut self, to: SocketAddr, data: &[u8]) {
        let is_coming = self.permissions.get(&to.ip()) == Some(&Permission::Asked);
        if is_coming && self.held.len() < MAX_HELD {
            self.held.push((to, data.to_vec()));
        }
    }

    /// The permission is there, or renewed; returns what waited for it.
    pub(super) fn on_permitted(&mut self, now: Instant, ip: IpAddr) -> Vec<(SocketAddr, Vec<u8>)> {
        self.permissions.insert(ip, Permission::Granted { renew: now + RENEWAL });
        self.held.extract_if(.., |(to, _)| to.ip() == ip).collect()
    }

    /// The server does not want us to talk to this address.
    pub(super) fn forbid(&mut self, ip: IpAddr) {
        self.permissions.insert(ip, Permission::Forbidden);
        self.held.retain(|(to, _)| to.ip() != ip);
    }

    /// No answer: the next packet asks again.
    pub(super) fn forget(&mut self, ip: IpAddr) {
        self.permissions.remove(&ip);
        self.held.retain(|(to, _)| to.ip() != ip);
    }

    /// The number of a channel that is to be bound now.
    pub(super) fn want_channel(&mut self, peer: SocketAddr) -> Option<u16> {
        if self.channels.contains_key(&peer) || self.channels.len() == MAX_CHANNELS {
            return None;
        }
        // Numbers are not used again: a server keeps the old peer in mind for minutes.
        let number = FIRST_CHANNEL_NUMBER + u16::try_from(self.channels.len()).ok()?;
        self.channels.insert(peer, Channel { number, binding: Binding::Asked });
        Some(number)
    }

    pub(super) fn on_bound(&mut self, now: Instant, peer: SocketAddr) {
        self.set_binding(peer, Binding::Bound { renew: now + RENEWAL });
    }

    pub(super) fn on_unbound(&mut self, peer: SocketAddr) {
        self.set_binding(peer, Binding::Refused);
    }

    /// The channel to this peer, once it is bound.
    pub(super) fn channel(&self, peer: SocketAddr) -> Option<u16> {
        let channel = self.channels.get(&peer)?;
        matches!(channel.binding, Binding::Bound { .. }).then_some(channel.number)
    }

    /// Takes channel data apart; `None` when it is none, or of no channel of ours.
    pub(super) fn channel_data<'a>(&self, bytes: &'a [u8]) -> Option<(SocketAddr, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(4)?;
        let number = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut channels = self.channels.iter();
        let (peer, _) = channels.find(|(_, channel)| channel.number == number)?;
        Some((*peer, rest.get(..length)?))
    }

    /// When something must be renewed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let permissions = self.permissions.values().filter_map(|permission| match permission {
            Permission::Granted { renew } => Some(*renew),
            Permission::Asked | Permission::Forbidden => None,
        });
        let channels = self.channels.values().filter_map(|channel| match channel.binding {
            Binding::Bound { renew } => Some(renew),
            Binding::Asked | Binding::Refused => None,
        });
        permissions.chain(channels).min()
    }

    /// The permissions that are to be renewed now.
    pub(super) fn permissions_due(&mut self, now: Instant) -> Vec<IpAddr> {
        let mut due = Vec::new();
        for (ip, permission) in &mut self.permissions {
            if let Permission::Granted { renew } = permission
                && *renew <= now
            {
                *renew = now + PATIENCE;
                due.push(*ip);
            }
        }
        due
    }

    /// The channels that are to be renewed now.
    pub(super) fn channels_due(&mut self, now: Instant) -> Vec<(SocketAddr, u16)> {
        let mut due = Vec::new();
        for (peer, channel) in &mut self.channels {
            if let Binding::Bound { renew } = &mut channel.binding
                && *renew <= now
            {
                *renew = now + PATIENCE;
                due.push((*peer, channel.number));
            }
        }
        due
    }

    fn set_binding(&mut self, peer: SocketAddr, binding: Binding) {
        if let Some(channel) = self.channels.get_mut(&peer) {
            channel.binding = binding;
        }
    }
}
