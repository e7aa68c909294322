//! What engines are told of how they are heard, and what they tell of the way out.

use matrix_voip::host::FrameSink;

use super::*;
use crate::talk::MAX_VOLUME;

fn output(far: &Far) -> PlayoutOutput {
    far.speaker.playout().unwrap().output
}

#[test]
fn a_loudspeaker_that_is_unplugged_is_missing_and_opened_again() {
    let mut person = Person::plain(true);
    let mut far = Far::new(&person, 1);
    far.talk(&mut person, 500);
    assert_eq!((person.view().speaker, output(&far)), (DeviceState::Open, PlayoutOutput::Playing));
    person.plug(false);
    far.talk(&mut person, 500);
    assert_eq!(person.view().speaker, DeviceState::Missing(DeviceError::Gone));
    assert_eq!(output(&far), PlayoutOutput::NoDevice, "the engine learns it");
    let playout = far.speaker.playout().unwrap();
    assert!(playout.level > 0.18, "he goes on to speak: {playout:?}");
    assert_eq!(person.room.lock().unwrap().open, 0, "what is broken is dropped");
    person.plug(true);
    person.played();
    far.talk(&mut person, 1_000);
    assert_eq!((person.view().speaker, output(&far)), (DeviceState::Open, PlayoutOutput::Playing));
    let opened = vec![(DeviceKind::Speaker, Which::Default); 2];
    assert_eq!(person.room.lock().unwrap().opened, opened);
    assert!(rms(&person.played()) > 0.1);
}

#[test]
fn the_engine_learns_who_is_not_heard_and_how_loud_he_speaks_all_the_same() {
    let mut person = Person::plain(true);
    let mut far = Far::new(&person, 1);
    let other = Far::new(&person, 2);
    let before = far.speaker.playout().unwrap();
    assert_eq!((before.played, before.level), (0, 0.0));
    for (volume, is_muted, expected) in [
        (1.0, false, PlayoutOutput::Playing),
        (1.0, true, PlayoutOutput::Muted),
        (0.0, false, PlayoutOutput::Muted),
        (0.1, false, PlayoutOutput::Playing),
    ] {
        person.shared.set(&talker(1), |setting| {
            (setting.volume, setting.is_muted) = (volume, is_muted);
        });
        far.talk(&mut person, 500);
        let playout = far.speaker.playout().unwrap();
        assert_eq!(playout.output, expected, "{volume} {is_muted}");
        assert!((0.18..0.24).contains(&playout.level), "whatever the volume: {playout:?}");
        let silent = other.speaker.playout().unwrap();
        assert_eq!(
            (silent.output, silent.level),
            (PlayoutOutput::Playing, 0.0),
            "each for himself"
        );
    }
    let playout = far.speaker.playout().unwrap();
    assert!((95_000..=96_000).contains(&playout.played), "{playout:?}");
    assert!(playout.delay > Duration::ZERO && playout.target > Duration::ZERO, "{playout:?}");
}

/// All packets of the first second, the same bytes for the same settings, with ways out of which so much is told.
fn encoded(ways: &[SourceControl]) -> Vec<Vec<u8>> {
    let mut person = Person::plain(true);
    let mut lanes: Vec<Microphone> = ways.iter().map(|_| person.microphone()).collect();
    lanes.iter_mut().zip(ways).for_each(|(lane, way)| lane.control(*way));
    let mut packets = Vec::new();
    for _ in 0..10 {
        person.pass(100);
        packets.extend(sent(&mut lanes[0]).into_iter().map(|frame| frame.data));
    }
    packets
}

fn bytes(packets: &[Vec<u8>]) -> usize {
    packets.iter().map(Vec::len).sum()
}

#[test]
fn the_encoder_bears_the_narrowest_way_of_all_calls() {
    let rate = SourceControl::Bitrate;
    let (wide, narrow) = (encoded(&[rate(24_000)]), encoded(&[rate(12_000)]));
    assert!(bytes(&narrow) * 4 < bytes(&wide) * 3, "{} {}", bytes(&narrow), bytes(&wide));
    assert!(encoded(&[rate(24_000), rate(12_000)]) == narrow);
    assert!(encoded(&[rate(12_000), rate(24_000)]) == narrow);
}

#[test]
fn the_encoder_bears_the_worst_loss_of_all_calls() {
    let loss = SourceControl::Loss;
    let (clean, bad) = (encoded(&[loss(0.0)]), encoded(&[loss(0.4)]));
    assert!(clean != bad, "the correction is made for the loss");
    assert!(encoded(&[loss(0.0), loss(0.4)]) == bad);
    assert!(encoded(&[loss(0.4), loss(0.0)]) == bad);
}

#[test]
fn when_the_narrow_call_ends_the_other_has_all_of_its_way() {
    let mut person = Person::plain(true);
    let (mut wide, mut narrow) = (person.microphone(), person.microphone());
    narrow.control(SourceControl::Bitrate(8_000));
    let mut second = |person: &mut Person| {
        let mut sizes = Vec::new();
        for _ in 0..10 {
            person.pass(100);
            sizes.extend(sent(&mut wide).into_iter().map(|frame| frame.data.len()));
        }
        sizes.iter().sum::<usize>()
    };
    let before = second(&mut person);
    drop(narrow);
    let after = second(&mut person);
    assert!(after > 2 * before, "{before} bytes in a second, then {after}");
}

#[test]
fn what_a_microphone_gives_too_much_of_is_left_out_and_its_time_passes() {
    let mut person = Person::plain(true);
    let mut microphone = person.microphone();
    person.pass(100);
    let before = sent(&mut microphone);
    assert_eq!(before.last().unwrap().timestamp % 960, 0);
    // The machine slept for a second.
    person.room.lock().unwrap().gives = Some(48_000);
    person.pass(5);
    person.room.lock().unwrap().gives = None;
    person.pass(100);
    let after = sent(&mut microphone);
    let capture = person.view().capture;
    assert_eq!(capture.dropped, 48_000 - crate::talk::MAX_RECORDED as u64, "{capture:?}");
    let end = after.last().unwrap().timestamp + 960;
    assert!((capture.recorded - 960..=capture.recorded).contains(&end), "{end} {capture:?}");
}

#[test]
fn what_a_card_loses_takes_its_time_too() {
    let mut person = Person::plain(true);
    let mut microphone = person.microphone();
    person.pass(100);
    let before = sent(&mut microphone).last().unwrap().timestamp;
    person.room.lock().unwrap().lost = 38_400;
    person.pass(20);
    let after = sent(&mut microphone)[0].timestamp;
    assert_eq!(after - before, 960 + 38_400);
    assert_eq!(person.view().capture.dropped, 38_400);
    // A driver that counts nonsense.
    for lost in [u64::MAX, 0, u64::MAX, 7] {
        person.room.lock().unwrap().lost = lost;
        person.pass(100);
        assert!(sent(&mut microphone).len() >= 4);
        person.plug(false);
        person.pass(2_000);
        person.plug(true);
        person.pass(2_000);
        sent(&mut microphone);
    }
}

#[test]
fn a_volume_that_is_no_number_is_as_he_is_and_more_than_the_most_is_the_most() {
    let mut person = Person::plain(true);
    let mut far = Far::new(&person, 1);
    far.talk(&mut person, 500);
    for (volume, expected) in [
        (f32::NAN, 1.0),
        (f32::INFINITY, 1.0),
        (f32::NEG_INFINITY, 1.0),
        (9.0, MAX_VOLUME),
        (-3.0, 0.0),
    ] {
        for volume in [0.5, volume] {
            person.shared.set(&talker(1), |setting| setting.volume = volume);
            far.talk(&mut person, 100);
        }
        person.played();
        far.talk(&mut person, 200);
        let heard = rms(&person.played());
        let (_, voice) = &person.view().voices[0];
        assert_eq!(voice.volume, expected, "{volume}");
        assert!((heard - expected * voice.level.rms).abs() < 0.03, "{volume}: {heard}");
        // The core by itself leaves it at what it was.
        person.rig.core.set_volume(person.rig.voices[&1].id, volume);
        let (_, voice) = &person.rig.heard()[0];
        assert_eq!(voice.volume, expected, "{volume}");
    }
}

/// A loudspeaker with large buffers takes 40 ms at a time: that is no reason to change what is heard, nor to
/// wait longer.
#[test]
fn a_loudspeaker_that_takes_much_at_a_time_hears_the_same() {
    for takes in [240, 1_024, 1_920, 4_800] {
        let mut person = Person::plain(true);
        person.room.lock().unwrap().takes = Some(takes);
        let mut far = Far::new(&person, 1);
        far.talk(&mut person, 2_000);
        let before = person.view().voices[0].1.stats;
        person.room.lock().unwrap().dry = 0;
        far.talk(&mut person, 5_000);
        let after = person.view().voices[0].1.stats;
        assert_eq!(person.room.lock().unwrap().dry, 0, "{takes}");
        let stretched = after.shortened + after.lengthened - before.shortened - before.lengthened;
        let concealed = after.concealed - before.concealed;
        println!(
            "{takes} samples at a time: stretched {stretched}, concealed {concealed}, {after:?}"
        );
        // Of 100 ms at a time, more than a call should have, a packet or two in the five seconds.
        assert!(stretched < 4_800 && concealed < 2_400, "{takes}");
        assert!(after.delay < Duration::from_millis(50), "{takes}: {:?}", after.delay);
    }
}

#[test]
fn a_loudspeaker_whose_clock_is_faster_never_runs_dry_though_turns_are_late() {
    let mut person = Person::plain(true);
    {
        let mut room = person.room.lock().unwrap();
        (room.takes, room.is_fast) = (Some(1_920), true);
    }
    let _voice = Far::new(&person, 1);
    person.pass(1_000);
    person.room.lock().unwrap().dry = 0;
    for _ in 0..500 {
        for late in [3, 7, 1, 9] {
            person.now += Duration::from_millis(late);
            person.rig.turn(person.now, &person.shared);
        }
    }
    assert_eq!(person.room.lock().unwrap().dry, 0, "in 10 s");
}
