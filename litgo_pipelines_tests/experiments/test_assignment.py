"""The split is the same everywhere, even, and does not move those who have seen an arm."""

import doctest
import os
import subprocess
import sys

import numpy as np
import pytest

from litgo_pipelines.experiments import assignment
from litgo_pipelines.experiments.assignment import Experiment, assign, bucket

IDS = [f"c{number}" for number in range(20_000)]


def test_the_golden_vectors_of_the_docstrings_hold():
    assert doctest.testmod(assignment).failed == 0
    assert [bucket("ltr_v42:1", client) for client in ("c0", "c1", "São-1")] == [4911, 2941, 2660]


def test_another_process_gives_the_same_arms_and_imports_nothing_heavy():
    code = (
        "import sys; from litgo_pipelines.experiments.assignment import Experiment, assign;"
        "print([assign(Experiment('s:1', 3000), f'c{i}') for i in range(50)]);"
        "print([m for m in ('numpy', 'dagster', 'psycopg2', 'litgo_pipelines.database') if m in sys.modules])"
    )
    answers = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        answers.add(done.stdout)
    assert answers == {f"{[assign(Experiment('s:1', 3000), f'c{i}') for i in range(50)]}\n[]\n"}


@pytest.mark.parametrize(("salt", "client"), [("", "c"), ("s", "")])
def test_empty_names_are_refused(salt, client):
    with pytest.raises(ValueError, match="empty"):
        bucket(salt, client)
    with pytest.raises(TypeError):
        bucket("s", 7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"treatment_points": 10.5},
        {"treatment_points": 10_001},
        {"treatment_points": True},
        {"treatment_points": 10, "layer_salt": "l"},
        {"treatment_points": 10, "layer_salt": "s", "layer_to": 5000},
        {"treatment_points": 10, "layer_to": 5000},
        {"treatment_points": 10, "holdout_points": 500},
        {"treatment_points": 10, "holdout_salt": "s", "holdout_points": 500},
    ],
)
def test_splits_off_the_grid_and_shared_salts_are_refused(fields):
    with pytest.raises(ValueError, match=r"basis points|salt|neither"):
        Experiment("s", **fields)


def test_a_ramp_moves_no_client_that_was_exposed():
    before, after = Experiment("s:1", 1000), Experiment("s:1", 5000)
    stored = {client: assign(before, client) for client in IDS}
    assert {client: assign(after, client, stored=stored[client]) for client in IDS} == stored
    fresh = [assign(after, client) for client in IDS]
    assert sum(arm != stored[client] for client, arm in zip(IDS, fresh, strict=True)) > 7000  # without it many would
    assert np.mean([arm == "treatment" for arm in fresh]) == pytest.approx(0.5, abs=0.015)
    with pytest.raises(ValueError, match="stored"):
        assign(after, "c1", stored="both")


def test_layers_exclude_each_other_and_the_holdout_is_in_none():
    first = Experiment("a:1", 5000, "layer", 0, 4000, "hold", 500)
    second = Experiment("b:1", 5000, "layer", 4000, 10_000, "hold", 500)
    arms = [(assign(first, client), assign(second, client)) for client in IDS]
    held = [bucket("hold", client) < 500 for client in IDS]
    assert all((a is None) + (b is None) == (2 if out else 1) for (a, b), out in zip(arms, held, strict=True))
    chosen = [a for a, _ in arms if a is not None]
    assert len(chosen) / len(IDS) == pytest.approx(0.95 * 0.4, abs=0.015)
    assert np.mean([arm == "treatment" for arm in chosen]) == pytest.approx(0.5, abs=0.03)  # the layer does not tilt it


def test_buckets_are_even():
    cells = np.bincount([bucket("even:1", client) // 500 for client in IDS], minlength=20)
    assert ((cells - 1000) ** 2 / 1000).sum() < 43.8  # chi-square, 19 degrees of freedom, 99.9 %
