"""One import name: what is installed is `headrace`, wherever its rooms lie in the repository."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CODE = ("components", "pipelines")


@pytest.fixture(scope="module")
def built(repository, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True, timeout=120)
    return folder


def modules(repository: Path) -> set[str]:
    files = [file.relative_to(repository) for name in CODE for file in (repository / name).rglob("*.py")]
    return {f"headrace/{file.as_posix()}" for file in files} | {"headrace/__init__.py", "headrace/__main__.py"}


def test_the_wheel_holds_one_package_with_every_module(repository, built):
    [wheel] = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} - {"headrace"} == {"headrace-0.1.0.dist-info"}
    assert {name for name in names if name.endswith(".py") and name.startswith("headrace/")} == modules(repository)
    assert "headrace/py.typed" in names
    assert "headrace/components/evaluation/report.html.jinja" in names


def test_a_wheel_can_be_built_from_the_sdist(built, tmp_path):
    [archive] = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "again")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    [again], [wheel] = (tmp_path / "again").glob("*.whl"), built.glob("*.whl")
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("name", CODE)
def test_no_module_has_two_names(repository, name):
    ended = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert f"the package is headrace.{name}" in ended.stderr


def test_nothing_imports_a_room_by_another_name(repository):
    bare = re.compile(rf"^\s*(from|import) ({'|'.join(CODE)})\b", re.MULTILINE)
    folders = (*CODE, "headrace", "dags", "infra", "bench", "tests", "docs")
    files = [file for folder in folders for file in (repository / folder).rglob("*.py")]
    assert [str(file) for file in files if bare.search(file.read_text(encoding="utf-8"))] == []


def test_no_file_of_the_dags_folder_shadows_the_package(repository):
    # Airflow puts this folder first on the path.
    assert not (repository / "dags" / "headrace.py").exists()
    assert not (repository / "dags" / "headrace").exists()
