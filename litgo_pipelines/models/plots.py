"""Plots of a candidate, each as the bytes of a PNG. Pure: arrays in, picture out."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.observability.plots import canvas, figure, png

Column = NDArray[np.float64] | NDArray[np.int64]


def learning_curve(curves: Mapping[str, tuple[Column, Column, Column]], rounds: Mapping[str, int], k: int) -> bytes:
    """Cross-validated NDCG@k by round, one line per entry of the field (rounds, mean, standard error), its chosen
    rounds marked."""
    drawn, axes = figure(f"Cross-validated NDCG@{k} by round", "round", f"NDCG@{k}, mean over cases")
    for name, (steps, mean, error) in curves.items():
        (line,) = axes.plot(steps, mean, label=f"{name}: {rounds[name]} rounds")
        axes.fill_between(steps, mean - error, mean + error, alpha=0.1, color=line.get_color())
        axes.plot([rounds[name]], mean[np.asarray(steps) == rounds[name]][:1], "o", color=line.get_color())
    axes.legend()
    return png(drawn)


def field(tried: Mapping[str, tuple[float, float]], chosen: str, k: int) -> bytes:
    """What was tried: cross-validated NDCG@k (mean, standard error over cases) of each, the best on top."""
    drawn, axes = figure(f"Cross-validated NDCG@{k}, what was tried", f"NDCG@{k}, with two standard errors", "")
    names = sorted(tried, key=lambda name: tried[name][0])
    for row, name in enumerate(names):
        mean, error = tried[name]
        axes.errorbar([mean], [row], xerr=[2 * error], fmt="o", color="tab:red" if name == chosen else "tab:blue")
    axes.set_yticks(range(len(names)), [f"{name} (chosen)" if name == chosen else name for name in names], fontsize=8)
    return png(drawn)


def bars(title: str, names: Sequence[str], values: Sequence[float], label: str) -> bytes:
    """Horizontal bars, largest on top: importance by gain, mean absolute SHAP value."""
    drawn, axes = figure(title, label, "")
    order = np.argsort(values)
    axes.barh([names[i] for i in order], [values[i] for i in order])
    return png(drawn)


def shap_dependence(names: Sequence[str], features: NDArray[np.float64], contributions: NDArray[np.float64]) -> bytes:
    """One small panel per feature: its value against its SHAP value; both (rows, F). Shows direction, not only size."""
    columns = 4
    lines = -(-len(names) // columns)
    drawn = canvas(9.0, 2.2 * lines)
    panels = np.atleast_1d(drawn.subplots(lines, columns, sharey=True, squeeze=False)).ravel()
    for number, panel in enumerate(panels):
        if number >= len(names):
            panel.axis("off")
            continue
        panel.plot(features[:, number], contributions[:, number], ".", markersize=2, alpha=0.4)
        panel.set_title(names[number], fontsize=9)
        panel.axhline(0, color="grey", linewidth=0.6)
    drawn.suptitle("SHAP value by feature value")
    return png(drawn)


def calibration(scores: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 10) -> bytes:
    """Mean relevance label in each tenth of the scores, lowest first; it should rise."""
    drawn, axes = figure("Mean relevance label by tenth of the score", "tenth of the score", "mean label")
    parts = np.array_split(np.argsort(scores, kind="stable"), min(bins, len(scores)))
    axes.bar(range(1, len(parts) + 1), [labels[part].mean() for part in parts])
    return png(drawn)


def comparison(
    candidate: Mapping[str, float | None],
    baseline: Mapping[str, float | None],
    differences: Mapping[str, Mapping[str, float]],
    headline: int,
) -> bytes:
    """NDCG@k of candidate and baseline beside each other; below, its differences (mean, low, high) by slice."""
    drawn = canvas(6.4, 3.4 + 0.22 * len(differences))
    upper, lower = drawn.subplots(2, 1, height_ratios=[10, max(3, len(differences))])
    at = np.arange(len(candidate))
    for shift, name, values in ((-0.2, "candidate", candidate), (0.2, "baseline", baseline)):
        upper.bar(at + shift, [values.get(k) or 0 for k in candidate], 0.4, label=name)
    upper.set_xticks(at, [f"@{k}" for k in candidate])
    upper.set_title("NDCG on the same held-out cases")
    upper.legend(loc="lower right")
    for row, (name, found) in enumerate(differences.items()):
        lower.plot([found["low"], found["high"]], [row, row], color="tab:blue")
        lower.plot([found["mean"]], [row], "o", color="tab:red" if found["high"] < 0 else "tab:blue", label=name)
    lower.set_yticks(range(len(differences)), list(differences), fontsize=7)
    lower.invert_yaxis()
    lower.axvline(0, color="grey", linewidth=0.6)
    lower.set_xlabel(f"difference of NDCG@{headline}, with its interval")
    return png(drawn)
