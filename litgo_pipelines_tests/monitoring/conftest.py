"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.lifecycle import life, mlflow  # noqa: F401
