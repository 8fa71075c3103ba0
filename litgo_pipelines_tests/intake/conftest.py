"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.intake import held_out, loopback, model, openai  # noqa: F401
