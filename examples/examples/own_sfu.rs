//! A group call through an SFU, by an application with an SFU client of its own.
//!
//! The library has a token fetched, says when to connect, what to publish and mute, and with which keys
//! to encrypt. The client here is a stand-in that only prints; yours would call LiveKit's SDK in the
//! same places, and report to `SfuEvents` who is there and what he publishes. Whoever wants to connect
//! by himself leaves `.sfu(…)` out and does what each `GroupEvent::SfuTask` says.
//!
//! Run it: `cargo run -p matrix-voip-examples --example own_sfu`

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use matrix_voip::{
    GroupCallSession, GroupOptions, GroupSnapshot, Identity, KeyOwner, KeyProfile, KeyProvider,
    MediaSource, ParticipantId, Sfu, SfuToken, TokenFault, TokenSource, VoIP,
    host::SfuEvents,
    id::{DeviceId, SessionId, TrackId, UserId},
    machine::io::{Capture, Fault, SfuNews, SfuState, TokenRequest},
    redact::Secret,
    testing::EmbeddedHomeserver,
    wire::keys::MediaKey,
};

const ROOM: &str = "!room:example.org";

type Done = Result<(), Fault>;

/// One person's client. It fetches its tokens too; in an application `matrix_voip_livekit::SfuGet` does.
struct Client {
    me: ParticipantId,
    /// As whom the SFU knows the other person.
    other: String,
}

impl Client {
    fn does(&self, what: &str) -> Done {
        println!("{}'s client: {what}", self.me.user);
        Ok(())
    }
}

#[async_trait]
impl TokenSource for Client {
    async fn token(&self, request: TokenRequest) -> Result<SfuToken, TokenFault> {
        println!("{}'s token: fetched from {}", self.me.user, request.service_url);
        let (url, jwt) = ("wss://sfu.example.org".to_owned(), Secret::new("a JWT"));
        let identity = Some(format!("{}:{}", request.user, request.device));
        Ok(SfuToken { url, jwt, lifetime: None, identity })
    }
}

#[async_trait]
impl Sfu for Client {
    async fn connect(&self, _: SessionId, token: SfuToken, events: SfuEvents) -> Done {
        events.report(SfuNews::State(SfuState::Connected)); // yours: when it is so
        events.report(SfuNews::Joined(self.other.clone())); // and of each who comes; `Left`, `Published` …
        self.does(&format!("connect to {}", token.url))
    }
    async fn renew(&self, _: SessionId, _: SfuToken) -> Done {
        self.does("keep a fresh token, for when the connection has to be made again")
    }
    async fn publish(&self, _: SessionId, _: TrackId, what: Capture) -> Done {
        self.does(&format!("open and publish the {:?}", what.source))
    }
    async fn enable(&self, _: SessionId, _: TrackId, on: bool) -> Done {
        self.does(if on { "unmute it" } else { "mute it" })
    }
    async fn replace(&self, _: SessionId, _: TrackId, what: Capture) -> Done {
        self.does(&format!("take another {:?}", what.source))
    }
    async fn unpublish(&self, _: SessionId, _: TrackId) -> Done {
        self.does("close it")
    }
    async fn subscribe(&self, _: SessionId, on: bool) -> Done {
        self.does(if on { "take in what others publish" } else { "take nothing in" })
    }
    async fn disconnect(&self, _: SessionId) -> Done {
        self.does("leave the SFU")
    }
}

#[async_trait]
impl KeyProvider for Client {
    async fn begin(&self, _: SessionId, _: KeyProfile) -> Done {
        self.does("seal everything from now on, with whatever keys come")
    }
    async fn set_key(&self, _: SessionId, _: KeyProfile, of: KeyOwner, key: MediaKey) -> Done {
        let what = if of.is_ours() { "encrypt with our" } else { "decrypt with his" };
        // As whom the SFU knows him depends on the token service: give the key to each of these names.
        let name = &of.identities[0];
        self.does(&format!("{what} key {}: {}, {name}", key.index, key.fingerprint()))
    }
    async fn forget(&self, _: SessionId, whose: Option<ParticipantId>) -> Done {
        let whose = whose.map_or("everybody".to_owned(), |one| one.user.to_string());
        self.does(&format!("forget the keys of {whose}"))
    }
}

/// A `VoIP` for a user, with the call of the room at hand.
async fn start(
    home: &EmbeddedHomeserver,
    (user, other): (&str, &str),
) -> Result<(VoIP, GroupCallSession), Box<dyn Error>> {
    let me = Identity { user: UserId::parse(user)?, device: DeviceId::parse("PHONE")? };
    let ours = ParticipantId { user: me.user.clone(), device: me.device.clone() };
    let client = Arc::new(Client { me: ours, other: format!("{other}:PHONE") });
    let account = home.login(me.clone());
    let voip = VoIP::builder(me)
        .signaling(Arc::new(account.clone()))
        .tokens(client.clone())
        .sfu(client.clone())
        .keys(client)
        .start()?;
    account.connect(voip.news());
    let options = GroupOptions::livekit("https://sfu.example.org/jwt");
    let call = voip.fetch_or_create_group_call(ROOM, options).await?;
    Ok((voip, call))
}

/// Waits until the call stands so.
async fn until(call: &GroupCallSession, is_so: impl Fn(&GroupSnapshot) -> bool) {
    let (mut present, mut events) = call.subscribe();
    while !is_so(&present) {
        let Some(news) = events.next().await else { return };
        news.apply(&mut present);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (ada, ben) = ("@ada:example.org", "@ben:example.org");
    let home = EmbeddedHomeserver::new().with_room(ROOM, [ada, ben]);
    let (adas, call) = start(&home, (ada, ben)).await?;
    let (bens, bens_call) = start(&home, (ben, ada)).await?;
    call.enter().await?;
    bens_call.enter().await?;
    for call in [&call, &bens_call] {
        until(call, |it| it.keys.own.is_some() && it.keys.theirs.len() == 1).await;
    }
    println!("{ada} asks how it stands: {}", call.explain().await);

    call.mute(MediaSource::Microphone).await?;
    bens_call.leave().await?;
    until(&call, |it| it.participants.len() == 1).await;
    call.leave().await?;
    bens.shutdown().await;
    adas.shutdown().await;
    Ok(())
}
