"""Places as people enter them, numbers that are none, words for areas, and how far a case looks for lawyers."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.marketplace.geo import states
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.matching import explain
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match
from litgo_pipelines_tests.worlds.sessions import ask, kept

ISLANDS = [(-32.42, -3.85), (-33.81, -3.87), (-29.32, -20.51), (-28.86, -20.48), (-29.35, 0.92), (-38.7, -17.96)]
FAR_TOWNS = [
    (-53.46, -33.69),
    (-51.83, 3.84),
    (-60.17, 4.6),
    (-73.66, -7.11),
    (-34.79, -7.15),
    (-48.55, -27.6),
    (-69.94, -4.25),
    (-57.09, -29.76),
    (-45.36, -23.78),
    (-61.15, 4.43),
]
BRAZIL = [(s.lng, s.lat) for s in states()] + ISLANDS + FAR_TOWNS
ABROAD = [
    (-58.4, -34.6),
    (-56.16, -34.9),
    (-57.63, -25.28),
    (-52.33, 4.93),
    (-77.03, -12.05),
    (-74.07, 4.71),
    (-9.14, 38.72),
    (-80.2, 25.8),
    (46.63, 23.55),
    (46.63, -23.55),
    (0, 0),
    (-20, -20),
    (200, 95),
]


def placed(url: str, lng: Any, lat: Any) -> Any:
    ((at,),) = ask(url, "SELECT litgo.placed(point(%s::float8, %s::float8))::text", (lng, lat))
    return at and tuple(float(value) for value in at.strip("()").split(","))


def test_the_place_that_is_meant(database_url: str) -> None:
    for lng, lat in BRAZIL:
        assert placed(database_url, lng, lat) == (lng, lat)
        assert placed(database_url, lat, lng) == (lng, lat)  # swapped
    for lng, lat in ABROAD:
        assert placed(database_url, lng, lat) is None, (lng, lat)
    for odd in ("NaN", "Infinity", "-Infinity"):
        assert placed(database_url, odd, -23.5) is None
        assert placed(database_url, -46.6, odd) is None
        assert placed(database_url, odd, odd) is None
    assert ask(database_url, "SELECT litgo.placed(NULL)") == [(None,)]


@pytest.mark.parametrize(
    "place", ["('NaN',-23.5)", "(-46.6,'NaN')", "('Infinity',0)", "('-Infinity','NaN')", "(0,0)", "(200,95)"]
)
def test_a_case_with_a_place_that_is_none_is_served_from_anywhere_and_holds_up_nobody(
    database_url: str, place: str
) -> None:
    fill(database_url, cases=6)
    ask(database_url, f"UPDATE cases SET coords = point{place} WHERE id = md5('case 2')::uuid")
    (result,) = match(database_url)
    assert (result.matched, result.failures) == (6, {})
    assert ask(database_url, "SELECT radius_km FROM litgo.matchings WHERE case_id = md5('case 2')::uuid") == [(None,)]


def test_a_swapped_case_and_one_with_numbers_only_find_the_lawyers_near_them(database_url: str) -> None:
    fill(database_url, cases=3)
    ask(database_url, "UPDATE cases SET coords = point(-23.55, -46.63) WHERE id = md5('case 1')::uuid")
    ask(database_url, "UPDATE cases SET coords = NULL, lat = -23.55, lng = -46.63 WHERE id = md5('case 2')::uuid")
    ask(
        database_url, "UPDATE cases SET coords = point(0, 0), lat = -46.63, lng = -23.55 WHERE id = md5('case 3')::uuid"
    )
    match(database_url)
    assert ask(database_url, "SELECT radius_km, count(*) FROM litgo.matchings GROUP BY 1") == [(50.0, 3)]


@pytest.mark.parametrize(
    "change",
    [
        "geo_latlon = point(-23.55, -46.63)",
        "geo_latlon = NULL, lat = -23.55, lng = -46.63",
        "geo_latlon = point('NaN', 1), lat = -23.55, lng = -46.63",
        "geo_latlon = point(0, 0), lat = -46.63, lng = -23.55",
    ],
)
def test_a_lawyer_is_where_he_means_to_be(database_url: str, change: str) -> None:
    fill(database_url, lawyers=5, cases=1)
    ask(database_url, f"UPDATE lawyers SET {change} WHERE id = md5('lawyer 4')::uuid")
    match(database_url)
    assert ask(database_url, "SELECT candidates, radius_km FROM litgo.matchings") == [(5, 50.0)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE public.lawyers ALTER max_concurrent_cases TYPE real; "
        "UPDATE lawyers SET max_concurrent_cases = 'NaN'",
        "ALTER TABLE public.cases ALTER urgency_h TYPE numeric; UPDATE cases SET urgency_h = 'NaN'",
        "ALTER TABLE public.cases ALTER urgency_h TYPE float8; UPDATE cases SET urgency_h = '-Infinity'",
        "UPDATE cases SET urgency_h = 0",
        "UPDATE lawyers SET created_at = '-infinity'",
        "UPDATE litgo.lawyer_evidence SET years = 'NaN', response_h = 'Infinity', softskill = 'NaN'",
        'UPDATE litgo.lawyer_evidence SET degrees = \'{"Civil": "NaN"}\'',
    ],
)
def test_a_number_that_is_none_is_nobodys_trouble(database_url: str, change: str) -> None:
    fill(database_url, cases=4)
    alter, _, update = change.rpartition("; ")
    if alter:  # a marketplace whose column has this type: the views are made on it
        ask(database_url, f"DROP SCHEMA litgo_source CASCADE; {alter}")
        migrate(database_url)
    where = {"lawyers": "id", "cases": "id", "litgo.lawyer_evidence": "lawyer_id"}[update.split()[1]]
    name = "case 2" if "cases" in update.split()[1] else "lawyer 7"
    ask(database_url, f"{update} WHERE {where} = md5('{name}')::uuid")
    (result,) = match(database_url)
    assert (result.matched, result.failures) == (4, {})
    assert ask(database_url, "SELECT count(*) FROM offers") == [(20,)]


AREAS = [
    "familia",
    "FAMÍLIA",
    "Fami\u0301lia",
    " Família  ",
    "Família\u00a0",
    "Direito de Família",
    "direito da familia",
    "DIREITO DE FAMÍLIA E SUCESSÕES",
    "Fam\u200bília",
    "\u202aFam\u2066ília\u202c",
    "Famílias",
]


@pytest.mark.parametrize("said", AREAS)
def test_an_area_is_understood_whichever_side_says_it(database_url: str, said: str) -> None:
    fill(database_url, lawyers=9, cases=2)
    ask(database_url, "UPDATE cases SET area = CASE id WHEN md5('case 1')::uuid THEN %s ELSE 'Família' END", (said,))
    ask(database_url, "UPDATE lawyers SET tags_expertise = ARRAY[%s] WHERE id = md5('lawyer 3')::uuid", (said,))
    ask(
        database_url,
        "UPDATE lawyers SET tags_expertise = '{}', primary_area = %s WHERE id = md5('lawyer 6')::uuid",
        (said,),
    )
    (result,) = match(database_url)
    assert (result.matched, result.waiting, result.offers) == (2, 0, 6)
    assert ask(database_url, "SELECT DISTINCT candidates FROM litgo.matchings") == [(3,)]


SAID = {
    "Trabalhista": "Direito do Trabalho|Trabalhista / Sindical|Labour law|employment|Trab.|CLT|"
    "Acidente de trabalho|ASSÉDIO MORAL|"
    "Derecho laboral|causas trabalhistas|D. do Trabalho|processos trabalhistas",
    "Consumidor": "Código de Defesa do Consumidor|CDC|consumer rights|CONSUMIDOR!!|Plano de saúde|consumidor.|"
    "consumidora|Lei do Consumidor",
    "Família": "Dir. de Família|Vara de Família|Família (divórcio)|Família/Sucessões|Família & Sucessões|"
    "Family law|Divórcio|Pensão alimentícia|Fam.|DireitoDeFamilia|direito_de_familia|Ｆａｍíｌｉａ|"
    "famílıa|#familia 👨\u200d👩\u200d👧|Especialista em Direito de Família|"
    "dto de familia|Derecho de familia|Família ou Civil|Familia y Penal|família → guarda|Ação de alimentos",
    "Civil": "Cível|Civil - Contratos|Direito Civil e Empresarial|Civil law|Danos morais|Responsabilidade Civil",
    "Previdenciário": "Previdenciário (INSS)|Social security|aposentadoria|BPC/LOAS|Auxílio-doença|Prev.",
    "Criminal": "Penal|Criminal law|Violência doméstica|Execução penal|Advogado(a) criminalista|"
    "Derecho penal|Abogado penal|Lei Maria da Penha|penais",
    "Tributário": "Direito Tributário e Fiscal|Tax|TRIBUTÁRIA|Execução fiscal",
    "Empresarial": "Empresarial/Societário|Business law|Corporate|Recuperação judicial",
    "Imobiliário": "Direito Imobiliário e Urbanístico|Real estate|Usucapião|locação|Condomínio|"
    "inmobiliario|Ação de despejo",
    "Digital": "Digital law|Golpe do Pix|Golpe on-line|Proteção de dados|Cyber",
}
NO_CHOICE = (
    "Não sei|ñ sei|n sei|naosei|NS/NR|Sei lá|não faço ideia|Não tenho ideia|não lembro|"
    "Prefiro não dizer|Não encontrei a minha área|Outro(s)|Outros (especificar)|Outra coisa|"
    "Outro tipo de problema|Demais áreas|Todas|Qualquer uma|Indiferente|Sem preferência|A classificar|"
    "A definir|Em dúvida|Nenhuma das anteriores|Área não listada|-- Selecione --|Please select|Select…|"
    "Others|I don't know|not sure|None of the above|N/A|n.d.|[object Object]|undefined|null|—|???|…|0|"
    "123|🤷| \u200b |Geral|Diversos|Vários|"
    "no sé|Otra área|ninguna|no aplica|seleccione|nem sei|vcs decidem|me ajudem a escolher|não se enquadra|"
    "Outra (qual?)|ainda não definido|sem área definida|qqr uma|Direito|Jurídico|Preciso de advogado|N/I|"
    "\\N|not applicable|unspecified|Selecionar|mais de uma|clínico geral|s/i|aguardando triagem|teste"
)
A_CHOICE = (
    "Outros - Família|Família|Direito Geral do Trabalho|Não pagamento|Sem-teto|Todas as guardas|"
    "Dúvidas trabalhistas|Nacionalidade|Otros - Familia|Direito de greve|Ajuda de custo|Testemunho"
)


def test_an_area_is_the_one_that_is_meant(database_url: str) -> None:
    words = [(word, area) for area, said in SAID.items() for word in said.split("|")]
    found = ask(
        database_url,
        "SELECT word, litgo.area_name(word), litgo.area_label(word) "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS w (word, place) ORDER BY place",
        ([word for word, _ in words],),
    )
    assert found == [(word, area, area) for word, area in words]
    stale = "SELECT (SELECT count(*) FROM litgo.area_words WHERE key <> litgo.area_key(key)) + "
    stale += "(SELECT count(*) FROM litgo.subarea_words WHERE key <> litgo.area_key(subarea))"
    assert ask(database_url, stale) == [(0,)]  # else a backup could not be restored
    unknown = ["Marítimo", "Direito Ambiental", "Bancário", "Saúde e bem-estar"]
    assert [ask(database_url, "SELECT litgo.area_name(%s)", (word,))[0][0] for word in unknown] == unknown


def test_what_is_no_choice_and_what_is_one(database_url: str) -> None:
    chosen = "SELECT word FROM unnest(string_to_array(%s, '|')) AS word WHERE litgo.chosen(word) IS {} NULL"
    assert ask(database_url, chosen.format("NOT"), (NO_CHOICE,)) == []
    assert ask(database_url, chosen.format(""), (A_CHOICE,)) == []


@pytest.mark.parametrize(
    ("case", "tag"), [("Divórcio", "Família e Sucessões"), ("Family law", "Civil, Família"), ("CDC", "Consumer")]
)
def test_words_of_both_sides_meet(database_url: str, case: str, tag: str) -> None:
    fill(database_url, lawyers=3, cases=1)
    ask(database_url, "UPDATE cases SET area = %s", (case,))
    ask(database_url, "UPDATE lawyers SET primary_area = NULL, tags_expertise = ARRAY[%s]", (tag,))
    (result,) = match(database_url)
    assert (result.matched, result.offers) == (1, 3)


def test_a_list_of_thousands_of_areas_holds_up_nobody(database_url: str) -> None:
    fill(database_url, lawyers=3, cases=1)
    ask(
        database_url,
        "UPDATE lawyers SET tags_expertise = (SELECT array_agg('Civil'::text) FROM generate_series(1, 20000)) "
        "WHERE id = md5('lawyer 1')::uuid; UPDATE cases SET area = 'Civil'; "
        "UPDATE lawyers SET primary_area = 'Civil'",
    )
    name = make_url(database_url).database
    execute(database_url, f"ALTER DATABASE {name} SET temp_file_limit = '100MB'")
    (result,) = match(database_url)
    assert (result.matched, result.offers) == (1, 3)


def test_words_for_areas_are_data(database_url: str) -> None:
    fill(database_url, lawyers=3, cases=1)
    ask(database_url, "UPDATE lawyers SET tags_expertise = '{Direito Penal}', primary_area = NULL")
    ask(database_url, "UPDATE cases SET area = 'Criminal'")
    (result,) = match(database_url)
    assert result.offers == 3
    ask(database_url, "INSERT INTO litgo.area_words VALUES ('navegacao', 'Marítimo'), ('maritimo', 'Marítimo')")
    ask(database_url, "UPDATE lawyers SET tags_expertise = '{Navegação}'")
    ask(
        database_url,
        "DELETE FROM offers; DELETE FROM case_matches; DELETE FROM litgo.matchings; "
        "DELETE FROM litgo.exposures; DELETE FROM litgo.outbox",
    )
    ask(database_url, "UPDATE cases SET area = 'Direito Marítimo'")
    (result,) = match(database_url, as_of=AS_OF + timedelta(hours=1))
    assert result.offers == 3


def test_a_lookup_of_areas_and_places_takes_the_indexes(database_url: str) -> None:
    fill(database_url, lawyers=4000, cases=1)
    ask(
        database_url,
        "UPDATE lawyers SET tags_expertise = '{Marítimo}' WHERE id <> md5('lawyer 3')::uuid; ANALYZE lawyers",
    )
    for condition, index in (
        ("litgo.area_keys(l.tags_expertise, l.primary_area) && litgo.area_variants('Família')", "area_keys"),
        ("litgo.placed(l.geo_latlon) <@ box '((-46.64,-23.6),(-46.6399,-23.5999))'", "placed"),
    ):
        plan = "\n".join(line for (line,) in ask(database_url, f"EXPLAIN SELECT l.id FROM lawyers l WHERE {condition}"))
        assert f"litgo_lawyers_{index}" in plan


def test_a_plain_area_is_read_at_once_and_alike(database_url: str) -> None:
    words = ["Civil", "família", "FAMÍLIA", "Ação", "Órfãos", "Àéôü", "direito", "Direito Civil", "direitoCivil", "x"]
    words += ["Civil\n", " Civil ", "Civil,Família", "Fami\u0301lia", "Cível/Penal", "área de saúde", "", "ß", "İ"]
    words += ["c" * 250]
    lists: list[object] = [None, [], words[:4], words[3:8], words[4:12], [None, "Civil", None]]
    lists += [[words[number - 1], one] for number, one in enumerate(words)]
    ((alike, shifted, nested),) = ask(
        database_url,
        "SELECT bool_and(coalesce(quick @> whole AND quick <@ whole, false)), "
        "litgo.area_keys('[0:1]={Civil,Penal}', NULL) @> '{civil,penal}', "
        "litgo.area_keys('{{Civil},{Penal}}', 'Família') = '{familia}' FROM unnest(%s::jsonb[]) l, unnest(%s) area, "
        "LATERAL (SELECT CASE WHEN l IS NOT NULL THEN "
        "coalesce((SELECT array_agg(v #>> '{}') FROM jsonb_array_elements(l) v), '{}') END AS areas) said, "
        "LATERAL (SELECT litgo.area_keys(areas, area) AS quick, litgo.area_keys_read(areas, area) AS whole) keys",
        ([None if one is None else json.dumps(one) for one in lists], [*words, None]),
    )
    assert (alike, shifted, nested) == (True, True, True)


@pytest.mark.parametrize("local", [1, 2, 3, 4])
def test_local_lawyers_come_first_at_any_number(database_url: str, local: int) -> None:
    fill(database_url, lawyers=40, cases=6)
    ask(database_url, "UPDATE cases SET area = 'Civil'")
    # the others are better and have less to do, in Rio and in Manaus
    ask(
        database_url,
        "UPDATE lawyers SET geo_latlon = CASE WHEN random() < .5 THEN point(-43.2, -22.9) ELSE point(-60, -3.1) END",
    )
    ask(
        database_url,
        "UPDATE lawyers SET geo_latlon = point(-46.63, -23.55) WHERE id IN "
        "(SELECT md5('lawyer ' || i)::uuid FROM generate_series(1, %s) i)",
        (local,),
    )
    ask(
        database_url,
        "UPDATE litgo.equity_history SET cases_30d = 9 WHERE lawyer_id IN "
        "(SELECT md5('lawyer ' || i)::uuid FROM generate_series(1, %s) i)",
        (local,),
    )
    match(database_url, Plan(exploration=0.3))
    counted = "count(*) FILTER (WHERE lawyer_id IN (SELECT md5('lawyer ' || i)::uuid FROM generate_series(1, %s) i))"
    assert ask(database_url, f"SELECT DISTINCT count(*), {counted} FROM offers GROUP BY case_id", (local,)) == [
        (5, local)
    ]
    assert ask(
        database_url,
        "SELECT DISTINCT (breakdown ->> 'propensity')::float8 FROM case_matches WHERE breakdown ? 'nearest'",
    ) == [(1.0,)]


def test_closeness_falls_over_the_widened_radius_and_the_explanation_says_which(database_url: str) -> None:
    fill(database_url, lawyers=6, cases=1)
    ask(database_url, "UPDATE cases SET area = 'Civil'")
    for number, place in ((1, "(-46.7,-23.5)"), (2, "(-43.2,-22.9)"), (3, "(-47.9,-15.8)"), (4, "(-60,-3.1)")):
        ask(database_url, "UPDATE lawyers SET geo_latlon = %s WHERE id = md5('lawyer ' || %s)::uuid", (place, number))
    ask(
        database_url,
        "UPDATE lawyers SET is_available = false WHERE id IN (md5('lawyer 5')::uuid, md5('lawyer 6')::uuid)",
    )
    match(database_url)
    closeness = [
        float(g)
        for (g,) in ask(
            database_url,
            "SELECT e -> 'features' ->> 'G' FROM litgo.matchings, jsonb_array_elements(considered) e, "
            "generate_series(1, 4) i WHERE e ->> 'lawyer_id' = md5('lawyer ' || i)::uuid::text ORDER BY i",
        )
    ]
    assert closeness == sorted(closeness, reverse=True)
    assert closeness[0] > 0.99
    assert 0.3 < closeness[3] < 0.5  # some 2,700 km of 4,500
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT case_id::text FROM litgo.matchings")
        (found,) = explain.read_matchings(cursor, cursor.fetchone()[0])
    assert "anywhere (closeness falls to 0 at 4500 km)" in explain.text(found, explain.contributions(found))
