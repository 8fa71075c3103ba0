"""A champion, a challenger and their experiment, with clients who behave as told."""

import uuid
from datetime import timedelta
from typing import Any

import psycopg2.extras

from litgo_pipelines.experiments import cutoffs, store
from litgo_pipelines.experiments.layers import RANKING
from litgo_pipelines.experiments.store import ExperimentPlan, RunningExperiment
from litgo_pipelines_tests.worlds.lifecycle import Life

PLAN = ExperimentPlan(treatment_points=5000, ramp_clients=100_000, holdout_points=0, horizon=4000)
MINUTES = 15
DAY = timedelta(days=1)
RATES = {"treatment": 0.3, "control": 0.3}


EXPOSE = """
WITH who AS (
    SELECT u.*, md5('case ' || client)::uuid AS case_id,
           (row_number() OVER (PARTITION BY arm ORDER BY n)) * 37 %% 100
               < (%(rates)s::jsonb ->> arm)::float8 * 100 AS accepts
    FROM unnest(%(clients)s::uuid[], %(arms)s::text[], %(phases)s::int[]) WITH ORDINALITY AS u (client, arm, phase, n)
),
people AS (INSERT INTO profiles (id) SELECT client FROM who),
requests AS (INSERT INTO cases (id, client_id, created_at) SELECT case_id, client, %(at)s FROM who),
exposed AS (
    INSERT INTO litgo.experiment_arms (experiment, client_id, arm, phase, case_id, first_exposed_at)
    SELECT %(experiment)s, client, arm, phase, case_id, %(at)s FROM who
),
offered AS (
    INSERT INTO offers (case_id, lawyer_id, sent_at, status, responded_at)
    SELECT case_id, md5('lawyer ' || n %% 20)::uuid, %(at)s, CASE WHEN accepts THEN 'interested' ELSE 'expired' END,
           CASE WHEN accepts THEN %(at)s::timestamptz + interval '5 hours' END
    FROM who
),
signed AS (
    INSERT INTO contracts (id, case_id, lawyer_id, client_id, status, signed_client, signed_lawyer)
    SELECT case_id, case_id, md5('lawyer ' || n %% 20)::uuid, client, 'closed', %(at)s::timestamptz + interval '1 day',
           %(at)s::timestamptz + interval '2 days'
    FROM who WHERE accepts
)
INSERT INTO public.reviews (contract_id, lawyer_id, client_id, rating, created_at)
SELECT case_id, md5('lawyer ' || n %% 20)::uuid, client, 4 + n %% 2, %(at)s::timestamptz + interval '9 days'
FROM who WHERE accepts
"""


class Lab:
    """A champion, a challenger and their experiment; clients who are exposed at once and behave as told."""

    def __init__(self, life: Life, plan: ExperimentPlan = PLAN) -> None:
        self.life, self.url = life, life.url
        life.champion("1")
        life.challenger("2")
        life.do(
            lambda c: c.execute(
                "INSERT INTO lawyers (id, name, created_at) SELECT md5('lawyer ' || n)::uuid, 'L', '2026-01-01' "
                "FROM generate_series(0, 19) n"
            )
        )
        self.experiment: RunningExperiment = life.do(store.start, "2", plan, life.by("a try"))
        self.start = self.experiment.started_at

    def expose(
        self,
        clients: int,
        rates: dict[str, float] = RATES,
        days: float = 0,
        lost: float = 0,
        layer: str = RANKING,
    ) -> list[str]:
        """New clients; of those in treatment the share `lost` leaves no trace."""
        ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{days} {n}")) for n in range(clients)]
        now = self.life.do(store.running_experiment, layer)
        found = [row for row in zip(ids, self.life.do(store.arms_of_clients, now, ids), strict=True) if row[1][0]]
        found = [row for n, row in enumerate(found) if row[1][0] == "control" or n % 100 >= lost * 100]
        self.life.do(
            lambda c: c.execute(
                EXPOSE,
                {
                    "experiment": now.experiment,
                    "at": self.start + days * DAY,
                    "clients": [client for client, _ in found],
                    "arms": [arm for _, (arm, _) in found],
                    "phases": [phase for _, (_, phase) in found],
                    "rates": psycopg2.extras.Json(rates),
                },
            )
        )
        return [client for client, _ in found]

    def tick(self, days: float) -> cutoffs.ClosedCutoff | None:
        return self.life.do(cutoffs.close_cutoff, self.start + days * DAY, MINUTES, "run")

    def closed(self, days: float) -> cutoffs.ClosedCutoff:
        closed = self.tick(days)
        assert closed is not None
        return closed

    def ends(self) -> list[Any]:
        return self.life.rows("SELECT experiment, outcome FROM litgo.experiment_ends")
