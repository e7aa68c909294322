//! A host in the test's hand: it pulls the mailbox, keeps what was asked, and answers by a rule.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use matrix_voip::{
    Identity, Mailbox, PeerStats, VoIP, VoIPBuilder, WallClock,
    host::HostRequest,
    id::{CallId, DeviceId, EventId, OpId, PeerId, RoomId, UserId},
    machine::io::{Description, Fault, Fetch, MatrixOp, Op, PeerOp, Reply, SdpKind, TurnServers},
    time::Wall,
    wire::delivery::{Batch, Facts, Place, Protection, RawEvent},
};

/// When every test begins, by the wall clock.
pub(crate) const START: Wall = Wall(1_800_000_000_000);

/// What a host says to an operation; `None`: nothing.
pub(crate) type Answer = Option<Result<Reply, Fault>>;
type Rule = Arc<dyn Fn(&Op) -> Answer + Send + Sync>;

/// Who we are.
pub(crate) fn identity() -> Identity {
    Identity { user: UserId::parse("@ada:hs").unwrap(), device: DeviceId::parse("PHONE").unwrap() }
}

/// Where we call.
pub(crate) fn room() -> RoomId {
    RoomId::parse("!room:hs").unwrap()
}

/// A wall clock that goes as the paused one goes.
pub(crate) fn clock() -> WallClock {
    WallClock::with_tokio(START)
}

/// Does what it is asked, at once.
pub(crate) fn willing(op: &Op) -> Answer {
    Some(Ok(match op {
        Op::Matrix(_) => Reply::Sent(EventId::parse("$sent").unwrap()),
        Op::Fetch(Fetch::Turn) => {
            Reply::Turn(TurnServers { servers: Vec::new(), ttl: Duration::from_secs(3600) })
        }
        Op::Fetch(Fetch::Members(_)) => {
            Reply::Members(BTreeSet::from([identity().user, UserId::parse("@ben:hs").unwrap()]))
        }
        Op::Peer(_, PeerOp::Offer(_)) => description(SdpKind::Offer),
        Op::Peer(_, PeerOp::Answer(_)) => description(SdpKind::Answer),
        Op::Peer(_, PeerOp::LocalDescription) => description(SdpKind::Offer),
        Op::Peer(_, PeerOp::Stats) => {
            let mut stats = PeerStats::default();
            stats.round_trip = Some(Duration::from_millis(7));
            Reply::Stats(Box::new(stats))
        }
        _ => Reply::Done,
    }))
}

/// A description that says nothing but that there is sound.
pub(crate) fn description(kind: SdpKind) -> Reply {
    Reply::Description(Description { kind, sdp: SDP.into() })
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:0123456789abcdef01234567\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n";

/// An invite of `caller`, sent so long ago.
pub(crate) fn invite(call_id: &str, caller: &str, age: Duration) -> Batch {
    let content = serde_json::json!({
        "call_id": call_id, "party_id": "BEN1", "version": "1", "lifetime": 90_000,
        "invitee": identity().user.as_str(), "offer": { "type": "offer", "sdp": SDP },
    });
    batch("m.call.invite", caller, age, &content)
}

/// An answer to our call.
pub(crate) fn answer(call_id: &CallId) -> Batch {
    let content = serde_json::json!({
        "call_id": call_id.as_str(), "party_id": "BEN1", "version": "1",
        "answer": { "type": "answer", "sdp": SDP },
    });
    batch("m.call.answer", "@ben:hs", Duration::ZERO, &content)
}

fn batch(event_type: &str, sender: &str, age: Duration, content: &serde_json::Value) -> Batch {
    let id = format!("${event_type}{}", content["call_id"].as_str().unwrap());
    let facts = Facts {
        event_id: Some(EventId::parse(id).unwrap()),
        sender: UserId::parse(sender).unwrap(),
        device: None,
        protection: Protection::Clear,
        sent: None,
        age: Some(age),
    };
    let event = RawEvent {
        facts,
        event_type: event_type.into(),
        content: content.to_string(),
        redacts: None,
    };
    Batch { place: Place::Room { room: room(), encrypted: false }, events: vec![event] }
}

/// On a paused clock a day passes at once when nothing else can happen: then a test waits for
/// what never comes, and should say so instead of standing still.
pub(crate) fn watch() {
    tokio::spawn(async {
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(86_400)).await;
        eprintln!("a test of the driver waits for what never comes");
        std::process::exit(101);
    });
}

/// The host.
pub(crate) struct Desk {
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<HostRequest>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Desk {
    /// Starts a library with a host that answers by `rule`.
    pub(crate) fn start(rule: impl Fn(&Op) -> Answer + Send + Sync + 'static) -> (VoIP, Self) {
        Self::start_with(VoIP::builder(identity()).wall_clock(clock()), rule)
    }

    /// The same with more set.
    pub(crate) fn start_with(
        builder: VoIPBuilder,
        rule: impl Fn(&Op) -> Answer + Send + Sync + 'static,
    ) -> (VoIP, Self) {
        let (voip, mailbox) = builder.seed(1).start_with_mailbox().unwrap();
        watch();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Arc::new(rule)));
        let seen = Arc::default();
        let task = tokio::spawn(obey(mailbox, Arc::clone(&rule), Arc::clone(&seen)));
        (voip, Self { rule, seen, task })
    }

    /// From now on it answers by this rule.
    pub(crate) fn obey(&self, rule: impl Fn(&Op) -> Answer + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    /// Everything asked so far.
    pub(crate) fn requests(&self) -> Vec<HostRequest> {
        self.seen.lock().unwrap().clone()
    }

    /// The ids of the operations of a kind.
    pub(crate) fn ids(&self, kind: impl Fn(&Op) -> bool) -> Vec<OpId> {
        let wanted = |request: HostRequest| match request {
            HostRequest::Do { id, op } => kind(&op).then_some(id),
            HostRequest::Cancel(_) => None,
        };
        self.requests().into_iter().filter_map(wanted).collect()
    }

    /// What was cancelled.
    pub(crate) fn cancelled(&self) -> Vec<OpId> {
        let wanted = |request| match request {
            HostRequest::Cancel(id) => Some(id),
            HostRequest::Do { .. } => None,
        };
        self.requests().into_iter().filter_map(wanted).collect()
    }

    /// The types of the events that were sent.
    pub(crate) fn sent(&self) -> Vec<String> {
        let wanted = |request| match request {
            HostRequest::Do { op: Op::Matrix(MatrixOp::SendEvent { event_type, .. }), .. } => {
                Some(event_type)
            }
            HostRequest::Do { .. } | HostRequest::Cancel(_) => None,
        };
        self.requests().into_iter().filter_map(wanted).collect()
    }

    /// The latest peer connection.
    pub(crate) fn peer(&self) -> PeerId {
        let opened = |request| match request {
            HostRequest::Do { op: Op::Peer(peer, PeerOp::Open(_)), .. } => Some(peer),
            HostRequest::Do { .. } | HostRequest::Cancel(_) => None,
        };
        self.requests().into_iter().rev().find_map(opened).unwrap()
    }

    /// Lets everything happen that can happen without time passing.
    pub(crate) async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the library closed the mailbox.
    pub(crate) async fn closed(&self) {
        while !self.task.is_finished() {
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    }
}

async fn obey(mut mailbox: Mailbox, rule: Arc<Mutex<Rule>>, seen: Arc<Mutex<Vec<HostRequest>>>) {
    while let Some(request) = mailbox.next().await {
        seen.lock().unwrap().push(request.clone());
        let HostRequest::Do { id, op } = request else { continue };
        let rule = Arc::clone(&*rule.lock().unwrap());
        if let Some(answer) = rule(&op) {
            mailbox.reply(id, answer);
        }
    }
}
