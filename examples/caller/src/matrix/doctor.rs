//! `caller doctor`: what calls need, checked one after the other, each told in one line.

use std::{fmt, process::ExitCode, time::Duration};

use matrix_sdk::Client;
use matrix_voip::{
    host::{PeerEvents, mailbox},
    id::{PeerId, SessionId},
    machine::io::{IceServer, PeerConfig, ServerState, TurnServers},
};
use matrix_voip_media::Studio;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{
    account::{
        login::is_cross_signed,
        open::{glance, open},
    },
    http::Http,
    plain::plain,
    refusal::Refusal,
    say::say,
    trust::Trust,
};
use crate::{
    cli::{Engine, online::Profile},
    exit::WRONG,
};

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
        say(line(what, health, text));
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

/// URIs and errors are whatever the homeserver wrote.
fn line(what: &str, health: Health, text: impl fmt::Display) -> String {
    plain(format!("{what:<11} {health:<5} {text}"))
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
    let answer = http.get("/account/whoami").await;
    let answer = answer.map_err(|why| Refusal::new(why.to_string()))?;
    let (url, time) = (client.homeserver(), start.elapsed().as_millis());
    let me = client.user_id().map(ToString::to_string).unwrap_or_default();
    agrees(&answer, &me).map_err(|why| Refusal::new(format!("{url} {why}")))?;
    Ok(((), format!("{url} answers within {time} ms; you are {me}")))
}

/// Whether the homeserver takes us for whom we take ourselves.
fn agrees(whoami: &Value, me: &str) -> Result<(), String> {
    match whoami["user_id"].as_str() {
        Some(user) if user == me => Ok(()),
        Some(user) => Err(format!("takes you for {user}, not for {me}")),
        None => Err("answers, but not as a homeserver does".to_owned()),
    }
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
        Ok(answer) => answer,
        Err(why) => return found.tell("TURN", Health::Bad, why),
    };
    let servers = match servers(&answer) {
        Ok(servers) => servers,
        Err(why) => return found.tell("TURN", Health::Bad, why),
    };
    if servers.is_empty() {
        let text = "the homeserver names no TURN server: calls between two networks may fail";
        return found.tell("TURN", Health::Weak, text);
    }
    for server in servers {
        for url in &server.urls {
            let one = IceServer { urls: vec![url.clone()], ..server.clone() };
            let does = if is_stun(url) { "answers" } else { "relays" };
            let (health, text) = match ask(trust, one).await {
                Ok(time) => (Health::Good, format!("{url} {does}, after {} ms", time.as_millis())),
                Err(why) => (Health::Bad, format!("{url}: {why}")),
            };
            found.tell("TURN", health, text);
        }
    }
}

/// What the homeserver names. The library takes any object and reads what it can of it: a person
/// wants to know that it is wrong.
fn servers(answer: &Value) -> Result<Vec<IceServer>, &'static str> {
    let wrong = "the homeserver's answer is no answer about TURN";
    let object = answer.as_object().ok_or(wrong)?;
    if object.is_empty() {
        return Ok(Vec::new());
    }
    let uris = object.get("uris").and_then(Value::as_array).ok_or(wrong)?;
    let is_text = |name| object.get(name).is_none_or(Value::is_string);
    let is_time = object.get("ttl").is_none_or(Value::is_number);
    if !uris.iter().all(Value::is_string)
        || !is_text("username")
        || !is_text("password")
        || !is_time
    {
        return Err(wrong);
    }
    TurnServers::read(&answer.to_string()).map(|turn| turn.servers).map_err(|_| wrong)
}

/// Whether such a server tells us our address and relays nothing.
fn is_stun(url: &str) -> bool {
    let scheme = url.split_once(':').map_or(url, |(scheme, _)| scheme);
    ["stun", "stuns"].iter().any(|stun| scheme.eq_ignore_ascii_case(stun))
}

/// Asks one server for an address, as a call does: a TURN server for a relayed one.
async fn ask(trust: &Trust, server: IceServer) -> Result<Duration, String> {
    // Of the two engines the one that tells why a server refuses.
    let engine = trust.engine(Engine::Str0m, Studio::builder().build())?;
    let (_library, host) = mailbox::pair();
    let events = PeerEvents::new(PeerId(1), host.news());
    // Nobody asks a STUN server who wants relayed addresses alone.
    let relay_only = !server.urls.iter().any(|url| is_stun(url));
    let session = SessionId(1);
    let config = PeerConfig { session, member: None, ice_servers: vec![server], relay_only };
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

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use serde_json::json;

    use super::*;

    /// Answers one STUN request with the address that asked (RFC 8489, sections 5 and 14.2). It is
    /// at an address that the engine's sockets reach: loopback only where there is nothing else.
    fn stun_server() -> SocketAddr {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
        let outside = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
        let ip = outside.map_or([127, 0, 0, 1].into(), |address| address.ip());
        let address = SocketAddr::new(ip, socket.local_addr().unwrap().port());
        std::thread::spawn(move || {
            let mut request = [0; 1500];
            let (_, from) = socket.recv_from(&mut request).unwrap();
            let SocketAddr::V4(asker) = from else { panic!("{from}") };
            let mut answer = vec![1, 1, 0, 12];
            answer.extend(&request[4..20]);
            answer.extend([0, 0x20, 0, 8, 0, 1]);
            let plain = asker.port().to_be_bytes().into_iter().chain(asker.ip().octets());
            let key = [&request[4..6], &request[4..8]].concat();
            answer.extend(plain.zip(key).map(|(byte, key)| byte ^ key));
            socket.send_to(&answer, from).unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_stun_server_that_answers_is_good() {
        let url = format!("stun:{}", stun_server());
        let server = servers(&json!({"uris": [url]})).unwrap().remove(0);
        ask(&Trust::default(), server).await.unwrap();
    }

    #[test]
    fn a_uri_cannot_forge_a_line() {
        let line = line("TURN", Health::Bad, "turn:a\nTURN ok\x1b[A: no");
        assert_eq!(line, "TURN        BAD   turn:a\u{fffd}TURN ok\u{fffd}[A: no");
    }

    #[test]
    fn schemes_are_read_in_any_case() {
        for (url, expected) in [("STUN:a", true), ("stuns:a", true), ("turn:stun:a", false)] {
            assert_eq!(is_stun(url), expected, "{url}");
        }
    }

    #[test]
    fn an_answer_about_something_else_is_not_a_homeserver_without_turn() {
        assert_eq!(servers(&json!({})).unwrap(), []);
        assert_eq!(servers(&json!({"uris": [], "ttl": 1})).unwrap(), []);
        let good = json!({"uris": ["turn:a"], "username": "u", "password": "p", "ttl": 1.5});
        assert_eq!(servers(&good).unwrap()[0].urls, ["turn:a"]);
        // `null` is what a page of HTML becomes.
        let wrong = [
            json!(null),
            json!([]),
            json!("turn:a"),
            json!({"ttl": 1}),
            json!({"uris": "turn:a"}),
            json!({"uris": [7]}),
            json!({"uris": ["turn:a"], "password": 7}),
            json!({"uris": ["turn:a"], "username": []}),
            json!({"uris": ["turn:a"], "ttl": "long"}),
        ];
        for answer in wrong {
            assert!(servers(&answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn whoever_does_not_say_who_we_are_is_no_homeserver() {
        assert_eq!(agrees(&json!({"user_id": "@ada:a"}), "@ada:a"), Ok(()));
        for wrong in [json!(null), json!([]), json!({}), json!({"user_id": 7})] {
            assert!(agrees(&wrong, "@ada:a").unwrap_err().contains("not as a homeserver"));
        }
        let other = agrees(&json!({"user_id": "@eve:a"}), "@ada:a");
        assert_eq!(other.unwrap_err(), "takes you for @eve:a, not for @ada:a");
    }
}
