//! Microphones and loudspeakers by a real sound server: PulseAudio in user space, with virtual cards.

mod rig;

use std::f32::consts::TAU;

use matrix_voip_media::{
    Level, SoundCards, Tone,
    talk::{DeviceError, DeviceKind, Devices as _, Which},
};
use rig::{Server, alone, end, every_5_ms, feed, now, records, second_of_a_tone};

/// The tone, its level, and that no sample of it is missing or doubled: each follows from the two before.
fn is_tone(sound: &[f32], hz: f32, amplitude: f32) {
    let ups = sound.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    assert!((ups as f32 - hz).abs() <= 1.0, "{ups} periods in a second, not {hz}");
    let level = Level::of(sound);
    let due = amplitude / 2.0_f32.sqrt();
    assert!((level.rms / due - 1.0).abs() < 0.02, "{level:?}, not {due}");
    let turn = 2.0 * (TAU * hz / 48_000.0).cos();
    let is_wrong = |three: &&[f32]| (three[0] + three[2] - turn * three[1]).abs() > 0.004;
    let wrong = sound.windows(3).filter(is_wrong).count();
    assert_eq!(wrong, 0, "samples where the tone breaks");
}

fn tone(hz: f32) -> Tone {
    Tone::new(hz, 0.4)
}

fn named(name: &str) -> Which {
    Which::Named(name.to_owned())
}

#[test]
fn what_is_spoken_into_the_microphone_is_recorded() {
    alone("what_is_spoken_into_the_microphone_is_recorded", |folder| {
        let server = Server::start(&folder);
        let mut recorder = SoundCards::new().open_recorder(&Which::Default).unwrap();
        let _mouth = server.speak("mic", tone(440.0).take(96_000).collect());
        let sound = second_of_a_tone(|sound| recorder.read(sound).unwrap());
        is_tone(&sound, 440.0, 0.4);
        assert_eq!(recorder.lost(), 0);
    });
}

#[test]
fn what_we_play_is_heard_at_the_loudspeaker() {
    alone("what_we_play_is_heard_at_the_loudspeaker", |folder| {
        let server = Server::start(&folder);
        let mut player = SoundCards::new().open_player(&Which::Default).unwrap();
        let ear = server.hear("spk.monitor");
        let mut tone = tone(1000.0);
        let sound = second_of_a_tone(|sound| {
            feed(&mut *player, &mut tone);
            ear.read(sound);
        });
        is_tone(&sound, 1000.0, 0.4);
        assert_eq!(player.lost(), 0);
    });
}
