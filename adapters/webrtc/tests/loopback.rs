//! Two engines of this crate over real sockets on loopback, driven through the `WebRtc` trait.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;
#[path = "common/studio.rs"]
mod studio;

use std::time::{Duration, Instant};

use common::{heard, values, video, voice};
use matrix_voip::machine::io::{MediaKind, PeerNews};
use studio::{Side, connect, until};

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what real parts take is measured and printed")]
    Instant::now()
}

#[tokio::test]
async fn two_engines_connect_and_hear_each_others_tone() {
    let (mut a, mut b) = (Side::new(440.0), Side::new(880.0));
    let start = clock();
    connect(&mut a, &mut b, (voice(1, "stream-a"), voice(2, "stream-b"))).await;
    let connected = start.elapsed();
    until("both hear", || a.heard(MediaKind::Audio).len().min(b.heard(MediaKind::Audio).len()) > 1)
        .await;
    println!("loopback: connected after {connected:?}, heard after {:?}", start.elapsed());
    assert!(connected < Duration::from_secs(6), "{connected:?}");

    until("a second of sound", || a.heard(MediaKind::Audio).len() > 55).await;
    let ((at_a, level), (at_b, _)) =
        (heard(a.heard(MediaKind::Audio).iter()), heard(b.heard(MediaKind::Audio).iter()));
    assert!((860.0..900.0).contains(&at_a) && level > 0.2, "a hears {at_a} Hz at {level}");
    assert!((430.0..450.0).contains(&at_b), "b hears {at_b} Hz");

    let frames = a.heard(MediaKind::Audio);
    let steps = frames.windows(2).map(|pair| pair[1].sequence.unwrap() - pair[0].sequence.unwrap());
    assert!(steps.collect::<Vec<_>>().iter().all(|step| *step == 1));
    assert!(frames.windows(2).all(|pair| pair[1].timestamp == pair[0].timestamp + 960));
    assert!(frames.windows(2).all(|pair| pair[1].arrival >= pair[0].arrival));
}

#[tokio::test]
async fn both_sides_see_each_others_own_stream_ids() {
    let (mut a, mut b) = (Side::new(440.0), Side::new(880.0));
    let (offer, answer) = connect(&mut a, &mut b, (video(1, "ours"), video(3, "theirs"))).await;
    let streams = |sdp: &str| -> Vec<String> {
        let msids = values(sdp, "a=msid:").into_values().flatten();
        msids.map(|msid| msid.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(streams(&offer), ["ours", "ours"]);
    assert_eq!(streams(&answer), ["theirs", "theirs"]);
    let added = |side: &Side| -> Vec<_> {
        let news = side.news.iter();
        news.filter_map(|(_, news)| match news {
            PeerNews::TrackAdded { stream, kind, .. } => {
                Some((stream.as_ref().unwrap().to_string(), *kind))
            }
            _ => None,
        })
        .collect()
    };
    let mut at_a = added(&a);
    at_a.sort();
    assert_eq!(at_a, [("theirs".into(), MediaKind::Audio), ("theirs".into(), MediaKind::Video)]);
    assert_eq!(added(&b).len(), 2);
}
