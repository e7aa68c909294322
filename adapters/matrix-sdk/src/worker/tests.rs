//! Schedules of the worker: what it is told, and what it then does, in virtual time.

use matrix_sdk::ruma::serde::Raw;
use matrix_voip::{
    id::EventId,
    time::{Mono, Wall},
    wire::delivery::{Facts, Protection},
};
use serde_json::json;

use super::{
    lane::{MAX_GAP_BYTES, MAX_WAITING},
    parking::{MAX_PARKED_PER_ROOM, MAX_SESSIONS},
    *,
};
use crate::intake::{Content, Fact, Gap, Item, Locked, Readable, Told, What};

mod chats;
mod state;

const ROOM: &str = "!r:x";
const OTHER: &str = "!other:x";
const START: Now = Now { mono: Mono(Duration::ZERO), wall: Wall(1_000_000_000) };

fn room(id: &str) -> RoomId {
    RoomId::parse(id).unwrap()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn item(id: &str, age: Duration, what: What) -> Item {
    let id = EventId::parse(id).ok();
    Item { id, sent: None, age: Some(age), received: START, what }
}

fn readable(protection: Protection) -> What {
    What::Call(Box::new(Readable {
        sender: user("@ben:x"),
        device: None,
        protection,
        event_type: "m.call.hangup".into(),
        content: Content(r#"{"call_id":"c","party_id":"p","version":"1"}"#.into()),
        redacts: None,
    }))
}

/// A call event of a second ago.
fn call(id: &str) -> Item {
    item(id, secs(1), readable(Protection::Unverified))
}

/// A second old, encrypted in this session.
fn locked(id: &str, session: &str) -> Item {
    let event = Raw::new(&json!({})).unwrap().cast_unchecked();
    item(id, secs(1), What::Locked(Locked { session: session.into(), event }))
}

fn chat(id: &str, age: Duration) -> Item {
    item(id, age, What::Other)
}

fn gone(id: &str, who: &str) -> Item {
    item(id, secs(1), What::Fact(Fact::Outside(user(who))))
}

fn update(items: Vec<Item>) -> RoomUpdate {
    let quiet = RoomUpdate::catch_up(room(ROOM), START);
    RoomUpdate { gap: None, encrypted: Some(true), items, ..quiet }
}

/// The same, with a gap before it.
fn limited(items: Vec<Item>) -> RoomUpdate {
    RoomUpdate { gap: Some(Gap { from: Some("before".into()) }), ..update(items) }
}

fn page(items: Vec<Item>, end: Option<&str>) -> Answer {
    Answer::Page(Some(Page { items, end: end.map(Into::into) }))
}

/// A worker at a time that the test sets.
struct Rig {
    worker: Worker,
    now: Now,
    hears: Hears,
}

/// Which actions a test wants to see.
#[derive(PartialEq)]
enum Hears {
    /// All but the reading and handing over of state.
    Events,
    /// All.
    State,
}

impl Rig {
    fn new() -> Self {
        Self { worker: Worker::new(user("@me:x")), now: START, hears: Hears::Events }
    }

    fn later(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    fn input(&mut self, input: Input) -> Vec<String> {
        self.worker.on(self.now, input);
        self.actions()
    }

    fn room(&mut self, update: RoomUpdate) -> Vec<String> {
        self.input(Input::Room(update))
    }

    fn answer(&mut self, answer: Answer) -> Vec<String> {
        self.worker.on_answer(self.now, &room(ROOM), answer);
        self.actions()
    }

    fn actions(&mut self) -> Vec<String> {
        let all = std::iter::from_fn(|| self.worker.poll());
        let of_state = |action: &Action| {
            matches!(action, Action::State(_) | Action::Ask(_, Ask::State { .. }))
        };
        let heard = all.filter(|action| self.hears == Hears::State || !of_state(action));
        heard.map(|action| told(&action)).collect()
    }
}

/// An action in a few words.
fn told(action: &Action) -> String {
    match action {
        Action::Deliver(batch) => {
            let id = |event: &RawEvent| {
                event.facts.event_id.as_ref().map_or("-", EventId::as_str).to_owned()
            };
            let ids: Vec<String> = batch.events.iter().map(id).collect();
            match &batch.place {
                Place::Room { encrypted: false, .. } => format!("deliver {}, clear", ids.join(" ")),
                Place::Room { .. } => format!("deliver {}", ids.join(" ")),
                Place::ToDevice => format!("to-device {}", batch.events[0].facts.sender),
            }
        }
        Action::Tell(_, RoomNews::Left(user)) => format!("{user} left"),
        Action::Tell(_, RoomNews::Encrypted) => "encrypted".into(),
        Action::Tell(_, other) => format!("{other:?}"),
        Action::Ignore(users) => format!("ignore {}", users.len()),
        Action::Ask(_, Ask::Page { from, after }) => {
            let pause = if after.is_zero() { "" } else { ", after a pause" };
            format!("page from {}{pause}", from.as_deref().unwrap_or("the end"))
        }
        Action::Ask(_, Ask::Unlock(events)) => format!("unlock {}", events.len()),
        Action::Ask(_, Ask::Encryption { .. }) => "encrypted?".into(),
        Action::Ask(room, Ask::State { from, after }) => {
            let from = if *from == Source::Homeserver { " from the homeserver" } else { "" };
            let pause = if after.is_zero() { "" } else { ", after a pause" };
            format!("state of {room}{from}{pause}")
        }
        Action::State(batch) => {
            let ids: Vec<&str> =
                batch.events.iter().map(|event| event.facts.event_id.as_str()).collect();
            format!("{:?} {}: {}", batch.extent, batch.room, ids.join(" "))
        }
        Action::ListRooms(_) => "list rooms".into(),
    }
}

// ------------------------------------------------------------------------------------------ order

#[test]
fn the_call_events_of_one_response_are_one_batch() {
    let mut rig = Rig::new();
    let items = vec![call("$1"), chat("$2", secs(1)), call("$3")];
    assert_eq!(rig.room(update(items)), ["deliver $1 $3"]);
    assert_eq!(rig.room(update(vec![chat("$4", secs(0))])), [""; 0]);
}

#[test]
fn an_event_that_comes_again_is_not_delivered_again() {
    let mut rig = Rig::new();
    rig.room(update(vec![call("$1")]));
    assert_eq!(rig.room(update(vec![call("$1"), call("$2")])), ["deliver $2"]);
}

#[test]
fn the_age_of_an_event_includes_the_time_that_we_had_it() {
    let mut rig = Rig::new();
    rig.worker.on(rig.now, Input::Room(limited(vec![call("$1")])));
    rig.actions();
    rig.later(secs(3));
    rig.worker.on_answer(rig.now, &room(ROOM), page(vec![], None));
    let Some(Action::Deliver(batch)) = rig.worker.poll() else { panic!("no batch") };
    assert_eq!(batch.events[0].facts.age, Some(secs(4)));
}

#[test]
fn a_slow_answer_about_one_room_delays_no_other() {
    let mut rig = Rig::new();
    assert_eq!(rig.room(limited(vec![call("$1")])), ["page from before"]);
    let elsewhere = RoomUpdate { room: room(OTHER), ..update(vec![call("$9")]) };
    assert_eq!(rig.room(elsewhere), ["deliver $9"]);
    assert_eq!(rig.room(update(vec![call("$2")])), [""; 0], "in its own room it waits");
    assert_eq!(rig.answer(page(vec![], None)), ["deliver $1", "deliver $2"]);
}

// ------------------------------------------------------------------------------------------- gaps

/// Trap 4: sliding sync brings the last event only, and says that there were more.
#[test]
fn a_gap_is_filled_from_the_history_before_its_batch_is_delivered() {
    let mut rig = Rig::new();
    rig.room(update(vec![call("$1")]));
    assert_eq!(rig.room(limited(vec![call("$5")])), ["page from before"]);
    assert_eq!(rig.answer(page(vec![call("$4"), call("$3")], Some("more"))), ["page from more"]);
    let known = page(vec![call("$2"), call("$1"), call("$0")], Some("even more"));
    assert_eq!(rig.answer(known), ["deliver $2 $3 $4 $5"]);
    assert_eq!((rig.worker.counts().pages, rig.worker.counts().unfilled), (2, 0));
}

/// A cold start says of every room that it is limited.
#[test]
fn what_is_older_than_any_invite_is_not_looked_for() {
    let mut rig = Rig::new();
    assert_eq!(rig.room(limited(vec![chat("$1", LONGEST_LIFE)])), [""; 0]);
    assert_eq!(rig.room(limited(vec![chat("$2", secs(9))])), ["page from before"]);
    let old = page(vec![call("$a"), chat("$b", LONGEST_LIFE), call("$c")], Some("more"));
    assert_eq!(rig.answer(old), ["deliver $a"]);
}

/// The call may be an hour old, and its hangup ten minutes, when the network comes back.
#[test]
fn in_a_room_with_a_call_a_gap_is_filled_whatever_its_age() {
    let mut rig = Rig::new();
    rig.input(Input::Sent(room(ROOM)));
    rig.room(update(vec![chat("$0", secs(0))]));
    let missed = chat("$9", secs(600));
    assert_eq!(rig.room(limited(vec![missed])), ["page from before"]);
    let hangup = item("$1", secs(700), readable(Protection::Unverified));
    let page = page(vec![hangup, chat("$0", secs(800))], Some("more"));
    assert_eq!(rig.answer(page), ["deliver $1"]);
}

#[test]
fn after_ten_pages_a_gap_is_left() {
    let mut rig = Rig::new();
    rig.room(limited(vec![call("$1")]));
    for n in 2..=lane::MAX_PAGES {
        let next = page(vec![chat(&format!("$p{n}"), secs(2))], Some("more"));
        assert_eq!(rig.answer(next), ["page from more"]);
    }
    assert_eq!(rig.answer(page(vec![], Some("more"))), ["deliver $1"]);
    assert_eq!(rig.worker.counts().unfilled, 1);
}

/// Whoever may send into a room can send events of 64 KiB.
#[test]
fn a_gap_holds_no_more_than_so_many_bytes() {
    let mut rig = Rig::new();
    let large = |id: &str| {
        let What::Call(mut call) = readable(Protection::Unverified) else { unreachable!() };
        call.content = Content(" ".repeat(MAX_GAP_BYTES / 3));
        item(id, secs(1), What::Call(call))
    };
    rig.room(limited(vec![call("$9")]));
    assert_eq!(rig.answer(page(vec![large("$8"), large("$7")], Some("more"))), ["page from more"]);
    let next = page(vec![large("$6"), large("$5"), large("$4")], Some("even more"));
    assert_eq!(rig.answer(next), ["deliver $6 $7 $8 $9"], "the newest of it");
    assert_eq!(rig.worker.counts().unfilled, 1);
}

#[test]
fn a_homeserver_that_gives_no_history_is_asked_twice() {
    let mut rig = Rig::new();
    rig.room(limited(vec![call("$1")]));
    assert_eq!(rig.answer(Answer::Page(None)), ["page from before, after a pause"]);
    assert_eq!(rig.answer(Answer::Page(None)), ["deliver $1"]);
    assert_eq!(rig.worker.counts().unfilled, 1);
}

/// A fresh sliding connection brings the last events again, as limited (trap 6).
#[test]
fn behind_an_event_that_is_known_there_is_no_gap() {
    let mut rig = Rig::new();
    rig.room(update(vec![call("$1"), chat("$2", secs(1))]));
    assert_eq!(rig.room(limited(vec![chat("$2", secs(1)), call("$3")])), ["deliver $3"]);
}

#[test]
fn after_lost_updates_every_room_is_caught_up_with_those_with_calls_first() {
    let mut rig = Rig::new();
    rig.room(update(vec![call("$1")]));
    assert_eq!(rig.input(Input::Lagged), ["list rooms"]);
    let rooms = vec![room(OTHER), room(ROOM)];
    let mut asked = rig.input(Input::Rooms(Listed::AfterLag, rooms));
    assert_eq!(asked, ["page from the end", "page from the end"]);
    let missed = page(vec![gone("$3", "@ben:x"), call("$2"), call("$1")], Some("more"));
    asked = rig.answer(missed);
    assert_eq!(asked, ["deliver $2", "@ben:x left"]);
}

#[test]
fn a_room_whose_updates_pile_up_is_caught_up_with() {
    let mut rig = Rig::new();
    rig.room(limited(vec![call("$0")]));
    for n in 0..=MAX_WAITING {
        assert_eq!(rig.room(update(vec![call(&format!("$w{n}"))])), [""; 0]);
    }
    assert_eq!(rig.answer(page(vec![], None)), ["deliver $0", "page from the end"]);
    assert_eq!(rig.worker.counts().lags, 1);
    let missed = page(vec![call("$w2"), call("$w1"), call("$0")], None);
    assert_eq!(rig.answer(missed), ["deliver $w1 $w2"]);
}

// ------------------------------------------------------------------------------------------- keys

/// Closes the race between the key's arrival and the event's.
#[test]
fn an_event_without_a_key_is_tried_again_at_once_and_stays_in_its_place() {
    let mut rig = Rig::new();
    assert_eq!(rig.room(update(vec![call("$1"), locked("$2", "s"), call("$3")])), ["unlock 1"]);
    assert_eq!(rig.answer(Answer::Unlock(vec![Some(call("$2"))])), ["deliver $1 $2 $3"]);
    assert_eq!(rig.worker.counts().late_keys, 1);
}

#[test]
fn an_event_whose_key_comes_late_is_delivered_then_with_the_time_it_waited() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s"), locked("$2", "t"), locked("$3", "s")]));
    assert_eq!(rig.answer(Answer::Unlock(vec![None, None, None])), [""; 0]);
    assert_eq!(rig.worker.counts().waiting_for_key, 3);
    rig.later(secs(20));
    let keys = Input::Keys(vec![(room(ROOM), "s".into())]);
    assert_eq!(rig.input(keys), ["unlock 2"]);
    rig.worker.on_answer(
        rig.now,
        &room(ROOM),
        Answer::Unlock(vec![Some(call("$1")), Some(call("$3"))]),
    );
    let Some(Action::Deliver(batch)) = rig.worker.poll() else { panic!("no batch") };
    let ages: Vec<_> = batch.events.iter().map(|event| event.facts.age).collect();
    assert_eq!(ages, [Some(secs(21)); 2]);
    assert_eq!(rig.worker.counts().waiting_for_key, 1);
}

#[test]
fn a_key_that_comes_while_its_event_is_being_tried_is_not_missed() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s")]));
    assert_eq!(rig.input(Input::Keys(vec![(room(ROOM), "s".into())])), [""; 0]);
    assert_eq!(rig.answer(Answer::Unlock(vec![None])), ["unlock 1"]);
    assert_eq!(rig.answer(Answer::Unlock(vec![Some(call("$1"))])), ["deliver $1"]);
}

/// Each sender of a large room has a session of his own.
#[test]
fn the_keys_of_a_busy_room_do_not_overflow_it() {
    for count in [MAX_WAITING * 2, MAX_SESSIONS - 1] {
        let mut rig = Rig::new();
        rig.room(update(vec![locked("$1", "s0")]));
        rig.answer(Answer::Unlock(vec![None]));
        rig.room(limited(vec![locked("$2", "t")]));
        for n in 0..count {
            let key = Input::Keys(vec![(room(ROOM), format!("s{n}"))]);
            assert_eq!(rig.input(key), [""; 0]);
        }
        assert_eq!(rig.answer(page(vec![], None)), ["unlock 1"], "the update");
        let waits = if count > MAX_SESSIONS { "unlock 2" } else { "unlock 1" };
        assert_eq!(rig.answer(Answer::Unlock(vec![None])), [waits], "all keys at once");
        assert_eq!(rig.answer(Answer::Unlock(vec![Some(call("$1"))])), ["deliver $1"]);
        assert_eq!(rig.worker.counts().lags, 0);
    }
}

#[test]
fn keys_that_nothing_waits_for_cost_nothing() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s")]));
    rig.answer(Answer::Unlock(vec![None]));
    let strange = vec![(room(ROOM), "t".into()), (room(OTHER), "s".into())];
    assert_eq!(rig.input(Input::Keys(strange)), [""; 0]);
}

#[test]
fn lost_news_of_keys_retries_everything_that_waits() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s"), locked("$2", "t")]));
    rig.answer(Answer::Unlock(vec![None, None]));
    assert_eq!(rig.input(Input::KeysLagged), ["unlock 2"]);
    assert_eq!(rig.answer(Answer::Unlock(vec![None, Some(call("$2"))])), ["deliver $2"]);
    assert_eq!(rig.worker.counts().waiting_for_key, 1);
}

/// Monotonic time may stop in suspend: the call is over all the same.
#[test]
fn a_machine_that_slept_knows_how_long_an_event_waited() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s")]));
    rig.answer(Answer::Unlock(vec![None]));
    rig.now.wall = rig.now.wall.plus(LONGEST_LIFE);
    assert_eq!(rig.input(Input::KeysLagged), [""; 0]);
}

/// A new device sees years of calls that it cannot read.
#[test]
fn an_old_event_without_a_key_is_not_kept() {
    let mut rig = Rig::new();
    let old = Item { age: Some(LONGEST_LIFE), ..locked("$1", "s") };
    assert_eq!(rig.room(update(vec![old])), [""; 0]);
    assert_eq!(rig.worker.counts().waiting_for_key, 0);
}

#[test]
fn an_event_waits_for_its_key_no_longer_than_an_invite_can_live() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s")]));
    rig.answer(Answer::Unlock(vec![None]));
    rig.later(LONGEST_LIFE);
    assert_eq!(rig.input(Input::Keys(vec![(room(ROOM), "s".into())])), [""; 0]);
    assert_eq!(rig.worker.counts().waiting_for_key, 0);
}

#[test]
fn an_event_that_waits_for_its_key_and_comes_again_readable_is_delivered_once() {
    let mut rig = Rig::new();
    rig.room(update(vec![locked("$1", "s")]));
    rig.answer(Answer::Unlock(vec![None]));
    assert_eq!(rig.room(update(vec![locked("$1", "s")])), [""; 0], "it waits already");
    assert_eq!(rig.room(update(vec![call("$1")])), ["deliver $1"]);
    assert_eq!(rig.input(Input::KeysLagged), [""; 0]);
    assert_eq!(rig.room(update(vec![call("$1")])), [""; 0]);
}

#[test]
fn one_room_cannot_push_out_what_waits_in_another() {
    let mut rig = Rig::new();
    let elsewhere = RoomUpdate { room: room(OTHER), ..update(vec![locked("$o", "s")]) };
    rig.room(elsewhere);
    rig.worker.on_answer(rig.now, &room(OTHER), Answer::Unlock(vec![None]));
    let many: Vec<Item> = (0..1000).map(|n| locked(&format!("${n}"), "s")).collect();
    assert_eq!(rig.room(update(many)), ["unlock 1000"]);
    rig.answer(Answer::Unlock(Vec::new()));
    assert_eq!(rig.worker.counts().waiting_for_key, MAX_PARKED_PER_ROOM as u64 + 1);
    let key = Input::Keys(vec![(room(OTHER), "s".into())]);
    assert_eq!(rig.input(key), ["unlock 1"]);
}

// ----------------------------------------------------------------------------------------- trust

/// Trap 3: the SDK delivers it as decrypted.
#[test]
fn an_event_under_the_key_of_another_user_is_dropped_and_counted() {
    let mut rig = Rig::new();
    assert_eq!(rig.room(update(vec![item("$1", secs(1), What::Forged)])), [""; 0]);
    assert_eq!(rig.worker.counts().forged, 1);
}

/// Classic sync does not know of a room that is not encrypted.
#[test]
fn whether_a_room_is_encrypted_is_asked_once_something_came_in_the_clear() {
    let mut rig = Rig::new();
    let unknown = |items| RoomUpdate { encrypted: None, ..update(items) };
    assert_eq!(rig.room(unknown(vec![call("$1")])), ["deliver $1"]);
    let clear = item("$2", secs(1), readable(Protection::Clear));
    assert_eq!(rig.room(unknown(vec![clear])), ["encrypted?"]);
    assert_eq!(rig.answer(Answer::Encryption(Some(false))), ["deliver $2, clear"]);
}

#[test]
fn a_room_of_which_the_homeserver_says_nothing_counts_as_encrypted() {
    let mut rig = Rig::new();
    let clear = item("$1", secs(1), readable(Protection::Clear));
    rig.room(RoomUpdate { encrypted: None, ..update(vec![clear]) });
    assert_eq!(rig.answer(Answer::Encryption(None)), ["encrypted?"]);
    assert_eq!(rig.answer(Answer::Encryption(None)), ["deliver $1"]);
}

/// The SDK filters room events by ignored users, but no to-device messages.
#[test]
fn to_device_messages_of_ignored_users_are_dropped() {
    let mut rig = Rig::new();
    let message = |sender: &str| {
        let facts = Facts {
            event_id: None,
            sender: user(sender),
            device: None,
            protection: Protection::Clear,
            sent: None,
            age: None,
        };
        let event_type = "com.famedly.call.member.hangup".into();
        let content = "{}".into();
        Input::ToDevice(Box::new(RawEvent { facts, event_type, content, redacts: None }))
    };
    assert_eq!(rig.input(Input::Ignored([user("@evil:x")].into())), ["ignore 1"]);
    assert_eq!(rig.input(message("@evil:x")), [""; 0]);
    assert_eq!(rig.input(message("@ben:x")), ["to-device @ben:x"]);
    assert_eq!(rig.input(Input::Ignored(BTreeSet::new())), ["ignore 0"]);
    assert_eq!(rig.input(message("@evil:x")), ["to-device @evil:x"]);
}

// ------------------------------------------------------------------------------------------ facts

#[test]
fn who_leaves_a_room_with_a_call_is_told_after_his_last_words() {
    let mut rig = Rig::new();
    let items = vec![gone("$0", "@carl:x"), call("$1"), gone("$2", "@ben:x")];
    assert_eq!(rig.room(update(items)), ["deliver $1", "@ben:x left", "@carl:x left"]);
}

#[test]
fn who_leaves_and_comes_back_has_not_left() {
    let mut rig = Rig::new();
    let back = item("$3", secs(1), What::Fact(Fact::Joined(user("@ben:x"))));
    let items = vec![gone("$2", "@ben:x"), back, call("$1")];
    assert_eq!(rig.room(update(items)), ["deliver $1"]);
}

/// The first sync tells of everybody who ever left any room.
#[test]
fn who_leaves_a_room_without_calls_is_not_told() {
    let mut rig = Rig::new();
    assert_eq!(rig.room(update(vec![gone("$0", "@carl:x")])), [""; 0]);
    assert_eq!(rig.input(Input::Left(room(ROOM))), ["@me:x left"]);
}

/// `state_after` has the whole change: the timeline's state is older.
#[test]
fn state_comes_from_the_block_alone_where_the_server_says_so() {
    let mut rig = Rig::new();
    let encrypted = item("$e", secs(1), What::Fact(Fact::Encrypted));
    let block = vec![encrypted, gone("$0", "@ben:x")];
    let items = vec![call("$1"), gone("$2", "@carl:x")];
    let after = RoomUpdate { block, told: Told::Block, ..update(items) };
    assert_eq!(rig.room(after), ["encrypted", "deliver $1", "@ben:x left"]);
}

#[test]
fn the_timeline_stands_on_top_of_the_state_block() {
    let mut rig = Rig::new();
    let back = item("$2", secs(1), What::Fact(Fact::Joined(user("@ben:x"))));
    let before = RoomUpdate {
        block: vec![gone("$a", "@ben:x"), gone("$b", "@carl:x")],
        ..update(vec![call("$1"), back])
    };
    assert_eq!(rig.room(before), ["deliver $1", "@carl:x left"]);
}
