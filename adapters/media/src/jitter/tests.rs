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

#[test]
fn time_stamps_that_are_not_quite_as_long_as_the_packets_lose_and_conceal_nothing() {
    for step in [900, 959, 961, 1_020] {
        let mut buffer = JitterBuffer::new();
        for (n, packet) in packets(500).into_iter().enumerate() {
            let timestamp = n as u64 * step;
            buffer.push(Duration::from_millis(20 * n as u64), &Frame { timestamp, ..packet });
            buffer.pull(Duration::from_millis(20 * n as u64), &mut [0.0; 2 * STEP]);
        }
        let stats = buffer.stats();
        println!("{step}: {stats:?}");
        assert_eq!((stats.late, stats.strange), (0, 0), "{step}: {stats:?}");
    }
}

/// What the buffer makes of packets of which those of five seconds are missing.
fn after_five_seconds(is_lost: bool) -> JitterStats {
    let mut buffer = JitterBuffer::new();
    let mut sequence = 0;
    for (n, mut packet) in packets(500).into_iter().enumerate() {
        let now = 20 * n as u64;
        if !(100..350).contains(&n) {
            packet.sequence = Some(if is_lost { n as u64 } else { sequence });
            sequence += 1;
            buffer.push(Duration::from_millis(now), &packet);
        }
        buffer.pull(Duration::from_millis(now), &mut [0.0; 2 * STEP]);
    }
    buffer.stats()
}

#[test]
fn an_outage_of_any_length_is_concealed_and_a_silence_of_any_length_is_none() {
    const FIVE_SECONDS: u64 = 5 * 48_000;
    let outage = after_five_seconds(true);
    assert_eq!((outage.strange, outage.late), (0, 0), "{outage:?}");
    assert!(outage.concealed.abs_diff(FIVE_SECONDS) < 4_800, "{outage:?}");
    assert!(outage.pauses < 9_600, "{outage:?}");
    let silence = after_five_seconds(false);
    assert_eq!((silence.strange, silence.late), (0, 0), "{silence:?}");
    assert!(silence.pauses > FIVE_SECONDS - 4_800 && silence.concealed <= 960, "{silence:?}");
}
