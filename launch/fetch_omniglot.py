"""Fetches Omniglot (16 MB) from the repository of its authors and checks it.

    python launch/fetch_omniglot.py --dir=~/data/omniglot

Then point a study to it with `--config.task.omniglot_dir=~/data/omniglot`. Intact files are kept.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from absl import app, flags

_DIR = flags.DEFINE_string("dir", None, "Folder to put images_background.zip and images_evaluation.zip into.")
_URL = flags.DEFINE_string(
    "url",
    "https://github.com/brendenlake/omniglot/raw/master/python",
    "Address of the folder that has both files.",
)
TIMEOUT_S = 60
BLOCK = 1 << 16


def fetch(url: str, path: Path, sha256: str) -> bool:
    """Downloads a file unless it is there already; returns whether it did.

    The file appears under its name only when it is complete and has the right checksum. Otherwise raises
    ValueError in a sentence that says why, and leaves what was there as it was.
    """
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ValueError(f"Cannot write to the folder {path.parent}: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            found = _download(url, file)
        if found != sha256:
            raise ValueError(
                f"{url} did not send the published {path.name}: its SHA-256 is {found}, not {sha256}. "
                "Try again, or get the file in another way."
            )
        os.chmod(name, 0o644)  # mkstemp lets only the owner read
        os.replace(name, path)
    except OSError as error:  # the disk: `_download` speaks for the network
        raise ValueError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return True


def _download(url: str, file: BinaryIO) -> str:
    """Copies what the address sends into an open file; returns its SHA-256 checksum."""
    digest = hashlib.sha256()
    for block in _blocks(url):
        digest.update(block)
        file.write(block)
    return digest.hexdigest()


def _blocks(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            while block := response.read(BLOCK):
                yield block
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ValueError(
            f"Cannot download {url}: {reason}. Without a network, copy the file into the folder by hand."
        ) from error


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"Unexpected argument {argv[1]!r}: name the folder with --dir=FOLDER.")
    if not _DIR.value:
        sys.exit("Name the folder to put Omniglot into with --dir=FOLDER.")
    from icl_sim.tasks.omniglot import SPLITS  # after the flags, since it takes a second

    try:
        folder = Path(_DIR.value).expanduser()
        for split in SPLITS:
            path = folder / f"{split.name}.zip"
            new = fetch(f"{_URL.value.rstrip('/')}/{path.name}", path, split.zip_sha256)
            print(f"{path}: {'fetched, checksum right' if new else 'was there already, checksum right'}")
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError: there is no such ~user
        sys.exit(str(error))
    print(f"Use it with --config.task.omniglot_dir={folder}")


if __name__ == "__main__":
    app.run(main)
