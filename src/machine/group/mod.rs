//! Group calls: who is in them, and our own place there.
//!
//! | file | holds |
//! | --- | --- |
//! | `event.rs`, `key_event.rs`, `explain.rs` | what an application learns; what a call waits for |
//! | `roster.rs` | memberships → participants, as differences |
//! | `membership.rs` | our own memberships in a room: one write at a time |
//! | `reactions.rs` | applause and raised hands |
//! | `ringing.rs` | how a call is announced, and how others' calls ring here |
//! | `post.rs` | events of ours that go out until they are accepted |
//! | `delayed.rs`, `arming.rs` | the leave that the homeserver writes when we are gone (MSC4140) |
//! | `groups.rs` | all group calls: in which rooms, what is being written |
//! | `mesh.rs` | who calls whom, which leg is whose, when one is tried again |
//! | `pace.rs` | how fast legs to one user begin |
//! | `legs.rs`, `signals.rs` | legs come and go; to-device messages find theirs |
//! | `media.rs` | what we send: one capture for all legs |
//! | `sfu.rs`, `focus.rs`, `link.rs`, `sfu_news.rs` | calls through an SFU: the plan; which one; token and connection; who is there |
//! | `keyring.rs`, `heard.rs`, `keys.rs` | media keys: ours, those of the others, what is done for them |
//! | `touched.rs` | members of whom something changed |
//! | `speaker.rs` | who speaks loudest |
//! | `inputs.rs`, `state.rs` | commands, replies and timers that concern them; the state of rooms |
//!
//! ```text
//!           open            enter              accepted
//!  (nothing) ──▶ Idle ─────────────▶ Entering ──────────▶ Entered
//!                 ▲ ▲   refused          │ leave              │ leave
//!                 │ └────────────────────┤                    ▼
//!                 └──────────────────────┴──────────────── Leaving      Ended: nobody is in it, or
//!                        taken back, or believed no more                we can be in it no more
//! ```

mod arming;
mod delayed;
mod delivery;
pub mod event;
pub mod explain;
mod focus;
mod giving;
mod groups;
mod heard;
mod inputs;
pub mod key_event;
mod key_signals;
mod keyring;
mod keys;
mod legs;
mod link;
mod media;
mod membership;
mod mesh;
mod order;
mod pace;
mod post;
mod reactions;
pub mod ringing;
pub mod roster;
mod sfu;
mod sfu_news;
mod signals;
mod speaker;
mod state;
mod touched;

pub(super) use self::groups::Groups;
use self::{
    event::{GroupEvent, GroupSnapshot, GroupState},
    keys::Keys,
    media::GroupMedia,
    mesh::Mesh,
    reactions::Reactions,
    ringing::Calling,
    sfu::Sfu,
    speaker::Speaker,
    touched::Touched,
};
use super::world::World;
use crate::{
    id::SessionId,
    machine::{event::Stream, io::ParticipantId},
};

/// One group call: what the application knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupCall {
    session: SessionId,
    shown: GroupSnapshot,
    /// Somebody was in it: with the last of them it ends.
    was_alive: bool,
    reactions: Reactions,
    calling: Calling,
    touched: Touched,
    /// In use by the backend: the legs of a mesh, or the SFU.
    mesh: Mesh,
    sfu: Sfu,
    keys: Keys,
    media: GroupMedia,
    speaker: Speaker,
}

impl GroupCall {
    pub(super) fn shown(&self) -> &GroupSnapshot {
        &self.shown
    }

    pub(super) fn member_legs(&self) -> Vec<(ParticipantId, SessionId)> {
        self.mesh.member_legs()
    }

    fn tell(&mut self, world: &mut World, event: GroupEvent) {
        self.shown.apply(&event);
        if let Some(of) = whose_reactions_may_end(&event) {
            self.reactions.keep_shown(&self.shown, of, &world.ourselves());
        }
        world.tell_group(self.session, event);
    }

    /// The streams of a participant, if they changed.
    fn show_streams(
        &mut self,
        world: &mut World,
        participant: ParticipantId,
        streams: Vec<Stream>,
    ) {
        let shown = self.shown.streams.get(&participant).map_or(&[][..], Vec::as_slice);
        if shown != streams.as_slice() {
            self.tell(world, GroupEvent::StreamsChanged { participant, streams });
        }
    }

    fn enter_state(&mut self, world: &mut World, state: GroupState) {
        if self.shown.state != state {
            self.tell(world, GroupEvent::StateChanged(state));
        }
    }
}

/// Reactions go with their participants' visits: whose it may be, and whether he has left.
fn whose_reactions_may_end(event: &GroupEvent) -> Option<(&ParticipantId, bool)> {
    match event {
        GroupEvent::ReactionRemoved { participant, .. } => Some((participant, false)),
        GroupEvent::ParticipantJoined(who) | GroupEvent::ParticipantChanged(who) => {
            Some((&who.id, false))
        }
        GroupEvent::ParticipantLeft(who) => Some((who, true)),
        GroupEvent::StateChanged(_)
        | GroupEvent::ReadingChanged { .. }
        | GroupEvent::ReactionAdded { .. }
        | GroupEvent::Declined(_)
        | GroupEvent::ApplicationChanged(_)
        | GroupEvent::RightsChanged(_)
        | GroupEvent::AllowEveryoneFailed(_)
        | GroupEvent::ConnectionChanged { .. }
        | GroupEvent::StreamsChanged { .. }
        | GroupEvent::MuteChanged { .. }
        | GroupEvent::HoldChanged { .. }
        | GroupEvent::MediaMissing(_)
        | GroupEvent::SwitchFailed(_)
        | GroupEvent::UnverifiedDevice(_)
        | GroupEvent::ActiveSpeakerChanged(_)
        | GroupEvent::BackendChanged(_)
        | GroupEvent::SfuChanged(_)
        | GroupEvent::SfuTask(_)
        | GroupEvent::Key(_)
        | GroupEvent::Refused(_)
        | GroupEvent::Ended(_) => None,
    }
}
