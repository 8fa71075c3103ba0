"""Retention policy: how long each kind of record is kept, and why. Pure; docs/retention.md is generated from it.

Terms are three, so that an operator has three numbers to set: frequent runs, the usual, and long. What decides whether
a thing of that age is still needed stands beside what removes it (`rows`, `storage`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

Term = Literal["frequent", "usual", "long"]


class Kind(NamedTuple):
    term: Term
    what: str
    why: str


POLICY: dict[str, Kind] = {
    "runs_frequent": Kind(
        "frequent",
        "runs, their events and logs, of jobs that run all day, and of reports that follow",
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
    "triage": Kind("long", "how closed cases were triaged", "a year's choices teach the classifier"),
    "documents": Kind("long", "documents and requests of contracts that ended", "the history of who signed stays"),
    "vectors": Kind("usual", "vectors, stems and marks of texts that are compared no more", "made again where missed"),
    "pseudonym_keys": Kind("long", "keys of pseudonyms", "after that nobody can say who an erased person was"),
    "exports": Kind("frequent", "exports of personal data under LITGO_HOME", "handed over soon"),
    "explanations": Kind("long", "who else was considered for a case", "`litgo explain` knows it no more"),
    "candidate_sets": Kind("usual", "who could be chosen for a case, with their features", "replays look back 60 days"),
    "snapshots": Kind("usual", "training snapshots", "those of models that may yet serve stay"),
    "bundles": Kind("usual", "trained models on disk", "those that may yet serve or be judged stay"),
    "served_models": Kind("usual", "copies of archived models", "they never serve again"),
    "triage_models": Kind("usual", "classifiers of past days", "the newest stays"),
    "logs": Kind("frequent", "services' logs, put away whenever they exceed 50 MB", "what failed is looked at soon"),
    "archived_models": Kind("long", "files of archived models in MLflow", "the version, its figures and its card stay"),
}
# Every table of ours → the kind by which its rows go, or in words what becomes of them. A test asks the catalogue.
OF_TABLES: dict[str, str] = {
    "accounts_seen": "one row",
    "alerts": "stays: every decision can be replayed",
    "allocation_parameters": "stays: each matching names the version it used",
    "area_words": "the words of areas, kept by hand",
    "subarea_words": "the words of subareas, kept by hand",
    "backups": "stays: a row per night",
    "candidate_sets": "candidate_sets",
    "case_duplicates": "matching_failures",
    "case_waits": "matching_failures",
    "circuit_breakers": "one row per service",
    "contract_documents": "documents",
    "contract_events": "stays: who signed, under a pseudonym once a party is erased",
    "contract_requests": "documents",
    "deletions_confirmed": "one row",
    "deliveries": "messages",
    "demand_night": "one row",
    "equity_history": "stays: fairness over the years; gone with the lawyer",
    "evidence_refresh": "one row",
    "experiment_arms": "stays: evidence, under a pseudonym once the client is erased",
    "experiment_cutoffs": "stays: every decision can be replayed",
    "experiment_ends": "stays: every decision can be replayed",
    "experiment_outcomes": "stays: evidence, under a pseudonym once the client is erased",
    "experiment_phases": "stays: every decision can be replayed",
    "experiments": "stays: every decision can be replayed",
    "exposures": "stays: evidence, under a pseudonym once the client is erased",
    "job_runs": "job_runs",
    "lawyer_accounts": "written anew every night",
    "lawyer_availability": "availability",
    "lawyer_evidence": "one row per lawyer, gone with the lawyer",
    "lawyer_momentum": "written anew every night",
    "lawyer_subarea_evidence": "gone with the lawyer",
    "mail_suppressions": "as long as the address is on SendGrid's list",
    "matching_batches": "stays: what decided a batch's offers",
    "matching_failures": "matching_failures",
    "matchings": "explanations",
    "metric_state": "metric_state",
    "missed_subjects": "gone once it shows again, or is erased",
    "model_ledger": "stays: every decision can be replayed",
    "model_projection": "one row",
    "offer_distribution": "stays: a row per night, about nobody",
    "outbox": "messages",
    "own_marketplace": "one row",
    "person_requests": "stays: that a right was granted must be shown; the person is a digest",
    "pool_demand": "written anew every night",
    "pseudonym_keys": "pseudonym_keys",
    "quality_checks": "stays: every decision can be replayed",
    "quality_incident_ends": "stays: every decision can be replayed",
    "quality_incidents": "stays: every decision can be replayed",
    "quality_references": "stays: every decision can be replayed",
    "retrainings": "stays: what was trained on what",
    "review_sentiment": "gone with the review",
    "schema_migrations": "stays: what was applied",
    "source_counts": "one row per table",
    "source_indexes": "one row per index",
    "source_mapping": "one row",
    "text_embeddings": "vectors",
    "text_stems": "vectors",
    "told": "matching_failures",
    "tombstones": "stays: what is erased stays erased after a restore; digests",
    "triage": "triage",
    "triage_failures": "gone once the case is triaged, or is erased",
    "unembeddable_texts": "vectors",
    "withheld_texts": "vectors",
}
FOREVER = (
    ("ledger, experiments, quality checks, alerts", "every decision can be replayed"),
    ("litgo.matchings, exposures, signatures", "who was offered what, and who signed"),
    ("equity history", "a row per lawyer and night whose figures changed, until the lawyer goes"),
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
