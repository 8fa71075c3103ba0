"""Training: the best of a small, honest field, chosen by grouped, time-ordered cross-validation. Pure.

Arrays in, scorers out; how each kind learns is `learners.py`. Where the rows come from and where the scorers go is
elsewhere. Rows of one query stand together; queries are in order of time wherever time exists.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.models.learners import Learner, Recipe, Rows, hush, learner
from litgo_pipelines.models.metrics import LONG, group_starts, headline_k, ndcg, tells_apart
from litgo_pipelines.models.rules import RULES, Ruled
from litgo_pipelines.models.scorer import Blend, Scorer

WITH_POSITION = ", position"
BLENDED = " + "
RULE = "rule: "
# number of queries → (training queries, validation queries) of each fold
Folds = Callable[[int], Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]]
# told (what is done now, parts done, parts in all), every few seconds
Watch = Callable[[str, int, int], None]


def unwatched(doing: str, done: int, parts: int) -> None:
    """Nobody waits."""


class NothingToLearn(ValueError):
    """The rows hold no preference a ranker could learn; the message says why."""


@dataclass(frozen=True)
class Curve:
    """NDCG of the validation cases at some rounds. rounds: (looks,), ascending; values: (looks, cases), without NaN."""

    rounds: NDArray[np.int64]
    values: NDArray[np.float64]
    min_rounds: int = 0

    @property
    def mean(self) -> NDArray[np.float64]:
        return np.asarray(self.values.mean(axis=1))

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard error of each mean over cases."""
        return np.asarray(self.values.std(axis=1) / np.sqrt(max(self.values.shape[1], 1)))

    @property
    def chosen(self) -> int:
        """The look with the fewest rounds, not below the minimum, that is within half a standard error of the highest.

        The error is that of the difference case by case: that of the mean itself is mostly the cases' own variety. A
        whole one is too much on a few hundred cases: chosen on some folds and judged on others, it costs .002 to .003.
        """
        if not self.values.shape[1]:
            return len(self.rounds) - 1
        best = int(np.argmax(self.mean))
        for look in range(best):
            if self.rounds[look] >= self.min_rounds:
                loss = self.values[best] - self.values[look]
                if loss.mean() <= standard_error(loss) / 2:
                    return look
        enough = np.flatnonzero(self.rounds >= self.min_rounds)
        return max(best, int(enough[0]) if len(enough) else len(self.rounds) - 1)

    @property
    def best_round(self) -> int:
        return int(self.rounds[self.chosen])

    @property
    def best(self) -> float:
        """Mean NDCG at the chosen rounds; NaN without a case to validate on."""
        return float(self.mean[self.chosen]) if self.values.shape[1] else float("nan")


def standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std() / np.sqrt(max(len(values), 1)))


@dataclass(frozen=True)
class Tried:
    """One entry of the field: its curve, and its scores of the validation cases' rows at the chosen rounds, by fold."""

    name: str
    kind: str
    curve: Curve
    scores: list[NDArray[np.float64]]
    seconds: float

    @property
    def seeded(self) -> bool:
        return self.kind not in ("linear", "rule")

    @property
    def cases(self) -> NDArray[np.float64]:
        return np.asarray(self.curve.values[self.curve.chosen])

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values; figures are None without a case to validate on."""
        known = len(self.cases) > 0
        return {
            "kind": self.kind,
            "mean": self.curve.best if known else None,
            "standard_error": standard_error(self.cases) if known else None,
            "rounds": self.curve.best_round,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Trained:
    """One scorer per seed, in the order of the seeds, and how kind, rounds and position were chosen."""

    scorers: list[Scorer]
    chosen: str  # name of the field's entry
    field: dict[str, Tried]
    rounds: int
    uses_position: bool
    k: int = LONG  # of the NDCG that chose

    @property
    def kind(self) -> str:
        return self.scorers[0].kind

    @property
    def curve(self) -> Curve:
        return self.field[self.chosen].curve

    @property
    def names(self) -> tuple[str, ...]:
        return self.scorers[0].names


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
    if not rows.names:
        raise NothingToLearn("no feature tells one row from another: all are missing or the same everywhere")


def newest(rows: Rows, most_rows: int) -> Rows:
    """The newest whole cases of at most so many rows."""
    if len(rows.labels) <= most_rows:
        return rows
    ends = np.cumsum(rows.groups)
    first = int(np.searchsorted(ends, ends[-1] - most_rows))
    return rows.take(np.arange(first + 1, len(rows.groups)))


def cross_validate(
    rows: Rows,
    recipe: Recipe,
    folds: Folds,
    seed: int,
    name: str = "lambdamart",
    leader: Tried | None = None,
    looked: Callable[[int], object] = lambda rounds: None,
) -> Tried:
    """Train all folds of one entry of the field in step, and look at the validation cases every few rounds.

    Position explains the logs only: what is served, and so what is validated, has none. leader: the best entry so far;
    one that is clearly behind it and does not catch up is given no more rounds. looked: told the rounds at each look.
    """
    started = time.monotonic()
    k = headline_k(rows.groups)
    told = tells_apart(rows.labels, rows.groups)
    learners, futures = [], []
    for training, validation in folds(len(rows.groups)):
        past, future = rows.take(training), rows.take(validation[told[validation]])
        if len(future.groups):
            learners.append(_entrant(name, past, recipe, seed, len(rows.labels)))
            futures.append(future)
    if not learners:
        return Tried(
            name, _kind(name), Curve(np.array([recipe.min_rounds]), np.empty((1, 0)), recipe.min_rounds), [], 0.0
        )
    pairs = list(zip(learners, futures, strict=True))

    def advance(pair: tuple[Learner, Rows]) -> NDArray[np.float64]:
        own, future = pair
        own.advance(recipe.step)
        return ndcg(future.labels, own.score(future.features), future.groups, (k,))[:, 0]

    rounds: list[int] = []
    looks: list[NDArray[np.float64]] = []
    best = 0
    with _side_by_side(recipe, len(rows.labels)) as each:
        for number in range(max(recipe.max_rounds // recipe.step, 1)):
            looks.append(np.concatenate(list(each(advance, pairs))))
            rounds.append((number + 1) * recipe.step if learners[0].grows else 0)
            looked(rounds[-1])
            if looks[-1].mean() > looks[best].mean():
                best = number
            if not learners[0].grows or number - best >= recipe.patience // recipe.step:
                break
            if leader is not None and rounds[-1] >= 3 / recipe.learning_rate and _left_behind(looks, leader.cases):
                break
    curve = Curve(np.array(rounds), np.array(looks), recipe.min_rounds)
    scores = [own.score_at(future.features, curve.best_round) for own, future in pairs]
    return Tried(name, _kind(name), curve, scores, time.monotonic() - started)


def _left_behind(looks: list[NDArray[np.float64]], leader: NDArray[np.float64]) -> bool:
    """Whether an entry trails the leader by more than three standard errors, case by case, and by more than three times
    what the latter half of its rounds has won it. To be asked once trees had rounds enough to say what they know:
    after 3 / learning rate, a twentieth of a step that one tree could take at once is left."""
    behind = leader - looks[-1]
    won = looks[-1].mean() - looks[(len(looks) - 1) // 2].mean()
    return bool(behind.mean() > max(3 * standard_error(behind), 3 * won))


def _kind(name: str) -> str:
    return "rule" if name.startswith(RULE) else name.removesuffix(WITH_POSITION)


def _entrant(name: str, rows: Rows, recipe: Recipe, seed: int, all_rows: int) -> Learner:
    """A learner for an entry of the field; only «…, position» is told the position shown."""
    if name.startswith(RULE):
        return Ruled(name.removeprefix(RULE), rows)
    given = rows if name.endswith(WITH_POSITION) else rows.without_position()
    return learner(_kind(name), given, recipe, seed, all_rows)


def train(
    rows: Rows, recipe: Recipe, seeds: Iterable[int], folds: Folds | None = None, watch: Watch = unwatched
) -> Trained:
    """The best of the field by cross-validation with the first seed, refitted on all rows with each seed.

    Only features that tell rows apart are used; the scorers name them. Raises NothingToLearn when the rows hold no
    preference, ValueError when their features have no names.
    """
    seeds = list(seeds)
    field, chosen = cross_validated(rows, recipe, seeds[0], folds, watch)
    rows = _learned_from(rows, recipe)
    same = {name: _learn(name, field, rows, recipe, seeds[0]) for name in _members(chosen) if not field[name].seeded}
    with _side_by_side(recipe, len(rows.labels)) as each:
        fitted = each(lambda seed: _refit(chosen, field, rows, recipe, seed, same), seeds)
        scorers = []
        for one in fitted:
            scorers.append(one)
            watch(f"{chosen}, seeds", len(scorers), len(seeds))
    uses_position = any(name.endswith(WITH_POSITION) for name in _members(chosen))
    rounds = max(field[name].curve.best_round for name in _members(chosen))
    return Trained(scorers, chosen, field, rounds, uses_position, headline_k(rows.groups))


def _learned_from(rows: Rows, recipe: Recipe) -> Rows:
    """With the features that tell rows apart; an infinite value is a missing one. Raises as `train`."""
    if len(rows.names) != rows.features.shape[1]:
        raise ValueError(
            f"{rows.features.shape[1]} features and {len(rows.names)} names: rows must name their features"
        )
    if recipe.features:
        rows = rows.columns(recipe.features)
    if np.isinf(rows.features).any():
        rows = replace(rows, features=np.where(np.isinf(rows.features), np.nan, rows.features))
    return rows.columns(rows.usable())


def cross_validated(
    rows: Rows, recipe: Recipe, seed: int, folds: Folds | None = None, watch: Watch = unwatched
) -> tuple[dict[str, Tried], str]:
    """(the field, the name of the best); raises as `train`."""
    rows = _learned_from(rows, recipe)
    require_preferences(rows, recipe)
    split = folds or expanding_window(recipe.folds)
    sample = newest(rows, recipe.cv_rows)
    entries = [*(f"{RULE}{name}" for name, key in RULES.items() if key in rows.names), *recipe.kinds]
    if "lambdamart" in entries and rows.position is not None and len(np.unique(rows.position)) > 1:
        entries.insert(entries.index("lambdamart") + 1, f"lambdamart{WITH_POSITION}")
    tried: dict[str, Tried] = {}
    for name in entries:
        leader = max(tried.values(), key=lambda one: float(np.nan_to_num(one.curve.best)), default=None)

        def looked(rounds: int, name: str = name) -> None:
            watch(f"{name}, {rounds} rounds" if rounds else name, len(tried), len(entries))

        looked(0)
        tried[name] = cross_validate(sample, recipe, split, seed, name, leader, looked)
    return choose(tried, sample, split, recipe.members)


def choose(tried: dict[str, Tried], rows: Rows, split: Folds, members: int = 3) -> tuple[dict[str, Tried], str]:
    """(the field with the blend of its best learned entries, the name of the best).

    The highest mean of the same validation cases; a tie keeps the first. The blend takes the kinds that the best one
    does not beat by more than two standard errors, and is chosen unless the best one beats it by more than one: the
    highest of several means is partly luck, and a mean of their scores does not bet on it. Whatever was learned has to
    be better than the best rule by more than a standard error.
    """
    by_mean = sorted(tried, key=lambda name: -np.nan_to_num(tried[name].curve.best))
    learned = [name for name in by_mean if tried[name].kind != "rule"]
    if not learned or not tried[learned[0]].scores:
        return tried, by_mean[0]
    best = learned[0]
    field = dict(tried)
    near: dict[str, Tried] = {}
    for name in learned:
        if len(near) < members and not _better(tried[best], tried[name], errors=2):
            near.setdefault(tried[name].kind, tried[name])
    if len(near) > 1:
        blended = _blend(list(near.values()), rows, split)
        field[blended.name] = blended
        best = best if _better(tried[best], blended) else blended.name
    rule = next((name for name in by_mean if tried[name].kind == "rule"), None)
    return field, best if rule is None or _better(field[best], tried[rule]) else rule


def _better(one: Tried, other: Tried, errors: float = 1.0) -> bool:
    """By more than so many standard errors of the difference, case by case."""
    gain = one.cases - other.cases
    return bool(gain.mean() > errors * standard_error(gain))


def _blend(members: list[Tried], rows: Rows, split: Folds) -> Tried:
    """What the mean of their scores reaches on the validation cases."""
    started = time.monotonic()
    k, told = headline_k(rows.groups), tells_apart(rows.labels, rows.groups)
    futures = [rows.take(validation[told[validation]]) for _, validation in split(len(rows.groups))]
    futures = [future for future in futures if len(future.groups)]
    folds = zip(*(member.scores for member in members), strict=True)
    scores = [np.asarray(np.sum([_standard(one) for one in fold], axis=0)) for fold in folds]
    values = [
        ndcg(future.labels, score, future.groups, (k,))[:, 0] for future, score in zip(futures, scores, strict=True)
    ]
    curve = Curve(np.array([0]), np.concatenate(values)[None, :])
    name = BLENDED.join(member.name for member in members)
    return Tried(name, "blend", curve, scores, time.monotonic() - started)


def _members(name: str) -> list[str]:
    return name.split(BLENDED)


def _learn(name: str, field: dict[str, Tried], rows: Rows, recipe: Recipe, seed: int) -> Scorer:
    """An entry of the field on all rows, with the rounds it was given."""
    own = _entrant(name, rows, recipe, seed, len(rows.labels))
    own.advance(field[name].curve.best_round)
    return own.scorer()


def _refit(
    chosen: str, field: dict[str, Tried], rows: Rows, recipe: Recipe, seed: int, same: dict[str, Scorer]
) -> Scorer:
    """The chosen entry on all rows; same: members that no seed changes."""
    parts = [same.get(name) or _learn(name, field, rows, recipe, seed) for name in _members(chosen)]
    if len(parts) == 1:
        return parts[0]
    said = [part.scores(rows.features) for part in parts]
    centers, spreads = (tuple(float(f(values)) for values in said) for f in (np.mean, _spread))
    return Blend(tuple(parts), centers, spreads)


def _spread(values: NDArray[np.float64]) -> float:
    return float(values.std()) or 1.0


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / _spread(values))


def seed_averaged_ndcg(scorers: Iterable[Scorer], rows: Rows, ks: tuple[int, ...]) -> NDArray[np.float64]:
    """Per-query NDCG@k averaged over scorers, shape (queries, len(ks)); NaN where a query tells nothing apart."""
    return np.mean(
        [ndcg(rows.labels, s.scores(rows.columns(s.names).features), rows.groups, ks) for s in scorers], axis=0
    )


@contextmanager
def _side_by_side(recipe: Recipe, rows: int) -> Iterator[Any]:
    """A `map` over models that trains as many at a time as there are threads left.

    LightGBM works outside the interpreter's lock, and a model's trees depend on nothing but its own data and seed.
    """
    models = recipe.max_threads // recipe.threads(rows)
    if models <= 1:
        yield map
    else:
        with ThreadPoolExecutor(models, initializer=hush) as pool:
            yield pool.map
