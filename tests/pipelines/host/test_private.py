import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from headrace.components.errors import ServiceError
from headrace.pipelines.host.private import make_private, temporary_folder


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


def test_the_folder_among_the_temporary_files_is_its_users_alone(tmp_path, monkeypatch):
    """Workers on a node read their inputs from it: nobody else may have put them there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = temporary_folder()
    assert (folder.parent, mode(folder)) == (tmp_path, 0o700)
    folder.chmod(0o777)
    assert mode(temporary_folder()) == 0o700


def test_a_link_in_its_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"headrace-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServiceError, match="another user's or a link"):
        temporary_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder")
def test_another_users_folder_in_its_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    os.chown(temporary_folder(), 65534, 65534)
    with pytest.raises(ServiceError, match="another user's or a link"):
        temporary_folder()


def test_a_users_own_dvc_keeps_its_notes_in_the_project(repository, tmp_path):
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", repository, tmp_path / "clone"], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"}
    command = [Path(sys.executable).with_name("dvc"), "status", "ingest@digits"]
    subprocess.run(command, cwd=tmp_path / "clone", env=environment, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "clone" / ".headrace" / "dvc" / "repo").is_dir()
    ignored = ["git", "-C", tmp_path / "clone", "status", "--porcelain"]
    assert subprocess.run(ignored, capture_output=True, text=True, check=True).stdout == ""
