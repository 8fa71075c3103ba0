"""Fixtures of the live schema, of a marketplace with other names, and an MLflow server."""

from litgo_pipelines_tests.worlds.learning import mlflow_server  # noqa: F401
from litgo_pipelines_tests.worlds.live_schema import live, live_filled, live_template, live_templates  # noqa: F401
from litgo_pipelines_tests.worlds.other_marketplace import other  # noqa: F401
