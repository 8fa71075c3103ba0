"""Everything that starts by itself: jobs, schedules, sensors. Each is a pure decision with a few lines of Dagster."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.database import sql
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.experiments.assets import experiment_reports, experiments
from litgo_pipelines.learning import retrain, retrainings
from litgo_pipelines.lifecycle.assets import registry_reconciliation
from litgo_pipelines.monitoring.assets import limits, quality_checks
from litgo_pipelines.notifications.run_failures import failed_runs_sensor
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import TIMEZONE, settings

LATE_AFTER = timedelta(minutes=30)


def run_tags(minutes: int) -> dict[str, str]:
    """A run that fails is run again twice; one that hangs is ended."""
    return {"dagster/max_retries": "2", "dagster/max_runtime": str(minutes * 60)}


CONTRACT = dg.AssetSelection.checks_for_assets(
    "profiles", "lawyers", "cases", "case_matches", "offers", "contracts", "reviews"
)

nightly_equity = dg.define_asset_job(
    "nightly_equity",
    selection=dg.AssetSelection.groups("equity") | CONTRACT,
    tags=run_tags(60),
    description="Load of every lawyer and distribution of offers, for the day that ended at 02:00.",
)
retraining = dg.define_asset_job(
    "retraining",
    selection=dg.AssetSelection.groups("learning") | CONTRACT,
    tags=run_tags(180),
    description="Snapshot → candidate → registered version → evaluation against the champion.",
)
registration = dg.define_asset_job(
    "registration",
    selection=dg.AssetSelection.assets("registered_model", "model_evaluation"),
    tags=run_tags(60),
    description="Uploads a trained model that MLflow could not take at the time, and evaluates it.",
)
matching = dg.define_asset_job(
    "matching",
    selection=dg.AssetSelection.assets("triaged_cases", "text_embeddings", "case_offers"),
    tags=run_tags(10),  # one that was killed holds up the next until it is ended
    description="New cases → triage and vectors → offers. The tables' contract is checked every night, not here.",
)
contracts = dg.define_asset_job(
    "contracts",
    selection=dg.AssetSelection.groups("contracts"),
    tags=run_tags(30),
    description="Chosen lawyers → documents → DocuSign or by hand; signatures → active contracts.",
)
notifications = dg.define_asset_job(
    "notifications",
    selection=dg.AssetSelection.groups("notifications"),
    tags=run_tags(10),
    description="The outbox goes out by push and e-mail.",
)
offer_expiry = dg.define_asset_job(
    "offer_expiry",
    selection=dg.AssetSelection.assets("expired_offers"),
    tags=run_tags(10),
    description="Offers nobody answered in time.",
)
evidence = dg.define_asset_job(
    "evidence",
    selection=dg.AssetSelection.groups("evidence") | CONTRACT,
    tags=run_tags(60),
    description="What is known of each lawyer: outcomes, curriculum, response time, reviews.",
)
embeddings = dg.define_asset_job(
    "embeddings",
    selection=dg.AssetSelection.groups("embeddings"),
    tags=run_tags(180),
    description="Vectors of texts that have none yet.",
)
allocation_calibration = dg.define_asset_job(
    "allocation_calibration",
    selection=dg.AssetSelection.assets("allocation_parameters"),
    tags=run_tags(120),
    description="The smallest lambda that would have spread the last weeks' offers evenly enough.",
)
retention = dg.define_asset_job(
    "retention",
    selection=dg.AssetSelection.groups("retention"),
    tags=run_tags(120),
    description="Lets go of what is older than its term.",
)
jobs = [
    nightly_equity, retraining, registration, matching, contracts, notifications, offer_expiry, evidence, embeddings,
    allocation_calibration, retention,
]  # fmt: skip


def every(job: Any, cron: str, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=TIMEZONE,
        description=description,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


schedules = [
    dg.build_schedule_from_partitioned_job(
        nightly_equity,
        name="nightly_equity_at_02h",
        description="02:00 America/Sao_Paulo, every night.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
    every(offer_expiry, "5 * * * *", "Every hour."),
    every(evidence, "30 2 * * *", "02:30 America/Sao_Paulo, every night."),
    every(embeddings, "0 3 * * *", "03:00 America/Sao_Paulo, every night."),
    every(experiment_reports, "40 * * * *", "Every hour."),
    every(allocation_calibration, "0 4 * * 0", "Sundays, 04:00 America/Sao_Paulo."),
    every(retention, "30 4 * * *", "04:30 America/Sao_Paulo, every night."),
]


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
    job=nightly_equity,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests nights that are late or were missed, each at most once an hour until it is done.",
)
def missed_nights_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    tick = steps.now()
    limit = settings().equity_catch_up_nights
    ended = {w: NIGHTS.time_window_for_partition_key(w).end for w in NIGHTS.get_partition_keys(tick)[-limit:]}
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT night::text FROM litgo.offer_distribution d WHERE night >= %s AND EXISTS "
            "(SELECT FROM litgo.equity_history h WHERE h.night = d.night) ORDER BY 1",
            (min(ended),),
        )
        done = [night for (night,) in cursor.fetchall()]
    missed = missed_nights(ended, done, _nights_in_flight(context.instance), tick, limit)
    if not missed:
        yield dg.SkipReason("no night is late")
    for night in missed:
        yield dg.RunRequest(run_key=f"catch-up-{night}-{tick:%Y%m%dT%H}", partition_key=night)


UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def _nights_in_flight(instance: dg.DagsterInstance) -> set[str]:
    nights: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if key := run.tags.get("dagster/partition"):
            nights.add(key)
        if first := run.tags.get("dagster/asset_partition_range_start"):
            nights.update(NIGHTS.get_partition_keys_in_range(
                dg.PartitionKeyRange(first, run.tags["dagster/asset_partition_range_end"])
            ))  # fmt: skip
    return nights


@dg.sensor(
    job=retraining,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a retraining when enough matured reviews came since the last one.",
)
def review_volume_sensor(postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    tick = steps.now()
    minimum = settings().min_reviews_for_retrain
    with postgres.connect() as connection, connection.cursor() as cursor:
        count, watermark = retrain.count_new_reviews(cursor, tick)
    request = retrain.decide(count, minimum, watermark)
    if request is None:
        return dg.SkipReason(f"{count} of {minimum} new matured reviews since {watermark or 'the beginning'}")
    return dg.RunRequest(run_key=request.run_key)


@dg.sensor(
    job=registration,
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

    with postgres.connect() as connection, connection.cursor() as cursor:
        pending = retrainings.pending_registrations(cursor)
        waits = evaluation.waiting(cursor, tick, experiments=settings().ab_testing_enabled)
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


def look_back(tick: datetime, round_days: int) -> datetime:
    """Since when a tick looks at cases: two weeks, and once an hour everything, for rows that come very late."""
    if tick.minute == 0:
        return datetime.min.replace(tzinfo=UTC)
    return tick - timedelta(days=max(14, round_days))


@dg.sensor(
    job=matching,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a matching when cases wait, one at a time. The cursor shows the newest case seen; what is "
    "unhandled decides, so that a row that becomes visible late is not skipped.",
)
def pending_cases_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.intake.batch import pending as intake_pending

    tick = steps.now()
    values = settings()
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            sql("litgo_pipelines.matching", "pending.sql"),
            {"as_of": tick, "since": look_back(tick, values.matching_round_days), "rounds": values.matching_rounds,
             "round_days": values.matching_round_days, "limit": values.matching_batch_size},
        )  # fmt: skip
        waiting = [f"{created_at.isoformat()}|{case_id}" for case_id, _, created_at in cursor.fetchall()]
        untriaged = len(intake_pending(cursor, tick, values.matching_batch_size))
    if not waiting and not untriaged:
        return dg.SkipReason("no case waits")
    context.update_cursor(max([*waiting, context.cursor or ""]))
    if _is_running(context, matching):
        return dg.SkipReason(f"{len(waiting) + untriaged} cases wait for the matching that is running")
    return dg.RunRequest(
        run_config={"ops": {"text_embeddings": {"config": {"waiting_only": True}}}},
        tags={"litgo/waiting": str(len(waiting)), "litgo/untriaged": str(untriaged)},
    )


def _is_running(context: dg.SensorEvaluationContext, job: Any) -> bool:
    return context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED)) > 0


@dg.sensor(
    job=contracts,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a run when a client chose a lawyer, or an envelope is due for a look; one at a time.",
)
def contracts_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.contracts.requests import waiting

    with postgres.connect() as connection, connection.cursor() as cursor:
        new, due = waiting(cursor, steps.now())
    if not new and not due:
        return dg.SkipReason("no contract waits")
    if _is_running(context, contracts):
        return dg.SkipReason(f"{new} contracts and {due} envelopes wait for the run that is working")
    return dg.RunRequest(tags={"litgo/new": str(new), "litgo/due": str(due)})


@dg.sensor(
    job=notifications,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a delivery when messages are due; one at a time.",
)
def notifications_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.notifications.queue import due

    with postgres.connect() as connection, connection.cursor() as cursor:
        waiting = due(cursor, steps.now())
    if not waiting:
        return dg.SkipReason("no message is due")
    if _is_running(context, notifications):
        return dg.SkipReason(f"{waiting} messages wait for the delivery that is working")
    return dg.RunRequest(tags={"litgo/messages": str(waiting)})


@dg.sensor(
    job=embeddings,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Once OpenAI answers again, requests the vectors it missed, at most once an hour.",
)
def missed_vectors_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres, openai: OpenAI
) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.embeddings.store import count_missing

    if not openai.configured:
        return dg.SkipReason("no OPENAI_API_KEY")
    tick = steps.now()
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(retry_at > now() AND retry_at < now() + interval '2 hours', false) "
            "FROM litgo.circuit_breakers WHERE service = 'openai'"
        )
        if cursor.fetchone()[0]:
            return dg.SkipReason("OpenAI's circuit breaker is open")
        missing = count_missing(cursor, openai.embedding_model, openai.dimension, tick)
    if not missing:
        return dg.SkipReason("no vector is missing")
    if _is_running(context, embeddings):
        return dg.SkipReason(f"{missing} texts wait for the run that is working")
    return dg.RunRequest(run_key=f"missed-{tick:%Y%m%dT%H}", tags={"litgo/missing": str(missing)})


@dg.sensor(
    job=registry_reconciliation,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests MLflow's aliases and tags to be made what the ledger says: after each entry, and once an "
    "hour for edits by hand.",
)
def reconciliation_sensor(
    context: dg.SensorEvaluationContext, postgres: Postgres, mlflow: MLflow
) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.lifecycle import reconcile

    with postgres.connect() as connection, connection.cursor() as cursor:
        due = reconcile.due(cursor, steps.now())
    if not due:
        return dg.SkipReason("MLflow shows what the ledger says")
    if _is_running(context, registry_reconciliation):
        return dg.SkipReason("the run is working")
    try:
        mlflow.probe()
    except MLflowUnavailable as error:
        return dg.SkipReason(f"MLflow shows an older state: {error}")
    return dg.RunRequest()


@dg.sensor(
    job=experiments,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a run when a challenger waits for its experiment, or a cutoff can be closed.",
)
def experiments_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.experiments import cutoffs

    values = settings()
    with postgres.connect() as connection, connection.cursor() as cursor:
        due = cutoffs.due(cursor, steps.now(), values.cutoff_minutes, starts=values.ab_testing_enabled)
    if not due:
        return dg.SkipReason("no experiment has a cutoff to close, no challenger waits")
    if _is_running(context, experiments):
        return dg.SkipReason("the run is working")
    return dg.RunRequest()


@dg.sensor(
    job=quality_checks,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Requests a check of the champion when there is something new to judge it by; the check takes it back.",
)
def quality_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.RunRequest | dg.SkipReason:
    from litgo_pipelines.monitoring import check as monitor

    with postgres.connect() as connection, connection.cursor() as cursor:
        due = monitor.due(cursor, steps.now(), limits(settings()))
    if not due:
        return dg.SkipReason("nothing new to judge the champion by")
    if _is_running(context, quality_checks):
        return dg.SkipReason("the check is running")
    return dg.RunRequest()


sensors = [
    missed_nights_sensor, review_volume_sensor, pending_registration_sensor, pending_cases_sensor, contracts_sensor,
    notifications_sensor, missed_vectors_sensor, reconciliation_sensor, experiments_sensor,
    quality_sensor, failed_runs_sensor,
]  # fmt: skip
