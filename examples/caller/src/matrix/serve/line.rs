//! The lines of the peer protocol: requests in, answers and events out. Pure.

use serde_json::{Map, Value, json};

use super::command::Command;

/// The peer of a request that names none.
const DEFAULT_PEER: &str = "main";

/// Longest line that is read. The protocol asks for 1 MiB; nobody needs more than this.
pub(crate) const MAX_LINE_BYTES: usize = 16 << 20;

/// One command to one peer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) ticket: Ticket,
    pub(crate) command: Command,
    pub(crate) args: Args,
}

/// What an answer needs of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: i64,
    pub(crate) peer: String,
}

/// The arguments of a command; `null` is as good as absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Args(Map<String, Value>);

/// A line that is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// Nobody can be answered.
    Nonsense(String),
    /// A request that says too little.
    Incomplete(Ticket, String),
    /// A request for what is not known here.
    Unsupported(Ticket, String),
}

impl Request {
    /// Reads a line.
    pub(crate) fn read(line: &[u8]) -> Result<Self, BadLine> {
        let nonsense = |why: String| BadLine::Nonsense(why);
        let value: Value =
            serde_json::from_slice(line).map_err(|why| nonsense(format!("not JSON: {why}")))?;
        let Value::Object(mut fields) = value else {
            return Err(nonsense("not a request: no object".to_owned()));
        };
        let Some(id) = fields.get("id").and_then(Value::as_i64) else {
            return Err(nonsense("not a request: no integer as id".to_owned()));
        };
        let peer = match fields.remove("peer") {
            None | Some(Value::Null) => DEFAULT_PEER.to_owned(),
            Some(Value::String(peer)) => peer,
            Some(_) => return Err(nonsense("not a request: peer is no text".to_owned())),
        };
        let ticket = Ticket { id, peer };
        let Some(Value::String(cmd)) = fields.remove("cmd") else {
            return Err(BadLine::Incomplete(ticket, "not a request: no cmd".to_owned()));
        };
        let args = match fields.remove("args") {
            None | Some(Value::Null) => Args::default(),
            Some(Value::Object(args)) => Args(args),
            Some(_) => {
                let why = "not a request: args are no object".to_owned();
                return Err(BadLine::Incomplete(ticket, why));
            }
        };
        match Command::named(&cmd) {
            Some(command) => Ok(Self { ticket, command, args }),
            None => Err(BadLine::Unsupported(ticket, cmd)),
        }
    }
}

impl Args {
    /// Any value; absent and `null` are the same.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, String> {
        self.typed(name, "text", Value::as_str)
    }

    /// A text that must be there.
    pub(crate) fn needed(&self, name: &str) -> Result<&str, String> {
        self.text(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    /// A number of anything, 0 or more.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, String> {
        self.typed(name, "whole number", Value::as_u64)
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.typed(name, "boolean", Value::as_bool)?.unwrap_or(default))
    }

    /// A list of texts; empty when absent.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let read = |value: &Value| {
            let texts = value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        };
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(value) => read(value).ok_or_else(|| format!("{name} must be a list of texts")),
        }
    }

    fn typed<'a, T>(
        &'a self,
        name: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| format!("{name} must be a {what}")),
        }
    }
}

/// The line that answers a request.
pub(crate) fn answer(ticket: &Ticket, result: Result<Value, String>) -> Value {
    let Ticket { id, peer } = ticket;
    match result {
        Ok(result) => json!({"id": id, "peer": peer, "ok": true, "result": result}),
        Err(error) => json!({"id": id, "peer": peer, "ok": false, "error": one_line(&error)}),
    }
}

/// The line about a line that was no request.
pub(crate) fn complaint(bad: &BadLine) -> Value {
    match bad {
        BadLine::Nonsense(why) => json!({"ok": false, "error": one_line(why)}),
        BadLine::Incomplete(ticket, why) => answer(ticket, Err(why.clone())),
        BadLine::Unsupported(ticket, cmd) => answer(ticket, Err(format!("unsupported: {cmd}"))),
    }
}

/// The line of an event. `at` in ms since the Unix epoch.
pub(crate) fn event(peer: &str, name: &str, at: u64, fields: Value) -> Value {
    let mut line = json!({"peer": peer, "ev": name, "at": at});
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    line
}

/// The first line of all: which engine it is, and whether that has tones.
pub(crate) fn hello(engine: &str, has_tones: bool) -> Value {
    let dials = has_tones.then_some("dtmf");
    let others = [
        "voice",
        "video",
        "screenshare",
        "transfer",
        "iceRestart",
        "crypto",
        "forceTURN",
        "mesh",
        "sfuKeys",
        "manyPeers",
    ];
    json!({
        "ev": "hello", "protocol": 1,
        "name": concat!("caller ", env!("CARGO_PKG_VERSION")),
        "engine": engine,
        "capabilities": others.into_iter().chain(dials).collect::<Vec<_>>(),
    })
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Request, BadLine> {
        Request::read(line.as_bytes())
    }

    #[test]
    fn only_a_client_whose_engine_has_tones_says_that_it_dials() {
        for (engine, dials) in [("one", true), ("another", false)] {
            let hello = hello(engine, dials);
            assert_eq!(hello["engine"], engine);
            let can = hello["capabilities"].as_array().unwrap();
            assert_eq!((can.contains(&"dtmf".into()), can.contains(&"mesh".into())), (dials, true));
        }
    }

    #[test]
    fn a_request_has_a_peer_and_arguments_unless_it_says_otherwise() {
        let request = read(r#"{"id":1,"cmd":"quit","more":[]}"#).unwrap();
        assert_eq!(request.ticket, Ticket { id: 1, peer: "main".to_owned() });
        assert_eq!((request.command, request.args), (Command::Quit, Args::default()));
        let nulls = read(r#"{"id":-1,"peer":null,"cmd":"state","args":null}"#).unwrap();
        assert_eq!((nulls.ticket.id, nulls.ticket.peer.as_str()), (-1, "main"));
        let bob = read(r#"{"id":2,"peer":"bob","cmd":"call","args":{"roomId":"!r"}}"#).unwrap();
        assert_eq!((bob.ticket.peer.as_str(), bob.args.needed("roomId")), ("bob", Ok("!r")));
    }

    #[test]
    fn nonsense_is_told_without_an_id() {
        for line in ["", "hello", "{", "[1]", "7", "null", r#"{"cmd":"state"}"#, r#"{"id":"1"}"#] {
            let bad = read(line).unwrap_err();
            assert!(matches!(bad, BadLine::Nonsense(_)), "{line}: {bad:?}");
            let told = complaint(&bad);
            assert_eq!((&told["ok"], &told["id"]), (&json!(false), &Value::Null));
        }
        let bad = Request::read(b"\xff\xfe").unwrap_err();
        let told = complaint(&bad)["error"].as_str().unwrap().to_owned();
        assert!(told.starts_with("not JSON: "), "{told}");
    }

    #[test]
    fn what_has_an_id_is_answered() {
        for line in [r#"{"id":3}"#, r#"{"id":3,"cmd":4}"#, r#"{"id":3,"cmd":"a","args":[]}"#] {
            let told = complaint(&read(line).unwrap_err());
            assert_eq!((&told["ok"], &told["id"]), (&json!(false), &json!(3)), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_is_unsupported_if_it_is_a_request_at_all() {
        let told = |line: &str| complaint(&read(line).unwrap_err());
        let expected = json!({"id": 4, "peer": "p", "ok": false, "error": "unsupported: dance"});
        assert_eq!(told(r#"{"id":4,"peer":"p","cmd":"dance"}"#), expected);
        let bad = &told(r#"{"id":4,"cmd":"dance","args":7}"#)["error"];
        assert_eq!(bad, "not a request: args are no object");
    }

    #[test]
    fn arguments_are_what_they_should_be_or_an_error_names_them() {
        let line =
            r#"{"id":1,"cmd":"state","args":{"on":1,"ms":-1,"who":["a",2],"room":7,"no":null}}"#;
        let args = read(line).unwrap().args;
        assert_eq!(args.flag("on", true), Err("on must be a boolean".to_owned()));
        assert_eq!(args.number("ms"), Err("ms must be a whole number".to_owned()));
        assert_eq!(args.texts("who"), Err("who must be a list of texts".to_owned()));
        assert_eq!(args.text("room"), Err("room must be a text".to_owned()));
        assert_eq!(args.needed("no"), Err("no is missing".to_owned()));
        assert_eq!((args.flag("no", true), args.number("no")), (Ok(true), Ok(None)));
    }

    #[test]
    fn an_error_is_one_line() {
        let ticket = Ticket { id: 1, peer: "p".to_owned() };
        let line = answer(&ticket, Err("two\n  lines\r\n".to_owned()));
        assert_eq!(line["error"], "two lines");
    }

    #[test]
    fn an_event_has_its_fields_beside_the_common_ones() {
        let line = event("bob", "callState", 7, json!({"state": "ringing"}));
        let expected = json!({"peer": "bob", "ev": "callState", "at": 7, "state": "ringing"});
        assert_eq!(line, expected);
    }
}
