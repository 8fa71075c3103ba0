"""What every asset, check, configuration and job says of itself, so that Dagster's pages can be worked with."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from litgo_pipelines import asset_specs
from litgo_pipelines.database import connect
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity.assets import DISTRIBUTION_SOURCES, LOAD_SOURCES
from litgo_pipelines.jobs import BY_HAND
from litgo_pipelines.learning import columns
from litgo_pipelines.learning.assets import Kind, TrainConfig
from litgo_pipelines.marketplace.schema import TABLES
from litgo_pipelines.models.learners import KINDS, Recipe
from litgo_pipelines.models.training_data import file_schema
from litgo_pipelines.steps import Columns, column_lineage, require_filled_in, table_metadata
from litgo_pipelines.tools import columns_file

# Assets of the database that make no table: files, MLflow's entries, rows of the marketplace.
NO_TABLE = {
    "training_snapshot",  # a file, whose columns each materialisation names
    "expired_offers",  # the marketplace's own table
    "experiment_report",
    "pruned_storage",
}


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return build_defs().get_repository_def()


@pytest.fixture(scope="module")
def ours(repository: dg.RepositoryDefinition) -> list[dg.AssetSpec]:
    made = [asset for asset in repository.assets_defs_by_key.values() if asset.is_executable]
    return [spec for asset in made for spec in asset.specs]


def test_every_asset_of_ours_has_a_code_version(ours: list[dg.AssetSpec]) -> None:
    versions = {spec.key.to_user_string(): spec.code_version for spec in ours}
    assert len(versions) > 20
    assert all(versions.values()), versions
    assert versions["lawyer_load"] == versions["offer_distribution"]
    assert len({versions[name] for name in ("lawyer_load", "case_offers", "candidate_model", "pruned_storage")}) == 4


def test_a_code_version_follows_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asset_specs, "ROOT", tmp_path)
    for folder in ("equity/inner", "models", "learning"):
        (tmp_path / folder).mkdir(parents=True)

    def changed_by(file: str, text: str) -> set[str]:
        """Stages whose version is another one with the file."""
        stages = ("equity", "learning", "matching")
        before: list[str] = []
        after: list[str] = []
        for versions in (before, after):
            asset_specs._digest.cache_clear()
            asset_specs.code_version.cache_clear()
            versions += [asset_specs.code_version(stage) for stage in stages]
            (tmp_path / file).write_text(text)
        return {stage for stage, one, other in zip(stages, before, after, strict=True) if one != other}

    try:
        assert changed_by("equity/inner/load.sql", "SELECT 1") == {"equity", "matching"}
        assert changed_by("equity/inner/load.sql", "SELECT 2") == {"equity", "matching"}
        assert changed_by("models/training.py", "") == {"learning", "matching"}
        assert changed_by("learning/notes.md", "not code") == set()
    finally:
        asset_specs._digest.cache_clear()
        asset_specs.code_version.cache_clear()


def test_what_is_materialised_carries_the_code_version() -> None:
    @dg.asset
    def one() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    (made,) = dg.map_asset_specs(lambda spec: asset_specs.completed(spec, "equity"), [one])
    done = dg.materialize([made])
    (event,) = done.asset_materializations_for_node("one")
    assert (event.tags or {})["dagster/code_version"] == asset_specs.code_version("equity")


def test_an_asset_that_writes_a_table_shows_its_columns(repository: dg.RepositoryDefinition) -> None:
    for asset in repository.assets_defs_by_key.values():
        for spec in asset.specs:
            name = spec.key.to_user_string()
            if "postgres" in spec.kinds and name not in NO_TABLE:
                table = spec.metadata["dagster/table_name"]
                shown = spec.metadata["dagster/column_schema"]
                assert isinstance(shown, dg.TableSchema), name
                assert shown.columns, name
                assert str(table).startswith(("litgo.", "litgo_source.")), name


def test_the_columns_shown_are_those_of_a_database(database_url: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        there = columns_file.read(cursor)
    assert columns_file.FILE.read_text(encoding="utf-8") == there, (
        "litgo exec -- python -m litgo_pipelines.tools.columns_file"
    )


def made_by(table: str) -> set[str]:
    return {column.name for column in asset_specs.column_schema(table).columns}


@pytest.mark.parametrize(
    ("sources", "made"),
    [
        (LOAD_SOURCES, made_by("litgo.equity_history")),
        (DISTRIBUTION_SOURCES, made_by("litgo.offer_distribution")),
        (columns.SOURCES, set(file_schema().names)),
    ],
)
def test_lineage_names_columns_that_are_there(sources: Columns, made: set[str]) -> None:
    upstream = {**{table: set(known) for table, known in TABLES.items()}}
    upstream["lawyer_load"] = made_by("litgo.equity_history")
    assert set(sources) <= made
    for deps in column_lineage(sources).deps_by_column.values():
        assert deps
        for dep in deps:
            assert dep.column_name in upstream[dep.asset_key.to_user_string()]


def test_the_snapshot_says_what_each_feature_means() -> None:
    shown = {column.name: column.description for column in columns.snapshot_schema().columns}
    assert list(shown) == file_schema().names
    assert set(columns.SOURCES) == set(shown)
    assert shown["R"] == "review score: mean stars, drawn to .5 until there are five reviews"


def config_fields(repository: dg.RepositoryDefinition) -> Iterator[tuple[str, str | None]]:
    """(job, step and field, description) of every field somebody may fill in."""
    for job in repository.get_all_jobs():
        for node in job.graph.nodes:
            assert isinstance(node.definition, dg.OpDefinition)
            found = node.definition.config_schema.as_field()
            for name, field in getattr(found.config_type, "fields", {}).items():
                yield f"{job.name} {node.name} {name}", field.description


def test_every_field_of_every_configuration_has_a_description(repository: dg.RepositoryDefinition) -> None:
    fields = dict(config_fields(repository))
    assert len(fields) > 60
    assert [name for name, description in fields.items() if not (description or "").strip()] == []


def test_the_training_s_defaults_are_the_recipe_s() -> None:
    assert TrainConfig().recipe() == Recipe()
    assert tuple(kind.value for kind in Kind) == KINDS
    assert [kind.name for kind in Kind] == list(KINDS)  # Dagster's configuration goes by the name


def test_a_job_started_by_a_person_opens_with_a_filled_example_that_does_nothing(
    repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LITGO_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "postgresql://here/x")
    for job in BY_HAND:
        made = repository.get_job(job.name)
        assert made.run_config, job.name
        dg.validate_run_config(made, made.run_config)
        if job.name == "training_sweep":  # it decides nothing: its example may run
            continue
        ((_, step),) = made.run_config["ops"].items()
        assert any(str(value).startswith("<") for value in step["config"].values()), job.name


class Asked(dg.Config):
    reason: str
    percentage: float = 3.0


def test_the_launchpad_opens_with_what_each_job_accepts(
    repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LITGO_DATABASE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "postgresql://here/x")
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    assert len(jobs) > 20
    for job in jobs:
        dg.validate_run_config(job, job.run_config or {})


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("<why>", "fill in reason"),
        (" <number of the version>\n", "fill in reason"),
        ("pasted\x00", "reason: a character"),
        ("half \ud83d", "reason: a character"),
    ],
)
def test_an_example_that_was_not_filled_in_or_cannot_be_written_is_refused(typed: str, said: str) -> None:
    with pytest.raises(dg.Failure, match=said) as caught:
        require_filled_in(Asked(reason=typed))
    assert not caught.value.allow_retries
    require_filled_in(Asked(reason="worse for <60 days of tenure"))


def test_nothing_that_a_step_gives_is_of_type_any(repository: dg.RepositoryDefinition) -> None:
    made = [asset for asset in repository.assets_defs_by_key.values() if asset.is_executable]
    given = {
        (asset.key.to_user_string(), output.dagster_type.display_name)
        for asset in made
        for output in asset.op.output_defs
    }
    assert {kind for _, kind in given} == {"Nothing"}, given


def test_every_check_can_be_executed_alone(repository: dg.RepositoryDefinition) -> None:
    for definition in repository.asset_checks_defs_by_key.values():
        assert definition.can_subset or len(definition.check_keys) == 1, definition.check_keys


def test_a_column_of_a_table_is_a_number_where_its_values_are_or_are_missing() -> None:
    table = table_metadata(("a", "b", "c", "d"), [("x", 1, 1.5, None), ("y", 2, 2, None), ("z", None, None, None)])
    assert [(column.name, column.type) for column in table.schema.columns] == [
        ("a", "string"),
        ("b", "int"),
        ("c", "float"),
        ("d", "string"),
    ]


def test_a_table_holds_only_what_a_browser_reads_as_json() -> None:
    rows = [(float("nan"), float("inf"), datetime(2026, 7, 1, tzinfo=UTC), True)]
    (record,) = table_metadata(("a", "b", "c", "d"), rows).records
    assert json.loads(json.dumps(record.data, allow_nan=False)) == {
        "a": None,
        "b": None,
        "c": "2026-07-01 00:00:00+00:00",
        "d": True,
    }
