"""Signatures on paper: what is recorded, what is refused, and the job of the UI."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines.contracts.assets import record_signature as job
from litgo_pipelines.contracts.manual import SignatureError, cells, document, open_tasks, record_signature
from litgo_pipelines.contracts.requests import request_signatures
from litgo_pipelines.database import Connection
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.contracts import NOW, add_contract, counted, messages, request_row
from litgo_pipelines_tests.worlds.sessions import ask

SHA = "ab" * 32
SIGNED = (NOW - timedelta(minutes=5)).isoformat()


@pytest.fixture
def contract(database_url: str, connection: Connection) -> str:
    """One that waits for signatures by hand."""
    contract = add_contract(database_url)
    request_signatures(connection, DocuSign(), NOW, limit=10, signing_days=7)
    return contract


def record(connection: Connection, contract: str, **changes: Any) -> str:
    given = {"signed_by": "both", "signed_at": SIGNED, "recorded_by": "Bia", "sha256": SHA, "as_of": NOW, **changes}
    return record_signature(connection, **{"contract_id": contract, **given})


def test_one_after_the_other(database_url: str, connection: Connection, contract: str) -> None:
    with connection, connection.cursor() as cursor:
        (task,) = open_tasks(cursor, NOW)
        assert (task.contract_id, task.overdue, task.missing) == (contract, False, ("client", "lawyer"))
        assert open_tasks(cursor, NOW + timedelta(days=8))[0].overdue
        assert document(cursor, contract, "Ana da secretaria", NOW).startswith(b"%PDF-")
    assert record(connection, contract, signed_by="lawyer").endswith("registrada (advogado(a)), falta a outra parte")
    with connection, connection.cursor() as cursor:
        tasks = open_tasks(cursor, NOW)
        assert tasks[0].missing == ("client",)
        assert cells(tasks[0])[1:] == (f"{NOW + timedelta(days=7, hours=-3):%d/%m/%Y}", "cliente")
    assert record(connection, contract, signed_by="client", sha256="CD" * 32).endswith("(cliente), contrato ativo")
    assert request_row(database_url, contract) == ("signed", "manual", "not_configured", "active")
    assert ask(database_url, "SELECT signed_client = signed_lawyer FROM contracts") == [(True,)]
    audit = ask(
        database_url,
        "SELECT event, actor, details->>'sha256' FROM litgo.contract_events WHERE event LIKE 'signed%' ORDER BY event",
    )
    assert audit == [("signed:client", "Bia", "cd" * 32), ("signed:lawyer", "Bia", SHA)]
    assert messages(database_url) == ["contract_manual 3", "contract_signed 2"]
    assert counted(database_url)["contracts_signed_total"] == 1
    with connection, connection.cursor() as cursor:
        assert open_tasks(cursor, NOW) == []


def test_the_same_once_more_changes_nothing_and_other_data_is_refused(
    database_url: str, connection: Connection, contract: str
) -> None:
    assert record(connection, contract).endswith("contrato ativo")
    before = ask(database_url, "SELECT count(*) FROM litgo.contract_events")
    assert record(connection, contract).endswith("nada mudou")
    assert record(connection, contract, signed_by="client", sha256=SHA.upper()).endswith("nada mudou")
    for other in ({"sha256": "00" * 32}, {"recorded_by": "Caio"}, {"signed_at": NOW.isoformat()}):
        with pytest.raises(SignatureError, match="com outros dados"):
            record(connection, contract, **other)
    assert ask(database_url, "SELECT count(*) FROM litgo.contract_events") == before
    assert counted(database_url)["contracts_signed_total"] == 1
    assert messages(database_url) == ["contract_manual 3", "contract_signed 2"]


WRONG: list[tuple[dict[str, str], str]] = [
    ({"contract_id": "42"}, "não é o identificador"),
    ({"contract_id": "0" * 32}, "não existe"),
    ({"signed_by": "juiz"}, "client, lawyer ou both"),
    ({"signed_at": "ontem"}, "escreva como"),
    ({"signed_at": "2026-03-10T12:00:00"}, "falta o fuso"),
    ({"signed_at": (NOW + timedelta(seconds=1)).isoformat()}, "no futuro"),
    ({"signed_at": (NOW - timedelta(hours=2)).isoformat()}, "anterior ao contrato"),
    ({"recorded_by": "  "}, "quem registra"),
    ({"sha256": "ab" * 31}, "64 dígitos"),
    ({"sha256": "zz" * 32}, "64 dígitos"),
]


def test_what_is_not_right_is_refused_with_the_reason(database_url: str, connection: Connection, contract: str) -> None:
    for changes, told in WRONG:
        with pytest.raises(SignatureError, match=told):
            record(connection, contract, **changes)
    assert request_row(database_url, contract)[3] == "pending-signature"
    assert ask(database_url, "SELECT count(*) FROM litgo.contract_events WHERE event LIKE 'signed%'") == [(0,)]


def test_only_a_contract_that_waits_for_paper(database_url: str, connection: Connection, contract: str) -> None:
    ours = add_contract(database_url)
    with pytest.raises(SignatureError, match="não está em assinatura manual"):
        record(connection, ours)
    with connection, connection.cursor() as cursor, pytest.raises(SignatureError, match="não há documento"):
        document(cursor, ours)
    ask(database_url, "UPDATE contracts SET status = 'canceled' WHERE id = %s", (contract,))
    with pytest.raises(SignatureError, match="status canceled"):
        record(connection, contract)


def test_history_cannot_be_changed(database_url: str, contract: str) -> None:
    for change in ("UPDATE litgo.contract_events SET actor = 'x'", "DELETE FROM litgo.contract_events"):
        with pytest.raises(Exception, match="append-only"):
            ask(database_url, change)


def test_the_job_records_once_and_refuses_aloud(database_url: str, contract: str) -> None:
    config = {"contract_id": contract, "signed_by": "both", "signed_at": SIGNED, "recorded_by": "Bia", "sha256": SHA}

    def run(**changes: str) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            run_config={"ops": {"signature": {"config": {**config, **changes}}}},
            resources={"postgres": Postgres(url=database_url)},
            raise_on_error=False,
        )

    assert not run(sha256="12").success
    assert run().success
    assert run().success
    assert not run(recorded_by="Caio").success
    actors = ask(database_url, "SELECT DISTINCT actor FROM litgo.contract_events WHERE event LIKE 'signed%'")
    assert actors == [("Bia (unauthenticated)",)]
    assert request_row(database_url, contract)[3] == "active"
    assert counted(database_url)["contracts_signed_total"] == 1


def test_who_read_a_document_is_kept(database_url: str, connection: Connection, contract: str) -> None:
    later = NOW + timedelta(minutes=5)
    with connection, connection.cursor() as cursor:
        for reader, at in (("Ana", NOW), ("Ana", later), ("Rui", later + timedelta(seconds=1))):
            document(cursor, contract, reader, at)
        with pytest.raises(SignatureError, match="quem lê"):
            document(cursor, contract, "  ", NOW)
    read = "SELECT actor, at FROM litgo.contract_events WHERE event LIKE 'document_read%' ORDER BY at"
    assert ask(database_url, read) == [("Ana", NOW), ("Ana", later), ("Rui", later + timedelta(seconds=1))]
