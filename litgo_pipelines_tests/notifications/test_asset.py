"""The asset and its checks as Dagster runs them."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from litgo_pipelines.notifications.assets import delivered_notifications
from litgo_pipelines.notifications.checks import checks
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines_tests.worlds.notifications import World

pytestmark = pytest.mark.one_server


def run(world: World) -> dg.ExecuteInProcessResult:
    resources = {
        "postgres": Postgres(url=world.url),
        "onesignal": OneSignal(app_id="app", base_url=world.push.url, database_url=world.url),
        "sendgrid": SendGrid(base_url=world.mail.url, database_url=world.url),
    }
    defs = dg.Definitions(assets=[delivered_notifications], asset_checks=checks, resources=resources)
    return defs.resolve_implicit_global_asset_job_def().execute_in_process()


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {found.check_name: found.passed for found in result.get_asset_check_evaluations()}


def table_rows(value: object) -> list[tuple[object, ...]]:
    assert isinstance(value, dg.TableMetadataValue)
    return [tuple(record.data.values()) for record in value.records]


def test_a_run_shows_what_came_of_the_messages(world: World, capfd: pytest.CaptureFixture) -> None:
    now = datetime.now(UTC)
    person, silent = world.person(), world.person(token=None, email=None)
    for _ in range(2):
        world.offer(person, sent_at=now)
    world.offer(world.person(token=None), sent_at=now)
    world.offer(silent, sent_at=now - timedelta(hours=2))
    old = world.put("contract_signed", world.person(token=None, email=None), {}, now - timedelta(days=2))
    result = run(world)
    metadata = result.asset_materializations_for_node("delivered_notifications")[0].metadata
    assert [metadata[name].value for name in ("accepted", "merged", "failed", "dead")] == [2, 1, 0, 1]
    assert table_rows(metadata["by channel"]) == [("push", 1, 1, 0, 0), ("email", 1, 0, 0, 1)]
    assert (metadata["waiting"].value, metadata["dead letters"].value) == (1, 1)
    oldest = metadata["oldest waiting, seconds"].value
    assert isinstance(oldest, int)
    assert 7200 <= oldest < 7300
    why = table_rows(metadata["why deliveries wait"])
    assert ("no push token in the profile; no e-mail address in the profile", 1) in why
    assert passed(result) == {"no_dead_messages": False, "messages_go_out_in_time": False}
    printed = "".join(capfd.readouterr())
    assert '"event": "delivered_notifications"' in printed
    for secret in ("Ana", "ana@", "secret-"):
        assert secret not in printed + str(metadata)
    world.ask("UPDATE profiles SET email = 'bia@example.com' WHERE id = %s", (silent,))
    world.ask("UPDATE litgo.deliveries SET next_attempt_at = now() WHERE status = 'open'")
    world.ask("DELETE FROM litgo.outbox WHERE message_id = %s", (old,))
    again = run(world)
    assert passed(again) == {"no_dead_messages": True, "messages_go_out_in_time": True}
    assert world.mail.requests[-1].json()["personalizations"][0]["to"][0]["email"] == "bia@example.com"
