//! Who may write memberships: `m.room.power_levels` and, from room version 12 on, the creators that
//! `m.room.create` names (specification, "Authorization rules").

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    delivery::Malformed,
    json::{object, text},
    member::Dialect,
    read::content_object,
};
use crate::{id::UserId, redact::Redacted};

/// The state event that says who may do what.
pub const POWER_LEVELS_TYPE: &str = "m.room.power_levels";
/// The state event that says of which version a room is, and who made it.
pub const CREATE_TYPE: &str = "m.room.create";

/// What it takes to write a state event where the levels say nothing of it.
const STATE_DEFAULT: i64 = 50;

/// What of a room's power levels concerns calls. Its content prints as a length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PowerLevels {
    pub(crate) users: BTreeMap<UserId, i64>,
    pub(crate) users_default: i64,
    /// What it takes to write memberships, in the words of each generation of clients.
    pub(crate) needed: BTreeMap<Dialect, i64>,
    pub(crate) content: Redacted,
}

impl PowerLevels {
    /// Reads the content of `m.room.power_levels`. Levels may be texts, as in old rooms.
    ///
    /// # Errors
    /// [`Malformed`] when it is no JSON object, or too large.
    pub fn read(content: &str) -> Result<Self, Malformed> {
        let text = content;
        let content = content_object(text)?;
        let of_users = object(&content, "users").into_iter().flatten();
        let users = of_users.filter_map(|(user, it)| Some((UserId::parse(user).ok()?, level(it)?)));
        let default = content.get("state_default").and_then(level).unwrap_or(STATE_DEFAULT);
        let events = object(&content, "events");
        let needed = |dialect: Dialect| {
            let named = events.and_then(|events| events.get(dialect.member_type()));
            (dialect, named.and_then(level).unwrap_or(default))
        };
        Ok(Self {
            users: users.collect(),
            users_default: content.get("users_default").and_then(level).unwrap_or(0),
            needed: Dialect::ALL.into_iter().map(needed).collect(),
            content: Redacted::from(text),
        })
    }

    /// Whether this user may write memberships of this kind.
    pub fn may_write_memberships(&self, user: &UserId, dialect: Dialect) -> bool {
        *self.users.get(user).unwrap_or(&self.users_default) >= self.needed(dialect)
    }

    /// Whether everybody may.
    pub fn everybody_may_write_memberships(&self, dialect: Dialect) -> bool {
        self.users_default >= self.needed(dialect)
    }

    fn needed(&self, dialect: Dialect) -> i64 {
        self.needed.get(&dialect).copied().unwrap_or(STATE_DEFAULT)
    }

    /// The content with which everybody may: the level of these memberships is what everybody has, all
    /// else is as it was.
    pub fn allowing_everyone(&self, dialect: Dialect) -> String {
        let mut content = content_object(self.content.expose()).unwrap_or_default();
        let events = content.entry("events").or_insert_with(|| Value::Object(Map::new()));
        if !events.is_object() {
            *events = Value::Object(Map::new());
        }
        if let Some(events) = events.as_object_mut() {
            events.insert(dialect.member_type().to_owned(), self.users_default.into());
        }
        Value::Object(content).to_string()
    }
}

fn level(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How a room was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Creation {
    /// Whether its version lets only the user that a state key names write it (MSC3757).
    pub owned_keys: bool,
    /// Who may do everything, whatever the power levels say: from room version 12 on.
    pub creators: BTreeSet<UserId>,
}

/// The first room version in which creators stand above power levels.
const CREATORS_ABOVE: u64 = 12;

impl Creation {
    /// Reads the content of `m.room.create`, which `sender` wrote.
    ///
    /// # Errors
    /// [`Malformed`] when it is no JSON object, or too large.
    pub fn read(sender: &UserId, content: &str) -> Result<Self, Malformed> {
        let content = content_object(content)?;
        let version = text(&content, "room_version").unwrap_or("1");
        let above = version.parse::<u64>().is_ok_and(|version| version >= CREATORS_ABOVE);
        let others = content.get("additional_creators").and_then(Value::as_array);
        let others = others.into_iter().flatten().filter_map(Value::as_str);
        let others = others.filter_map(|user| UserId::parse(user).ok());
        let creators = others.chain([sender.clone()]).filter(|_| above).collect();
        Ok(Self { owned_keys: version.contains("msc3757"), creators })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::read::MAX_CONTENT_BYTES;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn levels(content: Value) -> PowerLevels {
        PowerLevels::read(&content.to_string()).unwrap()
    }

    #[test]
    fn the_level_of_memberships_is_named_or_that_of_state() {
        let of = |content| levels(content).everybody_may_write_memberships(Dialect::Famedly);
        assert!(!of(json!({})), "50 are needed, everybody has 0");
        assert!(of(json!({ "state_default": 0 })));
        assert!(of(json!({ "users_default": 50 })));
        assert!(!of(json!({ "users_default": 49 })));
        assert!(of(json!({ "events": { "com.famedly.call.member": 0 } })));
        assert!(of(json!({ "events": { "com.famedly.call.member": "0" } })), "old rooms");
        assert!(!of(json!({ "state_default": 0, "events": { "com.famedly.call.member": 1 } })));
    }

    #[test]
    fn a_user_has_his_own_level_or_everybodys() {
        let levels = levels(json!({ "users": { "@a:x": 50, "@b:x": 49, "nobody": 100 } }));
        assert!(levels.may_write_memberships(&user("@a:x"), Dialect::Famedly));
        assert!(!levels.may_write_memberships(&user("@b:x"), Dialect::Famedly));
        assert!(!levels.may_write_memberships(&user("@c:x"), Dialect::Famedly));
    }

    #[test]
    fn allowing_everyone_changes_one_level() {
        let before = json!({ "users_default": 5, "x": [1], "events": { "m.room.name": 50 } });
        let after = levels(before).allowing_everyone(Dialect::Famedly);
        let expected = json!({ "users_default": 5, "x": [1],
            "events": { "m.room.name": 50, "com.famedly.call.member": 5 } });
        assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), expected);
        let after = PowerLevels::read(&after).unwrap();
        assert!(after.everybody_may_write_memberships(Dialect::Famedly));
        assert!(!after.everybody_may_write_memberships(Dialect::Msc3401));
        let legacy = PowerLevels::read(&after.allowing_everyone(Dialect::Msc3401)).unwrap();
        assert!(Dialect::ALL.iter().all(|it| legacy.everybody_may_write_memberships(*it)));
        let odd = levels(json!({ "events": 7 })).allowing_everyone(Dialect::Famedly);
        let odd = PowerLevels::read(&odd).unwrap();
        assert!(odd.everybody_may_write_memberships(Dialect::Famedly));
    }

    #[test]
    fn creators_stand_above_from_version_12_on() {
        let creation =
            |content: Value| Creation::read(&user("@a:x"), &content.to_string()).unwrap();
        assert!(creation(json!({ "room_version": "11" })).creators.is_empty());
        let twelve = json!({ "room_version": "12", "additional_creators": ["@b:x", 7, "c"] });
        assert_eq!(creation(twelve).creators, [user("@a:x"), user("@b:x")].into());
        assert!(creation(json!({})).creators.is_empty() && !creation(json!({})).owned_keys);
        assert!(creation(json!({ "room_version": "org.matrix.msc3757.11" })).owned_keys);
    }

    #[test]
    fn what_is_no_object_says_nothing() {
        assert_eq!(PowerLevels::read("7"), Err(Malformed::NotAnObject));
        let long = " ".repeat(MAX_CONTENT_BYTES + 1);
        assert_eq!(PowerLevels::read(&long), Err(Malformed::TooLarge("content")));
        assert_eq!(Creation::read(&user("@a:x"), "["), Err(Malformed::NotAnObject));
    }
}
