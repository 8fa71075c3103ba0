"""Rules, their tests, and their runbooks: complete, valid, and about things that exist."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from litgo_pipelines.database import connect
from litgo_pipelines.observability import health
from litgo_pipelines.observability.gauges import GAUGES
from litgo_pipelines.observability.metrics import METRICS
from litgo_pipelines_tests.support import PROJECT

RULES = PROJECT / "deploy" / "prometheus"
RUNBOOKS = PROJECT / "docs" / "runbooks"
HEADINGS = ["What it means", "How to look", "What to do", "How to know it is over"]
# Prometheus' and Alertmanager's own
FOREIGN = {"up", "ALERTS", "alertmanager_notifications_failed_total"}

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool (Debian: prometheus)")


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / name).read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def pages() -> dict[str, str]:
    return {p.stem: p.read_text(encoding="utf-8") for p in RUNBOOKS.glob("*.md") if p.stem != "README"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def names(expression: str) -> set[str]:
    """Names of the metrics in a PromQL expression: what is left without strings, matchers, groupings and functions."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|without|ignoring)\s*\([^)]*\)", " ", bare)
    words = re.findall(r"[A-Za-z_:][\w:]*(?!\w)(?!\s*\()", bare)
    return {word for word in words if word not in {"and", "or", "unless", "bool", "offset", "by", "on"}}


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False, cwd=RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_how_bad_it_is_whose_it_is_and_what_to_do() -> None:
    assert len(ALERTS) == len(rules("alerts.yml"))
    for name, rule in ALERTS.items():
        severities = {"none"} if name == "Watchdog" else {"critical", "warning", "info"}
        assert rule["labels"]["severity"] in severities, name
        assert rule["labels"]["owner"] in {"data-engineering", "machine-learning", "marketplace", "operations"}, name
        assert {*rule["annotations"]} == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"{{{{ $externalLabels.runbooks }}}}docs/runbooks/{name}.md"


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    fires: dict[str, set[bool]] = defaultdict(set)
    for path in (RULES / "tests").glob("*.yml"):
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for check in case["alert_rule_test"]:
                fires[check["alertname"]].add(bool(check["exp_alerts"]))
    assert fires == {name: {True} if name == "Watchdog" else {True, False} for name in ALERTS}


@needs_promtool
def test_promtool_accepts_configuration_and_rules() -> None:
    promtool("check", "config", "prometheus.yml")


@pytest.mark.slow
@needs_promtool
@pytest.mark.parametrize("path", sorted((RULES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_the_alerts_fire_when_they_should(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_metric_of_a_rule_or_a_runbook_is_served() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}
    source = "".join(p.read_text() for p in (PROJECT / "litgo_pipelines" / "observability").glob("*.py"))
    literals = set(re.findall(r'"([a-z][a-z0-9_]+)"', source))
    histograms = {f"{name}_{part}" for name, m in METRICS.items() if m.buckets for part in ("bucket", "sum", "count")}
    known = {*METRICS, *GAUGES, *literals, *histograms, *recorded, *FOREIGN}
    used = [rule["expr"] for rule in [*rules("recording.yml"), *ALERTS.values()]]
    used += [line for page in pages().values() for block in blocks(page, "promql") for line in block.splitlines()]
    assert set().union(*map(names, used)) - known == set()


def test_the_names_of_an_expression_are_found() -> None:
    found = names(
        'sum by (job) (rate(a_total{b="c"}[5m])) / on (d) e > bool 0.1 and count_over_time(f:g:h5m[6h]) >= 60'
    )
    assert found == {"a_total", "e", "f:g:h5m"}


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    found = pages()
    assert {*found} == {*ALERTS}
    for name, page in found.items():
        assert page.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS, name
        for part in re.split(r"^## .*$", page, flags=re.MULTILINE)[1:]:
            assert part.strip(), name
        head = f"owner: {ALERTS[name]['labels']['owner']}"
        assert head in page.split("##")[0], name


def test_links_of_the_runbooks_lead_somewhere() -> None:
    for name, page in pages().items():
        for target in re.findall(r"\]\((\w+\.md)\)", page):
            assert (RUNBOOKS / target).exists(), f"{name}: {target}"


def test_sql_of_the_runbooks_can_be_run(database_url: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        for name, page in pages().items():
            for statement in blocks(page, "sql"):
                assert statement.startswith("SELECT"), name
                cursor.execute(statement)


@needs_promtool
def test_promql_of_the_runbooks_can_be_parsed(tmp_path: Path) -> None:
    lines = [line for page in pages().values() for block in blocks(page, "promql") for line in block.splitlines()]
    recorded = [{"record": f"runbook:line{number}", "expr": line} for number, line in enumerate(lines)]
    file = tmp_path / "runbooks.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": recorded}]}))
    promtool("check", "rules", file)


def test_the_status_screen_and_the_alerts_have_the_same_limits() -> None:
    assert ALERTS["HealthScoreLow"]["expr"] == f"system_health_score < {health.FINE}"
    assert ALERTS["BackupOld"]["expr"] == f"time() - last_backup_timestamp_seconds > {health.BACKUP_HOURS} * 3600"
