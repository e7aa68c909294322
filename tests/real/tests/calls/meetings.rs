//! `caller group`: three people in the call of a room, one of them at a terminal; each tells the tones
//! of the others, by whose they are. How others hear of a call, and who may be in it.

use real::{Failure, PATIENCE, Person, Privacy, Running, Said, Scene, Tool, sound};
use serde_json::json;

use crate::{
    person::{CALLER, assert_kept},
    rings::{Reactions, await_reactions},
    stage::{Cast, Scenario},
};

/// People who meet.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("persons_meet", Cast::Scene(meet)).using(CALLER),
    Scenario::new("persons_meet_encrypted", Cast::Scene(meet))
        .within(Privacy::Encrypted)
        .using(CALLER),
    Scenario::new("person_hears_of_group_calls", Cast::Scene(hears_of_calls))
        .within(Privacy::Encrypted)
        .using(CALLER),
    Scenario::new("person_lets_everyone_join", Cast::Scene(lets_everyone_join)).using(CALLER),
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
    let others =
        [enters(&ben, TONES[1], "alone so far")?, enters(&cleo, TONES[2], "with 1 other")?];
    let mut ours =
        ada.start_at_terminal(&["group", "Kitchen", "--audio", "tone:440", "--record", "kept"])?;
    ours.says(&["r: raise", "w: who is there", "q: leave"], PATIENCE)?;
    for one in [&ben, &cleo] {
        ours.says(&["connected to", &one.user_id], PATIENCE)?;
    }
    ours.says(&["entered 00:", "@ben", "(660 Hz)", "@cleo", "(550 Hz)"], PATIENCE)?;
    ours.says(&["entered 00:", "speaks"], PATIENCE)?;
    presses_keys(&mut ours, &ada, &others)?;
    await_reactions(&ben, &room, Reactions { left: 1, redacted: 1 })?;

    ours.types("q")?;
    let said = ours.ended(PATIENCE)?;
    assert_met(&said, &[(&ben, TONES[1]), (&cleo, TONES[2])]);
    assert_recorded(&ada, &said, &[(&ben, TONES[1]), (&cleo, TONES[2])])?;
    assert!(said.line(&["the terminal is as before"]).is_some(), "{said:?}");
    let met = [[(&ada, TONES[0]), (&cleo, TONES[2])], [(&ada, TONES[0]), (&ben, TONES[1])]];
    for (running, met) in others.into_iter().zip(met) {
        running.says(&[&ada.user_id, "has left"], PATIENCE)?;
        running.signal("INT")?;
        assert_met(&running.ended(PATIENCE)?, &met);
    }
    Ok(())
}

fn enters(person: &Person, tone: u16, company: &str) -> Result<Running, Failure> {
    let tone = format!("tone:{tone}");
    let running = person.start(Tool::Caller, &["group", "Kitchen", "--audio", &tone])?;
    running.says(&["you are in the call, ", company], PATIENCE)?;
    Ok(running)
}

/// Who is there, the hand, a reaction, the microphone: what ada's keys do, and what the others see of
/// it.
fn presses_keys(ours: &mut Running, ada: &Person, others: &[Running]) -> Result<(), Failure> {
    ours.types("w")?;
    ours.says(&[&ada.user_id, "  you"], PATIENCE)?;
    let mut presses = |key: &str, told: &str| {
        let known: Vec<_> = others.iter().map(Running::lines).collect();
        ours.types(key)?;
        // Her own she sees at once.
        ours.says(&[&ada.user_id, told], PATIENCE)?;
        let mut others = others.iter().zip(known);
        others.try_for_each(|(it, known)| {
            it.says_after(known, &[&ada.user_id, told], PATIENCE).map(drop)
        })
    };
    for (key, told) in [("r", ": 🖐"), ("r", ": no more 🖐"), ("2", ": 👏")] {
        presses(key, told)?;
    }
    for (key, told) in [("m", ": muted"), ("m", ": sound")] {
        ours.types(key)?;
        others[0].says(&[&ada.user_id, told], PATIENCE)?;
    }
    Ok(())
}

/// A file for each, with his tone.
fn assert_recorded(ada: &Person, said: &Said, met: &[(&Person, u16)]) -> Result<(), Failure> {
    for (who, tone) in met {
        let told = said.line(&["kept/heard-", " frames from ", &who.user_id]);
        let file = told.and_then(|line| line.split(':').next()).unwrap_or_default();
        assert_kept(said, &[file]);
        let heard = sound::heard(&ada.folder().join(file))?.tone;
        let right = heard.is_some_and(|heard| (heard.hz - f32::from(*tone)).abs() < 5.0);
        assert!(right, "{} plays {tone} Hz, {file} has {heard:?}", who.name);
    }
    Ok(())
}

/// Whoever waits for a call hears of group calls as `--announce` says; without it like of a message,
/// in a direct chat not at all. A call that rings already is told too.
fn hears_of_calls(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben) = (scene.person("ada")?, scene.person("ben")?);
    let rooms =
        [ada.make_room("Kitchen", &[&ben.user_id])?, ada.make_room("Den", &[&ben.user_id])?];
    rooms.iter().try_for_each(|room| ben.join(room))?;
    let direct = format!("user/{}/account_data/m.direct", ada.user_id);
    ada.ask("PUT", &direct, Some(&json!({&ben.user_id: [rooms[1]]})))?;
    for one in [&ada, &ben] {
        one.log_in()?;
    }
    let answer = ben.start(Tool::Caller, &["answer"])?;
    answer.says(&["waiting"], PATIENCE)?;
    let calls: [(&[&str], Option<&str>); 5] = [
        (&["Kitchen", "--announce", "nobody"], None),
        (&["Den"], None),
        (&["Kitchen"], Some("has begun the group call of Kitchen")),
        (&["Den", "--announce", "message"], Some("has begun the group call of Den")),
        (&["Den", "--announce", "ring"], Some("calls you into the group call of Den")),
    ];
    for (options, told) in calls {
        match told {
            // Time enough to be told.
            None => {
                assert_left(&ada.run(&[&["group"], options, &["--seconds", "2"]].concat(), "")?)
            }
            Some(told) => {
                let known = answer.lines();
                let calling = enters_with(&ada, options)?;
                let told = [&ada.user_id, told, ": caller group !"];
                answer.says_after(known, &told, PATIENCE)?;
                leaves(calling)?;
            }
        }
    }
    answer.says(&[&ada.user_id, "no longer calls you into the group call of Den"], PATIENCE)?;
    answer.signal("INT")?;
    let said = answer.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    let told = said.out.iter().filter(|line| line.contains("group call of")).count();
    assert_eq!(told, 4, "three announcements and an end: {said:?}");

    let calling = enters_with(&ada, &["Kitchen", "--announce", "ring"])?;
    let answer = ben.start(Tool::Caller, &["answer"])?;
    answer.says(&[&ada.user_id, "calls you into the group call of Kitchen"], PATIENCE)?;
    leaves(calling)?;
    answer.says(&[&ada.user_id, "no longer calls you"], PATIENCE)?;
    answer.signal("INT")?;
    answer.ended(PATIENCE).map(drop)
}

fn enters_with(person: &Person, options: &[&str]) -> Result<Running, Failure> {
    let running = person.start(Tool::Caller, &[&["group"], options].concat())?;
    running.says(&["you are in the call"], PATIENCE)?;
    Ok(running)
}

fn leaves(running: Running) -> Result<(), Failure> {
    running.signal("INT")?;
    assert_left(&running.ended(PATIENCE)?);
    Ok(())
}

#[track_caller]
fn assert_left(said: &Said) {
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert!(said.line(&["left", ", after "]).is_some(), "{said:?}");
}

/// Whoever has too little power is let in as soon as somebody with power says so; power levels
/// change then alone, and in nothing else.
fn lets_everyone_join(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben) = (scene.person("ada")?, scene.person("ben")?);
    let room = ada.make_room_like("Hall", &[&ben.user_id], &json!({"preset": "private_chat"}))?;
    ben.join(&room)?;
    for one in [&ada, &ben] {
        one.log_in()?;
    }
    let levels = || ada.ask("GET", &format!("rooms/{room}/state/m.room.power_levels"), None);
    let before = levels()?;
    leaves(enters_with(&ada, &["Hall"])?)?;
    for (options, tries) in
        [(&["group", "Hall"][..], 0), (&["group", "Hall", "--allow-everyone"], 1)]
    {
        let said = comes_after_all_left(&ben, options)?;
        assert_eq!((said.code, said.err.len()), (Some(2), 1), "{said:?}");
        assert!(said.err[0].contains("not allowed to join"), "{said:?}");
        let told = said.out.iter().filter(|line| line.contains("not every member may be in it"));
        assert_eq!(told.count(), tries, "{said:?}");
    }
    assert_eq!(levels()?, before, "nobody has asked for it who may");

    let ours = enters_with(&ada, &["Hall", "--allow-everyone"])?;
    ours.says(&["every member of the room may be in its calls"], PATIENCE)?;
    let mut expected = before;
    expected["events"][MEMBER] = 0.into();
    assert_eq!(levels()?, expected);
    let bens = enters_with(&ben, &["Hall"])?;
    ours.says(&["connected to", &ben.user_id], PATIENCE)?;
    leaves(bens)?;
    leaves(ours)
}

/// The call that everybody has just left may end while somebody comes into it; then he comes again.
fn comes_after_all_left(person: &Person, options: &[&str]) -> Result<Said, Failure> {
    let said = person.run(options, "")?;
    match said.err.iter().any(|line| line.contains("nobody is left")) {
        true => person.run(options, ""),
        false => Ok(said),
    }
}

/// Who is in a group call.
const MEMBER: &str = "com.famedly.call.member";

/// The person left, and has heard these tones.
#[track_caller]
fn assert_met(said: &Said, met: &[(&Person, u16)]) {
    assert_left(said);
    for (who, tone) in met {
        let words = ["heard a tone of", "from", who.user_id.as_str()];
        let told = said.line(&words).and_then(|line| line.split(' ').nth(4)?.parse::<f32>().ok());
        let right = told.is_some_and(|told| (told - f32::from(*tone)).abs() < 5.0);
        assert!(right, "{} plays {tone} Hz: {said:?}", who.name);
    }
}
