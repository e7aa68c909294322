//! Glare and several devices: what looks like glare and is none, and who takes part in one.

use matrix_voip::{
    config::{Busy, Config},
    id::{DeviceId, RoomId, UserId},
    machine::{
        event::{CallState, MissedWhy, VoipEvent},
        io::{CallMedia, Callee},
    },
    testing::{Device, Sim, millis, secs},
    wire::call::Reason,
};

use crate::common::{ADA, BEN};

struct Stage {
    sim: Sim,
    room: RoomId,
    phone: Device,
    tablet: Device,
    ben: Vec<Device>,
}

/// Ada's two devices, and some of Ben's.
fn stage(seed: u64, bens: usize, config: &Config) -> Stage {
    let sim = Sim::new(seed);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.user(ADA);
    let (phone, tablet) = (ada.device("PHONE"), ada.device("TABLET"));
    let ben = sim.user(BEN);
    let ben = (0..bens).map(|n| ben.device_with(&format!("B{n}"), config.clone())).collect();
    sim.run_until_quiet();
    Stage { sim, room, phone, tablet, ben }
}

fn states(device: &Device) -> Vec<CallState> {
    device.calls().into_iter().filter_map(|call| device.state_of(call)).collect()
}

fn replaced(device: &Device) -> bool {
    format!("{:?}", device.voip_events()).contains("Replaced")
}

#[test]
fn two_devices_of_one_user_that_call_the_same_user_are_two_calls() {
    use CallState::{InviteSent, Ringing};
    let Stage { sim, room, phone, tablet, ben } = stage(71, 1, &Config::default());
    phone.invite(&room, BEN, CallMedia::Voice);
    sim.advance(millis(300));
    tablet.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    assert_eq!(states(&ben[0]), [Ringing, Ringing], "both ring, neither replaces the other");
    assert_eq!((states(&phone), states(&tablet)), (vec![InviteSent], vec![InviteSent]));
    sim.run_to_the_end();
    assert!([&phone, &tablet, &ben[0]].into_iter().all(|device| !replaced(device)));
    assert_eq!(ben[0].missed(), 2);
}

#[test]
fn the_second_of_two_calls_of_one_user_may_be_taken_and_the_first_rings_on() {
    let Stage { sim, room, phone, tablet, ben } = stage(72, 1, &Config::default());
    phone.invite(&room, BEN, CallMedia::Voice);
    tablet.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben[0].answer();
    sim.run_until_quiet();
    let connected = [&phone, &tablet].map(|device| device.state() == Some(CallState::Connected));
    assert_eq!(connected.iter().filter(|connected| **connected).count(), 1);
    assert!(ben[0].is_ringing(), "{}", sim.column());
}

#[test]
fn a_call_of_the_other_device_while_connected_meets_the_busy_policy() {
    for busy in [Busy::Ignore, Busy::Reject, Busy::Ring] {
        let mut config = Config::default();
        config.busy = busy;
        let Stage { sim, room, phone, tablet, ben } = stage(73, 1, &config);
        phone.invite(&room, BEN, CallMedia::Voice);
        sim.run_until_quiet();
        ben[0].answer();
        sim.run_until_quiet();
        tablet.invite(&room, BEN, CallMedia::Voice);
        sim.run_until_quiet();
        assert_eq!(phone.state(), Some(CallState::Connected), "the first is not replaced");
        let missed = ben[0]
            .voip_events()
            .into_iter()
            .any(|event| matches!(event, VoipEvent::Missed { why: MissedWhy::Busy, .. }));
        assert_eq!((missed, ben[0].is_ringing()), (busy != Busy::Ring, busy == Busy::Ring));
        let refused = tablet.state() == Some(CallState::Ended);
        assert_eq!(refused, busy == Busy::Reject);
    }
}

/// Two calls towards Ben and one of his own: whoever wins, he talks once, and no call is lost for
/// ever between devices that decided differently.
#[test]
fn one_user_with_two_devices_and_another_call_each_other() {
    for seed in 0..40 {
        for bens in [1, 2] {
            let Stage { sim, room, phone, tablet, ben } = stage(seed, bens, &Config::default());
            sim.set_way(millis(5 + 7 * (seed % 5)));
            phone.invite(&room, BEN, CallMedia::Voice);
            sim.advance(millis(seed % 7 * 15));
            ben[0].invite(&room, ADA, CallMedia::Voice);
            sim.advance(millis(seed % 3 * 20));
            tablet.invite(&room, BEN, CallMedia::Voice);
            sim.advance(secs(10));
            let all = || [&phone, &tablet].into_iter().chain(&ben);
            let connected = all().flat_map(states).filter(is_connected).count();
            assert_eq!(connected, 2, "seed {seed}, {bens} devices of Ben\n{}", sim.column());
            sim.advance(secs(120));
            for device in all() {
                let settled =
                    |state: &CallState| matches!(state, CallState::Connected | CallState::Ended);
                assert!(states(device).iter().all(settled), "{}", sim.column());
                assert!(states(device).iter().filter(|s| is_connected(s)).count() <= 1);
            }
        }
    }
}

fn is_connected(state: &CallState) -> bool {
    *state == CallState::Connected
}

/// Ada's tablet rings for Ben's call while her phone calls him: no glare on the tablet, which
/// calls nobody; the phone's decision stops its ringing.
#[test]
fn a_device_that_calls_nobody_takes_no_part_in_the_glare_of_another() {
    for seed in 0..20 {
        let Stage { sim, room, phone, tablet, ben } = stage(seed, 1, &Config::default());
        phone.invite(&room, BEN, CallMedia::Voice);
        ben[0].invite(&room, ADA, CallMedia::Voice);
        sim.run_until_quiet();
        assert_eq!((phone.state(), ben[0].state()), (ben[0].state(), phone.state()));
        assert_eq!(phone.state(), Some(CallState::Connected), "{}", sim.column());
        assert!(!tablet.is_ringing(), "{}", sim.column());
        assert_eq!((tablet.missed(), tablet.tracks().len()), (0, 0));
    }
}

/// Ben's laptop rings for Ada's call while his phone calls her.
#[test]
fn glare_with_one_device_of_two_stops_the_ringing_of_the_other() {
    for seed in 0..20 {
        let Stage { sim, room, phone, ben, .. } = stage(seed, 2, &Config::default());
        phone.invite(&room, BEN, CallMedia::Voice);
        sim.advance(millis(30));
        ben[0].invite(&room, ADA, CallMedia::Voice);
        sim.run_until_quiet();
        assert_eq!(phone.state(), Some(CallState::Connected), "{}", sim.column());
        assert_eq!(ben[0].state(), Some(CallState::Connected), "{}", sim.column());
        assert!(!ben[1].is_ringing(), "{}", sim.column());
    }
}

#[test]
fn a_call_to_one_device_is_not_replaced_by_another_device() {
    let sim = Sim::new(77);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.puppet(BEN, "TABLET");
    sim.run_until_quiet();
    let laptop = Callee::Device(UserId::parse(BEN).unwrap(), DeviceId::parse("LAPTOP").unwrap());
    let ours = ada.call_to(&room, laptop, CallMedia::Voice);
    sim.run_until_quiet();
    let (event_type, content) = ben.message("!", ben.invitation(secs(60))).write();
    let content = content.replacen('{', "{\"device_id\":\"TABLET\",", 1);
    ben.say_json(&room, &event_type, &content);
    sim.run_until_quiet();
    assert_eq!(ada.state_of(ours), Some(CallState::InviteSent), "{}", sim.column());
}

#[test]
fn two_devices_of_one_user_that_call_each_other_are_one_call() {
    let sim = Sim::new(73);
    let room = sim.room("!room:example", [ADA, BEN]);
    let [phone, desk] = ["PHONE", "DESK"].map(|name| sim.device(ADA, name));
    let to = |name| Callee::Device(UserId::parse(ADA).unwrap(), DeviceId::parse(name).unwrap());
    phone.call_to(&room, to("DESK"), CallMedia::Voice);
    desk.call_to(&room, to("PHONE"), CallMedia::Voice);
    sim.run_until_quiet();
    let alive = |device: &Device| {
        let calls = device.calls().into_iter();
        calls.filter(|call| device.state_of(*call) != Some(CallState::Ended)).count()
    };
    assert_eq!((alive(&phone), alive(&desk)), (1, 1), "{}", sim.column());
}

#[test]
fn the_place_of_a_call_to_one_device_is_not_left_to_another() {
    for (device, rings) in [("TABLET", true), ("LAPTOP", false)] {
        let sim = Sim::new(78);
        let room = sim.room("!room:example", [ADA, BEN]);
        let ada = sim.device(ADA, "PHONE");
        let ben = sim.puppet(BEN, device);
        sim.run_until_quiet();
        let laptop =
            Callee::Device(UserId::parse(BEN).unwrap(), DeviceId::parse("LAPTOP").unwrap());
        let ours = ada.call_to(&room, laptop, CallMedia::Voice);
        sim.run_until_quiet();
        let id = ada.snapshot_of(ours).unwrap().call_id;
        ben.hangup(&room, id.as_str(), Some(Reason::Replaced));
        sim.advance(millis(100));
        let (event_type, content) = ben.message("!", ben.invitation(secs(60))).write();
        let content = content.replacen('{', &format!("{{\"device_id\":\"{device}\","), 1);
        ben.say_json(&room, &event_type, &content);
        sim.advance(millis(500));
        assert_eq!(ada.is_ringing(), rings, "{device}\n{}", sim.column());
    }
}
