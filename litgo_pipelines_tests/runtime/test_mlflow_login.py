"""The MLflow of `litgo up` asks who it is; the pipelines' account manages what is theirs and is no administrator."""

import configparser
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from sqlalchemy.engine import make_url

from litgo_pipelines.database import connect, normalise
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.runtime import mlflow_login, mlflow_server, supervisor
from litgo_pipelines_tests.support import execute, free_port
from litgo_pipelines_tests.worlds.processes import Child

SECRETS = {
    "OPENAI_API_KEY",
    "DOCUSIGN_PRIVATE_KEY",
    "LITGO_BACKUP_PASSPHRASE",
    "LITGO_UI_USERS",
    "LITGO_UI_SESSION_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "CELERY_BROKER_URL",
    "SOMEBODYS_TOKEN",
}
HAS = {  # child → which of them it gets
    "mlflow": set(),
    "dagster-webserver": {"LITGO_UI_USERS", "LITGO_UI_SESSION_KEY"},
    "dagster-daemon": set(),
    "exporter": set(),
    "code-server": SECRETS - {"LITGO_UI_USERS", "LITGO_UI_SESSION_KEY"},
}
URLS = {
    "mlflow": {"MLFLOW_BACKEND_STORE_URI"},
    "dagster-webserver": {"LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL"},
    "dagster-daemon": {"DAGSTER_DATABASE_URL"},
    "exporter": {"LITGO_DATABASE_URL", "DAGSTER_DATABASE_URL"},
    "code-server": set(supervisor.URLS),
}


def test_each_child_has_the_variables_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "s3cr3t")
    monkeypatch.delenv("LITGO_TEST_DATABASE_URL", raising=False)  # this suite's own
    environment = {
        **dict.fromkeys(supervisor.URLS, "postgresql://x"),
        "LITGO_HOME": str(tmp_path),
        "DAGSTER_HOME": str(tmp_path),
        "PGPASSFILE": str(tmp_path / "pgpass"),
    }
    with supervisor.code_server(environment) as (code_server, workspace):
        services = [
            supervisor.mlflow_service(environment),
            code_server,
            *supervisor.dagster_services(workspace),
            supervisor.exporter_service(),
        ]
        assert {service.name for service in services} == HAS.keys()
        try:
            for service in services:
                service.command = ["sleep", "60"]
                service.start(environment, tmp_path / "logs")
            for service in services:
                assert service.process is not None
                raw = Path(f"/proc/{service.process.pid}/environ").read_bytes().decode().split("\0")
                found = {line.partition("=")[0] for line in raw}
                assert found & SECRETS == HAS[service.name], service.name
                urls = {name for name in found if name.endswith(("DATABASE_URL", "STORE_URI"))}
                assert urls == URLS[service.name], service.name
                assert {"PATH", "LITGO_HOME", "PGPASSFILE"} <= found, service.name
        finally:
            supervisor.stop(services, patience=1)


def test_passwords_are_made_once_and_are_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in mlflow_login.VARIABLES:
        monkeypatch.setenv(name, "before")  # put back afterwards
    url = "postgresql+psycopg2://ana@/litgo_mlflow?host=%2Ftmp%2Fhere"
    first = mlflow_login.prepare(tmp_path, url)
    said = capsys.readouterr().err
    assert mlflow_login.prepare(tmp_path, url) == first
    assert capsys.readouterr().err == ""
    admin = (tmp_path / "mlflow-admin-password").read_text().strip()
    assert "mlflow-admin-password" in said
    assert admin not in said, "no terminal, perhaps a log"
    assert len({admin, first["MLFLOW_TRACKING_PASSWORD"]}) == 2
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    read = configparser.ConfigParser()
    read.read(tmp_path / "mlflow-auth.ini")
    assert read["mlflow"]["database_uri"] == url
    assert admin not in str(mlflow_login.of_server(tmp_path))


def _prepare_on_a_terminal(home: str, terminal: str) -> None:
    """In a process of its own: its messages go to the terminal."""
    device = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    os.dup2(device, 2)
    for _ in range(2):
        mlflow_login.prepare(Path(home), "postgresql+psycopg2://ana@/litgo_mlflow")


def test_the_administrators_password_is_shown_on_a_terminal_once(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        child = Child(_prepare_on_a_terminal, str(tmp_path), os.ttyname(theirs))
        assert child.wait() == 0, child.output()
        os.set_blocking(ours, False)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    admin, pipelines = ((tmp_path / name).read_text().strip() for name in ("mlflow-admin-password", "mlflow-password"))
    assert shown.count(admin) == 1
    assert f"account admin, password {admin}, shown once and kept in {tmp_path}/mlflow-admin-password" in shown
    assert pipelines not in shown
    assert admin not in child.output()


def test_starts_without_a_configuration_leave_one_folder_per_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = [mlflow_server.configuration_folder(database) for database in ("one", "one", "two")]
    assert set(tmp_path.iterdir()) == set(made)
    assert made[0] == made[1] != made[2]
    assert made[0].stat().st_mode & 0o777 == 0o700
    made[0].rmdir()

    def open_folder() -> None:
        made[0].mkdir()
        made[0].chmod(0o755)  # whatever the umask

    for obstacle in (lambda: made[0].symlink_to(made[2]), made[0].touch, open_folder):
        obstacle()
        with pytest.raises(SystemExit, match="remove it"):
            mlflow_server.configuration_folder("one")
        (made[0].rmdir if made[0].is_dir() and not made[0].is_symlink() else made[0].unlink)()


def test_mlflows_assistant_runs_nothing_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any account may ask it, one that only reads too; it starts shells and other people's programs."""
    for line in (supervisor.FILES / "mlflow.env").read_text().splitlines():
        name, given, value = line.partition("=")
        if given and not name.startswith("#"):
            monkeypatch.setenv(name, value)
    from mlflow.assistant.providers.base import assistant_sandbox_enabled

    assert assistant_sandbox_enabled()
    monkeypatch.delenv("MLFLOW_ENABLE_ASSISTANT_SANDBOX")
    assert not assistant_sandbox_enabled(), "the line is needed no more"


@pytest.fixture
def environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    for name in (*mlflow_login.VARIABLES, "PGPASSFILE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("LITGO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LITGO_DATABASE_URL", database_url)
    monkeypatch.setenv("MLFLOW_PORT", str(free_port()))
    own = f"{make_url(database_url).database}_mlflow"
    monkeypatch.setattr(
        supervisor, "normalise", lambda url, name=None: normalise(url, own if name == "litgo_mlflow" else name)
    )
    with supervisor.platform() as environment:
        yield environment
    execute(normalise(database_url, "postgres"), f"DROP DATABASE IF EXISTS {own} WITH (FORCE)")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own
def test_who_may_do_what(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    url, home = environment["MLFLOW_TRACKING_URI"], Path(environment["LITGO_HOME"])
    api = f"{url}/api/2.0/mlflow"
    admin = (mlflow_login.ADMIN, (home / "mlflow-admin-password").read_text().strip())
    ours = (environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"])

    def status(path: str, account: tuple[str, str] | None, **body: str) -> int:
        return requests.post(f"{api}/{path}", json=body, auth=account, timeout=60).status_code

    service = supervisor.mlflow_service(environment)
    with supervisor.running([service], environment):
        assert service.process is not None
        shown = Path(f"/proc/{service.process.pid}/environ").read_text() + " ".join(service.command)
        assert not [secret for _, secret in (admin, ours) if secret in shown]
        assert requests.get(f"{url}/health", timeout=60).ok
        assert not psutil.Process(service.process.pid).children(), "a process that waits for the server"
        for account in (None, ("litgo", "wrong"), ("admin", ours[1])):
            assert status("experiments/create", account, name="x") == 401
        assert status("users/create", ours, username="eve", password="a-long-password") == 403
        assert status("experiments/create", admin, name="theirs") == 200
        assert status("experiments/create", admin, name="litgo-ranker") == 200
        assert status("registered-models/create", admin, name="litgo-ranker") == 200
        for path in ("experiments/create?name=got", "users/create?username=mal&password=a-long-password"):
            by_link = requests.get(f"{api}/{path}", auth=admin, timeout=60)
            assert (by_link.status_code, by_link.cookies.get_dict()) == (405, {})
        foreign = {"Origin": "http://evil.example", "Content-Type": "text/plain"}
        sent = requests.post(f"{api}/experiments/create", '{"name": "got"}', auth=admin, headers=foreign, timeout=60)
        assert sent.status_code == 403, "another page's form, with the browser's account"
        for source in (f"file://{home}", str(home), "../../etc", "http:///#/../../etc", "mlflow-artifacts:/%2e%2e/x"):
            assert status("model-versions/create", admin, name="litgo-ranker", source=source) == 400, source
            assert status("model-versions/create", ours, name="litgo-ranker", source=source) == 403, "not theirs yet"
        theirs = {"experiment_id": "1", "key": "a", "value": "b"}
        assert status("experiments/set-experiment-tag", ours, **theirs) == 403
        assert status("experiments/set-experiment-tag", ours, **{**theirs, "experiment_id": "2"}) == 403, (
            "not theirs yet"
        )
        monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(home / "mlflow-auth.ini"))
        mlflow_server.accounts(admin[1], ours[1])  # as at the next start
        assert status("experiments/set-experiment-tag", ours, **theirs) == 403
        mlflow = MLflow(tracking_uri=url)
        module, client = mlflow.module(), mlflow.client()
        with module.start_run(experiment_id=mlflow.experiment_id()) as run:
            logged = registry.log_scorer(module, scorer.Rule("R"), registry.example(1))
            version = module.register_model(logged.model_uri, registry.MODEL_NAME).version
        client.set_registered_model_alias(registry.MODEL_NAME, "champion", version)
        client.set_model_version_tag(registry.MODEL_NAME, version, "state", "champion")
        assert mlflow.files_problem() is None
        (home / "mlflow-artifacts").rename(home / "elsewhere")  # as a volume that is not mounted
        assert mlflow.files_problem() == "it holds nothing"
        (home / "elsewhere").rename(home / "mlflow-artifacts")
        digest = scorer.digest(scorer.dumps(scorer.Rule("R")))
        assert registry.load_model(mlflow, str(version), digest).scorer == scorer.Rule("R")
        client.delete_registered_model_alias(registry.MODEL_NAME, "champion")
        client.log_dict(run.info.run_id, {"a": 1}, "a.json")
        client.delete_run(run.info.run_id)
    with connect(environment["LITGO_MLFLOW_DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT username, is_admin FROM public.users ORDER BY username")
        assert cursor.fetchall() == [("admin", True), ("litgo", False)]


@pytest.mark.slow
def test_tables_of_an_earlier_version_are_brought_up_to_date(postgres_server_url: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    execute(postgres_server_url, "CREATE DATABASE litgo_test_earlier")
    try:
        url = normalise(postgres_server_url, "litgo_test_earlier")
        engine = create_engine(url)
        mlflow_server.upgrade(url)  # the server makes them
        utils.InitialBase.metadata.create_all(engine)
        config = utils._get_alembic_config(url)
        script = ScriptDirectory.from_config(config).get_revision("head")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, str(script.down_revision))
        with pytest.raises(Exception, match="out-of-date database schema"):
            utils._verify_schema(engine)
        mlflow_server.upgrade(url)
        utils._verify_schema(engine)
        engine.dispose()
    finally:
        execute(postgres_server_url, "DROP DATABASE litgo_test_earlier WITH (FORCE)")
