//! What the tests of the audio thread share: nobody to be woken, and what waits to be sent.

use std::task::{Context, Poll, Waker};

use matrix_voip::{
    host::{Frame, FrameSource},
    id::SessionId,
};

use super::{ends::Microphone, view::Talker, wishes::Wake};

/// A thread that is the test itself.
#[derive(Debug)]
pub(super) struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// The other side of that call.
pub(super) fn talker(session: u64) -> Talker {
    Talker { session: SessionId(session), member: None }
}

/// All that waits to be sent.
pub(super) fn sent(microphone: &mut Microphone) -> Vec<Frame> {
    let mut sent = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = microphone.next().as_mut().poll(&mut context) {
        sent.push(frame);
    }
    sent
}
