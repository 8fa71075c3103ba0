"""`python -m litgo_pipelines.database.roles`: the database roles of a deployment, each with what its process needs.

Belongs here: applying `roles.sql`, who owns Dagster's and MLflow's storage, passwords. Run it as the owner of the
database after `litgo migrate`, again after every upgrade; docs/deployment.md.
"""

import argparse
import os
from contextlib import closing
from pathlib import Path

from psycopg2 import errors

from litgo_pipelines.database import Cursor, advisory_lock, connect, in_transaction, normalise, open_connection, sql

# role → the database it owns; both hold what Dagster and MLflow create there themselves
STORAGE = {"litgo_dagster": "litgo_dagster", "litgo_mlflow": "litgo_mlflow"}
ROLES = ("litgo_pipelines", "litgo_exporter", "litgo_office", "litgo_backup", *STORAGE)
# What the exporter reads of Dagster's: runs, daemons, ticks. Not the event log.
EXPORTED = (
    "runs",
    "run_tags",
    "daemon_heartbeats",
    "instigators",
    "jobs",
    "job_ticks",
    "secondary_indexes",
    "kvs",
    "instance_info",
    "alembic_version",
)
# Roles and who owns a database are the server's, and a lock is one database's: another marketplace beside this one may
# be writing the same rows. The loser of such a race is refused, with these.
RACED = (errors.InternalError_, errors.UniqueViolation, errors.DuplicateObject)


def apply(url: str, passwords: Path | None = None) -> None:
    """Create the roles, give them exactly their rights, hand the storage databases on the same server to theirs.

    `url`: the marketplace's database, as its owner. `passwords`: a folder with files `<role>_password`; a role without
    one keeps what it has. Raises FileNotFoundError when the folder has none at all, psycopg2.Error.
    """
    with closing(open_connection(url, application_name="litgo-roles")) as connection:
        handed_over = in_transaction(connection, lambda cursor: _give(cursor, passwords), attempts=5, also=RACED)
    for role, database in handed_over.items():
        _show(normalise(url, database), role)


def _give(cursor: Cursor, passwords: Path | None) -> dict[str, str]:
    """`apply` in the marketplace's database: role → the storage database that is its now."""
    advisory_lock(cursor, "roles")
    cursor.execute(sql("litgo_pipelines.database", "roles.sql"))
    cursor.execute(sql("litgo_pipelines.database", "roles_views.sql"))
    if passwords is not None:
        _set_passwords(cursor, passwords)
    cursor.execute("SELECT datname, pg_get_userbyid(datdba), pg_has_role(datdba, 'MEMBER') FROM pg_database")
    present = {name: (owner, ours) for name, owner, ours in cursor.fetchall()}
    for role, database in STORAGE.items():
        owner, ours = present.get(database, (None, False))
        if ours:
            cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            if not cursor.fetchone()[0]:
                cursor.execute(f"GRANT {role} TO CURRENT_USER")  # only a member can hand a database over
            cursor.execute(f"ALTER DATABASE {database} OWNER TO {role}")
            cursor.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        elif owner is not None and owner != role:
            print(
                f"{database} belongs to {owner} and stays as it is. For Dagster and MLflow to have rights of their "
                f"own, run as {owner}: ALTER DATABASE {database} OWNER TO {role}"
            )
    handed_over = {role: name for role, name in STORAGE.items() if present.get(name, ("", False))[1]}
    for database in handed_over.values():
        cursor.execute(f"GRANT CONNECT ON DATABASE {database} TO litgo_backup")
    if "litgo_dagster" in handed_over:
        cursor.execute(f"GRANT CONNECT ON DATABASE {handed_over['litgo_dagster']} TO litgo_exporter")
    return handed_over


def _set_passwords(cursor: Cursor, folder: Path) -> None:
    from psycopg2 import sql as compose
    from psycopg2.extensions import encrypt_password

    found = {role: folder / f"{role}_password" for role in ROLES if (folder / f"{role}_password").exists()}
    if not found:
        raise FileNotFoundError(f"{folder} has no file <role>_password of {', '.join(ROLES)}")
    for role, file in found.items():
        # hashed here, so that the server's log never sees it
        hashed = encrypt_password(file.read_text().strip(), role, cursor.connection, "scram-sha-256")
        cursor.execute(
            compose.SQL("ALTER ROLE {} PASSWORD {}").format(compose.Identifier(role), compose.Literal(hashed))
        )


def _show(url: str, owner: str) -> None:
    """A storage's tables to who backs them up, those its owner makes later too; the runs to the exporter."""
    with connect(url, application_name="litgo-roles") as connection, connection.cursor() as cursor:
        for kind in ("TABLES", "SEQUENCES"):
            cursor.execute(f"GRANT SELECT ON ALL {kind} IN SCHEMA public TO litgo_backup")
            cursor.execute(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON {kind} TO litgo_backup"
            )
        if owner != "litgo_dagster":
            return
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s)",
            (list(EXPORTED),),
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"GRANT SELECT ON public.{table} TO litgo_exporter")


def main() -> None:
    parser = argparse.ArgumentParser(description=apply.__doc__)
    parser.add_argument("--passwords", type=Path, help="folder with files <role>_password")
    apply(os.environ["LITGO_DATABASE_URL"], parser.parse_args().passwords)
    print("the database's roles are up to date")


if __name__ == "__main__":
    main()
