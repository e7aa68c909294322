//! Media keys of calls through an SFU: when one is made, who gets it, when it is used (items 127 to
//! 135, 138 to 140 and 149).

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::{
    CallMedia, Config, GroupState, KeyEvent, KeyProfile, KeyUse, ParticipantId, Ratchet,
    Undelivered,
    id::{RoomId, SessionId},
    machine::io::{Command, Fault, GroupCommand, Ignored, Input, Network, Verdict},
    testing::{Cue, Device, OpKind, SentToDevice, Sim, millis, secs},
    wire::{
        keys::{KeyBody, KeyMessage, MediaKey, read_key_event},
        member::{Backend, DEFAULT_APPLICATION, GroupCallId, MEMBER_TYPE},
    },
};

use crate::{
    common::put,
    sfu::{SERVICE, all_meet, by_host, enters},
};

const USERS: [&str; 5] =
    ["@ada:example", "@ben:example", "@cleo:example", "@dora:example", "@eve:example"];

/// Media keys are ratcheted for whoever joins.
fn ratcheting() -> Config {
    let mut config = by_host();
    config.ratchet = Ratchet::OnJoin;
    config
}

/// A room of five, each with a device of this configuration.
pub(crate) fn five_with(config: impl Fn() -> Config) -> (Sim, RoomId, [Device; 5]) {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", USERS);
    let devices = USERS.map(|user| sim.user(user).device_with("D", config()));
    sim.run_until_quiet();
    (sim, room, devices)
}

/// These are in the call, and nothing has happened for half a minute.
fn settled(sim: &Sim, room: &RoomId, devices: &[&Device]) {
    for device in devices {
        enters(device, room);
    }
    sim.advance(secs(30));
    all_meet(devices, sim);
}

pub(crate) fn call_of(device: &Device) -> SessionId {
    *device.groups().last().unwrap()
}

fn leaves(device: &Device) {
    device.group(call_of(device), GroupCommand::Leave);
}

pub(crate) fn id(device: &Device) -> ParticipantId {
    let identity = device.identity();
    ParticipantId { user: identity.user, device: identity.device }
}

/// What was said about keys: by whom, to whom, what.
pub(crate) fn said(sim: &Sim) -> Vec<(SentToDevice, KeyMessage)> {
    let log = sim.server(|server| server.to_device_log().to_vec());
    let read = |sent: SentToDevice| {
        let read = read_key_event(&sent.event_type, sent.content.expose())?;
        Some((sent, read.unwrap()))
    };
    log.into_iter().filter_map(read).collect()
}

/// The keys that a device sent from then on: when after that, to whom, at which place of the ring.
fn shared(sim: &Sim, by: &Device, from: Duration) -> Vec<(u64, String, MediaKey)> {
    let began = sim.now().wall.0 - (sim.elapsed() - from).as_millis() as u64;
    let all = said(sim).into_iter().filter(|(sent, _)| sent.from == id(by) && sent.at.0 >= began);
    let keys = all.filter_map(|(sent, message)| match message.body {
        KeyBody::Keys(mut keys) => Some((sent.at.0 - began, name(&sent.to), keys.remove(0))),
        KeyBody::Request => None,
    });
    keys.collect()
}

fn name(who: &ParticipantId) -> String {
    who.user.as_str().trim_start_matches('@').split(':').next().unwrap_or_default().to_owned()
}

/// Who asked for keys.
fn requests(sim: &Sim) -> Vec<(String, String)> {
    let asked = said(sim).into_iter().filter(|(_, message)| message.body == KeyBody::Request);
    asked.map(|(sent, _)| (name(&sent.from), name(&sent.to))).collect()
}

/// Somebody's device sends this about keys to another.
pub(crate) fn tells(sim: &Sim, room: &RoomId, (from, to): (&Device, &Device), body: KeyBody) {
    let identity = from.identity();
    let message = KeyMessage {
        room: room.clone(),
        conf_id: String::new(),
        device: identity.device.clone(),
        body,
    };
    let (event_type, content) = message.write(Config::default().wire_form);
    let (now, to) = (sim.now().wall, id(to));
    let protection = matrix_voip::wire::delivery::Protection::Clear;
    let event = (event_type.as_str(), content.expose());
    sim.server(|server| server.post(now, &identity, &to, (event, protection)));
    sim.advance(millis(50));
}

pub(crate) fn events(device: &Device) -> Vec<KeyEvent> {
    let of_keys = |event| match event {
        matrix_voip::GroupEvent::Key(event) => Some(event),
        _ => None,
    };
    let all = device.groups().into_iter().flat_map(|call| device.group_events(call));
    all.filter_map(of_keys).collect()
}

// ------------------------------------------------------------------------------------------ joins

/// Item 127 (T-20): Ben comes half a minute later.
#[track_caller]
fn a_joiner_gets_the_key(config: fn() -> Config) {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(config);
    settled(&sim, &room, &[&ada, &cleo]);
    enters(&ben, &room);
    sim.advance(millis(2900));
    for other in [&ada, &cleo] {
        let theirs = shared(&sim, other, secs(30));
        assert!(theirs.iter().any(|(_, to, _)| to == "ben"), "{}", sim.column());
    }
    sim.advance(secs(4));
    all_meet(&[&ada, &ben, &cleo], &sim);
    assert_eq!(requests(&sim), [], "{}", sim.column());
}

#[test]
fn whoever_joins_gets_the_key_of_each_without_asking() {
    a_joiner_gets_the_key(by_host);
}

#[test]
fn whoever_joins_gets_the_ratcheted_key_of_each_without_asking_and_nobody_else_gets_any() {
    a_joiner_gets_the_key(ratcheting);
    let (sim, room, [ada, ben, cleo, ..]) = five_with(ratcheting);
    settled(&sim, &room, &[&ada, &cleo]);
    let before = ada.key_in_use().unwrap();
    enters(&ben, &room);
    sim.advance(secs(1));
    let [(_, to, key)] = shared(&sim, &ada, secs(30)).try_into().unwrap();
    assert_eq!((to.as_str(), key.index), ("ben", before.index));
    assert_ne!(key, before, "what was sent before he cannot read");
    assert_eq!(ada.key_in_use(), Some(key), "whoever has the one before computes it");
    all_meet(&[&ada, &ben, &cleo], &sim);
}

/// Item 128.
#[test]
fn all_who_join_within_the_window_get_one_key() {
    let (sim, room, [ada, ben, cleo, dora, eve]) = five_with(by_host);
    settled(&sim, &room, &[&ada]);
    for (device, pause) in [(&ben, 2), (&cleo, 5), (&dora, 5), (&eve, 20)] {
        enters(device, &room);
        sim.advance(secs(pause));
    }
    let shared = shared(&sim, &ada, secs(30));
    let of = |to: &str| shared.iter().filter(|it| it.1 == to).map(|it| &it.2).collect::<Vec<_>>();
    let first = of("ben")[0];
    assert_eq!((of("cleo")[0], of("dora")[0]), (first, first), "{shared:?}");
    assert_ne!(of("eve")[0], first, "12 s after it was made: {shared:?}");
    assert_eq!(ada.keys_used().len(), 3, "{shared:?}");
    all_meet(&[&ada, &ben, &cleo, &dora, &eve], &sim);
    assert_eq!(requests(&sim), []);
}

// ----------------------------------------------------------------------------------------- leaves

/// Item 129: what Ada shares after these leaves, and when she uses it.
#[track_caller]
fn after_leaves(config: fn() -> Config, leaving: &[(usize, u64)]) -> (Vec<(u64, String)>, u64) {
    let (sim, room, devices) = five_with(config);
    settled(&sim, &room, &devices.each_ref());
    let began = sim.elapsed();
    let former = devices[0].key_in_use();
    for (which, pause) in leaving {
        leaves(&devices[*which]);
        sim.advance(secs(*pause));
    }
    while devices[0].key_in_use() == former && sim.elapsed() < began + secs(60) {
        sim.advance(millis(100));
    }
    let used = (sim.elapsed() - began).as_secs();
    let shared = shared(&sim, &devices[0], began);
    assert_ne!(shared[0].2.index, former.clone().unwrap().index, "never ratcheted");
    sim.advance(secs(10));
    assert_eq!(devices[0].keys_used().last(), Some(&shared[0].2));
    let left: Vec<_> = leaving.iter().map(|(which, _)| *which).collect();
    let stayed = devices.iter().enumerate().filter(|(at, _)| !left.contains(at));
    all_meet(&stayed.map(|(_, device)| device).collect::<Vec<_>>(), &sim);
    (shared.into_iter().map(|(at, to, _)| (at / 1000, to)).collect(), used)
}

fn to(at: u64, who: &[&str]) -> Vec<(u64, String)> {
    who.iter().map(|who| (at, (*who).to_owned())).collect()
}

#[test]
fn leaves_are_followed_by_one_new_key_for_those_who_stay_which_is_used_four_seconds_later() {
    for config in [by_host, ratcheting] {
        // Ben, and two seconds later Cleo: four seconds after her.
        let (shared, used) = after_leaves(config, &[(1, 2), (2, 0)]);
        assert_eq!(shared, to(6, &["dora", "eve"]));
        assert_eq!(used, 10);
    }
}

#[test]
fn leaves_that_do_not_end_put_the_new_key_off_for_so_long_only() {
    let (shared, used) = after_leaves(by_host, &[(1, 3), (2, 3), (3, 0)]);
    assert_eq!((shared, used), (to(8, &["eve"]), 12));
}

#[test]
fn whoever_is_thrown_out_of_the_room_is_followed_by_a_new_key_at_once() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    let user = ben.identity().user;
    sim.server(|server| server.leave(&room, &user));
    sim.advance(secs(5));
    let shared = shared(&sim, &ada, secs(30));
    assert_eq!(shared.len(), 1, "{shared:?}");
    assert!(shared[0].0 < 100 && shared[0].1 == "cleo", "{shared:?}");
    assert_eq!(ada.key_in_use(), Some(shared[0].2.clone()));
    all_meet(&[&ada, &cleo], &sim);
}

/// Item 130.
#[test]
fn places_of_the_ring_come_again_and_the_new_key_takes_the_place_of_the_old() {
    let config = || {
        let mut config = by_host();
        config.key_profile = KeyProfile { ring_size: 2, ..KeyProfile::FAMEDLY };
        config
    };
    let (sim, room, [ada, ben, cleo, ..]) = five_with(config);
    settled(&sim, &room, &[&ada, &cleo]);
    for _ in 0..2 {
        enters(&ben, &room);
        sim.advance(secs(20));
        leaves(&ben);
        sim.advance(secs(20));
        all_meet(&[&ada, &cleo], &sim);
    }
    let used = ada.keys_used();
    let places: Vec<_> = used.iter().map(|key| key.index).collect();
    assert_eq!(places, [0, 1, 0, 1, 0]);
    let keys: BTreeSet<_> = used.iter().map(MediaKey::fingerprint).collect();
    assert_eq!(keys.len(), 5, "each is a fresh one");
}

// --------------------------------------------------------------------------------------- requests

/// Item 131.
#[test]
fn a_member_who_asks_gets_the_newest_key_alone_and_not_as_often_as_he_likes() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    // A new key is shared, and not in use yet: the newest counts (T-23).
    leaves(&cleo);
    sim.advance(millis(5500));
    let began = sim.elapsed();
    let newest = shared(&sim, &ada, secs(30)).remove(0).2;
    assert_ne!(ada.key_in_use(), Some(newest.clone()));
    for _ in 0..3 {
        tells(&sim, &room, (&ben, &ada), KeyBody::Request);
    }
    let answers = shared(&sim, &ada, began);
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((answers[0].1.as_str(), &answers[0].2), ("ben", &newest));
    assert_eq!(ada.ignored(Ignored::TooMany), 2);
}

#[test]
fn who_asks_and_is_no_member_is_looked_for_and_gets_the_key_if_he_is_one() {
    let (sim, room, [ada, ben, cleo, dora, _]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben]);
    let fetches = || ada.ignored(Ignored::NoMembership);
    // The homeserver has no such membership, and then it cannot even be asked.
    for who in [&cleo, &dora] {
        ada.next(OpKind::State, Cue::works());
        ada.next(OpKind::State, Cue::fails(Fault::NotFound));
        tells(&sim, &room, (who, &ada), KeyBody::Request);
        sim.advance(secs(60));
    }
    assert_eq!(fetches(), 2);
    assert_eq!(shared(&sim, &ada, secs(30)), []);
    // It has one, of which nobody was told yet.
    let (from, to) = (dora.identity().user, ada.identity().user);
    sim.server(|server| server.set_delay(&from, &to, secs(3600)));
    enters(&dora, &room);
    sim.advance(secs(1));
    sim.server(|server| server.set_delay(&from, &to, secs(0)));
    let began = sim.elapsed();
    tells(&sim, &room, (&dora, &ada), KeyBody::Request);
    sim.advance(secs(1));
    let answers: Vec<_> = shared(&sim, &ada, began).into_iter().map(|it| it.1).collect();
    assert!(answers.contains(&"dora".to_owned()), "{answers:?}\n{}", sim.column());
}

/// Item 132 (T-23).
#[test]
fn a_request_that_comes_before_any_key_is_answered_with_the_one_that_is_made() {
    let (sim, room, [ada, ben, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ben]);
    ada.next(OpKind::KeyMaterial, Cue::works().after(secs(5)));
    enters(&ada, &room);
    sim.advance(secs(1));
    let began = sim.elapsed();
    tells(&sim, &room, (&ben, &ada), KeyBody::Request);
    sim.advance(secs(20));
    let shared = shared(&sim, &ada, began);
    assert_eq!(shared.len(), 1, "{shared:?}");
    assert_eq!((ada.keys_used().len(), shared[0].2.index), (1, 0));
    all_meet(&[&ada, &ben], &sim);
}

// --------------------------------------------------------------------------------------- delivery

/// Item 133 (T-22).
#[test]
fn a_key_that_cannot_be_sent_is_tried_less_and_less_and_given_up() {
    let (sim, room, [ada, ben, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ben]);
    // They arrive, and we never know.
    ada.always(OpKind::SendToDevice, Cue::answer_lost());
    let began = sim.elapsed();
    enters(&ada, &room);
    sim.advance(secs(600));
    let sends: Vec<_> = shared(&sim, &ada, began).into_iter().map(|it| it.0).collect();
    // Then once with each membership that the homeserver takes.
    let (sends, later) = sends.split_at(6);
    assert!(later.len() == 4 && later[0] > 110_000, "{later:?}");
    let pauses: Vec<_> = sends.windows(2).map(|two| (two[1] - two[0]).div_ceil(1000)).collect();
    assert!(pauses.windows(2).all(|two| two[1] >= two[0]) && pauses[4] > 8, "{pauses:?}");
    let given_up = KeyEvent::Undelivered { participant: id(&ben), why: Undelivered::GivenUp };
    assert_eq!(events(&ada).iter().filter(|it| **it == given_up).count(), 1);
    let why = ada.group_snapshot(call_of(&ada)).unwrap().explain().to_string();
    assert!(why.contains("ours could not be sent to him"), "{why}");
}

#[test]
fn a_newer_key_takes_the_place_of_one_that_could_not_be_sent() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    ada.always(OpKind::SendToDevice, Cue::dropped());
    leaves(&cleo);
    sim.advance(secs(7));
    let user = cleo.identity().user;
    sim.server(|server| server.leave(&room, &user));
    enters(&cleo, &room);
    sim.advance(secs(12));
    let began = sim.elapsed();
    ada.always(OpKind::SendToDevice, Cue::works());
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(20));
    let shared = shared(&sim, &ada, began);
    assert_eq!(shared.iter().filter(|it| it.1 == "ben").count(), 1, "{shared:?}");
    assert_eq!(ada.key_in_use().as_ref(), Some(&shared[0].2));
    assert!(ben.reads(&ada), "{}", sim.column());
}

#[test]
fn keys_that_could_not_be_sent_while_the_homeserver_was_away_go_out_when_it_is_back() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    leaves(&cleo);
    sim.advance(secs(3));
    ada.partition();
    sim.advance(secs(100));
    let began = sim.elapsed();
    ada.heal();
    ada.input(Input::Network(Network::Back));
    sim.advance(secs(1));
    assert!(shared(&sim, &ada, began).iter().any(|it| it.1 == "ben"), "{}", sim.column());
    sim.advance(secs(30));
    all_meet(&[&ada, &ben], &sim);
}

/// Item 134 (T-21).
#[test]
fn every_device_of_a_user_gets_the_key_in_a_room_that_is_not_encrypted() {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", USERS);
    let ada = sim.user(USERS[0]).device_with("D", by_host());
    let bens = ["A", "B", "C"].map(|device| sim.user(USERS[1]).device_with(device, by_host()));
    sim.run_until_quiet();
    for device in bens.iter().chain([&ada]) {
        enters(device, &room);
        sim.advance(secs(1));
    }
    sim.advance(secs(20));
    all_meet(&[&ada, &bens[0], &bens[1], &bens[2]], &sim);
    assert_eq!(requests(&sim), []);
}

/// Item 135 (T-21).
#[test]
fn a_device_whose_keys_come_late_gets_the_key_then() {
    let (sim, room, [ada, ben, ..]) = five_with(by_host);
    sim.server(|server| server.encrypt(&room));
    let device = ben.identity();
    sim.server(|server| server.set_device_keys(&device, false));
    enters(&ben, &room);
    enters(&ada, &room);
    sim.advance(secs(20));
    assert!(!ben.reads(&ada) && ada.reads(&ben), "{}", sim.column());
    let why = Undelivered::NoDeviceKeys;
    let undelivered = KeyEvent::Undelivered { participant: id(&ben), why };
    assert_eq!(events(&ada).iter().filter(|it| **it == undelivered).count(), 1);
    let told = ada.group_snapshot(call_of(&ada)).unwrap().explain().to_string();
    assert!(told.contains("ours waits for keys of his device"), "{told}");
    sim.advance(secs(300));
    sim.server(|server| server.set_device_keys(&device, true));
    ada.input(Input::DeviceKeys(device.user));
    sim.advance(secs(1));
    all_meet(&[&ada, &ben], &sim);
    assert!(ada.group_snapshot(call_of(&ada)).unwrap().keys.undelivered.is_empty());
}

// ------------------------------------------------------------------------------- the use of a key

/// Item 138 (T-26).
#[test]
fn a_key_that_waits_to_be_used_is_not_once_we_have_left() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    leaves(&cleo);
    sim.advance(secs(6));
    let used = ada.keys_used().len();
    leaves(&ada);
    sim.advance(secs(60));
    assert_eq!(ada.keys_used().len(), used, "{}", sim.column());
}

/// Frames that are captured meanwhile must not pass in the clear.
#[test]
fn the_provider_hears_that_there_are_keys_before_there_is_one() {
    let (sim, room, [ada, ..]) = five_with(by_host);
    ada.always(OpKind::KeyMaterial, Cue::hangs());
    enters(&ada, &room);
    sim.advance(secs(1));
    assert_eq!((ada.keys_begun(), ada.key_in_use()), (Some(KeyProfile::FAMEDLY), None));
    leaves(&ada);
    sim.advance(secs(1));
    assert_eq!(ada.keys_begun(), None);
}

/// Item 139.
#[test]
fn a_provider_that_ratchets_nothing_nine_times_is_given_a_fresh_key() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(ratcheting);
    settled(&sim, &room, &[&ada, &ben]);
    let (before, asked) = (ada.key_in_use().unwrap(), sim.sfu(|sfu| sfu.ratchets()));
    // Ben's provider has what it needs: he is in his first window.
    sim.sfu(matrix_voip::testing::FakeSfu::lose_keys);
    enters(&cleo, &room);
    sim.advance(secs(10));
    assert_eq!(sim.sfu(|sfu| sfu.ratchets()) - asked, 2 * 9, "{}", sim.column());
    assert_ne!(ada.key_in_use().unwrap().index, before.index, "{}", sim.column());
    all_meet(&[&ada, &ben, &cleo], &sim);
}

/// Item 140.
#[test]
fn without_keys_nothing_is_made_sent_or_heard() {
    let (sim, room, [ada, ben, ..]) = five_with(by_host);
    let session = opens(&ada, &room, KeyUse::Off);
    ada.group(session, GroupCommand::Enter(CallMedia::Voice));
    enters(&ben, &room);
    sim.advance(secs(30));
    assert_eq!(shared(&sim, &ada, secs(0)), []);
    assert_eq!(ada.keys_used(), []);
    assert!(ada.ignored(Ignored::KeysOff) > 0 && events(&ada).is_empty());
    let asks = ada.command(Command::Group(session, GroupCommand::RequestKeys([id(&ben)].into())));
    assert_eq!(asks, Verdict::Refused(matrix_voip::machine::io::Refusal::NoKeys));
    assert_eq!(ada.group_state(session), Some(GroupState::Entered));
}

/// Has the call at hand with these keys.
fn opens(device: &Device, room: &RoomId, keys: KeyUse) -> SessionId {
    let (room, call, backend) =
        (room.clone(), GroupCallId::room(), Backend::livekit(SERVICE, room.as_str()));
    let application = DEFAULT_APPLICATION.to_owned();
    match device.command(Command::OpenGroup { room, call, backend, application, keys }) {
        Verdict::Started(session) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_is_opened_anew_with_other_keys_has_them_when_it_is_entered_next() {
    let (sim, room, [ada, ben, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben]);
    opens(&ada, &room, KeyUse::Off);
    sim.advance(secs(1));
    assert!(ben.reads(&ada), "as it was entered");
    leaves(&ada);
    let session = opens(&ada, &room, KeyUse::Off);
    ada.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(30));
    assert!(!ben.reads(&ada) && !ada.reads(&ben), "{}", sim.column());
    leaves(&ada);
    let session = opens(&ada, &room, KeyUse::On(KeyProfile::FAMEDLY));
    ada.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(30));
    all_meet(&[&ada, &ben], &sim);
}

#[test]
fn who_leaves_and_enters_at_once_has_other_keys_and_gets_those_of_all() {
    for pause in [millis(0), millis(15), millis(50), secs(2), secs(6)] {
        let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
        settled(&sim, &room, &[&ada, &ben, &cleo]);
        let before = ada.key_in_use().unwrap();
        leaves(&ada);
        sim.advance(pause);
        enters(&ada, &room);
        sim.advance(secs(30));
        all_meet(&[&ada, &ben, &cleo], &sim);
        let after = ada.key_in_use().unwrap();
        assert_ne!(before.fingerprint(), after.fingerprint(), "{pause:?}");
        assert_eq!(requests(&sim), [], "{pause:?}\n{}", sim.column());
    }
}

/// A message to a device can be on its way for longer than a call lasts.
#[test]
fn a_key_of_a_former_call_that_comes_late_takes_the_place_of_none() {
    let (sim, room, [ada, ben, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ben]);
    ada.next(OpKind::SendToDevice, Cue::works().after(secs(7)));
    enters(&ada, &room);
    sim.advance(millis(500));
    // Ada is out of the room, so that call is over, and she comes again.
    let user = ada.identity().user;
    sim.server(|server| server.leave(&room, &user));
    sim.advance(secs(1));
    sim.server(|server| server.join(&room, &user));
    sim.advance(secs(1));
    enters(&ada, &room);
    sim.advance(secs(20));
    let indexes: Vec<_> = ada.keys_used().iter().map(|key| key.index).collect();
    assert_eq!(indexes, [0, 1]);
    all_meet(&[&ada, &ben], &sim);
}

/// Item 149.
#[test]
fn a_leave_of_ours_that_we_did_not_write_is_followed_by_one_re_join_and_one_share_of_our_key() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    let (before, key) = (sim.server(|server| server.state_sent(&room)), ada.key_in_use());
    let device_key = format!("_{}_D", USERS[0]);
    let stands = |key: &str| sim.server(|server| server.state_of(&room, MEMBER_TYPE, key));
    let key_of_state = if stands(USERS[0]).is_some() { USERS[0] } else { &device_key };
    let began = sim.elapsed();
    put(&sim, &room, USERS[0], (MEMBER_TYPE, key_of_state), r#"{"memberships":[]}"#.to_owned());
    sim.advance(secs(1));
    assert_eq!(sim.server(|server| server.state_sent(&room)) - before, 2, "{}", sim.column());
    let to: Vec<_> = shared(&sim, &ada, began).into_iter().map(|it| it.1).collect();
    assert_eq!(to, ["ben", "cleo"], "{}", sim.column());
    assert_eq!(ada.key_in_use(), key);
    sim.advance(secs(20));
    all_meet(&[&ada, &ben, &cleo], &sim);
    assert_eq!(requests(&sim), []);
}

#[test]
fn our_membership_is_accepted_while_the_key_is_being_made_and_the_other_way_round() {
    for slow in [OpKind::KeyMaterial, OpKind::SendState] {
        let (sim, room, [ada, ben, ..]) = five_with(by_host);
        settled(&sim, &room, &[&ben]);
        ada.next(slow, Cue::works().after(secs(5)));
        let call = enters(&ada, &room);
        sim.advance(secs(2));
        let entered = ada.group_state(call) == Some(GroupState::Entered);
        let has_key = ada.key_in_use().is_some() && ben.ignored(Ignored::Parked) > 0;
        let expected = (slow == OpKind::KeyMaterial, slow == OpKind::SendState);
        assert_eq!((entered, has_key), expected, "{slow:?}\n{}", sim.column());
        sim.advance(secs(30));
        all_meet(&[&ada, &ben], &sim);
    }
}

// ------------------------------------------------------------------------------------- at once

/// How long after something a device sends with the key of before.
fn held(sim: &Sim, device: &Device, after: impl FnOnce()) -> Duration {
    let (before, began) = (device.key_in_use(), sim.elapsed());
    after();
    while device.key_in_use() == before && sim.elapsed() - began < secs(60) {
        sim.advance(millis(100));
    }
    sim.elapsed() - began
}

/// Whoever sees that he is about to be thrown out gains no time by leaving the call.
#[test]
fn who_leaves_the_call_and_is_thrown_out_a_moment_later_is_followed_at_once() {
    let (sim, room, [ada, ben, cleo, ..]) = five_with(by_host);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    leaves(&cleo);
    sim.advance(millis(300));
    let user = cleo.identity().user;
    let held = held(&sim, &ada, || sim.server(|server| server.leave(&room, &user)));
    assert!(held <= secs(5), "{held:?}: {}", sim.column());
}

#[test]
fn a_provider_that_hangs_at_a_ratchet_holds_up_no_fresh_key() {
    let (sim, room, [ada, ben, cleo, dora, _]) = five_with(ratcheting);
    settled(&sim, &room, &[&ada, &ben, &cleo]);
    ada.next(OpKind::Keys, Cue::hangs());
    enters(&dora, &room);
    sim.advance(secs(1));
    let user = cleo.identity().user;
    let held = held(&sim, &ada, || sim.server(|server| server.leave(&room, &user)));
    assert!(held <= secs(6), "{held:?}: {}", sim.column());
}
