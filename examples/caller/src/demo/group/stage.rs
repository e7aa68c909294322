//! The stage of a group call: a homeserver in memory, a room in it, and all who take part.

use std::time::Duration;

use matrix_voip::{
    StartError,
    id::RoomId,
    testing::{EmbeddedHomeserver, Passage, Way},
};
use tokio::task::JoinSet;

use super::{
    Teller,
    cast::Who,
    ears::Tally,
    fact::Fact,
    member::{Common, Member},
    play::{Script, play},
    verdict::Expected,
};
use crate::{
    cli::Breakage,
    demo::{call::Stuck, fact::WireEvent, stage::config},
    engine::Engines,
};

/// How long it may take until all hear all.
const SETTING_UP: Duration = Duration::from_secs(60);

/// The same where they never will.
const NEVER: Duration = Duration::from_secs(5);

/// Everything that the call needs.
pub(crate) struct Stage {
    cast: Vec<Member>,
    script: Script,
    common: Common,
}

impl Stage {
    /// Starts the homeserver and all who take part.
    ///
    /// # Errors
    /// The library's own: no runtime, no randomness.
    pub(crate) fn start(
        expected: Expected,
        engines: &Engines,
        breakage: Option<Breakage>,
        teller: &Teller,
    ) -> Result<Self, StartError> {
        let room = RoomId::parse("!demo:caller.local").expect("invariant: a room id");
        let home = EmbeddedHomeserver::new();
        home.set_room(&room, Who::cast(expected.size).map(|who| who.identity().user));
        tap(&home, teller.clone());
        let common = Common {
            size: expected.size,
            config: config(breakage),
            engines: engines.clone(),
            breakage,
            tally: Tally::new(),
            teller: teller.clone(),
        };
        let login = |who: Who| Member::start(who, home.login(who.identity()), &common);
        let cast = Who::cast(expected.size).map(login).collect::<Result<_, _>>()?;
        let script = Script { room, talk: expected.talk, setting_up: setting_up(breakage) };
        Ok(Self { cast, script, common })
    }

    /// Makes the call and stops everybody; why it did not come to its end.
    pub(crate) async fn play(self) -> Option<Stuck> {
        let stuck = play(&self.cast, &self.script, &self.common).await.err();
        let mut stopping = JoinSet::new();
        for Member { voip, .. } in self.cast {
            stopping.spawn(async move { voip.shutdown().await });
        }
        while stopping.join_next().await.is_some() {}
        stuck
    }
}

const fn setting_up(breakage: Option<Breakage>) -> Duration {
    match breakage {
        None | Some(Breakage::ToneSwapped | Breakage::SameTone) => SETTING_UP,
        Some(
            Breakage::MicrophoneMuted
            | Breakage::SocketDropsAll
            | Breakage::WrongFingerprint
            | Breakage::NobodyAnswers,
        ) => NEVER,
    }
}

/// Tells of every event that is sent, to the room or to devices.
fn tap(home: &EmbeddedHomeserver, teller: Teller) {
    home.tap(move |passage: &Passage| {
        let to = match &passage.way {
            Way::Sent => Vec::new(),
            Way::SentTo(devices) => devices.iter().filter_map(Who::of).collect(),
            Way::DeliveredTo(_) => return,
        };
        if let Some(from) = Who::of_user(&passage.sender) {
            let event_type = passage.event_type.clone();
            let content = passage.content.clone();
            teller.tell(Fact::Sent(from, to, WireEvent { event_type, content }));
        }
    });
}
