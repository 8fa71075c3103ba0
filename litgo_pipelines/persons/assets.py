"""The rights of the people in the data as Dagster sees them: the nightly look at deletions, and two jobs by hand.

Thin: `follow`, `erase`, `export`.
"""

import dagster as dg
from pydantic import Field

from litgo_pipelines import steps
from litgo_pipelines.jobs import JOBS, run_tags
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, AsOfConfig, permanent_fails_once


@dg.asset(
    deps=["profiles", "lawyers", "cases", "contracts", "reviews"],
    group_name="persons",
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="persons",
    retry_policy=RETRY,
    description="Erases what the marketplace no longer shows for three nights, what came back of the erased, and "
    "vectors of texts nobody has. Where rows may be hidden, or a whole lot is gone at once, nothing is erased and a "
    "person decides.",
    metadata={"dagster/table_name": "litgo.tombstones"},
)
@permanent_fails_once
def erased_persons(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.persons import night

    values, at = settings(), config.instant()
    with postgres.session() as connection:
        where = night.places_of(values, mlflow)
        try:
            found = night.run(connection, where, at)
        except night.Hidden as error:
            raise dg.Failure(f"nothing was erased: {error}", allow_retries=False) from error
    log_json(context.log, "erased_persons", run_id=context.run.run_id, as_of=at, **found)
    return dg.MaterializeResult(metadata={**found, "as of": at.isoformat()})


class PersonConfig(dg.Config):
    """Who is meant, and who asks."""

    person_id: str = Field(
        description="identificador do cliente ou advogado(a)",
        examples=["<identificador do cliente ou advogado(a), um UUID>"],
    )
    asked_by: str = Field(default="", description="quem pediu ou atende; onde há login, vale o nome do login")


def _asked_by(context: dg.OpExecutionContext, config: PersonConfig) -> str:
    return steps.acting(context.run.tags, config.asked_by) or steps.UNAUTHENTICATED


@dg.op(description="Writes everything held about a person into LITGO_HOME/exports, named by the request's number.")
def exported_person(context: dg.OpExecutionContext, config: PersonConfig, postgres: Postgres) -> None:
    from litgo_pipelines.persons import export, keys
    from litgo_pipelines.persons.traces import EXPORTS

    steps.require_filled_in(config)
    home = settings().home
    try:
        with postgres.session() as connection:
            found = export.export(connection, config.person_id, _asked_by(context, config), steps.now(), home)
    except keys.NoPerson as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    folder = home / EXPORTS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    export.write(folder / f"titular-{found['pedido']}.json", found)
    context.log.info(f"{EXPORTS}/titular-{found['pedido']}.json")


@dg.op(pool="persons", description="Erases everything held about a person; what has to stay is pseudonymised.")
def erased_person(context: dg.OpExecutionContext, config: PersonConfig, postgres: Postgres, mlflow: MLflow) -> None:
    from litgo_pipelines.persons import erase, keys, night

    steps.require_filled_in(config)
    try:
        with postgres.session() as connection:
            where = night.places_of(settings(), mlflow)
            done = erase.erase(connection, config.person_id, _asked_by(context, config), where, steps.now())
    except keys.NoPerson as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info(erase.text(done))


@dg.job(
    tags=run_tags(JOBS["export_person"]),
    description=JOBS["export_person"].description,
    config=steps.example_config(exported_person=PersonConfig),
)
def export_person() -> None:
    exported_person()


@dg.job(
    tags=run_tags(JOBS["erase_person"]),
    description=JOBS["erase_person"].description,
    config=steps.example_config(erased_person=PersonConfig),
)
def erase_person() -> None:
    erased_person()


assets = [erased_persons]
jobs = [export_person, erase_person]
