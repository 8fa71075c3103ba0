"""A client and a lawyer with rows in every table of ours, a snapshot, a log, a classifier, rows of Dagster's."""

import gzip
import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from litgo_pipelines.database import Connection
from litgo_pipelines.models.training_data import file_schema, file_sha256
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

AT = datetime(2026, 6, 1, 7, tzinfo=UTC)
TEXT = "Emprestei dinheiro a Zuleica Quaresma e o aluguel da rua das Palmeiras ficou atrasado"
RESUME = "Atuo em contratos desde 1999, na comarca de Itapecerica"


@dataclass(frozen=True)
class People:
    """Ids as text. `other`: another client, who must lose nothing."""

    client: str
    lawyer: str
    case: str
    contract: str
    offer: str
    review: str
    other: str
    other_case: str

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.client, self.lawyer, self.case, self.contract, self.offer, self.review)


ROWS = """
INSERT INTO litgo.triage (case_id, as_of, status, area, urgency_h, complexity, sources, alternatives, urgency_source)
VALUES (%(case)s, %(at)s, 'classified', 'Civil', 48, 'LOW', '{}', '[]', 'default');
INSERT INTO litgo.triage_failures VALUES (%(case)s, 1, 'ValueError', %(at)s, %(at)s, %(at)s);
INSERT INTO litgo.matching_failures VALUES (%(case)s, 1, 'ValueError', %(at)s, %(at)s, %(at)s, false);
INSERT INTO litgo.case_waits (case_id, reason, round, since, looks, looked_at, rest_until, next_look_at, case_digest)
VALUES (%(case)s, 'nobody', 1, %(at)s, 1, %(at)s, %(at)s, %(at)s, 'd');
INSERT INTO litgo.case_duplicates VALUES (%(twin)s, %(case)s, %(at)s);
INSERT INTO litgo.told VALUES ('case_review', %(case)s, '00000000-0000-0000-0000-000000000000', %(at)s);
INSERT INTO litgo.outbox (kind, recipient_id, dedup_key, payload, created_at) VALUES
    ('contract_signed', %(client)s, 'contract_signed:' || %(contract)s || ':' || %(client)s,
     jsonb_build_object('contract_id', %(contract)s), %(at)s),
    ('offer', %(lawyer)s, 'offer:' || %(offer)s,
     jsonb_build_object('offer_id', %(offer)s, 'case_id', %(case)s), %(at)s),
    ('case_review', '00000000-0000-0000-0000-000000000000', 'case_review:' || %(case)s,
     jsonb_build_object('case_id', %(case)s), %(at)s),
    ('public_numbers', %(other)s, 'public_numbers:' || %(other_case)s, jsonb_build_object('case_id', %(other_case)s),
     %(at)s);
INSERT INTO litgo.deliveries (recipient_id, opened_at, next_attempt_at)
VALUES (%(client)s, %(at)s, %(at)s), (%(lawyer)s, %(at)s, %(at)s), (%(other)s, %(at)s, %(at)s);
INSERT INTO litgo.mail_suppressions VALUES
    ('bounces', litgo.address_digest('zuleica@example.com'), %(at)s),
    ('blocks', litgo.address_digest('adv@example.com'), %(at)s),
    ('bounces', litgo.address_digest('outra@example.com'), %(at)s);
INSERT INTO litgo.contract_requests (contract_id, transaction_id, status, method, requested_at, due_at, signers)
VALUES (%(contract)s, gen_random_uuid(), 'manual', 'manual', %(at)s, %(at)s, '{abc,def}');
INSERT INTO litgo.contract_documents VALUES (%(contract)s, %(pdf)s, encode(sha256(%(pdf)s), 'hex'), %(at)s);
INSERT INTO litgo.contract_events (contract_id, event, at, actor, details)
VALUES (%(contract)s, 'signed:client', %(at)s, 'Marta da Secretaria',
        jsonb_build_object('signed_at', '2026-05-01', 'recorded_by', 'Marta da Secretaria', 'sha256', 'f00'));
INSERT INTO litgo.review_sentiment VALUES (%(review)s, gen_random_uuid(), '1', .5);
INSERT INTO litgo.lawyer_evidence VALUES (%(lawyer)s, %(at)s, 1, 1, 5, 0, '{}', 2, 5, 1, .5);
INSERT INTO litgo.lawyer_subarea_evidence VALUES (%(lawyer)s, 'Civil', 'Contratos', 1, 1);
INSERT INTO litgo.lawyer_availability VALUES (%(lawyer)s, %(at)s, NULL);
INSERT INTO litgo.lawyer_momentum (lawyer_id, area, as_of) VALUES (%(lawyer)s, 'Civil', %(at)s);
INSERT INTO litgo.lawyer_accounts VALUES (%(lawyer)s, %(lawyer)s);
INSERT INTO litgo.equity_history VALUES ('2026-05-30', %(lawyer)s, %(at)s, 1, 10, %(at)s, 1, .1);
INSERT INTO litgo.text_embeddings (text_hash, model, dimension, vector, as_of)
SELECT h, 'm', 1, '\\x00000000', %(at)s FROM unnest(%(hashes)s) AS h;
INSERT INTO litgo.text_stems SELECT h, '1', '\\x' FROM unnest(%(hashes)s) AS h;
INSERT INTO litgo.unembeddable_texts SELECT h, 'm', 400, %(at)s FROM unnest(%(hashes)s) AS h;
INSERT INTO litgo.withheld_texts SELECT h, 'text', %(at)s FROM unnest(%(hashes)s) AS h;
INSERT INTO litgo.matching_batches (as_of, case_ids, rounds, parameters, ranker, run_id, finished_at)
VALUES (%(at)s, ARRAY[%(other_case)s, %(case)s]::uuid[], '{1,1}', '{}', 'hand_weights', 'r', %(at)s);
INSERT INTO litgo.matchings
SELECT c::uuid, 1, batch_id, %(at)s, 2, NULL, .5, .5, jsonb_build_array(
    jsonb_build_object('lawyer_id', %(lawyer)s, 'offered', true), jsonb_build_object('lawyer_id', %(twin)s))
FROM litgo.matching_batches, unnest(ARRAY[%(case)s, %(other_case)s]) AS c;
INSERT INTO litgo.candidate_sets
SELECT c::uuid, 1, %(at)s, ARRAY[%(lawyer)s, %(twin)s]::uuid[], '\\x' FROM unnest(ARRAY[%(case)s, %(other_case)s]) AS c;
INSERT INTO litgo.exposures (case_id, round, client_id, ranker, exposed_at)
VALUES (%(case)s, 1, %(client)s, 'hand_weights', %(at)s), (%(other_case)s, 1, %(other)s, 'hand_weights', %(at)s);
INSERT INTO litgo.experiments VALUES ('e', '{}', repeat('0', 64), NULL, '1', %(at)s, 'a', 'b', 'r');
INSERT INTO litgo.experiment_phases VALUES ('e', 1, 1000, %(at)s, 'a', 'b');
INSERT INTO litgo.experiment_arms VALUES
    ('e', %(client)s, 'treatment', 1, %(case)s, %(at)s), ('e', %(other)s, 'control', 1, %(other_case)s, %(at)s);
INSERT INTO litgo.experiment_outcomes VALUES
    ('e', %(client)s, 'accepted', 2, %(at)s, %(at)s), ('e', %(other)s, 'accepted', 3, %(at)s, %(at)s);
INSERT INTO litgo.missed_subjects VALUES ('case', %(case)s, %(at)s, %(at)s, 1);
"""


def hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def fill(url: str, home: Path) -> People:
    """Rows of a client, a lawyer and another client in every table, and files that name them."""
    with kept(url) as connection, connection:
        people = _marketplace(connection)
        values = {
            **vars(people),
            "at": AT,
            "twin": str(uuid.uuid4()),
            "pdf": b"%PDF Zuleica Quaresma",
            "hashes": [hashed(f"Dinheiro\n{TEXT}"), hashed(RESUME)],
        }
        with connection.cursor() as cursor:
            cursor.execute(ROWS, values)
    _files(url, home, people)
    return people


def _marketplace(connection: Connection) -> People:
    market = Marketplace(connection, AT)
    client = market._insert("profiles", full_name="Zuleica Quaresma", email="Zuleica@example.com")
    other = market._insert("profiles", full_name="Outra", email="outra@example.com")
    lawyer = market.lawyer(name="Dra. Itamara", curriculo_json={"resumo": RESUME})
    market._insert("profiles", id=lawyer, full_name="Dra. Itamara", email="adv@example.com")
    case = market.case(client_id=client, title="Dinheiro", description=TEXT, subarea="Contratos")
    other_case = market.case(client_id=other, title="Outro", description="um muro que caiu")
    colleague = market.lawyer(name="Outro")  # so that no table is empty once these two are gone
    market.match(other_case, colleague)
    market.offer(other_case, colleague, status="interested")
    market.review(market.contract(other_case, colleague, client_id=other), colleague, client_id=other)
    offer = market.offer(case, lawyer, status="interested")
    market.match(case, lawyer)
    contract = market.contract(case, lawyer, client_id=client)
    review = market.review(contract, lawyer, client_id=client)
    return People(client, lawyer, case, contract, offer, review, other, other_case)


def snapshot(home: Path, rows: list[tuple[str, str]]) -> Path:
    """A training snapshot of (case, lawyer), named by its content."""
    empty: dict[str, list[Any]] = {name: [None] * len(rows) for name in file_schema().names}
    columns = empty | {"case_id": [case for case, _ in rows], "lawyer_id": [lawyer for _, lawyer in rows]}
    folder = home / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "new"
    schema = pa.schema([field.with_nullable(True) for field in file_schema()])
    pq.write_table(pa.table(columns, schema=schema), partial)
    return partial.rename(folder / f"{file_sha256(partial)}.parquet")


def _files(url: str, home: Path, people: People) -> None:
    path = snapshot(home, [(people.case, people.lawyer), (people.other_case, str(uuid.uuid4()))])
    with kept(url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO litgo.retrainings (root_run_id, as_of, snapshot_path, snapshot_sha256) "
            "VALUES ('r', %s, %s, %s)",
            (AT, f"snapshots/{path.name}", path.stem),
        )
    written = {
        "logs/code.log": f"case {people.case.upper()} failed; lawyer {people.lawyer}\n".encode(),
        "logs/code-20260101.log.gz": gzip.compress(f"client {people.client}".encode()),
        "models/triage/triage-1.npz": b"vocabulary",
        "models/served/litgo-ranker-1-x/input_example.json": json.dumps({"data": [[0.25, 0.5]]}).encode(),
        "dagster/storage/run/compute_logs/step.err": f"contract {people.contract}".encode(),
    }
    for name, content in written.items():
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
