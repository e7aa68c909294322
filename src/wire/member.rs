//! Who is in a group call: the state event `com.famedly.call.member`.
//!
//! One event holds the memberships of one user (or of one of his devices, see [`KeyLayout`]). Three
//! forms are read: what deployed clients write (`foci_active`), what seed 001 documents (`backend`),
//! and what was written before both (`org.matrix.msc3401.call.member` with `m.calls`);
//! `famedly-dart.md` §2.5. Written is one event that holds the first two. The user is always the
//! event's sender: a content cannot name him.

use serde::Serialize;
use serde_json::Value;

use super::{
    delivery::Malformed,
    json::{Object, exact_text, id, object, optional_id, shortened, text, whole},
    legacy,
    metadata::Purpose,
    read::content_object,
};
use crate::{
    id::{DeviceId, RoomId, UserId},
    redact::Redacted,
    time::Wall,
};

/// The state event that says who is in a group call.
pub const MEMBER_TYPE: &str = "com.famedly.call.member";
/// The state event of the generation before, of which the mesh form (`m.calls`) is read.
pub const LEGACY_MEMBER_TYPE: &str = "org.matrix.msc3401.call.member";
/// Most memberships of one event that are read; a user has few devices in few calls.
pub const MAX_ENTRIES: usize = 64;
/// Most feeds of one membership that are read.
pub const MAX_FEEDS: usize = 16;
/// Most bytes of an `application`, or of a backend that is not known, that are kept.
pub const MAX_KIND_BYTES: usize = 64;

/// What a group call is about when nobody says: sound and picture.
pub const DEFAULT_APPLICATION: &str = "m.call";

/// Which generation of clients a membership is of: who does not speak the same meets nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// `com.famedly.call.member`.
    #[default]
    Famedly,
    /// `org.matrix.msc3401.call.member` with `m.calls`: the meshes of matrix-js-sdk.
    Msc3401,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Famedly, Self::Msc3401];

    /// The event type that its memberships stand in.
    pub const fn member_type(self) -> &'static str {
        match self {
            Self::Famedly => MEMBER_TYPE,
            Self::Msc3401 => LEGACY_MEMBER_TYPE,
        }
    }

    /// Whose memberships a state event type holds; `None` if none.
    pub fn of(event_type: &str) -> Option<Self> {
        match event_type {
            MEMBER_TYPE => Some(Self::Famedly),
            LEGACY_MEMBER_TYPE => Some(Self::Msc3401),
            _ => None,
        }
    }
}

/// Which group call of a room: what makes two memberships belong together. What they are about
/// (`application`) and how they meet ([`Backend`]) is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupCallId {
    /// For whom the call is.
    pub scope: Scope,
    /// Its id, `""` like any other: the call of the room.
    pub call_id: String,
}

impl GroupCallId {
    /// The one call of a room.
    pub fn room() -> Self {
        Self { scope: Scope::Room, call_id: String::new() }
    }

    /// The call of that id, for everybody in the room.
    pub fn named(call_id: impl Into<String>) -> Self {
        Self { scope: Scope::Room, call_id: call_id.into() }
    }

    /// A call for some users of the room; seed 001 proposes `A:B` for its id.
    pub fn among_users(call_id: impl Into<String>) -> Self {
        Self { scope: Scope::User, call_id: call_id.into() }
    }
}

/// For whom a group call is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// `m.room`: for everybody in the room.
    Room,
    /// `m.user`: for some users in the room.
    User,
    /// Anything else.
    Other(String),
}

impl Scope {
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "m.room" => Self::Room,
            "m.user" => Self::User,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The text that is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Room => "m.room",
            Self::User => "m.user",
            Self::Other(text) => text,
        }
    }
}

/// How the participants of a group call meet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Each with each, by peer connections.
    Mesh,
    /// The same in the words of matrix-js-sdk ([`Dialect::Msc3401`]): it and Famedly's clients do not
    /// meet. The call has an id, and is for the whole room.
    Msc3401Mesh,
    /// Through a LiveKit SFU.
    Livekit {
        /// Where tokens for it are had.
        service_url: String,
        /// The SFU's name of the call.
        alias: String,
    },
    /// By something that this version does not know.
    Unknown(String),
}

impl Backend {
    /// Whether the participants meet each with each: their media is ours then.
    pub const fn is_mesh(&self) -> bool {
        matches!(self, Self::Mesh | Self::Msc3401Mesh)
    }

    /// Through an SFU, whichever: the oldest members say, our configuration, or the homeserver, when we
    /// enter.
    pub const fn sfu() -> Self {
        Self::Livekit { service_url: String::new(), alias: String::new() }
    }

    /// Through the LiveKit SFU whose tokens are had there, under this name of the call; an empty one
    /// becomes the room's id when the call is opened, as Famedly's apps have it.
    pub fn livekit(service_url: impl Into<String>, alias: impl Into<String>) -> Self {
        Self::Livekit { service_url: service_url.into(), alias: alias.into() }
    }

    /// Whether the participants meet through an SFU.
    pub const fn is_sfu(&self) -> bool {
        matches!(self, Self::Livekit { .. })
    }

    /// Whether it is said where: of an SFU which.
    pub fn has_focus(&self) -> bool {
        match self {
            Self::Livekit { service_url, .. } => !service_url.is_empty(),
            Self::Mesh | Self::Msc3401Mesh | Self::Unknown(_) => true,
        }
    }

    /// The same, with the room's id for a name where an SFU is named and its call is not.
    pub(crate) fn named_by(self, room: &RoomId) -> Self {
        match &self {
            Self::Livekit { service_url, alias } if alias.is_empty() && !service_url.is_empty() => {
                Self::livekit(service_url, room.as_str())
            }
            Self::Livekit { .. } | Self::Mesh | Self::Msc3401Mesh | Self::Unknown(_) => self,
        }
    }

    /// Whether who wants this one is content with that.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        self == other || (self.is_sfu() && other.is_sfu() && !self.has_focus())
    }

    /// In which words a membership of this backend is written.
    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Msc3401Mesh => Dialect::Msc3401,
            Self::Mesh | Self::Livekit { .. } | Self::Unknown(_) => Dialect::Famedly,
        }
    }

    fn read(focus: &Object) -> Result<Self, Malformed> {
        let livekit = |key| exact_text(focus, key)?.ok_or(Malformed::Missing(key));
        match text(focus, "type") {
            Some("mesh") => Ok(Self::Mesh),
            // Without an address it would be any.
            Some("livekit") if livekit("livekit_service_url")?.is_empty() => {
                Err(Malformed::Missing("livekit_service_url"))
            }
            Some("livekit") => Ok(Self::Livekit {
                service_url: livekit("livekit_service_url")?.to_owned(),
                alias: livekit("livekit_alias")?.to_owned(),
            }),
            Some(other) => Ok(Self::Unknown(shortened(other, MAX_KIND_BYTES))),
            None => Err(Malformed::Missing("type")),
        }
    }
}

/// One device in one group call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Which call.
    pub group: GroupCallId,
    /// What it is about: `m.call`, `m.call.audio`, `m.game`, anything.
    pub application: String,
    /// The device.
    pub device: DeviceId,
    /// Which of the device's visits it is (`membershipID`): a new one at each entering.
    pub session: Option<String>,
    /// From when on it counts no more, by the device's clock.
    pub expires: Wall,
    /// How it meets the others.
    pub backend: Backend,
    /// What it shows; mesh only.
    pub feeds: Vec<Purpose>,
}

impl Membership {
    /// Whether others will read it as it is: no text is longer than they take, or means something else.
    pub fn is_writable(&self) -> bool {
        let dialect = self.backend.dialect();
        let named = dialect == Dialect::Famedly || !self.group.call_id.is_empty();
        let read = read_members(dialect, &write_members(dialect, [self], []));
        let read = read.ok().filter(|_| named).and_then(|mut entries| entries.pop());
        read.is_some_and(|entry| entry.membership.as_ref() == Ok(self))
    }

    fn read(entry: &Object) -> Result<Self, Malformed> {
        Ok(Self {
            group: GroupCallId {
                scope: exact_text(entry, "scope")?.map_or(Scope::Room, Scope::parse),
                call_id: call_id(entry, "call_id")?,
            },
            application: application(entry),
            device: id(entry, "device_id")?,
            session: exact_text(entry, "membershipID")?.map(str::to_owned),
            expires: expires(entry)?,
            backend: backend(entry)?,
            feeds: feeds(entry),
        })
    }
}

pub(super) fn call_id(entry: &Object, key: &'static str) -> Result<String, Malformed> {
    exact_text(entry, key)?.map(str::to_owned).ok_or(Malformed::Missing(key))
}

fn application(entry: &Object) -> String {
    let said = text(entry, "application").filter(|said| !said.is_empty());
    shortened(said.unwrap_or(DEFAULT_APPLICATION), MAX_KIND_BYTES)
}

pub(super) fn expires(entry: &Object) -> Result<Wall, Malformed> {
    whole(entry, "expires_ts").map(Wall).ok_or(Malformed::Missing("expires_ts"))
}

/// The first focus that deployed clients name, else the object of seed 001.
fn backend(entry: &Object) -> Result<Backend, Malformed> {
    let foci = entry.get("foci_active").and_then(Value::as_array);
    let first = foci.and_then(|foci| foci.first()).and_then(Value::as_object);
    let focus = first.or_else(|| object(entry, "backend"));
    focus.ok_or(Malformed::Missing("foci_active")).and_then(Backend::read)
}

pub(super) fn feeds(entry: &Object) -> Vec<Purpose> {
    let feeds = entry.get("feeds").and_then(Value::as_array).into_iter().flatten();
    let purposes = feeds.filter_map(|feed| text(feed.as_object()?, "purpose")).map(Purpose::parse);
    purposes.take(MAX_FEEDS).collect()
}

// ---------------------------------------------------------------------------------------- reading

/// One entry of a member event. What it says is read; how it was written is kept, because whoever
/// writes the event anew must keep the entries of a user's other devices as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemberEntry {
    /// What it says, or why it says nothing.
    pub membership: Result<Membership, Malformed>,
    /// Whose it is, also where the rest cannot be read.
    pub device: Option<DeviceId>,
    pub(crate) raw: Redacted,
}

/// Reads the entries of a member event. One without entries (also a redacted one) says that nobody
/// is in a call.
///
/// # Errors
/// [`Malformed`]: the content is no object, or longer than any honest one. An entry that cannot be
/// read harms no other.
pub fn read_members(dialect: Dialect, content: &str) -> Result<Vec<MemberEntry>, Malformed> {
    let content = content_object(content)?;
    Ok(match dialect {
        Dialect::Famedly => entries(&content),
        Dialect::Msc3401 => legacy::entries(&content),
    })
}

fn entries(content: &Object) -> Vec<MemberEntry> {
    let entries = content.get("memberships").and_then(Value::as_array).into_iter().flatten();
    let read = entries.take(MAX_ENTRIES).map(|entry| MemberEntry {
        membership: entry.as_object().ok_or(Malformed::NotAnObject).and_then(Membership::read),
        device: device(entry),
        raw: Redacted::new(entry.to_string()),
    });
    read.collect()
}

pub(super) fn device(entry: &Value) -> Option<DeviceId> {
    optional_id(entry.as_object()?, "device_id").ok().flatten()
}

// ---------------------------------------------------------------------------------------- writing

#[derive(Serialize)]
struct WrittenFocus<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    livekit_service_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    livekit_alias: Option<&'a str>,
}

impl<'a> WrittenFocus<'a> {
    fn of(backend: &'a Backend) -> Self {
        let (r#type, livekit) = match backend {
            Backend::Mesh | Backend::Msc3401Mesh => ("mesh", None),
            Backend::Livekit { service_url, alias } => ("livekit", Some((service_url, alias))),
            Backend::Unknown(other) => (other.as_str(), None),
        };
        Self {
            r#type,
            livekit_service_url: livekit.map(|(url, _)| url.as_str()),
            livekit_alias: livekit.map(|(_, alias)| alias.as_str()),
        }
    }
}

#[derive(Serialize)]
struct WrittenFeed<'a> {
    purpose: &'a str,
}

#[derive(Serialize)]
struct WrittenMembership<'a> {
    application: &'a str,
    call_id: &'a str,
    scope: &'a str,
    device_id: &'a str,
    expires_ts: u64,
    #[serde(rename = "membershipID", skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    /// What deployed clients read.
    foci_active: [WrittenFocus<'a>; 1],
    /// What seed 001 documents.
    backend: WrittenFocus<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feeds: Option<Vec<WrittenFeed<'a>>>,
}

impl<'a> WrittenMembership<'a> {
    fn of(membership: &'a Membership) -> Self {
        let Membership { group, application, device, session, expires, backend, feeds } =
            membership;
        let feeds = feeds.iter().map(|purpose| WrittenFeed { purpose: purpose.as_str() });
        Self {
            application,
            call_id: &group.call_id,
            scope: group.scope.as_str(),
            device_id: device.as_str(),
            expires_ts: expires.0,
            session: session.as_deref(),
            foci_active: [WrittenFocus::of(backend)],
            backend: WrittenFocus::of(backend),
            feeds: backend.is_mesh().then(|| feeds.collect()),
        }
    }
}

/// The content of a member event: our memberships, and the entries of others under the same state
/// key as they were.
pub fn write_members<'a>(
    dialect: Dialect,
    ours: impl IntoIterator<Item = &'a Membership>,
    kept: impl IntoIterator<Item = &'a MemberEntry>,
) -> String {
    if dialect == Dialect::Msc3401 {
        return legacy::write(ours, kept);
    }
    let written = ours.into_iter().map(|membership| {
        serde_json::to_string(&WrittenMembership::of(membership))
            .expect("invariant: structs of texts and numbers can be written")
    });
    let kept = kept.into_iter().map(|entry| entry.raw.expose().to_owned());
    let entries: Vec<String> = kept.chain(written).collect();
    format!(r#"{{"memberships":[{}]}}"#, entries.join(","))
}

// -------------------------------------------------------------------------------------- state keys

/// Under which state key a device writes its memberships.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum KeyLayout {
    /// `@user:server`: one event for all devices of a user. The homeserver lets nobody else write it.
    #[default]
    User,
    /// `@user:server_DEVICE`, in rooms whose version has MSC3757: one for each device, and nobody
    /// else can write it.
    OwnedDevice,
    /// `DEVICE_@user:server`: one for each device, in any room; whoever may write memberships can
    /// write it.
    UnprotectedDevice,
}

impl KeyLayout {
    /// The state key of this device.
    pub fn key(self, user: &UserId, device: &DeviceId) -> String {
        match self {
            Self::User => user.as_str().to_owned(),
            Self::OwnedDevice => format!("{user}_{device}"),
            Self::UnprotectedDevice => format!("{device}_{user}"),
        }
    }
}

/// The layout, the user and the device of a state key that names a user.
pub(crate) fn parts(state_key: &str) -> Option<(KeyLayout, &str, &str)> {
    if !state_key.starts_with('@') {
        let at = state_key.rfind("_@")?;
        return Some((KeyLayout::UnprotectedDevice, &state_key[at + 1..], &state_key[..at]));
    }
    // A localpart may hold an underscore, a server's name cannot.
    let server = state_key.find(':')?;
    match state_key[server..].find('_') {
        Some(at) => {
            let (user, device) = state_key.split_at(server + at);
            Some((KeyLayout::OwnedDevice, user, &device[1..]))
        }
        None => Some((KeyLayout::User, state_key, "")),
    }
}

/// Whether a state key, in any layout, names another user than the one who wrote the event. A key
/// that names nobody is no contradiction.
pub fn names_another(state_key: &str, sender: &UserId) -> bool {
    let named = parts(state_key);
    let odd = state_key.starts_with('@') && named.is_none();
    odd || named.is_some_and(|(_, user, _)| user != sender.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::id::MAX_ID_BYTES;
    use crate::wire::read::MAX_CONTENT_BYTES;

    fn deployed() -> Value {
        json!({
            "call_id": "", "application": "m.call", "scope": "m.room",
            "foci_active": [{ "type": "livekit", "livekit_service_url": "https://sfu.one.example/jwt",
                              "livekit_alias": "!team:one.example" }],
            "device_id": "ADALAPTOP", "expires_ts": 1_786_100_360_000_u64,
            "membershipID": "3q2+7wAAEREiIjMzRERVVQ==" })
    }

    fn with(mut entry: Value, key: &str, value: Value) -> Value {
        entry.as_object_mut().unwrap().insert(key.to_owned(), value);
        entry
    }

    fn without(mut entry: Value, key: &str) -> Value {
        entry.as_object_mut().unwrap().remove(key);
        entry
    }

    fn one(entry: Value) -> Result<Membership, Malformed> {
        let content = json!({ "memberships": [entry] }).to_string();
        read_members(Dialect::Famedly, &content).unwrap().remove(0).membership
    }

    fn mesh() -> Membership {
        Membership {
            group: GroupCallId::room(),
            application: "m.call".into(),
            device: DeviceId::parse("ADALAPTOP").unwrap(),
            session: Some("3q2+7wAAEREiIjMzRERVVQ==".into()),
            expires: Wall(1_786_100_360_000),
            backend: Backend::Mesh,
            feeds: vec![Purpose::UserMedia],
        }
    }

    #[test]
    fn every_form_of_a_backend_is_read() {
        let livekit = one(deployed()).unwrap();
        let alias = "!team:one.example".to_owned();
        let service_url = "https://sfu.one.example/jwt".to_owned();
        assert_eq!(livekit.backend, Backend::Livekit { service_url, alias });
        let seed = without(with(deployed(), "backend", json!({ "type": "mesh" })), "foci_active");
        assert_eq!(one(seed).unwrap().backend, Backend::Mesh);
        let both = with(deployed(), "backend", json!({ "type": "mesh" }));
        assert_eq!(one(both).unwrap().backend, livekit.backend, "what deployed clients read");
        let later = with(deployed(), "foci_active", json!([{ "type": "x.other" }]));
        assert_eq!(one(later).unwrap().backend, Backend::Unknown("x.other".into()));
        let absent = without(deployed(), "foci_active");
        assert_eq!(one(absent), Err(Malformed::Missing("foci_active")));
    }

    #[test]
    fn what_old_versions_wrote_besides_is_no_obstacle() {
        let old = with(with(deployed(), "expires", json!(7_200_000)), "event_id", json!(null));
        assert_eq!(one(old), one(deployed()));
        let float = with(deployed(), "expires_ts", json!(1_786_100_360_000.0));
        assert_eq!(one(float), one(deployed()));
        assert_eq!(one(without(deployed(), "membershipID")).unwrap().session, None);
        assert_eq!(one(without(deployed(), "scope")), one(deployed()));
        assert_eq!(one(without(deployed(), "application")), one(deployed()));
    }

    #[test]
    fn what_a_membership_needs_is_asked_for() {
        let missing = |key| one(without(deployed(), key));
        assert_eq!(missing("call_id"), Err(Malformed::Missing("call_id")));
        assert_eq!(missing("device_id"), Err(Malformed::Missing("device_id")));
        assert_eq!(missing("expires_ts"), Err(Malformed::Missing("expires_ts")));
        let wrong = |key, value| one(with(deployed(), key, value));
        assert_eq!(wrong("call_id", json!(7)), Err(Malformed::Wrong("call_id")));
        assert_eq!(wrong("foci_active", json!([{}])), Err(Malformed::Missing("type")));
        let long = "x".repeat(MAX_ID_BYTES + 1);
        assert_eq!(wrong("call_id", json!(long)), Err(Malformed::TooLarge("call_id")));
        assert_eq!(one(json!(7)), Err(Malformed::NotAnObject));
    }

    #[test]
    fn calls_are_told_apart_by_scope_and_id_alone() {
        let group = |call_id: &str, scope: &str| {
            let entry = with(deployed(), "call_id", json!(call_id));
            one(with(entry, "scope", json!(scope))).unwrap().group
        };
        assert_eq!(group("", "m.room"), GroupCallId::room());
        assert_eq!(group("!r:x", "m.room"), GroupCallId::named("!r:x"));
        assert_eq!(group("A:B", "m.user"), GroupCallId::among_users("A:B"));
        assert_ne!(group("", "m.user"), GroupCallId::room());
        let game = one(with(deployed(), "application", json!("m.game"))).unwrap();
        assert_eq!((game.application.as_str(), game.group), ("m.game", GroupCallId::room()));
    }

    #[test]
    fn one_bad_entry_harms_no_other() {
        let content = json!({ "memberships": [7, without(deployed(), "call_id"), deployed()] });
        let read = read_members(Dialect::Famedly, &content.to_string()).unwrap();
        let sound: Vec<_> = read.iter().map(|entry| entry.membership.is_ok()).collect();
        assert_eq!(sound, [false, false, true]);
    }

    #[test]
    fn the_form_before_both_is_read() {
        let content = json!({ "m.calls": [
            { "m.call_id": "conf", "m.devices": [
                { "device_id": "A", "session_id": "s", "expires_ts": 9,
                  "feeds": [{ "purpose": "m.usermedia" }, { "purpose": "m.screenshare" }, {}] },
                { "device_id": "B" }] },
            { "m.devices": [{ "device_id": "C", "expires_ts": 9 }] }, 7] });
        let read = read_members(Dialect::Msc3401, &content.to_string()).unwrap();
        let first = read[0].membership.as_ref().unwrap();
        assert_eq!(first.group, GroupCallId::named("conf"));
        assert_eq!(first.feeds, [Purpose::UserMedia, Purpose::Screenshare]);
        assert_eq!((first.session.as_deref(), &first.backend), (Some("s"), &Backend::Msc3401Mesh));
        assert_eq!(read[1].membership, Err(Malformed::Missing("expires_ts")));
        assert_eq!(read[2].membership, Err(Malformed::Missing("m.call_id")));
        let rtc = r#"{"application":"m.call","call_id":"","device_id":"A","focus_active":{}}"#;
        assert_eq!(read_members(Dialect::Msc3401, rtc), Ok(Vec::new()), "another shape");
    }

    #[test]
    fn an_event_that_says_nothing_has_no_entries() {
        for content in ["{}", r#"{"memberships":[]}"#, r#"{"memberships":7}"#] {
            assert_eq!(read_members(Dialect::Famedly, content), Ok(Vec::new()), "{content}");
        }
        assert_eq!(read_members(Dialect::Famedly, "[]"), Err(Malformed::NotAnObject));
        let long = " ".repeat(MAX_CONTENT_BYTES + 1);
        assert_eq!(read_members(Dialect::Famedly, &long), Err(Malformed::TooLarge("content")));
        assert_eq!(Dialect::of("com.famedly.call.member.reaction"), None);
    }

    #[test]
    fn what_a_sender_can_make_long_is_bounded() {
        let many = json!({ "memberships": vec![deployed(); MAX_ENTRIES + 1] }).to_string();
        assert_eq!(read_members(Dialect::Famedly, &many).unwrap().len(), MAX_ENTRIES);
        let feeds = json!(vec![json!({ "purpose": "m.usermedia" }); MAX_FEEDS + 1]);
        assert_eq!(one(with(deployed(), "feeds", feeds)).unwrap().feeds.len(), MAX_FEEDS);
        let game = one(with(deployed(), "application", json!("x".repeat(MAX_KIND_BYTES + 1))));
        assert_eq!(game.unwrap().application.len(), MAX_KIND_BYTES);
    }

    #[test]
    fn written_is_what_deployed_clients_read_and_what_the_seed_documents() {
        let written = write_members(Dialect::Famedly, [&mesh()], []);
        let expected = json!({ "memberships": [{
            "application": "m.call", "call_id": "", "scope": "m.room", "device_id": "ADALAPTOP",
            "expires_ts": 1_786_100_360_000_u64, "membershipID": "3q2+7wAAEREiIjMzRERVVQ==",
            "foci_active": [{ "type": "mesh" }], "backend": { "type": "mesh" },
            "feeds": [{ "purpose": "m.usermedia" }] }] });
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
        let livekit = one(deployed()).unwrap();
        let written: Value =
            serde_json::from_str(&write_members(Dialect::Famedly, [&livekit], [])).unwrap();
        let entry = &written["memberships"][0];
        assert_eq!(entry["foci_active"][0], entry["backend"]);
        assert_eq!(entry["backend"]["livekit_alias"], "!team:one.example");
        assert!(entry.get("feeds").is_none(), "feeds are the mesh's");
        assert_eq!(write_members(Dialect::Famedly, [], []), r#"{"memberships":[]}"#);
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let livekit = one(deployed()).unwrap();
        let read = read_members(
            Dialect::Famedly,
            &write_members(Dialect::Famedly, [&mesh(), &livekit], []),
        );
        let read: Vec<_> = read.unwrap().into_iter().map(|entry| entry.membership).collect();
        assert_eq!(read, [Ok(mesh()), Ok(livekit)]);
    }

    #[test]
    fn entries_of_other_devices_are_kept_as_they_were() {
        let odd = json!({ "device_id": "OTHER", "x.later": [1, { "a": null }] });
        let content = json!({ "memberships": [odd, 7] }).to_string();
        let kept = read_members(Dialect::Famedly, &content).unwrap();
        let written: Value =
            serde_json::from_str(&write_members(Dialect::Famedly, [&mesh()], &kept)).unwrap();
        assert_eq!((&written["memberships"][0], &written["memberships"][1]), (&odd, &json!(7)));
        assert_eq!(written["memberships"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn state_keys_have_three_layouts() {
        let (user, device) = (UserId::parse("@a_b:x").unwrap(), DeviceId::parse("D_1").unwrap());
        assert_eq!(KeyLayout::User.key(&user, &device), "@a_b:x");
        assert_eq!(KeyLayout::OwnedDevice.key(&user, &device), "@a_b:x_D_1");
        assert_eq!(KeyLayout::UnprotectedDevice.key(&user, &device), "D_1_@a_b:x");
        for layout in [KeyLayout::User, KeyLayout::OwnedDevice, KeyLayout::UnprotectedDevice] {
            let key = layout.key(&user, &device);
            assert!(!names_another(&key, &user), "{key}");
            assert!(names_another(&key, &UserId::parse("@b:x").unwrap()), "{key}");
        }
        assert!(names_another("@a_b:xy", &user), "a longer server name");
        assert!(!names_another("", &user) && !names_another("odd", &user));
    }

    #[test]
    fn an_entry_prints_no_more_than_it_says() {
        let content = r#"{"memberships":[{"x.secret":"words"}]}"#;
        let read = read_members(Dialect::Famedly, content).unwrap();
        assert!(!format!("{read:?}").contains("words"));
    }
}
