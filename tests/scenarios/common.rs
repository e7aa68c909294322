//! The usual cast: Ada and Ben in a room, each with a device.

use matrix_voip::{
    Config, Msc3401,
    host::SendState,
    id::{RoomId, UserId},
    machine::{
        event::{CallState, End, EndParty, EndReason},
        io::{CallMedia, PeerState},
    },
    testing::{Device, Puppet, Sim, millis, secs},
    wire::{
        call::{Body, Description, Negotiate, SdpKind},
        member::MEMBER_TYPE,
    },
};
use serde_json::json;

pub(crate) const ADA: &str = "@ada:example";
pub(crate) const BEN: &str = "@ben:example";

/// Ada and Ben, each with an engine, in one room.
pub(crate) struct Two {
    pub(crate) sim: Sim,
    pub(crate) room: RoomId,
    pub(crate) ada: Device,
    pub(crate) ben: Device,
}

pub(crate) fn two() -> Two {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.device(BEN, "LAPTOP");
    Two { sim, room, ada, ben }
}

/// A room of three, and a device of each.
pub(crate) fn three() -> (Sim, RoomId, [Device; 3]) {
    let sim = Sim::new(1);
    let members = [ADA, BEN, "@cleo:example"];
    let room = sim.room("!room:example", members);
    let devices = members.map(|user| sim.user(user).device("D"));
    sim.run_until_quiet();
    (sim, room, devices)
}

/// Calls of matrix-js-sdk too.
pub(crate) fn both_dialects() -> Config {
    let mut config = Config::default();
    config.msc3401 = Msc3401::On;
    config
}

/// This user.
pub(crate) fn user(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

/// Writes state as somebody whom nobody asks; the event.
pub(crate) fn put(
    sim: &Sim,
    room: &RoomId,
    by: &str,
    (event_type, key): (&str, &str),
    content: String,
) -> String {
    let state = SendState {
        room: room.clone(),
        event_type: event_type.to_owned(),
        state_key: key.to_owned(),
        content,
    };
    let now = sim.now().wall;
    sim.server(|server| server.put_state(now, &user(by), state)).to_string()
}

/// Somebody without an engine is in the room's call, on this visit; on none: out of it. The event.
pub(crate) fn stands(sim: &Sim, room: &RoomId, by: &str, visit: Option<&str>) -> String {
    let expires = sim.now().wall.0 + 3_600_000;
    let entry = |visit: &str| {
        json!({ "application": "m.call", "call_id": "", "scope": "m.room", "device_id": "D",
            "expires_ts": expires, "membershipID": visit, "backend": { "type": "mesh" } })
    };
    let content = json!({ "memberships": visit.map(entry).into_iter().collect::<Vec<_>>() });
    put(sim, room, by, (MEMBER_TYPE, by), content.to_string())
}

/// Ada with an engine, Cleo without, and so many others who are in the room's call.
pub(crate) fn crowd(size: usize) -> (Sim, RoomId, Device) {
    let users: Vec<_> = (0..size).map(|n| format!("@ben{n}:example")).collect();
    let sim = Sim::new(1);
    let all = users.iter().map(String::as_str).chain([ADA, "@cleo:example"]);
    let room = sim.room("!room:example", all);
    let ada = sim.user(ADA).device("D");
    for user in &users {
        stands(&sim, &room, user, Some("visit"));
    }
    (sim, room, ada)
}

impl Two {
    /// Ada calls, Ben's device rings.
    pub(crate) fn ringing() -> Self {
        let two = two();
        two.ada.invite(&two.room, BEN, CallMedia::Voice);
        two.sim.run_until_quiet();
        assert_eq!(two.ben.state(), Some(CallState::Ringing));
        two
    }

    /// Both are connected.
    pub(crate) fn connected() -> Self {
        let two = Self::ringing();
        two.ben.answer();
        two.sim.run_until_quiet();
        assert_eq!(two.ada.state(), Some(CallState::Connected), "{}", two.sim.column());
        assert_eq!(two.ben.state(), Some(CallState::Connected), "{}", two.sim.column());
        two
    }
}

/// Ada with an engine, Ben in the test's hand.
pub(crate) struct Half {
    pub(crate) sim: Sim,
    pub(crate) room: RoomId,
    pub(crate) ada: Device,
    pub(crate) ben: Puppet,
}

pub(crate) fn half() -> Half {
    let sim = Sim::new(2);
    let room = sim.room("!room:example", [ADA, BEN]);
    let ada = sim.device(ADA, "PHONE");
    let ben = sim.puppet(BEN, "LAPTOP");
    sim.run_until_quiet();
    Half { sim, room, ada, ben }
}

impl Half {
    /// Ada's invite is sent; the call's id.
    pub(crate) fn calling() -> (Self, String) {
        let half = half();
        half.ada.invite(&half.room, BEN, CallMedia::Voice);
        half.sim.run_until_quiet();
        assert_eq!(half.ada.state(), Some(CallState::InviteSent));
        let call = half.ada.snapshot().unwrap().call_id.to_string();
        (half, call)
    }

    /// Ada calls Ben, who answers: they are connected; the call's id.
    pub(crate) fn talking() -> (Self, String) {
        let (half, call) = Self::calling();
        half.ben.answer(&half.room, &call);
        half.ben.candidates(&half.room, &call, 0..3);
        half.sim.run_until_quiet();
        half.ada.force(PeerState::Connected);
        half.sim.advance(millis(10));
        assert_eq!(half.ada.state(), Some(CallState::Connected));
        (half, call)
    }

    /// Ben offers this within the call.
    pub(crate) fn offer(&self, call: &str, sdp: String) {
        self.describe(call, SdpKind::Offer, sdp);
    }

    /// Ben offers or answers with this within the call.
    pub(crate) fn describe(&self, call: &str, kind: SdpKind, sdp: String) {
        let negotiate = Negotiate {
            description: Description { kind, sdp: sdp.into() },
            lifetime: None,
            capabilities: None,
            streams: Some(self.ben.metadata()),
        };
        self.ben.say(&self.room, call, Body::Negotiate(negotiate));
        self.sim.run_until_quiet();
    }

    /// Ada's device rings for call `c1`.
    pub(crate) fn ringing() -> Self {
        let half = half();
        half.ben.invite(&half.room, "c1", secs(60));
        half.sim.run_until_quiet();
        assert_eq!(half.ada.state(), Some(CallState::Ringing));
        half
    }
}

/// Whether this is an offer within a call.
pub(crate) fn is_offer(body: &Body) -> bool {
    matches!(body, Body::Negotiate(n) if n.description.kind == SdpKind::Offer)
}

/// How many of them a device sent.
pub(crate) fn offers(device: &Device) -> usize {
    device.sent().iter().filter(|message| is_offer(&message.body)).count()
}

pub(crate) fn local(reason: EndReason) -> Option<End> {
    Some(End { party: EndParty::Local, reason })
}

pub(crate) fn remote(reason: EndReason) -> Option<End> {
    Some(End { party: EndParty::Remote, reason })
}
