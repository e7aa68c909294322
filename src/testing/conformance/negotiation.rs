//! What is agreed: offers and answers by plan, directions, rollback, glare, restarts, streams.

use futures::FutureExt;

use super::{
    Cell, Played,
    stage::{Outcome, Stage, Who, check, directed, plan},
    studio::{Heard, picture_bytes},
};
use crate::{
    id::PeerId,
    machine::io::{
        Description, Direction, Fault, MediaKind, PeerNews, PeerState, Plan, SdpKind, Slot,
    },
    sdp::{self, media_lines},
};

use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
use MediaKind::{Audio as Sound, Video as Picture};

pub(super) const CELLS: &[Cell] = &[
    Cell { name: "sound both ways", play: |it| sound(it).boxed() },
    Cell { name: "sound and picture both ways", play: |it| picture(it).boxed() },
    Cell {
        name: "stream ids are those of the plan, at both sides",
        play: |it| streams(it).boxed(),
    },
    Cell { name: "the local description holds all candidates", play: |it| whole(it).boxed() },
    Cell { name: "a voice answer to a video offer", play: |it| voice_answer(it).boxed() },
    Cell { name: "an answer that receives a picture and sends none", play: |it| watch(it).boxed() },
    Cell { name: "a picture that the offerer adds", play: |it| add(it, Who::A).boxed() },
    Cell { name: "a picture that the answerer adds", play: |it| add(it, Who::B).boxed() },
    Cell {
        name: "a picture that one adds, and then the other in the same line",
        play: |it| follow(it).boxed(),
    },
    Cell { name: "an offer that receives a picture and sends none", play: |it| wish(it).boxed() },
    Cell { name: "a picture that is taken away and comes again", play: |it| take_away(it).boxed() },
    Cell { name: "a screen in a line and a stream of its own", play: |it| screen(it).boxed() },
    Cell { name: "hold by the offerer, and its end", play: |it| hold(it, Who::A).boxed() },
    Cell { name: "hold by the answerer, and its end", play: |it| hold(it, Who::B).boxed() },
    Cell { name: "hold both ways (inactive), and its end", play: |it| silence(it).boxed() },
    Cell { name: "an offer that changes nothing", play: |it| nothing_new(it).boxed() },
    Cell { name: "a rollback leaves everything as it was", play: |it| rollback(it).boxed() },
    Cell { name: "a rollback of the first offer", play: |it| first_rollback(it).boxed() },
    Cell {
        name: "glare: both add a picture, ours gives way",
        play: |it| glare(it, Who::A).boxed(),
    },
    Cell {
        name: "glare: both add a picture, theirs gives way",
        play: |it| glare(it, Who::B).boxed(),
    },
    Cell { name: "an offer takes the place of one that waits", play: |it| replaced(it).boxed() },
    Cell {
        name: "an answer that does not fit is refused, and the next offer works",
        play: |it| refused(it).boxed(),
    },
    Cell {
        name: "no candidate is told before its description is in force",
        play: |it| silent_at_first(it).boxed(),
    },
    Cell { name: "ICE restart by the offerer", play: |it| restart(it, Who::A).boxed() },
    Cell { name: "ICE restart by the answerer", play: |it| restart(it, Who::B).boxed() },
];

fn voice(who: Who) -> Plan {
    plan(&[Slot::Audio], stream(who))
}

fn video(who: Who) -> Plan {
    plan(&[Slot::Audio, Slot::Video], stream(who))
}

const fn stream(who: Who) -> &'static str {
    match who {
        Who::A => "stream-of-a",
        Who::B => "stream-of-b",
    }
}

async fn sound(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    stage.both_get(&[Sound]).await?;
    for who in Who::BOTH {
        stage.frames(who, 50).await?;
        let side = stage.side(who);
        let heard = side.heard(Sound, 0);
        let in_order = heard.windows(2).all(|two| {
            let steps = two[1].frame.timestamp.wrapping_sub(two[0].frame.timestamp);
            two[1].frame.sequence > two[0].frame.sequence && steps > 0 && steps % 960 == 0
        });
        check(in_order, || format!("{}: frames out of order, or without numbers", side.name))?;
        let all_marked = heard.iter().all(|one| one.made().is_some_and(|(device, _)| device == 1));
        check(all_marked, || format!("{}: frames are changed on their way", side.name))?;
        // What was lost on the way has a number, too.
        let follow = heard.windows(2).all(|two| {
            let next = two[0].frame.sequence.map(|number| number + 1);
            two[1].frame.contiguous || two[1].frame.sequence != next
        });
        check(follow, || format!("{}: frames in a row are told as not contiguous", side.name))?;
        let ends = side.told(1).filter(|news| **news == PeerNews::GatheringDone).count();
        check(ends == 1, || format!("{}: the end of gathering is told {ends} times", side.name))?;
    }
    Ok(Played::Passed)
}

async fn picture(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    for who in Who::BOTH {
        let side = stage.side(who);
        let pictures = side.heard(Picture, 0);
        let is_whole = |one: &Heard| {
            let bytes = one.made().map(|(_, number)| picture_bytes(number));
            bytes == Some(one.frame.data.len()) && one.frame.key_frame
        };
        let whole = pictures.iter().all(is_whole);
        check(whole, || format!("{}: pictures are not whole, or no key frames", side.name))?;
        // Who never says so may not know it: browsers tell no numbers of the packets of a picture.
        let knows = pictures.iter().any(|one| one.frame.contiguous);
        let follow = pictures.windows(2).all(|two| {
            let numbers = [&two[0], &two[1]].map(|one| one.made().map(|(_, number)| number));
            two[1].frame.contiguous || numbers[1] != numbers[0].map(|number| number + 1)
        });
        check(follow || !knows, || {
            format!("{}: pictures in a row are told as not contiguous", side.name)
        })?;
    }
    Ok(Played::Passed)
}

async fn streams(stage: &mut Stage) -> Outcome<Played> {
    let (offer, answer) = stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    for (text, who) in [(&offer, Who::A), (&answer, Who::B)] {
        let lines = media_lines(text);
        let named = lines
            .iter()
            .all(|line| line.stream.as_ref().is_some_and(|named| named.as_str() == stream(who)));
        check(named && lines.len() == 2, || format!("lines of {who:?} do not name its stream"))?;
    }
    for who in Who::BOTH {
        let two = |stage: &Stage| added(stage, who).len() == 2;
        stage.until("both tracks are told", two).await?;
        let side = stage.side(who);
        let all = added(stage, who);
        let right = all.iter().all(|named| named.as_deref() == Some(stream(who.other())));
        check(right, || format!("{}: tracks are told of with streams {all:?}", side.name))?;
    }
    Ok(Played::Passed)
}

/// The streams of the remote tracks that somebody was told of.
fn added(stage: &Stage, who: Who) -> Vec<Option<String>> {
    let news = stage.side(who).news.iter();
    let streams = news.filter_map(|(_, news)| match news {
        PeerNews::TrackAdded { stream, .. } => Some(stream.as_ref().map(ToString::to_string)),
        _ => None,
    });
    streams.collect()
}

/// A client that trickles nothing reads all candidates in the description.
async fn whole(stage: &mut Stage) -> Outcome<Played> {
    stage.a.open(1).await?;
    stage.offer(Who::A, &voice(Who::A)).await?;
    let done = |stage: &Stage| stage.a.news.contains(&(PeerId(1), PeerNews::GatheringDone));
    stage.until("gathering is done", done).await?;
    let side = &stage.a;
    let local = side.done("local_description", side.engine.local_description(PeerId(1))).await?;
    let trickled = side.news.iter().filter_map(|(_, news)| match news {
        PeerNews::Candidate(candidate) => Some(candidate.candidate.expose()),
        _ => None,
    });
    // They may be told with their generation, and stand in the description without.
    let bare = |text: &str| text.split(" ufrag ").next().unwrap_or_default().to_owned();
    let text = local.sdp.expose();
    let mut missing = trickled.filter(|one| !one.is_empty() && !text.contains(&bare(one)));
    check(missing.next().is_none(), || "a candidate that was told is not in it".to_owned())?;
    check(sdp::candidates(text) > 0, || "it has no candidate".to_owned())?;
    Ok(Played::Passed)
}

async fn voice_answer(stage: &mut Stage) -> Outcome<Played> {
    let (_, answer) = stage.connect(Who::A, &video(Who::A), &voice(Who::B)).await?;
    let directions: Vec<_> = media_lines(&answer).iter().map(|line| line.direction).collect();
    check(directions == [SendRecv, Inactive], || format!("it answers {directions:?}"))?;
    stage.both_get(&[Sound]).await?;
    stage.gets_none(Who::B, Picture, Who::B).await?;
    Ok(Played::Passed)
}

async fn watch(stage: &mut Stage) -> Outcome<Played> {
    let theirs = directed(&[(Slot::Audio, SendRecv), (Slot::Video, RecvOnly)], stream(Who::B));
    let (_, answer) = stage.connect(Who::A, &video(Who::A), &theirs).await?;
    let directions: Vec<_> = media_lines(&answer).iter().map(|line| line.direction).collect();
    check(directions == [SendRecv, RecvOnly], || format!("it answers {directions:?}"))?;
    stage.gets(Who::B, &[Sound, Picture]).await?;
    stage.gets_none(Who::A, Picture, Who::A).await?;
    Ok(Played::Passed)
}

async fn add(stage: &mut Stage, who: Who) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    stage.both_get(&[Sound]).await?;
    for who in Who::BOTH {
        stage.side(who).capture(&plan(&[Slot::Video], stream(who))).await?;
    }
    stage.negotiate(who, &video(who), &video(who.other())).await?;
    stage.both_get(&[Sound, Picture]).await?;
    // And the other one offers afterwards: roles of the transport stay what they are.
    stage.negotiate(who.other(), &video(who.other()), &video(who)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

/// They watch at first, and are seen themselves afterwards.
async fn follow(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    for who in Who::BOTH {
        stage.side(who).capture(&plan(&[Slot::Video], stream(who))).await?;
    }
    let watching = directed(&[(Slot::Audio, SendRecv), (Slot::Video, RecvOnly)], stream(Who::B));
    stage.negotiate(Who::A, &video(Who::A), &watching).await?;
    stage.gets(Who::B, &[Sound, Picture]).await?;
    let (offer, _) = stage.negotiate(Who::B, &video(Who::B), &video(Who::A)).await?;
    let lines = media_lines(&offer).len();
    check(lines == 2, || format!("it takes {lines} lines"))?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

async fn wish(stage: &mut Stage) -> Outcome<Played> {
    let ours = directed(&[(Slot::Audio, SendRecv), (Slot::Video, RecvOnly)], stream(Who::A));
    let (offer, answer) = stage.connect(Who::A, &ours, &video(Who::B)).await?;
    for (text, wanted) in [(&offer, [SendRecv, RecvOnly]), (&answer, [SendRecv, SendOnly])] {
        let directions: Vec<_> = media_lines(text).iter().map(|line| line.direction).collect();
        check(directions == wanted, || format!("a description of {directions:?}"))?;
    }
    stage.gets(Who::A, &[Sound, Picture]).await?;
    stage.gets_none(Who::B, Picture, Who::B).await?;
    Ok(Played::Passed)
}

async fn take_away(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    // The other side would go on with it.
    let ours = directed(&[(Slot::Audio, SendRecv), (Slot::Video, Inactive)], stream(Who::A));
    stage.negotiate(Who::A, &ours, &video(Who::B)).await?;
    stage.gets_none(Who::B, Picture, Who::B).await?;
    let removed = |stage: &Stage| {
        let picture = stage.b.told(1).find_map(|news| match news {
            PeerNews::TrackAdded { mid, kind: Picture, .. } => Some(mid.clone()),
            _ => None,
        });
        picture.is_some_and(|mid| {
            stage.b.told(1).any(|news| *news == PeerNews::TrackRemoved { mid: mid.clone() })
        })
    };
    stage.until("the other side is told that it is gone", removed).await?;
    stage.negotiate(Who::B, &video(Who::B), &video(Who::A)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

async fn screen(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    let shown = Plan { lines: vec![super::stage::line(Slot::Screen, SendOnly, "screen-of-a")] };
    stage.a.capture(&shown).await?;
    let mut ours = video(Who::A);
    ours.lines.extend(shown.lines);
    let mut theirs = video(Who::B);
    theirs.lines.push(super::stage::line(Slot::Screen, RecvOnly, "none"));
    let (offer, _) = stage.negotiate(Who::A, &ours, &theirs).await?;
    check(media_lines(&offer).len() == 3, || "it is not in a line of its own".to_owned())?;
    let of_screen = |stage: &Stage| {
        stage.b.log.look(|heard| {
            let stream = |one: &Heard| one.track.stream.clone();
            heard.iter().filter_map(stream).any(|stream| stream.as_str() == "screen-of-a")
        })
    };
    stage.until("the screen is seen, in its stream", of_screen).await?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

async fn hold(stage: &mut Stage, who: Who) -> Outcome<Played> {
    stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    let held = directed(&[(Slot::Audio, SendOnly), (Slot::Video, SendOnly)], stream(who));
    let (_, answer) = stage.negotiate(who, &held, &video(who.other())).await?;
    let directions: Vec<_> = media_lines(&answer).iter().map(|line| line.direction).collect();
    check(directions == [RecvOnly, RecvOnly], || format!("a hold is answered {directions:?}"))?;
    stage.gets_none(who, Sound, who.other()).await?;
    stage.negotiate(who, &video(who), &video(who.other())).await?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

/// For so many frames of sound by the second call.
async fn beside(stage: &mut Stage, frames: usize) -> Outcome {
    for who in Who::BOTH {
        stage.hears(who, frames, |one| one.track.peer == PeerId(2)).await?;
    }
    Ok(())
}

/// Nothing is heard by which time could be told: a second call of the same microphones tells it.
async fn silence(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    stage.both_get(&[Sound]).await?;
    stage.call(2, [&voice(Who::A), &voice(Who::B)]).await?;
    beside(stage, 1).await?;
    let held = |who| directed(&[(Slot::Audio, Inactive)], stream(who));
    stage.negotiate(Who::A, &held(Who::A), &voice(Who::B)).await?;
    let (_, answer) = stage.negotiate(Who::B, &voice(Who::B), &held(Who::A)).await?;
    let directions: Vec<_> = media_lines(&answer).iter().map(|line| line.direction).collect();
    check(directions == [Inactive], || format!("a hold is left by {directions:?}"))?;
    // What is on its way may still come.
    beside(stage, 10).await?;
    let from = Who::BOTH.map(|who| stage.side(who).log.count());
    beside(stage, 40).await?;
    for (who, from) in Who::BOTH.into_iter().zip(from) {
        let side = stage.side(who);
        let late = side.count(from, |one| one.track.peer == PeerId(1));
        check(late == 0, || format!("{}: {late} frames during a hold", side.name))?;
    }
    stage.a.close(2).await?;
    stage.b.close(2).await?;
    stage.negotiate(Who::B, &voice(Who::B), &voice(Who::A)).await?;
    stage.both_get(&[Sound]).await?;
    Ok(Played::Passed)
}

async fn nothing_new(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    for who in [Who::A, Who::B, Who::A] {
        stage.negotiate(who, &video(who), &video(who.other())).await?;
        stage.both_get(&[Sound, Picture]).await?;
    }
    check(stage.are_connected(), || "the connection changes its state".to_owned())?;
    Ok(Played::Passed)
}

async fn rollback(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    let held = directed(&[(Slot::Audio, Inactive), (Slot::Video, SendRecv)], stream(Who::A));
    stage.offer(Who::A, &held).await?;
    roll_back(stage, Who::A).await?;
    // Nobody has agreed to anything else.
    stage.both_get(&[Sound]).await?;
    // What is sent is what the last plan said: as before.
    stage.negotiate(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    stage.both_get(&[Sound]).await?;
    stage.negotiate(Who::B, &voice(Who::B), &voice(Who::A)).await?;
    stage.both_get(&[Sound]).await?;
    Ok(Played::Passed)
}

async fn roll_back(stage: &Stage, who: Who) -> Outcome {
    let side = stage.side(who);
    side.done("rollback", side.engine.rollback(PeerId(1))).await
}

async fn first_rollback(stage: &mut Stage) -> Outcome<Played> {
    stage.a.open(1).await?;
    stage.b.open(1).await?;
    stage.a.capture(&voice(Who::A)).await?;
    stage.b.capture(&voice(Who::B)).await?;
    stage.offer(Who::A, &voice(Who::A)).await?;
    roll_back(stage, Who::A).await?;
    stage.negotiate(Who::B, &voice(Who::B), &voice(Who::A)).await?;
    stage.until("both are connected", Stage::are_connected).await?;
    stage.both_get(&[Sound]).await?;
    Ok(Played::Passed)
}

/// Both offer a picture at once; `polite` takes its own back, and offers nothing more: the answer
/// already has its picture.
async fn glare(stage: &mut Stage, polite: Who) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    for who in Who::BOTH {
        stage.side(who).capture(&plan(&[Slot::Video], stream(who))).await?;
    }
    let rude = polite.other();
    stage.offer(polite, &video(polite)).await?;
    let offer: Description = stage.offer(rude, &video(rude)).await?;
    roll_back(stage, polite).await?;
    stage.take(polite, &offer).await?;
    let answer = stage.answer(polite, &video(polite)).await?;
    stage.take(rude, &answer).await?;
    stage.both_get(&[Sound, Picture]).await?;
    stage.negotiate(polite, &video(polite), &video(rude)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

/// The other side thinks better of what it wants before we have answered.
async fn replaced(stage: &mut Stage) -> Outcome<Played> {
    stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    stage.a.capture(&plan(&[Slot::Video], stream(Who::A))).await?;
    let first = stage.offer(Who::A, &video(Who::A)).await?;
    stage.take(Who::B, &first).await?;
    roll_back(stage, Who::A).await?;
    let second = stage.offer(Who::A, &voice(Who::A)).await?;
    stage.take(Who::B, &second).await?;
    let answer = stage.answer(Who::B, &voice(Who::B)).await?;
    let lines = [&second, &answer].map(|text| media_lines(text.sdp.expose()).len());
    check(lines[0] == lines[1], || {
        format!("an offer of {} lines is answered {}", lines[0], lines[1])
    })?;
    stage.take(Who::A, &answer).await?;
    stage.both_get(&[Sound]).await?;
    Ok(Played::Passed)
}

/// An answer to a former offer comes, as answers do not say to which offer they are.
async fn refused(stage: &mut Stage) -> Outcome<Played> {
    let (_, former) = stage.connect(Who::A, &voice(Who::A), &voice(Who::B)).await?;
    for who in Who::BOTH {
        stage.side(who).capture(&plan(&[Slot::Video], stream(who))).await?;
    }
    stage.offer(Who::A, &video(Who::A)).await?;
    let former = Description { kind: SdpKind::Answer, sdp: former.into() };
    let taken = stage.a.engine.set_remote(PeerId(1), former);
    let taken = stage.a.soon("set_remote", taken).await?;
    check(matches!(taken, Err(Fault::Failed(_))), || format!("it is answered {taken:?}"))?;
    roll_back(stage, Who::A).await?;
    stage.both_get(&[Sound]).await?;
    stage.negotiate(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    Ok(Played::Passed)
}

/// Whether somebody has told candidates of these credentials.
fn tells(stage: &Stage, who: Who, ufrag: &Option<String>) -> bool {
    stage.side(who).told(1).any(|news| match news {
        PeerNews::Candidate(candidate) => candidate.username_fragment == *ufrag,
        _ => false,
    })
}

async fn restart(stage: &mut Stage, who: Who) -> Outcome<Played> {
    let (offer, answer) = stage.connect(Who::A, &video(Who::A), &video(Who::B)).await?;
    stage.both_get(&[Sound, Picture]).await?;
    let from = Who::BOTH.map(|who| stage.side(who).news.len());
    let mut last = [&offer, &answer].map(|text| sdp::ice_ufrag(text).map(str::to_owned));
    for _ in 0..2 {
        let side = stage.side(who);
        side.done("restart_ice", side.engine.restart_ice(PeerId(1))).await?;
        let (offer, answer) = stage.negotiate(who, &video(who), &video(who.other())).await?;
        let texts = if who == Who::A { [offer, answer] } else { [answer, offer] };
        let new = texts.each_ref().map(|text| sdp::ice_ufrag(text).map(str::to_owned));
        for (at, side) in [&stage.a, &stage.b].into_iter().enumerate() {
            let is_new = new[at].is_some() && new[at] != last[at];
            check(is_new, || format!("{}: no new credentials", side.name))?;
        }
        let of_both =
            |stage: &Stage| Who::BOTH.iter().zip(&new).all(|(who, new)| tells(stage, *who, new));
        stage.until("candidates of the new credentials are told by both", of_both).await?;
        stage.both_get(&[Sound, Picture]).await?;
        stage.until("both are connected", Stage::are_connected).await?;
        last = new;
    }
    for (who, from) in Who::BOTH.into_iter().zip(from) {
        let side = stage.side(who);
        let begins = (PeerId(1), PeerNews::State(PeerState::Connecting));
        let told = side.news.get(from..).unwrap_or_default().contains(&begins);
        check(!told, || format!("{}: a restart is told as a new connection", side.name))?;
    }
    Ok(Played::Passed)
}

/// How many candidates of the first connection somebody was told.
fn candidates(stage: &Stage, who: Who) -> usize {
    stage.side(who).told(1).filter(|news| matches!(news, PeerNews::Candidate(_))).count()
}

/// Who trickles a candidate has to have sent what it belongs to. A second call, which begins
/// afterwards, tells how much time there was.
async fn silent_at_first(stage: &mut Stage) -> Outcome<Played> {
    let (plans, peer) = ([voice(Who::A), voice(Who::B)], PeerId(1));
    let [ours, theirs] = &plans;
    stage.a.open(1).await?;
    stage.b.open(1).await?;
    stage.a.capture(ours).await?;
    stage.b.capture(theirs).await?;
    let silent = |stage: &Stage, who: Who| {
        let (many, name) = (candidates(stage, who), &stage.side(who).name);
        check(many == 0, || format!("{name}: {many} candidates before set_local"))
    };
    let side = &stage.a;
    let offer = side.done("offer", side.engine.offer(peer, ours.clone())).await?;
    stage.call(2, [ours, theirs]).await?;
    for who in Who::BOTH {
        stage.side_mut(who).described();
    }
    beside(stage, 10).await?;
    silent(stage, Who::A)?;
    let side = &stage.a;
    side.done("set_local", side.engine.set_local(peer, offer.clone())).await?;
    stage.take(Who::B, &offer).await?;
    let side = &stage.b;
    let answer = side.done("answer", side.engine.answer(peer, theirs.clone())).await?;
    beside(stage, 10).await?;
    silent(stage, Who::B)?;
    let side = &stage.b;
    side.done("set_local", side.engine.set_local(peer, answer.clone())).await?;
    stage.take(Who::A, &answer).await?;
    stage.until("both are connected", Stage::are_connected).await?;
    Ok(Played::Passed)
}
