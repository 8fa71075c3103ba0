"""Code location: the stages in the order data flows, and the resources they use.

Belongs here: assembly only. Importing this module opens no connection and loads no heavy library.
"""

import gc

gc.disable()  # until all is imported, of which hardly anything is garbage: the collector would walk it again and again

from functools import partial
from typing import Any

import dagster as dg

from litgo_pipelines import asset_specs, automation
from litgo_pipelines.backup import assets as backup_assets
from litgo_pipelines.contracts import assets as contracts_assets
from litgo_pipelines.contracts import checks as contracts_checks
from litgo_pipelines.embeddings import assets as embeddings_assets
from litgo_pipelines.embeddings import checks as embeddings_checks
from litgo_pipelines.equity import assets as equity_assets
from litgo_pipelines.equity import checks as equity_checks
from litgo_pipelines.evidence import assets as evidence_assets
from litgo_pipelines.evidence import checks as evidence_checks
from litgo_pipelines.experiments import assets as experiment_assets
from litgo_pipelines.intake import assets as intake_assets
from litgo_pipelines.intake import checks as intake_checks
from litgo_pipelines.learning import assets as learning_assets
from litgo_pipelines.learning import checks as learning_checks
from litgo_pipelines.lifecycle import assets as lifecycle_assets
from litgo_pipelines.marketplace import assets as marketplace_assets
from litgo_pipelines.marketplace import checks as marketplace_checks
from litgo_pipelines.matching import assets as matching_assets
from litgo_pipelines.matching import checks as matching_checks
from litgo_pipelines.monitoring import assets as monitor_assets
from litgo_pipelines.notifications import assets as notifications_assets
from litgo_pipelines.notifications import checks as notifications_checks
from litgo_pipelines.persons import assets as persons_assets
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.retention import assets as retention_assets
from litgo_pipelines.settings import settings

# stage, which is its folder → its assets
_ASSETS: dict[str, list[Any]] = {
    "marketplace": marketplace_assets.assets,
    "equity": equity_assets.assets,
    "evidence": evidence_assets.assets,
    "embeddings": embeddings_assets.assets,
    "intake": intake_assets.assets,
    "matching": matching_assets.assets,
    "contracts": contracts_assets.assets,
    "notifications": notifications_assets.assets,
    "learning": learning_assets.assets,
    "lifecycle": lifecycle_assets.assets,
    "experiments": experiment_assets.assets,
    "monitoring": monitor_assets.assets,
    "retention": retention_assets.assets,
    "persons": persons_assets.assets,
    "backup": backup_assets.assets,
}


def build_defs(**overrides: object) -> dg.Definitions:
    """The whole project as Dagster definitions; `overrides` replace resources by name (tests, other deployments)."""
    return dg.Definitions(
        assets=[
            asset
            for stage, assets in _ASSETS.items()
            for asset in dg.map_asset_specs(partial(asset_specs.completed, stage=stage), assets)
        ],
        asset_checks=[
            *marketplace_checks.checks,
            *equity_checks.checks,
            *evidence_checks.checks,
            *embeddings_checks.checks,
            *intake_checks.checks,
            *matching_checks.checks,
            *contracts_checks.checks,
            *notifications_checks.checks,
            *learning_checks.checks,
            *monitor_assets.checks,
        ],
        jobs=[
            *automation.jobs,
            *contracts_assets.jobs,
            *learning_assets.jobs,
            *lifecycle_assets.jobs,
            *experiment_assets.jobs,
            *persons_assets.jobs,
        ],
        schedules=automation.schedules,
        sensors=automation.sensors,
        executor=_executor(settings().litgo_executor),
        resources={**_resources(), **overrides},
    )


def _resources() -> dict[str, dg.ConfigurableResource]:
    """Databases, MLflow, and the clients of external services, as the settings say."""
    values = settings()
    url = dg.EnvVar("LITGO_DATABASE_URL")

    def policy(timeout_seconds: float) -> dict[str, Any]:
        """What all clients of external services share."""
        return {
            "timeout_seconds": timeout_seconds,
            "deadline_seconds": timeout_seconds * values.service_deadline_factor,
            "database_url": url,
        }

    return {
        "postgres": Postgres(url=url),
        "mlflow": MLflow(tracking_uri=dg.EnvVar("MLFLOW_TRACKING_URI")),
        "local_embeddings": embeddings_assets.LocalEmbeddings(model=values.local_embedding_model),
        "openai": OpenAI(
            model=values.openai_triage_model,
            embedding_model=values.openai_embedding_model,
            base_url=values.openai_base_url,
            fallback_enabled=values.fallback_enabled,
            **policy(values.openai_timeout),
        ),
        "docusign": DocuSign(
            base_url=values.docusign_base_url,
            auth_url=values.docusign_auth_url,
            account_id=values.docusign_account_id,
            user_id=values.docusign_user_id,
            integration_key=values.docusign_integration_key,
            fallback_enabled=values.fallback_enabled,
            **policy(values.docusign_timeout),
        ),
        "onesignal": OneSignal(
            app_id=values.onesignal_app_id,
            base_url=values.onesignal_base_url,
            fallback_enabled=values.fallback_enabled,
            **policy(values.onesignal_timeout),
        ),
        "sendgrid": SendGrid(
            sender=values.mail_from, base_url=values.sendgrid_base_url, **policy(values.sendgrid_timeout)
        ),
    }


def _executor(name: str) -> dg.ExecutorDefinition:
    if name == "celery":
        from dagster_celery import celery_executor

        return celery_executor.configured(
            {"broker": {"env": "CELERY_BROKER_URL"}, "backend": {"env": "CELERY_RESULT_BACKEND"}}
        )
    # starting a process costs more than these steps do; long native work releases the interpreter anyway
    return dg.in_process_executor


defs = build_defs()
gc.freeze()
gc.enable()
