//! One connection of the fake engine: what it has described, and which offer is open.

use std::collections::BTreeMap;

use super::{
    sdp::{self, Line},
    webrtc::Habits,
};
use crate::machine::{
    io::{
        Candidate, Description, MediaKind, PeerConfig, PeerState, PeerStats, Plan, Slot,
        StreamStats,
    },
    playout::Playout,
};

/// A peer connection, for tests to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakePeer {
    /// As it was opened.
    pub config: PeerConfig,
    /// The description of ours that is in force.
    pub local: Option<Description>,
    /// The description of theirs that is in force.
    pub remote: Option<Description>,
    /// Remote candidates as they were given, in order, each as often as it was given.
    pub remote_candidates: Vec<String>,
    /// Whether the end of remote candidates was given.
    pub remote_candidates_ended: bool,
    /// The latest state.
    pub state: Option<PeerState>,
    pub(super) lines: Vec<Line>,
    pub(super) slots: BTreeMap<Slot, usize>,
    pub(super) credentials: String,
    /// The next offer gets new credentials.
    pub(super) restart: bool,
    /// Whose candidates were looked for.
    pub(super) gathering: Option<String>,
    pub(super) found: usize,
    pub(super) gathered: bool,
    pub(super) signaling: Signaling,
    /// What a rollback brings back.
    pub(super) former: Option<Former>,
    /// How often it was measured.
    looks: u64,
}

/// Which offer is open (RFC 8829, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signaling {
    Stable,
    /// Ours is in force and unanswered.
    Ours,
    /// Theirs is in force and unanswered.
    Theirs,
}

/// What a connection was before an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Former {
    lines: Vec<Line>,
    slots: BTreeMap<Slot, usize>,
    local: Option<Description>,
    remote: Option<Description>,
    credentials: String,
}

impl FakePeer {
    /// A connection that has described nothing.
    pub(super) fn new(config: PeerConfig, credentials: String) -> Self {
        Self {
            config,
            local: None,
            remote: None,
            remote_candidates: Vec::new(),
            remote_candidates_ended: false,
            state: None,
            lines: Vec::new(),
            slots: BTreeMap::new(),
            credentials,
            restart: false,
            gathering: None,
            found: 0,
            gathered: false,
            signaling: Signaling::Stable,
            former: None,
            looks: 0,
        }
    }

    /// What comes in while somebody is as loud as this, in dBov; `None`: nobody's sound is sent.
    pub(super) fn measure(&mut self, habits: &Habits, voice: Option<i8>) -> PeerStats {
        let mut stats = PeerStats::default();
        stats.without_device.clone_from(&habits.without_device);
        let Some(voice) = voice else { return stats };
        // Where nothing is played a look changes nothing: worlds are alike before and after it.
        self.looks += u64::from(habits.playout.is_some());
        let looks = self.looks;
        let mut sound = StreamStats::new("0", MediaKind::Audio, "audio/opus");
        sound.level = Some(10_f32.powf(f32::from(voice) / 20.0));
        (sound.packets, sound.silence) = (50 * looks.max(1), Some(habits.silence));
        sound.playout = habits.playout.map(|one| Playout {
            played: looks * one.played,
            decoded: looks * one.decoded,
            concealed: looks * one.concealed,
            ..one
        });
        stats.inbound.push(sound);
        stats
    }

    pub(super) fn is_ready(&self) -> bool {
        self.local.is_some() && self.remote.is_some() && !self.remote_candidates.is_empty()
    }

    /// What a rollback is to bring back.
    pub(super) fn remember(&mut self) {
        if self.former.is_none() {
            self.former = Some(Former {
                lines: self.lines.clone(),
                slots: self.slots.clone(),
                local: self.local.clone(),
                remote: self.remote.clone(),
                credentials: self.credentials.clone(),
            });
        }
    }

    pub(super) fn roll_back(&mut self) {
        if let Some(former) = self.former.take() {
            self.lines = former.lines;
            self.slots = former.slots;
            self.local = former.local;
            self.remote = former.remote;
            self.credentials = former.credentials;
        }
        self.signaling = Signaling::Stable;
    }

    pub(super) fn settle(&mut self) {
        self.former = None;
        self.signaling = Signaling::Stable;
    }

    pub(super) fn credentials_of_remote(&self) -> Option<&str> {
        sdp::credentials(self.remote.as_ref()?.sdp.expose())
    }

    /// Whether their offer has other ICE credentials than what was in force.
    pub(super) fn is_restarted_by(&self, offer: &str) -> bool {
        let former = self.former.as_ref().and_then(|former| former.remote.as_ref());
        former
            .is_some_and(|former| sdp::credentials(former.sdp.expose()) != sdp::credentials(offer))
    }

    /// Candidates of another ICE generation are skipped, as in a real engine.
    pub(super) fn takes(&self, candidate: &Candidate) -> bool {
        let named = candidate.username_fragment.as_deref();
        named.is_none_or(|named| self.credentials_of_remote() == Some(named))
    }

    /// Gives each new line of theirs the first use of its kind that is free in the plan.
    pub(super) fn adopt(&mut self, theirs: &[Line], plan: &Plan) {
        for (place, line) in theirs.iter().enumerate().skip(self.lines.len()) {
            let is_free = |slot: &Slot| slot.kind() == line.kind && !self.slots.contains_key(slot);
            let free = plan.lines.iter().map(|line| line.slot).find(is_free);
            if let Some(slot) = free {
                self.slots.insert(slot, place);
            }
        }
    }

    /// Whether the other end has our description in force.
    pub(super) fn is_meant_by(&self, other: &Self) -> bool {
        let remote = other.remote.as_ref().and_then(|sdp| sdp::credentials(sdp.sdp.expose()));
        remote == Some(&self.credentials)
    }
}
