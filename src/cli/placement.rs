//! `coracle placement`: what placement strives for and is about, and how it is held.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::placement::errands::Cause;
use crate::placement::overview::{Ended, Going, Overview, StoreSight};
use crate::placement::{Message, Options};

/// What is done with placement.
#[derive(Subcommand)]
pub enum PlacementCommand {
    /// Show what it strives for, its bounds, what is under way and what has ended
    #[command(
        after_help = "Whoever leads region 1 runs placement, and remembers what was under way since then.\n\nExamples:\n  coracle placement show\n  coracle placement show --json"
    )]
    Show(Show),
    /// Let nothing more begin, until 'resume'
    #[command(
        after_help = "While it is paused no replica is added, moved, removed or made up for, and nobody else is made to lead; only what\nhas begun to change its voters comes to its end. It stays so wherever placement runs, also after restarts.\nA copy that is under way is used or taken back after 'resume'.\n\nExamples:\n  coracle placement pause"
    )]
    Pause(Hold),
    /// Let it go on
    #[command(after_help = "Examples:\n  coracle placement resume")]
    Resume(Hold),
}

/// Shows it.
#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    target: Target,
}

/// Holds it, or lets it go on.
#[derive(Args)]
pub struct Hold {
    #[command(flatten)]
    target: Target,
}

/// Runs one of them.
pub(super) fn run(command: PlacementCommand) -> Result<(), Failure> {
    match command {
        PlacementCommand::Show(show) => self::show(&show),
        PlacementCommand::Pause(hold) => self::hold(&hold, true),
        PlacementCommand::Resume(hold) => self::hold(&hold, false),
    }
}

fn hold(hold: &Hold, paused: bool) -> Result<(), Failure> {
    let mut caller = hold.target.connect()?;
    match caller.ask_placement(&Message::Pause { paused }) {
        Ok(Message::Paused { paused: is }) if is == paused => {}
        Ok(other) => return Err(strange(&other)),
        Err(error) => return Err(failed(error)),
    }
    let mut out = hold.target.output();
    let text = || match paused {
        true => "placement is paused: nothing begins until 'coracle placement resume'".into(),
        false => "placement goes on".into(),
    };
    out.line(text, || json!({ "paused": paused }));
    out.finish()
}

fn show(show: &Show) -> Result<(), Failure> {
    let mut caller = show.target.connect()?;
    let overview = match caller.ask_placement(&Message::ShowPlacement) {
        Ok(Message::Overview(overview)) => overview,
        Ok(other) => return Err(strange(&other)),
        Err(error) => return Err(Failure::new(Exit::Failed, error)),
    };
    let mut out = show.target.output();
    if show.target.is_json() {
        out.line(String::new, || in_json(&overview));
        return out.finish();
    }
    out.bytes(facts(&overview).as_bytes());
    let rows: Vec<Vec<String>> = overview.stores.iter().map(row).collect();
    out.table(
        &[
            "STORE",
            "NODE",
            "STATE",
            "REPLICAS",
            "LEADS",
            "REQUESTS/S",
            "COPIES IN",
            "COPIES OUT",
        ],
        &rows,
    );
    let going: Vec<Vec<String>> = overview.under_way.iter().map(going).collect();
    match going.is_empty() {
        true => out.bytes(b"\nnothing is under way\n"),
        false => {
            out.bytes(b"\nunder way\n");
            out.table(&["REGION", "WHY", "SINCE", "WHAT"], &going);
        }
    }
    let ended: Vec<Vec<String>> = overview.ended.iter().map(ended).collect();
    if !ended.is_empty() {
        out.bytes(b"\nended\n");
        out.table(
            &["REGION", "WHY", "TOOK", "ENDED", "OUTCOME", "WHAT"],
            &ended,
        );
    }
    out.finish()
}

/// What it strives for, in lines.
fn facts(overview: &Overview) -> String {
    let options = &overview.options;
    let state = match (overview.paused, options.balances) {
        (true, _) => "paused: nothing begins until 'coracle placement resume'",
        (false, true) => "at work",
        (false, false) => "at work, and evens nothing out",
    };
    let bounds = Cause::ALL.map(|cause| format!("{} {}", cause.word(), options.most(cause)));
    format!(
        "placement  {state}\nserves     {}\nregions    {}\nreplicas   {} each, made up for after {} of silence; kept apart by {}\n\
         copies     up to {} to a store and {} from one, given up after {}; other steps after {}\n\
         at once    {}\n\n",
        span(overview.serves_ms),
        overview.regions,
        options.replicas,
        span(options.down_ms),
        match options.spread.is_empty() {
            true => "node".into(),
            false => options.spread.join(", ") + ", node",
        },
        options.copies_in,
        options.copies_out,
        span(options.learner_ms),
        span(options.operator_ms),
        bounds.join(", "),
    )
}

/// A time for a person.
fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s @ 1..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s => format!("{} h", s / 3600),
    }
}

fn row(store: &StoreSight) -> Vec<String> {
    vec![
        store.store.to_string(),
        store.node.to_string(),
        store.state.clone(),
        store.peers.to_string(),
        store.leaders.to_string(),
        store.requests.to_string(),
        store.copies_in.to_string(),
        store.copies_out.to_string(),
    ]
}

fn why(cause: Option<Cause>) -> String {
    cause.map_or("step", Cause::word).into()
}

fn going(going: &Going) -> Vec<String> {
    vec![
        going.region.to_string(),
        why(going.cause),
        span(going.ms),
        going.what.clone(),
    ]
}

fn ended(ended: &Ended) -> Vec<String> {
    vec![
        ended.went.region.to_string(),
        why(ended.went.cause),
        span(ended.went.ms),
        format!("{} ago", span(ended.ago_ms)),
        ended.outcome.words().into(),
        ended.went.what.clone(),
    ]
}

fn in_json(overview: &Overview) -> Value {
    let going = |going: &Going| {
        json!({
            "region": going.region.0, "why": going.cause.map(Cause::word), "what": going.what, "ms": going.ms,
        })
    };
    let stores = overview.stores.iter().map(|store| {
        json!({
            "store": store.store.0, "node": store.node.0, "state": store.state, "replicas": store.peers,
            "leaders": store.leaders, "requests_per_second": store.requests, "copies_in": store.copies_in, "copies_out": store.copies_out,
        })
    });
    let ended = overview.ended.iter().map(|ended| {
        let mut value = going(&ended.went);
        value["outcome"] = ended.outcome.words().into();
        value["ago_ms"] = ended.ago_ms.into();
        value
    });
    json!({
        "paused": overview.paused, "serves_ms": overview.serves_ms, "regions": overview.regions,
        "policy": policy(&overview.options),
        "stores": stores.collect::<Vec<_>>(),
        "under_way": overview.under_way.iter().map(going).collect::<Vec<_>>(),
        "ended": ended.collect::<Vec<_>>(),
    })
}

fn policy(options: &Options) -> Value {
    let bounds = Cause::ALL.map(|cause| (cause.word().to_string(), options.most(cause).into()));
    json!({
        "replicas": options.replicas, "balances": options.balances, "down_ms": options.down_ms,
        "fit_ms": options.fit_ms, "step_ms": options.operator_ms, "copy_ms": options.learner_ms,
        "hand_rest_ms": options.hand_rest_ms, "load_rest_ms": options.load_rest_ms,
        "load_floor": options.load_floor, "spread": options.spread, "copies_in": options.copies_in, "copies_out": options.copies_out,
        "at_once": Value::Object(bounds.into_iter().collect()),
    })
}
