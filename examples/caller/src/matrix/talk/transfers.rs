//! Whom the other side of a call asks to talk to instead, and how a person does so: a key follows,
//! nothing else does. Whoever is only told that somebody will call him waits for that.
//!
//! The other side hangs up as soon as it has asked: what was asked for outlives the call.

use futures::FutureExt;
use matrix_sdk::Client;
use matrix_voip::{
    CallMedia, CallOptions as Placing, CallSession, VoIP, VoipEvents, VoipNews, id::UserId,
    machine::event::Transfer,
};

use crate::matrix::{
    account::rooms::{Target, target},
    patience::{PATIENCE, within},
    plain::plain,
    refusal::Refusal,
};

/// What is asked for in the call that a person is in, or was in last.
pub(crate) struct Transfers {
    client: Client,
    voip: VoIP,
    events: VoipEvents,
    requested: Option<(CallSession, Transfer)>,
    announced: Option<UserId>,
    followed: Option<CallSession>,
}

impl Transfers {
    pub(crate) fn new(client: &Client, voip: &VoIP) -> Self {
        let (client, voip, events) = (client.clone(), voip.clone(), voip.events());
        Self { client, voip, events, requested: None, announced: None, followed: None }
    }

    /// What the person is told next. Cancel safe.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            match self.events.next().await {
                Some(VoipNews::TransferRequested { call, transfer }) => {
                    let told = format!("they ask you to call {} instead", name(&transfer.user));
                    self.requested = Some((call, *transfer));
                    return told;
                }
                Some(VoipNews::TransferAnnounced { transfer, .. }) => {
                    let told = format!("{} will call you instead", name(&transfer.user));
                    self.announced = Some(transfer.user);
                    return told;
                }
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// What the person was not told yet, of what has come already.
    pub(crate) fn untold(&mut self) -> Option<String> {
        self.next().now_or_never()
    }

    /// Whether the other side asked us to call somebody.
    pub(crate) fn requested(&self) -> bool {
        self.requested.is_some()
    }

    /// Who will call us, once.
    pub(crate) fn announced(&mut self) -> Option<UserId> {
        self.announced.take()
    }

    /// The call that we followed into, once.
    pub(crate) fn followed(&mut self) -> Option<CallSession> {
        self.followed.take()
    }

    /// Calls whom the other side named, in the room in which we call that user anyhow: where the
    /// other side would have it is a stranger's proposal.
    pub(crate) async fn follow(&mut self, media: CallMedia) -> Result<(), Refusal> {
        let Some((call, transfer)) = self.requested.take() else {
            return Err(Refusal::new("nobody asked you to call somebody else"));
        };
        let found = target(&self.client, transfer.user.as_str(), None);
        let Target { room, .. } = within("rooms", PATIENCE, found).await?;
        let placing = match media {
            CallMedia::Voice => Placing::voice(),
            CallMedia::Video => Placing::video(),
        };
        let placed = self.voip.follow(&call, transfer, room.room_id(), placing).await;
        self.followed = Some(placed.map_err(|why| Refusal::new(why.to_string()))?);
        Ok(())
    }
}

/// As it can be printed.
pub(crate) fn name(user: &UserId) -> String {
    plain(user.as_str())
}
