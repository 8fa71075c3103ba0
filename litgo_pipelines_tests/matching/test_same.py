"""Same person, same matter: nobody is offered his own case; a case sent twice, a lawyer with two accounts, are one."""

from datetime import timedelta
from typing import Any

import pytest

from litgo_pipelines.database import sql
from litgo_pipelines.matching import explain, waits
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines_tests.worlds.matching import AS_OF, MINUTE, fill, match
from litgo_pipelines_tests.worlds.sessions import ask, kept

NUMBERS = [
    "OAB/SP 123.456",
    "123456/SP",
    "SP123456",
    "sp 0123456",
    "123456-SP",
    "OAB SP nº 123456",
    "OABSP123456",
    "O.A.B./S.P. 123 456",
    "ＯＡＢ／ＳＰ １２３４５６",
    "SP\u200b123456",
    "\u202aSP 123\u202a456\u202c",
    "OAB/São Paulo 123456",
    "OAB - Seccional de SÃO PAULO nº 123456",
    "OAB/SP 123.456 desde 2010",
    "OAB/SP nº 123.456 / OAB/RJ nº 98.765",
    "OAB/SP 123456 (suplementar: RJ 555)",
    "123.456 – OAB/SP",
    "123,456/SP",
    "SP 123-456",
    "OAB/SP 123'456",
    "OAB/São-Paulo 123456",
    "0AB/SP 123456",
]
OTHERS = [
    "123456/RJ",
    "123457/SP",
    "123456",
    "OAB/Pará 123456",
    "OAB/PR 1.234/98",
    "PR 0001234567",
    "OAB Mato Grosso do Sul 9",
    "",
    "a inscrever",
    "SP",
    "0",
    None,
]
# Beside the plain number, counted apart (Lei 4.215/1963, art. 62): a trainee's may be a lawyer's but for the letter.
LETTERED = {
    "123456ASP": [
        "oab/sp. nº 123.456-A",
        "123456A/SP",
        "SP 123456 A",
        "123.456 – a / SP",
        "OABSP123456A",
        "123456/SP-A",
        '123456 "A" SP',
        "A123456/SP",
        "OAB/SP A-123.456",
    ],
    "123456BSP": ["OAB/SP 123.456/B", "123456-B SP"],
    "123456ESP": ["OAB/SP 123.456-E", "123456 E/SP", "OAB/SP 123456E desde 2010", "123456 SP (estagiária)"],
    "123456E": ["123.456-e"],
    "123456SP": [
        "OAB/SP 123456 e OAB/RJ 98.765",
        "OAB/SP 123456, a partir de 2010",
        "SP 123456 - A. Silva",
        "SP e 123456",
    ],
}
# Numbers that people write into the wrong field: a firm's lawyers may share them.
NO_REGISTRATION = [
    "123.456.789-09",
    "12345678909",
    "123 456 789 09",
    "111.444.777-35/SP",
    "CPF 529.982.247-25",
    "CPF: 5299822",
    "12.345.678/0001-95",
    "12345678000195",
    "RG 12.345.678-9 SSP/SP",
    "(11) 98765-4321",
    "Dra. Ana (11) 98765-4321",
    "11987654321",
    "+55 11 3456-7890",
    "Tel. 3456-7890",
    "01/02/2010",
    "0001234-56.2020.8.26.0100",
    "00000000000",
]
# A text that is no registration number is the same as itself only.
STRANGERS = ["1d0f7e6a-22c4", "1d0f7e6a-22c5", "1a9-22c4", "AB12C3", "AB12C4", "a1@b.com", "a1@c.com"]


def test_a_registration_number_is_compared_as_it_is_meant(database_url: str) -> None:
    keys = [ask(database_url, "SELECT litgo.oab_key(%s)", (number,))[0][0] for number in (*NUMBERS, *OTHERS)]
    assert set(keys[: len(NUMBERS)]) == {"123456SP"}
    assert keys[len(NUMBERS) :] == [
        "123456RJ",
        "123457SP",
        "123456",
        "123456PA",
        "1234PR",
        "1234567PR",
        "9MS",
        *[None] * 5,
    ]
    lettered = {
        key: {ask(database_url, "SELECT litgo.oab_key(%s)", (n,))[0][0] for n in LETTERED[key]} for key in LETTERED
    }
    assert lettered == {key: {key} for key in LETTERED}
    strangers = {ask(database_url, "SELECT litgo.oab_key(%s)", (number,))[0][0] for number in STRANGERS}
    assert len(strangers) == len(STRANGERS)
    found = {number: ask(database_url, "SELECT litgo.oab_key(%s)", (number,))[0][0] for number in NO_REGISTRATION}
    assert {number: key for number, key in found.items() if key is not None} == {}


def test_the_usual_forms_of_a_registration_number_are_read_at_once_and_alike(database_url: str) -> None:
    parts = {
        "first": ["", "OAB/", "OAB ", "oab"],
        "state": ["", "SP", "TO ", "PA/", "SP.", "XX"],
        "number": ["7", "1.2", "12.345", "123456", "012", "1234567"],
        "sign": ["", "-"],
        "last": ["", "RJ", "SPA"],
    }
    lists = ", ".join(f"unnest(ARRAY{written}) {part}" for part, written in parts.items())
    forms = f"SELECT concat({', '.join(parts)}) AS form FROM {lists}"
    ((number, whole, otherwise),) = ask(
        database_url,
        "SELECT count(*), count(*) FILTER (WHERE litgo.oab_key(form) IS NOT NULL), "
        f"count(*) FILTER (WHERE litgo.oab_key(form) IS DISTINCT FROM litgo.oab_key_read(form)) FROM ({forms}) f",
    )
    assert (number, whole, otherwise) == (864, 864, 0)
    used = ask(
        database_url,
        "SET enable_seqscan = off; EXPLAIN SELECT FROM public.lawyers WHERE litgo.oab_key(oab_number) = '7SP'",
    )
    assert "litgo_lawyers_oab" in used[0][0]  # the index of the whole reading still answers


def test_nobody_is_offered_his_own_case(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ask(
        database_url,
        "UPDATE lawyers SET tags_expertise = '{Civil,Família}'; "
        "UPDATE lawyers SET oab_number = '77/SP' WHERE id IN (md5('lawyer 1')::uuid, md5('lawyer 2')::uuid); "
        "INSERT INTO profiles (id) VALUES (md5('lawyer 1')::uuid); "
        "UPDATE cases SET client_id = md5('lawyer 1')::uuid",
    )
    match(database_url)
    offered = ask(
        database_url,
        "SELECT i FROM generate_series(1, 6) i JOIN offers ON lawyer_id = md5('lawyer ' || i)::uuid ORDER BY 1",
    )
    assert offered == [(3,), (4,), (5,), (6,)]  # nor by his other account


@pytest.mark.parametrize(
    "named",
    [
        "OAB/SP nº 123.456",
        "oab 123456/SP",
        "O.A.B. - SP 123456",
        "OAB/SP&nbsp;123456",
        "inscrito na OAB-SP sob o 123.456",
    ],
)
def test_a_complaint_about_a_lawyer_is_not_offered_to_that_lawyer(database_url: str, named: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ask(
        database_url,
        "UPDATE lawyers SET tags_expertise = '{Civil,Família}', oab_number = 'SP 123.45' || right(name, 1)",
    )
    ask(
        database_url,
        "UPDATE cases SET description = %s",
        (f"O Dr. João ({named}) ficou com o dinheiro do meu acordo.",),
    )
    match(database_url)
    offered = "SELECT l.oab_number FROM offers o JOIN lawyers l ON l.id = o.lawyer_id ORDER BY 1"
    numbers = [number for (number,) in ask(database_url, offered)]
    assert (len(numbers), "SP 123.456" in numbers) == (5, False)


def test_two_accounts_of_one_lawyer_get_one_offer_and_share_a_load(database_url: str) -> None:
    fill(database_url, lawyers=7, cases=1)
    ask(
        database_url,
        "UPDATE lawyers SET tags_expertise = '{Civil,Família}', oab_number = 'SP ' || (100 + "
        "right(name, 1)::int)::text",
    )
    for number, written in ((1, "OAB/SP 9.001"), (2, "9001/SP"), (3, "SP009001")):
        ask(
            database_url,
            "UPDATE lawyers SET oab_number = %s, created_at = created_at - %s * interval '1 day' "
            "WHERE id = md5('lawyer ' || %s)::uuid",
            (written, number, number),
        )
    ask(
        database_url,
        "INSERT INTO cases (id, client_id, area, status, created_at) SELECT md5('old ' || i)::uuid, "
        "md5('client 1')::uuid, 'Civil', 'closed', %s FROM generate_series(1, 4) i",
        (AS_OF,),
    )
    ask(
        database_url,
        "INSERT INTO offers (case_id, lawyer_id, status, sent_at) SELECT md5('old ' || i)::uuid, "
        "md5('lawyer ' || 1 + i %% 2)::uuid, 'declined', %s FROM generate_series(1, 4) i",
        (AS_OF - timedelta(days=3),),
    )
    match(database_url, Plan(exploration=0))
    assert ask(database_url, "SELECT candidates FROM litgo.matchings") == [(5,)]
    accounts = ask(
        database_url,
        "SELECT i FROM generate_series(1, 3) i JOIN offers o ON lawyer_id = "
        "md5('lawyer ' || i)::uuid AND o.status = 'pending'",
    )
    assert accounts == [(3,)]  # the oldest
    loads = "SELECT max((e ->> 'load')::float8) FROM litgo.matchings, jsonb_array_elements(considered) e WHERE "
    ((load,),) = ask(database_url, loads + "e ->> 'lawyer_id' = md5('lawyer 3')::uuid::text")
    ((others,),) = ask(database_url, loads + "e ->> 'lawyer_id' <> md5('lawyer 3')::uuid::text")
    assert load > others
    ask(
        database_url,
        "UPDATE offers SET status = 'declined'; UPDATE lawyers SET is_available = id <> md5('lawyer 3')::uuid",
    )
    match(database_url, as_of=AS_OF + timedelta(hours=1))
    assert ask(database_url, "SELECT count(*) FROM offers WHERE sent_at > %s", (AS_OF + MINUTE,)) == [(0,)]


def twice(url: str, minutes: float, **second: Any) -> None:
    """One case, and another like it so many minutes later."""
    fill(url, cases=1)
    ask(url, "UPDATE cases SET title = 'Divórcio', description = 'Quero me separar.'")
    values = {"client_id": "client_id", "title": "'  divorcio '", "description": "'QUERO ME SEPARAR.'"} | second
    columns = ", ".join(values)
    ask(
        url,
        f"INSERT INTO cases (id, area, created_at, {columns}) SELECT md5('again')::uuid, area, "
        f"created_at + %s * interval '1 minute', {', '.join(values.values())} FROM cases",
        (minutes,),
    )


def matched(url: str) -> list[bool]:
    return [first for (first,) in ask(url, "SELECT case_id <> md5('again')::uuid FROM litgo.matchings ORDER BY 1")]


def test_the_same_case_sent_again_is_one_shown_and_kept(database_url: str) -> None:
    twice(database_url, 5)
    match(database_url)
    assert match(database_url, as_of=AS_OF + MINUTE) == []
    assert matched(database_url) == [True]
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        shown = waits.markdown(waits.parked(cursor))
        cursor.execute("SELECT md5('again')::uuid::text, md5('case 1')::uuid::text")
        again, first = cursor.fetchone() or ("", "")
        with pytest.raises(explain.NotMatched, match=f"repeats case {first}"):
            explain.read_matchings(cursor, again)
    assert f"| {again} |" in shown
    assert f"repetição do caso ({first})" in shown
    assert ask(database_url, "SELECT count(*) FROM cases") == [(2,)]
    ask(database_url, "UPDATE cases SET status = 'cancelled' WHERE id = md5('case 1')::uuid")
    match(database_url, as_of=AS_OF + MINUTE)
    match(database_url, as_of=AS_OF + 2 * MINUTE)
    assert sorted(matched(database_url)) == [False, True]


@pytest.mark.parametrize(
    ("minutes", "second", "plan"),
    [
        (31, {}, Plan()),
        (5, {"description": "'Quero me separar do meu sócio.'"}, Plan()),
        (5, {"client_id": "md5('client 9')::uuid"}, Plan()),
        (5, {"urgency_h": "4"}, Plan()),
        (5, {}, Plan(duplicate_minutes=0)),
    ],
)
def test_what_is_another_case_stays_one(database_url: str, minutes: float, second: dict[str, str], plan: Plan) -> None:
    twice(database_url, minutes, **second)
    match(database_url, plan, as_of=AS_OF + timedelta(hours=1))
    assert sorted(matched(database_url)) == [False, True]


def test_a_repeat_that_becomes_urgent_is_none(database_url: str) -> None:
    twice(database_url, 5, urgency_h="urgency_h")
    match(database_url)
    ask(database_url, "UPDATE cases SET urgency_h = 4")
    match(database_url, as_of=AS_OF + MINUTE)
    assert matched(database_url) == [True]
    ask(database_url, "UPDATE cases SET urgency_h = 3 WHERE id = md5('again')::uuid")
    for minutes in (2, 3):
        match(database_url, as_of=AS_OF + minutes * MINUTE)
    assert sorted(matched(database_url)) == [False, True]


def test_cases_without_words_are_not_alike(database_url: str) -> None:
    fill(database_url, cases=4)
    ask(database_url, "UPDATE cases SET client_id = md5('client 1')::uuid, description = ' '")
    (result,) = match(database_url)
    assert result.matched == 4


def test_the_words_of_a_case_are_read_once_however_many_its_client_sent(database_url: str) -> None:
    fill(database_url, cases=300)
    ask(
        database_url,
        "UPDATE cases SET client_id = md5('client 1')::uuid, "
        "description = (SELECT string_agg('Não paguei, ' || i, ' ') FROM generate_series(1, 400) i) || id",
    )
    ask(database_url, "UPDATE cases SET description = 'O mesmo' WHERE id IN (SELECT id FROM cases LIMIT 2)")
    statement = sql("litgo_pipelines.matching", "duplicates.sql")
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '15s'")
        cursor.execute(statement, {"as_of": AS_OF, "minutes": 100_000})
        assert cursor.rowcount == 1


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("合同 2024", "離婚 2024", False),
        ("Развод 2024", "Долг 2024", False),
        ("Развод, 2024!", "развод 2024", True),
        ("قضية 1", "طلاق 1", False),
        ("คดี 1", "หย่า 1", False),
        ("Łódź 5", "Odz 5", False),
        ("Straße", "Strae", False),
        ("😀 Divórcio 🙏", "DIVORCIO", True),
        ("«Divórcio» – 2ª vara", "divorcio 2 vara", True),
        ("合同。", "合同", True),
    ],
)
def test_two_matters_in_another_script_are_not_alike_for_a_figure_they_share(
    database_url: str, one: str, other: str, alike: bool
) -> None:
    assert ask(database_url, "SELECT litgo.said(%s) = litgo.said(%s)", (one, other)) == [(alike,)]


def test_a_huge_text_is_compared_by_its_beginning_and_a_digest(database_url: str) -> None:
    ((same, other, length),) = ask(
        database_url,
        "SELECT litgo.said('Título', t || 'a') = litgo.said('título', t || 'a'), "
        "litgo.said(t || 'a') = litgo.said(t || 'b'), length(litgo.said(t)) "
        "FROM (SELECT repeat('Não paguei; ', 2000000) AS t) told",
    )
    assert (same, other) == (True, False)
    assert length < 11_000
