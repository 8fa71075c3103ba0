"""Metric state: counters and histograms kept as rows, so that they outlive the short processes that do the work.

Belongs here: every metric with its labels and buckets, and the one statement that increments rows. Work adds its deltas
in its own transaction: what is rolled back was never counted, what is run again is counted once.
"""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import NamedTuple

from litgo_pipelines.database import Cursor
from litgo_pipelines.jobs import JOBS

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
WAITING = (2.5, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

# One row of litgo.metric_state and what to add to it: name, labels, value.
Delta = tuple[str, Mapping[str, str], float]


class Metric(NamedTuple):
    """`labels`: label → the values it may take, so that the number of series is bounded; `buckets`: of a histogram."""

    help: str
    labels: Mapping[str, tuple[str, ...]]
    buckets: tuple[float, ...] = ()


METRICS: dict[str, Metric] = {
    "triage_requests_total": Metric("Cases triaged.", {"status": ("classified", "review", "failed")}),
    "triage_source_total": Metric(
        "Who decided a case's area and subarea.", {"source": ("openai", "local", "client", "person")}
    ),
    "triage_openai_fallback_total": Metric(
        "Cases the local classifier took because OpenAI gave no usable answer.",
        {"reason": ("timeout", "unavailable", "rejected", "refused", "invalid", "skipped")},
    ),
    "openai_withheld_total": Metric(
        "Texts kept from OpenAI: no consent, or a family, criminal or health matter by area or by what it says.",
        {"use": ("triage", "embedding"), "reason": ("no_consent", "area", "text")},
    ),
    "triage_duration_seconds": Metric("Seconds to triage one case.", {}, SECONDS),
    "matches_found_total": Metric("Cases for which at least one lawyer was found.", {}),
    "matching_failures_total": Metric("Tries to match a case that failed.", {"outcome": ("retried", "dead")}),
    "ranker_used_total": Metric("Cases ranked, by what ranked them.", {"ranker": ("model", "hand_weights")}),
    "ranker_fallback_total": Metric(
        "Batches ranked by the heuristic ranker although a champion exists.", {"reason": ("unavailable", "broken")}
    ),
    "offers_created_total": Metric("Offers made to lawyers.", {}),
    "offers_explored_total": Metric("Offers made by chance, with known propensity.", {}),
    "offers_expired_total": Metric("Offers not answered in time.", {}),
    "case_to_offers_seconds": Metric(
        "Seconds from a case's creation to its first offers; not of cases that waited for a person's decision or for a "
        "lawyer to be free.",
        {},
        WAITING,
    ),
    "matching_duration_seconds": Metric("Seconds from a case's turn to its offers being sent to commit.", {}, SECONDS),
}

SERVICES = ("openai", "docusign", "onesignal", "sendgrid")
OPERATIONS = (
    "chat_completion",
    "embeddings",
    "token",
    "create_envelope",
    "find_envelope",
    "read_envelope",
    "void_envelope",
    "push",
    "mail",
    "suppressions",
)
FAILURES = ("timeout", "unavailable", "rate_limited", "rejected", "invalid", "certificate")
METRICS |= {
    "api_requests_total": Metric(
        "Calls to external services, retries included, by what they came to.",
        {"service": SERVICES, "operation": OPERATIONS, "outcome": ("ok", *FAILURES, "circuit_open")},
    ),
    "api_attempts_total": Metric(
        "HTTP requests to external services, each attempt for itself.",
        {"service": SERVICES, "operation": OPERATIONS, "outcome": ("ok", *FAILURES)},
    ),
    "api_timeouts_total": Metric("Attempts without a complete answer in time.", {"service": SERVICES}),
    "external_api_duration_seconds": Metric(
        "Seconds of a call to an external service, retries and waits included.",
        {"service": SERVICES, "operation": OPERATIONS},
        SECONDS,
    ),
    "fallback_usage_total": Metric(
        "Times the fallback stood in for an external service.",
        {"service": SERVICES, "reason": (*FAILURES, "circuit_open")},
    ),
}


PAPER_REASONS = (
    "email_bounced",
    "envelope_missing",
    "envelope_deleted",
    "recipients_replaced",
    "not_signed",
    "docusign_unreachable",
)
METRICS |= {
    "embedding_source_total": Metric("Texts embedded, by where.", {"source": ("local", "openai")}),
    "contract_creation_method_total": Metric(
        "Contracts brought to signature, by how.", {"method": ("docusign", "manual")}
    ),
    "contract_envelopes_abandoned_total": Metric(
        "Envelopes given up for a signature on paper, by why.", {"reason": PAPER_REASONS}
    ),
    "contracts_signed_total": Metric("Contracts that both parties have signed.", {}),
    "notifications_sent_total": Metric(
        "Messages, by channel and what came of them. Accepted: by the provider; merged: part of another one.",
        {"type": ("push", "email"), "status": ("accepted", "merged", "failed", "dead")},
    ),
    "notifications_suppressed_total": Metric(
        "Messages to an address SendGrid does not deliver to, by how they went instead.", {"instead": ("push", "none")}
    ),
    "mail_suppressions_total": Metric(
        "Addresses that came onto SendGrid's suppression lists.",
        {"list": ("bounces", "blocks", "invalid_emails", "spam_reports", "unsubscribes")},
    ),
    "notifications_possible_duplicates_total": Metric(
        "Messages sent again because nobody knows whether the first one arrived.", {"type": ("push", "email")}
    ),
    "notification_duration_seconds": Metric(
        "Seconds from a message's row to its delivery.", {"type": ("push", "email")}, (*SECONDS, 300.0, 900.0, 3600.0)
    ),
}

METRICS |= {
    "retrainings_total": Metric(
        "Retrainings begun: by enough reviews, or by a person.", {"reason": ("volume", "manual")}
    ),
    "model_transitions_total": Metric(
        "Entries of the ledger of model versions; docs/model-lifecycle.md.",
        {"transition": ("candidate", "challenger", "champion", "archived", "rolled_back", "freeze_lifted", "sealed")},
    ),
}

METRICS |= {
    "artifact_store_looks_total": Metric(
        "Looks at the store of the models' files, through MLflow, once a version is registered.",
        {"outcome": ("ok", "failed")},
    ),
}

OTHER_JOB = "other"  # an ad-hoc materialisation
JOB_NAMES = (*JOBS, OTHER_JOB)
METRICS |= {
    "job_executions_total": Metric(
        "Runs of Dagster jobs that ended.", {"job_name": JOB_NAMES, "status": ("success", "failure", "canceled")}
    ),
    "job_duration_seconds": Metric(
        "Seconds from a run's start to its end.",
        {"job_name": JOB_NAMES},
        (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0),
    ),
}


def count(name: str, value: float = 1, **labels: str) -> Delta:
    """`value` more of a counter. Raises ValueError for a metric, label or label value that METRICS does not have."""
    metric = METRICS.get(name)
    if metric is None or metric.buckets:
        raise ValueError(f"no counter {name!r}: add it to METRICS")
    _check(name, metric, labels)
    if not value >= 0:
        raise ValueError(f"{name}: a counter only grows, not by {value!r}")
    return name, labels, value


def observe(name: str, value: float, **labels: str) -> list[Delta]:
    """One observation of a histogram: its bucket (kept apart, not cumulated) and its sum. Raises as `count`.

    A time that nobody can tell is none. Between two clocks it may be less than nothing: a sum that falls would be taken
    for one that began anew.
    """
    metric = METRICS.get(name)
    if metric is None or not metric.buckets:
        raise ValueError(f"no histogram {name!r}: add it to METRICS")
    _check(name, metric, labels)
    if not isfinite(value):
        return []
    value = max(0.0, value)
    bucket = next((f"{limit:g}" for limit in metric.buckets if value <= limit), "+Inf")
    return [(f"{name}_bucket", {**labels, "le": bucket}, 1), (f"{name}_sum", labels, value)]


def _check(name: str, metric: Metric, labels: Mapping[str, str]) -> None:
    if set(labels) != set(metric.labels):
        raise ValueError(f"{name} has the labels {sorted(metric.labels)}, not {sorted(labels)}")
    for label, value in labels.items():
        if value not in metric.labels[label]:
            raise ValueError(f"{name}: {label}={value!r} is not one of {metric.labels[label]}")


def columns(deltas: Iterable[Delta]) -> tuple[list[str], list[str], list[float]]:
    """Deltas, summed by row, as the three arrays `ADD` unnests: names, labels as JSON, values.

    In one order everywhere, so that transactions that touch the same rows cannot deadlock.
    """
    rows: dict[tuple[str, str], float] = {}
    for name, labels, value in deltas:
        key = name, json.dumps(dict(labels), sort_keys=True) if labels else "{}"
        rows[key] = rows.get(key, 0) + value
    ordered = sorted(rows)
    return [name for name, _ in ordered], [labels for _, labels in ordered], [rows[key] for key in ordered]


ADD = """
INSERT INTO litgo.metric_state AS m (name, labels, value)
SELECT * FROM unnest(%s::text[], %s::jsonb[], %s::float8[])
ON CONFLICT (name, labels) DO UPDATE SET value = m.value + excluded.value
"""


def add(cursor: Cursor, deltas: Iterable[Delta]) -> None:
    """Add to the rows, in the caller's transaction."""
    names, labels, values = columns(deltas)
    if names:
        cursor.execute(ADD, (names, labels, values))
