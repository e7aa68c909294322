//! The suite that judges every engine (`matrix_voip::testing::conformance`), on this one.
//!
//! One test in a program of its own: the suite counts tasks, files and memory of the process.
//! `CELL=hold cargo test … --test conformance` plays the cells whose names hold that word.

use std::sync::Arc;

use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_cells};
use matrix_voip_str0m::{Interfaces, Str0m};

fn str0m() -> Subject {
    Subject::new("str0m", |media| {
        Arc::new(Str0m::builder(media).interfaces(Interfaces::Loopback).build())
    })
}

#[tokio::test]
async fn it_is_right_against_itself() {
    let wanted = std::env::var("CELL").unwrap_or_default();
    let cells: Vec<_> =
        Cell::all().into_iter().filter(|cell| cell.name().contains(&wanted)).collect();
    let report = judge_cells(&cells, &str0m(), &str0m(), &Setting::default()).await;
    println!("{report}");
    assert!(report.is_right(), "{report}");
}
