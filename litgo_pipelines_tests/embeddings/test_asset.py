"""The asset and its check as Dagster runs them, with the real models."""

from datetime import UTC, datetime

import dagster as dg
import numpy as np
import pytest

from litgo_pipelines.embeddings import checks as embedding_checks
from litgo_pipelines.embeddings.assets import LocalEmbeddings, text_embeddings
from litgo_pipelines.embeddings.checks import checks, personal_data_is_masked
from litgo_pipelines.embeddings.store import read_similarity
from litgo_pipelines.intake.masking.measure import GROUPS
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import kept

pytestmark = pytest.mark.slow

AS_OF = datetime(2026, 3, 10, 5, tzinfo=UTC)


def run(url: str, model: str = "all-MiniLM-L6-v2") -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [text_embeddings, *checks],
        resources={"postgres": Postgres(url=url), "local_embeddings": LocalEmbeddings(model=model), "openai": OpenAI()},
        run_config={"ops": {"text_embeddings": {"config": {"as_of": AS_OF.isoformat()}}}},
        raise_on_error=False,
    )


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def people(database_url: str) -> tuple[str, list[str], list[str]]:
    """Two cases, and two lawyers who concluded sixteen of a kind each."""
    kinds = (
        "O inquilino não paga o aluguel e não desocupa o imóvel, número {n}",
        "Pensão alimentícia atrasada do filho menor, número {n}",
    )
    with kept(database_url) as connection, connection:
        rows = Marketplace(connection, AS_OF)
        cases = [
            rows.case(description="meu locatário deve meses e não sai da casa"),
            rows.case(description="o pai da criança não deposita o dinheiro dela"),
        ]
        lawyers = [rows.lawyer(), rows.lawyer()]
        for lawyer, text in zip(lawyers, kinds, strict=True):
            for number in range(16):
                rows.contract(rows.case(description=text.format(n=number), status="closed"), lawyer, status="closed")
    return database_url, cases, lawyers


def test_a_run_embeds_with_both_models_and_who_did_such_cases_is_more_similar(
    people: tuple[str, list[str], list[str]],
) -> None:
    url, cases, lawyers = people
    result = run(url)
    assert result.success
    (materialization,) = result.asset_materializations_for_node("text_embeddings")
    assert materialization.metadata["texts"].value == 68
    table = materialization.metadata["models"]
    assert isinstance(table, dg.TableMetadataValue)
    models = [tuple(record.data.values())[:5] for record in table.records]
    assert ("use-multilingual-v3", 512, 34, 0, 0) in models
    assert ("all-MiniLM-L6-v2", 384, 34, 0, 0) in models
    assert all(check.passed for check in result.get_asset_check_evaluations())
    with kept(url) as connection, connection:
        found = read_similarity(connection, cases, lawyers, AS_OF)
    assert found.space == "stems5+use-multilingual-v3"
    assert (np.diag(found.values) > found.values[[0, 1], [1, 0]]).all()
    again = run(url).asset_materializations_for_node("text_embeddings")[0]
    assert again.metadata["texts"].value == 0


def test_the_check_warns_when_the_similarity_finds_too_little(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_checks, "LEAST_PRECISION", 0.99)
    result = run(database_url, "use-multilingual-v3")
    check = next(c for c in result.get_asset_check_evaluations() if c.check_name == "similarity_finds_the_area")
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.success


def test_a_model_that_is_not_there_fails_at_once_and_says_how_to_get_it(database_url: str) -> None:
    result = run(database_url, "no-such-model")
    failure = result.failure_data_for_node("text_embeddings")
    assert failure is not None
    assert "no-such-model" in str(failure)
    assert not any(event.is_step_up_for_retry for event in result.all_events)


def test_the_check_on_masking_shows_every_kind() -> None:
    found = personal_data_is_masked()
    assert isinstance(found, dg.AssetCheckResult)
    assert found.passed, found.description
    table = str(found.metadata["by kind"].value)
    assert all(f"| {kind} |" in table for kinds in GROUPS.values() for kind in kinds)
