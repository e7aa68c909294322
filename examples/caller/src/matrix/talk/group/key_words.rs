//! Lines about an SFU, its tokens and media keys, by their fingerprints. Pure; no secret is in them.

use matrix_voip::{
    Backend, GroupEvent, GroupSnapshot, KeyEvent, KeyName, ParticipantId, SfuLoss, SfuStatus,
    SfuTask, SfuToken, TokenFault, Undelivered,
};

use super::words::name;
use crate::matrix::plain::plain;

/// The library says that it can be switched on; here this is how.
const IN_THE_CLEAR: &str = "no token: the token service is at a plain http address, where others \
     could read the token; for a test network --plain-http takes it nevertheless";

/// What is told of an event that has come; `None`: it is about something else.
pub(super) fn on_event(event: &GroupEvent) -> Option<String> {
    match event {
        GroupEvent::BackendChanged(backend) => place(backend),
        GroupEvent::SfuChanged(status) => on_status(status),
        GroupEvent::SfuTask(SfuTask::Connect(token)) => Some(on_token("a token", token)),
        GroupEvent::SfuTask(SfuTask::Renew(token)) => Some(on_token("a fresh token", token)),
        GroupEvent::SfuTask(SfuTask::Disconnect) => Some("the SFU is to be left".to_owned()),
        GroupEvent::Key(event) => on_key(event),
        _ => None,
    }
}

/// At which SFU a call is, if that is known.
pub(super) fn place(backend: &Backend) -> Option<String> {
    match backend {
        Backend::Livekit { service_url, .. } if backend.has_focus() => {
            Some(format!("the call is at the SFU of {}", plain(service_url)))
        }
        _ => None,
    }
}

fn on_status(status: &SfuStatus) -> Option<String> {
    Some(match status {
        SfuStatus::FindingFocus => "asking the homeserver for an SFU".to_owned(),
        SfuStatus::FetchingToken => "fetching a token".to_owned(),
        SfuStatus::NoToken(TokenFault::InTheClear) => IN_THE_CLEAR.to_owned(),
        SfuStatus::NoToken(why) => format!("no token: {why}"),
        SfuStatus::Lost(SfuLoss::TokenRefused) => "the SFU did not take the token".to_owned(),
        // Who connects is not this program.
        _ => return None,
    })
}

fn on_token(what: &str, token: &SfuToken) -> String {
    let url = plain(&token.url);
    match token.lifetime {
        Some(lifetime) => format!("{what} for {url}, good for {} s", lifetime.as_secs()),
        None => format!("{what} for {url}, good for nobody says how long"),
    }
}

fn on_key(event: &KeyEvent) -> Option<String> {
    Some(match event {
        KeyEvent::Used(key) => format!("our {} is in use", of(key)),
        KeyEvent::Received { participant, key } => {
            format!("{} received from {}", of(key), device(participant))
        }
        KeyEvent::Delivered { participant, key } => {
            format!("our {} sent to {}", of(key), device(participant))
        }
        KeyEvent::Missing(who) => format!("{} was asked, and gives no key", device(who)),
        KeyEvent::Refused(who) => format!("a key of {} could not be kept", device(who)),
        KeyEvent::Undelivered { participant, why } => {
            format!("{} does not get our key: {}", device(participant), undelivered(*why))
        }
        _ => return None,
    })
}

/// What there is of somebody's key, in a word.
pub(super) fn key_of(call: &GroupSnapshot, who: &ParticipantId) -> String {
    let known = call.keys.theirs.get(who).map(of);
    let missing = call.keys.missing.contains(who);
    let theirs =
        known.unwrap_or_else(|| if missing { "gives no key" } else { "no key yet" }.into());
    match call.keys.undelivered.get(who) {
        Some(why) => format!("{theirs}, has not ours: {}", undelivered(*why)),
        None => theirs,
    }
}

/// Our key in use.
pub(super) fn own_key(call: &GroupSnapshot) -> String {
    call.keys.own.as_ref().map_or_else(|| "no key in use".to_owned(), of)
}

fn of(key: &KeyName) -> String {
    format!("key {} ({})", key.index, key.fingerprint)
}

const fn undelivered(why: Undelivered) -> &'static str {
    match why {
        Undelivered::NoDeviceKeys => "there are no keys to encrypt for his device",
        Undelivered::GivenUp => "it could not be sent",
        _ => "unknown",
    }
}

/// A user has several devices, each with keys of its own.
fn device(who: &ParticipantId) -> String {
    format!("{} ({})", name(who), plain(who.device.as_str()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use matrix_voip::redact::Secret;

    use super::{super::testkit::*, *};

    fn key() -> KeyName {
        KeyName { index: 3, fingerprint: "1f0c22aa".to_owned() }
    }

    fn told(event: KeyEvent) -> String {
        on_event(&GroupEvent::Key(event)).unwrap()
    }

    #[test]
    fn a_token_is_told_of_by_its_address_and_lifetime_alone() {
        let token = SfuToken {
            url: "wss://sfu\x1b".to_owned(),
            jwt: Secret::new("e.y.J"),
            lifetime: Some(Duration::from_secs(3600)),
            identity: Some("@ada:x:D".to_owned()),
        };
        let told = on_event(&GroupEvent::SfuTask(SfuTask::Connect(token))).unwrap();
        assert_eq!(told, "a token for wss://sfu\u{fffd}, good for 3600 s");
        let none = GroupEvent::SfuChanged(SfuStatus::NoToken(TokenFault::NoSource));
        assert!(on_event(&none).unwrap().starts_with("no token: there is no token source"));
        let clear = GroupEvent::SfuChanged(SfuStatus::NoToken(TokenFault::InTheClear));
        assert!(on_event(&clear).unwrap().contains("--plain-http"));
    }

    #[test]
    fn an_sfu_is_told_of_as_soon_as_it_is_known_which() {
        assert_eq!((place(&Backend::Mesh), place(&Backend::sfu())), (None, None));
        let told = on_event(&GroupEvent::BackendChanged(Backend::livekit("https://a/jwt", "!r:x")));
        assert_eq!(told.unwrap(), "the call is at the SFU of https://a/jwt");
    }

    #[test]
    fn keys_are_told_of_by_whose_they_are_and_their_fingerprints() {
        let participant = ben();
        assert_eq!(told(KeyEvent::Used(key())), "our key 3 (1f0c22aa) is in use");
        let received = KeyEvent::Received { participant: participant.clone(), key: key() };
        assert_eq!(told(received), "key 3 (1f0c22aa) received from @ben:x (D)");
        let sent = KeyEvent::Delivered { participant: participant.clone(), key: key() };
        assert_eq!(told(sent), "our key 3 (1f0c22aa) sent to @ben:x (D)");
        assert_eq!(told(KeyEvent::Missing(ben())), "@ben:x (D) was asked, and gives no key");
        let why = Undelivered::NoDeviceKeys;
        let undelivered = told(KeyEvent::Undelivered { participant, why });
        let end = "does not get our key: there are no keys to encrypt for his device";
        assert_eq!(undelivered, format!("@ben:x (D) {end}"));
    }

    #[tokio::test]
    async fn what_there_is_of_keys_is_shown_for_each() {
        let mut call = call_with_ben().await;
        assert_eq!(
            (own_key(&call), key_of(&call, &ben())),
            ("no key in use".into(), "no key yet".into())
        );
        call.apply(&GroupEvent::Key(KeyEvent::Missing(ben())));
        assert_eq!(key_of(&call, &ben()), "gives no key");
        let received = KeyEvent::Received { participant: ben(), key: key() };
        call.apply(&GroupEvent::Key(received));
        let why = Undelivered::GivenUp;
        call.apply(&GroupEvent::Key(KeyEvent::Undelivered { participant: ben(), why }));
        let words = "key 3 (1f0c22aa), has not ours: it could not be sent";
        assert_eq!(key_of(&call, &ben()), words);
    }
}
