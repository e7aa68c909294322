//! Many connections at once, and one after the other: all connect, none leaves anything behind.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;
#[path = "common/studio.rs"]
mod studio;

use std::time::{Duration, Instant};

use common::voice;
use matrix_voip::{
    id::{PeerId, TrackId},
    machine::io::MediaKind,
};
use studio::{Side, connect, until};
use tokio::task::JoinSet;

fn clock() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "what real parts take is measured and printed")]
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_pairs_at_once_all_connect_and_hear() {
    let mut pairs = JoinSet::new();
    for _ in 0..40 {
        pairs.spawn(async {
            let (mut a, mut b) = (Side::new(440.0), Side::new(880.0));
            let start = clock();
            connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
            let took = start.elapsed();
            until("both hear", || {
                a.heard(MediaKind::Audio).len().min(b.heard(MediaKind::Audio).len()) > 20
            })
            .await;
            took
        });
    }
    let mut took: Vec<Duration> = Vec::new();
    while let Some(pair) = pairs.join_next().await {
        took.push(pair.unwrap());
    }
    took.sort();
    println!("40 pairs: median {:?}, longest {:?}", took[20], took[39]);
    assert_eq!(took.len(), 40);
}

#[tokio::test]
async fn calls_that_are_over_leave_neither_task_nor_socket_nor_device() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let files = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut before = 0;
    for round in 0..100 {
        let (mut a, mut b) = (Side::new(440.0), Side::new(880.0));
        connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
        for (side, track) in [(&a, 1), (&b, 2)] {
            side.engine.close(PeerId(1)).await.unwrap();
            side.engine.release(TrackId(track)).await.unwrap();
        }
        if round == 0 {
            before = files();
        }
    }
    until("all tasks end", || tasks() == 0).await;
    // The other test of this program opens and closes files meanwhile.
    assert!(files() < before + 150, "{before} files before, {} after", files());
}
