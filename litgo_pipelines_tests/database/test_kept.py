"""Connections that looks share: the same one again while it is good, a new one whenever it is not."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg2
import pytest

from litgo_pipelines.database import kept
from litgo_pipelines_tests.support import execute, until
from litgo_pipelines_tests.worlds.sessions import ask


def look(url: str) -> int:
    with kept.connect(url, application_name="look", statement_seconds=5) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_the_next_look_has_the_same_backend_with_nothing_left_of_the_last(database_url: str) -> None:
    first = look(database_url)
    with kept.connect(database_url, application_name="look", statement_seconds=5) as connection:
        cursor = connection.cursor()
        cursor.execute("INSERT INTO public.profiles DEFAULT VALUES; SET LOCAL work_mem = '1MB'; SHOW statement_timeout")
        assert cursor.fetchone() == ("5s",)
    assert look(database_url) == first
    assert ask(database_url, "SELECT count(*) FROM public.profiles") == [(1,)]
    assert ask(database_url, f"SELECT state FROM pg_stat_activity WHERE pid = {first}") == [("idle",)]


def test_what_the_server_ended_is_replaced(database_url: str) -> None:
    first = look(database_url)
    execute(database_url, f"SELECT pg_terminate_backend({first}, 5000)")
    assert look(database_url) != first


def test_an_error_ends_its_connection_and_its_transaction(database_url: str) -> None:
    first = look(database_url)

    def fail() -> None:
        with kept.connect(database_url, application_name="look", statement_seconds=5) as connection:
            connection.cursor().execute("INSERT INTO public.profiles DEFAULT VALUES")
            connection.cursor().execute("SELECT 1 / 0")

    with pytest.raises(psycopg2.Error):
        fail()
    assert look(database_url) != first
    assert ask(database_url, "SELECT count(*) FROM public.profiles") == [(0,)]


def test_looks_at_the_same_time_have_a_connection_each_and_few_stay(database_url: str) -> None:
    with ExitStack() as open_looks:
        pids = set()
        for _ in range(kept.MOST + 2):
            connection = open_looks.enter_context(kept.connect(database_url, application_name="many"))
            pids.add(connection.get_backend_pid())
    assert len(pids) == kept.MOST + 2

    def still() -> set[int]:
        found = ask(database_url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'many'")
        return {pid for (pid,) in found}

    until(lambda: len(still()) <= kept.MOST, 10, "those too many to go")  # closed by us, the server may still know them
    assert still() < pids
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(look, [database_url] * 40))) == 40


def test_an_old_one_is_let_go(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SECONDS", 0)
    assert look(database_url) != look(database_url)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_takes_none_of_its_parent_s(database_url: str) -> None:
    first = look(database_url)
    child = os.fork()
    if child == 0:
        os._exit(0 if look(database_url) != first else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert look(database_url) == first  # the child has not ended it
