"""Sessions as they are after connecting; transactions that are tried again, and those that are not."""

import socket
import struct
import threading
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import connect, in_transaction, open_connection, watch
from litgo_pipelines_tests.support import execute, free_port

FAIL = "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$"


@pytest.mark.parametrize(
    ("code", "failures", "tries"), [("40P01", 2, 3), ("40001", 1, 2), ("23505", 1, 1), ("40P01", 9, 3)]
)
def test_only_what_is_nobodys_fault_is_tried_again(database_url: str, code: str, failures: int, tries: int) -> None:
    done: list[int] = []

    def work(cursor: Any) -> str:
        done.append(1)
        cursor.execute("INSERT INTO profiles DEFAULT VALUES")
        if len(done) <= failures:
            cursor.execute(FAIL.format(code=code))
        return "done"

    with closing(open_connection(database_url)) as connection:
        if tries > failures:
            assert in_transaction(connection, work) == "done"
        else:
            with pytest.raises(psycopg2.Error):
                in_transaction(connection, work)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM profiles")
            assert cursor.fetchone() == (1 if tries > failures else 0,)
    assert len(done) == tries


def test_limits_of_a_role_do_not_reach_our_sessions(database_url: str) -> None:
    name = make_url(database_url).database
    execute(
        database_url,
        f"ALTER DATABASE {name} SET statement_timeout = '8s'",
        f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1s'",
        f"ALTER DATABASE {name} SET search_path = public",
        f"ALTER DATABASE {name} SET TimeZone = 'America/Sao_Paulo'",
    )
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'), "
            "current_setting('search_path'), current_setting('TimeZone'), 'lawyers'::regclass::text"
        )
        assert cursor.fetchone() == ("1h", "1h", "pg_catalog, litgo_source, pg_temp", "UTC", "lawyers")
        cursor.execute("SELECT relkind FROM pg_class WHERE oid = 'lawyers'::regclass")
        assert cursor.fetchone() == ("v",)


@pytest.mark.parametrize("severity", ["FATAL", "FATALE", "ВАЖНО", "致命的"])
def test_a_server_that_lets_nobody_in_has_spoken_in_whichever_language(severity: str) -> None:
    def refuse() -> None:
        client, _ = listener.accept()
        with client:
            client.recv(1024)
            said = f"S{severity}\0VFATAL\0C53300\0Mmuitas conexões\0\0".encode()
            client.sendall(b"E" + struct.pack("!i", len(said) + 4) + said)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse, daemon=True).start()
        port = listener.getsockname()[1]
        dsn = "postgresql://ana@127.0.0.1:{}/litgo?sslmode=disable&gssencmode=disable"
        assert watch._doing(dsn.format(port), [1]) == (None, "")
    doing, silence = watch._doing(dsn.format(free_port()), [1])
    assert (doing, bool(silence)) == (None, True)


# What somebody may have set for the role or the database, and what our sessions have.
SETTINGS = {
    "lock_timeout": ("5ms", "0"),
    "idle_session_timeout": ("5s", "0"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "row_security": ("off", "on"),
    "transform_null_equals": ("on", "off"),
    "array_nulls": ("off", "on"),
    "quote_all_identifiers": ("on", "off"),
    "gin_fuzzy_search_limit": ("1", "0"),
    "DateStyle": ("SQL, DMY", "ISO, MDY"),
    "IntervalStyle": ("iso_8601", "postgres"),
    "extra_float_digits": ("-10", "1"),
    "bytea_output": ("escape", "hex"),
    "transaction_timeout": ("400ms", "0"),
}


def test_settings_that_change_what_a_statement_means_do_not_either(database_url: str) -> None:
    name = make_url(database_url).database
    with connect(database_url) as connection:
        newer = connection.server_version >= 170_000
    known = {key: values for key, values in SETTINGS.items() if newer or key != "transaction_timeout"}
    execute(
        database_url, *(f"ALTER DATABASE {name} SET {setting} = '{theirs}'" for setting, (theirs, _) in known.items())
    )
    with connect(database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT n, current_setting(n), current_setting('transaction_isolation') FROM unnest(%s) n", (list(known),)
        )
        found = cursor.fetchall()
        assert {setting: now for setting, now, _ in found} == {key: ours for key, (_, ours) in known.items()}
        assert {isolation for *_, isolation in found} == {"read committed"}
        cursor.execute("SELECT 0.1::float8 + 0.2, '{NULL}'::text[], NULL = NULL")
        assert cursor.fetchone() == (0.1 + 0.2, [None], None)
