"""Trained candidate on disk: models, metrics, plots and model card in one folder that is complete or absent.

The folder's name is the candidate key, a hash of everything that decides the result, so the same training is done once.
Uploading it is `models/registry.py`.
"""

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litgo_pipelines.models import plots
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.metrics import KS, bootstrap, headline_k, judged
from litgo_pipelines.models.training import Recipe, Rows, Trained, seed_averaged_ndcg
from litgo_pipelines.observability.tables import markdown_table

if TYPE_CHECKING:
    from lightgbm import Booster

_EXPLAINED_ROWS = 2000
_ABANDONED_SECONDS = 24 * 3600


class BundleDamaged(RuntimeError):
    """The folder is not what was written; remove it and train again."""


@cache
def code_version() -> str:
    """Changes when the code that decides the result does: ranker, metrics and reader, and LightGBM's own version."""
    digest = hashlib.sha256(version("lightgbm").encode())
    for name in ("metrics.py", "training.py", "training_data.py", "bundle.py"):
        digest.update(files("litgo_pipelines.models").joinpath(name).read_bytes())
    return digest.hexdigest()[:16]


def candidate_key(snapshot_sha256: str, recipe: Recipe, seeds: Sequence[int]) -> str:
    """16 hex digits; the same data, recipe, seeds and code give the same key."""
    text = json.dumps([snapshot_sha256, recipe.as_dict(), list(seeds), code_version()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Bundle:
    """`metrics` is the content of metrics.json. The first seed's booster is the one that is served."""

    key: str
    folder: Path
    metrics: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        return list(self.metrics["seeds"])

    def model_path(self, seed: int) -> Path:
        return self.folder / f"model-{seed}.txt"

    def boosters(self) -> list["Booster"]:
        """One booster per seed, the served one first. Raises BundleDamaged when a file changed."""
        import lightgbm as lgb

        loaded = []
        for seed in self.seeds:
            text = self.model_path(seed).read_text()
            if hashlib.sha256(text.encode()).hexdigest() != self.metrics["models"][str(seed)]:
                raise BundleDamaged(f"{self.model_path(seed)} was changed after training")
            loaded.append(lgb.Booster(model_str=text))
        return loaded


def load_bundle(folder: Path) -> Bundle | None:
    """The bundle in `folder`, None when there is none."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except FileNotFoundError:
        return None
    return Bundle(folder.name, folder, metrics)


def write_bundle(
    folder: Path, trained: Trained, holdout: Rows, recipe: Recipe, seeds: Sequence[int], about: dict[str, Any]
) -> Bundle:
    """Evaluate on the held-out cases and write everything under `folder`, which appears complete or not at all.

    about: what the model card and the registry say of origin: snapshot, as_of, git_sha, dagster_run_id, counts.
    A bundle that somebody else finished first is kept and returned.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    partial = folder.parent / f".partial-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        models = {}
        for seed, booster in zip(seeds, trained.boosters, strict=True):
            text = booster.model_to_string()
            (partial / f"model-{seed}.txt").write_text(text)
            models[str(seed)] = hashlib.sha256(text.encode()).hexdigest()
        metrics = {
            "key": folder.name,
            "recipe": recipe.as_dict(),
            "seeds": list(seeds),
            "models": models,
            "rounds": trained.rounds,
            "uses_position": trained.uses_position,
            "cross_validation": {name: curve.best for name, curve in trained.curves.items()},
            "headline_k": trained.k,
            "learning_curve": [float(value) for value in trained.curves[_chosen(trained)].mean],
            "holdout": holdout_metrics(trained.boosters, holdout),
            "code_version": code_version(),
            **about,
        }
        for name, picture in _pictures(trained, holdout).items():
            (partial / f"{name}.png").write_bytes(picture)
        (partial / "model_card.md").write_text(model_card(metrics), encoding="utf-8")
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=1))
        try:
            partial.rename(folder)
        except OSError:
            if load_bundle(folder) is None:
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    finished = load_bundle(folder)
    assert finished is not None
    return finished


def holdout_metrics(boosters: Sequence["Booster"], holdout: Rows) -> dict[str, Any]:
    """NDCG at KS averaged over seeds, with bootstrap intervals over cases, and how many cases could be scored."""
    values = seed_averaged_ndcg(boosters, holdout, KS)
    counts = judged(holdout.labels, holdout.groups)
    return {
        **vars(counts),
        "skipped": counts.skipped,
        "headline_k": headline_k(holdout.groups),
        "ndcg": {
            str(k): vars(interval).copy() if counts.scored else None
            for k, interval in zip(KS, bootstrap(values), strict=True)
        },
    }


def ndcg_table(ndcg: dict[str, Any]) -> str:
    """Markdown table of a `holdout_metrics()["ndcg"]`."""
    rows = [
        (f"@{k}", f"{v['mean']:.4f}", f"{v['low']:.4f} – {v['high']:.4f}") if v else (f"@{k}", "–", "–")
        for k, v in ndcg.items()
    ]
    return markdown_table(("NDCG", "mean", "95 % interval"), rows)


def model_card(metrics: dict[str, Any]) -> str:
    """One page for people: what the model is for, what it learned from, how good it is, its limits."""
    snapshot, holdout, recipe = metrics["snapshot"], metrics["holdout"], metrics["recipe"]
    variants = ", ".join(f"{name} {value:.4f}" for name, value in metrics["cross_validation"].items())
    return f"""# litgo-ranker, candidate {metrics["key"]}

**Use.** Orders the lawyers who may take a case by the relevance expected for the client. Its score feeds the
allocation of offers; it does not decide who is eligible, and it is not a probability.

**Data.** Offers resolved by {metrics["as_of"]}, features as logged when the offer was made.
{snapshot["rows"]} rows of {snapshot["cases"]} cases; SHA-256 `{snapshot["sha256"]}`.
Labels: 0 no positive response, 1 interested, 2 contract signed, 3 closed with 4–5 stars or won/settled.

| split | 0 | 1 | 2 | 3 |
|---|---|---|---|---|
{_label_lines(snapshot["labels"])}

Missing values by feature: {_shares(snapshot["missing_feature_share"])}.

**Training.** LightGBM LambdaMART, {metrics["rounds"]} rounds chosen by {recipe["folds"]}-fold expanding-window
cross-validation over whole cases; seeds {", ".join(map(str, metrics["seeds"]))}, the first is served.
Best cross-validated NDCG@{metrics["headline_k"]}: {variants}.
Shown position used to explain the logs: {"yes" if metrics["uses_position"] else "no"}.

**Held-out cases**, mean over seeds: the newest {holdout["cases"]} cases. {holdout["one_lawyer"]} with one lawyer and
{holdout["equal_labels"]} whose lawyers have one label count nowhere. The headline is NDCG@{holdout["headline_k"]}.

{ndcg_table(holdout["ndcg"])}

**Limits.** Learned from offers that were made: it knows nothing of lawyers who were never offered a kind of case, and
repeats what the earlier ranking preferred as far as position does not explain it. An interested lawyer whose contract
was not signed yet counts as 1. Feature importances are not weights.

**Origin.** git {metrics["git_sha"] or "unknown"}, Dagster run {metrics["dagster_run_id"]},
code {metrics["code_version"]}.
"""


def _label_lines(labels: dict[str, dict[str, int]]) -> str:
    return "\n".join(
        f"| {split} | " + " | ".join(str(n) for n in counts.values()) + " |" for split, counts in labels.items()
    )


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def _chosen(trained: Trained) -> str:
    return "with position" if trained.uses_position else "without position"


def _pictures(trained: Trained, holdout: Rows) -> dict[str, bytes]:
    served = trained.boosters[0]
    curves = {name: (curve.mean, curve.deviation) for name, curve in trained.curves.items()}
    pictures = {
        "learning_curve": plots.learning_curve(curves, _chosen(trained), trained.rounds, trained.k),
        "importance": plots.bars(
            "Importance by gain", FEATURES, served.feature_importance("gain").tolist(), "total gain"
        ),
    }
    if len(holdout.labels):
        some = np.linspace(0, len(holdout.labels) - 1, min(_EXPLAINED_ROWS, len(holdout.labels))).astype(int)
        sample = holdout.features[some]
        contributions = np.asarray(served.predict(sample, pred_contrib=True))[:, :-1]  # the last column is the base
        pictures["shap"] = plots.bars(
            "Mean absolute SHAP value", FEATURES, np.abs(contributions).mean(axis=0).tolist(), "score"
        )
        pictures["shap_by_value"] = plots.shap_dependence(FEATURES, sample, contributions)
        pictures["calibration"] = plots.calibration(np.asarray(served.predict(holdout.features)), holdout.labels)
    return pictures


def _remove_abandoned(folder: Path) -> None:
    """Partial folders of killed runs. A day old: nobody is writing them any more."""
    for partial in folder.glob(".partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(partial, ignore_errors=True)
