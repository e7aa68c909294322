//! Keys of a terminal, as [`HELP`] names them; whom to transfer to is typed and ended by Return.
//! Where standard input is no terminal there are none, and Ctrl-C comes as a signal. Who has hung up and presses Ctrl-C again does not
//! want to wait: the process ends at once, with the terminal as before. A terminal that is closed
//! says so by a signal, often twice, and that hangs up too.

use std::{
    io::{IsTerminal, stdin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossterm::{
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    terminal::{disable_raw_mode, enable_raw_mode},
};
use matrix_voip_media::talk::DeviceKind;
use tokio::sync::mpsc;

use crate::matrix::say::show;

/// The keys, for the person.
pub(crate) const HELP: &str = "m: mute and unmute · h: hold · v: camera · s: screen · p: keep the picture · \
     b: picture here or not · 0-9 * #: tones \
     · t: transfer · f: follow a transfer · i: new path · e: explain · q: hang up";

/// The keys in a group call.
pub(crate) const GROUP_HELP: &str = "m: mute and unmute · h: hold · v: camera · s: screen · p: keep the pictures · \
     r: raise or lower your hand \
     · 1-5: react · w: who is there · e: explain · q: leave";

/// The keys where media is not ours.
pub(crate) const KEYS_ONLY_HELP: &str =
    "w: who is there · k: ask everybody for keys · e: explain · q: leave";

/// What the keys 1 to 5 show.
const REACTIONS: [&str; 5] = ["👍", "👏", "❤️", "😂", "🎉"];

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    ToggleMute,
    ToggleHold,
    ToggleCamera,
    ToggleScreen,
    /// Keep what is seen of the others.
    Snapshot,
    /// Show the other side's picture in the terminal, or no longer.
    TogglePicture,
    Tone(char),
    RestartIce,
    /// Call whom the other side asked us to call instead.
    Follow,
    /// Say what the call waits for.
    Explain,
    /// Say who is in the group call.
    Who,
    /// Ask who is in it for media keys.
    AskForKeys,
    /// Raise our hand there, or lower it.
    ToggleHand,
    /// Show this there for a moment.
    React(&'static str),
    /// The key to talk is held, or was let go.
    Push(bool),
    /// Another microphone or loudspeaker.
    NextDevice(DeviceKind),
    /// A user id is being typed, and is this so far; `None`: no longer.
    Typing(Option<String>),
    /// To this user.
    Transfer(String),
    HangUp,
}

/// What a key means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Press {
    Wish(Wish),
    /// As the signal of that name.
    Interrupt,
}

/// Where wishes go, from whichever thread.
#[derive(Debug, Clone)]
struct Teller {
    wishes: mpsc::UnboundedSender<Wish>,
    /// Hanging up was wished already.
    impatient: Arc<AtomicBool>,
}

impl Teller {
    fn tell(&self, wish: Wish) {
        if wish == Wish::HangUp {
            self.impatient.store(true, Ordering::Relaxed);
        }
        // Who does not listen any more is ending.
        let _ = self.wishes.send(wish);
    }

    /// A signal, or a key that stands for one: the first hangs up; after that, or when nobody
    /// listens, the process ends as it would without us. A closed terminal is not impatient: shell
    /// and system both tell of it.
    #[cfg(unix)]
    fn interrupt(&self, signal: i32) {
        if signal == signal_hook::consts::SIGHUP {
            return self.tell(Wish::HangUp);
        }
        if self.impatient.load(Ordering::Relaxed) || self.wishes.is_closed() {
            // Does nothing to a terminal that is not raw, or gone.
            drop(disable_raw_mode());
            drop(signal_hook::low_level::emulate_default_handler(signal));
        }
        self.tell(Wish::HangUp);
    }

    #[cfg(not(unix))]
    fn interrupt(&self, _signal: i32) {
        if self.impatient.load(Ordering::Relaxed) {
            drop(disable_raw_mode());
            std::process::exit(INTERRUPTED);
        }
        self.tell(Wish::HangUp);
    }
}

/// The signal of Ctrl-C.
#[cfg(unix)]
const INTERRUPT: i32 = signal_hook::consts::SIGINT;
#[cfg(not(unix))]
const INTERRUPT: i32 = 2;

/// The exit code of who was interrupted.
#[cfg(not(unix))]
const INTERRUPTED: i32 = 130;

/// Signals and, once they are read, keys. The terminal is as it was before when this is dropped.
#[derive(Debug)]
pub(crate) struct Keys {
    teller: Teller,
    wishes: mpsc::UnboundedReceiver<Wish>,
    raw: bool,
}

/// How often the reading thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

impl Keys {
    /// From now on Ctrl-C is a wish.
    pub(crate) fn signals() -> Self {
        let (tell, wishes) = mpsc::unbounded_channel();
        let teller = Teller { wishes: tell, impatient: Arc::default() };
        await_signals(teller.clone());
        Self { teller, wishes, raw: false }
    }

    /// Reads the keyboard too; whether there is one.
    pub(crate) fn read_keyboard(&mut self, keyboard: Keyboard) -> bool {
        if !self.raw && stdin().is_terminal() && enable_raw_mode().is_ok() {
            self.raw = true;
            let teller = self.teller.clone();
            thread::spawn(move || listen(&teller, keyboard));
        }
        self.raw
    }

    /// Whether there is a keyboard that is read.
    pub(crate) fn are_read(&self) -> bool {
        self.raw
    }

    /// Prints a line, as the terminal is now: a raw one wants a return with it.
    pub(crate) fn print(&self, line: impl std::fmt::Display) {
        let end = if self.raw { "\r\n" } else { "\n" };
        show(format_args!("{line}{end}"));
    }

    /// The next wish. Cancel safe.
    pub(crate) async fn next(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if self.raw {
            // Nothing can be done about a terminal that is gone.
            drop(disable_raw_mode());
        }
    }
}

#[cfg(unix)]
fn await_signals(teller: Teller) {
    use signal_hook::{
        consts::{SIGHUP, SIGINT, SIGTERM},
        iterator::Signals,
    };
    // Without handlers the process ends at the first signal.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    if !outlives_terminal() {
        // Without it the other side would hear of no end.
        drop(signals.add_signal(SIGHUP));
    }
    thread::spawn(move || signals.forever().for_each(|signal| teller.interrupt(signal)));
}

/// Whether it was started to go on without its terminal (`nohup`): what Linux says of it.
#[cfg(unix)]
fn outlives_terminal() -> bool {
    const HANGUP: u64 = 1 << (signal_hook::consts::SIGHUP - 1);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & HANGUP != 0)
}

#[cfg(not(unix))]
fn await_signals(_: Teller) {}

fn listen(teller: &Teller, mut keyboard: Keyboard) {
    while !teller.wishes.is_closed() {
        match event::poll(LOOK) {
            Ok(false) => {}
            Ok(true) => {
                if let Ok(Event::Key(key)) = event::read() {
                    match keyboard.press(key) {
                        Some(Press::Wish(wish)) => teller.tell(wish),
                        Some(Press::Interrupt) => teller.interrupt(INTERRUPT),
                        None => {}
                    }
                }
            }
            Err(_) => return,
        }
    }
}

/// What keys mean, which depends on what was pressed before.
#[derive(Debug)]
pub(crate) struct Keyboard {
    layout: Layout,
    /// A user id that is being typed.
    entry: Option<String>,
}

/// What keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Call,
    Group,
    KeysOnly,
}

/// The longest user id.
const MAX_USER_ID: usize = 255;

impl Keyboard {
    /// The keys that [`HELP`] names.
    pub(crate) const fn of_call() -> Self {
        Self { layout: Layout::Call, entry: None }
    }

    /// The keys that [`GROUP_HELP`] names.
    pub(crate) const fn of_group() -> Self {
        Self { layout: Layout::Group, entry: None }
    }

    /// The keys that [`KEYS_ONLY_HELP`] names.
    pub(crate) const fn of_keys_only() -> Self {
        Self { layout: Layout::KeysOnly, entry: None }
    }

    fn press(&mut self, key: KeyEvent) -> Option<Press> {
        if key.kind == KeyEventKind::Release {
            let is_push = key.code == KeyCode::Char(' ') && self.layout != Layout::KeysOnly;
            return is_push.then_some(Press::Wish(Wish::Push(false)));
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, &mut self.entry) {
            (KeyCode::Char('c'), _) if control => Some(Press::Interrupt),
            (KeyCode::Char('d'), _) if control => Some(Press::Wish(Wish::HangUp)),
            (code, Some(_)) => self.typed(code).map(Press::Wish),
            (KeyCode::Char('t'), None) if self.layout == Layout::Call => {
                self.entry = Some(String::new());
                Some(Press::Wish(Wish::Typing(self.entry.clone())))
            }
            (code, None) => wish(self.layout, code).map(Press::Wish),
        }
    }

    /// A key while a user id is typed.
    fn typed(&mut self, code: KeyCode) -> Option<Wish> {
        let entry = self.entry.as_mut()?;
        match code {
            KeyCode::Enter if !entry.is_empty() => {
                return self.entry.take().map(Wish::Transfer);
            }
            KeyCode::Enter | KeyCode::Esc => self.entry = None,
            KeyCode::Backspace => drop(entry.pop()),
            KeyCode::Char(letter) if entry.len() < MAX_USER_ID => entry.push(letter),
            _ => return None,
        }
        Some(Wish::Typing(self.entry.clone()))
    }
}

fn wish(layout: Layout, code: KeyCode) -> Option<Wish> {
    match (code, layout) {
        (KeyCode::Char('q') | KeyCode::Esc, _) => Some(Wish::HangUp),
        (code, Layout::KeysOnly) => wish_of_keys_only(code),
        (KeyCode::Char('m'), _) => Some(Wish::ToggleMute),
        (KeyCode::Char('h'), _) => Some(Wish::ToggleHold),
        (KeyCode::Char('v'), _) => Some(Wish::ToggleCamera),
        (KeyCode::Char('s'), _) => Some(Wish::ToggleScreen),
        (KeyCode::Char(' '), _) => Some(Wish::Push(true)),
        (KeyCode::Char('a'), _) => Some(Wish::NextDevice(DeviceKind::Microphone)),
        (KeyCode::Char('l'), _) => Some(Wish::NextDevice(DeviceKind::Speaker)),
        (KeyCode::Char('p'), _) => Some(Wish::Snapshot),
        (code, Layout::Call) => wish_of_call(code),
        (KeyCode::Char('w'), Layout::Group) => Some(Wish::Who),
        (KeyCode::Char('e'), Layout::Group) => Some(Wish::Explain),
        (KeyCode::Char('r'), Layout::Group) => Some(Wish::ToggleHand),
        (KeyCode::Char(digit @ '1'..='5'), Layout::Group) => reaction(digit).map(Wish::React),
        (_, Layout::Group) => None,
    }
}

fn reaction(digit: char) -> Option<&'static str> {
    let at = digit.to_digit(10)?.checked_sub(1)?;
    REACTIONS.get(usize::try_from(at).ok()?).copied()
}

/// What has a meaning without media of ours.
fn wish_of_keys_only(code: KeyCode) -> Option<Wish> {
    match code {
        KeyCode::Char('w') => Some(Wish::Who),
        KeyCode::Char('k') => Some(Wish::AskForKeys),
        KeyCode::Char('e') => Some(Wish::Explain),
        _ => None,
    }
}

/// What has a meaning between two alone.
fn wish_of_call(code: KeyCode) -> Option<Wish> {
    match code {
        KeyCode::Char('i') => Some(Wish::RestartIce),
        KeyCode::Char('f') => Some(Wish::Follow),
        KeyCode::Char('e') => Some(Wish::Explain),
        KeyCode::Char('b') => Some(Wish::TogglePicture),
        KeyCode::Char(tone @ ('0'..='9' | '*' | '#')) => Some(Wish::Tone(tone)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn a_closed_terminal_hangs_up_however_often_it_is_told() {
        use signal_hook::{consts::SIGHUP, low_level::raise};
        if outlives_terminal() {
            // These tests were started by nohup.
            return;
        }
        let mut keys = Keys::signals();
        for _ in 0..2 {
            raise(SIGHUP).unwrap();
            assert_eq!(keys.next().await, Wish::HangUp);
        }
    }

    fn pressed(keyboard: &mut Keyboard, code: KeyCode) -> Option<Press> {
        keyboard.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn control_c_is_an_interrupt_in_a_raw_terminal_too() {
        let mut keyboard = Keyboard::of_call();
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(keyboard.press(key), Some(Press::Interrupt));
        let mut key = |letter| pressed(&mut keyboard, KeyCode::Char(letter));
        assert_eq!(key('q'), Some(Press::Wish(Wish::HangUp)));
        assert_eq!(key('m'), Some(Press::Wish(Wish::ToggleMute)));
        assert_eq!(key('p'), Some(Press::Wish(Wish::Snapshot)));
        assert_eq!(key('b'), Some(Press::Wish(Wish::TogglePicture)));
        assert_eq!(key('#'), Some(Press::Wish(Wish::Tone('#'))));
        assert_eq!(key('c'), None);
    }

    #[test]
    fn in_a_group_call_nobody_is_transferred_and_one_can_ask_who_is_there() {
        let mut keyboard = Keyboard::of_group();
        let mut key = |letter| pressed(&mut keyboard, KeyCode::Char(letter));
        assert_eq!([key('t'), key('6'), key('i')], [None, None, None]);
        assert_eq!([key('b'), key('p')], [None, Some(Press::Wish(Wish::Snapshot))]);
        assert_eq!(key('1'), Some(Press::Wish(Wish::React("👍"))));
        assert_eq!(key('5'), Some(Press::Wish(Wish::React("🎉"))));
        assert_eq!(key('r'), Some(Press::Wish(Wish::ToggleHand)));
        assert_eq!(key('w'), Some(Press::Wish(Wish::Who)));
        assert_eq!(key('e'), Some(Press::Wish(Wish::Explain)));
        assert_eq!(key('m'), Some(Press::Wish(Wish::ToggleMute)));
        assert_eq!(key('q'), Some(Press::Wish(Wish::HangUp)));
    }

    #[test]
    fn whom_to_transfer_to_is_typed_and_keys_are_letters_meanwhile() {
        let mut keyboard = Keyboard::of_call();
        let so_far = |text: &str| Some(Press::Wish(Wish::Typing(Some(text.to_owned()))));
        for (letter, text) in [('t', ""), ('@', "@"), ('q', "@q"), (':', "@q:"), ('1', "@q:1")] {
            assert_eq!(pressed(&mut keyboard, KeyCode::Char(letter)), so_far(text));
        }
        assert_eq!(pressed(&mut keyboard, KeyCode::Backspace), so_far("@q:"));
        let transfer = Some(Press::Wish(Wish::Transfer("@q:".to_owned())));
        assert_eq!(pressed(&mut keyboard, KeyCode::Enter), transfer);
        assert_eq!(
            pressed(&mut keyboard, KeyCode::Char('s')),
            Some(Press::Wish(Wish::ToggleScreen))
        );
    }

    #[test]
    fn the_space_bar_is_told_when_it_is_held_and_when_it_is_let_go() {
        let mut keyboard = Keyboard::of_call();
        let space = |kind| KeyEvent::new_with_kind(KeyCode::Char(' '), KeyModifiers::NONE, kind);
        let pushed = |held| Some(Press::Wish(Wish::Push(held)));
        assert_eq!(keyboard.press(space(KeyEventKind::Press)), pushed(true));
        assert_eq!(keyboard.press(space(KeyEventKind::Repeat)), pushed(true));
        assert_eq!(keyboard.press(space(KeyEventKind::Release)), pushed(false));
        let other =
            KeyEvent::new_with_kind(KeyCode::Char('m'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(keyboard.press(other), None);
    }

    #[test]
    fn who_changes_his_mind_does_not_transfer_and_does_not_hang_up() {
        let mut keyboard = Keyboard::of_call();
        pressed(&mut keyboard, KeyCode::Char('t'));
        let left = Some(Press::Wish(Wish::Typing(None)));
        assert_eq!(pressed(&mut keyboard, KeyCode::Esc), left);
        pressed(&mut keyboard, KeyCode::Char('t'));
        assert_eq!(pressed(&mut keyboard, KeyCode::Enter), left);
    }
}
