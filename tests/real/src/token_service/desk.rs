//! What the service makes of one request, without the network: strict JSON, and the answers of the
//! real one.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::names::{identity, room_name};

/// What calls have in a room when nobody says more.
const SLOT: &str = "m.call#ROOM";

/// Why there is no token: the status, and its Matrix error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The JSON is none, or has a field that is not known.
    NotJson,
    /// A field is missing.
    BadJson,
    /// The homeserver does not vouch, or vouches for somebody else.
    Unauthorised,
    /// There is no such endpoint.
    NotFound,
    /// The endpoint is for another method.
    WrongMethod,
    /// The homeserver does not answer.
    Failed,
}

impl Refusal {
    /// The HTTP status and the body.
    pub(super) fn answer(self) -> (u16, String) {
        let matrix = |status, errcode: &str, error: &str| {
            (status, json!({"errcode": errcode, "error": error}).to_string())
        };
        match self {
            Self::NotJson => matrix(400, "M_NOT_JSON", "Error reading request"),
            Self::BadJson => matrix(400, "M_BAD_JSON", "The request lacks a field"),
            Self::Unauthorised => {
                matrix(401, "M_UNAUTHORIZED", "The request could not be authorised.")
            }
            Self::NotFound => (404, "404 page not found\n".to_owned()),
            Self::WrongMethod => (405, "Method Not Allowed\n".to_owned()),
            Self::Failed => matrix(500, "M_UNKNOWN", "The homeserver does not answer"),
        }
    }
}

/// What somebody wants who asks for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// What the homeserver is asked about.
    pub(super) open_id: String,
    /// Which homeserver that is.
    pub(super) server_name: String,
    room: String,
    slot: String,
    who: Who,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// By `/sfu/get`: whoever the homeserver says, on this device.
    Device(String),
    /// By `/get_token`.
    Member { id: String, user: String, device: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SfuGet {
    room: Option<String>,
    openid_token: Option<OpenId>,
    // Without it the real service gives an identity that ends in ":".
    #[serde(default)]
    device_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetToken {
    room_id: Option<String>,
    slot_id: Option<String>,
    openid_token: Option<OpenId>,
    member: Option<Member>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    id: String,
    claimed_user_id: String,
    claimed_device_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenId {
    access_token: String,
    #[serde(rename = "token_type")]
    _token_type: Option<String>,
    matrix_server_name: String,
    #[serde(rename = "expires_in")]
    _expires_in: Option<u64>,
}

impl Wish {
    /// Reads a request with a body.
    pub(super) fn read(method: &str, path: &str, body: &[u8]) -> Result<Self, Refusal> {
        let wish = match path {
            "/sfu/get" => Self::by_sfu_get,
            "/get_token" => Self::by_get_token,
            _ => return Err(Refusal::NotFound),
        };
        if method == "POST" { wish(body) } else { Err(Refusal::WrongMethod) }
    }

    fn by_sfu_get(body: &[u8]) -> Result<Self, Refusal> {
        let SfuGet { room, openid_token, device_id } = read(body)?;
        let (Some(room), Some(open_id)) = (room, openid_token) else {
            return Err(Refusal::BadJson);
        };
        Ok(Self::of(open_id, room, SLOT.to_owned(), Who::Device(device_id)))
    }

    fn by_get_token(body: &[u8]) -> Result<Self, Refusal> {
        let GetToken { room_id, slot_id, openid_token, member } = read(body)?;
        let (Some(room), Some(slot), Some(open_id), Some(member)) =
            (room_id, slot_id, openid_token, member)
        else {
            return Err(Refusal::BadJson);
        };
        let Member { id, claimed_user_id: user, claimed_device_id: device } = member;
        Ok(Self::of(open_id, room, slot, Who::Member { id, user, device }))
    }

    fn of(open_id: OpenId, room: String, slot: String, who: Who) -> Self {
        let OpenId { access_token, matrix_server_name, .. } = open_id;
        Self { open_id: access_token, server_name: matrix_server_name, room, slot, who }
    }

    /// The identity and the room at the SFU, once the homeserver has said whose the token is.
    pub(super) fn granted(&self, owner: &str) -> Result<(String, String), Refusal> {
        let identity = match &self.who {
            Who::Device(device) => format!("{owner}:{device}"),
            Who::Member { user, .. } if user != owner => return Err(Refusal::Unauthorised),
            Who::Member { id, user, device } => identity(user, device, id),
        };
        Ok((identity, room_name(&self.room, &self.slot)))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::NotJson)
}

/// Whose a token is, as the homeserver says.
pub(super) fn owner(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    answer["sub"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "@ada:here";

    fn open_id() -> Value {
        json!({
            "access_token": "t", "token_type": "Bearer", "matrix_server_name": "here",
            "expires_in": 3600,
        })
    }

    fn sfu_get() -> Value {
        json!({"room": "!roomid:example.com", "openid_token": open_id(), "device_id": "PHONE"})
    }

    fn get_token() -> Value {
        let member = json!({"id": "m", "claimed_user_id": ADA, "claimed_device_id": "PHONE"});
        json!({
            "room_id": "!roomid:example.com", "slot_id": "m.call#ROOM", "openid_token": open_id(),
            "member": member,
        })
    }

    fn granted(path: &str, body: &Value, owner: &str) -> Result<(String, String), Refusal> {
        Wish::read("POST", path, body.to_string().as_bytes())?.granted(owner)
    }

    #[test]
    fn both_endpoints_lead_into_the_same_room_under_names_of_their_own() {
        let (older, room) = granted("/sfu/get", &sfu_get(), ADA).unwrap();
        assert_eq!(older, "@ada:here:PHONE");
        assert_eq!(room, "F4oOprKFBq6JHqy2qYpq6UQQmR7hCvxkQQoUrd0+SbI");
        let (newer, same) = granted("/get_token", &get_token(), ADA).unwrap();
        assert_eq!((newer, same), (identity(ADA, "PHONE", "m"), room));
    }

    #[test]
    fn nobody_is_let_in_as_somebody_else() {
        assert_eq!(granted("/get_token", &get_token(), "@ben:here"), Err(Refusal::Unauthorised));
        let (identity, _) = granted("/sfu/get", &sfu_get(), "@ben:here").unwrap();
        assert_eq!(identity, "@ben:here:PHONE");
    }

    #[test]
    fn what_is_not_known_is_refused_and_what_is_missing_too() {
        for (path, good) in [("/sfu/get", sfu_get()), ("/get_token", get_token())] {
            for place in ["/more", "/openid_token/more"] {
                let mut body = good.clone();
                let (parent, name) = place.rsplit_once('/').unwrap();
                body.pointer_mut(parent).unwrap()[name] = 1.into();
                assert_eq!(granted(path, &body, ADA), Err(Refusal::NotJson), "{path} {place}");
            }
            assert_eq!(granted(path, &json!({}), ADA), Err(Refusal::BadJson));
            assert_eq!(granted(path, &json!([]), ADA), Err(Refusal::NotJson));
        }
        let mut body = sfu_get();
        body.as_object_mut().unwrap().remove("device_id");
        assert_eq!(granted("/sfu/get", &body, ADA).unwrap().0, "@ada:here:");
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        assert_eq!(Wish::read("POST", "/sfu", b"{}"), Err(Refusal::NotFound));
        assert_eq!(Wish::read("GET", "/sfu/get", b""), Err(Refusal::WrongMethod));
    }
}
