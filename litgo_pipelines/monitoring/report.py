"""Quality report: counts as a table, rates and CUSUM over time as plots."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.monitoring.check import QualityCheck
from litgo_pipelines.monitoring.rules import Counts, QualityRules
from litgo_pipelines.observability.plots import figure, markdown_image
from litgo_pipelines.observability.tables import markdown_table

SHOWN = timedelta(days=7)
LIMIT = QualityRules.cusum_limit


@dataclass(frozen=True)
class Point:
    """An hour: outcomes and successes of champion and holdout; the CUSUMs and the reference at its end."""

    at: datetime
    outcomes: int
    successes: int
    control_outcomes: int
    control_successes: int
    cusum: float
    cusum_against_control: float
    reference: float | None


def history(cursor: Cursor, at: datetime) -> list[Point]:
    """The last week's checks by the hour, oldest first."""
    cursor.execute(
        sql("litgo_pipelines.monitoring", "history.sql"),
        (at - SHOWN, at),
    )
    return [Point(*row) for row in cursor.fetchall()]


def counts_table(check: QualityCheck) -> str:
    """What the check saw, as a table."""
    seen = check.seen
    rows = [
        (name, _share(value.outcomes, value.successes), _control(value))
        for name, value in (("since the last check", seen.new), ("hour", seen.hour), ("day", seen.day))
    ]
    after, reference = check.after, check.reference
    expected = f"{reference.rate:.1%}, from {reference.source}" if reference else "not known yet"
    nulls = "unknown" if seen.null_share is None else f"{seen.null_share:.1%}"
    return "\n".join(
        [
            markdown_table(("accepted of final outcomes", "champion", "holdout"), rows),
            "",
            f"- expected: {expected}",
            f"- CUSUM {after.alone.cusum:.2f} against the reference, {after.against_control.cusum:.2f} against the "
            f"holdout, limit {LIMIT:g}; the holdout's own {after.control_cusum:.2f}",
            f"- {seen.requests} requests in the hour, {seen.errors} failed; null features {nulls}",
        ]
    )


def pictures(points: list[Point]) -> Mapping[str, str]:
    """Rates and CUSUM over the last week, as markdown with the image inside."""
    at: Any = [point.at for point in points]
    rates, axes = figure("Accepted of final outcomes, by the hour", "", "share")
    axes.plot(at, [_rate(p.outcomes, p.successes) for p in points], marker=".", label="champion")
    if any(p.control_outcomes for p in points):
        axes.plot(at, [_rate(p.control_outcomes, p.control_successes) for p in points], ".", alpha=0.5, label="holdout")
    axes.plot(at, [_or_nan(p.reference) for p in points], "--", color="grey", label="reference")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    rates.autofmt_xdate(rotation=20)
    drawn, axes = figure("CUSUM: evidence that the rate is .7 of what it should be", "", "log-likelihood ratio")
    axes.plot(at, [p.cusum for p in points], label="against the reference")
    axes.plot(at, [p.cusum_against_control for p in points], label="against the holdout")
    axes.axhline(LIMIT, color="tab:red", linestyle="--", linewidth=1, label="limit")
    axes.legend(fontsize=8)
    drawn.autofmt_xdate(rotation=20)
    return {"rate": markdown_image(rates, "rate over time"), "CUSUM": markdown_image(drawn, "CUSUM over time")}


def _control(value: Counts) -> str:
    if value.control_outcomes is None or value.control_successes is None:
        return "–"
    return _share(value.control_outcomes, value.control_successes)


def _share(outcomes: int, successes: int) -> str:
    return f"{successes:,} of {outcomes:,}" + (f" ({successes / outcomes:.1%})" if outcomes else "")


def _rate(outcomes: int, successes: int) -> float:
    return successes / outcomes if outcomes else float("nan")


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
