//! Media keys of the others in calls through an SFU: which are believed, what waits, who is asked
//! (items 136, 137 and 141), and how we get on with clients of Famedly's generation (T-20).

use std::time::Duration;

use matrix_voip::{
    GroupState, KeyEvent, KeyProfile, ParticipantId, SfuLoss, SfuStatus, Unverified, WireForm,
    id::{Identity, RoomId},
    machine::{
        bounds::{MAX_EARLY_KEYS, MAX_KEY_REQUESTS, MAX_KEYS_AT_ONCE, MAX_PARKED_PER_USER},
        io::{Fault, GroupCommand, Ignored, Input, Network, Refusal, SfuNews, Verdict},
    },
    redact::SecretBytes,
    testing::{Cue, Device, OpKind, Puppet, Sim, millis, secs},
    wire::{
        delivery::Protection,
        keys::{KeyBody, KeyMessage, MediaKey},
        member::MEMBER_TYPE,
    },
};
use serde_json::{Value, json};

use crate::{
    common::{ADA, BEN, put},
    keys::{call_of, events, id, said},
    sfu::{SERVICE, by_host, enters},
};

const KEYS: &str = "com.famedly.call.member.encryption_keys";
const CLEO: &str = "@cleo:example";

/// Ada is in the call; Ben and Cleo are clients in the test's hand, in the room.
struct Hall {
    sim: Sim,
    room: RoomId,
    ada: Device,
    ben: Puppet,
    cleo: Puppet,
}

impl Hall {
    fn new() -> Self {
        Self::with(by_host())
    }

    fn with(config: matrix_voip::Config) -> Self {
        let sim = Sim::new(1);
        let room = sim.room("!room:example", [ADA, BEN, CLEO]);
        let ada = sim.user(ADA).device_with("D", config);
        let (ben, cleo) = (sim.puppet(BEN, "D"), sim.puppet(CLEO, "D"));
        sim.server(|server| [&ben, &cleo].map(|one| server.login(one.identity())));
        sim.run_until_quiet();
        enters(&ada, &room);
        sim.advance(secs(1));
        Self { sim, room, ada, ben, cleo }
    }

    /// Somebody is in the call on this visit; on none: out of it.
    fn stands(&self, who: &Puppet, visit: Option<&str>) {
        let user = who.identity().user.to_string();
        let content = membership(&self.sim, &self.room, who.identity().device.as_str(), visit);
        put(&self.sim, &self.room, &user, (MEMBER_TYPE, &user), content);
        self.sim.advance(millis(50));
    }

    /// Somebody sends this to Ada's device.
    fn post(&self, who: &Puppet, content: &Value, protection: Protection) {
        let (now, to) = (self.sim.now().wall, id(&self.ada));
        let event = (KEYS, content.to_string());
        let (from, event) = (who.identity(), (event.0, event.1.as_str()));
        self.sim.server(|server| server.post(now, from, &to, (event, protection)));
        self.sim.advance(millis(50));
    }

    /// A key of somebody's, whose bytes are all this.
    fn key(&self, who: &Puppet, index: u8, byte: u8) {
        let keys = vec![MediaKey { index, key: SecretBytes::new([byte; 32]) }];
        self.post(who, &self.message(who, KeyBody::Keys(keys)), Protection::Clear);
    }

    fn message(&self, who: &Puppet, body: KeyBody) -> Value {
        let (room, device) = (self.room.clone(), who.identity().device.clone());
        let message = KeyMessage { room, conf_id: String::new(), device, body };
        serde_json::from_str(message.write(WireForm::Deployed).1.expose()).unwrap()
    }

    fn received(&self) -> usize {
        let all = events(&self.ada);
        all.iter().filter(|event| matches!(event, KeyEvent::Received { .. })).count()
    }

    /// When Ada asked, in whole seconds since then.
    fn asks(&self, since: Duration) -> Vec<u64> {
        let began = self.sim.now().wall.0 - (self.sim.elapsed() - since).as_millis() as u64;
        let all = said(&self.sim).into_iter();
        let asks = all.filter(|(_, message)| message.body == KeyBody::Request);
        asks.map(|(sent, _)| (sent.at.0 - began) / 1000).collect()
    }
}

fn membership(sim: &Sim, room: &RoomId, device: &str, visit: Option<&str>) -> String {
    let expires = sim.now().wall.0 + 700_000;
    let focus = json!({ "type": "livekit", "livekit_service_url": SERVICE,
        "livekit_alias": room.as_str() });
    let entry = |visit: &str| {
        json!({ "application": "m.call", "call_id": "", "scope": "m.room", "device_id": device,
            "expires_ts": expires, "membershipID": visit, "backend": focus,
            "foci_active": [focus] })
    };
    json!({ "memberships": visit.map(entry).into_iter().collect::<Vec<_>>() }).to_string()
}

/// Item 136: pre-sharing is legitimate.
#[test]
fn a_key_that_comes_before_its_owners_membership_is_used_when_he_is_there() {
    let hall = Hall::new();
    hall.key(&hall.ben, 3, 7);
    assert_eq!((hall.received(), hall.ada.ignored(Ignored::Parked)), (0, 1));
    hall.stands(&hall.ben, Some("visit"));
    assert_eq!(hall.received(), 1);
    let shown = hall.ada.group_snapshot(call_of(&hall.ada)).unwrap();
    assert_eq!(shown.keys.theirs.values().map(|key| key.index).collect::<Vec<_>>(), [3]);
    hall.sim.advance(secs(60));
    assert!(hall.asks(secs(0)).is_empty(), "he need not be asked");
}

/// What goes to devices is often told before what happens in rooms.
#[test]
fn a_key_that_overtakes_the_news_that_its_owner_comes_again_is_used_at_once() {
    for leaves in [true, false] {
        let hall = Hall::new();
        hall.stands(&hall.ben, Some("former"));
        hall.key(&hall.ben, 0, 7);
        hall.sim.advance(secs(20));
        hall.key(&hall.ben, 1, 8);
        if leaves {
            hall.stands(&hall.ben, None);
        }
        let since = hall.sim.elapsed();
        hall.stands(&hall.ben, Some("this"));
        let shown = hall.ada.group_snapshot(call_of(&hall.ada)).unwrap();
        assert_eq!(shown.keys.theirs.values().map(|key| key.index).collect::<Vec<_>>(), [1]);
        hall.sim.advance(secs(4));
        hall.key(&hall.ben, 1, 8);
        hall.sim.advance(secs(60));
        assert_eq!(hall.asks(since), [3], "it may have been of his former visit");
    }
}

#[test]
fn keys_that_wait_for_a_membership_are_bounded_and_pass() {
    let hall = Hall::new();
    for index in 0..=MAX_EARLY_KEYS {
        hall.key(&hall.ben, index as u8, 7);
    }
    // Nobody takes all the places, with whatever devices.
    for device in 1..=MAX_PARKED_PER_USER {
        hall.key(&hall.sim.puppet(BEN, &format!("MADE{device}")), 0, 1);
    }
    assert_eq!(hall.ada.ignored(Ignored::TooMany), 1);
    hall.stands(&hall.ben, Some("visit"));
    assert_eq!(hall.received(), MAX_EARLY_KEYS, "the oldest is dropped");
    // A made-up device that never comes makes place in time.
    hall.sim.advance(secs(600));
    hall.key(&hall.sim.puppet(BEN, "ANOTHER"), 0, 1);
    assert_eq!(hall.ada.ignored(Ignored::TooMany), 1);
}

/// Item 137 (T-24).
#[test]
fn in_an_encrypted_room_a_key_in_the_clear_and_one_of_a_wrong_device_are_refused() {
    let hall = Hall::new();
    hall.sim.server(|server| server.encrypt(&hall.room));
    hall.stands(&hall.ben, Some("visit"));
    hall.key(&hall.ben, 0, 7);
    assert_eq!(hall.ada.ignored(Ignored::PlaintextInEncryptedRoom), 1);
    let mut wrong = hall.message(
        &hall.ben,
        KeyBody::Keys(vec![MediaKey { index: 0, key: SecretBytes::new([7; 32]) }]),
    );
    wrong["device_id"] = json!("OTHER");
    hall.post(&hall.ben, &wrong, Protection::Verified);
    assert_eq!((hall.ada.ignored(Ignored::WrongDevice), hall.received()), (1, 0));
    wrong["device_id"] = json!("D");
    hall.post(&hall.ben, &wrong, Protection::Verified);
    assert_eq!(hall.received(), 1);
}

#[test]
fn what_is_no_key_and_what_has_no_place_in_the_ring_is_refused() {
    let hall = Hall::new();
    hall.stands(&hall.ben, Some("visit"));
    let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let content = |keys: Value| {
        json!({ "keys": keys, "call_id": "", "conf_id": "", "device_id": "D",
            "room_id": hall.room.as_str() })
    };
    let bad = [
        json!([{ "index": 0, "key": "not base64!" }]),
        json!([{ "index": 0, "key": "AAECAw==" }]),
        json!([{ "index": 0, "key": format!("{good}{good}") }]),
        json!([{ "index": -1, "key": good }]),
        json!([{ "index": 256, "key": good }]),
        json!([{ "index": "0", "key": good }]),
        json!([]),
        json!({}),
        json!(null),
    ];
    for (at, keys) in bad.into_iter().enumerate() {
        hall.post(&hall.ben, &content(keys), Protection::Clear);
        assert_eq!(hall.ada.ignored(Ignored::Malformed), at as u64 + 1);
    }
    hall.post(&hall.ben, &content(json!([{ "index": 16, "key": good }])), Protection::Clear);
    assert_eq!((hall.ada.ignored(Ignored::OutsideRing), hall.received()), (1, 0));
    // Without padding, among bad ones, and as Element Call sends it: those can be read.
    let mixed = json!([{ "index": 0, "key": "?" }, { "index": 15, "key": good }]);
    hall.post(&hall.ben, &content(mixed), Protection::Clear);
    hall.post(&hall.ben, &content(json!({ "index": 1, "key": good })), Protection::Clear);
    assert_eq!(hall.received(), 2);
}

#[test]
fn with_a_larger_ring_there_are_more_places() {
    let mut config = by_host();
    config.key_profile = KeyProfile::ELEMENT_CALL;
    let hall = Hall::with(config);
    hall.stands(&hall.ben, Some("visit"));
    hall.key(&hall.ben, 255, 7);
    assert_eq!(hall.received(), 1);
}

#[test]
fn who_may_not_speak_to_us_shares_no_keys_either() {
    let mut config = by_host();
    config.unverified = Unverified::Refuse;
    let hall = Hall::with(config);
    hall.sim.server(|server| server.encrypt(&hall.room));
    for who in [&hall.ben, &hall.cleo] {
        hall.stands(who, Some("visit"));
    }
    let keys = |who| {
        hall.message(
            who,
            KeyBody::Keys(vec![MediaKey { index: 0, key: SecretBytes::new([7; 32]) }]),
        )
    };
    hall.post(&hall.ben, &keys(&hall.ben), Protection::Unverified);
    assert_eq!(hall.ada.ignored(Ignored::UnverifiedDevice), 1);
    hall.ada.input(Input::IgnoredUsers([hall.cleo.identity().user.clone()].into()));
    hall.post(&hall.cleo, &keys(&hall.cleo), Protection::Verified);
    assert_eq!(hall.ada.ignored(Ignored::IgnoredUser), 1);
    let stranger = hall.sim.puppet("@stranger:example", "D");
    hall.post(&stranger, &keys(&stranger), Protection::Verified);
    assert_eq!((hall.ada.ignored(Ignored::NotInRoom), hall.received()), (1, 0));
    let to_cleo = said(&hall.sim).into_iter().any(|(sent, _)| sent.to.user.as_str() == CLEO);
    hall.sim.advance(secs(60));
    let later = said(&hall.sim).into_iter().filter(|(sent, _)| sent.to.user.as_str() == CLEO);
    assert_eq!(later.count(), usize::from(to_cleo), "nor is he asked, or sent any");
}

/// A homeserver can add a device to a user, and a membership for it.
#[test]
fn who_may_not_speak_to_us_gets_no_key_of_ours_until_he_is_verified() {
    for policy in [Unverified::Allow, Unverified::Refuse] {
        let mut config = by_host();
        config.unverified = policy;
        let hall = Hall::with(config);
        hall.sim.server(|server| {
            server.encrypt(&hall.room);
            server.set_verified(hall.ben.identity(), false);
        });
        let keys_to_ben = || {
            let to_ben = said(&hall.sim).into_iter();
            let to_ben = to_ben.filter(|(sent, _)| sent.to.user.as_str() == BEN);
            to_ben.filter(|(_, message)| matches!(message.body, KeyBody::Keys(_))).count()
        };
        hall.stands(&hall.ben, Some("visit"));
        hall.sim.advance(secs(60));
        assert_eq!(keys_to_ben() == 0, policy == Unverified::Refuse, "{policy:?}");
        hall.sim.server(|server| server.set_verified(hall.ben.identity(), true));
        hall.ada.input(Input::DeviceKeys(hall.ben.identity().user.clone()));
        hall.sim.advance(secs(60));
        assert!(keys_to_ben() > 0, "{policy:?}");
    }
}

// ----------------------------------------------------------------------------------------- asking

/// T-20: a client of that generation shares its key with those who were there before it, and with who
/// asks.
#[test]
fn a_client_that_shares_only_when_asked_is_asked_and_read() {
    let hall = Hall::new();
    let began = hall.sim.elapsed();
    hall.stands(&hall.ben, Some("visit"));
    hall.sim.advance(secs(7));
    assert_eq!(hall.asks(began), [3, 6], "{}", hall.sim.column());
    hall.key(&hall.ben, 4, 7);
    assert_eq!(hall.received(), 1);
    hall.sim.advance(secs(600));
    assert_eq!(hall.asks(began).len(), 2);
    let others = said(&hall.sim).into_iter().filter(|(sent, _)| sent.to.user.as_str() != BEN);
    assert_eq!(others.count(), 0);
}

#[test]
fn who_never_shares_a_key_is_asked_less_and_less_and_then_said_to_have_none() {
    let hall = Hall::new();
    let began = hall.sim.elapsed();
    hall.stands(&hall.ben, Some("visit"));
    hall.sim.advance(secs(90));
    assert_eq!(hall.asks(began), [3, 6, 12, 24, 48]);
    assert_eq!(hall.asks(began).len(), MAX_KEY_REQUESTS as usize);
    assert!(!events(&hall.ada).iter().any(|event| matches!(event, KeyEvent::Missing(_))));
    hall.sim.advance(secs(100));
    assert_eq!(hall.asks(began).len(), MAX_KEY_REQUESTS as usize);
    let missing =
        |event: &&KeyEvent| matches!(event, KeyEvent::Missing(who) if who.user.as_str() == BEN);
    assert_eq!(events(&hall.ada).iter().filter(missing).count(), 1);
    let why = hall.ada.group_snapshot(call_of(&hall.ada)).unwrap().explain().to_string();
    assert!(why.contains("his media key is missing"), "{why}");
    // It is never too late.
    hall.key(&hall.ben, 0, 7);
    let why = hall.ada.group_snapshot(call_of(&hall.ada)).unwrap().explain().to_string();
    assert!(!why.contains("missing") && hall.received() == 1, "{why}");
}

#[test]
fn the_application_asks_members_again_and_nobody_else() {
    let hall = Hall::new();
    hall.stands(&hall.ben, Some("visit"));
    hall.key(&hall.ben, 0, 7);
    let began = hall.sim.elapsed();
    let who = |puppet: &Puppet| {
        let identity = puppet.identity().clone();
        matrix_voip::ParticipantId { user: identity.user, device: identity.device }
    };
    let call = call_of(&hall.ada);
    let ask = |whom: &Puppet| {
        let ask = GroupCommand::RequestKeys([who(whom)].into());
        hall.ada.command(matrix_voip::machine::io::Command::Group(call, ask))
    };
    assert_eq!(ask(&hall.cleo), Verdict::Refused(Refusal::NoSuchParticipant));
    assert_eq!(ask(&hall.ben), Verdict::Handled);
    hall.sim.advance(millis(100));
    assert_eq!(hall.asks(began), [0]);
    // He answers with the same key, and whoever decrypts is given it.
    hall.key(&hall.ben, 0, 7);
    assert_eq!(hall.received(), 2);
    hall.key(&hall.ben, 0, 7);
    assert_eq!((hall.received(), hall.ada.ignored(Ignored::Duplicate)), (2, 1));
    hall.ada.group(call, GroupCommand::Leave);
    assert_eq!(ask(&hall.ben), Verdict::Refused(Refusal::NotEntered));
}

#[test]
fn whoever_cannot_be_decrypted_is_asked_once_in_a_while() {
    let hall = Hall::new();
    hall.stands(&hall.ben, Some("visit"));
    hall.key(&hall.ben, 0, 7);
    let (began, call) = (hall.sim.elapsed(), call_of(&hall.ada));
    let identity = format!("{BEN}:D");
    for _ in 0..50 {
        hall.ada.input(Input::Sfu(call, SfuNews::Undecryptable(identity.clone())));
        hall.sim.advance(millis(20));
        if hall.asks(began).len() == 1 {
            hall.key(&hall.ben, 0, 7);
        }
    }
    assert_eq!(hall.asks(began).len(), 1, "with every frame");
    assert!(hall.received() >= 2, "what the provider has lost it gets again");
    hall.ada.input(Input::Sfu(call, SfuNews::Undecryptable("nobody".to_owned())));
    assert_eq!(hall.ada.group_snapshot(call).unwrap().sfu, SfuStatus::Connected);
}

/// All that we sent in an outage of two minutes is lost.
#[test]
fn who_could_not_be_asked_is_asked_when_the_network_is_back_or_with_our_next_membership() {
    for told in [true, false] {
        let hall = Hall::new();
        hall.stands(&hall.ben, Some("visit"));
        hall.ada.always(OpKind::SendToDevice, Cue::dropped());
        hall.sim.advance(secs(120));
        assert_eq!(hall.asks(secs(0)).len(), 0);
        hall.ada.always(OpKind::SendToDevice, Cue::works());
        if told {
            hall.ada.input(Input::Network(Network::Back));
        }
        hall.sim.advance(secs(if told { 30 } else { 130 }));
        let asks = hall.asks(secs(0)).len();
        assert!(asks > 0, "{told}: {}", hall.sim.column());
        hall.sim.advance(secs(600));
        assert!(hall.asks(secs(0)).len() <= 2 * MAX_KEY_REQUESTS as usize, "{}", hall.sim.column());
    }
}

/// Its state could not be read when we entered, and the host tells of encryption alone.
#[test]
fn a_room_of_which_nobody_said_that_it_is_clear_is_read_when_a_key_comes_in_the_clear() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", [ADA, BEN]);
    let devices = ["D", "E"].map(|name| sim.user(ADA).device_with(name, by_host()));
    sim.run_until_quiet();
    enters(&devices[0], &room);
    sim.advance(secs(5));
    // What stands under its user's key it has heard; what it asks for does not come for so long that
    // it has asked for keys as often as it does.
    devices[1].next(OpKind::State, Cue::hangs());
    devices[1].next(OpKind::State, Cue::works().after(secs(20)));
    enters(&devices[1], &room);
    sim.advance(secs(120));
    assert!(devices[1].reads(&devices[0]), "{}", sim.column());
}

/// Each key costs whoever takes it up to 60 ms: who shares without end would hold up all others'.
#[test]
fn who_shares_keys_without_end_has_them_taken_at_his_pace_and_the_newest_at_last() {
    let hall = Hall::new();
    hall.stands(&hall.ben, Some("visit"));
    hall.stands(&hall.cleo, Some("visit"));
    // With the provider for so long: what waits behind it waits for its turn.
    hall.ada.always(OpKind::Keys, Cue::works().after(millis(50)));
    for round in 0..200_u8 {
        let key = |index| MediaKey { index, key: SecretBytes::new([round; 32]) };
        let keys = (0..16).map(|index| key(index % 2)).collect();
        let message = hall.message(&hall.ben, KeyBody::Keys(keys));
        hall.post(&hall.ben, &message, Protection::Clear);
    }
    let most = MAX_KEYS_AT_ONCE as usize + 200 * 50 / 1000 + 1;
    assert!(hall.received() <= most, "{} of at most {most}", hall.received());
    let before = hall.received();
    hall.key(&hall.cleo, 3, 9);
    let cleo = id_of(&hall.cleo);
    let theirs = || hall.ada.group_snapshot(call_of(&hall.ada)).unwrap().keys.theirs;
    assert_eq!(theirs()[&cleo].index, 3, "after {before}: {}", hall.sim.column());
    hall.sim.advance(secs(10));
    let newest = MediaKey { index: 1, key: SecretBytes::new([199; 32]) };
    assert_eq!(theirs()[&id_of(&hall.ben)].fingerprint, newest.fingerprint());
}

fn id_of(who: &Puppet) -> ParticipantId {
    let Identity { user, device } = who.identity();
    ParticipantId { user: user.clone(), device: device.clone() }
}

// ----------------------------------------------------------------------------------- the provider

#[test]
fn a_key_of_ours_that_the_provider_does_not_take_is_given_to_it_again_unless_a_newer_one_was() {
    let hall = Hall::new();
    let call = call_of(&hall.ada);
    hall.ada.group(call, GroupCommand::Leave);
    hall.sim.advance(secs(1));
    // That there are keys it hears; then the first one fails.
    hall.ada.next(OpKind::Keys, Cue::works());
    hall.ada.next(OpKind::Keys, Cue::fails(Fault::Failed("not now".to_owned())));
    let call = enters(&hall.ada, &hall.room);
    hall.sim.advance(millis(500));
    assert_eq!(hall.ada.key_in_use(), None);
    assert!(events(&hall.ada).contains(&KeyEvent::Refused(id(&hall.ada))));
    hall.sim.advance(secs(4));
    assert!(hall.ada.key_in_use().is_some());
    let shown = hall.ada.group_snapshot(call).unwrap();
    assert!(shown.keys.missing.is_empty() && shown.keys.own.is_some(), "{:?}", shown.keys);
}

#[test]
fn a_member_whose_key_the_provider_does_not_take_is_asked_again_and_not_for_ever() {
    let hall = Hall::new();
    hall.stands(&hall.ben, Some("visit"));
    hall.ada.always(OpKind::Keys, Cue::fails(Fault::Failed("not now".to_owned())));
    let began = hall.sim.elapsed();
    hall.key(&hall.ben, 0, 7);
    for _ in 0..250 {
        let before = hall.asks(began).len();
        hall.sim.advance(secs(1));
        if before != hall.asks(began).len() {
            hall.key(&hall.ben, 0, 7);
        }
    }
    let asks = hall.asks(began);
    assert_eq!(asks.len(), MAX_KEY_REQUESTS as usize, "{asks:?}");
    hall.ada.always(OpKind::Keys, Cue::works());
    // A new one has another try.
    hall.key(&hall.ben, 1, 8);
    let shown = hall.ada.group_snapshot(call_of(&hall.ada)).unwrap();
    assert!(shown.keys.missing.is_empty(), "{:?}", shown.keys);
}

/// Item 141, and of tokens: the kit searches every output and every engine after each step.
#[test]
fn neither_keys_nor_tokens_are_printed() {
    let hall = Hall::new();
    hall.stands(&hall.ben, Some("visit"));
    let mut bytes = *b"mediaKey________________________";
    bytes[31] = 9;
    let keys = vec![MediaKey { index: 0, key: SecretBytes::new(bytes) }];
    hall.post(&hall.ben, &hall.message(&hall.ben, KeyBody::Keys(keys)), Protection::Clear);
    assert_eq!(hall.received(), 1);
    let call = call_of(&hall.ada);
    let printed = [
        hall.ada.engine(|engine| format!("{engine:?}")),
        format!("{:?}", hall.ada.group_events(call)),
        hall.ada.group_snapshot(call).unwrap().explain().to_string(),
        hall.sim.column().to_string(),
    ];
    for text in printed {
        for secret in ["mediaKey", "bWVkaWFLZX", "109, 101, 100", "fake.token", "fakeOpenId"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    hall.ada.input(Input::Sfu(
        call,
        SfuNews::State(matrix_voip::machine::io::SfuState::Lost(SfuLoss::Removed)),
    ));
    assert_eq!(hall.ada.group_state(call), Some(GroupState::Entered));
    hall.ada.group(call, GroupCommand::Leave);
    hall.sim.run_to_the_end();
}
