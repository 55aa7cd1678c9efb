//! A bench from start to end.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Instant;

use super::cluster::Cluster;
use super::generator::Generator;
use super::material::Keys;
use super::os;
use super::plan::{Plan, Protocol, Target, Workload};
use super::report::{self, Row, Setting, cores, counted};
use super::route::{self, Routes};
use crate::runtime::address::Address;
use crate::runtime::failure::{Exit, Failure};

/// More threads are not started unless they are asked for.
const THREADS: usize = 2;

/// Measures what was planned.
pub fn run(plan: &Plan) -> Result<(), Failure> {
    let all = os::cores();
    if let Some(missing) = plan.cores.iter().find(|core| !all.contains(core)) {
        let why = format!("core {missing} is not this process's to use; it may use {all:?}");
        return Err(Failure::new(Exit::Usage, why));
    }
    let (cluster, nodes, own_cores) = match &plan.target {
        Target::Running(nodes) => (None, nodes.clone(), Vec::new()),
        Target::Own {
            nodes,
            shards,
            directory,
            spin,
            regions,
        } => {
            if *shards > all.len() {
                let why = format!(
                    "{shards} shards want as many cores, and there are {}",
                    all.len()
                );
                return Err(Failure::new(Exit::Usage, why));
            }
            tell(&format!(
                "starting {} of {}, and waiting for {} of every region …",
                counted(*nodes, "node"),
                counted(*shards, "shard"),
                counted(*nodes, "replica")
            ));
            let keys = Keys {
                count: plan.keys,
                size: plan.key_size,
            };
            let borders = keys.borders(*regions);
            let cluster = Cluster::start(*nodes, *shards, *spin, directory, &all, &borders)?;
            let (nodes, cores) = (cluster.addresses().to_vec(), cluster.cores.clone());
            (Some(cluster), nodes, cores)
        }
    };
    let left = all.iter().filter(|core| !own_cores.contains(core));
    let left: Vec<usize> = left.copied().collect();
    let client_cores = match (plan.cores.is_empty(), left.is_empty()) {
        (false, _) => plan.cores.clone(),
        (true, false) => left,
        (true, true) => all.clone(),
    };
    if own_cores.iter().any(|core| client_cores.contains(core)) {
        tell(
            "the nodes and the load generator share cores here: the figures show that it works, and little else",
        );
    }
    let generator = Generator {
        routes: routes(plan, &nodes)?,
        protocol: plan.protocol,
        keys: Keys {
            count: plan.keys,
            size: plan.key_size,
        },
        value_size: plan.value_size,
        threads: plan.threads.unwrap_or(client_cores.len().min(THREADS)),
        cores: client_cores,
        nodes: cluster.as_ref().map(Cluster::processes).unwrap_or_default(),
    };
    let setting = setting(plan, &generator, cluster.as_ref());
    measure(plan, &generator, &setting)?;
    drop(cluster);
    Ok(())
}

fn routes(plan: &Plan, nodes: &[Address]) -> Result<Routes, Failure> {
    match plan.protocol {
        Protocol::Native => {
            route::greet(nodes)?;
            Routes::find(nodes)
        }
        Protocol::Resp => {
            let doors: Result<Vec<SocketAddr>, String> =
                nodes.iter().map(|node| node.resolve(node.port)).collect();
            let doors = doors.map_err(|why| Failure::new(Exit::Usage, why))?;
            Ok(Routes::anywhere(doors))
        }
    }
}

fn setting(plan: &Plan, generator: &Generator, cluster: Option<&Cluster>) -> Setting {
    let target = match (&plan.target, cluster) {
        (Target::Own { nodes, shards, .. }, Some(cluster)) => format!(
            "{} of {} on {}",
            counted(*nodes, "node"),
            counted(*shards, "shard"),
            cores(&cluster.cores)
        ),
        (Target::Running(nodes), _) => {
            let nodes: Vec<String> = nodes.iter().map(Address::to_string).collect();
            format!("nodes at {}", nodes.join(" "))
        }
        (Target::Own { .. }, None) => unreachable!("own nodes were started"),
    };
    let replicas = match &plan.target {
        Target::Own { nodes, .. } => *nodes,
        Target::Running(_) => generator.routes.replicas,
    };
    Setting {
        target,
        durability: cluster.map(Cluster::durability),
        replicas,
        node_cores: cluster
            .map(|cluster| cluster.cores.clone())
            .unwrap_or_default(),
        client_cores: generator.cores.clone(),
        threads: generator.threads,
        protocol: plan.protocol.name(),
        keys: plan.keys,
        key_size: plan.key_size,
        value_size: plan.value_size,
        seconds: plan.duration.as_secs_f64(),
    }
}

fn measure(plan: &Plan, generator: &Generator, setting: &Setting) -> Result<(), Failure> {
    if plan.load && plan.workloads.iter().any(|workload| workload.reads() > 0.0) {
        load(plan, generator)?;
    }
    match plan.json {
        true => say(&setting.json().to_string())?,
        false => say(&setting.text())?,
    }
    let own_nodes = matches!(plan.target, Target::Own { .. });
    let mut foreign: f64 = 0.0;
    let mut silent = None;
    for workload in &plan.workloads {
        for shape in &plan.shapes {
            let stretch = generator.measure(*workload, *shape, plan.warmup, plan.duration)?;
            foreign = foreign.max(stretch.used.foreign);
            let tally = &stretch.tally;
            if tally.reads.answered + tally.writes.answered == 0 {
                silent = Some(tally.errors.clone());
            }
            let kinds: &[bool] = match workload {
                Workload::Put => &[false],
                Workload::Get => &[true],
                Workload::Mixed(_) => &[true, false],
            };
            for reads in kinds {
                let row = Row {
                    workload: *workload,
                    shape: *shape,
                    stretch: &stretch,
                    reads: *reads,
                    value_size: plan.value_size,
                    own_nodes,
                };
                match plan.json {
                    true => say(&row.json().to_string())?,
                    false => {
                        say(&row.text())?;
                        if Some(reads) == kinds.last() {
                            for note in row.notes() {
                                say(&format!("    {note}"))?;
                            }
                        }
                    }
                }
            }
        }
    }
    if !plan.json {
        let last = report::last_words(foreign, own_nodes, os::cores().len());
        say(&last)?;
    }
    match silent {
        None => Ok(()),
        Some(errors) => {
            let why = format!("not one request was answered as it should be; errors: {errors:?}");
            Err(Failure::new(Exit::Failed, why))
        }
    }
}

/// Writes every key, so that reads find it.
fn load(plan: &Plan, generator: &Generator) -> Result<(), Failure> {
    let begin = Instant::now();
    let is_seen = std::io::stderr().is_terminal();
    generator.load(|loaded| {
        let seconds = begin.elapsed().as_secs_f64();
        let line = format!("loading: {loaded} of {} keys, {seconds:.1} s", plan.keys);
        let is_last = loaded == plan.keys;
        match is_seen {
            true => {
                eprint!("\r{line}{}", if is_last { "\n" } else { "" });
                // Progress that cannot be told is no reason to stop.
                let _ = std::io::stderr().flush();
            }
            false => eprintln!("{line}"),
        }
    })
}

/// To standard output. Whoever reads it may have gone, as in a pipe to head.
fn say(line: &str) -> Result<(), Failure> {
    let told = writeln!(std::io::stdout(), "{line}");
    told.map_err(|error| Failure::new(Exit::Failed, format!("standard output: {error}")))
}

/// To standard error, while something is done.
fn tell(line: &str) {
    eprintln!("{line}");
}
