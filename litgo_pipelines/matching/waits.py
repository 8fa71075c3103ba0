"""Waits: cases nobody can be offered now, with the instant of the next look or the people who were told.

Knows the database, not Dagster. Every function works in the caller's transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from litgo_pipelines.database import Cursor
from litgo_pipelines.marketplace import counts
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.matching.record import RETRY_TOLD, notify_failed
from litgo_pipelines.matching.statements import statement
from litgo_pipelines.notifications.outbox import TEAM, TEAMS, Message, put
from litgo_pipelines.notifications.wording import moment
from litgo_pipelines.observability.tables import markdown_table
from litgo_pipelines.owners import Owner

REASONS = {
    "nobody": "nenhum(a) advogado(a) disponível",
    "rounds_over": "ninguém aceitou em todas as rodadas",
    "failed": "erro ao oferecer",
    "duplicate": "repetição do caso",
}


class ParkedCase(NamedTuple):
    """A case that goes no further by itself for now. `next_look_at` None: only after a change.

    `detail`: the error of `failed`, the earlier case of `duplicate`.
    """

    case_id: str
    reason: str  # a key of REASONS
    area: str | None
    urgency_h: float | None
    since: datetime
    next_look_at: datetime | None
    detail: str | None
    team_knows: bool
    client_knows: bool


def write_wait(cursor: Cursor, case_id: str, round_number: int, as_of: datetime) -> None:
    """One look at a case found nobody. Tells team and client when it has lasted long enough."""
    cursor.execute(statement("wait.sql"), {"case_id": case_id, "round": round_number, "as_of": as_of, "team": TEAM})


def mark_duplicates(cursor: Cursor, plan: Plan, as_of: datetime) -> None:
    """Cases that repeat an earlier one of their client are put aside while that one is on its way."""
    cursor.execute(statement("duplicates.sql"), {"as_of": as_of, "minutes": plan.duplicate_minutes})


def over(cursor: Cursor, plan: Plan, as_of: datetime) -> int:
    """How many cases are at the end of their rounds without anybody told."""
    cursor.execute(f"SELECT count(*) FROM ({statement('over.sql')}) AS over", _limits(plan, as_of))
    return int(cursor.fetchone()[0])


def park(cursor: Cursor, plan: Plan, as_of: datetime) -> int:
    """Tell of the cases at the end of their rounds, and let them wait for a change; end the waits that are over."""
    cursor.execute(statement("wait_over.sql"), {"as_of": as_of})
    cursor.execute(statement("park.sql"), {**_limits(plan, as_of), "team": TEAM})
    return int(cursor.fetchone()[0])


def put_aside(cursor: Cursor, as_of: datetime) -> int:
    """Cases whose row nothing can be decided on: parked as failed, told to the team, released once mended. How many."""
    cursor.execute(statement("aside.sql"), {"as_of": as_of, "again": RETRY_TOLD})
    found = cursor.fetchall()
    for case_id, since in found:
        notify_failed(cursor, case_id, since, as_of)
    return len(found)


def _limits(plan: Plan, as_of: datetime) -> dict[str, object]:
    return {"as_of": as_of, "rounds": plan.rounds, "round_days": plan.round_days}


def gone(cursor: Cursor, as_of: datetime) -> list[counts.Gone]:
    """Tables of which more than half is gone; the team is told of each once, until a person says that it is right."""
    found = counts.gone(cursor)
    put(
        cursor,
        [Message("rows_gone", TEAMS[Owner.MARKETPLACE], _gone_key(each), _figures(each)) for each in found],
        as_of,
    )
    return found


def gone_untold(cursor: Cursor, found: Sequence[counts.Gone]) -> int:
    """Of how many of them the team has not been told."""
    cursor.execute("SELECT count(*) FROM litgo.outbox WHERE dedup_key = ANY (%s)", ([_gone_key(one) for one in found],))
    return len(found) - int((cursor.fetchone() or (0,))[0])


def _gone_key(gone: counts.Gone) -> str:
    return f"rows_gone: {gone.table} {gone.good.counted_at:%Y-%m-%dT%H:%M}"


def _figures(gone: counts.Gone) -> dict[str, object]:
    counted_at = gone.good.counted_at.isoformat()
    return {"table": gone.table, "rows": gone.rows, "before": gone.good.rows, "counted_at": counted_at}


def untold(cursor: Cursor, as_of: datetime) -> int:
    """How much waits for people who were not told yet."""
    cursor.execute(
        f"SELECT (SELECT count(*) FROM ({statement('news.sql')}) AS news) "
        f"+ (SELECT count(*) FROM ({statement('reopened.sql')}) AS reopened)",
        _people(as_of),
    )
    return int(cursor.fetchone()[0])


def notify_unknown_states(cursor: Cursor, as_of: datetime) -> int:
    """States of cases, contracts and offers that nobody knows: the team hears of each once. How many are new."""
    cursor.execute(statement("unknown_states.sql"), {"as_of": as_of, "marketplace": TEAMS[Owner.MARKETPLACE]})
    return cursor.rowcount


def notify(cursor: Cursor, as_of: datetime) -> int:
    """Notify who waits to be told; how many. Cases whose area was removed after triage enter the review queue first.

    What was told in the future, by a clock that was wrong, hides no news; the same news has the same key, sent once.
    """
    cursor.execute("DELETE FROM litgo.told WHERE told_at > %(as_of)s::timestamptz + interval '1 day'", {"as_of": as_of})
    cursor.execute(
        "UPDATE litgo.triage SET status = 'review', reason = 'area_uncertain', as_of = %(as_of)s "
        f"WHERE case_id IN ({statement('reopened.sql')})",
        {"as_of": as_of},
    )
    cursor.execute(statement("notify.sql"), _people(as_of))
    return int(cursor.fetchone()[0])


def parked(cursor: Cursor) -> list[ParkedCase]:
    """What `litgo casos parados` lists, the most urgent first."""
    cursor.execute(statement("parked.sql"), {"team": TEAM})
    return [ParkedCase(*row) for row in cursor.fetchall()]


COLUMNS = ("caso", "urgência", "área", "motivo", "espera desde", "próxima tentativa", "quem já sabe")


def cells(case: ParkedCase) -> tuple[str, ...]:
    """A row under COLUMNS, for people in Brazil: their words, their time."""
    return (
        case.case_id,
        f"{case.urgency_h:g} h".replace(".", ",") if case.urgency_h else "–",
        case.area or "–",
        f"{REASONS[case.reason]}{f' ({case.detail})' if case.detail else ''}",
        moment(case.since),
        moment(case.next_look_at) if case.next_look_at else "quando algo mudar",
        _who_knows(case),
    )


def markdown(cases: list[ParkedCase]) -> str:
    return markdown_table(COLUMNS, map(cells, cases), right=(1,))


def _who_knows(case: ParkedCase) -> str:
    knows = [who for who, told in (("equipe", case.team_knows), ("cliente", case.client_knows)) if told]
    return " e ".join(knows) or "ninguém ainda"


def _people(as_of: datetime) -> dict[str, object]:
    return {"as_of": as_of, "team": TEAM, "reviewers": TEAMS[Owner.MARKETPLACE]}
