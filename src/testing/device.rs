//! One simulated device: what its user does, what he sees, and what befalls him.

use std::{cell::RefMut, time::Duration};

use super::{
    column::Kind,
    cue::{Cue, OpKind},
    sim::Sim,
    telling,
    watch::SeenCall,
    webrtc::{FakePeer, FakeTrack, Habits},
    world::{Host, World},
};
use crate::{
    id::{RoomId, SessionId, UserId},
    machine::{
        Engine, Identity,
        event::{CallEvent, CallSnapshot, CallState, End, Stream, VoipEvent},
        io::{
            CallCommand, CallMedia, Callee, Command, GroupCommand, Ignored, Input, MediaSource,
            PeerState, Tell, TransferTo, Verdict,
        },
    },
    wire::{
        call::CallMessage,
        delivery::{Batch, Place},
        ledger::Ledger,
        read,
    },
};

/// A device with an engine. Cheap to clone; all clones are the same device.
///
/// Commands without a session ([`answer`](Self::answer), [`hangup`](Self::hangup), …) go to the
/// latest call; they panic when the machine refuses them, with its reason. Whoever wants to see
/// the refusal uses [`command`](Self::command).
#[derive(Debug, Clone)]
pub struct Device {
    pub(super) sim: Sim,
    index: usize,
}

/// What the user does.
impl Device {
    /// Calls a user.
    ///
    /// # Panics
    /// When the machine refuses, or the id is none.
    #[track_caller]
    pub fn invite(&self, room: &RoomId, callee: &str, media: CallMedia) -> SessionId {
        let user = UserId::parse(callee).expect("invariant: a test names valid users");
        self.call_to(room, Callee::User(user), media)
    }

    /// Calls whomever.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    pub fn call_to(&self, room: &RoomId, callee: Callee, media: CallMedia) -> SessionId {
        match self.command(Command::Invite { room: room.clone(), callee, media }) {
            Verdict::Started(session) => session,
            other => panic!("{} cannot call: {other:?}", self.name()),
        }
    }

    /// Takes the latest call, with the media that it was offered with.
    #[track_caller]
    pub fn answer(&self) {
        self.act(CallCommand::Answer(None));
    }

    /// Takes the latest call, with this media.
    #[track_caller]
    pub fn answer_with(&self, media: CallMedia) {
        self.act(CallCommand::Answer(Some(media)));
    }

    /// Refuses the latest call and says so.
    #[track_caller]
    pub fn reject(&self) {
        self.act(CallCommand::Reject(Tell::Everyone));
    }

    /// Refuses the latest call and tells nobody.
    #[track_caller]
    pub fn reject_silently(&self) {
        self.act(CallCommand::Reject(Tell::Nobody));
    }

    /// Ends the latest call.
    #[track_caller]
    pub fn hangup(&self) {
        self.act(CallCommand::Hangup);
    }

    /// Lets the latest call's media start.
    #[track_caller]
    pub fn proceed(&self) {
        self.act(CallCommand::Proceed);
    }

    /// Mutes a source of the latest call.
    #[track_caller]
    pub fn mute(&self, source: MediaSource) {
        self.act(CallCommand::Mute(source));
    }

    /// Unmutes a source of the latest call.
    #[track_caller]
    pub fn unmute(&self, source: MediaSource) {
        self.act(CallCommand::Unmute(source));
    }

    /// Does something with the latest call.
    ///
    /// # Panics
    /// When there is no call, or the machine refuses.
    #[track_caller]
    pub fn act(&self, command: CallCommand) {
        let session = self.call().unwrap_or_else(|| panic!("{} has no call", self.name()));
        let verdict = self.command(Command::Call(session, command.clone()));
        assert!(
            !matches!(verdict, Verdict::Refused(_)),
            "{} cannot {command:?}: {verdict:?}",
            self.name()
        );
    }

    /// Does something with one call.
    pub fn command_to(&self, session: SessionId, command: CallCommand) -> Verdict {
        self.command(Command::Call(session, command))
    }

    /// Gives the machine a command.
    pub fn command(&self, command: Command) -> Verdict {
        let mut world = self.world();
        world.note(self.index, Kind::Deed, deed(&command));
        world.feed(self.index, Input::Command(command))
    }

    /// Gives the machine any input.
    pub fn input(&self, input: Input) -> Verdict {
        self.world().feed(self.index, input)
    }

    /// Hands a batch to the machine, past the homeserver: one verdict for each call event.
    ///
    /// # Panics
    /// When the process is dead.
    pub fn deliver(&self, batch: Batch) -> Vec<Verdict> {
        match self.world().deliver(self.index, batch) {
            Verdict::Batch(verdicts) => verdicts,
            other => panic!("a delivery got {other:?}"),
        }
    }
}

/// What he sees.
impl Device {
    /// Who he is.
    pub fn identity(&self) -> Identity {
        self.world().hosts[self.index].identity.clone()
    }

    /// How columns call the device.
    pub fn name(&self) -> String {
        self.world().name(self.index)
    }

    /// The latest call that there was.
    pub fn call(&self) -> Option<SessionId> {
        self.host(|host| host.watch.calls.keys().next_back().copied())
    }

    /// All calls that there were since the process started.
    pub fn calls(&self) -> Vec<SessionId> {
        self.host(|host| host.watch.calls.keys().copied().collect())
    }

    /// How the latest call stands or ended.
    pub fn snapshot(&self) -> Option<CallSnapshot> {
        self.call().and_then(|session| self.snapshot_of(session))
    }

    /// How a call stands or ended: its events, folded.
    pub fn snapshot_of(&self, session: SessionId) -> Option<CallSnapshot> {
        self.seen(session, |call| call.folded.clone())
    }

    /// The state of the latest call.
    pub fn state(&self) -> Option<CallState> {
        self.snapshot().map(|snapshot| snapshot.state)
    }

    /// The state of a call.
    pub fn state_of(&self, session: SessionId) -> Option<CallState> {
        self.snapshot_of(session).map(|snapshot| snapshot.state)
    }

    /// How the latest call ended.
    pub fn end(&self) -> Option<End> {
        self.snapshot().and_then(|snapshot| snapshot.end)
    }

    /// How a call ended.
    pub fn end_of(&self, session: SessionId) -> Option<End> {
        self.snapshot_of(session).and_then(|snapshot| snapshot.end)
    }

    /// The streams of the latest call.
    pub fn streams(&self) -> Vec<Stream> {
        self.snapshot().map(|snapshot| snapshot.streams).unwrap_or_default()
    }

    /// Whether a call rings.
    pub fn is_ringing(&self) -> bool {
        self.host(|host| host.watch.calls.values().any(|call| call.ringing))
    }

    /// All events of a call.
    pub fn events_of(&self, session: SessionId) -> Vec<CallEvent> {
        self.seen(session, |call| call.events.clone()).unwrap_or_default()
    }

    /// All events about all calls.
    pub fn voip_events(&self) -> Vec<VoipEvent> {
        self.host(|host| host.watch.voip.clone())
    }

    /// How many calls were missed.
    pub fn missed(&self) -> usize {
        let events = self.voip_events();
        events.iter().filter(|event| matches!(event, VoipEvent::Missed { .. })).count()
    }

    /// Everything that the homeserver took from this device, in order.
    pub fn sent(&self) -> Vec<CallMessage> {
        let me = self.identity();
        self.sim.server(|server| {
            let rooms = server.rooms().cloned().collect::<Vec<_>>();
            let mut sent: Vec<_> = rooms.iter().flat_map(|room| server.timeline(room)).collect();
            sent.sort_by_key(|event| event.sent);
            let ours = sent.iter().filter(|e| e.sender == me.user && e.device == me.device);
            ours.filter_map(|event| read::read(&event.event_type, &event.content)?.ok()).collect()
        })
    }

    /// The event types of [`sent`](Self::sent), without `m.call.`.
    pub fn sent_types(&self) -> Vec<String> {
        let types = self.sent();
        types.iter().map(|message| message.event_type().replace("m.call.", "")).collect()
    }

    /// How often the machine ignored something for this reason.
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.engine(|engine| engine.diagnostics().count(reason))
    }

    /// Looks at the engine.
    ///
    /// # Panics
    /// When the process is dead.
    pub fn engine<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        self.host(|host| look(host.engine.as_ref().expect("invariant: the process runs")))
    }

    /// The ledger that was last saved.
    pub fn ledger(&self) -> Option<Ledger> {
        self.host(|host| host.ledger.clone())
    }

    /// The open peer connections.
    pub fn peers(&self) -> Vec<FakePeer> {
        let world = self.world();
        let seat = world.hosts[self.index].seat;
        world.webrtc.peers(seat).map(|(_, peer)| peer.clone()).collect()
    }

    /// The only open peer connection.
    ///
    /// # Panics
    /// When there is none, or several.
    #[track_caller]
    pub fn peer(&self) -> FakePeer {
        let mut peers = self.peers();
        assert_eq!(peers.len(), 1, "{} has not exactly one peer", self.name());
        peers.remove(0)
    }

    /// The open tracks.
    pub fn tracks(&self) -> Vec<FakeTrack> {
        let world = self.world();
        let seat = world.hosts[self.index].seat;
        world.webrtc.tracks(seat).map(|(_, track)| track.clone()).collect()
    }

    /// Whether the device has requests that are not answered.
    pub fn is_waiting(&self) -> bool {
        self.host(|host| !host.watch.is_idle())
    }
}

/// What befalls him.
impl Device {
    /// What becomes of the next request of a kind.
    pub fn next(&self, kind: OpKind, cue: Cue) {
        self.host(|host| host.cues.next(kind, cue));
    }

    /// What becomes of all requests of a kind.
    pub fn always(&self, kind: OpKind, cue: Cue) {
        self.host(|host| host.cues.always(kind, cue));
    }

    /// How long all requests of a kind take.
    pub fn slow(&self, kind: OpKind, span: Duration) {
        self.always(kind, Cue::works().after(span));
    }

    /// The next send does not reach the homeserver.
    pub fn drop_next(&self) {
        self.next(OpKind::SendEvent, Cue::dropped());
    }

    /// The homeserver takes the next send, but the device does not hear of it.
    pub fn lose_next_answer(&self) {
        self.next(OpKind::SendEvent, Cue::answer_lost());
    }

    /// How the WebRTC engine of the device behaves.
    pub fn set_habits(&self, habits: Habits) {
        let mut world = self.world();
        let seat = world.hosts[self.index].seat;
        world.webrtc.set_habits(seat, habits);
    }

    /// The network does this to all peer connections of the device.
    pub fn force(&self, state: PeerState) {
        let mut world = self.world();
        let seat = world.hosts[self.index].seat;
        let follow_ups = world.webrtc.force(seat, state);
        world.follow(follow_ups);
    }

    /// The network is back for all peer connections that have an other end.
    pub fn reconnect(&self) {
        let mut world = self.world();
        let seat = world.hosts[self.index].seat;
        let follow_ups = world.webrtc.reconnect(seat);
        world.follow(follow_ups);
    }

    /// Syncs wait from now on: events gather in the inbox.
    pub fn hold_sync(&self) {
        self.host(|host| host.holds_sync = true);
    }

    /// What gathered comes now, one batch for each room.
    pub fn release_sync(&self) {
        self.host(|host| host.holds_sync = false);
        self.world().sync(self.index);
    }

    /// The device loses its homeserver: sends fail, syncs wait.
    pub fn partition(&self) {
        let mut world = self.world();
        world.note(self.index, Kind::Deed, "loses the server");
        world.hosts[self.index].offline = true;
    }

    /// The device has its homeserver again, and syncs.
    pub fn heal(&self) {
        let mut world = self.world();
        world.note(self.index, Kind::Deed, "has the server again");
        world.hosts[self.index].offline = false;
        world.sync(self.index);
    }

    /// The latest sync comes once more.
    pub fn repeat_sync(&self) {
        let batches = self.host(|host| host.latest_batches.clone());
        for batch in batches {
            self.world().deliver(self.index, batch);
        }
    }

    /// The latest `count` events of a room come once more, with the next sync.
    pub fn redeliver(&self, room: &RoomId, count: usize) {
        let identity = self.identity();
        self.sim.server(|server| server.repeat(&identity, room, count));
    }

    /// The process dies without a word.
    pub fn crash(&self) {
        self.world().crash(self.index);
    }

    /// What was saved is gone, as when an application keeps nothing.
    pub fn forget_ledger(&self) {
        self.host(|host| host.ledger = None);
    }

    /// The process starts again, with what was saved.
    pub fn restart(&self) {
        let mut world = self.world();
        world.note(self.index, Kind::Deed, "starts again");
        world.start(self.index);
    }

    /// What the engine was given since its process started, as a file: see
    /// [`Sim::set_records`].
    ///
    /// # Panics
    /// When nothing was to be recorded.
    pub fn recording(&self) -> Vec<u8> {
        self.host(|host| {
            let scribe = host.scribe.as_ref();
            scribe.expect("invariant: the test has asked for recordings first").out().clone()
        })
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.host(|host| host.engine.is_some())
    }
}

impl Device {
    pub(super) fn new(sim: Sim, index: usize) -> Self {
        Self { sim, index }
    }

    fn world(&self) -> RefMut<'_, World> {
        self.sim.world.borrow_mut()
    }

    pub(super) fn host<T>(&self, look: impl FnOnce(&mut Host) -> T) -> T {
        look(&mut self.world().hosts[self.index])
    }

    fn seen<T>(&self, session: SessionId, look: impl FnOnce(&SeenCall) -> T) -> Option<T> {
        self.host(|host| host.watch.calls.get(&session).map(look))
    }
}

/// A batch of one room in the clear.
pub fn room_batch(
    room: &RoomId,
    events: impl IntoIterator<Item = crate::wire::delivery::RawEvent>,
) -> Batch {
    Batch {
        place: Place::Room { room: room.clone(), encrypted: false },
        events: events.into_iter().collect(),
    }
}

/// A command in the words of the column.
/// A command in the words of the column.
pub(super) fn deed(command: &Command) -> String {
    match command {
        Command::Invite { callee, media, .. } => {
            let whom = match callee {
                Callee::User(user) => user.to_string(),
                Callee::Device(user, device) => format!("{user} on {device}"),
                Callee::TheOther => "the other".to_owned(),
            };
            format!("calls {whom} ({})", telling::media(*media))
        }
        Command::Follow { transfer, .. } => format!("calls {} instead", transfer.user),
        Command::Call(_, command) => call_deed(command),
        Command::OpenGroup { .. } => "opens a group call".to_owned(),
        Command::DeclineRing { .. } => "declines".to_owned(),
        Command::Group(_, command) => group_deed(command),
    }
}

fn group_deed(command: &GroupCommand) -> String {
    match command {
        GroupCommand::Enter(media) => format!("enters ({})", telling::media(*media)),
        GroupCommand::AnnounceAs(how) => format!("calls {:?}", how.notify).to_lowercase(),
        GroupCommand::React { key, .. } => format!("shows {key}"),
        GroupCommand::Unreact(key) => format!("takes {key} back"),
        GroupCommand::Leave => "leaves".to_owned(),
        GroupCommand::AllowEveryone => "lets everybody join".to_owned(),
        GroupCommand::SetApplication(application) => format!("makes it {application}"),
        GroupCommand::Mute(source) => format!("mutes {}", telling::source(*source)),
        GroupCommand::Unmute(source) => format!("unmutes {}", telling::source(*source)),
        GroupCommand::Hold => "holds".to_owned(),
        GroupCommand::Unhold => "holds no more".to_owned(),
        GroupCommand::Start(source) => format!("starts {}", telling::source(*source)),
        GroupCommand::Stop(source) => format!("stops {}", telling::source(*source)),
        GroupCommand::Switch(source, _) => format!("switches {}", telling::source(*source)),
        GroupCommand::RequestKeys(members) => format!("asks {} for keys", members.len()),
    }
}

fn call_deed(command: &CallCommand) -> String {
    match command {
        CallCommand::Answer(None) => "answers".to_owned(),
        CallCommand::Answer(Some(media)) => format!("answers ({})", telling::media(*media)),
        CallCommand::Reject(Tell::Everyone) => "rejects".to_owned(),
        CallCommand::Reject(Tell::Nobody) => "rejects silently".to_owned(),
        CallCommand::Hangup => "hangs up".to_owned(),
        CallCommand::Proceed => "proceeds".to_owned(),
        CallCommand::Mute(source) => format!("mutes {}", telling::source(*source)),
        CallCommand::Unmute(source) => format!("unmutes {}", telling::source(*source)),
        CallCommand::Hold => "holds".to_owned(),
        CallCommand::Unhold => "takes the hold back".to_owned(),
        CallCommand::Start(source) => format!("starts {}", telling::source(*source)),
        CallCommand::Stop(source) => format!("stops {}", telling::source(*source)),
        CallCommand::Switch(source, _) => format!("changes {}", telling::source(*source)),
        CallCommand::Dtmf(_) => "sends tones".to_owned(),
        CallCommand::Transfer(TransferTo::User(user, _)) => format!("transfers to {user}"),
        CallCommand::Transfer(TransferTo::Call(_)) => "joins two calls".to_owned(),
        CallCommand::RestartIce => "restarts ICE".to_owned(),
    }
}
