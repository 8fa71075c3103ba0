"""A snapshot with a bad value fails, whatever the value."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.training_data import SCHEMA_VERSION, examine, file_schema, file_sha256, read_rows
from litgo_pipelines_tests.worlds.learning import AS_OF

Rows = list[dict[str, Any]]


def sound_rows() -> Rows:
    """Ten cases of two lawyers, the last two held out."""
    return [
        {
            "case_id": f"case {case}",
            "lawyer_id": f"lawyer {lawyer}",
            **dict.fromkeys(FEATURES, 0.5),
            "label": lawyer,
            "position": lawyer + 1,
            "split": "train" if case < 8 else "holdout",
            "case_created_at": AS_OF - timedelta(days=100 - case),
            "offered_at": AS_OF - timedelta(days=90),
            "features_logged_at": AS_OF - timedelta(days=90),
            "label_at": AS_OF - timedelta(days=80),
            "area": "Civil",
            "uf": "SP",
            "new_lawyer": False,
        }
        for case in range(10)
        for lawyer in range(2)
    ]


def save(rows: Rows, path: Path, version: int = SCHEMA_VERSION) -> Path:
    metadata = {"litgo.schema_version": str(version), "litgo.as_of": AS_OF.isoformat(), "litgo.watermark": ""}
    pq.write_table(pa.Table.from_pylist(rows, schema=file_schema().with_metadata(metadata)), path)
    return path


def change(row: int, **values: Any) -> Callable[[Rows], None]:
    def tamper(rows: Rows) -> None:
        rows[row].update(values)

    return tamper


def every(**values: Any) -> Callable[[Rows], None]:
    def tamper(rows: Rows) -> None:
        for row in rows:
            row.update(values)

    return tamper


def swap(first: int, second: int) -> Callable[[Rows], None]:
    def exchange(rows: Rows) -> None:
        rows[first], rows[second] = rows[second], rows[first]

    return exchange


def test_a_sound_snapshot_has_no_problems(tmp_path: Path) -> None:
    path = save(sound_rows(), tmp_path / "x")
    found = examine(path, sha256=file_sha256(path), min_cases=8)
    assert found.problems == []
    assert found.counts["labels"] == {
        "train": {"0": 8, "1": 8, "2": 0, "3": 0},
        "holdout": {"0": 2, "1": 2, "2": 0, "3": 0},
    }


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (change(3, A=1.01), "feature A: 1 values outside"),
        (change(3, C=-0.1), "feature C: 1 values outside"),
        (change(3, T=float("nan")), "feature T: 1 values outside"),
        (change(3, S=float("inf")), "feature S: 1 values outside"),
        (change(3, label=4), "unknown labels [4]"),
        (change(3, label=None), "1 rows without label"),
        (every(label=1), "all training labels are equal"),
        (every(label=0), "no training case has a positive label"),
        (swap(1, 2), "groups do not follow row order"),
        (change(1, split="holdout"), "1 cases are in both splits"),
        (change(1, split="test"), "unknown splits ['test']"),
        (every(split="train"), "no case is held out"),
        (change(0, case_created_at=AS_OF), "not in order of time"),
        (change(1, lawyer_id="lawyer 0"), "1 rows repeat"),
        (change(5, features_logged_at=AS_OF - timedelta(days=89)), "leakage: 1 rows have features logged after"),
        (change(5, features_logged_at=None), "leakage: 1 rows have features logged after"),
        (change(5, label_at=AS_OF + timedelta(seconds=1)), "leakage: a label uses an event"),
        (change(5, label_at=None), "leakage: 1 labels without an instant"),
    ],
)
def test_a_bad_value_is_found(tmp_path: Path, tamper: Callable[[Rows], None], problem: str) -> None:
    rows = sound_rows()
    tamper(rows)
    assert problem in "; ".join(examine(save(rows, tmp_path / "x"), min_cases=1).problems)


def test_size_schema_and_content_are_checked(tmp_path: Path) -> None:
    path = save(sound_rows(), tmp_path / "x")
    assert "8 training cases, at least 9" in examine(path, min_cases=9).problems[0]
    assert "SHA-256 differs" in examine(path, sha256="0" * 64).problems[0]
    assert "schema version 7" in examine(save(sound_rows(), tmp_path / "y", version=7)).problems[0]
    pq.write_table(pq.read_table(path).drop_columns(["U"]), tmp_path / "z")
    assert "columns" in examine(tmp_path / "z").problems[0]


def test_groups_that_do_not_follow_row_order_are_never_read(tmp_path: Path) -> None:
    rows = sound_rows()
    swap(1, 2)(rows)
    with pytest.raises(ValueError, match="row order"):
        read_rows(save(rows, tmp_path / "x"), "train")


def test_a_snapshot_of_the_eight_features_stays_readable(tmp_path: Path) -> None:
    """Of an earlier version; what it does not hold is missing for whoever asks."""
    metadata = {"litgo.schema_version": "1", "litgo.as_of": AS_OF.isoformat(), "litgo.watermark": ""}
    path = tmp_path / "old.parquet"
    pq.write_table(pa.Table.from_pylist(sound_rows(), schema=file_schema(1).with_metadata(metadata)), path)
    assert examine(path, min_cases=1).problems == []
    old = read_rows(path, "train")
    assert old.names == FEATURES
    assert np.isnan(old.columns(("R", "accepted_30d")).features).all(axis=0).tolist() == [False, True]
    unknown = save(sound_rows(), tmp_path / "new.parquet", version=9)
    assert examine(unknown).problems == ["schema version 9, expected 2"]
