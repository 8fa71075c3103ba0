"""What the platform writes is its owner's alone, and no child's command line holds a password."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import DatabaseRefused, embedded
from litgo_pipelines.database.urls import passfile_lines, without_credentials
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.runtime import supervisor
from litgo_pipelines_tests.worlds.processes import litgo


def open_to_others(folder: Path) -> list[str]:
    """Files and folders somebody else may reach: everything under a closed folder is closed."""
    if stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0:
        return []
    return [str(folder), *(str(path) for path in folder.iterdir())]


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0o000, 0o022])
def test_home_is_closed_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    home = tmp_path / "home"
    for folder in ("logs", "snapshots", "models"):
        (home / folder).mkdir(parents=True)
        (home / folder).chmod(0o777)
    (home / "tombstones.jsonl").touch(0o666)
    home.chmod(0o777)
    monkeypatch.setenv("LITGO_HOME", str(home))
    monkeypatch.delenv("LITGO_DATABASE_URL", raising=False)
    before = os.umask(mask)
    try:
        with supervisor.platform() as environment:
            assert open_to_others(home) == []
            child = supervisor.Service(
                "child", [sys.executable, "-c", "import os; open(os.environ['LITGO_HOME'] + '/made', 'w')"]
            )
            child.start(environment, home / "logs")
            assert child.process is not None
            child.process.wait(60)
            for path in (*home.glob("*"), *(home / "logs").iterdir()):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert open_to_others(home) == []
        assert os.umask(mask) == mask, "the caller's own is back"
    finally:
        os.umask(before)


def test_a_path_too_long_for_a_socket_of_ours_is_refused(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 90)
    with pytest.raises(DatabaseRefused, match="too long"), embedded.embedded_server(home):
        pytest.fail("it started")
    assert not home.exists()


def test_passwords_go_by_file_and_no_command_line_holds_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    password = "p@ss:w\\ord/%41"
    asked = make_url(database_url).set(username="someone", password=password, host="db.example", port=5433, query={})
    url = asked.render_as_string(hide_password=False)
    plain, line = passfile_lines(url) or ("", "")
    assert make_url(plain).password is None
    assert (make_url(plain).username, make_url(plain).host, make_url(plain).port) == ("someone", "db.example", 5433)
    assert line == r"db.example:5433:*:someone:p@ss\:w\\ord/%41"
    monkeypatch.delenv("PGPASSFILE", raising=False)
    monkeypatch.setenv("PGPASSWORD", "of another server")
    given = supervisor._passwords_in_a_file(dict.fromkeys(supervisor.URLS, url), tmp_path)
    assert Path(given["PGPASSFILE"]).stat().st_mode & 0o777 == 0o600
    assert password not in str(given)
    assert "PGPASSWORD" not in os.environ, "it would be taken before the file's"
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    services = [
        supervisor.mlflow_service({**dict.fromkeys(supervisor.URLS, given["LITGO_DATABASE_URL"]), "LITGO_HOME": "x"}),
        *supervisor.dagster_services(tmp_path / "workspace.yaml"),
        supervisor.exporter_service(),
    ]
    assert all("://" not in part for service in services for part in service.command)
    monkeypatch.delenv("PGPASSFILE", raising=False)


def test_a_child_that_shows_things_has_no_key_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    service = supervisor.exporter_service()
    monkeypatch.setenv("PGPORT", "6432")  # a URL without a port means this one to every process
    service.command = [sys.executable, "-c", "import os; print('OPENAI_API_KEY' in os.environ, os.environ['PGPORT'])"]
    service.start({}, tmp_path / "logs")
    assert service.process is not None
    service.process.wait(60)
    assert service.log.read_text().strip() == "False 6432"


@pytest.mark.parametrize(
    "text",
    [
        "could not connect to postgresql://ana:s3cr3t@db.example/litgo",
        "postgresql+psycopg2://ana:s3cr3t@db.example:5432/litgo?sslmode=require",
        "http://ana:s3cr3t@mlflow.example/api failed",
        "'https://s3cr3t@host.example/x'",
        "postgresql://ana:s3cr3t@with@at@db.example/x",
        "redis://:s3cr3t@broker:6379/0 is gone",
        "host=db password=s3cr3t user=ana",
        "postgresql://db.example/x?user=ana&password=s3cr3t&sslmode=require",
    ],
)
def test_credentials_stand_in_no_message(text: str) -> None:
    assert "s3cr3t" not in without_credentials(text)
    assert "example" in without_credentials(text) or "example" not in text


def test_harmless_text_stays() -> None:
    for text in ("see docs/x.md", "http://127.0.0.1:5000/health", "mail ana@example.com", "postgresql:///litgo"):
        assert without_credentials(text) == text


def test_errors_of_unreachable_services_hold_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MLflowUnavailable) as failed:
        MLflow(tracking_uri="http://ana:s3cr3t@127.0.0.1:1").probe()
    assert "s3cr3t" not in str(failed.value)
    url = "postgresql://ana:s3cr3t@127.0.0.1:1/litgo"
    done = litgo("doctor", environment={**os.environ, "LITGO_DATABASE_URL": url})
    assert done.returncode
    assert "s3cr3t" not in done.stdout + done.stderr


@pytest.mark.slow
def test_no_process_of_a_command_shows_a_password(tmp_path: Path, database_url: str) -> None:
    url = make_url(database_url).set(password="s3cr3t").render_as_string(hide_password=False)
    look = (
        "import glob, os, psycopg2; "
        "seen = [open(f, 'rb').read() for f in glob.glob('/proc/[0-9]*/cmdline') if os.path.exists(f)]; "
        "names = [n for n in os.environ if 's3cr3t' in os.environ[n]]; "
        "url = os.environ['LITGO_DATABASE_URL'].replace('+psycopg2', ''); "
        "shown = sum(b'litgo' in one and b's3' + b'cr3t' in one for one in seen); "
        "print('HERE', psycopg2.connect(url).info.password, names, shown)"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "litgo_pipelines.cli",
            "exec",
            "--",
            sys.executable,
            "-c",
            look.replace("s3cr3t", "s3' 'cr3t"),
        ],
        env={**os.environ, "LITGO_DATABASE_URL": url, "LITGO_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "HERE s3cr3t [] 0" in done.stdout, done.stdout + done.stderr[-2000:]
