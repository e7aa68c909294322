//! A person who talks through a microphone and a loudspeaker, as any person does: those of a sound server
//! without cards. Speech is recognised by how loud it is in each band over time.

use std::{thread, time::Duration};

use real::{
    Client, Failure, Line, Media, PATIENCE, Person, Running, Scene, SoundEquipment, SoundServer,
    Speech, Tool, clock,
    likeness::{Contour, RATE, decibels},
    speech,
};

use crate::{
    basics::AUDIBLE,
    measure::say,
    person::{CALLER, acquainted, answered_by, assert_had},
    stage::{Cast, OURS, Scenario},
};

/// Calls through sound cards.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("person_talks_through_devices", Cast::Scene(talks)).using(CALLER).with_sound(),
    Scenario::new("echo_is_cancelled_on_the_way", Cast::Scene(cancels_echo))
        .using(CALLER)
        .with_sound(),
    Scenario::new("person_talks_without_devices", Cast::Scene(talks_without)).using(CALLER),
];

/// What the person at the devices says.
pub(crate) const OURS_SAYS: Line = Line {
    voice: "en-us",
    text: "The harbour was quiet in the morning, and nobody had seen the old ferry come in. Two men \
           carried boxes of green apples over the narrow bridge, one after the other, until the sun \
           stood high above the town.",
};

/// What the other one says.
pub(crate) const THEIRS_SAYS: Line = Line {
    voice: "en-gb-scotland+f3",
    text: "My sister keeps seven bees in a glass jar, she says, because numbers calm her down. \
           Yesterday it rained, so we played chess under the kitchen table and ate bread with butter \
           and far too much honey.",
};

/// From there on it is the same speech, and up to there it is another. Seen are 0.9 and 0.3.
const SAME: f64 = 0.6;
const OTHER: f64 = 0.45;

/// How long is listened at least, so that no other speech is like it by chance.
const LISTENED: Duration = Duration::from_secs(5);

/// A sound server, and what is said by whom.
struct Desk<'s> {
    server: SoundServer<'s>,
    ours: Speech,
    theirs: Speech,
}

impl<'s> Desk<'s> {
    fn set(scene: &'s Scene<'_>, name: &str) -> Result<Self, Failure> {
        let equipment = SoundEquipment::find().map_err(|missing| Failure(missing.to_string()))?;
        let name = format!("{name}-{}", scene.engine().name());
        let server = SoundServer::start(&scene.world.house, equipment.clone(), &name)?;
        let spoken = |line: Line, file| line.spoken(&equipment, server.folder().join(file));
        let (ours, theirs) = (spoken(OURS_SAYS, "ours.wav")?, spoken(THEIRS_SAYS, "theirs.wav")?);
        Ok(Self { server, ours, theirs })
    }
}

/// A call that a browser, whose microphone hears the speech of the others, has placed to a person at
/// the devices.
fn in_a_call<'s>(
    scene: &'s Scene<'_>,
    desk: &Desk<'_>,
) -> Result<(Client, Person<'s>, Running, String), Failure> {
    let browser = scene.browser_that_says("ben", &desk.theirs.file)?;
    let (mut ada, room) = acquainted(scene, "ada", &browser)?;
    ada.finds_sound_in(desk.server.folder());
    let running = ada.start(Tool::Caller, &["answer", "--audio", "device", "--speaker"])?;
    running.says(&["waiting for a call"], PATIENCE)?;
    let call = browser.call(&room, Media::Voice)?;
    browser.reaches(&call, "connected")?;
    Ok((browser, ada, running, call))
}

/// Waits until something is heard there; microphones take their time to open.
fn hears_something(client: &Client, call: &str) -> Result<(), Failure> {
    let until = clock::now() + PATIENCE.as_millis() as u64;
    while client.listen(call).loudness()? < AUDIBLE {
        if clock::now() > until {
            return Err(Failure(format!("{} hears nothing", client.peer())));
        }
    }
    Ok(())
}

/// What is heard at the same time in the page, and at these sources of the sound server.
fn heard<const N: usize>(
    desk: &Desk<'_>,
    (browser, call): (&Client, &str),
    sources: [&str; N],
    length: Duration,
) -> Result<(Vec<f32>, [Vec<f32>; N]), Failure> {
    let in_page = browser.hear(call, length);
    let heard = thread::scope(|scope| {
        let ears = sources.map(|source| scope.spawn(|| desk.server.listen(source, length)));
        ears.map(|ear| ear.join().unwrap_or_else(|_| Err(Failure("an ear panicked".to_owned()))))
    });
    let mut at_sources = [const { Vec::new() }; N];
    for (to, from) in at_sources.iter_mut().zip(heard) {
        *to = from?;
    }
    Ok((in_page.recorded()?, at_sources))
}

/// Keeps what was heard with the logs, and says whose speech it is like.
fn likenesses(
    scene: &Scene,
    desk: &Desk<'_>,
    where_heard: &str,
    sound: &[f32],
) -> Result<(f64, f64), Failure> {
    let file = format!("{}-{where_heard}.wav", scene.engine().name());
    speech::keep(&scene.world.house.folder().join(file), sound)?;
    let contour = Contour::of(sound);
    let (ours, theirs) =
        (contour.likeness(&desk.ours.contour), contour.likeness(&desk.theirs.contour));
    let loud = decibels(sound);
    say(
        scene,
        &format!("{where_heard}: {ours:.2} like ours, {theirs:.2} like theirs, {loud:.0} dBFS"),
    )?;
    Ok((ours, theirs))
}

/// Each hears the other, and not himself. Not at once: where both speak from the first moment on, an echo
/// canceller takes some seconds to find out that there is no echo, and our voice has gaps until then.
fn assert_both_talk(
    scene: &Scene,
    desk: &Desk<'_>,
    (browser, call): (&Client, &str),
    when: &str,
) -> Result<(), Failure> {
    hears_something(browser, call)?;
    let until = clock::now() + PATIENCE.as_millis() as u64;
    let sources = ["spk.monitor", "mic.monitor"];
    loop {
        let (in_page, [at_speaker, at_microphone]) =
            heard(desk, (browser, call), sources, LISTENED)?;
        // Says where to look when the page does not hear it.
        likenesses(scene, desk, &format!("{when}-microphone"), &at_microphone)?;
        let page = likenesses(scene, desk, &format!("{when}-page"), &in_page)?;
        let speaker = likenesses(scene, desk, &format!("{when}-speaker"), &at_speaker)?;
        assert!(page.1 < OTHER, "the page hears {} of itself", page.1);
        assert!(speaker.0 < OTHER, "the speaker plays {} of us", speaker.0);
        if page.0 > SAME && speaker.1 > SAME {
            return Ok(());
        }
        let late = clock::now() > until;
        assert!(!late, "the page hears {} of us, the speaker plays {} of them", page.0, speaker.1);
    }
}

/// Without a microphone the speaker plays on, as soon as this machine has the time for all of it.
fn assert_they_are_heard(scene: &Scene, desk: &Desk<'_>) -> Result<(), Failure> {
    let until = clock::now() + PATIENCE.as_millis() as u64;
    loop {
        let theirs = desk.server.listen("spk.monitor", LISTENED)?;
        let (_, theirs) = likenesses(scene, desk, "unplugged-speaker", &theirs)?;
        if theirs > SAME {
            return Ok(());
        }
        let late = clock::now() > until;
        assert!(!late, "without a microphone the speaker plays {theirs} of them");
    }
}

/// The microphone is pulled out and plugged in again meanwhile.
fn talks(scene: &Scene) -> Result<(), Failure> {
    let desk = Desk::set(scene, "talk")?;
    let (browser, _ada, running, call) = in_a_call(scene, &desk)?;
    let _speaking = desk.server.say(&desk.ours)?;
    assert_both_talk(scene, &desk, (&browser, &call), "talk")?;

    let known = running.lines();
    desk.server.unplug_microphone()?;
    running.says_after(known, &["microphone: ", "the call goes on without it"], PATIENCE)?;
    assert_they_are_heard(scene, &desk)?;
    desk.server.plug_microphone_in()?;
    running.says_after(known, &["microphone: there again"], PATIENCE)?;
    assert_both_talk(scene, &desk, (&browser, &call), "plugged")?;

    browser.act("hangup", &call)?;
    assert_had(&running.ended(PATIENCE)?, "by them");
    Ok(())
}

/// How much softer the echo is at the microphone than what the loudspeaker plays, and how much later.
const ECHO_DB: f64 = -12.0;
const ECHO_LATER: Duration = Duration::from_millis(60);

/// How much softer it is to be when it has come back to who spoke.
const CANCELLED_DB: f64 = 20.0;

/// How long the canceller may listen before; and then it is measured for so long.
const ADAPTED: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(5);

/// The loudspeaker is heard by the microphone: while only the others speak they do not hear themselves, and
/// who speaks here is heard all the same.
fn cancels_echo(scene: &Scene) -> Result<(), Failure> {
    let desk = Desk::set(scene, "echo")?;
    let _echo = desk.server.echo(ECHO_DB, ECHO_LATER)?;
    let (browser, _ada, running, call) = in_a_call(scene, &desk)?;
    let sources = ["spk.monitor", "mic.monitor"];
    let length = ADAPTED + MEASURED;
    let (in_page, [speaker, microphone]) = heard(&desk, (&browser, &call), sources, length)?;
    let later = |sound: &[f32]| {
        let from = sound.len().saturating_sub(MEASURED.as_secs() as usize * RATE as usize);
        decibels(&sound[from..])
    };
    let (played, echoed, sent) = (later(&speaker), later(&microphone), later(&in_page));
    let gone = played - sent;
    say(
        scene,
        &format!(
            "echo: {played:.1} dBFS played, {echoed:.1} at the microphone, {sent:.1} in the page \
             after {} s: {gone:.1} dB",
            ADAPTED.as_secs(),
        ),
    )?;
    speech::keep(&scene.world.house.folder().join("echo-page.wav"), &in_page)?;
    assert!(played > -50.0, "nothing is played: {played} dBFS");
    assert!((echoed - played - ECHO_DB).abs() < 4.0, "{echoed} dBFS at the microphone");
    assert!(gone > CANCELLED_DB, "the echo is softer by {gone} dB only");

    let _speaking = desk.server.say(&desk.ours)?;
    hears_something(&browser, &call)?;
    let (in_page, []) = heard(&desk, (&browser, &call), [], LISTENED)?;
    let (ours, theirs) = likenesses(scene, &desk, "both-page", &in_page)?;
    assert!(ours > OTHER && theirs < ours, "the page hears {ours} of us, {theirs} of itself");

    browser.act("hangup", &call)?;
    assert_had(&running.ended(PATIENCE)?, "by them");
    Ok(())
}

/// There is no sound server and no card: the person is told, and the call goes on.
fn talks_without(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (mut ada, room) = acquainted(scene, "ada", &ben)?;
    let nothing = ada.folder().join("no-sound");
    std::fs::create_dir_all(&nothing).map_err(|why| Failure::of("making a folder", why))?;
    ada.finds_sound_in(&nothing);
    let running =
        ada.start(Tool::Caller, &["call", &room, "--audio", "device", "--record", "kept"])?;
    let call = answered_by(&ben)?;
    running.says(&["microphone: ", "the call goes on without it"], PATIENCE)?;
    running.says(&["speaker: ", "the call goes on without it"], PATIENCE)?;
    running.says(&["connected"], PATIENCE)?;
    let peak = ben.listen(&call).loudness()?;
    assert!(peak < AUDIBLE, "a microphone that is not there is {peak} loud");
    ben.act("hangup", &call)?;
    let said = running.ended(PATIENCE)?;
    assert_had(&said, "by them");
    assert!(said.line(&["heard a tone of"]).is_some(), "{said:?}");
    Ok(())
}
