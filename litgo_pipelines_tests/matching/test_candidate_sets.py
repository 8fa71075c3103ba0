"""Candidate sets: what is kept of a matching, byte for byte, and a replay that sees what the allocation saw."""

import json

import numpy as np
import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.matching import calibration, candidate_sets
from litgo_pipelines.matching.candidate_sets import MOST, CandidateSet, SetDamaged, kept, overlay, pack, unpack
from litgo_pipelines.matching.plan import Plan
from litgo_pipelines.models.features import BASE
from litgo_pipelines.models.ranking import Ranker
from litgo_pipelines_tests.worlds.matching import AS_OF, fill, match
from litgo_pipelines_tests.worlds.sessions import ask


def test_the_most_relevant_fifty_and_all_of_the_offered_are_kept_by_relevance() -> None:
    relevance = np.random.default_rng(0).random(400)
    worst = np.argsort(relevance)[:3]
    found = kept(relevance, worst)
    assert len(found) == MOST
    assert set(worst) < set(found)
    assert (np.diff(relevance[found]) <= 0).all()
    assert set(np.argsort(-relevance)[: MOST - 3]) < set(found)
    assert kept(relevance[:4], np.array([2])).tolist() == np.argsort(-relevance[:4]).tolist()


def test_what_is_read_is_what_was_kept_and_columns_of_other_days_are_missing() -> None:
    features = np.random.default_rng(1).random((50, len(BASE))).astype("f4").astype(float)
    features[3, 4] = np.nan
    packed = pack(features)
    assert unpack(packed).tobytes() == features.tobytes()
    assert len(packed) < features.nbytes
    earlier = unpack(pack(features[:, :2], (BASE[1], "of another day")))
    np.testing.assert_array_equal(earlier[:, 1], features[:, 0])
    assert np.isnan(np.delete(earlier, 1, axis=1)).all()
    for damaged in (b"", b"\\x00", packed[:-4]):
        with pytest.raises(SetDamaged):
            unpack(damaged)


def test_logged_features_go_to_their_pairs_and_nowhere_else() -> None:
    features = np.zeros((7, len(BASE)))
    lawyer, starts = np.array([5, 2, 9, 2, 4, 9, 5]), np.array([0, 3, 5, 7])
    place = {"five": 5, "nine": 9, "four": 4}
    logged = np.arange(3.0)[:, None] + np.ones((3, len(BASE)))
    sets = {"a": CandidateSet(["nine", "gone", "five"], logged), "c": CandidateSet(["four"], logged[:1])}
    assert overlay(features, lawyer, starts, ["a", "b", "c"], sets, place) == 2
    assert features[:, 0].tolist() == [3, 0, 1, 0, 0, 0, 0]


def test_each_matching_keeps_who_could_be_chosen_with_what_was_known(database_url: str) -> None:
    fill(database_url, 80, 6)
    match(database_url, Plan(exploration=0))
    cases = [case for (case,) in ask(database_url, "SELECT case_id::text FROM litgo.matchings")]
    with connect(database_url) as connection, connection.cursor() as cursor:
        sets = candidate_sets.read(cursor, cases)
    assert set(sets) == set(cases)
    candidates = dict(ask(database_url, "SELECT case_id::text, candidates FROM litgo.matchings"))
    for case, found in sets.items():
        assert len(found.lawyer_ids) == len(found.features) == min(candidates[case], MOST)
        assert np.isnan(found.features[:, BASE.index("S")]).all()  # imputed: not known
    for case, lawyer, features, imputed in ask(
        database_url, "SELECT case_id::text, lawyer_id::text, features, breakdown -> 'imputed' FROM case_matches"
    ):
        row = sets[case].features[list(sets[case].lawyer_ids).index(lawyer)]
        given = [np.nan if features[key] is None or key in imputed else features[key] for key in BASE]
        np.testing.assert_allclose(row, given, rtol=1e-6)


def test_a_replay_sees_what_the_allocation_saw_whatever_is_known_by_now(database_url: str) -> None:
    fill(database_url, 40, 240)
    match(database_url, Plan(exploration=0))

    def window() -> calibration.Window:
        with connect(database_url) as connection, connection.cursor() as cursor:
            found = calibration.read_window(cursor, AS_OF, [Ranker()], 50.0, "balanced")
        assert found is not None
        return found

    then = window()
    assert then.logged > 200
    ask(database_url, "UPDATE litgo.lawyer_evidence SET stars = 1, reviews = 50, won = 0")
    logged = window().cases[0].relevance
    np.testing.assert_allclose(logged, then.cases[0].relevance, atol=1e-6)
    ask(database_url, "DELETE FROM litgo.candidate_sets")
    today = window()
    assert today.logged == 0
    assert not np.allclose(today.cases[0].relevance, logged, atol=1e-3)
    assert json.loads(json.dumps(calibration.fit(then, 0, Plan().rule_of(Ranker())).evidence(then)))["logged_pairs"] > 0
