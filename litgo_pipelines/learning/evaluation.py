"""Evaluation of a candidate: both rankers scored on the same test cases, the verdict recorded and published.

The verdict itself is `gate.py`. The champion was trained on older cases; should its training have reached into today's
held-out cases (a snapshot as of an earlier instant), it is favoured, and a worse candidate still cannot pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.figures import finite
from litgo_pipelines.learning import retrainings
from litgo_pipelines.learning.gate import (
    Evenness,
    Freshness,
    GateOutcome,
    GateRules,
    StoredDecision,
    StoredInterval,
    StoredRival,
    StoredSlice,
    judge_candidate,
    population_stability,
)
from litgo_pipelines.learning.retrainings import Retraining
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.states import LedgerState, refusal
from litgo_pipelines.lifecycle.transitions import STORED_HEURISTIC
from litgo_pipelines.matching import calibration
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.plan import read_plan
from litgo_pipelines.models import bundle, heuristic, plots, registry, rules, run_page, training_data
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.learners import Rows
from litgo_pipelines.models.metrics import KS, LONG, headline_k, ndcg
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.models.scorer import Scorer, ScorerDamaged, Served
from litgo_pipelines.models.training import seed_averaged_ndcg
from litgo_pipelines.observability.tables import markdown_table
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.settings import Settings

# How evenly one ranker would have spread the last weeks' offers, with its λ and what a replay said of others.
ReplayFairness = TypedDict(
    "ReplayFairness",
    {"version": str | None, "lambda": float, "gini": float, "kept": float | None, "replay": dict[str, object]},
)
Evaluation = TypedDict(
    "Evaluation",
    {
        "decision": StoredDecision,
        "baseline": str,
        "candidate_ndcg": dict[str, float | None],
        "baseline_ndcg": dict[str, float | None] | None,
        "kind": str,
        "drift": dict[str, float],
        "snapshot_sha256": str | None,
        "candidate_key": str | None,
        "version": str,
        "fairness": dict[str, ReplayFairness] | None,
        "not evaluated": list[str],
    },
)


def evaluate(
    mlflow: MLflow,
    row: Retraining,
    champion: ledger.Entry | None,
    settings: Settings,
    cursor: Cursor,
    at: datetime,
    say: Callable[[str], None] = lambda stage: None,
) -> Evaluation:
    """Decision and evidence as plain JSON values. Raises MLflowUnavailable when the registry cannot be asked."""
    assert row.bundle_path is not None
    assert row.snapshot_path is not None
    assert row.mlflow_version is not None
    path = settings.home / row.snapshot_path
    scorers = _scorers(settings, row.bundle_path)
    test_set = training_data.read_rows(path, training_data.TEST_SPLIT)
    say("the registered candidate is loaded and compared with what was trained")
    version = row.mlflow_version
    sha256 = ledger.scorer_hashes(cursor).get(version)
    reloaded, problems = _reload_candidate(mlflow, version, sha256, scorers[0], test_set)
    say(f"candidate and baseline rank {len(test_set.groups):,} test cases")
    own = seed_averaged_ndcg(scorers, test_set, KS)
    baseline = _baseline(mlflow, champion, cursor, test_set)
    fairness = None
    if not problems and baseline.ndcg is not None:
        say("the last weeks' offers are replayed with both")
        ranker = Ranker(reloaded, version, scorers[0].names)
        fairness = _replay_fairness(cursor, at, (baseline.ranker, ranker), settings)
    say("differences, slices and rules without learning are judged")
    k = headline_k(test_set.groups)
    column = KS.index(k)
    decision = judge_candidate(
        own[:, column],
        None if baseline.ndcg is None else baseline.ndcg[:, column],
        _rules(settings),
        slices=training_data.read_slices(path, training_data.TEST_SPLIT),
        reload_problems=problems,
        evenness=Evenness(fairness["candidate"]["gini"], fairness["baseline"]["gini"]) if fairness else None,
        k=k,
        rivals=_rivals(scorers[0], test_set, k),
        freshness=_freshness(cursor, row.as_of, champion.version, at)
        if champion is not None and baseline.ndcg is not None
        else None,
    ).as_dict()
    if baseline.missing:
        decision["reasons"].append(baseline.missing)
    return {
        "decision": decision,
        "baseline": baseline.name,
        "candidate_ndcg": _means(own),
        "baseline_ndcg": None if baseline.ndcg is None else _means(baseline.ndcg),
        "kind": scorers[0].kind,
        "drift": _drift(training_data.read_rows(path, "train").columns(scorers[0].names), test_set),
        "snapshot_sha256": row.snapshot_sha256,
        "candidate_key": row.candidate_key,
        "version": row.mlflow_version,
        "fairness": fairness,
        "not evaluated": ["off-policy estimate", *([] if fairness else ["fairness: too few cases for a replay"])],
    }


def _scorers(settings: Settings, bundle_path: str) -> list[Scorer]:
    candidate = bundle.load_bundle(settings.home / bundle_path)
    if candidate is None:
        raise bundle.BundleDamaged(f"{bundle_path} is gone: run candidate_model again")
    return candidate.scorers()


def _rules(settings: Settings) -> GateRules:
    return GateRules(
        settings.gate_min_lift,
        settings.gate_min_queries,
        equal_margin=settings.gate_equal_margin,
        fresher_days=settings.gate_fresher_days,
        stale_days=settings.gate_stale_days,
    )


@dataclass(frozen=True)
class _Baseline:
    """What the candidate is compared with. ndcg: (test cases, KS), or None; then `missing` says why."""

    name: str
    ranker: Ranker
    ndcg: NDArray[np.float64] | None
    missing: str | None = None


def _reload_candidate(
    mlflow: MLflow, version: str, sha256: str | None, served: Scorer, test_set: Rows
) -> tuple[Served | None, tuple[str, ...]]:
    """(the registered model, what is wrong with it); one that is missing or damaged is a problem, not an error."""
    try:
        reloaded = registry.load_model(mlflow, version, sha256)
        signed = registry.signature_names(mlflow, version)
    except (registry.VersionMissing, ScorerDamaged) as error:
        return None, (str(error),)
    if signed != served.names:  # which readers other than us go by
        return reloaded, (f"the signature names {list(signed)}, expected {list(served.names)}",)
    return reloaded, _reload_problems(reloaded, served, test_set)


def _reload_problems(model: Served, trained: Scorer, test_set: Rows) -> tuple[str, ...]:
    given = test_set.columns(trained.names).features
    return registry.reload_problems(model, trained.names, given, trained.scores(given))


def _rivals(served: Scorer, test_set: Rows, k: int) -> dict[str, NDArray[np.float64]]:
    """NDCG@k per case of every rule without learning; of a candidate that is a rule, of what it is not."""
    scores = {STORED_HEURISTIC: heuristic.score(test_set.columns(FEATURES).features), **rules.rivals(test_set)}
    if served.kind == "rule":
        scores = {name: scores[name] for name in (rules.AT_RANDOM,)}
    return {name: ndcg(test_set.labels, values, test_set.groups, (k,))[:, 0] for name, values in scores.items()}


def _baseline(mlflow: MLflow, champion: ledger.Entry | None, cursor: Cursor, test_set: Rows) -> _Baseline:
    if champion is None:
        return _score_heuristic(test_set)
    return _score_champion(mlflow, champion.version, cursor, test_set)


def _score_heuristic(test_set: Rows) -> _Baseline:
    scores = heuristic.score(test_set.columns(FEATURES).features)
    return _Baseline(STORED_HEURISTIC, Ranker(), ndcg(test_set.labels, scores, test_set.groups, KS))


def _score_champion(mlflow: MLflow, version: str, cursor: Cursor, test_set: Rows) -> _Baseline:
    """The champion as it is registered, with the NDCG of all its seeds."""
    name = f"{registry.MODEL_NAME}/{version}"
    try:
        model = registry.load_model(mlflow, version, ledger.scorer_hashes(cursor).get(version))
        seeds = registry.seed_scorers(mlflow, version, ledger.seed_hashes(cursor, version))
    except (registry.VersionMissing, ScorerDamaged, bundle.BundleDamaged) as error:
        return _Baseline(name, Ranker(), None, str(error))
    if changed := _reload_problems(model, seeds[0], test_set):
        return _Baseline(name, Ranker(), None, f"the champion is not what was trained: {'; '.join(changed)}")
    return _Baseline(name, Ranker(model, version, seeds[0].names), seed_averaged_ndcg(seeds, test_set, KS))


def _replay_fairness(
    cursor: Cursor, at: datetime, rankers: Sequence[Ranker], settings: Settings
) -> dict[str, ReplayFairness] | None:
    """Gini and λ of (baseline, candidate) on a replay of recent cases; None when too few say anything."""
    window = calibration.read_window(cursor, at, rankers, settings.matching_radii_km[0], settings.matching_preset)
    if window is None:
        return None
    plan = read_plan(cursor, settings)
    found = _fairness(window, [plan.rule_of(ranker) for ranker in rankers])
    return None if any(np.isnan(each["gini"]) for each in found.values()) else found  # nobody was there for long


def _freshness(cursor: Cursor, as_of: datetime, champion: str, at: datetime) -> Freshness | None:
    """How much newer the candidate's data are; None where nobody knows the champion's (it was not trained here)."""
    cursor.execute(
        "SELECT as_of FROM litgo.retrainings WHERE mlflow_version = %s ORDER BY started_at DESC LIMIT 1", (champion,)
    )
    found = cursor.fetchone()
    if found is None:
        return None
    day = timedelta(days=1)
    return Freshness((as_of - found[0]) / day, (at - found[0]) / day)


def _drift(training: Rows, test: Rows) -> dict[str, float]:
    """PSI of each feature the candidate uses, training rows against test rows."""
    there = test.columns(training.names).features
    return {
        name: round(population_stability(training.features[:, number], there[:, number]), 4)
        for number, name in enumerate(training.names)
    }


def _fairness(window: calibration.Window, rules: Sequence[Rule]) -> dict[str, ReplayFairness]:
    """Both calibrated on one replay, so that an experiment compares models and not weights of load."""
    names = ("baseline", "candidate")
    return {
        name: {
            "version": fit.ranker.version,
            "lambda": fit.weight,
            "gini": fit.figures.gini,
            "kept": finite(fit.figures.kept),  # nobody had a choice
            "replay": fit.evidence(window),
        }
        for name, fit in zip(names, calibration.fit_all(window, rules), strict=True)
    }


def earlier(cursor: Cursor, version: str) -> Evaluation | None:
    """The newest verdict on this version; None while nobody judged it."""
    cursor.execute(
        "SELECT evaluation FROM litgo.retrainings WHERE mlflow_version = %s AND evaluation IS NOT NULL "
        "ORDER BY started_at DESC LIMIT 1",
        (version,),
    )
    found = cursor.fetchone()
    return found[0] if found else None


def record_verdict(
    cursor: Cursor, row: Retraining, result: Evaluation, at: datetime, run_id: str, *, experiments: bool
) -> str:
    """Write the verdict, the calibrated λ and the transition, in one transaction; says what came of the version.

    Rejected: archived. Passed: challenger, or champion where there is none or no experiments are made. It stays a
    candidate with too little evidence, and when it may not go up now: then `candidate_to_promote` finds it later. A
    version that is no candidate any more was judged before and is left as it is.
    """
    version = row.mlflow_version
    assert version is not None
    decision = result["decision"]
    state = ledger.locked_state(cursor)
    retrainings.record_step(cursor, row.root_run_id, evaluation=result)
    if state.stages.get(version) != "candidate":
        return f"{state.stages.get(version, 'unknown')} already"
    actor = ledger.Actor("gate", "; ".join(decision["reasons"]), at, run_id)
    if decision["outcome"] == GateOutcome.REJECTED:
        return transitions.archive(cursor, version, result, actor).transition
    if decision["outcome"] == GateOutcome.NOT_ENOUGH_EVIDENCE:
        return "candidate: not enough evidence"
    for found in (result.get("fairness") or {}).values():
        calibration.record_weight(cursor, at, found["version"], found["lambda"], found["replay"], run_id)
    up = transitions.next_stage(state, experiments)
    if reason := refusal(state, up, version, at, experiments=experiments):
        return f"candidate, waits to become {up}: {reason}"
    if up == "challenger":
        return transitions.challenge(cursor, version, result, actor).transition
    key = f"{version} on {str(row.snapshot_sha256)[:16]} against {result['baseline']}"
    return transitions.promote(cursor, version, key, result, actor, experiments=experiments).transition


_PASSED = sql("litgo_pipelines.learning", "passed.sql")


def candidate_to_promote(cursor: Cursor, at: datetime, *, experiments: bool) -> str | None:
    """Root run of the newest candidate that passed and may go up now; evaluating it again takes it there.

    Again, because the champion may be another one than it was judged against. One query while nobody waits.
    """
    cursor.execute(_PASSED)
    found = cursor.fetchall()
    state = ledger.state(cursor) if found else LedgerState()
    up = transitions.next_stage(state, experiments)
    return next((root for root, v in found if not refusal(state, up, v, at, experiments=experiments)), None)


def publish(mlflow: MLflow, row: Retraining, result: Evaluation) -> str:
    """Show the verdict on the candidate's MLflow version and run; safe to repeat. Says where it is shown.

    What somebody deleted there is passed over: the verdict is in the ledger. Raises MLflowUnavailable.
    """
    run_id, version = row.mlflow_run_id, row.mlflow_version
    assert run_id is not None
    assert version is not None
    module, client, outcome = mlflow.module(), mlflow.client(), result["decision"]["outcome"]
    run = registry.known(module, lambda: client.get_run(run_id))
    registered = registry.known(module, lambda: client.get_model_version(registry.MODEL_NAME, version))
    shown = []
    if registered is not None:
        client.set_model_version_tag(registry.MODEL_NAME, version, "gate", outcome)
        shown.append(f"version {version}")
    if run is not None and run.info.lifecycle_stage == "active":
        _publish_on_run(mlflow, run_id, result)
        if registered is not None:
            registry.show(mlflow, version, "comparison", result["baseline"], {"comparison.png": picture(result)})
        shown.append(f"run {run_id}")
    return ", ".join(shown) or "nowhere: its run and its version were deleted there"


def _publish_on_run(mlflow: MLflow, run_id: str, result: Evaluation) -> None:
    client = mlflow.client()
    client.log_dict(run_id, dict(result), "evaluation.json")
    client.set_tag(run_id, "gate", result["decision"]["outcome"])
    numbers = {f"baseline_ndcg_{k}": value for k, value in (result["baseline_ndcg"] or {}).items() if value is not None}
    run_page.log_figures(client, run_id, {**numbers, **figures(result)})


def figures(result: Evaluation) -> dict[str, float]:
    """The verdict's numbers by name, for charts over time; what nobody knows is left out."""
    decision, fairness = result["decision"], result.get("fairness") or {}
    found: dict[str, float | None] = {
        "lift": decision.get("lift"),
        "ndcg/candidate": decision.get("candidate_ndcg"),
        "ndcg/baseline": decision.get("baseline_ndcg"),
        **_with_interval("difference", decision.get("difference")),
    }
    for name, replay in fairness.items():
        of_one = {"gini": replay["gini"], "kept": replay["kept"], "lambda": replay["lambda"]}
        found |= {f"fairness/{of}_{name}": value for of, value in of_one.items()}
    for s in decision.get("slices", ()):
        place = f"slice/{run_page.plain(s['name'])}"
        found |= {f"{place}_candidate": s["candidate"], f"{place}_baseline": s["baseline"]}
        found |= _with_interval(f"{place}_difference", s["difference"])
    for r in decision.get("rivals", ()):
        found |= {f"rival/{run_page.plain(r['name'])}": r["mean"]}
        found |= _with_interval(f"rival/{run_page.plain(r['name'])}_difference", r["difference"])
    drift = {f"drift/psi_{name}": value for name, value in result.get("drift", {}).items()}
    worst = max((value for value in drift.values() if value is not None and np.isfinite(value)), default=None)
    found |= {**drift, "drift/psi_highest": worst}
    return {name: float(value) for name, value in found.items() if value is not None and np.isfinite(value)}


def _with_interval(name: str, interval: StoredInterval | None) -> dict[str, float | None]:
    if not interval:
        return {}
    return {name: interval["mean"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}


def picture(result: Evaluation) -> bytes:
    """PNG: NDCG of both rankers, and the difference in each slice with its interval."""
    slices = {s["name"]: s["difference"] for s in result["decision"]["slices"] if s["difference"]}
    overall = result["decision"]["difference"]
    return plots.comparison(
        result["candidate_ndcg"],
        result["baseline_ndcg"] or {},
        {**({"all cases": overall} if overall else {}), **slices},
        result["decision"].get("k", LONG),
    )


def fairness_table(fairness: Mapping[str, ReplayFairness] | None) -> str:
    """Markdown: how evenly both would have spread the last weeks' offers, at which lambda and cost."""
    if not fairness:
        return "too few cases for a replay"
    rows = [
        (name, f"{found['lambda']:g}", f"{found['gini']:.3f}", "–" if found["kept"] is None else f"{found['kept']:.1%}")
        for name, found in fairness.items()
    ]
    return markdown_table(("replay", "lambda", "Gini of offers", "relevance kept"), rows, right=(1, 2, 3))


def comparison_table(result: Evaluation) -> str:
    """Markdown: NDCG of both rankers on the same held-out cases."""
    other = result["baseline_ndcg"] or {}
    rows = [(k, _number(value), _number(other.get(k))) for k, value in result["candidate_ndcg"].items()]
    return markdown_table(("NDCG at", "candidate", result["baseline"]), rows)


def rival_table(rivals: Sequence[StoredRival]) -> str:
    """Markdown: the headline NDCG of the rules without learning, and how far the candidate is ahead of each."""
    rows = [
        (r["name"], _number(r["mean"]), f"{r['difference']['low']:+.4f} – {r['difference']['high']:+.4f}")
        for r in rivals
    ]
    return markdown_table(("rule", "NDCG", "candidate − rule"), rows, right=(1,))


def slice_table(slices: Sequence[StoredSlice]) -> str:
    """Markdown: the headline NDCG by slice, with the difference's interval where there are cases enough to say."""
    rows = [
        (
            s["name"],
            s["queries"],
            _number(s["candidate"]),
            _number(s["baseline"]),
            f"{s['difference']['low']:+.4f} – {s['difference']['high']:+.4f}" if s["difference"] else "too few cases",
            "yes" if s["veto"] else "",
        )
        for s in slices
    ]
    return markdown_table(("slice", "cases", "candidate", "baseline", "difference", "veto"), rows)


def _means(values: NDArray[np.float64]) -> dict[str, float | None]:
    scored = values[np.isfinite(values).all(axis=1)]
    return {str(k): float(scored[:, i].mean()) if len(scored) else None for i, k in enumerate(KS)}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
