"""Fixtures of the stage's worlds."""

from litgo_pipelines_tests.worlds.lifecycle import own_store  # noqa: F401
from litgo_pipelines_tests.worlds.resources import no_proxy, service  # noqa: F401
