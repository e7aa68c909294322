//! Token services beside an SFU: lk-jwt-service and what has its endpoints (`livekit.md` §3.1).
//! They refuse fields that they do not know, so nothing else is sent.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use matrix_voip::{
    host::TokenSource,
    machine::io::{OpenIdToken, SfuToken, TokenFault, TokenRequest},
};
use serde::Serialize;

use crate::{
    address::endpoint,
    answer,
    http::{Http, Request, Settings, SetupError, within_deadline},
};

/// As many services without `/get_token` are remembered. An application has one, or a few.
const REMEMBERED: usize = 64;

/// What `room` says in the request to `/sfu/get`. A service makes one SFU room of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoomField {
    /// The Matrix room's id, as lk-jwt-service expects it: the calls of a room, should it have
    /// several, share one SFU room.
    #[default]
    MatrixRoom,
    /// The alias of the call's backend (`livekit_alias`), for deployments where all members send
    /// that. Usually it is the Matrix room's id as well.
    Alias,
}

/// `POST {service_url}/sfu/get`: the endpoint that every version has. **The one for Famedly's apps**
/// and the older Element Call: the SFU then knows us as `@user:server:DEVICE`, by which those map
/// participants to members and keys.
///
/// Its `token` is one attempt within [`DEADLINE`](crate::DEADLINE), and safe to be dropped; the
/// OpenID token may have been used up by then.
#[derive(Debug, Clone)]
pub struct SfuGet {
    http: Http,
    room: RoomField,
}

impl SfuGet {
    /// A source of this kind.
    ///
    /// # Errors
    /// A [`SetupError`].
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        Ok(Self { http: Http::new(settings)?, room: RoomField::default() })
    }

    /// Names the room like that.
    #[must_use]
    pub fn room_field(mut self, room: RoomField) -> Self {
        self.room = room;
        self
    }

    async fn once(&self, request: &TokenRequest) -> Result<SfuToken, TokenFault> {
        let room = match self.room {
            RoomField::MatrixRoom => request.room.as_str(),
            RoomField::Alias => &request.alias,
        };
        let device_id = request.device.as_str();
        let body = SfuGetBody { room, openid_token: open_id(request)?, device_id };
        post(&self.http, &request.service_url, &["sfu", "get"], &body).await
    }
}

#[async_trait]
impl TokenSource for SfuGet {
    async fn token(&self, request: TokenRequest) -> Result<SfuToken, TokenFault> {
        within_deadline(self.once(&request)).await
    }
}

/// `POST {service_url}/get_token`: the endpoint of newer versions (lk-jwt-service 0.4 and later);
/// an older one answers [`TokenFault::NoService`]. The SFU then knows us by a hash of user, device
/// and visit: for calls whose members all compute it (the newer Element Call), not for Famedly's.
///
/// Its `token` is one attempt within [`DEADLINE`](crate::DEADLINE), and safe to be dropped; the
/// OpenID token may have been used up by then.
#[derive(Debug, Clone)]
pub struct GetToken {
    http: Http,
}

impl GetToken {
    /// A source of this kind.
    ///
    /// # Errors
    /// A [`SetupError`].
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        Ok(Self { http: Http::new(settings)? })
    }

    async fn once(&self, request: &TokenRequest) -> Result<SfuToken, TokenFault> {
        let body = GetTokenBody {
            room_id: request.room.as_str(),
            slot_id: &request.slot,
            openid_token: open_id(request)?,
            member: Member {
                id: &request.member,
                claimed_user_id: request.user.as_str(),
                claimed_device_id: request.device.as_str(),
            },
        };
        post(&self.http, &request.service_url, &["get_token"], &body).await
    }
}

#[async_trait]
impl TokenSource for GetToken {
    async fn token(&self, request: TokenRequest) -> Result<SfuToken, TokenFault> {
        within_deadline(self.once(&request)).await
    }
}

/// [`GetToken`], and [`SfuGet`] of a service that lacks it; which one has it is remembered. For
/// calls whose members understand both identities: which one we have depends on the service, and
/// changes when that is renewed.
///
/// Its `token` is both attempts, if need be, within one [`DEADLINE`](crate::DEADLINE), and safe to
/// be dropped. An endpoint that is not there uses up no OpenID token.
#[derive(Debug)]
pub struct Newest {
    newer: GetToken,
    older: SfuGet,
    /// Services without `/get_token`.
    old: Mutex<BTreeSet<String>>,
}

impl Newest {
    /// A source of this kind.
    ///
    /// # Errors
    /// A [`SetupError`].
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let older = SfuGet::new(settings)?;
        let newer = GetToken { http: older.http.clone() };
        Ok(Self { newer, older, old: Mutex::default() })
    }

    async fn once(&self, request: &TokenRequest) -> Result<SfuToken, TokenFault> {
        if self.is_old(&request.service_url) {
            return self.older.once(request).await;
        }
        match self.newer.once(request).await {
            Err(TokenFault::NoService(404 | 405)) => {
                let token = self.older.once(request).await?;
                self.remember(&request.service_url);
                Ok(token)
            }
            answer => answer,
        }
    }

    fn is_old(&self, service: &str) -> bool {
        self.old.lock().unwrap_or_else(PoisonError::into_inner).contains(service)
    }

    fn remember(&self, service: &str) {
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        if old.len() >= REMEMBERED {
            old.clear();
        }
        old.insert(service.to_owned());
    }
}

#[async_trait]
impl TokenSource for Newest {
    async fn token(&self, request: TokenRequest) -> Result<SfuToken, TokenFault> {
        within_deadline(self.once(&request)).await
    }
}

#[derive(Serialize)]
struct SfuGetBody<'a> {
    room: &'a str,
    openid_token: OpenId<'a>,
    device_id: &'a str,
}

#[derive(Serialize)]
struct GetTokenBody<'a> {
    room_id: &'a str,
    slot_id: &'a str,
    openid_token: OpenId<'a>,
    member: Member<'a>,
}

#[derive(Serialize)]
struct Member<'a> {
    id: &'a str,
    claimed_user_id: &'a str,
    claimed_device_id: &'a str,
}

/// As the homeserver gives it (client-server API, `openid/request_token`).
#[derive(Serialize)]
struct OpenId<'a> {
    access_token: &'a str,
    token_type: &'a str,
    matrix_server_name: &'a str,
    expires_in: u64,
}

fn open_id(request: &TokenRequest) -> Result<OpenId<'_>, TokenFault> {
    let OpenIdToken { access_token, token_type, server_name, expires_in } =
        request.open_id.as_ref().ok_or(TokenFault::NeedsOpenId)?;
    Ok(OpenId {
        access_token: access_token.expose(),
        token_type,
        matrix_server_name: server_name,
        expires_in: expires_in.as_secs(),
    })
}

async fn post(
    http: &Http,
    service: &str,
    path: &[&str],
    body: &impl Serialize,
) -> Result<SfuToken, TokenFault> {
    let url = endpoint(service, path, http.plain())?;
    let body = serde_json::to_vec(body).expect("invariant: text can be written as JSON");
    let answer = http.ask(Request { url, body: Some(body), bearer: None }).await?;
    answer::token(&answer, http.plain())
}
