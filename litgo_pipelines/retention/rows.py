"""Pruning of rows in our own schema, a few thousand per statement. Append-only tables are never pruned."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from litgo_pipelines.database import Connection, Cursor, in_transaction, sql
from litgo_pipelines.observability.metrics import METRICS

BATCH = 5_000
# kind → statements, each of which deletes at most %(batch)s rows older than %(before)s
STATEMENTS: dict[str, tuple[str, ...]] = {
    "messages": (
        "DELETE FROM litgo.outbox WHERE message_id IN (SELECT message_id FROM litgo.outbox "
        "WHERE created_at < %(before)s AND settled_at < %(before)s AND status IN ('accepted', 'merged', 'superseded') "
        "ORDER BY message_id LIMIT %(batch)s)",
        "DELETE FROM litgo.deliveries WHERE delivery_id IN (SELECT delivery_id FROM litgo.deliveries d "
        "WHERE status <> 'open' AND finished_at < %(before)s "
        "AND NOT EXISTS (SELECT FROM litgo.outbox o WHERE o.delivery_id = d.delivery_id) LIMIT %(batch)s)",
    ),
    "messages_dead": (
        "DELETE FROM litgo.outbox WHERE message_id IN (SELECT message_id FROM litgo.outbox WHERE status = 'dead' "
        "AND settled_at < %(before)s LIMIT %(batch)s)",
    ),
    "job_runs": (
        "DELETE FROM litgo.job_runs WHERE run_id IN (SELECT run_id FROM litgo.job_runs r WHERE ended_at < %(before)s "
        "AND EXISTS (SELECT FROM litgo.job_runs n WHERE n.job_name = r.job_name AND n.status = r.status "
        "AND n.ended_at > r.ended_at) LIMIT %(batch)s)",
    ),
    "metric_state": (
        "DELETE FROM litgo.metric_state WHERE regexp_replace(name, '_(bucket|sum)$', '') <> ALL(%(served)s) "
        "AND name <> ALL(%(served)s)",
    ),
    "matching_failures": (
        "DELETE FROM litgo.matching_failures WHERE case_id IN (SELECT f.case_id FROM litgo.matching_failures f "
        "JOIN cases c ON c.id = f.case_id WHERE f.last_failed_at < %(before)s AND c.status <> 'pending_assignment' "
        "LIMIT %(batch)s)",
        "DELETE FROM litgo.case_waits WHERE case_id IN (SELECT v.case_id FROM litgo.case_waits v "
        "JOIN cases c ON c.id = v.case_id WHERE v.looked_at < %(before)s AND c.status <> 'pending_assignment' "
        "LIMIT %(batch)s)",
        "DELETE FROM litgo.case_duplicates WHERE case_id IN (SELECT d.case_id FROM litgo.case_duplicates d "
        "JOIN cases c ON c.id = d.case_id WHERE d.seen_at < %(before)s AND c.status <> 'pending_assignment' "
        "LIMIT %(batch)s)",
        "DELETE FROM litgo.told WHERE (kind, subject) IN (SELECT t.kind, t.subject FROM litgo.told t "
        "JOIN cases c ON c.id::text = t.subject WHERE t.told_at < %(before)s AND c.status IN ('closed', 'cancelled') "
        "LIMIT %(batch)s)",
    ),
    "candidate_sets": (
        "DELETE FROM litgo.candidate_sets WHERE (case_id, round) IN (SELECT case_id, round FROM litgo.candidate_sets "
        "WHERE matched_at < %(before)s ORDER BY matched_at LIMIT %(batch)s)",
    ),
    "availability": (
        "DELETE FROM litgo.lawyer_availability WHERE (lawyer_id, valid_from) IN (SELECT lawyer_id, valid_from "
        "FROM litgo.lawyer_availability WHERE valid_to < %(before)s ORDER BY valid_to LIMIT %(batch)s)",
    ),
    "triage": (
        "DELETE FROM litgo.triage WHERE case_id IN (SELECT t.case_id FROM litgo.triage t "
        "JOIN cases c ON c.id = t.case_id WHERE t.as_of < %(before)s AND c.created_at < %(before)s "
        "AND c.status IN ('closed', 'cancelled') LIMIT %(batch)s)",
    ),
    "documents": (
        "DELETE FROM litgo.contract_documents WHERE contract_id IN (SELECT d.contract_id "
        "FROM litgo.contract_documents d JOIN contracts c ON c.id = d.contract_id WHERE d.created_at < %(before)s "
        "AND c.status IN ('closed', 'canceled') LIMIT %(batch)s)",
        sql("litgo_pipelines.retention", "contract_requests.sql"),
    ),
    "vectors": (
        sql("litgo_pipelines.retention", "vectors.sql").replace(
            "{sources}", sql("litgo_pipelines.embeddings", "sources.sql")
        ),
    ),
    "pseudonym_keys": (
        "DELETE FROM litgo.pseudonym_keys WHERE request_id IN (SELECT k.request_id FROM litgo.pseudonym_keys k "
        "JOIN litgo.person_requests r USING (request_id) WHERE k.made_at < %(before)s AND r.done_at IS NOT NULL "
        "LIMIT %(batch)s)",
    ),
    "explanations": (
        "UPDATE litgo.matchings SET considered = '[]' WHERE (case_id, round) IN (SELECT case_id, round FROM "
        "litgo.matchings WHERE matched_at < %(before)s AND considered <> '[]' ORDER BY matched_at LIMIT %(batch)s)",
    ),
}


def let_go(connection: Connection, kind: str, before: datetime, batch: int = BATCH) -> int:
    """Rows that went; each batch is committed, so that a kill loses nothing and nobody waits long for a lock."""
    values: Mapping[str, Any] = {
        "before": before,
        "as_of": before,  # of texts: those a case or lawyer had by then, and has still
        "batch": batch,
        "served": list(METRICS),
    }

    def one(statement: str) -> int:
        def work(cursor: Cursor) -> int:
            cursor.execute(statement, values)
            return int(cursor.rowcount)

        return in_transaction(connection, work)

    total = 0
    for statement in STATEMENTS[kind]:
        while gone := one(statement):
            total += gone
            if gone < batch:
                break
    return total
