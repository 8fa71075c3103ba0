"""Fixtures of the live schema and of a marketplace with other names."""

from litgo_pipelines_tests.worlds.live_schema import live, live_filled  # noqa: F401
from litgo_pipelines_tests.worlds.other_marketplace import other  # noqa: F401
