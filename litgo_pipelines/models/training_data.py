"""Training snapshot reader: its schema, soundness checks, and the arrays a ranker takes.

Pure but for reading the file it is given: no database, no Dagster. Heavy imports wait until a function needs them.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.models.features import BY_KEY, FEATURES, KEYS

if TYPE_CHECKING:
    import pyarrow as pa

    from litgo_pipelines.models.learners import Rows

SCHEMA_VERSION = 2
FEATURES_OF = {1: FEATURES, SCHEMA_VERSION: KEYS}  # schema version → the features its files hold
TEST_SPLIT = "holdout"  # the test set, as stored in snapshots
SPLITS = ("train", TEST_SPLIT)
LABELS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Soundness:
    """What is wrong with a snapshot (nothing: it may be learned from), and what it holds."""

    problems: list[str]
    counts: dict[str, Any] = field(default_factory=dict)


def file_schema(version: int = SCHEMA_VERSION) -> "pa.Schema":
    """The Arrow schema of a snapshot file, without metadata. Files of earlier versions stay readable."""
    import pyarrow as pa

    instant = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            ("case_id", pa.string()),
            ("lawyer_id", pa.string()),
            *[(key, pa.float64()) for key in FEATURES_OF[version]],
            ("label", pa.int16()),
            ("position", pa.int16()),  # rank shown, from 1
            ("split", pa.string()),
            ("case_created_at", instant),
            ("offered_at", instant),
            ("features_logged_at", instant),
            ("label_at", instant),
            ("area", pa.string()),
            ("uf", pa.string()),
            ("new_lawyer", pa.bool_()),
        ]
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of the whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def examine(path: Path, *, sha256: str | None = None, min_cases: int = 100) -> Soundness:
    """Everything that would make learning from this file wrong. Columns are read one after the other.

    sha256: what the file must still be; min_cases: fewest cases of the training split.
    """
    import pyarrow.parquet as pq

    if sha256 is not None and file_sha256(path) != sha256:
        return Soundness(["the file is not the one that was written: its SHA-256 differs"])
    file = pq.ParquetFile(path)
    metadata = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}
    version = metadata.get("litgo.schema_version")
    if version not in {str(known) for known in FEATURES_OF}:
        return Soundness([f"schema version {version}, expected {SCHEMA_VERSION}"])
    names = FEATURES_OF[int(version)]
    if not file.schema_arrow.equals(file_schema(int(version)), check_metadata=False):
        return Soundness(["the columns are not those of a training snapshot"])
    rows = file.metadata.num_rows
    if not rows:
        return Soundness(["no rows: no offer is resolved and has logged features"], {"rows": 0, "cases": 0})

    def column(name: str) -> "pa.ChunkedArray":
        return file.read([name]).column(name)

    if problems := [f"{missing} rows without {name}" for name in _REQUIRED if (missing := column(name).null_count)]:
        return Soundness(problems, {"rows": rows})
    keys = _read_keys(column, rows)
    out_of_range, missing_share = _examine_features(column, rows, names)
    problems = [
        *_size_problems(keys, column, min_cases),
        *_order_problems(keys, column),
        *out_of_range,
        *_leakage_problems(column, rows, metadata),
    ]
    return Soundness(problems, _counts(keys, column, missing_share))


_REQUIRED = ("case_id", "lawyer_id", "label", "position", "split", "case_created_at", "offered_at")
_ReadColumn = Callable[[str], "pa.ChunkedArray"]


class _Keys(NamedTuple):
    """Of each row: code of its case, label, whether it is in the test set; of each run of rows of one case: its start.

    cases, training_cases, test_cases: numbers of cases.
    """

    case: NDArray[np.int32]
    labels: NDArray[np.int16]
    held_out: NDArray[np.bool_]
    starts: NDArray[np.int64]
    cases: int
    training_cases: int
    test_cases: int


def _read_keys(column: _ReadColumn, rows: int) -> _Keys:
    import pyarrow.compute as pc

    case = _codes(column("case_id"))
    held_out = pc.equal(column("split"), TEST_SPLIT).to_numpy()
    return _Keys(
        case=case,
        labels=column("label").to_numpy(),
        held_out=held_out,
        starts=np.flatnonzero(np.r_[True, case[1:] != case[:-1]]),
        cases=int(case.max()) + 1,
        training_cases=len(np.unique(case[~held_out])),
        test_cases=len(np.unique(case[held_out])),
    )


def _size_problems(keys: _Keys, column: _ReadColumn, min_cases: int) -> list[str]:
    """Too few cases, and labels or splits there is nothing to learn from."""
    import pyarrow.compute as pc

    problems = []
    training_labels = keys.labels[~keys.held_out]
    if keys.training_cases < min_cases:
        problems.append(f"{keys.training_cases} training cases, at least {min_cases} are needed")
    if not keys.test_cases:
        problems.append("no case is held out")
    if unknown := set(np.unique(keys.labels).tolist()) - set(LABELS):
        problems.append(f"unknown labels {sorted(unknown)}")
    if len(np.unique(training_labels)) < 2:
        problems.append("all training labels are equal: there is nothing to learn")
    if not (training_labels > 0).any():
        problems.append("no training case has a positive label")
    if unknown_splits := set(pc.unique(column("split")).to_pylist()) - set(SPLITS):
        problems.append(f"unknown splits {sorted(unknown_splits)}")
    return problems


def _order_problems(keys: _Keys, column: _ReadColumn) -> list[str]:
    """Rows that do not follow each other as a ranker needs them, and cases in two splits or twice."""
    problems = []
    created = column("case_created_at").to_numpy()
    if len(keys.starts) != keys.cases:
        scattered = len(keys.starts) - keys.cases
        problems.append(f"groups do not follow row order: {scattered} cases stand in more than one place")
    if (created[1:] < created[:-1]).any():
        problems.append("cases are not in order of time")
    if keys.training_cases + keys.test_cases != keys.cases:
        problems.append(f"{keys.training_cases + keys.test_cases - keys.cases} cases are in both splits")
    if (np.diff(keys.held_out.astype(np.int8)) < 0).any():
        problems.append("a training case follows a held-out one")
    lawyer = _codes(column("lawyer_id"))
    pairs = np.unique(keys.case.astype(np.int64) * (int(lawyer.max()) + 1) + lawyer)
    if repeated := len(keys.case) - len(pairs):
        problems.append(f"{repeated} rows repeat a case and lawyer")
    return problems


def _examine_features(column: _ReadColumn, rows: int, names: tuple[str, ...]) -> tuple[list[str], dict[str, float]]:
    """(features with values outside their range, share of missing values per feature)."""
    problems, missing_share = [], {}
    for name in names:
        low, high = BY_KEY[name].low, BY_KEY[name].high
        values = column(name)
        missing_share[name] = round(values.null_count / rows, 4)
        known = values.drop_null().to_numpy()
        # Written so that NaN counts as out of range.
        if outside := int((~((known >= low) & (known <= high))).sum()):
            problems.append(f"feature {name}: {outside} values outside [{low:g}, {high:g}]")
    return problems, missing_share


def _leakage_problems(column: _ReadColumn, rows: int, metadata: dict[str, str]) -> list[str]:
    """Values that were not known yet at the instant they are used for."""
    import pyarrow.compute as pc

    problems = []
    as_of = datetime.fromisoformat(metadata["litgo.as_of"])
    late = pc.greater(column("features_logged_at"), column("offered_at"))
    if leaking := rows - (pc.sum(pc.invert(late)).as_py() or 0):  # an unknown instant leaks until shown otherwise
        problems.append(f"leakage: {leaking} rows have features logged after their offer")
    newest_label = pc.max(column("label_at")).as_py()
    if unknown := column("label_at").null_count:
        problems.append(f"leakage: {unknown} labels without an instant")
    if newest_label is not None and newest_label > as_of:
        problems.append(f"leakage: a label uses an event of {newest_label.isoformat()}, after {as_of.isoformat()}")
    if metadata.get("litgo.watermark") and datetime.fromisoformat(metadata["litgo.watermark"]) > as_of:
        problems.append("leakage: the watermark is after the instant of the snapshot")
    return problems


def _counts(keys: _Keys, column: _ReadColumn, missing_share: dict[str, float]) -> dict[str, object]:
    """What the snapshot holds, under the keys that retrainings and model cards store."""
    import pyarrow.compute as pc

    rows = len(keys.case)
    lowest, highest = (edge.reduceat(keys.labels, keys.starts) for edge in (np.minimum, np.maximum))
    return {
        "rows": rows,
        "cases": keys.cases,
        "training_cases": keys.training_cases,
        "holdout_cases": keys.test_cases,
        "cases_with_one_lawyer": int((np.diff(np.r_[keys.starts, rows]) == 1).sum()),
        "cases_with_equal_labels": int((lowest == highest).sum()),
        "labels": {
            split: {str(label): int((keys.labels[mask] == label).sum()) for label in LABELS}
            for split, mask in (("train", ~keys.held_out), (TEST_SPLIT, keys.held_out))
        },
        "missing_feature_share": missing_share,
        "new_lawyer_rows": int(pc.sum(column("new_lawyer")).as_py() or 0),
    }


def read_rows(path: Path, split: str) -> "Rows":
    """Features (those of its version), labels, groups and position of one split, in the order of the file; missing
    features are NaN."""
    from litgo_pipelines.models.learners import Rows

    names = features_of(path)
    table = _read(path, split, ["case_id", *names, "label", "position"])
    features = np.empty((table.num_rows, len(names)))
    for number, name in enumerate(names):
        features[:, number] = table.column(name).to_numpy()
    return Rows(
        features=features,
        labels=table.column("label").to_numpy().astype(np.int64),
        groups=_groups(_codes(table.column("case_id"))),
        # LightGBM takes positions from 0.
        position=table.column("position").to_numpy().astype(np.int64) - 1,
        names=names,
    )


def features_of(path: Path) -> tuple[str, ...]:
    """The features a snapshot holds, in their order."""
    import pyarrow.parquet as pq

    there = set(pq.read_schema(path).names)
    return tuple(key for key in KEYS if key in there)


def read_slices(path: Path, split: str) -> dict[str, NDArray[np.bool_]]:
    """Name → mask over the cases of one split, in their order: each area, each state, cases shown to a new lawyer."""
    table = _read(path, split, ["case_id", "area", "uf", "new_lawyer"])
    groups = _groups(_codes(table.column("case_id")))
    starts = np.cumsum(groups) - groups
    slices: dict[str, NDArray[np.bool_]] = {}
    for name in ("area", "uf"):
        values = np.asarray(table.column(name).fill_null("unknown").to_numpy(), dtype=str)[starts]
        slices |= {f"{name} {value}": values == value for value in np.unique(values)}
    if len(starts):
        slices["new lawyers"] = np.logical_or.reduceat(table.column("new_lawyer").to_numpy(), starts)
    return slices


def _read(path: Path, split: str, columns: list[str]) -> "pa.Table":
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns, filters=[("split", "=", split)])


def _groups(case: NDArray[np.int32]) -> NDArray[np.int64]:
    """Sizes of the runs of equal codes. Raises ValueError when a case stands in more than one run."""
    starts = np.flatnonzero(np.r_[True, case[1:] != case[:-1]]) if len(case) else np.empty(0, dtype=np.int64)
    if len(np.unique(case)) != len(starts):
        raise ValueError("groups do not follow row order")
    return np.diff(np.r_[starts, len(case)]).astype(np.int64)


def _codes(column: "pa.ChunkedArray") -> NDArray[np.int32]:
    """Strings as integers, 0 … distinct - 1, shape (rows,)."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy()
