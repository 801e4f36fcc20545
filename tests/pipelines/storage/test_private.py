import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.storage.private import make_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [None, 0o777, 0o755, 0o700])
def test_a_private_folder_is_its_owners_alone(tmp_path, before):
    folder = tmp_path / "state"
    if before is not None:
        folder.mkdir()
        folder.chmod(before)
    make_private(folder)
    assert mode(folder) == 0o700


def test_a_folder_that_cannot_be_made_is_left(tmp_path):
    (tmp_path / "state").touch()
    make_private(tmp_path / "state" / "below")
    assert (tmp_path / "state").read_bytes() == b""


def test_a_persons_own_dvc_keeps_its_notes_in_the_project(repository, tmp_path):
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", repository, tmp_path / "clone"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"}
    command = [Path(sys.executable).with_name("dvc"), "status", "ingest@digits"]
    subprocess.run(command, cwd=tmp_path / "clone", env=environment, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "clone" / ".headrace" / "dvc" / "repo").is_dir()
    ignored = ["git", "-C", tmp_path / "clone", "status", "--porcelain"]
    assert subprocess.run(ignored, capture_output=True, text=True, check=True).stdout == ""
