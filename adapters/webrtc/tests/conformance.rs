//! The suite that judges every engine (`matrix_voip::testing::conformance`), on this one: against
//! itself and, both ways, against the other engine.
//!
//! One test in a program of its own: the suite counts tasks, files and memory of the process.
//! `CELL=hold cargo test … --test conformance` plays the cells whose names hold that word.

use std::sync::Arc;

use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_cells};

fn webrtc() -> Subject {
    use matrix_voip_webrtc::{Interfaces, Webrtc};
    let make = |media| Webrtc::builder(media).interfaces(Interfaces::Loopback).build();
    Subject::new("webrtc", move |media| Arc::new(make(media))).without_tones()
}

fn str0m() -> Subject {
    use matrix_voip_str0m::{Interfaces, Str0m};
    let make = |media| Str0m::builder(media).interfaces(Interfaces::Loopback).build();
    Subject::new("str0m", move |media| Arc::new(make(media)))
}

#[tokio::test]
async fn it_is_right_against_itself_and_the_other() {
    let wanted = std::env::var("CELL").unwrap_or_default();
    let cells: Vec<_> =
        Cell::all().into_iter().filter(|cell| cell.name().contains(&wanted)).collect();
    let pairs = [(webrtc(), webrtc()), (webrtc(), str0m()), (str0m(), webrtc())];
    let mut are_right = true;
    for (ours, theirs) in pairs {
        let report = judge_cells(&cells, &ours, &theirs, &Setting::default()).await;
        println!("{report}");
        are_right &= report.is_right();
    }
    assert!(are_right, "see the report");
}
