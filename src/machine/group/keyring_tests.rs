//! What our key does, without a network and without others.

use super::*;
use crate::id::DeviceId;

fn member(user: &str) -> ParticipantId {
    ParticipantId {
        user: UserId::parse(format!("@{user}:x")).unwrap(),
        device: DeviceId::parse("D").unwrap(),
    }
}

/// A keyring in the hands of somebody who does what it asks for at once.
struct Hand {
    ring: Keyring,
    timeouts: Timeouts,
    now: u64,
    ops: u64,
    /// What was done, with the time in seconds.
    done: Vec<String>,
    /// What the provider answers when it is asked to ratchet.
    ratchets: bool,
    sends: usize,
}

impl Hand {
    fn new(ratchet: Ratchet) -> Self {
        let mut ring = Keyring::default();
        ring.start(16, ratchet);
        let timeouts = Timeouts::default();
        let mut hand =
            Self { ring, timeouts, now: 0, ops: 0, done: Vec::new(), ratchets: true, sends: 0 };
        hand.tend();
        hand
    }

    fn mono(&self) -> Mono {
        Mono(Duration::from_secs(self.now))
    }

    fn op(&mut self) -> OpId {
        self.ops += 1;
        OpId(self.ops)
    }

    fn material(&self) -> SecretBytes {
        SecretBytes::new(vec![self.ops as u8; KEY_BYTES])
    }

    fn tend(&mut self) {
        let now = self.mono();
        while let Some(deed) = self.ring.next(now) {
            let op = self.op();
            let what = match deed {
                Deed::Make => {
                    self.ring.on_making(op);
                    self.ring.on_material(now, Ok(self.material()), &self.timeouts);
                    "makes".to_owned()
                }
                Deed::Ratchet(index) => {
                    self.ring.on_ratcheting(op);
                    let ratcheted = self.ratchets.then(|| self.material());
                    self.ring.on_ratcheted(now, Ok(ratcheted));
                    format!("ratchets {index}")
                }
                Deed::Send(key, to) => {
                    self.sends += to.len();
                    self.ring.on_sending(op, &to);
                    self.ring.on_sent(now, op, (Ok(BTreeSet::new()), &self.timeouts));
                    let names: Vec<_> = to.iter().map(|one| &one.user.as_str()[1..4]).collect();
                    format!("sends {} to {}", key.index, names.join(" "))
                }
                Deed::Use(key) => format!("uses {}", key.index),
            };
            self.done.push(format!("{} {what}", self.now));
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            self.tend();
        }
    }

    fn joins(&mut self, user: &str) {
        let now = self.mono();
        self.ring.on_present(now, (&member(user), None), &self.timeouts);
        self.tend();
    }

    fn goes(&mut self, user: &str, how: Gone) {
        let now = self.mono();
        self.ring.on_gone(now, &member(user), (how, &self.timeouts));
        self.tend();
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }
}

#[test]
fn a_key_is_made_and_used_at_once_and_goes_to_who_joins_within_the_window() {
    let mut hand = Hand::new(Ratchet::Off);
    assert_eq!(hand.told(), ["0 makes", "0 uses 0"]);
    hand.joins("ada");
    hand.pass(7);
    hand.joins("ben");
    assert_eq!(hand.told(), ["0 sends 0 to ada", "7 sends 0 to ben"]);
    hand.pass(1);
    hand.joins("cleo");
    assert_eq!(hand.told(), ["8 makes", "8 sends 1 to ada ben cle"]);
    hand.pass(9);
    assert_eq!(hand.told(), ["12 uses 1"]);
}

#[test]
fn leaves_are_followed_by_one_fresh_key_which_a_cap_brings_at_last() {
    let mut hand = Hand::new(Ratchet::Off);
    for user in ["ada", "ben", "cleo", "dan", "eve"] {
        hand.joins(user);
    }
    hand.pass(20);
    hand.told();
    hand.goes("ada", Gone::Left);
    hand.pass(3);
    hand.goes("ben", Gone::Left);
    hand.pass(3);
    hand.goes("cleo", Gone::Left);
    hand.pass(10);
    assert_eq!(hand.told(), ["28 makes", "28 sends 1 to dan eve", "32 uses 1"]);
    hand.goes("dan", Gone::Left);
    hand.pass(20);
    assert_eq!(hand.told(), ["40 makes", "40 sends 2 to eve", "44 uses 2"]);
}

#[test]
fn who_is_removed_is_followed_by_a_fresh_key_at_once() {
    let mut hand = Hand::new(Ratchet::OnJoin);
    hand.joins("ada");
    hand.joins("ben");
    hand.pass(20);
    hand.told();
    hand.goes("ada", Gone::Removed);
    hand.pass(10);
    assert_eq!(hand.told(), ["20 makes", "20 sends 1 to ben", "24 uses 1"]);
}

#[test]
fn who_was_told_nothing_takes_nothing_away() {
    let mut hand = Hand::new(Ratchet::Off);
    let now = hand.mono();
    hand.ring.on_present(now, (&member("ada"), None), &hand.timeouts);
    hand.goes("ada", Gone::Left);
    hand.pass(20);
    assert_eq!(hand.told(), ["0 makes", "0 uses 0"]);
}

#[test]
fn a_fresh_key_for_who_joins_serves_for_who_left() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    hand.joins("ben");
    hand.pass(20);
    hand.told();
    hand.goes("ada", Gone::Left);
    hand.pass(2);
    hand.joins("cleo");
    hand.pass(20);
    assert_eq!(hand.told(), ["22 makes", "22 sends 1 to ben cle", "26 uses 1"]);
}

#[test]
fn ratcheted_keys_go_to_who_joins_alone_and_a_leave_is_followed_by_a_fresh_one() {
    let mut hand = Hand::new(Ratchet::OnJoin);
    hand.joins("ada");
    hand.pass(20);
    hand.told();
    hand.joins("ben");
    assert_eq!(hand.told(), ["20 ratchets 0", "20 sends 0 to ben"]);
    hand.goes("ada", Gone::Left);
    hand.pass(10);
    assert_eq!(hand.told(), ["24 makes", "24 sends 1 to ben", "28 uses 1"]);
    hand.ratchets = false;
    hand.pass(20);
    hand.joins("cleo");
    let told = hand.told();
    assert_eq!(told.iter().filter(|line| line.contains("ratchets")).count(), 9);
    assert_eq!(told[9..], ["50 makes", "50 sends 2 to ben cle"]);
}

#[test]
fn eight_who_join_one_after_the_other_send_what_they_must() {
    let members = ["ada", "ben", "cle", "dan", "eve", "fay", "gus", "hal"];
    for (ratchet, most) in [(Ratchet::Off, 168), (Ratchet::OnJoin, 56)] {
        let mut hands: Vec<Hand> = Vec::new();
        for (at, name) in members.iter().enumerate() {
            let mut joiner = Hand::new(ratchet);
            joiner.now = hands.first().map_or(0, |first| first.now);
            for other in &members[..at] {
                joiner.joins(other);
            }
            for hand in &mut hands {
                hand.joins(name);
            }
            hands.push(joiner);
            hands.iter_mut().for_each(|hand| hand.pass(30));
        }
        assert_eq!(hands.iter().map(|hand| hand.sends).sum::<usize>(), most, "{ratchet:?}");
    }
}

#[test]
fn indices_come_again_after_the_whole_ring() {
    let mut hand = Hand::new(Ratchet::Off);
    for round in 0..20 {
        hand.joins("ada");
        hand.pass(1);
        hand.goes("ada", Gone::Removed);
        let used: Vec<_> = hand.told().into_iter().filter(|it| it.contains("makes")).collect();
        assert!(!used.is_empty(), "round {round}");
    }
    assert_eq!(hand.ring.next_index, 21 % 16);
}

#[test]
fn what_is_stopped_uses_and_shares_nothing_more_and_counts_on() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    hand.pass(20);
    hand.goes("ada", Gone::Removed);
    hand.told();
    assert_eq!(hand.ring.stop(), []);
    hand.pass(20);
    assert_eq!(hand.told(), Vec::<String>::new(), "a key waited for its time (T-26)");
    hand.ring.start(16, Ratchet::Off);
    hand.tend();
    assert_eq!(hand.told(), ["40 makes", "40 uses 2"]);
}

#[test]
fn a_device_that_cannot_be_reached_is_tried_less_and_less_until_its_keys_come() {
    let mut hand = Hand::new(Ratchet::Off);
    let ada = member("ada");
    let now = hand.mono();
    hand.ring.on_present(now, (&ada, None), &hand.timeouts);
    let mut tried = Vec::new();
    for second in 0..600 {
        let now = Mono(Duration::from_secs(second));
        while let Some(Deed::Send(_, to)) = hand.ring.next(now) {
            let op = hand.op();
            hand.ring.on_sending(op, &to);
            let delivered = hand.ring.on_sent(now, op, (Ok(to), &hand.timeouts));
            assert_eq!(delivered.without_keys, std::slice::from_ref(&ada));
            tried.push(second);
        }
    }
    assert_eq!(tried, [0, 1, 3, 7, 15, 31]);
    assert!(hand.ring.on_device_keys(&ada.user));
    assert!(matches!(hand.ring.next(Mono(Duration::from_secs(600))), Some(Deed::Send(..))));
}

#[test]
fn a_newer_key_takes_the_place_of_one_that_could_not_be_sent() {
    let mut hand = Hand::new(Ratchet::Off);
    let ada = member("ada");
    let now = hand.mono();
    hand.ring.on_present(now, (&ada, None), &hand.timeouts);
    let Some(Deed::Send(first, to)) = hand.ring.next(now) else { panic!("nothing is sent") };
    let op = hand.op();
    hand.ring.on_sending(op, &to);
    hand.ring.on_present(now, (&member("ben"), None), &hand.timeouts);
    hand.ring.on_gone(now, &member("ben"), (Gone::Removed, &hand.timeouts));
    hand.ring.need = Some(Need::Fresh);
    let Some(Deed::Make) = hand.ring.next(now) else { panic!("none is made") };
    hand.ring.on_making(OpId(90));
    hand.ring.on_material(now, Ok(SecretBytes::new([9; 32])), &hand.timeouts);
    hand.ring.on_sent(now, op, (Err(Fault::Timeout), &hand.timeouts));
    let later = Mono(Duration::from_secs(5));
    let mut deeds = Vec::new();
    while let Some(deed) = hand.ring.next(later) {
        if let Deed::Send(key, to) = &deed {
            hand.ring.on_sending(OpId(91), to);
            assert_ne!(key.index, first.index);
        }
        deeds.push(deed);
    }
    assert_eq!(deeds.len(), 2, "used, and sent: {deeds:?}");
}

#[test]
fn who_asks_gets_the_newest_alone_and_not_as_often_as_he_likes() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    hand.joins("ben");
    hand.pass(20);
    hand.told();
    let now = hand.mono();
    assert!(hand.ring.on_request(now, &member("ada")));
    assert!(!hand.ring.on_request(now, &member("ada")));
    assert!(!hand.ring.on_request(now, &member("zoe")), "no member");
    hand.tend();
    assert_eq!(hand.told(), ["20 sends 0 to ada"]);
    hand.pass(2);
    assert!(hand.ring.on_request(hand.mono(), &member("ada")));
}

#[test]
fn material_that_cannot_be_had_is_asked_for_again_after_a_pause() {
    let mut ring = Keyring::default();
    ring.start(16, Ratchet::Off);
    let (now, timeouts) = (Mono::default(), Timeouts::default());
    assert_eq!(ring.next(now), Some(Deed::Make));
    ring.on_making(OpId(1));
    assert!(ring.awaits_material(OpId(1)));
    ring.on_material(now, Ok(SecretBytes::new([1; 8])), &timeouts);
    assert_eq!(
        (ring.next(now), ring.next_deadline()),
        (None, Some(now.plus(timeouts.retry_first)))
    );
    assert_eq!(ring.next(now.plus(timeouts.retry_first)), Some(Deed::Make));
}

#[test]
fn nothing_of_a_key_is_printed() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    let printed = format!("{:?}", hand.ring);
    assert!(printed.contains("<secret>") && !printed.contains("[1, 1"), "{printed}");
}
