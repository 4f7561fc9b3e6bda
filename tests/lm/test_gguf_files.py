"""GGUF files, written here by the package of their authors: names, orders, norms, blocks, and broken headers."""

from __future__ import annotations

import time

import gguf
import jax
import numpy as np
import pytest

from icl_sim.lm import gguf_files, model
from icl_sim.lm.architecture import Rope
from icl_sim.lm.families import architecture_of
from icl_sim.lm.layers import frequencies
from tests.lm import tiny

KINDS = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3"}  # case -> ggml's name
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def ggml_name(name, kind):
    stem, suffix = name.rsplit(".", 1)
    names = NAMES | (GEMMA if kind == "gemma3" else {})
    if stem in names:
        return f"{names[stem]}.{suffix}"
    _, _, number, part = stem.split(".", 3)
    return f"blk.{number}.{names[part]}.{suffix}"


def permuted(rows, heads):
    """As the converter of llama.cpp orders the rows of queries and keys."""
    split = np.reshape(rows, (heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]))
    return np.reshape(np.swapaxes(split, 1, 2), rows.shape)


def written(path, case="llama", extra=(), fields=(), theta=None):
    """A GGUF file of a tiny checkpoint, as the converter of llama.cpp would make it."""
    kind, config = KINDS[case], tiny.golden(case)["config"]
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(theta or {"gemma3": 1e6}.get(kind, 1e4))
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if kind == "gemma3":
        writer.add_sliding_window(config["sliding_window"])
    tokens = ["<s>", "</s>", *(chr(97 + i) for i in range(26))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*tokens, *(f"<{i}>" for i in range(61 - len(tokens) - 2)), "ab", "abc"])
    writer.add_token_types([3, 3] + [1] * 59)
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for add, key, value in fields:
        getattr(writer, add)(key, value)
    for name, array in tiny.tensors(case).items():
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            array = permuted(array, config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"])
        if kind == "gemma3" and "norm" in name:
            array = array + 1
        writer.add_tensor(ggml_name(name, kind), array)
    for name, array, of in extra:
        writer.add_tensor(name, array, raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("case", KINDS)
def test_a_file_is_the_checkpoint_that_it_was_made_of(tmp_path, case):
    config = tiny.golden(case)["config"]
    found = model.load(written(tmp_path / "tiny.gguf", case))
    folder = model.load(tiny.write(tmp_path / "folder", config, tiny.tensors(case)))
    jax.tree.map(np.testing.assert_array_equal, found.params, folder.params)
    assert jax.tree.structure(found.params) == jax.tree.structure(folder.params)
    if case != "gemma3":  # the file does not say which layers have windows; real ones have the usual five of six
        exact = found.config | {"rms_norm_eps": config["rms_norm_eps"]}  # in the file it has 32 bits
        assert architecture_of(exact) == folder.architecture
    else:
        assert found.architecture.windows == (4, 4, 4)
        assert [rope.theta for rope in found.architecture.ropes] == [1e4] * 3
        assert found.architecture.attention_scale == 8**-0.5
    assert found.tokenizer is not None and (found.tokenizer.bos, found.tokenizer.eos) == (0, 1)
    assert [found.tokenizer.decode([token]) for token in found.tokenizer.encode("abcb<s>a")] == ["abc", "b", "<s>", "a"]


def test_queries_and_keys_are_put_back_in_order_for_llama_alone(tmp_path):
    """Row 1 of a head in the file is the partner of row 0, half a head further on."""
    rows = np.arange(16)
    np.testing.assert_array_equal(gguf_files.unpermuted(permuted(rows, 2), 2), rows)
    np.testing.assert_array_equal(gguf_files.unpermuted(rows, 2)[:8], [0, 2, 4, 6, 1, 3, 5, 7])
    name = "model.layers.0.self_attn.q_proj.weight"
    for case in ("llama", "qwen2"):
        raw = {t.name: t for t in gguf.GGUFReader(written(tmp_path / f"{case}.gguf", case)).tensors}
        kept = np.array_equal(raw["blk.0.attn_q.weight"].data, tiny.tensors(case)[name])
        assert kept == (case == "qwen2")


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "F16", "BF16", "Q5_0", "Q4_0"])
def test_blocks_are_dequantised_row_by_row(tmp_path, kind):
    numbers = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    of = gguf.GGMLQuantizationType[kind]
    extra = [("extra.weight", gguf.quants.quantize(numbers, of), of)]
    source = gguf_files.Gguf(written(tmp_path / "tiny.gguf", extra=extra))
    assert source.shapes["extra.weight"] == (6, 64)
    step = {"Q8_0": 0.02, "F16": 2e-3, "BF16": 2e-2}.get(kind, 0.4)
    np.testing.assert_allclose(source.read("extra.weight"), numbers, atol=step)
    with pytest.raises(ValueError, match=r"not part of the model: extra.weight"):
        model.load(tmp_path / "tiny.gguf")


def test_the_divisors_of_llama_3_are_the_scaling_of_its_config(tmp_path):
    """Of two frequencies, as many as a tiny head has, the converter of llama.cpp leaves one and divides the other."""
    theta, factor, width = 1e8, 32.0, 4
    divisor_J = np.asarray([1, factor], np.float32)
    extra = [("rope_freqs.weight", divisor_J, gguf.GGMLQuantizationType.F32)]
    found = model.load(written(tmp_path / "a.gguf", extra=extra, theta=theta))
    assert found.architecture.ropes[0] == Rope(theta=theta, factor=factor, llama3=(1.0, 4.0, 8192.0))
    plain = frequencies(Rope(theta=theta), width)
    np.testing.assert_allclose(frequencies(found.architecture.ropes[0], width), plain / divisor_J, rtol=1e-6)
    model.save(found, tmp_path / "saved")
    assert model.load(tmp_path / "saved").architecture.ropes == found.architecture.ropes
    for number, wrong in enumerate((divisor_J * 1.01, divisor_J[:-1], np.zeros_like(divisor_J), divisor_J * np.nan)):
        extra = [("rope_freqs.weight", wrong, gguf.GGMLQuantizationType.F32)]
        with pytest.raises(ValueError, match=r"rope_freqs.weight that is not that of Llama 3.1 to 3.3"):
            model.load(written(tmp_path / f"wrong{number}.gguf", extra=extra, theta=theta))
    extra = [("rope_freqs.weight", divisor_J, gguf.GGMLQuantizationType.F32)]
    with pytest.raises(ValueError, match=r"not part of the model: rope_freqs.weight"):
        model.load(written(tmp_path / "qwen.gguf", "qwen2", extra=extra))


def test_what_is_not_supported_is_a_sentence(tmp_path):
    fields = [("add_string", "llama.rope.scaling.type", "yarn"), ("add_float32", "llama.rope.scaling.factor", 4.0)]
    with pytest.raises(ValueError, match="'yarn'; supported: default, linear, llama3"):
        model.load(written(tmp_path / "a.gguf", fields=fields))
    with pytest.raises(ValueError, match="mixture of experts"):
        model.load(written(tmp_path / "b.gguf", fields=[("add_uint32", "llama.expert_count", 8)]))
    with pytest.raises(ValueError, match="rotates a part"):
        model.load(written(tmp_path / "c.gguf", fields=[("add_uint32", "llama.rope.dimension_count", 2)]))
    data = written(tmp_path / "d.gguf").read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lxama")
    (tmp_path / "d.gguf").write_bytes(data)
    with pytest.raises(ValueError, match="'lxama'; allowed: llama, qwen2, qwen3, gemma3. Did you mean 'llama'"):
        model.load(tmp_path / "d.gguf")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: b"", "cannot be read"),
        (lambda data: b"GGML" + data[4:], "does not begin with GGUF"),
        (lambda data: data[:4] + b"\x01" + data[5:], "version is 1"),
        (lambda data: data[:8] + b"\xff" * 8 + data[16:], "claims 18446744073709551615 tensors"),
        (lambda data: data[:16] + b"\xff" * 4 + data[20:], "claims 4294967295 fields"),
        (lambda data: data[:24] + b"\xff" * 8 + data[32:], "claims a text of"),
        (lambda data: data[:-4000], "goes past its end"),
        (lambda data: data[:200], "ends in its header|claims"),
    ],
)
def test_broken_files_are_sentences(tmp_path, change, sentence):
    path = written(tmp_path / "tiny.gguf")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=sentence):
        model.load(path)


def test_fuzzed_headers_are_sentences(tmp_path):
    """Bytes of the header changed: each time a model or a sentence, and soon."""
    whole = written(tmp_path / "tiny.gguf").read_bytes()
    header = len(whole) - sum(array.nbytes for array in tiny.tensors("llama").values())
    rng, refused, started = np.random.default_rng(1), 0, time.monotonic()
    path = tmp_path / "broken.gguf"
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(0, header)] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            model.load(path)
        except ValueError as error:
            refused += 1
            assert 10 < len(str(error)) < 6000
    assert refused > 150
    assert time.monotonic() - started < 60
