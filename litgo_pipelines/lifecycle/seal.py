"""Seals: a person says which file a version is that was registered before the ledger named files.

Without it such a version does not serve. What is written is what was shown: the hash is compared once more.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg2

from litgo_pipelines.database import Cursor, DatabaseUnavailable, connect
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.lifecycle.ledger import Actor, Entry, Refused
from litgo_pipelines.models import registry
from litgo_pipelines.models.registry import ServedFile
from litgo_pipelines.resources.mlflow import MLflow

COMMAND = "litgo model seal VERSION"


@dataclass(frozen=True)
class SealProposal:
    """A version's file, and what speaks against its being what was registered; `problems` empty: nothing does."""

    version: str
    stage: str
    file: ServedFile
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """For the person who is asked."""
        return [
            f"version   {self.version} ({self.stage})",
            f"file      {self.file.path}, {self.file.size:,} bytes",
            f"SHA-256   {self.file.sha256}",
            f"features  {' '.join(self.file.names)}",
            *(f"refused   {problem}" for problem in self.problems),
        ]


def unsealed(cursor: Cursor) -> list[str]:
    """Versions that serve or may yet, and of which no entry names the file."""
    state, hashes = ledger.state(cursor), ledger.scorer_hashes(cursor)
    able = {v for v, stage in state.stages.items() if stage in ("candidate", "challenger", "champion")}
    return sorted((able | set(state.predecessors)) - set(hashes), key=lambda version: (len(version), version))


def unsealed_in(url: str) -> list[str] | None:
    """The same of a database that may be down, or hold nothing of ours yet; None: it did not say."""
    try:
        with connect(url, attempts=1, statement_seconds=5) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('litgo.model_ledger') IS NOT NULL")
            (ours,) = cursor.fetchone() or (False,)
            return unsealed(cursor) if ours else []
    except (DatabaseUnavailable, psycopg2.Error):
        return None


def look(cursor: Cursor, mlflow: MLflow, version: str) -> SealProposal:
    """Fetch the version's one file, and hold it against its run and the ledger; another process parses it.

    Raises Refused for a version that needs no seal or must have none, VersionMissing, ScorerDamaged, MLflowUnavailable.
    """
    _refuse(cursor, version)
    file = registry.served_file(mlflow, version)
    problems = registry.served_file_problems(mlflow, version, file)
    return SealProposal(
        version, ledger.state(cursor).stages[version], file, (*problems, *_ledger_problems(cursor, file))
    )


def seal(cursor: Cursor, found: SealProposal, actor: Actor) -> Entry:
    """Write what was found. Raises Refused when something speaks against it."""
    if found.problems:
        raise Refused(f"version {found.version} is not sealed: {'; '.join(found.problems)}")
    ledger.locked_state(cursor)
    _refuse(cursor, found.version)
    evidence = {
        "scorer_sha256": found.file.sha256,
        "seed_sha256": dict(found.file.seeds),
        "file": found.file.path,
        "features": list(found.file.names),
    }
    return ledger.apply_transition(cursor, "sealed", f"sealed {found.version}", found.version, evidence, actor)


def _refuse(cursor: Cursor, version: str) -> None:
    state = ledger.state(cursor)
    if version not in state.stages:
        raise Refused(f"version {version} is not in the ledger: `litgo model show` lists them")
    if known := ledger.scorer_hashes(cursor).get(version):
        raise Refused(f"version {version} needs no seal: the ledger names its SHA-256, {known}")


def _ledger_problems(cursor: Cursor, file: ServedFile) -> list[str]:
    """What the version's first entry, which nobody can change, says otherwise."""
    cursor.execute(
        "SELECT evidence -> 'ndcg' FROM litgo.model_ledger WHERE version = %s AND evidence ? 'ndcg' "
        "ORDER BY sequence LIMIT 1",
        (file.version,),
    )
    row = cursor.fetchone()
    entered: Mapping[str, Mapping[str, float] | None] = (row[0] if row else None) or {}
    return [
        f"the ledger has NDCG@{k} {interval['mean']:.6f}, the run's record {file.ndcg.get(k, float('nan')):.6f}"
        for k, interval in entered.items()
        if interval and not registry.same(interval["mean"], file.ndcg.get(k))
    ]
