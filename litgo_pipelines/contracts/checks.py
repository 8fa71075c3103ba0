"""Checks on contracts: none waits for a signature indefinitely. They warn and never block."""

from datetime import UTC, datetime

import dagster as dg

from litgo_pipelines.contracts.assets import contract_requests, contract_signatures
from litgo_pipelines.resources.postgres import Postgres

STUCK = "10 minutes"  # after the claim ran out
UNSEEN = "2 hours"  # since an envelope was due


def _count(postgres: Postgres, query: str, **parameters: object) -> int:
    with postgres.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM litgo.contract_requests r JOIN contracts c ON c.id = r.contract_id {query}",
            parameters,
        )
        return cursor.fetchone()[0]


def _warn(found: int, text: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not found, severity=dg.AssetCheckSeverity.WARN, description=f"{found} {text}", metadata={"found": found}
    )


@dg.asset_check(asset=contract_requests, description="No contract to be signed by hand is past its due date.")
def manual_contracts_are_signed(postgres: Postgres) -> dg.AssetCheckResult:
    query = "WHERE r.status = 'manual' AND c.status = 'pending-signature' AND r.due_at < %(now)s"
    overdue = _count(postgres, query, now=datetime.now(UTC))
    return _warn(overdue, "contracts to be signed by hand are overdue: docs/manual-contracts.md")


@dg.asset_check(asset=contract_requests, description="No contract stays on its way to DocuSign.")
def nothing_stuck_in_sending(postgres: Postgres) -> dg.AssetCheckResult:
    query = f"WHERE r.status = 'sending' AND r.claimed_until < clock_timestamp() - interval '{STUCK}'"
    return _warn(_count(postgres, query), f"contracts are «sending» for over {STUCK}: is the sensor on?")


@dg.asset_check(
    asset=contract_requests, description="No contract is refused; a refused one waits for a person to correct it."
)
def no_contract_is_refused(postgres: Postgres) -> dg.AssetCheckResult:
    query = "WHERE r.status = 'refused' AND c.status = 'pending-signature'"
    return _warn(_count(postgres, query), "contracts are refused; the reasons are in the asset's metadata")


@dg.asset_check(asset=contract_signatures, description="Every open envelope was looked at when it was due.")
def envelopes_are_looked_at(postgres: Postgres) -> dg.AssetCheckResult:
    query = f"WHERE r.status <> 'refused' AND r.next_check_at < %(now)s::timestamptz - interval '{UNSEEN}'"
    return _warn(_count(postgres, query, now=datetime.now(UTC)), f"envelopes are due for over {UNSEEN}")


checks = [manual_contracts_are_signed, nothing_stuck_in_sending, no_contract_is_refused, envelopes_are_looked_at]
