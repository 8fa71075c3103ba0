"""A replica as the database: said in one sentence, nothing is given up, and after its promotion it serves."""

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from litgo_pipelines.database import connect, libpq, open_connection
from litgo_pipelines.marketplace import doctor
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.observability import gauges
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.dirt import fill
from litgo_pipelines_tests.worlds.matching import match
from litgo_pipelines_tests.worlds.own_server import INITDB, PROOF, command, serving
from litgo_pipelines_tests.worlds.strange_tables import day

pytestmark = PROOF


def said(url: str) -> list[str]:
    """What each kind of work on the database raises."""
    found = []
    for work in (migrate, day, match, lambda url: execute(url, "CREATE DATABASE x")):
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction) as caught:
            work(url)
        found.append(str(caught.value))
    return found


def test_a_standby_is_named_and_serves_once_it_is_promoted(folder: Path) -> None:
    command(folder, "initdb", "-D", "one", *INITDB)
    with serving(folder, "one") as primary:
        migrate(primary)
        fill(primary)
        execute(primary, "UPDATE litgo.source_mapping SET rendering_sha256 = 'of another version'")
        command(folder, "pg_basebackup", "-d", libpq(primary), "-D", "two", "-R", "-X", "stream", "--no-sync")
        with serving(folder, "two") as standby, closing(open_connection(standby)) as before:
            told = said(standby)
            assert all("use the primary" in one for one in told[:3]), told
            assert any("use the primary" in one for one in doctor.examine(standby).failures)
            with connect(standby) as connection, connection.cursor() as cursor:
                assert gauges.read(cursor, ["database_read_only"]) == {"database_read_only": [((), 1.0)]}
            command(folder, "pg_ctl", "-D", "two", "-w", "promote")
            with before, before.cursor() as cursor:
                cursor.execute("UPDATE public.cases SET area = area")
            migrate(standby)
            assert doctor.examine(standby).failures == []
            assert day(standby) == [12, 3]
            with connect(standby) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM litgo.matching_failures")
                assert cursor.fetchone() == (0,)
