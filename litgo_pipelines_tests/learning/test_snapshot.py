"""Every label rule and every bad input, on hand-written rows in a real Postgres."""

import os
import resource
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest

from litgo_pipelines.database import arrow, connect
from litgo_pipelines.learning import snapshot
from litgo_pipelines.models.training_data import examine, file_schema, read_rows, read_slices
from litgo_pipelines_tests.worlds.learning import AS_OF, HOUR, SENT, Marketplace

FUTURE = AS_OF + timedelta(seconds=1)


def write(market: Marketplace, folder: Path, as_of: datetime = AS_OF) -> tuple[snapshot.Snapshot, list[dict[str, Any]]]:
    with connect(market.url) as connection, connection.cursor() as cursor:
        written = snapshot.write_snapshot(cursor, as_of, 0.2, folder)
    return written, pq.read_table(written.path).to_pylist()


def only(market: Marketplace, folder: Path) -> dict[str, Any]:
    _, (row,) = write(market, folder)
    return row


# offer status, answered after, contract, review → label, newest event used
ANSWERED = SENT + 2 * HOUR
SIGNED = SENT + 31 * HOUR
REVIEWED = SENT + timedelta(days=20)
RULES: dict[str, tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None, int, datetime]] = {
    "declined": ({"status": "declined", "responded_at": ANSWERED}, None, None, 0, ANSWERED),
    "expired": ({"status": "expired"}, None, None, 0, SENT + 24 * HOUR),
    "pending past its time": ({"status": "pending"}, None, None, 0, SENT + 24 * HOUR),
    "interested": ({"status": "interested", "responded_at": ANSWERED}, None, None, 1, ANSWERED),
    "closed after an answer": ({"status": "closed", "responded_at": ANSWERED}, None, None, 1, ANSWERED),
    "contract signed": ({"status": "interested", "responded_at": ANSWERED}, {}, None, 2, SIGNED),
    "signed by one only": (
        {"status": "interested", "responded_at": ANSWERED},
        {"signed_client": None},
        None,
        1,
        ANSWERED,
    ),
    "signed in the future": (
        {"status": "interested", "responded_at": ANSWERED},
        {"signed_lawyer": FUTURE},
        None,
        1,
        ANSWERED,
    ),
    "canceled": ({"status": "interested", "responded_at": ANSWERED}, {"status": "canceled"}, None, 1, ANSWERED),
    "contract of the future": (
        {"status": "interested", "responded_at": ANSWERED},
        {"created_at": FUTURE},
        None,
        1,
        ANSWERED,
    ),
    "closed, no review": ({"status": "interested", "responded_at": ANSWERED}, {"status": "closed"}, None, 2, SIGNED),
    "four stars": (
        {"status": "interested", "responded_at": ANSWERED},
        {"status": "closed"},
        {"rating": 4},
        3,
        REVIEWED,
    ),
    "three stars": (
        {"status": "interested", "responded_at": ANSWERED},
        {"status": "closed"},
        {"rating": 3},
        2,
        SIGNED,
    ),
    "three stars but settled": (
        {"status": "interested", "responded_at": ANSWERED},
        {"status": "closed"},
        {"rating": 3, "outcome": "settled"},
        3,
        REVIEWED,
    ),
    "lost": (
        {"status": "interested", "responded_at": ANSWERED},
        {"status": "closed"},
        {"rating": 2, "outcome": "lost"},
        2,
        SIGNED,
    ),
    "reviewed while active": (
        {"status": "interested", "responded_at": ANSWERED},
        {"status": "active"},
        {"rating": 5},
        2,
        SIGNED,
    ),
    "review of the future": (
        {"status": "interested", "responded_at": ANSWERED},
        {"status": "closed"},
        {"rating": 5, "outcome": "won", "created_at": FUTURE},
        2,
        SIGNED,
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_label(market: Marketplace, tmp_path: Path, name: str) -> None:
    offer, contract, review, label, instant = RULES[name]
    pair = market.offer(**offer)
    if contract is not None:
        made = market.contract(pair, **contract)
        if review is not None:
            market.review(made, **review)
    row = only(market, tmp_path)
    assert (row["label"], row["label_at"]) == (label, instant)


@pytest.mark.parametrize(
    ("offer", "reason"),
    [
        ({"status": "pending", "sent_at": AS_OF - HOUR}, "not resolved yet"),
        ({"status": "interested", "sent_at": AS_OF - HOUR, "responded_at": FUTURE}, "not resolved yet"),
        ({"status": "interested"}, "answered at an unknown time"),
        ({"match": False}, "no features logged"),
        ({"features": []}, "no features logged"),
        ({"logged_at": SENT + HOUR}, "features logged after the offer"),
        ({"sent_at": FUTURE, "expires_at": AS_OF - HOUR}, "after the instant"),
    ],
)
def test_excluded_and_counted(market: Marketplace, tmp_path: Path, offer: dict[str, Any], reason: str) -> None:
    market.offer(**offer)
    written, rows = write(market, tmp_path)
    assert rows == []
    assert written.excluded == {reason: 1}


def test_an_earlier_instant_sees_the_world_as_it_was(market: Marketplace, tmp_path: Path) -> None:
    pair = market.offer("interested", responded_at=ANSWERED)
    market.review(market.contract(pair, "closed"))
    labels = [
        [row["label"] for row in write(market, tmp_path, as_of)[1]]
        for as_of in (SENT + HOUR, ANSWERED, SIGNED, REVIEWED - HOUR, REVIEWED)
    ]
    assert labels == [[], [1], [2], [2], [3]]


def test_duplicate_reviews_and_contracts_do_not_multiply_rows(market: Marketplace, tmp_path: Path) -> None:
    market.execute("ALTER TABLE public.reviews DROP CONSTRAINT reviews_contract_id_key")
    market.execute("DROP INDEX public.contracts_one_open_per_case")
    pair = market.offer("interested", responded_at=ANSWERED)
    for _ in range(2):
        market.contract(pair, "active")  # two open contracts
        closed = market.contract(pair, "closed")
        market.review(closed, 5)
        market.review(closed, 1)
    assert only(market, tmp_path)["label"] == 3


def test_ratings_out_of_range_say_nothing(market: Marketplace, tmp_path: Path) -> None:
    market.execute("ALTER TABLE public.reviews DROP CONSTRAINT reviews_rating_check")
    for rating in (0, 9):
        market.review(market.contract(market.offer("interested", responded_at=ANSWERED), "closed"), rating)
    assert [row["label"] for row in write(market, tmp_path)[1]] == [2, 2]


def test_features_are_those_logged_and_what_is_no_number_is_missing(market: Marketplace, tmp_path: Path) -> None:
    market.offer(features={"A": 0.1234567890123456, "S": "0.9", "T": None, "G": 1})
    row = only(market, tmp_path)
    assert [row[key] for key in "ASTGQ"] == [0.1234567890123456, None, None, 1.0, None]


def test_rows_follow_cases_in_time_and_lawyers_as_shown(market: Marketplace, tmp_path: Path) -> None:
    lawyers = [market.lawyer() for _ in range(3)]
    cases = [market.case(SENT - days * timedelta(days=1)) for days in (1, 5, 3, 4, 2)]
    for case in cases:
        for lawyer, score in zip(lawyers, (0.2, 0.9, 0.5), strict=True):
            market.offer(case=case, lawyer=lawyer, raw_score=score, match=(lawyer, case) != (lawyers[1], cases[0]))
    written, rows = write(market, tmp_path)
    in_time = [cases[i] for i in (1, 3, 2, 4, 0)]
    assert [row["case_id"] for row in rows] == [case for case in in_time for _ in range(3)][:-1]
    assert [row["lawyer_id"] for row in rows[:3]] == [lawyers[1], lawyers[2], lawyers[0]]
    assert [row["position"] for row in rows] == [1, 2, 3] * 4 + [2, 3]  # the first was shown, but has no features
    assert [row["split"] for row in rows] == ["train"] * 12 + ["holdout"] * 2
    assert (written.cases, written.training_cases, written.rows) == (5, 4, 14)
    holdout = read_rows(written.path, "holdout")
    assert holdout.groups.tolist() == [2]
    assert holdout.position is not None
    assert holdout.position.tolist() == [1, 2]


def test_slices_by_area_state_and_new_lawyers(market: Marketplace, tmp_path: Path) -> None:
    new = market.lawyer(SENT - timedelta(days=59))
    odd = 'Família, "sucessões"\n'
    market.offer(case=market.case(SENT - 4 * HOUR, area=odd, coords="(-46.6,-23.5)"))
    market.offer(case=market.case(SENT - 3 * HOUR, area=None), lawyer=new)
    written, rows = write(market, tmp_path)
    assert [(r["area"], r["uf"], r["new_lawyer"]) for r in rows] == [(odd, "SP", False), (None, "??", True)]
    assert {k: v.tolist() for k, v in read_slices(written.path, "train").items()} == {
        f"area {odd}": [True],
        "uf SP": [True],
        "new lawyers": [False],
    }


def test_empty_tables_give_a_snapshot_that_the_check_refuses(market: Marketplace, tmp_path: Path) -> None:
    written, rows = write(market, tmp_path)
    assert rows == []
    assert (written.cases, written.watermark, written.excluded) == (0, None, {})
    assert pq.read_schema(written.path).equals(file_schema(), check_metadata=False)
    assert "no rows" in examine(written.path).problems[0]


def test_the_same_data_give_the_same_file(learnable_market: Marketplace, tmp_path: Path) -> None:
    first, _ = write(learnable_market, tmp_path)
    second, _ = write(learnable_market, tmp_path)
    assert first == second
    assert [path.name for path in tmp_path.iterdir()] == [f"{first.sha256}.parquet"]
    assert examine(first.path, sha256=first.sha256, min_cases=100).problems == []
    assert first.watermark == max(
        instant
        for (instant,) in learnable_market.execute("SELECT created_at FROM reviews WHERE created_at <= %s", (AS_OF,))
    )


def test_several_blocks_are_one_snapshot(
    learnable_market: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = write(learnable_market, tmp_path)
    monkeypatch.setattr(snapshot, "_BLOCK_BYTES", 20_000)
    parts, rows = write(learnable_market, tmp_path)
    assert pq.ParquetFile(parts.path).num_row_groups > 5
    assert rows == expected
    assert parts.rows == whole.rows


def test_disk_full_leaves_nothing_and_says_what_to_do(learnable_market: Marketplace, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a write beyond it fails as on a full disk
    try:
        with pytest.raises(snapshot.DiskFull, match="LITGO_HOME"):
            write(learnable_market, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    assert write(learnable_market, tmp_path)[0].rows == 2400


def test_a_database_that_goes_away_in_the_middle_is_an_error(
    learnable_market: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_BLOCK_BYTES", 20_000)
    original = arrow._batches

    def killing(*arguments: Any) -> Any:
        for number, batch in enumerate(original(*arguments)):
            if number == 0:
                learnable_market.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE 'COPY%%'"
                )
            yield batch

    monkeypatch.setattr(arrow, "_batches", killing)
    prepare = snapshot.prepare

    def repeated(*arguments: Any) -> Any:
        """More rows than the pipe and its buffers hold: the database is still sending when it goes."""
        query, counts = prepare(*arguments)
        return f"SELECT r.* FROM ({query}) AS r, generate_series(1, 100)", counts

    monkeypatch.setattr(snapshot, "prepare", repeated)
    with pytest.raises(psycopg2.Error):
        write(learnable_market, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_partial_files_of_killed_runs_are_removed_after_a_day(market: Marketplace, tmp_path: Path) -> None:
    old, recent = tmp_path / ".partial-old", tmp_path / ".partial-recent"
    for path in (old, recent):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    write(market, tmp_path)
    assert not old.exists()
    assert recent.exists()
