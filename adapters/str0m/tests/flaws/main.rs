//! Whether the suite that judges engines (`matrix_voip::testing::conformance`) can fail: delegates
//! that are this engine with one flaw each, and the cells that have to see it. Every cell sees one, and
//! none sees one in the engine as it should be, in the same time.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod engine;
mod media;

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::testing::conformance::{Cell, Setting, Subject, Verdict};
use matrix_voip_str0m::TrustedRoots;
use testkit::coturn::Servers;

use self::engine::{Flawed, right};

/// What is wrong with a delegate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    /// Says that it captures, and opens nothing.
    CapturesNothing,
    /// Keeps its news to itself.
    TellsNothing,
    RenamesStreams,
    LeavesOutCandidates,
    /// Answers every line with `sendrecv`.
    AnswersBothWays,
    /// Every negotiation after the first one says what the first one said.
    KeepsItsFirstPlan,
    /// A rollback is the end of the connection.
    EndsWithRollback,
    /// The second negotiation is the end of the connection.
    EndsWithTheSecond,
    IgnoresRestarts,
    IgnoresMute,
    IgnoresReplace,
    /// Sinks want no key frames, and hear no levels.
    Deaf,
    /// Tones are taken, wherever they go.
    TakesAllTones,
    CountsNothing,
    /// All addresses are used, also where only relays may be.
    NamesAllAddresses,
    IgnoresRelease,
    IgnoresClose,
    /// Whoever is not there is asked in vain, and that is said otherwise.
    OtherFault,
    /// Somebody holds it for ever.
    Immortal,
    TakesEverything,
    RefusesCandidates,
    /// No more than eight connections.
    Small,
    /// While one offer of theirs waits, others are forgotten.
    KeepsTheirFirstOffer,
    IgnoresServers,
    /// Whatever fingerprint an answer names, that of whom it met last is taken.
    TrustsAnybody,
    /// A line that did not send at first never does.
    NeverUpgrades,
    /// Nothing is offered that is only received.
    OffersNoRecvOnly,
    /// The device that another one replaces is open until its track is released.
    OldDeviceStays,
    /// Relays are reached by UDP, whatever their URI says.
    OtherTransport,
    /// Tones are taken, and go nowhere.
    SwallowsTones,
    /// A relayed candidate names the address behind it.
    NamesBases,
    /// Candidates of the first credentials alone are told.
    ForgetsNewCandidates,
    TellsNoRemovals,
    /// The end of gathering is told twice.
    EndsTwice,
    Panics,
    NeverAnswers,
}

/// Which cells have to see which flaw.
const SEEN: &[(Flaw, &[&str])] = &[
    (Flaw::KeepsTheirFirstOffer, &["an offer takes the place of one that waits"]),
    (Flaw::NeverUpgrades, &["a picture that one adds, and then the other in the same line"]),
    (Flaw::OffersNoRecvOnly, &["an offer that receives a picture and sends none"]),
    (Flaw::OldDeviceStays, &["another microphone on the same line"]),
    (Flaw::OtherTransport, &["a call over a relay, by TCP", "a call over a relay, by TLS"]),
    (Flaw::SwallowsTones, &["tones leave, or are declared unsupported"]),
    (Flaw::NamesBases, &["a call over a relay, by UDP"]),
    (Flaw::ForgetsNewCandidates, &["ICE restart by the offerer", "ICE restart by the answerer"]),
    (Flaw::TellsNoRemovals, &["a picture that is taken away and comes again"]),
    (Flaw::EndsTwice, &["sound both ways"]),
    (Flaw::Panics, &["sound both ways"]),
    (Flaw::NeverAnswers, &["sound both ways"]),
    (Flaw::TrustsAnybody, &["who has another certificate than was said is not connected"]),
    (Flaw::IgnoresServers, &["servers that are set later are asked at the next restart"]),
    (
        Flaw::CapturesNothing,
        &["sound both ways", "sound and picture both ways", "levels of sound arrive"],
    ),
    (
        Flaw::TellsNothing,
        &[
            "sound both ways",
            "the local description holds all candidates",
            "a device that ends is told",
            "the other side learns that a connection is closed",
        ],
    ),
    (
        Flaw::RenamesStreams,
        &[
            "stream ids are those of the plan, at both sides",
            "a screen in a line and a stream of its own",
        ],
    ),
    (Flaw::LeavesOutCandidates, &["the local description holds all candidates"]),
    (
        Flaw::AnswersBothWays,
        &[
            "a voice answer to a video offer",
            "an answer that receives a picture and sends none",
            "hold by the offerer, and its end",
            "hold by the answerer, and its end",
            "hold both ways (inactive), and its end",
        ],
    ),
    (
        Flaw::KeepsItsFirstPlan,
        &[
            "a picture that the offerer adds",
            "a picture that the answerer adds",
            "a picture that is taken away and comes again",
            "a screen in a line and a stream of its own",
            "hold both ways (inactive), and its end",
        ],
    ),
    (
        Flaw::EndsWithRollback,
        &[
            "a rollback leaves everything as it was",
            "a rollback of the first offer",
            "glare: both add a picture, ours gives way",
            "glare: both add a picture, theirs gives way",
        ],
    ),
    (Flaw::EndsWithTheSecond, &["an offer that changes nothing"]),
    (Flaw::IgnoresRestarts, &["ICE restart by the offerer", "ICE restart by the answerer"]),
    (Flaw::IgnoresMute, &["muted: silence in place of sound, no picture"]),
    (
        Flaw::IgnoresReplace,
        &[
            "another microphone on the same line",
            "another device that is refused: the old one goes on",
            "a device that ends is told",
        ],
    ),
    (Flaw::Deaf, &["a key frame that is wanted reaches the camera", "levels of sound arrive"]),
    (Flaw::TakesAllTones, &["tones leave, or are declared unsupported"]),
    (Flaw::CountsNothing, &["figures name path, codec and counts"]),
    (
        Flaw::NamesAllAddresses,
        &[
            "relays alone: no address of ours is named",
            "a call over a relay, by UDP",
            "a call over a relay, by TCP",
            "a call over a relay, by TLS",
        ],
    ),
    (
        Flaw::IgnoresRelease,
        &[
            "a device that nobody grants is given up on release",
            "release closes the device before it answers",
        ],
    ),
    (
        Flaw::IgnoresClose,
        &[
            "a connection that is closed while it opens",
            "the other side learns that a connection is closed",
            "100 calls leave no task, socket, device or memory",
        ],
    ),
    (Flaw::OtherFault, &["what is asked of nobody is not found"]),
    (Flaw::Immortal, &["an engine that is dropped leaves nothing open"]),
    (
        Flaw::TakesEverything,
        &[
            "hostile descriptions are refused, and the next is taken",
            "an answer that does not fit is refused, and the next offer works",
        ],
    ),
    (Flaw::RefusesCandidates, &["hostile candidates are skipped"]),
    (Flaw::Small, &["40 calls at once"]),
];

/// The right engine is right in this cell, and how long that may take: longer on a machine that is at
/// work. `None` where it cannot be played.
async fn control(cell: &Cell, right: &Subject, setting: &Setting) -> Option<Setting> {
    let mut setting = setting.clone();
    for seconds in [2, 8, 30] {
        setting.patience = Duration::from_secs(seconds);
        match cell.play(right, right, &setting).await {
            Verdict::Failed(why) => println!("without a flaw, {seconds} s: {}: {why}", cell.name()),
            // What needs a TURN server that is not there was said by whoever looked for it.
            Verdict::Skipped(_) => return None,
            _ => return Some(setting),
        }
    }
    panic!("{cell:?} is failed by an engine without a flaw")
}

#[tokio::test]
async fn every_cell_sees_a_flaw() {
    let cells = Cell::named(&std::env::var("CELL").unwrap_or_default());
    let named: BTreeSet<_> = SEEN.iter().flat_map(|(_, cells)| cells.iter().copied()).collect();
    let all: BTreeSet<_> = Cell::all().iter().map(Cell::name).collect();
    let unseen: Vec<_> = all.symmetric_difference(&named).collect();
    assert!(unseen.is_empty(), "{unseen:?}");

    let (mut setting, mut roots) = (Setting::default(), TrustedRoots::default());
    let servers = Servers::start().await;
    if let Some(servers) = &servers {
        setting.relays = servers.relays();
        roots = TrustedRoots::only(servers.certificate()).unwrap();
    }
    let trusted = roots.clone();
    let right = Subject::new("str0m", move |media| right(media, &trusted));
    for cell in &cells {
        let Some(setting) = control(cell, &right, &setting).await else { continue };
        for (flaw, _) in SEEN.iter().filter(|(_, seen_by)| seen_by.contains(&cell.name())) {
            let flawed = Flawed::subject(*flaw, &roots);
            let mut verdict = cell.play(&flawed, &right, &setting).await;
            if !matches!(verdict, Verdict::Failed(_)) {
                verdict = cell.play(&right, &flawed, &setting).await;
            }
            println!("{flaw:?}: {}: {verdict}", cell.name());
            let is_seen = matches!(verdict, Verdict::Failed(_));
            assert!(is_seen, "{flaw:?} is not seen by {cell:?}");
        }
    }
}
