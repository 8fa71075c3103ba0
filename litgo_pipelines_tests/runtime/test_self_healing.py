"""What is killed comes back by itself, on the project's `dagster.yaml`, supervisor and embedded server.

Nothing may be lost, and nothing done twice: a letter that a run handles is one row with a unique key.
"""

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import psycopg2
import pytest

from litgo_pipelines.database import DatabaseUnavailable, connect
from litgo_pipelines.runtime import supervisor
from litgo_pipelines.runtime.run_launcher import CheckedRunLauncher
from litgo_pipelines_tests.support import execute, until
from litgo_pipelines_tests.worlds.small_disk import fill, small_disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.proof(
        "litgo_pipelines/runtime",
        "litgo_pipelines/database/__init__.py",
        "litgo_pipelines/database/embedded.py",
        "litgo_pipelines/marketplace/migrate.py",
        "litgo_pipelines/resources/postgres.py",
        "litgo_pipelines/automation.py",
        "litgo_pipelines/jobs.py",
        "litgo_pipelines/settings.py",
        "litgo_pipelines/dagster_internals.py",
        "litgo_pipelines_tests/runtime",
    ),
]
CLOCK = Path(__file__).with_name("clock.c")
DISK = 400 * 1024**2  # bytes
LOOKED_AT = "poll_interval_seconds: 15"  # in dagster.yaml: how soon run_monitoring sees that a process is gone


class Machine:
    """The daemon under the supervisor, with its database, and the letters it has to handle."""

    def __init__(self, environment: dict[str, str], services: list[supervisor.Service], instance: dg.DagsterInstance):
        self.environment, self.services, self.instance = environment, services, instance
        self.hold = Path(environment["LITGO_HOME"]) / "hold"

    def rows(self, statement: str) -> list[Any]:
        with connect(self.environment["LITGO_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def grow(self) -> None:
        """The database needs one file after the other, until it gets none."""
        execute(self.environment["LITGO_DATABASE_URL"], "CREATE TABLE filler (content text)")
        while True:
            execute(
                self.environment["LITGO_DATABASE_URL"],
                "INSERT INTO filler SELECT repeat(md5(n::text), 99) FROM generate_series(1, 20000) n",
            )

    def dagster_rows(self, statement: str) -> list[Any]:
        with connect(self.environment["DAGSTER_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def write(self, letter: int) -> None:
        execute(self.environment["LITGO_DATABASE_URL"], f"INSERT INTO letters VALUES ({letter})")

    def working(self) -> tuple[dg.DagsterRun, int]:
        """The run that is held up in its work, and its process."""
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE '%.handled (%'"
        )
        until(lambda: self.rows(waits) == [(1,)], 60, "a run at work")
        (run,) = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        launcher = self.instance.run_launcher
        assert isinstance(launcher, CheckedRunLauncher)
        pid = launcher.process(run.run_id)
        assert pid is not None
        return run, pid

    def kill(self) -> None:
        """Everything at once, as when the machine goes down; the supervisor is left."""
        for service in self.services:
            assert service.process is not None
            os.killpg(service.process.pid, signal.SIGKILL)

    def handled(self, letter: int, seconds: float) -> str:
        """Waits for it; the run that did."""
        query = f"SELECT run_id FROM public.handled WHERE letter = {letter}"
        until(lambda: bool(self.rows(query)), seconds, f"letter {letter}")
        ((run_id,),) = self.rows(query)
        return run_id

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        with suppress(pytest.skip.Exception):  # the test that fills it skips
            stack.enter_context(small_disk(home, DISK))
        for name in ("LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("LITGO_HOME", str(home))
        with (
            supervisor.platform() as environment,
            supervisor.code_server(environment, "litgo_pipelines_tests.runtime.location") as (code_server, workspace),
        ):
            for name, value in environment.items():
                patch.setenv(name, value)
            configuration = home / "dagster" / "dagster.yaml"
            text = configuration.read_text()
            assert LOOKED_AT in text
            configuration.write_text(text.replace(LOOKED_AT, "poll_interval_seconds: 2"))
            execute(
                environment["LITGO_DATABASE_URL"],
                "CREATE TABLE letters (letter int PRIMARY KEY)",
                "CREATE TABLE handled (letter int PRIMARY KEY, run_id text NOT NULL)",
            )
            supervisor.initialise_dagster(environment)
            # once there is a library `clock.so`, the services and what they start have the wall clock of clock.c
            fake = "[ -e $LITGO_HOME/clock.so ] && export LD_PRELOAD=$LITGO_HOME/clock.so CLOCK_FILE=$LITGO_HOME/clock"
            services = [code_server, *supervisor.dagster_services(workspace)[1:]]
            for service in services:
                service.command = ["sh", "-c", f"{fake}; exec {shlex.join(service.command)}"]
            with supervisor.running(services, environment), dg.DagsterInstance.get() as instance:
                watched = list(services)  # emptied at the end, so that nothing is started again
                threading.Thread(target=supervisor.watch, args=(watched, environment), daemon=True).start()
                yield Machine(environment, services, instance)
                watched.clear()
                time.sleep(1)


def test_a_killed_run_fails_and_is_run_again(machine: Machine) -> None:
    machine.hold.touch()
    machine.write(1)
    run, pid = machine.working()
    os.kill(pid, signal.SIGKILL)
    machine.hold.unlink()
    retry = machine.handled(1, 60)
    assert retry != run.run_id
    assert machine.status(run.run_id) == dg.DagsterRunStatus.FAILURE


def test_runs_are_forked_from_a_warm_process_and_go_on_when_it_is_killed(machine: Machine) -> None:
    machine.hold.touch()
    machine.write(9)
    run, pid = machine.working()
    warm = psutil.Process(pid).parent()
    assert warm is not None
    assert machine.services[0].process is not None
    assert warm.ppid() == machine.services[0].process.pid
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "lightgbm" in maps, "what this run never asks for was imported before it"
    warm.kill()
    machine.hold.unlink()
    assert machine.handled(9, 30) == run.run_id, "the run does not need it any more"
    machine.write(10)
    machine.handled(10, 120)  # out of a new one, which imports everything first


def test_a_run_can_be_ended_by_a_person_and_one_that_crashes_takes_nothing_else_with_it(machine: Machine) -> None:
    machine.hold.touch()
    machine.write(11)
    run, pid = machine.working()
    assert machine.instance.run_launcher.terminate(run.run_id)
    until(lambda: machine.status(run.run_id) == dg.DagsterRunStatus.CANCELED, 30, "the run to be canceled")
    again, pid = machine.working()  # the letter is still there
    server = machine.services[0].process
    assert server is not None
    os.kill(pid, signal.SIGSEGV)
    machine.hold.unlink()
    machine.handled(11, 60)
    assert machine.status(again.run_id) == dg.DagsterRunStatus.FAILURE
    assert server.poll() is None
    assert machine.services[0].process is server


def test_a_run_that_died_with_the_daemon_and_its_code_server_does_not_block_its_job(machine: Machine) -> None:
    machine.hold.touch()
    machine.write(2)
    run, pid = machine.working()
    machine.kill()
    until(lambda: not Path(f"/proc/{pid}").exists(), 10, "the run's process to be gone")
    machine.hold.unlink()
    machine.handled(2, 120)
    assert machine.status(run.run_id) == dg.DagsterRunStatus.FAILURE


def test_a_database_that_dies_in_the_middle_of_a_run_and_of_ticks_loses_and_doubles_nothing(machine: Machine) -> None:
    machine.hold.touch()
    machine.write(3)
    machine.working()
    postmaster = int((Path(machine.environment["LITGO_HOME"]) / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    machine.hold.unlink()
    machine.handled(3, 90)
    machine.write(4)
    machine.handled(4, 60)
    written = machine.rows("SELECT letter FROM public.letters ORDER BY 1")
    assert machine.rows("SELECT letter FROM public.handled ORDER BY 1") == written


def lives(service: supervisor.Service) -> bool:
    return service.silent == 0


def test_a_daemon_and_a_code_server_that_hang_are_ended_and_started_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOOKS_EVERY", 1.0)
    for letter, service in enumerate(machine.services, start=12):
        until(partial(lives, service), 60, f"a sign of life of the {service.name}")
        assert service.process is not None
        hung = service.process
        hung.send_signal(signal.SIGSTOP)
        machine.write(letter)
        machine.handled(letter, 120)
        assert hung.poll() == -signal.SIGKILL


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, for a clock that can be set")
def test_a_clock_that_is_two_days_ahead_and_set_right_again_stops_nothing(machine: Machine) -> None:
    last_tick = "SELECT max(timestamp) > now() AT TIME ZONE 'UTC' + interval '1 day' FROM public.job_ticks"
    home = Path(machine.environment["LITGO_HOME"])
    clock = home / "clock"
    clock.write_text("172800")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", home / "clock.so", CLOCK], check=True)
    machine.kill()
    machine.write(5)
    machine.handled(5, 90)
    assert machine.dagster_rows(last_tick) == [(True,)]
    clock.write_text("0")
    machine.write(6)
    machine.handled(6, 90)  # not in two days
    assert machine.dagster_rows(last_tick) == [(False,)]
    assert "the clock was set back by 172" in machine.services[-1].log.read_text()


def test_a_full_disk_loses_nothing_and_heals_once_there_is_space(machine: Machine) -> None:
    """The disk of the database, of Dagster's logs and of our files."""
    home = Path(machine.environment["LITGO_HOME"])
    if os.statvfs(home).f_blocks * os.statvfs(home).f_frsize != DISK:
        pytest.skip("this user may not mount a small file system")
    machine.hold.touch()
    machine.write(7)
    machine.working()
    fill(home / "ballast")
    machine.hold.unlink()
    with pytest.raises((psycopg2.Error, DatabaseUnavailable)):
        machine.grow()
    time.sleep(10)  # several ticks of everything
    (home / "ballast").unlink()
    machine.handled(7, 120)
    machine.write(8)
    machine.handled(8, 60)
    assert machine.rows("SELECT letter FROM public.handled ORDER BY 1") == machine.rows(
        "SELECT letter FROM public.letters ORDER BY 1"
    )
