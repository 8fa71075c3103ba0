"""What all assets have and none writes down itself: freshness, code version, the columns of its table.

Belongs here: what follows from a list kept elsewhere (jobs, migrations, the marketplace's schema). What is an asset's
own stands at the asset.
"""

import hashlib
import json
import os
from datetime import timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
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
ROOT = Path(__file__).parent
_CODE = (".py", ".sql", ".csv", ".txt", ".npz")


def completed(spec: dg.AssetSpec, stage: str) -> dg.AssetSpec:
    """The asset's specification with what it did not say. stage: the folder under litgo_pipelines that makes it."""
    said: dict[str, Any] = {}  # replaced at once: each copy of a specification costs the import of the code location
    hours = freshness_hours(spec.group_name, spec.key.to_user_string())
    if hours is not None and spec.freshness_policy is None:
        said["freshness_policy"] = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))
    table = spec.metadata.get(TABLE_NAME)
    if table and COLUMN_SCHEMA not in spec.metadata:
        said["metadata"] = {**spec.metadata, COLUMN_SCHEMA: column_schema(str(table))}
    # the marketplace's own tables no code of ours makes
    if not spec.code_version and not str(table).startswith(f"{schema.SOURCE_SCHEMA}."):
        said["code_version"] = code_version(stage)
    return spec.replace_attributes(**said)


@cache
def code_version(stage: str) -> str:
    """Changes when the code of the stage does, or of what else decides its results."""
    folders = (stage, *ALSO_DECIDED_BY.get(stage, ()))
    return hashlib.sha256(b"".join(map(_digest, folders))).hexdigest()[:12]


@cache
def _digest(folder: str) -> bytes:
    """Of all code in a folder, with the names of its files."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(ROOT / folder):
        folders.sort()
        inside = place.removeprefix(f"{ROOT}/")
        for name in sorted(name for name in names if name.endswith(_CODE)):
            digest.update(f"{inside}/{name}".encode())
            with open(f"{place}/{name}", "rb", buffering=0) as file:  # half the time: it is part of every import
                digest.update(file.read())
    return digest.digest()


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
