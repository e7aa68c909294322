//! Tolerant readers of single JSON fields.
//!
//! Two rules. Ids are read exactly: a wrong one would address another call, so it makes the event
//! malformed. Everything else is read as well as possible: a number may be a text, a flag that is
//! no boolean is `false`, `null` is absence.

use std::time::Duration;

use serde_json::{Map, Value};

use super::delivery::Malformed;
use crate::id::{EventId, InvalidId, MAX_ID_BYTES};

pub(super) type Object = Map<String, Value>;

/// An identifier that can be read from text.
pub(super) trait Id: std::str::FromStr<Err = InvalidId> {}
impl<T: std::str::FromStr<Err = InvalidId>> Id for T {}

fn field<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// A mandatory id.
pub(super) fn id<T: Id>(object: &Object, key: &'static str) -> Result<T, Malformed> {
    optional_id(object, key)?.ok_or(Malformed::Missing(key))
}

/// An id that may be absent; an empty one is absent.
pub(super) fn optional_id<T: Id>(
    object: &Object,
    key: &'static str,
) -> Result<Option<T>, Malformed> {
    let Some(text) = exact_text(object, key)? else { return Ok(None) };
    match text.parse() {
        Ok(id) => Ok(Some(id)),
        Err(InvalidId::Empty(_)) => Ok(None),
        Err(InvalidId::TooLong(_)) => Err(Malformed::TooLarge(key)),
        Err(InvalidId::Form(..)) => Err(Malformed::Wrong(key)),
    }
}

/// A text that identifies something, at most [`MAX_ID_BYTES`] long; an empty one is a text.
pub(super) fn exact_text<'a>(
    object: &'a Object,
    key: &'static str,
) -> Result<Option<&'a str>, Malformed> {
    let Some(value) = field(object, key) else { return Ok(None) };
    let text = value.as_str().ok_or(Malformed::Wrong(key))?;
    if text.len() > MAX_ID_BYTES {
        return Err(Malformed::TooLarge(key));
    }
    Ok(Some(text))
}

/// The event that `m.relates_to` refers to. A relation without a type counts as a reference.
pub(super) fn reference(content: &Object) -> Result<EventId, Malformed> {
    let relation = needed_object(content, "m.relates_to")?;
    match exact_text(relation, "rel_type")? {
        None | Some("m.reference") => id(relation, "event_id"),
        Some(_) => Err(Malformed::Wrong("rel_type")),
    }
}

/// A text, if it is one.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// The beginning of a text, at most `max` bytes of it.
pub(super) fn shortened(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].to_owned()
}

/// `true` only where it says so.
pub(super) fn flag(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// A whole number that is not negative, as number or text.
pub(super) fn whole(object: &Object, key: &str) -> Option<u64> {
    let value = object.get(key)?;
    value.as_u64().or_else(|| {
        let number = number(value)?;
        (number >= 0.0 && number <= u64::MAX as f64).then_some(number as u64)
    })
}

/// A span in milliseconds, as number or text; a negative one is zero, none is longer than `max`.
pub(super) fn span(object: &Object, key: &str, max: Duration) -> Option<Duration> {
    let millis = number(object.get(key)?)?.clamp(0.0, max.as_millis() as f64);
    Some(Duration::from_millis(millis as u64))
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number: &f64| !number.is_nan())
}

/// An object, if it is one.
pub(super) fn object<'a>(object: &'a Object, key: &str) -> Option<&'a Object> {
    object.get(key).and_then(Value::as_object)
}

/// A mandatory object.
pub(super) fn needed_object<'a>(
    object: &'a Object,
    key: &'static str,
) -> Result<&'a Object, Malformed> {
    let value = field(object, key).ok_or(Malformed::Missing(key))?;
    value.as_object().ok_or(Malformed::Wrong(key))
}

/// A mandatory list.
pub(super) fn needed_list<'a>(
    object: &'a Object,
    key: &'static str,
) -> Result<&'a [Value], Malformed> {
    let value = field(object, key).ok_or(Malformed::Missing(key))?;
    value.as_array().map(Vec::as_slice).ok_or(Malformed::Wrong(key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::UserId;

    fn one(value: Value) -> Object {
        let mut object = Object::new();
        object.insert("k".into(), value);
        object
    }

    #[test]
    fn ids_are_read_exactly() {
        let read = |value| optional_id::<UserId>(&one(value), "k");
        assert_eq!(read(json!("@a:b")), Ok(UserId::parse("@a:b").ok()));
        assert_eq!(read(json!("")), Ok(None));
        assert_eq!(read(json!(null)), Ok(None));
        assert_eq!(read(json!("a:b")), Err(Malformed::Wrong("k")));
        assert_eq!(read(json!(5)), Err(Malformed::Wrong("k")));
        assert_eq!(read(json!(format!("@a:{}", "b".repeat(252)))).map(|id| id.is_some()), Ok(true));
        assert_eq!(read(json!(format!("@a:{}", "b".repeat(253)))), Err(Malformed::TooLarge("k")));
        assert_eq!(id::<UserId>(&Object::new(), "k"), Err(Malformed::Missing("k")));
        assert_eq!(id::<UserId>(&one(json!("")), "k"), Err(Malformed::Missing("k")));
    }

    #[test]
    fn a_relation_is_a_reference_or_wrong() {
        let read = |relation| {
            let mut content = Object::new();
            content.insert("m.relates_to".into(), relation);
            reference(&content)
        };
        let event = Ok(EventId::parse("$e").unwrap());
        assert_eq!(read(json!({"rel_type": "m.reference", "event_id": "$e"})), event);
        assert_eq!(read(json!({"event_id": "$e"})), event);
        for (relation, why) in [
            (json!(null), Malformed::Missing("m.relates_to")),
            (json!("$e"), Malformed::Wrong("m.relates_to")),
            (json!({"rel_type": "m.thread", "event_id": "$e"}), Malformed::Wrong("rel_type")),
            (json!({"rel_type": 7, "event_id": "$e"}), Malformed::Wrong("rel_type")),
            (json!({"rel_type": "m.reference"}), Malformed::Missing("event_id")),
            (json!({"event_id": "e"}), Malformed::Wrong("event_id")),
        ] {
            assert_eq!(read(relation.clone()), Err(why), "{relation}");
        }
    }

    #[test]
    fn exact_texts_may_be_empty() {
        assert_eq!(exact_text(&one(json!("")), "k"), Ok(Some("")));
        assert_eq!(exact_text(&one(json!(null)), "k"), Ok(None));
    }

    #[test]
    fn whole_numbers_come_in_many_forms() {
        let read = |value| whole(&one(value), "k");
        assert_eq!(read(json!(u64::MAX)), Some(u64::MAX));
        assert_eq!(read(json!(7.0)), Some(7));
        assert_eq!(read(json!(0.0)), Some(0));
        assert_eq!(read(json!("7")), Some(7));
        assert_eq!(read(json!(-1)), None);
        assert_eq!(read(json!(-0.5)), None);
        assert_eq!(read(json!(1e300)), None);
        assert_eq!(read(json!("x")), None);
        assert_eq!(read(json!(true)), None);
        assert_eq!(whole(&Object::new(), "k"), None);
    }

    #[test]
    fn spans_stay_within_their_bounds() {
        let read = |value| span(&one(value), "k", Duration::from_secs(9));
        let millis = |n| Some(Duration::from_millis(n));
        assert_eq!(read(json!(60)), millis(60));
        assert_eq!(read(json!(60.9)), millis(60));
        assert_eq!(read(json!(" 60 ")), millis(60));
        assert_eq!(read(json!(-60)), millis(0));
        assert_eq!(read(json!(8_999)), millis(8_999));
        assert_eq!(read(json!(9_001)), millis(9_000));
        assert_eq!(read(json!(1e300)), millis(9_000));
        assert_eq!(read(json!("inf")), millis(9_000));
        assert_eq!(read(json!("NaN")), None);
        assert_eq!(read(json!(null)), None);
        assert_eq!(read(json!([60])), None);
    }

    #[test]
    fn texts_are_shortened_between_characters() {
        assert_eq!(shortened("äöü", 6), "äöü");
        assert_eq!(shortened("äöü", 5), "äö");
        assert_eq!(shortened("abc", 0), "");
    }

    #[test]
    fn flags_are_false_unless_true() {
        assert!(flag(&one(json!(true)), "k"));
        assert!(!flag(&one(json!("true")), "k"));
        assert!(!flag(&one(json!(1)), "k"));
        assert!(!flag(&Object::new(), "k"));
    }

    #[test]
    fn lists_and_objects_are_missing_or_wrong() {
        assert_eq!(needed_object(&one(json!(null)), "k"), Err(Malformed::Missing("k")));
        assert_eq!(needed_object(&one(json!([])), "k"), Err(Malformed::Wrong("k")));
        assert_eq!(needed_object(&one(json!({})), "k"), Ok(&Object::new()));
        assert_eq!(needed_list(&Object::new(), "k"), Err(Malformed::Missing("k")));
        assert_eq!(needed_list(&one(json!({})), "k"), Err(Malformed::Wrong("k")));
        assert_eq!(needed_list(&one(json!([1])), "k"), Ok(&[json!(1)][..]));
        assert_eq!(object(&one(json!({})), "k"), Some(&Object::new()));
        assert_eq!(object(&one(json!("x")), "k"), None);
    }
}
