"""Generator of docs/retention.md from the policy: `python -m litgo_pipelines.tools.retention_page`."""

from pathlib import Path

from litgo_pipelines.retention.policy import FOREVER, FREQUENT, OF_TABLES, POLICY
from litgo_pipelines.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "retention.md"
_SETTING = {"frequent": "retention_frequent_days", "usual": "retention_days", "long": "retention_long_days"}


def page() -> str:
    """The whole page."""
    days = {term: Settings.model_fields[name].default for term, name in _SETTING.items()}
    kinds = [f"| {k.what} | {days[k.term]} | `{_SETTING[k.term].upper()}` | {k.why} |" for k in POLICY.values()]
    stays = [f"| {what} | {why} |" for what, why in FOREVER]
    tables = [f"| `{table}` | {POLICY[of].what if of in POLICY else of} |" for table, of in OF_TABLES.items()]
    return "\n".join(
        [
            "# What is kept how long\n",
            "The job `retention` runs every night at 04:30. It works in small batches and can be killed and run again;",
            "while MLflow is down, its files wait for the next night. The run's metadata says what went.\n",
            "| what | days | setting | |\n|---|--:|---|---|",
            *kinds,
            f"\nJobs that run all day: {', '.join(f'`{job}`' for job in sorted(FREQUENT))}.",
            "Ticks of schedules and sensors are Dagster's own to purge: `retention` in `dagster.yaml`.\n",
            "## What stays\n\n| what | because |\n|---|---|",
            *stays,
            "\n## Table by table\n\n| table of `litgo` | what becomes of its rows |\n|---|---|",
            *tables,
            "\nWhat the marketplace deletes goes before its term: [privacy.md](privacy.md#direitos-do-titular).",
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
