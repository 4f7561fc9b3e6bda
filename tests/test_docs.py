"""The documents: links lead somewhere, and every page and picture of reference results is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
REFERENCE = ROOT / "docs/reference"
HEAD = ROOT / "docs/reference_head.md"  # whose links are those of the page that it becomes part of


def links(page: Path) -> list[str]:
    """What a page links to in this repository, without what is within code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """The headings of a page as its anchors."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    folder = REFERENCE if page == HEAD else page.parent
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = folder / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_and_picture_of_reference_results_is_shown():
    index = REFERENCE / "README.md"
    pages = {page.name for page in REFERENCE.glob("*.md")} - {index.name}
    assert pages == {link for link in links(index) if not link.startswith("..")}
    shown = {link for page in pages for link in links(REFERENCE / page)}
    assert {picture.name for picture in REFERENCE.glob("*.png")} <= shown
    assert index.read_text().startswith(HEAD.read_text().rstrip())
