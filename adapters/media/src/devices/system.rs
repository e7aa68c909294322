//! Asks the sound system, on threads of their own: it may take its time, it may hang, and what it opens is
//! closed where it was opened.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use cpal::{Host, Stream, traits::HostTrait};

use crate::talk::DeviceError;

/// Longest wait for an answer. A sound server that hangs is given up by cpal after 2 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// So many questions may be without an answer; then nothing is asked any more.
const MOST_UNANSWERED: usize = 4;

/// The name that cpal has for it.
const PULSEAUDIO: &str = "PulseAudio";

/// The sound system of this machine.
#[derive(Default)]
pub(super) struct System {
    /// A connection to a PulseAudio server, which would leave a thread behind if it were made anew each
    /// time. Other hosts are no more than a name.
    host: Option<Arc<Host>>,
    unanswered: Arc<AtomicUsize>,
}

/// What was found, and what keeps its stream open.
type Found<T> = Result<(T, Sender<()>), DeviceError>;

impl System {
    /// What `task` finds, and a value that keeps its stream open until it is dropped.
    ///
    /// # Errors
    /// That of `task`, or [`DeviceError::System`] where there is no answer.
    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&Host) -> Result<(T, Option<Stream>), DeviceError> + Send + 'static,
    ) -> Found<T> {
        let silent = || DeviceError::System("the sound system does not answer".into());
        if self.unanswered.load(Relaxed) >= MOST_UNANSWERED {
            return Err(silent());
        }
        let (answer, answered) = mpsc::channel();
        let known = self.host.clone();
        let question = Question::new(&self.unanswered);
        let work = move || {
            let (open, closed) = mpsc::channel();
            let (host, found) = answer_of(known, task);
            let (found, stream) = match found {
                Ok((found, stream)) => (Ok((found, open)), stream),
                Err(error) => (Err(error), None),
            };
            // Where nobody waits any more the answer is dropped here, and with it what keeps it open.
            drop(answer.send((host, found)));
            drop(question);
            hold(stream, &closed);
        };
        let system = |error: std::io::Error| DeviceError::System(error.to_string());
        thread::Builder::new().name("sound-card".into()).spawn(work).map_err(system)?;
        let (host, found) = answered.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => silent(),
            RecvTimeoutError::Disconnected => DeviceError::System("the sound system fails".into()),
        })?;
        self.host = host.filter(|host| host.id().name() == PULSEAUDIO);
        found
    }
}

/// Counts while it exists.
struct Question(Arc<AtomicUsize>);

impl Question {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count.clone())
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Does the task with the connection that is there, or a new one where that has ended.
fn answer_of<T>(
    known: Option<Arc<Host>>,
    task: impl FnOnce(&Host) -> Result<T, DeviceError>,
) -> (Option<Arc<Host>>, Result<T, DeviceError>) {
    let known = known.filter(|host| host.devices().is_ok());
    match known.map_or_else(|| connect().map(Arc::new), Ok) {
        Ok(host) => {
            let found = task(&host);
            (Some(host), found)
        }
        Err(error) => (None, Err(error)),
    }
}

/// Keeps a stream until whoever has it has dropped what keeps it open.
fn hold(stream: Option<Stream>, closed: &Receiver<()>) {
    if let Some(stream) = stream {
        let _ = closed.recv();
        drop(stream);
    }
}

/// PulseAudio where its server is there, since it lets several programs use one card; else the first
/// that works.
fn connect() -> Result<Host, DeviceError> {
    let mut hosts = cpal::available_hosts();
    hosts.sort_by_key(|host| host.name() != PULSEAUDIO);
    let mut none = DeviceError::System("there is no sound system".into());
    for host in hosts {
        match cpal::host_from_id(host) {
            Ok(host) => return Ok(host),
            Err(error) => none = DeviceError::System(error.to_string()),
        }
    }
    Err(none)
}
