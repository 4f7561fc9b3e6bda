"""Text as bytes: where stretches come from, what is held out, texts that cannot be."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.tasks import Corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two files of numbered lines, 6,000 bytes in all, and one of another kind."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "below").mkdir()
    (folder / "a.txt").write_bytes(b"".join(b"%05d" % n for n in range(600))[:-1])
    (folder / "below" / "b.txt").write_bytes(b"".join(b"%05d" % n for n in range(600, 1200))[:-1])
    (folder / "c.py").write_bytes(b"never")
    return Corpus(folder=str(folder), suffix=".txt", length=16)


@pytest.fixture(scope="module")
def sample():
    return jax.jit(lambda task, key: task.sample(key, 2_000))


@pytest.mark.parametrize("held_out", [False, True])
def test_stretches_begin_anywhere_in_their_part_and_nowhere_else(corpus, sample, held_out):
    text = corpus.load()
    assert len(text) == 6_000 and bytes(text[:16]) in (b"0000000001000020", b"0060000601006020")
    task = corpus.replace(held_out=held_out).prepare(text)
    batch = jax.tree.map(np.asarray, sample(task, jax.random.key(0)))
    start_B = batch.latents["start"]
    first, last = (5_400, 6_000 - 17) if held_out else (0, 5_400 - 17)
    assert start_B.min() >= first and start_B.max() <= last
    # All of the 584 places held out but those that 2,000 draws miss by chance, a share of exp(-2000 / 584).
    assert len(set(start_B)) > (500 if held_out else 1_600)
    whole_BN = text[start_B[:, None] + np.arange(17)]
    np.testing.assert_array_equal(batch.inputs, whole_BN[:, :-1])
    np.testing.assert_array_equal(batch.targets, whole_BN[:, 1:])
    assert batch.num_classes == 256 and np.all(batch.weights == 1)


def test_shorter_sets_are_of_the_text_held_out(corpus):
    sets = corpus.evaluation_sets()
    assert {name: (task.length, bool(task.held_out)) for name, task in sets.items()} == {
        "default": (16, True),
        "half": (8, True),
        "quarter": (4, True),
        "trained": (16, False),
    }
    assert corpus.positions() == {1: 0, 2: 1, 4: 3}


def test_the_standard_library_is_text_without_its_tests():
    task = Corpus(max_bytes=20_000)
    task.check()
    assert len(task.load()) == 20_000
    assert task.load().max() < 128 or b"def " in bytes(task.load())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"length": 3}, "task.length is 3; it must be at least 4"),
        ({"max_bytes": 100}, r"task.max_bytes is 100; for a length of 16 it must be from 181 to 16,777,216"),
        ({"max_bytes": 2**25}, "to 16,777,216"),
        ({"suffix": ".md"}, "no files in .* end in '.md'"),
        ({"folder": "/nowhere"}, "task.folder is '/nowhere', which is no folder"),
        ({"length": 700}, "has 6,000 bytes; for a task.length of 700 it takes 7,021"),
    ],
)
def test_texts_that_cannot_be(corpus, wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        corpus.replace(**wrong).check()


def test_a_text_is_read_before_it_is_sampled(corpus):
    with pytest.raises(ValueError, match="call prepare first"):
        corpus.sample(jax.random.key(0), 1)
