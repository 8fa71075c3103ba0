"""The code location: the stages in the order data flows, and the resources they use.

Belongs here: assembly only. Importing this module opens no connection and loads no heavy library.
"""

from typing import Any

import dagster as dg

from litgo_pipelines import automation
from litgo_pipelines.embeddings import assets as embeddings_assets
from litgo_pipelines.embeddings import checks as embeddings_checks
from litgo_pipelines.equity import assets as equity_assets
from litgo_pipelines.equity import checks as equity_checks
from litgo_pipelines.evidence import assets as evidence_assets
from litgo_pipelines.evidence import checks as evidence_checks
from litgo_pipelines.intake import assets as intake_assets
from litgo_pipelines.intake import checks as intake_checks
from litgo_pipelines.learning import assets as learning_assets
from litgo_pipelines.learning import checks as learning_checks
from litgo_pipelines.marketplace import assets as marketplace_assets
from litgo_pipelines.marketplace import checks as marketplace_checks
from litgo_pipelines.matching import assets as matching_assets
from litgo_pipelines.matching import checks as matching_checks
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings


def build_defs(**overrides: Any) -> dg.Definitions:
    """The whole project as Dagster definitions; `overrides` replace resources by name (tests, other deployments)."""
    values = settings()
    return dg.Definitions(
        assets=[
            *marketplace_assets.assets,
            *equity_assets.assets,
            *evidence_assets.assets,
            *embeddings_assets.assets,
            *intake_assets.assets,
            *matching_assets.assets,
            *learning_assets.assets,
        ],
        asset_checks=[
            *marketplace_checks.checks,
            *equity_checks.checks,
            *evidence_checks.checks,
            *embeddings_checks.checks,
            *intake_checks.checks,
            *matching_checks.checks,
            *learning_checks.checks,
        ],
        jobs=automation.jobs,
        schedules=automation.schedules,
        sensors=automation.sensors,
        # starting a process costs more than these steps do; long native work releases the interpreter anyway
        executor=dg.in_process_executor,
        resources={
            "postgres": Postgres(url=dg.EnvVar("LITGO_DATABASE_URL")),
            "mlflow": MLflow(tracking_uri=dg.EnvVar("MLFLOW_TRACKING_URI")),
            "local_embeddings": embeddings_assets.LocalEmbeddings(model=values.local_embedding_model),
            "openai": OpenAI(
                model=values.openai_triage_model,
                base_url=values.openai_base_url,
                timeout_seconds=values.openai_timeout,
                deadline_seconds=values.openai_timeout * values.service_deadline_factor,
                fallback_enabled=values.fallback_enabled,
                database_url=dg.EnvVar("LITGO_DATABASE_URL"),
            ),
            **overrides,
        },
    )


defs = build_defs()
