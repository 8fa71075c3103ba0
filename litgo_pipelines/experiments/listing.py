"""Experiments as a list and one by one: what was tried on whom, what was expected of it, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.experiments.assignment import BUCKETS
from litgo_pipelines.experiments.decision import ExperimentRules
from litgo_pipelines.experiments.layers import LAYERS, RANKING
from litgo_pipelines.experiments.report import outlook_text
from litgo_pipelines.experiments.store import PACKAGE
from litgo_pipelines.lifecycle import transitions
from litgo_pipelines.observability.tables import markdown_table

RUNS = "runs"


@dataclass(frozen=True)
class ListedExperiment:
    """An experiment with the figures of its newest cutoff; those are None before the first one. treatment, control: the
    versions, in the layer of offers the hours."""

    experiment: str
    layer: str
    treatment: str
    control: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str  # `runs` while it does
    reason: str
    treated: float  # share of new clients, in the newest phase
    phases: int
    claim: str
    expected: str | None
    exposed: int
    mature: int | None
    lift: float | None
    log_e_claim: float | None
    log_e_limit: float | None

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        ended = self.ended_at.isoformat() if self.ended_at else None
        return {**vars(self), "started_at": self.started_at.isoformat(), "ended_at": ended}


def experiments(cursor: Cursor, experiment: str | None = None) -> list[ListedExperiment]:
    """All experiments, or the one of that name; the newest first."""
    cursor.execute(
        sql(PACKAGE, "listing.sql"), {"heuristic": transitions.HEURISTIC, "runs": RUNS, "experiment": experiment}
    )
    return [_from_row(*row) for row in cursor.fetchall()]


def _from_row(
    experiment: str,
    layer: str,
    treatment: str | None,
    control: str,
    started_at: datetime,
    ended_at: datetime | None,
    outcome: str,
    reason: str,
    points: int,
    phases: int,
    spec: Mapping[str, Any],
    exposed: int,
    decision: Mapping[str, Any] | None,
) -> ListedExperiment:
    seen = decision or {}
    mature = seen.get("mature")
    claim, outlook = seen.get("log_e_claim"), spec.get("outlook")
    if hours := spec.get("offer_hours"):
        treatment, control = (f"{hours[arm]:g} h" for arm in ("treatment", "control"))
    return ListedExperiment(
        experiment,
        layer,
        treatment or "",
        control,
        started_at,
        ended_at,
        outcome,
        reason,
        points / BUCKETS,
        phases,
        ExperimentRules.from_dict(spec["rules"]).claim,
        outlook_text(outlook) if outlook else None,
        exposed,
        sum(mature) if mature else None,
        seen.get("lift"),
        seen.get("log_e_better") if claim is None else claim,
        seen.get("log_e_limit"),
    )


COLUMNS = (
    "experiment",
    "layer",
    "started",
    "ended",
    "outcome",
    "treated",
    "clients",
    "final",
    "lift",
    "to show",
    "log e",
)


def cells(one: ListedExperiment) -> tuple[str | int | None, ...]:
    """The COLUMNS of one experiment; None before there is such a figure."""
    return (
        one.experiment,
        one.layer,
        f"{one.started_at:%Y-%m-%d}",
        f"{one.ended_at:%Y-%m-%d}" if one.ended_at else None,
        one.outcome,
        f"{one.treated:.0%}",
        one.exposed,
        one.mature,
        None if one.lift is None else f"{one.lift:+.1%}",
        one.claim,
        None if one.log_e_claim is None else f"{one.log_e_claim:.2f} of {one.log_e_limit:.2f}",
    )


def table(found: list[ListedExperiment]) -> str:
    """Markdown: a row per experiment."""
    rows = [
        ["–" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell for cell in cells(one)]
        for one in found
    ]
    return markdown_table(COLUMNS, rows, empty="–")


OF_LAYERS = ("layer", "decides", "runs")


def layers(found: list[ListedExperiment]) -> list[tuple[str, str, str]]:
    """What each layer decides, and what runs in it: its OF_LAYERS."""
    runs = {one.layer: one.experiment for one in found if one.outcome == RUNS}
    return [(layer, decides, runs.get(layer, "nothing")) for layer, decides in LAYERS.items()]


def text(one: ListedExperiment) -> str:
    """An experiment in a few lines, for a terminal."""
    figures = "no cutoff was closed yet"
    if one.mature is not None:
        lift = "unknown" if one.lift is None else f"{one.lift:+.1%}"
        figures = f"{one.mature:,} clients with a final outcome, lift {lift}"
        figures += "" if one.log_e_claim is None else f", log e {one.log_e_claim:.2f} of {one.log_e_limit:.2f}"
    ended = f", ended {one.ended_at:%Y-%m-%d %H:%M}" if one.ended_at else ""
    return "\n".join(
        (
            f"{one.experiment}: {'version ' if one.layer == RANKING else ''}{one.treatment} against {one.control}",
            f"  layer {one.layer}: {LAYERS[one.layer]}",
            f"  {one.outcome}: {one.reason}",
            f"  started {one.started_at:%Y-%m-%d %H:%M}{ended}; {one.treated:.0%} treated in phase {one.phases}",
            f"  has to show that treatment {one.claim}",
            f"  expected: {one.expected or 'not computed'}",
            f"  {one.exposed:,} clients exposed; {figures}",
        )
    )
