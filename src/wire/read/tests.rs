//! Field by field, with the values at the bounds.

use serde_json::json;

use super::*;

/// Reads a content after these keys were put into (or, with `null`, over) a complete one.
fn read_with(event_type: &str, changes: Value) -> Result<CallMessage, Malformed> {
    let mut content = json!({
        "call_id": "c", "party_id": "p", "version": "1", "lifetime": 60000,
        "offer": {"sdp": "o"}, "answer": {"sdp": "a"},
        "description": {"type": "offer", "sdp": "d"},
        "selected_party_id": "q", "candidates": [], "sdp_stream_metadata": {},
        "asserted_identity": {"id": "@w:x", "display_name": "W", "avatar_url": "mxc://w"},
    });
    for (key, value) in changes.as_object().unwrap() {
        content[key] = value.clone();
    }
    read(event_type, &content.to_string()).expect("a call event")
}

fn header_with(changes: Value) -> Result<Header, Malformed> {
    read_with("m.call.hangup", changes).map(|message| message.header)
}

fn invite_with(changes: Value) -> Result<Invite, Malformed> {
    match read_with("m.call.invite", changes)?.body {
        Body::Invite(invite) => Ok(invite),
        other => panic!("{other:?}"),
    }
}

fn negotiate_with(changes: Value) -> Result<Negotiate, Malformed> {
    match read_with("m.call.negotiate", changes)?.body {
        Body::Negotiate(negotiate) => Ok(negotiate),
        other => panic!("{other:?}"),
    }
}

fn replaces_with(changes: Value) -> Replaces {
    match read_with("m.call.replaces", changes).unwrap().body {
        Body::Replaces(replaces) => replaces,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_zero_is_version_zero() {
    let version = |value| header_with(json!({"version": value})).unwrap().version;
    for zero in [json!(0), json!(0.0), json!("0")] {
        assert_eq!(version(zero.clone()), Version::V0, "{zero}");
    }
    for one in [json!("1"), json!(1), json!("2"), json!("org.x"), json!(null), json!([0])] {
        assert_eq!(version(one.clone()), Version::V1, "{one}");
    }
}

#[test]
fn version_zero_has_no_party() {
    let party = |changes| header_with(changes).map(|header| header.party_id);
    assert_eq!(party(json!({"version": 0})), Ok(None));
    assert_eq!(party(json!({"version": 0, "party_id": 7})), Ok(None));
    assert_eq!(party(json!({})).unwrap().unwrap().as_str(), "p");
    assert_eq!(party(json!({"party_id": ""})), Ok(None));
    assert_eq!(party(json!({"party_id": null})), Ok(None));
    assert_eq!(party(json!({"party_id": 7})), Err(Malformed::Wrong("party_id")));
}

#[test]
fn a_call_id_is_needed() {
    let call_id = |value| header_with(json!({"call_id": value})).map(|header| header.call_id);
    assert_eq!(call_id(json!(null)), Err(Malformed::Missing("call_id")));
    assert_eq!(call_id(json!("")), Err(Malformed::Missing("call_id")));
    assert_eq!(call_id(json!(5)), Err(Malformed::Wrong("call_id")));
    assert_eq!(call_id(json!("c".repeat(256))), Err(Malformed::TooLarge("call_id")));
    assert_eq!(call_id(json!("x y")).unwrap().as_str(), "x y");
}

#[test]
fn the_group_fields_are_read_under_both_names() {
    let fields = json!({
        "conf_id": "", "room_id": "!r:x", "device_id": "D", "dest_session_id": "to",
        "sender_session_id": "from", "seq": 4,
    });
    let leg = |form| Leg {
        form,
        conf_id: String::new(),
        room_id: Some("!r:x".parse().unwrap()),
        dest_session_id: Some("to".into()),
        sender_session_id: Some("from".into()),
        seq: Some(4),
    };
    let names = [
        ("m.call.hangup", WireForm::Readme),
        ("com.famedly.call.member.hangup", WireForm::Deployed),
    ];
    for (event_type, form) in names {
        let header = read_with(event_type, fields.clone()).unwrap().header;
        assert_eq!(header.leg, Some(leg(form)));
        assert_eq!(header.device_id.unwrap().as_str(), "D");
    }
}

#[test]
fn a_twin_needs_group_call_and_room_a_plain_event_does_not() {
    let twin = |changes| read_with("com.famedly.call.member.hangup", changes);
    assert_eq!(twin(json!({"room_id": "!r"})), Err(Malformed::Missing("conf_id")));
    assert_eq!(twin(json!({"conf_id": "g"})), Err(Malformed::Missing("room_id")));
    assert_eq!(header_with(json!({"room_id": "!r"})).unwrap().leg, None);
    let leg = header_with(json!({"conf_id": "g"})).unwrap().leg;
    assert_eq!(leg, Some(Leg { form: WireForm::Readme, conf_id: "g".into(), ..Leg::default() }));
    assert_eq!(header_with(json!({"conf_id": 7})), Err(Malformed::Wrong("conf_id")));
    assert_eq!(
        header_with(json!({"conf_id": "g", "dest_session_id": 7})),
        Err(Malformed::Wrong("dest_session_id"))
    );
}

#[test]
fn lifetimes_are_read_in_many_forms() {
    let lifetime = |value| invite_with(json!({"lifetime": value})).unwrap().lifetime.as_millis();
    assert_eq!(lifetime(json!(90000)), 90_000);
    assert_eq!(lifetime(json!(60000.5)), 60_000);
    assert_eq!(lifetime(json!("30000")), 30_000);
    assert_eq!(lifetime(json!(null)), 60_000);
    assert_eq!(lifetime(json!("soon")), 60_000);
    assert_eq!(lifetime(json!(-1)), 0);
    assert_eq!(lifetime(json!(1e300)), 86_400_000);
    assert_eq!(negotiate_with(json!({"lifetime": null})).unwrap().lifetime, None);
    let ten = negotiate_with(json!({"lifetime": 10000})).unwrap().lifetime;
    assert_eq!(ten, Some(Duration::from_secs(10)));
}

#[test]
fn an_invite_for_nobody_that_can_be_read_is_refused() {
    let invite = invite_with(json!({"invitee": "@b:x", "invitee_device_id": "D"})).unwrap();
    assert_eq!(invite.invitee.unwrap().as_str(), "@b:x");
    assert_eq!(invite.invitee_device.unwrap().as_str(), "D");
    assert_eq!(invite_with(json!({"invitee": "b"})), Err(Malformed::Wrong("invitee")));
    assert_eq!(
        invite_with(json!({"invitee_device_id": 7})),
        Err(Malformed::Wrong("invitee_device_id"))
    );
    let open = invite_with(json!({"invitee": null, "invitee_device_id": ""})).unwrap();
    assert_eq!((open.invitee, open.invitee_device), (None, None));
}

#[test]
fn capabilities_are_false_where_nothing_is_said() {
    let can = |value| invite_with(json!({"capabilities": value})).unwrap().capabilities;
    assert_eq!(can(json!(null)), Capabilities::default());
    assert_eq!(
        can(json!({"m.call.transferee": true})),
        Capabilities { transferee: true, dtmf: false }
    );
    assert_eq!(
        can(json!({"m.call.dtmf": true, "m.call.transferee": "yes"})),
        Capabilities { transferee: false, dtmf: true }
    );
    assert_eq!(negotiate_with(json!({})).unwrap().capabilities, None);
    let some = negotiate_with(json!({"capabilities": {}})).unwrap().capabilities;
    assert_eq!(some, Some(Capabilities::default()));
}

#[test]
fn descriptions_are_needed_and_bounded() {
    let offer = |value| invite_with(json!({"offer": value})).map(|invite| invite.offer);
    assert_eq!(offer(json!(null)), Err(Malformed::Missing("offer")));
    assert_eq!(offer(json!("v=0")), Err(Malformed::Wrong("offer")));
    assert_eq!(offer(json!({})), Err(Malformed::Missing("offer.sdp")));
    assert_eq!(offer(json!({"sdp": ""})), Err(Malformed::Missing("offer.sdp")));
    let largest = "x".repeat(MAX_SDP_BYTES);
    assert_eq!(offer(json!({"sdp": largest})), Ok(largest.as_str().into()));
    let larger = format!("{largest}x");
    assert_eq!(offer(json!({"sdp": larger})), Err(Malformed::TooLarge("offer.sdp")));
    let answer = |value| read_with("m.call.answer", json!({"answer": value}));
    assert_eq!(answer(json!({})), Err(Malformed::Missing("answer.sdp")));
    assert_eq!(answer(json!(null)), Err(Malformed::Missing("answer")));
}

#[test]
fn a_negotiation_says_whether_it_asks() {
    let kind = |value| {
        let description = json!({"type": value, "sdp": "d"});
        let negotiate = negotiate_with(json!({"description": description}));
        negotiate.map(|negotiate| negotiate.description.kind)
    };
    assert_eq!(kind(json!("offer")), Ok(SdpKind::Offer));
    assert_eq!(kind(json!("answer")), Ok(SdpKind::Answer));
    assert_eq!(kind(json!("pranswer")), Ok(SdpKind::Answer));
    assert_eq!(kind(json!("rollback")), Err(Malformed::Wrong("description.type")));
    assert_eq!(kind(json!(null)), Err(Malformed::Missing("description.type")));
    assert_eq!(
        negotiate_with(json!({"description": {"type": "offer"}})),
        Err(Malformed::Missing("description.sdp"))
    );
}

#[test]
fn reasons_may_be_absent() {
    let reason = |value| read_with("m.call.reject", json!({"reason": value})).unwrap().body;
    assert_eq!(reason(json!("user_busy")), Body::Reject { reason: Some(Reason::UserBusy) });
    for none in [json!(null), json!(""), json!(7)] {
        assert_eq!(reason(none), Body::Reject { reason: None });
    }
    let hangup = read_with("m.call.hangup", json!({"reason": "replaced"})).unwrap().body;
    assert_eq!(hangup, Body::Hangup { reason: Some(Reason::Replaced) });
}

#[test]
fn what_an_event_is_about_must_be_there() {
    let without = |event_type: &str, key: &'static str| {
        assert_eq!(
            read_with(event_type, json!({ key: null })),
            Err(Malformed::Missing(key)),
            "{event_type}"
        );
    };
    without("m.call.select_answer", "selected_party_id");
    without("m.call.candidates", "candidates");
    without("m.call.sdp_stream_metadata_changed", "sdp_stream_metadata");
    without("m.call.asserted_identity", "asserted_identity");
    without("m.call.negotiate", "description");
}

#[test]
fn identities_are_bounded() {
    let who = |identity: Value| {
        let changes = json!({"asserted_identity": identity});
        match read_with("m.call.asserted_identity", changes).unwrap().body {
            Body::AssertedIdentity(who) => who,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(who(json!({})), Identity::default());
    let long = "x".repeat(300);
    let cut = who(json!({"id": long, "display_name": long, "avatar_url": long}));
    assert_eq!(cut, Identity { id: None, display_name: Some("x".repeat(256)), avatar_url: None });
    let id = "x".repeat(255);
    assert_eq!(who(json!({"id": id})).id, Some(id));
}

#[test]
fn a_transfer_is_read() {
    let replaces = replaces_with(json!({
        "replacement_id": "r", "target_user": {"id": "@t:x"}, "create_call": "new",
        "await_call": "old", "target_room": "!t:x",
    }));
    let target = Identity { id: Some("@t:x".into()), ..Identity::default() };
    let expected = Replaces {
        replacement_id: Some("r".into()),
        target_user: Some(target),
        create_call: Some("new".into()),
        await_call: Some("old".into()),
        target_room: Some("!t:x".into()),
    };
    assert_eq!(replaces, expected);
    assert_eq!(replaces_with(json!({"target_user": 7})), Replaces::default());
}

#[test]
fn contents_are_objects_of_bounded_size() {
    let read = |content: &str| read("m.call.hangup", content).unwrap();
    for bad in ["", "7", "[]", "null", "{", "{}{}"] {
        assert_eq!(read(bad), Err(Malformed::NotAnObject), "{bad}");
    }
    let padded = |size: usize| {
        let content = r#"{"call_id":"c"}"#;
        format!("{content}{}", " ".repeat(size - content.len()))
    };
    assert!(read(&padded(MAX_CONTENT_BYTES)).is_ok());
    assert_eq!(read(&padded(MAX_CONTENT_BYTES + 1)), Err(Malformed::TooLarge("content")));
    let deep = format!("{}{}", r#"{"x":"#.repeat(10_000), "}".repeat(10_000));
    assert_eq!(read(&deep), Err(Malformed::NotAnObject));
}

#[test]
fn other_events_are_left_alone() {
    assert_eq!(read("m.room.message", "{}"), None);
    assert!(is_call_event("m.call.invite") && !is_call_event("m.room.message"));
}
