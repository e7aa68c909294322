//! The suite that judges every engine (`matrix_voip::testing::conformance`), on this one: against
//! itself and, both ways, against the other engine.
//!
//! One test in a program of its own: the suite counts tasks, files and memory of the process.
//! `CELL=hold cargo test … --test conformance` plays the cells whose names hold that word.

#![allow(clippy::unwrap_used, reason = "a test program")]

use std::sync::Arc;

use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_cells};
use matrix_voip_engine::{Interfaces, TrustedRoots};
use matrix_voip_str0m::Str0m;
use matrix_voip_webrtc::Webrtc;
use testkit::coturn::Coturn;

fn webrtc(roots: &TrustedRoots) -> Subject {
    let roots = roots.clone();
    let make = move |media| {
        let builder = Webrtc::builder(media).interfaces(Interfaces::Loopback);
        builder.trusted_roots(roots.clone()).build()
    };
    Subject::new("webrtc", move |media| Arc::new(make(media))).without_tones()
}

fn str0m(roots: &TrustedRoots) -> Subject {
    let roots = roots.clone();
    let make = move |media| {
        let builder = Str0m::builder(media).interfaces(Interfaces::Loopback);
        builder.trusted_roots(roots.clone()).build()
    };
    Subject::new("str0m", move |media| Arc::new(make(media)))
}

#[tokio::test]
async fn it_is_right_against_itself_and_the_other() {
    let wanted = std::env::var("CELL").unwrap_or_default();
    let cells: Vec<_> =
        Cell::all().into_iter().filter(|cell| cell.name().contains(&wanted)).collect();
    let (mut setting, mut roots) = (Setting::default(), TrustedRoots::default());
    let coturn = Coturn::start(&[]).await;
    if let Some(coturn) = &coturn {
        setting.relays = coturn.relays();
        roots = TrustedRoots::only(coturn.certificate.as_bytes()).unwrap();
    }
    let (webrtc, str0m) = (webrtc(&roots), str0m(&roots));
    let mut are_right = true;
    for (ours, theirs) in [(&webrtc, &webrtc), (&webrtc, &str0m), (&str0m, &webrtc)] {
        let report = judge_cells(&cells, ours, theirs, &setting).await;
        println!("{report}");
        are_right &= report.is_right();
    }
    assert!(are_right, "see the report");
}
