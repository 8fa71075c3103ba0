"""The deployment's files: complete, consistent, hardened. What they start is tested in test_deployment."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from litgo_pipelines.runtime.supervisor import FILES
from litgo_pipelines.settings import Settings
from litgo_pipelines_tests.support import PROJECT
from litgo_pipelines_tests.worlds.compose import COMPOSE, VARIABLE, load

DEPLOY = PROJECT / "deploy"
FILE = load({})
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ENDS = {"migrate", "restore"}  # by itself
SECRETS_BY_NAME = ("OPENAI_API_KEY", "DOCUSIGN_PRIVATE_KEY", "ONESIGNAL_API_KEY", "SENDGRID_API_KEY")
# read by MLflow's client, Compose and Celery themselves
OTHERS = {
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "COMPOSE_PROJECT_NAME",
    "CELERY_BROKER_URL",
    "CELERY_RESULT_BACKEND",
}

each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_a_service_is_limited_watched_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), "a pinned version"
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service["mem_limit"]
    assert service["cpus"] <= 2
    assert service["pids_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["restart"] == ("on-failure:3" if name in ENDS else "unless-stopped")
    health = service["healthcheck"]
    assert health == {"disable": True} if name in ENDS else health.keys() >= {"test", "interval", "timeout", "retries"}
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@each_service
def test_what_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= FILE["secrets"].keys()
    assert set(service["networks"]) <= FILE["networks"].keys()
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in FILE["volumes"], volume
    text = json.dumps([service.get("command"), service.get("environment")])
    for used in re.findall(r"/run/secrets/(\w+)", text):
        assert used in service["secrets"]
    for role in (service.get("environment") or {}).get("DATABASE_ROLES", "").split():
        assert f"{role}_password" in service["secrets"]
    for host in SERVICES.keys() - {name}:
        if re.search(rf"(?<![\w/.-]){host}:\d|//{host}:\d|@{host}:\d", text):
            assert set(service["networks"]) & set(SERVICES[host]["networks"]), f"{name} cannot reach {host}"


def test_the_database_is_reached_from_inside_only() -> None:
    assert SERVICES["postgres"]["networks"] == ["data"]
    assert FILE["networks"]["data"] == {"internal": True}
    assert "ports" not in SERVICES["postgres"]


def test_passwords_are_files_and_not_variables() -> None:
    """What stands in the environment is shown by `docker inspect` and inherited by every child."""
    for name, service in SERVICES.items():
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET_KEY|API_KEY|PRIVATE_KEY|TOKEN|LITGO_UI_USERS|SESSION_KEY", variable):
                assert variable.endswith("_FILE"), (name, variable)
                assert re.fullmatch(r"/run/secrets/\w+", value), (name, variable)
                assert value.rsplit("/", 1)[1] in service["secrets"], (name, variable)


def test_a_volume_is_written_by_whoever_needs_to() -> None:
    written = {
        name: {v.split(":")[0] for v in s.get("volumes", []) if not v.endswith(":ro")} for name, s in SERVICES.items()
    }
    assert written == {
        "postgres": {"postgres_data"},
        "migrate": {"litgo_home"},
        "code-location": {"litgo_home"},
        "webserver": set(),
        "daemon": set(),
        "mlflow": {"mlflow_artifacts"},
        "exporter": set(),
        "backup": {"backups"},
        "restore": {"litgo_home", "mlflow_artifacts", "backups"},
        "prometheus": {"prometheus_data"},
        "alertmanager": {"alertmanager_data"},
        "grafana": {"grafana_data"},
    }


def test_only_what_calls_others_or_is_called_reaches_outside() -> None:
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    published = {name for name, service in SERVICES.items() if service.get("ports")}
    assert outside - published == {"migrate", "code-location"}
    assert {name for name, network in FILE["networks"].items() if not (network or {}).get("internal")} == {"outside"}


def test_services_start_in_an_order_that_ends() -> None:
    needs: dict[str, dict] = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}
    for name, needed in needs.items():
        for other, how in needed.items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends == (other in ENDS), (name, other)
        if name not in ENDS and "DATABASE_ROLES" in (SERVICES[name].get("environment") or {}):
            assert needed.keys() >= {"postgres", "migrate"}
    started: set[str] = set()
    while ready := {name for name in needs.keys() - started if needs[name].keys() <= started}:
        started |= ready
    assert started == SERVICES.keys()


def test_every_variable_is_in_the_example_and_every_line_of_it_is_read() -> None:
    text = (PROJECT / ".env.example").read_text()
    lines = dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE))
    assert len(lines) == len(re.findall(r"^#?[A-Z][A-Z0-9_]*=", text, re.MULTILINE)), "twice"
    settings = {name.upper() for name in Settings.model_fields}
    in_compose = {found["name"] for found in VARIABLE.finditer(COMPOSE.read_text())}
    assert lines.keys() == settings | in_compose | set(SECRETS_BY_NAME) | OTHERS
    defaults = {found["name"]: found["rest"] for found in VARIABLE.finditer(COMPOSE.read_text())}
    for name, value in lines.items():
        if name in defaults and value:
            assert value == defaults[name], name
        elif name.lower() in Settings.model_fields and value:
            read = getattr(Settings.model_validate({name.lower(): value}), name.lower())
            assert read == Settings.model_fields[name.lower()].default, name


@each_service
def test_no_variable_is_named_as_one_that_the_service_gets(name: str) -> None:
    """podman-compose looks there first: `LITGO_BACKUP_FOLDER` was a folder of the host, and of the container."""
    service = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"][name]
    given = service.pop("environment", {}).keys()
    assert not {found["name"] for found in VARIABLE.finditer(json.dumps(service))} & given


def test_the_runs_get_every_setting() -> None:
    given = SERVICES["code-location"]["environment"]
    elsewhere = ("EXPORTER", "LITGO_UI_", "DAGSTER_ALLOWED_HOSTS", "LITGO_BACKUP_")
    ports_and_places = {"LITGO_HOME", "DAGSTER_PORT", "MLFLOW_PORT", "MLFLOW_ARTIFACTS", "LITGO_COMPUTE_LOGS"}
    others = {name for name in _settings() if any(part in name for part in elsewhere)}
    assert _settings() - ports_and_places - others <= given.keys()
    assert {n.removesuffix("_FILE") for n in SERVICES["webserver"]["environment"]} >= {
        name for name in others if "EXPORTER" not in name and "BACKUP" not in name
    }
    assert {name for name in others if "BACKUP" in name} <= SERVICES["backup"]["environment"].keys()
    assert not {name for name in given if name.startswith("LITGO_UI_")}, "a run needs no account"
    assert {f"{name}_FILE" for name in SECRETS_BY_NAME} <= given.keys()
    ours = {n for s in SERVICES.values() if "litgo-pipelines" in s["image"] for n in s["environment"]}
    theirs = {
        "PGSSLMODE",
        "DATABASE_ROLES",
        "CODE_LOCATION_HOST",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_BACKEND_STORE_URI",
        "LITGO_MLFLOW_DATABASE_URL",
        "CELERY_BROKER_URL",
        "CELERY_RESULT_BACKEND",
    }
    assert {n for n in ours if not n.endswith("_FILE")} <= _settings() | theirs, "nobody reads it"


def _settings() -> set[str]:
    return {name.upper() for name in Settings.model_fields}


def test_there_is_no_default_password(tmp_path: Path) -> None:
    text = COMPOSE.read_text() + (PROJECT / ".env.example").read_text()
    assert not re.search(r"(?i)(password|secret|api_key|token)\w*[=:] *[\"']?\w+[\"']?$", text, re.MULTILINE)
    assert not re.search(r"//\w+:[^@/\s]+@", text), "a URL with a password"
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed: the file is judged by the other tests alone")
    environment = tmp_path / "env"
    environment.write_text((PROJECT / ".env.example").read_text())
    command = [compose, "--env-file", str(environment), "-f", str(COMPOSE), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_image_is_built_from_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.search(r":\d+\.\d+\.\d+-", stage) for stage in stages)
    final = text.split("FROM ")[-1]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert not re.search(r"\bpip\b|gcc|build-essential", final), "no build tools"
    sent = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for image in (text, (DEPLOY / "Dockerfile.webserver").read_text())
        for line in re.findall(r"^COPY (?!--from)(.*)$", image, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == sent, "the builds' context"
    assert all((PROJECT / source).exists() for source in copied)
    if shutil.which("hadolint"):
        done = subprocess.run(["hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_secrets_are_made_once(tmp_path: Path) -> None:
    subprocess.run([DEPLOY / "secrets.sh", tmp_path / "s"], check=True)
    made = _read(tmp_path / "s")
    assert made.keys() == FILE["secrets"].keys()
    subprocess.run([DEPLOY / "secrets.sh", tmp_path / "s"], check=True)
    assert _read(tmp_path / "s") == made
    random = [text for text in made.values() if text]
    assert len(set(random)) == len(random) == 13
    assert all(len(text) == 48 for text in random)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def _read(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_the_entry_point_leaves_an_instance_that_is_there(tmp_path: Path) -> None:
    """As the Helm chart mounts one into a run's pod, where nobody may write."""
    home = tmp_path / "home"
    environment = {"PATH": os.environ["PATH"], "DAGSTER_HOME": str(home)}
    subprocess.run([DEPLOY / "entrypoint.sh", "true"], env=environment, check=True)
    assert (home / "dagster.yaml").read_bytes() == (FILES / "dagster.yaml").read_bytes()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (home / "dagster.yaml").chmod(0o444)
    home.chmod(0o555)
    subprocess.run([DEPLOY / "entrypoint.sh", "true"], env=environment, check=True)
    assert (home / "dagster.yaml").read_text() == "telemetry: {enabled: false}"


def test_the_entry_point_hands_secrets_on(tmp_path: Path) -> None:
    (tmp_path / "litgo_dagster_password").write_text("a:b\\c\n")
    (tmp_path / "key").write_text("line 1\nline 2\n")
    (tmp_path / "empty").write_text("")
    environment = {
        "PATH": os.environ["PATH"],
        "SECRETS_FOLDER": str(tmp_path),
        "PGPASSFILE": str(tmp_path / "pgpass"),
        "DATABASE_ROLES": "litgo_dagster",
        "DOCUSIGN_PRIVATE_KEY_FILE": str(tmp_path / "key"),
        "OPENAI_API_KEY_FILE": str(tmp_path / "empty"),
        "ONESIGNAL_API_KEY": "by hand",
        "ONESIGNAL_API_KEY_FILE": str(tmp_path / "absent"),
    }
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [DEPLOY / "entrypoint.sh", "python3", "-c", script], env=environment, capture_output=True, check=True
    )
    seen = json.loads(done.stdout)
    assert seen["DOCUSIGN_PRIVATE_KEY"] == "line 1\nline 2"
    assert "OPENAI_API_KEY" not in seen
    assert seen["ONESIGNAL_API_KEY"] == "by hand"
    assert (tmp_path / "pgpass").read_text() == "*:*:*:litgo_dagster:a\\:b\\\\c\n"
    assert stat.S_IMODE((tmp_path / "pgpass").stat().st_mode) == 0o600
    (tmp_path / "litgo_dagster_password").unlink()
    refused = subprocess.run([DEPLOY / "entrypoint.sh", "true"], env=environment, capture_output=True, check=False)
    assert refused.returncode != 0
