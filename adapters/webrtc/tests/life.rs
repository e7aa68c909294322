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

/// Plays a test alone, to the end of its runtime.
fn alone(test: impl Future<Output = ()>) {
    static ONE: Mutex<()> = Mutex::new(());
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

/// A connection whose opening has begun.
async fn begun(side: &Side) -> Opening<'_> {
    let (_, mailbox) = mailbox::pair();
    let events = PeerEvents::new(PEER, mailbox.news());
    let mut opening = side.engine.open(PEER, PeerConfig::default(), events);
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
fn close_answers_though_nobody_looks_at_the_opening_and_leaves_no_socket() {
    alone(async {
        let a = side(440.0);
        let before = sockets();
        a.open(9).await;
        let each = sockets() - before;
        a.engine.close(PeerId(9)).await.unwrap();
        assert_eq!(sockets(), before);
        let mut opening = begun(&a).await;
        let closing = tokio::time::timeout(common::PATIENCE, a.engine.close(PEER));
        assert_eq!(closing.await.expect("close never answers"), Ok(()));
        assert_eq!(sockets(), before, "half built");
        assert_eq!(look(&mut opening).await, Some(Err(Fault::Cancelled)));
        a.open(2).await;
        assert_eq!(sockets(), before + each, "what was half built came to be");
        a.engine.close(PeerId(2)).await.unwrap();
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
        assert_eq!(sockets(), before);
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
