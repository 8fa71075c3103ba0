"""Generator of docs/metrics.md from the code: `python -m litgo_pipelines.tools.metrics_page`."""

from collections.abc import Iterator
from pathlib import Path

from litgo_pipelines.observability import health
from litgo_pipelines.observability.gauges import GAUGES
from litgo_pipelines.observability.metrics import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

_HEAD = """# Metrics

`litgo exporter` serves them at `/metrics`; `/healthz` says that it lives, `/readyz` that what it shows is not older
than two minutes. Counters and histograms are rows that the work itself increments in its own transaction, so that they
survive restarts and count once; gauges are read every `EXPORTER_REFRESH_SECONDS`, expensive ones less often. A scrape
never asks a database: when one is down the last values stay, `database_up` and `litgo_source_up` are 0 and
`litgo_metrics_age_seconds` grows. What alerts on them: [runbooks](runbooks/README.md).

Sources are `database`, `statistics` (the expensive gauges, so that a slow one is no dead database) and `dagster`, each
read by a thread of its own, which gives up after a minute, also on a server that accepts and never answers. The series
are bounded: counters take the label values below and no others, a gauge shows its first rows and leaves out the rest.

## system_health_score

The weighted mean of its parts (`system_health_part`), and 0 while the database cannot be read:

| part | weight | 1 means | 0 means |
|---|--:|---|---|
"""
_PARTS = {
    "database": ("read in the last two minutes", "not read"),
    "writes": ("the database takes writes", "it is read-only"),
    "daemons": ("every heartbeat within {heartbeat:.0f} s", "one three times as old, or none at all"),
    "jobs": ("every job of the table below within its time", "one three times as late"),
    "queues": ("nothing waits longer than usual", "one queue three times as long"),
    "breakers": ("all circuit breakers closed", "all open"),
    "champion": ("a model serves", "½: the heuristic ranker ranks"),
}


def page() -> str:
    return "\n".join([*_lines(), ""])


def _lines() -> Iterator[str]:
    yield _HEAD.rstrip("\n")
    for part, weight in health.WEIGHTS.items():
        well, ill = (text.format(heartbeat=health.HEARTBEAT) for text in _PARTS[part])
        yield f"| {part} | {weight:g} | {well} | {ill} |"
    yield "\n| job | late after |\n|---|--:|"
    for job, seconds in health.FRESH.items():
        yield f"| `{job}` | {seconds / 3600:g} h |"
    yield "\n| queue | usual |\n|---|--:|"
    for queue, seconds in health.QUEUES.items():
        yield f"| `{queue}` | {seconds / 60:g} min |"
    yield "\n## Counted\n\n| name | type | labels | |\n|---|---|---|---|"
    for name, metric in METRICS.items():
        kind = "histogram" if metric.buckets else "counter"
        yield f"| `{name}` | {kind} | {', '.join(metric.labels)} | {metric.help} |"
    yield "\n## Read\n\n| name | labels | series at most | read every | |\n|---|---|--:|---|---|"
    for name, gauge in GAUGES.items():
        every = f"{gauge.every:g} s" if gauge.every else "time"
        yield f"| `{name}` | {', '.join(gauge.labels)} | {gauge.most} | {every} | {gauge.help} |"
    yield (
        "\nBesides: `database_up`, `litgo_source_up{source}`, `litgo_figure_unread{gauge}`, "
        "`litgo_metrics_age_seconds`, `litgo_build_info`, "
        "`job_freshness_limit_seconds{job_name}`, `disk_free_bytes` and `disk_size_bytes` of LITGO_HOME's disk, "
        "`dagster_daemon_heartbeat_timestamp_seconds{daemon}`, `dagster_runs{status}`, "
        "`dagster_oldest_queued_run_age_seconds`, `dagster_last_tick_timestamp_seconds{name}`, "
        "`dagster_tick_failures{name}` (of the last hour), and the exporter's own `process_*`."
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
