"""A server's own limits and troubles: no case is given up for them, and what to do is told."""

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.errors import ProgramLimitExceeded

from litgo_pipelines.database import libpq, of_the_database, open_connection, piecewise, refuses_a_row
from litgo_pipelines.marketplace import doctor
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.runtime.supervisor import StartError, _create_database
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.matching import fill, match
from litgo_pipelines_tests.worlds.own_server import INITDB, PROOF, command, serving
from litgo_pipelines_tests.worlds.sessions import ask

pytestmark = PROOF

NOTIFIES = """
CREATE FUNCTION public.tells() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_catalog.pg_notify('offers', NEW.id::text); RETURN NEW;
END $$;
CREATE TRIGGER tells AFTER INSERT ON public.offers FOR EACH ROW EXECUTE FUNCTION public.tells()
"""
LAST = 65_461 * 32_768  # the first transaction id of a page, and within the three millions that are kept for repairs


# It tells of them by the SQLSTATE of a value that is too long.
def test_neither_a_full_queue_of_notifications_nor_the_last_transaction_id_gives_up_a_case(folder: Path) -> None:
    command(folder, "initdb", "-D", "one", *INITDB)
    logical = "wal_level=logical"
    with serving(folder, "one", "max_notify_queue_pages=64", logical, stop="fast") as url:
        migrate(url)
        fill(url, lawyers=9, cases=3)
        execute(url, NOTIFIES)
        with closing(psycopg2.connect(libpq(url))) as listener, listener.cursor() as cursor:
            cursor.execute("LISTEN offers")
            listener.commit()
            cursor.execute("SELECT 1")  # and stays in this transaction
            with pytest.raises(ProgramLimitExceeded):
                execute(url, *(f"SELECT pg_notify('offers', repeat('{i % 10}', 7900))" for i in range(200)))
            with pytest.raises(ProgramLimitExceeded, match="end the session that listens"):
                match(url)
        assert ask(url, "SELECT count(*) FROM litgo.matching_failures") == [(0,)]
        execute(url, "SELECT pg_notification_queue_usage()")
        assert [result.matched for result in match(url)] == [3]
        fill_again = "UPDATE public.cases SET status = 'pending_assignment'; DELETE FROM public.offers"
        execute(url, fill_again, "SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
    # The slot keeps the server from repairing itself.
    command(folder, "pg_resetwal", "-D", "one", "-u", "3", "-x", str(LAST))
    with serving(folder, "one", logical) as url:
        with pytest.raises(ProgramLimitExceeded, match="replication slots that nobody reads"):
            match(url)
        assert migrate(url) == []
        assert any("VACUUM the database" in failure for failure in doctor.examine(url).failures)
        with closing(open_connection(url)) as connection, connection.cursor() as cursor:
            with pytest.raises(ProgramLimitExceeded) as caught:
                piecewise(
                    cursor, ["a", "b"], lambda cursor, part: cursor.execute("UPDATE lawyers SET name = name") or 0
                )
            assert of_the_database(caught.value)
            assert not refuses_a_row(caught.value)


def test_a_template_that_no_database_can_be_made_from_is_named(folder: Path) -> None:
    """As after an upgrade of the operating system, which sorts otherwise."""
    command(folder, "initdb", "-D", "one", *INITDB)
    with serving(folder, "one") as url:
        execute(url, "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = 'template1'")
        another = url.replace("/postgres", "/litgo_dagster")
        with pytest.raises(StartError, match=r"cannot be created .*collation version"):
            _create_database(another, url)
