"""The MLflow run of a candidate: what its page shows, and the child runs under it.

Built from a bundle's `metrics.json`. What earlier bundles do not hold is left out.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from litgo_pipelines.settings import TIMEZONE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

Candidate = Mapping[str, Any]  # the content of a bundle's metrics.json, of this code or of earlier code
PER_BATCH = 1000  # metrics; the server refuses more
_DIGEST = 36  # characters the server takes
TITLES = {"lambdamart": "LambdaMART", "regression": "regression trees", "softmax": "softmax trees"}
KIND = "mlflow.experimentKind"  # read by MLflow's pages: the tabs of model training, not those of agents
NOTE = "mlflow.note.content"
# Characters that MLflow's tables take of a run's note and of a version's description; Postgres refuses one more.
LONGEST_NOTE, LONGEST_DESCRIPTION = 8000, 5000
ELSEWHERE = "(left out here for its length: `bundle/model_card.md` among the run's artifacts has it)"
EXPERIMENT = {
    KIND: "custom_model_development",
    NOTE: "Rankers of the lawyers who may take a case. One run per candidate, named by the day of its data; under it a "
    "run per kind that cross-validation tried (`cv_ndcg…` by round) and a run per seed (`holdout_ndcg…`). Select runs "
    "and compare: the metrics have the same names everywhere. Which version serves is the ledger's word, and shown as "
    "the alias `champion` of the registered model litgo-ranker.",
}
SPLITS = {"train": "training", "holdout": "test"}


def fitted(card: str, longest: int) -> str:
    """The card without the longest of its blocks, as many as it takes until it has `longest` characters."""
    blocks = card.split("\n\n")
    while len("\n\n".join(blocks)) > longest:
        place = max(range(len(blocks)), key=lambda number: len(blocks[number]))
        if len(blocks[place]) <= len(ELSEWHERE):
            return card[: longest - 1] + "…"
        blocks[place] = ELSEWHERE
    return "\n\n".join(blocks)


def describe_experiment(client: "MlflowClient", experiment_id: str) -> None:
    """Description and kind of the experiment, where it has none: a person's own words stay."""
    there = client.get_experiment(experiment_id).tags
    for name, value in EXPERIMENT.items():
        if not there.get(name):
            client.set_experiment_tag(experiment_id, name, value)


def made_by(source: str) -> dict[str, str]:
    """Tags of a run of ours, which MLflow shows as its user and source."""
    return {"mlflow.user": "litgo", "mlflow.source.type": "LOCAL", "mlflow.source.name": source}


def run_name(metrics: Candidate) -> str:
    """Like "2026-11-28 · 95,738 rows · LambdaMART"."""
    day = datetime.fromisoformat(metrics["as_of"]).astimezone(ZoneInfo(TIMEZONE)).date()
    return f"{day} · {metrics['snapshot']['rows']:,} rows · {title(metrics['chosen'])}"


def title(name: str) -> str:
    """An entry of the field in a person's words."""
    for kind, words in TITLES.items():
        name = re.sub(rf"\b{kind}\b", words, name)
    return name


def begin(client: "MlflowClient", experiment_id: str, metrics: Candidate, tags: Mapping[str, str]) -> str:
    """A run that began when the training did; its id. tags: beside those that every run of a candidate has."""
    describe_experiment(client, experiment_id)
    own = {
        **made_by("litgo_pipelines/learning/assets.py"),
        **({"mlflow.source.git.commit": metrics["git_sha"]} if metrics.get("git_sha") else {}),
    }
    made = client.create_run(experiment_id, _began(metrics), {**own, **tags}, run_name(metrics))
    return str(made.info.run_id)


def end(client: "MlflowClient", run_id: str, metrics: Candidate) -> None:
    """The run ended when the training did, not when its upload was over."""
    if metrics.get("training"):
        client.set_terminated(run_id, "FINISHED", _milliseconds(metrics["training"]["ended"]))


def log(client: "MlflowClient", experiment_id: str, run_id: str, metrics: Candidate) -> None:
    """Parameters, metrics, data and child runs."""
    for name, value in _parameters(metrics).items():
        client.log_param(run_id, name, value)
    _log_all(client, run_id, list(_metrics(metrics)))
    _log_inputs(client, run_id, metrics)
    _log_children(client, experiment_id, run_id, metrics)


def plain(name: str) -> str:
    """A name as MLflow takes it for a metric."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _milliseconds(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def _began(metrics: Candidate) -> int:
    training = metrics.get("training")
    return _milliseconds(training["began"]) if training else round(time.time() * 1000)


def _parameters(metrics: Candidate) -> dict[str, object]:
    snapshot = metrics["snapshot"]
    return {
        **metrics["recipe"],
        "kind": metrics["kind"],
        "chosen": metrics["chosen"],
        "features": " ".join(metrics["features"]),
        "rounds": metrics["rounds"],
        "uses_position": metrics["uses_position"],
        "seeds": ",".join(map(str, metrics["seeds"])),
        "as_of": metrics["as_of"],
        "snapshot_path": snapshot["path"],
        "snapshot_sha256": snapshot["sha256"],
        "snapshot_rows": snapshot["rows"],
        "snapshot_cases": snapshot["cases"],
        **{
            f"labels_{split}": " ".join(f"{label}:{number}" for label, number in counts.items())
            for split, counts in snapshot["labels"].items()
        },
    }


def _metrics(metrics: Candidate) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    training = metrics.get("training") or {}
    at = _milliseconds(training["ended"]) if training else round(time.time() * 1000)
    for k, interval in metrics["holdout"]["ndcg"].items():
        if interval:
            for suffix, name in (("", "mean"), ("_low", "low"), ("_high", "high")):
                yield Metric(f"holdout_ndcg_{k}{suffix}", float(interval[name]), at, 0)
    yield Metric("holdout_cases_scored", float(metrics["holdout"]["scored"]), at, 0)
    for step, value in metrics["learning_curve"].items():
        yield Metric(f"cv_ndcg_{metrics['headline_k']}", value, at, int(step))
    for name, tried in metrics["field"].items():
        for suffix, of in (("", "mean"), ("_se", "standard_error")):
            if tried[of] is not None:
                yield Metric(f"field_{plain(name)}{suffix}", tried[of], at, 0)
    if training:
        yield Metric("training_seconds", (at - _milliseconds(training["began"])) / 1000, at, 0)
    for step, used in enumerate(training.get("usage", ())):  # shown under "System metrics"
        instant = round(used["at"] * 1000)
        yield Metric("system/cpu_utilization_percentage", used["cpu"], instant, step)
        yield Metric("system/process_memory_megabytes", used["memory"], instant, step)


def _log_inputs(client: "MlflowClient", run_id: str, metrics: Candidate) -> None:
    """Both splits of the snapshot, with the file's digest, where it lies under LITGO_HOME, and its columns."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    snapshot = metrics["snapshot"]
    columns = [("double", name) for name in metrics["features"]] + [("integer", "label")]
    schema = {"mlflow_colspec": [{"type": kind, "name": name, "required": False} for kind, name in columns]}
    inputs = []
    for split, words in SPLITS.items():
        profile = {"num_rows": sum(snapshot["labels"].get(split, {}).values()), "cases_of_all": snapshot["cases"]}
        data = Dataset(
            f"snapshot {metrics['as_of'][:10]}, {words} cases",
            snapshot["sha256"][:_DIGEST],
            "local",
            json.dumps({"uri": snapshot["path"]}),
            json.dumps(schema),
            json.dumps(profile),
        )
        inputs.append(DatasetInput(data, [InputTag("mlflow.data.context", words)]))
    client.log_inputs(run_id, inputs)


def _log_children(client: "MlflowClient", experiment_id: str, run_id: str, metrics: Candidate) -> None:
    """A child run per entry of the field, one after the other as they were tried, and per seed.

    The same name means the same metric in all of them, so that MLflow draws them in one chart.
    """
    from mlflow.entities import Metric, Param, RunTag

    began, k = _began(metrics), metrics["headline_k"]
    for name, tried in metrics["field"].items():
        ended = began + round(tried["seconds"] * 1000)
        child = client.create_run(
            experiment_id,
            began,
            {"mlflow.parentRunId": run_id, "mlflow.user": "litgo", "field": name},
            f"cross-validation · {title(name)}",
        ).info.run_id
        curve = metrics.get("curves", {}).get(name, {})
        found = [Metric(f"cv_ndcg_{k}", value, ended, int(step)) for step, value in curve.items()]
        found += [
            Metric(f"cv_{of}", float(tried[of]), ended, 0)
            for of in ("mean", "standard_error", "seconds")
            if tried[of] is not None
        ]
        client.log_batch(
            child,
            found[-PER_BATCH:],
            [Param("kind", tried["kind"]), Param("rounds", str(tried["rounds"]))],
            [RunTag("chosen", str(name == metrics["chosen"]).lower())],
        )
        client.set_terminated(child, "FINISHED", ended)
        began = ended
    training = metrics.get("training")
    over = _milliseconds(training["ended"]) if training else began
    for seed, held_out in metrics["holdout"].get("by_seed", {}).items():
        tags = {"mlflow.parentRunId": run_id, "mlflow.user": "litgo", "seed": str(seed)}
        child = client.create_run(experiment_id, began, tags, f"seed {seed} · {title(metrics['chosen'])}").info.run_id
        client.log_param(child, "seed", seed)
        if held_out is not None:
            client.log_metric(child, f"holdout_ndcg_{metrics['holdout']['headline_k']}", held_out)
        client.set_terminated(child, "FINISHED", max(over, began))


def log_figures(client: "MlflowClient", run_id: str, figures: Mapping[str, float]) -> None:
    """Numbers found after the training, each as a metric of the run's end: told again, they are there once."""
    from mlflow.entities import Metric

    at = client.get_run(run_id).info.end_time or round(time.time() * 1000)
    _log_all(client, run_id, [Metric(name, value, at, 0) for name, value in figures.items()])


def _log_all(client: "MlflowClient", run_id: str, found: "Sequence[Metric]") -> None:
    batch = [metric for metric in found if isfinite(metric.value)]  # MLflow takes NaN, and its page of the run breaks
    for start in range(0, len(batch), PER_BATCH):
        client.log_batch(run_id, metrics=batch[start : start + PER_BATCH])
