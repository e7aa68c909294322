//! `caller rooms`, and finding the room and the user that a call is meant for.

use std::fmt;

use matrix_sdk::{
    Client, EncryptionState, Room,
    ruma::{
        OwnedUserId, RoomAliasId, RoomId, UserId, api::error::ErrorKind,
        events::room::member::MembershipState,
    },
};

use crate::matrix::{plain::plain, refusal::Refusal};

/// A room as the list shows it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The others in it.
    pub(crate) others: Vec<String>,
    pub(crate) encryption: EncryptionState,
}

/// Where a call goes, and to whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) room: Room,
    pub(crate) user: OwnedUserId,
}

/// All joined rooms, those of two first.
pub(crate) async fn list(client: &Client) -> Result<Vec<Listed>, Refusal> {
    let mut rooms = Vec::new();
    for room in client.joined_rooms() {
        rooms.push(Listed {
            id: room.room_id().to_string(),
            name: name(&room).await,
            others: others(&room).await?.iter().map(ToString::to_string).collect(),
            encryption: encryption(&room).await,
        });
    }
    rooms.sort_by_key(|room| (room.others.len() != 1, room.name.to_lowercase()));
    Ok(rooms)
}

impl Listed {
    /// Who can read what is sent in this room.
    pub(crate) fn privacy(&self) -> &'static str {
        match self.encryption {
            EncryptionState::Encrypted => "encrypted",
            EncryptionState::NotEncrypted => "plain",
            EncryptionState::Unknown => "unknown",
        }
    }

    /// Whom a call in this room reaches.
    pub(crate) fn reaches(&self) -> String {
        match self.others.as_slice() {
            [] => "nobody else is here".to_owned(),
            [only] => only.clone(),
            more => format!("{} people: name one with --user", more.len() + 1),
        }
    }
}

/// A line of the list; names are whatever others made of them.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, name, reached) = (&self.id, &self.name, self.reaches());
        let line = format!("{id}  {:<9}  {name}  →  {reached}", self.privacy());
        f.write_str(&plain(line))
    }
}

/// Finds the room that was named, and the user to call in it.
pub(crate) async fn target(
    client: &Client,
    whom: &str,
    user: Option<&str>,
) -> Result<Target, Refusal> {
    let user = user.map(parsed_user).transpose()?;
    if whom.starts_with('@') {
        let user = parsed_user(whom)?;
        let room = room_with(client, &user).await?;
        return Ok(Target { room, user });
    }
    let room = room_named(client, whom).await?;
    let user = callee(&others(&room).await?, user)?;
    Ok(Target { room, user })
}

/// Whether a user who is called, and one named with `--user`, are the same.
pub(crate) fn one_callee(whom: &str, user: Option<&str>) -> Result<(), Refusal> {
    match user {
        Some(user) if whom.starts_with('@') && user != whom => {
            Err(Refusal::new(format!("{whom} or {user}: --user names somebody in a room")))
        }
        _ => Ok(()),
    }
}

fn parsed_user(text: &str) -> Result<OwnedUserId, Refusal> {
    UserId::parse(text).map_err(|why| Refusal::new(format!("{text:?}: {why}")))
}

/// The direct room with them first, then the smallest that both are in.
async fn room_with(client: &Client, user: &UserId) -> Result<Room, Refusal> {
    if client.user_id() == Some(user) {
        return Err(Refusal::new("that is you"));
    }
    let mut rooms: Vec<Room> = client.get_dm_rooms(user).collect();
    let mut shared = client.joined_rooms();
    rooms.sort_by_key(|room| room.joined_members_count());
    shared.sort_by_key(|room| room.joined_members_count());
    rooms.append(&mut shared);
    for room in rooms {
        // Our syncs bring all members: nothing has to be asked for.
        let member = room.get_member_no_sync(user).await;
        let member = member.map_err(|why| Refusal::of("members", &why))?;
        if member.is_some_and(|member| *member.membership() == MembershipState::Join) {
            return Ok(room);
        }
    }
    Err(Refusal::new(format!("you share no room with {user}")))
}

/// The joined room of that id, alias or name.
pub(crate) async fn room_named(client: &Client, name: &str) -> Result<Room, Refusal> {
    let unknown = || Refusal::new(format!("you are in no room {name}"));
    if let Ok(id) = RoomId::parse(name) {
        let room = client.get_room(&id).filter(is_joined);
        return room.ok_or_else(unknown);
    }
    if let Ok(alias) = RoomAliasId::parse(name) {
        let found = client.resolve_room_alias(&alias).await;
        let found = found.map_err(|why| match why.client_api_error_kind() {
            Some(ErrorKind::NotFound) => Refusal::new(format!("there is no room {name}")),
            _ => Refusal::of_http(name, &why),
        })?;
        return client.get_room(&found.room_id).filter(is_joined).ok_or_else(unknown);
    }
    let mut found = Vec::new();
    for room in client.joined_rooms() {
        if self::name(&room).await == name {
            found.push(room);
        }
    }
    match found.len() {
        0 | 1 => found.pop().ok_or_else(unknown),
        n => Err(Refusal::new(format!("{n} rooms are called {name}: use the id (caller rooms)"))),
    }
}

fn is_joined(room: &Room) -> bool {
    room.state() == matrix_sdk::RoomState::Joined
}

/// Whom to call among the others in a room.
fn callee(others: &[OwnedUserId], wanted: Option<OwnedUserId>) -> Result<OwnedUserId, Refusal> {
    match (wanted, others) {
        (Some(wanted), _) if others.contains(&wanted) => Ok(wanted),
        (Some(wanted), _) => Err(Refusal::new(format!("{wanted} is not in that room"))),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Refusal::new("nobody else is in that room")),
        (None, more) => {
            let people = more.len() + 1;
            Err(Refusal::new(format!("{people} people are in that room: name one with --user")))
        }
    }
}

async fn others(room: &Room) -> Result<Vec<OwnedUserId>, Refusal> {
    let members = async {
        room.sync_members().await?;
        Ok::<_, matrix_sdk::Error>(room.joined_user_ids().await?)
    };
    let mut members = members.await.map_err(|why| Refusal::of("members", &why))?;
    members.retain(|user| user != room.own_user_id());
    members.sort();
    Ok(members)
}

/// How a room is called.
pub(crate) async fn name(room: &Room) -> String {
    let name = room.display_name().await;
    name.map_or_else(|_| room.room_id().to_string(), |name| name.to_string())
}

/// Asks the homeserver where that is not known yet.
async fn encryption(room: &Room) -> EncryptionState {
    room.latest_encryption_state().await.unwrap_or(EncryptionState::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(names: &[&str]) -> Vec<OwnedUserId> {
        names.iter().map(|name| UserId::parse(*name).unwrap()).collect()
    }

    #[test]
    fn a_room_of_two_needs_no_name() {
        assert_eq!(callee(&users(&["@ben:b"]), None).unwrap().as_str(), "@ben:b");
    }

    #[test]
    fn a_larger_room_needs_one_of_those_who_are_there() {
        let others = users(&["@ben:b", "@cleo:c"]);
        let refused = callee(&others, None).unwrap_err();
        assert_eq!(refused.0, "3 people are in that room: name one with --user");
        let cleo = UserId::parse("@cleo:c").unwrap();
        assert_eq!(callee(&others, Some(cleo.clone())), Ok(cleo));
        let stranger = UserId::parse("@dora:d").unwrap();
        assert!(callee(&others, Some(stranger)).is_err());
        assert!(callee(&[], None).is_err());
    }

    #[test]
    fn what_was_typed_is_quoted_so_that_nothing_can_be_seen() {
        let refused = parsed_user("").unwrap_err().to_string();
        assert!(refused.starts_with("\"\": "), "{refused}");
    }

    #[test]
    fn a_name_cannot_forge_a_line_of_the_list() {
        let listed = Listed {
            id: "!a:b".to_owned(),
            name: "x\n!c:d  encrypted\x1b[2J\u{202e}".to_owned(),
            others: vec!["@b\u{2028}en:b".to_owned()],
            encryption: EncryptionState::NotEncrypted,
        };
        let line =
            "!a:b  plain      x\u{fffd}!c:d  encrypted\u{fffd}[2J\u{fffd}  →  @b\u{fffd}en:b";
        assert_eq!(listed.to_string(), line);
    }

    #[test]
    fn the_list_says_whom_a_call_reaches() {
        let listed = |others: &[&str]| Listed {
            id: String::new(),
            name: String::new(),
            others: others.iter().map(ToString::to_string).collect(),
            encryption: EncryptionState::Unknown,
        };
        assert_eq!(listed(&[]).privacy(), "unknown");
        assert_eq!(listed(&["@ben:b"]).reaches(), "@ben:b");
        assert_eq!(listed(&["a", "b"]).reaches(), "3 people: name one with --user");
    }
}
