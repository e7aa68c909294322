//! Descriptions, candidates and metadata of a call that talks, on a bad day: lost, late, overtaken.

use matrix_voip::{
    id::PeerId,
    machine::{
        event::{CallState, Side},
        io::{
            CallCommand, CallMedia, Candidate, Description, Ignored, Input, MediaKind, MediaSource,
            Network, PeerNews, PeerState, SdpKind,
        },
    },
    redact::Redacted,
    sdp::{ice_ufrag, media_lines},
    testing::{Cue, Device, Habits, OpKind, Puppet, millis, room_batch, secs},
    wire::call::{Body, Negotiate},
};

use crate::common::{BEN, Half, Two, is_offer, offers, two};

/// Ada calls Ben, who answers: Ben is in the test's hand.
fn talking() -> (Half, String) {
    let (half, call) = Half::calling();
    half.ben.answer(&half.room, &call);
    half.ben.candidates(&half.room, &call, 0..3);
    half.sim.run_until_quiet();
    half.ada.force(PeerState::Connected);
    half.sim.advance(millis(10));
    (half, call)
}

/// A description of Ben with other ICE credentials.
fn described(ben: &Puppet, kind: SdpKind, ufrag: &str) -> Negotiate {
    let sdp = ben.sdp(kind, &[MediaKind::Audio]).replace(ben.party().as_str(), ufrag);
    Negotiate {
        description: Description { kind, sdp: sdp.into() },
        lifetime: Some(secs(60)),
        capabilities: None,
        streams: Some(ben.metadata()),
    }
}

fn candidate(ufrag: &str, number: usize) -> Candidate {
    Candidate {
        candidate: Redacted::new(format!(
            "candidate:{number} 1 udp 2122260223 192.0.2.9 {} typ host ufrag {ufrag}",
            50_000 + number
        )),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: Some(ufrag.to_owned()),
    }
}

/// Where in what a device sent its first offer stands, and where the first candidates that belong
/// to it.
fn offer_and_its_candidates(device: &Device) -> (Option<usize>, Option<usize>) {
    let sent = device.sent();
    let at = sent.iter().position(|message| is_offer(&message.body));
    let ufrag = at.and_then(|at| match &sent[at].body {
        Body::Negotiate(n) => ice_ufrag(n.description.sdp.expose()).map(str::to_owned),
        _ => None,
    });
    let of_offer = |body: &Body| match body {
        Body::Candidates(list) => {
            list.iter().any(|c| c.username_fragment.is_some() && c.username_fragment == ufrag)
        }
        _ => false,
    };
    (at, sent.iter().position(|message| of_offer(&message.body)))
}

/// Both are connected, and Ada's engine still gathers.
fn gathering_for_long() -> Two {
    let two = two();
    let candidates = vec![millis(10)];
    two.ada.set_habits(Habits { candidates, gathered: secs(600), ..Habits::default() });
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.sim.advance(secs(2));
    two.ben.answer();
    two.sim.advance(secs(5));
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    two
}

#[test]
fn a_mute_behind_a_description_is_what_the_other_side_sees() {
    let two = Two::connected();
    two.ada.slow(OpKind::SendEvent, secs(3));
    two.ada.mute(MediaSource::Microphone);
    two.sim.advance(millis(50));
    two.ada.unmute(MediaSource::Microphone);
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(1));
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    let theirs = two.ben.streams().into_iter().find(|s| s.side == Side::Remote).unwrap();
    assert!(theirs.audio_muted, "Ada is muted\n{}", two.sim.column());
}

#[test]
fn candidates_of_an_offer_do_not_join_those_before_it() {
    let two = gathering_for_long();
    two.ada.slow(OpKind::SendEvent, secs(5));
    two.ada.mute(MediaSource::Microphone);
    two.sim.advance(millis(50));
    two.ada.input(Input::Peer(PeerId(1), PeerNews::Candidate(candidate("former", 7))));
    two.sim.advance(millis(2_100));
    let candidates = vec![millis(10), millis(300)];
    two.ada.set_habits(Habits { candidates, gathered: millis(400), ..Habits::default() });
    two.ada.act(CallCommand::RestartIce);
    two.sim.run_until_quiet();
    let (offer, theirs) = offer_and_its_candidates(&two.ada);
    assert!(theirs.unwrap() > offer.unwrap(), "{theirs:?} before {offer:?}\n{}", two.sim.column());
}

#[test]
fn candidates_of_an_offer_wait_for_it_though_a_timer_is_due() {
    let two = gathering_for_long();
    two.ada.input(Input::Peer(PeerId(1), PeerNews::Candidate(candidate("former", 7))));
    two.sim.advance(millis(1_900));
    two.ada.act(CallCommand::RestartIce);
    two.sim.advance(secs(10));
    let (offer, theirs) = offer_and_its_candidates(&two.ada);
    let (offer, theirs) = (offer.unwrap(), theirs.unwrap_or(usize::MAX));
    assert!(theirs > offer, "{theirs} before {offer}\n{}", two.sim.column());
}

#[test]
fn two_offers_are_never_out_at_once() {
    let two = Two::connected();
    two.ada.partition();
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(61));
    two.ada.act(CallCommand::Start(MediaSource::Screen));
    two.sim.advance(secs(2));
    two.ada.heal();
    two.sim.advance(secs(40));
    two.sim.run_until_quiet();
    let lines = |sdp: Option<Description>| media_lines(sdp.unwrap().sdp.expose()).len();
    let (ada, ben) = (two.ada.peer(), two.ben.peer());
    assert_eq!(lines(ada.remote), lines(ben.local), "both agree\n{}", two.sim.column());
}

#[test]
fn an_answer_to_an_offer_that_is_over_answers_no_other() {
    let two = Two::connected();
    two.ben.always(OpKind::SendEvent, Cue::dropped());
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(secs(55));
    two.ada.act(CallCommand::Start(MediaSource::Screen));
    two.sim.advance(secs(7));
    two.ben.always(OpKind::SendEvent, Cue::works());
    two.sim.advance(secs(40));
    let lines = |sdp: Option<Description>| media_lines(sdp.unwrap().sdp.expose()).len();
    let (ada, ben) = (two.ada.peer(), two.ben.peer());
    assert_eq!(lines(ada.remote), lines(ben.local), "both agree\n{}", two.sim.column());
}

/// js-sdk sends both at once.
#[test]
fn candidates_that_overtake_the_answer_of_a_negotiation_are_kept() {
    let (half, call) = talking();
    half.ada.act(CallCommand::RestartIce);
    half.sim.advance(secs(1));
    half.ben.say(&half.room, &call, Body::Candidates(vec![candidate("anew", 1)]));
    half.sim.advance(millis(100));
    let answer = described(&half.ben, SdpKind::Answer, "anew");
    half.ben.say(&half.room, &call, Body::Negotiate(answer));
    half.sim.run_until_quiet();
    let taken = half.ada.peer().remote_candidates;
    assert!(taken.iter().any(|c| c.contains("anew")), "{}", half.sim.column());
}

#[test]
fn candidates_that_waited_for_a_description_that_failed_are_sent() {
    let two = gathering_for_long();
    two.ada.next(OpKind::Offer, Cue::denied().after(secs(1)));
    two.ada.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(millis(500));
    two.ada.input(Input::Peer(PeerId(1), PeerNews::Candidate(candidate("late", 7))));
    two.ada.input(Input::Peer(PeerId(1), PeerNews::GatheringDone));
    two.sim.advance(secs(60));
    let sent = two.ada.sent();
    let late = sent.iter().any(|message| match &message.body {
        Body::Candidates(list) => list.iter().any(|c| c.candidate.expose().contains("late")),
        _ => false,
    });
    assert!(late, "{}", two.sim.column());
}

#[test]
fn a_long_call_takes_the_candidates_of_each_restart() {
    let (half, call) = talking();
    for n in 0..20 {
        let ufrag = format!("gen{n}");
        let offer = described(&half.ben, SdpKind::Offer, &ufrag);
        half.ben.say(&half.room, &call, Body::Negotiate(offer));
        half.sim.advance(secs(2));
        let found = (0..15).map(|number| candidate(&ufrag, number)).collect();
        half.ben.say(&half.room, &call, Body::Candidates(found));
        half.sim.advance(secs(60));
        let taken = half.ada.peer().remote_candidates;
        let count = taken.iter().filter(|c| c.contains(&ufrag)).count();
        assert_eq!(count, 15, "after {n} restarts");
    }
}

/// Whatever becomes of our candidates, none leaves before the description that names them.
#[test]
fn candidates_that_are_found_while_a_description_is_made_leave_behind_it() {
    let two = Two::connected();
    let candidates = vec![millis(10), millis(40), millis(90)];
    two.ada.set_habits(Habits { candidates, gathered: millis(100), ..Habits::default() });
    two.ada.next(OpKind::SetLocal, Cue::works().after(millis(1)));
    two.ada.next(OpKind::LocalDescription, Cue::works().after(secs(1)));
    two.ada.act(CallCommand::RestartIce);
    two.sim.run_until_quiet();
    let (offer, theirs) = offer_and_its_candidates(&two.ada);
    assert!(theirs.is_none_or(|theirs| theirs > offer.unwrap()), "{}", two.sim.column());
}

/// Behind an offer that waits for its turn they are for that one.
#[test]
fn candidates_of_an_offer_that_waits_are_kept_for_it() {
    let (half, call) = talking();
    half.ada.next(OpKind::SetRemote, Cue::works().after(secs(5)));
    for ufrag in ["one", "two"] {
        let offer = described(&half.ben, SdpKind::Offer, ufrag);
        half.ben.say(&half.room, &call, Body::Negotiate(offer));
        half.sim.advance(millis(100));
    }
    half.ben.say(&half.room, &call, Body::Candidates(vec![candidate("two", 1)]));
    half.sim.advance(secs(1));
    assert!(!half.ada.peer().remote_candidates.iter().any(|c| c.contains("two")));
    half.sim.advance(secs(10));
    let taken = half.ada.peer().remote_candidates;
    assert!(taken.iter().any(|c| c.contains("two")), "{}", half.sim.column());
}

#[test]
fn an_offer_that_gave_way_before_it_left_never_leaves() {
    let two = Two::connected();
    two.ben.slow(OpKind::SendEvent, secs(3));
    two.ben.mute(MediaSource::Microphone);
    two.sim.advance(millis(50));
    two.ben.act(CallCommand::Start(MediaSource::Camera));
    two.sim.advance(millis(500));
    two.ada.act(CallCommand::Start(MediaSource::Screen));
    two.sim.advance(millis(1_000));
    two.sim.run_until_quiet();
    let kinds = two.ben.sent().into_iter().filter_map(|message| match message.body {
        Body::Negotiate(negotiate) => Some(negotiate.description.kind),
        _ => None,
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, [SdpKind::Answer], "his camera is in the answer\n{}", two.sim.column());
}

#[test]
fn an_offer_that_is_ignored_says_nothing_of_their_streams() {
    let (half, call) = talking();
    half.ada.act(CallCommand::Start(MediaSource::Camera));
    half.sim.advance(secs(1));
    let before = half.ada.streams();
    let mut offer = described(&half.ben, SdpKind::Offer, "gen1");
    for info in offer.streams.iter_mut().flat_map(|streams| streams.values_mut()) {
        info.audio_muted = true;
    }
    half.ben.say(&half.room, &call, Body::Negotiate(offer));
    half.sim.advance(secs(1));
    assert_eq!(half.ada.ignored(Ignored::Collision), 1, "{}", half.sim.column());
    assert_eq!(half.ada.streams(), before);
}

/// How long their offer lives, how old it comes, and whether it is worth an answer after 56 seconds
/// in which our engine answers another.
#[test]
fn an_offer_that_had_to_wait_is_answered_while_it_lives() {
    for (lifetime, age, answered) in [
        (Some(80), 0, true),
        (Some(50), 0, false),
        (Some(80), 40, false),
        (None, 0, true),
        (None, 10, false),
        (Some(3_600), 200, true),
        (Some(3_600), 280, false),
    ] {
        let (half, call) = talking();
        for op in [OpKind::SetRemote, OpKind::Answer, OpKind::SetLocal, OpKind::LocalDescription] {
            half.ada.next(op, Cue::works().after(secs(14)));
        }
        let first = described(&half.ben, SdpKind::Offer, "one");
        half.ben.say(&half.room, &call, Body::Negotiate(first));
        half.sim.advance(secs(1));
        let mut second = described(&half.ben, SdpKind::Offer, "two");
        second.lifetime = lifetime.map(secs);
        let second = half.ben.raw(&call, Body::Negotiate(second), secs(age));
        half.ada.deliver(room_batch(&half.room, [second]));
        half.sim.advance(secs(70));
        let answers = half.ada.sent().into_iter().filter(|message| {
            matches!(&message.body, Body::Negotiate(n) if n.description.kind == SdpKind::Answer)
        });
        let row = format!("{lifetime:?} s, {age} s old\n{}", half.sim.column());
        assert_eq!(answers.count(), usize::from(answered), "{row}");
    }
}

/// An answer does not say to which offer it is. The second one shows that the first was to the
/// offer that was taken back, so nothing is agreed on.
#[test]
fn an_answer_too_many_shows_that_the_sides_do_not_agree() {
    let (half, call) = talking();
    half.ada.act(CallCommand::RestartIce);
    half.sim.advance(secs(1));
    half.ada.input(Input::Network(Network::Changed));
    half.sim.advance(secs(1));
    assert_eq!(offers(&half.ada), 2, "one was taken back\n{}", half.sim.column());
    for ufrag in ["one", "two"] {
        let answer = described(&half.ben, SdpKind::Answer, ufrag);
        half.ben.say(&half.room, &call, Body::Negotiate(answer));
        half.sim.advance(secs(1));
    }
    assert_eq!(offers(&half.ada), 3, "{}", half.sim.column());
    for ufrag in ["three", "four"] {
        let answer = described(&half.ben, SdpKind::Answer, ufrag);
        half.ben.say(&half.room, &call, Body::Negotiate(answer));
        half.sim.advance(secs(1));
    }
    assert_eq!(offers(&half.ada), 3, "nothing was taken back since\n{}", half.sim.column());
}

/// The same where the engine finds out that the answer is to another offer.
#[test]
fn an_answer_that_cannot_be_used_after_an_offer_was_taken_back_is_followed_by_a_restart() {
    let (half, call) = talking();
    half.ada.act(CallCommand::Start(MediaSource::Camera));
    half.sim.advance(secs(1));
    half.ada.input(Input::Network(Network::Changed));
    half.sim.advance(secs(1));
    half.ada.next(OpKind::SetRemote, Cue::denied());
    for ufrag in ["one", "two"] {
        let sdp = half.ben.sdp(SdpKind::Answer, &[MediaKind::Audio, MediaKind::Video]);
        let mut answer = described(&half.ben, SdpKind::Answer, ufrag);
        answer.description.sdp = sdp.replace(half.ben.party().as_str(), ufrag).into();
        half.ben.say(&half.room, &call, Body::Negotiate(answer));
        half.sim.advance(secs(1));
    }
    assert_eq!(offers(&half.ada), 3, "{}", half.sim.column());
}
