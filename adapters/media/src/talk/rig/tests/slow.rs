//! A sound system that takes its time, or never answers: sound goes on.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use matrix_voip::host::FrameSink;

use super::*;

/// Opens at once and tells it when it may.
struct Slow {
    cards: Prompt<Cards>,
    hangs: Arc<AtomicBool>,
}

impl Clerk for Slow {
    fn ask(&mut self, question: Question) {
        self.cards.ask(question);
    }

    fn next(&mut self) -> Result<Option<Answer>, DeviceError> {
        if self.hangs.load(SeqCst) { Ok(None) } else { self.cards.next() }
    }
}

fn person() -> (Person, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(false));
    let clerk = |cards| {
        let slow = Slow { cards: Prompt::new(cards), hangs: Arc::clone(&hangs) };
        Box::new(slow) as Box<dyn Clerk>
    };
    (Person::served(true, CleanerOptions::NOTHING, clerk), hangs)
}

fn choose_speaker(person: &Person, name: &str) {
    let which = Which::Named(name.into());
    person.shared.wish(|wishes| *wishes.device(DeviceKind::Speaker) = which);
}

#[test]
fn while_a_loudspeaker_is_being_opened_the_microphone_is_sent_and_others_are_not_piled_up() {
    let (mut person, hangs) = person();
    let mut microphone = person.microphone();
    let mut far = Far::new(&person, 1);
    far.talk(&mut person, 500);
    sent(&mut microphone);
    hangs.store(true, SeqCst);
    choose_speaker(&person, "slow");
    far.talk(&mut person, 100);
    assert_eq!(person.view().speaker, DeviceState::Opening);
    sent(&mut microphone);
    let packets = far.talk_both_ways(&mut person, &mut microphone, 3_000);
    assert!((148..=151).contains(&packets.len()), "{} packets in 3 s", packets.len());
    assert!(packets.iter().all(|packet| packet.audio_level.unwrap() > -20));
    let view = person.view();
    let slow = DeviceError::System("the sound system does not answer".into());
    assert_eq!(
        (&view.microphone, &view.speaker),
        (&DeviceState::Open, &DeviceState::Missing(slow)),
        "it is told"
    );
    assert_eq!(far.speaker.playout().unwrap().output, PlayoutOutput::NoDevice, "nobody hears it");
    let (_, voice) = &view.voices[0];
    assert!(voice.stats.overrun == 0 && voice.stats.late == 0, "{voice:?}");
    let asked = person.room.lock().unwrap().opened.len();
    assert_eq!(asked, 3, "what hangs is not asked again and again");
    hangs.store(false, SeqCst);
    person.played();
    far.talk(&mut person, 500);
    assert_eq!(person.view().speaker, DeviceState::Open);
    assert!(rms(&person.played()) > 0.15);
}

#[test]
fn what_is_opened_too_late_to_be_wanted_is_closed_again() {
    let (mut person, hangs) = person();
    let mut far = Far::new(&person, 1);
    far.talk(&mut person, 100);
    hangs.store(true, SeqCst);
    for name in ["one", "other", "third"] {
        choose_speaker(&person, name);
        far.talk(&mut person, 100);
    }
    assert_eq!(person.room.lock().unwrap().open, 3);
    hangs.store(false, SeqCst);
    far.talk(&mut person, 100);
    assert_eq!(person.room.lock().unwrap().open, 1);
    assert_eq!(person.view().speaker, DeviceState::Open);
    hangs.store(true, SeqCst);
    choose_speaker(&person, "fourth");
    far.talk(&mut person, 100);
    drop(far);
    person.pass(20);
    hangs.store(false, SeqCst);
    let mut next = Far::new(&person, 2);
    next.talk(&mut person, 100);
    assert_eq!(person.room.lock().unwrap().open, 1, "nor one of the call before");
}

#[test]
fn a_microphone_that_opens_when_the_call_is_over_is_closed() {
    let (mut person, hangs) = person();
    hangs.store(true, SeqCst);
    let microphone = person.microphone();
    let far = Far::new(&person, 1);
    person.pass(20);
    assert_eq!(person.room.lock().unwrap().open, 2);
    drop((microphone, far));
    person.pass(5);
    hangs.store(false, SeqCst);
    person.pass(5);
    assert_eq!(person.room.lock().unwrap().open, 0);
    assert_eq!(person.view().microphone, DeviceState::Idle);
}

/// Its devices have panicked.
struct Dead;

impl Clerk for Dead {
    fn ask(&mut self, _: Question) {}

    fn next(&mut self) -> Result<Option<Answer>, DeviceError> {
        Err(DeviceError::Gone)
    }
}

#[test]
fn where_nobody_opens_devices_any_more_they_are_missing_and_the_call_goes_on() {
    let mut person = Person::served(true, CleanerOptions::NOTHING, |_| Box::new(Dead));
    let mut microphone = person.microphone();
    let mut far = Far::new(&person, 1);
    let packets = far.talk_both_ways(&mut person, &mut microphone, 2_000);
    assert!((98..=101).contains(&packets.len()), "{} packets in 2 s", packets.len());
    let gone = DeviceState::Missing(DeviceError::Gone);
    let view = person.view();
    assert_eq!((&view.microphone, &view.speaker), (&gone, &gone));
}
