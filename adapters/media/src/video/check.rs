//! The judge of a remote picture: decodes it, reads the test picture's number, keeps the score.
//!
//! After a lost frame nothing decodes rightly before the next key frame: the sink asks for one and
//! shows nothing until then.
//!
//! Times are those at which the engine got the frames ([`Frame::arrival`]), whenever the sink itself
//! works; where frames have none (a file), their media time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use matrix_voip::host::{Codec, Frame, FrameSink};

use super::{
    ask::{AskWatch, KeyFrameAnswers},
    freeze::{FreezeWatch, Freezes},
    picture::{Picture, PictureSize},
    vp8::{Decoded, Decoder},
};

/// What was seen on a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VideoReport {
    /// Pictures shown.
    pub shown: u64,
    /// Frames that could not be decoded, and those that were not tried for want of a key frame.
    pub undecodable: u64,
    /// Of `shown`: pictures with a readable number.
    pub numbered: u64,
    /// Numbers that were left out between the first and the last one that was read: pictures that
    /// were made and not shown.
    pub missing: u64,
    /// The number that was read last.
    pub last_number: Option<u16>,
    /// Width and height of the last picture, in pixels.
    pub size: Option<(u32, u32)>,
    /// How often a key frame was asked for, every repetition counted.
    pub key_frames_wanted: u64,
    /// How those requests were answered.
    pub key_frames: KeyFrameAnswers,
    /// How often and how long the picture stood still.
    pub freezes: Freezes,
}

/// Decodes and checks a remote track. Decoding takes about a millisecond for each picture of
/// 320 x 240: larger ones belong into a [`Threaded`](crate::Threaded).
#[derive(Debug)]
pub struct VideoCheck {
    decoder: Decoder,
    state: State,
    report: VideoReport,
    freezes: FreezeWatch,
    asks: AskWatch,
    /// The time of the last frame, on the clock of the track.
    now: Duration,
    view: Arc<Mutex<Seen>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Decoding,
    NeedsKeyFrame,
}

/// What the sink lets others see.
#[derive(Debug, Default)]
struct Seen {
    report: VideoReport,
    picture: Option<Arc<Picture>>,
}

/// Reads the report of a [`VideoCheck`] while the engine holds the sink, and after it.
#[derive(Debug, Clone)]
pub struct VideoView(Arc<Mutex<Seen>>);

impl VideoView {
    /// What was seen so far.
    pub fn report(&self) -> VideoReport {
        self.seen().report
    }

    /// The picture that was shown last, as long as none follows it; `None` before the first. Nobody
    /// copies it: keep it as briefly as you need it.
    pub fn picture(&self) -> Option<Arc<Picture>> {
        self.seen().picture.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VideoCheck {
    /// A sink, and the view of it.
    pub fn new() -> (Self, VideoView) {
        let view = Arc::<Mutex<Seen>>::default();
        let sink = Self {
            decoder: Decoder::new(),
            state: State::NeedsKeyFrame,
            report: VideoReport::default(),
            freezes: FreezeWatch::default(),
            asks: AskWatch::default(),
            now: Duration::ZERO,
            view: Arc::clone(&view),
        };
        (sink, VideoView(view))
    }

    /// The picture to be shown, if the frame gives one.
    fn decode(&mut self, frame: &Frame) -> Option<Picture> {
        if frame.codec != Codec::Vp8 || self.lacks_key_frame(frame) {
            self.report.undecodable += 1;
            return None;
        }
        match self.decoder.decode(&frame.data) {
            Ok(Decoded::Shown(picture)) => {
                self.show(&picture);
                Some(picture)
            }
            Ok(Decoded::Hidden) => {
                self.state = State::Decoding;
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a picture not decoded");
                self.report.undecodable += 1;
                self.state = State::NeedsKeyFrame;
                None
            }
        }
    }

    fn lacks_key_frame(&mut self, frame: &Frame) -> bool {
        if frame.key_frame {
            return false;
        }
        if !frame.contiguous {
            self.state = State::NeedsKeyFrame;
        }
        self.state == State::NeedsKeyFrame
    }

    fn show(&mut self, picture: &Picture) {
        self.state = State::Decoding;
        self.report.key_frames = self.asks.healed(self.now);
        self.report.shown += 1;
        self.report.size = Some(PictureSize::pixels(picture.size()));
        if let Some(number) = picture.number() {
            self.report.missing += self.report.last_number.map_or(0, |last| between(last, number));
            self.report.numbered += 1;
            self.report.last_number = Some(number);
        }
    }
}

/// How many numbers lie between two; none when the second is not the later one.
fn between(last: u16, number: u16) -> u64 {
    let step = number.wrapping_sub(last);
    if step > u16::MAX / 2 { 0 } else { u64::from(step.saturating_sub(1)) }
}

impl FrameSink for VideoCheck {
    fn push(&mut self, frame: Frame) {
        self.now = time_of(&frame);
        let picture = self.decode(&frame);
        self.report.freezes = match picture {
            Some(_) => self.freezes.shown(self.now),
            None => self.freezes.still(self.now),
        };
        let mut seen = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        seen.report = self.report;
        // The one before is freed when nobody waits for the lock.
        let before = picture.and_then(|picture| seen.picture.replace(Arc::new(picture)));
        drop(seen);
        drop(before);
    }

    fn wants_key_frame(&mut self) -> bool {
        let wanted = self.state == State::NeedsKeyFrame;
        if wanted {
            self.report.key_frames_wanted += 1;
            self.report.key_frames = self.asks.asked(self.now);
            self.view.lock().unwrap_or_else(PoisonError::into_inner).report = self.report;
        }
        wanted
    }
}

/// When a frame came; where that is not known, when it was made.
fn time_of(frame: &Frame) -> Duration {
    let rate = u64::from(frame.codec.clock_rate());
    frame.arrival.unwrap_or_else(|| {
        let rest = frame.timestamp % rate * 1_000_000_000 / rate;
        Duration::from_secs(frame.timestamp / rate) + Duration::from_nanos(rest)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        source::{Made, Script},
        testkit::{FILM, film},
        video::picture::TestPicture,
    };
    use matrix_voip::host::SourceControl;

    fn small() -> TestPicture {
        TestPicture::sized(PictureSize::new(160, 64), 10)
    }

    fn next(script: &mut TestPicture) -> Frame {
        match script.make() {
            Made::Frame(frame) => frame,
            Made::Skipped => panic!("not encoded"),
        }
    }

    #[test]
    fn a_whole_stream_is_shown_without_a_gap() {
        let (mut sink, view) = VideoCheck::new();
        let mut script = small();
        for _ in 0..20 {
            sink.push(next(&mut script));
            assert!(!sink.wants_key_frame());
        }
        let expected = VideoReport {
            shown: 20,
            numbered: 20,
            last_number: Some(19),
            size: Some((160, 64)),
            ..VideoReport::default()
        };
        assert_eq!(view.report(), expected);
    }

    #[test]
    fn after_a_lost_frame_a_key_frame_is_asked_for_and_heals_it() {
        let (mut sink, view) = VideoCheck::new();
        let mut script = small();
        sink.push(next(&mut script));
        next(&mut script);
        sink.push(Frame { contiguous: false, ..next(&mut script) });
        assert!(sink.wants_key_frame());
        sink.push(next(&mut script));
        assert!(sink.wants_key_frame(), "asked again until it comes");
        script.control(SourceControl::KeyFrame);
        sink.push(next(&mut script));
        assert!(!sink.wants_key_frame());
        let report = view.report();
        assert_eq!((report.shown, report.undecodable, report.missing), (2, 2, 3));
        assert_eq!(report.last_number, Some(4));
        // Ten pictures a second, by their media time.
        let answer = report.key_frames;
        assert_eq!((report.key_frames_wanted, answer.asked, answer.answered), (2, 1, 1));
        assert_eq!(answer.longest, Some(Duration::from_millis(200)));
    }

    #[test]
    fn what_comes_late_freezes_the_picture_by_the_engines_clock_and_not_by_media_time() {
        let (mut sink, view) = VideoCheck::new();
        let mut script = small();
        let ms = Duration::from_millis;
        for n in 0..10 {
            sink.push(Frame { arrival: Some(ms(7_000 + 100 * n)), ..next(&mut script) });
        }
        assert_eq!(view.report().freezes, Freezes::default());
        sink.push(Frame { arrival: Some(ms(8_600)), ..next(&mut script) });
        assert_eq!(view.report().freezes, Freezes { count: 1, total: ms(700) });
    }

    #[test]
    fn a_picture_that_waits_for_a_key_frame_stands_still() {
        let (mut sink, view) = VideoCheck::new();
        let mut script = small();
        (0..10).for_each(|_| sink.push(next(&mut script)));
        sink.push(Frame { contiguous: false, ..next(&mut script) });
        (0..4).for_each(|_| sink.push(next(&mut script)));
        assert_eq!(view.report().freezes, Freezes { count: 1, total: Duration::from_millis(500) });
        assert_eq!(view.report().shown, 10);
    }

    #[test]
    fn the_last_picture_can_be_had_while_the_next_does_not_decode_and_after_the_call() {
        let (mut sink, view) = VideoCheck::new();
        let mut script = small();
        assert_eq!(view.picture(), None);
        sink.push(next(&mut script));
        let first = view.picture().unwrap();
        sink.push(next(&mut script));
        sink.push(Frame { contiguous: false, ..next(&mut script) });
        drop(sink);
        let second = view.picture().unwrap();
        assert_eq!((first.number(), second.number()), (Some(0), Some(1)));
    }

    #[test]
    fn a_stream_that_begins_in_the_middle_waits_for_a_key_frame() {
        let (mut sink, view) = VideoCheck::new();
        let mut script = small();
        next(&mut script);
        sink.push(next(&mut script));
        assert!(sink.wants_key_frame());
        assert_eq!(view.report().shown, 0);
    }

    #[test]
    fn an_enormous_picture_is_refused_before_it_is_made() {
        let (mut sink, view) = VideoCheck::new();
        let mut frame = next(&mut small());
        frame.data[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
        sink.push(frame);
        assert!(sink.wants_key_frame());
        assert_eq!(view.report().undecodable, 1);
    }

    proptest! {
        #[test]
        fn mutated_frames_do_not_panic(
            changes in proptest::collection::vec((any::<u16>(), any::<u8>(), any::<bool>()), 1..FILM)
        ) {
            let (mut sink, view) = VideoCheck::new();
            for ((at, value, cut), mut frame) in changes.into_iter().zip(film(FILM)) {
                let at = usize::from(at) % frame.data.len();
                frame.data[at] = value;
                if cut {
                    frame.data.truncate(at);
                }
                frame.key_frame = crate::video::vp8::is_key_frame(&frame.data);
                sink.push(frame);
                sink.wants_key_frame();
            }
            let report = view.report();
            prop_assert!(report.shown + report.undecodable > 0);
        }
    }
}
