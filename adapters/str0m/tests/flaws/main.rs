//! Whether the suite that judges engines (`matrix_voip::testing::conformance`) can fail: delegates
//! that are this engine with one flaw each, and the cells that have to see it. Every cell sees one, and
//! none sees one in the engine as it should be, in the same time.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod engine;
mod media;

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::testing::conformance::{Cell, Failure, Setting, Subject, Verdict};
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
    /// Nobody learns what the sinks say of their playout.
    AsksNoSink,
    /// Nobody learns when the last packet came.
    KnowsNoSilence,
    /// Nobody learns that a device is gone.
    AsksNoSource,
    /// The figures of playout are those that were asked for first.
    RemembersPlayout,
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
    /// Whatever fingerprint an answer names, whoever it meets is trusted.
    TrustsWhoAnswers,
    /// The same of an offer.
    TrustsWhoOffers,
    /// Candidates are told as soon as there is an offer.
    TellsEarly,
    /// No frame is said to follow another.
    SeesGaps,
    /// It cannot even be made.
    PanicsAtOnce,
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

/// The cell that looks at what sinks and sources say.
const HEARD: &[&str] = &["figures tell how sound is heard, and what has no device"];

/// Each flaw, what is said of it (one of these in each cell), and the cells that have to see it: who is
/// failed for another reason is not seen.
const SEEN: &[(Flaw, &[&str], &[&str])] = &[
    (
        Flaw::KeepsTheirFirstOffer,
        &["is answered 2"],
        &["an offer takes the place of one that waits"],
    ),
    (
        Flaw::NeverUpgrades,
        &["gets Video"],
        &["a picture that one adds, and then the other in the same line"],
    ),
    (
        Flaw::OffersNoRecvOnly,
        &["a description of"],
        &["an offer that receives a picture and sends none"],
    ),
    (
        Flaw::OldDeviceStays,
        &["the old microphone is closed"],
        &["another microphone on the same line"],
    ),
    (
        Flaw::OtherTransport,
        &["both are connected"],
        &["a call over a relay, by TCP", "a call over a relay, by TLS"],
    ),
    (Flaw::SwallowsTones, &["the tones of"], &["tones leave, or are declared unsupported"]),
    (Flaw::NamesBases, &["names the address behind it"], &["a call over a relay, by UDP"]),
    (
        Flaw::ForgetsNewCandidates,
        &["candidates of the new credentials"],
        &["ICE restart by the offerer", "ICE restart by the answerer"],
    ),
    (
        Flaw::TellsNoRemovals,
        &["is told that it is gone"],
        &["a picture that is taken away and comes again"],
    ),
    (Flaw::EndsTwice, &["is told 2 times"], &["sound both ways"]),
    (Flaw::Panics, &["it panics"], &["sound both ways"]),
    (Flaw::NeverAnswers, &["is never answered"], &["sound both ways"]),
    (
        Flaw::TrustsWhoAnswers,
        &["connects with somebody else"],
        &["who answers with another certificate than was said is not connected"],
    ),
    (
        Flaw::TrustsWhoOffers,
        &["connects with somebody else"],
        &["who offers with another certificate than was said is not connected"],
    ),
    (
        Flaw::TellsEarly,
        &["before set_local"],
        &["no candidate is told before its description is in force"],
    ),
    (Flaw::SeesGaps, &["not contiguous"], &["sound both ways"]),
    (Flaw::PanicsAtOnce, &["panics when it is made"], &["sound both ways"]),
    (
        Flaw::IgnoresServers,
        &["a relayed candidate is told"],
        &["servers that are set later are asked at the next restart"],
    ),
    (
        Flaw::CapturesNothing,
        &["gets Audio"],
        &["sound both ways", "sound and picture both ways", "levels of sound arrive"],
    ),
    (
        Flaw::TellsNothing,
        &["both are connected", "gathering is done"],
        &[
            "sound both ways",
            "the local description holds all candidates",
            "a device that ends is told",
            "the other side learns that a connection is closed",
        ],
    ),
    (
        Flaw::RenamesStreams,
        &["do not name its stream", "in its stream"],
        &[
            "stream ids are those of the plan, at both sides",
            "a screen in a line and a stream of its own",
        ],
    ),
    (Flaw::LeavesOutCandidates, &["is not in it"], &["the local description holds all candidates"]),
    (
        Flaw::AnswersBothWays,
        &["SendRecv]"],
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
        &["gets Video", "in a line of its own", "left by [SendRecv]"],
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
        &["gets Audio", "not found"],
        &[
            "a rollback leaves everything as it was",
            "a rollback of the first offer",
            "glare: both add a picture, ours gives way",
            "glare: both add a picture, theirs gives way",
        ],
    ),
    (Flaw::EndsWithTheSecond, &["not found"], &["an offer that changes nothing"]),
    (
        Flaw::IgnoresRestarts,
        &["no new credentials"],
        &["ICE restart by the offerer", "ICE restart by the answerer"],
    ),
    (Flaw::IgnoresMute, &["never: silence"], &["muted: silence in place of sound, no picture"]),
    (
        Flaw::IgnoresReplace,
        &["the new microphone is heard", "answered Ok", "the end of a device"],
        &[
            "another microphone on the same line",
            "another device that is refused: the old one goes on",
            "a device that ends is told",
        ],
    ),
    (
        Flaw::Deaf,
        &["a request for a key frame", "a level of None"],
        &["a key frame that is wanted reaches the camera", "levels of sound arrive"],
    ),
    (
        Flaw::TakesAllTones,
        &["it offers tones, and cannot"],
        &["tones leave, or are declared unsupported"],
    ),
    (Flaw::CountsNothing, &["in: None"], &["figures name path, codec and counts"]),
    (
        Flaw::NamesAllAddresses,
        &["without a relay", "begins at a host"],
        &[
            "relays alone: no address of ours is named",
            "a call over a relay, by UDP",
            "a call over a relay, by TCP",
            "a call over a relay, by TLS",
        ],
    ),
    (
        Flaw::IgnoresRelease,
        &["capture is never answered", "open after its release"],
        &[
            "a device that nobody grants is given up on release",
            "release closes the device before it answers",
        ],
    ),
    (
        Flaw::IgnoresClose,
        &["a closed connection answers", "the other side learns", "tasks, files and sinks"],
        &[
            "a connection that is closed while it opens",
            "the other side learns that a connection is closed",
            "100 calls leave no task, socket, device or memory",
        ],
    ),
    (
        Flaw::OtherFault,
        &["an unknown connection answers"],
        &["what is asked of nobody is not found"],
    ),
    (
        Flaw::Immortal,
        &["devices and sinks are gone"],
        &["an engine that is dropped leaves nothing open"],
    ),
    (
        Flaw::TakesEverything,
        &["Ok(())"],
        &[
            "hostile descriptions are refused, and the next is taken",
            "an answer that does not fit is refused, and the next offer works",
        ],
    ),
    (Flaw::RefusesCandidates, &["what is this"], &["hostile candidates are skipped"]),
    (Flaw::AsksNoSink, &["is not told"], HEARD),
    (Flaw::AsksNoSource, &["[] are without"], HEARD),
    (Flaw::KnowsNoSilence, &["None ago"], HEARD),
    (Flaw::RemembersPlayout, &["a playout of"], HEARD),
    (Flaw::Small, &["too many"], &["40 calls at once"]),
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
    let named: BTreeSet<_> = SEEN.iter().flat_map(|(_, _, cells)| cells.iter().copied()).collect();
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
        for (flaw, words, _) in SEEN.iter().filter(|(_, _, by)| by.contains(&cell.name())) {
            let flawed = Flawed::subject(*flaw, &roots);
            let is_seen = |verdict: &Verdict| match verdict {
                Verdict::Failed(Failure(why)) => words.iter().any(|word| why.contains(word)),
                _ => false,
            };
            let mut verdict = cell.play(&flawed, &right, &setting).await;
            if !is_seen(&verdict) {
                println!("{flaw:?} first: {}: {verdict}", cell.name());
                verdict = cell.play(&right, &flawed, &setting).await;
            }
            println!("{flaw:?}: {}: {verdict}", cell.name());
            assert!(is_seen(&verdict), "{flaw:?} is not seen by {cell:?}: {verdict}");
        }
    }
}
