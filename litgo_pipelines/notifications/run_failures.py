"""Alerts on runs that failed for good: one message, through the outbox, to the team that owns what failed.

Belongs here: the rule, and the sensor that asks it. Not Dagster's run-failure sensor: that moves its cursor on when the
message cannot be written, and the failure is never told. This one looks at the last day's failures each time; the
outbox's unique key makes it tell each once.

The rule: runs of one group (a run and its retries) are one matter. Nobody is told while one of them is under way or a
retry is promised, nor when the last one succeeded or was canceled. A promise that nobody kept for half an hour is
none. Whatever comes of the group afterwards, by hand too, is not told again.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.notifications.outbox import TEAMS, Message, put
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres

if TYPE_CHECKING:
    from dagster import RunRecord

LOOK_BACK = timedelta(days=1)
PATIENCE = timedelta(minutes=30)  # with a retry that is promised, or may still be
NEWEST = 1_000  # failed runs looked at
PROMISE = "dagster/will_retry"  # Dagster's tag on a run that failed: "true" or "false"; absent until it has decided


TryStatus = Literal["running", "success", "failure", "canceled"]


class Try(NamedTuple):
    """A run of a group. `ended_at` of one that is under way: None; `final`: Dagster says that no retry will follow."""

    run_id: str
    status: TryStatus
    ended_at: datetime | None = None
    final: bool = False


def failed_for_good(tries: Sequence[Try], as_of: datetime) -> Try | None:
    """The last of the tries of one group, oldest first, when it is a failure that people have to be told of."""
    last = tries[-1]
    if last.status != "failure" or last.ended_at is None or any(one.status == "running" for one in tries):
        return None
    return last if last.final or as_of - last.ended_at > PATIENCE else None


def message(
    root_run_id: str, last: Try, job_name: str, tries: int, failed: Sequence[str], owners: Mapping[str, str]
) -> Message:
    """To the owner of the first step that failed; `owners`: step → owner. What no asset owns is the data team's."""
    owner = next((owners[step] for step in failed if step in owners), Owner.DATA)
    payload = {"run_id": last.run_id, "job_name": job_name, "tries": tries, "steps": list(failed), "owner": owner}
    return Message("run_failed", TEAMS[owner], f"run_failed: {root_run_id}", payload)


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notifies the owner once when a run and all its retries have failed.",
)
def failed_runs_sensor(context: dg.SensorEvaluationContext, postgres: Postgres) -> dg.SkipReason:
    tick, instance = steps.now(), context.instance
    failures = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=tick - LOOK_BACK), limit=NEWEST
    )
    roots = {record.dagster_run.root_run_id or record.dagster_run.run_id for record in failures}
    with postgres.look() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT dedup_key FROM litgo.outbox WHERE dedup_key = ANY(%s)", ([f"run_failed: {r}" for r in roots],)
        )
        told = {key.removeprefix("run_failed: ") for (key,) in cursor.fetchall()}
        owners = _owners(context.repository_def)
        found = [_message(instance, root, owners, tick) for root in sorted(roots - told)]
        messages = [one for one in found if one is not None]
        put(cursor, messages, tick)
    return dg.SkipReason(f"{len(messages)} failures told, {len(told)} were told before")


def _message(instance: dg.DagsterInstance, root: str, owners: Mapping[str, str], tick: datetime) -> Message | None:
    records = sorted(
        [
            *instance.get_run_records(dg.RunsFilter(run_ids=[root])),
            *instance.get_run_records(dg.RunsFilter(tags={"dagster/root_run_id": root})),
        ],
        key=lambda record: (record.create_timestamp, record.storage_id),
    )
    last = failed_for_good([_try(record) for record in records], tick)
    if last is None:
        return None
    return message(root, last, records[-1].dagster_run.job_name, len(records), _unfinished(instance, last), owners)


def _try(record: "RunRecord") -> Try:
    run = record.dagster_run
    if not run.is_finished:
        return Try(run.run_id, "running")
    ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.update_timestamp
    ended = ended if ended.tzinfo else ended.replace(tzinfo=UTC)
    status = cast(TryStatus, run.status.value.lower())
    return Try(run.run_id, status, ended, run.tags.get(PROMISE) == "false")


def _unfinished(instance: dg.DagsterInstance, run: Try) -> list[str]:
    """Steps that began and did not end well, in their order: those that failed, or were killed."""

    def keys(kind: dg.DagsterEventType) -> list[str]:
        events = instance.get_records_for_run(run.run_id, of_type=kind).records
        return [event.event_log_entry.step_key for event in events if event.event_log_entry.step_key]

    done = set(keys(dg.DagsterEventType.STEP_SUCCESS))
    return [step for step in dict.fromkeys(keys(dg.DagsterEventType.STEP_START)) if step not in done]


def _owners(repository: dg.RepositoryDefinition | None) -> dict[str, str]:
    """Step → the first owner of an asset it makes."""
    assets = repository.assets_defs_by_key.values() if repository else ()
    found: dict[str, str] = {}
    for asset in assets:
        if asset.is_executable:
            for owner in (owner for spec in asset.specs for owner in spec.owners if owner in TEAMS):
                found.setdefault(asset.node_def.name, owner)
    return found
