"""Lifecycle asset and jobs: reconcile MLflow with the ledger, and act by hand. Thin: `reconcile`, `actions`.

The jobs are started from the launchpad, which asks for who and why; a refusal fails the run with its reason.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import Field

from litgo_pipelines import steps
from litgo_pipelines.database import Connection
from litgo_pipelines.jobs import JOBS, run_tags
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, permanent_fails_once

if TYPE_CHECKING:
    from litgo_pipelines.lifecycle import ledger

GROUP = "lifecycle"
T = TypeVar("T")


class DecisionConfig(dg.Config):
    """Kept in the ledger for good."""

    who: str = Field(default="", description="who decides; the name of the login counts where there is one")
    reason: str = Field(description="why, in a sentence", examples=["<why>"])


class VersionConfig(DecisionConfig):
    version: str = Field(
        description="number of the version in the MLflow registry, like 7", examples=["<number of the version>"]
    )


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"postgres", "mlflow"},
    deps=["model_evaluation"],
    pool=GROUP,
    retry_policy=RETRY,
    description="Aliases and version tags in MLflow, brought in line with the ledger; lists what was changed.",
    metadata={"dagster/table_name": "litgo.model_projection"},
)
@permanent_fails_once
def reconciled_registry(
    context: dg.AssetExecutionContext, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata=_reconcile(context, postgres, mlflow))


@dg.op(pool=GROUP, description="A candidate or the challenger becomes champion; the champion becomes previous.")
def promote_version(context: dg.OpExecutionContext, config: VersionConfig, postgres: Postgres, mlflow: MLflow) -> None:
    from litgo_pipelines.lifecycle import actions, ledger

    def decide(connection: Connection, actor: ledger.Actor) -> ledger.Entry:
        return actions.promote(connection, mlflow, settings().served_models, config.version.strip(), actor)

    _decide_and_show(context, config, postgres, mlflow, decide)


@dg.op(
    pool=GROUP, description="The champion is quarantined; what served before it, or the heuristic ranker, serves again."
)
def roll_back_version(
    context: dg.OpExecutionContext, config: VersionConfig, postgres: Postgres, mlflow: MLflow
) -> None:
    from litgo_pipelines.lifecycle import actions, ledger

    def decide(connection: Connection, actor: ledger.Actor) -> ledger.Entry:
        return actions.roll_back(connection, mlflow, settings().served_models, config.version.strip(), actor)

    _decide_and_show(context, config, postgres, mlflow, decide)


@dg.op(pool=GROUP, description="Lifts a freeze: promotions resume.")
def lift_promotion_freeze(
    context: dg.OpExecutionContext, config: DecisionConfig, postgres: Postgres, mlflow: MLflow
) -> None:
    from litgo_pipelines.lifecycle import actions

    _decide_and_show(context, config, postgres, mlflow, actions.lift_freeze)


@dg.job(
    tags=run_tags(JOBS["promote_model"]),
    description=JOBS["promote_model"].description,
    config=steps.example_config(promote_version=VersionConfig),
)
def promote_model() -> None:
    promote_version()


@dg.job(
    tags=run_tags(JOBS["roll_back_model"]),
    description=JOBS["roll_back_model"].description,
    config=steps.example_config(roll_back_version=VersionConfig),
)
def roll_back_model() -> None:
    roll_back_version()


@dg.job(
    tags=run_tags(JOBS["lift_freeze"]),
    description=JOBS["lift_freeze"].description,
    config=steps.example_config(lift_promotion_freeze=DecisionConfig),
)
def lift_freeze() -> None:
    lift_promotion_freeze()


assets = [reconciled_registry]
jobs: list[Any] = [promote_model, roll_back_model, lift_freeze]


def act_by_hand(
    context: dg.OpExecutionContext,
    config: DecisionConfig,
    postgres: Postgres,
    decide: "Callable[[Connection, ledger.Actor], T]",
) -> T:
    """What `decide(connection, actor)` returns; a refusal, or a registry nobody can ask, fails the run for good."""
    from litgo_pipelines.lifecycle import ledger

    steps.require_filled_in(config)
    try:
        who = steps.acting(context.run.tags, config.who)
        actor = ledger.Actor(who, config.reason.strip(), steps.now(), context.run.run_id, by_hand=True)
        with postgres.session() as connection:
            return decide(connection, actor)
    except (ledger.Refused, MLflowUnavailable) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _decide_and_show(
    context: dg.OpExecutionContext,
    config: DecisionConfig,
    postgres: Postgres,
    mlflow: MLflow,
    decide: "Callable[[Connection, ledger.Actor], ledger.Entry]",
) -> None:
    """The decision, then MLflow's picture of it if MLflow answers; otherwise the sensor follows up."""
    entry = act_by_hand(context, config, postgres, decide)
    context.log.info(f"entry {entry.sequence} of the ledger: {entry.transition} {entry.version}, {entry.reason}")
    try:
        shown = _reconcile(context, postgres, mlflow)
    except MLflowUnavailable as error:
        context.log.warning(f"decided; MLflow shows it later: {error}")
        shown = {}
    context.add_output_metadata({"ledger entry": entry.sequence, "decision": entry.transition, **shown})


def _reconcile(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, postgres: Postgres, mlflow: MLflow
) -> steps.Metadata:
    """Reconcile as of now; what it found, as metadata."""
    from litgo_pipelines.lifecycle.reconcile import reconcile

    with postgres.connect() as connection, connection.cursor() as cursor:
        done = reconcile(mlflow, cursor, steps.now())
    state = done.state
    for version in done.missing:
        context.log.warning(f"version {version} ({state.stages[version]}) is missing in the MLflow registry")
    newest_first = sorted(state.stages, key=int, reverse=True)
    rows = [(version, state.stages[version], state.since[version]) for version in newest_first]
    return {
        "champion": state.champion or "none: the heuristic ranker serves",
        "challenger": state.challenger or "none",
        "previous": state.previous or "none",
        "promotion": f"frozen: {state.frozen}" if state.frozen else "open",
        "changed": dg.MetadataValue.md("\n".join(f"- {change}" for change in done.changes) or "nothing"),
        "missing in the registry": dg.MetadataValue.md("\n".join(f"- version {v}" for v in done.missing) or "nothing"),
        "not in the ledger": ", ".join(done.unknown) or "none",
        "versions": steps.table_metadata(("version", "stage", "since entry"), rows),
    }
