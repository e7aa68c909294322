//! Delayed leaves (MSC4140): what is written, and what the homeserver lists of them.
//!
//! A delayed event is one that the homeserver sends later, unless it hears from us: the leave of a
//! device that can say nothing any more. Of all that it lists only memberships are read: what else a
//! user has scheduled concerns nobody here.

use serde_json::Value;

use super::{
    delivery::Malformed,
    json::{Object, exact_text, id, object, optional_id, text},
    member::{Dialect, MEMBER_TYPE, MemberEntry, write_members},
};
use crate::id::{DelayId, DeviceId, RoomId};

/// Most events of one page that are read.
pub const MAX_DELAYED_PER_PAGE: usize = 256;
/// Longest token of a next page that is followed.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// Whose leave it is, in an event that the devices of a user share: they all schedule leaves under one
/// key, and each may cancel its own only. Readers of memberships skip it.
const LEAVING: &str = "org.matrix_voip.leaving_device";

/// A membership event that the homeserver will send.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DelayedMember {
    /// How the homeserver names it.
    pub id: DelayId,
    /// In which room.
    pub room: RoomId,
    /// Under which state key.
    pub state_key: String,
    /// The device of which it is the leave, where it says so.
    pub leaving: Option<DeviceId>,
}

/// One page of the delayed events of our user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DelayedPage {
    /// The memberships among them.
    pub members: Vec<DelayedMember>,
    /// What to ask for the next page with; `None`: this was the last.
    pub next: Option<String>,
}

impl DelayedPage {
    /// Reads the homeserver's answer in each of its forms: `delayed_events`, or `scheduled` as of
    /// `GET …/delayed_events/scheduled`. An event that cannot be read harms no other.
    ///
    /// # Errors
    /// [`Malformed`] when the answer is no JSON object.
    pub fn read(answer: &str) -> Result<Self, Malformed> {
        let Ok(Value::Object(answer)) = serde_json::from_str(answer) else {
            return Err(Malformed::NotAnObject);
        };
        let listed = answer.get("delayed_events").or_else(|| answer.get("scheduled"));
        let listed = listed.and_then(Value::as_array).into_iter().flatten();
        let members = listed.take(MAX_DELAYED_PER_PAGE).filter_map(Value::as_object);
        let next = text(&answer, "next_batch");
        let next = next.filter(|token| (1..=MAX_TOKEN_BYTES).contains(&token.len()));
        Ok(Self { members: members.filter_map(member).collect(), next: next.map(str::to_owned) })
    }
}

fn member(event: &Object) -> Option<DelayedMember> {
    if text(event, "type") != Some(MEMBER_TYPE) {
        return None;
    }
    let leaving = object(event, "content").map(|content| optional_id(content, LEAVING));
    Some(DelayedMember {
        id: id(event, "delay_id").ok()?,
        room: id(event, "room_id").ok()?,
        state_key: exact_text(event, "state_key").ok()??.to_owned(),
        leaving: leaving.and_then(Result::ok).flatten(),
    })
}

/// The content of a leave: the entries of others under the same state key as they are, and whose
/// leave it is where several devices write under that key.
pub fn write_leave<'a>(
    leaving: Option<&DeviceId>,
    kept: impl IntoIterator<Item = &'a MemberEntry>,
) -> String {
    let Some(leaving) = leaving else { return write_members(Dialect::Famedly, [], kept) };
    let kept: Vec<&str> = kept.into_iter().map(|entry| entry.raw.expose()).collect();
    let leaving = Value::from(leaving.as_str());
    format!(r#"{{"memberships":[{}],"{LEAVING}":{leaving}}}"#, kept.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::member::read_members;

    #[test]
    fn both_forms_of_the_list_are_read_and_other_types_are_skipped() {
        // As Synapse 1.163 and the proposal of 2025 write it, and the finalised form.
        let event = r#"{"delay_id":"syd_a","room_id":"!r","type":"com.famedly.call.member",
            "state_key":"@a:x","delay":30000,"running_since":1,"delay_ms":30000,
            "content":{"memberships":[],"org.matrix_voip.leaving_device":"D"}}"#;
        let others = r#"{"delay_id":"b","room_id":"!r","type":"m.room.message","content":{}},
            {"delay_id":"","room_id":"!r","type":"com.famedly.call.member","state_key":"k"},
            {"delay_id":"c","room_id":"!r","type":"com.famedly.call.member"}, 7"#;
        for name in ["delayed_events", "scheduled"] {
            let answer = format!(r#"{{"{name}":[{others},{event}],"next_batch":"n"}}"#);
            let page = DelayedPage::read(&answer).unwrap();
            let only = DelayedMember {
                id: DelayId::parse("syd_a").unwrap(),
                room: RoomId::parse("!r").unwrap(),
                state_key: "@a:x".to_owned(),
                leaving: Some(DeviceId::parse("D").unwrap()),
            };
            assert_eq!((page.members, page.next), (vec![only], Some("n".to_owned())));
        }
    }

    #[test]
    fn nonsense_is_bounded_or_refused() {
        assert_eq!(DelayedPage::read("[]"), Err(Malformed::NotAnObject));
        assert_eq!(DelayedPage::read("{}"), Ok(DelayedPage::default()));
        let event = r#"{"delay_id":"a","room_id":"!r","type":"com.famedly.call.member",
            "state_key":""},"#;
        let many = event.repeat(MAX_DELAYED_PER_PAGE + 1);
        let token = "x".repeat(MAX_TOKEN_BYTES + 1);
        let answer = format!(r#"{{"delayed_events":[{many}7],"next_batch":"{token}"}}"#);
        let page = DelayedPage::read(&answer).unwrap();
        assert_eq!((page.members.len(), page.next), (MAX_DELAYED_PER_PAGE, None));
    }

    #[test]
    fn a_leave_keeps_the_others_and_says_whose_it_is() {
        let content = r#"{"memberships":[{"device_id":"B","call_id":""}]}"#;
        let kept = read_members(Dialect::Famedly, content).unwrap();
        let device = DeviceId::parse("D\"").unwrap();
        let leave = write_leave(Some(&device), &kept);
        assert_eq!(read_members(Dialect::Famedly, &leave).unwrap(), kept);
        let listed = format!(
            r#"{{"scheduled":[{{"delay_id":"a","room_id":"!r","type":"{MEMBER_TYPE}",
                "state_key":"","content":{leave}}}]}}"#
        );
        assert_eq!(DelayedPage::read(&listed).unwrap().members[0].leaving, Some(device));
        assert_eq!(write_leave(None, []), r#"{"memberships":[]}"#);
    }
}
