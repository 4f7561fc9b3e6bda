"""Fetching Omniglot, from a server on this machine."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from launch import fetch_omniglot
from launch.fetch_omniglot import fetch

DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA[: len(DATA) // 2] if "broken" in self.path else DATA)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_appears_complete_and_is_not_fetched_twice(server, tmp_path):
    path = tmp_path / "new" / "images_background.zip"
    assert fetch(f"{server}/x.zip", path, SHA256)
    assert path.read_bytes() == DATA
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o444 == 0o444
    assert not fetch("http://127.0.0.1:9/nobody/listens", path, SHA256)


def test_a_damaged_file_is_replaced(server, tmp_path):
    path = tmp_path / "images_background.zip"
    path.write_bytes(DATA[:100])
    assert fetch(f"{server}/x.zip", path, SHA256)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    "address, sha256, words",
    [
        ("/x.zip", "0" * 64, "did not send the published file.zip: its SHA-256 is"),
        ("/broken.zip", SHA256, "did not send the published file.zip|Cannot download"),
        ("/missing.zip", SHA256, "Cannot download .*missing.zip: Not Found"),
    ],
)
def test_a_failed_download_leaves_all_as_it_was(server, tmp_path, address, sha256, words):
    path = tmp_path / "file.zip"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=words):
        fetch(server + address, path, sha256)
    assert [p.name for p in tmp_path.iterdir()] == ["file.zip"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_a_sentence(server, tmp_path, monkeypatch):
    def full(url: str, file: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch_omniglot, "_download", full)
    with pytest.raises(ValueError, match="Cannot write .*file.zip: No space left on device"):
        fetch(f"{server}/x.zip", tmp_path / "file.zip", SHA256)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_sentence(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="Cannot write to the folder .*file: "):
        fetch(f"{server}/x.zip", tmp_path / "file" / "x.zip", SHA256)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "Name the folder to put Omniglot into with --dir=FOLDER."),
        (
            ["--dir={dir}", "--url=http://127.0.0.1:9"],
            "Cannot download http://127.0.0.1:9/images_background.zip: ",
        ),
    ],
)
def test_the_command_says_what_is_wrong_and_fails(tmp_path, arguments, words):
    command = [sys.executable, str(Path(fetch_omniglot.__file__))]
    command += [argument.format(dir=tmp_path) for argument in arguments]
    root = str(Path(__file__).parents[2])
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": root}
    )
    assert result.returncode == 1
    assert words in result.stderr and "Traceback" not in result.stderr
