"""Statements: the SQL files of this stage with the conditions they share filled in.

Who could be offered a case and where somebody is are written once, for equity too: `equity/availability.py`.
"""

from litgo_pipelines.database import sql
from litgo_pipelines.equity.availability import NUMBERS, filled

PACKAGE = "litgo_pipelines.matching"
# over.sql has {so_far}
_FILES = {"{over}": "over.sql", "{news}": "news.sql", "{so_far}": "so_far.sql", "{to_hear}": "to_hear.sql"}
_SHARED = {
    "{near_by_numbers}": (
        "        UNION ALL\n"
        f"        SELECT l.id, r.mask FROM lawyers l JOIN region r ON {NUMBERS} <@ r.box\n"
        "        WHERE litgo.placed(l.geo_latlon) IS NULL\n"
    ),
    # Somebody may still answer, or the client choose: not who has left since. A short term, of an urgent case, is over
    # at its end, not when the hourly expiry says so in the row.
    "{open_offer}": (
        "f.status = 'pending' AND (f.expires_at BETWEEN '1900-01-01' AND %(as_of)s "
        "AND f.expires_at < litgo.instant(f.sent_at) + interval '24 hours') IS NOT TRUE "
        "OR f.status = 'interested' AND EXISTS ("
        "SELECT FROM lawyers l WHERE l.id = f.lawyer_id AND coalesce(l.active, true))"
    ),
    # When the offer f was answered, else made; none where a clock was wrong.
    "{answered}": (
        "coalesce(CASE WHEN f.responded_at <= %(as_of)s::timestamptz + interval '1 day' "
        "THEN litgo.instant(f.responded_at) END, "
        "CASE WHEN f.sent_at <= %(as_of)s::timestamptz + interval '1 day' THEN litgo.instant(f.sent_at) END)"
    ),
    # The newest contract of a case that came to nothing.
    "{after_contract}": (
        "(SELECT max(litgo.instant(k.created_at)) FROM contracts k "
        "WHERE k.case_id = c.id AND k.status = 'canceled' AND k.created_at <= %(as_of)s)"
    ),
    # Ends a subquery whose rows alone a condition outside is asked of. Postgres would move the condition inwards, and
    # `litgo.chosen`, which reads words, would be called for every case that waits.
    "{fence}": "OFFSET 0",
    "{digest}": "litgo.case_digest(c.area, c.subarea, c.complexity, c.description, c.coords::text)",
}


def statement(name: str) -> str:
    """The text of a file, ready for `execute`."""
    text = sql(PACKAGE, name)
    for mark, part in _FILES.items():
        if mark in text:
            text = text.replace(mark, sql(PACKAGE, part))
    for mark, part in _SHARED.items():
        text = text.replace(mark, part)
    return filled(text)
