#!/usr/bin/env python3
"""Ten thousand active regions beside ten: one node of one shard each, the same keys, one replica, no pipelining.

Both nodes begin with their regions cut at keys that `redis-benchmark` uses, so that every request goes to a region
by chance; a turn then holds requests of about as many regions as there are connections, each with an entry of its own.
"""

import argparse
import csv
import os
import re
import subprocess
import sys

import sides

KEYS = 100_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of runs for each cell")
    parser.add_argument("--seconds", type=float, default=2.0, help="about so long a run")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--value-size", type=int, default=256)
    parser.add_argument("--regions", type=int, nargs=2, default=[10, 10_000], metavar=("FEW", "MANY"))
    parser.add_argument("--threads", type=int, default=2, help="threads of the client")
    sides.add_any_machine(parser)
    parser.add_argument("--coracle", help="the program to measure; target/release/coracle by default")
    parser.add_argument("--json", help="a file for all samples")
    return parser.parse_args()


class Bench:
    """Both nodes, and the client."""

    def __init__(self, options):
        self.options = options
        self.processes = sides.Processes()
        cores = sorted(os.sched_getaffinity(0))
        self.server_core, self.client_cores = str(cores[0]), ",".join(map(str, cores[1:]))
        self.sides = {f"{count} regions": count for count in options.regions}
        self.servers, self.ports, self.rates = {}, {}, {}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CORACLE_")}
        environment["CORACLE_SPLIT__AUTOMATIC"] = "false"
        for side, count in self.sides.items():
            cuts = f"{self.processes.directory}/{count}.cuts"
            with open(cuts, "w") as file:
                file.writelines(f"key:{KEYS * place // count:012d}\n" for place in range(1, count))
            self.ports[side] = sides.free_port()
            node = ["taskset", "-c", self.server_core, sides.coracle(options.coracle), "start", "--data",
                    f"{self.processes.directory}/{count}", "--cores", self.server_core, "--listen",
                    f"127.0.0.1:{self.ports[side]}", "--level", "warn", "--regions-file", cuts]
            self.servers[side] = self.processes.start(node, f"{count}.log", env=environment)
            sides.wait_for(side, lambda: sides.answers(self.ports[side]), self.servers[side], seconds=120)
            self.ask(side, "SET", 4 * KEYS)

    def ask(self, side, command, requests):
        """One run of redis-benchmark: its rate and latencies."""
        out = subprocess.run(
            ["taskset", "-c", self.client_cores, "redis-benchmark", "-p", str(self.ports[side]), "-t", command.lower(), "-c",
             str(self.options.connections), "-d", str(self.options.value_size), "-r", str(KEYS), "-n", str(requests), "--threads",
             str(self.options.threads), "--csv"],
            capture_output=True, text=True, check=False)
        rows = list(csv.DictReader(line for line in out.stdout.splitlines() if line.startswith('"')))
        if out.returncode != 0 or not rows:
            sys.exit(f"redis-benchmark with {side}: {out.stdout}{out.stderr}")
        errors = sum(bool(re.search("error", line, re.IGNORECASE)) for line in out.stderr.splitlines())
        return {"rate": float(rows[0]["rps"]), "p50": float(rows[0]["p50_latency_ms"]), "p99": float(rows[0]["p99_latency_ms"]),
                "errors": errors}

    def run(self, command, side):
        """One run that takes about as long as was asked for."""
        if (command, side) not in self.rates:
            self.rates[command, side] = self.ask(side, command, 20_000)["rate"]
        other = next(one for one in self.sides if one != side)
        meter = sides.Meter([self.servers[side]], [self.servers[other]])
        sample = self.ask(side, command, max(10_000, int(self.rates[command, side] * self.options.seconds)))
        sample.update(meter.cores())
        sample["client_bound"] = sample["client"] > 0.9 * self.options.threads
        self.rates[command, side] = sample["rate"]
        return sample


def main():
    options = arguments()
    sides.check_machine(options.any_machine, "redis-benchmark", "taskset")
    bench = Bench(options)
    few, many = bench.sides
    samples = sides.interleave(options.rounds, ["SET", "GET"], [many, few], bench.run)
    print(sides.machine_line(f"{options.connections} connections, {options.value_size} B, {KEYS} keys; server on core "
                             f"{bench.server_core}, client on {bench.client_cores}; {options.rounds} rounds of {options.seconds} s"))
    print()
    sides.table(samples, many, few, "command")
    sides.keep(options.json, samples)


if __name__ == "__main__":
    main()
