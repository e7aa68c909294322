//! Thousands of events by chance: nothing panics, the bounds hold, no ring comes twice.

use std::collections::BTreeSet;

use matrix_voip::{
    ring::{Inspection, MAX_NOTES, MemberNews},
    testing::Dice,
    wire::delivery::{Protection, RawEvent},
};
use serde_json::{Value, json};

use crate::phone::{ADA, BEN, EVE, NOW, Phone, call, decline, event, in_room, ms, named, ring};

const USERS: [&str; 4] = [ADA, BEN, EVE, "@flood:x"];
const CALLS: [&str; 9] = [
    "m.call.invite",
    "m.call.invite",
    "m.call.answer",
    "m.call.select_answer",
    "m.call.reject",
    "m.call.hangup",
    "m.call.candidates",
    "com.famedly.call.member.invite",
    "com.famedly.call.member.reaction",
];

/// Ids of which some come again.
fn some_id(dice: &mut Dice) -> usize {
    let range = if dice.percent(50) { 4 } else { 4_000 };
    dice.below(range)
}

fn odd(dice: &mut Dice) -> Value {
    let odds = [json!(null), json!(-1), json!(1e300), json!(""), json!("x"), json!([]), json!({})];
    dice.one_of(&odds).clone()
}

fn some_event(dice: &mut Dice) -> RawEvent {
    let sender = *dice.one_of(&USERS);
    let id = format!("${}", some_id(dice));
    let mut event = match dice.below(8) {
        0..=3 => {
            let (kind, party) = (*dice.one_of(&CALLS), ["ada", "p"][dice.below(2)]);
            let call_id = format!("c{}", some_id(dice));
            call(kind, sender, json!({"call_id": call_id, "party_id": party}))
        }
        4 => decline(sender, &format!("${}", some_id(dice))),
        5 => event("m.call.reject", sender, &json!({"call_id": "", "application": "a"})),
        6 => ring(
            json!({"sender_ts": NOW.0 + dice.word() % 90_000, "lifetime": dice.word() % 200_000}),
        ),
        _ => {
            let keys = ["sender_ts", "lifetime", "m.mentions", "m.relates_to", "notification_type"];
            ring(json!({ *dice.one_of(&keys): odd(dice) }))
        }
    };
    event.facts.sender = sender.parse().unwrap();
    event.facts.sent = dice.percent(80).then(|| NOW.plus(ms(dice.word() % 90_000)));
    event.facts.age = dice.percent(20).then(|| ms(dice.word() % 90_000));
    event.facts.protection = [Protection::Clear, Protection::Verified][dice.below(2)];
    if dice.percent(2) {
        event.facts.event_id = None;
        return event;
    }
    named(&id, event)
}

#[test]
fn thousands_of_events_by_chance_keep_the_bounds() {
    let mut rings = 0;
    let mut fullest = 0;
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut phone = Phone { place: Some(in_room(seed % 2 == 1)), ..Phone::default() };
        for _ in 0..300 {
            phone.later += ms(dice.word() % 2_000);
            if dice.percent(10) {
                let news = *dice.one_of(&[MemberNews::Joined, MemberNews::Left]);
                let at = NOW.plus(ms(dice.word() % 90_000));
                phone.member(USERS[dice.below(4)], news, at);
            }
            rings += usize::from(phone.rings(&some_event(&mut dice)));
            fullest = fullest.max(phone.seen.len());
        }
    }
    assert!(rings > 100, "the events are worth looking at: {rings}");
    assert_eq!(fullest, MAX_NOTES, "the bound was met");
}

/// The events of a few calls, in every order that chance gives: what must end does not ring on.
#[test]
fn whatever_the_order_what_is_over_does_not_ring() {
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let mut events = Vec::new();
        for n in 0..4 {
            let id = format!("c{n}");
            let of = |kind: &str, sender, party: &str| {
                named(
                    &format!("${kind}{n}"),
                    call(kind, sender, json!({"call_id": id, "party_id": party})),
                )
            };
            events.push(of("m.call.invite", ADA, "ada"));
            match dice.below(3) {
                0 => events.push(of("m.call.hangup", ADA, "ada")),
                1 => events.push(of("m.call.answer", BEN, "laptop")),
                _ => events.push(of("m.call.reject", BEN, "laptop")),
            }
            events.push(of("m.call.hangup", EVE, "ada"));
        }
        events.push(ring(json!({})));
        events.push(decline(BEN, "$event"));
        let twice = events.clone();
        events.extend(twice);
        let mut phone = Phone::default();
        let (mut ringing, mut rung) = (BTreeSet::new(), BTreeSet::new());
        while !events.is_empty() {
            let next = events.swap_remove(dice.below(events.len()));
            match phone.push(&next) {
                Inspection::Ring(ring) => {
                    assert!(rung.insert(ring.id()), "it rings twice");
                    ringing.insert(ring.id());
                }
                Inspection::Ended(ring) | Inspection::AnsweredElsewhere(ring) => {
                    ringing.remove(&ring);
                }
                _ => {}
            }
        }
        assert!(ringing.is_empty(), "seed {seed}: {ringing:?}");
    }
}
