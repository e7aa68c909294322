//! A way to the homeserver that changes the certificate's fingerprint in what is sent: what a
//! homeserver could do that wants to listen in.

use std::collections::BTreeSet;

use async_trait::async_trait;
use matrix_voip::{
    host::{Redact, SendEvent, SendState, SendToDevice, Signaling},
    id::{EventId, RoomId, UserId},
    machine::io::{Fault, ParticipantId, TurnServers},
    testing::EmbeddedAccount,
    wire::state::StateBatch,
};

/// What stands before the first two digits of a fingerprint.
const MARK: &str = "a=fingerprint:sha-256 ";

/// Forges.
#[derive(Debug)]
pub(crate) struct Forger(pub(crate) EmbeddedAccount);

#[async_trait]
impl Signaling for Forger {
    async fn send_event(&self, mut event: SendEvent) -> Result<EventId, Fault> {
        event.content = forged(&event.content);
        self.0.send_event(event).await
    }

    async fn turn_servers(&self) -> Result<TurnServers, Fault> {
        self.0.turn_servers().await
    }

    async fn members(&self, room: RoomId) -> Result<BTreeSet<UserId>, Fault> {
        self.0.members(room).await
    }

    async fn send_clear(&self, event: SendEvent) -> Result<EventId, Fault> {
        self.0.send_clear(event).await
    }

    async fn redact(&self, redaction: Redact) -> Result<EventId, Fault> {
        self.0.redact(redaction).await
    }

    async fn send_state(&self, event: SendState) -> Result<EventId, Fault> {
        self.0.send_state(event).await
    }

    async fn send_to_device(
        &self,
        mut message: SendToDevice,
    ) -> Result<BTreeSet<ParticipantId>, Fault> {
        message.content = forged(message.content.expose()).into();
        self.0.send_to_device(message).await
    }

    async fn room_state(&self, room: RoomId) -> Result<StateBatch, Fault> {
        self.0.room_state(room).await
    }
}

/// The same text with other first digits in every fingerprint.
fn forged(content: &str) -> String {
    let mut parts = content.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = if part.starts_with("00") { "01" } else { "00" };
        text.push_str(MARK);
        text.push_str(digits);
        text.push_str(part.get(2..).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fingerprint_is_another() {
        let honest = r#"{"sdp":"v=0\r\na=fingerprint:sha-256 AB:CD\r\na=setup:actpass\r\n"}"#;
        assert_eq!(forged(honest), honest.replace("AB", "00"));
        assert_eq!(forged("{}"), "{}");
    }
}
