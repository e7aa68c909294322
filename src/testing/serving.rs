//! What engines ask for, carried out: by the homeserver, by the WebRTC engine, by the disk.
//!
//! As in `host::serve`, requests of one peer connection, one SFU and one call's keys are served one
//! after the other, and a close overtakes them. Each request takes what its cue says, and the way to the homeserver where
//! it goes there; the driver's deadline ends it when nothing else does.

use std::{collections::VecDeque, time::Duration};

use super::{
    column::{Kind, Line},
    cue::{Cue, Ending, OpKind},
    server::SyncItem,
    sfu::SfuFollowUp,
    watch::{KEY_MARK, OPEN_ID_SECRET},
    webrtc::{FollowUp, Seat},
    world::{Happening, Job, Lane, Station, World},
};
use crate::{
    host::{DelayUpdate, Redact, SendEvent, SendState, SendToDevice},
    id::{DelayId, OpId, RoomId},
    machine::{
        Identity,
        io::{
            DelayOp, Fault, Fetch, Input, MatrixOp, Op, OpenIdToken, Output, ParticipantId, PeerOp,
            Reply, SfuOp, Verdict,
        },
    },
    redact::{Secret, SecretBytes},
    wire::delivery::Batch,
};

impl World {
    /// Takes up what an engine wants.
    pub(super) fn serve(&mut self, device: usize, output: Output) {
        if let Output::Cancel(id) = output {
            return self.cancel(device, id);
        }
        let Output::Request { id, op } = output else { return };
        let host = &mut self.hosts[device];
        let kind = OpKind::of(&op);
        let mut cue = host.cues.take(kind);
        let at = Station { device, seat: host.seat };
        if is_far(&op) && host.offline {
            cue = Cue::dropped();
        }
        self.plan(deadline(kind), Happening::Deadline { at, id });
        let job = Job { id, op, cue };
        match lane(at, &job.op) {
            Some(lane) => self.queue(at, lane, job),
            None => self.begin(at, job),
        }
    }

    /// Requests of one lane are served one after the other; closing overtakes.
    fn queue(&mut self, at: Station, lane: (Seat, Lane), job: Job) {
        if overtakes(&job.op) {
            self.lanes.remove(&lane);
            return self.begin(at, job);
        }
        let waiting = self.lanes.entry(lane).or_default();
        waiting.push_back(job.clone());
        if waiting.len() == 1 {
            self.begin(at, job);
        }
    }

    fn begin(&mut self, at: Station, Job { id, op, cue }: Job) {
        let way = if is_far(&op) { self.way } else { Duration::ZERO };
        self.plan(cue.after + way, Happening::Perform { at, id, op, ending: cue.ending });
    }

    /// What a provider of keys is not to do any more holds up nothing. Other requests end as they would.
    fn cancel(&mut self, device: usize, id: OpId) {
        let at = Station { device, seat: self.hosts[device].seat };
        let of_keys = self.lanes.iter_mut();
        let of_keys =
            of_keys.filter(|((seat, lane), _)| *seat == at.seat && matches!(lane, Lane::Keys(_)));
        let mut is_first = false;
        for (_, waiting) in of_keys {
            is_first |= waiting.front().is_some_and(|job| job.id == id);
            if !is_first {
                waiting.retain(|job| job.id != id);
            }
        }
        if is_first {
            self.next_in_lane(at, id);
        }
    }

    /// A request has had its turn: the next one of its lane begins.
    pub(super) fn next_in_lane(&mut self, at: Station, id: OpId) {
        let of_seat = self.lanes.iter_mut().filter(|((seat, _), _)| *seat == at.seat);
        let next = of_seat.into_iter().find_map(|(_, waiting)| {
            (waiting.front()?.id == id).then(|| {
                waiting.pop_front();
                waiting.front().cloned()
            })
        });
        if let Some(Some(job)) = next {
            self.begin(at, job);
        }
    }

    pub(super) fn perform(&mut self, at: Station, id: OpId, op: Op, ending: Ending) {
        if lane(at, &op).is_some_and(|lane| self.was_overtaken(lane, id, &op)) {
            return;
        }
        let result = match ending {
            Ending::Works => self.carry_out(at, &op),
            Ending::Lost(fault) => self.carry_out(at, &op).and(Err(fault)),
            Ending::Fails(fault) => self.failed(at, &op, fault),
            Ending::Panics => self.failed(at, &op, Fault::Panicked),
            Ending::Hangs => return,
        };
        let way = if is_far(&op) { self.way } else { Duration::ZERO };
        self.plan(way, Happening::Reply { at, id, result });
        self.next_in_lane(at, id);
    }

    /// Whether a close came between the beginning of a request and its end.
    fn was_overtaken(&self, lane: (Seat, Lane), id: OpId, op: &Op) -> bool {
        let runs = self.lanes.get(&lane).and_then(VecDeque::front).is_some_and(|job| job.id == id);
        !runs && !overtakes(op)
    }

    fn failed(&mut self, at: Station, op: &Op, fault: Fault) -> Result<Reply, Fault> {
        if let Op::Matrix(MatrixOp::SendEvent { event_type, .. }) = op {
            let what = format!("fails to send {event_type} ({fault})");
            self.note(at.device, Kind::Wire, what);
        }
        Err(fault)
    }

    fn carry_out(&mut self, at: Station, op: &Op) -> Result<Reply, Fault> {
        match op {
            Op::Matrix(op) => self.talk(at.device, op),
            Op::Fetch(Fetch::State(room)) => {
                let state = self.server.room_state(self.now.wall, room)?;
                Ok(Reply::State(Box::new(state.parse())))
            }
            Op::Fetch(Fetch::OpenId) => Ok(Reply::OpenId(self.open_id(at.device))),
            Op::Fetch(Fetch::Transports) => Ok(Reply::Transports(self.transports.clone())),
            Op::Fetch(Fetch::SfuToken(request)) => self.sfu.token(request),
            Op::Fetch(Fetch::KeyMaterial) => {
                let words = [(); 3].map(|()| self.dice.word().to_le_bytes());
                let bytes = [KEY_MARK.as_slice(), &words.concat()].concat();
                Ok(Reply::KeyMaterial(SecretBytes::new(bytes)))
            }
            Op::Sfu(call, op) => {
                let (result, told) = self.sfu.perform((at.seat, *call), op);
                self.tell_of_sfu(told);
                result
            }
            Op::Keys(call, op) => {
                let us = self.hosts[at.device].identity.clone();
                let us = ParticipantId { user: us.user, device: us.device };
                self.sfu.keys((at.seat, *call), &us, op)
            }
            Op::Fetch(Fetch::Turn) => self.server.turn_servers().map(Reply::Turn),
            Op::Fetch(Fetch::Members(room)) => self.server.members(room).map(Reply::Members),
            Op::Peer(peer, op) => {
                let performed = self.webrtc.perform(at.seat, *peer, op);
                self.follow(performed.follow_ups);
                performed.result
            }
            Op::Track(track, op) => self.webrtc.track(at.seat, *track, op.clone()),
            Op::Save(ledger) => {
                self.hosts[at.device].ledger = Some(ledger.clone());
                Ok(Reply::Done)
            }
        }
    }

    fn talk(&mut self, device: usize, op: &MatrixOp) -> Result<Reply, Fault> {
        match op {
            MatrixOp::SendEvent { room, event_type, content, transaction } => {
                let event = SendEvent {
                    room: room.clone(),
                    event_type: event_type.clone(),
                    content: content.clone(),
                    transaction: transaction.clone(),
                };
                self.send(device, event)
            }
            MatrixOp::SendClear { room, event_type, content, transaction } => {
                let event = SendEvent {
                    room: room.clone(),
                    event_type: event_type.clone(),
                    content: content.clone(),
                    transaction: transaction.clone(),
                };
                self.send_clear(device, event)
            }
            MatrixOp::Redact { room, redacts, content, transaction } => {
                let redaction = Redact {
                    room: room.clone(),
                    redacts: redacts.clone(),
                    content: content.clone(),
                    transaction: transaction.clone(),
                };
                self.redact(device, redaction)
            }
            MatrixOp::SendState { room, event_type, state_key, content } => {
                let event = SendState {
                    room: room.clone(),
                    event_type: event_type.clone(),
                    state_key: state_key.clone(),
                    content: content.clone(),
                };
                self.write_state(device, event)
            }
            MatrixOp::SendToDevice { room, targets, trust, event_type, content, transaction } => {
                let message = SendToDevice {
                    room: room.clone(),
                    targets: targets.clone(),
                    trust: *trust,
                    event_type: event_type.clone(),
                    content: content.clone(),
                    transaction: transaction.clone(),
                };
                self.send_to_device(device, message)
            }
            MatrixOp::Delay(op) => self.delay(device, op),
        }
    }

    fn send(&mut self, device: usize, event: SendEvent) -> Result<Reply, Fault> {
        let identity = self.hosts[device].identity.clone();
        let (room, event_type) = (event.room.clone(), event.event_type.clone());
        let before = self.server.timeline(&room).len();
        let sent = self.server.send(self.now.wall, &identity, event)?;
        if self.server.timeline(&room).len() > before {
            self.note(device, Kind::Wire, format!("sends {event_type}"));
        }
        self.plan_syncs();
        Ok(Reply::Sent(sent))
    }

    fn send_clear(&mut self, device: usize, event: SendEvent) -> Result<Reply, Fault> {
        let identity = self.hosts[device].identity.clone();
        let what = format!("sends {} in the clear", event.event_type);
        let sent = self.server.send_clear(self.now.wall, &identity, event)?;
        self.note(device, Kind::Wire, what);
        self.plan_syncs();
        Ok(Reply::Sent(sent))
    }

    fn redact(&mut self, device: usize, redaction: Redact) -> Result<Reply, Fault> {
        let identity = self.hosts[device].identity.clone();
        let what = format!("redacts {}", redaction.redacts);
        let sent = self.server.redact(self.now.wall, &identity, redaction)?;
        self.note(device, Kind::Wire, what);
        self.plan_syncs();
        Ok(Reply::Sent(sent))
    }

    fn send_to_device(&mut self, device: usize, message: SendToDevice) -> Result<Reply, Fault> {
        let identity = self.hosts[device].identity.clone();
        let event_type = message.event_type.clone();
        let unreached = self.server.send_to_device(self.now.wall, &identity, message)?;
        self.note(device, Kind::Wire, format!("sends {event_type} to a device"));
        self.plan_syncs();
        Ok(Reply::ToDevice(unreached))
    }

    fn write_state(&mut self, device: usize, event: SendState) -> Result<Reply, Fault> {
        let identity = self.hosts[device].identity.clone();
        let what = format!("writes {}", event.event_type);
        let written = self.server.send_state(self.now.wall, &identity, event)?;
        self.note(device, Kind::Wire, what);
        self.plan_syncs();
        Ok(Reply::Sent(written))
    }

    fn delay(&mut self, device: usize, op: &DelayOp) -> Result<Reply, Fault> {
        let (by, now) = (self.hosts[device].identity.clone(), self.now.wall);
        let result = match op.clone() {
            DelayOp::Schedule { room, event_type, state_key, content, delay } => {
                let event = SendState { room, event_type, state_key, content };
                let id = self.server.delays().schedule(now, &by, (event, delay))?;
                self.note(device, Kind::Detail, "schedules its leave");
                Ok(Reply::Scheduled(id))
            }
            DelayOp::List { from } => {
                let page = self.server.delays().list(&by.user, from.as_deref())?;
                Ok(Reply::Delayed(page))
            }
            DelayOp::Restart(id) => self.update(&id, DelayUpdate::Restart),
            DelayOp::Send(id) => self.update(&id, DelayUpdate::Send),
            DelayOp::Cancel(id) => self.update(&id, DelayUpdate::Cancel),
        };
        self.plan_syncs();
        self.plan_fire();
        result
    }

    fn update(&mut self, id: &DelayId, update: DelayUpdate) -> Result<Reply, Fault> {
        self.server.update_delayed(self.now.wall, id, update).map(|()| Reply::Done)
    }

    /// Puts an event into a room for somebody who has no engine here.
    pub(super) fn inject(&mut self, from: &Identity, room: &RoomId, event: (&str, &str)) {
        self.server.inject(self.now.wall, from, room, event);
        let local = from.user.as_str().trim_start_matches('@');
        let who = local.split(':').next().unwrap_or(local).to_owned();
        let what = format!("sends {}", event.0);
        self.column.0.push(Line { at: self.now.mono.0, who, what, kind: Kind::Wire });
        self.plan_syncs();
    }

    // ----------------------------------------------------------------------------------- sync

    /// Every device with something in its inbox syncs when it becomes visible.
    pub(super) fn plan_syncs(&mut self) {
        for device in 0..self.hosts.len() {
            self.plan_sync(device);
        }
    }

    fn plan_sync(&mut self, device: usize) {
        let host = &self.hosts[device];
        let Some(visible) = self.server.next_visible(&host.identity) else { return };
        let after = visible.since(self.now.wall) + self.way;
        let at = self.now.mono.plus(after);
        if host.sync_due.is_none_or(|due| due > at) {
            self.hosts[device].sync_due = Some(at);
            self.plan(after, Happening::Sync { device });
        }
    }

    /// A device takes what is in its inbox.
    pub(super) fn sync(&mut self, device: usize) {
        let host = &self.hosts[device];
        if host.holds_sync || host.offline || host.engine.is_none() {
            return;
        }
        let identity = host.identity.clone();
        let items = self.server.take(self.now.wall, &identity);
        let batches = items.iter().filter_map(|item| match item {
            SyncItem::Batch(batch) => Some(batch.clone()),
            SyncItem::Room(..) | SyncItem::State(_) => None,
        });
        let batches: Vec<Batch> = batches.collect();
        if !batches.is_empty() {
            self.hosts[device].latest_batches = batches;
        }
        for item in items {
            match item {
                SyncItem::Room(room, news) => self.feed(device, Input::Room(room, news)),
                SyncItem::State(state) => self.feed(device, Input::State(state.parse())),
                SyncItem::Batch(batch) => self.deliver(device, batch),
            };
        }
        self.plan_sync(device);
    }

    /// Hands a batch to an engine: one verdict for each event that concerns calls.
    pub(super) fn deliver(&mut self, device: usize, batch: Batch) -> Verdict {
        let delivery = batch.parse();
        let events = delivery.events.len();
        let verdict = self.feed(device, Input::Deliver(delivery));
        let complete = match &verdict {
            Verdict::Batch(verdicts) => verdicts.len() == events,
            _ => self.hosts[device].engine.is_none(),
        };
        let kept = if complete { Ok(()) } else { Err(format!("{events} events: {verdict:?}")) };
        self.hold(kept);
        verdict
    }

    // --------------------------------------------------------------------------------- webrtc

    pub(super) fn follow(&mut self, follow_ups: Vec<FollowUp>) {
        for follow_up in follow_ups {
            self.plan(follow_up.after, Happening::FollowUp(follow_up));
        }
    }

    fn open_id(&self, device: usize) -> OpenIdToken {
        let user = self.hosts[device].identity.user.as_str();
        OpenIdToken {
            access_token: Secret::new(format!("{OPEN_ID_SECRET} of {user}")),
            token_type: "Bearer".to_owned(),
            server_name: user.split_once(':').map_or("", |(_, server)| server).to_owned(),
            expires_in: Duration::from_secs(3600),
        }
    }

    pub(super) fn tell_of_sfu(&mut self, told: Vec<SfuFollowUp>) {
        for news in told {
            self.plan(news.after, Happening::Sfu(news));
        }
    }

    pub(super) fn on_sfu_news(&mut self, news: SfuFollowUp) {
        if self.sfu.is_outdated(&news) {
            return;
        }
        if let Some(device) = self.hosts.iter().position(|host| host.seat == news.seat) {
            self.feed(device, Input::Sfu(news.call, news.news));
        }
    }

    pub(super) fn follow_up(&mut self, follow_up: FollowUp) {
        let (seat, peer) = (follow_up.seat, follow_up.peer);
        let Some(news) = self.webrtc.happen(follow_up) else { return };
        if let Some(device) = self.hosts.iter().position(|host| host.seat == seat) {
            self.feed(device, Input::Peer(peer, news));
        }
    }
}

/// Whether the homeserver serves it.
const fn is_far(op: &Op) -> bool {
    match op {
        Op::Fetch(Fetch::KeyMaterial) => false,
        Op::Matrix(_) | Op::Fetch(_) => true,
        Op::Peer(..) | Op::Track(..) | Op::Sfu(..) | Op::Keys(..) | Op::Save(_) => false,
    }
}

/// What keeps an order among requests, as in `host::serve`.
fn lane(at: Station, op: &Op) -> Option<(Seat, Lane)> {
    let lane = match op {
        Op::Peer(peer, _) => Lane::Peer(*peer),
        Op::Sfu(_, SfuOp::Track(..)) => return None,
        Op::Sfu(call, _) => Lane::Sfu(*call),
        Op::Keys(call, _) => Lane::Keys(*call),
        Op::Matrix(_) | Op::Fetch(_) | Op::Track(..) | Op::Save(_) => return None,
    };
    Some((at.seat, lane))
}

/// Whether a request does not wait for those before it in its lane, which are given up.
const fn overtakes(op: &Op) -> bool {
    matches!(op, Op::Peer(_, PeerOp::Close) | Op::Sfu(_, SfuOp::Disconnect))
}

/// How long the driver waits for each kind of request: the figures of `driver/deadlines.rs`.
const fn deadline(kind: OpKind) -> Duration {
    Duration::from_secs(match kind {
        OpKind::Capture | OpKind::Replace => 120,
        OpKind::SendEvent | OpKind::SendState | OpKind::SendToDevice | OpKind::State => 30,
        OpKind::SendClear | OpKind::Redact => 30,
        OpKind::Open | OpKind::Offer | OpKind::Answer | OpKind::SetLocal | OpKind::SetRemote => 15,
        OpKind::Members | OpKind::LocalDescription | OpKind::Rollback => 10,
        OpKind::Candidates | OpKind::RestartIce | OpKind::SetServers => 10,
        OpKind::Turn | OpKind::Stats | OpKind::Enable | OpKind::Close => 5,
        OpKind::Schedule | OpKind::Restart | OpKind::SendDelayed => 5,
        OpKind::Cancel | OpKind::List => 5,
        OpKind::Release | OpKind::Save | OpKind::Dtmf => 5,
        OpKind::SfuToken | OpKind::SfuConnect => 15,
        OpKind::OpenId | OpKind::Transports | OpKind::KeyMaterial | OpKind::Keys => 10,
        OpKind::SfuDisconnect => 5,
    })
}
