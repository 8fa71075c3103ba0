"""A small marketplace with known ids, so that two databases filled alike can be compared row by row."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from litgo_pipelines.matching import record
from litgo_pipelines.matching.batch import match_pending
from litgo_pipelines.matching.plan import Arms, Plan
from litgo_pipelines.matching.work import BatchResult
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines_tests.support import fresh_database
from litgo_pipelines_tests.worlds.processes import kill_self
from litgo_pipelines_tests.worlds.sessions import ask, kept

AS_OF = datetime(2026, 6, 30, 12, 0, tzinfo=UTC)
SAO_PAULO = (-23.55, -46.63)

FILL = """
INSERT INTO profiles (id, full_name) SELECT md5('client ' || i)::uuid, 'Cliente ' || i FROM generate_series(1, 20) i;
INSERT INTO lawyers (id, name, primary_area, tags_expertise, geo_latlon, capacidade_mensal, cases_30d, created_at)
SELECT md5('lawyer ' || i)::uuid, 'Advogado ' || i, 'Civil',
       CASE WHEN i %% 3 = 0 THEN ARRAY['Civil', 'Família'] ELSE ARRAY['Civil'] END,
       point(-46.63 + (i %% 7) * 0.01, -23.55 + (i %% 5) * 0.01), 5 + i %% 11, i %% 4,
       %(as_of)s::timestamptz - interval '300 days'
FROM generate_series(1, %(lawyers)s) i;
INSERT INTO litgo.equity_history (night, lawyer_id, as_of, cases_30d, capacidade_mensal, offers_30d, load)
SELECT %(as_of)s::date - 1, id, %(as_of)s::timestamptz - interval '7 hours', cases_30d, capacidade_mensal, 0,
       cases_30d::float8 / capacidade_mensal FROM lawyers;
INSERT INTO litgo.lawyer_evidence (lawyer_id, as_of, concluded, won, years, publications, degrees, response_h, stars,
                                   reviews, softskill)
SELECT md5('lawyer ' || i)::uuid, %(as_of)s, i %% 9, (i %% 9) / 2.0, i %% 20, i %% 3, '{"Civil": 2}', 1 + i %% 30,
       CASE WHEN i %% 4 > 0 THEN 1 + i %% 5 END, i %% 4 * 3, CASE WHEN i %% 2 = 0 THEN 0.3 END
FROM generate_series(1, %(lawyers)s) i WHERE i %% 6 > 0;
INSERT INTO cases (id, client_id, area, subarea, urgency_h, complexity, coords, created_at)
SELECT md5('case ' || i)::uuid, md5('client ' || 1 + i %% 20)::uuid,
       CASE WHEN i %% 4 = 0 THEN 'Família' ELSE 'Civil' END, 'Contratos',
       24 + i %% 5 * 24, CASE i %% 3 WHEN 0 THEN 'LOW' WHEN 1 THEN 'HIGH' END,
       point(-46.63, -23.55), %(as_of)s::timestamptz - i * interval '7 minutes'
FROM generate_series(1, %(cases)s) i ORDER BY {order};
"""


def fill(url: str, lawyers: int = 30, cases: int = 12, order: str = "i") -> None:
    """`order`: an expression of i, the order in which the cases' rows are written."""
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(FILL.replace("{order}", order), {"as_of": AS_OF, "lawyers": lawyers, "cases": cases})


def offers(url: str) -> list[tuple[Any, ...]]:
    """What was offered to whom and when: the same in two databases that were treated alike."""
    return ask(
        url,
        "SELECT o.case_id::text, o.lawyer_id::text, o.sent_at, o.raw_score, o.fair_score, m.features, m.breakdown "
        "FROM offers o JOIN case_matches m USING (case_id, lawyer_id) ORDER BY 1, 2",
    )


def match(
    url: str, plan: Plan | None = None, as_of: datetime = AS_OF, ranker: Ranker | None = None
) -> list[BatchResult]:
    arms = Arms.alone(ranker or Ranker())
    with kept(url) as connection:
        return list(match_pending(connection, plan or Plan(), lambda *_: arms, as_of, "a run"))


@pytest.fixture
def another_url(postgres_server_url: str, migrated_template: str) -> Iterator[Callable[[], str]]:
    """Further fresh databases, to compare with."""
    with ExitStack() as databases:
        yield lambda: databases.enter_context(fresh_database(postgres_server_url, migrated_template))


MINUTE = timedelta(minutes=1)


def killed_match(url: str, as_of: datetime, moment: str, number: int) -> None:
    """Matching that is killed before or after the case of this number is written."""
    real, seen = record.write, 0

    def dying(*arguments: Any) -> Any:
        nonlocal seen
        if moment == "before" and seen == number:
            kill_self()
        found = real(*arguments)
        seen += 1
        if moment == "after" and seen == number:
            kill_self()
        return found

    record.write = dying  # type: ignore[assignment]
    match(url, Plan(exploration=0.3), as_of)
