"""CONTRIBUTING.md adds a source by a diff: it applies to the tree as it is, and what it adds works."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_diff_adds_a_source(repository: Path, copy_repository: Callable[[Path], Path], tmp_path: Path) -> None:
    page = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.partition("\n## Add a source\n")[2].partition("\n## ")[0]
    [diff] = re.findall(r"^````diff\n(.*?)^````$", section, re.MULTILINE | re.DOTALL)
    copy = copy_repository(tmp_path / "copy")
    subprocess.run(["git", "apply", "--whitespace=error", "-"], cwd=copy, input=diff, text=True, check=True)

    def run(*command: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(copy)}  # before the tree that is installed
        ended = subprocess.run(
            [sys.executable, "-m", *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    run("infra.params_page")
    tests = ("tests/components/sources/test_fixed_width.py", "tests/architecture/test_docs.py")
    run("pytest", "-q", "-p", "no:cacheprovider", *tests)
    run("ruff", "check", "--no-cache", "components/sources", "tests/components/sources")
    run("ruff", "format", "--no-cache", "--check", "components/sources", "tests/components/sources")
