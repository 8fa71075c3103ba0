"""Learners: how each kind of ranker learns from rows. Pure: numpy and LightGBM only.

Kinds: `linear`, a conditional logit (McFadden 1974) on the gain; `regression`, trees on the gain of each row;
`lambdamart`, trees on swapped pairs; `softmax`, trees on the cross-entropy of the case (ListNet, Cao et al. 2007).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.models.features import KEYS
from litgo_pipelines.models.metrics import LONG, group_starts, headline_k
from litgo_pipelines.models.scorer import Linear, Scorer, Trees

if TYPE_CHECKING:
    from lightgbm import Dataset

KINDS = ("linear", "regression", "lambdamart", "softmax")
MOST_ROWS_OF_A_CASE = 10_000
_NEWTON_STEPS = 30
_CASES_AT_A_TIME = 1000  # of the conditional logit, so that memory holds a part of the products only


@dataclass(frozen=True)
class Recipe:
    """How a ranker is trained. The defaults are measured: `benchmarks/lambdarank_reference.py`."""

    kinds: tuple[str, ...] = KINDS
    features: tuple[str, ...] = ()  # of the contract; none named: all that tell rows apart
    learning_rate: float = 0.03
    num_leaves: int = 15
    min_data_in_leaf: int = 50
    columns_per_tree: int = 3  # at least: of eight columns, two of them empty, .3 left many trees a single useful one
    feature_fraction: float = 0.3  # where there are more columns
    lambda_l2: float = 10.0
    truncation: int = 10
    linear_l2: float = 1.0
    folds: int = 5
    step: int = 10  # rounds between two looks at the validation cases
    min_rounds: int = 30  # the curve is noisy: its highest point was once at round 5
    max_rounds: int = 1000
    patience: int = 70  # rounds without a better mean before the search for the best round ends
    members: int = 3  # at most, of a blend
    cv_rows: int = 300_000  # the newest whole cases up to these rows choose; all rows are learned from
    max_threads: int = 2

    def parameters(
        self, seed: int, rows: int = 0, k: int = LONG, columns: int = 0, kind: str = "lambdamart"
    ) -> dict[str, Any]:
        """LightGBM parameters. The same seed gives the same trees, with any number of threads; bins have no seed."""
        return {
            "objective": {"lambdamart": "lambdarank", "regression": "regression", "softmax": "none"}[kind],
            "metric": "ndcg" if kind == "lambdamart" else "none",
            "eval_at": [k],
            "learning_rate": self.learning_rate,
            "num_leaves": self.num_leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "feature_fraction": self.fraction(columns),
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

    def checked(self) -> "Recipe":
        """Itself. Raises ValueError naming what cannot be."""
        for name, known in (("kinds", KINDS), ("features", KEYS)):
            if unknown := [each for each in getattr(self, name) if each not in known]:
                raise ValueError(f"{name} {', '.join(unknown)}: there are {', '.join(known)}")
        if not self.kinds:
            raise ValueError("kinds: at least one")
        for name in ("learning_rate", "num_leaves", "folds", "step", "min_rounds", "max_rounds", "members"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0")
        if self.max_rounds < self.min_rounds:
            raise ValueError("max_rounds must not be below min_rounds")
        return self

    def fraction(self, columns: int) -> float:
        """Share of the columns that each tree may use."""
        return min(1.0, max(self.feature_fraction, self.columns_per_tree / columns)) if columns else 1.0

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

    def columns(self, names: tuple[str, ...]) -> "Rows":
        """The named features in that order; one the rows do not have is missing everywhere."""
        if names == self.names:
            return self
        at = {name: column for column, name in enumerate(self.names)}
        chosen = np.full((len(self.labels), len(names)), np.nan)
        for column, name in enumerate(names):
            if name in at:
                chosen[:, column] = self.features[:, at[name]]
        return replace(self, features=chosen, names=names)

    def usable(self) -> tuple[str, ...]:
        """Features that tell some rows from others: neither missing everywhere nor the same in all rows."""
        return tuple(
            name
            for name, values in zip(self.names, self.features.T, strict=True)
            if not (np.isnan(values).all() or (values == values[0]).all())
        )

    def without_position(self) -> "Rows":
        return replace(self, position=None)


class Learner(Protocol):
    """`grows`: whether more rounds change it."""

    @property
    def grows(self) -> bool: ...

    def advance(self, rounds: int) -> None: ...

    def score(self, features: Floats) -> Floats:
        """Of the same rows each time: what was added since the last call is all that is computed."""

    def score_at(self, features: Floats, rounds: int) -> Floats: ...

    def scorer(self) -> Scorer: ...


def learner(kind: str, rows: Rows, recipe: Recipe, seed: int, all_rows: int) -> Learner:
    """A learner of the kind on the rows; all_rows: of the whole set, which decides on threads."""
    if kind == "linear":
        return Logit(rows, recipe)
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r}: there are {', '.join(KINDS)}")
    return Boosted(kind, rows, recipe, seed, all_rows)


class Boosted:
    """Trees of LightGBM."""

    grows = True

    def __init__(self, kind: str, rows: Rows, recipe: Recipe, seed: int, all_rows: int) -> None:
        import lightgbm as lgb

        if kind == "lambdamart":  # LightGBM refuses all rows for one case of more; the others learn from it
            rows = rows.take(np.flatnonzero(rows.groups <= MOST_ROWS_OF_A_CASE))
        self._kind, self._rows = kind, rows
        parameters = recipe.parameters(seed, all_rows, headline_k(rows.groups), rows.features.shape[1], kind)
        self._booster = lgb.Booster(parameters, dataset(rows, parameters, kind))
        self._softmax = Softmax(rows) if kind == "softmax" else None
        self._quiet = {name: parameters[name] for name in ("num_threads", "verbosity")}
        self._seen: Floats | None = None
        self._rounds = 0
        self._nothing_to_split = False

    def advance(self, rounds: int) -> None:
        for _ in range(rounds):
            if self._softmax is None:
                self._booster.update()
            elif not self._nothing_to_split:
                self._update(self._softmax)

    def _update(self, objective: "Softmax") -> None:
        """One more tree. Where no column can be split (all alike in these rows, or too few rows for two leaves),
        LightGBM makes a constant of its own objectives and an error of others': then there are no trees, and all score
        alike."""
        import lightgbm as lgb

        try:
            self._booster.update(fobj=objective)
        except lgb.basic.LightGBMError as error:
            if "num_features()" not in str(error):
                raise
            self._nothing_to_split = True

    def score(self, features: Floats) -> Floats:
        now = self._booster.current_iteration()
        added = self._predict(features, self._rounds, now - self._rounds)
        self._seen, self._rounds = added if self._seen is None else self._seen + added, now
        return self._seen

    def score_at(self, features: Floats, rounds: int) -> Floats:
        return self._predict(features, 0, rounds)

    def _predict(self, features: Floats, start: int, count: int) -> Floats:
        if count <= 0:
            return np.zeros(len(features))
        said = self._booster.predict(
            features, start_iteration=start, num_iteration=count, raw_score=True, **self._quiet
        )
        return np.asarray(said, dtype=np.float64)

    def scorer(self) -> Scorer:
        text = self._booster.model_to_string()
        if self._kind == "lambdamart":
            return Trees(self._kind, self._rows.names, text)
        # On one scale whatever the labels' gains are, so that relevances are as far apart as another kind's.
        said = self._predict(self._rows.features, 0, self._booster.current_iteration())
        return Trees(self._kind, self._rows.names, text, float(said.mean()), float(said.std()) or 1.0)


class Softmax:
    """Gradient and curvature of −Σ gain · ln softmax(score) over each case."""

    def __init__(self, rows: Rows) -> None:
        self._starts = group_starts(rows.groups, len(rows.labels))
        self._case = np.repeat(np.arange(len(rows.groups)), rows.groups)
        self._gain = gain(rows.labels)
        self._total = np.add.reduceat(self._gain, self._starts)[self._case]

    def __call__(self, scores: Floats, _: object) -> tuple[Floats, Floats]:
        share = self.shares(scores)
        return self._total * share - self._gain, np.maximum(self._total * share * (1 - share), 1e-6)

    def shares(self, scores: Floats) -> Floats:
        raised = np.exp(scores - np.maximum.reduceat(scores, self._starts)[self._case])
        return np.asarray(raised / np.add.reduceat(raised, self._starts)[self._case])

    def loss(self, scores: Floats) -> float:
        return -float((self._gain * np.log(np.maximum(self.shares(scores), 1e-300))).sum())

    def fit(self, design: Floats, ridge: float) -> Floats:
        """Weights (columns,) of the lowest loss with a ridge penalty, by Newton's method: it is convex, and a handful
        of steps with the curvature take less time than hundreds without."""
        weights = np.zeros(design.shape[1])
        value = self._penalised(design, weights, ridge)
        for _ in range(_NEWTON_STEPS):
            share = self.shares(design @ weights)
            gradient = design.T @ (self._total * share - self._gain) + ridge * weights
            step = np.linalg.lstsq(self._curvature(design, share) + ridge * np.eye(len(weights)), gradient)[0]
            length = 1.0
            while (found := self._penalised(design, weights - length * step, ridge)) > value and length > 1e-4:
                length /= 2
            if found > value:
                break
            weights = weights - length * step
            gained, value = value - found, found
            if gained <= 1e-8 * abs(value):
                break
        return weights

    def _penalised(self, design: Floats, weights: Floats, ridge: float) -> float:
        return self.loss(design @ weights) + ridge / 2 * float(weights @ weights)

    def _curvature(self, design: Floats, share: Floats) -> Floats:
        """Σ over cases of gain · covariance of the features under the shares, (columns, columns)."""
        columns = design.shape[1]
        total = np.zeros((columns, columns))
        ends = np.r_[self._starts, len(share)]
        for first in range(0, len(self._starts), _CASES_AT_A_TIME):
            cases = ends[first : first + _CASES_AT_A_TIME + 1]
            rows = slice(int(cases[0]), int(cases[-1]))
            block, own = design[rows], share[rows]
            weighted = block * own[:, None]
            means = np.add.reduceat(weighted, cases[:-1] - cases[0], axis=0)
            gain_of_case = self._total[cases[:-1]]
            total += (weighted * self._total[rows, None]).T @ block - (means * gain_of_case[:, None]).T @ means
        return total


class Logit:
    """Conditional logit: linear scores, softmax over the case, ridge penalty; a missing value has a weight."""

    grows = False

    def __init__(self, rows: Rows, recipe: Recipe) -> None:
        self._rows, self._recipe = rows, recipe
        self._fitted: Linear | None = None

    def advance(self, rounds: int) -> None:
        if self._fitted is None:
            self._fitted = self._fit()

    def _fit(self) -> Linear:
        rows, features = self._rows, self._rows.features
        missing = np.isnan(features)
        known = np.maximum((~missing).sum(axis=0), 1)
        center = np.where(missing, 0.0, features).sum(axis=0) / known
        scaled = np.where(missing, 0.0, features - center)
        spread = np.sqrt((scaled**2).sum(axis=0) / known)
        spread = np.where(spread > 0, spread, 1.0)
        scaled /= spread
        gaps = np.flatnonzero(missing.any(axis=0))
        design = np.column_stack([scaled, missing[:, gaps].astype(np.float64)])
        found = Softmax(rows).fit(design, self._recipe.linear_l2)
        columns = features.shape[1]
        absent = np.zeros(columns)
        absent[gaps] = found[columns:]
        return Linear(rows.names, found[:columns], center, spread, absent)

    def score(self, features: Floats) -> Floats:
        assert self._fitted is not None
        return self._fitted.scores(features)

    def score_at(self, features: Floats, rounds: int) -> Floats:
        return self.score(features)

    def scorer(self) -> Scorer:
        assert self._fitted is not None
        return self._fitted


def hush() -> None:
    """Keep LightGBM from talking in this thread: how much it says is each thread's own."""
    import lightgbm as lgb

    lgb.Dataset(np.array([[0.0], [1.0]]), params={"verbosity": -1}).construct()


def gain(labels: Sequence[int] | NDArray[np.int64]) -> Floats:
    """2^label − 1, as in NDCG."""
    return np.exp2(np.asarray(labels, dtype=np.float64)) - 1.0


def dataset(
    rows: Rows, parameters: dict[str, Any], kind: str = "lambdamart", reference: "Dataset | None" = None
) -> "Dataset":
    """LightGBM's view of the rows."""
    import lightgbm as lgb

    return lgb.Dataset(
        rows.features,
        rows.labels if kind == "lambdamart" else gain(rows.labels),
        group=rows.groups,
        position=rows.position if kind == "lambdamart" else None,
        feature_name=list(rows.names) or "auto",
        params=parameters,
        reference=reference,
    )
