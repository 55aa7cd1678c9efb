#!/usr/bin/env python3
"""Three nodes of one shard beside three members of etcd, every write on a majority's disk before it is answered.

Closed-loop clients over at most 16 connections, 1 to 256 requests under way, keys of 8 B, asked at the leader on both
sides. Our nodes are on cores 0, 1 and 2 and our client on core 3; etcd and its client may use all four as they like,
unless --pin gives members and client the cores that ours have. Rounds are interleaved; etcd is started anew before
reads, which after many writes are slower.
"""

import argparse
import json
import os
import subprocess
import sys

import sides

KEYS = 100_000
CONNECTIONS = 16
WARMUP = 1.0
BOUND = 0.9
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "etcd-load", "main.go")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of runs for each cell")
    parser.add_argument("--seconds", type=float, default=3.0, help="so long a run, after a second that does not count")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256], help="requests under way")
    parser.add_argument("--operations", nargs="+", default=["put", "get"], choices=["put", "get"])
    parser.add_argument("--value-size", type=int, default=256)
    parser.add_argument("--pin", action="store_true", help="etcd on cores 0 to 2 and its client on core 3, as ours")
    parser.add_argument("--spin", type=int, default=0, help="microseconds that our idle executors spin")
    parser.add_argument("--no-lease", action="store_true", help="our reads ask a quorum each time, as those of etcd do")
    sides.add_any_machine(parser)
    parser.add_argument("--coracle", help="the program to measure; target/release/coracle by default")
    parser.add_argument("--json", help="a file for all samples")
    return parser.parse_args()


def output(arguments, **more):
    """What a program says; its failure ends the bench."""
    out = subprocess.run(arguments, capture_output=True, text=True, check=False, **more)
    if out.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: {out.stdout}{out.stderr}")
    return out.stdout


class Etcd:
    """Three members, and their client."""

    def __init__(self, processes, options, cores):
        self.processes, self.options = processes, options
        self.members = []
        servers, client = (",".join(map(str, cores[:3])), str(cores[3])) if options.pin else (None, None)
        self.server_pin = ["taskset", "-c", servers] if servers else []
        self.client_pin = ["taskset", "-c", client] if client else []
        self.client_cores = 1 if options.pin else len(cores)
        self.ports = [sides.free_port() for _ in range(3)]
        self.program = f"{processes.directory}/etcd-load"
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                       "GOCACHE": f"{processes.directory}/go-cache"}
        output(["go", "build", "-o", self.program, SOURCE], env=environment)
        self.start()
        self.ask("load", 64)

    def start(self):
        """Starts all members, anew if they run."""
        for member in self.members:
            self.processes.stop(member)
        url = lambda port: f"http://127.0.0.1:{port}"
        cluster = ",".join(f"m{number}={url(port + 1)}" for number, port in enumerate(self.ports))
        self.members = []
        for number, port in enumerate(self.ports):
            asked = self.server_pin + ["etcd", "--name", f"m{number}", "--data-dir", f"{self.processes.directory}/m{number}",
                     "--listen-client-urls", url(port), "--advertise-client-urls", url(port),
                     "--listen-peer-urls", url(port + 1), "--initial-advertise-peer-urls", url(port + 1),
                     "--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error",
                     "--quota-backend-bytes", str(8 << 30)]
            self.members.append(self.processes.start(asked, f"etcd-{number}.log"))
        sides.wait_for("etcd", self.find_leader, self.members[0])

    def find_leader(self):
        """Where the leader is asked; whether there is one."""
        endpoints = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        out = subprocess.run(["etcdctl", f"--endpoints={endpoints}", "endpoint", "status", "-w", "json"],
                             capture_output=True, text=True, check=False, env={**os.environ, "ETCDCTL_API": "3"})
        if out.returncode != 0:
            return False
        states = json.loads(out.stdout)
        leaders = [state["Endpoint"] for state in states
                   if state["Status"]["leader"] == state["Status"]["header"]["member_id"]]
        self.leader = leaders[0] if len(states) == 3 and len(leaders) == 1 else None
        return self.leader is not None

    def ask(self, operation, clients):
        """One run."""
        out = output(self.client_pin + [self.program, "-endpoints", self.leader, "-op", operation, "-clients", str(clients),
                     "-connections", str(CONNECTIONS), "-value-size", str(self.options.value_size), "-keys", str(KEYS),
                     "-seconds", str(0.001 if operation == "load" else self.options.seconds),
                     "-warmup", str(0 if operation == "load" else WARMUP)])
        got = json.loads(out)
        return {"rate": got["ops_per_second"], "p50": got["p50_us"] / 1e3, "p99": got["p99_us"] / 1e3,
                "errors": got["errors"], "client_bound": got["client_cores"] > BOUND * self.client_cores}


class Coracle:
    """Three nodes, and their client."""

    def __init__(self, processes, options, cores):
        self.options, self.client_core = options, str(cores[3])
        self.program = sides.coracle(options.coracle)
        self.members, self.directory = [], processes.directory
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CORACLE_")}
        self.environment = {**environment, "CORACLE_STORE__COMPRESS": "false", "CORACLE_SPLIT__AUTOMATIC": "false"}
        if options.no_lease:
            self.environment["CORACLE_RAFT__LEASE_MS"] = "0"
        first = sides.free_port()
        self.target = f"127.0.0.1:{first}"
        for number, port in enumerate([first, sides.free_port(), sides.free_port()]):
            asked = [self.program, "start", "--data", f"{self.directory}/coracle-{number}", "--cores", str(cores[number]),
                     "--listen", f"127.0.0.1:{port}", "--level", "warn", "--spin", str(options.spin)]
            if number > 0:
                asked += ["--join", self.target]
            node = processes.start(asked, f"coracle-{number}.log", env=self.environment)
            self.members.append(node)
            sides.wait_for("coracle", lambda: sides.answers(port), node)
        sides.wait_for("three replicas", self.is_replicated, seconds=120)
        self.bench("get", 1, 0.1, 0, [])

    def is_replicated(self):
        """Whether writes go to three nodes."""
        asked = [self.program, "bench", "--target", self.target, "--workload", "put", "--connections", "1", "--keys", "1",
                 "--duration", "100ms", "--warmup", "0s", "--json"]
        out = subprocess.run(asked, capture_output=True, text=True, check=False, env=self.environment)
        return out.returncode == 0 and json.loads(out.stdout.splitlines()[0])["replicas"] == 3

    def bench(self, operation, clients, seconds, warmup, more):
        """One run of our bench, as it tells of it."""
        connections = min(clients, CONNECTIONS)
        out = output([self.program, "bench", "--target", self.target, "--workload", operation, "--json",
                      "--connections", str(connections), "--pipeline", str(clients // connections), "--keys", str(KEYS),
                      "--key-size", "8", "--value-size", str(self.options.value_size), "--cores", self.client_core,
                      "--threads", "1", "--duration", f"{seconds}s", "--warmup", f"{warmup}s", *more], env=self.environment)
        return json.loads(out.splitlines()[1])

    def ask(self, operation, clients):
        """One run."""
        got = self.bench(operation, clients, self.options.seconds, WARMUP, ["--no-load"])
        latency = got["latency_us"]
        return {"rate": got["ops_per_second"], "p50": latency["p50"] / 1e3, "p99": latency["p99"] / 1e3,
                "errors": sum(got["errors"].values()), "client_bound": got["client_bound"]}


def main():
    options = arguments()
    sides.check_machine(options.any_machine, "etcd", "etcdctl", "go", "taskset")
    if any(clients > CONNECTIONS and clients % CONNECTIONS for clients in options.clients):
        sides.refuse(f"--clients above {CONNECTIONS} must be multiples of it")
    cores = sorted(os.sched_getaffinity(0))
    # Three nodes and a client: with fewer cores they share.
    cores = [cores[place % len(cores)] for place in range(max(4, len(cores)))]
    processes = sides.Processes()
    both = {"coracle": Coracle(processes, options, cores), "etcd": Etcd(processes, options, cores)}

    def run(cell, side):
        operation, clients = cell.split(", ")
        other = "etcd" if side == "coracle" else "coracle"
        meter = sides.Meter(both[side].members, both[other].members)
        sample = both[side].ask(operation, int(clients))
        sample.update(meter.cores())
        return sample

    samples = {}
    for operation in options.operations:
        if operation == "get":
            both["etcd"].start()
        cells = [f"{operation}, {clients}" for clients in options.clients]
        samples.update(sides.interleave(options.rounds, cells, ["coracle", "etcd"], run))
    version = output(["etcd", "--version"]).split()[2]
    with open(f"{processes.directory}/coracle-0/shard-000/durability") as file:
        durability = file.read().strip()
    pinned = "as ours" if options.pin else "on any core"
    print(sides.machine_line(f"etcd {version} {pinned}; coracle {durability}, nodes on cores {cores[:3]}, client on "
                             f"{cores[3]}; {options.value_size} B, {KEYS} keys; {options.rounds} rounds of "
                             f"{options.seconds} s"))
    print()
    sides.table(samples, "coracle", "etcd", "operation, clients")
    sides.keep(options.json, samples)


if __name__ == "__main__":
    main()
