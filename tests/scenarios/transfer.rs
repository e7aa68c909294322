//! Transfer (MSC2747): blind and by consultation, sent and received, and what it cannot make us do.

use matrix_voip::{
    config::{Config, Transfers},
    id::{RoomId, UserId},
    machine::{
        event::{CallState, EndReason, Transfer, VoipEvent},
        io::{CallCommand, CallMedia, Command, Ignored, Refusal, TransferTo, Verdict},
    },
    testing::{Cue, Device, OpKind, Sim, secs},
    wire::call::{Body, Identity, Reason, Replaces},
};

use crate::common::{ADA, BEN, Two, local, remote};

const CARL: &str = "@carl:example";

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn requested(device: &Device) -> Vec<Transfer> {
    let transfer = |event| match event {
        VoipEvent::TransferRequested { transfer, .. } => Some(*transfer),
        _ => None,
    };
    device.voip_events().into_iter().filter_map(transfer).collect()
}

/// Ada talks to Ben; Carl is in the room as well.
fn talking() -> (Sim, RoomId, [Device; 3]) {
    let sim = Sim::new(61);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let three = [(ADA, "PHONE"), (BEN, "LAPTOP"), (CARL, "TABLET")];
    let [ada, ben, carl] = three.map(|(user, device)| sim.device(user, device));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    (sim, room, [ada, ben, carl])
}

fn follow(device: &Device, room: &RoomId, transfer: Transfer) -> Verdict {
    let session = device.calls()[0];
    let (transfer, room) = (Box::new(transfer), room.clone());
    device.command(Command::Follow { session, transfer, room, media: CallMedia::Voice })
}

#[test]
fn whoever_is_transferred_decides_and_calls_under_the_id_that_was_named() {
    let (sim, room, [ada, ben, carl]) = talking();
    ada.act(CallCommand::Transfer(TransferTo::User(user(CARL), Some(room.clone()))));
    sim.advance(secs(1));
    assert_eq!(ada.end(), local(EndReason::Transferred), "{}", sim.column());
    let [transfer] = requested(&ben).try_into().unwrap();
    assert_eq!((&transfer.user, &transfer.room), (&user(CARL), &Some(room.clone())));
    assert_eq!(ben.calls().len(), 1, "nothing is placed by itself");
    let call_id = transfer.call_id.clone();
    assert!(matches!(follow(&ben, &room, transfer.clone()), Verdict::Started(_)));
    sim.run_until_quiet();
    assert_eq!(carl.snapshot().unwrap().call_id, call_id);
    carl.answer();
    sim.run_until_quiet();
    assert_eq!(ben.state(), Some(CallState::Connected));
    assert_eq!(follow(&ben, &room, transfer), Verdict::Refused(Refusal::CallExists));
}

#[test]
fn whoever_follows_at_once_ends_the_former_call_himself() {
    let (sim, room, [ada, ben, _]) = talking();
    ada.next(OpKind::SendEvent, Cue::works().after(secs(5)));
    ada.act(CallCommand::Transfer(TransferTo::User(user(CARL), None)));
    sim.advance(secs(5) - std::time::Duration::from_millis(1));
    assert_eq!(ada.state(), Some(CallState::Connected), "not before it is on its way");
    sim.advance(secs(1));
    let [transfer] = requested(&ben).try_into().unwrap();
    let former = ben.calls()[0];
    follow(&ben, &room, transfer);
    sim.run_until_quiet();
    let ends = [local(EndReason::Transferred), remote(EndReason::Remote(Reason::Transferred))];
    assert!(ends.contains(&ben.end_of(former)), "{}", sim.column());
}

#[test]
fn two_who_talk_to_us_are_joined() {
    let (sim, room, [ada, ben, carl]) = talking();
    let with_ben = ada.call().unwrap();
    ada.act(CallCommand::Hold);
    let with_carl = ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    carl.answer();
    sim.run_until_quiet();
    let join = CallCommand::Transfer(TransferTo::Call(with_carl));
    assert_eq!(ada.command_to(with_ben, join), Verdict::Handled);
    sim.advance(secs(1));
    assert_eq!(ada.end_of(with_ben), local(EndReason::Transferred));
    assert_eq!(ada.end_of(with_carl), local(EndReason::Transferred));
    let announced = carl.voip_events().into_iter().find_map(|event| match event {
        VoipEvent::TransferAnnounced { transfer, .. } => Some(transfer),
        _ => None,
    });
    let [transfer] = requested(&ben).try_into().unwrap();
    assert_eq!(announced.unwrap().call_id, transfer.call_id, "both halves name one call");
    follow(&ben, &room, transfer);
    sim.run_until_quiet();
    assert!(carl.is_ringing(), "{}", sim.column());
}

#[test]
fn a_call_that_was_announced_rings_though_we_talk() {
    let (sim, room, [ada, _, carl]) = talking();
    let session = ada.call().unwrap();
    let call_id = ada.snapshot().unwrap().call_id.to_string();
    let ben =
        sim.puppet(BEN, "LAPTOP").as_party(ada.snapshot().unwrap().remote_party.unwrap().as_str());
    let await_call = Some("n1".to_owned());
    let target_user = Some(Identity { id: Some(CARL.to_owned()), ..Identity::default() });
    let replaces = Replaces { await_call, target_user, ..Replaces::default() };
    ben.say(&room, &call_id, Body::Replaces(replaces));
    sim.run_until_quiet();
    let forger = sim.puppet("@dora:example", "D");
    forger.invite(&room, "n1", secs(60));
    sim.run_until_quiet();
    assert!(!ada.is_ringing(), "it was announced from somebody else");
    sim.puppet(CARL, "C").invite(&room, "n2", secs(60));
    sim.run_until_quiet();
    assert!(!ada.is_ringing(), "another call was announced");
    sim.puppet(CARL, "C").invite(&room, "n1", secs(60));
    sim.run_until_quiet();
    assert!(ada.is_ringing(), "{}", sim.column());
    assert_eq!(ada.state_of(session), Some(CallState::Connected));
    drop(carl);
}

#[test]
fn a_transfer_that_makes_no_sense_is_malformed() {
    let two = Two::connected();
    let call_id = two.ada.snapshot().unwrap().call_id.to_string();
    let party = two.ada.snapshot().unwrap().remote_party.unwrap();
    let ben = two.sim.puppet(BEN, "LAPTOP").as_party(party.as_str());
    let target = |id: &str| Some(Identity { id: Some(id.to_owned()), ..Identity::default() });
    let id = |id: &str| Some(id.to_owned());
    let wrong = [
        Replaces::default(),
        Replaces { create_call: id("n"), ..Replaces::default() },
        Replaces { target_user: target(CARL), ..Replaces::default() },
        Replaces { target_user: target(ADA), create_call: id("n"), ..Replaces::default() },
        Replaces { target_user: target("carl"), create_call: id("n"), ..Replaces::default() },
        Replaces {
            target_user: target(CARL),
            create_call: id("n"),
            await_call: id("n"),
            ..Replaces::default()
        },
    ];
    let n = wrong.len() as u64;
    for replaces in wrong {
        ben.say(&two.room, &call_id, Body::Replaces(replaces));
    }
    two.sim.run_until_quiet();
    assert_eq!(two.ada.ignored(Ignored::Malformed), n);
    assert!(requested(&two.ada).is_empty());
}

#[test]
fn a_flood_of_transfers_is_bounded() {
    let two = Two::connected();
    let call_id = two.ada.snapshot().unwrap().call_id.to_string();
    let party = two.ada.snapshot().unwrap().remote_party.unwrap();
    let ben = two.sim.puppet(BEN, "LAPTOP").as_party(party.as_str());
    for n in 0..10 {
        let target_user = Some(Identity { id: Some(CARL.to_owned()), ..Identity::default() });
        let create_call = Some(format!("n{n}"));
        let replaces = Replaces { create_call, target_user, ..Replaces::default() };
        ben.say(&two.room, &call_id, Body::Replaces(replaces));
    }
    two.sim.run_until_quiet();
    assert_eq!((requested(&two.ada).len(), two.ada.ignored(Ignored::TooMany)), (4, 6));
}

#[test]
fn whoever_cannot_be_transferred_says_so_and_is_not_asked() {
    let sim = Sim::new(62);
    let room = sim.room("!room:example", [ADA, BEN, CARL]);
    let mut config = Config::default();
    config.transfers = Transfers::Refuse;
    let (ada, ben) = (sim.device(ADA, "PHONE"), sim.user(BEN).device_with("LAPTOP", config));
    ada.invite(&room, BEN, CallMedia::Voice);
    sim.run_until_quiet();
    ben.answer();
    sim.run_until_quiet();
    let to = CallCommand::Transfer(TransferTo::User(user(CARL), None));
    let verdict = ada.command_to(ada.call().unwrap(), to);
    assert_eq!(verdict, Verdict::Refused(Refusal::CannotBeTransferred));
}

#[test]
fn a_request_that_cannot_be_sent_leaves_the_call() {
    let (sim, _, [ada, ben, _]) = talking();
    ada.next(OpKind::SendEvent, Cue::denied());
    ada.act(CallCommand::Transfer(TransferTo::User(user(CARL), None)));
    sim.run_until_quiet();
    assert_eq!(ada.state(), Some(CallState::Connected));
    assert!(requested(&ben).is_empty());
}
