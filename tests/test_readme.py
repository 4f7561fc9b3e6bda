"""The Python of the README runs as printed, only shorter; that of the page on extending too."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
EXTENDING = README.parent / "docs" / "extending.md"
PYTHON = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)
BLOCKS = PYTHON.findall(README.read_text())
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


def test_the_task_of_the_page_on_extending_is_one():
    (code,) = [block for block in PYTHON.findall(EXTENDING.read_text()) if "(Task)" in block]
    exec(compile(code, "the task", "exec"), told := {"__name__": "__main__"})
    task = told["Signs"]()
    assert set(task.evaluation_sets()) == {"default", "clean"}
    batch = task.evaluation_sets()["clean"].sample(jax.random.key(0), 64)
    assert np.array_equal(batch.targets, batch.inputs[..., 0] > 0)
    with pytest.raises(ValueError, match="flip is 0.9"):
        task.replace(flip=0.9).check()
