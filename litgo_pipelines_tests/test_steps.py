"""What every job is given: an instant that has passed, and the name of whoever acts."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from litgo_pipelines import steps
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity.assets import NIGHTS, nights
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.steps import ACTOR_TAG, UNAUTHENTICATED, AsOfConfig, acting
from litgo_pipelines_tests.worlds.matching import fill

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "as_of", ["2040-01-01T00:00:00+00:00", "9999-12-31T23:59:59-03:00", "2026-06-01T09:02:01-03:00"]
)
def test_an_instant_ahead_is_refused(monkeypatch: pytest.MonkeyPatch, as_of: str) -> None:
    monkeypatch.setattr(steps, "now", lambda: NOW)
    with pytest.raises(dg.Failure, match="future") as refused:
        AsOfConfig(as_of=as_of).instant()
    assert refused.value.allow_retries is False


@pytest.mark.parametrize(
    "as_of",
    [
        *(
            "0001-01-01T00:00:00+23:59",
            "0001-01-01T00:00:00Z",
            "1999-12-31T23:59:59-00:00",
            "2000-01-01T00:00:00+14:00",
        ),
        *("2026-05-01T00:00:00", "2026-05-01", "now", "", "infinity", "2026-05-01T00:00:00+24:00", "2026-W18"),
        *("2026-05-01T00:00:00 America/Sao_Paulo", "２０２６-05-01T00:00:00Z", "2026-05-01T00:00:00Z; DROP TABLE x"),
    ],
)
def test_what_is_no_instant_of_this_time_is_refused(as_of: str) -> None:
    with pytest.raises(dg.Failure) as refused:
        AsOfConfig(as_of=as_of).instant()
    assert refused.value.allow_retries is False


def test_an_instant_is_the_same_in_every_zone() -> None:
    texts = (
        "2026-05-01T02:00:00-03:00",
        "2026-05-01T19:00:00+14:00",
        "2026-04-30T17:00:01.5-12:00",
        "20260501T050000Z",
    )
    instants = [AsOfConfig(as_of=text).instant() for text in texts]
    assert {instant.utcoffset() for instant in instants} == {timedelta(0)}
    assert {instant.date().isoformat() for instant in instants} == {"2026-05-01"}


def test_clocks_may_differ_a_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "now", lambda: NOW)
    ahead = NOW + timedelta(seconds=119)
    assert AsOfConfig(as_of=ahead.isoformat()).instant() == ahead
    assert AsOfConfig().instant() == NOW


def test_every_job_that_is_given_an_instant_asks_there() -> None:
    """Each configuration field `as_of` is that of AsOfConfig: a step of its own would not refuse the future."""
    jobs = [job for job in build_defs().resolve_all_job_defs() if not job.name.startswith("__")]
    steps_given = {}
    for job in jobs:
        for node in job.nodes:
            schema = node.definition.config_schema.config_type if isinstance(node.definition, dg.OpDefinition) else None
            field = getattr(schema, "fields", {}).get("as_of")
            if field is not None:
                steps_given[node.name] = field.description
    assert {"pruned_storage", "expired_offers", "triaged_cases", "quality_monitor"} <= steps_given.keys()
    assert set(steps_given.values()) == {AsOfConfig.model_fields["as_of"].description}


@pytest.mark.one_server
def test_offers_do_not_expire_before_their_time(database_url: str) -> None:
    fill(database_url, cases=3)
    resources = {"postgres": Postgres(url=database_url)}
    config = {"ops": {"expired_offers": {"config": {"as_of": "2040-01-01T00:00:00+00:00"}}}}
    job = build_defs().resolve_job_def("offer_expiry")
    done = job.execute_in_process(run_config=config, resources=resources, raise_on_error=False)
    assert not done.success


def test_a_night_that_has_not_been_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @dg.asset(partitions_def=NIGHTS)
    def probe(context: dg.AssetExecutionContext) -> None:
        seen.extend(key for key, _, _ in nights(context.partition_keys))

    monkeypatch.setattr(steps, "now", lambda: datetime(2026, 1, 4, 12, tzinfo=UTC))
    assert dg.materialize([probe], partition_key="2026-01-03").success
    assert not dg.materialize([probe], partition_key="2026-01-04", raise_on_error=False).success
    assert seen == ["2026-01-03"]


@pytest.mark.parametrize(
    ("tags", "said", "who"),
    [
        ({ACTOR_TAG: "ana"}, "", "ana"),
        ({ACTOR_TAG: "ana"}, "olga", "ana"),
        ({ACTOR_TAG: UNAUTHENTICATED}, " olga\nb ", "olga b (unauthenticated)"),
        ({}, "olga", "olga (unauthenticated)"),
        ({ACTOR_TAG: UNAUTHENTICATED}, " ", ""),
    ],
)
def test_the_login_says_who_acts(tags: dict[str, str], said: str, who: str) -> None:
    assert acting(tags, said) == who
