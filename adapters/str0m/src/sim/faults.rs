//! What goes wrong in the middle of a call: a phone loses its link, or gets another address.
//!
//! A phone notices as the real shell does: by a look at its addresses, up to two seconds later.

use std::{net::SocketAddr, time::Duration};

use matrix_voip::machine::io::{Input, Network as Change};

use super::{Node, Phone, Phones, phones::Happening};

impl Phones {
    /// The phone's link goes down: neither homeserver nor anybody else can be reached. It looks at
    /// its addresses after this time.
    pub fn cut_off(&mut self, phone: Phone, notices: Duration) {
        self.phones[phone.0].is_cut_off = true;
        for (_, address) in self.addresses(phone.0) {
            self.network().close(address);
        }
        self.plan(phone.0, notices, Happening::Look);
    }

    /// The phone's link is up again, with the same addresses.
    pub fn reconnect(&mut self, phone: Phone, notices: Duration) {
        self.phones[phone.0].is_cut_off = false;
        for (_, address) in self.addresses(phone.0) {
            self.network().open(address);
        }
        self.plan(phone.0, notices, Happening::Look);
        self.sync(phone.0);
        self.settle();
    }

    /// The phone gets another address: what is sent from and to the old one is lost from now on.
    pub fn change_address(&mut self, phone: Phone, notices: Duration) {
        for (_, address) in self.addresses(phone.0) {
            self.network().close(address);
        }
        self.phones[phone.0].moves += 1;
        self.plan(phone.0, notices, Happening::Look);
    }

    /// The phone compares its addresses with those that it knew.
    pub(super) fn look(&mut self, phone: usize) {
        let (is_cut_off, moves) = (self.phones[phone].is_cut_off, self.phones[phone].moves);
        for (node, address) in self.addresses(phone) {
            let present = moved(address, moves);
            if is_cut_off || present != address {
                self.world.tell_gone(node, address);
            }
            if !is_cut_off {
                self.network().open(present);
                self.world.tell_here(node, present);
                self.phones[phone].addresses.insert(node, present);
            }
        }
        self.feed(phone, Input::Network(Change::Changed));
        self.settle();
    }

    fn addresses(&self, phone: usize) -> Vec<(Node, SocketAddr)> {
        let addresses = self.phones[phone].addresses.iter();
        addresses.map(|(node, address)| (*node, *address)).collect()
    }
}

/// The address after so many moves.
fn moved(address: SocketAddr, moves: u8) -> SocketAddr {
    match address {
        SocketAddr::V4(address) => {
            let [first, _, third, fourth] = address.ip().octets();
            SocketAddr::from(([first, moves, third, fourth], address.port()))
        }
        SocketAddr::V6(_) => address,
    }
}
