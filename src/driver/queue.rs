//! The queue between the driver and one subscriber: ordered, bounded, never waited for by the
//! driver.
//!
//! A queue that is full is emptied, and one item stands for all that was lost: it says how many,
//! and how things stood after them. So a subscriber that wakes late finds the present, not a
//! thousand old facts, and what follows still folds to the truth.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use super::lock;

/// Most items that wait for one subscriber.
pub(super) const MAX_QUEUED: usize = 1024;

/// What a queue holds.
pub(crate) trait Queued {
    /// How many facts the item stands for: more than one if it stands for lost ones.
    fn facts(&self) -> u64;
}

/// A queue with one producer, the driver, and one subscriber.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    reader: Option<Waker>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), reader: None, closed: false }) }
    }
}

impl<T: Queued> Queue<T> {
    /// Appends an item. `skipped(n)` makes the item that stands for `n` lost facts, should the
    /// queue be full.
    pub(super) fn push(&self, item: T, skipped: impl FnOnce(u64) -> T) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        if state.items.len() >= MAX_QUEUED {
            let lost = state.items.drain(..).map(|item| item.facts()).sum();
            state.items.push_back(skipped(lost));
        }
        state.items.push_back(item);
        wake(state);
    }

    /// Nothing will follow what is queued.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        wake(state);
    }

    /// The next item; `None` after the last. Of two tasks that wait, only the later is woken.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.state);
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(Some(item));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Wakes the reader after the lock is released.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Item {
        Fact(usize),
        Lost(u64),
    }

    impl Queued for Item {
        fn facts(&self) -> u64 {
            match self {
                Self::Fact(_) => 1,
                Self::Lost(n) => *n,
            }
        }
    }

    fn take(queue: &Queue<Item>) -> Poll<Option<Item>> {
        queue.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn overflow_becomes_one_item_however_often_it_happens() {
        let queue = Queue::default();
        let pushed = 3 * MAX_QUEUED;
        for n in 0..pushed {
            queue.push(Item::Fact(n), Item::Lost);
        }
        queue.close();
        let Poll::Ready(Some(Item::Lost(lost))) = take(&queue) else { panic!("nothing was lost") };
        for n in lost as usize..pushed {
            assert_eq!(take(&queue), Poll::Ready(Some(Item::Fact(n))));
        }
        assert_eq!(take(&queue), Poll::Ready(None));
    }

    #[test]
    fn what_fits_is_not_lost() {
        let queue = Queue::default();
        for n in 0..MAX_QUEUED {
            queue.push(Item::Fact(n), Item::Lost);
        }
        assert_eq!(take(&queue), Poll::Ready(Some(Item::Fact(0))));
    }

    #[test]
    fn nothing_follows_a_close() {
        let queue = Queue::default();
        queue.push(Item::Fact(1), Item::Lost);
        queue.close();
        queue.push(Item::Fact(2), Item::Lost);
        assert_eq!(take(&queue), Poll::Ready(Some(Item::Fact(1))));
        assert_eq!(take(&queue), Poll::Ready(None));
    }
}
