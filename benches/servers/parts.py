#!/usr/bin/env python3
"""Where each microsecond of one un-pipelined client goes: a request followed through tracepoints of the kernel.

One node of one shard on one core, redis-benchmark with one connection on another, perf on both (as root). Recording
costs some: what the client measures without it stands beside. Other programs on these cores show up in the p90.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time

import sides

EVENTS = ["sched:sched_switch", "sched:sched_waking", "io_uring:io_uring_task_add", "io_uring:io_uring_complete",
          "io_uring:io_uring_submit_req", "block:block_rq_issue", "syscalls:sys_exit_epoll_wait", "syscalls:sys_enter_sendto",
          "syscalls:sys_enter_io_uring_enter", "syscalls:sys_enter_futex"]
# What a completion of the shard's ring is of, by the upper half of its number (src/runtime/ring/queue.rs).
RECEIVED, SENT, WRITTEN = "user_data 0x100000000", "user_data 0x200000000", "user_data 0x300000000"
STAGES = {
    "sent": "the client calls `send`",
    "arrived": "… → the bytes are at the node's socket",
    "received": "… → the shard has them (awake, its ring looked at)",
    "logged": "… → parsed, proposed, encoded, the write handed over",
    "issued": "… → the write is with the disk",
    "awake": "… → the executor is awake again (disk, and the wake-up if it slept)",
    "durable": "… → the shard sees the write durable",
    "answered": "… → applied, answered, `send` handed over",
    "answered at once": "… → parsed, read, answered, `send` handed over",
    "woken": "… → the kernel wakes the client",
    "returned": "… → the client runs",
    "next": "… → the client calls `send` again",
}
GET = ["sent", "arrived", "received", "answered at once", "woken", "returned", "next"]
SET = ["sent", "arrived", "received", "logged", "issued", "awake", "durable", "answered", "woken", "returned", "next"]
LINE = re.compile(r"\s*(.+?)\s+(\d+) \[(\d+)\] (\d+\.\d+):\s+(\S+?): (.*)")
# The executor was off its core for at least so long, in µs: what is shorter is its own work.
PAUSE = 25


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spin", type=int, nargs="+", default=[0, 50], help="microseconds that an idle executor spins")
    parser.add_argument("--seconds", type=float, default=1.0, help="so long is recorded")
    parser.add_argument("--value-size", type=int, default=256)
    parser.add_argument("--coracle", help="the program to measure; target/release/coracle by default")
    return parser.parse_args()


def cycles(lines, command):
    """Each request as the moments, in µs, at which it was somewhere."""
    stages = SET if command == "set" else GET
    answered = "answered" if command == "set" else "answered at once"
    whole, moments, shard_last, futexes = [], {}, 0.0, 0
    for line in lines:
        match = LINE.match(line)
        if not match:
            continue
        who, event, rest, at = match[1], match[5].split(":")[1], match[6], float(match[4]) * 1e6
        client, shard = who.startswith("redis-b"), who.startswith("shard-0")
        futexes += shard and event == "sys_enter_futex"
        if client and event == "sys_enter_sendto":
            moments["next"] = at
            if all(stage in moments for stage in stages):
                whole.append(moments)
            moments = {"sent": at}
        elif not moments:
            continue
        reached = None
        if client and event == "io_uring_task_add":
            reached = "arrived"
        elif event == "io_uring_complete" and RECEIVED in rest:
            reached = "received"
        elif event == "io_uring_submit_req" and WRITTEN in rest:
            reached = "logged"
        elif event == "block_rq_issue" and "logged" in moments:
            reached = "issued"
        elif event == "io_uring_complete" and WRITTEN in rest:
            reached = "durable"
        elif event == "io_uring_submit_req" and SENT in rest:
            reached = answered
        elif event == "sched_waking" and "redis-b" in rest and answered in moments:
            reached = "woken"
        elif client and event == "sys_exit_epoll_wait" and "woken" in moments:
            reached = "returned"
        if shard or "next_comm=shard-0" in rest:
            if "issued" in moments and at - shard_last > PAUSE:
                moments.setdefault("awake", at)
            shard_last = at
        if reached == "durable":
            moments.setdefault("awake", at)
        if reached:
            moments.setdefault(reached, at)
    return stages, whole, futexes


class Bench:
    """One node, one client, one recording at a time."""

    def __init__(self, options, spin):
        self.options = options
        self.processes = sides.Processes()
        self.server_core, self.client_core = sorted(os.sched_getaffinity(0))[1:3]
        self.port = sides.free_port()
        node = [sides.coracle(options.coracle), "start", "--data", f"{self.processes.directory}/node", "--cores",
                str(self.server_core), "--spin", str(spin), "--listen", f"127.0.0.1:{self.port}", "--level", "warn"]
        server = self.processes.start(node, "coracle.log")
        sides.wait_for("coracle", lambda: sides.answers(self.port), server)

    def client(self, command, requests):
        return ["taskset", "-c", str(self.client_core), "redis-benchmark", "-p", str(self.port), "-t", command, "-c", "1",
                "-n", str(requests), "-d", str(self.options.value_size), "-r", "100000", "-q"]

    def plain(self, command):
        """Rate and p50 without a recording."""
        out = subprocess.run(self.client(command, 10_000), capture_output=True, text=True, check=True).stdout
        rate, p50 = re.findall(r"([\d.]+) requests per second, p50=([\d.]+) msec", out)[-1]
        return float(rate), float(p50) * 1e3

    def recorded(self, command, rate):
        path = f"{self.processes.directory}/perf.data"
        client = subprocess.Popen(self.client(command, int(rate * (self.options.seconds + 2))), stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        recording = ["perf", "record", "-q", "-C", f"{self.server_core},{self.client_core}", "-e", ",".join(EVENTS), "-o", path,
                     "--", "sleep", str(self.options.seconds)]
        done = subprocess.run(recording, capture_output=True, text=True, check=False)
        client.wait()
        if done.returncode != 0:
            sys.exit(f"perf record: {done.stderr}")
        script = ["perf", "script", "-i", path, "-F", "comm,tid,cpu,time,event,trace"]
        text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
        return cycles(text.splitlines(), command)


def main():
    options = arguments()
    sides.check_machine(False, "redis-benchmark", "taskset", "perf")
    print(sides.machine_line(f"one connection, {options.value_size} B"))
    for spin in options.spin:
        bench = Bench(options, spin)
        for command in ("set", "get"):
            rate, p50 = bench.plain(command)
            stages, whole, futexes = bench.recorded(command, rate)
            if not whole:
                sys.exit("no request was recorded from end to end")
            print(f"\n{command.upper()}, spin {spin} µs: p50 {p50:.0f} µs without a recording; {len(whole)} requests recorded, "
                  f"{statistics.median(moments['next'] - moments['sent'] for moments in whole):.0f} µs each; "
                  f"{futexes} calls of futex by the shard meanwhile\n")
            print("| | p10 | p50 | p90 | mean |\n|---|---|---|---|---|")
            for before, after in zip(stages, stages[1:]):
                took = sorted(moments[after] - moments[before] for moments in whole)
                at = lambda part: took[int(len(took) * part)]
                print(f"| {STAGES[after]} | {at(0.1):.0f} | {at(0.5):.0f} | {at(0.9):.0f} | {statistics.fmean(took):.0f} |")
        bench.processes.end()


if __name__ == "__main__":
    main()
