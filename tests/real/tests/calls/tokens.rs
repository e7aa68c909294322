//! Tokens for an SFU: the homeserver vouches for a user by an OpenID token, a token service asks it
//! and lets the user in, under the name that the others expect.

use std::time::Duration;

use matrix_voip::{
    host::TokenSource,
    id::{DeviceId, RoomId, UserId},
    machine::io::{OpenIdToken, SfuToken, TokenFault, TokenRequest},
    redact::Secret,
};
use matrix_voip_livekit::{Claims, GetToken, Newest, PlainText, Settings, SfuGet};
use real::{
    Context, Failure, Person, Scene,
    token_service::{SfuKey, TokenService, identity, room_name},
};
use serde_json::json;

use crate::stage::{Cast, Scenario};

/// Tokens.
pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario::new("tokens_of_an_sfu", Cast::Scene(tokens_of_an_sfu)).without_engine()];

/// Where the SFU would be: nobody joins it here.
pub(crate) const SFU: &str = "ws://127.0.0.1:7880";

const ROOM: &str = "!kitchen:localhost";
const SLOT: &str = "m.call#ROOM";
const MEMBER: &str = "visit-1";

/// By each endpoint; then with tokens that are wrong, of somebody else, and of another homeserver.
fn tokens_of_an_sfu(scene: &Scene) -> Result<(), Failure> {
    let (house, key) = (&scene.world.house, SfuKey::development());
    let service = TokenService::start(house, scene.homeserver(), SFU, &key)?;
    let (ada, ben) = (scene.person("ada")?, scene.person("ben")?);
    let settings = Settings::default().plain_text(PlainText::Loopback);
    let older = SfuGet::new(&settings).context("making a source")?;
    let newer = GetToken::new(&settings).context("making a source")?;
    let newest = Newest::new(&settings).context("making a source")?;
    let ask = |source: &dyn TokenSource, open_id| asked(source, wish(&service, &ada, open_id)?);

    let named = format!("{}:{}", ada.user_id, ada.device_id);
    lets_in(ask(&older, open_id(&ada)?)?, &named)?;
    let hashed = identity(&ada.user_id, &ada.device_id, MEMBER);
    for source in [&newer as &dyn TokenSource, &newest] {
        lets_in(ask(source, open_id(&ada)?)?, &hashed)?;
    }

    let stranger = || Ok(OpenIdToken { access_token: Secret::new("wrong"), ..open_id(&ada)? });
    let elsewhere = || Ok(OpenIdToken { server_name: "example.com".to_owned(), ..open_id(&ada)? });
    let sources: [&dyn TokenSource; 3] = [&older, &newer, &newest];
    for source in sources {
        assert_eq!(ask(source, stranger()?)?, Err(TokenFault::NotBelieved));
        assert_eq!(ask(source, elsewhere()?)?, Err(TokenFault::NotBelieved));
    }
    assert_eq!(ask(&newer, open_id(&ben)?)?, Err(TokenFault::NotBelieved));
    // The older endpoint believes the homeserver and nobody else: ben comes in as himself.
    let ben_himself = format!("{}:{}", ben.user_id, ada.device_id);
    lets_in(ask(&older, open_id(&ben)?)?, &ben_himself)
}

/// A token of the homeserver, as `Matrix::open_id_token` of matrix-voip-matrix-sdk gets it.
fn open_id(person: &Person<'_>) -> Result<OpenIdToken, Failure> {
    let path = format!("user/{}/openid/request_token", person.user_id);
    let answer = person.ask("POST", &path, Some(&json!({})))?;
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    Ok(OpenIdToken {
        access_token: Secret::new(text("access_token")),
        token_type: text("token_type"),
        server_name: text("matrix_server_name"),
        expires_in: Duration::from_secs(answer["expires_in"].as_u64().unwrap_or_default()),
    })
}

fn wish(
    service: &TokenService,
    person: &Person<'_>,
    open_id: OpenIdToken,
) -> Result<TokenRequest, Failure> {
    let what = "what the homeserver calls a person";
    Ok(TokenRequest {
        service_url: service.url_from_outside(),
        alias: ROOM.to_owned(),
        room: RoomId::parse(ROOM).context("the room")?,
        slot: SLOT.to_owned(),
        user: UserId::parse(&person.user_id).context(what)?,
        device: DeviceId::parse(&person.device_id).context(what)?,
        member: MEMBER.to_owned(),
        open_id: Some(open_id),
    })
}

fn asked(
    source: &dyn TokenSource,
    wish: TokenRequest,
) -> Result<Result<SfuToken, TokenFault>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("starting a runtime")?.block_on(source.token(wish)))
}

/// Whether that is a token for this one, for an hour, for the room of the call.
fn lets_in(token: Result<SfuToken, TokenFault>, identity: &str) -> Result<(), Failure> {
    let token = token.context("a token")?;
    assert_eq!(token.identity.as_deref(), Some(identity));
    assert_eq!(token.url, SFU);
    let claims = Claims::read(token.jwt.expose()).context("a token")?;
    assert_eq!(claims.room.as_deref(), Some(&*room_name(ROOM, SLOT)));
    let lifetime = token.lifetime.unwrap_or_default();
    assert!(lifetime > Duration::from_secs(3500), "{lifetime:?}");
    Ok(())
}
