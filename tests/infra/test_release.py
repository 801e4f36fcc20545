"""`make release` in a clone: what keeps a version from being released, and what a release leaves."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from infra.release import ReleaseError, check, release


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    ended = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """A clone with the files as they are here, its changelog dated, all committed."""
    folder = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--shared", str(repository), str(folder))
    for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff", ".gitignore"):
        (folder / name).write_bytes((repository / name).read_bytes())
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.org")
    git(folder, "commit", "--quiet", "--all", "--allow-empty", "--message", "As it is here")
    return folder


def edit(folder: Path, name: str, pattern: str, replaced: str) -> None:
    file = folder / name
    text, count = re.subn(pattern, replaced, file.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    file.write_text(text, encoding="utf-8")
    git(folder, "commit", "--quiet", "--all", "--message", "Edit")


def test_the_version_of_this_repository_can_be_released(clone):
    assert check("0.1.0", root=clone).startswith("###")


@pytest.mark.parametrize(
    ("name", "pattern", "replaced", "said"),
    [
        ("CHANGELOG.md", r"^## \[0\.1\.0\] - .*$", "## [0.1.0] - unreleased", r"no section '## \[0.1.0\] - YYYY"),
        ("CHANGELOG.md", r"^## \[0\.1\.0\] - .*$", "## [0.2.0] - 2026-11-29", "no section"),
        ("pyproject.toml", r'^version = "0\.1\.0"$', 'version = "0.1.1"', "has version 0.1.1, expected 0.1.0"),
        ("CITATION.cff", r"^version: 0\.1\.0$", "version: 0.1.0rc1", "CITATION.cff has another version"),
    ],
)
def test_a_file_that_names_another_version_refuses_the_release(clone, name, pattern, replaced, said):
    edit(clone, name, pattern, replaced)
    with pytest.raises(ReleaseError, match=said):
        check("0.1.0", root=clone)


@pytest.mark.parametrize("version", ["", "0.1", "v0.1.0", "0.1.0; true"])
def test_what_is_no_version_is_refused(clone, version):
    with pytest.raises(ReleaseError, match=r"expected a version such as 1\.2\.3"):
        check(version, root=clone)


def test_a_working_tree_with_changes_refuses_the_release(clone):
    (clone / "new.txt").write_text("new", encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"not clean.*\n.*new\.txt"):
        check("0.1.0", root=clone)


@pytest.mark.slow
def test_a_release_leaves_both_archives_and_a_tag_and_a_second_is_refused(clone):
    wheel, sdist = release("0.1.0", root=clone)
    assert (wheel.parent, wheel.name, sdist.name) == (
        clone / "dist",
        "headrace-0.1.0-py3-none-any.whl",
        "headrace-0.1.0.tar.gz",
    )
    assert "headrace/pipelines/__main__.py" in zipfile.ZipFile(wheel).namelist()
    assert git(clone, "rev-parse", "v0.1.0^{commit}") == git(clone, "rev-parse", "HEAD")
    message = git(clone, "tag", "--list", "v0.1.0", "--format", "%(contents)")
    assert message.startswith("Headrace 0.1.0\n\n###")
    assert git(clone, "status", "--porcelain") == ""
    with pytest.raises(ReleaseError, match=r"a tag v0\.1\.0 already"):
        release("0.1.0", root=clone)


@pytest.mark.slow
def test_a_wheel_that_holds_something_else_is_refused_and_nothing_is_tagged(clone):
    edit(clone, "pyproject.toml", r'^packages = \["headrace"\]$', 'packages = ["headrace", "dags"]')
    with pytest.raises(ReleaseError, match=r"holds dags, headrace, .*, expected headrace and headrace-0\.1\.0"):
        release("0.1.0", root=clone)
    assert git(clone, "tag", "--list", "v0.1.0") == ""
