"""A peer that falls silent is given up within a minute, whoever waits; a long statement is waited for."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import psycopg2
import pyarrow as pa
import pytest

from litgo_pipelines.database import Connection, Cursor, DatabaseUnavailable, arrow, connect, open_connection, watch
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import until
from litgo_pipelines_tests.worlds.silence import Proxy, proxied

pytestmark = [
    pytest.mark.slow,
    pytest.mark.proof(
        "litgo_pipelines/database",
        "litgo_pipelines/resources/postgres.py",
        "litgo_pipelines_tests/conftest.py",
        "litgo_pipelines_tests/worlds/silence.py",
    ),
]
SILENT = "fell silent"


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    with proxied(database_url) as there:
        yield there


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of a minute."""
    for name, seconds in {"LOOK_AFTER": 1.0, "LOOK_EVERY": 0.5, "ASK_SECONDS": 1.0, "TICK": 0.1}.items():
        monkeypatch.setattr(watch, name, seconds)
    monkeypatch.setattr("litgo_pipelines.database.CONNECT_SECONDS", 2)
    monkeypatch.setattr("litgo_pipelines.database.PREPARE_SECONDS", 2.0)


@contextmanager
def ends_within(seconds: float, said: str = SILENT) -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises((psycopg2.OperationalError, DatabaseUnavailable), match=said):
        yield
    assert time.monotonic() - began < seconds


KINDS: dict[str, Callable[[str], AbstractContextManager[Connection]]] = {
    "cli": connect,
    "sensor": lambda url: Postgres(url=url).look(),
    "run": lambda url: Postgres(url=url).connect(),
    "several transactions": lambda url: Postgres(url=url).session(),
}


def silence(proxy: Proxy) -> None:
    proxy.silent = True


def lost_answers(proxy: Proxy) -> None:
    proxy.mute = True


def one_connection(proxy: Proxy) -> None:
    proxy.stick()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [silence, lost_answers, one_connection])
def test_a_statement_ends(proxy: Proxy, impatient: None, fault: Callable[[Proxy], None], kind: str) -> None:
    with ends_within(10), KINDS[kind](proxy.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        fault(proxy)
        cursor.execute("SELECT 2")


@pytest.mark.parametrize("fault", [silence, lost_answers, one_connection])
def test_a_commit_ends_and_says_that_its_outcome_is_not_known(
    proxy: Proxy, impatient: None, database_url: str, fault: Callable[[Proxy], None]
) -> None:
    with ends_within(10, "committed is not known"), connect(proxy.url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO public.profiles DEFAULT VALUES")
        fault(proxy)
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM profiles")
        assert cursor.fetchone() == (int(fault is lost_answers),)


@pytest.mark.parametrize("fault", [silence, lost_answers, one_connection])
def test_a_rollback_ends_and_the_first_error_stays(
    proxy: Proxy, impatient: None, fault: Callable[[Proxy], None]
) -> None:
    def work() -> None:
        with connect(proxy.url) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO public.profiles DEFAULT VALUES")
            fault(proxy)
            raise RuntimeError("ours")

    began = time.monotonic()
    with pytest.raises(RuntimeError, match="ours"):
        work()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("fault", [silence, lost_answers])
def test_connecting_ends(proxy: Proxy, impatient: None, fault: Callable[[Proxy], None]) -> None:
    fault(proxy)
    with ends_within(25, "no connection to Postgres"), connect(proxy.url):
        pass


def test_a_peer_that_falls_silent_after_the_login(proxy: Proxy, impatient: None) -> None:
    def after_the_login() -> None:
        until(lambda: b"search_path" in proxy.heard, 20, "the first statement")
        proxy.silent = True

    threading.Thread(target=after_the_login, daemon=True).start()
    with ends_within(25, "no connection to Postgres|fell silent"):
        while True:  # until one meets the silence
            with connect(proxy.url) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1")


@pytest.mark.parametrize("rows", [1, 3_000_000])
def test_a_stream_of_rows_ends(proxy: Proxy, impatient: None, rows: int) -> None:
    query = f"SELECT i, pg_sleep(CASE i WHEN 1 THEN 2 END) IS NULL FROM generate_series(1, {rows}) AS i"
    with (
        closing(open_connection(proxy.url)) as connection,
        connection.cursor() as cursor,
        ends_within(15),
        arrow.stream(cursor, query, {"i": pa.int64(), "slept": pa.bool_()}, 1 << 16) as batches,
    ):
        threading.Timer(1, lambda: setattr(proxy, "silent", True)).start()
        for _ in batches:
            pass


def test_a_slow_reader_is_no_silence(proxy: Proxy, impatient: None) -> None:
    with closing(open_connection(proxy.url)) as connection, connection.cursor() as cursor:
        query = "SELECT i, true FROM generate_series(1, 600000) AS i"
        with arrow.stream(cursor, query, {"i": pa.int64(), "slept": pa.bool_()}, 1 << 20) as batches:
            read = []
            for number, batch in enumerate(batches):
                time.sleep(5 if number == 0 else 0)
                read.append(batch.num_rows)
    assert sum(read) == 600_000


def test_who_gives_up_a_stream_goes_on_with_the_connection(proxy: Proxy) -> None:
    def give_up(cursor: Cursor) -> None:
        query = "SELECT i FROM generate_series(1, 3000000) AS i"
        with arrow.stream(cursor, query, {"i": pa.int64()}, 1 << 16) as batches:
            next(batches)
            raise LookupError

    with closing(open_connection(proxy.url)) as connection, connection.cursor() as cursor:
        with pytest.raises(LookupError):
            give_up(cursor)
        connection.rollback()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_long_statement_and_a_wait_for_a_lock_are_waited_for(
    proxy: Proxy, impatient: None, database_url: str
) -> None:
    with closing(open_connection(proxy.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(4), 1")
        assert cursor.fetchone() == ("", 1)
        with connect(database_url) as other, other.cursor() as holder:
            holder.execute("LOCK TABLE public.profiles")
            threading.Timer(4, other.rollback).start()
            cursor.execute("SELECT count(*) FROM profiles")
            assert cursor.fetchone() == (0,)


def test_a_process_of_the_server_that_was_stopped(database_url: str, impatient: None) -> None:
    with closing(open_connection(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone() or (0,)
        if not os.path.exists(f"/proc/{backend}"):
            pytest.skip("the server is on another machine")
        threading.Timer(0.5, os.kill, (backend, signal.SIGSTOP)).start()
        try:
            with ends_within(10, "is stopped"):
                cursor.execute("SELECT count(*) FROM generate_series(1, 30000) a, generate_series(1, 30000) b")
        finally:
            os.kill(backend, signal.SIGCONT)


def test_a_limit_is_kept_by_the_client_when_the_server_does_not(
    database_url: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GRACE", 1.0)
    with closing(open_connection(database_url, statement_seconds=2)) as connection, connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        with ends_within(8, "no answer in"):
            cursor.execute("SELECT pg_sleep(30)")


@pytest.mark.parametrize("fault", [silence, one_connection])
def test_a_minute_is_enough_with_what_ships(proxy: Proxy, fault: Callable[[Proxy], None]) -> None:
    with ends_within(55), connect(proxy.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        fault(proxy)
        cursor.execute("SELECT 2")
