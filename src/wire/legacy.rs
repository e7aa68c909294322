//! The group calls of matrix-js-sdk: MSC3401 as it was first (`matrix-js-sdk.md` §2.3).
//!
//! A call is announced by the state event `org.matrix.msc3401.call`; who is in it stands in
//! `org.matrix.msc3401.call.member` under the user's id, all of his devices in all of his calls in one
//! event. Only meshes are of this kind, and their messages come to devices under plain names.

use serde_json::{Value, json};

use super::{
    delivery::Malformed,
    json::{Object, exact_text, id},
    member::{
        Backend, DEFAULT_APPLICATION, GroupCallId, MAX_ENTRIES, MemberEntry, Membership, Scope,
        call_id, device, expires, feeds,
    },
};
use crate::redact::Redacted;

/// The state event that announces a call; its key is the call's id.
pub const CALL_TYPE: &str = "org.matrix.msc3401.call";

/// Entries of the event type that three generations share; those of another shape are not ours. Each is
/// kept with the call that it stands in.
pub(super) fn entries(content: &Object) -> Vec<MemberEntry> {
    let calls = content.get("m.calls").and_then(Value::as_array).into_iter().flatten();
    let devices = calls.filter_map(Value::as_object).flat_map(|call| {
        let devices = call.get("m.devices").and_then(Value::as_array).into_iter().flatten();
        devices.map(move |entry| {
            let mut alone = call.clone();
            alone.insert("m.devices".to_owned(), json!([entry]));
            MemberEntry {
                membership: entry
                    .as_object()
                    .ok_or(Malformed::NotAnObject)
                    .and_then(|entry| read(call, entry)),
                device: device(entry),
                raw: Redacted::new(Value::Object(alone).to_string()),
            }
        })
    });
    devices.take(MAX_ENTRIES).collect()
}

fn read(call: &Object, entry: &Object) -> Result<Membership, Malformed> {
    Ok(Membership {
        group: GroupCallId { scope: Scope::Room, call_id: call_id(call, "m.call_id")? },
        application: DEFAULT_APPLICATION.to_owned(),
        device: id(entry, "device_id")?,
        session: exact_text(entry, "session_id")?.map(str::to_owned),
        expires: expires(entry)?,
        backend: Backend::Msc3401Mesh,
        feeds: feeds(entry),
    })
}

/// The content of a member event: our memberships, and the entries of others under the same key. A
/// call stands there once: readers look at the first of an id.
pub(super) fn write<'a>(
    ours: impl IntoIterator<Item = &'a Membership>,
    kept: impl IntoIterator<Item = &'a MemberEntry>,
) -> String {
    let kept = kept.into_iter().filter_map(|entry| serde_json::from_str(entry.raw.expose()).ok());
    let written = kept.chain(ours.into_iter().map(written));
    let mut calls: Vec<Object> = Vec::new();
    for mut call in written.filter_map(|call: Value| call.as_object().cloned()) {
        let same = calls.iter_mut().find(|other| other.get("m.call_id") == call.get("m.call_id"));
        let devices = same.and_then(|same| same.get_mut("m.devices")?.as_array_mut());
        match (devices, call.get_mut("m.devices").and_then(Value::as_array_mut)) {
            (Some(devices), Some(more)) => devices.append(more),
            (_, _) => calls.push(call),
        }
    }
    json!({ "m.calls": calls }).to_string()
}

fn written(membership: &Membership) -> Value {
    let feeds = membership.feeds.iter().map(|purpose| json!({ "purpose": purpose.as_str() }));
    json!({
        "m.call_id": membership.group.call_id,
        "m.devices": [{
            "device_id": membership.device.as_str(),
            "session_id": membership.session,
            "expires_ts": membership.expires.0,
            "feeds": feeds.collect::<Vec<_>>(),
        }],
    })
}

/// The content of an announcement.
pub fn announcement() -> String {
    let content = json!({
        "m.intent": "m.prompt",
        "m.type": "m.video",
        "io.element.ptt": false,
        "dataChannelsEnabled": false,
    });
    content.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        id::DeviceId,
        time::Wall,
        wire::{
            member::{Dialect, read_members, write_members},
            metadata::Purpose,
        },
    };

    fn ours() -> Membership {
        Membership {
            group: GroupCallId::named("conf"),
            application: DEFAULT_APPLICATION.to_owned(),
            device: DeviceId::parse("MINE").unwrap(),
            session: Some("visit".into()),
            expires: Wall(5),
            backend: Backend::Msc3401Mesh,
            feeds: vec![Purpose::UserMedia],
        }
    }

    #[test]
    fn what_is_written_is_what_matrix_js_sdk_reads() {
        let written: Value =
            serde_json::from_str(&write_members(Dialect::Msc3401, [&ours()], [])).unwrap();
        let expected = json!({ "m.calls": [{ "m.call_id": "conf", "m.devices": [{
            "device_id": "MINE", "session_id": "visit", "expires_ts": 5,
            "feeds": [{ "purpose": "m.usermedia" }] }] }] });
        assert_eq!(written, expected);
        let read = read_members(Dialect::Msc3401, &written.to_string()).unwrap();
        assert_eq!(read[0].membership, Ok(ours()));
        assert_eq!(write_members(Dialect::Msc3401, [], []), r#"{"m.calls":[]}"#);
    }

    #[test]
    fn other_devices_and_other_calls_stay_and_a_call_stands_there_once() {
        let content = json!({ "m.calls": [
            { "m.call_id": "other", "m.foci": ["x"], "m.devices": [{ "device_id": "B", "odd": 1 }] },
            { "m.call_id": "conf", "m.devices": [{ "device_id": "B" }, 7] },
            { "m.call_id": "empty", "m.devices": [] },
        ] });
        let kept = read_members(Dialect::Msc3401, &content.to_string()).unwrap();
        let written = write_members(Dialect::Msc3401, [&ours()], &kept);
        let written: Value = serde_json::from_str(&written).unwrap();
        let calls = written["m.calls"].as_array().unwrap();
        assert_eq!((calls.len(), &calls[0]), (2, &content["m.calls"][0]));
        assert_eq!(calls[1]["m.devices"].as_array().unwrap().len(), 3);
        assert_eq!(calls[1]["m.devices"][2]["device_id"], "MINE");
    }
}
