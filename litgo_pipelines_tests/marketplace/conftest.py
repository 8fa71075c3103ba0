"""Fixtures of the live schema."""

from litgo_pipelines_tests.worlds.live_schema import live, live_template  # noqa: F401
