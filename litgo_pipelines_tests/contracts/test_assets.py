"""The assets as Dagster runs them, in one process, on a real Postgres; and killed on their way."""

from datetime import timedelta

import dagster as dg
import pytest

from litgo_pipelines.contracts.assets import assets
from litgo_pipelines.contracts.checks import checks
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.simulation import faults
from litgo_pipelines_tests.support import until
from litgo_pipelines_tests.worlds.contracts import (
    NOW,
    FakeDocuSign,
    add_contract,
    client,
    counted,
    lease_ends,
    request_row,
)
from litgo_pipelines_tests.worlds.processes import Child
from litgo_pipelines_tests.worlds.sessions import ask

pytestmark = pytest.mark.one_server


def run(url: str, docusign: DocuSign, minutes: float = 0) -> dg.ExecuteInProcessResult:
    defs = dg.Definitions(
        assets=assets, asset_checks=checks, resources={"postgres": Postgres(url=url), "docusign": docusign}
    )
    config = {"config": {"as_of": (NOW + timedelta(minutes=minutes)).isoformat()}}
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        raise_on_error=False,
        run_config={"ops": dict.fromkeys(("contract_requests", "contract_signatures"), config)},
    )


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    found = result.get_asset_check_evaluations()
    assert len(found) == len(checks)
    assert all(check.severity == dg.AssetCheckSeverity.WARN for check in found if not check.passed)
    return sorted(check.check_name for check in found if not check.passed)


def test_metadata_shows_figures_tasks_and_refusals_but_no_names(
    database_url: str, fake: FakeDocuSign, capfd: pytest.CaptureFixture
) -> None:
    sent = add_contract(database_url)
    by_hand = add_contract(database_url, lawyer_email=None, created_at=NOW - timedelta(minutes=3))
    refused = add_contract(database_url, offer=None)
    first = run(database_url, client(fake.url, database_url))
    assert first.success
    metadata = first.asset_materializations_for_node("contract_requests")[0].metadata
    figures = {name: metadata[name].value for name in ("docusign", "manual", "refused", "pending_contracts_count")}
    assert figures == {"docusign": 1, "manual": 1, "refused": 1, "pending_contracts_count": 3}
    table = metadata["refused contracts"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["contrato"] for record in table.records] == [refused]
    assert str(table.records[0].data["motivo"]).startswith("sem oferta aceita")
    assert by_hand in str(metadata["to sign by hand"].value)
    assert sent not in str(metadata)
    assert failed_checks(first) == ["no_contract_is_refused"]
    fake.set(fake.only(), "completed", client=NOW, lawyer=NOW)
    second = run(database_url, client(fake.url, database_url), 5)
    metadata = second.asset_materializations_for_node("contract_signatures")[0].metadata
    assert (metadata["signed"].value, metadata["still due"].value, metadata["pending_contracts_count"].value) == (
        1,
        0,
        2,
    )
    printed = "".join(capfd.readouterr())
    assert '"event": "contract_signatures"' in printed
    for secret in ("João", "Ângela", "example.com", "Demissão", "token-1"):
        assert secret not in printed
        assert secret not in str(metadata)


def test_checks_warn_of_what_waits_too_long(database_url: str, fake: FakeDocuSign) -> None:
    for _ in range(3):
        add_contract(database_url)
    assert failed_checks(run(database_url, DocuSign())) == []
    manual, sending, due = (each for (each,) in ask(database_url, "SELECT contract_id FROM litgo.contract_requests"))
    late = "UPDATE litgo.contract_requests SET {} WHERE contract_id = %s"
    ask(database_url, late.format("due_at = now() - interval '1 hour'"), (manual,))
    ask(
        database_url,
        late.format("status = 'sending', claim = gen_random_uuid(), claimed_until = now() - interval '1 hour'"),
        (sending,),
    )
    ask(database_url, late.format("next_check_at = now() - interval '3 hours'"), (due,))
    ask(database_url, "UPDATE contracts SET created_at = now() + interval '1 day' WHERE id <> %s", (due,))
    limited = client(fake.url)
    fake.trouble = {"find_envelope": [faults.status(400)]}
    defs = dg.Definitions(asset_checks=checks, resources={"postgres": Postgres(url=database_url), "docusign": limited})
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    assert failed_checks(result) == [
        "envelopes_are_looked_at",
        "manual_contracts_are_signed",
        "nothing_stuck_in_sending",
    ]


def test_with_fallbacks_off_the_run_fails_after_the_others_were_sent(database_url: str, fake: FakeDocuSign) -> None:
    for _ in range(2):
        add_contract(database_url)
    fake.trouble = {"create_envelope": [faults.status(422), None]}
    assert not run(database_url, client(fake.url, database_url, fallback_enabled=False)).success
    assert len(fake.live()) == 1
    fake.trouble = {}
    lease_ends(database_url)
    assert run(database_url, client(fake.url, database_url, fallback_enabled=False)).success
    assert len({each["transactionId"] for each in fake.envelopes.values()}) == len(fake.live()) == 2


def send(url: str, docusign: str) -> None:
    run(url, client(docusign, url))


@pytest.mark.slow
@pytest.mark.parametrize("arrived", [False, True])
def test_killed_around_the_call_there_is_exactly_one_envelope(
    database_url: str, fake: FakeDocuSign, arrived: bool
) -> None:
    """The process hangs in the call, before DocuSign took the request or after it created the envelope; kill -9."""
    contract = add_contract(database_url)
    if arrived:
        fake.lost = {"create_envelope": [faults.hang]}
    else:
        fake.trouble = {"create_envelope": [faults.hang]}
    child = Child(send, database_url, fake.url)
    until(lambda: "create_envelope" in fake.operations, 120, "the call to be killed in")
    child.kill()
    child.wait()
    assert (request_row(database_url, contract)[0], len(fake.envelopes)) == ("sending", int(arrived))
    assert ask(database_url, "SELECT count(*) FROM litgo.outbox") == [(0,)]
    fake.trouble = {}
    assert run(database_url, client(fake.url, database_url)).success
    assert request_row(database_url, contract)[0] == "sending"  # its lease has not run out
    lease_ends(database_url)
    assert run(database_url, client(fake.url, database_url)).success
    assert request_row(database_url, contract)[0] == "sent"
    assert ask(database_url, "SELECT envelope_id FROM litgo.contract_requests") == [(fake.only(),)]
    assert counted(database_url)["contract_creation_method_total docusign"] == 1
