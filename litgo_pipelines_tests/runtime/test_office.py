"""The office's page over real HTTP, on a real database: what it shows, to whom, and what it says of a failed read."""

import html
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import requests
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from litgo_pipelines.contracts.requests import request_signatures
from litgo_pipelines.database import connect, open_connection
from litgo_pipelines.notifications.wording import moment
from litgo_pipelines.observability.hosts import Hosts
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.runtime.ui import office
from litgo_pipelines.runtime.ui.accounts import Sessions, hashed, read_accounts
from litgo_pipelines.runtime.ui.doors import Access, Doors
from litgo_pipelines.runtime.ui.office_page import STYLE, lasted, number
from litgo_pipelines_tests.support import execute, free_port, until
from litgo_pipelines_tests.worlds.contracts import add_contract
from litgo_pipelines_tests.worlds.lifecycle import Life
from litgo_pipelines_tests.worlds.rows import Marketplace

NOW = datetime.now(UTC).replace(microsecond=0)
PASSWORD = "a long password"
EVIL = "<script>alert(1)</script> & 'x'"


@pytest.fixture(autouse=True)
def the_page_is_read_when_it_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how long something waits by the clock, which goes on while other tests run."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


async def dagster(scope: Scope, receive: Receive, send: Send) -> None:
    """What stands behind the doors."""
    await PlainTextResponse("Dagster's own page")(scope, receive, send)


@contextmanager
def served(url: str | None, accounts: str = "") -> Iterator[str]:
    """The address of the page, behind the doors."""
    port = free_port()
    access = Access(Hosts.read("localhost,127.0.0.1", ""), Sessions(b"k" * 32, read_accounts(accounts), 3600))
    config = uvicorn.Config(Doors(dagster, access, office.Office(url)), port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, 20, "the server")
        yield f"http://127.0.0.1:{port}{office.PATH}"
    finally:
        server.should_exit = True
        thread.join(10)


def section(page: str, key: str) -> str:
    """A section's text as a reader sees it, its cells separated by blanks."""
    (found,) = re.findall(rf'<section id="{key}"[^>]*>(.*?)</section>', page, re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", found)).split())


def card(page: str, key: str) -> tuple[str, str]:
    """Its state and figure."""
    ((state, figure),) = re.findall(rf'<a class="(\w+)" href="#{key}">[^<]*<strong>([^<]*)</strong>', page)
    return state, figure


def parked(market: Marketplace, reason: str, hours: float, **values: object) -> str:
    case = market.case(**values)
    with market.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO litgo.case_waits (case_id, round, reason, since, looks, looked_at, rest_until, next_look_at, "
            "case_digest) VALUES (%s, 1, %s, %s, 1, %s, %s, %s, '')",
            (case, reason, NOW - timedelta(hours=hours), NOW, NOW, None if reason == "rounds_over" else NOW),
        )
        cursor.execute(
            "INSERT INTO litgo.triage (case_id, status, as_of, urgency_h, urgency_source, alternatives, sources, "
            "complexity) VALUES (%s, 'classified', %s, 72, 'default', '[]', '{}', 'LOW')",
            (case, NOW),
        )
    return case


def to_review(market: Marketplace, hours: float, urgency_h: float, **values: object) -> str:
    case = market.case(area=None, subarea=None)
    row = {
        "reason": "danger_unsure",
        "as_of": NOW - timedelta(hours=hours),
        "urgency_h": urgency_h,
        "life_at_risk": False,
        **values,
    }
    with market.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO litgo.triage (case_id, status, reason, as_of, urgency_h, urgency_source, life_at_risk, "
            "alternatives, sources, complexity) VALUES (%s, 'review', %s, %s, %s, 'text', %s, %s, '{}', 'LOW')",
            (case, *row.values(), '[{"area": "Família", "subarea": "Guarda", "confidence": 0.41}]'),
        )
    return case


def test_an_empty_database_says_that_nothing_waits_and_what_never_was(database_url: str) -> None:
    with served(database_url) as address:
        answer = requests.get(address, timeout=30)
    assert answer.status_code == 200
    page = answer.text
    assert '<html lang="pt-BR">' in page
    assert '<meta http-equiv="refresh" content="60">' in page
    assert "Nenhum caso está parado." in section(page, "parados")
    assert "Nenhum caso aguarda revisão." in section(page, "revisao")
    assert "Nenhum contrato espera assinatura em papel." in section(page, "contratos")
    assert card(page, "modelo") == ("look", "pesos fixos")
    assert card(page, "noite") == ("look", "nenhuma")
    assert "Acesso sem login" in page


def test_what_waits_stands_there_the_most_urgent_first(database_url: str) -> None:
    with connect(database_url) as connection:
        market = Marketplace(connection, NOW)
        slow = parked(market, "nobody", 50, urgency_h=72)
        soon = parked(market, "rounds_over", 3, urgency_h=2, area="Família")
        unknown = parked(market, "nobody", 30)
        overdue = to_review(market, 5, 4, life_at_risk=True)
        market.case(area=None, urgency_h=None)  # not read yet
        cursor = connection.cursor()
        cursor.execute(
            "INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) "
            "SELECT 'case_waits', id, 'x', '{\"name\": \"Bia Segredo\"}', %s FROM profiles LIMIT 1",
            (NOW - timedelta(hours=5, minutes=10),),
        )
    contract = add_contract(database_url)
    opened = open_connection(database_url)
    request_signatures(opened, DocuSign(), datetime.now(UTC), limit=10, signing_days=7)
    opened.close()
    life = Life(database_url)
    life.at = NOW - timedelta(hours=3)
    life.champion("3")
    with served(database_url) as address:
        page = requests.get(address, timeout=30).text
    stands = section(page, "parados")
    assert stands.index(soon) < stands.index(slow) < stands.index(unknown)
    assert f"2 h 3 h {soon} Família ninguém aceitou em todas as rodadas" in stands
    assert "2 dias e 2 h" in stands
    assert "quando algo mudar" in stands
    assert card(page, "parados") == ("look", "3")
    review = section(page, "revisao")
    assert f"4 h, vencida ⚠ vida em risco {overdue} 5,0" in review
    assert "Família/Guarda 41%" in review
    assert "190" in review, "whom to call"
    assert card(page, "triagem") == ("look", "1")
    assert "ainda sem urgência conhecida 1 10 dias" in section(page, "triagem")
    due = datetime.now(UTC) + timedelta(days=7, hours=-3)
    assert f"{contract} {due:%d/%m/%Y} cliente, advogado(a)" in section(page, "contratos")
    assert card(page, "mensagens")[0] == "look"
    assert "A entregar: 5, a mais antiga há 5 h 10 min" in section(page, "mensagens")
    assert card(page, "modelo") == ("fine", "versão 3")
    assert f"desde {moment(life.at)}" in section(page, "modelo")
    assert "1 mensagem" in section(page, "mensagens"), "nobody was told, and nobody will be: the profile has no address"
    assert "Segredo" not in page


def test_the_night_and_the_backup_are_late_as_the_status_says(database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO litgo.offer_distribution (night, as_of, lawyers, offers, cases, gini, coverage, pools) "
        "VALUES (current_date, now() - interval '90 minutes', 9, 9, 9, 0.2871, 0.8125, '{}')",
        "INSERT INTO litgo.backups (made_at, name, bytes) VALUES (now() - interval '3 hours', 'a', 1)",
    )
    with served(database_url) as address:
        page = requests.get(address, timeout=30).text
        assert card(page, "noite") == ("fine", "há 1 h 30 min")
        assert "Gini 0,287; cobertura 81,2 %" in section(page, "noite")
    execute(database_url, "UPDATE litgo.offer_distribution SET as_of = now() - interval '27 hours'")
    with served(database_url) as address:
        assert card(requests.get(address, timeout=30).text, "noite") == ("look", "há 1 dia e 3 h")


def test_what_the_marketplace_holds_is_text_and_no_page(database_url: str) -> None:
    with connect(database_url) as connection:
        market = Marketplace(connection, NOW)
        case = parked(market, "nobody", 3, area=EVIL, title="Título secreto", description="Texto secreto")
        cursor = connection.cursor()
        cursor.execute(
            "INSERT INTO litgo.matching_failures (case_id, attempts, first_failed_at, last_failed_at, retry_at, "
            "reason, dead) VALUES (%s, 3, %s, %s, %s, %s, true)",
            (case, NOW, NOW, NOW, f'"><img src=x onerror=alert(1)> {EVIL}'),
        )
    with served(database_url) as address:
        answer = requests.get(address, timeout=30)
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert "onerror=alert(1)&gt; &lt;script&gt;" in answer.text
    assert "secreto" not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert STYLE in answer.text
    assert " style=" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_list_that_cannot_be_read_says_so_and_leaves_the_others_alone(database_url: str) -> None:
    execute(database_url, "ALTER TABLE litgo.case_waits RENAME TO elsewhere")
    with served(database_url) as address:
        answer = requests.get(address, timeout=30)
    assert answer.status_code == 200
    assert card(answer.text, "parados") == ("unread", "?")
    assert "não quer dizer que não há nada" in section(answer.text, "parados")
    assert "Nenhum caso está parado" not in answer.text
    assert card(answer.text, "revisao") == ("fine", "0")


@pytest.mark.parametrize("url", [None, "postgresql://nobody@127.0.0.1:1/litgo"])
def test_without_a_database_every_list_says_that_it_was_not_read(url: str | None) -> None:
    with served(url) as address:
        answer = requests.get(address, timeout=60)
    assert answer.status_code == 503
    assert '<meta http-equiv="refresh"' in answer.text, "it comes back by itself"
    for key, _ in office.READERS:
        assert card(answer.text, key) == ("unread", "?")
    assert "nobody" not in answer.text


def test_who_may_see_it(database_url: str) -> None:
    accounts = f"ana:operator:{hashed(PASSWORD)} olga:viewer:{hashed(PASSWORD)}"
    with served(database_url, accounts) as address:
        here, login = address.removesuffix(office.PATH), address.replace(office.PATH, "/litgo/login")
        assert requests.get(address, timeout=30).status_code == 401
        asked = requests.get(address, headers={"Accept": "text/html"}, timeout=30, allow_redirects=False)
        assert asked.headers["Location"] == "/litgo/login?next=%2Fescritorio"
        for name in ("ana", "olga"):
            session = requests.Session()
            form = {"name": name, "password": PASSWORD, "next": office.PATH}
            entered = session.post(login, form, headers={"Origin": here}, timeout=30)
            assert entered.url == address
            assert f"{name} · <a href='/litgo/logout'>sair</a>" in entered.text
            assert session.get(f"{address}/", timeout=30).status_code == 200
            assert session.head(address, timeout=30).text == ""
            assert session.post(address, headers={"Origin": here}, timeout=30).status_code == 405
            refused = session.get(address, headers={"Host": "rebound.example"}, timeout=30)
            assert refused.status_code == 403
            assert session.get(f"{here}/runs", timeout=30).text == "Dagster's own page"


def test_many_readers_are_one_reading(database_url: str) -> None:
    with connect(database_url) as connection:
        parked(Marketplace(connection, NOW), "nobody", 3)
    with served(database_url) as address:
        first = requests.get(address, timeout=30).text
        execute(database_url, "DELETE FROM litgo.case_waits")
        assert card(requests.get(address, timeout=30).text, "parados") == card(first, "parados") == ("look", "1")


def test_a_long_list_says_how_many_there_are(database_url: str) -> None:
    with connect(database_url) as connection:
        parked(Marketplace(connection, NOW), "nobody", 3)
    execute(
        database_url,
        "INSERT INTO public.cases (id, client_id, area, created_at) SELECT gen_random_uuid(), client_id, area, "
        f"created_at FROM public.cases, generate_series(1, {office.MOST})",
        "INSERT INTO litgo.case_waits SELECT c.id, reason, round, since, looks, looked_at, rest_until, next_look_at, "
        "case_digest FROM public.cases c, litgo.case_waits ON CONFLICT DO NOTHING",
    )
    with served(database_url) as address:
        page = requests.get(address, timeout=30).text
    assert card(page, "parados") == ("look", "101")
    assert "Os 100 primeiros de 101" in section(page, "parados")
    assert page.count("<tr") == page.count("</tr") >= office.MOST


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 min"), (59, "0 min"), (3600, "1 h"), (5400, "1 h 30 min"), (86_400, "1 dia"), (1e8, "1.157 dias")],
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert lasted(seconds) == said


def test_numbers_as_in_brazil() -> None:
    assert number(1234567.891, 2) == "1.234.567,89"
