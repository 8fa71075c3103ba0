"""MLflow's server with two accounts: the administrator's, and the pipelines', which is no administrator.

    python -m litgo_pipelines.runtime.mlflow_server [arguments of `mlflow`]

The accounts are made before the server listens, so that there is no moment without them. Passwords come from variables
or the files that NAME_FILE names, and the server itself is started without them. The pipelines manage their experiment
and their model, whoever made these, and read the others. Where MLFLOW_AUTH_CONFIG_PATH names no configuration of the
login, the one below is written, on the database of MLFLOW_BACKEND_STORE_URI.
"""

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litgo_pipelines.runtime import private_file

if TYPE_CHECKING:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

ADMIN, PIPELINES = "admin", "litgo"
ADMIN_PASSWORD, PIPELINES_PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD", "LITGO_MLFLOW_PASSWORD"
OWN = {  # MLflow's word for it → where its id stands, by the name that both have
    "experiment": ("experiments", "experiment_id", "litgo-ranker"),
    "registered_model": ("registered_models", "name", "litgo-ranker"),
}
CONFIG = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""  # a password is hashed once a minute and not for each request, which would take longer than the request
CONFIG_VARIABLE = "MLFLOW_AUTH_CONFIG_PATH"


def write_configuration(path: Path, database: str) -> None:
    """For this user alone. `database`: URL of MLflow's."""
    text = CONFIG.format(database=database.replace("%", "%%"), admin=ADMIN)  # % is the file's own sign
    private_file.write(path, text)


def configuration_folder(database: str) -> Path:
    """A folder for this user alone, the same at every start on this database: the process becomes MLflow's, and nobody
    is left to remove it. Exits when somebody else made one of that name."""
    name = f"litgo-mlflow-{os.getuid()}-{hashlib.sha256(database.encode()).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()) / name
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        sys.exit(f"{folder} is open to others: remove it")
    return folder


def password(name: str) -> str:
    """From the variable or the file NAME_FILE names. Exits with what is missing."""
    file = os.environ.get(f"{name}_FILE", "")
    found = os.environ.get(name, "") or (Path(file).read_text(encoding="utf-8").strip() if file else "")
    if not found:
        sys.exit(f"{name} or {name}_FILE is needed: `litgo up` and deploy/secrets.sh make the file")
    return found


def accounts(admin_password: str, pipelines_password: str) -> None:
    """Make what is missing. The pipelines' password is what it is here; an administrator may have changed theirs."""
    from mlflow.server.auth.config import read_auth_config
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    config = read_auth_config()
    if config.admin_username in (None, PIPELINES):
        sys.exit(f"admin_username in {CONFIG_VARIABLE} must be somebody else than {PIPELINES}")
    store = SqlAlchemyStore()
    store.init_db(config.database_uri)
    if not store.has_user(config.admin_username):
        store.create_user(config.admin_username, admin_password, is_admin=True)
    if not store.has_user(PIPELINES):
        store.create_user(PIPELINES, pipelines_password)
    elif store.get_user(PIPELINES).is_admin or not store.authenticate_user(PIPELINES, pipelines_password):
        store.update_user(PIPELINES, pipelines_password, is_admin=False)
    _give_own(store)


def upgrade(database: str) -> None:
    """MLflow's tables as this version has them: its server refuses those of an earlier one, as after an upgrade, or in
    a backup that was restored. Where there are none it makes them."""
    from mlflow.db import upgrade as command
    from sqlalchemy import create_engine, inspect

    engine = create_engine(database)
    there = inspect(engine).has_table("experiments")
    engine.dispose()
    if there:
        command.main([database], standalone_mode=False)


def _give_own(store: "SqlAlchemyStore") -> None:
    """What another account, or nobody, made before; what the pipelines make is theirs by itself."""
    from sqlalchemy import inspect, text

    for kind, (table, column, name) in OWN.items():
        if not inspect(store.engine).has_table(table):
            continue
        with store.engine.connect() as connection:
            ids = connection.execute(text(f"SELECT {column} FROM {table} WHERE name = :name"), {"name": name})
            found = [str(row[0]) for row in ids]
        for each in found:
            store.grant_user_permission(PIPELINES, kind, each, "MANAGE")


def serve(arguments: list[str]) -> None:
    """As `mlflow`, but its server takes the place of this process: MLflow's own would wait beside it with all that it
    imported, which takes a quarter of a gigabyte. It stays where it has more to start than the server."""
    import mlflow.server
    from mlflow.cli import cli
    from mlflow.environment_variables import MLFLOW_SERVER_ENABLE_JOB_EXECUTION

    server: Any = mlflow.server
    start = server._exec_cmd

    def become(command: list[str], *, extra_env: Mapping[str, str], **options: bool) -> object:
        if not MLFLOW_SERVER_ENABLE_JOB_EXECUTION.get():
            sys.stdout.flush()
            sys.stderr.flush()
            os.execve(command[0], command, {**os.environ, **extra_env})
        return start(command, extra_env=extra_env, **options)

    server._exec_cmd = become
    cli(arguments, prog_name="mlflow")


def main() -> None:
    if not os.environ.get(CONFIG_VARIABLE):
        database = os.environ["MLFLOW_BACKEND_STORE_URI"]
        path = configuration_folder(database) / "auth.ini"
        write_configuration(path, database)
        os.environ[CONFIG_VARIABLE] = str(path)
    upgrade(os.environ["MLFLOW_BACKEND_STORE_URI"])
    accounts(password(ADMIN_PASSWORD), password(PIPELINES_PASSWORD))
    for name in (ADMIN_PASSWORD, PIPELINES_PASSWORD):
        os.environ.pop(name, None)
    serve(sys.argv[1:])


if __name__ == "__main__":
    main()
