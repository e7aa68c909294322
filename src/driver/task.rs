//! The loop: drain the engine, wait, feed it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep_until};

use super::{
    clock::{Clock, WallClock},
    deadlines::deadline,
    hub::Hub,
    log,
    measure::{Asker, Measurements, is_own},
    meter::Meters,
    order::{self, Link, Order, Unmeasured},
};
use crate::{
    host::mailbox::{self, DriverEnd, HostRequest, Mailbox},
    id::{OpId, SessionId},
    machine::{
        Engine,
        io::{Command, Fault, Input, Lifecycle, Op, Output, PeerOp, Reply, Verdict},
    },
    record::{Origin, Recorder, Tape},
    time::{Mono, Now, Timers},
    wire::ledger::Ledger,
};

/// Longest sleep while a wall-clock deadline is open: monotonic time may stop in suspend.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Shortest sleep between two looks at the engine's deadlines: a timer is no finer.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// How long a shutdown lets hangups, closes and the ledger leave. A homeserver answers in less,
/// and a person who quits an application does not wait longer.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a driver begins with.
#[derive(Debug)]
pub(crate) struct Start {
    /// The engine, without calls.
    pub(crate) engine: Engine,
    /// What a dead process left behind.
    pub(crate) ledger: Option<Ledger>,
    /// The wall clock.
    pub(crate) wall: WallClock,
    /// Who writes down what the engine is given, and what that engine was made of.
    pub(crate) recorder: Option<(Recorder, Origin)>,
}

/// The task's own state.
#[derive(Debug)]
pub(crate) struct Driver {
    engine: Engine,
    clock: Clock,
    hub: Arc<Hub>,
    orders: mpsc::Receiver<Order>,
    host: DriverEnd,
    /// By when the host must have answered.
    requests: Timers<OpId>,
    measurements: Measurements,
    meters: Meters,
    /// When the engine wants to be asked again.
    due: Option<Mono>,
    /// When the engine was last asked what is due.
    asked: Mono,
    /// Whether there may be handles.
    held: bool,
    /// Set while shutting down: when to stop at the latest.
    stop: Option<Mono>,
    /// Where everything that the engine is given is written down.
    tape: Option<Tape>,
}

impl Driver {
    /// A driver to be [run](Self::run), the way to it and the host's end.
    pub(crate) fn new(start: Start, hub: Arc<Hub>) -> (Self, Link, Mailbox) {
        let (link, orders) = order::channel();
        let (host, mailbox) = mailbox::pair();
        let clock = Clock::new(start.wall);
        let tape = start.recorder.and_then(|(recorder, of)| recorder.begin(of, clock.now()));
        let mut driver = Self {
            engine: start.engine,
            clock,
            hub,
            orders,
            host,
            requests: Timers::default(),
            measurements: Measurements::default(),
            meters: Meters::default(),
            due: None,
            asked: Mono::default(),
            held: true,
            stop: None,
            tape,
        };
        if let Some(ledger) = start.ledger {
            driver.restore(ledger);
        }
        (driver, link, mailbox)
    }

    fn restore(&mut self, ledger: Ledger) {
        let now = self.clock.now();
        if let Some(tape) = &mut self.tape {
            tape.on_restored(now, ledger.clone());
        }
        self.engine.restore(now, ledger);
    }

    /// Runs until it is told to stop or nobody holds a handle any more.
    pub(crate) async fn run(mut self) {
        self.settle(self.clock.now());
        while !self.is_done() {
            self.turn().await;
        }
    }

    /// Waits for one thing and does it.
    async fn turn(&mut self) {
        let wake = self.wake();
        tokio::select! {
            biased;
            order = self.orders.recv(), if self.held => match order {
                Some(order) => self.on_order(order),
                None => self.on_abandoned(),
            },
            Some(input) = self.host.next() => self.on_input(input),
            () = sleep_until(self.clock.instant(wake.unwrap_or_default())), if wake.is_some() => {
                self.ask_engine(self.clock.now());
            }
        }
        self.on_time();
    }

    // ---------------------------------------------------------------------------------- feeding

    fn on_order(&mut self, order: Order) {
        // Whoever asked may have gone meanwhile: then the answer is dropped.
        match order {
            Order::Do { command, answer } => drop(answer.send(self.on_command(command))),
            Order::Explain { session, answer } => {
                drop(answer.send(self.engine.explain(self.clock.now(), session)));
            }
            Order::Legs { group, answer } => drop(answer.send(self.engine.legs(group))),
            Order::Measure { session, answer } => self.measure(session, Asker::Handle(answer)),
            Order::Watch { session, every, latest } => {
                self.meters.add(self.clock.now(), session, every, latest);
            }
            Order::Diagnose { answer } => drop(answer.send(self.engine.diagnostics().clone())),
            Order::ShutDown => self.begin_stop(),
        }
    }

    fn on_command(&mut self, command: Command) -> Verdict {
        self.feed(Input::Command(command))
    }

    fn on_abandoned(&mut self) {
        self.held = false;
        self.begin_stop();
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Reply(id, result) => self.on_reply(id, result),
            Input::Lifecycle(Lifecycle::Ending) => self.begin_stop(),
            input => drop(self.feed(input)),
        }
    }

    fn on_reply(&mut self, id: OpId, result: Result<Reply, Fault>) {
        self.requests.clear(&id);
        if let Err(fault) = &result {
            log::fault(id, fault);
        }
        if is_own(id) {
            self.on_measured(id, result);
        } else {
            self.feed(Input::Reply(id, result));
        }
    }

    fn feed(&mut self, input: Input) -> Verdict {
        let now = self.clock.now();
        let verdict = self.hand(now, input);
        log::verdict(&verdict);
        self.settle(now);
        verdict
    }

    /// The only way into the engine.
    fn hand(&mut self, now: Now, input: Input) -> Verdict {
        let kept = self.tape.as_mut().and_then(|tape| tape.copy(&input));
        let verdict = self.engine.handle(now, input);
        if let (Some(tape), Some(kept)) = (&mut self.tape, kept) {
            tape.on_input(now, kept, &verdict);
        }
        verdict
    }

    fn begin_stop(&mut self) {
        if self.stop.is_none() {
            self.stop = Some(self.clock.now().mono.plus(FAREWELL));
            self.feed(Input::Lifecycle(Lifecycle::Ending));
        }
    }

    /// Takes everything out of the engine, and notes when it wants to be asked again. Requests
    /// that the host cannot take fail at once, which may make the engine want more.
    fn settle(&mut self, now: Now) {
        loop {
            let mut refused = Vec::new();
            while let Some(output) = self.engine.poll_output() {
                refused.extend(self.on_output(now, output));
            }
            if refused.is_empty() {
                break;
            }
            for (id, fault) in refused {
                self.hand(now, Input::Reply(id, Err(fault)));
            }
        }
        self.due = self.engine.poll_timeout().map(|span| now.mono.plus(span));
    }

    /// Passes one output on; gives back a request that the host did not take.
    fn on_output(&mut self, now: Now, output: Output) -> Option<(OpId, Fault)> {
        match output {
            Output::Request { id, op } => self.request(now, id, op).err().map(|fault| (id, fault)),
            Output::Cancel(id) => {
                self.cancel(id);
                None
            }
            Output::Voip(event) => {
                log::voip(&event);
                self.hub.on_voip(event);
                None
            }
            Output::Call { session, event } => {
                log::call(session, &event);
                self.hub.on_call(session, &event);
                None
            }
            Output::Group { session, event } => {
                log::group(session, &event);
                self.hub.on_group(session, &event);
                None
            }
        }
    }

    // ----------------------------------------------------------------------------------- asking

    fn request(&mut self, now: Now, id: OpId, op: Op) -> Result<(), Fault> {
        let span = deadline(&op);
        log::request(id, &op);
        self.host.request(HostRequest::Do { id, op })?;
        self.requests.set(id, now.mono_after(span));
        Ok(())
    }

    fn cancel(&mut self, id: OpId) {
        self.requests.clear(&id);
        if let Err(fault) = self.host.request(HostRequest::Cancel(id)) {
            tracing::debug!(op = id.0, %fault, "the host did not hear of a cancel");
        }
    }

    fn measure(&mut self, session: SessionId, asker: Asker) {
        let Some(peer) = self.engine.peer(session) else {
            asker.tell(Err(Unmeasured::NoPeer));
            return;
        };
        let Some(id) = self.measurements.ask(peer, asker) else { return };
        let asked = self.request(self.clock.now(), id, Op::Peer(peer, PeerOp::Stats));
        if let Err(fault) = asked {
            self.on_measured(id, Err(fault));
        }
    }

    fn on_measured(&mut self, id: OpId, result: Result<Reply, Fault>) {
        let now = self.clock.now();
        for (meter, stats) in self.measurements.on_reply(id, result) {
            self.meters.on_measured(meter, now, stats);
        }
    }

    /// Reads the meters that are due. That of a call that is over ends.
    fn read_meters(&mut self, now: Now) {
        while let Some((meter, session)) = self.meters.pop_due(now) {
            match self.engine.snapshot(session) {
                Some(call) if call.end.is_none() => self.measure(session, Asker::Meter(meter)),
                Some(_) | None => self.meters.remove(meter),
            }
        }
    }

    // ------------------------------------------------------------------------------------- time

    /// Does what is due, in the driver and in the engine.
    fn on_time(&mut self) {
        let now = self.clock.now();
        while let Some(id) = self.requests.pop_due(now) {
            tracing::debug!(op = id.0, "no answer in time");
            self.cancel(id);
            self.on_reply(id, Err(Fault::Timeout));
        }
        self.read_meters(now);
        let earliest = self.asked.plus(SHORTEST_SLEEP);
        if self.due.is_some_and(|due| due.max(earliest) <= now.mono) {
            self.ask_engine(now);
        }
    }

    fn ask_engine(&mut self, now: Now) {
        self.asked = now.mono;
        if let Some(tape) = &mut self.tape {
            tape.on_due(now);
        }
        self.engine.handle_timeout(now);
        self.settle(now);
    }

    /// When to wake if nothing else happens.
    fn wake(&self) -> Option<Mono> {
        let now = self.clock.now();
        let engine = self.due.map(|due| due.max(self.asked.plus(SHORTEST_SLEEP)));
        let host = self.requests.next(now).map(|span| now.mono.plus(span));
        let wall = self.engine.has_wall_deadline().then(|| now.mono.plus(LONGEST_SLEEP));
        let meters = self.meters.next(now).map(|span| now.mono.plus(span));
        [engine, host, wall, meters, self.stop].into_iter().flatten().min()
    }

    /// Whether a shutdown has nothing left to wait for: no request is open, and nothing falls due
    /// before its end.
    fn is_done(&self) -> bool {
        let Some(stop) = self.stop else { return false };
        let quiet = self.requests.is_empty() && self.due.is_none_or(|due| due > stop);
        quiet || self.clock.now().mono >= stop
    }
}

impl Drop for Driver {
    /// However the task ended, its runtime gone included: every stream ends, calls before.
    fn drop(&mut self) {
        self.hub.close(self.engine.diagnostics().clone());
    }
}
