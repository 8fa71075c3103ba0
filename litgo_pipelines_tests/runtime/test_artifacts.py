"""MLflow's files in S3-compatible storage: only its server knows the storage, who logs and loads a model does not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.runtime import supervisor
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
