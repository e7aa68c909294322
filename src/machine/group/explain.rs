//! What a group call waits for and why, in facts and in sentences.
//!
//! The chain from us to each participant: our membership, the token, the connection to the SFU, his
//! tracks, his key and ours. [`GroupExplanation`] holds what is known; its `Display` says it, without a
//! name:
//!
//! ```text
//! In the call. Connected to the SFU. Our media key 3 (1f0c22aa) is in use. Of 2 others: 1 connected; 1
//! connected, sends nothing, his media key has not come yet.
//! ```

use std::fmt;

use super::{
    event::{Connection, GroupRefusal, GroupSnapshot, GroupState, SfuStatus},
    key_event::{KeyName, Undelivered},
    roster::ParticipantId,
};
use crate::{
    machine::{event::Stream, hearing::Hearing, sfu::SfuLoss},
    wire::member::Backend,
};

/// What a group call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupExplanation {
    /// Whether we are in it.
    pub state: GroupState,
    /// Why we are not.
    pub refused: Option<GroupRefusal>,
    /// How its participants meet.
    pub backend: Backend,
    /// The token and the connection to the SFU.
    pub sfu: SfuStatus,
    /// Our media key in use.
    pub own_key: Option<KeyName>,
    /// Each of the others.
    pub others: Vec<OtherExplained>,
}

/// One of the others in a group call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherExplained {
    /// Who.
    pub id: ParticipantId,
    /// Whether he meets as we do; if not, nothing else is known of him.
    pub reachable: bool,
    /// Whether media of his reaches us.
    pub connection: Connection,
    /// What he shows.
    pub streams: Vec<Stream>,
    /// His media key that came last.
    pub key: Option<KeyName>,
    /// Whether it was asked for in vain, or the provider did not take it.
    pub key_missing: bool,
    /// Why he does not have ours.
    pub undelivered: Option<Undelivered>,
    /// Whether he is heard, or why not. `None`: he is not connected, sends nothing, or nothing could be
    /// measured. A snapshot knows only what his streams say; the rest is measured in a mesh
    /// ([`GroupCallSession::explain`](crate::GroupCallSession::explain)).
    pub hearing: Option<Hearing>,
}

impl GroupSnapshot {
    /// What the call waits for.
    pub fn explain(&self) -> GroupExplanation {
        let others = self.participants.iter().filter(|one| one.id != self.ours);
        let others = others.map(|one| OtherExplained {
            id: one.id.clone(),
            reachable: self.reaches(one),
            connection: self.connections.get(&one.id).copied().unwrap_or(Connection::Waiting),
            streams: self.streams.get(&one.id).cloned().unwrap_or_default(),
            key: self.keys.theirs.get(&one.id).cloned(),
            key_missing: self.keys.missing.contains(&one.id),
            undelivered: self.keys.undelivered.get(&one.id).copied(),
            hearing: self.hearing(&one.id),
        });
        GroupExplanation {
            state: self.state,
            refused: self.refused,
            backend: self.backend.clone(),
            sfu: self.sfu.clone(),
            own_key: self.keys.own.clone(),
            others: others.collect(),
        }
    }
}

impl GroupSnapshot {
    /// What a member's streams say of whether he is heard.
    fn hearing(&self, member: &ParticipantId) -> Option<Hearing> {
        let streams = self.streams.get(member).filter(|streams| !streams.is_empty())?;
        let connected = self.connections.get(member) == Some(&Connection::Connected);
        connected.then(|| Hearing::of_streams(streams)).flatten()
    }
}

impl OtherExplained {
    /// Whether only a measurement tells if he is heard.
    pub(crate) fn wants_hearing(&self) -> bool {
        self.connection == Connection::Connected
            && !self.streams.is_empty()
            && self.hearing.is_none()
    }
}

impl fmt::Display for GroupExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing = match (self.state, self.refused) {
            (GroupState::Idle, Some(GroupRefusal::Forbidden)) => {
                "Not in the call: the homeserver does not let us write our membership."
            }
            (GroupState::Idle, Some(GroupRefusal::NoFocus)) => {
                "Not in the call: nobody names an SFU."
            }
            (GroupState::Idle, Some(GroupRefusal::NoTransports)) => {
                "Not in the call: nobody in it names an SFU, and the homeserver could not be asked for one."
            }
            (GroupState::Idle, Some(_)) => "Not in the call: our membership could not be written.",
            (GroupState::Idle, None) => "Not in the call.",
            (GroupState::Entering, _) => "Our membership is on its way.",
            (GroupState::Entered, _) => "In the call.",
            (GroupState::Leaving, _) => "Our membership is being taken back.",
            (GroupState::Ended, _) => "The call is over.",
        };
        f.write_str(standing)?;
        if !matches!(self.state, GroupState::Entering | GroupState::Entered) {
            return Ok(());
        }
        if self.backend.is_sfu() {
            self.write_sfu(f)?;
        }
        match &self.own_key {
            Some(KeyName { index, fingerprint }) => {
                write!(f, " Our media key {index} ({fingerprint}) is in use.")?;
            }
            None if self.backend.is_sfu() => f.write_str(" No media key of ours is in use.")?,
            None => {}
        }
        self.write_others(f)
    }
}

impl GroupExplanation {
    fn write_sfu(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match &self.sfu {
            SfuStatus::Off => "Nothing is known of the SFU",
            SfuStatus::FindingFocus => "The homeserver is asked for an SFU",
            SfuStatus::FetchingToken => "A token for the SFU is being fetched",
            SfuStatus::NoToken(fault) => return write!(f, " No token for the SFU: {fault}."),
            SfuStatus::HandedOver => {
                "The application has a token for the SFU and connects by itself"
            }
            SfuStatus::Connecting => "The connection to the SFU is being made",
            SfuStatus::Connected => "Connected to the SFU",
            SfuStatus::Reconnecting => "The path to the SFU is lost, and looked for again",
            SfuStatus::Lost(SfuLoss::Unreachable) => {
                "The SFU was not reached, or the path to it is lost"
            }
            SfuStatus::Lost(SfuLoss::TokenRefused) => "The SFU did not take the token",
            SfuStatus::Lost(SfuLoss::Replaced) => "Somebody is at the SFU under our identity",
            SfuStatus::Lost(SfuLoss::Removed) => "We were removed at the SFU",
        };
        write!(f, " {said}.")
    }

    fn write_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.others.is_empty() {
            return f.write_str(" Nobody else is in it.");
        }
        let mut kinds: Vec<(String, usize)> = Vec::new();
        for other in &self.others {
            let kind = other.standing(self.own_key.is_some() || self.backend.is_sfu(), &self.sfu);
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        write!(f, " Of {} others:", self.others.len())?;
        for (at, (kind, count)) in kinds.iter().enumerate() {
            let comma = if at == 0 { "" } else { ";" };
            write!(f, "{comma} {count} {kind}")?;
        }
        f.write_str(".")
    }
}

impl OtherExplained {
    /// What is between us and him, in words.
    fn standing(&self, keys: bool, sfu: &SfuStatus) -> String {
        if !self.reachable {
            return "out of reach (meets otherwise)".to_owned();
        }
        let mut said = vec![
            match self.connection {
                // The application connects by itself, and tells nothing of it.
                Connection::Waiting if *sfu == SfuStatus::HandedOver => "in the call",
                Connection::Waiting => "not connected",
                Connection::Connecting => "connecting",
                Connection::Connected if self.streams.is_empty() => "connected, sends nothing",
                Connection::Connected => "connected",
            }
            .to_owned(),
        ];
        match self.hearing {
            None | Some(Hearing::Heard | Hearing::Arriving) => {}
            Some(hearing) => said.push(hearing.to_string()),
        }
        if keys && self.key_missing {
            said.push("his media key is missing (asked, none came, or not taken)".to_owned());
        } else if keys && self.key.is_none() {
            said.push("his media key has not come yet".to_owned());
        }
        said.extend(self.undelivered.map(|why| {
            let why = match why {
                Undelivered::NoDeviceKeys => "ours waits for keys of his device",
                Undelivered::GivenUp => "ours could not be sent to him",
            };
            why.to_owned()
        }));
        said.join(", ")
    }
}
