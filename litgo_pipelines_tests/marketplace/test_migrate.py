"""`litgo migrate` on every kind of database it may meet."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from litgo_pipelines.database import DatabaseUnavailable, connect, libpq, normalise
from litgo_pipelines.marketplace.migrate import MigrationError, migrate, migrations
from litgo_pipelines.marketplace.schema import EQUITY_COLUMNS, TABLES
from litgo_pipelines_tests.support import execute


@pytest.fixture
def empty_url(postgres_server_url: str) -> Iterator[str]:
    name = f"litgo_empty_{uuid.uuid4().hex[:12]}"
    execute(postgres_server_url, f"CREATE DATABASE {name}")
    yield normalise(postgres_server_url, name)
    execute(postgres_server_url, f"DROP DATABASE {name} WITH (FORCE)")


def columns(url: str, table: str) -> set[str]:
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
            "AND table_schema <> 'litgo_source'",
            (table,),
        )
        return {name for (name,) in cursor.fetchall()}


def test_creates_everything_once(empty_url: str) -> None:
    done = migrate(empty_url)
    assert [line for line in done if line.startswith("applied")] == [f"applied {name}" for _, name, *_ in migrations()]
    assert "no marketplace found: created its tables, empty" in done
    assert migrate(empty_url) == []


def test_from_many_processes_at_once(empty_url: str) -> None:
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(migrate(empty_url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(bool, results)) == [False] * 5 + [True]


def test_an_existing_marketplace_gets_only_missing_equity_columns(empty_url: str) -> None:
    migrate(empty_url)
    with connect(empty_url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA litgo, litgo_source CASCADE")
        cursor.execute(
            "ALTER TABLE public.lawyers DROP COLUMN equity_updated_at, DROP COLUMN cases_30d, ADD COLUMN extra int"
        )
    before = {table: columns(empty_url, table) for table in TABLES}
    done = migrate(empty_url)
    assert [line for line in done if "existing marketplace" in line] == [
        "existing marketplace: added lawyers.cases_30d (int)",
        "existing marketplace: added lawyers.equity_updated_at (timestamptz)",
    ]
    for table in TABLES:
        added = columns(empty_url, table) - before[table]
        assert added == ({"cases_30d", "equity_updated_at"} if table == "lawyers" else set())
    assert set(EQUITY_COLUMNS) <= columns(empty_url, "lawyers")
    with connect(empty_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM litgo.own_marketplace")
        assert cursor.fetchone() == (0,)


def test_a_part_of_a_marketplace_is_refused_and_nothing_is_written(empty_url: str) -> None:
    execute(empty_url, "CREATE TABLE lawyers (id uuid)", "CREATE TABLE offers (id uuid)")
    with pytest.raises(MigrationError, match="case_matches, cases, contracts"):
        migrate(empty_url)
    assert columns(empty_url, "schema_migrations") == set()


def test_a_changed_or_unknown_migration_is_refused(database_url: str) -> None:
    execute(database_url, "UPDATE litgo.schema_migrations SET sha256 = 'x' WHERE version = 1")
    with pytest.raises(MigrationError, match="0001_equity"):
        migrate(database_url)
    execute(database_url, "INSERT INTO litgo.schema_migrations (version, name, sha256) VALUES (9999, 'x', 'x')")
    with pytest.raises(MigrationError, match="9999"):
        migrate(database_url)


def test_a_failing_migration_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*migrations(), (9998, "9998_broken.sql", "x", "CREATE TABLE litgo.half (); SELECT 1 / 0")]
    monkeypatch.setattr("litgo_pipelines.marketplace.migrate.migrations", lambda: broken)
    with pytest.raises(psycopg2.errors.DivisionByZero):
        migrate(empty_url)
    assert columns(empty_url, "equity_history") == columns(empty_url, "half") == set()


def test_no_server_is_a_clear_error_without_the_password() -> None:
    with (
        pytest.raises(DatabaseUnavailable, match="litgo up") as caught,
        connect("postgresql://u:hunter2@127.0.0.1:1/db", attempts=1),
    ):
        pass
    assert "hunter2" not in str(caught.value)


def test_sessions_are_in_utc(database_url: str) -> None:
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW timezone")
        assert cursor.fetchone() == ("UTC",)


def test_the_append_only_ledger_refuses_change(database_url: str) -> None:
    with closing(psycopg2.connect(libpq(database_url))) as connection, connection.cursor() as cursor:
        for statement in ("UPDATE litgo.model_ledger SET version = '1'", "DELETE FROM litgo.model_ledger"):
            with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
                cursor.execute(statement)
            connection.rollback()


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ("CREATE SCHEMA litgo CREATE TABLE litgo.orders (id int)", "the schema litgo is there and holds something"),
        ("CREATE SCHEMA litgo_source CREATE TABLE litgo_source.lawyers (id int)", "litgo_source is there and holds"),
        (
            "CREATE SCHEMA litgo; CREATE FUNCTION litgo.area_key(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
            "not ours",
        ),
    ],
)
def test_a_schema_of_somebody_elses_with_our_name_is_refused(empty_url: str, planted: str, said: str) -> None:
    execute(empty_url, *planted.split("; "))
    with pytest.raises(MigrationError, match=said):
        migrate(empty_url)


def test_planted_functions_and_triggers_are_refused(database_url: str) -> None:
    execute(
        database_url,
        "DELETE FROM litgo.schema_migrations WHERE version = 27",  # there is something to do
        "CREATE FUNCTION public.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER spy BEFORE INSERT ON litgo.outbox FOR EACH ROW EXECUTE FUNCTION public.spy()",
    )
    with pytest.raises(MigrationError, match=r"the trigger spy on litgo\.outbox; look at it"):
        migrate(database_url)


# Supabase's recipe, without its limit to the schema public.
EVERY_TABLE = """
CREATE FUNCTION public.secure() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ DECLARE made record; BEGIN
    FOR made IN SELECT c.* FROM pg_event_trigger_ddl_commands() c JOIN pg_class t ON t.oid = c.objid
                WHERE object_type IN ('table', 'partitioned table') AND NOT relrowsecurity LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made.object_identity);
    END LOOP;
END $$;
CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS'{more})
EXECUTE FUNCTION public.secure();
"""


def test_row_security_that_is_put_on_every_new_table_hides_none_of_ours(empty_url: str) -> None:
    execute(empty_url, EVERY_TABLE.format(more=""))
    done = migrate(empty_url)
    assert any(line.startswith("row security was on for ") for line in done)
    assert migrate(empty_url) == []
    execute(empty_url, "ALTER TABLE litgo.outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert "row security was on for 1 of our own tables: switched off, grants say who may read them" in migrate(
        empty_url
    )
    assert migrate(empty_url) == []


def test_an_event_trigger_that_insists_is_named(empty_url: str) -> None:
    execute(empty_url, EVERY_TABLE.format(more=", 'ALTER TABLE'"))
    with pytest.raises(MigrationError, match="an event trigger keeps row security on"):
        migrate(empty_url)


def test_who_writes_a_lawyer_may_run_what_our_indexes_compute(empty_url: str) -> None:
    execute(empty_url, "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    migrate(empty_url)
    execute(
        empty_url,
        "GRANT INSERT ON public.lawyers TO pg_monitor",  # as if it were the marketplace's own role
        "SET ROLE pg_monitor; INSERT INTO public.lawyers (name, oab_number, tags_expertise, geo_latlon) "
        "VALUES ('Ana', '123456/SP', '{Civil}', '(-46.6,-23.5)')",
    )
    assert migrate(empty_url) == []
    execute(empty_url, "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA litgo FROM PUBLIC")
    assert any("functions of ours were closed" in line for line in migrate(empty_url))
    assert migrate(empty_url) == []
