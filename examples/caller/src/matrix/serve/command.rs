//! The commands of the peer protocol that are known here, by name. A new one is a variant: whatever
//! does not obey it yet does not compile.

use serde::Deserialize;
use serde_json::Value;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Command {
    /// Ends the process.
    Quit,
    /// Ends a peer.
    Close,
    /// Makes a client of a peer.
    Login,
    /// Needs a client.
    #[serde(untagged)]
    Client(ClientCommand),
}

/// What a client obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum ClientCommand {
    Account(AccountCommand),
    Call(CallCommand),
    Group(GroupCommand),
}

/// What concerns group calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum GroupCommand {
    #[serde(rename = "groupCreate")]
    Create,
    #[serde(rename = "groupEnter")]
    Enter,
    #[serde(rename = "groupState")]
    State,
    #[serde(rename = "groupLeave")]
    Leave,
    #[serde(rename = "groupReact")]
    React,
    #[serde(rename = "groupDecline")]
    Decline,
    #[serde(rename = "requestKeys")]
    RequestKeys,
}

/// What concerns account, rooms and the way to the homeserver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AccountCommand {
    CreateRoom,
    Invite,
    Join,
    Leave,
    Members,
    TurnServers,
    Send,
    SendState,
    Http,
    Offline,
    Impair,
    HoldToDevice,
    Logout,
    Stop,
}

/// What concerns calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CallCommand {
    Call,
    Answer,
    Reject,
    Hangup,
    Hold,
    MuteAudio,
    MuteVideo,
    Screenshare,
    Dtmf,
    Transfer,
    FollowTransfer,
    IceRestart,
    State,
    Stats,
    Explain,
    AudioLevel,
    Sdp,
    WaitFor,
}

impl Command {
    /// The command of that name; `None` when it is not known.
    pub(crate) fn named(name: &str) -> Option<Self> {
        serde_json::from_value(Value::from(name)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_names_of_the_protocol() {
        let account = |command| Command::Client(ClientCommand::Account(command));
        let call = |command| Command::Client(ClientCommand::Call(command));
        for (name, command) in [
            ("quit", Command::Quit),
            ("createRoom", account(AccountCommand::CreateRoom)),
            ("holdToDevice", account(AccountCommand::HoldToDevice)),
            ("impair", account(AccountCommand::Impair)),
            ("muteAudio", call(CallCommand::MuteAudio)),
            ("call", call(CallCommand::Call)),
            ("iceRestart", call(CallCommand::IceRestart)),
            ("followTransfer", call(CallCommand::FollowTransfer)),
            ("explain", call(CallCommand::Explain)),
            ("groupEnter", Command::Client(ClientCommand::Group(GroupCommand::Enter))),
            ("requestKeys", Command::Client(ClientCommand::Group(GroupCommand::RequestKeys))),
            ("groupDecline", Command::Client(ClientCommand::Group(GroupCommand::Decline))),
        ] {
            assert_eq!(Command::named(name), Some(command), "{name}");
        }
        for other in ["", "dance", "Quit", "client", "account", "create_room", "CreateRoom"] {
            assert_eq!(Command::named(other), None, "{other}");
        }
    }
}
