"""Sessions as they are after connecting; transactions that are tried again, and those that are not."""

import socket
import struct
import threading
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import (
    DatabaseUnavailable,
    connect,
    connecting,
    in_transaction,
    open_connection,
    watch,
)
from litgo_pipelines_tests.support import execute, free_port

OWN = "db.abcdefghijklmnopqrst.supabase.co"
POOLER = "aws-0-sa-east-1.pooler.supabase.com"


@pytest.mark.parametrize(
    ("said", "host", "to_do"),
    [
        ("FATAL:  sorry, too many clients already", "h", "no place left"),
        (
            "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "h",
            "no place left",
        ),
        ("FATAL:  no more connections allowed (max_client_conn)", "h", "no place left"),
        ("FATAL:  desculpe, muitas conexões para a role postgres", "h", "no place left"),
        (
            "FATAL:  (EMAXCONNSESSION) max clients reached in session mode - max clients are limited to pool_size: 15",
            POOLER,
            "the pooler's pool size",
        ),
        ("FATAL:  MaxClientsInSessionMode: max clients reached", POOLER, "no place left"),
        ("FATAL:  Tenant or user not found", POOLER, "postgres.PROJECT"),
        ("FATAL:  (ENOTFOUND) tenant/user postgres.abc not found", POOLER, "postgres.PROJECT"),
        (
            "FATAL:  (ENOIDENTIFIER) no tenant identifier provided (external_id or sni_hostname required)",
            POOLER,
            "postgres.PROJECT",
        ),
        ('FATAL:  database "litgo" does not exist', "h", "create it"),
        ('FATAL:  password authentication failed for user "ana"', "h", "check user, password"),
        ('FATAL:  autenticação do tipo senha falhou para o usuário "ana"', "h", "check user, password"),
        (
            'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "ana", database "x", no encryption',
            "h",
            "pg_hba.conf",
        ),
        ('server certificate for "x" does not match host name "y"', "h", "sslrootcert"),
        ("server does not support SSL, but SSL was required", "h", "sslmode"),
        ("SSL SYSCALL error: EOF detected", "h", "is it running?"),
        ("FATAL:  the database system is starting up", "h", "tried again"),
        (f'connection to server at "{OWN}" (2a05:d0::1), port 5432 failed: Network is unreachable', OWN, "IPv6 only"),
        (f'could not translate host name "{OWN}" to address: Name or service not known', OWN, "IPv6 only"),
        ('could not translate host name "dv.example" to address: No address', "dv.example", "the host's name right"),
        ('connection to server at "127.0.0.1", port 5432 failed: Connection refused', "127.0.0.1", "is it running?"),
        ("timeout expired", "h", "is it running?"),
    ],
)
def test_what_to_do_where_there_is_no_connection(said: str, host: str, to_do: str) -> None:
    assert to_do in connecting.advice(said, host)


def test_a_server_without_a_place_left_says_so(database_url: str) -> None:
    name = make_url(database_url).database
    execute(database_url, f"CREATE ROLE few_{name} LOGIN CONNECTION LIMIT 0")
    try:
        url = make_url(database_url).set(username=f"few_{name}").render_as_string(hide_password=False)
        with pytest.raises(DatabaseUnavailable, match="no place left for a connection"):
            open_connection(url, attempts=1)
    finally:
        execute(database_url, f"DROP ROLE few_{name}")


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
    "exit_on_error": ("on", "off"),
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
