#!/usr/bin/env python3
"""One node of one shard beside redis-server with every write synced before it is answered.

redis-benchmark is the client of both; the servers are on one core, each alone there while the other idles; the client
is on the others. Rounds are interleaved.
"""

import argparse
import csv
import os
import socket
import subprocess
import sys

import sides

KEYS = 100_000
# A client is the limit when it uses more than this part of its threads.
BOUND = 0.9


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of runs for each cell")
    parser.add_argument("--seconds", type=float, default=2.0, help="about so long a run")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--value-size", type=int, default=256)
    parser.add_argument("--pipeline", type=int, nargs="+", default=[1, 16])
    # With more than one, redis-benchmark ends its runs at multiples of 250 ms only.
    parser.add_argument("--threads", type=int, default=1, help="threads of the client; rates get coarse above 1")
    parser.add_argument("--spin", type=int, default=0, help="microseconds that our idle executor spins")
    sides.add_any_machine(parser)
    parser.add_argument("--coracle", help="the program to measure; target/release/coracle by default")
    parser.add_argument("--json", help="a file for all samples")
    return parser.parse_args()


def load(port, value_size):
    """Every key once, so that reads find it."""
    value = os.urandom(value_size // 2 + 1).hex()[:value_size].encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        reader = connection.makefile("rb")
        for first in range(0, KEYS, 500):
            words = [b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$%d\r\n%s\r\n" % (key, len(value), value)
                     for key in range(first, first + 500)]
            connection.sendall(b"".join(words))
            for _ in words:
                reply = reader.readline()
                if reply != b"+OK\r\n":
                    sys.exit(f"loading port {port}: {reply!r}")


class Bench:
    """Both servers, and the client."""

    def __init__(self, options):
        self.options = options
        self.processes = sides.Processes()
        directory, cores = self.processes.directory, sorted(os.sched_getaffinity(0))
        self.server_core, self.client_cores = str(cores[0]), ",".join(map(str, cores[1:]))
        os.mkdir(f"{directory}/redis")
        self.ports = {"coracle": sides.free_port(), "redis": sides.free_port()}
        pinned = ["taskset", "-c", self.server_core]
        # Neither side compresses, and Redis does not rewrite its log meanwhile.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CORACLE_")}
        environment["CORACLE_STORE__COMPRESS"] = "false"
        environment["CORACLE_SPLIT__AUTOMATIC"] = "false"
        ours = [sides.coracle(options.coracle), "start", "--data", f"{directory}/coracle", "--cores", self.server_core,
                "--listen", f"127.0.0.1:{self.ports['coracle']}", "--level", "warn", "--spin", str(options.spin)]
        theirs = ["redis-server", "--port", str(self.ports["redis"]), "--bind", "127.0.0.1", "--dir", f"{directory}/redis",
                  "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--auto-aof-rewrite-percentage", "0"]
        self.servers = {"coracle": self.processes.start(pinned + ours, "coracle.log", env=environment),
                        "redis": self.processes.start(pinned + theirs, "redis.log")}
        for side, port in self.ports.items():
            sides.wait_for(side, lambda: sides.answers(port), self.servers[side])
            load(port, options.value_size)
        self.rates = {}

    def ask(self, side, command, pipeline, requests):
        """One run of redis-benchmark: its rate and latencies."""
        asked = ["taskset", "-c", self.client_cores, "redis-benchmark", "-p", str(self.ports[side]), "-t", command.lower(),
                 "-c", str(self.options.connections), "-P", str(pipeline), "-d", str(self.options.value_size),
                 "-r", str(KEYS), "-n", str(requests), "--csv"]
        if self.options.threads > 1:
            asked += ["--threads", str(self.options.threads)]
        out = subprocess.run(asked, capture_output=True, text=True, check=False)
        rows = list(csv.DictReader(line for line in out.stdout.splitlines() if line.startswith('"')))
        if out.returncode != 0 or not rows:
            sys.exit(f"redis-benchmark against {side}: {out.stdout}{out.stderr}")
        row = rows[0]
        errors = sum("error" in line.lower() for line in out.stderr.splitlines())
        return {"rate": float(row["rps"]), "p50": float(row["p50_latency_ms"]), "p99": float(row["p99_latency_ms"]),
                "errors": errors}

    def run(self, cell, side):
        """One run that takes about as long as was asked for."""
        command, pipeline = cell.split(" -P ")
        pipeline = int(pipeline)
        if (cell, side) not in self.rates:
            self.rates[cell, side] = self.ask(side, command, pipeline, 20_000)["rate"]
        requests = max(10_000, int(self.rates[cell, side] * self.options.seconds))
        other = "redis" if side == "coracle" else "coracle"
        meter = sides.Meter([self.servers[side]], [self.servers[other]])
        sample = self.ask(side, command, pipeline, requests)
        sample.update(meter.cores())
        sample["client_bound"] = sample["client"] > BOUND * self.options.threads
        self.rates[cell, side] = sample["rate"]
        return sample


def main():
    options = arguments()
    sides.check_machine(options.any_machine, "redis-server", "redis-benchmark", "taskset")
    bench = Bench(options)
    cells = [f"{command} -P {pipeline}" for command in ("SET", "GET") for pipeline in options.pipeline]
    samples = sides.interleave(options.rounds, cells, ["coracle", "redis"], bench.run)
    version = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=False).stdout.split()[2]
    with open(f"{bench.processes.directory}/coracle/shard-000/durability") as file:
        durability = file.read().strip()
    print(sides.machine_line(f"redis {version}, appendfsync always; coracle {durability}; {options.connections} connections, "
                             f"{options.value_size} B, {KEYS} keys; server on core {bench.server_core}, client on "
                             f"{bench.client_cores}; {options.rounds} rounds of {options.seconds} s"))
    print()
    sides.table(samples, "coracle", "redis", "command")
    sides.keep(options.json, samples)


if __name__ == "__main__":
    main()
