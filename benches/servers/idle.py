#!/usr/bin/env python3
"""A node of one shard with many regions of which nobody wants anything: who uses the core, and how much memory.

Each row is a node of its own that begins a cluster of so many regions. It is measured when it says that all but the
first region are quiet, or, where regions never are, when all are led for as long.
"""

import argparse
import re
import time
import urllib.request

import sides


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, nargs="*", default=[1, 10_000])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each node is looked at")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--coracle", help="the program; target/release/coracle by default")
    return parser.parse_args()


def metrics(port):
    """All samples of the node's only shard, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as answer:
        text = answer.read().decode()
    found = re.findall(r'^(coracle_\w+)\{shard="0"([^}]*)\} (\S+)', text, re.MULTILINE)
    return {name + labels: float(value) for name, labels, value in found}


def resident(process):
    """Bytes of memory of a process that are its own: mapped files do not count."""
    with open(f"/proc/{process.pid}/status") as status:
        return int(re.search(r"RssAnon:\s+(\d+)", status.read()).group(1)) * 1024


def measure(options, processes, regions, quiet):
    """One row."""
    port = sides.free_port()
    name = f"{regions}-{quiet}"
    command = [sides.coracle(options.coracle), "start", "--data", f"{processes.directory}/{name}", "--listen",
               f"127.0.0.1:{port}", "--cores", str(options.core), "--regions", str(regions), "--level", "warn"]
    setting = {"CORACLE_RAFT__QUIET_MS": "5000" if quiet else "0", "CORACLE_STORE__RESERVE": "false"}
    process = processes.start(command, f"{name}.log", env=setting)
    seen = lambda what: metrics(port).get(what, 0) if sides.answers(port) else 0
    sides.wait_for(f"{name}: all are led", lambda: seen('coracle_regions,part="leader"') >= regions, process, 300)
    if quiet:
        sides.wait_for(f"{name}: all are quiet", lambda: seen("coracle_regions_quiet") >= regions, process, 300)
    else:
        time.sleep(15)
    before, began = sides.process_seconds(process), time.monotonic()
    time.sleep(options.seconds)
    spent, took = sides.process_seconds(process) - before, time.monotonic() - began
    print(f"| {regions} | {'yes' if quiet else 'no'} | {spent / took * 1000:.1f} | {resident(process) / 1e6:.0f} |", flush=True)
    sides.Processes.stop(processes, process)


def main():
    options = arguments()
    processes = sides.Processes()
    print(sides.machine_line("") + "\n")
    print("| regions | quiet | ms of the processor per second | MB of memory |")
    print("|---|---|---|---|")
    for regions in options.regions:
        for quiet in (False, True):
            measure(options, processes, regions, quiet)


if __name__ == "__main__":
    main()
