"""Contract assets: a chosen lawyer becomes a document to sign, signatures activate the contract. Also the job with
which a person records a signature on paper."""

from typing import TYPE_CHECKING, Literal

import dagster as dg
from pydantic import Field

from litgo_pipelines.jobs import JOBS, run_tags
from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import (
    RETRY,
    AsOfConfig,
    Metadata,
    acting,
    example_config,
    now,
    permanent_fails_once,
    require_filled_in,
    table_metadata,
)

if TYPE_CHECKING:
    from litgo_pipelines.contracts.requests import RequestsResult
    from litgo_pipelines.contracts.signatures import SignaturesResult


class ContractsConfig(AsOfConfig):
    limit: int = Field(default=100, ge=1, le=10_000, description="contracts per run")


@dg.asset(
    deps=["contracts", "offers", "cases", "lawyers", "profiles"],
    group_name="contracts",
    owners=[Owner.MARKETPLACE],
    kinds={"postgres", "python"},
    pool="contracts",
    retry_policy=RETRY,
    description="A contract whose lawyer accepted the offer becomes a PDF and a DocuSign envelope; where DocuSign "
    "fails, a task to sign by hand, with a due date, told to both parties and the team. One transaction before the "
    "call and one after it.",
    metadata={"dagster/table_name": "litgo.contract_requests"},
)
@permanent_fails_once
def contract_requests(
    context: dg.AssetExecutionContext, config: ContractsConfig, postgres: Postgres, docusign: DocuSign
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.contracts import manual, requests

    as_of = config.instant()
    with postgres.session() as connection:
        result = requests.request_signatures(
            connection,
            docusign,
            as_of,
            limit=config.limit,
            signing_days=settings().contract_signing_days,
            warn=context.log.warning,
        )
        with connection, connection.cursor() as cursor:
            refused, tasks = requests.refused(cursor), manual.open_tasks(cursor, as_of)
            pending = requests.pending_contracts(cursor)
    log_json(context.log, "contract_requests", run_id=context.run.run_id, **result.outcomes)
    if result.raised:
        raise dg.Failure(
            f"{len(result.raised)} contracts wait for DocuSign, fallbacks are off: {result.raised[0]}",
            metadata=dict(result.failures),
            allow_retries=False,
        )
    rows = [(contract, requests.REASONS.get(reason, reason)) for contract, reason in refused]
    return dg.MaterializeResult(
        metadata={
            **_figures(result, ("docusign", "manual", "refused", "failed")),
            "pending_contracts_count": pending,
            "refused contracts": table_metadata(("contrato", "motivo"), rows),
            "to sign by hand": table_metadata(manual.COLUMNS, map(manual.cells, tasks)),
        }
    )


@dg.asset(
    deps=[contract_requests],
    group_name="contracts",
    owners=[Owner.MARKETPLACE],
    kinds={"postgres", "python"},
    pool="contracts",
    retry_policy=RETRY,
    description="Checks open envelopes, the longest due first: signed by both, the contract becomes active; declined "
    "or voided by a person, it is canceled; unsigned at its due date, or impossible to sign, it continues on paper. "
    "Parties are reminded before a due date. An envelope of a contract that is signed by hand is voided.",
    metadata={"dagster/table_name": "litgo.contract_events"},
)
@permanent_fails_once
def contract_signatures(
    context: dg.AssetExecutionContext, config: ContractsConfig, postgres: Postgres, docusign: DocuSign
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.contracts import requests, signatures

    as_of = config.instant()
    with postgres.session() as connection:
        result = signatures.look_at_envelopes(
            connection,
            docusign,
            as_of,
            limit=config.limit,
            signing_days=settings().contract_signing_days,
            warn=context.log.warning,
        )
        with connection, connection.cursor() as cursor:
            pending = requests.pending_contracts(cursor)
            _, due = requests.waiting(cursor, as_of)
    log_json(context.log, "contract_signatures", run_id=context.run.run_id, **result.outcomes)
    return dg.MaterializeResult(
        metadata={
            **_figures(result, ("signed", "partly", "open", "declined", "voided", "paper", "failed")),
            "still due": due,
            "pending_contracts_count": pending,
        }
    )


def _figures(result: "RequestsResult | SignaturesResult", names: tuple[str, ...]) -> Metadata:
    figures: Metadata = {**dict.fromkeys(names, 0), **result.outcomes, "as of": result.as_of.isoformat()}
    if result.failures:
        figures["failures"] = dg.MetadataValue.json(dict(list(result.failures.items())[:50]))
    return figures


class SignatureConfig(dg.Config):
    """What is recorded of a signature on paper: docs/manual-contracts.md."""

    contract_id: str = Field(description="identificador do contrato", examples=["<identificador do contrato, um UUID>"])
    signed_by: Literal["client", "lawyer", "both"] = Field(
        description="quem assinou: client, lawyer ou both", examples=["both"]
    )
    signed_at: str = Field(
        description="quando, com fuso: 2026-01-31T14:30:00-03:00", examples=["<2026-01-31T14:30:00-03:00>"]
    )
    recorded_by: str = Field(default="", description="seu nome; onde há login, vale o nome do login")
    sha256: str = Field(
        description="SHA-256 do arquivo assinado: 64 dígitos hexadecimais", examples=["<64 dígitos hexadecimais>"]
    )


@dg.op(description="Validates and records a signature on paper; refuses what is not right, with the reason.")
def signature(context: dg.OpExecutionContext, config: SignatureConfig, postgres: Postgres) -> None:
    from litgo_pipelines.contracts import manual

    require_filled_in(config)
    try:
        with postgres.session() as connection:
            given = {**config.model_dump(), "recorded_by": acting(context.run.tags, config.recorded_by)}
            said = manual.record_signature(connection, **given, as_of=now())
    except manual.SignatureError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info(said)


@dg.job(
    tags=run_tags(JOBS["record_signature"]),
    description=JOBS["record_signature"].description,
    config=example_config(signature=SignatureConfig),
)
def record_signature() -> None:
    signature()


assets = [contract_requests, contract_signatures]
jobs = [record_signature]
