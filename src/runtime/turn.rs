//! The turn loop: completions in, one flush, effects out, one write per connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::connection::Connection;
use super::disk::submit_now;
use super::driver::Driver;
use super::life::Event;
use super::ring::Side;
use crate::shard::door::{Effect, Input, Report};

/// Turns without a pause before what was begun is handed to the kernel and others get their time.
const TURNS_IN_A_ROW: usize = 8;

/// Nanoseconds that a busy loop lets pass before the executor looks after the files that it carries: a new
/// segment of the log is written in dozens of steps, each of which waits for that.
const LOOK_AFTER: u64 = 300_000;

/// Looks at the ring between two looks at the clock.
const LOOKS_PER_CLOCK: usize = 32;

/// Completions that one turn takes in at the most.
const COMPLETIONS_PER_TURN: usize = 256;

/// Turns until the shard has stopped, or the driver is told to end.
pub async fn run(driver: Rc<Driver>) {
    let mut turn = Turn::default();
    let mut in_a_row = 0;
    let mut looked_after = 0;
    loop {
        turn.take(&driver);
        if driver.has_stopped() {
            driver.abandon_requests();
            return;
        }
        let looked = driver.ring.as_ref().is_some_and(|side| side.look(&driver));
        if looked || driver.shard.borrow().wants_turn() {
            in_a_row += 1;
            let now = driver.clock.mono();
            let is_due = match &driver.ring {
                None => in_a_row >= TURNS_IN_A_ROW,
                Some(_) => {
                    now > looked_after + LOOK_AFTER
                        && (driver.store.under_way() > 0 || driver.log.needs_executor())
                }
            };
            if is_due {
                in_a_row = 0;
                submit_now().await;
                looked_after = driver.clock.mono();
            } else {
                glommio::yield_if_needed().await;
                driver.log.hand_over().await;
            }
        } else {
            in_a_row = 0;
            glommio::yield_if_needed().await;
            if !spin(&driver) {
                wait(&driver).await;
            }
        }
    }
}

/// Looks out for a while, since to be woken takes longer than most of what one waits for. Whether the ring
/// has something.
fn spin(driver: &Driver) -> bool {
    let nanos = driver.config.io.spin_us * 1000;
    let Some(side) = driver.ring.as_ref().filter(|_| nanos > 0) else {
        return false;
    };
    let until = driver.clock.mono() + nanos;
    while driver.clock.mono() < until {
        for _ in 0..LOOKS_PER_CLOCK {
            if side.has_something() {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    false
}

/// Until there is something to do.
async fn wait(driver: &Driver) {
    // Whoever looks need not be called.
    let Some(_called) = Called::unless_something_is_there(driver) else {
        return;
    };
    let mut waited = false;
    poll_fn(|context| {
        let ready = driver.bell.poll_rung(context).is_ready()
            | driver.log.poll_item(context).is_ready()
            | driver.store.poll_item(context).is_ready();
        if ready {
            return Poll::Ready(());
        }
        waited = true;
        Poll::Pending
    })
    .await;
    if waited {
        driver.log.was_idle();
    }
}

/// As long as it lives, the executor is woken by what completes on the ring.
struct Called<'d>(Option<&'d Side>);

impl<'d> Called<'d> {
    /// None if something has completed, or will when the ring is looked at: that called nobody.
    fn unless_something_is_there(driver: &'d Driver) -> Option<Called<'d>> {
        let called = Called(driver.ring.as_ref());
        if let Some(side) = called.0 {
            side.calls(true);
            if side.has_something() {
                return None;
            }
        }
        Some(called)
    }
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        if let Some(side) = self.0 {
            side.calls(false);
        }
    }
}

#[derive(Default)]
struct Turn {
    effects: Vec<Effect>,
    touched: Vec<Rc<Connection>>,
}

impl Turn {
    fn take(&mut self, driver: &Rc<Driver>) {
        let begun = driver.clock.mono();
        self.complete(driver);
        driver.shard.borrow_mut().flush(&mut self.effects);
        let now = driver.clock.now();
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Respond { to, response } => driver.respond(to, response, now.mono),
                Effect::Log(effect) => {
                    driver.log.start(&mut *driver.shard.borrow_mut(), effect);
                }
                Effect::Store(effect) => driver.store.start(effect),
                Effect::Send { to, message } => driver.links.send(driver, to, message),
                Effect::Nodes(nodes) => {
                    driver.learn_nodes(&nodes);
                    let event = (driver.station.shard, Event::Nodes(nodes));
                    // Nobody listens only if the process ends anyway.
                    let _ = driver.events.send(event);
                }
                Effect::Report(report) => tell(driver, report),
            }
        }
        driver.links.flush();
        driver.call_waiting(false);
        // What answers set free is asked for at once, so that it is part of the next turn.
        driver.take_touched(&mut self.touched);
        for connection in self.touched.drain(..) {
            connection.is_touched.set(false);
            connection.end_of_turn(driver, now);
        }
        driver.figures.turn(driver.clock.mono() - begun);
    }

    fn complete(&mut self, driver: &Driver) {
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(finished) = driver.log.pop() else {
                break;
            };
            driver.handle(finished.input());
            if let Some(error) = driver.log.failure() {
                tracing::error!(%error, "the log failed");
            }
        }
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(finished) = driver.store.pop() else {
                break;
            };
            driver.handle(Input::Store(finished.completion()));
        }
    }
}

fn tell(driver: &Driver, report: Report) {
    let store = driver.station.store.0;
    match report {
        Report::Stopped(why) => {
            tracing::error!(store, why, "the shard has stopped");
            driver.stopped.borrow_mut().get_or_insert(why);
        }
        Report::Quarantined { region, why } => {
            driver
                .figures
                .quarantined
                .set(driver.figures.quarantined.get() + 1);
            tracing::error!(store, region = region.0, why, "a region is quarantined");
        }
        Report::Diverged { region, index } => {
            driver
                .figures
                .diverged
                .set(driver.figures.diverged.get() + 1);
            tracing::error!(
                store,
                region = region.0,
                index,
                "a replica differs from its leader"
            );
        }
        Report::Removed(node) => {
            tracing::warn!(
                store,
                node = node.0,
                "its node was removed, and it holds nothing"
            );
            let _ = (driver.events).send((driver.station.shard, Event::Removed(true)));
        }
        Report::Kept(node) => {
            tracing::warn!(
                store,
                node = node.0,
                "its node was removed and holds something that is moved away first"
            );
            let _ = (driver.events).send((driver.station.shard, Event::Removed(false)));
        }
        Report::PlacementUnreadable(why) => {
            tracing::error!(store, why, "placement cannot read its records");
        }
        Report::ClockAhead { region, by_ms } => {
            tracing::warn!(store, region = region.0, by_ms, "a leader's clock is ahead");
        }
    }
}
