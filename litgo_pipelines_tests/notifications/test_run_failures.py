"""A run that fails is told once, when nothing will mend it, to whom it belongs: the rule, and real runs and retries."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines.notifications import run_failures
from litgo_pipelines.notifications.outbox import TEAMS
from litgo_pipelines.notifications.run_failures import PATIENCE, Try, failed_for_good, failed_runs_sensor
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.notifications import START, World

OVER = START - PATIENCE / 2
LONG_AGO = START - 2 * PATIENCE
FAILED, WAITS = Try("1", "failure", OVER, final=True), Try("1", "failure", OVER)


@pytest.mark.parametrize(
    ("tries", "told"),
    [
        ([FAILED], True),
        ([WAITS], False),  # a retry is promised, or Dagster has not decided yet
        ([Try("1", "failure", LONG_AGO)], True),  # and never came
        ([WAITS, Try("2", "running")], False),
        ([WAITS, Try("2", "success", OVER)], False),
        ([WAITS, Try("2", "canceled", OVER)], False),  # by a person, who knows
        ([WAITS, Try("2", "failure", OVER, final=True)], True),
        ([Try("1", "running"), FAILED], False),  # an older one is still under way
        ([Try("1", "canceled", OVER)], False),
        ([Try("1", "success", OVER)], False),
    ],
)
def test_who_is_told_of_what(tries: list[Try], told: bool) -> None:
    assert failed_for_good(tries, START) == (tries[-1] if told else None)


@dg.asset(owners=[Owner.MARKETPLACE])
def sound() -> None:
    """Goes well."""


@dg.asset(deps=[sound], owners=[Owner.LEARNING])
def broken() -> None:
    raise ValueError("a person's name")


def learning_like() -> dg.JobDefinition:
    job = dg.define_asset_job("learning_like", tags={"dagster/max_retries": "1"})
    return dg.Definitions([sound, broken], jobs=[job], executor=dg.in_process_executor).resolve_job_def(job.name)


def evaluate(instance: dg.DagsterInstance, url: str) -> None:
    repository = dg.Definitions([sound, broken]).get_repository_def()
    resources = {"postgres": Postgres(url=url)}
    with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
        assert isinstance(failed_runs_sensor(context), dg.SkipReason)


def told(world: World) -> list[tuple[Any, ...]]:
    return world.ask("SELECT kind, recipient_id::text, dedup_key, payload FROM litgo.outbox ORDER BY message_id")


def test_one_message_after_the_last_retry_whatever_the_ticks(world: World) -> None:
    job = dg.reconstructable(learning_like)
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True}}) as instance:
        first = dg.execute_job(job, instance)
        evaluate(instance, world.url)
        assert told(world) == []  # it will be tried again
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        retry = {  # as Dagster's daemon marks one
            "dagster/parent_run_id": first.run_id,
            "dagster/root_run_id": first.run_id,
            "dagster/retry_number": "1",
        }
        last = dg.execute_job(job, instance, reexecution_options=options, tags=retry)
        for _ in range(2):
            evaluate(instance, world.url)
        payload = {
            "run_id": last.run_id,
            "job_name": "learning_like",
            "tries": 2,
            "steps": ["broken"],
            "owner": "team:machine-learning",
        }
        once = [("run_failed", TEAMS[Owner.LEARNING], f"run_failed: {first.run_id}", payload)]
        assert told(world) == once
        dg.execute_job(job, instance, reexecution_options=options, tags=retry)  # by hand, and it fails again
        evaluate(instance, world.url)
        assert told(world) == once


def test_a_run_killed_in_a_step_is_told_after_the_patience(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.instance_for_test() as instance:
        run = instance.create_run_for_job(learning_like(), status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(run)
        instance.add_run_tags(run.run_id, {run_failures.PROMISE: "true"})
        evaluate(instance, world.url)
        assert told(world) == []
        later = run_failures.steps.now() + PATIENCE + timedelta(minutes=1)
        monkeypatch.setattr(run_failures.steps, "now", lambda: later)
        evaluate(instance, world.url)
        ((_, recipient, _, payload),) = told(world)
        assert recipient == TEAMS[Owner.DATA]
        assert payload["steps"] == []


def test_a_failure_that_cannot_be_written_is_told_with_the_next_tick(world: World) -> None:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": False}}) as instance:
        run = dg.execute_job(dg.reconstructable(learning_like), instance)
        instance.add_run_tags(run.run_id, {run_failures.PROMISE: "false"})
        with pytest.raises(Exception, match="no connection"):
            evaluate(instance, world.url.replace("litgo_test_", "litgo_gone_"))
        evaluate(instance, world.url)
        assert len(told(world)) == 1


def test_it_goes_to_the_owners_address_and_quotes_no_error(world: World) -> None:
    payload = {"run_id": "r1", "job_name": "retraining", "tries": 3, "steps": ["candidate_model"]}
    for owner in (Owner.LEARNING, Owner.DATA):
        world.put("run_failed", TEAMS[owner], {**payload, "owner": owner})
    world.deliver(team_emails={Owner.LEARNING: "modelos@example.com"})
    bodies = [request.json() for request in world.mail.requests]
    sent = {body["personalizations"][0]["to"][0]["email"]: body for body in bodies}
    assert {*sent} == {"modelos@example.com", "equipe@example.com"}
    text = sent["modelos@example.com"]["content"][0]["value"]
    assert "O job retraining falhou depois de 3 tentativas, em candidate_model." in text
    assert "Responsável: machine-learning." in text
