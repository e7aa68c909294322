//! ICE candidates in `m.call.candidates`, in all their forms.
//!
//! The end of candidates is written as `{"candidate": ""}`; it is also read where the text is
//! `null`, absent, or SDP's own `end-of-candidates`, and where the entry itself is `null`, which
//! is how a browser's last candidate looks when it is passed on as it is.

use serde::Serialize;
use serde_json::Value;

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
#[derive(Serialize)]
pub(super) struct Written<'a> {
    candidate: &'a str,
    #[serde(rename = "sdpMid", skip_serializing_if = "Option::is_none")]
    mid: Option<&'a str>,
    #[serde(rename = "sdpMLineIndex", skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(rename = "usernameFragment", skip_serializing_if = "Option::is_none")]
    ufrag: Option<&'a str>,
}

impl<'a> Written<'a> {
    pub(super) fn of(candidate: &'a Candidate) -> Self {
        let Candidate { candidate, sdp_mid, sdp_m_line_index, username_fragment } = candidate;
        Self {
            candidate: candidate.expose(),
            mid: sdp_mid.as_deref(),
            index: *sdp_m_line_index,
            ufrag: username_fragment.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINE: &str = "candidate:1 1 udp 2122260223 192.0.2.10 43670 typ host";

    fn read_list(entries: Value) -> Vec<Candidate> {
        let content = json!({ "candidates": entries });
        read_all(content.as_object().unwrap()).unwrap()
    }

    fn plain(line: &str) -> Candidate {
        Candidate { candidate: line.into(), ..Candidate::end() }
    }

    #[test]
    fn all_fields_are_read_and_written() {
        let entry =
            json!({"candidate": LINE, "sdpMid": "0", "sdpMLineIndex": 2, "usernameFragment": "u"});
        let candidate = Candidate {
            candidate: LINE.into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(2),
            username_fragment: Some("u".into()),
        };
        assert_eq!(json!(Written::of(&candidate)), entry);
        assert_eq!(read_list(json!([entry])), [candidate]);
        assert_eq!(json!(Written::of(&Candidate::end())), json!({"candidate": ""}));
    }

    #[test]
    fn the_end_is_known_in_every_form() {
        let ends = json!([
            {"candidate": ""},
            {"candidate": "  "},
            {"candidate": null},
            {},
            null,
            {"candidate": "end-of-candidates"},
            {"candidate": "a=end-of-candidates"},
        ]);
        assert_eq!(read_list(ends), vec![Candidate::end(); 7]);
        assert!(Candidate::end().is_end() && !plain(LINE).is_end());
    }

    #[test]
    fn the_end_of_one_line_keeps_its_mid() {
        let end = Candidate { sdp_mid: Some("1".into()), ..Candidate::end() };
        assert_eq!(read_list(json!([{"candidate": "", "sdpMid": "1"}])), [end]);
    }

    #[test]
    fn lines_are_freed_of_what_does_not_belong_to_them() {
        let read = read_list(json!([
            {"candidate": format!("a={LINE}\r\n")},
            {"candidate": LINE, "sdpMid": null, "sdpMLineIndex": null, "usernameFragment": ""},
        ]));
        assert_eq!(read, vec![plain(LINE); 2]);
    }

    #[test]
    fn mid_and_index_come_in_other_types_too() {
        let read = read_list(json!([
            {"candidate": LINE, "sdpMid": 0, "sdpMLineIndex": "3"},
            {"candidate": LINE, "sdpMid": true, "sdpMLineIndex": u64::MAX},
            {"candidate": LINE, "sdpMid": "", "sdpMLineIndex": -1},
        ]));
        let first =
            Candidate { sdp_mid: Some("0".into()), sdp_m_line_index: Some(3), ..plain(LINE) };
        assert_eq!(read, [first, plain(LINE), plain(LINE)]);
    }

    #[test]
    fn a_bad_candidate_harms_no_other() {
        let read = read_list(json!([
            7,
            "candidate:",
            [],
            {"candidate": 7},
            {"candidate": "1 1 udp 1 192.0.2.1 1 typ host"},
            {"candidate": "candidate:1\r\na=fingerprint:x"},
            {"candidate": LINE, "sdpMid": "x".repeat(256)},
            {"candidate": LINE, "usernameFragment": "x".repeat(256)},
            {"candidate": LINE},
        ]));
        assert_eq!(read, [plain(LINE)]);
    }

    #[test]
    fn lengths_and_numbers_are_bounded() {
        let of_length = |length: usize| format!("candidate:{}", "x".repeat(length - 10));
        let read = read_list(json!([
            {"candidate": of_length(MAX_CANDIDATE_BYTES)},
            {"candidate": of_length(MAX_CANDIDATE_BYTES + 1)},
            {"candidate": LINE, "sdpMid": "x".repeat(255)},
        ]));
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].candidate.len(), MAX_CANDIDATE_BYTES);
        let many = vec![json!({"candidate": LINE}); MAX_CANDIDATES_PER_EVENT + 1];
        assert_eq!(read_list(json!(many)).len(), MAX_CANDIDATES_PER_EVENT);
    }

    #[test]
    fn a_list_is_needed() {
        assert_eq!(read_all(&Object::new()), Err(Malformed::Missing("candidates")));
        assert_eq!(read_list(json!([])), []);
    }
}
