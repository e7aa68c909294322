//! The task of one captured track: source → gate → connections.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use matrix_voip::{
    host::{Codec, Frame, FrameSource, SourceControl},
    id::{PeerId, TrackId},
    machine::io::PeerNews,
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{Subscribers, lock, rate::Rate, timeline::Timeline};

/// An Opus packet that decodes to 20 ms of silence (RFC 6716: full-band CELT, one empty frame).
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// What a track sends while it is muted: silence in place of sound, nothing in place of a picture.
/// `None`: nothing.
pub fn gate(frame: Frame, is_enabled: bool) -> Option<Frame> {
    match (is_enabled, frame.codec) {
        (true, _) => Some(frame),
        (false, Codec::Opus) => {
            Some(Frame { data: OPUS_SILENCE.to_vec(), audio_level: Some(-127), ..frame })
        }
        (false, _) => None,
    }
}

/// The present, by which a new device's frames follow those of the old one.
fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a captured track is where time comes in")]
    Instant::now()
}

/// What a source is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    /// As it is.
    Control(SourceControl),
    /// The share of packets that this connection loses, 0 to 1.
    Loss(PeerId, f32),
}

/// What the task works with.
pub(super) struct Pump {
    pub(super) id: TrackId,
    pub(super) enabled: Arc<AtomicBool>,
    pub(super) subscribers: Subscribers,
    pub(super) timeline: Arc<Mutex<Timeline>>,
    pub(super) controls: mpsc::Receiver<Told>,
    pub(super) rate: Rate,
    /// What the source said last.
    pub(super) has_device: Arc<AtomicBool>,
}

impl Pump {
    /// Carries frames until the track is released or the source ends (or panics); begins when the
    /// pump before it has closed its device.
    pub(super) async fn run(
        mut self,
        mut source: Box<dyn FrameSource>,
        last: Option<JoinHandle<()>>,
    ) {
        if let Some(last) = last {
            // If its source panicked there is nothing left to wait for.
            drop(last.await);
        }
        loop {
            self.has_device.store(source.has_device(), Ordering::SeqCst);
            tokio::select! {
                biased;
                control = self.controls.recv() => match control {
                    Some(control) => self.tell(&mut *source, control),
                    // Released: no news, the machine knows.
                    None => return self.subscribers = Subscribers::default(),
                },
                frame = source.next() => match frame {
                    Some(frame) => self.forward(frame),
                    None => return,
                },
            }
        }
    }

    /// The source learns the worst loss of all its connections, and what the narrowest of them carries.
    fn tell(&mut self, source: &mut dyn FrameSource, told: Told) {
        let (peer, loss) = match told {
            Told::Control(control) => return source.control(control),
            Told::Loss(peer, loss) => (peer, loss),
        };
        let subscribers = lock(&self.subscribers);
        self.rate.keep(|peer| subscribers.of.contains_key(peer));
        drop(subscribers);
        let limit = self.rate.on_loss(peer, loss);
        source.control(SourceControl::Loss(self.rate.worst_loss()));
        if let Some(limit) = limit {
            source.control(SourceControl::Bitrate(limit));
        }
    }

    fn forward(&mut self, frame: Frame) {
        let now = clock();
        let timestamp = lock(&self.timeline).stamp(now, &frame);
        let frame = Frame { timestamp, ..frame };
        let Some(frame) = gate(frame, self.enabled.load(Ordering::SeqCst)) else { return };
        self.rate.on_sent(now, frame.data.len());
        let frame = Arc::new(frame);
        for subscriber in lock(&self.subscribers).of.values() {
            // A connection that cannot follow loses frames rather than delaying the others.
            drop(subscriber.frames.try_send((self.id, frame.clone())));
        }
    }
}

impl Drop for Pump {
    /// The source ended by itself, or its code panicked.
    fn drop(&mut self) {
        let mut subscribers = lock(&self.subscribers);
        subscribers.is_over = true;
        for subscriber in subscribers.of.values() {
            subscriber.events.report(PeerNews::TrackEnded(self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use matrix_voip::{
        host::Media,
        id::SessionId,
        machine::io::{Capture, MediaKind, MediaSource},
    };
    use testkit::studio::Studio;

    use super::*;

    #[tokio::test]
    async fn a_source_whose_packets_are_lost_learns_how_many_bits_the_way_carries() {
        let mut rate = Rate::new(MediaKind::Audio);
        // 100 bytes each 20 ms are 40 kbit/s.
        (0..=50).for_each(|n| rate.on_sent(clock() + Duration::from_millis(20 * n), 100));
        let (_, controls) = mpsc::channel(1);
        let mut pump = Pump {
            id: TrackId(1),
            enabled: Arc::default(),
            subscribers: Subscribers::default(),
            timeline: Arc::default(),
            controls,
            rate,
            has_device: Arc::default(),
        };
        let studio = Studio { hertz: 440.0, log: Arc::default() };
        let what = Capture::of(MediaSource::Microphone);
        let mut source = studio.capture(SessionId(1), TrackId(1), what).await.unwrap();
        pump.tell(&mut *source, Told::Control(SourceControl::KeyFrame));
        pump.tell(&mut *source, Told::Loss(PeerId(1), 0.5));
        let told = studio.log.controls.lock().unwrap();
        let [SourceControl::KeyFrame, SourceControl::Loss(0.5), SourceControl::Bitrate(limit)] =
            told[..]
        else {
            panic!("{told:?}")
        };
        assert!((29_000..31_000).contains(&limit), "{limit}");
    }

    #[test]
    fn a_muted_track_sends_silence_at_the_same_times_and_no_picture() {
        let sound = Frame::new(Codec::Opus, 960, vec![1, 2, 3, 4]);
        let muted = gate(sound.clone(), false).unwrap();
        assert_eq!((muted.timestamp, muted.data.as_slice()), (960, OPUS_SILENCE.as_slice()));
        assert_eq!(gate(sound.clone(), true), Some(sound));
        assert_eq!(gate(Frame::new(Codec::Vp8, 0, vec![1]), false), None);
    }
}
