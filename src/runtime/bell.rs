//! What wakes the turn loop: rung by whoever gave it something to do, as often as they like.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// A flag of one thread that one task waits for.
#[derive(Default)]
pub struct Bell {
    rung: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Bell {
    /// There is something to do.
    pub fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = self.waiting.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Whether it was rung since it was last asked; wakes the task when it is, if it was not.
    pub fn poll_rung(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.rung.replace(false) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        match &*waiting {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => *waiting = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until it is rung.
    pub async fn wait(&self) {
        std::future::poll_fn(|context| self.poll_rung(context)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_before_anybody_waits_are_not_lost_and_count_once() {
        let bell = Bell::default();
        let mut context = Context::from_waker(Waker::noop());
        bell.ring();
        bell.ring();
        assert!(bell.poll_rung(&mut context).is_ready());
        assert!(bell.poll_rung(&mut context).is_pending());
        bell.ring();
        assert!(bell.poll_rung(&mut context).is_ready());
    }
}
