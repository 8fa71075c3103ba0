"""Retention policy: how long each kind of record is kept, and why. Pure; docs/retention.md is generated from it.

Terms are three, so that an operator has three numbers to set: frequent runs, the usual, and long. What decides whether
a thing of that age is still needed stands beside what removes it (`rows`, `storage`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Term = Literal["frequent", "usual", "long"]


@dataclass(frozen=True)
class Kind:
    term: Term
    what: str
    why: str


POLICY: dict[str, Kind] = {
    "runs_frequent": Kind(
        "frequent",
        "runs, their events and logs, of jobs that run all day",
        "thousands per day; each job's newest stays",
    ),
    "runs_rare": Kind("long", "runs of all other jobs", "a night, a retraining, what a person did"),
    "messages": Kind("usual", "messages and deliveries that were accepted", "complaints come within weeks"),
    "messages_dead": Kind("long", "messages that could not be delivered", "somebody should have looked"),
    "job_runs": Kind(
        "long", "counted runs", "as long as Dagster's: else one could be counted twice; each job's newest stays"
    ),
    "metric_state": Kind("usual", "counters that no longer exist", "nobody serves them; what is served stays"),
    "matching_failures": Kind("usual", "failed tries of cases that wait no longer", "the case went on"),
    "availability": Kind(
        "long", "stretches in which lawyers could be offered cases, once over", "figures of nights before then"
    ),
    "explanations": Kind("long", "who else was considered for a case", "`litgo explain` knows it no more"),
    "snapshots": Kind("usual", "training snapshots", "those of models that may yet serve stay"),
    "bundles": Kind("usual", "trained models on disk", "those that may yet serve or be judged stay"),
    "served_models": Kind("usual", "copies of archived models", "they never serve again"),
    "triage_models": Kind("usual", "classifiers of past days", "the newest stays"),
    "logs": Kind("frequent", "services' logs, put away whenever they exceed 50 MB", "what failed is looked at soon"),
    "archived_models": Kind("long", "files of archived models in MLflow", "the version, its figures and its card stay"),
}
FOREVER = (
    ("ledger, experiments, quality checks, alerts", "every decision can be replayed"),
    ("litgo.matchings, exposures, signatures", "who was offered what, and who signed"),
    ("equity history", "a row per lawyer and night whose figures changed"),
    ("MLflow runs and versions", "what was tried and how good it was"),
    ("the marketplace's own tables", "they are not ours"),
)
FREQUENT = frozenset(
    {
        "matching",
        "contracts",
        "notifications",
        "suppression_lists",
        "offer_expiry",
        "experiments",
        "experiment_reports",
        "quality_checks",
        "registry_reconciliation",
        "embeddings",
        "evidence",
        "retention",
    }
)
STRIDE = timedelta(days=2)
NEVER_AGAIN = frozenset({"archived", "quarantined"})  # standings of versions that cannot serve any more


def cutoffs(as_of: datetime, days: Mapping[Term, int]) -> dict[str, datetime]:
    """Kind → instant before which it is deleted."""
    return {name: as_of - timedelta(days=days[kind.term]) for name, kind in POLICY.items()}


def bounded(now: datetime, previous: datetime | None) -> datetime:
    """The instant of a night: at most STRIDE after the one before it, for a clock that jumps must not cost a year."""
    return now if previous is None else min(now, previous + STRIDE)


def removable(found: Iterable[tuple[str, datetime]], needed: Iterable[str], before: datetime) -> list[str]:
    """Names of files older than the instant (name, last change) that nobody needs; sorted."""
    kept = set(needed)
    return sorted(name for name, changed in found if changed < before and name not in kept)
