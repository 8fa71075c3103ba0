"""Versions that have served, requests answered at the rate asked for, and the monitor that watches them."""

from datetime import datetime, timedelta
from pathlib import Path

from litgo_pipelines.monitoring import check as monitor
from litgo_pipelines.monitoring.check import MonitorLimits, MonitorTick
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines_tests.worlds.lifecycle import AT, Life
from litgo_pipelines_tests.worlds.sessions import kept

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIMITS = MonitorLimits()
REQUESTS = """
WITH who AS (
    SELECT md5(%(name)s || n)::uuid AS id, %(start)s::timestamptz + (n + 0.5) * interval '1 hour' / %(hourly)s AS at,
           (n * 37 + 5) %% 100 < %(rate)s * 100 AS accepts
    FROM generate_series(0, round(%(hours)s * %(hourly)s)::int - 1) n
),
people AS (INSERT INTO profiles (id) SELECT id FROM who),
requests AS (INSERT INTO cases (id, client_id, created_at) SELECT id, id, at FROM who),
offered AS (
    INSERT INTO offers (case_id, lawyer_id, sent_at, expires_at, status, responded_at)
    SELECT id, md5('lawyer')::uuid, at, at + interval '1 day', CASE WHEN accepts THEN 'interested' ELSE 'pending' END,
           CASE WHEN accepts THEN at + %(after)s END
    FROM who
)
INSERT INTO litgo.exposures (case_id, round, client_id, ranker, model_version, arm, exposed_at)
SELECT id, 1, id, CASE WHEN %(version)s::text IS NULL THEN 'hand_weights' ELSE 'model' END, %(version)s, %(arm)s, at
FROM who
"""


BATCH = """
WITH batch AS (
    INSERT INTO litgo.matching_batches (as_of, case_ids, rounds, parameters, ranker, model_version, run_id, finished_at)
    VALUES (now(), '{}', '{}', '{}', 'model', %(batch)s, 'r', now()) RETURNING batch_id
),
ranked AS (
    UPDATE litgo.exposures SET ranker = CASE WHEN %(by)s::text IS NULL THEN 'hand_weights' ELSE 'model' END,
        model_version = %(by)s
    WHERE exposed_at >= %(start)s AND exposed_at < %(end)s RETURNING case_id, exposed_at
)
INSERT INTO litgo.matchings (case_id, round, batch_id, matched_at, candidates, lambda, pool_load, considered)
SELECT case_id, 1, batch_id, exposed_at, 9, 0, 0, %(considered)s FROM ranked CROSS JOIN batch
"""


class Market:
    """Versions 1 and 2 have served; requests arrive, are answered at the rate asked for, and the monitor looks."""

    def __init__(self, life: Life, mlflow: MLflow, folder: Path) -> None:
        self.life, self.mlflow, self.folder, self.series = life, mlflow, folder, 0
        life.do(lambda c: c.execute("INSERT INTO lawyers (id, name) VALUES (md5('lawyer')::uuid, 'L')"))
        self.requests("1", AT - 30 * DAY, 100, 10, 0.2)
        self.requests("2", AT - 20 * DAY, 100, 10, 0.2)
        life.champion("1")
        life.champion("2")
        self.start = life.at  # since when version 2 serves

    def requests(
        self,
        version: str | None,
        start: datetime,
        hours: float,
        hourly: float,
        rate: float,
        arm: str | None = None,
        after: timedelta = HOUR,
    ) -> None:
        self.series += 1
        values = {
            "name": f"series {self.series} ",
            "version": version,
            "start": start,
            "hours": hours,
            "hourly": hourly,
            "rate": rate,
            "arm": arm,
            "after": after,
        }
        self.life.do(lambda c: c.execute(REQUESTS, values))

    def ranked(
        self, batch: str | None, by: str | None, first: datetime, last: datetime, considered: str = "[]"
    ) -> None:
        values = {"batch": batch, "by": by, "start": first, "end": last, "considered": considered}
        self.life.do(lambda c: c.execute(BATCH, values))

    def tick(self, at: datetime, run_id: str = "run") -> MonitorTick:
        with kept(self.life.url) as connection:
            return monitor.check_and_act(connection, self.mlflow, self.folder, at, LIMITS, run_id)

    def watch(
        self, first: datetime, hours: float, every: timedelta = HOUR
    ) -> tuple[datetime | None, list[MonitorTick]]:
        """Look until something is rolled back: (when, every look)."""
        ticks = []
        for number in range(round(hours * HOUR / every)):
            at = first + (number + 1) * every
            ticks.append(self.tick(at))
            if ticks[-1].rolled_back:
                return at, ticks
        return None, ticks

    def break_now(self, at: datetime) -> None:
        """Requests of ten hours nobody accepts, all final by `at`."""
        self.requests(self.life.state().champion, at - 34 * HOUR, 10, 100, 0.0)

    def count(self, table: str) -> int:
        return int(self.life.rows(f"SELECT count(*) FROM litgo.{table}")[0][0])
