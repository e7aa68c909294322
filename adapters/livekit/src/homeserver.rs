//! The homeserver as the token service (MSC4195, 2026): no service beside the SFU, no OpenID token;
//! one's login is enough. No homeserver has this yet: it is tried against a scripted server only.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use matrix_voip::{
    host::TokenSource,
    machine::io::{SfuToken, TokenFault, TokenRequest},
    redact::Secret,
};
use serde::{Deserialize, Serialize};

use crate::{
    address::{self, BadSfu, endpoint},
    answer,
    http::{Answer, Http, Request, Settings, SetupError, within_deadline},
};

/// Where the endpoints are, in the order in which they are tried: the proposal's own, and before it
/// is accepted.
const TOKENS: [&str; 2] = [
    "_matrix/client/v1/rtc/livekit/get_token",
    "_matrix/client/unstable/io.element.msc4195/rtc/livekit/get_token",
];

/// Tokens by the homeserver itself (MSC4195, text of 2026; `livekit.md` §3.3). The call's
/// `service_url` is the SFU's own address then (`wss://…`), as the homeserver announces it
/// (`Signaling::transports`).
///
/// **Tried against a scripted server only**: no homeserver has these endpoints yet. They are looked
/// for under `/_matrix/client/v1/rtc/`, then under the proposals' unstable prefixes.
///
/// Its `token` is one attempt within [`DEADLINE`](crate::DEADLINE), and safe to be dropped.
#[derive(Clone)]
pub struct HomeserverRtc {
    http: Http,
    homeserver: String,
    server_name: Option<String>,
    access_token: Arc<dyn Fn() -> Option<Secret> + Send + Sync>,
    /// The homeserver has been found to have the unstable endpoint alone.
    unstable: Arc<AtomicBool>,
}

impl fmt::Debug for HomeserverRtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address that is none may hold a password.
        f.debug_struct("HomeserverRtc").finish_non_exhaustive()
    }
}

impl HomeserverRtc {
    /// Tokens by the homeserver at this address (`https://…`), for whose login `access_token` stands;
    /// it is asked for each request, and tells `None` when nobody is logged in.
    ///
    /// # Errors
    /// A [`SetupError`].
    pub fn new(
        homeserver: impl Into<String>,
        access_token: impl Fn() -> Option<Secret> + Send + Sync + 'static,
        settings: &Settings,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            http: Http::new(settings)?,
            homeserver: homeserver.into(),
            server_name: None,
            access_token: Arc::new(access_token),
            unstable: Arc::default(),
        })
    }

    /// For SFUs of another homeserver, whose name this is: ours asks that one.
    #[must_use]
    pub fn of_server(mut self, server_name: impl Into<String>) -> Self {
        self.server_name = Some(server_name.into());
        self
    }

    async fn once(&self, request: &TokenRequest) -> Result<SfuToken, TokenFault> {
        let sfu =
            address::sfu(&request.service_url, self.http.plain()).map_err(|bad| match bad {
                BadSfu::NoAddress => TokenFault::BadAddress,
                BadSfu::InTheClear => TokenFault::InTheClear,
            })?;
        let (answer, jwt) = self.jwt(request).await?;
        answer::usable(sfu, jwt, answer.now)
    }

    async fn jwt(&self, request: &TokenRequest) -> Result<(Answer, Secret), TokenFault> {
        if self.unstable.load(Ordering::Relaxed) {
            return self.jwt_at(TOKENS[1], request).await;
        }
        match self.jwt_at(TOKENS[0], request).await {
            Err(TokenFault::NoService(404 | 405)) => {
                let found = self.jwt_at(TOKENS[1], request).await?;
                self.unstable.store(true, Ordering::Relaxed);
                Ok(found)
            }
            answer => answer,
        }
    }

    async fn jwt_at(
        &self,
        path: &str,
        request: &TokenRequest,
    ) -> Result<(Answer, Secret), TokenFault> {
        let body = Body {
            server_name: self.server_name.as_deref(),
            url: &request.service_url,
            room_id: request.room.as_str(),
            slot_id: &request.slot,
            member_id: &request.member,
        };
        let body = serde_json::to_vec(&body).expect("invariant: text can be written as JSON");
        let answer = self.ask(path, Some(body)).await?;
        let Given { jwt } = answer::content(&answer)?;
        Ok((answer, Secret::new(jwt)))
    }

    async fn ask(&self, path: &str, body: Option<Vec<u8>>) -> Result<Answer, TokenFault> {
        let url = endpoint(&self.homeserver, &[path], self.http.plain())?;
        let bearer = Some((self.access_token)().ok_or(TokenFault::LoggedOut)?);
        self.http.ask(Request { url, body, bearer }).await
    }
}

#[async_trait]
impl TokenSource for HomeserverRtc {
    async fn token(&self, request: TokenRequest) -> Result<SfuToken, TokenFault> {
        within_deadline(self.once(&request)).await
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    url: &'a str,
    room_id: &'a str,
    slot_id: &'a str,
    member_id: &'a str,
}

#[derive(Deserialize)]
struct Given {
    jwt: String,
}
