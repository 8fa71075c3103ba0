"""The breaker between real processes on a real Postgres."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.database import DatabaseUnavailable, libpq
from litgo_pipelines.resources.bounded import BriefDatabase
from litgo_pipelines.resources.circuit_breaker import CircuitBreaker
from litgo_pipelines_tests.worlds.resources import let_pause_pass

# Waits for a line, asks for admission, says what it got; a second line makes it report a success.
PROCESS = """
import sys
from litgo_pipelines.resources.bounded import BriefDatabase
from litgo_pipelines.resources.circuit_breaker import CircuitBreaker

breaker = CircuitBreaker("openai", BriefDatabase(sys.argv[1]), threshold=2, pause_seconds=600)
print("ready", flush=True)
sys.stdin.readline()
admission = breaker.admit(float(sys.argv[2]))
print("probe" if admission.probe else "open" if admission.retry_in is not None else "closed", flush=True)
sys.stdin.readline()
print(breaker.succeeded(admission), flush=True)
"""


@pytest.fixture
def breaker(database_url: str) -> Iterator[CircuitBreaker]:
    database = BriefDatabase(database_url)
    yield CircuitBreaker("openai", database, threshold=2, pause_seconds=600)
    database.close()


@pytest.fixture
def processes(database_url: str) -> Iterator[Any]:
    """Starts n processes and returns when they are ready to ask."""
    started: list[subprocess.Popen[str]] = []

    def start(number: int, lease: float) -> list[subprocess.Popen[str]]:
        command = [sys.executable, "-c", PROCESS, database_url, str(lease)]
        new = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
        ]
        started.extend(new)
        assert [read(process) for process in new] == ["ready"] * number
        return new

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def go(*processes: subprocess.Popen[str]) -> list[str]:
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [read(process) for process in processes]


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
    breaker = CircuitBreaker("another", BriefDatabase(database_url), threshold=1)
    first = breaker.admit(5)
    assert not breaker.succeeded(first)
    assert breaker.failed(first, "timeout")
    assert 20 < (breaker.admit(5).retry_in or 0) <= 30


def test_other_processes_see_it_open_and_one_of_them_gets_the_probe(
    breaker: CircuitBreaker, database_url: str, processes: Any
) -> None:
    first, *others = processes(5, lease=600)
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
    breaker: CircuitBreaker, database_url: str, processes: Any
) -> None:
    victim, successor = processes(2, lease=600)
    open_it(breaker)
    let_pause_pass(database_url)
    assert go(victim) == ["probe"]
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
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
    breaker = CircuitBreaker("openai", BriefDatabase(database_url), threshold=1, pause_seconds=0.2)
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
    database = BriefDatabase(database_url, seconds=0.5, pause=0.5)
    assert database.row("SELECT %s::int", (7,)) == (7,)
    with closing(psycopg2.connect(libpq(database_url))) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE litgo.circuit_breakers")
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            database.row("SELECT count(*) FROM litgo.circuit_breakers", ())
        assert 0.4 < time.monotonic() - started < 3
        with pytest.raises(DatabaseUnavailable, match="a moment ago"):
            database.row("SELECT 1", ())
    time.sleep(0.6)
    assert database.row("SELECT 1", ()) == (1,)
    database.close()


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
