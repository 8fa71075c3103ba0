"""Experiment report at one cutoff: tables, the evidence over time, the decision in words. Pure.

Everything shown comes from stored cutoffs, so that a report of an old experiment is the same later.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import log
from typing import Any

from litgo_pipelines.experiments.confidence import Moments
from litgo_pipelines.experiments.decision import (
    BETTER,
    HOURS,
    RATING,
    Arm,
    Cutoff,
    ExperimentDecision,
    ExperimentOutcome,
    ExperimentRules,
)
from litgo_pipelines.experiments.off_policy import Estimate, PolicyEvaluation
from litgo_pipelines.observability.plots import figure, png
from litgo_pipelines.observability.tables import markdown_table

_WORDS = {
    ExperimentOutcome.HALT: "Halted: the figures are not to be trusted, everybody is on control.",
    ExperimentOutcome.ROLL_BACK: "Rolled back: treatment does harm, everybody is on control.",
    ExperimentOutcome.PROMOTE: "Promoted: treatment showed what it had to.",
    ExperimentOutcome.FUTILE: "Ended, control stays: treatment will hardly show what it has to.",
    ExperimentOutcome.HORIZON: "Ended, control stays: as many clients or days as planned, and nothing shown.",
    ExperimentOutcome.KEEP_RUNNING: "Runs on: not enough is known.",
}


def decision_text(decision: ExperimentDecision, *, held: str | None = None, stopped: str | None = None) -> str:
    """What was decided, and why; held, stopped: why the decision was not carried out, or not asked for."""
    first = f"Stopped: {stopped}." if stopped else _WORDS[decision.outcome]
    lines = [f"**{first}**", *(f"- {reason}" for reason in decision.reasons)]
    lines += [f"- held back: {held}"] if held else []
    lines += [f"- before a promotion: {waits}" for waits in decision.blocking]
    lift = "unknown" if decision.lift is None else f"{decision.lift:+.1%}"
    power = "" if decision.predictive_power is None else f", chance of a promotion {decision.predictive_power:.0%}"
    lines.append(f"- lift {lift}, {decision.information:.0%} of the information of the horizon{power}")
    lines.append("- lift is overstated while lawyers are scarce: read it beside their utilisation")
    return "\n".join(lines)


def arms_table(cutoff: Cutoff) -> str:
    """Arms side by side, two rows per phase."""
    rows = []
    for number, phase in enumerate(cutoff.phases, start=1):
        share = f"{phase.fraction:.0%}"
        rows += [
            _arm_row(number, share, "treatment", phase.treatment),
            _arm_row(number, share, "control", phase.control),
        ]
    return markdown_table(
        ("phase", "treated", "arm", "exposed", "outcome final", "accepted", "rate", "hours to accept", "rating"), rows
    )


def _arm_row(number: int, share: str, name: str, arm: Arm) -> tuple[object, ...]:
    means = [_mean(arm.guardrails.get(guardrail, Moments())) for guardrail in (HOURS, RATING)]
    rate = f"{arm.conversions / arm.mature:.1%}" if arm.mature else "–"
    return number, share, name, f"{arm.exposed:,}", f"{arm.mature:,}", f"{arm.conversions:,}", rate, *means


def _mean(moments: Moments) -> str:
    return f"{moments.y / moments.x:.2f}" if moments.x else "–"


def outlook_text(outlook: Mapping[str, Any]) -> str:
    """What an experiment may be expected to show, in a sentence; as stored with its specification."""
    chances = ", ".join(f"{float(lift):+.0%}: {power:.0%}" for lift, power in outlook["power"].items())
    claim = outlook.get("claim")
    shown = f"that treatment {claim}, at a lift" if claim and claim != BETTER else "a lift"
    days = "at an unknown pace" if outlook["days"] is None else f"in about {outlook['days']:.0f} days"
    return f"{outlook['clients']:,} clients {days}; chance to show {shown} of {chances}"


def guardrails_table(decision: ExperimentDecision, rules: ExperimentRules) -> str:
    """Each guardrail's difference, interval and worst bound against its margin; the mismatch and the Gini below."""
    rows: list[tuple[Any, ...]] = [
        (
            result.name,
            _signed(result.difference),
            f"{_signed(result.low)} to {_signed(result.high)}",
            _signed(result.bound),
            f"{'−' if rule.higher_is_better else '+'}{rule.margin:g}",
            "worse" if result.worse else "inside" if result.inside_margin else "not known yet",
        )
        for rule, result in zip(rules.guardrails, decision.guardrails, strict=True)
    ]
    limit = log(rules.mismatch_limit)
    off = decision.log_e_mismatch > limit
    rows.append(
        (
            "sizes of the arms (log e)",
            f"{decision.log_e_mismatch:.2f}",
            "",
            "",
            f"{limit:.2f}",
            "off" if off else "as split",
        )
    )
    return markdown_table(("guardrail", "treatment − control", "interval", "at worst", "margin", ""), rows)


def gini_table(cutoff: Cutoff, rules: ExperimentRules) -> str:
    """Interim analyses of how evenly offers are spread over lawyers."""
    rows = [
        (
            f"{analysis.clients:,}",
            f"{analysis.gini_treatment:.3f}",
            f"{analysis.gini_control:.3f}",
            f"{analysis.naive:+.3f}",
            f"{analysis.excess:+.3f}",
            f"{analysis.p_value:.4f}",
        )
        for analysis in cutoff.gini_analyses
    ]
    limits = (
        f"margin {rules.gini_margin:g}, level {rules.gini_alpha:.4f}" if rules.gini_margin is not None else "not asked"
    )
    columns = ("clients", "treatment", "control", "difference", "corrected for the arms' sizes", "p")
    return f"{markdown_table(columns, rows)}\n\n{limits}"


def off_policy_text(found: PolicyEvaluation | None) -> str:
    """The offline check: what would have been accepted, had everybody been treated, with intervals and what they are
    worth."""
    if found is None:
        return "no treated client's outcome is final yet"
    named = (
        ("as the arms were drawn", found.logged),
        ("everybody treated, IPS", found.ips),
        ("everybody treated, SNIPS", found.snips),
        ("everybody treated, doubly robust", found.doubly_robust),
        ("SNIPS − as drawn", found.difference),
    )
    rows = [
        (name, f"{e.value:+.4f}" if e is found.difference else f"{e.value:.4f}", f"{e.standard_error:.4f}", _span(e))
        for name, e in named
        if e is not None
    ]
    columns = ("accepted per client", "estimate", "standard error", "95 % interval")
    table = markdown_table(columns, rows, right=(1, 2))
    return (
        f"{table}\n\n{found.rows:,} clients with a final outcome, as telling as {found.effective_sample_size:,.0f} "
        f"treated ones; mean weight {found.mean_weight:.3f}. {str(found.verdict).replace('_', ' ').capitalize()}: "
        f"{found.reason}. The intervals hold at one look; the decision goes by the e-values, which hold at every one. "
        "Both arms share the lawyers, so a model that ranks for everybody may reach less."
    )


def _span(estimate: Estimate) -> str:
    return f"{estimate.low:+.4f} to {estimate.high:+.4f}"


def evidence_over_time(
    name: str, points: Sequence[tuple[datetime, float, float, float]], rules: ExperimentRules
) -> bytes:
    """The e-values against their limits, as a PNG. points: instant, log e for the claim, worse, mismatch."""
    drawn, axes = figure(f"{name}: evidence at each cutoff", "", "log e-value")
    at, better, worse, mismatch = zip(*points, strict=True)
    for values, limit, label, colour in (
        (better, log(1 / rules.alpha), f"treatment {rules.claim}", "tab:green"),
        (worse, None, "treatment converts worse", "tab:red"),
        (mismatch, log(rules.mismatch_limit), "arms not as split", "tab:grey"),
    ):
        axes.plot(at, values, color=colour, label=label, marker="." if len(at) < 30 else None)
        if limit is not None:
            axes.axhline(limit, color=colour, linestyle="--", linewidth=1)
    axes.legend(fontsize=8, loc="best")
    drawn.autofmt_xdate(rotation=20)
    return png(drawn)


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3g}"
