"""Dashboards are what the code says, keep the rules of Grafana's dashboard-linter, and show something."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import dagster as dg
import promql_parser
import pytest
import yaml

from litgo_pipelines.observability import gauges
from litgo_pipelines.observability.exporter import Exporter, serving
from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines.tools.dashboards import __main__ as dashboards
from litgo_pipelines.tools.dashboards import parts
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.prometheus import RULES, ask, fill, wait_for, watching

ROOT = RULES.parents[1]
NAMES = sorted(dashboards.DASHBOARDS)
OTHERS = ("up", "ALERTS", "alertmanager_notifications_failed_total")  # not our exporter's
UNITS = {parts.SECONDS, parts.SHARE, parts.COUNT, parts.BYTES, parts.PLAIN, parts.PER_HOUR}
NEEDED = pytest.mark.skipif(not shutil.which("prometheus"), reason="Prometheus is not installed (Debian: prometheus)")


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dashboards.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Every expression of every panel, by where it is."""
    return {
        f"{name} · {panel['title']} · {target['refId']}": target["expr"]
        for name in NAMES
        for panel in panels(name)
        for target in panel["targets"]
    }


def rules(file: str) -> dict[str, str]:
    """Name of an alert or a recorded series → expression."""
    groups = yaml.safe_load((RULES / file).read_text(encoding="utf-8"))["groups"]
    return {rule.get("alert") or rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}


def filled_in(expression: str, window: str) -> str:
    """With Grafana's own variables replaced."""
    return expression.replace("$__rate_interval", window).replace("$__range", window)


def nodes(expression: str) -> Iterator[Any]:
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(filled_in(expression, "5m")), found.append)
    yield from found


def selectors(expression: str) -> list[Any]:
    """Every vector selector, those inside range selectors too."""
    found = [n.vector_selector if isinstance(n, promql_parser.MatrixSelector) else n for n in nodes(expression)]
    return [n for n in found if isinstance(n, promql_parser.VectorSelector)]


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_json_is_what_the_code_builds(name: str) -> None:
    built = dashboards.text(dashboards.DASHBOARDS[name].build())
    committed = (dashboards.FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert built == committed, "run python -m litgo_pipelines.tools.dashboards"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_keeps_the_rules_of_grafanas_linter(name: str) -> None:
    found = dashboard(name)
    assert (found["uid"], found["editable"]) == (f"litgo-{name}", False)
    (source,) = (v for v in found["templating"]["list"] if v["type"] == "datasource")
    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in panels(name)]
    assert len(titles) == len(set(titles))
    for panel in panels(name):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith((".", "?")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    right = [p["gridPos"]["x"] + p["gridPos"]["w"] for p in found["panels"]]
    assert max(right) == 24
    for one, other in combinations([panel["gridPos"] for panel in found["panels"]], 2):
        apart_x = one["x"] >= other["x"] + other["w"] or other["x"] >= one["x"] + one["w"]
        assert apart_x or one["y"] >= other["y"] + other["h"] or other["y"] >= one["y"] + one["h"], (one, other)


def test_counters_are_only_read_as_rates_over_grafanas_own_interval() -> None:
    counters = {name for name, metric in METRICS.items() if not metric.buckets}
    totals = {"Versões de modelos", "Treinamentos"}  # what happens a few times a month is shown as it stands
    for where, expression in expressions().items():
        calls = [n for n in nodes(expression) if isinstance(n, promql_parser.Call)]
        rated = {n.args[0].vector_selector.name for n in calls if n.func.name in ("rate", "increase")}
        bare = {s.name for s in selectors(expression)} & counters - rated
        assert not bare or where.split(" · ")[1] in totals, (where, bare)
        assert set(re.findall(r"\b(?:rate|increase)\([^[]*\[([^]]+)", expression)) <= {"$__rate_interval", "$__range"}


def test_every_metric_exists(database_url: str) -> None:
    with dg.instance_for_test() as instance:
        exporter = Exporter(database_url, lambda: instance, home=dashboards.FOLDER)
        exporter.refresh()
    names = {family.name for family in exporter.collect()} | {*METRICS, *OTHERS} | rules("recording.yml").keys()
    names |= {f"{name}_bucket" for name, metric in METRICS.items() if metric.buckets}
    used = {s.name for expression in expressions().values() for s in selectors(expression)}
    assert used - names == set()


def test_links_lead_to_alerts_and_runbooks_that_exist() -> None:
    alerts = rules("alerts.yml")
    linked = {link["url"] for name in NAMES for panel in panels(name) for link in panel.get("links") or ()}
    pages = {url.removeprefix("${runbooks}") for url in linked if url.startswith("${runbooks}docs/runbooks/")}
    assert len(pages) > 20
    for page in pages:
        assert (ROOT / page).is_file(), page
        assert Path(page).stem in alerts, page


def test_at_its_start_grafana_gets_links_to_where_things_are(tmp_path: Path) -> None:
    url = "https://a.example/x?b=1&c=|"
    done = subprocess.run(
        ["sh", str(ROOT / "deploy" / "grafana" / "start.sh"), "started"],
        env={
            "PATH": os.environ["PATH"],
            "DASHBOARDS_SOURCE": str(dashboards.FOLDER),
            "DASHBOARDS_FOLDER": str(tmp_path / "d"),
            "GRAFANA_RUN": "echo",
            "DAGSTER_URL": url,
            "RUNBOOKS_URL": "https://files.example/",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "started\n"
    for name in NAMES:
        expected = dashboard(name)
        for variable in expected["templating"]["list"]:
            new = {"dagster": url, "runbooks": "https://files.example/"}.get(variable["name"])
            variable["query"] = new or variable["query"]
        assert json.loads((tmp_path / "d" / f"{name}.json").read_text(encoding="utf-8")) == expected


def test_provisioning_names_the_data_source_and_the_folder() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "${PROMETHEUS_URL}")
    scraped = yaml.safe_load((RULES / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "litgo.yml").read_text())["providers"]
    assert provider["options"]["path"] in (ROOT / "deploy" / "grafana" / "start.sh").read_text()


@pytest.fixture
def prometheus(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, float]]:
    """Prometheus that saw the marketplace work, and since when."""
    for name, gauge in gauges.GAUGES.items():  # what changes slowly is read each time too
        monkeypatch.setitem(gauges.GAUGES, name, replace(gauge, every=0))
    monkeypatch.setattr("litgo_pipelines.observability.exporter.TICKS_EVERY", 0)
    with dg.instance_for_test() as instance:
        exporter = Exporter(database_url, lambda: instance, home=tmp_path)
        with serving(exporter, "127.0.0.1", 0, 0.3) as port, watching(tmp_path, port) as url:
            start = time.time()
            execute(
                database_url,
                "INSERT INTO litgo.backups VALUES ('one', now(), 1)",
                "UPDATE litgo.circuit_breakers SET certificates = '{\"a.example\": 4000000000}'",
            )
            fill(database_url, instance, tmp_path)
            seen = time.time()
            wait_for(
                lambda: bool(ask(url, "query", query=f"timestamp(litgo_metrics_age_seconds) > {seen + 1}")["result"])
            )
            yield url, start


@NEEDED
@pytest.mark.slow
def test_every_expression_shows_something(prometheus: tuple[str, float]) -> None:
    url, start = prometheus

    def shows(expression: str) -> bool:
        found = ask(url, "query_range", query=expression, start=start, end=time.time(), step=1)["result"]
        return any(float(value) == float(value) for series in found for _, value in series["values"])

    empty = [where for where, expression in expressions().items() if not shows(filled_in(expression, "4s"))]
    for name in NAMES:
        for note in dashboard(name)["annotations"]["list"]:  # nothing to see is as it should be
            ask(url, "query", query=note["expr"])
    for file in ("recording.yml", "alerts.yml"):
        for rule, expression in rules(file).items():
            ask(url, "query", query=expression)
            watched = {str(s) for s in selectors(expression) if s.name not in OTHERS}
            empty += [f"{rule}: {selector}" for selector in sorted(watched) if not shows(selector)]
    assert not empty, "\n".join(empty)
