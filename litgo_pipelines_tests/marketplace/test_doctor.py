"""`litgo doctor` on databases that fit, nearly fit and do not."""

import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from litgo_pipelines.database import roles
from litgo_pipelines.marketplace import doctor, proposal
from litgo_pipelines.marketplace.mapping import parse
from litgo_pipelines.marketplace.migrate import migrate
from litgo_pipelines.marketplace.proposal import TheirTable
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace
from litgo_pipelines_tests.worlds.processes import litgo

END = datetime(2026, 6, 1, tzinfo=UTC)


def run_doctor(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITGO_")}
    return litgo("doctor", *arguments, environment={**environment, "LITGO_DATABASE_URL": url})


@pytest.fixture
def filled(live_filled: Callable[..., LiveMarketplace]) -> LiveMarketplace:
    return live_filled(lawyers=20, cases=120, days=35, end=END)


SEEN = (
    "SELECT (SELECT count(*) FROM public.offers), (SELECT count(*) FROM public.case_matches), "
    "(SELECT md5(string_agg(l::text, '' ORDER BY id)) FROM public.lawyers l), "
    "(SELECT md5(string_agg(c::text, '' ORDER BY id)) FROM public.cases c), "
    "(SELECT md5(string_agg(c::text, '' ORDER BY id)) FROM public.contracts c), "
    "to_regnamespace('litgo'), to_regnamespace('litgo_source')"
)


def test_the_mapping_that_fits_is_named_and_nothing_changes(filled: LiveMarketplace, tmp_path: Path) -> None:
    before = filled.ask(SEEN)
    report = doctor.examine(filled.url)
    assert report.failures == []
    assert (report.mapping, report.fits["litgo"]) == ("litgo", 0)
    assert report.fits["default"] > 0
    assert "before `litgo migrate`, set LITGO_MARKETPLACE_MAPPING=litgo" in report.notes
    assert [one.write for one in report.attempts if not one.tried or one.problem] == []
    assert report.rows["lawyers"] == 20
    done = run_doctor(filled.url, "--json")
    assert (done.returncode, json.loads(done.stdout)["failures"]) == (0, []), done.stderr
    told = run_doctor(filled.url)
    assert "nothing would fail" in told.stdout
    assert "@example.com" not in told.stdout
    assert filled.ask(SEEN) == before


REFUSE = """
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'aqui não'; END $$;
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            REFUSE + "CREATE TRIGGER refuse BEFORE UPDATE ON public.lawyers FOR EACH ROW EXECUTE FUNCTION refuse()",
            "equity columns: aqui não; in the function refuse",
        ),
        (
            REFUSE + "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON public.offers DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()",
            "offer: aqui não",
        ),
        (
            "CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "NEW.cases_30d := current_setting('app.cases'); RETURN NEW; END $$; "
            "CREATE TRIGGER audit BEFORE UPDATE ON public.lawyers FOR EACH ROW EXECUTE FUNCTION audit()",
            "in the function audit; something is not there; a setting: ALTER ROLE",
        ),
        ("ALTER TABLE public.offers ADD CONSTRAINT alta CHECK (fair_score > 0.9) NOT VALID", 'check constraint "alta"'),
        (
            "ALTER TABLE public.lawyers DROP capacidade_mensal; "
            "ALTER TABLE public.lawyers ADD capacidade_mensal int GENERATED ALWAYS AS (5) STORED",
            "generated",
        ),
        (
            "ALTER TABLE public.case_matches ADD canal text NOT NULL DEFAULT 'x'; "
            "ALTER TABLE public.case_matches ALTER canal DROP DEFAULT",
            'match: null value in column "canal"',
        ),
        ("ALTER TABLE public.cases ALTER subarea TYPE varchar(3) USING 'a'", "triage: value too long"),
        (
            "ALTER TABLE public.offers DROP CONSTRAINT offers_status_check; "
            "UPDATE public.offers SET status = 'ENVIADA'",
            "offers.status: 100% of the values mean nothing to the pipelines (ENVIADA)",
        ),
        ("ALTER TABLE public.cases FORCE ROW LEVEL SECURITY", "row security of public.cases applies to live_owner"),
        (
            "ALTER TABLE public.cases ALTER created_at DROP NOT NULL; UPDATE public.cases SET created_at = NULL",
            "cases.created_at: created_at is empty in every row",
        ),
        (
            "ALTER TABLE public.contracts RENAME signed_client TO cliente_assinou_em",
            "contracts.signed_client: public.contracts has no column signed_client",
        ),
    ],
)
def test_what_would_fail_is_said(filled: LiveMarketplace, change: str, said: str) -> None:
    execute(filled.superuser, f"SET session_replication_role = replica; SET search_path = public; {change}")
    before = filled.ask(SEEN)
    done = run_doctor(filled.url)
    assert done.returncode == 1, done.stdout + done.stderr
    failures = done.stdout[done.stdout.index("would fail:") :]
    assert said in failures
    assert filled.ask(SEEN) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("REVOKE UPDATE ON litgo_source.cases FROM litgo_pipelines", "triage: permission denied for view cases"),
        ("REVOKE INSERT ON litgo_source.offers FROM litgo_pipelines", "offer: permission denied for view offers"),
        (
            "REVOKE USAGE ON SCHEMA litgo_source FROM litgo_pipelines",
            "views: permission denied for schema litgo_source; run `python -m",
        ),
        (
            "DROP VIEW litgo_source.reviews",
            "views: they are of another mapping, or of a table or column that was replaced: run",
        ),
    ],
)
def test_a_missing_privilege_of_the_pipelines_role_is_said(
    filled: LiveMarketplace, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", "litgo")
    migrate(filled.url)
    roles.apply(filled.url)
    report = doctor.examine(filled.url)
    assert (report.tried_as, report.failures) == ("litgo_pipelines", [])
    execute(filled.superuser, change)
    assert said in "\n".join(doctor.examine(filled.url).failures)


def test_a_renamed_column_is_proposed_and_the_proposal_serves(
    filled: LiveMarketplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    execute(
        filled.superuser,
        "ALTER TABLE public.contracts RENAME fee_model TO honorarios",
        "ALTER TABLE public.lawyers RENAME COLUMN tags_expertise TO areas_de_atuacao",
        "ALTER TABLE public.offers ALTER responded_at TYPE timestamp",
        "ALTER TABLE public.cases RENAME COLUMN complexity TO nivel",
    )
    file = tmp_path / "casa.yaml"
    done = run_doctor(filled.url, "--write-mapping", str(file))
    assert done.returncode == 1
    text = file.read_text()
    assert "fee_model: honorarios  # a guess: check it" in text
    assert "responded_at: {sql: \"t.responded_at AT TIME ZONE 'UTC'\"}" in text
    assert "complexity: complexity  # not found: name the column that holds it" in text
    parse(text, "casa")  # a person replaces what was not found
    file.write_text(
        text.replace("complexity: complexity  # not found: name the column that holds it", "complexity: nivel")
    )
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", str(file))
    report = doctor.examine(filled.url)
    assert (report.mapping, report.failures) == (str(file), [])
    again = run_doctor(filled.url, "--write-mapping", str(file))
    assert again.returncode != 0
    assert "is there already" in " ".join(again.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    ("ours", "theirs", "alike"),
    [
        ("created_at", "criadoEm", False),
        ("created_at", "createdAt", True),
        ("sent_at", "Sent-At", True),
        ("subarea", "SubÁrea", True),
        ("lat", "latitude", False),
        ("rating", "raiting", True),
        ("id", "uuid", False),
    ],
)
def test_names_are_compared_whatever_their_accents_and_capitals(ours: str, theirs: str, alike: bool) -> None:
    assert (proposal.similarity(ours, theirs) >= proposal.SIMILAR) == alike


def test_decimals_behind_a_comma_and_rows_marked_as_deleted_are_read_as_meant() -> None:
    table = TheirTable("public", "advogados", {"id": "uuid", "latitude": "varchar", "excluidoEm": "timestamp"})
    proposed = proposal.propose_table("lawyers", table, {})
    lat = proposed.forms["lat"]
    assert lat is not None
    assert lat.sql is not None
    assert "replace(t.latitude, ',', '.')::numeric" in lat.sql
    assert proposed.where == 't."excluidoEm" IS NULL'
    assert proposal.not_deleted({"is_deleted": "bool"}) == "t.is_deleted IS NOT TRUE"
    assert proposal.not_deleted({"deleted_at": "text", "undeleted_at": "timestamptz"}) is None
    assert proposal.propose_table("lawyers", table, {}, "t.ativo").where == "t.ativo"


def test_a_known_other_name_comes_before_a_similar_one_and_each_column_is_taken_once() -> None:
    table = TheirTable(
        "banca",
        "casos",
        {
            "id": "uuid",
            "cliente_id": "uuid",
            "criado_em": "timestamptz",
            "created_on": "timestamptz",
            "situacao": "varchar",
            "texto": "text",
        },
        {"situacao": ["Aguardando", "Em Andamento", "Outro"]},
    )
    forms = proposal.propose_table("cases", table, {}).forms
    created, status, description, title = (forms[name] for name in ("created_at", "status", "description", "title"))
    assert (created and created.column, description and description.column) == ("criado_em", "texto")
    assert status is not None
    assert status.values == (("pending_assignment", "Aguardando"), ("in_progress", "Em Andamento"))
    assert title is not None
    assert title.absent
    assert forms["complexity"] is None
