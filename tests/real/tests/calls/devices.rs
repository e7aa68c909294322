//! What a callee with more than one device, or with another call, does.

use real::{End, Failure, Media, Pair, Privacy, Scene};

use crate::{
    basics::{connect, hang_up, hung_up_by_them},
    stage::{Cast, Scenario},
};

/// Several devices, several calls.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("answered_elsewhere", Cast::Pair(answered_elsewhere)),
    Scenario::new("rejected_elsewhere", Cast::Pair(rejected_elsewhere)),
    // A browser has no busy policy: it rings.
    Scenario::new("busy", Cast::Pair(busy)).only(|_, callee| callee.is_ours()),
];

fn answered_elsewhere(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let second = scene.another_device(&pair.callee, "bob2", pair.callee.kind)?;
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.callee.rings(&call)?;
    second.rings(&call)?;
    second.act("answer", &call)?;
    assert_eq!(pair.callee.ends(&call)?, End::of("remote", "answered_elsewhere"));
    let connected = pair.caller.reaches(&call, "connected")?;
    let answerer = second.reaches(&call, "connected")?;
    assert_eq!(connected["opponentPartyId"], answerer["ourPartyId"]);
    hang_up(&call, &pair.caller, &second)
}

fn rejected_elsewhere(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    let second = scene.another_device(&pair.callee, "bob2", pair.callee.kind)?;
    let call = pair.caller.call(&pair.room, Media::Voice)?;
    pair.callee.rings(&call)?;
    second.rings(&call)?;
    second.act("reject", &call)?;
    assert_eq!(pair.caller.ends(&call)?, hung_up_by_them());
    assert_eq!(pair.callee.ends(&call)?, hung_up_by_them());
    Ok(())
}

/// Who is in a call refuses another, and goes on with the one that he has.
fn busy(scene: &Scene, pair: Pair) -> Result<(), Failure> {
    assert_eq!(scene.privacy(), Privacy::Plain);
    let call = connect(&pair, Media::Voice)?;
    let carol = scene.client("carol", pair.caller.kind)?;
    let room = scene.room(&carol, &pair.callee)?;
    let second = carol.call(&room, Media::Voice)?;
    assert_eq!(carol.ends(&second)?.party, "remote");
    pair.callee.reaches(&call, "connected")?;
    hang_up(&call, &pair.caller, &pair.callee)
}
