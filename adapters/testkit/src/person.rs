//! A person with a `VoIP`, for the tests that call over real sockets as applications do: signalling
//! through the embedded homeserver, media through any engine.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use matrix_voip::{
    CallOptions, CallSession, VoIP, VoipNews,
    config::Config,
    host::{Frame, Media, WebRtc},
    id::{DeviceId, UserId},
    machine::{Identity, event::CallState, io::MediaKind},
    testing::EmbeddedHomeserver,
};
use tokio::time::timeout;

use crate::studio::{Log, Studio};

/// Longer than anything takes that goes well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The room that both are in.
const ROOM: &str = "!room:example";

/// A homeserver with a room for two.
pub fn homeserver() -> EmbeddedHomeserver {
    EmbeddedHomeserver::new().with_room(ROOM, ["@ada:example", "@ben:example"])
}

/// One person: sound from a studio, and what was heard.
pub struct Person {
    user: String,
    /// What the person calls with.
    pub voip: VoIP,
    /// What happens at the devices.
    pub log: Arc<Log>,
}

impl Person {
    /// Logs in with this engine; the microphone gives a tone. Belongs into the runtime that is to
    /// carry the calls.
    pub fn new(
        home: &EmbeddedHomeserver,
        user: &str,
        (hertz, config): (f32, Config),
        engine: impl FnOnce(Arc<dyn Media>) -> Arc<dyn WebRtc>,
    ) -> Self {
        let device = DeviceId::parse("PHONE").unwrap();
        let identity = Identity { user: UserId::parse(user).unwrap(), device };
        let account = home.login(identity.clone());
        let log = Arc::new(Log::default());
        log.breaks_after.store(usize::MAX, Ordering::SeqCst);
        let media = Arc::new(Studio { hertz, log: log.clone() });
        let voip = VoIP::builder(identity)
            .config(config)
            .signaling(Arc::new(account.clone()))
            .webrtc(engine(media))
            .start()
            .unwrap();
        account.connect(voip.news());
        Self { user: user.to_owned(), voip, log }
    }

    /// Calls the other one, who answers; both are connected.
    pub async fn call(&self, other: &Self, options: CallOptions) -> [CallSession; 2] {
        let mut events = other.voip.events();
        let outgoing = self.voip.invite(ROOM, other.user.as_str(), options).await.unwrap();
        let ringing = async {
            loop {
                if let Some(VoipNews::RingStarted { call, .. }) = events.next().await {
                    return call;
                }
            }
        };
        let incoming = timeout(PATIENCE, ringing).await.unwrap();
        incoming.answer().await.unwrap();
        for call in [&outgoing, &incoming] {
            timeout(PATIENCE, call.until(CallState::Connected)).await.unwrap().unwrap();
        }
        [outgoing, incoming]
    }

    /// The frames of this kind that came in.
    pub fn heard(&self, kind: MediaKind) -> Vec<Frame> {
        let heard = self.log.heard.lock().unwrap();
        heard.iter().filter(|(track, _)| track.kind == kind).map(|(_, f)| f.clone()).collect()
    }

    /// How many frames came in.
    pub fn count(&self) -> usize {
        self.log.heard.lock().unwrap().len()
    }
}
