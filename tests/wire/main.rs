//! The wire format against events of real clients.
//!
//! Every fixture (`tests/fixtures/README.md`) is read, compared with its checked-in typed value,
//! written again and compared with what was read. Property tests follow: whatever a sender makes
//! of an event, nothing panics, and what was understood is understood again after we wrote it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod fixture;
mod keys;
mod members;
mod property;
mod rtc;
mod snapshot;

use fixture::{Fixture, dialects, golden, recorded};
use matrix_voip::{
    sdp::{check, media_lines},
    wire::call::{Body, CallMessage, read},
};
use serde_json::Value;

fn read_fixture(fixture: &Fixture) -> CallMessage {
    let message = read(&fixture.event_type, &fixture.content.to_string());
    message.expect("a call event").unwrap_or_else(|why| panic!("{}: {why}", fixture.name))
}

#[test]
fn every_recorded_event_is_read_as_its_checked_in_value() {
    for scenario in fixture::scenarios() {
        let mut text = String::new();
        for fixture in recorded(&scenario) {
            text += &snapshot::of(&fixture.event_type, &read_fixture(&fixture));
        }
        fixture::expect_text(&format!("matrix-js-sdk-43/{scenario}"), &text);
    }
}

#[test]
fn the_recordings_hold_all_they_held() {
    let count = fixture::scenarios().iter().map(|scenario| recorded(scenario).len()).sum::<usize>();
    assert_eq!(count, 149);
}

#[test]
fn what_we_write_keeps_every_key_that_we_know() {
    for fixture in fixture::all_recorded() {
        let (_, ours) = read_fixture(&fixture).write();
        let ours: Value = serde_json::from_str(&ours).unwrap();
        fixture::assert_keeps(&fixture.content, &ours, &fixture.name);
    }
}

#[test]
fn every_golden_event_is_read_as_its_checked_in_value() {
    for dialect in dialects() {
        let mut text = String::new();
        for case in golden(&dialect) {
            text += &format!("# {}\n", case.fixture.name);
            match read(&case.fixture.event_type, &case.fixture.content.to_string()) {
                Some(Ok(message)) => text += &snapshot::of(&case.fixture.event_type, &message),
                Some(Err(why)) => text += &format!("malformed: {why}\n\n"),
                None => panic!("{}: not a call event", case.fixture.name),
            }
        }
        fixture::expect_text(&format!("golden/{dialect}"), &text);
    }
}

#[test]
fn every_golden_event_is_written_as_expected() {
    for case in dialects().iter().flat_map(|dialect| golden(dialect)) {
        let read = read(&case.fixture.event_type, &case.fixture.content.to_string());
        let written = read.expect("a call event").map(|message| message.write());
        let written = written.map(|(event_type, content)| {
            (event_type, serde_json::from_str::<Value>(&content).unwrap())
        });
        let written = written.map_err(|why| why.to_string());
        assert_eq!(Some(written), case.written, "{}", case.fixture.name);
    }
}

#[test]
fn every_recorded_description_is_sound_and_sends_only_named_streams() {
    for fixture in fixture::all_recorded() {
        if let Some((sdp, streams)) = description(&read_fixture(&fixture)) {
            assert_eq!(check(&sdp), Ok(()), "{}", fixture.name);
            let sending = media_lines(&sdp).into_iter().filter(|line| line.direction.sends());
            let sent: Vec<_> = sending.filter_map(|line| line.stream).collect();
            assert!(sent.iter().all(|stream| streams.contains(stream)), "{}", fixture.name);
        }
    }
}

/// The description of a message, and the ids of the streams that its metadata name.
fn description(message: &CallMessage) -> Option<(String, Vec<matrix_voip::id::StreamId>)> {
    let (sdp, streams) = match &message.body {
        Body::Invite(invite) => (&invite.offer, &invite.streams),
        Body::Answer(answer) => (&answer.sdp, &answer.streams),
        Body::Negotiate(negotiate) => (&negotiate.description.sdp, &negotiate.streams),
        Body::Candidates(_)
        | Body::SelectAnswer { .. }
        | Body::Reject { .. }
        | Body::Hangup { .. }
        | Body::MetadataChanged(_)
        | Body::AssertedIdentity(_)
        | Body::Replaces(_) => return None,
    };
    let streams = streams.iter().flat_map(|streams| streams.keys().cloned()).collect();
    Some((sdp.expose().to_owned(), streams))
}
