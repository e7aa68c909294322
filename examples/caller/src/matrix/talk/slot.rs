//! Who hears, or sees, one remote track after the other: those of calls that take each other's place
//! are one sound and one film, in the recording too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matrix_voip::host::{Frame, FrameSink, Playout, RemoteTrack};
use matrix_voip_media::{Splice, Tee, Threaded};

/// Takes the first remote track of a kind, and when that is over the next.
#[derive(Clone)]
pub(crate) struct Slot(Arc<Mutex<Place>>);

/// The sinks, while no track has them.
struct Place {
    sinks: Option<Tee>,
    /// What the frames of the next track are added to.
    splice: Splice,
    closed: bool,
}

impl Slot {
    pub(crate) fn new(first: impl FrameSink + 'static) -> Self {
        let sinks = Some(Tee::new().and(first));
        let place = Place { sinks, splice: Splice::new(), closed: false };
        Self(Arc::new(Mutex::new(place)))
    }

    /// One more sink, while no track has come.
    pub(crate) fn join(&self, sink: impl FrameSink + 'static) {
        let mut place = self.place();
        place.sinks = place.sinks.take().map(|sinks| sinks.and(Threaded::new(sink)));
    }

    /// Takes no more tracks; the sinks are dropped as soon as no track has them.
    pub(crate) fn close(&self) {
        let mut place = self.place();
        place.closed = true;
        let sinks = place.sinks.take();
        drop(place);
        drop(sinks);
    }

    pub(crate) fn opener(&self) -> impl Fn(&RemoteTrack) -> Option<Box<dyn FrameSink>> + use<> {
        let slot = self.clone();
        move |_| slot.lend().map(|sink| Box::new(sink) as Box<dyn FrameSink>)
    }

    fn lend(&self) -> Option<Lent> {
        let mut place = self.place();
        let (sinks, mut splice) = (place.sinks.take()?, place.splice);
        splice.cut();
        Some(Lent { sinks: Some(sinks), slot: self.clone(), splice })
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sinks, while a track has them. Its frames are numbered as if they went on where those of the
/// track before have ended.
struct Lent {
    sinks: Option<Tee>,
    slot: Slot,
    splice: Splice,
}

impl FrameSink for Lent {
    fn push(&mut self, frame: Frame) {
        let frame = self.splice.join(frame);
        if let Some(sinks) = &mut self.sinks {
            sinks.push(frame);
        }
    }

    fn wants_key_frame(&mut self) -> bool {
        self.sinks.as_mut().is_some_and(FrameSink::wants_key_frame)
    }

    fn playout(&self) -> Option<Playout> {
        self.sinks.as_ref()?.playout()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut place = self.slot.place();
        if !place.closed {
            place.splice = self.splice;
            place.sinks = self.sinks.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use matrix_voip::host::Codec;

    use super::*;

    /// Keeps the numbers of what it is given.
    struct Numbers(Arc<Mutex<Vec<(u64, u64)>>>);

    impl FrameSink for Numbers {
        fn push(&mut self, frame: Frame) {
            self.0.lock().unwrap().push((frame.sequence.unwrap(), frame.timestamp));
        }
    }

    fn frame(sequence: u64, timestamp: u64) -> Frame {
        Frame { sequence: Some(sequence), ..Frame::new(Codec::Opus, timestamp, vec![0]) }
    }

    #[test]
    fn a_track_that_follows_another_goes_on_where_that_has_ended() {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let slot = Slot::new(Numbers(Arc::clone(&seen)));
        let mut first = slot.lend().unwrap();
        assert!(slot.lend().is_none(), "one at a time");
        first.push(frame(9, 5_000_000));
        first.push(frame(11, 5_000_960));
        drop(first);
        let mut second = slot.lend().unwrap();
        second.push(frame(3, 100));
        assert_eq!(*seen.lock().unwrap(), [(0, 0), (2, 960), (3, 961)]);
    }

    #[test]
    fn sinks_are_dropped_when_all_is_over_whoever_has_them() {
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let slot = Slot::new(Numbers(Arc::clone(&seen)));
        let track = slot.lend().unwrap();
        slot.close();
        drop(track);
        assert_eq!(Arc::strong_count(&seen), 1);
        assert!(slot.lend().is_none());
    }
}
