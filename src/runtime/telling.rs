//! What a node tells on standard error, written by a thread of its own.

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use super::config::Telling;
use super::failure::{Exit, Failure};

/// Tells from now on; as long as the guard lives, nothing is lost.
pub fn begin(telling: &Telling) -> Result<WorkerGuard, Failure> {
    let filter = EnvFilter::try_new(&telling.level).map_err(|error| {
        let why = format!(
            "telling.level '{}': {error}; use error, warn, info, debug or trace",
            telling.level
        );
        Failure::new(Exit::Usage, why)
    })?;
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer);
    let begun = match telling.json {
        true => builder.json().try_init(),
        false => builder.try_init(),
    };
    begun.map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(guard)
}
