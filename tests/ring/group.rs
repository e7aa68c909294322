//! Group calls.

use matrix_voip::{
    ring::{Inspection, MemberNews, RingCall, RingInfo, RingKind, Style, Unusable},
    time::Wall,
    wire::delivery::{Malformed, Protection},
};
use serde_json::{Value, json};

use crate::phone::{
    ADA, BEN, EVE, NOW, Phone, decline, event, in_room, ms, named, ring, room, the_notification,
    user,
};

fn elsewhere() -> Inspection {
    Inspection::AnsweredElsewhere(the_notification())
}

#[test]
fn a_notification_rings_with_all_that_a_screen_needs() {
    let expected = RingInfo {
        room: room(),
        caller: user(ADA),
        call: RingCall::Group { member_event: "$ada_member".parse().unwrap() },
        kind: RingKind::Video,
        style: Style::Ring,
        expires: NOW.plus(ms(30_000)),
        event_id: "$event".parse().unwrap(),
    };
    assert_eq!(expected.id(), the_notification());
    let mut phone = Phone::default();
    let ring = ring(json!({"m.call.intent": "video"}));
    assert_eq!(phone.push(&ring), Inspection::Ring(expected));
    assert_eq!(phone.push(&ring), Inspection::Duplicate);
}

#[test]
fn kind_and_style_are_what_the_notification_says() {
    for (changes, kind, style) in [
        (json!({"m.call.intent": "audio"}), RingKind::Voice, Style::Ring),
        (json!({"m.call.intent": "chess"}), RingKind::Unknown, Style::Ring),
        (json!({}), RingKind::Unknown, Style::Ring),
        (json!({"notification_type": "notification"}), RingKind::Unknown, Style::Notification),
        (json!({"notification_type": "siren"}), RingKind::Unknown, Style::Notification),
    ] {
        match Phone::default().push(&ring(changes.clone())) {
            Inspection::Ring(ring) => {
                assert_eq!((ring.kind, ring.style), (kind, style), "{changes}")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What becomes of a ring with this lifetime that is so old, by its sender's clock.
fn rest(lifetime: u64, age: u64) -> Option<u64> {
    let mut phone = Phone { later: ms(age), ..Phone::default() };
    match phone.push(&ring(json!({"lifetime": lifetime}))) {
        Inspection::Ring(ring) => Some(ring.expires.0 - phone.now().0),
        Inspection::Expired => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_notification_rings_for_the_rest_of_its_lifetime() {
    assert_eq!(rest(30_000, 0), Some(30_000));
    assert_eq!(rest(30_000, 29_999), Some(1));
    assert_eq!(rest(30_000, 30_000), Some(0));
    assert_eq!(rest(30_000, 30_001), None);
    assert_eq!(rest(0, 0), Some(0));
    assert_eq!(rest(0, 1), None);
    // Never more than two minutes.
    assert_eq!(rest(120_000, 120_000), Some(0));
    assert_eq!(rest(120_001, 0), Some(120_000));
    assert_eq!(rest(600_000, 120_001), None);
}

/// Until when a ring goes on whose sender's clock is so far from the homeserver's.
fn expiry(sender_ts: Value) -> Wall {
    Phone { later: ms(25_000), ..Phone::default() }.expiry(&ring(json!({"sender_ts": sender_ts})))
}

#[test]
fn the_senders_clock_counts_unless_it_is_far_from_the_homeservers() {
    let until = |ms: u64| Wall(NOW.0 + ms);
    assert_eq!(expiry(json!(NOW.0 + 1)), until(30_001));
    assert_eq!(expiry(json!(NOW.0 + 20_000)), until(50_000));
    assert_eq!(expiry(json!(NOW.0 + 20_001)), until(30_000));
    assert_eq!(expiry(json!(NOW.0 - 4_999)), until(25_001));
    assert_eq!(expiry(json!(null)), until(30_000));
    assert_eq!(expiry(json!(0)), until(30_000));
    assert_eq!(expiry(json!(u64::MAX)), until(30_000));
    // Behind: with 20 s the ring is over, with one more it is not believed.
    let behind = |ms: u64| ring(json!({"sender_ts": NOW.0 - ms}));
    let mut phone = Phone { later: ms(25_000), ..Phone::default() };
    assert_eq!(phone.push(&behind(20_000)), Inspection::Expired);
    assert_eq!(phone.expiry(&behind(20_001)), until(30_000));
}

#[test]
fn what_was_sent_in_the_future_was_sent_now() {
    let mut early = ring(json!({"sender_ts": NOW.0 + 90_000}));
    early.facts.sent = Some(Wall(NOW.0 + 90_000));
    assert_eq!(Phone::default().expiry(&early), Wall(NOW.0 + 30_000));
}

#[test]
fn an_age_makes_up_for_a_clock_of_ours_that_is_wrong() {
    for wrong in [0_u64, NOW.0 - 3_600_000, NOW.0 + 3_600_000] {
        for (age, left) in [(0, Some(30_000)), (30_000, Some(0)), (30_001, None)] {
            let mut sent = ring(json!({"sender_ts": wrong}));
            sent.facts.sent = Some(Wall(wrong));
            sent.facts.age = Some(ms(age));
            match Phone::default().push(&sent) {
                Inspection::Ring(ring) => assert_eq!(Some(ring.expires.0 - NOW.0), left),
                Inspection::Expired => assert_eq!(left, None),
                other => panic!("{other:?}"),
            }
        }
    }
    // An age alone will do.
    let mut aged = ring(json!({"sender_ts": null}));
    (aged.facts.sent, aged.facts.age) = (None, Some(ms(10_000)));
    assert_eq!(Phone::default().expiry(&aged), Wall(NOW.0 + 20_000));
}

#[test]
fn only_who_is_mentioned_is_rung() {
    for (mentions, rings) in [
        (json!({"room": true}), true),
        (json!({"user_ids": [BEN]}), true),
        (json!({"user_ids": [EVE, BEN], "room": false}), true),
        (json!({"user_ids": [EVE]}), false),
        (json!({"room": "true"}), false),
        (json!({}), false),
        (json!(null), false),
    ] {
        let inspection = Phone::default().push(&ring(json!({"m.mentions": mentions})));
        match rings {
            true => assert!(matches!(inspection, Inspection::Ring(_)), "{mentions}"),
            false => assert_eq!(inspection, Inspection::NotForUs, "{mentions}"),
        }
    }
}

#[test]
fn a_notification_of_our_own_is_not_for_us() {
    let mut own = ring(json!({}));
    own.facts.sender = user(BEN);
    assert_eq!(Phone::default().push(&own), Inspection::NotForUs);
}

#[test]
fn a_decline_on_another_device_of_ours_stops_the_ring_in_either_order() {
    let mut phone = Phone::default();
    assert!(phone.rings(&ring(json!({}))));
    assert_eq!(phone.push(&decline(BEN, "$event")), elsewhere());
    assert_eq!(phone.push(&decline(BEN, "$event")), elsewhere());
    assert_eq!(phone.push(&ring(json!({}))), elsewhere());
    let mut phone = Phone::default();
    assert_eq!(phone.push(&decline(BEN, "$event")), elsewhere());
    assert_eq!(phone.push(&ring(json!({}))), elsewhere());
}

#[test]
fn declines_of_others_and_of_other_calls_stop_nothing() {
    for nothing in [decline(ADA, "$event"), decline(EVE, "$event"), decline(BEN, "$other")] {
        let mut phone = Phone::default();
        assert!(phone.rings(&ring(json!({}))));
        phone.push(&nothing);
        assert_eq!(phone.push(&ring(json!({}))), Inspection::Duplicate);
        let mut phone = Phone::default();
        phone.push(&nothing);
        assert!(phone.rings(&ring(json!({}))));
    }
    assert_eq!(Phone::default().push(&decline(EVE, "$event")), Inspection::Nothing);
}

#[test]
fn famedlys_reject_on_another_device_of_ours_stops_what_rings() {
    let reject = |sender| {
        event("m.call.reject", sender, &json!({"call_id": "", "application": "m.call.audio"}))
    };
    let mut phone = Phone::default();
    assert_eq!(phone.push(&reject(BEN)), Inspection::Nothing);
    assert!(phone.rings(&ring(json!({}))));
    assert_eq!(phone.push(&reject(ADA)), Inspection::Nothing);
    assert_eq!(phone.push(&reject(BEN)), elsewhere());
    assert_eq!(phone.push(&reject(BEN)), Inspection::Nothing);
    assert_eq!(phone.push(&ring(json!({}))), elsewhere());
}

/// A time before or after the notification's.
fn at(ms: i64) -> Wall {
    Wall(NOW.0.saturating_add_signed(ms))
}

#[test]
fn the_ring_ends_when_the_caller_leaves_or_we_join_in_either_order() {
    for (who, news, over) in [
        (ADA, MemberNews::Left, Some(Inspection::Ended(the_notification()))),
        (BEN, MemberNews::Joined, Some(elsewhere())),
        (EVE, MemberNews::Left, None),
        (EVE, MemberNews::Joined, None),
        (ADA, MemberNews::Joined, None),
        (BEN, MemberNews::Left, None),
    ] {
        for time in [0, 1, 5_000] {
            let mut phone = Phone::default();
            assert!(phone.rings(&ring(json!({}))));
            let stopped = phone.member(who, news, at(time));
            assert_eq!(stopped, over.iter().map(|_| the_notification()).collect::<Vec<_>>());
            let again = phone.push(&ring(json!({})));
            assert_eq!(again, over.clone().unwrap_or(Inspection::Duplicate), "{who} {news:?}");
            let mut phone = Phone::default();
            assert_eq!(phone.member(who, news, at(time)), []);
            match &over {
                Some(over) => assert_eq!(phone.push(&ring(json!({}))), *over),
                None => assert!(phone.rings(&ring(json!({})))),
            }
        }
    }
}

#[test]
fn who_left_before_he_announced_rings() {
    for (who, news) in [(ADA, MemberNews::Left), (BEN, MemberNews::Joined)] {
        let mut phone = Phone::default();
        phone.member(who, news, at(-1));
        assert!(phone.rings(&ring(json!({}))), "{who}");
        assert_eq!(phone.member(who, news, at(-1)), []);
        assert_eq!(phone.push(&ring(json!({}))), Inspection::Duplicate);
        assert_eq!(phone.member(who, news, at(0)), [the_notification()]);
    }
}

#[test]
fn several_who_come_first_call_once() {
    let by = |sender, id| {
        let mut ring = named(id, ring(json!({})));
        ring.facts.sender = user(sender);
        ring
    };
    let mut phone = Phone::default();
    assert!(phone.rings(&by(ADA, "$1")));
    assert_eq!(phone.push(&by(EVE, "$2")), Inspection::Duplicate);
    // What only notifies is shown beside it.
    let notification = named("$3", ring(json!({"notification_type": "notification"})));
    assert!(phone.rings(&notification));
    // The first goes, and the next one rings.
    phone.member(ADA, MemberNews::Left, at(1));
    assert!(phone.rings(&by(EVE, "$4")));
    // Or its time is over.
    phone.later = ms(30_000);
    let late = |id| {
        let mut late = by(ADA, id);
        late.facts.sent = Some(phone_time(30_000));
        late
    };
    assert_eq!(phone.push(&late("$5")), Inspection::Duplicate);
    phone.later = ms(30_001);
    assert!(phone.rings(&late("$5")));
}

fn phone_time(later: u64) -> Wall {
    NOW.plus(ms(later))
}

#[test]
fn what_only_notifies_keeps_no_ring_away() {
    let mut phone = Phone::default();
    assert!(phone.rings(&named("$1", ring(json!({"notification_type": "notification"})))));
    assert!(phone.rings(&named("$2", ring(json!({})))));
}

#[test]
fn a_notification_that_cannot_be_trusted_or_understood_rings_nowhere() {
    let refused = Inspection::Unusable;
    let no_relation = refused(Unusable::Malformed(Malformed::Missing("m.relates_to")));
    assert_eq!(Phone::default().push(&ring(json!({"m.relates_to": null}))), no_relation);
    let mut phone = Phone { place: Some(in_room(true)), ..Phone::default() };
    assert_eq!(phone.push(&ring(json!({}))), refused(Unusable::Plaintext));
    assert_eq!(phone.push(&decline(BEN, "$event")), refused(Unusable::Plaintext));
    let mut sealed = ring(json!({}));
    sealed.facts.protection = Protection::Unverified;
    assert!(phone.rings(&sealed));
    let mut nameless = ring(json!({}));
    nameless.facts.event_id = None;
    assert_eq!(Phone::default().push(&nameless), refused(Unusable::NoEventId));
}

#[test]
fn reactions_are_nothing_to_a_ring_also_in_the_clear() {
    let mut phone = Phone { place: Some(in_room(true)), ..Phone::default() };
    let reaction = json!({
        "key": "x", "call_id": "", "device_id": "D", "m.relates_to": {"event_id": "$m"},
    });
    let reaction = event("com.famedly.call.member.reaction", ADA, &reaction);
    assert_eq!(phone.push(&reaction), Inspection::Nothing);
    let redaction = event("m.room.redaction", ADA, &json!({"redacts": "$message"}));
    assert_eq!(phone.push(&redaction), Inspection::Nothing);
    assert!(phone.seen.is_empty());
}
