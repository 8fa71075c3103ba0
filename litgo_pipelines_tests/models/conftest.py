"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.learning import fresh_id, learnable_market, market  # noqa: F401
