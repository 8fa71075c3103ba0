"""Jobs, schedules and sensors: everything that starts by itself. A sensor is a pure decision and a little Dagster.

What the jobs are is the list in `jobs.py`. Jobs that only a person starts stand in their stages.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.database import Cursor
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.jobs import AUTOMATIC, EXAMS, FOLLOWING_SENSOR, HOURLY, Job, run_tags
from litgo_pipelines.learning import retrain, retrainings
from litgo_pipelines.marketplace.schema import TABLES
from litgo_pipelines.notifications.run_failures import failed_runs_sensor
from litgo_pipelines.observability import stops
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import TIMEZONE, settings

if TYPE_CHECKING:
    from litgo_pipelines.dagster_internals import UnresolvedAssetJobDefinition

LATE_AFTER, HOURLY_LATE_AFTER = timedelta(minutes=30), timedelta(minutes=5)
EARLY = timedelta(minutes=1)  # a run may be a moment older than its time
FOLLOWING = {"dagster/max_retries": "2", "dagster/max_runtime": "600"}
# Seconds, for what somebody waits for: whenever Dagster's daemon looks, which is every 5. Who asks for just as many is
# often too early, and looked at the next time only.
EVERY_LOOK = 1
# Seconds. A tick costs the platform several times what a question whether anything was written does: one that people
# wait for goes on for nearly two of the daemon's looks, and sees within a second what comes.
TICK_LASTS, ASKS_EVERY = 9.0, 1.0
NOTHING_DUE = dg.SkipReason("nothing is due")
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def asset_job(job: Job) -> "UnresolvedAssetJobDefinition":
    """The job as Dagster runs it."""
    selection: dg.AssetSelection = dg.AssetSelection.assets(*job.assets) | dg.AssetSelection.groups(*job.groups)
    if job.contract:
        selection |= dg.AssetSelection.checks_for_assets(*TABLES)
    exams = [dg.AssetCheckKey(dg.AssetKey(asset), check) for asset, check in EXAMS if job.exams or asset in job.assets]
    if exams:
        chosen = dg.AssetSelection.checks(*exams)
        selection = selection | chosen if job.exams else selection - chosen
    return dg.define_asset_job(
        job.name, selection=selection, tags=run_tags(job), owners=[job.owner], description=job.description
    )


SCHEDULED = [job for job in AUTOMATIC if job.cron and job.name != "nightly_equity"]  # that one goes by nights
_asset_jobs = {job.name: asset_job(job) for job in AUTOMATIC}
jobs = list(_asset_jobs.values())


def every(job: Job) -> dg.ScheduleDefinition:
    """The schedule of a job that is not partitioned."""
    assert job.cron is not None
    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=_asset_jobs[job.name],
        cron_schedule=job.cron,
        execution_timezone=TIMEZONE,
        description=job.description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


schedules = [
    dg.build_schedule_from_partitioned_job(
        _asset_jobs["nightly_equity"],
        name="nightly_equity_at_02h",
        description="02:00 America/Sao_Paulo, every night.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
    *(every(job) for job in SCHEDULED),
]


def go_on_looking(
    look: Callable[[], dg.RunRequest | dg.SkipReason], written: Callable[[], int], working: Callable[[], bool]
) -> dg.RunRequest | dg.SkipReason:
    """Look again whenever something was written, or the run that is waited for has ended, while the tick lasts."""
    until = time.monotonic() + TICK_LASTS
    while True:
        before, answer = written(), look()
        if isinstance(answer, dg.RunRequest):
            return answer
        while True:
            if time.monotonic() >= until or stops.asked.wait(ASKS_EVERY):
                return answer
            if written() != before if answer is NOTHING_DUE else not working():
                break


def rows_written(postgres: Postgres) -> int:
    """Rows written in the marketplace's database so far, by the server's statistics: what they defer is found by the
    next tick."""
    with postgres.look() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tup_inserted + tup_updated FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def at_work(instance: dg.DagsterInstance, job: str) -> bool:
    return instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=UNFINISHED)) > 0


def request_when(
    name: str,
    job: str,
    due: Callable[[dg.SensorEvaluationContext, Cursor, datetime], Mapping[str, int]],
    seconds: int,
    description: str,
    *,
    run_config: Mapping[str, object] | None = None,
    needs_mlflow: bool = False,
) -> dg.SensorDefinition:
    """A sensor that requests `job`, one run at a time, whenever something is due.

    due(context, cursor, tick): what waits, by kind, like {"messages": 3}; nothing or zeros skip. The figures become
    the run's tags. needs_mlflow: what is due waits while MLflow does not answer. A failed read raises: it is never
    taken for "nothing is due". With EVERY_LOOK a tick of the daemon's looks again as soon as something was written, or
    the run that it waits for has ended.
    """

    @dg.sensor(
        name=name,
        job=_asset_jobs[job],
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
        required_resource_keys={"postgres", *(["mlflow"] if needs_mlflow else [])},  # Dagster makes them for each look
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if seconds > EVERY_LOOK or context.last_sensor_start_time is None:  # which only the daemon says, no preview
            return look(context)
        postgres, instance = context.resources.postgres, context.instance
        return go_on_looking(partial(look, context), partial(rows_written, postgres), partial(at_work, instance, job))

    def look(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with context.resources.postgres.look() as connection, connection.cursor() as cursor:
            found = {kind: count for kind, count in due(context, cursor, steps.now()).items() if count}
        waiting = ", ".join(f"{count} {kind}" for kind, count in found.items())
        if not found:
            return NOTHING_DUE
        if at_work(context.instance, job):
            return dg.SkipReason(f"{waiting}: wait for the run that is working")
        if needs_mlflow:
            try:
                context.resources.mlflow.probe()
            except MLflowUnavailable as error:
                return dg.SkipReason(f"{waiting}: wait for MLflow: {error}")
        return dg.RunRequest(
            run_config=dict(run_config or {}), tags={f"litgo/{kind}": str(count) for kind, count in found.items()}
        )

    return sensor


def missed_nights(
    ended: Mapping[str, datetime], done: Collection[str], running: Collection[str], tick: datetime, limit: int
) -> list[str]:
    """The nights to catch up at `tick`, newest first.

    `ended`: night → the instant its window ended. A night is missed when that was over 30 minutes ago and it is neither
    done nor running. Nothing before the first night ever done is missed; with none done, only the newest night is.
    """
    over = sorted(night for night, end in ended.items() if end + LATE_AFTER <= tick)[-limit:]
    first = min(done, default=over[-1] if over else "")
    return [night for night in reversed(over) if night >= first and night not in done and night not in running]


@dg.sensor(
    job=_asset_jobs["nightly_equity"],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests late or missed nights, each at most once per hour until it is done.",
)
def missed_nights_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    tick = steps.now()
    limit = settings().equity_catch_up_nights
    nights = NIGHTS.get_partition_keys(tick)[-limit:]
    if not nights:
        yield dg.SkipReason("the first night is not over")
        return
    ended = {w: NIGHTS.time_window_for_partition_key(w).end.astimezone(UTC) for w in nights}
    with postgres.look() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT night::text FROM litgo.offer_distribution d WHERE night >= %s AND EXISTS "
            "(SELECT FROM litgo.equity_history h WHERE h.night = d.night) ORDER BY 1",
            (min(ended),),
        )
        done = [night for (night,) in cursor.fetchall()]
    missed = missed_nights(ended, done, _nights_in_flight(context.instance, ended), tick, limit)
    if not missed:
        yield dg.SkipReason("no night is late")
    for night in missed:
        yield dg.RunRequest(run_key=f"catch-up-{night}-{tick:%Y%m%dT%H}", partition_key=night)


def missed_jobs(
    due: Mapping[str, datetime],
    served: Collection[str],
    since: datetime | None,
    tick: datetime,
    hourly: Collection[str] = (),
) -> dict[str, datetime]:
    """Job → the time it missed.

    `due`: job → its newest time by its schedule. It was missed when that was over 30 minutes ago and the job is not
    among `served`: it neither did well nor is under way since. Nothing before `since`, when anything first ran, was.
    Those that are `hourly` tell people what waits: five minutes late is late, and so is a first time that nothing ran.
    """

    def late(job: str, at: datetime) -> bool:
        if job in hourly:
            return at + HOURLY_LATE_AFTER <= tick
        return at + LATE_AFTER <= tick and since is not None and since < at

    return {job: at for job, at in due.items() if job not in served and late(job, at)}


def newest_time(cron: str, tick: datetime) -> datetime:
    """The newest time of a schedule that is not later than the tick; in UTC, so that half an hour later is that."""
    times = dg.TimeWindowPartitionsDefinition(
        start=tick - timedelta(days=15), fmt="%Y-%m-%dT%H:%M:%S", cron_schedule=cron, timezone=TIMEZONE
    )
    return times.time_window_for_partition_key(times.get_partition_keys(tick)[-1]).end.astimezone(UTC)


@dg.sensor(
    jobs=[_asset_jobs[job.name] for job in SCHEDULED],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests scheduled jobs that missed their time, as the machine was off or their runs could not begin: "
    "the newest time only, and once.",
)
def missed_jobs_sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    tick, instance = steps.now(), context.instance
    due = {job.name: newest_time(job.cron, tick) for job in SCHEDULED if job.cron}
    fine = [dg.DagsterRunStatus.SUCCESS, *UNFINISHED]
    served = {
        job
        for job, at in due.items()
        if instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=fine, created_after=at - EARLY))
    }
    first = instance.get_run_records(limit=1, ascending=True)
    hourly = {job.name for job in SCHEDULED if job.late_after_hours == HOURLY}
    missed = missed_jobs(due, served, first[0].create_timestamp if first else None, tick, hourly)
    seen = set((context.cursor or "").split())
    now = {f"{job}@{at.timestamp():.0f}" for job, at in missed.items()}
    context.update_cursor(" ".join(sorted(now)))
    again = {
        name.partition("@")[0] for name in now & seen
    }  # at the first look Dagster's scheduler may just be about it
    for job in sorted(again):
        yield dg.RunRequest(run_key=f"missed-{job}-{missed[job].timestamp():.0f}", job_name=job)
    if not again:
        yield dg.SkipReason(f"looked at again: {', '.join(missed)}" if missed else "no job missed its time")


def _nights_in_flight(instance: dg.DagsterInstance, nights: Collection[str]) -> set[str]:
    """Those that an unfinished run says it works on, whatever else its tags say: anybody may have typed them."""
    found: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        one = run.tags.get("dagster/partition", "")
        first = run.tags.get("dagster/asset_partition_range_start", "")
        last = run.tags.get("dagster/asset_partition_range_end", first)
        found |= {night for night in nights if night == one or (first and first <= night <= last)}
    return found


@dg.sensor(
    job=_asset_jobs["retraining"],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a retraining when enough matured reviews came since the last one.",
)
def review_volume_sensor(postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    tick = steps.now()
    minimum = settings().min_reviews_for_retrain
    with postgres.look() as connection, connection.cursor() as cursor:
        count, watermark = retrain.count_new_reviews(cursor, tick)
    request = retrain.retraining_request(count, minimum, watermark)
    if request is None:
        return dg.SkipReason(f"{count} of {minimum} new matured reviews since {watermark or 'the beginning'}")
    return dg.RunRequest(run_key=request.run_key)


@dg.sensor(
    job=_asset_jobs["registration"],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Once MLflow answers again, uploads and evaluates trained models it could not take at the time; and "
    "evaluates again a candidate that passed the gate and had to wait for its turn.",
)
def pending_registration_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres, mlflow: MLflow
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    tick = steps.now()
    from litgo_pipelines.learning import evaluation

    with postgres.look() as connection, connection.cursor() as cursor:
        pending = retrainings.pending_registrations(cursor)
        waits = evaluation.candidate_to_promote(cursor, tick, experiments=settings().ab_testing_enabled)
    if waits and waits not in pending:
        pending.append(waits)
    if pending:
        try:
            mlflow.probe()
        except MLflowUnavailable as error:
            yield dg.SkipReason(f"{len(pending)} trained models wait: {error}")
            return
        in_flight = {
            run.root_run_id or run.run_id for run in context.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        }
        pending = [root for root in pending if root not in in_flight]
    if not pending:
        yield dg.SkipReason("no trained model waits")
    for root in pending:
        missing = ("registered_model", "model_evaluation")
        yield dg.RunRequest(
            run_key=f"register-{root}-{tick:%Y%m%dT%H}",
            run_config={"ops": {step: {"config": {"retraining": root}} for step in missing}},
        )


@dg.sensor(
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks whether the files of the registered models can be reached, and counts what it finds.",
)
def artifact_store_sensor(postgres: Postgres, mlflow: MLflow) -> dg.SkipReason:
    with postgres.look() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM litgo.model_ledger WHERE transition = 'candidate')")
        (registered,) = cursor.fetchone()
    if not registered:
        return dg.SkipReason("no model is registered yet")
    problem = mlflow.files_problem()
    with postgres.connect() as connection, connection.cursor() as cursor:
        add(cursor, [count("artifact_store_looks_total", outcome="failed" if problem else "ok")])
    return dg.SkipReason(f"the models' files cannot be reached: {problem}" if problem else "the files are there")


def look_back(tick: datetime, round_days: int) -> datetime:
    """Since when a tick looks at cases: two weeks, and once an hour everything, for rows that come very late."""
    if tick.minute == 0:
        return datetime.min.replace(tzinfo=UTC)
    return tick - timedelta(days=max(14, round_days))


def _cases_due(context: dg.SensorEvaluationContext, cursor: Cursor, tick: datetime) -> dict[str, int]:
    """Cases that wait for offers, for triage, or for people to be told of the end of their rounds; a batch left open.

    What is unhandled decides, so that a row that becomes visible late is not skipped; the sensor's cursor only shows
    the newest case seen.
    """
    from litgo_pipelines.intake.batch import pending as untriaged_cases
    from litgo_pipelines.marketplace import counts
    from litgo_pipelines.matching import waits
    from litgo_pipelines.matching.claim import open_batch, waiting_cases
    from litgo_pipelines.matching.plan import Plan

    values = settings()
    if gone := counts.gone(cursor):  # nothing is matched until a person has looked
        untriaged = untriaged_cases(cursor, tick, values.matching_batch_size, minute=int(tick.timestamp()) // 60)
        return {"untriaged": len(untriaged), "gone": waits.gone_untold(cursor, gone)}
    plan = Plan(rounds=values.matching_rounds, round_days=values.matching_round_days, limit=values.matching_batch_size)
    waiting = waiting_cases(cursor, plan, tick, look_back(tick, values.matching_round_days))
    untriaged = untriaged_cases(cursor, tick, values.matching_batch_size, minute=int(tick.timestamp()) // 60)
    if waiting:
        newest = max(f"{case.created_at.isoformat()}|{case.case_id}" for case in waiting)
        context.update_cursor(max(newest, context.cursor or ""))
    return {
        "waiting": len(waiting),
        "untriaged": len(untriaged),
        "over": waits.over(cursor, plan, tick),
        "untold": waits.untold(cursor, tick),
        "left": int(open_batch(cursor) is not None),
    }


pending_cases_sensor = request_when(
    "pending_cases_sensor",
    "matching",
    _cases_due,
    EVERY_LOOK,
    "Requests a matching when cases wait for triage or for offers.",
    run_config={"ops": {"text_embeddings": {"config": {"waiting_only": True}}}},
)


def _contracts_due(context: dg.SensorEvaluationContext, cursor: Cursor, tick: datetime) -> dict[str, int]:
    from litgo_pipelines.contracts import paper, requests

    new, due = requests.waiting(cursor, tick)
    return {"new": new, "due": due, "to tell": paper.to_tell(cursor, tick)}


contracts_sensor = request_when(
    "contracts_sensor",
    "contracts",
    _contracts_due,
    EVERY_LOOK,
    "Requests a run when a client chose a lawyer, or an envelope is due for a look.",
)


def _messages_due(context: dg.SensorEvaluationContext, cursor: Cursor, tick: datetime) -> dict[str, int]:
    from litgo_pipelines.notifications.queue import due

    return {"messages": due(cursor, tick)}


notifications_sensor = request_when(
    "notifications_sensor", "notifications", _messages_due, EVERY_LOOK, "Requests a delivery when messages are due."
)


def _reconciliation_due(context: dg.SensorEvaluationContext, cursor: Cursor, tick: datetime) -> dict[str, int]:
    from litgo_pipelines.lifecycle import reconcile

    return {"reconciliation": int(reconcile.reconciliation_due(cursor, tick))}


reconciliation_sensor = request_when(
    "reconciliation_sensor",
    "registry_reconciliation",
    _reconciliation_due,
    60,
    "Requests that MLflow's aliases and tags are made what the ledger says: after each entry, and once an hour in case "
    "somebody edited them.",
    needs_mlflow=True,
)


def _experiments_due(context: dg.SensorEvaluationContext, cursor: Cursor, tick: datetime) -> dict[str, int]:
    from litgo_pipelines.experiments import cutoffs

    values = settings()
    return {"cutoffs": int(cutoffs.cutoff_due(cursor, tick, values.cutoff_minutes, starts=values.ab_testing_enabled))}


experiments_sensor = request_when(
    "experiments_sensor",
    "experiments",
    _experiments_due,
    60,
    "Requests a run when a challenger waits for its experiment, or a cutoff can be closed.",
)


def _quality_due(context: dg.SensorEvaluationContext, cursor: Cursor, tick: datetime) -> dict[str, int]:
    from litgo_pipelines.monitoring import check
    from litgo_pipelines.monitoring.assets import limits

    return {"checks": int(check.check_due(cursor, tick, limits(settings())))}


quality_sensor = request_when(
    "quality_sensor",
    "quality_checks",
    _quality_due,
    300,
    "Requests a check of the champion when there is something new to judge it by; the check rolls it back if need be.",
)


@dg.sensor(
    job=_asset_jobs["embeddings"],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests the vectors that OpenAI missed once it answers again, at most once per hour.",
)
def missed_vectors_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres, openai: OpenAI
) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.embeddings.store import count_missing

    if not openai.configured:
        return dg.SkipReason("no OPENAI_API_KEY")
    tick = steps.now()
    with postgres.look() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(retry_at > now() AND retry_at < now() + interval '2 hours', false) "
            "FROM litgo.circuit_breakers WHERE service = 'openai'"
        )
        if cursor.fetchone()[0]:
            return dg.SkipReason("OpenAI's circuit breaker is open")
        missing = count_missing(cursor, openai.embedding_model, openai.dimension, tick)
    if not missing:
        return dg.SkipReason("no vector is missing")
    if at_work(context.instance, "embeddings"):
        return dg.SkipReason(f"{missing} texts wait for the run that is working")
    return dg.RunRequest(run_key=f"missed-{tick:%Y%m%dT%H}", tags={"litgo/missing": str(missing)})


# What simply follows another asset says so beside it (`automation_condition`); this is who looks.
following_sensor = dg.AutomationConditionSensorDefinition(
    FOLLOWING_SENSOR,
    target=dg.AssetSelection.assets("experiment_report"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    run_tags=FOLLOWING,
    description="Requests what follows another asset: the experiment's report, after a cutoff and every night.",
)


sensors = [
    following_sensor,
    missed_nights_sensor,
    missed_jobs_sensor,
    review_volume_sensor,
    pending_registration_sensor,
    artifact_store_sensor,
    pending_cases_sensor,
    contracts_sensor,
    notifications_sensor,
    missed_vectors_sensor,
    reconciliation_sensor,
    experiments_sensor,
    quality_sensor,
    failed_runs_sensor,
]
