"""Whose word counts: reviews of contracts that were in force and ended, once each, of nobody's own; stated figures."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.database import Connection
from litgo_pipelines.evidence.checks import bursts
from litgo_pipelines.evidence.refresh import refresh
from litgo_pipelines.notifications.addresses import mailbox
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)
SIGNED = AS_OF - timedelta(days=30)


@pytest.fixture
def market(database_url: str) -> Iterator[Marketplace]:
    with kept(database_url) as connection, connection:
        yield Marketplace(connection, AS_OF)


def seen(connection: Connection, lawyer: str) -> tuple[Any, ...]:
    """(reviews, concluded, stars) of a lawyer."""
    refresh(connection, AS_OF)
    with connection.cursor() as cursor:
        cursor.execute("SELECT reviews, concluded, stars FROM litgo.lawyer_evidence WHERE lawyer_id = %s", (lawyer,))
        return cursor.fetchone()


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"status": "closed"}, True),
        ({"status": "active", "signed_client": SIGNED, "signed_lawyer": SIGNED}, False),
        ({"status": "pending-signature"}, False),
        ({"status": "canceled", "signed_client": SIGNED}, False),
        ({"status": "closed", "signed_client": None}, False),
        ({"status": "closed", "signed_lawyer": None}, False),
    ],
)
def test_only_contracts_that_were_in_force_and_ended(market: Marketplace, values: dict[str, Any], counts: bool) -> None:
    lawyer = market.lawyer()
    market.review(market.contract(market.case(), lawyer, **values), lawyer)
    assert seen(market.connection, lawyer)[:2] == ((1, 1) if counts else (0, 0))


def test_a_contract_counts_once_by_its_first_review(market: Marketplace) -> None:
    lawyer = market.lawyer()
    contract = market.contract(market.case(), lawyer, status="closed")
    with market.connection.cursor() as cursor:
        cursor.execute("ALTER TABLE public.reviews DROP CONSTRAINT reviews_contract_id_key")
    market.review(contract, lawyer, rating=2, created_at=AS_OF - timedelta(days=3))
    for _ in range(5):
        market.review(contract, lawyer, rating=5)
    assert seen(market.connection, lawyer) == (1, 1, 2)


ADDRESSES = {
    "same address": " Ana@Example.com ",
    "same mailbox": "ana+cliente@example.com",
    "address of another number": "OUTRA.ADVOGADA@gmail.com",
    "mailbox of another number": "outraadvogada+1@googlemail.com",
    "address as a link": "mailto:ana@example.com",
    "address with a letter of no width": "ana@example.com\u200b",
}


@pytest.mark.parametrize("how", [*ADDRESSES, "same account", "same number", "none"])
def test_nobody_reviews_himself(market: Marketplace, how: str) -> None:
    lawyer, other = market.lawyer(oab_number="OAB/SP 123.456"), market.lawyer(oab_number="SP 123456")
    market._insert("profiles", id=lawyer, email="ana@example.com")
    market._insert("profiles", id=other, email="outra.advogada@gmail.com")
    client = market._insert("profiles", email=ADDRESSES.get(how, "cliente@example.com"))
    client = {"same account": lawyer, "same number": other}.get(how, client)
    contract = market.contract(market.case(), lawyer, client_id=client, status="closed")
    market.review(contract, lawyer)
    assert seen(market.connection, lawyer)[0] == (1 if how == "none" else 0)


def test_addresses_that_are_blank_relate_nobody(market: Marketplace) -> None:
    lawyer, client = market.lawyer(), market._insert("profiles", email="  ")
    market._insert("profiles", id=lawyer, email=" ")
    market.review(market.contract(market.case(), lawyer, client_id=client, status="closed"), lawyer)
    assert seen(market.connection, lawyer)[0] == 1


def test_a_mailbox_is_the_same_one_in_the_database_and_here(market: Marketplace) -> None:
    known = [
        *("Ana@Example.com", "ana+x+y@example.com", "a.na@gmail.com", " A.N.A+z@GoogleMail.com ", "a.na@gmail.com.br"),
        *("a.na@example.com", "+5511987654321@fone.example", "+5511900000000@fone.example", "josé@exemplo.com.br"),
    ]
    with market.connection.cursor() as cursor:
        cursor.execute("SELECT litgo.mailbox(one) FROM unnest(%s) WITH ORDINALITY AS t (one, n) ORDER BY n", (known,))
        assert [one for (one,) in cursor.fetchall()] == [mailbox(one) for one in known]
        cursor.execute("SELECT litgo.mailbox(NULL)")
        assert cursor.fetchone() == (None,)
    assert len({mailbox(one) for one in known}) == 7


def test_a_burst_of_reviews_is_flagged(market: Marketplace) -> None:
    burst, steady = market.lawyer(), market.lawyer()
    for number in range(8):
        at = AS_OF - timedelta(days=2, hours=number)
        market.review(market.contract(market.case(), burst, status="closed"), burst, created_at=at)
        market.review(
            market.contract(market.case(), steady, status="closed"),
            steady,
            created_at=AS_OF - timedelta(days=9 * number),
        )
    with market.connection.cursor() as cursor:
        assert [(found.lawyer_id, found.reviews) for found in bursts(cursor, AS_OF)] == [(burst, 8)]


@pytest.mark.parametrize(
    ("stated", "years"),
    [
        (12, 12),
        (12.5, 12.5),
        ("12", 12),
        (" 12 anos ", 12),
        ("doze anos", 12),
        ("Doze", 12),
        ("mais de dez anos", 10),
        ("vinte e cinco anos de advocacia", 25),
        ("trinta", 30),
        ("três", 3),
        ("TRE\u0302S anos", 3),
        ("dezessete", 17),
        ("12,5 anos", 12.5),
        ("10+", 10),
        ("desde 2010", 16),
        ("Desde 05/1998", 28),
        ("advogado desde janeiro de 2020", 6),
        ("1998 a 2010", 12),
        ("10 anos (desde 2014)", 10),
        ("desde os 22 anos", None),
        ("desde 2030", None),
        (2010, None),
        ("-5", None),
        ("muitos", None),
        ("", None),
        ("cento e vinte", None),
        ([12], None),
        (None, None),
        ("quatorze", 14),
        ("um ano", 1),
        ("18 meses", 1.5),
        ("seis meses", 0.5),
        ("2 anos e 6 meses", 2.5),
        ("um ano e meio", 1.5),
        ("dez (10) anos", 10),
        ("10 a 15 anos", 10),
        ("uma década", 10),
        ("vinte-e-cinco anos", 25),
        ("desde 2009 (15 anos)", 15),
        ("30 e poucos anos", 30),
        ("há 12 anos", 12),
        ("１２ anos", 12),
        ("muitos anos", None),
        ("-5 anos", None),
        ({"valor": 12}, None),
        (True, None),
    ],
)
def test_years_are_read_as_people_write_them(market: Marketplace, stated: Any, years: float | None) -> None:
    lawyer = market.lawyer(curriculo_json={"anos_experiencia": stated, "x": 1}, oab_inscription_date=None)
    refresh(market.connection, AS_OF)
    with market.connection.cursor() as cursor:
        cursor.execute("SELECT years FROM litgo.lawyer_evidence WHERE lawyer_id = %s", (lawyer,))
        assert cursor.fetchone() == (years,)


@pytest.mark.parametrize(
    ("stated", "publications"), [("1.200", 1200), ("cinco", 5), ("3 artigos", 3), ("várias", 0), ("2 mil", 2000)]
)
def test_publications_too(market: Marketplace, stated: str, publications: float) -> None:
    lawyer = market.lawyer(curriculo_json={"num_publicacoes": stated})
    refresh(market.connection, AS_OF)
    with market.connection.cursor() as cursor:
        cursor.execute("SELECT publications FROM litgo.lawyer_evidence WHERE lawyer_id = %s", (lawyer,))
        assert cursor.fetchone() == (publications,)
