//! Group calls through an SFU: the token for it, and our connection.
//!
//! What is asked of the homeserver, the token service and whoever connects, and what follows when one of
//! them fails. None of it waits for our membership, nor the membership for it.

use super::{
    GroupCall, Groups,
    event::{GroupEvent, SfuStatus},
    groups::GroupTimer,
    sfu::{
        Ask, CONNECT, Choosing, Handed, Link, SETTLING, SOONEST_REFRESH, Sfu, Subscribing, Token,
        is_over,
    },
};
use crate::{
    id::{OpId, RoomId, SessionId},
    machine::{
        Engine,
        bounds::{MAX_SUBSCRIBE_TRIES, MAX_TOKEN_TRIES},
        io::{
            Fault, Fetch, Ignored, Op, OpenIdToken, ParticipantId, Reply, SfuLoss, SfuOp, SfuTask,
            SfuToken, TokenFault, TokenRequest, Verdict,
        },
        world::{Owner, World},
    },
    time::{Deadline, Mono, Now},
    wire::member::Backend,
};

/// The slot of a room's call, as MatrixRTC counts them.
const SLOT: &str = "m.call#ROOM";

impl GroupCall {
    /// Shows how it stands with the SFU.
    pub(super) fn show_sfu(&mut self, world: &mut World, status: SfuStatus) {
        if self.shown.sfu != status {
            self.tell(world, GroupEvent::SfuChanged(status));
        }
    }

    /// Takes in what others publish, unless we hold the call.
    pub(super) fn subscribe(&mut self, world: &mut World, held: bool) {
        if self.shown.backend.is_sfu() && self.sfu.link != Link::Off {
            self.sfu.subscribing = Subscribing::default();
            ask(self, world, SfuOp::Subscribe(!held));
        }
    }

    /// Whether a token is wanted, and nothing is done for one any more.
    fn lacks_token(&self) -> bool {
        let given_up = self.sfu.token == Token::None && self.sfu.choosing == Choosing::Not;
        // Whoever is elsewhere or was removed comes back by himself, and a new connection has its own.
        let has_use = !matches!(self.sfu.link, Link::Lost(_) | Link::Pausing(_));
        given_up && has_use && self.is_wanted() && self.shown.backend.is_sfu()
    }
}

impl Engine {
    // ------------------------------------------------------------------------ coming and going

    /// We are about to be in the call: the token is fetched while the membership is written.
    pub(super) fn start_sfu(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.shown.backend.is_sfu() {
            call.show_sfu(&mut self.world, SfuStatus::FetchingToken);
            self.fetch_token(session);
        }
    }

    /// The focus changed: the token for the new one is fetched, the first at once. Who changes it over and
    /// over does not have us ask as often as he likes.
    pub(super) fn follow_sfu(&mut self, session: SessionId) {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let soonest = call.sfu.followed.map_or(now, |at| match call.sfu.asked >= at {
            true => at.plus(SOONEST_REFRESH),
            false => at,
        });
        let planned = soonest.max(now);
        call.sfu.followed = Some(planned);
        if planned > now {
            call.show_sfu(&mut self.world, SfuStatus::FetchingToken);
            call.sfu.token = Token::Pausing(planned);
        } else {
            self.start_sfu(session);
        }
    }

    /// Our membership is accepted. The first time: who entered as we did shows himself soon. Each time
    /// it is written anew: a token that was given up is asked for once more.
    pub(super) fn settle_sfu(&mut self, session: SessionId) {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if call.sfu.settled.is_none() {
            call.sfu.settled = Some(now.plus(SETTLING));
        } else if call.lacks_token() {
            call.sfu.token_tries = 0;
            call.sfu.token = Token::Pausing(call.sfu.asked.plus(SOONEST_REFRESH).max(now));
        }
    }

    /// We are not in the call any more.
    pub(super) fn stop_sfu(&mut self, session: SessionId) {
        self.leave_sfu(session);
        if let Some(call) = self.groups.calls.get_mut(&session) {
            stop(call, &mut self.world);
            call.show_sfu(&mut self.world, SfuStatus::Off);
        }
    }

    /// Whoever was there is not, for us; the sources that we opened are published at the next.
    pub(super) fn leave_sfu(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if !call.shown.backend.is_sfu() {
            return;
        }
        disconnect(call, &mut self.world);
        call.sfu.forget_people();
        call.speaker.name(None);
        self.tell_speaker(session);
        self.show_sfu_members(session);
    }

    // --------------------------------------------------------------------------------- token

    fn fetch_token(&mut self, session: SessionId) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        // It is told who we are, and more: not whoever a member names.
        let allowed = &self.world.config.sfu_services;
        let Backend::Livekit { service_url, .. } = &call.shown.backend else { return };
        if !allowed.allows(service_url) {
            let fault = Fault::Token(TokenFault::NotAllowed);
            return self.on_token_fault(session, &fault);
        }
        let op = self.world.request(Owner::Sfu(session), Op::Fetch(Fetch::OpenId));
        call.sfu.token = Token::OpenId(op);
        call.sfu.asked = self.world.now.mono;
    }

    fn on_open_id(&mut self, session: SessionId, result: Result<Reply, Fault>) {
        let open_id = match result {
            Ok(Reply::OpenId(token)) => Some(token),
            // Some services need none; those that do say so.
            Ok(_) => None,
            Err(fault) if fault.is_passing() => {
                let retry_after = fault.asked_pause();
                let silent = Fault::Token(TokenFault::NoOpenId { retry_after });
                return self.on_token_fault(session, &silent);
            }
            Err(_) => None,
        };
        let Some(request) = self.token_request(session, open_id) else { return };
        let op = Op::Fetch(Fetch::SfuToken(Box::new(request)));
        let op = self.world.request(Owner::Sfu(session), op);
        if let Some(call) = self.groups.calls.get_mut(&session) {
            call.sfu.token = Token::Asked(op);
        }
    }

    fn token_request(
        &mut self,
        session: SessionId,
        open_id: Option<OpenIdToken>,
    ) -> Option<TokenRequest> {
        let shown = self.groups.calls.get(&session)?.shown();
        let (room, group) = (shown.room.clone(), shown.call.clone());
        let Backend::Livekit { service_url, alias } = shown.backend.clone() else { return None };
        let member = self.groups.room(&room).ours.visit(&group)?.session.clone();
        let ParticipantId { user, device } = self.ourselves();
        let slot = SLOT.to_owned();
        Some(TokenRequest { service_url, alias, room, slot, user, device, member, open_id })
    }

    fn on_token(&mut self, session: SessionId, result: Result<Reply, Fault>) {
        match result {
            Ok(Reply::SfuToken(token)) => self.take_token(session, token),
            Ok(_) => self.on_token_fault(session, &Fault::Unsupported),
            Err(fault) => self.on_token_fault(session, &fault),
        }
    }

    fn take_token(&mut self, session: SessionId, token: SfuToken) {
        let (now, margin) = (self.world.now, self.world.config.timeouts.token_margin);
        let by_host = self.world.config.host_connects();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let refresh = token.lifetime.map(|lifetime| {
            let early = lifetime.saturating_sub(margin).max(lifetime / 2);
            now.plus(early.max(SOONEST_REFRESH))
        });
        call.sfu.token = Token::Here(refresh);
        call.sfu.expires = token.lifetime.map(|lifetime| now.plus(lifetime));
        call.sfu.token_tries = 0;
        if !by_host {
            hand_over(call, &mut self.world, token);
            return;
        }
        match call.sfu.link {
            Link::Off => connect(call, &mut self.world, token),
            Link::Connecting(_) | Link::Connected | Link::Reconnecting(_) => {
                ask(call, &mut self.world, SfuOp::Renew(token));
            }
            // When the pause is over there is another: nobody knows how long the path was lost.
            Link::Pausing(_) | Link::Lost(_) => {}
        }
    }

    fn on_token_fault(&mut self, session: SessionId, fault: &Fault) {
        let (now, timeouts) = (self.world.now, &self.world.config.timeouts);
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        call.sfu.token_tries = call.sfu.token_tries.saturating_add(1);
        let again = fault.is_passing() && call.sfu.token_tries < MAX_TOKEN_TRIES;
        call.sfu.token = match again {
            true => {
                Token::Pausing(now.mono.plus(fault.pause_before(call.sfu.token_tries, timeouts)))
            }
            false => Token::None,
        };
        // With a token that is good still nobody notices.
        let handed_over = call.shown.sfu == SfuStatus::HandedOver;
        let good = again && handed_over && call.sfu.expires.is_some_and(|at| !is_over(at, now));
        if !good && !matches!(call.sfu.link, Link::Connected | Link::Reconnecting(_)) {
            call.show_sfu(&mut self.world, SfuStatus::NoToken(token_fault(fault)));
        }
    }

    // ---------------------------------------------------------------------------- connection

    /// Takes the reply to a request about a group call's SFU.
    pub(in crate::machine) fn on_sfu_reply(
        &mut self,
        session: SessionId,
        op: OpId,
        result: Result<Reply, Fault>,
    ) -> Verdict {
        let Some(call) = self.groups.calls.get_mut(&session) else {
            return Verdict::Ignored(Ignored::StaleReply);
        };
        let room = call.shown.room.clone();
        if matches!(call.sfu.choosing, Choosing::Asked(asked, _) if asked == op) {
            self.on_transports(session, result);
        } else if call.sfu.token == Token::OpenId(op) {
            self.on_open_id(session, result);
        } else if call.sfu.token == Token::Asked(op) {
            self.on_token(session, result);
        } else if let Some(ask) = call.sfu.asks.remove(&op) {
            if let Err(fault) = result {
                self.on_ask_fault(session, ask, &fault);
            }
        } else {
            return Verdict::Ignored(Ignored::StaleReply);
        }
        self.tend_groups(&room);
        self.groups.push(&mut self.world, &room);
        Verdict::Handled
    }

    fn on_ask_fault(&mut self, session: SessionId, ask: Ask, fault: &Fault) {
        let now = self.world.now.mono;
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        match ask {
            // Also where a connection before it was said to stand after all.
            Ask::Connect if call.sfu.link.is_taken_up() => {
                let refused = matches!(fault, Fault::Denied | Fault::Forbidden(_));
                let refused = refused.then_some(SfuLoss::TokenRefused);
                self.on_sfu_lost(session, refused.unwrap_or(SfuLoss::Unreachable));
            }
            // Else what others publish is taken in of a call that is held, or not of one that is not.
            Ask::Subscribe(on) if on != call.shown.held => {
                let tries = call.sfu.subscribing.tries.saturating_add(1);
                let again = (tries < MAX_SUBSCRIBE_TRIES)
                    .then(|| now.plus(self.world.config.timeouts.retry_pause(tries)));
                call.sfu.subscribing = Subscribing { tries, again };
            }
            // The connection goes on as it is.
            Ask::Connect | Ask::Subscribe(_) | Ask::Renew | Ask::Disconnect => {}
        }
    }

    /// The connection is gone; the membership stands, and where it helps another one is made.
    pub(super) fn on_sfu_lost(&mut self, session: SessionId, why: SfuLoss) {
        let by_host = self.world.config.host_connects();
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        let now = self.world.now.mono;
        hang_up(call, &mut self.world);
        if call.sfu.handed == Handed::Over {
            call.sfu.handed = Handed::Lost;
        }
        call.sfu.forget_people();
        call.sfu.token_tries = 0;
        call.show_sfu(&mut self.world, SfuStatus::Lost(why));
        let again = matches!(why, SfuLoss::Unreachable | SfuLoss::TokenRefused);
        if !again {
            // Nobody comes back by himself, and needs no token.
            call.sfu.link = Link::Lost(why);
            drop_token(call, &mut self.world);
        } else if by_host {
            call.sfu.link_tries = call.sfu.link_tries.saturating_add(1);
            let pause = self.world.config.timeouts.retry_pause(call.sfu.link_tries);
            call.sfu.link = Link::Pausing(now.plus(pause));
        } else {
            call.sfu.link = Link::Off;
        }
        // The application that connects by itself needs a fresh one, the first at once, also where a
        // refresh was given up; the host's next try fetches its own, after the pause.
        let refused = why == SfuLoss::TokenRefused && !by_host;
        if refused && matches!(call.sfu.token, Token::Here(_) | Token::None) {
            let tries = call.sfu.link_tries;
            call.sfu.link_tries = tries.saturating_add(1);
            let pause = (tries > 0).then(|| self.world.config.timeouts.retry_pause(tries));
            call.sfu.token = Token::Pausing(now.plus(pause.unwrap_or_default()));
        }
        self.show_sfu_members(session);
    }

    // ---------------------------------------------------------------------------------- timers

    /// Something of a room's SFUs is due.
    pub(super) fn on_sfus_due(&mut self, room: &RoomId) {
        let now = self.world.now;
        for session in self.groups.sessions_of(room) {
            self.on_sfu_due(session, now);
        }
        self.groups.watch_sfus(room);
    }

    fn on_sfu_due(&mut self, session: SessionId, now: Now) {
        let Some(call) = self.groups.calls.get_mut(&session) else { return };
        if let Choosing::Pausing(at, media) = call.sfu.choosing {
            if at <= now.mono {
                self.on_transports_due(session, media);
            }
            return;
        }
        if call.sfu.subscribing.again.is_some_and(|at| at <= now.mono) {
            call.sfu.subscribing.again = None;
            let held = call.shown.held;
            ask(call, &mut self.world, SfuOp::Subscribe(!held));
        }
        match call.sfu.link {
            Link::Connecting(at) | Link::Reconnecting(at) if at <= now.mono => {
                self.on_sfu_lost(session, SfuLoss::Unreachable);
            }
            Link::Pausing(at) if at <= now.mono => {
                // With a fresh token: nobody knows how long the path was lost.
                call.sfu.link = Link::Off;
                if matches!(call.sfu.token, Token::Here(_) | Token::None) {
                    self.fetch_token(session);
                }
            }
            Link::Connecting(_) | Link::Reconnecting(_) | Link::Pausing(_) => {}
            Link::Off | Link::Connected | Link::Lost(_) => {}
        }
        let token = self.groups.calls.get(&session).map(|call| call.sfu.token);
        let is_due = match token {
            Some(Token::Pausing(at)) => at <= now.mono,
            Some(Token::Here(refresh)) => refresh.is_some_and(|at| is_over(at, now)),
            Some(Token::None | Token::OpenId(_) | Token::Asked(_)) | None => false,
        };
        if is_due {
            self.fetch_token(session);
        }
    }

    /// The network is back: what failed is tried at once.
    pub(super) fn on_sfus_network_back(&mut self) {
        for call in self.groups.calls.values_mut() {
            if call.lacks_token() {
                call.sfu.token_tries = 0;
                call.sfu.token = Token::Pausing(Mono::default());
            }
            if let Token::Pausing(at) = &mut call.sfu.token {
                *at = Mono::default();
            }
            if let Link::Pausing(at) = &mut call.sfu.link {
                *at = Mono::default();
            }
            if let Choosing::Pausing(at, _) = &mut call.sfu.choosing {
                *at = Mono::default();
            }
        }
        for room in self.groups.all_rooms() {
            self.on_sfus_due(&room);
        }
    }
}

fn ask(call: &mut GroupCall, world: &mut World, op: SfuOp) {
    let what = match &op {
        SfuOp::Connect(_) => Ask::Connect,
        SfuOp::Renew(_) => Ask::Renew,
        SfuOp::Subscribe(on) => Ask::Subscribe(*on),
        SfuOp::Disconnect => Ask::Disconnect,
        // Replies to these are of the media (`media.rs`).
        SfuOp::Track(..) => return,
    };
    let op = world.request(Owner::Sfu(call.session), Op::Sfu(call.session, op));
    call.sfu.asks.insert(op, what);
}

/// The application has something to do with the token.
fn hand_over(call: &mut GroupCall, world: &mut World, token: SfuToken) {
    let task = match std::mem::replace(&mut call.sfu.handed, Handed::Over) {
        Handed::Over => SfuTask::Renew(token),
        Handed::Not | Handed::Lost => SfuTask::Connect(token),
    };
    call.tell(world, GroupEvent::SfuTask(task));
    if call.sfu.link == Link::Off {
        call.show_sfu(world, SfuStatus::HandedOver);
    }
}

fn connect(call: &mut GroupCall, world: &mut World, token: SfuToken) {
    call.sfu.link = Link::Connecting(world.now.mono.plus(CONNECT));
    call.show_sfu(world, SfuStatus::Connecting);
    ask(call, world, SfuOp::Connect(token));
    // Every connection begins with taking in.
    if call.shown.held {
        ask(call, world, SfuOp::Subscribe(false));
    }
}

/// Takes back the connection and the token, and what is under way for them.
fn disconnect(call: &mut GroupCall, world: &mut World) {
    hang_up(call, world);
    drop_token(call, world);
    if std::mem::take(&mut call.sfu.handed) != Handed::Not {
        call.tell(world, GroupEvent::SfuTask(SfuTask::Disconnect));
    }
    (call.sfu.token_tries, call.sfu.link_tries) = (0, 0);
}

/// Takes back the token, and what is under way for it.
fn drop_token(call: &mut GroupCall, world: &mut World) {
    if let Token::OpenId(op) | Token::Asked(op) = std::mem::take(&mut call.sfu.token) {
        world.cancel(op);
    }
}

/// Takes back the connection: sources stay open, for the next.
fn hang_up(call: &mut GroupCall, world: &mut World) {
    for op in std::mem::take(&mut call.sfu.asks).into_keys() {
        world.cancel(op);
    }
    call.sfu.subscribing = Subscribing::default();
    let former = std::mem::take(&mut call.sfu.link);
    if world.config.host_connects() && former.is_taken_up() {
        let op = Op::Sfu(call.session, SfuOp::Disconnect);
        world.request(Owner::Nobody, op);
    }
}

/// Nothing of the SFU is wanted any more.
pub(super) fn stop(call: &mut GroupCall, world: &mut World) {
    disconnect(call, world);
    if let Choosing::Asked(op, _) = call.sfu.choosing {
        world.cancel(op);
    }
    call.sfu = Sfu::default();
}

/// What is said of a fault on the way to a token.
fn token_fault(fault: &Fault) -> TokenFault {
    match fault {
        Fault::Token(fault) => fault.clone(),
        Fault::Unsupported => TokenFault::NoSource,
        Fault::RateLimited { retry_after } => TokenFault::RateLimited { retry_after: *retry_after },
        Fault::Forbidden(code) => TokenFault::Refused(code.clone()),
        Fault::Timeout | Fault::Cancelled | Fault::Panicked | Fault::Unreachable => {
            TokenFault::NotReached
        }
        Fault::Denied | Fault::NotFound | Fault::LoggedOut | Fault::NoDeviceKeys => {
            TokenFault::NotBelieved
        }
        Fault::Failed(what) => TokenFault::Unusable(what.clone()),
    }
}

impl Groups {
    /// The timer of a room's SFUs is set anew.
    pub(super) fn watch_sfus(&mut self, room: &RoomId) {
        let next = self.of_room(room).filter_map(|call| call.sfu.next_deadline()).min();
        self.set_timer(room, GroupTimer::Sfus, next.map(Deadline::Mono));
        let refresh = self.of_room(room).filter_map(|call| call.sfu.next_refresh()).min();
        self.set_timer(room, GroupTimer::Tokens, refresh.map(Deadline::Wall));
    }
}
