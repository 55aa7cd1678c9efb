#!/usr/bin/env python3
"""A cluster from one region on one node to many on many: what each step takes, and whether anything is lost.

    1  one node of three shards and one user region; keys are loaded in order, then written by chance: it splits
    2  all shards have their share of the requests (most over least)
    3  a load at a quarter of what was reached goes on while two nodes join and receive replicas and leaders
    4  a node is killed for good: what lay there is replaced
    5  a node is drained: it ends empty
    6  every key is there, and what a client was told of its own last writes is there as well

Ends with 1 if a goal is missed. All nodes are processes of one machine; on few cores shards share them, and latency
says little.
"""

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import sides

DOWN_MS = 15_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=2048, help="bytes of values that are loaded")
    parser.add_argument("--value-size", type=int, default=1024)
    parser.add_argument("--shards", type=int, default=3, help="shards of the first node")
    parser.add_argument("--more", type=int, default=4, help="nodes of one shard that join, two of them while load runs")
    parser.add_argument("--settle", type=float, default=300.0, help="seconds that evening out may take")
    parser.add_argument("--window", type=float, default=10.0, help="seconds of a window of latency")
    parser.add_argument("--setting", action="append", default=[], metavar="SECTION__KEY=VALUE",
                        help="a setting of all nodes, as the environment names it")
    parser.add_argument("--coracle", help="the program; target/release/coracle by default")
    parser.add_argument("--json", help="a file for all figures")
    return parser.parse_args()


class Node:
    """One process, and its port."""

    def __init__(self, cluster, name, shards, cores, join):
        self.name, self.shards = name, shards
        self.port = ports(shards)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CORACLE_")}
        environment.update({"CORACLE_NODE__SHARE_CORES": "true", "CORACLE_RAFT__DOWN_MS": str(DOWN_MS)})
        environment.update(dict(setting.split("=", 1) for setting in (f"CORACLE_{one}" for one in cluster.options.setting)))
        command = [cluster.program, "start", "--data", f"{cluster.processes.directory}/{name}", "--listen",
                   f"127.0.0.1:{self.port}", "--cores", ",".join(map(str, cores)), "--level", "warn"]
        command += ["--join", join] if join else []
        self.process = cluster.processes.start(command, f"{name}.log", env=environment)
        sides.wait_for(name, lambda: self.is_ready(), self.process)

    def is_ready(self):
        try:
            return fetch(self.port, "/healthz") is not None
        except OSError:
            return False

    def requests(self):
        """How many requests each shard has answered."""
        text = fetch(self.port, "/metrics")
        counts = [0] * self.shards
        for shard, count in re.findall(r'^coracle_request_seconds_count\{shard="(\d+)",[^}]*\} (\d+)', text, re.MULTILINE):
            counts[int(shard)] += int(count)
        return counts


def ports(shards):
    """A port that is free, with one for each shard behind it."""
    while True:
        first = sides.free_port()
        try:
            for more in range(shards + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", first + more))
            return first
        except OSError:
            continue


def fetch(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.read().decode()


class Witness(threading.Thread):
    """Writes numbers under keys of its own, one after the other, and remembers the last that was acknowledged."""

    KEYS = 64

    def __init__(self, doors):
        super().__init__(daemon=True)
        self.doors, self.over = doors, threading.Event()
        self.acknowledged, self.asked, self.count, self.unclear = {}, {}, 0, 0

    def key(self, number):
        # All over the keys of the load.
        return b"k%015d~w" % (number * 10**15 // self.KEYS)

    def connect(self, turn):
        port = self.doors[turn % len(self.doors)]
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        return connection, connection.makefile("rb")

    def run(self):
        turn, line = 0, None
        while not self.over.is_set():
            number = self.count % self.KEYS
            value = self.count
            try:
                line = line or self.connect(turn)
                key, text = self.key(number), b"%d" % value
                self.asked[number] = value
                line[0].sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(key), key, len(text), text))
                reply = line[1].readline()
                if reply == b"+OK\r\n":
                    self.acknowledged[number] = value
                else:
                    self.unclear += 1
                    if not reply:
                        raise OSError("closed")
                self.count += 1
            except OSError:
                self.unclear += 1
                self.count += 1
                line, turn = None, turn + 1
                time.sleep(0.1)
            time.sleep(0.002)

    def lost(self, port):
        """Keys that do not hold what was acknowledged last, or something asked for later."""
        wrong = []
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            reader = connection.makefile("rb")
            for number, value in self.acknowledged.items():
                key = self.key(number)
                connection.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
                length = int(reader.readline()[1:])
                found = int(reader.read(length + 2)) if length >= 0 else None
                if found is None or not value <= found <= self.asked[number]:
                    wrong.append((key, value, found))
        return wrong


class Cluster:
    """All nodes, and what is asked of them."""

    def __init__(self, options):
        self.options, self.program = options, sides.coracle(options.coracle)
        self.processes, self.nodes, self.figures, self.missed = sides.Processes(), [], {}, []
        self.cores = sorted(os.sched_getaffinity(0))

    def begin(self, name, shards):
        first = sum(node.shards for node in self.nodes)
        cores = [self.cores[(first + shard) % len(self.cores)] for shard in range(shards)]
        join = f"127.0.0.1:{self.nodes[0].port}" if self.nodes else None
        self.nodes.append(Node(self, name, shards, cores, join))
        return self.nodes[-1]

    def ask(self, *words, node=0):
        """A command, as JSON."""
        command = [self.program, *words, "--target", f"127.0.0.1:{self.nodes[node].port}", "--json"]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        if out.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {out.stdout}{out.stderr}")
        return json.loads(out.stdout)

    def regions(self):
        """Regions of user keys."""
        return [region for region in self.ask("region", "list")["regions"] if region["region"] != 1]

    def bench(self, *words, seconds):
        """A load; its last row."""
        targets = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes if node.process.poll() is None)
        keys = self.options.mib * (1 << 20) // self.options.value_size
        command = [self.program, "bench", "--target", targets, "--keys", str(keys), "--value-size",
                   str(self.options.value_size), "--duration", f"{seconds:g}s", "--warmup", "500ms", "--json", *words]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = [json.loads(line) for line in out.stdout.splitlines() if line.startswith("{")]
        if out.returncode != 0 or not rows or "count" not in rows[-1]:
            sys.exit(f"{' '.join(command)}: {out.stdout}{out.stderr}")
        return rows[-1]

    def shares(self, seconds):
        """Requests that each shard of the first node carries out while a load runs.

        By RESP, which is passed on to wherever a key is led: a client that knows the shards would ask each as often
        as it has connections there.
        """
        before = self.nodes[0].requests()
        row = self.bench("--workload", "mixed", "--reads", "0.5", "--connections", "48", "--no-load", "--proto", "resp",
                         seconds=seconds)
        gained = [after - first for after, first in zip(self.nodes[0].requests(), before)]
        return gained, row

    def say(self, text):
        print(f"{time.monotonic() - self.since:7.1f} s  {text}", flush=True)

    def goal(self, what, is_met, figure):
        """One thing that must hold."""
        self.figures[what] = figure
        if not is_met:
            self.missed.append(what)
        self.say(f"{'met   ' if is_met else 'MISSED'}  {what}: {figure}")

    def wait(self, what, condition, seconds):
        """Until something holds; how long that took, or none."""
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            try:
                if condition():
                    return time.monotonic() - begin
            except (RuntimeError, OSError) as error:
                self.figures.setdefault("asked again", []).append(f"{what}: {error}"[:300])
            time.sleep(1.0)
        return None

    def run(self):
        options = self.options
        self.since = time.monotonic()
        self.begin("first", options.shards)
        self.say(f"one node, {options.shards} shards on cores {self.cores}")
        begin = time.monotonic()
        self.bench("--workload", "get", "--connections", "16", seconds=1)
        took = time.monotonic() - begin
        self.say(f"{options.mib} MiB loaded in the order of their keys in {took:.0f} s; {len(self.regions())} regions")
        self.bench("--workload", "put", "--connections", "48", "--pipeline", "4", "--no-load", seconds=20)
        self.say(f"written by chance; {len(self.regions())} regions")
        self.even()
        self.grow()
        self.lose()
        self.drain()
        self.look()
        sides.keep(options.json, self.figures)
        return 1 if self.missed else 0

    def even(self):
        """All shards have their share."""
        until = time.monotonic() + self.options.settle
        while True:
            gained, row = self.shares(10)
            ratio = max(gained) / max(1, min(gained))
            self.say(f"requests of each shard {gained}, most over least {ratio:.2f}; {row['ops_per_second']:.0f} in a second, "
                     f"errors {row['errors']}; {len(self.regions())} regions")
            if ratio <= 1.3 or time.monotonic() > until:
                break
        self.goal("requests of the busiest shard over the idlest, ≤ 1.3", ratio <= 1.3, f"{ratio:.2f}")
        self.most = row["ops_per_second"]

    def window(self, rate):
        row = self.bench("--workload", "mixed", "--reads", "0.5", "--rate", str(int(rate)), "--connections", "48", "--no-load",
                         seconds=self.options.window)
        return row

    @staticmethod
    def p99s(rows):
        return ", ".join(f"{row['latency_us']['p99'] / 1000:.2f}" for row in rows) + " ms"

    def spread(self):
        """Whether every region has three replicas that vote on nodes that live, and each store leads some."""
        regions = self.regions()
        stores = {peer["store"] for region in regions for peer in region["peers"]}
        return all(len(region["peers"]) == 3 and all(peer["part"] in ("leader", "voter", "follower") for peer in region["peers"])
                   and region["leader"] for region in regions) and len(stores) >= self.options.shards + 2

    def grow(self):
        """Two nodes join under a quarter of the load."""
        rate = self.most / 4
        # It is a load of its own, so it is there before as well.
        self.witness = Witness([node.port for node in self.nodes])
        self.witness.start()
        before = [self.window(rate) for _ in range(3)]
        p99_before = statistics.median(row["latency_us"]["p99"] for row in before)
        self.say(f"a quarter of the load, {rate:.0f} in a second: p99 in each window {self.p99s(before)}")
        for number in range(2):
            self.begin(f"more-{number}", 1)
        rows, begin, done = [], time.monotonic(), None
        while time.monotonic() < begin + self.options.settle:
            rows.append(self.window(rate))
            if self.spread():
                done = time.monotonic() - begin
                break
        rows += [self.window(rate) for _ in range(2)]
        errors = {}
        for row in rows:
            for name, count in row["errors"].items():
                errors[name] = errors.get(name, 0) + count
        p99 = statistics.median(row["latency_us"]["p99"] for row in rows)
        self.say(f"p99 in each window, the last two after all have their replicas: {self.p99s(rows)}")
        self.goal("two nodes have joined and hold replicas", done is not None, f"after {done or self.options.settle:.0f} s")
        self.goal("requests that failed meanwhile", not errors, str(errors or 0))
        self.goal("p99 of the median window over that before, ≤ 3", p99 <= 3 * p99_before,
                  f"{p99 / p99_before:.2f} ({p99 / 1000:.2f} ms over {p99_before / 1000:.2f} ms, {len(rows)} windows)")

    def lose(self):
        """A node is gone for good."""
        for number in range(2, self.options.more):
            self.begin(f"more-{number}", 1)
        self.wait("evened out", lambda: False, 15)
        victim = self.nodes[1]
        self.witness.doors = [node.port for node in self.nodes if node is not victim]
        stores = self.stores(victim)
        begin = time.monotonic()
        self.processes.stop(victim.process)
        self.say(f"{victim.name} is killed, stores {sorted(stores)}")
        # A command that asks a node that is gone takes longer, and says so.
        gone = lambda: self.spread() and not any(peer["store"] in stores for region in self.regions() for peer in region["peers"])
        took = self.wait("replaced", gone, self.options.settle + DOWN_MS / 1000)
        self.goal("what lay on a node that was killed is replaced", took is not None,
                  f"{time.monotonic() - begin:.0f} s, of which {DOWN_MS / 1000:.0f} s count as silence")

    def stores(self, node):
        listed = self.ask("node", "list")["nodes"]
        return next(set(one["stores"]) for one in listed if one["address"].endswith(f":{node.port}"))

    def drain(self):
        """A node is emptied."""
        node = self.nodes[2]
        listed = self.ask("node", "list")["nodes"]
        number = next(one["node"] for one in listed if one["address"].endswith(f":{node.port}"))
        stores = self.stores(node)
        begin = time.monotonic()
        command = [self.program, "node", "drain", str(number), "--target", f"127.0.0.1:{self.nodes[0].port}"]
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        empty = lambda: not any(peer["store"] in stores for region in self.ask("region", "list")["regions"] for peer in region["peers"])
        took = self.wait("drained", empty, self.options.settle)
        self.goal("a node that is drained ends empty", took is not None, f"{time.monotonic() - begin:.0f} s")

    def look(self):
        """Every key is there."""
        self.witness.over.set()
        self.witness.join(30)
        row = self.bench("--workload", "get", "--connections", "48", "--no-load", seconds=10)
        self.goal("keys that are not there", not row["errors"], str(row["errors"] or 0))
        wrong = self.witness.lost(self.nodes[0].port)
        self.goal("acknowledged writes of the witness that are lost", not wrong,
                  f"{wrong[:5] or 0}, of {self.witness.count}, {self.witness.unclear} of them without a clear answer")
        self.say(f"{len(self.regions())} regions in the end")


def main():
    options = arguments()
    cores = len(os.sched_getaffinity(0))
    if cores < sides.CORES_MIN:
        print(f"{cores} cores: shards share them, so what is said of rates and latency counts for little", flush=True)
    cluster = Cluster(options)
    print(sides.machine_line(f"{options.mib} MiB of {options.value_size} B, {options.shards} shards and {options.more} nodes more"),
          flush=True)
    sys.exit(cluster.run())


if __name__ == "__main__":
    main()
