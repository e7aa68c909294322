//! The addresses of this machine: which carry calls, and who notices that they changed.
//!
//! Nobody tells us about changes on every platform without forty crates more, so each connection looks
//! every second, which takes some ten microseconds. The engine keeps what was seen last, so that a
//! change is told once and not by every connection.
//!
//! ```
//! use matrix_voip_engine::interfaces::{Interfaces, Known, Look};
//! use std::sync::Arc;
//!
//! # fn main() -> std::io::Result<()> {
//! let known = Arc::new(Known::new(Interfaces::All)); // one for the engine
//! let (watch, addresses) = known.begin()?; // a connection opens its sockets on these
//! let (look, now) = watch.look()?; // and every second, each connection, as long as it lives
//! if look == Look::Changed {
//!     // `PeerEvents::network_changed`: the machine asks for an ICE restart.
//! }
//! # let _ = (addresses, now);
//! # Ok(())
//! # }
//! ```

use std::{
    fmt, io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Most local addresses that a connection opens a socket on. A laptop with a VPN and containers
/// has about ten.
pub const MAX_ADDRESSES: usize = 16;

/// Which interfaces of this machine carry calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Interfaces {
    /// Every interface that is up. Loopback only if there is nothing else.
    #[default]
    All,
    /// Loopback alone: for tests and demonstrations on one machine.
    Loopback,
}

/// One address of this machine.
#[derive(Clone, Copy)]
struct Address {
    ip: IpAddr,
    /// Whether its interface works.
    up: bool,
}

/// The addresses to open sockets on, in the order of the list: never link-local ones.
fn usable(addresses: &[Address], interfaces: Interfaces) -> Vec<IpAddr> {
    let of = |loopback: bool| {
        let fits = move |ip: &IpAddr| ip.is_loopback() == loopback && !is_link_local(*ip);
        let mut chosen: Vec<IpAddr> = Vec::new();
        for ip in addresses.iter().filter(|address| address.up).map(|address| address.ip) {
            if fits(&ip) && !chosen.contains(&ip) && chosen.len() < MAX_ADDRESSES {
                chosen.push(ip);
            }
        }
        chosen
    };
    match interfaces {
        Interfaces::All if !of(false).is_empty() => of(false),
        Interfaces::All | Interfaces::Loopback => of(true),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast(),
    }
}

/// Time between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the engine knows about the addresses of this machine.
pub struct Known {
    interfaces: Interfaces,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Vec<IpAddr>,
    /// How many connections look.
    watches: usize,
    /// Whoever opened a connection saw a change before those that are there.
    is_untold: bool,
}

impl State {
    /// Whether that is something else than before.
    fn update(&mut self, present: &[IpAddr]) -> bool {
        // The order of the list says nothing.
        let has_all = present.iter().all(|ip| self.seen.contains(ip));
        let is_same = has_all && self.seen.len() == present.len();
        present.clone_into(&mut self.seen);
        !is_same
    }

    /// A connection begins. Changes while there was none concern nobody.
    fn begin(&mut self, present: &[IpAddr]) {
        let has_changed = self.update(present);
        self.is_untold |= has_changed && self.watches > 0;
        self.watches += 1;
    }

    fn look(&mut self, present: &[IpAddr]) -> Look {
        let has_changed = self.update(present);
        if std::mem::take(&mut self.is_untold) || has_changed { Look::Changed } else { Look::Same }
    }

    fn end(&mut self) {
        self.watches -= 1;
        self.is_untold &= self.watches > 0;
    }
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing that was not known.
    Same,
    /// Addresses came or went, and nobody has told so yet.
    Changed,
}

impl Known {
    /// Nothing is known yet.
    pub fn new(interfaces: Interfaces) -> Self {
        Self { interfaces, state: Mutex::default() }
    }

    /// The addresses that a new connection uses, and by what it looks later. Changes while there was no
    /// connection concern nobody.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn begin(self: &Arc<Self>) -> io::Result<(Watch, Vec<IpAddr>)> {
        let present = self.present()?;
        self.lock().begin(&present);
        Ok((Watch(self.clone()), present))
    }

    fn present(&self) -> io::Result<Vec<IpAddr>> {
        Ok(usable(&addresses()?, self.interfaces))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that looks at the addresses of this machine, as long as it is there.
#[derive(Debug)]
pub struct Watch(Arc<Known>);

impl Watch {
    /// Looks again; the addresses are those to use now.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn look(&self) -> io::Result<(Look, Vec<IpAddr>)> {
        let present = self.0.present()?;
        Ok((self.0.lock().look(&present), present))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.lock().end();
    }
}

impl fmt::Debug for Known {
    /// How many there are: addresses belong into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Known({:?}, {} addresses)", self.interfaces, self.lock().seen.len())
    }
}

/// All addresses of this machine.
fn addresses() -> io::Result<Vec<Address>> {
    let interfaces = if_addrs::get_if_addrs()?;
    let address = |interface: &if_addrs::Interface| Address {
        ip: interface.ip(),
        up: interface.is_oper_up() || interface.is_loopback(),
    };
    Ok(interfaces.iter().map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(ip: &str) -> Address {
        Address { ip: ip.parse().unwrap(), up: true }
    }

    #[test]
    fn loopback_is_used_only_if_nothing_else_is_there() {
        let lo = [up("127.0.0.1"), up("::1")];
        let all = [lo[0], lo[1], up("192.168.1.2"), up("169.254.3.4"), up("fe80::1")];
        assert_eq!(usable(&all, Interfaces::All), [all[2].ip]);
        assert_eq!(usable(&lo, Interfaces::All), [lo[0].ip, lo[1].ip]);
        assert_eq!(usable(&all, Interfaces::Loopback), [lo[0].ip, lo[1].ip]);
    }

    #[test]
    fn addresses_that_are_down_or_twice_there_are_left_out() {
        let down = Address { up: false, ..up("10.0.0.1") };
        assert_eq!(usable(&[down, up("10.0.0.2"), up("10.0.0.2")], Interfaces::All).len(), 1);
    }

    fn ips() -> [IpAddr; 2] {
        ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap())
    }

    #[test]
    fn a_change_is_told_once_and_another_order_is_none() {
        let (mut state, [one, two]) = (State::default(), ips());
        state.begin(&[one]);
        assert_eq!(state.look(&[one]), Look::Same);
        assert_eq!(state.look(&[one, two]), Look::Changed);
        assert_eq!(state.look(&[two, one]), Look::Same);
        assert_eq!(state.look(&[two]), Look::Changed);
        assert_eq!(state.look(&[two]), Look::Same);
    }

    #[test]
    fn who_opens_a_connection_takes_no_change_from_the_others() {
        let (mut state, [one, two]) = (State::default(), ips());
        state.begin(&[one]);
        state.begin(&[two]);
        assert_eq!(state.look(&[two]), Look::Changed, "the first knows of one alone");
        assert_eq!(state.look(&[two]), Look::Same);
        state.begin(&[one]);
        (0..3).for_each(|_| state.end());
        state.begin(&[one]);
        assert_eq!(state.look(&[one]), Look::Same, "the others are gone");
    }

    #[test]
    fn addresses_are_not_printed() {
        let known = Arc::new(Known::new(Interfaces::Loopback));
        let (watch, addresses) = known.begin().unwrap();
        assert_eq!(
            format!("{watch:?}"),
            format!("Watch(Known(Loopback, {} addresses))", addresses.len())
        );
        assert_eq!(watch.look().unwrap().0, Look::Same);
    }
}
