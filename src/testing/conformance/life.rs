//! Beginning and end: what is cancelled, what is closed, what is refused, and what is left behind.

use std::{sync::atomic::Ordering, time::Duration};

use futures::{FutureExt, future::try_join_all};

use super::{
    Cell, Played, media,
    stage::{Failure, Outcome, Stage, Who, check, plan, track},
};
use crate::{
    id::{PeerId, TrackId},
    machine::io::{
        Candidate, Capture, Description, Fault, MediaKind, MediaSource, PeerNews, PeerState, Plan,
        SdpKind, Slot,
    },
};

pub(super) const CELLS: &[Cell] = &[
    Cell {
        name: "a device that nobody grants is given up on release",
        play: |it| media::withdrawn(it).boxed(),
    },
    Cell { name: "release closes the device before it answers", play: |it| release(it).boxed() },
    Cell { name: "a connection that is closed while it opens", play: |it| cancelled(it).boxed() },
    Cell { name: "what is asked of nobody is not found", play: |it| unknown(it).boxed() },
    Cell {
        name: "the other side learns that a connection is closed",
        play: |it| closed(it).boxed(),
    },
    Cell { name: "an engine that is dropped leaves nothing open", play: |it| dropped(it).boxed() },
    Cell {
        name: "hostile descriptions are refused, and the next is taken",
        play: |it| hostile(it).boxed(),
    },
    Cell {
        name: "who answers with another certificate than was said is not connected",
        play: |it| stranger(it, Who::B).boxed(),
    },
    Cell {
        name: "who offers with another certificate than was said is not connected",
        play: |it| stranger(it, Who::A).boxed(),
    },
    Cell { name: "hostile candidates are skipped", play: |it| candidates(it).boxed() },
    Cell { name: "40 calls at once", play: |it| forty(it).boxed() },
    Cell {
        name: "100 calls leave no task, socket, device or memory",
        play: |it| hundred(it).boxed(),
    },
];

/// The longest that a handshake may take which fails.
const HANDSHAKE: Duration = Duration::from_secs(40);

fn voice(stream: &str) -> Plan {
    plan(&[Slot::Audio], stream)
}

async fn release(stage: &mut Stage) -> Outcome<Played> {
    let side = &stage.a;
    let what = Capture::of(MediaSource::Microphone);
    let id = track(Slot::Audio);
    side.done("capture", side.engine.capture(side.session, id, what)).await?;
    check(side.log.open.load(Ordering::SeqCst) == 1, || "no device is open".to_owned())?;
    side.done("release", side.engine.release(id)).await?;
    let open = side.log.open.load(Ordering::SeqCst);
    check(open == 0, || "the device is open after its release".to_owned())?;
    side.done("release of nothing", side.engine.release(TrackId(99))).await?;
    Ok(Played::Passed)
}

async fn cancelled(stage: &mut Stage) -> Outcome<Played> {
    let (before, side) = (tasks(), &stage.a);
    for _ in 0..20 {
        let engine = side.engine.clone();
        let (config, events) = (side.config.clone(), side.events(1));
        let opening = tokio::spawn(async move { engine.open(PeerId(1), config, events).await });
        tokio::task::yield_now().await;
        side.close(1).await?;
        // It had been opened, or was cancelled; it is not there in the end.
        let opened = side.soon("open", opening).await?;
        let opened = opened.map_err(|_| Failure("open panics".to_owned()))?;
        let is_one = matches!(opened, Ok(()) | Err(Fault::Cancelled));
        check(is_one, || format!("an opening that is cancelled is answered {opened:?}"))?;
        side.close(1).await?;
        let answer = side.soon("offer", side.engine.offer(PeerId(1), voice("of-a"))).await?;
        check(answer == Err(Fault::NotFound), || {
            format!("a closed connection answers {answer:?}")
        })?;
    }
    stage.until("what was cancelled leaves no task", |_| tasks() <= before).await?;
    Ok(Played::Passed)
}

async fn unknown(stage: &mut Stage) -> Outcome<Played> {
    let (side, engine, nobody) = (&stage.a, &stage.a.engine, PeerId(77));
    let text = Description { kind: SdpKind::Offer, sdp: "v=0\r\n".into() };
    let answers = [
        side.soon("offer", engine.offer(nobody, voice("x"))).await?.map(drop),
        side.soon("answer", engine.answer(nobody, voice("x"))).await?.map(drop),
        side.soon("set_local", engine.set_local(nobody, text.clone())).await?,
        side.soon("set_remote", engine.set_remote(nobody, text)).await?,
        side.soon("local_description", engine.local_description(nobody)).await?.map(drop),
        side.soon("stats", engine.stats(nobody)).await?.map(drop),
        side.soon("rollback", engine.rollback(nobody)).await?,
        side.soon("restart_ice", engine.restart_ice(nobody)).await?,
    ];
    let right = answers.iter().all(|answer| *answer == Err(Fault::NotFound));
    check(right, || format!("an unknown connection answers {answers:?}"))?;
    stage.a.close(77).await?;
    Ok(Played::Passed)
}

async fn closed(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice("of-a"), &voice("of-b")).await?;
    stage.both_get(&[MediaKind::Audio]).await?;
    stage.a.close(1).await?;
    let told = |stage: &Stage| {
        matches!(stage.b.state(1), Some(PeerState::Disconnected | PeerState::Failed))
    };
    stage.until("the other side learns of it", told).await?;
    Ok(Played::Passed)
}

async fn dropped(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice("of-a"), &voice("of-b")).await?;
    stage.both_get(&[MediaKind::Audio]).await?;
    // Another engine takes its place: nobody holds the first one any more.
    let nothing = stage.b.engine.clone();
    drop(std::mem::replace(&mut stage.a.engine, nothing));
    let gone = |stage: &Stage| {
        let log = &stage.a.log;
        log.open.load(Ordering::SeqCst) == 0 && log.sinks.load(Ordering::SeqCst) == 0
    };
    stage.until("its devices and sinks are gone", gone).await?;
    Ok(Played::Passed)
}

/// Descriptions that no engine may take for good, made of one that is.
fn spoilt(offer: &str) -> Vec<String> {
    let without = |word: &str| -> String {
        let kept = offer.lines().filter(|line| !line.starts_with(word));
        kept.flat_map(|line| [line, "\r\n"]).collect()
    };
    vec![
        String::new(),
        "v=0".to_owned(),
        "nonsense".repeat(500),
        offer.chars().take(offer.len() / 2).collect::<String>().replace("a=fingerprint", "a=x"),
        without("m="),
        without("a=ice-ufrag"),
        without("a=ice-pwd"),
        without("a=fingerprint"),
        format!("{offer}{}", "a=x:y\r\n".repeat(100_000)),
        format!("{offer}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1_000)),
    ]
}

async fn hostile(stage: &mut Stage) -> Outcome<Played> {
    stage.a.open(1).await?;
    stage.b.open(1).await?;
    stage.a.capture(&voice("of-a")).await?;
    stage.b.capture(&voice("of-b")).await?;
    let offer = stage.offer(Who::A, &voice("of-a")).await?;
    for text in spoilt(offer.sdp.expose()) {
        let head: String = text.chars().take(40).collect();
        let bad = Description { kind: SdpKind::Offer, sdp: text.into() };
        let engine = &stage.b.engine;
        let side = &stage.b;
        let taken = side.soon("set_remote", engine.set_remote(PeerId(1), bad)).await?;
        let answered = match taken {
            Ok(()) => {
                let asked = engine.answer(PeerId(1), voice("of-b"));
                side.soon("answer", asked).await?.map(drop)
            }
            Err(fault) => Err(fault),
        };
        let panics = answered == Err(Fault::Panicked);
        check(answered.is_err() && !panics, || format!("{answered:?} for {head:?}…"))?;
    }
    stage.take(Who::B, &offer).await?;
    let answer = stage.answer(Who::B, &voice("of-b")).await?;
    stage.take(Who::A, &answer).await?;
    stage.until("both are connected", Stage::are_connected).await?;
    stage.both_get(&[MediaKind::Audio]).await?;
    Ok(Played::Passed)
}

/// The same description with another certificate's fingerprint: the last bit is turned.
fn with_other_fingerprint(text: &str) -> String {
    let turned = |line: &str| -> Option<String> {
        let digit = line.chars().next_back()?.to_digit(16)?;
        let digit = char::from_digit(digit ^ 1, 16)?.to_ascii_uppercase();
        Some(format!("{}{digit}", line.get(..line.len() - 1)?))
    };
    let changed = |line: &str| match line.starts_with("a=fingerprint:") {
        true => turned(line).unwrap_or_default(),
        false => line.to_owned(),
    };
    text.lines().flat_map(|line| [changed(line), "\r\n".to_owned()]).collect()
}

/// Somebody stands in the middle: the way of the media leads to whom the description of `whose` is
/// not from, and who takes it has to find out. That may take as long as a handshake that gets no
/// answer. What the other side does is its own affair: to it, nobody lied.
async fn stranger(stage: &mut Stage, whose: Who) -> Outcome<Played> {
    stage.setting.patience = stage.setting.patience.max(HANDSHAKE);
    stage.a.open(1).await?;
    stage.b.open(1).await?;
    stage.a.capture(&voice("of-a")).await?;
    stage.b.capture(&voice("of-b")).await?;
    let said = |description: Description, by: Who| match by == whose {
        true => {
            let sdp = with_other_fingerprint(description.sdp.expose()).into();
            Description { sdp, ..description }
        }
        false => description,
    };
    let offer = stage.offer(Who::A, &voice("of-a")).await?;
    stage.take(Who::B, &said(offer, Who::A)).await?;
    let answer = stage.answer(Who::B, &voice("of-b")).await?;
    stage.take(Who::A, &said(answer, Who::B)).await?;
    let deceived = whose.other();
    let settled = |stage: &Stage| {
        let state = stage.side(deceived).state(1);
        matches!(state, Some(PeerState::Connected | PeerState::Failed))
    };
    stage.until("who is lied to finds out", settled).await?;
    let side = stage.side(deceived);
    let connected = side.told(1).any(|news| *news == PeerNews::State(PeerState::Connected));
    check(!connected, || format!("{}: it connects with somebody else", side.name))?;
    check(side.log.count() == 0, || format!("{}: somebody else is heard", side.name))?;
    Ok(Played::Passed)
}

async fn candidates(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice("of-a"), &voice("of-b")).await?;
    let texts = [
        "",
        "nonsense",
        "candidate:",
        "candidate:1 1 udp 1 127.0.0.1 99999 typ host",
        "candidate:1 1 udp 99999999999999999999 127.0.0.1 9 typ host",
        "candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active",
        "candidate:1 1 udp 1 0a1b2c3d-0000-4000-8000-000000000000.local 9 typ host",
        "candidate:1 1 udp 1 ::ffff:300.1.1.1 9 typ host",
    ];
    let of = |text: &str, mid: Option<&str>| Candidate {
        candidate: text.to_owned().into(),
        sdp_mid: mid.map(str::to_owned),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    let many = texts.iter().flat_map(|text| [of(text, Some("0")), of(text, Some("77"))]);
    let side = &stage.a;
    side.done("candidates", side.engine.candidates(PeerId(1), many.collect())).await?;
    stage.both_get(&[MediaKind::Audio]).await?;
    Ok(Played::Passed)
}

async fn forty(stage: &mut Stage) -> Outcome<Played> {
    stage.a.capture(&voice("of-a")).await?;
    stage.b.capture(&voice("of-b")).await?;
    for who in Who::BOTH {
        // Candidates of all forty are to be trickled from the first one on.
        stage.side_mut(who).described();
    }
    let plans = [&voice("of-a"), &voice("of-b")];
    try_join_all((1..=40).map(|number| stage.call(number, plans))).await?;
    let connected = |stage: &Stage| (1..=40).all(|number| stage.are_both_connected(number));
    stage.until("all forty are connected", connected).await?;
    let all_heard =
        |stage: &Stage| Who::BOTH.iter().all(|who| stage.side(*who).log.connections() == 40);
    stage.until("all forty are heard by both", all_heard).await?;
    for side in [&stage.a, &stage.b] {
        try_join_all((1..=40).map(|number| side.close(number))).await?;
    }
    Ok(Played::Passed)
}

/// The tasks of the runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// The files and kilobytes that the process holds, where the system tells: Linux does.
fn held() -> Option<(usize, usize)> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: usize = pages.split(' ').nth(1)?.parse().ok()?;
    Some((files, resident * 4))
}

/// Why a cell is skipped of which the tasks, devices and sinks alone were right.
const UNTOLD: &str = "tasks and devices are gone; files and memory are told by Linux alone";

/// How much more memory may be held after a hundred calls: less than a tenth of a megabyte each.
const MEMORY: usize = 10_000;

async fn hundred(stage: &mut Stage) -> Outcome<Played> {
    for who in Who::BOTH {
        stage.side_mut(who).described();
    }
    let mut before = (0, None);
    for number in 1..=120 {
        // The first ones start what stays.
        if number == 21 {
            before = (tasks(), held());
        }
        stage.a.capture(&voice("of-a")).await?;
        stage.b.capture(&voice("of-b")).await?;
        stage.call(number, [&voice("of-a"), &voice("of-b")]).await?;
        let connected = move |stage: &Stage| stage.are_both_connected(number);
        stage.until("a call of a hundred is connected", connected).await?;
        for side in [&stage.a, &stage.b] {
            side.close(number).await?;
            side.done("close again", side.engine.close(PeerId(number))).await?;
            side.done("release", side.engine.release(track(Slot::Audio))).await?;
        }
    }
    let log = |stage: &Stage, who| stage.side(who).log.sinks.load(Ordering::SeqCst);
    let files = |held: Option<(usize, usize)>| held.map(|(files, _)| files);
    let gone = |stage: &Stage| {
        let sinks: usize = Who::BOTH.into_iter().map(|who| log(stage, who)).sum();
        tasks() <= before.0 && files(held()) <= files(before.1) && sinks == 0
    };
    let ended = stage.until("tasks, files and sinks are gone", gone).await;
    let after = (tasks(), held());
    ended.map_err(|Failure(why)| Failure(format!("{why}: {before:?} before, {after:?} after")))?;
    let (Some((_, before)), Some((_, after))) = (before.1, after.1) else {
        return Ok(Played::Skipped(UNTOLD));
    };
    let more = after.saturating_sub(before);
    check(more < MEMORY, || format!("{more} kB more after a hundred calls"))?;
    Ok(Played::Passed)
}
