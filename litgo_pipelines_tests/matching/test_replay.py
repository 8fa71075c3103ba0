"""The ledger and the replay against plain recomputation, and the fairness the project promises, on a small market."""

from dataclasses import replace
from datetime import UTC, datetime
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fair_allocation
from litgo_pipelines.matching.allocation import NEVER, OFFERS_PER_CASE, STEPS, Rule
from litgo_pipelines.matching.calibration import Window, fit_all
from litgo_pipelines.matching.replay import (
    WINDOW,
    Ledger,
    Policy,
    Pool,
    ReplayCases,
    ReplayLawyers,
    calibrate,
    price,
    replay,
)
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines.simulation.truth import World
from litgo_pipelines_tests.worlds.replay import DAY, END, marketplace

# what a whole simulated market is a function of
proof = pytest.mark.proof(
    "benchmarks/fair_allocation.py",
    "litgo_pipelines/equity",
    "litgo_pipelines/matching",
    "litgo_pipelines/models",
    "litgo_pipelines/simulation",
    "litgo_pipelines_tests/worlds/replay.py",
)


def share_of_demand(instants: np.ndarray, joined: float, end: float) -> float:
    """Of the cases of 30 days before an instant and ten more spread over them, how many came since somebody joined."""
    came = [at for at in instants.tolist() if end - WINDOW <= at < end]
    since = sum(at >= joined for at in came) + 10 * min((end - joined) / WINDOW, 1)
    return since / (len(came) + 10)


def by_loops(cases: ReplayCases, lawyers: ReplayLawyers, rule: Rule) -> list[list[int]]:
    """Everybody offered each case, by dictionaries and sorting, from the words of the method."""
    offers: list[tuple[float, int]] = []
    result = []
    for i, at in enumerate(cases.at.tolist()):
        here = range(int(cases.starts[i]), int(cases.starts[i + 1]))
        relevance = {int(cases.lawyer[row]): float(cases.relevance[row]) for row in here}
        recent = {w: sum(who == w and when > at - WINDOW for when, who in offers) for w in relevance}
        newest = {w: max((when for when, who in offers if who == w), default=NEVER) for w in relevance}
        work = {w: 0.9 * recent[w] / 5 + 0.1 * lawyers.cases_30d[w] for w in relevance}
        room = {w: lawyers.capacity[w] * max(share_of_demand(cases.at, lawyers.joined[w], at), 0.08) for w in relevance}
        mean = sum(work.values()) / sum(room.values())
        z = {w: work[w] / room[w] / mean if mean else 1.0 for w in relevance}
        best = sorted(relevance, key=lambda w: (-relevance[w], newest[w], recent[w], w))[:5]
        for step in STEPS:
            score = {
                w: floor(round((relevance[w] + rule.weight * step * (1 - min(z[w], 2))) / 0.01, 6) + 0.5)
                for w in relevance
            }
            top = best if step == 0 else sorted(relevance, key=lambda w: (-score[w], newest[w], recent[w], w))[:5]
            if sum(relevance[w] for w in top) >= rule.keep * sum(relevance[w] for w in best) - 1e-9:
                break
        result.append(sorted(top))
        offers += [(at, w) for w in top]
    return result


@pytest.mark.parametrize("seed", range(3))
def test_the_replay_is_what_plain_loops_find(seed: int) -> None:
    cases, lawyers = marketplace(seed, n=40, cases=400)
    run = replay(cases, lawyers, price(Rule(), burst_days=np.inf))
    assert [sorted(five.tolist()) for five in run.offered] == by_loops(cases, lawyers, Rule())


def test_the_figures_are_what_plain_loops_find() -> None:
    cases, lawyers = marketplace(5)
    run = replay(cases, lawyers, price(Rule()))
    figures = run.figures(END)
    window = [i for i, at in enumerate(cases.at.tolist()) if END - WINDOW < at <= END]
    pools = {i: cases.lawyer[cases.starts[i] : cases.starts[i + 1]].tolist() for i in window}
    relevance = {(i, w): cases.relevance[cases.starts[i] + place] for i in window for place, w in enumerate(pools[i])}
    share = [share_of_demand(cases.at, joined, END) for joined in lawyers.joined.tolist()]
    counted = sorted({w for pool in pools.values() for w in pool if share[w] > 0.15})
    offers = {w: sum(w in run.offered[i] for i in window) for w in counted}
    u = [offers[w] / (5 * lawyers.capacity[w] * share[w]) for w in counted]
    differences = sum(abs(a - b) for a in u for b in u)
    assert figures.gini == pytest.approx(differences / (2 * len(u) ** 2 * np.mean(u)))
    assert figures.coverage == sum(n > 0 for n in offers.values()) / len(counted)
    assert np.flatnonzero(np.isfinite(figures.utilisation)).tolist() == counted
    assert figures.utilisation[counted] == pytest.approx(u)
    chosen = [i for i in window if len(pools[i]) > 5]
    got = [sum(relevance[i, w] for w in run.offered[i]) for i in chosen]
    best = [sum(sorted(relevance[i, w] for w in pools[i])[-5:]) for i in chosen]
    assert (figures.cases, figures.chosen) == (len(window), len(chosen))
    assert figures.kept == pytest.approx(sum(got) / sum(best))
    assert figures.kept_p5 == pytest.approx(np.percentile(np.divide(got, best), 5))


def test_without_cases_there_are_no_figures() -> None:
    lawyers = ReplayLawyers(np.ones(3), np.zeros(3), np.zeros(3))
    none = np.empty(0)
    run = replay(ReplayCases(none, np.array([0]), none.astype(int), none), lawyers, price(Rule()))
    figures = run.figures(END)
    assert figures.cases == figures.chosen == 0
    assert np.isnan([figures.gini, figures.coverage, figures.kept, figures.kept_p5, run.coverage_bound(END)]).all()


def test_an_offer_counts_for_thirty_days_and_no_longer() -> None:
    ledger = Ledger.empty(3)
    ledger.reserve(np.array([0, 2]), 0.0)
    ledger.reserve(np.array([2]), DAY)
    ledger.advance(WINDOW - 1)
    assert ledger.offers_30d.tolist() == [1, 0, 2]
    ledger.advance(WINDOW)
    assert ledger.offers_30d.tolist() == [0, 0, 1]
    ledger.advance(WINDOW + DAY)
    assert ledger.offers_30d.tolist() == [0, 0, 0]
    assert ledger.last_offered.tolist() == [0, NEVER, DAY]
    with pytest.raises(ValueError, match="cannot go back"):
        ledger.reserve(np.array([1]), DAY)


def test_a_ledger_keeps_what_it_started_with_and_leaves_its_source_alone() -> None:
    offers, last = np.array([4, 0]), np.array([7.0, NEVER])
    ledger = Ledger(offers, last, window=10)
    ledger.reserve(np.array([0, 1]), 8.0)
    ledger.advance(1e9)
    assert ledger.offers_30d.tolist() == [4, 0]
    assert offers.tolist() == [4, 0]
    assert last.tolist() == [7, NEVER]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 90), st.sets(st.integers(0, 4), max_size=3)), max_size=60))
def test_the_ledger_is_a_count_over_the_window(reserved: list[tuple[float, set[int]]]) -> None:
    ledger = Ledger.empty(5)
    done: list[tuple[float, int]] = []
    for day, lawyers in sorted(reserved, key=lambda entry: entry[0]):
        at = day * DAY
        ledger.reserve(np.array(sorted(lawyers), dtype=int), at)
        done += [(at, lawyer) for lawyer in lawyers]
        expected = [sum(who == lawyer and when > at - WINDOW for when, who in done) for lawyer in range(5)]
        assert ledger.offers_30d.tolist() == expected


def test_the_same_cases_give_the_same_offers_whatever_the_order_of_a_pool() -> None:
    cases, lawyers = marketplace(6)
    rng = np.random.default_rng(0)
    shuffled = np.concatenate(
        [rng.permutation(np.arange(a, b)) for a, b in zip(cases.starts[:-1], cases.starts[1:], strict=True)]
    )
    other = replace(cases, lawyer=cases.lawyer[shuffled], relevance=cases.relevance[shuffled])
    first, again, moved = (replay(c, lawyers, price(Rule())) for c in (cases, cases, other))
    for run in (again, moved):
        assert [five.tolist() for five in run.offered] == [five.tolist() for five in first.offered]


def test_cases_out_of_order_and_broken_relevance_are_refused() -> None:
    cases, lawyers = marketplace(7, cases=20)
    with pytest.raises(ValueError, match="cannot go back"):
        replay(replace(cases, at=cases.at[::-1]), lawyers, price(Rule()))
    with pytest.raises(ValueError, match="relevance"):
        replay(replace(cases, relevance=cases.relevance * np.nan), lawyers, price(Rule()))


def test_a_policy_that_offers_to_more_than_the_replay_counts_is_refused() -> None:
    cases, lawyers = marketplace(12, cases=20)
    with pytest.raises(ValueError, match=r"offers a case to [2-5], the replay is for 1"):
        replay(cases, lawyers, price(Rule()), k=1)


def greedy_bound(pools: list[list[int]], counted: set[int]) -> float:
    """Augmenting paths, one lawyer at a time: a case holds at most five."""
    holds: list[list[int]] = [[] for _ in pools]

    def place(lawyer: int, seen: set[int]) -> bool:
        for i, pool in enumerate(pools):
            if lawyer in pool and i not in seen:
                seen.add(i)
                if len(holds[i]) < OFFERS_PER_CASE:
                    holds[i].append(lawyer)
                    return True
                for held in list(holds[i]):
                    if place(held, seen):
                        holds[i].remove(held)
                        holds[i].append(lawyer)
                        return True
        return False

    return sum(place(lawyer, set()) for lawyer in sorted(counted)) / len(counted)


@pytest.mark.parametrize("cases", [5, 12, 40])
def test_the_coverage_bound_is_a_maximum_matching(cases: int) -> None:
    found, lawyers = marketplace(8, n=60, cases=2 * cases, largest=9)
    run = replay(found, lawyers, price(Rule()))
    window = [pool.tolist() for pool, at in zip(run.eligible, found.at, strict=True) if at > END - WINDOW]
    counted = {w for pool in window for w in pool if share_of_demand(found.at, lawyers.joined[w], END) > 0.15}
    bound = run.coverage_bound(END)
    assert bound == pytest.approx(greedy_bound(window, counted))
    assert run.figures(END).coverage <= bound <= 1


@proof
@pytest.mark.slow
def test_a_greater_weight_is_fairer_and_calibration_finds_the_least_that_does() -> None:
    cases, lawyers = marketplace(9, n=50, cases=500)
    every = {
        number / 20: replay(cases, lawyers, price(Rule(weight=number / 20))).figures(END).gini for number in range(21)
    }
    assert every[1] < every[0.5] < every[0.2] < every[0]
    target = (every[0] + every[1]) / 2
    found = calibrate(cases, lawyers, END, target=target)
    assert found.weight is not None
    assert 0 < found.weight < 1
    assert every[found.weight] <= target < every[round(found.weight - 0.05, 2)]
    assert len(found.curve) <= 6
    weights = [weight for weight, _ in found.curve]
    assert weights == sorted(weights)
    assert all(figures.gini == every[weight] for weight, figures in found.curve)


def test_a_ranker_that_tells_lawyers_apart_better_gets_a_greater_weight_and_is_as_fair() -> None:
    cases, lawyers = marketplace(9, n=50, cases=500)
    sharp = replace(cases, relevance=1 / (1 + np.exp(-12 * (cases.relevance - 0.5))))
    flat = replace(cases, relevance=1 / (1 + np.exp(-2 * (cases.relevance - 0.5))))
    instant = datetime.fromtimestamp(END, UTC)
    window = Window(instant, [Ranker(version="1"), Ranker(version="2")], [flat, sharp], lawyers, 1.0)
    same = [window.replay(number, Rule(weight=0.2)).gini for number in (0, 1)]
    assert same[1] > same[0] + 0.02
    serves, tried = fit_all(window, [Rule(), Rule()])
    assert tried.weight > serves.weight
    assert tried.reached
    assert tried.figures.gini <= serves.figures.gini
    assert tried.evidence(window)["ranker"] == "2"


def test_calibration_says_when_nothing_or_everything_reaches_the_target() -> None:
    cases, lawyers = marketplace(10)
    nothing = calibrate(cases, lawyers, END, target=0.01)
    assert nothing.weight is None
    assert [weight for weight, _ in nothing.curve] == [1.0]
    assert calibrate(cases, lawyers, END, target=1.0).weight == 0.0
    keep_all = calibrate(cases, lawyers, END, Rule(keep=1.0))
    assert keep_all.weight is None  # the rest of the rule stays as it is: nothing may be given away


@proof
@pytest.mark.slow
def test_it_meets_its_promises_on_one_market() -> None:
    stop = fair_allocation.END.timestamp()
    figures = {
        name: fair_allocation.country(11, 1000, 0.2, fair_allocation.METHODS[name]()).figures(stop)
        for name in (fair_allocation.OURS, "rule so far", "relevance only")
    }
    ours, relevance_only = figures[fair_allocation.OURS], figures["relevance only"]
    assert ours.gini <= 0.28
    assert ours.coverage >= 0.99
    assert ours.kept >= 0.84
    assert relevance_only.kept == pytest.approx(1)
    assert ours.gini < 0.6 * min(figures["rule so far"].gini, relevance_only.gini)
    harder = fair_allocation.country(11, 1000, 0.2, price(Rule()), fair_allocation.FLOOR).figures(stop)
    assert harder.gini <= 0.28
    assert harder.kept >= 0.84


@proof
@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "limit"), fair_allocation.SPREAD_LIMITS.items())
def test_lawyers_of_one_pool_are_treated_alike(ratio: float, limit: float) -> None:
    assert (fair_allocation.spreads(ratio, price(Rule()), range(3)).mean(axis=0) <= limit).all()


def test_the_benchmark_sees_every_eligible_lawyer_once() -> None:
    seen: list[Pool] = []
    five = price(Rule())

    def watching(pool: Pool) -> np.ndarray:
        seen.append(pool)
        return five(pool)

    policy: Policy = watching
    world = World(3, 40, 1, 20, datetime(2026, 6, 30, 5, tzinfo=UTC), fair_allocation.POOL)
    run = fair_allocation.simulated(world, 0.5, policy)
    assert max(len(pool.lawyer) for pool in seen) > 30
    assert all(len(np.unique(pool.lawyer)) == len(pool.lawyer) for pool in seen)
    assert all((pool.active_share > 0).all() for pool in seen)
    assert [len(five) for five in run.offered] == [min(5, len(pool.lawyer)) for pool in seen]
    # what the market learnt of answers and contracts came back as load
    assert seen[0].cases_30d.sum() == 0
    assert seen[-1].cases_30d.sum() > 0
