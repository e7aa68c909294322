//! Key frames that a sink asks for, and whether and how soon they come.

use std::time::Duration;

/// How requests for key frames were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyFrameAnswers {
    /// Requests; asking again for what has not come yet is the same one.
    pub asked: u64,
    /// Of `asked`: those after which a picture was shown from a key frame.
    pub answered: u64,
    /// How long that took the last time: from the frame that showed the need to the key frame.
    pub last: Option<Duration>,
    /// How long it took at most.
    pub longest: Option<Duration>,
}

/// Watches one sink's requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AskWatch {
    /// Since when a key frame is wanted, while one is.
    since: Option<Duration>,
    answers: KeyFrameAnswers,
}

impl AskWatch {
    /// One is asked for, at that time, perhaps again.
    pub(super) fn asked(&mut self, at: Duration) -> KeyFrameAnswers {
        if self.since.is_none() {
            self.since = Some(at);
            self.answers.asked += 1;
        }
        self.answers
    }

    /// A picture is shown again.
    pub(super) fn healed(&mut self, at: Duration) -> KeyFrameAnswers {
        if let Some(since) = self.since.take() {
            let took = at.saturating_sub(since);
            self.answers.answered += 1;
            self.answers.last = Some(took);
            self.answers.longest = self.answers.longest.max(Some(took));
        }
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn asking_again_is_one_request_and_the_key_frame_answers_it_once() {
        let mut watch = AskWatch::default();
        watch.asked(100 * MS);
        watch.asked(200 * MS);
        let waiting = watch.asked(300 * MS);
        assert_eq!((waiting.asked, waiting.answered, waiting.last), (1, 0, None));
        watch.healed(450 * MS);
        watch.healed(550 * MS);
        watch.asked(600 * MS);
        let twice = watch.healed(700 * MS);
        assert_eq!((twice.asked, twice.answered), (2, 2));
        assert_eq!((twice.last, twice.longest), (Some(100 * MS), Some(350 * MS)));
    }

    #[test]
    fn a_key_frame_that_nobody_asked_for_answers_nothing() {
        let mut watch = AskWatch::default();
        assert_eq!(watch.healed(5 * MS), KeyFrameAnswers::default());
    }
}
