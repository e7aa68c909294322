//! What passes between an audio thread and an engine, each way in a queue of its own: packets that are
//! to be sent, and packets that came. Both are short, and lose the oldest: what is late is of no use.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use matrix_voip::host::{Frame, Playout, PlayoutOutput, SourceControl};
use tokio::sync::Notify;

/// Most packets that wait to be sent: 200 ms.
pub const MAX_UNSENT: usize = 10;

/// Most packets of one voice that wait for the audio thread: more than a second of 20 ms.
pub const MAX_ARRIVED: usize = 64;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Packets of the microphone for one engine's source.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    inside: Mutex<Leaving>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Leaving {
    packets: VecDeque<Frame>,
    way: Way,
    is_missing: bool,
    is_over: bool,
}

/// What the engine says about the way out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Way {
    pub(super) is_muted: bool,
    /// Bits per second.
    pub(super) bitrate: Option<u64>,
    /// 0 to 1.
    pub(super) loss: f32,
}

impl Outbox {
    /// Adds a packet; the one that was given up for it, since nobody took it in time.
    pub(super) fn put(&self, packet: Frame) -> Option<Frame> {
        let mut inside = lock(&self.inside);
        let untaken =
            if inside.packets.len() == MAX_UNSENT { inside.packets.pop_front() } else { None };
        inside.packets.push_back(packet);
        drop(inside);
        self.filled.notify_one();
        untaken
    }

    /// The oldest packet, as soon as there is one. `None`: there will be no more. Cancel safe.
    pub(super) async fn next(&self) -> Option<Frame> {
        loop {
            {
                let mut inside = lock(&self.inside);
                if let Some(packet) = inside.packets.pop_front() {
                    return Some(packet);
                }
                if inside.is_over {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    pub(super) fn control(&self, control: SourceControl) {
        let way = &mut lock(&self.inside).way;
        match control {
            SourceControl::Enabled(on) => way.is_muted = !on,
            SourceControl::Bitrate(limit) => way.bitrate = Some(limit),
            SourceControl::Loss(share) => way.loss = share,
            _ => {}
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        lock(&self.inside).is_missing
    }

    pub(super) fn way(&self) -> Way {
        lock(&self.inside).way
    }

    /// Whether there is no microphone for now.
    pub(super) fn tell(&self, is_missing: bool) {
        lock(&self.inside).is_missing = is_missing;
    }

    /// There will be no more: what waits is sent still.
    pub(super) fn end(&self) {
        lock(&self.inside).is_over = true;
        self.filled.notify_one();
    }
}

/// Packets of one voice, for the audio thread.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Arriving>);

#[derive(Debug, Default)]
struct Arriving {
    packets: VecDeque<(Duration, Frame)>,
    overrun: u64,
    playout: Playout,
}

impl Inbox {
    /// All that came, into `packets`; how many were lost here since nobody asked, since the beginning.
    pub(super) fn take(&self, packets: &mut VecDeque<(Duration, Frame)>) -> u64 {
        let mut inside = lock(&self.0);
        packets.append(&mut inside.packets);
        inside.overrun
    }

    pub(super) fn playout(&self) -> Playout {
        lock(&self.0).playout
    }

    pub(super) fn tell(&self, playout: Playout) {
        lock(&self.0).playout = playout;
    }

    /// Nobody plays it any more.
    pub(super) fn end(&self) {
        lock(&self.0).playout.output = PlayoutOutput::NoDevice;
    }

    pub(super) fn put(&self, arrival: Duration, packet: Frame) {
        let mut inside = lock(&self.0);
        if inside.packets.len() == MAX_ARRIVED {
            inside.packets.pop_front();
            inside.overrun += 1;
        }
        inside.packets.push_back((arrival, packet));
    }
}
