"""Tokenizers from folders and from the fields of GGUF files, with vocabularies that can be read at a glance."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers

from icl_sim.lm import tokenizer

# Byte-level BPE writes a space as "Ġ" and a line break as "Ċ".
TOKENS = ["<|endoftext|>", *"abcde0123.", "\u0120", "\u010a", "ab", "abc", "\u0120a", "\u0120ab", "12", "123"]
MERGES = ["\u0120 a", "\u0120a b", "a b", "ab c", "1 2", "12 3"]
VOCABULARY = {token: number for number, token in enumerate(TOKENS)}


def words(made, text):
    """The tokens of a text, spaces as they are."""
    return [made.decode([token]) for token in made.encode(text)]


def gpt2_folder(folder):
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    return folder


def test_vocabulary_and_merges_of_gpt2(tmp_path):
    made = tokenizer.from_folder(gpt2_folder(tmp_path), {"bos_token_id": 0, "eos_token_id": 0})
    assert words(made, "abcd abe 123\n<|endoftext|>") == ["abc", "d", " ab", "e", " ", "123", "\n", "<|endoftext|>"]
    assert made.encode("ab") == [VOCABULARY["ab"]]
    assert (made.bos, made.eos, made.beginning, made.size) == (0, 0, (), len(TOKENS))
    assert made.id_of("abc") == VOCABULARY["abc"] and made.id_of("xyz") is None


def test_tokenizer_json_is_the_same_and_survives_saving(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = tokenizer.from_folder(gpt2_folder(tmp_path / "a"), {"eos_token_id": [0, 5]})
    assert first.eos == 0
    tokenizer.save(first, tmp_path / "b")
    second = tokenizer.from_folder(tmp_path / "b", {})
    text = "abcd abe 123\n<|endoftext|>"
    assert second.encode(text) == first.encode(text)
    assert (second.bos, second.eos) == (None, 0)


def test_a_tokenizer_that_begins_every_text_says_so(tmp_path):
    made = tokenizer.from_folder(gpt2_folder(tmp_path), {})
    made.inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    made.inner.enable_truncation(2)
    made.inner.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": {"content": "<|endoftext|>"}}))
    found = tokenizer.from_folder(tmp_path, {})
    assert found.beginning == (0,) and found.bos == 0
    assert len(found.encode("abcdeabcde")) == 6  # nothing added, and nothing cut off


def test_a_tokenizer_can_begin_with_the_end_of_a_text(tmp_path):
    """As that of facebook/xglm does; what stands last in a text is no beginning."""
    made = tokenizer.from_folder(gpt2_folder(tmp_path), {})
    for single, beginning in (("abc $A", (VOCABULARY["abc"],)), ("$A abc", ())):
        made.inner.post_processor = tokenizers.processors.TemplateProcessing(
            single=single, special_tokens=[("abc", VOCABULARY["abc"])]
        )
        made.inner.save(str(tmp_path / "tokenizer.json"))
        found = tokenizer.from_folder(tmp_path, {"bos_token_id": 0, "eos_token_id": VOCABULARY["abc"]})
        assert found.beginning == beginning and found.encode("a") == [VOCABULARY["a"]]


def test_fairseqs_models_begin_texts_and_write_line_breaks_as_ends(tmp_path):
    """The config of the models of Dai et al. 2023: GPT-2's vocabulary, with <s> and </s> behind it."""
    config = {"model_type": "xglm", "bos_token_id": 50, "eos_token_id": 52, "newlinemode": "s"}
    made = tokenizer.from_folder(gpt2_folder(tmp_path), config)
    assert made.beginning == (50,)
    a, b = VOCABULARY["a"], VOCABULARY["b"]
    assert made.encode("a\nb\n\n") == [a, 52, b, 52, 52] and made.encode("a") == [a]
    assert made.decode([a, 52, b, 52, 52]) == "a\nb\n\n"
    plain = tokenizer.from_folder(tmp_path, config | {"newlinemode": "n"})
    assert plain.encode("a\nb") == [a, VOCABULARY["\u010a"], b] and plain.decode([a, b]) == "ab"
    for wrong in ({"newlinemode": "ns"}, {"eos_token_id": None}):
        with pytest.raises(ValueError, match=r"newlinemode .* supported: n, and s where"):
            tokenizer.from_folder(tmp_path, config | wrong)


def fields(**changes):
    return {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": TOKENS,
        "merges": MERGES,
        "token_type": [3] + [1] * (len(TOKENS) - 1),
        "bos_token_id": 0,
    } | changes


@pytest.mark.parametrize(
    ("pre", "cut"),
    [
        ("smollm", ["ab", " ", "1", "2", "3", "."]),
        ("gpt2", ["ab", " ", "123", "."]),
        ("qwen2", ["ab", " ", "1", "2", "3", "."]),
        ("llama-bpe", ["ab", " ", "123", "."]),
    ],
)
def test_kinds_cut_digits_as_they_do(pre, cut):
    assert words(tokenizer.from_gguf(fields(pre=pre), "x"), "ab 123.") == cut


def test_of_byte_level_models_in_gguf_files_llama_3_begins_its_texts():
    begins = {pre: tokenizer.from_gguf(fields(pre=pre), "x").beginning for pre in ("llama-bpe", "qwen2")}
    assert begins == {"llama-bpe": (0,), "qwen2": ()}
    assert tokenizer.from_gguf(fields(pre="llama-bpe", add_bos_token=False), "x").beginning == ()


def test_sentence_pieces_merge_what_scores_highest():
    """With "bc" before "ab", "abc" is a + bc; a byte that no token has is spelt; and a space is a token's first."""
    tokens = ["<unk>", "<s>", "\u2581", "a", "b", "c", "ab", "bc", "\u2581a", *(f"<0x{i:02X}>" for i in range(256))]
    types = [2, 3] + [1] * 7 + [6] * 256
    scores = [0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0] + [0.0] * 256
    asked = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types, "bos_token_id": 1}
    made = tokenizer.from_gguf(asked | {"add_space_prefix": False}, "x")
    assert words(made, "abc") == ["a", "bc"]
    assert words(made, "ab a<s>") == ["ab", " a", "<s>"]
    assert made.decode(made.encode("a \u00e9")) == "a \u00e9"
    assert made.encode("\u00e9") == [tokens.index("<0xC3>"), tokens.index("<0xA9>")]
    assert (made.bos, made.beginning) == (1, (1,))
    assert words(tokenizer.from_gguf(asked, "x"), "a")[0] == " a"
    lower = [*scores[:6], -1.0, -2.0, *scores[8:]]
    assert words(tokenizer.from_gguf(asked | {"scores": lower, "add_space_prefix": False}, "x"), "abc") == ["ab", "c"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "bert"}, "'bert'; supported: gpt2, llama"),
        ({"pre": "klingon"}, "'klingon' does; supported: gpt2, smollm"),
        ({"tokens": None}, "no list of tokens"),
        ({"tokens": [1, 2]}, "no list of tokens"),
        ({"merges": None}, "no list of merges"),
        ({"merges": ["a b c"]}, "no list of merges"),
        ({"merges": ["a z"]}, "no tokenizer that fits together"),
        ({"model": "llama", "scores": [0.0]}, "no score for each token"),
    ],
)
def test_what_does_not_fit_is_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        tokenizer.from_gguf(fields(**changes), "x.gguf")


def test_a_folder_without_one_has_none(tmp_path):
    assert tokenizer.from_folder(tmp_path, {}) is None


def test_fuzzed_tokenizers_are_sentences(tmp_path):
    tokenizer.save(tokenizer.from_gguf(fields(), "x"), tmp_path)
    whole = (tmp_path / "tokenizer.json").read_bytes()
    rng, refused = np.random.default_rng(2), 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        (tmp_path / "tokenizer.json").write_bytes(data)
        try:
            tokenizer.from_folder(tmp_path, {})
        except ValueError as error:
            refused += 1
            assert 10 < len(str(error)) < 600
    assert refused > 100


def test_gpt2s_form_says_by_a_key_that_texts_begin_with_a_token_and_it_survives_saving(tmp_path):
    folder = gpt2_folder(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True, "bos_token": "<|endoftext|>"}))
    made = tokenizer.from_folder(folder, {})
    assert made.beginning == (0,) and made.encode("ab") == [VOCABULARY["ab"]]
    saved = tmp_path / "saved"
    saved.mkdir()
    tokenizer.save(made, saved)
    assert tokenizer.from_folder(saved, {}).beginning == (0,)


def test_a_name_that_is_no_token_leaves_the_number_of_the_config(tmp_path):
    folder = gpt2_folder(tmp_path)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    assert tokenizer.from_folder(folder, {"bos_token_id": 5}).bos == 5


def test_vocabularies_and_scores_of_other_types_are_sentences(tmp_path):
    (gpt2_folder(tmp_path) / "vocab.json").write_text("5")
    with pytest.raises(ValueError, match="is no vocabulary"):
        tokenizer.from_folder(tmp_path, {})
    model = {"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "[UNK]"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    with pytest.raises(ValueError, match="cannot read a word"):
        tokenizer.from_folder(tmp_path, {"bos_token_id": 0})
    with pytest.raises(ValueError, match="no score for each token"):
        tokenizer.from_gguf({"model": "llama", "tokens": ["ab"], "scores": ["x"]}, "file")
