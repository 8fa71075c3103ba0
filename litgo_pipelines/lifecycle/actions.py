"""Actions on the serving model: manual promotion, rollback and lifting a freeze; rollback is shared with monitoring.

Each takes an open connection and commits before it returns. Raises `ledger.Refused` with the reason for what the table
does not allow. The next `reconcile` shows it in MLflow; what serves has changed already.
"""

from collections.abc import Mapping
from pathlib import Path

from litgo_pipelines.database import Connection, Cursor, in_transaction
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.ledger import Actor, Entry, Refused
from litgo_pipelines.lifecycle.states import LedgerState, refusal
from litgo_pipelines.models import registry
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable


def promote(connection: Connection, mlflow: MLflow, folder: Path, version: str, actor: Actor) -> Entry:
    """A candidate or the challenger → champion, without waiting for an experiment or the cooldown.

    folder: copies of served models (`Settings.served_models`). Done before: only returns the entry. Refused while
    promotion is frozen, and for a version that cannot be loaded. Raises MLflowUnavailable when nobody can say.
    """
    state = in_transaction(connection, ledger.state)
    if state.champion != version:
        if reason := refusal(state, "champion", version, actor.at, by_hand=actor.by_hand):
            raise Refused(reason)
        hashes = in_transaction(connection, ledger.scorer_hashes)
        loads = registry.loadable(mlflow, version, folder, hashes.get(version))
        if loads is None:
            mlflow.probe()
            raise MLflowUnavailable(f"the registry does not give version {version}: try again")
        if not loads:
            raise Refused(f"version {version} cannot be loaded from the registry: nothing would rank by it")

    def work(cursor: Cursor) -> Entry:
        champion = ledger.current_champion(cursor)
        if champion and champion.version == version:
            return champion
        return transitions.promote(cursor, version, f"{version} by hand", {}, actor)

    return in_transaction(connection, work)


def roll_back(connection: Connection, mlflow: MLflow, folder: Path, version: str, actor: Actor) -> Entry:
    """The champion `version` → quarantined; what served before it serves again.

    The version is named, so that doing it twice does not roll back the one before as well.
    """
    return roll_back_champion(connection, mlflow, folder, version, f"{version} by hand", {}, actor)


def roll_back_champion(
    connection: Connection,
    mlflow: MLflow,
    folder: Path,
    version: str,
    incident: str,
    evidence: Mapping[str, object],
    actor: Actor,
) -> Entry:
    """Roll the champion `version` back to the newest version that served before it and can be loaded.

    While the registry is down, a predecessor with a kept copy goes first, then the newest: a bad model must go now, and
    matching ranks by the heuristic ranker until that one can be had. The same `incident` again only returns its entry.
    """
    state = in_transaction(connection, ledger.state)
    hashes = in_transaction(connection, ledger.scorer_hashes)
    loads = _tried(mlflow, folder, state if state.champion == version else LedgerState(), hashes)
    successor = next((v for v, able in loads.items() if able), None)
    successor = successor or next((v for v, able in loads.items() if able is None), None)
    evidence = {**evidence, "loadable": loads}
    # the champion's predecessors change only with the champion: if it still is, they are those that were tried
    return in_transaction(
        connection, lambda cursor: transitions.roll_back(cursor, version, successor, incident, evidence, actor)
    )


def lift_freeze(connection: Connection, actor: Actor) -> Entry:
    """Promotion goes on after a freeze; candidates and experiments that waited go on by themselves."""
    return in_transaction(connection, lambda cursor: transitions.lift_freeze(cursor, actor))


def _tried(mlflow: MLflow, folder: Path, state: LedgerState, hashes: Mapping[str, str]) -> dict[str, bool | None]:
    """Predecessors, newest first, up to the first that can be loaded: whether each can, None for nobody knows."""
    found: dict[str, bool | None] = {}
    for version in state.predecessors:
        found[version] = registry.loadable(mlflow, version, folder, hashes.get(version))
        if found[version]:
            break
    return found
