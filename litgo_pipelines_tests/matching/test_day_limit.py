"""Nobody is offered more in a short time than capacity allows, while others can be asked."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.matching.allocation import OFFERS_PER_CASE
from litgo_pipelines.matching.day_limit import BURST_DAYS, SPANS, free
from litgo_pipelines.matching.nearest import turns
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.replay import Ledger
from litgo_pipelines.settings import Settings
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match
from litgo_pipelines_tests.worlds.sessions import ask

flags = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12)


@pytest.mark.parametrize(
    ("capacity", "burst", "in_a_day"), [(30, 0, 5), (30, 2, 15), (12, 0.5, 3), (6, 0, 1), (1, 0, 1), (0.1, 3, 1)]
)
def test_a_day_s_offers_are_the_day_s_share_of_capacity_and_the_burst(
    capacity: float, burst: float, in_a_day: int
) -> None:
    offers = 0
    while free(np.full((len(SPANS), 1), float(offers)), np.array([capacity]), burst)[0]:
        offers += 1
    assert offers == in_a_day


def test_a_replay_has_the_burst_that_serves_by_default() -> None:
    assert Settings.model_fields["offer_burst_days"].default == Plan().offer_burst_days == BURST_DAYS


@given(st.lists(st.floats(0, 4), min_size=1, max_size=300), st.sampled_from([5.0, 10.0, 30.0]), st.floats(0, 7))
def test_no_stretch_has_more_than_its_days_and_the_burst(pauses: list[float], capacity: float, burst: float) -> None:
    """Offered whenever the bucket allows it, at any moments."""
    ledger, made = Ledger.empty(1, window=30.0), []
    for at in np.cumsum(pauses).tolist():
        ledger.advance(at)
        if free(ledger.offers_in, np.array([capacity]), burst)[0]:
            ledger.reserve(np.array([0]), at)
            made.append(at)
    for days in SPANS:
        allowed = max(1.0, (days + burst) * capacity * OFFERS_PER_CASE / 30)
        assert all(sum(at - days < other <= at for other in made) <= allowed + 1e-6 for at in made)


@given(flags, st.integers(1, 5))
def test_who_is_over_the_limit_comes_after_all_who_are_not(pool: list[tuple[bool, bool]], k: int) -> None:
    near, able = (np.array([row[i] for row in pool], bool) for i in (0, 1))
    first, rest = turns(near, able, k)
    assert not set(first) & set(rest)
    assert len(first) < k
    assert len(first) + len(rest) >= min(k, len(pool))  # as many offers as ever
    if not able[rest].all():
        assert able[first].sum() == able.sum()
    if near.sum() < k:
        assert set(np.flatnonzero(near & able)) <= {*first, *rest}


def test_an_idle_lawyer_is_not_flooded_and_no_case_goes_without(database_url: str) -> None:
    fill(database_url, lawyers=12, cases=20)
    ask(database_url, "UPDATE cases SET area = 'Civil'")
    ask(database_url, "UPDATE litgo.equity_history SET capacidade_mensal = 12, cases_30d = 9")
    ask(database_url, "UPDATE litgo.equity_history SET cases_30d = 0 WHERE lawyer_id = md5('lawyer 1')::uuid")
    match(database_url, Plan(exploration=0, offer_burst_days=1))
    counts = "SELECT count(*) FROM offers GROUP BY {} ORDER BY 1"
    assert ask(database_url, counts.format("case_id")) == [(5,)] * 20
    # all twelve have four each, then everybody is over it: the rest goes to the least loaded, as ever
    noted = "SELECT min(matched_at) FROM litgo.matchings, jsonb_array_elements(considered) e WHERE e ? 'over_day_limit'"
    ((since,),) = ask(database_url, noted)
    before = ask(database_url, "SELECT count(*) FROM offers WHERE sent_at < %s GROUP BY lawyer_id ORDER BY 1", (since,))
    assert before[-1] == (4,)
    full = "SELECT count(*) FROM offers WHERE lawyer_id = md5('lawyer 1')::uuid"
    ((idle,),) = ask(database_url, full)
    assert idle < 20


def test_the_bucket_fills_again(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ask(database_url, "UPDATE cases SET area = 'Civil'")
    ask(database_url, "UPDATE litgo.equity_history SET capacidade_mensal = 6, cases_30d = 0")
    ask(
        database_url,
        "INSERT INTO cases (id, client_id, area, status, created_at) VALUES "
        "(md5('old')::uuid, md5('client 1')::uuid, 'Civil', 'closed', %s)",
        (AS_OF,),
    )
    ask(
        database_url,
        "INSERT INTO offers (case_id, lawyer_id, status, sent_at, expires_at) VALUES (md5('old')::uuid, "
        "md5('lawyer 1')::uuid, 'pending', %s, %s)",
        (AS_OF - timedelta(hours=23), AS_OF),
    )
    match(database_url, Plan(exploration=0, offer_burst_days=0))
    got = "SELECT count(*) FROM offers WHERE lawyer_id = md5('lawyer 1')::uuid AND status = 'pending' AND sent_at >= %s"
    assert ask(database_url, got, (AS_OF,)) == [(0,)]
    ((considered,),) = ask(database_url, "SELECT considered FROM litgo.matchings")
    assert [entry.get("over_day_limit") for entry in considered] == [None] * 5 + [True]
    ask(database_url, "UPDATE offers SET sent_at = sent_at - interval '2 hours', status = 'declined'")
    ask(database_url, "UPDATE cases SET status = 'closed'")
    ask(database_url, "UPDATE lawyers SET is_available = id = md5('lawyer 1')::uuid")
    ask(
        database_url,
        "INSERT INTO cases (id, client_id, area, coords, created_at) VALUES (md5('new')::uuid, "
        "md5('client 2')::uuid, 'Civil', point(-46.63,-23.55), %s)",
        (AS_OF,),
    )
    match(database_url, Plan(exploration=0, offer_burst_days=0), as_of=AS_OF + timedelta(minutes=1))
    assert ask(database_url, got, (AS_OF,)) == [(1,)]
