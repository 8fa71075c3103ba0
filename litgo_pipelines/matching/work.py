"""Work: the cases of a batch matched one after another, each seeing the offers made to those before it.

Each case is committed by itself (`record.py`); one that cannot be matched is put aside and does not hold up the others.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.errors import LockNotAvailable

from litgo_pipelines.database import Connection, error_kind, no_partition, of_the_database, refuses_a_row
from litgo_pipelines.experiments.assignment import ARMS, CONTROL, TREATMENT
from litgo_pipelines.experiments.offer_life import OfferLife
from litgo_pipelines.matching import candidate_sets, day_limit, explain, nearest, record, waits
from litgo_pipelines.matching.allocation import (
    Floats,
    Ints,
    Rule,
    equity_term,
    load_for_offer,
    next_best,
    relative_load,
    ties,
)
from litgo_pipelines.matching.arm_loads import ArmLoads
from litgo_pipelines.matching.candidates import Cases, Lawyers, Reach, pairs
from litgo_pipelines.matching.features import impute
from litgo_pipelines.matching.plan import HOLDOUT, Arms, Batch, offer_term
from litgo_pipelines.models.features import ranks_of
from litgo_pipelines.models.ranking import ModelBroken, Ranker
from litgo_pipelines.observability.metrics import add, count, observe

REFUSALS = 4  # times that lawyers of one case are refused; then a person is told
EXPLAINED_BEYOND = 5  # lawyers explained beyond the offered
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class BatchResult:
    """What a batch came to; `failures`: case → reason."""

    batch_id: int
    as_of: datetime
    resumed: bool = False
    matched: int = 0
    offers: int = 0
    explored: int = 0
    treated: int = 0  # cases ranked by an experiment's challenger
    held_out: int = 0
    waiting: int = 0  # cases nobody can be offered now
    widened: int = 0
    refused: int = 0  # offers that the marketplace does not take for a lawyer: others were offered instead
    candidates: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    ranker: str = ""
    problem: str = ""  # why the champion does not rank
    space: str = ""  # of the similarity; empty: there was none
    kept: list[float] = field(default_factory=list)  # share of the best five's relevance, per case

    def figures(self) -> dict[str, object]:
        """For logs and tables: numbers only."""
        figures = {name: value for name, value in asdict(self).items() if name not in ("failures", "kept", "problem")}
        kept = {"relevance_kept": round(float(np.mean(self.kept)), 4)} if self.kept else {}
        return {**figures, **kept, "failed": len(self.failures), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Who is eligible for one case, as arrays over them."""

    who: Ints  # row numbers of lawyers
    relevance: Floats
    load: Floats
    pool_load: float
    last_offered: Floats
    tie: Ints
    near: NDArray[np.bool_]
    free: NDArray[np.bool_]
    rule: Rule


@dataclass(kw_only=True)
class BatchWork:
    """The state of a batch while it runs."""

    connection: Connection
    batch: Batch
    arms: Arms
    rankers: dict[str | None, Ranker]  # by arm; one that breaks is replaced by the heuristic
    assigned: Sequence[str | None]  # the arm of each case's client
    lives: Sequence[OfferLife]  # of each case's offers
    cases: Cases
    lawyers: Lawyers
    loads: ArmLoads
    reach: Reach
    similarity: Sequence[NDArray[np.float32]] | None
    turns: list[int]  # of each case: its place in the batch, also when a part of it is done already
    result: BatchResult

    def chunk(self, rows: Sequence[int]) -> None:
        """Match some cases; one that cannot be matched is put aside and does not hold up the others."""
        fit = []
        for row in rows:
            if len(self.reach.found[row][0]):
                fit.append(row)
            else:
                self._wait(row)
        if not fit:
            return
        try:
            found = pairs(self.cases, self.lawyers, fit, self.reach, self.similarity)
            features, imputed = impute(found.features, found.starts[:-1])
            relevance, seconds = self._relevance(fit, features, np.diff(found.starts))
        except Exception as error:
            if len(fit) > 1:  # whose fault it was shows when each is alone
                for row in fit:
                    self.chunk([row])
            else:
                self._fail(fit[0], f"{type(error).__name__}: {error}")
            return
        for k, row in enumerate(fit):
            here = slice(found.starts[k], found.starts[k + 1])
            try:
                self._with_who_takes_it(
                    row, found.lawyer[here], features[here], imputed[here], relevance[here], float(seconds[k])
                )
            except LockNotAvailable as error:  # somebody holds the case's row
                self.connection.rollback()
                self._fail(row, error_kind(error))
            except Exception as error:
                passing = isinstance(error, psycopg2.OperationalError) and not refuses_a_row(error)
                if passing or of_the_database(error) or no_partition(error):
                    raise  # no trouble of this case
                self.connection.rollback()
                self._fail(row, f"{type(error).__name__}: {error}")

    def _with_who_takes_it(
        self, row: int, who: Ints, features: Floats, imputed: NDArray[np.bool_], relevance: Floats, seconds: float
    ) -> None:
        """As `_match`, without the lawyers for whom the marketplace takes no offer."""
        for turn in range(1, REFUSALS + 1):
            try:
                self._match(row, who, features, imputed, relevance, seconds)
                break
            except record.LawyersRefused as error:
                if turn == REFUSALS or len(error.lawyers) == len(who):
                    raise
                refused = error.lawyers
            self.result.refused += len(refused)
            keep = ~np.isin(who, [k for k in who.tolist() if self.lawyers.ids[k] in refused])
            positions, km = self.reach.found[row]
            self.reach.found[row] = positions[keep], km[keep]
            who, features, imputed, relevance = who[keep], features[keep], imputed[keep], relevance[keep]

    def _relevance(self, fit: Sequence[int], features: Floats, sizes: Ints) -> tuple[Floats, Floats]:
        """Relevance of each pair, each case's by its arm's ranker; seconds per case, the same within an arm."""
        relevance, seconds = np.empty(len(features)), np.empty(len(fit))
        arms = np.array([self.assigned[row] or "" for row in fit])
        for arm in dict.fromkeys(self.assigned[row] for row in fit):
            mine = arms == (arm or "")
            of_arm = np.repeat(mine, sizes)
            rows = [row for row, here in zip(fit, mine, strict=True) if here]
            presets, complexity = (
                [column[row] for row in rows] for column in (self.cases.preset, self.cases.complexity)
            )
            while True:
                started = time.monotonic()
                try:
                    found = self.rankers[arm].relevance(features[of_arm], presets, complexity, sizes[mine])
                    break
                except ModelBroken as error:  # no case's fault
                    self._put_aside(arm, error)
            relevance[of_arm] = found
            seconds[mine] = (time.monotonic() - started) / len(rows)
        return relevance, seconds

    def _put_aside(self, arm: str | None, error: ModelBroken) -> None:
        """Another ranker for the rest of the batch: control's for the treated, else the heuristic."""
        before, control = self.rankers[arm], self.rankers.get(CONTROL)
        instead = control if arm == TREATMENT and control and not (before.fallback or control.fallback) else Ranker()
        self.rankers[arm] = replace(instead, fallback="broken", problem=str(error))
        with self.connection, self.connection.cursor() as cursor:
            add(cursor, [count("ranker_fallback_total", reason="broken")])

    def _match(
        self, row: int, who: Ints, features: Floats, imputed: NDArray[np.bool_], relevance: Floats, seconds: float
    ) -> None:
        """Allocate one case and commit it. who: row numbers of its eligible lawyers; features … of each of them."""
        started = time.monotonic()
        batch, cases = self.batch, self.cases
        arm = self.assigned[row]
        ranker = self.rankers[arm]
        compared = arm in ARMS and not self.rankers[CONTROL].fallback  # with a broken control there is no comparison
        loads_of = arm if compared else None
        pool = self._pool(row, who, relevance, self.loads.of(loads_of, who), batch.plan.rule_of(ranker))
        seed = _seed(cases.ids[row], cases.rounds[row])
        found = nearest.offer(
            pool.near,
            pool.free,
            relevance,
            pool.load,
            pool.last_offered,
            pool.tie,
            pool.rule,
            who,
            batch.plan.exploration,
            seed,
        )
        radius = float(self.reach.radius_km[row])
        known = candidate_sets.kept(relevance, found.rows)
        matched = record.MatchedCase(
            case_id=cases.ids[row],
            round=cases.rounds[row],
            batch_id=batch.batch_id,
            sent_at=batch.as_of + timedelta(microseconds=self.turns[row]),
            candidates=len(who),
            radius_km=None if np.isinf(radius) else radius,
            weight=found.choice.weight,
            pool_load=pool.pool_load,
            considered=self._considered(pool, found, features, imputed),
            ranker=ranker,
            preset=cases.preset[row],
            complexity=cases.complexity[row],
            term=offer_term(float(cases.urgency_h[row]), batch.plan, self.lives[row].hours),
            life=self.lives[row],
            experiment=self.arms.experiment if compared else None,
            arm=arm if compared or arm == HOLDOUT else None,
            phase=self.arms.phase,
            seconds=seconds,
            set_lawyers=[self.lawyers.ids[k] for k in who[known]],
            set_features=candidate_sets.pack(np.where(imputed[known], np.nan, features[known])),
        )
        if self._commit(
            matched, len(found.rows), int(found.by_chance.sum()), time.monotonic() - started, float(cases.waited[row])
        ):
            self.loads.reserve(loads_of, who[found.rows])
            self._reserve(who[found.rows], matched.sent_at)
            self._summarise(row, arm, relevance, found)

    def _pool(self, row: int, who: Ints, relevance: Floats, offers_30d: Floats, rule: Rule) -> _Pool:
        lawyers = self.lawyers
        load, pool_load = relative_load(
            offers_30d, lawyers.cases_30d[who], lawyers.capacity[who], lawyers.active_share[who], rule
        )
        return _Pool(
            who=who,
            relevance=relevance,
            load=load,
            pool_load=pool_load,
            last_offered=lawyers.last_offered[who],
            tie=ties(offers_30d, who),
            near=self._near(row),
            free=day_limit.free(lawyers.offers_in[:, who], lawyers.capacity[who], self.batch.plan.offer_burst_days),
            rule=rule,
        )

    def _considered(
        self, pool: _Pool, found: nearest.Offered, features: Floats, imputed: NDArray[np.bool_]
    ) -> list[explain.Entry]:
        """What is kept of the offered lawyers and of the next best."""
        choice, relevance, load, last, tie, rule = (
            found.choice,
            pool.relevance,
            pool.load,
            pool.last_offered,
            pool.tie,
            pool.rule,
        )
        others = next_best(choice, relevance, load, last, tie, rule, EXPLAINED_BEYOND, besides=found.rows)
        rows = np.concatenate([found.rows, others]).astype(np.int64)
        return explain.considered(
            lawyer_ids=[self.lawyers.ids[k] for k in pool.who[rows]],
            rows=rows.tolist(),
            choice=choice,
            relevance=relevance,
            load=load,
            equity_terms=equity_term(load, rule),
            features=np.column_stack([features[rows], ranks_of(features, rows)]),
            imputed=imputed[rows],
            propensity=found.propensity,
            nearest=found.nearest,
            by_chance=found.by_chance,
            near=pool.near,
            free=pool.free,
            offered_at_load=lambda i: load_for_offer(i, choice, relevance, load, last, tie, rule),
        )

    def _reserve(self, offered: Ints, sent_at: datetime) -> None:
        """What the cases after this one see of its offers."""
        self.lawyers.offers_in[:, offered] += 1
        self.lawyers.last_offered[offered] = _microseconds(sent_at)

    def _summarise(self, row: int, arm: str | None, relevance: Floats, found: nearest.Offered) -> None:
        radius = float(self.reach.radius_km[row])
        best = float(relevance[found.choice.best].sum() + relevance[found.nearest].sum())
        self.result.kept.append(float(relevance[found.rows].sum()) / best if best else 1.0)
        self.result.treated += arm == TREATMENT
        self.result.held_out += arm == HOLDOUT
        self.result.widened += bool(radius > self.batch.plan.radii_km[0] and np.isfinite(self.cases.lat[row]))

    def _near(self, row: int) -> NDArray[np.bool_]:
        """Who of those eligible for a case were so before its radius grew."""
        _, km = self.reach.found[row]
        radius = self.reach.radius_km[row]
        before = [step for step in self.batch.plan.radii_km if step < radius]
        return np.asarray(km <= before[-1]) if before else np.zeros(len(km), bool)

    def _commit(self, matched: record.MatchedCase, offered: int, explored: int, seconds: float, waited: float) -> bool:
        """Write the case; False when it was matched by a run before the kill, or is no longer pending."""
        deltas = [
            count("matches_found_total"),
            count("offers_created_total", offered),
            count("offers_explored_total", explored),
            count("ranker_used_total", ranker=matched.ranker.kind),
            *observe("matching_duration_seconds", seconds),
        ]
        if not (math.isnan(waited) or self.result.resumed):  # resumed: it has the killed one's instant
            deltas += observe("case_to_offers_seconds", waited + seconds)
        offers = record.write(self.connection, matched, deltas)
        if offers:
            self.result.matched += 1
            self.result.offers += offers
            self.result.explored += explored
            self.result.candidates += matched.candidates
        return bool(offers)

    def _wait(self, row: int) -> None:
        with self.connection, self.connection.cursor() as cursor:
            waits.write_wait(cursor, self.cases.ids[row], self.cases.rounds[row], self.batch.as_of)
        self.result.waiting += 1

    def _fail(self, row: int, reason: str) -> None:
        case_id, as_of = self.cases.ids[row], self.batch.as_of
        with self.connection, self.connection.cursor() as cursor:
            dead = record.record_failure(cursor, case_id, reason, as_of)
            add(cursor, [count("matching_failures_total", outcome="dead" if dead else "retried")])
        self.result.failures[case_id] = reason


def _seed(case_id: str, round_number: int) -> int:
    """The same draws for the same case and round, whenever and wherever it is matched."""
    return int.from_bytes(hashlib.sha256(f"{case_id}:{round_number}".encode()).digest()[:16], "big")


def _microseconds(instant: datetime) -> float:
    return float((instant - EPOCH) // timedelta(microseconds=1))
