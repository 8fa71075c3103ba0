"""Erasure: nothing of a person is left anywhere, and nobody else loses anything."""

import gzip
import json
import re
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow.parquet as pq
import pytest
from sqlalchemy.engine import make_url

from litgo_pipelines.database import open_connection, roles, session_lock
from litgo_pipelines.matching.batch import LOCK as MATCHING
from litgo_pipelines.models import registry
from litgo_pipelines.notifications import suppressions
from litgo_pipelines.notifications.addresses import digest
from litgo_pipelines.persons import erase, export, keys, night, tombstones, traces
from litgo_pipelines.persons.erase import Places
from litgo_pipelines.persons.held import HELD, KNOWN, NOBODY
from litgo_pipelines.resources.mlflow import MLflow, MLflowUnavailable
from litgo_pipelines.resources.sendgrid import Suppressed
from litgo_pipelines_tests.support import HERE, until
from litgo_pipelines_tests.worlds.lifecycle import SERVED, mlflow, own_store
from litgo_pipelines_tests.worlds.persons import AT, RESUME, TEXT, People, fill, hashed
from litgo_pipelines_tests.worlds.processes import Child, kill_self, killed
from litgo_pipelines_tests.worlds.sessions import kept

__all__ = ["mlflow", "own_store"]  # fixtures

LAWYER = "0d9e1b52-6e0b-4b57-9c3e-6a6c1b0f7a11"


def ask(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def tables(url: str) -> list[str]:
    return [
        table
        for (table,) in ask(
            url,
            "SELECT relname FROM pg_class WHERE relnamespace = 'litgo'::regnamespace AND relkind IN ('r', 'p') "
            "ORDER BY 1",
        )
    ]


def where(home: Path, *databases: str) -> Places:
    return Places(home, home / "models" / "triage", databases, (home,))


def erased(url: str, person: str, home: Path, *databases: str, by: str = "Encarregada") -> erase.Erased:
    with kept(url) as connection:
        return erase.erase(connection, person, by, where(home, *databases), AT)


def left(url: str, home: Path, wanted: list[str]) -> list[str]:
    """Where any of the words still stands: rows of every table of ours as text, and files, unpacked."""
    found = []
    pattern = "|".join(re.escape(word) for word in wanted)
    for table in tables(url):
        for (row,) in ask(url, f"SELECT t::text FROM litgo.{table} t WHERE t::text ~* %s", (pattern,)):
            found.append(f"{table}: {row[:200]}")
    for path in (path for path in home.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content = json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
        elif path.suffix == ".gz":
            content = gzip.decompress(content)
        if re.search(pattern.encode(), content, re.IGNORECASE):
            found.append(str(path.relative_to(home)))
    return found


def words(people: People, *who: str) -> list[str]:
    """What names the client or the lawyer: ids, texts, hashes of texts."""
    client = [people.client, people.case, people.contract, people.offer, people.review, "Zuleica", "Palmeiras", TEXT]
    lawyer = [people.lawyer, people.contract, people.offer, "Itapecerica", RESUME]
    found = {
        "client": [*client, hashed(f"Dinheiro\n{TEXT}").hex()],
        "lawyer": [*lawyer, hashed(RESUME).hex()],
    }
    return [word for one in who for word in found[one]]


def test_every_table_says_whose_it_is(database_url: str) -> None:
    """A table that a migration adds needs its entry in `held.py`."""
    assert sorted([*HELD, *NOBODY]) == tables(database_url)
    assert not set(HELD) & set(NOBODY)
    columns = {
        (table, column)
        for table, column in ask(
            database_url,
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'litgo' "
            "AND data_type = 'uuid' AND column_name ~ '^(client|lawyer|case|contract|review|recipient|of_case)_id$'",
        )
    }
    assert {table for table, _ in columns} <= set(HELD) | {"current_champion"}
    known = {(table, column) for places in KNOWN.values() for table, column in places}
    # the outcomes' clients are those of the arms
    assert columns - known == {("experiment_outcomes", "client_id")}


def test_the_person_of_these_tests_has_rows_in_every_table(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        for person, without in (
            (people.client, {"lawyer_accounts", "equity_history"} | {t for t in HELD if t.startswith("lawyer_")}),
            (people.lawyer, set()),
        ):
            values = keys.of_person(cursor, person).parameters()
            empty = set()
            for table, held in HELD.items():
                cursor.execute(f"SELECT count(*) FROM litgo.{table} t WHERE {held.where}", values)
                if cursor.fetchone() == (0,):
                    empty.add(table)
            if person == people.client:
                assert empty == without
            else:
                of_clients = {"triage", "triage_failures", "matching_failures", "case_waits", "case_duplicates"}
                of_clients |= {
                    "matchings",
                    "candidate_sets",
                    "experiment_arms",
                    "experiment_outcomes",
                    "exposures",
                    "matching_batches",
                }
                assert empty == of_clients | {"told", "missed_subjects"}


def test_nothing_is_left_and_nobody_else_loses_anything(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    assert len(left(database_url, tmp_path, words(people, "client", "lawyer"))) > 30
    done = erased(database_url, people.client, tmp_path)
    assert done.shown
    assert left(database_url, tmp_path, words(people, "client")) == []
    assert left(database_url, tmp_path, [people.lawyer])
    erased(database_url, people.lawyer, tmp_path)
    assert left(database_url, tmp_path, words(people, "client", "lawyer")) == []
    # who else is in the same tables, files and experiments
    assert ask(database_url, "SELECT count(*) FROM litgo.experiment_arms") == [(2,)]
    assert ask(database_url, "SELECT value FROM litgo.experiment_outcomes ORDER BY 1") == [(2,), (3,)]
    assert ask(
        database_url,
        "SELECT count(*) FROM litgo.experiment_arms a JOIN litgo.experiment_outcomes USING (experiment, client_id) "
        "JOIN litgo.exposures e ON e.client_id = a.client_id AND e.case_id = a.case_id",
    ) == [(2,)]
    assert ask(database_url, "SELECT recipient_id::text FROM litgo.outbox") == [(people.other,)]
    assert ask(database_url, "SELECT recipient_id::text FROM litgo.deliveries") == [(people.other,)]
    assert ask(database_url, "SELECT list FROM litgo.mail_suppressions") == [("bounces",)]
    ((considered,),) = ask(database_url, "SELECT considered FROM litgo.matchings")
    assert len(considered) == 1
    assert ask(database_url, "SELECT case_ids[1]::text, cardinality(case_ids) FROM litgo.matching_batches") == [
        (people.other_case, 2)
    ]
    assert ask(database_url, "SELECT event, actor, details FROM litgo.contract_events") == [
        ("signed:client", "a person", {"signed_at": "2026-05-01"})
    ]
    (snapshot,) = (tmp_path / "snapshots").glob("*.parquet")
    assert [row["case_id"] for row in pq.read_table(snapshot).to_pylist()] == [people.other_case]
    assert ask(database_url, "SELECT snapshot_path, snapshot_sha256 FROM litgo.retrainings") == [
        (f"snapshots/{snapshot.name}", snapshot.stem)
    ]
    assert not list((tmp_path / "models" / "triage").iterdir())


@pytest.mark.parametrize(
    ("deleted_there", "written"),
    [
        (False, "Zuleica@example.com"),
        (True, "Zuleica@example.com"),
        (True, "mailto:zuleica@example.com"),
        (True, "zuleica@example.com\u200b"),
    ],
)
def test_a_vendors_list_does_not_bring_an_erased_address_back(
    database_url: str, tmp_path: Path, deleted_there: bool, written: str
) -> None:
    """Every hour SendGrid's list still names it, whether or not the marketplace has deleted the person too."""
    people = fill(database_url, tmp_path)
    ask(database_url, "UPDATE profiles SET email = %s WHERE id = %s", (written, people.client))
    listed = [Suppressed(email, AT) for email in (" ZULEICA@example.com", "outra@example.com")]

    def polled() -> set[str]:
        with kept(database_url) as connection, connection, connection.cursor() as cursor:
            suppressions._write(cursor, "spam_reports", listed, AT)
        rows = ask(database_url, "SELECT digest FROM litgo.mail_suppressions WHERE list = 'spam_reports'")
        return {digest for (digest,) in rows}

    zuleica, other = digest("zuleica@example.com"), digest("outra@example.com")
    assert polled() == {zuleica, other}
    erased(database_url, people.client, tmp_path)
    if deleted_there:
        for table in ("reviews", "contracts", "case_matches", "offers"):
            ask(database_url, f"DELETE FROM {table}")
        ask(database_url, "DELETE FROM cases WHERE client_id = %s", (people.client,))
        ask(database_url, "DELETE FROM profiles WHERE id = %s", (people.client,))
    for _ in range(2):
        assert polled() == {other}
    assert ask(database_url, "SELECT count(*) FROM litgo.outbox WHERE kind = 'address_bad'") == [(1,)]
    ask(database_url, "INSERT INTO profiles (id, email) VALUES (gen_random_uuid(), %s)", (f"{written} ",))
    assert polled() == {zuleica, other}, "somebody else has the address now"


def test_who_asked_when_and_what_went_is_recorded_without_the_person(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    erased(database_url, people.client, tmp_path)
    ((kind, subject, by, at, done, removed),) = ask(
        database_url, "SELECT kind, subject, asked_by, asked_at, done_at, removed FROM litgo.person_requests"
    )
    assert (kind, by, at, done) == ("erase", "Encarregada", AT, AT)
    assert bytes(subject) == keys.digest(people.client)
    assert removed["triage"] == 1
    assert removed["experiment_arms, pseudonymised"] == 1
    # with the key somebody can say that a given person was in an arm; without it nobody can
    ((key,),) = ask(database_url, "SELECT key FROM litgo.pseudonym_keys")
    stands_for = erase.pseudonym(bytes(key), people.client)
    assert ask(database_url, "SELECT arm FROM litgo.experiment_arms WHERE client_id = %s", (stands_for,)) == [
        ("treatment",)
    ]


def test_again_changes_nothing(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    erased(database_url, people.client, tmp_path)
    ask(database_url, "DELETE FROM public.reviews; DELETE FROM public.contracts; DELETE FROM public.offers")
    ask(database_url, "DELETE FROM public.case_matches; DELETE FROM public.cases WHERE id = %s", (people.case,))
    ask(database_url, "DELETE FROM public.profiles WHERE id = %s", (people.client,))
    before = {
        table: ask(database_url, f"SELECT t::text FROM litgo.{table} t ORDER BY 1") for table in tables(database_url)
    }
    again = erased(database_url, people.client, tmp_path)
    assert not any(again.removed.values())
    assert not again.shown
    after = {
        table: ask(database_url, f"SELECT t::text FROM litgo.{table} t ORDER BY 1") for table in tables(database_url)
    }
    changed = {table for table in after if after[table] != before[table]}
    assert changed == {"person_requests", "pseudonym_keys", "tombstones"}


MOMENTS = ["tombstones.keep", "traces.snapshots", "traces.classifiers", "traces.files", "erase._rows", "files.replace"]


def killed_erasure(url: str, person: str, home: str, moment: str) -> None:
    from litgo_pipelines.persons import traces

    place, name = moment.split(".")
    if place == "files":  # the new snapshot has its name, the row names the old one
        traces.in_transaction = kill_self  # type: ignore[assignment]
    else:
        setattr({"tombstones": tombstones, "traces": traces, "erase": erase}[place], name, kill_self)
    erased(url, person, Path(home))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_anywhere_and_run_again(database_url: str, tmp_path: Path, moment: str) -> None:
    people = fill(database_url, tmp_path)
    killed(killed_erasure, database_url, people.client, str(tmp_path), moment)
    erased(database_url, people.client, tmp_path)
    assert left(database_url, tmp_path, words(people, "client")) == []
    assert ask(database_url, "SELECT count(*), count(done_at) FROM litgo.person_requests") == [(1, 1)]


def test_a_killed_one_is_finished_by_the_night(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    killed(killed_erasure, database_url, people.client, str(tmp_path), "erase._rows")
    with kept(database_url) as connection:
        night.replay(connection, where(tmp_path), AT)
    assert left(database_url, tmp_path, words(people, "client")) == []
    assert ask(database_url, "SELECT count(*), count(done_at) FROM litgo.person_requests") == [(1, 1)]


def test_what_a_run_beside_it_wrote_later_goes_by_night(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    erased(database_url, people.client, tmp_path)
    ask(
        database_url,
        "INSERT INTO litgo.triage_failures VALUES (%(case)s, 1, 'x', %(at)s, %(at)s, %(at)s); "
        "INSERT INTO litgo.text_stems VALUES (%(text)s, '1', '')",
        {"case": people.case, "at": AT, "text": hashed(f"Dinheiro\n{TEXT}")},
    )
    with kept(database_url) as connection:
        night.replay(connection, where(tmp_path), AT)
    assert left(database_url, tmp_path, words(people, "client")) == []


def test_append_only_stays_append_only(database_url: str, tmp_path: Path) -> None:
    fill(database_url, tmp_path)
    for statement in (
        "UPDATE litgo.experiment_arms SET arm = 'control'",
        "DELETE FROM litgo.experiment_arms",
        "UPDATE litgo.contract_events SET actor = 'x'",
        "UPDATE litgo.experiments SET actor = 'x'",
    ):
        with pytest.raises(psycopg2.errors.RaiseException):
            ask(database_url, statement)


def test_rows_of_dagster_lose_the_ids(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    ask(database_url, "CREATE TABLE public.event_logs (id int, event text); CREATE TABLE public.kvs (key varchar(99))")
    ask(
        database_url,
        "INSERT INTO public.event_logs VALUES (1, %s), (2, %s); INSERT INTO public.kvs VALUES (%s)",
        (json.dumps({"failures": {people.case: "x"}, "for": people.client.upper()}), people.other_case, people.client),
    )
    erased(database_url, people.client, tmp_path, database_url)
    rows = str(ask(database_url, "SELECT event FROM public.event_logs UNION SELECT key FROM public.kvs"))
    assert people.case not in rows
    assert people.client not in rows.lower()
    assert people.other_case in rows


def test_the_export_holds_everything_in_one_file_of_the_owners(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    with kept(database_url) as connection:
        found = export.export(connection, people.client.upper(), "Encarregada", AT, tmp_path)
    path = tmp_path / "titular.json"
    export.write(path, found)
    assert path.stat().st_mode & 0o777 == 0o600
    read = json.loads(path.read_text())
    ours = read["guardado_pelos_pipelines"]
    of_lawyers = {table for table in HELD if table.startswith("lawyer_")} | {"equity_history"}
    assert {table for table in HELD if not ours[table]} == of_lawyers
    assert read["textos_lidos"][0]["text"] == f"Dinheiro\n{TEXT}"
    assert [row["case_id"] for rows in read["instantaneos_de_treino"].values() for row in rows] == [people.case]
    assert read["lido_do_marketplace"]["profiles"][0]["full_name"] == "Zuleica Quaresma"
    assert people.other not in path.read_text()
    with kept(database_url) as connection:
        lawyer = export.export(connection, people.lawyer, "Encarregada", AT, tmp_path)
    assert len(lawyer["guardado_pelos_pipelines"]["matchings, as a candidate"]) == 2
    assert (
        ask(database_url, "SELECT kind, asked_by, done_at FROM litgo.person_requests")
        == [("export", "Encarregada", AT)] * 2
    )


@pytest.mark.parametrize("given", ["", "ana", "1", "00000000-0000-0000-0000-000000000000", "; DROP TABLE x"])
def test_what_is_no_persons_id_is_refused(database_url: str, tmp_path: Path, given: str) -> None:
    with pytest.raises(keys.NoPerson):
        erased(database_url, given, tmp_path)
    assert ask(database_url, "SELECT count(*) FROM litgo.person_requests") == [(0,)]


@pytest.mark.slow
def test_copies_in_mlflow_lose_the_rows_and_the_examples(database_url: str, tmp_path: Path, mlflow: MLflow) -> None:
    people = fill(database_url, tmp_path)
    ask(database_url, "UPDATE litgo.retrainings SET mlflow_run_id = 'r'")
    client = mlflow.client()
    (path,) = (tmp_path / "snapshots").iterdir()
    place = (tmp_path / "artifacts").as_uri()
    run = client.create_run(client.create_experiment("copies", artifact_location=place))
    client.log_artifact(run.info.run_id, str(path), "bundle")
    client.log_text(run.info.run_id, f"lawyer {people.lawyer}", "bundle/about.md")
    (logged,) = mlflow.module().search_logged_models(["1"], output_format="list")
    model = Path(logged.artifact_location.removeprefix("file://"))
    assert (model / "input_example.json").exists()
    with kept(database_url) as connection:
        places = Places(tmp_path / "home", tmp_path / "triage", (), (), mlflow)
        erase.erase(connection, people.lawyer, "Encarregada", places, AT)
    bundle = tmp_path / "artifacts" / run.info.run_id / "artifacts" / "bundle"
    assert [row["case_id"] for row in pq.read_table(bundle / path.name).to_pylist()] == [people.other_case]
    assert people.lawyer not in (bundle / "about.md").read_text()
    assert not (model / "input_example.json").exists()
    assert registry.loadable(mlflow, "1", tmp_path / "served", SERVED["scorer_sha256"])


@pytest.mark.parametrize("what", ["deleted", "its experiment deleted", "beside a place that cannot be reached"])
def test_files_in_mlflows_trash_are_files(own_store: MLflow, tmp_path: Path, what: str) -> None:
    client = own_store.client()
    experiment = client.create_experiment("copies", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    client.log_text(run_id, f"lawyer {LAWYER}", "bundle/about.md")
    model = tmp_path / "artifacts" / "models" / "m-1" / "artifacts" / "input_example.json"  # deleted: listed nowhere
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    unreached = None
    if what == "deleted":
        client.delete_run(run_id)
    elif what == "its experiment deleted":
        client.delete_experiment(experiment)
    else:
        client.create_run(client.create_experiment("elsewhere", artifact_location="no-such-storage://x"))
        unreached = "elsewhere"
    with pytest.raises(MLflowUnavailable, match=unreached) if unreached else nullcontext():
        traces.mlflow_artifacts(own_store, {LAWYER: LAWYER[::-1]})
    assert (
        tmp_path / "artifacts" / run_id / "artifacts" / "bundle" / "about.md"
    ).read_text() == f"lawyer {LAWYER[::-1]}"
    assert not model.exists()


def test_under_the_role_of_the_pipelines(database_url: str, tmp_path: Path) -> None:
    people = fill(database_url, tmp_path)
    roles.apply(database_url)
    role = make_url(database_url).set(username="litgo_pipelines").render_as_string(hide_password=False)
    erased(role, people.client, tmp_path)
    assert left(database_url, tmp_path, words(people, "client")) == []
    with closing(open_connection(role)) as connection:
        night.run(connection, where(tmp_path), AT)
        export.export(connection, people.lawyer, "Encarregada", AT, tmp_path)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(role, "UPDATE litgo.experiment_arms SET client_id = gen_random_uuid()")


def test_beside_a_matching_run(database_url: str, tmp_path: Path) -> None:
    """What the run writes while it holds its lock is erased after it."""
    people = fill(database_url, tmp_path)
    with kept(database_url) as connection, session_lock(connection, MATCHING):
        child = Child(erased, database_url, people.client, tmp_path)
        until(lambda: bool(ask(database_url, "SELECT 1 FROM litgo.tombstones LIMIT 1")), 120, "the tombstones")
        until(
            lambda: bool(
                ask(database_url, f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND {HERE}")
            ),
            120,
            "the erasure to wait for the run",
        )
        ask(
            database_url,
            "INSERT INTO litgo.exposures (case_id, round, client_id, ranker, exposed_at) "
            "VALUES (%s, 2, %s, 'hand_weights', %s)",
            (people.case, people.client, AT),
        )
        assert child.alive()
    assert child.wait() == 0, child.output()
    assert left(database_url, tmp_path, words(people, "client")) == []
