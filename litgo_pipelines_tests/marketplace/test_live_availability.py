"""Who could be offered a case, on the marketplace's own schema: night, then matching, with people on leave and busy."""

from datetime import UTC, datetime, timedelta

import pytest

from litgo_pipelines.database import connect, open_connection
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.capacity import capacity_rules
from litgo_pipelines.equity.distribution import distribution
from litgo_pipelines.equity.load import read_window, record_night, run_night
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.matching.batch import match_pending
from litgo_pipelines.matching.plan import Arms, Plan
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace, fill

END = datetime(2026, 6, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
AWAY = (
    ("busy", None, None),
    ("vacation", None, None),
    ("vacation", END - 10 * DAY, END + 10 * DAY),
    ("available", END - 20 * DAY, END - 5 * DAY),
)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_night_and_a_matching_with_people_on_leave_and_busy(
    live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(live.superuser, lawyers=60, cases=500, days=40, end=END)
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(live.url)
    them = [
        i
        for (i,) in live.ask(
            "SELECT l.id::text FROM public.lawyers l JOIN public.profiles p USING (id) WHERE l.is_available "
            "AND l.is_approved AND availability_status = 'available' AND l.created_at < %s ORDER BY 1 LIMIT 4",
            END - 50 * DAY,
        )
    ]
    for person, values in zip(them, AWAY, strict=True):
        live.ask(
            "UPDATE public.profiles SET (availability_status, vacation_start, vacation_end) = (%s, %s, %s) "
            "WHERE id = %s",
            *values,
            person,
        )
    live.ask("UPDATE public.lawyers SET oab_number = id::text WHERE id <> ALL(%s::uuid[])", them[:2])
    live.ask(
        "UPDATE public.lawyers SET oab_number = CASE WHEN id = %s::uuid THEN 'OAB/SP 9.001' ELSE 'SP009001' END "
        "WHERE id = ANY(%s::uuid[])",
        them[0],
        them[:2],
    )
    with connect(live.url) as connection:
        run_night(connection, END.date(), END, capacity_rules())
        record_night(connection, END.date(), END)
        window = read_window(connection, END.date(), END)
        with connection.cursor() as cursor:
            stretches, found = availability.read_shares(cursor, END)
            cursor.execute("SELECT count(*) FROM litgo.lawyer_availability WHERE lawyer_id = ANY(%s::uuid[])", (them,))
            assert cursor.fetchone() == (1,)  # only who is back
            cursor.execute("SELECT sum(cases) FROM litgo.pool_demand")
            (demand,) = cursor.fetchone()
    assert demand == len(window[1].area) > 100
    assert distribution(*window)["lawyers"] > 10
    share = dict(zip(stretches.lawyers, found.tolist(), strict=True))
    assert 0.5 < share[them[2]] < 0.8  # 20 days of 30
    assert 0.35 < share[them[3]] < 0.65  # 15 of 30
    connection = open_connection(live.url)
    (result,) = match_pending(connection, Plan(), lambda *_: Arms.alone(Ranker()), END + timedelta(hours=1), "run")
    connection.close()
    assert result.matched > 0
    assert result.failures == {}
    offered = {
        lawyer for (lawyer,) in live.ask("SELECT DISTINCT lawyer_id::text FROM public.offers WHERE sent_at > %s", END)
    }
    assert not offered & set(them[:3])
