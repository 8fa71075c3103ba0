"""Marketplaces of other makes: names, types, ids and conditions that ours has not, each served or refused in words."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import connect
from litgo_pipelines.marketplace import access, attempts, doctor
from litgo_pipelines.marketplace.checks import LIVE_SCHEMA
from litgo_pipelines.marketplace.mapping import MappingError, parse
from litgo_pipelines.marketplace.migrate import MigrationError, migrate
from litgo_pipelines.marketplace.schema import TABLES, violations
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.dirt import AS_OF, fill
from litgo_pipelines_tests.worlds.live_schema import LiveMarketplace
from litgo_pipelines_tests.worlds.sessions import ask
from litgo_pipelines_tests.worlds.strange_tables import contract, day

WITHOUT_VIEWS = "DROP SCHEMA litgo_source CASCADE"
DEFAULT = files("litgo_pipelines.marketplace").joinpath("mappings/default.yaml").read_text(encoding="utf-8")
Mapped = Callable[[str, str], None]


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mapped:
    """Sets a mapping: the default with one part replaced."""

    def write(part: str, by: str) -> None:
        assert part in DEFAULT
        file = tmp_path / "mapping.yaml"
        file.write_text(DEFAULT.replace(part, by, 1), encoding="utf-8")
        monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", str(file))

    return write


def column_types(url: str) -> list[tuple[str, str, str]]:
    return ask(url, LIVE_SCHEMA, (list(TABLES),))


@pytest.mark.parametrize(
    ("part", "by", "change"),
    [
        ("table: public.reviews", "table: 'public.\"as.avaliações\"'", 'ALTER TABLE reviews RENAME TO "as.avaliações"'),
        ("table: public.reviews", "table: public.100% Reviews", 'ALTER TABLE reviews RENAME TO "100% Reviews"'),
        ("comment: comment", "comment: 'a%b\"c'", 'ALTER TABLE reviews RENAME comment TO "a%b""c"'),
        ("table: public.reviews", "table: public.reviews\n  where: t.rating > 0 -- and no other", "SELECT 1"),
        ("preset: [preset, null]", "preset: {sql: \"'fast'::text -- always\"}", "SELECT 1"),
        (
            "    id: id\n    contract_id",
            "    id: {sql: \"md5('review ' || t.id)::uuid\"}\n    contract_id",
            "ALTER TABLE reviews DROP CONSTRAINT reviews_pkey, DROP id; "
            "ALTER TABLE reviews ADD id bigserial PRIMARY KEY",
        ),
        (
            "area: area\n",
            "area: area\n",
            "CREATE DOMAIN short AS text CHECK (length(value) < 500); CREATE DOMAIN area AS short; "
            "ALTER TABLE cases ALTER area TYPE area",
        ),
        ("name: name", "name: name", "ALTER TABLE lawyers ALTER name TYPE name"),
    ],
)
def test_serves(database_url: str, mapped: Mapped, part: str, by: str, change: str) -> None:
    mapped(part, by)
    fill(database_url)
    execute(database_url, WITHOUT_VIEWS, *change.split("; "))
    assert doctor.examine(database_url).failures == []
    migrate(database_url)
    assert violations(column_types(database_url)) == []
    assert contract(database_url) == {}
    assert day(database_url) == [12, 3]


@pytest.mark.parametrize(
    ("part", "by", "said"),
    [
        (
            "table: public.reviews",
            "table: public.reviews\n  where: t.nope = 1",
            "reviews.where is refused: column t.nope",
        ),
        ("table: public.reviews", "table: public.reviews\n  where: t.rating", "argument of WHERE must be type boolean"),
        ("comment: comment", "comment: {sql: max(t.comment)}", "reviews.comment: the expression is refused"),
        ("comment: comment", "comment: {sql: 'unnest(ARRAY[t.comment, t.comment])'}", "set-returning functions"),
        ("comment: comment", "comment: {sql: 't.comment) AS x; DROP TABLE public.reviews; --'}", "syntax error"),
    ],
)
def test_a_condition_or_expression_that_is_none_is_refused_with_its_line(
    database_url: str, mapped: Mapped, part: str, by: str, said: str
) -> None:
    mapped(part, by)
    execute(database_url, WITHOUT_VIEWS)
    with pytest.raises(MigrationError) as refused:
        migrate(database_url)
    assert said in str(refused.value)
    assert "mapping.yaml, line 1" in str(refused.value)
    assert any(said in failure for failure in doctor.examine(database_url).failures)


@pytest.mark.parametrize("text", ["[" * 5000, "lawyers: &a [*a]", "lawyers: {table: a.b.c}", "\x00", "- 1\n- 2", ""])
def test_no_mapping_at_all_is_said(text: str) -> None:
    with pytest.raises(MappingError):
        parse(text, "mine")


REPEATED = {
    "lawyers": "ALTER TABLE lawyers DROP CONSTRAINT lawyers_pkey CASCADE; INSERT INTO lawyers TABLE lawyers",
    "cases": "ALTER TABLE cases RENAME TO cases_2026; "
    "CREATE VIEW cases AS SELECT * FROM public.cases_2026 UNION ALL SELECT * FROM public.cases_2026",
    "case_matches": "ALTER TABLE case_matches DROP CONSTRAINT case_matches_pkey; "
    "INSERT INTO case_matches TABLE case_matches",
}


@pytest.mark.parametrize("table", REPEATED)
def test_ids_of_several_rows_are_named_before_anything_is_computed(database_url: str, table: str) -> None:
    fill(database_url)
    assert contract(database_url) == {}
    execute(database_url, WITHOUT_VIEWS, *REPEATED[table].split("; "))
    report = doctor.examine(database_url)
    assert any("stand for more than one row" in failure and table in failure for failure in report.failures)
    migrate(database_url)
    found = contract(database_url)
    assert set(found) == {table}
    assert "stand for more than one row" in found[table]


GENERATED = "ALTER TABLE {0} DROP {1} CASCADE, ADD {1} text GENERATED ALWAYS AS ({2}) STORED"


@pytest.mark.parametrize(
    ("change", "name", "said", "mended"),
    [
        (
            GENERATED.format("cases", "area", "left(title, 9)"),
            "cases.area",
            "public.cases computes area, which the pipelines write: ALTER TABLE",
            "ALTER TABLE public.cases ALTER COLUMN area DROP EXPRESSION",
        ),
        (
            GENERATED.format("offers", "status", "'pending'"),
            "offers.status",
            "public.offers computes status, which the pipelines write: ALTER TABLE",
            "ALTER TABLE public.offers ALTER COLUMN status DROP EXPRESSION",
        ),
        (
            "ALTER TABLE cases RENAME TO all_cases; ALTER TABLE all_cases RENAME area TO field; "
            "CREATE VIEW cases AS SELECT *, upper(field) AS area FROM public.all_cases",
            "cases.area",
            "the view public.cases takes nothing that is written to area",
            "CREATE FUNCTION public.writes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE public.all_cases "
            "SET field = NEW.area WHERE id = NEW.id; RETURN NEW; END $$; CREATE TRIGGER writes INSTEAD OF UPDATE "
            "ON public.cases FOR EACH ROW EXECUTE FUNCTION public.writes()",
        ),
        (
            GENERATED.format("cases", "area", "left(title, 9)")
            + "; ALTER TABLE cases RENAME TO all_cases; CREATE VIEW cases AS SELECT * FROM public.all_cases",
            "cases.area",
            'column "area" can only be updated to DEFAULT; the column is generated by them',
            "ALTER TABLE public.all_cases ALTER COLUMN area DROP EXPRESSION",
        ),
        (
            GENERATED.format("offers", "status", "'pending'")
            + "; ALTER TABLE offers RENAME TO all_offers; CREATE VIEW offers AS SELECT * FROM public.all_offers",
            "offers.status",
            'cannot insert a non-DEFAULT value into column "status"; the column is generated by them',
            "ALTER TABLE public.all_offers ALTER COLUMN status DROP EXPRESSION",
        ),
        (
            "ALTER TABLE lawyers DROP capacidade_mensal, ADD capacidade_mensal int GENERATED ALWAYS AS (5) STORED",
            "lawyers.capacidade_mensal",
            "public.lawyers computes capacidade_mensal",
            "ALTER TABLE public.lawyers ALTER COLUMN capacidade_mensal DROP EXPRESSION",
        ),
    ],
)
def test_a_column_that_cannot_be_written_is_named_with_what_to_do(
    database_url: str, change: str, name: str, said: str, mended: str
) -> None:
    fill(database_url)
    execute(database_url, WITHOUT_VIEWS, *change.split("; "))
    failures = " ".join(doctor.examine(database_url).failures)
    assert f'column "{name.split(".")[1]}"' in failures
    migrate(database_url)
    assert f"{name}: {said}" in contract(database_url)[name.split(".")[0]]
    execute(database_url, mended)
    assert said not in str(contract(database_url))


def test_a_table_that_took_anothers_place_is_read_once_the_views_are_made_anew(database_url: str) -> None:
    fill(database_url)
    assert contract(database_url) == {}
    execute(
        database_url,
        "ALTER TABLE reviews RENAME TO reviews_old",
        "CREATE TABLE reviews (LIKE reviews_old INCLUDING ALL)",
    )
    assert "another table has the name public.reviews" in contract(database_url)["reviews"]
    assert "views: they are of another mapping, or of a table or column that was replaced" in str(
        doctor.examine(database_url)
    )
    migrate(database_url)
    assert "reviews_old" not in ask(database_url, "SELECT pg_get_viewdef('litgo_source.reviews'::regclass)")[0][0]
    assert "another table" not in str(contract(database_url))


def test_a_view_without_the_equity_columns_is_named_with_what_to_do(database_url: str, mapped: Mapped) -> None:
    execute(
        database_url,
        WITHOUT_VIEWS,
        "ALTER TABLE lawyers RENAME TO all_lawyers",
        "ALTER TABLE all_lawyers DROP equity_updated_at",
        "CREATE VIEW lawyers AS SELECT * FROM public.all_lawyers",
    )
    failures = doctor.examine(database_url).failures
    assert any("public.lawyers has no column equity_updated_at" in failure for failure in failures)
    with pytest.raises(MigrationError, match="is a view or a foreign table, and has no column equity_updated_at: add"):
        migrate(database_url)
    mapped("equity_updated_at: equity_updated_at", "equity_updated_at: null")
    migrate(database_url)
    assert contract(database_url) == {}


COLUMN_REPLACED = "ALTER TABLE {0} RENAME {1} TO {1}_old; ALTER TABLE {0} ADD {1} text; UPDATE {0} SET {1} = {1}_old"
TRANSLATED = "status: {column: status, values: {pending: PENDENTE, expired: EXPIRADA}}\n    sent_at"


@pytest.mark.parametrize(
    ("part", "by", "change", "said"),
    [
        ("", "", COLUMN_REPLACED.format("cases", "status"), "public.cases.status_old had another name"),
        ("", "", COLUMN_REPLACED.format("reviews", "comment"), "public.reviews.comment_old had another name"),
        ("", "", COLUMN_REPLACED.format("lawyers", "name").replace("name_old", "approved"), "lawyers.approved had"),
        ("", "", "ALTER TABLE reviews RENAME comment TO words", None),  # read as before
        ("", "", "ALTER TABLE offers ADD status_old text", None),
        (
            "status: status\n    sent_at",
            TRANSLATED,
            COLUMN_REPLACED.format("offers", "status"),
            "offers.status_old had",
        ),
        ("status: status\n    sent_at", TRANSLATED, "ALTER TABLE offers RENAME status TO state", "offers.state had"),
        (
            "status: status\n    sent_at: sent_at\n    responded_at: responded_at",
            f"{TRANSLATED}: sent_at\n    responded_at: {{sql: T.RESPONDED_AT}}",
            "ALTER TABLE offers ADD more text",
            None,
        ),
    ],
)
def test_a_column_that_took_anothers_place_is_read_once_the_views_are_made_anew(
    database_url: str, mapped: Mapped, part: str, by: str, change: str, said: str | None
) -> None:
    mapped(part, by)
    fill(database_url)
    migrate(database_url)
    assert contract(database_url) == {}
    execute(database_url, *change.split("; "))
    if said is None:
        assert contract(database_url) == {}
        assert migrate(database_url) == []
        return
    assert said in "".join(contract(database_url).values())
    if "ADD" not in change:  # what is written by its name would fail
        with pytest.raises(MigrationError, match="offers has no column status"):
            migrate(database_url)
        return
    assert "a table or column that was replaced" in str(doctor.examine(database_url))
    assert any("views in litgo_source made" in line for line in migrate(database_url))
    assert contract(database_url) == {}


BLANKS = """
ALTER TABLE profiles ALTER full_name TYPE char(60), ALTER email TYPE char(80), ALTER push_token TYPE char(80);
ALTER TABLE lawyers ALTER name TYPE char(60), ALTER oab_number TYPE char(20), ALTER primary_area TYPE char(40);
ALTER TABLE cases ALTER area TYPE char(40), ALTER subarea TYPE char(60), ALTER complexity TYPE char(10),
    ALTER status TYPE char(20), ALTER title TYPE char(99);
ALTER TABLE offers DROP CONSTRAINT offers_status_check;
ALTER TABLE offers ALTER status TYPE char(12);
UPDATE offers SET status = 'PENDENTE' WHERE status = 'pending';
ALTER TABLE contracts ALTER status TYPE char(20);
"""


def test_texts_of_a_fixed_length_have_no_blanks_and_are_written_whole(database_url: str, mapped: Mapped) -> None:
    mapped("status: status\n    sent_at", TRANSLATED)
    fill(database_url)
    execute(database_url, WITHOUT_VIEWS, BLANKS)
    assert doctor.examine(database_url).failures == []
    migrate(database_url)
    assert contract(database_url) == {}
    columns = [(table, column) for table in TABLES for column, family in TABLES[table].items() if family == "text"]
    for table, column in columns:
        padded = f"SELECT count(*) FROM {table} WHERE octet_length({column}) > octet_length(rtrim({column}))"
        assert ask(database_url, padded) == [(0,)], (table, column)
    assert day(database_url) == [12, 3]
    made = ask(database_url, "SELECT DISTINCT status FROM public.offers WHERE sent_at >= %s", (AS_OF,))
    assert made == [("PENDENTE    ",)]


def test_a_copy_that_replication_fills_is_none_to_write_to(database_url: str) -> None:
    fill(database_url)
    execute(
        database_url,
        "CREATE SUBSCRIPTION theirs CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)",
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT oid, name::regclass, 'r' "
        "FROM pg_subscription, unnest(ARRAY['public.offers', 'public.reviews']) AS name WHERE subname = 'theirs'",
    )
    try:
        told = doctor.examine(database_url).failures
    finally:
        execute(database_url, "DROP SUBSCRIPTION theirs")
    copies = [one.split(" is a copy")[0] for one in told if "is a copy that logical replication fills" in one]
    assert copies == ["public.offers"]


def test_a_materialized_view_serves_where_nothing_is_written(database_url: str) -> None:
    fill(database_url)
    copied = "ALTER TABLE {0} RENAME TO all_{0}; CREATE MATERIALIZED VIEW {0} AS SELECT * FROM public.all_{0}"
    execute(database_url, WITHOUT_VIEWS, copied.format("reviews"))
    migrate(database_url)
    assert contract(database_url) == {}
    execute(database_url, WITHOUT_VIEWS, copied.format("lawyers"))
    migrate(database_url)
    assert "lawyers.cases_30d: the view public.lawyers takes nothing" in contract(database_url)["lawyers"]


@pytest.mark.parametrize(
    "constraint",
    [
        "CREATE UNIQUE INDEX one_open ON public.offers (case_id) WHERE status = 'pending'",
        "ALTER TABLE public.offers ADD CONSTRAINT one_open EXCLUDE USING hash (case_id WITH =) "
        "WHERE (status = 'pending')",
    ],
)
def test_one_open_offer_a_case_is_too_few_and_doctor_says_so(
    database_url: str, constraint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ROLE", "nobody")  # another test's server may have the real one, without rights here
    fill(database_url)
    execute(database_url, "DELETE FROM public.offers", constraint)
    (failure,) = doctor.examine(database_url).failures
    assert failure.startswith("offer: ")
    assert "one_open" in failure
    assert "up to five open offers" in failure


@pytest.mark.parametrize("table", ["lawyers", "cases", "offers", "contracts", "reviews"])
def test_a_row_without_an_id_is_not_there_and_listed(database_url: str, table: str) -> None:
    fill(database_url)
    execute(
        database_url,
        WITHOUT_VIEWS,
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey CASCADE",
        f"ALTER TABLE {table} ALTER id DROP NOT NULL",
        f"CREATE TEMP TABLE one AS SELECT * FROM {table} LIMIT 1; UPDATE one SET id = NULL; "
        + "".join(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}; " for name in ("reviews_contract_id_key",))
        + "DROP INDEX IF EXISTS contracts_one_open_per_case; "
        + ("ALTER TABLE offers DROP CONSTRAINT offers_case_id_lawyer_id_key; " if table == "offers" else "")
        + f"INSERT INTO {table} TABLE one",
    )
    migrate(database_url)
    assert contract(database_url) == {}
    listed = ask(database_url, "SELECT table_name, column_name, found, example FROM litgo_source.unusable")
    assert (table, "id", 1, None) in listed
    assert day(database_url)[0] == 12


def test_an_expression_that_fails_for_one_row_is_named(database_url: str, mapped: Mapped) -> None:
    mapped(
        "lat: [lat, null]\n    lng: [lng, null]\n    status", "lat: {sql: 't.title::float8'}\n    lng: null\n    status"
    )
    execute(database_url, WITHOUT_VIEWS)
    migrate(database_url)
    fill(database_url)
    found = contract(database_url)
    assert set(found) == {"cases"}
    assert "cases.lat: the mapping's expression fails for some row" in found["cases"]
    assert "Caso" not in found["cases"]
    assert not any("Caso" in failure for failure in doctor.examine(database_url).failures)


def test_a_trigger_behind_one_of_ours_may_drop_rows(database_url: str, mapped: Mapped) -> None:
    mapped("table: public.offers", "table: public.offers\n  write_as: owner")
    fill(database_url)
    execute(
        database_url,
        "CREATE FUNCTION public.drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.lawyer_id IN (SELECT md5('lawyer ' || i)::uuid FROM generate_series(1, 3) i) THEN RETURN NULL; END IF; "
        "RETURN NEW; END $$; "
        "CREATE TRIGGER drops BEFORE INSERT ON public.offers FOR EACH ROW EXECUTE FUNCTION public.drops()",
    )
    migrate(database_url)
    assert day(database_url) == [12, 3]
    new = "SELECT DISTINCT count(*) FROM offers WHERE sent_at >= %s GROUP BY case_id"
    assert ask(database_url, new, (AS_OF,)) == [(5,)]
    assert ask(database_url, "SELECT count(*) FROM litgo.outbox WHERE recipient_id IS NULL") == [(0,)]


TEXTS = """
DROP INDEX litgo_lawyers_area_keys;
ALTER TABLE lawyers ALTER kpi TYPE json USING kpi::json, ALTER tags_expertise DROP DEFAULT,
    ALTER max_concurrent_cases TYPE text, ALTER is_available DROP DEFAULT, ALTER created_at DROP DEFAULT;
ALTER TABLE lawyers ALTER tags_expertise TYPE jsonb USING to_jsonb(tags_expertise),
    ALTER is_available TYPE char(1) USING CASE WHEN is_available THEN 'S' ELSE 'N' END, ALTER created_at TYPE date;
UPDATE lawyers SET kpi = '{"a": "x\\u0000y"}', created_at = '5874897-12-31' WHERE name = 'Advogada 2';
UPDATE lawyers SET kpi = '{"a": "\\ud83d"}', max_concurrent_cases = 'dez' WHERE name = 'Advogada 4';
UPDATE lawyers SET kpi = '{"a": "\\ud83d\\ude00"}', tags_expertise = '"Civil"' WHERE name = 'Advogada 5';
ALTER TABLE cases DROP CONSTRAINT cases_status_check, DROP CONSTRAINT cases_complexity_check;
UPDATE cases SET status = 'PENDENTE' WHERE status = 'pending_assignment';
UPDATE cases SET complexity = 'ALTA' WHERE complexity = 'HIGH';
"""


def test_a_proposal_takes_values_of_looser_types_and_one_of_them_stops_nobody(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(database_url)
    execute(database_url, WITHOUT_VIEWS, TEXTS)
    file = tmp_path / "theirs.yaml"
    file.write_text(doctor.examine(database_url).proposal, encoding="utf-8")
    monkeypatch.setenv("LITGO_MARKETPLACE_MAPPING", str(file))
    assert doctor.examine(database_url).failures == []
    migrate(database_url)
    assert contract(database_url) == {}
    found = ask(
        database_url,
        "SELECT count(*), count(kpi), count(tags_expertise), count(max_concurrent_cases), count(created_at), "
        "bool_and(is_available) FROM lawyers",
    )
    assert found == [(12, 10, 11, 1, 11, True)]
    assert day(database_url) == [12, 3]


def test_policies_under_a_view_of_theirs_are_seen(live: LiveMarketplace) -> None:
    execute(
        live.superuser,
        "ALTER TABLE public.cases RENAME TO all_cases; ALTER TABLE public.all_cases ENABLE ROW LEVEL SECURITY; "
        "CREATE VIEW public.cases AS SELECT * FROM public.all_cases; ALTER VIEW public.cases OWNER TO authenticated",
    )

    def hidden() -> list[tuple[Any, ...]]:
        with connect(live.superuser) as connection, connection.cursor() as cursor:
            return [*access.hidden(cursor, ["public.cases"])]

    assert [view for view, _ in hidden()] == ["public.cases"]
    assert "row security of public.all_cases applies to authenticated" in hidden()[0][1]
    execute(live.superuser, "ALTER VIEW public.cases SET (security_invoker = true)")
    assert hidden() == []  # who reads is a superuser


def test_what_the_catalogue_alone_says_is_told_before_anything_is_written(database_url: str) -> None:
    """A replica, rows that are only marked as deleted, a point of PostGIS, an instant without its zone, ids as text."""
    execute(
        database_url,
        WITHOUT_VIEWS,
        "ALTER TABLE lawyers ADD deleted_at timestamptz, ALTER kpi_softskill TYPE money USING 1::money",
    )
    notes = doctor.examine(database_url).notes
    assert [
        note for note in notes if "kpi_softskill is not read, since" in note and '"t.kpi_softskill::numeric"' in note
    ]
    assert any("`where: t.deleted_at IS NULL` beside the table lawyers" in note for note in notes)
    execute(
        database_url,
        "CREATE TYPE geography AS (x float8)",
        "ALTER TABLE cases DROP coords, ADD coords geography, ALTER created_at TYPE timestamp",
        "ALTER TABLE offers ALTER sent_at TYPE timestamp",
        "ALTER TABLE contracts DROP CONSTRAINT contracts_case_id_fkey, ALTER case_id TYPE text",
        "ALTER TABLE case_matches ALTER features TYPE text",
        f"ALTER DATABASE {make_url(database_url).database} SET default_transaction_read_only = on",
    )
    report = doctor.examine(database_url)
    told = "\n".join(report.failures)
    assert "the database is read-only" in told
    assert '{sql: point(st_x(t."coords"::geometry), st_y(t."coords"::geometry))}' in told
    assert """{sql: "t.created_at AT TIME ZONE 'UTC'"}""" in told
    assert """ALTER TABLE "public"."offers" ALTER "sent_at" TYPE timestamptz USING "sent_at" AT TIME ZONE""" in told
    assert 'ALTER "case_id" TYPE uuid USING "case_id"::uuid where each is one, else add a uuid column of that' in told
    assert 'ALTER "features" TYPE jsonb USING "features"::jsonb where each is JSON' in told
    assert 'where: "t.deleted_at IS NULL"' in report.proposal


def test_views_of_another_version_are_made_anew(database_url: str) -> None:
    assert migrate(database_url) == []
    execute(database_url, "UPDATE litgo.source_mapping SET rendering_sha256 = 'of another version'")
    assert any("views in litgo_source made" in line for line in migrate(database_url))
    assert migrate(database_url) == []
