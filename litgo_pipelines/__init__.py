"""LITGO's data and learning pipelines. Start at `definitions.py`: it lists the stages in the order data flows."""

import warnings

# Dagster announces the parameters it calls beta at every import of every step; the lock file pins what we rely on.
warnings.filterwarnings("ignore", message=r"Parameter `(backfill_policy|freshness_policy|owners)` of")
