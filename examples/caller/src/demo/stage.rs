//! The stage: a homeserver in memory, a room in it, and the two parties.

use std::{path::PathBuf, time::Duration};

use matrix_voip::{
    CallMedia, Config, Identity, StartError,
    id::{DeviceId, RoomId, UserId},
    testing::{EmbeddedHomeserver, Passage, Way},
};
use tokio::time::{interval, timeout};

use super::{
    call::{self, Script, Stuck},
    fact::{Fact, Who, WireEvent},
    party::{Common, Party},
    setup::{Film, Inputs, Kept, Setup},
    teller::Teller,
};
use crate::cli::Breakage;

/// How long nobody answers, where that is to be seen: an invite's lifetime usually is 90 s.
const SHORT_INVITE: Duration = Duration::from_secs(2);

/// How long a connection may take where none will come: usually 30 s.
const SHORT_CONNECT: Duration = Duration::from_secs(4);

/// How long the files of the recordings may take to be closed.
const CLOSING: Duration = Duration::from_secs(10);

/// How often a file that is being closed is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Everything that the call needs.
pub(crate) struct Stage {
    ada: Party,
    ben: Party,
    script: Script,
}

/// What came of the call besides its facts.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// Why the script did not come to its end.
    pub(crate) stuck: Option<Stuck>,
    /// The files that were written.
    pub(crate) recorded: Vec<PathBuf>,
    /// Why others are not complete.
    pub(crate) unrecorded: Vec<String>,
}

impl Stage {
    /// Starts the homeserver and both parties.
    ///
    /// # Errors
    /// The library's own: no runtime, no randomness.
    pub(crate) fn start(setup: Setup, teller: &Teller) -> Result<Self, StartError> {
        let config = config(setup.breakage);
        let room = RoomId::parse("!demo:caller.local").expect("invariant: a room id");
        let home = EmbeddedHomeserver::new();
        home.set_room(&room, Who::BOTH.map(|who| identity(who).user));
        tap(&home, teller.clone());
        let script = Script {
            room,
            media: match setup.film {
                Film::None => CallMedia::Voice,
                Film::Test | Film::File(_) => CallMedia::Video,
            },
            talk: setup.expected.talk,
            setting_up: config.timeouts.invite + config.timeouts.connect,
            breakage: setup.breakage,
        };
        let common = Common {
            config,
            film: setup.film,
            engines: setup.engines,
            breakage: setup.breakage,
            teller: teller.clone(),
        };
        let login = |who| home.login(identity(who));
        Ok(Self {
            ada: Party::start(Who::Ada, login(Who::Ada), setup.ada, &common)?,
            ben: Party::start(Who::Ben, login(Who::Ben), setup.ben, &common)?,
            script,
        })
    }

    /// Makes the call, stops both sides and waits for their recordings.
    pub(crate) async fn play(self, teller: &Teller) -> Played {
        let stuck = call::play(&self.ada, &self.ben, &self.script, teller).await.err();
        tokio::join!(self.ada.voip.shutdown(), self.ben.voip.shutdown());
        let mut played = Played { stuck, ..Played::default() };
        for kept in self.ada.kept.into_iter().chain(self.ben.kept) {
            played.keep(kept).await;
        }
        for inputs in self.ada.inputs.into_iter().chain(self.ben.inputs) {
            played.keep_inputs(inputs).await;
        }
        played
    }
}

impl Played {
    async fn keep(&mut self, kept: Kept) {
        let path = kept.path.display();
        match timeout(CLOSING, kept.recording.finished()).await {
            Ok(Ok(_)) => self.recorded.push(kept.path),
            Ok(Err(error)) => self.unrecorded.push(format!("{path}: {error}")),
            Err(_) => self.unrecorded.push(format!("{path}: not closed in time")),
        }
    }

    /// The writer has a thread of its own, which ends soon after its `VoIP`.
    async fn keep_inputs(&mut self, inputs: Inputs) {
        let (path, status) = (inputs.path.display(), inputs.recorder.status());
        let closed = async {
            let mut look = interval(LOOK);
            while !status.is_finished() {
                look.tick().await;
            }
        };
        let closed = timeout(CLOSING, closed).await;
        match (closed, status.fault(), status.lost()) {
            (Ok(()), None, 0) => self.recorded.push(inputs.path),
            (Ok(()), None, lost) => self.unrecorded.push(format!("{path}: {lost} lines lost")),
            (Ok(()), Some(fault), _) => self.unrecorded.push(format!("{path}: {fault}")),
            (Err(_), ..) => self.unrecorded.push(format!("{path}: not closed in time")),
        }
    }
}

fn identity(who: Who) -> Identity {
    Identity {
        user: UserId::parse(format!("@{who}:caller.local")).expect("invariant: a user id"),
        device: DeviceId::parse("DEMO").expect("invariant: a device id"),
    }
}

/// Policies and timeouts.
pub(super) fn config(breakage: Option<Breakage>) -> Config {
    let mut config = Config::default();
    match breakage {
        Some(Breakage::NobodyAnswers) => config.timeouts.invite = SHORT_INVITE,
        Some(Breakage::SocketDropsAll | Breakage::WrongFingerprint) => {
            config.timeouts.connect = SHORT_CONNECT;
        }
        Some(Breakage::ToneSwapped | Breakage::SameTone | Breakage::MicrophoneMuted) | None => {}
    }
    config
}

/// Tells of every event that is sent.
fn tap(home: &EmbeddedHomeserver, teller: Teller) {
    home.tap(move |passage: &Passage| {
        if passage.way == Way::Sent {
            let who = if passage.sender == identity(Who::Ada).user { Who::Ada } else { Who::Ben };
            let event_type = passage.event_type.clone();
            let content = passage.content.clone();
            teller.tell(Fact::Sent(who, WireEvent { event_type, content }));
        }
    });
}
