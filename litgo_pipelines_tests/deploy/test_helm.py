"""The values for Dagster's Helm chart: keys and types the chart has, figures that are those of dagster.yaml.

Neither helm nor the chart is at hand, so its schema is not: what stands here was read in the chart's
`values.schema.json`, for the parts that are set. A chart ignores a key it does not know where it does not refuse it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from litgo_pipelines.runtime.supervisor import PROJECT

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
                type={"enum": ["QueuedRunCoordinator"]},
                config=keys(queuedRunCoordinator=keys(dequeueIntervalSeconds=NUMBER)),
            ),
            runMonitoring=keys(
                enabled=FLAG,
                startTimeoutSeconds=NUMBER,
                maxRuntimeSeconds=NUMBER,
                pollIntervalSeconds=NUMBER,
                maxResumeRunAttempts=NUMBER,
            ),
            runRetries=keys(enabled=FLAG, maxRetries=NUMBER),
            **POD,
        ),
        "dagsterWebserver": keys(
            ("image",), image=IMAGE, replicaCount=NUMBER, service=keys(("type", "port"), type=TEXT, port=NUMBER), **POD
        ),
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


def test_runs_are_bounded_and_retried_as_on_one_machine(values: dict[str, Any]) -> None:
    instance = yaml.safe_load((PROJECT / "dagster.yaml").read_text(encoding="utf-8"))
    daemon, pools = values["dagsterDaemon"], values["concurrency"]
    assert daemon["runMonitoring"]["maxRuntimeSeconds"] == instance["run_monitoring"]["max_runtime_seconds"]
    assert daemon["runMonitoring"]["pollIntervalSeconds"] == instance["run_monitoring"]["poll_interval_seconds"]
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": instance["run_retries"]["max_retries"]}
    assert pools["pools"]["defaultLimit"] == instance["concurrency"]["pools"]["default_limit"]
    assert pools["pools"]["granularity"] == instance["concurrency"]["pools"]["granularity"]
    assert pools["runs"]["maxConcurrentRuns"] == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert values["retention"]["schedule"]["purgeAfterDays"] == instance["retention"]["schedule"]["purge_after_days"]
    kept = values["retention"]["sensor"]["purgeAfterDays"]
    assert instance["retention"]["sensor"]["purge_after_days"].items() <= kept.items()


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
