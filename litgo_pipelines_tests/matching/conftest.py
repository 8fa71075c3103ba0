"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.matching import another_url  # noqa: F401
