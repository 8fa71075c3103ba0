"""Deletions in the marketplace are followed; a table that hides rows, or a whole lot at once, erases nobody."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from litgo_pipelines.database import sql
from litgo_pipelines.marketplace import counts
from litgo_pipelines.persons import follow, night
from litgo_pipelines.persons.assets import assets, jobs
from litgo_pipelines.persons.erase import Places
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.persons import AT, TEXT, People, fill, hashed
from litgo_pipelines_tests.worlds.sessions import kept

NIGHT = timedelta(days=1)


def ask(url: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def nights(url: str, home: Path, number: int, since: datetime = AT) -> dict[str, int]:
    """Figures of the last of some nights."""
    found: dict[str, int] = {}
    with kept(url) as connection:
        for n in range(number):
            where = Places(home, home / "models" / "triage", (), (home,))
            found = night.run(connection, where, since + n * NIGHT)
    return found


def delete(url: str, people: People) -> None:
    """As a marketplace does when a client goes."""
    ask(
        url,
        "DELETE FROM public.reviews WHERE id = %(review)s; DELETE FROM public.contracts WHERE case_id = %(case)s; "
        "DELETE FROM public.offers WHERE case_id = %(case)s; "
        "DELETE FROM public.case_matches WHERE case_id = %(case)s; DELETE FROM public.cases WHERE id = %(case)s; "
        "DELETE FROM public.profiles WHERE id = %(client)s",
        vars(people),
    )


@pytest.fixture
def people(database_url: str, tmp_path: Path) -> People:
    found = fill(database_url, tmp_path)
    ask(database_url, "DELETE FROM litgo.missed_subjects")
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        counts.keep(cursor, counts.count(cursor), AT - NIGHT)
    return found


def held(url: str, people: People) -> int:
    return sum(
        count
        for (count,) in ask(
            url,
            "SELECT count(*) FROM litgo.triage WHERE case_id = %(case)s UNION ALL "
            "SELECT count(*) FROM litgo.exposures WHERE client_id = %(client)s UNION ALL "
            "SELECT count(*) FROM litgo.contract_documents WHERE contract_id = %(contract)s UNION ALL "
            "SELECT count(*) FROM litgo.review_sentiment WHERE review_id = %(review)s UNION ALL "
            "SELECT count(*) FROM litgo.text_embeddings WHERE text_hash = %(text)s",
            {**vars(people), "text": hashed(f"Dinheiro\n{TEXT}")},
        )
    )


def test_who_is_gone_for_three_nights_is_erased_with_all_that_was_theirs(
    database_url: str, tmp_path: Path, people: People
) -> None:
    delete(database_url, people)
    first = nights(database_url, tmp_path, 2)
    assert first["missed, person"] == 1
    assert first["deleted, person"] == 0
    assert held(database_url, people) >= 4
    assert nights(database_url, tmp_path, 1, AT + 2 * NIGHT)["deleted, person"] == 1
    assert held(database_url, people) == 0
    assert ask(database_url, "SELECT count(*) FROM litgo.equity_history") == [(1,)]  # the lawyer is there
    # pseudonyms are in no marketplace either, and are left alone
    again = nights(database_url, tmp_path, 4, AT + 3 * NIGHT)
    assert {name: number for name, number in again.items() if number} == {}


def test_nobody_is_erased_who_was_only_away(database_url: str, tmp_path: Path, people: People) -> None:
    ask(database_url, "CREATE TABLE public.away AS SELECT * FROM public.reviews WHERE id = %s", (people.review,))
    gone = "DELETE FROM public.reviews WHERE id = %s"
    ask(database_url, gone, (people.review,))
    assert nights(database_url, tmp_path, 2)["missed, review"] == 1
    ask(database_url, "INSERT INTO public.reviews SELECT * FROM public.away")
    nights(database_url, tmp_path, 1, AT + 2 * NIGHT)
    ask(database_url, gone, (people.review,))
    assert nights(database_url, tmp_path, 2, AT + 3 * NIGHT)["deleted, review"] == 0
    assert ask(database_url, "SELECT count(*) FROM litgo.review_sentiment") == [(1,)]


def test_looking_often_in_one_night_is_one_look(database_url: str, tmp_path: Path, people: People) -> None:
    delete(database_url, people)
    with kept(database_url) as connection:
        for minute in range(20):
            night.run(connection, Places(tmp_path, tmp_path / "x"), AT + timedelta(minutes=minute))
    assert held(database_url, people) >= 4


HIDDEN = {
    "a policy": "ALTER TABLE public.profiles ENABLE ROW LEVEL SECURITY; ALTER TABLE public.profiles FORCE ROW LEVEL "
    "SECURITY; CREATE ROLE litgo_views_owner; ALTER TABLE public.profiles OWNER TO litgo_views_owner; "
    "ALTER VIEW litgo_source.profiles OWNER TO litgo_views_owner",
    "an empty table": "TRUNCATE public.reviews",
    "a fallen count": "UPDATE litgo.source_counts SET rows = 1000 WHERE table_name = 'cases'",
}


@pytest.mark.parametrize("how", HIDDEN)
def test_a_table_that_may_hide_rows_erases_nobody(database_url: str, tmp_path: Path, people: People, how: str) -> None:
    delete(database_url, people) if how != "an empty table" else None
    try:
        ask(database_url, HIDDEN[how])
        for n in range(5):
            with kept(database_url) as connection, pytest.raises(follow.Hidden):
                night.run(connection, Places(tmp_path, tmp_path / "x"), AT + n * NIGHT)
        assert held(database_url, people) >= 4
    finally:
        if how == "a policy":
            ask(database_url, "REASSIGN OWNED BY litgo_views_owner TO CURRENT_USER; DROP ROLE litgo_views_owner")


def test_a_whole_lot_at_once_waits_for_a_person(database_url: str, tmp_path: Path, people: People) -> None:
    ask(
        database_url,
        "INSERT INTO litgo.triage_failures SELECT gen_random_uuid(), 1, 'x', now(), now(), now() "
        "FROM generate_series(1, 50)",
    )
    nights(database_url, tmp_path, 2)
    with kept(database_url) as connection:
        with pytest.raises(follow.Hidden, match="litgo titular confirmar"):
            night.run(connection, Places(tmp_path, tmp_path / "x"), AT + 2 * NIGHT)
        assert ask(database_url, "SELECT count(*) FROM litgo.triage_failures") == [(51,)]
        with connection, connection.cursor() as cursor:
            follow.confirm(cursor, "Encarregada", AT + 2 * NIGHT)
    assert nights(database_url, tmp_path, 1, AT + 3 * NIGHT)["deleted, case"] == 51  # and the twin of a duplicate
    assert ask(database_url, "SELECT count(*) FROM litgo.triage_failures") == [(1,)]


def test_vectors_go_with_the_text_they_were_made_of(database_url: str, tmp_path: Path, people: People) -> None:
    ask(database_url, "UPDATE public.cases SET description = 'outra coisa' WHERE id = %s", (people.case,))
    assert nights(database_url, tmp_path, 1)["rows of texts nobody has"] == 0  # too young
    assert nights(database_url, tmp_path, 1, AT + 3 * NIGHT)["rows of texts nobody has"] == 4
    assert ask(database_url, "SELECT count(*) FROM litgo.text_embeddings") == [(1,)]


def test_what_is_embedded_is_what_is_erased(database_url: str, people: People) -> None:
    said = '{"resumo": "Vinte anos de família.", "pareceres": ["Da guarda.", {"texto": "Da pensão."}, 7]}'
    ask(database_url, "UPDATE public.lawyers SET curriculo_json = %s, created_at = %s", (said, AT - NIGHT))
    ask(database_url, "UPDATE public.contracts SET status = 'closed', created_at = %s", (AT - NIGHT,))
    sources, texts = sql("litgo_pipelines.embeddings", "sources.sql"), sql("litgo_pipelines.persons", "texts.sql")
    embedded = ask(database_url, f"SELECT DISTINCT text FROM ({sources}) s", {"as_of": AT})
    assert {text for (text,) in embedded} >= {"Vinte anos de família.", "Da guarda.", "Da pensão."}
    assert len(embedded) == 5  # and two cases
    both = f"SELECT text_hash FROM ({sources}) s EXCEPT SELECT text_hash FROM ({texts}) t"
    assert ask(database_url, both, {"as_of": AT}) == []


@pytest.mark.slow
@pytest.mark.one_server
def test_as_jobs(database_url: str, tmp_path: Path, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    resources = {"postgres": Postgres(url=database_url), "mlflow": MLflow(tracking_uri="http://127.0.0.1:1")}
    config = {"config": {"person_id": people.client, "asked_by": "Encarregada"}}
    export, erase = jobs
    with dg.DagsterInstance.ephemeral() as instance:
        done = export.execute_in_process({"ops": {"exported_person": config}}, instance=instance, resources=resources)
        assert done.success
        (file,) = (tmp_path / "exports").iterdir()
        assert people.client in file.read_text()
        assert erase.execute_in_process(
            {"ops": {"erased_person": config}}, instance=instance, resources=resources
        ).success
        assert held(database_url, people) == 0
        assert dg.materialize(assets, instance=instance, resources=resources).success
        nobody = {"ops": {"erased_person": {"config": {"person_id": "ana", "asked_by": "x"}}}}
        assert not erase.execute_in_process(
            nobody, instance=instance, resources=resources, raise_on_error=False
        ).success
