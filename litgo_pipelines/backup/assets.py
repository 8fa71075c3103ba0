"""The nightly backup as Dagster sees it. Thin: `make`."""

import os
from datetime import timedelta

import dagster as dg

from litgo_pipelines import steps
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import permanent_fails_once


@dg.asset(
    group_name="backup",
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="backup",
    description="An encrypted backup of our schema, Dagster's and MLflow's databases, snapshots and models in "
    "LITGO_BACKUP_FOLDER; older ones go after LITGO_BACKUP_DAYS. Without a folder nothing is made.",
    metadata={"dagster/table_name": "litgo.backups"},
)
@permanent_fails_once
def nightly_backup(context: dg.AssetExecutionContext, postgres: Postgres) -> dg.MaterializeResult[None]:
    from litgo_pipelines.backup import make
    from litgo_pipelines.backup.manifest import BackupRefused

    values, at = settings(), steps.now()
    if values.litgo_backup_folder is None:
        return dg.MaterializeResult(
            metadata={"made": "none: LITGO_BACKUP_FOLDER is not set; under Compose the service `backup` makes them"}
        )
    folder = values.litgo_backup_folder.expanduser().resolve()
    try:
        of = make.Databases(postgres.url, os.environ["DAGSTER_DATABASE_URL"], os.environ["LITGO_MLFLOW_DATABASE_URL"])
        files = make.places(values.home, values.mlflow_artifacts)
        made = make.backup(of, values.home, folder, make.passphrase(), at, files)
    except BackupRefused as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except KeyError as error:
        raise dg.Failure(
            f"{error.args[0]} is not set: this process may not read all databases; run `litgo backup` as their owner",
            allow_retries=False,
        ) from error
    gone = make.prune(folder, at - timedelta(days=values.litgo_backup_days))
    size = sum(path.stat().st_size for path in made.iterdir())
    return dg.MaterializeResult(metadata={"made": made.name, "bytes": size, "older ones that went": gone})


assets = [nightly_backup]
