"""Waiting cases and lawyers with concluded ones, whose texts are to be embedded."""

from datetime import UTC, datetime, timedelta

from litgo_pipelines.database import connect
from litgo_pipelines_tests.worlds.rows import Marketplace

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)


def market(url: str) -> tuple[list[str], list[str]]:
    """Everyone consents: (40 waiting cases, 6 lawyers of whom the first has 12 concluded cases, the last none)."""
    with connect(url) as connection:
        rows = Marketplace(connection, AS_OF)
        cases = [rows.case(title=f"caso {n}", description=f"multa do contrato numero {n}") for n in range(40)]
        lawyers = [rows.lawyer() for _ in range(6)]
        for number in range(16):
            concluded = rows.case(description=f"despejo por atraso, apartamento {number}", status="closed")
            lawyer = lawyers[0 if number < 12 else number - 11]
            created = AS_OF - timedelta(days=100 - number)
            rows.contract(concluded, lawyer, status="closed", created_at=created)
        rows.everyone_consents()
    return cases, lawyers
