#!/bin/sh
# Before anything else starts, and after every upgrade: schemas, roles, Dagster's and MLflow's storage. Repeatable.
set -eu
roles() { python -m litgo_pipelines.database.roles --passwords "${SECRETS_FOLDER:-/run/secrets}"; }
litgo migrate
roles
dagster instance migrate
mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
roles   # Dagster's tables are there now: the exporter may read its runs
