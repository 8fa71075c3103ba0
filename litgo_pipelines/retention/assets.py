"""Nightly pruning as an asset. Thin: `policy`, `rows`, `storage`."""

import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.retention.policy import POLICY
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, AsOfConfig, permanent_fails_once

if TYPE_CHECKING:
    from collections.abc import Callable


AS_OF = "as of"


@dg.asset(
    group_name="retention",
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="retention",
    retry_policy=RETRY,
    description="Deletes what is older than its retention term: runs, messages, snapshots, model files. What is in "
    "use, or needed to replay a decision, is kept: docs/retention.md.",
)
@permanent_fails_once
def pruned_storage(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from tqdm import tqdm

    from litgo_pipelines.lifecycle import ledger
    from litgo_pipelines.retention import policy, rows, storage

    values, as_of = settings(), policy.bounded(config.instant(), _previous(context))
    days: dict[Any, int] = {
        "frequent": values.retention_frequent_days,
        "usual": values.retention_days,
        "long": values.retention_long_days,
    }
    before = policy.cutoffs(as_of, days)
    home = values.home
    with postgres.connect() as connection, connection.cursor() as cursor:
        snapshots, bundles = storage.needed_files(cursor, before["bundles"])
        away = storage.put_away(ledger.state(cursor))
    folders = {
        "snapshots": (home / "snapshots", snapshots),
        "bundles": (home / "models", {*bundles, "served", "triage"}),
        "served_models": (values.served_models, storage.served_copies(values.served_models, away)),
        "exports": (home / "exports", ()),
        "triage_models": (values.triage_models, storage.newest(values.triage_models)),
    }
    stored = Path(os.environ["LITGO_DAGSTER_FILES"]) if "LITGO_DAGSTER_FILES" in os.environ else None

    def archived() -> int:
        with postgres.connect() as connection, connection.cursor() as cursor:
            return storage.archived_models(mlflow, cursor, before["archived_models"], as_of, bar.update)

    gone: dict[str, int] = {}
    later: dict[str, str] = {}
    with tqdm(desc="letting go", unit=" things", mininterval=5) as bar, postgres.session() as connection:
        works: dict[str, Callable[[], int]] = {
            **{kind: partial(rows.let_go, connection, kind, before[kind]) for kind in rows.STATEMENTS},
            **{kind: partial(storage.files, *folder, before[kind]) for kind, folder in folders.items()},
            **{
                f"runs_{name}": partial(
                    storage.runs, context.instance, stored, before[f"runs_{name}"], frequent=often, step=bar.update
                )
                for name, often in (("frequent", True), ("rare", False))
            },
            "logs": partial(storage.logs, home / "logs", as_of, before["logs"]),
            "archived_models": archived,
        }
        for kind in POLICY:
            try:
                gone[kind] = works[kind]()
            except MLflowUnavailable as error:  # the next night does it
                later[kind] = str(error)
    log_json(context.log, "retention", run_id=context.run.run_id, as_of=as_of, **gone)
    lines = [(kind, days[why.term], gone.get(kind, later.get(kind, "")), why.what) for kind, why in POLICY.items()]
    table = steps.table_metadata(("kind", "days", "gone", "what"), lines)
    return dg.MaterializeResult(metadata={"deleted": table, "in all": sum(gone.values()), AS_OF: as_of.isoformat()})


def _previous(context: dg.AssetExecutionContext) -> datetime | None:
    """The instant of the night before."""
    event = context.instance.get_latest_materialization_event(context.asset_key)
    made = event.asset_materialization if event else None
    return datetime.fromisoformat(str(made.metadata[AS_OF].value)) if made and AS_OF in made.metadata else None


assets = [pruned_storage]
