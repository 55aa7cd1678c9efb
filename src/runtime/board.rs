//! What all shards of a node say of themselves, for whoever asks any of them.
//!
//! Each shard writes its part twice a second, off the way of requests; whoever asks reads all parts. What has to
//! visit every region for that is written less often where there are so many that it takes long.

use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use glommio::timer::Timer;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::driver::Driver;
use crate::shard::pause::CAUSES;

/// How often a shard writes its part.
const EVERY: Duration = Duration::from_millis(500);

/// What visits every region takes no more than one part in so many of a shard's time.
const REGIONS_PART: u64 = 250;

/// But it is not older than so many nanoseconds.
const REGIONS_AGE_MAX: u64 = 10_000_000_000;

/// Quantiles of each latency that are told.
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"), (0.999, "0.999")];

/// A place for the parts of all shards.
#[derive(Clone, Default)]
pub struct Board {
    parts: Arc<Vec<Mutex<Part>>>,
}

/// What one shard says of itself.
#[derive(Default)]
struct Part {
    samples: Vec<Sample>,
    /// What takes a visit to every region.
    of_regions: Vec<Sample>,
    status: Value,
}

/// One number.
#[derive(Clone, Debug)]
struct Sample {
    metric: &'static Metric,
    /// What follows the metric's name, as in `_sum`.
    suffix: &'static str,
    /// Labels beside the shard's.
    labels: String,
    value: f64,
}

/// One thing that is counted.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $kind:literal $name:literal $help:literal;)*) => {
        $(const $constant: Metric = Metric { name: $name, kind: $kind, help: $help };)*
        const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    REQUESTS "summary" "coracle_request_seconds" "From a request's arrival to its answer, by kind";
    ERRORS "counter" "coracle_request_errors_total" "Requests answered with an error, by its name";
    WAITING "gauge" "coracle_requests_under_way" "Requests that are not answered yet";
    HELD_BACK "gauge" "coracle_requests_held_back" "Requests that ask again when less is under way";
    TURNS "summary" "coracle_turn_seconds" "How long one turn of the loop took";
    FORWARDED "counter" "coracle_requests_forwarded_total" "Requests handed on to the shard that leads their region";
    MISLED "counter" "coracle_requests_misled_total" "Attempts that went to another shard and could not be done there, by what they were told";
    CONNECTIONS "gauge" "coracle_connections" "Open connections of clients and peers";
    ACCEPTED "counter" "coracle_connections_accepted_total" "Connections accepted";
    CUT_OFF "counter" "coracle_connections_cut_off_total" "Connections cut off: too many, broken protocol, or not reading";
    RECEIVED "counter" "coracle_received_bytes_total" "Bytes that came in";
    SENT "counter" "coracle_sent_bytes_total" "Bytes that went out";
    DROPPED "counter" "coracle_peer_messages_dropped_total" "Messages to other shards dropped for want of a link";
    REGIONS "gauge" "coracle_regions" "Peers of regions on this shard, by their part";
    QUIET "gauge" "coracle_regions_quiet" "Peers of regions on this shard that neither tick nor send heartbeats";
    SPLITS "counter" "coracle_region_splits_total" "Splits begun of regions that are led here, by what for";
    SPLITS_DONE "counter" "coracle_region_splits_done_total" "Splits that took effect";
    SPLITS_FAILED "counter" "coracle_region_splits_failed_total" "Splits given up before anything was proposed";
    SPLIT_HELD "summary" "coracle_region_split_held_seconds" "How long writes of a region waited for its split";
    SPLIT_HELD_LAST "gauge" "coracle_region_split_held_last_seconds" "How long that was the last time";
    SPLIT_HELD_MAX "gauge" "coracle_region_split_held_max_seconds" "How long that was at the most";
    QUARANTINED "counter" "coracle_regions_quarantined_total" "Regions that cannot be served here";
    DIVERGED "counter" "coracle_replicas_diverged_total" "Replicas that differed from their leader";
    LOG_LSN "counter" "coracle_log_durable_batches_total" "Batches of the log that are durable";
    LOG_WRITTEN "counter" "coracle_log_written_bytes_total" "Bytes that the log has made durable, whole blocks";
    LOG_WRITES "summary" "coracle_log_write_seconds" "From the beginning of a write to the log until it is durable";
    LOG_SEGMENTS "gauge" "coracle_log_segments" "Segments of the log that hold something";
    LOG_LEFT "gauge" "coracle_log_segments_left" "Segments that the log may still fill";
    LOG_MEMORY "gauge" "coracle_log_memory_bytes" "Memory of the log's index and cached entries";
    HELD "gauge" "coracle_held_bytes" "Memory of entries, proposals and reads";
    MEMTABLE "gauge" "coracle_memtable_bytes" "Memory of memtables";
    TABLES "gauge" "coracle_table_bytes" "Bytes of tables";
    NEEDLESS "gauge" "coracle_needless_table_bytes" "Bytes of table files that nobody needs and that are not removed yet";
    DEBT "gauge" "coracle_compaction_debt_bytes" "Bytes that compaction has yet to move";
    FLUSHED "counter" "coracle_flushed_bytes_total" "Bytes of tables written by flushes";
    COMPACTED "counter" "coracle_compacted_bytes_total" "Bytes of tables written by compactions";
    WRITE_AMPLIFICATION "gauge" "coracle_write_amplification" "Bytes of tables written per byte that users wrote";
    FULL "gauge" "coracle_disk_full" "Whether the disk counts as full";
}

/// Names of errors by their number.
const ERROR_NAMES: [&str; 15] = [
    "Other",
    "NotLeader",
    "EpochNotMatch",
    "RegionNotFound",
    "KeyNotInRegion",
    "RegionMoved",
    "StoreNotMatch",
    "StaleCommand",
    "ServerIsBusy",
    "DiskFull",
    "TooLarge",
    "Undetermined",
    "SessionExpired",
    "Corrupt",
    "BadRequest",
];

impl Board {
    /// For so many shards.
    pub fn new(shards: u16) -> Board {
        let parts = (0..shards).map(|_| Mutex::default()).collect();
        Board {
            parts: Arc::new(parts),
        }
    }

    /// All metrics as Prometheus reads them.
    pub fn metrics(&self) -> String {
        let parts: Vec<Vec<Sample>> =
            self.each(|part| [&part.samples[..], &part.of_regions].concat());
        let mut out = String::new();
        for metric in ALL {
            let _ = writeln!(out, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(out, "# TYPE {} {}", metric.name, metric.kind);
            for (shard, samples) in parts.iter().enumerate() {
                let of_metric = samples
                    .iter()
                    .filter(|sample| sample.metric.name == metric.name);
                for sample in of_metric {
                    let _ = writeln!(
                        out,
                        "{}{}{{shard=\"{shard}\"{}}} {}",
                        metric.name, sample.suffix, sample.labels, sample.value
                    );
                }
            }
        }
        out
    }

    /// What the shards say of themselves.
    pub fn status(&self) -> Vec<Value> {
        self.each(|part| part.status.clone())
    }

    fn each<T>(&self, take: impl Fn(&Part) -> T) -> Vec<T> {
        let parts = self.parts.iter();
        // Nobody panics while writing, since the process would end with it.
        let read = |part: &Mutex<Part>| take(&part.lock().unwrap_or_else(PoisonError::into_inner));
        parts.map(read).collect()
    }

    fn write(&self, shard: u16, change: impl FnOnce(&mut Part)) {
        if let Some(place) = self.parts.get(usize::from(shard)) {
            change(&mut place.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Writes a shard's part, again and again.
pub async fn keep(driver: Rc<Driver>) {
    let mut next = 0;
    while !driver.has_stopped() {
        write_samples(&driver);
        let begun = driver.clock.mono();
        if begun >= next {
            write_regions(&driver);
            let took = driver.clock.mono() - begun;
            next = begun + (took * REGIONS_PART).min(REGIONS_AGE_MAX);
        }
        Timer::new(EVERY).await;
    }
}

/// Writes a shard's part.
pub fn write_now(driver: &Driver) {
    write_samples(driver);
    write_regions(driver);
}

fn write_samples(driver: &Driver) {
    let samples = samples(driver);
    let shard = driver.station.shard;
    driver.board.write(shard, |part| part.samples = samples);
}

fn write_regions(driver: &Driver) {
    let (of_regions, status) = (samples_of_regions(driver), status(driver));
    driver.board.write(driver.station.shard, |part| {
        part.of_regions = of_regions;
        part.status = status;
    });
}

/// Samples that take a visit to every region.
fn samples_of_regions(driver: &Driver) -> Vec<Sample> {
    let shard = driver.shard.borrow();
    let (peers, leads, quiet) = shard.count_peers();
    let sample = |metric, labels: &str, value: f64| Sample {
        metric,
        suffix: "",
        labels: labels.into(),
        value,
    };
    vec![
        sample(&REGIONS, ",part=\"leader\"", leads as f64),
        sample(&REGIONS, ",part=\"follower\"", (peers - leads) as f64),
        sample(&QUIET, "", quiet as f64),
        sample(&HELD, "", shard.held_bytes() as f64),
    ]
}

fn samples(driver: &Driver) -> Vec<Sample> {
    let mut out = Vec::new();
    let mut add = |metric: &'static Metric, labels: String, value: f64| {
        out.push(Sample {
            metric,
            suffix: "",
            labels,
            value,
        });
    };
    let figures = &driver.figures;
    let plain = String::new;
    for (number, name) in ERROR_NAMES.iter().enumerate() {
        let failed = figures.errors[number].get();
        if failed > 0 {
            add(&ERRORS, format!(",error=\"{name}\""), failed as f64);
        }
        let misled = figures.misled[number].get();
        if misled > 0 {
            add(&MISLED, format!(",error=\"{name}\""), misled as f64);
        }
    }
    add(&WAITING, plain(), driver.requests_under_way() as f64);
    add(&HELD_BACK, plain(), driver.room.waiting() as f64);
    add(&FORWARDED, plain(), figures.forwarded.get() as f64);
    add(
        &CONNECTIONS,
        plain(),
        driver.connections.borrow().len() as f64,
    );
    add(&ACCEPTED, plain(), figures.accepted.get() as f64);
    add(&CUT_OFF, plain(), figures.cut_off.get() as f64);
    add(&RECEIVED, plain(), figures.bytes_in.get() as f64);
    add(&SENT, plain(), figures.bytes_out.get() as f64);
    add(&DROPPED, plain(), figures.dropped.get() as f64);
    add(&QUARANTINED, plain(), figures.quarantined.get() as f64);
    add(&DIVERGED, plain(), figures.diverged.get() as f64);
    let shard = driver.shard.borrow();
    let splits = shard.split_figures();
    for (begun, cause) in splits.begun.iter().zip(CAUSES) {
        add(&SPLITS, format!(",cause=\"{cause}\""), *begun as f64);
    }
    add(&SPLITS_DONE, plain(), splits.done as f64);
    add(&SPLITS_FAILED, plain(), splits.failed as f64);
    let (last, longest) = (splits.held.last as f64, splits.held.longest as f64);
    add(&SPLIT_HELD_LAST, plain(), last / 1e9);
    add(&SPLIT_HELD_MAX, plain(), longest / 1e9);
    let pace = driver.log.pace();
    add(&LOG_WRITTEN, plain(), pace.bytes.get() as f64);
    {
        let log = shard.log();
        add(&LOG_LSN, plain(), log.durable_lsn().0 as f64);
        add(&LOG_SEGMENTS, plain(), f64::from(log.live_segments()));
        add(&LOG_LEFT, plain(), f64::from(log.segments_left()));
        add(
            &LOG_MEMORY,
            plain(),
            (log.cached_bytes() + log.memory_bytes()) as f64,
        );
    }
    let store = shard.store();
    let held = store.figures();
    add(&MEMTABLE, plain(), held.memtable_bytes as f64);
    add(&TABLES, plain(), held.table_bytes as f64);
    add(&NEEDLESS, plain(), held.needless_bytes as f64);
    add(&DEBT, plain(), held.debt_bytes as f64);
    add(&FLUSHED, plain(), held.counted.flushed_bytes as f64);
    add(&COMPACTED, plain(), held.counted.compacted_bytes as f64);
    add(
        &WRITE_AMPLIFICATION,
        plain(),
        held.write_amplification_permille as f64 / 1000.0,
    );
    add(&FULL, plain(), f64::from(u8::from(store.is_full())));
    summary(
        &mut out,
        &REQUESTS,
        ",kind=\"write\"",
        &figures.writes.borrow(),
    );
    summary(
        &mut out,
        &REQUESTS,
        ",kind=\"read\"",
        &figures.reads.borrow(),
    );
    for (suffix, value) in [
        ("_sum", splits.held.sum as f64 / 1e9),
        ("_count", splits.held.count as f64),
    ] {
        out.push(Sample {
            metric: &SPLIT_HELD,
            suffix,
            labels: String::new(),
            value,
        });
    }
    summary(&mut out, &LOG_WRITES, "", &pace.took.borrow());
    summary(&mut out, &TURNS, "", &figures.turns.borrow());
    out
}

fn summary(out: &mut Vec<Sample>, metric: &'static Metric, labels: &str, kept: &Histogram<u64>) {
    for (quantile, name) in QUANTILES {
        out.push(Sample {
            metric,
            suffix: "",
            labels: format!("{labels},quantile=\"{name}\""),
            value: kept.value_at_quantile(quantile) as f64 / 1e9,
        });
    }
    for (suffix, value) in [
        ("_sum", kept.mean() * kept.len() as f64 / 1e9),
        ("_count", kept.len() as f64),
    ] {
        out.push(Sample {
            metric,
            suffix,
            labels: labels.into(),
            value,
        });
    }
}

fn status(driver: &Driver) -> Value {
    let shard = driver.shard.borrow();
    let figures = shard.store().figures();
    let latency = |kept: &Histogram<u64>| {
        let micros = |quantile| kept.value_at_quantile(quantile) as f64 / 1e3;
        json!({ "count": kept.len(), "p50_us": micros(0.5), "p99_us": micros(0.99), "p999_us": micros(0.999) })
    };
    let statuses = shard.statuses();
    let regions = statuses.iter().map(|status| {
        let region = &status.region;
        let peers = region.peers.iter().map(|peer| {
            json!({ "peer": peer.peer.0, "store": peer.store.0, "role": format!("{:?}", peer.role).to_lowercase() })
        });
        json!({
            "region": region.id.0,
            "version": region.epoch.version,
            "conf_ver": region.epoch.conf_ver,
            "start": region.range.start.escape_ascii().to_string(),
            "limit": region.range.limit.escape_ascii().to_string(),
            "peer": status.peer.0,
            "peers": peers.collect::<Vec<_>>(),
            "leads": status.leads,
            "leader": status.leader.map(|peer| peer.0),
            "term": status.term.0,
            "applied": status.applied.0,
            "committed": status.committed.0,
        })
    });
    let splits = shard.split_figures();
    let begun = CAUSES.iter().zip(splits.begun);
    let begun = begun.map(|(cause, begun)| (cause.to_string(), Value::from(begun)));
    let splits = json!({
        "begun": begun.collect::<serde_json::Map<_, _>>(),
        "done": splits.done,
        "failed": splits.failed,
        "held_last_us": splits.held.last as f64 / 1e3,
        "held_max_us": splits.held.longest as f64 / 1e3,
        "held_us": splits.held.sum as f64 / 1e3,
        "held": splits.held.count,
    });
    json!({
        "store": driver.station.store.0,
        "shard": driver.station.shard,
        "serves": !driver.has_stopped() && shard.is_open(),
        "regions": regions.collect::<Vec<_>>(),
        "splits": splits,
        "leaders": statuses.iter().filter(|status| status.leads).count(),
        "connections": driver.connections.borrow().len(),
        "under_way": driver.requests_under_way(),
        "writes": latency(&driver.figures.writes.borrow()),
        "reads": latency(&driver.figures.reads.borrow()),
        "table_bytes": figures.table_bytes,
        "memtable_bytes": figures.memtable_bytes,
        "log_segments": shard.log().live_segments(),
        "disk_full": shard.store().is_full(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_all_shards_stand_under_one_head_each() {
        let board = Board::new(2);
        for shard in 0..2 {
            let samples = vec![Sample {
                metric: &SENT,
                suffix: "",
                labels: String::new(),
                value: f64::from(shard) + 1.0,
            }];
            let status = json!({ "shard": shard });
            board.write(shard, |part| {
                (part.samples, part.status) = (samples, status)
            });
        }
        let text = board.metrics();
        let at = text
            .find("# TYPE coracle_sent_bytes_total counter")
            .expect("its head");
        let lines: Vec<&str> = text[at..].lines().skip(1).take(2).collect();
        assert_eq!(
            lines,
            [
                "coracle_sent_bytes_total{shard=\"0\"} 1",
                "coracle_sent_bytes_total{shard=\"1\"} 2"
            ]
        );
        assert_eq!(board.status().len(), 2);
    }
}
