"""The image and the services of compose.yaml in real containers, where podman is: deploy/try_compose.sh."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from litgo_pipelines_tests.support import PROJECT

NEEDED = ("podman", "buildah", "runc", "mmdebstrap", "curl", os.environ.get("PODMAN_COMPOSE", "podman-compose"))


@pytest.mark.proof(
    "deploy",
    "litgo_pipelines/runtime/dagster.yaml",
    "litgo_pipelines/runtime/mlflow.env",
    "litgo_pipelines/runtime/mlflow_server.py",
    "litgo_pipelines/backup/nightly.py",
    "pyproject.toml",
)
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_services_run_in_containers(tmp_path: Path) -> None:
    if os.environ.get("LITGO_PROOFS") != "all":
        pytest.skip("an image is built for minutes: `make proofs` runs it")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("containers are limited by root only")
    log = tmp_path / "log"
    with log.open("w") as file:
        done = subprocess.run(
            [PROJECT / "deploy" / "try_compose.sh"], stdout=file, stderr=subprocess.STDOUT, check=False
        )
    said = log.read_text()
    assert done.returncode == 0, said[-5000:]
    assert "run of offer_expiry: SUCCESS" in said
    assert said.rstrip().endswith("nothing is left running")
