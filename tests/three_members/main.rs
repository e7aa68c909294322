//! Three who may enter and leave a group call, explored completely: in whatever order they do so and
//! hear of each other, when everything has been heard each pair that is in it has one connected leg,
//! nobody has any other, and all see the same participants.
//!
//! What is immediate here: answers of the homeserver and of the peer connections, and one's own
//! echo. What comes in any order: what users do, and what each hears of each other, where the state of
//! the room and messages to devices come by ways of their own, each in its order.
//!
//! | file | holds |
//! | --- | --- |
//! | `member.rs` | one member: an engine and what answers it at once |
//! | `world.rs` | the ways between them; time passes; the rules |
//! | `numbers.rs` | members, letters and rows of letters by numbers, so that no engine is asked twice |
//! | `explore.rs` | the search, and what it leaves out |

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod explore;
mod member;
mod numbers;
mod world;

use explore::{Plan, Search, Seen, explore};
use member::{Act, Letter, Member};
use numbers::{Book, Steps, number_of};
use world::{WAYS, World};

/// One more than a world in which two do so: who it is matters, as the smaller of two users calls.
const ONE_LEAVES: [[u8; 3]; 3] = [[2, 1, 1], [1, 2, 1], [1, 1, 2]];
const TWO_LEAVE: [[u8; 3]; 3] = [[2, 2, 1], [2, 1, 2], [1, 2, 2]];
const ONE_COMES_AGAIN: [[u8; 3]; 3] = [[3, 1, 1], [1, 3, 1], [1, 1, 3]];

#[track_caller]
fn explored(turns: [u8; 3], search: Search) -> Seen {
    match explore(Plan { turns, search, lost: None }) {
        Ok(seen) => {
            let (states, asked, ends) = (seen.states, seen.asked, seen.ends.len());
            println!("{turns:?}, {search:?}: {states} states, {asked} of engines, {ends} ends");
            assert!(states > 1000, "a world in which little happens tests little");
            seen
        }
        Err(found) => panic!("{found}"),
    }
}

/// Explored in both ways, which come to the same ends.
#[track_caller]
fn compared(turns: [u8; 3]) {
    let (full, reduced) = (explored(turns, Search::Full), explored(turns, Search::Reduced));
    assert!(full.ends == reduced.ends, "{turns:?}");
    assert!(reduced.states < full.states, "{turns:?}");
}

#[test]
fn two_who_enter_leave_and_enter_again_meet_in_every_order() {
    for turns in [[3, 3, 0], [3, 0, 3], [0, 3, 3]] {
        explored(turns, Search::Reduced);
    }
}

#[test]
fn three_who_enter_and_of_whom_one_leaves_meet_in_every_order() {
    for turns in ONE_LEAVES {
        compared(turns);
    }
}

#[test]
fn three_who_enter_and_of_whom_ada_and_ben_leave_meet_in_every_order() {
    explored(TWO_LEAVE[0], Search::Reduced);
}

#[test]
fn three_who_enter_and_of_whom_ada_and_cleo_leave_meet_in_every_order() {
    explored(TWO_LEAVE[1], Search::Reduced);
}

#[test]
fn three_who_enter_and_of_whom_ben_and_cleo_leave_meet_in_every_order() {
    explored(TWO_LEAVE[2], Search::Reduced);
}

#[test]
#[ignore = "long: minutes, and some 2 GB of memory"]
fn three_who_enter_and_leave_meet_in_every_order() {
    explored([2, 2, 2], Search::Reduced);
}

#[test]
#[ignore = "long: minutes"]
fn three_who_enter_and_of_whom_one_leaves_and_enters_again_meet_in_every_order() {
    for turns in ONE_COMES_AGAIN {
        explored(turns, Search::Reduced);
    }
}

#[test]
fn what_is_left_out_leads_to_no_other_end() {
    for turns in [[2, 2, 0], [2, 0, 2], [0, 2, 2], [1, 1, 1]] {
        compared(turns);
    }
}

#[test]
fn a_message_or_a_membership_that_is_lost_on_any_way_is_found_out() {
    for search in [Search::Full, Search::Reduced] {
        for way in WAYS {
            let found = explore(Plan { turns: [1; 3], search, lost: Some(way) });
            assert!(found.is_err(), "{search:?}: lost by {way:?}, and nobody notices");
        }
    }
}

#[test]
fn engines_that_were_asked_anew_do_what_is_in_the_book() {
    let mut dice = 1;
    let mut book = Book::new(None);
    for _ in 0..200 {
        let mut state = book.begin([2, 2, 2]);
        let mut members = [0, 1, 2].map(Member::new);
        while state.possible() != Steps::default() {
            dice = numbers::mix(dice);
            let step = chosen(state.possible(), dice);
            let (at, act) = match step.turn() {
                Ok(at) => (at, Act::Turn),
                Err(way) => (WAYS[way].1, Act::Hear(WAYS[way].0, book.letter_on(&state, way))),
            };
            let sent = members[at].act(act);
            state = book.take(&state, step);
            assert_eq!(members.each_ref().map(Member::print), book.prints(&state), "{step}");
            assert!(ends_with(&book, &state, at, &sent), "{step}: {sent:#?}");
        }
        let mut world = World::new(members, None);
        world.settle();
        assert_eq!(world.check(), Ok(()));
    }
}

/// One of these.
fn chosen(mut steps: Steps, dice: u64) -> numbers::Step {
    let skipped = dice % u64::from(steps.0.count_ones());
    for _ in 0..skipped {
        steps.pop();
    }
    steps.pop().unwrap()
}

/// Whether the rows end with what a member has sent.
fn ends_with(book: &Book, state: &numbers::State, at: usize, sent: &[(usize, Letter)]) -> bool {
    WAYS.into_iter().filter(|way| way.0 == at).all(|way| {
        let on_way = |it: &&(usize, Letter)| it.0 == way.1 && it.1.is_state() == way.2;
        let sent: Vec<_> = sent.iter().filter(on_way).map(|(_, letter)| letter).collect();
        book.letters_on(state, number_of(way)).ends_with(&sent)
    })
}

#[test]
fn ways_are_where_their_numbers_say() {
    for (number, way) in WAYS.into_iter().enumerate() {
        assert_eq!(number_of(way), number);
        assert!(Steps::of(way.1).0 & 1 << number != 0);
    }
}
