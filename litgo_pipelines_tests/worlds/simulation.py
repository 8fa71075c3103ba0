"""One small simulated marketplace, loaded once for all tests that only read it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from litgo_pipelines.simulation.load import simulate
from litgo_pipelines_tests.support import fresh_database

END = datetime(2026, 6, 30, 5, 0, tzinfo=UTC)  # a Tuesday, 02:00 in São Paulo
SMALL: dict[str, Any] = {"seed": 7, "lawyers": 400, "cases": 3000, "days": 84, "end": END, "progress": False}


@pytest.fixture(scope="session")
def simulated_url(postgres_server_url: str, migrated_template: str) -> Iterator[str]:
    with fresh_database(postgres_server_url, migrated_template) as url:
        simulate(url, **SMALL)
        yield url


# Each statement counts rows that contradict the rule in its name.
NEVER = {
    "two open contracts on a case": """SELECT count(*) FROM (SELECT FROM contracts
        WHERE status IN ('pending-signature', 'active') GROUP BY case_id HAVING count(*) > 1) x""",
    "two contracts on a case": "SELECT count(*) - count(DISTINCT case_id) FROM contracts",
    "a contract of a lawyer who was not interested": """SELECT count(*) FROM contracts c LEFT JOIN offers o
        USING (case_id, lawyer_id) WHERE o.status IS DISTINCT FROM 'interested' OR o.responded_at > c.created_at""",
    "a contract of another client": """SELECT count(*) FROM contracts JOIN cases ON cases.id = case_id
        WHERE contracts.client_id <> cases.client_id""",
    "a signature that does not fit the status": """SELECT count(*) FROM contracts WHERE
        (status IN ('active', 'closed')) <> (signed_client IS NOT NULL AND signed_lawyer IS NOT NULL)""",
    "a review without a running or closed contract": """SELECT count(*) FROM reviews r JOIN contracts c
        ON c.id = contract_id WHERE c.status NOT IN ('active', 'closed') OR r.created_at <= greatest(
        c.signed_client, c.signed_lawyer) OR (r.lawyer_id, r.client_id) <> (c.lawyer_id, c.client_id)""",
    "a final outcome of a running contract": """SELECT count(*) FROM reviews r JOIN contracts c ON c.id = contract_id
        WHERE c.status = 'active' AND r.outcome <> 'ongoing'""",
    "more than five offers a case": "SELECT count(*) FROM (SELECT FROM offers GROUP BY case_id HAVING count(*) > 5) x",
    "an offer without features logged before it": """SELECT count(*) FROM offers o LEFT JOIN case_matches m
        USING (case_id, lawyer_id) WHERE m.created_at IS NULL OR m.created_at > o.sent_at""",
    "a match without an offer": """SELECT count(*) FROM case_matches m LEFT JOIN offers o USING (case_id, lawyer_id)
        WHERE o.id IS NULL""",
    "a feature outside [0, 1]": """SELECT count(*) FROM case_matches, jsonb_each(features)
        WHERE value <> 'null' AND NOT value::numeric BETWEEN 0 AND 1""",
    "a missing feature that is not flagged": """SELECT count(*) FROM case_matches, jsonb_each(features)
        WHERE value = 'null' AND NOT breakdown->'imputed' ? key""",
    "other features than the eight": """SELECT count(*) FROM case_matches WHERE
        (SELECT string_agg(key, '' ORDER BY key) FROM jsonb_object_keys(features) key) <> 'ACGQRSTU'""",
    "an offer before the case": """SELECT count(*) FROM offers o JOIN cases c ON c.id = case_id
        WHERE o.sent_at <= c.created_at""",
    "an offer to someone who had not joined": """SELECT count(*) FROM offers o JOIN lawyers l ON l.id = lawyer_id
        WHERE o.sent_at <= l.created_at OR NOT l.is_available""",
    "an offer outside the area": """SELECT count(*) FROM offers o JOIN lawyers l ON l.id = lawyer_id
        JOIN cases c ON c.id = case_id WHERE NOT c.area = ANY (l.tags_expertise)""",
    "a primary area not among the tags": "SELECT count(*) FROM lawyers WHERE NOT primary_area = ANY (tags_expertise)",
    "an answer that does not fit the status": """SELECT count(*) FROM offers WHERE
        (status IN ('interested', 'declined')) <> (responded_at IS NOT NULL)
        OR responded_at <= sent_at OR responded_at > expires_at OR expires_at <> sent_at + interval '24 hours'""",
    "an event after the end": f"""SELECT count(*) FROM (
        SELECT created_at FROM profiles UNION ALL SELECT created_at FROM lawyers UNION ALL SELECT created_at FROM cases
        UNION ALL SELECT created_at FROM case_matches UNION ALL SELECT sent_at FROM offers
        UNION ALL SELECT responded_at FROM offers UNION ALL SELECT created_at FROM contracts
        UNION ALL SELECT signed_client FROM contracts UNION ALL SELECT signed_lawyer FROM contracts
        UNION ALL SELECT created_at FROM reviews) x WHERE created_at > '{END.isoformat()}'""",
    "an offer still open a day later": f"""SELECT count(*) FROM offers
        WHERE (status = 'pending') AND expires_at <= '{END.isoformat()}'""",
    "an expired offer that had time": f"""SELECT count(*) FROM offers
        WHERE (status = 'expired') AND expires_at > '{END.isoformat()}'""",
    "a rating that is not what the reviews say": """SELECT count(*) FROM lawyers l LEFT JOIN (SELECT lawyer_id,
        count(*) AS n, round(avg(rating), 2) AS mean FROM reviews GROUP BY 1) r ON r.lawyer_id = l.id
        WHERE l.review_count <> coalesce(r.n, 0) OR abs(l.rating - r.mean) > 0.01
        OR (l.rating IS NULL) <> (r.n IS NULL)""",
    "an address outside example.com": "SELECT count(*) FROM profiles WHERE email NOT LIKE '%@example.com'",
    "an unrecognisable id": "SELECT count(*) FROM offers WHERE id::text NOT LIKE '51a1%'",
}
