//! The suite that judges every engine (`matrix_voip::testing::conformance`), on this one.
//!
//! One test in a program of its own: the suite counts tasks, files and memory of the process.
//! `CELL=hold cargo test … --test conformance` plays the cells whose names hold that word.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::sync::Arc;

use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_with};
use matrix_voip_str0m::{Interfaces, Str0m, TrustedRoots};
use testkit::{coturn::Servers, say};

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
    let cells = Cell::named(&std::env::var("CELL").unwrap_or_default());
    let (mut setting, mut roots) = (Setting::default(), TrustedRoots::default());
    let servers = Servers::start().await;
    if let Some(servers) = &servers {
        setting.relays = servers.relays();
        roots = TrustedRoots::only(servers.certificate()).unwrap();
    }
    let report = judge_with(&cells, &str0m(&roots), &str0m(&roots), &setting, |one| say(one)).await;
    say(&report);
    assert!(report.is_right(), "{report}");
}
