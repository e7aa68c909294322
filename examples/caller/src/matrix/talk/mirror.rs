//! The other side's picture in the terminal, above the status line, where the terminal can.

use std::sync::{Arc, Weak};

use matrix_voip_media::{Picture, VideoView};

use super::{
    blocks::{self, Colours},
    line::StatusLine,
};

/// Looks of the conversation from one picture to the next: three times 80 ms are four a second.
const LOOKS_A_PICTURE: u32 = 3;

/// Shows what an eye sees.
#[derive(Debug)]
pub(super) struct Mirror {
    eye: VideoView,
    /// `None`: the terminal shows no pictures.
    colours: Option<Colours>,
    is_on: bool,
    looked: u32,
    /// What is shown, to draw nothing twice.
    shown: Weak<Picture>,
}

impl Mirror {
    /// On from the first picture, where standard output is a terminal with colours.
    pub(super) fn new(eye: VideoView, line: &StatusLine) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let colours = line.is_live().then(|| Colours::of(variable)).flatten();
        Self { eye, colours, is_on: true, looked: 0, shown: Weak::new() }
    }

    /// Belongs into each look.
    pub(super) fn look(&mut self, line: &StatusLine) {
        self.looked += 1;
        let Some(colours) = self.colours.filter(|_| self.is_on) else { return };
        if self.looked < LOOKS_A_PICTURE {
            return;
        }
        self.looked = 0;
        let Some(picture) = self.eye.picture() else { return };
        if !std::ptr::eq(self.shown.as_ptr(), Arc::as_ptr(&picture)) {
            self.shown = Arc::downgrade(&picture);
            line.picture(blocks::lines(&picture, line.room(), colours));
        }
    }

    /// Takes the picture away, or shows it again; what the person is told where that cannot be.
    pub(super) fn toggle(&mut self, line: &StatusLine) {
        if self.colours.is_none() {
            return line.print("this terminal shows no pictures");
        }
        self.is_on = !self.is_on;
        self.shown = Weak::new();
        if !self.is_on {
            line.picture(Vec::new());
        }
    }
}
