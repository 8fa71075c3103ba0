"""A code location with an asset and two jobs, one of them partitioned, for what stands in front of the web pages."""

import dagster as dg

DAYS = dg.StaticPartitionsDefinition(["one", "two"])


@dg.op
def work(context: dg.OpExecutionContext) -> None:
    context.log.info("worked")


@dg.job
def plain_job() -> None:
    work()


@dg.job(partitions_def=DAYS)
def partitioned_job() -> None:
    work()


@dg.asset
def reported() -> None:
    """Others report it."""


@dg.asset(group_name="equity", partitions_def=DAYS)
def lawyer_load() -> None:
    """Has the name and the group of one of ours, so that the limits of its job are its limits."""


defs = dg.Definitions(
    assets=[reported, lawyer_load], jobs=[plain_job, partitioned_job], executor=dg.in_process_executor
)
