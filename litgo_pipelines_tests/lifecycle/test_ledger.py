import random
import threading
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import Cursor, connect, libpq, normalise
from litgo_pipelines.lifecycle import ledger, states
from litgo_pipelines.marketplace import migrate
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.lifecycle import Life
from litgo_pipelines_tests.worlds.sessions import kept


def append(cursor: Cursor, transition: str, version: str, expected: int, key: str | None = None) -> ledger.Entry:
    return ledger.append(cursor, transition, key or f"{transition} {version}", version, {"n": 1}, "run", expected)


def test_the_newest_champion_serves(database_url: str) -> None:
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        assert ledger.current_champion(cursor) is None
        assert ledger.head(cursor) == 0
        append(cursor, "candidate", "1", 0)
        append(cursor, "champion", "1", 1)
        append(cursor, "candidate", "2", 2)
        append(cursor, "candidate", "3", 3)
        champion = ledger.current_champion(cursor)
    assert champion is not None
    assert champion == ledger.Entry(2, "champion", "champion 1", "1", {"n": 1}, "run", recorded_at=champion.recorded_at)


def test_the_same_key_again_changes_nothing(database_url: str) -> None:
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        first = append(cursor, "candidate", "1", 0)
        assert append(cursor, "candidate", "1", 0) == first
        assert append(cursor, "candidate", "1", 1) == first
        assert ledger.head(cursor) == 1


def test_refuses_unknown_transitions_and_wrong_sequences(database_url: str) -> None:
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        with pytest.raises(ValueError, match="unknown transition"):
            append(cursor, "king", "1", 0)
        for expected in (1, 7):
            with pytest.raises(ledger.LedgerConflict, match="ledger is at 0"):
                append(cursor, "candidate", "1", expected)
        assert ledger.head(cursor) == 0


@pytest.mark.parametrize("statement", ["UPDATE litgo.model_ledger SET version = '9'", "DELETE FROM litgo.model_ledger"])
def test_nothing_is_ever_changed(database_url: str, statement: str) -> None:
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
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
            with kept(database_url) as connection, connection, connection.cursor() as cursor:
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
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        champion = ledger.current_champion(cursor)
        assert champion is not None
        assert ledger.head(cursor) == 1
    if first_commits:
        assert isinstance(outcome[0], ledger.LedgerConflict)
        assert champion.version == "1"
    else:
        assert champion.version == "2"


def by(at: datetime = datetime(2026, 3, 1, tzinfo=UTC), by_hand: bool = False) -> ledger.Actor:
    return ledger.Actor("ana", "because", at, "run", by_hand)


def test_what_serves_is_the_same_by_query_and_by_fold(database_url: str) -> None:
    draw, at, written = random.Random(3), datetime(2026, 3, 1, tzinfo=UTC), set()
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        for n in range(250):
            at += timedelta(hours=draw.choice([1, 30]))
            current = ledger.state(cursor)
            transition: Any = draw.choice([*states.TRANSITIONS, "champion", "rolled_back", "rolled_back"])
            version = current.champion if transition == "rolled_back" else str(draw.randrange(1, 25))
            successor = draw.choice([None, *current.predecessors]) if transition == "rolled_back" else None
            hand = by(at, by_hand=draw.random() < 0.7)
            try:
                ledger.apply_transition(cursor, transition, f"{n}", version or "1", {}, hand, successor=successor)
            except ledger.Refused:
                continue
            written.add(transition)
            champion = ledger.current_champion(cursor)
            assert (champion.version if champion else None) == ledger.state(cursor).champion
            assert champion is None or champion.transition == "champion"
        assert written == set(states.TRANSITIONS)


def test_says_who_and_why_or_nothing(life: Life) -> None:
    for who, reason in (("", "because"), ("ana", " ")):
        with pytest.raises(ledger.Refused, match="says who and why"):
            ledger.Actor(who, reason, datetime(2026, 3, 1, tzinfo=UTC), "run")
    with pytest.raises(ValueError, match="no zone"):
        ledger.Actor("ana", "because", datetime(2026, 3, 1), "run")  # noqa: DTZ001
    life.champion("1")
    assert life.rows("SELECT actor, reason, recorded_at FROM litgo.model_ledger WHERE sequence = 2") == [
        ("test", "better", life.at)
    ]
    with pytest.raises(psycopg2.errors.CheckViolation, match="says_who_and_why"):
        life.do(append, "rolled_back", "1", 2)


def test_a_key_stands_for_one_transition(life: Life) -> None:
    life.champion("1")
    with pytest.raises(ledger.LedgerConflict, match="was the champion of version 1"):
        life.do(ledger.apply_transition, "champion", "champion e1", "2", {}, by())


def test_versions_that_are_other_models(life: Life) -> None:
    for version in ("1", "2"):
        life.champion(version)
    assert life.do(ledger.versions_of_others, "candidate key 2") == {"1"}
    assert life.do(ledger.versions_of_others, "candidate key 3") == {"1", "2"}


def test_a_ledger_of_before_keeps_its_meaning(postgres_server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"litgo_old_{uuid.uuid4().hex[:12]}"
    execute(postgres_server_url, f"CREATE DATABASE {name}")
    url = normalise(postgres_server_url, name)
    everything = migrate.migrations()
    with monkeypatch.context() as before, connect(url) as connection, connection.cursor() as cursor:
        before.setattr(migrate, "migrations", lambda: [found for found in everything if found[0] < 13])
        migrate._own_schema(cursor)  # no views then, nor the indexes of later migrations
        migrate._marketplace(cursor)
    execute(
        url,
        "INSERT INTO litgo.model_ledger (sequence, transition, transition_key, version, evidence, run_id) VALUES "
        "(1, 'candidate', 'a', '1', '{\"snapshot_sha256\": \"x\"}', 'r'), (2, 'champion', 'b', '1', '{}', 'r'), "
        "(3, 'candidate', 'c', '2', '{}', 'r'), (4, 'rejected', 'd', '2', '{}', 'r')",
    )
    migrate.migrate(url)
    with kept(url) as connection, connection, connection.cursor() as cursor:
        state = ledger.state(cursor)
        champion = ledger.current_champion(cursor)
    assert (state.stages, state.data) == ({"1": "champion", "2": "archived"}, {"1": "x"})
    assert champion is not None
    assert (champion.sequence, champion.version) == (2, "1")
    execute(postgres_server_url, f"DROP DATABASE {name} WITH (FORCE)")
