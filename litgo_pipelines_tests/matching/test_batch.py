"""A batch against a real Postgres: who is offered what, what is written with it, and what a kill or a rival leaves."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from benchmarks.matching import TAKE_BACK
from litgo_pipelines.matching import record
from litgo_pipelines.matching.expiry import shorten
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.record import ATTEMPTS
from litgo_pipelines.models.features import FEATURES, KEYS
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines_tests.worlds.matching import AS_OF, MINUTE, fill, killed_match, match, offers
from litgo_pipelines_tests.worlds.processes import killed
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask, kept


def metric(url: str, name: str) -> float:
    return ask(url, "SELECT coalesce(sum(value), 0) FROM litgo.metric_state WHERE name = %s", (name,))[0][0]


def test_a_case_gets_five_offers_with_everything_that_goes_with_them(database_url: str) -> None:
    fill(database_url)
    (result,) = match(database_url, Plan(exploration=0))
    assert (result.matched, result.offers, result.failures) == (12, 60, {})
    assert ask(database_url, "SELECT count(*), count(DISTINCT case_id) FROM offers WHERE status = 'pending'") == [
        (60, 12)
    ]
    lived = "SELECT DISTINCT c.urgency_h, o.expires_at - o.sent_at FROM offers o JOIN cases c ON c.id = o.case_id"
    for urgency, term in ask(database_url, lived):
        assert term == timedelta(hours=min(24, urgency / 2))
    wrong = """
        SELECT count(*)
        FROM offers o JOIN case_matches m USING (case_id, lawyer_id) JOIN lawyers l ON l.id = o.lawyer_id
        WHERE m.created_at > o.sent_at OR m.raw_score <> o.raw_score OR l.last_offered_at < o.sent_at
           OR NOT m.breakdown ? 'propensity' OR NOT EXISTS (
               SELECT FROM litgo.outbox b WHERE b.recipient_id = o.lawyer_id AND b.payload ->> 'offer_id' = o.id::text)
    """
    assert ask(database_url, wrong) == [(0,)]
    exposed = ask(database_url, "SELECT count(*), min(ranker), count(DISTINCT client_id) FROM litgo.exposures")
    assert exposed == [(12, "hand_weights", 12)]
    assert metric(database_url, "offers_created_total") == 60
    assert metric(database_url, "matches_found_total") == 12
    assert metric(database_url, "matching_duration_seconds_bucket") == 12
    assert metric(database_url, "case_to_offers_seconds_bucket") == 12
    assert match(database_url) == []  # nothing is left
    assert metric(database_url, "offers_created_total") == 60


def test_the_most_urgent_case_goes_first_and_its_offers_live_half_of_its_urgency_at_most(database_url: str) -> None:
    fill(database_url, 8, 4)
    for place, hours in enumerate(("4", "72", "NULL", "30")):
        ask(
            database_url,
            f"UPDATE cases SET urgency_h = {hours} WHERE id = "
            f"(SELECT id FROM cases ORDER BY created_at DESC, id OFFSET {place} LIMIT 1)",
        )
    match(database_url)
    found = ask(
        database_url,
        "SELECT c.urgency_h, extract(epoch FROM o.expires_at - o.sent_at)::int / 60 FROM cases c JOIN offers o "
        "ON o.case_id = c.id GROUP BY 1, 2 ORDER BY min(o.sent_at)",
    )
    assert found[:2] == [(4, 2 * 60), (30, 15 * 60)]
    assert sorted(found[2:], key=str) == [(72, 24 * 60), (None, 24 * 60)]


def test_offers_of_a_case_that_became_urgent_end_sooner_once(database_url: str) -> None:
    fill(database_url, cases=4)
    match(database_url, Plan(exploration=0))
    at = AS_OF + timedelta(hours=1)
    ask(
        database_url,
        "INSERT INTO litgo.triage (case_id, as_of, status, urgency_h, urgency_source, complexity, sources, "
        "alternatives) SELECT id, CASE WHEN place = 4 THEN %(late)s::timestamptz ELSE %(at)s END, 'classified', "
        "CASE WHEN place > 2 THEN 4 ELSE urgency_h END, 'text', 'LOW', '{}', '[]' "
        "FROM (SELECT *, row_number() OVER (ORDER BY id) AS place FROM cases) c",
        {"at": at, "late": AS_OF - timedelta(hours=1)},
    )
    before = "SELECT case_id, lawyer_id, expires_at FROM offers"
    told = (
        "SELECT case_id FROM offers o JOIN litgo.outbox m ON (m.payload ->> 'expires_at')::timestamptz = o.expires_at "
    )
    was = set(ask(database_url, before))
    with kept(database_url) as connection:
        assert shorten(connection, at, 0.5) == (5, {})
        assert shorten(connection, at + timedelta(minutes=30), 0.5) == (0, {})
        changed = set(ask(database_url, before)) - was
        assert {expires - at for *_, expires in changed} == {timedelta(hours=2)}
        assert len({case for case, *_ in changed}) == 1
        assert ask(database_url, f"SELECT count(*) FROM ({told} AND m.recipient_id = o.lawyer_id) t") == [(20,)]
        assert ask(database_url, "SELECT count(*) FROM litgo.outbox WHERE kind = 'offer'") == [(20,)]
        # its client says so in the marketplace, which is no new text
        ask(database_url, "UPDATE cases SET urgency_h = 4 WHERE id = (SELECT max(id::text)::uuid FROM cases)")
        at += timedelta(minutes=30)
        assert [shorten(connection, at + n * timedelta(minutes=1), 0.5) for n in (0, 1)] == [(5, {}), (0, {})]
        # a marketplace that takes no other term stops nobody
        ask(database_url, "UPDATE litgo.triage SET urgency_h = 1")
        ask(database_url, "ALTER TABLE public.offers ADD CHECK (expires_at > sent_at + interval '3 hours') NOT VALID")
        shortened, refused = shorten(connection, at, 0.5)
        assert (shortened, len(refused)) == (0, 15)


def test_offers_are_shown_by_relevance_and_logged_as_the_ranker_saw_them(database_url: str) -> None:
    fill(database_url)
    match(database_url, Plan(exploration=0))
    for (considered,) in ask(database_url, "SELECT considered FROM litgo.matchings"):
        offered = [entry for entry in considered if entry["offered"]]
        assert len(offered) == 5
        assert len(considered) == 10
        relevance = [entry["relevance"] for entry in offered]
        assert relevance == sorted(relevance, reverse=True)
        for entry in considered:
            assert "S" in entry["imputed"]
            assert entry["features"]["S"] is None
            known = {key: value for key, value in entry["features"].items() if value is not None}
            assert all(0 <= value <= 1 for value in known.values())
            assert set(known) & set(FEATURES) == set("ATGQURC")  # what one lawyer lacks is the pool's mean
            # nobody was offered anything lately: that is not known, and is no middling figure
            assert set(known) - set(FEATURES) == {"repeat_client", "tenure", "rank_tenure"}
    everybody = ask(database_url, "SELECT features FROM case_matches")
    assert all(set(features) == set(KEYS) for (features,) in everybody)


def test_the_order_in_which_rows_were_written_changes_nothing(
    database_url: str, another_url: Callable[[], str]
) -> None:
    other = another_url()
    fill(database_url)
    fill(other, order="md5(i::text)")
    match(database_url)
    match(other)
    assert offers(database_url) == offers(other)


def test_the_next_case_sees_the_reservations_of_the_one_before(database_url: str) -> None:
    fill(database_url, lawyers=10, cases=2)
    ask(database_url, "UPDATE lawyers SET geo_latlon = point(-46.63, -23.55)")
    ask(database_url, "UPDATE litgo.equity_history SET capacidade_mensal = 10, cases_30d = 0")
    ask(database_url, "DELETE FROM litgo.lawyer_evidence")
    ask(database_url, "UPDATE cases SET area = 'Civil', urgency_h = 72")
    match(database_url, Plan(exploration=0))
    assert ask(database_url, "SELECT count(DISTINCT lawyer_id) FROM offers") == [(10,)]


def test_the_less_loaded_of_two_alike_gets_more_offers(database_url: str) -> None:
    """The specification's own test, over ten matchings of a pool with room for five others."""
    fill(database_url, lawyers=6, cases=10)
    ask(database_url, "UPDATE lawyers SET geo_latlon = point(-46.63, -23.55), tags_expertise = '{Civil}'")
    ask(database_url, "UPDATE litgo.equity_history SET capacidade_mensal = 10, cases_30d = 5")
    ask(database_url, "DELETE FROM litgo.lawyer_evidence")
    ask(database_url, "UPDATE cases SET area = 'Civil'")
    for lawyer, load in ((1, 2), (2, 8)):
        ask(
            database_url,
            "UPDATE litgo.equity_history SET cases_30d = %s WHERE lawyer_id = md5('lawyer ' || %s)::uuid",
            (load, lawyer),
        )
    match(database_url, Plan(exploration=0))
    got = dict(ask(database_url, "SELECT lawyer_id::text, count(*) FROM offers GROUP BY 1"))
    low, high = (ask(database_url, "SELECT md5('lawyer ' || %s)::uuid::text", (n,))[0][0] for n in (1, 2))
    assert got[low] > got.get(high, 0)


@pytest.mark.parametrize(
    "change",
    [
        "capacidade_mensal = 1000, cases_30d = 0, last_offered_at = NULL",
        "capacidade_mensal = NULL, cases_30d = -40",
        "capacidade_mensal = -1, cases_30d = NULL, last_offered_at = '-infinity'",
        "last_offered_at = '1990-01-01', equity_updated_at = '2090-01-01'",
        "last_offered_at = 'infinity'",
    ],
)
def test_what_a_lawyer_writes_into_the_columns_for_display_changes_no_offer(
    database_url: str, another_url: Callable[[], str], change: str
) -> None:
    other = another_url()
    for url in (database_url, other):
        fill(url)
    ask(
        other,
        "ALTER TABLE public.lawyers ENABLE ROW LEVEL SECURITY; "
        "CREATE POLICY own ON public.lawyers FOR UPDATE USING (id = md5('lawyer 7')::uuid)",
    )
    ask(other, f"UPDATE public.lawyers SET {change} WHERE id = md5('lawyer 7')::uuid")
    match(database_url)
    match(other)
    assert offers(database_url) == offers(other)
    displayed = "SELECT case_id, lawyer_id, last_offered_at FROM offers ORDER BY 1, 2"
    assert ask(database_url, displayed) == ask(other, displayed)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lawyers SET is_available = false WHERE id = %(id)s",
        "UPDATE public.lawyers SET is_approved = false WHERE id = %(id)s",
        "UPDATE public.lawyers SET status = 'suspended' WHERE id = %(id)s",
        "UPDATE lawyers SET tags_expertise = '{Penal}', primary_area = 'Penal' WHERE id = %(id)s",
        "UPDATE lawyers SET geo_latlon = point(-46.63, -24.2) WHERE id = %(id)s",
        "UPDATE lawyers SET geo_latlon = NULL WHERE id = %(id)s",
        "UPDATE lawyers SET geo_latlon = point('NaN', -23.55) WHERE id = %(id)s",
        "UPDATE lawyers SET geo_latlon = point('-Infinity', 'Infinity') WHERE id = %(id)s",
        "UPDATE lawyers SET geo_latlon = point(0, 0) WHERE id = %(id)s",
        "UPDATE lawyers SET geo_latlon = point(-9.14, 38.72) WHERE id = %(id)s",
        "UPDATE lawyers SET created_at = %(later)s WHERE id = %(id)s",
        "UPDATE lawyers SET max_concurrent_cases = 1 WHERE id = %(id)s; "
        "INSERT INTO contracts (case_id, lawyer_id, client_id, status) "
        "SELECT id, %(id)s, client_id, 'pending-signature' FROM cases LIMIT 1",
    ],
)
def test_who_is_not_eligible_gets_no_offer(database_url: str, statement: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ((lawyer,),) = ask(database_url, "SELECT md5('lawyer 4')::uuid::text")
    ask(database_url, statement, {"id": lawyer, "later": AS_OF + timedelta(days=1)})
    match(database_url)
    assert ask(database_url, "SELECT count(*), count(*) FILTER (WHERE lawyer_id = %s) FROM offers", (lawyer,)) == [
        (5, 0)
    ]
    assert ask(database_url, "SELECT candidates, radius_km FROM litgo.matchings") == [(5, 50.0)]


def test_a_case_short_of_lawyers_widens_its_radius_by_steps(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    # 2 remain near, 2 are some 150 km away, 2 in Rio (about 360 km)
    for number, place in ((1, "(-46.63,-24.9)"), (2, "(-46.63,-24.9)"), (3, "(-43.2,-22.9)"), (4, "(-43.2,-22.9)")):
        ask(database_url, "UPDATE lawyers SET geo_latlon = %s WHERE id = md5('lawyer ' || %s)::uuid", (place, number))
    match(database_url)
    assert ask(database_url, "SELECT candidates, radius_km FROM litgo.matchings") == [(6, 500.0)]
    closeness = ask(
        database_url,
        "SELECT (e ->> 'load')::float8, e -> 'features' ->> 'G' FROM litgo.matchings, "
        "jsonb_array_elements(considered) e",
    )
    assert min(float(g) for _, g in closeness) < 0.35


def test_fewer_than_five_anywhere_are_all_offered_and_a_case_without_a_place_takes_everybody(database_url: str) -> None:
    fill(database_url, lawyers=3, cases=2)
    ask(database_url, "UPDATE cases SET area = 'Civil', coords = CASE WHEN id = md5('case 1')::uuid THEN coords END")
    ask(database_url, "UPDATE lawyers SET geo_latlon = point(-60, -3.1), tags_expertise = '{Civil}'")
    match(database_url)
    assert ask(database_url, "SELECT candidates, radius_km FROM litgo.matchings") == [(3, None), (3, None)]
    assert ask(database_url, "SELECT count(*), min((breakdown ->> 'propensity')::float8) FROM case_matches") == [
        (6, 1.0)
    ]


def test_a_case_that_fails_three_times_is_a_dead_letter(database_url: str) -> None:
    fill(database_url, cases=3)
    ask(database_url, "ALTER TABLE public.cases DROP CONSTRAINT cases_complexity_check")
    ask(database_url, "UPDATE cases SET complexity = 'EXTREME' WHERE id = md5('case 2')::uuid")
    ask(database_url, "UPDATE cases SET complexity = 'ÚNICA' WHERE id = md5('case 3')::uuid")
    at = AS_OF
    for attempt in range(1, ATTEMPTS + 1):
        (result,) = match(database_url, as_of=at)
        assert result.matched == (1 if attempt == 1 else 0)
        assert len(result.failures) == 2
        assert match(database_url, as_of=at + MINUTE) == []  # not before its time
        at += timedelta(minutes=5 * attempt + 1)
    rows = ask(database_url, "SELECT attempts, dead, reason FROM litgo.matching_failures ORDER BY reason DESC")
    assert [(attempts, dead) for attempts, dead, _ in rows] == [(3, True), (3, True)]
    assert "ÚNICA" in rows[0][2]
    assert "EXTREME" in rows[1][2]
    assert metric(database_url, "matching_failures_total") == 6


def test_one_bad_case_does_not_hold_up_the_others(database_url: str) -> None:
    fill(database_url)
    ask(database_url, "ALTER TABLE public.cases DROP CONSTRAINT cases_complexity_check")
    ask(database_url, "UPDATE cases SET complexity = 'EXTREME' WHERE id = md5('case 5')::uuid")
    (result,) = match(database_url)
    assert (result.matched, len(result.failures)) == (11, 1)
    assert "EXTREME" in next(iter(result.failures.values()))
    ask(database_url, "UPDATE cases SET complexity = 'HIGH' WHERE id = md5('case 5')::uuid")
    (result,) = match(database_url, as_of=AS_OF + timedelta(hours=1))
    assert result.matched == 1
    assert ask(database_url, "SELECT count(*) FROM litgo.matching_failures") == [(0,)]


class Constant:
    """A model that gives each lawyer the same score."""

    def __init__(self, score: float) -> None:
        self.score = score

    def predict(self, frame: Any) -> Any:
        return np.full(len(frame), self.score)


def test_a_model_that_gives_nonsense_is_replaced_for_the_rest_of_the_batch_and_counted(database_url: str) -> None:
    fill(database_url)
    (result,) = match(database_url, ranker=Ranker(Constant(float("nan")), "7"))
    assert (result.matched, result.failures) == (12, {})
    assert "version 7" in result.problem
    assert ask(database_url, "SELECT DISTINCT ranker, model_version FROM litgo.exposures") == [("hand_weights", None)]
    assert metric(database_url, "ranker_fallback_total") == 1


def test_a_learned_model_is_not_touched_by_presets(database_url: str) -> None:
    fill(database_url)
    match(database_url, Plan(preset="expert", exploration=0), ranker=Ranker(Constant(0.0), "7"))
    assert ask(database_url, "SELECT DISTINCT raw_score, weights_used, preset_used FROM case_matches") == [
        (0.5, {"model_version": "7"}, None)
    ]
    assert ask(database_url, "SELECT DISTINCT ranker, model_version FROM litgo.exposures") == [("model", "7")]


def test_a_case_that_came_to_nothing_gets_another_round_with_others(database_url: str) -> None:
    fill(database_url, lawyers=20, cases=1)
    ask(database_url, "UPDATE cases SET area = 'Civil'")
    match(database_url)
    day = timedelta(days=1)
    assert match(database_url, as_of=AS_OF + day) == []  # its offers are open
    ask(database_url, "UPDATE offers SET status = 'expired'")
    (second,) = match(database_url, as_of=AS_OF + day)
    assert second.matched == 1
    assert ask(database_url, "SELECT count(*), count(DISTINCT lawyer_id) FROM offers") == [(10, 10)]
    ask(database_url, "UPDATE offers SET status = 'declined' WHERE status = 'pending'")
    (third,) = match(database_url, as_of=AS_OF + 2 * day)
    assert third.matched == 1
    assert ask(database_url, "SELECT array_agg(round ORDER BY round) FROM litgo.matchings") == [([1, 2, 3],)]
    ask(database_url, "UPDATE offers SET status = 'expired' WHERE status = 'pending'")
    assert match(database_url, as_of=AS_OF + 4 * day) == []


def test_a_row_that_becomes_visible_late_is_matched(database_url: str) -> None:
    fill(database_url)
    match(database_url)
    with kept(database_url) as connection, connection:
        Marketplace(connection, AS_OF).case(created_at=AS_OF - timedelta(days=60))
    (result,) = match(database_url, as_of=AS_OF + MINUTE)
    assert result.matched == 1


def test_exploration_logs_its_propensity_and_counts_itself(database_url: str) -> None:
    fill(database_url, cases=40)
    (result,) = match(database_url, Plan(exploration=0.4))
    assert 40 <= result.explored <= 120  # 80 expected
    assert metric(database_url, "offers_explored_total") == result.explored
    rows = ask(
        database_url,
        "SELECT (breakdown ->> 'by_chance')::bool, (breakdown ->> 'propensity')::float8, "
        "m.candidates FROM case_matches JOIN litgo.matchings m USING (case_id)",
    )
    assert sum(chance for chance, _, _ in rows) == result.explored
    for chance, propensity, candidates in rows:
        others = candidates - 5
        expected = sum(min(x, others) * p for x, p in enumerate((0.07776, 0.2592, 0.3456, 0.2304, 0.0768, 0.01024)))
        assert propensity == pytest.approx(expected / others if chance else 1 - expected / 5, abs=1e-6)


def test_two_matchers_at_once_match_every_case_once(database_url: str, another_url: Callable[[], str]) -> None:
    calm = another_url()
    for url in (database_url, calm):
        fill(url, cases=40)
    match(calm)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.extend(match(database_url))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.matched for result in results) == 40
    assert offers(database_url) == offers(calm)


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "number"), [("before", 0), ("after", 1), ("before", 5), ("after", 12)])
def test_a_killed_batch_is_finished_with_the_same_offers(
    database_url: str, another_url: Callable[[], str], moment: str, number: int
) -> None:
    calm = another_url()
    for url in (database_url, calm):
        fill(url)
    match(calm, Plan(exploration=0.3))
    killed(killed_match, database_url, AS_OF, moment, number)
    assert len({case for case, *_ in offers(database_url)}) == number  # whole cases only
    # hours later, with other settings, and with a case that came in between
    with kept(database_url) as connection, connection:
        Marketplace(connection, AS_OF).case(created_at=AS_OF - timedelta(days=1))
    left, new = match(database_url, Plan(exploration=0), as_of=AS_OF + timedelta(hours=3))
    assert left.resumed
    assert left.matched == 12 - number
    assert new.matched == 1
    known = {case for case, *_ in offers(calm)}
    assert [row for row in offers(database_url) if row[0] in known] == offers(calm)
    assert metric(database_url, "offers_created_total") == 65
    assert ask(database_url, "SELECT count(*) FROM litgo.matching_batches WHERE finished_at IS NULL") == [(0,)]


def test_a_case_cancelled_after_the_claim_is_left_alone(database_url: str) -> None:
    fill(database_url)
    killed(killed_match, database_url, AS_OF, "after", 3)
    ask(
        database_url,
        "UPDATE cases SET status = 'cancelled' WHERE id IN "
        "(SELECT id FROM cases c WHERE NOT EXISTS (SELECT FROM offers WHERE case_id = c.id) LIMIT 2)",
    )
    (left,) = match(database_url)
    assert left.matched == 7
    assert match(database_url) == []


def test_rows_that_somebody_holds_delay_their_case_alone(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "LOCK_SECONDS", 1)
    fill(database_url)
    with kept(database_url) as other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM cases WHERE id = md5('case 12')::uuid FOR UPDATE")
        cursor.execute("SELECT id FROM lawyers FOR NO KEY UPDATE")  # as another's UPDATE does
        (result,) = match(database_url)
        assert result.matched == 11
        assert [why.split()[0] for why in result.failures.values()] == ["LockNotAvailable"]
    (result,) = match(database_url, as_of=AS_OF + 2 * record.RETRY)
    assert (result.matched, result.failures) == (1, {})
    assert ask(database_url, "SELECT count(*) FROM offers") == [(60,)]


def test_the_benchmark_takes_back_what_a_matching_wrote(database_url: str) -> None:
    """Offers, a case that waits, one that repeats another; who could be offered a case was so before."""
    fill(database_url)
    ask(
        database_url,
        "UPDATE cases SET area = 'Marítimo' WHERE id = (SELECT min(id::text)::uuid FROM cases); "
        "INSERT INTO cases (client_id, area, description, created_at) SELECT client_id, 'Civil', 'A geladeira parou.', "
        "%(as_of)s - n * interval '5 minutes' FROM (SELECT client_id FROM cases LIMIT 1) c, generate_series(1, 2) n; "
        "CREATE TABLE public.lawyers_before AS SELECT id, last_offered_at FROM lawyers",
        {"as_of": AS_OF},
    )
    tables = ask(
        database_url,
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('litgo', 'public') "
        "AND tablename NOT IN ('lawyer_availability', 'lawyer_accounts', 'accounts_seen')",
    )
    counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {schema}.{name}" for schema, name in tables)
    counts += " UNION ALL SELECT 'last_offered_at', count(last_offered_at) FROM lawyers"
    before = dict(ask(database_url, counts))
    match(database_url)
    written = dict(ask(database_url, counts))
    changed = {name for name in written if written[name] != before[name]}
    assert {"offers", "case_matches", "case_waits", "case_duplicates", "candidate_sets", "last_offered_at"} <= changed
    ask(database_url, TAKE_BACK, {"as_of": AS_OF})
    assert dict(ask(database_url, counts)) == before
