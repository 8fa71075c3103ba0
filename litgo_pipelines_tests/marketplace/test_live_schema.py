"""The pipelines on the marketplace's own schema."""

import uuid
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import connect, roles
from litgo_pipelines.equity import availability
from litgo_pipelines.marketplace.migrate import MigrationError, migrate
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.jobs import QUIET, Jobs, last_night, nights, services
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace, as_role, fill
from litgo_pipelines_tests.worlds.pooler import PGBOUNCER, pooled


def test_without_a_mapping_the_one_that_fits_is_named(live: LiveMarketplace) -> None:
    with pytest.raises(MigrationError, match="LITGO_MARKETPLACE_MAPPING=litgo") as refused:
        migrate(live.url)
    assert "profiles.email: public.profiles has no column email" in str(refused.value)
    assert live.ask("SELECT to_regnamespace('litgo'), to_regnamespace('litgo_source')") == [(None, None)]


def test_the_mapping_is_kept_for_commands_that_name_none(
    live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    assert "views in litgo_source made from the mapping litgo" in migrate(live.url)
    monkeypatch.delenv("LITGO_MARKETPLACE_MAPPING")
    assert migrate(live.url) == []


AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("profile", "lawyer", "free"),
    [
        ({}, {}, True),
        ({"availability_status": "busy"}, {}, False),
        ({"availability_status": "inactive"}, {}, False),
        ({"availability_status": "vacation"}, {}, False),  # without dates
        ({}, {"is_approved": False}, False),
        ({}, {"is_approved": None}, False),
        ({"vacation_start": AS_OF - DAY, "vacation_end": AS_OF + DAY}, {}, False),
        ({"vacation_start": AS_OF + 0.9 * DAY, "vacation_end": AS_OF + 9 * DAY}, {}, False),  # within an offer's term
        ({"vacation_start": AS_OF + 1.1 * DAY, "vacation_end": AS_OF + 9 * DAY}, {}, True),
        ({"vacation_start": AS_OF - 9 * DAY, "vacation_end": AS_OF}, {}, True),
        ({"vacation_start": AS_OF - 9 * DAY}, {}, False),
        ({"vacation_end": AS_OF + DAY}, {}, False),
        ({"availability_status": "vacation", "vacation_end": AS_OF - DAY}, {}, True),
    ],
)
def test_who_is_away_is_offered_nothing(
    live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch, profile: dict[str, Any], lawyer: dict[str, Any], free: bool
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(live.url)
    person = str(uuid.uuid4())
    for table, values in (
        ("profiles", {"id": person, **profile}),
        ("lawyers", {"id": person, "name": "Ana", "is_approved": True, "created_at": AS_OF - 99 * DAY, **lawyer}),
    ):
        places = ", ".join(["%s"] * len(values))
        live.ask(f"INSERT INTO public.{table} ({', '.join(values)}) VALUES ({places})", *values.values())
    with connect(live.url) as connection, connection.cursor() as cursor:
        assert availability.record(cursor, AS_OF) == free


@pytest.mark.parametrize(
    ("stated", "of_profile", "pauses", "limit"),
    [
        (10, 10, True, 10),
        (10, 4, True, 4),
        (10, 4, False, 10),
        (3, 10, True, 3),
        (3, 2, True, 2),
        (30, 10, True, 10),
        (30, 20, True, 20),
        (30, 20, False, 30),
        (None, 20, True, 20),
        (None, 20, False, None),
    ],
)
def test_who_pauses_at_a_limit_pauses_at_the_smaller_one(
    live: LiveMarketplace,
    monkeypatch: pytest.MonkeyPatch,
    stated: int | None,
    of_profile: int,
    pauses: bool,
    limit: int | None,
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(live.url)
    person = str(uuid.uuid4())
    live.ask(
        "INSERT INTO public.profiles (id, max_concurrent_cases, auto_pause_at_limit) VALUES (%s, %s, %s)",
        *(person, of_profile, pauses),
    )
    live.ask("INSERT INTO public.lawyers (id, name, max_concurrent_cases) VALUES (%s, 'Ana', %s)", person, stated)
    assert live.ask("SELECT max_concurrent_cases FROM lawyers") == [(limit,)]


def test_a_user_deleted_softly_is_offered_nothing_and_no_hash_is_written_to(
    live: LiveMarketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    live.ask("ALTER TABLE auth.users ADD deleted_at timestamptz")
    migrate(live.url)
    person = str(uuid.uuid4())
    live.ask("INSERT INTO auth.users (id, email) VALUES (%s, 'ana@example.com')", person)
    live.ask("INSERT INTO public.profiles (id, user_id) VALUES (%s, %s)", person, person)
    live.ask("INSERT INTO public.lawyers (id, name, is_approved) VALUES (%s, 'Ana', true)", person)
    seen = "SELECT l.active, p.email FROM lawyers l JOIN profiles p USING (id)"
    assert live.ask(seen) == [(True, "ana@example.com")]
    live.ask("UPDATE auth.users SET deleted_at = now(), email = 'ZWBnLSdGrCBGoJPvdHNzC'")
    assert live.ask(seen) == [(False, None)]


def run_the_jobs(jobs: Jobs) -> None:
    """Everything that runs by itself, once."""
    thirty = nights(30)
    jobs.run(
        "nightly_equity",
        tags={
            "dagster/asset_partition_range_start": thirty[0],
            "dagster/asset_partition_range_end": thirty[-1],
        },
    )
    jobs.run("offer_expiry")
    jobs.run("evidence")
    jobs.run("matching", "triaged_cases", "case_offers")
    jobs.run("notifications")


def choose_a_lawyer(live: LiveMarketplace) -> tuple[str, str, str]:
    """As the marketplace's own backend: three lawyers are interested in one case, the client takes one of them."""
    ((case, client, several),) = live.ask(
        "SELECT o.case_id::text, c.client_id::text, array_agg(o.lawyer_id::text ORDER BY o.lawyer_id) "
        "FROM public.offers o JOIN public.cases c ON c.id = o.case_id WHERE o.status = 'pending' "
        "AND o.case_id IN (SELECT case_id FROM litgo.matchings) "
        "GROUP BY o.case_id, c.client_id HAVING count(*) > 3 ORDER BY o.case_id LIMIT 1"
    )
    live.ask(
        "UPDATE public.offers SET status = 'interested', responded_at = now() "
        "WHERE case_id = %s AND lawyer_id = ANY(%s::uuid[])",
        case,
        several[:3],
    )
    ((contract,),) = live.ask(
        "INSERT INTO public.contracts (case_id, lawyer_id, client_id, status, fee_model, created_at) "
        "VALUES (%s, %s, %s, 'pending-signature', %s, now() - interval '1 minute') RETURNING id::text",
        case,
        several[0],
        client,
        '{"type": "success", "percent": 20}',
    )
    return case, several[0], contract


def sign_and_review(live: LiveMarketplace, jobs: Jobs) -> str:
    """Both sign on paper, one after the other; the contract ends well and is reviewed. The case."""
    case, lawyer, contract = choose_a_lawyer(live)
    jobs.run("contracts")
    for party, status in (("client", "pending-signature"), ("lawyer", "active")):
        jobs.run(
            "record_signature",
            run_config=QUIET
            | {
                "ops": {
                    "signature": {
                        "config": {
                            "contract_id": contract,
                            "signed_by": party,
                            "signed_at": datetime.now(UTC).isoformat(),
                            "recorded_by": "Ana",
                            "sha256": "0" * 64,
                        }
                    }
                }
            },
        )
        assert live.ask("SELECT status FROM public.contracts WHERE id = %s", contract) == [(status,)]
    # what the marketplace's own trigger adds to a signature
    assert live.ask("SELECT action FROM public.audit_log WHERE record_id = %s", contract) == [("activated",)]
    statuses = live.ask(
        "SELECT DISTINCT lawyer_id::text = %s, status FROM public.offers WHERE case_id = %s", lawyer, case
    )
    assert dict(statuses) == {True: "interested", False: "closed"}
    live.ask("UPDATE public.contracts SET status = 'closed' WHERE id = %s", contract)
    live.ask("UPDATE public.cases SET status = 'closed' WHERE id = %s", case)
    live.ask(
        "INSERT INTO public.reviews (contract_id, lawyer_id, client_id, rating, outcome, comment) "
        "SELECT id, lawyer_id, client_id, 5, 'won', 'Excelente' FROM public.contracts WHERE id = %s",
        contract,
    )
    jobs.run("evidence")
    jobs.run("notifications")
    return case


# Each part of the flow → a figure that is not 0 after it.
DONE = {
    "nights": "SELECT count(*) FROM litgo.offer_distribution",
    "evidence": "SELECT count(*) FROM litgo.lawyer_evidence WHERE reviews > 0",
    "written back": "SELECT count(*) FROM public.lawyers WHERE equity_updated_at IS NOT NULL",
    "matched": "SELECT count(*) FROM litgo.matchings",
    "offers": "SELECT count(*) FROM public.offers WHERE status = 'pending'",
    "messages": "SELECT count(*) FROM litgo.outbox WHERE status IN ('accepted', 'merged')",
    "signed": "SELECT count(*) FROM litgo.contract_requests WHERE status = 'signed'",
    "told": "SELECT count(*) FROM litgo.outbox WHERE kind = 'contract_signed'",
    "registered": "SELECT count(*) FROM litgo.retrainings WHERE mlflow_version IS NOT NULL",
}
# What such databases set for everybody, or for the pipelines' role alone; sessions of ours have limits of their own.
LIMITS = """
ALTER DATABASE {name} SET statement_timeout = '8s';
ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1s';
ALTER ROLE litgo_pipelines IN DATABASE {name} SET statement_timeout = '8s';
ALTER ROLE litgo_pipelines IN DATABASE {name} SET idle_in_transaction_session_timeout = '1s';
ALTER ROLE litgo_pipelines IN DATABASE {name} SET search_path = public;
ALTER ROLE litgo_pipelines IN DATABASE {name} SET TimeZone = 'America/Noronha';
"""
# A database that is stricter than the marketplace's own migrations leave it.
STRICT = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'live_strict') THEN
        CREATE ROLE live_strict LOGIN CREATEROLE CREATEDB BYPASSRLS;  -- as Supabase's postgres
    END IF;
END $$;
GRANT USAGE ON SCHEMA auth TO live_strict;
GRANT SELECT ON auth.users TO live_strict;
ALTER SCHEMA public OWNER TO live_strict;
CREATE FUNCTION public.shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify(TG_TABLE_NAME, left(row_to_json(NEW)::text, 7000)); RETURN NEW; END $$;
DO $$ DECLARE name text; BEGIN
    FOREACH name IN ARRAY ARRAY['profiles', 'lawyers', 'cases', 'case_matches', 'offers', 'contracts', 'reviews'] LOOP
        EXECUTE format('ALTER TABLE public.%I OWNER TO live_strict', name);
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY nobody ON public.%I AS RESTRICTIVE USING (false)', name);
        EXECUTE format('CREATE TRIGGER shout AFTER INSERT OR UPDATE ON public.%I '
                       'FOR EACH ROW EXECUTE FUNCTION public.shout()', name);
    END LOOP;
END $$;
ALTER TABLE public.audit_log OWNER TO live_strict;
ALTER FUNCTION public.rate() OWNER TO live_strict;
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
def test_the_whole_flow(
    live: LiveMarketplace, mlflow_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strict: bool
) -> None:
    end = last_night()
    fill(live.superuser, lawyers=150, cases=1200, days=90, end=end)
    owner = live.url
    if strict:
        owner = as_role(live.url, "live_strict")
        execute(live.superuser, STRICT, f"ALTER DATABASE {make_url(owner).database} OWNER TO live_strict")
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(owner)
    roles.apply(owner)
    pipelines = as_role(live.url, "litgo_pipelines")
    with ExitStack() as stack, services() as given, dg.DagsterInstance.ephemeral() as instance:
        if strict:
            execute(live.superuser, LIMITS.format(name=make_url(owner).database))
            if PGBOUNCER is not None:
                pipelines = stack.enter_context(
                    pooled(pipelines, tmp_path, "session", "ignore_startup_parameters = options")
                )
        given |= {"LITGO_DATABASE_URL": pipelines, "LITGO_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": mlflow_server}
        given |= {"NO_PROXY": "127.0.0.1", "GATE_MIN_QUERIES": "20", "LEARNING_TRAIN_SEEDS": "1"}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        jobs = Jobs(instance)
        run_the_jobs(jobs)
        case = sign_and_review(live, jobs)
        jobs.run("retraining")
    found = {name: live.ask(query)[0][0] for name, query in DONE.items()}
    assert all(found.values()), found
    assert found["nights"] == 30
    ((path,),) = live.ask("SELECT snapshot_path FROM litgo.retrainings")
    assert case in pq.read_table(tmp_path / path, columns=["case_id"])["case_id"].to_pylist()
