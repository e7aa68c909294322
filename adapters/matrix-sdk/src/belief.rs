//! Whether a message about media keys is believed, by what the SDK's store knows of its sender: no
//! request is made for it, the application's sync waits.
//!
//! Anybody who knows a room's id may write such messages, and a homeserver may make keys for any
//! name: a device that the store does not know is named by the message itself, signed by the very
//! keys that it brings (MSC4147). So the device of that name that we do know must be the one.

use matrix_sdk::{
    Client, Room,
    deserialized_responses::{AlgorithmInfo, EncryptionInfo},
    ruma::{
        DeviceId as RumaDeviceId, RoomId as RumaRoomId, UserId as RumaUserId,
        events::room::member::MembershipState,
    },
};
use matrix_voip::wire::{delivery::RawEvent, keys::read_key_event};

/// Whether what a message says may be told. Whatever the store cannot say speaks for it: the library
/// judges it too.
pub(crate) async fn is_believed(
    client: &Client,
    message: &RawEvent,
    info: Option<&EncryptionInfo>,
) -> bool {
    let Some(read) = read_key_event(&message.event_type, &message.content) else { return true };
    let Ok(user) = <&RumaUserId>::try_from(message.facts.sender.as_str()) else { return false };
    if !is_of_known_device(client, user, info).await {
        return false;
    }
    let room = read.as_ref().ok().map(|read| <&RumaRoomId>::try_from(read.room.as_str()));
    match room.and_then(|room| client.get_room(room.ok()?)) {
        Some(room) => may_be_inside(&room, user).await,
        None => true,
    }
}

/// Whether the device that it names, where we know one of that name, is the one that wrote it.
async fn is_of_known_device(
    client: &Client,
    user: &RumaUserId,
    info: Option<&EncryptionInfo>,
) -> bool {
    let Some(info) = info else { return true };
    let device: Option<&RumaDeviceId> = info.sender_device.as_deref();
    let (Some(device), AlgorithmInfo::OlmV1Curve25519AesSha2 { curve25519_public_key_base64 }) =
        (device, &info.algorithm_info)
    else {
        return true;
    };
    let known = client.encryption().get_device(user, device).await.ok().flatten();
    let key = known.and_then(|known| known.curve25519_key());
    key.is_none_or(|key| key.to_base64() == *curve25519_public_key_base64)
}

/// Whether this user is in the room, or may be: of most members of a large room the store knows
/// nothing before they are asked for.
async fn may_be_inside(room: &Room, user: &RumaUserId) -> bool {
    match room.get_member_no_sync(user).await {
        Ok(Some(member)) => {
            matches!(member.membership(), MembershipState::Join | MembershipState::Invite)
        }
        Ok(None) => !room.are_members_synced(),
        Err(_) => true,
    }
}
