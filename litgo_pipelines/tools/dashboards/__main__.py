"""Write every dashboard's JSON; a test fails when the committed files are out of date."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from litgo_pipelines.tools.dashboards import business, jobs, overview, technical

FOLDER = Path(__file__).parents[3] / "deploy" / "grafana" / "dashboards"
DASHBOARDS = {"overview": overview, "business": business, "technical": technical, "jobs": jobs}


def text(dashboard: Dashboard) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    for name, module in DASHBOARDS.items():
        (FOLDER / f"{name}.json").write_text(text(module.build()), encoding="utf-8")


if __name__ == "__main__":
    main()
