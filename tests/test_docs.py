"""The README and its pages: every link leads somewhere, and every page is reached."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def local_links(page: Path) -> list[Path]:
    """The files that a page links to; addresses in the web are left out."""
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    return [(page.parent / link).resolve() for link in links if link and "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert [link.name for link in local_links(page) if not link.exists()] == []


def test_every_page_is_opened_from_the_readme():
    reached = set(local_links(ROOT / "README.md"))
    assert {page.name for page in PAGES[1:]} == {path.name for path in reached if path.parent == ROOT / "docs"}


def test_the_readme_is_an_entrance():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text) < 10_000
    for name in ("keras_models.train", "tflite/convert.py", "tflite.verify", "build_apk.sh", "test command"):
        assert name in text
