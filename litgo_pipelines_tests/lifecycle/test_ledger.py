import threading
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import connect, libpq
from litgo_pipelines.lifecycle import ledger


def append(cursor: Any, transition: str, version: str, expected: int, key: str | None = None) -> ledger.Entry:
    return ledger.append(cursor, transition, key or f"{transition} {version}", version, {"n": 1}, "run", expected)


def test_the_newest_champion_serves(database_url: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        assert ledger.current_champion(cursor) is None
        assert ledger.head(cursor) == 0
        append(cursor, "candidate", "1", 0)
        append(cursor, "champion", "1", 1)
        append(cursor, "candidate", "2", 2)
        append(cursor, "rejected", "2", 3)
        champion = ledger.current_champion(cursor)
    assert champion == ledger.Entry(2, "champion", "champion 1", "1", {"n": 1}, "run")


def test_the_same_key_again_changes_nothing(database_url: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        first = append(cursor, "candidate", "1", 0)
        assert append(cursor, "candidate", "1", 0) == first
        assert append(cursor, "candidate", "1", 1) == first
        assert ledger.head(cursor) == 1


def test_refuses_unknown_transitions_and_wrong_sequences(database_url: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        with pytest.raises(ValueError, match="unknown transition"):
            append(cursor, "king", "1", 0)
        for expected in (1, 7):
            with pytest.raises(ledger.LedgerConflict, match="ledger is at 0"):
                append(cursor, "candidate", "1", expected)
        assert ledger.head(cursor) == 0


@pytest.mark.parametrize("statement", ["UPDATE litgo.model_ledger SET version = '9'", "DELETE FROM litgo.model_ledger"])
def test_nothing_is_ever_changed(database_url: str, statement: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        append(cursor, "candidate", "1", 0)
    with (
        pytest.raises(psycopg2.errors.RaiseException, match="append-only"),
        connect(database_url) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize("first_commits", [True, False])
def test_of_two_appends_at_once_one_wins(database_url: str, first_commits: bool) -> None:
    outcome: list[object] = []

    def second() -> None:
        try:
            with connect(database_url) as connection, connection.cursor() as cursor:
                outcome.append(append(cursor, "champion", "2", 0))
        except ledger.LedgerConflict as error:
            outcome.append(error)

    with closing(psycopg2.connect(libpq(database_url))) as connection:
        with connection.cursor() as cursor:
            append(cursor, "champion", "1", 0)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()  # it waits for the first to end
        if first_commits:
            connection.commit()
        else:
            connection.rollback()
        thread.join(timeout=20)
    with connect(database_url) as connection, connection.cursor() as cursor:
        champion = ledger.current_champion(cursor)
        assert champion is not None
        assert ledger.head(cursor) == 1
    if first_commits:
        assert isinstance(outcome[0], ledger.LedgerConflict)
        assert champion.version == "1"
    else:
        assert champion.version == "2"
