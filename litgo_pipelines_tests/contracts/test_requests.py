"""Contracts to signature and back, on a real Postgres and over real HTTP."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from litgo_pipelines.contracts import records
from litgo_pipelines.contracts.requests import (
    RequestsResult,
    _Work,
    pending,
    request_signatures,
    transaction_id,
    waiting,
)
from litgo_pipelines.contracts.signatures import look_at_envelopes
from litgo_pipelines.database import Connection
from litgo_pipelines.notifications.contract_words import sentence
from litgo_pipelines.observability import unattended
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.external_service import ServiceFailure
from litgo_pipelines.simulation import faults
from litgo_pipelines_tests.worlds.contracts import (
    NOW,
    FakeDocuSign,
    add_contract,
    client,
    counted,
    lease_ends,
    messages,
    request_row,
    sent_document,
)
from litgo_pipelines_tests.worlds.sessions import ask, kept


def run(connection: Connection, docusign: DocuSign, as_of: Any = NOW, limit: int = 100) -> RequestsResult:
    return request_signatures(connection, docusign, as_of, limit=limit, signing_days=7)


def look(connection: Connection, docusign: DocuSign, minutes: float, limit: int = 100) -> dict[str, int]:
    return dict(look_at_envelopes(connection, docusign, NOW + timedelta(minutes=minutes), limit=limit).outcomes)


def events(url: str) -> list[str]:
    return [name.split(":")[0] for (name,) in ask(url, "SELECT event FROM litgo.contract_events ORDER BY event_id")]


def test_from_a_chosen_lawyer_to_an_active_contract(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    with connection, connection.cursor() as cursor:
        assert waiting(cursor, NOW) == (1, 0)
    assert run(connection, docusign).outcomes == {"docusign": 1}
    (envelope,) = fake.envelopes
    assert request_row(database_url, contract) == ("sent", "docusign", None, "pending-signature")
    assert ask(database_url, "SELECT sha256 FROM litgo.contract_documents") == [(sent_document(fake),)]
    assert fake.envelopes[envelope]["transactionId"] == transaction_id(contract)
    signers = fake.envelopes[envelope]["recipients"]["signers"]
    assert [signer["email"] for signer in signers] == ["joao@example.com", "angela@example.com"]
    assert messages(database_url) == ["contract_to_sign 2"]
    assert not run(connection, docusign).outcomes
    assert fake.operations == ["token", "create_envelope"]

    assert look(connection, docusign, 4) == {}
    assert look(connection, docusign, 5) == {"open": 1}
    first, second = NOW + timedelta(minutes=7), NOW + timedelta(minutes=9)
    fake.set(envelope, "sent", client=first)
    assert look(connection, docusign, 19) == {}
    assert look(connection, docusign, 20) == {"partly": 1}
    signed = "SELECT status, signed_client, signed_lawyer FROM contracts"
    assert ask(database_url, signed) == [("pending-signature", first, None)]
    fake.set(envelope, "completed", client=first, lawyer=second)
    assert look(connection, docusign, 90) == {"signed": 1}
    assert ask(database_url, signed) == [("active", first, second)]
    assert look(connection, docusign, 9999) == {}
    assert request_row(database_url, contract)[0] == "signed"
    assert messages(database_url) == ["contract_signed 2", "contract_to_sign 2"]
    assert counted(database_url) == {"contract_creation_method_total docusign": 1, "contracts_signed_total": 1}
    assert events(database_url) == ["requested", "sent", "signed", "signed"]


@pytest.mark.parametrize("ending", ["declined", "voided"])
def test_an_envelope_that_came_to_nothing_cancels_the_contract(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, ending: str
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    fake.set(fake.only(), ending)
    assert look(connection, docusign, 5) == {ending: 1}
    assert request_row(database_url, contract) == ("canceled", "docusign", ending, "canceled")
    assert messages(database_url) == ["contract_to_sign 2", "contract_voided 3"]


def test_a_contract_canceled_in_the_marketplace_is_not_left_to_sign(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    ask(database_url, "UPDATE contracts SET status = 'canceled'")
    assert look(connection, docusign, 5) == {"canceled": 1}
    assert not fake.live()
    assert request_row(database_url, contract)[0] == "canceled"
    assert look(connection, docusign, 9999) == {}


@pytest.mark.parametrize("gone", [False, True])
def test_who_signs_a_contract_that_was_canceled_meanwhile_is_told(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, gone: bool
) -> None:
    contract = add_contract(database_url)
    run(connection, docusign)
    ask(database_url, "DELETE FROM public.contracts" if gone else "UPDATE contracts SET status = 'canceled'")
    fake.set(fake.only(), "completed", client=NOW, lawyer=NOW)
    assert look(connection, docusign, 5) == {"canceled": 1}
    assert look(connection, docusign, 9999) == {}
    assert messages(database_url) == ["contract_to_sign 2", f"contract_voided {1 if gone else 3}"]
    said = [
        sentence("contract_voided", {"contract_id": contract, "reason": "signed"}, {}, team=t) for t in (True, False)
    ]
    assert "ainda o assinaram" in said[0]
    assert "já estava cancelado" in said[1]


def test_without_docusign_the_same_document_is_signed_by_hand(database_url: str, connection: Connection) -> None:
    contract = add_contract(database_url)
    assert run(connection, DocuSign()).outcomes == {"manual": 1}
    assert request_row(database_url, contract) == ("manual", "manual", "not_configured", "pending-signature")
    assert ask(database_url, "SELECT due_at, next_check_at FROM litgo.contract_requests") == [
        (NOW + timedelta(days=7), None)
    ]
    assert ask(database_url, "SELECT octet_length(pdf) > 1000 FROM litgo.contract_documents") == [(True,)]
    assert messages(database_url) == ["contract_manual 3"]
    assert counted(database_url) == {"contract_creation_method_total manual": 1}


@pytest.mark.parametrize("email", [None, f"{'a' * 60}@{'b' * 30}.example.com.br"])
def test_nobody_to_write_to_means_by_hand(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, email: str | None
) -> None:
    """Nor does an address of more than 100 characters: DocuSign cuts it off, and writes to whoever has the rest."""
    contract = add_contract(database_url, client_email=email)
    assert run(connection, docusign).outcomes == {"manual": 1}
    assert request_row(database_url, contract)[2] == "no_email"
    assert not fake.envelopes
    assert "fallback_usage_total" not in " ".join(counted(database_url))


@pytest.mark.parametrize(
    ("client", "lawyer"),
    [
        ("angela@example.com", "Angela@Example.com "),
        ("angela+cliente@example.com", "angela@example.com"),
        ("an.gela+1@gmail.com", "angela@googlemail.com"),
    ],
)
def test_nobody_signs_for_the_other_from_the_same_mailbox(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, client: str, lawyer: str
) -> None:
    contract = add_contract(database_url, client_email=client, lawyer_email=lawyer)
    assert run(connection, docusign).outcomes == {"manual": 1}
    assert request_row(database_url, contract)[2] == "same_email"
    assert not fake.envelopes


def test_a_client_who_is_another_account_of_the_lawyer_has_no_contract_to_sign(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = add_contract(database_url)
    ask(
        database_url,
        "INSERT INTO litgo.lawyer_accounts (lawyer_id, person_id) "
        "SELECT unnest(ARRAY[lawyer_id, client_id]), lawyer_id FROM contracts",
    )
    assert run(connection, docusign).outcomes == {"refused": 1}
    assert request_row(database_url, contract)[2] == "own_case"
    assert not fake.envelopes


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"offer": "declined"}, "no_offer"),
        ({"fee": {"type": "barter"}}, "fee_model_unknown"),
        ({"oab": " "}, "oab_missing"),
        ({"created_at": NOW - timedelta(days=31)}, "too_old"),
    ],
)
def test_what_must_not_be_sent_is_refused_aloud_until_it_is_mended(
    database_url: str,
    connection: Connection,
    docusign: DocuSign,
    fake: FakeDocuSign,
    values: dict[str, Any],
    reason: str,
) -> None:
    contract = add_contract(database_url, **values)
    assert run(connection, docusign).outcomes == {"refused": 1}
    assert request_row(database_url, contract) == ("refused", None, reason, "pending-signature")
    assert not run(connection, docusign).outcomes
    assert run(connection, docusign, NOW + timedelta(hours=1)).outcomes == {"refused": 1}
    assert not run(connection, docusign, NOW + timedelta(hours=2)).outcomes
    assert (fake.operations, messages(database_url), events(database_url)) == ([], ["contract_refused 3"], ["refused"])
    ask(database_url, 'UPDATE contracts SET fee_model = \'{"type": "fixed", "value": 2500}\', created_at = %s', (NOW,))
    ask(database_url, "UPDATE lawyers SET oab_number = 'SP 1'")
    ask(database_url, "UPDATE profiles SET full_name = 'Ana' WHERE full_name IS NULL")
    ask(database_url, "DELETE FROM offers")
    ask(
        database_url,
        "INSERT INTO offers (case_id, lawyer_id, status) SELECT case_id, lawyer_id, 'closed' FROM contracts",
    )
    assert run(connection, docusign, NOW + timedelta(hours=3)).outcomes == {"docusign": 1}


@pytest.mark.parametrize("first", ["pending-signature", "active"])
def test_of_two_contracts_on_a_case_the_second_waits_for_a_person(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, first: str
) -> None:
    ask(database_url, "DROP INDEX public.contracts_one_open_per_case")
    earlier = add_contract(database_url, status=first)
    second = add_contract(database_url, created_at=NOW - timedelta(minutes=30))
    ask(
        database_url,
        "UPDATE contracts SET case_id = k.case_id FROM contracts k WHERE contracts.id = %s AND k.id = %s; "
        "INSERT INTO offers (case_id, lawyer_id, status) SELECT case_id, lawyer_id, 'interested' FROM contracts "
        "WHERE id = %s",
        (second, earlier, second),
    )
    run(connection, docusign)
    assert request_row(database_url, second)[::2] == ("refused", "second_contract")
    assert len(fake.envelopes) == (first == "pending-signature")
    assert "contract_refused 3" in messages(database_url)
    ask(database_url, "UPDATE contracts SET status = 'canceled' WHERE id = %s", (earlier,))
    assert run(connection, docusign, NOW + timedelta(hours=1)).outcomes == {"docusign": 1}


def test_what_the_marketplace_handles_itself_is_not_ours(database_url: str, connection: Connection) -> None:
    add_contract(database_url, doc_url="https://example.com/contrato.pdf")
    add_contract(database_url, status="active")
    assert not run(connection, DocuSign()).outcomes
    assert ask(database_url, "SELECT count(*) FROM litgo.contract_requests") == [(0,)]


@pytest.mark.parametrize(
    ("trouble", "reason", "operations"),
    [
        ({"create_envelope": faults.status(503)}, "unavailable", 3 * ["create_envelope", "find_envelope"]),
        ({"create_envelope": faults.status(400)}, "rejected", ["create_envelope"]),
        ({"create_envelope": faults.too_many_requests(300)}, "rate_limited", ["create_envelope"]),
        ({"create_envelope": faults.html}, "invalid", ["create_envelope", "find_envelope"]),
        ({"token": faults.status(400)}, "rejected", []),
    ],
)
def test_docusign_failing_means_by_hand(
    database_url: str,
    connection: Connection,
    fake: FakeDocuSign,
    trouble: dict[str, Any],
    reason: str,
    operations: list[str],
) -> None:
    contract = add_contract(database_url)
    fake.trouble = {operation: [fault] for operation, fault in trouble.items()}
    assert run(connection, client(fake.url, database_url)).outcomes == {"manual": 1}
    assert [each for each in fake.operations if each != "token"] == operations
    assert request_row(database_url, contract) == ("manual", "manual", reason, "pending-signature")
    assert messages(database_url) == ["contract_manual 3"]
    assert counted(database_url) == {
        "contract_creation_method_total manual": 1,
        f"fallback_usage_total {reason} docusign": 1,
    }
    fake.trouble = {}
    ask(database_url, "UPDATE litgo.circuit_breakers SET failures = 0, opened_at = NULL, retry_at = NULL")
    assert look(connection, client(fake.url, database_url), 5) == {"none": 1}
    assert look(connection, client(fake.url, database_url), 9999) == {}
    assert not fake.envelopes


def test_with_the_breaker_open_it_is_by_hand_at_once(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    ask(
        database_url,
        "UPDATE litgo.circuit_breakers SET failures = 5, opened_at = clock_timestamp(), "
        "retry_at = clock_timestamp() + interval '1 hour' WHERE service = 'docusign'",
    )
    for _ in range(3):
        add_contract(database_url)
    assert run(connection, docusign).outcomes == {"manual": 3}
    assert not fake.operations
    assert counted(database_url)["fallback_usage_total circuit_open docusign"] == 3
    assert look(connection, docusign, 5) == {"failed": 1}  # and stops: nobody is asked


def test_with_fallbacks_off_the_contract_waits(database_url: str, connection: Connection, fake: FakeDocuSign) -> None:
    contract = add_contract(database_url)
    strict = client(fake.url, database_url, fallback_enabled=False)
    fake.trouble = {"create_envelope": [faults.status(400)]}
    result = run(connection, strict)
    assert result.outcomes == {"failed": 1}
    assert isinstance(result.raised[0], ServiceFailure)
    assert request_row(database_url, contract)[0] == "sending"
    assert not run(connection, strict).outcomes  # the claim has not run out
    fake.trouble = {}
    lease_ends(database_url)
    assert run(connection, strict).outcomes == {"docusign": 1}
    assert len(fake.envelopes) == 1


def test_one_broken_contract_does_not_hold_up_the_others(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    broken = add_contract(database_url, created_at=NOW - timedelta(hours=2))
    fine = add_contract(database_url)
    ask(
        database_url,
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'João'; END $$",
    )
    ask(
        database_url,
        "CREATE TRIGGER broken BEFORE INSERT ON litgo.contract_documents FOR EACH ROW "
        f"WHEN (NEW.contract_id = '{broken}') EXECUTE FUNCTION broken()",
    )
    result = run(connection, docusign)
    assert result.outcomes == {"failed": 1, "docusign": 1}
    assert result.failures == {broken: "RaiseException P0001"}
    assert request_row(database_url, broken)[:3] == ("refused", None, "failed")
    assert request_row(database_url, fine)[0] == "sent"
    assert len(fake.envelopes) == 1


@pytest.mark.parametrize("fault", [faults.reset, faults.truncated_json])
def test_a_lost_answer_makes_no_second_envelope(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, fault: faults.Fault
) -> None:
    contract = add_contract(database_url)
    fake.lost = {"create_envelope": [fault]}
    assert run(connection, docusign).outcomes == {"docusign": 1}
    assert ask(database_url, "SELECT envelope_id FROM litgo.contract_requests") == [tuple(fake.envelopes)]
    assert request_row(database_url, contract)[0] == "sent"


def lost_for_good(url: str, connection: Connection, fake: FakeDocuSign) -> str:
    """A contract that went manual although its envelope was created."""
    contract = add_contract(url)
    fake.lost = {"create_envelope": [faults.reset]}
    fake.trouble = {"find_envelope": [faults.status(500)]}
    assert run(connection, client(fake.url, url, breaker_threshold=99)).outcomes == {"manual": 1}
    assert (len(fake.live()), request_row(url, contract)[0]) == (1, "manual")
    return contract


@pytest.mark.parametrize("signed_by_hand", [False, True])
def test_docusign_returns_and_nobody_signs_two(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, signed_by_hand: bool
) -> None:
    contract = lost_for_good(database_url, connection, fake)
    assert look(connection, client(fake.url, database_url, breaker_threshold=99), 5) == {"failed": 1}
    assert len(fake.live()) == 1
    fake.trouble = {}
    if signed_by_hand:
        ask(database_url, "UPDATE contracts SET status = 'active', signed_client = now(), signed_lawyer = now()")
    assert look(connection, docusign, 20) == {"voided": 1}
    assert not fake.live()
    assert fake.operations.count("void_envelope") == 1
    assert request_row(database_url, contract)[3] == ("active" if signed_by_hand else "pending-signature")
    assert events(database_url)[-1] == "envelope_voided"
    assert look(connection, docusign, 9999) == {}
    assert messages(database_url) == ["contract_manual 3"]


def test_an_envelope_both_have_signed_meanwhile_counts(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    contract = lost_for_good(database_url, connection, fake)
    fake.trouble = {}
    fake.set(fake.only(), "completed", client=NOW, lawyer=NOW + timedelta(minutes=1))
    assert look(connection, docusign, 5) == {"signed": 1}
    assert request_row(database_url, contract) == ("signed", "manual", "unavailable", "active")
    assert counted(database_url)["contracts_signed_total"] == 1
    assert look(connection, docusign, 9999) == {}


@pytest.mark.parametrize("created", [False, True])
def test_a_sender_that_was_killed_is_followed_by_one_that_looks_first(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, created: bool
) -> None:
    """The row as a kill leaves it: claimed, with or without an envelope nobody wrote down."""
    contract = add_contract(database_url)
    ask(
        database_url,
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'killed'; END $$",
    )
    when = "NEW.status = 'sent'" if created else "false"
    ask(
        database_url,
        "CREATE TRIGGER stop BEFORE UPDATE ON litgo.contract_requests FOR EACH ROW "
        f"WHEN ({when}) EXECUTE FUNCTION stop()",
    )
    if not created:
        fake.trouble = {"create_envelope": [faults.status(400)]}
    run(connection, client(fake.url, database_url, fallback_enabled=False))
    ask(database_url, "DROP TRIGGER stop ON litgo.contract_requests")
    fake.trouble = {}
    assert (request_row(database_url, contract)[0], len(fake.envelopes)) == ("sending", int(created))
    assert not run(connection, docusign).outcomes
    lease_ends(database_url)
    with connection, connection.cursor() as cursor:
        assert waiting(cursor, NOW) == (1, 0)
    assert run(connection, docusign).outcomes == {"docusign": 1}
    assert len(fake.envelopes) == 1
    assert counted(database_url)["contract_creation_method_total docusign"] == 1


def test_two_runs_beside_each_other_send_one_envelope_each_contract(
    database_url: str, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    for _ in range(4):
        add_contract(database_url)
    outcomes: list[Any] = []

    def one() -> None:
        with kept(database_url) as own:
            outcomes.append(run(own, client(fake.url, database_url)).outcomes)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each["docusign"] for each in outcomes) == 4
    assert len(fake.envelopes) == len({each["transactionId"] for each in fake.envelopes.values()}) == 4
    assert counted(database_url)["contract_creation_method_total docusign"] == 4


def test_a_surplus_envelope_is_voided_at_the_first_look(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    add_contract(database_url)
    run(connection, docusign)
    (known,) = fake.envelopes
    surplus = "00000000-0000-4000-8000-000000000000"
    fake.envelopes[surplus] = {**fake.envelopes[known], "envelopeId": surplus}
    assert look(connection, docusign, 5) == {"open": 1}
    assert fake.live() == [known]


def test_a_look_that_fails_changes_nothing_and_is_repeated(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    for _ in range(2):
        add_contract(database_url)
    run(connection, docusign)
    for envelope in fake.envelopes:
        fake.set(envelope, "completed", client=NOW, lawyer=NOW)
    fake.trouble = {"read_envelope": [faults.status(404), faults.truncated_json]}
    assert look(connection, docusign, 5) == {"failed": 2}
    assert ask(database_url, "SELECT DISTINCT status FROM contracts") == [("pending-signature",)]
    fake.trouble = {}
    assert look(connection, docusign, 20, limit=1) == {"signed": 1}
    with connection, connection.cursor() as cursor:
        assert waiting(cursor, NOW + timedelta(minutes=20)) == (0, 1)
    assert look(connection, docusign, 20) == {"signed": 1}


def test_a_claim_is_for_one_sender(database_url: str, connection: Connection, fake: FakeDocuSign) -> None:
    """Two that have read the same row: the second finds it taken, the first time and after a kill."""
    add_contract(database_url)
    strict = client(fake.url, database_url, fallback_enabled=False)
    fake.trouble = {"create_envelope": [faults.status(400)]}
    for _ in range(2):
        with connection, connection.cursor() as cursor:
            (read,) = pending(cursor, NOW, 10)
        assert run(connection, strict).outcomes == {"failed": 1}
        assert _Work(connection, strict, RequestsResult(NOW), timedelta(days=7)).one(read) == "elsewhere"
        lease_ends(database_url)
    assert fake.operations.count("create_envelope") == 2


def test_a_sender_whose_claim_ran_out_writes_nothing(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign
) -> None:
    def taken_over(handler: faults.Handler) -> None:
        ask(database_url, "UPDATE litgo.contract_requests SET claim = gen_random_uuid()")
        faults.reset(handler)

    contract = add_contract(database_url)
    fake.lost = {"create_envelope": [taken_over]}
    assert run(connection, docusign).outcomes == {"elsewhere": 1}
    assert (request_row(database_url, contract)[0], messages(database_url), counted(database_url)) == (
        "sending",
        [],
        {},
    )
    lease_ends(database_url)
    assert run(connection, docusign).outcomes == {"docusign": 1}
    assert len(fake.envelopes) == 1


def test_a_contract_that_somebody_holds_waits_and_the_others_go_on(
    database_url: str, connection: Any, docusign: DocuSign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOCK_TIMEOUT", "SET lock_timeout = '300ms'")
    held, free = add_contract(database_url), add_contract(database_url)
    with kept(database_url) as other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM contracts WHERE id = %s FOR UPDATE", (held,))
        result = request_signatures(connection, docusign, NOW, limit=10, signing_days=7)
        assert (result.outcomes, result.failures) == ({"docusign": 1, "elsewhere": 1}, {})
        assert ask(database_url, "SELECT contract_id::text FROM litgo.contract_requests") == [(free,)]
    assert request_signatures(connection, docusign, NOW, limit=10, signing_days=7).outcomes == {"docusign": 1}


@pytest.mark.parametrize("ended", ["canceled", "active"])
def test_a_contract_that_had_ended_and_waits_again_is_told_and_not_signed_anew(
    database_url: str, connection: Connection, docusign: DocuSign, fake: FakeDocuSign, ended: str
) -> None:
    contract = add_contract(database_url)
    request_signatures(connection, docusign, NOW, limit=9, signing_days=7)
    if ended == "active":
        fake.set(fake.only(), "completed", client=NOW, lawyer=NOW)
    else:
        ask(database_url, "UPDATE contracts SET status = 'canceled'")
    look_at_envelopes(connection, docusign, NOW + timedelta(minutes=5), limit=9)
    ask(database_url, "UPDATE contracts SET status = 'pending-signature'")
    for hours in (1, 3, 30):
        request_signatures(connection, docusign, NOW + timedelta(hours=hours), limit=9, signing_days=7)
    assert request_row(database_url, contract)[0] == "refused"
    assert request_row(database_url, contract)[2:] == ("reopened", "pending-signature")
    assert "contract_refused 3" in messages(database_url)
    assert len(fake.envelopes) == 1
    with connection, connection.cursor() as cursor:
        assert [
            each.kind for each in unattended.find(cursor, NOW + timedelta(hours=31)) if each.kind == "contract"
        ] == []
