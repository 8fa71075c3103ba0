"""What all assets have and none writes down itself: freshness, code version, the columns of its table.

Belongs here: what follows from a list kept elsewhere (jobs, migrations, the marketplace's schema). What is an asset's
own stands at the asset.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import dagster as dg

from litgo_pipelines.jobs import freshness_hours
from litgo_pipelines.marketplace import schema

TABLE_NAME = "dagster/table_name"
COLUMN_SCHEMA = "dagster/column_schema"
# Folders beside the stage's own that decide what its assets are.
ALSO_DECIDED_BY = {
    "learning": ("models",),
    "matching": ("models", "equity"),
    "lifecycle": ("models",),
    "experiments": ("lifecycle",),
    "monitoring": ("lifecycle",),
}
_CODE = (".py", ".sql", ".csv", ".txt", ".npz")


def completed(spec: dg.AssetSpec, stage: str) -> dg.AssetSpec:
    """The asset's specification with what it did not say. stage: the folder under litgo_pipelines that makes it."""
    hours = freshness_hours(spec.group_name, spec.key.to_user_string())
    if hours is not None and spec.freshness_policy is None:
        window = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))
        spec = spec.replace_attributes(freshness_policy=window)
    table = spec.metadata.get(TABLE_NAME)
    if table and COLUMN_SCHEMA not in spec.metadata:
        spec = spec.merge_attributes(metadata={COLUMN_SCHEMA: column_schema(str(table))})
    if str(table).startswith(f"{schema.SOURCE_SCHEMA}."):
        return spec  # the marketplace's own, which no code of ours makes
    return spec.replace_attributes(code_version=spec.code_version or code_version(stage))


@cache
def code_version(stage: str) -> str:
    """Changes when the code of the stage does, or of what else decides its results."""
    digest = hashlib.sha256()
    for folder in (stage, *ALSO_DECIDED_BY.get(stage, ())):
        for name, path in sorted(_sources(folder, files("litgo_pipelines").joinpath(folder))):
            digest.update(name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(name: str, folder: Traversable) -> Iterable[tuple[str, Traversable]]:
    for path in folder.iterdir():
        inner = f"{name}/{path.name}"
        if path.is_dir():
            yield from _sources(inner, path)
        elif path.name.endswith(_CODE):
            yield inner, path


def column_schema(table: str) -> dg.TableSchema:
    """Columns of `litgo.…` as the migrations make them, of `litgo_source.…` as the pipelines rely on them."""
    place, name = table.split(".")
    if place == schema.SOURCE_SCHEMA:
        return dg.TableSchema(
            [dg.TableColumn(column, schema.TYPES[kind]) for column, kind in schema.TABLES[name].items()]
        )
    return dg.TableSchema(
        [
            dg.TableColumn(
                column["name"],
                column["type"],
                description=column["description"],
                constraints=dg.TableColumnConstraints(nullable=column["nullable"]),
            )
            for column in _our_tables()[name]
        ]
    )


@cache
def _our_tables() -> dict[str, list[dict[str, Any]]]:
    """Table → its columns in order, as the generator of the file found them in a migrated database."""
    tables: dict[str, list[dict[str, Any]]] = json.loads(
        files("litgo_pipelines.database").joinpath("columns.json").read_text(encoding="utf-8")
    )
    return tables
