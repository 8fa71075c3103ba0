"""Accounts of the MLflow that `litgo up` starts: generated passwords and its configuration, as files of LITGO_HOME."""

import os
import secrets
import sys
from pathlib import Path

from litgo_pipelines.runtime import private_file
from litgo_pipelines.runtime.mlflow_server import (
    ADMIN,
    ADMIN_PASSWORD,
    CONFIG_VARIABLE,
    PIPELINES,
    PIPELINES_PASSWORD,
    write_configuration,
)

FILES = {ADMIN_PASSWORD: "mlflow-admin-password", PIPELINES_PASSWORD: "mlflow-password"}
CONFIG = "mlflow-auth.ini"
VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")  # for the processes that use models


def prepare(home: Path, database: str) -> dict[str, str]:
    """Make what is missing, each file for this user alone; what the processes that use models need.

    `database`: URL of MLflow's database, without a password. A new administrator's password is shown on the terminal
    once; where there is none, its file is named.
    """
    for name, file in FILES.items():
        _make(home / file, shown=name == ADMIN_PASSWORD)
    write_configuration(home / CONFIG, database)
    given = dict(zip(VARIABLES, (PIPELINES, (home / FILES[PIPELINES_PASSWORD]).read_text().strip()), strict=True))
    os.environ.update(given)  # this process uses models too: `litgo explain`, `litgo model`
    return given


def of_server(home: Path) -> dict[str, str]:
    """Variables of the server alone: where its configuration and the passwords are."""
    return {
        CONFIG_VARIABLE: str(home / CONFIG),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        **{f"{name}_FILE": str(home / file) for name, file in FILES.items()},
    }


def _make(file: Path, *, shown: bool) -> None:
    if file.exists():
        return
    password = secrets.token_urlsafe(24)
    private_file.write(file, f"{password}\n")
    if shown:
        said = f"password {password}, shown once and" if sys.stderr.isatty() else "password"
        print(f"MLflow: account {ADMIN}, {said} kept in {file}", file=sys.stderr, flush=True)
