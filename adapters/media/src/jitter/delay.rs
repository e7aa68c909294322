//! How long sound waits before it is played: as long as the late packets of the last seconds were
//! late, and no longer.
//!
//! A packet's lateness is its way through the network, less the shortest way seen lately. The wait is
//! what [`SHARE_IN_TIME`] of the packets needed, and one packet more. It rises at once, for what
//! comes late now is lost now, and falls slowly.

use std::collections::VecDeque;

use super::clock::{Samples, millis};

/// Share of packets that are to be there in time; the others are concealed.
const SHARE_IN_TIME: f64 = 0.97;

/// How far back is looked: ten seconds.
const WINDOW: Samples = millis(10_000);

/// Most packets that are looked at: ten seconds of packets of 20 ms.
const MAX_SEEN: usize = 500;

/// Packets of the last second. If even the fastest of them came later than can be waited for, the way has
/// changed, and those before say nothing any more.
const RECENT: usize = 50;

/// Fewer packets say nothing yet.
const MIN_SEEN: usize = 5;

/// The wait before anything was measured.
const FIRST: Samples = millis(40);

/// Shortest wait: one packet of 20 ms, since a packet is decoded when its first sample is due.
pub(super) const SHORTEST: Samples = millis(20);

/// Longest wait: beyond it people talk into each other, and losses are the lesser evil.
pub(super) const LONGEST: Samples = millis(400);

/// Share of the difference by which the wait falls with each packet: half of it in 70 packets.
const FALL: f64 = 0.01;

/// One packet on its way: when it came, and how much later than its time stamp says.
#[derive(Debug, Clone, Copy)]
struct Way {
    arrival: Samples,
    length: Samples,
}

/// Measures the ways of packets and says how long to wait.
#[derive(Debug)]
pub(super) struct Delay {
    ways: VecDeque<Way>,
    wait: f64,
    /// For the quantile, kept so that nothing is allocated per packet.
    sorted: Vec<Samples>,
}

impl Delay {
    pub(super) fn new() -> Self {
        let (ways, sorted) = (VecDeque::with_capacity(MAX_SEEN), Vec::with_capacity(MAX_SEEN));
        Self { ways, wait: FIRST as f64, sorted }
    }

    /// How long sound waits.
    pub(super) fn wait(&self) -> Samples {
        self.wait as Samples
    }

    /// A packet of that time stamp came.
    pub(super) fn saw(&mut self, timestamp: Samples, arrival: Samples) {
        self.ways.push_back(Way { arrival, length: arrival - timestamp });
        let is_old = |way: &Way| arrival - way.arrival > WINDOW;
        while self.ways.len() > MAX_SEEN || self.ways.front().is_some_and(is_old) {
            self.ways.pop_front();
        }
        self.forget_another_way();
        let Some(wanted) = self.wanted() else { return };
        if wanted > self.wait {
            self.wait = wanted;
        } else {
            self.wait += (wanted - self.wait) * FALL;
        }
    }

    /// When a packet of that time stamp is to be played.
    pub(super) fn due(&self, timestamp: Samples) -> Option<Samples> {
        Some(timestamp + self.shortest()? + self.wait())
    }

    /// The shortest way of those that are looked at.
    fn shortest(&self) -> Option<Samples> {
        self.ways.iter().map(|way| way.length).min()
    }

    fn forget_another_way(&mut self) {
        let Some(before) = self.ways.len().checked_sub(RECENT) else { return };
        let recent = self.ways.range(before..).map(|way| way.length).min();
        let longer = recent.zip(self.shortest()).map(|(recent, shortest)| recent - shortest);
        if longer.is_some_and(|longer| longer + SHORTEST > LONGEST) {
            self.ways.drain(..before);
        }
    }

    fn wanted(&mut self) -> Option<f64> {
        if self.ways.len() < MIN_SEEN {
            return None;
        }
        let shortest = self.shortest()?;
        self.sorted.clear();
        self.sorted.extend(self.ways.iter().map(|way| way.length - shortest));
        let place = ((self.sorted.len() - 1) as f64 * SHARE_IN_TIME) as usize;
        let (_, late, _) = self.sorted.select_nth_unstable(place);
        Some((*late + SHORTEST).clamp(SHORTEST, LONGEST) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Samples = millis(20);

    /// The wait after packets that were late by so much, one after the other.
    fn wait_after(late: impl IntoIterator<Item = Samples>) -> Samples {
        let mut delay = Delay::new();
        for (n, late) in late.into_iter().enumerate() {
            let sent = n as Samples * PACKET;
            delay.saw(sent, sent + millis(50) + late);
        }
        delay.wait()
    }

    #[test]
    fn a_steady_network_needs_one_packet() {
        assert_eq!(wait_after([0; 2]), FIRST, "nothing is known yet");
        let settled = wait_after([0; 1_000]);
        assert!((SHORTEST..SHORTEST + 48).contains(&settled), "{settled}");
    }

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let stalls = |n: usize| if n % 20 < 2 { millis(120) } else { 0 };
        let stalled = wait_after((0..100).map(stalls));
        assert_eq!(stalled, millis(140));
        let second_after = wait_after((0..150).map(|n| if n < 100 { stalls(n) } else { 0 }));
        assert_eq!(second_after, millis(140), "they are in the window still");
        let long_after = wait_after((0..1_000).map(|n| if n < 100 { stalls(n) } else { 0 }));
        assert!(long_after < millis(30), "{long_after}");
    }

    #[test]
    fn a_way_that_gets_much_longer_is_the_way_after_a_second() {
        let longer = |n: i64| if n < 100 { 0 } else { millis(450) } + n % 4 * millis(20);
        assert_eq!(wait_after((0..140).map(longer)), LONGEST);
        let mut delay = Delay::new();
        for n in 0..150 {
            let sent = n * PACKET;
            delay.saw(sent, sent + millis(50) + longer(n));
        }
        assert_eq!(delay.shortest(), Some(millis(500)), "a second after");
    }

    #[test]
    fn nothing_makes_it_leave_its_bounds() {
        assert_eq!(wait_after((0..200).map(|n| n * millis(500))), LONGEST);
        assert!(wait_after((0..2_000).map(|n| -n * millis(15))) >= SHORTEST);
    }
}
