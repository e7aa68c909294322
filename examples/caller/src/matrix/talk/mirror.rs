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
    pub(super) fn toggle(&mut self, line: &StatusLine) -> Result<(), &'static str> {
        if self.colours.is_none() {
            return Err("this terminal shows no pictures");
        }
        if self.eye.picture().is_none() {
            return Err("no picture came yet");
        }
        self.is_on = !self.is_on;
        self.shown = Weak::new();
        if !self.is_on {
            line.picture(Vec::new());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip_media::VideoCheck;

    use super::*;

    #[test]
    fn before_the_first_picture_its_key_says_that_none_came_and_changes_nothing() {
        let (line, (_seen, eye)) = (StatusLine::new(), VideoCheck::new());
        let mut mirror = Mirror { colours: Some(Colours::Full), ..Mirror::new(eye, &line) };
        assert_eq!(mirror.toggle(&line), Err("no picture came yet"));
        assert!(mirror.is_on);
        mirror.colours = None;
        assert_eq!(mirror.toggle(&line), Err("this terminal shows no pictures"));
    }
}
