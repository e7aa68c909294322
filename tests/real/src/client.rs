//! A client that a test drives: a named peer of a browser or of our `caller serve`. Commands are
//! answered (`ask`) or under way (`send`); every wait has an end.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    clock,
    failure::Failure,
    kind::Kind,
    likeness::RATE,
    process::{Process, Seat, answer},
    pulse::samples,
    usage::Usage,
};

/// How long a test waits for what should come within 4 s: a call that connects, an event that
/// arrives, a login. Five times of that, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a login may take: a browser starts first, with the machine busy in 15 s.
const ENTRY: Duration = Duration::from_secs(60);

/// Between two looks at something that no command waits for.
const LOOK: Duration = Duration::from_millis(100);

/// What a peer may take to answer beyond the time that the command itself takes.
const GRACE: Duration = Duration::from_secs(15);

/// A logged in client.
#[derive(Debug)]
pub struct Client {
    pub(crate) process: Arc<Process>,
    pub(crate) peer: String,
    pub(crate) seat: Arc<Seat>,
    /// Who plays it.
    pub kind: Kind,
    /// `@localpart:server`.
    pub user_id: String,
    /// The device of the login.
    pub device_id: String,
}

/// A command that was sent; its answer will come.
#[derive(Debug)]
#[must_use = "the answer may be an error"]
pub struct Pending {
    seat: Arc<Seat>,
    id: u64,
    what: String,
    patience: Duration,
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    ///
    /// What the peer says, or that it says nothing.
    pub fn answer(self) -> Result<Value, Failure> {
        let Self { seat, id, what, patience } = self;
        let heard = seat.wait(patience, |heard| answer(heard, id));
        let line = heard.map_err(|gone| match gone {
            Some(why) => Failure::of(&what, why),
            None => Failure(format!("{what}: no answer within {} s", patience.as_secs())),
        })?;
        match line["error"].as_str() {
            Some(error) => Err(Failure::of(&what, error)),
            None => Ok(line["result"].clone()),
        }
    }
}

impl Pending {
    /// Of [`Client::listen`]: the loudest sample, 0 to 1.
    ///
    /// # Errors
    ///
    /// What the peer says.
    pub fn loudness(self) -> Result<f64, Failure> {
        Ok(self.sound()?.peak)
    }

    /// Of [`Client::listen`]: what was heard.
    ///
    /// # Errors
    ///
    /// What the peer says.
    pub fn sound(self) -> Result<Sound, Failure> {
        let heard = self.answer()?;
        let peak = heard["peak"].as_f64().unwrap_or_default();
        Ok(Sound { peak, hertz: heard["tone"]["hz"].as_f64() })
    }
}

impl Pending {
    /// Of [`Client::hear`]: what was heard, at [`RATE`].
    ///
    /// # Errors
    ///
    /// What the peer says.
    pub fn recorded(self) -> Result<Vec<f32>, Failure> {
        let what = self.what.clone();
        let heard = self.answer()?;
        if heard["rate"] != RATE {
            return Err(Failure(format!("{what}: {} samples in a second", heard["rate"])));
        }
        let bytes = STANDARD.decode(heard["pcm"].as_str().unwrap_or_default());
        Ok(samples(&bytes.map_err(|why| Failure::of(what, why))?))
    }
}

/// What a client has heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sound {
    /// The loudest sample, 0 to 1.
    pub peak: f64,
    /// The strongest tone in Hertz, of a peer that tells it.
    pub hertz: Option<f64>,
}

/// Starts a command at a peer.
pub(crate) fn send(
    process: &Process,
    peer: &str,
    seat: &Arc<Seat>,
    cmd: &str,
    args: &Value,
) -> Pending {
    let asked = args["timeoutMs"].as_u64().or(args["ms"].as_u64()).map(Duration::from_millis);
    let usual = if cmd == "login" { ENTRY } else { PATIENCE };
    let patience = asked.unwrap_or(usual) + GRACE;
    let id = process.request(peer, seat, cmd, args);
    let what = format!("{peer}: {cmd}");
    Pending { seat: Arc::clone(seat), id, what, patience }
}

/// Voice, or voice and picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Sound alone.
    Voice,
    /// Sound and picture.
    Video,
}

impl Media {
    fn kind(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Video => "video",
        }
    }

    fn streams(self) -> &'static [&'static str] {
        match self {
            Self::Voice => &["audio"],
            Self::Video => &["audio", "video"],
        }
    }
}

/// How a call ended, as a client tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// "local" or "remote"; empty when it does not say.
    pub party: String,
    /// Why; empty when it does not say.
    pub reason: String,
}

impl End {
    /// An end by that party for that reason.
    #[must_use]
    pub fn of(party: &str, reason: &str) -> Self {
        Self { party: party.to_owned(), reason: reason.to_owned() }
    }
}

impl Client {
    /// What the log calls it.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Starts a command without waiting for its answer.
    pub fn send(&self, cmd: &str, args: &Value) -> Pending {
        send(&self.process, &self.peer, &self.seat, cmd, args)
    }

    /// A command and its answer.
    ///
    /// # Errors
    ///
    /// What the peer says, or that it says nothing.
    pub fn ask(&self, cmd: &str, args: &Value) -> Result<Value, Failure> {
        self.send(cmd, args).answer()
    }

    /// The first event, past or to come, that `is` it.
    ///
    /// # Errors
    ///
    /// When none comes within `patience`, or the process has ended; `what` names it.
    pub fn event(
        &self,
        what: &str,
        patience: Duration,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let found =
            self.seat.wait(patience, |heard| heard.events.iter().find(|event| is(event)).cloned());
        found.map_err(|gone| {
            let why = gone.unwrap_or_else(|| format!("not within {} s", patience.as_secs()));
            Failure(format!("{}: {what}: {why}", self.peer))
        })
    }

    /// The event of that name before which there were so many of that name, past or to come.
    ///
    /// # Errors
    ///
    /// When it does not come within `patience`, or the process has ended.
    pub fn nth_event(&self, name: &str, nth: usize, patience: Duration) -> Result<Value, Failure> {
        let found = self.seat.wait(patience, |heard| {
            heard.events.iter().filter(|event| event["ev"] == name).nth(nth).cloned()
        });
        found.map_err(|gone| {
            let why = gone.unwrap_or_else(|| format!("not within {} s", patience.as_secs()));
            Failure(format!("{}: {name} after {nth} others: {why}", self.peer))
        })
    }

    /// All events so far of that name.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.seat.heard().events.iter().filter(|event| event["ev"] == name).cloned().collect()
    }

    /// Places a call and returns its id.
    ///
    /// # Errors
    ///
    /// What the peer says.
    pub fn call(&self, room: &str, media: Media) -> Result<String, Failure> {
        let args = json!({"roomId": room, "kind": media.kind()});
        let placed = self.ask("call", &args)?;
        placed["callId"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure(format!("{}: call: no callId in {placed}", self.peer)))
    }

    /// Waits until the call rings here.
    ///
    /// # Errors
    ///
    /// When it does not within [`PATIENCE`].
    pub fn rings(&self, call: &str) -> Result<(), Failure> {
        self.wait_for(json!({"callId": call, "incoming": true}), PATIENCE).map(drop)
    }

    /// `answer`, `reject` or `hangup`, or another command that needs no more than the call.
    ///
    /// # Errors
    ///
    /// What the peer says.
    pub fn act(&self, command: &str, call: &str) -> Result<Value, Failure> {
        self.ask(command, &json!({"callId": call}))
    }

    /// Waits until the call is in that state; the call object.
    ///
    /// # Errors
    ///
    /// When it is not within [`PATIENCE`].
    pub fn reaches(&self, call: &str, state: &str) -> Result<Value, Failure> {
        self.wait_for(json!({"callId": call, "state": state}), PATIENCE)
    }

    /// Waits until the call has ended.
    ///
    /// # Errors
    ///
    /// When it has not within [`PATIENCE`].
    pub fn ends(&self, call: &str) -> Result<End, Failure> {
        self.ends_within(call, PATIENCE)
    }

    /// Waits until the call has ended.
    ///
    /// # Errors
    ///
    /// When it has not within `patience`.
    pub fn ends_within(&self, call: &str, patience: Duration) -> Result<End, Failure> {
        let call = self.wait_for(json!({"callId": call, "state": "ended"}), patience)?;
        let text = |field: &str| call[field].as_str().unwrap_or_default();
        Ok(End::of(text("hangupParty"), text("hangupReason")))
    }

    /// Waits until so much of each kind of media has come: bytes of RTP payload.
    ///
    /// # Errors
    ///
    /// When it has not within [`PATIENCE`].
    pub fn receives(&self, call: &str, media: Media, bytes: u64) -> Result<Value, Failure> {
        let args = json!({"callId": call, "minInboundBytes": bytes, "kinds": media.streams()});
        self.wait_for(args, PATIENCE)
    }

    /// Listens for 1.5 s: the test sound comes once a second.
    pub fn listen(&self, call: &str) -> Pending {
        self.send("audioLevel", &json!({"callId": call, "ms": 1500}))
    }

    /// Hears what comes from now on, for so long. Browsers only.
    pub fn hear(&self, call: &str, length: Duration) -> Pending {
        let ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        self.send("hear", &json!({"callId": call, "ms": ms}))
    }

    /// Waits until the call object is like that; `what` names it.
    ///
    /// # Errors
    ///
    /// When it is not within `patience`.
    pub fn until(
        &self,
        what: &str,
        call: &str,
        patience: Duration,
        is: impl Fn(&Value) -> bool,
    ) -> Result<(), Failure> {
        self.look_until(what, patience, || self.act("state", call), is).map(drop)
    }

    /// Waits until the call's statistics are like that, and returns them; `what` names it.
    ///
    /// # Errors
    ///
    /// When they are not within [`PATIENCE`].
    pub fn measures(
        &self,
        what: &str,
        call: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        self.look_until(what, PATIENCE, || self.stats(call), is)
    }

    /// Waits until the descriptions in force are like that, and returns them; `what` names it.
    ///
    /// # Errors
    ///
    /// When they are not within [`PATIENCE`].
    pub fn describes(
        &self,
        what: &str,
        call: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        self.look_until(what, PATIENCE, || self.act("sdp", call), is)
    }

    fn look_until(
        &self,
        what: &str,
        patience: Duration,
        look: impl Fn() -> Result<Value, Failure>,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Value, Failure> {
        let until = clock::now() + patience.as_millis() as u64;
        loop {
            let seen = look()?;
            if is(&seen) {
                return Ok(seen);
            }
            if clock::now() > until {
                return Err(Failure(format!("{}: {what}: {seen}", self.peer)));
            }
            // Nothing tells when it changes, and nothing else happens meanwhile.
            let _ = self.seat.wait(LOOK, |_| None::<()>);
        }
    }

    /// Waits until its process has said so many lines with these words on standard error: what the
    /// engine of ours notices and tells nobody.
    ///
    /// # Errors
    ///
    /// When it has not within [`PATIENCE`].
    pub fn notices(&self, words: &str, lines: usize) -> Result<(), Failure> {
        let count = || {
            let said = self.process.complaints()?;
            Ok(said.lines().filter(|line| line.contains(words)).count().into())
        };
        let enough = |count: &Value| count.as_u64() >= u64::try_from(lines).ok();
        self.look_until(&format!("{lines} times {words:?}"), PATIENCE, count, enough).map(drop)
    }

    /// The statistics of the call.
    ///
    /// # Errors
    ///
    /// What the peer says.
    pub fn stats(&self, call: &str) -> Result<Value, Failure> {
        self.act("stats", call)
    }

    /// What the process costs that the client lives in: a browser with all its clients.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn usage(&self) -> Result<Usage, Failure> {
        Usage::of(self.process.id())
    }

    /// The client dies without a word to anybody, and with it whatever else its process does.
    ///
    /// # Errors
    ///
    /// When its processes cannot be killed.
    pub fn die(&self) -> Result<(), Failure> {
        self.process.kill_family()
    }

    fn wait_for(&self, mut args: Value, patience: Duration) -> Result<Value, Failure> {
        args["timeoutMs"] = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).into();
        self.ask("waitFor", &args)
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::Arc, time::Duration};

    use serde_json::json;

    use super::{Client, Failure, Kind, Process, Seat};
    use crate::log::Log;

    /// A client played by a shell: each line that it reads is `$line`.
    fn played_by(script: &str, name: &str) -> Client {
        let folder = std::env::temp_dir().join("real-unit-tests");
        std::fs::create_dir_all(&folder).unwrap();
        let log = Arc::new(Log::open(&folder, name).unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let errors = log.path().with_extension("stderr");
        let process = Arc::new(Process::start(name, shell, &errors).unwrap());
        let seat = Arc::new(Seat::new("a", log));
        process.seat("a", &seat);
        let (peer, user_id, device_id) = ("a".to_owned(), String::new(), String::new());
        Client { process, peer, seat, kind: Kind::Browser, user_id, device_id }
    }

    #[test]
    fn an_answer_finds_its_question_whatever_comes_between() {
        let client = played_by(
            r#"read first; read second
               number() { echo "$1" | sed 's/.*"id":\([0-9]*\).*/\1/'; }
               echo '{"ev":"news","peer":"a","at":1}'
               echo 'no JSON'
               echo "{\"id\":$(number "$second"),\"peer\":\"a\",\"ok\":false,\"error\":\"no call\"}"
               echo "{\"id\":$(number "$first"),\"peer\":\"a\",\"ok\":true,\"result\":{\"peak\":0.5}}"
               cat"#,
            "answers",
        );
        let first = client.listen("c");
        let second = client.send("stats", &json!({}));
        assert_eq!(second.answer(), Err(Failure("a: stats: no call".to_owned())));
        assert_eq!(first.loudness(), Ok(0.5));
        assert_eq!(client.events("news").len(), 1);
    }

    #[test]
    fn who_waits_for_a_process_that_ends_is_told() {
        let client = played_by("read line", "ends");
        let failure = client.ask("state", &json!({})).unwrap_err();
        assert!(failure.0.contains("has ended"), "{failure}");
    }

    #[test]
    fn an_event_that_does_not_come_is_an_error() {
        let client = played_by("cat >/dev/null", "silent");
        let failure = client.event("news", Duration::from_millis(1), |_| true).unwrap_err();
        assert_eq!(failure.0, "a: news: not within 0 s");
        let failure = client.nth_event("news", 2, Duration::from_millis(1)).unwrap_err();
        assert_eq!(failure.0, "a: news after 2 others: not within 0 s");
    }
}
