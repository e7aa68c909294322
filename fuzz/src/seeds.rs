//! The seeds of all targets. From the fixtures of tests/fixtures come events and descriptions;
//! recordings and ledgers are made here.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use matrix_voip::{
    CallMedia,
    id::{CallId, PartyId, RoomId},
    testing::{Sim, secs},
    time::Wall,
    wire::{
        ledger::{EndedCall, Ledger, LiveCall, LiveMembership},
        member::Dialect,
    },
};
use serde_json::Value;

use crate::EVENT_TYPES;

/// Writes them, if `FUZZ_SEEDS` names the folder of the fixtures and that of the corpora, with a
/// colon between. In a target, so that nothing has to be built twice for it.
pub fn write_if_asked() {
    let Ok(folders) = env::var("FUZZ_SEEDS") else { return };
    let (fixtures, corpus) = folders.split_once(':').expect("FIXTURES:CORPUS");
    let seeds = Seeds(PathBuf::from(corpus));
    for event in events(Path::new(fixtures)) {
        seeds.event(&event);
    }
    seeds.recordings();
    seeds.ledgers();
    seeds.answers_and_lines();
    seeds.plays();
}

/// Every event of the fixtures.
fn events(folder: &Path) -> Vec<Value> {
    let mut events = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of fixtures") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            events.extend(self::events(&path));
        } else if path.extension().is_some_and(|ending| ending == "json" || ending == "jsonl") {
            let text = fs::read_to_string(&path).expect("a text");
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            match serde_json::from_str(&text) {
                Ok(Value::Array(all)) => events.extend(all),
                Ok(other) => events.push(other),
                Err(_) => events.extend(lines),
            }
        }
    }
    events
}

struct Seeds(PathBuf);

impl Seeds {
    fn put(&self, target: &str, seed: &[u8]) {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder).expect("a folder");
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let name = format!("seed-{:016x}", hasher.finish());
        fs::write(folder.join(name), seed).expect("a file");
    }

    fn event(&self, event: &Value) {
        let event_type = event["type"].as_str().unwrap_or_default();
        let content = &event["content"];
        let place = EVENT_TYPES.iter().position(|known| *known == event_type);
        let first = u8::try_from(place.unwrap_or_default()).unwrap_or_default();
        let seed = [&[first], content.to_string().as_bytes()].concat();
        self.put("call_event", &seed);
        for key in ["offer", "answer", "description"] {
            if let Some(sdp) = content[key]["sdp"].as_str() {
                self.put("sdp", sdp.as_bytes());
            }
        }
    }

    /// Both sides of a call.
    fn recordings(&self) {
        let sim = Sim::new(1);
        sim.set_records(true);
        let room = sim.room("!room:example", ["@ada:example", "@ben:example"]);
        let (ada, ben) = (sim.device("@ada:example", "A"), sim.device("@ben:example", "B"));
        ada.invite(&room, "@ben:example", CallMedia::Video);
        sim.advance(secs(2));
        ben.answer();
        sim.advance(secs(5));
        ada.hangup();
        sim.run_to_the_end();
        for file in sim.recordings() {
            self.put("recording", &file);
        }
    }

    fn ledgers(&self) {
        let room = RoomId::parse("!room:example").expect("a room id");
        let call_id = CallId::parse("c1").expect("a call id");
        let party_id = PartyId::parse("p1").expect("a party id");
        let live = vec![LiveCall { room: room.clone(), call_id: call_id.clone(), party_id }];
        let memberships = vec![LiveMembership {
            room: room.clone(),
            session: "visit".to_owned(),
            dialect: Dialect::Famedly,
        }];
        let ended = vec![EndedCall { room, call_id, until: Wall(1_786_100_000_000) }];
        self.put("stored", &Ledger { live, ended, memberships, left_out: 3 }.to_bytes());
        self.put("stored", &Ledger::default().to_bytes());
    }

    fn answers_and_lines(&self) {
        let turn = r#"{"uris":["turn:t.example:3478?transport=udp","turns:t.example"],"username":"u","password":"p","ttl":86400.5}"#;
        self.put("stored", turn.as_bytes());
        for announced in [
            r#"{"rtc_transports":[{"type":"livekit","livekit_service_url":"https://s"},{"type":"m.livekit","url":"wss://s"}]}"#,
            r#"{"org.matrix.msc4143.rtc_foci":[{"type":"livekit","livekit_service_url":"https://s"}]}"#,
        ] {
            self.put("stored", announced.as_bytes());
        }
        for line in [
            r#"{"id":1,"peer":"bob","cmd":"call","args":{"roomId":"!r","userId":"@b:c","type":"video"}}"#,
            r#"{"id":2,"cmd":"hangup","args":{"callId":"c","reason":null}}"#,
            r#"{"id":3,"cmd":"muteAudio","args":{"on":true}}"#,
            r#"{"id":4,"cmd":"waitFor","args":{"state":"connected","timeoutMs":5}}"#,
            r#"{"id":5,"cmd":7}"#,
            r#"{"id":6,"cmd":"state","args":[]}"#,
        ] {
            self.put("caller_line", line.as_bytes());
        }
    }

    /// Bytes by chance: they are acts.
    fn plays(&self) {
        let mut word: u64 = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..32 {
            let bytes = (0..600).map(|_| {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                (word >> 24) as u8
            });
            let bytes = bytes.collect::<Vec<_>>();
            self.put("engine", &bytes);
            self.put("ring", &bytes);
        }
    }
}
