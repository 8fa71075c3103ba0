"""Experiment assets and jobs: cutoffs, the report, and starting, ramping or stopping an experiment by hand.

Thin: `cutoffs`, `store`, `report`. The jobs by hand are started from the launchpad, which asks for who
and why; a refusal fails the run with its reason.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from litgo_pipelines.database import Cursor, in_transaction
from litgo_pipelines.experiments.layers import LAYERS, OFFERS, RANKING
from litgo_pipelines.jobs import JOBS, NIGHTLY, run_tags
from litgo_pipelines.lifecycle.assets import GROUP, DecisionConfig, VersionConfig, act_by_hand
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import TIMEZONE, Settings, settings
from litgo_pipelines.steps import RETRY, AsOfConfig, Metadata, example_config, permanent_fails_once, table_metadata

if TYPE_CHECKING:
    from litgo_pipelines.experiments.cutoffs import ClosedCutoff, NewestCutoff
    from litgo_pipelines.experiments.decision import ExperimentDecision
    from litgo_pipelines.experiments.off_policy import PolicyEvaluation
    from litgo_pipelines.experiments.store import ExperimentPlan, RunningExperiment
    from litgo_pipelines.lifecycle.ledger import Actor

POOL = "experiments"
# After a cutoff, at most once an hour, because plots take time; and every night, for what a person ended and for what
# MLflow could not take.
FOLLOWS = dg.AutomationCondition.on_cron("40 * * * *", TIMEZONE) | (
    dg.AutomationCondition.cron_tick_passed("40 4 * * *", TIMEZONE) & ~dg.AutomationCondition.in_progress()
)


class TryConfig(VersionConfig):
    force: bool = Field(default=False, description="also when the experiment is not expected to show anything")


class LayerConfig(DecisionConfig):
    layer: str = Field(default=RANKING, description=f"of the experiment: {', '.join(LAYERS)}")


class RampConfig(LayerConfig):
    percentage: float = Field(
        gt=0, lt=100, description="of new clients in treatment from now on, like 25", examples=[25.0]
    )


def plan(values: Settings) -> "ExperimentPlan":
    """What an experiment is started with by these settings."""
    from litgo_pipelines.experiments.store import ExperimentPlan

    return ExperimentPlan(
        treatment_points=_points(values.default_traffic_percentage),
        ramp_points=_points(values.ramp_percentage),
        ramp_clients=values.ramp_clients,
        holdout_points=_points(values.holdout_percentage),
        min_sample_size=values.ab_min_sample_size,
        horizon=values.ab_horizon,
        min_power=values.ab_min_power,
        non_inferiority_margin=values.ab_non_inferiority_margin,
    )


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"postgres"},
    deps=["model_evaluation", "case_offers", "offers", "contracts", "reviews"],
    pool=POOL,
    retry_policy=RETRY,
    description="Starts the open challenger's experiment; in each layer closes the newest cutoff of the one that runs, "
    "decides, and promotes, rolls back, halts or ramps in the same transaction.",
    metadata={"dagster/table_name": "litgo.experiment_cutoffs"},
)
@permanent_fails_once
def experiment_cutoffs(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.experiments import cutoffs, report, store

    values, at, run_id = settings(), config.instant(), context.run.run_id
    started = None
    with postgres.session() as connection:
        if values.ab_testing_enabled:
            ready = plan(values)
            started = in_transaction(connection, lambda cursor: store.start_for_challenger(cursor, ready, at, run_id))

        def close(layer: str) -> "ClosedCutoff | None":
            return in_transaction(
                connection, lambda cursor: cutoffs.close_cutoff(cursor, at, values.cutoff_minutes, run_id, layer)
            )

        every = [close(layer) for layer in LAYERS]
    metadata: dict[str, Any] = {"as of": at.isoformat()}
    if started:
        metadata["started"] = f"{started.experiment}: {started.treatment_points / 100:g} % of the clients"
        metadata["expected"] = report.outlook_text(started.spec["outlook"])
        context.log.info(f"{started.experiment} started: {metadata['expected']}")
    if not any(every):
        metadata["closed"] = "nothing: no cutoff is due"
    for layer, closed in zip(LAYERS, every, strict=True):
        if closed:
            context.log.info(f"{closed.experiment}: {closed.decision.outcome}: {'; '.join(closed.decision.reasons)}")
            metadata |= _of_layer(layer, _closed(closed))
    return dg.MaterializeResult(metadata=metadata)


def _closed(closed: "ClosedCutoff") -> Metadata:
    from litgo_pipelines.experiments import report

    said = report.decision_text(closed.decision, held=closed.held)
    return {
        **_decided(closed.experiment, closed, said),
        "closed": closed.cutoff.at.isoformat(),
        "outcome": closed.ended or str(closed.decision.outcome),
        "clients with a final outcome": sum(closed.decision.mature),
        **({"ramped to": f"{closed.ramped_to / 100:g} %"} if closed.ramped_to else {}),
    }


def _of_layer(layer: str, found: Metadata) -> Metadata:
    """Names of rankings' figures stay bare, so that their plots over time go on."""
    return found if layer == RANKING else {f"{layer}: {name}": value for name, value in found.items()}


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"postgres", "matplotlib"},
    deps=[experiment_cutoffs],
    retry_policy=RETRY,
    automation_condition=FOLLOWS,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=NIGHTLY)),
    description="The newest experiment: evidence over time against its limits, arms side by side, guardrails, sizes of "
    "the arms, spread of offers, utilisation of lawyers, the off-policy estimate, and the decision in words; also in "
    "MLflow. All experiments and layers as tables, and the newest decision of the layer of offers.",
)
@permanent_fails_once
def experiment_report(postgres: Postgres, mlflow: MLflow) -> dg.MaterializeResult[None]:
    from litgo_pipelines.experiments import cutoffs, listing, off_policy, report
    from litgo_pipelines.models import registry
    from litgo_pipelines.observability.plots import embedded

    with postgres.connect() as connection, connection.cursor() as cursor:
        newest, of_offers = (cutoffs.newest_cutoff(cursor, layer) for layer in (RANKING, OFFERS))
        found = listing.experiments(cursor)
    every: Metadata = {
        "all experiments": table_metadata(listing.COLUMNS, map(listing.cells, found)),
        "layers": table_metadata(listing.OF_LAYERS, listing.layers(found)),
        **(_of_layer(OFFERS, _newest(of_offers)) if of_offers else {}),
    }
    if newest is None:
        return dg.MaterializeResult(metadata={"experiment": "no cutoff was closed yet", **every})
    cutoff, decision, rules = newest.cutoff, newest.decision, newest.rules
    offline = off_policy.everybody_treated(cutoff)
    evidence = report.evidence_over_time(newest.experiment, newest.history, rules)
    sections = {
        "decision": report.decision_text(decision, held=newest.held, stopped=newest.stopped),
        "arms": report.arms_table(cutoff),
        "guardrails": report.guardrails_table(decision, rules),
        "Gini of offers": report.gini_table(cutoff, rules),
        "off-policy: everybody treated": report.off_policy_text(offline),
    }
    about = {
        "experiment": f"{newest.experiment}: {newest.tries} against {newest.control}",
        "cutoff": cutoff.at.isoformat(),
        "utilisation of lawyers": "unknown" if newest.utilisation is None else f"{newest.utilisation:.0%}",
    }
    lines = [
        *(f"- {name}: {value}" for name, value in about.items()),
        *(f"\n## {name}\n\n{text}" for name, text in sections.items()),
    ]
    files = {"report.md": "\n".join(lines).encode(), "evidence.png": evidence}
    assert newest.treatment is not None  # in this layer versions are tried
    try:
        shown = registry.show(mlflow, newest.treatment, f"experiments/{newest.experiment}", about["cutoff"], files)
    except (MLflowUnavailable, registry.VersionMissing) as error:  # the next report goes there again
        shown = f"not now: {error}"
    return dg.MaterializeResult(
        metadata={
            **about,
            "evidence": dg.MetadataValue.md(embedded(evidence, "e-values over time")),
            **{name: dg.MetadataValue.md(text) for name, text in sections.items()},
            **every,
            **_decision_figures(decision),
            **_off_policy_figures(offline),
            "in MLflow": shown,
        }
    )


def _newest(newest: "NewestCutoff") -> Metadata:
    from litgo_pipelines.experiments import report

    said = report.decision_text(newest.decision, held=newest.held, stopped=newest.stopped)
    return _decided(f"{newest.experiment}: {newest.tries} against {newest.control}", newest, said)


def _decided(experiment: str, at: "ClosedCutoff | NewestCutoff", said: str) -> Metadata:
    """What a cutoff came to."""
    from litgo_pipelines.experiments import report

    return {
        "experiment": experiment,
        "decision": dg.MetadataValue.md(said),
        "arms": dg.MetadataValue.md(report.arms_table(at.cutoff)),
        **_decision_figures(at.decision),
    }


@dg.op(pool=POOL, description="Starts the open challenger's experiment, even while AB_TESTING_ENABLED is off.")
def try_challenger(context: dg.OpExecutionContext, config: TryConfig, postgres: Postgres) -> None:
    from litgo_pipelines.experiments import store

    version, ready = config.version.strip(), plan(settings())

    def begin(cursor: Cursor, actor: "Actor") -> "RunningExperiment":
        return store.start(cursor, version, ready, actor, force=config.force)

    _change_by_hand(context, config, postgres, begin)


@dg.op(pool=POOL, description="Changes the share of new clients who are treated; nobody exposed changes arms.")
def change_share(context: dg.OpExecutionContext, config: RampConfig, postgres: Postgres) -> None:
    from litgo_pipelines.experiments import store

    points = _points(config.percentage)
    _change_by_hand(context, config, postgres, lambda cursor, actor: store.ramp(cursor, points, actor, config.layer))


@dg.op(pool=POOL, description="Ends a layer's running experiment without a verdict; its challenger is archived.")
def end_experiment(context: dg.OpExecutionContext, config: LayerConfig, postgres: Postgres) -> None:
    from litgo_pipelines.experiments import store

    _change_by_hand(context, config, postgres, lambda cursor, actor: store.stop(cursor, actor, config.layer))


@dg.job(
    tags=run_tags(JOBS["start_experiment"]),
    description=JOBS["start_experiment"].description,
    config=example_config(try_challenger=TryConfig),
)
def start_experiment() -> None:
    try_challenger()


@dg.job(
    tags=run_tags(JOBS["ramp_experiment"]),
    description=JOBS["ramp_experiment"].description,
    config=example_config(change_share=RampConfig),
)
def ramp_experiment() -> None:
    change_share()


@dg.job(
    tags=run_tags(JOBS["stop_experiment"]),
    description=JOBS["stop_experiment"].description,
    config=example_config(end_experiment=LayerConfig),
)
def stop_experiment() -> None:
    end_experiment()


assets = [experiment_cutoffs, experiment_report]
jobs: list[Any] = [start_experiment, ramp_experiment, stop_experiment]


def _change_by_hand(
    context: dg.OpExecutionContext,
    config: DecisionConfig,
    postgres: Postgres,
    change: "Callable[[Cursor, Actor], RunningExperiment]",
) -> None:
    """The change in one transaction, and the experiment it leaves as metadata."""
    running = act_by_hand(
        context,
        config,
        postgres,
        lambda connection, actor: in_transaction(connection, lambda cursor: change(cursor, actor)),
    )
    context.add_output_metadata(
        {"experiment": running.experiment, "tries": running.tries, "treated": f"{running.treatment_points / 100:g} %"}
    )


def _decision_figures(decision: "ExperimentDecision") -> Metadata:
    """Numbers, which Dagster plots over time; what does not exist yet is left out."""
    found = {
        "lift": decision.lift,
        "log e-value, better": decision.log_e_better,
        "log e-value, worse": decision.log_e_worse,
        "log e-value, sample-ratio mismatch": decision.log_e_mismatch,
        "information": decision.information,
        "predictive power": decision.predictive_power,
        "Gini, excess of treatment": decision.gini_excess,
    }
    # numpy's floats are floats to Python, and nothing that the event log can write
    return {name: float(value) for name, value in found.items() if value is not None}


def _off_policy_figures(found: "PolicyEvaluation | None") -> Metadata:
    """Numbers, which Dagster plots over time."""
    if found is None:
        return {}
    return {
        "off-policy SNIPS": found.snips.value,
        "off-policy SNIPS, low": found.snips.low,
        "off-policy SNIPS, high": found.snips.high,
        "off-policy effective clients": found.effective_sample_size,
    }


def _points(percentage: float) -> int:
    return round(percentage * 100)
