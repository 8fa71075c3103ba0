"""Matching as Dagster runs it: the assets, the sensor that wakes them, and the champion out of a real MLflow store."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from litgo_pipelines.automation import pending_cases_sensor
from litgo_pipelines.definitions import build_defs
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines.matching import explain
from litgo_pipelines.matching.plan import read_plan
from litgo_pipelines.matching.serving import Rankers
from litgo_pipelines.models import registry, scorer
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.models.scorer import earlier_trees
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.openai import OpenAI
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines.settings import settings
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match, offers
from litgo_pipelines_tests.worlds.rows import Marketplace
from litgo_pipelines_tests.worlds.sessions import ask, kept

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("LITGO_HOME", str(tmp_path))
    monkeypatch.setenv("HOLDOUT_PERCENTAGE", "0")  # test_arms.py has one
    return tmp_path


def run(
    url: str, asset: str = "case_offers", uri: str = "http://127.0.0.1:1", **config: Any
) -> dg.ExecuteInProcessResult:
    resources = {"postgres": Postgres(url=url), "mlflow": MLflow(tracking_uri=uri)}
    config = {"as_of": AS_OF.isoformat(), **config}
    job = dg.define_asset_job("one", dg.AssetSelection.assets(asset) | dg.AssetSelection.checks_for_assets(asset))
    definitions = dg.Definitions.merge(build_defs(**resources), dg.Definitions(jobs=[job]))
    return definitions.resolve_job_def("one").execute_in_process(
        run_config={"ops": {asset: {"config": config}}}, raise_on_error=False
    )


def metadata(result: dg.ExecuteInProcessResult, asset: str = "case_offers") -> dict[str, Any]:
    assert result.success
    return {k: v.value for k, v in result.asset_materializations_for_node(asset)[0].metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_a_run_matches_everything_that_waits_and_explains_the_newest_case(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database_url)
    monkeypatch.setenv("MATCHING_BATCH_SIZE", "5")
    result = run(database_url)
    found = metadata(result)
    assert (found["cases matched"], found["offers"], found["cases failed"]) == (12, 60, 0)
    assert ask(database_url, "SELECT count(*) FROM litgo.matching_batches") == [(3,)]
    assert "heuristic ranker (balanced)" in found["the newest case explained"]
    assert found["the newest case explained"].count("| yes |") == 5
    assert "data:image/png;base64," in found["relevance kept"]
    assert checks(result) == dict.fromkeys(
        ("rows_are_there", "offers_are_whole", "champion_ranks", "no_dead_letters"), True
    )
    again = metadata(run(database_url))
    assert again["cases matched"] == 0


def test_checks_find_what_is_wrong(database_url: str) -> None:
    fill(database_url)
    ask(database_url, "ALTER TABLE public.cases DROP CONSTRAINT cases_complexity_check")
    ask(database_url, "UPDATE cases SET complexity = 'EXTREME' WHERE id = md5('case 2')::uuid")
    for hour in range(3):
        match(database_url, as_of=AS_OF + timedelta(hours=hour))
    ask(database_url, "DELETE FROM litgo.outbox WHERE message_id = (SELECT min(message_id) FROM litgo.outbox)")
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        ledger.append(cursor, "champion", "k", "1", {}, "run", 0)
    result = run(database_url, as_of=(AS_OF + timedelta(hours=9)).isoformat())
    assert checks(result) == {
        "rows_are_there": True,
        "offers_are_whole": False,
        "champion_ranks": False,
        "no_dead_letters": False,
    }


@pytest.fixture
def champion(database_url: str, home: Path) -> str:
    """A LightGBM model that knows only R, registered as version 1, champion by the ledger; returns the store's URI."""
    import lightgbm as lgb

    uri = f"sqlite:///{home / 'mlflow.db'}"
    mlflow = MLflow(tracking_uri=uri)
    rng = np.random.default_rng(1)
    features = rng.random((600, 8))
    booster = lgb.train(
        {"objective": "lambdarank", "verbose": -1, "min_data_in_leaf": 5, "num_leaves": 7, "deterministic": True},
        lgb.Dataset(features, (features[:, 6] * 4).astype(int), group=[20] * 30),
        20,
    )
    module = mlflow.module()
    experiment = module.create_experiment("e", artifact_location=(home / "artifacts").as_uri())
    with module.start_run(experiment_id=experiment):
        served = earlier_trees(booster.model_to_string(), FEATURES)
        logged = registry.log_scorer(module, served, features[:2])
        module.register_model(logged.model_uri, registry.MODEL_NAME)
    named = {"scorer_sha256": scorer.digest(scorer.dumps(served))}
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        ledger.append(cursor, "champion", "k", "1", named, "run", 0)
    return uri


def test_the_champion_ranks_also_while_its_registry_is_down(database_url: str, champion: str, home: Path) -> None:
    fill(database_url)
    result = run(database_url, uri=champion)
    assert metadata(result)["cases matched"] == 12
    assert checks(result)["champion_ranks"]
    assert ask(database_url, "SELECT DISTINCT ranker, model_version FROM litgo.exposures") == [("model", "1")]
    # the best reviewed come first, as this model wants it
    agree = ask(database_url, "SELECT corr(raw_score, (features ->> 'R')::float8) FROM case_matches")
    assert agree[0][0] > 0.8
    explained = metadata(result)["the newest case explained"]
    assert "model version 1" in explained
    assert "adds to the log-odds" in explained
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT case_id::text FROM litgo.matchings LIMIT 1")
        (found,) = explain.read_matchings(cursor, cursor.fetchone()[0])
        rankers = Rankers(MLflow(tracking_uri=champion), settings().served_models)
        rankers.know(cursor)
    parts = explain.contributions(found, rankers.parts("1"))
    # SHAP values and one constant sum to the log-odds
    relevance = np.array([entry["relevance"] for entry in found.considered])
    rest = np.log(relevance / (1 - relevance)) - [sum(added.values()) for added in parts]
    assert np.ptp(rest) < 2e-3
    # the store is gone: the copy serves on
    (home / "mlflow.db").unlink()
    with kept(database_url) as connection, connection:
        Marketplace(connection, AS_OF).case()
    assert metadata(run(database_url, uri=champion))["cases matched"] == 1
    assert ask(database_url, "SELECT DISTINCT ranker FROM litgo.exposures") == [("model",)]


def test_without_the_registry_and_without_a_copy_the_hand_weights_serve_and_are_counted(
    database_url: str, champion: str
) -> None:
    fill(database_url)
    result = run(database_url, uri="http://127.0.0.1:1")
    assert metadata(result)["cases matched"] == 12
    assert "does not answer" in metadata(result)["champion not used"]
    assert not checks(result)["champion_ranks"]
    assert ask(database_url, "SELECT labels, value FROM litgo.metric_state WHERE name = 'ranker_fallback_total'") == [
        ({"reason": "unavailable"}, 1.0)
    ]


def test_offers_nobody_answered_expire_once(database_url: str) -> None:
    fill(database_url)
    ask(database_url, "UPDATE cases SET urgency_h = 72")  # half of it is longer than the usual term
    match(database_url)
    ask(database_url, "UPDATE offers SET status = 'interested' WHERE case_id = md5('case 1')::uuid")
    for hours, expired in ((23, 0), (25, 55), (26, 0)):
        at = (AS_OF + timedelta(hours=hours)).isoformat()
        assert metadata(run(database_url, "expired_offers", as_of=at), "expired_offers")["offers expired"] == expired
    assert ask(database_url, "SELECT status, count(*) FROM offers GROUP BY 1 ORDER BY 1") == [
        ("expired", 55),
        ("interested", 5),
    ]
    assert ask(database_url, "SELECT value FROM litgo.metric_state WHERE name = 'offers_expired_total'") == [(55.0,)]


def test_a_run_expires_what_is_over_before_it_offers_the_case_to_others(database_url: str) -> None:
    fill(database_url, lawyers=30, cases=1)
    match(database_url)
    assert metadata(run(database_url, as_of=(AS_OF + timedelta(hours=25)).isoformat()))["cases matched"] == 1
    found = ask(database_url, "SELECT status, count(*) FROM offers GROUP BY 1 ORDER BY 1")
    assert found == [("expired", 5), ("pending", 5)]


def test_a_calibration_is_a_version_that_the_next_batch_uses(database_url: str) -> None:
    fill(database_url, lawyers=40, cases=400)
    ask(database_url, "UPDATE cases SET created_at = %s - random() * interval '59 days'", (AS_OF,))
    found = metadata(run(database_url, "allocation_parameters"), "allocation_parameters")
    assert found["cases replayed"] == 400
    assert "heuristic ranker: lambda 0.6 →" in found["decision"]
    assert "data:image/png;base64," in found["replays, drawn"]
    ((version, weight, evidence),) = ask(
        database_url, "SELECT version, lambda, evidence FROM litgo.allocation_parameters"
    )
    curve = {row["lambda"]: row["gini"] for row in evidence["curve"]}
    assert curve[weight] <= 0.28
    assert all(gini > 0.28 for tried, gini in curve.items() if tried < weight)
    run(database_url, "allocation_parameters")  # the same instant again
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        used = read_plan(cursor, settings())
    assert (used.rule_of(Ranker()).weight, used.rule_version) == (weight, version)
    assert used.rule_of(Ranker(version="7")).weight == 0.6  # nobody calibrated it


def test_where_nobody_has_a_choice_no_relevance_is_given_up(database_url: str) -> None:
    fill(database_url, lawyers=4, cases=400)
    ask(database_url, "UPDATE cases SET created_at = %s - random() * interval '59 days'", (AS_OF,))
    found = metadata(run(database_url, "allocation_parameters"), "allocation_parameters")
    assert found["cases replayed"] == 400
    assert found["relevance kept on the replay"] is None


@pytest.mark.parametrize("everybody_joined", [None, "2 days"])
def test_too_few_cases_leave_lambda_as_it_is(database_url: str, everybody_joined: str | None) -> None:
    """Or too few since there were lawyers: a marketplace that moved, say."""
    fill(database_url, cases=400 if everybody_joined else 12)
    if everybody_joined:
        ask(database_url, "UPDATE cases SET created_at = %s - random() * interval '59 days'", (AS_OF,))
        ask(database_url, "UPDATE lawyers SET created_at = %s - %s::interval", (AS_OF, everybody_joined))
    found = metadata(run(database_url, "allocation_parameters"), "allocation_parameters")
    assert "too few" in found["decision"]
    assert ask(database_url, "SELECT count(*) FROM litgo.allocation_parameters") == [(0,)]


def tick(url: str, instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[Any, str | None]:
    found = pending_cases_sensor.evaluate_tick(
        dg.build_sensor_context(instance, cursor, resources={"postgres": Postgres(url=url)})
    )
    return next(iter(found.run_requests or ()), dg.SkipReason(found.skip_message)), found.cursor


def test_the_sensor_wakes_for_waiting_cases_also_late_ones_and_one_batch_at_a_time(database_url: str) -> None:
    fill(database_url)
    ask(
        database_url,
        "UPDATE cases SET created_at = now() - interval '1 hour' - random() * interval '1 hour', complexity = 'LOW'",
    )
    with dg.DagsterInstance.ephemeral() as instance:
        request, cursor = tick(database_url, instance)
        assert isinstance(request, dg.RunRequest)
        assert request.tags["litgo/waiting"] == "12"
        ((newest,),) = ask(database_url, "SELECT id::text FROM cases ORDER BY created_at DESC LIMIT 1")
        assert cursor is not None
        assert cursor.endswith(newest)
        match(database_url, as_of=datetime.now(UTC))
        ask(
            database_url,
            "INSERT INTO litgo.triage (case_id, as_of, status, urgency_h, urgency_source, complexity, "
            "sources, alternatives) SELECT id, now(), 'classified', 72, 'client', 'LOW', '{}', '[]' FROM cases",
        )
        skipped, _ = tick(database_url, instance, cursor)
        assert isinstance(skipped, dg.SkipReason)
        with kept(database_url) as connection, connection:  # older than the cursor, visible only now
            Marketplace(connection, AS_OF).case(
                created_at=datetime.now(UTC) - timedelta(days=3), subarea="Contratos", urgency_h=24, complexity="LOW"
            )
        late, after = tick(database_url, instance, cursor)
        assert isinstance(late, dg.RunRequest)
        assert after == cursor
        job = build_defs(
            postgres=Postgres(url=database_url), mlflow=MLflow(tracking_uri="http://127.0.0.1:1"), openai=OpenAI()
        ).resolve_job_def("matching")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        busy, _ = tick(database_url, instance, cursor)
        assert isinstance(busy, dg.SkipReason)
        assert "wait for the run that is working" in str(busy.skip_message)


def test_an_explanation_says_who_why_and_what_it_would_have_taken(database_url: str) -> None:
    fill(database_url)
    match(database_url)
    ((case,),) = ask(database_url, "SELECT md5('case 3')::uuid::text")
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        (found,) = explain.read_matchings(cursor, case)
    parts = explain.contributions(found)
    text = explain.text(found, parts)
    assert "heuristic ranker (balanced)" in text
    assert "lambda 0.60" in text
    assert text.count(" yes ") == 5
    assert "offered at load ≤" in text or "at no load" in text or "gave way" in text
    assert "°" in text
    for entry, added in zip(found.considered, parts, strict=True):  # the parts of the relevance sum to it
        assert sum(added.values()) == pytest.approx(entry["relevance"], abs=2e-4)
        assert entry["score"] == pytest.approx(entry["relevance"] + found.weight * entry["equity_term"], abs=2e-4)
    assert len(offers(database_url)) == 60
    json.dumps(found.considered)


def test_what_was_not_matched_is_explained_too(database_url: str) -> None:
    fill(database_url, cases=3)
    ask(database_url, "UPDATE cases SET area = NULL WHERE id = md5('case 1')::uuid")
    ask(database_url, "UPDATE cases SET area = 'Marítimo' WHERE id = md5('case 2')::uuid")
    match(database_url)
    ids = [ask(database_url, "SELECT md5('case ' || %s)::uuid::text", (n,))[0][0] for n in (1, 2, 99)]
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        for case, message in zip(ids, ("no area yet", "no eligible lawyer", "there is no case"), strict=True):
            with pytest.raises(explain.NotMatched, match=message):
                explain.read_matchings(cursor, case)
