//! `caller group`: three people in the call of a room, one of them at a terminal; each tells the tones
//! of the others, by whose they are.

use real::{Failure, PATIENCE, Person, Privacy, Running, Said, Scene, Tool};

use crate::{
    person::CALLER,
    stage::{Cast, Scenario},
};

/// People who meet.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("persons_meet", Cast::Scene(meet)).using(CALLER),
    Scenario::new("persons_meet_encrypted", Cast::Scene(meet))
        .within(Privacy::Encrypted)
        .using(CALLER),
];

/// The tones of ada, ben and cleo, in Hz.
const TONES: [u16; 3] = [440, 660, 550];

fn meet(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben, cleo) = (scene.person("ada")?, scene.person("ben")?, scene.person("cleo")?);
    let room = ada.make_room("Kitchen", &[&ben.user_id, &cleo.user_id])?;
    for one in [&ben, &cleo] {
        one.join(&room)?;
    }
    for one in [&ada, &ben, &cleo] {
        one.log_in()?;
    }
    let others = [enters(&ben, TONES[1])?, enters(&cleo, TONES[2])?];
    let mut ours = ada.start_at_terminal(&["group", "Kitchen", "--audio", "tone:440"])?;
    ours.says(&["r: raise", "w: who is there", "q: leave"], PATIENCE)?;
    for one in [&ben, &cleo] {
        ours.says(&["connected to", &one.user_id], PATIENCE)?;
    }
    ours.says(&["entered 00:", "@ben", "(660 Hz)", "@cleo", "(550 Hz)"], PATIENCE)?;
    ours.says(&["entered 00:", "speaks"], PATIENCE)?;
    presses_keys(&mut ours, &ada, &others[0])?;

    ours.types("q")?;
    let said = ours.ended(PATIENCE)?;
    assert_met(&said, &[(&ben, TONES[1]), (&cleo, TONES[2])]);
    assert!(said.line(&["the terminal is as before"]).is_some(), "{said:?}");
    let met = [[(&ada, TONES[0]), (&cleo, TONES[2])], [(&ada, TONES[0]), (&ben, TONES[1])]];
    for (running, met) in others.into_iter().zip(met) {
        running.says(&[&ada.user_id, "has left"], PATIENCE)?;
        running.signal("INT")?;
        assert_met(&running.ended(PATIENCE)?, &met);
    }
    Ok(())
}

fn enters(person: &Person, tone: u16) -> Result<Running, Failure> {
    let tone = format!("tone:{tone}");
    let running = person.start(Tool::Caller, &["group", "Kitchen", "--audio", &tone])?;
    running.says(&["you are in the call"], PATIENCE)?;
    Ok(running)
}

/// Who is there, the hand, a reaction, the microphone: what ada's keys do. Ben is told of the last.
fn presses_keys(ours: &mut Running, ada: &Person, ben: &Running) -> Result<(), Failure> {
    ours.types("w")?;
    ours.says(&[&ada.user_id, "  you"], PATIENCE)?;
    // Her own she sees at once.
    for (key, told) in [("r", "🖐"), ("r", "no more"), ("2", "👏")] {
        ours.types(key)?;
        ours.says(&[&ada.user_id, told], PATIENCE)?;
    }
    ours.types("m")?;
    ben.says(&[&ada.user_id, ": muted"], PATIENCE)?;
    ours.types("m")?;
    ben.says(&[&ada.user_id, ": sound"], PATIENCE)?;
    Ok(())
}

/// The person left, and has heard these tones.
#[track_caller]
fn assert_met(said: &Said, met: &[(&Person, u16)]) {
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert!(said.line(&["left", ", after "]).is_some(), "{said:?}");
    for (who, tone) in met {
        let words = ["heard a tone of", "from", who.user_id.as_str()];
        let told = said.line(&words).and_then(|line| line.split(' ').nth(4)?.parse::<f32>().ok());
        let right = told.is_some_and(|told| (told - f32::from(*tone)).abs() < 5.0);
        assert!(right, "{} plays {tone} Hz: {said:?}", who.name);
    }
}
