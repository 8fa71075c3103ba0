"""Retraining trigger: enough new reviews since those the last trained candidate has seen.

`count_new_reviews` reads, `retraining_request` is pure; a sensor combines them. A count that fails raises.
"""

from datetime import datetime
from typing import NamedTuple

from litgo_pipelines.database import Cursor, sql


class RetrainingRequest(NamedTuple):
    """A retraining to start; Dagster starts one run key only once."""

    run_key: str


def matured_reviews(cursor: Cursor, as_of: datetime, after: datetime | None = None) -> tuple[int, datetime | None]:
    """(contracts with a matured review created in (after, as_of], instant of the newest such review)."""
    cursor.execute(sql("litgo_pipelines.learning", "matured_reviews.sql"), {"as_of": as_of, "after": after})
    count, newest = cursor.fetchone()
    return int(count), newest


def count_new_reviews(cursor: Cursor, as_of: datetime) -> tuple[int, datetime | None]:
    """(matured reviews after the watermark, the watermark): the newest review of any candidate that was trained."""
    cursor.execute("SELECT max(watermark) FROM litgo.retrainings WHERE bundle_path IS NOT NULL")
    (watermark,) = cursor.fetchone()
    return matured_reviews(cursor, as_of, watermark)[0], watermark


def retraining_request(count: int, minimum: int, watermark: datetime | None) -> RetrainingRequest | None:
    """A request once `minimum` reviews stand after the watermark.

    The key changes with every further `minimum` reviews, so that a retraining that failed is tried again then, and not
    at every look.
    """
    if count < minimum:
        return None
    return RetrainingRequest(
        f"reviews-after-{watermark.isoformat() if watermark else 'the-beginning'}-{count // minimum}"
    )
