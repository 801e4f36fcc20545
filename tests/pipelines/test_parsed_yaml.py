"""Large YAML files of a project: what is kept of them is what they hold, and never of another text."""

import json
from pathlib import Path

import pytest
import yaml

from headrace.components.errors import ParamsError
from headrace.pipelines import yaml_dialect
from headrace.pipelines.parsed_yaml import LARGE_CHARACTERS, read_project_yaml

ODD = {"numbers": [1, -2.5, float("inf"), 10**40, True, None], "text": "na\u00efve \U0001f600 yes 010 1:30", "": {}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / ".headrace").mkdir()
    path = tmp_path / "params.yaml"
    write(path, ODD)
    return path


def write(file: Path, content: object) -> None:
    file.write_text(yaml.safe_dump({"a": content, "filler": "x" * LARGE_CHARACTERS}), encoding="utf-8")


def kept(file: Path) -> Path:
    return file.parent / ".headrace" / "parsed" / "params.yaml.json"


def test_a_second_reading_gives_the_same_without_parsing(file, monkeypatch):
    parsed = read_project_yaml(file)
    assert parsed == yaml_dialect.read_yaml_file(file)
    monkeypatch.setattr(yaml_dialect, "read_yaml", None)  # can't be called
    again = read_project_yaml(file)
    assert again == parsed
    assert [type(number) for number in again["a"]["numbers"]] == [type(number) for number in parsed["a"]["numbers"]]


def test_another_text_is_parsed(file):
    read_project_yaml(file)
    write(file, "other")
    assert read_project_yaml(file)["a"] == "other"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"digest": "0"}', b"\xff\xfe"])
def test_what_is_damaged_is_parsed_again(file, content):
    expected = read_project_yaml(file)
    kept(file).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read_project_yaml(file) == expected
    assert json.loads(kept(file).read_text())["content"] == expected


def test_of_what_is_refused_nothing_is_kept(file):
    file.write_text(file.read_text() + "a: 1\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(ParamsError, match="duplicate key 'a'"):
            read_project_yaml(file)
    assert not kept(file).exists()


def test_nothing_is_kept_of_small_files_nor_outside_of_a_project(file, tmp_path):
    file.write_text("a: 1\n")
    assert read_project_yaml(file) == {"a": 1}
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "params.yaml", 1)
    read_project_yaml(tmp_path / "elsewhere" / "params.yaml")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".headrace", "elsewhere", "params.yaml", "params.yaml"]


def test_where_nothing_can_be_written_it_is_parsed_each_time(file):
    (file.parent / ".headrace" / "parsed").write_text("no folder")
    assert read_project_yaml(file)["a"] == read_project_yaml(file)["a"]
