//! The addresses of this machine, and who notices that they changed.
//!
//! Nobody tells us about changes on every platform without forty crates more (`str0m.md` §0), so
//! each connection looks every second, which takes some ten microseconds. The engine keeps
//! what was seen last, so that a change is told once and not by every connection.

use std::{
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::gather::{self, Address, Interfaces};

/// Time between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the engine knows about the addresses of this machine.
#[derive(Debug)]
pub(crate) struct Known {
    interfaces: Interfaces,
    seen: Mutex<Vec<IpAddr>>,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing that was not known.
    Same,
    /// Addresses came or went, and nobody has told so yet.
    Changed,
}

impl Known {
    /// Nothing is known yet.
    pub(crate) fn new(interfaces: Interfaces) -> Self {
        Self { interfaces, seen: Mutex::default() }
    }

    /// The addresses that a new connection uses. Changes while there was no connection concern
    /// nobody.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn begin(&self) -> io::Result<Vec<IpAddr>> {
        let present = self.present()?;
        self.update(&present);
        Ok(present)
    }

    /// Looks again; the addresses are those to use now.
    ///
    /// # Errors
    /// The system does not tell.
    pub(crate) fn look(&self) -> io::Result<(Look, Vec<IpAddr>)> {
        let present = self.present()?;
        Ok((self.update(&present), present))
    }

    fn present(&self) -> io::Result<Vec<IpAddr>> {
        Ok(gather::usable(&addresses()?, self.interfaces))
    }

    fn update(&self, present: &[IpAddr]) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // The order of the list says nothing.
        let has_all = present.iter().all(|ip| seen.contains(ip));
        let is_same = has_all && seen.len() == present.len();
        present.clone_into(&mut seen);
        if is_same { Look::Same } else { Look::Changed }
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

    #[test]
    fn a_change_is_told_once_and_another_order_is_none() {
        let known = Known::new(Interfaces::All);
        let [one, two]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        assert_eq!(known.update(&[one]), Look::Changed);
        assert_eq!(known.update(&[one]), Look::Same);
        assert_eq!(known.update(&[one, two]), Look::Changed);
        assert_eq!(known.update(&[two, one]), Look::Same);
        assert_eq!(known.update(&[two]), Look::Changed);
        assert_eq!(known.update(&[two]), Look::Same);
    }
}
