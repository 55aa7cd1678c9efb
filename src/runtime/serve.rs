//! A request that is to be done wherever it belongs: here, on the shard that leads its region, or later.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use glommio::timer::Timer;

use super::driver::{Driver, Owner, Reply};
use super::route::{Next, Wanted};
use super::spread::{self, Kind};
use crate::shard::error::Error;
use crate::shard::ids::StoreId;
use crate::shard::request::{Body, Response};
use crate::wire::native::ask::Asked;

/// What is tried again waits so long.
pub const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Where the next attempt goes.
enum To {
    Here,
    There(StoreId),
}

/// Whether a request was not done for a reason that another place, or time, may not have.
pub fn is_elsewhere(error: &Error) -> bool {
    matches!(
        error.kind(),
        Error::NotLeader { .. }
            | Error::EpochNotMatch { .. }
            | Error::RegionNotFound(_)
            | Error::KeyNotInRegion { .. }
            | Error::RegionMoved(_)
            | Error::StaleCommand
            // Whoever waits for its answer waits for room as well, and asks for no more meanwhile.
            | Error::ServerIsBusy(_)
    )
}

/// Does what a frame asks for, wherever that is, until the time of a command is over.
pub async fn anywhere(driver: &Rc<Driver>, frame: &Bytes) -> Response {
    let asked = match Asked::decode(frame) {
        Ok(asked) => asked,
        Err(error) => return Err(Error::BadRequest(error.0)),
    };
    let since = driver.clock.mono();
    let until = since + driver.config.client.timeout_ms * 1_000_000;
    match asked.request(|request| spread::kind(&request)) {
        Ok(None) => {}
        Ok(Some(Kind::Parts(count))) => return spread::parts(driver, frame, count, until).await,
        Ok(Some(Kind::Range(range))) => return spread::scan(driver, range, until).await,
        Err(error) => return Err(Error::BadRequest(error.0)),
    }
    let is_named = asked.ask.region.is_some();
    let mut to = To::Here;
    loop {
        let reply = Rc::new(Reply::default());
        let mut question = None;
        let mut region = None;
        let mut key = Vec::new();
        let sent = asked.request(|request| {
            if let Body::Placement(message) = request.body {
                question = Some(message.clone());
                return;
            }
            region = request.body.region();
            key.extend_from_slice(request.body.key());
            let owner = Owner::Task(reply.clone());
            match to {
                To::Here => driver.request(owner, request),
                To::There(store) => driver.forward(store, owner, &request),
            }
        });
        if let Err(error) = sent {
            return Err(Error::BadRequest(error.0));
        }
        let response = match question {
            Some(message) if message.is_for_regions() => driver.list_regions(&message).await,
            Some(message) => driver.ask_placement(&message).await,
            None => reply.wait().await,
        };
        let error = match response {
            Err(error) if is_elsewhere(&error) && driver.clock.mono() < until => error,
            other => return other,
        };
        // Of a region that is named nobody else says anything else.
        if region.is_some() && matches!(error.kind(), Error::KeyNotInRegion { .. }) {
            return Err(error);
        }
        // Whoever names an epoch wants to know that it has changed.
        if is_named && matches!(error, Error::EpochNotMatch { .. }) {
            return Err(error);
        }
        let asked = match to {
            To::Here => driver.station.store,
            To::There(store) => store,
        };
        let wanted = match region {
            Some(region) => Wanted::Region(region),
            None => Wanted::Key(&key),
        };
        let next = match (driver.next_place(&error, wanted, asked), region) {
            (Next::Later, Some(region)) if matches!(error, Error::RegionNotFound(_)) => {
                driver.find_region(region).await
            }
            (next, _) => next,
        };
        to = match next {
            Next::Here => To::Here,
            Next::There(store) => To::There(store),
            Next::Later => {
                if matches!(error.kind(), Error::ServerIsBusy(_)) {
                    driver.room(since).await;
                } else {
                    Timer::new(RETRY_AFTER).await;
                }
                To::Here
            }
        };
    }
}
