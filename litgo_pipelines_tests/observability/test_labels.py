"""Labels, tables and messages hold names of the taxonomy, never a text of the marketplace's own."""

import json

import pytest

from litgo_pipelines.intake import taxonomy
from litgo_pipelines.matching import waits
from litgo_pipelines.observability import gauges
from litgo_pipelines_tests.worlds.matching import AS_OF, fill
from litgo_pipelines_tests.worlds.sessions import ask, kept

pytestmark = pytest.mark.one_server
OWN_WORDS = "Maria Segredo quer se separar"


def test_the_database_knows_the_taxonomy(database_url: str) -> None:
    known = ask(database_url, "SELECT area, subarea FROM litgo.subarea_words")
    assert sorted(known) == sorted(tuple(each) for each in taxonomy.subareas())
    assert {area for (area,) in ask(database_url, "SELECT area FROM litgo.area_words")} == set(taxonomy.areas())


@pytest.mark.parametrize(
    ("area", "subarea", "expected"),
    [
        ("familia", "guarda ", ("Família", "Guarda")),
        ("Direito de FAMÍLIA", "Pensao alimenticia", ("Família", "Pensão alimentícia")),
        ("previdencia", "bpc/loas", ("Previdenciário", "BPC/LOAS")),
        ("Família", "Locação", ("Família", None)),
        ("Família", OWN_WORDS, ("Família", None)),
        (OWN_WORDS, OWN_WORDS, ("outra", None)),
        ("", "", ("outra", None)),
        (None, None, (None, None)),
    ],
)
def test_names_are_the_taxonomys(
    database_url: str, area: str | None, subarea: str | None, expected: tuple[str | None, str | None]
) -> None:
    asked = "SELECT litgo.area_label(%(a)s), litgo.subarea_label(%(a)s, %(s)s)"
    assert ask(database_url, asked, {"a": area, "s": subarea}) == [expected]


def test_gauges_by_area_and_pool(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=8)
    names = ("Família", "familia", "FAMÍLIA", OWN_WORDS, f"{OWN_WORDS} já", "Outros", "Civil", "cível")
    for number, name in enumerate(names, 1):
        ask(database_url, f"UPDATE public.cases SET area = %s WHERE id = md5('case {number}')::uuid", (name,))
    ask(
        database_url,
        "INSERT INTO public.offers (case_id, lawyer_id, status, sent_at, expires_at) SELECT c.id, l.id, "
        "CASE WHEN litgo.area_label(c.area) = 'Civil' THEN 'interested' ELSE 'expired' END, now() - interval '3 days', "
        "now() - interval '2 days' FROM public.cases c CROSS JOIN (SELECT id FROM public.lawyers LIMIT 1) l",
    )
    pools = [
        {"pool": f"{area} · SP", "spread_points": number, "utilisation": number / 10}
        for number, area in enumerate(("Civil", OWN_WORDS, "??", f"{OWN_WORDS} · x", "Família"), 1)
    ]
    ask(
        database_url,
        "INSERT INTO litgo.offer_distribution (night, as_of, lawyers, offers, cases, pools) "
        "VALUES (current_date, now(), 1, 1, 1, %s)",
        (json.dumps(pools),),
    )
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        found = gauges.read(cursor, ["area_cases", "area_accepted_ratio", "equity_spread_points"])
    assert dict(found["area_cases"]) == {("Família",): 3, ("outra",): 3, ("Civil",): 2}
    assert dict(found["area_accepted_ratio"]) == {("Família",): 0, ("outra",): 0, ("Civil",): 1}
    assert found["equity_spread_points"] == [
        (("Civil · SP",), 1.0),
        (("outra · SP",), 2.0),
        (("?? · SP",), 3.0),
        (("Família · SP",), 5.0),
    ]


@pytest.mark.parametrize(("area", "shown"), [("familia", "Família"), (OWN_WORDS, "outra")])
def test_the_list_of_parked_cases(database_url: str, area: str, shown: str) -> None:
    fill(database_url, lawyers=1, cases=1)
    ask(database_url, "UPDATE public.cases SET area = %s", (area,))
    ask(
        database_url,
        "INSERT INTO litgo.matching_failures (case_id, attempts, first_failed_at, last_failed_at, retry_at, reason, "
        "dead) SELECT id, 1, %(at)s, %(at)s, %(at)s, 'x', false FROM public.cases",
        {"at": AS_OF},
    )
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        parked = waits.markdown(waits.parked(cursor))
    assert f"| {shown} |" in parked
    assert OWN_WORDS not in parked
