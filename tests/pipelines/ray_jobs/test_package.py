"""What a cluster is sent: code, all of it, the same bytes for the same code, and nothing else."""

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.pipelines.ray_jobs import package as module
from headrace.pipelines.ray_jobs.package import package, package_digest

SENT = [
    "components/a.py",
    "components/credentials.py",
    "dvc.yaml",
    "params.yaml",
    ".dvc/config",
    "models/churn.py",
    "models/parts/gates.py",
    "pipelines/data/b.py",
]
# Each for a reason of its own; tracked by git or not, it stays here.
KEPT = [
    "data/digits/raw/x.csv",
    "models/digits/model.keras",
    "reports/digits/metrics.json",
    "tests/test_a.py",
    "docs/a.rst",
    "infra/setup",
    "dags/headrace_pipelines.py",
    "bench/a.py",
    "README.md",
    "mlflow.db",
    "weights/small.weights.h5",
    ".dvc/config.local",
    ".dvc/cache/files/md5/00/1",
    ".env",
    "components/.env.production",
    "components/production.env",
    "components/server.pem",
    "components/gcs-credentials.json",
    "components/__pycache__/a.cpython-311.pyc",
    ".venv/lib/x.py",
    ".ssh/id_rsa",
    "components/id_ed25519",
]


def write(root: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def names(archive: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(archive)).namelist()


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture(params=["git", "all tracked", "no git"])
def project(request, tmp_path) -> Path:
    root = tmp_path / "a project"
    write(root, *SENT, *KEPT)
    if request.param != "no git":
        git(root, "init", "-q")
    if request.param == "all tracked":
        git(root, "add", "--force", ".")
    return root


def test_code_is_sent_and_nothing_else(project):
    assert names(package(project)) == sorted(SENT)


def test_the_same_code_is_the_same_bytes(project):
    first = package(project)
    for name in SENT:
        os.utime(project / name, (1, 1))
    (project / "params.yaml").chmod(0o600)
    assert package(project) == first
    assert len(package_digest(first)) == 32
    write(project, "params.yaml", content="y")
    assert package_digest(package(project)) != package_digest(first)


def test_programs_stay_programs(project):
    (project / "components/a.py").chmod(0o700)
    modes = {one.filename: one.external_attr >> 16 for one in zipfile.ZipFile(io.BytesIO(package(project))).infolist()}
    assert modes["components/a.py"] == 0o100755
    assert modes["params.yaml"] == 0o100644


def test_the_code_is_sent_as_it_is_now(tmp_path):
    write(tmp_path, "params.yaml", "components/gone.py", "components/old.py")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    (tmp_path / "components/gone.py").unlink()
    write(tmp_path, "components/old.py", content="new")
    write(tmp_path, "components/ignored.py", "components/untracked.py")
    write(tmp_path, ".gitignore", content="ignored.py\n")
    archive = package(tmp_path)
    assert names(archive) == ["components/old.py", "components/untracked.py", "params.yaml"]
    assert zipfile.ZipFile(io.BytesIO(archive)).read("components/old.py") == b"new"


def test_a_folder_that_the_repository_around_it_ignores(tmp_path):
    """As a run's workspace without a .git of its own."""
    git(tmp_path, "init", "-q")
    write(tmp_path, ".gitignore", content="/state/\n")
    write(tmp_path / "state" / "run", *SENT)
    assert names(package(tmp_path / "state" / "run")) == sorted(SENT)


def test_a_link_out_of_the_project_is_not_followed(tmp_path):
    write(tmp_path, "secret.txt", "project/params.yaml", "project/components/a.py")
    (tmp_path / "project/components/out.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "project/components/in.py").symlink_to("a.py")
    git(tmp_path / "project", "init", "-q")
    assert names(package(tmp_path / "project")) == ["components/a.py", "components/in.py", "params.yaml"]


def test_extra_files_are_added_and_replace_others(tmp_path):
    write(tmp_path, "params.yaml")
    archive = zipfile.ZipFile(io.BytesIO(package(tmp_path, extra={".headrace/a.json": b"1", "params.yaml": b"2"})))
    assert {name: archive.read(name) for name in archive.namelist()} == {".headrace/a.json": b"1", "params.yaml": b"2"}


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a//b", ""])
def test_extra_files_stay_below_the_project(tmp_path, name):
    with pytest.raises(ParamsError, match="expected a path below the project"):
        package(tmp_path, extra={name: b""})


def test_too_much_is_refused_with_its_biggest_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PACKAGE_BYTES", 3 * 2**20)
    write(tmp_path, "params.yaml", "components/small.py")
    write(tmp_path, "components/weights.bin", content="x" * 2 * 2**20)
    package(tmp_path)
    write(tmp_path, "components/more.bin", content="x" * 2**20)
    with pytest.raises(ParamsError, match=r"expected less than 3; .*: components/weights.bin \(2.0 MiB\), .*more.bin"):
        package(tmp_path)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.json", fullmatch=True), st.binary(max_size=99)))
def test_whatever_is_added_arrives_in_any_order(tmp_path_factory, extra):
    root = tmp_path_factory.getbasetemp() / "empty"
    root.mkdir(exist_ok=True)
    archive = package(root, extra=extra)
    assert package(root, extra=dict(reversed(extra.items()))) == archive
    files = zipfile.ZipFile(io.BytesIO(archive))
    assert {name: files.read(name) for name in files.namelist()} == extra
