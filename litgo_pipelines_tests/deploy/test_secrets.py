"""No secret reaches a log, Dagster's storage, a row, or /metrics, whatever fails and whatever services repeat.

The whole deployment, MLflow included, is searched in test_deployment.
"""

import json
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from sqlalchemy.engine import make_url

from litgo_pipelines import definitions
from litgo_pipelines.database import DatabaseUnavailable, connect
from litgo_pipelines.notifications.outbox import Message, put
from litgo_pipelines.observability.exporter import Exporter
from litgo_pipelines.simulation.faults import Fault, FaultServer, Handler, json_answer
from litgo_pipelines_tests.worlds.contracts import add_contract
from litgo_pipelines_tests.worlds.contracts import keys as keys  # a fixture
from litgo_pipelines_tests.worlds.intake import DISMISSED
from litgo_pipelines_tests.worlds.machine import dump
from litgo_pipelines_tests.worlds.rows import Marketplace

SECRETS = {
    "OPENAI_API_KEY": "canary-openai-51c2",
    "ONESIGNAL_API_KEY": "canary-onesignal-51c2",
    "SENDGRID_API_KEY": "canary-sendgrid-51c2",
    "MLFLOW_TRACKING_PASSWORD": "canary-mlflow-51c2",
}
PASSWORD = "canary-database-51c2"
# job → steps, and the configuration it fails with
JOBS: list[tuple[str, list[str] | None, dict]] = [
    ("matching", ["triaged_cases"], {}),
    ("contracts", None, {}),
    ("notifications", None, {}),
    ("offer_expiry", None, {"expired_offers": {"config": {"as_of": "gestern"}}}),
]


def echo(code: int) -> Fault:
    """Answers with everything it was sent."""

    def fault(handler: Handler) -> None:
        sent = json.dumps(dict(handler.headers.items()))
        json_answer({"error": {"message": sent}, "errors": [{"message": sent}], "detail": sent}, code)(handler)

    return fault


@pytest.mark.slow
def test_secrets_stay_where_they_are(
    database_url: str,
    keys: tuple[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    with connect(database_url) as connection:
        market = Marketplace(connection, datetime.now(UTC))
        people = (
            market._insert("profiles", push_token=str(uuid.uuid4())),
            market._insert("profiles", email="a@b.example"),
        )
        about = {"contract_id": str(uuid.uuid4())}
        with connection.cursor() as cursor:
            put(cursor, [Message("contract_signed", person, person, about) for person in people], market.now)
        willing = market._insert("profiles", ai_consent=True)
        market.case(client_id=willing, area=None, description=DISMISSED, created_at=market.now)
    add_contract(database_url)
    url = make_url(database_url).set(password=PASSWORD).render_as_string(hide_password=False)
    secrets = {*SECRETS.values(), PASSWORD, keys[0].splitlines()[5]}
    with ExitStack() as stack, dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        servers = {
            name: stack.enter_context(FaultServer(*map(echo, codes)))
            for name, codes in {
                "ONESIGNAL_BASE_URL": [401],
                "SENDGRID_BASE_URL": [401],
                "OPENAI_BASE_URL": [401],
                "DOCUSIGN_AUTH_URL": [500, 400],
            }.items()
        }
        for name, value in {
            **SECRETS,
            **{name: server.url for name, server in servers.items()},
            "NO_PROXY": "127.0.0.1",
            "LITGO_DATABASE_URL": url,
            "LITGO_HOME": str(tmp_path / "home"),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
            "ONESIGNAL_APP_ID": "app",
            "DOCUSIGN_BASE_URL": servers["DOCUSIGN_AUTH_URL"].url,
            "DOCUSIGN_ACCOUNT_ID": "account",
            "DOCUSIGN_USER_ID": "user",
            "DOCUSIGN_INTEGRATION_KEY": "integration",
            "DOCUSIGN_PRIVATE_KEY": keys[0],
        }.items():
            monkeypatch.setenv(name, value)
        repository = definitions.build_defs().get_repository_def()
        for job, steps, ops in JOBS:
            done = repository.get_job(job).execute_in_process(
                instance=instance,
                run_config={"ops": ops},
                raise_on_error=False,
                asset_selection=[dg.AssetKey(step) for step in steps] if steps else None,
            )
            assert done.success == (not ops)
        for name, server in servers.items():
            assert server.requests, f"{name} was not called"
        runs = [str(instance.all_logs(run.run_id)) + str(run) for run in instance.get_runs()]
        assert len(runs) == len(JOBS)
        exporter = Exporter(url, lambda: instance)
        exporter.refresh()
    registry = CollectorRegistry()
    registry.register(exporter)
    with pytest.raises(DatabaseUnavailable) as down, connect(f"postgresql://x:{PASSWORD}@127.0.0.1:1/x", attempts=1):
        pass
    with connect(database_url) as connection:
        rows = dump(connection)
    seen = {
        "output": "".join(capfd.readouterr()),
        "runs": "".join(runs),
        "rows": rows,
        "error": repr(down.value),
        "metrics": generate_latest(registry).decode(),
        **{str(f): f.read_bytes().decode("latin-1") for f in tmp_path.rglob("*") if f.is_file()},
    }
    assert "expired_offers" in seen["output"]
    assert 'job_executions_total{job_name="offer_expiry",status="failure"} 1.0' in seen["metrics"]
    assert "gestern" in seen["runs"]
    assert [(where, secret) for where, text in seen.items() for secret in secrets if secret in text] == []
