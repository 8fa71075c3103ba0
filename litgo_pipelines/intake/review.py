"""Review queue: which cases wait for a person, and the person's decision. Its messages are in Portuguese.

Knows the database, not Dagster. Shows no personal data and no text: who reviews reads the case in the marketplace.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from litgo_pipelines.database import Cursor, connect, sql
from litgo_pipelines.database.values import as_json
from litgo_pipelines.intake import rules, taxonomy
from litgo_pipelines.marketplace.ids import identifier
from litgo_pipelines.marketplace.public_numbers import help_text
from litgo_pipelines.observability.metrics import add, count
from litgo_pipelines.observability.tables import markdown_table

REASONS = {
    "too_short": "texto vazio ou curto demais",
    "outside_taxonomy": "nenhuma subárea conhecida se aplica",
    "area_uncertain": "área incerta",
    "subarea_uncertain": "subárea incerta",
    "danger_unsure": "possível perigo: confirme a urgência",
    "failed": "a triagem falhou três vezes",
}
_QUEUED = """
FROM litgo.triage t JOIN cases c ON c.id = t.case_id
WHERE t.status = 'review' AND c.status = 'pending_assignment'
  AND litgo.needs_person(c.area, c.subarea, t.reason)
  AND t.as_of <= %(as_of)s
"""


class ReviewError(ValueError):
    """A decision that cannot be taken; the message says why, in Portuguese."""


@dataclass(frozen=True)
class Waiting:
    case_id: str
    since: datetime
    hours: float
    reason: str  # a key of REASONS
    area: str | None
    alternatives: list[dict[str, Any]]
    urgency_h: float
    urgency_source: str
    life_at_risk: bool

    @property
    def hours_left(self) -> float:
        """Until a lawyer must act; below 0: overdue."""
        return self.urgency_h - self.hours


def queue(cursor: Cursor, as_of: datetime, limit: int | None = None) -> list[Waiting]:
    """The open cases that wait for a person as of the instant, the most urgent on top."""
    cursor.execute(
        "SELECT t.case_id::text, t.as_of, extract(epoch FROM %(as_of)s - t.as_of)::float8 / 3600, t.reason, c.area, "
        f"t.alternatives, t.urgency_h, t.urgency_source, t.life_at_risk {_QUEUED} "
        "ORDER BY t.urgency_h, t.as_of, t.case_id LIMIT %(limit)s",
        {"as_of": as_of, "limit": limit},
    )
    return [Waiting(*row) for row in cursor.fetchall()]


def waiting(cursor: Cursor, as_of: datetime, older_than_h: float = 0) -> int:
    """How many wait as of the instant, for at least `older_than_h` hours."""
    cursor.execute(
        f"SELECT count(*) {_QUEUED} AND t.as_of <= %(as_of)s - %(hours)s * interval '1 hour'",
        {"as_of": as_of, "hours": older_than_h},
    )
    return cursor.fetchone()[0]


COLUMNS = ("urgência", "caso", "espera (h)", "motivo", "área", "mais prováveis")


def cells(case: Waiting) -> tuple[str, ...]:
    """A row under COLUMNS."""
    waited = f"{case.hours:.1f}".replace(".", ",")
    return _urgency(case), case.case_id, waited, REASONS[case.reason], case.area or "–", _likely(case)


def markdown(cases: list[Waiting]) -> str:
    table = markdown_table(COLUMNS, map(cells, cases), right=(2,))
    return "\n".join([table, *(["", help_text()] if any(case.life_at_risk for case in cases) else [])])


def _urgency(case: Waiting) -> str:
    left = f"faltam {case.hours_left:.1f}" if case.hours_left > 0 else "vencida"
    shown = f"{case.urgency_h:g} h, {left}".replace(".", ",")
    return shown + (" ⚠ vida em risco" if case.life_at_risk else "")


def _likely(case: Waiting) -> str:
    return "; ".join(f"{a['area']}/{a['subarea']} {a['confidence']:.0%}" for a in case.alternatives) or "–"


def decide(cursor: Cursor, case_id: str, area: str, subarea: str, who: str, as_of: datetime) -> taxonomy.Subarea:
    """A person's decision, in the caller's transaction: into the case and its triage, with who and when.

    What the client chose is kept, unless the taxonomy does not have it. Returns the subarea as the taxonomy writes it.
    Raises UnknownSubarea or ReviewError.
    """
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    if not who.strip():
        raise ReviewError("diga quem decide")
    label = taxonomy.find(area, subarea)
    try:
        case_id = identifier(case_id)
    except ValueError as error:
        raise ReviewError(f"{case_id!r} não é o identificador de um caso") from error
    cursor.execute(
        "SELECT t.status, t.sources, c.status, litgo.chosen(c.area), litgo.chosen(c.subarea) FROM litgo.triage t "
        "JOIN cases c ON c.id = t.case_id WHERE t.case_id = %s::uuid FOR UPDATE",
        (case_id,),
    )
    row = cursor.fetchone()
    if row is None:
        raise ReviewError(f"o caso {case_id} não passou pela triagem")
    status, sources, case_status, case_area, case_subarea = row
    if status != "review":
        raise ReviewError(f"o caso {case_id} não está na fila de revisão")
    if case_status != "pending_assignment":
        raise ReviewError(f"o caso {case_id} não está mais aberto (status {case_status})")
    chosen: dict[str, str] = {}
    for name, value, wanted, known in (
        ("area", case_area, label.area, taxonomy.areas()),
        ("subarea", case_subarea, label.subarea, [each.subarea for each in taxonomy.subareas()]),
    ):
        found = value and taxonomy.spelling(value, known)
        ours = sources.get(name) in ("openai", "local", "rule")
        if found in known and found != wanted and not ours:
            raise ReviewError(f"o cliente escolheu {found}: essa escolha não pode ser trocada aqui")
        chosen[name] = "client" if found == wanted and sources.get(name) == "client" else "person"
    cursor.execute(
        sql("litgo_pipelines.intake", "reviewed.sql"),
        {
            "case_id": case_id,
            "area": label.area,
            "subarea": label.subarea,
            "sources": as_json(chosen),
            "class_h": taxonomy.urgency_h(*label),
            "who": who.strip(),
            "as_of": as_of,
        },
    )
    add(cursor, [count("triage_source_total", source="person")])
    return label


def confirm_urgency(cursor: Cursor, case_id: str, hours: float, who: str, as_of: datetime) -> None:
    """A person's word on the urgency, also a longer one than the text's, in the caller's transaction. A case that
    waited for nothing else leaves the queue. Raises ReviewError."""
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must name its zone or offset: {as_of.isoformat()}")
    if not who.strip():
        raise ReviewError("diga quem decide")
    if not rules.LEAST_H <= hours <= rules.MOST_H:
        raise ReviewError(f"a urgência vai de {rules.LEAST_H} a {rules.MOST_H} horas")
    try:
        case_id = identifier(case_id)
    except ValueError as error:
        raise ReviewError(f"{case_id!r} não é o identificador de um caso") from error
    cursor.execute(
        sql("litgo_pipelines.intake", "urgency_confirmed.sql"),
        {"case_id": case_id, "hours": hours, "who": who.strip(), "as_of": as_of},
    )
    if cursor.rowcount == 0:
        raise ReviewError(f"o caso {case_id} não passou pela triagem ou não está mais aberto")


def take_urgency(url: str, case_id: str, hours: float, who: str, as_of: datetime) -> str:
    """`litgo triagem urgencia`: writes the decision and says so. Raises as `confirm_urgency`."""
    with connect(url) as connection, connection.cursor() as cursor:
        confirm_urgency(cursor, case_id, hours, who, as_of)
    return f"caso {case_id}: urgência de {hours:g} h, decidido por {who.strip()}"


def text(cases: list[Waiting]) -> str:
    """All that wait, the most urgent on top."""
    heading = f"casos que aguardam revisão: {len(cases)}"
    return f"{heading}\n\n{markdown(cases)}" if cases else "nenhum caso aguarda revisão"


def take_decision(url: str, case_id: str, area: str, subarea: str, who: str, as_of: datetime) -> str:
    """`litgo triagem decidir`: writes the decision and says so. Raises as `decide`."""
    with connect(url) as connection, connection.cursor() as cursor:
        label = decide(cursor, case_id, area, subarea, who, as_of)
    return f"caso {case_id}: {label.area} / {label.subarea}, decidido por {who.strip()}"
