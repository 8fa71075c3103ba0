"""The marketplace database as a Dagster resource."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg

from litgo_pipelines.database import Connection, connect, kept, open_connection

SENSOR_SECONDS = 40.0  # of a statement; Dagster ends a tick after 60


class Postgres(dg.ConfigurableResource):
    """Short-lived connections: `connect()` is one transaction, committed at its end; `session()` is for several."""

    url: str

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with connect(self.url, application_name="litgo-dagster") as connection:
            yield connection

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """As `connect`, for sensors: a tick must not wait long for one answer. The connection is kept for the next."""
        with kept.connect(self.url, application_name="litgo-sensor", statement_seconds=SENSOR_SECONDS) as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """One connection for several transactions, which the caller ends; closed at the end."""
        with closing(open_connection(self.url, application_name="litgo-dagster")) as connection:
            yield connection
