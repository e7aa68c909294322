//! Keys of a terminal: `m` mutes and unmutes, `q` hangs up. Where standard input is no terminal
//! there are none, and Ctrl-C comes as a signal.

use std::{
    io::{IsTerminal, stdin},
    thread,
    time::Duration,
};

use crossterm::{
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    terminal::{disable_raw_mode, enable_raw_mode},
};
use tokio::sync::mpsc;

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    ToggleMute,
    HangUp,
}

/// Signals and, once they are read, keys. The terminal is as it was before when this is dropped.
#[derive(Debug)]
pub(crate) struct Keys {
    tell: mpsc::UnboundedSender<Wish>,
    wishes: mpsc::UnboundedReceiver<Wish>,
    raw: bool,
}

/// How often the reading thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

impl Keys {
    /// From now on Ctrl-C is a wish.
    pub(crate) fn signals() -> Self {
        let (tell, wishes) = mpsc::unbounded_channel();
        let signals = tell.clone();
        thread::spawn(move || await_signals(&signals));
        Self { tell, wishes, raw: false }
    }

    /// Reads the keyboard too; whether there is one.
    pub(crate) fn read_keyboard(&mut self) -> bool {
        if !self.raw && stdin().is_terminal() && enable_raw_mode().is_ok() {
            self.raw = true;
            let wishes = self.tell.clone();
            thread::spawn(move || listen(&wishes));
        }
        self.raw
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

/// The first one hangs up; the second ends the process, as it would without us.
#[cfg(unix)]
fn await_signals(wishes: &mpsc::UnboundedSender<Wish>) {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
        low_level::emulate_default_handler,
    };
    // Without handlers the process ends at the first signal.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    let mut signals = signals.forever();
    signals.next();
    if wishes.send(Wish::HangUp).is_ok()
        && let Some(signal) = signals.next()
    {
        drop(emulate_default_handler(signal));
    }
}

#[cfg(not(unix))]
fn await_signals(_: &mpsc::UnboundedSender<Wish>) {}

fn listen(wishes: &mpsc::UnboundedSender<Wish>) {
    while !wishes.is_closed() {
        match event::poll(LOOK) {
            Ok(false) => {}
            Ok(true) => {
                if let Ok(Event::Key(key)) = event::read()
                    && let Some(wish) = wish(key)
                {
                    // A closed channel ends the loop.
                    let _ = wishes.send(wish);
                }
            }
            Err(_) => return,
        }
    }
}

fn wish(key: KeyEvent) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c' | 'd') if control => Some(Wish::HangUp),
        KeyCode::Char('q' | 'h') | KeyCode::Esc => Some(Wish::HangUp),
        KeyCode::Char('m') => Some(Wish::ToggleMute),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_c_hangs_up_in_a_raw_terminal_too() {
        let key = |letter, modifiers| wish(KeyEvent::new(KeyCode::Char(letter), modifiers));
        assert_eq!(key('c', KeyModifiers::CONTROL), Some(Wish::HangUp));
        assert_eq!(key('q', KeyModifiers::NONE), Some(Wish::HangUp));
        assert_eq!(key('m', KeyModifiers::NONE), Some(Wish::ToggleMute));
        assert_eq!(key('c', KeyModifiers::NONE), None);
    }
}
