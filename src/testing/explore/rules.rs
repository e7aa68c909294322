//! What must hold in every quiet state of a small world.
//!
//! Quiet: nothing is under way. Then nobody is between two states, both sides of a call agree on
//! it, at most one call is connected between two users, and whoever wanted to talk and did not
//! give up can still do so.

use super::{seat::Seat, state::State};
use crate::machine::event::{CallDirection, CallSnapshot, CallState};

type Rule = Result<(), String>;

/// Looks at a state.
pub(super) fn check(state: &State) -> Rule {
    if !state.is_quiet() {
        return Ok(());
    }
    for seat in &state.seats {
        one_connected(seat)?;
        selected(seat)?;
        nothing_left(seat)?;
    }
    // Who hears of a call when its lifetime is over goes his own way, until his own waits end.
    if state.past.delayed {
        return Ok(());
    }
    state.seats.iter().try_for_each(|seat| settled(seat))?;
    for seat in &state.seats {
        for call in seat.calls() {
            if call.direction == CallDirection::Outgoing {
                agreed(state, seat, call)?;
            } else {
                known(state, seat, call)?;
            }
        }
    }
    still_talking(state)
}

/// Nobody is between two states for ever.
fn settled(seat: &Seat) -> Rule {
    let settled = |state| {
        matches!(
            state,
            CallState::Ringing | CallState::InviteSent | CallState::Connected | CallState::Ended
        )
    };
    let stuck = seat.calls().find(|call| !settled(call.state));
    stuck.map_or(Ok(()), |call| Err(format!("{} stays {}", seat.name(), call.state)))
}

/// Two users have one call with each other, even where another could be held.
fn one_connected(seat: &Seat) -> Rule {
    let count = seat.connected().count();
    if count > 1 { Err(format!("{} talks in {count} calls", seat.name())) } else { Ok(()) }
}

/// Whose answer we took was told so, and with him all others.
fn selected(seat: &Seat) -> Rule {
    let forgotten = seat.connected().find(|call| {
        let ours = call.direction == CallDirection::Outgoing;
        ours && call.remote_party.is_some() && !seat.selected.contains(&call.call_id)
    });
    forgotten.map_or(Ok(()), |_| Err(format!("{} told nobody whom it selected", seat.name())))
}

/// A seat without a live call waits for nothing.
fn nothing_left(seat: &Seat) -> Rule {
    let lives = seat.calls().any(|call| call.state != CallState::Ended);
    if !lives && !seat.ends.is_empty() {
        return Err(format!("{} keeps a connection open", seat.name()));
    }
    Ok(())
}

/// Those who were called stand to the call as the caller does.
fn agreed(state: &State, caller: &Seat, ours: &CallSnapshot) -> Rule {
    let callees = state.seats.iter().filter(|seat| Some(seat.user()) == ours.remote_user.as_ref());
    let mut connected = 0;
    for callee in callees {
        let theirs = callee.call(&ours.call_id).map(|call| call.state);
        connected += usize::from(theirs == Some(CallState::Connected));
        let fits = match (ours.state, theirs) {
            (CallState::InviteSent, Some(CallState::Ringing)) => true,
            // It never rang there: that is how busy is said by default.
            (CallState::InviteSent, None) => callee.busy.contains(&ours.call_id),
            (CallState::Connected, theirs) => theirs != Some(CallState::Ringing),
            (CallState::Ended, theirs) => theirs.is_none_or(|state| state == CallState::Ended),
            _ => false,
        };
        if !fits {
            let theirs = theirs.map_or("unknown".to_owned(), |state| state.to_string());
            let (ours, caller, callee) = (ours.state, caller.name(), callee.name());
            return Err(format!("a call is {ours} at {caller} and {theirs} at {callee}"));
        }
    }
    let expected = usize::from(ours.state == CallState::Connected);
    if connected != expected {
        return Err(format!("a call is connected at {connected} callees, not {expected}"));
    }
    Ok(())
}

/// Nobody is called by a call that its caller does not know.
fn known(state: &State, callee: &Seat, call: &CallSnapshot) -> Rule {
    let mut others = state.seats.iter().filter(|seat| seat.user() != callee.user());
    let known = others.any(|seat| seat.call(&call.call_id).is_some());
    if known { Ok(()) } else { Err("a call rings that nobody placed".to_owned()) }
}

/// As long as nobody gave up and no lifetime passed, whoever called can still be talked to.
fn still_talking(state: &State) -> Rule {
    let gave_up = state.past.user_ended || state.past.time_passed;
    let placed = state.seats.iter().any(|seat| seat.invited);
    let lives = |seat: &Seat| seat.calls().any(|call| call.state != CallState::Ended);
    if placed && !gave_up && !state.seats.iter().any(|seat| lives(seat)) {
        return Err("nobody gave up, and no call is left".to_owned());
    }
    Ok(())
}
