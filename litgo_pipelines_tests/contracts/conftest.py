"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.contracts import connection, docusign, fake, keys  # noqa: F401
from litgo_pipelines_tests.worlds.live_schema import live  # noqa: F401
