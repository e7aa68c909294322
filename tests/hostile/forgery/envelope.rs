//! Every event, from somebody who must not say it, by a way by which it must not come.

use matrix_voip::{
    config::{Config, Unverified},
    id::DeviceId,
    machine::{
        guard::Guard,
        io::{Ignored, Input, RoomNews},
    },
    wire::{
        call::{Body, Leg, Version},
        delivery::{Place, Protection},
    },
};

use super::{
    Row, Scene,
    said::{Honest, Moment, encrypt},
};
use crate::rig::{party, room, user};

/// Events of a call in which both parties are known.
const IN_CALL: [Honest; 7] = [
    Honest::Candidates,
    Honest::Select,
    Honest::Hangup,
    Honest::Negotiate,
    Honest::Metadata,
    Honest::Identity,
    Honest::Replaces,
];

fn row(what: &str, honest: Honest, scene: Scene, reason: Ignored, guards: &[Guard]) -> Row {
    let guards = guards.to_vec();
    Row { what: format!("{honest:?} {what}"), scene, reason, guards }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for honest in Honest::ALL {
        rows.push(by_our_other_device(honest));
        rows.push(come_back(honest));
        rows.push(with_a_leg(honest));
        rows.push(in_the_clear(honest));
        rows.push(in_the_clear_while_the_host_forgot(honest));
        rows.push(from_an_unverified_device(honest));
        if honest != Honest::Invite {
            rows.push(by_a_third_member(honest));
            rows.push(in_another_room(honest));
        }
    }
    for honest in IN_CALL {
        rows.push(by_another_party(honest, Some("another")));
        rows.push(by_another_party(honest, None));
        rows.push(by_another_device(honest));
    }
    rows.extend(repeated());
    rows
}

fn by_a_third_member(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.event.facts.sender = user("eve");
    row("by a third member", honest, scene, Ignored::WrongSender, &[Guard::SenderBound])
}

/// With the party id of the other side, which everybody in the room can read.
fn by_our_other_device(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.event.facts.sender = user("me");
    let (reason, guard) = match honest {
        Honest::Invite => (Ignored::NotForUs, Guard::OwnInviteNamesUs),
        Honest::Answer => (Ignored::WrongState, Guard::AnsweredStays),
        Honest::Hangup => (Ignored::WrongParty, Guard::PartyBound),
        Honest::Candidates
        | Honest::Select
        | Honest::Reject
        | Honest::Negotiate
        | Honest::Metadata
        | Honest::Identity
        | Honest::Replaces => (Ignored::WrongParty, Guard::SenderBound),
    };
    row("by another device of ours", honest, scene, reason, &[guard])
}

/// `party_id` of ours.
fn come_back(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.event.facts.sender = user("me");
    let ours = scene.rig.our_party();
    let message = scene.message();
    message.header.party_id = Some(ours);
    if let Body::Invite(invite) = &mut message.body {
        invite.invitee_device = Some(DeviceId::parse("MINE").unwrap());
    }
    row("of our own, come back", honest, scene, Ignored::Echo, &[Guard::EchoIgnored])
}

fn with_a_leg(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.message().header.leg = Some(Leg::default());
    row("of a group call", honest, scene, Ignored::WrongPlace, &[Guard::LegsElsewhere])
}

fn in_the_clear(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.place = Place::Room { room: room("r"), encrypted: true };
    let (reason, guard) = (Ignored::PlaintextInEncryptedRoom, Guard::PlaintextRefused);
    row("in the clear in an encrypted room", honest, scene, reason, &[guard])
}

/// Once encrypted a room stays so, whatever a batch says.
fn in_the_clear_while_the_host_forgot(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.rig.input(Input::Room(room("r"), RoomNews::Encrypted));
    let (reason, guard) = (Ignored::PlaintextInEncryptedRoom, Guard::PlaintextRefused);
    row("in the clear in a room that was encrypted", honest, scene, reason, &[guard])
}

fn from_an_unverified_device(honest: Honest) -> Row {
    let mut config = Config::default();
    config.unverified = Unverified::Refuse;
    let mut scene = honest.scene(Moment { config, encrypted: true });
    scene.event.facts.protection = Protection::Unverified;
    let (reason, guard) = (Ignored::UnverifiedDevice, Guard::UnverifiedRefused);
    row("from a device that nobody has verified", honest, scene, reason, &[guard])
}

fn in_another_room(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment::default());
    scene.place = Place::Room { room: room("other"), encrypted: false };
    let reason = match honest {
        Honest::Negotiate | Honest::Identity | Honest::Replaces => Ignored::UnknownCall,
        Honest::Invite
        | Honest::Answer
        | Honest::Candidates
        | Honest::Select
        | Honest::Reject
        | Honest::Hangup
        | Honest::Metadata => Ignored::Parked,
    };
    row("with the id of a call of another room", honest, scene, reason, &[Guard::RoomBound])
}

/// Another party of the other user; `None`: it speaks version 0.
fn by_another_party(honest: Honest, name: Option<&str>) -> Row {
    let mut scene = honest.scene(Moment::default());
    let header = &mut scene.message().header;
    header.party_id = name.map(party);
    header.version = if name.is_some() { Version::V1 } else { Version::V0 };
    let guard = match honest {
        Honest::Hangup => Guard::PartyBound,
        Honest::Invite
        | Honest::Answer
        | Honest::Candidates
        | Honest::Select
        | Honest::Reject
        | Honest::Negotiate
        | Honest::Metadata
        | Honest::Identity
        | Honest::Replaces => Guard::PartyPinned,
    };
    row("by another party", honest, scene, Ignored::WrongParty, &[guard])
}

/// The other side's other device, under the party id of the one that we talk with.
fn by_another_device(honest: Honest) -> Row {
    let mut scene = honest.scene(Moment { encrypted: true, ..Moment::default() });
    encrypt(&mut scene.event, "TABLET");
    let what = "by another device of that user, as the party that we talk with";
    row(what, honest, scene, Ignored::WrongParty, &[Guard::DeviceBound])
}

/// What adds something each time must come once.
fn repeated() -> impl Iterator<Item = Row> {
    let adding = [Honest::Candidates, Honest::Negotiate, Honest::Identity, Honest::Replaces];
    adding.into_iter().map(|honest| {
        let mut scene = honest.scene(Moment::default());
        scene.event.facts.event_id = Some(matrix_voip::id::EventId::parse("$once").unwrap());
        scene.deliver();
        row("once more", honest, scene, Ignored::Duplicate, &[Guard::DuplicateIgnored])
    })
}
