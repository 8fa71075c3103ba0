"""Building blocks shared by all panels: panel kinds, queries, limits and links.

A limit is drawn where a target or an alert exists, in the colours of `above` and `below`; `alerts` names the alerts of
deploy/prometheus/alerts.yml that watch the same figure, each a link to its runbook.
"""

from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common as look
from grafana_foundation_sdk.models import dashboard as model

DATASOURCE = model.DataSourceRef("prometheus", "${datasource}")
TAG = "litgo"
# Where the links lead: variables, whose values deploy/grafana/start.sh replaces by those of the environment.
ADDRESSES = {
    "dagster": "http://localhost:3001",
    "mlflow": "http://localhost:5000",
    "runbooks": "https://litgo.example/",  # as Prometheus' RUNBOOKS_URL: the repository's files, "/" at the end
}
# How people call the values of labels.
FAILURES = {
    "timeout": "sem resposta no prazo",
    "unavailable": "indisponível",
    "rate_limited": "limite de uso",
    "rejected": "recusada",
    "invalid": "resposta inválida",
    "certificate": "certificado",
    "circuit_open": "disjuntor aberto",
}
PARTS = {
    "database": "banco",
    "writes": "escrita",
    "daemons": "daemons",
    "jobs": "jobs",
    "queues": "filas",
    "breakers": "disjuntores",
    "champion": "modelo",
}
MESSAGES = {"push": "push", "email": "e-mail"}
GREEN, YELLOW, RED = "green", "#EAB839", "red"
SECONDS, SHARE, COUNT, BYTES, PLAIN, PER_HOUR = "s", "percentunit", "short", "bytes", "none", "suffix: /h"

Panel = timeseries.Panel | stat.Panel | bargauge.Panel | statetimeline.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, bargauge.Panel, statetimeline.Panel)
Queries = Mapping[str, str]  # legend → expression
Steps = Sequence[tuple[float | None, str]]  # from this value on, this colour


def above(limit: float) -> Steps:
    """More than the limit is bad."""
    return (None, GREEN), (limit, RED)


def below(limit: float) -> Steps:
    """Less than the limit is bad."""
    return (None, RED), (limit, GREEN)


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Increase per second of a counter, summed, by labels."""
    return f"{_sum(by)} (rate({metric}{_braces(where)}[$__rate_interval]))"


def per_hour(metric: str, by: str = "", where: str = "") -> str:
    return f"{rate(metric, by, where)} * 3600"


def share(part: str, whole: str, by: str = "", where: str = "") -> str:
    """Of what was counted, the share that meets `where`, or another counter's; nothing while nothing is counted."""
    return f"{rate(part, by, where)} / {rate(whole, by)}"


def named(label: str, names: Mapping[str, str], expression: Callable[[str], str]) -> Queries:
    """One query for each value of a label, with a name for people: value → name; expression: of a label matcher."""
    return {name: expression(f'{label}="{value}"') for value, name in names.items()}


def hourly(metric: str, label: str, names: Mapping[str, str]) -> Queries:
    return named(label, names, lambda where: per_hour(metric, where=where))


def quantiles(metric: str) -> Queries:
    """Latency of a histogram."""
    buckets = rate(f"{metric}_bucket", "le")
    return {f"p{q * 100:g}": f"histogram_quantile({q:g}, {buckets})" for q in (0.5, 0.95, 0.99)}


def quantile_by(metric: str, label: str, q: float = 0.95) -> Queries:
    buckets = rate(f"{metric}_bucket", f"le, {label}")
    return {f"{{{{{label}}}}}": f"histogram_quantile({q:g}, {buckets})"}


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    limit: Steps = (),
    alerts: Sequence[str] = (),
    span: int = 12,
    stacked: bool = False,
    top: float | None = None,
    links: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Figures over time, from 0 up to `top`, with the limit dashed."""
    panel = (
        timeseries.Panel()
        .height(8)
        .fill_opacity(25 if stacked else 8)
        .line_width(2)
        .show_points(look.VisibilityMode.AUTO)
        .span_nulls(3_600_000)  # milliseconds: a ratio has no value while nothing happens
        .tooltip(common.VizTooltipOptions().mode(look.TooltipDisplayMode.MULTI).sort(look.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(look.LegendDisplayMode.LIST)
            .placement(look.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
        .min(0)
    )
    if any("$__rate_interval" in expression for expression in queries.values()):
        panel.interval("15m" if unit == PER_HOUR else "5m")  # shorter, and a few events per hour are spikes
    if stacked:
        panel.stacking(common.StackingConfig().mode(look.StackingMode.NORMAL))
    if top is not None:
        panel.max(top)
    if limit:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(look.GraphThresholdsStyleMode.DASHED))
        for bound, _ in limit:
            panel.axis_soft_max(max(bound or 0, top or 0) * 1.1)
    return _finish(panel, title, description, unit, queries, limit, alerts, span, links)


def number(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    limit: Steps = (),
    alerts: Sequence[str] = (),
    span: int = 4,
    names: bool = False,
    values: Mapping[str, tuple[str, str]] | None = None,
    nothing: str = "–",
    links: Mapping[str, str] | None = None,
) -> stat.Panel:
    """The newest figure, large; names: the legend in its place; values: figure → (text, colour)."""
    panel = (
        stat.Panel()
        .height(4)
        .graph_mode(look.BigValueGraphMode.NONE if names or values else look.BigValueGraphMode.AREA)
        .color_mode(look.BigValueColorMode.VALUE)
        .text_mode(look.BigValueTextMode.NAME if names else look.BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value(nothing)
    )
    if values:
        panel.mappings(_mappings(values))
    return _finish(panel, title, description, unit, queries, limit, alerts, span, links)


def bars(
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    *,
    limit: Steps = (),
    alerts: Sequence[str] = (),
    span: int = 12,
    height: int = 8,
    top: float | None = None,
    nothing: str = "–",
    links: Mapping[str, str] | None = None,
) -> bargauge.Panel:
    """Figures of now, side by side; nothing: what is written when there is none."""
    panel = (
        bargauge.Panel()
        .height(height)
        .orientation(look.VizOrientation.HORIZONTAL)
        .display_mode(look.BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .min(0)
        .no_value(nothing)
    )
    if top is not None:
        panel.max(top)
    return _finish(panel, title, description, unit, queries, limit, alerts, span, links, instant=True)


def states(
    title: str,
    description: str,
    queries: Queries,
    values: Mapping[str, tuple[str, str]],
    *,
    alerts: Sequence[str] = (),
    span: int = 12,
    links: Mapping[str, str] | None = None,
) -> statetimeline.Panel:
    """Since when what is in which state; figure → (text, colour)."""
    panel = (
        statetimeline.Panel()
        .height(8)
        .show_value(look.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .mappings(_mappings(values))
    )
    return _finish(panel, title, description, PLAIN, queries, (), alerts, span, links)


def assemble(
    uid: str, title: str, description: str, since: str, refresh: str, rows: Mapping[str, Sequence[Panel]]
) -> model.Dashboard:
    """The dashboard of these rows of panels, as the model that becomes JSON."""
    built = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("America/Sao_Paulo")
        .time(since, "now")
        .refresh(refresh)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Fonte de dados"))
        .annotation(
            dashboard.AnnotationQuery()
            .name("Alertas críticos")
            .datasource(DATASOURCE)
            .enable(True)
            .hide(False)
            .icon_color(RED)
            .expr('ALERTS{alertstate="firing",severity="critical"}')
        )
        .link(_link("Painéis LITGO", kind=model.DashboardLinkType.DASHBOARDS))
        .link(_link("Dagster", "${dagster}"))
        .link(_link("MLflow", "${mlflow}/#/models/litgo-ranker"))
        .link(_link("Runbooks", "${runbooks}docs/runbooks"))
    )
    for name, address in ADDRESSES.items():
        built.with_variable(
            dashboard.TextBoxVariable(name).default_value(address).hide(model.VariableHide.HIDE_VARIABLE)
        )
    for row, panels in rows.items():
        built.with_row(dashboard.Row(row))
        for panel in panels:
            built.with_panel(panel)
    made = built.build()
    for number, shown in enumerate(made.panels or (), start=1):
        shown.id_val = number
    return made


def _finish(
    panel: P,
    title: str,
    description: str,
    unit: str,
    queries: Queries,
    limit: Steps,
    alerts: Sequence[str],
    span: int,
    links: Mapping[str, str] | None,
    instant: bool = False,
) -> P:
    steps = limit or ((None, GREEN),)
    panel.title(title).description(description).unit(unit).span(span).datasource(DATASOURCE).thresholds(
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(bound, colour) for bound, colour in steps])
    )
    for letter, (legend, expression) in zip(ascii_uppercase[: len(queries)], queries.items(), strict=True):
        target = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter).datasource(DATASOURCE)
        panel.with_target(target.instant() if instant else target.range())
    runbooks = {f"Runbook {alert}": f"${{runbooks}}docs/runbooks/{alert}.md" for alert in alerts}
    panel.links([_link(text, url) for text, url in {**(links or {}), **runbooks}.items()])
    return panel


def _link(
    title: str, url: str = "", kind: model.DashboardLinkType = model.DashboardLinkType.LINK
) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(title).type(kind).url(url).tooltip(title)
    if kind is model.DashboardLinkType.DASHBOARDS:
        return link.tags([TAG]).as_dropdown(True).keep_time(True).include_vars(True)
    return link.icon("external link").target_blank(True)


def _mappings(values: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    return [model.ValueMap({k: model.ValueMappingResult(text, colour) for k, (text, colour) in values.items()})]


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"


def _braces(where: str) -> str:
    return f"{{{where}}}" if where else ""
