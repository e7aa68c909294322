//! Devices that come, go and misbehave, two calls at once, and the way from mouth to ear, all in virtual
//! time.

use std::sync::{Mutex, MutexGuard};

use matrix_voip::host::FrameSource;

use super::*;
use crate::{
    Level, Made, Script, Tone,
    talk::{
        AudioOptions, CleanerOptions, DeviceError, DeviceInfo, DeviceKind, Devices, Microphone,
        Speaker,
        clerk::Prompt,
        clock::Clock,
        metronome::Metronome,
        testkit::{Nobody, sent, talker},
    },
};

mod slow;
mod told;

/// What the devices of a test do.
#[derive(Debug, Default)]
struct Room {
    /// What the microphone hears: a tone of so many Hertz.
    hears: Option<Tone>,
    /// How many samples a read gives instead of what time has passed.
    gives: Option<usize>,
    /// How many samples the loudspeaker wants instead.
    wants: Option<usize>,
    /// How many samples the loudspeaker takes at a time, instead of 10 ms.
    takes: Option<usize>,
    /// Samples that it took and nobody had given it.
    dry: usize,
    /// Samples that the microphone has lost.
    lost: u64,
    /// Whether the loudspeaker's clock is faster than ours, by a hundredth.
    is_fast: bool,
    /// Whether the devices are plugged in.
    plugged: bool,
    played: Vec<f32>,
    opened: Vec<(DeviceKind, Which)>,
    open: usize,
}

type Shelf = Arc<Mutex<Room>>;

#[derive(Debug)]
struct Device {
    room: Shelf,
    metronome: Metronome,
    /// Samples that time has passed for, and those of them that were taken and not given again; below zero,
    /// what was given beyond.
    passed: usize,
    due: isize,
}

impl Device {
    fn open(room: &Shelf, kind: DeviceKind, which: &Which) -> Result<Self, DeviceError> {
        let mut inside = room.lock().unwrap();
        inside.opened.push((kind, which.clone()));
        if !inside.plugged {
            return Err(DeviceError::NotFound { kind, which: which.clone(), there: Vec::new() });
        }
        inside.open += 1;
        let room = Arc::clone(room);
        Ok(Self { room, metronome: Metronome::default(), passed: 0, due: 0 })
    }

    fn plugged(room: MutexGuard<'_, Room>) -> Result<MutexGuard<'_, Room>, DeviceError> {
        if room.plugged { Ok(room) } else { Err(DeviceError::Gone) }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.room.lock().unwrap().open -= 1;
    }
}

impl Recorder for Device {
    fn read(&mut self, now: Duration, sound: &mut Vec<f32>) -> Result<(), DeviceError> {
        let due = self.metronome.steps(now) as usize * STEP_SAMPLES;
        let mut room = Self::plugged(self.room.lock().unwrap())?;
        let count = room.gives.unwrap_or(due);
        match &mut room.hears {
            Some(tone) => sound.extend(tone.take(count)),
            None => sound.extend(std::iter::repeat_n(0.0, count)),
        }
        Ok(())
    }

    fn lost(&self) -> u64 {
        self.room.lock().unwrap().lost
    }
}

impl Player for Device {
    fn wanted(&mut self, now: Duration) -> Result<usize, DeviceError> {
        let mut room = Self::plugged(self.room.lock().unwrap())?;
        let now = if room.is_fast { now + now / 100 } else { now };
        self.passed += self.metronome.steps(now) as usize * STEP_SAMPLES;
        let takes = room.takes.unwrap_or(STEP_SAMPLES);
        while self.passed >= takes {
            // It has what it takes at a time, and 10 ms.
            room.dry += self.due.saturating_sub_unsigned(STEP_SAMPLES).max(0).unsigned_abs();
            self.passed -= takes;
            self.due += takes.cast_signed();
        }
        Ok(room.wants.unwrap_or(self.due.max(0).unsigned_abs()))
    }

    fn write(&mut self, sound: &[f32]) {
        self.due -= sound.len().cast_signed();
        self.room.lock().unwrap().played.extend_from_slice(sound);
    }
}

struct Cards(Shelf);

impl Devices for Cards {
    fn list(&mut self) -> Result<Vec<DeviceInfo>, DeviceError> {
        Ok(vec![DeviceInfo::new(DeviceKind::Microphone, "Headset", "1")])
    }

    fn open_recorder(&mut self, which: &Which) -> Result<Box<dyn Recorder>, DeviceError> {
        Ok(Box::new(Device::open(&self.0, DeviceKind::Microphone, which)?))
    }

    fn open_player(&mut self, which: &Which) -> Result<Box<dyn Player>, DeviceError> {
        Ok(Box::new(Device::open(&self.0, DeviceKind::Speaker, which)?))
    }
}

/// A headset whose thread is the test.
struct Person {
    rig: Rig,
    shared: Arc<Shared>,
    room: Shelf,
    now: Duration,
}

impl Person {
    fn new(plugged: bool, clean: CleanerOptions) -> Self {
        Self::served(plugged, clean, |cards| Box::new(Prompt::new(cards)))
    }

    fn served(
        plugged: bool,
        clean: CleanerOptions,
        clerk: impl FnOnce(Cards) -> Box<dyn Clerk>,
    ) -> Self {
        let options = AudioOptions { clean, ..AudioOptions::default() };
        let room = Room { plugged, hears: Some(Tone::new(440.0, 0.3)), ..Room::default() };
        let room = Arc::new(Mutex::new(room));
        let clerk = clerk(Cards(Arc::clone(&room)));
        let rig = Rig::new(AudioCore::new(options).unwrap(), clerk);
        let shared = Shared::new(Which::Default, Which::Default, Box::new(Nobody));
        Self { rig, shared: Arc::new(shared), room, now: Duration::from_secs(7) }
    }

    fn plain(plugged: bool) -> Self {
        Self::new(plugged, CleanerOptions::NOTHING)
    }

    fn microphone(&self) -> Microphone {
        Microphone::open(Arc::clone(&self.shared))
    }

    /// Turns for so many milliseconds.
    fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 5 {
            self.now += Duration::from_millis(5);
            self.rig.turn(self.now, &self.shared);
        }
    }

    fn view(&self) -> HeadsetView {
        self.shared.view.borrow().clone()
    }

    /// What was played since it was asked last.
    fn played(&self) -> Vec<f32> {
        std::mem::take(&mut self.room.lock().unwrap().played)
    }

    fn plug(&self, plugged: bool) {
        self.room.lock().unwrap().plugged = plugged;
    }
}

/// A voice that comes in steady packets.
struct Far {
    voice: crate::Voice<Tone>,
    sequence: u64,
    /// What the engine has of it; its packets come by the test's clock and not by that of this.
    speaker: Speaker,
    inbox: Arc<Inbox>,
}

impl Far {
    fn new(person: &Person, session: u64) -> Self {
        let speaker = Speaker::open(Arc::clone(&person.shared), talker(session), Clock::start());
        let inbox = person.shared.lock().voices.last_entry().unwrap().get().1.clone();
        Self { voice: crate::Voice::new(Tone::new(600.0, 0.3)), sequence: 0, speaker, inbox }
    }

    /// Talks for so many milliseconds.
    fn talk(&mut self, person: &mut Person, milliseconds: u64) {
        for _ in 0..milliseconds / 20 {
            let Made::Frame(frame) = self.voice.make() else { panic!("a tone has no end") };
            let frame = Frame { sequence: Some(self.sequence), ..frame };
            self.sequence += 1;
            self.inbox.put(person.now, frame);
            person.pass(20);
        }
    }

    /// The same, with what is sent of the microphone meanwhile, whose packets nobody gives up.
    fn talk_both_ways(
        &mut self,
        person: &mut Person,
        microphone: &mut Microphone,
        milliseconds: u64,
    ) -> Vec<Frame> {
        let mut packets = Vec::new();
        for _ in 0..milliseconds / 100 {
            self.talk(person, 100);
            packets.extend(sent(microphone));
        }
        packets
    }
}

fn rms(sound: &[f32]) -> f32 {
    Level::of(sound).rms
}

fn missing(state: &DeviceState) -> bool {
    matches!(state, DeviceState::Missing(_))
}

#[test]
fn without_a_call_no_device_is_open() {
    let mut person = Person::plain(true);
    person.pass(100);
    assert!(person.room.lock().unwrap().opened.is_empty());
    let microphone = person.microphone();
    person.pass(100);
    assert_eq!(person.room.lock().unwrap().open, 2);
    assert_eq!(person.view().microphone, DeviceState::Open);
    let _far = Far::new(&person, 1);
    drop(microphone);
    person.pass(10);
    assert_eq!(person.view().microphone, DeviceState::Idle, "who only listens is not recorded");
    assert_eq!(person.room.lock().unwrap().open, 1);
    person.shared.wish(|wishes| wishes.voices.clear());
    person.pass(10);
    assert_eq!(person.room.lock().unwrap().open, 0);
    assert_eq!(person.view().microphone, DeviceState::Idle);
}

#[test]
fn without_a_sound_card_the_call_goes_on_in_silence_and_it_is_told() {
    let mut person = Person::plain(false);
    let mut microphone = person.microphone();
    let mut far = Far::new(&person, 1);
    let packets = far.talk_both_ways(&mut person, &mut microphone, 2_000);
    assert!((98..=101).contains(&packets.len()), "{} packets in 2 s", packets.len());
    assert!(packets.windows(2).all(|pair| pair[1].timestamp == pair[0].timestamp + 960));
    let view = person.view();
    assert!(missing(&view.microphone) && missing(&view.speaker), "{view:?}");
    let (_, voice) = &view.voices[0];
    assert!(voice.level.rms > 0.1 && voice.stats.delay < Duration::from_millis(60), "{voice:?}");
    let tries = person.room.lock().unwrap().opened.len();
    assert!((4..=6).contains(&tries), "{tries} tries in 2 s of two devices");
}

#[test]
fn what_is_unplugged_and_plugged_in_again_is_heard_again() {
    let mut person = Person::plain(true);
    person.room.lock().unwrap().lost = 7;
    let mut microphone = person.microphone();
    let mut far = Far::new(&person, 1);
    far.talk(&mut person, 1_000);
    sent(&mut microphone);
    person.played();
    person.plug(false);
    let mut packets = far.talk_both_ways(&mut person, &mut microphone, 1_000);
    assert!(packets.windows(2).all(|pair| pair[1].timestamp == pair[0].timestamp + 960));
    assert!((48..=51).contains(&packets.len()), "{}", packets.len());
    assert_eq!(packets.last().unwrap().audio_level, Some(-127));
    assert_eq!(person.view().microphone, DeviceState::Missing(DeviceError::Gone));
    assert!(!microphone.has_device(), "the engine learns it");
    assert!(person.played().is_empty());
    person.plug(true);
    for _ in 0..11 {
        far.talk(&mut person, 100);
        packets = sent(&mut microphone);
    }
    assert_eq!(person.view().speaker, DeviceState::Open);
    assert!(microphone.has_device());
    assert_eq!(person.view().capture.dropped, 14, "what the first has lost counts still");
    assert!(packets.last().unwrap().audio_level.unwrap() > -20, "{packets:?}");
    person.played();
    far.talk(&mut person, 500);
    let played = person.played();
    assert!(played.len() >= 23_000 && rms(&played) > 0.15, "{} {}", played.len(), rms(&played));
}

#[test]
fn another_device_is_taken_in_the_middle_of_a_call() {
    let mut person = Person::plain(true);
    let _microphone = person.microphone();
    person.pass(100);
    let other = Which::Named("USB".into());
    person.shared.lock().speaker = other.clone();
    person.pass(10);
    let room = person.room.lock().unwrap();
    assert_eq!(room.opened.last(), Some(&(DeviceKind::Speaker, other)));
    assert_eq!((room.opened.len(), room.open), (3, 2));
}

#[test]
fn devices_that_give_and_want_nothing_or_far_too_much_do_no_harm() {
    for (gives, wants) in [(0, 0), (5_000_000, usize::MAX), (1, 1), (479, 481)] {
        let mut person = Person::plain(true);
        let mut microphone = person.microphone();
        let mut far = Far::new(&person, 1);
        {
            let mut room = person.room.lock().unwrap();
            (room.gives, room.wants) = (Some(gives), Some(wants));
        }
        for _ in 0..5 {
            far.talk(&mut person, 20);
            assert!(person.played().len() <= 4 * MAX_WANTED);
        }
        assert!(sent(&mut microphone).len() <= 10);
        {
            let mut room = person.room.lock().unwrap();
            (room.gives, room.wants) = (None, None);
        }
        far.talk(&mut person, 1_000);
        sent(&mut microphone);
        person.played();
        far.talk(&mut person, 200);
        let (packets, played) = (sent(&mut microphone), person.played());
        assert!((9..=11).contains(&packets.len()), "{gives} {wants}: {}", packets.len());
        assert!(packets.iter().all(|packet| packet.audio_level.unwrap() > -20));
        assert!(rms(&played) > 0.15, "{gives} {wants}: {}", rms(&played));
        assert!(person.rig.recorded.capacity() <= 2 * MAX_WANTED);
    }
}

#[test]
fn after_a_clock_that_jumps_sound_comes_back() {
    for to in [3_607, 3, 9] {
        let mut person = Person::plain(true);
        let mut microphone = person.microphone();
        let mut far = Far::new(&person, 1);
        far.talk(&mut person, 1_000);
        person.now = Duration::from_secs(to);
        far.talk(&mut person, 3_000);
        sent(&mut microphone);
        person.played();
        far.talk(&mut person, 200);
        let played = person.played();
        assert!(rms(&played) > 0.15, "after a jump to {to} s: {}", rms(&played));
        assert!((9..=11).contains(&sent(&mut microphone).len()));
    }
}

#[test]
fn two_calls_have_one_microphone_which_is_silent_when_both_are_muted() {
    let mut person = Person::plain(true);
    let (mut one, mut other) = (person.microphone(), person.microphone());
    person.pass(100);
    one.control(SourceControl::Enabled(false));
    person.pass(100);
    sent(&mut one);
    sent(&mut other);
    person.pass(100);
    let (first, second) = (sent(&mut one), sent(&mut other));
    assert_eq!(first, second, "whoever is muted, the engine sends silence for");
    assert!(first[0].audio_level.unwrap() > -20);
    other.control(SourceControl::Enabled(false));
    person.pass(60);
    sent(&mut other);
    person.pass(100);
    assert_eq!(sent(&mut other)[0].audio_level, Some(-127));
    drop(one);
    other.control(SourceControl::Enabled(true));
    person.pass(60);
    sent(&mut other);
    person.pass(100);
    assert!(sent(&mut other)[0].audio_level.unwrap() > -20);
    person.shared.wish(|wishes| wishes.is_muted = true);
    person.pass(60);
    sent(&mut other);
    person.pass(100);
    assert_eq!(sent(&mut other)[0].audio_level, Some(-127), "push to talk");
}

#[test]
fn everybody_is_as_loud_as_wished_and_what_was_wished_stays_over_a_hold() {
    let mut person = Person::plain(true);
    let mut far = Far::new(&person, 1);
    person.shared.set(&talker(1), |setting| setting.volume = 0.5);
    far.talk(&mut person, 1_000);
    person.played();
    far.talk(&mut person, 200);
    let half = rms(&person.played());
    assert!((0.09..0.12).contains(&half), "{half}");
    assert!(person.view().voices[0].1.level.rms > 0.18, "the level is his own");
    // Held: the track goes, and comes again.
    let id = *person.shared.lock().voices.keys().next().unwrap();
    person.shared.close_voice(id);
    person.pass(100);
    assert!(person.view().voices.is_empty());
    let mut again = Far::new(&person, 1);
    again.talk(&mut person, 1_000);
    person.played();
    again.talk(&mut person, 200);
    assert!((rms(&person.played()) - half).abs() < 0.02);
    for (volume, is_muted) in [(1.0, true), (0.0, false), (f32::NAN, true)] {
        person.shared.set(&talker(1), |setting| {
            (setting.volume, setting.is_muted) = (volume, is_muted);
        });
        again.talk(&mut person, 100);
        person.played();
        again.talk(&mut person, 100);
        assert!(rms(&person.played()) < 0.001, "{volume} {is_muted}");
    }
}

#[test]
fn what_nobody_takes_does_not_pile_up() {
    let mut person = Person::plain(true);
    let mut microphone = person.microphone();
    person.pass(2_000);
    let packets = sent(&mut microphone);
    assert_eq!(packets.len(), crate::talk::MAX_UNSENT);
    let newest = packets.last().unwrap().timestamp;
    assert!(newest >= 95 * 960, "the newest are kept: {newest}");
    assert!(person.view().capture.untaken >= 85);
    let (_, inbox) = person.shared.open_voice(talker(3));
    for n in 0..1_000 {
        inbox.put(person.now, Frame::new(matrix_voip::host::Codec::Opus, n * 960, vec![1]));
    }
    person.pass(5);
    assert_eq!(person.view().voices[0].1.stats.overrun, 1_000 - crate::talk::MAX_ARRIVED as u64);
}

/// From one person's microphone to another's loudspeaker, with nothing but a network of 30 ms between
/// them: how long a click takes.
fn mouth_to_ear(clean: CleanerOptions, jitter: u64) -> Duration {
    let (mut ann, mut ben) = (Person::new(true, clean), Person::new(true, clean));
    let (mut mouth, _other) = (ann.microphone(), ben.microphone());
    let (_, ear) = ben.shared.open_voice(talker(1));
    ann.room.lock().unwrap().hears = None;
    let mut random = fastrand::Rng::with_seed(5);
    let mut on_the_way: Vec<(Duration, Frame)> = Vec::new();
    let mut sequence = 0;
    let spoken = Duration::from_secs(16);
    for _ in 0..2_000 {
        // A second of tone, at a time that no frame begins at.
        if ann.now == spoken + Duration::from_millis(5) {
            ann.room.lock().unwrap().hears = Some(Tone::new(700.0, 0.5));
        }
        ann.pass(5);
        for frame in sent(&mut mouth) {
            let late = Duration::from_millis(30 + random.u64(0..=jitter));
            on_the_way.push((ann.now + late, Frame { sequence: Some(sequence), ..frame }));
            sequence += 1;
        }
        ben.pass(5);
        on_the_way.retain(|(arrival, frame)| {
            let has_come = *arrival <= ben.now;
            if has_come {
                ear.put(*arrival, frame.clone());
            }
            !has_come
        });
    }
    let played = ben.played();
    let begin = played.iter().position(|sample| sample.abs() > 0.05).expect("it is heard");
    let began = Duration::from_secs(7);
    began + Duration::from_micros(begin as u64 * 1_000 / 48) - spoken
}

#[test]
fn from_mouth_to_ear_it_is_as_far_as_it_must_be() {
    for (name, clean, jitter, bound) in [
        ("as it is", CleanerOptions::NOTHING, 0, 110),
        ("cleaned", CleanerOptions::PERSON, 0, 130),
        ("cleaned, 60 ms jitter", CleanerOptions::PERSON, 60, 200),
    ] {
        let took = mouth_to_ear(clean, jitter);
        println!("mouth to ear, {name}: {} ms, 30 of it network", took.as_millis());
        assert!(took.as_millis() < bound, "{name}: {took:?}");
    }
}
