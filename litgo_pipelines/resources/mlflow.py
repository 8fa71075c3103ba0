"""MLflow tracking server and registry as a Dagster resource. MLflow itself is imported on first use."""

import json
import os
from base64 import b64encode
from types import ModuleType
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.database.urls import without_credentials
from litgo_pipelines.resources.loopback import reach_directly
from litgo_pipelines.settings import settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Set before MLflow is imported: it reads some of them then. A server that is down must cost seconds, not minutes.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
FILES_SECONDS, FILES_BYTES = 20.0, 1 << 22  # a bucket may be slow, and hold many experiments
NO_FILES = b"--no-serve-artifacts"  # in what a server says that does not keep files itself


class MLflowUnavailable(RuntimeError):
    """The tracking server does not answer; transient, worth a retry."""


class MLflow(dg.ConfigurableResource):
    """One tracking URI: `http://host:port` of a server, or a database URL of a store used directly."""

    tracking_uri: str
    experiment: str = "litgo-ranker"
    probe_timeout_seconds: float = 5.0

    def module(self) -> ModuleType:
        """The `mlflow` module, set up for this URI, once the server has answered. Raises MLflowUnavailable."""
        self.probe()
        return self.library()

    def library(self) -> ModuleType:
        """The `mlflow` module, set up for this URI, without asking the server: for what lies on disk."""
        reach_directly(self.tracking_uri)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import mlflow

        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        return mlflow

    def client(self) -> "MlflowClient":
        """Raises MLflowUnavailable when the server does not answer."""
        return self.module().MlflowClient(self.tracking_uri)

    def probe(self) -> None:
        """One quick question to the server's health page. A store without a server has nothing to ask."""
        if not self.tracking_uri.startswith(("http://", "https://")):
            return
        import requests

        reach_directly(self.tracking_uri)
        try:
            url, seconds = f"{self.tracking_uri.rstrip('/')}/health", self.probe_timeout_seconds
            with requests.get(url, timeout=seconds, stream=True) as answer:
                answer.raise_for_status()
                said = next(answer.iter_content(16), b"")
        except requests.RequestException as error:
            raise MLflowUnavailable(
                f"MLflow at {without_credentials(self.tracking_uri)} does not answer ({type(error).__name__}): is it "
                "running? `litgo up` starts it; MLFLOW_TRACKING_URI names another."
            ) from error
        if said.strip() != b"OK":  # its client would take another's JSON for an empty answer
            raise MLflowUnavailable(
                f"what answers at {without_credentials(self.tracking_uri)} is not MLflow but a page of a proxy or "
                "another service: check MLFLOW_TRACKING_URI, and what stands before the server."
            )

    def files_problem(self) -> str | None:
        """Why the store of the models' files cannot be read through the server, which must hold some; None: it can.

        One quick question, without MLflow's client. A server that keeps no files itself has nothing to say.
        """
        if not self.tracking_uri.startswith(("http://", "https://")):
            return None
        from litgo_pipelines.resources import bounded

        reach_directly(self.tracking_uri)
        account = ":".join(os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
        try:
            answer = bounded.send(
                "GET",
                f"{self.tracking_uri.rstrip('/')}/api/2.0/mlflow-artifacts/artifacts",
                seconds=FILES_SECONDS,
                most_bytes=FILES_BYTES,
                headers={"Authorization": f"Basic {b64encode(account.encode()).decode()}"} if account != ":" else {},
            )
        except (OSError, bounded.AnswerTooLarge) as error:
            return type(error).__name__
        if answer.status == 503 and NO_FILES in answer.body:
            return None
        if answer.status != 200:
            return f"HTTP {answer.status}"
        try:
            return None if json.loads(answer.body).get("files") else "it holds nothing"
        except (ValueError, AttributeError):
            return "the answer is not MLflow's"

    def experiment_id(self) -> str:
        """The experiment's id; created when it is not there, brought back when somebody deleted it: MLflow keeps the
        name of a deleted one, and takes no run for it."""
        client = self.client()
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            return str(client.create_experiment(self.experiment))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def run_link(self, run_id: str, experiment_id: str) -> str | None:
        """The page of a run, as browsers reach it; None for a store without a server."""
        base = settings().mlflow_url or self.tracking_uri
        if not base.startswith(("http://", "https://")):
            return None
        return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
