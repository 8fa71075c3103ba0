from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.marketplace.geo import states, unit_vectors
from litgo_pipelines.models import heuristic
from litgo_pipelines.models.features import FEATURES
from litgo_pipelines.simulation import truth

pytestmark = pytest.mark.proof

END = datetime(2026, 6, 30, 5, tzinfo=UTC)


def world(**changes: object) -> truth.World:
    return truth.World(**{"seed": 3, "lawyers": 500, "cases": 2000, "days": 56, "end": END} | changes)  # type: ignore[arg-type]


def run(w: truth.World) -> truth.Events:
    blocks = list(truth.Market(w).events())
    return {
        table: {name: np.concatenate([b[table][name] for b in blocks]) for name in columns}
        for table, columns in blocks[0].items()
    }


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"lawyers": 0}, {"cases": 0}, {"days": 0}, {"end": datetime(2026, 6, 30)}],  # noqa: DTZ001
)
def test_a_world_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        world(**changes)


@pytest.mark.parametrize("size", [{"lawyers": 1, "cases": 1, "days": 1}, {"lawyers": 1, "cases": 300, "days": 2}])
def test_tiny_worlds_run(size: dict[str, int]) -> None:
    events = run(world(**size))
    assert len(events["cases"]["index"]) == size["cases"]
    assert set(events["offers"]["lawyer"]) <= {0}


def test_same_seed_same_events_other_seed_others() -> None:
    first, again, other = run(world()), run(world()), run(world(seed=4))
    for table, columns in first.items():
        for name, values in columns.items():
            np.testing.assert_array_equal(values, again[table][name], err_msg=f"{table}.{name}")
    assert not np.array_equal(first["cases"]["created"], other["cases"]["created"])


def test_a_sample_has_no_repetition_and_reaches_everyone() -> None:
    sizes = np.repeat([0, 1, 5, 20, 21, 300], 400)
    picks = truth.sample_without_replacement(np.random.default_rng(0), sizes, 20)
    for size in np.unique(sizes):
        rows = picks[sizes == size]
        expected = min(size, 20)
        assert all(len(set(row) - {-1}) == expected == (row >= 0).sum() for row in rows)
        assert rows.max(initial=-1) < max(size, 1)
    often = np.bincount(picks[sizes == 21].ravel(), minlength=21)
    assert often.min() > 0.9 * often.mean()
    assert len(np.unique(picks[sizes == 300])) == 300


def test_demand_follows_the_week_and_the_day() -> None:
    arrivals = truth.draw_demand(world(cases=20_000))
    assert (np.diff(arrivals) >= 0).all()
    local = [datetime.fromtimestamp(t, ZoneInfo("America/Sao_Paulo")) for t in arrivals.tolist()]
    weekday = Counter(t.weekday() for t in local)
    assert {day for day, _ in weekday.most_common(2)} == {0, 1}
    assert weekday[5] + weekday[6] < 0.5 * (weekday[2] + weekday[3])
    hour = Counter(t.hour for t in local)
    assert hour[10] > 5 * hour[4]


def test_lawyers_live_where_people_do() -> None:
    lawyers = truth.draw_lawyers(world(lawyers=20_000))
    capitals = unit_vectors(np.array([s.lat for s in states()]), np.array([s.lng for s in states()]))
    nearest = np.argmax(lawyers.position @ capitals.T, axis=1)
    np.testing.assert_array_equal(nearest, lawyers.uf)
    km = 2 * 6371 * np.arcsin(np.linalg.norm(lawyers.position - capitals[lawyers.uf], axis=1) / 2)
    assert (km < 40).mean() > 0.9
    share = np.bincount(lawyers.uf, minlength=27) / 20_000
    people = np.array([s.population for s in states()])
    expected = people / people.sum()
    assert (np.abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000)).all()


def test_states_are_the_27_with_the_census_total() -> None:
    assert len({s.uf for s in states()}) == 27
    assert sum(s.population for s in states()) == 203_080_756


def test_silent_lawyers_hardly_answer_and_newcomers_have_no_record() -> None:
    w = world(lawyers=300, cases=6000)
    market = truth.Market(w)
    offers = [block["offers"] for block in market.events()]
    who = np.concatenate([o["lawyer"] for o in offers])
    answered = np.concatenate([np.isin(o["status"], (truth.INTERESTED, truth.DECLINED)) for o in offers])
    silent = market.lawyers.silent
    assert 0.04 < silent.mean() < 0.13
    assert answered[silent[who]].mean() < 0.1
    assert answered[~silent[who]].mean() > 0.7
    newcomer = market.lawyers.concluded == 0
    imputed = np.concatenate([o["imputed"] for o in offers])
    assert newcomer.any()
    # A newcomer's first offers carry no success rate of their own; evidence comes with time.
    first = {lawyer: row for row, lawyer in reversed(list(enumerate(who.tolist())))}
    t = FEATURES.index("T")
    assert all(imputed[first[i], t] for i in np.flatnonzero(newcomer).tolist() if i in first)
    assert not imputed[:, t].all()


def test_missing_evidence_is_logged_as_the_pool_s_mean() -> None:
    market = truth.Market(world(), candidates=None)
    cases = truth.draw_cases(market.world, np.random.default_rng(0), 0, market.world.start + np.arange(600) * 60)
    who, pairs = market._candidates(np.random.default_rng(1), cases)
    features, imputed = pairs["features"], pairs["imputed"]
    checked = 0
    for row, column, key in zip(*np.nonzero(imputed), strict=True):
        known = features[row, (who[row] >= 0) & ~imputed[row, :, key], key]
        expected = known.mean() if len(known) else np.nan
        assert features[row, column, key] == pytest.approx(expected, abs=5.1e-4, nan_ok=True)
        checked += len(known) > 0
    assert checked > 100
    assert not imputed[who < 0].any()
    # every lawyer of the place and area who has joined is there
    lawyers = market.lawyers
    for row in range(600):
        could = lawyers.areas[:, cases["area"][row]] & lawyers.available & (lawyers.uf == cases["uf"][row])
        assert set(who[row]) - {-1} <= set(np.flatnonzero(could & (lawyers.joined < cases["created"][row])))


def test_a_policy_decides_and_the_market_goes_on_with_its_choice() -> None:
    def first_two(
        market: truth.Market, rng: np.random.Generator, cases: dict[str, NDArray], who: NDArray, raw: NDArray
    ) -> NDArray:
        columns = np.full((len(who), 5), -1)
        for row, lawyers in enumerate(who):
            (real,) = np.nonzero(lawyers >= 0)
            real = real[np.argsort(-raw[row, real], kind="stable")][:2]
            columns[row, : len(real)] = real
        return columns

    blocks = list(truth.Market(world(), first_two, candidates=None).events())
    case, lawyer = (np.concatenate([b["offers"][name] for b in blocks]) for name in ("case", "lawyer"))
    assert np.bincount(case).max() == 2
    assert len(np.unique(case * 500 + lawyer)) == len(case)
    # the cases are the same whoever is offered them
    cases = np.concatenate([b["cases"]["lat"] for b in blocks])
    np.testing.assert_array_equal(cases, run(world())["cases"]["lat"])


def test_a_pool_is_one_area_and_one_state() -> None:
    w = world(lawyers=40, pool=(24, 3))
    lawyers = truth.draw_lawyers(w)
    assert (lawyers.uf == 24).all()
    assert (lawyers.primary_area == 3).all()
    assert (lawyers.areas.sum(axis=1) == 1).all()
    assert lawyers.areas[:, 3].all()
    cases = run(w)["cases"]
    assert set(cases["area"]) == {3}
    assert set(cases["uf"]) == {24}


def test_cases_30d_counts_contracts_and_open_interest_of_thirty_days() -> None:
    w = world(lawyers=100, cases=1500, days=70)
    market = truth.Market(w)
    at_start = {}
    seen = []
    for block in market.events():
        seen.append(block)
        day = int((block["cases"]["created"][0] - w.start) // truth.DAY)
        at_start[day] = market.cases_30d.copy()
    events = {
        table: {name: np.concatenate([b[table][name] for b in seen]) for name in seen[0][table]}
        for table in ("offers", "contracts")
    }
    offers, contracts = events["offers"], events["contracts"]
    kept = contracts["status"] != truth.CANCELED
    created = dict(zip(contracts["case"][kept].tolist(), contracts["created"][kept].tolist(), strict=True))
    for day in (5, 33, 65):
        now = w.start + day * truth.DAY
        expected = np.zeros(100, int)
        for lawyer, at in zip(contracts["lawyer"][kept], contracts["created"][kept], strict=True):
            expected[lawyer] += now - 30 * truth.DAY < at <= now
        yes = offers["status"] == truth.INTERESTED
        for case, lawyer, at in zip(
            offers["case"][yes].tolist(), offers["lawyer"][yes], offers["responded"][yes], strict=True
        ):
            expected[lawyer] += now - 30 * truth.DAY < at <= now < created.get(case, now + 1)
        np.testing.assert_array_equal(at_start[day], expected)


def test_the_policy_prefers_lawyers_who_had_fewer_offers() -> None:
    market = truth.Market(world(lawyers=40))
    market._offers_30d[:20] = 50
    who = np.tile(np.arange(20) * 2, (2000, 1))  # ten of them loaded
    chosen = truth.by_day(market, np.random.default_rng(1), {}, who, np.full(who.shape, 0.5))
    assert (np.take_along_axis(who, chosen, axis=1) >= 20).mean() > 0.6


def ndcg(score: NDArray, label: NDArray, case: NDArray) -> float:
    values = []
    starts = np.flatnonzero(np.diff(case, prepend=-1))
    for rows in np.split(np.arange(len(case)), starts[1:]):
        gain = 2.0 ** label[rows] - 1
        if gain.any():
            discount = 1 / np.log2(np.arange(2, 2 + len(rows)))
            order = np.argsort(-score[rows], kind="stable")
            values.append((gain[order] * discount).sum() / (np.sort(gain)[::-1] * discount).sum())
    return float(np.mean(values))


def test_a_learned_ranker_beats_the_hand_weights_but_not_by_magic() -> None:
    import lightgbm

    events = run(world(lawyers=1000, cases=10_000, days=100))
    offers, contracts, reviews = events["offers"], events["contracts"], events["reviews"]

    def pair(rows: dict[str, NDArray]) -> NDArray:
        return rows["case"] * 1000 + rows["lawyer"]

    label = (offers["status"] == truth.INTERESTED).astype(int)
    signed = np.isin(contracts["status"], (truth.ACTIVE, truth.CLOSED))
    label[np.isin(pair(offers), pair(contracts)[signed])] = 2
    praised = reviews["contract"][(reviews["rating"] >= 4) | np.isin(reviews["outcome"], (truth.WON, truth.SETTLED))]
    good = np.isin(contracts["index"], praised) & (contracts["status"] == truth.CLOSED)
    label[np.isin(pair(offers), pair(contracts)[good])] = 3
    assert (np.bincount(label, minlength=4) > 0).all()

    settled = offers["sent"] < world().stop - 45 * truth.DAY
    cut = np.quantile(offers["sent"][settled], 0.8)
    train, test = settled & (offers["sent"] < cut), settled & (offers["sent"] >= cut)
    data = lightgbm.Dataset(
        offers["features"][train], label[train], group=np.unique(offers["case"][train], return_counts=True)[1]
    )
    settings = {"objective": "lambdarank", "learning_rate": 0.05, "num_leaves": 15, "lambda_l2": 10, "verbose": -1}
    model = lightgbm.train({**settings, "num_threads": 2, "seed": 1, "deterministic": True}, data, 100)
    features, case = offers["features"][test], offers["case"][test]
    learned = ndcg(np.asarray(model.predict(features)), label[test], case)
    by_hand = ndcg(heuristic.score(features), label[test], case)
    by_chance = ndcg(np.random.default_rng(0).random(len(case)), label[test], case)
    assert by_chance < by_hand
    assert 1.06 < learned / by_hand < 1.3
