//! The driver and what applications hold, on tokio's paused clock: deadlines, shutdown, hosts
//! that hang, err or panic, subscribers that do not read.
//!
//! `driver/desk.rs` is a host in the test's hand; what it does not say a word to stays unanswered.

#![expect(clippy::unwrap_used, reason = "a test says no more than that it failed")]

#[path = "driver/delegates.rs"]
mod delegates;
#[path = "driver/desk.rs"]
mod desk;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use desk::{Desk, clock, identity, invite, room, willing};
use futures::StreamExt;
use matrix_voip::{
    AnswerError, CallEvent, CallMedia, CallNews, CallOptions, CallSession, CallState, Callee,
    ChangeError, Config, EndParty, EndReason, HangupError, InviteError, MediaSource, MuteError,
    RingStop, Side, StartError, StatsError, UntilError, VoIP, VoipNews, WallClock,
    config::Proceed,
    host::HostRequest,
    id::{CallId, OpId, PartyId, PeerId},
    machine::io::{
        Fault, Fetch, Ignored, Lifecycle, MediaKind, Op, PeerNews, PeerOp, PeerState, PeerStats,
        Reply, StreamStats, TrackOp,
    },
    machine::quality::Quality,
    time::Wall,
    wire::ledger::{Ledger, LiveCall},
};
use tokio::time::{Instant, timeout};

const BEN: &str = "@ben:hs";

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Time goes by.
async fn pass(span: Duration) {
    assert!(timeout(span, std::future::pending::<()>()).await.is_err());
}

async fn voice(voip: &VoIP) -> CallSession {
    voip.invite("!room:hs", BEN, CallOptions::voice()).await.unwrap()
}

/// A call that media flows in.
async fn connected(voip: &VoIP, desk: &Desk) -> CallSession {
    let call = voice(voip).await;
    call.until(CallState::InviteSent).await.unwrap();
    let peer = desk.peer();
    voip.deliver(desk::answer(&call.snapshot().call_id));
    voip.news().peer(peer, PeerNews::State(PeerState::Connected));
    call.until(CallState::Connected).await.unwrap();
    call
}

// ---------------------------------------------------------------------------------------- quality

#[tokio::test(start_paused = true)]
async fn a_watch_measures_while_somebody_looks_and_ends_with_the_call() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let (voip, desk) = Desk::start(move |op| match op {
        Op::Peer(_, PeerOp::Stats) => {
            let n = count.fetch_add(1, Ordering::SeqCst);
            let mut stream = StreamStats::new("0", MediaKind::Audio, "audio/opus");
            (stream.bytes, stream.packets, stream.lost) = (n * 8_000, n * 95, Some(n * 5));
            let mut stats = PeerStats::default();
            stats.inbound.push(stream);
            Some(Ok(Reply::Stats(Box::new(stats))))
        }
        other => willing(other),
    });
    let call = connected(&voip, &desk).await;
    let mut watch = call.watch_quality(seconds(2)).await;
    let began = Instant::now();
    let stats = watch.next().await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(stats.inbound[0].bits_per_second, 32_000);
    assert_eq!((stats.inbound[0].loss, stats.quality), (Some(0.05), Quality::Fair));
    pass(seconds(21)).await;
    watch.next().await.unwrap();
    assert!(timeout(seconds(1), watch.next()).await.is_err(), "only the latest is kept");
    drop(watch);
    pass(seconds(4)).await;
    let before = asked.load(Ordering::SeqCst);
    pass(seconds(60)).await;
    assert_eq!(asked.load(Ordering::SeqCst), before, "nobody looks any more");
    let mut watch = call.watch_quality(Duration::ZERO).await;
    watch.next().await.unwrap();
    call.hangup().await.unwrap();
    while watch.next().await.is_some() {}
}

// -------------------------------------------------------------------------------------- deadlines

#[tokio::test(start_paused = true)]
async fn a_capture_that_nobody_grants_ends_the_call_after_two_minutes() {
    let (voip, desk) = Desk::start(|op| match op {
        Op::Track(_, TrackOp::Capture(..)) => None,
        op => willing(op),
    });
    let began = Instant::now();
    let call = voice(&voip).await;
    let end = call.ended().await;
    assert_eq!((end.party, end.reason), (EndParty::Local, EndReason::UserMediaFailed));
    assert_eq!(began.elapsed().as_secs(), 120);
    let capture = desk.ids(|op| matches!(op, Op::Track(_, TrackOp::Capture(..))))[0];
    desk.settle().await;
    assert!(desk.cancelled().contains(&capture));
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_without_turn_after_five_seconds() {
    let (voip, _desk) = Desk::start(|op| match op {
        Op::Fetch(Fetch::Turn) => None,
        op => willing(op),
    });
    let began = Instant::now();
    let call = voice(&voip).await;
    call.until(CallState::InviteSent).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_peer_connection_that_never_opens_ends_the_call() {
    let (voip, desk) = Desk::start(|op| match op {
        Op::Peer(_, PeerOp::Open(_)) => None,
        op => willing(op),
    });
    let began = Instant::now();
    let end = voice(&voip).await.ended().await;
    assert_eq!(end.reason, EndReason::EngineFailed);
    assert_eq!(began.elapsed().as_secs(), 15);
    desk.settle().await;
    assert_eq!(desk.ids(|op| matches!(op, Op::Peer(_, PeerOp::Close))).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_after_its_deadline_is_counted_and_changes_nothing() {
    let (voip, desk) = Desk::start(|op| match op {
        Op::Fetch(Fetch::Turn) => None,
        op => willing(op),
    });
    let call = voice(&voip).await;
    call.until(CallState::InviteSent).await.unwrap();
    let turn = desk.ids(|op| matches!(op, Op::Fetch(Fetch::Turn)))[0];
    let before = call.snapshot();
    voip.news().reply(turn, Err(Fault::LoggedOut));
    desk.settle().await;
    assert_eq!(voip.diagnostics().await.count(Ignored::StaleReply), 1);
    assert_eq!(call.snapshot(), before);
}

#[tokio::test(start_paused = true)]
async fn a_capture_granted_after_the_hangup_is_released() {
    let (voip, desk) = Desk::start(|op| match op {
        Op::Track(_, TrackOp::Capture(..)) => None,
        op => willing(op),
    });
    let call = voice(&voip).await;
    desk.settle().await;
    let capture = desk.ids(|op| matches!(op, Op::Track(_, TrackOp::Capture(..))))[0];
    call.hangup().await.unwrap();
    voip.news().reply(capture, Ok(Reply::Done));
    desk.settle().await;
    assert_eq!(desk.ids(|op| matches!(op, Op::Track(_, TrackOp::Release))).len(), 1);
    assert_eq!(call.state(), CallState::Ended);
}

#[tokio::test(start_paused = true)]
async fn what_the_call_gave_up_does_not_time_out_later() {
    let (voip, desk) = Desk::start(|op| match op {
        Op::Track(_, TrackOp::Capture(..)) => None,
        op => willing(op),
    });
    let call = voice(&voip).await;
    desk.settle().await;
    let capture = desk.ids(|op| matches!(op, Op::Track(_, TrackOp::Capture(..))))[0];
    call.hangup().await.unwrap();
    for _ in 0..30 {
        tokio::time::advance(seconds(10)).await;
        desk.settle().await;
    }
    assert_eq!(desk.cancelled(), [capture]);
    assert_eq!(voip.diagnostics().await.count(Ignored::StaleReply), 0);
}

#[tokio::test(start_paused = true)]
async fn ringing_stops_by_the_wall_clock_though_monotonic_time_stood_still() {
    let wall = Arc::new(AtomicU64::new(desk::START.0));
    let read = Arc::clone(&wall);
    let builder = VoIP::builder(identity())
        .wall_clock(WallClock::from_fn(move || Wall(read.load(Ordering::Relaxed))));
    let (voip, _desk) = Desk::start_with(builder, willing);
    let mut events = voip.events();
    voip.deliver(invite("c1", BEN, seconds(0)));
    let Some(VoipNews::CallAdded { call, .. }) = events.next().await else { panic!("no call") };
    let rang = Instant::now();
    // The machine was suspended for longer than the invite lives.
    wall.fetch_add(100_000, Ordering::Relaxed);
    let end = call.ended().await;
    assert_eq!(end.reason, EndReason::InviteTimeout);
    assert!(rang.elapsed() <= seconds(61), "noticed after {:?}", rang.elapsed());
}

// -------------------------------------------------------------------------------- start and stop

#[tokio::test(start_paused = true)]
async fn the_calls_of_a_dead_process_are_hung_up_under_their_own_party() {
    let left = LiveCall {
        room: room(),
        call_id: CallId::parse("c0").unwrap(),
        party_id: PartyId::parse("OLD").unwrap(),
    };
    let stored = Ledger { live: vec![left], ..Ledger::default() }.to_bytes();
    let builder = VoIP::builder(identity()).wall_clock(clock()).restore(stored);
    let (voip, desk) = Desk::start_with(builder, willing);
    desk.settle().await;
    assert_eq!(desk.sent(), ["m.call.hangup"]);
    assert_eq!(voip.calls(), []);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_ledger_stops_nobody() {
    let builder = VoIP::builder(identity()).wall_clock(clock()).restore(b"{".to_vec());
    let (voip, desk) = Desk::start_with(builder, willing);
    voice(&voip).await.until(CallState::InviteSent).await.unwrap();
    assert_eq!(desk.sent(), ["m.call.invite"]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_shuts_the_library_down() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    voip.news().lifecycle(Lifecycle::Ending);
    desk.closed().await;
    assert!(desk.sent().contains(&"m.call.hangup".to_owned()));
    assert_eq!(call.ended().await.reason, EndReason::ShutDown);
    assert_eq!(voip.diagnostics().await.count(Ignored::StaleReply), 0);
}

#[test]
fn start_without_a_runtime_is_an_error_that_says_so() {
    let error = VoIP::builder(identity()).start_with_mailbox().map(drop).unwrap_err();
    assert_eq!(error, StartError::NoRuntime);
    assert!(error.to_string().contains("tokio runtime"));
}

#[test]
fn start_on_a_runtime_without_timers_is_an_error_that_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let started = runtime.block_on(async { VoIP::builder(identity()).start_with_mailbox() });
    assert_eq!(started.map(drop).unwrap_err(), StartError::NoTimers);
}

#[tokio::test]
async fn start_without_hosts_is_an_error_that_says_so() {
    let error = VoIP::builder(identity()).start().map(drop).unwrap_err();
    assert_eq!(error, StartError::NoSignaling);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_hangs_up_and_waits_until_the_hangup_has_left() {
    let (voip, desk) = Desk::start(willing);
    let mut all = voip.events();
    let call = connected(&voip, &desk).await;
    let (_, mut events) = call.subscribe();
    voip.shutdown().await;
    assert!(desk.sent().contains(&"m.call.hangup".to_owned()), "{:?}", desk.sent());
    assert_eq!(call.ended().await.reason, EndReason::ShutDown);
    let mut last = None;
    while let Some(news) = events.next().await {
        last = Some(news);
    }
    assert!(matches!(last, Some(CallNews::Event(CallEvent::Ended(_)))));
    assert_eq!(all.by_ref().filter(is_end).count().await, 1);
    let refused = voip.invite("!room:hs", BEN, CallOptions::voice()).await;
    assert_eq!(refused.unwrap_err(), InviteError::ShuttingDown);
    assert_eq!(call.hangup().await, Ok::<(), HangupError>(()));
}

fn is_end(news: &VoipNews) -> std::future::Ready<bool> {
    std::future::ready(matches!(news, VoipNews::CallEnded { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_with_a_homeserver_that_hangs_takes_five_seconds() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    desk.obey(|op| match op {
        Op::Matrix(_) => None,
        op => willing(op),
    });
    let began = Instant::now();
    voip.shutdown().await;
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(call.state(), CallState::Ended);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_an_idle_library_takes_no_time() {
    let (voip, desk) = Desk::start(willing);
    let began = Instant::now();
    voip.shutdown().await;
    voip.shutdown().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    desk.closed().await;
}

#[tokio::test(start_paused = true)]
async fn dropping_every_handle_hangs_up_and_stops() {
    let (voip, desk) = Desk::start(willing);
    let mut events = voip.events();
    let call = connected(&voip, &desk).await;
    drop(voip);
    desk.settle().await;
    assert_eq!(call.state(), CallState::Connected, "a call's handle keeps the library");
    drop(call);
    timeout(seconds(6), desk.closed()).await.unwrap();
    assert!(desk.sent().contains(&"m.call.hangup".to_owned()));
    while events.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_goes_away_ends_every_stream() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (voip, desk) = {
        let _inside = runtime.enter();
        Desk::start(willing)
    };
    let call = voice(&voip).await;
    let (_, mut events) = call.subscribe();
    runtime.shutdown_background();
    while events.next().await.is_some() {}
    // Whether the host's task or the driver's goes first is chance, and so is the reason.
    assert_eq!(call.ended().await.party, EndParty::Local);
    assert_eq!(call.state(), CallState::Ended);
    drop(desk);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_nobody_holds_ends_calls() {
    let (voip, mailbox) =
        VoIP::builder(identity()).wall_clock(clock()).start_with_mailbox().unwrap();
    drop(mailbox);
    let end = voice(&voip).await.ended().await;
    assert_eq!(end.party, EndParty::Local);
}

// --------------------------------------------------------------------------------------- watching

#[tokio::test(start_paused = true)]
async fn news_that_is_read_late_still_brings_every_event_of_the_call() {
    let (voip, desk) = Desk::start(willing);
    let mut all = voip.events();
    let held = connected(&voip, &desk).await;
    held.hangup().await.unwrap();
    desk.settle().await;

    let Some(VoipNews::CallAdded { call, snapshot, mut events }) = all.next().await else {
        panic!("the first news of a call is that it exists");
    };
    assert_eq!(call, held);
    assert_eq!(snapshot.state, CallState::Preparing);
    let mut folded = *snapshot;
    let mut states = vec![folded.state];
    while let Some(news) = events.next().await {
        news.apply(&mut folded);
        states.push(folded.state);
    }
    states.dedup();
    assert_eq!(
        states,
        [
            CallState::Preparing,
            CallState::InviteSent,
            CallState::Connecting,
            CallState::Connected,
            CallState::Ended
        ]
    );
    assert_eq!(folded, call.snapshot());
    assert!(matches!(all.next().await, Some(VoipNews::CallEnded { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_does_not_read_gets_skipped_and_still_ended() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    let (mut folded, mut events) = call.subscribe();
    for _ in 0..600 {
        call.mute(MediaSource::Microphone).await.unwrap();
        call.unmute(MediaSource::Microphone).await.unwrap();
    }
    call.mute(MediaSource::Microphone).await.unwrap();
    call.hangup().await.unwrap();

    let (mut skipped, mut last) = (Vec::new(), None);
    let mut told: u64 = 0;
    while let Some(news) = events.next().await {
        match &news {
            CallNews::Skipped { n, .. } => skipped.push(*n),
            CallNews::Event(_) => told += 1,
        }
        news.apply(&mut folded);
        last = Some(news);
    }
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0] >= 1024, "{skipped:?}");
    assert!(skipped[0] + told > 1201, "{skipped:?} + {told}");
    assert!(matches!(last, Some(CallNews::Event(CallEvent::Ended(_)))));
    assert_eq!(folded, call.snapshot());
}

#[tokio::test(start_paused = true)]
async fn a_listener_to_all_calls_that_does_not_read_gets_the_calls_that_live() {
    let (voip, desk) = Desk::start(willing);
    let mut all = voip.events();
    for _ in 0..600 {
        voice(&voip).await.hangup().await.unwrap();
    }
    let live = voice(&voip).await;
    let Some(VoipNews::Skipped { n, calls, .. }) = all.next().await else {
        panic!("nothing skipped")
    };
    assert!(n >= 1024);
    let mut calls: Vec<_> = calls.into_iter().filter(|call| *call == live).collect();
    while let Ok(Some(news)) = timeout(Duration::ZERO, all.next()).await {
        if let VoipNews::CallAdded { call, .. } = news {
            calls.extend((call == live).then_some(call));
        }
    }
    assert_eq!(calls.len(), 1, "the live call is told of once");
    assert_eq!(voip.calls(), [live]);
    drop(desk);
}

#[tokio::test(start_paused = true)]
async fn until_a_state_that_is_past_is_over_at_once_and_after_the_end_an_error() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    call.until(CallState::InviteSent).await.unwrap();
    call.hangup().await.unwrap();
    let missed = call.until(CallState::Connected).await;
    assert!(matches!(missed, Err(UntilError::Ended(end)) if end.reason == EndReason::Hangup));
    call.until(CallState::Ended).await.unwrap();
    let (snapshot, mut events) = call.subscribe();
    assert_eq!(snapshot.state, CallState::Ended);
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_incoming_call_rings_is_answered_and_tells_so() {
    let (voip, desk) = Desk::start(willing);
    let mut all = voip.events();
    voip.deliver(invite("c1", BEN, seconds(0)));
    let Some(VoipNews::CallAdded { .. }) = all.next().await else { panic!("no call") };
    let Some(VoipNews::RingStarted { call, until }) = all.next().await else { panic!("silent") };
    assert_eq!(until, desk::START.plus(seconds(90)));
    assert_eq!(call.state(), CallState::Ringing);
    call.answer().await.unwrap();
    call.answer_with(CallMedia::Voice).await.unwrap();
    let Some(VoipNews::RingStopped { why, .. }) = all.next().await else { panic!("rings on") };
    assert_eq!(why, RingStop::Answered);
    call.until(CallState::Connecting).await.unwrap();
    assert_eq!(desk.sent(), ["m.call.answer"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_found_by_its_id_while_it_lives_and_a_while_longer() {
    let (voip, desk) = Desk::start(willing);
    let first = voice(&voip).await;
    assert_eq!(voip.call(first.id()), Some(first.clone()));
    assert_eq!(voip.calls(), std::slice::from_ref(&first));
    first.hangup().await.unwrap();
    desk.settle().await;
    assert_eq!(voip.calls(), []);
    assert_eq!(voip.call(first.id()), Some(first.clone()));
    for _ in 0..64 {
        voice(&voip).await.hangup().await.unwrap();
    }
    desk.settle().await;
    assert_eq!(voip.call(first.id()), None);
    assert_eq!(first.state(), CallState::Ended, "a handle keeps what it shows");
}

// ------------------------------------------------------------------------------------- commanding

#[tokio::test(start_paused = true)]
async fn a_call_is_rejected_aloud_or_silently() {
    let (voip, desk) = Desk::start(willing);
    let mut all = voip.events();
    for (call_id, sent) in [("c1", vec![]), ("c2", vec!["m.call.reject"])] {
        voip.deliver(invite(call_id, BEN, seconds(0)));
        desk.settle().await;
        let call = voip.calls().pop().unwrap();
        match call_id {
            "c1" => call.reject_silently().await.unwrap(),
            _ => call.reject().await.unwrap(),
        }
        assert_eq!(call.ended().await.reason, EndReason::Rejected);
        desk.settle().await;
        assert_eq!(desk.sent(), sent);
    }
    let stopped = |news: &VoipNews| {
        std::future::ready(matches!(news, VoipNews::RingStopped { why: RingStop::Rejected, .. }))
    };
    voip.shutdown().await;
    assert_eq!(all.by_ref().filter(stopped).count().await, 2);
}

#[tokio::test(start_paused = true)]
async fn media_waits_for_the_application_where_it_wants_so() {
    let mut config = Config::default();
    config.proceed = Proceed::Manual;
    let builder = VoIP::builder(identity()).wall_clock(clock()).config(config);
    let (voip, desk) = Desk::start_with(builder, willing);
    let call = voice(&voip).await;
    desk.settle().await;
    assert_eq!(desk.ids(|op| matches!(op, Op::Track(..) | Op::Peer(..))), []);
    call.proceed().await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_four_streams_have_a_getter_each() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    let local = call.local_user_media().unwrap();
    assert_eq!((local.side, local.audio_muted), (Side::Local, false));
    call.mute(MediaSource::Microphone).await.unwrap();
    assert!(call.local_user_media().unwrap().audio_muted);
    assert_eq!(call.local_screenshare(), None);
    assert_eq!(call.remote_screenshare(), None);
    assert!(call.streams().contains(&call.local_user_media().unwrap()));
    assert_eq!(call.remote_user_media().is_some(), call.streams().len() == 2);
}

#[tokio::test(start_paused = true)]
async fn a_command_in_the_wrong_state_is_an_error_that_names_it() {
    let (voip, _desk) = Desk::start(willing);
    let call = voice(&voip).await;
    assert_eq!(call.answer().await, Err(AnswerError::Outgoing));
    call.hangup().await.unwrap();
    call.hangup().await.unwrap();
    assert_eq!(call.answer().await, Err(AnswerError::WrongState(CallState::Ended)));
    let muted = call.mute(MediaSource::Microphone).await;
    assert_eq!(muted, Err(MuteError::WrongState(CallState::Ended)));
}

#[tokio::test(start_paused = true)]
async fn an_invite_to_no_matrix_id_is_refused() {
    let (voip, _desk) = Desk::start(willing);
    let refused = voip.invite("!room:hs", "ben", CallOptions::video()).await;
    assert!(matches!(refused, Err(InviteError::InvalidId(_))));
    let refused = voip.invite(room(), identity().user, CallOptions::voice()).await;
    assert_eq!(refused.unwrap_err(), InviteError::CallingOurselves);
    let call = voip.invite(room(), Callee::TheOther, CallOptions::voice()).await.unwrap();
    call.until(CallState::InviteSent).await.unwrap();
    assert_eq!(call.snapshot().remote_user.unwrap().as_str(), BEN);
}

#[tokio::test(start_paused = true)]
async fn statistics_asked_for_twice_are_measured_once() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    let (one, two) = tokio::join!(call.stats(), call.stats());
    assert_eq!(one.unwrap().round_trip, two.unwrap().round_trip);
    assert_eq!(desk.ids(|op| matches!(op, Op::Peer(_, PeerOp::Stats))).len(), 1);
    call.hangup().await.unwrap();
    assert_eq!(call.stats().await, Err(StatsError::NoPeerConnection));
}

#[tokio::test(start_paused = true)]
async fn statistics_that_do_not_come_are_an_error_after_five_seconds() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    desk.obey(|op| match op {
        Op::Peer(_, PeerOp::Stats) => None,
        op => willing(op),
    });
    let began = Instant::now();
    assert_eq!(call.stats().await, Err(StatsError::Engine(Fault::Timeout)));
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(call.state(), CallState::Connected);
}

// ---------------------------------------------------------------------------- hosts that misbehave

#[tokio::test(start_paused = true)]
async fn an_engine_that_errs_ends_one_call_and_harms_no_other() {
    let (voip, desk) = Desk::start(willing);
    let unharmed = connected(&voip, &desk).await;
    desk.obey(|op| match op {
        Op::Peer(_, PeerOp::Offer(_)) => Some(Err(Fault::Failed("no codec".into()))),
        op => willing(op),
    });
    let end = voice(&voip).await.ended().await;
    assert_eq!(end.reason, EndReason::LocalDescriptionFailed);
    assert_eq!(unharmed.state(), CallState::Connected);
}

#[tokio::test(start_paused = true)]
async fn replies_and_news_that_make_no_sense_are_counted_and_harm_nothing() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    let news = voip.news();
    news.reply(OpId(4_711), Ok(Reply::Done));
    news.reply(OpId(u64::MAX), Ok(Reply::Done));
    news.peer(PeerId(4_711), PeerNews::GatheringDone);
    desk.settle().await;
    let diagnostics = voip.diagnostics().await;
    assert_eq!(diagnostics.count(Ignored::StaleReply), 1);
    assert_eq!(diagnostics.count(Ignored::UnknownPeer), 1);
    assert_eq!(call.state(), CallState::Connected);
    assert!(
        desk.requests().iter().all(|request| !matches!(request, HostRequest::Cancel(OpId(4_711))))
    );
}

// ---------------------------------------------------------------------------------------- changes

#[tokio::test(start_paused = true)]
async fn a_source_that_is_started_is_open_or_an_error_and_never_ends_the_call() {
    let denied = Arc::new(AtomicU64::new(1));
    let first = Arc::clone(&denied);
    let (voip, desk) = Desk::start(move |op| match op {
        Op::Track(_, TrackOp::Capture(_, what)) if what.source == MediaSource::Camera => {
            match first.swap(0, Ordering::SeqCst) {
                0 => Some(Ok(Reply::Done)),
                _ => Some(Err(Fault::Denied)),
            }
        }
        other => willing(other),
    });
    let call = connected(&voip, &desk).await;
    let missing = call.start(MediaSource::Camera).await;
    assert_eq!(missing, Err(ChangeError::MediaMissing));
    assert_eq!(call.state(), CallState::Connected);
    call.start(MediaSource::Camera).await.unwrap();
    call.start(MediaSource::Camera).await.unwrap();
    assert!(call.local_user_media().unwrap().kinds.contains(&MediaKind::Video));
    call.stop(MediaSource::Camera).await.unwrap();
    call.hold().await.unwrap();
    assert!(call.snapshot().hold.by_us);
    call.hangup().await.unwrap();
    let over = call.start(MediaSource::Camera).await;
    assert_eq!(over, Err(ChangeError::WrongState(CallState::Ended)));
}

#[tokio::test(start_paused = true)]
async fn tones_that_are_none_are_refused_before_anything_is_asked() {
    let (voip, desk) = Desk::start(willing);
    let call = connected(&voip, &desk).await;
    assert!(matches!(call.dtmf("hello").await, Err(ChangeError::InvalidTones(_))));
    assert_eq!(
        call.dtmf("1").await,
        Err(ChangeError::TakesNoTones),
        "the desk's answer names none"
    );
}
