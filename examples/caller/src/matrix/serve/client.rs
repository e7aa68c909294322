//! One client: logged in, in sync, with its calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use matrix_sdk::{Client as Sdk, SessionMeta, reqwest::Url, ruma::UserId};
use matrix_sdk_ui::sync_service::SyncService;
use matrix_voip::{Config, Msc3401, ParticipantId, VoIP, config::Busy, id::DeviceId};
use matrix_voip_livekit::{PlainText, SfuGet};
use matrix_voip_matrix_sdk::{Matrix, connect};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    cable::Cable,
    calls::Calls,
    engine::Watched,
    line::Args,
    meetings::Meetings,
    nowhere,
    out::Events,
    rtc::{self, ShowKeys},
    senses::{FirstAudio, Playing, Senses},
    wire,
};
use crate::{
    cli::{
        Engine,
        online::{Flavour, ServeOptions},
    },
    engine::Engines,
    matrix::{
        account::open::{restore, session},
        http::{Http, HttpError, escaped},
        keyring::Keyring,
        sync::{self, STOPPED, Syncing},
        trust::Trust,
    },
    overheard::Overheard,
};

/// Longest time for the first sync, and for the upload of device keys.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at something that sync changes.
const LOOK: Duration = Duration::from_millis(20);

/// Lifetime of our invites: what the browser peer has too.
const LIFETIME_MS: u64 = 60_000;

/// What all clients of the process share.
#[derive(Debug, Clone)]
pub(crate) struct Ways {
    pub(crate) flavour: Flavour,
    pub(crate) trust: Trust,
    engine: Engine,
    tokens: SfuGet,
    show_keys: ShowKeys,
}

impl Ways {
    pub(crate) fn of(options: &ServeOptions) -> Result<Self, String> {
        let trust = Trust::read(options.trust.as_deref())?;
        let tokens = trust.tokens(PlainText::Loopback)?;
        let show_keys = if options.show_keys { ShowKeys::Whole } else { ShowKeys::Fingerprint };
        Ok(Self { flavour: options.sync, trust, engine: options.engine, tokens, show_keys })
    }
}

/// A logged in client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) sdk: Sdk,
    pub(crate) http: Http,
    pub(crate) voip: VoIP,
    pub(crate) calls: Arc<Calls>,
    pub(crate) meetings: Arc<Meetings>,
    pub(crate) senses: Senses,
    pub(crate) engine: Arc<Watched>,
    pub(crate) engines: Engines,
    pub(crate) matrix: Matrix,
    /// `None` where the homeserver is reached by TLS, which goes past the cable.
    pub(crate) cable: Option<Cable>,
    syncing: JoinHandle<()>,
    /// Set when the login is lost or given back.
    logged_out: Arc<AtomicBool>,
}

impl Client {
    /// Logs in, and answers when calls can be placed.
    pub(crate) async fn login(
        ways: &Ways,
        args: &Args,
        events: Events,
    ) -> Result<(Self, Value), String> {
        let habits = (config(args)?, nowhere::playing(args)?);
        let entry = Entry::of(ways, args, &events).await?;
        let me = entry.sdk.session_meta().cloned().ok_or("no session")?;
        let phone = Phone::install(&entry.sdk, ways, habits, &events)?;
        let (client, first) = Self::in_sync(entry, phone, ways.flavour, events).await?;
        client.settle(first, args, &me).await?;
        let told = client.introduced(&me).await;
        Ok((client, told))
    }

    /// Starts the sync; what comes with it is told, and when the first is done.
    async fn in_sync(
        Entry { sdk, http, cable }: Entry,
        Phone { voip, matrix, calls, meetings, senses, engine, engines }: Phone,
        flavour: Flavour,
        events: Events,
    ) -> Result<(Self, watch::Receiver<bool>), String> {
        tokio::spawn(wire::log(sdk.clone(), events.clone()));
        let (done, first) = watch::channel(false);
        let logged_out = Arc::<AtomicBool>::default();
        let lost = Arc::clone(&logged_out);
        let tell = Box::new(move |state| {
            if state == STOPPED {
                lost.store(true, Ordering::Relaxed);
            }
            events.tell("sync", json!({"state": state}));
        });
        let syncing = Syncing { client: sdk.clone(), news: voip.news(), tell, done };
        let syncing = start_sync(flavour, syncing).await?;
        let client = Self {
            sdk,
            http,
            voip,
            calls,
            meetings,
            senses,
            engine,
            engines,
            matrix,
            cable,
            syncing,
            logged_out,
        };
        Ok((client, first))
    }

    /// The answer to `login`.
    async fn introduced(&self, me: &SessionMeta) -> Value {
        let turn = self.turn().await.map(|server| server["uris"].clone());
        json!({
            "userId": me.user_id, "deviceId": me.device_id, "sessionId": session_id(),
            "turnServers": turn.into_iter().collect::<Vec<_>>(),
        })
    }

    /// Waits until the first sync is done and, where it matters, the device can be found.
    async fn settle(
        &self,
        mut first: watch::Receiver<bool>,
        args: &Args,
        me: &SessionMeta,
    ) -> Result<(), String> {
        let synced = first.wait_for(|done| *done);
        let synced = timeout(PATIENCE, synced).await;
        synced.map_err(|_| "timed out waiting for the first sync".to_owned()).map(drop)?;
        if args.flag("crypto", false)? {
            self.await_device_keys(me).await?;
        }
        if let Some(name) = args.text("displayName")? {
            let path = format!("/profile/{}/displayname", escaped(me.user_id.as_str()));
            self.http.put(&path, &json!({"displayname": name})).await?;
        }
        Ok(())
    }

    async fn await_device_keys(&self, me: &SessionMeta) -> Result<(), String> {
        let query = json!({"device_keys": {me.user_id.as_str(): [me.device_id.as_str()]}});
        let known = async {
            loop {
                let keys = self.http.post("/keys/query", &query).await?;
                if keys["device_keys"][me.user_id.as_str()][me.device_id.as_str()].is_object() {
                    return Ok(());
                }
                sleep_until(Instant::now() + LOOK).await;
            }
        };
        timeout(PATIENCE, known).await.map_err(|_| "timed out waiting for device keys")?
    }

    /// What the homeserver says about TURN; `None` when it has none.
    pub(crate) async fn turn(&self) -> Option<Value> {
        let servers = self.http.get("/voip/turnServer").await.ok()?;
        servers["uris"].is_array().then_some(servers)
    }

    /// Looks until something is there, at most `patience` long.
    pub(crate) async fn look_until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&Sdk) -> Option<T>,
    ) -> Result<T, String> {
        let seen = async {
            loop {
                if let Some(found) = look(&self.sdk) {
                    return found;
                }
                sleep_until(Instant::now() + LOOK).await;
            }
        };
        timeout(patience, seen).await.map_err(|_| format!("timed out waiting for {what}"))
    }

    /// Whether the login is lost or given back: no call can be placed then.
    pub(crate) fn is_logged_out(&self) -> bool {
        self.logged_out.load(Ordering::Relaxed)
    }

    /// The homeserver has let us go.
    pub(crate) fn note_logged_out(&self) {
        self.logged_out.store(true, Ordering::Relaxed);
    }

    /// Stops syncing.
    pub(crate) fn stop(&self) {
        self.syncing.abort();
    }
}

/// A client that is logged in, and does nothing yet.
struct Entry {
    sdk: Sdk,
    http: Http,
    cable: Option<Cable>,
}

impl Entry {
    /// Makes the account where that is wanted, and logs in.
    async fn of(ways: &Ways, args: &Args, events: &Events) -> Result<Self, String> {
        let plain = ways.trust.direct_http()?;
        let (base, cable) = reach(args.needed("hs")?, events.clone()).await?;
        let http = Http::new(plain.clone(), &base)?;
        if args.flag("register", false)? {
            register(&http, args).await?;
        }
        let builder = Sdk::builder().homeserver_url(&base).http_client(plain);
        // What the homeserver calls itself is not where the cable is.
        let sdk = builder.respect_login_well_known(false).build().await;
        let sdk = sdk.map_err(|why| why.to_string())?;
        authenticate(&sdk, args).await?;
        let http = http.with_token(&sdk.access_token().ok_or("no token")?);
        Ok(Self { sdk, http, cable })
    }
}

/// What makes calls out of a client.
struct Phone {
    voip: VoIP,
    matrix: Matrix,
    calls: Arc<Calls>,
    meetings: Arc<Meetings>,
    senses: Senses,
    engine: Arc<Watched>,
    engines: Engines,
}

impl Phone {
    /// Connects the library, with ears and eyes for each call.
    fn install(
        sdk: &Sdk,
        ways: &Ways,
        (config, playing): (Config, Playing),
        events: &Events,
    ) -> Result<Self, String> {
        let me = sdk.session_meta().ok_or("no session")?;
        let meetings = Arc::new(Meetings::new(events.clone()));
        let (senses, told) = senses(me, events, Arc::clone(&meetings));
        let senses = senses.with(playing);
        let engines = ways.trust.engines(ways.engine)?;
        let engine = Arc::<Watched>::default();
        let listener = Arc::clone(&engine);
        let overheard = Overheard::new(engines.make(senses.studio()), listener);
        let tokens = Arc::new(ways.tokens.clone());
        let keys = Arc::new(keyring(me, ways.show_keys, &meetings)?);
        let (voip, matrix) =
            connect(sdk, |voip| voip.webrtc(overheard).config(config).tokens(tokens).keys(keys))
                .map_err(|why| why.to_string())?;
        let (user, ears) = (me.user_id.as_str(), senses.clone());
        let calls = Arc::new(Calls::new(user, events.clone(), ears, Arc::clone(&engine)));
        // Nobody reads it before the first call.
        let _ = told.set(Arc::downgrade(&calls));
        tokio::spawn(Arc::clone(&calls).follow(voip.events()));
        tokio::spawn(Arc::clone(&meetings).follow(voip.events(), senses.clone()));
        Ok(Self { voip, matrix, calls, meetings, senses, engine, engines })
    }
}

/// Where media keys are kept, and told of.
fn keyring(me: &SessionMeta, show: ShowKeys, meetings: &Arc<Meetings>) -> Result<Keyring, String> {
    let user = matrix_voip::UserId::parse(me.user_id.as_str()).map_err(|why| why.to_string())?;
    let device = DeviceId::parse(me.device_id.as_str()).map_err(|why| why.to_string())?;
    let (ours, meetings) = (ParticipantId { user, device }, Arc::clone(meetings));
    Ok(Keyring::telling(move |call, who, key| {
        meetings.note_key(call, rtc::given(who, &ours, key, show));
    }))
}

/// A homeserver's base URL as the client is to use it: through a cable where that can be.
async fn reach(hs: &str, events: Events) -> Result<(String, Option<Cable>), String> {
    let url = Url::parse(hs).map_err(|why| format!("hs: {hs}: {why}"))?;
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(format!("hs: {hs}: no host"));
    };
    if url.scheme() != "http" || !matches!(url.path(), "" | "/") {
        return Ok((hs.to_owned(), None));
    }
    let cable = Cable::to(host.trim_matches(['[', ']']).to_owned(), port, events).await;
    let cable = cable.map_err(|why| format!("no port on loopback: {why}"))?;
    Ok((cable.url(), Some(cable)))
}

/// Makes an account; one that exists is fine.
async fn register(http: &Http, args: &Args) -> Result<(), String> {
    let (user, password) = (args.needed("user")?, args.needed("password")?);
    let body = json!({
        "username": user, "password": password, "inhibit_login": true,
        "auth": {"type": "m.login.dummy"},
    });
    match http.post("/register", &body).await {
        Ok(_) => Ok(()),
        Err(HttpError::Refused(refused)) if refused.body["errcode"] == "M_USER_IN_USE" => Ok(()),
        Err(error) => Err(format!("register: {error}")),
    }
}

async fn authenticate(sdk: &Sdk, args: &Args) -> Result<(), String> {
    if let Some(token) = args.text("accessToken")? {
        let user_id = UserId::parse(args.needed("userId")?).map_err(|why| why.to_string())?;
        let session = session(user_id, args.needed("deviceId")?, token);
        return restore(sdk, session).await.map_err(|why| format!("login: {why}"));
    }
    let mut login =
        sdk.matrix_auth().login_username(args.needed("user")?, args.needed("password")?);
    if let Some(device) = args.text("deviceId")? {
        login = login.device_id(device);
    }
    let login = login.initial_device_display_name("caller serve").send().await;
    login.map(drop).map_err(|why| format!("login: {why}"))
}

/// How its calls behave.
fn config(args: &Args) -> Result<Config, String> {
    let mut config = Config::default();
    // Which one is spoken each command says.
    config.msc3401 = Msc3401::On;
    config.relay_only = args.flag("forceTURN", false)?;
    config.timeouts.invite =
        Duration::from_millis(args.number("lifetimeMs")?.unwrap_or(LIFETIME_MS));
    config.busy = match args.text("busy")?.unwrap_or("reject") {
        "reject" => Busy::Reject,
        "ring" => Busy::Ring,
        "ignore" => Busy::Ignore,
        other => return Err(format!("busy must be reject, ring or ignore, not {other}")),
    };
    Ok(config)
}

type Told = Arc<std::sync::OnceLock<std::sync::Weak<Calls>>>;

/// The senses of a client, which tell of the first sound of each call, and of each participant of a
/// group call.
fn senses(me: &SessionMeta, events: &Events, meetings: Arc<Meetings>) -> (Senses, Told) {
    let told: Told = Arc::default();
    let (calls, events) = (Arc::clone(&told), events.clone());
    let first_audio = FirstAudio(Arc::new(move |session, member| {
        if let Some(member) = member {
            return meetings.note_first_audio(session, member);
        }
        let calls = calls.get().and_then(std::sync::Weak::upgrade);
        let call = calls.and_then(|calls| calls.known(session));
        if let Some(call) = call {
            events.tell("firstAudio", json!({"callId": call.id()}));
        }
    }));
    (Senses::new(&format!("{}{}", me.user_id, me.device_id), first_audio), told)
}

async fn start_sync(flavour: Flavour, syncing: Syncing) -> Result<JoinHandle<()>, String> {
    Ok(match flavour {
        Flavour::Classic => tokio::spawn(sync::classic(syncing)),
        Flavour::Sliding => {
            let service = SyncService::builder(syncing.client.clone()).build().await;
            let service = service.map_err(|why| format!("sliding sync: {why}"))?;
            tokio::spawn(sync::sliding(syncing, Arc::new(service)))
        }
    })
}

/// Sixteen digits that nobody else has.
pub(super) fn session_id() -> String {
    // Without randomness there are no calls either.
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}
