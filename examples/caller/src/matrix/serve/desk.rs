//! Dispatch of requests to the peers of the process, each of which has a runtime of its own.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    task::{Context, Waker},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{
    client::{Client, Ways},
    command::{ClientCommand, Command},
    line::{self, Args, Request},
    out::{Out, Pending},
};

/// Threads of each client.
const THREADS: usize = 2;

/// How long requests may go on after the end of standard input: the protocol allows 10 s.
const FAREWELL: Duration = Duration::from_secs(9);

/// The peers, by name.
pub(crate) struct Desk {
    ways: Ways,
    out: Out,
    peers: BTreeMap<String, Peer>,
    /// Each request that is not answered holds a clone.
    alive: Sender<()>,
    ended: Receiver<()>,
}

/// One peer; its client comes with `login`.
struct Peer {
    runtime: Runtime,
    seat: Arc<Mutex<Seat>>,
}

/// Who sits there.
enum Seat {
    Empty,
    LoggingIn,
    Taken(Arc<Client>),
    /// What the login left behind goes with the runtime.
    Failed,
}

type Answer = Result<Value, String>;

impl Desk {
    pub(crate) fn new(ways: Ways, out: Out) -> Self {
        let (alive, ended) = mpsc::channel();
        Self { ways, out, peers: BTreeMap::new(), alive, ended }
    }

    /// Starts what a line asks for. `Break`: the process is to end.
    pub(crate) fn take(&mut self, line: &[u8]) -> ControlFlow<()> {
        match Request::read(line) {
            Err(bad) => self.out.line(&line::complaint(&bad)),
            Ok(Request { ticket, command, args }) => {
                let peer = ticket.peer.clone();
                let pending = Pending::new(ticket, self.out.clone(), self.alive.clone());
                match command {
                    Command::Quit => {
                        pending.answer(Ok(json!({})));
                        return ControlFlow::Break(());
                    }
                    Command::Close => self.close(&peer, pending),
                    Command::Login => self.log_in(peer, args, pending),
                    Command::Client(command) => self.command(&peer, command, args, pending),
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Waits for the requests that are under way.
    pub(crate) fn finish(self) {
        let Self { alive, ended, peers, .. } = self;
        drop(alive);
        // Nothing is ever sent: this ends when the last request is answered, or time is up.
        let _ = ended.recv_timeout(FAREWELL);
        peers.into_values().for_each(Peer::die);
    }

    fn close(&mut self, peer: &str, pending: Pending) {
        if let Some(peer) = self.peers.remove(peer) {
            peer.die();
        }
        pending.answer(Ok(json!({})));
    }

    fn log_in(&mut self, name: String, args: Args, pending: Pending) {
        let peer = match self.peer(&name) {
            Ok(peer) => peer,
            Err(why) => return pending.answer(Err(why)),
        };
        let seat = Arc::clone(&peer.seat);
        match &mut *locked(&seat) {
            seat @ Seat::Empty => *seat = Seat::LoggingIn,
            Seat::LoggingIn | Seat::Taken(_) | Seat::Failed => {
                return pending.answer(Err("logged in already: close first".to_owned()));
            }
        }
        let (ways, events) = (self.ways.clone(), self.out.of(&name));
        let work = async move {
            let entered = Client::login(&ways, &args, events).await;
            let mut seat = locked(&seat);
            match entered {
                Ok((client, result)) => {
                    *seat = Seat::Taken(Arc::new(client));
                    Ok(result)
                }
                Err(why) => {
                    *seat = Seat::Failed;
                    Err(why)
                }
            }
        };
        self.peers[&name].start(work, pending);
    }

    fn command(&mut self, peer: &str, command: ClientCommand, args: Args, pending: Pending) {
        let peer = self.peers.get(peer);
        let Some((peer, client)) = peer.and_then(|peer| Some((peer, peer.client()?))) else {
            return pending.answer(Err("not logged in".to_owned()));
        };
        peer.start(async move { client.obey(command, &args).await }, pending);
    }

    /// The peer of that name, a new one if need be.
    fn peer(&mut self, name: &str) -> Result<&Peer, String> {
        if self.peers.get(name).is_some_and(Peer::has_failed) {
            self.peers.remove(name).into_iter().for_each(Peer::die);
        }
        if !self.peers.contains_key(name) {
            let runtime = Builder::new_multi_thread()
                .worker_threads(THREADS)
                // A peer may be called anything, a thread not.
                .thread_name(name.replace('\0', " "))
                .enable_all()
                .build();
            let runtime = runtime.map_err(|why| format!("no threads for another peer: {why}"))?;
            let seat = Arc::new(Mutex::new(Seat::Empty));
            self.peers.insert(name.to_owned(), Peer { runtime, seat });
        }
        self.peers.get(name).ok_or_else(|| "no such peer".to_owned())
    }
}

impl Peer {
    fn has_failed(&self) -> bool {
        matches!(*locked(&self.seat), Seat::Failed)
    }

    fn client(&self) -> Option<Arc<Client>> {
        match &*locked(&self.seat) {
            Seat::Taken(client) => Some(Arc::clone(client)),
            Seat::Empty | Seat::LoggingIn | Seat::Failed => None,
        }
    }

    /// Starts work. It is polled once before this returns, so that requests start in the order of
    /// their lines; whatever they say to the library by then is said in that order.
    fn start(&self, work: impl Future<Output = Answer> + Send + 'static, pending: Pending) {
        let mut work = Box::pin(async move { pending.answer(work.await) });
        let _runtime = self.runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        if work.as_mut().poll(&mut context).is_pending() {
            self.runtime.spawn(work);
        }
    }

    /// Ends all that it does: sockets close, nothing is said.
    fn die(self) {
        let Self { runtime, seat } = self;
        runtime.shutdown_background();
        // What is left of the client finds no runtime to say farewell in.
        *locked(&seat) = Seat::Empty;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
