"""The status screen: what is wrong stands first, what was not read is not called fine."""

import json
import os
import time
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from litgo_pipelines.cli import app
from litgo_pipelines.database import connect
from litgo_pipelines.observability import health, status
from litgo_pipelines.observability.exporter import Exporter

NOW = 1_800_000_000.0
WELL: status.Series = {
    "dagster_daemon_heartbeat_timestamp_seconds": {("SENSOR",): NOW - 12},
    **{queue: {(): 0.0} for queue in health.QUEUES},
    "urgent_waits_cases": {("review", "4h"): 2.0, ("triage", "24h"): 0.0},
    "matching_dead_letters": {(): 0.0},
    "outbox_dead_messages": {(): 0.0},
    "job_last_success_timestamp_seconds": {(job,): NOW - 60 for job in health.FRESH},
    "circuit_breaker_state": {("openai",): 0.0},
    "model_version_info": {("champion", "7"): 1.0},
    "equity_last_night_timestamp_seconds": {(): NOW - 9 * 3600},
    "last_backup_timestamp_seconds": {(): NOW - 3 * 3600},
    "system_health_score": {(): 1.0},
}


def bad(found: status.Series, answers: dict[str, bool] | None = None) -> dict[str, str]:
    said = status.lines(found, {"mlflow": True} if answers is None else answers, NOW)
    return {line.what: line.figure for line in said if line.state == status.BAD}


def test_a_system_that_is_well_has_nothing_to_look_at() -> None:
    assert bad(WELL) == {}
    text = status.as_text(status.lines(WELL, {"mlflow": True}, NOW))
    assert "version 7" in text
    assert "9 h ago" in text
    assert "cases for review, 4h" in text
    assert len(text.splitlines()) <= 24, "a screen"


@pytest.mark.parametrize(
    ("changed", "what", "figure"),
    [
        ({"dagster_daemon_heartbeat_timestamp_seconds": {("SENSOR",): NOW - 600}}, "daemon SENSOR", "beat 10 min ago"),
        ({"dagster_daemon_heartbeat_timestamp_seconds": {}}, "Dagster's daemons", "no heartbeat"),
        ({"case_queue_oldest_age_seconds": {(): 7200.0}}, "case queue oldest", "waits for 2 h"),
        ({"outbox_dead_messages": {(): 3.0}}, "messages given up", "3"),
        ({"job_last_success_timestamp_seconds": {}}, "job nightly_equity", "never succeeded"),
        ({"circuit_breaker_state": {("openai",): 1.0}}, "service openai", "circuit open"),
        ({"model_version_info": {}}, "champion", "none"),
        ({"last_backup_timestamp_seconds": {}}, "last backup", "none"),
        ({"equity_last_night_timestamp_seconds": {(): NOW - 50 * 3600}}, "last night of equity", "2 d ago"),
        ({"system_health_score": {(): 0.2}}, "health", "0.20"),
    ],
)
def test_what_is_wrong_is_said_and_stands_first(changed: status.Series, what: str, figure: str) -> None:
    found = {**WELL, **changed}
    assert bad(found)[what].startswith(figure)
    first = status.as_text(status.lines(found, {"mlflow": True}, NOW)).splitlines()[0]
    assert first.startswith(status.BAD)


def test_what_does_not_answer_or_was_not_read_is_not_called_fine() -> None:
    assert bad(WELL, {"mlflow": False}) == {"mlflow": "does not answer"}
    nothing = status.lines({}, {}, NOW)
    assert not [line for line in nothing if line.state == status.GOOD]


def test_where_nothing_runs_it_says_so_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITGO_DATABASE_URL", raising=False)
    monkeypatch.setenv("LITGO_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(app, ["status"])
    assert done.exit_code == 1
    assert done.output.startswith("LOOK  Postgres"), done.output
    assert "litgo up" in done.output
    assert not (tmp_path / "home").exists()


def test_a_look_changes_nothing(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that ended are counted by the exporter alone, whoever looks in between."""

    @dg.job(name="matching")
    def matching() -> None: ...

    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    storage = f"storage: {{sqlite: {{base_dir: {json.dumps(str(home / 'dagster'))}}}}}\n"
    (home / "dagster" / "dagster.yaml").write_text(storage + "telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        matching.execute_in_process(instance=instance)
    kept = dict(os.environ)
    monkeypatch.setattr(os, "environ", kept)
    kept |= {"LITGO_DATABASE_URL": database_url, "LITGO_HOME": str(home)}
    done = CliRunner().invoke(app, ["status", "--json"])
    assert done.exit_code == 1
    said = {line["what"]: line for line in json.loads(done.stdout)}
    assert said["case queue oldest"]["figure"] == "nothing"
    assert said["dagster oldest queued run"]["figure"] == "nothing", "Dagster's storage was read"
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM litgo.job_runs")
        assert cursor.fetchone() == (0,)


def test_it_reads_what_the_exporter_shows(database_url: str) -> None:
    source = Exporter(database_url)
    source.sources["database"].refresh("database")
    said = {line.what: line for line in status.lines(status.series(source.collect()), {}, time.time())}
    assert said["case queue oldest"].figure == "nothing"
    assert said["last night of equity"].figure == "none"
    assert said["champion"].state == status.BAD
