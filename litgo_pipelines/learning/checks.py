"""Checks that must pass before anything is learned from a snapshot."""

import dagster as dg

from litgo_pipelines.learning import retrainings
from litgo_pipelines.learning.assets import POOL, StepConfig, root_run_id, training_snapshot
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings


@dg.asset_check(
    asset=training_snapshot,
    blocking=True,
    pool=POOL,
    description="Size, label mix, feature ranges, groups in row order, no leakage, no case in two splits, and the file "
    "is still the one that was written. Executed alone, it looks at the newest snapshot.",
)
def training_snapshot_is_sound(
    context: dg.AssetCheckExecutionContext, config: StepConfig, postgres: Postgres
) -> dg.AssetCheckResult:
    from litgo_pipelines.models import training_data

    with postgres.connect() as connection, connection.cursor() as cursor:
        own = config.retraining or root_run_id(context.run)
        if not config.retraining and not retrainings.begun(cursor, own):  # the check was started alone
            newest = retrainings.newest_with_snapshot(cursor)
            if newest is None:
                return dg.AssetCheckResult(passed=False, description="there is no snapshot yet: run training_snapshot")
            own = newest
        row = retrainings.get(cursor, own)
    row.require("snapshot_path", "snapshot_sha256")
    path = settings().home / str(row.snapshot_path)
    if not path.exists():
        return dg.AssetCheckResult(passed=False, description=f"{row.snapshot_path} is gone: run the snapshot again")
    found = training_data.examine(path, sha256=row.snapshot_sha256, min_cases=settings().learning_min_cases)
    return dg.AssetCheckResult(
        passed=not found.problems,
        description="; ".join(found.problems) or "sound",
        metadata={
            "problems": dg.MetadataValue.md("\n".join(f"- {problem}" for problem in found.problems) or "none"),
            "counts": dg.MetadataValue.json({**found.counts, "excluded": (row.snapshot or {}).get("excluded", {})}),
        },
    )


checks = [training_snapshot_is_sound]
