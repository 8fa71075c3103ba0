"""The database's roles: the pipelines' work is done under theirs, and anything else is refused."""

import re
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines import definitions
from litgo_pipelines.automation import sensors
from litgo_pipelines.database import connect, roles
from litgo_pipelines.equity.assets import NIGHTS
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.marketplace.schema import EQUITY_COLUMNS, TABLES
from litgo_pipelines.observability.exporter import Exporter
from litgo_pipelines.runtime.ui import office
from litgo_pipelines_tests.worlds.jobs import services
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask

PACKAGE = Path(definitions.__file__).parent
# Statements of these are for the database's owner.
OWNERS = (
    "simulation/",
    "database/",
    "marketplace/attempts",
    "marketplace/indexes",
    "marketplace/migrate",
    "marketplace/tables.sql",
    "marketplace/views",
)
NOW = datetime.now(UTC)


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.fixture
def url(database_url: str) -> str:
    roles.apply(database_url)
    roles.apply(database_url)  # as after an upgrade
    return database_url


@pytest.fixture
def pipelines(url: str) -> str:
    return as_role(url, "litgo_pipelines")


def fill(url: str) -> None:
    with connect(url) as connection:
        market = Marketplace(connection, NOW)
        lawyers = [market.lawyer(oab_number=f"{n}/SP", curriculo_json={"resumo": "contratos"}) for n in range(1, 9)]
        for lawyer in lawyers:
            market._insert(
                "profiles", id=lawyer, full_name="Ana", email="ana@example.com", push_token=str(uuid.uuid4())
            )
        for number in range(6):
            case = market.case(title="Contrato", description="Aluguel atrasado", subarea="Contratos", status="closed")
            market.offer(case, lawyers[number], status="interested", responded_at=NOW - timedelta(days=8, hours=20))
            market.match(case, lawyers[number])
            contract = market.contract(case, lawyers[number], status="closed")
            market.review(contract, lawyers[number], comment="excelente")
        market.offer(market.case(), lawyers[0])  # expired, to offer to others
        market.case(area=None, description="Fui demitido sem justa causa e não recebi o FGTS", complexity="LOW")
        client = market._insert("profiles", full_name="Bia", email="bia@example.com")
        chosen = market.case(client_id=client, title="Aluguel")
        market.offer(chosen, lawyers[1], status="interested", responded_at=NOW - timedelta(days=8, hours=22))
        market.contract(
            chosen, lawyers[1], client_id=client, status="pending-signature", fee_model={"type": "fixed", "value": 900}
        )


# job → the steps that are run; None: all of it. No texts are embedded and nothing is trained: that takes its time, and
# what it writes is among the statements that `test_grants_are_what_statements_do` reads.
FLOW = {
    "nightly_equity": None,
    "offer_expiry": None,
    "evidence": None,
    "matching": ["triaged_cases", "case_offers"],
    "contracts": None,
    "notifications": None,
    "retraining": ["training_snapshot"],
    "quality_checks": None,
    "experiments": None,
}


@pytest.mark.slow
def test_the_work_is_done_under_the_role(
    url: str, pipelines: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(url)
    with services() as given:
        for name, value in (given | {"LITGO_DATABASE_URL": pipelines, "LITGO_HOME": str(tmp_path)}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        repository = definitions.build_defs().get_repository_def()
        with dg.DagsterInstance.ephemeral() as instance:
            for job, only in FLOW.items():
                done = repository.get_job(job).execute_in_process(
                    instance=instance,
                    partition_key=NIGHTS.get_partition_keys(NOW)[-1] if job == "nightly_equity" else None,
                    asset_selection=[dg.AssetKey(asset) for asset in only] if only else None,
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                    raise_on_error=False,
                )
                if job != "retraining":  # so few rows are no snapshot to train on; that it was written is seen below
                    assert done.success, [event.message for event in done.all_events if event.is_failure]
            for sensor in sensors:
                if isinstance(sensor, dg.AutomationConditionSensorDefinition):
                    continue  # the daemon's own; it reads no database of ours
                needed = {name: repository.get_top_level_resources()[name] for name in sensor.required_resource_keys}
                sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository, resources=needed))
    found = {
        name: ask(url, query)[0][0]
        for name, query in {
            "nights": "SELECT count(*) FROM litgo.offer_distribution",
            "evidence": "SELECT count(*) FROM litgo.lawyer_evidence WHERE reviews > 0",
            "written back": "SELECT count(*) FROM lawyers WHERE capacidade_mensal > 0",
            "triaged": "SELECT count(*) FROM litgo.triage",
            "offers": "SELECT count(*) FROM offers WHERE status = 'pending'",
            "expired": "SELECT count(*) FROM offers WHERE status = 'expired'",
            "contracts": "SELECT count(*) FROM litgo.contract_documents",
            "messages": "SELECT count(*) FROM litgo.outbox WHERE status IN ('accepted', 'merged')",
            "snapshots": "SELECT count(*) FROM litgo.retrainings WHERE snapshot_sha256 IS NOT NULL",
        }.items()
    }
    assert all(found.values()), found


REFUSED = {
    "litgo_pipelines": [
        *(f"DELETE FROM {table}" for table in TABLES),
        *(f"TRUNCATE {table}" for table in TABLES),
        "INSERT INTO lawyers (name) VALUES ('x')",
        "UPDATE lawyers SET name = 'x'",
        "UPDATE cases SET status = 'closed'",
        "UPDATE offers SET fair_score = 1",
        "UPDATE contracts SET fee_model = '{}'",
        "UPDATE profiles SET email = 'x'",
        "SELECT created_at FROM profiles",
        "SELECT * FROM profiles",
        "SELECT summary_embedding FROM cases",
        "SELECT client_id FROM reviews",
        "UPDATE litgo.model_ledger SET version = '1'",
        "DELETE FROM litgo.model_ledger",
        "DELETE FROM litgo.experiments",
        "ALTER TABLE litgo.model_ledger DISABLE TRIGGER ALL",
        "DROP TABLE litgo.outbox",
        "CREATE TABLE litgo.x (i int)",
        "CREATE TABLE public.x (i int)",
        "CREATE SCHEMA x",
        "CREATE ROLE x",
        "SELECT * FROM pg_authid",
        "SELECT pg_read_file('/etc/hostname')",
        "COPY cases (id) TO PROGRAM 'cat'",
        "SET ROLE litgo_dagster",
        "UPDATE litgo.own_marketplace SET simulated_at = now()",
        "INSERT INTO litgo.schema_migrations (version, name, sha256) VALUES (99, 'x', 'x')",
    ],
    "litgo_office": [
        "SELECT full_name FROM profiles",
        "SELECT name FROM lawyers",
        "SELECT title FROM cases",
        "SELECT description FROM cases",
        "SELECT fee_model FROM contracts",
        "SELECT lawyer_id FROM litgo_source.offers",
        "SELECT payload FROM litgo.outbox",
        "SELECT pdf FROM litgo.contract_documents",
        "SELECT considered FROM litgo.matchings",
        "UPDATE cases SET urgency_h = 1",
        "UPDATE litgo.triage SET status = 'classified'",
        "INSERT INTO litgo.metric_state (name, labels, value) VALUES ('x', '{}', 1)",
        "INSERT INTO litgo.job_runs (run_id) VALUES ('x')",
        "DELETE FROM litgo.outbox",
        "CREATE TABLE public.x (i int)",
    ],
    "litgo_exporter": [
        "SELECT full_name FROM profiles",
        "SELECT name FROM lawyers",
        "SELECT description FROM cases",
        "SELECT area FROM litgo_source.cases",
        "SELECT status FROM litgo_source.offers",
        "SELECT doc_url FROM litgo_source.contracts",
        "SELECT considered FROM litgo.matchings",
        "SELECT * FROM litgo.equity_history",
        "SELECT payload FROM litgo.outbox",
        "SELECT pdf FROM litgo.contract_documents",
        "UPDATE offers SET status = 'expired'",
        "INSERT INTO litgo.alerts (alert_key) VALUES ('x')",
        "DELETE FROM litgo.job_runs",
        "UPDATE litgo.job_runs SET status = 'success'",
        "DELETE FROM litgo.metric_state",
        "CREATE TABLE public.x (i int)",
    ],
}


@pytest.mark.parametrize("role", REFUSED)
def test_everything_else_is_refused(url: str, role: str) -> None:
    connection = psycopg2.connect(as_role(url, role).replace("+psycopg2", ""))
    allowed = []
    for statement in REFUSED[role]:
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
            allowed.append(statement)
        except psycopg2.errors.InsufficientPrivilege:
            continue
    connection.close()
    assert allowed == []


def test_the_exporter_reads_and_counts_under_its_role(url: str) -> None:
    fill(url)
    exporter = as_role(url, "litgo_exporter")
    with dg.instance_for_test() as instance:
        source = Exporter(exporter, lambda: instance)

        @dg.job
        def nothing() -> None: ...

        nothing.execute_in_process(instance=instance)
        source.refresh()
    up = next(family for family in source.collect() if family.name == "litgo_source_up")
    assert {sample.labels["source"]: sample.value for sample in up.samples} == dict.fromkeys(source.sources, 1)
    assert ask(url, "SELECT count(*) FROM litgo.job_runs") == [(1,)]


def test_the_offices_page_is_read_under_its_role(url: str) -> None:
    fill(url)
    assert [(s.key, s.lines) for s in office.read(as_role(url, "litgo_office"), NOW) if s.state == "unread"] == []


def written_by_statements() -> dict[str, set[str]]:
    """table → what the package's statements do to it besides reading."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in PACKAGE.rglob("*"):
        if file.suffix not in (".py", ".sql") or str(file.relative_to(PACKAGE)).startswith(OWNERS):
            continue
        text = file.read_text()
        for match in re.finditer(r"\b(INSERT INTO|UPDATE|DELETE FROM) ((?:litgo\.)?[a-z_]+)", text):
            verb, table = match[1].split()[0], match[2]
            if table.startswith("litgo.") or table in TABLES:
                found[table].add(verb)
                conflict = re.search(r"INSERT INTO|DO (UPDATE)", text[match.end() :])
                if verb == "INSERT" and conflict and conflict[1]:
                    found[table].add("UPDATE")
    return found


def test_grants_are_what_statements_do(url: str) -> None:
    """A new statement or table needs its line in roles.sql; a line that nothing needs any more goes."""
    granted: dict[str, set[str]] = defaultdict(set)
    grants = (
        "SELECT table_schema, table_name, privilege_type FROM information_schema.{}_privileges WHERE grantee IN ({})"
    )
    ours = "'litgo_pipelines', 'litgo_exporter', 'litgo_office', 'litgo_backup'"
    for schema, table, privilege in ask(url, f"{grants.format('table', ours)} UNION {grants.format('column', ours)}"):
        if privilege != "SELECT":
            granted[f"litgo.{table}" if schema == "litgo" else table].add(privilege)
    assert granted == written_by_statements()
    readable = {
        (table, column)
        for table, column in ask(
            url,
            "SELECT table_name, column_name FROM information_schema.column_privileges "
            "WHERE grantee = 'litgo_pipelines' AND table_schema = 'litgo_source' AND privilege_type = 'SELECT'",
        )
    }
    assert {(table, column) for table, columns in TABLES.items() for column in columns} <= readable
    # what an older marketplace got from `litgo migrate` is what the role may write back
    assert set(EQUITY_COLUMNS) == {
        column
        for (column,) in ask(
            url,
            "SELECT column_name FROM information_schema.column_privileges WHERE grantee = 'litgo_pipelines' "
            "AND table_name = 'lawyers' AND privilege_type = 'UPDATE'",
        )
    }


def test_row_security_shows_the_rows_or_refuses_and_never_hides_them(url: str, pipelines: str) -> None:
    fill(url)
    for table in TABLES:
        ask(url, f"ALTER TABLE public.{table} ENABLE ROW LEVEL SECURITY")
    assert ask(pipelines, "SELECT count(*) FROM lawyers") == [(8,)]
    assert ask(pipelines, "UPDATE lawyers SET cases_30d = 1 RETURNING 1")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(pipelines, "DELETE FROM lawyers")


def test_what_somebody_gave_besides_is_taken_away(url: str, pipelines: str) -> None:
    ask(
        url,
        "CREATE SCHEMA theirs; CREATE TABLE theirs.notes (id int, text text); "
        "GRANT USAGE, CREATE ON SCHEMA theirs, public, litgo, litgo_source TO litgo_pipelines; "
        "GRANT SELECT (id) ON theirs.notes TO litgo_pipelines; GRANT ALL ON public.lawyers TO litgo_exporter; "
        "GRANT pg_read_all_data, pg_write_all_data TO litgo_pipelines; GRANT litgo_pipelines TO litgo_exporter; "
        "ALTER ROLE litgo_pipelines CREATEDB CREATEROLE BYPASSRLS SUPERUSER; ALTER ROLE litgo_exporter REPLICATION; "
        "GRANT ALL ON SCHEMA litgo, litgo_source TO PUBLIC; "
        "GRANT ALL ON ALL TABLES IN SCHEMA litgo, litgo_source TO PUBLIC; "
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA litgo TO PUBLIC",
    )
    roles.apply(url)
    assert ask(
        url,
        "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls, "
        "(SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid) FROM pg_roles r "
        "WHERE rolname IN ('litgo_pipelines', 'litgo_exporter') ORDER BY 1",
    ) == [("litgo_exporter", False, 0), ("litgo_pipelines", False, 0)]
    for statement in (
        "SELECT id FROM theirs.notes",
        "CREATE TABLE theirs.x (i int)",
        "CREATE TABLE public.x (i int)",
        "CREATE TABLE litgo.x (i int)",
        "CREATE VIEW litgo_source.x AS SELECT 1",
        "DELETE FROM litgo.model_ledger",
        "UPDATE public.lawyers SET name = 'x'",
        "SELECT text FROM theirs.notes",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(pipelines, statement)
    ask(url, "DROP ROLE IF EXISTS litgo_stranger; CREATE ROLE litgo_stranger LOGIN")
    try:
        for statement in (
            "SELECT * FROM litgo.outbox",
            "SELECT * FROM litgo_source.cases",
            "SELECT * FROM exported_cases",
        ):
            with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedTable)):
                ask(as_role(url, "litgo_stranger"), statement)
        # a role of theirs still writes to the table that has our indexes
        ask(url, "GRANT SELECT, INSERT, UPDATE ON public.lawyers TO litgo_stranger")
        ask(
            as_role(url, "litgo_stranger"),
            "INSERT INTO public.lawyers (name, oab_number, tags_expertise, geo_latlon) "
            "VALUES ('Ana', '1/SP', '{Civil}', point(-46, -23))",
        )
    finally:
        ask(url, "REVOKE ALL ON public.lawyers FROM litgo_stranger; DROP ROLE litgo_stranger")


def test_where_everybodys_rights_were_taken_away_the_work_is_done_all_the_same(database_url: str) -> None:
    name = make_url(database_url).database
    ask(database_url, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    for _ in range(2):
        roles.apply(database_url)
        for role in ("litgo_pipelines", "litgo_exporter", "litgo_office", "litgo_backup"):
            assert ask(as_role(database_url, role), "SELECT 1") == [(1,)]
        ask(as_role(database_url, "litgo_pipelines"), "CREATE TEMPORARY TABLE night (LIKE litgo.lawyer_momentum)")


def test_another_marketplace_on_the_server_may_be_given_its_roles_meanwhile(url: str) -> None:
    ask(url, "ALTER ROLE litgo_exporter REPLICATION")
    with ThreadPoolExecutor() as pool, connect(url) as beside, beside.cursor() as cursor:
        cursor.execute("ALTER ROLE litgo_exporter NOREPLICATION")
        given = pool.submit(roles.apply, url)
        while not ask(
            url,
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'litgo-roles' AND wait_event_type = 'Lock' "
            "AND datname = current_database()",
        ):
            assert not given.done()
        beside.commit()
        given.result()
    assert ask(url, "SELECT rolreplication FROM pg_roles WHERE rolname = 'litgo_exporter'") == [(False,)]


def test_a_marketplace_without_optional_columns_is_served(database_url: str) -> None:
    ask(database_url, "ALTER TABLE public.contracts DROP COLUMN doc_url CASCADE")
    migrate(database_url)
    roles.apply(database_url)
    assert ask(as_role(database_url, "litgo_pipelines"), "SELECT count(fee_model) FROM contracts") == [(0,)]


def test_a_persons_commands_need_no_owner(pipelines: str) -> None:
    assert migrate(pipelines) == []  # what each of them begins with


def test_passwords_come_from_files_and_reach_the_server_hashed(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="litgo_pipelines"):
        roles.apply(database_url, tmp_path)
    (tmp_path / "litgo_exporter_password").write_text("wr0ng'\\ horse\n")
    roles.apply(database_url, tmp_path)
    ((kept,),) = ask(database_url, "SELECT rolpassword FROM pg_authid WHERE rolname = 'litgo_exporter'")
    assert kept.startswith("SCRAM-SHA-256$4096:")
    ask(database_url, "ALTER ROLE litgo_exporter PASSWORD NULL")
