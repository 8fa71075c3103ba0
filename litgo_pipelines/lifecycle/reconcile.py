"""Reconciliation of MLflow's aliases and version tags with the ledger: rebuilt from it, never read as the truth.

Two aliases cannot be set in one step and anybody may edit them by hand; so this compares everything and repairs what
differs, as often as needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING

from litgo_pipelines.database import Cursor, advisory_lock
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.lifecycle.states import LedgerState
from litgo_pipelines.lifecycle.transitions import alert
from litgo_pipelines.models.registry import MODEL_NAME, known
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIASES = ("previous", "champion", "challenger")
TAGS = ("state", "state_reason", "ledger_sequence", "experiment_id")
COMPARED_EVERY = timedelta(hours=1)  # finds what was edited by hand
_LONGEST = 500  # characters of a reason
_PAGE = 1000


@dataclass(frozen=True)
class Reconciled:
    """`changes`: what was repaired, in words. `missing`: versions in the ledger that the registry lacks."""

    state: LedgerState
    changes: list[str]
    missing: list[str]
    unknown: list[str]  # in the registry, not in the ledger: never a candidate, or its entry follows in a moment


def reconciliation_due(cursor: Cursor, at: datetime) -> bool:
    """Whether MLflow may show something else than the ledger says: one query, for a sensor."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM (SELECT max(sequence) AS head FROM litgo.model_ledger) AS l "
        "LEFT JOIN litgo.model_projection AS p ON p.sequence = l.head AND p.checked_at > %s "
        "WHERE l.head IS NOT NULL AND p.sequence IS NULL)",
        (at - COMPARED_EVERY,),
    )
    return bool(cursor.fetchone()[0])


def reconcile(mlflow: MLflow, cursor: Cursor, at: datetime) -> Reconciled:
    """Make aliases and tags say what the ledger says, and say what was changed. Safe to repeat, killed at any line.

    A version that is missing is reported and alerted once, and its alias is taken from whatever else has it. Raises
    MLflowUnavailable when the server is down or fails: the ledger stays right, the picture follows later.
    """
    advisory_lock(cursor, "model projection")
    state = ledger.state(cursor)
    module, client = mlflow.module(), mlflow.client()
    try:
        aliases, tags = _read_registry(module, client)
        changes = _set_aliases(client, state, aliases, tags) + _set_tags(client, _wanted_tags(cursor, state), tags)
    except module.exceptions.MlflowException as error:  # it is up, and its database may not be
        mlflow.probe()
        raise MLflowUnavailable(f"MLflow does not show or take what the ledger says: {error}") from error
    missing = [version for version in state.stages if version not in tags]
    for version in missing:
        serves = version == state.champion
        alert(
            cursor,
            "model_version_missing",
            "critical" if serves else "warning",
            f"model {version}",
            f"missing {version} {state.stages[version]}",
            f"Version {version} ({state.stages[version]}) is in the ledger but not in the MLflow registry: "
            + ("matching ranks by its kept copy, or by the heuristic ranker" if serves else "it cannot serve"),
            at,
        )
    cursor.execute(
        "INSERT INTO litgo.model_projection (sequence, checked_at) VALUES (%s, %s) "
        "ON CONFLICT (singleton) DO UPDATE SET sequence = excluded.sequence, checked_at = excluded.checked_at",
        (state.sequence, at),
    )
    return Reconciled(state, changes, missing, [version for version in tags if version not in state.stages])


def _read_registry(module: ModuleType, client: "MlflowClient") -> tuple[dict[str, str], dict[str, Mapping[str, str]]]:
    """(alias → version, version → tags); both empty when nothing was ever registered."""
    model = known(module, lambda: client.get_registered_model(MODEL_NAME))
    if model is None:
        return {}, {}
    # found by search, versions have no aliases; the model has
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    tags: dict[str, Mapping[str, str]] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name = '{MODEL_NAME}'", max_results=_PAGE, page_token=token)
        tags |= {str(found.version): found.tags for found in page}
        token = page.token
        if not token:
            return aliases, tags


def _set_aliases(
    client: "MlflowClient", state: LedgerState, shown: Mapping[str, str], present: Mapping[str, object]
) -> list[str]:
    wanted = {"previous": state.previous, "champion": state.champion, "challenger": state.challenger}
    changes = []
    for alias in ALIASES:
        version, before = wanted[alias], shown.get(alias)
        if version not in present:
            version = None
        if version == before:
            continue
        if version is None:
            client.delete_registered_model_alias(MODEL_NAME, alias)
        else:
            client.set_registered_model_alias(MODEL_NAME, alias, version)
        changes.append(f"alias {alias}: {before or 'none'} → {version or 'none'}")
    return changes


def _set_tags(
    client: "MlflowClient", wanted: Mapping[str, Mapping[str, str]], shown: Mapping[str, Mapping[str, str]]
) -> list[str]:
    changes = []
    for version, tags in shown.items():
        for tag in TAGS:
            value, before = wanted.get(version, {}).get(tag), tags.get(tag)
            if value == before:
                continue
            if value is None:
                client.delete_model_version_tag(MODEL_NAME, version, tag)
            else:
                client.set_model_version_tag(MODEL_NAME, version, tag, value)
            changes.append(f"version {version}, {tag}: {before or 'none'} → {value or 'none'}")
    return changes


def _wanted_tags(cursor: Cursor, state: LedgerState) -> dict[str, dict[str, str]]:
    """Version → tags, by the entry that gave it its stage."""
    cursor.execute(
        "SELECT sequence, coalesce(reason, evidence -> 'decision' -> 'reasons' ->> 0), evidence ->> 'experiment_id' "
        "FROM litgo.model_ledger WHERE sequence = ANY(%s)",
        (list(state.since.values()),),
    )
    entries = {sequence: about for sequence, *about in cursor.fetchall()}
    wanted = {}
    for version, stage in state.stages.items():
        sequence = state.since[version]
        reason, experiment = entries[sequence]
        tags = {
            "state": stage,
            "state_reason": reason and reason[:_LONGEST],
            "ledger_sequence": str(sequence),
            "experiment_id": experiment,
        }
        wanted[version] = {tag: value for tag, value in tags.items() if value}
    return wanted
