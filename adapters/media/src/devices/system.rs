//! Asks the sound system, on threads of their own: it may take its time, it may hang, and what it opens is
//! closed where it was opened.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use cpal::{DeviceId, Host, Stream, traits::HostTrait};

use super::ring::Tally;
use crate::talk::DeviceError;

/// Longest wait for an answer. A sound server that hangs is given up by cpal after 2 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether an open device is still there.
const LOOK: Duration = Duration::from_millis(500);

/// So many questions may be without an answer; then nothing is asked any more.
const MOST_UNANSWERED: usize = 4;

/// The name that cpal has for it.
const PULSEAUDIO: &str = "PulseAudio";

/// Connections to PulseAudio that nobody uses, of the whole process. cpal's client does not close one
/// that is dropped (its thread waits for the server for ever), and a server takes few; so they are kept.
static IDLE: Mutex<Vec<Host>> = Mutex::new(Vec::new());

/// The sound system of this machine.
#[derive(Default)]
pub(super) struct System {
    unanswered: Arc<AtomicUsize>,
}

impl System {
    /// What `task` finds, and a value that keeps its stream open until it is dropped.
    ///
    /// # Errors
    /// That of `task`, or [`DeviceError::System`] where there is no answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Host) -> Result<(T, Option<Open>), DeviceError> + Send + 'static,
    ) -> Result<(T, Sender<()>), DeviceError> {
        let silent = || DeviceError::System("the sound system does not answer".into());
        if self.unanswered.load(Relaxed) >= MOST_UNANSWERED {
            return Err(silent());
        }
        let (answer, answered) = mpsc::channel();
        let question = Question::new(&self.unanswered);
        let work = move || {
            quiet();
            let (open, closed) = mpsc::channel();
            let (found, stream, connection) = match found_by(task) {
                Ok(((found, stream), connection)) => (Ok((found, open)), stream, Some(connection)),
                Err(error) => (Err(error), None, None),
            };
            // Where nobody waits any more the answer is dropped here, and with it what keeps it open.
            drop(answer.send(found));
            drop(question);
            if let (Some(stream), Some(connection)) = (stream, &connection) {
                stream.hold(connection, &closed);
            }
            // Only now: a client has trouble with two loudspeakers at a time.
            drop(connection);
        };
        let system = |error: std::io::Error| DeviceError::System(error.to_string());
        thread::Builder::new().name("sound-card".into()).spawn(work).map_err(system)?;
        answered.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => silent(),
            RecvTimeoutError::Disconnected => DeviceError::System("the sound system fails".into()),
        })?
    }
}

/// A stream, and what is to be known to watch over it.
pub(super) struct Open {
    pub(super) stream: Stream,
    pub(super) device: DeviceId,
    pub(super) tally: Arc<Tally>,
}

impl Open {
    /// Keeps it open until the other end of `closed` is dropped.
    ///
    /// A PulseAudio server moves the stream of a device that is unplugged to another one and tells
    /// nobody; with the last microphone gone, to what the loudspeaker plays, and the others would hear
    /// themselves.
    fn hold(self, connection: &Connection, closed: &Receiver<()>) {
        let is_there = || match &connection.0 {
            Some(host) if is_pulseaudio(host) => host.device_by_id(&self.device).is_some(),
            _ => true,
        };
        while closed.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            if !is_there() {
                // Where it has a fault already the first one stays.
                let _ = self.tally.fault.set("it was unplugged".into());
            }
        }
        drop(self.stream);
    }
}

fn is_pulseaudio(host: &Host) -> bool {
    host.id().name() == PULSEAUDIO
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

/// A connection in use. It is idle again when this is dropped.
struct Connection(Option<Host>);

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(host) = self.0.take().filter(is_pulseaudio) {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(host);
        }
    }
}

/// Does a task with an idle connection, or a new one.
fn found_by<T>(
    task: impl FnOnce(&Host) -> Result<T, DeviceError>,
) -> Result<(T, Connection), DeviceError> {
    let host = match idle() {
        Some(host) => host,
        None => connect()?,
    };
    let found = task(&host);
    let connection = Connection(Some(host));
    Ok((found?, connection))
}

/// An idle connection whose server is still there.
fn idle() -> Option<Host> {
    let next = || IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    std::iter::from_fn(next).find(|host| host.devices().is_ok())
}

/// On this thread ALSA says what it has to say by its errors alone, and not on standard error too.
fn quiet() {
    #[cfg(target_os = "linux")]
    let _ = alsa::Output::local_error_handler();
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
