"""The breaker between real processes on a real Postgres."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import DatabaseUnavailable, libpq
from litgo_pipelines.resources.bounded import BriefDatabase
from litgo_pipelines.resources.circuit_breaker import CircuitBreaker
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.processes import Child
from litgo_pipelines_tests.worlds.resources import let_pause_pass

PATIENT = 60.0  # seconds a statement may take here: only the two tests of the bound itself are about less


def ask_for_admission(commands: Connection, url: str, lease: float) -> None:
    """When told to, asks for admission and says what it got; told again, it reports a success."""
    breaker = CircuitBreaker("openai", BriefDatabase(url, seconds=PATIENT), threshold=2, pause_seconds=600)
    commands.send("ready")
    commands.recv()
    admission = breaker.admit(lease)
    commands.send("probe" if admission.probe else "open" if admission.retry_in is not None else "closed")
    commands.recv()
    commands.send(str(breaker.succeeded(admission)))


class Asking:
    """One such process."""

    def __init__(self, url: str, lease: float) -> None:
        self._commands, theirs = Pipe()
        self.child = Child(ask_for_admission, theirs, url, lease)
        theirs.close()

    def go(self) -> None:
        self._commands.send("go")

    def read(self) -> str:
        assert self._commands.poll(PATIENT), self.child.output()
        return str(self._commands.recv())


@pytest.fixture
def breaker(database_url: str) -> Iterator[CircuitBreaker]:
    database = BriefDatabase(database_url, seconds=PATIENT)
    yield CircuitBreaker("openai", database, threshold=2, pause_seconds=600)
    database.close()


@pytest.fixture
def processes(database_url: str) -> Iterator[Callable[[int, float], list[Asking]]]:
    """Starts n processes and returns when they are ready to ask."""
    started: list[Asking] = []

    def start(number: int, lease: float) -> list[Asking]:
        new = [Asking(database_url, lease) for _ in range(number)]
        started.extend(new)
        assert [process.read() for process in new] == ["ready"] * number
        return new

    yield start
    for process in started:
        if process.child.alive():
            process.child.kill()


def go(*processes: Asking) -> list[str]:
    for process in processes:
        process.go()
    return [process.read() for process in processes]


def state(url: str) -> str:
    with closing(psycopg2.connect(libpq(url))) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT state FROM litgo.circuit_breakers WHERE service = 'openai'")
        return cursor.fetchone()[0]


def open_it(breaker: CircuitBreaker) -> None:
    assert not breaker.failed(breaker.admit(5), "timeout")
    assert breaker.failed(breaker.admit(5), "timeout")


def test_a_success_ends_the_run_of_failures(breaker: CircuitBreaker, database_url: str) -> None:
    for _ in range(3):
        assert not breaker.failed(breaker.admit(5), "timeout")
        assert not breaker.succeeded(breaker.admit(5))
    assert state(database_url) == "closed"
    open_it(breaker)
    assert state(database_url) == "open"


def test_a_service_without_a_row_gets_one(database_url: str) -> None:
    breaker = CircuitBreaker("another", BriefDatabase(database_url, seconds=PATIENT), threshold=1)
    first = breaker.admit(5)
    assert not breaker.succeeded(first)
    assert breaker.failed(first, "timeout")
    assert 20 < (breaker.admit(5).retry_in or 0) <= 30


@pytest.mark.slow
def test_other_processes_see_it_open_and_one_of_them_gets_the_probe(
    breaker: CircuitBreaker, database_url: str, processes: Callable[[int, float], list[Asking]]
) -> None:
    first, *others = processes(5, 600)
    open_it(breaker)
    assert go(first) == ["open"]
    let_pause_pass(database_url)
    answers = go(*others)
    assert sorted(answers) == ["open", "open", "open", "probe"]
    assert state(database_url) == "half_open"
    assert breaker.admit(5).retry_in is not None
    loser = others[answers.index("open")]
    assert go(loser) == ["False"]  # a success that is not the probe's closes nothing
    assert state(database_url) == "half_open"
    assert go(others[answers.index("probe")]) == ["True"]
    assert state(database_url) == "closed"
    assert breaker.admit(5).retry_in is None


def test_a_process_killed_during_its_probe_is_followed_by_another(
    breaker: CircuitBreaker, database_url: str, processes: Callable[[int, float], list[Asking]]
) -> None:
    victim, successor = processes(2, 600)
    open_it(breaker)
    let_pause_pass(database_url)
    assert go(victim) == ["probe"]
    victim.child.kill()
    victim.child.wait()
    assert breaker.admit(600).retry_in is not None
    let_pause_pass(database_url)
    assert go(successor) == ["probe"]
    assert go(successor) == ["True"]
    assert state(database_url) == "closed"


def test_a_probe_that_fails_opens_it_for_another_pause(breaker: CircuitBreaker, database_url: str) -> None:
    open_it(breaker)
    let_pause_pass(database_url)
    probe = breaker.admit(5000)
    assert probe.probe
    assert not breaker.failed(probe, "timeout")
    assert state(database_url) == "open"
    assert 0 < (breaker.admit(5000).retry_in or 0) <= 600  # a pause, not the rest of the lease
    let_pause_pass(database_url)
    assert breaker.admit(600).probe


def test_a_probe_that_reports_too_late_does_not_speak_for_its_successor(
    breaker: CircuitBreaker, database_url: str
) -> None:
    open_it(breaker)
    let_pause_pass(database_url)
    late = breaker.admit(600)
    let_pause_pass(database_url)
    successor = breaker.admit(600)
    assert late.probe
    assert successor.probe
    breaker.succeeded(late)
    breaker.failed(late, "timeout")
    assert state(database_url) == "half_open"
    assert breaker.succeeded(successor)


def test_a_failure_from_before_it_opened_does_not_prolong_the_pause(breaker: CircuitBreaker, database_url: str) -> None:
    straggler = breaker.admit(5)
    open_it(breaker)
    let_pause_pass(database_url)
    assert not breaker.failed(straggler, "timeout", 5000)
    assert breaker.admit(5).probe


def test_pause_and_lease_end_by_themselves(database_url: str) -> None:
    breaker = CircuitBreaker("openai", BriefDatabase(database_url, seconds=PATIENT), threshold=1, pause_seconds=0.2)
    breaker.failed(breaker.admit(5), "timeout")
    time.sleep(0.3)
    assert breaker.admit(0.2).probe
    time.sleep(0.3)
    assert breaker.admit(5).probe
    assert 0 < (breaker.admit(5).retry_in or 0) <= 5


def test_threads_share_one_connection(breaker: CircuitBreaker, database_url: str) -> None:
    open_it(breaker)
    let_pause_pass(database_url)
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(breaker.admit(600).probe)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False] * 7 + [True]


def test_a_statement_that_waits_too_long_is_given_up_and_the_next_is_not_tried_at_once(database_url: str) -> None:
    database = BriefDatabase(database_url, seconds=0.5, pause=1.5)
    assert database.row("SELECT %s::int", (7,)) == (7,)
    with closing(psycopg2.connect(libpq(database_url))) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE litgo.circuit_breakers")
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            database.row("SELECT count(*) FROM litgo.circuit_breakers", ())
        assert 0.4 < time.monotonic() - started < 3
        with pytest.raises(DatabaseUnavailable, match="a moment ago"):
            database.row("SELECT 1", ())
    time.sleep(1.6)
    assert database.row("SELECT 1", ()) == (1,)
    database.close()


def test_a_connection_that_was_ended_while_nobody_asked_is_made_anew(database_url: str) -> None:
    name = make_url(database_url).database
    execute(
        database_url,
        f"ALTER DATABASE {name} SET idle_session_timeout = '100ms'",
        f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'",
        f"ALTER DATABASE {name} SET lock_timeout = '5ms'",
    )
    with closing(BriefDatabase(database_url, seconds=PATIENT)) as database:
        names = ("idle_session_timeout", "transaction_isolation", "lock_timeout", "statement_timeout")
        settings = f"SELECT {', '.join(f'current_setting({each!r})' for each in names)}"
        assert database.row(settings, ()) == ("0", "read committed", "0", "1min")
        (backend,) = database.row("SELECT pg_backend_pid()", ()) or (0,)
        time.sleep(0.3)
        assert database.row("SELECT pg_backend_pid()", ()) == (backend,)
        execute(database_url, f"SELECT pg_terminate_backend({backend}, 5000)")
        (another,) = database.row("SELECT pg_backend_pid()", ()) or (backend,)
        assert another != backend


def test_a_server_process_that_stops_without_a_word(database_url: str) -> None:
    database = BriefDatabase(database_url, seconds=0.7, pause=0)
    backend = (database.row("SELECT pg_backend_pid()", ()) or (0,))[0]
    try:
        os.kill(backend, signal.SIGSTOP)
    except (PermissionError, ProcessLookupError):
        pytest.skip("the database server is not a process of ours")
    try:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            database.row("SELECT 1", ())
        assert time.monotonic() - started < 4
    finally:
        os.kill(backend, signal.SIGCONT)
    assert database.row("SELECT 1", ()) == (1,)
    database.close()
