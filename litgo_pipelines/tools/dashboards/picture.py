"""Pictures of the dashboards where no Grafana can run: each panel's queries, drawn in the dashboard's own layout.

    python -m litgo_pipelines.tools.dashboards.picture http://127.0.0.1:9090 --folder pictures

Close to what Grafana shows, not the same: no colours by series, no tooltips; numbers in Brazilian form.
"""

import argparse
import io
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import requests
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator
from PIL import Image

from litgo_pipelines.tools.dashboards.__main__ import DASHBOARDS, FOLDER

ZONE = ZoneInfo("America/Sao_Paulo")
WIDTH, CELL, DPI = 1440, 38, 100  # pixels of a dashboard's 24 columns and of one row of its grid
PAPER, CARD, INK, FAINT = "#f4f5f5", "#ffffff", "#24292e", "#6b7280"
COLOURS = ("#3274d9", "#ff9830", "#56a64b", "#e02f44", "#8f3bb8", "#5ab1c9", "#c4a000", "#b877d9", "#705da0", "#7c6a58")
NAMED = {"green": "#56a64b", "red": "#e02f44"}
DAY = 86_400.0

Json = Mapping[str, Any]  # a part of a dashboard's file
Series = tuple[str, list[float], list[float]]  # legend, instants, values


@dataclass(frozen=True)
class Source:
    """A Prometheus, and the part of its history a dashboard shows; scrape: seconds between two scrapes."""

    url: str
    end: float
    scrape: float = 15.0
    hours: float | None = None  # unset: as the dashboard says

    def series(self, target: Json, start: float, points: int, least: float = 0.0) -> list[Series]:
        """What a target shows; points: as many as there are pixels; least: seconds between two of them."""
        step: float = max((self.end - start) / points, self.scrape, least)
        window, span = f"{max(4 * self.scrape, step + self.scrape):.0f}s", f"{self.end - start:.0f}s"
        expression = target["expr"].replace("$__rate_interval", window).replace("$__range", span)
        if target.get("instant"):
            asked = requests.get(
                f"{self.url}/api/v1/query", {"query": expression, "time": str(self.end)}, timeout=60
            ).json()
            found = [(series["metric"], [series["value"]]) for series in asked["data"]["result"]]
        else:
            over: dict[str, Any] = {"query": expression, "start": start, "end": self.end, "step": step}
            asked = requests.get(f"{self.url}/api/v1/query_range", over, timeout=60).json()
            found = [(series["metric"], series["values"]) for series in asked["data"]["result"]]
        return [
            (legend(target["legendFormat"], labels), [float(at) for at, _ in values], [float(v) for _, v in values])
            for labels, values in found
        ]


def legend(template: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), template)


def written(value: float, unit: str) -> str:
    """As a person in Brazil writes it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return _brazilian(100 * value, 3) + " %"
    if unit == "bytes":
        for name, size in (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10)):
            if abs(value) >= size:
                return f"{_brazilian(value / size, 3)} {name}"
        return f"{_brazilian(value, 3)} B"
    if unit == "s":
        for name, size in (("dias", DAY), ("h", 3600.0), ("min", 60.0)):
            if abs(value) >= size:
                return f"{_brazilian(value / size, 3)} {name}"
        return f"{_brazilian(1000 * value, 3)} ms" if 0 < abs(value) < 0.1 else f"{_brazilian(value, 3)} s"
    return _brazilian(value, 3) + (f" {unit[8:]}".replace(" /", "/") if unit.startswith("suffix: ") else "")


def _brazilian(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(places, 4)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace(",", " ").replace(".", ",").replace(" ", ".")


def colour(value: float, steps: Sequence[Json]) -> str:
    """Of the highest threshold that the value reaches."""
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED.get(reached[-1], reached[-1])


@dataclass(frozen=True)
class Card:
    """Where a panel is drawn and what is in it; lengths in pixels from the page's upper left corner."""

    axes: Callable[[float, float, float, float], Axes]  # at x, y with a width and a height
    text: Callable[..., None]  # x, y, what, and matplotlib's keywords
    box: tuple[float, float, float, float]  # x, y, width, height
    panel: Json
    found: list[Series]
    period: tuple[float, float]

    @property
    def look(self) -> Json:
        """What is the same for all series: unit, thresholds, mappings."""
        return self.panel["fieldConfig"]["defaults"]


def draw(dashboard: Json, source: Source) -> Figure:
    """One figure laid out as the dashboard is."""
    cells = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 1
    height = cells * CELL
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    hours = source.hours or _hours(dashboard["time"]["from"])
    start = source.end - 3600 * hours

    def text(x: float, y: float, what: str, **how: Any) -> None:
        figure.text(x / WIDTH, 1 - y / height, what, **{"color": INK, "va": "top", **how})

    def axes(x: float, y: float, w: float, h: float) -> Axes:
        return figure.add_axes((x / WIDTH, 1 - (y + h) / height, w / WIDTH, h / height))

    period = " a ".join(f"{datetime.fromtimestamp(t, ZONE):%d/%m/%Y %H:%M}" for t in (start, source.end))
    text(10, 10, dashboard["title"], fontsize=12, weight="bold")
    text(WIDTH - 10, 12, period, fontsize=8, ha="right", color=FAINT)
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        x, y = grid["x"] * WIDTH / 24 + 4, (grid["y"] + 1) * CELL + 2
        w, h = grid["w"] * WIDTH / 24 - 8, grid["h"] * CELL - 6
        if panel["type"] == "row":
            text(x + 4, y + 10, panel["title"], fontsize=9.5, weight="bold")
            continue
        figure.add_artist(
            Rectangle(
                (x / WIDTH, 1 - (y + h) / height),
                w / WIDTH,
                h / height,
                facecolor=CARD,
                edgecolor="#dcdfe3",
                linewidth=0.6,
                transform=figure.transFigure,
                zorder=-1,
            )
        )
        text(x + 8, y + 7, panel["title"], fontsize=8, weight="bold")
        least = 60.0 * int(panel.get("interval", "0m").removesuffix("m"))
        found = [series for target in panel["targets"] for series in source.series(target, start, int(w), least)]
        box = (x + 8, y + 26, w - 16, h - 32)
        if not found:
            nothing = panel["fieldConfig"]["defaults"].get("noValue", "sem dados")
            text(x + w / 2, y + h / 2, nothing, fontsize=11, ha="center", color=FAINT)
        else:
            KINDS[panel["type"]](Card(axes, text, box, panel, found, (start, source.end)))
    return figure


def _timeseries(card: Card) -> None:
    (x, y, w, h), look, found = card.box, card.look, card.found
    unit, custom = look["unit"], look.get("custom", {})
    columns = max(1, int(w // 220))
    rows = math.ceil(len(found) / columns)
    shown = min(rows, 3)
    drawn = card.axes(x + 58, y + 4, w - 66, h - 26 - 15 * shown)
    if custom.get("stacking", {}).get("mode") == "normal":
        at = sorted({instant for _, instants, _ in found for instant in instants})
        stack = [dict(zip(instants, values, strict=True)) for _, instants, values in found]
        drawn.stackplot(
            at,
            [[v if (v := one.get(t, 0.0)) == v else 0.0 for t in at] for one in stack],
            colors=[COLOURS[n % len(COLOURS)] for n in range(len(stack))],
            alpha=0.75,
            linewidth=0,
        )
    else:
        for n, (_, instants, values) in enumerate(found):
            drawn.plot(instants, values, color=COLOURS[n % len(COLOURS)], linewidth=1.2)
    highest = 0.0 if not any(value > 0 for _, _, values in found for value in values) else drawn.get_ylim()[1]
    drawn.set_ylim(0, (look.get("max", max(highest, custom.get("axisSoftMax", 0))) or 1) * 1.02)
    for step in look["thresholds"]["steps"]:
        if step["value"] is not None and custom.get("thresholdsStyle"):
            drawn.axhline(step["value"], color=NAMED["red"], linestyle="--", linewidth=1)
    drawn.set_xlim(*card.period)
    _clock(drawn, card.period)
    drawn.yaxis.set_major_locator(_ticks(unit, drawn.get_ylim()[1]))
    drawn.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    _plain(drawn)
    for n, (name, _, values) in enumerate(found[: shown * columns]):
        last = next((value for value in reversed(values) if value == value), math.nan)
        line = f"{name}  {written(last, unit)}"
        left, down = x + 4 + n % columns * (w / columns), y + h - 15 * shown + 15 * (n // columns)
        card.text(left, down, "■", fontsize=7, color=COLOURS[n % len(COLOURS)])
        limit = int(w / columns / 5.2)
        more = len(found) - shown * columns
        last_one = n == shown * columns - 1 and more > 0
        card.text(left + 12, down, f"… e mais {more + 1}" if last_one else line[:limit], fontsize=6.5)


def _stat(card: Card) -> None:
    (x, y, w, h), look, found = card.box, card.look, card.found
    names = card.panel["options"]["textMode"] == "name"
    texts = {
        value: result["text"] for mapping in look.get("mappings") or () for value, result in mapping["options"].items()
    }
    colours = {v: r["color"] for m in look.get("mappings") or () for v, r in m["options"].items()}
    for n, (name, instants, values) in enumerate(found):
        last = next((value for value in reversed(values) if value == value), math.nan)
        key = f"{last:g}"
        what = name if names else texts.get(key, written(last, look["unit"]))
        hue = NAMED.get(colours.get(key, ""), colours.get(key)) or colour(last, look["thresholds"]["steps"])
        middle = x + w * (n + 0.5) / len(found)
        room = w / len(found)
        size = min(20.0, 0.95 * room / max(len(what), 4))
        card.text(middle, y + h * 0.42, what, fontsize=size, ha="center", va="center", color=hue, weight="bold")
        if len(found) > 1 and not names:
            card.text(middle, y + h * 0.85, name, fontsize=7, ha="center", va="center", color=FAINT)
        elif card.panel["options"]["graphMode"] == "area" and len(set(values)) > 1:
            spark = card.axes(x, y + h * 0.7, w, h * 0.3)
            spark.fill_between(instants, values, min(values), color=hue, alpha=0.25, linewidth=0)
            spark.plot(instants, values, color=hue, linewidth=0.8)
            spark.set_xlim(*card.period)
            spark.axis("off")


def _bargauge(card: Card) -> None:
    (x, y, w, h), look, found = card.box, card.look, card.found
    rows = found[: max(1, int(h // 15))]
    longest = max(len(name) for name, _, _ in rows)
    left = min(longest * 5.6 + 8, w * 0.45)
    drawn = card.axes(x + left, y, w - left - 70, h)
    values = [series[-1] if series else math.nan for _, _, series in rows]
    steps = look["thresholds"]["steps"]
    drawn.barh(range(len(rows)), values, color=[colour(value, steps) for value in values], height=0.7)
    top = look.get("max", max([v for v in values if v == v], default=0)) or 1
    drawn.set_xlim(0, top * 1.02)
    drawn.set_ylim(max(len(rows), 4) - 0.4, -0.6)
    for n, ((name, _, _), value) in enumerate(zip(rows, values, strict=True)):
        drawn.text(-top * 0.01, n, name[: int(left / 5.4)], fontsize=6.5, ha="right", va="center", color=INK)
        place = min(max(value, 0), top) if value == value else 0
        drawn.text(
            place + top * 0.015, n, written(value, look["unit"]), fontsize=6.5, ha="left", va="center", color=INK
        )
    drawn.axis("off")


def _statetimeline(card: Card) -> None:
    (x, y, w, h), look, found = card.box, card.look, card.found
    states = {value: result for mapping in look["mappings"] for value, result in mapping["options"].items()}
    drawn = card.axes(x + 70, y + 4, w - 78, h - 44)
    for n, (name, instants, values) in enumerate(found):
        ends = [*instants[1:], card.period[1]]
        for at, end, value in zip(instants, ends, values, strict=True):
            hue = states[f"{value:g}"]["color"]
            drawn.barh(n, end - at, left=at, color=NAMED.get(hue, hue), height=0.7, linewidth=0)
        drawn.text(card.period[0], n, f"{name}  ", fontsize=7, ha="right", va="center", color=INK)
    drawn.set_xlim(*card.period)
    drawn.set_ylim(len(found) - 0.4, -0.6)
    _clock(drawn, card.period)
    _plain(drawn)
    drawn.set_yticks([])
    for n, state in enumerate(states.values()):
        card.text(x + 4 + 90 * n, y + h - 14, "■", fontsize=7, color=NAMED.get(state["color"], state["color"]))
        card.text(x + 16 + 90 * n, y + h - 14, state["text"], fontsize=6.5)


KINDS = {"timeseries": _timeseries, "stat": _stat, "bargauge": _bargauge, "state-timeline": _statetimeline}


def _clock(drawn: Axes, period: tuple[float, float]) -> None:
    start, end = period
    room = drawn.get_position().width * WIDTH
    step = next(
        s
        for s in (60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY, 1e9)
        if (end - start) / s * 46 < room
    )
    first = math.ceil((start - 3 * 3600) / step) * step + 3 * 3600  # whole hours and days of São Paulo
    ticks = [first + n * step for n in range(int((end - first) // step) + 1)]
    form = "%d/%m" if step >= DAY else "%H:%M"
    drawn.set_xticks(ticks, [f"{datetime.fromtimestamp(t, ZONE):{form}}" for t in ticks])


def _ticks(unit: str, top: float) -> Locator:
    """Whole minutes, hours or days; else round figures."""
    steps = (30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY)
    if unit == "s" and top > 90:
        return MultipleLocator(next((step for step in steps if top / step <= 6), 30 * DAY))
    if unit == "bytes":
        return MultipleLocator(2.0 ** math.ceil(math.log2(top / 6)))
    return MaxNLocator(5)


def _plain(drawn: Axes) -> None:
    drawn.tick_params(labelsize=6.5, length=0, colors=FAINT)
    drawn.grid(alpha=0.2, linewidth=0.6)
    drawn.set_axisbelow(True)
    for side in drawn.spines.values():
        side.set_visible(False)


def _hours(since: str) -> float:
    found = re.fullmatch(r"now-(\d+)([hd])", since)
    if found is None:
        raise ValueError(f"not a time range of these dashboards: {since!r}")
    return int(found[1]) * {"h": 1, "d": 24}[found[2]]


def save(figure: Figure, path: Path) -> None:
    """As a PNG of few colours: pictures in a repository stay small."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor=PAPER)
    Image.open(buffer).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus", help="its URL")
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--hours", type=float, help="to show; else as each dashboard says")
    parser.add_argument("--scrape", type=float, default=15.0, help="seconds between two scrapes")
    parser.add_argument("--end", type=float, default=None, help="unix seconds; else now")
    given = parser.parse_args(arguments)
    source = Source(given.prometheus.rstrip("/"), given.end or time.time(), given.scrape, given.hours)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        dashboard = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        save(draw(dashboard, source), given.folder / f"{name}.png")


if __name__ == "__main__":
    main()
