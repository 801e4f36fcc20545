"""The transform that CONTRIBUTING.md adds: its diff is applied to a copy, where its test and params.yaml take it."""

import os
import re
import subprocess
import sys

import pytest
import yaml


@pytest.fixture(scope="module")
def with_log1p(tmp_path_factory, repository, copy_repository):
    """A copy of the repository with the diff, and the files that the diff names."""
    (diff,) = re.findall(
        r"^## Add a transform\n.*?^```diff\n(.*?)^```$",
        (repository / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    root = copy_repository(tmp_path_factory.mktemp("contributing") / "project")
    subprocess.run(["git", "apply", "-"], input=diff, cwd=root, text=True, check=True)
    return root, re.findall(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE)


def run(root, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_it_is_one_file_its_test_and_the_list(with_log1p):
    _, files = with_log1p
    assert sorted(files) == [
        "components/transforms/log1p.py",
        "components/transforms/variants.py",
        "tests/components/transforms/test_log1p.py",
    ]


def test_its_files_are_written_as_all_others(with_log1p):
    root, files = with_log1p
    for arguments in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        checked = run(root, "ruff", *arguments, *files)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_it_is_checked_fitted_and_agrees_in_both_forms(with_log1p):
    root, files = with_log1p
    (test,) = (file for file in files if file.startswith("tests/"))
    ended = run(root, "pytest", "-q", "-p", "no:cacheprovider", test)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "4 passed" in ended.stdout


def test_a_pipeline_may_name_it(with_log1p):
    root, _ = with_log1p
    content = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    transforms = content["linear"]["normalize"]["transforms"]
    content["linear"]["normalize"]["transforms"] = {name: [{"kind": "log1p"}] for name in transforms}
    (root / "with_log1p.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    code = """
from pathlib import Path
from headrace.pipelines.params import load_pipeline
print(load_pipeline(Path("with_log1p.yaml"), "linear").normalize.transforms)
"""
    (root / "read_params.py").write_text(code, encoding="utf-8")
    ended = run(root, "read_params")
    assert "Log1p(kind='log1p')" in ended.stdout, ended.stderr
