"""Settings as people write them into an environment: understood, or refused by the variable's name."""

import os
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import DatabaseRefused, connect
from litgo_pipelines.database.embedded import embedded_server
from litgo_pipelines.resources.loopback import reach_directly, without_proxy
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.settings import TIMEZONE, SettingsError, secret, settings
from litgo_pipelines.simulation.faults import FaultServer, answer
from litgo_pipelines_tests.worlds.processes import litgo

ROOT = Path(__file__).resolve().parents[1]
TODAY = datetime.now(ZoneInfo(TIMEZONE)).date()


@pytest.mark.parametrize(
    "day",
    [
        "2026-02-30",
        "2026-13-01",
        "2026-1-1",
        "20260101",
        "31/01/2026",
        "2026-01-01T00:00:00",
        "2026-W01-1",
        "1999-12-31",
        "0000-00-00",
        "amanhã",
        "2999-01-01",
        (TODAY + timedelta(days=2)).isoformat(),
    ],
)
def test_the_first_night_is_a_day_that_has_begun(monkeypatch: pytest.MonkeyPatch, day: str) -> None:
    monkeypatch.setenv("EQUITY_FIRST_NIGHT", day)
    with pytest.raises(SettingsError, match=r"EQUITY_FIRST_NIGHT=.*a day"):
        settings()


@pytest.mark.parametrize("day", ["2026-01-31", " 2026-01-31 ", '"2026-01-31"', "'2026-01-31'\n"])
def test_blanks_and_quotation_marks_around_a_value_are_not_of_it(monkeypatch: pytest.MonkeyPatch, day: str) -> None:
    monkeypatch.setenv("EQUITY_FIRST_NIGHT", day)
    assert settings().equity_first_night == "2026-01-31"


@pytest.mark.parametrize("key", ["sk-1", "sk-1\r\n", "'sk-1'", "\ufeffsk-1", ' "sk-1" '])
def test_a_key_is_what_is_meant_by_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", key)
    assert secret("SENDGRID_API_KEY") == "sk-1"
    monkeypatch.setenv("SENDGRID_API_KEY", "\n")
    assert SendGrid().missing == "SENDGRID_API_KEY"


@pytest.mark.parametrize("blank", ["", " ", "\t\n", '""', "' '"])
def test_a_blank_is_unset(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    before = settings()
    for name in ("EQUITY_FIRST_NIGHT", "OFFER_HOURS", "TEAM_EMAILS", "MATCHING_RADII_KM", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, blank)
        assert settings() == before


def test_on_the_first_day_no_night_is_late(tmp_path: Path) -> None:
    code = (
        "import dagster as dg\n"
        "from litgo_pipelines.automation import missed_nights_sensor\n"
        "from litgo_pipelines.resources.postgres import Postgres\n"
        "with dg.instance_for_test() as instance:\n"
        "    context = dg.build_sensor_context(instance=instance)\n"
        "    print(*missed_nights_sensor(context, postgres=Postgres(url='postgresql://127.0.0.1:1/none')))\n"
    )
    environment = {**os.environ, "EQUITY_FIRST_NIGHT": TODAY.isoformat(), "LITGO_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "the first night is not over" in done.stdout, done.stderr


@pytest.mark.parametrize("spelled", ["{base}/a/", "{base}/b/../a", "~/a", "a", "./a/.", " '{base}/a' "])
def test_a_home_is_one_folder_however_it_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spelled: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LITGO_HOME", spelled.format(base=tmp_path))
    assert settings().home == tmp_path.resolve() / "a"


def test_a_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITGO_HOME", "~nobody-of-this-name/litgo")
    with pytest.raises(SettingsError, match="LITGO_HOME"):
        settings()


@pytest.mark.parametrize("name", ["with space", "it's", 'a"b', "a$b", "a;b", "a`b", "a\\b", "a&b", "emoji😀"])
def test_a_home_the_embedded_server_cannot_start_in_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatabaseRefused, match=r"LITGO_HOME=.*choose another folder"), embedded_server(tmp_path / name):
        pass
    assert not (tmp_path / name).exists()


def _open(folder: Path) -> Path:
    folder.chmod(0o755)  # the server's own user comes through
    return folder


@pytest.mark.slow
def test_a_home_with_other_letters_works() -> None:
    with (
        tempfile.TemporaryDirectory() as short,  # a socket's path has 103 bytes at most
        embedded_server(_open(Path(short)) / "açaí-日本") as url,
        connect(url) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("home", ["{base}/file", "{base}/file/below", "/proc/nothing/here", "{base}/" + "x" * 300])
def test_a_home_that_cannot_be_made_is_a_sentence(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").touch()
    given = {"LITGO_HOME": home.format(base=tmp_path), "LITGO_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    done = litgo("dead-letters", environment={**os.environ, **given})
    assert done.returncode == 1
    assert done.stderr.startswith("litgo: LITGO_HOME="), done.stderr
    assert "Traceback" not in done.stderr


PROXIES = dict.fromkeys(
    [f"{name}{end}" for name in ("HTTP", "HTTPS", "ALL") for end in ("_PROXY",)]
    + [f"{name}_proxy" for name in ("http", "https", "all")],
    "http://127.0.0.1:1",
)


@pytest.mark.parametrize(
    "excepted", [{}, {"no_proxy": "a.example"}, {"NO_PROXY": "b.example", "no_proxy": "a.example"}]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_does_not_hide_our_services(
    monkeypatch: pytest.MonkeyPatch, host: str, excepted: dict[str, str]
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # and back to what it was, afterwards
    for name, value in (PROXIES | excepted).items():
        monkeypatch.setenv(name, value)
    with FaultServer(answer(b"OK")) as server:
        MLflow(tracking_uri=f"http://{host}:{make_url(server.url).port}").probe()
        assert [request.path for request in server.requests] == ["/health"]
    hosts = os.environ["no_proxy"].split(",")
    assert {"127.0.0.1", "localhost", *excepted.values()} <= set(hosts)


def test_what_is_elsewhere_still_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    reach_directly("http://mlflow.example:5000")
    assert "no_proxy" not in os.environ
    assert without_proxy({"NO_PROXY": "x"})["no_proxy"].startswith("x,127.0.0.1")


# Every command's help and what it prints of a database with Portuguese words, in one process.
EVERY_COMMAND = """
import sys
from litgo_pipelines import cli
from litgo_pipelines.cli import app
import typer.main

def paths(command, before=()):
    yield before
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*before, name))

def run(*arguments):
    sys.argv = ["litgo", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        print("code", end.code if isinstance(end.code, int) else 1 if end.code else 0, *arguments)
    except BaseException as error:
        print("DIED", type(error).__name__, error, *arguments)

for path in paths(typer.main.get_command(app)):
    run(*path, "--help")
for arguments in (
    ["casos", "parados"], ["triagem", "fila"], ["dead-letters"], ["explain", "açaí"], ["retry", "não"], ["doctor"],
    ["triagem", "definir", "ção", "Família", "—", "--por", "João"], ["model"], ["model", "history"], ["ação"],
):
    run(*arguments)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoding",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_output_ends_on_any_terminal(database_url: str, tmp_path: Path, encoding: dict[str, str]) -> None:
    environment = {**os.environ, **encoding, "LITGO_DATABASE_URL": database_url, "LITGO_HOME": str(tmp_path)}
    environment |= {"DAGSTER_DATABASE_URL": database_url, "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO public.profiles (id, full_name) VALUES (md5('c')::uuid, 'João “Ação” 😀');"
            "INSERT INTO public.cases (client_id, title, description, area) "
            "VALUES (md5('c')::uuid, 'Ação — 😀', 'pensão', 'Família')"
        )
    script = tmp_path / "every.py"
    script.write_text(EVERY_COMMAND, encoding="utf-8")  # as an argument it would be read in the terminal's encoding
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"DIED" not in done.stdout, done.stdout[-3000:]
    assert b"UnicodeEncodeError" not in done.stderr
    assert done.stdout.count(b"\ncode 0") > 25, done.stdout[-3000:]
