//! Microphones and loudspeakers by a real sound server: PulseAudio in user space, with virtual cards.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod rig;

use std::f32::consts::TAU;

use matrix_voip_media::{
    Level, SoundCards, Tone,
    talk::{DeviceError, Devices as _, Which},
};
use rig::{Server, alone, end, every_5_ms, feed, now, records, second_of_a_tone, skip};

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
        let sound = second_of_a_tone(|sound| recorder.read(now(), sound).unwrap());
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

/// How long sound takes from where it is written, through two rings and the server, to where it is read.
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
        let (mut written, mut begun, mut took) = (0, None, None);
        let second = second_of_a_tone(|recorded| {
            let before = recorded.len();
            recorder.read(now(), recorded).unwrap();
            if recorded[before..].iter().any(|sample| sample.abs() > 0.05) {
                took = took.or_else(|| begun.map(|begun| now() - begun));
            }
            written += feed(&mut *player, &mut sound);
            if written > 24_000 {
                begun = begun.or_else(|| Some(now()));
            }
        });
        let took = took.unwrap();
        println!("measured: from the loudspeaker to the microphone in {took:?}");
        is_tone(&second, 1000.0, 0.4);
        // 35 to 40 ms on a machine that is not busy; with buffers of the default size it is seconds.
        assert!(took.as_millis() < 200, "{took:?}");
    });
}

#[test]
fn cards_of_other_rates_and_formats_sound_the_same() {
    alone("cards_of_other_rates_and_formats_sound_the_same", |folder| {
        let server = Server::start(&folder);
        for (name, form) in
            [("cd", "rate=44100 channels=2"), ("old", "rate=8000 channels=1 format=u8")]
        {
            server.pactl(&format!(
                "load-module module-null-sink sink_name={name} {form} norewinds=1"
            ));
            let mut cards = SoundCards::new();
            let mut recorder = cards.open_recorder(&named(&format!("{name}.monitor"))).unwrap();
            let mut player = cards.open_player(&named(name)).unwrap();
            let mut tone = tone(1000.0);
            let sound = second_of_a_tone(|sound| {
                feed(&mut *player, &mut tone);
                recorder.read(now(), sound).unwrap();
            });
            if name == "cd" {
                is_tone(&sound, 1000.0, 0.4);
            } else {
                // Eight bits are too coarse to see breaks in.
                let level = Level::of(&sound);
                assert!((level.rms / 0.283 - 1.0).abs() < 0.1, "{level:?}");
            }
        }
    });
}

#[test]
fn what_is_there_is_listed_and_can_be_chosen_by_its_name() {
    alone("what_is_there_is_listed_and_can_be_chosen_by_its_name", |folder| {
        let server = Server::start(&folder);
        server.pactl(
            "load-module module-remap-source source_name=second master=mic.monitor \
             source_properties=device.description=Earring",
        );
        let mut cards = SoundCards::new();
        let told: Vec<_> = cards
            .list()
            .unwrap()
            .into_iter()
            .map(|device| {
                format!("{} {} {} {}", device.kind, device.name, device.id, device.is_default)
            })
            .collect();
        assert_eq!(
            told,
            [
                "microphone Ear pulseaudio:virtmic true",
                "microphone Earring pulseaudio:second false",
                "speaker Loud pulseaudio:spk true",
                "speaker Mouth pulseaudio:mic false",
            ]
        );
        for name in ["Ear", "EARR", "second", "pulseaudio:virtmic", "spk.monitor"] {
            records(&mut *cards.open_recorder(&named(name)).unwrap());
        }
        for name in ["Loud", "mouth", "spk"] {
            assert!(cards.open_player(&named(name)).unwrap().wanted(now()).unwrap() > 0, "{name}");
        }
        let wrong = |name: &str| SoundCards::new().open_recorder(&named(name)).err().unwrap();
        assert_eq!(
            wrong("ea").to_string(),
            "\"ea\" is in the names of several: \"Ear\" (pulseaudio:virtmic), \"Earring\" (pulseaudio:second)"
        );
        assert_eq!(
            wrong("Loud").to_string(),
            "no microphone \"Loud\" is there, but \"Ear\", \"Earring\""
        );
    });
}

/// The server would move what is recorded to another source, if only a monitor, and tell nobody.
#[test]
fn a_microphone_that_is_unplugged_is_gone_and_records_when_it_is_there_again() {
    alone("a_microphone_that_is_unplugged_is_gone_and_records_when_it_is_there_again", |folder| {
        let server = Server::start(&folder);
        let plug = "load-module module-remap-source source_name=usb master=mic.monitor";
        let plugged = server.pactl(plug);
        let mut cards = SoundCards::new();
        let mut recorder = cards.open_recorder(&named("usb")).unwrap();
        records(&mut *recorder);
        server.pactl(&format!("unload-module {plugged}"));
        let mut sound = Vec::new();
        let (error, took) = end(|| recorder.read(now(), &mut sound));
        println!("measured: unplugged, noticed after {took:?}");
        assert_eq!(error, DeviceError::Gone);
        // It may be missing for long, and is looked for each second. The server has room for 64 clients.
        for _ in 0..100 {
            let error = cards.open_recorder(&named("usb")).err().unwrap();
            assert_eq!(error.to_string(), "no microphone \"usb\" is there, but \"Ear\"");
        }
        let mut recorder = cards.open_recorder(&Which::Default).unwrap();
        server.pactl("unload-module module-remap-source");
        assert_eq!(end(|| recorder.read(now(), &mut sound)).0, DeviceError::Gone);
        let error = cards.open_recorder(&Which::Default).err().unwrap();
        assert_eq!(error.to_string(), "no microphone is there", "a monitor is none");
        server.pactl(plug);
        records(&mut *cards.open_recorder(&named("usb")).unwrap());
    });
}

#[test]
fn another_loudspeaker_can_be_opened_while_one_plays_and_many_times() {
    alone("another_loudspeaker_can_be_opened_while_one_plays_and_many_times", |folder| {
        let _server = Server::start(&folder);
        let mut players = Vec::new();
        for round in 0..100 {
            let name = named(["spk", "mic"][round % 2]);
            players.push(SoundCards::new().open_player(&name).unwrap());
            players.drain(..players.len().saturating_sub(2));
        }
        for player in &mut players {
            assert!(player.wanted(now()).unwrap() > 0);
        }
    });
}

#[test]
fn a_server_that_is_killed_takes_all_devices_with_it_and_a_new_one_brings_them_back() {
    alone(
        "a_server_that_is_killed_takes_all_devices_with_it_and_a_new_one_brings_them_back",
        |folder| {
            let server = Server::start(&folder);
            let mut cards = SoundCards::new();
            let mut recorder = cards.open_recorder(&Which::Default).unwrap();
            let mut player = cards.open_player(&Which::Default).unwrap();
            records(&mut *recorder);
            server.signal("-KILL");
            let mut sound = Vec::new();
            let (error, took) = end(|| recorder.read(now(), &mut sound));
            println!("measured: the server killed, noticed after {took:?}");
            assert_eq!(error, DeviceError::Gone);
            assert_eq!(end(|| player.wanted(now()).map(drop)).0, DeviceError::Gone);
            println!("without a server: {}", cards.open_recorder(&Which::Default).err().unwrap());
            println!("without a server: {}", cards.open_player(&Which::Default).err().unwrap());
            drop(server);
            let _server = Server::start(&folder);
            records(&mut *cards.open_recorder(&Which::Default).unwrap());
            assert!(cards.open_player(&Which::Default).unwrap().wanted(now()).unwrap() > 0);
        },
    );
}

#[test]
fn a_server_that_hangs_stops_nobody_for_long() {
    alone("a_server_that_hangs_stops_nobody_for_long", |folder| {
        let server = Server::start(&folder);
        let mut cards = SoundCards::new();
        let mut recorder = cards.open_recorder(&Which::Default).unwrap();
        let mut player = cards.open_player(&Which::Default).unwrap();
        records(&mut *recorder);
        server.signal("-STOP");
        let mut sound = Vec::new();
        let (error, took) = end(|| recorder.read(now(), &mut sound));
        println!("measured: the server hangs, noticed after {took:?}");
        assert_eq!(error, DeviceError::Gone);
        assert_eq!(end(|| player.wanted(now()).map(drop)).0, DeviceError::Gone);
        let begun = now();
        drop((recorder, player));
        let closed = now() - begun;
        assert!(closed.as_millis() < 500, "closing waits for the server: {closed:?}");
        let errors: Vec<_> = (0..6).map(|_| cards.open_player(&Which::Default).err()).collect();
        println!("measured: six times refused in {:?}", now() - begun);
        assert!(
            errors.iter().all(|error| matches!(error, Some(DeviceError::System(_)))),
            "{errors:?}"
        );
        server.signal("-CONT");
        every_5_ms("a server that goes on", || cards.open_player(&Which::Default).ok());
    });
}

#[test]
fn a_machine_without_cards_has_no_microphone_and_says_so() {
    // As "0 [PCH ]: …", or "--- no soundcards ---".
    let cards = std::fs::read_to_string("/proc/asound/cards").unwrap_or_default();
    if cards.contains('[') {
        return skip("a machine without sound cards: this one has some");
    }
    alone("a_machine_without_cards_has_no_microphone_and_says_so", |_folder| {
        let mut cards = SoundCards::new();
        println!("listed: {:?}", cards.list());
        let microphone = cards.open_recorder(&Which::Default).err().unwrap();
        let speaker = cards.open_player(&Which::Default).err().unwrap();
        println!("refused: {microphone} / {speaker}");
        assert_eq!(cards.list().unwrap(), []);
        assert_eq!(microphone.to_string(), "no microphone is there");
        assert_eq!(speaker.to_string(), "no speaker is there");
        let named = cards.open_player(&named("x")).err().unwrap();
        assert_eq!(named.to_string(), "no speaker \"x\" is there, and no other");
    });
}
