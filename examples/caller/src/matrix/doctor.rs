//! `caller doctor`: what calls need, checked one after the other, each told in one line.

use std::{fmt, process::ExitCode, time::Duration};

use matrix_sdk::Client;
use matrix_voip::{
    host::{PeerEvents, mailbox},
    id::{PeerId, SessionId},
    machine::io::{IceServer, PeerConfig, ServerState, TurnServers},
};
use matrix_voip_media::Studio;
use tokio::time::{Instant, sleep_until};

use super::{
    account::{
        login::is_cross_signed,
        open::{glance, open},
    },
    http::Http,
    refusal::Refusal,
    say::say,
    trust::Trust,
};
use crate::cli::online::Profile;

/// It ran, and something is wrong.
const WRONG: u8 = 1;

/// Longest time for one way to TURN: a silent server takes about 8 s.
const TURN: Duration = Duration::from_secs(12);

/// Between two looks at how it fares.
const LOOK: Duration = Duration::from_millis(50);

/// How good a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    /// Calls work, but less well than they could.
    Weak,
    Bad,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Weak => "weak",
            Self::Bad => "BAD",
        })
    }
}

/// What is found, line by line.
#[derive(Debug, Default)]
struct Findings {
    bad: usize,
}

impl Findings {
    fn tell(&mut self, what: &str, health: Health, text: impl fmt::Display) {
        self.bad += usize::from(health == Health::Bad);
        say(format_args!("{what:<11} {health:<5} {text}"));
    }

    /// Tells what is good, or what failed; `None` then.
    fn check<T>(&mut self, what: &str, checked: Result<(T, String), Refusal>) -> Option<T> {
        match checked {
            Ok((found, text)) => {
                self.tell(what, Health::Good, text);
                Some(found)
            }
            Err(why) => {
                self.tell(what, Health::Bad, why);
                None
            }
        }
    }
}

/// Checks everything; exit code 0 when calls will work.
pub(crate) async fn doctor(profile: &Profile) -> Result<ExitCode, Refusal> {
    let trust = Trust::read(profile.trust.as_deref())?;
    let client = open(profile, &trust).await?;
    let mut found = Findings::default();
    let http = Http::new(trust.http()?, client.homeserver().as_str())?;
    let http = http.with_token(&client.access_token().unwrap_or_default());
    if found.check("homeserver", homeserver(&client, &http).await).is_some()
        && found.check("sync", synced(&client).await).is_some()
    {
        let (health, text) = encryption(&client).await;
        found.tell("encryption", health, text);
        turn(&http, &trust, &mut found).await;
    }
    Ok(if found.bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

type Checked<T> = Result<(T, String), Refusal>;

async fn homeserver(client: &Client, http: &Http) -> Checked<()> {
    let start = Instant::now();
    let me = http.get("/account/whoami").await.map_err(|why| Refusal::new(why.to_string()))?;
    let (url, time) = (client.homeserver(), start.elapsed().as_millis());
    Ok((
        (),
        format!(
            "{url} answers within {time} ms; you are {}",
            me["user_id"].as_str().unwrap_or_default()
        ),
    ))
}

async fn synced(client: &Client) -> Checked<()> {
    let start = Instant::now();
    glance(client).await?;
    let (time, rooms) = (start.elapsed().as_millis(), client.joined_rooms().len());
    Ok(((), format!("{rooms} rooms, within {time} ms")))
}

async fn encryption(client: &Client) -> (Health, String) {
    client.encryption().wait_for_e2ee_initialization_tasks().await;
    let device = client.device_id().map(ToString::to_string).unwrap_or_default();
    if client.encryption().ed25519_key().await.is_none() {
        return (Health::Bad, format!("device {device} has no keys"));
    }
    if is_cross_signed(client).await {
        return (Health::Good, format!("device {device} has keys and is cross-signed"));
    }
    let how = "log in with --recovery-key, or verify it from another device";
    (Health::Weak, format!("device {device} has keys but is not cross-signed: {how}"))
}

/// Each URI by itself, so that each transport is told.
async fn turn(http: &Http, trust: &Trust, found: &mut Findings) {
    let answer = match http.get("/voip/turnServer").await {
        Ok(answer) => answer.to_string(),
        Err(why) => return found.tell("TURN", Health::Bad, why),
    };
    let servers = TurnServers::read(&answer).map(|turn| turn.servers).unwrap_or_default();
    if servers.is_empty() {
        let text = "the homeserver names no TURN server: calls between two networks may fail";
        return found.tell("TURN", Health::Weak, text);
    }
    for server in servers {
        for url in &server.urls {
            let one = IceServer { urls: vec![url.clone()], ..server.clone() };
            let (health, text) = match relay(trust, one).await {
                Ok(time) => (Health::Good, format!("{url} relays, after {} ms", time.as_millis())),
                Err(why) => (Health::Bad, format!("{url}: {why}")),
            };
            found.tell("TURN", health, text);
        }
    }
}

/// Asks one server for a relayed address, as a call does.
async fn relay(trust: &Trust, server: IceServer) -> Result<Duration, String> {
    let engine = trust.engine(Studio::builder().build())?;
    let (_library, host) = mailbox::pair();
    let events = PeerEvents::new(PeerId(1), host.news());
    let config = PeerConfig { session: SessionId(1), ice_servers: vec![server], relay_only: true };
    let start = Instant::now();
    engine.open(PeerId(1), config, events).await.map_err(|why| why.to_string())?;
    let state = loop {
        let stats = engine.stats(PeerId(1)).await.map_err(|why| why.to_string())?;
        match stats.servers.first().map(|server| server.state) {
            Some(ServerState::Works) => break Ok(start.elapsed()),
            Some(ServerState::Failed(why)) => break Err(why.to_string()),
            Some(ServerState::Asked) | None if start.elapsed() > TURN => {
                break Err("no answer".to_owned());
            }
            Some(ServerState::Asked) | None => sleep_until(Instant::now() + LOOK).await,
        }
    };
    // Gives the address back.
    drop(engine.close(PeerId(1)).await);
    state
}
