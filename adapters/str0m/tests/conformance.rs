//! The suite that judges every engine (`matrix_voip::testing::conformance`), on this one.
//!
//! One test in a program of its own: the suite counts tasks, files and memory of the process.
//! `CELL=hold cargo test … --test conformance` plays the cells whose names hold that word.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::sync::Arc;

use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_cells};
use matrix_voip_str0m::{Interfaces, Str0m, TrustedRoots};
use testkit::coturn::Coturn;

fn str0m(roots: &TrustedRoots) -> Subject {
    let roots = roots.clone();
    let make = move |media| {
        let builder = Str0m::builder(media).interfaces(Interfaces::Loopback);
        builder.trusted_roots(roots.clone()).build()
    };
    Subject::new("str0m", move |media| Arc::new(make(media)))
}

#[tokio::test]
async fn it_is_right_against_itself() {
    let wanted = std::env::var("CELL").unwrap_or_default();
    let cells: Vec<_> =
        Cell::all().into_iter().filter(|cell| cell.name().contains(&wanted)).collect();
    let (mut setting, mut roots) = (Setting::default(), TrustedRoots::default());
    let coturn = Coturn::start(&[]).await;
    if let Some(coturn) = &coturn {
        setting.relays = coturn.relays();
        roots = TrustedRoots::only(coturn.certificate.as_bytes()).unwrap();
    }
    let report = judge_cells(&cells, &str0m(&roots), &str0m(&roots), &setting).await;
    println!("{report}");
    assert!(report.is_right(), "{report}");
}
