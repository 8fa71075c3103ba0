"""BERT sentence encoder as an ONNX graph, built from its weights at load time: no torch, no exported file.

Takes a folder in sentence-transformers' layout (config.json, tokenizer.json, model.safetensors, 1_Pooling/config.json)
whose architecture is BertModel with mean pooling: all-MiniLM-L6-v2, paraphrase-multilingual-MiniLM-L12-v2,
multilingual-e5-small. Operators: ONNX opset 17 and onnxruntime's own (com.microsoft).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OWN = "com.microsoft"
Weights = dict[str, NDArray[np.float32]]


class UnknownModel(ValueError):
    """A folder or name that is no model this module can run; the message says what was expected."""


class Bert:
    """Unit vectors by mean pooling. `dimension`: of a vector; `longest`: tokens read of a text."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        config = _json(folder / "config.json")
        if config.get("architectures") != ["BertModel"] or config.get("hidden_act") != "gelu":
            raise UnknownModel(f"{folder.name} is no BertModel with gelu: {config.get('architectures')}")
        pooling = _json(folder / "1_Pooling" / "config.json")
        if not pooling.get("pooling_mode_mean_tokens"):
            raise UnknownModel(f"{folder.name} does not pool by the mean of its tokens")
        self.dimension: int = config["hidden_size"]
        self.longest: int = _json(folder / "sentence_bert_config.json")["max_seq_length"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(self.longest)
        self._tokenizer.enable_padding(pad_id=config.get("pad_token_id", 0))
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores
        self._session = onnxruntime.InferenceSession(
            graph(config, read_safetensors(folder / "model.safetensors")), options, providers=["CPUExecutionProvider"]
        )

    def encode(self, texts: Sequence[str], batch_size: int = 32) -> NDArray[np.float32]:
        """(texts, dimension); texts of similar length share a batch, so that little is padded."""
        found = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for first in range(0, len(texts), batch_size):
            rows = order[first : first + batch_size]
            tokens = self._tokenizer.encode_batch([texts[row] for row in rows])
            mask = np.array([token.attention_mask for token in tokens], dtype=np.int32)
            ids = np.array([token.ids for token in tokens], dtype=np.int64)
            (hidden,) = self._session.run(None, {"ids": ids, "mask": mask})
            pooled = np.einsum("tsd,ts->td", hidden, mask.astype(np.float32))
            found[rows] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return found


def read_safetensors(path: Path) -> Weights:
    """Name → float32 tensor, mapped from the file (format: header length, JSON header, data)."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    size = int(data[:8].view("<u8")[0])
    header = json.loads(data[8 : 8 + size].tobytes())
    return {
        name: data[8 + size + tensor["data_offsets"][0] : 8 + size + tensor["data_offsets"][1]]
        .view("<f4")
        .reshape(tensor["shape"])
        for name, tensor in header.items()
        if name != "__metadata__" and tensor["dtype"] == "F32"
    }


def graph(config: dict[str, Any], weights: Weights) -> bytes:
    """The serialised model: (ids int64, mask int32), each (texts, tokens) → hidden states (texts, tokens, size)."""
    from onnx import TensorProto, helper

    constants, nodes = [], []
    epsilon = config["layer_norm_eps"]

    def constant(name: str, values: NDArray[Any]) -> str:
        kind = TensorProto.FLOAT if values.dtype == np.float32 else TensorProto.INT64
        constants.append(helper.make_tensor(name, kind, values.shape, np.ascontiguousarray(values).tobytes(), raw=True))
        return name

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def both(name: str) -> list[str]:
        return [constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]

    def dense(x: str, name: str) -> str:
        return add("MatMul", [x, constant(f"{name}.weight", weights[f"{name}.weight"].T)], name)

    def bias(name: str) -> str:
        return constant(f"{name}.bias", weights[f"{name}.bias"])

    zero = constant("zero", np.array([0]))
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    words = constant("words", weights["embeddings.word_embeddings.weight"])
    here = add("Slice", [constant("positions", positions), zero, add("Shape", ["ids"], "size", start=1), zero], "here")
    summed = add("Add", [add("Gather", [words, "ids"], "word"), here], "sum")
    x = add("LayerNormalization", [summed, *both("embeddings.LayerNorm")], "embedded", epsilon=epsilon)
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        qkv = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        attention = [
            constant(f"{name}.qkv.weight", np.concatenate([weights[f"{part}.weight"] for part in qkv]).T),
            constant(f"{name}.qkv.bias", np.concatenate([weights[f"{part}.bias"] for part in qkv])),
        ]
        heads = config["num_attention_heads"]
        seen = add("Attention", [x, *attention, "mask"], f"{name}.seen", domain=OWN, num_heads=heads)
        for source, inner, output in ((seen, "attention.output", f"{name}.between"), (None, "output", f"{name}.out")):
            if source is None:
                wide = f"{name}.intermediate.dense"
                source = add("BiasGelu", [dense(x, wide), bias(wide)], f"{name}.wide", domain=OWN)
            projection = f"{name}.{inner}.dense"
            inputs = [dense(source, projection), x, *both(f"{name}.{inner}.LayerNorm"), bias(projection)]
            x = add("SkipLayerNormalization", inputs, output, domain=OWN, epsilon=epsilon)
    shape = ["texts", "tokens"]
    made = helper.make_graph(
        nodes,
        "bert",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("mask", TensorProto.INT32, shape),
        ],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [*shape, config["hidden_size"]])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(OWN, 1)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnknownModel(f"{path.parent.name} has no {path.name}: expected a sentence-transformers folder") from error
