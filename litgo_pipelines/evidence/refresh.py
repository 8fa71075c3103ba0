"""Evidence refresh: score new comments and run `evidence.sql`. Knows the database, not Dagster.

Belongs here: the figures the statement works with, as data. What a comment says is `tone`'s.
"""

import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime

from litgo_pipelines.database import Connection, advisory_lock, sql
from litgo_pipelines.evidence.sentiment import LONGEST
from litgo_pipelines.evidence.tone import tone, version

LOCK = "evidence"
STATED_CASES = {"V": 5, "P": 1}  # kpi.success_status: verified, partly → cases a stated success rate counts as
# On folded text, the highest that applies. Who is still studying (mestrando) has no degree yet.
DEGREES = (
    (r"\m(especiali[sz]a|especialista|lato sensu|pos\M|posgraduacao|mba\M)", 1),
    (r"\m(mestr(ado|e|a)\M|master|stricto sensu|msc\M|ll\.?m\M)", 2),
    (r"\m(pos-?)?(doutor(ado|a)?\M|doctor|dr\M|ph\.?\s?d\M)", 3),
)
ANSWER_DAYS, LEAST_ANSWERS = 180, 3  # own answers that make a response time
PRIOR_COMMENTS = 2  # neutral comments every lawyer starts with: C is drawn to .5 by them
BATCH = 5_000


@dataclass(frozen=True)
class Refresh:
    as_of: datetime
    comments_scored: int
    lawyers: int
    lawyers_changed: int  # rows of lawyer_evidence written or dropped
    subareas: int
    subareas_changed: int
    seconds: float

    def as_dict(self) -> dict[str, float | int | str]:
        return {**asdict(self), "as_of": self.as_of.isoformat(), "seconds": round(self.seconds, 3)}


def refresh(connection: Connection, as_of: datetime | None = None) -> Refresh:
    """Bring the evidence to `as_of` (timezone-aware); None: the database's clock once no other refresh runs, so that
    one that waited never overwrites a newer one's rows.

    Each batch of scores is committed, so that no rerun scores it again; the evidence itself is one transaction, the
    caller's. Raises ValueError for a naive instant.
    """
    if as_of is not None and as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    started = time.monotonic()
    scored = score_comments(connection)
    with connection.cursor() as cursor:
        advisory_lock(cursor, LOCK)
        if as_of is None:
            cursor.execute("SELECT clock_timestamp()")
            (as_of,) = cursor.fetchone()
        cursor.execute("SET LOCAL work_mem = '128MB'")  # the joins of a million reviews stay in memory
        cursor.execute(
            sql("litgo_pipelines.evidence", "evidence.sql"),
            {
                "as_of": as_of,
                "stated_cases": json.dumps(STATED_CASES),
                "degree_patterns": [pattern for pattern, _ in DEGREES],
                "degree_levels": [level for _, level in DEGREES],
                "answer_days": ANSWER_DAYS,
                "least_answers": LEAST_ANSWERS,
                "prior_comments": PRIOR_COMMENTS,
            },
        )
        lawyers, lawyers_changed, subareas, subareas_changed = cursor.fetchone()
    seconds = time.monotonic() - started
    return Refresh(as_of, scored, lawyers, lawyers_changed, subareas, subareas_changed, seconds)


def score_comments(connection: Connection) -> int:
    """Score the comments that are new, changed, or were scored by another version; returns how many.

    In batches, each committed: memory holds one of them, and a kill loses at most one.
    """
    from tqdm import tqdm

    scored = 0
    query, parameters = UNSCORED, {"version": version(), "longest": LONGEST, "batch": BATCH, "last": NO_ID}
    with tqdm(unit=" comments", desc="scoring", disable=None, delay=5) as bar, connection.cursor() as cursor:
        while True:
            advisory_lock(cursor, LOCK)
            cursor.execute(query, parameters)
            rows = cursor.fetchall()
            if rows:
                ids, digests, comments = zip(*rows, strict=True)
                known = {comment: tone(comment) for comment in set(comments)}
                cursor.execute(SCORED, (version(), list(ids), list(digests), [known[c] for c in comments]))
            connection.commit()
            scored += len(rows)
            bar.update(len(rows))
            if len(rows) < BATCH:
                return scored
            if query is BACKLOG:
                parameters["last"] = ids[-1]
            query = BACKLOG


# One pass over both tables finds the few comments of a usual refresh; a backlog is walked by key, a batch at a time.
NO_ID = "00000000-0000-0000-0000-000000000000"
DUE = """
SELECT r.id::text AS id, md5(r.comment) AS digest, left(r.comment, %(longest)s) AS comment
FROM reviews r
LEFT JOIN litgo.review_sentiment s ON s.review_id = r.id
WHERE r.comment IS NOT NULL
  AND (s.review_id IS NULL OR s.version <> %(version)s OR s.digest <> md5(r.comment)::uuid)
"""
UNSCORED = f"WITH due AS MATERIALIZED ({DUE}) SELECT * FROM due LIMIT %(batch)s"  # else planned as if all were due
BACKLOG = f"{DUE} AND r.id > %(last)s ORDER BY r.id LIMIT %(batch)s"
SCORED = """
INSERT INTO litgo.review_sentiment (review_id, digest, version, score)
SELECT i, d, %s, s FROM unnest(%s::uuid[], %s::uuid[], %s::numeric[]) AS scored (i, d, s)
ON CONFLICT (review_id) DO UPDATE SET digest = excluded.digest, version = excluded.version, score = excluded.score
"""
