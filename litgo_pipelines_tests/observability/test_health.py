import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.definitions import defs
from litgo_pipelines.observability.gauges import GAUGES
from litgo_pipelines.observability.health import FRESH, HEARTBEAT, QUEUES, WEIGHTS, Seen, parts, score, within

AGES = st.floats(min_value=0, max_value=1e9)
WELL = Seen(True, {"SENSOR": 5.0}, dict.fromkeys(FRESH, 60.0), dict.fromkeys(QUEUES, 0.0), {"openai": 0.0}, True)


def seen(**changes: Any) -> Seen:
    return Seen(**{**vars(WELL), **changes})


@given(AGES, AGES, st.floats(min_value=1, max_value=1e6))
def test_an_age_is_worth_less_the_older_it_is(first: float, second: float, limit: float) -> None:
    assert 0 <= within(first, limit) <= 1
    if first <= second:
        assert within(first, limit) >= within(second, limit)
    assert within(limit, limit) == 1
    assert within(3 * limit, limit) == pytest.approx(0, abs=1e-9)
    assert within(2 * limit, limit) == pytest.approx(0.5)


def test_what_is_no_age_is_worth_nothing() -> None:
    assert within(math.nan, 10) == within(math.inf, 10) == 0


@given(
    st.builds(
        Seen,
        st.booleans(),
        st.dictionaries(st.sampled_from(["SENSOR", "SCHEDULER"]), AGES),
        st.dictionaries(st.sampled_from(sorted(FRESH)), AGES),
        st.dictionaries(st.sampled_from(sorted(QUEUES)), AGES),
        st.dictionaries(st.sampled_from(["openai", "docusign"]), st.sampled_from([0.0, 0.5, 1.0])),
        st.booleans(),
    )
)
def test_the_score_lies_between_0_and_1_and_is_0_without_a_database(anything: Seen) -> None:
    found = parts(anything)
    assert set(found) == set(WEIGHTS)
    assert all(0 <= value <= 1 for value in found.values())
    assert 0 <= score(found) <= 1
    if not anything.database:
        assert score(found) == 0


def test_all_well_is_1_and_each_trouble_costs_its_part() -> None:
    assert score(parts(WELL)) == 1
    troubles = {
        "writes": seen(writes=False),
        "daemons": seen(heartbeats={"SENSOR": 5.0, "SCHEDULER": 3 * HEARTBEAT}),  # the worst one counts
        "jobs": seen(silences={**WELL.silences, "nightly_equity": 80 * 3600.0}),
        "queues": seen(queues={**WELL.queues, "case_queue_oldest_age_seconds": 1e5}),
        "breakers": seen(breakers={"openai": 1.0, "docusign": 0.0}),
        "champion": seen(champion=False),
    }
    for part, trouble in troubles.items():
        found = parts(trouble)
        assert [name for name, value in found.items() if value < 1] == [part]
        lost = WEIGHTS[part] * (1 - found[part]) / sum(WEIGHTS.values())
        assert score(found) == pytest.approx(1 - lost)
    assert parts(seen(heartbeats={}))["daemons"] == 0


def test_every_job_with_a_schedule_is_late_some_time() -> None:
    scheduled = {schedule.job_name for schedule in defs.get_repository_def().schedule_defs}
    assert set(FRESH) == scheduled
    assert set(QUEUES) - {"dagster_oldest_queued_run_age_seconds"} <= set(GAUGES)
