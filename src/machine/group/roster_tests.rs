//! The roster in virtual time: who joins, who left, and what nobody can make it believe.

use super::*;
use crate::{id::EventId, wire::member::GroupCallId};

const START: Wall = Wall(1_786_100_000_000);

fn now(seconds: u64) -> Now {
    Now::default().plus(Duration::from_millis(START.0) + Duration::from_secs(seconds))
}

fn user(name: &str) -> UserId {
    UserId::parse(format!("@{name}:x")).unwrap()
}

fn device(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn facts(name: &str, key: &str, at: u64) -> StateFacts {
    StateFacts {
        event_id: EventId::parse(format!("${name}{key}{at}")).unwrap(),
        sender: user(name),
        state_key: key.to_owned(),
        sent: now(at).wall,
        age: Some(Duration::ZERO),
    }
}

/// A membership that ends at `until`.
fn member(call: &GroupCallId, name: &str, until: u64) -> Membership {
    Membership {
        group: call.clone(),
        application: "m.call".to_owned(),
        device: device(name),
        session: Some(format!("visit-{name}")),
        expires: now(until).wall,
        backend: Backend::Mesh,
        feeds: vec![Purpose::UserMedia],
    }
}

struct Room(Roster);

impl Room {
    fn new() -> Self {
        Self(Roster::default())
    }

    /// A user writes this under his own key.
    fn says(&mut self, name: &str, at: u64, members: &[Membership]) -> Vec<String> {
        self.says_under(name, &format!("@{name}:x"), at, members)
    }

    fn says_under(&mut self, name: &str, key: &str, at: u64, all: &[Membership]) -> Vec<String> {
        self.take(now(at), &facts(name, key, at), all).0
    }

    fn take(&mut self, now: Now, facts: &StateFacts, all: &[Membership]) -> (Vec<String>, usize) {
        let content =
            crate::wire::member::write_members(crate::wire::member::Dialect::Famedly, all, []);
        let entries = crate::wire::member::read_members(Dialect::Famedly, &content).unwrap();
        let (dialect, entries) = (Dialect::Famedly, &entries);
        let statement = Statement { dialect, facts, entries, outside: false };
        let (changes, left_out) = self.0.state(now, statement);
        (words(changes), left_out)
    }

    fn at(&mut self, seconds: u64) -> Vec<String> {
        words(self.0.expire(now(seconds)))
    }

    fn present(&self) -> Vec<String> {
        let all = self.0.participants(&GroupCallId::room());
        all.into_iter().map(|one| one.id.device.to_string()).collect()
    }
}

fn words(changes: Vec<Changed>) -> Vec<String> {
    let word = |(_, change): &Changed| match change {
        Change::Joined(who) => format!("{} joined", who.id.device),
        Change::Left(who) => format!("{} left", who.device),
        Change::Updated(who) => format!("{} changed", who.id.device),
    };
    changes.iter().map(word).collect()
}

fn room() -> GroupCallId {
    GroupCallId::room()
}

#[test]
fn differences_are_told_and_nothing_else() {
    let mut it = Room::new();
    assert_eq!(it.says("a", 0, &[member(&room(), "A", 360)]), ["A joined"]);
    assert!(it.says("a", 100, &[member(&room(), "A", 460)]).is_empty(), "only a refresh");
    let mut screen = member(&room(), "A", 460);
    screen.feeds.push(Purpose::Screenshare);
    assert_eq!(it.says("a", 101, &[screen]), ["A changed"]);
    assert_eq!(it.says("b", 102, &[member(&room(), "B", 460)]), ["B joined"]);
    assert_eq!(it.says("a", 103, &[]), ["A left"]);
    assert!(it.says("a", 104, &[]).is_empty());
    assert_eq!(it.present(), ["B"]);
}

#[test]
fn the_oldest_is_first_and_a_refresh_makes_nobody_younger() {
    let mut it = Room::new();
    it.says("b", 0, &[member(&room(), "B", 360)]);
    it.says("a", 5, &[member(&room(), "A", 360)]);
    it.says("b", 120, &[member(&room(), "B", 480)]);
    assert_eq!(it.present(), ["B", "A"]);
    let mut again = member(&room(), "B", 490);
    again.session = Some("another visit".to_owned());
    assert_eq!(it.says("b", 130, &[again]), ["B changed"]);
    assert_eq!(it.present(), ["A", "B"], "who enters anew is the youngest");
}

#[test]
fn a_membership_ends_by_itself_to_the_millisecond() {
    let mut it = Room::new();
    it.says("a", 0, &[member(&room(), "A", 60)]);
    assert_eq!(it.0.next_expiry(), Some(now(60).wall));
    let just_before = Now { wall: Wall(now(60).wall.0 - 1), ..now(60) };
    assert!(it.0.expire(just_before).is_empty());
    assert_eq!(it.at(60), ["A left"]);
    assert_eq!(it.0, Roster::default(), "nothing is kept of it");
}

#[test]
fn no_membership_is_believed_for_longer_than_the_bound() {
    let mut it = Room::new();
    it.says("a", 0, &[member(&room(), "A", 1_000_000)]);
    assert!(it.at(299).is_empty());
    assert_eq!(it.at(300), ["A left"]);
}

#[test]
fn what_is_old_when_it_arrives_counts_for_what_is_left_of_it() {
    let mut it = Room::new();
    let mut told = facts("a", "@a:x", 0);
    told.age = Some(Duration::from_secs(50));
    assert_eq!(it.take(now(1000), &told, &[member(&room(), "A", 60)]).0, ["A joined"]);
    assert_eq!(it.0.next_expiry(), Some(now(1010).wall), "whatever the homeserver's clock shows");
    told.age = Some(Duration::from_secs(60));
    assert_eq!(it.take(now(1001), &told, &[member(&room(), "A", 60)]).0, ["A left"]);
    told.age = None;
    assert_eq!(it.take(now(30), &told, &[member(&room(), "A", 60)]).0, ["A joined"]);
    assert_eq!(it.0.next_expiry(), Some(now(60).wall));
    told.sent = now(5000).wall;
    assert!(it.take(now(30), &told, &[member(&room(), "A", 9000)]).0.is_empty());
    assert_eq!(it.0.next_expiry(), Some(now(330).wall), "a time to come is now");
}

#[test]
fn a_clock_that_is_behind_its_homeserver_ends_a_membership_at_once() {
    let mut it = Room::new();
    assert!(it.says("a", 100, &[member(&room(), "A", 99)]).is_empty());
    assert!(it.says("a", 100, &[member(&room(), "A", 100)]).is_empty());
    assert_eq!(it.0, Roster::default());
}

#[test]
fn who_is_not_in_the_room_is_not_in_its_calls() {
    let mut it = Room::new();
    it.says("a", 0, &[member(&room(), "A", 200)]);
    assert_eq!(words(it.0.set_outside(now(1), &user("a"), true)), ["A left"]);
    assert!(it.says("a", 2, &[member(&room(), "A", 200)]).is_empty());
    assert_eq!(words(it.0.set_outside(now(3), &user("a"), false)), ["A joined"]);
    assert!(it.0.set_outside(now(4), &user("z"), true).is_empty());
    it.0.set_outside(now(5), &user("a"), true);
    it.says("a", 6, &[]);
    assert_eq!(it.0, Roster::default(), "of who claims nothing nothing is kept");
}

#[test]
fn of_two_keys_the_newer_counts_and_the_older_when_that_is_gone() {
    let mut it = Room::new();
    let mut older = member(&room(), "A", 200);
    older.application = "older".to_owned();
    assert_eq!(it.says_under("a", "A_@a:x", 5, &[member(&room(), "A", 200)]), ["A joined"]);
    assert!(it.says_under("a", "@a:x", 4, &[older]).is_empty());
    assert_eq!(it.says_under("a", "A_@a:x", 6, &[]), ["A changed"]);
    assert_eq!(it.0.participants(&room())[0].application, "older");
}

#[test]
fn the_older_claim_counts_when_the_newer_expires_first() {
    let mut it = Room::new();
    it.says_under("a", "@a:x", 4, &[member(&room(), "A", 200)]);
    let mut newer = member(&room(), "A", 50);
    newer.feeds.clear();
    assert_eq!(it.says_under("a", "A_@a:x", 5, &[newer]), ["A changed"]);
    assert_eq!(it.at(50), ["A changed"]);
    assert_eq!(it.at(200), ["A left"]);
}

#[test]
fn each_of_two_claims_that_end_at_once_has_its_own_end() {
    let mut it = Room::new();
    it.says_under("a", "one", 0, &[member(&room(), "A", 100)]);
    it.says_under("a", "two", 0, &[member(&room(), "A", 100)]);
    assert!(it.says_under("a", "one", 1, &[]).is_empty(), "the other stands");
    assert_eq!(it.at(100), ["A left"]);
    assert_eq!(it.0, Roster::default());
}

#[test]
fn of_two_entries_of_one_device_the_last_counts_and_both_go() {
    let mut it = Room::new();
    let mut second = member(&room(), "A", 90);
    second.application = "second".to_owned();
    assert_eq!(it.says("a", 0, &[member(&room(), "A", 100), second]), ["A joined"]);
    assert_eq!(it.0.next_expiry(), Some(now(90).wall));
    assert_eq!(it.says("a", 1, &[]), ["A left"]);
    assert_eq!(it.0, Roster::default());
}

#[test]
fn three_calls_of_one_room_are_three() {
    let mut it = Room::new();
    let calls = [room(), GroupCallId::named("!r:x"), GroupCallId::among_users("A:B")];
    let all: Vec<_> = calls.iter().map(|call| member(call, "A", 200)).collect();
    assert_eq!(it.says("a", 0, &all).len(), 3);
    assert_eq!(it.says("a", 1, &all[..2]), ["A left"]);
    let present = calls.map(|call| it.0.participants(&call).len());
    assert_eq!(present, [1, 1, 0]);
}

#[test]
fn a_whole_state_ends_what_it_does_not_name() {
    let mut it = Room::new();
    it.says("a", 0, &[member(&room(), "A", 200)]);
    it.says("b", 0, &[member(&room(), "B", 200)]);
    let told = BTreeSet::from([(Dialect::Famedly, "@b:x".to_owned())]);
    assert_eq!(words(it.0.keep_only(now(1), &told)), ["A left"]);
    assert_eq!(it.present(), ["B"]);
}

#[test]
fn what_others_can_make_grow_is_bounded() {
    let mut it = Room::new();
    let mut left_out = 0;
    for n in 0..MAX_CLAIMS_PER_USER + 3 {
        let (key, one) = (format!("{n}_@a:x"), member(&room(), &format!("D{n}"), 200));
        left_out += it.take(now(0), &facts("a", &key, 0), &[one]).1;
    }
    assert_eq!((it.present().len(), left_out), (MAX_CLAIMS_PER_USER, 3));
    for n in 0..MAX_MEMBERSHIPS_PER_ROOM {
        it.says(&format!("u{n}"), 0, &[member(&room(), "D", 200)]);
    }
    assert_eq!(it.present().len(), MAX_MEMBERSHIPS_PER_ROOM);
    it.at(200);
    assert_eq!(it.0, Roster::default(), "room again, without anybody's help");
}
