"""Every family against logits of transformers, and each way in which a reader of it usually goes wrong."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.lm import decoder, model, weights
from icl_sim.lm.families import FAMILIES, Part, architecture_of, family_of
from tests.lm import tiny

CLOSE, FAR = 1e-4, 5e-3


@functools.partial(jax.jit, static_argnums=0)
def logits(architecture, params):
    hidden_BTD = decoder.forward(architecture, params, jnp.asarray(tiny.IDS)).hidden_BTD
    return decoder.unembed(architecture, params, hidden_BTD)


class Arrays:
    """Tensors in memory, as a source of parameters."""

    where = "memory"

    def __init__(self, arrays):
        self.arrays, self.shapes = arrays, {name: array.shape for name, array in arrays.items()}

    def read(self, name):
        return self.arrays[name]


def loaded(case, *, architecture=None, family=None, arrays=None):
    """Architecture and parameters of a case, with something about it changed."""
    config = tiny.golden(case)["config"]
    architecture = architecture or architecture_of(config)
    family = family or family_of(config)
    arrays = arrays or tiny.tensors(case)
    return architecture, weights.read_params(architecture, family, Arrays(arrays), np.float32)


def off(case, **changes):
    """How far the logits of a case, with something changed, are from those of transformers."""
    return np.abs(logits(*loaded(case, **changes)) - np.asarray(tiny.golden(case)["logits"])).max()


@pytest.mark.parametrize("case", tiny.CASES)
def test_logits_are_those_of_transformers(case):
    assert off(case) < CLOSE


def test_every_family_has_a_golden_case():
    assert {tiny.golden(case)["config"]["model_type"] for case in tiny.CASES} == set(FAMILIES)


# What a family's own switch is for, and what reading it without that switch would be: each must show in the logits.
SPRUNG = {
    "GPT-Neo's queries are not scaled": ("gpt_neo", {"attention_scale": 0.5}),
    "GPT-Neo's second layer sees four tokens": ("gpt_neo", {"windows": ()}),
    "GPT-J's residual is parallel": ("gptj", {"residual": "pre_norm"}),
    "GPT-J rotates neighbours": ("gptj", {"rope_interleaved": False}),
    "GPT-J rotates a part of each head": ("gptj", {"rope_width": 8}),
    "GPT-NeoX's residual is parallel": ("gpt_neox", {"residual": "pre_norm"}),
    "OPT's positions begin at row 2": ("opt", {"position_offset": 0}),
    "OPT-350M norms last": ("opt_post_norm", {"residual": "pre_norm"}),
    "XGLM's positions begin at 2": ("xglm", {"position_offset": 0}),
    "XGLM's embedding is scaled": ("xglm", {"embedding_scale": 1.0}),
    "Qwen3's keys are normed": ("qwen3", {"query_key_norm": False}),
    "Gemma's norms add 1": ("gemma3", {"norm_plus_one": False}),
    "Gemma's embedding is scaled": ("gemma3", {"embedding_scale": 1.0}),
    "Gemma norms what it adds": ("gemma3", {"sandwich_norms": False}),
    "Gemma's scale is its own": ("gemma3", {"attention_scale": 8**-0.5}),
    "GPT-2 may divide by the layer": ("gpt2_by_layer", {"attention_scale_by_layer": False}),
}


@pytest.mark.parametrize("what", SPRUNG)
def test_a_switch_missed_shows(what):
    case, switches = SPRUNG[what]
    right, params = loaded(case)
    wrong = dataclasses.replace(right, **switches)
    if wrong.position_offset != right.position_offset and "position" in params["embedding"]:
        params["embedding"]["position"] = params["embedding"]["position"][: wrong.max_positions]
    if what == "GPT-J's residual is parallel":
        params["layers"]["mlp_norm"] = params["layers"]["attention_norm"]
    spare = {"query_norm", "key_norm"} if not wrong.query_key_norm else set()
    spare |= {"attention_out_norm", "mlp_out_norm"} if not wrong.sandwich_norms else set()
    params["layers"] = {name: leaf for name, leaf in params["layers"].items() if name not in spare}
    assert np.abs(logits(wrong, params) - np.asarray(tiny.golden(case)["logits"])).max() > FAR


def test_gptj_with_a_second_norm_is_no_gptj():
    architecture = dataclasses.replace(architecture_of(tiny.golden("gptj")["config"]), residual="parallel_two_norms")
    with pytest.raises(KeyError, match="mlp_norm"):
        loaded("gptj", architecture=architecture)


def test_gemmas_layers_have_their_own_thetas():
    architecture = architecture_of(tiny.golden("gemma3")["config"])
    assert [rope.theta for rope in architecture.ropes] == [1e4, 1e6, 1e4]
    flat = dataclasses.replace(architecture, ropes=architecture.ropes[:1] * 3)
    assert off("gemma3", architecture=flat) > FAR


def test_gpt2s_kernels_are_not_transposed():
    family = dataclasses.replace(FAMILIES["gpt2"], transposed=True)
    with pytest.raises(ValueError, match=r"c_attn.weight \[16, 48\] instead of \[48, 16\]"):
        loaded("gpt2", family=family)
    swapped = tiny.tensors("gpt2")
    for name in swapped:
        if "attn.c_proj.weight" in name:  # square, so that only the numbers tell
            swapped[name] = swapped[name].T
    assert off("gpt2", arrays=swapped) > FAR


def test_gpt_neos_kernels_are_transposed_in_spite_of_their_names():
    with pytest.raises(ValueError, match=r"c_fc.weight \[64, 16\] instead of \[16, 64\]"):
        loaded("gpt_neo", family=dataclasses.replace(FAMILIES["gpt_neo"], transposed=False))


@pytest.mark.parametrize(("case", "by_head"), [("gpt_neox", False), ("gpt2", True)])
def test_queries_keys_and_values_are_laid_out_by_head_in_neox_alone(case, by_head):
    family = FAMILIES[case]
    changed = {
        path: entry._replace(by_head=by_head) if isinstance(entry, Part) else entry
        for path, entry in family.tensors.items()
    }
    assert off(case, family=dataclasses.replace(family, tensors=changed)) > FAR


@pytest.mark.parametrize("case", ["opt", "xglm"])
def test_final_layer_norm_of_a_layer_is_the_norm_before_its_mlp(case):
    """Read as a norm after the MLP, as its name suggests, it would be the norm of the attention that is missing."""
    arrays = tiny.tensors(case)
    first = next(name for name in arrays if "layers.0.self_attn_layer_norm.weight" in name)
    second = first.replace("self_attn_layer_norm", "final_layer_norm")
    swapped = arrays | {first: arrays[second], second: arrays[first]}
    assert off(case, arrays=swapped) > FAR


def test_opts_table_has_two_rows_more_than_positions():
    assert tiny.golden("opt")["tensors"]["model.decoder.embed_positions.weight"] == [34, 16]
    assert architecture_of(tiny.golden("opt")["config"]).max_positions == 32


def test_heads_that_share_keys_are_consecutive():
    """Query heads 0 and 1 read the first keys: with heads 1 and 2 exchanged the numbers are others."""
    arrays = tiny.tensors("llama")
    for i in range(2):
        name = f"model.layers.{i}.self_attn.q_proj.weight"
        arrays[name] = np.reshape(arrays[name], (4, 4, 16))[[0, 2, 1, 3]].reshape(16, 16)
        name = f"model.layers.{i}.self_attn.o_proj.weight"
        arrays[name] = np.reshape(arrays[name], (16, 4, 4))[:, [0, 2, 1, 3]].reshape(16, 16)
    assert off("llama", arrays=arrays) > FAR


def test_qwen2_has_biases_of_queries_keys_and_values_alone():
    biased = {path[1] for path in weights.flat(decoder.shapes(loaded("qwen2")[0])) if path[-1] == "bias"}
    assert biased == {"query", "key", "value"}
    without = {name: array * (not name.endswith("bias")) for name, array in tiny.tensors("qwen2").items()}
    assert off("qwen2", arrays=without) > FAR


def test_released_qwen2_has_a_window_and_does_not_use_it():
    config = tiny.golden("qwen2")["config"] | {"sliding_window": 4, "max_window_layers": 1, "use_sliding_window": False}
    config.pop("layer_types", None)
    assert architecture_of(config).windows == ()


def test_gemmas_embedding_scale_is_rounded_as_its_parameters_are():
    """sqrt(640) = 25.298 is 25.25 in bfloat16."""
    config = tiny.golden("gemma3")["config"] | {"hidden_size": 640}
    architecture = dataclasses.replace(architecture_of(config), depth=1, ropes=architecture_of(config).ropes[:1])
    architecture = dataclasses.replace(architecture, windows=())
    ones = {"embedding": {"token": jnp.ones((tiny.VOCAB, 640), jnp.bfloat16)}}
    x_BTD, _ = decoder.begin(architecture, ones, jnp.zeros((1, 1), int))
    assert x_BTD[0, 0, 0] == 25.25
    rounded_after = dataclasses.replace(architecture, embedding_scale=45.2548, embedding_scale_rounded=False)
    threes = {"embedding": {"token": jnp.full((tiny.VOCAB, 640), 3, jnp.bfloat16)}}
    assert decoder.begin(rounded_after, threes, jnp.zeros((1, 1), int))[0][0, 0, 0] == jnp.bfloat16(3 * 45.2548)


# Configs as the hub has them, before the names of version 5: (changes to a golden config, keys to leave out).
OLDER = {
    "llama3": ({"rope_theta": 100.0, "rope_scaling": {"type": "llama3", "factor": 4.0, "low_freq_factor": 1.0}
        | {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}}, ["rope_parameters"]),
    "gpt_neox": ({"rotary_emb_base": 10000, "rotary_pct": 0.5}, ["rope_parameters", "attention_bias"]),
    "gemma3": ({"rope_theta": 1e6, "rope_local_base_freq": 1e4}, ["rope_parameters"]),
    "gptj": ({}, ["n_inner", "tie_word_embeddings"]),
    "gpt2": ({"n_ctx": 32}, ["n_positions", "n_inner", "tie_word_embeddings"]),
    "opt": ({}, ["enable_bias", "layer_norm_elementwise_affine", "tie_word_embeddings"]),
    "qwen2": ({}, ["layer_types", "rope_parameters"]),
}  # fmt: skip


@pytest.mark.parametrize("case", OLDER)
def test_older_configs_say_the_same(case):
    config = tiny.golden(case)["config"]
    changes, gone = OLDER[case]
    older = {key: value for key, value in config.items() if key not in gone} | changes
    assert architecture_of(older) == architecture_of(config)


def test_linear_scaling_divides_positions_of_full_layers_only():
    config = tiny.golden("gemma3")["config"]
    older = {key: value for key, value in config.items() if key != "rope_parameters"}
    older |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    assert [rope.factor for rope in architecture_of(older).ropes] == [1.0, 8.0, 1.0]


REFUSED = {
    "an unknown kind": ("llama", {"model_type": "lama"}, "'lama'; allowed: .*Did you mean 'llama'"),
    "no kind": ("llama", {"model_type": None}, "no 'model_type'"),
    "yarn": ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "'yarn'; supported: default, linear"),
    "quantised": ("llama", {"quantization_config": {"bits": 4}}, "quantization_config .* supported: left out"),
    "softcap": ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping 30.0; supported: left out"),
    "both ways": ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention True"),
    "parts": ("llama", {"pretraining_tp": 2}, "pretraining_tp 2; supported: 1"),
    "an activation": ("opt", {"activation_function": "rrelu"}, "'rrelu'; allowed: .* 'relu'"),
    "no size": ("gpt2", {"n_embd": None}, "has no 'n_embd'"),
    "a size of text": ("gpt2", {"n_layer": "12"}, "n_layer '12'; supported: a whole number"),
    "too deep": ("llama", {"num_hidden_layers": 10**7}, "num_hidden_layers 10000000; supported: at most 1000"),
    "heads": ("gpt2", {"n_head": 3}, "width 16 and 3 heads"),
    "kinds of attention": ("gpt_neo", {"attention_types": [[["global"], 10**12]]}, "attention_types .* supported"),
    "more than a float": ("gpt2", {"layer_norm_epsilon": 10**400}, "layer_norm_epsilon .* a positive number"),
    "kinds of layers": ("gemma3", {"layer_types": ["chunked_attention"] * 3}, "layer_types 'chunked_attention'"),
    "crossed": ("gpt2", {"add_cross_attention": True}, "add_cross_attention True; supported: False"),
    "norms without parameters": (
        "opt",
        {"layer_norm_elementwise_affine": False},
        "layer_norm_elementwise_affine False",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_supported_is_refused_in_a_sentence(what):
    case, changes, sentence = REFUSED[what]
    with pytest.raises(ValueError, match=sentence):
        architecture_of(tiny.golden(case)["config"] | changes)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("torch", "transformers")),
    reason="needs torch and transformers: pip install icl_sim[parity]",
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", tiny.CASES)
def test_transformers_reads_what_we_save(case, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    first = tiny.write(tmp_path / "first", tiny.golden(case)["config"], tiny.tensors(case))
    model.save(model.load(first), tmp_path / "second")
    for folder in (first, tmp_path / "second"):
        theirs, notes = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        assert not any(notes.values()), notes
        with torch.inference_mode():
            found = theirs.eval()(torch.tensor(tiny.IDS)).logits.numpy()
        assert np.abs(found - np.asarray(tiny.golden(case)["logits"])).max() < CLOSE
