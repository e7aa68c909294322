//! Events at the wrong time, in the wrong direction, beyond a bound, or broken.

use matrix_voip::{
    config::{Config, Transfers},
    id::DeviceId,
    machine::{
        bounds::{
            MAX_CANDIDATES, MAX_PARKED_ROOMS, MAX_PARTIES, MAX_RINGING_PER_CALLER, MAX_TRANSFERS,
        },
        guard::Guard,
        io::{CallCommand, Ignored, Input, Lifecycle, RoomNews},
    },
    wire::{
        call::{Body, SdpKind},
        delivery::Place,
    },
};

use super::{
    Row, Scene,
    said::{
        Honest, Moment, broken_answer, calling, calling_device, create, described, expect,
        invite_with, metadata, offer, over, parting, preparing, ringing, talking, theirs, we_talk,
    },
};
use crate::rig::{
    Rig, Said, answer, candidates, hangup, invite, invite_for, party, room, said, secs, user,
};

fn row(what: &str, rig: Rig, said: Said<'_>, reason: Ignored, guards: &[Guard]) -> Row {
    let (what, scene) = (what.to_owned(), Scene::new(rig, said));
    Row { what, scene, reason, guards: guards.to_vec() }
}

pub(super) fn rows() -> Vec<Row> {
    let parts = [
        invites(),
        invites_of_nobody_to_listen_to(),
        invites_that_meet_calls(),
        wrong_directions(),
        wrong_times(),
        before_an_answer(),
        after_the_end(),
        devices(),
        negotiations(),
        transfers(),
        oversized(),
        strays(),
        vec![selected_too_early()],
    ];
    parts.into_iter().flatten().collect()
}

fn reject() -> Body {
    Body::Reject { reason: None }
}

fn invites() -> Vec<Row> {
    let idle = Rig::new;
    let new = |body| theirs("new", body);
    let for_another = invite_with(|invite| invite.invitee = Some(user("somebody")));
    let device = || Some(DeviceId::parse("ANOTHER").unwrap());
    let for_a_device = invite_with(|invite| invite.invitee_device = device());
    let broken = invite_with(|invite| invite.offer = "rubbish".into());
    vec![
        row(
            "an invite for another user",
            idle(),
            new(for_another),
            Ignored::NotForUs,
            &[Guard::InviteeObeyed],
        ),
        row(
            "an invite for another device",
            idle(),
            new(for_a_device),
            Ignored::NotForUs,
            &[Guard::InviteeDeviceObeyed],
        ),
        row(
            "an invite without a description",
            idle(),
            new(broken),
            Ignored::Malformed,
            &[Guard::SdpChecked],
        ),
        row(
            "an old invite",
            idle(),
            new(invite_for(secs(0))),
            Ignored::Expired,
            &[Guard::InviteExpires],
        ),
    ]
}

fn invites_of_nobody_to_listen_to() -> Vec<Row> {
    let idle = Rig::new;
    let new = |body| theirs("new", body);
    let mut ignoring = idle();
    ignoring.input(Input::IgnoredUsers([user("you")].into()));
    let mut outside = idle();
    let members = [user("me"), user("eve")].into();
    outside.input(Input::Room(room("r"), RoomNews::Members(members)));
    let mut left = idle();
    let members = [user("me"), user("you")].into();
    left.input(Input::Room(room("r"), RoomNews::Members(members)));
    left.input(Input::Room(room("r"), RoomNews::Left(user("you"))));
    let mut ending = idle();
    ending.input(Input::Lifecycle(Lifecycle::Ending));
    vec![
        row(
            "an invite of an ignored user",
            ignoring,
            new(invite()),
            Ignored::IgnoredUser,
            &[Guard::IgnoredUnheard],
        ),
        row(
            "an invite from outside",
            outside,
            new(invite()),
            Ignored::NotInRoom,
            &[Guard::OutsidersUnheard],
        ),
        row(
            "an invite of a member who left",
            left,
            new(invite()),
            Ignored::NotInRoom,
            &[Guard::OutsidersUnheard],
        ),
        row(
            "an invite while we end",
            ending,
            new(invite()),
            Ignored::ShuttingDown,
            &[Guard::ShutDownTakesNone],
        ),
    ]
}

fn invites_that_meet_calls() -> Vec<Row> {
    let mut one_place = Config::default();
    one_place.max_ringing = 1;
    let mut full = Rig::with(one_place);
    full.started("r", theirs("rings", invite()));
    let mut many = Rig::new();
    for n in 0..MAX_RINGING_PER_CALLER {
        many.started("r", theirs(&format!("rings{n}"), invite()));
    }
    vec![
        row(
            "a second invite of a call",
            ringing(),
            theirs("rings", invite()),
            Ignored::AlreadyExists,
            &[Guard::OneCallPerId],
        ),
        row(
            "an invite of a third member with the id of a call",
            ringing(),
            said("eve", "rings", invite()),
            Ignored::WrongSender,
            &[Guard::OneCallPerId],
        ),
        row(
            "one invite too many",
            full,
            said("eve", "new", invite()),
            Ignored::TooManyRinging,
            &[Guard::RingingBounded],
        ),
        row(
            "one invite of a caller too many",
            many,
            theirs("new", invite()),
            Ignored::TooManyRinging,
            &[Guard::CallerBounded],
        ),
    ]
}

fn wrong_directions() -> Vec<Row> {
    let (we, _, id) = we_talk();
    let select = Body::SelectAnswer { selected: party("another") };
    let guards = [Guard::DirectionBound];
    vec![
        row(
            "an answer of the caller",
            ringing(),
            theirs("rings", answer()),
            Ignored::WrongDirection,
            &guards,
        ),
        row(
            "a reject of the caller",
            ringing(),
            theirs("rings", reject()),
            Ignored::WrongDirection,
            &guards,
        ),
        row("a selection by the callee", we, theirs(&id, select), Ignored::WrongDirection, &guards),
    ]
}

fn wrong_times() -> Vec<Row> {
    let (unsent, session) = preparing();
    let unsent_id = unsent.call_id(session);
    let unsent = |body| {
        let (rig, _) = preparing();
        row(
            "about a call of which nothing was sent",
            rig,
            theirs(&unsent_id, body),
            Ignored::WrongState,
            &[Guard::UnsentUnheard],
        )
    };
    let (we, _, id) = we_talk();
    let another = |body| theirs(&id, body).by(Some("another"));
    let (calling, session) = calling(Moment::default());
    let calling_id = calling.call_id(session);
    vec![
        unsent(answer()),
        unsent(reject()),
        unsent(hangup()),
        row(
            "a second answer",
            we.clone(),
            theirs(&id, answer()),
            Ignored::Duplicate,
            &[Guard::FirstAnswerWins],
        ),
        row(
            "an answer of a second party",
            we.clone(),
            another(answer()),
            Ignored::WrongParty,
            &[Guard::FirstAnswerWins],
        ),
        row(
            "a reject after the answer",
            we.clone(),
            theirs(&id, reject()),
            Ignored::WrongState,
            &[Guard::RejectBeforeAnswer],
        ),
        row(
            "a reject of a second party",
            we,
            another(reject()),
            Ignored::WrongParty,
            &[Guard::PartyPinned, Guard::RejectBeforeAnswer],
        ),
        row(
            "an answer without a description",
            calling,
            theirs(&calling_id, broken_answer()),
            Ignored::Malformed,
            &[Guard::SdpChecked],
        ),
    ]
}

fn before_an_answer() -> Vec<Row> {
    let (rig, session) = calling(Moment::default());
    let id = rig.call_id(session);
    let early = |what: &str, honest: Honest, guards: &[Guard]| {
        row(what, rig.clone(), theirs(&id, honest.body()), Ignored::WrongParty, guards)
    };
    let asked = |what: &str, body| {
        row(what, ringing(), theirs("rings", body), Ignored::WrongState, &[Guard::InCallOnly])
    };
    let both = [Guard::ChosenOnly, Guard::InCallOnly];
    vec![
        early("streams before an answer", Honest::Metadata, &[Guard::ChosenOnly]),
        early("an identity before an answer", Honest::Identity, &[Guard::ChosenOnly]),
        early("a negotiation before an answer", Honest::Negotiate, &both),
        early("a transfer before an answer", Honest::Replaces, &both),
        asked("a negotiation while it rings", offer()),
        asked("a transfer while it rings", create("@carl:x")),
    ]
}

fn after_the_end() -> Vec<Row> {
    let ended = |what: &str, body| {
        row(what, parting(), theirs("talk", body), Ignored::AlreadyOver, &[Guard::EndedUnheard])
    };
    let mut foreign = Rig::new();
    foreign.hear("r", theirs("dead", invite_for(secs(0))));
    let mut not_ours = Rig::new();
    let body = invite_with(|invite| invite.invitee = Some(user("somebody")));
    not_ours.hear("r", theirs("foreign", body));
    let remembered = [Guard::ForeignRemembered];
    vec![
        ended("candidates after the end", candidates(1)),
        ended("streams after the end", metadata("theirs")),
        row(
            "an invite played again",
            over(),
            theirs("talk", invite()),
            Ignored::AlreadyOver,
            &[Guard::OverStaysOver],
        ),
        row(
            "candidates for a call that is over",
            over(),
            theirs("talk", candidates(1)),
            Ignored::AlreadyOver,
            &[Guard::OverStaysOver],
        ),
        row(
            "what follows an old invite",
            foreign,
            theirs("dead", candidates(1)),
            Ignored::AlreadyOver,
            &remembered,
        ),
        row(
            "what follows an invite for another user",
            not_ours,
            theirs("foreign", candidates(1)),
            Ignored::NotForUs,
            &remembered,
        ),
    ]
}

fn devices() -> Vec<Row> {
    let (rig, session) = calling_device();
    let id = rig.call_id(session);
    let third = |what: &str, body| {
        let mut row = row(
            what,
            rig.clone(),
            theirs(&id, body),
            Ignored::WrongParty,
            &[Guard::CalleeDeviceBound],
        );
        row.scene.event.facts.device = Some(DeviceId::parse("THIRD").unwrap());
        row
    };
    vec![
        third("an answer of a device that was not called", answer()),
        third("a reject of a device that was not called", reject()),
        third("candidates of a device that was not called", candidates(1)),
    ]
}

fn negotiations() -> Vec<Row> {
    let talk = || talking(Moment::default()).0;
    let mut old = described(SdpKind::Offer);
    old.lifetime = Some(secs(0));
    let mut broken = described(SdpKind::Offer);
    broken.description.sdp = "rubbish".into();
    let (mut crossing, session, id) = we_talk();
    crossing.command(session, CallCommand::RestartIce);
    let answer = Body::Negotiate(described(SdpKind::Answer));
    vec![
        row(
            "an old offer",
            talk(),
            theirs("talk", Body::Negotiate(old)),
            Ignored::Expired,
            &[Guard::OfferExpires],
        ),
        row(
            "an offer without a description",
            talk(),
            theirs("talk", Body::Negotiate(broken)),
            Ignored::Malformed,
            &[Guard::SdpChecked],
        ),
        row(
            "an answer to nothing",
            talk(),
            theirs("talk", answer),
            Ignored::WrongState,
            &[Guard::AnswerAwaited],
        ),
        row(
            "an offer that crosses the caller's",
            crossing,
            theirs(&id, offer()),
            Ignored::Collision,
            &[Guard::OffersTakeTurns],
        ),
    ]
}

fn transfers() -> Vec<Row> {
    let mut config = Config::default();
    config.transfers = Transfers::Refuse;
    let (refusing, _) = Rig::with(config).talking();
    let (mut many, _) = Rig::new().talking();
    for _ in 0..MAX_TRANSFERS {
        many.hear("r", theirs("talk", create("@carl:x")));
    }
    let (to_us, _) = Rig::new().talking();
    let named = |replaces| {
        let (mut rig, _) = Rig::new().talking();
        rig.hear("r", theirs("talk", replaces));
        rig
    };
    vec![
        row(
            "another user takes the id of the call that a transfer announced",
            named(expect("@carl:x")),
            said("eve", "instead", invite()),
            Ignored::WrongSender,
            &[Guard::ExpectedBound],
        ),
        row(
            "somebody takes the id of the call that a transfer asks us to place",
            named(create("@carl:x")),
            said("eve", "instead", invite()),
            Ignored::WrongSender,
            &[Guard::ExpectedBound],
        ),
        row(
            "a transfer against the policy",
            refusing,
            theirs("talk", create("@carl:x")),
            Ignored::Unsupported,
            &[Guard::TransfersRefused],
        ),
        row(
            "one transfer too many",
            many,
            theirs("talk", create("@carl:x")),
            Ignored::TooMany,
            &[Guard::TransfersBounded],
        ),
        row(
            "a transfer to ourselves",
            to_us,
            theirs("talk", create("@me:x")),
            Ignored::Malformed,
            &[Guard::NotToOurselves],
        ),
    ]
}

fn oversized() -> Vec<Row> {
    let (mut many, _) = Rig::new().talking();
    many.hear("r", theirs("talk", candidates(MAX_CANDIDATES)));
    let (mut parties, session) = calling(Moment::default());
    let id = parties.call_id(session);
    for n in 0..MAX_PARTIES {
        let name = format!("p{n}");
        parties.hear("r", theirs(&id, candidates(1)).by(Some(&name)));
    }
    let mut rooms = Rig::new();
    for n in 0..MAX_PARKED_ROOMS {
        rooms.hear(&format!("room{n}"), theirs("early", hangup()));
    }
    vec![
        row(
            "one candidate too many",
            many,
            theirs("talk", candidates(1)),
            Ignored::TooMany,
            &[Guard::CandidatesBounded],
        ),
        row(
            "candidates of one party too many",
            parties,
            theirs(&id, candidates(1)).by(Some("more")),
            Ignored::TooMany,
            &[Guard::PartiesBounded],
        ),
        row(
            "an early event in one room too many",
            rooms,
            theirs("early", hangup()),
            Ignored::TooMany,
            &[Guard::ParkedRoomsBounded],
        ),
    ]
}

fn strays() -> Vec<Row> {
    let later = [Honest::Negotiate, Honest::Identity, Honest::Replaces];
    let stray = |honest: Honest| {
        let what = format!("{honest:?} of a call that nobody knows");
        row(
            &what,
            Rig::new(),
            theirs("nobody", honest.body()),
            Ignored::UnknownCall,
            &[Guard::StraysNotKept],
        )
    };
    let mut rows: Vec<_> = later.into_iter().map(stray).collect();
    rows.push(to_device());
    rows
}

/// To-device messages name no room: nothing could be bound. The type [`Place`] holds this, and
/// there is nothing to switch off.
fn to_device() -> Row {
    let mut row = row("to-device", Rig::new(), theirs("new", invite()), Ignored::NoConference, &[]);
    row.scene.place = Place::ToDevice;
    row
}

/// A selection of an answer that we have not given selects nothing: there is only a reason to
/// count, and nothing to switch off.
fn selected_too_early() -> Row {
    let rig = ringing();
    let ours = rig.our_party();
    let select = Body::SelectAnswer { selected: ours };
    row("a selection before we answered", rig, theirs("rings", select), Ignored::WrongState, &[])
}
