"""Two servers side by side: processes that end with the bench, interleaved rounds, medians, who used the cores."""

import atexit
import json
import os
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

CORES_MIN = 4
TICKS = os.sysconf("SC_CLK_TCK")


def refuse(why):
    """Ends with a reason, as for any argument that cannot be."""
    print(why, file=sys.stderr)
    sys.exit(2)


def add_any_machine(parser):
    """The option for machines that `check_machine` refuses otherwise."""
    parser.add_argument("--any-machine", action="store_true",
                        help=f"run on fewer than {CORES_MIN} cores too, where others take part in the figures")


def check_machine(any_machine, *programs):
    """Refuses machines on which the figures would mean little, unless they are asked for, and those that lack a program."""
    cores = len(os.sched_getaffinity(0))
    if cores < CORES_MIN and not any_machine:
        refuse(f"skipped: {cores} cores; with fewer than {CORES_MIN} servers and client are in each other's way "
               "(--any-machine runs all the same)")
    if cores < 2:
        refuse("skipped: one core, and a server and its client need one each")
    for program in programs:
        if shutil.which(program) is None:
            refuse(f"skipped: '{program}' is not there; benches/README.md says how to get it")


def coracle(named):
    """The program to measure."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    path = os.path.abspath(named or os.path.join(target, "release", "coracle"))
    if not os.path.exists(path):
        refuse(f"{path} is not there: cargo build --release, or name one with --coracle")
    return path


def free_port():
    """A port that nobody uses at the moment, with two more behind it."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
        try:
            for more in range(3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + more))
            return port
        except OSError:
            continue


class Processes:
    """What was started: all of it ends with the bench, by its number, and its files go."""

    def __init__(self):
        self.running = []
        self.directory = tempfile.mkdtemp(prefix="coracle-beside-", dir=".")
        self.directory = os.path.abspath(self.directory)
        atexit.register(self.end)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(130))

    def start(self, arguments, log, **more):
        """Starts a server; what it says goes to a file."""
        out = open(os.path.join(self.directory, log), "ab")
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        process.log = out.name
        self.running.append(process)
        return process

    def stop(self, process):
        """Ends one of them."""
        process.kill()
        process.wait()
        self.running.remove(process)

    def end(self):
        """Ends all of them. One that has ended by itself is told of."""
        for process in list(self.running):
            if process.poll() is not None:
                with open(process.log) as log:
                    said = "".join(log.readlines()[-20:])
                print(f"{process.log} of {process.pid}, ended with {process.returncode}:\n{said}", file=sys.stderr)
            self.stop(process)
        shutil.rmtree(self.directory, ignore_errors=True)


def wait_for(what, condition, process=None, seconds=60):
    """Until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            sys.exit(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > until:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def answers(port):
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def machine_seconds():
    """Busy time of all cores, with interrupts and what the host took."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:]]
    return sum(ticks[field] for field in (0, 1, 2, 5, 6, 7)) / TICKS


def process_seconds(process):
    """CPU time of a server with all its threads."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def client_seconds():
    """CPU time of all clients that have ended, and of this program."""
    kinds = (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Meter:
    """Who used the cores while a client ran. Workers of the kernel count as others."""

    def __init__(self, mine, idle):
        self.mine, self.idle = mine, idle
        self.begin = self.read()

    def read(self):
        seconds = [sum(map(process_seconds, side)) for side in (self.mine, self.idle)]
        return time.monotonic(), machine_seconds(), client_seconds(), *seconds

    def cores(self):
        """Cores of the server, of its client and of everyone else."""
        wall, machine, client, mine, idle = (b - a for a, b in zip(self.begin, self.read()))
        foreign = max(0.0, machine - client - mine - idle)
        return {"server": mine / wall, "client": client / wall, "foreign": foreign / wall}


def interleave(rounds, cells, sides, run, tell=True):
    """Every cell in every round on every side, beginning with another side each time. Samples by cell and side."""
    samples = {cell: {side: [] for side in sides} for cell in cells}
    for number in range(rounds):
        for cell in cells:
            order = sides if number % 2 == 0 else sides[::-1]
            for side in order:
                samples[cell][side].append(run(cell, side))
        if tell:
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return samples


def quartiles(values):
    """First quartile, median, third."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, middle, third


def spread(values, digits):
    """A median with its quartiles, for people."""
    first, middle, third = quartiles(values)
    return f"{middle:,.{digits}f} ({first:,.{digits}f}–{third:,.{digits}f})"


def table(samples, ours, theirs, columns):
    """Prints the cells as Markdown: rates, the ratio of each pair, latencies, cores."""
    head = [columns, f"{ours}, ops/s", f"{theirs}, ops/s", "ratio", f"p50 / p99 {ours}, ms", f"p50 / p99 {theirs}, ms",
            "p99 over p99", "server cores", "client cores", "foreign cores", "note"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for cell, sides in samples.items():
        a, b = sides[ours], sides[theirs]
        field = lambda side, name: [sample[name] for sample in side]
        middle = lambda side, name: statistics.median(field(side, name))
        ratio = [x["rate"] / y["rate"] for x, y in zip(a, b)]
        tail = [x["p99"] / y["p99"] for x, y in zip(a, b)]
        both = lambda name, digits: f"{middle(a, name):.{digits}f} / {middle(b, name):.{digits}f}"
        notes = []
        for name, side in ((ours, a), (theirs, b)):
            bound = sum(sample["client_bound"] for sample in side)
            if bound > len(side) / 2:
                notes.append(f"client-bound: {name}")
            failed = sum(sample["errors"] for sample in side)
            if failed:
                notes.append(f"{failed} errors: {name}")
        row = [cell, spread(field(a, "rate"), 0), spread(field(b, "rate"), 0), spread(ratio, 2),
               f"{middle(a, 'p50'):.3f} / {middle(a, 'p99'):.3f}", f"{middle(b, 'p50'):.3f} / {middle(b, 'p99'):.3f}",
               spread(tail, 2), both("server", 2), both("client", 2), both("foreign", 2), ", ".join(notes)]
        print("| " + " | ".join(row) + " |")


def machine_line(versions):
    """The line above a table: where and with what."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    git = subprocess.run(["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty=+"],
                         capture_output=True, text=True, check=False)
    return (f"Machine: {os.cpu_count()} cores ({model}), Linux {platform.release()}; commit {git.stdout.strip() or '?'}; "
            f"{versions}; `{' '.join(sys.argv)}`")


def keep(path, samples):
    """All samples as JSON, if a file was named."""
    if path:
        with open(path, "w") as file:
            json.dump(samples, file, indent=1)
