"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.notifications import environment, world  # noqa: F401
