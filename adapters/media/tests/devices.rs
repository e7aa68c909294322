//! Microphones and loudspeakers by a real sound server: PulseAudio in user space, with virtual cards.

mod rig;

use std::f32::consts::TAU;

use matrix_voip_media::{
    Level, SoundCards, Tone,
    talk::{DeviceError, DeviceKind, Devices as _, Which},
};
use rig::{Server, alone, end, every_5_ms, feed, now, records, second_of_a_tone};

/// The tone, its level, and that its samples follow each other: each is known by the two before. A busy
/// machine may break it now and then; a second that is not whole at all has hundreds of breaks.
fn is_tone(sound: &[f32], hz: f32, amplitude: f32) {
    let turn = 2.0 * (TAU * hz / 48_000.0).cos();
    let is_break = |three: &&[f32]| (three[0] + three[2] - turn * three[1]).abs() > 0.004;
    let breaks = sound.windows(3).filter(is_break).count();
    println!("measured: {hz} Hz with {breaks} breaks in a second");
    assert!(breaks <= 20, "the tone breaks {breaks} times");
    let ups = sound.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
    assert!((ups as f32 / hz - 1.0).abs() <= 0.02, "{ups} periods in a second, not {hz}");
    let level = Level::of(sound);
    let due = amplitude / 2.0_f32.sqrt();
    assert!((level.rms / due - 1.0).abs() < 0.02, "{level:?}, not {due}");
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

/// How long sound takes from our loudspeaker's ring through the server back out of our microphone's.
#[test]
fn sound_that_is_played_and_recorded_again_comes_whole_and_soon() {
    alone("sound_that_is_played_and_recorded_again_comes_whole_and_soon", |folder| {
        let server = Server::start(&folder);
        server.pactl("load-module module-remap-source source_name=loop master=spk.monitor");
        let mut cards = SoundCards::new();
        let mut recorder = cards.open_recorder(&named("loop")).unwrap();
        let mut player = cards.open_player(&Which::Default).unwrap();
        // Half a second of silence, until both run steadily.
        let mut sound = std::iter::repeat_n(0.0, 24_000).chain(tone(1000.0));
        let (mut written, mut begun, mut heard) = (0, None, Vec::new());
        let mut took = None;
        let second = second_of_a_tone(|recorded| {
            recorder.read(&mut heard).unwrap();
            if heard.iter().any(|sample| sample.abs() > 0.05) {
                took = took.or_else(|| begun.map(|begun: std::time::Instant| begun.elapsed()));
            }
            recorded.append(&mut heard);
            while player.wanted().unwrap() > 0 {
                player.write(&sound.by_ref().take(480).collect::<Vec<_>>());
                written += 480;
            }
            if written > 24_000 {
                begun = begun.or_else(|| Some(now()));
            }
        });
        println!(
            "measured: loudspeaker to microphone {:?}, lost {} and {}",
            took.unwrap(),
            player.lost(),
            recorder.lost()
        );
        is_tone(&second, 1000.0, 0.4);
    });
}
