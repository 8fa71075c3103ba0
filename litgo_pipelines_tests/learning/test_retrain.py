from datetime import timedelta

import pytest

from litgo_pipelines.database import connect
from litgo_pipelines.learning import retrainings
from litgo_pipelines.learning.retrain import RetrainingRequest, count_new_reviews, retraining_request
from litgo_pipelines_tests.worlds.learning import AS_OF, SENT, Marketplace

DAY = timedelta(days=1)


def count(market: Marketplace) -> tuple[int, object]:
    with connect(market.url) as connection, connection.cursor() as cursor:
        return count_new_reviews(cursor, AS_OF)


def test_counts_only_what_a_ranker_could_learn_from(market: Marketplace) -> None:
    market.execute("ALTER TABLE public.reviews DROP CONSTRAINT reviews_contract_id_key")
    closed = market.contract(market.offer("interested"), "closed")
    market.review(closed)
    market.review(closed, 2)  # a contract counts once
    market.review(market.contract(market.offer("interested"), "active"))
    market.review(market.contract(market.offer("interested", match=False), "closed"))
    market.review(market.contract(market.offer("interested"), "closed"), created_at=AS_OF + DAY)
    assert count(market) == (1, None)


def test_the_watermark_is_that_of_the_last_trained_candidate(market: Marketplace) -> None:
    for days in (5, 10, 15):
        market.review(market.contract(market.offer("interested"), "closed"), created_at=SENT + days * DAY)
    with connect(market.url) as connection, connection.cursor() as cursor:
        for root, days, bundle in (("a", 5, "models/a"), ("failed", 15, None)):
            retrainings.begin(cursor, root, AS_OF)
            retrainings.record_step(cursor, root, watermark=SENT + days * DAY, bundle_path=bundle)
    assert count(market) == (2, SENT + 5 * DAY)


def test_a_failed_count_is_an_error_not_zero(market: Marketplace) -> None:
    market.execute("DROP TABLE public.reviews CASCADE")
    with pytest.raises(Exception, match="reviews"):
        count(market)


def test_a_request_comes_once_for_every_minimum_of_reviews() -> None:
    assert retraining_request(499, 500, None) is None
    assert retraining_request(500, 500, None) == RetrainingRequest("reviews-after-the-beginning-1")
    assert retraining_request(999, 500, AS_OF) == RetrainingRequest("reviews-after-2026-06-01T00:00:00+00:00-1")
    assert retraining_request(1000, 500, AS_OF) == RetrainingRequest("reviews-after-2026-06-01T00:00:00+00:00-2")


def test_a_retraining_keeps_the_instant_it_began_with(market: Marketplace) -> None:
    with connect(market.url) as connection, connection.cursor() as cursor:
        retrainings.begin(cursor, "root", AS_OF)
        assert retrainings.begin(cursor, "root", AS_OF + DAY).as_of == AS_OF
        with pytest.raises(retrainings.StepMissing, match="bundle_path"):
            retrainings.get(cursor, "root").require("bundle_path")
        with pytest.raises(retrainings.StepMissing, match="has not begun"):
            retrainings.get(cursor, "another")
        with pytest.raises(ValueError, match="not columns"):
            retrainings.record_step(cursor, "root", nonsense=1)


def test_pending_registrations_are_trained_and_not_registered_and_judged(market: Marketplace) -> None:
    with connect(market.url) as connection, connection.cursor() as cursor:
        for root, bundle, version, verdict in (
            ("a", "models/a", "1", {"decision": {}}),
            ("b", "models/b", None, None),
            ("c", None, None, None),
            ("d", "models/d", "2", None),
        ):
            retrainings.begin(cursor, root, AS_OF)
            retrainings.record_step(cursor, root, bundle_path=bundle, mlflow_version=version, evaluation=verdict)
        assert retrainings.pending_registrations(cursor) == ["b", "d"]
