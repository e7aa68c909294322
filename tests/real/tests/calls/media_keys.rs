//! Media keys of calls through an SFU, over a real homeserver: everybody has everybody's, encrypted
//! for each device; who comes late asks nobody, who has left gets no more, what was lost is asked for.
//! There is no SFU here: tokens and keys are all that our clients share.

use std::time::Duration;

use real::{
    Client, Failure, Kind, PATIENCE, Pair, Privacy, Scene, Tool, clock,
    token_service::{SfuKey, TokenService},
};
use serde_json::{Value, json};

use crate::{
    groups::pause,
    measure::say,
    person::{CALLER, acquainted},
    stage::{Cast, OURS, SLIDING, Scenario},
    tokens::SFU,
};

/// Between our clients, all in encrypted rooms.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("media_keys_of_three", Cast::Scene(three))
        .within(Privacy::Encrypted)
        .using(CALLER)
        .without_engine(),
    Scenario::new("media_keys_of_three_by_sliding_sync", Cast::Scene(three_sliding))
        .within(Privacy::Encrypted)
        .using(CALLER)
        .long()
        .without_engine(),
    Scenario::new("lost_media_key", Cast::Pair(lost_key))
        .within(Privacy::Encrypted)
        .only(|caller, callee| caller.is_ours() && callee.is_ours())
        .without_engine(),
    Scenario::new("person_shows_media_keys", Cast::Scene(person_shows_keys))
        .within(Privacy::Encrypted)
        .using(CALLER)
        .without_engine(),
];

/// A key that follows on a leave is made within 8 s, however many leave, and used 4 s later: five
/// times of that.
const ROTATED: Duration = Duration::from_secs(60);

/// Whoever joins within 8 s after a key was made is given that one; in ms, with a second more.
const REUSED: u64 = 9_000;

/// What Olm encrypts says so.
const OLM: &str = "m.olm.v1.curve25519-aes-sha2";

/// A key as it is told to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    index: u64,
    fingerprint: String,
}

impl Key {
    fn of(told: &Value) -> Option<Self> {
        let fingerprint = told["fingerprint"].as_str()?.to_owned();
        Some(Self { index: told["index"].as_u64()?, fingerprint })
    }

    /// As people read it.
    fn words(&self) -> String {
        format!("key {} ({})", self.index, self.fingerprint)
    }
}

/// The call of a room, through an SFU.
struct Call {
    service: TokenService,
    wish: Value,
}

impl Call {
    fn of(scene: &Scene, room: &str) -> Result<Self, Failure> {
        let (house, key) = (&scene.world.house, SfuKey::development());
        let service = TokenService::start(house, scene.homeserver(), SFU, &key)?;
        let backend = json!({
            "type": "livekit", "livekit_service_url": service.url(), "livekit_alias": room,
        });
        Ok(Self { service, wish: json!({"roomId": room, "backend": backend}) })
    }

    /// When it was asked to enter. It has a token then, in its own name.
    fn enter(&self, client: &Client) -> Result<u64, Failure> {
        let asked = clock::now();
        let mut wish = self.wish.clone();
        // Nothing is said in the room: what goes to devices is about media keys alone.
        wish["announce"] = "nobody".into();
        client.ask("groupEnter", &wish)?;
        let token = client.nth_event("rtcToken", 0, PATIENCE)?;
        let identity = format!("{}:{}", client.user_id, client.device_id);
        assert_eq!((&token["identity"], &token["url"]), (&json!(identity), &json!(SFU)));
        assert!(token["lifetime"].as_u64() > Some(3_500_000), "{token}");
        Ok(asked)
    }

    fn leave(&self, client: &Client) -> Result<u64, Failure> {
        let asked = clock::now();
        client.ask("groupLeave", &self.wish)?;
        Ok(asked)
    }

    /// Waits until everybody's key in use is what each of the others has of him, is none of `former`,
    /// and nobody has the key of anybody else. The keys, in order.
    fn agree(
        &self,
        clients: &[&Client],
        former: &[Key],
        patience: Duration,
    ) -> Result<Vec<Key>, Failure> {
        let since = clock::moment();
        loop {
            let states = clients.iter().map(|client| client.ask("groupState", &self.wish));
            let states = states.collect::<Result<Vec<_>, _>>()?;
            let keys = agreed(clients, &states);
            match keys.filter(|keys| !keys.iter().any(|key| former.contains(key))) {
                Some(keys) => return Ok(keys),
                None if since.elapsed() > patience => {
                    let keys = states.iter().map(|state| state["sfu"].to_string());
                    return Err(Failure(format!("{:#?}", keys.collect::<Vec<_>>())));
                }
                None => pause(clients[0]),
            }
        }
    }
}

/// The keys in use, if all have all of them, and no more.
fn agreed(clients: &[&Client], states: &[Value]) -> Option<Vec<Key>> {
    let own = states.iter().map(|state| Key::of(&state["sfu"]["ownKey"]));
    let own: Vec<Key> = own.collect::<Option<_>>()?;
    let has_of = |state: &Value, whose: &Client, key: &Key| {
        let mut held = state["sfu"]["keys"].as_array().into_iter().flatten();
        held.any(|held| held["device"] == *whose.device_id && Key::of(held).as_ref() == Some(key))
    };
    let has_all = |(place, state): (usize, &Value)| {
        let mut others = clients.iter().zip(&own).enumerate().filter(|(other, _)| *other != place);
        state["sfu"]["keys"].as_array().map(Vec::len) == Some(clients.len() - 1)
            && others.all(|(_, (whose, key))| has_of(state, whose, key))
    };
    states.iter().enumerate().all(has_all).then_some(own)
}

/// What a client told of keys, in that direction.
fn told(client: &Client, direction: &str) -> Vec<Value> {
    let mut told = client.events("rtcKey");
    told.retain(|event| event["direction"] == direction);
    told
}

/// The event by which `at` tells this of `whose` key, or of his device.
fn event_of(at: &Client, direction: &str, whose: &Client, key: &Key) -> Result<Value, Failure> {
    let is = |event: &Value| {
        event["ev"] == "rtcKey"
            && event["direction"] == direction
            && event["user"] == *whose.user_id
            && event["device"] == *whose.device_id
            && Key::of(event).as_ref() == Some(key)
    };
    at.event(&format!("{} {direction}, {}", key.words(), whose.user_id), PATIENCE, is)
}

/// The key that `from` uses has come to `to` as it is, and `from` knows that it was sent. When it came
/// and since when it is used.
fn went(from: &Client, to: &Client, key: &Key) -> Result<(u64, u64), Failure> {
    let came = event_of(to, "received", from, key)?;
    event_of(from, "sent", to, key)?;
    let used = event_of(from, "used", from, key)?;
    assert_eq!(came["keyB64"], used["keyB64"], "not the same key");
    assert_eq!(came["keyB64"].as_str().map(str::len), Some(44), "32 bytes");
    Ok((at(&came), at(&used)))
}

fn at(event: &Value) -> u64 {
    event["at"].as_u64().unwrap_or_default()
}

/// The same for each of them and each other. The latest moment at which one came, and one was used.
fn went_among(clients: &[&Client], keys: &[Key]) -> Result<(u64, u64), Failure> {
    let mut latest = (0, 0);
    for (from, key) in clients.iter().zip(keys) {
        for to in clients.iter().filter(|to| to.device_id != from.device_id) {
            let (came, used) = went(from, to, key)?;
            latest = (latest.0.max(came), latest.1.max(used));
        }
    }
    Ok(latest)
}

/// What the homeserver took from a client for devices: whose, which, and what.
fn letters(client: &Client) -> Vec<(String, String, Value)> {
    let sent = client.events("wireOut").into_iter();
    let sent = sent.filter(|sent| sent["status"] == 200 && is_letter(sent));
    let messages = sent.filter_map(|sent| sent["body"]["messages"].as_object().cloned());
    let of_user = |(user, devices): (String, Value)| {
        let devices = devices.as_object().cloned().unwrap_or_default();
        devices.into_iter().map(move |(device, letter)| (user.clone(), device, letter))
    };
    messages.flatten().flat_map(of_user).collect()
}

fn is_letter(sent: &Value) -> bool {
    sent["path"].as_str().is_some_and(|path| path.contains("/sendToDevice/"))
}

/// How often a client has asked somebody for a key: what it sent to devices and was no key of its own.
fn requests(client: &Client) -> usize {
    let (all, keys) = (letters(client).len(), told(client, "sent").len());
    all.checked_sub(keys).expect("each key that was sent is a message")
}

/// The homeserver is told neither keys nor that there are any.
fn assert_nothing_readable(clients: &[&Client]) {
    let shown = clients.iter().flat_map(|client| client.events("rtcKey"));
    let keys: Vec<String> =
        shown.filter_map(|event| event["keyB64"].as_str().map(str::to_owned)).collect();
    assert!(keys.len() > clients.len(), "keys are shown to the tests");
    for client in clients {
        let letters = letters(client);
        let by_olm = letters.iter().filter(|(_, _, letter)| letter["algorithm"] == OLM).count();
        assert_eq!((by_olm, by_olm > 0), (letters.len(), true), "{letters:?}");
        for sent in client.events("wireOut") {
            let path = sent["path"].as_str().unwrap_or_default();
            assert!(!is_letter(&sent) || path.contains("/m.room.encrypted/"), "{path}");
            let text = sent.to_string();
            assert!(!text.contains("encryption_keys"), "{text}");
            assert!(!keys.iter().any(|key| text.contains(key)), "a key in clear: {path}");
        }
    }
}

fn three(scene: &Scene) -> Result<(), Failure> {
    three_of(scene, OURS)
}

fn three_sliding(scene: &Scene) -> Result<(), Failure> {
    three_of(scene, SLIDING)
}

/// Two share their keys; a third who comes later has them without asking; when one leaves, the others
/// make keys that he never sees, and other ones when he is back; who leaves the room gets no more.
fn three_of(scene: &Scene, kind: Kind) -> Result<(), Failure> {
    let (clients, room) = scene.gathering(&[kind; 3])?;
    let [ada, ben, cleo] = [&clients[0], &clients[1], &clients[2]];
    let all = [ada, ben, cleo];
    let call = Call::of(scene, &room)?;
    let figures = |what: &str, since: u64, (came, used): (u64, u64)| {
        let (came, used) = (came.saturating_sub(since), used.saturating_sub(since));
        say(scene, &format!("media keys, {}: {what}: {came} ms, in use {used} ms", kind.name()))
    };

    call.enter(ada)?;
    let entered = call.enter(ben)?;
    let keys = call.agree(&[ada, ben], &[], ROTATED)?;
    figures("of two, there after", entered, went_among(&[ada, ben], &keys)?)?;

    let entered = call.enter(cleo)?;
    let mut former = call.agree(&all, &[], ROTATED)?;
    figures("with a third, there after", entered, went_among(&all, &former)?)?;

    let before = seen_of(ben, [ada, cleo]);
    let left = call.leave(ben)?;
    let fresh = call.agree(&[ada, cleo], &former, ROTATED)?;
    let times = went_among(&[ada, cleo], &fresh)?;
    figures("fresh ones after a leave", left, times)?;
    assert_eq!(seen_of(ben, [ada, cleo]), before, "ben is told of keys after he has left");

    // By then who joins is not given keys that were used before.
    while clock::now() < times.0 + REUSED {
        pause(ada);
    }
    former.extend(fresh.clone());
    let entered = call.enter(ben)?;
    let made = call.agree(&all, &former, ROTATED)?;
    figures("fresh ones for one who comes late", entered, went_among(&all, &made)?)?;
    assert!(!has_any(ben, &fresh), "ben has keys of the time when he was away");
    for client in all {
        assert_eq!(requests(client), 0, "{} had to ask", client.peer());
    }

    let left = clock::now();
    cleo.ask("leave", &json!({"roomId": room}))?;
    let last = call.agree(&[ada, ben], &made, ROTATED)?;
    figures("fresh ones after one has left the room", left, went_among(&[ada, ben], &last)?)?;
    assert!(!has_any(cleo, &last), "cleo has keys of the time after she has left");
    assert_nothing_readable(&all);
    [ada, ben].into_iter().try_for_each(|client| call.leave(client).map(drop))
}

/// Whether one of these keys of others came to a client.
fn has_any(client: &Client, keys: &[Key]) -> bool {
    told(client, "received").iter().filter_map(Key::of).any(|key| keys.contains(&key))
}

/// How often these have written to somebody, how often they have told so, and how many keys he has.
fn seen_of(somebody: &Client, from: [&Client; 2]) -> (usize, usize, usize) {
    let to_him = |(user, device, _): &(String, String, Value)| {
        (user, device) == (&somebody.user_id, &somebody.device_id)
    };
    let written = from.iter().flat_map(|client| letters(client)).filter(to_him).count();
    let sent = from.iter().flat_map(|client| told(client, "sent"));
    let sent = sent.filter(|event| event["device"] == *somebody.device_id).count();
    (written, sent, told(somebody, "received").len())
}

/// A key that gets lost on its way is asked for, and comes; also when the application asks.
fn lost_key(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let Pair { caller: ada, callee: ben, room } = &pair;
    let call = Call::of(scene, room)?;
    call.enter(ada)?;
    ada.ask("holdToDevice", &json!({"on": true}))?;
    let entered = call.enter(ben)?;
    ada.nth_event("held", 0, PATIENCE)?;
    let lost = ada.ask("holdToDevice", &json!({"on": false, "lost": true}))?;
    assert_ne!(lost["lost"], 0, "no key was held back");

    let keys = call.agree(&[ada, ben], &[], ROTATED)?;
    let (came, _) = went(ada, ben, &keys[0])?;
    went(ben, ada, &keys[1])?;
    let asked = requests(ben);
    assert_ne!(asked, 0, "nobody has asked for the key that was lost");
    let took = came.saturating_sub(entered);
    say(scene, &format!("a lost media key, asked for {asked} times, is there after {took} ms"))?;

    let known = ada.events("rtcKey").len();
    let all = ben.ask("requestKeys", &call.wish)?;
    assert_eq!(all["asked"], 1);
    let again = ada.nth_event("rtcKey", known, PATIENCE)?;
    let expected = (&json!("sent"), &json!(ben.device_id), Some(&keys[0]));
    assert_eq!((&again["direction"], &again["device"], Key::of(&again).as_ref()), expected);
    assert_nothing_readable(&[ada, ben]);
    [ada, ben].into_iter().try_for_each(|client| call.leave(client).map(drop))
}

/// A person at a terminal reads the same fingerprints as the other side, and no key.
fn person_shows_keys(scene: &Scene) -> Result<(), Failure> {
    let ben = scene.client("ben", OURS)?;
    let (ada, room) = acquainted(scene, "ada", &ben)?;
    let call = Call::of(scene, &room)?;
    call.enter(&ben)?;
    let at = call.service.url();
    let options = ["group", "Kitchen", "--livekit", &at, "--keys-only", "--plain-http"];
    let running = ada.start(Tool::Caller, &options)?;
    running.says(&["a token for", SFU, "good for 3600 s"], PATIENCE)?;
    let key_of = |direction: &str| {
        let is = |event: &Value| {
            event["ev"] == "rtcKey"
                && event["direction"] == direction
                && event["user"] == *ada.user_id
        };
        let event = ben.event(&format!("a key {direction}"), PATIENCE, is)?;
        Key::of(&event).ok_or_else(|| Failure(format!("no key in {event}")))
    };
    let (his, hers) = (key_of("sent")?.words(), key_of("received")?.words());
    running.says(&[&his, "received from", &ben.user_id, &ben.device_id], PATIENCE)?;
    running.says(&[&format!("our {hers} sent to"), &ben.user_id], PATIENCE)?;
    running.says(&[&format!("our {hers} is in use")], PATIENCE)?;

    call.leave(&ben)?;
    running.says(&[&ben.user_id, "has left"], PATIENCE)?;
    running.signal("INT")?;
    let said = running.ended(PATIENCE)?;
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    let told = ben.events("rtcKey");
    let mut keys = told.iter().filter_map(|event| event["keyB64"].as_str());
    assert!(!keys.any(|key| said.out.iter().any(|line| line.contains(key))), "a key is shown");
    Ok(())
}
