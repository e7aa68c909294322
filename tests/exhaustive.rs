//! Small worlds, explored completely: whatever the order, the rules hold in every state; and each
//! rule of the machine that is taken away is missed.
//!
//! What a small world leaves out stands in `testing::SmallWorld`'s module. Each test prints how
//! many states it saw.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use matrix_voip::{
    config::OnAnswer,
    machine::guard::Guard,
    testing::{Explored, Order, Role, SmallWorld, Trouble},
};

const ADA: &str = "@ada:example";
const BEN: &str = "@ben:example";
const NONE: Trouble = Trouble { losses: 0, duplicates: 0, delays: 0 };
const LOSS: Trouble = Trouble { losses: 1, ..NONE };
const DUPLICATE: Trouble = Trouble { duplicates: 1, ..NONE };
const DELAY: Trouble = Trouble { delays: 1, ..NONE };

/// Seeds whose first calls have ids in this order, Ada's before Ben's.
const SMALLER: [u64; 2] = [2, 1];
/// And the other way round.
const GREATER: [u64; 2] = [1, 2];

fn ada(seed: u64) -> Role {
    Role::new(ADA, "PHONE", seed)
}

fn ben(device: &str, seed: u64) -> Role {
    Role::new(BEN, device, seed)
}

/// Each may call the other once.
fn both_call([a, b]: [u64; 2]) -> SmallWorld {
    with_both(ada(a), ben("LAPTOP", b))
}

fn with_both(ada: Role, ben: Role) -> SmallWorld {
    SmallWorld::new().seat(ada.calling(BEN)).seat(ben.calling(ADA))
}

/// Ada may call Ben, who has two devices.
fn race(ada: Role, devices: [Role; 2]) -> SmallWorld {
    let [phone, laptop] = devices;
    SmallWorld::new().seat(ada.calling(BEN)).seat(phone).seat(laptop)
}

/// All states of a world, none of which breaks a rule.
#[track_caller]
fn explored(name: &str, world: &SmallWorld) -> Explored {
    match world.explore() {
        Ok(seen) => {
            println!("{name}: {seen}");
            seen
        }
        Err(found) => panic!("{name}: {found}"),
    }
}

#[test]
fn two_users_who_may_call_each_other_agree_in_every_order() {
    for (name, ids) in [("smaller id", SMALLER), ("greater id", GREATER)] {
        let seen = explored(name, &both_call(ids));
        assert!(seen.states > 10_000, "a world in which little happens tests little");
    }
}

#[test]
fn two_users_who_may_call_each_other_agree_where_an_event_comes_twice() {
    explored("one duplicate", &both_call(SMALLER).trouble(DUPLICATE));
}

#[test]
fn two_devices_that_may_answer_agree_with_the_caller() {
    explored("race", &race(ada(1), [ben("PHONE", 2), ben("LAPTOP", 3)]));
}

#[test]
fn one_call_survives_a_loss_a_duplicate_and_a_delay() {
    let all = Trouble { losses: 1, duplicates: 1, delays: 1 };
    let troubles = [("loss", LOSS), ("duplicate", DUPLICATE), ("delay", DELAY), ("all", all)];
    for (name, trouble) in troubles {
        explored(name, &caller(ada(1)).trouble(trouble));
    }
}

/// A world in which one engine lacks this rule.
type Without = fn(Guard) -> SmallWorld;

/// The rules that are seeded wrong, each in one engine alone: the others follow them.
#[test]
fn each_rule_that_is_taken_away_is_missed() {
    let rules: [(Guard, Without); 15] = [
        (Guard::SmallerIdWins, |guard| with_both(ada(1).without(guard), ben("LAPTOP", 2))),
        (Guard::LoserEnded, |guard| with_both(ada(1).without(guard), ben("LAPTOP", 2))),
        (Guard::SurvivorKept, |guard| with_both(ada(2).without(guard), ben("LAPTOP", 1))),
        (Guard::EchoIgnored, |guard| caller(ada(1).without(guard))),
        (Guard::DuplicateIgnored, |guard| caller(ada(1).without(guard)).trouble(DUPLICATE)),
        (Guard::InviteExpires, |guard| callee(ben("LAPTOP", 2).without(guard)).trouble(DELAY)),
        (Guard::EndBeforeInvite, |guard| callee(ben("LAPTOP", 2).without(guard))),
        (Guard::EarlyCandidatesKept, |guard| caller(ada(1).without(guard))),
        (Guard::AnswerSelected, |guard| caller(ada(1).without(guard))),
        (Guard::FarewellSaid, |guard| caller(ada(1).without(guard))),
        (Guard::SilenceMayBeArrival, |guard| caller(ada(1).without(guard)).trouble(LOSS)),
        (Guard::FirstAnswerWins, |guard| {
            race(ada(1).without(guard), [ben("PHONE", 2), ben("LAPTOP", 3)])
        }),
        (Guard::PartyBound, |guard| {
            race(ada(1).without(guard), [ben("PHONE", 2), ben("LAPTOP", 3)])
        }),
        (Guard::SelectionObeyed, |guard| {
            race(ada(1), [ben("PHONE", 2).without(guard), ben("LAPTOP", 3)])
        }),
        (Guard::ElsewhereStopsRinging, |guard| {
            race(ada(1), [ben("PHONE", 2).without(guard), ben("LAPTOP", 3)])
        }),
    ];
    let mut unseen = Vec::new();
    for (guard, world) in rules {
        match world(guard).explore() {
            Ok(seen) => unseen.push(format!("{guard:?} ({seen})")),
            Err(found) => {
                let (steps, broken) = (found.column.len(), &found.broken);
                println!("without {guard:?}, after {steps} steps: {broken}");
            }
        }
    }
    assert!(unseen.is_empty(), "not missed: {unseen:#?}");
}

/// Ada may call Ben.
fn caller(ada: Role) -> SmallWorld {
    SmallWorld::new().seat(ada.calling(BEN)).seat(ben("LAPTOP", 2))
}

/// Ada may call Ben.
fn callee(ben: Role) -> SmallWorld {
    SmallWorld::new().seat(ada(1).calling(BEN)).seat(ben)
}

#[test]
fn two_users_who_may_call_each_other_agree_where_a_send_fails() {
    explored("one loss", &both_call(SMALLER).trouble(LOSS).order(Order::PerSender));
}

#[test]
fn two_users_who_refuse_a_second_call_agree_in_every_order() {
    explored("one call at a time", &both_call(SMALLER).on_answer(OnAnswer::Refuse));
}

#[test]
#[ignore = "long: minutes"]
fn two_users_who_may_call_each_other_agree_where_a_send_fails_and_an_event_comes_twice() {
    let both = Trouble { losses: 1, duplicates: 1, ..NONE };
    let world = both_call(SMALLER).trouble(both).order(Order::PerSender);
    explored("one loss and one duplicate", &world);
}

#[test]
#[ignore = "long: minutes"]
fn two_users_of_whom_one_has_a_second_device_agree() {
    for seed in [2, 5] {
        let world = with_both(ada(1), ben("PHONE", seed)).seat(ben("LAPTOP", 3));
        explored("a second device", &world.order(Order::PerSender));
    }
}
