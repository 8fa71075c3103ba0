"""The processes of deploy/compose.yaml, with its commands, environment, secrets and health checks, started by hand."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import requests

from litgo_pipelines.backup import manifest, sealed
from litgo_pipelines.database import roles
from litgo_pipelines_tests.worlds.machine import HOST, Machine, dump

GIVEN = {"OFFER_HOURS": "12"}
KEYS = {name: f"canary-{name}-7f3a" for name in ("openai_api_key", "onesignal_api_key", "sendgrid_api_key")}
LAUNCH = """
mutation ($job: String!, $config: RunConfigData) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "litgo_pipelines", repositoryName: "__repository__", jobName: $job},
    runConfigData: $config
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""
EVERYTHING = """
{
  instance { info }
  workspaceOrError { ... on Workspace { locationEntries { name displayMetadata { key value } locationOrLoadError {
    ... on RepositoryLocation { repositories { name
      allTopLevelResourceDetails { name configuredValues { key value type } }
      jobs { name runTags { key value } } } }
    ... on PythonError { message stack }
  } } } }
}
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"), GIVEN)
    for name, value in KEYS.items():
        file = machine.folder / "secrets" / name
        file.chmod(0o600)
        file.write_text(value)
    try:
        machine.start_postgres()
        machine.start("migrate")
        machine.finish("migrate")
        for name in ("code-location", "mlflow", "exporter"):
            machine.start(name)
        machine.wait("code-location")
        for name in ("webserver", "daemon"):
            machine.start(name)
        for name in ("webserver", "mlflow", "exporter"):
            machine.wait(name)
        yield machine
    finally:
        machine.stop()


def ask(machine: Machine, query: str, **variables: Any) -> Any:
    answer = requests.post(
        f"http://{HOST}:{machine.ports['3000']}/graphql", json={"query": query, "variables": variables}, timeout=60
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]


def run(machine: Machine, job: str, *configs: Any) -> list[str]:
    """The statuses that one run with each configuration ends with."""
    ids = [ask(machine, LAUNCH, job=job, config=config)["launchRun"]["run"]["runId"] for config in configs]
    ended, deadline = {"SUCCESS", "FAILURE", "CANCELED"}, time.monotonic() + 120
    while True:
        asked = [ask(machine, f'{{runOrError(runId: "{run_id}") {{... on Run {{status}}}}}}') for run_id in ids]
        statuses = [answer["runOrError"]["status"] for answer in asked]
        if set(statuses) <= ended:
            return statuses
        assert time.monotonic() < deadline, machine.log("code-location")[-3000:]
        time.sleep(0.3)


def database(machine: Machine, name: str) -> Any:
    password = machine.secret("postgres_password")
    port = machine.ports["5432"]
    return closing(psycopg2.connect(host=HOST, port=port, dbname=name, user="postgres", password=password))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_goes_through_all_of_it(machine: Machine) -> None:
    with database(machine, "litgo") as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO profiles DEFAULT VALUES RETURNING id")
        client = cursor.fetchone()
        cursor.execute("INSERT INTO lawyers (name) VALUES ('Ana') RETURNING id")
        lawyer = cursor.fetchone()
        cursor.execute("INSERT INTO cases (client_id) VALUES (%s) RETURNING id", client)
        cursor.execute(
            "INSERT INTO offers (case_id, lawyer_id, expires_at) VALUES (%s, %s, now() - interval '1 hour')",
            (cursor.fetchone(), lawyer),
        )
        connection.commit()
    wrong = {"ops": {"expired_offers": {"config": {"as_of": "gestern"}}}}
    assert run(machine, "offer_expiry", {}, wrong) == ["SUCCESS", "FAILURE"]
    with database(machine, "litgo") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT status FROM offers")
        assert cursor.fetchall() == [("expired",)]
    machine.wait("daemon")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mlflow_wants_a_password_and_its_own_name(machine: Machine) -> None:
    url = f"http://{HOST}:{machine.ports['5000']}"
    search = f"{url}/api/2.0/mlflow/experiments/search?max_results=5"
    account = ("litgo", machine.secret("mlflow_password"))
    assert requests.get(search, timeout=30).status_code == 401
    assert requests.get(search, auth=("litgo", "wrong"), timeout=30).status_code == 401
    assert requests.get(search, auth=account, timeout=30).status_code == 200
    foreign = requests.get(search, auth=account, headers={"Host": "evil.example"}, timeout=30)
    assert foreign.status_code == 403
    assert requests.get(f"{url}/health", timeout=30).status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_exporter_shows_the_runs(machine: Machine) -> None:
    """At least those of the first test: what fails is tried again, and the schedule runs too."""
    deadline = time.monotonic() + 60
    while True:
        text = requests.get(f"http://{HOST}:{machine.ports['9108']}/metrics", timeout=10).text
        executions = [line for line in text.splitlines() if line.startswith('job_executions_total{job_name="offer_ex')]
        counted = {line.split('status="')[1].split('"')[0] for line in executions if float(line.split()[-1]) >= 1}
        if {"success", "failure"} <= counted:
            return
        assert time.monotonic() < deadline, (executions, machine.log("exporter")[-3000:])
        time.sleep(1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nobody_gets_in_without_the_password_of_his_role(machine: Machine) -> None:
    for role in (*roles.ROLES, "postgres"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(host=HOST, port=machine.ports["5432"], dbname="litgo", user=role, password="litgo")
    for role, refused in (("litgo_pipelines", "litgo_dagster"), ("litgo_dagster", "litgo_mlflow")):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(
                host=HOST,
                port=machine.ports["5432"],
                dbname=refused,
                user=role,
                password=machine.secret(f"{role}_password"),
            )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_backup_is_made_at_once_where_there_is_none(machine: Machine) -> None:
    """Under its role, with passwords, and Dagster's and MLflow's own tables."""
    machine.start("backup")
    folder, deadline = machine.place("backup") / "litgo-backups", time.monotonic() + 120
    while not list(folder.glob("litgo-*Z")):
        assert machine.processes["backup"].poll() is None, machine.log("backup")[-3000:]
        assert time.monotonic() < deadline, machine.log("backup")[-3000:]
        time.sleep(0.3)
    machine.wait("backup")
    (made,) = folder.glob("litgo-*Z")
    with database(machine, "litgo") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT name FROM litgo.backups")
        assert cursor.fetchall() == [(made.name,)]
    _, key = manifest.read(made, machine.secret("backup_passphrase"))
    with (made / "mlflow.dump").open("rb") as source:
        assert b"alembic_version" in b"".join(sealed.opened(key, "mlflow.dump", source))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_secret_is_shown_or_kept_and_nothing_is_written_where_it_may_not_be(machine: Machine) -> None:
    """Last: after the others have worked."""
    secrets = {name: machine.secret(name) for name in (p.name for p in (machine.folder / "secrets").iterdir())}
    secrets = {name: value for name, value in secrets.items() if value}
    seen = {f"log of {name}": machine.log(name) for name in machine.processes}
    seen["the UI"] = json.dumps(ask(machine, EVERYTHING))
    assert "code-location" in machine.processes
    assert '"litgo_pipelines"' in seen["the UI"]
    seen["/metrics"] = requests.get(f"http://{HOST}:{machine.ports['9108']}/metrics", timeout=10).text
    for name in ("litgo", "litgo_dagster", "litgo_mlflow"):
        with database(machine, name) as connection:
            seen[f"database {name}"] = dump(connection)
    for folder in ("litgo", "mlflow"):
        for file in (machine.folder / folder).rglob("*"):
            if file.is_file():
                seen[str(file)] = file.read_bytes().decode("latin-1")
    assert "gestern" in seen["database litgo_dagster"]  # what is there is found
    shown = [(name, where) for where, text in seen.items() for name, secret in secrets.items() if secret in text]
    assert shown == []

    for name in machine.processes.keys() - {"postgres"}:
        assert "permission denied" not in machine.log(name)
        own = machine.place(name)
        assert list((own / "work").iterdir()) == []  # the image's file system
        assert list((own / "litgo").rglob("*")) == [], f"{name} would write to a volume that it only reads"
