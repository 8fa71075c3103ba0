"""Training recipe: LightGBM LambdaMART with rounds chosen by grouped cross-validation.

Pure: arrays in, boosters out; numpy and LightGBM only. Where the rows come from and where the boosters go is
elsewhere. Rows of one query stand together; queries are in order of time wherever time exists.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.models.metrics import LONG, group_starts, headline_k, ndcg, tells_apart

if TYPE_CHECKING:
    from lightgbm import Booster

# number of queries → (training queries, validation queries) of each fold
Folds = Callable[[int], Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]]


class NothingToLearn(ValueError):
    """The rows hold no preference a ranker could learn; the message says why."""


@dataclass(frozen=True)
class Recipe:
    """How a ranker is trained. The defaults are measured: `benchmarks/lambdarank_reference.py`."""

    learning_rate: float = 0.03
    num_leaves: int = 15
    min_data_in_leaf: int = 50
    feature_fraction: float = 0.3
    lambda_l2: float = 10.0
    truncation: int = 10
    folds: int = 5
    max_rounds: int = 1000
    patience: int = 100  # rounds without a better mean before the search for the best round ends
    max_threads: int = 2

    def parameters(self, seed: int, rows: int = 0, k: int = LONG) -> dict[str, Any]:
        """LightGBM parameters. The same seed gives the same trees, with any number of threads; bins have no seed."""
        return {
            "objective": "lambdarank",
            "metric": "ndcg",
            "eval_at": [k],
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "feature_fraction": self.feature_fraction,
            "lambda_l2": self.lambda_l2,
            "lambdarank_truncation_level": self.truncation,
            "lambdarank_position_bias_regularization": 0.0,  # anything else undoes the correction
            "label_gain": [2**grade - 1 for grade in range(31)],
            "seed": seed,
            "data_random_seed": 1,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.threads(rows),
            "verbosity": -1,
        }

    def threads(self, rows: int) -> int:
        """Threads of one model. Below a quarter of a million rows a second one waits more than it works."""
        return min(self.max_threads, 1 + rows // 250_000)

    def as_dict(self) -> dict[str, object]:
        """What decides the result: without the number of threads."""
        return {name: value for name, value in asdict(self).items() if name != "max_threads"}


@dataclass(frozen=True)
class Rows:
    """Features (rows, F) with NaN for missing, labels (rows,), groups (queries,); position (rows,) counts from 0."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    position: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def take(self, queries: NDArray[np.int64]) -> "Rows":
        """The rows of some queries, ascending."""
        wanted = np.zeros(len(self.groups), dtype=bool)
        wanted[queries] = True
        # A prefix (every expanding-window fold trains on one) is a view, not a copy.
        count = int(wanted.sum())
        if wanted[:count].all():
            rows: Any = slice(0, int(self.groups[:count].sum()))
        else:
            rows = np.repeat(wanted, self.groups)
        position = None if self.position is None else self.position[rows]
        return Rows(self.features[rows], self.labels[rows], self.groups[wanted], position, self.names)

    def without_position(self) -> "Rows":
        return replace(self, position=None)


@dataclass(frozen=True)
class Curve:
    """Validation NDCG (LightGBM's own) after each round: mean and standard deviation over folds, shape (rounds,)."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @property
    def best_round(self) -> int:
        return int(np.argmax(self.mean)) + 1

    @property
    def best(self) -> float:
        return float(self.mean.max())


@dataclass(frozen=True)
class Trained:
    """One booster per seed, in the order of the seeds, and how rounds and position were chosen."""

    boosters: list["Booster"]
    rounds: int
    uses_position: bool
    curves: dict[str, Curve] = field(default_factory=dict)
    k: int = LONG  # of the NDCG that chose


def expanding_window(folds: int) -> Folds:
    """Folds that train on the past and validate on what follows; query order is time order."""

    def split(queries: int) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        edges = np.linspace(0, queries, folds + 2).astype(np.int64)
        return [(np.arange(edges[i]), np.arange(edges[i], edges[i + 1])) for i in range(1, folds + 1)]

    return split


def dealt(folds: int) -> Folds:
    """Folds for data without time: whole queries dealt out in turn, the same on every run."""

    def split(queries: int) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        fold = np.arange(queries) % folds
        return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(folds)]

    return split


def require_preferences(rows: Rows, recipe: Recipe) -> None:
    """Raises NothingToLearn unless some query holds two different labels and there are queries for every fold."""
    starts = group_starts(rows.groups, len(rows.labels))
    if len(starts) < 2 * (recipe.folds + 1):
        raise NothingToLearn(f"{len(starts)} cases are too few for {recipe.folds}-fold cross-validation")
    highest, lowest = np.maximum.reduceat(rows.labels, starts), np.minimum.reduceat(rows.labels, starts)
    if (highest == lowest).all():
        raise NothingToLearn("no case holds two lawyers with different labels: there is no preference to learn")


def cross_validate(rows: Rows, recipe: Recipe, folds: Folds, seed: int) -> Curve:
    """Train all folds in step and record their validation NDCG at the headline rank until its mean stops growing."""

    def another_round(booster: "Booster") -> float:
        booster.update()
        return booster.eval_valid()[0][2]

    import lightgbm as lgb

    parameters = recipe.parameters(seed, len(rows.labels), headline_k(rows.groups))
    told = tells_apart(rows.labels, rows.groups)
    boosters = []
    for training, validation in folds(len(rows.groups)):
        past, future = rows.take(training), rows.take(validation[told[validation]])
        booster = lgb.Booster(parameters, _dataset(past, parameters))
        # Position explains the logs only; what is served, and so what is validated, has none.
        validation_set = _dataset(future.without_position(), parameters, reference=booster.train_set)
        booster.add_valid(validation_set, "validation")
        boosters.append(booster)
    history: list[list[float]] = []
    best, best_round = -np.inf, 0
    with _side_by_side(recipe, len(rows.labels)) as each:
        for number in range(recipe.max_rounds):
            history.append(list(each(another_round, boosters)))
            mean = float(np.mean(history[-1]))
            if mean > best:
                best, best_round = mean, number
            elif number - best_round >= recipe.patience:
                break
    values = np.array(history)
    return Curve(values.mean(axis=1), values.std(axis=1))


def train(rows: Rows, recipe: Recipe, seeds: Iterable[int], folds: Folds | None = None) -> Trained:
    """Choose rounds (and whether position helps) by cross-validation with the first seed; refit on all rows, each seed.

    Raises NothingToLearn when the rows hold no preference.
    """
    import lightgbm as lgb

    seeds = list(seeds)
    require_preferences(rows, recipe)
    split = folds or expanding_window(recipe.folds)
    curves = {"without position": cross_validate(rows.without_position(), recipe, split, seeds[0])}
    if rows.position is not None and len(np.unique(rows.position)) > 1:
        curves["with position"] = cross_validate(rows, recipe, split, seeds[0])
    chosen = max(curves, key=lambda name: curves[name].best)  # a tie keeps the first: without position
    uses_position = chosen == "with position"
    rounds = curves[chosen].best_round
    final = rows if uses_position else rows.without_position()
    count = len(rows.labels)
    dataset = _dataset(final, recipe.parameters(seeds[0], count)).construct()  # binned once for all seeds
    with _side_by_side(recipe, count) as each:
        boosters = list(each(lambda seed: lgb.train(recipe.parameters(seed, count), dataset, rounds), seeds))
    return Trained(boosters, rounds, uses_position, curves, headline_k(rows.groups))


def seed_averaged_ndcg(boosters: Iterable["Booster"], rows: Rows, ks: tuple[int, ...]) -> NDArray[np.float64]:
    """Per-query NDCG@k averaged over boosters, shape (queries, len(ks)); NaN where a query has no relevant document."""
    return np.mean([ndcg(rows.labels, booster.predict(rows.features), rows.groups, ks) for booster in boosters], axis=0)


@contextmanager
def _side_by_side(recipe: Recipe, rows: int) -> Iterator[Any]:
    """A `map` over models that trains as many at a time as there are threads left.

    LightGBM works outside the interpreter's lock, and a model's trees depend on nothing but its own data and seed.
    """
    models = recipe.max_threads // recipe.threads(rows)
    if models == 1:
        yield map
    else:
        with ThreadPoolExecutor(models) as pool:
            yield pool.map


def _dataset(rows: Rows, parameters: dict[str, Any], reference: Any = None) -> Any:
    import lightgbm as lgb

    return lgb.Dataset(
        rows.features,
        rows.labels,
        group=rows.groups,
        position=rows.position,
        feature_name=list(rows.names) or "auto",
        params=parameters,
        reference=reference,
    )
