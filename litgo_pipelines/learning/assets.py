"""Retraining in four assets: snapshot, candidate, registration, evaluation.

Each asset is thin: it reads its retraining's row, calls the computation, records the result in the row, and shows it.
One retraining runs at a time (pool `learning`). A step names the retraining it continues by its run's root, so that a
re-execution from failure goes on with what is there.
"""

import os
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, cast

import dagster as dg
from pydantic import Field

from litgo_pipelines import steps
from litgo_pipelines.database import advisory_lock
from litgo_pipelines.environment import OF_PROGRAMS, passed_on
from litgo_pipelines.jobs import JOBS, run_tags
from litgo_pipelines.learning import retrainings
from litgo_pipelines.learning.retrainings import Retraining, StepMissing
from litgo_pipelines.observability import progress
from litgo_pipelines.observability.plots import embedded
from litgo_pipelines.owners import Owner
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines.steps import RETRY, AsOfConfig, Metadata, permanent_fails_once

if TYPE_CHECKING:
    from litgo_pipelines.models.bundle import Bundle
    from litgo_pipelines.models.learners import Recipe
    from litgo_pipelines.models.training import Trained

GROUP = "learning"
POOL = "learning"


class Kind(StrEnum):
    """Kinds of ranker a training tries (`models/learners.py`). Dagster's configuration goes by the name."""

    linear = "linear"
    regression = "regression"
    lambdamart = "lambdamart"
    softmax = "softmax"


class StepConfig(dg.Config):
    """Which retraining a step belongs to."""

    retraining: str | None = Field(
        default=None, description="root run id of the retraining to continue; not given: this run's own"
    )


class TrainConfig(StepConfig):
    """How the candidate is trained. The defaults are the recipe's (`models/learners.py`) and the settings'."""

    kinds: list[Kind] = Field(
        default=cast("list[Kind]", [kind.value for kind in Kind]),  # Dagster stores defaults and knows no enum of ours
        validate_default=True,
        description="kinds of ranker to try",
    )
    features: list[str] | None = Field(
        default=None, description="keys of the contract to learn from; not given: all that tell rows apart"
    )
    seeds: int | None = Field(default=None, description="how many seeds; not given: LEARNING_TRAIN_SEEDS")
    folds: int = Field(default=5, description="parts of the cross-validation, each after the one before in time")
    learning_rate: float = Field(default=0.03, description="share of each tree that counts")
    num_leaves: int = Field(default=15, description="leaves of a tree at most")
    min_data_in_leaf: int = Field(default=50, description="rows in a leaf at least")
    lambda_l2: float = Field(default=10.0, description="L2 penalty on the leaves")
    linear_l2: float = Field(default=1.0, description="L2 penalty on the weights of the linear kind")
    min_rounds: int = Field(default=30, description="trees at least")
    max_rounds: int = Field(default=1000, description="trees at most")
    members: int = Field(default=3, description="rankers in a blend at most; 1: no blend")

    def recipe(self) -> "Recipe":
        """Raises dagster.Failure naming a value that cannot be."""
        from litgo_pipelines.models.learners import Recipe

        given = {name: value for name, value in self.model_dump().items() if value is not None}
        for name in ("retraining", "seeds"):
            given.pop(name, None)
        given["kinds"] = tuple(Kind(kind).value for kind in self.kinds)
        if "features" in given:
            given["features"] = tuple(given["features"])
        try:
            return Recipe(**given).checked()
        except ValueError as error:
            raise dg.Failure(f"the training's configuration cannot be used: {error}", allow_retries=False) from error


class SweepConfig(TrainConfig):
    """Every combination is tried beside the recipe as it is, which the other settings here change for all. retraining:
    whose snapshot, default the newest's."""

    values: dict[str, list[float]] = Field(
        description='setting → values to try, like {"num_leaves": [7, 15, 31]}', examples=[{"num_leaves": [7, 15, 31]}]
    )

    def with_values(self, setting: Mapping[str, float]) -> "Recipe":
        """Raises dagster.Failure as `recipe`, also for what is no setting."""
        known = set(TrainConfig.model_fields) - {"retraining", "seeds", "kinds", "features"}
        if unknown := sorted(set(setting) - known):
            raise dg.Failure(
                f"{', '.join(unknown)}: no settings of the training; there are {', '.join(sorted(known))}",
                allow_retries=False,
            )
        given = {name: value for name, value in self.model_dump().items() if name in TrainConfig.model_fields}
        return TrainConfig(**{**given, **{name: _number(name, value) for name, value in setting.items()}}).recipe()

    def snapshot_of(self, postgres: Postgres) -> str:
        if self.retraining:
            return self.retraining
        with postgres.connect() as connection, connection.cursor() as cursor:
            newest = retrainings.newest_with_snapshot(cursor)
        if newest is None:
            raise dg.Failure("no retraining has a snapshot yet: run training_snapshot first", allow_retries=False)
        return newest


def _number(name: str, value: float) -> float | int:
    """As the setting takes it: numbers of leaves, rounds, rows and folds are whole."""
    return value if TrainConfig.model_fields[name].annotation is float else round(value)


def root_run_id(run: dg.DagsterRun) -> str:
    """What a retraining is keyed by: a re-execution has its root's."""
    return run.root_run_id or run.run_id


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"postgres", "parquet"},
    deps=["cases", "case_matches", "offers", "contracts", "reviews", "lawyers"],
    pool=POOL,
    retry_policy=RETRY,
    description="Offers resolved by an instant, with the features logged when they were made and graded relevance "
    "labels: one row per case and offered lawyer, in a Parquet file named by its SHA-256.",
)
@permanent_fails_once
def training_snapshot(
    context: dg.AssetExecutionContext, config: AsOfConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.learning import columns, snapshot
    from litgo_pipelines.models import training_data

    root = root_run_id(context.run)
    requested = _as_of(context, config)
    home = settings().home
    with postgres.connect() as connection, connection.cursor() as cursor:
        reason = "volume" if "dagster/sensor_name" in context.run.tags else "manual"
        as_of = retrainings.begin(cursor, root, requested, reason).as_of
    if config.as_of and as_of != requested:
        context.log.warning(f"continuing as of {as_of.isoformat()}, with which this retraining began")
    try:
        with postgres.connect() as connection, connection.cursor() as cursor:
            written = snapshot.write_snapshot(cursor, as_of, settings().learning_holdout_share, home / "snapshots")
    except snapshot.DiskFull as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    counts = training_data.examine(written.path).counts
    about = {"rows": written.rows, "cases": written.cases, "excluded": written.excluded, **counts}
    with postgres.connect() as connection, connection.cursor() as cursor:
        retrainings.record_step(
            cursor,
            root,
            snapshot_path=str(written.path.relative_to(home)),
            snapshot_sha256=written.sha256,
            snapshot=about,
            watermark=written.watermark,
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.sha256),
        metadata={
            "as of": as_of.isoformat(),
            "watermark": written.watermark.isoformat() if written.watermark else "no review yet",
            "dagster/row_count": written.rows,
            "dagster/column_schema": columns.snapshot_schema(),
            "dagster/column_lineage": steps.column_lineage(columns.SOURCES),
            "cases": written.cases,
            "held-out cases": written.cases - written.training_cases,
            "labels": _labels_table(counts.get("labels", {})),
            "excluded offers": steps.table_metadata(("reason", "offers"), written.excluded.items()),
            "missing feature share": steps.table_metadata(
                ("feature", "share missing"), counts.get("missing_feature_share", {}).items()
            ),
            "file": f"snapshots/{written.path.name}",
            "bytes": written.path.stat().st_size,
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"lightgbm", "python"},
    deps=[training_snapshot],
    pool=POOL,
    description="The best of a small field of rankers by cross-validation on the snapshot, refitted per seed, with "
    "metrics on the test cases, plots and a model card, complete on disk before anything is uploaded.",
)
def candidate_model(
    context: dg.AssetExecutionContext, config: TrainConfig, postgres: Postgres
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.models import bundle

    root = config.retraining or root_run_id(context.run)
    row = _row(postgres, root, "snapshot_path", "snapshot_sha256", "snapshot")
    home = settings().home
    path = _unchanged_snapshot(row, home)
    recipe, seeds = config.recipe(), list(range(config.seeds or settings().learning_train_seeds))
    key = bundle.candidate_key(_text(row.snapshot_sha256), recipe, seeds)
    candidate = bundle.load_bundle(home / "models" / key)
    if candidate is None:
        candidate = _trained_bundle(context, row, path, recipe, seeds, key)
    else:
        context.log.info(f"candidate {key} is trained already: same data, recipe, seeds and code")
    metrics = candidate.metrics
    with postgres.connect() as connection, connection.cursor() as cursor:
        retrainings.record_step(
            cursor,
            root,
            candidate_key=key,
            bundle_path=str(candidate.folder.relative_to(home)),
            candidate={
                name: metrics[name]
                for name in ("kind", "chosen", "field", "rounds", "uses_position", "seeds", "holdout")
            },
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(key),
        metadata={
            "candidate key": key,
            "kind": metrics["kind"],
            "field": dg.MetadataValue.md(bundle.field_table(metrics)),
            "rounds": metrics["rounds"],
            "uses shown position": metrics["uses_position"],
            "held-out NDCG, mean over seeds": dg.MetadataValue.md(bundle.ndcg_table(metrics["holdout"]["ndcg"])),
            "headline": f"NDCG@{metrics['holdout']['headline_k']}",
            **_ndcg_figures(metrics["holdout"]["ndcg"]),
            "held-out cases scored": metrics["holdout"]["scored"],
            "held-out cases that count nowhere": f"{metrics['holdout']['one_lawyer']:,} with one lawyer, "
            f"{metrics['holdout']['equal_labels']:,} with one label",
            "model card": dg.MetadataValue.md((candidate.folder / "model_card.md").read_text(encoding="utf-8")),
            **{
                picture.stem.replace("_", " "): dg.MetadataValue.md(embedded(picture.read_bytes(), "plot"))
                for picture in sorted(candidate.folder.glob("*.png"))
            },
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"mlflow"},
    deps=[candidate_model],
    pool=POOL,
    retry_policy=RETRY,
    description="The candidate in the MLflow registry, with its run. When MLflow is down only this step fails: the "
    "trained model stays on disk, and a later run uploads it.",
)
@permanent_fails_once
def registered_model(
    context: dg.AssetExecutionContext, config: StepConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.lifecycle import ledger, states, transitions
    from litgo_pipelines.models import bundle, registry

    root = config.retraining or root_run_id(context.run)
    row = _row(postgres, root, "bundle_path", "candidate_key")
    mlflow.probe()
    candidate = bundle.load_bundle(settings().home / _text(row.bundle_path))
    if candidate is None:
        raise dg.Failure(f"{row.bundle_path} is gone: run candidate_model again", allow_retries=False)
    example = registry.example(len(candidate.names))
    dagster = settings().dagster_url or f"http://127.0.0.1:{settings().dagster_port}"
    dagster_link = f"{dagster.rstrip('/')}/runs/{context.run.run_id}"
    at = steps.now()
    with postgres.connect() as connection, connection.cursor() as cursor:
        refused = states.refusal(ledger.state(cursor), "candidate", "new", at, data=row.snapshot_sha256)
        if refused:  # before the upload, and recorded: it would wait for its registration indefinitely
            verdict = {"decision": {"outcome": "rejected", "reasons": [refused]}}
            retrainings.record_step(cursor, root, evaluation=verdict)
    if refused:
        raise dg.Failure(f"the candidate is not registered: {refused}", allow_retries=False)
    with postgres.connect() as connection, connection.cursor() as cursor:
        advisory_lock(cursor, f"register {row.candidate_key}")
        version = registry.register(
            mlflow,
            candidate,
            example,
            {
                "dagster_run_link": dagster_link,
                "registered_by_run_id": context.run.run_id,
                "mlflow.user": steps.acting(context.run.tags, "") or "litgo",
            },
            ledger.versions_of_others(cursor, transitions.first_entry(_text(row.candidate_key))),
        )
        transitions.enter(
            cursor,
            version.version,
            _text(row.candidate_key),
            {
                "candidate_key": row.candidate_key,
                "snapshot_sha256": row.snapshot_sha256,
                "scorer_sha256": registry.served_sha256(candidate),
                "seed_sha256": candidate.metrics["models"],
                **candidate.metrics["holdout"],
            },
            ledger.Actor("learning", f"retraining {root}", at, context.run.run_id),
        )
        retrainings.record_step(cursor, root, mlflow_run_id=version.run_id, mlflow_version=version.version)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{registry.MODEL_NAME}/{version.version}"),
        metadata={
            "model": registry.MODEL_NAME,
            "version": version.version,
            "candidate key": _text(row.candidate_key),
            **_run_link(mlflow, version.run_id),
        },
    )


@dg.asset(
    group_name=GROUP,
    owners=[Owner.LEARNING],
    kinds={"python", "mlflow"},
    deps=[registered_model],
    pool=POOL,
    retry_policy=RETRY,
    description="The candidate against the champion, or against the heuristic ranker while there is none, on the "
    "same held-out cases. A candidate that passes becomes challenger, or champion where there is none.",
)
@permanent_fails_once
def model_evaluation(
    context: dg.AssetExecutionContext, config: StepConfig, postgres: Postgres, mlflow: MLflow
) -> dg.MaterializeResult[None]:
    from litgo_pipelines.learning import evaluation
    from litgo_pipelines.lifecycle import ledger
    from litgo_pipelines.lifecycle.reconcile import reconcile
    from litgo_pipelines.models import registry

    root = config.retraining or root_run_id(context.run)
    row = _row(postgres, root, "bundle_path", "snapshot_path", "mlflow_version", "mlflow_run_id")
    version = _text(row.mlflow_version)
    with postgres.connect() as connection, connection.cursor() as cursor:
        champion = ledger.current_champion(cursor)
        is_candidate = ledger.state(cursor).stages.get(version) == "candidate"
        result = None if is_candidate else evaluation.earlier(cursor, version)
    at = steps.now()
    if result is None:
        other = champion if champion is None or champion.version != version else None  # promoted by hand, unjudged
        with (
            progress.Heartbeat(context.log.info, "evaluation") as beat,
            postgres.connect() as connection,
            connection.cursor() as cursor,
        ):
            result = evaluation.evaluate(mlflow, row, other, settings(), cursor, at, beat.at)
    with postgres.connect() as connection, connection.cursor() as cursor:
        experiments = settings().ab_testing_enabled
        became = evaluation.record_verdict(cursor, row, result, at, context.run.run_id, experiments=experiments)
    with postgres.connect() as connection, connection.cursor() as cursor:
        serving = reconcile(mlflow, cursor, at).state.champion
    shown = evaluation.publish(mlflow, row, result)
    decision = result["decision"]
    context.log.info(f"{decision['outcome']}: {'; '.join(decision['reasons'])}")
    return dg.MaterializeResult(
        metadata={
            "decision": decision["outcome"],
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision["reasons"])),
            "baseline": result["baseline"],
            **_verdict_figures(evaluation.figures(result)),
            "the version is now": became,
            "champion now": f"{registry.MODEL_NAME}/{serving}" if serving else "none: the heuristic ranker serves",
            "candidate and baseline": dg.MetadataValue.md(evaluation.comparison_table(result)),
            "fairness": dg.MetadataValue.md(evaluation.fairness_table(result.get("fairness"))),
            "rules without learning": dg.MetadataValue.md(evaluation.rival_table(decision.get("rivals", []))),
            "slices": dg.MetadataValue.md(evaluation.slice_table(decision["slices"])),
            "drift (PSI, training against held-out)": steps.table_metadata(("feature", "PSI"), result["drift"].items()),
            "in MLflow": shown,
            **_run_link(mlflow, _text(row.mlflow_run_id)),
        }
    )


@dg.op(
    pool=POOL,
    description="Cross-validates each combination of the values on the snapshot of a retraining, by the same folds; in "
    "MLflow a run per configuration under one parent. Nothing is registered.",
)
def sweep_configurations(
    context: dg.OpExecutionContext, config: SweepConfig, postgres: Postgres, mlflow: MLflow
) -> None:
    from litgo_pipelines.learning import sweep
    from litgo_pipelines.models import training_data
    from litgo_pipelines.models.training import NothingToLearn

    row = _row(postgres, config.snapshot_of(postgres), "snapshot_path", "snapshot_sha256")
    path = _unchanged_snapshot(row, settings().home)
    mlflow.probe()
    try:
        tried = [(setting, config.with_values(setting)) for setting in sweep.grid(config.values)]
        with progress.Heartbeat(context.log.info, f"sweep of {len(tried)} configurations") as beat:
            found = sweep.sweep(training_data.read_rows(path, "train"), tried, say=beat.at)
    except (NothingToLearn, sweep.SweepTooLarge) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    about = {"snapshot_sha256": _text(row.snapshot_sha256), "dagster_run_id": context.run.run_id}
    run_id = sweep.log(mlflow.client(), mlflow.experiment_id(), found, about)
    context.add_output_metadata(
        {
            "best": found[0].name,
            "configurations": dg.MetadataValue.md(sweep.table(found)),
            "snapshot": _text(row.snapshot_path),
            **_run_link(mlflow, run_id),
        }
    )


@dg.job(
    tags=run_tags(JOBS["training_sweep"]),
    description=JOBS["training_sweep"].description,
    config=steps.example_config(sweep_configurations=SweepConfig),
)
def training_sweep() -> None:
    sweep_configurations()


jobs = [training_sweep]
assets = [training_snapshot, candidate_model, registered_model, model_evaluation]


def git_sha() -> str | None:
    """Commit of the code that runs; None outside a checkout."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():  # an installed package may lie in somebody's repository
        return None
    try:
        found = subprocess.run(
            ["git", "-C", os.fspath(checkout), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env=passed_on(*OF_PROGRAMS),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _as_of(context: dg.AssetExecutionContext, config: AsOfConfig) -> datetime:
    """The configured instant, else when the run started."""
    if (given := config.given()) is not None:
        return given
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        raise dg.Failure("this run has no record, so it has no start: give as_of", allow_retries=False)
    return datetime.fromtimestamp(record.start_time, UTC) if record.start_time else record.create_timestamp


def _row(postgres: Postgres, root: str, *required: str) -> Retraining:
    try:
        with postgres.connect() as connection, connection.cursor() as cursor:
            row = retrainings.get(cursor, root)
        row.require(*required)
    except StepMissing as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return row


def _unchanged_snapshot(row: Retraining, home: Path) -> Path:
    """The retraining's snapshot, as it was written."""
    from litgo_pipelines.models import training_data

    path = home / _text(row.snapshot_path)
    if not path.exists() or training_data.file_sha256(path) != row.snapshot_sha256:
        raise dg.Failure(f"{row.snapshot_path} is missing or was changed: run training_snapshot again")
    return path


def _trained_bundle(
    context: dg.AssetExecutionContext, row: Retraining, path: Path, recipe: "Recipe", seeds: list[int], key: str
) -> "Bundle":
    """Train on the snapshot, evaluate on its test cases, write everything; lines of progress meanwhile."""
    from litgo_pipelines.models import bundle, training_data

    began = steps.now()
    with progress.Heartbeat(context.log.info, "training") as beat:
        trained = _trained(row, path, recipe, seeds, beat.at)
        ended = steps.now()
        beat.at("evaluation on the test cases, plots")
        about = {
            "as_of": row.as_of.isoformat(),
            "snapshot": {**(row.snapshot or {}), "path": row.snapshot_path, "sha256": row.snapshot_sha256},
            "git_sha": git_sha(),
            "dagster_run_id": context.run.run_id,
            "training": {
                "began": began.isoformat(),
                "ended": ended.isoformat(),
                "usage": [used._asdict() for used in [*beat.usage, beat.sample()]],
            },
        }
        test_set = training_data.read_rows(path, "holdout")
        return bundle.write_bundle(settings().home / "models" / key, trained, test_set, recipe, seeds, about)


def _trained(row: Retraining, path: Path, recipe: "Recipe", seeds: list[int], say: Callable[[str], None]) -> "Trained":
    """The best ranker of the snapshot's training cases, by Dask workers where there are many."""
    from litgo_pipelines.models import distributed, training_data
    from litgo_pipelines.models.training import NothingToLearn, train

    scheduler = settings().learning_dask_scheduler
    try:
        if scheduler and (row.snapshot or {}).get("rows", 0) >= settings().learning_distributed_rows:
            return distributed.train_distributed(path, recipe, seeds, scheduler, say=say)
        with progress.bar("training", unit="entries") as bar:
            watch = progress.both(say, progress.watching(bar))
            return train(training_data.read_rows(path, "train"), recipe, seeds, watch=watch)
    except NothingToLearn as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _ndcg_figures(ndcg: Mapping[str, Mapping[str, float] | None]) -> Metadata:
    """Numbers, which Dagster plots over time."""
    return {
        f"NDCG@{k}{suffix}": interval[of]
        for k, interval in ndcg.items()
        if interval
        for suffix, of in (("", "mean"), (", low", "low"), (", high", "high"))
    }


def _verdict_figures(figures: Mapping[str, float]) -> Metadata:
    """Numbers, which Dagster plots over time; those of slices and rules stand in their tables."""
    return {name: value for name, value in figures.items() if not name.startswith(("slice/", "rival/"))}


def _text(value: str | None) -> str:
    assert value is not None  # `require` has seen to it
    return value


def _run_link(mlflow: MLflow, run_id: str) -> Metadata:
    link = mlflow.run_link(run_id, mlflow.experiment_id())
    return {"mlflow run": dg.MetadataValue.url(link)} if link else {"mlflow run id": run_id}


def _labels_table(labels: dict[str, dict[str, int]]) -> dg.TableMetadataValue:
    return steps.table_metadata(
        ("split", "0", "1", "2", "3"), ((split, *counts.values()) for split, counts in labels.items())
    )
