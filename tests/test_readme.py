"""The Python of the README runs as printed, only shorter."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
# Two compile for a quarter of a minute each.
NUMBERS = [pytest.param(n, marks=pytest.mark.fleet) if n < 2 else n for n in range(len(BLOCKS))]
SHORTER = {
    "steps=1_000": "steps=2",
    "sequences=200, points=5": "sequences=2, points=1",
    "[2**6, 2**8, 2**14]": "[2**6, 2**8]",
    "width=64": "width=8",
    "depth=2": "depth=1",
}


@pytest.mark.parametrize("number", NUMBERS)
def test_the_python_of_the_readme_runs(number, capsys):
    code = BLOCKS[number]
    for printed, short in SHORTER.items():
        code = code.replace(printed, short)
    # Settings are looked up by their module's name, so the block has one.
    exec(compile(code, f"README block {number}", "exec"), {"__name__": "__main__"})
    assert len(capsys.readouterr().out.splitlines()) >= 3  # the table it ends with


def test_every_file_that_the_readme_links_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text())
    assert links
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing
