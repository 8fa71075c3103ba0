"""Processor time of the server's process behind a connection: what it costs, however busy the machine is otherwise.

On this machine alone: /proc is read.
"""

import os
from pathlib import Path

from litgo_pipelines.database import Connection


def spent(connection: Connection) -> float:
    """Seconds that the connection's process has had a processor so far."""
    text = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text(encoding="ascii")
    return int(text.split()[0]) / 1e9


def spent_by_ended(connection: Connection) -> float:
    """Processor seconds of all of the server's processes that have ended: sessions and their parallel workers."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW data_directory")
        (folder,) = cursor.fetchone()
    postmaster = Path(folder, "postmaster.pid").read_text(encoding="utf-8").split()[0]
    fields = Path(f"/proc/{postmaster}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
