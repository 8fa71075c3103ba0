"""The eight properties of the allocation, a plain-Python oracle of it, and what is told about a decision."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from litgo_pipelines.matching.allocation import (
    NEVER,
    OFFERS_PER_CASE,
    STEPS,
    Choice,
    Rule,
    choose,
    equity_term,
    explore,
    load_for_offer,
    next_best,
    relative_load,
)

pytestmark = pytest.mark.proof

NOISE = 1e-9  # sums of relevance this close are the same
BIT = 1e-5  # a difference of load that a grid of at most .05 and a λ of at least .03 cannot hide


@dataclass(frozen=True)
class Pool:
    """One case's lawyers as the allocation sees them."""

    relevance: np.ndarray
    z: np.ndarray
    last_offered: np.ndarray
    tie: np.ndarray

    def choose(self, rule: Rule, k: int = OFFERS_PER_CASE) -> Choice:
        return choose(self.relevance, self.z, self.last_offered, self.tie, rule, k)

    def load_for_offer(self, i: int, choice: Choice, rule: Rule) -> float | None:
        return load_for_offer(i, choice, self.relevance, self.z, self.last_offered, self.tie, rule)

    def with_load(self, i: int, load: float) -> "Pool":
        z = self.z.copy()
        z[i] = load
        return replace(self, z=z)

    def reordered(self, order: Any) -> "Pool":
        return Pool(self.relevance[order], self.z[order], self.last_offered[order], self.tie[order])

    def offered(self, rule: Rule, k: int = OFFERS_PER_CASE) -> list[int]:
        """The chosen by their tie numbers, which do not depend on the order of the arrays."""
        return self.tie[self.choose(rule, k).chosen].tolist()

    def __len__(self) -> int:
        return len(self.z)


def thousandths(high: int) -> st.SearchStrategy[float]:
    return st.integers(0, high).map(lambda x: x / 1000)


# Few different values, so that ties are common; three decimals; any number.
relevances = st.sampled_from([0.0, 0.4, 0.405, 0.5, 1.0]) | thousandths(1000) | st.floats(0, 1)
loads = st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.5]) | thousandths(3000) | st.floats(0, 50)
last_offers = st.just(NEVER) | st.integers(0, 3).map(float)
sizes = st.sampled_from([0, 1, 4, 5, 6]) | st.integers(7, 14)
rules = st.builds(
    Rule,
    weight=st.sampled_from([0.0, 0.3, 0.6, 1.0]) | thousandths(2000),
    keep=st.sampled_from([0.0, 0.7, 0.9, 1.0]),
    cases_weight=st.sampled_from([0.0, 0.1, 1.0]),
    grid=st.sampled_from([0.001, 0.01, 0.05]),
    cap=st.sampled_from([1.0, 1.5, 2.0]),
)


@st.composite
def pools(
    draw: st.DrawFn, size: Any = sizes, relevance: st.SearchStrategy = relevances, load: st.SearchStrategy = loads
) -> Pool:
    n = draw(size)

    def column(elements: st.SearchStrategy) -> np.ndarray:
        if draw(st.booleans()):
            return np.full(n, draw(elements), dtype=float)  # all alike
        return np.array(draw(st.lists(elements, min_size=n, max_size=n)), dtype=float)

    return Pool(
        column(relevance), column(load), column(last_offers), np.array(draw(st.permutations(range(n))), dtype=int)
    )


@st.composite
def work(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(offers, cases, capacity, active share): nobody has any, some have a lot, some came a moment ago."""
    n = draw(sizes)

    def column(elements: st.SearchStrategy) -> np.ndarray:
        return np.array(draw(st.lists(elements, min_size=n, max_size=n)), dtype=float)

    return (
        column(st.just(0) | st.integers(0, 60)),
        column(st.just(0) | st.integers(0, 20)),
        column(st.integers(5, 30)),
        column(st.sampled_from([1e-6, 0.01, 0.08, 0.15, 1.0])),
    )


# 1


@given(pools(), rules)
def test_1_five_different_lawyers_or_all(pool: Pool, rule: Rule) -> None:
    choice = pool.choose(rule)
    for rows in (choice.chosen, choice.best, *(rung.top for rung in choice.rungs)):
        assert len(rows) == len(set(rows.tolist())) == min(OFFERS_PER_CASE, len(pool))
        assert all(0 <= row < len(pool) for row in rows)


@given(pools(), rules)
def test_1_the_equity_term_is_at_most_lambda(pool: Pool, rule: Rule) -> None:
    assert (np.abs(rule.weight * equity_term(pool.z, rule)) <= rule.weight).all()


def test_1_no_rule_lets_the_equity_term_exceed_lambda() -> None:
    with pytest.raises(ValueError, match="cap"):
        Rule(cap=3)


@given(pools(), rules)
def test_1_the_chosen_are_shown_by_relevance(pool: Pool, rule: Rule) -> None:
    shown = pool.choose(rule).chosen.tolist()
    assert shown == sorted(shown, key=lambda i: (-pool.relevance[i], pool.last_offered[i], pool.tie[i]))


# 2


@given(st.data())
def test_2_the_order_of_the_input_does_not_matter(data: st.DataObject) -> None:
    pool, rule = data.draw(pools()), data.draw(rules)
    order = data.draw(st.permutations(range(len(pool))))
    other = pool.reordered(np.array(order, dtype=int))
    assert pool.offered(rule) == other.offered(rule)
    assert pool.choose(rule).weight == other.choose(rule).weight


@given(st.data())
def test_2_nor_does_it_matter_to_the_load(data: st.DataObject) -> None:
    (offers, cases, capacity, active), rule = data.draw(work()), data.draw(rules)
    order = np.array(data.draw(st.permutations(range(len(offers)))), dtype=int)
    z, mean = relative_load(offers, cases, capacity, active, rule)
    shuffled, same = relative_load(offers[order], cases[order], capacity[order], active[order], rule)
    assert shuffled == pytest.approx(z[order], rel=1e-12)
    assert same == pytest.approx(mean, rel=1e-12)


@given(pools(), rules)
def test_2_the_same_question_gets_the_same_answer_and_is_not_changed(pool: Pool, rule: Rule) -> None:
    before = replace(pool, z=pool.z.copy(), relevance=pool.relevance.copy(), last_offered=pool.last_offered.copy())
    first, second = pool.choose(rule), pool.choose(rule)
    assert first.chosen.tolist() == second.chosen.tolist()
    assert [rung.weight for rung in first.rungs] == [rung.weight for rung in second.rungs]
    assert (pool.z == before.z).all()
    assert (pool.relevance == before.relevance).all()
    assert (pool.last_offered == before.last_offered).all()


# 3


@given(pools(size=st.integers(2, 12)), rules, st.floats(0, 5), st.floats(0.5, 100))
def test_3_less_loaded_and_longer_waiting_is_never_below(pool: Pool, rule: Rule, less: float, longer: float) -> None:
    """Lawyer 0 as lawyer 1, but less loaded and waiting longer: at no λ does 1 come first."""
    pool.relevance[0] = pool.relevance[1]
    pool.z[0] = max(0, pool.z[1] - less)
    pool.last_offered[0] = pool.last_offered[1] - longer
    assume(pool.last_offered[0] < pool.last_offered[1])
    choice = pool.choose(rule)
    for rows in (choice.chosen.tolist(), choice.best.tolist(), *(rung.top.tolist() for rung in choice.rungs)):
        if 1 in rows:
            assert 0 in rows
            assert rows.index(0) < rows.index(1)


# 4


@given(st.data())
def test_4_less_load_never_loses_the_offer(data: st.DataObject) -> None:
    pool, rule = data.draw(pools()), data.draw(rules)
    for i in pool.choose(rule).chosen.tolist():
        lower = pool.z[i] * data.draw(st.floats(0, 1))
        assert i in pool.with_load(i, lower).choose(rule).chosen


# 5 and 8: the ledger


class Ledger:
    """Offers in memory, as matching keeps them: cases in turn, a case once, each seeing the offers before it."""

    def __init__(self, relevance: dict[int, np.ndarray], capacity: np.ndarray, offers: Any = 0, cases: Any = 0):
        self.relevance, self.capacity = relevance, capacity
        self.cases = np.zeros(len(capacity)) + cases
        self.count = np.zeros(len(capacity)) + offers
        self.last_offered = np.full(len(capacity), NEVER)
        self.offered: dict[int, list[int]] = {}

    def match(self, batch: Iterable[tuple[int, int]], rule: Rule, k: int = OFFERS_PER_CASE) -> None:
        """batch: (created_at, case id) in any order."""
        for created, case in sorted(batch):
            if case in self.offered:
                continue
            everybody = np.ones(len(self.capacity))
            z, _ = relative_load(self.count, self.cases, self.capacity, everybody, rule)
            # Two who were offered the same case wait equally long: fewer offers first, or the id would win every time.
            tie = (self.count * len(self.count) + np.arange(len(self.count))).astype(int)
            chosen = choose(self.relevance[case], z, self.last_offered, tie, rule, k).chosen
            self.offered[case] = chosen.tolist()
            self.count[chosen] += 1
            self.last_offered[chosen] = created


@st.composite
def markets(draw: st.DrawFn, least: int = 1) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """(case → relevance of each lawyer, capacities)."""
    n, cases = draw(st.integers(least, 9)), draw(st.integers(1, 12))
    row = st.lists(relevances, min_size=n, max_size=n).map(np.array)
    capacity = draw(st.lists(st.sampled_from([5.0, 10.0, 30.0]), min_size=n, max_size=n))
    return {case: draw(row) for case in range(cases)}, np.array(capacity)


@given(st.data())
def test_5_identical_lawyers_differ_by_one_offer_at_most(data: st.DataObject) -> None:
    relevance, capacity = data.draw(markets(least=2))
    twins = data.draw(st.integers(2, len(capacity)))
    for of_case in relevance.values():
        of_case[:twins] = of_case[0]
    capacity[:twins] = capacity[0]
    ledger, rule, k = Ledger(relevance, capacity), data.draw(rules), data.draw(st.integers(1, 5))
    for case in relevance:
        ledger.match([(case, case)], rule, k)
        assert np.ptp(ledger.count[:twins]) <= 1


@given(st.data())
def test_8_replaying_or_shuffling_a_batch_changes_nothing(data: st.DataObject) -> None:
    relevance, capacity = data.draw(markets())
    rule = data.draw(rules)
    batch = [(data.draw(st.integers(0, 3)), case) for case in relevance]  # created together: the id decides
    ledger, shuffled, killed = (Ledger(relevance, capacity) for _ in range(3))
    ledger.match(batch, rule)
    shuffled.match(data.draw(st.permutations(batch)), rule)
    killed.match(sorted(batch)[: data.draw(st.integers(0, len(batch)))], rule)
    for replayed in (ledger, killed):
        replayed.match(batch, rule)
    for other in (shuffled, killed):
        assert other.offered == ledger.offered
        assert (other.count == ledger.count).all()
        assert (other.last_offered == ledger.last_offered).all()
    assert all(len(set(lawyers)) == len(lawyers) for lawyers in ledger.offered.values())
    assert ledger.count.sum() == len(relevance) * min(5, len(capacity))


def test_the_less_loaded_of_two_alike_gets_more_offers() -> None:
    """The spec's own: 2 of 10 against 8 of 10, ten cases for which only one lawyer can be offered."""
    ledger = Ledger({case: np.full(2, 0.8) for case in range(10)}, np.full(2, 10.0), cases=np.array([2.0, 8.0]))
    ledger.match([(case, case) for case in range(10)], Rule(), k=1)
    offers = Counter(lawyer for lawyers in ledger.offered.values() for lawyer in lawyers)
    assert offers[0] > offers[1]


@pytest.mark.parametrize("lawyers", [2, 3])
def test_ties_go_round_robin(lawyers: int) -> None:
    ledger = Ledger({case: np.full(lawyers, 0.8) for case in range(12)}, np.full(lawyers, 10.0))
    ledger.match([(case, case) for case in range(12)], Rule(), k=1)
    assert [ledger.offered[case] for case in range(12)] == [[case % lawyers] for case in range(12)]


# 6


@given(pools(), rules)
def test_6_the_offered_keep_the_guaranteed_relevance(pool: Pool, rule: Rule) -> None:
    choice = pool.choose(rule)
    best = np.sort(pool.relevance)[::-1][:OFFERS_PER_CASE].sum()
    assert pool.relevance[choice.chosen].sum() >= rule.keep * best - 2 * NOISE


@given(pools(), rules)
def test_6_without_a_price_relevance_alone_decides(pool: Pool, rule: Rule) -> None:
    choice = pool.choose(replace(rule, weight=0.0))
    everybody = sorted(range(len(pool)), key=lambda i: (-pool.relevance[i], pool.last_offered[i], pool.tie[i]))
    assert choice.chosen.tolist() == choice.best.tolist() == everybody[:OFFERS_PER_CASE]


@given(pools(), rules)
def test_6_a_full_guarantee_gives_up_no_relevance(pool: Pool, rule: Rule) -> None:
    """Only lawyers of the same relevance may stand in for each other."""
    choice = pool.choose(replace(rule, keep=1.0))
    assert pool.relevance[choice.chosen] == pytest.approx(
        np.sort(pool.relevance)[::-1][:OFFERS_PER_CASE], abs=2 * NOISE
    )


@given(pools(), rules)
def test_6_lambda_falls_no_further_than_the_guarantee_asks(pool: Pool, rule: Rule) -> None:
    choice = pool.choose(rule)
    best = rule.keep * np.sort(pool.relevance)[::-1][:OFFERS_PER_CASE].sum()
    tried = [rule.weight * step for step in STEPS][: len(choice.rungs)]
    assert [rung.weight for rung in choice.rungs] == tried
    assert all(pool.relevance[rung.top].sum() < best for rung in choice.rungs[:-1])
    assert set(choice.chosen.tolist()) == set(choice.rungs[-1].top.tolist())


# 7


@given(work(), rules, st.sampled_from([0.1, 0.5, 2.0, 3.0, 7.0, 1000.0]), st.data())
def test_7_one_factor_on_all_loads_changes_nothing(
    columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], rule: Rule, factor: float, data: st.DataObject
) -> None:
    offers, cases, capacity, active = columns
    z, mean = relative_load(offers, cases, capacity, active, rule)
    scaled, larger = relative_load(offers * factor, cases * factor, capacity, active, rule)
    assert scaled == pytest.approx(z, rel=1e-12)
    assert larger == pytest.approx(mean * factor, rel=1e-12)
    pool = data.draw(pools(size=st.just(len(z))))
    assert replace(pool, z=z).offered(rule) == replace(pool, z=scaled).offered(rule)


# the load


@given(work(), rules)
def test_relative_load_agrees_with_the_formula(columns: tuple[np.ndarray, ...], rule: Rule) -> None:
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    room = [capacity * max(active, 0.08) for *_, capacity, active in rows]
    work = [(1 - rule.cases_weight) * o / 5 + rule.cases_weight * c for o, c, *_ in rows]
    loads = [done / can for done, can in zip(work, room, strict=True)]
    mean = sum(work) / sum(room) if rows else 0
    z, said = relative_load(columns[0], columns[1], columns[2], columns[3], rule)
    assert said == pytest.approx(mean, rel=1e-9)
    assert z == pytest.approx([load / mean for load in loads] if mean else [1.0] * len(rows), rel=1e-9)


def test_relative_load_known_values() -> None:
    # .9 · 10 offers / 5 + .1 · 2 cases = 2 of 10, and .2 of 10, as the second was there for half of the demand
    z, mean = relative_load(
        np.array([10.0, 0.0]), np.array([2.0, 2.0]), np.array([10.0, 20.0]), np.array([1.0, 0.5]), Rule()
    )
    assert mean == pytest.approx(2.2 / 20)
    assert z == pytest.approx([0.2 / 0.11, 0.02 / 0.11])


@pytest.mark.parametrize(("offers", "active", "load"), [(0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (3.0, 0.0, 0.54 / 0.8)])
def test_without_any_load_or_time_all_are_alike(offers: float, active: float, load: float) -> None:
    z, mean = relative_load(np.full(3, offers), np.zeros(3), np.full(3, 10.0), np.full(3, active), Rule())
    assert z.tolist() == pytest.approx([1, 1, 1], abs=1e-15)
    assert len(set(z.tolist())) == 1
    assert mean == pytest.approx(load)


def test_somebody_new_counts_as_there_for_a_twelfth_of_the_demand() -> None:
    few = relative_load(np.array([9.0, 1.0]), np.zeros(2), np.full(2, 10.0), np.array([1.0, 0.01]), Rule())
    more = relative_load(np.array([9.0, 1.0]), np.zeros(2), np.full(2, 10.0), np.array([1.0, 0.08]), Rule())
    assert few[0].tolist() == more[0].tolist()


def test_the_equity_term_is_capped() -> None:
    assert equity_term(np.array([0.0, 1.0, 2.0, 7.0]), Rule()).tolist() == [1, 0, -1, -1]


# the oracle: the text of the design, in exact decimals

tenths = st.integers(0, 10).map(lambda x: x / 10)
decimal_pools = pools(relevance=thousandths(1000), load=st.integers(0, 60).map(lambda x: x / 20))
decimal_rules = st.builds(
    Rule, weight=tenths, keep=tenths, grid=st.sampled_from([0.01, 0.05]), cap=st.sampled_from([1.0, 1.5, 2.0])
)


def by_the_text(pool: Pool, rule: Rule) -> tuple[Decimal, list[list[int]]]:
    """(λ used, the five of each λ that was tried, best first)."""
    relevance, z = ([Decimal(str(v)) for v in column.tolist()] for column in (pool.relevance, pool.z))
    weight, keep, grid, cap = (Decimal(str(v)) for v in (rule.weight, rule.keep, rule.grid, rule.cap))

    def first_five(score: list[Decimal]) -> list[int]:
        return sorted(range(len(pool)), key=lambda i: (-score[i], pool.last_offered[i], pool.tie[i]))[:5]

    best = first_five(relevance)
    tried = []
    for tenth in range(10, -1, -1):
        now = weight * tenth / 10
        if now == 0:
            tried.append(best)
            break
        score = [relevance[i] + now * (1 - min(z[i], cap)) for i in range(len(pool))]
        on_grid = [(s / grid + Decimal("0.5")).to_integral_value(ROUND_FLOOR) for s in score]
        tried.append(first_five(on_grid))
        if sum(relevance[i] for i in tried[-1]) >= keep * sum(relevance[i] for i in best):
            break
    return now, tried


@settings(max_examples=400)
@given(decimal_pools, decimal_rules)
def test_choose_agrees_with_the_text(pool: Pool, rule: Rule) -> None:
    choice = pool.choose(rule)
    weight, tried = by_the_text(pool, rule)
    assert choice.weight == pytest.approx(float(weight))
    assert [rung.top.tolist() for rung in choice.rungs] == tried
    assert sorted(choice.chosen.tolist()) == sorted(tried[-1])


def test_a_known_choice() -> None:
    """Six lawyers: the price takes the fifth by relevance, who is loaded, and gives the sixth, who is not."""
    pool = Pool(
        np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        np.array([1.0, 1.0, 1.0, 1.0, 2.0, 0.5]),
        np.full(6, NEVER),
        np.arange(6),
    )
    assert pool.offered(Rule()) == [0, 1, 2, 3, 5]
    assert pool.choose(Rule()).weight == 0.6
    # 3.4 of 3.5 is kept: asking for .98 brings λ down until .5 − λ > .4 + λ / 2
    assert pool.offered(Rule(keep=0.98)) == [0, 1, 2, 3, 4]
    assert pool.choose(Rule(keep=0.98)).weight == pytest.approx(0.06)
    # entering means passing .60 of the fourth, who has the lower number: .5 + .6 · (1 − z) must round to .61
    assert pool.load_for_offer(4, pool.choose(Rule()), Rule()) == pytest.approx(1 - (0.605 - 0.5) / 0.6)


# explaining


@settings(max_examples=300)
@given(decimal_pools, decimal_rules)
def test_next_best_are_those_who_would_follow(pool: Pool, rule: Rule) -> None:
    """At the λ used, whoever stands next takes the place of the first who is gone."""
    choice = pool.choose(rule)
    following = pool_next(pool, choice, rule, len(pool)).tolist()
    assert sorted([*following, *choice.chosen.tolist()]) == list(range(len(pool)))
    assert pool_next(pool, choice, rule, 2).tolist() == following[:2]
    without = np.array([i for i in range(len(pool)) if i not in choice.chosen[:1]], dtype=int)
    if following:  # with θ 0 every λ keeps enough: the first one is the one used
        fixed = replace(rule, weight=choice.weight, keep=0.0)
        assert pool.tie[following[0]] in pool.reordered(without).offered(fixed)


def pool_next(pool: Pool, choice: Choice, rule: Rule, k: int) -> np.ndarray:
    return next_best(choice, pool.relevance, pool.z, pool.last_offered, pool.tie, rule, k, choice.chosen)


def check_load_for_offer(pool: Pool, rule: Rule) -> None:
    """Against trying: at the load said and below he is chosen, above it not, unless λ falls to one not tried before."""
    choice = pool.choose(rule)
    for i in set(range(len(pool))) - set(choice.chosen.tolist()):
        said = pool.load_for_offer(i, choice, rule)
        assert said is None or 0 <= said <= min(pool.z[i], rule.cap) + NOISE
        around = [0.0, BIT] if said is None else [0.0, said / 2, said, said + BIT]
        for load in {*around, *np.linspace(0, pool.z[i], 13).tolist()}:
            again = pool.with_load(i, load).choose(rule)
            chosen = i in again.chosen
            if said is not None and load <= said:
                assert chosen
            elif len(again.rungs) <= len(choice.rungs) and (said is None or load >= said + BIT):
                assert not chosen


@settings(max_examples=300)
@given(pools(size=st.integers(6, 10)), rules.filter(lambda rule: rule.weight == 0 or rule.weight > 0.3))
def test_load_for_offer_agrees_with_trying(pool: Pool, rule: Rule) -> None:
    check_load_for_offer(pool, rule)


def six(first: float, others: float, load: float) -> Pool:
    return Pool(np.array([first] + [others] * 5), np.full(6, load), np.full(6, NEVER), np.arange(6))


@settings(max_examples=300)
@example(six(0.025, 0.225, 0.2), Rule(weight=1.0, grid=0.05))  # the load is 0, but for floating point
@example(six(0.0, 0.0, 0.1), Rule(weight=0.4, keep=0.0))  # half a step above an odd one
@given(
    pools(size=st.integers(6, 10), relevance=st.integers(0, 200).map(lambda x: x / 200), load=tenths),
    decimal_rules.filter(lambda rule: rule.weight == 0 or rule.weight > 0.3),
)
def test_load_for_offer_agrees_with_trying_on_the_edges_of_the_grid(pool: Pool, rule: Rule) -> None:
    check_load_for_offer(pool, rule)


# exploration


def spread_out(n: int) -> Choice:
    return Pool(np.linspace(1, 0, n), np.ones(n), np.full(n, NEVER), np.arange(n)).choose(Rule())


def a_seed(rng: np.random.Generator) -> int:
    return int.from_bytes(rng.bytes(16), "big")


def drawn(n: int, share: float, draws: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """(how often each lawyer was offered, his propensity as logged; NaN for who never was), shapes (n,)."""
    choice, rng = spread_out(n), np.random.default_rng(seed)
    times, logged = np.zeros(n), np.full(n, np.nan)
    for _ in range(draws):
        offered, propensity, by_chance = explore(choice, np.arange(n), share, a_seed(rng))
        times[offered] += 1
        assert len(set(offered.tolist())) == min(n, 5)
        assert (by_chance == ~np.isin(offered, choice.chosen)).all()
        new = np.isnan(logged[offered])
        logged[offered[new]] = propensity[new]
        assert (logged[offered] == propensity).all()  # the same in every draw
    return times, logged


@pytest.mark.parametrize(
    ("n", "share", "draws"),
    [(30, 0.02, 10_000), (7, 0.9, 10_000), pytest.param(8, 0.4, 40_000, marks=pytest.mark.slow)],
)
def test_propensities_are_the_frequencies(n: int, share: float, draws: int) -> None:
    times, logged = drawn(n, share, draws)
    assert logged.sum() == pytest.approx(5)
    assert (np.abs(times / draws - logged) <= 5 * (logged * (1 - logged) / draws) ** 0.5).all()


def test_the_displaced_position_is_any_of_the_five() -> None:
    choice, rng = spread_out(9), np.random.default_rng(3)
    moved = sum(explore(choice, np.arange(9), 0.2, a_seed(rng))[2] for _ in range(5000))
    assert np.abs(moved / 5000 - 0.2).max() < 5 * (0.2 * 0.8 / 5000) ** 0.5


@given(st.integers(0, 30), st.integers(0, 2**128 - 1))
def test_no_share_changes_nothing(n: int, seed: int) -> None:
    choice = spread_out(n)
    offered, propensity, by_chance = explore(choice, np.arange(n), 0.0, seed)
    assert offered.tolist() == choice.chosen.tolist()
    assert (propensity == 1).all()
    assert not by_chance.any()


@given(st.integers(0, 5), st.floats(0, 1), st.integers(0, 2**128 - 1))
def test_a_small_pool_is_offered_whole(n: int, share: float, seed: int) -> None:
    offered, propensity, by_chance = explore(spread_out(n), np.arange(n), share, seed)
    assert sorted(offered.tolist()) == list(range(n))
    assert propensity.tolist() == [1] * n
    assert by_chance.tolist() == [False] * n


def test_a_share_of_one_leaves_nothing_to_the_ranking() -> None:
    times, logged = drawn(20, 1.0, 300)
    assert times[:5].sum() == 0
    assert logged[5:] == pytest.approx(np.full(15, 1 / 3))
    # with fewer others than places all of them are in, and the ranked fill the rest
    times, logged = drawn(8, 1.0, 300)
    assert (times[5:] == 300).all()
    assert logged == pytest.approx([0.4] * 5 + [1.0] * 3)


@given(st.integers(6, 30), st.integers(0, 2**128 - 1), st.randoms(use_true_random=False))
def test_the_draw_does_not_depend_on_the_order_of_the_pool(n: int, seed: int, random: Any) -> None:
    number = np.arange(100, 100 + n)
    order = np.array(random.sample(range(n), n))
    found = []
    for rows in (np.arange(n), order):
        z, relevance = np.ones(n), (np.arange(n) / 100)[rows]
        choice = choose(relevance, z, np.full(n, NEVER), number[rows], Rule())
        found.append(number[rows][explore(choice, number[rows], 0.5, seed)[0]].tolist())
    assert found[0] == found[1]


def test_exploring_leaves_the_choice_as_it_was() -> None:
    choice = spread_out(20)
    before = choice.chosen.tolist()
    explore(choice, np.arange(20), 1.0, 1)
    assert choice.chosen.tolist() == before


# what is refused


@pytest.mark.parametrize(
    "values",
    [
        {"weight": -0.1},
        {"weight": 10.1},
        {"weight": np.nan},
        {"keep": 1.1},
        {"keep": -0.1},
        {"cases_weight": 2},
        {"grid": 0},
        {"grid": np.nan},
        {"cap": 0.9},
        {"cap": np.nan},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Rule(**values)


@pytest.mark.parametrize("relevance", [-0.01, 1.01, np.nan])
def test_relevance_outside_its_range_is_refused(relevance: float) -> None:
    with pytest.raises(ValueError, match="relevance"):
        choose(np.array([0.5, relevance]), np.ones(2), np.full(2, NEVER), np.arange(2), Rule())


@pytest.mark.parametrize("load", [-0.01, np.nan])
def test_a_load_that_cannot_be_is_refused(load: float) -> None:
    with pytest.raises(ValueError, match="load"):
        choose(np.full(2, 0.5), np.array([1.0, load]), np.full(2, NEVER), np.arange(2), Rule())
