"""Why a run failed, in a line for whoever started it at a terminal."""

import dagster as dg

from litgo_pipelines.runtime.execute import why_failed


@dg.asset
def fine() -> None:
    pass


@dg.asset_check(asset=fine, blocking=True)
def is_large() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description="3 rows, 100 are needed")


@dg.asset_check(asset=fine)
def is_there() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.asset_check(asset=fine)
def is_new() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="3 days old")


@dg.asset
def broken() -> None:
    raise dg.Failure("the file is gone")


def test_what_checks_and_steps_said_is_told() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        failed = dg.materialize([fine, is_large, is_there, is_new, broken], instance=instance, raise_on_error=False)
        assert sorted(why_failed(instance, failed.run_id)) == [
            "broken: dagster._core.definitions.events.Failure: the file is gone",
            "is_large: 3 rows, 100 are needed",
        ]
        went_well = dg.materialize([fine, is_new], instance=instance)
        assert why_failed(instance, went_well.run_id) == []
