"""Envelopes that go wrong: each ends with a person told and a next step, on a real Postgres and over real HTTP."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.contracts import manual, paper
from litgo_pipelines.contracts.requests import RequestsResult, request_signatures
from litgo_pipelines.contracts.signatures import look_at_envelopes
from litgo_pipelines.database import Connection
from litgo_pipelines.observability import unattended
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.simulation import faults
from litgo_pipelines_tests.worlds.contracts import (
    NOW,
    FakeDocuSign,
    add_contract,
    client,
    counted,
    messages,
    request_row,
)
from litgo_pipelines_tests.worlds.sessions import ask


def run(connection: Connection, docusign: DocuSign, as_of: datetime = NOW) -> RequestsResult:
    return request_signatures(connection, docusign, as_of, limit=100, signing_days=7)


def look(connection: Connection, docusign: DocuSign, after: timedelta) -> dict[str, int]:
    return dict(look_at_envelopes(connection, docusign, NOW + after, limit=100, signing_days=7).outcomes)


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def unseen(connection: Connection, after: timedelta) -> list[str]:
    """Contracts nobody looks at or was told of; messages are not delivered here."""
    with connection, connection.cursor() as cursor:
        return [found.id for found in unattended.find(cursor, NOW + after) if found.kind == "contract"]


def signers(fake: FakeDocuSign) -> list[dict[str, Any]]:
    return fake.envelopes[fake.only()]["recipients"]["signers"]


def bounce(fake: FakeDocuSign) -> None:
    signers(fake)[0]["status"] = "autoresponded"


def declined_by_bounce(fake: FakeDocuSign) -> None:
    fake.set(fake.only(), "declined")
    signers(fake)[1] |= {"status": "declined", "declinedReason": "Undeliverable: 550 5.1.1 mailbox unavailable"}


def declined_with(reason: str) -> Callable[[FakeDocuSign], None]:
    def happens(fake: FakeDocuSign) -> None:
        fake.set(fake.only(), "declined")
        signers(fake)[0] |= {"status": "Declined", "declinedReason": reason}

    return happens


def bounce_in_other_letters(fake: FakeDocuSign) -> None:
    signers(fake)[1]["status"] = "AutoResponded"


def expired_in_portuguese(fake: FakeDocuSign) -> None:
    fake.set(fake.only(), "voided")
    fake.envelopes[fake.only()]["voidedReason"] = "O envelope expirou."


def somebody_added_in_docusign(fake: FakeDocuSign) -> None:
    both_sign(fake)
    signers(fake).append({**signers(fake)[0], "recipientId": "ea3362b6-cf00-4797-8cfb-56ca09b988a8"})


def signed_in_person(fake: FakeDocuSign) -> None:
    fake.set(fake.only(), "completed")
    fake.envelopes[fake.only()]["recipients"] = {"signers": None, "inPersonSigners": [{"recipientId": "7"}]}


def delete(fake: FakeDocuSign) -> None:
    fake.set(fake.only(), "deleted")


def forget(fake: FakeDocuSign) -> None:
    fake.envelopes.clear()


def expire(fake: FakeDocuSign) -> None:
    fake.set(fake.only(), "voided")
    fake.envelopes[fake.only()]["voidedReason"] = "Envelope has expired."


def both_sign(fake: FakeDocuSign) -> None:
    fake.set(fake.only(), "completed", client=NOW, lawyer=NOW)


def other_address(fake: FakeDocuSign) -> None:
    signers(fake)[0]["email"] = "outra@example.com"
    both_sign(fake)


def other_name(fake: FakeDocuSign) -> None:
    signers(fake)[1]["name"] = "Outra Pessoa"
    both_sign(fake)


def third_signer(fake: FakeDocuSign) -> None:
    both_sign(fake)
    signers(fake).append({**signers(fake)[0], "recipientId": "3"})


def nobody_signs_for_the_lawyer(fake: FakeDocuSign) -> None:
    both_sign(fake)
    del signers(fake)[1]


def replaced_before_signing(fake: FakeDocuSign) -> None:
    signers(fake)[0]["email"] = "outra@example.com"


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (bounce, "email_bounced"),
        (declined_by_bounce, "email_bounced"),
        (delete, "envelope_deleted"),
        (forget, "envelope_missing"),
        (expire, "not_signed"),
        (other_address, "recipients_replaced"),
        (other_name, "recipients_replaced"),
        (third_signer, "recipients_replaced"),
        (nobody_signs_for_the_lawyer, "recipients_replaced"),
        (replaced_before_signing, "recipients_replaced"),
        *(
            (declined_with(reason), "email_bounced")
            for reason in (
                "smtp; 550 5.1.1 The email account that you tried to reach does not exist",
                "Delivery to the following recipient failed permanently",
                "Recipient address rejected: User unknown in virtual mailbox table",
                "#5.4.4 X-Postfix; Host not found",
                "E-mail não existe",
                "Destinatário desconhecido",
            )
        ),
        (bounce_in_other_letters, "email_bounced"),
        (expired_in_portuguese, "not_signed"),
        (somebody_added_in_docusign, "recipients_replaced"),
        (signed_in_person, "recipients_replaced"),
    ],
)
def test_what_cannot_be_signed_in_docusign_goes_on_on_paper(
    database_url: str,
    connection: Connection,
    docusign: DocuSign,
    fake: FakeDocuSign,
    happens: Callable[[FakeDocuSign], None],
    why: str,
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    happens(fake)
    assert look(connection, docusign, minutes(5)) == {"paper": 1}
    assert request_row(database_url, contract) == ("manual", "manual", why, "pending-signature")
    assert messages(database_url) == ["contract_manual 3", "contract_to_sign 2"]
    assert counted(database_url)[f"contract_envelopes_abandoned_total {why}"] == 1
    assert not [each for each in fake.envelopes.values() if each["status"] == "sent"]
    assert look(connection, docusign, minutes(9999)) == {}
    assert ask(database_url, "SELECT signed_client, signed_lawyer FROM contracts") == [(None, None)]
    assert unseen(connection, timedelta(days=6)) == []


def test_case_accents_blanks_and_a_corrected_profile_are_no_other_person(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    signers(fake)[0] |= {"name": " JOAO  ANTONIO DA SILVA", "email": "Joao@Example.com "}
    signers(fake)[1]["email"] = "nova@example.com"
    ask(database_url, "UPDATE profiles SET email = 'nova@example.com' WHERE email = 'angela@example.com'")
    both_sign(fake)
    assert look(connection, docusign, minutes(5)) == {"signed": 1}
    assert request_row(database_url, contract)[3] == "active"


@pytest.mark.parametrize("state", ["sent", "delivered", "correct"])
def test_an_envelope_nobody_signs_is_reminded_of_and_then_goes_to_paper(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, state: str
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.envelopes[fake.only()]["status"] = state
    fake._void_envelope = lambda request: voided(fake, request)  # type: ignore[method-assign]
    assert ask(database_url, "SELECT due_at FROM litgo.contract_requests") == [(NOW + timedelta(days=7),)]
    for day in (0.1, 2, 4):
        assert look(connection, docusign, timedelta(days=day)) == {"open": 1}
    assert "contract_reminder 2" not in messages(database_url)
    for day in (5.1, 6, 6.9):
        assert look(connection, docusign, timedelta(days=day)) == {"open": 1}
    assert messages(database_url) == ["contract_reminder 2", "contract_to_sign 2"]
    assert look(connection, docusign, timedelta(days=8.3)) == {"paper": 1}
    assert request_row(database_url, contract)[2] == "not_signed"
    assert fake.envelopes[fake.only()]["status"] == "voided"

    # nor is the paper forgotten: reminded, then the team
    run(connection, docusign, NOW + timedelta(days=14))
    assert messages(database_url) == ["contract_manual 3", "contract_reminder 4", "contract_to_sign 2"]
    assert unseen(connection, timedelta(days=17)) == [contract]
    with connection, connection.cursor() as cursor:
        assert paper.to_tell(cursor, NOW + timedelta(days=17)) == 1
    for day in (17, 30):
        run(connection, docusign, NOW + timedelta(days=day))
    assert "contract_overdue 1" in messages(database_url)
    assert unseen(connection, timedelta(days=60)) == []


def voided(fake: FakeDocuSign, request: faults.Request) -> faults.Fault:
    fake.envelopes[fake.only()]["status"] = "voided"
    return faults.json_answer({"envelopeId": fake.only()})


def test_one_signature_in_an_envelope_that_came_to_nothing_is_none(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.set(fake.only(), "sent", client=NOW)
    assert look(connection, docusign, minutes(5)) == {"partly": 1}
    look(connection, docusign, timedelta(days=6))
    (reminded,) = ask(
        database_url,
        "SELECT recipient_id = (SELECT lawyer_id FROM contracts) FROM litgo.outbox WHERE kind = 'contract_reminder'",
    )
    assert reminded == (True,)
    assert look(connection, docusign, timedelta(days=8.3)) == {"paper": 1}
    signed = NOW + timedelta(days=9)
    said = manual.record_signature(
        connection,
        contract_id=contract,
        signed_by="both",
        signed_at=signed.isoformat(),
        recorded_by="Ana",
        sha256="a" * 64,
        as_of=signed + timedelta(hours=1),
    )
    assert said.endswith("contrato ativo")
    assert ask(database_url, "SELECT signed_client, signed_lawyer FROM contracts") == [(signed, signed)]


@pytest.mark.parametrize(
    "code", ["HOURLY_APIINVOCATION_LIMIT_EXCEEDED", "BURST_APIINVOCATION_LIMIT_EXCEEDED", "SOME_NEW_LIMIT_EXCEEDED"]
)
def test_a_limit_told_as_a_400_opens_the_breaker_and_passes(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, code: str
) -> None:
    first, second = add_contract(database_url), add_contract(database_url)
    run(connection, docusign)
    reset = {"X_RateLimit_Reset": str(int(time.time()) + 1200)}
    fake.trouble = {"read_envelope": [faults.json_answer({"errorCode": code, "message": "João"}, 400, **reset)]}
    before = len(fake.operations)
    assert look(connection, docusign, minutes(5)) == {"failed": 1}
    assert len(fake.operations) == before + 2  # looked for surplus, then read once
    state = "SELECT opened_at IS NOT NULL, retry_at > now() + interval '19 minutes' FROM litgo.circuit_breakers"
    assert ask(database_url, f"{state} WHERE service = 'docusign'") == [(True, True)]
    assert look(connection, docusign, minutes(10)) == {"failed": 1}
    assert len(fake.operations) == before + 2
    fake.trouble = {}
    ask(database_url, "UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL")
    assert look(connection, docusign, minutes(200)) == {"open": 2}
    assert {request_row(database_url, each)[0] for each in (first, second)} == {"sent"}
    assert messages(database_url) == ["contract_to_sign 4"]


@pytest.mark.parametrize(
    "code", ["Hourly_Envelope_Polling_Limit_Exceeded", "Hourly_APIInvocation_Envelope_Limit_Exceeded"]
)
def test_a_limit_of_one_envelope_holds_up_no_other(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, code: str
) -> None:
    for _ in range(3):
        add_contract(database_url)
    run(connection, docusign)
    fake.trouble = {"read_envelope": [faults.json_answer({"errorCode": code, "message": "João"}, 400), None]}
    assert look(connection, docusign, minutes(5)) == {"failed": 1, "open": 2}
    assert ask(database_url, "SELECT count(*) FROM litgo.circuit_breakers WHERE opened_at IS NOT NULL") == [(0,)]
    due = "SELECT count(*) FROM litgo.contract_requests WHERE next_check_at >= %s"
    assert ask(database_url, due, (NOW + minutes(65),)) == [(1,)]


@pytest.mark.parametrize(
    ("operation", "fault", "code"),
    [
        ("token", faults.json_answer({"error": "consent_required"}, 400), "consent_required"),
        ("read_envelope", faults.json_answer({"errorCode": "USER_LACKS_PERMISSIONS"}, 403), "USER_LACKS_PERMISSIONS"),
        ("read_envelope", faults.json_answer({"errorCode": "ACCOUNT_NOT_FOUND"}, 404), "ACCOUNT_NOT_FOUND"),
    ],
)
def test_what_only_a_person_can_mend_is_told_once_a_day_and_asked_ever_more_rarely(
    database_url: str,
    connection: Connection,
    docusign: DocuSign,
    fake: FakeDocuSign,
    operation: str,
    fault: faults.Fault,
    code: str,
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.trouble = {operation: [fault]}
    looks = 0
    for day in range(3):
        anew = client(fake.url, database_url)
        for step in range(96):  # every quarter of an hour
            looks += look(connection, anew, timedelta(days=day) + minutes(5 + 15 * step)).get("failed", 0)
    assert 5 <= looks <= 12
    told = ask(database_url, "SELECT payload ->> 'code' FROM litgo.outbox WHERE kind = 'docusign_fails'")
    assert set(told) == {(code,)}
    assert len(told) <= 4
    assert unseen(connection, timedelta(days=3)) == []

    for day in range(4, 12):
        look(connection, client(fake.url, database_url), timedelta(days=day))
    assert request_row(database_url, contract)[:3] == ("manual", "manual", "docusign_unreachable")
    assert "contract_manual 3" in messages(database_url)
    fake.trouble = {}
    look(connection, client(fake.url, database_url), timedelta(days=13))
    assert not fake.live()


@pytest.mark.parametrize("status", ["canceled", "active", None])
def test_an_envelope_that_is_gone_with_its_contract_is_looked_at_no_more(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, status: str | None
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.envelopes.clear()
    if status:
        ask(database_url, "UPDATE contracts SET status = %s WHERE id = %s", (status, contract))
    else:
        ask(database_url, "DELETE FROM public.contracts WHERE id = %s", (contract,))
    ends = {"signed" if status == "active" else "canceled": 1}
    assert look(connection, docusign, minutes(5)) == ends
    assert look(connection, docusign, minutes(9999)) == {}
    assert messages(database_url) == ["contract_to_sign 2"]


@pytest.mark.parametrize(
    "told",
    [
        {"signedDateTime": "2026-01-31T14:30:00.1234567Z"},
        {"signedDateTime": "2026-01-31T14:30:00"},
        {"signedDateTime": None},
        {"signedDateTime": ""},
        {"signedDateTime": "0001-01-01T00:00:00.0000000Z"},
        {"signedDateTime": "9999-12-31T23:59:59.9999999Z"},
        {"signedDateTime": "1/31/2026 2:30:00 PM"},
    ],
)
def test_both_have_signed_however_the_instant_is_told(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, told: dict[str, Any]
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    both_sign(fake)
    signers(fake)[0] |= told
    fake.envelopes[fake.only()]["completedDateTime"] = "2026-01-31T15:00:00.0000000Z"
    assert look(connection, docusign, minutes(5)) == {"signed": 1}
    assert request_row(database_url, contract)[3] == "active"
    assert ask(database_url, "SELECT extract(year FROM signed_client)::int FROM contracts") == [(2026,)]


def test_a_first_signature_at_no_instant_waits_for_the_second(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    signers(fake)[0] |= {"status": "completed", "signedDateTime": None}
    assert look(connection, docusign, minutes(5)) == {"open": 1}
    both_sign(fake)
    assert look(connection, docusign, minutes(60)) == {"signed": 1}
    assert request_row(database_url, contract)[3] == "active"


def test_an_envelope_that_is_listed_is_not_missing(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.trouble = {"read_envelope": [faults.status(404)]}
    assert look(connection, docusign, minutes(5)) == {"failed": 1}
    assert request_row(database_url, contract)[0] == "sent"
    fake.trouble = {}
    assert look(connection, docusign, minutes(60)) == {"open": 1}


@pytest.mark.parametrize(
    "reason",
    [
        "Não concordo com o valor",
        "A cláusula 5.1.2 não serve",
        "Prefiro assinar em 550 dias",
        "O endereço do imóvel",
        None,
    ],
)
def test_a_person_who_declines_ends_the_contract_and_all_three_hear_of_it(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, reason: str | None
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.set(fake.only(), "declined")
    signers(fake)[0] |= {"status": "declined", "declinedReason": reason}
    assert look(connection, docusign, minutes(5)) == {"declined": 1}
    assert request_row(database_url, contract)[3] == "canceled"
    assert "contract_voided 3" in messages(database_url)
