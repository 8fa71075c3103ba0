"""The marketplace database as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from litgo_pipelines.database import connect


class Postgres(dg.ConfigurableResource):
    """Short-lived connections: each `connect()` is one transaction, committed at its end."""

    url: str

    @contextmanager
    def connect(self) -> Iterator[Any]:
        with connect(self.url, application_name="litgo-dagster") as connection:
            yield connection
