"""The families of models that can be read: for each, how its config says what it is, and what its tensors are called.

A new family is one function from a config to an `Architecture` (`described.py`), one table of names, and one line in
`FAMILIES`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from icl_sim import names
from icl_sim.lm import described
from icl_sim.lm.architecture import Architecture
from icl_sim.lm.config import Config


class Part(NamedTuple):
    """One of queries, keys and values (0, 1, 2), which the checkpoint keeps in one tensor.

    `by_head` tells whether its output axis is laid out (heads, 3, head_width) rather than (3, heads, head_width).
    """

    name: str
    number: int
    by_head: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
    """How checkpoints of one kind are read.

    Attributes:
      architecture: what a config describes.
      tensors: our path -> the name in the checkpoint, without prefix, `{i}` for the number of the layer.
      prefix: of all names but those of the head; files with and without it are read, and it is written.
      head_names: names that the head goes by, the one to write first.
      dropped: regular expressions of names, without prefix, that hold nothing of their own.
      transposed: whether kernels are stored `[outputs, inputs]`, as PyTorch's Linear does.
    """

    architecture: Callable[[Config], Architecture]
    tensors: Mapping[str, str | Part]
    prefix: str
    head_names: tuple[str, ...] = ("lm_head.weight",)
    dropped: tuple[str, ...] = ()
    transposed: bool = True


def architecture_of(values: Mapping[str, Any]) -> Architecture:
    """The architecture that a config.json describes.

    Raises:
      ValueError: for a kind of model that is not known, a size that is missing or wrong, or a switch that would change
        what the model computes and is not supported.
    """
    config = Config(values)
    for key in ("quantization_config", "compression_config"):
        config.must_be(key)
    config.must_be("add_cross_attention", False)
    architecture = family_of(values).architecture(config)
    architecture.check()
    return architecture


def family_of(values: Mapping[str, Any]) -> Family:
    """The family of a config.json, by its `model_type`."""
    kind = Config(values).get("model_type")
    if not isinstance(kind, str):
        raise ValueError(f"The model's config has model_type {kind!r}, which must be a name.")
    names.require("The config's model_type", kind, FAMILIES)
    return FAMILIES[kind]


def _layers(**tensors: str) -> dict[str, str]:
    """Kernel and bias, or scale and bias, of the maps and norms of a layer."""
    both = {}
    for name, tensor in tensors.items():
        weight = "scale" if name.endswith("norm") else "kernel"
        both[f"layers/{name}/{weight}"] = tensor + ".weight"
        both[f"layers/{name}/bias"] = tensor + ".bias"
    return both


def _fused(tensor: str, *, by_head: bool) -> dict[str, Part]:
    return {
        f"layers/{name}/{leaf}": Part(f"{tensor}.{suffix}", number, by_head)
        for number, name in enumerate(("query", "key", "value"))
        for leaf, suffix in (("kernel", "weight"), ("bias", "bias"))
    }


_TABLES = {"embedding/token": "wte.weight", "embedding/position": "wpe.weight"}
_FINAL = {"final/norm/scale": "ln_f.weight", "final/norm/bias": "ln_f.bias"}
_HEAD = {"head/token": "lm_head.weight"}

_FAIRSEQ_LAYERS = _layers(
    attention_norm="layers.{i}.self_attn_layer_norm",
    query="layers.{i}.self_attn.q_proj",
    key="layers.{i}.self_attn.k_proj",
    value="layers.{i}.self_attn.v_proj",
    output="layers.{i}.self_attn.out_proj",
    mlp_norm="layers.{i}.final_layer_norm",  # the norm before the MLP, in spite of its name
    up="layers.{i}.fc1",
    down="layers.{i}.fc2",
)
_LLAMA_TENSORS = {
    "embedding/token": "embed_tokens.weight",
    **_layers(
        attention_norm="layers.{i}.input_layernorm",
        query="layers.{i}.self_attn.q_proj",
        key="layers.{i}.self_attn.k_proj",
        value="layers.{i}.self_attn.v_proj",
        output="layers.{i}.self_attn.o_proj",
        query_norm="layers.{i}.self_attn.q_norm",
        key_norm="layers.{i}.self_attn.k_norm",
        mlp_norm="layers.{i}.post_attention_layernorm",
        gate="layers.{i}.mlp.gate_proj",
        up="layers.{i}.mlp.up_proj",
        down="layers.{i}.mlp.down_proj",
    ),
    "final/norm/scale": "norm.weight",
    **_HEAD,
}
_ROTARY = (r"(.*\.)?rotary_emb\.inv_freq",)


def _llama_family(architecture: Callable[[Config], Architecture], **names_of: str) -> Family:
    return Family(
        architecture=architecture, tensors=_LLAMA_TENSORS | _layers(**names_of), prefix="model.", dropped=_ROTARY
    )


FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        architecture=described.gpt2,
        tensors={
            **_TABLES,
            **_fused("h.{i}.attn.c_attn", by_head=False),
            **_layers(
                attention_norm="h.{i}.ln_1",
                output="h.{i}.attn.c_proj",
                mlp_norm="h.{i}.ln_2",
                up="h.{i}.mlp.c_fc",
                down="h.{i}.mlp.c_proj",
            ),
            **_FINAL,
            **_HEAD,
        },
        prefix="transformer.",
        dropped=(r"h\.\d+\.attn\.(masked_)?bias",),
        transposed=False,  # its Conv1D keeps [inputs, outputs]
    ),
    "gpt_neo": Family(
        architecture=described.gpt_neo,
        tensors={
            **_TABLES,
            **_layers(
                attention_norm="h.{i}.ln_1",
                query="h.{i}.attn.attention.q_proj",
                key="h.{i}.attn.attention.k_proj",
                value="h.{i}.attn.attention.v_proj",
                output="h.{i}.attn.attention.out_proj",
                mlp_norm="h.{i}.ln_2",
                up="h.{i}.mlp.c_fc",
                down="h.{i}.mlp.c_proj",
            ),
            **_FINAL,
            **_HEAD,
        },
        prefix="transformer.",
        dropped=(r"h\.\d+\.attn\.attention\.(masked_)?bias",),
    ),
    "gptj": Family(
        architecture=described.gptj,
        tensors={
            "embedding/token": "wte.weight",
            **_layers(
                attention_norm="h.{i}.ln_1",
                query="h.{i}.attn.q_proj",
                key="h.{i}.attn.k_proj",
                value="h.{i}.attn.v_proj",
                output="h.{i}.attn.out_proj",
                up="h.{i}.mlp.fc_in",
                down="h.{i}.mlp.fc_out",
            ),
            **_FINAL,
            **_HEAD,
            "head/bias": "lm_head.bias",
        },
        prefix="transformer.",
        dropped=(r"h\.\d+\.attn\.(masked_)?bias", r"h\.\d+\.attn\.embed_positions"),
    ),
    "gpt_neox": Family(
        architecture=described.gpt_neox,
        tensors={
            "embedding/token": "embed_in.weight",
            **_fused("layers.{i}.attention.query_key_value", by_head=True),
            **_layers(
                attention_norm="layers.{i}.input_layernorm",
                output="layers.{i}.attention.dense",
                mlp_norm="layers.{i}.post_attention_layernorm",
                up="layers.{i}.mlp.dense_h_to_4h",
                down="layers.{i}.mlp.dense_4h_to_h",
            ),
            "final/norm/scale": "final_layer_norm.weight",
            "final/norm/bias": "final_layer_norm.bias",
            **_HEAD,
        },
        prefix="gpt_neox.",
        head_names=("embed_out.weight", "lm_head.weight"),
        dropped=(r"layers\.\d+\.attention\.(masked_)?bias", *_ROTARY),
    ),
    "opt": Family(
        architecture=described.opt,
        tensors={
            "embedding/token": "embed_tokens.weight",
            "embedding/position": "embed_positions.weight",
            "embedding/project/kernel": "project_in.weight",
            **_FAIRSEQ_LAYERS,
            "final/norm/scale": "final_layer_norm.weight",
            "final/norm/bias": "final_layer_norm.bias",
            "final/project/kernel": "project_out.weight",
            **_HEAD,
        },
        prefix="model.decoder.",
    ),
    "xglm": Family(
        architecture=described.xglm,
        tensors={
            "embedding/token": "embed_tokens.weight",
            **_FAIRSEQ_LAYERS,
            "final/norm/scale": "layer_norm.weight",
            "final/norm/bias": "layer_norm.bias",
            **_HEAD,
        },
        prefix="model.",
        dropped=(r"embed_positions\.weights",),
    ),
    "llama": _llama_family(described.llama),
    "mistral": _llama_family(described.mistral),
    "qwen2": _llama_family(described.qwen2),
    "qwen3": _llama_family(described.qwen3),
    "gemma3_text": _llama_family(
        described.gemma3,
        attention_out_norm="layers.{i}.post_attention_layernorm",  # on what is added, in spite of llama's use of it
        mlp_norm="layers.{i}.pre_feedforward_layernorm",
        mlp_out_norm="layers.{i}.post_feedforward_layernorm",
    ),
}
