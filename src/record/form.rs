//! How a value of the machine becomes JSON and comes back.
//!
//! Not by serde's derive: it would make every private text writable by anybody, and let JSON into
//! the machine. Here each type says so in one line of a table (`forms.rs`), and a field or variant
//! that is missing in the table does not compile: whoever adds one decides whether it is private.
//! Text is private unless the table says `as plain`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::pseudonym::Pseudonyms;
use crate::redact::{Redacted, Secret, SecretBytes};

/// What a value could not be read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit(pub(super) &'static str);

/// A value that a recording can hold.
pub(super) trait Form: Sized {
    /// As it stands in the file: private text as its pseudonym.
    fn write(&self, names: &mut Pseudonyms) -> Value;

    /// What a file says.
    fn read(value: &Value) -> Result<Self, Unfit>;
}

/// Adds a part; what is absent is left out.
pub(super) fn put(parts: &mut Map<String, Value>, name: &str, value: Value) {
    if !value.is_null() {
        parts.insert(name.to_owned(), value);
    }
}

/// The part of that name; `null` where it is absent.
pub(super) fn part<'a>(parts: impl Into<Option<&'a Map<String, Value>>>, name: &str) -> &'a Value {
    parts.into().and_then(|parts| parts.get(name)).unwrap_or(&Value::Null)
}

/// A variant: its name alone, or with its parts.
pub(super) fn tagged(variant: &str, parts: Map<String, Value>) -> Value {
    if parts.is_empty() {
        return Value::String(variant.to_owned());
    }
    let mut value = Map::new();
    value.insert(variant.to_owned(), Value::Object(parts));
    Value::Object(value)
}

/// The name of a variant, and its parts if it has any.
pub(super) fn untagged(value: &Value) -> Option<(&str, Option<&Map<String, Value>>)> {
    match value {
        Value::String(variant) => Some((variant, None)),
        Value::Object(object) => {
            let (variant, parts) = object.iter().next().filter(|_| object.len() == 1)?;
            Some((variant, Some(parts.as_object()?)))
        }
        _ => None,
    }
}

macro_rules! written {
    ($names:ident, $part:ident) => {
        crate::record::form::Form::write($part, $names)
    };
    ($names:ident, $part:ident, $how:ident) => {
        crate::record::form::$how::write($part, $names)
    };
}

macro_rules! reading {
    ($parts:ident, $part:ident) => {
        crate::record::form::Form::read(crate::record::form::part($parts, stringify!($part)))?
    };
    ($parts:ident, $part:ident, $how:ident) => {
        crate::record::form::$how::read(crate::record::form::part($parts, stringify!($part)))?
    };
}

macro_rules! record_struct {
    ($name:ident { $($field:ident $(as $how:ident)?),* $(,)? }) => {
        impl crate::record::form::Form for $name {
            fn write(&self, names: &mut Pseudonyms) -> Value {
                let Self { $($field),* } = self;
                let mut parts = serde_json::Map::new();
                $(put(&mut parts, stringify!($field), written!(names, $field $(, $how)?));)*
                Value::Object(parts)
            }

            fn read(value: &Value) -> Result<Self, Unfit> {
                let parts = value.as_object().ok_or(Unfit(stringify!($name)))?;
                Ok(Self { $($field: reading!(parts, $field $(, $how)?)),* })
            }
        }
    };
}

macro_rules! record_enum {
    ($name:ident { $(
        $variant:ident $(($($part:ident $(as $how:ident)?),+))?
        $({$($field:ident $(as $shown:ident)?),+})?
    ),+ $(,)? }) => {
        impl crate::record::form::Form for $name {
            fn write(&self, names: &mut Pseudonyms) -> Value {
                let _ = &names;
                match self {$(
                    Self::$variant $(($($part),+))? $({$($field),+})? => {
                        #[allow(unused_mut)]
                        let mut parts = serde_json::Map::new();
                        $($(put(&mut parts, stringify!($part), written!(names, $part $(, $how)?));)+)?
                        $($(put(&mut parts, stringify!($field), written!(names, $field $(, $shown)?));)+)?
                        tagged(stringify!($variant), parts)
                    }
                )+}
            }

            fn read(value: &Value) -> Result<Self, Unfit> {
                let (variant, parts) = untagged(value).ok_or(Unfit(stringify!($name)))?;
                let _ = parts;
                $(if variant == stringify!($variant) {
                    return Ok(Self::$variant
                        $(($(reading!(parts, $part $(, $how)?)),+))?
                        $({$($field: reading!(parts, $field $(, $shown)?)),+})?);
                })+
                Err(Unfit(stringify!($name)))
            }
        }
    };
}

// --------------------------------------------------------------------------------- common types

macro_rules! record_numbers {
    ($($number:ident),+) => {$(
        impl Form for $number {
            fn write(&self, _: &mut Pseudonyms) -> Value {
                Value::from(*self)
            }

            fn read(value: &Value) -> Result<Self, Unfit> {
                let number = value.as_u64().and_then(|number| $number::try_from(number).ok());
                number.ok_or(Unfit("a number"))
            }
        }
    )+};
}

record_numbers!(u8, u16, u32, u64, usize);

/// Exact both ways: every `f32` is an `f64`.
impl Form for f32 {
    fn write(&self, _: &mut Pseudonyms) -> Value {
        Value::from(f64::from(*self))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        value.as_f64().map(|number| number as f32).ok_or(Unfit("number"))
    }
}

impl Form for i8 {
    fn write(&self, _: &mut Pseudonyms) -> Value {
        Value::from(*self)
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        let number = value.as_i64().and_then(|number| Self::try_from(number).ok());
        number.ok_or(Unfit("a number"))
    }
}

impl Form for i64 {
    fn write(&self, _: &mut Pseudonyms) -> Value {
        Value::from(*self)
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        value.as_i64().ok_or(Unfit("a number"))
    }
}

impl Form for bool {
    fn write(&self, _: &mut Pseudonyms) -> Value {
        Value::Bool(*self)
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        value.as_bool().ok_or(Unfit("true or false"))
    }
}

impl Form for String {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        Value::String(names.text(self))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        text(value).map(str::to_owned)
    }
}

impl Form for Redacted {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        Value::String(names.private(self.expose()))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        text(value).map(Self::from)
    }
}

impl Form for Secret {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        Value::String(names.text(self.expose()))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        text(value).map(Self::new)
    }
}

/// Other bytes, as many: whatever the machine was given of a key, the file holds nothing of it.
impl Form for SecretBytes {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        Value::String(STANDARD.encode(names.bytes(self.expose())))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        let bytes = STANDARD.decode(text(value)?);
        bytes.map(Self::new).map_err(|_| Unfit("a key"))
    }
}

/// Whole seconds and nanoseconds.
impl Form for Duration {
    fn write(&self, _: &mut Pseudonyms) -> Value {
        Value::from(vec![self.as_secs(), u64::from(self.subsec_nanos())])
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        let of = |value: &Value| {
            let [seconds, nanos] = value.as_array()?.as_slice() else { return None };
            let nanos = nanos.as_u64().filter(|nanos| *nanos < 1_000_000_000)?;
            Some(Self::new(seconds.as_u64()?, u32::try_from(nanos).ok()?))
        };
        of(value).ok_or(Unfit("a time span"))
    }
}

impl<T: Form> Form for Option<T> {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        self.as_ref().map_or(Value::Null, |some| some.write(names))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        if value.is_null() { Ok(None) } else { T::read(value).map(Some) }
    }
}

impl<T: Form> Form for Box<T> {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        self.as_ref().write(names)
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        T::read(value).map(Self::new)
    }
}

impl<T: Form, E: Form> Form for Result<T, E> {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        let (variant, value) = match self {
            Ok(done) => ("Ok", done.write(names)),
            Err(fault) => ("Err", fault.write(names)),
        };
        Value::Object(Map::from_iter([(variant.to_owned(), value)]))
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        let object = value.as_object().ok_or(Unfit("a result"))?;
        match (object.get("Ok"), object.get("Err")) {
            (Some(done), None) => T::read(done).map(Ok),
            (None, Some(fault)) => E::read(fault).map(Err),
            _ => Err(Unfit("a result")),
        }
    }
}

impl<T: Form> Form for Vec<T> {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        self.iter().map(|entry| entry.write(names)).collect()
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        entries(value)?.iter().map(T::read).collect()
    }
}

impl<T: Form + Ord> Form for BTreeSet<T> {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        self.iter().map(|entry| entry.write(names)).collect()
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        entries(value)?.iter().map(T::read).collect()
    }
}

/// Pairs, in the order of their keys.
impl<K: Form + Ord, T: Form> Form for BTreeMap<K, T> {
    fn write(&self, names: &mut Pseudonyms) -> Value {
        self.iter().map(|(key, of)| Value::Array(vec![key.write(names), of.write(names)])).collect()
    }

    fn read(value: &Value) -> Result<Self, Unfit> {
        let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([key, of]) => Ok((K::read(key)?, T::read(of)?)),
            _ => Err(Unfit("a pair")),
        };
        entries(value)?.iter().map(pair).collect()
    }
}

fn entries(value: &Value) -> Result<&Vec<Value>, Unfit> {
    value.as_array().ok_or(Unfit("a list"))
}

fn text(value: &Value) -> Result<&str, Unfit> {
    value.as_str().ok_or(Unfit("a text"))
}

// -------------------------------------------------------------------------------------- as plain

/// Text that is nobody's secret: `mid`s, event types, codes.
pub(super) mod plain {
    use super::{Pseudonyms, Unfit, Value, text};

    pub(in crate::record) trait Plain: Sized {
        fn write(&self) -> Value;
        fn read(value: &Value) -> Result<Self, Unfit>;
    }

    pub(in crate::record) fn write(plain: &impl Plain, _: &mut Pseudonyms) -> Value {
        plain.write()
    }

    pub(in crate::record) fn read<T: Plain>(value: &Value) -> Result<T, Unfit> {
        T::read(value)
    }

    impl Plain for String {
        fn write(&self) -> Value {
            Value::String(self.clone())
        }

        fn read(value: &Value) -> Result<Self, Unfit> {
            text(value).map(str::to_owned)
        }
    }

    impl Plain for Option<String> {
        fn write(&self) -> Value {
            self.as_ref().map_or(Value::Null, Plain::write)
        }

        fn read(value: &Value) -> Result<Self, Unfit> {
            if value.is_null() { Ok(None) } else { Plain::read(value).map(Some) }
        }
    }
}

/// Words of our own, which stand in the code: a file may only name those that it knows.
pub(super) mod word {
    use super::{Pseudonyms, Unfit, Value, text};
    use crate::wire::delivery::Malformed;

    /// What engines say of candidates.
    const OF_CANDIDATES: &[&str] = &["host", "srflx", "prflx", "relay", "udp", "tcp", "tls"];

    pub(in crate::record) trait Word: Sized {
        fn write(&self) -> Value;
        fn read(value: &Value) -> Result<Self, Unfit>;
    }

    pub(in crate::record) fn write(word: &impl Word, _: &mut Pseudonyms) -> Value {
        word.write()
    }

    pub(in crate::record) fn read<T: Word>(value: &Value) -> Result<T, Unfit> {
        T::read(value)
    }

    impl Word for &'static str {
        fn write(&self) -> Value {
            Value::String((*self).to_owned())
        }

        /// Nothing depends on such a word but what a person reads.
        fn read(value: &Value) -> Result<Self, Unfit> {
            let text = text(value)?;
            let mut known = OF_CANDIDATES.iter().chain(Malformed::FIELDS);
            Ok(known.find(|word| **word == text).copied().unwrap_or("another word"))
        }
    }

    impl Word for Option<&'static str> {
        fn write(&self) -> Value {
            self.as_ref().map_or(Value::Null, Word::write)
        }

        fn read(value: &Value) -> Result<Self, Unfit> {
            if value.is_null() { Ok(None) } else { Word::read(value).map(Some) }
        }
    }
}

// ------------------------------------------------------------------------------- as visit, as key

/// The id of a visit to a group call.
pub(super) mod visit {
    use super::{Pseudonyms, Unfit, Value};

    pub(in crate::record) trait Visit: Sized {
        fn write(&self, names: &mut Pseudonyms) -> Value;
        fn read(value: &Value) -> Result<Self, Unfit>;
    }

    pub(in crate::record) fn write(visit: &impl Visit, names: &mut Pseudonyms) -> Value {
        visit.write(names)
    }

    pub(in crate::record) fn read<T: Visit>(value: &Value) -> Result<T, Unfit> {
        T::read(value)
    }

    impl Visit for String {
        fn write(&self, names: &mut Pseudonyms) -> Value {
            Value::String(names.visit(self))
        }

        fn read(value: &Value) -> Result<Self, Unfit> {
            super::text(value).map(str::to_owned)
        }
    }

    impl Visit for Option<String> {
        fn write(&self, names: &mut Pseudonyms) -> Value {
            self.as_ref().map_or(Value::Null, |visit| visit.write(names))
        }

        fn read(value: &Value) -> Result<Self, Unfit> {
            super::Form::read(value)
        }
    }
}

/// What a group call is about: what means something to the machine stays as it is.
pub(super) mod application {
    use super::{Form, Pseudonyms, Unfit, Value};

    /// The names that clients use.
    const KNOWN: &[&str] = &["m.call", "m.call.audio", "m.call.video"];

    pub(in crate::record) fn write(application: &str, names: &mut Pseudonyms) -> Value {
        let known = KNOWN.contains(&application);
        Value::String(if known { application.to_owned() } else { names.text(application) })
    }

    pub(in crate::record) fn read(value: &Value) -> Result<String, Unfit> {
        Form::read(value)
    }
}

/// The state key of a membership.
pub(super) mod state_key {
    use super::{Form, Pseudonyms, Unfit, Value};

    pub(in crate::record) fn write(key: &str, names: &mut Pseudonyms) -> Value {
        Value::String(names.state_key(key))
    }

    pub(in crate::record) fn read(value: &Value) -> Result<String, Unfit> {
        Form::read(value)
    }
}

/// As whom an SFU knows a participant: a user and a device, where it says so.
pub(super) mod identity {
    use super::{Form, Pseudonyms, Unfit, Value};

    pub(in crate::record) fn write(identity: &str, names: &mut Pseudonyms) -> Value {
        let parts = identity.starts_with('@').then(|| identity.rsplit_once(':')).flatten();
        let parts = parts.filter(|(user, _)| user.contains(':'));
        Value::String(match parts {
            Some((user, device)) => format!("{}:{}", names.member(user), names.member(device)),
            None => names.text(identity),
        })
    }

    pub(in crate::record) fn read(value: &Value) -> Result<String, Unfit> {
        Form::read(value)
    }
}
