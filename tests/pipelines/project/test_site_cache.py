"""DVC's notes: one folder for a user's own `dvc`, wherever in the project it runs."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from configobj import ConfigObj

from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.project.site_cache import name_site_cache

SHARED = "[core]\n    remote = local\n    site_cache_dir = .headrace/dvc\n"


def made(root: Path, *, shared: str = SHARED, private: str | None = None) -> ProjectPaths:
    project = ProjectPaths(root)
    project.dvc_config.parent.mkdir(parents=True)
    project.dvc_config.write_text(shared)
    if private is not None:
        project.dvc_private_config.write_text(private)
    return project


def site_cache(project: ProjectPaths) -> str:
    """The setting as DVC reads it."""
    return ConfigObj(str(project.dvc_private_config), encoding="utf-8")["core"]["site_cache_dir"]


@pytest.mark.parametrize("name", ["project", "ä b, c # [d] = 'e'", 'a "b" %d $e', "'\"", "two\nlines"])
def test_the_folder_is_named_by_its_absolute_path_in_a_file_of_the_owners_alone(tmp_path, name):
    project = made(tmp_path / name)
    name_site_cache(project)
    assert site_cache(project) == str(project.dvc_site_cache)
    assert stat.S_IMODE(project.dvc_private_config.stat().st_mode) == 0o600
    before = project.dvc_private_config.stat().st_mtime_ns
    name_site_cache(project)
    assert project.dvc_private_config.stat().st_mtime_ns == before


def test_what_else_the_file_has_stays(tmp_path):
    private = "# mine\n['remote \"web\"']\n    password = a, b # c\n[core]\n    no_scm = true\n"
    project = made(tmp_path / "here", private=private)
    project.dvc_private_config.chmod(0o640)
    name_site_cache(project)
    found = ConfigObj(str(project.dvc_private_config))
    expected = {"no_scm": "true", "site_cache_dir": str(project.dvc_site_cache)}
    assert (found["core"], found['remote "web"']) == (expected, {"password": ["a", "b"]})
    assert project.dvc_private_config.read_text().startswith("# mine\n")
    assert stat.S_IMODE(project.dvc_private_config.stat().st_mode) == 0o640


def test_a_project_that_was_moved_names_its_new_place(tmp_path):
    name_site_cache(made(tmp_path / "here"))
    moved = ProjectPaths((tmp_path / "here").rename(tmp_path / "there"))
    name_site_cache(moved)
    assert site_cache(moved) == str(moved.dvc_site_cache)


@pytest.mark.parametrize(
    ("shared", "private"),
    [
        ("[core]\n    site_cache_dir = /scratch/dvc\n", None),  # the team's choice
        (SHARED, "[core]\n    site_cache_dir = /scratch/dvc\n"),  # the user's
        ("[core]\n", None),  # of an older project: `headrace doctor` reports it
        (SHARED, "no settings\n"),  # damaged: DVC says so
    ],
)
def test_a_choice_of_the_users_and_a_damaged_file_stay(tmp_path, shared, private):
    project = made(tmp_path / "here", shared=shared, private=private)
    name_site_cache(project)
    found = project.dvc_private_config.read_text() if project.dvc_private_config.exists() else None
    assert found == private


def test_a_name_that_dvc_would_take_for_an_option_and_a_read_only_folder_are_left(tmp_path, read_only):
    odd = made(tmp_path / "%(remote)s")
    name_site_cache(odd)
    assert not odd.dvc_private_config.exists()
    project = made(tmp_path / "here")
    with read_only(project.root):
        name_site_cache(project)
    assert not project.dvc_private_config.exists()


def test_a_dvc_by_hand_below_the_root_keeps_its_notes_in_the_project(repository, tmp_path):
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", repository, clone], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"}
    for command, folder in (("headrace --help", clone), ("dvc status ../dvc.yaml:ingest@digits", clone / "docs")):
        program, *arguments = command.split()
        parts = [Path(sys.executable).with_name(program), *arguments]
        subprocess.run(parts, cwd=folder, env=environment, check=True, capture_output=True, timeout=120)
    assert (clone / ".headrace" / "dvc" / "repo").is_dir()
    assert not (clone / "docs" / ".headrace").exists()
    status = ["git", "-C", clone, "status", "--porcelain"]
    assert subprocess.run(status, capture_output=True, text=True, check=True).stdout == ""
