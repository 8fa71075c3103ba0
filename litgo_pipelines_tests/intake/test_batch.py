"""Triage on a real Postgres: what is written, what is kept, and what happens when something goes wrong."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from litgo_pipelines.intake import batch
from litgo_pipelines.intake.batch import Structured, TriageResult, local_model, pending, triage_pending
from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.intake.review import (
    ReviewError,
    confirm_urgency,
    decide,
    markdown,
    queue,
    take_decision,
    text,
    waiting,
)
from litgo_pipelines.intake.taxonomy import UnknownSubarea
from litgo_pipelines.matching import waits
from litgo_pipelines.matching.claim import waiting_cases
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds.intake import DISMISSED, GOOD, HOSTILE, NOW, Loopback, add_case, completion
from litgo_pipelines_tests.worlds.sessions import ask, kept
from litgo_pipelines_tests.worlds.small_disk import fill, small_disk


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    with kept(database_url) as opened:
        yield opened


def run(connection: Any, model: Model, as_of: datetime = NOW, limit: int = 100, **more: Any) -> TriageResult:
    return triage_pending(connection, as_of, limit=limit, threshold=0.65, version="test", model=model, **more)


FRIENDLY = "divórcio amigável no cartório, sem filhos e sem bens"
CASE = "SELECT area, subarea, urgency_h, complexity FROM cases WHERE id = %s"
TRIAGE = "SELECT status, area, subarea, reason, sources FROM litgo.triage WHERE case_id = %s"
EVERYTHING = (
    "SELECT c.id, c.area, c.subarea, c.urgency_h, c.complexity, to_jsonb(t) FROM cases c "
    "LEFT JOIN litgo.triage t ON t.case_id = c.id ORDER BY 1"
)


def metrics(url: str) -> dict[str, float]:
    found = ask(url, "SELECT name, labels, value FROM litgo.metric_state WHERE name LIKE 'triage%%'")
    return {" ".join([name, *labels.values()]): value for name, labels, value in found if not name.endswith("bucket")}


def test_a_clear_case_is_classified_and_a_vague_one_waits(database_url: str, connection: Any, model: Model) -> None:
    clear = add_case(database_url, DISMISSED + ", tenho audiência amanhã")
    vague = add_case(database_url, "boa tarde, preciso muito conversar sobre uma coisa")
    result = run(connection, model)
    assert ask(database_url, CASE, (clear,)) == [("Trabalhista", "Rescisão", 24, "MEDIUM")]
    assert ask(database_url, TRIAGE, (clear,)) == [
        (
            "classified",
            "Trabalhista",
            "Rescisão",
            None,
            {"area": "local", "subarea": "local", "urgency_h": "rule", "complexity": "default"},
        )
    ]
    assert ask(database_url, CASE, (vague,)) == [(None, None, 72, "MEDIUM")]
    ((status, area, subarea, reason, _),) = ask(database_url, TRIAGE, (vague,))
    assert (status, area, subarea) == ("review", None, None)
    assert reason in ("area_uncertain", "outside_taxonomy")
    assert result.statuses == {"classified": 1, "review": 1}
    counted = metrics(database_url)
    assert counted.pop("triage_duration_seconds_sum") > 0
    assert counted == {
        "triage_requests_total classified": 1,
        "triage_requests_total review": 1,
        "triage_source_total local": 2,
    }


def test_only_what_is_open_is_filled(database_url: str, connection: Any, model: Model) -> None:
    chosen = add_case(database_url, DISMISSED, area="Família", subarea="Guarda", urgency_h=5)
    part = add_case(database_url, DISMISSED, area="Trabalhista", complexity="HIGH")
    complete = add_case(database_url, DISMISSED, area="Civil", subarea="Contratos", urgency_h=9, complexity="LOW")
    later = add_case(database_url, DISMISSED, created_at=NOW + timedelta(seconds=1))
    closed = add_case(database_url, DISMISSED, status="closed")
    run(connection, model)
    assert ask(database_url, CASE, (chosen,)) == [("Família", "Guarda", 5, "MEDIUM")]
    assert ask(database_url, CASE, (part,)) == [("Trabalhista", "Rescisão", 72, "HIGH")]
    assert ask(database_url, CASE, (complete,)) == [("Civil", "Contratos", 9, "LOW")]
    for untouched in (later, closed):
        assert ask(database_url, TRIAGE, (untouched,)) == []
    assert ask(database_url, CASE, (later,)) == [(None, None, None, None)]


def test_what_the_text_says_is_more_urgent_than_what_the_client_chose(
    database_url: str, connection: Any, model: Model
) -> None:
    text = "meu irmão foi preso em flagrante"
    late = add_case(database_url, text, area="Criminal", subarea="Defesa criminal", urgency_h=168, complexity="LOW")
    soon = add_case(database_url, text, area="Criminal", subarea="Defesa criminal", urgency_h=3, complexity="LOW")
    run(connection, model)
    ((hurried,),) = ask(database_url, "SELECT urgency_h FROM cases WHERE id = %s", (late,))
    assert 3 < hurried <= 12
    assert ask(database_url, CASE, (soon,))[0][2] == 3
    source = "SELECT urgency_source, urgency_h FROM litgo.triage WHERE case_id = %s"
    assert ask(database_url, source, (late,)) in ([("text", hurried)], [("rule", hurried)])
    assert ask(database_url, source, (soon,)) == [("client", 3)]


def test_danger_is_urgent_the_client_is_told_whom_to_call_and_a_doubt_goes_to_the_front(
    database_url: str, connection: Any, model: Model
) -> None:
    given = {"area": "Família", "subarea": "Divórcio", "complexity": "LOW", "urgency_h": 168}
    sure = add_case(database_url, "meu marido me espancou ontem e disse que vai me matar", **given)
    calm = add_case(database_url, FRIENDLY, **given)
    waiting_longer = add_case(database_url, "oi", created_at=NOW - timedelta(days=3))
    run(connection, model)
    assert ask(database_url, CASE, (sure,))[0][2] <= 12
    assert ask(database_url, CASE, (calm,))[0][2] == 168
    assert ask(
        database_url,
        "SELECT kind, payload ->> 'case_id', recipient_id = client_id FROM litgo.outbox, cases "
        "WHERE cases.id = (payload ->> 'case_id')::uuid",
    ) == [("public_numbers", sure, True)]
    execute(
        database_url, f"UPDATE litgo.triage SET status = 'review', reason = 'danger_unsure' WHERE case_id = '{sure}'"
    )
    with connection, connection.cursor() as cursor:
        first, second = queue(cursor, NOW)
        assert (first.case_id, second.case_id) == (sure, waiting_longer)
        assert first.life_at_risk
        shown = markdown([first, second])
        for number in ("190", "180", "188"):
            assert number in shown
        with pytest.raises(ReviewError, match="de 2 a 720"):
            confirm_urgency(cursor, sure, 0, "bia", NOW)
        confirm_urgency(cursor, sure, 2, "bia", NOW)
        assert [entry.case_id for entry in queue(cursor, NOW)] == [waiting_longer]
    assert ask(database_url, CASE, (sure,))[0][2] == 2
    assert ask(database_url, "SELECT urgency_source, reviewer FROM litgo.triage WHERE case_id = %s", (sure,)) == [
        ("person", "bia")
    ]


def test_a_text_edited_after_its_triage_is_read_once_more(database_url: str, connection: Any, model: Model) -> None:
    given = {"area": "Família", "subarea": "Divórcio", "complexity": "LOW", "urgency_h": 168}
    chosen, left_open = (add_case(database_url, FRIENDLY, **more) for more in (given, {}))
    vague = add_case(database_url, "oi")
    run(connection, model)
    before = ask(database_url, TRIAGE, (left_open,))
    edit = "UPDATE cases SET description = description || %s"
    with connection, connection.cursor() as cursor:
        cursor.execute(edit, (". Ontem ele voltou, me espancou e disse que vai me matar",))
    assert run(connection, model, NOW + timedelta(hours=1)).statuses.total() == 3
    assert [ask(database_url, CASE, (case,))[0][2] for case in (chosen, left_open, vague)] == [4, 4, 4]
    told = "SELECT count(*) FROM litgo.outbox WHERE kind = 'public_numbers'"
    assert ask(database_url, told) == [(3,)]
    status, area, _, _, sources = ask(database_url, TRIAGE, (left_open,))[0]
    assert (status, area, sources["area"]) == (before[0][0], before[0][1], before[0][4]["area"])  # no client chose it
    # whoever takes the words away again takes no danger away
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE cases SET description = 'já está tudo resolvido entre nós'")
    run(connection, model, NOW + timedelta(hours=2))
    kept = "SELECT min(urgency_h), max(urgency_h), bool_and(life_at_risk), min(danger) > 0.7 FROM litgo.triage"
    assert ask(database_url, kept) == [(4, 4, True, True)]
    assert run(connection, model, NOW + timedelta(hours=3)).statuses.total() == 0


def test_an_edit_that_keeps_the_length_is_seen_without_reading_every_text_at_every_look(
    database_url: str, connection: Any, model: Model
) -> None:
    cases = [add_case(database_url, "já conversei com ela ontem à noite", title="Guarda") for _ in range(4)]
    run(connection, model)
    execute(
        database_url,
        f"UPDATE cases SET description = reverse(description) WHERE id <> '{cases[0]}'",
        f"UPDATE cases SET description = title, title = description WHERE id = '{cases[0]}'",
    )
    with connection, connection.cursor() as cursor:
        seen = [[case.case_id for case in pending(cursor, NOW, 100, minute=minute)] for minute in range(16)]
    assert sorted(case for look in seen for case in look) == sorted(cases)
    assert run(connection, model, NOW + timedelta(hours=1)).statuses.total() == 4
    assert run(connection, model, NOW + timedelta(hours=2)).statuses.total() == 0


def test_the_queue_is_cut_off_nowhere(database_url: str, connection: Any, model: Model) -> None:
    for _ in range(53):
        add_case(database_url, "oi")
    run(connection, model)
    with connection, connection.cursor() as cursor:
        assert len(queue(cursor, NOW)) == 53


NO_CHOICE = (
    "",
    " ",
    "\u00a0",
    "Não sei",
    "NAO SEI",
    "na\u0303o sei ainda",
    "Outros",
    "outro assunto",
    "Outras áreas",
    "Nenhuma das opções",
    "Selecione...",
    "-",
    "?",
    "N/A",
    "null",
    "Não tenho certeza",
    "(outro)",
)


@pytest.mark.parametrize("area", NO_CHOICE)
def test_what_is_no_choice_is_classified_by_the_text_or_queued(
    database_url: str, connection: Any, model: Model, area: str
) -> None:
    clear = add_case(database_url, DISMISSED, area=area, subarea=area)
    vague = add_case(database_url, "boa tarde, preciso muito conversar sobre uma coisa", area=area)
    with connection, connection.cursor() as cursor:
        assert waiting_cases(cursor, Plan(), NOW) == []
    run(connection, model)
    assert ask(database_url, CASE, (clear,))[0][:2] == ("Trabalhista", "Rescisão")
    assert ask(database_url, CASE, (vague,))[0][:2] == (area, None)
    with connection, connection.cursor() as cursor:
        assert [entry.case_id for entry in queue(cursor, NOW)] == [vague]
        assert [case.case_id for case in waiting_cases(cursor, Plan(), NOW)] == [clear]
        decide(cursor, vague, "Família", "Guarda", "bia", NOW)
    assert ask(database_url, CASE, (vague,))[0][:2] == ("Família", "Guarda")


@pytest.mark.parametrize(
    "area", ["Outorga", "Nacionalidade", "Outros tributos municipais", "Naval", "Direito da saúde"]
)
def test_what_looks_like_no_choice_and_is_one(database_url: str, connection: Any, model: Model, area: str) -> None:
    case = add_case(database_url, DISMISSED, area=area)
    run(connection, model)
    assert ask(database_url, CASE, (case,))[0][0] == area


def test_a_second_run_changes_nothing(database_url: str, connection: Any, model: Model) -> None:
    add_case(database_url, DISMISSED)
    add_case(database_url, "oi")
    run(connection, model)
    before = ask(database_url, EVERYTHING), metrics(database_url)
    again = run(connection, model, NOW + timedelta(hours=1))
    assert not again.statuses
    assert (ask(database_url, EVERYTHING), metrics(database_url)) == before


def test_two_runs_at_once_triage_each_case_once(database_url: str, model: Model) -> None:
    for _ in range(12):
        add_case(database_url, DISMISSED)
    results: list[TriageResult] = []

    def work() -> None:
        with kept(database_url) as connection:
            results.append(run(connection, model))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result.statuses["classified"] for result in results) == 12
    assert metrics(database_url)["triage_requests_total classified"] == 12


@pytest.mark.slow
def test_hostile_texts_leave_the_database_as_it_was(database_url: str, connection: Any, model: Model) -> None:
    texts = [text.replace("\x00", "") for text in HOSTILE]
    cases = [add_case(database_url, text, title=text[:200]) for text in texts]
    result = run(connection, model)
    assert result.statuses["classified"] + result.statuses["review"] == len(cases)
    stored = dict(ask(database_url, "SELECT id::text, description FROM cases"))
    assert [stored[case] for case in cases] == texts
    assert ask(database_url, "SELECT count(*) FROM litgo.triage") == [(len(cases),)]


class Meddler:
    """A classifier's end of the line at which the client chooses something just then."""

    configured = True
    fallback_enabled = True

    def __init__(self, url: str, statement: str) -> None:
        self.url, self.statement = url, statement

    def structured(self, **_: Any) -> str:
        execute(self.url, self.statement)
        return json.dumps(GOOD)


def test_what_the_client_chooses_meanwhile_wins(database_url: str, connection: Any, model: Model) -> None:
    case = add_case(database_url, DISMISSED)
    meddler: Structured = Meddler(database_url, f"UPDATE cases SET area = 'Civil' WHERE id = '{case}'")
    first = run(connection, model, openai=meddler)
    assert first.statuses == {"changed": 1}
    assert ask(database_url, TRIAGE, (case,)) == []
    assert ask(database_url, CASE, (case,)) == [("Civil", None, None, None)]
    assert metrics(database_url) == {}
    run(connection, model)
    ((area, *_),) = ask(database_url, CASE, (case,))
    assert area == "Civil"


def test_a_case_that_fails_three_times_goes_to_a_person(database_url: str, connection: Any, model: Model) -> None:
    bad, good = add_case(database_url, DISMISSED), add_case(database_url, DISMISSED)
    execute(
        database_url,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.id = '{bad}' THEN RAISE check_violation USING MESSAGE = 'segredo: ' || NEW.description; END IF; "
        "RETURN NEW; END $$",
        "CREATE TRIGGER refuse BEFORE UPDATE ON cases FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    first = run(connection, model)
    assert (first.statuses["classified"], first.statuses["failed"]) == (1, 1)
    assert first.failures == {bad: "CheckViolation 23514"}  # no word of the message, which quotes the text
    assert ask(database_url, CASE, (good,))[0][0] == "Trabalhista"
    assert not run(connection, model).statuses  # not before its time
    for hours in (1, 2):
        assert run(connection, model, NOW + timedelta(hours=hours)).statuses["failed"] == 1
    assert ask(database_url, TRIAGE, (bad,))[0][:4] == ("review", None, None, "failed")
    assert ask(database_url, "SELECT attempts, reason FROM litgo.triage_failures") == [(3, "CheckViolation 23514")]
    assert not run(connection, model, NOW + timedelta(hours=9)).statuses
    counted = metrics(database_url)
    assert (counted["triage_requests_total failed"], counted["triage_requests_total review"]) == (3, 1)


def test_a_case_that_nobody_could_read_is_a_persons_whatever_its_client_chose(
    database_url: str, connection: Any, model: Model
) -> None:
    case = add_case(database_url, DISMISSED, area="Trabalhista", subarea="Rescisão", urgency_h=168, complexity="LOW")
    execute(database_url, "ALTER TABLE cases ADD CHECK (urgency_h <> 168) NOT VALID")
    for hours in range(3):
        assert run(connection, model, NOW + timedelta(hours=hours)).statuses["failed"] == 1
    with connection, connection.cursor() as cursor:
        assert [(entry.case_id, entry.reason) for entry in queue(cursor, NOW + timedelta(hours=2))] == [
            (case, "failed")
        ]
        waits.notify(cursor, NOW + timedelta(hours=2))
        cursor.execute("SELECT subject FROM litgo.told WHERE kind = 'case_review'")
        assert cursor.fetchall() == [(case,)]
        confirm_urgency(cursor, case, 24, "bia", NOW + timedelta(hours=3))
        assert queue(cursor, NOW + timedelta(hours=4)) == []


def test_a_lost_connection_is_nobodys_fault(database_url: str, connection: Any, model: Model) -> None:
    add_case(database_url, DISMISSED)
    pid = connection.get_backend_pid()
    killer: Structured = Meddler(database_url, f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(Exception, match=r"terminat|closed"):
        run(connection, model, openai=killer)
    assert ask(database_url, "SELECT count(*) FROM litgo.triage_failures") == [(0,)]
    with kept(database_url) as other:
        assert run(other, model).statuses == {"classified": 1}


def test_openai_decides_and_never_sees_who(
    database_url: str, connection: Any, model: Model, openai: OpenAI, loopback: Loopback
) -> None:
    case = add_case(database_url, f"Sou Ana Lúcia, CPF 123.456.789-09. {DISMISSED}")
    execute(database_url, "UPDATE profiles SET full_name = 'Ana Lúcia Prado', email = 'ana@example.com'")
    result = run(connection, model, openai=openai)
    assert result.sources == {"openai": 1}
    assert ask(database_url, CASE, (case,)) == [("Família", "Guarda", 24, "HIGH")]
    sent = json.dumps(loopback.requests, ensure_ascii=False)
    assert "Ana" not in sent
    assert "123.456" not in sent
    assert DISMISSED in sent
    assert metrics(database_url)["triage_source_total openai"] == 1


def test_openai_is_offered_only_what_agrees_with_the_client(
    database_url: str, connection: Any, model: Model, openai: OpenAI, loopback: Loopback
) -> None:
    add_case(database_url, DISMISSED, area="Trabalhista")
    result = run(connection, model, openai=openai)
    offered = loopback.requests[0]["response_format"]["json_schema"]["schema"]["properties"]["category"]["enum"]
    assert offered[:-1] == [
        f"Trabalhista: {s}" for s in ("Rescisão", "Horas extras", "Assédio moral", "Acidente de trabalho")
    ]
    assert result.fallbacks == {"invalid": 1}  # the server said Família all the same
    assert result.sources == {"local": 1}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ai_consent": False}, "no_consent"),
        ({"ai_consent": None}, "no_consent"),
        ({"area": "Família"}, "area"),
        ({"area": "direito CRIMINAL"}, "area"),
        ({"area": "Consumidor", "description": "a operadora não autorizou o exame que pedi"}, "text"),
        ({"subarea": "Guarda"}, None),  # the one that is possible: nobody is asked
        ({"description": DISMISSED + " depois que contei que tenho câncer"}, "text"),
        ({"description": "meu ex-marido levou as crianças e não devolve"}, "text"),
        ({"description": "fui intimado a depor na delegacia sobre um furto"}, "text"),
        ({"description": "boa tarde, preciso muito conversar sobre uma coisa"}, "text"),
    ],
)
def test_what_must_stay_is_triaged_here(
    database_url: str,
    connection: Any,
    model: Model,
    openai: OpenAI,
    loopback: Loopback,
    values: Any,
    reason: str | None,
) -> None:
    case = add_case(database_url, **{"description": DISMISSED, **values})
    result = run(connection, model, openai=openai)
    assert loopback.requests == []
    assert result.withheld == ({reason: 1} if reason else {})
    assert metrics(database_url).get("triage_openai_fallback_total skipped") is None
    found = ask(database_url, "SELECT labels FROM litgo.metric_state WHERE name = 'openai_withheld_total'")
    assert found == ([({"use": "triage", "reason": reason},)] if reason else [])
    expected = None if reason == "no_consent" else reason or "area"
    assert ask(database_url, "SELECT local_only FROM litgo.triage WHERE case_id = %s", (case,)) == [(expected,)]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Loopback.answer(b"{}", 500), "unavailable"),
        (Loopback.answer(completion('{"category": "Hacker"}')), "invalid"),
        (Loopback.answer(completion(None, refusal="no")), "refused"),
    ],
)
def test_without_a_usable_answer_the_local_classifier_decides_aloud(
    database_url: str, connection: Any, model: Model, openai: OpenAI, loopback: Loopback, reply: Any, reason: str
) -> None:
    case = add_case(database_url, DISMISSED)
    loopback.reply = reply
    said: list[str] = []
    result = run(connection, model, openai=openai, warn=said.append)
    assert ask(database_url, CASE, (case,))[0][:2] == ("Trabalhista", "Rescisão")
    assert (result.sources, result.fallbacks) == ({"local": 1}, {reason: 1})
    assert metrics(database_url)[f"triage_openai_fallback_total {reason}"] == 1
    assert len(said) == 1
    assert case in said[0]
    assert "demitido" not in said[0]


def test_with_fallbacks_off_a_case_waits_for_openai(
    database_url: str, connection: Any, model: Model, loopback: Loopback
) -> None:
    add_case(database_url, DISMISSED)
    loopback.reply = Loopback.answer(b"{}", 401)
    result = run(connection, model, openai=OpenAI(base_url=loopback.url, fallback_enabled=False))
    assert result.statuses == {"failed": 1}
    assert "triage_openai_fallback_total rejected" not in metrics(database_url)


def test_a_run_stops_asking_when_nobody_answers(
    database_url: str, connection: Any, model: Model, openai: OpenAI, loopback: Loopback
) -> None:
    for _ in range(6):
        add_case(database_url, DISMISSED)
    loopback.reply = Loopback.answer(b"{}", 503)
    result = run(connection, model, openai=openai)
    assert len(loopback.requests) == batch.OPENAI_FAILURES * openai.service.attempts
    assert result.fallbacks == {"unavailable": 3, "skipped": 3}
    assert result.statuses == {"classified": 6}


def test_a_run_waits_once_for_one_that_says_nothing(
    database_url: str, connection: Any, model: Model, loopback: Loopback
) -> None:
    for _ in range(3):
        add_case(database_url, DISMISSED)
    loopback.reply = lambda handler: time.sleep(5)
    silent = OpenAI(base_url=loopback.url, timeout_seconds=0.3, deadline_seconds=60)
    result = run(connection, model, openai=silent)
    assert len(loopback.requests) == 1, "retries share the time of one attempt"
    assert result.fallbacks == {"timeout": 1, "skipped": 2}
    assert result.statuses == {"classified": 3}


@pytest.mark.slow
def test_the_model_learns_what_people_chose_and_not_what_it_guessed(
    database_url: str, connection: Any, model: Model, tmp_path: Path
) -> None:
    text = "O zingarelho do meu quintal ficou avariado"
    before = NOW - timedelta(days=2)
    for _ in range(3):
        add_case(database_url, text, area="Imobiliário", subarea="Condomínio", created_at=before)
    guessed = add_case(database_url, "trambolho " * 3 + DISMISSED, created_at=before)
    run(connection, model)
    assert ask(database_url, TRIAGE, (guessed,))[0][0] == "classified"
    version, learned = local_model(connection, tmp_path, NOW)
    assert "zingarelho" in learned.vocabulary
    assert "trambolho" not in learned.vocabulary
    again, loaded = local_model(connection, tmp_path, NOW + timedelta(hours=2))
    assert again == version
    assert loaded.probabilities(text) == learned.probabilities(text)
    (saved,) = tmp_path.iterdir()
    whole = saved.read_bytes()
    other = replace(learned, labels=[*reversed(learned.labels)]).content()  # valid, and another
    for changed in (b"half a file", b"", whole[:-1], whole[:999] + bytes([whole[999] ^ 1]) + whole[1000:], other):
        saved.write_bytes(changed)
        assert local_model(connection, tmp_path, NOW)[1].probabilities(text) == learned.probabilities(text)
        assert saved.read_bytes() == whole


def test_on_a_full_disk_the_classifier_works_without_being_kept(connection: Any, tmp_path: Path) -> None:
    with small_disk(tmp_path, 2**20):
        fill(tmp_path / "ballast")
        version, model = local_model(connection, tmp_path, NOW)
        assert [file.name for file in tmp_path.iterdir()] == ["ballast"]
        (tmp_path / "ballast").unlink()
        again, _ = local_model(connection, tmp_path, NOW)
        assert (again, [file.suffix for file in tmp_path.iterdir()]) == (version, [".npz"])
        assert local_model(connection, tmp_path, NOW)[1].probabilities("divórcio") == model.probabilities("divórcio")


def test_the_queue_and_a_persons_decision(database_url: str, connection: Any, model: Model) -> None:
    case = add_case(database_url, "oi")
    run(connection, model)
    tomorrow = NOW + timedelta(hours=25)
    with connection, connection.cursor() as cursor:
        (entry,) = queue(cursor, tomorrow)
        assert (entry.case_id, entry.hours, entry.reason) == (case, 25, "too_short")
        assert "texto vazio ou curto demais" in markdown([entry])
        assert (waiting(cursor, tomorrow, 24), waiting(cursor, tomorrow, 26), waiting(cursor, NOW)) == (1, 0, 1)
        with pytest.raises(UnknownSubarea):
            decide(cursor, case, "Família", "Herança", "bia", tomorrow)
        with pytest.raises(ReviewError, match="quem"):
            decide(cursor, case, "Família", "Guarda", " ", tomorrow)
        assert decide(cursor, case, "familia", "guarda", "bia", tomorrow) == ("Família", "Guarda")
    assert ask(database_url, CASE, (case,)) == [("Família", "Guarda", 72, "MEDIUM")]
    ((status, area, subarea, reason, sources),) = ask(database_url, TRIAGE, (case,))
    assert (status, area, subarea, reason) == ("classified", "Família", "Guarda", "too_short")
    assert (sources["area"], sources["subarea"], sources["urgency_h"]) == ("person", "person", "default")
    assert ask(database_url, "SELECT reviewer, reviewed_at FROM litgo.triage") == [("bia", tomorrow)]
    assert metrics(database_url)["triage_source_total person"] == 1
    with connection, connection.cursor() as cursor:
        assert queue(cursor, tomorrow) == []
        with pytest.raises(ReviewError, match="não está na fila"):
            decide(cursor, case, "Família", "Guarda", "bia", tomorrow)
        for unknown, told in (("0" * 32, "não passou"), ("'; DROP TABLE cases; --", "não é o identificador")):
            with pytest.raises(ReviewError, match=told):
                decide(cursor, unknown, "Família", "Guarda", "bia", tomorrow)


def test_a_person_keeps_what_the_client_chose(database_url: str, connection: Any, model: Model) -> None:
    case = add_case(database_url, "oi", area="Família")
    gone = add_case(database_url, "oi")
    run(connection, model)
    execute(database_url, f"UPDATE cases SET status = 'cancelled' WHERE id = '{gone}'")
    with connection, connection.cursor() as cursor:
        assert [entry.case_id for entry in queue(cursor, NOW)] == [case]
        with pytest.raises(ReviewError, match="não está mais aberto"):
            decide(cursor, gone, "Família", "Guarda", "bia", NOW)
        with pytest.raises(ReviewError, match="o cliente escolheu Família"):
            decide(cursor, case, "Civil", "Contratos", "bia", NOW)
        decide(cursor, case, "Família", "Guarda", "bia", NOW)
    assert ask(database_url, TRIAGE, (case,))[0][4]["area"] == "client"
    odd = add_case(database_url, DISMISSED, subarea="Multa ambiental")
    meanwhile = add_case(database_url, "oi")
    run(connection, model)
    execute(database_url, f"UPDATE cases SET area = 'Civil', subarea = 'Contratos' WHERE id = '{meanwhile}'")
    with connection, connection.cursor() as cursor:
        assert [entry.case_id for entry in queue(cursor, NOW)] == [odd]
        decide(cursor, odd, "Tributário", "Execução fiscal", "bia", NOW)
        with pytest.raises(ReviewError, match="o cliente escolheu Civil"):
            decide(cursor, meanwhile, "Família", "Guarda", "bia", NOW)
    assert ask(database_url, CASE, (odd,))[0][:2] == ("Tributário", "Execução fiscal")
    assert ask(database_url, CASE, (case,))[0][:2] == ("Família", "Guarda")


def test_what_the_command_line_says(database_url: str, connection: Any, model: Model) -> None:
    def queue_text() -> str:
        with connection, connection.cursor() as cursor:
            return text(queue(cursor, NOW))

    assert queue_text() == "nenhum caso aguarda revisão"
    case = add_case(database_url, "oi, segredo")
    run(connection, model)
    shown = queue_text()
    assert shown.startswith("casos que aguardam revisão: 1\n")
    assert case in shown
    assert "segredo" not in shown
    said = take_decision(database_url, case, "civil", "cobranca", "bia", NOW)
    assert said == f"caso {case}: Civil / Cobrança, decidido por bia"
    assert queue_text() == "nenhum caso aguarda revisão"
