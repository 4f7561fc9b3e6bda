"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people (Lake et al. 2015)."""

from __future__ import annotations

import functools
import hashlib
import io
import posixpath
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icl_sim.names import expanded
from icl_sim.tasks.drawings import NUM_DRAWERS, Drawings
from icl_sim.types import setting, static

PAPER_SIZE = 105


@dataclass(frozen=True)
class Split:
    """One of the two published files.

    Attributes:
      name: the file's name without its ending.
      zip_sha256: checksum of the published zip file.
      images_sha256: checksum of the bits of all images in the order of the npz file, packed by `np.packbits`.
      alphabets: each alphabet and its number of characters, in the order in which the published drawings are
        numbered (0001_01.png is a drawing of Arcadian), which is the order of the npz file. It is nearly
        alphabetical, but Syriac_(Estrangelo), for instance, stands where Estrangelo belongs.
    """

    name: str
    zip_sha256: str
    images_sha256: str
    alphabets: tuple[tuple[str, int], ...]

    @property
    def num_classes(self) -> int:
        return sum(count for _, count in self.alphabets)

    def alphabetical(self) -> list[int]:
        """For each class in alphabetical order, its place in the numbering of the files."""
        places, first = {}, 0
        for alphabet, count in self.alphabets:
            places[alphabet] = range(first, first + count)
            first += count
        return [place for alphabet in sorted(places) for place in places[alphabet]]


BACKGROUND = Split(
    name="images_background",
    zip_sha256="ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
    images_sha256="50ac3e2043f457516ed8e84151b2d85718f4bbccc0a17ad355cd3b6f0c4ed5f3",
    alphabets=(
        ("Arcadian", 26),
        ("Armenian", 41),
        ("Asomtavruli_(Georgian)", 40),
        ("Balinese", 24),
        ("Bengali", 46),
        ("Blackfoot_(Canadian_Aboriginal_Syllabics)", 14),
        ("Braille", 26),
        ("Cyrillic", 33),
        ("Early_Aramaic", 22),
        ("Syriac_(Estrangelo)", 23),
        ("Anglo-Saxon_Futhorc", 29),
        ("Futurama", 26),
        ("Grantha", 43),
        ("Greek", 24),
        ("Gujarati", 48),
        ("Hebrew", 22),
        ("Japanese_(hiragana)", 52),
        ("Inuktitut_(Canadian_Aboriginal_Syllabics)", 16),
        ("Malay_(Jawi_-_Arabic)", 40),
        ("Japanese_(katakana)", 47),
        ("Korean", 40),
        ("Latin", 26),
        ("Alphabet_of_the_Magi", 20),
        ("Mkhedruli_(Georgian)", 41),
        ("Burmese_(Myanmar)", 34),
        ("N_Ko", 33),
        ("Ojibwe_(Canadian_Aboriginal_Syllabics)", 14),
        ("Sanskrit", 42),
        ("Tagalog", 17),
        ("Tifinagh", 55),
    ),
)
EVALUATION = Split(
    name="images_evaluation",
    zip_sha256="1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
    images_sha256="03b046317776af65e56eb1a168e35feb5e254765b51ce5fd1383ec242a5767f3",
    alphabets=(
        ("Angelic", 20),
        ("Atemayar_Qelisayer", 26),
        ("Atlantean", 26),
        ("Aurek-Besh", 26),
        ("Avesta", 26),
        ("Ge_ez", 26),
        ("Glagolitic", 45),
        ("Gurmukhi", 45),
        ("Kannada", 41),
        ("Keble", 26),
        ("Malayalam", 47),
        ("Manipuri", 40),
        ("Mongolian", 30),
        ("Old_Church_Slavonic_(Cyrillic)", 45),
        ("Oriya", 46),
        ("Syriac_(Serto)", 23),
        ("Sylheti", 28),
        ("Tengwar", 25),
        ("Tibetan", 42),
        ("ULOG", 26),
    ),
)
SPLITS = (BACKGROUND, EVALUATION)


@setting
class Omniglot(Drawings):
    """Drawings of Omniglot as in Chan et al. 2025: 105 x 105 pixels, one drawing of each character, noise .1.

    Classes are in alphabetical order of alphabets, then characters, the 964 of the background set before the
    659 of the evaluation set; so the first 20 are the Alphabet of the Magi. Training shows drawing 0. Held
    out is drawing 19, and always that one (in the code of the paper, any of the 20).

    Attributes:
      dir: folder with `images_background` and `images_evaluation`, each as the published .zip or as .npz.
      size: 105 as published; smaller images are exact area averages, made once when they are loaded.
      order_seed: of a random order of all characters, from 0 on; -1 leaves them in alphabetical order.
    """

    dir: str = static("")
    size: int = static(PAPER_SIZE)
    order_seed: int = static(-1)

    @property
    def max_characters(self) -> int:
        return sum(split.num_classes for split in SPLITS)

    def check_structure(self, num_classes: int) -> None:
        super().check_structure(num_classes)
        if not 1 <= self.size <= PAPER_SIZE:
            raise ValueError(f"task.inputs.size is {self.size}; Omniglot has 1 to {PAPER_SIZE} pixels.")
        if not -1 <= self.order_seed < 2**32:
            raise ValueError(f"task.inputs.order_seed is {self.order_seed}; it must be from 0 to 2^32 - 1, or -1.")
        for split in SPLITS:
            find(self.dir, split)

    def images(self, num_classes: int) -> np.ndarray:
        self.check_structure(num_classes)
        folder = str(expanded(self.dir).absolute())
        table_CNHW = _load(folder, self.size, self.drawings + self.held_out_drawings)
        count = self.characters_of(num_classes)
        if self.order_seed < 0:
            return table_CNHW[:count]
        return table_CNHW[np.random.default_rng(self.order_seed).permutation(len(table_CNHW))[:count]]


@functools.lru_cache(maxsize=2)
def _load(folder: str, size: int, drawings: tuple[int, ...]) -> np.ndarray:
    images = [read(find(folder, split), split, drawings) for split in SPLITS]
    table_CNHW = np.concatenate([area_average(images_CNHW, size) for images_CNHW in images])
    table_CNHW.flags.writeable = False  # all callers share it
    return table_CNHW


def find(folder: str, split: Split) -> Path:
    """The file of a split in a folder, npz (the faster one) or zip."""
    cure = (
        "fetch Omniglot with python launch/fetch_omniglot.py --dir=FOLDER and set task.inputs.dir to that "
        "folder (on the command line, --config.task.omniglot_dir=FOLDER)."
    )
    if not folder:
        raise ValueError(f"Omniglot needs the folder of its files, and task.inputs.dir is empty; {cure}")
    path = expanded(folder)
    if not path.is_dir():
        raise ValueError(f"There is no Omniglot folder {path}; {cure}")
    for ending in (".npz", ".zip"):
        if (file := path / f"{split.name}{ending}").is_file():
            return file
    raise ValueError(f"The folder {path} has neither {split.name}.npz nor {split.name}.zip; {cure}")


def read(path: Path, split: Split, drawings: tuple[int, ...]) -> np.ndarray:
    """The given drawings of all classes in alphabetical order, `[C, N, 105, 105]` bool, True is paper."""
    try:
        with zipfile.ZipFile(path):  # an npz file is one too, but numpy takes a damaged one for a pickle
            pass
        return (_read_zip if path.suffix == ".zip" else _read_npz)(path, split, drawings)
    except Exception as error:  # what a damaged archive makes its readers raise is of many kinds
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} is truncated or damaged and cannot be read: {error}") from error


def _read_npz(path: Path, split: Split, drawings: tuple[int, ...]) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        if missing := {"images", "labels"} - set(file.files):
            raise ValueError(f"{path} must hold the arrays images and labels, but has no {sorted(missing)}.")
        try:
            images_CNHW, labels_CN = file["images"], file["labels"]
        except ValueError as error:
            raise ValueError(f"The arrays in {path} cannot be read: {error}") from error
    shape = (split.num_classes, NUM_DRAWERS, PAPER_SIZE, PAPER_SIZE)
    if images_CNHW.dtype != np.bool_ or images_CNHW.shape != shape:
        found = f"{images_CNHW.dtype} {images_CNHW.shape}"
        raise ValueError(f"The array images in {path} must be bool {shape}, not {found}.")
    if not np.array_equal(labels_CN, np.repeat(np.arange(shape[0])[:, None], NUM_DRAWERS, axis=1)):
        raise ValueError(f"The array labels in {path} must be i in all of row i, for {shape[0]} rows.")
    packed = np.packbits(images_CNHW).tobytes()
    _verify(path, hashlib.sha256(packed).hexdigest(), split.images_sha256, "its images have")
    # A True of these files is the byte 255, which numpy takes for True and XLA for -1.
    return images_CNHW[np.ix_(split.alphabetical(), drawings)].view(np.uint8) != 0


def _read_zip(path: Path, split: Split, drawings: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        classes = _layout(path, split, archive.namelist())
        # Only now, so that a member's bad name is told rather than just a wrong checksum.
        with path.open("rb") as file:
            _verify(path, hashlib.file_digest(file, "sha256").hexdigest(), split.zip_sha256, "it has")

        def pixels(name: str) -> np.ndarray:
            with Image.open(io.BytesIO(archive.read(name)), formats=["PNG"]) as image:
                return np.asarray(image.convert("L")) > 127

        return np.array([[pixels(names[drawing]) for drawing in drawings] for names in classes])


def _layout(path: Path, split: Split, names: list[str]) -> list[list[str]]:
    """The members that are drawings, class by class in alphabetical order; refuses every other member."""
    layout = re.compile(rf"{split.name}/[^/\\]+/character\d\d/\d{{4}}_(\d\d)\.png")
    classes: dict[str, list[str]] = {}
    for name in sorted(names):
        if posixpath.isabs(name) or "\\" in name or ":" in name or ".." in name.split("/"):
            raise ValueError(f"{path} has a member {name!r} that points outside of it; do not use this file.")
        if name.endswith("/") or name.startswith("__MACOSX/") or name.endswith("/.DS_Store"):
            continue
        if not layout.fullmatch(name):
            pattern = f"{split.name}/ALPHABET/characterNN/NNNN_NN.png"
            raise ValueError(f"{path} has a member {name!r}; members of Omniglot are named {pattern}.")
        classes.setdefault(posixpath.dirname(name), []).append(name)
    complete = [f"{drawing:02d}" for drawing in range(1, NUM_DRAWERS + 1)]
    for character, members in classes.items():
        if [member[-6:-4] for member in members] != complete:
            raise ValueError(f"{path} must hold drawings 01 to {NUM_DRAWERS} of {character}, not {members}.")
    if len(classes) != split.num_classes:
        raise ValueError(f"{path} must hold {split.num_classes} characters, not {len(classes)}.")
    return list(classes.values())


def _verify(path: Path, found: str, expected: str, has: str) -> None:
    if found != expected:
        raise ValueError(
            f"{path} is truncated or altered: {has} the SHA-256 checksum {found}, not {expected}. "
            "Delete it and fetch it again with python launch/fetch_omniglot.py."
        )


def area_average(images_CNHW: np.ndarray, size: int) -> np.ndarray:
    """Scales square bool images down to uint8, 0 ink and 255 paper: a pixel is the mean of what it covers.

    A pixel is a product of two intervals, so the mean is A x A^T, where A[i, j] is the share of new interval
    i that old interval j covers. At full size the images come back as they are.
    """
    old = images_CNHW.shape[-1]
    if size == old:
        return images_CNHW
    start = np.arange(size)[:, None] * old / size
    overlap = np.minimum(start + old / size, np.arange(old) + 1) - np.maximum(start, np.arange(old))
    share = (np.maximum(overlap, 0) * size / old).astype(np.float32)
    return np.rint(255 * (share @ images_CNHW.astype(np.float32) @ share.T)).astype(np.uint8)
