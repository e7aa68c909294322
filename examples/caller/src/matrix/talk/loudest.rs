//! The loudest of several looks, for a line that is shown more seldom than is looked. Pure.

use matrix_voip_media::{Heard, Level};

/// The loudest of both sides since it was taken last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Loudest {
    heard: Heard,
    said: Option<Level>,
}

impl Loudest {
    /// One look: what is heard, and what our microphone hears, where it is a device.
    pub(super) fn look(&mut self, heard: Heard, said: Option<Level>) {
        if heard.level.rms > self.heard.level.rms {
            self.heard = heard;
        }
        if let Some(said) = said
            && self.said.is_none_or(|loudest| said.rms > loudest.rms)
        {
            self.said = Some(said);
        }
    }

    /// What was heard.
    pub(super) fn heard(&self) -> Heard {
        self.heard
    }

    /// What was said; `None`: it is no device's.
    pub(super) fn said(&self) -> Option<Level> {
        self.said
    }

    /// What was heard and said, and from now on it is looked anew.
    pub(super) fn take(&mut self) -> (Heard, Option<Level>) {
        let Self { heard, said } = std::mem::take(self);
        (heard, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(rms: f32) -> Level {
        Level { rms, peak: rms }
    }

    #[test]
    fn a_pause_between_two_words_empties_the_meter_of_neither_side() {
        let mut loudest = Loudest::default();
        for rms in [0.1, 0.4, 0.0] {
            loudest.look(Heard { level: level(rms), ..Heard::default() }, Some(level(rms / 2.0)));
        }
        let (heard, said) = loudest.take();
        assert_eq!((heard.level.rms, said.map(|said| said.rms)), (0.4, Some(0.2)));
        loudest.look(Heard::default(), Some(level(0.0)));
        let (heard, said) = loudest.take();
        assert_eq!((heard.level.rms, said.map(|said| said.rms)), (0.0, Some(0.0)));
    }

    #[test]
    fn without_a_microphone_there_is_nothing_to_show_of_what_is_said() {
        let mut loudest = Loudest::default();
        loudest.look(Heard::default(), None);
        assert_eq!(loudest.take().1, None);
    }
}
