//! What sync delivered of calls, as events: for the reader of a log.

use matrix_sdk::{
    Client,
    deserialized_responses::{TimelineEvent, TimelineEventKind},
};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::out::Events;

/// Tells of each call-related or encrypted event in a room, until the client is gone.
pub(crate) async fn log(client: Client, events: Events) {
    let mut updates = client.subscribe_to_all_room_updates();
    // Or the client would live as long as this.
    drop(client);
    loop {
        match updates.recv().await {
            Ok(updates) => {
                for (room, update) in updates.joined {
                    let told = |event| tell(&events, room.as_str(), event);
                    update.timeline.events.iter().for_each(told);
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn tell(events: &Events, room: &str, event: &TimelineEvent) {
    let json: Value = serde_json::from_str(event.raw().json().get()).unwrap_or_default();
    let kind = json["type"].as_str().unwrap_or_default();
    match &event.kind {
        TimelineEventKind::Decrypted(_) => {
            // The SDK keeps the decrypted form alone: what came is told by its frame.
            let frame = json!({
                "type": "m.room.encrypted", "event_id": json["event_id"], "sender": json["sender"],
                "origin_server_ts": json["origin_server_ts"], "unsigned": json["unsigned"],
            });
            came(events, room, frame);
            if is_call(kind) {
                events.tell("decrypted", json!({"roomId": room, "event": json}));
            }
        }
        TimelineEventKind::UnableToDecrypt { .. } => came(events, room, json),
        TimelineEventKind::PlainText { .. } if is_call(kind) => came(events, room, json),
        TimelineEventKind::PlainText { .. } => {}
    }
}

fn came(events: &Events, room: &str, event: Value) {
    events.tell("wireIn", json!({"where": "timeline", "roomId": room, "event": event}));
}

fn is_call(kind: &str) -> bool {
    kind.starts_with("m.call.") || kind.starts_with("org.matrix.call.")
}
