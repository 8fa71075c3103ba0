"""PgBouncer in front of a database."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from sqlalchemy.engine import make_url

from litgo_pipelines.database import libpq
from litgo_pipelines_tests.support import free_port, until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pooled(url: str, folder: Path, mode: str, *lines: str) -> Iterator[str]:
    """The same database through a pooler of this mode; `folder`: exists, of the test's own."""
    parsed = make_url(url)
    host, user = parsed.host or str(parsed.query["host"]), parsed.username or ""
    port = free_port()
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    (folder / "users.txt").write_text(f'"{user}" "{parsed.password or ""}"\n')
    (folder / "pgbouncer.ini").write_text(
        "\n".join(
            [
                "[databases]",
                f"* = host={host} port={parsed.port or 5432}",
                "[pgbouncer]",
                "listen_addr = 127.0.0.1",
                f"listen_port = {port}",
                "unix_socket_dir =",
                "auth_type = trust",
                f"auth_file = {folder}/users.txt",
                f"pool_mode = {mode}",
                *lines,
            ]
        )
    )
    command = [PGBOUNCER or "", str(folder / "pgbouncer.ini")]
    if os.getuid() == 0:  # it refuses to run as root; a socket's owner may connect
        socket = Path(host) / f".s.PGSQL.{parsed.port or 5432}"
        owner = pwd.getpwuid(socket.stat().st_uid).pw_name if socket.exists() else "nobody"
        command[1:1] = ["-u", owner if owner != "root" else "nobody"]
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    through = f"postgresql://{user}@127.0.0.1:{port}/{parsed.database}"

    def answers() -> bool:
        with closing(psycopg2.connect(libpq(through), connect_timeout=2)) as opened, opened.cursor() as cursor:
            cursor.execute("SELECT 1")
        return True

    try:
        until(answers, 20, "PgBouncer")
        yield through
    finally:
        process.terminate()
        process.wait(10)
