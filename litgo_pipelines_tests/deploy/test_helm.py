"""The values for Dagster's Helm chart: keys and types the chart has, and an instance that is that of dagster.yaml.

What the chart makes of them needs helm, and the chart's folder in LITGO_HELM_CHART. Without, the keys are held against
what was read in the chart's schema, for the parts that are set. A chart ignores a key that it does not refuse.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from litgo_pipelines.runtime.supervisor import FILES
from litgo_pipelines_tests.support import PROJECT

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "integer"}
FLAG: dict[str, Any] = {"type": "boolean"}
ANY: dict[str, Any] = {"type": "object"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
NAMES: dict[str, Any] = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT}},
}
OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object", "required": ["name"]}}
QUANTITY: dict[str, Any] = {"type": "string", "pattern": r"^\d+(m|Mi|Gi)?$"}


def keys(required: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    """An object with these keys and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


AMOUNTS = keys(("cpu", "memory"), cpu=QUANTITY, memory=QUANTITY)
POD = {
    "resources": keys(("requests", "limits"), requests=AMOUNTS, limits=AMOUNTS),
    "securityContext": ANY,
    "podSecurityContext": ANY,
    "env": {"type": "object", "additionalProperties": TEXT},
    "envConfigMaps": NAMES,
    "envSecrets": NAMES,
    "volumes": OBJECTS,
    "volumeMounts": OBJECTS,
}
IMAGE = keys(
    ("repository", "pullPolicy"),
    repository=TEXT,
    tag=TEXT,
    pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
)
ENABLED = keys(("enabled",), enabled=FLAG)
DEPLOYMENT = keys(
    ("name", "image", "port"),
    name=TEXT,
    image=IMAGE,
    port=NUMBER,
    dagsterApiGrpcArgs=TEXTS,
    includeConfigInLaunchedRuns=ENABLED,
    **POD,
)
CLASS = keys(("module", "class", "config"), **{"module": TEXT, "class": TEXT, "config": ANY})
DAYS = {"anyOf": [NUMBER, keys(skipped=NUMBER, success=NUMBER, failure=NUMBER, started=NUMBER)]}
SCHEMA = keys(
    **{
        "global": keys(postgresqlSecretName=TEXT),
        "generatePostgresqlPasswordSecret": FLAG,
        "generateCeleryConfigSecret": FLAG,
        "postgresql": keys(
            enabled=FLAG,
            postgresqlHost=TEXT,
            postgresqlUsername=TEXT,
            postgresqlDatabase=TEXT,
            postgresqlParams=ANY,
            service=keys(port=NUMBER),
        ),
        "dagster-user-deployments": keys(
            enabled=FLAG, enableSubchart=FLAG, deployments={"type": "array", "items": DEPLOYMENT, "minItems": 1}
        ),
        "runLauncher": keys(
            ("type", "config"),
            type={"enum": ["K8sRunLauncher"]},
            config=keys(
                ("k8sRunLauncher",),
                k8sRunLauncher=keys(
                    imagePullPolicy=TEXT,
                    failPodOnRunFailure=FLAG,
                    runK8sConfig=keys(
                        containerConfig=ANY,
                        podSpecConfig=ANY,
                        podTemplateSpecMetadata=ANY,
                        jobSpecConfig=ANY,
                        jobMetadata=ANY,
                    ),
                ),
            ),
        ),
        "concurrency": keys(
            enabled=FLAG,
            pools=keys(defaultLimit=NUMBER, granularity={"enum": ["run", "op"]}),
            runs=keys(maxConcurrentRuns=NUMBER),
        ),
        "dagsterDaemon": keys(
            enabled=FLAG,
            runCoordinator=keys(
                ("enabled", "type", "config"),
                enabled=FLAG,
                type={"enum": ["CustomRunCoordinator"]},
                config=keys(("customRunCoordinator",), customRunCoordinator=CLASS),
            ),
            runMonitoring=keys(
                enabled=FLAG,
                startTimeoutSeconds=NUMBER,
                cancelTimeoutSeconds=NUMBER,
                maxRuntimeSeconds=NUMBER,
                pollIntervalSeconds=NUMBER,
                maxResumeRunAttempts=NUMBER,
            ),
            runRetries=keys(enabled=FLAG, maxRetries=NUMBER, retryOnAssetOrOpFailure=FLAG),
            **POD,
        ),
        "dagsterWebserver": keys(
            ("image",), image=IMAGE, replicaCount=NUMBER, service=keys(("type", "port"), type=TEXT, port=NUMBER), **POD
        ),
        "computeLogManager": keys(
            ("type", "config"),
            type={"enum": ["CustomComputeLogManager"]},
            config=keys(("customComputeLogManager",), customComputeLogManager=CLASS),
        ),
        "additionalInstanceConfig": ANY,
        **dict.fromkeys(["ingress", "rabbitmq", "redis", "flower", "telemetry"], ENABLED),
        "pythonLogs": keys(managedPythonLoggers=TEXTS, pythonLogLevel=TEXT),
        "retention": keys(enabled=FLAG, schedule=keys(purgeAfterDays=DAYS), sensor=keys(purgeAfterDays=DAYS)),
    }
)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "deploy" / "helm" / "values.yaml").read_text(encoding="utf-8"))


def test_the_chart_has_every_key(values: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: the extra `dev` has it")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    errors = [f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)]
    assert not errors
    misspelt = values | {"dagsterDaemon": values["dagsterDaemon"] | {"runRetry": {"enabled": True}}}
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(misspelt)


@pytest.fixture(scope="module")
def instance() -> dict[str, Any]:
    """dagster.yaml, of one machine."""
    return yaml.safe_load((FILES / "dagster.yaml").read_text(encoding="utf-8"))


def test_runs_are_bounded_and_retried_as_on_one_machine(values: dict[str, Any], instance: dict[str, Any]) -> None:
    daemon, pools = values["dagsterDaemon"], values["concurrency"]
    monitoring, retries = daemon["runMonitoring"], daemon["runRetries"]
    assert monitoring["maxRuntimeSeconds"] == instance["run_monitoring"]["max_runtime_seconds"]
    assert monitoring["cancelTimeoutSeconds"] == instance["run_monitoring"]["cancel_timeout_seconds"]
    assert monitoring["pollIntervalSeconds"] == instance["run_monitoring"]["poll_interval_seconds"]
    assert retries["enabled"] is instance["run_retries"]["enabled"]
    assert retries["maxRetries"] == instance["run_retries"]["max_retries"]
    assert retries["retryOnAssetOrOpFailure"] is instance["run_retries"]["retry_on_asset_or_op_failure"]
    assert daemon["runCoordinator"]["config"]["customRunCoordinator"] == instance["run_coordinator"]
    assert pools["pools"]["defaultLimit"] == instance["concurrency"]["pools"]["default_limit"]
    assert pools["pools"]["granularity"] == instance["concurrency"]["pools"]["granularity"]
    assert pools["runs"]["maxConcurrentRuns"] == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert values["retention"]["schedule"]["purgeAfterDays"] == instance["retention"]["schedule"]["purge_after_days"]
    kept = values["retention"]["sensor"]["purgeAfterDays"]
    assert instance["retention"]["sensor"]["purge_after_days"].items() <= kept.items()


def test_what_the_chart_has_no_key_for_is_added(values: dict[str, Any], instance: dict[str, Any]) -> None:
    added = values["additionalInstanceConfig"]
    assert added["freshness"] == instance["freshness"]
    assert added["nux"] == instance["nux"]
    assert added["local_artifact_storage"]["class"] == instance["local_artifact_storage"]["class"]


def test_the_logs_of_runs_are_kept_where_the_webserver_finds_them(values: dict[str, Any]) -> None:
    """The chart's default is to keep none."""
    logs = values["computeLogManager"]["config"]["customComputeLogManager"]
    kept = Path(logs["config"]["base_dir"])
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    webserver = values["dagsterWebserver"]
    for pod in (deployment, webserver):
        (mount,) = pod["volumeMounts"]
        assert kept.is_relative_to(mount["mountPath"])
        assert {"name": mount["name"], "persistentVolumeClaim": {"claimName": "litgo-home"}} in pod["volumes"]
    assert webserver["podSecurityContext"] == deployment["podSecurityContext"]
    assert webserver["volumeMounts"][0]["readOnly"] is True


def test_what_has_no_capabilities_listens_above_1024(values: dict[str, Any]) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    webserver = values["dagsterWebserver"]
    assert deployment["securityContext"] == webserver["securityContext"]
    assert webserver["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert deployment["port"] >= 1024
    assert webserver["service"]["port"] >= 1024


CHART = os.environ.get("LITGO_HELM_CHART")
HELM = shutil.which("helm")
with_helm = pytest.mark.skipif(
    not (CHART and HELM), reason="helm is not installed, or LITGO_HELM_CHART does not name the chart's folder"
)


def rendered(*values: Path) -> subprocess.CompletedProcess[str]:
    """What the chart makes of our values, and of more of them."""
    files = [PROJECT / "deploy" / "helm" / "values.yaml", *values]
    command = [str(HELM), "template", "litgo", str(CHART), "--namespace", "litgo"]
    for file in files:
        command += ["--values", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@with_helm
def test_the_rendered_instance_is_that_of_one_machine(instance: dict[str, Any], tmp_path: Path) -> None:
    """As Dagster reads both, but for what a cluster does otherwise: storage, launcher, folders, a pod's start."""
    done = rendered()
    assert done.returncode == 0, done.stderr
    (found,) = [
        each["data"]["dagster.yaml"]
        for each in yaml.safe_load_all(done.stdout)
        if each and each["kind"] == "ConfigMap" and each["metadata"]["name"].endswith("-instance")
    ]
    (tmp_path / "dagster.yaml").write_text(found)
    read, _ = dagster_instance_config(str(tmp_path))
    for name in ("run_coordinator", "concurrency", "run_retries", "freshness", "telemetry", "nux", "python_logs"):
        assert read[name] == instance[name], name
    assert read["run_monitoring"] == instance["run_monitoring"] | {
        "start_timeout_seconds": 300,
        "max_resume_run_attempts": 0,
        "free_slots_after_run_end_seconds": 0,
    }
    for name in ("compute_logs", "local_artifact_storage"):
        assert read[name] == instance[name] | {"config": {"base_dir": "/var/lib/litgo/dagster"}}
    assert read["run_launcher"]["class"] == "K8sRunLauncher"


@with_helm
@pytest.mark.parametrize(
    "wrong",
    [
        "dagsterDaemon: {runRetry: {enabled: true}}",
        "concurrency: {runs: {maxRuns: 1}}",
        "retention: {sensor: {purgeAfterDays: {skip: 1}}}",
    ],
)
def test_the_charts_schema_refuses_what_it_does_not_know(wrong: str, tmp_path: Path) -> None:
    """So that the test above says that it knows what we set."""
    (tmp_path / "wrong.yaml").write_text(wrong)
    refused = rendered(tmp_path / "wrong.yaml")
    assert refused.returncode != 0
    assert "not allowed" in refused.stderr


def test_no_value_is_a_secret_and_runs_find_theirs(values: dict[str, Any]) -> None:
    text = (PROJECT / "deploy" / "helm" / "values.yaml").read_text(encoding="utf-8")
    assert "postgresqlPassword:" not in text
    assert values["generatePostgresqlPasswordSecret"] is False
    assert values["postgresql"]["enabled"] is False
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"]["enabled"]
    assert {each["name"] for each in deployment["envSecrets"]} <= set(text.split())
    assert {each["name"] for each in deployment["volumeMounts"]} == {each["name"] for each in deployment["volumes"]}
    assert deployment["env"]["LITGO_HOME"] == deployment["volumeMounts"][0]["mountPath"]
    assert not [
        name for name in deployment["env"] if "KEY" in name or "PASSWORD" in name or name.endswith("DATABASE_URL")
    ]


@pytest.mark.slow
@pytest.mark.proof("deploy", "litgo_pipelines/runtime")
def test_the_chart_starts_our_webserver(values: dict[str, Any]) -> None:
    """The chart runs `dagster-webserver` from PATH in the image that is named here."""
    image = (PROJECT / "deploy" / "Dockerfile.webserver").read_text()
    chart = re.search(r"--version (\S+)", (PROJECT / "deploy" / "helm" / "values.yaml").read_text())
    assert chart is not None
    assert f"FROM dagster/dagster-celery-k8s:{chart[1]}\n" in image
    assert "COPY deploy/bin/dagster-webserver /usr/local/bin/dagster-webserver" in image
    assert values["dagsterWebserver"]["image"]["repository"].endswith("/litgo-webserver")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    asked = [str(PROJECT / "deploy" / "bin" / "dagster-webserver"), "--help"]
    done = subprocess.run(asked, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True)
    assert "dagster-webserver" in done.stdout
