//! How much is said about media keys, counted at the homeserver: one send is one device that one
//! message is sent to.

use matrix_voip::{
    Config, Ratchet,
    id::RoomId,
    testing::{Device, Sim, secs},
    wire::{keys::is_key_event, member::MEMBER_TYPE},
};
use serde_json::json;

use crate::{
    common::{ADA, put},
    sfu::{SERVICE, all_meet, by_host, enters},
};

fn with(ratchet: Ratchet) -> Config {
    let mut config = by_host();
    config.ratchet = ratchet;
    config
}

/// How many sends about keys there were.
fn sends(sim: &Sim) -> usize {
    let log = sim.server(|server| server.to_device_log().to_vec());
    log.iter().filter(|sent| is_key_event(&sent.event_type)).count()
}

/// Eight join one after the other, half a minute apart; the sends.
fn eight_join(ratchet: Ratchet) -> usize {
    let users: Vec<_> = (0..8).map(|n| format!("@user{n}:example")).collect();
    let sim = Sim::new(1);
    let room = sim.room("!room:example", users.iter().map(String::as_str));
    let device = |user: &String| sim.user(user).device_with("D", with(ratchet));
    let devices: Vec<Device> = users.iter().map(device).collect();
    sim.run_until_quiet();
    for device in &devices {
        enters(device, &room);
        sim.advance(secs(30));
    }
    all_meet(&devices.iter().collect::<Vec<_>>(), &sim);
    sends(&sim)
}

#[test]
fn eight_who_join_half_a_minute_apart_send_168_keys_and_56_where_joins_ratchet() {
    // The k-th gives his to k - 1, and gets one of each of them: all anew, or ratcheted for him alone.
    assert_eq!(eight_join(Ratchet::Off), 168);
    assert_eq!(eight_join(Ratchet::OnJoin), 56);
}

/// Somebody without an engine is in the call through the SFU, or out of it.
fn stands(sim: &Sim, room: &RoomId, user: &str, visit: Option<&str>) {
    let expires = sim.now().wall.0 + 700_000;
    let focus = json!({ "type": "livekit", "livekit_service_url": SERVICE,
        "livekit_alias": room.as_str() });
    let entry = |visit: &str| {
        json!({ "application": "m.call", "call_id": "", "scope": "m.room", "device_id": "D",
            "expires_ts": expires, "membershipID": visit, "foci_active": [focus] })
    };
    let content = json!({ "memberships": visit.map(entry).into_iter().collect::<Vec<_>>() });
    put(sim, room, user, (MEMBER_TYPE, user), content.to_string());
}

/// What Ada sends in each of five minutes among 199 others, of whom two leave and two come in each: the
/// most of one minute.
fn crowd_with_churn(ratchet: Ratchet) -> usize {
    let users: Vec<_> = (0..199).map(|n| format!("@user{n}:example")).collect();
    let sim = Sim::new(1);
    sim.set_reads_engines(false);
    let room = sim.room("!room:example", users.iter().map(String::as_str).chain([ADA]));
    let ada = sim.user(ADA).device_with("D", with(ratchet));
    for user in &users {
        stands(&sim, &room, user, Some("first"));
    }
    enters(&ada, &room);
    // Nobody answers with a key of his: Ada's requests are over by then.
    sim.advance(secs(120));
    let mut minutes = Vec::new();
    for minute in 0..5 {
        let before = sends(&sim);
        let mut two = users.iter().cycle().skip(minute * 2).take(2);
        for user in [two.next().unwrap(), two.next().unwrap()] {
            stands(&sim, &room, user, None);
            sim.advance(secs(15));
            stands(&sim, &room, user, Some(&format!("visit{minute}")));
            sim.advance(secs(15));
        }
        minutes.push(sends(&sim) - before);
    }
    println!("{ratchet:?}: {minutes:?}");
    minutes.into_iter().max().unwrap_or_default()
}

#[test]
fn among_200_members_of_whom_one_in_a_hundred_goes_and_one_comes_a_minute_one_device_sends_804_messages()
 {
    // Two fresh keys after leaves to 198, two for who comes to 199, and he who comes is asked for his.
    assert_eq!(crowd_with_churn(Ratchet::Off), 2 * 198 + 2 * 199 + 2 * 5);
    // The provider ratchets for who comes: he alone gets it.
    assert_eq!(crowd_with_churn(Ratchet::OnJoin), 2 * 198 + 2 + 2 * 5);
}
