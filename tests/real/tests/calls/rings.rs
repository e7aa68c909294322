//! How a group call rings over a real homeserver (MSC4075), is declined (MSC4310), and is answered on
//! another device; and what people show each other in it.

use real::{Client, Failure, PATIENCE, Pair, Person, Privacy, Scene, clock};
use serde_json::{Value, json};

use crate::{
    groups::sees,
    stage::{Cast, Scenario},
};

/// Between our clients.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("group_call_rings", Cast::Pair(rings))
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
    Scenario::new("group_call_rings_encrypted", Cast::Pair(rings))
        .within(Privacy::Encrypted)
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
    Scenario::new("reactions_in_a_group_call", Cast::Pair(reactions))
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
    Scenario::new("reactions_in_a_group_call_encrypted", Cast::Pair(reactions))
        .within(Privacy::Encrypted)
        .only(|caller, callee| caller.is_ours() && callee.is_ours()),
];

/// What announces a call.
const NOTIFICATION: &str = "org.matrix.msc4075.rtc.notification";
/// "I will not come."
const DECLINE: &str = "org.matrix.msc4310.rtc.decline";
/// What is shown in a call.
const REACTION: &str = "com.famedly.call.member.reaction";

/// Three calls ring at both devices of the callee: the caller gives up; one device declines; one
/// device answers.
fn rings(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let Pair { caller, callee, room } = &pair;
    let second = scene.another_device(callee, "bob2", callee.kind)?;
    let (wish, here) = (json!({"roomId": room, "dialect": "famedly"}), json!({"roomId": room}));
    let mut calling = wish.clone();
    calling["announce"] = "ring".into();
    let call = |nth| {
        caller.ask("groupEnter", &calling)?;
        [callee, &second].into_iter().try_for_each(|it| assert_rings(it, nth, caller, room))
    };

    call(0)?;
    caller.ask("groupLeave", &wish)?;
    assert_stops(callee, 0, "caller_gone")?;
    assert_stops(&second, 0, "caller_gone")?;

    call(1)?;
    second.ask("groupDecline", &here)?;
    assert_stops(&second, 1, "rejected")?;
    assert_stops(callee, 1, "elsewhere")?;
    let declined = caller.nth_event("groupDeclined", 0, PATIENCE)?;
    assert_eq!(declined["user"], *callee.user_id, "{declined}");
    caller.ask("groupLeave", &wish)?;

    call(2)?;
    second.ask("groupEnter", &calling)?;
    assert_stops(&second, 2, "answered")?;
    assert_stops(callee, 2, "elsewhere")?;
    let joined =
        |event: &Value| event["ev"] == "groupJoined" && event["device"] == *second.device_id;
    caller.event("the second device in the call", PATIENCE, joined)?;
    assert_eq!(caller.events("groupDeclined").len(), 1, "who answers declines nothing");
    for client in [caller, &second] {
        client.ask("groupLeave", &wish)?;
    }
    // Neither who comes second announces the call, nor does it ring at who is in it.
    assert_eq!(caller.events("groupRing"), [] as [Value; 0]);
    assert_sent(&scene.person_of(callee)?, room, scene.privacy(), [(NOTIFICATION, 3), (DECLINE, 1)])
}

/// The ring of this number is the caller's.
fn assert_rings(client: &Client, nth: usize, caller: &Client, room: &str) -> Result<(), Failure> {
    let ring = client.nth_event("groupRing", nth, PATIENCE)?;
    let told = (&ring["user"], &ring["roomId"], &ring["style"]);
    let expected = (&json!(caller.user_id), &json!(room), &json!("ring"));
    assert_eq!(told, expected, "{}: {ring}", client.peer());
    let stopped = client.events("groupRingStopped").len();
    assert_eq!(stopped, nth, "{}: it has stopped by itself", client.peer());
    Ok(())
}

/// The ring of this number stops, for this reason.
fn assert_stops(client: &Client, nth: usize, why: &str) -> Result<(), Failure> {
    let stopped = client.nth_event("groupRingStopped", nth, PATIENCE)?;
    assert_eq!(stopped["why"], why, "{}: {stopped}", client.peer());
    assert_eq!(client.events("groupRing").len(), nth + 1, "{}: it rings again", client.peer());
    Ok(())
}

/// So many of these are in the room; of those in an encrypted room the homeserver knows nothing.
fn assert_sent(
    member: &Person<'_>,
    room: &str,
    privacy: Privacy,
    expected: [(&str, usize); 2],
) -> Result<(), Failure> {
    let events = member.room_events(room)?;
    let count = |name: &str| events.iter().filter(|event| event["type"] == name).count();
    for (name, sent) in expected {
        let in_clear = if privacy == Privacy::Plain { sent } else { 0 };
        assert_eq!(count(name), in_clear, "{name}");
    }
    let sent: usize = expected.iter().map(|(_, sent)| sent).sum();
    let hidden = if privacy == Privacy::Encrypted { sent } else { 0 };
    assert_eq!(count("m.room.encrypted"), hidden);
    Ok(())
}

/// A hand is raised, seen, and lowered; applause passes by itself. The plain room is an old one: redactions say elsewhere there what they redact.
fn reactions(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let Pair { caller, callee, mut room } = pair;
    if scene.privacy() == Privacy::Plain {
        let old = json!({"invite": [callee.user_id], "roomVersion": "10"});
        let made = caller.ask("createRoom", &old)?;
        room = made["roomId"].as_str().unwrap_or_default().to_owned();
        callee.ask("join", &json!({"roomId": room}))?;
    }
    let wish = json!({"roomId": room, "dialect": "famedly"});
    for client in [&caller, &callee] {
        client.ask("groupEnter", &wish)?;
    }
    // Who was in it before it was seen does not join: the state tells.
    sees(&callee, &wish, &[&caller, &callee])?;
    let shown = [
        ("🖐️", Shows::FromNowOn),
        ("👏", Shows::ForAMoment),
        ("🖐️", Shows::NoMore),
        ("👍", Shows::FromNowOn),
        ("🖐️", Shows::FromNowOn),
    ];
    for (nth, (key, how)) in shown.iter().copied().enumerate() {
        let (on, stays) = (how != Shows::NoMore, how != Shows::ForAMoment);
        let reaction = json!({
            "roomId": room, "dialect": "famedly", "key": key, "on": on, "stays": stays,
        });
        caller.ask("groupReact", &reaction)?;
        let told = callee.nth_event("groupReaction", nth, PATIENCE)?;
        let shows = (&told["device"], &told["key"], told["on"] == true, told["stays"] == true);
        let expected = (&json!(caller.device_id), &json!(key), on, stays);
        assert_eq!(shows, expected, "{told}");
    }
    let member = scene.person_of(&callee)?;
    await_reactions(&member, &room, Reactions { left: 3, redacted: 1 })?;
    // What is still shown goes with who shows it, without a word.
    caller.ask("groupLeave", &wish)?;
    let is_gone = |it: &Value| it["ev"] == "groupLeft" && it["device"] == *caller.device_id;
    callee.event("the caller out of the call", PATIENCE, is_gone)?;
    assert_eq!(callee.events("groupReaction").len(), shown.len());
    callee.ask("groupLeave", &wish).map(drop)
}

/// How something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    FromNowOn,
    ForAMoment,
    NoMore,
}

/// What the homeserver has of the reactions in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reactions {
    /// As they were sent.
    pub(crate) left: usize,
    /// By their senders.
    pub(crate) redacted: usize,
}

/// Waits until it is so.
pub(crate) fn await_reactions(
    member: &Person<'_>,
    room: &str,
    expected: Reactions,
) -> Result<(), Failure> {
    let since = clock::moment();
    loop {
        let reactions = reactions_in(member, room)?;
        if reactions == expected {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            return Err(Failure(format!("{reactions:?} instead of {expected:?}")));
        }
    }
}

/// They go in the clear, also in encrypted rooms.
fn reactions_in(member: &Person<'_>, room: &str) -> Result<Reactions, Failure> {
    let events = member.room_events(room)?;
    let reactions = events.iter().filter(|event| event["type"] == REACTION);
    let (left, gone): (Vec<_>, Vec<_>) = reactions.partition(|it| it["content"]["call_id"] == "");
    for event in &gone {
        let by = &event["unsigned"]["redacted_because"];
        assert_eq!(by["sender"], event["sender"], "{event}");
    }
    Ok(Reactions { left: left.len(), redacted: gone.len() })
}
