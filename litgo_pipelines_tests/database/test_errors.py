"""What an error of the database says, in a message, in its causes, and in Dagster's event log: nothing of a row."""

import pickle
import traceback
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg2
import pytest

from litgo_pipelines.database import Cursor, connect, of_the_database, open_connection, piecewise, refuses_a_row
from litgo_pipelines.database.errors import function_of
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.matching import fill
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask

pytestmark = pytest.mark.slow

SECRET = "Maria Segredo"
KEY = NIGHTS.get_partition_keys()[-1]
END = NIGHTS.time_window_for_partition_key(KEY).end


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"INSERT INTO public.offers (case_id, status) VALUES (gen_random_uuid(), '{SECRET}')", "lawyer_id"),
        (f"INSERT INTO public.cases (client_id, status) SELECT id, '{SECRET}' FROM profiles", "cases_status_check"),
        (f"SELECT '{SECRET}'::int", "InvalidTextRepresentation"),
        (f"SELECT '{SECRET}'::timestamptz", "22007"),
        (f"SELECT to_jsonb('{SECRET}'::text)::int", "22023"),
        (f"SELECT '{SECRET}' FROM no_such_table", "no_such_table"),
        (f"SELEC '{SECRET}'", "42601"),
        (f"INSERT INTO profiles (id) VALUES (md5('{SECRET}')::uuid), (md5('{SECRET}')::uuid)", "profiles_pkey"),
        (f"DO $$ BEGIN RAISE EXCEPTION '{SECRET}' USING ERRCODE = '42501'; END $$", "InsufficientPrivilege"),
        (f"DO $$ BEGIN RAISE EXCEPTION 'no' USING DETAIL = '{SECRET}', HINT = '{SECRET}'; END $$", "P0001"),
    ],
)
def test_an_error_says_what_it_is_and_nothing_of_the_row(database_url: str, statement: str, said: str) -> None:
    execute(database_url, f"INSERT INTO public.profiles (full_name) VALUES ('{SECRET}')")
    with closing(open_connection(database_url)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(statement)
        error = caught.value
        assert said in str(error)
        whole = "".join(traceback.format_exception(error))
        source = f'"{statement}"'
        for text in (str(error), whole, str(error.pgerror), repr(pickle.loads(pickle.dumps(error)))):
            assert SECRET not in text.replace(source, "")
        assert error.__cause__ is None
        assert error.__context__ is None


def test_a_deferred_constraint_speaks_at_the_commit_without_the_row(database_url: str) -> None:
    execute(
        database_url, "ALTER TABLE public.profiles ADD CONSTRAINT once UNIQUE (full_name) DEFERRABLE INITIALLY DEFERRED"
    )
    with pytest.raises(psycopg2.errors.UniqueViolation, match="once") as caught, connect(database_url) as connection:
        connection.cursor().execute(f"INSERT INTO public.profiles (full_name) VALUES ('{SECRET}'), ('{SECRET}')")
    assert SECRET not in str(caught.value)


def run(url: str, folder: Path) -> tuple[bool, str]:
    """(success, everything the run left in Dagster's storage)."""
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        job = build_defs(postgres=Postgres(url=url)).resolve_job_def("nightly_equity")
        result = job.execute_in_process(instance=instance, partition_key=KEY, raise_on_error=False)
        events = "".join(str(entry) for entry in instance.all_logs(result.run_id))
    return result.success, events + "".join(
        file.read_bytes().decode(errors="replace") for file in folder.rglob("*") if file.is_file()
    )


def test_a_failing_check_on_lawyers_leaves_no_name_in_the_event_log(database_url: str, tmp_path: Path) -> None:
    with connect(database_url) as connection:
        market = Marketplace(connection, END)
        named = market.lawyer(name=SECRET)
        others = [market.lawyer() for _ in range(9)]
    execute(database_url, f"ALTER TABLE public.lawyers ADD CHECK (name <> '{SECRET}' OR capacidade_mensal IS NULL)")
    success, log = run(database_url, tmp_path)
    assert success
    assert "CheckViolation" in log
    assert named in log
    assert SECRET not in log
    written = {str(lawyer) for (lawyer,) in ask(database_url, "SELECT id FROM lawyers WHERE capacidade_mensal > 0")}
    assert written == set(others)
    assert ask(database_url, "SELECT count(*) FROM litgo.equity_history") == [(10,)]


def test_a_failing_run_leaves_no_name_in_the_event_log(database_url: str, tmp_path: Path) -> None:
    with connect(database_url) as connection:
        Marketplace(connection, END).lawyer(name=SECRET)
    execute(
        database_url,
        "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not %', "
        "(SELECT name FROM public.lawyers LIMIT 1); END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON litgo.equity_history FOR EACH ROW EXECUTE FUNCTION public.refuse()",
    )
    success, log = run(database_url, tmp_path)
    assert not success
    assert "P0001" in log
    assert "public.refuse" in log
    assert SECRET not in log


@pytest.mark.parametrize("holds", ["FOR UPDATE", "FOR NO KEY UPDATE"])
def test_a_locked_lawyer_waits_and_the_others_are_written(database_url: str, holds: str, tmp_path: Path) -> None:
    with connect(database_url) as connection:
        lawyers = [Marketplace(connection, END).lawyer() for _ in range(9)]
    with closing(open_connection(database_url)) as other, other.cursor() as cursor:
        cursor.execute(f"SELECT id FROM lawyers WHERE id = %s {holds}", (lawyers[4],))
        success, log = run(database_url, tmp_path)
    assert success
    assert "LockNotAvailable" in log
    assert ask(database_url, "SELECT id::text FROM lawyers WHERE capacidade_mensal IS NULL") == [(lawyers[4],)]


def test_parts_are_halved_until_the_refused_rows_are_alone(database_url: str) -> None:
    fill(database_url, lawyers=20, cases=0)
    ids = [row for (row,) in ask(database_url, "SELECT id::text FROM lawyers ORDER BY id")]
    execute(database_url, f"ALTER TABLE public.lawyers ADD CHECK (id NOT IN ('{ids[3]}', '{ids[17]}')) NOT VALID")

    def write(cursor: Cursor, part: Sequence[str]) -> int:
        cursor.execute("UPDATE lawyers SET cases_30d = 77 WHERE id = ANY(%s::uuid[])", (list(part),))
        return cursor.rowcount

    with connect(database_url) as connection, connection.cursor() as cursor:
        done, refused = piecewise(cursor, ids, write)
    assert done == 18
    assert set(refused) == {ids[3], ids[17]}
    assert ask(database_url, "SELECT count(*) FROM lawyers WHERE cases_30d = 77") == [(18,)]


OF_ONE = """
CREATE TABLE public.log (of uuid);
CREATE FUNCTION public.of_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.id = '{lawyer}' THEN {does}; END IF;
    RETURN NEW;
END $$;
CREATE {kind} TRIGGER of_one AFTER UPDATE ON public.lawyers {when} FOR EACH ROW EXECUTE FUNCTION public.of_one();
"""
RAISES = "RAISE EXCEPTION 'não' USING ERRCODE = '{}'"


@pytest.mark.parametrize(
    ("does", "deferred"),
    [
        (RAISES.format("PT403"), False),
        (RAISES.format("45000"), False),
        (RAISES.format("55000"), False),
        (RAISES.format("0A000"), False),
        (RAISES.format("P0001"), True),
        ("INSERT INTO public.nowhere VALUES (1)", False),
        ("INSERT INTO log VALUES (NEW.id)", False),
        ("PERFORM pg_notify('lawyers', repeat('x', 9000))", True),
        ("UPDATE public.lawyers SET name = 'x' WHERE id = NEW.id", False),  # without end
    ],
)
def test_whatever_a_trigger_says_of_one_row_is_that_rows_affair(database_url: str, does: str, deferred: bool) -> None:
    fill(database_url, lawyers=6, cases=0)
    ids = [row for (row,) in ask(database_url, "SELECT id::text FROM lawyers ORDER BY id")]
    kind, when = ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED") if deferred else ("", "")
    execute(database_url, OF_ONE.format(lawyer=ids[2], does=does, kind=kind, when=when))

    def write(cursor: Cursor, part: Sequence[str]) -> int:
        cursor.execute("UPDATE lawyers SET cases_30d = 77 WHERE id = ANY(%s::uuid[])", (list(part),))
        return cursor.rowcount

    with connect(database_url) as connection, connection.cursor() as cursor:
        done, refused = piecewise(cursor, ids, write)
    assert (done, set(refused)) == (5, {ids[2]})
    assert ask(database_url, "SELECT count(*) FROM lawyers WHERE cases_30d = 77") == [(5,)]


def test_what_is_no_rows_affair_is_raised(database_url: str) -> None:
    def write(cursor: Cursor, part: Sequence[str]) -> int:
        cursor.execute("UPDATE lawyers SET nowhere = 1")
        return 0

    with connect(database_url) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.UndefinedColumn):
            piecewise(cursor, ["a", "b"], write)
        connection.rollback()


# As servers with lc_messages = pt_BR, es_ES, de_DE, fr_FR and ru_RU say it.
@pytest.mark.parametrize(
    ("context", "function"),
    [
        ("PL/pgSQL function public.refuse() line 1 at RAISE", "public.refuse"),
        ("função PL/pgSQL refuse() linha 1 em RAISE", "refuse"),
        ('PL/pgSQL assignment "NEW.x := f(1)"\nPL/pgSQL function public.audit() line 1 at assignment', "public.audit"),
        ("PL/pgSQL-Zuweisung »NEW.x := f(1)«\nPL/pgSQL-Funktion audit() Zeile 1 bei Zuweisung", "audit"),
        ('atribuição PL/pgSQL "NEW.x := f(1)"\nfunção PL/pgSQL audit() linha 1 em atribuição', "audit"),
        ("função PL/pgSQL litgo_source.offers_insert() linha 3 em comando SQL", "litgo_source.offers_insert"),
        ("función PL/pgSQL refuse() en la línea 1 en RAISE", "refuse"),
        ("PL/pgSQL-Funktion refuse() Zeile 1 bei RAISE", "refuse"),
        ("fonction PL/pgSQL refuse(), ligne 1 à RAISE", "refuse"),
        ("функция PL/pgSQL refuse(), строка 1, оператор RAISE", "refuse"),
        ('função SQL "area_key" comando 1', '"area_key"'),
        ("función SQL «area_key» durante expansión en línea", "area_key"),
        ("SQL-Funktion »area_key« beim Inlining", "area_key"),
        ("fonction SQL « area_key » durant « inlining »", "area_key"),
        ('SQL statement "SELECT 1 FROM ONLY public.cases x"', None),
        ("SQL-Anweisung »SELECT 1«", None),
        ("JSON data, line 1: …", None),
        ("", None),
    ],
)
def test_a_trigger_of_theirs_is_known_in_whichever_language(context: str, function: str | None) -> None:
    assert function_of(context) == function


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT nowhere FROM cases", "42703"),
        ("SELECT 1 FROM litgo_source.nothing", "42P01"),
        (
            "SET LOCAL default_transaction_read_only = on; SET TRANSACTION READ ONLY; UPDATE cases SET area = 'x'",
            "25006",
        ),
        ("UPDATE litgo_source.whole SET area = 'x'", "55000"),
        ("UPDATE public.offers SET status = 'x'", "55000"),  # published, and nothing tells its rows apart
    ],
)
def test_trouble_of_the_whole_database_is_no_rows(database_url: str, statement: str, code: str) -> None:
    execute(
        database_url,
        "CREATE VIEW litgo_source.whole AS SELECT DISTINCT area FROM litgo_source.cases",
        "ALTER TABLE public.offers REPLICA IDENTITY NOTHING",
        "CREATE PUBLICATION everything FOR ALL TABLES",
    )
    with closing(open_connection(database_url)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(statement)
        assert caught.value.pgcode == code
        assert of_the_database(caught.value)
        assert not refuses_a_row(caught.value)
        connection.rollback()


LOG = """
CREATE TABLE public.log (id smallint GENERATED ALWAYS AS IDENTITY, at date DEFAULT current_date)
    PARTITION BY RANGE (at);
CREATE FUNCTION public.logs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NEW; END $$;
CREATE TRIGGER logs BEFORE INSERT ON public.profiles FOR EACH ROW EXECUTE FUNCTION public.logs();
"""


@pytest.mark.parametrize(
    ("does", "whole", "said"),
    [
        ("INSERT INTO public.log DEFAULT VALUES", True, "make the one that is missing"),  # a month is over
        (
            "PERFORM setval('public.log_id_seq', 32767); INSERT INTO public.log DEFAULT VALUES",
            True,
            "let the sequence and its column be bigint",
        ),
        (RAISES.format("23514"), False, "a row breaks a rule"),
    ],
)
def test_what_a_log_of_theirs_takes_of_no_row_is_no_rows_affair(
    database_url: str, does: str, whole: bool, said: str
) -> None:
    execute(database_url, LOG.format(does=does))
    with closing(open_connection(database_url)) as connection, connection.cursor() as cursor:
        with pytest.raises(psycopg2.Error, match=said) as caught:
            cursor.execute("INSERT INTO profiles DEFAULT VALUES")
        assert of_the_database(caught.value) is whole
        connection.rollback()


@pytest.mark.parametrize("statement", ["SELECT 1 / 0", "SELECT pg_sleep(9)", "INSERT INTO cases DEFAULT VALUES"])
def test_what_one_row_may_bring_about_is_not_the_databases(database_url: str, statement: str) -> None:
    with closing(open_connection(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 200")
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(statement)
        assert not of_the_database(caught.value)
        connection.rollback()
