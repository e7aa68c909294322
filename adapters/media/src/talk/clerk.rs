//! Who opens devices for an audio thread, which never waits: the sound system may take seconds, or hang.
//!
//! Questions go to a thread of their own, that has the [`Devices`]; answers are taken at a turn of the audio
//! thread. One question after the other: what hangs holds up those behind it, and no sound. Devices that
//! never wait, a program's and a test's, answer at once.

use std::{
    collections::VecDeque,
    io,
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread,
};

use super::{
    device::{DeviceError, Devices, Player, Recorder, Which},
    wishes::ListReply,
};

/// Which opening of a device it is: the answer to one that is not wanted any more is dropped.
pub(super) type Ticket = u64;

/// What is asked.
pub(super) enum Question {
    Recorder(Ticket, Which),
    Player(Ticket, Which),
    List(ListReply),
}

/// What came of it.
pub(super) enum Answer {
    Recorder(Ticket, Result<Box<dyn Recorder>, DeviceError>),
    Player(Ticket, Result<Box<dyn Player>, DeviceError>),
}

/// Answers questions, at once or later.
pub(super) trait Clerk: Send {
    /// Never waits. Where nobody has the devices any more [`next`](Self::next) says so, and who asked for a list
    /// finds that no reply will come.
    fn ask(&mut self, question: Question);

    /// The next answer that is there.
    ///
    /// # Errors
    /// There will be none any more: who had the devices has panicked.
    fn next(&mut self) -> Result<Option<Answer>, DeviceError>;
}

/// What is said where there is nobody any more who could open or list devices.
pub(super) fn unattended() -> DeviceError {
    DeviceError::System("nobody attends to the devices any more".into())
}

/// A thread that has the devices.
pub(super) struct ClerkThread {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl ClerkThread {
    /// Starts it. It ends with this value, as soon as it has answered; each answer wakes the audio thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        mut devices: impl Devices + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (told, answers) = mpsc::channel();
        let work = move || {
            for question in asked {
                let Some(answer) = answer(&mut devices, question) else { continue };
                if told.send(answer).is_err() {
                    return;
                }
                wake();
            }
        };
        thread::Builder::new().name("audio-devices".into()).spawn(work)?;
        Ok(Self { questions, answers })
    }
}

impl Clerk for ClerkThread {
    fn ask(&mut self, question: Question) {
        // Where nobody takes it any more, `next` says so, and who waits for a list learns it.
        drop(self.questions.send(question));
    }

    fn next(&mut self) -> Result<Option<Answer>, DeviceError> {
        match self.answers.try_recv() {
            Ok(answer) => Ok(Some(answer)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(unattended()),
        }
    }
}

/// Asks the devices, however long it takes.
fn answer(devices: &mut dyn Devices, question: Question) -> Option<Answer> {
    match question {
        Question::Recorder(ticket, which) => {
            Some(Answer::Recorder(ticket, devices.open_recorder(&which)))
        }
        Question::Player(ticket, which) => {
            Some(Answer::Player(ticket, devices.open_player(&which)))
        }
        Question::List(reply) => {
            // Whoever asked may have gone.
            drop(reply.send(devices.list()));
            None
        }
    }
}

/// Answers at once, on the audio thread: for devices that never wait.
pub(super) struct Prompt<D> {
    devices: D,
    answers: VecDeque<Answer>,
}

impl<D: Devices> Prompt<D> {
    pub(super) fn new(devices: D) -> Self {
        Self { devices, answers: VecDeque::new() }
    }
}

impl<D: Devices> Clerk for Prompt<D> {
    fn ask(&mut self, question: Question) {
        self.answers.extend(answer(&mut self.devices, question));
    }

    fn next(&mut self) -> Result<Option<Answer>, DeviceError> {
        Ok(self.answers.pop_front())
    }
}
