"""What is written appears whole, or what was there before stays."""

import pytest

from headrace.components.files.atomic import replace_file, replace_folder


def test_a_file_and_a_folder_take_the_place_of_what_was_there(tmp_path):
    for text in ("one", "two"):
        with replace_file(tmp_path / "file") as file:
            file.write_text(text)
        with replace_folder(tmp_path / "folder") as folder:
            (folder / text).write_text(text)
    assert (tmp_path / "file").read_text() == "two"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, error):
    (tmp_path / "file").write_text("before")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "before").write_text("before")
    with pytest.raises(error), replace_file(tmp_path / "file") as file:
        file.write_text("half")
        raise error
    with pytest.raises(error), replace_folder(tmp_path / "folder") as folder:
        (folder / "half").write_text("half")
        raise error
    assert (tmp_path / "file").read_text() == "before"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["before"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
