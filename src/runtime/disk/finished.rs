//! Completions on their way to the turn loop.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A queue of one thread: tasks that carried out an effect push, the turn loop takes.
pub struct Finished<Item> {
    queue: Rc<RefCell<Queue<Item>>>,
}

struct Queue<Item> {
    items: VecDeque<Item>,
    /// How many effects were started and have not been pushed yet.
    under_way: usize,
    waiting: Option<Waker>,
}

impl<Item> Clone for Finished<Item> {
    fn clone(&self) -> Finished<Item> {
        Finished {
            queue: self.queue.clone(),
        }
    }
}

impl<Item> Default for Finished<Item> {
    fn default() -> Finished<Item> {
        Finished {
            queue: Rc::new(RefCell::new(Queue {
                items: VecDeque::new(),
                under_way: 0,
                waiting: None,
            })),
        }
    }
}

impl<Item> Finished<Item> {
    /// An effect was started; exactly one push will follow.
    pub fn expect_one(&self) {
        self.queue.borrow_mut().under_way += 1;
    }

    /// An effect was carried out, or failed.
    pub fn push(&self, item: Item) {
        let waiting = {
            let mut queue = self.queue.borrow_mut();
            assert!(queue.under_way > 0, "a completion without an effect");
            queue.under_way -= 1;
            queue.items.push_back(item);
            queue.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// The next completion, if there is one.
    pub fn pop(&self) -> Option<Item> {
        self.queue.borrow_mut().items.pop_front()
    }

    /// Whether there is a completion to take; wakes the task when there is, if it says nothing yet.
    pub fn poll_item(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.borrow_mut();
        if !queue.items.is_empty() {
            return Poll::Ready(());
        }
        match &queue.waiting {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => queue.waiting = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// How many effects are under way.
    pub fn under_way(&self) -> usize {
        self.queue.borrow().under_way
    }

    /// Waits until there is a completion to take, or nothing under way that could become one. One
    /// task at a time waits here. Says whether it had to wait.
    pub async fn wait(&self) -> bool {
        let mut waited = false;
        poll_fn(|context| {
            let mut queue = self.queue.borrow_mut();
            if !queue.items.is_empty() || queue.under_way == 0 {
                return Poll::Ready(waited);
            }
            waited = true;
            match &queue.waiting {
                Some(waker) if waker.will_wake(context.waker()) => {}
                _ => queue.waiting = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn waiting_ends_with_a_completion_or_with_nothing_to_wait_for() {
        let finished: Finished<u32> = Finished::default();
        let mut context = Context::from_waker(Waker::noop());
        let idle = finished.clone();
        let mut waiting = pin!(idle.wait());
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        finished.expect_one();
        let busy = finished.clone();
        let mut waiting = pin!(busy.wait());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        finished.push(7);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        assert_eq!(finished.pop(), Some(7));
        assert_eq!((finished.pop(), finished.under_way()), (None, 0));
    }

    #[test]
    #[should_panic(expected = "a completion without an effect")]
    fn a_completion_needs_an_effect() {
        Finished::default().push(1);
    }
}
