//! Transfer (MSC2747): blind and by consultation, sent and received, and what it cannot make us do.

use matrix_voip::{
    config::{Busy, Config, Transfers},
    id::{RoomId, SessionId, UserId},
    machine::{
        event::{CallEvent, CallState, EndReason, Transfer, VoipEvent},
        io::{CallCommand, CallMedia, Command, Ignored, Refusal, TransferTo, Verdict},
    },
    testing::{Cue, Device, OpKind, Sim, millis, secs},
    wire::call::{Body, Identity, Reason, Replaces},
};

use crate::common::{ADA, BEN, Two, local, remote};

const CARL: &str = "@carl:example";
const DORA: &str = "@dora:example";

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
    let (sim, room, [ada, ben, carl], [with_ben, with_carl]) = consulting();
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

/// Ada talks to Ben, whom she holds, and to Carl: how she calls the two calls.
fn consulting() -> (Sim, RoomId, [Device; 3], [SessionId; 2]) {
    let (sim, room, [ada, ben, carl]) = talking();
    let with_ben = ada.call().unwrap();
    ada.act(CallCommand::Hold);
    let with_carl = ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    carl.answer();
    sim.run_until_quiet();
    (sim, room, [ada, ben, carl], [with_ben, with_carl])
}

fn transfer_failed(device: &Device, session: SessionId) -> bool {
    device.events_of(session).contains(&CallEvent::TransferFailed)
}

#[test]
fn who_is_to_wait_hears_of_it_first_though_a_send_is_lost() {
    let (sim, room, [ada, ben, carl], [with_ben, with_carl]) = consulting();
    ada.drop_next();
    let join = CallCommand::Transfer(TransferTo::Call(with_carl));
    assert_eq!(ada.command_to(with_ben, join.clone()), Verdict::Handled);
    assert_eq!(ada.command_to(with_ben, join), Verdict::Handled, "again: nothing happens");
    sim.advance(millis(500));
    assert!(requested(&ben).is_empty(), "{}", sim.column());
    sim.advance(secs(3));
    let [transfer] = requested(&ben).try_into().unwrap();
    follow(&ben, &room, transfer);
    sim.advance(secs(3));
    assert_eq!((carl.missed(), carl.is_ringing()), (0, true), "{}", sim.column());
}

#[test]
fn nobody_is_asked_to_call_whoever_could_not_be_told() {
    for hangs_up in [false, true] {
        let (sim, _, [ada, ben, carl], [with_ben, with_carl]) = consulting();
        if hangs_up {
            ada.slow(OpKind::SendEvent, secs(2));
        } else {
            ada.next(OpKind::SendEvent, Cue::denied());
        }
        let join = CallCommand::Transfer(TransferTo::Call(with_carl));
        assert_eq!(ada.command_to(with_ben, join), Verdict::Handled);
        if hangs_up {
            carl.hangup();
        }
        sim.run_until_quiet();
        assert!(requested(&ben).is_empty() && transfer_failed(&ada, with_ben));
        assert_eq!(transfer_failed(&ada, with_carl), !hangs_up);
        assert_eq!(ada.state_of(with_ben), Some(CallState::Connected), "{}", sim.column());
    }
}

#[test]
fn whoever_is_left_of_two_who_were_to_be_joined_is_kept() {
    let (sim, _, [ada, ben, _], [with_ben, with_carl]) = consulting();
    ada.slow(OpKind::SendEvent, secs(2));
    let join = CallCommand::Transfer(TransferTo::Call(with_carl));
    assert_eq!(ada.command_to(with_ben, join), Verdict::Handled);
    ben.hangup();
    sim.run_until_quiet();
    assert!(transfer_failed(&ada, with_carl));
    assert_eq!(ada.state_of(with_carl), Some(CallState::Connected), "{}", sim.column());
}

/// Both his calls would end, and nobody would call anybody.
#[test]
fn two_calls_with_one_user_are_not_joined() {
    let sim = Sim::new(72);
    let rooms = ["!one:example", "!two:example"].map(|name| sim.room(name, [ADA, BEN]));
    let ada = sim.device(ADA, "PHONE");
    let bens = ["B0", "B1"].map(|name| sim.device(BEN, name));
    let calls = [0, 1].map(|n| {
        let call = ada.invite(&rooms[n], BEN, CallMedia::Voice);
        sim.run_until_quiet();
        bens[n].answer();
        sim.run_until_quiet();
        call
    });
    let join = CallCommand::Transfer(TransferTo::Call(calls[1]));
    let verdict = ada.command_to(calls[0], join);
    assert_eq!(verdict, Verdict::Refused(Refusal::NotATarget));
    assert_eq!(ada.state_of(calls[0]), Some(CallState::Connected));
}

#[test]
fn only_who_talks_to_us_is_called_by_him_whom_we_transfer() {
    let (sim, room, [ada, _, _]) = talking();
    let with_ben = ada.call().unwrap();
    for nobody_else in [BEN, ADA] {
        let to = CallCommand::Transfer(TransferTo::User(user(nobody_else), None));
        assert_eq!(ada.command_to(with_ben, to), Verdict::Refused(Refusal::NotATarget));
    }
    let with_carl = ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    let join = CallCommand::Transfer(TransferTo::Call(with_carl));
    let verdict = ada.command_to(with_ben, join);
    assert_eq!(verdict, Verdict::Refused(Refusal::WrongState(CallState::InviteSent)));
}

/// Everybody in the room reads the id: whoever used it first would take the announced call away.
#[test]
fn nobody_else_takes_the_id_of_a_call_that_was_announced() {
    for busy in [Busy::Ignore, Busy::Ring] {
        let sim = Sim::new(63);
        let room = sim.room("!room:example", [ADA, BEN, CARL, DORA]);
        let mut config = Config::default();
        config.busy = busy;
        let (ada, ben) = (sim.user(ADA).device_with("PHONE", config), sim.device(BEN, "LAPTOP"));
        ada.invite(&room, BEN, CallMedia::Voice);
        sim.run_until_quiet();
        ben.answer();
        sim.run_until_quiet();
        announce(&sim, &room, &ada);
        sim.puppet(DORA, "D").invite(&room, "n1", secs(60));
        sim.run_until_quiet();
        assert_eq!((ada.ignored(Ignored::WrongSender), ada.calls().len()), (1, 1));
        sim.puppet(CARL, "C").invite(&room, "n1", secs(60));
        sim.run_until_quiet();
        assert!(ada.is_ringing(), "{busy:?}\n{}", sim.column());
        assert_eq!(ada.snapshot().unwrap().remote_user, Some(user(CARL)));
    }
}

/// Ben tells Ada that Carl will call her as `n1`.
fn announce(sim: &Sim, room: &RoomId, ada: &Device) {
    let shown = ada.snapshot().unwrap();
    let ben = sim.puppet(BEN, "LAPTOP").as_party(shown.remote_party.unwrap().as_str());
    let await_call = Some("n1".to_owned());
    let target_user = Some(Identity { id: Some(CARL.to_owned()), ..Identity::default() });
    let replaces = Replaces { await_call, target_user, ..Replaces::default() };
    ben.say(room, shown.call_id.as_str(), Body::Replaces(replaces));
    sim.run_until_quiet();
}

#[test]
fn nobody_else_takes_the_id_of_a_call_that_is_to_be_placed() {
    let (sim, room, [ada, ben, carl]) = talking();
    ada.act(CallCommand::Transfer(TransferTo::User(user(CARL), Some(room.clone()))));
    sim.advance(millis(50));
    let [transfer] = requested(&ben).try_into().unwrap();
    for other in [CARL, ADA] {
        sim.puppet(other, "D").invite(&room, transfer.call_id.as_str(), secs(60));
    }
    sim.advance(millis(100));
    assert_eq!(ben.ignored(Ignored::WrongSender), 2);
    let verdict = follow(&ben, &room, transfer);
    assert!(matches!(verdict, Verdict::Started(_)), "{verdict:?}\n{}", sim.column());
    drop(carl);
}

#[test]
fn nobody_follows_twice() {
    let (sim, room, [ada, ben, _]) = talking();
    ada.act(CallCommand::Transfer(TransferTo::User(user(CARL), Some(room.clone()))));
    sim.advance(secs(1));
    let [transfer] = requested(&ben).try_into().unwrap();
    follow(&ben, &room, transfer.clone());
    sim.run_until_quiet();
    ben.hangup();
    sim.advance(secs(120));
    let verdict = follow(&ben, &room, transfer);
    assert_eq!(verdict, Verdict::Refused(Refusal::CallExists), "that call is over");
}

#[test]
fn a_call_that_was_announced_rings_though_we_talk() {
    let (sim, room, [ada, _, carl]) = talking();
    let session = ada.call().unwrap();
    announce(&sim, &room, &ada);
    let forger = sim.puppet(DORA, "D");
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
    let with_ben = ada.call().unwrap();
    let verdict = ada.command_to(with_ben, to);
    assert_eq!(verdict, Verdict::Refused(Refusal::CannotBeTransferred));
    let carl = sim.device(CARL, "TABLET");
    let with_carl = ada.invite(&room, CARL, CallMedia::Voice);
    sim.run_until_quiet();
    carl.answer();
    sim.run_until_quiet();
    let join = CallCommand::Transfer(TransferTo::Call(with_carl));
    assert_eq!(ada.command_to(with_ben, join), verdict, "nor joined with anybody");
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
