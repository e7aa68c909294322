//! Two engines over real sockets on loopback, driven through the `WebRtc` trait.
//!
//! What these measure is printed; bounds are five times the goal.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use common::{Side, side, side_with};
use matrix_voip::{
    host::{PeerEvents, SourceControl, WebRtc},
    id::{InputId, PeerId, SessionId, TrackId},
    machine::io::{
        Capture, Fault, MediaKind, MediaSource, PeerConfig, PeerNews, PeerState, Plan, Tones,
    },
};
use matrix_voip_str0m::Interfaces;
use testkit::studio::{connect, until};
use testkit::{heard, values, video, voice};

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what real parts take is measured and printed")]
    Instant::now()
}

#[tokio::test]
async fn two_engines_connect_and_hear_each_others_tone() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    let start = clock();
    connect(&mut a, &mut b, (voice(1, "stream-a"), voice(2, "stream-b"))).await;
    let connected = start.elapsed();
    until("both hear", || a.heard(MediaKind::Audio).len().min(b.heard(MediaKind::Audio).len()) > 1)
        .await;
    println!("loopback: connected after {connected:?}, heard after {:?}", start.elapsed());
    assert!(connected < Duration::from_millis(5 * 60), "{connected:?}");

    until("a second of sound", || a.heard(MediaKind::Audio).len() > 55).await;
    let ((at_a, level), (at_b, _)) =
        (heard(a.heard(MediaKind::Audio).iter()), heard(b.heard(MediaKind::Audio).iter()));
    assert!((860.0..900.0).contains(&at_a) && level > 0.2, "a hears {at_a} Hz at {level}");
    assert!((430.0..450.0).contains(&at_b), "b hears {at_b} Hz");

    let frames = a.heard(MediaKind::Audio);
    let steps = frames.windows(2).map(|pair| pair[1].sequence.unwrap() - pair[0].sequence.unwrap());
    assert!(steps.collect::<Vec<_>>().iter().all(|step| *step == 1));
    assert!(frames.windows(2).all(|pair| pair[1].timestamp == pair[0].timestamp + 960));
    assert!(frames.windows(2).all(|pair| pair[1].arrival >= pair[0].arrival));
}

#[tokio::test]
async fn both_sides_see_each_others_own_stream_ids() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    let (offer, answer) = connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
    let streams = |sdp: &str| -> Vec<String> {
        let msids = values(sdp, "a=msid:").into_values().flatten();
        msids.map(|msid| msid.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(streams(&offer), ["ours", "ours"]);
    assert_eq!(streams(&answer), ["theirs", "theirs"]);
    assert!(answer.contains("a=end-of-candidates"));
    let added = |side: &Side| -> Vec<_> {
        let news = side.news.iter();
        news.filter_map(|(_, news)| match news {
            PeerNews::TrackAdded { stream, kind, .. } => {
                Some((stream.as_ref().unwrap().to_string(), *kind))
            }
            _ => None,
        })
        .collect()
    };
    let mut at_a = added(&a);
    at_a.sort();
    assert_eq!(at_a, [("theirs".into(), MediaKind::Audio), ("theirs".into(), MediaKind::Video)]);
    assert_eq!(added(&b).len(), 2);
}

#[tokio::test]
async fn pictures_arrive_whole_and_a_key_frame_can_be_asked_for() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
    until("pictures", || b.heard(MediaKind::Video).len() > 10).await;
    let pictures = b.heard(MediaKind::Video);
    assert!(pictures.iter().all(|frame| frame.data.len() == 3000 && frame.key_frame));
    let asked = || a.log.controls.lock().unwrap().contains(&SourceControl::KeyFrame);
    until("the key frame request", asked).await;
}

#[tokio::test]
async fn a_muted_microphone_sends_silence_and_a_muted_camera_nothing() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
    until("sound and picture", || {
        b.heard(MediaKind::Audio).len() > 5 && b.heard(MediaKind::Video).len() > 2
    })
    .await;
    a.engine.enable(TrackId(1), false).await.unwrap();
    a.engine.enable(TrackId(2), false).await.unwrap();
    until("silence", || b.heard(MediaKind::Audio).last().unwrap().data == [0xf8, 0xff, 0xfe]).await;
    let (sounds, pictures) = (b.heard(MediaKind::Audio).len(), b.heard(MediaKind::Video).len());
    until("more silence", || b.heard(MediaKind::Audio).len() > sounds + 50).await;
    let after = b.heard(MediaKind::Audio);
    assert!(after[sounds..].iter().all(|frame| frame.data == [0xf8, 0xff, 0xfe]));
    assert!(after.windows(2).all(|pair| pair[1].timestamp == pair[0].timestamp + 960));
    assert!(b.heard(MediaKind::Video).len() <= pictures + 1, "a picture that was under way");

    a.engine.enable(TrackId(1), true).await.unwrap();
    until("sound again", || b.heard(MediaKind::Audio).last().unwrap().data.len() > 3).await;
    assert!(a.log.controls.lock().unwrap().contains(&SourceControl::Enabled(false)));
}

fn microphone(input: &str) -> Capture {
    let input = InputId::parse(input).ok();
    Capture { input, ..Capture::of(MediaSource::Microphone) }
}

#[tokio::test]
async fn another_microphone_is_heard_on_the_same_line_without_a_jump() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    until("the first one", || b.heard(MediaKind::Audio).len() > 30).await;
    let unknown = a.engine.replace(SessionId(1), TrackId(1), microphone("gone")).await;
    assert_eq!(unknown, Err(Fault::NotFound));
    let before = b.heard(MediaKind::Audio).len();
    until("the first one goes on", || b.heard(MediaKind::Audio).len() > before + 10).await;
    a.engine.replace(SessionId(1), TrackId(1), microphone("660")).await.unwrap();
    let before = b.heard(MediaKind::Audio).len();
    until("the other one", || b.heard(MediaKind::Audio).len() > before + 30).await;
    assert_eq!(a.log.open.load(Ordering::SeqCst), 1, "the first one is closed");
    let frames = b.heard(MediaKind::Audio);
    let (hertz, _) = heard(frames.iter());
    assert!((640.0..680.0).contains(&hertz), "b hears {hertz} Hz");
    assert!(frames.windows(2).all(|pair| pair[1].timestamp >= pair[0].timestamp + 960));
    assert!(frames.windows(2).all(|pair| pair[1].timestamp < pair[0].timestamp + 9600));
    let steps = frames.windows(2).map(|pair| pair[1].sequence.unwrap() - pair[0].sequence.unwrap());
    assert!(steps.collect::<Vec<_>>().iter().all(|step| *step == 1));
    let ended = |news: &PeerNews| matches!(news, PeerNews::TrackEnded(_));
    assert!(!a.news.iter().any(|(_, news)| ended(news)));
}

#[tokio::test]
async fn a_device_that_was_gone_before_anybody_heard_it_is_told_to_who_comes() {
    let mut a = side(440.0);
    a.log.ends_after.store(2, Ordering::SeqCst);
    let plan = voice(1, "ours");
    a.capture(&plan).await;
    until("its end", || a.log.open.load(Ordering::SeqCst) == 0).await;
    a.open(1).await;
    let offer = a.engine.offer(PeerId(1), plan.clone()).await.unwrap();
    a.engine.set_local(PeerId(1), offer).await.unwrap();
    a.until(|news| *news == PeerNews::TrackEnded(TrackId(1))).await;

    a.log.ends_after.store(0, Ordering::SeqCst);
    a.engine.replace(SessionId(1), TrackId(1), microphone("660")).await.unwrap();
    a.news.clear();
    a.open(2).await;
    let offer = a.engine.offer(PeerId(2), plan).await.unwrap();
    a.engine.set_local(PeerId(2), offer).await.unwrap();
    a.until(|news| *news == PeerNews::GatheringDone).await;
    let ended = |(_, news): &(PeerId, PeerNews)| matches!(news, PeerNews::TrackEnded(_));
    assert!(!a.news.iter().any(ended), "another device goes on in its place: {:?}", a.news);
}

#[tokio::test]
async fn a_muted_track_stays_muted_on_another_device() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    a.engine.enable(TrackId(1), false).await.unwrap();
    until("silence", || {
        b.heard(MediaKind::Audio).last().is_some_and(|frame| frame.data == [0xf8, 0xff, 0xfe])
    })
    .await;
    let muted = b.heard(MediaKind::Audio).len();
    a.engine.replace(SessionId(1), TrackId(1), microphone("660")).await.unwrap();
    until("more silence", || b.heard(MediaKind::Audio).len() > muted + 50).await;
    assert!(b.heard(MediaKind::Audio)[muted..].iter().all(|f| f.data == [0xf8, 0xff, 0xfe]));
    let told = a.log.controls.lock().unwrap().clone();
    let switched = told.iter().filter(|control| **control == SourceControl::Enabled(false));
    assert_eq!(switched.count(), 2, "both devices hear of it: {told:?}");
    a.engine.enable(TrackId(1), true).await.unwrap();
    until("sound", || b.heard(MediaKind::Audio).last().unwrap().data.len() > 3).await;
}

#[tokio::test]
async fn a_device_that_is_not_granted_leaves_the_old_one_and_a_release_withdraws_the_question() {
    let side = side(440.0);
    let track = TrackId(7);
    let never = side.engine.replace(SessionId(1), track, microphone("660")).await;
    assert_eq!(never, Err(Fault::NotFound), "what was never captured is not replaced");
    side.engine.capture(SessionId(1), track, microphone("440")).await.unwrap();
    let camera = Capture::of(MediaSource::Camera);
    let wrong = side.engine.replace(SessionId(1), track, camera).await;
    assert!(matches!(wrong, Err(Fault::Failed(_))), "{wrong:?}");
    assert_eq!(side.log.open.load(Ordering::SeqCst), 1);
    let ask = side.engine.replace(SessionId(1), track, Capture::of(MediaSource::Screen));
    let release = async {
        until("the person is asked", || side.log.opening.load(Ordering::SeqCst) == 1).await;
        assert_eq!(side.log.open.load(Ordering::SeqCst), 1, "the old one goes on meanwhile");
        side.engine.release(track).await.unwrap();
    };
    let (replaced, ()) = tokio::join!(ask, release);
    assert_eq!(replaced, Err(Fault::Cancelled));
    assert_eq!(side.log.open.load(Ordering::SeqCst), 0);
    assert_eq!(side.log.opening.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn tones_are_taken_where_they_can_be_sent() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    let tones = || Tones::parse("12").unwrap();
    assert_eq!(a.engine.dtmf(TrackId(1), tones()).await, Err(Fault::NotFound));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    assert_eq!(a.engine.dtmf(TrackId(1), tones()).await, Ok(()));
    assert_eq!(a.engine.dtmf(TrackId(9), tones()).await, Err(Fault::NotFound));
}

#[tokio::test]
async fn measurements_name_path_codec_and_counts() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    let early = a.engine.stats(PeerId(1)).await.unwrap();
    assert!(early.pair.is_some(), "the path is known as soon as there is one");
    until("two seconds of sound", || a.heard(MediaKind::Audio).len() > 110).await;
    let stats = a.engine.stats(PeerId(1)).await.unwrap();
    let pair = stats.pair.unwrap();
    assert_eq!((pair.local.kind, pair.local.protocol), ("host", "udp"));
    assert_eq!(pair.remote.kind, "host");
    let remote: std::net::SocketAddr = pair.remote.address.expose().parse().unwrap();
    assert!(remote.ip().is_loopback());
    println!("loopback: round trip {:?}", stats.round_trip.unwrap());
    for stream in [&stats.inbound[0], &stats.outbound[0]] {
        assert_eq!((stream.kind, stream.codec.as_str()), (MediaKind::Audio, "audio/opus"));
        assert!(stream.packets > 40 && stream.bytes > 1000, "{stream:?}");
    }
    assert_eq!(stats.inbound[0].lost, Some(0));
}

#[tokio::test]
async fn a_hundred_connections_leave_neither_task_nor_socket() {
    let side = side(440.0);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let files = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    side.open(0).await;
    side.engine.close(PeerId(0)).await.unwrap();
    until("the first task ends", || tasks() == 0).await;
    let before = files();
    for peer in 1..=100 {
        side.open(peer).await;
        side.engine.offer(PeerId(peer), voice(peer, "stream")).await.unwrap();
        side.engine.close(PeerId(peer)).await.unwrap();
        assert_eq!(side.engine.close(PeerId(peer)).await, Ok(()), "again is no error");
    }
    until("all tasks end", || tasks() == 0).await;
    // Other tests of this program open and close files meanwhile, but not a hundred.
    assert!(files() < before + 50, "{before} files before, {} after", files());
}

#[tokio::test]
async fn a_sink_that_panics_ends_its_connection_and_no_other() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    a.open(2).await;
    until("sound", || !a.heard(MediaKind::Audio).is_empty()).await;
    a.log.breaks_after.store(0, Ordering::SeqCst);
    a.until_state(PeerState::Failed).await;
    assert_eq!(a.engine.stats(PeerId(1)).await, Err(Fault::NotFound));
    assert_eq!(a.engine.close(PeerId(1)).await, Ok(()));
    assert!(a.engine.offer(PeerId(2), voice(1, "ours")).await.is_ok());
}

#[tokio::test]
async fn dropping_the_engine_ends_its_tasks_and_closes_its_devices() {
    let (mut a, mut b) = (side(440.0), side(880.0));
    connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
    let log = a.log.clone();
    assert_eq!(log.open.load(Ordering::SeqCst), 1);
    drop(a);
    until("the microphone closes", || log.open.load(Ordering::SeqCst) == 0).await;
    b.until_state(PeerState::Disconnected).await;
    drop(b);
    until("no task", || tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test]
async fn a_capture_that_is_released_before_the_grant_is_never_opened() {
    let side = side(440.0);
    let track = TrackId(7);
    let what = Capture::of(MediaSource::Screen);
    let engine = &side.engine;
    let log = &side.log;
    let release = async {
        until("the person is asked", || log.opening.load(Ordering::SeqCst) == 1).await;
        engine.release(track).await.unwrap();
    };
    let (captured, ()) = tokio::join!(engine.capture(SessionId(1), track, what), release);
    assert_eq!(captured, Err(Fault::Cancelled));
    assert_eq!(log.opening.load(Ordering::SeqCst), 0, "the question is withdrawn");
    assert_eq!(log.open.load(Ordering::SeqCst), 0);
    engine.release(track).await.unwrap();
}

#[tokio::test]
async fn releasing_a_track_closes_its_device_before_it_answers() {
    let side = side(440.0);
    let track = TrackId(7);
    let what = Capture::of(MediaSource::Microphone);
    side.engine.capture(SessionId(1), track, what.clone()).await.unwrap();
    assert_eq!(side.log.open.load(Ordering::SeqCst), 1);
    assert!(matches!(side.engine.capture(SessionId(1), track, what).await, Err(Fault::Failed(_))));
    side.engine.release(track).await.unwrap();
    assert_eq!(side.log.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_asked_of_an_unknown_peer_is_not_found() {
    let side = side(440.0);
    assert_eq!(side.engine.offer(PeerId(9), Plan::default()).await, Err(Fault::NotFound));
    assert_eq!(side.engine.close(PeerId(9)).await, Ok(()));
    assert_eq!(side.engine.release(TrackId(9)).await, Ok(()));
}

#[tokio::test]
async fn a_relay_only_connection_names_no_address() {
    let side = side(440.0);
    let (_driver, mailbox) = matrix_voip::host::mailbox::pair();
    let config = PeerConfig { relay_only: true, ..PeerConfig::default() };
    let events = PeerEvents::new(PeerId(1), mailbox.news());
    side.engine.open(PeerId(1), config, events).await.unwrap();
    let offer = side.engine.offer(PeerId(1), voice(1, "stream")).await.unwrap();
    assert!(!offer.sdp.expose().contains("candidate:"));
}

#[tokio::test]
async fn every_interface_can_be_opened() {
    let side = side_with(440.0, |builder| builder.interfaces(Interfaces::All));
    side.open(1).await;
    let offer = side.engine.offer(PeerId(1), voice(1, "stream")).await.unwrap();
    assert!(offer.sdp.expose().contains("candidate:"));
}
