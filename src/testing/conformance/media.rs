//! What is sent and heard: mute, other devices, key frames, levels, tones, figures.

use std::{sync::atomic::Ordering, time::Duration};

use futures::FutureExt;

use super::{
    Cell, Played,
    stage::{Failure, Outcome, Side, Stage, Who, check, input, plan, track},
    studio::{DELAY, DENIED, Heard, LEVEL, NEVER, SHORT, SILENCE},
};
use crate::{
    host::SourceControl,
    id::PeerId,
    machine::io::{Fault, MediaKind, MediaSource, PeerNews, PeerStats, Plan, Slot, Tones},
    sdp,
};

use MediaKind::{Audio as Sound, Video as Picture};

pub(super) const CELLS: &[Cell] = &[
    Cell { name: "muted: silence in place of sound, no picture", play: |it| mute(it).boxed() },
    Cell { name: "another microphone on the same line", play: |it| replace(it).boxed() },
    Cell {
        name: "another device that is refused: the old one goes on",
        play: |it| refused(it).boxed(),
    },
    Cell { name: "a device that ends is told", play: |it| ends(it).boxed() },
    Cell {
        name: "a key frame that is wanted reaches the camera",
        play: |it| key_frame(it).boxed(),
    },
    Cell { name: "levels of sound arrive", play: |it| levels(it).boxed() },
    Cell { name: "tones leave, or are declared unsupported", play: |it| tones(it).boxed() },
    Cell { name: "figures name path, codec and counts", play: |it| figures(it).boxed() },
    Cell {
        name: "figures tell how sound is heard, and what has no device",
        play: |it| playout(it).boxed(),
    },
];

fn video(who: Who) -> Plan {
    plan(&[Slot::Audio, Slot::Video], if who == Who::A { "of-a" } else { "of-b" })
}

async fn connect(stage: &mut Stage) -> Outcome {
    stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound, Picture]).await
}

async fn enable(stage: &Stage, slot: Slot, on: bool) -> Outcome {
    let side = &stage.a;
    side.done("enable", side.engine.enable(track(slot), on)).await
}

async fn mute(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    enable(stage, Slot::Audio, false).await?;
    enable(stage, Slot::Video, false).await?;
    let is_silent =
        |stage: &Stage| stage.b.heard_last(Sound).is_some_and(|one| one.frame.data == SILENCE);
    stage.until("silence", is_silent).await?;
    stage.gets_none(Who::B, Picture, Who::B).await?;
    let from = stage.b.log.count();
    stage.frames(Who::B, 50).await?;
    let after = stage.b.heard(Sound, from);
    let silent = after.iter().all(|one| one.frame.data == SILENCE);
    check(silent, || "a muted microphone is heard".to_owned())?;
    let steady = after.windows(2).all(|two| {
        let steps = two[1].frame.timestamp.wrapping_sub(two[0].frame.timestamp);
        steps > 0 && steps % 960 == 0
    });
    check(steady, || "the time of a muted microphone does not go on".to_owned())?;
    enable(stage, Slot::Audio, true).await?;
    enable(stage, Slot::Video, true).await?;
    let is_heard =
        |stage: &Stage| stage.b.heard_last(Sound).is_some_and(|one| one.frame.data != SILENCE);
    stage.until("sound again", is_heard).await?;
    stage.gets(Who::B, &[Picture]).await?;
    Ok(Played::Passed)
}

async fn replace(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    let lines = |stage: &Stage| {
        let of = |one: &Heard| one.track.mid.clone();
        let mids: std::collections::BTreeSet<_> = stage.b.heard(Sound, 0).iter().map(of).collect();
        mids
    };
    let before = lines(stage);
    let side = &stage.a;
    let what = input(MediaSource::Microphone, "another");
    let replaced = side.engine.replace(side.session, track(Slot::Audio), what);
    side.done("replace", replaced).await?;
    let newest = side.log.devices();
    let is_new = move |stage: &Stage| {
        let made = stage.b.heard_last(Sound).and_then(|one| one.made());
        made.is_some_and(|(device, _)| device == newest)
    };
    stage.until("the new microphone is heard", is_new).await?;
    let two = |stage: &Stage| stage.a.log.open.load(Ordering::SeqCst) == 2;
    stage.until("the old microphone is closed", two).await?;
    check(lines(stage) == before, || "it is heard on another line".to_owned())?;
    let heard = stage.b.heard(Sound, 0);
    let forward = heard.windows(2).all(|two| {
        let ahead = two[1].frame.timestamp.wrapping_sub(two[0].frame.timestamp);
        // Five seconds are more than any change of devices takes.
        ahead > 0 && ahead < 5 * 48_000
    });
    check(forward, || "the time jumps between the devices".to_owned())?;
    Ok(Played::Passed)
}

async fn refused(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    let side = &stage.a;
    let what = input(MediaSource::Microphone, DENIED);
    let replaced = side.engine.replace(side.session, track(Slot::Audio), what);
    let answer = side.soon("replace", replaced).await?;
    check(answer == Err(Fault::Denied), || format!("it is answered {answer:?}"))?;
    stage.gets(Who::B, &[Sound]).await?;
    let one = stage.a.log.open.load(Ordering::SeqCst);
    check(one == 2, || format!("{one} devices are open, not the microphone and the camera"))?;
    Ok(Played::Passed)
}

async fn ends(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    let side = &stage.a;
    let what = input(MediaSource::Microphone, SHORT);
    let replaced = side.engine.replace(side.session, track(Slot::Audio), what);
    side.done("replace", replaced).await?;
    let told = |stage: &Stage| {
        stage.a.news.contains(&(PeerId(1), PeerNews::TrackEnded(track(Slot::Audio))))
    };
    stage.until("the end of a device is told", told).await?;
    Ok(Played::Passed)
}

async fn key_frame(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    for who in Who::BOTH {
        // Some are asked for when a picture begins.
        stage.frames(who, 20).await?;
        let asks = |stage: &Stage| {
            let controls = stage.side(who).log.controls();
            controls.iter().filter(|one| **one == SourceControl::KeyFrame).count()
        };
        let before = asks(stage);
        stage.side(who.other()).log.wish.store(true, Ordering::SeqCst);
        let asked = move |stage: &Stage| asks(stage) > before;
        stage.until("a request for a key frame", asked).await?;
    }
    Ok(Played::Passed)
}

async fn levels(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    for who in Who::BOTH {
        stage.frames(who, 20).await?;
        let side = stage.side(who);
        let heard = side.heard(Sound, 0);
        let last = heard.last().and_then(|one| one.frame.audio_level);
        check(last == Some(LEVEL), || format!("{}: a level of {last:?}", side.name))?;
    }
    Ok(Played::Passed)
}

/// Packets of three tones, at the least: each tone's end is said three times (RFC 4733 §2.5.1.4).
const TONES: u64 = 9;

/// Packets in the stream of the sound that are no sound, since the first `from` frames: no sink gets
/// tones, but they are counted with the sound (RFC 4733 §2.1).
fn beside_sound(side: &Side, from: usize) -> u64 {
    let numbers: Vec<_> =
        side.heard(Sound, from).iter().filter_map(|one| one.frame.sequence).collect();
    numbers.windows(2).map(|two| two[1].saturating_sub(two[0] + 1)).sum()
}

async fn tones(stage: &mut Stage) -> Outcome<Played> {
    let (offer, answer) = stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound]).await?;
    let both = stage.tones.0 && stage.tones.1;
    for (who, can, text) in [(Who::A, stage.tones.0, &offer), (Who::B, stage.tones.1, &answer)] {
        let side = stage.side(who);
        let offers = sdp::has_telephone_events(text);
        check(can || !offers, || format!("{}: it offers tones, and cannot", side.name))?;
        let tones = Tones::parse("12#").map_err(|why| Failure(why.to_string()))?;
        let from = stage.side(who.other()).log.count();
        let answer = side.soon("dtmf", side.engine.dtmf(track(Slot::Audio), tones)).await?;
        let right = match (can, both) {
            (false, _) => answer == Err(Fault::Unsupported),
            (true, true) => answer == Ok(()),
            // The other side takes none.
            (true, false) => answer.is_err(),
        };
        check(right, || format!("{}: tones are answered {answer:?}", side.name))?;
        if both {
            let what = format!("the tones of {} leave", side.name);
            let left = |stage: &Stage| beside_sound(stage.side(who.other()), from) >= TONES;
            stage.until(&what, left).await?;
        }
    }
    stage.both_get(&[Sound]).await?;
    Ok(if both { Played::Passed } else { Played::Declared })
}

/// Looks at figures, in seconds of sound: engines may count once in a while.
const LOOKS: usize = 10;

async fn figures(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    for who in Who::BOTH {
        for look in 1..=LOOKS {
            stage.frames(who, 25).await?;
            let side = stage.side(who);
            let stats = side.done("stats", side.engine.stats(PeerId(1))).await?;
            match counts(&side.name, &stats) {
                Err(why) if look == LOOKS => return Err(why),
                Err(_) => {}
                Ok(()) => break,
            }
        }
    }
    Ok(Played::Passed)
}

/// A path, and what goes by it both ways.
fn counts(name: &str, stats: &PeerStats) -> Outcome {
    let pair = stats.pair.as_ref().ok_or_else(|| Failure(format!("{name}: no path")))?;
    let kinds = ["host", "srflx", "prflx", "relay"];
    let named = kinds.contains(&pair.local.kind) && kinds.contains(&pair.remote.kind);
    check(named, || format!("{name}: a path of {pair:?}"))?;
    for (streams, way) in [(&stats.inbound, "in"), (&stats.outbound, "out")] {
        for (kind, codec) in [(Sound, "audio/opus"), (Picture, "video/vp8")] {
            let of_kind = streams.iter().find(|one| one.kind == kind);
            let right = of_kind.is_some_and(|one| {
                one.codec.eq_ignore_ascii_case(codec) && one.packets > 20 && one.bytes > 1_000
            });
            check(right, || format!("{name}: {way}: {of_kind:?}"))?;
        }
    }
    Ok(())
}

/// What a sink says of its sound is in the figures of that sound, as new as they are; and how long ago
/// the last packet came.
async fn playout(stage: &mut Stage) -> Outcome<Played> {
    connect(stage).await?;
    for who in Who::BOTH {
        let mut last = 0;
        for _ in 0..2 {
            stage.frames(who, 25).await?;
            let side = stage.side(who);
            let most = side.log.played();
            let stats = side.done("stats", side.engine.stats(PeerId(1))).await?;
            last = heard(&side.name, &stats, (last, most))?;
        }
    }
    unplugged(stage).await
}

/// A microphone that is unplugged is named while it is.
async fn unplugged(stage: &mut Stage) -> Outcome<Played> {
    for (is_gone, expected) in [(false, vec![]), (true, vec![track(Slot::Audio)]), (false, vec![])]
    {
        for who in Who::BOTH {
            stage.side(who).log.unplugged.store(is_gone, Ordering::SeqCst);
        }
        for who in Who::BOTH {
            stage.frames(who, 25).await?;
            let side = stage.side(who);
            let stats = side.done("stats", side.engine.stats(PeerId(1))).await?;
            let named = stats.without_device;
            let right = named == expected;
            check(right, || format!("{}: {named:?} are without a device", side.name))?;
        }
    }
    Ok(Played::Passed)
}

/// How much was played, which is to be more than at first and at least what the sink had said.
fn heard(name: &str, stats: &PeerStats, (before, said): (u64, u64)) -> Outcome<u64> {
    let of = |kind| stats.inbound.iter().find(move |one| one.kind == kind);
    let sound = of(Sound).ok_or_else(|| Failure(format!("{name}: no sound in the figures")))?;
    let Some(playout) = sound.playout else {
        return Err(Failure(format!("{name}: what the sink says of its playout is not told")));
    };
    let right = playout.played > before && playout.played >= said && playout.delay == DELAY;
    check(right, || format!("{name}: a playout of {playout:?}, of {said} samples at the least"))?;
    let of_picture = of(Picture).and_then(|one| one.playout);
    check(of_picture.is_none(), || format!("{name}: a picture has a playout: {of_picture:?}"))?;
    // The next frame comes 20 ms after the one before, on a machine that is at work a little later.
    let soon = sound.silence.is_some_and(|silence| silence < Duration::from_secs(1));
    check(soon, || format!("{name}: the last packet came {:?} ago", sound.silence))?;
    Ok(playout.played)
}

/// A device that nobody grants is asked for no more when its track is released.
pub(super) async fn withdrawn(stage: &mut Stage) -> Outcome<Played> {
    let engine = stage.a.engine.clone();
    let (session, id) = (stage.a.session, track(Slot::Audio));
    let what = input(MediaSource::Microphone, NEVER);
    let asking = tokio::spawn(async move { engine.capture(session, id, what).await });
    let count = |stage: &Stage| stage.a.log.asked.load(Ordering::SeqCst);
    stage.until("somebody is asked for a device", |stage| count(stage) == 1).await?;
    stage.a.done("release", stage.a.engine.release(id)).await?;
    let answer =
        stage.a.soon("capture", asking).await?.map_err(|_| Failure("capture panics".to_owned()))?;
    check(answer == Err(Fault::Cancelled), || format!("capture is answered {answer:?}"))?;
    check(count(stage) == 0, || "somebody is asked still".to_owned())?;
    Ok(Played::Passed)
}
