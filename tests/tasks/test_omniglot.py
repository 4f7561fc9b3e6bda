"""Omniglot: class order, both formats, broken files of every kind, and real images where they are at hand."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import time
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from icl_sim.tasks import omniglot
from icl_sim.tasks.omniglot import BACKGROUND, EVALUATION, Omniglot, Split, area_average, read

# Numbered Beth 1, Beth 2, Aleph 1, so alphabetical order is 2, 0, 1.
BACKGROUND_OF_3 = Split("images_background", "", "", (("Beth", 2), ("Aleph", 1)))
EVALUATION_OF_1 = Split("images_evaluation", "", "", (("Gimel", 1),))


def images_of(split: Split) -> np.ndarray:
    generator = np.random.default_rng(split.num_classes)
    return generator.random((split.num_classes, 20, 105, 105)) < 0.9


def write_npz(folder: Path, split: Split) -> Split:
    images = images_of(split)
    labels = np.repeat(np.arange(split.num_classes)[:, None], 20, axis=1)
    as_published = (255 * images.astype(np.uint8)).view(bool)
    np.savez_compressed(folder / f"{split.name}.npz", images=as_published, labels=labels)
    checksum = hashlib.sha256(np.packbits(images).tobytes()).hexdigest()
    return dataclasses.replace(split, images_sha256=checksum)


def write_zip(folder: Path, split: Split, extra: dict[str, bytes] | None = None) -> Split:
    path, images, number = folder / f"{split.name}.zip", images_of(split), 0
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{split.name}/", b"")
        for alphabet, count in split.alphabets:
            for character in range(1, count + 1):
                for drawing in range(20):
                    png = io.BytesIO()
                    Image.fromarray(images[number, drawing]).save(png, "png")
                    name = f"character{character:02d}/{number + 1:04d}_{drawing + 1:02d}.png"
                    archive.writestr(f"{split.name}/{alphabet}/{name}", png.getvalue())
                number += 1
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return dataclasses.replace(split, zip_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(params=["npz", "zip"])
def small(request, tmp_path, monkeypatch):
    """A folder with a small Omniglot that the module takes for the real one."""
    write = {"npz": write_npz, "zip": write_zip}[request.param]
    splits = tuple(write(tmp_path, split) for split in (BACKGROUND_OF_3, EVALUATION_OF_1))
    monkeypatch.setattr(omniglot, "SPLITS", splits)
    return tmp_path


def test_both_formats_give_the_classes_in_alphabetical_order(small):
    inputs = Omniglot(dir=str(small), drawings=(5, 0), held_out_drawings=(19,))
    background, evaluation = images_of(BACKGROUND_OF_3), images_of(EVALUATION_OF_1)
    expected = np.concatenate([background[[2, 0, 1]], evaluation])[:, [5, 0, 19]]
    assert inputs.max_characters == 4
    images = inputs.load(4)
    assert images.dtype == bool
    np.testing.assert_array_equal(images, expected)
    assert images.view(np.uint8).max() == 1  # npz files write True as 255, which XLA takes for -1
    np.testing.assert_array_equal(inputs.load(2), expected[:2])


def test_images_are_read_once_and_cannot_be_changed(small):
    first = Omniglot(dir=str(small)).load(4)
    for path in small.iterdir():
        path.write_bytes(b"gone")
    assert np.shares_memory(first, Omniglot(dir=str(small), noise=0.5, held_out=True).load(3))
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_the_order_of_classes_agrees_with_names_of_published_files():
    # Names that public code mentions, such as images_background/Early_Aramaic/character19/0269_02.png
    published = {
        ("Balinese", 1): 108,
        ("Cyrillic", 11): 228,
        ("Early_Aramaic", 19): 269,
        ("Alphabet_of_the_Magi", 1): 709,
        ("Tifinagh", 54): 963,
    }
    sizes = dict(BACKGROUND.alphabets)
    names = [(alphabet, number + 1) for alphabet in sorted(sizes) for number in range(sizes[alphabet])]
    numbers = dict(zip(names, BACKGROUND.alphabetical(), strict=True))
    for name, number in published.items():
        assert numbers[name] == number - 1
    assert (BACKGROUND.num_classes, EVALUATION.num_classes) == (964, 659)
    assert (len(BACKGROUND.alphabets), len(EVALUATION.alphabets)) == (30, 20)
    assert sorted(BACKGROUND.alphabetical()) == list(range(964))
    assert names[:20] == [("Alphabet_of_the_Magi", number) for number in range(1, 21)]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_file_is_named(small, share):
    (path,) = small.glob("images_evaluation.*")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"{path.name} is truncated or damaged"):
        Omniglot(dir=str(small)).load(4)


def test_a_flipped_byte_is_named(small):
    (path,) = small.glob("images_background.*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path.name} is truncated or (altered|damaged)"):
        Omniglot(dir=str(small)).load(4)


def test_an_altered_pixel_of_an_npz_is_found(tmp_path):
    split = write_npz(tmp_path, EVALUATION_OF_1)
    images = images_of(split)
    images[0, 7, 50, 50] ^= True
    path = tmp_path / "images_evaluation.npz"
    np.savez_compressed(path, images=images, labels=np.zeros((1, 20), int))
    with pytest.raises(ValueError, match=r"images_evaluation.npz is truncated or altered: its images have"):
        read(path, split, (0,))


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"images": np.ones((1, 20, 105, 105), bool)}, r"has no \['labels'\]"),
        ({"images": np.ones((2, 20, 105, 105), bool)}, r"must be bool \(1, 20, 105, 105\), not bool \(2,"),
        ({"images": np.ones((1, 20, 105, 105), np.uint8)}, "not uint8"),
        ({"images": np.array([None])}, "cannot be read: Object arrays"),
        (
            {"images": np.ones((1, 20, 105, 105), bool), "labels": np.ones((1, 20), int)},
            "labels .* must be i",
        ),
    ],
)
def test_an_npz_of_something_else_is_refused(tmp_path, arrays, words):
    path = tmp_path / "images_evaluation.npz"
    more = {} if "has no" in words or "labels" in arrays else {"labels": np.zeros((1, 20), int)}
    np.savez(path, **arrays, **more)
    with pytest.raises(ValueError, match=words):
        read(path, EVALUATION_OF_1, (0,))


@pytest.mark.parametrize(
    "name, words",
    [
        ("../evil.png", "points outside of it"),
        ("images_evaluation/../../evil.png", "points outside of it"),
        ("/etc/evil.png", "points outside of it"),
        ("images_evaluation\\..\\evil.png", "points outside of it"),
        ("images_evaluation/Gimel/notes.txt", "images_evaluation/ALPHABET/characterNN/NNNN_NN.png"),
        ("images_evaluation/Gimel/character01/0001_21.png", "must hold drawings 01 to 20"),
        ("images_evaluation/Gimel/character02/0002_01.png", "must hold drawings 01 to 20"),
    ],
)
def test_a_zip_with_other_members_is_refused_even_with_the_right_checksum(tmp_path, name, words):
    split = write_zip(tmp_path, EVALUATION_OF_1, {name: b"data"})
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "images_evaluation.zip", split, (0,))
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_zip_with_another_checksum_is_refused(tmp_path):
    write_zip(tmp_path, EVALUATION_OF_1)
    with pytest.raises(ValueError, match="images_evaluation.zip is truncated or altered: it has the SHA-256"):
        read(tmp_path / "images_evaluation.zip", EVALUATION_OF_1, (0,))


def test_missing_files_are_named_with_the_cure(small, tmp_path):
    for folder, words in ((str(tmp_path / "nowhere"), "no Omniglot folder .*nowhere"), ("", "dir is empty")):
        with pytest.raises(ValueError, match=words + ".*launch/fetch_omniglot.py --dir=.*task.inputs.dir"):
            Omniglot(dir=folder).check(4)
    (path,) = small.glob("images_evaluation.*")
    path.unlink()
    with pytest.raises(ValueError, match="neither images_evaluation.npz nor images_evaluation.zip"):
        Omniglot(dir=str(small)).check(4)


def test_too_many_classes_and_sizes_are_named(small):
    with pytest.raises(ValueError, match="The task has 5 classes; Omniglot has 4"):
        Omniglot(dir=str(small)).check(5)
    with pytest.raises(ValueError, match="task.inputs.size is 106; Omniglot has 1 to 105"):
        Omniglot(dir=str(small), size=106).check(4)


def test_smaller_images_are_means_of_areas():
    images = images_of(EVALUATION_OF_1)
    np.testing.assert_array_equal(area_average(images, 105), images)
    blocks = images.reshape(1, 20, 35, 3, 35, 3).mean(axis=(3, 5))
    np.testing.assert_allclose(area_average(images, 35), 255 * blocks, atol=0.5 + 1e-4)
    assert (area_average(np.ones((1, 1, 105, 105), bool), 28) == 255).all()
    # 105 is no multiple of 28: one old pixel, at column 3, lies over the edge at 3.75 of the new ones.
    line = np.zeros((1, 1, 105, 105), bool)
    line[..., 3] = True
    row = area_average(line, 28)[0, 0, 0]
    np.testing.assert_array_equal(row[:3], [round(255 * 0.75 / 3.75), round(255 * 0.25 / 3.75), 0])
    assert area_average(images, 28).dtype == np.uint8


def test_real_images_come_fast_in_order_and_binary(omniglot_dir, key):
    inputs = Omniglot(dir=str(omniglot_dir), noise=0.0)
    start = time.process_time()
    table = inputs.load(1623)
    assert time.process_time() - start < 10  # about 1.5 on a quiet machine
    assert table.shape == (1623, 2, 105, 105) and table.dtype == bool
    assert not (table[:, 0] == table[:, 1]).all(axis=(1, 2)).any()
    # Letters of Braille are a few dots, so they have the least ink of all alphabets.
    ink, first = {}, 0
    for split in (BACKGROUND, EVALUATION):
        for alphabet, count in sorted(split.alphabets):
            ink[alphabet] = 1 - table[first : first + count].mean()
            first += count
    assert min(ink, key=ink.__getitem__) == "Braille", ink
    x = inputs.prepare(key, 1623, table).render(jax.random.split(key, 2), jnp.array([[0, 1622], [700, 3]]))
    assert set(np.unique(np.asarray(x))) == {0.0, 1.0}
    assert 0.8 < x.mean() < 1


def test_real_images_of_a_class_are_alike(omniglot_dir):
    """Blurred drawing 19 finds its character among all 1623 by drawing 0 far above chance (.0006)."""
    images = Omniglot(dir=str(omniglot_dir), size=12).load(1623).astype(np.float32).reshape(1623, 2, -1)
    a, b = images[:, 0], images[:, 1]
    found = ((a**2).sum(1) - 2 * b @ a.T).argmin(axis=1)
    assert (found == np.arange(1623)).mean() > 0.05


@pytest.mark.parametrize("member", [b"garbage", b"", b"\x93NUMPY\x01\x00\x04\x00{[(\n"])
def test_an_npz_whose_arrays_are_none_is_named(tmp_path, member):
    path = tmp_path / "images_evaluation.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", member)
        archive.writestr("labels.npy", member)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read(path, EVALUATION, (0,))
