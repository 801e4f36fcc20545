"""Every page of the tutorial prints and draws what it shows; both languages have the same code."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[2]
TUTORIAL = REPOSITORY / "docs" / "tutorial"
NAMES = ("tensors", "graphs", "gradients", "neurons", "images", "sequences", "adversaries", "pipelines")
PICTURE = re.compile(r"!\[[^]]+\]\(\.\./images/(\S+\.png)\)")


@pytest.fixture(scope="module")
def tutorial() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_pages", TUTORIAL / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_index_names_every_page(tutorial, language):
    assert [page.stem for page in tutorial.pages(language)] == list(NAMES)
    assert sorted(page.stem for page in (TUTORIAL / language).glob("*.md")) == sorted(["README", *NAMES])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_page_prints_and_draws_what_it_shows(tutorial, name, tmp_path):
    page = TUTORIAL / "en" / f"{name}.md"
    for block, printed in zip(tutorial.blocks(page), tutorial.run(page, tmp_path), strict=True):
        assert printed == block.printed, block.code
    drawn = {file.name for file in tmp_path.glob("*.png")}
    assert drawn <= set(PICTURE.findall(page.read_text())), "a picture that no page shows"


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_code_output_and_pictures(tutorial, name):
    english, korean = (TUTORIAL / language / f"{name}.md" for language in ("en", "ko"))
    assert tutorial.blocks(korean) == tutorial.blocks(english)
    pictures = PICTURE.findall(english.read_text())
    assert PICTURE.findall(korean.read_text()) == pictures
    assert [picture for picture in pictures if not (TUTORIAL / "images" / picture).is_file()] == []
    assert english.read_text().count("\n## ") == korean.read_text().count("\n## ")
