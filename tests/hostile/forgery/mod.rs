//! The table of forgeries: every event, wrong in each way that the machine checks.
//!
//! A row is a moment, an event that should have no effect there, the reason that it is ignored for,
//! and the [`Guard`] that says so. [`judge`] shows that with the guard the event changes nothing,
//! and that with that guard switched off it does: a row whose guard is not needed fails. Where two
//! guards stand behind each other a row names both, and each of them alone is shown to suffice.
//!
//! | file | rows |
//! | --- | --- |
//! | `envelope.rs` | every event: who sends it, from where, how it was protected, of which call |
//! | `moments.rs` | events at the wrong time, in the wrong direction, beyond a bound, broken |
//! | `outcomes.rs` | forgeries whose effect would show only later |
//! | `door.rs` | what the parser turns away: wrong types, oversized fields |
//! | `rtc.rs` | reactions, announcements and declines of group calls |
//! | `state.rs` | memberships of group calls: whose key, who wrote it |
//! | `legs.rs` | messages to this device about a group call |
//! | `keys.rs` | media keys of calls through an SFU, and requests for them |
//! | `adapter.rs` | what only a Matrix client can see: forged Megolm senders, state keys |

mod adapter;
mod door;
mod envelope;
mod keys;
mod legs;
mod moments;
mod outcomes;
mod rtc;
mod said;
mod state;

use std::collections::BTreeSet;

use matrix_voip::{
    machine::{guard::Guard, io::Ignored, io::Verdict},
    wire::{
        call::{Body, CallMessage},
        delivery::{Content, Delivery, Parsed, Place},
    },
};

use self::said::{Honest, Moment};
use crate::rig::{Rig, room};

/// A moment, and an event that arrives in it.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) place: Place,
    pub(crate) event: Parsed,
}

/// See the module.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) scene: Scene,
    pub(crate) reason: Ignored,
    pub(crate) guards: Vec<Guard>,
}

impl Scene {
    /// An event in its moment, in the clear in room `r`.
    pub(crate) fn new(mut rig: Rig, said: crate::rig::Said<'_>) -> Self {
        let mut event = rig.event(said);
        // Ids are remembered for a while whatever becomes of the event; that is no effect of it.
        event.facts.event_id = None;
        Self { rig, place: Place::Room { room: room("r"), encrypted: false }, event }
    }

    /// What the event says, to be forged.
    pub(crate) fn message(&mut self) -> &mut CallMessage {
        message(&mut self.event)
    }

    pub(crate) fn deliver(&mut self) -> Verdict {
        let delivery = Delivery { place: self.place.clone(), events: vec![self.event.clone()] };
        match self.rig.input(matrix_voip::machine::io::Input::Deliver(delivery)) {
            Verdict::Batch(mut verdicts) => verdicts.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// What applications and hosts see: requests, news.
    fn seen(&self) -> (usize, usize) {
        (self.rig.ops.len(), self.rig.told.len())
    }

    fn without(mut self, guards: &[Guard]) -> Self {
        for guard in guards {
            self.rig.engine = self.rig.engine.without(*guard);
        }
        self
    }
}

/// What an event says of a call, to be forged.
pub(crate) fn message(event: &mut Parsed) -> &mut CallMessage {
    match event.event.as_mut() {
        Ok(Content::Call(message)) => message,
        other => panic!("{other:?} is no call message"),
    }
}

/// What goes with a note: events that wait, and invites that are nothing to us, so that what
/// follows them need not wait. The note is bounded and touches no call.
fn leaves_a_note(scene: &Scene, reason: Ignored) -> bool {
    let is_invite =
        scene.event.call().is_some_and(|message| matches!(message.body, Body::Invite(_)));
    let of_invites = [Ignored::NotForUs, Ignored::Expired];
    reason == Ignored::Parked || (is_invite && of_invites.contains(&reason))
}

/// Whether the event of a scene has an effect, and its verdict.
fn has_effect(mut scene: Scene, noted: bool) -> (Verdict, bool) {
    let before = (scene.rig.engine.fingerprint(), scene.seen());
    let verdict = scene.deliver();
    let after = (scene.rig.engine.fingerprint(), scene.seen());
    let changed = before.1 != after.1 || (!noted && before.0 != after.0);
    (verdict, changed)
}

/// See the module.
fn judge(row: &Row) -> Result<(), String> {
    let Row { what, scene, reason, guards } = row;
    let noted = leaves_a_note(scene, *reason);
    let (verdict, changed) = has_effect(scene.clone(), noted);
    if verdict != Verdict::Ignored(*reason) {
        return Err(format!("{what}: {verdict:?} instead of {reason:?}"));
    }
    if changed {
        return Err(format!("{what}: it was ignored, and changed something"));
    }
    let (verdict, changed) = has_effect(scene.clone().without(guards), noted);
    if !changed && !guards.is_empty() {
        return Err(format!("{what}: {guards:?} off, and nothing happens: {verdict:?}"));
    }
    for guard in guards.iter().filter(|_| guards.len() > 1) {
        let (verdict, changed) = has_effect(scene.clone().without(&[*guard]), noted);
        if changed {
            return Err(format!("{what}: without {guard:?} the others do not hold: {verdict:?}"));
        }
    }
    Ok(())
}

fn rows() -> Vec<Row> {
    let mut rows = envelope::rows();
    rows.extend(moments::rows());
    rows.extend(legs::rows());
    rows.extend(keys::rows());
    rows
}

#[test]
fn every_forgery_is_ignored_and_would_not_be_without_its_guard() {
    let rows = rows();
    let wrong: Vec<_> = rows.iter().filter_map(|row| judge(row).err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let guards: BTreeSet<_> = rows.iter().flat_map(|row| &row.guards).collect();
    println!("{} forgeries, {} guards", rows.len(), guards.len());
}

#[test]
fn an_honest_event_has_an_effect_where_its_forgeries_have_none() {
    for honest in Honest::ALL {
        let scene = honest.scene(Moment::default());
        let (verdict, changed) = has_effect(scene, false);
        assert!(!matches!(verdict, Verdict::Ignored(_)), "{honest:?}: {verdict:?}");
        assert!(changed, "{honest:?}");
    }
}

/// The names of an enum's variants, in order, from where a line holds `from`.
fn variants(source: &str, from: &str) -> Vec<String> {
    let lines = source.lines().skip_while(|line| !line.contains(from)).skip(1);
    let body = lines.take_while(|line| *line != "}");
    let names = body.filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','));
    names.filter(|name| name.chars().all(char::is_alphanumeric)).map(str::to_owned).collect()
}

#[test]
fn every_guard_on_events_has_a_row() {
    let all = variants(include_str!("../../../src/machine/guard.rs"), "Checks of what others say");
    assert!(all.len() > 40, "the marker in guard.rs is gone: {all:?}");
    let rows = rows();
    let verdicts = rows.iter().flat_map(|row| row.guards.iter().copied());
    let shown: BTreeSet<_> = verdicts
        .chain(outcomes::guards())
        .chain(state::GUARDS)
        .chain(rtc::GUARDS)
        .map(|guard| format!("{guard:?}"))
        .collect();
    let bare: Vec<_> = all.iter().filter(|guard| !shown.contains(*guard)).collect();
    assert!(bare.is_empty(), "no forgery shows what these are for: {bare:?}");
}

#[test]
fn every_reason_to_ignore_an_event_has_a_row() {
    let all = variants(include_str!("../../../src/machine/verdict.rs"), "pub enum Ignored");
    assert!(all.len() > 20, "{all:?}");
    // Inputs that are no events; what the door turns away; what goes with news (`outcomes.rs`).
    let others = [
        "StaleReply",
        "UnknownPeer",
        "UnknownSfu",
        "NotEncrypted",
        "NoChange",
        "Busy",
        "LostGlare",
    ];
    let rows = rows();
    let of_state = state::REASONS.into_iter().chain(rtc::REASONS);
    let shown = rows.iter().map(|row| row.reason).chain(of_state);
    let shown: BTreeSet<_> = shown.map(|reason| format!("{reason:?}")).collect();
    let bare: Vec<_> = all
        .iter()
        .filter(|reason| !shown.contains(*reason) && !others.contains(&reason.as_str()))
        .collect();
    assert!(bare.is_empty(), "no forgery is ignored for these: {bare:?}");
}
