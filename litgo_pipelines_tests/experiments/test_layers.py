"""Experiments in two layers at once: independent splits, one running per layer, each with its own decision."""

from collections import Counter
from datetime import timedelta

import pytest

from litgo_pipelines.experiments import cutoffs, listing, offer_life, store
from litgo_pipelines.experiments.assignment import BUCKETS, assign, bucket
from litgo_pipelines.experiments.layers import LAYERS, OFFERS, RANKING
from litgo_pipelines.experiments.store import ExperimentPlan
from litgo_pipelines.lifecycle import ledger
from litgo_pipelines_tests.worlds.experiments import MINUTES, PLAN, Lab
from litgo_pipelines_tests.worlds.lifecycle import Life

DAY = timedelta(days=1)
HELD = ExperimentPlan(treatment_points=5000, holdout_points=1000)


def both(life: Life) -> tuple[store.RunningExperiment, store.RunningExperiment]:
    """An experiment in each layer."""
    life.champion("1")
    life.challenger("2")
    ranking = life.do(store.start, "2", HELD, life.by("it passed"))
    return ranking, life.do(offer_life.start, 12.0, 24.0, HELD, life.by("too slow?", by_hand=True))


def test_an_arm_says_nothing_about_the_arm_in_the_other_layer_and_the_holdout_is_in_none(life: Life) -> None:
    ranking, offers = both(life)
    clients = [f"00000000-0000-4000-8000-{n:012d}" for n in range(60_000)]
    met = Counter((assign(ranking.assignment, client), assign(offers.assignment, client)) for client in clients)
    held = met.pop((None, None))
    assert not [pair for pair in met if None in pair]  # outside one is outside all
    assert held == sum(bucket(store.HOLDOUT_SALT, client) < HELD.holdout_points for client in clients)
    total = sum(met.values())
    rows: Counter[str | None] = Counter()
    columns: Counter[str | None] = Counter()
    for (one, other), count in met.items():
        rows[one] += count
        columns[other] += count
    expected = {(one, other): rows[one] * columns[other] / total for one in rows for other in columns}
    assert sum((met[pair] - n) ** 2 / n for pair, n in expected.items()) < 10.83  # one degree of freedom, p .001
    cells = Counter(bucket(offers.assignment.salt, c) * 20 // BUCKETS for c in clients)
    assert sum((n - 3000) ** 2 / 3000 for n in cells.values()) < 43.8  # 19 degrees, p .001


def test_one_runs_per_layer_and_stopping_one_leaves_the_other(life: Life) -> None:
    ranking, offers = both(life)
    assert (ranking.layer, offers.layer, offers.experiment) == (RANKING, OFFERS, "offers-12h")
    assert (offers.treatment, offers.control, offers.tries) == (None, None, "offers of 12 h")
    with pytest.raises(ledger.Refused, match="offers-12h runs"):
        life.do(offer_life.start, 6.0, 24.0, HELD, life.by())
    assert life.do(store.ramp, 6000, life.by(), OFFERS).phase == 2
    assert life.do(store.running_experiment, RANKING) == ranking
    life.do(store.stop, life.by("enough", by_hand=True), OFFERS)
    assert life.do(store.running_experiment, OFFERS) is None
    assert life.do(store.running_experiment) == ranking
    assert life.state().challenger == "2"
    again = life.do(offer_life.start, 12.0, 24.0, HELD, life.by())
    assert (again.experiment, again.assignment.salt) == ("offers-12h-2", "offers-12h-2:1")
    life.do(store.stop, life.by("worse", by_hand=True))
    assert life.do(store.running_experiment, OFFERS) == again
    listed = life.do(listing.experiments)
    assert {(one.experiment, one.layer, one.treatment, one.control) for one in listed} == {
        ("ranker-v2", RANKING, "2", "1"),
        ("offers-12h", OFFERS, "12 h", "24 h"),
        ("offers-12h-2", OFFERS, "12 h", "24 h"),
    }
    assert "offers-12h-2: 12 h against 24 h" in listing.text(listed[0]) + listing.text(listed[1])
    assert [runs for _, _, runs in listing.layers(listed)].count("nothing") == 1


@pytest.mark.parametrize("hours", [24.0, 0.0, -3.0, 1000.0, float("nan"), float("inf")])
def test_hours_that_cannot_be_tried_are_refused(life: Life, hours: float) -> None:
    with pytest.raises(ledger.Refused, match="cannot be tried"):
        life.do(offer_life.start, hours, 24.0, HELD, life.by())
    with pytest.raises(ledger.Refused, match="no layer prices"):
        life.do(store.stop, life.by(), "prices")


def test_each_layer_closes_its_cutoffs_and_a_promotion_of_hours_leaves_the_ledger_alone(life: Life) -> None:
    lab = Lab(life)
    life.do(offer_life.start, 12.0, 24.0, PLAN, life.by("too slow?", by_hand=True))
    lab.expose(1600, {"treatment": 0.5, "control": 0.3}, layer=OFFERS)
    at = lab.start + 20 * DAY
    assert life.do(cutoffs.cutoff_due, at, MINUTES)
    closed = {layer: life.do(cutoffs.close_cutoff, at, MINUTES, "run", layer) for layer in LAYERS}
    ranking, offers = closed[RANKING], closed[OFFERS]
    assert ranking is not None
    assert offers is not None
    assert (ranking.experiment, ranking.ended, ranking.cutoff.phases[0].treatment.exposed) == ("ranker-v2", None, 0)
    assert (offers.experiment, offers.ended) == ("offers-12h", "promote")
    assert offers.cutoff.gini_analyses == ()  # the layer decides no lawyer
    state = life.state()
    assert (state.champion, state.challenger) == ("1", "2")
    ((severity, text),) = life.rows("SELECT severity, text FROM litgo.alerts WHERE kind = 'experiment_ended'")
    assert (severity, "set OFFER_HOURS for offers of 12 h" in text) == ("warning", True)
    newest = life.do(cutoffs.newest_cutoff, OFFERS)
    assert (newest.tries, newest.control) == ("offers of 12 h", "offers of 24 h")
    assert life.do(cutoffs.newest_cutoff).experiment == "ranker-v2"
