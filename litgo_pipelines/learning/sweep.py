"""Sweep: several configurations of the training compared on one snapshot by the same folds. Pure but for MLflow's log.

Each configuration is cross-validated as a retraining would, on the training cases alone: the held-out ones judge nobody
here, for whoever chooses among many by them has nothing left to judge by. Nothing is registered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from litgo_pipelines.models.learners import Recipe, Rows
from litgo_pipelines.models.metrics import paired_difference
from litgo_pipelines.models.run_page import describe_experiment, log_figures, made_by
from litgo_pipelines.models.training import Tried, cross_validated
from litgo_pipelines.observability.tables import markdown_table

if TYPE_CHECKING:
    from mlflow import MlflowClient

MOST = 24  # configurations of one sweep
Setting = dict[str, float]
_OURS = made_by("litgo_pipelines/learning/sweep.py")


class SweepTooLarge(ValueError):
    """More configurations than one run should try; the message says how many there would be."""


@dataclass(frozen=True)
class SweepResult:
    """One configuration and the entry that cross-validation chose with it. name: the settings in words."""

    name: str
    setting: Setting
    chosen: Tried
    field: Mapping[str, Tried]

    @property
    def mean(self) -> float:
        return self.chosen.curve.best


def grid(values: Mapping[str, Sequence[float]]) -> list[Setting]:
    """Every combination, after the recipe as it is. Raises SweepTooLarge."""
    names = list(values)
    found: list[Setting] = [{}]
    found += [dict(zip(names, each, strict=True)) for each in product(*values.values())] if names else []
    if len(found) > MOST:
        raise SweepTooLarge(f"{len(found)} configurations, at most {MOST}: name fewer values")
    return found


def sweep(
    rows: Rows,
    settings: Iterable[tuple[Setting, Recipe]],
    seed: int = 0,
    say: Callable[[str], None] = lambda stage: None,
) -> list[SweepResult]:
    """The best first. Raises NothingToLearn as a training would."""
    found = []
    for setting, recipe in settings:
        name = ", ".join(f"{key} {value:g}" for key, value in setting.items()) or "as it is"
        field, chosen = cross_validated(rows, recipe, seed, watch=partial(_progress, say, name))
        found.append(SweepResult(name, setting, field[chosen], field))
    return sorted(found, key=lambda one: -one.mean)


def _progress(say: Callable[[str], None], name: str, doing: str, done: int, parts: int) -> None:
    say(f"{name}: {doing}, {done} of {parts} done")


def table(found: Sequence[SweepResult]) -> str:
    """Markdown: each configuration's NDCG, and its difference from the recipe as it is with an interval over cases."""
    base = next(one for one in found if not one.setting)
    rows = []
    for one in found:
        ahead = paired_difference(one.chosen.cases, base.chosen.cases)
        difference = "–" if one is base else f"{ahead.mean:+.4f} ({ahead.low:+.4f} to {ahead.high:+.4f})"
        seconds = sum(tried.seconds for tried in one.field.values())
        rows.append((one.name, one.chosen.name, f"{one.mean:.4f}", difference, f"{seconds:.0f} s"))
    return markdown_table(("configuration", "chosen", "NDCG", "ahead of the recipe by", "time"), rows, right=(2,))


def log(client: "MlflowClient", experiment_id: str, found: Sequence[SweepResult], about: Mapping[str, str]) -> str:
    """One parent run with a child per configuration; the parent's id. about: tags of the parent."""
    describe_experiment(client, experiment_id)
    parent = client.create_run(
        experiment_id, run_name=f"sweep · {len(found)} configurations", tags={**_OURS, **about, "kind": "sweep"}
    )
    run_id: str = parent.info.run_id
    for one in found:
        child = client.create_run(
            experiment_id,
            run_name=one.name,
            tags={**_OURS, "mlflow.parentRunId": run_id, "kind": "sweep of a configuration"},
        )
        for key, value in {**one.setting, "chosen": one.chosen.name, "rounds": one.chosen.curve.best_round}.items():
            client.log_param(child.info.run_id, key, value)
        log_figures(client, child.info.run_id, {"cv_mean": one.mean})
        client.set_terminated(child.info.run_id)
    client.log_text(run_id, table(found), "sweep.md")
    client.log_param(run_id, "best", found[0].name)
    log_figures(client, run_id, {"cv_mean": found[0].mean})
    client.set_terminated(run_id)
    return run_id
