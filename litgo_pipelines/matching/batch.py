"""One batch of pending cases, from candidates to committed offers.

The order of work: claim a batch (or the one a killed run left) → read everything once → decide case by case, each
seeing the reservations of those before it, each committed in a transaction of its own. Knows the database, not Dagster.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg2
from numpy.typing import NDArray

from litgo_pipelines.database import in_transaction, session_lock, sql
from litgo_pipelines.embeddings import store
from litgo_pipelines.lifecycle.assignment import ARMS, CONTROL, TREATMENT
from litgo_pipelines.matching import arm_loads
from litgo_pipelines.matching.allocation import (
    Rule,
    choose,
    equity_term,
    explore,
    load_for_offer,
    next_best,
    relative_load,
    ties,
)  # fmt: skip
from litgo_pipelines.matching.arm_loads import ArmLoads
from litgo_pipelines.matching.candidates import PACKAGE, Cases, Lawyers, Reach, pairs, read_cases, search, similar
from litgo_pipelines.matching.features import impute
from litgo_pipelines.matching.hand_weights import FEATURES
from litgo_pipelines.matching.ranking import HOLDOUT, Arms, ModelBroken, Ranker
from litgo_pipelines.observability.metrics import add, columns, count, observe

LOCK = "matching"
CHUNK = 64  # cases whose features are computed together: bounds memory
ATTEMPTS = 3  # then a case waits for a person
RETRY = timedelta(minutes=5)  # times the number of failed attempts
NEXT = 5  # lawyers explained beyond the offered
EMBEDDED_WITHIN = timedelta(minutes=2)  # a new case waits for its vector for so long
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = ("uuid", "int", "bigint", "timestamptz", "int", "float8", "float8", "float8", "jsonb",
          "jsonb", "text", "text", "text", "interval", "text[]", "jsonb[]", "float8[]",
          "text", "text", "int", "float8")  # fmt: skip
_EXECUTE = f"EXECUTE make_offers ({', '.join(f'%s::{kind}' for kind in _TYPES)})"


@dataclass(frozen=True)
class Plan:
    """What decides the offers besides the data; kept with the batch."""

    rule: Rule = field(default_factory=Rule)  # its weight is for rankers that nobody calibrated
    weights: dict[str, float] = field(default_factory=dict)  # model version ("": hand weights) → its calibrated λ
    rule_version: int | None = None  # newest calibration in `weights`; None: there is none
    exploration: float = 0.02
    radii_km: tuple[float, ...] = (50.0, 100.0, 200.0, 500.0)
    preset: str = "balanced"
    offer_hours: int = 24
    rounds: int = 3
    round_days: int = 14  # a case older than this gets no further round
    limit: int = 500
    embedding_model: str = "text-embedding-3-small"  # compares where it is complete, else the local one

    @classmethod
    def load(cls, stored: dict[str, Any]) -> "Plan":
        return cls(**{**stored, "rule": Rule(**stored["rule"]), "radii_km": tuple(stored["radii_km"])})

    def rule_of(self, ranker: Ranker) -> Rule:
        """The allocation's rule with the ranker's own λ: scores of two models are not on one scale."""
        return replace(self.rule, weight=self.weights.get(ranker.version or "", self.rule.weight))


@dataclass(frozen=True)
class Batch:
    batch_id: int
    as_of: datetime
    case_ids: list[str]
    rounds: list[int]
    plan: Plan
    model_version: str | None  # the champion's
    experiment: str | None
    phase: int | None
    treatment_version: str | None
    holdout: str | None  # None: there is none; else the version that ranks for it, empty for the hand weights
    watermark: int | None  # of the embeddings that are compared; None: none are
    space: str | None  # of the similarity; None: not chosen yet


@dataclass
class Result:
    """What a batch came to; `failures`: case → reason."""

    batch_id: int
    as_of: datetime
    resumed: bool = False
    matched: int = 0
    offers: int = 0
    explored: int = 0
    treated: int = 0  # cases ranked by an experiment's challenger
    held_out: int = 0
    widened: int = 0
    candidates: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    ranker: str = ""
    problem: str = ""  # why the champion does not rank
    space: str = ""  # of the similarity; empty: there was none
    kept: list[float] = field(default_factory=list)  # share of the best five's relevance, a case

    def figures(self) -> dict[str, Any]:
        """For logs and tables: numbers only."""
        figures = {name: value for name, value in asdict(self).items() if name not in ("failures", "kept", "problem")}
        kept = {"relevance_kept": round(float(np.mean(self.kept)), 4)} if self.kept else {}
        return {**figures, **kept, "failed": len(self.failures), "seconds": round(self.seconds, 3)}


def match_pending(
    connection: Any,
    plan: Plan,
    arms_for: Callable[[Any, Batch | None], Arms],
    as_of: datetime,
    run_id: str,
) -> Iterator[Result]:
    """Match what is pending as of the instant: first the batch a killed run left open, then one of at most plan.limit.

    `connection`: in no transaction; one matcher works at a time, others wait. `arms_for(cursor, batch)`: the rankers
    an open batch began with, or (None) of a new one. Raises what the database raised when it is not one case's fault.
    """
    with session_lock(connection, LOCK):
        while True:
            with connection, connection.cursor() as cursor:
                left = _open_batch(cursor)
                instant, found = (left.as_of, []) if left else _pending_now(cursor, plan, as_of)
                if not (left or found):
                    return
                arms = arms_for(cursor, left)
                batch = left or _claim(cursor, plan, arms, instant, found, run_id)
                lost = [ranker.fallback for ranker in arms.rankers.values() if ranker.fallback]
                add(cursor, [count("ranker_fallback_total", reason=reason) for reason in lost])
            result = match_batch(connection, batch, arms)
            result.resumed = left is not None
            yield result
            if left is None:
                return


def match_batch(connection: Any, batch: Batch, arms: Arms) -> Result:
    """Match the cases of a claimed batch that are not matched yet, and close it. The caller holds the lock."""
    started = time.monotonic()
    result = Result(batch.batch_id, batch.as_of)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '64MB'")
        todo = _todo(cursor, batch)
        if todo:
            turns, case_ids, rounds = (list(column) for column in zip(*todo, strict=True))
            cases = read_cases(cursor, case_ids, rounds, batch.plan.preset)
            lawyers, reach = search(cursor, cases, batch.plan.radii_km, batch.as_of)
            assigned = arms.assign(cursor, cases.clients)
            loads = arm_loads.read(cursor, arms.experiment, lawyers.ids, lawyers.offers_30d, batch.as_of)
            similarity = _similarity(connection, cursor, batch, cases, lawyers, reach)
            result.space = similarity[0]
    if todo:
        with connection, connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
            cursor.execute(sql(PACKAGE, "offers.sql"))
        # A crash of the server may take back the last moment's cases. The batch is still open then, and is done again
        # with the same offers; closing it, below, is durable and makes everything before it so.
        connection.cursor().execute("SET synchronous_commit = off")
        connection.commit()
        work = _Work(
            connection,
            batch,
            arms,
            dict(arms.rankers),
            assigned,
            cases,
            lawyers,
            loads,
            reach,
            similarity[1],
            turns,
            result,
        )
        for first in range(0, len(turns), CHUNK):
            work.chunk(range(first, min(first + CHUNK, len(turns))))
        arms = replace(arms, rankers=work.rankers)
        connection.cursor().execute("SET synchronous_commit = on")
        connection.commit()
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE litgo.matching_batches SET finished_at = now() WHERE batch_id = %s", (batch.batch_id,))
    result.ranker = arms.champion.version or arms.champion.kind
    result.problem = "; ".join(dict.fromkeys(ranker.problem for ranker in arms.rankers.values() if ranker.problem))
    result.seconds = time.monotonic() - started
    return result


def pending(cursor: Any, plan: Plan, as_of: datetime) -> list[tuple[str, int, datetime]]:
    """(case, round, created_at) of the cases whose turn it is, at most plan.limit."""
    cursor.execute(
        sql(PACKAGE, "pending.sql"),
        {
            "as_of": as_of,
            "since": datetime.min.replace(tzinfo=UTC),
            "rounds": plan.rounds,
            "round_days": plan.round_days,
            "limit": plan.limit,
        },
    )
    return cursor.fetchall()


def _open_batch(cursor: Any) -> Batch | None:
    cursor.execute(
        "SELECT batch_id, as_of, case_ids::text[], rounds, parameters, model_version, experiment, phase, "
        "treatment_version, holdout_version, similarity_watermark, similarity_space "
        "FROM litgo.matching_batches WHERE finished_at IS NULL"
    )
    row = cursor.fetchone()
    if row is None:
        return None
    batch_id, as_of, case_ids, rounds, stored, *rest = row
    return Batch(batch_id, as_of, case_ids, rounds, Plan.load(stored), *rest)


def _pending_now(cursor: Any, plan: Plan, as_of: datetime) -> tuple[datetime, list[tuple[str, int, datetime]]]:
    # Offers of a batch are microseconds after its instant: two batches must be further apart.
    cursor.execute("SELECT GREATEST(%s, max(as_of) + interval '1 second') FROM litgo.matching_batches", (as_of,))
    (instant,) = cursor.fetchone()
    found = pending(cursor, plan, instant)
    late = store.not_embedded_yet(cursor, [case_id for case_id, *_ in found], instant, EMBEDDED_WITHIN)
    return instant, [row for row in found if row[0] not in late]


def _claim(
    cursor: Any, plan: Plan, arms: Arms, as_of: datetime, found: list[tuple[str, int, datetime]], run_id: str
) -> Batch:
    case_ids, rounds, _ = (list(column) for column in zip(*found, strict=True))
    watermark = store.watermark(cursor)
    ranked_by = {ranker.version or "" for ranker in arms.rankers.values()} | {""}  # hand weights stand in for any
    plan = replace(plan, weights={version: weight for version, weight in plan.weights.items() if version in ranked_by})
    cursor.execute(
        "INSERT INTO litgo.matching_batches "
        "(as_of, case_ids, rounds, parameters, ranker, model_version, run_id, similarity_watermark, experiment, phase, "
        "treatment_version, holdout_version) "
        "VALUES (%s, %s::uuid[], %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING batch_id",
        (
            as_of,
            case_ids,
            rounds,
            json.dumps(asdict(plan)),
            arms.champion.kind,
            arms.champion.version,
            run_id,
            watermark,
            arms.experiment,
            arms.phase,
            arms.treatment_version,
            arms.holdout,
        ),
    )
    (batch_id,) = cursor.fetchone()
    return Batch(
        batch_id, as_of, case_ids, rounds, plan, arms.champion.version, arms.experiment, arms.phase,
        arms.treatment_version, arms.holdout, watermark, None,
    )  # fmt: skip


def _similarity(
    connection: Any, cursor: Any, batch: Batch, cases: Cases, lawyers: Lawyers, reach: Reach
) -> tuple[str, list[NDArray[np.float32]] | None]:
    """(space, S as `candidates.similar` says), in one space for the whole batch: the first to read chooses it."""
    if batch.watermark is None or batch.space == store.NO_SPACE:
        return store.NO_SPACE, None
    if batch.space is None:
        used = {
            k for row, (positions, _) in enumerate(reach.found) for k in lawyers.members[cases.area[row]][positions]
        }
        model = store.best_model(
            cursor, cases.ids, [lawyers.ids[k] for k in used], batch.as_of, batch.watermark, batch.plan.embedding_model
        )
    else:
        model = store.model_of(batch.space)
    space, found = similar(connection, cases, lawyers, reach, batch.as_of, model, batch.watermark)
    if batch.space is None:
        cursor.execute(
            "UPDATE litgo.matching_batches SET similarity_space = %s WHERE batch_id = %s", (space, batch.batch_id)
        )
    return space, found


def _todo(cursor: Any, batch: Batch) -> list[tuple[int, str, int]]:
    """(turn, case, round) of what is left: not matched, not failed in this batch, still pending."""
    cursor.execute(
        "SELECT b.turn, b.case_id::text, b.round "
        "FROM unnest(%(case_ids)s::uuid[], %(rounds)s::int[]) WITH ORDINALITY AS b (case_id, round, turn) "
        "JOIN cases c ON c.id = b.case_id AND c.status = 'pending_assignment' "
        "WHERE NOT EXISTS (SELECT FROM litgo.matchings m WHERE m.case_id = b.case_id AND m.round = b.round) "
        "AND NOT EXISTS (SELECT FROM litgo.matching_failures f WHERE f.case_id = b.case_id AND f.retry_at > %(as_of)s "
        "AND f.last_failed_at <= %(as_of)s) "
        "ORDER BY b.turn",
        {"case_ids": batch.case_ids, "rounds": batch.rounds, "as_of": batch.as_of},
    )
    return cursor.fetchall()


@dataclass
class _Work:
    """The state of a batch while it runs."""

    connection: Any
    batch: Batch
    arms: Arms
    rankers: dict[str | None, Ranker]  # by arm; one that breaks is replaced by the hand weights
    assigned: Sequence[str | None]  # the arm of each case's client
    cases: Cases
    lawyers: Lawyers
    loads: ArmLoads
    reach: Reach
    similarity: Sequence[NDArray[np.float32]] | None
    turns: list[int]  # of each case: its place in the batch, also when a part of it is done already
    result: Result

    def chunk(self, rows: Sequence[int]) -> None:
        """Match some cases; one that cannot be matched is put aside and does not hold up the others."""
        fit = []
        for row in rows:
            if (problem := self._problem(row)) is None:
                fit.append(row)
            else:
                self._fail(row, problem)
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
                self._match(row, found.lawyer[here], features[here], imputed[here], relevance[here], float(seconds[k]))
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                raise  # the database's trouble, not this case's
            except Exception as error:
                self.connection.rollback()
                self._fail(row, f"{type(error).__name__}: {error}")

    def _relevance(
        self, fit: Sequence[int], features: Any, sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Relevance of each pair, each case's by its arm's ranker; seconds a case, the same in an arm."""
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
        """Another ranker for the rest of the batch: control's for the treated, else the hand weights."""
        before, control = self.rankers[arm], self.rankers.get(CONTROL)
        instead = control if arm == TREATMENT and control and not (before.fallback or control.fallback) else Ranker()
        self.rankers[arm] = replace(instead, fallback="broken", problem=str(error))
        with self.connection, self.connection.cursor() as cursor:
            add(cursor, [count("ranker_fallback_total", reason="broken")])

    def _problem(self, row: int) -> str | None:
        lat, lng = self.cases.lat[row], self.cases.lng[row]
        if not (np.isnan(lat) or (abs(lat) <= 90 and abs(lng) <= 180)):
            return f"the case's place ({lng}, {lat}) is none on Earth: correct cases.coords"
        if not len(self.reach.found[row][0]):
            return f"no eligible lawyer for {self.cases.area_names[self.cases.area[row]]!r} anywhere"
        return None

    def _match(self, row: int, who: Any, features: Any, imputed: Any, relevance: Any, seconds: float) -> None:
        started = time.monotonic()
        plan, lawyers, batch = self.batch.plan, self.lawyers, self.batch
        arm = self.assigned[row]
        ranker = self.rankers[arm]
        rule = plan.rule_of(ranker)
        compared = arm in ARMS and not self.rankers[CONTROL].fallback  # with a broken control there is no comparison
        last = lawyers.last_offered[who]
        offers_30d = self.loads.of(arm if compared else None, who)
        z, mean = relative_load(
            offers_30d, lawyers.cases_30d[who], lawyers.capacity[who], lawyers.active_share[who], rule
        )
        tie = ties(offers_30d, who)
        choice = choose(relevance, z, last, tie, rule)
        case_id, round_number = self.cases.ids[row], self.cases.rounds[row]
        offered, propensity, by_chance = explore(choice, who, plan.exploration, _seed(case_id, round_number))
        order = np.lexsort((who[offered], -relevance[offered]))  # shown by relevance
        offered, propensity, by_chance = offered[order], propensity[order], by_chance[order]
        term = equity_term(z, rule)
        others = next_best(choice, relevance, z, last, tie, rule, NEXT, besides=offered)
        considered: list[dict[str, Any]] = []
        for i in [*offered.tolist(), *others.tolist()]:
            place = len(considered)
            is_offered = place < len(offered)
            entry = {
                "lawyer_id": lawyers.ids[who[i]],
                "offered": is_offered,
                "relevance": round(float(relevance[i]), 4),
                "rank_by_relevance": 1 + int((relevance > relevance[i]).sum()),
                "equity_term": round(float(term[i]), 4),
                "score": round(float(relevance[i] + choice.weight * term[i]), 4),
                "load": round(float(z[i]), 4),
                "features": {
                    key: None if np.isnan(value) else value
                    for key, value in zip(FEATURES, features[i].tolist(), strict=True)
                },
                "imputed": [key for key, flag in zip(FEATURES, imputed[i].tolist(), strict=True) if flag],
            }
            if is_offered:
                entry |= {"propensity": round(float(propensity[place]), 6), "by_chance": bool(by_chance[place])}
            elif i in choice.chosen:
                entry["displaced"] = True  # by chance
            else:
                entry["offered_at_load"] = load_for_offer(i, choice, relevance, z, last, tie, rule)
            considered.append(entry)
        turn = self.turns[row]
        sent_at = batch.as_of + timedelta(microseconds=turn)
        preset, complexity = self.cases.preset[row], self.cases.complexity[row]
        radius = float(self.reach.radius_km[row])
        explored = int(by_chance.sum())
        deltas = [
            count("matches_found_total"),
            count("offers_created_total", len(offered)),
            count("offers_explored_total", explored),
            count("ranker_used_total", ranker=ranker.kind),
            *observe("matching_duration_seconds", time.monotonic() - started),
        ]
        parameters = (
            case_id, round_number, batch.batch_id, sent_at, len(who), None if np.isinf(radius) else radius,
            choice.weight, mean, json.dumps(considered),
            ranker.weights_used(preset, complexity), ranker.kind, ranker.version,
            preset if ranker.model is None else None, timedelta(hours=plan.offer_hours), *columns(deltas),
            self.arms.experiment if compared else None, arm if compared or arm == HOLDOUT else None, self.arms.phase,
            seconds,
        )  # fmt: skip
        offers = self._commit(parameters)
        if not offers:  # matched by a run before the kill, or no longer pending
            return
        rows = who[offered]
        self.loads.reserve(arm if compared else None, rows)
        lawyers.last_offered[rows] = _microseconds(sent_at)
        result = self.result
        result.matched += 1
        result.offers += offers
        result.explored += explored
        result.treated += arm == TREATMENT
        result.held_out += arm == HOLDOUT
        result.candidates += len(who)
        result.widened += bool(radius > plan.radii_km[0] and np.isfinite(self.cases.lat[row]))
        best = float(relevance[choice.best].sum())
        result.kept.append(float(relevance[offered].sum()) / best if best else 1.0)

    def _commit(self, parameters: tuple[Any, ...]) -> int:
        """One transaction: the number of offers made."""

        def write(cursor: Any) -> int:
            cursor.execute(_EXECUTE, parameters)
            return cursor.fetchone()[0]

        return in_transaction(self.connection, write)

    def _fail(self, row: int, reason: str) -> None:
        case_id, as_of = self.cases.ids[row], self.batch.as_of
        with self.connection, self.connection.cursor() as cursor:
            dead = record_failure(cursor, case_id, reason, as_of)
            add(cursor, [count("matching_failures_total", outcome="dead" if dead else "retried")])
        self.result.failures[case_id] = reason


def record_failure(cursor: Any, case_id: str, reason: str, as_of: datetime) -> bool:
    """One more failed try of a case; True when it was the last one."""
    cursor.execute(
        "INSERT INTO litgo.matching_failures AS f "
        "(case_id, attempts, reason, first_failed_at, last_failed_at, retry_at, dead) "
        "VALUES (%(case)s, 1, %(reason)s, %(at)s, %(at)s, %(at)s + %(retry)s, false) "
        "ON CONFLICT (case_id) DO UPDATE SET attempts = f.attempts + 1, reason = excluded.reason, "
        "last_failed_at = excluded.last_failed_at, retry_at = excluded.last_failed_at + %(retry)s * (f.attempts + 1), "
        "dead = f.attempts + 1 >= %(attempts)s RETURNING dead",
        {"case": case_id, "reason": reason[:1000], "at": as_of, "retry": RETRY, "attempts": ATTEMPTS},
    )
    return cursor.fetchone()[0]


def _seed(case_id: str, round_number: int) -> int:
    """The same draws for the same case and round, whenever and wherever it is matched."""
    return int.from_bytes(hashlib.sha256(f"{case_id}:{round_number}".encode()).digest()[:16], "big")


def _microseconds(instant: datetime) -> float:
    return float((instant - EPOCH) // timedelta(microseconds=1))
