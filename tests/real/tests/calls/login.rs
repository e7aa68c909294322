//! `caller login`, `rooms`, `logout`: what a person types, and what is left behind.

use std::path::PathBuf;

use real::{Failure, Kind, PASSWORD, Person, Privacy, Said, Scene, Tool};
use serde_json::json;

use crate::stage::{Cast, Scenario};

/// Logins and their ends.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("login_by_password", Cast::Scene(by_password))
        .using(&[Tool::Caller])
        .without_engine(),
    Scenario::new("login_by_token", Cast::Scene(by_token)).using(&[Tool::Caller]).without_engine(),
    Scenario::new("login_by_recovery_key", Cast::Scene(by_recovery_key))
        .within(Privacy::Encrypted)
        .using(&[Tool::Caller])
        .without_engine(),
    Scenario::new("login_refused", Cast::Scene(refused_logins))
        .using(&[Tool::Caller])
        .without_engine(),
];

/// A command that cannot begin: one line on standard error with these words, exit code 2.
#[track_caller]
pub(crate) fn assert_refused(said: &Said, words: &[&str]) {
    assert_eq!((said.code, said.err.len()), (Some(2), 1), "{said:?}");
    assert!(said.out.is_empty(), "{said:?}");
    assert!(words.iter().all(|word| said.err[0].contains(word)), "no {words:?} in {said:?}");
}

/// It worked, with a line that has these words.
#[track_caller]
pub(crate) fn assert_said(said: &Said, words: &[&str]) {
    assert_eq!((said.code, said.err.len()), (Some(0), 0), "{said:?}");
    assert!(said.line(words).is_some(), "no {words:?} in {said:?}");
}

fn login<'a>(person: &'a Person<'_>, homeserver: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["login", &person.user_id, "--homeserver", homeserver], more].concat()
}

fn by_password(scene: &Scene) -> Result<(), Failure> {
    let (ada, homeserver) = (scene.person("ada")?, scene.homeserver().url());
    let login = login(&ada, &homeserver, &[]);
    assert_refused(&ada.run(&["rooms"], "")?, &["not logged in"]);
    let said = ada.run(&login, &format!("{PASSWORD}\n"))?;
    assert_said(&said, &["logged in as", &ada.user_id, "not cross-signed"]);
    let kept = ["session.json", "store"]
        .map(|name| PathBuf::from("matrix-voip-caller/default").join(name));
    assert_eq!(ada.kept(), kept);
    assert_eq!(ada.devices()?.len(), 2);
    assert_refused(&ada.run(&login, &format!("{PASSWORD}\n"))?, &["logged in as", "already"]);

    assert_said(&ada.run(&["rooms"], "")?, &["no rooms"]);
    let ben = scene.person("ben")?;
    let room = ada.make_room("Kitchen", &[&ben.user_id])?;
    ben.join(&room)?;
    let said = ada.run(&["rooms"], "")?;
    assert_said(&said, &[&room, "plain", "Kitchen", &ben.user_id]);
    out(&ada)
}

/// Afterwards nothing is left, here and there.
fn out(person: &Person<'_>) -> Result<(), Failure> {
    assert_said(&person.run(&["logout"], "")?, &["logged out", &person.user_id]);
    assert_eq!(person.kept(), Vec::<PathBuf>::new());
    assert_eq!(person.devices()?, [person.device_id.as_str()]);
    assert_refused(&person.run(&["logout"], "")?, &["not logged in"]);
    Ok(())
}

fn by_token(scene: &Scene) -> Result<(), Failure> {
    let (ada, homeserver) = (scene.person("ada")?, scene.homeserver().url());
    let (spare, login) = (scene.person_again(&ada)?, login(&ada, &homeserver, &["--token"]));
    let said = ada.run(&login, &format!("{}\n", spare.token))?;
    assert_said(&said, &["logged in as", &ada.user_id, &spare.device_id]);
    assert_said(&ada.run(&["rooms"], "")?, &["no rooms"]);
    out(&ada)
}

/// The account's keys were made by another client.
fn by_recovery_key(scene: &Scene) -> Result<(), Failure> {
    let browser = scene.client("ada", Kind::Browser)?;
    let key = browser.ask("recoveryKey", &json!({}))?;
    let key = key["recoveryKey"].as_str().unwrap_or_default();
    let (ada, homeserver) = (scene.person_of(&browser)?, scene.homeserver().url());
    let (login, before) = (login(&ada, &homeserver, &["--recovery-key"]), ada.devices()?);
    for wrong in ["EsT wrong", key.replace(char::is_whitespace, "").trim_start_matches('E')] {
        let said = ada.run(&login, &format!("{PASSWORD}\n{wrong}\n"))?;
        assert_refused(&said, &["the recovery key"]);
        assert_eq!((ada.kept(), ada.devices()?), (Vec::new(), before.clone()));
    }
    let said = ada.run(&login, &format!("{PASSWORD}\n{key}\n"))?;
    assert_said(&said, &[&ada.user_id, ", cross-signed"]);
    // Others see it so too: the homeserver has the owner's signature of the device.
    let device = ada.devices()?.into_iter().find(|device| !before.contains(device));
    let device = device.unwrap_or_default();
    let query = json!({"device_keys": {&ada.user_id: [device]}});
    let query = json!({"method": "POST", "path": "/keys/query", "body": query});
    let keys = browser.ask("http", &query)?;
    let signatures = &keys["device_keys"][&ada.user_id][device]["signatures"][&ada.user_id];
    assert_eq!(signatures.as_object().map(serde_json::Map::len), Some(2), "{keys}");
    Ok(())
}

fn refused_logins(scene: &Scene) -> Result<(), Failure> {
    let (ada, ben) = (scene.person("ada")?, scene.person("ben")?);
    let homeserver = scene.homeserver().url();
    let refused = |arguments: &[&str], typed: &str, words: &[&str]| {
        assert_refused(&ada.run(arguments, typed)?, words);
        assert_eq!(ada.kept(), Vec::<PathBuf>::new());
        Ok::<_, Failure>(())
    };
    let here = login(&ada, &homeserver, &[]);
    let by_token = login(&ada, &homeserver, &["--token"]);
    refused(&here, "not the password\n", &["password is wrong"])?;
    refused(&here, "", &["nothing was typed"])?;
    refused(&by_token, "not_a_token\n", &["token is not accepted"])?;
    refused(&by_token, &format!("{}\n", ben.token), &["token belongs to", &ben.user_id])?;
    refused(&["login", "ada"], &format!("{PASSWORD}\n"), &["\"ada\": "])?;
    // Nobody listens at port 9.
    let gone = login(&ada, "http://127.0.0.1:9", &[]);
    refused(&gone, &format!("{PASSWORD}\n"), &["homeserver"])?;
    assert_eq!(ada.devices()?, [ada.device_id.as_str()]);
    Ok(())
}
