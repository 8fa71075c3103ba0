"""How good and how honest the local classifier is, on sentences it has not seen."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from litgo_pipelines.intake.classifier import Model
from litgo_pipelines.intake.taxonomy import NONE, Subarea
from litgo_pipelines_tests.worlds.intake import MIN_CONFIDENCE

Sentences = list[tuple[Subarea, str]]


def test_accuracy_and_coverage_on_sentences_not_seen(model: Model, held_out: Sentences) -> None:
    assert len(held_out) >= 60
    accepted: dict[str, list[bool]] = defaultdict(list)
    for label, sentence in held_out:
        share = model.probabilities(sentence)
        areas: dict[str, float] = defaultdict(float)
        for each, p in share.items():
            areas[each.area] += p
        best, area = max(share, key=lambda each: share[each]), max(areas, key=lambda each: areas[each])
        if areas[area] >= MIN_CONFIDENCE and area != NONE.area:
            accepted["area"].append(area == label.area)
        if share[best] >= MIN_CONFIDENCE and best != NONE:
            accepted["subarea"].append(best == label)
    inside = sum(label != NONE for label, _ in held_out)
    for level, right in accepted.items():
        print(f"{level}: {np.mean(right):.3f} right of {len(right)} accepted, {inside} could be")
        assert np.mean(right) >= 0.9
        assert sum(right) / inside >= 0.6


def test_confidence_is_not_higher_than_accuracy(model: Model, held_out: Sentences) -> None:
    sure = [max(model.probabilities(sentence).items(), key=lambda item: item[1]) for _, sentence in held_out]
    right = np.mean([label == best for (label, _), (best, _) in zip(held_out, sure, strict=True)])
    assert np.mean([p for _, p in sure]) <= right + 0.05


@pytest.mark.parametrize("text", ["", "日本語だけ", "😀😀😀", "zzzz qqqq xxxx wwww", "\x00\x01"])
def test_what_it_does_not_know_it_does_not_guess(model: Model, text: str) -> None:
    share = model.probabilities(text)
    assert sum(share.values()) == pytest.approx(1)
    assert max(share.values()) < MIN_CONFIDENCE


def test_accents_and_case_do_not_matter(model: Model) -> None:
    assert model.probabilities("PENSAO ALIMENTICIA") == model.probabilities("pensão alimentícia")


def test_a_saved_model_answers_the_same_and_holds_no_objects(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "models" / "m.npz")
    loaded = Model.load(tmp_path / "models" / "m.npz")
    assert loaded.probabilities("fui demitido") == model.probabilities("fui demitido")
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["m.npz"]
    np.savez(tmp_path / "evil.npz", labels=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Model.load(tmp_path / "evil.npz")


@pytest.mark.slow
def test_training_twice_gives_the_same_model(model: Model) -> None:
    from litgo_pipelines.intake.classifier import train

    again = train()
    assert again.scale == model.scale
    assert np.array_equal(again.weights, model.weights)
