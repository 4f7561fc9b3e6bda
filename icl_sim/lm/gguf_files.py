"""Models in GGUF files: the header is read here, with every count checked against the size of the file; the package
`gguf` makes floats of quantised blocks.

A file is turned into what a checkpoint folder has: a config.json, tensors under the names of a family, and the parts of
a tokenizer.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icl_sim import names
from icl_sim.lm.architecture import Rope
from icl_sim.lm.extras import needed
from icl_sim.lm.layers import frequencies

MOST_ENTRIES = 2**22  # of an array or a table; the largest vocabularies have 2^18
MOST_TEXT = 2**24  # bytes of one string
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# ggml's name -> that of the family, which is llama's in all kinds.
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OF_GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
DIVISORS = "rope_freqs.weight"  # of the rotary frequencies of Llama 3.1 to 3.3, which all have these numbers:
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192.0}
KINDS = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}


class Stored(NamedTuple):
    """A tensor of the file: its shape (outputs first), its ggml type and where its bytes are."""

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


class Gguf:
    """A GGUF file, mapped into memory; a `Source` of tensors (`icl_sim.lm.weights`).

    Attributes:
      fields: the metadata by key; arrays are lists.
      config: what its config.json would say.
      shapes: of the tensors, under the names of the family.

    Raises:
      ValueError: if the file is not GGUF, is broken, or of a kind that is not supported.
    """

    def __init__(self, path: Path):
        self.where = str(path)
        try:
            with open(path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}.") from None
        reader = _Reader(self._bytes, self.where)
        self.fields, stored = _header(reader)
        self.kind = self.fields.get("general.architecture")
        names.require(f"The architecture of {path}", self.kind, KINDS)
        self._stored = {self._renamed(name): tensor for name, tensor in stored.items()}
        scaled = self.kind == "llama" and DIVISORS in stored  # no tensor of the model: its config says it
        self.shapes = {name: tensor.shape for name, tensor in self._stored.items() if name != DIVISORS or not scaled}
        self.config = self._config()

    def read(self, name: str) -> np.ndarray:
        """One tensor in float32, as the family keeps it."""
        tensor = self._stored[name]
        quants, constants = needed("gguf.quants"), needed("gguf.constants")
        kind = constants.GGMLQuantizationType(tensor.kind)
        raw = np.frombuffer(self._bytes, np.uint8, tensor.size, tensor.start)
        try:
            # Rows of blocks; what is one block or more wide is dequantised row by row.
            flat = quants.dequantize(np.reshape(raw, (math.prod(tensor.shape[:-1]), -1)), kind)
        except NotImplementedError:
            raise ValueError(
                f"{self.where} has the tensor {name!r} of type {kind.name}, which is not supported."
            ) from None
        array = np.reshape(flat, tensor.shape).astype(np.float32, copy=False)
        if self.kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias")):
            key = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
            return unpermuted(array, self.config[key])
        if self.kind == "gemma3" and name.endswith("norm.weight"):
            return array - 1.0  # the file has what is multiplied by, 1 + w
        return array

    def _renamed(self, name: str) -> str:
        """The family's name of a tensor; one that has none keeps its own, and will be told as extra."""
        if name in _ENDS:
            return _ENDS[name]
        table = _LAYER | (_OF_GEMMA if self.kind == "gemma3" else {})
        head, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        part, _, suffix = rest.rpartition(".")
        if head == "blk" and part in table and number.isdecimal():
            return f"model.layers.{number}.{table[part]}.{suffix}"
        return name

    def _field(self, key: str, default: Any = None) -> Any:
        """A number of the model's own, as "llama.block_count"."""
        value = self.fields.get(f"{self.kind}.{key}", default)
        if value is None:
            raise ValueError(f"{self.where} has no {self.kind}.{key}, which it needs.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{self.where} has {self.kind}.{key} {str(value)[:80]!r}, which must be one number.")
        return value

    def _config(self) -> dict[str, Any]:
        width, heads = self._field("embedding_length"), self._field("attention.head_count")
        embedding = self.shapes.get("model.embed_tokens.weight")
        if embedding is None:
            raise ValueError(f"{self.where} has no tensor token_embd.weight.")
        head_width = self._field("attention.key_length", width // heads if heads else 0)
        if self._field("attention.value_length", head_width) != head_width:
            raise ValueError(f"{self.where} has keys and values of different widths, which is not supported.")
        if self._field("rope.dimension_count", head_width) != head_width:
            raise ValueError(f"{self.where} rotates a part of each head only, which is not supported for {self.kind}.")
        if self.fields.get(f"{self.kind}.expert_count", 0):
            raise ValueError(f"{self.where} is a mixture of experts, which is not supported.")
        config = {
            "model_type": KINDS[str(self.kind)],
            "vocab_size": embedding[0],
            "hidden_size": width,
            "num_hidden_layers": self._field("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self._field("attention.head_count_kv", heads),
            "head_dim": head_width,
            "intermediate_size": self._field("feed_forward_length"),
            "max_position_embeddings": self._field("context_length"),
            "rms_norm_eps": self._field("attention.layer_norm_rms_epsilon"),
            "rope_theta": self._field("rope.freq_base", 1e6 if self.kind == "gemma3" else 1e4),
            "tie_word_embeddings": "lm_head.weight" not in self.shapes,
            "attention_bias": "model.layers.0.self_attn.q_proj.bias" in self.shapes,
        }
        if (scaling := self.fields.get(f"{self.kind}.rope.scaling.type", "none")) != "none":
            config["rope_scaling"] = {"rope_type": scaling, "factor": self._field("rope.scaling.factor")}
        if DIVISORS in self._stored and DIVISORS not in self.shapes:
            config["rope_scaling"] = self._llama3(config["rope_theta"], head_width)
        if self.kind == "gemma3":
            narrow = config["num_hidden_layers"] == 62  # the 27B alone scales by its width over its heads
            config |= {
                "hidden_activation": "gelu_pytorch_tanh",
                "query_pre_attn_scalar": width // heads if narrow and heads else head_width,
                "sliding_window": self._field("attention.sliding_window"),
                "rope_local_base_freq": self._field("rope.freq_base_swa", 1e4),
            }
        for ours, theirs in (("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id")):
            if isinstance(token := self.fields.get(f"tokenizer.ggml.{theirs}"), int):
                config[ours] = token
        return config


    def _llama3(self, theta: float, width: int) -> dict[str, Any]:
        """What the config of Llama 3.1 says of its rotary frequencies, of which the file has the divisors."""
        divisor_J = self.read(DIVISORS)
        factor = float(divisor_J.max())
        if factor >= 1 and theta > 0 and width > 0:
            rope = Rope(theta=theta, factor=factor, llama3=(*LLAMA3.values(),))  # type: ignore[arg-type]
            expected_J = frequencies(Rope(theta=theta), width) / frequencies(rope, width)
            if divisor_J.shape == expected_J.shape and np.allclose(divisor_J, expected_J, rtol=1e-4):
                return {"rope_type": "llama3", "factor": factor, **LLAMA3}
        raise ValueError(
            f"{self.where} has a tensor {DIVISORS} that is not that of Llama 3.1 to 3.3, which is not supported."
        )


def unpermuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in the order of a half rotation, from that of an interleaved one (llama only)."""
    if heads < 1 or rows.shape[0] % (2 * heads):
        raise ValueError(f"A tensor of {rows.shape[0]} rows cannot be that of {heads} heads of an even width.")
    pairs = np.reshape(rows, (heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:]))
    return np.reshape(np.swapaxes(pairs, 1, 2), rows.shape)


class _Reader:
    """Goes through the header; never past the end of the file, and never for more than it can hold."""

    def __init__(self, data: mmap.mmap, where: str):
        self._data, self._where, self.at = data, where, 0

    def refuse(self, what: str) -> ValueError:
        return ValueError(f"{self._where} is not a whole GGUF file: {what}.")

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    @property
    def length(self) -> int:
        return len(self._data)

    def number(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        if size > self.left:
            raise self.refuse("it ends in its header")
        (value,) = struct.unpack_from("<" + code, self._data, self.at)
        self.at += size
        return value

    def count(self, least_bytes: int, what: str) -> int:
        """A count of things that take so many bytes at least."""
        count = self.number("Q")
        if count > MOST_ENTRIES or count * least_bytes > self.left:
            raise self.refuse(f"it claims {count} {what}")
        return count

    def text(self) -> str:
        size = self.number("Q")
        if size > min(self.left, MOST_TEXT):
            raise self.refuse(f"it claims a text of {size} bytes")
        self.at += size
        return self._data[self.at - size : self.at].decode("utf-8", errors="replace")

    def value(self, kind: int, inside: bool = False) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY or inside:
            raise self.refuse(f"a value has the unknown type {kind}" if kind != ARRAY else "it has arrays of arrays")
        of = self.number("I")
        if of in SCALARS:
            code = SCALARS[of]
            count = self.count(struct.calcsize("<" + code), "entries of an array")
            values = struct.unpack_from(f"<{count}{code}", self._data, self.at)
            self.at += count * struct.calcsize("<" + code)
            return list(values)
        return [self.value(of, inside=True) for _ in range(self.count(8, "entries of an array"))]


def _header(reader: _Reader) -> tuple[dict[str, Any], dict[str, Stored]]:
    if reader.left < 4 or reader.number("4s") != b"GGUF":
        raise reader.refuse("it does not begin with GGUF")
    if (version := reader.number("I")) not in (2, 3):
        raise reader.refuse(f"its version is {version}; supported: 2, 3, in little endian")
    tensors = reader.count(24, "tensors")
    fields = {}
    for _ in range(reader.count(13, "fields")):
        key = reader.text()
        fields[key] = reader.value(reader.number("I"))
    infos = {}
    for _ in range(tensors):
        name, axes = reader.text(), reader.number("I")
        if not 1 <= axes <= 4 or name in infos:
            raise reader.refuse(f"the tensor {name[:80]!r} has {axes} axes or is there twice")
        shape = tuple(reader.number("Q") for _ in range(axes))[::-1]
        infos[name] = (shape, reader.number("I"), reader.number("Q"))
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20:
        raise reader.refuse(f"its alignment is {str(alignment)[:80]}")
    begin = -(-reader.at // alignment) * alignment
    return fields, {name: _stored(reader, name, begin, *info) for name, info in infos.items()}


def _stored(reader: _Reader, name: str, begin: int, shape: tuple[int, ...], kind: int, offset: int) -> Stored:
    constants = needed("gguf.constants")
    try:
        block, block_bytes = constants.GGML_QUANT_SIZES[constants.GGMLQuantizationType(kind)]
    except (KeyError, ValueError):
        raise reader.refuse(f"the tensor {name[:80]!r} has the unknown type {kind}") from None
    if min(shape) < 1 or shape[-1] % block:
        raise reader.refuse(f"the tensor {name[:80]!r} has the shape {list(shape)}, not of whole blocks of {block}")
    size = math.prod(shape) // block * block_bytes
    if begin + offset + size > reader.length:
        raise reader.refuse(f"the tensor {name[:80]!r} goes past its end")
    return Stored(shape, kind, begin + offset, size)


def tokenizer_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the tokenizer, by their names in its section."""
    start = "tokenizer.ggml."
    return {key.removeprefix(start): value for key, value in fields.items() if key.startswith(start)}
