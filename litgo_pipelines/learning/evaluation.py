"""Evaluation of a candidate: both rankers scored on the same test cases, the verdict recorded and published.

The verdict itself is `gate.py`. The champion was trained on older cases; should its training have reached into today's
held-out cases (a snapshot as of an earlier instant), it is favoured, and a worse candidate still cannot pass.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from litgo_pipelines.database import Cursor
from litgo_pipelines.learning import retrainings
from litgo_pipelines.learning.gate import Evenness, GateOutcome, GateRules, judge_candidate, population_stability
from litgo_pipelines.learning.retrainings import Retraining
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.lifecycle.states import LedgerState, refusal
from litgo_pipelines.matching import calibration
from litgo_pipelines.matching.allocation import Rule
from litgo_pipelines.matching.plan import read_plan
from litgo_pipelines.models import bundle, heuristic, plots, registry, training_data
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.models.metrics import KS, ndcg
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.models.training import seed_averaged_ndcg
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.settings import Settings

HEURISTIC = "hand weights"  # as stored in evaluations, retrainings and ledger keys


def evaluate(
    mlflow: MLflow, row: Retraining, champion: ledger.Entry | None, settings: Settings, cursor: Cursor, at: datetime
) -> dict[str, Any]:
    """Decision and evidence as plain JSON values. Raises MLflowUnavailable when the registry cannot be asked."""
    assert row.bundle_path is not None
    assert row.snapshot_path is not None
    assert row.mlflow_version is not None
    path = settings.home / row.snapshot_path
    candidate = bundle.load_bundle(settings.home / row.bundle_path)
    if candidate is None:
        raise bundle.BundleDamaged(f"{row.bundle_path} is gone: run candidate_model again")
    holdout = training_data.read_rows(path, "holdout")
    boosters = candidate.boosters()
    heuristic_ranker = Ranker()
    rankers: tuple[Ranker, ...] = ()  # what serves, and the candidate, where both can rank
    served = np.asarray(boosters[0].predict(holdout.features))
    try:
        reloaded = registry.load_model(mlflow, row.mlflow_version)
        problems = registry.reload_problems(reloaded, holdout.features, served)
        rankers = (heuristic_ranker, Ranker(reloaded, row.mlflow_version))
    except registry.VersionMissing as error:
        problems = (str(error),)

    own = seed_averaged_ndcg(boosters, holdout, KS)
    baseline, missing = HEURISTIC, None
    other = None
    if champion is None:
        other = ndcg(holdout.labels, heuristic.score(holdout.features), holdout.groups, KS)
    else:
        baseline = f"{registry.MODEL_NAME}/{champion.version}"
        try:
            model = registry.load_model(mlflow, champion.version)
            rankers = (Ranker(model, champion.version), *rankers[1:])
            seeds = registry.seed_boosters(mlflow, champion.version)
            expected = np.asarray(seeds[0].predict(holdout.features))
            if changed := registry.reload_problems(model, holdout.features, expected):
                missing = f"the champion is not what was trained: {'; '.join(changed)}"
            else:
                other = seed_averaged_ndcg(seeds, holdout, KS)
        except registry.VersionMissing as error:
            missing = str(error)

    window = None
    if not problems and other is not None:
        window = calibration.read_window(cursor, at, rankers, settings.matching_radii_km[0], settings.matching_preset)
    fairness = (
        _fairness(window, [read_plan(cursor, settings).rule_of(ranker) for ranker in rankers]) if window else None
    )
    last = KS.index(10)
    decision = judge_candidate(
        own[:, last],
        None if other is None else other[:, last],
        GateRules(min_lift=settings.gate_min_lift, min_queries=settings.gate_min_queries),
        slices=training_data.read_slices(path, "holdout"),
        reload_problems=problems,
        evenness=Evenness(fairness["candidate"]["gini"], fairness["baseline"]["gini"]) if fairness else None,
    ).as_dict()
    if missing:
        decision["reasons"].append(missing)
    training = training_data.read_rows(path, "train").features
    return {
        "decision": decision,
        "baseline": baseline,
        "candidate_ndcg": _means(own),
        "baseline_ndcg": None if other is None else _means(other),
        "drift": {
            name: round(population_stability(training[:, number], holdout.features[:, number]), 4)
            for number, name in enumerate(FEATURES)
        },
        "snapshot_sha256": row.snapshot_sha256,
        "candidate_key": row.candidate_key,
        "version": row.mlflow_version,
        "fairness": fairness,
        "not evaluated": ["off-policy estimate", *([] if fairness else ["fairness: too few cases for a replay"])],
    }


def _fairness(window: calibration.Window, rules: Sequence[Rule]) -> dict[str, Any]:
    """Both calibrated on one replay, so that an experiment compares models and not weights of load."""
    names = ("baseline", "candidate")
    return {
        name: {
            "version": fit.ranker.version,
            "lambda": fit.weight,
            "gini": fit.figures.gini,
            "kept": fit.figures.kept,
            "replay": fit.evidence(window),
        }
        for name, fit in zip(names, calibration.fit_all(window, rules), strict=True)
    }


def earlier(cursor: Cursor, version: str) -> dict[str, Any] | None:
    """The newest verdict on this version; None while nobody judged it."""
    cursor.execute(
        "SELECT evaluation FROM litgo.retrainings WHERE mlflow_version = %s AND evaluation IS NOT NULL "
        "ORDER BY started_at DESC LIMIT 1",
        (version,),
    )
    found = cursor.fetchone()
    return found[0] if found else None


def record_verdict(
    cursor: Cursor, row: Retraining, result: dict[str, Any], at: datetime, run_id: str, *, experiments: bool
) -> str:
    """Write the verdict, the calibrated λ and the transition, in one transaction; says what came of the version.

    Rejected: archived. Passed: challenger, or champion where there is none or no experiments are made. It stays a
    candidate with too little evidence, and when it may not go up now: then `waiting` finds it later. A version that is
    no candidate any more was judged before and is left as it is.
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


_PASSED = """
SELECT r.root_run_id, r.mlflow_version FROM litgo.retrainings AS r
WHERE r.evaluation -> 'decision' ->> 'outcome' = 'passed'
  AND (SELECT l.transition FROM litgo.model_ledger AS l WHERE l.version = r.mlflow_version
       ORDER BY l.sequence DESC LIMIT 1) = 'candidate'
ORDER BY r.started_at DESC, r.root_run_id
"""


def candidate_to_promote(cursor: Cursor, at: datetime, *, experiments: bool) -> str | None:
    """Root run of the newest candidate that passed and may go up now; evaluating it again takes it there.

    Again, because the champion may be another one than it was judged against. One query while nobody waits.
    """
    cursor.execute(_PASSED)
    found = cursor.fetchall()
    state = ledger.state(cursor) if found else LedgerState()
    up = transitions.next_stage(state, experiments)
    return next((root for root, v in found if not refusal(state, up, v, at, experiments=experiments)), None)


def publish(mlflow: MLflow, row: Retraining, result: dict[str, Any]) -> None:
    """Show the verdict on the candidate's MLflow run and version; safe to repeat."""
    assert row.mlflow_run_id is not None
    assert row.mlflow_version is not None
    client = mlflow.client()
    decision = result["decision"]
    client.log_dict(row.mlflow_run_id, result, "evaluation.json")
    registry.show(mlflow, row.mlflow_version, "comparison", result["baseline"], {"comparison.png": picture(result)})
    client.set_tag(row.mlflow_run_id, "gate", decision["outcome"])
    client.set_model_version_tag(registry.MODEL_NAME, row.mlflow_version, "gate", decision["outcome"])
    for k, value in (result["baseline_ndcg"] or {}).items():
        if value is not None:
            client.log_metric(row.mlflow_run_id, f"baseline_ndcg_{k}", value, step=0)


def picture(result: dict[str, Any]) -> bytes:
    """PNG: NDCG of both rankers, and the difference in each slice with its interval."""
    slices = {s["name"]: s["difference"] for s in result["decision"]["slices"] if s["difference"]}
    overall = result["decision"]["difference"]
    return plots.comparison(
        result["candidate_ndcg"],
        result["baseline_ndcg"] or {},
        {**({"all cases": overall} if overall else {}), **slices},
    )


def fairness_table(fairness: dict[str, Any] | None) -> str:
    """Markdown: how evenly both would have spread the last weeks' offers, at which lambda and cost."""
    if not fairness:
        return "too few cases for a replay"
    lines = [
        f"| {name} | {found['lambda']:g} | {found['gini']:.3f} | {found['kept']:.1%} |"
        for name, found in fairness.items()
    ]
    return "\n".join(["| replay | lambda | Gini of offers | relevance kept |", "|---|--:|--:|--:|", *lines])


def comparison_table(result: dict[str, Any]) -> str:
    """Markdown: NDCG of both rankers on the same held-out cases."""
    other = result["baseline_ndcg"] or {}
    lines = [f"| @{k} | {_number(value)} | {_number(other.get(k))} |" for k, value in result["candidate_ndcg"].items()]
    return "\n".join([f"| NDCG | candidate | {result['baseline']} |", "|---|---|---|", *lines])


def slice_table(slices: list[dict[str, Any]]) -> str:
    """Markdown: NDCG@10 by slice, with the difference's interval where there are cases enough to say."""
    lines = [
        f"| {s['name']} | {s['queries']} | {_number(s['candidate'])} | {_number(s['baseline'])} | "
        + (f"{s['difference']['low']:+.4f} – {s['difference']['high']:+.4f}" if s["difference"] else "too few cases")
        + f" | {'yes' if s['veto'] else ''} |"
        for s in slices
    ]
    header = ["| slice | cases | candidate | baseline | difference | veto |", "|---|---|---|---|---|---|"]
    return "\n".join([*header, *lines])


def _means(values: Any) -> dict[str, float | None]:
    scored = values[np.isfinite(values).all(axis=1)]
    return {str(k): float(scored[:, i].mean()) if len(scored) else None for i, k in enumerate(KS)}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
