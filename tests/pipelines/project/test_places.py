"""A folder where a file is expected, and the other way round: one line, whatever the command."""

import subprocess
import sys

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.places import require_places


@pytest.mark.parametrize("name", ["dvc.yaml", "headrace.lock", "dvc.lock"])
def test_a_folder_is_no_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ParamsError, match=f"{name} is a folder, expected a file; move it away"):
        require_places(ProjectPaths(tmp_path))


@pytest.mark.parametrize("name", [".headrace", "data", "models", "reports"])
def test_a_file_is_no_folder(tmp_path, name):
    require_places(ProjectPaths(tmp_path))
    (tmp_path / name).write_text("")
    with pytest.raises(ParamsError, match=f"{name} is a file, expected a folder; move it away"):
        require_places(ProjectPaths(tmp_path))


@pytest.mark.parametrize("command", [("list",), ("ingest", "digits"), ("run", "digits"), ("upgrade",)])
def test_every_command_says_so_in_one_line(tmp_path, repository, copy_model_files, command):
    (tmp_path / "params.yaml").write_text((repository / "params.yaml").read_text())
    (tmp_path / ".headrace").write_text("")
    copy_model_files(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "headrace", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line == f"error: {tmp_path}/.headrace is a file, expected a folder; move it away"
