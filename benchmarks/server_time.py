"""Processor time of the server's process behind a connection: what it costs, however busy the machine is otherwise.

On this machine alone: /proc is read.
"""

from pathlib import Path

from litgo_pipelines.database import Connection


def spent(connection: Connection) -> float:
    """Seconds that the connection's process has had a processor so far."""
    text = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text(encoding="ascii")
    return int(text.split()[0]) / 1e9
