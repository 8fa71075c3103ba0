from collections import Counter

import pytest

from litgo_pipelines.intake import taxonomy
from litgo_pipelines.intake.taxonomy import NONE, Subarea, UnknownSubarea
from litgo_pipelines.simulation.words import AREAS


def test_the_simulation_speaks_the_same_language() -> None:
    ours = {area: tuple(each.subarea for each in taxonomy.subareas(area)) for area in taxonomy.areas()}
    assert ours == {area: subareas for area, (_, subareas) in AREAS.items()}


def test_every_subarea_has_examples_and_none_is_there_twice(held_out: list[tuple[Subarea, str]]) -> None:
    examples = list(taxonomy.examples())
    count = Counter(label for label, _ in examples)
    assert set(count) == {*taxonomy.subareas(), NONE}
    assert min(count.values()) >= 10
    sentences = Counter(sentence for _, sentence in [*examples, *held_out])
    assert max(sentences.values()) == 1
    assert all(len(terms) >= 15 for terms in taxonomy.terms().values())


@pytest.mark.parametrize("written", [("Previdenciário", "BPC/LOAS"), (" previdenciario ", "bpc/loas")])
def test_find_forgives_case_and_accents(written: tuple[str, str]) -> None:
    assert taxonomy.find(*written) == Subarea("Previdenciário", "BPC/LOAS")


@pytest.mark.parametrize(("area", "subarea", "told"), [("Ambiental", "Guarda", "Família"), ("Civil", "X", "Contratos")])
def test_find_says_what_there_is(area: str, subarea: str, told: str) -> None:
    with pytest.raises(UnknownSubarea, match=told):
        taxonomy.find(area, subarea)
