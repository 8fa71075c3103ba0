"""OpenAI's vectors over real HTTP on loopback: what leaves, what is accepted, what an outage or a kill costs."""

import base64
import hashlib
import json
import math
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import dagster as dg
import numpy as np
import pytest

from litgo_pipelines.database import open_connection
from litgo_pipelines.embeddings.assets import LocalEmbeddings, text_embeddings
from litgo_pipelines.embeddings.checks import openai_has_every_text
from litgo_pipelines.embeddings.models import USE, USE_DIMENSION, Encoder
from litgo_pipelines.embeddings.remote import HARMLESS, embed_remote
from litgo_pipelines.embeddings.store import Embedded, count_missing, embed_missing, forget_withdrawn
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.resources.external_service import ServiceFailure
from litgo_pipelines.resources.openai import (
    DIMENSIONS,
    INPUT_TOKENS,
    INPUTS,
    REQUEST_TOKENS,
    OpenAI,
    requests,
    shortened,
)
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.simulation import faults
from litgo_pipelines.simulation.faults import Fault, FaultServer, Handler
from litgo_pipelines_tests.support import execute
from litgo_pipelines_tests.worlds import specifications
from litgo_pipelines_tests.worlds.embeddings import market
from litgo_pipelines_tests.worlds.matching import AS_OF as MATCHED_AT
from litgo_pipelines_tests.worlds.matching import fill, match
from litgo_pipelines_tests.worlds.processes import Child
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

pytestmark = pytest.mark.slow

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)
MODEL, DIMENSION = "text-embedding-3-small", 1536
SHARED = Path(__file__).parents[3] / "shared"
COURT_TEXTS = SHARED / "data" / "tj_themes" / "tjrj.parquet"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from openai import APIStatusError  # noqa: F401  # what a test times is not this import

    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def one_hot(text: str) -> list[float]:
    return [2.0 if row == crc32(text.encode()) % DIMENSION else 0.0 for row in range(DIMENSION)]


def answer_of(texts: list[str], **changes: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": row, "embedding": one_hot(text)} for row, text in enumerate(texts)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "model": MODEL, "data": data[::-1], "usage": usage, **changes}


def vectors(handler: Handler) -> None:
    """What OpenAI would answer, in another order."""
    faults.json_answer(answer_of(handler.server.requests[-1].json()["input"]))(handler)


def openai(server: FaultServer | str, **fields: Any) -> OpenAI:
    url = server if isinstance(server, str) else server.url
    return OpenAI(base_url=f"{url}/v1", **{"timeout_seconds": 1.0, "deadline_seconds": 3.0, **fields})


def sent(server: FaultServer) -> list[str]:
    return [text for request in server.requests for text in request.json()["input"]]


def remote(url: str, client: OpenAI, **options: Any) -> Embedded:
    connection = open_connection(url)
    try:
        return embed_remote(connection, client, AS_OF, **options)
    finally:
        connection.close()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def stored(url: str, model: str = MODEL) -> int:
    return rows(url, f"SELECT count(*) FROM litgo.text_embeddings WHERE model = '{model}'")[0][0]


def counted(url: str, name: str) -> dict[str, float]:
    found = rows(url, f"SELECT labels, value FROM litgo.metric_state WHERE name = '{name}'")
    return {labels.get("source") or labels["reason"]: value for labels, value in found}


def test_vectors_come_in_the_order_of_the_texts_whatever_the_answers() -> None:
    with FaultServer(vectors) as server:
        found = openai(server).embed(["multa", "guarda"])
        (request,) = server.requests
    assert (found.shape, found.dtype) == ((2, DIMENSION), np.float32)
    np.testing.assert_allclose(found, np.array([one_hot("multa"), one_hot("guarda")]) / 2)
    assert (request.method, request.path) == ("POST", "/v1/embeddings")
    assert request.headers["authorization"] == "Bearer test-key"


def test_vectors_as_base64_are_read_though_nobody_asked_for_it() -> None:
    vector = base64.b64encode(np.arange(1, DIMENSION + 1, dtype="<f4").tobytes()).decode()
    with FaultServer(with_vector(vector)) as server:
        (found,) = openai(server).embed(["multa"])
    assert found[1] == pytest.approx(2 * found[0])


def test_request_and_answer_are_as_openai_specifies() -> None:
    errors = partial(specifications.errors, specifications.read("openai-embeddings.json"))

    with FaultServer(vectors) as server:
        openai(server).embed(["multa"])
        body = server.requests[0].json()
    assert errors("CreateEmbeddingRequest", body) == []
    assert errors("CreateEmbeddingRequest", {**body, "inputs": []})  # no other names
    assert errors("CreateEmbeddingResponse", answer_of(["multa"])) == []


def test_requests_keep_the_apis_limits() -> None:
    assert len(shortened("ç" * 10_000).encode()) == INPUT_TOKENS
    for texts in (["a"] * 5_000, ["ç" * (INPUT_TOKENS // 2)] * 100, ["a"], []):
        parts = [texts[part] for part in requests(texts)]
        assert [text for part in parts for text in part] == texts
        assert all(0 < len(part) <= INPUTS for part in parts)
        assert all(sum(len(text.encode()) for text in part) <= REQUEST_TOKENS for part in parts)
    assert [part.stop - part.start for part in requests(["a"] * 5_000)] == [2_048, 2_048, 904]


GOOD = answer_of(["multa"])


def with_vector(vector: Any) -> Fault:
    return faults.json_answer({**GOOD, "data": [{"index": 0, "embedding": vector}]})


NAN = json.dumps({**GOOD, "data": [{"index": 0, "embedding": [math.nan] * DIMENSION}]}).encode()
LIES = (
    faults.truncated_json,
    faults.html,
    faults.answer(NAN),
    faults.json_answer([]),
    faults.json_answer({"data": 1}),
    with_vector([0.5] * 512),
    with_vector([0.0] * DIMENSION),
    with_vector([1e300] * DIMENSION),
    with_vector(None),
    with_vector(["1"] * DIMENSION),
    with_vector("AACAPw" * DIMENSION),  # base64 without its end
    with_vector("AACAPwAA"),  # of six bytes, which are no numbers
    with_vector("AACAPw=="),  # of one number
    with_vector([True] * DIMENSION),
    with_vector([10**400, *[1] * (DIMENSION - 1)]),
    faults.json_answer({**GOOD, "data": []}),
    faults.json_answer({**GOOD, "data": GOOD["data"] * 2}),
    faults.json_answer({**GOOD, "data": [{**GOOD["data"][0], "index": 1}]}),
    faults.json_answer({**GOOD, "model": "text-embedding-ada-002"}),
    faults.endless,
)


def failed(client: OpenAI) -> tuple[str, int]:
    started = time.monotonic()
    with pytest.raises(ServiceFailure) as caught:
        client.embed(["segredo"])
    assert time.monotonic() - started < client.deadline_seconds + 5
    assert "segredo" not in str(caught.value)
    return caught.value.reason, caught.value.attempts


@pytest.mark.parametrize("fault", LIES)
def test_an_answer_that_lies_is_refused(fault: Fault) -> None:
    with FaultServer(fault) as server:  # with time enough: a second try would be another's fault
        assert failed(openai(server, timeout_seconds=20.0, deadline_seconds=60.0)) == ("invalid", 1)


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        (faults.reset, "unavailable", 3),
        (faults.hang_up, "unavailable", 3),
        (faults.cut_short, "unavailable", 3),
        (faults.not_http, "unavailable", 3),
        (faults.compressed, "unavailable", 3),
        (faults.status(500), "unavailable", 3),
        (faults.hang, "timeout", 3),
        (faults.drip, "timeout", 3),
        (faults.drip_headers, "timeout", 3),
        (faults.too_many_requests(60), "rate_limited", 1),
        (faults.status(400), "rejected", 1),
        (faults.status(401), "rejected", 1),
    ],
)
def test_every_fault_ends_in_time_with_its_reason(fault: Fault, reason: str, attempts: int) -> None:
    patience = {"timeout_seconds": 0.4} if reason == "timeout" else {"timeout_seconds": 5.0, "deadline_seconds": 15.0}
    with FaultServer(fault) as server:
        assert failed(openai(server, **patience)) == (reason, attempts)


def test_nobody_listens_and_a_certificate_nobody_trusts(tmp_path: Path) -> None:
    assert failed(openai(faults.refusing_url())) == ("unavailable", 3)
    with FaultServer(vectors, certificate=faults.self_signed(tmp_path / "server.pem")) as server:
        assert failed(openai(server)) == ("certificate", 1)


def test_openais_client_sends_once_whatever_the_answer_asks_for() -> None:
    """Its own retries are off, and it follows no redirect: both are the policy's."""
    with FaultServer(faults.status(500, X_Should_Retry="true")) as server:
        assert failed(openai(server)) == ("unavailable", 3)
        assert [request.headers["accept-encoding"] for request in server.requests] == ["identity"] * 3
        assert len({request.body for request in server.requests}) == 1
    with FaultServer(vectors) as other, FaultServer(faults.status(307, Location=f"{other.url}/v1")) as server:
        assert failed(openai(server)) == ("rejected", 1)
        assert (len(server.requests), other.requests) == (1, [])


@pytest.mark.parametrize("key", ["sec\nret", "secret–é"])
def test_a_key_that_cannot_be_sent_is_not_told(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with FaultServer(vectors) as server, pytest.raises(ValueError, match="cannot be sent") as caught:
        openai(server).embed(["multa"])
    assert key not in str(caught.value)
    assert server.requests == []


def test_openais_client_writes_nothing_of_what_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_LOG", "debug")
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "openai")
    with FaultServer(vectors) as server:
        openai(server).embed(["segredo"])
    for told in (caplog.text, *capfd.readouterr()):
        assert "segredo" not in told
        assert "test-key" not in told


def test_nothing_that_names_a_person_leaves(database_url: str) -> None:
    secrets = [
        "123.456.789-09",
        "12.345.678/0001-95",
        "OAB/SP 123.456",
        "(11) 98765-4321",
        "eu@mail.com.br",
        "0001234-56.2023.8.26.0100",
    ]
    names = ["Iracema Quixotina", "Dra. Benedita Alvorada", "Dr. Hermógenes Vilaça", "Dr. Próspero Tamandaré"]
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, AS_OF)
        client = market._insert("profiles", full_name=names[0])
        asked, signed = market.lawyer(name=names[1]), market.lawyer(name=names[2])
        case = market.case(client_id=client, description=f"multa; {'; '.join([*secrets, *names[:3]])}", status="closed")
        market.offer(case, asked)
        market.contract(case, signed, status="closed")
        market.lawyer(name=names[3], curriculo_json={"resumo": f"{names[3].upper()}, trabalhista"})
        market.everyone_consents()
    with FaultServer(vectors) as server:
        assert remote(database_url, openai(server)).texts == 2
        left = " ".join(sent(server))
    assert "multa" in left
    assert "trabalhista" in left
    for secret in [*secrets, *(word for name in names for word in name.split()[-2:])]:
        assert secret.lower() not in left.lower().split()
        assert len(secret) < 5 or secret.lower() not in left.lower()


@pytest.mark.proof(
    "litgo_pipelines/embeddings",
    "litgo_pipelines/intake",
    "litgo_pipelines/resources",
    "litgo_pipelines_tests/worlds/rows.py",
)
def test_real_court_texts_leave_without_process_numbers_and_within_limits(database_url: str) -> None:
    if not COURT_TEXTS.exists():
        pytest.skip(f"{COURT_TEXTS.name} of the shared data is not here")
    import re

    import pyarrow.parquet as pq

    texts = pq.read_table(COURT_TEXTS, columns=["text"])["text"].to_pylist()[:150]
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, AS_OF)
        client = market._insert("profiles", full_name="Iracema Quixotina")
        for text in texts:
            market.case(client_id=client, description=f"{text} Autora: IRACEMA QUIXOTINA, CPF 123.456.789-09")
        market.everyone_consents()
    with FaultServer(vectors) as server:
        found = remote(database_url, openai(server, timeout_seconds=20, deadline_seconds=60))
        bodies, left = [len(r.json()["input"]) for r in server.requests], "\n".join(sent(server))
    assert found.texts == sum(bodies)
    assert found.texts + found.withheld == len(set(texts))
    assert found.texts >= 10
    assert {reason for (reason,) in rows(database_url, "SELECT reason FROM litgo.withheld_texts")} == {"text"}
    for form in (r"\d{7}-?\d{2}\.?\d{4}\.?\d\.?\d{2}\.?\d{4}", r"\d{3}\.\d{3}\.\d{3}-\d{2}", "(?i)iracema|quixotina"):
        assert not re.search(form, left)
    assert all(len(text.encode()) <= INPUT_TOKENS for text in sent(server))


SECRETS: dict[str, dict[str, str | bool | None]] = {
    "no_consent": {"ai_consent": False},
    "not_asked": {"ai_consent": None},
    "area": {"area": "Família"},
    "area_of_law": {"area": "Direito Penal"},
    "subarea": {"area": "Consumidor", "subarea": "Plano de saúde"},
    "doubt": {"area": "Trabalhista"},
    "unknown_area": {"area": "Alienígena"},
    "no_area": {"area": None},
    "text": {"description": "o contrato acabou quando meu marido foi preso"},
    "health": {"description": "contrato rescindido depois da quimioterapia"},
}


@pytest.mark.parametrize("why", SECRETS)
def test_what_must_stay_never_leaves(database_url: str, why: str) -> None:
    values = dict(SECRETS[why])
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, AS_OF)
        consent = values.pop("ai_consent", True)
        client = market._insert("profiles", ai_consent=consent)
        lawyer = market.lawyer()
        for status in ("pending_assignment", "closed"):
            case = market.case(**{"client_id": client, "description": f"segredo {status}", "status": status, **values})
            if status == "closed":
                market.contract(case, lawyer, status="closed")
        willing = market._insert("profiles", ai_consent=True)
        market.case(client_id=willing, description="multa do contrato", subarea="Contratos")
    with FaultServer(vectors) as server:
        found = remote(database_url, openai(server))
        assert sent(server) == ["multa do contrato"]
        assert (found.texts, found.withheld) == (1, 1 if "description" in values else 2)
        assert remote(database_url, openai(server)).withheld == 0
        assert sent(server) == ["multa do contrato"]
    connection = open_connection(database_url)
    with connection, connection.cursor() as cursor:
        assert count_missing(cursor, MODEL, DIMENSION, AS_OF) == 0
    connection.close()
    reasons = {"text": "text", "health": "text", "no_consent": "no_consent", "not_asked": "no_consent"}
    assert counted_withheld(database_url) == {("embedding", reasons.get(why, "area")): found.withheld}


WITHDRAWN = {
    "a client's waiting case": ("UPDATE profiles SET ai_consent = {} WHERE id = '{client}'", {"waiting"}),
    "a client's concluded case": ("UPDATE profiles SET ai_consent = {} WHERE id = '{concluded}'", {"concluded"}),
    "a client's case that is neither": ("UPDATE profiles SET ai_consent = {} WHERE id = '{assigned}'", {"assigned"}),
    "a lawyer's curriculum": ("UPDATE profiles SET ai_consent = {} WHERE id = '{lawyer}'", {"stated", "opinion"}),
    "one of two with the same text": ("UPDATE profiles SET ai_consent = {} WHERE id = '{twin}'", {"both"}),
}


@pytest.mark.parametrize("answer", ["false", "NULL"])
@pytest.mark.parametrize("who", WITHDRAWN)
def test_consent_withdrawn_takes_the_vectors_away_and_leaves_the_local_ones(
    database_url: str, who: str, answer: str
) -> None:
    texts = ("waiting", "concluded", "assigned", "stated", "opinion", "both")
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, AS_OF)
        people = {name: market._insert("profiles") for name in ("client", "concluded", "assigned", "twin", "other")}
        people["lawyer"] = market.lawyer(curriculo_json={"resumo": "stated", "pareceres": [{"texto": "opinion"}]})
        market.case(client_id=people["client"], description="waiting")
        ended = market.case(client_id=people["concluded"], description="concluded", status="closed")
        market.contract(ended, people["lawyer"], status="closed")
        market.case(client_id=people["assigned"], description="assigned", status="assigned")
        for owner in ("twin", "other"):
            market.case(client_id=people[owner], description="both")
        market.everyone_consents()
    every = [bytes.fromhex(hashlib.sha256(text.encode()).hexdigest()) for text in texts]
    models = [*DIMENSIONS, USE]
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO litgo.text_embeddings (text_hash, model, dimension, vector, as_of) "
            "SELECT h, m, 1, '\\x00000000', now() FROM unnest(%s) h, unnest(%s) m",
            (every, models),
        )

    def gone(*, waiting_only: bool) -> set[str]:
        connection = open_connection(database_url)
        try:
            forget_withdrawn(connection, list(DIMENSIONS), waiting_only=waiting_only)
        finally:
            connection.close()
        left = rows(database_url, "SELECT text_hash, array_agg(model) FROM litgo.text_embeddings GROUP BY 1")
        held = {bytes(hashed): set(found) for hashed, found in left}
        assert all(USE in held[hashed] for hashed in every)
        assert {len(found) for found in held.values()} <= {1, len(models)}
        return {text for text, hashed in zip(texts, every, strict=True) if len(held[hashed]) == 1}

    assert gone(waiting_only=False) == set()
    statement, expected = WITHDRAWN[who]
    execute(database_url, statement.format(answer, **people))
    assert gone(waiting_only=True) == expected & {"waiting", "both"}
    assert gone(waiting_only=False) == expected


def counted_withheld(url: str) -> dict[tuple[str, str], float]:
    found = rows(url, "SELECT labels, value FROM litgo.metric_state WHERE name = 'openai_withheld_total'")
    return {(labels["use"], labels["reason"]): value for labels, value in found}


def test_consent_given_later_lets_a_text_go_and_a_text_of_two_needs_both(database_url: str) -> None:
    with kept(database_url) as connection, connection:
        market = Marketplace(connection, AS_OF)
        clients = [market._insert("profiles", ai_consent=given) for given in (True, None)]
        for client in clients:
            market.case(client_id=client, description="multa do contrato", subarea="Contratos")
    give = "UPDATE profiles SET ai_consent = true"
    with FaultServer(vectors) as server:
        assert remote(database_url, openai(server)).texts == 0
        assert rows(database_url, "SELECT reason FROM litgo.withheld_texts") == [("no_consent",)]
        execute(database_url, give)
        assert remote(database_url, openai(server)).texts == 1
    assert rows(database_url, "SELECT reason FROM litgo.withheld_texts") == []


def refuses(word: str) -> Fault:
    def fault(handler: Handler) -> None:
        bad = any(word in text for text in handler.server.requests[-1].json()["input"])
        (faults.status(400) if bad else vectors)(handler)

    return fault


def test_a_text_that_openai_refuses_is_found_recorded_and_left_out(database_url: str) -> None:
    market(database_url)
    with FaultServer(refuses("numero 7")) as server:
        found = remote(database_url, openai(server), batch=20)
        assert (found.texts, found.refused, found.stopped) == (55, 1, "")
        assert sent(server).count(HARMLESS) == 1
        assert rows(database_url, "SELECT status, model FROM litgo.unembeddable_texts") == [(400, MODEL)]
        server.faults = (vectors,)
        assert remote(database_url, openai(server)).texts == 0
        assert server.requests == []
    assert counted(database_url, "embedding_source_total") == {"openai": 55}


def breaks_at(word: str, broken: Fault) -> Fault:
    def fault(handler: Handler) -> None:
        bad = any(word in text for text in handler.server.requests[-1].json()["input"])
        (broken if bad else vectors)(handler)

    return fault


@pytest.mark.parametrize(("broken", "status"), [(faults.status(500), 500), (faults.answer(NAN), 200)])
def test_a_text_at_which_the_service_breaks_holds_up_no_other(database_url: str, broken: Fault, status: int) -> None:
    """And the breaker stays closed; a week later it is asked for again."""
    market(database_url)
    with FaultServer(breaks_at("numero 7", broken)) as server:
        client = openai(server, database_url=database_url)
        client.service.backoff_seconds = 0.01
        found = remote(database_url, client, batch=20)
        assert (found.texts, found.refused, found.stopped) == (55, 1, "")
        assert rows(database_url, "SELECT status FROM litgo.unembeddable_texts") == [(status,)]
        server.requests.clear()
        assert remote(database_url, client).texts == 0
        assert server.requests == []
        server.faults = (vectors,)
        execute(database_url, "UPDATE litgo.unembeddable_texts SET as_of = as_of - interval '8 days'")
        assert remote(database_url, client).texts == 1


@pytest.mark.parametrize(("code", "told"), [(400, "request"), (401, "credentials"), (404, "base URL")])
def test_a_rejection_of_everything_blames_no_text_and_stops_at_once(database_url: str, code: int, told: str) -> None:
    market(database_url)
    with FaultServer(faults.status(code)) as server:
        found = remote(database_url, openai(server, database_url=database_url), batch=20)
        assert len(server.requests) == (2 if code == 400 else 1)
        assert told in found.stopped
        assert rows(database_url, "SELECT count(*) FROM litgo.unembeddable_texts") == [(0,)]
        assert counted(database_url, "fallback_usage_total") == {"rejected": 1}
        with pytest.raises(ServiceFailure):
            remote(database_url, openai(server, fallback_enabled=False))


def test_what_an_outage_missed_is_filled_in_and_the_breaker_asks_no_more(database_url: str) -> None:
    market(database_url)
    with FaultServer(vectors, faults.status(503)) as server:
        client = openai(server, database_url=database_url)
        first = remote(database_url, client, batch=20)
        assert (first.texts, stored(database_url)) == (20, 20)
        assert "503" in first.stopped
        remote(database_url, client, batch=20)  # opens the breaker
        asked = len(server.requests)
        assert "breaker" in remote(database_url, client, batch=20).stopped
        assert len(server.requests) == asked
        server.faults = (vectors,)
        rows(
            database_url,
            "UPDATE litgo.circuit_breakers SET retry_at = clock_timestamp() WHERE opened_at IS NOT NULL RETURNING 1",
        )
        assert remote(database_url, client, batch=20).texts == 36
        assert len(sent(server)) == 36
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        assert count_missing(cursor, MODEL, DIMENSION, AS_OF) == 0
    assert counted(database_url, "embedding_source_total") == {"openai": 56}


def test_a_second_run_leaves_the_asking_to_the_first(database_url: str) -> None:
    market(database_url)
    found: list[Embedded] = []

    def meanwhile(handler: Handler) -> None:
        found.append(remote(database_url, openai("http://127.0.0.1:1")))
        vectors(handler)

    with FaultServer(meanwhile) as server:
        assert remote(database_url, openai(server, timeout_seconds=20, deadline_seconds=20)).texts == 56
    assert [(other.texts, other.stopped) for other in found] == [(0, "another run is asking")]


def embed_in_twenties(url: str, base: str) -> None:
    embed_remote(open_connection(url), OpenAI(base_url=base), AS_OF, batch=20)


def test_a_kill_in_the_middle_leaves_no_gap_and_nothing_twice(database_url: str) -> None:
    market(database_url)
    child: list[Child] = []

    def kill(handler: Handler) -> None:
        child[0].kill()

    with FaultServer(vectors, vectors, kill, vectors) as server:
        child.append(Child(embed_in_twenties, database_url, f"{server.url}/v1"))
        assert child[0].wait() == -signal.SIGKILL
        assert stored(database_url) == 40
        assert remote(database_url, openai(server), batch=20).texts == 16
    assert stored(database_url) == 56
    assert counted(database_url, "embedding_source_total") == {"openai": 56}


def local(as_of: datetime) -> Callable[[Any], Embedded]:
    """A local model by the name of the similarity's, quick and made from the letters."""

    def encode(texts: Any, batch: int) -> np.ndarray:
        return np.array([np.bincount(np.frombuffer(t.encode(), np.uint8), minlength=USE_DIMENSION) for t in texts])

    return lambda connection: embed_missing(connection, Encoder(USE, USE_DIMENSION, encode), as_of)


def test_an_outage_in_the_middle_of_1000_texts_leaves_every_case_matched(database_url: str) -> None:
    fill(database_url, cases=1000)
    rows(database_url, "UPDATE cases SET description = 'multa do contrato ' || id RETURNING 1")
    rows(database_url, "UPDATE public.profiles SET ai_consent = true RETURNING 1")
    failed_at: list[tuple[float, int]] = []

    def outage(handler: Handler) -> None:
        failed_at.append((time.monotonic(), stored(database_url, USE)))
        faults.status(503)(handler)

    connection = open_connection(database_url)
    with FaultServer(vectors, vectors, outage) as server:
        local(MATCHED_AT)(connection)
        client = openai(server, database_url=database_url, timeout_seconds=20, deadline_seconds=20)
        found = embed_remote(connection, client, MATCHED_AT)
    connection.close()
    assert (found.texts, stored(database_url)) == (512, 512)
    assert failed_at[0][1] == 1000  # the fallback's vectors were there before the failure
    (result,) = match(database_url, Plan(limit=1000))
    assert (result.matched, result.space) == (1000, f"stems5+{USE}")
    assert counted(database_url, "embedding_source_total") == {"local": 1000, "openai": 512}
    assert counted(database_url, "fallback_usage_total") == {"unavailable": 1}


def test_the_asset_embeds_locally_whatever_openai_does_and_its_check_says_what_is_missing(database_url: str) -> None:
    market(database_url)
    with FaultServer(faults.hang) as server:
        result = dg.materialize(
            [text_embeddings, openai_has_every_text],
            resources={
                "postgres": Postgres(url=database_url),
                "local_embeddings": LocalEmbeddings(),
                "openai": openai(server, database_url=database_url),
            },
            run_config={"ops": {"text_embeddings": {"config": {"as_of": AS_OF.isoformat(), "waiting_only": True}}}},
        )
    assert (stored(database_url, USE), stored(database_url)) == (40, 0)
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.metadata["missing"].value) == (False, 56)
    metadata = result.asset_materializations_for_node("text_embeddings")[0].metadata
    assert "no complete answer" in str(metadata["OpenAI was not asked for the rest"].value)
