"""`evidence.sql` against the rules as written in words, on a real Postgres."""

import json
import random
import re
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import Connection
from litgo_pipelines.evidence import refresh as module
from litgo_pipelines.evidence.refresh import Refresh, refresh, score_comments
from litgo_pipelines.evidence.tone import tone
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.simulation.load import simulate
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)
COLUMNS = ("concluded", "won", "years", "publications", "degrees", "response_h", "stars", "reviews", "softskill")
EVERYTHING = (
    "SELECT * FROM litgo.lawyer_evidence ORDER BY lawyer_id",
    "SELECT * FROM litgo.lawyer_subarea_evidence ORDER BY 1, 2, 3",
    "SELECT * FROM litgo.review_sentiment ORDER BY 1",
)


@pytest.fixture
def market(database_url: str) -> Iterator[Marketplace]:
    with kept(database_url) as connection, connection:
        yield Marketplace(connection, AS_OF)


def fetch(connection: Connection, query: str, *parameters: Any) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def evidence(connection: Connection) -> dict[str, dict[str, Any]]:
    rows = fetch(connection, f"SELECT lawyer_id::text, {', '.join(COLUMNS)} FROM litgo.lawyer_evidence")
    return {row[0]: dict(zip(COLUMNS, row[1:], strict=True)) for row in rows}


def subareas(connection: Connection) -> dict[tuple[str, str, str], tuple[float, float]]:
    rows = fetch(connection, "SELECT lawyer_id::text, area, subarea, concluded, won FROM litgo.lawyer_subarea_evidence")
    return {row[:3]: row[3:] for row in rows}


def run(market: Marketplace, as_of: datetime = AS_OF) -> Refresh:
    return refresh(market.connection, as_of)


def reviewed(market: Marketplace, lawyer: str, subarea: str | None = "Contratos", **review: Any) -> str:
    return market.review(market.contract(market.case(subarea=subarea), lawyer, status="closed"), lawyer, **review)


@pytest.mark.parametrize(
    ("profile", "outcomes", "expected"),
    [
        ({}, [], (0, 0)),
        ({}, ["won", "lost", "settled", "ongoing", None], (3, 2)),
        ({"kpi": {"success_rate": 0.8, "success_status": "V"}}, [], (5, 4)),
        ({"kpi": {"success_rate": 0.8, "success_status": " v "}}, ["lost"] * 4, (5, 4)),
        ({"kpi": {"success_rate": 0.8, "success_status": "V"}}, ["lost"] * 5, (5, 0)),  # a tie: what the platform saw
        ({"kpi": {"success_rate": 0.8, "success_status": "P"}}, [], (1, 0.8)),
        ({"kpi": {"success_rate": 0.8, "success_status": "P"}}, ["lost"], (1, 0)),
        ({"kpi": {"success_rate": 0.8, "success_status": "N"}}, [], (0, 0)),
        ({"kpi": {"success_rate": 0.8}}, [], (0, 0)),
        ({"kpi": {"success_status": "V"}}, ["won"], (1, 1)),
        ({"kpi": {"success_rate": 80, "success_status": "V"}}, ["won"], (1, 1)),
        ({"kpi": {"success_rate": "0.8", "success_status": "V"}}, [], (0, 0)),
        ({"kpi": {"success_rate": [0.8], "success_status": ["V"]}}, [], (0, 0)),
        ({"kpi": '"x"'}, [], (0, 0)),
        ({"kpi": '{"success_rate": 1e-400, "success_status": "V"}'}, [], (5, 0)),
        ({"kpi": '{"success_rate": 1e400, "success_status": "V"}'}, [], (0, 0)),
    ],
)
def test_success_is_the_better_founded_of_platform_and_profile(
    market: Marketplace, profile: dict, outcomes: list[str | None], expected: tuple[float, float]
) -> None:
    ana = market.lawyer(**profile)
    for outcome in outcomes:
        reviewed(market, ana, outcome=outcome)
    run(market)
    row = evidence(market.connection)[ana]
    assert (row["concluded"], row["won"]) == pytest.approx(expected)


def test_success_by_subarea(market: Marketplace) -> None:
    stated = {
        "Civil/Contratos": 0.5,
        " Previdenciário / BPC/LOAS ": 1,
        "sem barra": 0.5,
        "/x": 0.5,
        "x/": 0.5,
        "Civil/Cobrança": "0.9",
        "Civil/Danos": 9,
        "Família/Guarda": 0.2,
    }
    ana = market.lawyer(kpi={"success_status": "V"}, kpi_subarea=stated)
    rui = market.lawyer(kpi={"success_status": "N"}, kpi_subarea=stated)
    for kpi_subarea in ("[]", "3", '"x"', "null", "[[1]]", '{"a/b": {"c/d": 0.5}}'):
        market.lawyer(kpi={"success_status": "V"}, kpi_subarea=kpi_subarea)
    for outcome in ["won", "lost", "lost", "settled", "won", "lost"]:
        reviewed(market, ana, outcome=outcome)
    reviewed(market, rui, outcome="lost")
    for subarea in (None, ""):
        reviewed(market, rui, subarea=subarea)
    reviewed(market, rui, subarea="Cobrança", outcome="ongoing")
    assert run(market).subareas == 4
    assert subareas(market.connection) == {
        (ana, "Civil", "Contratos"): (6, 3),  # seen on the platform more often than stated
        (ana, "Previdenciário", "BPC/LOAS"): (5, 5),
        (ana, "Família", "Guarda"): (5, 1),
        (rui, "Civil", "Contratos"): (1, 0),
    }


@pytest.mark.parametrize(
    ("profile", "years"),
    [
        ({}, None),
        ({"oab_inscription_date": date(2016, 3, 10)}, None),
        ({"curriculo_json": {}}, None),
        ({"curriculo_json": "[1]"}, None),
        ({"curriculo_json": {"anos_experiencia": 7}, "oab_inscription_date": date(2016, 3, 10)}, 7),
        ({"curriculo_json": {"num_publicacoes": 1}, "oab_inscription_date": date(2016, 3, 10)}, 10),
        ({"curriculo_json": {"anos_experiencia": 81}, "oab_inscription_date": date(2016, 3, 10)}, 10),
        ({"curriculo_json": {"anos_experiencia": -1}}, None),
        ({"curriculo_json": {"anos_experiencia": "7"}}, 7),
        ({"curriculo_json": {"anos_experiencia": 80}}, 80),
        ({"curriculo_json": '{"anos_experiencia": 1e999}', "oab_inscription_date": date(2030, 1, 1)}, None),
        ({"curriculo_json": {"x": 1}, "oab_inscription_date": date(1900, 1, 1)}, None),
    ],
)
def test_years_of_practice(market: Marketplace, profile: dict, years: float | None) -> None:
    ana = market.lawyer(**profile)
    run(market)
    found = evidence(market.connection)[ana]["years"]
    assert found is None if years is None else found == pytest.approx(years, abs=0.01)


@pytest.mark.parametrize(
    ("stated", "publications"),
    [("3", 3), ("2.5", 2.5), ("-1", 0), ('"3"', 3), ('"x"', 0), ("1e300", 0), ("1e-400", 0), ("null", 0), ("[3]", 0)],
)
def test_publications(market: Marketplace, stated: str, publications: float) -> None:
    ana = market.lawyer(curriculo_json=f'{{"num_publicacoes": {stated}}}')
    run(market)
    assert evidence(market.connection)[ana]["publications"] == publications


@pytest.mark.parametrize(
    ("level", "degree"),
    [
        ("lato sensu", 1),
        ("ESPECIALIZAÇÃO", 1),
        ("Especialista", 1),
        ("Pós-graduação", 1),
        ("MBA", 1),
        ("especializac\u0327a\u0303o", 1),
        ("Mestrado", 2),
        ("mestre", 2),
        ("Mestrado Profissional", 2),
        ("LL.M.", 2),
        ("Stricto sensu", 2),
        ("Doutorado", 3),
        ("DOUTORA", 3),
        ("Pós-Doutorado", 3),
        ("PhD", 3),
        ("Ph. D.", 3),
        ("mestrando", None),
        ("Doutorando", None),
        ("graduação", None),
        ("", None),
    ],
)
def test_levels_of_degrees(market: Marketplace, level: str, degree: int | None) -> None:
    ana = market.lawyer(curriculo_json={"pos_graduacoes": [{"nivel": level, "area": "Civil"}]})
    run(market)
    assert evidence(market.connection)[ana]["degrees"] == ({"Civil": degree} if degree else {})


def test_degrees_are_the_highest_of_an_area_under_its_name_in_the_marketplace(market: Marketplace) -> None:
    degrees = [
        {"nivel": "mestrado", "area": "familia"},
        {"nivel": "lato sensu", "area": " FAMÍLIA "},
        {"nivel": "doutorado", "area": "Ambiental"},
        {"nivel": "doutorado", "area": " "},
        {"nivel": "doutorado"},
        7,
        {"nivel": 3, "area": "Civil"},
        None,
    ]
    ana = market.lawyer(tags_expertise=["Civil", "Família"], curriculo_json={"pos_graduacoes": degrees})
    for absurd in ('{"pos_graduacoes": 3}', '{"pos_graduacoes": {"nivel": "mestrado", "area": "Civil"}}', "null", "7"):
        market.lawyer(curriculo_json=absurd)
    run(market)
    rows = evidence(market.connection)
    assert rows.pop(ana)["degrees"] == {"Família": 2, "Ambiental": 3}
    assert [row["degrees"] for row in rows.values()] == [{}] * 4


@pytest.mark.parametrize(
    ("stated", "answers", "expected"),
    [
        ("6.5", [1, 1, 1], 6.5),
        (None, [1, 5, 30], 5),
        (None, [1, 5, 30, 7], 6),
        (None, [1, 5], None),
        ("0", [2, 2, 2], 2),
        ("-3", [2, 2, 2], 2),
        ('"4"', [2, 2, 2], 2),
        ("1e-400", [2, 2, 2], 2),
        ("1e400", [2, 2, 2], 2),
        ("1e400", [], None),
    ],
)
def test_response_time(market: Marketplace, stated: str | None, answers: list[int], expected: float | None) -> None:
    ana = market.lawyer(kpi=f'{{"tempo_resposta_h": {stated}}}' if stated else None)
    for hours in answers:
        sent = AS_OF - timedelta(days=9)
        market.offer(market.case(), ana, sent_at=sent, responded_at=sent + timedelta(hours=hours), status="declined")
    for asked, answered in ((-181, -180.5), (-9, None), (-0.1, 0.1), (-9, -10)):  # too old, none, future, absurd
        sent_at = AS_OF + timedelta(days=asked)
        at = AS_OF + timedelta(days=answered) if answered else None
        market.offer(market.case(), ana, sent_at=sent_at, responded_at=at)
    run(market)
    assert evidence(market.connection)[ana]["response_h"] == expected


def test_stars_are_the_mean_of_the_possible_ratings(market: Marketplace) -> None:
    with market.connection.cursor() as cursor:
        cursor.execute("ALTER TABLE public.reviews DROP CONSTRAINT reviews_rating_check")
    ana, rui = market.lawyer(), market.lawyer()
    for rating in (5, 4, 4, 0, 99):
        reviewed(market, ana, rating=rating)
    reviewed(market, rui, rating=-1)
    run(market)
    rows = evidence(market.connection)
    assert (rows[ana]["stars"], rows[ana]["reviews"]) == (pytest.approx(13 / 3), 3)
    assert (rows[rui]["stars"], rows[rui]["reviews"]) == (None, 0)


@pytest.mark.parametrize("stated", [None, 0.9, 1.7, -1, float("nan")])
def test_soft_skills_are_the_tone_of_the_comments_else_what_is_stated(
    market: Marketplace, stated: float | None
) -> None:
    ana, rui = market.lawyer(kpi_softskill=stated), market.lawyer(kpi_softskill=stated)
    for comment in ("Péssimo.", "Não gostei do atendimento", None, "", "Contrato 123"):
        reviewed(market, ana, comment=comment)
    reviewed(market, rui, comment="Contrato 123")
    run(market)
    rows = evidence(market.connection)
    scores = [tone("Péssimo."), tone("Não gostei do atendimento")]
    assert rows[ana]["softskill"] == pytest.approx((sum(s for s in scores if s is not None) + 1) / 4)
    assert rows[rui]["softskill"] == (pytest.approx(0.9) if stated == 0.9 else None)


def test_a_marketplace_without_soft_skills(market: Marketplace, database_url: str) -> None:
    execute(database_url, "ALTER TABLE lawyers DROP COLUMN kpi_softskill CASCADE")
    migrate(database_url)
    ana = market.lawyer()
    run(market)
    assert evidence(market.connection)[ana]["softskill"] is None


def test_only_what_happened_by_the_instant_counts(market: Marketplace) -> None:
    ana = market.lawyer(created_at=AS_OF)
    for moment in (AS_OF, AS_OF + timedelta(seconds=1)):
        reviewed(market, ana, created_at=moment, comment="Excelente!")
    late = market.lawyer(created_at=AS_OF + timedelta(seconds=1))
    assert run(market).lawyers == 1
    row = evidence(market.connection)[ana]
    assert (row["concluded"], row["reviews"]) == (1, 1)
    assert row["softskill"] == pytest.approx(((tone("Excelente!") or 0) + 1) / 3)
    assert subareas(market.connection) == {(ana, "Civil", "Contratos"): (1, 1)}
    run(market, AS_OF + timedelta(days=1))
    assert evidence(market.connection)[ana]["reviews"] == 2
    assert late in evidence(market.connection)
    run(market)  # back again
    assert set(evidence(market.connection)) == {ana}
    assert evidence(market.connection)[ana]["reviews"] == 1


def test_only_what_differs_is_written_and_who_is_gone_is_forgotten(market: Marketplace) -> None:
    ana, rui, gone = (market.lawyer(kpi={"success_rate": 1 / 3, "success_status": "V"}) for _ in range(3))
    for lawyer in (ana, rui):
        reviewed(market, lawyer, comment="Muito atencioso")
    first = run(market)
    assert (first.lawyers, first.lawyers_changed, first.subareas_changed, first.comments_scored) == (3, 3, 2, 2)
    later = AS_OF + timedelta(hours=1)
    again = run(market, later)
    assert (again.lawyers_changed, again.subareas_changed, again.comments_scored) == (0, 0, 0)
    assert fetch(market.connection, "SELECT as_of FROM litgo.evidence_refresh") == [(later,)]
    reviewed(market, rui, outcome="lost")
    with market.connection.cursor() as cursor:
        cursor.execute("DELETE FROM lawyers WHERE id = %s", (gone,))
        cursor.execute("DELETE FROM public.reviews WHERE lawyer_id = %s", (ana,))
    third = run(market, later)
    assert (third.lawyers_changed, third.subareas_changed) == (3, 2)
    assert set(evidence(market.connection)) == {ana, rui}
    assert list(subareas(market.connection)) == [(rui, "Civil", "Contratos")]
    assert len(fetch(market.connection, "SELECT 1 FROM litgo.review_sentiment")) == 1
    touched = fetch(market.connection, "SELECT DISTINCT as_of FROM litgo.lawyer_evidence")
    assert touched == [(later,)]


def test_a_comment_is_scored_once_until_it_or_the_lexicon_changes(
    market: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = market.lawyer()
    review = reviewed(market, ana, comment="Bom")
    for comment in ("", "\n\t", "ótimo " * 20_000, "'; DROP TABLE reviews; -- \\ %s {} 😍\x07", "ok"):
        reviewed(market, ana, comment=comment)
    monkeypatch.setattr(module, "BATCH", 2)
    assert score_comments(market.connection) == 6
    assert score_comments(market.connection) == 0
    with market.connection.cursor() as cursor:
        cursor.execute("UPDATE reviews SET comment = 'Ruim' WHERE id = %s", (review,))
    assert score_comments(market.connection) == 1
    score = "SELECT score::float8 FROM litgo.review_sentiment WHERE review_id = %s"
    assert fetch(market.connection, score, review) == [(tone("Ruim"),)]
    monkeypatch.setattr(module, "version", lambda: "another")
    assert score_comments(market.connection) == 6
    with market.connection.cursor() as cursor:
        cursor.execute("UPDATE reviews SET comment = NULL")
    assert run(market).comments_scored == 0
    assert evidence(market.connection)[ana]["softskill"] is None


def test_empty_marketplace(market: Marketplace) -> None:
    figures = run(market)
    assert (figures.lawyers, figures.lawyers_changed, figures.subareas, figures.comments_scored) == (0, 0, 0, 0)


def test_naive_instants_are_refused(market: Marketplace) -> None:
    with pytest.raises(ValueError, match="zone or offset"):
        refresh(market.connection, datetime(2026, 3, 10))  # noqa: DTZ001


def test_without_an_instant_it_is_now(market: Marketplace) -> None:
    before = datetime.now(UTC) - timedelta(seconds=5)
    assert before < refresh(market.connection).as_of < datetime.now(UTC) + timedelta(seconds=5)


def test_a_failed_read_leaves_what_there_was(market: Marketplace) -> None:
    market.lawyer()
    run(market)
    market.connection.commit()
    with market.connection.cursor() as cursor:
        cursor.execute("ALTER VIEW litgo_source.offers RENAME COLUMN responded_at TO answered_at")
    with pytest.raises(psycopg2.errors.UndefinedColumn, match="responded_at"):
        run(market, AS_OF + timedelta(days=1))
    market.connection.rollback()
    assert len(evidence(market.connection)) == 1
    assert fetch(market.connection, "SELECT as_of FROM litgo.evidence_refresh") == [(AS_OF,)]


def plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text.strip()) if not unicodedata.combining(c)).lower()


def number(holder: Any, key: str, low: float, high: float) -> float | None:
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return float(value)


def written(holder: Any, key: str, low: float, high: float) -> float | None:
    """The same where the figure may be a text."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(value, str) and re.fullmatch(r"[0-9.]+", value):
        holder = {key: float(value)}
    return number(holder, key, low, high)


def degree_level(name: str) -> int:
    words = set(re.findall(r"[a-z]+", plain(name)))
    if words & {"doutorado", "doutor", "doutora", "phd"}:
        return 3
    if words & {"mestrado", "mestre"} or plain(name) == "stricto sensu":
        return 2
    return int("lato" in words or "especializacao" in words or "mba" in words)


def expected(connection: Connection, as_of: datetime) -> tuple[dict[str, dict[str, Any]], dict[tuple, tuple]]:
    """The evidence as the rules say it in words, lawyer by lawyer."""
    reviews = defaultdict(list)
    for lawyer, *review in fetch(
        connection,
        "SELECT c.lawyer_id::text, k.area, k.subarea, r.rating, r.outcome, r.comment FROM reviews r "
        "JOIN contracts c ON c.id = r.contract_id JOIN cases k ON k.id = c.case_id WHERE r.created_at <= %s "
        "AND c.status = 'closed' AND c.signed_client IS NOT NULL AND c.signed_lawyer IS NOT NULL",
        as_of,
    ):
        reviews[lawyer].append(review)
    answers = defaultdict(list)
    for lawyer, sent, responded in fetch(
        connection, "SELECT lawyer_id::text, sent_at, responded_at FROM offers WHERE responded_at IS NOT NULL"
    ):
        if as_of - timedelta(days=180) < sent <= responded <= as_of:
            answers[lawyer].append((responded - sent) / timedelta(hours=1))
    found: dict[str, dict[str, Any]] = {}
    by_subarea: dict[tuple, tuple] = {}
    for lawyer, kpi, kpi_subarea, softskill, cv, inscribed, areas in fetch(
        connection,
        "SELECT id::text, kpi, kpi_subarea, kpi_softskill::float8, curriculo_json, oab_inscription_date, "
        "tags_expertise || primary_area FROM lawyers WHERE created_at <= %s",
        as_of,
    ):
        mine = reviews[lawyer]
        stated = {"V": 5, "P": 1}.get(str((kpi if isinstance(kpi, dict) else {}).get("success_status")), 0)
        outcomes = defaultdict(list)
        for area, subarea, _, outcome, _ in mine:
            if outcome in ("won", "settled", "lost"):
                outcomes[area, subarea].append(outcome != "lost")
        ended = sum(map(len, outcomes.values()))
        won = float(sum(map(sum, outcomes.values())))
        rate = number(kpi, "success_rate", 0, 1)
        if rate is not None and stated > ended:
            ended, won = stated, stated * rate
        results = {key: (len(of), sum(of)) for key, of in outcomes.items()}
        for name in kpi_subarea if isinstance(kpi_subarea, dict) else {}:
            key = tuple(part.strip() for part in name.split("/", 1))
            share = number(kpi_subarea, name, 0, 1)
            if len(key) == 2 and all(key) and share is not None and stated > results.get(key, (0, 0))[0]:
                results[key] = stated, stated * share
        by_subarea |= {(lawyer, *key): value for key, value in results.items() if value[0]}
        years: float | None = None
        degrees: dict[str, int] = {}
        if isinstance(cv, dict) and cv:
            since_oath = (as_of.date() - inscribed).days / 365.25 if inscribed else -1
            years = written(cv, "anos_experiencia", 0, 80)
            years = since_oath if years is None and 0 <= since_oath <= 80 else years
            for degree in cv["pos_graduacoes"] if isinstance(cv.get("pos_graduacoes"), list) else []:
                if isinstance(degree, dict) and all(isinstance(degree.get(k), str) for k in ("nivel", "area")):
                    stated_area = degree["area"].strip()
                    reached = degree_level(degree["nivel"]) if stated_area else 0
                    for named in {a for a in areas if plain(a) == plain(stated_area)} or {stated_area}:
                        degrees |= {named: max(degrees.get(named, 0), reached)} if reached else {}
        response = number(kpi, "tempo_resposta_h", 0.001, 8760)
        if response is None and len(answers[lawyer]) >= 3:
            response = statistics.median(answers[lawyer])
        stars = [rating for _, _, rating, _, _ in mine]
        tones = [said for *_, comment in mine if comment and (said := tone(comment)) is not None]
        if tones:
            softskill = (sum(tones) + 0.5 * 2) / (len(tones) + 2)
        elif softskill is not None and not 0 <= softskill <= 1:
            softskill = None
        found[lawyer] = {
            "concluded": ended,
            "won": won,
            "years": years,
            "publications": written(cv, "num_publicacoes", 0, 10000) or 0.0,
            "degrees": degrees,
            "response_h": response,
            "stars": statistics.mean(stars) if stars else None,
            "reviews": len(stars),
            "softskill": softskill,
        }
    return found, by_subarea


ABSURD: tuple[Any, ...] = (None, "", "0.4", -1, 0, 0.3, 1, 7, 41.5, 1e6, 1e300, True, [], [0.5], {}, {"a": 1})
AREAS = ("Civil", "civil ", "FAMILIA", "Família", "Trabalhista", "Direito Civil", "", " ", 4)
LEVELS = ("Doutorado", "MESTRADO", "lato sensu", "Especialização", "Stricto sensu", "PhD", "graduação", "", None, 3)
NAMES = ("Civil/Contratos", "Família/Guarda", "Previdenciário/BPC/LOAS", "x", "/", "a/", "Civil / x")


def absurd_profile(rng: random.Random) -> dict[str, Any]:
    def some(**values: Any) -> Any:
        if rng.random() < 0.1:
            return rng.choice(ABSURD)
        return {key: value for key, value in values.items() if rng.random() < 0.8}

    return {
        "kpi": some(
            success_rate=rng.choice((*ABSURD, 0.25, 0.5, 0.9)),
            success_status=rng.choice(["V", "P", "N", "x", None]),
            tempo_resposta_h=rng.choice(ABSURD),
        ),
        "kpi_subarea": some(**{name: rng.choice((*ABSURD, 0.25, 0.5)) for name in rng.sample(NAMES, 3)}),
        "curriculo_json": some(
            anos_experiencia=rng.choice(ABSURD),
            num_publicacoes=rng.choice(ABSURD),
            pos_graduacoes=[
                rng.choice([{"nivel": rng.choice(LEVELS), "area": rng.choice(AREAS)}, rng.choice(ABSURD)])
                for _ in range(rng.randrange(4))
            ],
        ),
        "kpi_softskill": rng.choice([None, 0.25, 0.75, 1.5, -0.5, float("nan")]),
    }


@pytest.mark.parametrize("days_before_the_end", [0, 30])
def test_against_a_plain_loop_on_a_simulated_marketplace(database_url: str, days_before_the_end: int) -> None:
    """The statement agrees with the rules evaluated lawyer by lawyer in Python, on absurd profiles too."""
    simulate(database_url, seed=5, lawyers=300, cases=2500, days=84, end=AS_OF, progress=False)
    as_of = AS_OF - timedelta(days=days_before_the_end)
    rng = random.Random(11)
    with kept(database_url) as connection, connection:
        for (lawyer,) in fetch(connection, "SELECT id::text FROM lawyers ORDER BY id")[::2]:
            profile = absurd_profile(rng)
            values = [v if k == "kpi_softskill" else json.dumps(v) for k, v in profile.items()]
            with connection.cursor() as cursor:
                cursor.execute(
                    f"UPDATE lawyers SET ({', '.join(profile)}) = (%s, %s, %s, %s) WHERE id = %s", (*values, lawyer)
                )
        figures = refresh(connection, as_of)
        rows, by_subarea = expected(connection, as_of)
        found, found_by_subarea = evidence(connection), subareas(connection)
    assert figures.lawyers == len(rows) == len(found) > 250
    for lawyer, row in rows.items():
        for column, value in row.items():
            right = value if value is None or column == "degrees" else pytest.approx(value, rel=1e-4, abs=1e-3)
            assert found[lawyer][column] == right, (lawyer, column)
    for column in COLUMNS:  # nothing agrees only because it never occurs
        assert sum(bool(row[column]) for row in rows.values()) > 10, column
    assert set(found_by_subarea) == set(by_subarea)
    assert len(by_subarea) > 300
    for key, pair in by_subarea.items():
        assert found_by_subarea[key] == pytest.approx(pair), key
