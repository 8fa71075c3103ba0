"""A marketplace on another server, seen through foreign tables (postgres_fdw): served, its troubles said in words."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from litgo_pipelines.database import libpq, open_connection
from litgo_pipelines.intake.batch import triage_pending
from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.marketplace import doctor
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.marketplace.schema import TABLES
from litgo_pipelines_tests.support import execute, fresh_database
from litgo_pipelines_tests.worlds.dirt import AS_OF, fill
from litgo_pipelines_tests.worlds.intake import model
from litgo_pipelines_tests.worlds.sessions import ask
from litgo_pipelines_tests.worlds.strange_tables import contract, day

__all__ = ["model"]

pytestmark = pytest.mark.one_server  # of two, the one that has the extension

SERVER = "ALTER SERVER other OPTIONS (SET {})"


@pytest.fixture(scope="module")
def foreign(postgres_server_url: str, migrated_template: str) -> Iterator[str]:
    """Every table of the marketplace is one of another schema, reached over the network."""
    if not ask(postgres_server_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip("this server has no postgres_fdw")
    with fresh_database(postgres_server_url, migrated_template) as url:
        fill(url)
        own = parse_dsn(libpq(url))
        options = ", ".join(f"{name} '{own[name]}'" for name in ("host", "port", "dbname") if name in own)
        execute(
            url,
            "DROP SCHEMA litgo_source CASCADE",
            "CREATE EXTENSION postgres_fdw",
            "CREATE SCHEMA theirs",
            f"CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})",
            "CREATE USER MAPPING FOR CURRENT_USER SERVER other "
            f"OPTIONS (user '{own.get('user', 'postgres')}', password '{own.get('password', '-')}')",
            *(f"ALTER TABLE public.{table} SET SCHEMA theirs" for table in TABLES),
            "IMPORT FOREIGN SCHEMA theirs FROM SERVER other INTO public",
        )
        yield url


def test_a_day_on_them(foreign: str) -> None:
    assert doctor.examine(foreign).failures == []
    done = migrate(foreign)
    assert 'no index litgo_lawyers_oab: cannot create index on relation "lawyers"' in done
    assert migrate(foreign) == []
    assert contract(foreign) == {}
    assert day(foreign) == [12, 3]
    found = ask(foreign, "SELECT count(*), count(DISTINCT case_id) FROM theirs.offers WHERE sent_at >= %s", (AS_OF,))
    assert found == [(15, 3)]
    assert ask(foreign, "SELECT count(*) FROM theirs.lawyers WHERE capacidade_mensal > 0") == [(12,)]


TROUBLES = {
    "away": (SERVER.format("dbname 'nowhere'"), SERVER.format("dbname current"), "could not connect to server"),
    "column": (
        "ALTER TABLE theirs.cases RENAME title TO heading",
        "ALTER TABLE theirs.cases RENAME heading TO title",
        "title does not exist — a foreign table does not fit its server",
    ),
    "table": (
        "ALTER TABLE theirs.cases RENAME TO moved",
        "ALTER TABLE theirs.moved RENAME TO cases",
        'relation "theirs.cases" does not exist — a foreign table does not fit its server',
    ),
    "read-only": (
        "ALTER FOREIGN TABLE public.cases OPTIONS (ADD updatable 'false')",
        "ALTER FOREIGN TABLE public.cases OPTIONS (DROP updatable)",
        "does not allow updates",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_no_cases_fault_gives_up_no_case(foreign: str, model: Model, trouble: str) -> None:
    """Three tries that fail put a case aside: not for a server that is away."""
    migrate(foreign)
    begin, end, said = TROUBLES[trouble]
    own = parse_dsn(libpq(foreign))["dbname"]
    execute(foreign, begin)
    try:
        if trouble == "read-only":
            assert any(said in failure for failure in doctor.examine(foreign).failures)
        else:
            found = contract(foreign)
            assert said in found["cases"].replace('"title"', "title"), (
                "the check says what it is, not that its transaction is aborted"
            )
        with closing(open_connection(foreign)) as connection, pytest.raises(psycopg2.Error, match=said[:10]):
            triage_pending(connection, AS_OF, limit=50, threshold=0.6, version="v", model=model)
    finally:
        execute(foreign, end.replace("current", f"'{own}'"))
    assert ask(foreign, "SELECT count(*) FROM litgo.triage_failures") == [(0,)]
    assert contract(foreign) == {}
