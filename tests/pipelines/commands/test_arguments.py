"""Paths on the command line: one of the wrong kind is one line, before any work."""

import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from headrace.components.errors import ParamsError
from headrace.pipelines.__main__ import PANELS, app
from headrace.pipelines.commands.init import Example, make_project

TO_FOLDER = "expected a file, found a folder; give the path of a file in it"
BELOW_FILE = "file is a file, expected a folder; give another path"
NOTHING = "there is nothing; give a path that exists"


@pytest.fixture
def place(repository, tmp_path, monkeypatch):
    """A project with a folder and a file."""
    shutil.copy(repository / "params.yaml", tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("upgrade", "--from", "folder.csv"), f"--from folder.csv: {TO_FOLDER}"),
        (("upgrade", "--from", "absent"), f"--from absent: {NOTHING}"),
        (("upgrade", "--from", "file/absent"), f"--from file/absent: {NOTHING}"),
        (("restore", "folder.csv"), f"FILE folder.csv: {TO_FOLDER}"),
        (("backup", "--force", "folder.csv"), f"FILE folder.csv: {TO_FOLDER}"),
        (("backup", "file/new.tar"), f"FILE file/new.tar: {BELOW_FILE}"),
        (("init", "file"), "[FOLDER] file: expected a folder, found a file; give another path"),
        (("init", "file/new/project"), f"[FOLDER] file/new/project: {BELOW_FILE}"),
        (("predict", "titanic", "--input", "file/absent"), f"--input file/absent: {NOTHING}"),
        (("predict", "titanic", "--input", "file", "--output", "folder.csv"), f"--output folder.csv: {TO_FOLDER}"),
        (("predict", "titanic", "--input", "file", "--output", "file/a.csv"), f"--output file/a.csv: {BELOW_FILE}"),
        (("generate", "digits", "--output", "folder.csv"), f"--output folder.csv: {TO_FOLDER}"),
        (("export", "digits", "--format", "tflite", "--output", "file/a"), f"--output file/a: {BELOW_FILE}"),
    ],
)
def test_a_path_of_the_wrong_kind_is_said_before_any_work(place, arguments, message):
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, ParamsError), error
    assert str(error) == message


def test_every_path_of_a_command_is_checked_as_it_is_parsed():
    """But for those of `headrace new`, whose kind of data is checked with them."""
    checks = {
        f"{command.__name__} {name}": hint.__metadata__[0].callback
        for commands in PANELS.values()
        for command in commands
        for name, hint in get_type_hints(command, include_extras=True).items()
        if name != "return" and Path in (get_args(hint)[0], *get_args(get_args(hint)[0]))
    }
    assert len(checks) > 8
    assert [name for name, check in checks.items() if check is None and not name.startswith("new ")] == []


def test_init_names_a_folder_where_a_file_of_the_project_belongs(tmp_path):
    (tmp_path / "dvc.yaml").mkdir()
    with pytest.raises(ParamsError, match=r"dvc\.yaml: expected a file, found a folder; rename it, or choose another"):
        make_project(tmp_path, Example.DIGITS)
    (tmp_path / "dvc.yaml").rmdir()
    (tmp_path / "dags").touch()
    with pytest.raises(ParamsError, match=r"dags: expected a folder, found a file; rename it, or choose another"):
        make_project(tmp_path, Example.DIGITS)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["dags"]
