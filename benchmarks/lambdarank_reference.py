"""NDCG of the project's own ranker on the data of LightGBM's `examples/lambdarank`, against the published reference.

    python benchmarks/lambdarank_reference.py [folder with rank.train and rank.test]

Beside each column stands its rank within the query, as the contract has ranks of what differs in level between cases.
Rounds are chosen by grouped cross-validation on rank.train, the ranker is refitted on all of it, and rank.test is
scored once a seed. Expected: mean NDCG@10 of about .756 over 5 seeds; LightGBM's own train.conf gives .744.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from litgo_pipelines.models.features import RANK, within_case
from litgo_pipelines.models.learners import Recipe, Rows
from litgo_pipelines.models.metrics import KS
from litgo_pipelines.models.training import Trained, dealt, seed_averaged_ndcg, train

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "lightgbm_lambdarank"
FEATURES = 301  # columns 0-300 of the example


def load(folder: Path, name: str) -> Rows:
    """One LibSVM file and its `.query` file. Raises FileNotFoundError when either is missing."""
    lines = (folder / name).read_text().splitlines()
    features = np.zeros((len(lines), FEATURES))
    labels = np.empty(len(lines), dtype=np.int64)
    for row, line in enumerate(lines):
        label, *pairs = line.split()
        labels[row] = int(label)
        for pair in pairs:
            column, value = pair.split(":")
            features[row, int(column)] = float(value)
    groups = np.loadtxt(folder / f"{name}.query", dtype=np.int64)
    return Rows(features, labels, groups, None, tuple(f"column {number}" for number in range(FEATURES)))


def ranked(rows: Rows) -> Rows:
    """The same with the rank of each column among the query's rows."""
    ranks = [within_case(column, rows.groups) for column in rows.features.T]
    names = (*rows.names, *(f"{RANK}{name}" for name in rows.names))
    return replace(rows, features=np.column_stack([rows.features, *ranks]), names=names)


def measure(folder: Path, seeds: int = 5) -> tuple[Trained, np.ndarray]:
    """(what was trained, mean NDCG at KS of each seed, shape (seeds, 4)) on rank.test."""
    trained = train(ranked(load(folder, "rank.train")), Recipe(), range(seeds), dealt(5))
    test = ranked(load(folder, "rank.test"))
    values = [np.nanmean(seed_averaged_ndcg([one], test, KS), axis=0) for one in trained.scorers]
    return trained, np.array(values)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    trained, values = measure(options.folder, options.seeds)
    for name, tried in trained.field.items():
        print(f"{name:24} {tried.as_dict()}")
    print(f"chosen by grouped cross-validation: {trained.chosen}, {trained.rounds} rounds; {options.seeds} seeds")
    print("| NDCG | mean | sd |\n|---|---|---|")
    for k, mean, deviation in zip(KS, values.mean(axis=0), values.std(axis=0), strict=True):
        print(f"| @{k} | {mean:.3f} | {deviation:.3f} |")
    return 0 if values[:, -1].mean() >= 0.75 else 1


if __name__ == "__main__":
    sys.exit(main())
