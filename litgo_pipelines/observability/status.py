"""Status on one screen, for an operator in a hurry: what runs, what waits, what is late, and what was last. Pure.

The figures are those of /metrics; where they come from is `exporter`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from litgo_pipelines.jobs import HOUR
from litgo_pipelines.observability import health

NIGHT_HOURS = 26
GOOD, BAD, UNKNOWN = "ok", "LOOK", "?"


@dataclass(frozen=True)
class Line:
    """`state`: GOOD, BAD, or UNKNOWN where nothing was read."""

    what: str
    state: str
    figure: str


Series = Mapping[str, dict[tuple[str, ...], float]]


def series(families: Iterable[Metric]) -> Series:
    """Name → label values → value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def ago(seconds: float) -> str:
    """A duration in the largest unit it has two of."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def lines(found: Series, answers: Mapping[str, bool], now: float, unsealed: Sequence[str] | None = ()) -> list[Line]:
    """What an operator looks at, in that order. `answers`: service → whether its port does; now: seconds since 1970.

    `unsealed`: model versions whose file the ledger does not name; None when that was not read.
    """
    return [
        *(Line(name, GOOD if up else BAD, "answers" if up else "does not answer") for name, up in answers.items()),
        *_databases(found),
        *_daemons(found, now),
        *_queues(found),
        *_given_up(found),
        *_late_jobs(found, now),
        *_open_circuits(found),
        _champion(found),
        *_unsealed(unsealed),
        _age(found, "equity_last_night_timestamp_seconds", "last night of equity", NIGHT_HOURS, now),
        _age(found, "last_backup_timestamp_seconds", "last backup", health.BACKUP_HOURS, now),
        _health(found),
    ]


def nothing_runs(answers: Mapping[str, bool]) -> list[Line]:
    """Without a database there is nothing to read, and looking starts none."""
    return [
        Line("Postgres", BAD, "the embedded server does not run: `litgo up` starts it"),
        *(Line(name, GOOD if up else BAD, "answers" if up else "does not answer") for name, up in answers.items()),
    ]


def _unsealed(versions: Sequence[str] | None) -> list[Line]:
    if versions is None:
        return [Line("files of model versions", UNKNOWN, "not read")]
    why = "the ledger names no file, so it does not serve: litgo model seal"
    return [Line(f"model version {version}", BAD, f"{why} {version}") for version in versions]


def _databases(found: Series) -> list[Line]:
    """Whether what follows was read at all."""
    read = found.get("litgo_source_up", {})
    names = (("database", "database"), ("dagster", "Dagster's storage"))
    return [Line(name, BAD, "not read: see the message above") for source, name in names if read.get((source,)) == 0]


def _daemons(found: Series, now: float) -> list[Line]:
    beats = found.get("dagster_daemon_heartbeat_timestamp_seconds", {})
    if not beats:
        return [Line("Dagster's daemons", BAD, "no heartbeat: nothing starts by itself")]
    return [
        Line(f"daemon {daemon}", _within(now - at, health.HEARTBEAT), f"beat {ago(now - at)} ago")
        for (daemon,), at in sorted(beats.items())
    ]


def _queues(found: Series) -> list[Line]:
    """How long each queue's oldest waits, and the cases that somebody urgently waits for."""
    said = []
    for queue, limit in health.QUEUES.items():
        values = found.get(queue, {})
        name = queue.removesuffix("_age_seconds").replace("_", " ")
        said += [
            Line(name, _within(age, limit), f"waits for {ago(age)}" if age else "nothing") for age in values.values()
        ]
        if not values:
            said.append(Line(name, UNKNOWN, "not read"))
    for (stage, urgency), number in sorted(found.get("urgent_waits_cases", {}).items()):
        if number:
            said.append(Line(f"cases for {stage}, {urgency}", GOOD, f"{number:.0f}"))
    return said


def _given_up(found: Series) -> list[Line]:
    names = (("matching_dead_letters", "cases that failed"), ("outbox_dead_messages", "messages given up"))
    return [Line(what, BAD if n else GOOD, f"{n:.0f}") for name, what in names for n in found.get(name, {}).values()]


def _late_jobs(found: Series, now: float) -> list[Line]:
    said = []
    last = found.get("job_last_success_timestamp_seconds", {})
    for job, limit in sorted(health.FRESH.items()):
        ended = last.get((job,))
        if ended is None or now - ended > limit:
            figure = "never succeeded" if ended is None else f"succeeded {ago(now - ended)} ago"
            said.append(Line(f"job {job}", BAD, figure))
    return said


def _open_circuits(found: Series) -> list[Line]:
    states = sorted(found.get("circuit_breaker_state", {}).items())
    return [
        Line(f"service {service}", BAD, "circuit open: its fallback works") for (service,), state in states if state
    ]


def _champion(found: Series) -> Line:
    serving = [version for alias, version in found.get("model_version_info", {}) if alias == "champion"]
    return (
        Line("champion", GOOD, f"version {serving[0]}") if serving else Line("champion", BAD, "none: heuristic ranker")
    )


def _age(found: Series, name: str, what: str, hours: float, now: float) -> Line:
    at = found.get(name, {}).get(())
    return (
        Line(what, BAD, "none") if at is None else Line(what, _within(now - at, hours * HOUR), f"{ago(now - at)} ago")
    )


def _health(found: Series) -> Line:
    score = found.get("system_health_score", {}).get(())
    if score is None:
        return Line("health", UNKNOWN, "not read")
    return Line("health", GOOD if score >= health.FINE else BAD, f"{score:.2f}")


def _within(age: float, limit: float) -> str:
    return GOOD if age <= limit else BAD


def as_text(said: list[Line]) -> str:
    """A line each; those to look at stand first."""
    width = max(len(line.what) for line in said)
    ordered = sorted(said, key=lambda line: line.state != BAD)
    return "\n".join(f"{line.state:<4}  {line.what:<{width}}  {line.figure}" for line in ordered)
