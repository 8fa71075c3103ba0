"""What the whole system takes while nothing is asked of it: `litgo up` after a demo, nobody working.

    python -m benchmarks.idle [--minutes 5] [--lawyers 300]

Processor time of all its processes, also of those that came and went, as a share of one core, by part; memory as
proportional set size, pages that several processes share being counted once. What schedules start meanwhile counts too.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks import soak, soak_vendors
from benchmarks.latency import stopping

SETTLED = 60.0  # seconds without a run
PATIENCE = 900.0
UNFINISHED = "SELECT count(*) FROM public.runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')"
BEGUN = "SELECT pipeline_name, count(*) FROM public.runs WHERE create_timestamp > %s GROUP BY 1 ORDER BY 1"
CORE_SHARE, MEMORY_MIB = 0.12, 1.6 * 1024  # at most


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--lawyers", type=int, default=300)
    arguments = parser.parse_args()
    marketplace = ["--lawyers", str(arguments.lawyers), "--cases", str(arguments.lawyers * 3), "--days", "31"]
    with tempfile.TemporaryDirectory(prefix="litgo-idle-") as folder, soak_vendors.serving(0.0, 1) as vendors:
        print("litgo demo …", file=sys.stderr, flush=True)
        stage = soak.prepare(Path(folder), vendors, marketplace)
        with stopping(stage):
            settle(stage)
            return measure(stage, arguments.minutes * 60)


def settle(stage: soak.Stage) -> None:
    """Return once no run has been at work for a while."""
    print("waiting until nothing is at work …", file=sys.stderr, flush=True)
    began = quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < SETTLED:
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"runs were at work for {PATIENCE:.0f} s: look at them in Dagster's UI")
        if stage.dagster(UNFINISHED) != [(0,)]:
            quiet_since = time.monotonic()
        time.sleep(1)


def measure(stage: soak.Stage, seconds: float) -> int:
    processes = soak.Processes(stage.home)
    processes.look()
    time.sleep(2)  # a process is told by what it is after a second
    since, began, before = datetime.now(UTC), time.monotonic(), worked(processes)
    time.sleep(seconds)
    after, took = worked(processes), time.monotonic() - began
    memory, number = proportional(processes)
    shares = {part: (after[part] - before[part]) / took for part in after}
    print(f"{took:.0f} s; load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} processors")
    print("| part | processes | share of a core | MiB |\n|---|--:|--:|--:|")
    for part in sorted(memory, key=lambda part: -shares.get(part, 0.0)):
        print(f"| {part} | {number[part]} | {shares.get(part, 0.0):.1%} | {memory[part]:,.0f} |")
    share, mib = sum(shares.values()), sum(memory.values())
    print(f"| all (at most {CORE_SHARE:.0%}, {MEMORY_MIB:,.0f} MiB) | {number.total()} | {share:.1%} | {mib:,.0f} |")
    begun = ", ".join(f"{count} {name}" for name, count in stage.dagster(BEGUN, soak.naive(since)))
    print(f"runs begun meanwhile: {begun or 'none'}")
    return int(share > CORE_SHARE or mib > MEMORY_MIB)


def worked(processes: soak.Processes) -> Counter[str]:
    """Part → seconds of processor time so far, with what its ended children took."""
    found: Counter[str] = Counter()
    for name, process in processes.look().values():
        with suppress(psutil.NoSuchProcess):
            found[name] += sum(process.cpu_times()[:4])  # its own and its children's, in user and system mode
    return found


def proportional(processes: soak.Processes) -> tuple[Counter[str], Counter[str]]:
    """Part → MiB, and number of processes."""
    memory: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for name, process in processes.look().values():
        with suppress(psutil.NoSuchProcess):
            memory[name] += process.memory_full_info().pss / 2**20
            number[name] += 1
    return memory, number


if __name__ == "__main__":
    sys.exit(main())
