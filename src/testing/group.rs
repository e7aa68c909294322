//! Group calls of a simulated device: what its user does, and what he sees.

use super::{delays::Delayed, device::Device, webrtc::FakeTrack};
use crate::{
    config::KeyProfile,
    id::{RoomId, SessionId},
    machine::{
        group::{
            event::{GroupEvent, GroupSnapshot, GroupState},
            ringing::IncomingRing,
        },
        io::{Command, GroupCommand, KeyOwner, KeyUse, Verdict},
    },
    wire::{
        keys::MediaKey,
        member::{Backend, DEFAULT_APPLICATION, GroupCallId},
    },
};

impl Device {
    /// Has a mesh call of a room at hand.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    pub fn open_group(&self, room: &RoomId, call: GroupCallId) -> SessionId {
        let command = Command::OpenGroup {
            room: room.clone(),
            call,
            backend: Backend::Mesh,
            application: DEFAULT_APPLICATION.to_owned(),
            keys: KeyUse::Usual,
        };
        match self.command(command) {
            Verdict::Started(session) => session,
            other => panic!("{} cannot open a group call: {other:?}", self.name()),
        }
    }

    /// Has the call of a room at hand, through the SFU of this service or, without one, whichever there
    /// is.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    pub fn open_sfu_group(&self, room: &RoomId, service: Option<&str>) -> SessionId {
        let backend = service.map_or(Backend::sfu(), |url| Backend::livekit(url, room.as_str()));
        let application = DEFAULT_APPLICATION.to_owned();
        let (room, call, keys) = (room.clone(), GroupCallId::room(), KeyUse::Usual);
        let command = Command::OpenGroup { room, call, backend, application, keys };
        match self.command(command) {
            Verdict::Started(session) => session,
            other => panic!("{} cannot open a group call: {other:?}", self.name()),
        }
    }

    /// Whether this device could decrypt what another sends now, in its latest group call.
    pub fn reads(&self, sender: &Self) -> bool {
        let end = |device: &Self| {
            let call = device.groups().last().copied();
            call.map(|call| (device.host(|host| host.seat), call))
        };
        let (Some(ours), Some(theirs)) = (end(self), end(sender)) else { return false };
        self.sim.sfu(|sfu| sfu.reads(ours, theirs))
    }

    /// Every media key with which this device sent since its process started, oldest first.
    pub fn keys_used(&self) -> Vec<MediaKey> {
        let seat = self.host(|host| host.seat);
        self.sim.sfu(|sfu| sfu.used(seat).cloned().collect())
    }

    /// Whose keys this device gave to its provider, oldest first.
    pub fn key_owners(&self) -> Vec<KeyOwner> {
        let seat = self.host(|host| host.seat);
        self.sim.sfu(|sfu| sfu.owners(seat).cloned().collect())
    }

    /// The media key with which this device sends now, in its latest group call.
    pub fn key_in_use(&self) -> Option<MediaKey> {
        let (call, seat) = (self.groups().last().copied()?, self.host(|host| host.seat));
        self.sim.sfu(|sfu| sfu.in_use((seat, call)))
    }

    /// How the provider of this device was told that the keys of its latest group call are used.
    pub fn keys_begun(&self) -> Option<KeyProfile> {
        let (call, seat) = (self.groups().last().copied()?, self.host(|host| host.seat));
        self.sim.sfu(|sfu| sfu.has_begun((seat, call)))
    }

    /// The sources of this device that are open at the SFU.
    pub fn sfu_tracks(&self) -> Vec<FakeTrack> {
        let seat = self.host(|host| host.seat);
        self.sim.sfu(|sfu| sfu.tracks(seat).cloned().collect())
    }

    /// Whether this device takes in what others publish at the SFU.
    pub fn takes_in(&self) -> bool {
        let seat = self.host(|host| host.seat);
        self.sim.sfu(|sfu| sfu.takes_in(seat))
    }

    /// Whether this device has a connection or a source open at an SFU.
    pub fn is_at_sfu(&self) -> bool {
        let seat = self.host(|host| host.seat);
        self.sim.sfu(|sfu| sfu.is_open(seat))
    }

    /// The user speaks so loud, in dBov, at the SFU.
    pub fn speaks(&self, level: i8) {
        let seat = self.host(|host| host.seat);
        let mut world = self.sim.world.borrow_mut();
        let told = world.sfu.speak(seat, level);
        world.tell_of_sfu(told);
    }

    /// The same in the words of matrix-js-sdk.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    pub fn open_legacy_group(&self, room: &RoomId, call: &str) -> SessionId {
        let (call, backend) = (GroupCallId::named(call), Backend::Msc3401Mesh);
        let application = DEFAULT_APPLICATION.to_owned();
        let command = Command::OpenGroup {
            room: room.clone(),
            call,
            backend,
            application,
            keys: KeyUse::Usual,
        };
        match self.command(command) {
            Verdict::Started(session) => session,
            other => panic!("{} cannot open a group call: {other:?}", self.name()),
        }
    }

    /// Does something with a group call.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    pub fn group(&self, session: SessionId, command: GroupCommand) {
        let verdict = self.command(Command::Group(session, command.clone()));
        assert_eq!(verdict, Verdict::Handled, "{} cannot {command:?}", self.name());
    }

    /// All group calls that there were since the process started.
    pub fn groups(&self) -> Vec<SessionId> {
        self.host(|host| host.watch.groups.keys().copied().collect())
    }

    /// How a group call stands or ended: its events, folded.
    pub fn group_snapshot(&self, session: SessionId) -> Option<GroupSnapshot> {
        self.host(|host| Some(host.watch.groups.get(&session)?.folded.clone()))
    }

    /// The state of a group call.
    pub fn group_state(&self, session: SessionId) -> Option<GroupState> {
        self.group_snapshot(session).map(|snapshot| snapshot.state)
    }

    /// The group calls that ring.
    pub fn group_rings(&self) -> Vec<IncomingRing> {
        self.host(|host| host.watch.rings.values().cloned().collect())
    }

    /// The leaves that the homeserver writes for this device when it does not hear from it.
    pub fn delayed_leaves(&self) -> Vec<Delayed> {
        let me = self.identity();
        self.sim.server(|server| {
            let all = server.delays().waiting();
            all.filter(|delayed| delayed.by == me).cloned().collect()
        })
    }

    /// All events of a group call.
    pub fn group_events(&self, session: SessionId) -> Vec<GroupEvent> {
        let events = self.host(|host| Some(host.watch.groups.get(&session)?.events.clone()));
        events.unwrap_or_default()
    }
}
