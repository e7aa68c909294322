//! Opening and closing: whoever gives up leaves nothing behind, and who closes waits for the end.
//!
//! Sockets of this process are counted, so one test runs at a time.

#![allow(clippy::unwrap_used, reason = "a test program")]

mod common;

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::Poll,
};

use common::{Side, side};
use matrix_voip::{
    host::{PeerEvents, WebRtc, mailbox},
    id::PeerId,
    machine::io::{Fault, MediaKind, PeerConfig, PeerState},
};
use testkit::{
    studio::{answer, connect, offer, until},
    voice,
};

const PEER: PeerId = PeerId(1);

type Opening<'a> = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>>;

static ONE: Mutex<()> = Mutex::new(());

/// Plays a test alone, to the end of its runtime.
fn alone(test: impl Future<Output = ()>) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Sockets of this process that are open; elsewhere than on Linux none can be counted.
fn sockets() -> usize {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let names = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
}

/// Looks at a future once.
async fn look<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn opening(side: &Side) -> Opening<'_> {
    let (_, mailbox) = mailbox::pair();
    let events = PeerEvents::new(PEER, mailbox.news());
    side.engine.open(PEER, PeerConfig::default(), events)
}

/// A connection whose opening has begun.
async fn begun(side: &Side) -> Opening<'_> {
    let mut opening = opening(side);
    assert_eq!(look(&mut opening).await, None, "it is open already");
    opening
}

fn connections(side: &Side) -> String {
    format!("{:?}", side.engine)
}

#[test]
fn an_opening_that_nobody_waits_for_leaves_nothing() {
    alone(async {
        let a = side(440.0);
        let before = sockets();
        drop(begun(&a).await);
        assert_eq!(connections(&a), "Webrtc with 0 peer connections");
        assert_eq!(a.engine.offer(PEER, voice(1, "ours")).await, Err(Fault::NotFound));
        until("its sockets are closed", || sockets() == before).await;
    });
}

#[test]
fn an_opening_that_fails_leaves_nothing() {
    alone(async {
        let a = side(440.0);
        let mut opening = begun(&a).await;
        // Of the same id: the former loses its way in, and fails.
        a.open(1).await;
        assert_eq!(look(&mut opening).await, Some(Err(Fault::Cancelled)));
        drop(opening);
        assert_eq!(connections(&a), "Webrtc with 1 peer connections", "the later one lives");
        assert!(a.engine.offer(PEER, voice(1, "ours")).await.is_ok());
    });
}

#[test]
fn close_answers_though_nobody_looks_at_the_opening() {
    alone(async {
        let a = side(440.0);
        let mut opening = begun(&a).await;
        let closing = tokio::time::timeout(common::PATIENCE, a.engine.close(PEER));
        assert_eq!(closing.await.expect("close never answers"), Ok(()));
        assert_eq!(look(&mut opening).await, Some(Err(Fault::Cancelled)));
    });
}

/// On two threads, so that it is built while it is closed; each round leaves it a little longer.
#[test]
fn close_leaves_no_socket_of_a_connection_that_is_half_built() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let a = side(440.0);
        // Whatever the runtime itself needs is there after a first one.
        a.open(9).await;
        a.engine.close(PeerId(9)).await.unwrap();
        let before = sockets();
        for round in 0..200 {
            let mut opening = opening(&a);
            drop(look(&mut opening).await);
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            a.engine.close(PEER).await.unwrap();
            // The crate's own task has a tenth of a second to end; on a busy machine that is too little.
            until("its sockets are closed", || sockets() == before).await;
            for later in 0..100 {
                assert_eq!(sockets(), before, "round {round}, look {later}");
                tokio::task::yield_now().await;
            }
            drop(opening);
        }
    });
}

#[test]
fn a_second_close_waits_for_the_same_end() {
    alone(async {
        let a = side(440.0);
        let before = sockets();
        a.open(1).await;
        offer(&a, voice(1, "ours")).await;
        let mut first = a.engine.close(PEER);
        assert_eq!(look(&mut first).await, None);
        assert_eq!(a.engine.stats(PEER).await, Err(Fault::NotFound));
        a.engine.close(PEER).await.unwrap();
        until("its sockets are closed", || sockets() == before).await;
        assert_eq!(look(&mut first).await, Some(Ok(())));
        drop(first);
        assert_eq!(connections(&a), "Webrtc with 0 peer connections");
    });
}

#[test]
fn a_connection_of_the_same_id_takes_over_the_tracks() {
    alone(async {
        let (mut a, mut b) = (side(440.0), side(880.0));
        connect(&mut a, &mut b, (voice(1, "ours"), voice(2, "theirs"))).await;
        a.open(1).await;
        b.open(1).await;
        let made = offer(&a, voice(1, "ours")).await;
        let made = answer(&b, &made, voice(2, "theirs")).await;
        a.engine.set_remote(PEER, made).await.unwrap();
        a.until_state(PeerState::Connected).await;
        b.until_state(PeerState::Connected).await;
        let before = b.heard(MediaKind::Audio).len();
        until("sound of the new one", || b.heard(MediaKind::Audio).len() > before + 20).await;
    });
}
