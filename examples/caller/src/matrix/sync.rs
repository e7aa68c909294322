//! Keeping a client in sync, in both flavours, through every loss of the homeserver.

use std::{sync::Arc, time::Duration};

use matrix_sdk::{Client, config::SyncSettings, ruma::api::error::ErrorKind};
use matrix_sdk_ui::{
    encryption_sync_service::Error as KeysError,
    room_list_service::Error as RoomsError,
    sync_service::{Error, State, SyncService},
};
use matrix_voip::{host::News, machine::io::Network};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long the homeserver may keep a sync that has nothing to say.
const LONG_POLL: Duration = Duration::from_secs(30);

/// The pause after a failed sync: doubles up to the longest. A homeserver that is back must be
/// noticed within 8 s.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Told when the login is lost: nothing follows.
pub(crate) const STOPPED: &str = "STOPPED";

/// What both flavours need.
pub(crate) struct Syncing {
    pub(crate) client: Client,
    pub(crate) news: News,
    /// Told each change of how it goes, in the words of matrix-js-sdk.
    pub(crate) tell: Box<dyn Fn(&'static str) + Send + Sync>,
    /// Set when a sync was successful for the first time.
    pub(crate) done: watch::Sender<bool>,
}

/// How the last sync went, to tell changes of it.
struct Health<'a> {
    syncing: &'a Syncing,
    pause: Duration,
    failed: bool,
}

impl<'a> Health<'a> {
    fn new(syncing: &'a Syncing) -> Self {
        Self { syncing, pause: FIRST_PAUSE, failed: false }
    }

    fn good(&mut self) {
        self.pause = FIRST_PAUSE;
        if std::mem::take(&mut self.failed) {
            // What could not be sent meanwhile is tried at once.
            self.syncing.news.network(Network::Back);
            self.tell("SYNCING");
        } else if !*self.syncing.done.borrow() {
            self.tell("PREPARED");
        }
        self.syncing.done.send_replace(true);
    }

    async fn bad(&mut self) {
        if !std::mem::replace(&mut self.failed, true) {
            self.tell("ERROR");
        }
        sleep_until(Instant::now() + self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn tell(&self, state: &'static str) {
        (self.syncing.tell)(state);
    }
}

/// `/v3/sync`, until the login is lost.
pub(crate) async fn classic(syncing: Syncing) {
    let mut health = Health::new(&syncing);
    loop {
        match syncing.client.sync_once(SyncSettings::new().timeout(LONG_POLL)).await {
            Ok(_) => health.good(),
            Err(error) if is_logout(&error) => return health.tell(STOPPED),
            Err(_) => health.bad().await,
        }
    }
}

fn is_logout(error: &matrix_sdk::Error) -> bool {
    matches!(error.client_api_error_kind(), Some(ErrorKind::UnknownToken { .. }))
}

/// The same of the `SyncService`, which syncs rooms and keys apart.
fn is_logout_of_either(error: &Error) -> bool {
    match error {
        Error::RoomList(RoomsError::SlidingSync(error))
        | Error::EncryptionSync(
            KeysError::SlidingSync(error)
            | KeysError::LockError(error)
            | KeysError::ClientError(error),
        ) => is_logout(error),
        Error::RoomList(_) | Error::Supervisor => false,
    }
}

/// The `SyncService`, until the login is lost.
pub(crate) async fn sliding(syncing: Syncing, service: Arc<SyncService>) {
    let mut health = Health::new(&syncing);
    let mut updates = syncing.client.subscribe_to_all_room_updates();
    let mut state = service.state();
    service.start().await;
    loop {
        let now = state.get();
        match now {
            // Running says that it tries; an update that it was answered.
            State::Running => {
                tokio::select! {
                    update = updates.recv() => if update.is_ok() { health.good() },
                    _ = state.next() => {}
                }
            }
            State::Error(error) if is_logout_of_either(&error) => return health.tell(STOPPED),
            State::Idle | State::Terminated | State::Error(_) | State::Offline => {
                health.bad().await;
                service.start().await;
            }
        }
    }
}
