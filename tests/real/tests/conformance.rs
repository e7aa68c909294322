//! The suite that judges every engine (`matrix_voip::testing::conformance`), between our engines and a
//! browser: both ways round, and over relays by each transport. No cell is left out.
//!
//! Where there is no Chromium these are skipped and say so; without coturn the cells of relays are.
//! `CELL=hold cargo test -p real --test conformance` plays the cells whose names hold that word.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

use std::{
    fs,
    io::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use matrix_voip::testing::conformance::{Cell, Setting, Subject, judge_with};
use matrix_voip_engine::{Interfaces, TrustedRoots};
use matrix_voip_str0m::Str0m;
use matrix_voip_webrtc::Webrtc;
use real::{Browser, Ground, NoWorld};
use testkit::say;
use tokio::sync::Mutex;

/// How long anything may take that is to come about.
const PATIENCE: Duration = Duration::from_secs(90);

/// The suite counts tasks and files of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The servers and the browser of all tests. A keeper ends them with this process.
fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| Ground::start().unwrap())
}

fn roots() -> TrustedRoots {
    TrustedRoots::only(&fs::read(ground().root()).unwrap()).unwrap()
}

fn str0m() -> Subject {
    let roots = roots();
    Subject::new("str0m", move |media| {
        let engine = Str0m::builder(media).interfaces(Interfaces::Loopback);
        Arc::new(engine.trusted_roots(roots.clone()).build())
    })
}

fn webrtc() -> Subject {
    let roots = roots();
    let subject = Subject::new("webrtc", move |media| {
        let engine = Webrtc::builder(media).interfaces(Interfaces::Loopback);
        Arc::new(engine.trusted_roots(roots.clone()).build())
    });
    subject.without_tones()
}

/// `None` where there is no Chromium, which is then said.
fn chromium() -> Option<Subject> {
    match ground().page() {
        Ok(page) => {
            let make = move |media| Arc::new(Browser::new(page.clone(), media)) as _;
            Some(Subject::new("Chromium", make))
        }
        Err(NoWorld::Missing(why)) => {
            std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
            None
        }
        Err(NoWorld::Broken(why)) => panic!("{why}"),
    }
}

async fn is_right(ours: &Subject, theirs: &Subject) {
    let mut setting = Setting::default();
    // A browser and forty connections of it are slow where others are at work.
    setting.patience = PATIENCE;
    setting.relays = ground().relays().unwrap();
    let cells = Cell::named(&std::env::var("CELL").unwrap_or_default());
    let report = judge_with(&cells, ours, theirs, &setting, |one| say(one)).await;
    say(&report);
    assert!(report.is_right(), "{report}");
}

#[tokio::test]
async fn str0m_and_chromium() {
    let _alone = ALONE.lock().await;
    let Some(chromium) = chromium() else { return };
    is_right(&str0m(), &chromium).await;
}

#[tokio::test]
#[ignore = "long: the other way round"]
async fn chromium_and_str0m() {
    let _alone = ALONE.lock().await;
    let Some(chromium) = chromium() else { return };
    is_right(&chromium, &str0m()).await;
}

#[tokio::test]
async fn webrtc_and_chromium() {
    let _alone = ALONE.lock().await;
    let Some(chromium) = chromium() else { return };
    is_right(&webrtc(), &chromium).await;
}

#[tokio::test]
#[ignore = "long: the other way round"]
async fn chromium_and_webrtc() {
    let _alone = ALONE.lock().await;
    let Some(chromium) = chromium() else { return };
    is_right(&chromium, &webrtc()).await;
}
