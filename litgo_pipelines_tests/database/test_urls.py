"""Database URLs as people paste them."""

from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from litgo_pipelines.database import DatabaseRefused, DatabaseUnavailable, connect, libpq, normalise
from litgo_pipelines.database.urls import passfile_lines, psql_variables
from litgo_pipelines_tests.support import execute, free_port
from litgo_pipelines_tests.worlds.silence import proxied

P = "postgresql+psycopg2://"
WRITES = "target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u:p%40@h:1/db", "u:p%40@h:1/db"),
        ("postgresql://u:p%40@h:1/db", "u:p%40@h:1/db"),
        ("postgresql+psycopg://u@h/db", "u@h/db"),
        ("postgresql+asyncpg://u@h/db", "u@h/db"),
        ("POSTGRESQL://u:P@h/Db", "u:P@h/Db"),
        ("jdbc:postgresql://h:5432/db?user=u&password=p%20q", "u:p%20q@h:5432/db"),
        ("postgresql://postgres:@/db?host=%2Ftmp%2Fx", "postgres:@/db?host=%2Ftmp%2Fx"),
        ("postgresql://u:p@[::1]:5432/db", "u:p@[::1]:5432/db"),
        ("postgresql:///db", "/db"),
        # passwords as they are typed
        ("postgresql://u:p@ss/w#rd%@h:5432/db", "u:p%40ss%2Fw%23rd%25@h:5432/db"),
        ("postgresql://u:a,b@h/db", "u:a%2Cb@h/db"),
        ("postgresql://u:a%20b@h/db", "u:a%20b@h/db"),
        ("postgresql://u:p@h/db?application_name=a@b", "u:p@h/db?application_name=a%40b"),
        ("postgresql://u@server:p@h/db", "u%40server:p@h/db"),
        # what is around it
        (" postgresql://u:p@h/db\n", "u:p@h/db"),
        ("LITGO_DATABASE_URL='postgresql://u:a%40b?c@h/db'", "u:a%40b%3Fc@h/db"),
        ('export DATABASE_URL="postgres://u:p@h/db";', "u:p@h/db"),
        ('database_url: "postgres://u:p@h/db"', "u:p@h/db"),
        ("“postgres://u:p@h/db”", "u:p@h/db"),
        ("\ufeffpostgres://u:p@h/db\r\n", "u:p@h/db"),
        ("psql 'postgresql://u:p@h/db?channel_binding=require'", "u:p@h/db?channel_binding=require"),
        ("host=h port=6432 user=u password='a b' dbname=db", "u:a%20b@/db?host=h&port=6432"),
        # parameters
        ("postgresql://h/db?pgbouncer=true&sslmode=require&connection_limit=1", "h/db?sslmode=require"),
        ("postgresql://h/db?schema=public&supa=base-pooler.x", "h/db"),
        ("postgresql://h/db?ssl=true", "h/db?sslmode=require"),
        ("postgresql://h/db?sslmode=no-verify", "h/db?sslmode=require"),
        (
            "postgresql://h/db?sslmode=verify-full&sslrootcert=/etc/ca%20s.pem",
            "h/db?sslmode=verify-full&sslrootcert=%2Fetc%2Fca+s.pem",
        ),
        ("postgresql://h/db?options=endpoint%3Dep-1", "h/db?options=endpoint%3Dep-1"),
        ("postgresql://h/db?options=-c%20role%3Dx%20--lock-timeout%3D1s", None),
        # several hosts
        ("postgresql://h1:1,h2/db", f"/db?host=h1%2Ch2&port=1%2C5432&{WRITES}"),
        (
            "postgresql://u:p#@h1,h2/db?sslmode=require",
            f"u:p%23@/db?host=h1%2Ch2&port=5432%2C5432&sslmode=require&{WRITES}",
        ),
        ("postgresql://u:p@/db?host=h1,h2", f"u:p@/db?host=h1%2Ch2&{WRITES}"),
        ("postgresql://u:p@/db?host=h1:1&host=h2:2", f"u:p@/db?host=h1%2Ch2&port=1%2C2&{WRITES}"),
        (
            "postgresql://[::1]:1,h2/db?target_session_attrs=primary",
            "/db?host=%3A%3A1%2Ch2&port=1%2C5432&target_session_attrs=primary",
        ),
        ("postgresql://h1,h2/db?target_session_attrs=any", f"/db?host=h1%2Ch2&port=5432%2C5432&{WRITES}"),
    ],
)
def test_understood(given: str, expected: str | None) -> None:
    found = normalise(given)
    if expected is not None:
        assert found == P + expected
    assert normalise(found) == found
    assert normalise(libpq(given)) == found
    assert normalise(found, "other") == make_url(found).set(database="other").render_as_string(False).replace(
        " ", "%20"
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("", "expected postgresql://"),
        ("nonsense", "expected postgresql://"),
        ("postgresql://u:s3cret@h:port/db", "expected postgresql://"),
        ("mysql://u:s3cret@h/db", "'mysql'"),
        ("postgresql://u:s3 cret@h/db", "blanks"),
        ("postgresql://u:s3cret@h\n/db", "line ends"),
        ("postgresql://postgres:[YOUR-PASSWORD]@h/db", "placeholder"),
        ("postgresql://u:${PASSWORD}@h/db", "placeholder"),
        ("postgresql://u:s3cret@h/db?schema=loja", "LITGO_MARKETPLACE_MAPPING"),
        ("jdbc:postgresql://h/db?currentSchema=loja&password=s3cret", "LITGO_MARKETPLACE_MAPPING"),
        ("postgresql://u:s3cret@h/db?options=-c%20search_path%3Dx", "search_path"),
        ("postgresql://u:s3cret@h/db?options=--search-path%3Dx%2Cy", "search_path"),
        ("postgresql://u:s3cret@h/db?options=-c%20a%3D1%20-csearch_path%3Dx", "search_path"),
        ("postgresql://u:s3cret@h/db?foo=1", r"\?foo="),
        ("postgresql://u:s3cret@h1,h2/db?target_session_attrs=read-only", "read-only"),
        ("postgresql://u:s3cret@h/db?target_session_attrs=standby", "standby"),
        ("postgresql://u:s3cret@h/db?ssl=maybe", r"\?ssl="),
    ],
)
def test_refused_by_name_without_the_password(given: str, named: str) -> None:
    with pytest.raises(DatabaseRefused, match=named) as caught:
        normalise(given)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.one_server
def test_of_several_hosts_the_one_that_takes_writes(database_url: str) -> None:
    parsed = make_url(database_url)
    with proxied(database_url) as one, proxied(database_url) as other:
        gone = free_port()
        url = f"postgresql://{parsed.username}@127.0.0.1:{gone},127.0.0.1:{one.port}/{parsed.database}"
        with connect(url) as connection:
            assert connection.info.port == one.port
        execute(database_url, f"ALTER DATABASE {parsed.database} SET default_transaction_read_only = on")
        with pytest.raises(DatabaseUnavailable, match="read-only"), connect(url, attempts=1):
            pass
        with closing(psycopg2.connect(libpq(url).replace("read-write", "any"))) as connection:
            assert connection.info.port == one.port
        execute(
            database_url,
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            f"ALTER DATABASE {parsed.database} RESET default_transaction_read_only",
        )
        both = url.replace(str(gone), str(other.port))
        engine = create_engine(normalise(both))  # as Dagster and MLflow read it
        with engine.connect() as storage:
            assert storage.execute(text("SELECT 1")).scalar() == 1
        engine.dispose()


@pytest.mark.one_server
def test_a_password_in_a_file_is_found_for_each_of_several_hosts(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed, file = make_url(database_url), tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(file))
    with proxied(database_url) as one:
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{one.port}"
        plain, lines = passfile_lines(normalise(f"postgresql://{parsed.username}:s:3@{hosts}/{parsed.database}")) or (
            "",
            "",
        )
        file.write_text(lines)
        file.chmod(0o600)
        with closing(psycopg2.connect(libpq(plain))) as connection:
            assert connection.info.password == "s:3"
    _, lines = passfile_lines("postgresql://ana:pw@/litgo?host=/var/run/postgresql") or ("", "")
    assert "localhost:*:*:ana:pw" in lines.splitlines(), "as libpq calls its own folder"


def test_psql_and_pg_dump_are_led_to_the_same_place() -> None:
    url = normalise(
        "postgresql://ana:pw@/litgo?host=/run/pg&port=5433&sslcert=/c.pem&sslkey=/k.pem&connect_timeout=3"
        "&target_session_attrs=read-write&options=-c%20role%3Downer"
    )
    assert psql_variables(url) == {
        "PGHOST": "/run/pg",
        "PGPORT": "5433",
        "PGUSER": "ana",
        "PGPASSWORD": "pw",
        "PGDATABASE": "litgo",
        "PGSSLCERT": "/c.pem",
        "PGSSLKEY": "/k.pem",
        "PGCONNECT_TIMEOUT": "3",
        "PGTARGETSESSIONATTRS": "read-write",
        "PGOPTIONS": "-c role=owner",
    }


@pytest.mark.one_server
def test_options_reach_the_server_and_ours_come_after_them(database_url: str) -> None:
    mark = "&" if "?" in database_url else "?"
    url = (
        f"{database_url}{mark}options=-c%20statement_timeout%3D8s%20-c%20work_mem%3D5MB%20-c%20timezone%3DAsia%2FTokyo"
    )
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), current_setting('work_mem'), current_setting('timezone')"
        )
        assert cursor.fetchone() == ("1h", "5MB", "UTC")
    role = f"{database_url}{mark}options=-c%20role%3Dpg_read_all_data"
    with connect(role) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == ("pg_read_all_data",)
