"""No feature of a case knows anything after its offers: a simulated marketplace, and the same cut at the instant."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from litgo_pipelines.database import open_connection
from litgo_pipelines.evidence.refresh import refresh
from litgo_pipelines.matching import candidate_sets, momentum_night
from litgo_pipelines.matching.candidate_sets import CandidateSet
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.models.features import BASE
from litgo_pipelines.simulation.load import simulate
from litgo_pipelines_tests.worlds.matching import match
from litgo_pipelines_tests.worlds.sessions import ask, kept

END = datetime(2026, 6, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)

# Everything that came at the instant or later, as if the marketplace had been copied at it.
CUT = (
    "DELETE FROM reviews WHERE created_at >= %(at)s",
    "DELETE FROM contracts WHERE created_at >= %(at)s",
    "UPDATE contracts SET signed_client = CASE WHEN signed_client < %(at)s THEN signed_client END, signed_lawyer = "
    "CASE WHEN signed_lawyer < %(at)s THEN signed_lawyer END",
    "DELETE FROM offers WHERE sent_at >= %(at)s",
    "UPDATE offers SET status = 'pending', responded_at = NULL WHERE responded_at >= %(at)s OR (responded_at IS NULL "
    "AND expires_at >= %(at)s)",
    "DELETE FROM case_matches WHERE created_at >= %(at)s",
    "DELETE FROM cases WHERE created_at >= %(at)s",
)
AGAIN = (
    *(
        f"DELETE FROM litgo.{table}"
        for table in (
            "matchings",
            "matching_batches",
            "candidate_sets",
            "exposures",
            "outbox",
            "lawyer_evidence",
            "lawyer_subarea_evidence",
            "evidence_refresh",
            "review_sentiment",
            "lawyer_momentum",
        )
    ),
)


def sets_at(url: str, at: datetime) -> dict[str, CandidateSet]:
    """What is logged of the waiting cases, matched at the instant after the night before it."""
    connection = open_connection(url)
    try:
        with connection:
            refresh(connection, at - DAY / 2)
        with connection, connection.cursor() as cursor:
            momentum_night.refresh(cursor, at - DAY / 2)
    finally:
        connection.close()
    match(url, Plan(exploration=0), at)
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT case_id::text FROM litgo.matchings")
        return candidate_sets.read(cursor, [case for (case,) in cursor.fetchall()])


@pytest.mark.timeout(200)
def test_features_are_the_same_bytes_whether_the_future_is_there_or_not(database_url: str) -> None:
    simulate(database_url, seed=5, lawyers=150, cases=900, days=60, end=END, progress=False)
    at = END - 10 * DAY
    ask(database_url, "UPDATE cases SET status = 'closed' WHERE status = 'pending_assignment'")
    waiting = [
        case
        for (case,) in ask(
            database_url, "SELECT id::text FROM cases WHERE created_at < %s ORDER BY created_at DESC LIMIT 12", (at,)
        )
    ]
    for statement in (
        "DELETE FROM reviews WHERE contract_id IN (SELECT id FROM contracts WHERE case_id = ANY(%(cases)s::uuid[]))",
        "DELETE FROM contracts WHERE case_id = ANY(%(cases)s::uuid[])",
        "DELETE FROM offers WHERE case_id = ANY(%(cases)s::uuid[])",
        "DELETE FROM case_matches WHERE case_id = ANY(%(cases)s::uuid[])",
        "UPDATE cases SET status = 'pending_assignment' WHERE id = ANY(%(cases)s::uuid[])",
    ):
        ask(database_url, statement, {"cases": waiting})
    (later,) = ask(database_url, "SELECT count(*) FROM reviews WHERE created_at >= %s", (at,))[0]
    assert later > 20
    whole = sets_at(database_url, at)
    for statement in (*CUT, *AGAIN):
        ask(database_url, statement, {"at": at})
    cut = sets_at(database_url, at)
    assert set(whole) == set(cut)
    assert len(cut) > 8
    for case, found in whole.items():
        assert found.lawyer_ids == cut[case].lawyer_ids
        later_known = {
            (lawyer, key): values
            for lawyer, *pair in zip(found.lawyer_ids, found.features, cut[case].features, strict=True)
            for key, *values in zip(BASE, *pair, strict=True)
            if np.array(values[0]).tobytes() != np.array(values[1]).tobytes()
        }
        assert later_known == {}
    known = np.concatenate([found.features for found in cut.values()])
    missing = {key for key, share in zip(BASE, np.isnan(known).mean(axis=0), strict=True) if share == 1}
    assert missing <= {"S"}  # else the test would prove little
