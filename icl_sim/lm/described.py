"""What a config.json says of each family's architecture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from icl_sim.lm.architecture import MAX_DEPTH, Architecture
from icl_sim.lm.config import Config


def gpt2(c: Config) -> Architecture:
    width, heads = c.whole("n_embd"), c.whole("n_head")
    head_width = _divided(width, heads)
    return Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=_depth(c, "n_layer"),
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        mlp_width=c.whole("n_inner", default=4 * width),
        max_positions=c.whole("n_positions", "n_ctx"),
        norm_epsilon=c.number("layer_norm_epsilon", default=1e-5),
        attention_scale=head_width**-0.5 if c.flag("scale_attn_weights", default=True) else 1.0,
        attention_scale_by_layer=c.flag("scale_attn_by_inverse_layer_idx", default=False),
        activation=c.act("activation_function", default="gelu_new"),
        tied=c.flag("tie_word_embeddings", default=True),
        initial_std=c.number("initializer_range", default=0.02),
    )


def gpt_neo(c: Config) -> Architecture:
    width, heads, depth = c.whole("hidden_size"), c.whole("num_heads"), _depth(c, "num_layers")
    return Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=heads,
        head_width=_divided(width, heads),
        mlp_width=c.whole("intermediate_size", default=4 * width),
        max_positions=c.whole("max_position_embeddings"),
        norm_epsilon=c.number("layer_norm_epsilon", default=1e-5),
        windows=_gpt_neo_windows(c, depth),
        attention_scale=1.0,
        query_key_value_bias=False,
        activation=c.act("activation_function", default="gelu_new"),
        tied=c.flag("tie_word_embeddings", default=True),
        initial_std=c.number("initializer_range", default=0.02),
    )


def _gpt_neo_windows(c: Config, depth: int) -> tuple[int, ...]:
    """From `attention_types`, as [[["global", "local"], 12]]: lists of kinds, each repeated."""
    window, kinds = c.whole("window_size", default=256), []
    groups = c.get("attention_types", default=[[["global", "local"], max(depth // 2, 1)]])
    try:
        for names_of, times in groups:
            if not isinstance(times, int) or times < 0 or len(kinds) + times * len(names_of) > MAX_DEPTH:
                raise ValueError
            kinds += list(names_of) * times
        windows = tuple({"global": 0, "local": window}[kind] for kind in kinds)
        if len(windows) != depth:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"The model's config has attention_types {str(groups)[:80]}; supported: lists of global and local, each "
            f"with how often it is repeated, {depth} layers in all."
        ) from None
    return windows


def gptj(c: Config) -> Architecture:
    width, heads, depth = c.whole("n_embd"), c.whole("n_head"), _depth(c, "n_layer")
    head_width = _divided(width, heads)
    return Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        mlp_width=c.whole("n_inner", default=4 * width),
        max_positions=c.whole("n_positions"),
        norm_epsilon=c.number("layer_norm_epsilon", default=1e-5),
        positions="rope",
        rope_width=c.whole("rotary_dim", default=head_width),
        rope_interleaved=True,
        ropes=(c.rope(theta=10_000.0),) * depth,
        residual="parallel_one_norm",
        attention_scale=head_width**-0.5,
        query_key_value_bias=False,
        output_bias=False,
        head_bias=True,
        activation=c.act("activation_function", default="gelu_new"),
        tied=c.flag("tie_word_embeddings", default=False),
        initial_std=c.number("initializer_range", default=0.02),
    )


def gpt_neox(c: Config) -> Architecture:
    width, heads, depth = c.whole("hidden_size"), c.whole("num_attention_heads"), _depth(c, "num_hidden_layers")
    head_width = _divided(width, heads)
    bias = c.flag("attention_bias", default=True)
    return Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        mlp_width=c.whole("intermediate_size"),
        max_positions=c.whole("max_position_embeddings"),
        norm_epsilon=c.number("layer_norm_eps", default=1e-5),
        positions="rope",
        rope_width=int(head_width * c.partial_rotary("rotary_pct", default=0.25)),
        ropes=(c.rope(theta=10_000.0, theta_keys=("rotary_emb_base", "rope_theta")),) * depth,
        residual="parallel_two_norms" if c.flag("use_parallel_residual", default=True) else "pre_norm",
        attention_scale=head_width**-0.5,
        query_key_value_bias=bias,
        output_bias=bias,
        activation=c.act("hidden_act", default="gelu"),
        tied=c.flag("tie_word_embeddings", default=False),
        initial_std=c.number("initializer_range", default=0.02),
    )


def opt(c: Config) -> Architecture:
    c.must_be("layer_norm_elementwise_affine", True)
    width, heads = c.whole("hidden_size"), c.whole("num_attention_heads")
    head_width, first = _divided(width, heads), c.flag("do_layer_norm_before", default=True)
    bias = c.flag("enable_bias", default=True)
    return Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=_depth(c, "num_hidden_layers"),
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        mlp_width=c.whole("ffn_dim"),
        max_positions=c.whole("max_position_embeddings"),
        position_offset=2,
        embedding_width=c.whole("word_embed_proj_dim", default=width),
        residual="pre_norm" if first else "post_norm",
        final_norm=first and not c.flag("_remove_final_layer_norm", default=False),
        attention_scale=head_width**-0.5,
        query_key_value_bias=bias,
        output_bias=bias,
        mlp_bias=bias,
        activation=c.act("activation_function", default="relu"),
        tied=c.flag("tie_word_embeddings", default=True),
        initial_std=c.number("init_std", default=0.02),
    )


def xglm(c: Config) -> Architecture:
    width, heads = c.whole("d_model"), c.whole("attention_heads")
    head_width = _divided(width, heads)
    return Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=_depth(c, "num_layers"),
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        mlp_width=c.whole("ffn_dim"),
        max_positions=c.whole("max_position_embeddings"),
        positions="sinusoidal",
        position_offset=2,
        embedding_scale=math.sqrt(width) if c.flag("scale_embedding", default=True) else 1.0,
        attention_scale=head_width**-0.5,
        activation=c.act("activation_function", default="gelu"),
        tied=c.flag("tie_word_embeddings", default=True),
        initial_std=c.number("init_std", default=0.02),
    )


def _llama_like(c: Config, **switches: Any) -> Architecture:
    width, heads, depth = c.whole("hidden_size"), c.whole("num_attention_heads"), _depth(c, "num_hidden_layers")
    c.must_be("partial_rotary_factor", 1.0, 1)
    c.must_be("pretraining_tp", 1)
    head_width = c.whole("head_dim", default=None) or _divided(width, heads)
    plain = Architecture(
        vocab_size=c.whole("vocab_size"),
        width=width,
        depth=depth,
        heads=heads,
        kv_heads=c.whole("num_key_value_heads", default=heads),
        head_width=head_width,
        mlp_width=c.whole("intermediate_size"),
        max_positions=c.whole("max_position_embeddings"),
        norm="rms",
        norm_epsilon=c.number("rms_norm_eps", default=1e-6),
        positions="rope",
        rope_width=head_width,
        ropes=(c.rope(theta=10_000.0),) * depth,
        attention_scale=head_width**-0.5,
        query_key_value_bias=False,
        output_bias=False,
        mlp_bias=False,
        gated=True,
        activation=c.act("hidden_act", default="silu"),
        tied=c.flag("tie_word_embeddings", default=False),
        initial_std=c.number("initializer_range", default=0.02),
    )
    return dataclasses.replace(plain, **switches)


def llama(c: Config) -> Architecture:
    bias = c.flag("attention_bias", default=False)
    return _llama_like(c, query_key_value_bias=bias, output_bias=bias, mlp_bias=c.flag("mlp_bias", default=False))


def mistral(c: Config) -> Architecture:
    window, depth = c.whole("sliding_window", default=0), _depth(c, "num_hidden_layers")
    return _llama_like(c, windows=(window,) * depth if window else ())


def qwen2(c: Config) -> Architecture:
    return _llama_like(c, query_key_value_bias=True, windows=_qwen_windows(c))


def qwen3(c: Config) -> Architecture:
    bias = c.flag("attention_bias", default=False)
    c.whole("head_dim")  # never the width over the heads
    return _llama_like(c, query_key_value_bias=bias, output_bias=bias, query_key_norm=True, windows=_qwen_windows(c))


def _qwen_windows(c: Config) -> tuple[int, ...]:
    """Of the layers after the first `max_window_layers`, if windows are used at all: released models have them off."""
    depth = _depth(c, "num_hidden_layers")
    if not c.flag("use_sliding_window", default=False):
        return ()
    full = c.get("max_window_layers", default=28)
    if isinstance(full, bool) or not isinstance(full, int):
        raise ValueError(f"The model's config has max_window_layers {str(full)[:80]}; supported: a whole number.")
    window = c.whole("sliding_window", default=4096)
    kinds = c.layer_types(depth, ["full_attention" if i < full else "sliding_attention" for i in range(depth)])
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)


def gemma3(c: Config) -> Architecture:
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        c.must_be(key)
    c.must_be("use_bidirectional_attention", False)
    depth = _depth(c, "num_hidden_layers")
    every = c.whole("sliding_window_pattern", "_sliding_window_pattern", default=6)
    kinds = c.layer_types(depth, ["sliding_attention" if i % every else "full_attention" for i in range(1, depth + 1)])
    window = c.whole("sliding_window", default=4096)
    full = c.rope(theta=1e6, kind="full_attention")
    if isinstance(c.values.get("rope_parameters"), Mapping):
        local = c.rope(theta=1e4, kind="sliding_attention", theta_keys=("rope_local_base_freq",))
    else:  # before that key, scaling was of full layers only
        local = dataclasses.replace(full, theta=c.number("rope_local_base_freq", default=1e4), factor=1.0, llama3=None)
    bias, width = c.flag("attention_bias", default=False), c.whole("hidden_size")
    c.whole("head_dim")
    return _llama_like(
        c,
        norm_plus_one=True,
        ropes=tuple(full if kind == "full_attention" else local for kind in kinds),
        windows=tuple(0 if kind == "full_attention" else window for kind in kinds),
        embedding_scale=math.sqrt(width),
        embedding_scale_rounded=True,
        sandwich_norms=True,
        attention_scale=c.number("query_pre_attn_scalar") ** -0.5,
        query_key_norm=True,
        query_key_value_bias=bias,
        output_bias=bias,
        activation=c.act("hidden_activation", "hidden_act", default="gelu_pytorch_tanh"),
        tied=c.flag("tie_word_embeddings", default=True),
    )


def _depth(c: Config, key: str) -> int:
    depth = c.whole(key)
    if depth > MAX_DEPTH:
        raise ValueError(f"The model's config has {key} {depth}; supported: at most {MAX_DEPTH} layers.")
    return depth


def _divided(width: int, heads: int) -> int:
    if width % heads:
        raise ValueError(f"The model's config has width {width} and {heads} heads, which must divide it.")
    return width // heads
