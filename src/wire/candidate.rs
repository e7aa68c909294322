//! ICE candidates in `m.call.candidates`, in all their forms.
//!
//! The end of candidates is written as `{"candidate": ""}`; it is also read where the text is
//! `null`, absent, or SDP's own `end-of-candidates`, and where the entry itself is `null`, which
//! is how a browser's last candidate looks when it is passed on as it is.

use serde_json::{Value, json};

use super::{
    call::Candidate,
    delivery::Malformed,
    json::{Object, needed_list, text, whole},
};
use crate::id::MAX_ID_BYTES;

/// Most candidates that are read from one event; the rest is left unread. A machine with many
/// interfaces and TURN servers has a few dozen.
pub const MAX_CANDIDATES_PER_EVENT: usize = 256;

/// Longest candidate line that is read, in bytes; a longer one is skipped. Real ones have under
/// 200.
pub const MAX_CANDIDATE_BYTES: usize = 1024;

/// All candidates of one event; those that cannot be read are skipped.
pub(super) fn read_all(content: &Object) -> Result<Vec<Candidate>, Malformed> {
    let entries = needed_list(content, "candidates")?;
    Ok(entries.iter().filter_map(read).take(MAX_CANDIDATES_PER_EVENT).collect())
}

fn read(entry: &Value) -> Option<Candidate> {
    if entry.is_null() {
        return Some(Candidate::end());
    }
    let entry = entry.as_object()?;
    let line = match entry.get("candidate") {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => line(text)?,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return None;
        }
    };
    Some(Candidate {
        candidate: line.into(),
        sdp_mid: mid(entry)?,
        sdp_m_line_index: whole(entry, "sdpMLineIndex").and_then(|index| index.try_into().ok()),
        username_fragment: short(text(entry, "usernameFragment").unwrap_or_default())?,
    })
}

/// The line without `a=`, empty for the end. A line break inside would be a second line in
/// somebody's SDP.
fn line(text: &str) -> Option<&str> {
    let line = text.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.is_empty() || line == "end-of-candidates" {
        return Some("");
    }
    let fits = line.len() <= MAX_CANDIDATE_BYTES && !line.contains(char::is_control);
    (fits && line.starts_with("candidate:")).then_some(line)
}

/// Mids are texts; some native clients write them as the number that they look like.
fn mid(entry: &Object) -> Option<Option<String>> {
    match entry.get("sdpMid") {
        Some(Value::String(mid)) => short(mid),
        Some(Value::Number(mid)) => short(&mid.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => {
            Some(None)
        }
    }
}

/// `None`: too long, no honest candidate has it; `Some(None)`: empty, so absent.
fn short(text: &str) -> Option<Option<String>> {
    (text.len() <= MAX_ID_BYTES).then(|| Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// One candidate as clients expect it.
pub(super) fn write(candidate: &Candidate) -> Value {
    let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment } = candidate;
    let mut entry = Object::new();
    entry.insert("candidate".into(), json!(candidate.expose()));
    if let Some(mid) = sdp_mid {
        entry.insert("sdpMid".into(), json!(mid));
    }
    if let Some(index) = sdp_m_line_index {
        entry.insert("sdpMLineIndex".into(), json!(index));
    }
    if let Some(ufrag) = username_fragment {
        entry.insert("usernameFragment".into(), json!(ufrag));
    }
    Value::Object(entry)
}
