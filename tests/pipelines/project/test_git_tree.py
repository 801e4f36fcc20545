"""The working tree as a record has it: applied to the commit, it gives the files again; secrets stay out."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.pipelines.project.command_lines import git
from headrace.pipelines.project.git_tree import MAX_CHANGES_BYTES, changes_of, git_status, require_clean


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "a project"
    root.mkdir()
    (root / "params.yaml").write_text("epochs: 1\nseed: 2\nrate: 3\n")
    (root / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    (root / "picture").write_bytes(bytes(range(256)))
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.email", "ann@example.org")
    git(root, "config", "user.name", "Ann")
    git(root, "remote", "add", "origin", "https://ann:pw@git.example.org/line.git")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return root


def rebuilt(project: Path, changes: str, folder: Path) -> Path:
    """The commit with the changes, elsewhere."""
    subprocess.run(["git", "clone", "--quiet", str(project), str(folder)], check=True)
    if changes:
        (folder / ".git" / "patch").write_bytes(changes.encode())
        git(folder, "apply", "--unidiff-zero", str(folder / ".git" / "patch"))
    return folder


def left_out(project: Path, *own_files: str) -> dict[str, str]:
    return {one.path: one.why for one in changes_of(project, git_status(project), own_files=own_files)[1]}


def test_a_clean_tree_is_its_commit(project):
    status = git_status(project)
    assert status.tree.commit == git(project, "rev-parse", "HEAD").strip()
    assert (status.tree.branch, status.tree.user, status.tree.dirty) == ("main", "ann@example.org", False)
    assert status.tree.remote == "https://***@git.example.org/line.git"
    assert changes_of(project, status, own_files=[]) == ("", ())


def test_no_git_and_no_commit_are_no_commit(tmp_path):
    assert git_status(tmp_path).tree.commit is None
    git(tmp_path, "init", "--quiet")
    assert git_status(tmp_path).tree.commit is None
    assert changes_of(tmp_path, git_status(tmp_path), own_files=[]) == ("", ())


def test_changes_give_the_files_again(project, tmp_path):
    (project / "params.yaml").write_text("epochs: 9\nseed: 2\nrate: 4\n")
    (project / "crlf.txt").write_bytes(b"one\r\nother\r\n")
    (project / "picture").write_bytes(bytes(reversed(range(256))))
    (project / "models").mkdir()
    (project / "models" / "nöt tracked.py").write_text("units = 3\n")
    changes, _ = changes_of(project, git_status(project), own_files=["models/nöt tracked.py"])
    copy = rebuilt(project, changes, tmp_path / "copy")
    for name in ("params.yaml", "crlf.txt", "picture", "models/nöt tracked.py"):
        assert (copy / name).read_bytes() == (project / name).read_bytes(), name


def test_a_removed_file_is_removed_again(project, tmp_path):
    (project / "crlf.txt").unlink()
    changes, _ = changes_of(project, git_status(project), own_files=[])
    assert not (rebuilt(project, changes, tmp_path / "copy") / "crlf.txt").exists()


@settings(max_examples=10, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), max_size=8), end=st.booleans()
)
def test_any_text_comes_back(tmp_path_factory, lines, end):
    root = tmp_path_factory.mktemp("any") / "project"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "notes").write_text("a\nb\nc\n")
    git(root, "add", "--all")
    git(root, "-c", "user.name=Ann", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "Begin")
    (root / "notes").write_bytes(("\n".join(lines) + "\n" * end).encode())
    status = git_status(root)
    changes, without = changes_of(root, status, own_files=[])
    if not without:  # what looks like a secret is not kept
        assert (rebuilt(root, changes, root.parent / "copy") / "notes").read_bytes() == (root / "notes").read_bytes()


def test_recording_changes_nothing_in_git(project):
    (project / "new.py").write_text("x = 1\n")
    before = git(project, "status", "--porcelain")
    changes_of(project, git_status(project), own_files=["new.py"])
    assert git(project, "status", "--porcelain") == before
    assert "new.py" not in git(project, "ls-files")


@pytest.mark.parametrize(
    "line",
    [
        "url: https://ann:hunter2@host/rows.csv",
        "api_key: 0123456789abcdef",
        'AWS_SECRET_ACCESS_KEY="wJalrXUtnFEMI/K7MDENG"',
        "key = AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_a_file_with_a_secret_is_left_out_by_name(project, line):
    (project / "params.yaml").write_text(f"epochs: 9\n{line}\n")
    (project / "crlf.txt").write_text("other\n")
    changes, without = changes_of(project, git_status(project), own_files=[])
    assert line not in changes
    assert [one.path for one in without] == ["params.yaml"]
    assert "crlf.txt" in changes


def test_a_file_of_secrets_is_left_out_whatever_it_holds(project):
    (project / ".env").write_text("nothing to see\n")
    assert left_out(project, ".env")[".env"] == "its name is that of a file of secrets"


def test_unknown_files_are_named_and_not_kept(project):
    (project / "notes").mkdir()
    (project / "notes" / "diary.txt").write_text("private\n")
    changes, [one] = changes_of(project, git_status(project), own_files=[])
    assert (changes, one.path) == ("", "")
    assert "notes/" in one.why


def test_of_a_folder_that_git_does_not_know_only_what_is_named_is_kept(project):
    (project / "models").mkdir()
    (project / "models" / "named.py").write_text("units = 3\n")
    assert changes_of(project, git_status(project), own_files=["models/named.py"])[1] == ()
    (project / "models" / "draft.py").write_text("units = 4\n")
    changes, [one] = changes_of(project, git_status(project), own_files=["models/named.py"])
    assert "draft" not in changes
    assert one.why == "not in git, and named by no pipeline: models/draft.py"


def test_what_is_too_large_and_what_is_no_text_is_left_out(project):
    (project / "params.yaml").write_text("x\n" * MAX_CHANGES_BYTES)
    (project / "crlf.txt").write_bytes(b"caf\xe9\n")
    assert set(left_out(project)) == {"params.yaml", "crlf.txt"}


def test_what_commands_write_changes_nothing(project):
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    (project / "reports").mkdir()
    (project / "reports" / "metrics.json").write_text("{}")
    assert git_status(project).tree.dirty is False


def test_a_clean_tree_can_be_required(project, monkeypatch):
    (project / "a note").write_text("counts for nothing")
    require_clean(git_status(project), own_files=[])
    monkeypatch.setenv("HEADRACE_REQUIRE_CLEAN", "1")
    require_clean(git_status(project), own_files=[])
    (project / "params.yaml").write_text("epochs: 9\n")
    with pytest.raises(ParamsError, match=r"differ from the commit: params\.yaml; commit them"):
        require_clean(git_status(project), own_files=[])
    require_clean(git_status(project), own_files=[], may_change=["params.yaml"])
    with pytest.raises(ParamsError, match="a note"):
        require_clean(git_status(project), own_files=["a note"], may_change=["params.yaml"])
    with pytest.raises(ParamsError, match="has no commit"):
        require_clean(git_status(project.parent), own_files=[])
