"""The figure that is watched, and what it is measured on."""

from collections import Counter

import numpy as np

from litgo_pipelines.embeddings.quality import described, lay_questions, precision
from litgo_pipelines.intake import taxonomy
from litgo_pipelines.simulation.words import AREAS


def test_precision_counts_the_best_ones_of_the_same_kind() -> None:
    scores = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    same = np.array([[True, False, True], [False, False, True]])
    assert precision(scores, same, 1).tolist() == [1, 1]
    assert precision(scores, same, 2).tolist() == [0.5, 0.5]


def test_a_text_is_not_found_by_itself() -> None:
    same = np.array([[True, False], [False, True]])
    assert precision(np.eye(2), same, 1, themselves=True).tolist() == [0, 0]


def test_the_questions_are_many_and_no_example_of_the_triage() -> None:
    questions, areas = lay_questions()
    counts = Counter(areas)
    assert set(counts) == set(AREAS) == set(described()[0])
    assert min(counts.values()) >= 15
    assert len(set(questions)) == len(questions) >= 150
    assert not {question.lower() for question in questions} & {text.lower() for _, text in taxonomy.examples()}
