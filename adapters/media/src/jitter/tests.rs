//! What only the inside of the buffer shows.

use super::*;
use crate::{Made, Script, Tone, Voice};

/// Packets of a tone, numbered.
fn packets(count: u64) -> Vec<Frame> {
    let mut voice = Voice::new(Tone::new(300.0, 0.2));
    let mut packet = |n| match voice.make() {
        Made::Frame(frame) => Frame { sequence: Some(n), ..frame },
        Made::Skipped => unreachable!("a tone has no end"),
    };
    (0..count).map(&mut packet).collect()
}

#[test]
fn whatever_comes_late_is_not_played_after_what_was_sent_later() {
    let mut random = fastrand::Rng::with_seed(3);
    let sent = packets(1_500).into_iter();
    let mut arrivals: Vec<_> =
        sent.enumerate().map(|(n, packet)| (20 * n as u64 + random.u64(0..150), packet)).collect();
    arrivals.sort_by_key(|(at, _)| *at);
    let (mut buffer, mut arrivals) = (JitterBuffer::new(), arrivals.into_iter().peekable());
    for now in (0..30_000).step_by(10) {
        while let Some((at, packet)) = arrivals.next_if(|(at, _)| *at <= now) {
            buffer.push(Duration::from_millis(at), &packet);
        }
        buffer.pull(Duration::from_millis(now), &mut [0.0; STEP]);
        assert!(buffer.played.iter().is_sorted_by(|one, next| one < next), "{:?}", buffer.played);
    }
    let stats = buffer.stats();
    assert!(stats.late > 0 && stats.decoded > 1_300 * 960, "{stats:?}");
}

#[test]
fn what_nobody_plays_does_not_pile_up() {
    let mut buffer = JitterBuffer::new();
    for (n, packet) in packets(1_000).iter().enumerate() {
        buffer.push(Duration::from_millis(20 * n as u64), packet);
        assert!(buffer.packets.len() <= MAX_PACKETS);
    }
    assert_eq!(buffer.stats().overrun, 1_000 - MAX_PACKETS as u64);
}

/// A packet whose time stamp is far ahead of the time that has passed is nobody's, or a new beginning.
#[test]
fn one_stray_time_stamp_is_not_believed() {
    let mut buffer = JitterBuffer::new();
    for (n, mut packet) in packets(500).into_iter().enumerate() {
        if n == 250 {
            packet.timestamp += 2_900 * 48;
        }
        let now = Duration::from_millis(20 * n as u64);
        buffer.push(now, &packet);
        buffer.pull(now, &mut [0.0; 2 * STEP]);
    }
    let stats = buffer.stats();
    assert_eq!((stats.strange, stats.late), (1, 0), "{stats:?}");
    assert!(stats.concealed + stats.recovered <= 2 * 960, "{stats:?}");
    assert!(stats.delay < Duration::from_millis(60), "{stats:?}");
}

/// A sender who was silent for long goes on where time is.
#[test]
fn a_long_silence_is_believed() {
    let mut buffer = JitterBuffer::new();
    for (n, mut packet) in packets(100).into_iter().enumerate() {
        let silent = if n < 50 { 0 } else { 2_500 };
        packet.timestamp += silent * 48;
        let until = 20 * n as u64 + silent;
        buffer.push(Duration::from_millis(until), &packet);
        let from = if n == 50 { until - silent } else { until };
        for now in (from..until + 20).step_by(10) {
            buffer.pull(Duration::from_millis(now), &mut [0.0; STEP]);
        }
    }
    let stats = buffer.stats();
    assert_eq!((stats.strange, stats.late), (0, 0), "{stats:?}");
    assert!(stats.concealed <= 960 && stats.pauses > 2_300 * 48, "{stats:?}");
}
