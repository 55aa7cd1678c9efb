//! `coracle bench` as a person runs it: figures that can be, and refusals that say what would do.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
        .arg("bench")
        .args(arguments.split_whitespace())
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("it runs")
}

/// What holds for all rows, and the rows.
fn rows(arguments: &str) -> (Value, Vec<Value>) {
    let output = bench(&format!("{arguments} --json"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {told}");
    let out = String::from_utf8_lossy(&output.stdout);
    let mut lines = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an object"));
    let setting = lines.next().expect("a line for all");
    (setting, lines.collect())
}

/// Figures that can be: something was done, percentiles rise, and nothing failed, but that a node may be too
/// busy for some of what is asked of it.
fn check(row: &Value) {
    let mut errors = row["errors"].as_object().expect("errors by name").keys();
    assert!(errors.all(|name| name.starts_with("busy: ")), "{row}");
    assert!(row["count"].as_u64().expect("a count") > 0, "{row}");
    assert!(
        row["ops_per_second"].as_f64().expect("a rate") > 0.0,
        "{row}"
    );
    let latency = |name: &str| row["latency_us"][name].as_f64().expect("a latency");
    let rising = ["p50", "p90", "p99", "p999", "max"].map(latency);
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{row}");
}

#[test]
fn a_node_of_its_own_is_written_and_read() {
    let (setting, rows) = rows("--duration 1s --warmup 200ms --keys 2000");
    assert_eq!(setting["replicas"], 1);
    assert!(
        ["written through", "written and synced"]
            .contains(&setting["durability"].as_str().expect("a word"))
    );
    let what: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {}", row["op"], row["connections"], row["pipeline"]))
        .collect();
    let expected = [
        r#""put" 1 1"#,
        r#""put" 64 1"#,
        r#""put" 64 16"#,
        r#""get" 1 1"#,
        r#""get" 64 1"#,
        r#""get" 64 16"#,
    ];
    assert_eq!(what, expected);
    rows.iter().for_each(check);
}

#[test]
fn a_fixed_rate_is_kept_and_told_apart_by_kind() {
    let arguments = "--duration 1s --warmup 200ms --keys 1000 --value-size 100 --connections 4 --rate 500 \
                     --workload mixed --reads 0.8 --threads 1";
    let (_, rows) = rows(arguments);
    rows.iter().for_each(check);
    let counts = [&rows[0], &rows[1]].map(|row| row["count"].as_u64().expect("a count"));
    assert_eq!(rows[0]["op"], "get");
    assert!((499..=501).contains(&(counts[0] + counts[1])), "{counts:?}");
    assert!(counts[0] > counts[1], "{counts:?}");
    assert!(rows[0]["service_us"]["p50"].as_f64() <= rows[0]["latency_us"]["p50"].as_f64());
}

#[test]
fn redis_protocol_and_large_values_go_as_well() {
    let (setting, rows) = rows(
        "--duration 500ms --warmup 100ms --keys 100 --value-size 200000 --connections 2 --proto resp \
         --pipeline 2",
    );
    assert_eq!(setting["proto"], "resp");
    rows.iter().for_each(check);
}

#[test]
fn shards_pass_on_what_another_one_leads() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return eprintln!("skipped: two shards want two cores");
    }
    let (_, rows) = rows(
        "--shards 2 --duration 500ms --warmup 100ms --keys 20000 --connections 32 --pipeline 16 --proto resp",
    );
    assert_eq!(rows.len(), 2);
    rows.iter().for_each(check);
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    for (arguments, code, expected) in [
        ("--value-size 0", 2, "from 1 to 1048576"),
        ("--key-size 3", 2, "from 4 to 4095"),
        ("--key-size 4 --keys 5000", 2, "do not fit in 4 bytes"),
        ("--duration 1ms", 2, "from 100ms"),
        ("--duration soon", 2, "as in 500ms"),
        ("--reads 0.5", 2, "--workload mixed only"),
        ("--workload mixed --reads 2", 2, "from 0 to 1"),
        ("--target nowhere", 2, "as in 127.0.0.1:7400"),
        ("--target 127.0.0.1:1", 1, "no node answers"),
        ("--target 127.0.0.1:1 --nodes 3", 2, "cannot be used with"),
        (
            "--connections 10000 --pipeline 4096",
            2,
            "too much under way",
        ),
        ("--connections 0", 2, "1..=10000"),
        ("--cores 100000", 2, "core 100000 is not"),
        ("--rate 0", 2, "1..=10000000"),
        ("--colour red", 2, "unexpected argument"),
    ] {
        let output = bench(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {told}");
        assert!(told.contains(expected), "{arguments}: {told}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}
