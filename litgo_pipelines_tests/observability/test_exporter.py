import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from math import prod
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat
from prometheus_client.openmetrics import parser as strict
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import DBAPIError

from litgo_pipelines.database import Cursor, normalise
from litgo_pipelines.database.embedded import embedded_server
from litgo_pipelines.database.errors import error_line
from litgo_pipelines.definitions import defs
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.observability import gauges, job_runs
from litgo_pipelines.observability.exporter import Exporter, serving
from litgo_pipelines.observability.gauges import GAUGES
from litgo_pipelines.observability.metrics import JOB_NAMES, METRICS, OTHER_JOB, add, count, observe
from litgo_pipelines.tools.metrics_page import PAGE, page
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.sessions import kept

GIVEN_NAMES = ("active_offers_count ", "pending_contracts_count ")  # gauges whose names others rely on already


def get(port: int, path: str = "/metrics") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def samples(text: str) -> dict[str, float]:
    return {
        f"{s.name}{sorted(s.labels.items())}": s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


@pytest.fixture
def exporter(database_url: str) -> Exporter:
    return Exporter(database_url)


@pytest.fixture
def port(exporter: Exporter) -> Iterator[int]:
    with serving(exporter, "127.0.0.1", 0, 3600) as number:
        while get(number, "/readyz")[0] != 200:  # its one read of this hour
            time.sleep(0.02)
        yield number


def test_counters_and_histograms_are_served_as_they_were_counted(database_url: str) -> None:
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        add(cursor, [count("offers_created_total", 7), count("api_timeouts_total", service="openai")])
        for seconds in (0.004, 0.3, 500.0, -3600.0, float("nan"), float("inf")):
            add(cursor, observe("matching_duration_seconds", seconds))
    exporter = Exporter(database_url)
    exporter.refresh()
    with serving(exporter, "127.0.0.1", 0, 3600) as port:
        _, text = get(port)
    found = samples(text)
    assert found["offers_created_total[]"] == 7
    assert found["api_timeouts_total[('service', 'openai')]"] == 1
    assert found["matching_duration_seconds_bucket[('le', '0.005')]"] == 2
    assert found["matching_duration_seconds_bucket[('le', '0.5')]"] == 3
    assert found["matching_duration_seconds_bucket[('le', '120.0')]"] == 3
    assert found["matching_duration_seconds_count[]"] == 4
    assert found["matching_duration_seconds_sum[]"] == pytest.approx(500.304)


def test_every_declared_metric_is_there_from_the_start(port: int) -> None:
    found = samples(get(port)[1])
    for name, metric in METRICS.items():
        shown = f"{name}_count" if metric.buckets else name
        assert any(key.startswith(f"{shown}[") for key in found), name
    assert found["circuit_breaker_state[('service', 'docusign')]"] == 0
    assert found["active_offers_count[]"] == 0


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_promtool_accepts_it(port: int) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=get(port)[1], capture_output=True, text=True, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(GIVEN_NAMES)]
    assert complaints == []


def test_a_database_that_went_away_leaves_the_last_values_with_their_age(
    database_url: str, exporter: Exporter, port: int
) -> None:
    before = samples(get(port)[1])
    exporter.database_url = database_url.replace("litgo_test_", "litgo_gone_")
    exporter.refresh()
    after = samples(get(port)[1])
    assert before["litgo_source_up[('source', 'database')]"] == 1
    assert after["litgo_source_up[('source', 'database')]"] == 0
    assert after["litgo_metrics_age_seconds[]"] > before["litgo_metrics_age_seconds[]"]
    assert after["offers_created_total[]"] == before["offers_created_total[]"] == 0


def test_not_ready_before_the_first_read_and_alive_all_the_time(database_url: str) -> None:
    exporter = Exporter(database_url.replace("litgo_test_", "litgo_gone_"))
    with serving(exporter, "127.0.0.1", 0, 3600) as port:
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/readyz")[0] == 503
        assert get(port)[0] == 200
        assert get(port, "/other")[0] == 404


def test_a_locked_table_does_not_hold_up_a_scrape(database_url: str) -> None:
    exporter = Exporter(database_url, statement_seconds=0.2)
    exporter.refresh()
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE litgo.metric_state IN ACCESS EXCLUSIVE MODE")
        exporter.refresh()
    assert samples_of(exporter)["litgo_source_up[('source', 'database')]"] == 0
    exporter.refresh()
    assert samples_of(exporter)["litgo_source_up[('source', 'database')]"] == 1


def samples_of(exporter: Exporter) -> dict[str, float]:
    return {f"{s.name}{sorted(s.labels.items())}": s.value for family in exporter.collect() for s in family.samples}


def test_each_run_is_counted_once_whatever_the_restarts(database_url: str) -> None:
    @dg.op
    def step(context: dg.OpExecutionContext) -> None:
        if context.run.tags.get("fail"):
            raise dg.Failure("as asked", allow_retries=False)

    @dg.job(name="matching")
    def matching_like() -> None:
        step()

    with dg.instance_for_test() as instance:
        matching_like.execute_in_process(instance=instance)
        matching_like.execute_in_process(instance=instance, tags={"fail": "1"}, raise_on_error=False)
        for _ in range(2):  # a new exporter each time, as after a restart
            exporter = Exporter(database_url, lambda: instance)
            exporter.refresh()
        found = samples_of(exporter)
        assert found["job_executions_total[('job_name', 'matching'), ('status', 'success')]"] == 1
        assert found["job_executions_total[('job_name', 'matching'), ('status', 'failure')]"] == 1
        assert found["job_duration_seconds_count[('job_name', 'matching')]"] == 2
        assert found["job_last_success_timestamp_seconds[('job_name', 'matching')]"] > 1.7e9
        instance.delete_run(next(iter(instance.get_runs())).run_id)
        exporter.refresh()
        again = samples_of(exporter)
        assert {k: v for k, v in again.items() if k.startswith("job_")} == {
            k: v for k, v in found.items() if k.startswith("job_")
        }


def test_runs_are_counted_once_by_two_exporters_and_after_their_rows_are_gone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runs, "PAGE", 2)  # 5 runs are three pages
    execute(  # a clock that was ahead once
        database_url, "INSERT INTO litgo.job_runs VALUES ('ahead', 'other', 'success', now() + interval '1 day')"
    )
    with dg.instance_for_test() as instance:
        for _ in range(5):
            failed_run(instance)
        both = [Exporter(database_url, lambda: instance) for _ in range(2)]
        threads = [threading.Thread(target=one.refresh) for one in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # rows go, as retention lets them go, and a tag makes old runs look new
        execute(
            database_url,
            "DELETE FROM litgo.job_runs WHERE ended_at > now() "
            "OR ended_at < (SELECT max(ended_at) FROM litgo.job_runs WHERE ended_at < now())",
        )
        monkeypatch.setattr(job_runs, "OVERLAP", timedelta())
        for run in instance.get_runs():
            instance.add_run_tags(run.run_id, {"seen": "1"})
        failed_run(instance)
        both[0].refresh()
        assert samples_of(both[0])["job_executions_total[('job_name', 'other'), ('status', 'failure')]"] == 6


def test_every_job_has_its_series() -> None:
    assert {*JOB_NAMES} == {job.name for job in defs.jobs or []} | {OTHER_JOB}


def test_a_gauge_that_cannot_be_read_is_no_zero(database_url: str, exporter: Exporter) -> None:
    execute(database_url, "ALTER VIEW litgo_source.exported_offers RENAME TO offers_elsewhere")
    exporter.refresh()
    samples = samples_of(exporter)
    assert "active_offers_count[]" not in samples
    assert samples["pending_contracts_count[]"] == 0  # and it holds up none of the others
    assert not exporter.sources["statistics"].fine


@contextmanager
def silent_server(url: str) -> Iterator[tuple[str, threading.Event]]:
    """The database behind a proxy on loopback; once the event is set, nothing passes and nothing is closed."""
    parsed = make_url(url)
    socket_path = f"{parsed.query['host']}/.s.PGSQL.{parsed.port or 5432}"
    silent, over = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = [listener]

    def pass_on(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if silent.is_set():
                    over.wait(60)
                    return
                to.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(socket_path)
                held.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    tcp = parsed.difference_update_query(["host"]).set(host="127.0.0.1", port=listener.getsockname()[1])
    try:
        yield tcp.render_as_string(hide_password=False), silent
    finally:
        over.set()
        for one in held:
            one.close()


def test_a_database_that_falls_silent_in_the_middle_holds_nothing_up(database_url: str) -> None:
    with silent_server(database_url) as (url, silent):
        exporter = Exporter(url)
        exporter.refresh()
        assert samples_of(exporter)["database_up[]"] == 1

        read = gauges.read

        def falls_silent(cursor: Cursor, names: list[str]) -> Any:
            silent.set()
            return read(cursor, names)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("litgo_pipelines.observability.exporter.gauges.read", falls_silent)
            exporter.refresh_seconds = 0.3
            exporter.refresh()  # comes back
        after = samples_of(exporter)
        assert after["database_up[]"] == after["system_health_score[]"] == 0
        assert after["offers_created_total[]"] == 0
        exporter.database_url, exporter.refresh_seconds = database_url, 60
        exporter.refresh()
        assert samples_of(exporter)["database_up[]"] == 1


def test_a_storage_of_dagster_that_falls_silent_holds_nothing_up(database_url: str) -> None:
    with silent_server(database_url) as (url, silent):
        storage = {"storage": {"postgres": {"postgres_url": url}}}
        with dg.instance_for_test(overrides=storage) as instance:
            failed_run(instance)
            exporter = Exporter(database_url, lambda: instance, refresh_seconds=0.5)

            def falls_silent(*_: Any) -> None:
                silent.set()

            event.listen(Engine, "before_cursor_execute", falls_silent)
            exporter.refresh()  # comes back
            event.remove(Engine, "before_cursor_execute", falls_silent)
            assert samples_of(exporter)["litgo_source_up[('source', 'dagster')]"] == 0
            silent.clear()
            exporter.refresh_seconds = 30
            exporter.refresh()
            found = samples_of(exporter)
            assert found["litgo_source_up[('source', 'dagster')]"] == 1
            assert found["job_executions_total[('job_name', 'other'), ('status', 'failure')]"] == 1


@pytest.mark.slow
def test_a_killed_server_is_seen_and_comes_back_by_itself(tmp_path: Path) -> None:
    with embedded_server(tmp_path) as url:
        migrate(url)
        with serving(Exporter(url), "127.0.0.1", 0, 0.1) as port:

            def wait_for(up: float) -> dict[str, float]:
                until = time.monotonic() + 30
                while (found := samples(get(port)[1]))["database_up[]"] != up:
                    assert time.monotonic() < until
                    time.sleep(0.05)
                return found

            before = wait_for(1)
            os.kill(int((tmp_path / "postgres" / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
            assert wait_for(0)["active_offers_count[]"] == before["active_offers_count[]"]
            assert wait_for(1)["system_health_part[('part', 'database')]"] == 1  # its owner has started it again


def test_openmetrics_is_strictly_right_and_bounded(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        families = list(strict.text_string_to_metric_families(answer.read().decode()))
    counted = sum(
        prod(len(values) for values in m.labels.values()) * (len(m.buckets) + 3 if m.buckets else 1)
        for m in METRICS.values()
    )
    others = 100  # sources, health, limits, build, disk, process; Dagster's: a few a daemon, schedule and sensor
    assert counted + sum(gauge.most for gauge in GAUGES.values()) + others < 4_000
    shown = {family.name: len(family.samples) for family in families}
    assert sum(shown.values()) <= counted + sum(gauge.most for gauge in GAUGES.values()) + others
    assert all(shown[name] <= gauge.most for name, gauge in GAUGES.items() if name in shown)


@pytest.mark.parametrize("query", ["name[]=database_up", "name%5B%5D=litgo_build_info&name[]=x", "name[]=%ff", "x"])
def test_a_scrape_by_name_is_not_answered_with_nothing(port: int, query: str) -> None:
    assert samples(get(port, f"/metrics?{query}")[1])["database_up[]"] == 1


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/elsewhere"])
def test_head_is_answered_like_get_and_without_a_body(port: int, path: str) -> None:
    found = {}
    for method in ("GET", "HEAD"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client, client.makefile("rb") as answer:
            client.sendall(f"{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = answer.read().partition(b"\r\n\r\n")
            status, *headers = head.decode().split("\r\n")
            found[method] = (status, {line.partition(":")[0] for line in headers}, bool(body))
    assert found["GET"] == (*found["HEAD"][:2], True)
    assert found["HEAD"][2] is False


def test_of_many_pools_the_first_are_shown(database_url: str) -> None:
    execute(
        database_url,
        "INSERT INTO litgo.offer_distribution (night, as_of, lawyers, offers, cases, pools) "
        "SELECT now(), now(), 0, 0, 0, "
        "jsonb_agg(jsonb_build_object('pool', i::text, 'utilisation', .5) ORDER BY i) FROM generate_series(1, 400) i",
    )
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        found = gauges.read(cursor, ["equity_pool_utilisation"])["equity_pool_utilisation"]
    assert [pool for (pool,), _ in found] == [f"outra{i}" for i in range(1, 301)]


def test_every_large_table_is_read_by_an_index(database_url: str) -> None:
    def scanned(plan: dict[str, Any]) -> set[str]:
        own = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
        return own.union(*(scanned(part) for part in plan.get("Plans", [])))

    large = {"offers", "cases", "contracts", "outbox", "job_runs", "matchings", "triage", "contract_requests"}
    asked = {name: gauge.query for name, gauge in GAUGES.items()} | {"runs": job_runs.NEWEST}
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        found = {}
        for name, query in asked.items():
            cursor.execute(f"EXPLAIN (FORMAT JSON) {query}")
            found[name] = large & scanned(cursor.fetchone()[0][0]["Plan"])
    assert {name: tables for name, tables in found.items() if tables} == {}


def test_expensive_gauges_are_read_now_and_then(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    read = gauges.read

    def listening(cursor: Cursor, names: list[str]) -> Any:
        asked.append(names)
        return read(cursor, names)

    monkeypatch.setattr("litgo_pipelines.observability.exporter.gauges.read", listening)
    exporter.refresh()
    exporter.refresh()
    names = [name for batch in asked for name in batch]
    assert {*names} == {*GAUGES}
    assert {name for name in names if names.count(name) == 1} == {name for name, g in GAUGES.items() if g.every}
    assert samples_of(exporter)["database_max_connections[]"] > 0


def test_expensive_gauges_that_take_too_long_are_no_dead_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = replace(GAUGES["case_outcomes"], query="SELECT 'signed', 1 FROM pg_sleep(30)")
    monkeypatch.setitem(GAUGES, "case_outcomes", slow)
    exporter = Exporter(database_url, statement_seconds=0.05)
    exporter.refresh()
    found = samples_of(exporter)
    assert found["database_up[]"] == 1
    assert found["litgo_source_up[('source', 'statistics')]"] == 0
    assert found["offer_outcomes[('status', 'expired')]"] == 0
    assert found["database_size_bytes[]"] > 0  # the others are read
    assert "case_outcomes[('outcome', 'signed')]" not in found


@pytest.mark.parametrize(
    "broken", ["SELECT 1 / 0", "SELECT count(*) FROM no_such_table", "SELECT 'x'::int", "SELECT 1 FROM pg_sleep(9)"]
)
@pytest.mark.parametrize("name", ["active_offers_count", "case_outcomes"])
def test_a_gauge_that_is_not_read_is_a_metric(
    database_url: str, monkeypatch: pytest.MonkeyPatch, name: str, broken: str
) -> None:
    sound = GAUGES[name]
    exporter = Exporter(database_url, statement_seconds=0.5)
    monkeypatch.setitem(GAUGES, name, replace(sound, query=broken))
    exporter.refresh()
    found = samples_of(exporter)
    unread = {gauge for gauge in GAUGES if found[f"litgo_figure_unread[('gauge', '{gauge}')]"]}
    assert unread == {name}
    assert found["outbox_pending_messages[]"] == 0
    monkeypatch.setitem(GAUGES, name, sound)
    exporter.refresh()
    assert sum(value for key, value in samples_of(exporter).items() if key.startswith("litgo_figure_unread")) == 0


@pytest.mark.one_server
def test_an_error_of_sqlalchemy_is_logged_without_statement_and_parameters(database_url: str) -> None:
    engine = create_engine(normalise(database_url))
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text("SELECT CAST(:name AS int)"), {"name": "Maria Segredo"})
    engine.dispose()
    assert "Maria" in str(caught.value)
    assert error_line(caught.value) == "DataError of InvalidTextRepresentation 22P02"


def test_daemons_runs_and_ticks_are_shown(database_url: str) -> None:
    with dg.instance_for_test() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 7, "SENSOR", None, []))
        failed_run(instance)
        found = samples_of(refreshed(database_url, instance))
        assert found["dagster_runs[('status', 'queued')]"] == 0
        assert found["dagster_oldest_queued_run_age_seconds[]"] == 0
        assert time.time() - found["dagster_daemon_heartbeat_timestamp_seconds[('daemon', 'SENSOR')]"] < 60
        assert found["system_health_part[('part', 'daemons')]"] == 1
        assert found["litgo_source_up[('source', 'dagster')]"] == 1


@dg.job
def any_job() -> None:
    pass


def failed_run(instance: dg.DagsterInstance) -> None:
    instance.report_run_failed(instance.create_run_for_job(any_job))


def refreshed(url: str, instance: dg.DagsterInstance) -> Exporter:
    exporter = Exporter(url, lambda: instance)
    exporter.refresh()
    return exporter


def test_the_page_of_metrics_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m litgo_pipelines.tools.metrics_page"


def test_the_queue_of_cases_is_what_nobody_has_seen_to(database_url: str) -> None:
    """Of three cases two hours old, one has offers of before the pipelines and one is for a person to look at."""
    execute(
        database_url,
        "INSERT INTO profiles (id) VALUES (md5('client')::uuid)",
        "INSERT INTO lawyers (id, name) VALUES (md5('l')::uuid, 'L')",
        "INSERT INTO cases (id, client_id, created_at) SELECT md5('c' || n)::uuid, md5('client')::uuid, "
        "now() - n * interval '1 hour' FROM generate_series(1, 3) n",
        "INSERT INTO offers (case_id, lawyer_id, sent_at) VALUES (md5('c3')::uuid, md5('l')::uuid, now())",
        "INSERT INTO litgo.matching_failures "
        "(case_id, attempts, reason, first_failed_at, last_failed_at, retry_at, dead) "
        "VALUES (md5('c2')::uuid, 3, 'r', now(), now(), now(), true)",
    )
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        ((_, age),) = gauges.read(cursor, ["case_queue_oldest_age_seconds"])["case_queue_oldest_age_seconds"]
    assert age == pytest.approx(3600, abs=60)


def test_a_database_that_takes_no_writes_shows(database_url: str) -> None:
    exporter = Exporter(database_url)
    exporter.refresh()
    assert samples_of(exporter)["database_read_only[]"] == 0
    execute(database_url, f"ALTER DATABASE {make_url(database_url).database} SET default_transaction_read_only = on")
    exporter.refresh()
    found = samples_of(exporter)
    assert found["database_read_only[]"] == 1
    assert found["database_up[]"] == 1
    assert found["system_health_part[('part', 'writes')]"] == 0


def test_one_gauge_that_cannot_be_read_leaves_the_others_alone(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = "SELECT (full_name || '1')::int FROM (VALUES ('Maria Segredo')) AS p (full_name)"
    for name in ("pending_contracts_count", "case_outcomes"):  # one of each source
        monkeypatch.setitem(GAUGES, name, replace(GAUGES[name], query=broken))
    exporter.refresh()
    found = samples_of(exporter)
    assert found["database_up[]"] == 1
    assert found["active_offers_count[]"] == 0
    assert found["database_size_bytes[]"] > 0
    assert not any(name.startswith("pending_contracts_count") for name in found)
    assert "pending_contracts_count" in caplog.text
    assert "Segredo" not in caplog.text
