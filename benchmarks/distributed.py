"""Distributed against single-process training: quality and memory, both measured in one run.

    python -m benchmarks.distributed [folder with rank.train and rank.test] [--rows 4000000] [--seeds 5]

Quality: LightGBM's `examples/lambdarank`, rounds by cross-validation, the same for both, one booster
per seed; NDCG@10 of rank.test. Limit: the means differ by less than the larger standard deviation over seeds.
Memory: a snapshot file of --rows rows, the highest resident memory of each process above what its libraries take,
reading and training 20 rounds. Limit: a worker takes at most 0.7 of the one process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lambdarank_reference import DEFAULT_FOLDER, load
from litgo_pipelines.models.distributed import case_starts, fit, partitions, read_rows_between
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.learners import Recipe
from litgo_pipelines.models.metrics import ndcg
from litgo_pipelines.models.training import dealt, train
from litgo_pipelines.models.training_data import file_schema

ROUNDS = 20

ONE_PROCESS = f"""
import json, resource, sys, time
from pathlib import Path
import lightgbm as lgb
import pyarrow.parquet
from litgo_pipelines.models import training
from litgo_pipelines.models.training_data import read_rows
def megabytes(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, started = megabytes(), time.perf_counter()
rows = read_rows(Path(sys.argv[1]), "train").without_position()
parameters = training.Recipe(max_threads=1).parameters(0, len(rows.labels))
lgb.train(parameters, training._dataset(rows, parameters), {ROUNDS})
print(json.dumps({{"megabytes": megabytes() - before, "before": before, "seconds": time.perf_counter() - started}}))
"""


def megabytes() -> float:
    import resource

    import lightgbm
    import pyarrow.parquet

    assert lightgbm
    assert pyarrow.parquet
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    good = quality(options.folder, range(options.seeds))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot.parquet"
        write_snapshot(path, options.rows)
        small = memory(path)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0 if good and small else 1


def cluster() -> Any:
    from distributed import LocalCluster

    return LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, memory_limit=0)


def quality(folder: Path, seeds: range) -> bool:
    from distributed import Client

    rows, test = load(folder, "rank.train"), load(folder, "rank.test")
    alone = train(rows, Recipe(kinds=("lambdamart",)), seeds, dealt(Recipe().folds))
    halves = np.array_split(np.arange(len(rows.groups)), 2)
    with cluster() as workers, Client(workers) as client:
        addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
        parts = {a: client.scatter(rows.take(h), workers=[a]) for h, a in zip(halves, addresses, strict=True)}
        together = [fit(client, parts, Recipe(), alone.rounds, seed, rows.features.shape[1]) for seed in seeds]
    found = []
    print(f"{len(rows.labels):,} rows, {alone.rounds} rounds, seeds {seeds.start} to {seeds.stop - 1}")
    single = [lambda given, one=one: one.scores(test.columns(one.names).features) for one in alone.scorers]
    shared = [booster.predict for booster in together]
    for name, scores in (("one process", single), ("two workers", shared)):
        values = [np.nanmean(ndcg(test.labels, score(test.features), test.groups, (10,))) for score in scores]
        found.append((np.mean(values), np.std(values, ddof=1)))
        print(f"NDCG@10, {name}: {found[-1][0]:.4f}, sd {found[-1][1]:.4f}; {', '.join(f'{v:.4f}' for v in values)}")
    (one, one_sd), (two, two_sd) = found
    return bool(abs(one - two) < max(one_sd, two_sd))


def memory(path: Path) -> bool:
    from distributed import Client

    done = subprocess.run([sys.executable, "-c", ONE_PROCESS, str(path)], stdout=subprocess.PIPE, check=True)
    one = json.loads(done.stdout)
    with cluster() as workers, Client(workers) as client:
        before = client.run(megabytes)
        started = time.perf_counter()
        ranges = partitions(case_starts(path), 2)
        parts = {
            address: client.submit(read_rows_between, path, *each, workers=[address], pure=False)
            for address, each in zip(sorted(before), ranges, strict=True)
        }
        fit(client, parts, Recipe(), ROUNDS, 0)
        seconds = time.perf_counter() - started
        after = client.run(megabytes)
    each = [after[address] - before[address] for address in before]
    alone, libraries = one["megabytes"], list(before.values())
    print(f"one process: {alone:,.0f} MB above the {one['before']:,.0f} of its libraries, {one['seconds']:.1f} s")
    print(
        f"two workers: {each[0]:,.0f} and {each[1]:,.0f} MB above {max(libraries):,.0f}, {seconds:.1f} s, a thread each"
    )
    print(f"a worker / one process: {max(each) / alone:.2f} (at most 0.7); time {seconds / one['seconds']:.2f}")
    return max(each) <= 0.7 * alone


def write_snapshot(path: Path, rows: int, block: int = 250_000) -> None:
    """A snapshot file with the right schema: cases of five lawyers, two features decide. Block by block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(1)
    schema = file_schema(1)
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, block):
            count = min(block, rows - start)
            number = np.arange(start, start + count)
            features = draw.random((count, len(FEATURES)))
            label = np.digitize(features[:, 0] + features[:, 1] + draw.normal(0, 0.5, count), [1.0, 1.4, 1.7])
            columns: dict[str, Any] = {name: features[:, column] for column, name in enumerate(FEATURES)}
            columns |= {
                "case_id": pa.array(np.char.mod("00000000-0000-4000-8000-%012d", number // 5)),
                "lawyer_id": pa.array(np.char.mod("00000000-0000-4000-8000-%012d", number)),
                "label": label,
                "position": number % 5 + 1,
                "split": pa.array(["train"] * count),
                "area": pa.array(["Civil"] * count),
                "uf": pa.array(["SP"] * count),
                "new_lawyer": pa.array([False] * count),
            }
            instant = pa.array(np.full(count, np.datetime64("2026-01-01", "us")))
            names = ("case_created_at", "offered_at", "features_logged_at", "label_at")
            columns |= {name: instant.cast(schema.field(name).type) for name in names}
            writer.write_table(pa.table(columns, schema=schema))


if __name__ == "__main__":
    sys.exit(main())
