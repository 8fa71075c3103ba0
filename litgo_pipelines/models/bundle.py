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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from litgo_pipelines.models import plots, scorer
from litgo_pipelines.models.features import BY_KEY, FEATURES
from litgo_pipelines.models.learners import Recipe, Rows
from litgo_pipelines.models.metrics import KS, bootstrap, headline_k, judged
from litgo_pipelines.models.scorer import Scorer
from litgo_pipelines.models.training import Curve, Trained, seed_averaged_ndcg, standard_error
from litgo_pipelines.observability.tables import markdown_table

_EXPLAINED_ROWS = 2000
_DECIDES = (
    "metrics.py",
    "features.py",
    "learners.py",
    "rules.py",
    "scorer.py",
    "training.py",
    "training_data.py",
    "bundle.py",
)
_ABANDONED_SECONDS = 24 * 3600


class BundleDamaged(RuntimeError):
    """The folder is not what was written; remove it and train again."""


@cache
def code_version() -> str:
    """Changes when the code that decides the result does: ranker, metrics and reader, and LightGBM's own version."""
    digest = hashlib.sha256(version("lightgbm").encode())
    for name in _DECIDES:
        digest.update(files("litgo_pipelines.models").joinpath(name).read_bytes())
    return digest.hexdigest()[:16]


def candidate_key(snapshot_sha256: str, recipe: Recipe, seeds: Sequence[int]) -> str:
    """16 hex digits; the same data, recipe, seeds and code give the same key."""
    text = json.dumps([snapshot_sha256, recipe.as_dict(), list(seeds), code_version()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Bundle:
    """`metrics` is the content of metrics.json. The first seed's scorer is the one that is served."""

    key: str
    folder: Path
    metrics: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        return list(self.metrics["seeds"])

    @property
    def names(self) -> tuple[str, ...]:
        """The features the candidate was made with; bundles of earlier code know the eight only."""
        return tuple(self.metrics.get("features", FEATURES))

    @property
    def _earlier(self) -> bool:
        return "features" not in self.metrics

    def model_path(self, seed: int) -> Path:
        return self.folder / f"model-{seed}.{'txt' if self._earlier else 'json'}"

    def scorers(self) -> list[Scorer]:
        """One scorer per seed, the served one first. Raises BundleDamaged when a file changed."""
        loaded: list[Scorer] = []
        for seed in self.seeds:
            text = self.model_path(seed).read_text()
            if scorer.digest(text) != self.metrics["models"][str(seed)]:
                raise BundleDamaged(f"{self.model_path(seed)} was changed after training")
            loaded.append(scorer.earlier_trees(text, FEATURES) if self._earlier else scorer.loads(text))
        return loaded


def load_bundle(folder: Path) -> Bundle | None:
    """The bundle in `folder`, None when there is none."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except FileNotFoundError:
        return None
    return Bundle(folder.name, folder, metrics)


def write_bundle(
    folder: Path, trained: Trained, holdout: Rows, recipe: Recipe, seeds: Sequence[int], about: Mapping[str, object]
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
        for seed, one in zip(seeds, trained.scorers, strict=True):
            text = scorer.dumps(one)
            (partial / f"model-{seed}.json").write_text(text, encoding="utf-8")
            models[str(seed)] = scorer.digest(text)
        metrics = {
            "key": folder.name,
            "recipe": recipe.as_dict(),
            "seeds": list(seeds),
            "models": models,
            "kind": trained.kind,
            "chosen": trained.chosen,
            "features": list(trained.names),
            "rounds": trained.rounds,
            "uses_position": trained.uses_position,
            "field": {name: tried.as_dict() for name, tried in trained.field.items()},
            "headline_k": trained.k,
            "learning_curve": _by_round(trained.curve),
            "curves": {name: _by_round(tried.curve) for name, tried in trained.field.items()},
            "holdout": {
                **holdout_metrics(trained.scorers, holdout),
                "by_seed": _by_seed(trained.scorers, seeds, holdout),
            },
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


def _by_round(curve: Curve) -> dict[int, float]:
    """Round → mean NDCG of the validation cases; nothing without a case to validate on."""
    if not curve.values.shape[1]:
        return {}
    return {int(number): float(value) for number, value in zip(curve.rounds, curve.mean, strict=True)}


def holdout_metrics(scorers: Sequence[Scorer], holdout: Rows) -> dict[str, object]:
    """NDCG at KS averaged over seeds, with bootstrap intervals over cases, and how many cases could be scored."""
    values = seed_averaged_ndcg(scorers, holdout, KS)
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


def _by_seed(scorers: Sequence[Scorer], seeds: Sequence[int], holdout: Rows) -> dict[str, float | None]:
    """The headline NDCG of each seed on the held-out cases."""
    k = headline_k(holdout.groups)
    found: dict[str, float | None] = {}
    for seed, one in zip(seeds, scorers, strict=True):
        values = seed_averaged_ndcg([one], holdout, (k,))
        scored = values[np.isfinite(values)]
        found[str(seed)] = float(scored.mean()) if len(scored) else None
    return found


def ndcg_table(ndcg: dict[str, Any]) -> str:
    """Markdown table of a `holdout_metrics()["ndcg"]`."""
    rows = [
        (k, f"{v['mean']:.4f}", f"{v['low']:.4f} – {v['high']:.4f}") if v else (k, "–", "–") for k, v in ndcg.items()
    ]
    return markdown_table(("NDCG at", "mean", "95 % interval"), rows)


def model_card(metrics: dict[str, Any]) -> str:
    """One page for people: what the model is for, what it learned from, how good it is, its limits.

    Without the sign "@": the pages that show it take what stands around one for an address, and link it.
    """
    snapshot, holdout, recipe = metrics["snapshot"], metrics["holdout"], metrics["recipe"]
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

**Training.** Kind: **{metrics["kind"]}** ({metrics["chosen"]}), the best of a field by {recipe["folds"]}-fold
expanding-window cross-validation over whole cases; rounds: {metrics["rounds"]}; seeds
{", ".join(map(str, metrics["seeds"]))}, the first is served. Shown position used to explain the logs:
{"yes" if metrics["uses_position"] else "no"}. Kinds that are level with the best are blended; what was learned has to
beat the best rule by more than a standard error of the difference.

{field_table(metrics)}

**Features.** What each key means; «rank» is the place among the case's eligible lawyers.

{legend(metrics["features"])}

**Held-out cases**, mean over seeds: the newest {holdout["cases"]} cases. {holdout["one_lawyer"]} with one lawyer and
{holdout["equal_labels"]} whose lawyers have one label count nowhere. The headline is NDCG at {holdout["headline_k"]}.

{ndcg_table(holdout["ndcg"])}

**Limits.** Learned from offers that were made: it knows nothing of lawyers who were never offered a kind of case, and
repeats what the earlier ranking preferred as far as position does not explain it. An interested lawyer whose contract
was not signed yet counts as 1. Feature importances are not weights.

**Origin.** git {metrics["git_sha"] or "unknown"}, Dagster run {metrics["dagster_run_id"]},
code {metrics["code_version"]}.
"""


def legend(names: Sequence[str]) -> str:
    """Markdown: key, name, meaning and source of each feature; of one the contract lost, the key."""
    known = [(name, BY_KEY.get(name)) for name in names]
    rows = [(key, f.name, f.meaning, f.source) if f else (key, "–", "–", "–") for key, f in known]
    return markdown_table(("key", "feature", "meaning", "from"), rows)


def labels(names: Sequence[str]) -> list[str]:
    """Features as a plot's axis names them."""
    return [f"{name}: {BY_KEY[name].name}" if name in BY_KEY else name for name in names]


def _label_lines(labels: dict[str, dict[str, int]]) -> str:
    return "\n".join(
        f"| {split} | " + " | ".join(str(n) for n in counts.values()) + " |" for split, counts in labels.items()
    )


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


def field_table(metrics: dict[str, Any]) -> str:
    """Markdown: what was tried, with the cross-validated headline and its standard error over cases."""
    rows = [
        (
            f"**{name}**" if name == metrics["chosen"] else name,
            *("–" if tried[of] is None else f"{tried[of]:.4f}" for of in ("mean", "standard_error")),
            tried["rounds"] or "–",
            f"{tried['seconds']:.1f} s",
        )
        for name, tried in metrics["field"].items()
    ]
    head = ("field", f"NDCG at {metrics['headline_k']}", "standard error", "rounds", "time")
    return markdown_table(head, rows, right=(1, 2, 3, 4))


def _pictures(trained: Trained, holdout: Rows) -> dict[str, bytes]:
    served, names = trained.scorers[0], trained.names
    curves = {
        name: (tried.curve.rounds, tried.curve.mean, tried.curve.deviation)
        for name, tried in trained.field.items()
        if len(tried.curve.rounds) > 1
    }
    said = labels(names)
    pictures = {"importance": plots.bars("Importance", said, served.importance().tolist(), "gain or weight")}
    tried = {name: (one.curve.best, standard_error(one.cases)) for name, one in trained.field.items() if len(one.cases)}
    if tried:
        pictures["field"] = plots.field(tried, trained.chosen, trained.k)
    if curves:
        pictures["learning_curve"] = plots.learning_curve(
            curves, {name: trained.field[name].curve.best_round for name in curves}, trained.k
        )
    if len(holdout.labels):
        given = holdout.columns(names).features
        some = np.linspace(0, len(holdout.labels) - 1, min(_EXPLAINED_ROWS, len(holdout.labels))).astype(int)
        parts = served.parts(given[some])
        pictures["shap"] = plots.bars(
            "Mean absolute part in the score", said, np.abs(parts).mean(axis=0).tolist(), "score"
        )
        pictures["shap_by_value"] = plots.shap_dependence(names, given[some], parts)
        pictures["calibration"] = plots.calibration(served.scores(given), holdout.labels)
    return pictures


def _remove_abandoned(folder: Path) -> None:
    """Partial folders of killed runs. A day old: nobody is writing them any more."""
    for partial in folder.glob(".partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(partial, ignore_errors=True)
