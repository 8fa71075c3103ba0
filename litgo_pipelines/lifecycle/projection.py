"""MLflow's aliases as a picture of the ledger: rebuilt from it, never read as the truth."""

from typing import Any

from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.lifecycle.registry import MODEL_NAME
from litgo_pipelines.resources.mlflow import MLflow

CHAMPION = "champion"


def project(mlflow: MLflow, cursor: Any) -> str | None:
    """Make the alias `champion` name the ledger's champion; returns its version, None when nothing serves.

    Safe to repeat. Raises MLflowUnavailable when the server is down: the ledger stays right, the alias follows later.
    """
    module, client = mlflow.module(), mlflow.client()
    champion = ledger.current_champion(cursor)
    try:
        shown = str(client.get_model_version_by_alias(MODEL_NAME, CHAMPION).version)
    except module.exceptions.MlflowException as error:
        # MLflow says INVALID_PARAMETER_VALUE for an alias that is not there.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        shown = None
    if champion is None:
        if shown is not None:
            client.delete_registered_model_alias(MODEL_NAME, CHAMPION)
        return None
    if shown != champion.version:
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, champion.version)
    return champion.version
