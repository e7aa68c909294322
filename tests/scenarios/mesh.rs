//! Group calls in which each meets each: legs come and go, and what all of them send.

use matrix_voip::{
    Connection, GroupCallId, GroupState, MediaSource,
    id::{RoomId, SessionId},
    machine::io::{CallMedia, GroupCommand},
    testing::{Cue, Device, OpKind, Sim, secs},
};

/// A room of these users, and a device of each.
fn room_of(users: &[&str]) -> (Sim, RoomId, Vec<Device>) {
    let sim = Sim::new(1);
    let names: Vec<_> = users.iter().map(|user| format!("@{user}:example")).collect();
    let room = sim.room("!room:example", names.iter().map(String::as_str));
    let devices = names.iter().map(|user| sim.user(user).device("D")).collect();
    sim.run_until_quiet();
    (sim, room, devices)
}

fn enter(device: &Device, room: &RoomId) -> SessionId {
    let session = device.open_group(room, GroupCallId::room());
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    session
}

/// To whom a device is connected, by user.
fn connected(device: &Device) -> Vec<String> {
    let latest = device.groups().last().and_then(|session| device.group_snapshot(*session));
    let Some(shown) = latest else { return Vec::new() };
    let connected = shown.connections.iter().filter(|(_, it)| **it == Connection::Connected);
    connected.map(|(who, _)| who.user.as_str().replace(":example", "")).collect()
}

/// All enter at once, and are connected.
fn meeting(users: &[&str]) -> (Sim, RoomId, Vec<Device>, Vec<SessionId>) {
    let (sim, room, devices) = room_of(users);
    let sessions = devices.iter().map(|device| enter(device, &room)).collect();
    sim.advance(secs(5));
    (sim, room, devices, sessions)
}

#[test]
fn whoever_enters_is_connected_to_all_who_are_there() {
    let (sim, room, devices) = room_of(&["ada", "ben", "cleo"]);
    let [ada, ben, cleo] = devices.as_slice() else { unreachable!() };
    enter(ben, &room);
    sim.advance(secs(5));
    assert!(connected(ben).is_empty());
    enter(cleo, &room);
    sim.advance(secs(5));
    assert_eq!((connected(ben), connected(cleo)), (vec!["@cleo".into()], vec!["@ben".into()]));
    enter(ada, &room);
    sim.advance(secs(5));
    assert_eq!(connected(ada), ["@ben", "@cleo"], "{}", sim.column());
    assert_eq!(connected(ben), ["@ada", "@cleo"], "{}", sim.column());
    assert_eq!(connected(cleo), ["@ada", "@ben"], "{}", sim.column());
}
