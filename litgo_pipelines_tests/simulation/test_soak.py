"""The parts of the soak run: what it kills, what it feeds, what its vendors remember and what its questions find."""

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import soak, soak_audit, soak_page, soak_vendors
from litgo_pipelines.database import connect
from litgo_pipelines.notifications.outbox import TEAM, Message, put
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.resources.docusign import DocuSign, Draft, Signer
from litgo_pipelines.resources.external_service import TransientFailure
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.simulation import live
from litgo_pipelines.simulation.truth import World
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.simulation import END

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("command", "parent", "expected"),
    [
        ("python -m litgo_pipelines.cli up", None, "supervisor"),
        ("python -m litgo_pipelines.runtime.daemon run -w workspace.yaml", "supervisor", "daemon"),
        ("python -m litgo_pipelines.runtime.webserver -h 127.0.0.1", "supervisor", "webserver"),
        ("python -m litgo_pipelines.runtime.code_server --socket /tmp/x", "supervisor", "code server"),
        ("python -B -c from multiprocessing.forkserver import main; main(3)", "code server", "warm process"),
        ("python -B -c from multiprocessing.forkserver import main; main(3)", "warm process", "run worker"),
        ("python -B -c from multiprocessing.spawn import spawn_main; spawn_main()", "run worker", "step"),
        ("python -c from multiprocessing.resource_tracker import main;main(5)", "code server", None),
        ("tail -F -c +0 /home/dagster/run.out", "run worker", None),
        ("python -m uvicorn --host 127.0.0.1 mlflow.server.fastapi_app:app", "MLflow", "MLflow"),
        ("/opt/pginstall18/bin/postgres -D /home/postgres -h", None, "Postgres"),
        ("postgres: postgres litgo [local] idle", "Postgres", "Postgres session"),
        ("python -m litgo_pipelines.cli exporter", "supervisor", "exporter"),
        ("python -m dagster job execute -m litgo_pipelines.definitions -j matching", "demo", "demo"),
    ],
)
def test_what_a_process_is(command: str, parent: str | None, expected: str | None) -> None:
    assert soak.role(command.split(), parent) == expected


@contextmanager
def family(home: Path) -> Iterator[psutil.Process]:
    """A process that looks like the supervisor, with a webserver beside which another one lives elsewhere."""
    child = [sys.executable, "-c", "import time; time.sleep(60)"]
    parent = f"import subprocess; subprocess.Popen([*{child!r}, 'runtime.' + 'webserver']).wait()"
    commands = [[sys.executable, "-c", parent, "litgo_pipelines.cli up"], [*child, "runtime.webserver"]]
    started = [
        subprocess.Popen(command, env={"LITGO_HOME": str(folder)})
        for command, folder in zip(commands, (home, home / "other"), strict=True)
    ]
    try:
        yield psutil.Process(started[0].pid)
    finally:
        for process in started:
            with suppress(psutil.NoSuchProcess):
                for child_of in psutil.Process(process.pid).children():
                    child_of.kill()
            process.kill()
            process.wait()


def test_only_processes_of_this_home_are_found(tmp_path: Path) -> None:
    processes = soak.Processes(tmp_path)
    with family(tmp_path) as supervisor:
        found = soak.wait_for("the webserver", lambda: processes.top("webserver"), 20)
        assert [child.pid for child in supervisor.children()] == [found.pid]
        assert {name for name, _ in processes.look().values()} == {"supervisor", "webserver"}
        found.kill()
        soak.wait_for("its end", lambda: processes.top("webserver") is None, 10)


def test_as_many_cases_come_as_were_asked_for() -> None:
    world = World(seed=5, lawyers=100, cases=1500, days=60, end=END)
    for hour in (0, 15):  # at night and in the busiest time
        start = END + timedelta(hours=hour)
        demand = soak.demand_for(world, start, 0.5)
        cases, _ = live.arrivals(world, int(start.timestamp()), int(soak.hour_after(start).timestamp()), demand)
        assert len(cases["created"]) == pytest.approx(1800, abs=4 * 1800**0.5)
    assert soak.hour_after(END + timedelta(minutes=59)) == END + timedelta(hours=1)


def test_growth_is_within_processes_and_after_the_warm_up() -> None:
    def grown(began: float, level: float, an_hour: float) -> list[tuple[float, float]]:
        return [(began + t, level + an_hour * t / 3600 + (50.0 if t < 60 else 0.0)) for t in range(0, 600, 5)]

    slope, error = soak_audit.growth({1: grown(0, 1e6, 7200), 2: grown(600, 2e3, 7200)}, warm_up=60)
    assert slope == pytest.approx(7200)
    assert error == pytest.approx(0, abs=1e-3)
    assert np.isnan(soak_audit.growth({1: grown(0, 1, 1)[:3]}, warm_up=60)).all()


def test_which_cases_a_kill_touched() -> None:
    came, ended = np.array([0.0, 100.0, 300.0]), np.array([10.0, 250.0, 310.0])
    assert soak_audit.touched(came, ended, np.array([200.0])).tolist() == [False, True, False]
    assert soak_audit.touched(came, ended, np.array([250.0])).tolist() == [False, True, True]
    assert not soak_audit.touched(came, ended, np.array([])).any()


def test_counters_that_go_back_and_minutes_in_fallback() -> None:
    assert soak_audit.went_back({"a": 2, "b": 1}, {"a": 2, "b": 3, "c": 1}) == []
    assert soak_audit.went_back({"a": 2, "b": 1}, {"a": 1}) == ["a: 2 → 1"]
    scrapes = [(float(t), {"openai": float(t >= 90), "sendgrid": 4.0}) for t in range(0, 240, 5)]
    assert soak_audit.fallback_share(scrapes) == {"openai": 0.25, "sendgrid": 0.0}


@pytest.fixture
def vendors(monkeypatch: pytest.MonkeyPatch) -> Iterator[soak_vendors.Vendors]:
    with soak_vendors.serving(0.0, seed=1) as found:
        for name, value in found.settings.items():
            monkeypatch.setenv(name, value)
        for vendor in (found.openai, found.onesignal, found.sendgrid):
            vendor.trouble.seconds = 0.0
        found.docusign.drawn.seconds = 0.0
        yield found


def mail(sendgrid: SendGrid, reference: str) -> bool:
    try:
        sendgrid.mail(to="ana@example.com", name=None, subject="s", text="t", html="<p>t</p>", reference=reference)
    except TransientFailure:
        return False
    return True


def test_vendors_remember_what_they_did_whatever_they_said(
    vendors: soak_vendors.Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak_vendors, "SIGNED_AFTER", timedelta(0))
    docusign = DocuSign(
        base_url=vendors.settings["DOCUSIGN_BASE_URL"],
        auth_url=vendors.docusign.url,
        account_id=vendors.settings["DOCUSIGN_ACCOUNT_ID"],
        user_id=vendors.settings["DOCUSIGN_USER_ID"],
        integration_key=vendors.settings["DOCUSIGN_INTEGRATION_KEY"],
    )
    signers = [Signer(name, f"{name}@example.com", name) for name in ("cliente", "advogado")]
    now = datetime.now(UTC)
    draft = Draft("0a0b0c0d-0000-4000-8000-000000000001", "s", "b", "contrato.pdf", b"%PDF", signers, now)
    envelope = docusign.send(draft, look_first=False)
    assert docusign.send(draft, look_first=True) == envelope
    assert set(docusign.read(envelope).signed) == {1, 2}

    openai = OpenAI(base_url=vendors.openai.url)
    found = openai.embed(["uma pensão", "outra dívida", "uma pensão"])
    np.testing.assert_array_equal(found[0], found[2])
    assert found[0] @ found[1] < 0.9

    onesignal = OneSignal(app_id="soak", base_url=vendors.onesignal.url)
    ids = {onesignal.push(subscription="x", title="t", text="t", idempotency_key="k") for _ in range(2)}
    assert len(ids) == 1
    assert vendors.onesignal.pushes == {"k": 2}

    vendors.fail(0.6)
    sendgrid = SendGrid(base_url=vendors.sendgrid.url)
    accepted = [mail(sendgrid, f"delivery-{number}") for number in range(60)]
    kinds = vendors.sendgrid.trouble.counts
    assert min(kinds[kind] for kind in ("answered", "refused", "broken", "lost")) > 2
    assert sum(accepted) == kinds["answered"]
    assert vendors.sendgrid.mails.total() == kinds["answered"] + kinds["lost"]


def test_what_is_lost_or_counted_wrong_is_found(database_url: str, vendors: soak_vendors.Vendors) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        before = soak_audit.totals(cursor)
        assert not any(soak_audit.broken_rules(cursor, NOW).values())
        market = Marketplace(connection, NOW + MINUTE)
        lawyer = market.lawyer()
        market.offer(market.case(created_at=NOW + MINUTE), lawyer)
        put(cursor, [Message("offer", TEAM, "once", {})], NOW)
        broken = {rule: n for rule, n in soak_audit.broken_rules(cursor, NOW).items() if n}
        assert broken == {
            "cases without offers and without a reason": 1,
            "messages that still wait": 1,
            "case that waits unseen": 1,
            "message that waits unseen": 1,
        }
        after = soak_audit.totals(cursor)
        assert soak_audit.miscounted(before, after) == {"offers_created_total": (0, 1)}
        add(cursor, [count("offers_created_total")])
        assert soak_audit.miscounted(before, soak_audit.totals(cursor)) == {}

        cursor.execute(
            "INSERT INTO litgo.deliveries (recipient_id, status, opened_at, next_attempt_at, in_doubt) SELECT "
            "gen_random_uuid(), s, now(), now(), CASE s WHEN 'open' THEN 'email' END FROM unnest(%s) AS s "
            "RETURNING delivery_id::text",
            (["accepted", "accepted", "open", "dead"],),
        )
        pushed, lost, doubtful, dead = (row[0] for row in cursor.fetchall())
        vendors.onesignal.pushes.update({pushed: 3})
        vendors.sendgrid.mails.update({pushed: 1, doubtful: 2, dead: 1})
        assert lost not in vendors.onesignal.pushes
        add(cursor, [count("notifications_possible_duplicates_total", 2, type="email")])
        found = soak_audit.deliveries(cursor, vendors)
        assert found == soak_audit.Deliveries(sent=2, lost=1, unknown=1, repeated=2, admitted=2)


def test_everything_that_is_scheduled_is_due() -> None:
    expected = soak_audit.due(NOW, NOW + timedelta(hours=2))
    assert expected["offer_expiry_schedule"] == 2
    assert expected["pending_cases_sensor"] == 720  # a tick lasts nine seconds, and the daemon looks every five
    assert expected["nightly_equity_at_02h"] == 0
    assert soak_audit.due(NOW, NOW + timedelta(hours=24))["nightly_equity_at_02h"] == 1


def outcome(**changed: Any) -> soak_page.Outcome:
    arguments = argparse.Namespace(minutes=1, cases_per_second=1, kill_every=30, vendor_faults=0)
    seconds = np.array([4.0, 5.0, 60.0])
    values: dict[str, Any] = {
        "arguments": arguments,
        "began": NOW,
        "fed_until": NOW + MINUTE,
        "settled": MINUTE,
        "drained": MINUTE,
        "lived": Counter(cases=60),
        "repeated_steps": 0,
        "slowest_step": 0.2,
        "rules": {"cases lost": 0},
        "counted": {"offers_created_total": (5, 5)},
        "miscounted": {},
        "back": [],
        "scrapes": (10, 1),
        "deliveries": soak_audit.Deliveries(3, 0, 0, 0, 0),
        "envelopes": (1, 0, 0),
        "latencies": {"all": seconds, "with a kill": seconds[:0]},
        "kills": [soak.Kill("daemon", NOW, 1, seconds=12.3), soak.Kill("Postgres", NOW, 2)],
        "memory": {"daemon": {1: [(t, 2**20 * (100 + t / 3600)) for t in range(0, 1200, 5)]}},
        "load": [1.0],
        "fired": {"ExporterDown": 90.0},
        "told": Counter({("ExporterDown", "firing"): 1}),
        "runs": soak_audit.Runs(Counter({("matching", "SUCCESS"): 4}), 0, [], 0),
        "ticks": {"pending_cases_sensor": Counter(SKIPPED=2, SUCCESS=1)},
        "due": {"pending_cases_sensor": 4.0},
        "fallbacks": {},
        "vendors": {"openai": Counter(answered=7)},
    }
    return soak_page.Outcome(**values | changed)


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    good = outcome()
    assert good.nothing_lost
    for bad in (
        {"drained": None},
        {"rules": {"cases lost": 1}},
        {"back": ["a: 2 → 1"]},
        {"deliveries": soak_audit.Deliveries(3, 0, 0, 2, 1)},
    ):
        assert not outcome(**bad).nothing_lost
    page = tmp_path / "soak.md"
    page.write_text("# Soak\n<!-- soak: begin -->\nof before\n<!-- soak: end -->\nend\n")
    soak_page.write(soak_page.text(good), page)
    text = page.read_text()
    for line in (
        "| all | 3 | 5 | 54 | 59 | 60 |",
        "| daemon |  | 12 |",
        "| Postgres |  | not |",
        "| ExporterDown | 1.5 | 1 | 0 |",
        "| daemon | 1 | 100 | 100 | +1.0 ± 0.0 |",
        "| pending_cases_sensor | 4 | 3 | 0 | 75% |",
        "1.00 cases per second",
    ):
        assert line in text, line
    assert "of before" not in text
    page.write_text("no markers")
    with pytest.raises(ValueError, match="markers"):
        soak_page.write("x", page)
