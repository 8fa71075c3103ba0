"""Every kind of scorer: written and read alike, explained in full, served from a file that its name vouches for."""

import json
from pathlib import Path

import numpy as np
import pytest

from litgo_pipelines.models import rules, scorer
from litgo_pipelines.models.learners import KINDS, Recipe, Rows, learner
from litgo_pipelines.models.metrics import ndcg
from litgo_pipelines.models.scorer import Blend, Scorer

pytestmark = pytest.mark.proof

NAMES = ("R", "G", "accepted_30d")
RECIPE = Recipe(min_data_in_leaf=10, learning_rate=0.1, feature_fraction=1.0)


def rows(queries: int = 200, size: int = 6, seed: int = 0) -> Rows:
    """R decides, a missing R is bad; G is noise."""
    draw = np.random.default_rng(seed)
    features = draw.random((queries * size, 3))
    labels = np.clip((features[:, 0] * 4 + draw.normal(0, 0.5, len(features))).astype(int), 0, 3)
    lost = draw.random(len(features)) < 0.1
    features[lost, 0], labels[lost] = np.nan, 0
    return Rows(features, labels, np.full(queries, size), None, NAMES)


def fitted(kind: str) -> Scorer:
    data = rows()
    if kind == "rule":
        return rules.fit("R", data)
    if kind == "blend":
        return Blend((fitted("linear"), fitted("rule"), fitted("softmax")), (0.1, 0.2, 0.0), (2.0, 0.5, 1.0))
    own = learner(kind, data, RECIPE, 0, len(data.labels))
    own.advance(30)
    return own.scorer()


@pytest.fixture(scope="module", params=[*KINDS, "rule", "blend"])
def own(request: pytest.FixtureRequest) -> Scorer:
    return fitted(request.param)


def test_it_ranks_what_it_has_not_seen(own: Scorer) -> None:
    test = rows(seed=1)
    scores = own.scores(test.columns(own.names).features)
    assert np.isfinite(scores).all()
    assert np.nanmean(ndcg(test.labels, scores, test.groups, (5,))) > 0.9


def test_what_comes_back_is_what_went_in(own: Scorer) -> None:
    given = rows(seed=2).columns(own.names).features
    text = scorer.dumps(own)
    again = scorer.loads(text)
    assert scorer.dumps(again) == text
    assert (again.kind, again.names) == (own.kind, own.names)
    assert again.scores(given).tobytes() == own.scores(given).tobytes()
    assert again.scores(np.asfortranarray(given)).tobytes() == own.scores(given).tobytes()  # as a data frame keeps it


def test_the_parts_and_one_constant_are_the_score(own: Scorer) -> None:
    given = rows(seed=3).columns(own.names).features
    rest = own.scores(given) - own.parts(given).sum(axis=1)
    assert np.ptp(rest) < 1e-6
    share = np.abs(own.parts(given)).mean(axis=0)
    assert own.names[int(np.argmax(share))] == own.names[int(np.argmax(own.importance()))] == "R"


def test_a_file_that_was_changed_is_not_read(own: Scorer, tmp_path: Path) -> None:
    text = scorer.dumps(own)
    file = tmp_path / scorer.file_name(text)
    file.write_text(text, encoding="utf-8")
    served = scorer._load_pyfunc(str(file))
    given = rows(seed=4)
    import pandas as pd

    shuffled = pd.DataFrame(given.features, columns=list(NAMES))[["accepted_30d", "R", "G"]]
    expected = own.scores(given.columns(own.names).features)
    assert served.predict(shuffled).tobytes() == expected.tobytes()
    file.write_text(text.replace("0", "1", 1), encoding="utf-8")
    with pytest.raises(scorer.ScorerDamaged, match="SHA-256"):
        scorer._load_pyfunc(str(file))


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2}', '{"format": 1, "kind": "linear", "names": ["R"]}'])
def test_what_is_no_scorer_is_said_to_be_none(text: str) -> None:
    with pytest.raises(scorer.ScorerDamaged):
        scorer.loads(text)


def test_a_blend_of_two_as_it_was_kept_before_is_read() -> None:
    first, second = fitted("linear"), fitted("rule")
    centers, spreads = (0.1, 0.2), (2.0, 0.5)
    now = Blend((first, second), centers, spreads)
    before = {"kind": "blend", "first": first.as_dict(), "second": second.as_dict()}
    text = json.dumps({"format": 1, **before, "centers": centers, "spreads": spreads})
    given = rows(seed=4).columns(now.names).features
    assert scorer.loads(text).scores(given).tobytes() == now.scores(given).tobytes()


def test_the_linear_score_solves_the_conditional_logit() -> None:
    """Against statsmodels' conditional logit: one chosen of each case."""
    from statsmodels.discrete.conditional_models import ConditionalLogit

    draw = np.random.default_rng(5)
    features = draw.normal(size=(300 * 4, 2))
    utility = features @ [1.0, -0.5] + draw.gumbel(size=len(features))
    labels = np.zeros(len(features), dtype=np.int64)
    labels[np.arange(300) * 4 + utility.reshape(300, 4).argmax(axis=1)] = 1
    own = learner("linear", Rows(features, labels, np.full(300, 4), None, ("R", "G")), Recipe(linear_l2=1e-6), 0, 1200)
    own.advance(1)
    linear = own.scorer()
    assert isinstance(linear, scorer.Linear)
    expected = ConditionalLogit(labels, features, groups=np.repeat(np.arange(300), 4)).fit(disp=0).params
    assert linear.weights / linear.spread == pytest.approx(expected, abs=1e-3)


def test_rules_that_have_nothing_to_go_by_are_no_rivals() -> None:
    assert set(rules.rivals(rows())) == {"recent acceptances", "rating", "nearest", "at random"}
    data = rows()
    best = rules.rivals(data)["rating"]
    known = ~np.isnan(data.features[:, 0])
    assert np.corrcoef(best[known], data.features[known, 0])[0, 1] == pytest.approx(1)
    assert best[~known].max() <= best[known].min()
