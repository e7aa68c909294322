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
                Deed::Drop(_) => "drops".to_owned(),
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
        assert_waits(&self.ring, now);
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

/// Whoever has nothing to do now has nothing to do before its next deadline.
fn assert_waits(ring: &Keyring, now: Mono) {
    let next = ring.next_deadline();
    assert!(next.is_none_or(|at| at > now), "{next:?} is past at {now:?}: {ring:?}");
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
        hand.pass(1);
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
    let now = now.plus(KEY_PAUSE);
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

/// What can befall a keyring, in any order: it never says that something is due which it does not do.
#[test]
fn whatever_befalls_it_a_keyring_that_does_nothing_waits_for_what_comes() {
    for seed in 0..300_u64 {
        let mut ring = Keyring::default();
        let ratchet = if seed.is_multiple_of(2) { Ratchet::Off } else { Ratchet::OnJoin };
        ring.start(16, ratchet);
        let (timeouts, mut dice) = (Timeouts::default(), seed);
        let (mut now, mut ops, mut open) = (Mono::default(), 0, Vec::new());
        for _ in 0..200 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            let roll = (dice >> 33) as usize;
            let who = member(["ada", "ben", "cleo"][roll / 8 % 3]);
            match roll % 8 {
                0 => ring.on_present(now, (&who, None), &timeouts),
                1 => ring.on_gone(now, &who, (Gone::Removed, &timeouts)),
                2 => ring.on_gone(now, &who, (Gone::Left, &timeouts)),
                3 => drop(ring.on_request(now, &who)),
                4 if !open.is_empty() => {
                    let op = open.swap_remove(roll / 32 % open.len());
                    answer(&mut ring, now, (op, !(roll / 64).is_multiple_of(3)), &timeouts);
                }
                _ => now = now.plus(Duration::from_millis(roll as u64 % 3000)),
            }
            while let Some(deed) = ring.next(now) {
                ops += 1;
                let op = OpId(ops);
                match deed {
                    Deed::Make => ring.on_making(op),
                    Deed::Ratchet(_) => ring.on_ratcheting(op),
                    Deed::Send(_, to) => ring.on_sending(op, &to),
                    Deed::Use(_) => continue,
                    Deed::Drop(op) => {
                        open.retain(|of| *of != op);
                        continue;
                    }
                }
                open.push(op);
            }
            assert_waits(&ring, now);
            assert!(ring.uses.len() < 16, "more wait for their use than the ring has places");
        }
    }
}

fn answer(ring: &mut Keyring, now: Mono, (op, well): (OpId, bool), timeouts: &Timeouts) {
    let key = || SecretBytes::new([op.0 as u8; KEY_BYTES]);
    if ring.awaits_material(op) {
        ring.on_material(now, if well { Ok(key()) } else { Err(Fault::Timeout) }, timeouts);
    } else if ring.awaits_ratchet(op) {
        ring.on_ratcheted(now, if well { Ok(Some(key())) } else { Ok(None) });
    } else {
        let result = if well { Ok(BTreeSet::new()) } else { Err(Fault::Timeout) };
        ring.on_sent(now, op, (result, timeouts));
    }
}

/// Material fails while a send that failed is due again, and while somebody leaves.
#[test]
fn while_no_material_can_be_had_nothing_else_is_due() {
    let mut ring = Keyring::default();
    ring.start(16, Ratchet::Off);
    let timeouts = Timeouts::default();
    let at = |millis| Mono(Duration::from_millis(millis));
    assert_eq!(ring.next(at(0)), Some(Deed::Make));
    ring.on_making(OpId(1));
    ring.on_material(at(0), Ok(SecretBytes::new([1; KEY_BYTES])), &timeouts);
    for user in ["ada", "ben"] {
        ring.on_present(at(0), (&member(user), None), &timeouts);
    }
    while let Some(deed) = ring.next(at(0)) {
        if let Deed::Send(_, to) = deed {
            ring.on_sending(OpId(2), &to);
        }
    }
    ring.on_sent(at(1_500), OpId(2), (Err(Fault::Timeout), &timeouts));
    ring.on_gone(at(2_000), &member("ada"), (Gone::Removed, &timeouts));
    assert_eq!(ring.next(at(2_000)), Some(Deed::Make));
    ring.on_making(OpId(3));
    ring.on_material(at(2_000), Err(Fault::Timeout), &timeouts);
    assert_eq!(ring.next(at(2_700)), None);
    assert_waits(&ring, at(2_700));
}

#[test]
fn a_newer_key_does_not_wait_for_an_older_one_that_is_on_its_way() {
    let mut hand = Hand::new(Ratchet::Off);
    let (ada, now) = (member("ada"), Mono(Duration::from_secs(9)));
    hand.ring.on_present(hand.mono(), (&ada, None), &hand.timeouts);
    hand.joins("ben");
    hand.ring.share_again();
    let Some(Deed::Send(first, to)) = hand.ring.next(now) else { panic!("nothing is sent") };
    hand.ring.on_sending(OpId(70), &to);
    hand.ring.on_gone(now, &member("ben"), (Gone::Removed, &hand.timeouts));
    assert_eq!(hand.ring.next(now), Some(Deed::Make));
    hand.ring.on_making(OpId(71));
    hand.ring.on_material(now, Ok(SecretBytes::new([7; KEY_BYTES])), &hand.timeouts);
    let Some(Deed::Send(second, to)) = hand.ring.next(now) else { panic!("it waits") };
    assert!(second.index != first.index && to.contains(&ada));
    hand.ring.on_sending(OpId(72), &to);
    // What is answered late says nothing of the newer one.
    let late = hand.ring.on_sent(now, OpId(70), (Err(Fault::Timeout), &hand.timeouts));
    assert_eq!((late, hand.ring.next(now)), (Delivered::default(), None));
    let reached = hand.ring.on_sent(now, OpId(72), (Ok(BTreeSet::new()), &hand.timeouts)).reached;
    assert_eq!(reached, [ada]);
}

/// Each member of a public room can leave it as often as he likes.
#[test]
fn however_often_somebody_is_removed_a_fresh_key_comes_once_a_second() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    hand.pass(20);
    hand.told();
    for _ in 0..50 {
        hand.joins("mal");
        hand.goes("mal", Gone::Removed);
    }
    hand.joins("mal");
    hand.pass(1);
    for _ in 0..50 {
        hand.goes("mal", Gone::Removed);
        hand.joins("mal");
    }
    hand.pass(1);
    let made = hand.told().into_iter().filter(|line| line.contains("makes")).count();
    assert!(made <= 3, "{made} keys in two seconds");
}

#[test]
fn a_ring_that_is_smaller_than_the_last_one_has_a_place_for_the_next_key() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.ring.stop();
    hand.ring.start(256, Ratchet::Off);
    hand.ring.next_index = 20;
    hand.tend();
    let generation = hand.ring.generation;
    hand.ring.stop();
    assert_eq!(hand.ring.generation, generation, "generations never repeat");
    hand.ring.start(16, Ratchet::Off);
    hand.told();
    hand.tend();
    assert_eq!(hand.told(), ["0 makes", "0 uses 5"]);
}

#[test]
fn who_was_given_up_is_tried_again_when_the_homeserver_takes_what_we_write() {
    let mut hand = Hand::new(Ratchet::Off);
    let ada = member("ada");
    hand.ring.on_present(hand.mono(), (&ada, None), &hand.timeouts);
    let mut tried = 0;
    for second in 0..600 {
        let now = Mono(Duration::from_secs(second));
        while let Some(Deed::Send(_, to)) = hand.ring.next(now) {
            hand.ring.on_sending(OpId(50), &to);
            hand.ring.on_sent(now, OpId(50), (Err(Fault::Unreachable), &hand.timeouts));
            tried += 1;
        }
        assert_waits(&hand.ring, now);
    }
    assert_eq!(tried, MAX_KEY_TRIES);
    hand.ring.try_again();
    assert!(matches!(hand.ring.next(Mono(Duration::from_secs(600))), Some(Deed::Send(..))));
}

#[test]
fn a_provider_that_never_takes_our_key_is_given_it_some_times() {
    let mut ring = Keyring::default();
    ring.start(16, Ratchet::Off);
    let timeouts = Timeouts::default();
    assert_eq!(ring.next(Mono::default()), Some(Deed::Make));
    ring.on_making(OpId(1));
    ring.on_material(Mono::default(), Ok(SecretBytes::new([1; KEY_BYTES])), &timeouts);
    let mut given = 0;
    for second in 0..3600 {
        let now = Mono(Duration::from_secs(second));
        while let Some(deed) = ring.next(now) {
            let Deed::Use(key) = deed else { panic!("{deed:?}") };
            ring.use_again(now, key, &timeouts);
            given += 1;
        }
    }
    assert_eq!(given, MAX_KEY_TRIES);
}

/// Whoever was thrown out could compute what is ratcheted.
#[test]
fn who_joins_while_a_fresh_key_is_due_does_not_make_it_a_ratcheted_one() {
    let mut hand = Hand::new(Ratchet::OnJoin);
    hand.joins("ada");
    hand.joins("ben");
    hand.pass(20);
    hand.told();
    let now = hand.mono();
    hand.ring.on_gone(now, &member("ada"), (Gone::Removed, &hand.timeouts));
    hand.joins("cleo");
    assert_eq!(hand.told(), ["20 makes", "20 sends 1 to ben cle"]);
    // Nor where the pause after a leave is over in that moment.
    hand.pass(20);
    hand.goes("ben", Gone::Left);
    hand.told();
    hand.now += 4;
    hand.joins("dan");
    assert_eq!(hand.told(), ["44 makes", "44 sends 2 to cle dan"]);
}

#[test]
fn who_comes_anew_still_knows_what_he_was_told() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    hand.joins("ben");
    hand.pass(1);
    let (ada, now) = (member("ada"), hand.mono());
    hand.ring.on_present(now, (&ada, Some(&"anew".to_owned())), &hand.timeouts);
    hand.told();
    // What would go to him has not gone out when he leaves.
    hand.goes("ada", Gone::Removed);
    assert_eq!(hand.told(), ["1 makes", "1 sends 1 to ben"]);
}

/// With an older key whoever left since could go on listening.
#[test]
fn a_key_that_the_provider_did_not_take_is_not_given_again_over_a_newer_one() {
    let mut hand = Hand::new(Ratchet::Off);
    hand.joins("ada");
    hand.joins("ben");
    let Some(old) = hand.ring.in_use.clone() else { panic!("none is in use") };
    hand.pass(20);
    hand.goes("ada", Gone::Removed);
    let waits = hand.mono();
    hand.ring.use_again(waits, old.clone(), &hand.timeouts);
    hand.told();
    hand.pass(10);
    assert_eq!(hand.told(), ["24 uses 1"]);
    hand.ring.use_again(hand.mono(), old, &hand.timeouts);
    hand.pass(10);
    assert_eq!(hand.told(), Vec::<String>::new());
}
