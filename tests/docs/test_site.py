"""`make docs`: every page is in the site, no link or anchor is broken, and nothing comes from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # half a minute of its own; more beside other tests
PAGES = ("*.md", "bench/*.md", "docs/**/*.md", "examples/*.md")
LOADED = re.compile(r'<(?:script|img|iframe)[^>]* src="(https?:[^"]+)"|<link[^>]* href="(https?:[^"]+)"')


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    options = ["--conf-dir", "docs", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(folder)]
    built = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_there_and_in_the_search_index(site: Path, repository: Path) -> None:
    pages = {file.relative_to(repository).with_suffix("") for pattern in PAGES for file in repository.glob(pattern)}
    assert [page for page in pages if not (site / page.with_suffix(".html")).is_file()] == []
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert [page for page in pages if f'"{page.as_posix()}"' not in index] == []
    assert "README.html" in (site / "index.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.html")]
    assert len(files) > 50
    found = {one for file in files for one in LOADED.findall(file.read_text(encoding="utf-8"))}
    assert found == set()
    sheets = [file for file in site.rglob("*.css") if re.search(r"url\(['\"]?https?:", file.read_text("utf-8"))]
    assert sheets == []
