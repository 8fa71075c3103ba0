"""A marketplace that takes no offer for some lawyers: others are offered instead, and no case is lost on the way."""

import psycopg2
import pytest

from litgo_pipelines.equity.capacity import DEFAULT_RULES
from litgo_pipelines.equity.load import run_night
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match
from litgo_pipelines_tests.worlds.sessions import ask, kept

PLAN = Plan(exploration=0, limit=50)
TRIGGER = """
CREATE FUNCTION public.suspended() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF {who} THEN {does}; END IF;
    RETURN NEW;
END $$;
CREATE {kind} TRIGGER suspended {when} FOR EACH ROW EXECUTE FUNCTION public.suspended()
"""
OFFERED = "NEW.lawyer_id IN (SELECT md5('lawyer ' || i)::uuid FROM pg_catalog.generate_series(1, 9) i)"
BEFORE = ("", "BEFORE INSERT ON public.offers")
AT_THE_END = ("CONSTRAINT", "AFTER INSERT ON public.offers DEFERRABLE INITIALLY DEFERRED")
RAISES = "RAISE EXCEPTION 'suspenso' USING ERRCODE = '{}'"


def of_each_case(url: str) -> set[int]:
    return {number for (number,) in ask(url, "SELECT count(*) FROM offers GROUP BY case_id")}


@pytest.mark.parametrize(
    ("does", "at"),
    [
        (RAISES.format("P0001"), BEFORE),
        (RAISES.format("55000"), BEFORE),
        (RAISES.format("PT409"), AT_THE_END),
        ("RETURN NULL", BEFORE),  # without a word
    ],
)
def test_another_lawyer_is_offered_instead(database_url: str, does: str, at: tuple[str, str]) -> None:
    fill(database_url, lawyers=30, cases=6)
    execute(database_url, TRIGGER.format(who=OFFERED, does=does, kind=at[0], when=at[1]))
    (result,) = match(database_url, PLAN, AS_OF)
    assert (result.matched, result.offers, result.failures) == (6, 30, {})
    assert result.refused > 0
    assert of_each_case(database_url) == {5}
    assert ask(database_url, "SELECT count(*) FROM litgo.outbox WHERE kind = 'offer'") == [(30,)]
    assert ask(
        database_url,
        "SELECT count(*) FROM litgo.matchings m, unnest((SELECT lawyer_ids FROM litgo.candidate_sets s "
        "WHERE s.case_id = m.case_id)) AS l (id) WHERE l.id NOT IN (SELECT id FROM lawyers)",
    ) == [(0,)]


def test_a_case_for_which_no_offer_is_taken_fails_with_a_reason_and_others_go_on(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=3)
    first = "NEW.case_id = pg_catalog.md5('case 1')::uuid"
    execute(database_url, TRIGGER.format(who=first, does="RETURN NULL", kind="", when=BEFORE[1]))
    (result,) = match(database_url, PLAN, AS_OF)
    assert (result.matched, len(result.failures)) == (2, 1)
    (reason,) = result.failures.values()
    assert "takes no offer of this case" in reason
    assert ask(database_url, "SELECT count(*) FROM litgo.matchings") == [(2,)]
    assert ask(database_url, "SELECT count(*) FROM litgo.matching_failures") == [(1,)]


BY_TIME = """
ALTER TABLE public.offers RENAME TO offers_before;
CREATE TABLE public.offers (LIKE public.offers_before INCLUDING DEFAULTS) PARTITION BY RANGE (sent_at);
DROP SCHEMA litgo_source CASCADE
"""


def test_an_offer_of_a_month_without_a_partition_gives_up_no_case(database_url: str) -> None:
    """A person makes the partition, and the cases are matched: none has used up its tries."""
    fill(database_url, lawyers=9, cases=3)
    execute(database_url, BY_TIME)
    migrate(database_url)
    with pytest.raises(psycopg2.errors.CheckViolation, match="make the one that is missing"):
        match(database_url, PLAN, AS_OF)
    assert ask(database_url, "SELECT count(*) FROM litgo.matching_failures") == [(0,)]
    execute(database_url, "CREATE TABLE public.offers_rest PARTITION OF public.offers DEFAULT")
    assert [result.matched for result in match(database_url, PLAN, AS_OF)] == [3]


def test_a_row_that_cannot_show_an_offer_costs_the_lawyer_none(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=4)
    when = "BEFORE UPDATE ON public.lawyers"
    execute(database_url, TRIGGER.format(who="true", does=RAISES.format("55000"), kind="", when=when))
    (result,) = match(database_url, PLAN, AS_OF)
    assert (result.matched, result.refused, result.failures) == (4, 0, {})
    with kept(database_url) as connection, connection:
        night = run_night(connection, AS_OF.date(), AS_OF, DEFAULT_RULES)
    assert night.refused
    assert (night.rows_read, night.lawyers_changed) == (30, 0)
