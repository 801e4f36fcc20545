"""What is no file is refused, and never waited for."""

import os
from pathlib import Path

import pytest

from headrace.components.errors import DataError
from headrace.components.files.regular_files import open_regular, require_regular
from headrace.components.serving_model.prediction_files import joined
from headrace.pipelines.commands.inference.prediction_input import open_input
from headrace.pipelines.params import load_pipeline


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "x.png")
    return tmp_path / "in" / "x.png"


def text_of(path: Path) -> str:
    with open(path, opener=open_regular) as stream:
        return stream.read()


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_pipe_or_a_device_is_no_file(tmp_path, pipe, is_linked):
    for path, kind in ((pipe, "pipe"), (Path("/dev/zero"), "device")):
        shown = path
        if is_linked:
            shown = tmp_path / kind
            shown.symlink_to(path)
        for check in (require_regular, text_of):
            with pytest.raises(DataError, match=rf"can't read {shown}: it is a {kind}, expected a file"):
                check(shown)


def test_files_and_folders_pass_and_what_is_missing_is_said_by_the_reader(tmp_path):
    file = tmp_path / "a"
    file.write_text("text")
    for path in (file, tmp_path, tmp_path / "missing"):
        require_regular(path)
    assert text_of(file) == "text"
    with pytest.raises(FileNotFoundError):
        text_of(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        text_of(tmp_path)


def test_predict_does_not_wait_for_a_pipe(repository, pipe):
    digits = load_pipeline(repository / "params.yaml", "digits")
    for named in (pipe, pipe.parent):
        with pytest.raises(DataError, match="it is a pipe, expected a file"):
            joined(open_input(digits, named).blocks)
