"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.simulation import simulated_url  # noqa: F401
