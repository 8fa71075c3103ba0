"""Contracts and messages on the marketplace's own schema: an envelope, a refusal, paper, and who is told of each."""

import json
from datetime import timedelta
from typing import Any

import pytest

from litgo_pipelines.contracts.requests import request_signatures
from litgo_pipelines.contracts.signatures import look_at_envelopes
from litgo_pipelines.database import Connection
from litgo_pipelines.evidence.refresh import refresh
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.notifications.delivery import Deliverer
from litgo_pipelines.notifications.suppressions import poll
from litgo_pipelines.observability import unattended
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds.contracts import NOW, FakeDocuSign, client
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace, fill
from litgo_pipelines_tests.worlds.notifications import KEYS, MAILED, PUSHED
from litgo_pipelines_tests.worlds.sessions import kept


def chosen(live: LiveMarketplace, fee: dict[str, Any]) -> str:
    """A lawyer says yes to a case of somebody with an address, and the client takes him."""
    ((case, client_id, lawyer),) = live.ask(
        "SELECT c.id::text, c.client_id::text, l.id::text FROM public.cases c, public.lawyers l "
        "WHERE NOT EXISTS (SELECT FROM public.contracts k WHERE k.case_id = c.id) AND l.oab_number IS NOT NULL "
        "ORDER BY c.id, l.id LIMIT 1"
    )
    live.ask("DELETE FROM public.offers WHERE case_id = %s", case)
    live.ask(
        "INSERT INTO public.offers (case_id, lawyer_id, status, sent_at, expires_at) "
        "VALUES (%s, %s, 'interested', %s, %s)",
        case,
        lawyer,
        NOW - timedelta(hours=2),
        NOW,
    )
    ((contract,),) = live.ask(
        "INSERT INTO public.contracts (case_id, lawyer_id, client_id, status, fee_model, created_at) "
        "VALUES (%s, %s, %s, 'pending-signature', %s, %s) RETURNING id::text",
        case,
        lawyer,
        client_id,
        json.dumps(fee),
        NOW - timedelta(hours=1),
    )
    return contract


def told(live: LiveMarketplace, contract: str) -> dict[str, int]:
    return dict(
        live.ask(
            "SELECT kind, count(*) FROM litgo.outbox WHERE payload ->> 'contract_id' = %s GROUP BY 1 ORDER BY 1",
            contract,
        )
    )


def deliver(connection: Connection, url: str) -> tuple[int, int]:
    """(pushes, e-mails) that went out."""
    with FaultServer(PUSHED) as push, FaultServer(MAILED) as mail:
        onesignal = OneSignal(app_id="app", base_url=push.url, database_url=url)
        sendgrid = SendGrid(base_url=mail.url, database_url=url)
        Deliverer(connection, onesignal, sendgrid, "equipe@example.com", 0, clock=lambda: NOW, seconds=20).run()
        return len(push.requests), len(mail.requests)


def test_contracts_and_messages_on_the_live_schema(
    live: LiveMarketplace, fake: FakeDocuSign, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items() | {("LITGO_MARKETPLACE_MAPPING", "litgo")}:
        monkeypatch.setenv(name, value)
    fill(live.superuser, lawyers=30, cases=60, days=40, end=NOW)
    migrate(live.url)
    bad = chosen(live, {"type": "fixed", "value": "a combinar"})
    good = chosen(live, {"type": "success", "percent": "33,333%"})
    docusign = client(fake.url, live.url)
    with kept(live.url) as connection:
        made = request_signatures(connection, docusign, NOW, limit=1000, signing_days=7).outcomes
        assert (made["docusign"], made["refused"], made["failed"]) == (made["docusign"], made["refused"], 0)
        statuses = dict(live.ask("SELECT contract_id::text, status FROM litgo.contract_requests"))
        assert (statuses[good], statuses[bad]) == ("sent", "refused")
        assert told(live, bad) == {"contract_refused": 3}

        envelope = fake.envelopes[
            live.ask("SELECT envelope_id FROM litgo.contract_requests WHERE contract_id = %s", good)[0][0]
        ]
        envelope["recipients"]["signers"][1]["status"] = "autoresponded"
        looked = look_at_envelopes(connection, docusign, NOW + timedelta(minutes=5), limit=1000, signing_days=7)
        assert looked.outcomes["paper"] == 1
        assert told(live, good) == {"contract_manual": 3, "contract_to_sign": 2}
        assert envelope["status"] == "voided"
        with connection, connection.cursor() as cursor:
            waits = unattended.find(cursor, NOW + timedelta(days=3))
        assert good not in {each.id for each in waits if each.kind == "contract"}

        pushes, mails = deliver(connection, live.url)
        assert pushes + mails > 0
        live.ask("UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL")
        address = live.ask(
            "SELECT p.email FROM contracts c JOIN profiles p ON p.id = c.client_id WHERE c.id = %s", good
        )[0][0]
        listed = faults.json_answer([{"created": int(NOW.timestamp()), "email": address, "reason": "550"}])
        with FaultServer(listed, faults.json_answer([])) as lists:
            found = poll(connection, SendGrid(base_url=lists.url, database_url=live.url), NOW)
        assert found.known["bounces"] == 1
        assert live.ask("SELECT count(*) > 0 FROM litgo.outbox WHERE kind = 'address_bad'") == [(True,)]
        assert refresh(connection, NOW).lawyers == 30
