//! What the fuzz targets share: the types of events, the skeleton of a description, and the play of
//! an engine by arbitrary bytes.

pub mod groups;
pub mod play;
pub mod seeds;

use matrix_voip::{
    Config, Identity,
    id::{DeviceId, OpId, UserId},
    machine::io::{Description, Input, Reply, SdpKind, Verdict},
    record::{Entry, Origin, Replay, Scribe},
    time::Now,
};

/// The call events, the events around group calls, those about media keys, and what is neither. A seed's first byte is an index of it.
pub const EVENT_TYPES: [&str; 24] = [
    "m.call.invite",
    "m.call.candidates",
    "m.call.answer",
    "m.call.select_answer",
    "m.call.reject",
    "m.call.hangup",
    "m.call.negotiate",
    "m.call.sdp_stream_metadata_changed",
    "org.matrix.call.sdp_stream_metadata_changed",
    "m.call.asserted_identity",
    "m.call.replaces",
    "com.famedly.call.member.invite",
    "com.famedly.call.member.candidates",
    "m.room.message",
    "org.matrix.msc4075.rtc.notification",
    "m.rtc.notification",
    "org.matrix.msc4310.rtc.decline",
    "m.rtc.decline",
    "com.famedly.call.member.reaction",
    "m.room.redaction",
    "com.famedly.call.member.encryption_keys",
    "com.famedly.call.member.encryption_keys_request",
    "com.famedly.call.encryption_keys",
    "com.famedly.call.encryption_keys.request",
];

/// Who plays.
pub fn origin() -> Origin {
    let user = UserId::parse("@ada:example").expect("a user id");
    let device = DeviceId::parse("PHONE").expect("a device id");
    Origin { identity: Identity { user, device }, config: Config::default(), seed: 1 }
}

/// What a recording keeps of a description.
pub fn skeleton(sdp: &str) -> String {
    let now = Now::default();
    let mut scribe = Scribe::begin(Vec::new(), &origin(), now).expect("memory");
    let description = Description { kind: SdpKind::Offer, sdp: sdp.into() };
    let input = Input::Reply(OpId(1), Ok(Reply::Description(description)));
    scribe.note(now, &Entry::Input(Box::new(input), Verdict::Handled)).expect("memory");
    let file = scribe.finish().expect("memory");
    let mut replay = Replay::open(file.as_slice()).expect("a recording");
    let step = replay.next().expect("one step").expect("a readable step");
    match step.entry {
        Entry::Input(input, _) => match *input {
            Input::Reply(_, Ok(Reply::Description(kept))) => kept.sdp.expose().to_owned(),
            other => panic!("another input was read: {other:?}"),
        },
        other => panic!("another entry was read: {other:?}"),
    }
}
