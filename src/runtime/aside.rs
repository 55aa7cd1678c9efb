//! What blocks, off the executor's thread: names that are resolved, files that are removed.
//!
//! A thread of glommio's does it and panics if the executor has gone meanwhile, which ends the process with an
//! abort instead of what it had to say. So what is under way is counted, and an executor ends only after
//! [`finish`].

use std::cell::Cell;
use std::future::{Future, pending};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

/// A name that nobody answers for takes so long to fail, and a little more.
const FINISH_MAX: Duration = Duration::from_secs(12);

/// How often it is looked whether all has ended.
const LOOK: Duration = Duration::from_millis(1);

thread_local! {
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
    static IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Counts as long as it lives.
struct Counted;

impl Counted {
    fn new() -> Counted {
        UNDER_WAY.set(UNDER_WAY.get() + 1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get() - 1);
    }
}

/// Does it on another thread. After [`finish`] it is not done, and never comes back.
pub async fn run<T, F>(work: F) -> T
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    during(async move { glommio::executor().spawn_blocking(work).await }).await
}

/// The same for what glommio itself does on such a thread.
pub async fn during<T>(work: impl Future<Output = T>) -> T {
    if IS_OVER.get() {
        return pending().await;
    }
    let _counted = Counted::new();
    work.await
}

/// Waits for everything that is under way on this executor, whose last words these are: nothing is begun
/// from here on.
pub async fn finish() {
    IS_OVER.set(true);
    #[expect(
        clippy::disallowed_methods,
        reason = "the executor ends: no clock of the shard's is left"
    )]
    let begun = Instant::now();
    while UNDER_WAY.get() > 0 && begun.elapsed() < FINISH_MAX {
        Timer::new(LOOK).await;
    }
}
