#!/usr/bin/env python3
"""The log of a node under load beside a bare loop that writes batches of the same size, as many at a time.

A node of one shard is loaded with durable SETs. From its own counters: bytes and writes of the log in a window in
which the load was steady, and by Little's law how many writes were under way. Then the node stands still, and
`coracle bench log --bare` writes what it wrote, over the same kind of ring to the same file system. Both take turns.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import sides

KEYS = 100_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs for each size")
    parser.add_argument("--seconds", type=float, default=3.0, help="about so long a run")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--value-size", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2, help="threads of the client")
    sides.add_any_machine(parser)
    parser.add_argument("--coracle", help="the program to measure; target/release/coracle by default")
    parser.add_argument("--json", help="a file for all samples")
    return parser.parse_args()


class Bench:
    """The node, its client, and the bare loop."""

    def __init__(self, options):
        self.options = options
        self.program = sides.coracle(options.coracle)
        self.processes = sides.Processes()
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.client_cores = str(cores[0]), ",".join(map(str, cores[1:]))
        self.port = sides.free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CORACLE_")}
        environment["CORACLE_SPLIT__AUTOMATIC"] = "false"
        node = ["taskset", "-c", self.server_core, self.program, "start", "--data", f"{self.processes.directory}/node",
                "--cores", self.server_core, "--listen", f"127.0.0.1:{self.port}", "--level", "warn"]
        server = self.processes.start(node, "coracle.log", env=environment)
        sides.wait_for("coracle", lambda: sides.answers(self.port), server)
        self.requests = {}

    def counters(self):
        """Bytes and writes of the log so far, and the seconds that all writes took together."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        names = {"bytes": "log_written_bytes_total", "writes": "log_write_seconds_count", "waited": "log_write_seconds_sum",
                 "answered": 'request_seconds_count{shard="0",kind="write"'}
        found = {}
        for key, name in names.items():
            match = re.search(rf"^coracle_{re.escape(name)}\S* (\S+)$", text, re.MULTILINE)
            if not match:
                sys.exit(f"the node does not tell {name}")
            found[key] = float(match[1])
        return found

    def node(self, size):
        """The node under load: what its log writes in the middle of a run."""
        requests = self.requests.get(size, 20_000)
        client = subprocess.Popen(
            ["taskset", "-c", self.client_cores, "redis-benchmark", "-p", str(self.port), "-t", "set", "-q",
             "-c", str(self.options.connections), "-P", str(self.options.pipeline), "-d", str(size), "-r", str(KEYS),
             "-n", str(requests), "--threads", str(self.options.threads)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begin = time.monotonic()
        # The node tells its counters anew twice a second.
        samples = []
        while client.poll() is None:
            samples.append((time.monotonic(), self.counters()))
            time.sleep(0.5)
        took = time.monotonic() - begin
        self.requests[size] = max(20_000, int(requests / took * self.options.seconds))
        if len(samples) < 4:
            return None
        (first_at, first), (last_at, last) = samples[1], samples[-1]
        seconds = last_at - first_at
        gained = {key: last[key] - first[key] for key in first}
        if gained["writes"] < 100:
            return None
        return {"mb": gained["bytes"] / seconds / 1e6, "writes": gained["writes"] / seconds,
                "write_bytes": gained["bytes"] / gained["writes"], "in_flight": gained["waited"] / seconds,
                "sets": gained["answered"] / seconds}

    def bare(self, write_bytes, in_flight):
        """Writes of that size, so many at a time, over the log of `coracle bench log`, which finds the size."""
        batch = int(write_bytes) // (512 << 10) + 1
        out = subprocess.run(
            ["taskset", "-c", self.server_core, self.program, "bench", "log", "--bare", "--json", "--batch", str(batch),
             "--regions", "1", "--entry-bytes", str(max(1, (int(write_bytes) - 128) // batch)), "--in-flight", str(max(1, round(in_flight))),
             "--seconds", str(max(1, round(self.options.seconds))), "--directory", self.processes.directory],
            capture_output=True, text=True, check=False)
        if out.returncode != 0:
            sys.exit(f"coracle bench log: {out.stdout}{out.stderr}")
        rows = [json.loads(line) for line in out.stdout.splitlines()]
        return next(row for row in rows if "bare_write_bytes" in row)


def spread(values):
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def main():
    options = arguments()
    sides.check_machine(options.any_machine, "redis-benchmark", "taskset")
    bench = Bench(options)
    rows = {size: [] for size in options.value_size}
    for size in options.value_size:
        bench.node(size)
        bench.node(size)
    for _ in range(options.rounds):
        for size, kept in rows.items():
            # A run that was cut too short to count sets the length of the next.
            node = next(filter(None, (bench.node(size) for _ in range(4))), None)
            if node is None:
                sys.exit(f"{size} B: the run was too short to count; give more --seconds")
            bare = bench.bare(node["write_bytes"], node["in_flight"])
            kept.append({"node": node, "bare": bare, "ratio": node["mb"] / bare["mb_per_second"]})
    print(sides.machine_line(f"{options.connections} connections, -P {options.pipeline}; node and bare loop on core "
                             f"{bench.server_core}, client on {bench.client_cores}; {options.rounds} rounds of {options.seconds} s"))
    print()
    print("| value | SETs/s | write of the log | under way | node MB/s | bare MB/s | node / bare |")
    print("|---|---|---|---|---|---|---|")
    for size, kept in rows.items():
        of = lambda part, name: [sample[part][name] for sample in kept]
        print(f"| {size} B | {spread(of('node', 'sets'))} | {statistics.median(of('node', 'write_bytes')):.0f} B | "
              f"{statistics.median(of('node', 'in_flight')):.1f} | {spread(of('node', 'mb'))} | "
              f"{spread(of('bare', 'mb_per_second'))} | {spread([sample['ratio'] for sample in kept])} |")
    sides.keep(options.json, rows)


if __name__ == "__main__":
    main()
