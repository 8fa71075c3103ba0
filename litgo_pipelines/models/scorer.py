"""Scorers: a trained ranker of any kind as one text, what it says of rows, and what explains that. Pure.

Kinds: trees of LightGBM (whatever they were trained for), a linear score, a rule of one feature, a blend of several.
All are written as JSON, served from a file that is named by its SHA-256, and compared with that name before they are
parsed. Scores are log-odds of being preferred, as far as a kind has them: `models/ranking.py` makes relevance of them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from litgo_pipelines.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd
    from lightgbm import Booster

FORMAT = 1


class ScorerDamaged(RuntimeError):
    """The file is not what was written; permanent."""


class Scorer(Protocol):
    """`names`: the features it takes, in order."""

    @property
    def kind(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def scores(self, features: Floats) -> Floats:
        """features (rows, len(names)), NaN for missing → (rows,), finite."""

    def parts(self, features: Floats) -> Floats:
        """What each feature adds to the score, (rows, len(names)); the rest of a score is the same in all rows."""

    def importance(self) -> Floats:
        """How much the scorer makes of each feature, (len(names),), not below 0; comparable within a scorer only."""

    def as_dict(self) -> dict[str, object]: ...


@dataclass(frozen=True)
class Trees:
    """LightGBM's own text. The score is (what the trees say − center) / scale."""

    kind: str
    names: tuple[str, ...]
    text: str = field(repr=False)
    center: float = 0.0
    scale: float = 1.0

    @cached_property
    def booster(self) -> "Booster":
        import lightgbm as lgb

        return lgb.Booster(model_str=self.text)

    def scores(self, features: Floats) -> Floats:
        said = np.asarray(self.booster.predict(features, raw_score=True), dtype=np.float64)
        return said if (self.center, self.scale) == (0.0, 1.0) else (said - self.center) / self.scale

    def parts(self, features: Floats) -> Floats:
        return np.asarray(self.booster.predict(features, pred_contrib=True), dtype=np.float64)[:, :-1] / self.scale

    def importance(self) -> Floats:
        return np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "names": list(self.names),
            "text": self.text,
            "center": self.center,
            "scale": self.scale,
        }


@dataclass(frozen=True)
class Linear:
    """weights · (value − center) / spread, and `absent` where a value is missing; all (len(names),)."""

    names: tuple[str, ...]
    weights: Floats
    center: Floats
    spread: Floats
    absent: Floats
    kind: str = "linear"

    def scores(self, features: Floats) -> Floats:
        return np.asarray(self.parts(features).sum(axis=1))

    def parts(self, features: Floats) -> Floats:
        features = np.ascontiguousarray(features)  # a sum depends on the order in memory, bit for bit
        missing = np.isnan(features)
        scaled = (np.where(missing, self.center, features) - self.center) / self.spread
        return np.where(missing, self.absent, scaled * self.weights)

    def importance(self) -> Floats:
        return np.abs(self.weights)

    def as_dict(self) -> dict[str, object]:
        columns = {name: getattr(self, name).tolist() for name in ("weights", "center", "spread", "absent")}
        return {"kind": self.kind, "names": list(self.names), **columns}


@dataclass(frozen=True)
class Rule:
    """One line without learning: the feature itself, (value − center) / spread; a missing value is the lowest."""

    key: str
    center: float = 0.0
    spread: float = 1.0
    lowest: float = 0.0
    kind: str = "rule"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.key,)

    def scores(self, features: Floats) -> Floats:
        return self.parts(features)[:, 0]

    def parts(self, features: Floats) -> Floats:
        return (np.where(np.isnan(features), self.lowest, features) - self.center) / self.spread

    def importance(self) -> Floats:
        return np.ones(1)

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "key": self.key, "center": self.center, "spread": self.spread, "lowest": self.lowest}


@dataclass(frozen=True)
class Blend:
    """The mean of several scorers' scores, each brought to center 0 and spread 1; they may take different features."""

    members: tuple[Scorer, ...]
    centers: tuple[float, ...]
    spreads: tuple[float, ...]
    kind: str = "blend"

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for member in self.members for name in member.names))

    def _columns(self, scorer: Scorer) -> list[int]:
        return [self.names.index(name) for name in scorer.names]

    def scores(self, features: Floats) -> Floats:
        total = np.zeros(len(features))
        for scorer, center, spread in zip(self.members, self.centers, self.spreads, strict=True):
            total += (scorer.scores(features[:, self._columns(scorer)]) - center) / spread / len(self.members)
        return total

    def parts(self, features: Floats) -> Floats:
        total = np.zeros(features.shape)
        for scorer, spread in zip(self.members, self.spreads, strict=True):
            columns = self._columns(scorer)
            total[:, columns] += scorer.parts(features[:, columns]) / spread / len(self.members)
        return total

    def importance(self) -> Floats:
        total = np.zeros(len(self.names))
        for scorer in self.members:
            own = scorer.importance()
            total[self._columns(scorer)] += own / max(float(own.sum()), 1e-12)
        return total

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "members": [member.as_dict() for member in self.members],
            "centers": list(self.centers),
            "spreads": list(self.spreads),
        }


def dumps(scorer: Scorer) -> str:
    """The scorer as text; the same scorer gives the same text."""
    return json.dumps({"format": FORMAT, **scorer.as_dict()}, sort_keys=True, allow_nan=False)


def loads(text: str) -> Scorer:
    """The scorer that `dumps` wrote. Raises ScorerDamaged."""
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise ScorerDamaged(f"a scorer of format {values['format']}, this code reads {FORMAT}")
        return _from_dict(values)
    except (KeyError, TypeError, ValueError) as error:
        raise ScorerDamaged(f"no scorer: {type(error).__name__} {error}") from error


def _from_dict(values: dict[str, Any]) -> Scorer:
    kind = values["kind"]
    if kind == "linear":
        weights, center, spread, absent = (
            np.asarray(values[name], dtype=np.float64) for name in ("weights", "center", "spread", "absent")
        )
        return Linear(tuple(values["names"]), weights, center, spread, absent)
    if kind == "rule":
        return Rule(values["key"], values["center"], values["spread"], values["lowest"])
    if kind == "blend":
        parts = values["members"] if "members" in values else [values["first"], values["second"]]  # as two were kept
        return Blend(tuple(map(_from_dict, parts)), tuple(values["centers"]), tuple(values["spreads"]))
    return Trees(kind, tuple(values["names"]), values["text"], values["center"], values["scale"])


def earlier_trees(text: str, names: Sequence[str]) -> Trees:
    """LightGBM's text as versions before this format kept it."""
    return Trees("lambdamart", tuple(names), text)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def file_name(text: str) -> str:
    """What the served file is called: its content is compared with it before it is parsed."""
    return f"scorer-{digest(text)}.json"


@dataclass(frozen=True)
class Served:
    """A scorer as MLflow's pyfunc calls it: columns by name."""

    scorer: Scorer

    def predict(self, frame: "pd.DataFrame", params: dict[str, object] | None = None) -> Floats:
        return self.scorer.scores(frame[list(self.scorer.names)].to_numpy(dtype=np.float64))

    def get_raw_model(self) -> Scorer:
        return self.scorer


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls with the file of a version. Raises ScorerDamaged when it is not what was registered."""
    file = Path(path)
    text = file.read_text(encoding="utf-8")
    if file.name != file_name(text):
        raise ScorerDamaged(f"{file.name} was changed after it was registered: its SHA-256 differs")
    return Served(loads(text))
