//! Group calls in which each meets each: everybody hears everybody, told apart by his tone. Ours
//! among each other, in rooms of both kinds, and ours with matrix-js-sdk.

use real::{Client, Failure, Kind, PATIENCE, Pending, Privacy, Scene, Tool, clock};
use serde_json::{Value, json};

use crate::{
    basics::AUDIBLE,
    measure::say,
    stage::{Cast, OURS, SLIDING, Scenario},
};

/// Meshes over a real homeserver.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("three_in_a_mesh", Cast::Scene(three)).using(&[Tool::Caller]),
    Scenario::new("three_in_a_mesh_encrypted", Cast::Scene(three))
        .within(Privacy::Encrypted)
        .using(&[Tool::Caller]),
    Scenario::new("three_in_a_mesh_by_sliding_sync", Cast::Scene(three_sliding))
        .using(&[Tool::Caller])
        .long(),
    Scenario::new("three_in_a_mesh_by_sliding_sync_encrypted", Cast::Scene(three_sliding))
        .within(Privacy::Encrypted)
        .using(&[Tool::Caller]),
    Scenario::new("mesh_with_matrix_js_sdk", Cast::Scene(with_matrix_js_sdk))
        .using(&[Tool::Caller]),
    Scenario::new("mesh_that_matrix_js_sdk_began", Cast::Scene(begun_by_matrix_js_sdk))
        .using(&[Tool::Caller])
        .long(),
    Scenario::new("five_in_a_mesh", Cast::Scene(five)).using(&[Tool::Caller]).long(),
    Scenario::new("five_in_a_mesh_encrypted", Cast::Scene(five))
        .within(Privacy::Encrypted)
        .using(&[Tool::Caller])
        .long(),
    Scenario::new("two_meshes_in_two_rooms", Cast::Scene(two_rooms)).using(&[Tool::Caller]).long(),
    Scenario::new("mesh_and_homeserver_restarts", Cast::Scene(homeserver_restarts))
        .using(&[Tool::Caller])
        .at_home()
        .long(),
];

/// Hertz by which a tone may be missed.
const TONE: f64 = 10.0;

/// The tones of those who take part, none an overtone of another.
const TONES: [u64; 8] = [440, 660, 550, 770, 610, 850, 710, 940];

/// One who takes part, and how he sounds; a browser beeps.
#[derive(Clone, Copy)]
struct Voice<'a> {
    client: &'a Client,
    hertz: Option<u64>,
}

/// Those who take part in one group call.
struct Meeting<'a> {
    voices: Vec<Voice<'a>>,
    /// Which one it is, as commands name it.
    wish: Value,
}

impl<'a> Meeting<'a> {
    /// Who sounds how: by his place.
    fn of(clients: impl IntoIterator<Item = &'a Client>, wish: Value) -> Self {
        let voice = |(client, hertz): (&'a Client, u64)| {
            let hertz = client.kind.is_ours().then_some(hertz);
            Voice { client, hertz }
        };
        Self { voices: clients.into_iter().zip(TONES).map(voice).collect(), wish }
    }

    /// All enter at once; when they were asked to, in ms since the Unix epoch.
    fn enter(&self) -> Result<u64, Failure> {
        self.enter_from(&self.voices)
    }

    /// These of them enter.
    fn enter_from(&self, voices: &[Voice<'_>]) -> Result<u64, Failure> {
        let began = clock::now();
        let enter = |voice: &Voice<'_>| {
            let mut wish = self.wish.clone();
            wish["tone"] = voice.hertz.into();
            voice.client.send("groupEnter", &wish)
        };
        let entering: Vec<_> = voices.iter().map(enter).collect();
        entering.into_iter().try_for_each(|pending| pending.answer().map(drop))?;
        Ok(began)
    }

    /// Waits until everybody hears everybody else, and nobody whom there is not.
    fn all_hear_all(&self) -> Result<(), Failure> {
        let since = clock::moment();
        let mut wish = self.wish.clone();
        wish["ms"] = 1500.into();
        loop {
            let asked: Vec<_> =
                self.voices.iter().map(|it| it.client.send("groupState", &wish)).collect();
            let heard = asked.into_iter().map(Pending::answer).collect::<Result<Vec<_>, _>>()?;
            let missing: Vec<_> = self
                .voices
                .iter()
                .zip(&heard)
                .filter_map(|(one, state)| self.misses(one, state))
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            if since.elapsed() > PATIENCE {
                return Err(Failure(missing.join("\n")));
            }
        }
    }

    /// What is not as it should be at one of them.
    fn misses(&self, one: &Voice<'_>, state: &Value) -> Option<String> {
        let calls = state["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |other: &&Voice<'_>| other.client.device_id != one.client.device_id;
        let good = self.voices.iter().filter(of).all(|other| {
            calls.iter().any(|call| {
                let is_his = call["device"] == *other.client.device_id
                    && call["user"] == *other.client.user_id;
                is_his && call["state"] == "connected" && is_heard(call, other)
            })
        });
        let right = good && calls.len() + 1 == self.voices.len();
        (!right).then(|| format!("{} hears {state}", one.client.peer()))
    }

    /// Prints how long it took until the last of ours heard the last.
    fn measure(&self, scene: &Scene, what: &str, began: u64) -> Result<(), Failure> {
        let ours = self.voices.iter().filter(|voice| voice.client.kind.is_ours());
        let heard = ours.flat_map(|voice| voice.client.events("groupFirstAudio"));
        let last = heard.filter_map(|event| event["at"].as_u64()).max().unwrap_or_default();
        say(scene, &format!("{what}: all hear all after {} ms", last.saturating_sub(began)))
    }

    fn leave(&self) -> Result<(), Failure> {
        let leave = |voice: &Voice<'_>| voice.client.send("groupLeave", &self.wish);
        let leaving: Vec<_> = self.voices.iter().map(leave).collect();
        leaving.into_iter().try_for_each(|pending| pending.answer().map(drop))
    }
}

/// By his tone, where both the one tells tones and the other has one.
fn is_heard(call: &Value, of: &Voice<'_>) -> bool {
    let sound = &call["sound"];
    let loud = sound["peak"].as_f64().unwrap_or_default() > AUDIBLE;
    let heard = sound["tone"]["hz"].as_f64();
    loud && of.hertz.is_none_or(|said| heard.is_some_and(|it| (it - said as f64).abs() < TONE))
}

fn famedly(room: &str) -> Value {
    json!({"roomId": room, "dialect": "famedly"})
}

fn all_meet(scene: &Scene, kinds: &[Kind]) -> Result<(), Failure> {
    let (clients, room) = scene.gathering(kinds)?;
    let meeting = Meeting::of(&clients, famedly(&room));
    let began = meeting.enter()?;
    meeting.all_hear_all()?;
    let of = kinds.first().map(|kind| kind.name()).unwrap_or_default();
    let what = format!("mesh of {} {of}, {:?} room", kinds.len(), scene.privacy());
    meeting.measure(scene, &what, began)?;
    meeting.leave()?;
    // Nobody is left in it, and nothing of it disturbs the next.
    let again = meeting.enter()?;
    meeting.all_hear_all()?;
    meeting.measure(scene, &format!("{what}, again"), again)?;
    meeting.leave()
}

fn three(scene: &Scene) -> Result<(), Failure> {
    all_meet(scene, &[OURS; 3])
}

fn three_sliding(scene: &Scene) -> Result<(), Failure> {
    all_meet(scene, &[SLIDING; 3])
}

fn five(scene: &Scene) -> Result<(), Failure> {
    all_meet(scene, &[OURS; 5])
}

/// The same three in two rooms at once: what they say in one is not heard in the other.
fn two_rooms(scene: &Scene) -> Result<(), Failure> {
    let (clients, room) = scene.gathering(&[OURS; 3])?;
    let other = scene.room_of(&clients.iter().collect::<Vec<_>>())?;
    let here = Meeting::of(&clients, famedly(&room));
    let mut there = Meeting::of(&clients, famedly(&other));
    for (voice, hertz) in there.voices.iter_mut().zip(TONES.into_iter().skip(3)) {
        voice.hertz = Some(hertz);
    }
    here.enter()?;
    let began = there.enter()?;
    here.all_hear_all()?;
    there.all_hear_all()?;
    there.measure(scene, "two meshes of 3 in two rooms", began)?;
    here.leave()?;
    there.all_hear_all()?;
    there.leave()
}

/// Media go on without the homeserver; back, who leaves is gone, and who comes is heard.
fn homeserver_restarts(scene: &Scene) -> Result<(), Failure> {
    let (clients, room) = scene.gathering(&[OURS; 3])?;
    let meeting = Meeting::of(&clients, famedly(&room));
    meeting.enter()?;
    meeting.all_hear_all()?;
    let heard = |client: &Client| client.events("groupFirstAudio").len();
    let before: Vec<_> = clients.iter().map(heard).collect();
    scene.homeserver().stop();
    meeting.all_hear_all()?;
    scene.homeserver().start_again(&scene.world.house)?;
    meeting.all_hear_all()?;
    let after: Vec<_> = clients.iter().map(heard).collect();
    assert_eq!(before, after, "the legs are the same as before");
    let (rest, last) = clients.split_at(2);
    let leaver = Meeting::of(last, famedly(&room));
    leaver.leave()?;
    Meeting::of(rest, famedly(&room)).all_hear_all()?;
    let began = clock::now();
    let mut back = famedly(&room);
    back["tone"] = TONES[2].into();
    last[0].ask("groupEnter", &back)?;
    meeting.all_hear_all()?;
    meeting.measure(scene, "one comes anew after the homeserver's restart", began)?;
    meeting.leave()
}

fn with_matrix_js_sdk(scene: &Scene) -> Result<(), Failure> {
    mixed(scene, [OURS, Kind::Browser, OURS])
}

fn begun_by_matrix_js_sdk(scene: &Scene) -> Result<(), Failure> {
    mixed(scene, [Kind::Browser, OURS, OURS])
}

/// Two of ours and one of matrix-js-sdk; the first of them begins the call.
fn mixed(scene: &Scene, kinds: [Kind; 3]) -> Result<(), Failure> {
    let (clients, room) = scene.gathering(&kinds)?;
    let mut wish = json!({"roomId": room, "kind": "voice"});
    let made = clients[0].ask("groupCreate", &wish)?;
    wish["groupCallId"] = made["groupCallId"].clone();
    let meeting = Meeting::of(&clients, wish);
    let (first, others) = meeting.voices.split_at(1);
    let began = meeting.enter_from(first)?;
    meeting.enter_from(others)?;
    meeting.all_hear_all()?;
    let name = kinds[0].name();
    meeting.measure(
        scene,
        &format!("mesh of two of ours and a browser, begun by {name}"),
        began,
    )?;
    meeting.leave()
}
