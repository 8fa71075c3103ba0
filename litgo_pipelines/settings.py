"""Settings from the environment, typed and validated, with the names operators know.

Belongs here: every variable the project reads. Does not belong here: anything that connects or computes.
"""

import json
import os
import re
from datetime import date, datetime
from functools import cache
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

TIMEZONE = "America/Sao_Paulo"


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the message names it."""


def keeps_secrets(url: str) -> bool:
    """Whether what is sent there cannot be read on the way: https, or http on the loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    try:
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False


class Settings(BaseModel):
    """Field `x_y` is read from the environment variable `X_Y`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    litgo_home: Path = Field(default=Path(".litgo"), description="embedded database, snapshots, models, logs")
    litgo_database_url: str | None = Field(default=None, description="marketplace database; unset: the embedded server")
    litgo_marketplace_mapping: str | None = Field(
        default=None, description="default, litgo or a YAML file: where the marketplace keeps what we read"
    )
    dagster_database_url: str | None = Field(default=None, description="set by `litgo` for its children")
    mlflow_tracking_uri: str | None = Field(default=None, description="set by `litgo` for its children")

    litgo_executor: Literal["in_process", "celery"] = Field(
        default="in_process", description="who executes a run's steps; celery: docs/scaling.md"
    )

    equity_first_night: str = Field(default="2026-01-01", description="YYYY-MM-DD; no night before it is computed")
    equity_catch_up_nights: int = Field(default=30, ge=1, le=400)
    litgo_capacity_rules: Path | None = Field(default=None, description="JSON file overriding some capacity rules")
    litgo_public_numbers: Path | None = Field(
        default=None, description="text naming whom to call in danger; unset: ours"
    )

    min_reviews_for_retrain: int = Field(default=500, ge=1)
    learning_train_seeds: int = Field(default=5, ge=1, le=50)
    learning_dask_scheduler: str | None = Field(default=None, description="like tcp://scheduler:8786; docs/scaling.md")
    learning_distributed_rows: int = Field(default=20_000_000, ge=1, description="from here on Dask's workers train")
    learning_min_cases: int = Field(default=100, ge=1)
    learning_holdout_share: float = Field(default=0.2, gt=0, lt=1)
    gate_min_queries: int = Field(default=120, ge=2)
    gate_min_lift: float = Field(default=0.05, ge=0)
    gate_equal_margin: float = Field(default=0.01, ge=0, lt=0.5, description="relative; as good, for what is fresher")
    gate_fresher_days: float = Field(default=30, gt=0, description="of data more, and as good is enough")
    gate_stale_days: float = Field(default=60, gt=0, description="age of the champion's data from which it is enough")

    ab_testing_enabled: bool = Field(default=True, description="off: what passes the gate replaces the champion")
    default_traffic_percentage: float = Field(default=10, gt=0, lt=100, description="treated, at an experiment's start")
    ramp_percentage: float = Field(default=50, gt=0, lt=100, description="treated, once enough clients show no harm")
    ramp_clients: int = Field(default=4_000, ge=100)
    holdout_percentage: float = Field(default=10, ge=0, lt=50, description="clients the champion never ranks for")
    cutoff_minutes: int = Field(default=15, ge=1)
    ab_min_sample_size: int = Field(default=1_000, ge=200, description="clients, before a promotion")
    quality_threshold: float = Field(default=0.85, ge=0, le=1, description="floor, as a share of the reference rate")
    quality_outcome_hours: float | None = Field(default=None, gt=0, description="until an outcome counts; OFFER_HOURS")
    quality_min_outcomes: int = Field(default=20, ge=1, description="in an hour, before it is judged by itself")
    ab_min_power: float = Field(default=0.2, ge=0, lt=1, description="expected; with less, no experiment starts")
    ab_non_inferiority_margin: float = Field(default=0.1, gt=0, lt=0.5, description="of the rate, for what is fresher")
    ab_horizon: int = Field(default=20_000, ge=200, description="clients, the end of an experiment")

    local_embedding_model: str = Field(
        default="all-MiniLM-L6-v2", description="besides use-multilingual-v3; or a folder"
    )
    triage_min_confidence: float = Field(default=0.65, ge=0, le=1)
    openai_base_url: str | None = Field(default=None, description="unset: OpenAI's own")
    openai_timeout: float = Field(default=30, gt=0, le=600, description="seconds, of one attempt")
    service_deadline_factor: float = Field(default=2, ge=1, le=10, description="whole call with retries / one attempt")
    fallback_enabled: bool = Field(default=True, description="off: a failing service's error is raised instead")
    openai_triage_model: str = "gpt-4.1-mini"

    openai_embedding_model: str = "text-embedding-3-small"
    docusign_base_url: str | None = Field(default=None, description="account's REST base, without /v2.1; unset: off")
    docusign_auth_url: str = Field(default="https://account.docusign.com", description="of the JWT grant")
    docusign_account_id: str | None = None
    docusign_user_id: str | None = Field(default=None, description="who is impersonated")
    docusign_integration_key: str | None = None
    docusign_timeout: float = Field(default=45, gt=0, le=600, description="seconds, of one attempt")
    onesignal_base_url: str | None = Field(default=None, description="unset: OneSignal's own")
    onesignal_app_id: str | None = Field(default=None, description="unset: no push")
    onesignal_timeout: float = Field(default=15, gt=0, le=600, description="seconds, of one attempt")
    sendgrid_base_url: str | None = Field(default=None, description="unset: SendGrid's own")
    sendgrid_timeout: float = Field(default=15, gt=0, le=600, description="seconds, of one attempt")
    mail_from: str = Field(default="nao-responda@litgo.example", description="sender of e-mails")
    team_email: str | None = Field(default=None, description="who acts on manual contracts and models rolled back")
    team_emails: dict[str, str] = Field(
        default_factory=dict, description='JSON, owner → address, like {"team:marketplace": "a@b"}; else TEAM_EMAIL'
    )
    contract_signing_days: int = Field(default=7, ge=1, description="due date of a manual signature")
    notification_cooldown_minutes: int = Field(default=5, ge=0)

    matching_batch_size: int = Field(default=500, ge=1, le=5000)
    matching_radii_km: tuple[float, ...] = Field(default=(50, 100, 200, 500), description="steps, then anywhere")
    matching_preset: str = Field(default="balanced", pattern="^(balanced|fast|expert|economic)$")
    matching_rounds: int = Field(default=3, ge=1)
    matching_round_days: int = Field(default=14, ge=0)
    matching_duplicate_minutes: int = Field(
        default=30,
        ge=0,
        description="of one client, two cases in the same words are one; 0: never",
    )
    offer_hours: int = Field(default=24, ge=1)
    offer_burst_days: float = Field(
        default=10,
        ge=0,
        le=30,
        description="days of a lawyer's capacity that may be offered at once, besides the day's",
    )
    offer_urgency_share: float = Field(
        default=0.5, gt=0, le=1, description="of a case's urgency its offers live, at most"
    )
    exploration_share: float = Field(default=0.02, ge=0, le=0.5)
    allocation_lambda: float = Field(default=0.6, ge=0, le=10, description="until a calibration has found one")
    allocation_keep: float = Field(default=0.7, ge=0, le=1)

    dagster_allowed_hosts: str = Field(
        default="localhost,127.0.0.1,[::1]", description="under which browsers reach Dagster, besides DAGSTER_URL's"
    )
    litgo_ui_users: str = Field(default="", repr=False, description="accounts of Dagster's pages; empty: no login")
    litgo_ui_session_key: str | None = Field(default=None, repr=False, description="unset: a restart logs out")
    litgo_ui_session_hours: float = Field(default=12, gt=0, le=720)
    litgo_ui_proxy_header: str | None = Field(default=None, description="in which an authenticating proxy says who")
    litgo_ui_proxies: str = Field(default="", description="addresses from which that header is believed")
    litgo_ui_proxy_operators: str = Field(default="", description="names that may change things; others look")
    dagster_port: int = Field(default=3000, ge=0, le=65535)
    mlflow_port: int = Field(default=5000, ge=0, le=65535)
    mlflow_artifacts: str | None = Field(
        default=None, description="a folder or s3://bucket/path for the files of models; unset: in LITGO_HOME"
    )
    litgo_compute_logs: str | None = Field(
        default=None, description="s3://bucket/prefix for what steps print; unset: in LITGO_HOME"
    )
    dagster_url: str | None = Field(
        default=None, description="as browsers reach it, for links; unset: DAGSTER_PORT here"
    )
    mlflow_url: str | None = Field(default=None, description="the same; unset: MLFLOW_TRACKING_URI")
    exporter_host: str = Field(default="127.0.0.1", description="where /metrics listens; in a container: 0.0.0.0")
    exporter_allowed_hosts: str = Field(
        default="localhost,exporter", description="names by which /metrics may be asked; addresses always"
    )
    exporter_port: int = Field(default=9108, ge=0, le=65535)
    retention_frequent_days: int = Field(default=14, ge=2, description="runs of jobs that run all day")
    retention_days: int = Field(default=90, ge=60, description="messages, snapshots, models on disk")
    retention_long_days: int = Field(default=400, ge=90, description="other runs, dead messages, explanations")
    litgo_backup_folder: Path | None = Field(default=None, description="of nightly backups; unset: none is made")
    litgo_backup_days: int = Field(default=14, ge=1, description="nightly backups are kept; the newest three stay")
    litgo_traces_endpoint: str | None = Field(
        default=None, description="OTLP over HTTP, like http://collector:4318/v1/traces; unset: no traces"
    )
    exporter_refresh_seconds: float = Field(default=10, gt=0, le=300)

    @field_validator("equity_first_night")
    @classmethod
    def _day(cls, value: str) -> str:
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise ValueError("a day of the calendar, like 2026-01-31") from None
        if value != day.isoformat() or day.year < 2000:
            raise ValueError("a day from 2000 on, written like 2026-01-31")
        if day > datetime.now(ZoneInfo(TIMEZONE)).date():
            raise ValueError("a day that is still to come: no night would be computed; name one that has begun")
        return value

    @field_validator("litgo_home")
    @classmethod
    def _folder(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            raise ValueError("~ stands for nobody's home here: write the folder from / on") from None

    @field_validator(
        "openai_base_url", "docusign_base_url", "docusign_auth_url", "onesignal_base_url", "sendgrid_base_url"
    )
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        if value and not keeps_secrets(value):
            raise ValueError("a key goes there: https, or http to this machine only")
        return value

    @field_validator("litgo_traces_endpoint")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^/\s]+/", value):
            raise ValueError("the whole address, like http://collector:4318/v1/traces")
        return value

    @field_validator("litgo_compute_logs")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"s3://[a-z0-9.-]{3,63}/[\w./-]*\w", value):
            raise ValueError("a bucket and a prefix in it, like s3://bucket/litgo")
        return value

    @field_validator("team_emails", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        return json.loads(value or "{}") if isinstance(value, str) else value

    @field_validator("matching_radii_km", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("matching_radii_km")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or value[0] <= 0 or any(a >= b for a, b in pairwise(value)):
            raise ValueError("rising distances above 0 in km, like 50,100,200")
        return value

    @property
    def home(self) -> Path:
        return self.litgo_home.resolve()

    @property
    def triage_models(self) -> Path:
        """Where the classifier of each day is kept."""
        return self.home / "models" / "triage"

    @property
    def served_models(self) -> Path:
        """Where copies of the models that rank are kept, so that matching outlives MLflow's outages."""
        return self.home / "models" / "served"


def _plain(value: str) -> str:
    """As it is meant: without blanks, line ends, a byte order mark and one pair of quotation marks around it, which env
    files and files of secrets keep."""
    text = value.strip().lstrip("\ufeff").strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


@cache
def _read(environment: tuple[tuple[str, str], ...]) -> Settings:
    try:
        given = {name.lower(): _plain(value) for name, value in environment}
        return Settings.model_validate({name: value for name, value in given.items() if value})  # blank: unset
    except ValidationError as error:
        problems = [f"{str(e['loc'][0]).upper()}={e.get('input')!r}: {e['msg']}" for e in error.errors()]
        raise SettingsError("environment not usable — " + "; ".join(problems)) from error


def settings() -> Settings:
    """The settings of the environment as it is now (tests and the supervisor change it)."""
    names = _names()
    return _read(tuple(sorted((k, v) for k, v in os.environ.items() if k.upper() in names)))


@cache
def _names() -> frozenset[str]:
    return frozenset(name.upper() for name in Settings.model_fields)


def secret(name: str) -> str:
    """A key, which is no field of the settings, for those are shown; empty when it is not set."""
    return _plain(os.environ.get(name, ""))
