"""What lies among images and is none."""

from pathlib import PurePosixPath

import pytest

from headrace.components.errors import DataError
from headrace.components.sources.other_files import OtherFiles, folder_name, should_report


def _met(*paths: str) -> OtherFiles:
    others = OtherFiles()
    for path in paths:
        others.meet(path)
    return others


def test_images_are_known_by_their_last_suffix_in_any_case() -> None:
    others = OtherFiles()
    names = ["a.JPG", "a.jpeg", "a.jfif", "a.txt.png", "a.TIFF", "a.tif", "a.avif", "a.webp", "x.y/a.gif"]
    assert all(others.meet(f"cat/{name}") for name in names)
    assert not any(others.meet(name) for name in ("cat/a.jpg.txt", "cat/jpg", "cat.jpg/notes", "cat/a.jpgx"))
    assert others.counts == {".txt": 1, "without a suffix": 2, ".jpgx": 1}


def test_files_of_file_managers_are_counted_and_not_worth_a_word() -> None:
    others = _met("a/Thumbs.db", "a/desktop.ini", "b/.DS_Store", "b/.hidden", "b/x.HEIC", "b/y.heic")
    assert others.counts == {"thumbs.db": 1, "desktop.ini": 1, ".ds_store": 1, ".*": 1, ".heic": 2}
    assert should_report(others.counts) == "2 .heic"


def test_a_class_of_other_files_only_is_refused() -> None:
    others = _met("cat/1.jpg", "cat/1.txt", "dog/1.heic", "dog/2.heic", "docs/readme.md", "bird/Thumbs.db")
    with pytest.raises(
        DataError, match=r"the folder of class 'dog' has no image, but 2 \.heic; expected names that end"
    ):
        others.require_images(["bird", "cat", "dog"])
    others.require_images(["bird", "cat"])


@pytest.mark.parametrize("path", ["a/b.png", "b.png", "a//b.png", "a/./b.png", "/b.png", "x/y/.b.png", "a.b/c/d"])
def test_the_name_of_a_folder_is_that_of_its_path(path) -> None:
    assert folder_name(path) == PurePosixPath(path).parent.name
