"""Delivery asset: messages waiting in the outbox go out by push or e-mail."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from litgo_pipelines.observability.logs import log_json
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, Metadata, permanent_fails_once, table_metadata

if TYPE_CHECKING:
    from collections import Counter

    from litgo_pipelines.notifications.queue import Waiting


@dg.asset(
    deps=["case_offers", "contract_requests", "contract_signatures", "profiles"],
    group_name="notifications",
    owners=[Owner.DATA],
    kinds={"postgres", "python"},
    pool="notifications",
    retry_policy=RETRY,
    description="The outbox goes out: by OneSignal where a person has the app, else by SendGrid. In order, merged, not "
    "oftener than the cooldown allows; what failed is tried again for a day. Ends after five minutes at most.",
    metadata={"dagster/table_name": "litgo.deliveries"},
)
@permanent_fails_once
def delivered_notifications(
    context: dg.AssetExecutionContext, postgres: Postgres, onesignal: OneSignal, sendgrid: SendGrid
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.notifications import queue
    from litgo_pipelines.notifications.delivery import Deliverer

    values = settings()
    with postgres.session() as connection:
        deliverer = Deliverer(
            connection,
            onesignal,
            sendgrid,
            values.team_email,
            values.notification_cooldown_minutes,
            team_emails=values.team_emails,
        )
        deliverer.run()
        with connection, connection.cursor() as cursor:
            left, reasons = queue.waiting(cursor, datetime.now(UTC)), queue.reasons(cursor)
    figures = {f"{channel} {status}": n for (channel, status), n in sorted(deliverer.statuses.items()) if n}
    log_json(context.log, "delivered_notifications", run_id=context.run.run_id, **figures, **left._asdict())
    return dg.MaterializeResult(metadata=pictures(deliverer.statuses, left, reasons))


@dg.asset(
    deps=["profiles"],
    group_name="suppressions",
    owners=[Owner.MARKETPLACE],
    kinds={"postgres", "python"},
    pool="notifications",
    retry_policy=RETRY,
    description="Addresses that SendGrid does not deliver to: its lists of bounces, blocks, invalid addresses, spam "
    "reports and global unsubscribes. What it had accepted for an address that bounced goes out another way, and the "
    "team is told.",
    metadata={"dagster/table_name": "litgo.mail_suppressions"},
)
@permanent_fails_once
def mail_suppressions(
    context: dg.AssetExecutionContext, postgres: Postgres, sendgrid: SendGrid
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.notifications.suppressions import poll

    if sendgrid.missing:
        return dg.MaterializeResult(metadata={"not polled": f"{sendgrid.missing} is not set"})
    with postgres.session() as connection:
        found = poll(connection, sendgrid, datetime.now(UTC))
    log_json(context.log, "mail_suppressions", run_id=context.run.run_id, **found.known, fresh=found.fresh)
    return dg.MaterializeResult(metadata={**found.known, "fresh": found.fresh, "messages again": found.again})


def pictures(statuses: "Counter[tuple[str, str]]", left: "Waiting", reasons: list[tuple[str, int]]) -> Metadata:
    """What came of this run's messages by channel, what still waits, and why."""
    names = ("accepted", "merged", "failed", "dead")
    rows = [(c, *(statuses[c, n] for n in names)) for c in ("push", "email")]
    metadata: Metadata = {
        **{name: sum(statuses[channel, name] for channel in ("push", "email")) for name in names},
        "by channel": table_metadata(("channel", *names), rows),
        "waiting": left.messages,
        "oldest waiting, seconds": round(left.oldest_seconds),
        "dead letters": left.dead,
    }
    if reasons:
        metadata["why deliveries wait"] = table_metadata(("reason", "deliveries"), reasons)
    return metadata


assets = [delivered_notifications, mail_suppressions]
