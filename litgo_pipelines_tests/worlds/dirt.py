"""A marketplace whose columns hold anything, sound rows in it, and one dirty row for each value that means nothing.

`stages` runs what runs on it every day and gives what became of the sound rows.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from litgo_pipelines.contracts.requests import request_signatures
from litgo_pipelines.database import Connection, connect, libpq
from litgo_pipelines.equity import availability
from litgo_pipelines.equity.capacity import DEFAULT_RULES
from litgo_pipelines.equity.distribution import distribution
from litgo_pipelines.equity.load import read_window, run_night, store_distribution
from litgo_pipelines.evidence.refresh import refresh
from litgo_pipelines.intake.batch import triage_pending
from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.learning.snapshot import write_snapshot
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.matching import expiry, waits
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.notifications.delivery import Deliverer
from litgo_pipelines.observability import gauges, unattended
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.resources.onesignal import OneSignal
from litgo_pipelines.resources.sendgrid import SendGrid
from litgo_pipelines.simulation.faults import FaultServer
from litgo_pipelines_tests.worlds.matching import match
from litgo_pipelines_tests.worlds.notifications import MAILED, PUSHED
from litgo_pipelines_tests.worlds.sessions import kept

AS_OF = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)

# Columns as loose as another marketplace may have them: what a type allows, a row may hold.
LOOSEN = """
DROP SCHEMA litgo_source CASCADE;
DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT conrelid::regclass AS table, conname FROM pg_constraint
             WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f') LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.table, c.conname);
    END LOOP;
    FOR c IN SELECT attrelid::regclass AS table, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
             WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND attnotnull
               AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = attrelid AND i.indisprimary
                               AND attnum = ANY(i.indkey)) LOOP
        EXECUTE format('ALTER TABLE %s ALTER %I DROP NOT NULL', c.table, c.attname);
    END LOOP;
END $$;
ALTER TABLE public.lawyers ALTER max_concurrent_cases TYPE numeric, ALTER cases_30d TYPE numeric,
    ALTER capacidade_mensal TYPE numeric, ALTER kpi_softskill TYPE numeric, ALTER lng TYPE float8,
    ALTER oab_inscription_date TYPE timestamptz;
ALTER TABLE public.cases ALTER urgency_h TYPE numeric, ADD COLUMN preset text;
ALTER TABLE public.reviews ALTER rating TYPE numeric;
"""

SOUND = """
INSERT INTO profiles (id, full_name, email, push_token)
SELECT md5('client ' || i)::uuid, 'Cliente ' || i, 'c' || i || '@example.com', md5('t')::uuid::text
FROM generate_series(1, 12) i
UNION ALL
SELECT md5('lawyer ' || i)::uuid, 'Advogada ' || i, 'a' || i || '@example.com', md5('t')::uuid::text
FROM generate_series(1, 12) i;
INSERT INTO lawyers (id, name, oab_number, primary_area, tags_expertise, geo_latlon, kpi, curriculo_json,
                     max_concurrent_cases, oab_inscription_date, created_at)
SELECT md5('lawyer ' || i)::uuid, 'Advogada ' || i, 'SP ' || 1000 + i, 'Civil', ARRAY['Civil'],
       point(-46.6 - i * 0.001, -23.5), '{"success_rate": 0.7, "success_status": "V"}',
       '{"anos_experiencia": 7, "porte_escritorio": "pequeno"}', CASE WHEN i = 3 THEN 20 END, '2010-01-01',
       %(as_of)s::timestamptz - interval '300 days'
FROM generate_series(1, 12) i;
-- 1-3: new; 4-6: to be triaged; 7-9: offered, of which 7 expires, 8 has a contract to sign, 9 was concluded
INSERT INTO cases (id, client_id, title, description, area, subarea, urgency_h, complexity, coords, status, created_at)
SELECT md5('case ' || i)::uuid, md5('client ' || i)::uuid, 'Caso ' || i, 'Preciso de ajuda com um contrato ' || i,
       CASE WHEN i NOT IN (4, 5, 6) THEN 'Civil' END, CASE WHEN i NOT IN (4, 5, 6) THEN 'Contratos' END,
       CASE WHEN i <> 5 THEN 48 END, CASE WHEN i %% 2 = 0 THEN 'HIGH' END, point(-46.6, -23.5),
       CASE WHEN i = 9 THEN 'closed' WHEN i = 8 THEN 'assigned' ELSE 'pending_assignment' END,
       %(as_of)s::timestamptz - interval '3 hours' - CASE WHEN i > 6 THEN interval '6 days' ELSE interval '0' END
FROM generate_series(1, 9) i;
INSERT INTO case_matches (case_id, lawyer_id, raw_score, features, created_at)
SELECT md5('case ' || i)::uuid, md5('lawyer ' || i)::uuid, 0.5,
       '{"A": 1, "S": 0.5, "T": 0.5, "G": 0.5, "Q": 0.5, "U": 0.5, "R": 0.5, "C": 0.5}',
       %(as_of)s::timestamptz - interval '6 days'
FROM generate_series(7, 9) i;
INSERT INTO offers (id, case_id, lawyer_id, status, sent_at, responded_at, expires_at, raw_score, created_at)
SELECT md5('offer ' || i)::uuid, md5('case ' || i)::uuid, md5('lawyer ' || i)::uuid,
       CASE WHEN i = 7 THEN 'pending' ELSE 'interested' END, %(as_of)s::timestamptz - interval '6 days',
       CASE WHEN i > 7 THEN %(as_of)s::timestamptz - interval '5 days 20 hours' END,
       %(as_of)s::timestamptz - interval '5 days', 0.5, %(as_of)s::timestamptz - interval '6 days'
FROM generate_series(7, 9) i;
INSERT INTO contracts (id, case_id, lawyer_id, client_id, status, fee_model, signed_client, signed_lawyer, created_at)
SELECT md5('contract ' || i)::uuid, md5('case ' || i)::uuid, md5('lawyer ' || i)::uuid, md5('client ' || i)::uuid,
       CASE WHEN i = 8 THEN 'pending-signature' ELSE 'closed' END, '{"type": "success", "percent": 20}',
       CASE WHEN i = 9 THEN %(as_of)s::timestamptz - interval '4 days' END,
       CASE WHEN i = 9 THEN %(as_of)s::timestamptz - interval '4 days' END,
       %(as_of)s::timestamptz - interval '5 days'
FROM generate_series(8, 9) i;
INSERT INTO reviews (id, contract_id, lawyer_id, client_id, rating, outcome, comment, created_at)
VALUES (md5('review 9')::uuid, md5('contract 9')::uuid, md5('lawyer 9')::uuid, md5('client 9')::uuid, 5, 'won',
        'Ótima advogada', %(as_of)s::timestamptz - interval '1 day');
"""

RANDOM = "".join(hashlib.sha256(str(i).encode()).hexdigest() for i in range(200))  # no index packs it into a page
INSTANTS = ("infinity", "-infinity", "4713-01-01 BC", "0044-03-15 BC", "294276-12-31 23:59:59+00", "0001-01-01")
TINY, HUGE = "1e-400", "1e400"
NUMBERS = ("NaN", "Infinity", "-Infinity", HUGE, "-" + HUGE, TINY, "0", "-3", "0.4", "2." + "7" * 400)
POINTS = ("(0,0)", "(2.35,48.86)", "(NaN,NaN)", "(Infinity,-23)", "(-46,NaN)", "(1e300,1e300)")
ARRAYS = ("{{Penal,Digital},{a,b}}", "{Penal,NULL}", "{NULL}", "{}", "{{Penal}}", "[-3:-2]={Penal,Digital}")
JSONS = (
    '"texto"',
    "[]",
    "[1,2]",
    "1e400",
    "null",
    '{"anos_experiencia": 1e400}',
    '{"anos_experiencia": "sete"}',
    '{"success_rate": -5, "tempo_resposta_h": 1e-400, "success_status": 3}',
    '{"pos_graduacoes": "x"}',
    '{"pareceres": [1, null, {"texto": 1e400}], "resumo": []}',
    '{"a": ' + "9" * 5000 + "}",
    '{"A": 1e400, "S": 1e-400, "T": "x"}',
    f'{{"Civil/{RANDOM}": 0.5, "{RANDOM}/{RANDOM}": 0.5, "{RANDOM}": 1, "resumo": "{RANDOM}"}}',
    f'{{"pos_graduacoes": [{{"nivel": "mestrado", "area": "{RANDOM}"}}], "porte_escritorio": "{RANDOM}"}}',
    '{"anos_experiencia": 9007199254740993, "num_publicacoes": 9007199254740993, "success_rate": 9007199254740993}',
    '{"anos_experiencia": true, "num_publicacoes": [], "success_rate": {}, "success_status": null}',
    '{"anos_experiencia": "7 anos", "success_rate": "0,8", "tempo_resposta_h": "2h30", "a": 1, "a": {}}',
    "[" * 3000 + "]" * 3000,
)
FEES = (
    *JSONS,
    '{"type": "success", "percent": -1e400}',
    '{"type": "fixed", "value": 1e400}',
    '{"type": "success", "percent": "vinte"}',
    '{"type": 7}',
)
TEXTS = ("", "   ", "x" * 5000, RANDOM, "{0} %s %(name)s ${HOME} \\ \"'", "\u202e\u200b\ufeff\ue000\x01\x1f\r\n")

# table → what another row of it has; then one of its columns holds a dirty value. Rows of a dirty lawyer are his own.
BASE: dict[str, dict[str, str]] = {
    "profiles": {"full_name": "Ana", "email": "ana@example.com"},
    "lawyers": {
        "name": "Rui",
        "oab_number": "SP 99",
        "primary_area": "Penal",
        "tags_expertise": "{Penal}",
        "geo_latlon": "(-46.6,-23.5)",
        "created_at": "2020-01-01",
    },
    "cases": {
        "client_id": "client 11",
        "title": "t",
        "description": "d",
        "area": "Trabalhista",
        "subarea": "Rescisão",
        "urgency_h": "48",
        "status": "pending_assignment",
        "coords": "(-46.6,-23.5)",
        "created_at": "2h",
    },
    "case_matches": {"case_id": "dirt", "lawyer_id": "dirt", "features": '{"A": 1}', "created_at": "6d"},
    "offers": {
        "case_id": "dirt",
        "lawyer_id": "dirt",
        "status": "pending",
        "sent_at": "6d",
        "expires_at": "5d",
        "created_at": "6d",
    },
    "contracts": {
        "case_id": "dirt",
        "lawyer_id": "dirt",
        "client_id": "client 11",
        "status": "pending-signature",
        "fee_model": '{"type": "success", "percent": 20}',
        "created_at": "5d",
    },
    "reviews": {
        "contract_id": "dirt",
        "lawyer_id": "dirt",
        "client_id": "client 11",
        "rating": "5",
        "outcome": "won",
        "created_at": "1d",
    },
}
DIRT: dict[str, dict[str, tuple[str | None, ...]]] = {
    "profiles": {"full_name": (*TEXTS, None), "email": (*TEXTS, None), "push_token": TEXTS},
    "lawyers": {
        "name": (*TEXTS, None),
        "oab_number": (*TEXTS, None),
        "primary_area": (*TEXTS, None),
        "tags_expertise": (*ARRAYS, None),
        "geo_latlon": POINTS,
        "lat": NUMBERS,
        "lng": NUMBERS[:3],
        "kpi": JSONS,
        "kpi_subarea": JSONS,
        "kpi_softskill": NUMBERS,
        "curriculo_json": JSONS,
        "max_concurrent_cases": NUMBERS,
        "oab_inscription_date": INSTANTS,
        "cases_30d": NUMBERS,
        "capacidade_mensal": NUMBERS,
        "last_offered_at": INSTANTS,
        "equity_updated_at": INSTANTS,
        "created_at": (*INSTANTS, None),
        "is_available": (None,),
    },
    "cases": {
        "client_id": (None,),
        "title": TEXTS,
        "description": (*TEXTS, None),
        "area": (*TEXTS, None),
        "subarea": (*TEXTS, None),
        "urgency_h": NUMBERS,
        "complexity": ("", "EXTREME"),
        "coords": POINTS,
        "lat": NUMBERS,
        "lng": NUMBERS,
        "status": ("", None),
        "preset": ("", "barato"),
        "created_at": (*INSTANTS, None),
    },
    "case_matches": {"raw_score": NUMBERS, "features": JSONS, "breakdown": JSONS, "created_at": (*INSTANTS, None)},
    "offers": {
        "case_id": (None,),
        "lawyer_id": (None,),
        "status": ("", None),
        "sent_at": (*INSTANTS, None),
        "responded_at": INSTANTS,
        "expires_at": (*INSTANTS, None),
        "raw_score": NUMBERS,
        "fair_score": NUMBERS,
        "last_offered_at": INSTANTS,
        "created_at": (*INSTANTS, None),
    },
    "contracts": {
        "case_id": (None,),
        "lawyer_id": (None,),
        "client_id": (None, "dirt"),
        "status": ("", None),
        "fee_model": FEES,
        "signed_client": INSTANTS,
        "signed_lawyer": INSTANTS,
        "doc_url": TEXTS[:2],
        "created_at": (*INSTANTS, None),
    },
    "reviews": {
        "contract_id": (None,),
        "rating": (*NUMBERS, "9"),
        "outcome": ("", "draw"),
        "comment": TEXTS,
        "created_at": (*INSTANTS, None),
    },
}
IDS = {"case_id": "case", "lawyer_id": "lawyer", "client_id": "lawyer", "contract_id": "contract"}
NEEDS = {
    "case_matches": ("cases", "lawyers"),
    "offers": ("cases", "lawyers"),
    "contracts": ("cases", "lawyers", "offers"),
    "reviews": ("cases", "lawyers", "offers", "contracts"),
}


def loosen(url: str) -> None:
    """Any column may hold what its type allows."""
    with closing(psycopg2.connect(libpq(url))) as connection, connection, connection.cursor() as cursor:
        cursor.execute(LOOSEN)
    migrate(url)


def fill(url: str) -> None:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(SOUND.replace("INTO ", "INTO public."), {"as_of": AS_OF})


def dirty_rows() -> Iterator[tuple[str, str, str | None]]:
    """(table, column, value) of each dirty row."""
    for table, columns in DIRT.items():
        for column, values in columns.items():
            for value in values:
                yield table, column, value


def add_dirt(url: str, only: Callable[[str, str, str | None], bool] = lambda *_: True) -> list[tuple[str, str]]:
    """Insert the dirty rows, each with sound rows of its own around it; (table, column) of what went in."""
    added = []
    with kept(url) as connection, connection, connection.cursor() as cursor:
        for number, (table, column, value) in enumerate(dirty_rows()):
            if only(table, column, value):
                for needed in NEEDS.get(table, ()):
                    _insert(cursor, needed, f"dirt {number}", {})
                _insert(cursor, table, f"dirt {number}", {column: value})
                added.append((table, column))
    return added


def _insert(cursor: Any, table: str, name: str, changed: dict[str, str | None]) -> None:
    row: dict[str, Any] = {**BASE[table], **changed}
    if table != "case_matches":
        row["id"] = f"{table[:-1]} {name}"
    if table == "contracts" and changed.get("status", "x") in ("x",):
        row.setdefault("status", "pending-signature")
    if NEEDS.get(table) and table == "offers" and not changed:
        row["status"] = "interested"
    if table == "cases" and not changed:
        row["status"] = "assigned"
    columns: list[str] = []
    marks: list[str] = []
    values: list[Any] = []
    for column, value in row.items():
        columns.append(column)
        marks.append("%s")
        if value is not None and (column == "id" or column.endswith("_id")):
            marks[-1] = "md5(%s)::uuid"
            value = f"{IDS[column]} {name}" if value == "dirt" else value
        elif isinstance(value, str) and value[:-1].isdigit() and value[-1] in "hd":
            marks[-1] = "%s::timestamptz"
            value = AS_OF - int(value[:-1]) * (DAY if value[-1] == "d" else DAY / 24)
        values.append(value)
    cursor.execute(f"INSERT INTO public.{table} ({', '.join(columns)}) VALUES ({', '.join(marks)})", values)


RESULTS = {
    "nights": "SELECT lawyer_id::text, cases_30d, capacidade_mensal, last_offered_at, offers_30d, load "
    "FROM litgo.equity_history WHERE lawyer_id = ANY(%(lawyers)s) ORDER BY 1",
    "written back": "SELECT id::text, cases_30d, capacidade_mensal, equity_updated_at FROM lawyers "
    "WHERE id = ANY(%(lawyers)s) ORDER BY 1",
    "evidence": "SELECT lawyer_id::text, concluded, won, years, publications, degrees, response_h, stars, reviews, "
    "softskill FROM litgo.lawyer_evidence WHERE lawyer_id = ANY(%(lawyers)s) ORDER BY 1",
    "triage": "SELECT case_id::text, status, area, subarea, urgency_h, complexity, sources FROM litgo.triage "
    "WHERE case_id = ANY(%(cases)s) ORDER BY 1",
    "offers": "SELECT case_id::text, lawyer_id::text, raw_score FROM offers "
    "WHERE case_id = ANY(%(cases)s) ORDER BY 1, 2",
    "statuses": "SELECT id::text, status FROM offers WHERE id = ANY(%(offers)s) ORDER BY 1",
    "contracts": "SELECT contract_id::text, status, method, reason FROM litgo.contract_requests "
    "WHERE contract_id = ANY(%(contracts)s) ORDER BY 1",
    "waits": "SELECT case_id::text, reason FROM litgo.case_waits WHERE case_id = ANY(%(cases)s) ORDER BY 1",
    "failures": "SELECT case_id::text, reason FROM litgo.matching_failures WHERE case_id = ANY(%(cases)s)",
    "messages": "SELECT kind, dedup_key, status FROM litgo.outbox WHERE recipient_id = ANY(%(people)s) "
    "AND kind <> 'offer' ORDER BY 1, 2",
}


def stages(url: str, model: Model, folder: Path) -> dict[str, Any]:
    """Run the day; what became of the sound rows, by stage."""
    found: dict[str, Any] = {}
    with kept(url) as connection, connection:
        night = run_night(connection, AS_OF.date(), AS_OF, DEFAULT_RULES)
        assert not night.refused
    with kept(url) as connection, connection:
        store_distribution(connection, AS_OF.date(), AS_OF, distribution(*read_window(connection, AS_OF.date(), AS_OF)))
    with kept(url) as connection, connection:
        refresh(connection, AS_OF)
    with kept(url) as connection:
        result = triage_pending(connection, AS_OF, limit=5000, threshold=0.6, version="v", model=model)
        assert result.failures == {}
    with kept(url) as connection, connection, connection.cursor() as cursor:
        waits.put_aside(cursor, AS_OF)
        expiry.expire(cursor, AS_OF)
    match(url, Plan(exploration=0, limit=5000), AS_OF + DAY / 24)
    with kept(url) as connection:
        assert expiry.shorten(connection, AS_OF + DAY / 24, 0.5)[1] == {}
    with kept(url) as connection, connection, connection.cursor() as cursor:
        at = AS_OF + DAY / 12
        waits.put_aside(cursor, at)
        waits.notify_unknown_states(cursor, at)
        waits.park(cursor, Plan(), at)
        waits.notify(cursor, at)
        availability.record(cursor, at)
        waits.markdown(waits.parked(cursor))
        unattended.find(cursor, at)
    with kept(url) as connection:
        signed = request_signatures(connection, DocuSign(), AS_OF, limit=5000, signing_days=7)
        assert signed.failures == {}
    _notify(url)
    with kept(url) as connection, connection, connection.cursor() as cursor:
        gauges.read(cursor)
    with connect(url) as connection, connection.cursor() as cursor:  # alone: it makes temporary views
        snapshot = write_snapshot(cursor, AS_OF, 0.2, folder)
    import pyarrow.parquet as pq

    cases = {str(one) for one in _ids("case")}
    rows = pq.read_table(snapshot.path).to_pylist()
    found["snapshot"] = [{k: v for k, v in r.items() if k != "split"} for r in rows if str(r["case_id"]) in cases]
    with kept(url) as connection, connection:
        found |= results(connection)
    return found


def _notify(url: str) -> None:
    with FaultServer(PUSHED) as push, FaultServer(MAILED) as mail, kept(url) as connection:
        onesignal, sendgrid = OneSignal(app_id="app", base_url=push.url), SendGrid(base_url=mail.url)
        Deliverer(
            connection,
            onesignal,
            sendgrid,
            cooldown_minutes=0,
            seconds=60,
            clock=lambda: AS_OF + DAY / 8,
            pause=lambda seconds: None,
        ).run()


def _ids(kind: str) -> list[Any]:
    import uuid

    return [uuid.UUID(hashlib.md5(f"{kind} {i}".encode()).hexdigest()) for i in range(1, 13)]


def results(connection: Connection) -> dict[str, Any]:
    ids = {f"{kind}s": [str(one) for one in _ids(kind)] for kind in ("lawyer", "case", "offer", "contract", "client")}
    parameters: dict[str, Any] = {**ids, "people": ids["clients"][:9] + ids["lawyers"]}  # client 11 has the dirty cases
    found = {}
    with connection.cursor() as cursor:
        for name, query in RESULTS.items():
            cursor.execute(query.replace(")s)", ")s::uuid[])"), parameters)
            found[name] = cursor.fetchall()
    return found


@pytest.fixture
def loose_url(database_url: str) -> str:
    loosen(database_url)
    fill(database_url)
    return database_url
