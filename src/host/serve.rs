//! Answers a [`Mailbox`] from the traits that most Rust applications implement.
//!
//! Each host call is a task of its own: a panic is a [`Fault::Panicked`] of that one request, a
//! cancel aborts the task. What must keep an order goes through a lane:
//!
//! | lane | order |
//! | --- | --- |
//! | one peer connection | one after the other; `Close` overtakes and aborts the others |
//! | one track's device | `Release` overtakes and aborts a `Capture` |
//! | one track's switch | the latest `Enable` wins; it waits for nothing but an aborted elder |
//! | one call's SFU | one after the other; `Disconnect` overtakes and aborts the others |
//! | one call's media keys | one after the other |
//! | the ledger | one after the other |
//!
//! An overtaking call starts when the call that it aborted is gone, so that nothing of the elder
//! takes effect after it.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use zeroize::Zeroizing;

use super::{
    keys::KeyProvider,
    lanes::{Entry, Lane, Lanes},
    mailbox::{HostRequest, Mailbox, News},
    sfu::{Sfu, SfuEvents},
    signaling::{DelayUpdate, LedgerStore, Redact, SendEvent, SendState, SendToDevice, Signaling},
    tokens::TokenSource,
    webrtc::{PeerEvents, WebRtc},
};
use crate::{
    id::{OpId, PeerId, SessionId, TrackId},
    machine::io::{
        DelayOp, Fault, Fetch, KeyOp, MatrixOp, Op, PeerOp, Reply, SfuOp, TokenFault, TokenRequest,
        TrackOp,
    },
    redact::SecretBytes,
    wire::ledger::Ledger,
};

/// The traits that answer a mailbox.
#[derive(Clone)]
pub struct Hosts {
    /// The homeserver.
    pub signaling: Arc<dyn Signaling>,
    /// Peer connections and local media; `None`: there are only group calls through an SFU to which
    /// the application connects by itself.
    pub webrtc: Option<Arc<dyn WebRtc>>,
    /// Where the ledger is kept; `None`: it is not, and calls of a crashed process ring on at the
    /// other side until they time out.
    pub ledger: Option<Arc<dyn LedgerStore>>,
    /// Where tokens for SFUs come from; `None`: there are no calls through an SFU.
    pub tokens: Option<Arc<dyn TokenSource>>,
    /// Who connects to SFUs; `None`: the application, by itself.
    pub sfu: Option<Arc<dyn Sfu>>,
    /// Who encrypts frames; `None`: keys are made and shared, and used by nobody.
    pub keys: Option<Arc<dyn KeyProvider>>,
}

impl Hosts {
    /// What 1:1 calls and group calls that meet each with each need; set what else there is.
    pub fn new(signaling: Arc<dyn Signaling>, webrtc: Arc<dyn WebRtc>) -> Self {
        Self { signaling, webrtc: Some(webrtc), ledger: None, tokens: None, sfu: None, keys: None }
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").field("keeps_ledger", &self.ledger.is_some()).finish()
    }
}

/// Serves `mailbox` from `hosts` until the library shuts down. Dropping the future aborts every
/// host call that is under way.
pub async fn serve(mut mailbox: Mailbox, hosts: Hosts) {
    let mut server = Server::new(hosts, mailbox.news());
    loop {
        tokio::select! {
            request = mailbox.next() => match request {
                Some(HostRequest::Do { id, op }) => server.on_request(id, op),
                Some(HostRequest::Cancel(id)) => server.on_cancel(id),
                None => return,
            },
            Some(done) = server.tasks.join_next_with_id() => server.on_done(done),
        }
    }
}

/// A host call under way.
#[derive(Debug)]
struct Job {
    op: OpId,
    lane: Option<Lane>,
    abort: AbortHandle,
    /// It was aborted, and whoever asked for it needs no answer any more.
    settled: bool,
}

type Answer = Result<Reply, Fault>;

struct Server {
    hosts: Hosts,
    news: News,
    tasks: JoinSet<Answer>,
    jobs: HashMap<Id, Job>,
    lanes: Lanes,
}

impl Server {
    fn new(hosts: Hosts, news: News) -> Self {
        Self { hosts, news, tasks: JoinSet::new(), jobs: HashMap::new(), lanes: Lanes::default() }
    }

    fn on_request(&mut self, id: OpId, op: Op) {
        if let Op::Track(track, TrackOp::Release)
        | Op::Sfu(_, SfuOp::Track(track, TrackOp::Release)) = op
        {
            self.clear(Lane::Switch(track));
        }
        match Lane::of(&op) {
            None => self.spawn(id, op, None),
            Some((lane, Entry::Queue)) => self.queue(lane, id, op),
            Some((lane, Entry::Overtake)) => {
                self.clear(lane);
                self.queue(lane, id, op);
            }
        }
    }

    fn on_cancel(&mut self, id: OpId) {
        self.lanes.forget(id);
        for job in self.jobs.values_mut().filter(|job| job.op == id) {
            job.settled = true;
            job.abort.abort();
        }
    }

    fn on_done(&mut self, done: Result<(Id, Answer), JoinError>) {
        let (task, answer) = match done {
            Ok((task, answer)) => (task, answer),
            Err(error) if error.is_panic() => (error.id(), Err(Fault::Panicked)),
            Err(error) => (error.id(), Err(Fault::Cancelled)),
        };
        let Some(job) = self.jobs.remove(&task) else { return };
        if !job.settled {
            self.news.reply(job.op, answer);
        }
        if let Some(lane) = job.lane {
            self.lanes.leave(lane);
            self.advance(lane);
        }
    }

    fn queue(&mut self, lane: Lane, id: OpId, op: Op) {
        self.lanes.enter(lane, id, op);
        self.advance(lane);
    }

    /// Starts what is next in the lane.
    fn advance(&mut self, lane: Lane) {
        if let Some((id, op)) = self.lanes.next(lane) {
            self.spawn(id, op, Some(lane));
        }
    }

    /// Aborts what is under way in the lane and what waits there.
    fn clear(&mut self, lane: Lane) {
        for id in self.lanes.clear(lane) {
            self.news.reply(id, Err(Fault::Cancelled));
        }
        for job in self.jobs.values_mut().filter(|job| job.lane == Some(lane) && !job.settled) {
            job.settled = true;
            job.abort.abort();
            self.news.reply(job.op, Err(Fault::Cancelled));
        }
    }

    fn spawn(&mut self, op_id: OpId, op: Op, lane: Option<Lane>) {
        let abort = self.tasks.spawn(self.hosts.answer(op, &self.news));
        self.jobs.insert(abort.id(), Job { op: op_id, lane, abort, settled: false });
    }
}

impl Hosts {
    /// The host call that carries out `op`. Nothing happens before it is polled.
    fn answer(&self, op: Op, news: &News) -> BoxFuture<'static, Answer> {
        match op {
            Op::Matrix(op) => Box::pin(matrix(Arc::clone(&self.signaling), op)),
            Op::Fetch(Fetch::SfuToken(request)) => Box::pin(token(self.tokens.clone(), *request)),
            Op::Fetch(Fetch::KeyMaterial) => Box::pin(async { material() }),
            Op::Fetch(what) => Box::pin(fetch(Arc::clone(&self.signaling), what)),
            Op::Sfu(call, op) => {
                let events = SfuEvents::new(call, news.clone());
                Box::pin(sfu_op(self.sfu.clone(), call, op, events))
            }
            Op::Keys(call, op) => Box::pin(key_op(self.keys.clone(), call, op)),
            Op::Peer(peer, op) => {
                let events = PeerEvents::new(peer, news.clone());
                Box::pin(peer_op(self.webrtc.clone(), peer, op, events))
            }
            Op::Track(track, op) => Box::pin(track_op(self.webrtc.clone(), track, op)),
            Op::Save(ledger) => Box::pin(save(self.ledger.clone(), ledger)),
        }
    }
}

async fn matrix(signaling: Arc<dyn Signaling>, op: MatrixOp) -> Answer {
    match op {
        MatrixOp::SendEvent { room, event_type, content, transaction } => signaling
            .send_event(SendEvent { room, event_type, content, transaction })
            .await
            .map(Reply::Sent),
        MatrixOp::SendClear { room, event_type, content, transaction } => signaling
            .send_clear(SendEvent { room, event_type, content, transaction })
            .await
            .map(Reply::Sent),
        MatrixOp::Redact { room, redacts, content, transaction } => {
            signaling.redact(Redact { room, redacts, content, transaction }).await.map(Reply::Sent)
        }
        MatrixOp::SendState { room, event_type, state_key, content } => signaling
            .send_state(SendState { room, event_type, state_key, content })
            .await
            .map(Reply::Sent),
        MatrixOp::Delay(op) => delay(signaling, op).await,
        MatrixOp::SendToDevice { room, targets, trust, event_type, content, transaction } => {
            let message = SendToDevice { room, targets, trust, event_type, content, transaction };
            signaling.send_to_device(message).await.map(Reply::ToDevice)
        }
    }
}

async fn delay(signaling: Arc<dyn Signaling>, op: DelayOp) -> Answer {
    let (id, update) = match op {
        DelayOp::Schedule { room, event_type, state_key, content, delay } => {
            let event = SendState { room, event_type, state_key, content };
            return signaling.schedule_state(event, delay).await.map(Reply::Scheduled);
        }
        DelayOp::List { from } => return signaling.delayed_events(from).await.map(Reply::Delayed),
        DelayOp::Restart(id) => (id, DelayUpdate::Restart),
        DelayOp::Send(id) => (id, DelayUpdate::Send),
        DelayOp::Cancel(id) => (id, DelayUpdate::Cancel),
    };
    signaling.update_delayed(id, update).await.map(|()| Reply::Done)
}

async fn fetch(signaling: Arc<dyn Signaling>, what: Fetch) -> Answer {
    match what {
        Fetch::Turn => signaling.turn_servers().await.map(Reply::Turn),
        Fetch::Members(room) => signaling.members(room).await.map(Reply::Members),
        Fetch::State(room) => {
            let state = signaling.room_state(room).await?;
            Ok(Reply::State(Box::new(state.parse())))
        }
        Fetch::OpenId => signaling.open_id_token().await.map(Reply::OpenId),
        Fetch::Transports => signaling.transports().await.map(Reply::Transports),
        Fetch::SfuToken(_) | Fetch::KeyMaterial => Err(Fault::Unsupported),
    }
}

async fn token(tokens: Option<Arc<dyn TokenSource>>, request: TokenRequest) -> Answer {
    let tokens = tokens.ok_or(Fault::Token(TokenFault::NoSource))?;
    tokens.token(request).await.map(Reply::SfuToken).map_err(Fault::Token)
}

fn material() -> Answer {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| Fault::Failed("no randomness".into()))?;
    Ok(Reply::KeyMaterial(SecretBytes::new(bytes.as_slice())))
}

async fn sfu_op(
    sfu: Option<Arc<dyn Sfu>>,
    call: SessionId,
    op: SfuOp,
    events: SfuEvents,
) -> Answer {
    let sfu = sfu.ok_or(Fault::Unsupported)?;
    match op {
        SfuOp::Connect(token) => sfu.connect(call, token, events).await?,
        SfuOp::Renew(token) => sfu.renew(call, token).await?,
        SfuOp::Subscribe(on) => sfu.subscribe(call, on).await?,
        SfuOp::Disconnect => sfu.disconnect(call).await?,
        SfuOp::Track(track, TrackOp::Capture(_, what)) => sfu.publish(call, track, what).await?,
        SfuOp::Track(track, TrackOp::Replace(_, what)) => sfu.replace(call, track, what).await?,
        SfuOp::Track(track, TrackOp::Enable(on)) => sfu.enable(call, track, on).await?,
        SfuOp::Track(track, TrackOp::Release) => sfu.unpublish(call, track).await?,
        SfuOp::Track(_, TrackOp::Dtmf(_)) => return Err(Fault::Unsupported),
    }
    Ok(Reply::Done)
}

async fn key_op(keys: Option<Arc<dyn KeyProvider>>, call: SessionId, op: KeyOp) -> Answer {
    let keys = keys.ok_or(Fault::Unsupported)?;
    match op {
        KeyOp::Set { profile, owner, key } => {
            keys.set_key(call, profile, owner, key).await.map(|()| Reply::Done)
        }
        KeyOp::Ratchet { participant, index } => {
            keys.ratchet(call, participant, index).await.map(Reply::Key)
        }
        KeyOp::Export { participant, index } => {
            keys.export(call, participant, index).await.map(Reply::Key)
        }
        KeyOp::Forget(participant) => keys.forget(call, participant).await.map(|()| Reply::Done),
    }
}

async fn peer_op(
    webrtc: Option<Arc<dyn WebRtc>>,
    peer: PeerId,
    op: PeerOp,
    events: PeerEvents,
) -> Answer {
    let webrtc = webrtc.ok_or(Fault::Unsupported)?;
    let done = |()| Reply::Done;
    match op {
        PeerOp::Open(config) => webrtc.open(peer, config, events).await.map(done),
        PeerOp::Offer(plan) => webrtc.offer(peer, plan).await.map(Reply::Description),
        PeerOp::Answer(plan) => webrtc.answer(peer, plan).await.map(Reply::Description),
        PeerOp::SetLocal(local) => webrtc.set_local(peer, local).await.map(done),
        PeerOp::LocalDescription => webrtc.local_description(peer).await.map(Reply::Description),
        PeerOp::SetRemote(remote) => webrtc.set_remote(peer, remote).await.map(done),
        PeerOp::Rollback => webrtc.rollback(peer).await.map(done),
        PeerOp::Candidates(all) => webrtc.candidates(peer, all).await.map(done),
        PeerOp::RestartIce => webrtc.restart_ice(peer).await.map(done),
        PeerOp::SetServers(servers) => webrtc.set_servers(peer, servers).await.map(done),
        PeerOp::Stats => webrtc.stats(peer).await.map(|stats| Reply::Stats(Box::new(stats))),
        PeerOp::Close => webrtc.close(peer).await.map(done),
    }
}

async fn track_op(webrtc: Option<Arc<dyn WebRtc>>, track: TrackId, op: TrackOp) -> Answer {
    let webrtc = webrtc.ok_or(Fault::Unsupported)?;
    match op {
        TrackOp::Capture(session, what) => webrtc.capture(session, track, what).await?,
        TrackOp::Enable(on) => webrtc.enable(track, on).await?,
        TrackOp::Replace(session, what) => webrtc.replace(session, track, what).await?,
        TrackOp::Dtmf(tones) => webrtc.dtmf(track, tones).await?,
        TrackOp::Release => webrtc.release(track).await?,
    }
    Ok(Reply::Done)
}

async fn save(store: Option<Arc<dyn LedgerStore>>, ledger: Ledger) -> Answer {
    let Some(store) = store else { return Ok(Reply::Done) };
    store.save(ledger.to_bytes()).await.map(|()| Reply::Done)
}
