"""MLflow's files in S3-compatible storage, which only its server knows, and what steps print."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from litgo_pipelines.persons import traces
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.retention import storage as retained
from litgo_pipelines.runtime import supervisor
from litgo_pipelines.settings import SettingsError, settings
from litgo_pipelines_tests.support import free_port

BUCKET = "models"
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "something", "AWS_DEFAULT_REGION": "sa-east-1"}


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket's server."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: the extra `s3` has it")
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[s3,server]'")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        boto3.client("s3", endpoint_url=url).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": KEYS["AWS_DEFAULT_REGION"]}
        )
        yield url
    finally:
        server.stop()


@pytest.mark.proof(
    "litgo_pipelines/runtime/supervisor.py",
    "litgo_pipelines/resources/mlflow.py",
    "litgo_pipelines/settings.py",
    "mlflow",
)
@pytest.mark.slow
def test_files_go_to_the_bucket_and_come_back(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    port = free_port()
    monkeypatch.setenv("MLFLOW_PORT", str(port))
    monkeypatch.setenv("MLFLOW_ARTIFACTS", f"s3://{BUCKET}/litgo")
    environment = {"LITGO_HOME": str(tmp_path), "LITGO_MLFLOW_DATABASE_URL": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    service = supervisor.mlflow_service(environment)
    service.given["MLFLOW_S3_ENDPOINT_URL"] = storage
    (tmp_path / "model.txt").write_text("a model")
    with supervisor.running([service], environment):
        for name in KEYS:
            monkeypatch.delenv(name)  # who logs needs no key
        mlflow = MLflow(tracking_uri=f"http://127.0.0.1:{port}").module()
        mlflow.set_experiment("litgo-ranker")
        with mlflow.start_run() as run:
            mlflow.log_artifact(str(tmp_path / "model.txt"))
        back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="model.txt", dst_path=tmp_path)
    assert Path(back).read_text() == "a model"
    objects = boto3.client(
        "s3", endpoint_url=storage, aws_access_key_id="somebody", aws_secret_access_key="something"
    ).list_objects_v2(Bucket=BUCKET)
    assert [each["Key"].split("/")[0] for each in objects["Contents"]] == ["litgo"]
    assert not (tmp_path / "mlflow-artifacts").exists()


SOMEBODY, PSEUDONYM = "0a1b2c3d-0000-4000-8000-000000000001", "ffffffff-0000-4000-8000-000000000002"


@dg.op
def speaks() -> None:
    print(f"the case {SOMEBODY} waits")


@dg.job
def speaking() -> None:
    speaks()


def test_dagster_yaml_has_the_lines_that_another_place_replaces() -> None:
    text = (supervisor.FILES / "dagster.yaml").read_text()
    assert text.count(supervisor.LOCAL_LOGS) == 1


@pytest.mark.parametrize("value", ["bucket/prefix", "s3://bucket", "s3://bucket/", "s3:///x", "/folder"])
def test_a_place_of_logs_is_a_bucket_with_a_prefix(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITGO_COMPUTE_LOGS", value)
    with pytest.raises(SettingsError, match=r"LITGO_COMPUTE_LOGS=.*s3://bucket/litgo"):
        settings()


def test_what_steps_print_goes_to_the_bucket_is_read_erased_and_removed(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_aws", reason="dagster-aws is not installed: the extra `s3` has it")
    place = f"s3://{BUCKET}/logs"
    for name, value in (("AWS_ENDPOINT_URL", storage), ("LITGO_COMPUTE_LOGS", place), ("DAGSTER_HOME", str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LITGO_DAGSTER_FILES", str(tmp_path))
    written = supervisor._with_logs_at(place, "compute_logs:\n" + supervisor.LOCAL_LOGS)
    (tmp_path / "dagster.yaml").write_text(written)
    with dg.DagsterInstance.get() as instance:
        done = speaking.execute_in_process(instance=instance)
        (captured,) = done.filter_events(lambda event: event.event_type_value == "LOGS_CAPTURED")
        key = [done.run_id, "compute_logs", captured.logs_captured_data.file_key]
        logs = instance.compute_log_manager
        assert SOMEBODY in (logs.get_log_data(key).stdout or b"").decode()
        for local in tmp_path.rglob("*.out"):
            local.unlink()
        assert traces.compute_logs(place, {SOMEBODY: PSEUDONYM}) == 1
        assert (logs.get_log_data(key).stdout or b"").decode() == f"the case {PSEUDONYM} waits\n"
        speaking.execute_in_process(instance=instance)
        retained.runs(instance, tmp_path, datetime.now(UTC) + timedelta(days=1), frequent=False)
        for local in tmp_path.rglob("*.out"):
            local.unlink()
        assert logs.get_log_data(key).stdout is None
        assert traces.compute_logs(place, {SOMEBODY: PSEUDONYM}) == 1, "the other run's are there"
