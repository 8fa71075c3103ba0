"""LITGO's own marketplace as its migrations leave it: tables, triggers, roles and row security.

The facts are in `../shared/data/live_schema`. Here: a database built from them, and the simulator's rows in it, in the
columns that the mapping names.
"""

import csv
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import Cursor, connect, normalise
from litgo_pipelines.marketplace import views
from litgo_pipelines.marketplace.mapping import SourceMapping
from litgo_pipelines.simulation import rows
from litgo_pipelines.simulation.truth import Market, World
from litgo_pipelines_tests.support import execute, fresh_database

FACTS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "live_schema"
TABLES = ("profiles", "lawyers", "cases", "case_matches", "offers", "contracts", "reviews")
OWNER = "live_owner"  # of the tables; neither superuser nor beyond row security

# Roles are the server's, which other test processes build on as well.
ROLES = [
    f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} {attributes}; "
    "END IF; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    for role, attributes in {
        "anon": "LOGIN",
        "authenticated": "LOGIN",
        "service_role": "LOGIN BYPASSRLS",
        OWNER: "LOGIN CREATEROLE CREATEDB",
    }.items()
]

# What a Supabase project has before the marketplace's first migration.
PLATFORM = """
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text, encrypted_password text,
                         created_at timestamptz DEFAULT now());
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE
    AS $$ SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
GRANT USAGE ON SCHEMA auth TO live_owner, anon, authenticated, service_role;
GRANT SELECT, REFERENCES ON auth.users TO live_owner;
"""

TRIGGERS = """
CREATE TABLE public.audit_log (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), table_name text NOT NULL, record_id uuid,
    action text NOT NULL, details jsonb, user_id uuid, created_at timestamptz DEFAULT now());

CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
CREATE FUNCTION public.touch_profile() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.profile_updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON public.offers FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER touch BEFORE UPDATE ON public.contracts FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER touch BEFORE UPDATE ON public.cases FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER touch BEFORE UPDATE ON public.profiles FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER touch BEFORE UPDATE ON public.reviews FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER touch_profile BEFORE UPDATE ON public.lawyers FOR EACH ROW EXECUTE FUNCTION public.touch_profile();

-- names without a schema, as such functions are written
CREATE FUNCTION public.activate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.signed_client IS NOT NULL AND NEW.signed_lawyer IS NOT NULL AND NEW.status = 'pending-signature' THEN
        NEW.status = 'active';
        UPDATE offers SET status = 'closed'
        WHERE case_id = NEW.case_id AND lawyer_id <> NEW.lawyer_id AND status IN ('pending', 'interested');
        INSERT INTO public.audit_log (table_name, record_id, action, details, user_id)
        VALUES ('contracts', NEW.id, 'activated', jsonb_build_object('case_id', NEW.case_id), auth.uid());
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER activate BEFORE UPDATE ON public.contracts FOR EACH ROW EXECUTE FUNCTION public.activate();

CREATE FUNCTION public.rate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    UPDATE profiles p SET (rating, review_count) = (SELECT avg(rating), count(*) FROM reviews WHERE lawyer_id = p.id)
    WHERE p.id = NEW.lawyer_id;
    RETURN NEW;
END $$;
CREATE TRIGGER rate AFTER INSERT ON public.reviews FOR EACH ROW EXECUTE FUNCTION public.rate();
"""

POLICIES = """
CREATE POLICY own ON public.profiles TO authenticated USING (user_id = auth.uid());
CREATE POLICY own ON public.cases TO authenticated USING (client_id = auth.uid() OR lawyer_id = auth.uid());
CREATE POLICY own ON public.contracts TO authenticated USING (client_id = auth.uid() OR lawyer_id = auth.uid());
CREATE POLICY own ON public.reviews TO authenticated USING (client_id = auth.uid());
CREATE POLICY everybody ON public.lawyers FOR SELECT USING (true);
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
GRANT ALL ON ALL TABLES IN SCHEMA public TO anon, authenticated, service_role;
"""


def facts(name: str) -> list[dict[str, str]]:
    with (FACTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def statements(with_vector: bool) -> Iterator[str]:
    """What builds the schema, in order; without pgvector a vector is an array."""
    for kind in sorted({row["type"] for row in facts("enums")}):
        labels = ", ".join(f"'{row['label']}'" for row in facts("enums") if row["type"] == kind)
        yield f"CREATE TYPE public.{kind} AS ENUM ({labels})"
    for table in TABLES:
        columns = ", ".join(_column(row, with_vector) for row in facts("columns") if row["table"] == table)
        yield f"CREATE TABLE public.{table} ({columns})"
    order = {"primary key": 0, "unique": 1, "check": 2, "foreign key": 3}
    for row in sorted(facts("constraints"), key=lambda row: order[row["kind"]]):
        yield f"ALTER TABLE public.{row['table']} ADD {row['definition']}"
    for row in facts("indexes"):
        if with_vector or "ivfflat" not in row["definition"]:
            yield row["definition"]
    yield TRIGGERS
    for row in facts("row_security"):
        if row["enabled"] == "True":
            yield f"ALTER TABLE public.{row['table']} ENABLE ROW LEVEL SECURITY"
    yield POLICIES


def _column(row: dict[str, str], with_vector: bool) -> str:
    kind = row["type"] if with_vector or not row["type"].startswith("vector") else "real[]"
    default = f" DEFAULT {row['default']}" if row["default"] else ""
    return f"{row['column']} {kind}{default}{'' if row['nullable'] == 'True' else ' NOT NULL'}"


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@dataclass(frozen=True)
class LiveMarketplace:
    """A database with the live schema: its URL for the owner of the tables, and for the server's superuser."""

    url: str
    superuser: str

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """With every right there is; names without a schema are the source views."""
        with connect(self.superuser) as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []


def build(server: str, name: str) -> None:
    """A database with the schema, empty."""
    execute(server, *ROLES)
    execute(server, f"CREATE DATABASE {name}")
    url = normalise(server, database=name)
    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(PLATFORM)
        cursor.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
        with_vector = cursor.fetchone() == (1,)
        if with_vector:
            cursor.execute("CREATE EXTENSION vector")
        cursor.execute(f"ALTER SCHEMA public OWNER TO {OWNER}")
        cursor.execute(f"SET ROLE {OWNER}")
        for statement in statements(with_vector):
            cursor.execute(statement)
    connection.close()
    execute(server, f"ALTER DATABASE {name} OWNER TO {OWNER}")


def fill(superuser: str, *, lawyers: int, cases: int, days: int, end: datetime, seed: int = 7) -> World:
    """A simulated history in the tables, column by column where the mapping says it is."""
    world = World(seed, lawyers, cases, days, end)
    market = Market(world)
    found: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
    found["profiles"].append(rows.clients(world))
    for events in market.events():
        for table, data in rows.tables(events, world.seed).items():
            found[table].append(data)
    them, profiles = rows.lawyers(market)
    found["lawyers"].append(them)
    found["profiles"].append(profiles)
    with connect(superuser) as connection, connection.cursor() as cursor:
        mapping = views.load("litgo")
        people = pa.concat_tables(found["profiles"])
        copy(cursor, "auth.users", pa.table({"id": people["id"], "email": people["email"]}))
        for table in TABLES:
            data = pa.concat_tables(found[table]).combine_chunks()
            copy(cursor, f"public.{table}", _theirs(cursor, mapping, table, data))
        cursor.execute(
            "UPDATE public.profiles p SET role = 'lawyer', "
            "availability_status = CASE WHEN l.is_available THEN 'available' ELSE 'inactive' END, "
            "max_concurrent_cases = least(greatest(l.max_concurrent_cases, 1), 50) "
            "FROM public.lawyers l WHERE l.id = p.id"
        )
        # some have only latitude and longitude
        cursor.execute("UPDATE public.lawyers SET geo_latlon = NULL WHERE get_byte(uuid_send(id), 4) % 5 = 0")
    execute(superuser, *(f"ANALYZE public.{table}" for table in TABLES))
    return world


def _theirs(cursor: Cursor, mapping: SourceMapping, table: str, data: pa.Table) -> pa.Table:
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (f"public.{table}",)
    )
    there = {name for (name,) in cursor.fetchall()}
    columns: dict[str, Any] = {}
    for name in data.column_names:
        form = mapping.tables[table].forms.get(name, (None,))[0]
        theirs = form.column if form is not None and form.column is not None else name
        if theirs in there:
            columns[theirs] = data[name]
    if table == "profiles":
        columns["user_id"] = data["id"]
    if table == "lawyers":
        columns["kpi_softskill"] = pc.fill_null(data["kpi_softskill"], 0.0)
        columns["max_concurrent_cases"] = data["max_concurrent_cases"]
    return pa.table(columns)


def copy(cursor: Cursor, table: str, data: pa.Table) -> None:
    """Rows into a table, by the columns they name."""
    sink = pa.BufferOutputStream()
    pacsv.write_csv(data, sink, pacsv.WriteOptions(include_header=False))
    cursor.copy_expert(
        f"COPY {table} ({', '.join(data.column_names)}) FROM STDIN WITH (FORMAT csv)", pa.BufferReader(sink.getvalue())
    )


@pytest.fixture(scope="session")
def live_templates() -> Iterator[dict[tuple[object, ...], str]]:
    """Server and what is in it → a database with the live schema, to copy from; kept while tests change servers."""
    made: dict[tuple[object, ...], str] = {}
    yield made
    given = normalise(os.environ.get("LITGO_TEST_DATABASE_URL") or "postgresql://")
    for (server, *_), name in made.items():
        if server == given:  # the embedded server has ended with its data
            execute(given, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def live_database(server: str, template: str) -> Iterator[LiveMarketplace]:
    """A copy of the template; dropped afterwards."""
    with fresh_database(server, template, OWNER) as url:
        yield LiveMarketplace(as_role(url, OWNER), url)


@pytest.fixture(scope="session")
def live_template(postgres_server_url: str, live_templates: dict[tuple[object, ...], str]) -> str:
    """Name of a database with the live schema, empty, to copy from."""
    if not FACTS.exists():
        pytest.skip(f"the live schema's facts are not there: {FACTS}")
    key = (postgres_server_url,)
    if key not in live_templates:
        name = f"litgo_live_{uuid.uuid4().hex[:12]}"
        build(postgres_server_url, name)
        live_templates[key] = name
    return live_templates[key]


@pytest.fixture
def live(postgres_server_url: str, live_template: str) -> Iterator[LiveMarketplace]:
    """A fresh database with the live schema, empty and not migrated; dropped after the test."""
    with live_database(postgres_server_url, live_template) as found:
        yield found


@pytest.fixture
def live_filled(
    postgres_server_url: str, live_template: str, live_templates: dict[tuple[object, ...], str]
) -> Iterator[Callable[..., LiveMarketplace]]:
    """What `fill` with these arguments leaves in a fresh database; simulated once a server."""
    with ExitStack() as databases:

        def filled(**history: Any) -> LiveMarketplace:
            key = (postgres_server_url, *sorted(history.items()))
            if key not in live_templates:
                name = f"litgo_live_{uuid.uuid4().hex[:12]}"
                execute(postgres_server_url, f"CREATE DATABASE {name} TEMPLATE {live_template} OWNER {OWNER}")
                fill(normalise(postgres_server_url, database=name), **history)
                live_templates[key] = name
            return databases.enter_context(live_database(postgres_server_url, live_templates[key]))

        yield filled
