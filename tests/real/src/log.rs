//! The log of one test: everything that its peers were told, answered, sent, received and noticed,
//! as a column with a lane for each peer, written line by line, so that a crash leaves it readable.
//! Beside it, in `NAME.jsonl`, the same lines in full.

use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use crate::{
    clock,
    failure::{Context, Failure},
};

/// How far one lane is to the right of the one before.
const LANE: usize = 44;

/// Longer texts are shortened in the column.
const LONG: usize = 48;

/// Longer lines are cut in the column.
const WIDE: usize = 180;

/// Fields that the column leaves out: they say nothing new, or nothing to a person.
const KNOWN: &[&str] = &[
    "id",
    "peer",
    "ev",
    "at",
    "callId",
    "roomId",
    "call_id",
    "feeds",
    "capabilities",
    "sdpMid",
    "sdpMLineIndex",
    "usernameFragment",
    "states",
    "timeoutMs",
];

/// Which way a line of the protocol went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the test to the peer.
    ToPeer,
    /// From the peer to the test.
    FromPeer,
}

/// The log of one test.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    column: File,
    lines: File,
    lanes: Vec<String>,
    start: u64,
}

impl Log {
    /// Opens `NAME.log` and `NAME.jsonl`; `name` may have `::` in it.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn open(folder: &Path, name: &str) -> Result<Self, Failure> {
        let path = folder.join(name.replace("::", ".")).with_added_extension("log");
        let create = |path: &Path| File::create(path).context(format_args!("{}", path.display()));
        let mut column = create(&path)?;
        let lines = create(&path.with_extension("jsonl"))?;
        writeln!(column, "{name}").context("writing a log")?;
        let inner = Inner { column, lines, lanes: Vec::new(), start: clock::now() };
        Ok(Self { path, inner: Mutex::new(inner) })
    }

    /// Where the column is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A remark of the test itself.
    pub fn note(&self, text: &str) {
        self.write("", clock::now(), &format!("-- {text}"));
    }

    /// A line of the protocol.
    pub(crate) fn line(&self, lane: &str, way: Way, line: &Value) {
        let at = line["at"].as_u64().unwrap_or_else(clock::now);
        self.write(lane, at, &told(way, line));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not fail a call.
        let _ = writeln!(inner.lines, "{line}");
    }

    fn write(&self, lane: &str, at: u64, text: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let place = inner.lane(lane);
        let ms = at.saturating_sub(inner.start);
        // A full disk must not fail a call.
        let _ = writeln!(inner.column, "{ms:>7}  {:place$}{text:.WIDE$}", "");
    }
}

impl Inner {
    /// Where the lane begins; a new one is announced with its name.
    fn lane(&mut self, lane: &str) -> usize {
        if lane.is_empty() {
            return 0;
        }
        let known = self.lanes.iter().position(|known| known == lane);
        let place = known.unwrap_or(self.lanes.len()) * LANE;
        if known.is_none() {
            self.lanes.push(lane.to_owned());
            let _ = writeln!(self.column, "{:>7}  {:place$}=== {lane} ===", "", "");
        }
        place
    }
}

/// A line of the protocol in words.
fn told(way: Way, line: &Value) -> String {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    if way == Way::ToPeer {
        return format!("> {}{}", text("cmd"), brief(&line["args"]));
    }
    match text("ev") {
        "" => answer(line),
        "wireOut" => sent(line),
        "wireIn" => format!("<= {} {}", event(&line["event"]), text("where")),
        "decrypted" => format!("<= decrypted {}", event(&line["event"])),
        "callState" => format!("* {} -> {}", text("old"), text("state")),
        "says" => format!("* {}", text("text")),
        "incoming" => format!("* incoming {} {}", line["call"]["type"], line["call"]["callId"]),
        name => format!("* {name}{}", brief(line)),
    }
}

fn answer(line: &Value) -> String {
    match line["error"].as_str() {
        Some(error) => format!("< error: {error}"),
        None => format!("<{}", brief(&line["result"])),
    }
}

/// A request to the homeserver and its status; a room's event by its type.
fn sent(line: &Value) -> String {
    let path = line["path"].as_str().unwrap_or_default();
    let name = match path.split_once("/send/").or_else(|| path.split_once("/sendToDevice/")) {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default().to_owned(),
        None => {
            let short = path.trim_start_matches("/_matrix/client/");
            format!("{} {short}", line["method"].as_str().unwrap_or_default())
        }
    };
    format!("=> {name}{} {}", brief(&line["body"]), line["status"])
}

fn event(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    format!("{} from {}{}", text("type"), text("sender"), brief(&event["content"]))
}

/// A value on one line with a space before it; nothing for what is empty.
fn brief(value: &Value) -> String {
    let mut text = String::from(" ");
    write_brief(&mut text, value);
    if [" null", " {}"].contains(&text.as_str()) { String::new() } else { text }
}

// Writing to a String does not fail.
fn write_brief(text: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let told = fields
                .iter()
                .filter(|(name, value)| !KNOWN.contains(&name.as_str()) && !value.is_null());
            write_all(text, ('{', '}'), told, |text, (name, value)| {
                let _ = write!(text, "{name}: ");
                write_brief(text, value);
            });
        }
        Value::Array(values) => write_all(text, ('[', ']'), values.iter(), write_brief),
        Value::String(long) if long.chars().count() > LONG => {
            let start: String = long.chars().take(LONG).collect();
            let _ = write!(text, "{:?}…({} characters)", start, long.chars().count());
        }
        short => {
            let _ = write!(text, "{short}");
        }
    }
}

fn write_all<T>(
    text: &mut String,
    (open, close): (char, char),
    all: impl Iterator<Item = T>,
    write: impl Fn(&mut String, T),
) {
    text.push(open);
    for (place, one) in all.enumerate() {
        text.push_str(if place == 0 { "" } else { ", " });
        write(text, one);
    }
    text.push(close);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Way, told};

    #[test]
    fn a_command_is_told_with_what_it_asks() {
        let line = json!({"id": 1, "peer": "a", "cmd": "call", "args": {"kind": "voice"}});
        assert_eq!(told(Way::ToPeer, &line), "> call {kind: \"voice\"}");
    }

    #[test]
    fn an_event_of_a_room_is_told_by_its_type_and_long_texts_are_shortened() {
        let line = json!({
            "ev": "wireOut", "at": 1, "method": "PUT", "status": 200,
            "path": "/_matrix/client/v3/rooms/!r/send/m.call.invite/m1",
            "body": {"offer": {"sdp": "v".repeat(100)}, "version": "1"},
        });
        let sdp = format!("\"{}\"…(100 characters)", "v".repeat(48));
        let expected = format!("=> m.call.invite {{offer: {{sdp: {sdp}}}, version: \"1\"}} 200");
        assert_eq!(told(Way::FromPeer, &line), expected);
    }

    #[test]
    fn answers_and_news_leave_out_what_is_known() {
        let line = json!({"id": 1, "peer": "a", "ok": true, "result": {}});
        assert_eq!(told(Way::FromPeer, &line), "<");
        let line = json!({"peer": "a", "ev": "ice", "at": 5, "state": "connected"});
        assert_eq!(told(Way::FromPeer, &line), "* ice {state: \"connected\"}");
    }
}
