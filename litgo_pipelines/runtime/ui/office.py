"""The office's page: what waits for a person, read by the statements of the commands that list it.

Knows the database, not Dagster. Reads only, at most once in FRESH_SECONDS whoever asks; shows no name and no text.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import anyio
import psycopg2
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from litgo_pipelines.contracts import manual
from litgo_pipelines.database import Cursor, DatabaseRefused, DatabaseUnavailable, connect
from litgo_pipelines.database.errors import error_line
from litgo_pipelines.database.watch import shut
from litgo_pipelines.intake import review
from litgo_pipelines.jobs import HOUR
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.marketplace.public_numbers import help_text
from litgo_pipelines.matching import waits
from litgo_pipelines.notifications import queue
from litgo_pipelines.notifications.wording import moment
from litgo_pipelines.observability import gauges, health, status
from litgo_pipelines.observability.deadline import after
from litgo_pipelines.runtime.ui.office_page import POLICY, Row, Section, lasted, number, page, unread

PATH = "/escritorio"
FRESH_SECONDS = 10.0
STATEMENT_SECONDS = 5.0
READ_SECONDS = 30.0  # all of it, also when the server falls silent
MOST = 100  # rows of a list; how many there are is said
URGENT_HOURS = 24.0
CLASSES = {
    "unknown": "ainda sem urgência conhecida",
    "4h": "até 4 h",
    "24h": "até 24 h",
    "72h": "até 72 h",
    "later": "mais de 72 h",
}
KINDS = {  # of unattended.KINDS, one and several
    "case": ("caso", "casos"),
    "contract": ("contrato", "contratos"),
    "message": ("mensagem", "mensagens"),
    "batch": ("lote", "lotes"),
    "review": ("revisão", "revisões"),
}

log = logging.getLogger(__name__)
Reader = Callable[[Cursor, datetime], Section]


def _first(shown: int, all_of_them: int | str) -> tuple[str, ...]:
    return (f"Os {shown} primeiros de {all_of_them}, o mais urgente no alto.",)


def parked(cursor: Cursor, as_of: datetime) -> Section:
    """As `litgo casos parados`, with how long each has waited."""
    found = waits.parked(cursor)
    rows = []
    for case in found[:MOST]:
        case_id, urgency, *others = waits.cells(case)
        urgent = case.urgency_h is not None and case.urgency_h <= URGENT_HOURS
        rows.append(Row((urgency, lasted((as_of - case.since).total_seconds()), case_id, *others), urgent))
    of_case, of_urgency, *columns = waits.COLUMNS
    said = _first(MOST, number(len(found))) if len(found) > MOST else ()
    return Section(
        "parados",
        "Casos parados",
        number(len(found)),
        "look" if found else "fine",
        said if found else ("Nenhum caso está parado.",),
        (of_urgency, "espera há", of_case, *columns),
        tuple(rows),
    )


def to_review(cursor: Cursor, as_of: datetime) -> Section:
    """As `litgo triagem fila`."""
    waiting, found = review.waiting(cursor, as_of), review.queue(cursor, as_of, MOST)
    said = _first(MOST, number(waiting)) if waiting > MOST else ()
    return Section(
        "revisao",
        "Revisão da triagem",
        number(waiting),
        "look" if waiting else "fine",
        said if waiting else ("Nenhum caso aguarda revisão.",),
        review.COLUMNS,
        tuple(Row(review.cells(case), case.life_at_risk or case.hours_left <= 0) for case in found),
        help_text() if any(case.life_at_risk for case in found) else "",
    )


def to_read(cursor: Cursor, as_of: datetime) -> Section:
    """The cases that nobody has read yet, by urgency, as `/metrics` and `litgo status` count them."""
    read = gauges.read(cursor, ["urgent_waits_cases", "urgent_waits_oldest_age_seconds"])
    cases, oldest = (dict(read[name]) for name in ("urgent_waits_cases", "urgent_waits_oldest_age_seconds"))
    ages = {urgency: oldest.get(("triage", urgency), 0.0) for urgency in CLASSES}
    counts = {urgency: cases.get(("triage", urgency), 0.0) for urgency in CLASSES}
    late = any(n and ages[u] > health.QUEUES["case_queue_oldest_age_seconds"] for u, n in counts.items())
    total = sum(counts.values())
    return Section(
        "triagem",
        "À espera da triagem",
        number(total),
        "look" if late else "fine",
        () if total else ("Nenhum caso espera pela triagem.",),
        ("urgência", "casos", "o mais antigo espera há"),
        tuple(
            Row((word, number(counts[urgency]), lasted(ages[urgency])), urgency in ("unknown", "4h"))
            for urgency, word in CLASSES.items()
            if counts[urgency]
        ),
    )


def to_sign(cursor: Cursor, as_of: datetime) -> Section:
    """As `litgo contrato tarefas`."""
    found = manual.open_tasks(cursor, as_of, MOST + 1)
    more = len(found) > MOST
    return Section(
        "contratos",
        "Contratos a assinar",
        f"mais de {MOST}" if more else number(len(found)),
        "look" if found else "fine",
        _first(MOST, "mais") if more else () if found else ("Nenhum contrato espera assinatura em papel.",),
        manual.COLUMNS,
        tuple(Row(manual.cells(task), task.overdue) for task in found[:MOST]),
    )


def messages(cursor: Cursor, as_of: datetime) -> Section:
    """Who is still to be told, and of whom nobody was."""
    waiting = queue.waiting(cursor, as_of)
    late = waiting.oldest_seconds > health.QUEUES["outbox_oldest_age_seconds"]
    forgotten = dict(gauges.read(cursor, ["unattended"])["unattended"])
    words = ", ".join(f"{number(n)} {KINDS[kind][n != 1]}" for (kind,), n in forgotten.items() if n)
    oldest = f", a mais antiga há {lasted(waiting.oldest_seconds)}" if waiting.messages else ""
    return Section(
        "mensagens",
        "Mensagens a entregar",
        number(waiting.messages),
        "look" if late or waiting.dead or words else "fine",
        (
            f"A entregar: {number(waiting.messages)}{oldest}. Não entregues em um dia: {number(waiting.dead)}.",
            f"Sem próximo passo e sem ninguém avisado: {words or 'nada'}.",
        ),
    )


def model(cursor: Cursor, as_of: datetime) -> Section:
    """Which model version serves, and since when; which is tried."""
    champion = ledger.current_champion(cursor)
    tried = [
        version
        for (alias, version), _ in gauges.read(cursor, ["model_version_info"])["model_version_info"]
        if alias == "challenger"
    ]
    lines = [f"Em teste: versão {', '.join(tried)}."] if tried else ["Nenhuma versão está em teste."]
    if champion is None:
        return Section(
            "modelo", "Modelo", "pesos fixos", "look", ("Nenhum modelo serve: os pesos fixos ordenam.", *lines)
        )
    since = f" desde {moment(champion.recorded_at)}" if champion.recorded_at else ""
    return Section(
        "modelo",
        "Modelo",
        f"versão {champion.version}",
        "fine",
        (f"A versão {champion.version} ordena as ofertas{since}.", *lines),
    )


def night(cursor: Cursor, as_of: datetime) -> Section:
    """The last night of equity and the last backup, late by the limits of `litgo status`."""
    names = {
        "night": "equity_last_night_timestamp_seconds",
        "gini": "equity_offer_gini",
        "coverage": "equity_offer_coverage",
        "backup": "last_backup_timestamp_seconds",
    }
    read = gauges.read(cursor, names.values())
    values = {what: next((value for _, value in read[name]), None) for what, name in names.items()}
    now, last, backup = as_of.timestamp(), values["night"], values["backup"]
    late = [
        at is None or now - at > hours * HOUR
        for at, hours in ((last, status.NIGHT_HOURS), (backup, health.BACKUP_HOURS))
    ]
    if last is None:
        lines = ["Nenhuma noite foi calculada ainda."]
    else:
        figures = [
            f"{what} {number(value, digits)}{unit}"
            for what, value, digits, unit in (
                ("Gini", values["gini"], 3, ""),
                ("cobertura", None if values["coverage"] is None else 100 * values["coverage"], 1, " %"),
            )
            if value is not None
        ]
        lines = [f"Última noite: {_moment(last)}. Distribuição das ofertas: {'; '.join(figures) or '–'}."]
    lines.append("Nenhuma cópia de segurança." if backup is None else f"Última cópia de segurança: {_moment(backup)}.")
    figure = "nenhuma" if last is None else f"há {lasted(now - last)}"
    return Section("noite", "Última noite", figure, "look" if any(late) else "fine", tuple(lines))


def _moment(seconds: float) -> str:
    return moment(datetime.fromtimestamp(seconds, UTC))


READERS: dict[tuple[str, str], Reader] = {
    ("parados", "Casos parados"): parked,
    ("revisao", "Revisão da triagem"): to_review,
    ("triagem", "À espera da triagem"): to_read,
    ("contratos", "Contratos a assinar"): to_sign,
    ("mensagens", "Mensagens a entregar"): messages,
    ("modelo", "Modelo"): model,
    ("noite", "Última noite"): night,
}


def read(url: str | None, as_of: datetime) -> list[Section]:
    """All sections as of the instant. One that cannot be read says so, and leaves the others alone."""
    if url is None:
        return _nothing_read("este servidor não conhece o banco de dados (LITGO_DATABASE_URL)")
    try:
        with (
            connect(url, application_name="litgo-office", attempts=1, statement_seconds=STATEMENT_SECONDS) as opened,
            after(READ_SECONDS, partial(shut, opened)),
            opened.cursor() as cursor,
        ):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return [_read_one(cursor, key, title, reader, as_of) for (key, title), reader in READERS.items()]
    except (DatabaseUnavailable, DatabaseRefused, psycopg2.Error) as error:
        log.warning("the office's page was not read: %s", error_line(error))
        return _nothing_read("o banco de dados não responde")


def _nothing_read(why: str) -> list[Section]:
    return [unread(key, title, why) for key, title in READERS]


def _read_one(cursor: Cursor, key: str, title: str, reader: Reader, as_of: datetime) -> Section:
    cursor.execute("SAVEPOINT section")
    try:
        found = reader(cursor, as_of)
    except Exception as error:  # whatever is wrong with one list, the others are shown
        if cursor.connection.closed:
            raise
        log.warning("%s was not read: %s", key, error_line(error))
        cursor.execute("ROLLBACK TO SAVEPOINT section")
        return unread(key, title, "a leitura falhou ou demorou demais; o registro do servidor diz por quê")
    cursor.execute("RELEASE SAVEPOINT section")
    return found


@dataclass
class Office:
    """The page over HTTP. `url`: the marketplace's database, None where this process was not told of one."""

    url: str | None
    _one_reader: anyio.Lock = field(default_factory=anyio.Lock)
    _last: tuple[float, datetime, list[Section]] | None = None

    async def __call__(self, who: str, leave: str | None) -> Response:
        """For a person the doors let in. 503 when nothing could be read."""
        async with self._one_reader:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_SECONDS:
                as_of = datetime.now(UTC)
                found = await run_in_threadpool(read, self.url, as_of)
                self._last = time.monotonic(), as_of, found
        _, as_of, sections = self._last
        nothing = all(section.state == "unread" for section in sections)
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(page(sections, as_of, who, leave), 503 if nothing else 200, headers)
