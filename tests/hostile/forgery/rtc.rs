//! Events around group calls: reactions, announcements, declines. Each is bound to who may say it.
//!
//! Mentions, lifetimes and clocks are judged by `ring`, which has no guards: there is nothing behind
//! them that a forged one could reach. `tests/ring` has their table.

use std::{collections::BTreeSet, time::Duration};

use matrix_voip::{
    Backend, Config, GroupCallId, Unverified,
    id::{DeviceId, EventId},
    machine::{
        guard::Guard,
        io::{CallMedia, Command, GroupCommand, Ignored, Input, RoomNews, Verdict},
    },
    wire::{
        delivery::{Batch, Facts, Place, Protection, RawEvent},
        member::MEMBER_TYPE,
        state::{Extent, RawState, StateBatch, StateFacts},
    },
};
use serde_json::{Value, json};

use crate::rig::{Rig, room, secs, start, user};

/// The guards that this table shows to be needed.
pub(super) const GUARDS: [Guard; 7] = [
    Guard::ReactionBound,
    Guard::ReactionsFresh,
    Guard::ReactionsBounded,
    Guard::RemovalBound,
    Guard::CallerPresent,
    Guard::PresentUnrung,
    Guard::DeclineBound,
];
/// The reasons that it shows besides those of others.
pub(super) const REASONS: [Ignored; 4] =
    [Ignored::NoMembership, Ignored::UnknownReaction, Ignored::UnknownRing, Ignored::InTheCall];

/// What is sent around a group call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Honest {
    Reaction,
    Removal,
    Ring,
    Decline,
    Reject,
}

const ALL: [Honest; 5] =
    [Honest::Reaction, Honest::Removal, Honest::Ring, Honest::Decline, Honest::Reject];

/// A moment, and an event that arrives in it.
#[derive(Clone)]
struct Scene {
    rig: Rig,
    encrypted: bool,
    event: RawEvent,
}

fn member(sender: &str, device: &str) -> RawState {
    let until = start().wall.plus(secs(280)).0;
    let content = json!({"memberships": [{"application": "m.call.audio", "call_id": "", "device_id": device, "membershipID": "s",
        "expires_ts": until, "foci_active": [{"type": "mesh"}]}]});
    let facts = StateFacts {
        event_id: EventId::parse(format!("${sender}")).unwrap(),
        sender: user(sender),
        state_key: user(sender).to_string(),
        sent: start().wall,
        age: None,
    };
    RawState { facts, event_type: MEMBER_TYPE.to_owned(), content: content.to_string() }
}

/// A room in which `you` and `third` are in a call, and we are not.
fn rig(config: Config) -> Rig {
    let mut rig = Rig::with(config);
    let members = BTreeSet::from([user("me"), user("you"), user("third")]);
    rig.input(Input::Room(room("r"), RoomNews::Members(members)));
    let events = vec![member("you", "Y"), member("third", "T")];
    rig.input(Input::State(
        StateBatch { room: room("r"), extent: Extent::Whole, encrypted: Some(false), events }
            .parse(),
    ));
    rig
}

fn event(sender: &str, id: &str, event_type: &str, content: &Value) -> RawEvent {
    let facts = Facts {
        event_id: Some(EventId::parse(id).unwrap()),
        sender: user(sender),
        device: None,
        protection: Protection::Clear,
        sent: None,
        age: Some(Duration::ZERO),
    };
    let (event_type, content) = (event_type.to_owned(), content.to_string());
    RawEvent { facts, event_type, content, redacts: None }
}

fn reaction(sender: &str, id: &str, device: &str, ephemeral: bool) -> RawEvent {
    let content = json!({"key": id, "is_ephemeral": ephemeral, "call_id": "", "device_id": device,
        "m.relates_to": {"event_id": "$you"}});
    event(sender, id, "com.famedly.call.member.reaction", &content)
}

fn ring(sender: &str, id: &str) -> RawEvent {
    let content = json!({"notification_type": "ring", "lifetime": 30_000,
        "m.mentions": {"room": true}, "m.relates_to": {"event_id": "$you"}});
    event(sender, id, "m.rtc.notification", &content)
}

impl Honest {
    /// Where it has an effect.
    fn scene(self, config: Config) -> Scene {
        let mut scene =
            Scene { rig: rig(config), encrypted: false, event: reaction("you", "$1", "Y", false) };
        match self {
            Self::Reaction => {}
            Self::Removal => {
                scene.deliver();
                let content = json!({"redacts": "$1", "device_id": "Y", "call_id": "",
                    "redacts_type": "com.famedly.call.member.reaction"});
                scene.event = event("you", "$2", "m.room.redaction", &content);
            }
            Self::Ring => scene.event = ring("you", "$1"),
            Self::Decline | Self::Reject => {
                scene.event = ring("you", "$1");
                scene.deliver();
                let relation = json!({"m.relates_to": {"event_id": "$1"}});
                let reject = json!({"call_id": "", "application": "m.call.audio"});
                scene.event = match self == Self::Decline {
                    true => event("me", "$2", "m.rtc.decline", &relation),
                    false => event("me", "$2", "m.call.reject", &reject),
                };
            }
        }
        scene
    }
}

impl Scene {
    /// The verdict, and whether the application hears of anything.
    fn deliver(&mut self) -> (Verdict, bool) {
        let before = self.rig.told.len();
        let place = Place::Room { room: room("r"), encrypted: self.encrypted };
        let delivery = Batch { place, events: vec![self.event.clone()] }.parse();
        match self.rig.input(Input::Deliver(delivery)) {
            Verdict::Batch(mut verdicts) => (verdicts.remove(0), self.rig.told.len() > before),
            other => panic!("{other:?}"),
        }
    }

    fn without(mut self, guard: Guard) -> Self {
        self.rig.engine = self.rig.engine.without(guard);
        self
    }

    /// With the guard nothing is heard of it, without the guard something is.
    #[track_caller]
    fn judge(&self, what: &str, reason: Ignored, guard: Guard) {
        let heard = self.clone().deliver();
        assert_eq!(heard, (Verdict::Ignored(reason), false), "{what}");
        let (verdict, heard) = self.clone().without(guard).deliver();
        assert!(heard, "{what}: {guard:?} off, and nothing happens: {verdict:?}");
    }
}

#[test]
fn an_honest_event_around_a_group_call_has_an_effect() {
    for honest in ALL {
        let heard = honest.scene(Config::default()).deliver();
        assert_eq!(heard, (Verdict::Handled, true), "{honest:?}");
    }
}

#[test]
fn whoever_may_not_speak_is_not_heard_around_a_group_call_either() {
    for honest in ALL {
        let what = format!("{honest:?}");
        let scene = || honest.scene(Config::default());
        let mut ignored = scene();
        let sender = ignored.event.facts.sender.clone();
        // A ring of his would stop with it.
        if matches!(honest, Honest::Reaction | Honest::Removal | Honest::Ring) {
            ignored.rig.input(Input::IgnoredUsers(BTreeSet::from([sender.clone()])));
            ignored.judge(&what, Ignored::IgnoredUser, Guard::IgnoredUnheard);
        }
        let mut again = scene();
        again.event.facts.event_id = EventId::parse("$again").ok();
        again.deliver();
        let second = again.deliver();
        assert_eq!(second, (Verdict::Ignored(Ignored::Duplicate), false), "{what}");
    }
    let mut outside = Honest::Reaction.scene(Config::default());
    outside.event.facts.sender = user("stranger");
    let heard = outside.without(Guard::ReactionBound);
    heard.judge("a stranger's", Ignored::NotInRoom, Guard::OutsidersUnheard);
}

#[test]
fn a_reaction_that_comes_again_is_shown_once() {
    let mut scene = Honest::Reaction.scene(Config::default());
    scene.event = reaction("you", "$1", "Y", true);
    scene.deliver();
    scene.judge("again", Ignored::Duplicate, Guard::DuplicateIgnored);
}

#[test]
fn rings_and_declines_are_refused_in_the_clear_and_reactions_are_not() {
    for honest in ALL {
        let mut scene = honest.scene(Config::default());
        scene.encrypted = true;
        let (reason, guard) = (Ignored::PlaintextInEncryptedRoom, Guard::PlaintextRefused);
        match honest {
            Honest::Reaction | Honest::Removal => {
                assert_eq!(scene.deliver(), (Verdict::Handled, true), "{honest:?}");
            }
            Honest::Ring | Honest::Decline | Honest::Reject => {
                scene.judge("in the clear", reason, guard);
                scene.encrypted = false;
                scene.rig.input(Input::Room(room("r"), RoomNews::Encrypted));
                scene.judge("in the clear, and the host forgot", reason, guard);
            }
        }
    }
}

#[test]
fn rings_of_unverified_devices_are_refused_where_the_policy_says_so() {
    let mut config = Config::default();
    config.unverified = Unverified::Refuse;
    for honest in [Honest::Ring, Honest::Decline, Honest::Reject] {
        let mut scene = honest.scene(config.clone());
        scene.encrypted = true;
        scene.event.facts.protection = Protection::Unverified;
        scene.judge("unverified", Ignored::UnverifiedDevice, Guard::UnverifiedRefused);
    }
}

#[test]
fn a_reaction_is_bound_to_its_senders_membership_device_and_moment() {
    let scene = |event| Scene { rig: rig(Config::default()), encrypted: false, event };
    let foreign = scene(reaction("third", "$1", "T", false));
    foreign.judge("by another's membership", Ignored::Parked, Guard::ReactionBound);
    let unknown = scene(reaction("you", "$1", "OTHER", true));
    unknown.judge("of a device that is not there", Ignored::NoMembership, Guard::ReactionBound);
    let mut proven = scene(reaction("you", "$1", "Y", false));
    proven.event.facts.device = DeviceId::parse("ANOTHER").ok();
    proven.judge("from another device", Ignored::WrongParty, Guard::DeviceBound);
    let mut late = scene(reaction("you", "$1", "Y", true));
    late.event.facts.age = Some(Duration::from_millis(2001));
    late.judge("late", Ignored::Expired, Guard::ReactionsFresh);
    late.event.facts.age = Some(Duration::from_millis(2000));
    assert_eq!(late.deliver(), (Verdict::Handled, true));
    let ours = scene(reaction("me", "$1", "MINE", false)).without(Guard::ReactionBound);
    ours.judge("of our own, come back", Ignored::Echo, Guard::EchoIgnored);
}

#[test]
fn so_many_reactions_are_shown_and_no_more() {
    let mut scene = Scene {
        rig: rig(Config::default()),
        encrypted: false,
        event: reaction("you", "$0", "Y", true),
    };
    for n in 0..10 {
        scene.event = reaction("you", &format!("$e{n}"), "Y", true);
        assert_eq!(scene.deliver(), (Verdict::Handled, true));
    }
    scene.event = reaction("you", "$more", "Y", true);
    scene.judge("the eleventh in a second", Ignored::TooMany, Guard::ReactionsBounded);
    for n in 0..16 {
        scene.rig.pass(secs(1));
        scene.event = reaction("you", &format!("$p{n}"), "Y", false);
        assert_eq!(scene.deliver(), (Verdict::Handled, true));
    }
    scene.rig.pass(secs(1));
    scene.event = reaction("you", "$last", "Y", false);
    scene.judge("the seventeenth that stays", Ignored::TooMany, Guard::ReactionsBounded);
}

#[test]
fn only_who_reacted_takes_it_back() {
    let mut scene = Honest::Removal.scene(Config::default());
    scene.event.facts.sender = user("third");
    scene.judge("by another", Ignored::WrongSender, Guard::RemovalBound);
    scene.event.content = scene.event.content.replace("$1", "$none");
    let heard = scene.deliver();
    assert_eq!(heard, (Verdict::Ignored(Ignored::UnknownReaction), false));
}

#[test]
fn a_ring_is_bound_to_its_callers_membership_and_we_are_called_from_outside() {
    let mut scene = Honest::Ring.scene(Config::default());
    scene.event = ring("third", "$1");
    scene.judge("by another's membership", Ignored::Parked, Guard::CallerPresent);
    let mut scene = Honest::Ring.scene(Config::default());
    let open = Command::OpenGroup {
        room: room("r"),
        call: GroupCallId::room(),
        backend: Backend::Mesh,
        application: "m.call".into(),
        keys: matrix_voip::KeyUse::Usual,
    };
    let Verdict::Started(session) = scene.rig.input(Input::Command(open)) else { panic!() };
    scene.rig.input(Input::Command(Command::Group(session, GroupCommand::Enter(CallMedia::Voice))));
    scene.judge("while we are in it", Ignored::InTheCall, Guard::PresentUnrung);
}

#[test]
fn only_a_device_of_ours_declines_for_us() {
    for honest in [Honest::Decline, Honest::Reject] {
        let mut scene = honest.scene(Config::default());
        scene.event.facts.sender = user("third");
        scene.judge("by another", Ignored::UnknownRing, Guard::DeclineBound);
    }
}

#[test]
fn around_a_group_call_nothing_comes_to_device() {
    for honest in ALL {
        let mut scene = honest.scene(Config::default());
        let event = scene.event.clone();
        let delivery = Batch { place: Place::ToDevice, events: vec![event] }.parse();
        let verdict = scene.rig.input(Input::Deliver(delivery));
        assert_eq!(verdict, Verdict::Batch(vec![Verdict::Ignored(Ignored::WrongPlace)]));
    }
}

#[test]
fn one_caller_rings_three_times_at_once_and_no_more() {
    let mut scene = Honest::Ring.scene(Config::default());
    for n in 0..4 {
        let place = room(&format!("r{n}"));
        let members = BTreeSet::from([user("me"), user("you")]);
        scene.rig.input(Input::Room(place.clone(), RoomNews::Members(members)));
        let events = vec![member("you", "Y")];
        let state = StateBatch {
            room: place.clone(),
            extent: Extent::Whole,
            encrypted: Some(false),
            events,
        };
        scene.rig.input(Input::State(state.parse()));
        if n < 3 {
            let place = Place::Room { room: place, encrypted: false };
            let events = vec![ring("you", &format!("$ring{n}"))];
            scene.rig.input(Input::Deliver(Batch { place, events }.parse()));
        }
    }
    scene.event = ring("you", "$fourth");
    scene.judge("the fourth", Ignored::TooManyRinging, Guard::CallerBounded);
}
