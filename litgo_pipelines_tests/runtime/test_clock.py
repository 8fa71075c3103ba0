"""What was written while a clock was two days ahead holds nothing up once it is right. Deliveries: their own tests."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from litgo_pipelines.contracts import requests
from litgo_pipelines.database import connect
from litgo_pipelines.intake import batch as triage
from litgo_pipelines.matching.claim import waiting_cases
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.record import record_failure
from litgo_pipelines.resources.bounded import BriefDatabase
from litgo_pipelines.resources.circuit_breaker import CircuitBreaker
from litgo_pipelines_tests.worlds.rows import Marketplace

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
AHEAD = timedelta(days=2)


@pytest.mark.parametrize(("clock", "found"), [(timedelta(0), 0), (AHEAD, 1)])
def test_a_case_that_failed_is_tried_again(database_url: str, clock: timedelta, found: int) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        market = Marketplace(connection, NOW)
        untriaged = market.case(area=None)
        failure = {"case": untriaged, "reason": "e", "at": NOW + clock, "retry": triage.RETRY}
        cursor.execute(triage.FAILED, failure)
        given = {"subarea": "Contratos", "urgency_h": 24, "complexity": "LOW"}
        record_failure(cursor, market.case(**given), "e", NOW + clock)
        assert [case.case_id for case in triage.pending(cursor, NOW, 10)].count(untriaged) == found
        assert len(waiting_cases(cursor, Plan(limit=10), NOW)) == found


@pytest.mark.parametrize(("ahead", "found"), [(timedelta(minutes=1), 0), (AHEAD, 1)])
def test_a_contract_that_was_refused_or_claimed_is_taken_again(database_url: str, ahead: timedelta, found: int) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        market = Marketplace(connection, NOW)
        refused, sending = (market.contract(market.case(), market.lawyer(), status="pending-signature") for _ in "12")
        cursor.execute(requests.REFUSE, {"contract": refused, "transaction": refused, "reason": "e", "at": NOW + ahead})
        lease = ahead.total_seconds()
        claim = {"contract": sending, "transaction": sending, "at": NOW, "claim": sending, "lease": lease}
        cursor.execute(requests.CLAIM, claim)
        waiting = {each.contract_id for each in requests.pending(cursor, NOW, 10)}
        assert waiting == ({refused, sending} if found else set())
        cursor.execute(requests.CLAIM_AGAIN, claim)
        assert cursor.rowcount == found


@pytest.mark.parametrize(("pause", "probe"), [(600, False), (AHEAD.total_seconds(), True)])
def test_a_breaker_lets_a_probe_through(database_url: str, pause: float, probe: bool) -> None:
    with closing(BriefDatabase(database_url)) as database:
        breaker = CircuitBreaker("openai", database, threshold=1, pause_seconds=pause)
        assert breaker.failed(breaker.admit(10), "timeout")
        assert breaker.admit(10).probe is probe
