"""Limit per day: nobody is offered more in a short time than capacity allows, while others can be asked. Pure.

A token bucket, read off the ledger: it fills with capacity · 5 / 30 offers a day and holds `burst_days` of them; every
offer of any status takes one. So in a stretch of d days at most d + burst days' worth is offered, and one in any case;
looked at for the stretches of `SPANS` that end now.
"""

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.arrays import Floats
from litgo_pipelines.matching.allocation import OFFERS_PER_CASE

SPANS = (1, 3, 10, 30)  # days
# At 7 the limit cost relevance where everybody is busy: who was free was asked, whatever the case (docs/evaluation.md).
BURST_DAYS = 10.0

_NOISE = 1e-9


def free(offers_in: Floats, capacity: Floats, burst_days: float) -> NDArray[np.bool_]:
    """Whose bucket has an offer left, shape (n,). offers_in: (spans, n); capacity: cases a month, (n,)."""
    daily = capacity * (OFFERS_PER_CASE / 30)
    allowed = np.maximum(np.outer(np.array(SPANS) + burst_days, daily), 1.0)
    return np.asarray((offers_in + 1 <= allowed + _NOISE).all(axis=0))
