"""Cases nobody can be offered now: looked at again, told in time, started again by a change, never given up."""

from collections.abc import Callable, Sized
from datetime import datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.database import Cursor
from litgo_pipelines.matching.claim import waiting_cases
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.waits import notify, parked
from litgo_pipelines.notifications.outbox import TEAM
from litgo_pipelines.observability import unattended
from litgo_pipelines_tests.worlds.matching import AS_OF, MINUTE, fill, match, offers
from litgo_pipelines_tests.worlds.sessions import ask, kept

DAY = timedelta(days=1)
LATER = AS_OF + timedelta(hours=3)


def busy(url: str, free: bool = False) -> None:
    ask(url, "UPDATE lawyers SET is_available = %s", (free,))


def waiting(url: str) -> list[tuple[Any, ...]]:
    return ask(url, "SELECT reason, looks, since, next_look_at FROM litgo.case_waits ORDER BY case_id")


def told(url: str) -> list[tuple[bool, str]]:
    return [
        (recipient == TEAM, reason)
        for recipient, reason in ask(
            url,
            "SELECT recipient_id::text, payload ->> 'reason' FROM litgo.outbox WHERE kind = 'case_waits' ORDER BY 1",
        )
    ]


def looks(url: str, until: timedelta, plan: Plan | None = None) -> list[datetime]:
    """The instants at which a look every minute finds something to do."""
    found = []
    for minute in range(int(until / MINUTE)):
        at = AS_OF + minute * MINUTE
        if match(url, plan, at):
            found.append(at)
    return found


def test_five_lawyers_at_their_limit_for_twenty_minutes_are_not_the_end_of_a_case(database_url: str) -> None:
    fill(database_url, lawyers=5, cases=1)
    ask(
        database_url,
        "UPDATE lawyers SET max_concurrent_cases = 1, tags_expertise = '{Civil,Família}'; "
        "INSERT INTO profiles (id) VALUES (md5('other client')::uuid); "
        "INSERT INTO cases (id, client_id, area, status, created_at) SELECT md5('other ' || l.id)::uuid, "
        "md5('other client')::uuid, 'Civil', 'assigned', now() FROM lawyers l; "
        "INSERT INTO contracts (case_id, lawyer_id, client_id, status) SELECT md5('other ' || l.id)::uuid, l.id, "
        "md5('other client')::uuid, 'active' FROM lawyers l",
    )
    found = looks(database_url, timedelta(minutes=20))
    assert [at - AS_OF for at in found] == [0 * MINUTE, 5 * MINUTE, 15 * MINUTE]
    assert offers(database_url) == []
    assert ask(database_url, "SELECT count(*) FROM litgo.matching_failures") == [(0,)]
    ask(database_url, "UPDATE contracts SET status = 'closed'")
    (result,) = match(database_url, as_of=AS_OF + 20 * MINUTE)  # at once, not at the next look
    assert result.offers == 5
    assert waiting(database_url) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE lawyers SET is_available = true WHERE id = md5('lawyer 2')::uuid",
        "UPDATE public.lawyers SET status = 'active', is_available = true WHERE id = md5('lawyer 2')::uuid",
        "INSERT INTO lawyers (id, name, tags_expertise, created_at) "
        "VALUES (md5('new')::uuid, 'Nova', '{Civil,Família}', %(new)s)",
        "UPDATE lawyers SET is_available = true, tags_expertise = '{Civil,Família}'",
    ],
)
def test_whatever_lets_somebody_be_offered_the_case_wakes_it(database_url: str, change: str) -> None:
    fill(database_url, lawyers=5, cases=1)
    busy(database_url)
    match(database_url)
    for hours in (1, 2, 4, 9, 20, 40, 60):
        match(database_url, as_of=AS_OF + timedelta(hours=hours))
    at = AS_OF + timedelta(hours=60, minutes=17)
    assert match(database_url, as_of=at) == []
    ask(database_url, change, {"new": at - MINUTE})
    (result,) = match(database_url, as_of=at)
    assert result.offers >= 1


def test_the_pause_grows_to_a_day_and_the_case_is_never_given_up(database_url: str) -> None:
    fill(database_url, cases=1)
    busy(database_url)
    pauses, at = [], AS_OF
    for _ in range(14):
        match(database_url, as_of=at)
        ((_, _, _, due),) = waiting(database_url)
        pauses.append(due - at)
        at = due
    assert min(pauses) == 5 * MINUTE
    assert pauses[-1] == DAY
    assert at > AS_OF + 3 * DAY
    busy(database_url, free=True)
    (result,) = match(database_url, as_of=at)
    assert result.offers == 5


# hours a case has left → minutes after which team and client hear
HEARD = {
    4: (20, 60),
    1: (15, 30),
    24: (120, 360),
    72: (360, 1080),
    None: (360, 1080),
    -3: (360, 1080),
    400: (360, 1440),
}


def test_team_and_client_hear_after_a_time_that_the_urgency_sets(database_url: str) -> None:
    fill(database_url, cases=len(HEARD))
    busy(database_url)
    cases = [case for (case,) in ask(database_url, "SELECT id::text FROM cases ORDER BY id")]
    for case, urgency_h in zip(cases, HEARD, strict=True):
        ask(database_url, "UPDATE cases SET urgency_h = %s WHERE id = %s", (urgency_h, case))
    heard: dict[tuple[str, bool], timedelta] = {}
    whom = "SELECT split_part(dedup_key, ':', 2), recipient_id::text FROM litgo.outbox WHERE kind = 'case_waits'"
    at = AS_OF
    while len(heard) < 2 * len(HEARD):
        match(database_url, as_of=at)
        for case, recipient in ask(database_url, whom):
            heard.setdefault((case, recipient == TEAM), at - AS_OF)
        at = min(due for (_, _, _, due) in waiting(database_url))
    expected: dict[tuple[str, bool], timedelta] = {}
    for case, (team, client) in zip(cases, HEARD.values(), strict=True):
        expected |= {(case, True): team * MINUTE, (case, False): client * MINUTE}
    assert heard == expected
    for hours in range(100, 200, 10):
        match(database_url, as_of=AS_OF + timedelta(hours=hours))
    assert len(told(database_url)) == 2 * len(HEARD)  # once each


def test_who_should_have_heard_by_a_new_urgency_hears_at_once(database_url: str) -> None:
    fill(database_url, cases=1)
    ask(database_url, "UPDATE cases SET urgency_h = 72")
    busy(database_url)
    looks(database_url, timedelta(hours=3))
    assert told(database_url) == []
    ask(database_url, "UPDATE cases SET urgency_h = 4")
    assert [len(match(database_url, as_of=LATER + n * MINUTE)) for n in (1, 2)] == [
        1,
        0,
    ]  # the next look is in two hours
    assert sorted(told(database_url)) == [(False, "nobody"), (True, "nobody")]


def test_a_wait_that_began_while_a_clock_was_ahead_is_told_in_time(database_url: str) -> None:
    fill(database_url, cases=1)
    busy(database_url)
    match(database_url, as_of=AS_OF + 300 * DAY)
    at = AS_OF
    while at < AS_OF + DAY:
        match(database_url, as_of=at)
        ((_, _, since, at),) = waiting(database_url)
        assert since == AS_OF
    assert sorted(told(database_url)) == [(False, "nobody"), (True, "nobody")]


def test_a_case_that_fails_is_told_after_three_tries_and_tried_again_every_day(database_url: str) -> None:
    fill(database_url, cases=2)
    ask(database_url, "ALTER TABLE public.cases DROP CONSTRAINT cases_complexity_check")
    ask(database_url, "UPDATE cases SET complexity = 'EXTREME' WHERE id = md5('case 2')::uuid")
    tries, at = 0, AS_OF
    while at < AS_OF + 4 * DAY:
        tries += sum(len(result.failures) for result in match(database_url, as_of=at))
        at += 5 * MINUTE if tries < 3 else timedelta(hours=6)
    assert tries == 3 + 3
    assert ask(
        database_url, "SELECT recipient_id::text, count(*) FROM litgo.outbox WHERE kind = 'case_failed' GROUP BY 1"
    ) == [(TEAM, 1)]
    ask(database_url, "UPDATE cases SET complexity = 'HIGH' WHERE id = md5('case 2')::uuid")
    (result,) = match(database_url, as_of=at + DAY)
    assert result.matched == 1


def over(url: str, plan: Plan, at: datetime) -> datetime:
    """Let every round of the only case come to nothing."""
    for _ in range(plan.rounds):
        (result,) = match(url, plan, at)
        assert result.matched == 1
        ask(url, "UPDATE offers SET status = 'declined'")
        at += timedelta(hours=1)
    return at


def test_the_end_of_the_rounds_is_told_and_a_new_lawyer_starts_the_case_again(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=1)
    plan = Plan(rounds=3)
    at = over(database_url, plan, AS_OF)
    assert match(database_url, plan, at) == []
    assert [row[0] for row in waiting(database_url)] == ["rounds_over"]
    assert sorted(told(database_url)) == [(False, "rounds_over"), (True, "rounds_over")]
    for days in (1, 5, 39):
        assert match(database_url, plan, at + days * DAY) == []
    at += 40 * DAY
    ask(
        database_url,
        "INSERT INTO lawyers (id, name, tags_expertise, geo_latlon, created_at) VALUES "
        "(md5('new')::uuid, 'Nova', '{Civil,Família}', point(-46.63, -23.55), %s)",
        (at - MINUTE,),
    )
    (result,) = match(database_url, plan, at)
    assert result.matched == 1
    assert waiting(database_url) == []
    ask(database_url, "UPDATE offers SET status = 'expired' WHERE status = 'pending'")
    match(database_url, plan, at + DAY)
    assert len(told(database_url)) == 4  # it was another try, and people hear how it ended


@pytest.mark.parametrize(
    ("lawyers", "kind", "change"),
    [
        (0, "case_waits", ""),
        (5, "case_waits", "UPDATE offers SET status = 'declined'"),
        (
            5,
            "case_failed",
            "ALTER TABLE public.cases DROP CONSTRAINT IF EXISTS cases_complexity_check; "
            "UPDATE cases SET complexity = 'EXTREME'",
        ),
    ],
)
def test_a_case_that_is_opened_again_waits_anew_and_its_people_are_told_anew(
    database_url: str, lawyers: int, kind: str, change: str
) -> None:
    fill(database_url, lawyers=lawyers, cases=1)
    plan = Plan(rounds=1)
    counts, at = [], AS_OF
    for status in ("pending_assignment", "cancelled", "pending_assignment"):
        ask(database_url, "UPDATE cases SET status = %s", (status,))
        for _ in range(12):
            if change:
                ask(database_url, change)
            match(database_url, plan, at)
            at += timedelta(hours=3)
        counts += ask(database_url, "SELECT count(*) FROM litgo.outbox WHERE kind = %s", (kind,))
        assert (waiting(database_url) == []) == (status == "cancelled" or kind == "case_failed")
    told_once = 1 if kind == "case_failed" else 2
    assert [n for (n,) in counts] == [told_once, told_once, 2 * told_once]


def test_who_takes_an_interest_after_the_end_of_the_rounds_ends_the_wait(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ask(database_url, "UPDATE lawyers SET tags_expertise = '{Civil,Família}'")
    plan = Plan(rounds=1)
    at = over(database_url, plan, AS_OF)
    match(database_url, plan, at)
    assert [row[0] for row in waiting(database_url)] == ["rounds_over"]
    ask(
        database_url,
        "UPDATE offers SET status = 'interested', responded_at = %s "
        "WHERE lawyer_id = (SELECT min(lawyer_id::text)::uuid FROM offers)",
        (at,),
    )
    ask(database_url, "UPDATE cases SET description = 'Agora com outros fatos.'")  # would have woken it
    assert match(database_url, plan, at + DAY) == []
    assert waiting(database_url) == []
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        assert notify(cursor, at + DAY) == 1
    ask(database_url, "UPDATE offers SET status = 'declined'")
    match(database_url, plan, at + 2 * DAY)
    assert [row[0] for row in waiting(database_url)] == ["rounds_over"]
    assert len(told(database_url)) == 4


def test_a_case_goes_on_when_the_term_of_its_offers_is_over_and_not_an_hour_later(database_url: str) -> None:
    fill(database_url, lawyers=11, cases=1)
    ask(database_url, "UPDATE lawyers SET tags_expertise = '{Civil,Família}'; UPDATE cases SET urgency_h = 1")
    found = looks(database_url, timedelta(hours=2), Plan(rounds=2))
    assert [at - AS_OF for at in found] == [0 * MINUTE, 31 * MINUTE]  # microseconds after half an hour
    assert [row[0] for row in waiting(database_url)] == ["rounds_over"]
    assert len(offers(database_url)) == 10
    assert ask(database_url, "SELECT DISTINCT status FROM offers") == [("pending",)]  # by an expiry that did not run


def test_a_case_whose_contract_is_in_force_is_offered_to_nobody(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ask(
        database_url,
        "INSERT INTO contracts (case_id, lawyer_id, client_id, status) "
        "SELECT c.id, md5('lawyer 1')::uuid, c.client_id, 'active' FROM cases c",
    )
    assert match(database_url) == []
    ask(database_url, "UPDATE contracts SET status = 'canceled'")
    (result,) = match(database_url)
    assert result.offers == 5


def test_a_lawyer_who_returns_from_leave_starts_the_case_again_but_not_one_who_was_there_all_the_time(
    database_url: str,
) -> None:
    fill(database_url, lawyers=30, cases=1)
    ask(database_url, "UPDATE lawyers SET tags_expertise = '{Civil,Família}'")
    ask(database_url, "UPDATE lawyers SET is_available = false WHERE id = md5('lawyer 30')::uuid")
    plan = Plan(rounds=1)
    at = over(database_url, plan, AS_OF)
    assert match(database_url, plan, at) == []
    assert match(database_url, plan, at + 3 * DAY) == []
    ask(database_url, "UPDATE lawyers SET is_available = true WHERE id = md5('lawyer 30')::uuid")
    (result,) = match(database_url, plan, at + 3 * DAY)
    assert result.matched == 1


def test_an_edited_case_is_another_question(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=1)
    ask(database_url, "UPDATE lawyers SET tags_expertise = '{Civil,Família}'")
    plan = Plan(rounds=1)
    at = over(database_url, plan, AS_OF)
    assert match(database_url, plan, at) == []
    ask(database_url, "UPDATE cases SET description = 'Agora com outros fatos.'")
    (result,) = match(database_url, plan, at + DAY)
    assert result.matched == 1


def test_a_case_too_old_for_a_further_round_is_told_as_well(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=1)
    match(database_url)
    ask(database_url, "UPDATE offers SET status = 'expired'")
    assert match(database_url, as_of=AS_OF + 15 * DAY) == []
    assert sorted(told(database_url)) == [(False, "rounds_over"), (True, "rounds_over")]


def test_offers_that_somebody_else_made_are_a_round_as_well(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=1)
    match(database_url)
    ask(database_url, "DELETE FROM litgo.matchings")  # as if the marketplace had made the offers
    ask(database_url, "UPDATE offers SET status = 'declined'")
    assert match(database_url, Plan(rounds=1), LATER) == []
    assert sorted(told(database_url)) == [(False, "rounds_over"), (True, "rounds_over")]


def test_nobody_left_for_the_second_round_waits_too(database_url: str) -> None:
    fill(database_url, lawyers=4, cases=1)
    match(database_url)
    ask(database_url, "UPDATE offers SET status = 'declined'")
    (result,) = match(database_url, as_of=LATER)
    assert (result.matched, result.waiting) == (0, 1)
    assert [row[:2] for row in waiting(database_url)] == [("nobody", 1)]


def test_a_possible_danger_is_told_though_its_area_is_chosen(database_url: str) -> None:
    fill(database_url, lawyers=1, cases=1)
    ask(
        database_url,
        "UPDATE cases SET subarea = 'Contratos'; "
        "INSERT INTO litgo.triage (case_id, as_of, status, reason, urgency_h, urgency_source, complexity, sources, "
        "alternatives) SELECT id, %s, 'review', 'danger_unsure', 12, 'text', 'LOW', '{}', '[]' FROM cases",
        (AS_OF,),
    )
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        assert "review" in {each.kind for each in unattended.find(cursor, LATER)}
        notify(cursor, AS_OF + MINUTE)
        assert "review" not in {each.kind for each in unattended.find(cursor, LATER)}
    assert ask(database_url, "SELECT count(*) FROM litgo.outbox WHERE kind = 'case_review'") == [(1,)]


@pytest.mark.parametrize(
    ("function", "value"),
    [
        ("area_label(word text) RETURNS text", "word"),
        ("area_variants(word text) RETURNS text[]", "ARRAY['maritimo']"),
        ("chosen(value text) RETURNS text", "value"),
    ],
)
def test_what_a_spelling_means_is_read_once_a_look_not_once_a_case(
    database_url: str, function: str, value: str
) -> None:
    """Thousands of cases wait in a few words."""
    fill(database_url, cases=12)
    ask(database_url, "UPDATE cases SET area = 'Marítimo'")
    match(database_url)
    ask(
        database_url,
        f"CREATE SEQUENCE public.readings; CREATE OR REPLACE FUNCTION litgo.{function} LANGUAGE plpgsql STABLE AS "
        f"$$ BEGIN PERFORM nextval('public.readings'); RETURN {value}; END $$; "
        "UPDATE public.lawyers SET tags_expertise = '{Marítimo}' WHERE id = md5('lawyer 1')::uuid; "
        "DELETE FROM litgo.lawyer_availability WHERE lawyer_id = md5('lawyer 1')::uuid",
    )
    look: dict[str, Callable[[Cursor], Sized]] = {
        "area_label": parked,
        "area_variants": lambda cursor: waiting_cases(cursor, Plan(), AS_OF + 2 * MINUTE),
        "chosen": lambda cursor: unattended.find(cursor, AS_OF + DAY),
    }
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        assert len(look[function.partition("(")[0]](cursor)) == 12
    assert ask(database_url, "SELECT nextval('public.readings')") == [(2,)]
