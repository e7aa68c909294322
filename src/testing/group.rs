//! Group calls of a simulated device: what its user does, and what he sees.

use super::{delays::Delayed, device::Device};
use crate::{
    id::{RoomId, SessionId},
    machine::{
        group::{
            event::{GroupEvent, GroupSnapshot, GroupState},
            ringing::IncomingRing,
        },
        io::{Command, GroupCommand, Verdict},
    },
    wire::member::{Backend, DEFAULT_APPLICATION, GroupCallId},
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
        };
        match self.command(command) {
            Verdict::Started(session) => session,
            other => panic!("{} cannot open a group call: {other:?}", self.name()),
        }
    }

    /// The same in the words of matrix-js-sdk.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    pub fn open_legacy_group(&self, room: &RoomId, call: &str) -> SessionId {
        let (call, backend) = (GroupCallId::named(call), Backend::Msc3401Mesh);
        let application = DEFAULT_APPLICATION.to_owned();
        let command = Command::OpenGroup { room: room.clone(), call, backend, application };
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
