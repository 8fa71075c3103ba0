"""Starting, ramping and stopping experiments, with what is refused; and the same as Dagster runs."""

import json
import uuid
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg2
import pytest

from litgo_pipelines.automation import asset_job
from litgo_pipelines.database import Cursor, sql
from litgo_pipelines.experiments import cutoffs, listing, store
from litgo_pipelines.experiments.assets import assets, jobs
from litgo_pipelines.experiments.decision import Guardrail
from litgo_pipelines.experiments.store import ExperimentPlan
from litgo_pipelines.jobs import JOBS
from litgo_pipelines.lifecycle import ledger, transitions
from litgo_pipelines.models import registry
from litgo_pipelines.resources.mlflow import MLflow
from litgo_pipelines.resources.postgres import Postgres
from litgo_pipelines_tests.worlds.experiments import Lab
from litgo_pipelines_tests.worlds.lifecycle import Life

DAY = timedelta(days=1)


def test_one_experiment_a_version_and_one_at_a_time(life: Life) -> None:
    with pytest.raises(ledger.Refused, match="there is none"):
        life.do(store.start, "2", ExperimentPlan(), life.by())
    life.champion("1")
    life.challenger("2")
    with pytest.raises(ledger.Refused, match="version 2 is"):
        life.do(store.start, "1", ExperimentPlan(), life.by())
    started = life.do(store.start, "2", ExperimentPlan(holdout_points=300), life.by("it passed"))
    assert (started.experiment, started.phase, started.control, started.treatment) == ("ranker-v2", 1, "1", "2")
    assert (started.treatment_points, started.assignment.holdout_points) == (1000, 300)
    assert life.do(store.running_experiment) == started == life.do(store.load_experiment, "ranker-v2", 1)
    with pytest.raises(ledger.Refused, match="ranker-v2 runs"):
        life.do(store.start, "2", ExperimentPlan(), life.by())
    for points, reason in ((1000, "already"), (0, "more than 0"), (10_000, "less than 100")):
        with pytest.raises(ledger.Refused, match=reason):
            life.do(store.ramp, points, life.by())
    assert life.do(store.ramp, 3000, life.by("looks well", by_hand=True)).phase == 2
    assert life.do(store.load_experiment, "ranker-v2", 1) == started  # what a batch began with
    life.do(store.stop, life.by("enough", by_hand=True))
    assert life.do(store.running_experiment) is None
    assert life.state().stages["2"] == "archived"
    for do in (lambda c: store.ramp(c, 2000, life.by()), lambda c: store.stop(c, life.by())):
        with pytest.raises(ledger.Refused, match="no experiment runs"):
            life.do(do)
    assert life.rows("SELECT actor, outcome, cutoff, reason FROM litgo.experiment_ends") == [
        ("ana", "stopped", None, "enough")
    ]
    life.challenger("3")
    assert life.do(store.start, "3", ExperimentPlan(), life.by()).experiment == "ranker-v3"


def test_a_promotion_by_hand_in_the_middle_archives_nobody(life: Life) -> None:
    life.champion("1")
    life.challenger("2")
    life.do(store.start, "2", ExperimentPlan(), life.by())
    life.do(transitions.promote, "2", "2 by hand", {}, life.by("sure", by_hand=True))
    life.do(store.stop, life.by("promoted", by_hand=True))
    assert life.state().champion == "2"


def test_rows_are_for_good(life: Life) -> None:
    life.champion("1")
    life.challenger("2")
    life.do(store.start, "2", ExperimentPlan(), life.by())
    for statement in (
        "UPDATE litgo.experiments SET spec = '{}'",
        "DELETE FROM litgo.experiment_phases",
        "TRUNCATE litgo.experiment_arms CASCADE",
        "UPDATE litgo.experiment_outcomes SET value = 1",
        "UPDATE litgo.experiment_cutoffs SET held = 'x'",
        "DELETE FROM litgo.experiment_ends",
    ):
        with pytest.raises(psycopg2.errors.RaiseException, match="append-only"):
            life.do(lambda c, text=statement: c.execute(text))
    life.do(lambda c: c.execute("ALTER TABLE litgo.experiments DISABLE TRIGGER ALL"))
    life.do(lambda c: c.execute("UPDATE litgo.experiments SET spec = jsonb_set(spec, '{window_days}', '3')"))
    with pytest.raises(store.SpecChanged):
        life.do(store.running_experiment)


def clients_of_the_last_weeks(life: Life, clients: int) -> None:
    """So many clients whose outcome is final, every other one accepted at once."""

    def fill(cursor: Cursor) -> None:
        cursor.execute("INSERT INTO lawyers (id, name) VALUES (gen_random_uuid(), 'L')")
        cursor.execute(
            "WITH people AS (INSERT INTO profiles (id) SELECT gen_random_uuid() FROM generate_series(1, %s) "
            "RETURNING id), asked AS (INSERT INTO cases (id, client_id) SELECT gen_random_uuid(), id FROM people "
            "RETURNING id) INSERT INTO offers (case_id, lawyer_id, sent_at, status, responded_at) "
            "SELECT a.id, l.id, %s, CASE WHEN row_number() OVER () %% 2 = 0 THEN 'interested' ELSE 'declined' END, %s "
            "FROM asked a, lawyers l",
            (clients, life.at - 30 * DAY, life.at - 29 * DAY),
        )

    life.do(fill)


def test_an_experiment_that_would_show_nothing_is_refused_unless_forced(life: Life) -> None:
    life.champion("1")
    life.challenger("2")
    clients_of_the_last_weeks(life, 60)
    plan = ExperimentPlan(min_power=0.2)
    assert life.do(cutoffs.cutoff_due, life.at, 15)
    with pytest.raises(store.Underpowered, match=r"76 clients.*at a lift of \+20%.*--force"):
        life.do(store.start, "2", plan, life.by())
    assert life.do(store.start_for_challenger, plan, life.at, "run") is None
    assert life.do(store.start_for_challenger, plan, life.at, "run") is None  # told once
    told = life.rows("SELECT severity, text FROM litgo.alerts WHERE kind = 'experiment_refused'")
    ((severity, text),) = told
    assert severity == "warning"
    assert "asked again in 7 days" in text
    assert not life.do(cutoffs.cutoff_due, life.at, 15)
    assert life.do(cutoffs.cutoff_due, life.at + 8 * DAY, 15)
    started = life.do(store.start, "2", plan, life.by("we want to know", by_hand=True), force=True)
    assert started.spec["outlook"]["clients"] == 76


def test_traffic_enough_starts_the_experiment(life: Life) -> None:
    life.champion("1")
    life.challenger("2")
    clients_of_the_last_weeks(life, 6000)
    started = life.do(store.start_for_challenger, ExperimentPlan(min_power=0.2), life.at, "run")
    assert started.rules.non_inferiority_margin is None
    assert started.spec["outlook"]["power"]["0.2"] > 0.2


def test_a_challenger_that_is_as_good_and_fresher_has_to_show_that_nothing_is_lost(life: Life) -> None:
    life.champion("1")
    life.candidate("2")
    evidence = {"decision": {"outcome": "passed", "way": "fresher"}}
    life.do(transitions.challenge, "2", evidence, life.by("as good and fresher"))
    started = life.do(store.start, "2", ExperimentPlan(non_inferiority_margin=0.08), life.by())
    assert started.rules.non_inferiority_margin == 0.08
    assert started.spec["outlook"]["claim"] == "converts less by no more than 8%"
    assert life.do(store.running_experiment) == started


def test_plans_that_cannot_be_are_refused() -> None:
    for unusable in ({"treatment_points": 0}, {"ramp_points": 10_000}, {"guardrails": (Guardrail("happiness", 1),)}):
        with pytest.raises(ValueError, match=r"treated|guardrails"):
            ExperimentPlan(**unusable)


def test_the_rate_expected_is_that_of_clients_whose_days_were_over(life: Life) -> None:
    """Client 1's first request was accepted, 2's was not, 3's too late; 4's days are not over, 5's are long past."""
    life.champion("1")
    life.challenger("2")
    at = life.at
    people = [uuid.uuid4() for _ in range(5)]
    requests = [  # client, days ago, answered after days, status
        (0, 30, 2, "closed"),
        (0, 20, None, "expired"),
        (1, 40, 1, "declined"),
        (1, 18, 1, "interested"),
        (2, 50, 15, "interested"),
        (3, 13, 1, "interested"),
        (4, 61, 1, "interested"),
    ]

    def fill(cursor: Cursor) -> None:
        lawyer = str(uuid.uuid4())
        cursor.execute("INSERT INTO lawyers (id, name) VALUES (%s, 'L')", (lawyer,))
        cursor.execute("INSERT INTO profiles (id) SELECT unnest(%s::uuid[])", ([str(person) for person in people],))
        for client, days, after, status in requests:
            case, sent = str(uuid.uuid4()), at - days * DAY
            cursor.execute("INSERT INTO cases (id, client_id) VALUES (%s, %s)", (case, str(people[client])))
            cursor.execute(
                "INSERT INTO offers (case_id, lawyer_id, sent_at, status, responded_at) VALUES (%s, %s, %s, %s, %s)",
                (case, lawyer, sent, status, None if after is None else sent + after * DAY),
            )

    assert life.do(store.baseline, at) == (0.3, 0)
    life.do(fill)
    rate, clients = life.do(store.baseline, at)
    assert (rate, clients) == (pytest.approx(1 / 3), 3)
    # nearly everybody accepted: small effects are looked for, fixed for half the clients in treatment
    life.do(lambda c: c.execute("UPDATE offers SET status = 'interested', responded_at = sent_at + interval '1 day'"))
    started = life.do(store.start, "2", ExperimentPlan(), life.by())
    assert started.spec["baseline"] == {"rate": 1.0, "clients": 3}
    assert (started.rules.baseline_rate, started.rules.sd) == (0.98, pytest.approx(0.0095))
    with pytest.raises(ledger.Refused, match="treat fewer"):
        life.do(store.ramp, 9000, life.by())


@pytest.mark.slow
def test_the_assets_the_jobs_and_the_figures_to_scrape(
    life: Life, mlflow: MLflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = dg.define_asset_job("drawn", selection=["experiment_report"])
    every_job = [*jobs, asset_job(JOBS["experiments"]), drawn]
    defs = dg.Definitions(
        assets=assets, jobs=every_job, resources={"postgres": Postgres(url=life.url), "mlflow": mlflow}
    )

    def run(job: str, op: str, **config: Any) -> dg.ExecuteInProcessResult:
        return defs.resolve_job_def(job).execute_in_process(
            run_config={"ops": {op: {"config": config}}} if config else {}, raise_on_error=False
        )

    def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
        assert result.success
        (event,) = result.asset_materializations_for_node(asset)
        return {name: value.value for name, value in event.metadata.items()}

    who = {"who": "ana", "reason": "to see"}
    assert not run("stop_experiment", "end_experiment", **who).success
    assert metadata(run("drawn", "experiment_report"), "experiment_report")["experiment"][:2] == "no"
    life.champion("1")
    life.challenger("2")
    monkeypatch.setenv("AB_TESTING_ENABLED", "false")
    at = life.at + timedelta(hours=1)
    found = metadata(run("experiments", "experiment_cutoffs", as_of=at.isoformat()), "experiment_cutoffs")
    assert "started" not in found
    monkeypatch.delenv("AB_TESTING_ENABLED")
    found = metadata(run("experiments", "experiment_cutoffs", as_of=at.isoformat()), "experiment_cutoffs")
    assert found["started"] == "ranker-v2: 10 % of the clients"
    assert found["closed"].startswith("nothing")
    assert run("ramp_experiment", "change_share", percentage=50.0, **who).success
    assert life.do(store.running_experiment).treatment_points == 5000
    lab = Lab.__new__(Lab)
    lab.life, lab.start = life, at
    life.do(
        lambda c: c.execute(
            "INSERT INTO lawyers (id, name, cases_30d, capacidade_mensal, created_at) "
            "SELECT md5('lawyer ' || n)::uuid, 'L', 4, 10, '2026-01-01' FROM generate_series(0, 19) n; "
            "INSERT INTO litgo.equity_history (night, lawyer_id, as_of, cases_30d, capacidade_mensal, offers_30d, "
            "load) SELECT '2026-01-01', id, '2026-01-02', cases_30d, capacidade_mensal, 0, 0.4 FROM lawyers"
        )
    )
    lab.expose(1200, {"treatment": 0.5, "control": 0.3})
    as_of = (at + 20 * DAY).isoformat()
    found = metadata(run("experiments", "experiment_cutoffs", as_of=as_of), "experiment_cutoffs")
    assert found["outcome"] == "promote"
    report = metadata(run("drawn", "experiment_report"), "experiment_report")
    assert report["experiment"] == "ranker-v2: version 2 against version 1"
    assert report["decision"].startswith("**")
    assert "data:image/png" in report["evidence"]
    assert "| 2 | 50% | treatment |" in report["arms"]
    assert "| hours_to_accept |" in report["guardrails"]
    assert report["Gini of offers"].count("| 1,000 |") == 1
    assert report["utilisation of lawyers"] == "40%"
    assert "everybody treated, SNIPS" in report["off-policy: everybody treated"]
    assert report["off-policy SNIPS, low"] < 0.5 < report["off-policy SNIPS, high"]
    client = mlflow.client()
    run_id = str(client.get_model_version(registry.MODEL_NAME, "2").run_id)
    assert report["in MLflow"] == f"run {run_id}, experiments/ranker-v2"
    assert {file.path.rsplit("/", 1)[1] for file in client.list_artifacts(run_id, "experiments/ranker-v2")} == {
        "report.md",
        "evidence.png",
    }
    read = {row[:3]: row[3] for row in life.rows(sql("litgo_pipelines.experiments", "ab_test_metrics.sql"))}
    treated = read["ranker-v2", "treatment", "exposed"]
    assert treated + read["ranker-v2", "control", "exposed"] == found["clients with a final outcome"]
    assert read["ranker-v2", "treatment", "conversion_rate"] == pytest.approx(0.5, abs=0.05)
    assert read["ranker-v2", "comparison", "log_e_better"] > 3
    assert read["ranker-v2", "treatment", "rating"] == pytest.approx(4.5, abs=0.1)


def test_experiments_are_listed_with_what_was_expected_and_how_they_ended(life: Life) -> None:
    assert life.do(listing.experiments) == []
    life.champion("1")
    life.challenger("2")
    life.do(store.start, "2", ExperimentPlan(), life.by("it passed"))
    life.do(store.ramp, 5000, life.by("looks well"))
    life.do(store.stop, life.by("enough", by_hand=True))
    life.challenger("3")
    life.do(store.start, "3", ExperimentPlan(), life.by("it passed too"))
    newest, oldest = life.do(listing.experiments)
    assert (newest.experiment, newest.outcome, newest.reason) == ("ranker-v3", "runs", "it passed too")
    assert (oldest.outcome, oldest.reason, oldest.treated, oldest.phases) == ("stopped", "enough", 0.5, 2)
    assert life.do(listing.experiments, "ranker-v2") == [oldest]
    assert life.do(listing.experiments, "none") == []
    assert json.loads(json.dumps(oldest.as_dict()))["ended_at"] == oldest.ended_at.isoformat()
    assert "20,000 clients" in listing.text(newest)
    assert listing.table([newest, oldest]).count("\n") == 3
