//! Forgeries whose effect would show only later, or which go with news to the application: each is
//! played with its guard and without, and the outcome must differ.

use matrix_voip::{
    config::{Busy, Config},
    machine::{
        bounds::MAX_PARTINGS,
        event::{CallState, Side},
        guard::Guard,
        io::{Ignored, Input, MediaKind, PeerNews, Verdict},
    },
    wire::call::{Body, Reason},
};

use super::said::{Moment, calling, metadata, theirs};
use crate::rig::{Rig, deaf_server, hangup, invite, said};

/// What a story tells of one engine, which may lack a rule.
struct Row {
    what: &'static str,
    guard: Guard,
    /// What happens with the guard.
    outcome: &'static str,
    /// Plays it; the engine is handed through before the forgery comes.
    play: fn(&dyn Fn(Rig) -> Rig) -> String,
}

const ROWS: [Row; 7] = [
    Row {
        what: "a third member ends a call before its invite comes",
        guard: Guard::EndBound,
        outcome: "rings",
        play: |prepared| {
            let mut rig = prepared(Rig::new());
            rig.hear("r", said("eve", "late", hangup()));
            rings(&rig.hear("r", theirs("late", invite())))
        },
    },
    Row {
        what: "another party of the caller ends a call before its invite comes",
        guard: Guard::EndBound,
        outcome: "rings",
        play: |prepared| {
            let mut rig = prepared(Rig::new());
            rig.hear("r", theirs("late", hangup()).by(Some("another")));
            rings(&rig.hear("r", theirs("late", invite())))
        },
    },
    Row {
        what: "an invite while we talk",
        guard: Guard::BusyObeyed,
        outcome: "Ignored(Busy)",
        play: |prepared| {
            let mut rig = prepared(Rig::new().talking().0);
            rings(&rig.hear("r", said("eve", "new", invite())))
        },
    },
    Row {
        what: "another user's call takes the place of one that was replaced",
        guard: Guard::VacancyBound,
        outcome: "Some(Ringing)",
        play: |prepared| {
            let (mut rig, session) = calling(Moment::default());
            let id = rig.call_id(session);
            rig.hear("r", theirs(&id, Body::Hangup { reason: Some(Reason::Replaced) }));
            let mut rig = prepared(rig);
            let session = rig.started("r", said("eve", "new", invite()));
            format!("{:?}", rig.state(session))
        },
    },
    Row {
        what: "an invite that loses against ours",
        guard: Guard::SmallerIdWins,
        outcome: "Ignored(LostGlare), ours: Some(InviteSent)",
        play: |prepared| {
            let (rig, session) = calling(Moment::default());
            let mut rig = prepared(rig);
            let verdict = rings(&rig.hear("r", theirs("~~~~", invite())));
            format!("{verdict}, ours: {:?}", rig.state(session))
        },
    },
    Row {
        what: "more invites than are refused at once",
        guard: Guard::PartingsBounded,
        outcome: "says nothing",
        play: |prepared| {
            let mut config = Config::default();
            config.busy = Busy::Reject;
            let (mut rig, _) = Rig::with(config).talking();
            rig.habit = deaf_server;
            for n in 0..MAX_PARTINGS {
                rig.hear("r", said("eve", &format!("new{n}"), invite()));
            }
            let mut rig = prepared(rig);
            let before = rig.ops.len();
            assert_eq!(
                rig.hear("r", said("eve", "more", invite())),
                Verdict::Ignored(Ignored::Busy)
            );
            let silent = rig.ops.len() == before;
            if silent { "says nothing" } else { "answers" }.to_owned()
        },
    },
    Row {
        what: "metadata for streams that nobody sends",
        guard: Guard::StreamsHaveTracks,
        outcome: "their streams: 0",
        play: |prepared| {
            let (mut rig, session) = Rig::new().talking();
            let peer = rig.peer_of(session);
            let stream = Some(matrix_voip::id::StreamId::parse("theirs").unwrap());
            let (mid, kind) = ("0".to_owned(), MediaKind::Audio);
            rig.input(Input::Peer(peer, PeerNews::TrackAdded { mid, stream, kind }));
            let mut rig = prepared(rig);
            let own = rig.engine.snapshot(session).unwrap().streams;
            let own = own.iter().find(|stream| stream.side == Side::Local).unwrap();
            let foreign = metadata(own.id.as_ref().unwrap().as_str());
            rig.hear("r", theirs("talk", foreign));
            let streams = rig.engine.snapshot(session).unwrap().streams;
            let shown = streams.iter().filter(|stream| stream.side == Side::Remote).count();
            format!("their streams: {shown}")
        },
    },
];

fn rings(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Started(_) => "rings".to_owned(),
        other => format!("{other:?}"),
    }
}

pub(super) fn guards() -> impl Iterator<Item = Guard> {
    ROWS.iter().map(|row| row.guard)
}

#[test]
fn a_forgery_that_would_show_later_has_no_effect_and_would_have_without_its_guard() {
    for Row { what, guard, outcome, play } in ROWS {
        assert_eq!(play(&|rig| rig), outcome, "{what}");
        let lacking = |mut rig: Rig| {
            rig.engine = rig.engine.without(guard);
            rig
        };
        assert_ne!(play(&lacking), outcome, "{what}: {guard:?} off, and nothing differs");
    }
}

/// B: whoever leaves or is banned is no longer in the call, whatever it is doing.
#[test]
fn whoever_leaves_or_is_banned_in_mid_call_ends_it_with_that_reason() {
    use matrix_voip::machine::{
        event::{EndParty, EndReason, VoipEvent},
        io::{Output, RoomNews},
    };
    let members = |names: &[&str]| names.iter().map(|name| crate::rig::user(name)).collect();
    let news: [(&str, RoomNews); 3] = [
        ("you", RoomNews::Left(crate::rig::user("you"))),
        ("you", RoomNews::Members(members(&["me", "eve"]))),
        ("me", RoomNews::Left(crate::rig::user("me"))),
    ];
    for (who, news) in news {
        let (calling, ours) = calling(Moment::default());
        let (talking, talk) = Rig::new().talking();
        let mut ringing = Rig::new();
        let rings = ringing.started("r", theirs("rings", invite()));
        for (rig, session) in [(calling, ours), (talking, talk), (ringing, rings)] {
            let mut rig = rig;
            let all = RoomNews::Members(members(&["me", "you", "eve"]));
            rig.input(Input::Room(crate::rig::room("r"), all));
            rig.input(Input::Room(crate::rig::room("r"), RoomNews::Left(crate::rig::user("eve"))));
            assert_ne!(rig.state(session), None, "a third member who leaves ends nothing");
            rig.input(Input::Room(crate::rig::room("r"), news.clone()));
            let end = rig.told.iter().find_map(|told| match told {
                Output::Voip(VoipEvent::CallEnded { end, .. }) => Some(end.clone()),
                _ => None,
            });
            let party = if who == "you" { EndParty::Remote } else { EndParty::Local };
            let end = end.unwrap_or_else(|| panic!("{who} left, and the call goes on"));
            assert_eq!((end.party, end.reason), (party, EndReason::LeftRoom));
            assert!(matches!(rig.state(session), None | Some(CallState::Ended)));
            let id = if session == ours { "talk" } else { "rings" };
            let after = rig.hear("r", theirs(id, hangup()));
            assert!(matches!(after, Verdict::Ignored(_)), "{after:?}");
        }
    }
}
