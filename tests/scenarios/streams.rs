//! The four streams of a call, what is muted in them, and what the other side says of itself.

use matrix_voip::{
    id::{PeerId, StreamId},
    machine::{
        event::{CallEvent, CallState, EndReason, Side, Stream},
        io::{CallCommand, CallMedia, Input, MediaKind, MediaSource, PeerNews, Verdict},
    },
    redact::Redacted,
    testing::{Cue, OpKind, millis, secs},
    wire::{
        call::{Body, Identity},
        metadata::{Purpose, StreamInfo, StreamMetadata},
    },
};

use crate::common::{BEN, Half, Two, local, two};

fn info(purpose: Purpose) -> StreamInfo {
    StreamInfo { purpose, audio_muted: false, video_muted: false }
}

fn id(text: &str) -> StreamId {
    StreamId::parse(text).unwrap()
}

fn remote_streams(streams: Vec<Stream>) -> Vec<Stream> {
    streams.into_iter().filter(|stream| stream.side == Side::Remote).collect()
}

/// Ada has called; Ben answers with this metadata, as text in the place of the usual one.
fn answered_with(metadata: Option<StreamMetadata>) -> (Half, String) {
    let (half, call) = Half::calling();
    let Body::Answer(mut answer) = half.ben.acceptance() else { panic!() };
    answer.streams = metadata;
    half.ben.say(&half.room, &call, Body::Answer(answer));
    half.sim.run_until_quiet();
    (half, call)
}

#[test]
fn a_connected_video_call_has_one_stream_each_way() {
    let two = two();
    two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    for (device, other) in [(&two.ada, &two.ben), (&two.ben, &two.ada)] {
        let [theirs, ours] = device.streams().try_into().unwrap();
        assert_eq!((theirs.side, ours.side), (Side::Remote, Side::Local));
        assert_eq!(theirs.kinds, [MediaKind::Audio, MediaKind::Video]);
        assert!(!theirs.audio_muted && !theirs.video_muted);
        assert_eq!(theirs.id, other.streams()[1].id, "both sides name it alike");
    }
}

/// 95.
#[test]
fn without_metadata_the_first_stream_is_user_media() {
    let (half, _) = answered_with(None);
    let streams = remote_streams(half.ada.streams());
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].purpose, Purpose::UserMedia);
    assert_eq!(streams[0].id, Some(half.ben.stream()));
}

/// 95, T-19.
#[test]
fn a_track_that_comes_before_its_metadata_is_matched_later() {
    let (half, call) = answered_with(Some(StreamMetadata::new()));
    assert!(remote_streams(half.ada.streams()).is_empty());
    half.ben.say(&half.room, &call, Body::MetadataChanged(half.ben.metadata()));
    half.sim.run_until_quiet();
    assert_eq!(remote_streams(half.ada.streams()).len(), 1);
}

/// 95, T-19.
#[test]
fn metadata_that_comes_before_its_track_is_matched_later() {
    let mut metadata = StreamMetadata::new();
    metadata.insert(id("screen"), info(Purpose::Screenshare));
    let (half, _) = answered_with(Some(metadata));
    assert!(remote_streams(half.ada.streams()).is_empty());
    let news = |mid: &str, kind| PeerNews::TrackAdded {
        mid: mid.to_owned(),
        stream: Some(id("screen")),
        kind,
    };
    half.ada.input(Input::Peer(PeerId(1), news("7", MediaKind::Video)));
    half.ada.input(Input::Peer(PeerId(1), news("8", MediaKind::Audio)));
    let streams = remote_streams(half.ada.streams());
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].purpose, Purpose::Screenshare);
    assert_eq!(streams[0].kinds, [MediaKind::Audio, MediaKind::Video]);
}

/// 95, T-19: the stable key, the unstable key, or both.
#[test]
fn metadata_is_understood_under_each_of_its_keys() {
    let (stable, unstable) = ("sdp_stream_metadata", "org.matrix.msc3077.sdp_stream_metadata");
    for keys in [vec![stable], vec![unstable], vec![stable, unstable]] {
        let (Half { sim, room, ada, ben }, call) = Half::calling();
        let Body::Answer(mut answer) = ben.acceptance() else { panic!() };
        answer.streams = None;
        let (event_type, content) = ben.message(&call, Body::Answer(answer)).write();
        let mut text = content.strip_suffix('}').unwrap().to_owned();
        for key in keys {
            let stream = ben.stream();
            text.push_str(&format!(
                r#","{key}":{{"{stream}":{{"purpose":"m.usermedia","audio_muted":true}}}}"#
            ));
        }
        text.push('}');
        ben.say_json(&room, &event_type, &text);
        sim.run_until_quiet();
        let streams = remote_streams(ada.streams());
        assert_eq!(streams.len(), 1, "{text}");
        assert!(streams[0].audio_muted, "{text}");
    }
}

/// T-19: what we write is understood by those who read either key.
#[test]
fn our_metadata_is_written_under_both_keys() {
    let two = Two::connected();
    let timeline = two.sim.server(|server| server.timeline(&two.room).to_vec());
    for kind in ["m.call.invite", "m.call.answer"] {
        let event = timeline.iter().find(|event| event.event_type == kind).unwrap();
        assert!(event.content.contains(r#""sdp_stream_metadata""#));
        assert!(event.content.contains(r#""org.matrix.msc3077.sdp_stream_metadata""#));
    }
}

/// 95.
#[test]
fn a_stream_of_unknown_purpose_is_not_shown_and_one_that_is_not_named_is_gone() {
    let (half, call) = answered_with(None);
    let stream = half.ben.stream();
    let unknown = Purpose::Unknown("org.example.hologram".to_owned());
    let metadata = StreamMetadata::from([(stream.clone(), info(unknown))]);
    half.ben.say(&half.room, &call, Body::MetadataChanged(metadata));
    half.sim.run_until_quiet();
    assert!(remote_streams(half.ada.streams()).is_empty());
    let metadata = StreamMetadata::from([(stream, info(Purpose::UserMedia))]);
    half.ben.say(&half.room, &call, Body::MetadataChanged(metadata));
    half.sim.run_until_quiet();
    assert_eq!(remote_streams(half.ada.streams()).len(), 1);
    half.ben.say(&half.room, &call, Body::MetadataChanged(StreamMetadata::new()));
    half.sim.run_until_quiet();
    assert!(remote_streams(half.ada.streams()).is_empty());
}

/// Four streams, sorted for display.
#[test]
fn streams_are_sorted_for_display() {
    let mut metadata = StreamMetadata::new();
    metadata.insert(id("aaa-user"), info(Purpose::UserMedia));
    metadata.insert(id("bbb-screen"), info(Purpose::Screenshare));
    let (half, _) = answered_with(Some(metadata));
    for (mid, stream) in [("8", "aaa-user"), ("9", "bbb-screen")] {
        half.ada.input(Input::Peer(
            PeerId(1),
            PeerNews::TrackAdded {
                mid: mid.to_owned(),
                stream: Some(id(stream)),
                kind: MediaKind::Video,
            },
        ));
    }
    let shown: Vec<_> =
        half.ada.streams().into_iter().map(|stream| (stream.side, stream.purpose)).collect();
    assert_eq!(
        shown,
        [
            (Side::Remote, Purpose::Screenshare),
            (Side::Remote, Purpose::UserMedia),
            (Side::Local, Purpose::UserMedia),
        ]
    );
}

// ---------------------------------------------------------------------------------------- mutes

/// 92.
#[test]
fn muting_silences_the_track_and_tells_the_other_side() {
    let two = Two::connected();
    two.ada.mute(MediaSource::Microphone);
    assert!(two.ada.snapshot().unwrap().muted[&MediaSource::Microphone]);
    two.sim.run_until_quiet();
    assert!(!two.ada.tracks()[0].enabled);
    assert!(remote_streams(two.ben.streams())[0].audio_muted);
    two.ada.unmute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    assert!(two.ada.tracks()[0].enabled);
    assert!(!remote_streams(two.ben.streams())[0].audio_muted);
    let changes = two.ada.sent_types();
    let changes = changes.iter().filter(|name| name.contains("metadata_changed")).count();
    assert_eq!(changes, 2);
}

/// 92.
#[test]
fn muting_before_the_call_connects_holds_when_it_does() {
    let two = two();
    two.ada.slow(OpKind::Capture, secs(1));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    assert!(!two.ada.tracks()[0].enabled, "it opens silent");
    two.ben.answer();
    two.sim.run_until_quiet();
    assert!(remote_streams(two.ben.streams())[0].audio_muted);
}

#[test]
fn muting_while_it_rings_there_is_told_after_the_answer() {
    let two = Two::ringing();
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    assert!(remote_streams(two.ben.streams())[0].audio_muted, "{}", two.sim.column());
}

#[test]
fn muting_twice_says_it_once() {
    let two = Two::connected();
    two.ada.mute(MediaSource::Microphone);
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    let session = two.ada.call().unwrap();
    let told = two.ada.events_of(session);
    let told = told.iter().filter(|event| matches!(event, CallEvent::MuteChanged { .. })).count();
    assert_eq!(told, 1);
}

#[test]
fn a_voice_call_has_no_camera_to_mute() {
    let two = Two::connected();
    let session = two.ada.call().unwrap();
    let mute = matrix_voip::machine::io::CallCommand::Mute(MediaSource::Camera);
    assert!(matches!(two.ada.command_to(session, mute), Verdict::Refused(_)));
}

/// Shown as muted it would be heard all the same.
#[test]
fn a_microphone_that_cannot_be_muted_is_closed_and_told() {
    for hold in [false, true] {
        let two = Two::connected();
        two.ada.next(OpKind::Enable, Cue::denied());
        if hold {
            two.ada.act(CallCommand::Hold);
        } else {
            two.ada.mute(MediaSource::Microphone);
        }
        two.sim.run_until_quiet();
        assert!(two.ada.tracks().is_empty(), "nothing is sent");
        let told = CallEvent::MediaMissing(MediaSource::Microphone);
        assert!(two.ada.events_of(two.ada.call().unwrap()).contains(&told));
        assert!(remote_streams(two.ben.streams()).is_empty(), "{}", two.sim.column());
        two.ada.act(CallCommand::Start(MediaSource::Microphone));
        two.sim.run_until_quiet();
        assert!(!two.ada.tracks()[0].enabled, "it is opened anew, and what was wanted holds");
        assert_eq!(two.ada.state(), Some(CallState::Connected));
    }
}

#[test]
fn a_microphone_that_cannot_be_unmuted_is_closed_and_told() {
    let two = Two::connected();
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    two.ada.next(OpKind::Enable, Cue::denied());
    two.ada.unmute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    assert!(two.ada.tracks().is_empty());
    let told = CallEvent::MediaMissing(MediaSource::Microphone);
    assert!(two.ada.events_of(two.ada.call().unwrap()).contains(&told));
}

#[test]
fn a_mute_that_failed_after_it_was_taken_back_is_nothing() {
    let two = Two::connected();
    two.ada.next(OpKind::Enable, Cue::denied().after(secs(1)));
    two.ada.mute(MediaSource::Microphone);
    two.ada.unmute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    assert!(two.ada.tracks()[0].enabled);
}

#[test]
fn a_call_whose_microphone_cannot_be_muted_at_the_start_is_not_placed() {
    let two = two();
    two.ada.next(OpKind::Enable, Cue::denied());
    two.ada.slow(OpKind::Capture, secs(1));
    two.ada.invite(&two.room, BEN, CallMedia::Voice);
    two.ada.mute(MediaSource::Microphone);
    two.sim.run_until_quiet();
    assert_eq!(two.ada.end(), local(EndReason::UserMediaFailed));
    assert!(two.ada.sent().is_empty() && two.ada.tracks().is_empty());
}

#[test]
fn muting_does_not_wait_behind_another_request() {
    let two = Two::connected();
    two.ada.slow(OpKind::Candidates, secs(5));
    two.ada.set_habits(matrix_voip::testing::Habits::default());
    two.ada.mute(MediaSource::Microphone);
    two.sim.advance(millis(1));
    assert!(!two.ada.tracks()[0].enabled);
}

// --------------------------------------------------------------------------------------- others

/// 98.
#[test]
fn who_really_speaks_is_told() {
    let two = Two::connected();
    let call = two.ada.snapshot().unwrap().call_id.to_string();
    let party = two.ben.snapshot().unwrap().party_id;
    let gateway = two.sim.puppet(BEN, "GATEWAY").as_party(party.as_str());
    let who = Identity { display_name: Some("Carl".to_owned()), ..Identity::default() };
    gateway.say(&two.room, &call, Body::AssertedIdentity(who.clone()));
    two.sim.run_until_quiet();
    assert_eq!(two.ada.snapshot().unwrap().identity, Some(who));
}

#[test]
fn a_device_that_is_unplugged_is_told_and_the_call_goes_on() {
    let two = Two::connected();
    let (track, _) = two.sim.webrtc(|webrtc| {
        let seat = matrix_voip::testing::Seat(1);
        webrtc.tracks(seat).next().map(|(id, track)| (id, track.clone())).unwrap()
    });
    two.ada.input(Input::Peer(PeerId(1), PeerNews::TrackEnded(track)));
    two.sim.run_until_quiet();
    let session = two.ada.call().unwrap();
    let told = CallEvent::MediaMissing(MediaSource::Microphone);
    assert!(two.ada.events_of(session).contains(&told));
    assert_eq!(two.ada.state(), Some(CallState::Connected));
    let told = two.ada.sent_types().iter().any(|name| name.contains("metadata_changed"));
    assert!(told, "at once, whatever becomes of a negotiation");
}

#[test]
fn a_camera_that_is_denied_is_shown_as_missing_to_the_other_side() {
    let two = two();
    two.ada.next(OpKind::Capture, Cue::works());
    two.ada.next(OpKind::Capture, Cue::denied());
    two.ada.invite(&two.room, BEN, CallMedia::Video);
    two.sim.run_until_quiet();
    two.ben.answer();
    two.sim.run_until_quiet();
    let theirs = remote_streams(two.ben.streams()).remove(0);
    assert!(theirs.video_muted);
    assert_eq!(theirs.kinds, [MediaKind::Audio]);
}

#[test]
fn descriptions_do_not_stand_in_debug_output() {
    let sdp = Redacted::new("v=0");
    assert!(!format!("{sdp:?}").contains("v=0"));
    // Every step of every scenario looks for descriptions, candidates and passwords in the Debug
    // output of the engine and of what it asks for.
}
