//! How group calls are announced, and how they ring (MSC4075, MSC4310; `famedly-dart.md` §2.4, §2.5;
//! item 150).

use std::time::Duration;

use matrix_voip::{
    Announce, Backend, Chat, GroupCallId, GroupEvent, GroupState, IncomingRing, Notify, RingStop,
    host::SendState,
    id::{EventId, Identity, RoomId, SessionId, UserId},
    machine::{
        event::VoipEvent,
        io::{CallMedia, Command, Fault, GroupCommand, Ignored, Input, Refusal, Verdict},
    },
    ring::{self, Inspection, Pushed, RingKind, Seen, Style},
    testing::{Cue, Device, OpKind, Sim, millis, secs},
    time::Wall,
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        member::MEMBER_TYPE,
        notify::DEFAULT_NOTIFICATION_LIFETIME,
    },
};
use serde_json::{Value, json};

use crate::common::three;

const NOTIFICATION: &str = "org.matrix.msc4075.rtc.notification";
const DECLINE: &str = "org.matrix.msc4310.rtc.decline";

/// A room of three who are called by telephone: Ada's call rings at the others.
fn ringing() -> (Sim, RoomId, [Device; 3], SessionId) {
    let (sim, room, devices) = three();
    let call = enter(&sim, &devices[0], &room, Announce::new(Notify::Ring));
    (sim, room, devices, call)
}

fn enter(sim: &Sim, device: &Device, room: &RoomId, announce: Announce) -> SessionId {
    let session = device.open_group(room, GroupCallId::room());
    device.group(session, GroupCommand::AnnounceAs(announce));
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    session
}

/// A call of two in Famedly's way.
fn call_of_two(sim: &Sim, device: &Device, room: &RoomId, application: &str) -> SessionId {
    let command = Command::OpenGroup {
        room: room.clone(),
        call: GroupCallId::room(),
        backend: Backend::Livekit { service_url: "https://sfu".into(), alias: "a".into() },
        application: application.to_owned(),
        keys: matrix_voip::KeyUse::Usual,
    };
    let Verdict::Started(session) = device.command(command) else { panic!("it is not opened") };
    device.group(session, GroupCommand::AnnounceAs(Announce::new(Notify::Ring)));
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    session
}

/// Everything that rang at a device, and why it stopped.
fn rang(device: &Device) -> Vec<(IncomingRing, Option<RingStop>)> {
    let mut rings: Vec<(IncomingRing, Option<RingStop>)> = Vec::new();
    for event in device.voip_events() {
        match event {
            VoipEvent::GroupRingStarted { ring } => rings.push((*ring, None)),
            VoipEvent::GroupRingStopped { ring, why } => {
                let of = rings.iter_mut().find(|(rang, _)| *rang == *ring);
                of.expect("what stops has rung").1 = Some(why);
            }
            _ => {}
        }
    }
    rings
}

/// Why what rang stopped; `None` while it rings.
fn stops(device: &Device) -> Vec<Option<RingStop>> {
    rang(device).into_iter().map(|(_, why)| why).collect()
}

/// The contents of all events of a type in the room.
fn sent(sim: &Sim, room: &RoomId, event_type: &str) -> Vec<Value> {
    sim.server(|server| {
        let of_type = server.timeline(room).iter().filter(|event| event.event_type == event_type);
        of_type.map(|event| serde_json::from_str(&event.content).unwrap()).collect()
    })
}

fn latest(sim: &Sim, room: &RoomId) -> EventId {
    sim.server(|server| server.timeline(room).last().unwrap().event_id.clone())
}

fn member_event(sim: &Sim, room: &RoomId, user: &str) -> String {
    let now = sim.now().wall;
    let state = sim.server(|server| server.room_state(now, room)).unwrap();
    let mut of_user = state.events.into_iter().filter(|it| it.facts.state_key == user);
    of_user.next().unwrap().facts.event_id.to_string()
}

fn decline(device: &Device, ring: &IncomingRing) -> Verdict {
    let (room, notification) = (ring.room.clone(), ring.notification.clone());
    device.command(Command::DeclineRing { room, notification })
}

/// An announcement that the test writes.
struct Announcement {
    id: String,
    sender: &'static str,
    member_event: String,
    sender_ts: Wall,
    sent: Wall,
    age: Option<Duration>,
    lifetime: u64,
    style: &'static str,
    mentions: Value,
    protection: Protection,
}

/// Ada's, as it would be now.
fn adas(sim: &Sim, room: &RoomId) -> Announcement {
    Announcement {
        id: "$announcement".to_owned(),
        sender: "@ada:example",
        member_event: member_event(sim, room, "@ada:example"),
        sender_ts: sim.now().wall,
        sent: sim.now().wall,
        age: Some(Duration::ZERO),
        lifetime: 30_000,
        style: "ring",
        mentions: json!({"room": true}),
        protection: Protection::Clear,
    }
}

impl Announcement {
    fn raw(&self) -> RawEvent {
        let content = json!({"sender_ts": self.sender_ts.0, "lifetime": self.lifetime,
            "notification_type": self.style, "m.mentions": self.mentions,
            "m.relates_to": {"rel_type": "m.reference", "event_id": self.member_event}});
        RawEvent {
            facts: Facts {
                event_id: Some(EventId::parse(&self.id).unwrap()),
                sender: UserId::parse(self.sender).unwrap(),
                device: None,
                protection: self.protection,
                sent: Some(self.sent),
                age: self.age,
            },
            event_type: NOTIFICATION.to_owned(),
            content: content.to_string(),
            redacts: None,
        }
    }

    fn to(&self, device: &Device, room: &RoomId, encrypted: bool) -> Verdict {
        let place = Place::Room { room: room.clone(), encrypted };
        device.deliver(Batch { place, events: vec![self.raw()] }).remove(0)
    }
}

/// A room in which Ada is in a call that she announced to nobody.
fn quiet_call() -> (Sim, RoomId, [Device; 3], SessionId) {
    let (sim, room, devices) = three();
    let call = enter(&sim, &devices[0], &room, Announce::new(Notify::Nobody));
    assert!(sent(&sim, &room, NOTIFICATION).is_empty());
    (sim, room, devices, call)
}

// ----------------------------------------------------------------------------------- announced

/// 150.
#[test]
fn the_first_in_a_call_announces_it_once_and_the_second_does_not() {
    let (sim, room, [ada, ben, cleo]) = three();
    let before = sim.now().wall;
    let adas = enter(&sim, &ada, &room, Announce::default());
    let told = sent(&sim, &room, NOTIFICATION);
    let sender_ts = told[0]["sender_ts"].as_u64().unwrap();
    assert!(sender_ts >= before.0 && sender_ts < before.0 + 500, "{sender_ts} {before:?}");
    let expected = json!({"sender_ts": sender_ts, "lifetime": 30000,
        "notification_type": "notification", "m.mentions": {"room": true},
        "m.relates_to": {"rel_type": "m.reference",
            "event_id": member_event(&sim, &room, "@ada:example")}});
    assert_eq!(told, [expected]);
    let shown = rang(&cleo);
    assert_eq!((shown.len(), shown[0].0.style), (1, Style::Notification), "{}", sim.column());
    let bens = enter(&sim, &ben, &room, Announce::new(Notify::Ring));
    sim.advance(secs(600));
    assert_eq!(sent(&sim, &room, NOTIFICATION).len(), 1, "neither the second nor a refresh does");
    ada.group(adas, GroupCommand::Leave);
    ben.group(bens, GroupCommand::Leave);
    sim.advance(secs(1));
    enter(&sim, &ada, &room, Announce::default());
    assert_eq!(sent(&sim, &room, NOTIFICATION).len(), 2, "it is another call");
}

/// 150.
#[test]
fn in_a_direct_chat_nobody_is_told_unless_asked() {
    for (announce, told) in
        [(Notify::Automatic, 0), (Notify::Nobody, 0), (Notify::Ring, 1), (Notify::Notification, 1)]
    {
        let (sim, room, [ada, ..]) = three();
        sim.server(|server| server.set_chat(&room, Chat::Direct));
        sim.advance(secs(1));
        enter(&sim, &ada, &room, Announce::new(announce));
        assert_eq!(sent(&sim, &room, NOTIFICATION).len(), told, "{announce:?}");
    }
}

#[test]
fn a_room_that_is_no_direct_chat_any_more_hears_of_calls() {
    let (sim, room, [ada, ..]) = three();
    for chat in [Chat::Direct, Chat::Group] {
        sim.server(|server| server.set_chat(&room, chat));
    }
    sim.advance(secs(1));
    enter(&sim, &ada, &room, Announce::default());
    assert_eq!(sent(&sim, &room, NOTIFICATION).len(), 1);
}

#[test]
fn a_call_of_some_users_is_announced_in_a_direct_chat_too() {
    let (sim, room, [ada, ..]) = three();
    sim.server(|server| server.set_chat(&room, Chat::Direct));
    sim.advance(secs(1));
    let call = ada.open_group(&room, GroupCallId::among_users("A:B"));
    ada.group(call, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    assert_eq!(sent(&sim, &room, NOTIFICATION).len(), 1);
}

#[test]
fn who_is_named_is_called_and_nobody_else() {
    let (sim, room, [ada, ben, cleo]) = three();
    let ben_alone = [UserId::parse("@ben:example").unwrap()];
    enter(&sim, &ada, &room, Announce::new(Notify::Ring).users(ben_alone));
    assert_eq!((rang(&ben).len(), rang(&cleo).len()), (1, 0), "{}", sim.column());
    assert_eq!(cleo.ignored(Ignored::NotForUs), 1);
    assert_eq!(
        sent(&sim, &room, NOTIFICATION)[0]["m.mentions"],
        json!({"user_ids": ["@ben:example"]})
    );
}

#[test]
fn an_announcement_is_tried_for_as_long_as_it_lives() {
    let (sim, room, [ada, ben, _]) = three();
    ada.next(OpKind::SendEvent, Cue::answer_lost());
    ada.next(OpKind::SendEvent, Cue::dropped());
    enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    sim.advance(secs(10));
    assert_eq!((sent(&sim, &room, NOTIFICATION).len(), rang(&ben).len()), (1, 1));
    let (sim, room, [ada, ..]) = three();
    ada.always(OpKind::SendEvent, Cue::dropped());
    enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    sim.advance(secs(40));
    ada.always(OpKind::SendEvent, Cue::works());
    sim.advance(secs(100));
    assert!(sent(&sim, &room, NOTIFICATION).is_empty(), "nobody is called half a minute late");
}

#[test]
fn who_enters_without_the_server_is_not_the_first_when_others_were_meanwhile() {
    let (sim, room, [ada, ben, _]) = three();
    ada.partition();
    enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    enter(&sim, &ben, &room, Announce::new(Notify::Ring));
    ada.heal();
    sim.advance(secs(60));
    let events = sim.server(|server| server.timeline(&room).to_vec());
    let senders: Vec<_> = events.iter().map(|event| event.sender.as_str()).collect();
    assert_eq!(senders, ["@ben:example"], "{}", sim.column());
}

#[test]
fn of_two_who_call_at_the_same_moment_one_rings() {
    let (sim, room, [ada, ben, cleo]) = three();
    for device in [&ada, &ben] {
        let call = device.open_group(&room, GroupCallId::room());
        device.group(call, GroupCommand::AnnounceAs(Announce::new(Notify::Ring)));
        device.group(call, GroupCommand::Enter(CallMedia::Voice));
    }
    sim.advance(secs(1));
    assert_eq!(sent(&sim, &room, NOTIFICATION).len(), 2);
    assert_eq!(rang(&cleo).len(), 1, "{}", sim.column());
    assert_eq!((rang(&ada).len(), rang(&ben).len()), (0, 0), "who is in it is not called");
}

// ----------------------------------------------------------------------------------- rings, ends

#[test]
fn a_ring_says_who_calls_where_into_what_and_until_when() {
    let (sim, room, [_, ben, _], _) = ringing();
    let (ring, why) = rang(&ben).remove(0);
    assert_eq!(why, None);
    assert_eq!((ring.caller.as_str(), &ring.room), ("@ada:example", &room));
    assert_eq!((ring.kind, ring.style), (RingKind::Unknown, Style::Ring));
    assert_eq!(ring.notification, latest(&sim, &room));
    assert_eq!(ring.call, GroupCallId::room());
    assert_eq!(ben.group_snapshot(ring.session).unwrap().participants.len(), 1);
    let sent = sim.server(|server| server.timeline(&room).last().unwrap().sent);
    let lifetime = DEFAULT_NOTIFICATION_LIFETIME;
    let late = ring.until.since(sent);
    assert!(late <= lifetime && late >= lifetime - millis(100), "{late:?}");
}

#[test]
fn a_call_of_two_says_whether_it_is_by_voice_or_with_pictures() {
    for (application, kind) in
        [("m.call.audio", RingKind::Voice), ("m.call.video", RingKind::Video)]
    {
        let (sim, room, [ada, ben, _]) = three();
        call_of_two(&sim, &ada, &room, application);
        assert_eq!(rang(&ben)[0].0.kind, kind);
        let intent = application.trim_start_matches("m.call.");
        assert_eq!(sent(&sim, &room, NOTIFICATION)[0]["m.call.intent"], intent);
    }
}

#[test]
fn a_ring_stops_when_we_enter() {
    let (sim, _, [_, ben, cleo], _) = ringing();
    let ring = rang(&ben).remove(0).0;
    ben.group(ring.session, GroupCommand::Enter(CallMedia::Voice));
    assert_eq!(stops(&ben), [Some(RingStop::Answered)], "at once");
    sim.advance(secs(5));
    assert_eq!(ben.group_state(ring.session), Some(GroupState::Entered));
    assert_eq!(stops(&cleo), [None], "it rings on at others");
}

#[test]
fn a_ring_stops_when_another_device_of_ours_enters() {
    let (sim, room, [ada, ben, _]) = three();
    let tablet = sim.user("@ben:example").device("TABLET");
    sim.run_until_quiet();
    enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    assert_eq!((stops(&ben), stops(&tablet)), (vec![None], vec![None]));
    tablet.group(rang(&tablet)[0].0.session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    assert_eq!(stops(&tablet), [Some(RingStop::Answered)]);
    assert_eq!(stops(&ben), [Some(RingStop::Elsewhere)], "{}", sim.column());
}

#[test]
fn declining_stops_it_on_all_devices_and_the_caller_hears_of_it_once() {
    let (sim, room, [ada, ben, cleo]) = three();
    let tablet = sim.user("@ben:example").device("TABLET");
    sim.run_until_quiet();
    let adas = enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    let ring = rang(&ben).remove(0).0;
    assert_eq!(decline(&ben, &ring), Verdict::Handled);
    assert_eq!(stops(&ben), [Some(RingStop::Rejected)], "at once");
    assert_eq!(decline(&ben, &ring), Verdict::Refused(Refusal::NoSuchRing));
    sim.advance(secs(1));
    assert_eq!(stops(&tablet), [Some(RingStop::Elsewhere)], "{}", sim.column());
    assert_eq!(stops(&cleo), [None]);
    let expected = json!({"m.relates_to":
        {"rel_type": "m.reference", "event_id": ring.notification.as_str()}});
    assert_eq!(sent(&sim, &room, DECLINE), std::slice::from_ref(&expected));
    assert!(sent(&sim, &room, "m.call.reject").is_empty(), "it is no call of two");
    let again = sim.puppet("@ben:example", "WEB");
    again.say_json(&room, DECLINE, &expected.to_string());
    sim.advance(secs(1));
    let declined = ada.group_events(adas).into_iter();
    let declined = declined.filter(|event| matches!(event, GroupEvent::Declined(_)));
    assert_eq!(declined.collect::<Vec<_>>(), [GroupEvent::Declined(ring_of("@ben:example"))]);
}

#[test]
fn who_declines_before_the_announcement_is_answered_for_is_heard() {
    let (sim, room, [ada, ben, _]) = three();
    ada.next(OpKind::SendEvent, Cue::answer_lost().after(millis(100)));
    let adas = enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    let ring = rang(&ben).remove(0).0;
    assert_eq!(decline(&ben, &ring), Verdict::Handled);
    // Of no announcement of hers.
    let other = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$other"}});
    sim.puppet("@cleo:example", "WEB").say_json(&room, DECLINE, &other.to_string());
    sim.advance(secs(20));
    let events = ada.group_events(adas).into_iter();
    let declined: Vec<_> =
        events.filter(|event| matches!(event, GroupEvent::Declined(_))).collect();
    assert_eq!(declined, [GroupEvent::Declined(ring_of("@ben:example"))], "{}", sim.column());
}

fn ring_of(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

#[test]
fn a_call_of_two_is_declined_in_famedlys_way_as_well() {
    let (sim, room, [ada, ben, _]) = three();
    let tablet = sim.user("@ben:example").device("TABLET");
    sim.run_until_quiet();
    let adas = call_of_two(&sim, &ada, &room, "m.call.video");
    assert_eq!(decline(&ben, &rang(&ben)[0].0), Verdict::Handled);
    sim.advance(secs(1));
    let expected = json!({"call_id": "", "application": "m.call.video"});
    assert_eq!(sent(&sim, &room, "m.call.reject"), [expected]);
    assert_eq!(sent(&sim, &room, DECLINE).len(), 1);
    assert_eq!(stops(&tablet), [Some(RingStop::Elsewhere)]);
    let told = ada.group_events(adas).into_iter();
    assert_eq!(told.filter(|it| matches!(it, GroupEvent::Declined(_))).count(), 1);
}

#[test]
fn a_reject_in_famedlys_way_stops_our_ring_and_is_told_to_the_caller() {
    let (sim, room, [ada, ben, _]) = three();
    let adas = call_of_two(&sim, &ada, &room, "m.call.audio");
    let content = json!({"call_id": "", "application": "m.call.audio"}).to_string();
    sim.puppet("@cleo:example", "OLD").say_json(&room, "m.call.reject", &content);
    sim.advance(secs(1));
    assert_eq!(stops(&ben), [None], "Cleo's is nothing to Ben");
    assert!(ada.group_events(adas).contains(&GroupEvent::Declined(ring_of("@cleo:example"))));
    sim.puppet("@ben:example", "OLD").say_json(&room, "m.call.reject", &content);
    sim.advance(secs(1));
    assert_eq!(stops(&ben), [Some(RingStop::Elsewhere)], "{}", sim.column());
}

#[test]
fn a_ring_stops_by_itself_when_its_lifetime_is_over() {
    let (sim, _, [_, ben, _], _) = ringing();
    let until = rang(&ben)[0].0.until;
    sim.advance(until.since(sim.now().wall) - millis(1));
    assert_eq!(stops(&ben), [None]);
    sim.advance(millis(1));
    assert_eq!(stops(&ben), [Some(RingStop::Expired)]);
}

#[test]
fn a_machine_that_slept_through_a_ring_stops_at_once() {
    let (sim, _, [_, ben, _], _) = ringing();
    sim.suspend(secs(100));
    ben.input(Input::Lifecycle(matrix_voip::machine::io::Lifecycle::Foreground));
    assert_eq!(stops(&ben), [Some(RingStop::Expired)]);
}

#[test]
fn a_ring_stops_when_its_caller_leaves_whatever_the_others_do() {
    let (sim, room, [ada, ben, cleo], adas) = ringing();
    let cleos = rang(&cleo).remove(0).0.session;
    cleo.group(cleos, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    ada.group(adas, GroupCommand::Leave);
    sim.advance(secs(1));
    assert_eq!(stops(&ben), [Some(RingStop::CallerGone)], "{}", sim.column());
    assert_eq!(ben.group_snapshot(rang(&ben)[0].0.session).unwrap().room, room);
}

/// Found over Synapse: whoever hung up and called again soon was not heard.
#[test]
fn who_gives_up_and_calls_again_rings_again() {
    let (sim, room, [ada, ben, cleo], call) = ringing();
    ada.group(call, GroupCommand::Leave);
    sim.advance(secs(1));
    enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    for device in [&ben, &cleo] {
        assert_eq!(stops(device), [Some(RingStop::CallerGone), None], "{}", sim.column());
    }
}

#[test]
fn a_ring_stops_when_we_leave_the_room_or_ignore_its_caller() {
    let (sim, room, [_, ben, cleo], _) = ringing();
    sim.server(|server| server.leave(&room, &ring_of("@ben:example")));
    sim.advance(secs(1));
    assert_eq!(stops(&ben), [Some(RingStop::Ended)], "{}", sim.column());
    cleo.input(Input::IgnoredUsers([ring_of("@ada:example")].into()));
    assert_eq!(stops(&cleo), [Some(RingStop::Ended)]);
}

#[test]
fn the_last_caller_who_leaves_ends_the_ring_before_the_call() {
    let (sim, _, [ada, ben, _], adas) = ringing();
    ada.group(adas, GroupCommand::Leave);
    sim.advance(secs(1));
    let events = ben.voip_events();
    let at = |is: fn(&VoipEvent) -> bool| events.iter().position(is).unwrap();
    let stopped = at(|event| matches!(event, VoipEvent::GroupRingStopped { .. }));
    assert!(stopped < at(|event| matches!(event, VoipEvent::GroupCallEnded { .. })));
    assert_eq!(stops(&ben), [Some(RingStop::CallerGone)]);
}

// ------------------------------------------------------------------------------------ judged

#[test]
fn what_is_too_old_when_it_comes_does_not_ring() {
    let (sim, room, [ada, ben, _]) = three();
    ben.hold_sync();
    enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    sim.advance(secs(31));
    ben.release_sync();
    assert!(rang(&ben).is_empty(), "{}", sim.column());
    assert_eq!(ben.ignored(Ignored::Expired), 1);
    assert_eq!(ben.groups().len(), 1, "the call is there");
}

/// The push handler's rules and the engine's are one.
#[test]
fn the_engine_and_a_push_handler_judge_alike() {
    let (sim, room, [_, ben, _], _) = quiet_call();
    let now = sim.now().wall;
    let ago = |span: Duration| Wall(now.0 - u64::try_from(span.as_millis()).unwrap());
    let base = || Announcement { age: None, ..adas(&sim, &room) };
    let rows = [
        base(),
        Announcement { sent: ago(secs(30)), sender_ts: ago(secs(30)), ..base() },
        Announcement { sent: ago(millis(30_001)), sender_ts: ago(millis(30_001)), ..base() },
        Announcement { sent: ago(secs(20)), sender_ts: now, ..base() },
        Announcement { sent: ago(secs(21)), sender_ts: now, lifetime: 20_000, ..base() },
        Announcement { sent: ago(secs(21)), sender_ts: ago(secs(42)), ..base() },
        Announcement { lifetime: 999_999, ..base() },
        Announcement { sent: now.plus(secs(500)), sender_ts: now, ..base() },
        Announcement {
            age: Some(secs(29)),
            sent: ago(secs(900)),
            sender_ts: ago(secs(900)),
            ..base()
        },
        Announcement { age: Some(secs(31)), sent: now, sender_ts: now, ..base() },
        Announcement { mentions: json!({}), ..base() },
        Announcement { mentions: json!({"user_ids": ["@ben:example"]}), ..base() },
        Announcement { mentions: json!({"user_ids": ["@cleo:example"]}), ..base() },
        Announcement { style: "notification", ..base() },
        Announcement { style: "bell", ..base() },
    ];
    let Identity { user, device } = ben.identity();
    for (at, row) in rows.iter().enumerate() {
        let tablet = sim.user(user.as_str()).device(&format!("{device}{at}"));
        sim.run_until_quiet();
        let at_push = sim.now().wall;
        let place = Place::Room { room: room.clone(), encrypted: false };
        let pushed = Pushed { place: &place, event: &row.raw() };
        let expected = ring::inspect(at_push, &tablet.identity(), &mut Seen::default(), &pushed);
        let verdict = row.to(&tablet, &room, false);
        match expected {
            Inspection::Ring(info) => {
                let ring = rang(&tablet).remove(0).0;
                assert_eq!((ring.until, ring.style), (info.expires, info.style), "row {at}");
            }
            Inspection::Expired => assert_eq!(verdict, Verdict::Ignored(Ignored::Expired), "{at}"),
            Inspection::NotForUs => {
                assert_eq!(verdict, Verdict::Ignored(Ignored::NotForUs), "row {at}");
            }
            other => panic!("row {at}: {other:?}"),
        }
    }
}

#[test]
fn an_announcement_that_comes_before_its_membership_waits_for_it() {
    let (sim, room, [_, ben, _], _) = quiet_call();
    let announced = Announcement { member_event: "$later".into(), ..adas(&sim, &room) };
    assert_eq!(announced.to(&ben, &room, false), Verdict::Ignored(Ignored::Parked));
    sim.advance(secs(5));
    assert!(rang(&ben).is_empty());
    let cleos = Announcement {
        id: "$cleos".into(),
        sender: "@cleo:example",
        member_event: next_event(&sim),
        ..adas(&sim, &room)
    };
    assert_eq!(cleos.to(&ben, &room, false), Verdict::Ignored(Ignored::Parked));
    sim.advance(secs(10));
    cleo_is_in(&sim, &room);
    let ring = rang(&ben).remove(0).0;
    assert_eq!(ring.caller.as_str(), "@cleo:example", "{}", sim.column());
    let left = ring.until.since(sim.now().wall);
    assert!(left > secs(18) && left < secs(20), "what it waited counts: {left:?}");
}

/// The id that the homeserver gives next.
fn next_event(sim: &Sim) -> String {
    let mut copy = sim.server(|server| server.clone());
    let (now, user) = (sim.now().wall, ring_of("@cleo:example"));
    let room = RoomId::parse("!nowhere:example").unwrap();
    copy.put_state(now, &user, cleos_state(sim, &room)).to_string()
}

fn cleos_state(sim: &Sim, room: &RoomId) -> SendState {
    let until = sim.now().wall.plus(secs(200)).0;
    let content = json!({"memberships": [{"call_id": "", "device_id": "C", "expires_ts": until,
        "membershipID": "c", "foci_active": [{"type": "mesh"}]}]});
    SendState {
        room: room.clone(),
        event_type: MEMBER_TYPE.to_owned(),
        state_key: "@cleo:example".to_owned(),
        content: content.to_string(),
    }
}

fn cleo_is_in(sim: &Sim, room: &RoomId) {
    let (now, user) = (sim.now().wall, ring_of("@cleo:example"));
    let state = cleos_state(sim, room);
    sim.server(|server| server.put_state(now, &user, state));
    sim.advance(millis(500));
}

#[test]
fn an_announcement_by_somebody_elses_membership_does_not_ring() {
    let (sim, room, [_, ben, _], _) = quiet_call();
    let forged = Announcement { sender: "@cleo:example", ..adas(&sim, &room) };
    assert_eq!(forged.to(&ben, &room, false), Verdict::Ignored(Ignored::Parked));
    cleo_is_in(&sim, &room);
    sim.advance(secs(5));
    assert!(rang(&ben).is_empty());
    let honest = Announcement { id: "$other".into(), ..adas(&sim, &room) };
    assert_eq!(honest.to(&ben, &room, false), Verdict::Handled, "it keeps no other from ringing");
}

#[test]
fn a_decline_that_comes_before_the_announcement_counts() {
    let (sim, room, [_, ben, _], _) = quiet_call();
    let content = json!({"m.relates_to": {"event_id": "$announcement"}}).to_string();
    sim.puppet("@ben:example", "WEB").say_json(&room, DECLINE, &content);
    sim.advance(secs(1));
    let verdict = adas(&sim, &room).to(&ben, &room, false);
    assert_eq!(verdict, Verdict::Ignored(Ignored::AlreadyOver));
    assert!(rang(&ben).is_empty());
}

#[test]
fn what_comes_again_rings_once() {
    let (sim, room, [_, ben, _], _) = quiet_call();
    let announced = adas(&sim, &room);
    assert_eq!(announced.to(&ben, &room, false), Verdict::Handled);
    assert_eq!(announced.to(&ben, &room, false), Verdict::Ignored(Ignored::Duplicate));
    let second = Announcement { id: "$second".into(), ..adas(&sim, &room) };
    assert_eq!(second.to(&ben, &room, false), Verdict::Ignored(Ignored::Duplicate));
    assert_eq!(rang(&ben).len(), 1);
}

#[test]
fn in_an_encrypted_room_nothing_rings_or_is_declined_in_the_clear() {
    let (sim, room, [_, ben, _], _) = quiet_call();
    let refused = Verdict::Ignored(Ignored::PlaintextInEncryptedRoom);
    assert_eq!(adas(&sim, &room).to(&ben, &room, true), refused);
    let secret = Announcement { protection: Protection::Verified, ..adas(&sim, &room) };
    assert_eq!(secret.to(&ben, &room, true), Verdict::Handled);
    for (event_type, content) in [
        (DECLINE, json!({"m.relates_to": {"event_id": "$announcement"}})),
        ("m.call.reject", json!({"call_id": "", "application": "m.call.audio"})),
    ] {
        let raw = RawEvent {
            event_type: event_type.to_owned(),
            content: content.to_string(),
            ..Announcement { sender: "@ben:example", id: "$d".into(), ..adas(&sim, &room) }.raw()
        };
        let place = Place::Room { room: room.clone(), encrypted: true };
        let verdict = ben.deliver(Batch { place, events: vec![raw] }).remove(0);
        assert_eq!(verdict, refused, "{event_type}");
    }
    assert_eq!(stops(&ben), [None]);
}

#[test]
fn encrypted_rooms_ring_and_decline_as_others() {
    let (sim, room, [ada, ben, _]) = three();
    sim.server(|server| server.encrypt(&room));
    sim.advance(secs(1));
    let adas = enter(&sim, &ada, &room, Announce::new(Notify::Ring));
    assert_eq!(decline(&ben, &rang(&ben)[0].0), Verdict::Handled);
    sim.advance(secs(1));
    assert!(ada.group_events(adas).contains(&GroupEvent::Declined(ring_of("@ben:example"))));
    let clear = sim.server(|server| server.timeline(&room).iter().any(|event| event.clear));
    assert!(!clear, "all of it goes encrypted");
}

#[test]
fn so_many_calls_ring_and_no_more() {
    let sim = Sim::new(1);
    let ben = sim.user("@ben:example").device("B");
    let mut rooms = Vec::new();
    for n in 0..5 {
        let ada = format!("@ada{}:example", n % 2);
        let room = sim.room(&format!("!{n}:example"), [ada.as_str(), "@ben:example"]);
        rooms.push((room, sim.user(&ada)));
    }
    sim.run_until_quiet();
    for (n, (room, ada)) in rooms.iter().enumerate() {
        let device = ada.device(&format!("D{n}"));
        sim.run_until_quiet();
        enter(&sim, &device, room, Announce::new(Notify::Ring));
    }
    assert_eq!(rang(&ben).len(), 5, "three of one, two of another");
    let room = sim.room("!more:example", ["@ada0:example", "@ben:example"]);
    let device = sim.user("@ada0:example").device("MORE");
    sim.run_until_quiet();
    enter(&sim, &device, &room, Announce::new(Notify::Ring));
    let gone = rang(&ben).iter().filter(|(_, why)| why.is_some()).count();
    assert_eq!(ben.ignored(Ignored::TooManyRinging), u64::from(gone == 0), "{}", sim.column());
}

#[test]
fn a_decline_that_does_not_go_out_is_tried_while_the_caller_may_wait() {
    for cue in [Cue::dropped(), Cue::answer_lost(), Cue::fails(Fault::Timeout)] {
        let (sim, room, [_, ben, _], _) = ringing();
        ben.next(OpKind::SendEvent, cue);
        assert_eq!(decline(&ben, &rang(&ben)[0].0), Verdict::Handled);
        sim.advance(secs(10));
        assert_eq!(sent(&sim, &room, DECLINE).len(), 1);
    }
}

#[test]
fn a_process_that_ends_stops_its_rings() {
    let (_, _, [_, ben, _], _) = ringing();
    ben.input(Input::Lifecycle(matrix_voip::machine::io::Lifecycle::Ending));
    assert_eq!(stops(&ben), [Some(RingStop::Ended)]);
}
