"""A code location as small as can be that works like ours: what is unhandled is seen, a run is one transaction."""

import os
import time
from pathlib import Path

import dagster as dg

from litgo_pipelines.automation import UNFINISHED
from litgo_pipelines.jobs import Job, run_tags
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres

NEW = "SELECT letter FROM public.letters WHERE letter NOT IN (SELECT letter FROM public.handled)"


@dg.asset(pool="letters")
def handled_letters(context: dg.AssetExecutionContext, postgres: Postgres) -> None:
    """Takes its time while a file `hold` is there."""
    hold = Path(os.environ["LITGO_HOME"]) / "hold"
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO public.handled (letter, run_id) SELECT letter, %s FROM ({NEW}) n", (context.run_id,)
        )
        while hold.exists():
            time.sleep(0.1)


letters_job = dg.define_asset_job(
    "letters_job", selection=[handled_letters], tags=run_tags(Job("letters_job", Owner.DATA, "Handles letters."))
)


@dg.sensor(job=letters_job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def letters_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(NEW)
        if not cursor.fetchall():
            return dg.SkipReason("no letter waits")
    if context.instance.get_runs_count(dg.RunsFilter(job_name="letters_job", statuses=UNFINISHED)):
        return dg.SkipReason("the run is working")
    return dg.RunRequest()


defs = dg.Definitions(
    assets=[handled_letters],
    jobs=[letters_job],
    sensors=[letters_sensor],
    executor=dg.in_process_executor,
    resources={"postgres": Postgres(url=dg.EnvVar("LITGO_DATABASE_URL"))},
)
