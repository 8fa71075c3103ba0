"""Jobs: one list of what each runs, when, and for how long it may. Pure.

Read by automation, health, metrics and docs. Jobs that a person starts are listed too, so that their runs are counted;
their steps stand in the stages.
"""

from collections.abc import Iterable, Mapping
from datetime import time
from typing import NamedTuple

from litgo_pipelines.owners import Owner

HOUR = 3600.0
FOLLOWING_SENSOR = "following_sensor"  # requests what follows another asset; its runs are of no job of the list
MOST_SECONDS = 24 * 3600  # of one run, however many partitions it has


class Job(NamedTuple):
    """groups, assets: what it materialises. contract: the marketplace's schema is checked first. cron: in TIMEZONE.

    exams: whether it runs the EXAMS; every other job leaves them out.
    pools: of its steps; a pool lets one run in at a time. late_after_hours: it is late without a success for longer;
    None: it runs when there is work.
    """

    name: str
    owner: str
    description: str
    pools: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    contract: bool = False
    exams: bool = False
    max_minutes: int = 10
    cron: str | None = None
    late_after_hours: float | None = None
    by_hand: bool = False


# (asset, check) that examine a model on known texts: nightly, never between a case and its offers.
EXAMS = (
    ("triaged_cases", "danger_is_recognised"),
    ("text_embeddings", "similarity_finds_the_area"),
    ("text_embeddings", "personal_data_is_masked"),
)
NIGHTLY, HOURLY, WEEKLY = 26.0, 2.5, 8 * 24.0  # hours until a job of that rhythm is late

AUTOMATIC = (
    Job(
        "nightly_equity",
        Owner.DATA,
        "Load of every lawyer and distribution of offers for the day that ended at 02:00.",
        pools=("equity",),
        groups=("equity",),
        contract=True,
        max_minutes=60,
        cron="0 2 * * *",
        late_after_hours=NIGHTLY,
    ),
    Job(
        "evidence",
        Owner.DATA,
        "What is known of each lawyer: outcomes, curriculum, response time, reviews.",
        pools=("evidence",),
        groups=("evidence",),
        contract=True,
        max_minutes=60,
        cron="30 2 * * *",
        late_after_hours=NIGHTLY,
    ),
    Job(
        "embeddings",
        Owner.DATA,
        "Vectors of texts that have none yet; the models that read texts are examined on known ones.",
        groups=("embeddings",),
        exams=True,
        max_minutes=180,
        cron="0 3 * * *",
        late_after_hours=NIGHTLY,
    ),
    Job(
        "allocation_calibration",
        Owner.DATA,
        "Smallest lambda that would have spread the offers of the last weeks evenly enough.",
        pools=("calibration",),
        assets=("allocation_parameters",),
        max_minutes=120,
        cron="0 4 * * 0",
        late_after_hours=WEEKLY,
    ),
    Job(
        "retention",
        Owner.DATA,
        "Deletes what is older than its term.",
        pools=("retention",),
        groups=("retention",),
        max_minutes=120,
        cron="30 4 * * *",
        late_after_hours=NIGHTLY,
    ),
    Job(
        "followed_deletions",
        Owner.DATA,
        "Erases what the marketplace has deleted, and what came back of the erased.",
        pools=("persons",),
        groups=("persons",),
        max_minutes=120,
        cron="15 4 * * *",
        late_after_hours=NIGHTLY,
    ),
    Job(
        "backup",
        Owner.DATA,
        "An encrypted backup in LITGO_BACKUP_FOLDER, where one is set.",
        pools=("backup",),
        groups=("backup",),
        max_minutes=180,
        cron="0 5 * * *",
        late_after_hours=NIGHTLY,
    ),
    Job(
        "offer_expiry",
        Owner.DATA,
        "Expires offers that nobody answered in time, and notifies whoever has to know what is still waiting.",
        assets=("expired_offers", "parked_cases"),
        cron="5 * * * *",
        late_after_hours=HOURLY,
    ),
    Job(
        "matching",
        Owner.DATA,
        "New cases → triage and vectors → offers. The marketplace's schema is checked every night, not here.",
        pools=("intake", "matching"),
        assets=("triaged_cases", "text_embeddings", "case_offers", "parked_cases"),
    ),
    Job(
        "contracts",
        Owner.MARKETPLACE,
        "Chosen lawyers → documents → DocuSign or paper; signatures → active contracts.",
        pools=("contracts",),
        groups=("contracts",),
        max_minutes=30,
    ),
    Job(
        "notifications",
        Owner.MARKETPLACE,
        "Sends the outbox by push and e-mail.",
        pools=("notifications",),
        groups=("notifications",),
    ),
    Job(
        "suppression_lists",
        Owner.MARKETPLACE,
        "Reads SendGrid's suppression lists, so that messages to such addresses go another way.",
        pools=("notifications",),
        groups=("suppressions",),
        cron="25 * * * *",
        late_after_hours=HOURLY,
    ),
    Job(
        "retraining",
        Owner.LEARNING,
        "Snapshot → candidate → registered version → evaluation against the champion.",
        pools=("learning",),
        groups=("learning",),
        contract=True,
        max_minutes=180,
    ),
    Job(
        "registration",
        Owner.LEARNING,
        "Uploads a trained model that MLflow could not take at the time, and evaluates it.",
        pools=("learning",),
        assets=("registered_model", "model_evaluation"),
        max_minutes=60,
    ),
    Job(
        "registry_reconciliation",
        Owner.LEARNING,
        "Brings MLflow's aliases and tags in line with the ledger.",
        pools=("lifecycle",),
        assets=("reconciled_registry",),
    ),
    Job(
        "experiments",
        Owner.LEARNING,
        "Challenger → experiment; cutoff → decision.",
        pools=("experiments",),
        assets=("experiment_cutoffs",),
    ),
    Job(
        "quality_checks",
        Owner.LEARNING,
        "Checks the champion's outcomes, errors and features, and rolls it back if they degrade.",
        pools=("quality_monitor",),
        assets=("quality_monitor",),
    ),
)
BY_HAND = (
    Job(
        "record_signature",
        Owner.MARKETPLACE,
        "Records a signature on paper. The contracts still waiting are listed by the asset contract_requests.",
        by_hand=True,
    ),
    Job(
        "promote_model",
        Owner.LEARNING,
        "Promotes a candidate or the challenger to champion.",
        pools=("lifecycle",),
        by_hand=True,
    ),
    Job(
        "export_person",
        Owner.DATA,
        "Writes everything held about a client or lawyer into one file under LITGO_HOME/exports.",
        by_hand=True,
    ),
    Job(
        "erase_person",
        Owner.DATA,
        "Erases everything held about a client or lawyer.",
        pools=("persons",),
        max_minutes=120,
        by_hand=True,
    ),
    Job("roll_back_model", Owner.LEARNING, "Rolls the champion back.", ("lifecycle",), by_hand=True),
    Job(
        "lift_freeze",
        Owner.LEARNING,
        "Resumes promotions after a freeze.",
        pools=("lifecycle",),
        by_hand=True,
    ),
    Job(
        "training_sweep",
        Owner.LEARNING,
        "Compares configurations of the training on a retraining's snapshot; registers nothing.",
        pools=("learning",),
        max_minutes=180,
        by_hand=True,
    ),
    Job(
        "start_experiment",
        Owner.LEARNING,
        "Starts an experiment with the open challenger.",
        pools=("experiments",),
        by_hand=True,
    ),
    Job(
        "ramp_experiment",
        Owner.LEARNING,
        "Changes the share of new clients who get the challenger.",
        pools=("experiments",),
        by_hand=True,
    ),
    Job(
        "stop_experiment",
        Owner.LEARNING,
        "Ends the running experiment; the champion stays.",
        pools=("experiments",),
        by_hand=True,
    ),
)
JOBS = {job.name: job for job in (*AUTOMATIC, *BY_HAND)}


def time_of_day(job: Job) -> time:
    """When a job that goes once a day does, in TIMEZONE. Raises ValueError for any other."""
    minute, hour, *days = (job.cron or "").split() or ("", "")
    if days != ["*"] * 3 or not (minute + hour).isdecimal():
        raise ValueError(f"{job.name} does not go once a day: {job.cron}")
    return time(int(hour), int(minute))


def run_tags(job: Job) -> dict[str, str]:
    """A run whose process died is run again twice, one that hangs is ended; what a person decides runs once."""
    return {"dagster/max_retries": "0" if job.by_hand else "2", "dagster/max_runtime": str(job.max_minutes * 60)}


def limits_of(assets: Mapping[str, str | None], partitions: int = 1) -> dict[str, str]:
    """Tags of a run that materialises assets (name → group) outside of a job, as a person starts it or a backfill.

    Those of the jobs that make them; the longest time counts, once per partition, up to a day. Empty where no job does.
    """
    makers = [
        job
        for job in AUTOMATIC
        if any(name in job.assets or (group is not None and group in job.groups) for name, group in assets.items())
    ]
    if not makers:
        return {}
    longest = max(makers, key=lambda job: job.max_minutes)
    seconds = min(longest.max_minutes * 60 * max(partitions, 1), MOST_SECONDS)
    return {**run_tags(longest), "dagster/max_runtime": str(max(seconds, longest.max_minutes * 60))}


def freshness_hours(group: str | None, asset: str, jobs: Iterable[Job] = AUTOMATIC) -> float | None:
    """Hours after which an asset is stale: those of the scheduled job that materialises it; None where none does."""
    limits = [
        job.late_after_hours for job in jobs if job.late_after_hours and (group in job.groups or asset in job.assets)
    ]
    return min(limits, default=None)
