//! Encrypted events and their keys.

use crate::house::{self, Duo, invite};

/// `matrix-sdk.md` §2: the SDK says nothing when an event becomes readable later.
#[tokio::test]
async fn an_invite_whose_room_key_comes_late_rings_then() {
    let duo = Duo::new().await;
    let mut events = duo.voip.events();
    let (event, key) = duo.alice_sends(invite("c1")).await;
    duo.bob_syncs_event(event).await;
    duo.until(|counts| counts.waiting_for_key == 1).await;
    duo.bob_syncs_message(key).await;
    let call = house::ring(&mut events).await;
    assert_eq!(call.snapshot().call_id.as_str(), "c1");
    let counts = duo.matrix.counts();
    assert_eq!((counts.waiting_for_key, counts.late_keys), (0, 1));
}

#[tokio::test]
async fn an_invite_whose_room_key_was_there_rings_at_once() {
    let duo = Duo::new().await;
    let mut events = duo.voip.events();
    let (event, key) = duo.alice_sends(invite("c1")).await;
    duo.bob_syncs_message(key).await;
    duo.bob_syncs_event(event).await;
    house::ring(&mut events).await;
    assert_eq!(duo.matrix.counts().late_keys, 0);
}
