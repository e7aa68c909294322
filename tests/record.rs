//! Recordings: a file gives the same call again, holds no secret, and harms nobody, whatever
//! became of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use matrix_voip::{
    Announce, Backend, CallOptions, CallState, EndReason, GroupCallId, GroupEvent, Identity,
    Notify, RAISED_HAND, Stay, VoIP, VoipNews, WireForm,
    id::{DeviceId, InputId, OpId, RoomId, SessionId, UserId},
    machine::{
        event::VoipEvent,
        io::{
            CallCommand, CallMedia, Command, GroupCommand, Input, MediaSource, Reply, Tones,
            TurnServers, Verdict,
        },
    },
    record::{Entry, FORMAT, Origin, RecordError, Recorder, RecorderStatus, Replay, Scribe, Step},
    redact::SecretBytes,
    testing::{Column, Device, EmbeddedHomeserver, EmbeddedWebRtc, Kind, Replayed, Sim, secs},
    time::{Mono, Now, Wall},
    wire::{
        call::Body,
        delivery::{Batch, Content, Facts, Place, Protection, RawEvent},
        keys::{KeyBody, KeyMessage, MediaKey},
    },
};

const ADA: &str = "@ada:example";
const BEN: &str = "@ben:example";

fn steps(file: &[u8]) -> Vec<Step> {
    Replay::open(file).unwrap().map(Result::unwrap).collect()
}

/// A call with a lost event, a mute, a look elsewhere and a hangup.
fn a_call() -> (Sim, Device, Device) {
    let sim = Sim::new(5);
    sim.set_records(true);
    let room = sim.room("!room:example", [ADA, BEN]);
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.drop_next();
    ada.invite(&room, BEN, CallMedia::Video);
    sim.advance(secs(5));
    ben.answer();
    sim.advance(secs(5));
    ada.mute(MediaSource::Camera);
    ben.repeat_sync();
    sim.advance(secs(2));
    ben.hangup();
    sim.run_to_the_end();
    assert_eq!(ada.end().unwrap().reason, EndReason::Hangup);
    (sim, ada, ben)
}

/// What a person saw, without names.
fn told(column: &Column) -> Vec<(Duration, String)> {
    let nameless = |what: &str| {
        let words = what.split(' ').map(|word| if word.starts_with('@') { "@" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let seen = column.only(&[Kind::Call, Kind::Detail]);
    seen.0.iter().map(|line| (line.at, nameless(&line.what))).collect()
}

#[test]
fn a_recorded_call_replays_as_it_was_and_alike_each_time() {
    let (sim, ada, ben) = a_call();
    for device in [ada, ben] {
        let file = device.recording();
        let (once, twice) = (steps(&file), steps(&file));
        assert_eq!(format!("{once:?}"), format!("{twice:?}"), "byte for byte");
        assert_eq!(once, twice);
        assert!(once.len() > 20);
        for step in &once {
            assert!(step.agrees(), "{step:?}");
        }
        let times: Vec<_> = once.iter().map(|step| step.at).collect();
        assert!(times.is_sorted_by_key(|now| now.mono));
        let replayed = Replayed::read(file.as_slice()).unwrap();
        assert_eq!(told(&replayed.column), told(&sim.column().of(&device.name())));
        assert_eq!((replayed.differing, replayed.steps), (0, once.len() as u64));
        assert!(replayed.torn.is_none());
    }
}

#[test]
fn a_group_call_that_rings_and_in_which_people_react_replays_as_it_was() {
    let sim = Sim::new(1);
    sim.set_records(true);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example", "@cleo:example"]);
    sim.server(|server| server.encrypt(&room));
    let users = ["@ada:example", "@ben:example", "@cleo:example"];
    let [ada, ben, cleo] = users.map(|user| sim.user(user).device("D"));
    sim.run_until_quiet();
    let open = |device: &Device| {
        let command = Command::OpenGroup {
            room: room.clone(),
            call: GroupCallId::room(),
            backend: Backend::Mesh,
            application: "m.call.audio".into(),
            keys: matrix_voip::KeyUse::Usual,
        };
        let Verdict::Started(session) = device.command(command) else { panic!("not opened") };
        session
    };
    let adas = open(&ada);
    ada.group(adas, GroupCommand::AnnounceAs(Announce::new(Notify::Ring)));
    ada.group(adas, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    let rung = cleo.voip_events().into_iter().find_map(|event| match event {
        VoipEvent::GroupRingStarted { ring } => Some(ring),
        _ => None,
    });
    let ring = rung.expect("it rings");
    cleo.command(Command::DeclineRing { room: ring.room, notification: ring.notification });
    let bens = open(&ben);
    ben.group(bens, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    for (key, stay) in [(RAISED_HAND, Stay::Permanent), ("well done", Stay::Ephemeral)] {
        ada.group(adas, GroupCommand::React { key: key.into(), stay });
    }
    sim.advance(secs(130));
    ada.group(adas, GroupCommand::Unreact(RAISED_HAND.into()));
    sim.advance(secs(1));
    assert_eq!(ben.group_snapshot(bens).unwrap().reactions.len(), 0);
    let declined = |event: &GroupEvent| matches!(event, GroupEvent::Declined(_));
    assert!(ada.group_events(adas).iter().any(declined), "{}", sim.column());
    for device in [ada, ben, cleo] {
        let file = device.recording();
        assert!(!String::from_utf8(file.clone()).unwrap().contains("well done"));
        let replayed = Replayed::read(file.as_slice()).unwrap();
        assert_eq!(replayed.differing, 0, "{}", replayed.column);
        assert!(replayed.torn.is_none());
        let told = |column: &Column| column.only(&[Kind::Call]).0.len();
        assert_eq!(told(&replayed.column), told(&sim.column().of(&device.name())));
    }
}

#[test]
fn a_replay_reads_like_the_protocol() {
    let (_, ada, _) = a_call();
    let column = Replayed::read(ada.recording().as_slice()).unwrap().column;
    let ben = column.0[0].what.split(' ').nth(1).unwrap();
    assert!(ben.starts_with('@') && ben.len() == BEN.len() && ben != BEN, "{ben}");
    column.expect_in_order(&format!(
        "
        0.000 it calls {ben} (video)
        * it fails to send m.call.invite (unreachable)
        * it sends m.call.invite
        * it is invite_sent
        * it gets m.call.answer of {ben}
        * it is connecting
        * it connection: connected
        * it is connected
        10.000 it mutes the camera
        * it sends m.call.sdp_stream_metadata_changed
        * it gets m.call.hangup of {ben}
        * it ended: remote hangup
        "
    ));
}

#[test]
fn a_process_that_crashed_replays_with_what_it_had_saved() {
    let sim = Sim::new(9);
    sim.set_records(true);
    let room = sim.room("!room:example", [ADA, BEN]);
    let (ada, _ben) = (sim.device(ADA, "PHONE"), sim.device(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.advance(secs(3));
    ada.crash();
    ada.restart();
    sim.run_to_the_end();
    let steps = steps(&ada.recording());
    assert!(matches!(&steps[0].entry, Entry::Restored(ledger) if ledger.live.len() == 1));
    assert!(steps.iter().all(Step::agrees));
    let column = Replayed::read(ada.recording().as_slice()).unwrap().column;
    column.expect_in_order("* it takes up 1 calls of a dead process\n* it sends m.call.hangup");
}

/// Whatever the machine finds in a description it finds in the skeleton, however long a line is.
#[test]
fn a_hostile_description_replays_with_the_same_verdicts() {
    let sim = Sim::new(76);
    sim.set_records(true);
    let room = sim.room("!room:example", [ADA, BEN]);
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.puppet(BEN, "LAPTOP"));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    let call = ada.snapshot().unwrap().call_id.to_string();
    let Body::Answer(mut answer) = ben.acceptance() else { panic!() };
    let long = format!("rtpmap:{} telephone-event", "1".repeat(80));
    answer.sdp = answer.sdp.expose().replace("rtpmap:101 telephone-event", &long).into();
    ben.say(&room, &call, Body::Answer(answer));
    sim.run_until_quiet();
    ada.act(CallCommand::Dtmf(Tones::parse("1").unwrap()));
    let steps = steps(&ada.recording());
    assert!(steps.iter().all(Step::agrees), "{:?}", steps.iter().find(|step| !step.agrees()));
}

// ------------------------------------------------------------------------------------- secrets

/// What must not stand in a file: each is planted below.
const NEEDLES: [&str; 21] = [
    "735512608",
    "frontCamera",
    "lovelace",
    "babbage",
    "engine.example",
    "theroom",
    "ADAPHONE",
    "BABBAGEPHONE",
    "icePassword",
    "iceUfrag",
    "203.0.113.7",
    "50123",
    "turnUser",
    "turnPassword",
    "relay.example",
    "Countess",
    "mxcPicture",
    "notaryReason",
    "eventOpaque",
    "FA:CE:B0:0C",
    "candidateFoundation",
];

fn sdp() -> String {
    "v=0\r\no=- 50123 2 IN IP4 203.0.113.7\r\ns=Countess\r\nt=0 0\r\n\
     m=audio 50123 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 203.0.113.7\r\n\
     a=ice-ufrag:iceUfrag\r\na=ice-pwd:icePasswordOfAda\r\n\
     a=fingerprint:sha-256 FA:CE:B0:0C\r\na=mid:0\r\na=sendrecv\r\na=msid:stream track\r\n\
     a=candidate:candidateFoundation 1 udp 2122260223 203.0.113.7 50123 typ host\r\n"
        .to_owned()
}

fn event(event_type: &str, content: &str) -> Input {
    let facts = Facts {
        event_id: Some("$eventOpaque".parse().unwrap()),
        sender: UserId::parse("@babbage:engine.example").unwrap(),
        device: Some(DeviceId::parse("ADAPHONE2").unwrap()),
        protection: Protection::Verified,
        sent: Some(Wall(1_786_100_000_000)),
        age: Some(Duration::from_millis(1)),
    };
    let event =
        RawEvent { facts, event_type: event_type.into(), content: content.into(), redacts: None };
    let place =
        Place::Room { room: RoomId::parse("!theroom:engine.example").unwrap(), encrypted: true };
    Input::Deliver(Batch { place, events: vec![event] }.parse())
}

fn command(command: CallCommand) -> Input {
    Input::Command(Command::Call(SessionId(1), command))
}

fn origin() -> Origin {
    let user = UserId::parse("@lovelace:engine.example").unwrap();
    let identity = Identity { user, device: DeviceId::parse("ADAPHONE").unwrap() };
    Origin { identity, config: matrix_voip::Config::default(), seed: 7 }
}

/// Inputs that hold all that is private.
fn private_inputs() -> Vec<Input> {
    let common = r#""call_id":"c1","party_id":"BABBAGEPHONE","version":"1""#;
    let text = serde_json::to_string(&sdp()).unwrap();
    let line = "candidate:candidateFoundation 1 udp 7 203.0.113.7 50123 typ host";
    let turn = r#"{"uris":["turn:relay.example:3478"],"username":"turnUser","password":"turnPassword","ttl":60}"#;
    vec![
        event(
            "m.call.invite",
            &format!(
                r#"{{{common},"lifetime":90000,"invitee":"@lovelace:engine.example","offer":{{"type":"offer","sdp":{text}}}}}"#
            ),
        ),
        event(
            "m.call.candidates",
            &format!(
                r#"{{{common},"candidates":[{{"candidate":"{line}","sdpMid":"0","usernameFragment":"iceUfrag"}}]}}"#
            ),
        ),
        event(
            "m.call.asserted_identity",
            &format!(
                r#"{{{common},"asserted_identity":{{"id":"@lovelace:engine.example","display_name":"Countess of L.","avatar_url":"mxc://mxcPicture"}}}}"#
            ),
        ),
        event(
            "m.call.replaces",
            &format!(
                r#"{{{common},"replacement_id":"r","target_user":{{"id":"@babbage:engine.example","display_name":"Countess"}},"target_room":"!theroom:engine.example","create_call":"x"}}"#
            ),
        ),
        event(
            "m.call.negotiate",
            &format!(
                r#"{{{common},"description":{{"type":"offer","sdp":{text}}},"lifetime":1000}}"#
            ),
        ),
        event(
            "m.call.answer",
            &format!(r#"{{{common},"answer":{{"type":"answer","sdp":{text}}}}}"#),
        ),
        event("m.call.hangup", &format!(r#"{{{common},"reason":"notaryReason"}}"#)),
        event("m.call.invite", "7"),
        Input::Reply(OpId(1), Ok(Reply::Turn(TurnServers::read(turn).unwrap()))),
        command(CallCommand::Dtmf(Tones::parse("735512608").unwrap())),
        command(CallCommand::Switch(
            MediaSource::Camera,
            Some(InputId::parse("frontCameraOfAda").unwrap()),
        )),
    ]
}

#[test]
fn no_secret_stands_in_a_file() {
    let inputs = private_inputs();
    let at = Now { mono: Mono::default(), wall: Wall(1_786_100_000_000) };
    let mut scribe = Scribe::begin(Vec::new(), &origin(), at).unwrap();
    for input in &inputs {
        scribe.note(at, &Entry::Input(Box::new(input.clone()), Verdict::Handled)).unwrap();
    }
    let file = scribe.finish().unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    for needle in NEEDLES {
        assert!(!text.contains(needle), "{needle} in\n{text}");
    }
    // What was recorded is what is read, but for the pseudonyms; the glare's ids are there.
    assert!(text.contains("\"c1\""));
    let read = steps(&file);
    assert_eq!(read.len(), inputs.len());
    for (step, input) in read.iter().zip(&inputs) {
        let Entry::Input(again, _) = &step.entry else { panic!("{step:?}") };
        assert_eq!(kind(again), kind(input));
    }
}

/// An input's form, without what is private.
fn kind(input: &Input) -> String {
    let text = format!("{input:?}");
    let named = |word: &str| {
        let mut letters = word.chars();
        let (first, second) = (letters.next().unwrap_or('-'), letters.next().unwrap_or('-'));
        word.ends_with(':') && !first.is_uppercase()
            || first.is_uppercase() && second.is_lowercase()
    };
    let words = text.split([' ', ',', '"', '(', ')']).filter(|word| named(word));
    words.filter(|word| !word.contains(['@', '!', '$'])).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_same_text_has_the_same_pseudonym_in_one_file_only() {
    let (_, ada, _) = a_call();
    let header = |file: &[u8]| String::from_utf8_lossy(file).lines().next().unwrap().to_owned();
    let (one, other) = (header(&ada.recording()), header(&a_call().1.recording()));
    assert_ne!(one, other, "another file, another key");
    assert!(!one.contains("ada") && one.contains(r#""format":1"#), "{one}");
}

// ---------------------------------------------------------------------------------- media keys

/// A delivery with these keys, and one that says the first of them again.
fn key_deliveries(keys: &[MediaKey]) -> Vec<Input> {
    let facts = |event: &Input| match event {
        Input::Deliver(delivery) => delivery.events[0].facts.clone(),
        other => panic!("{other:?}"),
    };
    let facts = Facts { event_id: None, ..facts(&event("m.call.invite", "7")) };
    let deliver = |keys: &[MediaKey]| {
        let message = KeyMessage {
            room: RoomId::parse("!theroom:engine.example").unwrap(),
            conf_id: "confOpaque".into(),
            device: DeviceId::parse("ADAPHONE2").unwrap(),
            body: KeyBody::Keys(keys.to_vec()),
        };
        let (event_type, content) = message.write(WireForm::Deployed);
        let content = content.expose().to_owned();
        let event = RawEvent { facts: facts.clone(), event_type, content, redacts: None };
        Input::Deliver(Batch { place: Place::ToDevice, events: vec![event] }.parse())
    };
    vec![deliver(keys), deliver(&keys[..1])]
}

fn keys_of(step: &Step) -> Vec<MediaKey> {
    let Entry::Input(input, _) = &step.entry else { panic!("{step:?}") };
    let Input::Deliver(delivery) = &**input else { panic!("{step:?}") };
    match &delivery.events[0].event {
        Ok(Content::Key(KeyMessage { body: KeyBody::Keys(keys), .. })) => keys.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_media_key_stands_in_a_file_as_other_bytes_of_its_length_and_replays_with_the_same_verdict() {
    let key = |index, bytes: &[u8]| MediaKey { index, key: SecretBytes::new(bytes) };
    let bytes = [*b"the key of the first: 32 bytes !", [0xfb; 32]];
    let keys = [key(3, &bytes[0]), key(4, &bytes[1]), key(5, &bytes[1][..16]), key(6, &bytes[0])];
    let at = Now { mono: Mono::default(), wall: Wall(1_786_100_000_000) };
    let mut scribe = Scribe::begin(Vec::new(), &origin(), at).unwrap();
    let mut engine = origin().engine();
    for input in key_deliveries(&keys) {
        let verdict = engine.handle(at, input.clone());
        scribe.note(at, &Entry::Input(Box::new(input), verdict)).unwrap();
    }
    let file = scribe.finish().unwrap();
    let text = String::from_utf8(file.clone()).unwrap();
    for bytes in &bytes {
        for bytes in [&bytes[..], &bytes[..16]] {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let base64 = STANDARD_NO_PAD.encode(bytes);
            let url = URL_SAFE_NO_PAD.encode(bytes);
            // The last character of the shorter one has bits of what follows.
            for needle in [&hex, &hex.to_uppercase(), &base64[..20], &url[..20]] {
                assert!(!text.contains(needle), "{needle} in\n{text}");
            }
            let decimal = bytes[..6].iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            assert!(!text.contains(&decimal), "{decimal} in\n{text}");
        }
    }
    assert!(!text.contains("the key of") && !text.contains("confOpaque"), "{text}");
    let steps = steps(&file);
    assert!(steps.iter().all(Step::agrees), "{steps:?}");
    let read = keys_of(&steps[0]);
    let shape =
        |keys: &[MediaKey]| keys.iter().map(|it| (it.index, it.key.len())).collect::<Vec<_>>();
    assert_eq!(shape(&read), shape(&keys));
    assert_eq!(read[0].key, read[3].key, "the same key, the same pseudonym");
    assert_ne!(read[0].key, read[1].key);
    assert_eq!(keys_of(&steps[1])[0], read[0], "in the whole file");
    assert!(read.iter().zip(&keys).all(|(name, key)| name.key != key.key));
}

#[test]
fn a_call_through_an_sfu_with_keys_replays_as_it_was_and_its_keys_and_tokens_stand_in_no_file() {
    let sim = Sim::new(3);
    sim.set_records(true);
    let users = ["@ada:example", "@ben:example", "@cleo:example"];
    let room = sim.room("!room:example", users);
    sim.server(|server| server.encrypt(&room));
    let config = || {
        let mut config = matrix_voip::Config::default();
        config.sfu_client = matrix_voip::SfuClient::Host;
        config.ratchet = matrix_voip::Ratchet::OnJoin;
        config
    };
    let devices = users.map(|user| sim.user(user).device_with("D", config()));
    for device in &devices {
        let call = device.open_sfu_group(&room, Some("https://sfu.example"));
        device.group(call, GroupCommand::Enter(CallMedia::Voice));
        sim.advance(secs(20));
    }
    assert!(devices[2].reads(&devices[0]) && devices[0].reads(&devices[2]), "{}", sim.column());
    for device in &devices {
        device.group(device.groups()[0], GroupCommand::Leave);
        sim.advance(secs(20));
    }
    let files = sim.recordings();
    assert_eq!(files.len(), 3);
    for file in files {
        let text = String::from_utf8(file.clone()).unwrap();
        // What every key, every token and every OpenID token of the kit begins with.
        for secret in
            ["mediaKey", "bWVkaWFLZX", "6d656469614b", "109,101,100", "fake.token", "fakeOpenId"]
        {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
        assert!(steps(&file).iter().all(Step::agrees));
    }
}

// --------------------------------------------------------------------------------- hostile files

fn fault(file: &[u8]) -> RecordError {
    match Replay::open(file) {
        Err(error) => error,
        Ok(replay) => replay.filter_map(Result::err).next().expect("a fault"),
    }
}

#[test]
fn a_format_of_the_future_is_refused_by_its_number() {
    let file = a_call().1.recording();
    let text = String::from_utf8(file).unwrap().replacen("\"format\":1", "\"format\":2", 1);
    let error = fault(text.as_bytes());
    assert!(matches!(error, RecordError::UnknownFormat(2)), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("format 2") && said.contains(&format!("format {FORMAT} only")), "{said}");
}

#[test]
fn what_is_no_recording_is_told_so() {
    for file in ["", "\n", "{}\n", "[]\n", "hello\n", "{\"format\":\"1\"}\n", "\u{0}"] {
        let error = fault(file.as_bytes());
        let known = matches!(error, RecordError::NotARecording | RecordError::Torn { line: 1 });
        assert!(known, "{file:?}: {error:?}");
    }
    assert!(matches!(fault(b"{\"format\":1}\n"), RecordError::Unreadable { line: 1, .. }));
}

#[test]
fn a_file_that_was_cut_off_replays_up_to_there() {
    let file = a_call().1.recording();
    let whole = steps(&file);
    for cut in [1, 2, 100, file.len() / 2, file.len() - 1] {
        let Ok(replay) = Replay::open(&file[..cut]) else { continue };
        let read: Vec<_> = replay.collect();
        let good = read.iter().take_while(|step| step.is_ok()).count();
        let last_line_is_whole = file[cut - 1] == b'\n';
        assert_eq!(read.len() - good, usize::from(!last_line_is_whole));
        assert!(read.iter().flatten().eq(&whole[..good]));
        if let Some(Err(error)) = read.last() {
            assert!(matches!(error, RecordError::Torn { .. }), "{error:?}");
        }
    }
}

#[test]
fn damaged_lines_give_an_error_or_another_call_and_never_a_panic() {
    let file = a_call().1.recording();
    let header = file.iter().position(|byte| *byte == b'\n').unwrap();
    for at in (0..file.len()).step_by(7) {
        for byte in [b'"', b'9', b'{', 0xff] {
            let mut damaged = file.clone();
            damaged[at] = byte;
            match Replay::open(damaged.as_slice()) {
                Ok(replay) => drop(replay.count()),
                Err(_) => assert!(at <= header),
            }
        }
    }
    let bad = |line: &str| {
        let mut file = file[..=header].to_vec();
        file.extend_from_slice(line.as_bytes());
        file.push(b'\n');
        fault(&file)
    };
    let at = r#""at":{"mono":[1,0],"wall":1}"#;
    for line in [
        "{}",
        "7",
        "[]",
        &format!("{{{at}}}"),
        &format!("{{{at},\"due\":false}}"),
        &format!("{{{at},\"input\":\"Nonsense\",\"verdict\":\"Handled\"}}"),
        &format!("{{{at},\"input\":{{\"Network\":{{\"news\":\"Back\"}}}}}}"),
        &format!("{{{at},\"input\":{{\"Peer\":{{\"peer\":-1}}}},\"verdict\":\"Handled\"}}"),
        r#"{"at":{"mono":[1,1000000000],"wall":1},"due":true}"#,
        r#"{"at":{"mono":[1,0],"wall":1.5},"due":true}"#,
    ] {
        let error = bad(line);
        assert!(matches!(error, RecordError::Unreadable { line: 2, .. }), "{line}: {error:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(bad(&deep), RecordError::Torn { line: 2 }));
}

#[test]
fn a_line_that_does_not_end_is_not_read_for_ever() {
    #[derive(Debug)]
    struct Endless;
    impl io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(b' ');
            Ok(buffer.len())
        }
    }
    let error = Replay::open(io::BufReader::new(Endless)).unwrap_err();
    assert!(matches!(error, RecordError::TooLong { line: 1 }), "{error:?}");
}

#[test]
fn what_was_lost_is_told_where_it_is_missing() {
    let at = Now::default();
    let mut scribe = Scribe::begin(Vec::new(), &origin(), at).unwrap();
    scribe.note(at, &Entry::Due).unwrap();
    scribe.lose(3);
    scribe.note(at, &Entry::Due).unwrap();
    let file = scribe.finish().unwrap();
    assert!(matches!(fault(&file), RecordError::Lost { line: 3, entries: 3 }));
    let mut scribe = Scribe::begin(Vec::new(), &origin(), at).unwrap();
    scribe.lose(2);
    assert!(matches!(fault(&scribe.finish().unwrap()), RecordError::Lost { line: 2, entries: 2 }));
}

// -------------------------------------------------------------------------------- beside a driver

/// A file in memory.
#[derive(Debug, Clone, Default)]
struct Shelf(Arc<Mutex<Vec<u8>>>);

impl Write for Shelf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that waits for a word before it writes, then fails if it is told so.
struct Slow(mpsc::Receiver<io::Result<()>>, Shelf);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(word) = self.0.recv() {
            word?;
        }
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Ada calls Ben and hangs up, both in this process; Ada is recorded. Gives what Ada ignored.
async fn a_real_call(recorder: Recorder, after: impl FnOnce(&VoIP)) {
    let (home, webrtc) = (EmbeddedHomeserver::new(), EmbeddedWebRtc::new());
    let room = RoomId::parse("!room:example").unwrap();
    home.set_room(&room, [ADA, BEN].map(|user| UserId::parse(user).unwrap()));
    let phone = |user: &str, recorder: Option<Recorder>| {
        let user = UserId::parse(user).unwrap();
        let identity = Identity { user, device: DeviceId::parse("PHONE").unwrap() };
        let account = home.login(identity.clone());
        let mut builder = VoIP::builder(identity).signaling(Arc::new(account.clone()));
        if let Some(recorder) = recorder {
            builder = builder.recorder(recorder);
        }
        let voip = builder.webrtc(Arc::new(webrtc.engine())).start().unwrap();
        account.connect(voip.news());
        voip
    };
    let (ada, ben) = (phone(ADA, Some(recorder)), phone(BEN, None));
    let mut arrivals = ben.events();
    let call = ada.invite("!room:example", BEN, CallOptions::voice()).await.unwrap();
    let theirs = loop {
        if let VoipNews::RingStarted { call, .. } = arrivals.next().await.unwrap() {
            break call;
        }
    };
    theirs.answer().await.unwrap();
    call.until(CallState::Connected).await.unwrap();
    after(&ada);
    call.hangup().await.unwrap();
    theirs.ended().await;
    ada.shutdown().await;
    ben.shutdown().await;
}

/// The writer is a real thread beside a paused clock: there is nothing to wait for but itself.
fn until_finished(status: &RecorderStatus) {
    while !status.is_finished() {
        std::thread::yield_now();
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_voip_replays_to_its_end() {
    let shelf = Shelf::default();
    let recorder = Recorder::new(shelf.clone()).unwrap();
    let status = recorder.status();
    a_real_call(recorder, |_| ()).await;
    until_finished(&status);
    let file = shelf.0.lock().unwrap().clone();
    let steps = steps(&file);
    assert!(steps.iter().all(Step::agrees), "{:#?}", steps.iter().find(|step| !step.agrees()));
    assert_eq!((status.written(), status.lost(), status.fault()), (steps.len() as u64, 0, None));
    let column = Replayed::read(file.as_slice()).unwrap().column;
    column.expect_in_order("* it is connected\n* it hangs up\n* it sends m.call.hangup");
    assert!(!String::from_utf8(file).unwrap().contains("fakeTurnSecret"));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_costs_lines_and_no_call() {
    let (go, word) = mpsc::channel();
    let shelf = Shelf::default();
    let recorder = Recorder::new(Slow(word, shelf.clone())).unwrap();
    let status = recorder.status();
    a_real_call(recorder, |ada| {
        let room = RoomId::parse("!room:example").unwrap();
        for _ in 0..5_000 {
            let place = Place::Room { room: room.clone(), encrypted: false };
            ada.deliver(Batch { place, events: vec![] });
        }
    })
    .await;
    assert!(status.lost() > 0 && status.written() < 10, "{status:?}");
    drop(go);
    until_finished(&status);
    let file = shelf.0.lock().unwrap().clone();
    let mut replay = Replay::open(file.as_slice()).unwrap();
    let torn = replay.find_map(Result::err);
    assert!(matches!(torn, Some(RecordError::Lost { .. })), "{torn:?}");
}

/// A few hundred large events are more than may wait, though they are few.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_writer_is_bounded_in_bytes_too() {
    let (go, word) = mpsc::channel();
    let recorder = Recorder::new(Slow(word, Shelf::default())).unwrap();
    let status = recorder.status();
    a_real_call(recorder, |ada| {
        let room = RoomId::parse("!room:example").unwrap();
        let sdp = "x".repeat(60_000);
        let content = format!(
            r#"{{"call_id":"c","party_id":"p","version":"1","lifetime":1,"offer":{{"type":"offer","sdp":"{sdp}"}}}}"#
        );
        for _ in 0..400 {
            let Input::Deliver(delivery) = event("m.call.invite", "") else { unreachable!() };
            let facts = delivery.events[0].facts.clone();
            let (event_type, content) = ("m.call.invite".to_owned(), content.clone());
            let place = Place::Room { room: room.clone(), encrypted: false };
            ada.deliver(Batch { place, events: vec![RawEvent { facts, event_type, content, redacts: None }] });
        }
    })
    .await;
    assert!(status.lost() > 50 && status.lost() < 400, "{status:?}");
    drop(go);
    until_finished(&status);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_fails_is_told_and_ends_no_call() {
    let (go, word) = mpsc::channel();
    for _ in 0..5 {
        go.send(Ok(())).unwrap();
    }
    go.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    let recorder = Recorder::new(Slow(word, Shelf::default())).unwrap();
    let status = recorder.status();
    a_real_call(recorder, |_| ()).await;
    until_finished(&status);
    assert_eq!((status.fault(), status.written()), (Some(io::ErrorKind::StorageFull), 4));
}

#[tokio::test(start_paused = true)]
async fn a_recorder_records_one_voip() {
    let shelf = Shelf::default();
    let recorder = Recorder::new(shelf.clone()).unwrap();
    let status = recorder.status();
    a_real_call(recorder.clone(), |_| ()).await;
    a_real_call(recorder, |_| ()).await;
    until_finished(&status);
    let file = shelf.0.lock().unwrap().clone();
    assert_eq!(String::from_utf8(file).unwrap().matches("\"format\"").count(), 1);
}
