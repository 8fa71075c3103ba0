"""Fixture of the servers of one's own."""

from litgo_pipelines_tests.worlds.own_server import folder  # noqa: F401
