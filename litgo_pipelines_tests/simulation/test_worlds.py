"""Kinds of worlds: in one nothing can be learned, in one the last weeks say most, in one the tastes turn."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.database import open_connection
from litgo_pipelines.simulation import live, truth
from litgo_pipelines.simulation.load import simulate
from litgo_pipelines.simulation.worlds import KINDS, USUAL
from litgo_pipelines_tests.worlds.sessions import kept

END = datetime(2026, 6, 30, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def loaded(url: str, kind: str) -> bool:
    return bool(simulate(url, seed=3, lawyers=200, cases=600, days=40, end=END, progress=False, kind=kind)["loaded"])


def run(kind: str, lawyers: int = 300, cases: int = 6000, days: int = 120) -> tuple[truth.World, truth.Events]:
    of = KINDS[kind]
    world = truth.World(3, lawyers, cases, days, END, taste=of.taste, blind=of.blind)
    blocks = list(truth.Market(world).events())
    return world, {
        table: {name: np.concatenate([b[table][name] for b in blocks]) for name in columns}
        for table, columns in blocks[0].items()
    }


def settled(events: truth.Events) -> tuple[NDArray, NDArray, NDArray]:
    """(lawyer, instant, whether it was a yes) of the offers that are no longer pending."""
    offers = events["offers"]
    over = offers["status"] != truth.PENDING
    return offers["lawyer"][over], offers["sent"][over], offers["status"][over] == truth.INTERESTED


def rates(lawyer: NDArray, at: NDArray, yes: NDArray, days: float) -> NDArray:
    """Share of yes among the lawyer's offers of so many days before each offer, shrunk; a loop, for a test."""
    order = np.argsort(at)
    lawyer, at, yes = lawyer[order], at[order], yes[order]
    found = np.full(len(at), np.nan)
    for one in np.unique(lawyer):
        rows = np.flatnonzero(lawyer == one)
        sums = np.r_[0, np.cumsum(yes[rows])]
        # a day's silence is known the day after
        first, last = (np.searchsorted(at[rows], at[rows] - back) for back in (days * truth.DAY, truth.DAY))
        found[rows] = (sums[last] - sums[first] + 0.3) / (last - first + 1)
    result = np.empty(len(at))
    result[order] = found
    return result


def test_where_chance_decides_no_feature_and_no_record_says_anything() -> None:
    _, events = run("noise")
    lawyer, at, yes = settled(events)
    assert 0.15 < yes.mean() < 0.4
    by_lawyer = np.bincount(lawyer, yes, 300) / np.maximum(np.bincount(lawyer, minlength=300), 1)
    expected = np.sqrt(yes.mean() * (1 - yes.mean()) / np.bincount(lawyer, minlength=300).mean())
    assert by_lawyer[np.bincount(lawyer, minlength=300) > 10].std() < 1.5 * expected
    record = rates(lawyer, at, yes, 1000)
    assert abs(np.corrcoef(record, yes)[0, 1]) < 4 / np.sqrt(len(yes))
    usual = settled(run(USUAL)[1])
    assert np.corrcoef(rates(*usual, 1000), usual[2])[0, 1] > 0.1


def test_where_recency_matters_the_last_weeks_say_more_than_the_whole_record() -> None:
    lawyer, at, yes = settled(run("recency")[1])
    late = at > np.quantile(at, 0.5)
    lately, ever = (np.corrcoef(rates(lawyer, at, yes, days)[late], yes[late])[0, 1] for days in (15, 1000))
    assert lately > ever + 0.05
    usual = settled(run(USUAL)[1])
    half = usual[1] > np.quantile(usual[1], 0.5)
    by_days = [np.corrcoef(rates(*usual, days)[half], usual[2][half])[0, 1] for days in (15, 1000)]
    assert by_days[0] < by_days[1]


def test_moods_last_some_weeks_and_are_nobodys_for_good() -> None:
    world, _ = run("recency", cases=10, days=5)
    who, at = np.arange(400)[:, None], np.arange(200)[None, :] * truth.DAY
    found = truth.moods(world, who, at)
    assert set(np.unique(found)) == {-1.0, 1.0}
    assert abs(found.mean()) < 0.05
    assert abs(found.mean(axis=1)).max() < 1
    changes = (found[:, 1:] != found[:, :-1]).mean()
    assert changes == pytest.approx(0.5 / truth.MOOD_DAYS, rel=0.15)
    assert truth.moods(replace(world, seed=4), who, at).tolist() != found.tolist()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != USUAL])
def test_each_world_is_loaded_and_lives_on(database_url: str, kind: str) -> None:
    of = KINDS[kind]
    assert loaded(database_url, kind)
    assert not loaded(database_url, kind)
    world = truth.World(3, 200, 600, 40, END, taste=of.taste, blind=of.blind)
    with kept(database_url) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "UPDATE public.offers SET sent_at = %s, expires_at = %s, status = 'pending', responded_at = NULL "
            "WHERE sent_at > %s",
            (END - DAY / 24, END + DAY, END - 10 * DAY),
        )
    change = live.Change(END, of.turns_to) if of.turns_to else None
    connection = open_connection(database_url)
    try:
        lived = live.step(connection, world, END, END + DAY, change=change)
    finally:
        connection.close()
    assert lived["answers"] > 20
    assert lived["cases"] > 5


def test_a_world_that_there_is_not_is_refused(database_url: str) -> None:
    with pytest.raises(ValueError, match="there are usual, recency, noise, changing"):
        loaded(database_url, "flat")
