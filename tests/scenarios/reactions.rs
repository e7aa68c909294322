//! Reactions in group calls and raised hands (`famedly-dart.md` §2.4, §7.6; items 154 to 159).

use std::collections::BTreeSet;

use matrix_voip::{
    Config, GroupCallId, GroupEvent, GroupState, RAISED_HAND, ReactionsSent, Stay,
    host::{SendEvent, SendState},
    id::{EventId, RoomId, SessionId, UserId},
    machine::io::{CallMedia, Command, Fault, GroupCommand, Ignored, Refusal, Verdict},
    testing::{Cue, Device, OpKind, Puppet, Sim, millis, secs},
    wire::member::MEMBER_TYPE,
};
use serde_json::{Value, json};

const REACTION: &str = "com.famedly.call.member.reaction";

/// Two who are in the call of their room, and somebody with a client that only the test knows.
struct Party {
    sim: Sim,
    room: RoomId,
    ada: Device,
    ben: Device,
    cleo: Puppet,
    /// Ada's and Ben's.
    calls: [SessionId; 2],
}

fn party() -> Party {
    party_of(&Config::default(), false)
}

fn party_of(config: &Config, encrypted: bool) -> Party {
    let sim = Sim::new(1);
    let room = sim.room("!room:example", ["@ada:example", "@ben:example", "@cleo:example"]);
    if encrypted {
        sim.server(|server| server.encrypt(&room));
    }
    let ada = sim.user("@ada:example").device_with("A", config.clone());
    let ben = sim.user("@ben:example").device("B");
    let cleo = sim.puppet("@cleo:example", "C");
    sim.run_until_quiet();
    let calls = [&ada, &ben].map(|device| enter(&sim, device, &room, GroupCallId::room()));
    Party { sim, room, ada, ben, cleo, calls }
}

fn enter(sim: &Sim, device: &Device, room: &RoomId, call: GroupCallId) -> SessionId {
    let session = device.open_group(room, call);
    device.group(session, GroupCommand::Enter(CallMedia::Voice));
    sim.advance(secs(1));
    assert_eq!(device.group_state(session), Some(GroupState::Entered), "{}", sim.column());
    session
}

fn react(key: &str, stay: Stay) -> GroupCommand {
    GroupCommand::React { key: key.to_owned(), stay }
}

impl Party {
    fn adas(&self, command: GroupCommand) -> Verdict {
        self.ada.command(Command::Group(self.calls[0], command))
    }

    fn raise(&self) {
        assert_eq!(self.adas(react(RAISED_HAND, Stay::Permanent)), Verdict::Handled);
    }

    fn lower(&self) {
        assert_eq!(self.adas(GroupCommand::Unreact(RAISED_HAND.into())), Verdict::Handled);
    }

    /// What a device sees of reactions: who shows what, and who no more.
    fn seen(device: &Device, call: SessionId) -> Vec<String> {
        let of = device.group_events(call);
        let seen = of.iter().filter_map(|event| match event {
            GroupEvent::ReactionAdded { participant, key, stay } => {
                let passes = if *stay == Stay::Ephemeral { " for a moment" } else { "" };
                Some(format!("{} {key}{passes}", participant.user))
            }
            GroupEvent::ReactionRemoved { participant, key } => {
                Some(format!("{} no {key}", participant.user))
            }
            _ => None,
        });
        seen.map(|text| text.replace(":example", "")).collect()
    }

    fn bens(&self) -> Vec<String> {
        Self::seen(&self.ben, self.calls[1])
    }

    /// What stands in the snapshot of a device, whoever shows it.
    fn standing(device: &Device, call: SessionId) -> BTreeSet<String> {
        let shown = device.group_snapshot(call).unwrap().reactions;
        shown.into_values().flatten().collect()
    }

    /// The contents of all events of a type in the room.
    fn sent(&self, event_type: &str) -> Vec<Value> {
        self.sim.server(|server| {
            let of_type = server.timeline(&self.room).iter();
            let of_type = of_type.filter(|event| event.event_type == event_type);
            of_type.map(|event| serde_json::from_str(&event.content).unwrap()).collect()
        })
    }

    /// The event that says that this user is in the call.
    fn member_event(&self, user: &str) -> String {
        let now = self.sim.now().wall;
        let state = self.sim.server(|server| server.room_state(now, &self.room)).unwrap();
        let mut of_user = state.events.into_iter().filter(|it| it.facts.state_key == user);
        of_user.next().unwrap().facts.event_id.to_string()
    }

    /// Cleo's client writes her membership, as the visit of that name.
    fn cleo_is_in(&self, session: &str) -> String {
        let until = self.sim.now().wall.plus(secs(200)).0;
        let content = json!({"memberships": [{"call_id": "", "device_id": "C",
            "expires_ts": until, "membershipID": session, "foci_active": [{"type": "mesh"}]}]});
        let (now, user) = (self.sim.now().wall, UserId::parse("@cleo:example").unwrap());
        let state = SendState {
            room: self.room.clone(),
            event_type: MEMBER_TYPE.to_owned(),
            state_key: "@cleo:example".to_owned(),
            content: content.to_string(),
        };
        let written = self.sim.server(|server| server.put_state(now, &user, state));
        self.sim.advance(secs(1));
        written.to_string()
    }

    /// Cleo's client shows something by that membership; the reaction's event.
    fn cleo_shows(&self, key: &str, more: Value, member_event: &str) -> EventId {
        let mut content = json!({"key": key, "call_id": "", "device_id": "C",
            "m.relates_to": {"rel_type": "m.reference", "event_id": member_event}});
        for (name, value) in more.as_object().unwrap() {
            content[name] = value.clone();
        }
        self.cleo.say_json(&self.room, REACTION, &content.to_string());
        self.sim.advance(secs(1));
        self.sim.server(|server| server.timeline(&self.room).last().unwrap().event_id.clone())
    }

    fn removes(&self, by: &Puppet, redacts: &EventId) {
        let content = json!({"redacts": redacts.as_str(), "redacts_type": REACTION,
            "device_id": by.identity().device.as_str(), "call_id": ""});
        by.say_json(&self.room, "m.room.redaction", &content.to_string());
        self.sim.advance(secs(1));
    }
}

#[test]
fn a_reaction_is_seen_by_all_and_refers_to_our_membership() {
    let party = party();
    assert_eq!(party.adas(react("👏", Stay::Ephemeral)), Verdict::Handled);
    let ours = Party::seen(&party.ada, party.calls[0]);
    assert_eq!(ours, ["@ada 👏 for a moment"], "for ourselves at once");
    party.sim.advance(secs(1));
    assert_eq!(party.bens(), ["@ada 👏 for a moment"], "{}", party.sim.column());
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty());
    let expected = json!({"key": "👏", "is_ephemeral": true, "call_id": "", "device_id": "A",
        "scope": "m.room",
        "m.relates_to": {"rel_type": "m.reference", "event_id": party.member_event("@ada:example")}});
    assert_eq!(party.sent(REACTION), [expected]);
    assert_eq!(party.ada.ignored(Ignored::Echo), 1, "and once only, though it comes back");
    assert_eq!(Party::seen(&party.ada, party.calls[0]).len(), 1);
}

#[test]
fn a_raised_hand_stands_until_it_is_lowered() {
    let party = party();
    party.raise();
    party.raise();
    party.sim.advance(secs(1));
    for (device, call) in [(&party.ada, party.calls[0]), (&party.ben, party.calls[1])] {
        assert_eq!(Party::standing(device, call), [RAISED_HAND.to_owned()].into());
    }
    let raised = party.sim.server(|server| server.timeline(&party.room).last().cloned()).unwrap();
    party.lower();
    party.lower();
    assert!(Party::standing(&party.ada, party.calls[0]).is_empty(), "for ourselves at once");
    party.sim.advance(secs(1));
    assert_eq!(party.bens(), ["@ada 🖐️", "@ada no 🖐️"], "{}", party.sim.column());
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty());
    let expected = json!({"redacts": raised.event_id.as_str(), "device_id": "A", "call_id": "",
        "scope": "m.room", "redacts_type": REACTION});
    assert_eq!(party.sent("m.room.redaction"), [expected]);
}

/// 155.
#[test]
fn eleven_quick_reactions_go_out_the_twelfth_is_refused_and_hands_never_are() {
    let party = party();
    for _ in 0..11 {
        assert_eq!(party.adas(react("👏", Stay::Ephemeral)), Verdict::Handled);
    }
    let refused = Verdict::Refused(Refusal::TooManyReactions);
    assert_eq!(party.adas(react("👏", Stay::Ephemeral)), refused);
    party.raise();
    party.sim.advance(millis(1000));
    assert_eq!(party.adas(react("👏", Stay::Ephemeral)), Verdict::Handled, "one has passed");
    assert_eq!(party.adas(react("👏", Stay::Ephemeral)), refused);
    party.sim.advance(secs(60));
    for _ in 0..11 {
        assert_eq!(party.adas(react("👏", Stay::Ephemeral)), Verdict::Handled);
    }
    assert_eq!(party.adas(react("👏", Stay::Ephemeral)), refused);
}

/// 156, T-42.
#[test]
fn a_raised_hand_stays_over_refreshes_is_sent_once_and_is_lowered_afterwards() {
    let party = party();
    party.raise();
    party.sim.advance(secs(600));
    assert_eq!(party.sent(REACTION).len(), 1, "the membership was written anew five times");
    assert_eq!(party.bens(), ["@ada 🖐️"]);
    party.lower();
    party.sim.advance(secs(1));
    assert_eq!(party.bens(), ["@ada 🖐️", "@ada no 🖐️"], "{}", party.sim.column());
}

#[test]
fn a_hand_is_raised_anew_for_those_for_whom_its_owner_was_gone() {
    let party = party();
    party.raise();
    party.sim.advance(secs(1));
    party.ada.partition();
    party.sim.advance(secs(400));
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty(), "she is believed no more");
    party.ada.heal();
    party.sim.advance(secs(60));
    let hand = BTreeSet::from([RAISED_HAND.to_owned()]);
    assert_eq!(Party::standing(&party.ben, party.calls[1]), hand, "{}", party.sim.column());
    assert_eq!(Party::seen(&party.ada, party.calls[0]), ["@ada 🖐️"], "she was there all the time");
    assert_eq!(party.sent(REACTION).len(), 2);
    party.lower();
    party.sim.advance(secs(1));
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty());
}

#[test]
fn a_hand_that_is_raised_again_before_it_is_known_to_be_down_stays_up() {
    let slow = [(OpKind::SendClear, Cue::answer_lost()), (OpKind::Redact, Cue::dropped())];
    for (kind, cue) in slow {
        let party = party();
        party.ada.next(kind, cue);
        party.raise();
        party.sim.advance(millis(200));
        party.lower();
        party.raise();
        party.sim.advance(secs(60));
        let hand = BTreeSet::from([RAISED_HAND.to_owned()]);
        assert_eq!(Party::standing(&party.ben, party.calls[1]), hand, "{}", party.sim.column());
        party.lower();
        party.sim.advance(secs(1));
        assert!(Party::standing(&party.ben, party.calls[1]).is_empty(), "{}", party.sim.column());
    }
}

/// T-42: what deployed clients do at each refresh.
#[test]
fn a_hand_that_others_send_anew_with_each_membership_is_one_hand() {
    for lowered in 0..3 {
        let party = party();
        let mut sent = Vec::new();
        for _ in 0..3 {
            let member_event = party.cleo_is_in("c");
            sent.push(party.cleo_shows(RAISED_HAND, json!({"is_ephemeral": false}), &member_event));
        }
        assert_eq!(party.bens(), ["@cleo 🖐️"]);
        party.removes(&party.cleo, &sent[lowered]);
        assert_eq!(party.bens(), ["@cleo 🖐️", "@cleo no 🖐️"], "whichever of them is taken back");
        party.removes(&party.cleo, &sent[(lowered + 1) % 3]);
        assert_eq!(party.ben.ignored(Ignored::UnknownReaction), 1);
    }
}

/// 157, T-42.
#[test]
fn a_foreign_reaction_to_our_membership_is_nobodys_and_never_sent_as_ours() {
    let party = party();
    party.cleo_is_in("c");
    let adas = party.member_event("@ada:example");
    party.cleo_shows("👎", json!({"is_ephemeral": false}), &adas);
    let as_ada = json!({"is_ephemeral": false, "device_id": "A"});
    party.cleo_shows("👎", as_ada, &adas);
    party.sim.advance(secs(400));
    assert_eq!(party.bens(), Vec::<String>::new(), "{}", party.sim.column());
    assert_eq!(party.ben.ignored(Ignored::Parked), 2, "hers may be on its way");
    assert_eq!(party.sent(REACTION).len(), 2, "Cleo's own two");
}

/// 158, T-43.
#[test]
fn a_reaction_sent_just_before_a_refresh_is_shown_and_one_of_a_former_visit_is_not() {
    let party = party();
    let former = party.cleo_is_in("former");
    let first = party.cleo_is_in("c");
    party.cleo_is_in("c");
    party.cleo_shows("👏", json!({"is_ephemeral": true}), &first);
    party.cleo_shows("👎", json!({"is_ephemeral": true}), &former);
    assert_eq!(party.bens(), ["@cleo 👏 for a moment"], "{}", party.sim.column());
    assert_eq!(party.ben.ignored(Ignored::NoMembership), 1);
}

/// 154, T-41.
#[test]
fn a_reaction_that_does_not_say_whether_it_passes_stays() {
    let party = party();
    let member_event = party.cleo_is_in("c");
    party.cleo_shows("1", json!({}), &member_event);
    party.cleo_shows("2", json!({"is_ephemeral": null}), &member_event);
    party.cleo_shows("3", json!({"is_ephemeral": "yes"}), &member_event);
    let expected = ["1", "2", "3"].map(str::to_owned);
    assert_eq!(Party::standing(&party.ben, party.calls[1]), expected.into());
}

/// 159.
#[test]
fn a_removal_is_understood_wherever_it_says_what_it_redacts() {
    for old in [true, false] {
        let party = party();
        if old {
            party.sim.server(|server| server.make_old(&party.room));
        }
        party.raise();
        party.sim.advance(secs(1));
        party.lower();
        party.sim.advance(secs(1));
        assert_eq!(party.bens(), ["@ada 🖐️", "@ada no 🖐️"], "old: {old}");
        let inside = party.sent("m.room.redaction")[0].get("redacts").is_some();
        assert_eq!(inside, !old);
    }
}

#[test]
fn applause_that_comes_late_is_not_shown_and_a_hand_is() {
    let party = party();
    party.ben.hold_sync();
    assert_eq!(party.adas(react("👏", Stay::Ephemeral)), Verdict::Handled);
    party.raise();
    party.sim.advance(millis(2500));
    assert_eq!(party.adas(react("🎉", Stay::Ephemeral)), Verdict::Handled);
    party.sim.advance(millis(500));
    party.ben.release_sync();
    assert_eq!(party.bens(), ["@ada 🖐️", "@ada 🎉 for a moment"], "{}", party.sim.column());
    assert_eq!(party.ben.ignored(Ignored::Expired), 1);
}

#[test]
fn in_an_encrypted_room_reactions_go_in_the_clear_unless_the_policy_says_otherwise() {
    let mut hidden = Config::default();
    hidden.reactions = ReactionsSent::AsTheRoomIs;
    for (config, clear) in [(Config::default(), true), (hidden, false)] {
        let party = party_of(&config, true);
        party.raise();
        party.sim.advance(secs(1));
        let stored = party.sim.server(|server| server.timeline(&party.room).last().cloned());
        assert_eq!(stored.unwrap().clear, clear);
        party.lower();
        party.sim.advance(secs(1));
        assert_eq!(party.bens(), ["@ada 🖐️", "@ada no 🖐️"], "{}", party.sim.column());
    }
}

#[test]
fn whose_device_is_proven_reacts_as_no_other() {
    let party = party_of(&Config::default(), true);
    let member_event = party.cleo_is_in("c");
    let other = party.sim.puppet("@cleo:example", "OTHER");
    let content = json!({"key": "👏", "call_id": "", "device_id": "C",
        "m.relates_to": {"rel_type": "m.reference", "event_id": member_event}});
    other.say_json(&party.room, REACTION, &content.to_string());
    party.sim.advance(secs(1));
    assert_eq!(party.bens(), Vec::<String>::new());
    assert_eq!(party.ben.ignored(Ignored::WrongParty), 1);
    let event = SendEvent {
        room: party.room.clone(),
        event_type: REACTION.to_owned(),
        content: content.to_string(),
        transaction: "t".to_owned(),
    };
    let now = party.sim.now().wall;
    party.sim.server(|server| server.send_clear(now, other.identity(), event)).unwrap();
    party.sim.advance(secs(1));
    assert_eq!(party.bens(), ["@cleo 👏"], "in the clear it is what it says");
}

#[test]
fn a_hand_that_does_not_go_out_is_sent_until_it_does_and_applause_is_not() {
    for cue in [Cue::dropped(), Cue::answer_lost(), Cue::hangs(), Cue::rate_limited(secs(9))] {
        let party = party();
        party.ada.next(OpKind::SendClear, cue.clone());
        party.raise();
        party.sim.advance(secs(60));
        assert_eq!(party.bens(), ["@ada 🖐️"], "{cue:?}\n{}", party.sim.column());
        assert_eq!(party.sent(REACTION).len(), 1, "{cue:?}");
        party.ada.next(OpKind::SendClear, cue.clone());
        assert_eq!(party.adas(react("👏", Stay::Ephemeral)), Verdict::Handled);
        party.ada.next(OpKind::Redact, cue.clone());
        party.lower();
        party.sim.advance(secs(60));
        assert_eq!(party.bens().last().unwrap(), "@ada no 🖐️", "{cue:?}");
        let tried_once = party.sent(REACTION).len() <= 2;
        assert!(tried_once, "{cue:?}");
    }
}

#[test]
fn a_hand_that_is_not_taken_is_not_shown_to_us_either() {
    let party = party();
    party.ada.next(OpKind::SendClear, Cue::fails(Fault::Forbidden("M_FORBIDDEN".into())));
    party.raise();
    party.sim.advance(secs(1));
    assert_eq!(Party::seen(&party.ada, party.calls[0]), ["@ada 🖐️", "@ada no 🖐️"]);
    party.raise();
    party.sim.advance(secs(1));
    assert_eq!(party.bens(), ["@ada 🖐️"]);
}

#[test]
fn a_hand_that_is_lowered_while_it_goes_up_comes_down() {
    for again in [false, true] {
        let party = party();
        party.ada.slow(OpKind::SendClear, secs(3));
        party.raise();
        party.sim.advance(secs(1));
        party.lower();
        if again {
            party.raise();
        }
        party.sim.advance(secs(20));
        let standing = Party::standing(&party.ben, party.calls[1]);
        assert_eq!(standing.len(), usize::from(again), "{}", party.sim.column());
        assert_eq!(Party::standing(&party.ada, party.calls[0]), standing);
    }
}

#[test]
fn who_leaves_takes_his_hand_with_him_and_comes_back_without() {
    let party = party();
    party.raise();
    party.sim.advance(secs(1));
    party.ada.group(party.calls[0], GroupCommand::Leave);
    assert!(Party::standing(&party.ada, party.calls[0]).is_empty());
    party.sim.advance(secs(1));
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty());
    party.ada.group(party.calls[0], GroupCommand::Enter(CallMedia::Voice));
    party.sim.advance(secs(1));
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty());
    party.raise();
    party.sim.advance(secs(1));
    assert_eq!(Party::standing(&party.ben, party.calls[1]).len(), 1, "{}", party.sim.column());
}

#[test]
fn who_comes_anew_without_having_left_comes_without_his_hand() {
    let party = party();
    let member_event = party.cleo_is_in("one");
    party.cleo_shows(RAISED_HAND, json!({}), &member_event);
    assert_eq!(Party::standing(&party.ben, party.calls[1]).len(), 1);
    party.cleo_is_in("two");
    assert!(Party::standing(&party.ben, party.calls[1]).is_empty(), "{}", party.sim.column());
}

#[test]
fn who_is_not_in_the_call_shows_nothing() {
    let party = party();
    let idle = party.ada.open_group(&party.room, GroupCallId::named("other"));
    let show = |key: &str| party.ada.command(Command::Group(idle, react(key, Stay::Permanent)));
    assert_eq!(show("👏"), Verdict::Refused(Refusal::NotEntered));
    assert_eq!(show(""), Verdict::Refused(Refusal::NotWritable));
    assert_eq!(show(&"x".repeat(256)), Verdict::Refused(Refusal::NotWritable));
    let unknown = party.ada.command(Command::Group(SessionId(99), react("👏", Stay::Ephemeral)));
    assert_eq!(unknown, Verdict::Refused(Refusal::UnknownSession));
}

#[test]
fn a_flood_of_reactions_is_counted_and_left() {
    let party = party();
    let member_event = party.cleo_is_in("c");
    let show = |n: usize, ephemeral: bool| {
        let content = json!({"key": n.to_string(), "is_ephemeral": ephemeral, "call_id": "",
            "device_id": "C", "m.relates_to": {"event_id": member_event}});
        party.cleo.say_json(&party.room, REACTION, &content.to_string());
    };
    for n in 0..50 {
        show(n, true);
    }
    party.sim.advance(secs(2));
    assert_eq!((party.bens().len(), party.ben.ignored(Ignored::TooMany)), (10, 40));
    party.raise();
    party.sim.advance(secs(1));
    assert_eq!(party.bens().last().unwrap(), "@ada 🖐️", "nobody else is concerned");
    for n in 0..30 {
        show(n, false);
        party.sim.advance(secs(1));
    }
    assert_eq!(Party::standing(&party.ben, party.calls[1]).len(), 16 + 1);
}

#[test]
fn only_who_reacted_takes_it_back() {
    let party = party();
    let member_event = party.cleo_is_in("c");
    let event = party.cleo_shows(RAISED_HAND, json!({}), &member_event);
    party.removes(&party.sim.puppet("@ben:example", "C"), &event);
    assert_eq!(Party::seen(&party.ada, party.calls[0]), ["@cleo 🖐️"]);
    assert_eq!(party.ada.ignored(Ignored::WrongSender), 1);
}

#[test]
fn a_reaction_is_shown_in_its_own_call_alone() {
    let party = party();
    let other = GroupCallId::named("other");
    let two = [&party.ada, &party.ben]
        .map(|device| enter(&party.sim, device, &party.room, other.clone()));
    party.ada.group(two[0], react("👏", Stay::Permanent));
    party.sim.advance(secs(1));
    assert_eq!(Party::seen(&party.ben, two[1]), ["@ada 👏"], "{}", party.sim.column());
    assert_eq!(party.bens(), Vec::<String>::new());
}
