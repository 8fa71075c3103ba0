"""Contracts to be signed, and DocuSign's end of the line on loopback."""

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from litgo_pipelines.database import open_connection
from litgo_pipelines.resources.docusign import DocuSign
from litgo_pipelines.simulation.docusign import ACCOUNT, INTEGRATION, USER, FakeDocuSign
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask, kept

# DocuSign's week of transaction ids is by the real clock; a run half an hour later must not lie in the future
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)


@pytest.fixture(scope="session")
def keys() -> tuple[str, bytes]:
    """(private, public), as PEM."""
    # Each client checks the key's primes, at 2048 bits for seven times as long.
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public


@pytest.fixture
def fake(keys: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocuSign]:
    monkeypatch.setenv("DOCUSIGN_PRIVATE_KEY", keys[0].replace("\n", "\\n"))
    monkeypatch.setenv("NO_PROXY", ",".join(filter(None, ["127.0.0.1", os.environ.get("NO_PROXY")])))
    with FakeDocuSign(keys[1]) as server:
        yield server


def client(
    url: str,
    database_url: str | None = None,
    *,
    timeout_seconds: float = 10.0,
    deadline_seconds: float = 20.0,
    fallback_enabled: bool = True,
    breaker_threshold: int = 5,
) -> DocuSign:
    """The resource against a server. With little backoff, but for Dagster's runs: they make it anew from its fields."""
    made = DocuSign(
        base_url=f"{url}/restapi",
        auth_url=url,
        account_id=ACCOUNT,
        user_id=USER,
        integration_key=INTEGRATION,
        timeout_seconds=timeout_seconds,
        deadline_seconds=deadline_seconds,
        fallback_enabled=fallback_enabled,
        database_url=database_url,
    )
    made._service = replace(made.service, backoff_seconds=0.01, breaker_threshold=breaker_threshold)
    return made


@pytest.fixture
def docusign(fake: FakeDocuSign, database_url: str) -> DocuSign:
    return client(fake.url, database_url)


@pytest.fixture
def connection(database_url: str) -> Iterator[Any]:
    with closing(open_connection(database_url)) as opened:
        yield opened


def add_contract(url: str, *, offer: str | None = "interested", fee: Any = None, **values: Any) -> str:
    """A contract whose lawyer has accepted, of a client and a lawyer with name and e-mail; `values`: of its row."""
    people: dict[str, Any] = {
        "client": "João Antônio da Silva",
        "client_email": "joao@example.com",
        "lawyer": "Ângela Conceição",
        "lawyer_email": "angela@example.com",
        "oab": "OAB/SP 123.456",
    }
    people = {key: values.pop(key, value) for key, value in people.items()}
    with kept(url) as connection, connection:
        market = Marketplace(connection, NOW)
        client_id = market._insert("profiles", full_name=people["client"], email=people["client_email"])
        lawyer = market.lawyer(name=people["lawyer"], oab_number=people["oab"])
        market._insert("profiles", id=lawyer, full_name=people["lawyer"], email=people["lawyer_email"])
        case = market.case(client_id=client_id, title="Demissão sem justa causa", area="Trabalhista")
        if offer:
            market.offer(case, lawyer, status=offer)
        return market.contract(
            case,
            lawyer,
            **{
                "client_id": client_id,
                "status": "pending-signature",
                "created_at": NOW - timedelta(hours=1),
                "fee_model": fee or {"type": "success", "percent": 20},
                **values,
            },
        )


def counted(url: str) -> dict[str, float]:
    """name and label values → value, of the metrics of contracts and fallbacks."""
    found = ask(
        url, "SELECT name, labels, value FROM litgo.metric_state WHERE name ~ '^(contract|fallback)' ORDER BY 1"
    )
    return {" ".join([name, *(labels[key] for key in sorted(labels))]): value for name, labels, value in found}


def messages(url: str) -> list[str]:
    """kind of each message, with the number of recipients."""
    found = ask(url, "SELECT kind, count(*) FROM litgo.outbox GROUP BY 1 ORDER BY 1")
    return [f"{kind} {number}" for kind, number in found]


def request_row(url: str, contract: str) -> tuple:
    """(status, method, reason) of our row, then the contract's status."""
    return ask(
        url,
        "SELECT r.status, r.method, r.reason, c.status FROM contracts c "
        "LEFT JOIN litgo.contract_requests r ON r.contract_id = c.id WHERE c.id = %s",
        (contract,),
    )[0]


def sent_document(fake: FakeDocuSign) -> str:
    """SHA-256 of the one envelope's document."""
    (envelope,) = fake.envelopes.values()
    return hashlib.sha256(base64.b64decode(envelope["documents"][0]["documentBase64"])).hexdigest()


def lease_ends(url: str) -> None:
    """Instead of waiting: the claim of a sender that was killed runs out."""
    ask(url, "UPDATE litgo.contract_requests SET claimed_until = clock_timestamp() WHERE status = 'sending'")
